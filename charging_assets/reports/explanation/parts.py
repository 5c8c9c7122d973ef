"""The levels of an explanation, as far as they are shown: points with their intervals, hours, stations, events.

Belongs here: what of the evidence is shown, and the words beside it. Does not belong here: whether it adds up
(`checks`).
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

from charging_assets.calendar import BERLIN
from charging_assets.derive.occupancy.energy import ENERGY_MODELS
from charging_assets.derive.occupancy.observation import HOLDS
from charging_assets.derive.occupancy.opening_hours import Span
from charging_assets.reports.explanation.evidence import WHEREABOUTS, Day, Rows, by_point, time_of
from charging_assets.reports.explanation.formulas import FORMULAS, QUANTILES, Formula
from charging_assets.reports.explanation.model import (
    KINDS,
    Busiest,
    Event,
    Hour,
    Interval,
    Point,
    Poll,
    Station,
    StationPoll,
    Unobserved,
)

_FLAGS = {
    "is_continued": "goes on from the day before",
    "continues": "goes on the next day",
    "is_left_censored": "beginning not seen",
    "is_right_censored": "end not seen",
    "has_gap": "polls missing within or beside it",
    "is_single_poll": "seen by one poll alone",
    "is_suspicious": "suspiciously long",
    "is_overstay": "overstay",
}
_COUNTED = {
    "overstays": ("is_overstay",),
    "overstay_share": ("is_overstay",),
    "suspicious_events": ("is_suspicious",),
    "censored_events": ("is_right_censored",),
}
"""By figure, the flags of the events that it counts; of others, all events count."""

_INTERVALS = """
SELECT intervals.*, list(poll ORDER BY time) FILTER (poll IS NOT NULL) AS polls
FROM intervals LEFT JOIN seen USING (number)
WHERE intervals.id_cp IN (SELECT unnest(?)) GROUP BY ALL ORDER BY number
"""
_STATIONS = """
WITH stations AS (
    SELECT station, any_value(id_cs) AS id_cs, list(id_cp ORDER BY id_cp) AS points FROM points GROUP BY station
), counted AS (
    SELECT station,
        count(*) AS polls,
        count(*) FILTER (free > 0) AS polls_free,
        count(*) FILTER (free + occupied > 0) AS polls_working,
        count(*) FILTER (counts_as = 'full') AS polls_full
    FROM station_polls GROUP BY station
)
SELECT stations.*, counted.* EXCLUDE (station) FROM stations LEFT JOIN counted USING (station)
ORDER BY polls - polls_free DESC NULLS LAST, points[1] LIMIT ?
"""
_BUSY = """
SELECT time, CAST(sum(occupied) AS BIGINT) AS occupied FROM station_polls GROUP BY time ORDER BY occupied DESC, time
"""


class Shown(NamedTuple):
    """What is shown of a figure; of other parts than it is made from, nothing."""

    points: tuple[Point, ...]
    hours: tuple[Hour, ...]
    stations: tuple[Station, ...]
    busiest: Busiest | None
    events: tuple[Event, ...]

    def polls(self) -> set[str]:
        """Keys of the polls that saw it."""
        return {
            *chain.from_iterable(interval.polls for point in self.points for interval in point.intervals),
            *chain.from_iterable(poll.polls for station in self.stations for poll in station.timeline),
            *chain.from_iterable(event.polls for event in self.events),
            *(self.busiest.polls if self.busiest else ()),
        }


def shown_of(day: Day, kpi: str, value: float | None, most: int | None) -> Shown:
    """The parts of a figure, at most so many points, stations and events."""
    formula = FORMULAS[kpi]
    return Shown(
        points=_points(day, formula, most),
        hours=_hours(day) if formula.made_from == "hours" else (),
        stations=_stations(day, most) if formula.made_from == "stations" else (),
        busiest=_busiest(day) if formula.made_from == "busiest" else None,
        events=_events(day, kpi, value, most) if formula.made_from == "events" else (),
    )


def _points(day: Day, formula: Formula, most: int | None) -> tuple[Point, ...]:
    """The points with most of what the figure is about, with their intervals where it is made from these."""
    shown = sorted(range(len(day.points)), key=lambda number: -day.points[number][formula.shown_first])[:most]
    ids = [day.points[number]["id_cp"] for number in shown]
    has_intervals, is_open = formula.made_from in ("time", "open", "hours"), formula.made_from == "open"
    intervals = by_point(day.rows(_INTERVALS, ids) if has_intervals else ())
    holes = by_point(day.rows("FROM holes WHERE id_cp IN (SELECT unnest(?)) ORDER BY begins", ids))
    return tuple(
        Point(
            **{name: day.points[number][name] for name in WHEREABOUTS},
            seconds=_by_kind(day.points[number]),
            opening_hours=_hours_in_words(day, day.open_spans[number]) if is_open else None,
            open_seconds=day.open_seconds[number] if is_open else {},
            intervals=tuple(_intervals(day, intervals[id_cp], holes[id_cp])),
            unobserved=tuple(_outside(day, intervals[id_cp], day.points[number])) if has_intervals else (),
        )
        for number, id_cp in zip(shown, ids, strict=True)
    )


def _by_kind(row: Mapping[str, int]) -> dict[str, int]:
    """The seconds of a row, by `KINDS`."""
    return {kind: row[kind] for kind in KINDS}


def _hours_in_words(day: Day, spans: Sequence[Span] | None) -> str:
    if spans is None:
        return "not known"
    if spans == [(day.start, day.until)]:
        return "all day"
    clocks = (f"{_local(time_of(begin))[11:]} to {_local(time_of(end))[11:]}" for begin, end in spans)
    return ", ".join(clocks) or "closed all day"


def _intervals(day: Day, intervals: Rows, holes: Rows) -> Iterator[Interval]:
    for row in intervals:
        gaps = [(hole["begins"], hole["ends"]) for hole in holes if hole["number"] == row["number"]]
        yield Interval(
            start=time_of(row["begins"]),
            end=time_of(row["ends"]),
            seconds=row["ends"] - row["begins"],
            counts_as=row["kind"],
            **{name: row[name] for name in ("status", "status_class", "gap_s", "n_polls")},
            flags=(*_flags(row), *_freezes(day, row)),
            polls=tuple(row["polls"] or ()),
            gaps=tuple(_unobserved(day, row, intervals, *gap) for gap in gaps),
        )


def _outside(day: Day, intervals: Rows, point: Mapping[str, Any]) -> Iterator[Unobserved]:
    """Time of a point that is in none of its intervals."""
    begins = [day.start, *(row["ends"] for row in intervals)]
    ends = [*(row["begins"] for row in intervals), day.until]
    spans = [span for span in zip(begins, ends, strict=True) if span[0] < span[1]]
    return (_unobserved(day, point, intervals, *span) for span in spans)


def _flags(row: Mapping[str, Any]) -> Iterator[str]:
    return (words for flag, words in _FLAGS.items() if row.get(flag))


def _freezes(day: Day, row: Mapping[str, Any]) -> Iterator[str]:
    """In words, what made an interval frozen."""
    if not row["is_frozen"]:
        return
    start, end = time_of(row["begins"]), time_of(row["ends"])
    spans = [span for span in day.frozen_spans[row["id_cp"]] if span["start_time"] < end and span["end_time"] > start]
    for span in spans:
        until = f"until {_local(span['freeze_end'])}" if span["freeze_end"] else "and went on"
        yield (
            f"frozen ({span['kind'].replace('_', ' ')}) since {_local(span['freeze_start'])} {until}: "
            f"{span['expected_changes']:.1f} changes were to be expected and none came"
        )
    if not spans:
        yield "frozen, but no row of frozen_spans says so"


def _unobserved(day: Day, of: Mapping[str, Any], intervals: Rows, start: int, end: int) -> Unobserved:
    """Time that was not observed; `of` tells the feed, and the point's intervals which polls saw it."""
    seen = {poll for row in intervals for poll in row["polls"] or ()}
    reasons = _reasons(time_of(start), time_of(end), day.log.get((of["source"], of["feed"]), []), seen)
    return Unobserved(time_of(start), time_of(end), end - start, tuple(reasons))


