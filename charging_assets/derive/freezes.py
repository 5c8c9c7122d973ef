"""Freezes: feeds, or parts of them, that go on answering while their statuses stand still.

Silence is no proof: a small feed is silent for hours, every feed at night. So silence is weighed against the changes
that were to be expected. Each point has a rate of its own and follows the hours of the week of all feeds. A stretch of
silence is a freeze when it is e^14 times likelier of a group of points (a feed, or an operator's points in it) that is
frozen, in whole or at least by half, than of one that lives. For a large group that is silent as a whole this is the
rule "14 changes were expected and none came"; a small one needs twice as many, and a single point never suffices:
people leave real points alone for days.

`benchmarks/freezes.py` measures what is found, and what is called frozen that lives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charging_assets.derive.activity import Flags, Floats, Ints, Window

_HOUR_S = 3600

Expected = NDArray[np.float32]
"""Changes expected of points in hours."""

FreezeKind = Literal["whole", "part", "mass_reset"]

_NATS = 14.0
"""Evidence needed: natural logarithm of how much likelier the silence is if frozen."""

_BURSTINESS = 2.0
"""A live point that expects L changes is silent with probability (1 + L/b)^-b; Poisson's e^-L is for b = infinity."""

_SHARES = (1.0, 0.95, 0.8, 0.5)
"""Frozen shares of a group of points that are tried. Of less than half, nobody could say which points these are."""

_BELONGS = 0.8
"""A silent point is named as frozen when that is so likely. At 0.95 half as many hours are called frozen that are not,
but of a feed that is half frozen a third of the points is named instead of two."""

_STEP_H = 3
"""Distance of the bounds that are tried; the best are then moved to the polls."""

_HOURLY_CHANGES = 3.0 / 24
_HOURLY_CHANGES_WEIGHT = 10.0 * 24
"""What a point does where nothing better is known, and how many hours of a point's observation that counts for."""
_FEED_WEIGHT = 20.0
_POINT_WEIGHT = 3.0
"""Changes after which a feed's, a point's own rate counts as much as that of all feeds, of its feed."""
_LEAST_RATE = 0.05
"""Of the rate of all feeds, at the least: what has been frozen for the whole window must not pass for quiet."""

_NIGHT, _DAY = (0.2, 0.2, 0.2, 0.2, 0.2, 0.3, 0.4, 0.6), (0.9, 1.2, 1.4, 1.7, 1.9, 1.9, 1.8, 1.8, 1.8, 1.9, 1.6, 1.3)
_BY_HOUR = np.array([*_NIGHT, *_DAY, 1.0, 0.7, 0.5, 0.3])
"""Changes by local hour of the day, on average 1, where nothing better is known."""
_HOUR_WEIGHT = 20.0
"""Changes after which an hour of the day, or of the week, counts as much as what is assumed of it."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Points of one feed whose statuses are no observations from `start` until before `end`."""

    feed: int
    """Index into `Window.feeds`."""
    kind: FreezeKind
    start: int
    """The first poll after the last change of all these points; of a mass reset, the poll that showed it."""
    end: int | None
    """The poll that saw the first change of one of them; None: it goes on at the last poll there is."""
    points: Ints
    """Indices into the points of the window."""
    expected: float
    """Changes expected of these points meanwhile."""
    evidence: float
    """In nats."""
    proven: int
    """When the evidence sufficed, to the hour."""


def expected_changes(window: Window, frozen: Sequence[Freeze] = ()) -> Expected:
    """Changes that each point's habits let expect, shape (points, hours); none while it was in fault or not seen.

    What `frozen` covers does not count for the habits.
    """
    alive, is_real = _without(window, frozen)
    hour_of_change = (window.changes.time - window.start) // _HOUR_S
    by_hour_changes = np.bincount(hour_of_change, is_real, len(window.hour_of_week))
    by_hour_alive = alive.sum(axis=0, dtype=float)

    weight = _HOURLY_CHANGES_WEIGHT
    rate = (_HOURLY_CHANGES * weight + by_hour_changes.sum()) / (weight + by_hour_alive.sum())
    profile = _profile(window.hour_of_week, by_hour_changes, rate * by_hour_alive)

    exposure = alive @ profile.astype(np.float32)
    by_point = np.bincount(window.changes.point, is_real, len(window.feed))
    feeds = len(window.feeds)
    of_feed = _shrunk(
        np.bincount(window.feed, by_point, feeds), np.bincount(window.feed, exposure, feeds), rate, _FEED_WEIGHT
    )
    of_point = _shrunk(by_point, exposure, of_feed[window.feed], _POINT_WEIGHT)
    of_point = np.maximum(of_point, _LEAST_RATE * max(rate, _HOURLY_CHANGES))
    expected: Expected = window.hours_alive * of_point[:, None].astype(np.float32) * profile.astype(np.float32)
    return expected


