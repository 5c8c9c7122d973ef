"""A partition is replaced whole or not at all, is valid, and stays what it was for whoever reads it."""

import datetime as dt
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets import __version__
from charging_assets.lake import InvalidRows, Lake, LakeChanged, LakeError, PartitionInfo, SchemaMismatch
from charging_assets.lake.store import store_at
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import SCHEMA_VERSION
from charging_assets_tests.lake.replacing import DAY, TABLE, few, number_in, number_of, status_day, version
from charging_assets_tests.standins.s3 import S3Standin

_ROOT = Path(__file__).parents[2]
_PATH = f"tables/{TABLE}/query_date={DAY}.parquet"


def with_column(data: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = data.schema.get_field_index(name)
    return data.set_column(at, pa.field(name, values.type, data.schema.field(name).nullable), values)


def stored_bytes(lake: Lake, path: str = _PATH) -> bytes:
    with store_at(lake.uri, Path(tempfile.gettempdir())).open(path) as file:
        return file.read()


def put_file(lake: Lake, folder: Path, data: pa.Table, path: str = _PATH) -> None:
    """Put a file into the lake past its checks, as an older version of the code would have."""
    pq.write_table(data, folder / "older.parquet")
    store_at(lake.uri, folder).replace(folder / "older.parquet", path)


# Writing and reading


def test_what_was_written_is_read_back(any_lake: Lake) -> None:
    data = version(3)
    info = any_lake.write(TABLE, DAY, data, inputs="abc")
    found = any_lake.read(TABLE, DAY)
    assert found.schema == arrow_schema(TABLE)
    assert found.to_pylist() == data.to_pylist()
    assert info == PartitionInfo(
        TABLE, DAY, data.num_rows, len(stored_bytes(any_lake)), SCHEMA_VERSION, __version__, "abc"
    )
    assert any_lake.info(TABLE, DAY) == info


def test_a_partition_is_replaced_and_never_added_to(any_lake: Lake) -> None:
    any_lake.write(TABLE, DAY, version(4))
    any_lake.write(TABLE, DAY, version(0))
    assert number_in(any_lake) == 0
    assert any_lake.partitions(TABLE) == [DAY]


def test_a_partition_that_does_not_exist_has_all_columns_and_no_rows(any_lake: Lake) -> None:
    found = any_lake.read(TABLE, DAY)
    assert found.schema == arrow_schema(TABLE)
    assert found.num_rows == 0
    assert any_lake.read(TABLE, DAY, ["feed"]).column_names == ["feed"]
    assert any_lake.info(TABLE, DAY) is None
    assert any_lake.partitions(TABLE) == []


def test_an_empty_partition_exists(any_lake: Lake) -> None:
    any_lake.write("rejected_records", DAY, arrow_schema("rejected_records").empty_table(), inputs="none")
    assert any_lake.partitions("rejected_records") == [DAY]
    assert any_lake.read("rejected_records", DAY).schema == arrow_schema("rejected_records")
    info = any_lake.info("rejected_records", DAY)
    assert info is not None
    assert (info.rows, info.inputs) == (0, "none")


def test_only_the_columns_asked_for_are_read_in_that_order(any_lake: Lake) -> None:
    any_lake.write(TABLE, DAY, version(1))
    assert any_lake.read(TABLE, DAY, ["status_cp", "id_chargingpoint"]).column_names == [
        "status_cp",
        "id_chargingpoint",
    ]
    with pytest.raises(
        SchemaMismatch, match="status_chargingpoints has no column 'status'; it has: id_chargingpoint, "
    ):
        any_lake.read(TABLE, DAY, ["status"])


def test_partitions_are_sorted_query_dates_and_other_files_are_not_taken_for_them(
    any_lake: Lake, tmp_path: Path
) -> None:
    days = [DAY + dt.timedelta(days=distance) for distance in (1, -300, 0)]
    for day in days:
        data = version(0)
        dates = pa.array([day]).take(pa.array(np.zeros(data.num_rows, np.int32)))
        any_lake.write(TABLE, day, with_column(data, "query_date", dates))
    for name in ("query_date=2024-10-23 (copy).parquet", "query_date=20241023.parquet", "all.parquet", "notes.txt"):
        put_file(any_lake, tmp_path, version(0), f"tables/{TABLE}/{name}")
    assert any_lake.partitions(TABLE) == sorted(days)
    with any_lake.snapshot([TABLE]) as paths:
        assert len(paths[TABLE]) == 3


def test_an_undated_table_has_one_partition(any_lake: Lake) -> None:
    any_lake.write("current_status", None, arrow_schema("current_status").empty_table(), inputs="x")
    assert any_lake.partitions("current_status") == []
    assert any_lake.info("current_status", None) is not None
    with any_lake.snapshot(["current_status"]) as paths:
        assert len(paths["current_status"]) == 1


@pytest.mark.parametrize(
    ("table", "key", "message"), [(TABLE, None, "name a query date"), ("current_status", DAY, "not dated")]
)
def test_a_wrong_kind_of_key_is_explained(lake: Lake, table: str, key: dt.date | None, message: str) -> None:
    with pytest.raises(LakeError, match=message):
        lake.read(table, key)
    with pytest.raises(LakeError, match=message):
        lake.stage(table, key)


def test_an_unknown_table_is_named(lake: Lake) -> None:
    with pytest.raises(KeyError, match="no table 'status_cp'; there are: "):
        lake.read("status_cp", DAY)


def test_a_column_that_an_older_file_lacks_reads_as_null(any_lake: Lake, tmp_path: Path) -> None:
    put_file(any_lake, tmp_path, version(2).drop_columns(["status_class", "feed"]))
    found = any_lake.read(TABLE, DAY)
    assert found.schema == arrow_schema(TABLE)
    assert found["feed"].null_count == found.num_rows == version(2).num_rows
    assert found["status_cp"].unique().to_pylist() == ["VERSION 2"]
    assert any_lake.read(TABLE, DAY, ["feed"])["feed"].null_count == version(2).num_rows


def test_a_column_of_another_type_in_an_older_file_is_named(any_lake: Lake, tmp_path: Path) -> None:
    data = version(2)
    put_file(any_lake, tmp_path, with_column(data, "query_date", pa.array(["2024-10-23"] * data.num_rows)))
    with pytest.raises(SchemaMismatch, match=r"'query_date' is string, expected date32.*build it again"):
        any_lake.read(TABLE, DAY)


def test_a_file_of_many_pieces_reads_as_one_table_with_one_dictionary_per_column(lake: Lake) -> None:
    data = version(1)
    with lake.stage(TABLE, DAY) as writer:
        for start in range(0, data.num_rows, 100):
            writer.write(data.slice(start, 100))
        lake.publish(writer.finish("x"))
    found = lake.read(TABLE, DAY)
    assert found.to_pylist() == data.to_pylist()
    dictionaries = [chunk.dictionary for chunk in found["id_chargingpoint"].chunks]
    assert all(dictionary.equals(dictionaries[0]) for dictionary in dictionaries)


# What a file is made of


def test_the_same_rows_give_the_same_bytes_however_their_dictionaries_came_about(any_lake: Lake) -> None:
    data = version(3)
    any_lake.write(TABLE, DAY, data, inputs="abc")
    first = stored_bytes(any_lake)
    column = data["id_chargingpoint"].combine_chunks()
    size = len(column.dictionary)
    backwards = pa.DictionaryArray.from_arrays(
        pa.array((size - 1 - column.indices.to_numpy()).astype(np.int32)),
        pa.array([*column.dictionary.to_pylist()[::-1], "DE*NOBODY"]),
    )
    again = with_column(data, "id_chargingpoint", backwards)
    assert again.to_pylist() == data.to_pylist()
    any_lake.write(TABLE, DAY, again, inputs="abc")
    assert stored_bytes(any_lake) == first
    any_lake.write(TABLE, DAY, data, inputs="other")
    assert stored_bytes(any_lake) != first


def test_a_value_that_stands_twice_in_a_dictionary_is_one_value(lake: Lake) -> None:
    data = version(0).slice(0, 2)
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), ["DE*A", "DE*A"])
    lake.write(TABLE, DAY, with_column(data, "id_chargingpoint", twice))
    assert lake.read(TABLE, DAY)["id_chargingpoint"].to_pylist() == ["DE*A", "DE*A"]
    swapped = with_column(data.take([1, 0]), "id_chargingpoint", twice)
    with pytest.raises(InvalidRows, match="must be sorted"):
        lake.write(TABLE, DAY, swapped)


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "footer", "pages"])
def test_a_damaged_partition_is_named_with_what_to_do(any_lake: Lake, tmp_path: Path, damage: str) -> None:
    any_lake.write(TABLE, DAY, version(1))
    good = stored_bytes(any_lake)
    damaged = {
        "empty": b"PAR1",
        "garbage": b"not Parquet" * 100,
        "cut": good[: len(good) // 2],
        "footer": good[:-300] + bytes(292) + good[-8:],
        "pages": good[:4] + bytes(400) + good[404:],
    }[damage]
    (tmp_path / "damaged").write_bytes(damaged)
    store_at(any_lake.uri, tmp_path).replace(tmp_path / "damaged", _PATH)
    with pytest.raises(LakeError, match=rf"{_PATH} .* cannot be read .*: remove it, then build this partition again"):
        any_lake.read(TABLE, DAY)
    if damage != "pages":
        with pytest.raises(LakeError, match="cannot be read"):
            any_lake.info(TABLE, DAY)


def test_a_file_of_another_program_says_nothing_about_versions_and_inputs(any_lake: Lake, tmp_path: Path) -> None:
    put_file(any_lake, tmp_path, version(1))
    info = any_lake.info(TABLE, DAY)
    assert info is not None
    assert (info.rows, info.schema_version, info.code_version, info.inputs) == (version(1).num_rows, 0, "", "")


def test_the_head_of_a_partition_is_its_first_rows(any_lake: Lake) -> None:
    assert any_lake.head(TABLE, DAY, 3) == arrow_schema(TABLE).empty_table()
    any_lake.write(TABLE, DAY, version(1))
    for rows in (1, 3, 10_000):
        assert any_lake.head(TABLE, DAY, rows).to_pylist() == version(1).slice(0, rows).to_pylist()
    any_lake.write(TABLE, DAY, arrow_schema(TABLE).empty_table())
    assert any_lake.head(TABLE, DAY, 3) == arrow_schema(TABLE).empty_table()


def test_the_location_of_a_partition_is_where_it_is(lake: Lake, s3_lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    assert pq.read_metadata(lake.location(TABLE, DAY)).num_rows == version(1).num_rows
    assert s3_lake.location("current_status", None) == f"{s3_lake.uri}/tables/current_status/all.parquet"


def test_the_glob_of_a_table_finds_its_partitions_and_nothing_beside_them(tmp_path: Path, s3_lake: Lake) -> None:
    lake = Lake(str(tmp_path / "a [strange] fold*r"), tmp_path / "home")
    for number in range(2):
        rows = status_day(np.zeros((2, 2), np.int32), ["A"])
        day = DAY + dt.timedelta(days=number)
        lake.write(TABLE, day, with_column(rows, "query_date", pa.array([day] * 4)))
    Path(lake.location(TABLE, DAY)).with_name("notes.parquet").write_bytes(b"")
    found = duckdb.sql(f"SELECT count(*) FROM read_parquet('{lake.glob(TABLE)}')").fetchall()
    assert found == [(8,)]
    assert lake.glob("current_status").endswith("/tables/current_status/all.parquet")
    with pytest.raises(LakeError, match="use a local lake"):
        s3_lake.glob(TABLE)


def test_the_footer_has_versions_and_inputs_but_no_time_of_writing(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1), inputs="0f" * 32)
    said = pq.read_metadata(pa.BufferReader(stored_bytes(lake))).metadata
    assert {name: value for name, value in said.items() if name != b"ARROW:schema"} == {
        b"charging_assets.schema_version": str(SCHEMA_VERSION).encode(),
        b"charging_assets.code_version": __version__.encode(),
        b"charging_assets.inputs": b"0f" * 32,
    }


def test_columns_are_compressed_dictionary_encoded_and_have_statistics(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    group = pq.read_metadata(pa.BufferReader(stored_bytes(lake))).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.has_dictionary_page for column in columns.values())
    assert columns["query_date"].statistics.min == columns["query_date"].statistics.max == DAY
    assert columns["id_chargingpoint"].statistics.max == "DE*ABC*E000020"


def test_a_day_of_status_takes_a_fifth_of_a_byte_per_row(lake: Lake) -> None:
    chance = np.random.default_rng(4)
    changes = chance.random((2615, 144)) < 0.04
    info = lake.write(TABLE, DAY, status_day(changes.cumsum(axis=1) % 2, ["AVAILABLE", "CHARGING"]))
    assert info.bytes / info.rows < 0.2


# Invalid partitions


def test_columns_that_are_not_those_declared_are_named(lake: Lake) -> None:
    data = version(0)
    wrong = {
        "has no column 'color'": data.append_column("color", data["feed"]),
        "expected one column 'feed', got 0": data.drop_columns(["feed"]),
        "expected one column 'feed', got 2": data.append_column("feed", data["feed"]),
        "expected column 'id_chargingpoint', got 'query_time' in its place": data.select(
            [*data.column_names[1::-1], *data.column_names[2:]]
        ),
        r"column 'query_time' must be timestamp\[us, tz=UTC\], got timestamp\[ns, tz=UTC\]": with_column(
            data, "query_time", data["query_time"].cast(pa.timestamp("ns", tz="UTC")).combine_chunks()
        ),
        "column 'status_cp' must be dictionary<.*>, got string": with_column(
            data, "status_cp", data["status_cp"].cast(pa.string()).combine_chunks()
        ),
    }
    for message, table in wrong.items():
        with pytest.raises(SchemaMismatch, match=message):
            lake.write(TABLE, DAY, table)
    assert lake.partitions(TABLE) == []


def test_whether_a_field_is_declared_nullable_does_not_matter_as_long_as_no_row_is_null(lake: Lake) -> None:
    data = version(0)
    lake.write(TABLE, DAY, data.cast(pa.schema([field.with_nullable(True) for field in data.schema])))
    assert lake.read(TABLE, DAY).schema == arrow_schema(TABLE)


def test_nulls_where_none_may_be_are_refused_with_their_column(lake: Lake) -> None:
    data = version(0)
    with pytest.raises(InvalidRows, match="column 'feed' must not be null, but 1 rows are"):
        lake.write(TABLE, DAY, with_column(data, "feed", few([None, *["koeln"] * (data.num_rows - 1)])))
    hidden = pa.DictionaryArray.from_arrays(pa.array([0] * data.num_rows, pa.int32()), pa.array([None], pa.string()))
    with pytest.raises(InvalidRows, match="column 'feed' has a null in its dictionary"):
        lake.write(TABLE, DAY, with_column(data, "feed", hidden))


def test_rows_of_another_query_date_are_refused(lake: Lake) -> None:
    with pytest.raises(InvalidRows, match="expected only rows of query_date 2024-10-24, got one of 2024-10-23"):
        lake.write(TABLE, DAY + dt.timedelta(days=1), version(0))


def test_rows_out_of_order_and_rows_twice_are_refused_and_named(lake: Lake) -> None:
    data = version(0)
    order = list(range(data.num_rows))
    at = r"\(DE\*ABC\*E000000, 2024-10-23 03:00:00\+00:00\)"
    with pytest.raises(InvalidRows, match=rf"unique by \(id_chargingpoint, query_time\); row 6 repeats {at}"):
        lake.write(TABLE, DAY, data.take([*order[:6], 5, *order[6:]]))
    with pytest.raises(InvalidRows, match=rf"sorted by \(id_chargingpoint, query_time\); row 6 is {at} after \(DE"):
        lake.write(TABLE, DAY, data.take([*order[:5], 6, 5, *order[7:]]))
    with pytest.raises(InvalidRows, match=r"row 24 is \(DE\*ABC\*E000000, .* after \(DE\*ABC\*E000001"):
        lake.write(TABLE, DAY, data.take([*order[24:48], *order[:24]]))


def test_order_and_uniqueness_hold_across_pieces(lake: Lake) -> None:
    data = version(0)
    for second, message in ((data.slice(9), "row 10 repeats"), (data.slice(0, 5), "row 10 is .* after")):
        with lake.stage(TABLE, DAY) as writer:
            writer.write(data.slice(0, 10))
            with pytest.raises(InvalidRows, match=message):
                writer.write(second)


def test_order_is_by_every_column_of_a_key(lake: Lake) -> None:
    """`rejected_records` is sorted by a time, two dictionary columns and two plain texts."""
    schema = arrow_schema("rejected_records")
    time = dt.datetime(2024, 10, 23, 11, tzinfo=dt.UTC)

    def rows(*keys: tuple[str, str, str]) -> pa.Table:
        names = [field.name for field in schema]
        columns: dict[str, object] = dict.fromkeys(names, pa.array(["x"] * len(keys)))
        columns |= {"query_time": pa.array([time] * len(keys), schema.field("query_time").type)}
        columns |= {"query_date": pa.array([DAY] * len(keys)), "source": few(["s"] * len(keys))}
        columns |= {"level": few(["evse"] * len(keys)), "feed": few([key[0] for key in keys])}
        columns |= {"poll_id": pa.array([key[1] for key in keys]), "path": pa.array([key[2] for key in keys])}
        columns |= {name: pa.array([0] * len(keys), pa.int32()) for name in ("evses_lost", "connectors_lost")}
        return pa.table([columns[name] for name in names], schema=schema)

    good = [("a", "p", "1"), ("a", "p", "2"), ("a", "q", "0"), ("b", "p", "0"), ("ä", "p", "0")]
    lake.write("rejected_records", DAY, rows(*good))
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 4)):
        swapped = list(good)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        with pytest.raises(InvalidRows, match=f"row {second} is "):
            lake.write("rejected_records", DAY, rows(*swapped))


