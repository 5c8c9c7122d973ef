"""Twenty-odd questions of reports, in SQL that all three warehouses take: the same answers from each.

That SQL casts before it divides, since PostgreSQL and Redshift divide whole numbers to whole ones, and gives every
order a last word, since ties have none.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.calendar_tables import public_holidays, time_table
from charging_assets.derive.dimensions import dimensions
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.flatten.current import current_status
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake, PartitionKey
from charging_assets.model.tables import is_dated
from charging_assets.simulator import write_history
from charging_assets.warehouse.contract import published_tables
from charging_assets_tests.simulated import small_simulation
from charging_assets_tests.sound_lake import table_of
from charging_assets_tests.standins.pgproxy import PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin
from charging_assets_tests.warehouse.harness import (
    EmbeddedHarness,
    Harness,
    PostgresHarness,
    RedshiftHarness,
    with_schema,
)
from charging_assets_tests.warehouse.rows import Row

DATES = [dt.date(2026, 10, day) for day in (24, 25, 26)]
"""The second one has 25 hours."""
INTERVAL_S = 1800
HOURS = {DATES[0]: 24, DATES[1]: 25, DATES[2]: 24}

QUERIES = {
    "rows by table": " UNION ALL ".join(
        f"SELECT '{tab.name}' AS name, count(*) AS n FROM charging.\"{tab.name}\"" for tab in published_tables()
    )
    + " ORDER BY name",
    "share of CHARGING by feed and hour": """
        SELECT s.feed, t.hour, avg(CASE WHEN s.status_cp = 'CHARGING' THEN 1.0 ELSE 0.0 END) AS share, count(*) AS n
        FROM charging.status_chargingpoints s JOIN charging."time" t ON t.query_time = s.query_time
        GROUP BY s.feed, t.hour ORDER BY s.feed, t.hour""",
    "utilization by station and hour": """
        SELECT p.id_cs, date_trunc('hour', s.query_time) AS utc_hour,
            CAST(sum(CASE WHEN s.status_class = 'occupied' THEN 1 ELSE 0 END) AS double precision)
                / nullif(sum(CASE WHEN s.status_class IN ('occupied', 'free') THEN 1 ELSE 0 END), 0) AS utilization
        FROM charging.status_chargingpoints s JOIN charging.charging_point p ON p.id_cp = s.id_chargingpoint
        GROUP BY p.id_cs, date_trunc('hour', s.query_time) ORDER BY p.id_cs, utc_hour""",
    "utilization by weekday and local hour": """
        SELECT t.weekday, t.hour, t.is_dst, count(DISTINCT s.query_time) AS polls,
            avg(CASE WHEN s.status_class = 'occupied' THEN 1.0 ELSE 0.0 END) AS occupied
        FROM charging.status_chargingpoints s JOIN charging."time" t ON t.query_time = s.query_time
        WHERE s.status_class <> 'unknown' GROUP BY t.weekday, t.hour, t.is_dst ORDER BY 1, 2, 3""",
    "statuses by date and class": """
        SELECT query_date, status_class, count(*) AS n, count(status_cp) AS given,
            count(DISTINCT id_chargingpoint) AS ids
        FROM charging.status_chargingpoints GROUP BY query_date, status_class ORDER BY query_date, status_class""",
    "occupied point-hours by power class": """
        SELECT coalesce(p.power_class, 'not known') AS power_class, count(DISTINCT p.id_cp) AS points,
            CAST(count(*) AS double precision) * 0.5 AS hours, min(s.query_time) AS first, max(s.query_time) AS last
        FROM charging.status_chargingpoints s JOIN charging.charging_point p ON p.id_cp = s.id_chargingpoint
        WHERE s.status_class = 'occupied' GROUP BY coalesce(p.power_class, 'not known') ORDER BY 1""",
    "connectors by standard and status": """
        SELECT c.standard, s.status_connector, count(*) AS n, max(c.max_power) AS strongest
        FROM charging.status_connectors s LEFT JOIN charging.connector c ON c.id_connector = s.id_connector
        GROUP BY c.standard, s.status_connector ORDER BY c.standard, s.status_connector""",
    "coverage by feed and date": """
        SELECT source, feed, query_date, polls_planned, polls_answered, polls_failed, polls_missing,
            CAST(polls_answered AS double precision) / polls_planned AS coverage, longest_gap_s, state
        FROM charging.feed_health ORDER BY source, feed, query_date""",
    "feeds below full coverage": """
        SELECT feed, sum(polls_planned) - sum(polls_answered) AS lost, avg(unknown_share) AS unknown_share
        FROM charging.feed_health GROUP BY feed HAVING sum(polls_answered) < sum(polls_planned)
        ORDER BY lost DESC, feed""",
    "what became of polls": """
        SELECT feed, outcome, coalesce(http_status, 0) AS http_status, count(*) AS polls, sum(bytes_total) AS bytes,
            sum(evses_ok) AS evses, sum(evses_rejected + evses_duplicate) AS not_used
        FROM charging.poll_log GROUP BY feed, outcome, coalesce(http_status, 0) ORDER BY 1, 2, 3""",
    "why polls failed": """
        SELECT reason, count(*) AS polls, count(DISTINCT feed) AS feeds, min(requested_at) AS first
        FROM charging.poll_log WHERE outcome <> 'ok' GROUP BY reason ORDER BY polls DESC, reason""",
    "percentiles of the size of answers": """
        SELECT feed, percentile_cont(0.5) WITHIN GROUP (ORDER BY bytes_total) AS median,
            percentile_cont(0.9) WITHIN GROUP (ORDER BY bytes_total) AS high
        FROM charging.poll_log WHERE outcome = 'ok' GROUP BY feed ORDER BY feed""",
    "observations without the frozen ones": """
        SELECT s.feed, s.query_date, count(*) AS observed
        FROM charging.status_chargingpoints s
        WHERE NOT EXISTS (
            SELECT 1 FROM charging.frozen_spans f
            WHERE f.id_cp = s.id_chargingpoint AND s.query_time >= f.start_time AND s.query_time < f.end_time)
        GROUP BY s.feed, s.query_date ORDER BY s.feed, s.query_date""",
    "frozen point-hours": """
        SELECT feed, kind, count(DISTINCT id_cp) AS points,
            sum(EXTRACT(epoch FROM end_time) - EXTRACT(epoch FROM start_time)) / 3600 AS hours
        FROM charging.frozen_spans GROUP BY feed, kind ORDER BY feed, kind""",
    "versions in force at each poll": """
        SELECT h.id_cs, h.name, count(*) AS polls, min(t.query_time) AS first, max(t.query_time) AS last
        FROM charging."time" t JOIN charging.charging_station_history h
            ON h.valid_from <= t.query_time AND (h.valid_to IS NULL OR t.query_time < h.valid_to)
        GROUP BY h.id_cs, h.name ORDER BY h.id_cs, first""",
    "versions that are over": """
        SELECT o.id_cs, o.name AS before, n.name AS after, n.changed_columns, o.valid_to
        FROM charging.charging_station_history o JOIN charging.charging_station_history n
            ON n.id_cs = o.id_cs AND n.valid_from = o.valid_to
        WHERE NOT o.is_current ORDER BY o.id_cs, o.valid_from""",
    "ten busiest stations": """
        SELECT c.id_cs, c.city, count(*) AS occupied
        FROM charging.status_chargingpoints s
            JOIN charging.charging_point p ON p.id_cp = s.id_chargingpoint
            JOIN charging.charging_station c ON c.id_cs = p.id_cs
        WHERE s.status_class = 'occupied' GROUP BY c.id_cs, c.city ORDER BY occupied DESC, c.id_cs LIMIT 10""",
    "changes of status by point": """
        WITH steps AS (
            SELECT id_chargingpoint, status_cp,
                lag(status_cp) OVER (PARTITION BY id_chargingpoint ORDER BY query_time) AS before
            FROM charging.status_chargingpoints)
        SELECT id_chargingpoint, count(*) AS changes FROM steps WHERE status_cp <> before
        GROUP BY id_chargingpoint ORDER BY changes DESC, id_chargingpoint""",
    "longest runs of CHARGING": """
        WITH numbered AS (
            SELECT id_chargingpoint, query_time, status_cp,
                row_number() OVER (PARTITION BY id_chargingpoint ORDER BY query_time)
                - row_number() OVER (PARTITION BY id_chargingpoint, status_cp ORDER BY query_time) AS run
            FROM charging.status_chargingpoints)
        SELECT id_chargingpoint, min(query_time) AS since, max(query_time) AS until, count(*) AS polls
        FROM numbered WHERE status_cp = 'CHARGING' GROUP BY id_chargingpoint, run
        ORDER BY polls DESC, since, id_chargingpoint LIMIT 20""",
    "first and last status of each day": """
        WITH ranked AS (
            SELECT id_chargingpoint, query_date, status_cp,
                row_number() OVER (PARTITION BY id_chargingpoint, query_date ORDER BY query_time) AS up,
                row_number() OVER (PARTITION BY id_chargingpoint, query_date ORDER BY query_time DESC) AS down
            FROM charging.status_chargingpoints)
        SELECT id_chargingpoint, query_date, max(CASE WHEN up = 1 THEN status_cp END) AS first,
            max(CASE WHEN down = 1 THEN status_cp END) AS last
        FROM ranked GROUP BY id_chargingpoint, query_date ORDER BY id_chargingpoint, query_date""",
    "occupied points so far and moving mean": """
        WITH polls AS (
            SELECT query_time, sum(CASE WHEN status_class = 'occupied' THEN 1 ELSE 0 END) AS occupied
            FROM charging.status_chargingpoints GROUP BY query_time)
        SELECT query_time, occupied, sum(occupied) OVER (ORDER BY query_time ROWS UNBOUNDED PRECEDING) AS so_far,
            avg(CAST(occupied AS double precision))
                OVER (ORDER BY query_time ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS moving
        FROM polls ORDER BY query_time""",
    "current status by station": """
        SELECT p.id_cs, u.status_class, count(*) AS points, min(u.since) AS since, max(u.age_s) AS oldest_s
        FROM charging.current_status u LEFT JOIN charging.charging_point p ON p.id_cp = u.id_chargingpoint
        GROUP BY p.id_cs, u.status_class ORDER BY p.id_cs, u.status_class""",
    "holidays of the states": """
        SELECT state, count(*) AS days, min("date") AS first, max(name) AS last_by_name
        FROM charging.public_holiday WHERE "date" >= '2026-01-01' GROUP BY state ORDER BY state""",
    "the doubled hour of autumn": """
        SELECT t.query_date, t.hour, t.is_dst, count(*) AS polls,
            min(EXTRACT(hour FROM t.query_time AT TIME ZONE 'Europe/Berlin')) AS by_zone
        FROM charging."time" t WHERE t.hour BETWEEN 1 AND 3
        GROUP BY t.query_date, t.hour, t.is_dst ORDER BY t.query_date, min(t.query_time)""",
    "share of each feed": """
        SELECT feed, query_date, n, CAST(n AS double precision) / sum(n) OVER (PARTITION BY query_date) AS share,
            rank() OVER (PARTITION BY query_date ORDER BY n DESC, feed) AS place
        FROM (SELECT feed, query_date, count(*) AS n FROM charging.status_connectors GROUP BY feed, query_date) AS c
        ORDER BY query_date, feed""",
    "identities of rows": """
        SELECT query_date, count(DISTINCT id_status_cp) AS ids, count(*) AS n, min(id_status_cp) AS first,
            max(length(id_status_cp)) AS longest
        FROM charging.status_chargingpoints GROUP BY query_date ORDER BY query_date""",
    "points by what the day's answers said": """
        SELECT level, feed, count(DISTINCT id) AS ids, sum(polls) AS polls, count(max_power) AS with_power
        FROM charging.master_observations WHERE name LIKE '%e%' OR name IS NULL GROUP BY level, feed
        ORDER BY level, feed""",
}


def _history_with_a_change(lake: Lake) -> None:
    """The first station got another name in the night of the second date."""
    rows = lake.read("charging_station_history", None)
    changed = day_bounds(DATES[1])[0] + dt.timedelta(hours=2)
    (before, *others) = rows.to_pylist()
    versions = [
        {**before, "valid_to": changed, "is_current": False},
        {**before, "valid_from": changed, "name": "O'Neil's \"new\" name", "changed_columns": "name"},
    ]
    made = table_of("charging_station_history", [*versions, *others])
    lake.write("charging_station_history", None, made)


def _freeze(lake: Lake, date: dt.date) -> None:
    """A fifth of a feed's points was frozen from 6 to 18 h."""
    start, _ = day_bounds(date)
    status = lake.read("status_chargingpoints", date)
    ids = sorted({row["id_chargingpoint"] for row in status.to_pylist() if row["feed"] == "koeln"})
    span: dict[str, Any] = {
        "source": "simulator",
        "feed": "koeln",
        "start_time": start + dt.timedelta(hours=6),
        "end_time": start + dt.timedelta(hours=18),
        "query_date": date,
        "kind": "part",
        "freeze_start": start + dt.timedelta(hours=6),
        "freeze_end": None,
        "expected_changes": 20.0,
        "is_proven_later": False,
        "polls": 24,
    }
    lake.write("frozen_spans", date, table_of("frozen_spans", [{**span, "id_cp": id_cp} for id_cp in ids[::5]]))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three days with all tables; some answers are missing."""
    folder = tmp_path_factory.mktemp("simulated")
    lake = Lake(str(folder / "lake"), folder / "home")
    write_history(small_simulation(), lake, DATES, interval_s=INTERVAL_S, missing=0.1)
    for date in DATES:
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
    maker = FeedHealthMaker(lake)
    for date in DATES:
        made = maker.make(date, is_closed=True)
        lake.write("feed_health", date, made.feed_health)
        lake.write("frozen_spans", date, made.frozen_spans)
    _freeze(lake, DATES[2])
    for name, rows in dimensions(lake, active_days=2).items():
        lake.write(name, None, rows)
    _history_with_a_change(lake)
    lake.write("current_status", None, current_status(lake, day_bounds(DATES[2])[1]))
    lake.write("time", None, time_table(lake))
    lake.write("public_holiday", None, public_holidays(DATES[0], DATES[2]))
    return lake


def _keys(lake: Lake) -> Iterator[tuple[str, PartitionKey]]:
    for tab in published_tables():
        for key in lake.partitions(tab.name) if is_dated(tab) else [None]:
            yield tab.name, key


@pytest.fixture(scope="module")
def warehouses(
    simulated: Lake,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresStandin,
    postgres_proxy: PgProxy,
    redshift_proxy: RedshiftStandin,
    s3_server: S3Standin,
) -> Iterator[Sequence[Harness]]:
    """One of each kind, all with the same tables."""
    homes = [tmp_path_factory.mktemp(name) for name in ("embedded", "postgres", "redshift")]
    local = [str(home / "lake") for home in homes[:2]]
    remote = f"s3://{s3_server.new_bucket()}/lake"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3_server.environment.items():
            environment.setenv(name, value)
        made: list[Harness] = [
            EmbeddedHarness(local[0], homes[0]),
            with_schema(PostgresHarness(local[1], homes[1], postgres, postgres_proxy)),
            with_schema(RedshiftHarness(remote, homes[2], postgres, redshift_proxy, s3_server.client())),
        ]
        for name, key in _keys(simulated):
            rows = simulated.read(name, key)
            for one in made:
                one.write(name, key, rows)
                one.load(name, key)
        yield made


def _plain(row: Row) -> list[Any]:
    """Numbers and times as each warehouse means them, whatever type its driver gives."""
    plain: list[Any] = []
    for value in row:
        if isinstance(value, Decimal):
            plain.append(float(value))
        elif isinstance(value, dt.datetime) and value.tzinfo is not None:
            plain.append(value.astimezone(dt.UTC))
        else:
            plain.append(value)
    return plain


@pytest.mark.parametrize("title", QUERIES)
def test_every_warehouse_gives_the_same_answer(warehouses: Sequence[Harness], title: str) -> None:
    answers = [[_plain(row) for row in one.query(QUERIES[title])] for one in warehouses]
    expected, *others = answers
    assert expected
    for place in range(len(expected[0])):
        assert any(row[place] is not None for row in expected), "a column says nothing"
    for one, answer in zip(warehouses[1:], others, strict=True):
        assert len(answer) == len(expected)
        for row, wanted in zip(answer, expected, strict=True):
            assert row == [
                pytest.approx(value, rel=1e-9) if isinstance(value, int | float) else value for value in wanted
            ], one.warehouse.name


def test_the_answers_are_of_what_was_simulated(warehouses: Sequence[Harness]) -> None:
    polls = {date: hours * 3600 // INTERVAL_S for date, hours in HOURS.items()}
    for one in warehouses:
        counted = one.query('SELECT query_date, count(*) FROM charging."time" GROUP BY query_date ORDER BY 1')
        assert dict(counted) == polls
        assert one.count("status_chargingpoints") > 5_000
