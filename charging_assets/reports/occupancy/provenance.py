"""Where a report's figures are from: period, coverage, method, sources with licence and attribution.

Belongs here: what every export says of its figures, in words. Does not belong here: the figures (`content`) and how a
format carries the words (`exports`, `page`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from charging_assets.model.tables.occupancy import LEAST_COVERAGE

_SEEN = {60: (0.995, 0.996), 120: (0.984, 0.981), 300: (0.965, 0.945), 600: (0.946, 0.907)}
"""By seconds between polls, the shares of AC and of DC events that they see: measured, see `docs/method.md`."""

PRELIMINARY = "PRELIMINARY: the period was not over when this was made, so its figures will change."
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
    """Days of the period without any poll that were over, sorted."""
    unbuilt_days: tuple[dt.date, ...]
    """Days that were polled, but whose figures are not made yet, sorted."""
    days_observed: int
    """Days of the period of which something was observed."""
    points: int
    points_observed: int
    method_version: str
    code_version: str
    """Of charging_assets, which made the report."""
    sources: tuple[Source, ...]
    is_simulated: bool
    """Whether all figures are of a simulation, and of no charging point on earth."""
    unknown_days: tuple[dt.date, ...] = ()
    """Days that were polled and built, but on which nothing that the report is of was known, sorted."""
    intervals_s: tuple[int, ...] = ()
    """Planned seconds between two polls, as far as they differ within the period, sorted; none: not known."""
    is_preliminary: bool = False
    """Whether the period was not over when the report was made."""
    days_to_come: int = 0
    """Days of the period that had not begun then."""
    outdated_days: tuple[dt.date, ...] = ()
    """Days whose figures were made from other answers, or tables, than there are now, sorted."""
    other_versions: tuple[str, ...] = ()
    """Other versions of charging_assets, by which days of the period were made, sorted: their method may be another."""

    @property
    def until(self) -> dt.date:
        """The last day of the period that has begun."""
        return self.last - dt.timedelta(days=self.days_to_come)

    @property
    def days(self) -> int:
        """Days of the period that have begun."""
        return (self.until - self.first).days + 1

    @property
    def missing_days(self) -> tuple[dt.date, ...]:
        """Days of the period of which the figures know nothing, sorted."""
        return tuple(sorted({*self.unpolled_days, *self.unbuilt_days, *self.unknown_days}))

    @property
    def observed(self) -> str:
        """How much of it all was observed, in words."""
        if self.coverage is None:
            return "nothing is known of this period: no figure is shown"
        of_time = f"{100 * to_be_shown(self.coverage):.1f} % of their time{self.on_days}"
        return (
            f"{self.points_observed:,} of the {self.points:,} points known were observed, {of_time}; figures are of "
            f"the points observed, and hidden below {100 * LEAST_COVERAGE:.0f} % coverage"
        )

    @property
    def outdated(self) -> str:
        """What is to be done where days are outdated, in words; else nothing."""
        if not self.outdated_days:
            return ""
        first, last = self.outdated_days[0], self.outdated_days[-1]
        return (
            f"OUTDATED: {len(self.outdated_days):,} of {self.days:,} days made from other answers than there are now, "
            f"so figures may change: `charging-assets build --from {first} --to {last}` makes them again."
        )

    @property
    def made_by(self) -> str:
        """Which versions made it, in words."""
        made_by = f"charging_assets {self.code_version}"
        if not self.other_versions:
            return made_by
        others = ", ".join(version or "(unknown)" for version in self.other_versions)
        return (
            f"{made_by}, but days of the period were made by {others}, whose method may be another: `charging-assets "
            f"build --from {self.first} --to {self.until}` makes them again"
        )

    @property
    def on_days(self) -> str:
        """On how many days something was observed, where that is not on all."""
        return "" if self.days_observed == self.days else f", on {self.days_observed:,} of {self.days:,} days"

    @property
    def polled(self) -> str:
        """How often was polled, in words."""
        if not self.intervals_s:
            return "at unknown intervals"
        minutes = [f"{seconds / 60:g}" for seconds in sorted({self.intervals_s[0], self.intervals_s[-1]})]
        return f"every {' to '.join(minutes)} {'minute' if minutes == ['1'] else 'minutes'}"

    @property
    def events_seen(self) -> str:
        """How many of the charging events polls see, in words."""
        if not self.intervals_s:
            return "polls see fewer charging events than there are"
        word, seen = self._seen("about", "at least", "less than")
        return f"polls see {word} {_percent(seen[0])} of the events at AC and {_percent(seen[1])} of those at DC"

    @property
    def events_missed(self) -> str:
        """The same, the other way round."""
        if not self.intervals_s:
            return "polls miss some"
        word, seen = self._seen("about", "at most", "more than")
        return f"polls miss {word} {_percent(1 - seen[0])} (AC) and {_percent(1 - seen[1])} (DC)"

    def _seen(self, measured: str, between: str, beyond: str) -> tuple[str, tuple[float, float]]:
        """Shares of AC and DC events, at the longest distance of polls; the word for how they are meant."""
        longest = self.intervals_s[-1]
        if longest > max(_SEEN):
            return beyond, _SEEN[max(_SEEN)]
        nearest = min(seconds for seconds in _SEEN if seconds >= longest)
        return measured if nearest == longest else between, _SEEN[nearest]


def to_be_shown(coverage: float) -> float:
    """A coverage that hides figures, since it is less than 80 %, is not to be rounded to 80.0 %."""
    return min(coverage, LEAST_COVERAGE - 0.001) if coverage < LEAST_COVERAGE else coverage


def _percent(share: float) -> str:
    """To a whole one; near 0 and 1 to a tenth."""
    return f"{100 * share:.{0 if 0.02 <= share <= 0.98 else 1}f} %"
