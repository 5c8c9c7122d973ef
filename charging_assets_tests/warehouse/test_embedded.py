import datetime as dt
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets.derive.calendar_tables import time_table
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.dictionary import type_name
from charging_assets.model.tables import METADATA
from charging_assets.warehouse import WarehouseError, connect, export_views, query
from charging_assets_tests.raw_days import make_raw_day
from charging_assets_tests.standins.s3 import S3Standin

DAY = dt.date(2024, 10, 23)
NOON = dt.datetime(2024, 10, 23, 10, tzinfo=dt.UTC)


def statuses(status: str, date: dt.date = DAY, points: int = 3) -> pa.Table:
    few = {"source": "chargecloud", "feed": "koeln", "status_class": "free"}
    rows = [
        {"id_chargingpoint": f"DE*{n:03}", "query_time": NOON, "status_cp": status, "query_date": date, **few}
        for n in range(points)
    ]
    return pa.Table.from_pylist(rows, arrow_schema("status_chargingpoints"))


def answer(lake: Lake, sql: str) -> list[dict[str, Any]]:
    with query(lake, sql) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return rows


def refusal(lake: Lake, sql: str) -> str:
    with pytest.raises(WarehouseError) as caught:
        answer(lake, sql)
    return str(caught.value)


@pytest.fixture
def filled(lake: Lake) -> Lake:
    lake.write("status_chargingpoints", DAY, statuses("AVAILABLE"))
    lake.write("status_chargingpoints", DAY + dt.timedelta(1), statuses("CHARGING", DAY + dt.timedelta(1)))
    return lake


@pytest.mark.parametrize(
    ("date", "polls", "hours", "offsets"),
    [
        (dt.date(2026, 3, 29), 138, [0, 1, 3, 4], [False] * 12 + [True] * 126),
        (dt.date(2026, 10, 25), 150, [0, 1, 2, 2, 3], [True] * 18 + [False] * 132),
    ],
)
def test_the_time_table_is_right_on_the_days_on_which_clocks_change(
    lake: Lake, date: dt.date, polls: int, hours: list[int], offsets: list[bool]
) -> None:
    make_raw_day(lake, date, polls=polls)
    lake.publish(flatten_day(lake, date, ["poll_log"])["poll_log"])
    lake.write("time", None, time_table(lake))

    rows = answer(lake, 'select * from "time"')

    assert len(rows) == polls
    assert [row["hour"] for row in rows[::6]][: len(hours)] == hours
    assert [row["is_dst"] for row in rows] == offsets
    given = ("query_time", "hour", "day", "week", "month", "year", "weekday")
    assert list(rows[0])[:7] == list(given)
    week, month, day = (13, 3, 29) if date.month == 3 else (43, 10, 25)
    assert tuple(rows[-1][name] for name in given[1:]) == (23, day, week, month, 2026, 7)
    assert (rows[-1]["query_date"], rows[-1]["iso_year"], rows[-1]["minute_of_week"]) == (date, 2026, 10_070)


def test_tables_are_named_as_in_the_model_with_the_computed_id_first(filled: Lake) -> None:
    first = answer(filled, "FROM status_chargingpoints ORDER BY id_chargingpoint, query_date LIMIT 1")[0]
    assert first == {
        "id_status_cp": f"DE*000@{int(NOON.timestamp())}",
        "id_chargingpoint": "DE*000",
        "query_time": NOON,
        "status_cp": "AVAILABLE",
        "status_parkingsensor": None,
        "query_date": DAY,
        "source": "chargecloud",
        "feed": "koeln",
        "status_class": "free",
    }
    assert next(iter(first)) == "id_status_cp"


@pytest.mark.parametrize("table", [table for table in METADATA.tables.values() if table.name != "raw_snapshots"])
def test_a_table_without_partitions_is_empty_with_the_models_columns_and_types(lake: Lake, table: Any) -> None:
    described = answer(lake, f"SELECT column_name, column_type FROM (DESCRIBE {table.name})")
    computed = dict.fromkeys(table.info["computed"], "varchar")
    expected = computed | {column.name: type_name(column) for column in table.columns}
    sql_names = {"timestamptz": "TIMESTAMP WITH TIME ZONE", "double precision": "DOUBLE", "geometry": "VARCHAR"}
    assert [(row["column_name"], row["column_type"]) for row in described] == [
        (name, sql_names.get(kind, kind.upper())) for name, kind in expected.items()
    ]
    assert answer(lake, f"SELECT count(*) AS n FROM {table.name}") == [{"n": 0}]


