"""Where a report's figures are from: period, coverage, method, sources with licence and attribution.

Belongs here: what every export says of its figures, in words. Does not belong here: the figures (`content`) and how a
format carries the words (`exports`, `page`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from charging_assets.model.tables.occupancy import LEAST_COVERAGE

SIMULATED = "SIMULATED: these figures are of a made-up country and of no charging point on earth."


@dataclass(frozen=True, slots=True)
class Source:
    """What figures are made from, and what its giver asks for."""

    name: str
    licence: str
    attribution: str

    def __str__(self) -> str:
        return f"{self.name}. Licence: {self.licence}. Attribution: {self.attribution}."


def sources_of(feeds: Sequence[str], *, is_simulated: bool) -> tuple[Source, ...]:
    """What a lake's figures are made from; `feeds` are those that answered."""
    if is_simulated:
        return (Source("SIMULATED by charging_assets", "none needed", "none: it is of no charging point on earth"),)
    asked = f", feeds {', '.join(feeds)}" if feeds else ""
    return (
        Source(
            f"Public API of chargecloud (new-poi.chargecloud.de){asked}",
            "none stated by chargecloud or the operators",
            "chargecloud and the cities and operators that these feeds and stations are named after",
        ),
    )


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is to be known of a report's figures before one relies on them."""

    report_id: str
    """Of this content: the same figures of the same question have the same."""
    first: dt.date
    last: dt.date
    coverage: float | None
    """O / (O + U) of all that the report is of, 0 to 1; None: nothing was known in the period."""
    unpolled_days: tuple[dt.date, ...]
    """Days of the period without any poll, sorted."""
    unbuilt_days: tuple[dt.date, ...]
    """Days that were polled, but whose figures are not made yet, sorted."""
    points: int
    points_observed: int
    method_version: str
    code_version: str
    sources: tuple[Source, ...]
    is_simulated: bool
    """Whether all figures are of a simulation, and of no charging point on earth."""
    unknown_days: tuple[dt.date, ...] = ()
    """Days that were polled and built, but on which nothing that the report is of was known, sorted."""

    @property
    def days(self) -> int:
        """Days of the period."""
        return (self.last - self.first).days + 1

    @property
    def missing_days(self) -> tuple[dt.date, ...]:
        """Days of the period of which the figures know nothing, sorted."""
        return tuple(sorted({*self.unpolled_days, *self.unbuilt_days, *self.unknown_days}))

    @property
    def observed(self) -> str:
        """How much of it all was observed, in words."""
        if self.coverage is None:
            return "nothing is known of this period: no figure is shown"
        return (
            f"{self.points_observed:,} of the {self.points:,} points known were observed, {100 * self.coverage:.1f} % "
            f"of their time; figures are of the points observed, and hidden below {100 * LEAST_COVERAGE:.0f} % coverage"
        )