def find_freezes(window: Window) -> tuple[list[Freeze], Expected]:
    """All freezes of a window, likeliest first within a feed; and the changes expected, as `expected_changes`.

    Freezes spoil the habits that they are judged by: what is found is left out, and the search made again.
    """
    expected = expected_changes(window)
    freezes = list(_search(window, expected))
    if freezes:
        expected = expected_changes(window, freezes)
        freezes = list(_search(window, expected))
    return freezes, expected


def _search(window: Window, expected: Expected) -> Iterator[Freeze]:
    hours = len(window.hour_of_week)
    edges = np.append(np.arange(0, hours, _STEP_H), hours)
    edge_times = window.start + edges * _HOUR_S
    left = expected.copy()
    for feed in range(len(window.feeds)):
        points = window.points_of(feed)
        first, last = np.searchsorted(window.changes.point, (points.start, points.stop))
        point, time = window.changes.point[first:last] - points.start, window.changes.time[first:last]
        changes = np.zeros((points.stop - points.start, len(edges)), np.int32)
        np.add.at(changes, (point, np.searchsorted(edge_times, time)), 1)
        changes = changes.cumsum(axis=1, dtype=np.int32)
        groups = _groups(window, points)
        while silences := [
            (silence.evidence, group, silence)
            for group in groups
            if (silence := _likeliest(left[group], changes[group - points.start], edges))
        ]:
            _, group, silence = max(silences, key=itemgetter(0))
            freeze = _refined(window, feed, group, left, silence, edge_times)
            if freeze is None:
                left[group[silence.is_frozen], edges[silence.since] : edges[silence.until]] = 0
                continue
            yield freeze
            left[freeze.points, _hours_within(window, freeze.start, freeze.end)] = 0


def _groups(window: Window, points: slice) -> list[Ints]:
    """Points that may freeze together: those of a feed, and those of each of its operators."""
    everyone = np.arange(points.start, points.stop)
    operator = window.operator[points]
    operators = np.unique(operator)
    if len(operators) == 1:
        return [everyone]
    return [everyone, *(everyone[operator == code] for code in operators[operators >= 0])]


@dataclass(frozen=True, slots=True)
class _Silence:
    """Some points of a feed that were silent from one edge of the grid until another."""

    since: int
    until: int
    share: float
    """Of the group, that explains the silence best."""
    evidence: float
    is_frozen: Flags
    """Which points of the group."""


def _likeliest(expected: Expected, changes: NDArray[np.int32], edges: Ints) -> _Silence | None:
    """The silence with most evidence, if that suffices.

    Args:
        expected: of each point of a group in each hour.
        changes: of each point until each edge.
        edges: in hours.
    """
    sums = np.zeros(changes.shape, np.float32)
    np.cumsum(np.add.reduceat(expected, edges[:-1], axis=1), axis=1, out=sums[:, 1:])

    def odds_of_silence(since: Ints | slice, until: int) -> Expected:
        """How much likelier the silence of each point is if it was frozen; 0 where it was not silent."""
        odds = (1 + (sums[:, until, None] - sums[:, since]) / _BURSTINESS) ** _BURSTINESS
        odds *= changes[:, since] == changes[:, until, None]
        return odds

    best = (_NATS, 0, 0, 0.0)
    for until in range(1, len(edges)):
        odds = odds_of_silence(slice(until), until)
        # The logarithm of the likelihood ratio is concave in the share, so it lies below its tangent at share 0.
        worth = np.flatnonzero(odds.sum(axis=0) - len(odds) >= best[0])
        if not len(worth):
            continue
        odds = odds[:, worth]
        for share in _SHARES:
            with np.errstate(divide="ignore"):
                evidence = np.log(share * odds + np.float32(1 - share)).sum(axis=0)
            at = int(evidence.argmax())
            if evidence[at] > best[0]:
                best = float(evidence[at]), int(worth[at]), until, share
    most, since, until, share = best
    if not share:
        return None
    odds = odds_of_silence(np.array([since]), until)[:, 0]
    is_frozen = share * odds / (share * odds + 1 - share) >= _BELONGS
    return _Silence(since, until, share, most, is_frozen) if is_frozen.any() else None


