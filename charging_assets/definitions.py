"""The code location: which assets, jobs, schedules and resources there are. Assembly only."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from charging_assets.defs import assets, jobs
from charging_assets.defs.io_managers import LakeIOManager
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets.defs.schedules import poll_schedule
from charging_assets.settings import Settings


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole platform from the settings; `resources` replaces parts by others: `lake`, `chargecloud`."""
    settings = Settings.from_env()
    parts: dict[str, Any] = {
        "lake": LakeResource.from_settings(settings),
        "chargecloud": ChargecloudResource.from_settings(settings),
        **(resources or {}),
    }
    schedule = poll_schedule(settings.interval_s)
    return dg.Definitions(
        assets=[assets.raw_snapshots, assets.flatten, assets.current_status],
        jobs=[jobs.poll_chargecloud, jobs.build_query_date],
        schedules=[schedule] if schedule else [],
        resources={**parts, "io_manager": LakeIOManager(lake=parts["lake"])},
        # Dagster's default starts a process per step, at about 10 s of CPU each; a step here takes a second or two.
        # What can go side by side is days, each in a run of its own.
        executor=dg.in_process_executor,
    )


defs = build_definitions()
