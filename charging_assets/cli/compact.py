"""`charging-assets compact`: closed days of raw answers, each into one small file."""

import click

from charging_assets.calendar import is_closed
from charging_assets.cli.environment import open_lake
from charging_assets.settings import Settings


@click.command()
def compact() -> None:
    """Merge the raw files of each day that is over into one, several hundred times smaller than its JSON.

    No answer is changed or lost: every checksum is read back before a file goes, and the tables stay the same. Killed
    at any moment, it can be run again.
    """
    lake = open_lake(Settings.from_env())
    compacted = 0
    for date in lake.raw.dates():
        if not is_closed(date) or (done := lake.raw.compact(date)) is None:
            continue
        compacted += 1
        sizes = f"{done.json_bytes:,} bytes of answers are now {done.file_bytes:,}"
        click.echo(f"{date}  {done.files_before:,} → 1 files, {sizes}")
    click.echo(f"{compacted:,} day{'' if compacted == 1 else 's'} compacted.")
