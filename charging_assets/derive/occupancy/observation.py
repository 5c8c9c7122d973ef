"""The rules of observation: what is known of a charging point at, between and around its polls.

Every table of occupancy is made from here, so a rule is written down once:

- A status holds around its poll. Between two polls the boundary lies midway, but at most 0.75 poll from each; what lies
  further away was not observed. A poll is as long as the greater interval recorded with the two.
- Up to 3 missing polls between equal statuses do not end a run: the gap is bridged, and its seconds beyond 0.75 poll of
  either side stay unknown. More do, and what lies on either side of them is censored.
- Frozen sights (`frozen_spans`) are runs of their own and no observation; what they cut off is censored.
- The clock is the query time. What a point does is independent of which feed tells it.

Belongs here: runs of equal status and their bounds, which moments of a day were observed. Does not belong here: what is
made of them (`intervals`, `events`, `hourly`, `kpis`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import day_bounds
from charging_assets.derive.activity import Feed, Flags, Ints, codes, feed_codes, feeds_in, intervals_of, seconds
from charging_assets.lake import Lake

CLASSES = ("free", "occupied", "fault", "gone", "unknown")
"""Status classes by code."""
FREE, OCCUPIED, FAULT, GONE, UNKNOWN = range(5)

MOST_MISSING = 3
"""So many missing polls between equal statuses are bridged."""

HOLDS = 0.75
"""A status holds at most so many polls before and after the one that saw it."""

_TIME_BITS = 34
"""A (point, time) pair in one integer."""

_FACTS = ("id_chargingpoint", "query_time", "status_cp", "source", "feed", "status_class")
_SPANS = ("source", "feed", "id_cp", "start_time", "end_time")


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of sights of equal status and equally frozen, in columns, by point and time.

    Times are UTC, in whole seconds since 1970, as all times here.
    """

    point: Ints
    status: Ints
    status_class: Ints
    """Index into `CLASSES`."""
    is_frozen: Flags
    feed: Ints
    """Of the first sight."""
    first: Ints
    """Query time of the first sight."""
    last: Ints
    """Query time of the last sight."""
    polls: Ints
    first_interval: Ints
    """Interval of polling that was in force at the first sight."""
    last_interval: Ints

    def __len__(self) -> int:
        return len(self.point)

    def take(self, chosen: Ints | Flags) -> "Runs":
        """Some of them, by mask or by index."""
        return Runs(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Gaps:
    """Bridged gaps inside of runs, by run and time: moments that are too far from any sight."""

    run: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class SeenDay:
    """What a day's polls saw, reduced to runs. Gaps up to the neighbouring days are not its own."""

    start: int
    last_poll: int
    """Its last query time; its start without any."""
    feeds: list[Feed]
    """That some poll asked, sorted: what `Runs.feed` is the index into."""
    ids: pa.StringArray
    """Sorted: what `Runs.point` is the index into."""
    statuses: list[str | None]
    """What `Runs.status` is the index into."""
    runs: Runs
    gaps: Gaps


@dataclass(frozen=True, slots=True)
class Spans:
    """Runs with their bounds, of all points of several days, by point and time."""

    runs: Runs
    start: Ints
    end: Ints
    is_left_censored: Flags
    is_right_censored: Flags
    has_gap: Flags
    gaps: Gaps


@dataclass(frozen=True, slots=True)
class Pieces:
    """Observed time of a day, by point and time, disjoint. What is in no piece is unknown."""

    point: Ints
    """Index into `ObservedDay.ids`."""
    start: Ints
    end: Ints
    status_class: Ints
    """Index into `CLASSES`; never `UNKNOWN`."""


@dataclass(frozen=True, slots=True)
class Sights:
    """The polls of a day that observed a point: not the frozen ones, nor those that say nothing. By point and time."""

    point: Ints
    """Index into `ObservedDay.ids`."""
    time: Ints
    status_class: Ints


@dataclass(frozen=True, slots=True)
class ObservedDay:
    """What was observed on a day, in the light of the days around it."""

    query_date: dt.date
    start: int
    """Midnight."""
    until: int
    """The next midnight; while the day goes on, the last poll."""
    end: int
    """The next midnight."""
    feeds: list[Feed]
    statuses: list[str | None]
    ids: pa.StringArray
    """Charging points of the day, sorted: seen on it, or last seen on a day before if their feed has not answered
    since."""
    feed: Ints
    """Per point, index into `feeds`: of several that answered it on the day (or on its last one) the first by name."""
    spans: Spans
    """Of these points on all days around; their `status` and `feed` are indices into `statuses` and `feeds`."""
    polls: Ints
    """Per span, how many of its polls are of the day."""
    pieces: Pieces
    sights: Sights


def see_day(lake: Lake, query_date: dt.date) -> SeenDay:
    """Reduce a day's `status_chargingpoints` to runs, with its `poll_log` and `frozen_spans`.

    Raises:
        LakeError: a file is damaged, or of another version.
    """
    start = int(day_bounds(query_date)[0].timestamp())
    seen = _Seen(lake, query_date)
    same = seen.is_same_run
    begin = np.flatnonzero(~same)
    stop = np.append(begin[1:], len(seen.time))[: len(begin)] - 1
    is_bridge = same & (seen.distance > 2 * _holds(seen.poll_s))
    at = np.flatnonzero(is_bridge)
    run_of = np.cumsum(~same) - 1
    runs = Runs(
        seen.point[begin],
        seen.status[begin],
        seen.status_class[begin],
        seen.is_frozen[begin],
        seen.feed[begin],
        seen.time[begin],
        seen.time[stop],
        stop - begin + 1,
        seen.interval_s[begin],
        seen.interval_s[stop],
    )
    held = _holds(seen.poll_s[at])
    gaps = Gaps(run_of[at], seen.time[at - 1] + held, seen.time[at] - held)
    return SeenDay(start, max(seen.last_poll, start), seen.feeds, seen.ids, seen.statuses, runs, gaps)


def observe(lake: Lake, query_date: dt.date, days: Sequence[SeenDay], *, is_closed: bool) -> ObservedDay:
    """What was observed on a day.

    Args:
        lake: has the day's facts, whose single sights are read again.
        query_date: the day.
        days: what was seen on it and on the days around it, as far as there are such, in their order.
        is_closed: whether no poll of the day is to come. Until then it counts up to its last poll.

    Raises:
        LakeError: a file is damaged, or of another version.
    """
    start, end = (int(bound.timestamp()) for bound in day_bounds(query_date))
    today = next(day for day in days if day.start == start)
    until = end if is_closed else min(end, today.last_poll)
    joined = _Joined(days)
    points, feed = _points_of(joined, days, start)
    ids = joined.ids.take(pa.array(points))
    spans, polls = _bounded(*joined.of_points(points), start, end)
    return ObservedDay(
        query_date,
        start,
        until,
        end,
        joined.feeds,
        joined.statuses,
        ids,
        feed,
        spans,
        polls,
        _pieces(spans, start, until),
        _sights(_Seen(lake, query_date), ids),
    )


class _Seen:
    """The sights of a day in columns, by point and time."""

    def __init__(self, lake: Lake, query_date: dt.date) -> None:
        log = lake.read("poll_log", query_date, ("query_time", "source", "feed", "interval_s"))
        facts = lake.read("status_chargingpoints", query_date, _FACTS)
        self.feeds = feeds_in(log)
        feed = feed_codes(facts, self.feeds)
        if (feed < 0).any():  # no poll tells of them: something else has written to this lake
            facts = facts.filter(pa.array(feed >= 0))
            feed = feed[feed >= 0]
        self.last_poll = int(seconds(log["query_time"]).max(initial=0))
        id_, texts = codes(facts["id_chargingpoint"])
        self.is_first = np.diff(id_, prepend=-1) != 0
        self.ids = pa.array(texts, pa.string()).take(pa.array(id_[self.is_first]))
        self.point = np.cumsum(self.is_first) - 1
        self.feed, self.time = feed, seconds(facts["query_time"])
        status, statuses = codes(facts["status_cp"])
        self.statuses = [*statuses, None]
        self.status = np.where(status < 0, len(statuses), status)
        status_class, classes = codes(facts["status_class"])
        places = np.array([CLASSES.index(name) for name in classes], np.int64)
        self.status_class = places[status_class] if len(places) else status_class
        times, interval_s = intervals_of(log, self.feeds)
        self.interval_s = interval_s[feed, np.searchsorted(times, self.time)].astype(np.int64) if len(times) else feed
        self.is_frozen = _is_frozen(self, lake.read("frozen_spans", query_date, _SPANS))
        self.distance = np.diff(self.time, prepend=0)
        """To the sight before, in seconds; means nothing at the first one of a point."""
        self.poll_s = np.maximum(self.interval_s, np.roll(self.interval_s, 1))
        self.is_same_run = (
            ~self.is_first
            & ~_changes(self.status)
            & ~_changes(self.is_frozen)
            & (_missing(self.distance, self.poll_s) <= MOST_MISSING)
        )


class _Joined:
    """The runs of several days, by point and time, and which of them go on in the next one."""

    def __init__(self, days: Sequence[SeenDay]) -> None:
        self.feeds = sorted({feed for day in days for feed in day.feeds})
        self.statuses = list(dict.fromkeys(text for day in days for text in day.statuses))
        ids = pa.concat_arrays([day.ids for day in days]).unique()
        self.ids = ids.take(pc.sort_indices(ids))
        feeds = {feed: code for code, feed in enumerate(self.feeds)}
        statuses = {text: code for code, text in enumerate(self.statuses)}
        parts, gaps, before = [], [], 0
        for day in days:
            runs = day.runs
            feed = np.array([feeds[feed] for feed in day.feeds], np.int64)
            status = np.array([statuses[text] for text in day.statuses], np.int64)
            point = pc.index_in(day.ids, value_set=self.ids).to_numpy(zero_copy_only=False).astype(np.int64)
            parts.append(replace(runs, point=point[runs.point], feed=feed[runs.feed], status=status[runs.status]))
            gaps.append(np.stack([day.gaps.run + before, day.gaps.start, day.gaps.end]))
            before += len(runs)
        runs = Runs(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Runs)))
        order = np.lexsort((runs.first, runs.point))
        self.runs = runs.take(order)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        run, start, end = np.concatenate(gaps, axis=1)
        self.gaps = Gaps(place[run], start, end)

    def of_points(self, points: Ints) -> tuple[Runs, Gaps]:
        """Runs and gaps of some points (sorted), by the numbers that they have among these."""
        place = np.full(len(self.ids), -1)
        place[points] = np.arange(len(points))
        is_chosen = place[self.runs.point] >= 0
        runs = self.runs.take(is_chosen)
        number = np.cumsum(is_chosen) - 1
        of_gap = is_chosen[self.gaps.run]
        gaps = Gaps(number[self.gaps.run[of_gap]], self.gaps.start[of_gap], self.gaps.end[of_gap])
        return replace(runs, point=place[runs.point]), gaps


