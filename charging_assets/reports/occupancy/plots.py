"""The plots of a report as SVG: utilization day by day, and by weekday and hour.

Belongs here: what is drawn where. Does not belong here: the page around the plots. Within a plot all that lies along
time is placed in percent of its width, so that it fits a phone and a sheet of paper with letters of the same size.
What was not observed is hatched, and never drawn as 0.
"""

import datetime as dt
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from charging_assets.model.tables.occupancy import LEAST_COVERAGE
from charging_assets.reports.heatmap import COLOURS, DARK, FONT, HATCH, shade
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.wording import MONTHS, WEEKDAYS, coverage, day, percent, period, title

WEEKDAY_COLOUR, WEEKEND_COLOUR = "#22589f", "#2f97bf"
DEFINITIONS = (
    f'{HATCH}<defs><linearGradient id="scale">'
    + "".join(f'<stop offset="{place / (len(COLOURS) - 1):g}" stop-color="{c}"/>' for place, c in enumerate(COLOURS))
    + "</linearGradient></defs>"
)
"""Of the fills ``url(#hatch)`` and ``url(#scale)``, which plots use: once in a document."""

_INK, _GREY, _LINE = "#1c1c1a", "#5b5b56", "#dcdcd6"
_BARS, _CELL, _LABELS = 140, 25, 30
"""Pixels: height of the tallest bar, of a row of the week, and of the labels below."""
_MOST_LABELS = 7
"""Below the days: there is room for so many on a phone."""
_MOST_DAYS = 14
"""Of which any may be labelled, and each bar has its figure; of more, Mondays are labelled."""
_MOST_COLOURED = 100
"""Days."""
_LEAST_LABELLED = 20
"""Pixels: a bar that is lower has its figure above it."""
_STEP = 0.05
"""Scales end at multiples of it."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing without a frame of its own: `body` wants a viewport of `height` pixels and of any width."""

    body: str
    height: int
    text: str
    """What it shows, for those who cannot see it."""
    top: float
    """Utilization at the end of its scale."""
    is_blank: bool
    """Whether it has no figure at all."""
    is_hatched: bool
    """Whether a figure is missing."""


def daily_plot(report: Report) -> Plot:
    """A bar for each day of the period; days without a figure are hatched from top to bottom."""
    rows = {row["query_date"]: row for row in report.daily.to_pylist()}
    dates = _dates(report.first, report.provenance.until)
    shares = [rows[date]["utilization"] if date in rows else None for date in dates]
    shown = [share for share in shares if share is not None]
    top = _top(shown)
    width = 100 / len(dates)
    gap = width * (0.15 if tells_weekends(report) else 0)
    parts = []
    for tick in _ticks(top):
        y = _BARS * (1 - tick / top)
        parts += [_line(y, _LINE), _text("-8", y + 4, percent(tick, 0), "end")]
    for index, date in enumerate(dates):
        share = shares[index]
        height = _BARS if share is None else _BARS * share / top
        is_light = date.weekday() >= 5 and tells_weekends(report)
        colour = "url(#hatch)" if share is None else WEEKEND_COLOUR if is_light else WEEKDAY_COLOUR
        told = f"{day(date)}: {_why_not(report, date, rows.get(date)) if share is None else percent(share)}"
        x = index * width + gap / 2
        parts.append(_box(x, _BARS - height, width - gap, height, colour, told))
        if share is not None and len(dates) <= _MOST_DAYS:
            is_low = height < _LEAST_LABELLED
            ink = _INK if is_low or is_light else "#ffffff"
            place = f"{(index + 0.5) * width:.3f}%", _BARS - (height + 6 if is_low else 8)
            parts.append(f'<g class="figure">{_text(*place, f"{100 * share:.1f}", "middle", ink)}</g>')
    mean = report.total["utilization"]
    if mean is not None and len(dates) > 1:
        parts.append(_line(_BARS * (1 - mean / top), _INK, 'stroke-dasharray="6 4"'))
    for index, text in _labels(dates):
        parts.append(_text(f"{(index + 0.5) * width:.3f}%", _BARS + 20, text, "middle"))
    seen = f"between {percent(min(shown))} and {percent(max(shown))}" if shown else "not known on any day"
    text = (
        f"Utilization per day, {period(report.first, report.last)}: {seen}. Days without a figure, since nobody "
        f"polled or too little was observed: {len(dates) - len(shown)} of {len(dates)}."
    )
    return Plot("".join(parts), _BARS + _LABELS, text, top, not shown, len(shown) < len(dates))


def tells_weekends(report: Report) -> bool:
    """Whether weekends have a colour of their own; of hundreds of days that would be a flicker."""
    return report.provenance.days <= _MOST_COLOURED


