"""What the tables of a day say of the points of a scope, side by side in a database in memory.

    points         charging points: where they are, and their seconds by kind
    hours          the same seconds of all points together, by hour
    sights         what polls of the days around saw, and from when to when that holds
    intervals      rows of `status_intervals`
    seen           sights of the day, each with the `number` of the interval that it lies in
    holes          time of the day that is too far from any sight, with the `number` of the interval that bridges it
    station_polls  what polls of the day saw of stations: numbers of points by kind

Times are whole seconds since 1970. Bounds of sights are found by the rules of `docs/method.md` in another language than
that of the code that made the intervals: somebody who audits a figure wants a second calculation.

Belongs here: reading the lake. Does not belong here: whether one table gives the other (`checks`), and what is shown
of them (`parts`).
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import day_bounds
from charging_assets.derive.activity import Feed
from charging_assets.derive.inputs import DAYS_BEFORE, window
from charging_assets.derive.occupancy.events import STATUSES
from charging_assets.derive.occupancy.observation import HOLDS
from charging_assets.derive.occupancy.opening_hours import Span, open_spans
from charging_assets.derive.occupancy.places import places_of
from charging_assets.lake import Lake
from charging_assets.model.tables.occupancy import SCOPE_COLUMNS
from charging_assets.reports.explanation.model import KINDS, Poll

Rows = list[dict[str, Any]]

WHEREABOUTS = ("id_cp", "source", "feed", "id_cs", "city", "operator_name", "power_class")
"""Columns of `points`: where they are."""

_READ = {
    "status_chargingpoints": ("id_chargingpoint", "query_time", "status_cp", "source", "feed", "status_class"),
    "poll_log": ("query_time", "source", "feed", "poll_id", "interval_s", "outcome", "reason", "sha256"),
}
"""Of all days that a day is made from; other tables are read of the day alone."""

_SUMS = ", ".join(f"CAST(sum({kind}_s) AS BIGINT) AS {kind}" for kind in KINDS)
_NEIGHBOURS = "WINDOW neighbours AS (PARTITION BY id_cp ORDER BY time)"

_SQL = f"""
CREATE MACRO poll_key(time, source, feed) AS
    strftime(make_timestamp(time * 1000000), '%Y%m%dT%H%M%SZ') || '/' || source || '/' || feed;

CREATE TABLE points AS
SELECT
    id_cp, {", ".join(f"any_value({name}) AS {name}" for name in WHEREABOUTS[1:])},
    coalesce(CAST(any_value(id_cs) AS VARCHAR), 'of ' || id_cp) AS station, {_SUMS}
FROM utilization_hourly GROUP BY id_cp;

CREATE TABLE hours AS
SELECT
    CAST(epoch(hour_utc) AS BIGINT) AS time, {_SUMS},
    if(occupied + free + fault > 0, occupied / (occupied + free + fault), NULL) AS utilization
FROM utilization_hourly GROUP BY ALL;

SET VARIABLE until = getvariable('midnight') + coalesce((SELECT max({" + ".join(KINDS)}) FROM points), 0);

