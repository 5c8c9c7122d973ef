"""All occupancy tables of a day, from the facts of the days around it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from charging_assets.derive.inputs import DAYS_BEFORE, window
from charging_assets.derive.occupancy.events import charging_events
from charging_assets.derive.occupancy.hourly import utilization_hourly
from charging_assets.derive.occupancy.intervals import status_intervals
from charging_assets.derive.occupancy.kpis import kpi_daily
from charging_assets.derive.occupancy.observation import ObservedDay, SeenDay, observe, see_day
from charging_assets.derive.occupancy.places import places_of
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.model.arrow import arrow_schema

TABLES = ("status_intervals", "charging_events", "utilization_hourly", "kpi_daily")
"""The tables that are made together."""

_SEEN_IN = ("poll_log", "status_chargingpoints", "frozen_spans")


@dataclass(frozen=True, slots=True)
class OccupancyDay:
    """The tables of a day, ready to be written."""

    status_intervals: pa.Table
    charging_events: pa.Table
    utilization_hourly: pa.Table
    kpi_daily: pa.Table


class OccupancyMaker:
    """Makes one day after the other, and keeps the runs of each day it has read: days in a row are read once.

    Args:
        lake: has `poll_log`, `status_chargingpoints`, `frozen_spans` and `master_observations` of the days from 7
            before to 1 after, as far as they exist.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._seen: dict[dt.date, tuple[Sequence[PartitionInfo | None], SeenDay]] = {}

    def make(self, query_date: dt.date, *, is_closed: bool) -> OccupancyDay:
        """The tables of a day; without rows when it has no polls.

        Args:
            query_date: the day.
            is_closed: whether no poll of it is to come. Until then it counts up to its last poll.

        Raises:
            LakeError: a file is damaged, or of another version.
        """
        observed = self.observe(query_date, is_closed=is_closed)
        if observed is None:
            return OccupancyDay(*(arrow_schema(name).empty_table() for name in TABLES))
        places = places_of(self._lake, observed.ids, window(query_date)[DAYS_BEFORE::-1])
        events = charging_events(observed, places)
        hourly = utilization_hourly(observed, places)
        return OccupancyDay(status_intervals(observed), events, hourly, kpi_daily(observed, places, hourly, events))

    def observe(self, query_date: dt.date, *, is_closed: bool) -> ObservedDay | None:
        """What the tables of a day are made from; None when it has no polls. Otherwise as `make`."""
        days = self._days(query_date)
        if query_date not in days:
            return None
        return observe(self._lake, query_date, list(days.values()), is_closed=is_closed)

    def _days(self, query_date: dt.date) -> dict[dt.date, SeenDay]:
        """The days that there are around `query_date`, in order; those that lie elsewhere are forgotten."""
        stamps = {date: [self._lake.info(name, date) for name in _SEEN_IN] for date in window(query_date)}
        stamps = {date: stamp for date, stamp in stamps.items() if stamp[0] is not None and stamp[0].rows}
        self._seen = {
            date: self._seen[date]
            if date in self._seen and self._seen[date][0] == stamp
            else (stamp, see_day(self._lake, date))
            for date, stamp in stamps.items()
        }
        return {date: seen for date, (_, seen) in self._seen.items()}