def test_a_refused_partition_leaves_the_one_before_it_and_no_file(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    with pytest.raises(InvalidRows):
        lake.write(TABLE, DAY, version(2).take([1, 0]))
    assert number_in(lake) == 1
    assert list(Path(lake.uri, ".staging").iterdir()) == []


def test_nobody_sees_a_staged_partition_and_leaving_it_removes_it(any_lake: Lake, tmp_path: Path) -> None:
    with any_lake.stage(TABLE, DAY) as writer:
        writer.write(version(1))
    assert any_lake.partitions(TABLE) == []
    with any_lake.stage(TABLE, DAY) as writer:
        writer.write(version(1))
        staged = writer.finish("x")
    assert any_lake.partitions(TABLE) == []
    assert staged.path.stat().st_size == staged.bytes
    path = staged.path
    del staged, writer
    assert not path.exists()


# Replacement under readers


@contextmanager
def replaced_meanwhile(lake: Lake, home: Path, times: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "charging_assets_tests.lake.replacing", lake.uri, str(home), "times", str(times)]
    with subprocess.Popen(command, cwd=_ROOT) as process:
        yield process


def test_a_snapshot_keeps_its_content_while_a_process_replaces_the_partition(any_lake: Lake, tmp_path: Path) -> None:
    times = 100 if any_lake.uri.startswith("s3://") else 300
    any_lake.write(TABLE, DAY, version(10_003))
    reads = 0
    with any_lake.snapshot([TABLE]) as paths, duckdb.connect() as database:
        with replaced_meanwhile(any_lake, tmp_path / "home", times) as process:
            while process.poll() is None:
                statuses, rows = database.execute(
                    "SELECT array_agg(DISTINCT status_cp), count(*) FROM read_parquet(?)", [paths[TABLE]]
                ).fetchall()[0]
                assert number_of(statuses, rows) == 10_003
                table = pq.read_table(paths[TABLE][0])
                assert number_of(table["status_cp"].unique().to_pylist(), table.num_rows) == 10_003
                reads += 1
        assert process.returncode == 0
        assert number_in(any_lake) == times - 1
    assert reads >= 5


def test_snapshots_and_reads_are_whole_while_a_process_replaces_the_partition(any_lake: Lake, tmp_path: Path) -> None:
    times = 100 if any_lake.uri.startswith("s3://") else 300
    any_lake.write(TABLE, DAY, version(0))
    seen = [0]
    with duckdb.connect() as database, replaced_meanwhile(any_lake, tmp_path / "home", times) as process:
        while process.poll() is None:
            seen.append(number_in(any_lake))
            with any_lake.snapshot([TABLE]) as paths:
                # The descriptor has the number it had in the turn before, and another file: nothing may be remembered.
                statuses, rows = database.execute(
                    "SELECT array_agg(DISTINCT status_cp), count(*) FROM read_parquet(?)", [paths[TABLE]]
                ).fetchall()[0]
            seen.append(number_of(statuses, rows))
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) >= 5


