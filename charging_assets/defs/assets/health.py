"""How far the feeds can be believed, day by day."""

import datetime as dt
import warnings
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster_shared.utils.warnings import BetaWarning

from charging_assets.calendar import is_closed
from charging_assets.defs.assets.days import BuildConfig, Outputs, build_days, published
from charging_assets.defs.checks import bad_partitions, require_passed
from charging_assets.defs.io_managers import Published
from charging_assets.defs.metadata import asset_spec, partition_metadata
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.derive.inputs import DAYS_AFTER, DAYS_BEFORE, Inputs, window
from charging_assets.model.tables import made_from, table

TABLES = ("feed_health", "frozen_spans")
"""The tables that the asset `feed_health` makes."""

_UPSTREAM = made_from(table("feed_health"))

with warnings.catch_warnings():
    # The first days have none before them, and the last none after: nothing but this parameter allows for that.
    warnings.filterwarnings("ignore", ".*allow_nonexistent_upstream_partitions", BetaWarning)
    _WINDOW = dg.TimeWindowPartitionMapping(
        start_offset=-DAYS_BEFORE, end_offset=DAYS_AFTER, allow_nonexistent_upstream_partitions=True
    )


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
    deps=[dg.AssetDep(name, partition_mapping=_WINDOW) for name in _UPSTREAM],
    can_subset=True,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def feed_health(context: dg.AssetExecutionContext, config: BuildConfig, lake: LakeResource) -> Outputs:
    """Judge the feeds on each query date.

    Dates for which a day that must not be read would have to be read stay as they are, and fail the step at its end.
    """
    opened = lake.open()
    flattened = set(opened.partitions("poll_log"))
    dates = [query_date(key) for key in context.partition_keys]
    yesterday = window(dates[0])[DAYS_BEFORE - 1]
    derived_again = yesterday in opened.partitions(TABLES[0]) and not Inputs(opened).is_current(TABLES, yesterday)
    read = {date for each in ([yesterday] if derived_again else []) + dates for date in window(each)} & flattened
    bad = {query_date(str(key)) for key in bad_partitions(context.instance, _UPSTREAM, sorted(map(str, read)))}
    maker = FeedHealthMaker(opened)

    def build(date: dt.date, tables: Sequence[str]) -> Mapping[str, Published]:
        inputs = Inputs(opened).fingerprint(TABLES[0], date)
        made = maker.make(date, is_closed=is_closed(date))
        return {name: published(opened, opened.write(name, date, getattr(made, name), inputs)) for name in tables}

    def build_and_report(date: dt.date) -> None:
        for name, part in build(date, TABLES).items():
            if part.info is not None:
                metadata = partition_metadata(part.info, opened.location(name, date), part.preview)
                context.log_event(dg.AssetMaterialization(name, partition=date.isoformat(), metadata=metadata))

    if derived_again and bad.isdisjoint(window(yesterday)):
        build_and_report(yesterday)
    if bad:
        for date in dates:
            if date in flattened and bad.isdisjoint(window(date)):
                build_and_report(date)
        of_dates = {each for date in dates for each in window(date)} & bad
        require_passed(context.instance, _UPSTREAM, sorted(map(str, of_dates)))
    yield from build_days(context, config, opened, TABLES, flattened, build)
