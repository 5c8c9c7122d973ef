"""What is Redshift's own in loading it, against its stand-in: one COPY, what is repeated, shapes, what is refused."""

import datetime as dt
import io
import re
import struct
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import BigInteger, Date, MetaData, Table
from syrupy.assertion import SnapshotAssertion

from charging_assets.lake import Lake, PartitionFile, PartitionKey
from charging_assets.lake.store import store_at
from charging_assets.model.arrow import arrow_schema, schema_of
from charging_assets.model.tables import METADATA, table
from charging_assets.model.tables.declare import column, declare, geometry, text
from charging_assets.warehouse.contract import Load, WarehouseError, WarehouseUnavailable
from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse
from charging_assets.warehouse.redshift.warehouse import CONNECTIONS, EXCHANGES
from charging_assets.warehouse.schema import store_tables
from charging_assets_tests.standins.pgproxy import Action, Fault
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin

NAME = "status_chargingpoints"
DAY = dt.date(2024, 10, 23)
NOON = dt.datetime(2024, 10, 23, 10, tzinfo=dt.UTC)
ROLE = "arn:aws:iam::123456789012:role/charging-lake"
CONFLICT = "error:40001:1023"
SHAPES = MetaData()

areas = declare(
    "areas",
    "Areas by day.",
    column("id_area", BigInteger(), "An id."),
    column("query_date", Date(), "A date."),
    text("note", "Any text.", nullable=True),
    geometry("geom", "A shape.", nullable=True),
    key=("id_area",),
    group="test",
    dated=True,
    metadata=SHAPES,
)


def rows_of(status: str, points: int) -> pa.Table:
    few = {"source": "chargecloud", "feed": "koeln", "status_class": "free", "query_date": DAY}
    rows = [{"id_chargingpoint": f"DE*{n:04}", "query_time": NOON, "status_cp": status, **few} for n in range(points)]
    return pa.Table.from_pylist(rows, arrow_schema(NAME))


class Cluster:
    """A database of the stand-in, and a lake whose address is full of characters that mean something in SQL."""

    def __init__(self, standin: RedshiftStandin, postgres: PostgresStandin, s3: S3Standin, home: Path) -> None:
        self.standin, self.postgres, self.s3 = standin, postgres, s3
        self.database = postgres.new_database()
        self.config = RedshiftConfig(
            host="127.0.0.1",
            port=standin.port,
            database=self.database,
            user="postgres",
            password="unused",
            iam_role=ROLE,
            sslmode="disable",
        )
        self.lake = Lake(f"s3://{s3.new_bucket()}/it's 100%s :a lake", home)
        self.standin.faults.clear()
        self.warehouse = self.migrated(METADATA)
        self.standin.statements.clear()

    def migrated(self, metadata: MetaData) -> RedshiftWarehouse:
        warehouse = RedshiftWarehouse(self.config, metadata)
        warehouse.ensure_schema()
        return warehouse

    def write(self, status: str, points: int = 3) -> None:
        self.lake.write(NAME, DAY, rows_of(status, points))

    def load(self) -> Load:
        file = self.lake.file(NAME, DAY)
        assert file is not None
        with file:
            return self.warehouse.replace_partition(file)

    def fail(self, match: str, action: Action, times: int = 1) -> None:
        self.standin.faults.extend([Fault(match, action)] * times)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.standin.dsn(self.database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout TO 20000")  # who would wait for a lock for ever, fails
                cursor.execute(sql)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def statuses(self) -> dict[str, int]:
        rows = self.query(f"SELECT status_cp, count(*) FROM charging.{NAME} GROUP BY status_cp")
        return {str(status): int(count) for status, count in rows}

    def sent(self, verb: str) -> list[str]:
        return [sql for sql in self.standin.statements if sql.startswith(verb)]

    def files(self) -> list[str]:
        """Keys of all objects of the lake's bucket."""
        listed = self.s3.client().list_objects_v2(Bucket=urlsplit(self.lake.uri).netloc)
        return [found["Key"] for found in listed.get("Contents", ())]


@pytest.fixture
def cluster(redshift_proxy: RedshiftStandin, postgres: PostgresStandin, s3: S3Standin, tmp_path: Path) -> Cluster:
    return Cluster(redshift_proxy, postgres, s3, tmp_path / "home")


@pytest.fixture
def loaded(cluster: Cluster) -> Cluster:
    """Three rows are in the warehouse, and two others wait in the lake."""
    cluster.write("AVAILABLE")
    cluster.load()
    cluster.write("CHARGING", points=2)
    cluster.standin.statements.clear()
    return cluster


def refusal(cluster: Cluster, kind: type[WarehouseError] = WarehouseError) -> str:
    with pytest.raises(WarehouseError) as caught:
        cluster.load()
    assert type(caught.value) is kind
    return str(caught.value)


def normalized(statements: Sequence[str]) -> str:
    """What differs from one load to the next is left out."""
    text = ";\n".join(re.sub(r"\s*\n\s*", "\n    ", sql) for sql in statements)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\dT[\d:.+]+", "time"),
        (r"[0-9a-f]{32,64}", "hash"),
        (r"bucket-\d+", "bucket"),
    ):
        text = re.sub(pattern, f"<{name}>", text)
    return text


