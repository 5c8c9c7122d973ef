"""The warehouse IO manager with tables of another project, against a real PostgreSQL and the stand-in of Redshift."""

import datetime as dt
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from shapely import Point, to_wkb
from sqlalchemy import Date, Double, Integer, MetaData

from charging_assets.defs.resources import LakeResource
from charging_assets.defs.warehouse_io import REASONS, WarehouseIOManager
from charging_assets.defs.warehouses import PostgresResource, RedshiftWarehouseResource, WarehouseResource
from charging_assets.model.tables.declare import column, declare, geometry, text, time
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")  # beta

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/warehouse_io_manager.md"
DAYS = [dt.date(2026, 3, day) for day in (27, 28, 29, 30)]
KEYS = [day.isoformat() for day in DAYS]
DAILY = dg.DailyPartitionsDefinition(KEYS[0])

TABLES = MetaData()
declare(
    "samples",
    "What was measured: one row per place and time.",
    text("place", "Where.", few=True),
    time("taken", "When."),
    column("query_date", Date(), "The day; the partition."),
    column("count", Integer(), "How many."),
    column("share", Double(), "How much of it.", nullable=True),
    text("note", "What else there is to say.", nullable=True),
    key=("place", "taken"),
    group="samples",
    dated=True,
    metadata=TABLES,
)
declare(
    "places",
    "The places there are.",
    text("place", "Which one."),
    geometry("geom", "Where it is.", nullable=True),
    key=("place",),
    group="samples",
    dated=False,
    metadata=TABLES,
)


class OwnPostgres(PostgresResource):
    tables = TABLES


class OwnRedshift(RedshiftWarehouseResource):
    tables = TABLES


def samples(day: dt.date, rows: int, note: str | None = None) -> pa.Table:
    """Rows of `samples`, columns in no order, types as they happen to be."""
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    return pa.table(
        {
            "note": pa.array([note] * rows, pa.string()),
            "count": list(range(rows)),
            "place": [f"place {number}" for number in range(rows)],
            "taken": [noon] * rows,
            "query_date": [day] * rows,
            "share": [0.5] * rows,
        }
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Standin]:
    with S3Standin() as server:
        yield server


@pytest.fixture(scope="module")
def redshift(postgres: PostgresStandin, s3: S3Standin) -> Iterator[RedshiftStandin]:
    with RedshiftStandin(postgres, s3) as cluster:
        yield cluster


@pytest.fixture
def database(postgres: PostgresStandin) -> str:
    return postgres.new_database()


@pytest.fixture
def own_lake(tmp_path: Path) -> LakeResource:
    return LakeResource(uri=str(tmp_path / "lake"), home=str(tmp_path / "home"))


@pytest.fixture
def own_postgres(postgres: PostgresStandin, database: str) -> OwnPostgres:
    warehouse = OwnPostgres(dsn=postgres.dsn(database))
    warehouse.open().ensure_schema()
    return warehouse


@pytest.fixture
def own_redshift(redshift: RedshiftStandin, database: str) -> OwnRedshift:
    redshift.prepare(database)
    warehouse = OwnRedshift(
        host="127.0.0.1",
        port=redshift.port,
        user="postgres",
        password="never asked for",
        database=database,
        sslmode="disable",
        iam_role="arn:aws:iam::123456789012:role/samples",
    )
    warehouse.open().ensure_schema()
    return warehouse


Run = Callable[..., dg.ExecuteInProcessResult]


def runner(warehouse: WarehouseResource, lake: LakeResource, instance: dg.DagsterInstance) -> Run:
    """Materializes assets for no partition, for one key, or for the range of two."""

    def run(assets: Sequence[dg.AssetsDefinition], *keys: str, **more: Any) -> dg.ExecuteInProcessResult:
        manager = WarehouseIOManager(warehouse=warehouse, lake=lake)
        defs = dg.Definitions(assets, resources={"io_manager": manager}, executor=dg.in_process_executor)
        tags = {}
        if len(keys) == 2:
            tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, partition_key=keys[0] if len(keys) == 1 else None, tags=tags, **more
        )

    return run


@pytest.fixture
def run(own_postgres: OwnPostgres, own_lake: LakeResource, instance: dg.DagsterInstance) -> Run:
    return runner(own_postgres, own_lake, instance)


