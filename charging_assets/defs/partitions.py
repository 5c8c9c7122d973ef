"""The partition of everything dated: the Europe/Berlin date of the query time."""

import datetime as dt

import dagster as dg

from charging_assets.settings import Settings

DAILY = dg.DailyPartitionsDefinition(
    start_date=Settings.from_env().first_date.isoformat(),
    timezone="Europe/Berlin",
    end_offset=1,  # without it today has no partition, and no poll could be filed before midnight
)
"""One partition per query date, from `CHARGING_ASSETS_FIRST_DATE` to today. Keys are ISO dates."""


def query_date(partition_key: str) -> dt.date:
    """The query date that a key of `DAILY` names."""
    return dt.date.fromisoformat(partition_key)