@pytest.mark.parametrize("replaced", ["before", "after", "never"])
def test_a_locked_down_duckdb_reads_a_snapshot_whether_replaced_or_not(lake: Lake, replaced: str) -> None:
    lake.write(TABLE, DAY, version(1))
    with lake.snapshot([TABLE]) as paths, duckdb.connect() as database:
        if replaced == "before":
            lake.write(TABLE, DAY, version(2))
        database.execute("SET allowed_paths = ?", [paths[TABLE]])
        database.execute("SET allowed_directories = ?", [[f"{Path(path).parent}/" for path in paths[TABLE]]])
        database.execute("SET enable_external_access = false")
        if replaced == "after":
            lake.write(TABLE, DAY, version(2))
        query = "SELECT DISTINCT status_cp FROM read_parquet(?)"
        assert database.execute(query, [paths[TABLE]]).fetchall() == [("VERSION 1",)]


def test_a_snapshot_closes_what_it_opened(any_lake: Lake) -> None:
    any_lake.write(TABLE, DAY, version(1))
    with any_lake.snapshot([TABLE, "poll_log"]) as paths:
        assert paths["poll_log"] == []
        assert all(Path(path).exists() for path in paths[TABLE])
    with any_lake.snapshot([TABLE]) as again:
        assert again == {TABLE: paths[TABLE]}


