"""What every warehouse promises, tried on each: DuckDB over the lake, PostgreSQL, and the stand-in of Redshift.

`make test-redshift-live` tries the same on a real cluster: see `harness`.
"""

import datetime as dt
import random
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, Table

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake, PartitionFile, PartitionKey, SchemaMismatch
from charging_assets.lake.store import store_at
from charging_assets.model.arrow import arrow_schema, schema_of
from charging_assets.model.tables import key_of, table
from charging_assets.model.tables.declare import column, declare, text
from charging_assets.warehouse import (
    Difference,
    Failed,
    Load,
    MigrationRefused,
    Warehouse,
    WarehouseError,
    differences,
    publish,
)
from charging_assets.warehouse.contract import LOADER, READER, published_tables
from charging_assets_tests.warehouse.harness import Harness, ProxiedHarness, ServedHarness
from charging_assets_tests.warehouse.rows import HOSTILE, as_rows, hard_rows, sorted_texts, text_columns

DAY = dt.date(2026, 3, 28)
SPRING, AUTUMN = dt.date(2026, 3, 29), dt.date(2026, 10, 25)
DATED, UNDATED = ("status_connectors", DAY), ("connector", None)

Place = tuple[str, PartitionKey]


def few(count: int, first: int = 0) -> Sequence[str]:
    """Texts that are all different, also from those of another `first`."""
    return [f"text {first + number:04}" for number in range(count)]


def put(harness: Harness, place: Place, texts: Sequence[str]) -> Load:
    """Write a partition into the lake and load it."""
    name, key = place
    harness.write(name, key, hard_rows(table(name), key, texts))
    return harness.load(name, key)


def in_lake(lake: Lake, name: str, key: PartitionKey) -> list[tuple[str, ...]]:
    return sorted_texts(as_rows(lake.read(name, key)))


def in_warehouse(harness: Harness, name: str, key: PartitionKey) -> list[tuple[str, ...]]:
    return sorted_texts(harness.rows(name, key))


# Values


@pytest.mark.parametrize("null_every", [None, 3, 1])
def test_every_value_of_every_table_is_read_back_as_it_was_written(harness: Harness, null_every: int | None) -> None:
    for tab in published_tables():
        key = SPRING if tab.info["dated"] else None
        harness.write(tab.name, key, hard_rows(tab, key, null_every=null_every))
        harness.load(tab.name, key)
        written = in_lake(harness.lake, tab.name, key)
        assert len(written) == len(HOSTILE)
        assert in_warehouse(harness, tab.name, key) == written, tab.name
    assert harness.count("load_log" if isinstance(harness, ServedHarness) else "poll_log") > 0  # nobody dropped it


def test_every_hostile_text_finds_its_row_again(harness: Harness) -> None:
    put(harness, DATED, HOSTILE)
    for hostile in HOSTILE:
        where = f"id_connector = {harness.literal(hostile)}"
        assert harness.query(f"SELECT id_connector FROM charging.status_connectors WHERE {where}") == [(hostile,)]


_LONG = {
    "letters": "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40_000)),
    "umlauts": "ü" * 20_000 + "ß" * 12_000,
    "emoji": "🔋" * 16_000,
    "quotes": "'" * 40_000,
    "what CSV quotes": '",\n\\' * 10_000,
}


def test_long_texts_are_kept_whole(harness: Harness) -> None:
    places: list[Place] = [("charging_station", None), ("master_observations", DAY), ("rejected_records", DAY)]
    for what, long in _LONG.items():
        for name, key in places:
            tab = table(name)
            rows = hard_rows(tab, key, few(3))
            for wide in text_columns(tab):
                if wide not in key_of(tab) and not tab.columns[wide].info["few"]:
                    rows = rows.set_column(rows.schema.get_field_index(wide), rows.schema.field(wide), [[long] * 3])
            harness.write(name, key, rows)
            harness.load(name, key)
            assert in_warehouse(harness, name, key) == in_lake(harness.lake, name, key), what


