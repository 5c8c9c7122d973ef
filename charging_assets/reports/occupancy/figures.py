"""The figures of a report as people read them: which there are, in which order, headings and units.

Belongs here: names, units and what to mind about a figure. Does not belong here: how it is figured (`derive.occupancy`,
`docs/method.md`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.model.tables import table
from charging_assets.model.tables.occupancy import LEAST_COVERAGE

Kind = Literal["text", "date", "count", "share", "rate", "hours", "minutes", "energy"]

_FACTOR = {"share": 100.0, "hours": 1 / 3600, "minutes": 1 / 60}
"""From the unit of the table to that of people."""
DIGITS: dict[Kind, int] = {"count": 0, "share": 2, "rate": 2, "hours": 1, "minutes": 1, "energy": 1}
"""Decimals that are shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of `kpi_daily`, or of days from `kpi_monthly`, as a report shows it."""

    name: str
    heading: str
    kind: Kind
    note: str = ""
    """To mind, beyond what the data model says of the column."""
    words: str = ""
    """What it is, where the data model speaks of tables and not to readers of a report."""

    @property
    def doc(self) -> str:
        """What it is, in a sentence or two; other columns are called by their headings."""
        said = self.words or doc_of(self.name).replace("Null ", "Empty ").replace("null", "empty")
        return re.sub(r"`(\w+)`", lambda name: f"“{_TITLES[name[1]]}”", f"{said} {self.note}".strip())

    @property
    def title(self) -> str:
        """The heading where a format of its own shows per cent."""
        return self.heading.removesuffix(" (%)")

    def of(self, rows: pa.Table) -> list[Any]:
        """Its values in the unit of the heading, in order; None where there is none."""
        values = rows[self.name]
        if self.kind in _FACTOR:
            values = pc.multiply(values.cast(pa.float64()), _FACTOR[self.kind])
        if self.kind != "count" and self.kind in DIGITS:
            values = pc.round(values, ndigits=DIGITS[self.kind] + 2)  # beyond what is shown, and nothing of binary
        listed: list[Any] = values.to_pylist()
        return listed

    def printed(self, rows: pa.Table) -> list[str]:
        """The same as texts, numbers with a decimal point; nothing where there is none."""
        digits = DIGITS.get(self.kind)
        return [
            "" if value is None else str(value) if digits is None else f"{value:.{digits}f}" for value in self.of(rows)
        ]


def doc_of(name: str) -> str:
    """What the data model says of a column, of whatever period."""
    columns = table("kpi_monthly").columns
    comment = (columns if name in columns else table("kpi_daily").columns)[name].comment or ""
    return comment.replace("the month", "the period")


_NAMES = {"station": "Station", "city": "City", "operator": "Operator", "power_class": "Power class (kW)"}
_WHERE = (
    Figure("scope_id", "Station number", "text", words="Number of the station in its feed."),
    Figure("city", "City", "text", words="City of the station, if it is known."),
    Figure("operator_name", "Operator", "text", words="Operator of the station, if it is known."),
    Figure("power_class", "Power class (kW)", "text", words="Power class of its points, if they are of one."),
)
_BIAS = "Polls miss some: how many hangs on how often was polled."
_HIDDEN = f"Empty below {100 * LEAST_COVERAGE:.0f} % coverage."
_SIZE = (
    Figure("stations", "Stations", "count"),
    Figure("points", "Charging points", "count"),
    Figure("points_observed", "Of these observed", "count"),
)
_DAYS = (
    Figure(
        "days",
        "Days known",
        "count",
        words="Days from the first to the last on which it was known, and days beside them on which nobody polled.",
    ),
    Figure("days_observed", "Days observed", "count", words="Of these, days on which something was observed."),
)
_KPIS = (
    Figure(
        "coverage", "Coverage (%)", "share", words="Time observed of all time, O / (O + U); empty: nothing to observe."
    ),
    Figure("utilization", "Utilization (%)", "share", _HIDDEN, "Time occupied of the time observed, B / O."),
    Figure(
        "utilization_available",
        "Utilization of available time (%)",
        "share",
        _HIDDEN,
        "Time occupied of the time in order, B / (B + F).",
    ),
    Figure("peak_utilization", "Peak utilization (%)", "share"),
    Figure(
        "availability",
        "Availability (%)",
        "share",
        f"{_HIDDEN} As an uptime it is an upper bound: power cannot be seen.",
        "Time in order of the time observed, (B + F) / O.",
    ),
    Figure("free_on_arrival", "Free on arrival (% of polls)", "share"),
    Figure("full_share", "Full (% of polls)", "share"),
    Figure("max_occupied", "Most occupied at once (points)", "count"),
    Figure("simultaneity", "Simultaneity (%)", "share"),
    Figure("events", "Charging events", "count", _BIAS, "Charging events that ended."),
    Figure(
        "events_per_point_day",
        "Events per point and day",
        "rate",
        f"{_HIDDEN} {_BIAS}",
        "Events that were seen to end, per point and day of observed time: a long gap makes two events of one.",
    ),
    Figure("duration_p50_s", "Duration, median (min)", "minutes"),
    Figure("duration_p90_s", "Duration, 90th percentile (min)", "minutes"),
    Figure("overstays", "Overstays", "count"),
    Figure("overstay_share", "Overstays (% of events)", "share"),
    Figure("censored_events", "Events not seen to end", "count"),
    Figure("suspicious_events", "Suspiciously long events", "count"),
    Figure("energy_kwh", "Energy, estimate (kWh)", "energy"),
    Figure("energy_kwh_low", "Energy, estimate, low (kWh)", "energy"),
    Figure("energy_kwh_high", "Energy, estimate, high (kWh)", "energy"),
    Figure(
        "open_utilization",
        "Utilization within opening hours (%)",
        "share",
        f"Empty where less than {100 * LEAST_COVERAGE:.0f} % of them was observed, or none are known.",
        "Time occupied of the time observed, within the stations' opening hours.",
    ),
    Figure("occupied_s", "Occupied (point-hours)", "hours", words="Time occupied, B, of all points together."),
    Figure("free_s", "Free (point-hours)", "hours", words="Time free, F, of all points together."),
    Figure("fault_s", "Out of order (point-hours)", "hours", words="Time out of order, X, of all points together."),
    Figure("unknown_s", "Not observed (point-hours)", "hours", words="Time not observed, U, of all points together."),
)

DAY = Figure("query_date", "Date", "date", words="Day, from midnight to midnight in Germany.")

_TITLES = {figure.name: figure.title for figure in (*_SIZE, *_DAYS, *_KPIS)}
"""By which the figures are called within explanations."""


def row_figures(by: str) -> Sequence[Figure]:
    """The columns of the rows of a report, names first."""
    name = Figure("name", _NAMES[by], "text", words="Its name.")
    if by == "station":
        return (name, *_WHERE, *_SIZE[1:], *_DAYS, *_KPIS)
    return (name, *_SIZE, *_DAYS, *_KPIS)


def day_figures() -> Sequence[Figure]:
    """The columns of its days."""
    return (DAY, *_SIZE, *_KPIS)


def total_figures() -> Sequence[Figure]:
    """The figures of all rows together."""
    return (*_SIZE, *_DAYS, *_KPIS)
