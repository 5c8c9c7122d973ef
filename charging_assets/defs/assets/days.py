"""What all assets have in common that make several tables of a query date at once."""

import datetime as dt
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg
import pyarrow as pa
from dagster_shared.utils.warnings import BetaWarning
from pydantic import Field

from charging_assets.defs.checks import bad_partitions, require_passed
from charging_assets.defs.io_managers import Published
from charging_assets.defs.metadata import PREVIEW_OF, partition_metadata, preview
from charging_assets.defs.partitions import query_date
from charging_assets.derive.inputs import DAYS_AFTER, DAYS_BEFORE, Inputs, window
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.model.tables import made_from, table
from charging_assets.progress import advance

Outputs = Iterator[dg.Output[list[tuple[str, Published]]]]

with warnings.catch_warnings():
    # The first days have none before them, and the last none after: nothing but this parameter allows for that.
    warnings.filterwarnings("ignore", ".*allow_nonexistent_upstream_partitions", BetaWarning)
    WINDOW = dg.TimeWindowPartitionMapping(
        start_offset=-DAYS_BEFORE, end_offset=DAYS_AFTER, allow_nonexistent_upstream_partitions=True
    )
    """The days that a derived table of a day is made from."""


class BuildConfig(dg.Config):
    """How an asset treats its query dates."""

    skip_unchanged: bool = Field(
        default=False,
        description="Leave dates alone whose tables were made from the inputs there are now by the same versions.",
    )


def build_days(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    lake: Lake,
    tables: Sequence[str],
    dates_with_inputs: set[dt.date],
    build: Callable[[dt.date, Sequence[str]], Mapping[str, Published]],
) -> Outputs:
    """Build the selected ones of `tables` for each partition of the run, one date after the other.

    `build` publishes each date before the next one is begun, and not the IO manager, which gets all dates of one table
    and then all of the next: a kill would cost a whole backfill, or leave the tables of all its dates made from
    different inputs, and a year of staged files is 1,825 open descriptors (the usual limit is 1,024).
    """
    tables = [name for name in tables if name in context.op_execution_context.selected_output_names]
    bad = bad_partitions(context.instance, tables, context.partition_keys)  # building is what mends them
    published: dict[str, list[tuple[str, Published]]] = {name: [] for name in tables}
    for number, key in enumerate(context.partition_keys, start=1):
        date = query_date(key)
        if date not in dates_with_inputs:
            context.log.warning("%s: nothing to make it from; its tables, if there are any, stay as they are.", key)
            partitions = _as_they_stand(lake, date, tables)
        elif config.skip_unchanged and key not in bad and Inputs(lake).is_current(tables, date):
            context.log.info("%s: unchanged.", key)
            partitions = _as_they_stand(lake, date, tables)
        else:
            partitions = build(date, tables)
        for name in tables:
            published[name].append((key, partitions[name]))
        advance(f"days of {tables[0]} built", number, len(context.partition_keys))
    for name in tables:
        yield dg.Output(published[name], output_name=name)


def build_derived_days(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    lake: Lake,
    tables: Sequence[str],
    make: Callable[[dt.date, Sequence[str]], Mapping[str, pa.Table]],
    *,
    days_again: int,
) -> Outputs:
    """Build tables that are made from the days around theirs, for each partition of the run.

    What an earlier day tells may change with it, so the days right before the first one are derived again where that is
    so. Dates for which a day that must not be read would have to be read stay as they are, and fail the step at its
    end.

    Args:
        context: of the run.
        config: of the asset.
        lake: where the tables are.
        tables: that are made together.
        make: the tables of these names of a date.
        days_again: how many days before the first date may have become stale by it.
    """
    upstream = made_from(table(tables[0]))
    flattened, there = set(lake.partitions("poll_log")), set(lake.partitions(tables[0]))
    dates = [query_date(key) for key in context.partition_keys]
    before = [dates[0] - dt.timedelta(days=number) for number in range(days_again, 0, -1)]
    again = [date for date in before if date in there and not Inputs(lake).is_current(tables, date)]
    read = {date for each in again + dates for date in window(each)} & flattened
    bad = {query_date(str(key)) for key in bad_partitions(context.instance, upstream, sorted(map(str, read)))}

    def build(date: dt.date, names: Sequence[str]) -> Mapping[str, Published]:
        inputs = Inputs(lake).fingerprint(tables[0], date)
        made = make(date, names)
        return {name: published(lake, lake.write(name, date, made[name], inputs)) for name in names}

    def build_and_report(date: dt.date) -> None:
        for name, part in build(date, tables).items():
            if part.info is not None:
                metadata = partition_metadata(part.info, lake.location(name, date), part.preview)
                context.log_event(dg.AssetMaterialization(name, partition=date.isoformat(), metadata=metadata))

    for date in again:
        if bad.isdisjoint(window(date)):
            build_and_report(date)
        else:
            context.log.warning("%s is not derived again: it would read a day that a blocking check found bad.", date)
    if of_dates := {each for date in dates for each in window(date)} & bad:
        for date in dates:
            if date in flattened and bad.isdisjoint(window(date)):
                build_and_report(date)
        require_passed(context.instance, upstream, sorted(map(str, of_dates)))
    yield from build_days(context, config, lake, tables, flattened, build)


def published(lake: Lake, info: PartitionInfo) -> Published:
    """A partition that has just been published, with some of its rows."""
    return Published(info, preview(lake.head(info.table, info.key, PREVIEW_OF)))


def _as_they_stand(lake: Lake, date: dt.date, tables: Sequence[str]) -> Mapping[str, Published]:
    return {name: Published(lake.info(name, date)) for name in tables}
