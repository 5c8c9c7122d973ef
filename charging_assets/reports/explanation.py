"""From a figure of `kpi_daily` down to what it rests on: points, intervals, polls, and the hashes of the raw answers.

Each level is added up again and compared with the level above it, by arithmetic that is written here a second time and
not taken from where the figures are made: somebody who audits a figure wants a second calculation.

Belongs here: which rows are behind a figure, and whether they give it. Does not belong here: how figures are made
(`derive.occupancy`), and how an explanation is printed (`cli`).
"""

import datetime as dt
import difflib
import hashlib
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets import __version__
from charging_assets.calendar import BERLIN, compact_text, day_bounds
from charging_assets.derive.activity import Flags, Ints, codes, feed_codes, feeds_in, intervals_of, seconds
from charging_assets.derive.inputs import DAYS_BEFORE, Inputs
from charging_assets.derive.occupancy.energy import ENERGY_MODELS
from charging_assets.derive.occupancy.events import STATUSES as EVENT_STATUSES
from charging_assets.derive.occupancy.observation import HOLDS
from charging_assets.derive.occupancy.opening_hours import open_spans
from charging_assets.derive.occupancy.places import places_of
from charging_assets.lake import Lake
from charging_assets.lake.raw_files import RowKey, day_folder, is_compacted, read_groups, row_keys, time_of
from charging_assets.lake.store import store_at
from charging_assets.model.tables import table
from charging_assets.model.tables.occupancy import LEAST_COVERAGE, METHOD_VERSION, SCOPES

MOST = 10
"""So many points, stations or events are shown in full where a scope has more."""

KINDS = ("occupied", "free", "fault", "gone", "unknown")
"""What the seconds of a point are."""

FIGURES = tuple(col.name for col in table("kpi_daily").columns if col.info["unit"] is not None)
"""The columns of `kpi_daily` that can be explained."""

QUANTILES = {"duration_p50_s": 0.5, "duration_p90_s": 0.9}
"""Of the durations of events: which share of them is shorter."""

Level = Literal["figure", "points", "hours", "stations", "busiest", "events", "intervals", "polls", "answers"]

_SCOPE_COLUMNS = {
    "point": "id_cp",
    "station": "id_cs",
    "city": "city",
    "operator": "operator_name",
    "power_class": "power_class",
    "feed": "feed",
}
_NEEDED = ("utilization_hourly", "status_intervals", "charging_events", "status_chargingpoints", "poll_log")
_LOG = (
    *("query_time", "source", "feed", "poll_id", "interval_s", "outcome", "reason", "requested_at", "received_at"),
    *("http_status", "bytes_total", "is_truncated", "sha256"),
)
_WHEREABOUTS = ("id_cp", "source", "feed", "id_cs", "city", "operator_name", "power_class")
_EVENT_FLAGS = {
    "is_left_censored": "beginning not seen",
    "is_right_censored": "end not seen",
    "has_gap": "polls missing within or beside it",
    "is_frozen": "cut off by frozen time",
    "is_single_poll": "seen by one poll alone",
    "is_suspicious": "suspiciously long",
    "is_overstay": "overstay",
}
_INTERVAL_FLAGS = {
    "is_continued": "goes on from the day before",
    "continues": "goes on the next day",
    "is_left_censored": "beginning not seen",
    "is_right_censored": "end not seen",
    "has_gap": "polls missing within or beside it",
    "is_single_poll": "seen by one poll alone",
}
_TIME_BITS = 34
"""Seconds since 1970, for centuries to come."""


class ExplanationError(Exception):
    """A figure cannot be explained; the message says what is missing and what to do."""


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

    @property
    def is_equal(self) -> bool:
        """Whether both are the same, but for the last digits of a ratio."""
        if self.stated is None or self.recomputed is None:
            return self.stated is self.recomputed
        return math.isclose(self.stated, self.recomputed, rel_tol=1e-9, abs_tol=1e-9)


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
    terms: Mapping[str, float | None]
    """The columns of `kpi_daily` that it is computed from."""
    coverage: float | None
    hidden: str | None
    """Why there is no value although there are ingredients; None: it is not hidden."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The file that the figure stands in."""

    table: str
    file: str
    inputs: str
    """Fingerprint of what it was made from."""
    is_current: bool
    """Whether it was made from what there is now."""
    schema_version: int
    code_version: str
    method_version: str | None
    """None where another version of the code made it, whose method this one does not know."""


@dataclass(frozen=True, slots=True)
class Poll:
    """One request to one feed, and where its raw answer is."""

    key: str
    """By which intervals and events name it: `<query time>/<source>/<feed>`."""
    query_time: dt.datetime
    source: str
    feed: str
    poll_id: str
    interval_s: int
    outcome: str
    reason: str | None
    requested_at: dt.datetime | None
    received_at: dt.datetime | None
    http_status: int | None
    bytes_total: int
    is_truncated: bool
    sha256: str
    raw_file: str | None
    """Where the raw answer is; None where the lake has it no more."""
    is_verified: bool | None
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
    """A figure, and level by level what is behind it. Times are UTC, ratios 0 to 1."""

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
    found = _plain(asdict(explanation))
    found["checks"] = [_plain(asdict(check)) | {"is_equal": check.is_equal} for check in explanation.checks]
    return {**found, "is_sound": explanation.is_sound}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        plain = {}
        for name, inner in value.items():
            plain[name] = _plain(inner)
            if isinstance(inner, dt.datetime):
                plain[f"{name}_local"] = inner.astimezone(BERLIN).isoformat()
        return plain
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, dt.date) else value


Part = Literal["time", "open", "hours", "stations", "busiest", "events"]
"""What a figure is made from."""


@dataclass(frozen=True, slots=True)
class _Formula:
    made_from: Part
    words: str
    symbols: str | None = None
    """With names of `_TERMS` or of columns in braces."""
    part: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    """Columns: the figure is `factor` times the sum of `part` over the sum of `whole`."""
    factor: float = 1.0
    observed: tuple[str, ...] = ("occupied_s", "free_s", "fault_s")
    unknown: str | None = "unknown_s"
    """Its coverage is `observed` / (`observed` + `unknown`); None: it is shown whatever the coverage."""
    shown_first: str = "occupied_s"
    """The points with most of these seconds are shown."""

    def terms(self) -> tuple[str, ...]:
        """The columns that it is computed from."""
        coverage = (*self.observed, self.unknown) if self.unknown else ()
        return tuple(dict.fromkeys((*self.part, *self.whole, *coverage)))

    def of(self, row: Mapping[str, Any]) -> float | None:
        """The ratio, computed again; None where it is hidden, or there is nothing to divide by."""
        whole = _total(row, self.whole)
        if not whole or self.hidden(row):
            return None
        return self.factor * (_total(row, self.part) or 0) / whole

    def coverage(self, row: Mapping[str, Any]) -> float | None:
        """The coverage that decides whether it is shown; None: there is nothing to observe, or it does not decide."""
        if self.unknown is None:
            return None
        observed = _total(row, self.observed)
        every = None if observed is None else observed + row[self.unknown]
        return observed / every if observed is not None and every else None

    def hidden(self, row: Mapping[str, Any]) -> str | None:
        """Why there is no value."""
        coverage = self.coverage(row)
        if self.unknown and coverage is None:
            return "nothing of it was to be observed" if self.unknown == "unknown_s" else "no opening hours are known"
        if coverage is not None and coverage < LEAST_COVERAGE:
            return f"coverage is {100 * coverage:.1f} %, below {100 * LEAST_COVERAGE:.0f} %"
        if self.whole and not _total(row, self.whole):
            return "there is nothing to divide by"
        return None

    def with_names(self) -> str | None:
        """The formula in symbols."""
        return self.symbols and self.symbols.format_map(_Names())

    def with_numbers(self, row: Mapping[str, Any]) -> str | None:
        """The formula with numbers filled in."""
        return self.symbols and self.symbols.format_map(_Numbers(row))


