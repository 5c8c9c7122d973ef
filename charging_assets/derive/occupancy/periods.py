"""KPIs over periods: months, the usual week, and what reports sum up.

Seconds and counts of days are added up, and ratios are made from the sums by `formulas`: no ratio is averaged but the
peak. Every period goes the same way, so a month and the report of that month say the same. Does not belong here: the
figures of a day (`kpis`), and how a report looks (`reports`).

A day of which `kpi_daily` has no rows at all was polled by nobody. Such a missing day counts as not observed:

- within a period, for whatever is known on a day of it before and on one after;
- at its ends, for whatever is known on the first, or last, day of it that has rows; but not before the first or after
  the last day with rows of the whole lake, when nobody meant to poll.

Its points, and its opening hours, are taken to be those of the nearest earlier day of the period, else of the next. On
a day that has rows, what is absent was not known and does not count.
"""

import datetime as dt
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import day_bounds
from charging_assets.derive.occupancy.formulas import duration_quantiles, share, shown, with_ratios
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import SCOPES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SCOPE_COLUMNS = {
    "point": "id_cp",
    "station": "id_cs",
    "city": "city",
    "operator": "operator_name",
    "power_class": "power_class",
    "feed": "feed",
}
"""For each of `SCOPES` the column of `charging_events` and `utilization_hourly` that has its `scope_id`."""

_DAY = dt.timedelta(days=1)

_Periods = Mapping[dt.date, tuple[dt.date, dt.date]]
"""First and last day of each period, by the date that it is called by."""

_UPTIME_12M = ("uptime_12m", "uptime_12m_coverage")
_OF_PERIOD = pa.schema([field for field in arrow_schema("kpi_monthly") if field.name not in {"month", *_UPTIME_12M}])

_TEXTS = ("name", "city", "operator_name", "power_class")
_MOST = ("points", "points_observed", "stations", "max_occupied")
_ENERGY = ("energy_kwh", "energy_kwh_low", "energy_kwh_high")
_STATION_POLLS = ("station_polls", "station_polls_free", "station_polls_working", "station_polls_full")
_EVENTS = ("events", "overstays", "censored_events", "suspicious_events")
_DURATIONS = {"duration_p50_s": 0.5, "duration_p90_s": 0.9}
_AT_ONCE = 10_000
"""Rows whose durations are made at once, so that memory does not grow with the years."""
_OPEN = ("open_occupied_s", "open_observed_s", "open_unknown_s")
_ADDED = ("occupied_s", "free_s", "fault_s", "gone_s", "unknown_s", *_STATION_POLLS, *_EVENTS, *_OPEN)


def kpis_of_period(
    lake: Lake,
    scope: str,
    first: dt.date,
    last: dt.date,
    *,
    scope_ids: Collection[str] | None = None,
    cities: Collection[str] | None = None,
) -> pa.Table:
    """The KPIs of a period, one row for each that is known on a day of it, sorted by `scope_id`.

    Args:
        lake: whose `kpi_daily` and `charging_events` are read.
        scope: one of `SCOPES`.
        first: first query date.
        last: last one; before `first`, the period is empty and has no rows.
        scope_ids: only these; None: all.
        cities: only days on which the point, station or city was in one of these; None: all. Operators, power classes
            and feeds are in no city.

    Returns:
        `scope`, `scope_id`, the figures of `kpi_daily` in their order and types, then `days` and `days_observed` as
        `kpi_monthly` has them. Names and the like are those of the last day.

    Raises:
        LakeError: the lake cannot be read.
        ValueError: there is no such scope.
    """
    selection = _Selection(scope, scope_ids, cities)
    with _connected(lake, "kpi_daily", "charging_events") as connection:
        rows = _kpis(connection, selection, _calendar(_dates(connection), {first: (first, last)}))
    return rows.select(_OF_PERIOD.names).cast(_OF_PERIOD)


