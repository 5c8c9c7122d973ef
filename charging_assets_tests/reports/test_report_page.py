import datetime as dt
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, sync_playwright
from written_reports import Thing, station, write_report

from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.page import MOST_ROWS, report_page
from charging_assets.reports.occupancy.plots import daily_plot, report_picture, week_plot
from charging_assets.reports.occupancy.provenance import SIMULATED, Source
from charging_assets.reports.occupancy.wording import NOTHING, energy, percent, title

FIRST = dt.date(2026, 11, 2)
LAST = dt.date(2026, 11, 29)
HOSTILE = """</title></style><script>alert(1)</script><img src=x onerror='alert("2")'>&amp; {{ 7 * 7 }}"""
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, and the text that people read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.text += data.replace("\u00a0", " ")
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data.replace("\u00a0", " ")

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def row(self, name: str) -> list[str]:
        """Of the last table."""
        (row,) = [row for row in self.tables[-1] if row[0].startswith(name)]
        return row


def november(*things: Thing, **like) -> Report:
    return write_report(things or [station(1), station(2, busy=0.1, full=0.3)], FIRST, LAST, **like)


def missing_a_week(date: dt.date) -> float:
    return 0.0 if 9 <= date.day < 16 else 1.0


def test_the_title_says_what_and_when() -> None:
    page = Page(report_page(november(city="Köln")))
    assert "Charging stations in Köln, 2 to 29 November 2026" in page.text
    assert page.having("html") == [{"lang": "en"}]
    city = write_report([Thing("Hof")], dt.date(2026, 10, 28), dt.date(2026, 11, 3), by="city", only="Hof")
    assert "Charging points in Hof, 28 October to 3 November 2026" in Page(report_page(city)).text


@pytest.mark.parametrize(
    ("by", "only", "expected"),
    [
        ("station", None, "Charging stations"),
        ("station", "7", "Charging station Rathaus, Köln"),
        ("city", None, "Charging points by city"),
        ("operator", "7", "Charging points of Rathaus"),
        ("power_class", None, "Charging points by power class"),
    ],
)
def test_each_kind_of_report_has_a_title_of_its_own(by, only, expected) -> None:
    assert title(november(station(7, name="Rathaus"), by=by, only=only)) == expected


def test_figures_stand_with_coverage_bias_and_band() -> None:
    page = Page(report_page(november(station(1, points=4, observed=0.9, busy=0.125))))
    for words in (
        "Points observed4of 4 known, at 1 station",
        "Utilization12.5 %3 h a day per point",
        "Coverage90.0 %of the points' time was observed",
        "Free on arrival95.4 %of polls found a free point, 4.6 % all occupied",
        "polls miss about 5 % (AC) and 9 % (DC)",
        "The points were polled every 10 minutes: polls see about 95 % of the events at AC and 91 % of those at DC.",
        "band 1,260 to 2,940 kWh; not metered",
        "Energy seen (estimate)2,100 kWh",
        "figures are of what was observed: 4 of the 4 points known",
    ):
        assert words in page.text, words


def test_rows_say_of_how_many_days_they_are_where_they_are_of_fewer() -> None:
    page = Page(report_page(november(station(1), station(2, days=1))))
    assert [page.row(f"Station {number}")[1:4] for number in (1, 2)] == [
        ["2 of 2", "28 of 28", "100.0 %"],
        ["2 of 2", "1 of 28", "100.0 %"],
    ]
    assert "Days observed" not in Page(report_page(november(station(1)))).text


def test_days_that_are_missing_are_said_beside_the_figures() -> None:
    page = Page(report_page(november(observed=missing_a_week)))
    assert "4 of the 4 points known, on 21 of 28 days" in page.text
    assert "of the points' time was observed, on 21 of 28 days" in page.text


def test_figures_of_one_thing_are_not_said_twice() -> None:
    one = Page(report_page(november(Thing("Hof"), by="city", only="Hof")))
    assert [table[0][0] for table in one.tables] == ["Where and whose figure", "Power class"]
    powers = [Thing(name, power_class=name) for name in ("AC 11-22", "DC 150+")]
    assert [table[0][0] for table in Page(report_page(november(*powers, by="power_class"))).tables][2:] == [
        *("Where and whose figure", "Power class")
    ]
    assert "R-0123456789ab · station 7 · figures" in Page(report_page(november(station(7), only="7"))).text


