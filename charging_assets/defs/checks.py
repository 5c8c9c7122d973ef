"""Asset checks: the promises of `quality` in the graph, with a verdict per partition, and what a broken one stops.

Belongs here: which checks run together, how a finding becomes an event, what may not be read. Does not belong here:
what is expected of a table (`quality`).
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Judged,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster_shared.utils.warnings import PreviewWarning

from charging_assets.calendar import utc_now
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.flatten.day import TABLES as FLATTENED
from charging_assets.lake import Lake
from charging_assets.quality.checks import CHECKS, is_per_date, judge
from charging_assets.quality.partition import RAW
from charging_assets.quality.verdict import Check, Finding

GROUPS: Mapping[str, tuple[str, ...]] = {
    "check_raw": (RAW,),
    "check_current_status": ("current_status",),
    "check_flattened": FLATTENED,
    "check_feed_health": ("feed_health", "frozen_spans"),
    "check_occupancy": ("status_intervals", "charging_events", "utilization_hourly", "kpi_daily"),
    "check_periods": ("kpi_monthly", "usage_profile"),
    "check_poi_effect": ("poi_effect",),
    "check_dimensions": (
        "charging_station",
        "charging_point",
        "connector",
        "charging_station_history",
        "charging_point_history",
        "connector_history",
    ),
    "check_calendar": ("time", "public_holiday"),
    "check_raw_pois": ("raw_pois",),
    "check_pois": ("poi", "rejected_pois", "poi_refresh_log"),
    "check_station_pois": ("mapping_poi_cs", "station_poi_features"),
}
"""Tables that are checked in one step: those that are made together, so that nothing waits for a check but what is made
from them."""

_COMPLETED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def build_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of all tables, one step for each of `GROUPS`."""
    return [_step(name, tables) for name, tables in GROUPS.items()]


def require_passed(
    instance: dg.DagsterInstance, tables: Iterable[str], partition_keys: Sequence[str] | None = None
) -> None:
    """Refuse to read what a blocking check found bad, in whichever run that was.

    What counts is the last verdict on a partition; one that was never judged may be read. Dagster itself holds back
    only what comes later in the same run.

    Args:
        instance: whose event log knows the verdicts.
        tables: what is about to be read.
        partition_keys: which partitions of it; undated tables have one.

    Raises:
        Failure: at least one must not be read; all of them are named, with what was found.
    """
    refused = bad_partitions(instance, tables, partition_keys or ())
    if refused:
        sentences = [sentence for found in refused.values() for sentence in found]
        raise dg.Failure(
            f"{len(sentences)} blocking checks failed in earlier runs, so what they judged must not be read. "
            + " ".join(sentences)
            + " Build these partitions again, or mend them and run their checks: a check that passes lifts this.",
            allow_retries=False,
        )


def bad_partitions(
    instance: dg.DagsterInstance, tables: Iterable[str], partition_keys: Sequence[str] | None = None
) -> Mapping[str | None, Sequence[str]]:
    """The partitions that a blocking check found bad, each with what was found; see `require_passed`.

    Args:
        instance: whose event log knows the verdicts.
        tables: of which tables.
        partition_keys: of which partitions; None: of all there are. Undated tables have the key None.
    """
    names, found = set(tables), defaultdict[str | None, list[str]](list)
    checks = [check for check in CHECKS if check.blocking and check.table in names]
    for check, keys in _ever_failed(instance, checks, partition_keys):
        for key, sentence in _failures(instance, check, keys):
            found[key].append(sentence)
    return found


def _ever_failed(
    instance: dg.DagsterInstance, checks: Sequence[Check], partition_keys: Sequence[str] | None
) -> Iterator[tuple[Check, Sequence[str] | None]]:
    """Those of `checks` that failed at some time, each with the partitions that they failed on; nearly always none.

    One query for all of them: what `_failures` asks of Dagster costs 10 ms for each.
    """
    storage, verdicts = instance.event_log_storage, AssetCheckExecutionsTable.c
    if not isinstance(storage, SqlEventLogStorage):  # whoever keeps the events elsewhere has no such table
        yield from ((check, partition_keys) for check in checks)
        return
    wanted = sa.select(verdicts.asset_key, verdicts.check_name, verdicts.partition).distinct()
    wanted = wanted.where(
        verdicts.asset_key.in_({dg.AssetKey(check.table).to_string() for check in checks}),
        verdicts.execution_status == AssetCheckExecutionRecordStatus.FAILED.value,
    )
    if partition_keys is not None:
        wanted = wanted.where(sa.or_(verdicts.partition.is_(None), verdicts.partition.in_(partition_keys)))
    failed = defaultdict[tuple[str, str], list[str | None]](list)
    with storage.index_connection() as database:
        for asset_key, name, partition in database.execute(wanted):
            failed[asset_key, name].append(partition)
    for check in checks:
        if keys := failed.get((dg.AssetKey(check.table).to_string(), check.name)):
            yield check, [key for key in keys if key is not None]