def _reasons(start: dt.datetime, end: dt.datetime, polls: Sequence[Poll], seen: set[str]) -> Iterator[str]:
    """Why a point was not observed from `start` to `end`, in sentences.

    Args:
        start: where the time begins.
        end: where it ends.
        polls: of its feed on the day, by time.
        seen: keys of the polls that saw the point.
    """
    within = [poll for poll in polls if start <= poll.query_time < end]
    failed = Counter(f"{poll.outcome}: {poll.reason or 'no reason given'}" for poll in within if poll.outcome != "ok")
    for reason, count in failed.most_common():
        yield f"{counted(count, 'poll')} of the feed gave nothing usable ({reason})"
    absent = sum(poll.outcome == "ok" and poll.key not in seen for poll in within)
    if absent:
        yield f"{counted(absent, 'good answer')} did not have the point"
    before = [poll for poll in polls if poll.query_time < start][-1:]
    after = [poll for poll in polls if poll.query_time >= end][:1]
    around = [*before, *within, *after]
    if not around:
        yield "no poll of the feed was made on this day"
        return
    if not before and around[0].query_time > start:
        yield f"no poll of the feed was made before {_local(around[0].query_time)}"
    for one, other in pairwise(around):
        planned_s = max(one.interval_s, other.interval_s)
        if (other.query_time - one.query_time).total_seconds() > 2 * HOLDS * planned_s:
            yield (
                f"no poll of the feed was made between {_local(one.query_time)} and {_local(other.query_time)} "
                f"(planned: every {planned_s:,} s)"
            )
    if not after and (end - around[-1].query_time).total_seconds() > HOLDS * around[-1].interval_s:
        yield f"no poll of the feed was made after {_local(around[-1].query_time)}"


