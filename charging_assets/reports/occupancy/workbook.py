"""Reports as an Excel workbook: an overview, the rows, days, the week, power classes, and notes on all of it.

Belongs here: sheets and their formats. Does not belong here: which figures there are (`content`, `figures`).
"""

import datetime as dt
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from charging_assets.model.tables.occupancy import LEAST_COVERAGE
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.figures import Figure, Kind, day_figures, row_figures, total_figures
from charging_assets.reports.occupancy.notes import LETTERS, days_of, headline, missing, origin
from charging_assets.reports.occupancy.provenance import PRELIMINARY, SIMULATED

if TYPE_CHECKING:
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

_ROWS = {"station": "Stations", "city": "Cities", "operator": "Operators", "power_class": "Power classes"}
"""What the sheet of the rows is called."""
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NUMBERS: dict[Kind, str] = {
    "text": "@",
    "date": "yyyy-mm-dd",
    "count": "#,##0",
    "share": "0.0%",
    "rate": "0.00",
    "hours": "#,##0.0",
    "minutes": "#,##0",
    "energy": "#,##0",
}
_CREATED = dt.datetime(1980, 1, 1)  # noqa: DTZ001 - xlsxwriter wants it so
"""A workbook says when it was made; equal reports give equal files."""
_DARK, _PALE, _BUSY, _GREY, _RED = "#12295f", "#fbf8e9", "#2f97bf", "#8a8a85", "#b3261e"
_SCALE_ENDS = {"min_type": "num", "min_value": 0, "max_type": "num", "max_value": 0.5}
"""The same in all workbooks, so that two can be laid side by side; half of the time is busy indeed."""
_A4 = 9
_NUMBER_WIDTH, _WIDEST = 12, 44
_PAGES_WIDE = 3
"""Of a printed sheet of rows: its thirty columns on one page would be too small to read."""

NOTHING = "Nothing is known of this period."


def to_xlsx(report: Report) -> bytes:
    """The whole report as a workbook; shares are shown as per cent, and what is hidden is empty."""
    import xlsxwriter  # noqa: PLC0415 - the graph imports this module, and only reports need it

    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"title": headline(report), "comments": report.provenance.report_id, "created": _CREATED})
        writer = _Writer(book, report)
        writer.overview()
        writer.figures(_ROWS[report.by], row_figures(report.by), report.rows)
        writer.figures("Days", _told(day_figures(), report.daily), report.daily)
        writer.week()
        if report.by != "power_class":
            writer.figures("By power", _told(row_figures("power_class"), report.by_power), report.by_power)
        writer.notes()
    return out.getvalue()


def _told(figures: Sequence[Figure], rows: pa.Table) -> list[Figure]:
    """Those that anything is told of, if anything is: of several feeds, or points, some cannot be."""
    if rows["utilization"].null_count == rows.num_rows:
        return list(figures)
    return [figure for figure in figures if rows[figure.name].null_count < rows.num_rows]


