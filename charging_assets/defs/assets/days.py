"""What all assets have in common that make several tables of a query date at once."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg
from pydantic import Field

from charging_assets.defs.checks import bad_partitions
from charging_assets.defs.io_managers import Published
from charging_assets.defs.metadata import PREVIEW_OF, preview
from charging_assets.defs.partitions import query_date
from charging_assets.derive.inputs import Inputs
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.progress import advance

Outputs = Iterator[dg.Output[list[tuple[str, Published]]]]


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


def published(lake: Lake, info: PartitionInfo) -> Published:
    """A partition that has just been published, with some of its rows."""
    return Published(info, preview(lake.head(info.table, info.key, PREVIEW_OF)))


def _as_they_stand(lake: Lake, date: dt.date, tables: Sequence[str]) -> Mapping[str, Published]:
    return {name: Published(lake.info(name, date)) for name in tables}
