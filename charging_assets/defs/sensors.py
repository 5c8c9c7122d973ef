"""What is noticed between runs: raw files that somebody else brought, and failures that somebody must hear of.

Belongs here: what is looked at, up to where it was (cursors), and when a message is given up. Does not belong here:
making tables of what was found (`schedules`), wording and sending messages (`alerts`).
"""

import datetime as dt
import json
from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.events import JobFailureData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from charging_assets import calendar
from charging_assets.defs.alerts import NotSentError, Problem, post_webhook, send_mail
from charging_assets.defs.assets.raw import raw_report
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.schedules import RANGE_END, RANGE_START, spans
from charging_assets.lake import LakeError
from charging_assets.settings import Settings

RAW_FILES_EVERY_S = 300
DATES_PER_TICK = 25
"""Reading what a day holds takes up to 0.3 s, from S3 more, and a tick is ended after 60 s."""

ALERTS_EVERY_S = 120
EVENTS_PER_TICK = 2_000
"""A night that catches up evaluates thousands of checks; a message lists the first problems and counts the others."""
EVALUATIONS_LOOKED_BACK = 50
"""How many newer evaluations of a check and partition there may be when one is told, after a time without a daemon."""
RUNS_LOOKED_BACK = 50
"""The same of runs of a job."""
GIVEN_UP_AFTER = dt.timedelta(hours=24)
"""So long a message is tried again at every tick that a receiver did not take."""