def test_energy_is_in_one_unit_from_the_top_of_a_table_to_its_end() -> None:
    page = Page(report_page(november(station(1, points=1), station(2, points=50))))
    assert [page.row(f"Station {number}")[-1] for number in (1, 2)] == ["420252 to 588", "37,80022,700 to 52,900"]
    assert page.tables[-1][0][-1] == "Energy, estimate(kWh), and its band"


def test_stations_often_out_of_order_are_not_ranked_by_how_often_they_are_full() -> None:
    page = Page(report_page(november(station(1), station(2), station(3, name="Broken", full=0.9, broken=0.2))))
    most_used, most_often_full = (table for table in page.tables if table[0][1].startswith("Most"))
    assert "Broken, Köln" in [row[0] for row in most_used]
    assert [row[0] for row in most_often_full[1:]] == ["Station 1, Köln", "Station 2, Köln"]


def test_hidden_figures_are_dashes_and_say_why() -> None:
    page = Page(report_page(november(station(1), station(2, name="Hidden", observed=0.5))))
    assert page.row("Hidden")[1:5] == ["2 of 2", "50.0 %", NOTHING, NOTHING]
    assert f"“{NOTHING}”: not shown, since less than 80 % was observed" in page.text
    assert "The utilization of 1 of 2 stations is not shown." in page.text
    assert page.tables[-1][-1][0].startswith("Hidden")  # last, though its name is not
    alone = Page(report_page(november(station(1, observed=0.5))))
    assert f"Utilization{NOTHING}not shown: less than 80 % was observed" in alone.text
    assert "Where and whose figure" not in alone.text  # nothing of its own to compare
    assert "When are the points used?" not in alone.text


def test_what_was_not_observed_is_hatched_from_top_to_bottom_and_never_drawn_as_nothing() -> None:
    report = november(observed=missing_a_week)
    bars = [
        (box.get("fill"), float(box.get("height", "")), box[0].text or "")
        for box in ElementTree.fromstring(f"<svg>{daily_plot(report).body}</svg>").iter("rect")
    ]
    assert len(bars) == 28
    missing = bars[7:14]
    assert {fill for fill, *_ in missing} == {"url(#hatch)"}
    assert {height for _, height, _ in missing} == {140.0}
    assert missing[0][2].replace("\u00a0", " ") == "9 November 2026: not polled"
    assert all(fill != "url(#hatch)" and 0 < height < 140 for fill, height, _ in bars[:7] + bars[14:])


def test_hours_not_observed_are_hatched() -> None:
    report = november(observed=lambda date: float(date.weekday() != 2))
    cells = list(ElementTree.fromstring(f"<svg>{week_plot(report).body}</svg>").iter("rect"))
    hatched = [cell[0].text or "" for cell in cells if cell.get("fill") == "url(#hatch)"]
    assert len(cells) == 168
    assert hatched == [f"Wednesday {hour}:00 to {hour + 1}:00: not observed well enough" for hour in range(24)]


def test_days_of_up_to_two_weeks_have_their_figures_in_the_plot() -> None:
    def figures(days: int) -> list[str]:
        report = write_report([station(1, busy=0.2)], FIRST, FIRST + dt.timedelta(days=days - 1))
        groups = ElementTree.fromstring(f"<svg>{daily_plot(report).body}</svg>").iter("g")
        return [group[0].text or "" for group in groups]

    assert figures(14) == ["20.0"] * 14
    assert figures(15) == []


def test_a_day_has_no_plot_of_days_and_no_rows_of_other_weekdays() -> None:
    report = write_report([station(1)], FIRST, FIRST)
    assert len(list(ElementTree.fromstring(f"<svg>{week_plot(report).body}</svg>").iter("rect"))) == 24
    page = Page(report_page(report))
    assert "Hour by hour" in page.text
    assert "Day by day" not in page.text


def test_legends_explain_only_what_is_there() -> None:
    friday = FIRST + dt.timedelta(days=4)
    working_week = Page(report_page(write_report([station(1)], FIRST, friday))).text
    assert "Monday to Friday" in working_week
    assert "weekend" not in working_week
    assert "observed: no figure" not in working_week
    gaps = Page(report_page(november(observed=lambda date: float(date.day != 9)))).text
    assert "weekend" in gaps
    assert "less than 80 % observed: no figure" in gaps


