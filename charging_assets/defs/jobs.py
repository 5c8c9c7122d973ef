"""Jobs: which assets are made together."""

import dagster as dg

from charging_assets.defs.assets import POLL_JOB, current_status, flatten, raw_snapshots
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
    dg.AssetSelection.assets(flatten),
    description="Builds the dated tables of a query date from its raw answers, without polling.",
)
