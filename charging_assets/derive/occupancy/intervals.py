"""`status_intervals`: what each charging point was doing on a day, cut at its midnights."""

import numpy as np
import pyarrow as pa

from charging_assets.derive.activity import Ints
from charging_assets.derive.occupancy.columns import few, origin, table_of, times
from charging_assets.derive.occupancy.observation import CLASSES, Gaps, ObservedDay


def status_intervals(day: ObservedDay) -> pa.Table:
    """The table of a day, by point and time."""
    spans = day.spans
    at = np.flatnonzero((spans.start < day.until) & (spans.end > day.start))
    runs = spans.runs.take(at)
    start, end = spans.start[at], spans.end[at]
    is_open_ended = (end > day.until) & (day.until < day.end)
    gap_s = gap_seconds(spans.gaps, len(spans.runs), day.start, day.until)
    return table_of(
        "status_intervals",
        day.query_date,
        len(at),
        id_cp=few(runs.point, day.ids),
        start_time=times(np.maximum(start, day.start)),
        end_time=times(np.minimum(end, day.until)),
        status=few(runs.status, day.statuses),
        status_class=few(runs.status_class, CLASSES),
        n_polls=day.polls[at],
        is_left_censored=spans.is_left_censored[at] & (start >= day.start),
        is_right_censored=(spans.is_right_censored[at] & (end <= day.until)) | is_open_ended,
        has_gap=spans.has_gap[at],
        is_frozen=runs.is_frozen,
        is_single_poll=runs.polls == 1,
        gap_s=gap_s[at],
        is_continued=start < day.start,
        continues=(end > day.until) & ~is_open_ended,
        **origin(runs.feed, day.feeds),
    )


def gap_seconds(gaps: Gaps, runs: int, start: int, until: int) -> Ints:
    """Seconds of bridged gaps of each run within [start, until)."""
    length = np.minimum(gaps.end, until) - np.maximum(gaps.start, start)
    return np.bincount(gaps.run, np.maximum(length, 0), runs).astype(np.int64)
