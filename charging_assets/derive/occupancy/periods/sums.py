"""KPIs of periods from the days of `kpi_daily`, and their durations from `charging_events`."""

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.derive.occupancy.formulas import duration_quantiles, durations_shown, share, shown, with_ratios
from charging_assets.derive.occupancy.periods.selection import (
    ADDED,
    ALL,
    DURATIONS,
    ENERGY,
    OBSERVED,
    Selection,
    is_between,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

UPTIME_12M = ("uptime_12m", "uptime_12m_coverage")
_TEXTS = ("name", "city", "operator_name", "power_class")
_MOST = ("points", "points_observed", "stations", "max_occupied")
_BY_DAY = ("period", "edge_s", "edge_days")
"""Columns of the calendar of which each day of a period has one value."""
_AT_ONCE = 10_000
"""Rows whose durations are made at once, so that memory does not grow with the years."""


def kpis(connection: "Connection", selection: Selection, calendar: pa.Table, source: str = "kpi_daily") -> pa.Table:
    """`period` and the columns of `Period.kpis`, sorted by `scope_id` and `period`.

    Args:
        connection: has `kpi_daily` and `charging_events`.
        selection: of what.
        calendar: which days count, see `counted`.
        source: the table that has the days of the selection.
    """
    counts = dict(zip(ADDED, ADDED, strict=True)) | {
        "days_observed": f"CASE WHEN {OBSERVED} > 0 THEN 1 ELSE 0 END",
        "of_peak_s": f"CASE WHEN peak_utilization IS NOT NULL THEN {OBSERVED} END",
    }
    counts["unknown_s"] += " + absent_s + edge_s * points"
    counts["open_unknown_s"] += " + absent_open_s + edge_days * (open_observed_s + open_unknown_s)"
    # Threads add in no fixed order. Of decimals the sum is the same in any, and so are the bytes of the partition.
    amounts = {name: f"CAST({name} AS DECIMAL(18, 6))" for name in ENERGY} | {
        "peak_s": f"CAST(peak_utilization * ({OBSERVED}) AS DECIMAL(38, 12))"
    }
    query = f"""
        SELECT
            period, '{selection.scope}' AS scope, scope_id,
            {", ".join(f"arg_max_null({name}, query_date) AS {name}" for name in _TEXTS)},
            {", ".join(f"max({name}) AS {name}" for name in _MOST)},
            {", ".join(f"CAST(sum({sql}) AS BIGINT) AS {name}" for name, sql in counts.items())},
            {", ".join(f"CAST(sum({sql}) AS DOUBLE) AS {name}" for name, sql in amounts.items())},
            CAST(max(query_date) - min(query_date) + 1 + sum(edge_days) AS BIGINT) AS days
        FROM ({_counted(selection, _rows(calendar, source))})
        GROUP BY ALL
        ORDER BY scope_id, period"""  # noqa: S608
    connection.register("calendar", calendar)
    rows = connection.sql(query).to_arrow_table()
    if selection.scope == ALL and rows.num_rows:
        absent = _absent_points_s(connection, calendar)
        place = rows.column_names.index("unknown_s")
        rows = rows.set_column(place, "unknown_s", pc.add(rows["unknown_s"], absent))
    rows = with_ratios(rows)
    peak = shown(share(rows["peak_s"], rows["of_peak_s"]), rows["coverage"])
    rows = rows.append_column("peak_utilization", peak)
    return durations_shown(_with_durations(connection, selection, calendar, rows))


def uptime_12m(connection: "Connection", selection: Selection, calendar: pa.Table) -> pa.Table:
    """`scope_id`, `period` and the two columns of `kpi_monthly`; arguments are those of `kpis`."""
    sums = {"available_s": "occupied_s + free_s", "observed_s": OBSERVED, "unknown_s": "unknown_s"}
    columns = ", ".join(f"CAST(sum({sql}) AS BIGINT) AS {name}" for name, sql in sums.items())
    query = f"""
        SELECT period, scope_id, {columns}, count(*) / any_value(period_days) AS known
        FROM ({_rows(calendar)})
        WHERE {selection.is_its_day}
        GROUP BY period, scope_id"""  # noqa: S608
    connection.register("calendar", calendar)
    made = connection.sql(query).to_arrow_table()
    coverage = share(made["observed_s"], pc.add(made["observed_s"], made["unknown_s"]))
    coverage = pc.multiply(coverage, made["known"])
    uptime = shown(share(made["available_s"], made["observed_s"]), coverage)
    return pa.table([made["scope_id"], made["period"], uptime, coverage], ["scope_id", "period", *UPTIME_12M])


def _rows(calendar: pa.Table, source: str = "kpi_daily") -> str:
    """SQL of the rows of `source`, by period, with the columns of `calendar`."""
    ends = pc.min_max(calendar["query_date"])
    first, last = ends["min"].as_py() or dt.date.max, ends["max"].as_py() or dt.date.min
    return f"SELECT * FROM {source} JOIN calendar USING (query_date) WHERE {is_between(first, last)}"  # noqa: S608


def _counted(selection: Selection, rows: str) -> str:
    """SQL of the days of a selection by period: the columns of `rows`, and of what follows.

    `absent_s` and `absent_open_s` are seconds between a row and the next one of the same, if not the day after, times
    its points, or of its opening hours. Of all points together they are 0: see `_absent_points_s`.
    """
    if selection.scope == ALL:
        found = f"SELECT * FROM ({rows}) WHERE {selection.is_its_day}"  # noqa: S608
        return f"""
            SELECT *, 0 AS absent_s, 0 AS absent_open_s
            FROM ({selection.added_up(found, [*_BY_DAY])})"""  # noqa: S608
    of_rows = f"""
        SELECT
            *, points * coalesce(lead(start_s) OVER next - end_s, 0) AS absent_s,
            (open_observed_s + open_unknown_s) * coalesce(lead(query_date) OVER next - query_date - 1, 0)
                AS absent_open_s
        FROM ({rows})
        WHERE {selection.is_its_day}
        WINDOW next AS (PARTITION BY period, scope_id ORDER BY query_date)"""  # noqa: S608
    if not selection.is_added_up:
        return of_rows
    return selection.added_up(of_rows, [*_BY_DAY], ["absent_s", "absent_open_s"])


def _absent_points_s(connection: "Connection", calendar: pa.Table) -> int:
    """Seconds of all points between their first and their last day of the one period, on days without them."""
    query = f"""
        SELECT CAST(coalesce(sum(absent_s), 0) AS BIGINT) AS absent_s
        FROM (
            SELECT max(end_s) - min(start_s) - sum(end_s - start_s) AS absent_s
            FROM ({_rows(calendar)})
            WHERE {Selection("point").is_its_day}
            GROUP BY scope_id
        )"""  # noqa: S608
    (row,) = connection.execute(query).fetchall()
    return int(row[0])


def _with_durations(connection: "Connection", selection: Selection, calendar: pa.Table, rows: pa.Table) -> pa.Table:
    """`rows` with quantiles of the durations of their events of which both ends were seen."""
    places = rows.select(["period", "scope_id"]).append_column("place", pa.array(np.arange(len(rows))))
    connection.register("places", places)
    query = f"""
        SELECT place, duration_s, n_polls, events
        FROM (
            SELECT period, CAST(scope_id AS VARCHAR) AS scope_id, duration_s, n_polls, count(*) AS events
            FROM (SELECT *, {selection.column} AS scope_id FROM ({_rows(calendar, "charging_events")}))
            WHERE NOT is_left_censored AND NOT is_right_censored AND {selection.is_wanted}
            GROUP BY ALL
        ) JOIN places USING (period, scope_id)
        ORDER BY ALL"""  # noqa: S608
    kinds = connection.sql(query).to_arrow_table()
    place, *columns = (column.to_numpy() for column in kinds.columns)
    found = [np.empty((len(DURATIONS), 0))]
    for first in range(0, len(rows), _AT_ONCE):
        these = slice(*np.searchsorted(place, (first, first + _AT_ONCE)))
        groups = min(_AT_ONCE, len(rows) - first)
        duration_s, n_polls, events = (column[these] for column in columns)
        shares = list(DURATIONS.values())
        found.append(duration_quantiles(place[these] - first, duration_s, n_polls, events, groups, shares))
    for name, seconds in zip(DURATIONS, np.concatenate(found, axis=1), strict=True):
        rows = rows.append_column(name, pa.array(np.rint(seconds), from_pandas=True).cast(pa.int64()))
    return rows
