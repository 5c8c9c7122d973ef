"""Publishing: whether the warehouse has what the lake has, and when it is given what it lacks.

Belongs here: the check of the assets in the warehouse, their schedules, and what they are put together from. Does not
belong here: what differs (`warehouse.publishing`) and how an output gets there (`warehouse_io`). Imported only where a
warehouse is set up, since drivers take time to load.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import dagster as dg

from charging_assets import calendar
from charging_assets.calendar import compact_text, is_closed
from charging_assets.defs import jobs
from charging_assets.defs.assets.warehouse import build_warehouse_assets
from charging_assets.defs.checks import bad_partitions
from charging_assets.defs.partitions import query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.schedules import (
    BUILD_JOB,
    DAYS_PER_RUN,
    NIGHT_TAG,
    RANGE_END,
    RANGE_START,
    RUNS_PER_NIGHT,
    compared,
    spans,
    under_way,
)
from charging_assets.defs.unfinished import unfinished
from charging_assets.defs.warehouse_io import WarehouseIOManager
from charging_assets.defs.warehouses import WarehouseResource, warehouse_resource
from charging_assets.lake import Lake, PartitionKey
from charging_assets.model.tables import is_dated
from charging_assets.quality.verdict import amount
from charging_assets.settings import Settings
from charging_assets.warehouse import Difference, Warehouse, WarehouseError, differences
from charging_assets.warehouse.contract import key_text, published_tables

PUBLISH_JOB, CHECK_JOB = "publish", "check_warehouse"

TRIED_ANYWAY = 2
"""Of a warehouse that cannot be asked, so many closed days are published, so that a run fails and says why."""

COMPARED_AT_ONCE = 31
"""Each comparison lists the files of all tables and reads the load log: 0.3 s where there are years of them."""

NAMED = 10
"""A verdict names so many partitions and counts the others."""


def build_publishing(settings: Settings, lake: LakeResource, warehouse: WarehouseResource | None) -> dg.Definitions:
    """What there is where a warehouse is set up; `warehouse` replaces that of the settings."""
    warehouse = warehouse or warehouse_resource(settings)
    return dg.Definitions(
        assets=build_warehouse_assets(settings),
        asset_checks=[in_sync_check()],
        jobs=[jobs.publish, jobs.check_warehouse],
        schedules=[publish_schedule(settings.first_date, hourly=settings.publish_hourly), check_warehouse_schedule()],
        resources={
            "warehouse": warehouse,
            "warehouse_io_manager": WarehouseIOManager(warehouse=warehouse, lake=lake),
        },
    )


def in_sync_check() -> dg.AssetChecksDefinition:
    """The check `warehouse_in_sync` of every table, in one step that reads the load log once."""
    specs = {
        tab.name: dg.AssetCheckSpec(
            "warehouse_in_sync",
            asset=dg.AssetKey(["warehouse", tab.name]),
            description="The warehouse has each partition that the lake has, and as it is there. Days that are not "
            "over are left out.",
        )
        for tab in published_tables()
    }

    @dg.multi_asset_check(
        name="warehouse_in_sync",
        specs=list(specs.values()),
        description="Compares the warehouse's load log with the lake, all tables and partitions at once.",
        can_subset=True,
    )
    def step(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge all partitions of the selected tables."""
        names = [name for name, spec in specs.items() if spec.key in context.selected_asset_check_keys]
        now = calendar.utc_now()
        try:
            found = [one for one in differences(lake.open(), warehouse.open(), names) if _counts(one, now)]
        except WarehouseError as error:
            for name in names:
                yield _result(specs[name], str(error))
            return
        for name in names:
            yield _judged(specs[name], [one for one in found if one.table == name])

    return step