def daily_of_period(
    lake: Lake,
    scope: str,
    first: dt.date,
    last: dt.date,
    *,
    scope_ids: Collection[str] | None = None,
    cities: Collection[str] | None = None,
) -> pa.Table:
    """The rows of `kpi_daily` of a period, sorted by `scope_id` and `query_date`. Missing days have none.

    Arguments and errors are those of `kpis_of_period`.
    """
    selection = _Selection(scope, scope_ids, cities)
    with _connected(lake, "kpi_daily") as connection:
        rows = _result(connection, f"{_DAILY} ORDER BY scope_id, query_date", selection, first, last)
    return rows.cast(arrow_schema("kpi_daily"))


def profile_of_period(
    lake: Lake,
    scope: str,
    first: dt.date,
    last: dt.date,
    *,
    scope_ids: Collection[str] | None = None,
    cities: Collection[str] | None = None,
) -> pa.Table:
    """`usage_profile` of one scope and a period, from `utilization_hourly`.

    Arguments and errors are those of `kpis_of_period`; here `cities` are those of the points, so any scope has some.
    """
    selection = _Selection(scope, scope_ids, cities)
    with _connected(lake, "utilization_hourly") as connection:
        return _profile(connection, selection, first, last)


def kpi_monthly(lake: Lake) -> pa.Table:
    """The table `kpi_monthly`: all months of which there is a day, all scopes. Without days it is empty.

    Raises:
        LakeError: the lake cannot be read.
    """
    schema = arrow_schema("kpi_monthly")
    made = [schema.empty_table()]
    with _connected(lake, "kpi_daily", "charging_events") as connection:
        dates = _dates(connection)
        last_of = {date.replace(day=1): _months_later(date.replace(day=1), 1) - _DAY for date in dates}
        months = _calendar(dates, {month: (month, last) for month, last in last_of.items()})
        years = _calendar(dates, {month: (_months_later(month, -11), last) for month, last in last_of.items()})
        for scope in sorted(SCOPES):
            rows = _kpis(connection, _Selection(scope), months)
            rows = rows.join(_uptime_12m(connection, _Selection(scope), years), ["scope_id", "period"])
            rows = rows.sort_by([("scope_id", "ascending"), ("period", "ascending")])
            made.append(rows.rename_columns({"period": "month"}).select(schema.names).cast(schema))
    return pa.concat_tables(made).unify_dictionaries()


def usage_profile(lake: Lake) -> pa.Table:
    """The table `usage_profile`: all days there are, all scopes. Without days it is empty.

    Its `days` are those of which something was observed in that hour.

    Raises:
        LakeError: the lake cannot be read.
    """
    with _connected(lake, "utilization_hourly") as connection:
        made = [_profile(connection, _Selection(scope), dt.date.min, dt.date.max) for scope in sorted(SCOPES)]
    return pa.concat_tables(made).unify_dictionaries()


# -- asking the lake -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Selection:
    """What is asked for."""

    scope: str
    scope_ids: Collection[str] | None = None
    cities: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(f"expected a scope of {', '.join(SCOPES)}, got {self.scope!r}")


_WANTED = """scope = $scope AND query_date BETWEEN $first AND $last
    AND ($scope_ids IS NULL OR list_contains(CAST($scope_ids AS VARCHAR[]), CAST(scope_id AS VARCHAR)))
    AND ($cities IS NULL OR list_contains(CAST($cities AS VARCHAR[]), city))"""

_DAILY = f"SELECT * FROM kpi_daily WHERE {_WANTED}"  # noqa: S608 - constants, as in all queries here
_OBSERVED = "occupied_s + free_s + fault_s"


@contextmanager
def _connected(lake: Lake, *names: str) -> "Iterator[Connection]":
    """A connection with a view of each table, in the one version that there is now."""
    import duckdb  # noqa: PLC0415 - slow, and the graph is loaded without it

    with (
        tempfile.TemporaryDirectory(prefix="charging-assets-", ignore_cleanup_errors=True) as spill,
        lake.snapshot(names) as paths,
        duckdb.connect(
            ":memory:",
            config={
                "enable_external_file_cache": False,  # keyed by path, but a descriptor's path outlives its file
                "memory_limit": "1GiB",  # what goes beyond is spilled, however many years there are
                "temp_directory": spill,
            },
        ) as connection,
    ):
        for name in names:
            _create_view(connection, name, paths[name])
        yield connection


