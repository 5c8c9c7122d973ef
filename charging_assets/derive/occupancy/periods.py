"""KPIs over periods: months, the usual week, and what reports sum up.

Seconds and counts of days are added up, and ratios are made from the sums by `formulas`: no ratio is averaged but the
peak. Every period goes the same way, so a month and the report of that month say the same. Does not belong here: the
figures of a day (`kpis`), and how a report looks (`reports`).

Whatever has a row on a day of the period before and on one after, but none between, was not observed between: its feed
was silent, or nobody polled. It is taken to have the points and opening hours of the day before. A city, an operator or
a power class has a row while a point of it has; its figures are of those points.

At the ends of a period days count as not observed on which `kpi_daily` has no rows at all, for whatever is known on the
first, or last, day of it that has rows; but not before the first or after the last day with rows of the whole lake,
when nobody meant to poll. Other absence at the ends counts for nothing: what is new was not there, what is gone is.
"""

import datetime as dt
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import day_bounds
from charging_assets.derive.occupancy.formulas import duration_quantiles, durations_shown, share, shown, with_ratios
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

_ALL = "all"
"""Everything together: a scope of no table, made from feeds."""

_DAY = dt.timedelta(days=1)

_Periods = Mapping[dt.date, tuple[dt.date, dt.date]]
"""First and last day of each period, by the date that it is called by."""

