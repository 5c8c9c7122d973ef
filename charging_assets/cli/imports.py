"""`charging-assets import-raw`: archives of earlier polls into the lake."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charging_assets.calendar import query_date_of, today
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.settings import Settings, check_feed

if TYPE_CHECKING:
    from charging_assets.lake import Lake


def _feed(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    try:
        return None if name is None else check_feed(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("import-raw")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--feed", metavar="NAME", callback=_feed, help="Whose answer the files are, when their names do not say.")
@click.option(
    "--interval-s",
    type=click.IntRange(1, 86_400),
    help="Seconds between two polls when the files were made; CHARGING_ASSETS_INTERVAL_S by default.",
)
def import_raw(files: tuple[Path, ...], feed: str | None, interval_s: int | None) -> None:
    """Put archived answers into the lake, byte for byte.

    A FILE is one feed's answer (its time is the answer's `timestamp`), or the answers of many cities as {city: answer}
    in a file named YYYYmmdd_HHMMSS_cp_data_cities.json (local time); plain, .gz or .zst. Importing a file again changes
    nothing. A file that cannot be imported is reported, and the others still are.
    """
    from charging_assets.lake import LakeError
    from charging_assets.sources import ArchiveError, import_archive

    settings = Settings.from_env()
    lake = open_lake(settings)
    new = failed = 0
    dates: set[dt.date] = set()
    for file in files:
        try:
            result = import_archive(lake, file, feed=feed, interval_s=interval_s or settings.interval_s)
        except (ArchiveError, LakeError) as error:
            failed += 1
            message = str(error)
            click.echo(f"failed  {message if str(file) in message else f'{file}: {message}'}", err=True)
            continue
        new += result.new
        if result.new:
            dates.add(query_date_of(result.query_time))
        known = result.answers - result.new
        state = "new" if result.new else "known"
        counts = _new_answers(result.new) + (f", {known:,} known already" if known else "")
        click.echo(f"{state:<7} {file}: {result.query_time:%Y-%m-%d %H:%M:%S} UTC, {counts}")
        for note in result.notes:
            click.echo(f"        note: {note}")
    click.echo(f"{_new_answers(new)} from {len(files) - failed:,} of {len(files):,} files.")
    _tell_dagster(settings, lake, sorted(date for date in dates if settings.first_date <= date <= today()))
    if failed:
        raise click.exceptions.Exit(1)


def _tell_dagster(settings: Settings, lake: "Lake", dates: Sequence[dt.date]) -> None:
    """Report what `raw_snapshots` now holds, or the UI would warn that there is nothing to build these dates from."""
    if not dates:
        return
    import dagster as dg

    from charging_assets.defs.assets.raw import raw_report

    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        for date in dates:
            instance.report_runless_asset_event(raw_report(lake, date.isoformat()))


def _new_answers(count: int) -> str:
    return f"{count:,} new answer{'' if count == 1 else 's'}"
