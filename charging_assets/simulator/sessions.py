"""What happens at the points: sessions, faults and lost connections, in continuous time. The ground truth.

Belongs here: what is really so. Does not belong here: what a feed publishes of it, and when (`simulation`).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from charging_assets.simulator.demand import Demand, durations
from charging_assets.simulator.streams import Stream, stream
from charging_assets.simulator.world import DAY_S, Floats, Longs, World

STATUSES = ("AVAILABLE", "CHARGING", "OUTOFORDER", "INOPERATIVE", "UNKNOWN")
"""Statuses by code."""
AVAILABLE, CHARGING, OUTOFORDER, INOPERATIVE, UNKNOWN = range(5)

WARM_UP_DAYS = 4
"""Sessions begin that long before the epoch, so that at the epoch as many are under way as at any other time."""

LONGEST_SESSION_DAYS = 3

_PAUSE_S = 90
"""Between two vehicles at one point, at the least."""

_SHARES = (0.0, 0.5, 0.8, 0.95, 1.0)
_FAULT_MINUTES = (10, 360, 2_880, 14_400, 64_800)
"""Minutes at cumulated shares of faults: half take less than 6 hours, one in twenty takes 10 to 45 days."""
_DAYS_BETWEEN_FAULTS = 110
_SILENCE_MINUTES = (5, 30, 120, 720, 4_320)
"""Minutes at the same shares of times without a connection."""
_DAYS_BETWEEN_SILENCES = 40
_INOPERATIVE_SHARE = 0.15

_POINT_BITS = 40
"""A (point, time) pair in one integer: seconds since 1970 take 31 bits until 2038."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of time at points, sorted by (point, start); those of one point do not overlap."""

    point: Longs
    start: Longs
    """UTC, seconds since 1970."""
    end: Longs
    status: Longs

    def __len__(self) -> int:
        return len(self.point)

    def after(self, point: Longs, time: Longs) -> Longs:
        """For each (point, time) the index of the first span that starts later, of that point or of one after it."""
        key = self.point << _POINT_BITS | self.start
        return np.searchsorted(key, point << _POINT_BITS | time, side="right")

    def status_at(self, point: Longs, time: Longs) -> Longs:
        """Status at each (point, time), `AVAILABLE` where there is no span; arguments of one shape."""
        if not len(self):
            return np.full(point.shape, AVAILABLE)
        last = self.after(point, time) - 1  # -1 is the last span of all, which then is of another point or later
        is_inside = (self.point[last] == point) & (self.start[last] <= time) & (time < self.end[last])
        return np.where(is_inside, self.status[last], AVAILABLE)

    def take(self, chosen: NDArray[np.bool_] | Longs) -> "Spans":
        """Some of them, by mask or by index."""
        return Spans(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def within(self, start: int, end: int) -> "Spans":
        """Those that overlap [start, end)."""
        return self.take((self.start < end) & (self.end > start))


def joined(*several: Spans) -> Spans:
    """All spans of several in one."""
    columns = [np.concatenate([getattr(spans, field.name) for spans in several]) for field in fields(Spans)]
    order = np.lexsort((columns[1], columns[0]))
    return Spans(*(column[order] for column in columns))


def make_faults(world: World) -> Spans:
    """All faults of the points until the end of the world."""
    rng = stream(world.seed, Stream.OUTAGES, 0)
    points = world.points
    faults = _outages(points.opens, points.closes, _DAYS_BETWEEN_FAULTS, _FAULT_MINUTES, OUTOFORDER, rng)
    faults.status[rng.random(len(faults)) < _INOPERATIVE_SHARE] = INOPERATIVE
    return faults


def make_silences(world: World) -> Spans:
    """All times until the end of the world at which a station, and so each of its points, is not connected."""
    points = world.points
    _, first, station = np.unique(points.station, return_index=True, return_inverse=True)
    rng = stream(world.seed, Stream.OUTAGES, 1)
    of_stations = _outages(
        points.opens[first], points.closes[first], _DAYS_BETWEEN_SILENCES, _SILENCE_MINUTES, UNKNOWN, rng
    )
    begins = np.searchsorted(of_stations.point, station)
    counts = np.searchsorted(of_stations.point, station, side="right") - begins
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    spans = of_stations.take(np.repeat(begins, counts) + offset)
    return Spans(np.repeat(np.arange(len(points)), counts), spans.start, spans.end, spans.status)


def _outages(
    opens: Longs, closes: Longs, days_between: float, minutes: tuple[int, ...], status: int, rng: np.random.Generator
) -> Spans:
    """Spans of outage at things that exist from `opens` to `closes`, each after an exponential time without one."""
    found = []
    time = opens.astype(float)
    active = np.arange(len(opens))
    while len(active):
        start = time[active] + rng.exponential(days_between * DAY_S, len(active))
        length = 60 * np.exp(np.interp(rng.random(len(active)), _SHARES, np.log(minutes)))
        is_real = start < closes[active]
        active, start = active[is_real], start[is_real]
        end = np.minimum(start + length[is_real], closes[active])
        time[active] = end
        found.append((active, start.astype(np.int64), np.ceil(end).astype(np.int64)))
    point, start_s, end_s = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((start_s, point))
    return Spans(point[order], start_s[order], end_s[order], np.full(len(point), status))


class SessionMaker:
    """Makes the sessions of one UTC day after the other.

    A day's random numbers are its own, but who is free depends on the day before: days must be made in order.
    """

    def __init__(self, world: World, faults: Spans) -> None:
        self._world = world
        self._faults = faults
        self._demand = Demand(world)
        self._free_from = world.points.opens.astype(float)
        self._next_day = -WARM_UP_DAYS

    def next_day(self) -> Spans:
        """The sessions that start on the next UTC day, however long they take."""
        number = self._next_day
        self._next_day += 1
        rng = stream(self._world.seed, Stream.SESSIONS, number + WARM_UP_DAYS)
        midnight = self._world.start_s + number * DAY_S
        arrivals = _Arrivals(self._demand.arrivals(midnight), midnight)
        points, demand = self._world.points, self._demand
        np.maximum(self._free_from, midnight, out=self._free_from)
        until = np.minimum(points.closes, midnight + DAY_S)
        found = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        active = np.flatnonzero(self._free_from < until)
        while len(active):
            needed = rng.standard_exponential(len(active)) / demand.rate[active]
            share = rng.random(len(active))
            start = arrivals.after(demand.group[active], self._free_from[active], needed)
            is_today = start < until[active]
            active, start, share = active[is_today], start[is_today], share[is_today]
            down_from, down_until = self._outage_around(active, start)
            is_up = down_from > start
            end = np.minimum(
                start + durations(demand.family[active], share), np.minimum(points.closes[active], down_from)
            )
            found.append((active[is_up], start[is_up], end[is_up]))
            self._free_from[active] = np.where(is_up, end + _PAUSE_S, down_until)
            active = active[self._free_from[active] < until[active]]
        point, start, end = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((start, point))
        return Spans(
            point[order],
            np.floor(start[order]).astype(np.int64),
            np.ceil(end[order]).astype(np.int64),
            np.full(len(point), CHARGING),
        )

    def _outage_around(self, point: Longs, time: Floats) -> tuple[Floats, Floats]:
        """Per (point, time) start and end of the fault that it lies in, else of the next; infinite if there is none."""
        faults = self._faults
        after = faults.after(point, time.astype(np.int64))
        before = after - 1
        is_inside = (before >= 0) & (faults.point[before] == point) & (faults.end[before] > time)
        index = np.where(is_inside, before, np.minimum(after, len(faults) - 1))
        is_there = is_inside | ((after < len(faults)) & (faults.point[index] == point))
        return np.where(is_there, faults.start[index], np.inf), np.where(is_there, faults.end[index], np.inf)


class _Arrivals:
    """From arrivals to times, within one UTC day.

    Args:
        cumulated: arrivals since midnight at each full hour, shape (groups, 25).
        midnight: seconds since 1970.
    """

    def __init__(self, cumulated: Floats, midnight: int) -> None:
        self._midnight = midnight
        self._most = cumulated[:, -1]
        # All groups in one line, each behind the one before: one interpolation serves them all.
        self._offset = np.concatenate(([0.0], np.cumsum(self._most + 1)[:-1]))
        self._arrivals = (cumulated + self._offset[:, None]).ravel()
        groups, hours = cumulated.shape
        self._seconds = np.tile(np.arange(hours) * 3600.0, groups)
        self._hour_of = np.arange(groups) * 2 * DAY_S
        self._moments = (np.arange(hours) * 3600.0 + self._hour_of[:, None]).ravel()

    def after(self, group: Longs, time: Floats, needed: Floats) -> Floats:
        """When `needed` more arrivals than at `time` have come; infinite when that is after the day."""
        begun = np.interp(time - self._midnight + self._hour_of[group], self._moments, self._arrivals)
        wanted = begun + needed
        is_today = wanted < self._offset[group] + self._most[group]
        return np.where(is_today, self._midnight + np.interp(wanted, self._arrivals, self._seconds), np.inf)
