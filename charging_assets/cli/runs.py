"""`charging-assets poll` and `charging-assets build`: the jobs of the UI, run in this process, in the UI's instance."""

import datetime as dt
import os
import textwrap
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from charging_assets.calendar import query_date_of, today, utc_now
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.cli.progress import progress_bar
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, AssetMaterialization

    from charging_assets.lake import Lake

_DATE = click.DateTime(["%Y-%m-%d"])
_CHECKS_SHOWN = 10
_ROW_COUNTS = ("dagster/partition_row_count", "dagster/row_count")
_verbose = click.option("--verbose", is_flag=True, help="Show Dagster's log instead of a progress bar.")


@dataclass(frozen=True)
class Done:
    """What a run did."""

    made: "Sequence[AssetMaterialization]"
    checked: "Sequence[AssetCheckEvaluation]"
    is_stopped: bool
    """Whether a check kept what follows from being made."""


@click.command()
@_verbose
def poll(verbose: bool) -> None:
    """Poll all feeds once, keep their answers and renew current_status.

    Runs the job poll_chargecloud; the UI shows it like any other run. The exit code is 0 when at least one feed
    answered, else 1.
    """
    from charging_assets.defs.assets.raw import POLL_JOB, SCHEDULED_TAG

    settings, now = Settings.from_env(), utc_now()
    tags = {"dagster/partition": query_date_of(now).isoformat(), SCHEDULED_TAG: now.isoformat()}
    made = {
        event.asset_key.path[-1]: event.metadata for event in run_job(settings, POLL_JOB, tags, verbose=verbose).made
    }
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
    """Build the tables of a query date, or of several; by default of today. Then check and publish them.

    Runs the job build_query_date, once for all dates, and then refresh_dimensions; the UI shows them like any other
    run. A date is left alone when its tables were made from the same inputs by the same version. What the warehouse
    lacks of these dates is loaded, if one is set up. Figures of published reports that are others by now are named. The
    exit code is 1 when a check found an error, or something could not be published.
    """
    from charging_assets.cli.report import print_changed_figures
    from charging_assets.derive.inputs import DERIVED_AGAIN

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
    dates = [day for day in dates if day in with_raw]
    _end_dead_runs(settings)
    is_sound = _build(settings, lake, dates, force=force, verbose=verbose)
    derived_again = {dates[0] - dt.timedelta(days=number + 1) for number in range(DERIVED_AGAIN)}
    print_changed_figures(lake, derived_again.union(dates))
    if not (_publish(settings, lake, derived_again.union(dates)) and is_sound):
        raise click.exceptions.Exit(1)


def _build(settings: Settings, lake: "Lake", dates: Sequence[dt.date], *, force: bool, verbose: bool) -> bool:
    """Build those of `dates` that need it, and say so; returns whether no check found an error."""
    from charging_assets.cli.environment import poi_rules
    from charging_assets.derive.inputs import stale_dates, stale_undated, window

    stale, bad = stale_dates(lake, dates), _bad_dates(settings)
    changed = [day for day in dates if force or day in stale or day.isoformat() in bad]
    looking_at_changed = [day for day in dates if day not in changed and not set(window(day)).isdisjoint(changed)]
    # Their frozen spans may change, and with them what further days are made from; the assets skip what does not.
    around = [day for day in dates if not set(window(day)).isdisjoint([*changed, *looking_at_changed])]
    if unchanged := [day for day in dates if day not in changed and day not in looking_at_changed]:
        click.echo(f"unchanged: {_in_words(unchanged)}")
    started = time.monotonic()
    if not changed:
        if missing := stale_undated(lake, settings.active_days, poi_rules(settings)):
            done = _build_undated(settings, verbose=verbose)
            _print_tables(done.made)
            has_errors = print_checks(done.checked)
            click.echo(f"made: {', '.join(missing)} in {time.monotonic() - started:.1f} s")
            return not has_errors and not done.is_stopped
        return True
    affected = sorted({*changed, *around})
    done = build_dates(settings, affected, skip_unchanged=not force, verbose=verbose)
    # Unchanged dates within the range were skipped, and the day before the first one may have been derived again.
    _print_tables([event for event in done.made if event.partition in (None, *map(str, changed))])
    has_errors = print_checks(done.checked)
    if done.is_stopped:
        click.echo("stopped by a check: what is made from these tables stays as it was")
    else:
        if looking_at_changed:
            click.echo(f"derived again: {_in_words(looking_at_changed)}")
        click.echo(f"built: {_in_words(changed)} in {time.monotonic() - started:.1f} s")
        others = [day for day in lake.raw.dates() if day not in dates and not set(window(day)).isdisjoint(affected)]
        if behind := stale_dates(lake, others):
            click.echo(f"made from what was before: {_in_words(behind)}; build them too, or leave them to the night")
    return not has_errors and not done.is_stopped


def _publish(settings: Settings, lake: "Lake", dates: Collection[dt.date]) -> bool:
    """Load what the warehouse lacks of `dates`, and say so; returns whether it has it all, or there is none."""
    if settings.warehouse == "duckdb":
        return True
    from charging_assets.cli.publishing import publish_differences
    from charging_assets.warehouse import WarehouseError, warehouse_of
    from charging_assets.warehouse.contract import published_tables

    names = [table.name for table in published_tables()]
    try:
        return publish_differences(settings, lake, warehouse_of(settings, lake), names, dates)
    except WarehouseError as error:
        click.echo(f"not published: {error}")
        return False