def _create_view(connection: "Connection", name: str, paths: Sequence[str]) -> None:
    """A view of a table with the model's columns, whichever of them the files have."""
    fields = [
        # DuckDB makes an enumeration of a dictionary.
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in arrow_schema(name)
    ]
    empty = connection.from_arrow(pa.schema(fields).empty_table())
    if not paths:
        empty.create_view(name)
        return
    columns = ", ".join(
        f"'{column}': {{name: '{column}', type: '{kind}', default_value: NULL}}"
        for column, kind in zip(empty.columns, empty.types, strict=True)
    )
    connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({list(paths)}, schema = MAP {{{columns}}})")


def _result(
    connection: "Connection", query: str, selection: _Selection, first: dt.date | None, last: dt.date | None
) -> pa.Table:
    """What `query` says, which has the parameters of `_WANTED`."""
    parameters: dict[str, Any] = {"scope": selection.scope, "first": first, "last": last}
    for name, values in (("scope_ids", selection.scope_ids), ("cities", selection.cities)):
        parameters[name] = values if values is None else list(values)
    return connection.sql(query, params=parameters).to_arrow_table()


def _dates(connection: "Connection") -> list[dt.date]:
    """The days with rows in `kpi_daily`, sorted."""
    rows = connection.execute("SELECT DISTINCT query_date FROM kpi_daily ORDER BY query_date").fetchall()
    return [date for (date,) in rows]


# -- KPIs ------------------------------------------------------------------------------------------------------------


def _kpis(connection: "Connection", selection: _Selection, calendar: pa.Table) -> pa.Table:
    """`period` and the columns of `kpis_of_period`, sorted by `scope_id` and `period`."""
    counts = dict(zip(_ADDED, _ADDED, strict=True)) | {
        "days": "1",
        "days_observed": f"CASE WHEN {_OBSERVED} > 0 THEN 1 ELSE 0 END",
        "of_peak_s": f"CASE WHEN peak_utilization IS NOT NULL THEN {_OBSERVED} END",
    }
    # Threads add in no fixed order. Of decimals the sum is the same in any, and so are the bytes of the partition.
    amounts = {name: f"CAST({name} AS DECIMAL(18, 6))" for name in _ENERGY} | {
        "peak_s": f"CAST(peak_utilization * ({_OBSERVED}) AS DECIMAL(38, 12))"
    }
    query = f"""
        SELECT
            period, $scope AS scope, scope_id,
            {", ".join((*_TEXTS, *_MOST))},
            {", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in counts)},
            {", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in amounts)}
        FROM ({_sums(counts | amounts, _MOST, _TEXTS)})
        ORDER BY scope_id, period"""  # noqa: S608
    connection.register("calendar", calendar)
    rows = with_ratios(_result(connection, query, selection, *_ends(calendar)))
    peak = shown(share(rows["peak_s"], rows["of_peak_s"]), rows["coverage"])
    rows = rows.append_column("peak_utilization", peak)
    return _with_durations(connection, selection, calendar, rows)


def _with_durations(connection: "Connection", selection: _Selection, calendar: pa.Table, rows: pa.Table) -> pa.Table:
    """`rows` with quantiles of the durations of their events of which both ends were seen."""
    places = rows.select(["period", "scope_id"]).append_column("place", pa.array(np.arange(len(rows))))
    connection.register("places", places)
    query = f"""
        SELECT place, duration_s, n_polls, events
        FROM (
            SELECT period, CAST(scope_id AS VARCHAR) AS scope_id, duration_s, n_polls, count(*) AS events
            FROM (
                SELECT *, $scope AS scope, {SCOPE_COLUMNS[selection.scope]} AS scope_id
                FROM charging_events
                WHERE NOT is_left_censored AND NOT is_right_censored
            ) JOIN calendar USING (query_date)
            WHERE {_WANTED}
            GROUP BY ALL
        ) JOIN places USING (period, scope_id)
        ORDER BY ALL"""  # noqa: S608
    kinds = _result(connection, query, selection, *_ends(calendar))
    place, *columns = (column.to_numpy() for column in kinds.columns)
    found = [np.empty((len(_DURATIONS), 0))]
    for first in range(0, len(rows), _AT_ONCE):
        these = slice(*np.searchsorted(place, (first, first + _AT_ONCE)))
        groups = min(_AT_ONCE, len(rows) - first)
        duration_s, n_polls, events = (column[these] for column in columns)
        shares = list(_DURATIONS.values())
        found.append(duration_quantiles(place[these] - first, duration_s, n_polls, events, groups, shares))
    for name, seconds in zip(_DURATIONS, np.concatenate(found, axis=1), strict=True):
        rows = rows.append_column(name, pa.array(np.rint(seconds), from_pandas=True).cast(pa.int64()))
    return rows


