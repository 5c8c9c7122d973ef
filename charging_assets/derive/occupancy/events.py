"""`charging_events`: runs of CHARGING or OCCUPIED, in the partition of the day on which they end."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.derive.activity import Flags, Ints
from charging_assets.derive.occupancy.columns import few, origin, table_of, times
from charging_assets.derive.occupancy.energy import energy_kwh
from charging_assets.derive.occupancy.intervals import gap_seconds
from charging_assets.derive.occupancy.observation import ObservedDay

STATUSES = ("CHARGING", "OCCUPIED")
"""Statuses that make an event; RESERVED and BLOCKED are occupied seconds only."""

SUSPICIOUS_S = {"AC": 24 * 3600, "DC": 3 * 3600}
OVERSTAY_S = {"AC": 4 * 3600, "DC": 45 * 60}
"""By kind of current; a point of unknown power counts as AC."""


@dataclass(frozen=True, slots=True)
class _Events:
    """Events of all days around, by point and time."""

    first: Ints
    """Index of the first span of each."""
    last: Ints


def charging_events(day: ObservedDay, places: pa.Table) -> pa.Table:
    """The table of a day, by point and time.

    Args:
        day: what was observed, with 7 days before it to look back to.
        places: see `places_of`; of the points of the day.
    """
    spans, runs = day.spans, day.spans.runs
    events = _events(day)
    start, last_sight = spans.start[events.first], runs.last[events.last]
    is_cut = spans.is_right_censored[events.last]
    end = spans.end[events.last]
    if day.until < day.end:  # what is to come is not known
        is_cut, end = is_cut | (end > day.until), np.minimum(end, day.until)
    is_of_day = np.where(
        is_cut, (last_sight >= day.start) & (last_sight < day.end), (end > day.start) & (end <= day.end)
    )
    at = np.flatnonzero(is_of_day)
    first, last, start, end, is_cut = events.first[at], events.last[at], start[at], end[at], is_cut[at]
    point, duration_s = runs.point[first], end - start

    def total(column: Ints | Flags) -> Ints:
        cumulated = np.concatenate([[0], np.cumsum(column)])
        return np.asarray(cumulated[last + 1] - cumulated[first], np.int64)

    of_place = places.take(pa.array(point))
    is_dc = _is_dc(of_place["power_class"])
    estimate, low, high = energy_kwh(duration_s, of_place["power_class"])
    return table_of(
        "charging_events",
        day.query_date,
        len(at),
        id_cp=few(point, day.ids),
        id_cs=of_place["id_cs"],
        start_time=times(start),
        end_time=times(end),
        duration_s=duration_s,
        status=few(runs.status[first], day.statuses),
        is_left_censored=spans.is_left_censored[first],
        is_right_censored=is_cut,
        has_gap=total(spans.has_gap) > 0,
        is_single_poll=total(runs.polls) == 1,
        is_frozen=_borders_on_frozen(day, first, last),
        is_suspicious=duration_s > np.where(is_dc, SUSPICIOUS_S["DC"], SUSPICIOUS_S["AC"]),
        power_class=of_place["power_class"],
        energy_kwh=estimate,
        energy_kwh_low=low,
        energy_kwh_high=high,
        gap_s=total(gap_seconds(spans.gaps, len(runs), 0, np.iinfo(np.int64).max)),
        n_polls=total(runs.polls),
        **origin(runs.feed[first], day.feeds),
        city=of_place["city"],
        operator_name=of_place["operator_name"],
        is_overstay=duration_s > np.where(is_dc, OVERSTAY_S["DC"], OVERSTAY_S["AC"]),
    )


def _events(day: ObservedDay) -> _Events:
    """Runs of charging statuses; one that changes from one of them to the other goes on."""
    spans, runs = day.spans, day.spans.runs
    makes_event = np.array([(text or "").strip().upper() in STATUSES for text in day.statuses], bool)
    is_charging = makes_event[runs.status] & ~runs.is_frozen
    goes_on = np.zeros(len(runs), bool)
    goes_on[1:] = is_charging[1:] & is_charging[:-1] & (runs.point[1:] == runs.point[:-1]) & ~spans.is_left_censored[1:]
    first = np.flatnonzero(is_charging & ~goes_on)
    is_end = is_charging.copy()
    is_end[:-1] &= ~goes_on[1:]
    return _Events(first, np.flatnonzero(is_end))


def _borders_on_frozen(day: ObservedDay, first: Ints, last: Ints) -> Flags:
    """Whether the span before or after is of the same point and frozen."""
    runs = day.spans.runs
    frozen = np.append(runs.is_frozen, False)
    point = np.append(runs.point, -1)  # the one before the first is the last, which is of no point
    of_point = runs.point[first]
    neighbours = np.stack([first - 1, last + 1])
    return np.asarray((frozen[neighbours] & (point[neighbours] == of_point)).any(axis=0), bool)


def _is_dc(power_class: pa.ChunkedArray) -> Flags:
    is_dc = pc.fill_null(pc.starts_with(power_class, "DC"), fill_value=False)
    return np.asarray(is_dc.to_numpy(), bool)