def test_a_snapshot_of_more_files_than_may_be_open_raises_the_limit_or_says_so(lake: Lake, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = Path(lake.uri, "tables", TABLE)
    folder.mkdir(parents=True)
    for number in range(soft_limit := 300):
        (folder / f"query_date={DAY + dt.timedelta(days=number)}.parquet").touch()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard))
        with lake.snapshot([TABLE]) as paths:
            assert len(paths[TABLE]) == soft_limit
        script = (
            "import resource, sys; from pathlib import Path; from charging_assets.lake import Lake\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
            f"Lake(sys.argv[1], Path()).snapshot(['{TABLE}']).__enter__()"
        )
        failed = subprocess.run(
            [sys.executable, "-c", script, lake.uri], stderr=subprocess.PIPE, text=True, check=False, cwd=_ROOT
        )
        assert "A snapshot of 300 files needs" in failed.stderr
        assert "raise the hard limit" in failed.stderr
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def large_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as a large object: it is read in ranges, after a first request for its beginning."""
    monkeypatch.setattr("charging_assets.lake.store._SMALL", 100)


@pytest.mark.usefixtures("large_objects")
def test_a_large_partition_replaced_under_a_read_on_s3_is_read_again(s3: S3Standin, s3_lake: Lake) -> None:
    s3_lake.write(TABLE, DAY, version(1))
    s3.faults.extend([_nothing, _nothing, lambda: s3_lake.write(TABLE, DAY, version(2))])
    assert number_in(s3_lake) == 2
    assert not s3.faults


@pytest.mark.usefixtures("large_objects")
def test_a_large_partition_replaced_under_each_read_on_s3_is_given_up_with_a_sentence(
    s3: S3Standin, s3_lake: Lake
) -> None:
    s3_lake.write(TABLE, DAY, version(1))

    numbers = count(2)

    def replace() -> None:  # its own PUT takes the first of these, the next read the others
        s3.faults.extend([_nothing, _nothing, replace])
        s3_lake.write(TABLE, DAY, version(next(numbers)))

    s3.faults.extend([_nothing, replace])
    with pytest.raises(LakeChanged, match="was replaced while it was read; so it went 10 times"):
        s3_lake.read(TABLE, DAY)


def test_a_partition_deleted_while_a_snapshot_is_taken_is_not_in_it(s3: S3Standin, s3_lake: Lake) -> None:
    s3_lake.write(TABLE, DAY, version(1))
    bucket, prefix = s3_lake.uri.removeprefix("s3://").split("/", 1)
    s3.faults.append(lambda: s3.client().delete_object(Bucket=bucket, Key=f"{prefix}/{_PATH}"))
    with s3_lake.snapshot([TABLE]) as paths:
        assert paths == {TABLE: []}
    assert not s3.faults


def _nothing() -> None:
    """No fault."""


# Disks that fail


def test_a_file_too_large_for_the_process_is_explained_and_the_old_partition_stands(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(LakeError, match=r"Writing .* failed: the file would be larger than this process may write"):
            lake.write(TABLE, DAY, version(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert number_in(lake) == 1
    assert list(Path(lake.uri, ".staging").iterdir()) == []


def test_a_full_disk_is_explained_and_the_old_partition_stands(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        lake = Lake(str(mounted / "lake"), tmp_path / "home")
        lake.write(TABLE, DAY, version(1))
        (mounted / "ballast").write_bytes(bytes(lake.free_bytes() - 8192))  # type: ignore[operator]
        chance = np.random.default_rng(1).integers(0, 2, (2000, 144))
        with pytest.raises(LakeError, match=r"failed: the disk is full: free some space"):
            lake.write(TABLE, DAY, status_day(chance, ["A", "B"]))
        assert number_in(lake) == 1
        assert list(Path(lake.uri, ".staging").iterdir()) == []
        (mounted / "ballast").unlink()
        lake.write(TABLE, DAY, version(2))
        assert number_in(lake) == 2
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing below `folder` may be written; root, whom permissions do not hold, becomes nobody for the time."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in folders:
            path.chmod(0o755)


def test_a_read_only_lake_can_be_read_and_says_why_it_cannot_be_written() -> None:
    folder = Path(tempfile.mkdtemp())  # not tmp_path: only its owner may enter that
    try:
        lake = Lake(str(folder / "lake"), folder / "home")
        lake.write(TABLE, DAY, version(1))
        lake.check_writable()
        with read_only(folder):
            with pytest.raises(LakeError, match=r"\.staging failed: permission denied: give this user the right"):
                lake.write(TABLE, DAY, version(2))
            with pytest.raises(LakeError, match="permission denied"):
                lake.check_writable()
            assert number_in(lake) == 1
            with lake.snapshot([TABLE]) as paths:
                assert pq.read_metadata(paths[TABLE][0]).num_rows == version(1).num_rows
        assert list(Path(lake.uri, ".staging").iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_a_writable_lake_is_left_without_a_trace_of_the_probe(any_lake: Lake, tmp_path: Path) -> None:
    any_lake.check_writable()
    staging = tmp_path / "home" / "staging" if any_lake.uri.startswith("s3://") else Path(any_lake.uri, ".staging")
    assert list(staging.iterdir()) == []
    assert not list(Path(tmp_path, "lake").glob(".probe*"))


def test_an_object_store_without_conditional_writes_is_found_out_before_the_first_poll(
    s3: S3Standin, s3_lake: Lake
) -> None:
    s3.faults.append(("501 Not Implemented", "NotImplemented"))
    with pytest.raises(LakeError, match="lacks conditional writes"):
        s3_lake.check_writable()


def test_a_partition_is_shown_as_its_file_has_it_whatever_the_model_says(any_lake: Lake, tmp_path: Path) -> None:
    assert any_lake.stored(TABLE, DAY) is None
    written = any_lake.write(TABLE, DAY, version(3), inputs="abc")
    stored = any_lake.stored(TABLE, DAY)
    assert stored is not None
    assert stored.info == written
    assert pa.concat_tables(stored.row_groups).to_pylist() == version(3).to_pylist()

    odd = pa.table({"colour": ["red", "blue"]})
    put_file(any_lake, tmp_path, odd)
    stored = any_lake.stored(TABLE, DAY)
    assert stored is not None
    assert stored.schema == odd.schema
    assert [group.to_pylist() for group in stored.row_groups] == [odd.to_pylist()]


def test_a_partition_that_is_replaced_while_it_is_judged_stays_what_it_was(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    stored = lake.stored(TABLE, DAY)
    lake.write(TABLE, DAY, version(2))
    assert stored is not None
    assert pa.concat_tables(stored.row_groups).to_pylist() == version(1).to_pylist()


def test_a_damaged_file_says_so_when_it_is_judged(lake: Lake) -> None:
    lake.write(TABLE, DAY, version(1))
    Path(lake.location(TABLE, DAY)).write_bytes(b"PAR1 and nothing")
    with pytest.raises(LakeError, match="cannot be read"):
        lake.stored(TABLE, DAY)


def test_making_a_lake_touches_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), tmp_path / "home")
    Lake("s3://no-such-bucket/prefix", tmp_path / "home")
    assert lake.partitions(TABLE) == []
    assert lake.read(TABLE, DAY).num_rows == 0
    assert list(tmp_path.iterdir()) == []