@pytest.fixture(params=["postgres", "redshift"])
def run_on_each(
    request: pytest.FixtureRequest,
    own_lake: LakeResource,
    instance: dg.DagsterInstance,
    s3: S3Standin,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Like `run`, on each kind of warehouse; for Redshift the lake is on S3."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    warehouse = request.getfixturevalue(f"own_{request.param}")
    lake = own_lake
    if request.param == "redshift":
        lake = LakeResource(uri=f"s3://{s3.new_bucket()}/staging", home=own_lake.home)
    return runner(warehouse, lake, instance)


def samples_of(parts: Any) -> dg.AssetsDefinition:
    """The asset `samples`, which returns `parts`."""

    @dg.asset(key=["own", "samples"], partitions_def=DAILY, backfill_policy=dg.BackfillPolicy.single_run())
    def made() -> dg.Output[Any]:
        return dg.Output(parts)

    return made


def figures(instance: dg.DagsterInstance) -> dict[str | None, Any]:
    """Rows of what was recorded of `samples`, by partition."""
    records = instance.fetch_materializations(dg.AssetKey(["own", "samples"]), limit=100).records
    events = [record.asset_materialization for record in reversed(records) if record.asset_materialization]
    return {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}


def counts(postgres: PostgresStandin, database: str) -> dict[str, int]:
    """Rows of `samples` in the warehouse, by day."""
    found = postgres.execute(database, "SELECT query_date, count(*) FROM charging.samples GROUP BY 1 ORDER BY 1")
    return {day.isoformat(): rows for day, rows in found}


def test_a_range_is_replaced_partition_by_partition_with_figures_for_each(
    run_on_each: Run, postgres: PostgresStandin, database: str, instance: dg.DagsterInstance
) -> None:
    seen: list[dict[str, int]] = []

    def days(rows: int) -> Iterator[tuple[str, pa.Table]]:
        for number, day in enumerate(DAYS[:3]):
            seen.append(counts(postgres, database))
            yield day.isoformat(), samples(day, rows + number)

    run_on_each([samples_of(days(5))], KEYS[0], KEYS[2])
    run_on_each([samples_of(days(1))], KEYS[0], KEYS[2])

    assert seen[:3] == [{}, {KEYS[0]: 5}, {KEYS[0]: 5, KEYS[1]: 6}]
    assert counts(postgres, database) == figures(instance) == {KEYS[0]: 1, KEYS[1]: 2, KEYS[2]: 3}
    record = instance.fetch_materializations(dg.AssetKey(["own", "samples"]), limit=1).records[0]
    assert record.asset_materialization
    shown = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    (logged,) = postgres.execute(
        database, f"SELECT content_hash, load_id FROM charging.load_log WHERE partition_key = '{record.partition_key}'"
    )
    assert (shown["content_hash"], shown["load_id"]) == logged
    assert isinstance(shown["seconds"], float)


def test_an_undated_table_is_replaced_by_a_frame(
    run_on_each: Run, postgres: PostgresStandin, database: str, instance: dg.DagsterInstance
) -> None:
    frames = [pd.DataFrame({"geom": [None] * 2, "place": ["a", "b"]}), pd.DataFrame({"geom": [None], "place": ["c"]})]

    @dg.asset
    def places() -> pd.DataFrame:
        return frames.pop(0)

    run_on_each([places])
    result = run_on_each([places])

    assert postgres.execute(database, "SELECT place FROM charging.places") == [("c",)]
    (event,) = result.asset_materializations_for_node("places")
    assert event.metadata["dagster/row_count"].value == 1


def test_rows_are_read_back_as_they_were_returned(run_on_each: Run) -> None:
    kind = "O'Neil; DROP TABLE x;--\n\t\\N 🙂"
    given = {day: samples(day, 3, note=kind) for day in DAYS[:2]}
    shapes = pa.table({"place": ["a", "b"], "geom": pa.array([to_wkb(Point(6.9, 50.9)), None], pa.binary())})
    read: dict[str, pa.Table] = {}

    @dg.asset
    def places() -> pa.Table:
        return shapes

    @dg.asset(ins={"samples": dg.AssetIn(key=["own", "samples"])}, partitions_def=DAILY)
    def reader(samples: pa.Table, places: pa.Table) -> dg.MaterializeResult[None]:
        read.update(samples=samples, places=places)
        return dg.MaterializeResult()

    run_on_each([places])
    run_on_each([samples_of([(day.isoformat(), rows) for day, rows in given.items()])], KEYS[0], KEYS[1])
    run_on_each([places, samples_of(given[DAYS[1]]), reader], KEYS[1])

    assert read["places"].to_pylist() == shapes.to_pylist()
    assert read["samples"].schema.field("place").type == pa.dictionary(pa.int32(), pa.string())
    assert read["samples"].select(given[DAYS[1]].column_names).to_pylist() == given[DAYS[1]].to_pylist()


def test_an_input_is_of_the_partitions_of_the_run_and_of_the_columns_that_were_asked_for(run: Run) -> None:
    read: list[pd.DataFrame] = []

    @dg.asset(
        ins={"samples": dg.AssetIn(key=["own", "samples"], metadata={"columns": ["query_date", "count"]})},
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def reader(samples: pd.DataFrame) -> dg.MaterializeResult[None]:
        read.append(samples)
        return dg.MaterializeResult()

    parts = [(day.isoformat(), samples(day, number)) for number, day in enumerate(DAYS)]
    run([samples_of(parts)], KEYS[0], KEYS[3])
    run([samples_of(parts[1:3]), reader], KEYS[1], KEYS[2])

    (frame,) = read
    assert list(frame.columns) == ["query_date", "count"]
    assert sorted(zip(frame["query_date"], frame["count"], strict=True)) == [(DAYS[1], 0), (DAYS[2], 0), (DAYS[2], 1)]


def test_an_unknown_column_of_an_input_is_named(run: Run) -> None:
    @dg.asset(ins={"places": dg.AssetIn(metadata={"columns": ["colour"]})})
    def reader(places: pa.Table) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    with pytest.raises(Exception, match="places has no column 'colour'; it has: place, geom"):
        run([dg.AssetSpec("places"), reader])


@pytest.mark.parametrize("dsn", ["postgresql://loader:canary@127.0.0.1:9/none", "postgresql://loader:can%zzary@h/none"])
def test_an_input_that_cannot_be_read_does_not_tell_the_password(
    own_lake: LakeResource, instance: dg.DagsterInstance, dsn: str
) -> None:
    @dg.asset
    def reader(places: pa.Table) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    result = runner(OwnPostgres(dsn=dsn), own_lake, instance)([dg.AssetSpec("places"), reader], raise_on_error=False)

    assert not result.success
    said = "".join(dg.serialize_value(log) for log in instance.all_logs(result.run_id))
    assert "canary" not in said
    assert "can%zzary" not in said


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.drop_columns("share"), "expected the columns place, taken, query_date, count, share, note"),
        (lambda rows: rows.append_column("colour", rows["note"]), "got note, count, .*, share, colour"),
        (lambda rows: rows.set_column(1, "count", pa.array(["many"] * 2)), "column 'count' must be int32: .*'many'"),
        (lambda rows: rows.set_column(1, "count", pa.array([1, 2**31])), "column 'count' must be int32: .*2147483648"),
        (lambda rows: rows.set_column(1, "count", pa.array([1, None])), "'count' must not be null, but 1 rows are"),
        (lambda rows: rows.set_column(4, "query_date", pa.array([DAYS[1], DAYS[2]])), "expected only rows of .*-28"),
        (lambda rows: rows.set_column(2, "place", pa.array(["a", "a"])), r"unique by \(place, taken\), but 2 rows"),
    ],
)
def test_one_partition_that_breaks_the_rules_stays_as_it_was_and_the_others_are_loaded_and_recorded(
    run: Run,
    postgres: PostgresStandin,
    database: str,
    instance: dg.DagsterInstance,
    change: Callable[[pa.Table], pa.Table],
    complaint: str,
) -> None:
    run([samples_of(samples(DAYS[1], 7))], KEYS[1])
    parts = [(day.isoformat(), samples(day, 2)) for day in DAYS[:3]]
    parts[1] = (KEYS[1], change(parts[1][1]))

    with pytest.raises(dg.Failure) as failure:
        run([samples_of(parts)], KEYS[0], KEYS[2])

    assert re.fullmatch(
        rf"samples: 2 loaded, 1 not\. {KEYS[1]}: samples: .*{complaint}.*", failure.value.description or ""
    )
    assert counts(postgres, database) == {KEYS[0]: 2, KEYS[1]: 7, KEYS[2]: 2}
    assert figures(instance) == {KEYS[1]: 7, KEYS[0]: 2, KEYS[2]: 2}


