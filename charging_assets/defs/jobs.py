"""Jobs: which assets are made together."""

from typing import Any

import dagster as dg

from charging_assets.defs.assets.dimensions import calendar, dimensions
from charging_assets.defs.assets.flattened import flatten
from charging_assets.defs.assets.health import feed_health
from charging_assets.defs.assets.raw import POLL_JOB, current_status, raw_snapshots
from charging_assets.settings import Settings

poll_chargecloud = dg.define_asset_job(
    POLL_JOB,
    dg.AssetSelection.assets(raw_snapshots, current_status),
    description="Polls all feeds once, keeps the answers and renews `current_status`. Only this job polls, only for "
    "today's partition.",
    # A poll bounds itself to 80 % of the interval; a run that is still there at the next tick hangs.
    tags={dg.MAX_RUNTIME_SECONDS_TAG: str(max(300, Settings.from_env().interval_s))},
)

build_query_date = dg.define_asset_job(
    "build_query_date",
    dg.AssetSelection.assets(flatten, feed_health),
    description="Builds the dated tables of a query date from its raw answers, without polling, and checks them.",
)

refresh_dimensions = dg.define_asset_job(
    "refresh_dimensions",
    dg.AssetSelection.assets(dimensions, calendar),
    description="Makes stations, points and connectors, their histories and the calendar from all days, and checks "
    "them.",
)


def build_config(*, skip_unchanged: bool) -> dict[str, Any]:
    """Run config of `build_query_date`."""
    return {"ops": {name: {"config": {"skip_unchanged": skip_unchanged}} for name in ("flatten", "feed_health")}}
