"""`feed_health` and `frozen_spans`: what became of each feed on a day, and which statuses are no observations.

Belongs here: counting polls and putting freezes into tables. Does not belong here: what a freeze is (`freezes`), or
whether any of it is bad enough to tell somebody (`quality`).
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.calendar import day_bounds
from charging_assets.derive.activity import (
    DayActivity,
    Feed,
    Floats,
    Ints,
    Window,
    codes,
    feed_codes,
    feeds_in,
    join_days,
    read_day,
    seconds,
)
from charging_assets.derive.freezes import Freeze, find_freezes
from charging_assets.derive.inputs import window
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.model.arrow import arrow_schema

_HOUR_S = 3600
_DAY_S = 86_400
_US = 1_000_000
_LOG = ("query_time", "source", "feed", "interval_s", "outcome", "reason")


@dataclass(frozen=True, slots=True)
class FeedHealthDay:
    """Both tables of a day, ready to be written."""

    feed_health: pa.Table
    frozen_spans: pa.Table


@dataclass(frozen=True, slots=True)
class _Spans:
    """What of freezes lies on a day, in columns: times in seconds since 1970, from `start` until before `end`."""

    point: Ints
    """Index into the points of the window."""
    start: Ints
    end: Ints
    freeze: Ints
    """Index into the freezes of the window."""
    polls: Ints
    """How many saw the point meanwhile."""


class FeedHealthMaker:
    """Makes one day after the other, and keeps what it needs of each day it has read: days in a row are read once.

    Args:
        lake: has `poll_log` and `status_chargingpoints` of the days from 7 before to 1 after, as far as they exist.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._read: dict[dt.date, tuple[list[PartitionInfo | None], DayActivity]] = {}

    def make(self, query_date: dt.date, *, is_closed: bool) -> FeedHealthDay:
        """The tables of a day; without rows when it has no polls.

        Args:
            query_date: the day.
            is_closed: whether no poll of it is to come. Until then only what lies before the last poll is planned.

        Raises:
            LakeError: a file is damaged, or of another version.
        """
        log = self._lake.read("poll_log", query_date, _LOG)
        if not log.num_rows:
            return FeedHealthDay(*(arrow_schema(name).empty_table() for name in ("feed_health", "frozen_spans")))
        polls = _Polls(log, query_date, is_closed=is_closed)
        days = self._days(query_date)
        around = join_days(list(days.values()))
        freezes, expected = find_freezes(around)
        spans = self._spans(query_date, around, freezes, polls)
        return FeedHealthDay(
            _feed_health(query_date, polls, days[query_date], around, freezes, expected, spans),
            _frozen_spans(query_date, around, freezes, spans),
        )

    def _days(self, query_date: dt.date) -> dict[dt.date, DayActivity]:
        """The days that there are around `query_date`, in order; those that lie elsewhere are forgotten."""
        stamps = {
            date: [self._lake.info(table, date) for table in ("poll_log", "status_chargingpoints")]
            for date in window(query_date)
        }
        for date, stamp in stamps.items():
            if stamp[0] is not None and (date not in self._read or self._read[date][0] != stamp):
                self._read[date] = stamp, read_day(self._lake, date)
        self._read = {date: self._read[date] for date, stamp in stamps.items() if stamp[0] is not None}
        return {date: day for date, (_, day) in self._read.items()}

    def _spans(self, query_date: dt.date, around: Window, freezes: Sequence[Freeze], polls: "_Polls") -> _Spans:
        """Spans of points that were seen meanwhile, each moment of a point at most once."""
        touching: dict[int, list[int]] = {}
        for number, freeze in enumerate(freezes):
            feed = around.feeds[freeze.feed]
            if feed in polls.feeds and freeze.start < polls.until(feed) and (freeze.end or polls.end) > polls.start:
                touching.setdefault(freeze.feed, []).append(number)
        parts = [np.zeros((4, 0), np.int64)]
        for code, numbers in touching.items():
            parts.append(
                _within(polls.start, polls.until(around.feeds[code]), around.points_of(code), freezes, numbers)
            )
        point, start, end, number = np.concatenate(parts, axis=1)
        if not len(point):
            return _Spans(point, start, end, number, point)
        sights = self._lake.read(
            "status_chargingpoints", query_date, ("id_chargingpoint", "query_time", "source", "feed")
        )
        seen = _count_sights(sights, around, point, start, end)
        return _Spans(*(column[seen > 0] for column in (point, start, end, number, seen)))