def _bounded(runs: Runs, gaps: Gaps, start: int, end: int) -> tuple[Spans, Ints]:
    """Join what goes on over midnight, and find the bounds; also how many polls of each lie in [start, end)."""
    distance, poll_s = _between(runs)
    follows = ~_changes(runs.point)
    is_same = (
        follows & ~_changes(runs.status) & ~_changes(runs.is_frozen) & (_missing(distance, poll_s) <= MOST_MISSING)
    )
    held = _holds(poll_s)
    bridge = np.flatnonzero(is_same & (distance > 2 * held))
    number = np.cumsum(~is_same) - 1
    gaps = _sorted_gaps(
        np.concatenate([number[gaps.run], number[bridge]]),
        np.concatenate([gaps.start, runs.last[bridge - 1] + held[bridge]]),
        np.concatenate([gaps.end, runs.first[bridge] - held[bridge]]),
    )
    begin = np.flatnonzero(~is_same)
    stop = np.append(begin[1:], len(runs))[: len(begin)] - 1
    is_of_day = (runs.first >= start) & (runs.first < end)
    polls, polls_of_day = (
        np.bincount(number, weights, len(begin)).astype(np.int64) for weights in (runs.polls, runs.polls * is_of_day)
    )
    joined = replace(runs.take(begin), last=runs.last[stop], polls=polls, last_interval=runs.last_interval[stop])
    return _with_bounds(joined, gaps), polls_of_day


