"""`charging-assets migrate` and `charging-assets publish`: a warehouse's schema, and what it has of the lake."""

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from charging_assets.calendar import today
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.cli.progress import progress_bar
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from charging_assets.lake import Lake
    from charging_assets.warehouse import Difference, Load, Warehouse

_DATE = click.DateTime(["%Y-%m-%d"])
_SHOWN = 10


@click.command()
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be done, and do nothing.")
def migrate(only_plan: bool) -> None:
    """Create the warehouse's schemas, tables, views and roles, or bring them to this version.

    Columns and tables are added; nothing is dropped and no type is changed. What cannot be done without risking rows
    is refused, with the reason. Run it as a user who may create schemas and roles, after every upgrade.
    """
    settings = Settings.from_env()
    warehouse = _warehouse(settings, open_lake(settings))
    if warehouse is None:
        return
    steps = warehouse.plan()
    changes = [step.what for step in steps if step.is_change]
    for what in changes:
        click.echo(f"  {what}")
    if only_plan:
        click.echo(
            f"{_counted(len(changes), 'change')} to make; nothing was done." if changes else "Nothing to change."
        )
        return
    started = time.monotonic()
    warehouse.ensure_schema()
    if changes:
        click.echo(f"{_counted(len(changes), 'change')} made in {time.monotonic() - started:.1f} s.")
    else:
        click.echo("Nothing to change; grants are as they should be.")


@click.command()
@click.option(
    "--from", "first", metavar="DATE", type=_DATE, help="The first query date; default: CHARGING_ASSETS_FIRST_DATE."
)
@click.option("--to", "last", metavar="DATE", type=_DATE, help="The last one; default: today.")
@click.option("--table", "tables", metavar="TABLE", multiple=True, help="Only this table; may be given several times.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Loads side by side.")
def publish(first: dt.datetime | None, last: dt.datetime | None, tables: Sequence[str], workers: int) -> None:
    """Load what the warehouse lacks of the lake: partitions that are missing there, or have another content.

    Stopped at any moment it can be run again, and goes on where it was. The UI shows what was loaded. Partitions that
    a blocking check found bad stay out. The exit code is 1 when one was left out or could not be loaded.
    """
    from charging_assets.warehouse.contract import published_tables

    names = [table.name for table in published_tables()]
    if unknown := [name for name in tables if name not in names]:
        raise click.UsageError(f"There is no table {unknown[0]!r} to publish; there are: {', '.join(names)}.")
    settings = Settings.from_env()
    start = first.date() if first else settings.first_date
    end = last.date() if last else today()
    if start > end:
        raise click.UsageError(f"Expected the earlier date first, got {start} to {end}.")
    lake = open_lake(settings)
    warehouse = _warehouse(settings, lake)
    if warehouse is None:
        return
    dates = {start + dt.timedelta(days=number) for number in range((end - start).days + 1)}
    if not publish_differences(settings, lake, warehouse, list(tables) or names, dates, workers):
        raise click.exceptions.Exit(1)


def publish_differences(
    settings: Settings,
    lake: "Lake",
    warehouse: "Warehouse",
    tables: Sequence[str],
    dates: Collection[dt.date],
    workers: int = 2,
) -> bool:
    """Load what differs, and print what became of it; returns whether the warehouse has it all now."""
    import dagster as dg

    from charging_assets.defs.metadata import load_metadata
    from charging_assets.warehouse import Failed, differences
    from charging_assets.warehouse import publish as publish_all

    started = time.monotonic()
    found = differences(lake, warehouse, tables, dates)
    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        bad = dict(_refused(instance, found))
        wanted = [one for one in found if one.why != "surplus" and one not in bad]
        loads: list[Load] = []
        failed: list[Failed] = []
        with progress_bar():
            for done in publish_all(lake, warehouse, wanted, workers):
                if isinstance(done, Failed):
                    failed.append(done)
                    continue
                loads.append(done)
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        dg.AssetKey(["warehouse", done.table]),
                        partition=done.key.isoformat() if done.key else None,
                        metadata=load_metadata(done),
                    )
                )
    _print_loads(loads)
    _print_some("surplus", [f"{_named(one)}: the lake has no such partition" for one in found if one.why == "surplus"])
    _print_some("left out", [f"{_named(one)}: {reason}" for one, reason in bad.items()])
    _print_some("failed", [f"{_named(one.difference)}: {one.error}" for one in failed])
    untried = len(wanted) - len(loads) - len(failed)
    took = f"in {time.monotonic() - started:.1f} s"
    if not found:
        click.echo("The warehouse has all of it already.")
    elif failed or untried:
        click.echo(
            f"{len(loads):,} of {_counted(len(wanted), 'partition')} published {took}; run this again for the others."
        )
    else:
        click.echo(f"{_counted(len(loads), 'partition')} published {took}.")
    return not failed and not untried and not bad


def _warehouse(settings: Settings, lake: "Lake") -> "Warehouse | None":
    """The warehouse of the settings; None, said in a sentence, when there is nothing to do for it."""
    from charging_assets.warehouse import warehouse_of

    if settings.warehouse == "duckdb":
        click.echo(
            "The warehouse is DuckDB over the lake itself (CHARGING_ASSETS_WAREHOUSE): there is nothing to load or to "
            "migrate."
        )
        return None
    return warehouse_of(settings, lake)


def _refused(instance: "DagsterInstance", found: Sequence["Difference"]) -> Iterator[tuple["Difference", str]]:
    """Those that a blocking check found bad, with what it found."""
    from charging_assets.defs.checks import bad_partitions

    for table in dict.fromkeys(one.table for one in found):
        bad = bad_partitions(instance, [table])
        for one in found:
            sentences = bad.get(one.key.isoformat() if one.key else None)
            if one.table == table and sentences and one.why != "surplus":
                yield one, " ".join(sentences)


def _print_loads(loads: Sequence["Load"]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not loads:
        return
    by_table: defaultdict[str, list[Load]] = defaultdict(list)
    for load in loads:
        by_table[load.table].append(load)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("table")
    shown.add_column("partitions", justify="right")
    shown.add_column("rows", justify="right")
    for table, its in sorted(by_table.items()):
        shown.add_row(table, f"{len(its):,}", f"{sum(load.rows for load in its):,}")
    Console().print(shown)


def _print_some(word: str, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        click.echo(f"  {word:<9} {line}")
    if len(lines) > _SHOWN:
        click.echo(f"  … and {len(lines) - _SHOWN:,} more {word}")


def _named(one: "Difference") -> str:
    return f"{one.table} {one.key}" if one.key else one.table


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
