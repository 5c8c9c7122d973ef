"""What charging points did on a day and over a window of days, in the few numbers that freezes are judged by.

Belongs here: reducing sights of statuses to changes and hours of observation, per point. Does not belong here: what
silence means (`freezes`), what is said of a feed (`feed_health`).
"""

import datetime as dt
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.lake import Lake

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Feed = tuple[str, str]
"""Source and feed."""

_HOUR_S = 3600
_FACTS = ("id_chargingpoint", "query_time", "status_cp", "source", "feed", "status_class")
_POLLS = ("query_time", "source", "feed", "interval_s")


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of status, sorted by point and time."""

    point: Ints
    time: Ints
    """The first poll that saw the new status: UTC, seconds since 1970, as all times here."""
    is_free: Flags
    """Whether the new status is of the class `free`."""


@dataclass(frozen=True, slots=True)
class DayActivity:
    """One day of all feeds. A point that two feeds answer is two points here."""

    start: int
    feeds: list[Feed]
    """Those that were asked, sorted."""
    statuses: list[str | None]
    poll_feed: Ints
    """Per (feed, poll) that saw points: index into `feeds`; sorted by it and by time."""
    poll_time: Ints
    ids: pa.StringArray
    """Per point, as the columns that follow; sorted by id."""
    feed: Ints
    first_time: Ints
    first_status: Ints
    """Index into `statuses`; -1, the last one, is None."""
    last_status: Ints
    is_free_first: Flags
    sights: Ints
    unknown_sights: Ints
    hours_alive: NDArray[np.float32]
    """Hours in which the point was seen free or occupied, so that it could change; shape (points, hours of the day)."""
    changes: Changes


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive days of all feeds; points are sorted by feed. In the hours of a missing day nothing was seen."""

    start: int
    feeds: list[Feed]
    polls: list[Ints]
    """Per feed the times of the polls that saw points, sorted."""
    ids: pa.StringArray
    """Per point, as the columns that follow."""
    feed: Ints
    operator: Ints
    """Equal numbers are equal operators, by EVSE-ID; -1 where the id is none."""
    is_free_first: Flags
    """Whether it was free when it was first seen."""
    hours_alive: NDArray[np.float32]
    """Shape (points, hours of the window)."""
    hour_of_week: Ints
    """Of each hour of the window, in local time: 0 is Monday 0:00 to 1:00."""
    changes: Changes

    def points_of(self, feed: int) -> slice:
        """The points of a feed."""
        return slice(int(np.searchsorted(self.feed, feed)), int(np.searchsorted(self.feed, feed, side="right")))


def read_day(lake: Lake, query_date: dt.date) -> DayActivity:
    """Reduce a day's `status_chargingpoints`; how long a sight counts is taken from `poll_log`.

    Raises:
        LakeError: a file is damaged, or of another version.
    """
    start, end = (int(bound.timestamp()) for bound in day_bounds(query_date))
    hours = (end - start) // _HOUR_S
    log = lake.read("poll_log", query_date, _POLLS)
    feeds = feeds_in(log)
    times, interval_s = intervals_of(log, feeds)
    sights = _Sights(lake.read("status_chargingpoints", query_date, _FACTS), feeds)
    first = np.flatnonzero(sights.is_first)
    last = np.append(first[1:], len(sights.time))[: len(first)] - 1
    point = np.cumsum(sights.is_first) - 1

    poll = np.searchsorted(times, sights.time)
    feed_and_poll = np.flatnonzero(np.bincount(sights.feed * len(times) + poll))
    hour = point * hours + (sights.time - start) // _HOUR_S
    alive = interval_s[sights.feed, poll] * sights.is_of("free", "occupied") / _HOUR_S
    is_free = sights.is_of("free")
    changed = np.flatnonzero(~sights.is_first & (sights.status != np.roll(sights.status, 1)))
    return DayActivity(
        start,
        feeds,
        [*sights.statuses, None],
        feed_and_poll // len(times),
        times[feed_and_poll % len(times)],
        pa.array(sights.ids, pa.string()).take(pa.array(sights.id[first])),
        sights.feed[first],
        sights.time[first],
        sights.status[first],
        sights.status[last],
        is_free[first],
        last - first + 1,
        np.bincount(point, sights.is_of("unknown"), len(first)).astype(np.int64),
        np.bincount(hour, alive, len(first) * hours).clip(max=1).astype(np.float32).reshape(-1, hours),
        Changes(point[changed], sights.time[changed], is_free[changed]),
    )