def test_a_bar_is_as_long_as_its_figure() -> None:
    report = november(station(1, busy=0.2), station(2, busy=0.05))
    page = Page(report_page(report))
    most_used = page.tables[0]
    assert [row[1] for row in most_used[1:]] == ["20.0 %", "5.0 %"]
    assert 'width="25.00%" height="12" fill="#2f97bf"' in report_page(report)


def test_many_rows_are_cut_to_the_most_used_and_it_is_said() -> None:
    things = [station(number, busy=0.001 * number) for number in range(1, 61)]
    page = Page(report_page(november(*things)))
    assert len(page.tables[-1]) == 1 + MOST_ROWS
    assert page.tables[-1][1][0].startswith("Station 60")
    assert "The 50 stations most used, in figures" in page.text
    assert "There are 60: the csv, xlsx and Parquet files of this report have all of them." in page.text


def test_power_classes_are_in_their_order_and_compared_with_published_figures() -> None:
    page = Page(report_page(november(station(1, power_class="DC 150+"), station(2, power_class="AC 11-22", busy=0.2))))
    powers = [row[0] for table in page.tables for row in table if row[0] in {"AC 11-22 kW", "DC 150+ kW"}]
    assert powers == ["AC 11-22 kW", "DC 150+ kW"]
    (published,) = [table for table in page.tables if table[0][0] == "Where and whose figure"]
    figures = dict(published[1:])
    assert figures["This report"] == "17.5 %"
    assert (figures["This report, AC points"], figures["This report, DC points"]) == ("20.0 %", "15.0 %")
    assert figures["Germany, second half of 2024 (BDEW)"] == "17.0 %"
    assert len(figures) == 9


def test_a_simulation_is_labelled_loudly() -> None:
    assert SIMULATED in Page(report_page(november(is_simulated=True))).text
    assert b"Simulated data" in report_picture(november(is_simulated=True))
    assert SIMULATED not in Page(report_page(november())).text


def test_each_printed_page_says_which_report_it_is_of() -> None:
    foot = "R-0123456789ab · 2 to 29\u00a0November 2026"
    assert f'@bottom-left {{ content: "{foot}";' in report_page(november())
    assert f'@bottom-left {{ content: "{foot} · SIMULATED";' in report_page(november(is_simulated=True))


def test_an_empty_report_is_a_page_that_says_so() -> None:
    empty = write_report([], FIRST, LAST, by="city", only="Hof", observed=lambda date: 0.0)
    page = Page(report_page(empty))
    assert "Charging points in Hof, 2 to 29 November 2026" in page.text
    assert "Nothing was observed in this period, so there are no figures." in page.text
    assert page.tables == []
    assert "Utilization" not in page.text
    assert "Days without any poll: 2 to 29 November 2026." in page.text
    ElementTree.fromstring(report_picture(empty))


def test_names_are_text_whatever_they_hold() -> None:
    sources = [Source(HOSTILE, HOSTILE, HOSTILE)]
    things = [station(1, name=HOSTILE, city=HOSTILE), station(2, name="\u202eevil", power_class=HOSTILE)]
    for report in (
        november(*things, sources=sources),
        november(*things, sources=sources, city=HOSTILE),
        november(Thing(HOSTILE, city=HOSTILE), by="city", only=HOSTILE, sources=sources),
        november(by="operator", only=HOSTILE, sources=sources),
    ):
        page = Page(report_page(report))
        assert not page.having("script")
        assert not page.having("img")
        assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert page.text.count("{{ 7 * 7 }}") >= 3
        ElementTree.fromstring(report_picture(report))


def test_the_page_asks_nobody_for_anything() -> None:
    html = report_page(november(observed=missing_a_week))
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base", "form", "use"}
    assert not [attributes for _, attributes in page.elements if {"src", "href", "srcset", "data"} & attributes.keys()]
    assert not re.search(r"@import|url\((?!#)", html)
    assert {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"} in (
        page.having("meta")
    )


def test_plots_and_tables_are_told_to_those_who_cannot_see_them() -> None:
    html = report_page(november(observed=lambda date: float(date.day != 9)))
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    drawings = page.having("svg")
    assert all(drawing.get("aria-hidden") or drawing.get("aria-labelledby") for drawing in drawings)
    labelled = [str(drawing["aria-labelledby"]).split() for drawing in drawings if "aria-labelledby" in drawing]
    assert len(labelled) == 2
    assert {name for names in labelled for name in names} <= set(ids)
    assert len(page.having("caption")) == len(page.tables)
    assert {attributes.get("scope") for attributes in page.having("th")} == {"row", "col"}
    assert "Days without a figure, since nobody polled or too little was observed: 1 of 28." in page.text


