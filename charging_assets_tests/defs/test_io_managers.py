import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from charging_assets.defs.io_managers import DailyTables, LakeIOManager
from charging_assets.defs.partitions import DAILY
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema

DAYS = [dt.date(2024, 10, day) for day in (21, 22, 23)]
KEYS = [day.isoformat() for day in DAYS]
TABLE = "status_connectors"
SINGLE_RUN = dg.BackfillPolicy.single_run()

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")  # beta


def connectors(day: dt.date, rows: int, status: str = "AVAILABLE") -> pa.Table:
    """`rows` rows of `status_connectors` on one day."""
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    return pa.Table.from_pylist(
        [
            {
                "id_connector": f"c{number:02d}",
                "query_time": noon,
                "status_connector": status,
                "query_date": day,
                "source": "chargecloud",
                "feed": "koeln",
                "status_class": "free",
            }
            for number in range(rows)
        ],
        schema=arrow_schema(TABLE),
    )


@pytest.fixture
def run(tmp_path: Path, instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materialize one asset for one partition key, or for the range of two."""

    def run(asset: dg.AssetsDefinition, *keys: str, **more: Any) -> dg.ExecuteInProcessResult:
        lake = LakeResource(uri=str(tmp_path / "lake"), home=str(tmp_path / "home"))
        source = dg.AssetSpec(TABLE, partitions_def=DAILY) if asset.keys != {dg.AssetKey(TABLE)} else None
        defs = dg.Definitions(
            [one for one in (asset, source) if one], resources={"lake": lake, "io_manager": LakeIOManager(lake=lake)}
        )
        tags = {}
        if len(keys) == 2:
            tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, partition_key=keys[0] if len(keys) == 1 else None, tags=tags, **more
        )

    return run


def downstream(seen: list[Any], columns: list[str] | None = None) -> dg.AssetsDefinition:
    @dg.asset(
        ins={TABLE: dg.AssetIn(metadata={"columns": columns})},
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        name="reader",
    )
    def reader(status_connectors) -> dg.MaterializeResult:  # type: ignore[no-untyped-def, type-arg]
        seen.append(status_connectors)
        return dg.MaterializeResult()

    return reader


def test_one_partition_is_loaded_as_a_table(lake: Lake, run: Callable[..., Any]) -> None:
    lake.write(TABLE, DAYS[0], connectors(DAYS[0], 3))
    seen: list[Any] = []

    run(downstream(seen), KEYS[0])

    assert seen[0].equals(connectors(DAYS[0], 3))


def test_only_the_columns_in_the_inputs_metadata_are_loaded(lake: Lake, run: Callable[..., Any]) -> None:
    lake.write(TABLE, DAYS[0], connectors(DAYS[0], 3))
    seen: list[Any] = []

    run(downstream(seen, ["query_time", "status_connector"]), KEYS[0])

    assert seen[0].column_names == ["query_time", "status_connector"]


def test_a_missing_partition_is_loaded_without_rows_but_with_columns(run: Callable[..., Any]) -> None:
    seen: list[Any] = []

    run(downstream(seen), KEYS[0])

    assert seen[0].equals(arrow_schema(TABLE).empty_table())


def test_a_range_is_loaded_day_by_day_and_not_before_it_is_asked_for(lake: Lake, run: Callable[..., Any]) -> None:
    for number, day in enumerate(DAYS):
        lake.write(TABLE, day, connectors(day, number + 1))
    seen: list[Any] = []
    run(downstream(seen), KEYS[0], KEYS[2])
    days = seen[0]
    assert isinstance(days, DailyTables)

    lake.write(TABLE, DAYS[2], connectors(DAYS[2], 9))

    assert [(key, rows.num_rows) for key, rows in days] == [(KEYS[0], 1), (KEYS[1], 2), (KEYS[2], 9)]
    assert [key for key, _ in days[1:]] == KEYS[1:]


def test_an_input_annotated_as_daily_tables_gets_them_for_one_partition_too(
    lake: Lake, run: Callable[..., Any]
) -> None:
    lake.write(TABLE, DAYS[0], connectors(DAYS[0], 3))
    seen: list[Any] = []

    @dg.asset(partitions_def=DAILY)
    def reader(status_connectors: DailyTables) -> dg.MaterializeResult:  # type: ignore[type-arg]
        seen.extend((key, rows.num_rows) for key, rows in status_connectors)
        return dg.MaterializeResult()

    run(reader, KEYS[0])

    assert seen == [(KEYS[0], 3)]


def test_a_range_is_published_one_partition_at_a_time_with_metadata_for_each(
    lake: Lake, run: Callable[..., Any]
) -> None:
    published_before: list[list[dt.date]] = []

    def days() -> Iterator[tuple[str, pa.Table]]:
        for number, day in enumerate(DAYS):
            published_before.append(lake.partitions(TABLE))
            yield day.isoformat(), connectors(day, number + 1)

    @dg.asset(name=TABLE, partitions_def=DAILY, backfill_policy=SINGLE_RUN)
    def made() -> dg.Output[Any]:
        return dg.Output(days())

    result = run(made, KEYS[0], KEYS[2])

    assert published_before == [[], DAYS[:1], DAYS[:2]]
    events = {event.partition: event.metadata for event in result.asset_materializations_for_node(TABLE)}
    assert {key: shown["dagster/partition_row_count"].value for key, shown in events.items()} == {
        KEYS[0]: 1,
        KEYS[1]: 2,
        KEYS[2]: 3,
    }
    assert events[KEYS[2]]["preview"].records[0].data == {
        "column": "id_connector",
        "row 1": "c00",
        "row 2": "c01",
        "row 3": "c02",
    }
    assert events[KEYS[2]]["path"].value.endswith("query_date=2024-10-23.parquet")
    assert Path(events[KEYS[2]]["path"].value).stat().st_size == events[KEYS[2]]["bytes"].value


def test_a_partition_is_replaced_and_not_appended_to(lake: Lake, run: Callable[..., Any]) -> None:
    rows = [5, 2]

    @dg.asset(name=TABLE, partitions_def=DAILY)
    def made() -> pa.Table:
        return connectors(DAYS[0], rows.pop(0))

    run(made, KEYS[0])
    run(made, KEYS[0])

    assert lake.read(TABLE, DAYS[0]).num_rows == 2


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ([KEYS[0]], f"{TABLE}: nothing was returned for {KEYS[1]}"),
        ([KEYS[0], KEYS[0]], f"{TABLE}: partition {KEYS[0]} was returned twice, or is none of this run's"),
        ([KEYS[2]], f"{TABLE}: partition {KEYS[2]} was returned twice, or is none of this run's"),
    ],
)
def test_what_is_returned_must_be_the_partitions_of_the_run(
    run: Callable[..., Any], keys: list[str], complaint: str
) -> None:
    @dg.asset(name=TABLE, partitions_def=DAILY, backfill_policy=SINGLE_RUN)
    def made() -> dg.Output[Any]:
        return dg.Output([(key, connectors(dt.date.fromisoformat(key), 1)) for key in keys])

    with pytest.raises(dg.DagsterInvariantViolationError, match=complaint):
        run(made, KEYS[0], KEYS[1])


def test_rows_that_break_the_tables_rules_leave_the_old_partition(lake: Lake, run: Callable[..., Any]) -> None:
    lake.write(TABLE, DAYS[0], connectors(DAYS[0], 3))

    @dg.asset(name=TABLE, partitions_def=DAILY)
    def made() -> pa.Table:
        return connectors(DAYS[1], 1)

    with pytest.raises(Exception, match="query_date 2024-10-21"):
        run(made, KEYS[0])
    assert lake.read(TABLE, DAYS[0]).num_rows == 3
