"""Whether each level gives the one above it: every sum, bound, quantile and estimate is computed again.

Belongs here: comparisons, by arithmetic of their own. Does not belong here: what is compared (`evidence`).
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from charging_assets.calendar import query_date_of
from charging_assets.derive.activity import Floats
from charging_assets.derive.occupancy.energy import ENERGY_MODELS
from charging_assets.derive.occupancy.opening_hours import Span
from charging_assets.reports.explanation.evidence import Day, Rows, by_point
from charging_assets.reports.explanation.formulas import COVERAGE, FORMULAS, QUANTILES, Row
from charging_assets.reports.explanation.model import KINDS, Check, Level, Poll

_ROUNDED = 0.501
"""So far a duration may lie from what was rounded to whole seconds."""

_POINTS = f"""
SELECT
    {", ".join(f"CAST(sum({kind}) AS BIGINT) AS {kind}_s" for kind in KINDS)},
    count(*) AS points,
    count(*) FILTER (occupied + free + fault > 0) AS points_observed,
    count(DISTINCT id_cs) AS stations,
    count(*) FILTER ({" + ".join(KINDS)} = ?) AS whole
FROM points
"""  # noqa: S608 - constants, as in all queries here
_TOLD = KINDS[:-1]
"""Kinds that intervals tell of; what they leave of the day is unknown."""
_INTERVALS = f"""
WITH told AS (
    SELECT id_cp, {", ".join(f"sum(ends - begins - gap_s) FILTER (kind = '{kind}') AS {kind}" for kind in _TOLD)}
    FROM intervals GROUP BY id_cp
), given AS (
    SELECT id_cp, {", ".join(f"coalesce(told.{kind}, 0) AS {kind}" for kind in _TOLD)},
        ? - {" - ".join(f"coalesce(told.{kind}, 0)" for kind in _TOLD)} AS unknown
    FROM points LEFT JOIN told USING (id_cp)
)
SELECT {", ".join(f"CAST(sum(given.{kind}) AS BIGINT) AS {kind}" for kind in KINDS)},
    count(*) FILTER ({" AND ".join(f"given.{kind} = points.{kind}" for kind in KINDS)}) AS right
FROM points JOIN given USING (id_cp)
"""  # noqa: S608
_SEEN = """
WITH found AS (
    SELECT number, count(*) AS polls, min(begins) AS begins, max(ends) AS ends FROM seen GROUP BY number
)
SELECT
    count(*) AS intervals,
    CAST(coalesce(sum(n_polls), 0) AS BIGINT) AS stated_polls,
    CAST(coalesce(sum(polls), 0) AS BIGINT) AS polls,
    count(*) FILTER (n_polls = coalesce(polls, 0)) AS as_many,
    count(polls) AS with_polls,
    count(*) FILTER (
        intervals.begins = if(is_continued, getvariable('midnight'), found.begins)
        AND intervals.ends = if(
            continues, getvariable('next_midnight'), least(found.ends, getvariable('until'))
        )
    ) AS bounded,
    CAST(coalesce(sum(gap_s), 0) AS BIGINT) AS stated_gap_s,
    (SELECT CAST(coalesce(sum(ends - begins), 0) AS BIGINT) FROM holes WHERE number IS NOT NULL) AS gap_s,
    (SELECT count(*) FROM seen WHERE number IS NULL) AS outside,
    (
        SELECT count(*) FROM seen JOIN intervals USING (number)
        WHERE seen.status IS DISTINCT FROM intervals.status OR seen.is_frozen <> intervals.is_frozen
    ) AS differing
FROM intervals LEFT JOIN found USING (number)
"""
_STATION_POLLS = """
SELECT
    count(*) AS station_polls,
    count(*) FILTER (free > 0) AS station_polls_free,
    count(*) FILTER (free + occupied > 0) AS station_polls_working,
    count(*) FILTER (counts_as = 'full') AS station_polls_full