def test_ids_may_be_long(harness: Harness) -> None:
    letters = random.Random(2)
    texts = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=3_000)) for _ in range(4)]
    for tab in published_tables():
        key = DAY if tab.info["dated"] else None
        if harness.warehouse.name == "postgres" and key is None and {*key_of(tab)} & {*text_columns(tab)}:
            with pytest.raises(WarehouseError, match="an id is longer than the 2,700 bytes"):
                put(harness, (tab.name, key), texts)
            continue
        put(harness, (tab.name, key), texts)
        assert in_warehouse(harness, tab.name, key) == in_lake(harness.lake, tab.name, key)


@pytest.mark.parametrize(("date", "hours"), [(SPRING, 23), (DAY, 24), (AUTUMN, 25)])
def test_days_on_which_clocks_change_keep_every_utc_hour_once(harness: Harness, date: dt.date, hours: int) -> None:
    start, end = day_bounds(date)
    times = [start + dt.timedelta(hours=hour) for hour in range(hours)]
    assert times[-1] + dt.timedelta(hours=1) == end
    rows = hard_rows(table("status_connectors"), date, few(hours))
    at = rows.schema.get_field_index("query_time")
    harness.write("status_connectors", date, rows.set_column(at, rows.schema.field(at), [times]))
    harness.load("status_connectors", date)

    read = harness.query("SELECT query_time, id_status_connectors FROM charging.status_connectors ORDER BY query_time")

    assert [time.astimezone(dt.UTC) for time, _ in read] == times
    assert [identity.partition("@")[2] for _, identity in read] == [str(int(time.timestamp())) for time in times]
    assert harness.query("SELECT DISTINCT query_date FROM charging.status_connectors") == [(date,)]


# Replacing


@pytest.mark.parametrize("place", [DATED, UNDATED], ids=["dated", "undated"])
@pytest.mark.parametrize("first", [few(5), []], ids=["rows first", "none first"])
def test_a_partition_becomes_what_the_lake_has(harness: Harness, place: Place, first: Sequence[str]) -> None:
    versions = {
        "first": first,
        "the same": first,
        "other rows": few(5, first=100),
        "fewer": few(2, first=100),
        "more": few(9, first=99),
        "none": [],
        "none after none": [],
        "some after none": few(5),
    }
    for what, texts in versions.items():
        load = put(harness, place, texts)
        assert harness.count(place[0]) == len(texts) == load.rows, what
        assert in_warehouse(harness, *place) == in_lake(harness.lake, *place), what
        logged = harness.warehouse.load_log()[place]
        assert (logged.rows, logged.content_hash) == (len(texts), load.content_hash), what


def test_replacing_a_partition_leaves_its_neighbours_and_other_tables_alone(harness: Harness) -> None:
    others: list[Place] = [
        ("status_connectors", DAY - dt.timedelta(1)),
        ("status_connectors", DAY + dt.timedelta(1)),
        ("status_chargingpoints", DAY),
        UNDATED,
    ]
    for number, other in enumerate(others):
        put(harness, other, few(4 + number))
    put(harness, DATED, few(3))

    put(harness, DATED, [])

    for other in others:
        assert in_warehouse(harness, *other) == in_lake(harness.lake, *other)
    assert {place: load.rows for place, load in harness.warehouse.load_log().items()} == {
        **{other: 4 + number for number, other in enumerate(others)},
        DATED: 0,
    }


def test_the_load_log_tells_what_was_loaded_and_by_which_load(served: ServedHarness) -> None:
    name, key = DATED
    served.lake.write(name, key, hard_rows(table(name), key, few(7)), inputs="made of 'these'")
    first = served.load(name, key)
    assert served.warehouse.load_log() == {DATED: first}
    assert (first.table, first.key, first.rows, first.inputs) == (name, key, 7, "made of 'these'")
    assert first.file_version == served.lake.versions(name)[key]
    info = served.lake.info(name, key)
    assert info is not None
    assert (first.schema_version, first.code_version) == (info.schema_version, info.code_version)

    second = served.load(name, key)

    assert second.load_id != first.load_id
    assert second.content_hash == first.content_hash
    assert served.warehouse.load_log() == {DATED: second}
    shown = served.query("SELECT table_name, partition_key, row_count, load_id FROM charging.load_log")
    assert shown == [(name, key.isoformat() if key else "all", 7, second.load_id)]


