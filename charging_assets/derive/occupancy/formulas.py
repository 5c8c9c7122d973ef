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


def with_ratios(sums: pa.Table) -> pa.Table:
    """`sums` with the ratios that follow from them, each null where its coverage is too low or there is nothing.

    Args:
        sums: has `occupied_s`, `free_s`, `fault_s`, `unknown_s`, `points_observed`, `station_polls`,
            `station_polls_free`, `station_polls_working`, `station_polls_full`, `events`, `overstays`,
            `max_occupied`, `open_occupied_s`, `open_observed_s`, `open_unknown_s`.

    Returns:
        The same rows with `coverage`, `utilization`, `utilization_available`, `availability`, `uptime`,
        `free_on_arrival`, `full_share`, `events_per_point_day`, `overstay_share`, `simultaneity` and
        `open_utilization` added, in this order: float64.
    """
    occupied, free, fault = (sums[f"{kind}_s"].cast(pa.float64()) for kind in ("occupied", "free", "fault"))
    available = pc.add(occupied, free)
    observed = pc.add(available, fault)
    coverage = share(observed, pc.add(observed, sums["unknown_s"].cast(pa.float64())))
    open_observed = sums["open_observed_s"]
    open_coverage = share(open_observed, pc.add(open_observed, sums["open_unknown_s"]))
    ratios = {
        "utilization": share(occupied, observed),
        "utilization_available": share(occupied, available),
        "availability": share(available, observed),
        "uptime": share(available, observed),
        "free_on_arrival": share(sums["station_polls_free"], sums["station_polls"]),
        "full_share": share(sums["station_polls_full"], sums["station_polls_working"]),
        "events_per_point_day": share(pc.multiply(sums["events"].cast(pa.float64()), float(_DAY_S)), observed),
        "overstay_share": share(sums["overstays"], sums["events"]),
        "simultaneity": share(sums["max_occupied"], sums["points_observed"]),
        "open_utilization": shown(share(sums["open_occupied_s"], open_observed), open_coverage),
    }
    sums = sums.append_column("coverage", coverage)
    for name, ratio in ratios.items():
        is_counted = name in {"overstay_share", "open_utilization"}  # of events; of coverage of its own
        sums = sums.append_column(name, ratio if is_counted else shown(ratio, coverage))
    return sums


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
    edge = np.concatenate([duration_s - half, duration_s + half])
    group, slope = np.concatenate([group, group]), np.concatenate([slope, -slope])
    order = np.lexsort((edge, group))
    edge, group, slope = edge[order], group[order], slope[order]
    is_first = np.diff(group, prepend=-1) != 0
    # Each group's slopes add up to 0, so one cumulated sum serves them all.
    rise = np.where(is_first, 0, np.roll(np.cumsum(slope), 1)) * np.where(is_first, 0, np.diff(edge, prepend=0))
    below = np.cumsum(rise)  # events that are shorter than the edge, those of the groups before included
    before = np.zeros(groups)
    total = np.bincount(group, rise, groups)
    before[1:] = np.cumsum(total)[:-1]
    found = np.full((len(shares), groups), np.nan)
    there = np.unique(group)
    close = 1e-9 * total[there]  # sums of floats: what lies exactly between two events must not hang on the last digit
    for row, share in enumerate(shares):
        wanted = before[there] + share * total[there]
        found[row, there] = (_where(below, edge, wanted - close) + _where(below, edge, wanted + close)) / 2
    return found


def _where(below: Floats, edge: Floats, wanted: Floats) -> Floats:
    """Where so many events are shorter."""
    at = np.searchsorted(below, wanted)
    part = (wanted - below[at - 1]) / (below[at] - below[at - 1])
    return np.asarray(edge[at - 1] + part * (edge[at] - edge[at - 1]))