FROM station_polls
"""
_MOST_OCCUPIED = """
SELECT coalesce(max(occupied), 0) AS max_occupied
FROM (SELECT CAST(sum(occupied) AS BIGINT) AS occupied FROM station_polls GROUP BY time)
"""


def checks_of(day: Day, kpi: str, row: Row) -> Iterator[Check]:
    """All comparisons of a figure with its evidence.

    Args:
        day: the evidence.
        kpi: the figure.
        row: the row of `kpi_daily` that has it.
    """
    formula = FORMULAS[kpi]
    if formula.ratio is not None:
        yield Check("figure", kpi, row[kpi], formula.of(row))
    if kpi != "coverage":
        yield Check("figure", "coverage", row["coverage"], COVERAGE.of(row))
    found = day.one(_POINTS, day.length)
    is_whole = found.pop("whole")
    yield from _each("points", row, found)
    yield Check("points", "points whose seconds add up to the day", len(day.points), is_whole)
    if formula.made_from == "stations":
        yield from _each("stations", row, day.one(_STATION_POLLS))
    elif formula.made_from == "busiest":
        yield from _each("busiest", row, day.one(_MOST_OCCUPIED))
    elif formula.made_from == "events":
        yield from _of_events(day.events, row)
    else:
        if formula.made_from == "hours":
            yield Check("hours", kpi, row[kpi], None if formula.hidden(row) else _peak_utilization(day))
        if formula.made_from == "open":
            yield from _of_open_hours(day, row)
        yield from _of_intervals(day)


def _each(level: Level, row: Row, found: Mapping[str, int]) -> Iterator[Check]:
    return (Check(level, name, row[name], value) for name, value in found.items())


def _of_intervals(day: Day) -> Iterator[Check]:
    """Whether the intervals give the points' seconds, and the polls the intervals: status, number, bounds, gaps."""
    by_kind = day.one(_INTERVALS, day.length)
    for kind in KINDS:
        yield Check("intervals", f"{kind}_s", sum(point[kind] for point in day.points), by_kind[kind])
    yield Check("intervals", "points whose intervals give their seconds", len(day.points), by_kind["right"])
    found = day.one(_SEEN)
    every, with_polls = found["intervals"], found["with_polls"]
    yield Check("polls", "polls that saw the points", found["stated_polls"], found["polls"])
    yield Check("polls", "intervals with as many polls as they say", every, found["as_many"])
    yield Check("polls", "polls that saw another status than their interval has", 0, found["differing"])
    yield Check("polls", "polls in no interval", 0, found["outside"])
    yield Check("polls", "intervals with polls, whose bounds follow from these", with_polls, found["bounded"])
    yield Check("polls", "gap_s", found["stated_gap_s"], found["gap_s"])


def _peak_utilization(day: Day) -> float | None:
    """The 95th percentile of the hours' utilization; None where nothing was observed."""
    ratios = [ratio for hour in day.hours if (ratio := hour["utilization"]) is not None]
    return float(np.percentile(ratios, 95)) if ratios else None


def _of_open_hours(day: Day, row: Row) -> Iterator[Check]:
    for name in ("occupied", "observed", "unknown"):
        known = [seconds[name] or 0 for seconds in day.open_seconds if seconds[name] is not None]
        yield Check("points", f"open_{name}_s", row[f"open_{name}_s"], sum(known) if known else None)
    intervals = by_point(day.rows("SELECT id_cp, begins, ends, kind FROM intervals"))
    holes = by_point(day.rows("SELECT id_cp, begins, ends FROM holes WHERE number IS NOT NULL"))
    ids = [point["id_cp"] for point in day.points]
    told = [
        (_open_seconds(spans, intervals[id_cp], holes[id_cp]), stated)
        for id_cp, spans, stated in zip(ids, day.open_spans, day.open_seconds, strict=True)
        if spans is not None
    ]
    right = sum(found == stated for found, stated in told)
    yield Check("intervals", "points whose intervals give their open seconds", len(told), right)


def _open_seconds(spans: Sequence[Span], intervals: Rows, holes: Rows) -> dict[str, int]:
    """Open seconds of a point by what its intervals say, without what lies too far from any poll."""

    def open_s(begins: int, ends: int) -> int:
        return sum(max(0, min(ends, stop) - max(begins, start)) for start, stop in spans)

    by_kind = Counter[str]()
    for row in intervals:
        bridged = (open_s(max(hole["begins"], row["begins"]), min(hole["ends"], row["ends"])) for hole in holes)
        by_kind[row["kind"]] += open_s(row["begins"], row["ends"]) - sum(bridged)
    observed = by_kind["occupied"] + by_kind["free"] + by_kind["fault"]
    unknown = sum(stop - start for start, stop in spans) - observed - by_kind["gone"]
    return {"occupied": by_kind["occupied"], "observed": observed, "unknown": unknown}