def test_a_table_is_not_replaced_as_a_partition_nor_the_other_way_round(served: ServedHarness) -> None:
    put(served, DATED, few(2))
    put(served, UNDATED, few(2))
    for place, replace in ((DATED, served.warehouse.replace_table), (UNDATED, served.warehouse.replace_partition)):
        file = served.lake.file(*place)
        assert file is not None
        with closing(file), pytest.raises(ValueError, match="dated"):
            replace(file)
    assert served.count("status_connectors") == served.count("connector") == 2


_Write = tuple[dt.date | None, dict[str, tuple[str, int]]]
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_writes = st.lists(
    st.tuples(
        st.sampled_from([None, DAY, SPRING]),
        st.dictionaries(_texts, st.tuples(_texts, st.integers(-(2**63), 2**63 - 1)), max_size=5),
    ),
    min_size=1,
    max_size=6,
)


def _some_rows(name: str, key: PartitionKey, values: dict[str, tuple[str, int]]) -> pa.Table:
    """Rows with these ids, each with one text and one number besides."""
    rows = hard_rows(table(name), key, few(len(values))).to_pylist()
    ids, words, numbers = {
        "charging_point": ("id_cp", "floor_level", "id_cs"),
        "master_observations": ("id", "name", "content_hash"),
    }[name]
    for row, (identity, (word, number)) in zip(rows, sorted(values.items()), strict=True):
        row.update({ids: identity, words: word, numbers: number})
        if name == "master_observations":
            row.update({"level": "point", "source": "chargecloud", "feed": "koeln"})
    return pa.Table.from_pylist(rows, arrow_schema(name))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=_writes, reloads=st.lists(st.integers(0, 5), max_size=3))
def test_whatever_is_replaced_however_often_the_warehouse_equals_the_lake(
    harness: Harness, writes: list[_Write], reloads: list[int]
) -> None:
    places: list[Place] = [("master_observations", key) if key else ("charging_point", None) for key, _ in writes]
    for (name, key), (_, values) in zip(places, writes, strict=True):
        harness.write(name, key, _some_rows(name, key, values))
        harness.load(name, key)
    for again in reloads:
        harness.load(*places[again % len(places)])
    for name, key in set(places):
        assert in_warehouse(harness, name, key) == in_lake(harness.lake, name, key)


# Files that are not as declared


def _add(rows: pa.Table) -> pa.Table:
    return rows.append_column("colour", pa.array(["red"] * rows.num_rows))


def _swap(rows: pa.Table) -> pa.Table:
    names = list(rows.column_names)
    names[2], names[3] = names[3], names[2]
    return rows.select(names)


def _retype(rows: pa.Table) -> pa.Table:
    at = rows.column_names.index("query_time")
    return rows.set_column(at, "query_time", rows["query_time"].cast(pa.int64()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_add, "colour"),
        (lambda rows: rows.drop_columns(["feed"]), "feed"),
        (lambda rows: rows.drop_columns(["status_class"]), "status_class"),  # the last one, but no older version's file
        (_swap, "status_connector"),
        (_retype, "query_time"),
        (lambda rows: rows.rename_columns({"feed": "Feed"}), "Feed"),
    ],
    ids=["added", "missing", "the last one missing", "reordered", "retyped", "renamed"],
)
def test_a_file_with_other_columns_is_refused_by_name(
    harness: Harness, change: Callable[[pa.Table], pa.Table], named: str
) -> None:
    put(harness, DATED, few(4))
    before = in_warehouse(harness, *DATED)
    harness.rewrite(*DATED, change)
    if isinstance(harness, ProxiedHarness):
        harness.proxy.statements.clear()

    with pytest.raises(SchemaMismatch, match=f"column '{named}'"):
        harness.load(*DATED)

    if isinstance(harness, ProxiedHarness):
        assert not [sql for sql in harness.proxy.statements if "DELETE" in sql]
    if isinstance(harness, ServedHarness):  # DuckDB has no rows but those of the file
        assert in_warehouse(harness, *DATED) == before


