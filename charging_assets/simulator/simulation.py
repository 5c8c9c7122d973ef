"""`Simulation`: what every feed publishes at any time, and the truth behind it.

A feed lags the truth by up to 8 minutes, always by the same. It may freeze: publish an old state while everything looks
healthy.
"""

import datetime as dt
import math
import threading
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from charging_assets.simulator.answers import AnswerWriter, empty_answer
from charging_assets.simulator.sessions import (
    AVAILABLE,
    CHARGING,
    LONGEST_SESSION_DAYS,
    WARM_UP_DAYS,
    SessionMaker,
    Spans,
    joined,
    make_faults,
    make_silences,
)
from charging_assets.simulator.streams import Stream, stream
from charging_assets.simulator.town import FEEDS
from charging_assets.simulator.world import DAY_S, Longs, World

FreezeKind = Literal["frozen", "mostly_frozen", "mass_reset"]
FREEZE_KINDS: tuple[FreezeKind, ...] = get_args(FreezeKind)

MOST_LAG_S = 480
_ALIVE_ONE_IN = 20
"""Of a mostly frozen feed, one point in twenty is alive."""

_DAYS_AT_HAND = 8


@dataclass(frozen=True, slots=True)
class Freeze:
    """A feed that publishes something else than it should, from `start` until `end`."""

    feed: str
    kind: FreezeKind
    """`frozen`: every point as at the start; `mostly_frozen`: 19 of 20 points; `mass_reset`: all are AVAILABLE."""
    start: dt.datetime
    end: dt.datetime | None
    """None: not yet known."""


@dataclass(frozen=True, slots=True)
class _Day:
    """Everything that touches one UTC day."""

    occupied: Spans
    """Sessions and faults."""
    silent: Spans


