"""Reports as csv, xlsx and Parquet: opened by what people open them with."""

import csv
import datetime as dt
import io
import json
import re
from typing import Any

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.exports import PROVENANCE, to_csv, to_parquet
from charging_assets.reports.occupancy.notes import notes
from charging_assets.reports.occupancy.provenance import SIMULATED
from charging_assets.reports.occupancy.workbook import NOTHING, to_xlsx
from charging_assets_tests.reports.written_reports import Thing, station, write_report

FIRST, LAST = dt.date(2026, 3, 2), dt.date(2026, 3, 15)
OUTAGE = (dt.date(2026, 3, 4), dt.date(2026, 3, 5))


def stations(*things: Thing, **facts: Any) -> Report:
    """Two weeks of stations in Köln: of those given, or of a busy one and one that was hardly observed."""
    things = things or (station(493558, name="Süß & Söhne", busy=0.25), station(7, name="Am Markt", observed=0.5))
    return write_report(things, FIRST, LAST, city="Köln", **facts)


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";"))


def book_of(report: Report) -> Any:
    return openpyxl.load_workbook(io.BytesIO(to_xlsx(report)))


def texts_of(sheet: Any) -> list[str]:
    return [str(cell) for row in sheet.iter_rows(values_only=True) for cell in row if cell is not None]


# -- csv -------------------------------------------------------------------------------------------------------------


def test_a_german_excel_gets_what_it_takes_for_numbers() -> None:
    content = to_csv(stations(), decimal="comma")

    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\r\n") == content.count(b"\n") == 3
    markt, soehne = rows_of(content)
    assert (soehne["Station"], soehne["Station number"]) == ("Süß & Söhne", "493558")
    assert (soehne["Utilization (%)"], soehne["Coverage (%)"]) == ("25,00", "100,00")
    assert soehne["Occupied (point-hours)"] == "168,0"
    assert markt["Coverage (%)"] == "50,00"


@pytest.mark.parametrize(("decimal", "mark"), [("point", "."), ("comma", ",")])
def test_pandas_reads_numbers_as_numbers(decimal: Any, mark: str) -> None:
    read = pd.read_csv(io.BytesIO(to_csv(stations(), decimal)), sep=";", decimal=mark)

    assert read["Utilization (%)"].dtype == float
    assert read["Occupied (point-hours)"].tolist() == [50.4, 168.0]
    assert read["Charging points"].tolist() == [2, 2]


def test_what_is_hidden_is_empty_in_a_csv_and_neither_0_nor_nan() -> None:
    markt = rows_of(to_csv(stations()))[0]

    hidden = ("Utilization (%)", "Availability (%)", "Free on arrival (% of polls)", "Events per point and day")
    assert [markt[name] for name in hidden] == ["", "", "", ""]
    assert markt["Out of order (point-hours)"] == "0.0"
    assert "nan" not in to_csv(stations()).decode().lower()


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "\uff1d1+1",
        "+49 221",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =cmd|' /C calc'!A0",
        '=HYPERLINK("http://x";"y")',
    ],
)
def test_no_name_is_a_formula_to_a_spreadsheet(name: str) -> None:
    report = stations(station(1, name=name), station(2, name="Harmless; really"))

    names = {row["Station number"]: row["Station"] for row in rows_of(to_csv(report))}

    assert names == {"1": f"'{name}", "2": "Harmless; really"}
    sheet = book_of(report)["Stations"]
    assert {row[1].value: row[0].data_type for row in sheet.iter_rows(min_row=2)} == {"1": "s", "2": "s"}


def test_negative_numbers_stay_numbers_in_a_csv() -> None:
    report = write_report([Thing("Köln", busy=0.1)], FIRST, LAST, by="city")

    assert all(not value.startswith("'") for value in rows_of(to_csv(report))[0].values())


def test_every_row_of_a_csv_says_where_it_is_from() -> None:
    report = stations()

    for row in rows_of(to_csv(report)):
        assert {name: row[name] for name in ("Report", "From", "To", "Polled", "Method", "Code")} == {
            "Report": report.provenance.report_id,
            "From": "2026-03-02",
            "To": "2026-03-15",
            "Polled": "every 10 minutes",
            "Method": "1",
            "Code": "0.1.0",
        }
        assert row["Source"] == "chargecloud. Licence: none stated. Attribution: chargecloud and its operators."