@pytest.mark.parametrize(("place", "absent"), [(DATED, ["feed", "status_class"]), (UNDATED, ["is_active"])])
def test_a_file_of_an_older_version_loads_with_nulls_in_its_absent_columns(
    harness: Harness, place: Place, absent: list[str]
) -> None:
    name, key = place
    harness.write(name, key, hard_rows(table(name), key, few(3)))
    assert table(name).columns.keys()[-len(absent) :] == absent
    older = {b"charging_assets.schema_version": b"1"}
    harness.rewrite(name, key, lambda rows: rows.drop_columns(absent), older)
    expected = in_lake(harness.lake, name, key)

    load = harness.load(name, key)

    assert load.schema_version == 1
    assert in_warehouse(harness, name, key) == expected
    shown = harness.query(f"SELECT DISTINCT {', '.join(absent)} FROM charging.{name}")
    assert shown == [(None,) * len(absent)]
    put(harness, place, few(2))  # and one of this version replaces it
    assert in_warehouse(harness, name, key) == in_lake(harness.lake, name, key)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP COLUMN feed CASCADE", "'feed' as character varying"),
        ("ALTER COLUMN status_connector TYPE varchar(100)", "'status_connector' as character varying"),
        ("ADD COLUMN colour varchar(9)", "'colour' is not declared"),
        ("RENAME COLUMN feed TO fed", "'feed' as character varying"),
    ],
    ids=["lacks", "retyped", "has more", "renamed"],
)
def test_a_table_that_somebody_altered_is_refused_by_name_and_nothing_is_deleted(
    served: ServedHarness, statement: str, named: str
) -> None:
    put(served, DATED, few(4))
    if "TYPE" in statement:
        served.execute("DROP VIEW charging.status_connectors")  # as PostgreSQL wants it
    served.execute(f"ALTER TABLE charging_store.status_connectors {statement}")

    with pytest.raises(WarehouseError, match=named):
        put(served, DATED, few(9))

    assert served.execute("SELECT count(*) FROM charging_store.status_connectors") == [(4,)]
    assert served.warehouse.load_log()[DATED].rows == 4


def test_a_table_that_is_gone_is_named_with_what_to_do(served: ServedHarness) -> None:
    served.execute("DROP TABLE charging_store.status_connectors CASCADE")
    with pytest.raises(WarehouseError, match=r"charging_store\.status_connectors .*charging-assets migrate"):
        put(served, DATED, few(1))


# Migrations


def model_of(tables: Sequence[Table], but: tuple[str, str] | None = None) -> MetaData:
    """A model with these tables; `but`: table and column that it lacks."""
    model = MetaData()
    for tab in tables:
        columns = [
            column(col.name, col.type, col.comment or "", nullable=bool(col.nullable), **col.info)
            for col in tab.columns
            if (tab.name, col.name) != but
        ]
        info = tab.info
        declare(
            tab.name,
            tab.comment or "",
            *columns,
            key=key_of(tab),
            group=info["group"],
            dated=info["dated"],
            computed=info["computed"],
            metadata=model,
        )
    return model


def _load_rows(served: ServedHarness, warehouse: Warehouse, tab: Table, key: PartitionKey, rows: pa.Table) -> Load:
    """Load rows of a table that the model of the lake does not know."""
    store = store_at(served.lake.uri, cache_dir=served.home / "cache")
    with PartitionFile.of_rows(store, served.lake.uri, tab, key, rows) as file:
        load = warehouse.replace_partition(file) if key else warehouse.replace_table(file)
        file.remove()
    return load