def _uptime_12m(connection: "Connection", selection: _Selection, calendar: pa.Table) -> pa.Table:
    """`scope_id`, `period` and the two columns of `kpi_monthly`."""
    added = {"available_s": "occupied_s + free_s", "observed_s": _OBSERVED, "unknown_s": "unknown_s"}
    columns = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in added)
    query = f"SELECT period, scope_id, {columns} FROM ({_sums(added)})"  # noqa: S608
    connection.register("calendar", calendar)
    sums = _result(connection, query, selection, *_ends(calendar))
    coverage = share(sums["observed_s"], pc.add(sums["observed_s"], sums["unknown_s"]))
    uptime = shown(share(sums["available_s"], sums["observed_s"]), coverage)
    return pa.table([sums["scope_id"], sums["period"], uptime, coverage], ["scope_id", "period", *_UPTIME_12M])


def _sums(added: Mapping[str, str], most: Sequence[str] = (), latest: Sequence[str] = ()) -> str:
    """SQL of `period`, `scope_id`, and what is made of the columns of their days. Needs `calendar`.

    A run is of days between which no day is missing: all of them have the same `missing_days` before them. What is
    missing after it counts as the last of its days.

    Args:
        added: what to add up, by the name of its column. To those of `unknown_s`, `open_unknown_s` and `days` the
            missing days are added.
        most: columns to take the largest value of.
        latest: columns to take the value of the last day of.
    """
    edges = {"unknown_s": "points * edge_s", "open_unknown_s": "open_s * edge_days", "days": "edge_days"}
    gaps = {
        "unknown_s": "last_points * gap_s",
        "open_unknown_s": "coalesce(last_open_s, 0) * gap_days",
        "days": "gap_days",
    }
    of_day = {name: f"{sql} + {edges[name]}" if name in edges else sql for name, sql in added.items()}
    of_run = {name: f"{name} + {gaps[name]}" if name in gaps else name for name in added}

    def columns(sums: Mapping[str, str], order: str) -> str:
        return ", ".join(
            [
                *(f"sum({sql}) AS {name}" for name, sql in sums.items()),
                *(f"max({name}) AS {name}" for name in most),
                *(f"arg_max_null({name}, {order}) AS {name}" for name in latest),
            ]
        )

    return f"""
        WITH days AS (
            SELECT *, open_observed_s + open_unknown_s AS open_s FROM ({_DAILY}) JOIN calendar USING (query_date)
        ), runs AS (
            SELECT
                period, scope_id, missing_s, missing_days, {columns(of_day, "query_date")},
                arg_max_null(points, query_date) AS last_points, arg_max_null(open_s, query_date) AS last_open_s
            FROM days
            GROUP BY ALL
        ), followed AS (
            SELECT
                *,
                coalesce(lead(missing_s) OVER next - missing_s, 0) AS gap_s,
                coalesce(lead(missing_days) OVER next - missing_days, 0) AS gap_days
            FROM runs
            WINDOW next AS (PARTITION BY period, scope_id ORDER BY missing_days)
        )
        SELECT period, scope_id, {columns(of_run, "missing_days")} FROM followed GROUP BY ALL"""  # noqa: S608


def _ends(calendar: pa.Table) -> tuple[dt.date | None, dt.date | None]:
    """First and last day of all periods; without days None, between which no day lies."""
    ends = pc.min_max(calendar["query_date"])
    return ends["min"].as_py(), ends["max"].as_py()