def join_days(days: Sequence[DayActivity]) -> Window:
    """Put days together, at least one, in their order; a status that differs from that of a day before has changed."""
    start = days[0].start
    feeds = sorted({feed for day in days for feed in day.feeds})
    statuses = {text: code for code, text in enumerate(dict.fromkeys(text for day in days for text in day.statuses))}
    place = {feed: code for code, feed in enumerate(feeds)}
    feed_of = [np.array([place[feed] for feed in day.feeds], np.int64)[day.feed] for day in days]
    ids = pa.concat_arrays([day.ids for day in days]).dictionary_encode()
    texts, code = ids.dictionary, ids.indices.to_numpy().astype(np.int64)
    of_days = np.concatenate(feed_of) * len(texts) + code
    keys = np.split(of_days, np.cumsum([len(day.ids) for day in days])[:-1])
    points = np.unique(of_days)

    hours = (days[-1].start - start) // _HOUR_S + days[-1].hours_alive.shape[1]
    hours_alive = np.zeros((len(points), hours), np.float32)
    is_free_first = np.zeros(len(points), bool)
    last_status = np.full(len(points), -1)
    changes = [Changes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))]
    for day, key in zip(days, keys, strict=True):
        at = np.searchsorted(points, key)
        translated = np.array([statuses[text] for text in day.statuses])
        begun = (day.start - start) // _HOUR_S
        hours_alive[at, begun : begun + day.hours_alive.shape[1]] = day.hours_alive
        is_new = last_status[at] < 0
        is_free_first[at[is_new]] = day.is_free_first[is_new]
        has_changed = ~is_new & (last_status[at] != translated[day.first_status])
        changes.append(Changes(at[has_changed], day.first_time[has_changed], day.is_free_first[has_changed]))
        changes.append(Changes(at[day.changes.point], day.changes.time, day.changes.is_free))
        last_status[at] = translated[day.last_status]
    point_ids = texts.take(pa.array(points % max(len(texts), 1)))
    return Window(
        start,
        feeds,
        [np.concatenate([_polls_of(day, feed) for day in days]) for feed in feeds],
        point_ids,
        points // max(len(texts), 1),
        _operators(point_ids),
        is_free_first,
        hours_alive,
        _hours_of_week(start, hours),
        _sorted(changes),
    )


def feeds_in(table: pa.Table) -> list[Feed]:
    """Sources and feeds of a table, sorted."""
    found = table.select(["source", "feed"]).group_by(["source", "feed"]).aggregate([]).to_pylist()
    return sorted((row["source"], row["feed"]) for row in found)


def feed_codes(table: pa.Table, feeds: list[Feed]) -> Ints:
    """Index of each row's source and feed in `feeds`; -1 where it is not there."""
    source, sources = codes(table["source"])
    feed, names = codes(table["feed"])
    place = {known: code for code, known in enumerate(feeds)}
    lookup = np.array([place.get((one, name), -1) for one in sources for name in names], np.int64)
    return np.asarray(lookup[source * len(names) + feed])


def codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """Codes and texts of a column of few texts, as `Lake.read` gives it; null is -1."""
    if not column.num_chunks:
        return np.zeros(0, np.int64), []
    indices = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(indices).astype(np.int64), column.chunk(0).dictionary.to_pylist()


def seconds(column: pa.ChunkedArray) -> Ints:
    """A column of times as seconds since 1970."""
    return np.asarray(column.cast(pa.int64()).to_numpy() // 1_000_000, np.int64)


def intervals_of(log: pa.Table, feeds: list[Feed]) -> tuple[Ints, Floats]:
    """All query times, sorted; and the interval in force, shape (feeds, times), 0 where a feed was not asked."""
    times, at = np.unique(seconds(log["query_time"]), return_inverse=True)
    interval = np.zeros((len(feeds), len(times)))
    interval[feed_codes(log, feeds), at] = log["interval_s"].to_numpy()
    return times, interval


def _polls_of(day: DayActivity, feed: Feed) -> Ints:
    code = bisect_left(day.feeds, feed)
    if day.feeds[code : code + 1] != [feed]:
        return np.zeros(0, np.int64)
    first, last = np.searchsorted(day.poll_feed, (code, code + 1))
    return day.poll_time[first:last]


def _operators(ids: pa.StringArray) -> Ints:
    """Of EVSE-IDs, which begin with country and operator: ``DE*STR*E10001*001``, ``DESWME052601``."""
    found = pc.extract_regex(pc.utf8_upper(ids), r"^(?P<country>[A-Z]{2})\W?(?P<operator>[A-Z0-9]{3})\W?E")
    names = pc.binary_join_element_wise(pc.struct_field(found, "country"), pc.struct_field(found, "operator"), "")
    return np.asarray(names.dictionary_encode().indices.fill_null(-1).to_numpy(), np.int64)


def _sorted(parts: list[Changes]) -> Changes:
    point, time, is_free = (
        np.concatenate(column)
        for column in zip(*((part.point, part.time, part.is_free) for part in parts), strict=True)
    )
    order = np.lexsort((time, point))
    return Changes(point[order], time[order], is_free[order])


def _hours_of_week(start: int, hours: int) -> Ints:
    local = [dt.datetime.fromtimestamp(start + hour * _HOUR_S, BERLIN) for hour in range(hours)]
    return np.array([24 * time.weekday() + time.hour for time in local], np.int64)


class _Sights:
    """Sights of points in columns, sorted by id, feed and time."""

    def __init__(self, facts: pa.Table, feeds: list[Feed]) -> None:
        feed = feed_codes(facts, feeds)
        id_, self.ids = codes(facts["id_chargingpoint"])
        status, self.statuses = codes(facts["status_cp"])
        status_class, self._classes = codes(facts["status_class"])
        pair = id_ * len(feeds) + feed
        rows = np.flatnonzero(feed >= 0)  # of others no poll tells: something else has written to this lake
        if (np.diff(pair[rows]) < 0).any():  # a point that is answered now by one feed and now by another
            rows = rows[np.argsort(pair[rows], kind="stable")]
        self.feed, self.id, self.status, self._class = feed[rows], id_[rows], status[rows], status_class[rows]
        self.time = seconds(facts["query_time"])[rows]
        self.is_first = np.diff(pair[rows], prepend=-1) != 0

    def is_of(self, *names: str) -> Flags:
        """Whether the status is of one of these classes."""
        return np.isin(self._class, [code for code, name in enumerate(self._classes) if name in names])
