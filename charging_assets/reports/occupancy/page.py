"""A report as one page of HTML that asks nobody for anything: no script, no font and no picture from elsewhere.

Belongs here: what the page says where; `page.html` is how it looks. Does not belong here: which statements the figures
allow (`findings`), what is drawn (`plots`), and how figures are worded (`wording`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.model.tables.occupancy import LEAST_COVERAGE
from charging_assets.reports.occupancy import wording
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.findings import OFTEN_FAULTY, findings, rows_seen, rows_to_be_full
from charging_assets.reports.occupancy.plots import (
    DEFINITIONS,
    WEEKDAY_COLOUR,
    WEEKEND_COLOUR,
    daily_plot,
    tells_weekends,
    week_plot,
)
from charging_assets.reports.occupancy.provenance import PRELIMINARY, SIMULATED
from charging_assets.reports.occupancy.wording import NOUNS, called, coverage, percent

MOST_ROWS = 50
"""In the table of all; csv, xlsx and Parquet have every one."""
_RANKED = 10

_PUBLISHED = (
    ("Germany, 2023 (BDEW)", 0.125),
    ("Germany, first half of 2024 (BDEW)", 0.145),
    ("Germany, second half of 2024 (BDEW)", 0.17),
    ("28,000 funded points: 2.3 hours a day (Nationale Leitstelle)", 0.096),
    ("AC points (Charging Radar)", 0.13),
    ("DC points (Charging Radar)", 0.07),
)
"""Utilization as others published it."""

Row = Mapping[str, Any]


class Card(NamedTuple):
    """A figure at a glance."""

    label: str
    figure: str
    note: str


class Bar(NamedTuple):
    """A figure beside others of its kind."""

    label: str
    share: float | None
    length: float
    """0 to 1, of the longest."""
    is_own: bool = False
    """Whether it is this report's, among others' figures."""


def report_page(report: Report) -> str:
    """The report as HTML, readable on a phone and printable on A4; the same report gives the same page."""
    import jinja2  # noqa: PLC0415 - the graph imports this module, and only pages need it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        coverage=coverage,
        percent=percent,
        number=wording.number,
        duration=wording.duration,
        kwh=wording.kwh,
        unbroken=wording.unbroken,
        power_class=wording.power_class,
        called=lambda row: called(row, report),
    )
    rows = sorted(report.rows.to_pylist(), key=lambda row: _descending(row["utilization"]))
    daily, week = daily_plot(report), week_plot(report)
    return environment.get_template("page.html").render(
        report=report,
        said=report.provenance,
        total=report.total,
        title=wording.title(report),
        about=_about(report),
        period=wording.period(report.first, report.last),
        nouns=NOUNS[report.by],
        preliminary=PRELIMINARY,
        simulated=SIMULATED,
        findings=findings(report),
        cards=[] if report.is_empty else _cards(report),
        tells_days=any(row["days_observed"] < report.provenance.days for row in rows),
        kinds_of_days=_kinds_of_days(report),
        definitions=DEFINITIONS,
        daily=None if daily.is_blank or report.provenance.days == 1 else daily,
        week=None if week.is_blank else week,
        rankings=_rankings(report),
        powers=sorted(report.by_power.to_pylist(), key=_power_order),
        rows=[] if report.by == "power_class" or len(rows) == 1 else rows[:MOST_ROWS],
        hidden=sum(row["utilization"] is None for row in rows),
        comparison=_comparison(report),
        missing={
            "unpolled": wording.days(report.provenance.unpolled_days),
            "unbuilt": wording.days(report.provenance.unbuilt_days),
            "unknown": wording.days(report.provenance.unknown_days),
        },
        least_coverage=percent(LEAST_COVERAGE, 0),
        often_faulty=percent(OFTEN_FAULTY, 0),
    )


def _about(report: Report) -> str:
    """Which report it is, and what its figures are of."""
    said = report.provenance
    if report.is_empty:
        return f"Report {said.report_id}"
    station = f" · station {report.only}" if report.by == "station" and report.only else ""
    return (
        f"Report {said.report_id}{station} · figures are of what was observed: {said.points_observed:,} of the "
        f"{wording.counted(said.points, 'point', 'points')} known{said.on_days}"
    )


def _cards(report: Report) -> list[Card]:
    total, said = report.total, report.provenance
    hidden = f"not shown: less than {percent(LEAST_COVERAGE, 0)} was observed"

    def card(label: str, figure: str, note: str) -> Card:
        return Card(label, figure, hidden if figure == wording.NOTHING else note)

    use, median, kwh = total["utilization"], total["duration_p50_s"], total["energy_kwh"]
    a_day = "" if use is None else f"{wording.duration(86_400 * use)} a day per point"
    open_use = total["open_utilization"]
    within = "" if open_use is None else f"; {percent(open_use)} in known opening hours"
    full = "" if total["full_share"] is None else f", {percent(total['full_share'])} all occupied"
    currents = "of AC and DC; " if len(_by_current(report)) > 1 else ""
    return [
        Card(
            "Points observed",
            wording.number(total["points_observed"]),
            f"of {total['points']:,} known, at {wording.counted(total['stations'], 'station', 'stations')}",
        ),
        card("Utilization", percent(use), f"{a_day}{within}"),
        Card(
            "Coverage",
            coverage(total["coverage"]),
            f"of the points' time was observed{said.on_days}"
            if total["coverage"] is not None
            else "nothing to observe",
        ),
        card("Free on arrival", percent(total["free_on_arrival"]), f"of polls found a free point{full}"),
        card(
            "Daily events per point",
            wording.number(total["events_per_point_day"], 2),
            f"{total['events']:,} seen; {wording.unbroken(said.events_missed)}",
        ),
        Card(
            "Median duration",
            wording.duration(median),
            f"{currents}nine of ten at most {wording.duration(total['duration_p90_s'])}"
            if median is not None
            else (hidden if use is None else "no event was seen from beginning to end"),
        ),
        card("Availability", percent(total["availability"]), "of the time observed the points were in order"),
        Card(
            "Energy seen (estimate)",
            wording.energy(kwh),
            "no event at a point of known power"
            if kwh is None
            else f"band {wording.energy_band(total['energy_kwh_low'], total['energy_kwh_high'])}; not metered",
        ),
    ]


def _kinds_of_days(report: Report) -> list[tuple[str, str]]:
    """Colours of the days in the plot, with what they mean."""
    weekdays = {row["query_date"].weekday() for row in report.daily.to_pylist()} if tells_weekends(report) else set()
    kinds = ((WEEKDAY_COLOUR, "Monday to Friday", range(5)), (WEEKEND_COLOUR, "weekend", range(5, 7)))
    return [(colour, kind) for colour, kind, of_it in kinds if weekdays.intersection(of_it)]


def _rankings(report: Report) -> list[tuple[str, list[Bar]]]:
    """The most used, and those that are full most often; nothing to rank: none."""
    found = []
    for heading, column, rows in (
        ("Most used", "utilization", rows_seen(report)),
        ("Most often full", "full_share", rows_to_be_full(report)),
    ):
        ranked = sorted((row for row in rows if row[column] is not None), key=lambda row: -row[column])
        bars = [(called(row, report), row[column]) for row in ranked[:_RANKED]]
        if len(bars) > 1 and bars[0][1]:
            found.append((heading, _bars(bars)))
    return found


def _comparison(report: Report) -> list[Bar]:
    """This report's utilization among published figures, with those of AC and DC points where it has both."""
    own = [("This report", report.total["utilization"])]
    by_current = _by_current(report)
    if len(by_current) > 1:
        own += [(f"This report, {name} points", _utilization(of_it)) for name, of_it in by_current.items()]
    mine = [(label, share) for label, share in own if share is not None]
    bars = _bars([*mine, *_PUBLISHED])
    return [bar._replace(is_own=index < len(mine)) for index, bar in enumerate(bars)] if mine else []


def _by_current(report: Report) -> Mapping[str, list[Row]]:
    """The power classes of AC and of DC, if there are any."""
    powers = report.by_power.to_pylist()
    found = {name: [row for row in powers if row["scope_id"].startswith(name)] for name in ("AC", "DC")}
    return {name: rows for name, rows in found.items() if rows}


def _bars(figures: Sequence[tuple[str, float]]) -> list[Bar]:
    longest = max(share for _, share in figures)
    return [Bar(label, share, share / longest) for label, share in figures]


def _utilization(rows: Sequence[Row]) -> float | None:
    """Of several rows together; None where too little was observed."""
    occupied, unknown = (sum(row[name] for row in rows) for name in ("occupied_s", "unknown_s"))
    observed = occupied + sum(row["free_s"] + row["fault_s"] for row in rows)
    return occupied / observed if observed and observed / (observed + unknown) >= LEAST_COVERAGE else None


def _descending(share: float | None) -> float:
    """What is hidden comes last."""
    return 1.0 if share is None else -share


def _power_order(row: Row) -> tuple[int, str]:
    name = row["scope_id"]
    return (POWER_CLASSES.index(name) if name in POWER_CLASSES else len(POWER_CLASSES)), name