def test_an_older_file_that_lacks_a_column_gives_nulls(filled: Lake) -> None:
    older = Path(filled.uri) / f"tables/status_chargingpoints/query_date={DAY}.parquet"
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns(["status_class"]), older)
    assert answer(filled, "SELECT DISTINCT query_date, status_class FROM status_chargingpoints ORDER BY 1") == [
        {"query_date": DAY, "status_class": None},
        {"query_date": DAY + dt.timedelta(1), "status_class": "free"},
    ]
    (Path(filled.uri) / f"tables/status_chargingpoints/query_date={DAY + dt.timedelta(1)}.parquet").unlink()
    assert answer(filled, "SELECT DISTINCT status_class FROM status_chargingpoints") == [{"status_class": None}]


def test_a_newer_file_with_an_unknown_column_shows_only_what_this_version_knows(filled: Lake) -> None:
    newer = Path(filled.uri) / f"tables/status_chargingpoints/query_date={DAY}.parquet"
    data = pq.read_table(newer, partitioning=None)
    pq.write_table(data.append_column("colour", pa.array(["red"] * data.num_rows)), newer)
    with query(filled, "FROM status_chargingpoints") as reader:
        assert "colour" not in reader.schema.names


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM status_chargingpoints JOIN status_connectors USING (query_time)",
        "WITH s AS (FROM status_chargingpoints) SELECT count(*) FROM s",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
        "SELECT 1 UNION SELECT 2 ORDER BY 1",
        "-- a remark\nSELECT 1; -- another",
        "SHOW TABLES",
        "SUMMARIZE status_chargingpoints",
        "FROM (PIVOT status_chargingpoints ON status_cp IN ('AVAILABLE') USING count(*))",
        """SELECT '"type":"COPY_QUERY_NODE"; COPY'""",
        'SELECT * FROM "STATUS_ChargingPoints"',
        f"SELECT {' + '.join('1' * 900)}",
    ],
)
def test_every_form_of_select_is_answered(filled: Lake, sql: str) -> None:
    assert answer(filled, sql) is not None


def test_a_table_whose_name_is_computed_is_not_silently_empty(filled: Lake) -> None:
    assert answer(filled, "SELECT count(*) AS n FROM query_table('status_' || 'chargingpoints')") == [{"n": 6}]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("", "no statements"),
        ("SELECT '\udcff'", "text that is not UTF-8, at character 9"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("COPY (SELECT 1) TO 'x.csv'", "COPY"),
        ("ATTACH 'x.duckdb'", "ATTACH"),
        ("PRAGMA show_tables", "PRAGMA"),
        ("SET memory_limit = '1GB'", "SET"),
        ("INSTALL httpfs", "LOAD"),
        ("CALL range(3)", "CALL"),
        ("CREATE TABLE t AS SELECT 1", "CREATE"),
        ("DROP VIEW status_chargingpoints", "DROP"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("PIVOT status_chargingpoints ON status_cp", "PIVOT"),
        ("WITH a AS (INSERT INTO poll_log FROM poll_log RETURNING *) FROM a", "INSERT"),
    ],
)
def test_what_is_not_one_select_is_refused_by_name(filled: Lake, sql: str, kind: str) -> None:
    assert f"got {kind}" in refusal(filled, sql)