def _calendar(dates: Sequence[dt.date], periods: _Periods) -> pa.Table:
    """What is missing around each day with rows, by period.

    Args:
        dates: all days with rows, sorted.
        periods: to look at.

    Returns:
        `period`, `query_date`; `missing_s` and `missing_days`: length and number of the days missing between the
        beginning of the period and this day; `edge_s` and `edge_days`: of those missing at the ends of the period, if
        this is the first or last day of it that has rows, else 0.
    """
    made = [_CALENDAR.empty_table()]
    for period, (first, last) in periods.items():
        days = dates[bisect_left(dates, first) : bisect_right(dates, last)]
        if not days:
            continue
        begin, end = max(first, dates[0]), min(last, dates[-1])
        bounds = np.array([_bounds_s(day) for day in days])
        lengths = bounds[:, 1] - bounds[:, 0]
        missing_s = bounds[:, 0] - _bounds_s(begin)[0] - (np.cumsum(lengths) - lengths)
        missing_days = np.array([(day - begin).days for day in days]) - np.arange(len(days))
        edge_s, edge_days = np.zeros_like(missing_s), np.zeros_like(missing_days)
        edge_s[0], edge_days[0] = missing_s[0], missing_days[0]
        edge_s[-1] += _bounds_s(end)[1] - bounds[-1, 1]
        edge_days[-1] += (end - days[-1]).days
        columns = [[period] * len(days), days, missing_s, missing_days, edge_s, edge_days]
        made.append(pa.table([pa.array(values) for values in columns], schema=_CALENDAR))
    return pa.concat_tables(made)


_CALENDAR = pa.schema(
    [
        ("period", pa.date32()),
        ("query_date", pa.date32()),
        *((name, pa.int64()) for name in ("missing_s", "missing_days", "edge_s", "edge_days")),
    ]
)


def _bounds_s(query_date: dt.date) -> tuple[int, int]:
    """Its midnights, in seconds since 1970."""
    start, end = day_bounds(query_date)
    return int(start.timestamp()), int(end.timestamp())


def _months_later(first: dt.date, months: int) -> dt.date:
    """The first of the month so many months after a first of a month; before it, if negative."""
    years, month = divmod(first.month - 1 + months, 12)
    return dt.date(first.year + years, month + 1, 1)


# -- by weekday and hour ---------------------------------------------------------------------------------------------


def _profile(connection: "Connection", selection: _Selection, first: dt.date, last: dt.date) -> pa.Table:
    """`usage_profile` of a scope."""
    kinds = ("occupied_s", "free_s", "fault_s", "unknown_s")
    # Distinct days are counted by a bit for each week, of which a number has room for 62: counting them as they are
    # takes three times as long.
    query = f"""
        WITH weeks AS (
            SELECT
                scope_id, isodow(query_date) AS weekday, hour_local, week // 62 AS weeks,
                {", ".join(f"sum({kind}) AS {kind}" for kind in kinds)},
                bit_or(CASE WHEN {_OBSERVED} > 0 THEN CAST(1 AS BIGINT) << (week % 62) ELSE 0 END) AS observed
            FROM (
                SELECT
                    *, $scope AS scope, {SCOPE_COLUMNS[selection.scope]} AS scope_id,
                    (query_date - DATE '1970-01-05') // 7 AS week
                FROM utilization_hourly
            )
            WHERE scope_id IS NOT NULL AND {_WANTED}
            GROUP BY ALL
        )
        SELECT
            $scope AS scope, CAST(scope_id AS VARCHAR) AS scope_id, weekday, hour_local,
            {", ".join(f"CAST(sum({kind}) AS BIGINT) AS {kind}" for kind in kinds)},
            CAST(sum(bit_count(observed)) AS INTEGER) AS days
        FROM weeks
        GROUP BY ALL
        ORDER BY ALL"""  # noqa: S608
    sums = _result(connection, query, selection, first, last)
    observed = pc.add(pc.add(sums["occupied_s"], sums["free_s"]), sums["fault_s"])
    coverage = share(observed, pc.add(observed, sums["unknown_s"]))
    rows = sums.append_column("coverage", coverage)
    rows = rows.append_column("utilization", shown(share(sums["occupied_s"], observed), coverage))
    schema = arrow_schema("usage_profile")
    return rows.select(schema.names).cast(schema)