class _Writer:
    """Adds the sheets of a report to a workbook, one after the other."""

    def __init__(self, book: "Workbook", report: Report) -> None:
        self._book, self._report = book, report
        self._numbers = {kind: book.add_format({"num_format": text}) for kind, text in _NUMBERS.items()}
        self._head = book.add_format(
            {"bold": True, "font_color": "white", "bg_color": _DARK, "text_wrap": True, "valign": "top"}
        )
        self._title = book.add_format({"bold": True, "font_size": 16, "font_color": _DARK})
        self._warning = book.add_format({"bold": True, "font_color": _RED})
        self._label = book.add_format({"bold": True, "valign": "top"})
        self._wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self._unsure = book.add_format({"font_color": _GREY, "italic": True})
        self._scale = {"type": "2_color_scale", "min_color": _PALE, "max_color": _BUSY, **_SCALE_ENDS}

    def overview(self) -> None:
        """What it is of, how sure it is, and the figures of all points together, as far as they are shown."""
        sheet = self._sheet("Overview", (34, 16, 100))
        row = self._begin(sheet)
        said = self._report.provenance
        for label, text in (
            ("Period", days_of(said)),
            ("Report", said.report_id),
            ("Observed", said.observed),
            ("Days missing", missing(said)),
            ("Polled", f"{said.polled}: {said.events_seen}"),
        ):
            sheet.write_string(row, 0, label, self._label)
            sheet.merge_range(row, 1, row, 2, text, self._wrapped)
            sheet.set_row(row, 15 * (1 + len(text) // 115))
            row += 1
        row += 1
        self._headings(sheet, row, ("All together", "", "What it is"))
        total = pa.Table.from_pylist([dict(self._report.total)])
        for figure in total_figures():
            if self._report.total[figure.name] is None:
                continue
            row += 1
            sheet.write_string(row, 0, figure.title, self._label)
            self._cells(sheet, row, 1, figure.kind, _values(figure, total))
            sheet.write_string(row, 2, figure.doc, self._wrapped)

    def figures(self, name: str, figures: Sequence[Figure], rows: pa.Table) -> None:
        """A sheet of rows; busy ones are dark, and those of too little coverage grey."""
        columns = [_values(figure, rows) for figure in figures]
        widths = [_width(figure, values) for figure, values in zip(figures, columns, strict=True)]
        sheet = self._sheet(name, widths)
        self._headings(sheet, 0, [figure.title for figure in figures])
        sheet.set_row(0, 62)
        sheet.freeze_panes(1, 1)
        sheet.repeat_rows(0)
        sheet.repeat_columns(0)
        sheet.fit_to_pages(_PAGES_WIDE, 0)
        sheet.hide_gridlines(0)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        last = rows.num_rows
        if not last:
            sheet.write_string(1, 0, NOTHING)
            return
        sheet.autofilter(0, 0, last, len(figures) - 1)
        for column, (figure, values) in enumerate(zip(figures, columns, strict=True)):
            self._cells(sheet, 1, column, figure.kind, values)
        names = [figure.name for figure in figures]
        busy = names.index("utilization")
        sheet.conditional_format(1, busy, last, busy, self._scale)
        unsure = f"=${_letter(names.index('coverage'))}2<{LEAST_COVERAGE}"
        grey = {"type": "formula", "criteria": unsure, "format": self._unsure}
        sheet.conditional_format(1, 0, last, len(figures) - 1, grey)

    def week(self) -> None:
        """The utilization of the hours of the week, as a grid."""
        sheet = self._sheet("Week", (8, *[7] * 24))
        sheet.write_string(0, 0, "Utilization by weekday and local hour; empty: too little was observed", self._label)
        self._headings(sheet, 2, ("", *(f"{hour}-{hour + 1} h" for hour in range(24))))
        for number, weekday in enumerate(_WEEKDAYS):
            sheet.write_string(3 + number, 0, weekday, self._label)
        for hour in self._report.profile.select(["weekday", "hour_local", "utilization"]).to_pylist():
            if hour["utilization"] is not None:
                place = (2 + hour["weekday"], 1 + hour["hour_local"])
                sheet.write_number(*place, hour["utilization"], self._numbers["share"])
        sheet.conditional_format(3, 1, 9, 24, self._scale)
        sheet.freeze_panes(3, 1)

    def notes(self) -> None:
        """Where the figures are from, and what each column means."""
        sheet = self._sheet("Notes", (34, 120))
        row = self._begin(sheet)
        explained = {figure.title: figure.doc for figure in (*row_figures(self._report.by), *day_figures())}
        for heading, lines in (
            ("Where the figures are from", origin(self._report.provenance)),
            ("What the columns mean", [*explained.items(), LETTERS]),
        ):
            self._headings(sheet, row, (heading, ""))
            for label, text in lines:
                row += 1
                sheet.write_string(row, 0, label, self._label)
                sheet.write_string(row, 1, text, self._wrapped)
            row += 2

    def _sheet(self, name: str, widths: Sequence[float]) -> "Worksheet":
        """A new sheet, ready to be printed."""
        sheet = self._book.add_worksheet(name)
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        sheet.set_landscape()
        sheet.set_paper(_A4)
        sheet.fit_to_pages(1, 0)
        said = self._report.provenance
        sheet.set_footer(f"&L{said.report_id}{' SIMULATED' if said.is_simulated else ''}&C&A&R&P / &N")
        return sheet

    def _begin(self, sheet: "Worksheet") -> int:
        """Title and warnings; returns the row below."""
        said = self._report.provenance
        warnings = [SIMULATED] * said.is_simulated + [PRELIMINARY] * said.is_preliminary + [said.outdated]
        warnings = [warning for warning in warnings if warning]
        sheet.write_string(0, 0, headline(self._report), self._title)
        for row, warning in enumerate(warnings, 1):
            sheet.write_string(row, 0, warning, self._warning)
        return 2 + len(warnings)

    def _headings(self, sheet: "Worksheet", row: int, texts: Sequence[str]) -> None:
        for column, text in enumerate(texts):
            sheet.write_string(row, column, text, self._head)

    def _cells(self, sheet: "Worksheet", row: int, column: int, kind: Kind, values: Sequence[Any]) -> None:
        """Values one below the other; None leaves its cell empty."""
        write = {"text": sheet.write_string, "date": sheet.write_datetime}.get(kind, sheet.write_number)
        for number, value in enumerate(values):
            if value is not None:
                write(row + number, column, value, self._numbers[kind])


def _values(figure: Figure, rows: pa.Table) -> list[Any]:
    """As a workbook has them: shares are 0 to 1, and their format makes them per cent."""
    values: list[Any] = rows[figure.name].to_pylist() if figure.kind == "share" else figure.of(rows)
    return values


def _width(figure: Figure, values: Sequence[Any]) -> float:
    if figure.kind != "text":
        return _NUMBER_WIDTH
    return min(_WIDEST, max([_NUMBER_WIDTH, *(len(value or "") + 2 for value in values)]))


def _letter(column: int) -> str:
    """What a spreadsheet calls a column, of the first 26."""
    return chr(ord("A") + column)
