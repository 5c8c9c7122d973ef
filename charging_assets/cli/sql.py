"""`charging-assets sql` and `charging-assets export`: the embedded warehouse at the command line."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from charging_assets.cli.environment import open_lake
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.reports.poi_exports import Form


@click.command()
@click.argument("statement", metavar="SELECT…")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: the first 1,000 rows for people; csv and json: all of them, for programs.",
)
def sql(statement: str, form: str) -> None:
    """Answer one SELECT statement from the tables of the lake.

    The dialect is DuckDB's; `-` reads the statement from standard input. Every table of the data model is there, also
    one that has no partitions yet; raw_snapshots has all columns but the body. Times are UTC. All tables are read as
    they were when the statement began, whatever a build replaces meanwhile.

    \b
      charging-assets sql "SHOW TABLES"
      charging-assets sql "DESCRIBE status_chargingpoints"
      charging-assets sql "SELECT status_cp, count(*)
          FROM status_chargingpoints
          WHERE query_date = '2024-10-23' GROUP BY ALL"
    """  # noqa: D301 - click wants the character: what follows keeps its lines
    from charging_assets.cli import output
    from charging_assets.warehouse import query

    if statement == "-":
        statement = click.get_text_stream("stdin").read()
    with query(open_lake(Settings.from_env()), statement) as reader:
        output.WRITERS[form](reader)


@click.group()
def export() -> None:
    """Write what other programs can open."""


@export.command()
@click.argument("file", metavar="FILE.duckdb", type=click.Path(dir_okay=False, path_type=Path))
def views(file: Path) -> None:
    """Write a DuckDB file of views over the lake's files, for BI tools.

    The file holds no data: its views read the lake, so new partitions show up by themselves. It replaces an earlier
    export and nothing else.

    \b
    What it cannot do:
      - serve a lake on S3: that is refused;
      - move to another machine, unless the lake has the same path there;
      - fill a view of a table that had no partition when it was
        exported: export again;
      - keep a query safe while a build replaces a partition: one that
        fails then can be repeated (`charging-assets sql` is safe);
      - show raw_snapshots and raw_pois.
    """  # noqa: D301 - as above
    from charging_assets.warehouse import export_views

    settings = Settings.from_env()
    has_files = export_views(open_lake(settings), file)
    click.echo(f"{file}: {len(has_files)} views over the files of {settings.lake}.")
    click.echo("A query that fails because a build just replaced a partition can be repeated.")
    if empty := [name for name, filled in has_files.items() if not filled]:
        click.echo(f"Empty until they have a partition and are exported again: {', '.join(empty)}.")


@export.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["gpkg", "shapefile", "geojson", "geoparquet"]),
    default="gpkg",
    show_default=True,
    help="gpkg: for QGIS; shapefile: a .zip for each kind of shape; geojson: for web maps; geoparquet: for programs.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this folder",
    help="Folder for the files; those of an earlier export are replaced.",
)
def poi(form: "Form", folder: Path) -> None:
    """Write points of interest and charging stations for geographic programs.

    The points are OpenStreetMap's (ODbL), unless they are simulated: whoever passes them on names it.
    """
    from charging_assets.reports.poi_exports import ATTRIBUTION, SIMULATED, export_pois

    lake = open_lake(Settings.from_env())
    pois = lake.read("poi", None)
    if not pois.num_rows:
        raise click.ClickException(
            "There are no points of interest yet: run the job refresh_pois in the Dagster UI (`make dev`)."
        )
    note = SIMULATED if lake.raw.is_simulated() else ATTRIBUTION
    for layer in export_pois(pois, lake.read("charging_station", None), folder, form, note):
        cut = ", ".join(f"{count:,} texts of {name} cut" for name, count in layer.cut.items())
        click.echo(f"{layer.file}  {layer.layer}: {layer.rows:,} rows{f' ({cut})' if cut else ''}")
    click.echo(note)
