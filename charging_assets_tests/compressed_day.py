"""The platform as a code location, for tests that run Dagster's scheduler in their own process.

Lake and feeds are those of the environment when something runs, and not when this is imported: Dagster imports it once.
"""

import dagster as dg

from charging_assets.definitions import build_definitions
from charging_assets.defs.resources import ChargecloudResource, LakeResource

FEEDS = ("koeln", "bonn")
INTERVAL_S = 600

defs = build_definitions(
    {
        "lake": LakeResource(uri=dg.EnvVar("CHARGING_ASSETS_LAKE"), home=dg.EnvVar("CHARGING_ASSETS_HOME")),
        "chargecloud": ChargecloudResource(feeds=list(FEEDS), interval_s=INTERVAL_S),
    }
)