def test_the_same_report_gives_the_same_bytes() -> None:
    report, again = (november(observed=missing_a_week) for _ in range(2))
    assert report_page(report) == report_page(again)
    assert report_picture(report) == report_picture(again)


@pytest.mark.parametrize(
    ("kwh", "text"),
    [(0.0, "0 kWh"), (3.14159, "3.14 kWh"), (512.4, "512 kWh"), (9_996.0, "10,000 kWh"), (48_349.0, "48.3 MWh")],
)
def test_estimates_are_not_told_more_exactly_than_they_are(kwh: float, text: str) -> None:
    assert energy(kwh).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.0006, "0.1 %"), (0.9996, "> 99.9 %"), (1.0, "100.0 %"), (None, NOTHING)],
)
def test_a_little_is_not_told_as_nothing_nor_nearly_all_as_all(share: float | None, text: str) -> None:
    assert percent(share).replace("\u00a0", " ") == text


NULLABLE = [
    *("utilization", "utilization_available", "availability", "free_on_arrival", "full_share", "events_per_point_day"),
    *("duration_p50_s", "duration_p90_s", "overstay_share", "energy_kwh", "simultaneity", "open_utilization"),
]


@settings(max_examples=40)
@given(st.sets(st.sampled_from(NULLABLE)), st.integers(1, 40), st.sampled_from(["station", "city", "power_class"]))
def test_whatever_is_null_is_shown_as_a_dash(hidden, days, by) -> None:
    things = [station(1, power_class="DC 150+"), station(2, full=0.4, broken=0.3, busy=0.0), station(3, observed=0.4)]
    report = write_report(things, FIRST, FIRST + dt.timedelta(days=days - 1), by=by)
    rows = report.rows.to_pylist()
    bare = replace(
        report,
        rows=type(report.rows).from_pylist(
            [{**row, **(dict.fromkeys(hidden) if row["scope_id"] == "2" else {})} for row in rows], report.rows.schema
        ),
        total={**report.total, **dict.fromkeys(hidden)},
    )
    page = Page(report_page(bare))
    assert not re.search(r"\b(None|NaN|nan|inf)\b", page.text)
    ElementTree.fromstring(report_picture(bare))


def test_a_period_that_goes_on_is_said_to_be_preliminary_and_days_to_come_are_not_drawn() -> None:
    report = write_report([station(1)], FIRST, FIRST + dt.timedelta(days=3))
    report = replace(report, last=LAST)
    said = replace(report.provenance, last=LAST, is_preliminary=True, days_to_come=24)
    report = replace(report, provenance=said)

    page = Page(report_page(report))

    assert "PRELIMINARY: the period was not over when this was made" in page.text
    assert "4 days so far, midnight to midnight in Germany" in page.text
    assert daily_plot(report).body.count("<rect") == 4
    assert not daily_plot(report).is_hatched


def test_what_too_little_was_observed_for_is_not_said_to_be_without_events() -> None:
    page = Page(report_page(write_report([station(1)], FIRST, LAST, observed=lambda date: float(date.day % 2))))

    assert "no event was seen" not in page.text
    assert page.text.count("not shown: less than 80") >= 4


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=executable) as browser:
        yield browser


@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_shows_it_without_complaint_and_without_scrolling_sideways(
    chromium: Browser, tmp_path: Path, width: int
) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitänswitwenparkplatz"
    things = [station(number, name=f"{long} {number}", power_class="DC 150+") for number in range(40)]
    file = tmp_path / "report.html"
    file.write_text(report_page(november(*things, city=long, observed=missing_a_week, is_simulated=True)))
    page = chromium.new_page(viewport={"width": width, "height": 844})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg[role=img] rect").first.bounding_box() is not None
    assert requests == [file.as_uri()]
    assert told == []
    page.close()


def test_no_plot_is_cut_by_the_end_of_a_printed_page(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_page(november(*(station(number) for number in range(40)))))
    page = chromium.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    for name in (".plot", "figure", ".cards div"):
        kept = page.locator(name).evaluate_all(
            "all => all.every(one => { for (let e = one; e; e = e.parentElement)"
            " if (getComputedStyle(e).breakInside === 'avoid') return true; return false })"
        )
        assert kept, name
    assert page.locator(".wide").first.evaluate("one => getComputedStyle(one).overflowX") == "visible"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.close()