def _changes(warehouse: Warehouse) -> list[str]:
    return [step.what for step in warehouse.plan() if step.is_change]


def _catalog(served: ServedHarness) -> list[Any]:
    return served.execute(
        "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema IN ('charging', 'charging_store') ORDER BY 1, 2, ordinal_position"
    )


def test_an_older_schema_gains_tables_and_columns_and_loses_no_row(empty: ServedHarness) -> None:
    last = ("feed_health", "frozen_share")
    older_model = model_of([tab for tab in published_tables() if tab.name != "frozen_spans"], but=last)
    older = empty.new_warehouse(older_model)
    older.ensure_schema()
    rows = hard_rows(older_model.tables["feed_health"], DAY)
    _load_rows(empty, older, older_model.tables["feed_health"], DAY, rows)
    before = sorted_texts(as_rows(rows))

    planned = _changes(empty.warehouse)

    assert any("charging_store.feed_health.frozen_share" in what for what in planned)
    assert any("table charging_store.frozen_spans" in what for what in planned)
    assert "frozen_spans" not in older.views()
    done = [step.what for step in empty.warehouse.ensure_schema() if step.is_change]
    assert done == planned
    assert _changes(empty.warehouse) == []
    names = ", ".join(f'"{col.name}"' for col in older_model.tables["feed_health"].columns)
    assert sorted_texts(empty.query(f"SELECT {names} FROM charging.feed_health")) == before
    assert empty.query("SELECT DISTINCT frozen_share FROM charging.feed_health") == [(None,)]
    for place in (("feed_health", DAY), ("frozen_spans", DAY)):
        put(empty, place, few(6))
        assert in_warehouse(empty, *place) == in_lake(empty.lake, *place)


def test_a_plan_changes_nothing(empty: ServedHarness) -> None:
    assert len(_changes(empty.warehouse)) > len(published_tables())
    assert _catalog(empty) == []
    assert _changes(empty.warehouse)


def test_ensuring_a_schema_that_is_there_changes_nothing(served: ServedHarness) -> None:
    put(served, DATED, few(3))
    before = _catalog(served)
    steps = served.warehouse.ensure_schema()
    assert [step.what for step in steps if step.is_change] == []
    assert _catalog(served) == before
    assert served.count("status_connectors") == 3


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "ALTER COLUMN status_connector TYPE varchar(100)",
            "charging_store.status_connectors.status_connector is character varying",
        ),
        ("ADD COLUMN colour varchar(9)", "charging_store.status_connectors has a column 'colour'"),
        ("DROP COLUMN id_connector CASCADE", "charging_store.status_connectors lacks 'id_connector'"),
    ],
    ids=["retyped", "unknown", "without its key"],
)
def test_a_schema_that_cannot_be_migrated_safely_is_refused_by_name_and_stays(
    served: ServedHarness, statement: str, named: str
) -> None:
    put(served, DATED, few(3))
    served.execute("DROP VIEW charging.status_connectors")
    served.execute(f"ALTER TABLE charging_store.status_connectors {statement}")
    served.execute("DROP TABLE charging_store.frozen_spans CASCADE")  # which could be made, but is not
    before = _catalog(served)
    for refused in (served.warehouse.plan, served.warehouse.ensure_schema):
        with pytest.raises(MigrationRefused, match=named):
            refused()
    assert _catalog(served) == before
    assert served.execute("SELECT count(*) FROM charging_store.status_connectors") == [(3,)]


def test_a_table_that_was_renamed_to_keep_it_is_made_anew_with_its_view(served: ServedHarness) -> None:
    put(served, DATED, few(3))
    served.execute("ALTER TABLE charging_store.status_connectors RENAME TO kept")
    served.warehouse.ensure_schema()
    assert served.count("status_connectors") == 0
    assert differences(served.lake, served.warehouse) == [Difference(*DATED, "missing")]
    put(served, DATED, few(4))
    assert served.count("status_connectors") == 4
    assert served.execute("SELECT count(*) FROM charging_store.kept") == [(3,)]


