"""What one pass over a day's raw answers makes."""

import datetime as dt
from collections.abc import Mapping, Sequence

import dagster as dg

from charging_assets.defs.assets.days import BuildConfig, Outputs, build_days, published
from charging_assets.defs.io_managers import Published
from charging_assets.defs.metadata import asset_spec
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.failpoints import failpoint
from charging_assets.flatten.day import TABLES, flatten_day
from charging_assets.lake import Lake


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
def flatten(context: dg.AssetExecutionContext, config: BuildConfig, lake: LakeResource) -> Outputs:
    """Make the tables of each query date in one pass over its raw answers."""
    opened = lake.open()
    with_raw = set(opened.raw.dates())
    if not with_raw.intersection(map(query_date, context.partition_keys)):
        raise dg.Failure(
            f"No raw answers for {' to '.join(sorted({context.partition_keys[0], context.partition_keys[-1]}))}: poll, "
            "or take archives in with `charging-assets import-raw`."
        )

    def build(date: dt.date, tables: Sequence[str]) -> Mapping[str, Published]:
        return _flatten_and_publish(opened, date, tables)

    yield from build_days(context, config, opened, TABLES, with_raw, build)


def _flatten_and_publish(lake: Lake, date: dt.date, tables: Sequence[str]) -> Mapping[str, Published]:
    staged = flatten_day(lake, date, tables)
    made: dict[str, Published] = {}
    for name in tables:
        if made:
            failpoint("graph.between_tables")
        made[name] = published(lake, lake.publish(staged[name]))
    return made