CREATE TABLE sights AS
WITH poll AS (  -- there may be two of one moment
    SELECT query_time, source, feed, arg_max(interval_s, poll_id) AS interval_s FROM poll_log GROUP BY ALL
), told AS (
    SELECT
        id_chargingpoint AS id_cp, CAST(epoch(query_time) AS BIGINT) AS time, source, feed, interval_s,
        status_cp AS status, status_class AS kind
    FROM status_chargingpoints JOIN poll USING (query_time, source, feed)
    WHERE id_chargingpoint IN (SELECT id_cp FROM points)
), after AS (
    SELECT *,
        time - lag(time) OVER neighbours AS distance,
        CAST(floor({HOLDS} * interval_s) AS BIGINT) AS holds,
        CAST(floor({HOLDS} * greatest(interval_s, lag(interval_s) OVER neighbours)) AS BIGINT) AS holds_between
    FROM told {_NEIGHBOURS}
), begun AS (
    SELECT *,
        distance > 2 * holds_between AS is_after_hole,
        time - distance + if(is_after_hole, holds_between, distance // 2) AS ends_before,
        CASE WHEN distance IS NULL THEN time - holds WHEN is_after_hole THEN time - holds_between ELSE ends_before END
            AS begins
    FROM after
)
SELECT *, coalesce(lead(ends_before) OVER neighbours, time + holds) AS ends FROM begun {_NEIGHBOURS};

CREATE TABLE intervals AS
SELECT * EXCLUDE (start_time, end_time, query_date),
    row_number() OVER (ORDER BY id_cp, start_time) AS number,
    CAST(epoch(start_time) AS BIGINT) AS begins,
    CAST(epoch(end_time) AS BIGINT) AS ends,
    if(is_frozen, 'unknown', status_class) AS kind
FROM status_intervals WHERE id_cp IN (SELECT id_cp FROM points);

CREATE TABLE seen AS
SELECT sights.*,
    poll_key(time, sights.source, sights.feed) AS poll,
    CASE WHEN time <= intervals.ends THEN number END AS number,
    EXISTS (
        FROM frozen_spans AS span
        WHERE span.id_cp = sights.id_cp AND span.source = sights.source AND span.feed = sights.feed
        AND time >= epoch(span.start_time) AND time < epoch(span.end_time)
    ) AS is_frozen
FROM sights ASOF LEFT JOIN intervals ON sights.id_cp = intervals.id_cp AND time >= intervals.begins
WHERE time >= getvariable('midnight') AND time < getvariable('next_midnight');

CREATE TABLE holes AS
WITH hole AS (
    SELECT id_cp, greatest(ends_before, getvariable('midnight')) AS begins, least(begins, getvariable('until')) AS ends
    FROM sights
    WHERE is_after_hole AND sights.begins > getvariable('midnight') AND ends_before < getvariable('until')
)
SELECT hole.*, CASE WHEN hole.begins < intervals.ends THEN number END AS number
FROM hole ASOF LEFT JOIN intervals ON hole.id_cp = intervals.id_cp AND hole.begins >= intervals.begins;

CREATE TABLE station_polls AS
SELECT
    station, time,
    count(*) FILTER (kind = 'free') AS free,
    count(*) FILTER (kind = 'occupied') AS occupied,
    count(*) FILTER (kind = 'fault') AS fault,
    CASE WHEN free > 0 THEN 'free' WHEN occupied > 0 THEN 'full' ELSE 'neither' END AS counts_as,
    list_sort(list(DISTINCT poll)) AS polls
FROM seen JOIN (SELECT id_cp, station FROM points) USING (id_cp)
WHERE NOT is_frozen AND kind IN ('free', 'occupied', 'fault')
GROUP BY ALL;
"""  # noqa: S608 - constants, as in all queries here

_EVENTS = f"""
SELECT event.*,
    if(is_left_censored OR is_right_censored, NULL, row_number() OVER (
        PARTITION BY is_left_censored OR is_right_censored ORDER BY duration_s, n_polls, id_cp, event.begins
    )) AS rank,
    (
        SELECT list(poll_key(time, source, feed) ORDER BY time) FROM sights
        WHERE sights.id_cp = event.id_cp AND time BETWEEN event.begins AND event.ends
        AND upper(trim(status, ' \t\r\n')) IN {STATUSES}
    ) AS polls
FROM (
    SELECT * EXCLUDE (start_time, end_time, query_date),
        CAST(epoch(start_time) AS BIGINT) AS begins,
        CAST(epoch(end_time) AS BIGINT) AS ends
    FROM charging_events WHERE id_cp IN (SELECT id_cp FROM points)
) AS event
ORDER BY duration_s, n_polls, id_cp, event.begins
"""  # noqa: S608


class Day:
    """What the lake has of the points of a scope on a day.

    Attributes:
        start, end: its midnights.
        until: the next midnight; while the day goes on, the last poll.
        length: seconds from `start` to `until`; 0: there is no time of the scope.
        points, hours: rows of these tables, in order.
    """

    def __init__(self, lake: Lake, query_date: dt.date, scope: str, scope_id: str) -> None:
        import duckdb  # noqa: PLC0415 - slow, and the graph is loaded without it

        self._lake, self.query_date = lake, query_date
        self.start, self.end = (int(bound.timestamp()) for bound in day_bounds(query_date))
        self._db = duckdb.connect(":memory:", config={"enable_external_access": False})
        self._db.execute(f"SET VARIABLE midnight = {self.start}; SET VARIABLE next_midnight = {self.end}")
        for name, columns in _READ.items():
            tables = [lake.read(name, date, columns) for date in window(query_date)]
            self._db.register(name, pa.concat_tables(tables).unify_dictionaries())
        for name in ("status_intervals", "charging_events", "frozen_spans"):
            self._db.register(name, lake.read(name, query_date))
        hourly = lake.read("utilization_hourly", query_date)
        self._db.register("utilization_hourly", hourly.filter(is_text(hourly[SCOPE_COLUMNS[scope]], scope_id)))
        self._db.execute(_SQL)
        self.until: int = self.one("SELECT getvariable('until') AS until")["until"]
        self.length = self.until - self.start
        self.points = self.rows("FROM points ORDER BY id_cp")
        self.hours = self.rows("FROM hours ORDER BY time")

    def close(self) -> None:
        """Let go of all of it."""
        self._db.close()

    def rows(self, sql: str, *parameters: Any) -> Rows:
        """What a query gives."""
        found = self._db.execute(sql, parameters)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def one(self, sql: str, *parameters: Any) -> dict[str, Any]:
        """What a query of one row gives."""
        (row,) = self.rows(sql, *parameters)
        return row

    @cached_property
    def events(self) -> Rows:
        """The rows of `charging_events`, the shortest first, with `rank` and `polls` as `Event` has them."""
        return self.rows(_EVENTS)

    @cached_property
    def open_spans(self) -> list[list[Span] | None]:
        """When each point is open; None where no opening hours are known."""
        ids = pa.array([point["id_cp"] for point in self.points], pa.string())
        places = places_of(self._lake, ids, window(self.query_date)[DAYS_BEFORE::-1])
        told = places.select(["opening_hours", "open_24_7"]).to_pylist()
        return [open_spans(row["opening_hours"], row["open_24_7"], self.start, self.until) for row in told]

    @cached_property
    def open_seconds(self) -> list[dict[str, int | None]]:
        """Of each point, `occupied`, `observed` and `unknown` within opening hours, as `kpi_daily` has them."""
        names = {name: f"open_{name}_s" for name in ("occupied", "observed", "unknown")}
        rows = self._lake.read("kpi_daily", self.query_date, ("scope", "scope_id", *names.values()))
        by_id = {row["scope_id"]: row for row in rows.filter(is_text(rows["scope"], "point")).to_pylist()}
        of_points = (by_id.get(point["id_cp"], {}) for point in self.points)
        return [{name: row.get(column) for name, column in names.items()} for row in of_points]

    @cached_property
    def frozen_spans(self) -> dict[str, Rows]:
        """The rows of `frozen_spans`, by point."""
        return by_point(self._lake.read("frozen_spans", self.query_date).to_pylist())

    @cached_property
    def log(self) -> dict[Feed, list[Poll]]:
        """The polls of the day, by feed and time."""
        polls = defaultdict(list)
        for poll in self.polls("time >= getvariable('midnight') AND time < getvariable('next_midnight')"):
            polls[poll.source, poll.feed].append(poll)
        return polls

    def polls(self, condition: str, *parameters: Any) -> list[Poll]:
        """Polls of the day and the days around it, by time."""
        rows = self.rows(
            "SELECT CAST(epoch(query_time) AS BIGINT) AS time, poll_key(time, source, feed) AS key, "  # noqa: S608
            f"* EXCLUDE (query_time) FROM poll_log WHERE {condition} ORDER BY time, source, feed, poll_id",
            *parameters,
        )
        return [Poll(query_time=time_of(row.pop("time")), **row) for row in rows]


def by_point(rows: Iterable[dict[str, Any]]) -> dict[str, Rows]:
    """Rows by their `id_cp`; none of a point that they have not."""
    found = defaultdict(list)
    for row in rows:
        found[row["id_cp"]].append(row)
    return found


def is_text(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    """Whether each value is this text; null is not."""
    return pc.fill_null(pc.equal(column.cast(pa.string()), text), fill_value=False)


def time_of(second: int) -> dt.datetime:
    """A time in seconds since 1970."""
    return dt.datetime.fromtimestamp(second, dt.UTC)
