"""When what is made. All schedules wait until somebody turns them on.

Belongs here: the times, which dates a tick asks for, and when it asks for none. Does not belong here: what a job makes,
and whether a date is stale (`derive.inputs`). Publishing has its schedules in `publishing`.

No schedule counts on being caught up: of the ticks that a daemon missed, Dagster evaluates the last one only. So a tick
looks at what there is, and not at what it believes to have been done before.
"""

import datetime as dt
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import dagster as dg

from charging_assets import calendar
from charging_assets.calendar import compact_text, is_closed, query_date_of
from charging_assets.defs.assets.raw import POLL_JOB, SCHEDULED_TAG, too_late
from charging_assets.defs.checks import bad_partitions
from charging_assets.defs.jobs import build_config
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.unfinished import unfinished
from charging_assets.derive.inputs import DERIVED, FLATTENED, Inputs, stale_dates
from charging_assets.lake import Lake
from charging_assets.settings import Settings

_Found = TypeVar("_Found")

CHECK_JOB = "check_polls"
BUILD_JOB = "build_query_date"
DIMENSIONS_JOB = "refresh_dimensions"
POIS_JOB = "refresh_pois"
REPORTS_JOB = "make_reports"
HOUSEKEEPING_JOB = "housekeeping"

NIGHT_TAG = "night"
"""Run tag of what a night starts: the Berlin date of that night. `dagster.yaml` lets one of them build at a time."""

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

ALWAYS_BUILT = 2
"""Closed days that every night builds, changed or not: the last, and the one whose derived tables look at it."""

RUNS_PER_NIGHT, DAYS_PER_RUN = 7, 92
"""A night builds at most 644 days. What is left follows in the next one."""

COMPARED_WITHIN_S, COMPARED_AT_ONCE = 25.0, 7
"""Dagster ends a tick after 60 s. Comparing a day takes 10 to 300 ms, from S3 more."""


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """All schedules."""
    poll = poll_schedule(settings.interval_s)
    return [
        *([poll] if poll else []),
        check_polls_schedule(),
        today_schedule(settings.first_date),
        night_schedule(settings.first_date),
        dimensions_schedule(),
        pois_schedule(),
        reports_schedule(settings.first_date),
        housekeeping_schedule(),
    ]