def test_of_two_who_ensure_the_schema_at_once_none_leaves_it_half_done(empty: ServedHarness) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(empty.new_warehouse().ensure_schema) for _ in range(2)]
    errors = [error for error in (one.exception() for one in both) if error is not None]
    if empty.warehouse.name == "redshift":  # which has nothing to wait at before there is a table
        assert len(errors) < 2
        assert all(isinstance(error, WarehouseError) and "migrate` again" in str(error) for error in errors)
    else:
        assert errors == []
    assert _changes(empty.warehouse) == []
    put(empty, DATED, few(3))
    assert empty.count("status_connectors") == 3


def test_views_have_the_models_columns_with_the_computed_ones_first(harness: Harness) -> None:
    views = harness.warehouse.views()
    for tab in published_tables():
        assert list(views[tab.name]) == [*tab.info["computed"], *tab.columns.keys()]
    assert views["status_chargingpoints"][0] == "id_status_cp"
    assert "id_status_connectors" in views["status_connectors"]


# Roles


_WRITING = [
    "INSERT INTO charging.public_holiday VALUES ('2026-01-01', 'BE', 'x')",
    "UPDATE charging.connector SET id_cp = 'x'",
    "DELETE FROM charging.connector",
    "DELETE FROM charging_store.connector",
    "TRUNCATE charging_store.connector",
    "SELECT * FROM charging_store.connector",
    "SELECT * FROM charging_store.load_log",
    "CREATE TABLE charging.mine (n int)",
    "CREATE TABLE charging_store.mine (n int)",
    "CREATE VIEW charging.mine AS SELECT 1 AS n",
    "DROP VIEW charging.connector",
    "DROP TABLE charging_store.connector",
    "DROP SCHEMA charging",
]


def test_who_may_read_cannot_write(served: ServedHarness) -> None:
    put(served, UNDATED, few(3))
    before = _catalog(served)
    with served.connected(served.reader) as connection, connection.cursor() as cursor:
        for statement in _WRITING:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            connection.rollback()
        cursor.execute("SELECT count(*) FROM charging.connector")
        assert cursor.fetchall() == [(3,)]
    assert _catalog(served) == before


def test_who_may_read_can_read_every_view_and_the_load_log(served: ServedHarness) -> None:
    put(served, UNDATED, few(3))
    with served.connected(served.new_user(READER)) as connection, connection.cursor() as cursor:
        for name in served.warehouse.views():
            cursor.execute(f'SELECT * FROM charging."{name}"')
            assert (len(cursor.fetchall()) > 0) == (name in ("connector", "load_log"))


_CHANGING = [
    "ALTER TABLE charging_store.connector ADD COLUMN colour varchar(9)",
    "DROP TABLE charging_store.connector CASCADE",
    "DROP VIEW charging.connector",
    "CREATE TABLE charging_store.mine (n int)",
    "CREATE TABLE charging.mine (n int)",
    "TRUNCATE charging_store.connector",
    "CREATE ROLE mine",
]


def test_who_may_load_cannot_change_the_schema(served: ServedHarness) -> None:
    before = _catalog(served)
    with served.connected(served.new_user(LOADER)) as connection, connection.cursor() as cursor:
        for statement in _CHANGING:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            connection.rollback()
    assert _catalog(served) == before


def test_who_may_load_can_load_and_see_what_was_loaded(served: ServedHarness) -> None:
    warehouse = served.new_warehouse(user=served.new_user(LOADER))
    for place in (DATED, UNDATED):
        for texts in (few(5), few(2)):
            put(served, place, texts)
            file = served.lake.file(*place)
            assert file is not None
            with closing(file):
                (warehouse.replace_partition if place[1] else warehouse.replace_table)(file)
            assert in_warehouse(served, *place) == in_lake(served.lake, *place)
    assert set(warehouse.load_log()) == {DATED, UNDATED}