def test_a_copy_hidden_in_a_with_cannot_overwrite_the_lake(filled: Lake) -> None:
    file = Path(filled.uri) / f"tables/status_chargingpoints/query_date={DAY}.parquet"
    before = file.read_bytes()
    hidden = f"COPY (SELECT 1 AS a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"
    assert "COPY" in refusal(filled, f"WITH a AS ({hidden}) SELECT * FROM a, status_chargingpoints")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "source",
    [
        "json_execute_serialized_sql(json_serialize_sql('{text}'))",
        "system.main.JSON_Execute_Serialized_SQL(json_serialize_sql('{text}'))",
        """ "query"('{text}')""",
        "query('FROM json_execute_' || 'serialized_sql(json_serialize_sql(''{text}''))')",
    ],
)
def test_a_copy_hidden_in_a_text_that_is_run_as_sql_cannot_overwrite_the_lake(filled: Lake, source: str) -> None:
    file = Path(filled.uri) / f"tables/status_chargingpoints/query_date={DAY}.parquet"
    before = file.read_bytes()
    copy = f"WITH a AS (COPY (SELECT 1 AS a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)) FROM a"
    quoted = copy.replace("'", "''")
    assert "run a text as SQL" in refusal(filled, f"FROM {source.format(text=quoted)}, status_chargingpoints")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{secret}')",
        "read_text('{secret}')",
        "read_blob('/proc/self/environ')",
        "read_parquet('{secret}')",
        "read_json('http://127.0.0.1:9/x')",
        "glob('{folder}/*')",
        "parquet_metadata('{secret}')",
        "sniff_csv('{secret}')",
        "read_duckdb('{secret}', table_name = 't')",
    ],
)
def test_no_query_reaches_another_file(filled: Lake, tmp_path: Path, source: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")
    message = refusal(filled, f"SELECT * FROM {source.format(secret=secret, folder=tmp_path)}, status_chargingpoints")
    assert "hunter2" not in message
    assert message.startswith("A query reads the lake's tables and nothing else")


def test_a_file_that_the_process_has_open_is_not_readable_through_its_descriptor(filled: Lake, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hunter2")
    with secret.open() as file:
        message = refusal(filled, f"SELECT * FROM read_text('/proc/self/fd/{file.fileno()}'), status_chargingpoints")
    assert "nothing else" in message


def test_the_callers_variables_are_no_tables(filled: Lake) -> None:
    mine = pa.table({"a": [1]})  # noqa: F841 - DuckDB would find it
    assert duckdb.sql("SELECT * FROM mine").fetchall() == [(1,)]  # what DuckDB does unless it is told not to
    with connect(filled, []) as connection, pytest.raises(duckdb.CatalogException, match="mine does not exist"):
        connection.execute("SELECT * FROM mine")


@pytest.mark.parametrize(
    "statement", ["SET TimeZone = 'Europe/Berlin'", "SET enable_external_access = true", "LOAD httpfs"]
)
def test_a_connection_cannot_be_unlocked(filled: Lake, statement: str) -> None:
    with connect(filled) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)


def test_a_misspelt_name_is_answered_with_candidates(filled: Lake) -> None:
    assert 'Did you mean "status_chargingpoints"' in refusal(filled, "FROM status_charging_points")
    assert "status_cp" in refusal(filled, "SELECT state_cp FROM status_chargingpoints")


def test_a_failure_while_rows_are_made_is_a_sentence(lake: Lake) -> None:
    sql = "SELECT CASE WHEN range = 300000 THEN error('boom') ELSE 'x' END FROM range(400000)"
    assert "boom" in refusal(lake, sql)


def test_a_query_sees_the_partitions_of_its_beginning_whatever_replaces_them(filled: Lake) -> None:
    with connect(filled) as connection:
        before = connection.execute(
            "SELECT status_cp, count(*) FROM status_chargingpoints GROUP BY 1 ORDER BY 1"
        ).fetchall()
        for date in (DAY, DAY + dt.timedelta(1)):
            filled.write("status_chargingpoints", date, statuses("OUTOFORDER", date, points=5))
        after = connection.execute(
            "SELECT status_cp, count(*) FROM status_chargingpoints GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert before == after == [("AVAILABLE", 3), ("CHARGING", 3)]
    assert answer(filled, "SELECT DISTINCT status_cp FROM status_chargingpoints") == [{"status_cp": "OUTOFORDER"}]


def test_queries_beside_a_build_that_replaces_partitions_never_fail_and_never_see_a_mix(filled: Lake) -> None:
    done = threading.Event()
    versions = [statuses(f"VERSION{n}", points=50) for n in range(4)]
    filled.write("status_chargingpoints", DAY, versions[0])

    def replace() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            filled.write("status_chargingpoints", DAY, versions[turn % len(versions)])

    builder = threading.Thread(target=replace)
    builder.start()
    try:
        for _ in range(15):
            rows = answer(
                filled,
                "SELECT count(*) AS n, count(DISTINCT a.status_cp) AS seen, min(a.status_cp = b.status_cp) AS same "
                "FROM status_chargingpoints a JOIN status_chargingpoints b USING (id_chargingpoint, query_date) "
                f"WHERE query_date = '{DAY}'",
            )
            assert rows == [{"n": 50, "seen": 1, "same": True}]
    finally:
        done.set()
        builder.join()


def test_times_are_utc_wherever_the_machine_is(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    rows = answer(
        filled, "SELECT DISTINCT CAST(query_time AS VARCHAR) AS t, hour(query_time) AS h FROM status_chargingpoints"
    )
    assert rows == [{"t": "2024-10-23 10:00:00+00", "h": 10}]


def test_intervals_come_as_text_under_their_own_name_and_in_order(lake: Lake) -> None:
    sql = """SELECT INTERVAL (range) HOUR AS "a ""b", range AS n FROM range(3) ORDER BY range DESC"""
    assert answer(lake, sql) == [
        {'a "b': "02:00:00", "n": 2},
        {'a "b': "01:00:00", "n": 1},
        {'a "b': "00:00:00", "n": 0},
    ]


def test_an_s3_lake_is_queried_like_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Standin() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        lake = Lake(f"s3://{server.new_bucket()}/lake", tmp_path / "we[i]rd* 'home'")
        lake.write("status_chargingpoints", DAY, statuses("AVAILABLE"))
        with connect(lake) as connection:
            lake.write("status_chargingpoints", DAY, statuses("CHARGING"))
            assert answer(lake, "SELECT DISTINCT status_cp FROM status_chargingpoints") == [{"status_cp": "CHARGING"}]
            seen = connection.execute("SELECT DISTINCT status_cp FROM status_chargingpoints").fetchall()
        assert seen == [("AVAILABLE",)]


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Lake, Path]:
    """A lake in a folder whose name means something to globs and to SQL, and its exported views."""
    lake = Lake(str(tmp_path / "we[i]rd* 'lake'?"), tmp_path / "home")
    lake.write("status_chargingpoints", DAY, statuses("AVAILABLE"))
    file = tmp_path / "views.duckdb"
    assert [name for name, has_files in export_views(lake, file).items() if has_files] == ["status_chargingpoints"]
    return lake, file


def rows_in(file: Path, sql: str) -> list[Any]:
    with duckdb.connect(file, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_exported_views_follow_the_lake(exported: tuple[Lake, Path]) -> None:
    lake, file = exported
    sql = "SELECT query_date, count(*) FROM status_chargingpoints GROUP BY 1 ORDER BY 1"
    assert rows_in(file, sql) == [(DAY, 3)]
    lake.write("status_chargingpoints", DAY, statuses("CHARGING", points=4))
    lake.write("status_chargingpoints", DAY + dt.timedelta(1), statuses("CHARGING", DAY + dt.timedelta(1)))
    assert rows_in(file, sql) == [(DAY, 4), (DAY + dt.timedelta(1), 3)]
    assert rows_in(file, "SELECT count(id_status_connectors) FROM status_connectors") == [(0,)]


def test_an_export_replaces_an_earlier_one_and_leaves_nothing_beside_it(exported: tuple[Lake, Path]) -> None:
    lake, file = exported
    as_of = lake.write("status_connectors", DAY, arrow_schema("status_connectors").empty_table())
    assert as_of.rows == 0
    export_views(lake, file)
    assert rows_in(file, "SELECT count(*) FROM status_connectors") == [(0,)]
    assert {path.name for path in file.parent.iterdir()} == {"views.duckdb", Path(lake.uri).name}


@pytest.mark.parametrize("kind", ["text", "other database"])
def test_an_export_does_not_replace_what_is_no_export(exported: tuple[Lake, Path], tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "mine.duckdb"
    if kind == "text":
        mine.write_text("my thesis")
    else:
        with duckdb.connect(mine) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1")
    before = mine.read_bytes()
    with pytest.raises(WarehouseError, match="stays as it is"):
        export_views(exported[0], mine)
    assert mine.read_bytes() == before


def test_an_export_of_an_s3_lake_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="charging-assets sql"):
        export_views(Lake("s3://bucket/lake", tmp_path), tmp_path / "views.duckdb")
    assert not list(tmp_path.iterdir())
