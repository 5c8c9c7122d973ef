"""Partitions: of everything dated the Europe/Berlin date of the query time, of reports the month."""

import datetime as dt

import dagster as dg

from charging_assets.settings import Settings

DAILY = dg.DailyPartitionsDefinition(
    start_date=Settings.from_env().first_date.isoformat(),
    timezone="Europe/Berlin",
    end_offset=1,  # without it today has no partition, and no poll could be filed before midnight
)
"""One partition per query date, from `CHARGING_ASSETS_FIRST_DATE` to today. Keys are ISO dates."""

MONTHLY = dg.MonthlyPartitionsDefinition(
    start_date=Settings.from_env().first_date.replace(day=1).isoformat(), timezone="Europe/Berlin"
)
"""One partition per month that is over. Keys are ISO dates of its first day."""


def query_date(partition_key: str) -> dt.date:
    """The query date that a key of `DAILY` names."""
    return dt.date.fromisoformat(partition_key)


def month_of(partition_key: str) -> tuple[dt.date, dt.date]:
    """The first and the last query date of the month that a key of `MONTHLY` names."""
    first = dt.date.fromisoformat(partition_key)
    return first, (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