def poll_schedule(interval_s: int) -> dg.ScheduleDefinition | None:
    """The schedule that polls every `interval_s` seconds (a divisor of an hour).

    None below five minutes, where starting a run per poll costs more than the poll, and where the interval is not whole
    minutes, which cron cannot express.
    """
    minutes, seconds = divmod(interval_s, 60)
    if seconds or minutes < 5:
        return None

    @dg.schedule(
        job_name=POLL_JOB,
        name="poll_chargecloud_schedule",
        cron_schedule="0 * * * *" if minutes == 60 else f"*/{minutes} * * * *",
        execution_timezone="UTC",  # no hour is missing or double there
        description=f"Polls every {minutes} minutes, once turned on. A tick later than that skips itself, and so does "
        "one whose predecessor is still queued.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time
        if reason := too_late(due, interval_s):
            return dg.SkipReason(reason)
        queued = dg.RunsFilter(job_name=POLL_JOB, statuses=[dg.DagsterRunStatus.QUEUED])
        if context.instance.get_runs_count(queued):  # a queue that stands still would be a storm when it moves again
            return dg.SkipReason("the poll before is still queued")
        return dg.RunRequest(
            run_key=compact_text(due),
            partition_key=query_date_of(due).isoformat(),
            tags={SCHEDULED_TAG: due.isoformat()},
        )

    return schedule


def check_polls_schedule() -> dg.ScheduleDefinition:
    """The schedule that looks every hour whether polls still come: one that does not start tells nobody itself."""

    @dg.schedule(
        job_name=CHECK_JOB,
        name="check_polls_schedule",
        cron_schedule="55 * * * *",
        execution_timezone="UTC",  # no hour is missing or double there
        description="Checks every hour the newest raw answers, `current_status`, and whether polls still come.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time
        if reason := too_late(due, 3600):
            return dg.SkipReason(reason)
        return dg.RunRequest(run_key=compact_text(due))

    return schedule


def today_schedule(first_date: dt.date) -> dg.ScheduleDefinition:
    """The schedule that builds today's tables every hour, from the answers there are by then."""

    @dg.schedule(
        job_name=BUILD_JOB,
        name="today_schedule",
        cron_schedule="25 * * * *",
        execution_timezone="UTC",  # no hour is missing or double there
        description="Builds today's tables every hour. What comes after the last tick of a day is the night's.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
        due, today = context.scheduled_execution_time, calendar.today()
        if reason := too_late(due, 3600):
            return dg.SkipReason(reason)
        if (date := query_date_of(due)) != today:
            return dg.SkipReason(f"{date} is over; the night builds it for good")
        if date < first_date or date not in lake.open().raw.dates():
            return dg.SkipReason(f"no raw answers of {date} yet")
        if date in under_way(context.instance, BUILD_JOB):
            return dg.SkipReason(f"{date} is being built")
        return _build(date, date, key=compact_text(due), skip_unchanged=True)

    return schedule


def night_schedule(first_date: dt.date) -> dg.ScheduleDefinition:
    """The schedule that builds each closed day whose inputs changed, and the last ones in any case.

    It looks at the lake as it is when the tick is evaluated, so a late tick is as good as one in time, and days that a
    stopped daemon left unbuilt are built in the night after. The newest days come first; dates that a run is building
    already are left to it.
    """

    @dg.schedule(
        job_name=BUILD_JOB,
        name="night_schedule",
        # The last poll of a day is published by 00:48 even at an interval of an hour (see `sources.poll_seconds`).
        # Clocks change between 02:00 and 03:00: every day has exactly one 01:15.
        cron_schedule="15 1 * * *",
        execution_timezone="Europe/Berlin",
        description=f"Builds every closed day whose inputs changed, the last {ALWAYS_BUILT} always: at most "
        f"{RUNS_PER_NIGHT} runs of at most {DAYS_PER_RUN} days a night.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> list[dg.RunRequest] | dg.SkipReason:
        now, opened = calendar.utc_now(), lake.open()
        night, busy = query_date_of(now), under_way(context.instance, BUILD_JOB)
        closed = [date for date in opened.raw.dates() if date >= first_date and is_closed(date, now)]
        last = [date for date in closed if night.toordinal() - date.toordinal() <= ALWAYS_BUILT]
        older = [date for date in closed if date not in last]
        changed, unknown = changed_dates(opened, older, now)
        bad = bad_partitions(context.instance, (*FLATTENED, *DERIVED))  # building is what mends them
        changed = [date for date in older if date in changed or date.isoformat() in bad]
        being_built = [date for date in [*changed, *last] if date in busy]
        ranges = [(span, False) for span in spans([date for date in last if date not in busy])]
        ranges += [(span, True) for span in reversed(spans([d for d in changed if d not in busy], DAYS_PER_RUN))]
        running = len(unfinished(context.instance, BUILD_JOB))
        room = max(0, RUNS_PER_NIGHT - running)
        if left := [span for span, _ in ranges[room:]]:
            context.log.warning("Left to the next night: %s", ", ".join(f"{first} to {end}" for first, end in left))
        if unknown:
            context.log.warning("%d days before %s were not compared tonight", len(unknown), max(unknown))
        if ranges and not room:
            return dg.SkipReason(f"{running} runs are building already")
        if not ranges and being_built:
            days = ", ".join(f"{first} to {end}" for first, end in spans(being_built))
            return dg.SkipReason(f"being built already: {days}; no other closed day has changed or is recent")
        if not ranges:
            return dg.SkipReason("no closed day has changed, and none is recent")
        tags = {NIGHT_TAG: night.isoformat(), "dagster/priority": "-1"}  # polls and today's tables go first
        return [
            _build(first, end, key=f"{night} {first}", skip_unchanged=skip, tags=tags)
            for (first, end), skip in ranges[:room]
        ]

    return schedule


def dimensions_schedule() -> dg.ScheduleDefinition:
    """The schedule that makes the undated tables once a day, when the night's builds are through.

    It tries every hour until then: one run a day starts, whatever becomes of it.
    """

    @dg.schedule(
        job_name=DIMENSIONS_JOB,
        name="dimensions_schedule",
        cron_schedule="45 3-23 * * *",  # after the night's tick; 02:45 is missing in spring and double in autumn
        execution_timezone="Europe/Berlin",
        description="Makes stations, points, connectors, their histories and the calendar once a day: at the first "
        "tick from 03:45 on at which the night has built yesterday, or tried to, and nothing is being built.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time
        if reason := too_late(due, 3600):
            return dg.SkipReason(reason)
        night = {NIGHT_TAG: query_date_of(due).isoformat()}
        if context.instance.get_runs_count(dg.RunsFilter(job_name=DIMENSIONS_JOB, tags=night)):
            return dg.SkipReason("they have been made today, or were tried: start the job by hand to try again")
        if running := len(unfinished(context.instance, BUILD_JOB)):
            return dg.SkipReason(f"{running} runs of {BUILD_JOB} come first")
        opened = lake.open()
        closed = [date for date in opened.raw.dates() if is_closed(date)]
        is_built = bool(closed) and Inputs(opened).is_current(("master_observations",), closed[-1])
        if not is_built and not context.instance.get_runs_count(dg.RunsFilter(job_name=BUILD_JOB, tags=night)):
            return dg.SkipReason("the night has not built yesterday yet")
        return dg.RunRequest(run_key=night[NIGHT_TAG], tags=night)

    return schedule


def pois_schedule() -> dg.ScheduleDefinition:
    """The schedule that asks OpenStreetMap once a month. However late a tick comes, it is useful."""

    @dg.schedule(
        job_name=POIS_JOB,
        name="pois_schedule",
        cron_schedule="20 4 2 * *",
        execution_timezone="Europe/Berlin",
        description="Refreshes the points of interest and what stands around the stations, once a month.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if unfinished(context.instance, POIS_JOB):
            return dg.SkipReason("it is still at work since the last time")
        return dg.RunRequest(run_key=compact_text(context.scheduled_execution_time))

    return schedule


def reports_schedule(first_date: dt.date) -> dg.ScheduleDefinition:
    """The schedule that makes the reports of the month that is over. However late a tick comes, it is useful."""

    @dg.schedule(
        job_name=REPORTS_JOB,
        name="reports_schedule",
        # What the last day of a month tells is known for good on the third: see `derive.inputs.DERIVED_AGAIN`.
        cron_schedule="30 6 3 * *",
        execution_timezone="Europe/Berlin",
        description="Makes the reports of the last month, on the third of each month.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
        end = query_date_of(context.scheduled_execution_time).replace(day=1)
        month = (end - dt.timedelta(days=1)).replace(day=1)
        if not any(max(month, first_date) <= date < end for date in lake.open().partitions("kpi_daily")):
            return dg.SkipReason(f"no day of {month:%Y-%m} is built")
        return dg.RunRequest(run_key=month.isoformat(), partition_key=month.isoformat())

    return schedule


def housekeeping_schedule() -> dg.ScheduleDefinition:
    """The schedule that compacts raw files and shortens logs once a week. However late a tick comes, it is useful."""

    @dg.schedule(
        job_name=HOUSEKEEPING_JOB,
        name="housekeeping_schedule",
        cron_schedule="30 4 * * 1",
        execution_timezone="Europe/Berlin",
        description="Compacts the raw files of closed days and shortens the logs of old runs, on Mondays.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if unfinished(context.instance, HOUSEKEEPING_JOB):
            return dg.SkipReason("it is still at work since the last time")
        return dg.RunRequest(run_key=compact_text(context.scheduled_execution_time))

    return schedule


def changed_dates(lake: Lake, dates: Sequence[dt.date], now: dt.datetime) -> tuple[list[dt.date], list[dt.date]]:
    """Those of `dates` that are to be built again, and those for which there was no time to find out, both sorted."""
    changed, unknown = compared(dates, COMPARED_AT_ONCE, lambda week: stale_dates(lake, week, now), now)
    return sorted(changed), unknown


def compared(
    dates: Sequence[dt.date],
    at_once: int,
    compare: Callable[[Sequence[dt.date]], Iterable[_Found]],
    now: dt.datetime,
) -> tuple[list[_Found], list[dt.date]]:
    """What `compare` finds in `dates`, some of them at once, and those for which there was no time, sorted.

    The last days are compared first, and the others in an order that is another one every night: so each has its turn
    where a lake is so large that one tick does not get through.
    """
    given_up_at = time.monotonic() + COMPARED_WITHIN_S
    pieces = [dates[max(0, end - at_once) : end] for end in range(len(dates), 0, -at_once)]
    older = pieces[1:]
    random.Random(query_date_of(now).toordinal()).shuffle(older)  # noqa: S311 - no secret
    found: list[_Found] = []
    for number, piece in enumerate([*pieces[:1], *older]):
        found += compare(piece)
        if time.monotonic() > given_up_at:
            return found, sorted(date for left in older[number:] for date in left)
    return found, []


def spans(dates: Sequence[dt.date], most: int | None = None) -> list[tuple[dt.date, dt.date]]:
    """Sorted dates as (first, last) of consecutive ones, each span of at most `most` days."""
    found: list[list[dt.date]] = []
    for date in dates:
        if found and date.toordinal() - found[-1][-1].toordinal() == 1 and len(found[-1]) != most:
            found[-1].append(date)
        else:
            found.append([date])
    return [(span[0], span[-1]) for span in found]


def under_way(instance: dg.DagsterInstance, *jobs: str) -> set[dt.date]:
    """The dates that runs of the jobs are working at or are about to."""
    dates: set[dt.date] = set()
    for run in unfinished(instance, *jobs):
        first = run.tags.get(RANGE_START, run.tags.get("dagster/partition"))
        if first is not None:
            last = run.tags.get(RANGE_END, first)
            ends = (dt.date.fromisoformat(key).toordinal() for key in (first, last))
            dates.update(map(dt.date.fromordinal, range(next(ends), next(ends) + 1)))
    return dates


def _build(
    first: dt.date, last: dt.date, *, key: str, skip_unchanged: bool, tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    """One run over the dates from `first` to `last`."""
    return dg.RunRequest(
        run_key=key,
        run_config=build_config(skip_unchanged=skip_unchanged),
        tags={RANGE_START: first.isoformat(), RANGE_END: last.isoformat(), **(tags or {})},
    )
