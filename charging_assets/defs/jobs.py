"""Jobs: which assets are made together."""

from typing import Any

import dagster as dg

from charging_assets.defs.assets.dimensions import calendar, dimensions
from charging_assets.defs.assets.flattened import flatten
from charging_assets.defs.assets.health import feed_health
from charging_assets.defs.assets.occupancy import occupancy, periods, poi_effect_asset
from charging_assets.defs.assets.pois import pois, raw_pois, station_pois_asset
from charging_assets.defs.assets.raw import POLL_JOB, current_status, raw_snapshots
from charging_assets.defs.assets.reports import reports
from charging_assets.settings import Settings

_CHECKS_OF_POLLS = dg.AssetSelection.checks_for_assets(raw_snapshots, current_status)

poll_chargecloud = dg.define_asset_job(
    POLL_JOB,
    # Not with its checks: 144 verdicts a day would say the same, and a poll that never starts says nothing at all.
    dg.AssetSelection.assets(raw_snapshots, current_status) - _CHECKS_OF_POLLS,
    description="Polls all feeds once, keeps the answers and renews `current_status`. Only this job polls, only for "
    "today's partition.",
    # A poll bounds itself to 80 % of the interval; a run that is still there at the next tick hangs.
    tags={dg.MAX_RUNTIME_SECONDS_TAG: str(max(300, Settings.from_env().interval_s)), "dagster/priority": "1"},
)

check_polls = dg.define_asset_job(
    "check_polls",
    _CHECKS_OF_POLLS,
    description="Checks the newest raw answers, `current_status`, and whether polls still come.",
)

build_query_date = dg.define_asset_job(
    "build_query_date",
    dg.AssetSelection.assets(flatten, feed_health, occupancy),
    description="Builds the dated tables of a query date from its raw answers, without polling, and checks them.",
)

refresh_dimensions = dg.define_asset_job(
    "refresh_dimensions",
    dg.AssetSelection.assets(dimensions, calendar, station_pois_asset, periods, poi_effect_asset),
    description="Makes what is of all days: stations, points and connectors, their histories, the calendar, what "
    "stands around the stations and goes along with their use, KPIs by month, the profile of the week. Checks them.",
)

refresh_pois = dg.define_asset_job(
    "refresh_pois",
    dg.AssetSelection.assets(raw_pois, pois, station_pois_asset),
    description="Asks OpenStreetMap for points of interest, keeps what came, and matches them with the stations.",
)

make_reports = dg.define_asset_job(
    "make_reports",
    dg.AssetSelection.assets(reports),
    description="Makes the reports of a month, by city, station, operator and power class.",
)

_PUBLISHED = dg.AssetSelection.groups("warehouse")

publish = dg.define_asset_job(
    "publish",
    _PUBLISHED,
    description="Loads what the warehouse lacks of query dates and of the undated tables, and checks whether it then "
    "has all that the lake has.",
)

check_warehouse = dg.define_asset_job(
    "check_warehouse",
    _PUBLISHED - _PUBLISHED.without_checks(),
    description="Checks whether the warehouse has all that the lake has, also when publishing failed or never began.",
)


def build_config(*, skip_unchanged: bool) -> dict[str, Any]:
    """Run config of `build_query_date`."""
    built = (flatten, feed_health, occupancy)
    return {"ops": {asset.op.name: {"config": {"skip_unchanged": skip_unchanged}} for asset in built}}
