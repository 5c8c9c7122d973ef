"""Published reports: each kept once, whole, and as it was."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets.lake import Lake, LakeError, PublishedReport, Question

NOON = dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC)
MARCH = Question("city", dt.date(2026, 3, 1), dt.date(2026, 3, 31))
STATIONS = Question("station", dt.date(2026, 3, 1), dt.date(2026, 3, 31), city="Köln")
ROWS = pa.table({"scope_id": ["Köln", "Süß"], "utilization": [0.125, None]}, metadata={"said": "nobody measured it"})


def put(lake: Lake, number: int, question: Question = MARCH, *, hours: int = 0) -> PublishedReport:
    return lake.reports.put(f"R-{number:010x}", NOON + dt.timedelta(hours=hours), question, "1", ROWS)


def test_what_was_put_is_read_back_with_its_question(any_lake: Lake) -> None:
    report = put(any_lake, 1, STATIONS)

    assert report == PublishedReport(
        "R-0000000001", NOON, STATIONS, "1", "reports/20260401T120000Z_R-0000000001.parquet"
    )
    assert any_lake.reports.published() == [report]
    rows = any_lake.reports.read(report)
    assert rows.equals(ROWS)
    assert rows.schema.metadata[b"said"] == b"nobody measured it"


def test_reports_come_oldest_first_and_the_newest_of_a_question_is_found(any_lake: Lake) -> None:
    third, first, second, other = (
        put(any_lake, number, question, hours=hours)
        for number, question, hours in ((3, MARCH, 2), (1, MARCH, 0), (2, MARCH, 1), (4, STATIONS, 3))
    )

    assert any_lake.reports.published() == [first, second, third, other]
    assert any_lake.reports.newest(MARCH) == third
    assert any_lake.reports.newest(STATIONS) == other
    assert any_lake.reports.newest(Question("operator", MARCH.first, MARCH.last)) is None


def test_a_report_that_is_kept_is_never_written_again(any_lake: Lake) -> None:
    report = put(any_lake, 1)
    before = any_lake.reports.entries()

    assert put(any_lake, 1) == report

    assert any_lake.reports.entries() == before
    assert any_lake.reports.published() == [report]


@pytest.mark.parametrize("report_id", ["", "R-1", "../R-0000000001", "R-000000000G", "R-0000000001\n"])
def test_what_is_no_id_names_no_file(lake: Lake, report_id: str) -> None:
    with pytest.raises(LakeError, match="is no id of a report: expected R- and 10 hexadecimal digits"):
        lake.reports.put(report_id, NOON, MARCH, "1", ROWS)

    assert lake.reports.entries() == []


def test_a_damaged_file_is_named_with_what_to_do(lake: Lake) -> None:
    report = put(lake, 1)
    path = Path(lake.uri, report.path)
    path.write_bytes(path.read_bytes()[:-40])

    for read in (lake.reports.published, lambda: lake.reports.read(report)):
        with pytest.raises(LakeError, match=f"{report.path}.*remove it; what it says of published figures is lost"):
            read()


def test_a_file_of_somebody_else_is_named_with_what_to_do(lake: Lake) -> None:
    report = put(lake, 1)
    stranger = Path(lake.uri, "reports/other.parquet")
    pq.write_table(ROWS, stranger)

    with pytest.raises(LakeError, match=r"reports/other.parquet does not say which report it is.*remove it"):
        lake.reports.published()

    stranger.unlink()
    assert lake.reports.published() == [report]


def test_an_archive_without_reports_is_empty(any_lake: Lake) -> None:
    assert (list(any_lake.reports.entries()), list(any_lake.reports.published())) == ([], [])
    assert any_lake.reports.newest(MARCH) is None