def _hours(day: Day) -> tuple[Hour, ...]:
    """The hours of the day."""
    return tuple(
        Hour(time_of(row["time"]), time_of(row["time"]).astimezone(BERLIN).hour, _by_kind(row), row["utilization"])
        for row in day.hours
    )


def _stations(day: Day, most: int | None) -> tuple[Station, ...]:
    """The stations that were least often free, poll by poll."""
    shown = day.rows(_STATIONS, most)
    timelines = defaultdict(list)
    for row in day.rows(
        "FROM station_polls WHERE station IN (SELECT unnest(?)) ORDER BY time", [row["station"] for row in shown]
    ):
        polls, time = tuple(row.pop("polls")), time_of(row.pop("time"))
        timelines[row.pop("station")].append(StationPoll(query_time=time, polls=polls, **row))
    return tuple(
        Station(
            id_cs=row["id_cs"],
            points=tuple(row["points"]),
            **{name: row[name] or 0 for name in ("polls", "polls_free", "polls_working", "polls_full")},
            timeline=tuple(timelines[row["station"]]),
        )
        for row in shown
    )


def _busiest(day: Day) -> Busiest | None:
    """The first of the polls at which most points were occupied; None where none was at any."""
    polls = day.rows(_BUSY)
    if not polls or not polls[0]["occupied"]:
        return None
    time, most = polls[0]["time"], polls[0]["occupied"]
    seen = day.rows("FROM seen WHERE time = ? AND kind = 'occupied' AND NOT is_frozen ORDER BY id_cp", time)
    return Busiest(
        query_time=time_of(time),
        occupied=most,
        polls_as_busy=sum(row["occupied"] == most for row in polls),
        points=tuple(row["id_cp"] for row in seen),
        polls=tuple(sorted({row["poll"] for row in seen})),
    )


def _events(day: Day, kpi: str, value: float | None, most: int | None) -> tuple[Event, ...]:
    """The events that matter most for the figure, by time; for a quantile those around it, by duration."""

    def distance(row: Mapping[str, Any]) -> tuple[float, ...]:
        if kpi in QUANTILES:
            return row["rank"] is None, abs(row["duration_s"] - (value or 0))
        is_counted = any(row[flag] for flag in _COUNTED.get(kpi, ()))
        return not is_counted, -(row["energy_kwh"] or 0) if kpi.startswith("energy_") else 0, -row["duration_s"]

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return (row["rank"] is None, row["rank"] or 0) if kpi in QUANTILES else (row["begins"], row["id_cp"])

    copied = ("id_cp", "id_cs", "power_class", "duration_s", "status", "n_polls", "gap_s", "rank")
    return tuple(
        Event(
            **{name: row[name] for name in (*copied, "energy_kwh", "energy_kwh_low", "energy_kwh_high")},
            start=time_of(row["begins"]),
            end=time_of(row["ends"]),
            flags=(*_flags(row), *(["cut off by frozen time"] if row["is_frozen"] else [])),
            energy_words=_energy_in_words(row),
            polls=tuple(row["polls"] or ()),
        )
        for row in sorted(sorted(day.events, key=distance)[:most], key=place)
    )


def _energy_in_words(event: Mapping[str, Any]) -> str:
    model = ENERGY_MODELS.get(event["power_class"])
    if model is None:
        return "its power is not known"
    return f"min({model.power_kw} kW * {event['duration_s'] / 3600:.3f} h, {model.cap_kwh:g} kWh)"


def counted(count: int, what: str) -> str:
    """Such as `2 polls`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _local(time: dt.datetime) -> str:
    return time.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M:%S")
