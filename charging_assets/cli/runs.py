"""`charging-assets poll` and `charging-assets build`: the jobs of the UI, run in this process, in the UI's instance."""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from charging_assets.calendar import query_date_of, today, utc_now
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.cli.progress import progress_bar
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import AssetMaterialization

_DATE = click.DateTime(["%Y-%m-%d"])
_verbose = click.option("--verbose", is_flag=True, help="Show Dagster's log instead of a progress bar.")


@click.command()
@_verbose
def poll(verbose: bool) -> None:
    """Poll all feeds once, keep their answers and renew current_status.

    Runs the job poll_chargecloud; the UI shows it like any other run. The exit code is 0 when at least one feed
    answered, else 1.
    """
    from charging_assets.defs.assets import POLL_JOB, SCHEDULED_TAG

    settings, now = Settings.from_env(), utc_now()
    tags = {"dagster/partition": query_date_of(now).isoformat(), SCHEDULED_TAG: now.isoformat()}
    made = {event.asset_key.path[-1]: event.metadata for event in run_job(settings, POLL_JOB, tags, verbose=verbose)}
    raw = made["raw_snapshots"]
    answered: Any = raw["feeds_answered"].value
    failed: Any = raw["feeds_failed"].value
    for feed, reason in failed.items():
        click.echo(f"failed  {feed}: {reason}")
    click.echo(f"{answered:,} of {answered + len(failed):,} feeds answered, kept as {raw['file'].value}")
    click.echo(f"current_status: {made['current_status']['dagster/row_count'].value:,} charging points")
    if not answered:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--date", metavar="DATE", type=_DATE, help="One query date, as YYYY-MM-DD.")
@click.option("--from", "first", metavar="DATE", type=_DATE, help="The first of several.")
@click.option("--to", "last", metavar="DATE", type=_DATE, help="The last of several.")
@click.option("--force", is_flag=True, help="Build unchanged dates too.")
@_verbose
def build(
    date: dt.datetime | None, first: dt.datetime | None, last: dt.datetime | None, force: bool, verbose: bool
) -> None:
    """Build the dated tables of a query date, or of several; by default of today.

    Runs the job build_query_date, once for all dates; the UI shows it like any other run. A date is left alone when its
    tables were made from the same raw answers by the same version.
    """
    settings = Settings.from_env()
    dates = _dates(settings, date, first, last)
    lake = open_lake(settings)
    with_raw = set(lake.raw.dates())
    if without := [day for day in dates if day not in with_raw]:
        click.echo(f"no raw answers: {_in_words(without)}")
    if len(without) == len(dates):
        raise click.ClickException(
            "There is nothing to build from: poll first, or take archives in with `charging-assets import-raw`."
        )
    from charging_assets.defs.assets import is_unchanged

    dates = [day for day in dates if day in with_raw]
    changed = [day for day in dates if force or not is_unchanged(lake, day)]
    if unchanged := [day for day in dates if day not in changed]:
        click.echo(f"unchanged: {_in_words(unchanged)}")
    if not changed:
        return
    started = time.monotonic()
    # One run for all dates. Runs span ranges without gaps: unchanged dates within are skipped again by the asset.
    made = run_job(
        settings,
        "build_query_date",
        {
            "dagster/asset_partition_range_start": changed[0].isoformat(),
            "dagster/asset_partition_range_end": changed[-1].isoformat(),
        },
        config={"ops": {"flatten": {"config": {"skip_unchanged": not force}}}},
        verbose=verbose,
    )
    _print_tables([event for event in made if dt.date.fromisoformat(event.partition or "") in changed])
    click.echo(f"built: {_in_words(changed)} in {time.monotonic() - started:.1f} s")


def _dates(
    settings: Settings, date: dt.datetime | None, first: dt.datetime | None, last: dt.datetime | None
) -> Sequence[dt.date]:
    if date is not None and (first is not None or last is not None):
        raise click.UsageError("Expected either --date, or --from with --to.")
    if (first is None) != (last is None):
        raise click.UsageError("Expected --from with --to; for a single date there is --date.")
    start, end = (given.date() if given else today() for given in (first or date, last or date))
    if not settings.first_date <= start <= end <= today():
        raise click.UsageError(
            f"Expected dates from {settings.first_date} (CHARGING_ASSETS_FIRST_DATE) to {today()} (today), the earlier "
            f"one first, got {start} to {end}."
        )
    return [start + dt.timedelta(days=number) for number in range((end - start).days + 1)]


def _in_words(dates: Sequence[dt.date]) -> str:
    """`2024-10-23, 2024-10-25 to 2024-10-27`."""
    spans: list[list[dt.date]] = []
    for date in dates:
        if spans and date - spans[-1][-1] == dt.timedelta(days=1):
            spans[-1][1:] = [date]
        else:
            spans.append([date])
    return ", ".join(" to ".join(map(str, span)) for span in spans)


def _print_tables(made: Sequence["AssetMaterialization"]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("table")
    shown.add_column("rows", justify="right")
    shown.add_column("bytes", justify="right")
    for table in dict.fromkeys(event.asset_key.path[-1] for event in made):
        figures: list[Any] = [event.metadata for event in made if event.asset_key.path[-1] == table]
        rows, size = (sum(one[name].value for one in figures) for name in ("dagster/partition_row_count", "bytes"))
        shown.add_row(table, f"{rows:,}", f"{size:,}")
    Console().print(shown)


def run_job(
    settings: Settings,
    job: str,
    tags: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    verbose: bool,
) -> Sequence["AssetMaterialization"]:
    """Run a job in this process with a progress bar; returns the events of what it made."""
    import dagster as dg

    from charging_assets.definitions import build_definitions

    use_dagster_home(settings)
    # Dagster logs every step to the terminal, right through the bar.
    silence = {} if verbose else {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance, nullcontext() if verbose else progress_bar():
        try:
            result = (
                build_definitions()
                .resolve_job_def(job)
                .execute_in_process(run_config={**silence, **(config or {})}, instance=instance, tags=tags)
            )
        except dg.Failure as failure:
            raise click.ClickException(failure.description or "The run failed; the UI shows why.") from failure
        except dg.DagsterExecutionInterruptedError as interrupt:
            raise click.Abort from interrupt
    return [
        event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization
    ]
