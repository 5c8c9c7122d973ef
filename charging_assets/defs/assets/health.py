"""How far the feeds can be believed, day by day."""

import datetime as dt
from collections.abc import Mapping, Sequence

import dagster as dg
import pyarrow as pa

from charging_assets.calendar import is_closed
from charging_assets.defs.assets.days import WINDOW, BuildConfig, Outputs, build_derived_days
from charging_assets.defs.metadata import asset_spec
from charging_assets.defs.partitions import DAILY
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.derive.inputs import DAYS_AFTER, DAYS_BEFORE
from charging_assets.model.tables import made_from, table

TABLES = ("feed_health", "frozen_spans")
"""The tables that the asset `feed_health` makes."""


@dg.multi_asset(
    name="feed_health",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(
                name,
                how=f"Made from {DAYS_BEFORE} days before to {DAYS_AFTER} day after its query date, as far as they are "
                "built: a freeze is often proven only on the next day. So building a day makes that of the day before "
                "again, if there is one.",
                cadence="day",
                kinds={"python", "parquet"},
            ),
            is_required=False,
        )
        for name in TABLES
    },
    deps=[dg.AssetDep(name, partition_mapping=WINDOW) for name in made_from(table("feed_health"))],
    can_subset=True,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def feed_health(context: dg.AssetExecutionContext, config: BuildConfig, lake: LakeResource) -> Outputs:
    """Judge the feeds on each query date."""
    opened = lake.open()
    maker = FeedHealthMaker(opened)

    def make(date: dt.date, tables: Sequence[str]) -> Mapping[str, pa.Table]:
        made = maker.make(date, is_closed=is_closed(date))
        return {name: getattr(made, name) for name in tables}

    yield from build_derived_days(context, config, opened, TABLES, make, days_again=1)