def week_plot(report: Report) -> Plot:
    """A cell for each hour of the period's weekdays with its utilization in percent, hatched where there is none."""
    rows = {(row["weekday"], row["hour_local"]): row for row in report.profile.to_pylist()}
    shown = {at: row["utilization"] for at, row in rows.items() if row["utilization"] is not None}
    weekdays = sorted({date.isoweekday() for date in _dates(report.first, report.provenance.until)})
    top, width = _top(list(shown.values())), 100 / 24
    parts = []
    for place, weekday in enumerate(weekdays):
        y, name = place * _CELL, WEEKDAYS[weekday - 1]
        parts.append(_text("-8", y + _CELL / 2 + 4, name[:3], "end"))
        for hour in range(24):
            share = shown.get((weekday, hour))
            colour = "url(#hatch)" if share is None else shade(share / top)
            told = "not observed well enough" if share is None else f"{percent(share)} occupied"
            parts.append(
                _box(hour * width, y, width, _CELL, colour, f"{name} {hour}:00 to {hour + 1}:00: {told}", "#ffffff")
            )
            if share is not None:
                ink = "#ffffff" if share / top > DARK else _INK
                figure = _text(f"{(hour + 0.5) * width:.3f}%", y + _CELL / 2 + 4, f"{100 * share:.0f}", "middle", ink)
                parts.append(f'<g class="figure">{figure}</g>')
    height = len(weekdays) * _CELL
    parts += [_text(f"{hour * width:.3f}%", height + 20, f"{hour}:00", "middle") for hour in range(0, 25, 6)]
    text = "Utilization by weekday and local hour: " + (
        f"most on {_when(max(shown, key=shown.__getitem__))} ({percent(max(shown.values()))}), "
        f"least on {_when(min(shown, key=shown.__getitem__))} ({percent(min(shown.values()))})."
        if shown
        else "no hour was observed well enough."
    )
    return Plot("".join(parts), height + _LABELS, text, top, not shown, len(shown) < 24 * len(weekdays))


def report_picture(report: Report) -> bytes:
    """Both plots as one SVG file 900 pixels wide, for where there is no page around them. Always the same bytes."""
    width, left, inner = 900, 70, 800
    daily, week = daily_plot(report), week_plot(report)
    simulated = "Simulated data · " if report.provenance.is_simulated else ""
    points = f"{report.total['points_observed']:,} of {report.total['points']:,} points observed"
    place = 96
    frames = []
    for plot, heading in (
        (daily, "Day by day" + (" (light: weekends)" if tells_weekends(report) else "")),
        (week, "By weekday and local hour, in percent"),
    ):
        frames.append(_text(f"{left}", place, heading, "start", _INK))
        frames.append(
            f'<svg x="{left}" y="{place + 14}" width="{inner}" height="{plot.height}" overflow="visible">'
            f"{plot.body}</svg>"
        )
        place += plot.height + 54
    note = f"Hatched: less than {percent(LEAST_COVERAGE, 0)} observed, no figure · report {report.provenance.report_id}"
    height = place + 4
    head = _printable(f"{title(report)}, {period(report.first, report.last)}")
    frame = f'width="{width}" height="{height}"'
    fonts = f'font-family="{FONT}" font-size="13"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame} viewBox="0 0 {width} {height}" {fonts}>',
        f"<title>{escape(head)}</title>",
        f"<desc>{escape(f'{daily.text} {week.text}')}</desc>",
        DEFINITIONS,
        f'<rect {frame} rx="8" fill="#ffffff"/>',
        f'<text x="30" y="40" font-size="21" font-weight="600" fill="{_INK}">{escape(head)}</text>',
        _text("30", 64, f"{simulated}Share of time occupied, of what was observed · {points}", "start"),
        *frames,
        _text(f"{left}", height - 16, _printable(note), "start"),
        "</svg>\n",
    ]
    return "\n".join(lines).encode()


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def _labels(dates: Sequence[dt.date]) -> list[tuple[int, str]]:
    """Which days have a label: all, or Mondays, or the first of months, thinned out to what there is room for."""
    is_long = len(dates) > 7 * _MOST_LABELS
    if is_long:
        places = [index for index, date in enumerate(dates) if date.day == 1]
    elif len(dates) > _MOST_DAYS:
        places = [index for index, date in enumerate(dates) if date.weekday() == 0]
    else:
        places = list(range(len(dates)))
    step = max(1, math.ceil(len(places) / _MOST_LABELS))
    return [(place, _label(dates[place], is_long=is_long)) for place in places[::step]]


def _label(date: dt.date, *, is_long: bool) -> str:
    month = MONTHS[date.month - 1][:3]
    return f"{month} {date.year}" if is_long else f"{date.day} {month}"


def _why_not(report: Report, date: dt.date, row: dict[str, Any] | None) -> str:
    if date in report.provenance.unpolled_days:
        return "not polled"
    if date in report.provenance.unbuilt_days:
        return "figures not made yet"
    if date in report.provenance.unknown_days:
        return "nothing known"
    if row is None or row["coverage"] is None:
        return "nothing observed"
    return f"no figure, only {coverage(row['coverage'])} observed"


def _when(at: tuple[int, int]) -> str:
    weekday, hour = at
    return f"{WEEKDAYS[weekday - 1]} from {hour}:00 to {hour + 1}:00"


def _top(shares: Sequence[float]) -> float:
    """Where a scale ends."""
    return _STEP * max(1, math.ceil(max(shares, default=0.0) / _STEP - 1e-9))


def _ticks(top: float) -> list[float]:
    """Of a scale: four steps at the most, from 0 on."""
    steps = round(top / _STEP)
    return [_STEP * step for step in range(0, steps + 1, math.ceil(steps / 4))]


def _printable(text: str) -> str:
    """XML has no place for control characters."""
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cc")


def _box(x: float, y: float, width: float, height: float, colour: str, told: str, edge: str = "none") -> str:
    """`x` and `width` in percent."""
    return (
        f'<rect x="{x:.3f}%" y="{y:.2f}" width="{width:.3f}%" height="{height:.2f}" fill="{colour}" stroke="{edge}" '
        f'stroke-width="2"><title>{escape(told)}</title></rect>'
    )


def _line(y: float, colour: str, style: str = "") -> str:
    return f'<line x1="0" x2="100%" y1="{y:.2f}" y2="{y:.2f}" stroke="{colour}" {style}/>'


def _text(x: str, y: float, text: str, anchor: str, colour: str = _GREY) -> str:
    return f'<text x="{x}" y="{y:.2f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
