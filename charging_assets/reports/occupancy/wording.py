"""How a report's figures and names are worded, the same in its sentences, plots and tables.

Belongs here: a figure as text. Does not belong here: which figures are told. What is null is `NOTHING`; between a
figure and its unit stands a blank that does not break.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.provenance import to_be_shown

NOTHING = "\u2013"

NOUNS = {
    "station": ("station", "stations"),
    "city": ("city", "cities"),
    "operator": ("operator", "operators"),
    "power_class": ("power class", "power classes"),
}
"""One and several of what a report has a row of."""

_BLANK = "\u00a0"
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 in percent: ``14.3 %``. What is nearly nothing, or nearly all, is not told as such: ``> 99.9 %``."""
    if share is None:
        return NOTHING
    shown, least = f"{100 * share:.{digits}f}", 10**-digits
    if share > 0 and not float(shown):
        shown = f"<{_BLANK}{least:.{digits}f}"
    elif share < 1 and float(shown) == 100:
        shown = f">{_BLANK}{100 - least:.{digits}f}"
    return f"{shown}{_BLANK}%"


def coverage(share: float | None) -> str:
    """A share that was observed, in percent: what is too little for figures is not rounded up to what is enough."""
    return percent(None if share is None else to_be_shown(share))


def unbroken(text: str) -> str:
    """With no line ending between a figure and its per cent."""
    return text.replace(" %", f"{_BLANK}%")


def number(value: float | None, digits: int = 0) -> str:
    """With commas between thousands: ``1,234.50``."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def counted(count: int, one: str, several: str) -> str:
    """``1 point``, ``1,234 points``."""
    return f"{count:,}{_BLANK}{one if count == 1 else several}"


def duration(seconds: float | None) -> str:
    """To the minute: ``47 min``, ``3 h 5 min``."""
    if seconds is None:
        return NOTHING
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours:,}{_BLANK}h"] if hours else []
    parts += [f"{minutes}{_BLANK}min"] if minutes or not hours else []
    return _BLANK.join(parts)


def energy(kwh: float | None) -> str:
    """An estimate to three digits at most: ``512 kWh``, ``48.3 MWh``."""
    if kwh is None:
        return NOTHING
    unit, factor = _energy_unit(kwh)
    return f"{_three_digits(kwh / factor)}{_BLANK}{unit}"


def energy_band(low: float, high: float) -> str:
    """Both ends of an estimate in one unit: ``301 to 702 kWh``."""
    unit, factor = _energy_unit(high)
    return f"{_three_digits(low / factor)} to {_three_digits(high / factor)}{_BLANK}{unit}"


def kwh(value: float | None) -> str:
    """The same always in kWh, and without it: for columns, of which each is read from top to bottom."""
    return NOTHING if value is None else _three_digits(value)


def _energy_unit(kwh: float) -> tuple[str, float]:
    return ("kWh", 1.0) if kwh < 10_000 else ("MWh", 1e3) if kwh < 10_000_000 else ("GWh", 1e6)


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{0 if rounded >= 100 or not rounded else 1 if rounded >= 10 else 2}f}"


def day(date: dt.date) -> str:
    """``5 November 2026``."""
    return f"{date.day}{_BLANK}{MONTHS[date.month - 1]} {date.year}"


def period(first: dt.date, last: dt.date) -> str:
    """``1 to 30 November 2026``: what both dates share is said once."""
    if first == last:
        return day(last)
    if first.year != last.year:
        return f"{day(first)} to {day(last)}"
    start = f"{first.day}" if first.month == last.month else f"{first.day}{_BLANK}{MONTHS[first.month - 1]}"
    return f"{start} to {day(last)}"


def days(dates: Sequence[dt.date]) -> str:
    """Sorted dates, neighbours put together: ``3 to 5 November 2026, 9 November 2026``."""
    runs: list[list[dt.date]] = []
    for date in dates:
        if runs and date - runs[-1][1] == dt.timedelta(days=1):
            runs[-1][1] = date
        else:
            runs.append([date, date])
    return ", ".join(period(first, last) for first, last in runs)


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def power_class(name: str) -> str:
    """``AC 11-22 kW``."""
    return f"{name}{_BLANK}kW"


def called(row: Mapping[str, Any], report: Report) -> str:
    """What people call the thing of a row, with its city where stations are of several."""
    name = str(row["scope_id"] if row["name"] is None else row["name"])
    if report.by == "station" and report.city is None and row["city"] is not None:
        return f"{name}, {row['city']}"
    return power_class(name) if report.by == "power_class" else name


def title(report: Report) -> str:
    """What a report is of, without its period: ``Charging stations in Köln``."""
    if report.only is not None:
        names = [called(row, report) for row in report.rows.slice(0, 1).to_pylist()]
        name = names[0] if names else power_class(report.only) if report.by == "power_class" else report.only
        return {
            "station": f"Charging station {name}",
            "city": f"Charging points in {name}",
            "operator": f"Charging points of {name}",
            "power_class": f"Charging points of {name}",
        }[report.by]
    if report.by == "station":
        return "Charging stations" if report.city is None else f"Charging stations in {report.city}"
    return f"Charging points by {NOUNS[report.by][0]}"