def test_who_may_neither_load_nor_read_is_told_what_to_grant(served: ServedHarness) -> None:
    stranger = served.new_warehouse(user=served.new_user())
    served.write(*DATED, hard_rows(table(DATED[0]), DAY, few(1)))
    file = served.lake.file(*DATED)
    assert file is not None
    with closing(file), pytest.raises(WarehouseError, match=r"charging_loader|charging-assets migrate"):
        stranger.replace_partition(file)
    with pytest.raises(WarehouseError, match="charging_loader"):
        stranger.load_log()
    assert served.count("status_connectors") == 0


# What is missing, and publishing it


def test_the_lake_is_never_ahead_of_duckdb(duckdb_harness: Harness) -> None:
    for name, key in (DATED, UNDATED):
        duckdb_harness.write(name, key, hard_rows(table(name), key, few(2)))
    assert differences(duckdb_harness.lake, duckdb_harness.warehouse) == []


def test_differences_name_what_is_missing_outdated_and_surplus_and_nothing_else(served: ServedHarness) -> None:
    day = [DAY + dt.timedelta(number) for number in range(5)]
    for number in range(4):
        put(served, ("status_connectors", day[number]), few(3))
    put(served, UNDATED, few(2))
    assert differences(served.lake, served.warehouse) == []
    served.write("status_connectors", day[1], hard_rows(table("status_connectors"), day[1], few(4)))
    served.rewrite("status_connectors", day[2])
    served.remove("status_connectors", day[3])
    served.write("status_connectors", day[4], hard_rows(table("status_connectors"), day[4], few(1)))
    served.write("connector", None, hard_rows(table("connector"), None, few(5)))
    expected = [
        Difference("connector", None, "outdated"),
        Difference("status_connectors", day[1], "outdated"),
        Difference("status_connectors", day[2], "outdated"),  # another program's bytes, even of equal rows
        Difference("status_connectors", day[3], "surplus"),
        Difference("status_connectors", day[4], "missing"),
    ]
    assert differences(served.lake, served.warehouse) == expected
    assert differences(served.lake, served.warehouse, ["connector"]) == expected[:1]
    assert differences(served.lake, served.warehouse, ["status_connectors"], [day[0], day[4]]) == expected[-1:]


def test_equal_content_in_a_newer_file_is_no_difference(served: ServedHarness) -> None:
    load = put(served, DATED, few(3))
    served.write_bytes(*DATED, served.read_bytes(*DATED))
    served.lake.write(*DATED, hard_rows(table(DATED[0]), DAY, few(3)))
    if not served.lake.uri.startswith("s3://"):  # which tells versions apart by their content
        assert served.lake.versions(DATED[0])[DAY] != load.file_version
    assert differences(served.lake, served.warehouse) == []


def test_publishing_repairs_exactly_what_differs_and_one_broken_partition_stops_no_other(
    served: ServedHarness,
) -> None:
    days = [DAY + dt.timedelta(number) for number in range(5)]
    for date in days:
        served.write("status_connectors", date, hard_rows(table("status_connectors"), date, few(3)))
    served.load("status_connectors", days[0])
    whole = served.read_bytes("status_connectors", days[2])
    served.write_bytes("status_connectors", days[2], whole[:-40])
    wanted = differences(served.lake, served.warehouse)
    assert [one.key for one in wanted] == days[1:]

    done = list(publish(served.lake, served.warehouse, wanted))

    failed = [one for one in done if isinstance(one, Failed)]
    assert [(one.difference.table, one.difference.key) for one in failed] == [("status_connectors", days[2])]
    assert "build this partition again" in str(failed[0].error)
    assert {one.key for one in done if isinstance(one, Load)} == {days[1], days[3], days[4]}
    assert served.count("status_connectors") == 12
    assert [one.key for one in differences(served.lake, served.warehouse)] == [days[2]]

    served.write_bytes("status_connectors", days[2], whole)
    again = list(publish(served.lake, served.warehouse, differences(served.lake, served.warehouse)))

    assert [one.key for one in again if isinstance(one, Load)] == [days[2]]
    assert differences(served.lake, served.warehouse) == []
    for date in days:
        assert in_warehouse(served, "status_connectors", date) == in_lake(served.lake, "status_connectors", date)