def _within(lowest: int, highest: int, points: slice, freezes: Sequence[Freeze], numbers: Sequence[int]) -> Ints:
    """Rows point, start, end and freeze of spans within bounds; where freezes overlap at a point, the first counts."""
    starts = np.array([max(freezes[number].start, lowest) for number in numbers])
    ends = np.array([min(freezes[number].end or highest, highest) for number in numbers])
    edges = np.unique([starts, ends])
    owner = np.full((points.stop - points.start, len(edges)), -1)  # after the last edge it is nobody's
    for number, first, last in reversed(
        list(zip(numbers, np.searchsorted(edges, starts), np.searchsorted(edges, ends), strict=True))
    ):
        owner[freezes[number].points - points.start, first:last] = number
    begins = np.diff(owner, axis=1, prepend=-2) != 0
    point, first = np.nonzero(begins)
    number = owner[point, first]
    end = edges[np.append(first[1:], 0)]  # each run but the last of a point ends where the next one begins
    return np.stack([points.start + point, edges[first], end, number])[:, number >= 0]


def _count_sights(sights: pa.Table, around: Window, point: Ints, start: Ints, end: Ints) -> Ints:
    """How often each of these points was seen in [start, end)."""
    feed = feed_codes(sights, around.feeds)
    id_code, ids = codes(sights["id_chargingpoint"])
    time = seconds(sights["query_time"])
    first_time = time.min()
    seen = []
    for code in np.unique(around.feed[point]).tolist():
        points = around.points_of(code)
        place = pc.index_in(
            pa.array(ids, pa.string()), value_set=around.ids.slice(points.start, points.stop - points.start)
        ).fill_null(-1)
        is_its = feed == code
        at = points.start + place.to_numpy(zero_copy_only=False)[id_code[is_its]].astype(np.int64)
        seen.append(_key(at, time[is_its] - first_time))
    keys = np.sort(np.concatenate(seen))
    begin, until = (np.searchsorted(keys, _key(point, time - first_time)) for time in (start, end))
    return np.asarray(until - begin)


def _key(point: Ints, second: Ints) -> Ints:
    """Point and second of the day in one number that sorts by both."""
    return np.asarray(point * 2 * _DAY_S + np.clip(second, 0, 2 * _DAY_S - 1))


class _Polls:
    """What `poll_log` says of a day.

    Attributes:
        start: midnight, in seconds since 1970 as all times here.
        end: the next midnight.
        feeds: those that were asked, sorted.
    """

    def __init__(self, log: pa.Table, query_date: dt.date, *, is_closed: bool) -> None:
        self.start, self.end = (int(bound.timestamp()) for bound in day_bounds(query_date))
        self.feeds = feeds_in(log)
        self._feed, self._time = feed_codes(log, self.feeds), seconds(log["query_time"])
        outcome, outcomes = codes(log["outcome"])
        self._outcome = np.array(outcomes)[outcome]
        self._reason = pc.coalesce(log["reason"], log["outcome"].cast(pa.string()))
        self._planned, self._until = {}, {}
        interval_s = log["interval_s"].to_numpy().astype(np.int64)
        for source in {source for source, _ in self.feeds}:
            of_source = np.array([feed[0] == source for feed in self.feeds])[self._feed]
            times, first = np.unique(self._time[of_source], return_index=True)
            intervals = interval_s[of_source][first]
            self._until[source] = self.end if is_closed else min(self.end, int(times[-1] + intervals[-1]))
            self._planned[source] = _planned(times, intervals, self.start, self._until[source])

    def until(self, feed: Feed) -> int:
        """Until when the day counts: the next midnight, or an interval after the last poll of a day that goes on."""
        return self._until[feed[0]]

    def columns(self) -> dict[str, Any]:
        """Columns of `feed_health`, by feed."""
        planned = np.array([self._planned[source] for source, _ in self.feeds])
        answered, empty = self._count(["ok"]), self._count(["empty"])
        moments = np.unique(np.stack([self._feed, self._time]), axis=1)  # two polls in one second are one
        return {
            "source": [source for source, _ in self.feeds],
            "feed": [feed for _, feed in self.feeds],
            "state": np.where(answered, "alive", np.where(empty, "empty", "gone")),
            "polls_planned": planned,
            "polls_answered": answered,
            "polls_empty": empty,
            "polls_failed": self._count(["failed", "unreadable", "unexpected"]),
            "polls_missing": np.maximum(planned - np.bincount(moments[0], minlength=len(self.feeds)), 0),
            "failures": self._failures(),
            "longest_gap_s": self._longest_gaps(),
        }

    def _count(self, outcomes: Sequence[str]) -> Ints:
        return np.bincount(self._feed[np.isin(self._outcome, outcomes)], minlength=len(self.feeds)).astype(np.int64)

    def _failures(self) -> list[str | None]:
        is_failed = ~np.isin(self._outcome, ["ok", "empty"])
        failed = pa.table({"feed": self._feed[is_failed], "reason": self._reason.filter(pa.array(is_failed))})
        reasons: list[list[tuple[int, str]]] = [[] for _ in self.feeds]
        for row in failed.group_by(["feed", "reason"]).aggregate([([], "count_all")]).to_pylist():
            reasons[row["feed"]].append((-row["count_all"], row["reason"]))
        return [
            json.dumps({reason: -count for count, reason in sorted(found)}, ensure_ascii=False) if found else None
            for found in reasons
        ]

    def _longest_gaps(self) -> Ints:
        every, is_good = np.arange(len(self.feeds)), self._outcome == "ok"
        until = np.array([self.until(feed) for feed in self.feeds])
        feed = np.concatenate([every, self._feed[is_good], every])
        time = np.concatenate([np.full(len(every), self.start), self._time[is_good], until])
        order = np.lexsort((time, feed))
        is_gap = np.diff(feed[order]) == 0
        gaps = np.zeros(len(every), np.int64)
        np.maximum.at(gaps, feed[order][1:][is_gap], np.diff(time[order])[is_gap])
        return gaps


