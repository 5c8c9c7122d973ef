"""The code location: which assets, jobs, schedules and resources there are. Assembly only."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from charging_assets.defs import jobs
from charging_assets.defs.assets import ASSETS
from charging_assets.defs.checks import build_checks
from charging_assets.defs.housekeeping import housekeeping
from charging_assets.defs.io_managers import LakeIOManager
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets.defs.schedules import build_schedules
from charging_assets.defs.sensors import build_sensors
from charging_assets.settings import Settings


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole platform from the settings; `resources` replaces parts: `lake`, `chargecloud`, `warehouse`."""
    settings = Settings.from_env()
    parts: dict[str, Any] = {
        "lake": LakeResource.from_settings(settings),
        "chargecloud": ChargecloudResource.from_settings(settings),
        **(resources or {}),
    }
    platform = dg.Definitions(
        assets=ASSETS,
        asset_checks=build_checks(),
        jobs=[
            *(jobs.poll_chargecloud, jobs.check_polls, jobs.build_query_date),
            *(jobs.refresh_dimensions, jobs.refresh_pois, jobs.make_reports, housekeeping),
        ],
        schedules=build_schedules(settings),
        sensors=build_sensors(settings),
        resources={
            "lake": parts["lake"],
            "chargecloud": parts["chargecloud"],
            "io_manager": LakeIOManager(lake=parts["lake"]),
        },
        # Dagster's default starts a process per step, at about 10 s of CPU each; a step here takes a second or two.
        # What can go side by side is days, each in a run of its own.
        executor=dg.in_process_executor,
    )
    if settings.warehouse == "duckdb":  # which reads the lake itself: there is nothing to publish
        return platform
    # Imported when there is one: it brings drivers along.
    from charging_assets.defs.publishing import build_publishing  # noqa: PLC0415

    return dg.Definitions.merge(platform, build_publishing(settings, parts["lake"], parts.get("warehouse")))


defs = build_definitions()
