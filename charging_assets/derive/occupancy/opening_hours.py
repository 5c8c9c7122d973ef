"""When a station is open: OCPI's opening times, as master data keeps them, in local time.

Belongs here: what the text means on given days, daylight saving included. Does not belong here: which values of an
answer become that text (`flatten.chargecloud.master`), what is counted within opening hours (`kpis`).

A text that is not understood as a whole says nothing: half of the opening hours would give a figure of other hours.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
import numpy as np

from charging_assets.calendar import BERLIN
from charging_assets.derive.activity import Ints

Span = tuple[int, int]
"""From until before: UTC, seconds since 1970."""

_PLENTY = 4096
"""Different texts that are remembered: there are few."""
_DAY_MINUTES = 24 * 60
_CLOCK = r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$"


class _Regular(msgspec.Struct, frozen=True):
    weekday: Annotated[int, msgspec.Meta(ge=1, le=7)]
    """Monday is 1."""
    period_begin: Annotated[str, msgspec.Meta(pattern=_CLOCK)]
    period_end: Annotated[str, msgspec.Meta(pattern=f"{_CLOCK}|^24:00$")]


class _Exceptional(msgspec.Struct, frozen=True):
    period_begin: dt.datetime
    period_end: dt.datetime

    @property
    def span(self) -> Span:
        """In UTC; a time without offset is UTC, as OCPI has it."""
        begin, end = (
            int((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp())
            for time in (self.period_begin, self.period_end)
        )
        return begin, end


class _Hours(msgspec.Struct, frozen=True):
    regular_hours: tuple[_Regular, ...] = ()
    exceptional_openings: tuple[_Exceptional, ...] = ()
    exceptional_closings: tuple[_Exceptional, ...] = ()


def open_spans(opening_hours: str | None, open_24_7: bool | None, start: int, until: int) -> list[Span] | None:
    """When a station is open between two times.

    Regular hours that end at or before their beginning end on the next day. A wall-clock time of the doubled hour of
    autumn is the first of the two, for a beginning as for an end; in the hour that spring leaves out, clocks were not
    yet set. Exceptional closings take precedence, also over being always open.

    Args:
        opening_hours: the column of `charging_station`, JSON.
        open_24_7: the column of `charging_station`.
        start: UTC, seconds since 1970.
        until: the same, not included.

    Returns:
        Sorted spans that do not touch, cut to `start` and `until`: none where it is closed. None where nothing is
        known.
    """
    hours = None if opening_hours is None else _parsed(opening_hours)
    if open_24_7:
        opened = [(start, until)]
    elif hours is not None and hours.regular_hours:
        opened = [*_regular(hours.regular_hours, start, until), *(period.span for period in hours.exceptional_openings)]
    else:
        return None
    closed = [] if hours is None else [period.span for period in hours.exceptional_closings]
    return list(_without(_union(opened, start, until), _union(closed, start, until)))


class OpenTime:
    """How long stations have been open, for many stations and times at once.

    The spans of the stations are put one after the other on one axis, so that a single interpolation measures all.

    Args:
        spans: by station what `open_spans` gives.
        start: as for `open_spans`.
        until: as for `open_spans`.
    """

    def __init__(self, spans: Sequence[list[Span] | None], start: int, until: int) -> None:
        self._start = start
        self._stride = until - start + 1  # so the end of one station is not the beginning of the next
        found = [(n * self._stride - start, span) for n, known in enumerate(spans) for span in known or ()]
        bounds = np.array([(begin + shift, end + shift) for shift, (begin, end) in found], np.int64).reshape(-1, 2)
        length = bounds[:, 1] - bounds[:, 0]
        open_s = np.cumsum(length)
        self._bounds = np.append(-1, bounds)
        self._open_s = np.append(0, np.stack([open_s - length, open_s], axis=1))

    def before(self, time: Ints | int, station: Ints) -> Ints:
        """Open seconds before times; only differences at the same station mean something. Not known is never open.

        Args:
            time: UTC, seconds since 1970, from `start` to `until`.
            station: indices into `spans`.
        """
        place = time - self._start + station * self._stride
        return np.asarray(np.interp(place, self._bounds, self._open_s).round(), np.int64)


@lru_cache(_PLENTY)
def _parsed(opening_hours: str) -> _Hours | None:
    try:
        return msgspec.json.decode(opening_hours, type=_Hours)
    except msgspec.DecodeError:
        return None


def _regular(periods: tuple[_Regular, ...], start: int, until: int) -> Iterator[Span]:
    """Spans of all local days that touch the time, from the day before on, since they may reach over midnight."""
    day = _local_date(start) - dt.timedelta(days=1)
    while day <= _local_date(until):
        for period in periods:
            if period.weekday == day.isoweekday():
                begin, end = _minute(period.period_begin), _minute(period.period_end)
                yield _instant(day, begin), _instant(day, end if end > begin else end + _DAY_MINUTES)
        day += dt.timedelta(days=1)


def _local_date(time: int) -> dt.date:
    return dt.datetime.fromtimestamp(time, BERLIN).date()


def _minute(clock: str) -> int:
    hour, minute = clock.split(":")
    return 60 * int(hour) + int(minute)


def _instant(day: dt.date, minute: int) -> int:
    """When local clocks show a minute of a day; minutes from 24 hours on are of the next day."""
    days, minute = divmod(minute, _DAY_MINUTES)
    clock = dt.time(*divmod(minute, 60), tzinfo=BERLIN)
    return int(dt.datetime.combine(day + dt.timedelta(days=days), clock).timestamp())


def _union(spans: Iterable[Span], start: int, until: int) -> list[Span]:
    """What the spans cover of the time, sorted, as spans that do not touch."""
    united: list[Span] = []
    for begin, end in sorted((max(begin, start), min(end, until)) for begin, end in spans):
        if begin >= end:
            continue
        if united and begin <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], end)
        else:
            united.append((begin, end))
    return united


def _without(spans: list[Span], closed: list[Span]) -> Iterator[Span]:
    """What is left of spans without others, both sorted and apart."""
    for begin, end in spans:
        left = begin
        for shut, reopened in closed:
            if left < min(shut, end):
                yield left, min(shut, end)
            left = max(left, reopened)
        if left < end:
            yield left, end