def test_of_many_that_fail_the_first_are_told_and_all_are_in_the_log(run: Run, instance: dg.DagsterInstance) -> None:
    keys = [(DAYS[0] + dt.timedelta(days=number)).isoformat() for number in range(REASONS + 2)]

    result = run([samples_of([(key, samples(DAYS[0], 1)) for key in keys])], keys[0], keys[-1], raise_on_error=False)

    (failed,) = [event for event in result.all_events if event.is_step_failure]
    said = str(failed.step_failure_data.user_failure_data and failed.step_failure_data.user_failure_data.description)
    assert said.startswith(f"samples: 1 loaded, {REASONS + 1} not. {keys[1]}: ")
    assert keys[-2] in said
    assert said.endswith("1 more are in this run's log.")
    errors = [log.user_message for log in instance.all_logs(result.run_id) if log.level == 40 and log.user_message]
    assert [message[:10] for message in errors if message[:4] == "2026"] == keys[1:]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ([KEYS[0]], f"own/samples: nothing was returned for {KEYS[1]}"),
        ([KEYS[0], KEYS[0]], f"own/samples: partition {KEYS[0]} was returned twice, or is none of this run's"),
        ([KEYS[0], KEYS[3]], f"own/samples: partition {KEYS[3]} was returned twice, or is none of this run's"),
    ],
)
def test_what_is_returned_must_be_the_partitions_of_the_run_and_what_was_loaded_is_recorded(
    run: Run, instance: dg.DagsterInstance, keys: list[str], complaint: str
) -> None:
    parts = [(key, samples(dt.date.fromisoformat(key), 1)) for key in keys]

    with pytest.raises(dg.DagsterInvariantViolationError, match=complaint):
        run([samples_of(parts)], KEYS[0], KEYS[1])
    assert figures(instance) == {KEYS[0]: 1}