class Simulation:
    """A world that goes on; safe to use from several threads.

    It is made one UTC day after the other, as far as somebody asks: the first question about a time costs 5 ms for each
    day since the epoch that nobody asked about before. What it answers depends on the world, the time and the
    freezes, not on what was asked before.

    Args:
        world: what there is.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._feeds = {feed: number for number, feed in enumerate(world.feeds)}
        lags = stream(world.seed, Stream.LAGS).integers(0, MOST_LAG_S + 1, len(FEEDS))
        self.lag_s: Longs = lags[[FEEDS.index(feed) for feed in world.feeds]]
        """Per feed: how long after it happened something is published."""
        self._faults, self._silences = make_faults(world), make_silences(world)
        self._writers = [AnswerWriter(world, number) for number in range(len(world.feeds))]
        self._freezes: list[Freeze] = []
        self._lock = threading.Lock()
        self._maker = SessionMaker(world, self._faults)
        self._first_day = world.start_s // DAY_S - WARM_UP_DAYS
        self._sessions: list[NDArray[np.uint32]] = []  # per day: points, starts and ends in 12 bytes instead of 32
        self._days: dict[int, _Day] = {}

    def answer(self, feed: str, time: dt.datetime) -> bytes:
        """What `feed` answers at `time`: JSON as of chargecloud. A feed that there is not answers without locations.

        Raises:
            ValueError: the world begins later or ends earlier.
        """
        second = int(time.timestamp())
        number = self._feeds.get(feed)
        if number is None:
            return empty_answer(second)
        return self.write(number, second, self.published(np.array([second]), self.world.points_of(number))[:, 0])

    def write(self, feed: int, time: int, statuses: Longs) -> bytes:
        """The answer of a feed, by its index, at a time in seconds since 1970, from what `published` gives for it."""
        return self._writers[feed].write(time, statuses)

    def published(self, times: Longs, points: slice | Longs = slice(None)) -> Longs:
        """Codes of the statuses that are published.

        Args:
            times: seconds since 1970.
            points: of which points, as indices into `World.points`.

        Returns:
            Shape (points, times); what stands for points that are not open means nothing.

        Raises:
            ValueError: the world begins later or ends earlier.
        """
        world = self.world
        if len(times) and not world.start_s <= times.min() <= times.max() < world.end_s:
            bounds = times.min(), times.max(), world.end_s
            first, last, end = (dt.datetime.fromtimestamp(second, dt.UTC) for second in bounds)
            raise ValueError(
                f"expected times from {world.epoch:%Y-%m-%d} to before {end:%Y-%m-%d}, the span of this world, "
                f"got {first} to {last}"
            )
        feed = world.points.feed[points]
        moments = times - self.lag_s[feed][:, None]
        is_reset = np.zeros(moments.shape, bool)
        for freeze in self.freezes:
            number, (begin, until) = self._feeds[freeze.feed], _seconds(freeze)
            is_meant = (feed == number)[:, None] & ((times >= begin) & (times < until))
            if freeze.kind == "mass_reset":
                is_reset |= is_meant
                continue
            if freeze.kind == "mostly_frozen":
                within = np.arange(len(world.points))[points] - world.points_of(number).start
                is_meant &= (within % _ALIVE_ONE_IN != 0)[:, None]
            moments = np.where(is_meant, int(begin) - self.lag_s[number], moments)
        statuses = self._true(np.arange(len(world.points))[points], moments)
        statuses[is_reset] = AVAILABLE
        return statuses

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """All freezes so far."""
        return tuple(self._freezes)

    def freeze(self, feed: str, kind: FreezeKind, start: dt.datetime, end: dt.datetime | None = None) -> None:
        """Have a feed publish something else than it should; without `end`, until it is thawed.

        Raises:
            ValueError: there is no such feed, or the world begins later.
        """
        if feed not in self._feeds:
            raise ValueError(f"{feed!r} cannot freeze: expected one of the feeds {', '.join(self._feeds)}")
        if start < self.world.epoch:
            raise ValueError(f"{feed} cannot freeze at {start}: this world begins at {self.world.epoch}")
        with self._lock:
            self._freezes.append(Freeze(feed, kind, start, end))

    def thaw(self, feed: str, time: dt.datetime) -> None:
        """End those freezes of a feed that go on at `time`."""
        with self._lock:
            self._freezes = [
                replace(freeze, end=time)
                if freeze.feed == feed and freeze.start <= time and (freeze.end is None or freeze.end > time)
                else freeze
                for freeze in self._freezes
            ]

    def sessions(self, start: dt.datetime, end: dt.datetime) -> Spans:
        """The true sessions that overlap [start, end)."""
        first, last = int(start.timestamp()), int(end.timestamp())
        with self._lock:
            return self._sessions_within(first, last)

    def faults(self, start: dt.datetime, end: dt.datetime) -> Spans:
        """The true faults that overlap [start, end)."""
        return self._faults.within(int(start.timestamp()), int(end.timestamp()))

    def silences(self, start: dt.datetime, end: dt.datetime) -> Spans:
        """The times without connection, per point, that overlap [start, end)."""
        return self._silences.within(int(start.timestamp()), int(end.timestamp()))

    def _true(self, point: Longs, moments: Longs) -> Longs:
        """True statuses at `moments`, shape (points, times)."""
        statuses = np.empty(moments.shape, np.int64)
        points = np.broadcast_to(point[:, None], moments.shape)
        days = moments // DAY_S
        for number in np.unique(days).tolist():
            day, asked = self._day(number), days == number
            at = points[asked], moments[asked]
            silent = day.silent.status_at(*at)
            statuses[asked] = np.where(silent == AVAILABLE, day.occupied.status_at(*at), silent)
        return statuses

    def _day(self, number: int) -> _Day:
        """The UTC day of that number since 1970."""
        with self._lock:
            if (day := self._days.get(number)) is None:
                start, end = number * DAY_S, (number + 1) * DAY_S
                occupied = joined(self._sessions_within(start, end), self._faults.within(start, end))
                day = self._days[number] = _Day(occupied, self._silences.within(start, end))
                if len(self._days) > _DAYS_AT_HAND:
                    del self._days[next(iter(self._days))]
            return day

    def _sessions_within(self, start: int, end: int) -> Spans:
        last = (end - 1) // DAY_S - self._first_day
        while len(self._sessions) <= last:
            made = self._maker.next_day()
            self._sessions.append(np.stack([made.point, made.start, made.end]).astype(np.uint32))
        first = max(0, start // DAY_S - self._first_day - LONGEST_SESSION_DAYS)
        point, begin, until = np.concatenate(self._sessions[first : last + 1], axis=1).astype(np.int64)
        return joined(Spans(point, begin, until, np.full(len(point), CHARGING)).within(start, end))


def _seconds(freeze: Freeze) -> tuple[float, float]:
    return freeze.start.timestamp(), math.inf if freeze.end is None else freeze.end.timestamp()