_UPTIME_12M = ("uptime_12m", "uptime_12m_coverage")
_OF_PERIOD = pa.schema([field for field in arrow_schema("kpi_monthly") if field.name not in {"month", *_UPTIME_12M}])
_ADDED_UP = pa.schema([field.with_nullable(True) for field in _OF_PERIOD])
"""Of what is added up from several rows of a day, not everything can be told."""

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


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a period, in the one version that the lake had when it was opened. Threads may share it."""

    first: dt.date
    last: dt.date
    feeds: Sequence[str]
    """Those that had a charging point in the period, sorted."""
    _connection: "Connection"
    _dates: Sequence[dt.date]

    def kpis(
        self, scope: str, *, scope_ids: Collection[str] | None = None, cities: Collection[str] | None = None
    ) -> pa.Table:
        """See `kpis_of_period`."""
        return self._kpis(_Selection(scope, scope_ids, cities)).cast(_OF_PERIOD)

    def kpis_of_all(self) -> pa.Table:
        """One row of all points together, as of `kpis`; without feeds none.

        Points are known by feed: on a day that several feeds answered, one that is in two of them counts in the first.
        Of several feeds the peak, and how many points were occupied at once, are null; and not observed, between, is
        each point that has rows before and after, whichever feed had it.
        """
        return self._kpis(self._all()).cast(_ADDED_UP)

    def kpis_by_power(self, *, city: str | None = None, operator: str | None = None) -> pa.Table:
        """Power classes of the points of a place, by the labels that each point had on the day.

        What is of stations, the peak, and how many points were occupied at once, is null: points do not tell it.
        """
        return self._kpis(_by_power(city, operator)).cast(_ADDED_UP)

    def daily(
        self, scope: str, *, scope_ids: Collection[str] | None = None, cities: Collection[str] | None = None
    ) -> pa.Table:
        """See `daily_of_period`."""
        return self._daily(_Selection(scope, scope_ids, cities)).cast(arrow_schema("kpi_daily"))

    def daily_of_all(self) -> pa.Table:
        """As `daily`, of all points together. Of several feeds, quantiles of durations are null too."""
        return self._daily(self._all())

    def profile(
        self, scope: str, *, scope_ids: Collection[str] | None = None, cities: Collection[str] | None = None
    ) -> pa.Table:
        """See `profile_of_period`."""
        return _profile(self._connection.cursor(), _Selection(scope, scope_ids, cities), self.first, self.last)

    def profile_of_all(self) -> pa.Table:
        """As `profile`, of all points together."""
        return _profile(self._connection.cursor(), _Selection(_ALL), self.first, self.last)

    def feeds_of(self, scope: str, scope_id: str) -> list[str]:
        """Those that had a charging point of this, sorted."""
        query = f"""
            SELECT DISTINCT feed FROM utilization_hourly
            WHERE query_date BETWEEN $first AND $last AND CAST({SCOPE_COLUMNS[scope]} AS VARCHAR) = $scope_id
            ORDER BY feed"""  # noqa: S608
        parameters = {"first": self.first, "last": self.last, "scope_id": scope_id}
        return [feed for (feed,) in self._connection.cursor().execute(query, parameters).fetchall()]

    def _all(self) -> "_Selection":
        return _Selection("feed") if len(self.feeds) <= 1 else _Selection(_ALL)

    def _kpis(self, selection: "_Selection") -> pa.Table:
        calendar = _calendar(self._dates, {self.first: (self.first, self.last)})
        return _kpis(self._connection.cursor(), selection, calendar).select(_OF_PERIOD.names)

    def _daily(self, selection: "_Selection") -> pa.Table:
        query = f"{selection.daily} ORDER BY scope_id, query_date"
        rows = _result(self._connection.cursor(), query, selection, self.first, self.last)
        if selection.scope == _ALL:
            rows = with_ratios(rows)
        return rows.select(arrow_schema("kpi_daily").names)


@contextmanager
def opened_period(lake: Lake, first: dt.date, last: dt.date) -> Iterator[Period]:
    """A period of which several things are asked.

    Args:
        lake: whose `kpi_daily`, `charging_events` and `utilization_hourly` are read.
        first: first query date.
        last: last one; before `first`, the period is empty and has no rows.

    Raises:
        LakeError: the lake cannot be read.
    """
    with _opened(lake, first, last, "kpi_daily", "charging_events", "utilization_hourly") as period:
        yield replace(period, feeds=_feeds(period._connection, first, last))


@contextmanager
def _opened(lake: Lake, first: dt.date, last: dt.date, *names: str) -> Iterator[Period]:
    with _connected(lake, *names) as connection:
        dates = _dates(connection) if "kpi_daily" in names else []
        yield Period(first, last, (), connection, dates)


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
    with _opened(lake, first, last, "kpi_daily", "charging_events") as period:
        return period.kpis(scope, scope_ids=scope_ids, cities=cities)


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
    with _opened(lake, first, last, "kpi_daily") as period:
        return period.daily(scope, scope_ids=scope_ids, cities=cities)


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
    with _opened(lake, first, last, "utilization_hourly") as period:
        return period.profile(scope, scope_ids=scope_ids, cities=cities)


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
    operators: Collection[str] | None = None
    is_of_points: bool = False
    """Whether points are added up, by `scope` as a label that each of them has on a day."""

    def __post_init__(self) -> None:
        if self.scope not in {*SCOPES, _ALL}:
            raise ValueError(f"expected a scope of {', '.join(SCOPES)}, got {self.scope!r}")

    @property
    def is_added_up(self) -> bool:
        """Whether its rows are in no table."""
        return self.is_of_points or self.scope == _ALL

    @property
    def column(self) -> str:
        """SQL of its `scope_id` in `charging_events` and `utilization_hourly`."""
        return f"'{_ALL}'" if self.scope == _ALL else SCOPE_COLUMNS[self.scope]

    @property
    def rows(self) -> str:
        """SQL of the rows of `kpi_daily` that it is made of."""
        scope = "point" if self.is_of_points else "feed" if self.scope == _ALL else self.scope
        return f"SELECT * FROM kpi_daily WHERE scope = '{scope}' AND {_WANTED}"  # noqa: S608 - as in all queries here

    @property
    def daily(self) -> str:
        """SQL of its days: the columns of `kpi_daily`, but ratios only where a table has its rows."""
        return self.added_up(self.rows) if self.is_added_up else self.rows

    def added_up(self, rows: str, keys: Sequence[str] = (), sums: Sequence[str] = ()) -> str:
        """SQL of `rows`, summed by day and label; what they cannot tell is null.

        Args:
            rows: SQL of rows with the columns of `kpi_daily`.
            keys: further columns, of which each day has one value.
            sums: further columns to add up.
        """
        untold = ["peak_utilization", "max_occupied", *_DURATIONS, "city", "operator_name"]
        counts = [*_ADDED, "points", "points_observed", "stations"]
        label = "power_class" if self.is_of_points else f"'{_ALL}'"
        if self.is_of_points:
            untold += ["stations", *_STATION_POLLS]
            counts = [name for name in counts if name not in untold]
        kinds = {field.name: _sql_type(field.type) for field in arrow_schema("kpi_daily")}
        columns = [
            *(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in [*counts, *sums]),
            *(f"CAST(sum(CAST({name} AS DECIMAL(18, 6))) AS DOUBLE) AS {name}" for name in _ENERGY),
            *(f"CAST(NULL AS {kinds[name]}) AS {name}" for name in untold),
        ]
        return f"""
            SELECT
                '{self.scope}' AS scope, {", ".join(["query_date", *keys])}, {", ".join(columns)}, {label} AS scope_id,
                scope_id AS name, {"scope_id" if self.is_of_points else "NULL"} AS power_class
            FROM (SELECT * RENAME (scope AS of_scope, scope_id AS member, name AS of_name) FROM ({rows}))
            WHERE {label} IS NOT NULL
            GROUP BY {", ".join(["query_date", *keys, label])}"""  # noqa: S608


def _by_power(city: str | None, operator: str | None) -> _Selection:
    cities, operators = (None if name is None else [name] for name in (city, operator))
    return _Selection("power_class", None, cities, operators, is_of_points=True)


def _sql_type(kind: pa.DataType) -> str:
    return "DOUBLE" if pa.types.is_floating(kind) else "BIGINT" if pa.types.is_integer(kind) else "VARCHAR"


_WANTED = """query_date BETWEEN $first AND $last
    AND ($scope_ids IS NULL OR list_contains(CAST($scope_ids AS VARCHAR[]), CAST(scope_id AS VARCHAR)))
    AND ($cities IS NULL OR list_contains(CAST($cities AS VARCHAR[]), city))
    AND ($operators IS NULL OR list_contains(CAST($operators AS VARCHAR[]), operator_name))"""

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
    kinds = dict(zip(empty.columns, empty.types, strict=True))
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {kind}) AS {column}" for column, kind in kinds.items())
        connection.execute(f"CREATE VIEW {name} AS SELECT {columns} WHERE false")
        return
    columns = ", ".join(
        f"'{column}': {{name: '{column}', type: '{kind}', default_value: NULL}}" for column, kind in kinds.items()
    )
    connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({list(paths)}, schema = MAP {{{columns}}})")


def _result(
    connection: "Connection", query: str, selection: _Selection, first: dt.date | None, last: dt.date | None
) -> pa.Table:
    """What `query` says, which has the parameters of `_WANTED`."""
    parameters: dict[str, Any] = {"first": first, "last": last}
    wanted = {"scope_ids": selection.scope_ids, "cities": selection.cities, "operators": selection.operators}
    for name, values in wanted.items():
        parameters[name] = values if values is None else list(values)
    return connection.sql(query, params=parameters).to_arrow_table()


def _dates(connection: "Connection") -> list[dt.date]:
    """The days with rows in `kpi_daily`, sorted."""
    rows = connection.execute("SELECT DISTINCT query_date FROM kpi_daily ORDER BY query_date").fetchall()
    return [date for (date,) in rows]


def _feeds(connection: "Connection", first: dt.date, last: dt.date) -> list[str]:
    """The feeds that had a charging point in a period, sorted."""
    query = """
        SELECT DISTINCT scope_id FROM kpi_daily
        WHERE scope = 'feed' AND query_date BETWEEN $first AND $last
        ORDER BY scope_id"""
    return [feed for (feed,) in connection.execute(query, {"first": first, "last": last}).fetchall()]


# -- KPIs ------------------------------------------------------------------------------------------------------------


def _kpis(connection: "Connection", selection: _Selection, calendar: pa.Table) -> pa.Table:
    """`period` and the columns of `kpis_of_period`, sorted by `scope_id` and `period`."""
    counts = dict(zip(_ADDED, _ADDED, strict=True)) | {
        "days_observed": f"CASE WHEN {_OBSERVED} > 0 THEN 1 ELSE 0 END",
        "of_peak_s": f"CASE WHEN peak_utilization IS NOT NULL THEN {_OBSERVED} END",
    }
    counts["unknown_s"] += " + absent_s + edge_s * points"
    counts["open_unknown_s"] += " + absent_open_s + edge_days * (open_observed_s + open_unknown_s)"
    # Threads add in no fixed order. Of decimals the sum is the same in any, and so are the bytes of the partition.
    amounts = {name: f"CAST({name} AS DECIMAL(18, 6))" for name in _ENERGY} | {
        "peak_s": f"CAST(peak_utilization * ({_OBSERVED}) AS DECIMAL(38, 12))"
    }
    query = f"""
        SELECT
            period, '{selection.scope}' AS scope, scope_id,
            {", ".join(f"arg_max_null({name}, query_date) AS {name}" for name in _TEXTS)},
            {", ".join(f"max({name}) AS {name}" for name in _MOST)},
            {", ".join(f"CAST(sum({sql}) AS BIGINT) AS {name}" for name, sql in counts.items())},
            {", ".join(f"CAST(sum({sql}) AS DOUBLE) AS {name}" for name, sql in amounts.items())},
            CAST(max(query_date) - min(query_date) + 1 + sum(edge_days) AS BIGINT) AS days
        FROM ({_days(selection)})
        GROUP BY ALL
        ORDER BY scope_id, period"""  # noqa: S608
    connection.register("calendar", calendar)
    rows = _result(connection, query, selection, *_ends(calendar))
    if selection.scope == _ALL and rows.num_rows:
        absent = _absent_points_s(connection, calendar)
        place = rows.column_names.index("unknown_s")
        rows = rows.set_column(place, "unknown_s", pc.add(rows["unknown_s"], absent))
    rows = with_ratios(rows)
    peak = shown(share(rows["peak_s"], rows["of_peak_s"]), rows["coverage"])
    rows = rows.append_column("peak_utilization", peak)
    return durations_shown(_with_durations(connection, selection, calendar, rows))


def _days(selection: _Selection) -> str:
    """SQL of the days of a selection by period: the columns of `kpi_daily` and of `calendar`, and of what follows.

    `absent_s` and `absent_open_s` are seconds between a row and the next one of the same, if not the day after, times
    its points, or of its opening hours. Of all points together they are 0: see `_absent_points_s`.
    """
    if selection.scope == _ALL:
        return f"""
            SELECT *, 0 AS absent_s, 0 AS absent_open_s
            FROM ({selection.daily}) JOIN calendar USING (query_date)"""  # noqa: S608
    rows = f"""
        SELECT
            *, points * coalesce(lead(start_s) OVER next - end_s, 0) AS absent_s,
            (open_observed_s + open_unknown_s) * coalesce(lead(query_date) OVER next - query_date - 1, 0)
                AS absent_open_s
        FROM ({selection.rows}) JOIN calendar USING (query_date)
        WINDOW next AS (PARTITION BY period, scope_id ORDER BY query_date)"""  # noqa: S608
    if not selection.is_added_up:
        return rows
    return selection.added_up(rows, ["period", "edge_s", "edge_days"], ["absent_s", "absent_open_s"])


def _absent_points_s(connection: "Connection", calendar: pa.Table) -> int:
    """Seconds of all points between their first and their last day of the one period, on days without them."""
    query = f"""
        SELECT CAST(coalesce(sum(absent_s), 0) AS BIGINT) AS absent_s
        FROM (
            SELECT max(end_s) - min(start_s) - sum(end_s - start_s) AS absent_s
            FROM ({_Selection("point").rows}) JOIN calendar USING (query_date)
            GROUP BY scope_id
        )"""  # noqa: S608
    (row,) = _result(connection, query, _Selection("point"), *_ends(calendar)).to_pylist()
    return int(row["absent_s"])


def _with_durations(connection: "Connection", selection: _Selection, calendar: pa.Table, rows: pa.Table) -> pa.Table:
    """`rows` with quantiles of the durations of their events of which both ends were seen."""
    places = rows.select(["period", "scope_id"]).append_column("place", pa.array(np.arange(len(rows))))
    connection.register("places", places)
    query = f"""
        SELECT place, duration_s, n_polls, events
        FROM (
            SELECT period, CAST(scope_id AS VARCHAR) AS scope_id, duration_s, n_polls, count(*) AS events
            FROM (
                SELECT *, {selection.column} AS scope_id FROM charging_events
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
    sums = {"available_s": "occupied_s + free_s", "observed_s": _OBSERVED, "unknown_s": "unknown_s"}
    columns = ", ".join(f"CAST(sum({sql}) AS BIGINT) AS {name}" for name, sql in sums.items())
    query = f"""
        SELECT period, scope_id, {columns}, count(*) / any_value(period_days) AS known
        FROM ({selection.rows}) JOIN calendar USING (query_date)
        GROUP BY period, scope_id"""  # noqa: S608
    connection.register("calendar", calendar)
    made = _result(connection, query, selection, *_ends(calendar))
    coverage = share(made["observed_s"], pc.add(made["observed_s"], made["unknown_s"]))
    coverage = pc.multiply(coverage, made["known"])
    uptime = shown(share(made["available_s"], made["observed_s"]), coverage)
    return pa.table([made["scope_id"], made["period"], uptime, coverage], ["scope_id", "period", *_UPTIME_12M])


def _ends(calendar: pa.Table) -> tuple[dt.date | None, dt.date | None]:
    """First and last day of all periods; without days None, between which no day lies."""
    ends = pc.min_max(calendar["query_date"])
    return ends["min"].as_py(), ends["max"].as_py()


def _calendar(dates: Sequence[dt.date], periods: _Periods) -> pa.Table:
    """The days with rows, by period.

    Args:
        dates: all days with rows, sorted.
        periods: to look at.

    Returns:
        `period`, `query_date`; `period_days`: of the whole period; `start_s` and `end_s`: the midnights of the day;
        `edge_s` and `edge_days`: length and number of the days without rows at the ends of the period but not of the
        lake, if this is the first or last day of it that has rows, else 0.
    """
    made = [_CALENDAR.empty_table()]
    for period, (first, last) in periods.items():
        days = dates[bisect_left(dates, first) : bisect_right(dates, last)]
        if not days:
            continue
        begin, end = max(first, dates[0]), min(last, dates[-1])
        start_s, end_s = np.array([_bounds_s(day) for day in days]).T
        edge_s, edge_days = np.zeros_like(start_s), np.zeros_like(start_s)
        edge_s[0], edge_days[0] = start_s[0] - _bounds_s(begin)[0], (days[0] - begin).days
        edge_s[-1] += _bounds_s(end)[1] - end_s[-1]
        edge_days[-1] += (end - days[-1]).days
        length = [(last - first).days + 1] * len(days)
        columns = [[period] * len(days), days, length, start_s, end_s, edge_s, edge_days]
        made.append(pa.table([pa.array(values) for values in columns], schema=_CALENDAR))
    return pa.concat_tables(made)


_CALENDAR = pa.schema(
    [
        ("period", pa.date32()),
        ("query_date", pa.date32()),
        *((name, pa.int64()) for name in ("period_days", "start_s", "end_s", "edge_s", "edge_days")),
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
                    *, {selection.column} AS scope_id,
                    (query_date - DATE '1970-01-05') // 7 AS week
                FROM utilization_hourly
            )
            WHERE scope_id IS NOT NULL AND {_WANTED}
            GROUP BY ALL
        )
        SELECT
            '{selection.scope}' AS scope, CAST(scope_id AS VARCHAR) AS scope_id, weekday, hour_local,
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
