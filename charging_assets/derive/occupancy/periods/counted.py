"""Which days of a period count, as a table to join its days with."""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from charging_assets.calendar import day_bounds, month_end

Periods = Mapping[dt.date, tuple[dt.date, dt.date]]
"""First and last day of each period, by the date that it is called by."""

_DAY = dt.timedelta(days=1)
_CALENDAR = pa.schema(
    [
        ("period", pa.date32()),
        ("query_date", pa.date32()),
        *((name, pa.int64()) for name in ("period_days", "start_s", "end_s", "edge_s", "edge_days")),
    ]
)


def calendar_of(dates: Sequence[dt.date], periods: Periods, over: dt.date) -> pa.Table:
    """The days with rows, by period.

    Args:
        dates: all days of the lake with rows, sorted.
        periods: to look at.
        over: the last day that is over, so that none of its polls is still to come.

    Returns:
        `period`, `query_date`; `period_days`: of the whole period; `start_s` and `end_s`: the midnights of the day;
        `edge_s` and `edge_days`: length and number of the days without rows at the ends of the period, if this is the
        first or last day of it that has rows, else 0. None of them is before the first day of the lake, or to come.
    """
    made = [_CALENDAR.empty_table()]
    for period, (first, last) in periods.items():
        days = dates[bisect_left(dates, first) : bisect_right(dates, last)]
        if not days:
            continue
        begin, end = max(first, dates[0]), min(last, max(dates[-1], over))
        start_s, end_s = np.array([_bounds_s(day) for day in days]).T
        edge_s, edge_days = np.zeros_like(start_s), np.zeros_like(start_s)
        edge_s[0], edge_days[0] = start_s[0] - _bounds_s(begin)[0], (days[0] - begin).days
        edge_s[-1] += _bounds_s(end)[1] - end_s[-1]
        edge_days[-1] += (end - days[-1]).days
        length = [(last - first).days + 1] * len(days)
        columns = [[period] * len(days), days, length, start_s, end_s, edge_s, edge_days]
        made.append(pa.table([pa.array(values) for values in columns], schema=_CALENDAR))
    return pa.concat_tables(made)


def months_of(dates: Sequence[dt.date]) -> Periods:
    """The calendar months that these days are in, by their first day."""
    return {month: (month, month_end(month)) for month in sorted({date.replace(day=1) for date in dates})}


def years_up_to(months: Periods) -> Periods:
    """The twelve months up to the end of each of these."""
    return {
        month: (month_end(last.replace(year=last.year - 1, day=1)) + _DAY, last) for month, (_, last) in months.items()
    }


def _bounds_s(query_date: dt.date) -> tuple[int, int]:
    """Its midnights, in seconds since 1970."""
    start, end = day_bounds(query_date)
    return int(start.timestamp()), int(end.timestamp())