Send = Callable[[Sequence[Problem], Settings], None]


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors. Those that send messages exist where a setting names a receiver."""
    sensors = [raw_files_sensor(settings.first_date)]
    # A sensor for each way, so that one that is down does not have the other repeat itself.
    if settings.alert_email:
        sensors.append(alert_sensor("alerts_by_mail", "a mail to CHARGING_ASSETS_ALERT_EMAIL", send_mail))
    if settings.alert_webhook:
        sensors.append(alert_sensor("alerts_by_webhook", "a message to CHARGING_ASSETS_ALERT_WEBHOOK", post_webhook))
    return sensors


def raw_files_sensor(first_date: dt.date) -> dg.SensorDefinition:
    """The sensor that tells Dagster of raw files which no run of its own brought.

    A tick lists the days there are, and the files of today and yesterday. It reads those two if their number of files
    is another than at the last look, and each older day once. The cursor is ``{"days": older days that were read, as
    [first, last] of consecutive ones, "files": {day: number} of the two}``.
    """

    @dg.sensor(
        name="raw_files",
        minimum_interval_seconds=RAW_FILES_EVERY_S,
        description="Reports raw answers that `charging-assets collect`, an import or another host put into the lake "
        "as materializations of `raw_snapshots`. Builds nothing. An import into a day before yesterday that had "
        "answers already is not noticed: materialize `raw_snapshots` of that day.",
    )
    def raw_files(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        opened, cursor, today = lake.open(), json.loads(context.cursor or "{}"), calendar.today()
        dates = [date for date in opened.raw.dates() if first_date <= date <= today]
        two = {date: opened.raw.files(date) for date in dates if today.toordinal() - date.toordinal() <= 1}
        known = {date for first, last in cursor.get("days", []) for date in dates if first <= date.isoformat() <= last}
        files = cursor.get("files", {})
        due = [date for date in reversed(two) if files.get(date.isoformat()) != two[date]]
        due += [date for date in reversed(dates) if date not in two and date not in known]
        read, left = due[:DATES_PER_TICK], due[DATES_PER_TICK:]
        events = []
        for date in read:
            try:
                report = raw_report(opened, date.isoformat())
            except LakeError as error:  # the other days are as good as they were; building this one will fail, too
                context.log.error("%s: %s", date, error)  # noqa: TRY400 - the trace would bury the message
                continue
            if _data_version(report) != _reported(context.instance, report):
                events.append(report)
        known.update(date for date in read if date not in two)
        return dg.SensorResult(
            asset_events=events,
            skip_reason=f"{len(events)} of {len(read)} days that were looked at had answers nobody had told of"
            + (f"; {len(left)} more are looked at later." if left else "."),
            cursor=json.dumps(
                {
                    "days": [[first.isoformat(), last.isoformat()] for first, last in spans(sorted(known))],
                    "files": {date.isoformat(): count for date, count in two.items()},
                }
            ),
        )

    return raw_files


def _reported(instance: dg.DagsterInstance, report: dg.AssetMaterialization) -> str | None:
    """The data version of what was last reported for the partition of `report`."""
    partition = dg.AssetRecordsFilter(report.asset_key, asset_partitions=[report.partition or ""])
    latest = instance.fetch_materializations(partition, limit=1).records
    materialization = latest[0].asset_materialization if latest else None
    return _data_version(materialization) if materialization else None


def _data_version(materialization: dg.AssetMaterialization) -> str | None:
    return (materialization.tags or {}).get("dagster/data_version")


def alert_sensor(name: str, what: str, send: Send) -> dg.SensorDefinition:
    """The sensor that tells one receiver of failed runs and checks: one message per tick, whatever happened.

    The cursor is the id of the last event that was told. It moves on when the receiver took the message; until then the
    tick fails, visibly, and the next one tries again with whatever was added. After `GIVEN_UP_AFTER` an event is left
    out, and an error in the tick's log says so.
    """

    @dg.sensor(
        name=name,
        minimum_interval_seconds=ALERTS_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Sends {what} when runs or checks fail. What goes on failing for the same partition is "
        f"told once. What the receiver does not take is tried again for {GIVEN_UP_AFTER // dt.timedelta(hours=1)} h.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        storage = context.instance.event_log_storage
        if context.cursor is None:
            context.update_cursor(str(storage.get_maximum_record_id() or 0))
            return dg.SkipReason("From now on.")
        events: dict[int, EventLogEntry] = {}
        for kind in (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            events |= storage.get_logs_for_all_runs_by_log_id(int(context.cursor), {kind}, EVENTS_PER_TICK)
        ids = sorted(events)[:EVENTS_PER_TICK]  # the first of both kinds together: none in between is missing
        settings = Settings.from_env()
        told = {number: problem for number in ids if (problem := _problem(context.instance, events[number], settings))}
        if told:
            try:
                send(list(told.values()), settings)
            except NotSentError as error:
                given_up = calendar.utc_now() - GIVEN_UP_AFTER
                old = [number for number in told if events[number].timestamp < given_up.timestamp()]
                if not old:
                    raise
                # The trace would bury what it says.
                context.log.error("%s Given up: %s", error, [told[number] for number in old])  # noqa: TRY400
                context.update_cursor(str(old[-1]))
                return dg.SkipReason(f"{len(old)} problems were told nobody: {error}")
        if ids:
            context.update_cursor(str(ids[-1]))
        return dg.SkipReason(f"{len(told)} problems told." if told else "Nothing failed.")

    return alerts


def _problem(instance: dg.DagsterInstance, event: EventLogEntry, settings: Settings) -> Problem | None:
    """What is to be told about a failed run or an evaluated check; None: nothing."""
    if event.dagster_event_type is dg.DagsterEventType.RUN_FAILURE:
        return None if _failed_alike_before(instance, event) else _failed_run(instance, event, settings)
    evaluation = event.get_dagster_event().asset_check_evaluation_data
    if evaluation.passed or _failed_before(instance, event):
        return None
    path = evaluation.asset_key.path
    return Problem(
        kind="check" if evaluation.severity is dg.AssetCheckSeverity.ERROR else "warning",
        name=f"{'/'.join(path)}.{evaluation.check_name}",
        partition=evaluation.partition,
        sentence=evaluation.description or "No description was given.",
        link=f"{settings.ui_url}/assets/{'/'.join(path)}?view=checks" if settings.ui_url else None,
    )


def _failed_run(instance: dg.DagsterInstance, event: EventLogEntry, settings: Settings) -> Problem:
    run = instance.get_run_by_id(event.run_id)
    tags = run.tags if run else {}
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    return Problem(
        kind="run",
        name=event.job_name or "",
        partition=tags.get("dagster/partition") or (f"{first} to {last}" if first != last else first),
        sentence=_sentence(event.get_dagster_event()),
        link=f"{settings.ui_url}/runs/{event.run_id}" if settings.ui_url else None,
    )


def _sentence(failure: dg.DagsterEvent) -> str:
    """What the first failed step said to people, or else its error, or else why Dagster ended the run."""
    said = failure.event_specific_data
    if not isinstance(said, JobFailureData):  # the daemon ended the run, say as it took too long
        return failure.message or "No reason was given."
    step = said.first_step_failure_event
    if step is not None:
        data = step.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        error = data.error
    else:
        error = said.error
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause  # Dagster wraps what a step raised
    return (error.message.strip() if error else failure.message) or "No reason was given."


def _failed_alike_before(instance: dg.DagsterInstance, event: EventLogEntry) -> bool:
    """Whether the run of the same job and partitions that ended before this one failed with the same words.

    A schedule that fails every hour for the same reason is one problem, until a run of it succeeds.
    """
    ended = dg.RunsFilter(job_name=event.job_name, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS])
    runs = iter(instance.get_runs(ended, limit=RUNS_LOOKED_BACK))
    this = next((run for run in runs if run.run_id == event.run_id), None)
    before = next((run for run in runs if this and _partitions_of(run) == _partitions_of(this)), None)
    if before is None or before.status is dg.DagsterRunStatus.SUCCESS:
        return False
    failures = instance.all_logs(before.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return any(_sentence(failure.get_dagster_event()) == _sentence(event.get_dagster_event()) for failure in failures)


def _partitions_of(run: dg.DagsterRun) -> list[str | None]:
    return [run.tags.get(name) for name in ("dagster/partition", RANGE_START, RANGE_END)]


def _failed_before(instance: dg.DagsterInstance, event: EventLogEntry) -> bool:
    """Whether the check had failed for the same partition when it was evaluated the time before."""
    evaluation = event.get_dagster_event().asset_check_evaluation_data
    history = instance.event_log_storage.get_asset_check_execution_history(
        evaluation.asset_check_key,
        limit=EVALUATIONS_LOOKED_BACK,
        status={AssetCheckExecutionRecordStatus.FAILED, AssetCheckExecutionRecordStatus.SUCCEEDED},
        partition_filter=PartitionKeyFilter(key=evaluation.partition),
    )
    before = (record for record in history if record.event and record.event.timestamp < event.timestamp)
    latest = next(before, None)
    return latest is not None and latest.status is AssetCheckExecutionRecordStatus.FAILED