def _of_events(events: Rows, row: Row) -> Iterator[Check]:
    counted = {
        "events": len(events),
        "overstays": sum(event["is_overstay"] for event in events),
        "censored_events": sum(event["is_right_censored"] for event in events),
        "suspicious_events": sum(event["is_suspicious"] for event in events),
    }
    yield from _each("events", row, counted)
    for name, share in QUANTILES.items():
        found = None if FORMULAS[name].hidden(row) else _quantile(durations(events), share)
        yield Check("events", name, row[name], found, within=_ROUNDED)
    for name in ("energy_kwh", "energy_kwh_low", "energy_kwh_high"):
        known = [event[name] for event in events if event[name] is not None]
        yield Check("events", name, row[name], math.fsum(known) if known else None)
    estimates = sum(_has_its_estimate(event) for event in events)
    yield Check("events", "events whose energy follows from power class and duration", len(events), estimates)
    lasting = sum(event["ends"] - event["begins"] == event["duration_s"] for event in events)
    yield Check("events", "events whose duration is end - start", len(events), lasting)
    stated, found = sum(event["n_polls"] for event in events), sum(len(event["polls"] or ()) for event in events)
    yield Check("polls", "polls that saw the events", stated, found)


def durations(events: Rows) -> list[tuple[int, int]]:
    """Seconds and polls of the events whose both ends were seen."""
    return [(event["duration_s"], event["n_polls"]) for event in events if event["rank"] is not None]


def _has_its_estimate(event: Mapping[str, Any]) -> bool:
    model, stated = ENERGY_MODELS.get(event["power_class"]), event["energy_kwh"]
    if model is None or stated is None:
        return model is stated
    return math.isclose(stated, min(model.power_kw * event["duration_s"] / 3600, model.cap_kwh), rel_tol=1e-9)


def shorter(lasting: Sequence[tuple[int, int]], than_s: float) -> tuple[int, float]:
    """How many events are shorter than so many seconds: those that are as a whole, and in part.

    Each duration is spread evenly over the poll that it was rounded to: half of it before, half of it after.

    Args:
        lasting: as `durations` gives them.
        than_s: in seconds.
    """
    parts = _parts_shorter(np.array(lasting, np.float64).reshape(-1, 2), than_s)
    return int((parts >= 1).sum()), float(parts[parts < 1].sum())


def _parts_shorter(every: Floats, than_s: float) -> Floats:
    """How much of each event is shorter, 0 to 1; a row of `every` is seconds and polls."""
    length, poll_s = every[:, 0], every[:, 0] / every[:, 1]
    return np.clip((than_s - length + poll_s / 2) / poll_s, 0, 1)


def _quantile(lasting: Sequence[tuple[int, int]], share: float) -> float | None:
    """The duration than which that share of the events is shorter, in seconds; of a range of such ones the middle."""
    if not lasting:
        return None
    every = np.array(lasting, np.float64)

    def reached(wanted: float) -> float:
        """The least duration than which so many events are shorter, by bisection."""
        low, high = 0.0, 2 * float(every[:, 0].max())
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (low, middle) if _parts_shorter(every, middle).sum() >= wanted else (middle, high)
        return high

    wanted, close = share * len(every), 1e-9 * len(every)
    return (reached(wanted - close) + reached(wanted + close)) / 2


def checks_of_answers(polls: Sequence[Poll], gone: Collection[dt.date], *, verify: bool) -> Iterator[Check]:
    """Whether the lake has the raw answers, of all days but those that are `gone`; with `verify`, all bodies."""
    held = [poll for poll in polls if query_date_of(poll.query_time) not in gone]
    found = sum(poll.raw_file is not None for poll in held)
    yield Check("answers", "answers that the raw files have by their SHA-256", len(held), found)
    if verify:
        verified = sum(poll.is_verified is True for poll in polls)
        yield Check("answers", "bodies whose SHA-256 is that of poll_log", len(polls), verified)