def _end_dead_runs(settings: Settings) -> None:
    """End what commands that were killed have left in Dagster as being at work, and say so."""
    import dagster as dg

    from charging_assets.defs.unfinished import end_dead_runs

    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        for run in end_dead_runs(instance):
            click.echo(f"ended: {run.job_name}, run {run.run_id}, whose process is gone")


def _bad_dates(settings: Settings) -> set[str | None]:
    """Dates that a check found bad: building is what mends them, whatever they were made from."""
    import dagster as dg

    from charging_assets.defs.checks import bad_partitions
    from charging_assets.derive.inputs import DERIVED, FLATTENED

    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        return set(bad_partitions(instance, (*FLATTENED, *DERIVED)))


def build_dates(settings: Settings, dates: Sequence[dt.date], *, skip_unchanged: bool, verbose: bool) -> Done:
    """Build the dated tables from the first to the last of `dates` in one run, and then the undated ones."""
    from charging_assets.defs.jobs import build_config

    # Runs span ranges without gaps: unchanged dates within are skipped again by the assets.
    tags = {
        "dagster/asset_partition_range_start": dates[0].isoformat(),
        "dagster/asset_partition_range_end": dates[-1].isoformat(),
    }
    config = build_config(skip_unchanged=skip_unchanged)
    dated = run_job(settings, "build_query_date", tags, config=config, verbose=verbose)
    if dated.is_stopped:
        return dated
    undated = _build_undated(settings, verbose=verbose)
    return Done([*dated.made, *undated.made], [*dated.checked, *undated.checked], undated.is_stopped)


def _build_undated(settings: Settings, *, verbose: bool) -> Done:
    """Make the undated tables; points of interest only where they are stale, since all refreshes are read for them."""
    from charging_assets.cli.environment import poi_rules
    from charging_assets.defs.assets.pois import POI_TABLES
    from charging_assets.derive.inputs import stale_undated

    pois = Done([], [], is_stopped=False)
    stale = stale_undated(open_lake(settings), settings.active_days, poi_rules(settings))
    if not set(POI_TABLES).isdisjoint(stale):
        pois = run_job(settings, "refresh_pois", {}, assets=POI_TABLES, verbose=verbose)
        if pois.is_stopped:
            return pois
    others = run_job(settings, "refresh_dimensions", {}, verbose=verbose)
    return Done([*pois.made, *others.made], [*pois.checked, *others.checked], others.is_stopped)


def print_checks(checked: "Sequence[AssetCheckEvaluation]") -> bool:
    """Print what checks found, errors first; returns whether there is an error."""
    from dagster import AssetCheckSeverity

    failed = [check for check in checked if not check.passed]
    errors = [check for check in failed if check.severity == AssetCheckSeverity.ERROR]
    warnings = [check for check in failed if check not in errors]
    click.echo(f"checks: {len(checked) - len(failed):,} passed, {len(warnings):,} warn, {len(errors):,} failed")
    for word, colour, found in (("failed", "red", errors), ("warn", "yellow", warnings)):
        for check in found[:_CHECKS_SHOWN]:
            where = f"{check.asset_key.path[-1]} {check.partition or ''}".strip()
            text = f"{where}, {check.check_name}: {check.description}"
            lines = textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
            click.echo(f"  {click.style(f'{word:<7}', fg=colour)}" + f"\n{' ' * 9}".join(lines))
        if len(found) > _CHECKS_SHOWN:
            click.echo(f"  … and {len(found) - _CHECKS_SHOWN:,} more that {word}; the UI shows them all")
    return bool(errors)


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
        rows = sum(one[name].value for one in figures for name in _ROW_COUNTS if name in one)
        size = sum(one["bytes"].value for one in figures)
        shown.add_row(table, f"{rows:,}", f"{size:,}")
    Console().print(shown)


def run_job(
    settings: Settings,
    job: str,
    tags: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    assets: Sequence[str] | None = None,
    verbose: bool,
) -> Done:
    """Run a job, or some of its assets, in this process with a progress bar.

    Returns what it made and found, up to where a check stopped it.
    """
    import dagster as dg
    from dagster._core.errors import DagsterAssetCheckFailedError
    from dagster._core.utils import make_new_run_id

    from charging_assets.definitions import build_definitions
    from charging_assets.defs.unfinished import process_tags

    use_dagster_home(settings)
    # Dagster logs every step to the terminal, right through the bar.
    silence = {} if verbose else {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id, is_stopped = make_new_run_id(), False
    with dg.DagsterInstance.get() as instance:
        try:
            with nullcontext() if verbose else progress_bar():
                build_definitions().resolve_job_def(job).execute_in_process(
                    run_config={**silence, **(config or {})},
                    instance=instance,
                    asset_selection=None if assets is None else [dg.AssetKey(name) for name in assets],
                    tags={**tags, **process_tags(run_id, os.getpid())},
                    run_id=run_id,
                )
        except DagsterAssetCheckFailedError:
            is_stopped = True
        except dg.Failure as failure:
            raise click.ClickException(failure.description or "The run failed; the UI shows why.") from failure
        except dg.DagsterExecutionInterruptedError as interrupt:
            raise click.Abort from interrupt
        kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
        events = [log.get_dagster_event() for log in instance.all_logs(run_id, of_type=kinds)]
    made = [event.step_materialization_data.materialization for event in events if event.is_step_materialization]
    checked = [event.asset_check_evaluation_data for event in events if not event.is_step_materialization]
    return Done(made, checked, is_stopped)
