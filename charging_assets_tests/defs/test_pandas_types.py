"""Small tables as frames: nothing is lost on the way, and a wrong frame is refused in a sentence."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.defs.io_managers import LakeIOManager
from charging_assets.defs.pandas_types import pandas_type, to_arrow, to_pandas
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake
from charging_assets.model.arrow import FEW_TEXT, TIMESTAMP, arrow_schema
from charging_assets.model.tables import table

TABLES = (
    *("charging_station", "charging_point", "connector"),
    *("charging_station_history", "charging_point_history", "connector_history"),
    *("time", "public_holiday", "feed_health"),
)

AT = dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)

_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(st.characters(codec="utf-8")),
    FEW_TEXT: st.sampled_from(["a", "", "ä"]),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    TIMESTAMP: st.datetimes(timezones=st.just(dt.UTC)),
}


def _rows(name: str) -> st.SearchStrategy[pa.Table]:
    """Rows of a table in its types, with nulls where they may be."""
    schema = arrow_schema(name)
    row = {field.name: st.none() | _VALUES[field.type] if field.nullable else _VALUES[field.type] for field in schema}
    return st.lists(st.fixed_dictionaries(row), max_size=4).map(lambda rows: pa.Table.from_pylist(rows, schema=schema))


@given(st.sampled_from(TABLES).flatmap(lambda name: st.tuples(st.just(name), _rows(name))))
def test_nothing_is_lost_on_the_way_to_pandas_and_back(made: tuple[str, pa.Table]) -> None:
    name, rows = made
    frame = to_pandas(rows, name)
    back = to_arrow(frame, name)
    assert back.equals(rows)
    assert back.schema.equals(arrow_schema(name), check_metadata=True)
    assert [str(dtype) for dtype in frame.dtypes] == [str(pd.ArrowDtype(field.type)) for field in arrow_schema(name)]


def test_the_index_is_no_column_of_the_table() -> None:
    frame = to_pandas(_connectors("1", "2"), "connector").iloc[::-1]
    assert to_arrow(frame, "connector")["id_connector"].to_pylist() == ["2", "1"]


@pytest.mark.parametrize("change", [{"drop": ["format"]}, {"add": "more"}])
def test_a_frame_of_other_columns_becomes_no_rows(change: dict[str, Any]) -> None:
    frame = to_pandas(_connectors("1"), "connector").drop(columns=change.get("drop", []))
    if "add" in change:
        frame[change["add"]] = 1
    with pytest.raises(ValueError, match="names are not matching"):
        to_arrow(frame, "connector")


def _connectors(*ids: str | None, **values: Any) -> pa.Table:
    row = {"source": "chargecloud", "feed": "koeln", "first_seen": AT, "last_seen": AT, "is_active": True, **values}
    return pa.Table.from_pylist([{"id_connector": id_, **row} for id_ in ids], schema=arrow_schema("connector"))


def _verdict(name: str, frame: object) -> dg.TypeCheck:
    return pandas_type(name).type_check(None, frame)  # type: ignore[arg-type]  # no context is looked at


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_rows_passes_its_type(name: str) -> None:
    assert _verdict(name, to_pandas(arrow_schema(name).empty_table(), name)).success


def test_right_rows_pass_with_nulls_where_they_may_be() -> None:
    frame = to_pandas(_connectors("1", "2", max_power=None, power_class=None), "connector")
    assert _verdict("connector", frame).success
    frame = to_pandas(_connectors("1", max_power=150, power_class="DC 50-150"), "connector")
    assert _verdict("connector", frame).success


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (_connectors("1", "2", "1"), "'id_connector': expected each value once; broken in 1 of 3 rows: '1' in row 3."),
        (_connectors("1", feed=None), "'feed': expected no nulls; broken in 1 of 1 rows: <NA> in row 1."),
        (_connectors("1", power_class="DC"), "'power_class': expected one of AC 0-3.7, AC 3.7-11,"),
        (
            _connectors(*"12345", max_power=-1),
            "'max_power': expected values of at least 0; broken in 5 of 5 rows: -1 in",
        ),
    ],
)
def test_wrong_values_are_refused_with_column_rule_and_examples(rows: pa.Table, sentence: str) -> None:
    frame = pd.DataFrame(
        {column: pd.array(rows[column], pd.ArrowDtype(rows[column].type)) for column in rows.column_names}
    )
    verdict = _verdict("connector", frame)
    assert not verdict.success
    assert f"Column {sentence}" in str(verdict.description)


def test_bounds_of_local_time_hold() -> None:
    row = {
        "query_time": AT,
        "hour": 2,
        "day": 25,
        "week": 43,
        "month": 10,
        "year": 2026,
        "weekday": 7,
        "iso_year": 2026,
        "query_date": dt.date(2026, 10, 25),
        "minute_of_week": 8790,
        "is_dst": True,
    }
    schema = arrow_schema("time")
    assert _verdict("time", to_pandas(pa.Table.from_pylist([row], schema=schema), "time")).success
    for column, wrong in {"hour": 24, "weekday": 0, "week": 54, "minute_of_week": 10_080}.items():
        verdict = _verdict("time", to_pandas(pa.Table.from_pylist([{**row, column: wrong}], schema=schema), "time"))
        assert f"Column {column!r}: expected values from" in str(verdict.description)


def test_another_dtype_is_refused_though_its_values_fit() -> None:
    frame = to_pandas(_connectors("1"), "connector").assign(max_power=22)
    assert str(_verdict("connector", frame).description) == (
        "Column 'max_power': expected dtype int32[pyarrow], got int64; `to_pandas` makes frames of right ones."
    )


def test_missing_unknown_and_misplaced_columns_are_refused_and_so_is_what_is_no_frame() -> None:
    frame = to_pandas(_connectors("1"), "connector")
    assert "Required column feed not in" in str(_verdict("connector", frame.drop(columns="feed")).description)
    assert "'more'" in str(_verdict("connector", frame.assign(more=1)).description)
    assert "ordering of columns" in str(_verdict("connector", frame[frame.columns[::-1]]).description)
    assert "list" in str(_verdict("connector", []).description)


@pytest.mark.parametrize("name", TABLES)
def test_the_type_shows_what_each_column_is_and_must_be(name: str) -> None:
    description = str(pandas_type(name).description)
    assert str(table(name).comment) in description
    for col in table(name).columns:
        _, _, rest = description.partition(f"**{col.name}**: `")
        own, _, _ = rest.partition("\n\n")
        assert own.startswith(str(pd.ArrowDtype(arrow_schema(name).field(col.name).type)))
        assert str(col.comment) in own
        assert ("+ no nulls" in own) is not col.nullable


def test_making_a_type_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    pandas_type.cache_clear()
    pandas_type("connector")
    assert not recwarn.list


# -- in a graph ------------------------------------------------------------------------------------------------------


def _materialize(tmp_path: Path, instance: dg.DagsterInstance, rows: pa.Table) -> dg.ExecuteInProcessResult:
    @dg.asset(name="connector", dagster_type=pandas_type("connector"))
    def connectors() -> Any:
        return to_pandas(rows, "connector")

    lake = LakeResource(uri=str(tmp_path / "lake"), home=str(tmp_path / "home"))
    return dg.materialize(
        [connectors], instance=instance, resources={"io_manager": LakeIOManager(lake=lake)}, raise_on_error=False
    )


def test_an_asset_that_returns_a_frame_fills_the_table(
    tmp_path: Path, lake: Lake, instance: dg.DagsterInstance
) -> None:
    rows = _connectors("1", "2", max_power=22)
    assert _materialize(tmp_path, instance, rows).success
    assert lake.read("connector", None).equals(rows)


def test_an_asset_that_returns_wrong_rows_fails_and_the_table_stays(
    tmp_path: Path, lake: Lake, instance: dg.DagsterInstance
) -> None:
    lake.write("connector", None, _connectors("1"))
    result = _materialize(tmp_path, instance, _connectors("2", max_power=-22))
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "Column 'max_power': expected values of at least 0" in str(failure.step_failure_data.error)
    assert lake.read("connector", None).equals(_connectors("1"))