def test_the_notes_beside_a_csv_explain_its_origin_and_each_of_its_columns() -> None:
    report = stations(observed=lambda date: float(date not in OUTAGE))

    text = notes(report)

    assert text.startswith("Charging stations in Köln, 2 to 15\N{NO-BREAK SPACE}March 2026\n")
    assert f"Report: {report.provenance.report_id}" in text
    assert "Days missing: nobody polled on 2 of 14 days: 4 to 5\N{NO-BREAK SPACE}March 2026" in text
    assert "Source: chargecloud. Licence: none stated." in text
    for heading in rows_of(to_csv(report))[0]:
        if heading not in {"Report", "From", "To", "Polled", "Method", "Code", "Source"}:
            assert f"\n{heading}: " in text


@pytest.mark.parametrize(
    ("intervals_s", "expected"),
    [
        ([60], "every 1 minute: polls see about 99.5 % of the events at AC and 99.6 % of those at DC"),
        ([60, 300], "every 1 to 5 minutes: polls see about 96 % of the events at AC and 94 % of those at DC"),
        ([450], "every 7.5 minutes: polls see at least 95 % of the events at AC and 91 % of those at DC"),
        ([600, 1800], "every 10 to 30 minutes: polls see less than 95 % of the events at AC and 91 % of those at DC"),
        ([], "at unknown intervals: polls see fewer charging events than there are"),
    ],
)
def test_the_bias_of_events_is_that_of_the_longest_distance_of_polls(intervals_s: list[int], expected: str) -> None:
    report = stations(intervals_s=intervals_s)

    assert f"\nPolled: {expected}\n" in notes(report)
    assert expected in texts_of(book_of(report)["Overview"])
    assert json.loads(pq.read_schema(io.BytesIO(to_parquet(report))).metadata[PROVENANCE])["intervals_s"] == intervals_s


def test_rows_say_of_how_many_days_they_are() -> None:
    report = stations(station(1, days=3), station(2), observed=lambda date: float(date not in OUTAGE))

    told = {row["Station number"]: (row["Days known"], row["Days observed"]) for row in rows_of(to_csv(report))}
    assert told == {"1": ("3", "3"), "2": ("14", "12")}


def test_notes_speak_of_the_period_and_of_columns_by_their_headings() -> None:
    text = notes(stations())

    assert "Charging points: Charging points known in the period; of several days, the most of a day." in text
    assert (
        "Simultaneity (%): “Most occupied at once (points)” / “Of these observed”. Empty below 80 % coverage." in text
    )
    assert not re.search(r"`|\b[a-z]+_[a-z]+\b|\bnull\b", text.partition("\nColumns\n")[2], re.IGNORECASE)


def test_a_day_is_one_day() -> None:
    report = write_report([station(1)], FIRST, FIRST)

    assert "\nPeriod: 2026-03-02 to 2026-03-02, 1 day, midnight to midnight in Germany\n" in notes(report)


# -- xlsx ------------------------------------------------------------------------------------------------------------


def test_a_workbook_has_the_figures_as_numbers_in_formatted_sheets() -> None:
    book = book_of(stations())

    assert book.sheetnames == ["Overview", "Stations", "Days", "Week", "By power", "Notes"]
    sheet = book["Stations"]
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(1, sheet.max_column).column_letter}3"
    head = {cell.value: cell.column for cell in sheet[1]}
    markt, soehne = (sheet[row] for row in (2, 3))
    assert soehne[0].value == "Süß & Söhne"
    utilization = soehne[head["Utilization"] - 1]
    assert (utilization.value, utilization.number_format) == (pytest.approx(0.25), "0.0%")
    assert soehne[head["Charging points"] - 1].value == 2
    assert soehne[head["Duration, median (min)"] - 1].value == 117
    assert markt[head["Utilization"] - 1].value is None


def test_a_printed_workbook_can_be_read() -> None:
    book = book_of(stations())

    for name in ("Stations", "Days", "By power"):
        sheet = book[name]
        assert (sheet.print_title_rows, sheet.print_title_cols) == ("$1:$1", "$A:$A")
        assert (sheet.page_setup.orientation, sheet.page_setup.paperSize) == ("landscape", 9)
        assert (int(sheet.page_setup.fitToWidth), int(sheet.page_setup.fitToHeight)) == (3, 0)
        assert sheet.print_options.gridLines


def test_a_workbook_greys_what_was_observed_too_little_and_shades_by_utilization() -> None:
    sheet = book_of(stations())["Stations"]
    coverage, utilization = (
        next(cell.column_letter for cell in sheet[1] if cell.value == name) for name in ("Coverage", "Utilization")
    )

    rules = {str(each.sqref): [rule.type for rule in each.rules] for each in sheet.conditional_formatting}
    formulas = [f for each in sheet.conditional_formatting for rule in each.rules for f in rule.formula]

    assert rules[f"{utilization}2:{utilization}3"] == ["colorScale"]
    assert formulas == [f"${coverage}2<0.8"]


