"""The formulas of the KPIs: from sums to ratios, the same for a day, a month and a report.

Source of the formulas: `docs/method.md`.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.derive.activity import Floats, Ints
from charging_assets.model.tables.occupancy import LEAST_COVERAGE

_DAY_S = 86_400
_CLOSE = 1e-6
"""Of an event: what lies exactly between two events must not hang on the last digits of sums of a million."""


def with_ratios(sums: pa.Table) -> pa.Table:
    """`sums` with the ratios that follow from them, each null where its coverage is too low or there is nothing.

    Args:
        sums: has `occupied_s`, `free_s`, `fault_s`, `unknown_s`, `points_observed`, `station_polls`,
            `station_polls_free`, `station_polls_working`, `station_polls_full`, `events`, `overstays`,
            `censored_events`, `max_occupied`, `open_occupied_s`, `open_observed_s`, `open_unknown_s`.

    Returns:
        The same rows with `coverage`, `utilization`, `utilization_available`, `availability`, `uptime`,
        `free_on_arrival`, `full_share`, `events_per_point_day`, `overstay_share`, `simultaneity` and
        `open_utilization` added, in this order: float64.
    """
    occupied, free, fault = (sums[f"{kind}_s"].cast(pa.float64()) for kind in ("occupied", "free", "fault"))
    available = pc.add(occupied, free)
    observed = pc.add(available, fault)
    coverage = share(observed, pc.add(observed, sums["unknown_s"].cast(pa.float64())))
    ended = pc.subtract(sums["events"], sums["censored_events"])
    open_observed = sums["open_observed_s"]
    open_coverage = share(open_observed, pc.add(open_observed, sums["open_unknown_s"]))
    ratios = {
        "utilization": share(occupied, observed),
        "utilization_available": share(occupied, available),
        "availability": share(available, observed),
        "uptime": share(available, observed),
        "free_on_arrival": share(sums["station_polls_free"], sums["station_polls"]),
        "full_share": share(sums["station_polls_full"], sums["station_polls_working"]),
        # Each session has one end: a gap makes two events of one, but it is seen to end at most once.
        "events_per_point_day": share(pc.multiply(ended.cast(pa.float64()), float(_DAY_S)), observed),
        "overstay_share": share(sums["overstays"], sums["events"]),
        "simultaneity": share(sums["max_occupied"], sums["points_observed"]),
        "open_utilization": shown(share(sums["open_occupied_s"], open_observed), open_coverage),
    }
    sums = sums.append_column("coverage", coverage)
    for name, ratio in ratios.items():
        sums = sums.append_column(name, ratio if name == "open_utilization" else shown(ratio, coverage))
    return sums


def durations_shown(figures: pa.Table) -> pa.Table:
    """`figures` with durations null where `coverage` is too low.

    Gaps cut long events short or leave them without an end: at 63 % coverage nine of ten events took at most half an
    hour that really took up to eight.
    """
    for name in ("duration_p50_s", "duration_p90_s"):
        place = figures.column_names.index(name)
        is_enough = pc.fill_null(pc.greater_equal(figures["coverage"], LEAST_COVERAGE), fill_value=False)
        durations = pc.if_else(is_enough, figures[name], pa.scalar(None, figures[name].type))
        figures = figures.set_column(place, name, durations)
    return figures


def share(part: pa.ChunkedArray, whole: pa.ChunkedArray) -> pa.ChunkedArray:
    """`part` / `whole` as float64; null where `whole` is 0."""
    whole = whole.cast(pa.float64())
    return pc.divide(part.cast(pa.float64()), pc.if_else(pc.equal(whole, 0.0), pa.scalar(None, pa.float64()), whole))


def shown(ratio: pa.ChunkedArray, coverage: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ratio where enough was observed, null elsewhere."""
    is_enough = pc.fill_null(pc.greater_equal(coverage, LEAST_COVERAGE), fill_value=False)
    return pc.if_else(is_enough, ratio, pa.scalar(None, pa.float64()))


def duration_quantiles(
    group: Ints, duration_s: Ints, n_polls: Ints, events: Ints, groups: int, shares: Sequence[float]
) -> Floats:
    """Quantiles of the durations of events by group, shape (len(shares), groups), in seconds; NaN without events.

    Polls round durations to whole polls: half of all DC events are said to take 20 or 30 minutes. So each duration is
    spread evenly over the poll that it was rounded to (the median of grouped data), or a median would be as wrong as a
    poll is long. Where a range of durations would do, it is the middle of it.

    Args:
        group: of each kind of event, from 0 to `groups` - 1.
        duration_s: of each kind, above 0.
        n_polls: how many polls saw such an event, at least 1.
        events: how many there are of the kind.
        groups: how many groups there are.
        shares: which quantiles.
    """
    half = duration_s / (2 * n_polls)
    slope = events / (2 * half)
    total = np.bincount(group, events, groups)
    edge = np.concatenate([duration_s - half, duration_s + half])
    group, slope = np.concatenate([group, group]), np.concatenate([slope, -slope])
    order = np.lexsort((edge, group))
    edge, group, slope = edge[order], group[order], slope[order]
    start = np.flatnonzero(np.diff(group, prepend=-1))
    there = group[start]
    rise = np.roll(_cumulated(slope, start), 1) * np.diff(edge, prepend=0)
    rise[start] = 0
    below = _cumulated(rise, start)  # events of the group that are shorter than the edge
    found = np.full((len(shares), groups), np.nan)
    for row, share in enumerate(shares):
        ends = []
        for wanted in (share * total - _CLOSE, share * total + _CLOSE):
            at = start + np.bincount(group[below < wanted[group]], minlength=groups)[there]
            part = (wanted[there] - below[at - 1]) / (below[at] - below[at - 1])
            ends.append(edge[at - 1] + part * (edge[at] - edge[at - 1]))
        found[row, there] = (ends[0] + ends[1]) / 2
    return np.round(found, 3)  # nor must what is exactly half a second


def _cumulated(values: Floats, start: Ints) -> Floats:
    """Sums of the values so far, which begin anew at each of `start`."""
    sums = np.cumsum(values)
    before = np.append(0, sums)[start]
    return np.asarray(sums - np.repeat(before, np.diff(start, append=len(values))))
