"""What charging points were doing, day by day, and what follows from it for months, hours of the week and places."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from charging_assets.calendar import is_closed, utc_now
from charging_assets.defs.assets.days import WINDOW, BuildConfig, Outputs, build_derived_days, published
from charging_assets.defs.checks import require_passed
from charging_assets.defs.metadata import asset_spec
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.inputs import DAYS_AFTER, DAYS_BEFORE, DERIVED_AGAIN, undated_inputs
from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
from charging_assets.lake import Lake
from charging_assets.model.tables import is_dated, made_from, table
from charging_assets.settings import Settings

PERIOD_TABLES = ("kpi_monthly", "usage_profile")
_CHANGES_TOLD = 20


@dg.multi_asset(
    name="occupancy",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(
                name,
                how=f"Made with {', '.join(f'`{other}`' for other in TABLES if other != name)} from {DAYS_BEFORE} days "
                f"before to {DAYS_AFTER} day after its query date, as far as they are built: what happens around "
                "midnight is known only on the next day, and freezes of a day only after it. So building a day makes "
                "those of the two days before again where something has changed.",
                cadence="day",
                kinds={"python", "parquet"},
            ),
            is_required=False,
        )
        for name in TABLES
    },
    deps=[dg.AssetDep(name, partition_mapping=WINDOW) for name in made_from(table(TABLES[0]))],
    can_subset=True,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def occupancy(context: dg.AssetExecutionContext, config: BuildConfig, lake: LakeResource) -> Outputs:
    """Make intervals, events, hours and KPIs of each query date."""
    opened = lake.open()
    maker = OccupancyMaker(opened)

    def make(date: dt.date, tables: Sequence[str]) -> Mapping[str, pa.Table]:
        made = maker.make(date, is_closed=is_closed(date))
        return {name: getattr(made, name) for name in tables}

    yield from build_derived_days(context, config, opened, TABLES, make, days_again=DERIVED_AGAIN)
    _tell_changed_figures(context, opened)


def _tell_changed_figures(context: dg.AssetExecutionContext, lake: Lake) -> None:
    """Name the figures of published reports that are others by now: the night, too, rebuilds days after an upgrade."""
    if not lake.reports.entries():
        return
    from charging_assets.reports.occupancy.archive import changed_figures  # noqa: PLC0415 - it brings DuckDB along

    changes = changed_figures(lake, [query_date(key) for key in context.partition_keys])
    for change in changes[:_CHANGES_TOLD]:
        context.log.warning("Published report %s would be another now: %s", change.published.report_id, change)
    if len(changes) > _CHANGES_TOLD:
        context.log.warning("… and %d more figures of published reports.", len(changes) - _CHANGES_TOLD)


@dg.multi_asset(
    name="periods",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(name, how="Made anew from all days there are.", cadence="night", kinds={"duckdb", "parquet"})
        )
        for name in PERIOD_TABLES
    },
    deps=sorted({upstream for name in PERIOD_TABLES for upstream in made_from(table(name))}),
)
def periods(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[Any]]:
    """Sum days up to months and to the hours of the week."""
    # Imported when asked for, as in the other assets of DuckDB: loading the definitions does without it.
    from charging_assets.derive.occupancy.periods import kpi_monthly, usage_profile  # noqa: PLC0415

    opened, active_days, now = lake.open(), Settings.from_env().active_days, utc_now()
    made_by: Mapping[str, Callable[[Lake], pa.Table]] = {
        "kpi_monthly": partial(kpi_monthly, now=now),
        "usage_profile": usage_profile,
    }
    for name, make in made_by.items():
        for upstream in made_from(table(name)):
            dates = opened.partitions(upstream)
            require_passed(context.instance, [upstream], [date.isoformat() for date in dates])
        inputs = undated_inputs(opened, name, active_days, now=now)
        yield dg.Output(published(opened, opened.write(name, None, make(opened), inputs)), output_name=name)


@dg.multi_asset(
    name="poi_effect",
    outs={
        "poi_effect": dg.AssetOut.from_spec(
            asset_spec(
                "poi_effect",
                how="Estimated anew from the last 365 days there are; without rows where too little is known.",
                cadence="night",
                kinds={"python", "parquet"},
            )
        )
    },
    deps=list(made_from(table("poi_effect"))),
)
def poi_effect_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[Any]]:
    """Estimate what is associated with how much charging points are used."""
    from charging_assets.derive.poi_effect import poi_effect  # noqa: PLC0415 - it brings statsmodels along

    opened = lake.open()
    require_passed(context.instance, [name for name in made_from(table("poi_effect")) if not is_dated(table(name))])
    require_passed(context.instance, ["kpi_daily"], [date.isoformat() for date in opened.partitions("kpi_daily")])
    inputs = undated_inputs(opened, "poi_effect", Settings.from_env().active_days)
    part = published(opened, opened.write("poi_effect", None, poi_effect(opened), inputs))
    yield dg.Output(part, output_name="poi_effect")
