"""The assets. Each loads, calls one domain function and returns."""

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg
import pyarrow as pa
from pydantic import Field

from charging_assets import __version__
from charging_assets.calendar import query_date_of, today, utc_now
from charging_assets.defs.io_managers import Published
from charging_assets.defs.metadata import PREVIEW_OF, asset_spec, poll_metadata, preview, raw_metadata
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets.failpoints import failpoint
from charging_assets.flatten.current import current_status as current_status_at
from charging_assets.flatten.day import TABLES, flatten_day
from charging_assets.lake import Lake, LakeError, fingerprint_of
from charging_assets.model.tables import SCHEMA_VERSION
from charging_assets.progress import advance
from charging_assets.sources import poll

POLL_JOB = "poll_chargecloud"
"""The only job that polls; anywhere else `raw_snapshots` reports what there is. The past cannot be fetched again."""

SCHEDULED_TAG = "due"
"""Run tag of a scheduled poll: when it was due (ISO). Short, because the UI's list of runs cuts long ones off."""


class FlattenConfig(dg.Config):
    """How `flatten` treats its query dates."""

    skip_unchanged: bool = Field(
        default=False,
        description="Leave dates alone whose tables were made from the same raw answers by the same versions.",
    )


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
    name="flatten",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(
                name,
                how="Made from the raw answers of its query date, polled and imported, in one pass for all of "
                f"{', '.join(f'`{table}`' for table in TABLES)}. Many dates are one run.",
                cadence="day",
                kinds={"python", "parquet"},
            ),
            is_required=False,
        )
        for name in TABLES
    },
    deps=["raw_snapshots"],
    can_subset=True,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def flatten(
    context: dg.AssetExecutionContext, config: FlattenConfig, lake: LakeResource
) -> Iterator[dg.Output[list[tuple[str, Published]]]]:
    """Make the tables of each query date in one pass over its raw answers.

    A date is published before the next one is begun, and not by the IO manager, which gets all dates of one table and
    then all of the next: a kill would cost a whole backfill, or leave the tables of all its dates made from different
    answers, and a year of staged files is 1,460 open descriptors (the usual limit is 1,024).
    """
    opened = lake.open()
    tables = [name for name in TABLES if name in context.op_execution_context.selected_output_names]
    with_raw = set(opened.raw.dates())
    if not with_raw.intersection(map(query_date, context.partition_keys)):
        raise dg.Failure(
            f"No raw answers for {' to '.join(sorted({context.partition_keys[0], context.partition_keys[-1]}))}: poll, "
            "or take archives in with `charging-assets import-raw`."
        )
    published: dict[str, list[tuple[str, Published]]] = {name: [] for name in tables}
    for number, key in enumerate(context.partition_keys, start=1):
        date = query_date(key)
        if date not in with_raw:
            context.log.warning("%s: no raw answers; its tables, if there are any, stay as they are.", key)
            partitions = _as_they_stand(opened, date, tables)
        elif config.skip_unchanged and is_unchanged(opened, date, tables):
            context.log.info("%s: unchanged.", key)
            partitions = _as_they_stand(opened, date, tables)
        else:
            partitions = _flatten_and_publish(opened, date, tables)
        for name in tables:
            published[name].append((key, partitions[name]))
        advance("days built", number, len(context.partition_keys))
    for name in tables:
        yield dg.Output(published[name], output_name=name)


def is_unchanged(lake: Lake, date: dt.date, tables: Sequence[str] = TABLES) -> bool:
    """Whether all `tables` of the date were made from the raw answers there are now, by this version."""
    made_from = (lake.raw.fingerprint(date), SCHEMA_VERSION, __version__)
    try:
        infos = [lake.info(name, date) for name in tables]
    except LakeError:  # a damaged file: building is what mends it
        return False
    return all(info and (info.inputs, info.schema_version, info.code_version) == made_from for info in infos)


def _as_they_stand(lake: Lake, date: dt.date, tables: Sequence[str]) -> dict[str, Published]:
    return {name: Published(lake.info(name, date)) for name in tables}


def _flatten_and_publish(lake: Lake, date: dt.date, tables: Sequence[str]) -> dict[str, Published]:
    staged = flatten_day(lake, date, tables)
    published: dict[str, Published] = {}
    for name in tables:
        if published:
            failpoint("graph.between_tables")
        info = lake.publish(staged[name])
        published[name] = Published(info, preview(lake.head(name, date, PREVIEW_OF)))
    return published


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