def test_a_load_sends_these_statements_in_this_order(loaded: Cluster, snapshot: SnapshotAssertion) -> None:
    load = loaded.load()
    assert normalized(loaded.standin.statements) == snapshot
    assert loaded.statuses() == {"CHARGING": 2}
    assert loaded.warehouse.load_log() == {(NAME, DAY): load}
    assert [key for key in loaded.files() if "manifest" in key] == []


def test_the_schema_is_made_once_and_then_only_grants_are_made_again(cluster: Cluster) -> None:
    assert [step.what for step in cluster.warehouse.plan() if step.is_change] == []
    assert [step.is_change for step in cluster.warehouse.ensure_schema()] == [False]
    assert set(cluster.warehouse.views()) == {tab.name for tab in store_tables(METADATA)}


def test_a_lock_that_somebody_took_for_rubbish_is_made_again(loaded: Cluster) -> None:
    loaded.postgres.execute(loaded.database, f"DROP TABLE charging_store.{NAME}_lock")
    assert "run `charging-assets migrate` first" in refusal(loaded)
    assert [step.what for step in loaded.warehouse.ensure_schema() if step.is_change] == [
        "create 1 empty tables that loads lock"
    ]
    loaded.load()
    assert loaded.statuses() == {"CHARGING": 2}


def test_a_view_that_lacks_a_column_is_made_anew(cluster: Cluster) -> None:
    cluster.postgres.execute(cluster.database, f"DROP VIEW charging.{NAME}")
    cluster.postgres.execute(cluster.database, f"CREATE VIEW charging.{NAME} AS SELECT feed FROM charging_store.{NAME}")
    assert [step.what for step in cluster.warehouse.ensure_schema() if step.is_change] == [
        f"create view charging.{NAME}"
    ]
    assert cluster.warehouse.views()[NAME][:2] == ["id_status_cp", "id_chargingpoint"]


@pytest.mark.parametrize(
    ("match", "action"),
    [
        ("DELETE FROM", CONFLICT),
        ("INSERT INTO", "error:XX000:1023"),
        ("load_log", "error:40P01:deadlock detected"),
        ("COMMIT", CONFLICT),
    ],
)
def test_a_load_that_others_are_in_the_way_of_begins_again_without_a_second_copy(
    loaded: Cluster, match: str, action: str
) -> None:
    loaded.fail(match, action, times=2)
    loaded.load()
    assert loaded.statuses() == {"CHARGING": 2}
    assert len(loaded.sent("COPY")) == 1
    assert (len(loaded.sent("BEGIN")), len(loaded.sent("ROLLBACK"))) == (3, 2)


