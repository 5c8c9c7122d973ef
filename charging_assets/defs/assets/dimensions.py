"""What has one partition for all time: stations, points and connectors with their history, and the calendar."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from charging_assets.defs.checks import require_passed
from charging_assets.defs.metadata import asset_spec
from charging_assets.defs.pandas_types import pandas_type, to_pandas
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.calendar_tables import public_holidays, time_table
from charging_assets.derive.dimensions import dimensions as dimensions_of
from charging_assets.derive.inputs import undated_inputs
from charging_assets.lake import Lake
from charging_assets.model.tables import METADATA, made_from, table
from charging_assets.settings import Settings

DIMENSIONS = tuple(name for name, tab in METADATA.tables.items() if made_from(tab) == ("master_observations",))
"""The tables that the asset `dimensions` makes."""


class DimensionsConfig(dg.Config):
    """How the dimensions are made."""

    active_days: int = Field(
        default=Settings.from_env().active_days,
        description="`is_active` means: seen on one of the last so many days on which its feed was "
        "(CHARGING_ASSETS_ACTIVE_DAYS).",
    )


def _spec(name: str, how: str) -> dg.AssetSpec:
    return asset_spec(name, how=how, cadence="night", kinds={"python", "pandas", "parquet"})


@dg.multi_asset(
    name="dimensions",
    outs={
        name: dg.AssetOut.from_spec(
            _spec(
                name,
                "Made anew from the `master_observations` of all days, in whichever order they were built, with "
                f"{', '.join(f'`{other}`' for other in DIMENSIONS if other != name)}.",
            ),
            dagster_type=pandas_type(name),
        )
        for name in DIMENSIONS
    },
    deps=["master_observations"],
)
def dimensions(
    context: dg.AssetExecutionContext, config: DimensionsConfig, lake: LakeResource
) -> Iterator[dg.Output[Any]]:
    """Make the dimensions and their histories."""
    opened = lake.open()
    _require_built(context, opened, DIMENSIONS[0])
    inputs = undated_inputs(opened, DIMENSIONS[0], config.active_days)  # before anything is read
    for name, made in dimensions_of(opened, active_days=config.active_days).items():
        yield dg.Output(_made_from(inputs, to_pandas(made, name)), output_name=name)


@dg.multi_asset(
    name="calendar",
    outs={
        name: dg.AssetOut.from_spec(_spec(name, how), dagster_type=pandas_type(name))
        for name, how in {
            "time": "Made anew from the `poll_log` of all days.",
            "public_holiday": "Made anew with the package `holidays`, for the years of the `poll_log`.",
        }.items()
    },
    deps=["poll_log"],
)
def calendar(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[Any]]:
    """Take all query times apart, and list the holidays of their years and the next one."""
    opened = lake.open()
    dates = _require_built(context, opened, "time")
    inputs = undated_inputs(opened, "time", Settings.from_env().active_days)
    yield dg.Output(_made_from(inputs, to_pandas(time_table(opened), "time")), output_name="time")
    holidays = to_pandas(public_holidays(dates[0], dates[-1]), "public_holiday")
    yield dg.Output(_made_from(inputs, holidays), output_name="public_holiday")


def _made_from(inputs: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the fingerprint of its inputs for the IO manager."""
    frame.attrs["inputs"] = inputs
    return frame


def _require_built(context: dg.AssetExecutionContext, lake: Lake, name: str) -> list[dt.date]:
    """The dates of what the table is made from.

    Raises:
        dg.Failure: there are none, or one of them failed a blocking check.
    """
    (upstream,) = made_from(table(name))
    dates = lake.partitions(upstream)
    if not dates:
        raise dg.Failure(f"{upstream} has no partitions: build a date first (`charging-assets build`).")
    require_passed(context.instance, [upstream], [date.isoformat() for date in dates])
    return dates
