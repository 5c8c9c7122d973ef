import pyarrow as pa

from charging_assets.defs.metadata import column_schema, preview
from charging_assets.model.tables import table


def test_a_preview_spreads_over_the_rows_and_has_a_line_per_column() -> None:
    shown = preview(pa.table({"id": [f"DE*ABC*E{number}" for number in range(9)], "status": [None] * 9}))

    assert shown is not None
    assert [record.data for record in shown.records] == [
        {"column": "id", "row 1": "DE*ABC*E0", "row 5": "DE*ABC*E4", "row 9": "DE*ABC*E8"},
        {"column": "status", "row 1": None, "row 5": None, "row 9": None},
    ]


def test_a_preview_of_few_rows_shows_each_once_and_of_none_is_none() -> None:
    rows = pa.table({"id": ["a", "b"]})

    shown = preview(rows)

    assert shown is not None
    assert [record.data for record in shown.records] == [{"column": "id", "row 1": "a", "row 2": "b"}]
    assert preview(rows.slice(0, 0)) is None


def test_a_preview_cuts_what_the_page_cannot_wrap() -> None:
    shown = preview(pa.table({"sha256": ["f" * 64], "reason": ["expected a list, got a number; " * 9]}))

    assert shown is not None
    sha256, reason = (str(record.data["row 1"]) for record in shown.records)
    assert sha256 == "f" * 23 + "…"
    assert len(reason) == 120
    assert reason.startswith("expected a list, got a number; expected")


def test_the_column_schema_marks_the_key_and_names_units() -> None:
    columns = {column.name: column.constraints for column in column_schema(table("poll_log")).columns}

    assert [name for name, of in columns.items() if "key" in of.other] == ["query_time", "source", "feed", "poll_id"]
    assert columns["interval_s"].other == ["unit: s"]
    assert columns["http_status"].nullable
    assert not columns["feed"].nullable