def _planned(times: Ints, interval: Ints, start: int, until: int) -> int:
    """How many polls there should have been: time by time, as far as the interval of the poll before it carries."""
    due = (times[0] - start) / interval[0] + (np.diff(times) / interval[:-1]).sum() + (until - times[-1]) / interval[-1]
    return round(float(due))


def _feed_health(
    query_date: dt.date,
    polls: _Polls,
    day: DayActivity,
    around: Window,
    freezes: Sequence[Freeze],
    expected: NDArray[np.float32],
    spans: _Spans,
) -> pa.Table:
    codes_around = {feed: code for code, feed in enumerate(around.feeds)}
    place = np.array([codes_around[feed] for feed in polls.feeds])

    def of_window(feed: Ints, weights: NDArray[Any]) -> Floats:
        return np.asarray(np.bincount(feed, weights, len(around.feeds))[place])

    first = (polls.start - around.start) // _HOUR_S
    hours = slice(first, first + (polls.end - polls.start) // _HOUR_S)
    is_today = (around.changes.time >= polls.start) & (around.changes.time < polls.end)
    seen = np.bincount(day.feed, minlength=len(polls.feeds))  # a day's feeds are those of its poll_log, sorted
    sights = np.bincount(day.feed, day.sights, len(polls.feeds))
    unknown = np.bincount(day.feed, day.unknown_sights, len(polls.feeds))
    length = np.array([polls.until(feed) - polls.start for feed in polls.feeds])

    length_s = spans.end - spans.start
    by_freeze = np.bincount(spans.freeze, length_s, len(freezes))
    longest = {
        freezes[number].feed: freezes[number]
        for number in np.argsort(by_freeze, kind="stable").tolist()
        if by_freeze[number]
    }
    frozen = [longest.get(feed) for feed in place.tolist()]
    frozen_points = np.unique(spans.point)
    return _table(
        "feed_health",
        query_date,
        **polls.columns(),
        points_seen=seen,
        unknown_share=[
            part / all_ if all_ else None for part, all_ in zip(unknown.tolist(), sights.tolist(), strict=True)
        ],
        changes=of_window(around.feed[around.changes.point], is_today).astype(int),
        expected_changes=of_window(around.feed, expected[:, hours].sum(axis=1, dtype=float)).round(2),
        freeze_kind=[freeze and freeze.kind for freeze in frozen],
        freeze_start=[freeze and freeze.start * _US for freeze in frozen],
        freeze_end=[freeze and freeze.end and freeze.end * _US for freeze in frozen],
        frozen_points=of_window(around.feed[frozen_points], np.ones(len(frozen_points))).astype(int),
        frozen_share=of_window(around.feed[spans.point], length_s) / np.maximum(seen * length, 1),
    )


def _frozen_spans(query_date: dt.date, around: Window, freezes: Sequence[Freeze], spans: _Spans) -> pa.Table:
    feed = around.feed[spans.point]
    frozen = [freezes[number] for number in spans.freeze.tolist()]
    table = _table(
        "frozen_spans",
        query_date,
        source=[around.feeds[code][0] for code in feed.tolist()],
        feed=[around.feeds[code][1] for code in feed.tolist()],
        id_cp=around.ids.take(pa.array(spans.point)),
        start_time=spans.start * _US,
        end_time=spans.end * _US,
        kind=[freeze.kind for freeze in frozen],
        freeze_start=[freeze.start * _US for freeze in frozen],
        freeze_end=[freeze.end and freeze.end * _US for freeze in frozen],
        expected_changes=[round(freeze.expected, 2) for freeze in frozen],
        is_proven_later=[freeze.proven > day_bounds(query_date)[1].timestamp() for freeze in frozen],
        polls=spans.polls,
    )
    order = pa.table({"feed": feed, "id": table["id_cp"], "start": spans.start})
    return table.take(pc.sort_indices(order, [(name, "ascending") for name in order.column_names]))


def _table(name: str, query_date: dt.date, **columns: Any) -> pa.Table:
    """Columns as a table of the model, in its order and types."""
    schema = arrow_schema(name)
    rows = len(columns["source"])
    columns["query_date"] = pa.repeat(pa.scalar(query_date, pa.date32()), rows)
    arrays = []
    for field in schema:
        values = columns[field.name]
        array = values if isinstance(values, pa.Array) else pa.array(values, _plain(field.type))
        arrays.append(array.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.int64() if pa.types.is_timestamp(kind) else kind