def test_a_load_that_others_are_in_the_way_of_for_good_gives_up(
    loaded: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charging_assets.warehouse.retry.FIRST_WAIT_S", 0.001)
    loaded.fail("LOCK", CONFLICT, times=EXCHANGES)
    said = refusal(loaded)
    assert "1023" in said
    assert said.endswith("publish again when they are done")
    assert len(loaded.sent("BEGIN")) == EXCHANGES
    assert loaded.statuses() == {"AVAILABLE": 3}


@pytest.mark.parametrize("match", ["CREATE TEMP", "COPY", "SELECT count", "LOCK", "DELETE", "load_log", "COMMIT"])
def test_a_load_whose_connection_is_lost_is_done_again_over_another_one(loaded: Cluster, match: str) -> None:
    loaded.fail(match, "lose before", times=CONNECTIONS - 1)
    load = loaded.load()
    assert loaded.statuses() == {"CHARGING": 2}
    assert loaded.warehouse.load_log()[NAME, DAY] == load


def test_a_commit_whose_answer_is_lost_is_found_in_the_load_log(loaded: Cluster) -> None:
    loaded.fail("COMMIT", "lose after")
    load = loaded.load()
    assert len(loaded.sent("COPY")) == 1
    assert loaded.statuses() == {"CHARGING": 2}
    assert loaded.warehouse.load_log()[NAME, DAY] == load


def test_a_load_that_loses_every_connection_leaves_the_partition_as_it_was(loaded: Cluster) -> None:
    loaded.fail("INSERT", "lose before", times=CONNECTIONS)
    said = refusal(loaded, WarehouseUnavailable)
    assert f"Redshift at 127.0.0.1, database {loaded.database}" in said
    assert "`charging-assets publish` loads what is missing" in said
    assert loaded.statuses() == {"AVAILABLE": 3}


def test_readers_do_not_wait_for_a_load_and_loads_of_a_table_wait_for_each_other(loaded: Cluster) -> None:
    seen = []
    locked = f"""SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
        WHERE relname = '{NAME}_lock' AND mode = 'AccessExclusiveLock' AND granted"""

    def look() -> None:
        seen.append(loaded.statuses())
        seen.append(loaded.postgres.execute(loaded.database, locked))

    loaded.fail("COMMIT", look)
    loaded.load()
    assert seen == [{"AVAILABLE": 3}, [(1,)]]


def test_an_empty_partition_is_loaded_without_a_copy(loaded: Cluster) -> None:
    loaded.write("NONE", points=0)
    assert loaded.load().rows == 0
    assert loaded.sent("COPY") == []
    assert loaded.statuses() == {}


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("XX000:S3ServiceException:Access Denied,Status 403", f"the role {ROLE} must be attached"),
        ("XX000:User arn:aws:redshift:x is not authorized to assume IAM Role", f"the role {ROLE} must be attached"),
        ("XX000:S3ServiceException:PermanentRedirect, Status 301", "Redshift's own region"),
        ("XX000:Spectrum Scan Error. code 15007", "sys_load_error_detail (stl_load_errors on older clusters)"),
        ("53100:Disk Full", "Redshift's disks are full"),
        ("57014:canceling statement due to statement timeout", "it took longer than 3600 s"),
        ("42501:permission denied", "grant the role charging_loader to this user"),
    ],
)
def test_what_a_copy_fails_of_is_told_with_what_to_do(loaded: Cluster, answer: str, advice: str) -> None:
    loaded.fail("COPY", f"error:{answer}")
    said = refusal(loaded)
    assert answer.split(":", 1)[1] in said
    assert advice in said
    assert loaded.statuses() == {"AVAILABLE": 3}
    assert [key for key in loaded.files() if "manifest" in key] == []


def test_a_warehouse_without_a_schema_says_how_to_make_it(cluster: Cluster) -> None:
    cluster.postgres.execute(cluster.database, "DROP SCHEMA charging_store CASCADE")
    with pytest.raises(WarehouseError, match="run `charging-assets migrate` first"):
        cluster.warehouse.load_log()
    cluster.write("AVAILABLE")
    assert "run `charging-assets migrate` first" in refusal(cluster)
    assert cluster.sent("COPY") == []


def test_views_of_others_that_depend_on_a_view_are_not_dropped_along_with_it(cluster: Cluster) -> None:
    cluster.postgres.execute(cluster.database, f"DROP VIEW charging.{NAME}")
    cluster.postgres.execute(cluster.database, f"CREATE VIEW charging.{NAME} AS SELECT feed FROM charging_store.{NAME}")
    cluster.postgres.execute(cluster.database, f"CREATE VIEW public.mine AS SELECT feed FROM charging.{NAME}")
    with pytest.raises(WarehouseError, match="make them late-binding"):
        cluster.warehouse.ensure_schema()
    assert cluster.query("SELECT count(*) FROM public.mine") == [(0,)]


def test_of_two_who_make_the_schema_at_once_one_may_fail_and_is_told_why(cluster: Cluster) -> None:
    cluster.postgres.execute(cluster.database, "DROP SCHEMA charging, charging_store CASCADE")
    both = threading.Barrier(2)
    cluster.fail("CREATE SCHEMA", both.wait, times=2)
    refused: list[str] = []

    def migrate() -> None:
        try:
            cluster.warehouse.ensure_schema()
        except WarehouseError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=migrate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert "run `charging-assets migrate` again" in refused[0]
    assert [step for step in cluster.warehouse.plan() if step.is_change] == []


