"""What an explanation consists of: plain values, from the figure down to the polls, and the same as JSON.

Belongs here: what each level says. Does not belong here: where that comes from (`evidence`, `parts`, `checks`).

Times are UTC, seconds are whole, ratios are 0 to 1.
"""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from charging_assets.calendar import BERLIN

KINDS = ("occupied", "free", "fault", "gone", "unknown")
"""What the seconds of a point are."""

Level = Literal["figure", "points", "hours", "stations", "busiest", "events", "intervals", "polls", "answers"]


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of a level with the one above it."""

    level: Level
    """The level that was added up."""
    what: str
    stated: float | None
    """As the level above has it."""
    recomputed: float | None
    """As this level gives it."""
    within: float = 1e-9
    """So far apart they may lie: the last digits of a ratio, or what was rounded."""

    @property
    def is_equal(self) -> bool:
        """Whether both are the same."""
        if self.stated is None or self.recomputed is None:
            return self.stated is self.recomputed
        return math.isclose(self.stated, self.recomputed, rel_tol=1e-9, abs_tol=self.within)


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure as `kpi_daily` has it, and what it is computed from."""

    value: float | None
    unit: str
    doc: str
    words: str
    """The formula in words: `occupied / observed`."""
    symbols: str | None
    """The formula in symbols, or names of columns: `B / O`; None where it is no ratio of sums."""
    numbers: str | None
    """The same with numbers filled in: `18,300 s / 82,500 s`."""
    coverage: float | None
    coverages: tuple[str, ...]
    """How the coverage comes about, and that of opening hours: `coverage = O / (O + U) = … = 95.83 %`."""
    hidden: str | None
    """Why there is no value although there are ingredients; None: it is not hidden."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The file of `kpi_daily` that the figure stands in."""

    file: str
    inputs: str
    """Fingerprint of what it was made from."""
    is_current: bool
    """Whether it was made from what there is now."""
    code_version: str
    method_version: str | None
    """None where another version of the code made it, whose method this one does not know."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A row of `poll_log`: one request to one feed; and where its raw answer is."""

    key: str
    """By which intervals and events name it: `<query time>/<source>/<feed>`."""
    query_time: dt.datetime
    source: str
    feed: str
    poll_id: str
    interval_s: int
    outcome: str
    reason: str | None
    sha256: str
    raw_file: str | None = None
    """Where the raw answer is; None where the lake has it no more."""
    is_verified: bool | None = None
    """Whether the kept body has this SHA-256; None: not asked, or it is gone."""


@dataclass(frozen=True, slots=True)
class Unobserved:
    """Time of a point that no poll tells of."""

    start: dt.datetime
    end: dt.datetime
    seconds: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of `status_intervals`, and the polls that saw it."""

    start: dt.datetime
    end: dt.datetime
    seconds: int
    status: str | None
    status_class: str
    counts_as: str
    """Of `KINDS`: as `status_class`, but frozen time is unknown."""
    gap_s: int
    """Of `seconds`, those in bridged gaps: they count as unknown."""
    n_polls: int
    flags: tuple[str, ...]
    polls: tuple[str, ...]
    """Keys of the polls."""
    gaps: tuple[Unobserved, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A charging point of the scope on the day."""

    id_cp: str
    source: str
    feed: str
    id_cs: int | None
    city: str | None
    operator_name: str | None
    power_class: str | None
    seconds: Mapping[str, int]
    """By `KINDS`, from `utilization_hourly`."""
    opening_hours: str | None
    """In words, where the figure is of opening hours; None elsewhere."""
    open_seconds: Mapping[str, int | None]
    """`occupied`, `observed`, `unknown` within opening hours, as `kpi_daily` has them; empty elsewhere."""
    intervals: tuple[Interval, ...]
    unobserved: tuple[Unobserved, ...]
    """Time in no interval."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of all points of the scope together."""

    hour_utc: dt.datetime
    hour_local: int
    seconds: Mapping[str, int]
    utilization: float | None


@dataclass(frozen=True, slots=True)
class StationPoll:
    """What a poll saw of a station: numbers of points."""

    query_time: dt.datetime
    free: int
    occupied: int
    fault: int
    counts_as: Literal["free", "full", "neither"]
    polls: tuple[str, ...]
    """Keys of the polls."""


@dataclass(frozen=True, slots=True)
class Station:
    """A station's polls; a point whose station is not known is one of its own."""

    id_cs: int | None
    points: tuple[str, ...]
    polls: int
    polls_free: int
    polls_working: int
    polls_full: int
    timeline: tuple[StationPoll, ...]


@dataclass(frozen=True, slots=True)
class Busiest:
    """The poll at which most points were occupied; the first of several."""

    query_time: dt.datetime
    occupied: int
    polls_as_busy: int
    """How many polls of the day saw as many."""
    points: tuple[str, ...]
    """Which ones were occupied then."""
    polls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `charging_events`, and the polls that saw it."""

    id_cp: str
    id_cs: int | None
    power_class: str | None
    start: dt.datetime
    end: dt.datetime
    duration_s: int
    status: str
    flags: tuple[str, ...]
    n_polls: int
    gap_s: int
    energy_kwh: float | None
    energy_kwh_low: float | None
    energy_kwh_high: float | None
    energy_words: str
    """How the estimate comes about: `min(4.4 kW * 1.5 h, 20 kWh)`."""
    rank: int | None
    """Place among the durations, from the shortest, of events whose both ends were seen; None for the others."""
    polls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A figure, and level by level what is behind it."""

    kpi: str
    scope: str
    scope_id: str
    name: str | None
    query_date: dt.date
    start: dt.datetime
    """The day's midnight."""
    until: dt.datetime
    """The next midnight; while the day goes on, the last poll."""
    figure: Figure
    provenance: Provenance
    points: tuple[Point, ...]
    """The most important ones; those in `points_in_all` are in the sums and checks."""
    points_in_all: int
    totals: Mapping[str, int]
    """Seconds of all points together, by `KINDS`."""
    hours: tuple[Hour, ...]
    stations: tuple[Station, ...]
    stations_in_all: int
    busiest: Busiest | None
    events: tuple[Event, ...]
    events_in_all: int
    durations: tuple[tuple[int, int], ...]
    """Seconds and polls of all events whose both ends were seen, shortest first."""
    polls: tuple[Poll, ...]
    """All polls of the feeds of what is shown, by time; failed ones too."""
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    """What else somebody who relies on the figure should know."""

    @property
    def is_sound(self) -> bool:
        """Whether every level gives the one above it."""
        return all(check.is_equal for check in self.checks)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation in dicts, lists, numbers and texts; beside each time in UTC the same in Europe/Berlin."""
    checks = [asdict(check) | {"is_equal": check.is_equal} for check in explanation.checks]
    told: dict[str, Any] = _plain(asdict(explanation) | {"checks": checks, "is_sound": explanation.is_sound})
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        times = {name: inner for name, inner in value.items() if isinstance(inner, dt.datetime)}
        local = {f"{name}_local": time.astimezone(BERLIN).isoformat() for name, time in times.items()}
        return {name: _plain(inner) for name, inner in value.items()} | local
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, dt.date) else value