def _failures(
    instance: dg.DagsterInstance, check: Check, partition_keys: Sequence[str] | None
) -> Iterator[tuple[str | None, str]]:
    """The partitions whose last verdict was bad, and what it was in words."""
    storage = instance.event_log_storage
    key = dg.AssetCheckKey(dg.AssetKey(check.table), check.name)
    of_keys = sorted(partition_keys) if partition_keys is not None and is_per_date(check) else None
    for info in storage.get_asset_check_partition_info([key], partition_keys=of_keys):
        if (
            info.latest_execution_status is AssetCheckExecutionRecordStatus.SUCCEEDED
            or (info.partition_key is not None) != is_per_date(check)
            or (of_keys is not None and info.partition_key not in of_keys)
        ):
            continue
        # The last record may be of a run that was killed before it came to a verdict: then the one before holds.
        for record in storage.get_asset_check_execution_history(
            key, limit=1, status=_COMPLETED, partition_filter=PartitionKeyFilter(key=info.partition_key)
        ):
            found = record.evaluation
            if found and not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
                of_date = f" {info.partition_key}" if info.partition_key else ""
                said = f"{check.table}{of_date}, {check.name} (run {record.run_id[:8]}): {found.description}"
                yield info.partition_key, said


def _step(name: str, tables: Sequence[str]) -> dg.AssetChecksDefinition:
    checks = [check for check in CHECKS if check.table in tables]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*partitions_def on an AssetCheckSpec", PreviewWarning)
        specs = {
            check: dg.AssetCheckSpec(
                check.name,
                asset=check.table,
                description=check.promise,
                blocking=check.blocking,
                partitions_def=DAILY if is_per_date(check) else None,
            )
            for check in checks
        }

    @dg.multi_asset_check(
        name=name,
        specs=list(specs.values()),
        description=f"Judges {', '.join(f'`{table}`' for table in tables)}, reading each partition once.",
        can_subset=True,
    )
    def step(
        context: dg.AssetCheckExecutionContext, lake: LakeResource
    ) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
        """Judge every partition of the run.

        Dagster makes one evaluation of an `AssetCheckResult`, without a partition when there are several; so
        evaluations are made here. It still stops the run itself for those that block.
        """
        selected = [check for check, spec in specs.items() if spec.key in context.selected_asset_check_keys]
        opened, now = lake.open(), utc_now()
        dated = [check for check in selected if is_per_date(check)]
        undated = [check for check in selected if not is_per_date(check)]
        for key in _partition_keys(context, opened, tables) if dated else ():
            yield from _evaluations(context.instance, key, judge(opened, query_date(key), dated, now=now))
        yield from _evaluations(context.instance, None, judge(opened, None, undated, now=now))
        for check in selected:
            if check.blocking:  # what comes later waits for its output; nothing does for the others
                yield dg.Output(None, specs[check].get_python_identifier())

    return step


def _partition_keys(context: dg.AssetCheckExecutionContext, lake: Lake, tables: Sequence[str]) -> Sequence[str]:
    """Those of the run, and others that it made as well.

    Of a run without partitions, as when checks are executed by themselves, the newest there is.
    """
    if context.has_partition_key or context.has_partition_key_range:
        logs = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        made = [log.dagster_event for log in logs if log.dagster_event]
        more = {event.partition for event in made if event.asset_key and event.asset_key.path[-1] in tables}
        return sorted({*context.partition_keys, *(key for key in more if key)})
    dates = [date for name in tables for date in (lake.raw.dates() if name == RAW else lake.partitions(name))]
    return [max(dates).isoformat()] if dates else []


def _evaluations(
    instance: dg.DagsterInstance, partition: str | None, findings: Iterable[Finding]
) -> Iterator[dg.AssetCheckEvaluation]:
    judged: dict[str, Judged | None] = {}
    for finding in findings:
        check, verdict = finding.check, finding.verdict
        asset_key = dg.AssetKey(check.table)
        if check.table not in judged:
            judged[check.table] = _judged(instance, asset_key, partition)
        yield dg.AssetCheckEvaluation(
            asset_key=asset_key,
            check_name=check.name,
            passed=verdict.passed,
            metadata={**verdict.figures, **({"examples": "\n".join(verdict.examples)} if verdict.examples else {})},
            target_materialization_data=judged[check.table],
            severity=dg.AssetCheckSeverity.ERROR if verdict.severity == "error" else dg.AssetCheckSeverity.WARN,
            description=verdict.sentence,
            blocking=check.blocking,
            partition=partition,
        )


def _judged(instance: dg.DagsterInstance, asset_key: dg.AssetKey, partition: str | None) -> Judged | None:
    """The materialization that is judged: the UI calls a verdict stale when there is a newer one."""
    of_asset = dg.AssetRecordsFilter(asset_key=asset_key, asset_partitions=[partition] if partition else None)
    for record in instance.fetch_materializations(of_asset, limit=1).records:
        return Judged(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
    return None