def file_of(rows: pa.Table, size: int) -> bytes:
    """A Parquet file of exactly so many bytes."""

    def padded(padding: int) -> bytes:
        written = io.BytesIO()
        with pq.ParquetWriter(written, rows.schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(rows)
            writer.add_key_value_metadata({"padding": "x" * padding})
        return written.getvalue()

    most = size - len(padded(0))
    return next(data for padding in range(most, 0, -1) if len(data := padded(padding)) == size)


def test_a_file_that_was_replaced_while_it_was_loaded_is_not_taken_for_the_other(loaded: Cluster) -> None:
    loaded.write("CHARGING", points=3_000)
    info = loaded.lake.info(NAME, DAY)
    assert info is not None
    other = file_of(rows_of("OTHER", points=1_000), info.bytes)
    place = urlsplit(loaded.lake.location(NAME, DAY))
    client = loaded.s3.client()
    loaded.fail("COPY", lambda: client.put_object(Bucket=place.netloc, Key=place.path.lstrip("/"), Body=other))
    said = refusal(loaded)
    assert "expected 3000 rows, but COPY brought 1000" in said
    assert "publish again" in said
    assert loaded.statuses() == {"AVAILABLE": 3}


def test_a_file_that_is_gone_before_it_is_copied_is_told_as_such(loaded: Cluster) -> None:
    place = urlsplit(loaded.lake.location(NAME, DAY))
    client = loaded.s3.client()
    loaded.fail("COPY", lambda: client.delete_object(Bucket=place.netloc, Key=place.path.lstrip("/")))
    assert "replaced or removed in the meantime: publish again" in refusal(loaded)
    assert loaded.statuses() == {"AVAILABLE": 3}


def wkb(points: int) -> bytes:
    """A line of so many points: 9 bytes and 16 for each."""
    return struct.pack("<BII", 1, 2, points) + struct.pack(f"<{2 * points}d", *range(2 * points))


def staged(cluster: Cluster, tab: Table, key: PartitionKey, rows: list[dict[str, Any]]) -> PartitionFile:
    store = store_at(cluster.lake.uri, Path("unused"))
    return PartitionFile.of_rows(store, cluster.lake.uri, tab, key, pa.Table.from_pylist(rows, schema_of(tab)))


def test_shapes_become_geometries_up_to_the_largest_that_redshift_makes_of_wkb(cluster: Cluster) -> None:
    warehouse = cluster.migrated(SHAPES)
    shapes = [wkb(1), None, wkb(2_047)]
    rows = [{"id_area": n, "query_date": DAY, "note": None, "geom": shape} for n, shape in enumerate(shapes)]
    with staged(cluster, areas, DAY, rows) as file:
        warehouse.replace_partition(file)
    found = cluster.query("SELECT ST_AsHexEWKB(geom) FROM charging.areas ORDER BY id_area")
    srid = "20E6100000"
    expected = [shape and (shape.hex()[:8] + srid + shape.hex()[10:]).upper() for shape in shapes]
    assert [hexadecimal for (hexadecimal,) in found] == expected


@pytest.mark.parametrize(
    ("values", "column_name", "limit"),
    [
        ({"geom": wkb(2_048)}, "geom", "32,767 bytes"),
        ({"note": "ü" * 32_768}, "note", "65,535 bytes"),
    ],
)
def test_what_is_too_large_is_refused_with_its_ids_before_anything_is_sent(
    cluster: Cluster, values: dict[str, Any], column_name: str, limit: str
) -> None:
    warehouse = cluster.migrated(SHAPES)
    cluster.standin.statements.clear()
    fitting = {"query_date": DAY, "note": "ü" * 32_767, "geom": wkb(1)}
    rows = [{"id_area": n, **fitting, **(values if n % 5 == 0 else {})} for n in range(60)]
    with staged(cluster, areas, DAY, rows) as file, pytest.raises(WarehouseError) as caught:
        warehouse.replace_partition(file)
    named = "; ".join(f"id_area {n}" for n in range(0, 50, 5))
    assert " 12 " in str(caught.value)
    assert f"'{column_name}' are larger than Redshift takes ({limit}), at {named} and more" in str(caught.value)
    assert cluster.standin.statements == []


def test_a_text_of_few_that_is_too_long_is_refused_with_its_ids(loaded: Cluster) -> None:
    loaded.write("x" * 65_536, points=2)
    said = refusal(loaded)
    assert "2 values of the column 'status_cp'" in said
    assert "id_chargingpoint DE*0000, query_time 2024-10-23 10:00:00+00:00; id_chargingpoint DE*0001" in said
    loaded.write("x" * 65_535)
    loaded.load()
    assert loaded.statuses() == {"x" * 65_535: 3}


def test_a_dated_file_is_no_table_and_an_undated_one_no_partition(cluster: Cluster) -> None:
    cluster.write("AVAILABLE")
    file = cluster.lake.file(NAME, DAY)
    assert file is not None
    with file, pytest.raises(ValueError, match="is dated: replace_partition"):
        cluster.warehouse.replace_table(file)
    rows: list[dict[str, Any]] = []
    undated = staged(cluster, table("public_holiday"), None, rows)
    with undated, pytest.raises(ValueError, match="is not dated: replace_table"):
        cluster.warehouse.replace_partition(undated)