def publish_schedule(first_date: dt.date, *, hourly: bool) -> dg.ScheduleDefinition:
    """The schedule that publishes what the warehouse lacks: each night, or each hour and then also of today.

    It compares the warehouse with the lake when the tick is evaluated, so whatever a stopped daemon or a warehouse that
    was down left out follows with the next tick.
    """

    @dg.schedule(
        job_name=PUBLISH_JOB,
        name="publish_schedule",
        # After today's tables and before the next ones; or after the night's builds and the first try at dimensions.
        cron_schedule="40 * * * *" if hourly else "15 5 * * *",
        execution_timezone="UTC" if hourly else "Europe/Berlin",
        description=f"Publishes what the warehouse lacks of {'all days' if hourly else 'closed days'} and of undated "
        f"tables: at most {RUNS_PER_NIGHT} runs of at most {DAYS_PER_RUN} days at once.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = calendar.utc_now()
        today = calendar.query_date_of(now)
        running = len(unfinished(context.instance, PUBLISH_JOB))
        newest = today if hourly else max(first_date, today - dt.timedelta(days=1))
        opened, tags = lake.open(), {} if hourly else {NIGHT_TAG: today.isoformat(), "dagster/priority": "-1"}

        def run(first: dt.date, last: dt.date) -> dg.RunRequest:
            return dg.RunRequest(
                run_key=f"{compact_text(context.scheduled_execution_time)} {first}",
                tags={RANGE_START: first.isoformat(), RANGE_END: last.isoformat(), **tags},
            )

        try:
            found, unknown = lacking(opened, warehouse.open(), first_date, newest, now)
        except WarehouseError as error:
            context.log.error("%s", error)  # noqa: TRY400 - the trace would bury the message
            if running:
                return dg.SkipReason(f"a run of {PUBLISH_JOB} will say what is wrong: {error}")
            last = max(first_date, today - dt.timedelta(days=1))
            return [run(max(first_date, last - dt.timedelta(days=TRIED_ANYWAY - 1)), last)]
        if unknown:
            context.log.warning("%d days before %s were not compared this time", len(unknown), max(unknown))
        refused = _refused(context.instance, {one.table for one in found})
        found = [one for one in found if (one.table, one.key) not in refused]
        dates = {one.key for one in found if one.key} - under_way(context.instance, BUILD_JOB, PUBLISH_JOB)
        ranges = spans(sorted(dates), DAYS_PER_RUN)[::-1]
        if not ranges and not running and any(one.key is None for one in found):
            # Any run loads undated tables; one for a day that stands in both is short.
            in_both = [date for date in opened.partitions("poll_log") if first_date <= date <= newest]
            ranges = [(max(in_both, default=newest),) * 2]
        room = max(0, RUNS_PER_NIGHT - running)
        if left := ranges[room:]:
            context.log.warning("Left to the next time: %s", ", ".join(f"{first} to {last}" for first, last in left))
        if not ranges[:room]:
            return dg.SkipReason("what differs is being built or published already" if found else "nothing differs")
        return [run(first, last) for first, last in ranges[:room]]

    return schedule


def check_warehouse_schedule() -> dg.ScheduleDefinition:
    """The schedule that looks every day whether all was published: of a run that fails, no check is evaluated."""

    @dg.schedule(
        job_name=CHECK_JOB,
        name="check_warehouse_schedule",
        cron_schedule="45 5 * * *",
        execution_timezone="Europe/Berlin",
        description="Checks every day whether the warehouse has all that the lake has.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=compact_text(context.scheduled_execution_time))

    return schedule


def lacking(
    lake: Lake, warehouse: Warehouse, first: dt.date, last: dt.date, now: dt.datetime
) -> tuple[list[Difference], list[dt.date]]:
    """What the warehouse lacks of undated tables and of dates from `first` to `last`, as far as there is time.

    Returns:
        The differences, and the dates for which there was no time to find out, sorted.

    Raises:
        WarehouseError: the load log cannot be read.
    """
    loads = warehouse.load_log()
    dated = [tab.name for tab in published_tables() if is_dated(tab)]
    doubtful = {
        key
        for name in dated
        for key, version in lake.versions(name).items()
        if key and first <= key <= last and ((name, key) not in loads or loads[name, key].file_version != version)
    }
    found, unknown = compared(
        sorted(doubtful), COMPARED_AT_ONCE, lambda dates: differences(lake, warehouse, dated, dates), now
    )
    found += differences(lake, warehouse, [tab.name for tab in published_tables() if not is_dated(tab)])
    return [one for one in found if one.why != "surplus"], unknown


def _refused(instance: dg.DagsterInstance, tables: Collection[str]) -> set[tuple[str, PartitionKey]]:
    """The partitions that a blocking check found bad, which no run would load."""
    return {(name, query_date(key) if key else None) for name in tables for key in bad_partitions(instance, [name])}


def _counts(difference: Difference, now: dt.datetime) -> bool:
    """Whether a difference should not be there: tables of today and the current status are made anew all the time."""
    if difference.key is not None:
        return is_closed(difference.key, now)
    return difference.table != "current_status" or difference.why != "outdated"


def _judged(spec: dg.AssetCheckSpec, found: Sequence[Difference]) -> dg.AssetCheckResult:
    if not found:
        return _result(spec, "Every partition is as it is in the lake.", passed=True)
    counts = Counter(one.why for one in found)
    named = ", ".join(f"{key_text(one.key)} is {one.why}" for one in found[:NAMED])
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    advice = f" The job `{PUBLISH_JOB}` loads what is missing or outdated." if counts.keys() - {"surplus"} else ""
    advice += " What is surplus, the lake has lost: build it again." if counts["surplus"] else ""
    return _result(
        spec,
        f"{amount(len(found), 'partition')} not as in the lake: {named}{more}.{advice}",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={why: count for why, count in counts.items() if count},
    )


def _result(
    spec: dg.AssetCheckSpec,
    sentence: str,
    *,
    passed: bool = False,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    metadata: Mapping[str, int] | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=spec.asset_key,
        check_name=spec.name,
        severity=severity,
        description=sentence,
        metadata=metadata,
    )
