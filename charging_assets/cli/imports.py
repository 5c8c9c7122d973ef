"""`charging-assets import-raw`: archives of earlier polls into the lake."""

from pathlib import Path

import click

from charging_assets.cli.environment import open_lake
from charging_assets.settings import Settings, check_feed


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
    for file in files:
        try:
            result = import_archive(lake, file, feed=feed, interval_s=interval_s or settings.interval_s)
        except (ArchiveError, LakeError) as error:
            failed += 1
            message = str(error)
            click.echo(f"failed  {message if str(file) in message else f'{file}: {message}'}", err=True)
            continue
        new += result.new
        known = result.answers - result.new
        state = "new" if result.new else "known"
        counts = _new_answers(result.new) + (f", {known:,} known already" if known else "")
        click.echo(f"{state:<7} {file}: {result.query_time:%Y-%m-%d %H:%M:%S} UTC, {counts}")
        for note in result.notes:
            click.echo(f"        note: {note}")
    click.echo(f"{_new_answers(new)} from {len(files) - failed:,} of {len(files):,} files.")
    if failed:
        raise click.exceptions.Exit(1)


def _new_answers(count: int) -> str:
    return f"{count:,} new answer{'' if count == 1 else 's'}"
