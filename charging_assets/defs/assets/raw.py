"""What every tick makes: raw answers and the current status."""

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg
import pyarrow as pa

from charging_assets.calendar import query_date_of, today, utc_now
from charging_assets.defs.metadata import asset_spec, poll_metadata, raw_metadata
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets.flatten.current import current_status as current_status_at
from charging_assets.lake import Lake, LakeError, fingerprint_of
from charging_assets.sources import poll

POLL_JOB = "poll_chargecloud"
"""The only job that polls; anywhere else `raw_snapshots` reports what there is. The past cannot be fetched again."""

SCHEDULED_TAG = "due"
"""Run tag of a scheduled poll: when it was due (ISO). Short, because the UI's list of runs cuts long ones off."""


@dg.multi_asset(
    name="raw_snapshots",
    specs=[
        asset_spec(
            "raw_snapshots",
            how=f"Only the job `{POLL_JOB}` polls. Materialized from here it asks nobody and reports what the raw "
            "folder holds: do that after an import, and the UI knows of its dates.",
            cadence="tick",
            kinds={"json", "parquet"},
            skippable=True,
        )
    ],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="chargecloud_api",
)
def raw_snapshots(
    context: dg.AssetExecutionContext, lake: LakeResource, chargecloud: ChargecloudResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Poll, if this is the job for it; else report what the raw folder holds, and write nothing."""
    opened = lake.open()
    if context.run.job_name != POLL_JOB:
        for key in context.partition_keys:  # a result would have one data version for all of them
            context.log_event(raw_report(opened, key))
        return
    try:
        for file in opened.raw.recover_polls():
            context.log.warning("A poll had been killed; what it received is kept as %s.", file)
    except LakeError as error:  # it is tried again before the next poll; this one has answers of its own to fetch
        context.log.error("%s", error)  # noqa: TRY400 - the message is for people, the trace would bury it
    if reason := no_poll(context.partition_keys, context.run.tags.get(SCHEDULED_TAG), chargecloud.interval_s):
        context.log.warning("Not polled: %s.", reason)
        return  # without a materialization: nothing must look fresh that is not
    result = poll(chargecloud.source(), opened, interval_s=chargecloud.interval_s)
    if query_date_of(result.poll.query_time) != query_date(context.partition_key):
        context.log.warning("This poll was due before midnight and began after it: filed as %s.", result.file)
    if not result.answered:
        context.log.error("None of %d feeds answered.", len(result.failed))
    index = opened.raw.index(query_date(context.partition_key))
    yield dg.MaterializeResult(
        metadata={**raw_metadata(index), **poll_metadata(result)}, data_version=dg.DataVersion(fingerprint_of(index))
    )


def raw_report(lake: Lake, partition_key: str) -> dg.AssetMaterialization:
    """What the raw folder holds for a date, as an event.

    Its data version is the fingerprint of the answers: the UI calls tables unsynced when others came in since, and not
    when the same were reported again.
    """
    index = lake.raw.index(query_date(partition_key))
    return dg.AssetMaterialization(
        "raw_snapshots",
        partition=partition_key,
        metadata={"files": lake.raw.files(query_date(partition_key)), **raw_metadata(index)},
        tags={"dagster/data_version": fingerprint_of(index)},
    )


def no_poll(partition_keys: Sequence[str], scheduled_at: str | None, interval_s: int) -> str | None:
    """Why a run over these partitions must not poll now, in words; None when it may."""
    if scheduled_at is not None:
        return too_late(dt.datetime.fromisoformat(scheduled_at), interval_s)
    if list(partition_keys) != [today().isoformat()]:
        return f"only the present can be polled, which is {today()} and not {', '.join(partition_keys)}"
    return None


def too_late(scheduled_at: dt.datetime, interval_s: int) -> str | None:
    """Why a tick is void, in words; None up to one interval after it was due."""
    late = utc_now() - scheduled_at
    if late <= dt.timedelta(seconds=interval_s):
        return None
    return f"this tick was due at {scheduled_at.isoformat()}, {late} ago, and the next one {interval_s} s after it"


@dg.multi_asset(
    name="current_status",
    outs={
        "current_status": dg.AssetOut.from_spec(
            asset_spec(
                "current_status",
                how=f"Made anew from the raw answers by every run of `{POLL_JOB}`, and whenever it is materialized.",
                cadence="tick",
                kinds={"python", "parquet"},
            )
        )
    },
    deps=[dg.AssetDep("raw_snapshots", partition_mapping=dg.LastPartitionMapping())],
)
def current_status(lake: LakeResource) -> pa.Table:
    """Make the table as of now."""
    return current_status_at(lake.open(), utc_now())
