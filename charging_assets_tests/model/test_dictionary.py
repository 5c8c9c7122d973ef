"""What is generated from the data model agrees with it."""

from pathlib import Path

import pyarrow as pa
import pytest

from charging_assets.model.arrow import arrow_schema
from charging_assets.model.dictionary import data_dictionary
from charging_assets.model.statuses import status_class
from charging_assets.model.tables import METADATA, key_of, table

_DICTIONARY = Path(__file__).parents[2] / "docs/data_dictionary.md"


def test_the_data_dictionary_is_not_stale() -> None:
    assert _DICTIONARY.read_text() == data_dictionary(), "run `make docs` and commit docs/data_dictionary.md"


@pytest.mark.parametrize("name", list(METADATA.tables))
def test_every_table_and_column_is_documented_and_has_an_arrow_type(name: str) -> None:
    tab = table(name)
    assert tab.comment
    assert all(column.comment for column in tab.columns)
    assert arrow_schema(name).names == [column.name for column in tab.columns]
    assert set(key_of(tab)) <= set(arrow_schema(name).names)


@pytest.mark.parametrize("name", list(METADATA.tables))
def test_a_column_of_the_key_is_never_null(name: str) -> None:
    assert not any(arrow_schema(name).field(column).nullable for column in key_of(table(name)))


def test_times_are_utc_microseconds_and_never_nanoseconds() -> None:
    kinds = {
        field.type for name in METADATA.tables for field in arrow_schema(name) if pa.types.is_timestamp(field.type)
    }
    assert kinds == {pa.timestamp("us", tz="UTC")}


def test_the_given_columns_of_the_status_tables_come_first_and_in_order() -> None:
    points = [*table("status_chargingpoints").info["computed"], *arrow_schema("status_chargingpoints").names]
    assert points[:5] == ["id_status_cp", "id_chargingpoint", "query_time", "status_cp", "status_parkingsensor"]
    connectors = [*table("status_connectors").info["computed"], *arrow_schema("status_connectors").names]
    assert connectors[:4] == ["id_status_connectors", "id_connector", "query_time", "status_connector"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("AVAILABLE", "free"), (" reserved", "occupied"), ("FAULTED", "fault"), ("PLANNED", "gone"), ("Free", "unknown")],
)
def test_a_status_is_classed_by_its_word_alone(status: str, expected: str) -> None:
    assert status_class(status) == expected


def test_an_unknown_table_is_answered_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="there are: raw_snapshots, status_chargingpoints"):
        table("stations")