def _with_bounds(runs: Runs, gaps: Gaps) -> Spans:
    distance, poll_s = _between(runs)
    follows = ~_changes(runs.point)
    held = _holds(poll_s)
    is_near = follows & (distance <= 2 * held)
    is_cut = ~follows | (_missing(distance, poll_s) > MOST_MISSING) | _changes(runs.is_frozen)
    is_broken = follows & ~is_near
    first_hold = np.where(follows, held, _holds(runs.first_interval))
    start = runs.first - np.where(is_near, distance - distance // 2, first_hold)
    # The end of a run is the matter of the one that follows it.
    followed, near, cut, broken = (
        np.append(of_next[1:], last)
        for of_next, last in ((follows, False), (is_near, False), (is_cut, True), (is_broken, False))
    )
    distance, held = np.append(distance[1:], 0), np.append(held[1:], 0)
    end = runs.last + np.where(near, distance // 2, np.where(followed, held, _holds(runs.last_interval)))
    has_gap = is_broken | broken
    has_gap[gaps.run] = True
    return Spans(runs, start, end, is_cut, cut, has_gap, gaps)


def _points_of(joined: _Joined, days: Sequence[SeenDay], start: int) -> tuple[Ints, Ints]:
    """The points of the day that begins at `start`, sorted, and the feed of each; see `ObservedDay`."""
    runs = joined.runs
    starts = np.array([day.start for day in days])
    day = np.searchsorted(starts, runs.first, side="right") - 1
    today = int(np.searchsorted(starts, start))
    is_past = day <= today
    point, feed, day = runs.point[is_past], runs.feed[is_past], day[is_past]
    last_of_point = np.full(len(joined.ids), -1)
    np.maximum.at(last_of_point, point, day)
    last_of_feed = np.full(len(joined.feeds), -1)
    np.maximum.at(last_of_feed, feed, day)
    is_last = day == last_of_point[point]
    feed_of = np.full(len(joined.ids), len(joined.feeds))
    np.minimum.at(feed_of, point[is_last], feed[is_last])
    points = np.flatnonzero(last_of_point >= 0)
    points = points[
        last_of_point[points] == np.where(last_of_point[points] == today, today, last_of_feed[feed_of[points]])
    ]
    return points, feed_of[points]


def _pieces(spans: Spans, start: int, until: int) -> Pieces:
    """What of the spans was observed in [start, until): neither gaps nor frozen time nor unknown statuses."""
    runs, gaps = spans.runs, spans.gaps
    tells = ~runs.is_frozen & (runs.status_class != UNKNOWN)
    every = np.arange(len(runs))
    begin = _sorted_by_run(np.concatenate([every, gaps.run]), np.concatenate([spans.start, gaps.end]))
    stop = _sorted_by_run(np.concatenate([every, gaps.run]), np.concatenate([spans.end, gaps.start]))
    run, begins, ends = begin[0], np.maximum(begin[1], start), np.minimum(stop[1], until)
    is_piece = tells[run] & (begins < ends)
    run = run[is_piece]
    return Pieces(runs.point[run], begins[is_piece], ends[is_piece], runs.status_class[run])


def _sights(seen: _Seen, ids: pa.StringArray) -> Sights:
    tells = ~seen.is_frozen & (seen.status_class != UNKNOWN)
    place = pc.index_in(seen.ids, value_set=ids).to_numpy(zero_copy_only=False).astype(np.int64)
    return Sights(place[seen.point[tells]], seen.time[tells], seen.status_class[tells])


def _is_frozen(seen: _Seen, spans: pa.Table) -> Flags:
    """Whether each sight lies in a frozen span of its point and feed."""
    if not spans.num_rows or not len(seen.time):
        return np.zeros(len(seen.time), bool)
    point = pc.index_in(spans["id_cp"], value_set=seen.ids).fill_null(-1).to_numpy().astype(np.int64)
    feed = feed_codes(spans, seen.feeds)
    is_known = (point >= 0) & (feed >= 0)
    if not is_known.any():
        return np.zeros(len(seen.time), bool)
    key = _key(point[is_known] * len(seen.feeds) + feed[is_known], seconds(spans["start_time"])[is_known])
    ends = seconds(spans["end_time"])[is_known]
    order = np.argsort(key)
    key, ends = key[order], ends[order]
    pair = seen.point * len(seen.feeds) + seen.feed
    at = np.searchsorted(key, _key(pair, seen.time), side="right") - 1
    return np.asarray((at >= 0) & (key[at] >> _TIME_BITS == pair) & (seen.time < ends[at]), bool)


def _between(runs: Runs) -> tuple[Ints, Ints]:
    """From the last sight of the run before to the first of each, and the poll there; nothing at a point's first."""
    distance = runs.first - np.roll(runs.last, 1)
    return distance, np.maximum(runs.first_interval, np.roll(runs.last_interval, 1))


def _changes(column: Ints | Flags) -> Flags:
    """Whether each value differs from the one before; the first one does."""
    changes = np.ones(len(column), bool)
    changes[1:] = column[1:] != column[:-1]
    return changes


def _missing(distance: Ints, poll_s: Ints) -> Ints:
    """How many polls are missing between two sights."""
    return np.asarray(np.rint(distance / np.maximum(poll_s, 1)).astype(np.int64) - 1)


def _holds(poll_s: Ints) -> Ints:
    """For how many seconds a status holds at most before and after a poll."""
    return np.asarray(poll_s * HOLDS).astype(np.int64)


def _sorted_gaps(run: Ints, start: Ints, end: Ints) -> Gaps:
    order = np.lexsort((start, run))
    return Gaps(run[order], start[order], end[order])


def _sorted_by_run(run: Ints, time: Ints) -> tuple[Ints, Ints]:
    order = np.lexsort((time, run))
    return run[order], time[order]


def _key(pair: Ints, time: Ints) -> Ints:
    return np.asarray(pair << _TIME_BITS | time)
