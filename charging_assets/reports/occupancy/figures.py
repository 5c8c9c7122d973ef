"""The figures of a report as people read them: which there are, in which order, headings and units.

Belongs here: names, units and what to mind about a figure. Does not belong here: how it is figured (`derive.occupancy`,
`docs/method.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.model.tables import table

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

    @property
    def doc(self) -> str:
        """What it is, in a sentence or two."""
        return f"{doc_of(self.name)} {self.note}".strip()

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
    Figure("scope_id", "Station number", "text"),
    Figure("city", "City", "text"),
    Figure("operator_name", "Operator", "text"),
    Figure("power_class", "Power class (kW)", "text"),
)
_BIAS = "Polls miss some: how many hangs on how often was polled."
_SIZE = (
    Figure("stations", "Stations", "count"),
    Figure("points", "Charging points", "count"),
    Figure("points_observed", "Of these observed", "count"),
)
_DAYS = (
    Figure("days", "Days known", "count"),
    Figure("days_observed", "Days observed", "count"),
)
_KPIS = (
    Figure("coverage", "Coverage (%)", "share"),
    Figure("utilization", "Utilization (%)", "share"),
    Figure("utilization_available", "Utilization of available time (%)", "share"),
    Figure("peak_utilization", "Peak utilization (%)", "share"),
    Figure("availability", "Availability (%)", "share", "As an uptime it is an upper bound: power cannot be seen."),
    Figure("free_on_arrival", "Free on arrival (% of polls)", "share"),
    Figure("full_share", "Full (% of polls)", "share"),
    Figure("max_occupied", "Most occupied at once (points)", "count"),
    Figure("simultaneity", "Simultaneity (%)", "share"),
    Figure("events", "Charging events", "count", _BIAS),
    Figure("events_per_point_day", "Events per point and day", "rate", _BIAS),
    Figure("duration_p50_s", "Duration, median (min)", "minutes"),
    Figure("duration_p90_s", "Duration, 90th percentile (min)", "minutes"),
    Figure("overstays", "Overstays", "count"),
    Figure("overstay_share", "Overstays (% of events)", "share"),
    Figure("censored_events", "Events not seen to end", "count"),
    Figure("suspicious_events", "Suspiciously long events", "count"),
    Figure("energy_kwh", "Energy, estimate (kWh)", "energy"),
    Figure("energy_kwh_low", "Energy, estimate, low (kWh)", "energy"),
    Figure("energy_kwh_high", "Energy, estimate, high (kWh)", "energy"),
    Figure("open_utilization", "Utilization within opening hours (%)", "share"),
    Figure("occupied_s", "Occupied (point-hours)", "hours"),
    Figure("free_s", "Free (point-hours)", "hours"),
    Figure("fault_s", "Out of order (point-hours)", "hours"),
    Figure("unknown_s", "Not observed (point-hours)", "hours"),
)

DAY = Figure("query_date", "Date", "date")


def row_figures(by: str) -> Sequence[Figure]:
    """The columns of the rows of a report, names first."""
    name = Figure("name", _NAMES[by], "text")
    if by == "station":
        return (name, *_WHERE, *_SIZE[1:], *_DAYS, *_KPIS)
    return (name, *_SIZE, *_DAYS, *_KPIS)


def day_figures() -> Sequence[Figure]:
    """The columns of its days."""
    return (DAY, *_SIZE, *_KPIS)


def total_figures() -> Sequence[Figure]:
    """The figures of all rows together."""
    return (*_SIZE, *_DAYS, *_KPIS)