def _refined(
    window: Window, feed: int, group: Ints, expected: Expected, silence: _Silence, edge_times: Ints
) -> Freeze | None:
    """The freeze behind a silence: its bounds are moved outwards to the polls that saw the changes around it.

    None when no poll saw the silence: where polls are rare, the last one may begin an hour that still counts.
    """
    points = group[silence.is_frozen]
    times = window.changes.time[np.isin(window.changes.point, points)]
    before = times[times <= edge_times[silence.since]]
    after = times[times > edge_times[silence.until]]
    last_change = int(before.max()) if len(before) else window.start - 1
    end = int(after.min()) if len(after) else None
    # One point that becomes free when the others are is no reset.
    if (before == last_change).sum() >= 2 and _are_free(window, points, last_change):
        kind: FreezeKind = "mass_reset"
        start = last_change
    else:
        is_all = silence.share == 1 and len(group) == (window.feed == feed).sum()
        kind = "whole" if is_all else "part"
        polls = window.polls[feed]
        next_poll = np.searchsorted(polls, last_change, side="right")
        if next_poll == len(polls):
            return None
        start = int(polls[next_poll])
    within = _hours_within(window, start, end)
    due = expected[points, within]
    odds = (1 + due.cumsum(axis=1) / _BURSTINESS) ** _BURSTINESS
    evidence = np.log(silence.share * odds + np.float32(1 - silence.share)).sum(axis=0)
    if silence.share < 1:
        evidence += (~silence.is_frozen).sum() * np.log(1 - silence.share)
    proven = np.append(np.flatnonzero(evidence >= _NATS), len(evidence) - 1)[0]
    proven_time = min(window.start + (within.start + int(proven) + 1) * _HOUR_S, end or edge_times[-1])
    return Freeze(feed, kind, start, end, points, float(due.sum()), silence.evidence, int(proven_time))


def _are_free(window: Window, points: Ints, time: int) -> bool:
    """Whether these points were all free at `time`."""
    changes = window.changes
    is_before = changes.time <= time
    point, is_free = changes.point[is_before], changes.is_free[is_before]
    state = window.is_free_first.copy()
    state[point] = is_free  # sorted by time: of several the last one counts
    return bool(state[points].all())


def _hours_within(window: Window, start: int, end: int | None) -> slice:
    """The hours of the window that a freeze touches."""
    hours = len(window.hour_of_week)
    return slice((start - window.start) // _HOUR_S, hours if end is None else -((window.start - end) // _HOUR_S))


def _without(window: Window, frozen: Sequence[Freeze]) -> tuple[Expected, Flags]:
    """`hours_alive` outside of freezes, and which changes are real."""
    alive, is_real = window.hours_alive, np.ones(len(window.changes.point), bool)
    if frozen:
        alive = alive.copy()
    for freeze in frozen:
        alive[freeze.points, _hours_within(window, freeze.start, freeze.end)] = 0
        time = window.changes.time
        # At its end everything changes at once that had changed meanwhile: no habit either.
        is_within = (time >= freeze.start) & (time <= (freeze.end or np.inf))
        is_real &= ~(is_within & np.isin(window.changes.point, freeze.points))
    return alive, is_real


def _shrunk(changes: NDArray[Any], exposure: NDArray[Any], towards: Floats | float, weight: float) -> Floats:
    """Rates of changes: own ones as far as there are own changes, else `towards`."""
    return np.asarray((weight + changes) / (weight / towards + exposure))


def _profile(hour_of_week: Ints, changes: NDArray[Any], expected: Floats) -> Floats:
    """How much busier each hour of the window is than the average, from changes seen and expected in it."""
    seen, due = np.bincount(hour_of_week, changes, 168), np.bincount(hour_of_week, expected, 168)
    by_hour = np.array([_HOUR_WEIGHT * _BY_HOUR, np.full(24, _HOUR_WEIGHT)])
    by_hour += _smooth(np.array([seen, due]).reshape(2, 7, 24).sum(axis=1))
    of_day = np.tile(by_hour[0] / by_hour[1], 7)
    by_week = _smooth(np.array([seen, due * of_day]), 3) + _HOUR_WEIGHT
    return np.asarray((of_day * by_week[0] / by_week[1])[hour_of_week])


def _smooth(rows: Floats, times: int = 1) -> Floats:
    """Each value with its neighbours; the ends meet."""
    for _ in range(times):
        rows = (np.roll(rows, 1, axis=1) + 2 * rows + np.roll(rows, -1, axis=1)) / 4
    return rows