_TERMS = {
    "B": ("occupied_s",),
    "F": ("free_s",),
    "X": ("fault_s",),
    "U": ("unknown_s",),
    "O": ("occupied_s", "free_s", "fault_s"),
}


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


class _Numbers(dict[str, str]):
    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__()
        self._row = row

    def __missing__(self, name: str) -> str:
        value = _total(self._row, _TERMS.get(name, (name,)))
        unit = " s" if name in _TERMS or name.endswith("_s") else ""
        return "not known" if value is None else f"{value:,}{unit}"


def _total(row: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The sum of columns of a row; None where one is null."""
    values = [row[name] for name in names]
    return None if None in values else sum(values)


_B, _BF, _O = ("occupied_s",), ("occupied_s", "free_s"), ("occupied_s", "free_s", "fault_s")
_OPEN = ("open_observed_s",)


def _sum_of(what: str, made_from: Part = "time", shown_first: str = "occupied_s") -> _Formula:
    return _Formula(made_from, what, unknown=None, shown_first=shown_first)


_SHORTER = (
    "duration than which {} of the events are shorter, of those whose both ends were seen; each duration is spread "
    "evenly over the poll that it was rounded to"
)

_FORMULAS: Mapping[str, _Formula] = {
    "points": _sum_of("number of charging points known on the day"),
    "points_observed": _sum_of("number of these points of which some second was observed", shown_first="unknown_s"),
    "stations": _sum_of("number of different stations of these points"),
    "occupied_s": _sum_of("B, sum of the points' occupied seconds"),
    "free_s": _sum_of("F, sum of the points' free seconds", shown_first="free_s"),
    "fault_s": _sum_of("X, sum of the points' seconds out of order", shown_first="fault_s"),
    "gone_s": _sum_of("sum of the points' seconds removed or planned", shown_first="gone_s"),
    "unknown_s": _sum_of("U, sum of the points' seconds not observed", shown_first="unknown_s"),
    "coverage": _Formula(
        "time",
        "observed / (observed + unknown)",
        "{O} / ({O} + {U})",
        _O,
        (*_O, "unknown_s"),
        unknown=None,
        shown_first="unknown_s",
    ),
    "utilization": _Formula("time", "occupied / observed", "{B} / {O}", _B, _O),
    "utilization_available": _Formula("time", "occupied / (occupied + free)", "{B} / ({B} + {F})", _B, _BF),
    "availability": _Formula(
        "time", "(occupied + free) / observed", "({B} + {F}) / {O}", _BF, _O, shown_first="fault_s"
    ),
    "uptime": _Formula("time", "1 - out of order / observed", "1 - {X} / {O}", _BF, _O, shown_first="fault_s"),
    "free_on_arrival": _Formula(
        "stations",
        "polls of a station with a free point / its polls",
        "{station_polls_free} / {station_polls}",
        ("station_polls_free",),
        ("station_polls",),
    ),
    "full_share": _Formula(
        "stations",
        "polls of a station with every working point occupied / its polls with a working point",
        "{station_polls_full} / {station_polls_working}",
        ("station_polls_full",),
        ("station_polls_working",),
    ),
    "station_polls": _sum_of("number of polls that observed a point of a station, summed over stations", "stations"),
    "station_polls_free": _sum_of("of these polls, those with a free point", "stations"),
    "station_polls_working": _sum_of("of these polls, those with a working point (free or occupied)", "stations"),
    "station_polls_full": _sum_of("of those with a working point, those with none free", "stations"),
    "peak_utilization": _Formula(
        "hours", "95th percentile of the utilization (occupied / observed) of the day's hours"
    ),
    "events": _sum_of("number of charging events that ended on the day", "events"),
    "events_per_point_day": _Formula(
        "events", "events * 86,400 s / observed", "{events} * 86,400 s / {O}", ("events",), _O, factor=86_400
    ),
    "duration_p50_s": _sum_of(_SHORTER.format("half"), "events"),
    "duration_p90_s": _sum_of(_SHORTER.format("90 %"), "events"),
    "overstays": _sum_of("number of events of more than 4 hours, at DC of more than 45 minutes", "events"),
    "overstay_share": _Formula(
        "events", "overstays / events", "{overstays} / {events}", ("overstays",), ("events",), unknown=None
    ),
    "censored_events": _sum_of("number of events of which an end was not seen", "events"),
    "suspicious_events": _sum_of("number of events of more than 24 hours, at DC of more than 3 hours", "events"),
    "max_occupied": _sum_of("most points occupied at one poll of the day", "busiest"),
    "simultaneity": _Formula(
        "busiest",
        "most points occupied at one poll / points observed",
        "{max_occupied} / {points_observed}",
        ("max_occupied",),
        ("points_observed",),
    ),
    "energy_kwh": _sum_of("sum of the estimates of the events, min(power * duration, cap) of each", "events"),
    "energy_kwh_low": _sum_of("sum of the lower ends of the events' estimates", "events"),
    "energy_kwh_high": _sum_of("sum of the upper ends of the events' estimates", "events"),
    "open_occupied_s": _sum_of("sum of the points' occupied seconds within opening hours", "open"),
    "open_observed_s": _sum_of("sum of the points' observed seconds within opening hours", "open"),
    "open_unknown_s": _sum_of("sum of the points' seconds not observed within opening hours", "open", "unknown_s"),
    "open_utilization": _Formula(
        "open",
        "occupied / observed, both within opening hours",
        "{open_occupied_s} / {open_observed_s}",
        ("open_occupied_s",),
        _OPEN,
        observed=_OPEN,
        unknown="open_unknown_s",
    ),
}


def explain(
    lake: Lake,
    kpi: str,
    scope: str,
    scope_id: str,
    query_date: dt.date,
    *,
    most: int | None = MOST,
    verify: bool = False,
) -> Explanation:
    """Take a figure of `kpi_daily` apart, down to the raw answers.

    Args:
        lake: has the day's tables.
        kpi: one of `FIGURES`.
        scope: one of `SCOPES`.
        scope_id: as `kpi_daily` has it: a charging point, a station's number, a city, an operator's name, …
        query_date: the day.
        most: so many points, stations or events are taken apart; sums and checks are of all. None: all.
        verify: whether to read the raw answers themselves and compute their SHA-256 again.

    Raises:
        ExplanationError: there is no such figure, or what it was made from is not there.
        LakeError: a file is damaged, or of another version.
    """
    formula = _formula_of(kpi)
    row = _row_of(lake, kpi, scope, scope_id, query_date)
    _require_tables(lake, query_date)
    day = _Day(lake, query_date, scope, scope_id)
    if not day.length:
        raise ExplanationError(
            f"utilization_hourly of {query_date} has no time of {scope.replace('_', ' ')} {scope_id!r}, so there is no "
            "figure yet: a day that has just begun has one after its second poll."
        )
    parts = _Parts(day, row, kpi, formula, most)
    checks = [*_figure_checks(kpi, formula, row), *day.point_checks(row), *parts.checks]
    polls, answer_checks, notes = _with_answers(lake, parts.polls(), verify=verify)
    provenance = _provenance(lake, query_date)
    return Explanation(
        kpi=kpi,
        scope=scope,
        scope_id=scope_id,
        name=row["name"],
        query_date=query_date,
        start=_time(day.start),
        until=_time(day.until),
        figure=_figure(kpi, formula, row),
        provenance=provenance,
        points=parts.points,
        points_in_all=len(day.ids),
        totals=dict(zip(KINDS, day.seconds.sum(axis=(0, 1)).tolist(), strict=True)),
        hours=parts.hours,
        stations=parts.stations,
        stations_in_all=parts.stations_in_all,
        busiest=parts.busiest,
        events=parts.events,
        events_in_all=parts.events_in_all,
        durations=parts.durations,
        polls=polls,
        checks=(*checks, *answer_checks),
        notes=(*_notes(provenance, day), *notes),
    )


def _formula_of(kpi: str) -> _Formula:
    if kpi in FIGURES and kpi in _FORMULAS:
        return _FORMULAS[kpi]
    raise ExplanationError(f"There is no figure {kpi!r}.{_near(kpi, FIGURES)} All of them: {', '.join(FIGURES)}.")


def _near(name: str, names: Iterable[str]) -> str:
    by_lower = {each.lower(): each for each in names}
    found = [by_lower[each] for each in difflib.get_close_matches(name.lower(), by_lower)]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _row_of(lake: Lake, kpi: str, scope: str, scope_id: str, query_date: dt.date) -> dict[str, Any]:
    """The row of `kpi_daily` that has the figure."""
    if scope not in SCOPES:
        raise ExplanationError(f"There is no scope {scope!r}: expected one of {', '.join(SCOPES)}.")
    if lake.info("kpi_daily", query_date) is None:
        raise ExplanationError(_not_built(lake, "kpi_daily", query_date))
    rows = lake.read("kpi_daily", query_date)
    if not rows.num_rows:
        raise ExplanationError(f"No poll was made on {query_date}, so there is no {kpi} to explain.")
    rows = rows.filter(_is(rows["scope"], scope))
    found = rows.filter(_is(rows["scope_id"], scope_id)).to_pylist()
    if not found:
        near = _near(scope_id, rows["scope_id"].to_pylist())
        raise ExplanationError(
            f"kpi_daily of {query_date} has no {scope.replace('_', ' ')} {scope_id!r}.{near} It has "
            f"{rows.num_rows:,}; `charging-assets sql` lists them (column scope_id of kpi_daily)."
        )
    row: dict[str, Any] = found[0]
    return row


def _require_tables(lake: Lake, query_date: dt.date) -> None:
    for name in _NEEDED:
        if lake.info(name, query_date) is None:
            raise ExplanationError(_not_built(lake, name, query_date))


def _not_built(lake: Lake, name: str, query_date: dt.date) -> str:
    lacks = f"{name} has no partition {query_date}"
    if query_date in lake.raw.dates():
        return f"{lacks}: make it with `charging-assets build --date {query_date}`, then ask again."
    days = lake.partitions("kpi_daily")
    known = (
        f"figures are there of {_number(len(days), 'day')}, {days[0]} to {days[-1]}"
        if days
        else "no day has figures yet"
    )
    return f"{lacks}, and the lake has no raw answers of that day to build it from; {known}."


def _is(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(column.cast(pa.string()), text), fill_value=False)


def _figure(kpi: str, formula: _Formula, row: Mapping[str, Any]) -> Figure:
    declared = table("kpi_daily").columns[kpi]
    names = formula.terms() or (kpi,)
    return Figure(
        value=row[kpi],
        unit=declared.info["unit"],
        doc=declared.comment or "",
        words=formula.words,
        symbols=formula.with_names(),
        numbers=formula.with_numbers(row),
        terms={name: row[name] for name in dict.fromkeys((*names, *_O, "unknown_s"))},
        coverage=row["coverage"],
        hidden=formula.hidden(row) if row[kpi] is None else None,
    )


def _figure_checks(kpi: str, formula: _Formula, row: Mapping[str, Any]) -> Iterator[Check]:
    if formula.whole:
        yield Check("figure", kpi, row[kpi], formula.of(row))
    if kpi != "coverage":
        yield Check("figure", "coverage", row["coverage"], _FORMULAS["coverage"].of(row))


def _provenance(lake: Lake, query_date: dt.date) -> Provenance:
    info = lake.info("kpi_daily", query_date)
    if info is None:  # removed since it was read
        raise ExplanationError(_not_built(lake, "kpi_daily", query_date))
    return Provenance(
        table="kpi_daily",
        file=lake.location("kpi_daily", query_date),
        inputs=info.inputs,
        is_current=info.inputs == Inputs(lake).fingerprint("kpi_daily", query_date),
        schema_version=info.schema_version,
        code_version=info.code_version,
        method_version=METHOD_VERSION if info.code_version == __version__ else None,
    )


def _notes(provenance: Provenance, day: "_Day") -> Iterator[str]:
    if not provenance.is_current:
        yield (
            "kpi_daily was made from other inputs than there are now, so its levels may differ: "
            f"`charging-assets build --date {day.query_date}` makes it again."
        )
    if provenance.method_version is None:
        yield f"kpi_daily was made by charging_assets {provenance.code_version or '(unknown)'}, this is {__version__}."
    if day.end - day.start != 24 * 3600:
        hours = (day.end - day.start) // 3600
        yield f"Clocks were changed: the day has {hours} hours. Where local times repeat, UTC tells them apart."
    if day.until < day.end:
        yield "The day goes on: it counts up to its last poll, and the figure will change."


@dataclass(frozen=True, slots=True)
class _Sights:
    """Sights of points in columns, by point and time; times are seconds since 1970, as all whole numbers of times."""

    point: Ints
    time: Ints
    interval_s: Ints
    feed: Ints
    feeds: list[tuple[str, str]]
    status: list[str | None]
    kind: Ints
    """Index into `KINDS`."""

    @classmethod
    def read(cls, lake: Lake, query_date: dt.date, ids: pa.Array) -> "_Sights":
        """Those of some points (sorted) on a day."""
        log = lake.read("poll_log", query_date, ("query_time", "source", "feed", "interval_s"))
        facts = lake.read(
            "status_chargingpoints",
            query_date,
            ("id_chargingpoint", "query_time", "status_cp", "source", "feed", "status_class"),
        )
        feeds = feeds_in(log)
        code, texts = codes(facts["id_chargingpoint"])
        place = _places(pa.array(texts, pa.string()), ids)
        feed = feed_codes(facts, feeds)
        chosen = np.flatnonzero((place[code] >= 0) & (feed >= 0)) if texts else np.zeros(0, np.int64)
        facts, feed = facts.take(pa.array(chosen)), feed[chosen]
        time = seconds(facts["query_time"])
        log_times, interval_s = intervals_of(log, feeds)
        status_class, classes = codes(facts["status_class"])
        kinds = np.array([KINDS.index(name) for name in classes], np.int64)
        return cls(
            place[code[chosen]] if texts else chosen,
            time,
            interval_s[feed, np.searchsorted(log_times, time)].astype(np.int64) if len(time) else time,
            feed,
            feeds,
            facts["status_cp"].cast(pa.string()).to_pylist(),
            kinds[status_class] if classes else status_class,
        )

    def key(self, number: int) -> str:
        """Which poll it was."""
        return _key_of(self.time[number], *self.feeds[self.feed[number]])


class _Day:
    """What the lake has of the points of a scope on a day.

    Attributes:
        ids: the points, sorted; `point` in columns is the index into them.
        seconds: by point, hour and kind.
    """

    def __init__(self, lake: Lake, query_date: dt.date, scope: str, scope_id: str) -> None:
        self.lake, self.query_date = lake, query_date
        self.start, self.end = (int(bound.timestamp()) for bound in day_bounds(query_date))
        hourly = lake.read("utilization_hourly", query_date)
        hourly = hourly.filter(_is(hourly[_SCOPE_COLUMNS[scope]], scope_id))
        texts = hourly["id_cp"].cast(pa.string()).combine_chunks()
        self.ids = pc.unique(texts)
        point = _places(texts, self.ids)
        hours, hour = np.unique(seconds(hourly["hour_utc"]), return_inverse=True)
        self.hours = hours.astype(np.int64)
        self.seconds = np.zeros((len(self.ids), len(hours), len(KINDS)), np.int64)
        for code, kind in enumerate(KINDS):
            self.seconds[point, hour, code] = hourly[f"{kind}_s"].to_numpy()
        first = np.unique(point, return_index=True)[1]
        self.where: list[dict[str, Any]] = hourly.select(list(_WHEREABOUTS)).take(pa.array(first)).to_pylist()
        self.length = int(self.seconds.sum(axis=(1, 2)).max(initial=0))
        self.until = self.start + self.length

    @property
    def of_points(self) -> Ints:
        """Seconds by point and kind."""
        return np.asarray(self.seconds.sum(axis=1))

    @cached_property
    def sights(self) -> _Sights:
        """What the day's polls saw."""
        return _Sights.read(self.lake, self.query_date, self.ids)

    @cached_property
    def intervals(self) -> "_Intervals":
        """The rows of `status_intervals`."""
        return _Intervals(self)

    @cached_property
    def frozen_spans(self) -> list[dict[str, Any]]:
        """The rows of `frozen_spans`."""
        spans = self.lake.read("frozen_spans", self.query_date)
        is_its = pc.is_in(spans["id_cp"].cast(pa.string()), value_set=self.ids)
        rows: list[dict[str, Any]] = spans.filter(is_its).to_pylist()
        return rows

    @cached_property
    def is_frozen(self) -> Flags:
        """Of each sight."""
        sights, found = self.sights, np.zeros(len(self.sights.time), bool)
        for span in self.frozen_spans:
            point = int(_places(pa.array([span["id_cp"]]), self.ids)[0])
            feed = (span["source"], span["feed"])
            of_feed = sights.feeds.index(feed) if feed in sights.feeds else -1
            first, last = (_at(sights.point, sights.time, point, time) for time in _bounds(span))
            found[first:last] |= sights.feed[first:last] == of_feed
        return found

    def point_checks(self, row: Mapping[str, Any]) -> Iterator[Check]:
        """Whether points and hours give the sums of the scope."""
        of_points = self.of_points
        for code, kind in enumerate(KINDS):
            yield Check("points", f"{kind}_s", row[f"{kind}_s"], int(of_points[:, code].sum()))
        yield Check("points", "points", row["points"], len(self.ids))
        yield Check("points", "points_observed", row["points_observed"], int((of_points[:, :3].sum(axis=1) > 0).sum()))
        stations = {where["id_cs"] for where in self.where} - {None}
        yield Check("points", "stations", row["stations"], len(stations))
        yield Check(
            "points",
            "points whose seconds add up to the day",
            len(self.ids),
            int((of_points.sum(axis=1) == min(self.length, self.end - self.start)).sum()),
        )


class _Intervals:
    """The rows of `status_intervals` of a day's points, against the day's sights.

    Attributes:
        number: of each sight the interval that it lies in, -1: in none.
        hole_point, hole_start, hole_end: time further than 0.75 poll from the sights before and after it.
    """

    def __init__(self, day: _Day) -> None:
        self.day = day
        rows = day.lake.read("status_intervals", day.query_date)
        self.rows = rows.filter(pc.is_in(rows["id_cp"].cast(pa.string()), value_set=day.ids))
        self.point = _places(self.rows["id_cp"].cast(pa.string()).combine_chunks(), day.ids)
        self.start, self.end = seconds(self.rows["start_time"]), seconds(self.rows["end_time"])
        self.gap_s = self.rows["gap_s"].to_numpy()
        status_class, classes = codes(self.rows["status_class"])
        kinds = np.array([KINDS.index(name) for name in classes], np.int64)
        self.is_frozen = self.rows["is_frozen"].to_numpy()
        self.kind = np.where(self.is_frozen, KINDS.index("unknown"), kinds[status_class] if classes else status_class)
        self.status = self.rows["status"].cast(pa.string()).to_pylist()
        self.number = self._number_of_sights()
        before, after = self._neighbours()
        self._measure(before, after)

    def _number_of_sights(self) -> Ints:
        sights = self.day.sights
        if not len(self.start):
            return np.full(len(sights.time), -1)
        at = _at(self.point, self.start, sights.point, sights.time + 1) - 1
        is_in = (at >= 0) & (self.point[at] == sights.point) & (sights.time <= self.end[at])
        return np.where(is_in, at, -1)

    def _neighbours(self) -> tuple[Ints, Ints]:
        """By point the last sight of the days before and the first of the day after: time and interval, 0 is none."""
        day, one = self.day, dt.timedelta(days=1)
        before, after = (np.zeros((2, len(day.ids)), np.int64) for _ in range(2))
        for number in range(1, DAYS_BEFORE + 1):
            missing = np.flatnonzero(before[0] == 0)
            if not len(missing):
                break
            sights = _Sights.read(day.lake, day.query_date - number * one, day.ids.take(pa.array(missing)))
            before[:, missing[sights.point]] = sights.time, sights.interval_s  # of several the last one stays
        sights = _Sights.read(day.lake, day.query_date + one, day.ids)
        after[:, sights.point[::-1]] = sights.time[::-1], sights.interval_s[::-1]
        return before, after

    def _measure(self, before: Ints, after: Ints) -> None:
        """Bounds around each sight as the rules have them, and what lies too far from any."""
        sights = self.day.sights
        point = np.concatenate([sights.point, np.flatnonzero(before[0]), np.flatnonzero(after[0])])
        time = np.concatenate([sights.time, before[0][before[0] > 0], after[0][after[0] > 0]])
        interval_s = np.concatenate([sights.interval_s, before[1][before[0] > 0], after[1][after[0] > 0]])
        order = np.lexsort((time, point))
        point, time, interval_s = point[order], time[order], interval_s[order]
        has_next = np.zeros(len(point), bool)
        has_next[:-1] = point[1:] == point[:-1]
        distance = np.where(has_next, np.roll(time, -1) - time, 0)
        poll_s = np.where(has_next, np.maximum(interval_s, np.roll(interval_s, -1)), interval_s)
        held = (poll_s * HOLDS).astype(np.int64)
        is_near = has_next & (distance <= 2 * held)
        end = time + np.where(is_near, distance // 2, held)
        next_start = np.where(is_near, end, time + distance - held)
        start = np.where(np.roll(has_next, 1), np.roll(next_start, 1), time - (interval_s * HOLDS).astype(np.int64))
        of_day = np.empty(len(order), np.int64)
        of_day[order] = np.arange(len(order))
        of_day = of_day[: len(sights.time)]
        self.sight_start, self.sight_end = (np.append(bound[of_day], 0) for bound in (start, end))  # -1 is no sight
        is_hole = has_next & ~is_near
        self.hole_point, self.hole_start, self.hole_end = point[is_hole], end[is_hole], next_start[is_hole]

    @cached_property
    def holes(self) -> Ints:
        """Of each hole the interval that it lies in, -1: in none."""
        if not len(self.start) or not len(self.hole_start):
            return np.full(len(self.hole_start), -1)
        begins = np.maximum(self.hole_start, self.day.start)
        at = _at(self.point, self.start, self.hole_point, begins + 1) - 1
        is_in = (at >= 0) & (self.point[at] == self.hole_point) & (begins < self.end[at])
        return np.where(is_in, at, -1)

    def checks(self) -> Iterator[Check]:
        """Whether the intervals give the points' seconds, and the polls the intervals."""
        day = self.day
        by_kind = np.zeros((len(day.ids), len(KINDS)), np.int64)
        np.add.at(by_kind, (self.point, self.kind), self.end - self.start - self.gap_s)
        by_kind[:, -1] = day.length - by_kind[:, :-1].sum(axis=1)
        for code, kind in enumerate(KINDS):
            yield Check("intervals", f"{kind}_s", int(day.of_points[:, code].sum()), int(by_kind[:, code].sum()))
        are_equal = (by_kind == day.of_points).all(axis=1)
        yield Check("intervals", "points whose intervals give their seconds", len(day.ids), int(are_equal.sum()))
        overlaps = (self.point[1:] == self.point[:-1]) & (self.start[1:] < self.end[:-1])
        yield Check("intervals", "overlapping intervals", 0, int(overlaps.sum()))
        yield from self._poll_checks()

    def _poll_checks(self) -> Iterator[Check]:
        sights, every = self.day.sights, len(self.start)
        is_in = self.number >= 0
        polls = np.bincount(self.number[is_in], minlength=every)
        n_polls = self.rows["n_polls"].to_numpy()
        yield Check("polls", "polls that saw the points", int(n_polls.sum()), int(is_in.sum()))
        yield Check("polls", "intervals with as many polls as they say", every, int((polls == n_polls).sum()))
        differs = [
            status != self.status[number] or is_frozen != self.is_frozen[number]
            for number, status, is_frozen in zip(
                self.number[is_in].tolist(),
                [sights.status[at] for at in np.flatnonzero(is_in).tolist()],
                self.day.is_frozen[is_in].tolist(),
                strict=True,
            )
        ]
        yield Check("polls", "polls that saw another status than their interval has", 0, int(sum(differs)))
        yield Check("polls", "polls in no interval", 0, int((~is_in).sum()))
        first, last = np.full(every, -1), np.full(every, -1)
        at = np.flatnonzero(is_in)
        last[self.number[at]] = at
        first[self.number[at[::-1]]] = at[::-1]
        has = first >= 0
        start = np.where(self.rows["is_continued"].to_numpy(), self.day.start, self.sight_start[first])
        end = np.where(
            self.rows["continues"].to_numpy(), self.day.end, np.minimum(self.sight_end[last], self.day.until)
        )
        right = has & (self.start == start) & (self.end == end)
        yield Check("polls", "intervals whose bounds follow from their polls", int(has.sum()), int(right.sum()))
        length = np.minimum(self.hole_end, self.day.until) - np.maximum(self.hole_start, self.day.start)
        bridged = self.holes >= 0
        gap_s = np.bincount(self.holes[bridged], np.maximum(length, 0)[bridged], every).astype(np.int64)
        yield Check("polls", "gap_s", int(self.gap_s.sum()), int(gap_s.sum()))


def _places(texts: pa.Array, ids: pa.Array) -> Ints:
    """Index of each text in `ids`, -1 where it is not there."""
    return np.asarray(pc.index_in(texts, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _at(points: Ints, times: Ints, point: Any, time: Any) -> Any:
    """How many of the sorted (points, times) lie before (point, time)."""
    return np.searchsorted(points << _TIME_BITS | times, np.asarray(point) << _TIME_BITS | np.asarray(time))


def _bounds(span: Mapping[str, Any]) -> tuple[int, int]:
    return int(span["start_time"].timestamp()), int(span["end_time"].timestamp())


def _time(second: Any) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(second), dt.UTC)


def _key_of(second: Any, source: str, feed: str) -> str:
    return f"{compact_text(_time(second))}/{source}/{feed}"


class _Log:
    """The rows of `poll_log`, by feed; each day is read once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._days: dict[dt.date, dict[tuple[str, str], list[Poll]]] = {}

    def of(self, query_date: dt.date, feed: tuple[str, str]) -> Sequence[Poll]:
        """The polls of a feed on a day, by time."""
        if query_date not in self._days:
            polls = defaultdict(list)
            for row in self._lake.read("poll_log", query_date, _LOG).to_pylist():
                key = _key_of(row["query_time"].timestamp(), row["source"], row["feed"])
                polls[row["source"], row["feed"]].append(Poll(key=key, raw_file=None, is_verified=None, **row))
            self._days[query_date] = dict(polls)
        return self._days[query_date].get(feed, [])


class _Parts:
    """What a figure is made from, as far as it is shown."""

    def __init__(self, day: _Day, row: Mapping[str, Any], kpi: str, formula: _Formula, most: int | None) -> None:
        self._day, self._row, self._kpi, self._formula, self._most = day, row, kpi, formula, most
        self._log = _Log(day.lake)
        self._feeds: set[tuple[str, str]] = set()
        self._keys: dict[str, tuple[dt.date, tuple[str, str]]] = {}
        self.checks: list[Check] = []
        self.hours: tuple[Hour, ...] = ()
        self.stations: tuple[Station, ...] = ()
        self.stations_in_all = 0
        self.busiest: Busiest | None = None
        self.events: tuple[Event, ...] = ()
        self.events_in_all = 0
        self.durations: tuple[tuple[int, int], ...] = ()
        part = formula.made_from
        has_intervals = part in ("time", "open", "hours")
        if part == "hours":
            self._add_hours()
        if part == "stations":
            self._add_stations()
        if part == "busiest":
            self._add_busiest()
        if part == "events":
            self._add_events()
        if has_intervals:
            self.checks += day.intervals.checks()
        self.points = tuple(self._points(has_intervals=has_intervals, is_open=part == "open"))

    def polls(self) -> list[Poll]:
        """All polls of the shown feeds on the day, and those of days before that saw what is shown."""
        today = [poll for feed in sorted(self._feeds) for poll in self._log.of(self._day.query_date, feed)]
        known = {poll.key for poll in today}
        earlier = {place for key, place in self._keys.items() if key not in known}
        today += [poll for place in sorted(earlier) for poll in self._log.of(*place) if poll.key in self._keys]
        return sorted(today, key=lambda poll: (poll.query_time, poll.source, poll.feed, poll.poll_id))

    def _seen_by(self, sights: _Sights, numbers: Iterable[int], query_date: dt.date | None = None) -> tuple[str, ...]:
        """Keys of the polls of sights."""
        keys = []
        for number in numbers:
            feed = sights.feeds[sights.feed[number]]
            keys.append(sights.key(number))
            self._keys[keys[-1]] = query_date or self._day.query_date, feed
            self._feeds.add(feed)
        return tuple(keys)

    def _points(self, *, has_intervals: bool, is_open: bool) -> Iterator[Point]:
        day, of_points = self._day, self._day.of_points
        weight = of_points[:, KINDS.index(self._formula.shown_first.removesuffix("_s"))]
        shown = np.argsort(-weight, kind="stable")[: self._most].tolist()
        hours = self._opening_hours(shown) if is_open else {}
        for number in shown:
            where = day.where[number]
            self._feeds.add((where["source"], where["feed"]))
            intervals, unobserved = self._intervals_of(number) if has_intervals else ((), ())
            words, open_seconds = hours.get(number, (None, {}))
            yield Point(
                **where,
                seconds=dict(zip(KINDS, of_points[number].tolist(), strict=True)),
                opening_hours=words,
                open_seconds=open_seconds,
                intervals=intervals,
                unobserved=unobserved,
            )

    def _intervals_of(self, point: int) -> tuple[tuple[Interval, ...], tuple[Unobserved, ...]]:
        day, found = self._day, self._day.intervals
        of_point = np.flatnonzero(found.point == point)
        sights = np.flatnonzero(day.sights.point == point)
        holes = np.flatnonzero(found.hole_point == point)
        rows = found.rows.take(pa.array(of_point)).to_pylist()
        intervals = []
        for number, row in zip(of_point.tolist(), rows, strict=True):
            gaps = [
                (max(int(found.hole_start[hole]), day.start), min(int(found.hole_end[hole]), day.until))
                for hole in holes[found.holes[holes] == number].tolist()
            ]
            flags = [words for flag, words in _INTERVAL_FLAGS.items() if row[flag]]
            intervals.append(
                Interval(
                    start=_utc(row["start_time"]),
                    end=_utc(row["end_time"]),
                    seconds=int(found.end[number] - found.start[number]),
                    status=row["status"],
                    status_class=row["status_class"],
                    counts_as=KINDS[found.kind[number]],
                    gap_s=row["gap_s"],
                    n_polls=row["n_polls"],
                    flags=(*flags, *self._freezes(row)),
                    polls=self._seen_by(day.sights, sights[found.number[sights] == number].tolist()),
                    gaps=tuple(self._unobserved(point, *gap) for gap in gaps if gap[0] < gap[1]),
                )
            )
        edges = [day.start, *np.stack([found.start[of_point], found.end[of_point]], axis=1).ravel().tolist(), day.until]
        outside = [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]
        return tuple(intervals), tuple(self._unobserved(point, *span) for span in outside)

    def _freezes(self, row: Mapping[str, Any]) -> Iterator[str]:
        """In words, what made an interval frozen."""
        if not row["is_frozen"]:
            return
        spans = [
            span
            for span in self._day.frozen_spans
            if span["id_cp"] == row["id_cp"]
            and span["start_time"] < row["end_time"]
            and span["end_time"] > row["start_time"]
        ]
        for span in spans:
            until = f"until {_local(span['freeze_end'])}" if span["freeze_end"] else "and went on"
            yield (
                f"frozen ({span['kind'].replace('_', ' ')}) since {_local(span['freeze_start'])} {until}: "
                f"{span['expected_changes']:.1f} changes were to be expected and none came"
            )
        if not spans:
            yield "frozen, but no row of frozen_spans says so"

    def _unobserved(self, point: int, start: int, end: int) -> Unobserved:
        where = self._day.where[point]
        sights = self._day.sights
        seen = set(sights.time[sights.point == point].tolist())
        polls = self._log.of(self._day.query_date, (where["source"], where["feed"]))
        return Unobserved(_time(start), _time(end), end - start, tuple(_reasons(_time(start), _time(end), polls, seen)))

    def _opening_hours(self, shown: Sequence[int]) -> dict[int, tuple[str, dict[str, int | None]]]:
        """Of each shown point its open times of the day in words, and the seconds within them; adds checks."""
        day = self._day
        rows = day.lake.read(
            "kpi_daily", day.query_date, ("scope", "scope_id", "open_occupied_s", "open_observed_s", "open_unknown_s")
        )
        rows = rows.filter(_is(rows["scope"], "point"))
        by_id = {row["scope_id"]: row for row in rows.to_pylist()}
        names = {name: f"open_{name}_s" for name in ("occupied", "observed", "unknown")}
        stated = [
            {name: by_id.get(id_, {}).get(column) for name, column in names.items()} for id_ in day.ids.to_pylist()
        ]
        for name, column in names.items():
            known = [of_point[name] for of_point in stated if of_point[name] is not None]
            self.checks.append(Check("points", column, self._row[column], sum(known) if known else None))
        dates = [day.query_date - dt.timedelta(days=number) for number in range(DAYS_BEFORE + 1)]
        places = places_of(day.lake, day.ids, dates).select(["opening_hours", "open_24_7"]).to_pylist()
        hours, with_hours, right = {}, 0, 0
        for number in shown:
            place = places[number]
            spans = open_spans(place["opening_hours"], place["open_24_7"], day.start, day.until)
            is_always = spans == [(day.start, day.until)]
            hours[number] = "all day" if is_always else _hours_in_words(spans), stated[number]
            if spans is not None:
                with_hours += 1
                right += self._open_seconds(number, spans) == stated[number]
        self.checks.append(
            Check("intervals", "points shown whose intervals give their open seconds", with_hours, right)
        )
        return hours

    def _open_seconds(self, point: int, spans: Sequence[tuple[int, int]]) -> dict[str, int]:
        found = self._day.intervals
        holes = [
            (int(found.hole_start[hole]), int(found.hole_end[hole]))
            for hole in np.flatnonzero(found.hole_point == point).tolist()
        ]
        by_kind = Counter[str]()
        for number in np.flatnonzero(found.point == point).tolist():
            start, end = int(found.start[number]), int(found.end[number])
            open_s = _overlap(spans, start, end)
            for hole_start, hole_end in holes:
                open_s -= _overlap(spans, max(start, hole_start), min(end, hole_end))
            by_kind[KINDS[found.kind[number]]] += open_s
        observed = by_kind["occupied"] + by_kind["free"] + by_kind["fault"]
        every = sum(end - start for start, end in spans)
        return {
            "occupied": by_kind["occupied"],
            "observed": observed,
            "unknown": every - observed - by_kind["gone"],
        }

    def _add_hours(self) -> None:
        day = self._day
        by_hour = day.seconds.sum(axis=0)
        observed = by_hour[:, :3].sum(axis=1)
        ratios = [int(row[0]) / int(total) if total else None for row, total in zip(by_hour, observed, strict=True)]
        self.hours = tuple(
            Hour(_time(hour), _time(hour).astimezone(BERLIN).hour, dict(zip(KINDS, row, strict=True)), ratio)
            for hour, row, ratio in zip(day.hours.tolist(), by_hour.tolist(), ratios, strict=True)
        )
        known = [ratio for ratio in ratios if ratio is not None]
        peak = float(np.percentile(known, 95)) if known and not self._formula.hidden(self._row) else None
        self.checks.append(Check("hours", self._kpi, self._row[self._kpi], peak))

    def _observations(self) -> tuple[Ints, Ints, Ints]:
        """Sights that observed a point: their numbers; all their times; of each the index of its time."""
        sights = self._day.sights
        tells = np.flatnonzero(~self._day.is_frozen & (sights.kind < KINDS.index("gone")))
        times, poll = np.unique(sights.time[tells], return_inverse=True)
        return tells, times, poll

    def _add_stations(self) -> None:
        day, sights = self._day, self._day.sights
        tells, times, poll = self._observations()
        ids = [where["id_cs"] if where["id_cs"] is not None else where["id_cp"] for where in day.where]
        station_ids = list(dict.fromkeys(ids))
        station = np.array([station_ids.index(id_) for id_ in ids], np.int64)
        counts = np.zeros((len(station_ids), len(times), 3), np.int64)
        np.add.at(counts, (station[sights.point[tells]], poll, sights.kind[tells]), 1)
        occupied, free = counts[:, :, 0], counts[:, :, 1]
        is_free, is_poll = np.asarray(free > 0), np.asarray(counts.any(axis=2))
        is_working = is_free | (occupied > 0)
        is_full = is_working & ~is_free
        marks = {"station_polls": is_poll, "station_polls_free": is_free, "station_polls_working": is_working}
        for name, marked in {**marks, "station_polls_full": is_full}.items():
            self.checks.append(Check("stations", name, self._row[name], int(marked.sum())))
        busy = np.argsort(-(is_poll & ~is_free).sum(axis=1), kind="stable")[: self._most]
        self.stations_in_all = len(station_ids)
        stations = []
        for code in busy.tolist():
            points = np.flatnonzero(station == code)
            of_station = np.flatnonzero(np.isin(sights.point[tells], points))
            timeline = []
            for at in np.flatnonzero(is_poll[code]).tolist():
                numbers = tells[of_station[poll[of_station] == at]]
                counted: Literal["free", "full", "neither"] = "free" if is_free[code, at] else "neither"
                counted = "full" if is_full[code, at] else counted
                free_, occupied_, fault = (int(counts[code, at, kind]) for kind in (1, 0, 2))
                polls = tuple(dict.fromkeys(self._seen_by(sights, numbers.tolist())))
                timeline.append(StationPoll(_time(times[at]), free_, occupied_, fault, counted, polls))
            names = tuple(day.where[point]["id_cp"] for point in points.tolist())
            stations.append(
                Station(
                    day.where[points[0]]["id_cs"],
                    names,
                    polls=int(is_poll[code].sum()),
                    polls_free=int(is_free[code].sum()),
                    polls_working=int(is_working[code].sum()),
                    polls_full=int(is_full[code].sum()),
                    timeline=tuple(timeline),
                )
            )
        self.stations = tuple(stations)

    def _add_busiest(self) -> None:
        sights = self._day.sights
        tells, times, poll = self._observations()
        is_occupied = sights.kind[tells] == KINDS.index("occupied")
        counts = np.bincount(poll[is_occupied], minlength=len(times))
        most = int(counts.max(initial=0))
        self.checks.append(Check("busiest", "max_occupied", self._row["max_occupied"], most))
        if most:
            at = int(counts.argmax())
            numbers = tells[is_occupied & (poll == at)].tolist()
            polls = tuple(dict.fromkeys(self._seen_by(sights, numbers)))
            points = tuple(self._day.where[sights.point[number]]["id_cp"] for number in numbers)
            self.busiest = Busiest(_time(times[at]), most, int((counts == most).sum()), points, polls)

    def _add_events(self) -> None:
        day = self._day
        rows = day.lake.read("charging_events", day.query_date)
        rows = rows.filter(pc.is_in(rows["id_cp"].cast(pa.string()), value_set=day.ids)).to_pylist()
        whole = [row for row in rows if not row["is_left_censored"] and not row["is_right_censored"]]
        whole.sort(key=lambda row: (row["duration_s"], row["n_polls"], row["id_cp"], row["start_time"]))
        for row in rows:
            row["rank"] = None
        for rank, row in enumerate(whole, 1):
            row["rank"] = rank
        self.durations = tuple((row["duration_s"], row["n_polls"]) for row in whole)
        self.checks += _event_checks(self._row, rows, self.durations)
        self.events_in_all = len(rows)
        shown = sorted(rows, key=_order_of_events(self._kpi, self._row[self._kpi]))[: self._most]
        if self._kpi in QUANTILES:
            shown.sort(key=lambda row: (row["rank"] is None, row["rank"]))
        else:
            shown.sort(key=lambda row: (row["start_time"], row["id_cp"]))
        self.events = tuple(self._events(shown))
        polls = sum(event.n_polls for event in self.events)
        self.checks.append(
            Check("polls", "polls that saw the events shown", polls, sum(len(event.polls) for event in self.events))
        )

    def _events(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        """Events with the polls that saw them; each day before is read for those that began on it or earlier."""
        day = self._day
        first = min((_utc(row["start_time"]) for row in rows), default=_time(day.start)).astimezone(BERLIN).date()
        dates = [first + dt.timedelta(days=number) for number in range((day.query_date - first).days + 1)]
        ids = pc.unique(pa.array(sorted(row["id_cp"] for row in rows), pa.string()))
        sights = {date: _Sights.read(day.lake, date, ids) for date in dates}
        for row in rows:
            point = int(_places(pa.array([row["id_cp"]]), ids)[0])
            start, end = _bounds(row)
            keys: list[str] = []
            for date, of_day in sights.items():
                is_in = (of_day.point == point) & (of_day.time >= start) & (of_day.time <= end)
                numbers = [
                    number
                    for number in np.flatnonzero(is_in).tolist()
                    if (of_day.status[number] or "").strip().upper() in EVENT_STATUSES
                ]
                keys += self._seen_by(of_day, numbers, date)
            copied = ("id_cp", "id_cs", "power_class", "duration_s", "status", "n_polls", "gap_s", "rank")
            yield Event(
                **{name: row[name] for name in (*copied, "energy_kwh", "energy_kwh_low", "energy_kwh_high")},
                start=_utc(row["start_time"]),
                end=_utc(row["end_time"]),
                flags=tuple(words for flag, words in _EVENT_FLAGS.items() if row[flag]),
                energy_words=_energy_in_words(row),
                polls=tuple(keys),
            )


def _event_checks(
    row: Mapping[str, Any], events: Sequence[Mapping[str, Any]], durations: Sequence[tuple[int, int]]
) -> Iterator[Check]:
    """Whether the events give the figures of a row; `durations` as in `Explanation`."""
    counted = {
        "events": len(events),
        "overstays": sum(event["is_overstay"] for event in events),
        "censored_events": sum(event["is_left_censored"] or event["is_right_censored"] for event in events),
        "suspicious_events": sum(event["is_suspicious"] for event in events),
    }
    for name, count in counted.items():
        yield Check("events", name, row[name], count)
    for name, share in QUANTILES.items():
        is_right = row[name] is not None and _is_quantile(durations, share, row[name])
        yield Check("events", name, row[name], row[name] if is_right else _quantile(durations, share))
    for name in ("energy_kwh", "energy_kwh_low", "energy_kwh_high"):
        known = [event[name] for event in events if event[name] is not None]
        yield Check("events", name, row[name], math.fsum(known) if known else None)
    estimates = sum(_is_estimate(event) for event in events)
    yield Check("events", "events whose energy follows from power class and duration", len(events), estimates)
    lasting = sum((event["end_time"] - event["start_time"]).total_seconds() == event["duration_s"] for event in events)
    yield Check("events", "events whose duration is end - start", len(events), lasting)


def _estimate(event: Mapping[str, Any]) -> float | None:
    model = ENERGY_MODELS.get(event["power_class"])
    return model and min(model.power_kw * event["duration_s"] / 3600, model.cap_kwh)


def _is_estimate(event: Mapping[str, Any]) -> bool:
    expected, stated = _estimate(event), event["energy_kwh"]
    return expected is stated if expected is None or stated is None else math.isclose(expected, stated, rel_tol=1e-9)


def _energy_in_words(event: Mapping[str, Any]) -> str:
    model = ENERGY_MODELS.get(event["power_class"])
    if model is None:
        return "its power is not known"
    return f"min({model.power_kw} kW * {event['duration_s'] / 3600:.3f} h, {model.cap_kwh:g} kWh)"


def shorter(durations: Sequence[tuple[int, int]], than_s: float) -> tuple[int, float]:
    """How many events are shorter than so many seconds: those that are as a whole, and in part.

    Each duration is spread evenly over the poll that it was rounded to: half of it before, half of it after.

    Args:
        durations: see `Explanation`.
        than_s: in seconds.
    """
    whole, parts = 0, []
    for seconds_, polls in durations:
        half = seconds_ / (2 * polls)
        part = (than_s - seconds_ + half) / (2 * half)
        whole += part >= 1
        parts.append(part if 0 < part < 1 else 0.0)
    return whole, math.fsum(parts)


def _is_quantile(durations: Sequence[tuple[int, int]], share: float, value: int) -> bool:
    """Whether that share of the events is shorter than a value that was rounded to seconds.

    Between two durations that lie far apart there may be many such values.
    """
    least, most = (sum(shorter(durations, value + off)) for off in (-0.5, 0.5))
    return least - 1e-6 <= share * len(durations) <= most + 1e-6


def _quantile(durations: Sequence[tuple[int, int]], share: float) -> float | None:
    """The least duration than which that share of the events is shorter, in seconds; None without events."""
    if not durations:
        return None
    wanted = share * len(durations) - 1e-9
    low, high = 0.0, 2.0 * max(seconds_ for seconds_, _ in durations)
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (low, middle) if sum(shorter(durations, middle)) >= wanted else (middle, high)
    return high


def _order_of_events(kpi: str, value: float | None) -> Any:
    """By what events are chosen where not all are shown: those that make the figure first."""
    if kpi in QUANTILES:
        return lambda row: math.inf if row["rank"] is None else abs(row["duration_s"] - (value or 0))
    flags = {"overstays": "is_overstay", "overstay_share": "is_overstay", "suspicious_events": "is_suspicious"}
    if kpi in flags:
        return lambda row: (not row[flags[kpi]], -row["duration_s"])
    if kpi == "censored_events":
        return lambda row: (not (row["is_left_censored"] or row["is_right_censored"]), -row["duration_s"])
    return lambda row: (-(row["energy_kwh"] or 0), -row["duration_s"])


def _reasons(start: dt.datetime, end: dt.datetime, polls: Sequence[Poll], seen: set[int]) -> Iterator[str]:
    """Why a point was not observed from `start` to `end`, in sentences.

    Args:
        start: where the time begins.
        end: where it ends.
        polls: of its feed on the day, by time.
        seen: query times that saw the point.
    """
    within = [poll for poll in polls if start <= poll.query_time < end]
    failed = Counter(f"{poll.outcome}: {poll.reason or 'no reason given'}" for poll in within if poll.outcome != "ok")
    for reason, count in failed.most_common():
        yield f"{_number(count, 'poll')} of the feed gave nothing usable ({reason})"
    absent = sum(poll.outcome == "ok" and int(poll.query_time.timestamp()) not in seen for poll in within)
    if absent:
        yield f"{_number(absent, 'good answer')} did not have the point"
    before = max((poll for poll in polls if poll.query_time < start), key=_query_time, default=None)
    after = min((poll for poll in polls if poll.query_time >= end), key=_query_time, default=None)
    around = [poll for poll in (before, *within, after) if poll is not None]
    if not around:
        yield "no poll of the feed was made on this day"
        return
    if before is None and around[0].query_time > start:
        yield f"no poll of the feed was made before {_local(around[0].query_time)}"
    for one, other in pairwise(around):
        planned_s = max(one.interval_s, other.interval_s)
        if (other.query_time - one.query_time).total_seconds() > 2 * HOLDS * planned_s:
            yield (
                f"no poll of the feed was made between {_local(one.query_time)} and {_local(other.query_time)} "
                f"(planned: every {planned_s:,} s)"
            )
    if after is None and (end - around[-1].query_time).total_seconds() > HOLDS * around[-1].interval_s:
        yield f"no poll of the feed was made after {_local(around[-1].query_time)}"


def _query_time(poll: Poll) -> dt.datetime:
    return poll.query_time


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _utc(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC)


def _local(time: dt.datetime) -> str:
    return time.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M:%S")


def _hours_in_words(spans: Sequence[tuple[int, int]] | None) -> str:
    if spans is None:
        return "not known"
    text = ", ".join(f"{_local(_time(begin))[11:]} to {_local(_time(end))[11:]}" for begin, end in spans)
    return text or "closed all day"


def _overlap(spans: Sequence[tuple[int, int]], start: int, end: int) -> int:
    return sum(max(0, min(end, stop) - max(start, begin)) for begin, stop in spans)


def _with_answers(
    lake: Lake, polls: Sequence[Poll], *, verify: bool
) -> tuple[tuple[Poll, ...], list[Check], list[str]]:
    """The polls with the files that hold their raw answers; what that proves, and what is to be said of it."""
    by_date: dict[dt.date, dict[RowKey, Poll]] = defaultdict(dict)
    for poll in polls:
        date = poll.query_time.astimezone(BERLIN).date()
        by_date[date][_utc(poll.query_time), poll.source, poll.feed, poll.sha256, poll.poll_id] = poll
    found: list[Poll] = []
    gone: list[dt.date] = []
    for date, keys in by_date.items():
        kept = _kept_answers(lake, date, set(keys), verify=verify)
        gone += [date] if not lake.raw.files(date) else []
        for key, poll in keys.items():
            raw_file, is_verified = kept.get(key, (None, None))
            found.append(replace(poll, raw_file=raw_file, is_verified=is_verified))
    held = [poll for poll in found if poll.query_time.astimezone(BERLIN).date() not in gone]
    checks = [Check("answers", "answers that the raw files have by their SHA-256", len(held), _count(held, "raw_file"))]
    if verify:
        checks.append(
            Check("answers", "bodies whose SHA-256 is that of poll_log", len(found), _count(found, "is_verified"))
        )
    notes = [
        f"The lake has no raw answers of {date} any more: poll_log has their SHA-256, but there is nothing to compare."
        for date in gone
    ]
    return tuple(sorted(found, key=lambda poll: (poll.query_time, poll.source, poll.feed, poll.poll_id))), checks, notes


def _count(polls: Iterable[Poll], flag: str) -> int:
    return sum(bool(getattr(poll, flag)) for poll in polls)


def _kept_answers(
    lake: Lake, query_date: dt.date, wanted: set[RowKey], *, verify: bool
) -> dict[RowKey, tuple[str, bool | None]]:
    """Of raw answers the file that holds each, and whether its body has its SHA-256 (None: not asked).

    A day may be compacted meanwhile: then what moved is looked for again.
    """
    times = {key[0] for key in wanted}
    # Its cache stays unused: files are opened and not fetched.
    store = store_at(lake.uri, Path(tempfile.gettempdir()))
    found: dict[RowKey, tuple[str, bool | None]] = {}
    for _ in range(2):
        paths = [entry.path for entry in store.list(day_folder(query_date))]
        paths = [path for path in paths if is_compacted(path) or (time_of(path) or None) in {None, *times}]
        for path, source in store.open_each(paths):
            if source is None:
                continue
            for group in read_groups(path, source):
                keys = row_keys(group.index().to_pydict())
                rows = [(row, key) for row, key in enumerate(keys) if key in wanted and key not in found]
                bodies = group.bodies() if verify and rows else None
                for row, key in rows:
                    body = None if bodies is None else bodies[row].as_py()
                    found[key] = path, None if body is None else hashlib.sha256(body).hexdigest() == key[3]
        if len(found) == len(wanted):
            break
    return found