def test_publishing_that_was_stopped_goes_on_where_it_was(served: ServedHarness) -> None:
    days = [DAY + dt.timedelta(number) for number in range(6)]
    for date in days:
        served.write("status_connectors", date, hard_rows(table("status_connectors"), date, few(2)))
    stopped = publish(served.lake, served.warehouse, differences(served.lake, served.warehouse), workers=1)
    assert isinstance(stopped, Generator)
    next(stopped)
    stopped.close()
    loaded = set(served.warehouse.load_log())
    assert 1 <= len(loaded) < len(days)
    left = differences(served.lake, served.warehouse)
    assert len(left) == len(days) - len(loaded)
    assert len(list(publish(served.lake, served.warehouse, left))) == len(left)
    assert differences(served.lake, served.warehouse) == []
    assert served.count("status_connectors") == 2 * len(days)


def test_a_partition_that_is_not_in_the_lake_is_said_so(harness: Harness) -> None:
    with pytest.raises(WarehouseError, match=r"no status_connectors 2026-03-28 in .*build it first"):
        harness.load(*DATED)


def test_without_a_schema_the_load_log_says_what_to_do(empty: ServedHarness) -> None:
    with pytest.raises(WarehouseError, match="charging-assets migrate"):
        empty.warehouse.load_log()
    with pytest.raises(WarehouseError, match="charging-assets migrate"):
        put(empty, DATED, few(1))


# What only servers can store


def _shapes_model() -> Table:
    from charging_assets.model.tables.declare import geometry

    return declare(
        "shapes",
        "Places with a shape.",
        text("id", "Which."),
        geometry("geom", "Where.", nullable=True),
        text("remark", "What of it.", nullable=True),
        key=("id",),
        group="test",
        dated=False,
        metadata=MetaData(),
    )


def test_shapes_are_stored_with_their_spatial_reference(served: ServedHarness) -> None:
    shapes = [shapely.Point(9.18, 48.77), shapely.box(9, 48, 10, 49), shapely.LineString([(0, 0), (-180, 90)]), None]
    tab = _shapes_model()
    warehouse = served.new_warehouse(tab.metadata)
    warehouse.ensure_schema()
    wkb = [None if shape is None else shapely.to_wkb(shape) for shape in shapes]
    rows = pa.table([[f"s{n}" for n in range(4)], wkb, ["", None, "x", "y"]], schema=schema_of(tab))
    _load_rows(served, warehouse, tab, None, rows)

    stored = served.query("SELECT id, geom, remark FROM charging.shapes ORDER BY id")

    assert [remark for _, _, remark in stored] == ["", None, "x", "y"]
    for (_, hexadecimal, _), shape in zip(stored, shapes, strict=True):
        if shape is None:
            assert hexadecimal is None
            continue
        read = shapely.from_wkb(hexadecimal)
        assert shapely.get_srid(read) == 4326
        assert shapely.equals_exact(read, shape, tolerance=0)


def test_points_of_interest_have_shapes_that_other_programs_read(harness: Harness) -> None:
    harness.write("poi", None, hard_rows(table("poi"), None))
    harness.load("poi", None)
    written = dict(zip(*harness.lake.read("poi", None, ["id_poi", "geom"]).to_pydict().values(), strict=True))

    found = dict(harness.query("SELECT id_poi, geom FROM charging.poi"))

    assert found.keys() == written.keys()
    for id_poi, hexadecimal in found.items():
        assert set(hexadecimal) <= set("0123456789ABCDEF")
        read = shapely.from_wkb(hexadecimal)
        assert shapely.get_srid(read) == 4326
        assert shapely.equals_exact(read, shapely.from_wkb(written[id_poi]), tolerance=0)