def test_an_asset_that_is_no_table_is_told_which_tables_there_are(run: Run) -> None:
    @dg.asset
    def colours() -> pa.Table:
        return pa.table({"colour": ["red"]})

    with pytest.raises(dg.DagsterInvariantViolationError, match=r"colours: expected .*: samples, places"):
        run([colours])


def test_nothing_that_was_staged_is_left(
    run_on_each: Run, s3: S3Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    parts = [(KEYS[0], samples(DAYS[0], 3)), (KEYS[1], samples(DAYS[2], 3))]
    before = _objects(s3)

    run_on_each([samples_of(parts)], KEYS[0], KEYS[1], raise_on_error=False)

    assert [path for path in (tmp_path / "tmp").rglob("*") if path.suffix in {".parquet", ".json"}] == []
    assert not (tmp_path / "lake").exists()
    assert _objects(s3) == before


def _objects(s3: S3Standin) -> set[tuple[str, str]]:
    """All objects, other suites' too: the server's buckets are those of the process."""
    client = s3.client()
    buckets = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    pages = ((name, client.list_objects_v2(Bucket=name).get("Contents", ())) for name in buckets)
    return {(name, found["Key"]) for name, contents in pages for found in contents}


def test_the_example_of_the_document_runs(
    postgres: PostgresStandin,
    database: str,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOP_DSN", postgres.dsn(database))
    example, schema, _ = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    shop: dict[str, Any] = {"__name__": "shop"}

    exec(compile(example, str(DOCUMENT), "exec"), shop)
    exec(compile(schema, str(DOCUMENT), "exec"), shop)
    job = shop["defs"].resolve_implicit_global_asset_job_def()
    tags = {
        "dagster/asset_partition_range_start": "2026-01-02",
        "dagster/asset_partition_range_end": "2026-01-04",
    }
    result = job.execute_in_process(instance=instance, tags=tags)

    assert "create table charging_store.sales (3 columns)" in capsys.readouterr().out
    assert postgres.execute(database, "SELECT query_date, sum(sold) FROM charging.sales GROUP BY 1 ORDER BY 1") == [
        (dt.date(2026, 1, day), 200 * day) for day in (2, 3, 4)
    ]
    assert postgres.execute(database, "SELECT shop, city FROM charging.shops ORDER BY shop") == [
        ("Bonn", None),
        ("Köln", "Köln"),
    ]
    turnovers = [event.metadata["EUR"].value for event in result.asset_materializations_for_node("turnover")]
    assert turnovers == [1800] * 3