def test_a_workbook_has_days_as_dates_and_the_week_as_a_grid() -> None:
    book = book_of(stations(station(1), by_hour=lambda weekday, hour: 2.0 if (weekday, hour) == (3, 17) else 1.0))

    days = [row[0] for row in book["Days"].iter_rows(min_row=2, values_only=True)]
    assert days == [dt.datetime.combine(FIRST, dt.time()) + dt.timedelta(days=number) for number in range(14)]
    week = book["Week"]
    assert [week.cell(4 + number, 1).value for number in (0, 6)] == ["Mon", "Sun"]
    assert week.cell(3, 2 + 17).value == "17-18 h"
    grid = {(row, column): week.cell(row, column).value for row in range(4, 11) for column in range(2, 26)}
    busiest = max(value for value in grid.values() if value is not None)
    assert [place for place, value in grid.items() if value == busiest] == [(4 + 2, 2 + 17)]


def test_the_overview_says_all_together_and_how_sure_it_is() -> None:
    report = stations()
    sheet = book_of(report)["Overview"]

    figures = {row[0].value: row[1].value for row in sheet.iter_rows()}
    assert figures["Report"] == report.provenance.report_id
    assert figures["Observed"].startswith("4 of the 4 points known were observed, 75.0 % of their time")
    assert figures["Charging points"] == 4
    assert figures["Coverage"] == pytest.approx(0.75)
    assert "Utilization" not in figures


def test_the_notes_of_a_workbook_have_origin_and_definitions() -> None:
    report = stations()
    texts = texts_of(book_of(report)["Notes"])

    for label in ("Report", "Period", "Observed", "Days missing", "Polled", "Method", "Code", "Source"):
        assert label in texts
    assert "chargecloud. Licence: none stated. Attribution: chargecloud and its operators." in texts
    assert "Time occupied of the time observed, B / O. Empty below 80 % coverage." in texts
    assert any("91 % of those at DC" in text for text in texts)


def test_by_power_class_a_workbook_has_them_once() -> None:
    classes = [Thing("AC 11-22", power_class="AC 11-22"), Thing("DC 50-150", power_class="DC 50-150")]

    assert book_of(write_report(classes, FIRST, LAST, by="power_class")).sheetnames == [
        *("Overview", "Power classes", "Days", "Week", "Notes")
    ]


# -- Parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_has_the_rows_and_where_they_are_from() -> None:
    report = stations(observed=lambda date: float(date not in OUTAGE))

    table = pq.read_table(io.BytesIO(to_parquet(report)))

    assert table.equals(report.rows)
    said = json.loads(table.schema.metadata[PROVENANCE])
    assert said["title"].startswith("Charging stations in Köln")
    assert (said["report_id"], said["method_version"]) == (report.provenance.report_id, "1")
    assert (said["first"], said["last"], said["unpolled_days"]) == ("2026-03-02", "2026-03-15", [*map(str, OUTAGE)])
    assert said["sources"][0]["licence"] == "none stated"
    assert said["coverage"] == pytest.approx(0.75 * 12 / 14)
    assert table.schema.field("occupied_s").metadata == {b"doc": b"Point-seconds occupied, B.", b"unit": b"s"}


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [to_csv, to_xlsx, to_parquet])
def test_the_same_report_gives_the_same_bytes(export: Any) -> None:
    assert export(stations()) == export(stations())


def test_a_simulated_report_says_so_in_every_format() -> None:
    report = stations(is_simulated=True)
    book = book_of(report)

    assert SIMULATED in notes(report)
    assert SIMULATED in texts_of(book["Overview"])
    assert SIMULATED in texts_of(book["Notes"])
    assert all("SIMULATED" in sheet.oddFooter.left.text for sheet in book)
    assert json.loads(pq.read_schema(io.BytesIO(to_parquet(report))).metadata[PROVENANCE])["warning"] == SIMULATED


def test_an_empty_report_is_a_report() -> None:
    report = write_report([], FIRST, LAST, by="city")
    book = book_of(report)

    assert rows_of(to_csv(report)) == []
    assert to_csv(report).startswith("\ufeffCity;Stations;Charging points;".encode())
    assert book["Cities"]["A2"].value == NOTHING
    assert "nothing is known of this period: no figure is shown" in texts_of(book["Overview"])
    assert pq.read_table(io.BytesIO(to_parquet(report))).num_rows == 0
    assert "nothing is known of this period" in notes(report)
