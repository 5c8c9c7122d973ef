"""One period, of which several things are asked: what reports are made from."""

import datetime as dt
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from charging_assets.calendar import last_closed_date
from charging_assets.derive.occupancy.formulas import with_ratios
from charging_assets.derive.occupancy.periods.counted import calendar_of
from charging_assets.derive.occupancy.periods.profile import profile
from charging_assets.derive.occupancy.periods.selection import EVERYTHING, Selection, is_between
from charging_assets.derive.occupancy.periods.sums import UPTIME_12M, kpis
from charging_assets.derive.occupancy.periods.views import connected, dates_with_kpis
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_OF_PERIOD = pa.schema([field for field in arrow_schema("kpi_monthly") if field.name not in {"month", *UPTIME_12M}])
_ADDED_UP = pa.schema([field.with_nullable(True) for field in _OF_PERIOD])
"""Of what is added up from several rows of a day, not everything can be told."""

_HELD = "held_days"
_STORED = "kpi_daily"


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a period, in the one version that the lake had when it was opened. Threads may share it."""

    first: dt.date
    last: dt.date
    _connection: "Connection"
    _calendar: "Future[pa.Table]"
    _held: Collection[Selection]
    _held_days: "Future[pa.Table]"

    def kpis(self, selection: Selection) -> pa.Table:
        """The KPIs of the period, one row for each that is known on a day of it, sorted by `scope_id`.

        Returns:
            `scope`, `scope_id`, the figures of `kpi_daily` in their order and types, then `days` and `days_observed`
            as `kpi_monthly` has them. Names and the like are those of the last day.
        """
        cursor, source = self._days_of(selection)
        selection = self._simplest(selection)
        rows = kpis(cursor, selection, self._calendar.result(), source).select(_OF_PERIOD.names)
        return rows.cast(_ADDED_UP if selection.is_added_up else _OF_PERIOD)

    def daily(self, selection: Selection) -> pa.Table:
        """The rows of `kpi_daily` of the period, sorted by `scope_id` and `query_date`. Missing days have none."""
        cursor, source = self._days_of(selection)
        selection = self._simplest(selection)
        of_period = f"SELECT * FROM {source} WHERE {is_between(self.first, self.last)}"  # noqa: S608
        rows = cursor.sql(f"{selection.days(of_period)} ORDER BY scope_id, query_date").to_arrow_table()
        schema = arrow_schema("kpi_daily")
        if selection.is_added_up:
            return with_ratios(rows).select(schema.names)
        return rows.select(schema.names).cast(schema)

    def profile(self, selection: Selection) -> pa.Table:
        """`usage_profile` of the period, from `utilization_hourly`."""
        return profile(self._connection.cursor(), selection, is_between(self.first, self.last))

    def feeds(self, selection: Selection) -> list[str]:
        """Those that had a charging point of a selection, sorted."""
        if selection == EVERYTHING:
            cursor, source = self._days_of(selection)
            found = f"SELECT scope_id AS feed, query_date FROM {source} WHERE {selection.is_its_day}"  # noqa: S608
        else:
            cursor = self._connection.cursor()
            hours = f"SELECT *, {selection.column} AS scope_id FROM utilization_hourly"  # noqa: S608
            found = f"SELECT * FROM ({hours}) WHERE {selection.is_wanted}"  # noqa: S608
        query = f"SELECT DISTINCT feed FROM ({found}) WHERE {is_between(self.first, self.last)} ORDER BY feed"  # noqa: S608
        return [feed for (feed,) in cursor.execute(query).fetchall()]

    def _days_of(self, selection: Selection) -> "tuple[Connection, str]":
        """A cursor, and the table in which it finds the days of a selection."""
        cursor = self._connection.cursor()
        if selection not in self._held:
            return cursor, _STORED
        cursor.register(_HELD, self._held_days.result())
        return cursor, _HELD

    def _simplest(self, selection: Selection) -> Selection:
        """Everything is, of one feed, that feed: of which more can be told."""
        is_one_feed = selection == EVERYTHING and len(self.feeds(EVERYTHING)) <= 1
        return Selection("feed") if is_one_feed else selection


@contextmanager
def opened_period(
    lake: Lake, first: dt.date, last: dt.date, repeated: Collection[Selection] = (), now: dt.datetime | None = None
) -> Iterator[Period]:
    """A period of which several things are asked.

    Args:
        lake: whose `kpi_daily`, `charging_events` and `utilization_hourly` are read.
        first: first query date.
        last: last one; before `first`, the period is empty and has no rows.
        repeated: of which both KPIs and days are asked, or of which there are several: their days are read once for
            all, if they are few enough to be held in memory.
        now: up to when days without polls are missing and not to come; None: now.

    Raises:
        LakeError: the lake cannot be read.
    """
    held = [selection for selection in repeated if selection.is_narrow]
    # A year is hundreds of small files, which one thread reads: so that others ask something else meanwhile.
    with connected(lake, _STORED, "charging_events", "utilization_hourly") as connection, ThreadPoolExecutor(2) as pool:

        def calendar() -> pa.Table:
            dates = dates_with_kpis(connection.cursor())
            return calendar_of(dates, {first: (first, last)}, last_closed_date(now))

        def days() -> pa.Table:
            is_held = " OR ".join(f"({selection.is_its_day})" for selection in held)
            query = f"SELECT * FROM {_STORED} WHERE {is_between(first, last)} AND ({is_held or 'false'})"  # noqa: S608
            return connection.cursor().sql(query).to_arrow_table()

        yield Period(first, last, connection, pool.submit(calendar), held, pool.submit(days))
