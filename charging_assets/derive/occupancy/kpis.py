"""`kpi_daily`: the KPIs of a day, of points, stations, cities, operators, power classes and feeds.

Belongs here: sums over the points of a scope, and what follows from its single polls, hours and events. Does not belong
here: ratios of sums (`formulas`), what was observed (`observation`), when a station is open (`opening_hours`), KPIs of
several days (`periods`).

A point is in at most one scope of a kind. So all figures are counts by one code per point, and nothing is done point by
point.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.derive.activity import Flags, Ints
from charging_assets.derive.occupancy.formulas import duration_quantiles, durations_shown, shown, with_ratios
from charging_assets.derive.occupancy.observation import FAULT, FREE, GONE, OCCUPIED, ObservedDay
from charging_assets.derive.occupancy.opening_hours import OpenTime, open_spans
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import SCOPES

_KINDS = ("occupied", "free", "fault", "gone", "unknown")
_ENERGIES = ("energy_kwh", "energy_kwh_low", "energy_kwh_high")
_PEAK = 0.95
_DURATIONS = {"p50": 0.5, "p90": 0.9}
_LABELS = {
    "city": ("point", "station", "city"),
    "operator_name": ("point", "station", "operator"),
    "power_class": ("point", "station", "power_class"),
}
"""By label, the kinds of scopes that have it."""

Columns = dict[str, Any]
Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Points:
    """The charging points of the day."""

    places: pa.Table
    members: dict[str, pa.Array]
    """By kind of scope, in which each point is; null in none."""
    station: Ints
    """Equal numbers are equal stations; a point without a known one is a station of its own."""
    has_station: Flags
    seconds: dict[str, Ints]
    """By kind; shape (points, hours)."""
    is_open_known: Flags
    open_seconds: dict[str, Ints]
    """`occupied`, `observed` and `unknown` within opening hours; 0 where these are not known."""


@dataclass(frozen=True, slots=True)
class _Polls:
    """Sights of points that are free, occupied or out of order, in columns."""

    point: Ints
    poll: Ints
    """Numbers the polls of the day."""
    polls: int
    free: Ints
    """Which of the sights are free."""
    occupied: Ints
    """Which of the sights are occupied."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """All scopes of a kind."""

    kind: str
    ids: pa.StringArray
    """Sorted."""
    code: Ints
    """Per point: index into `ids`; -1 where it is in none."""
    group: Ints
    """Per point: numbers the pairs of scope and station; -1 where it is in none."""
    of_group: Ints
    """Per pair: index into `ids`."""
    stations: Ints
    """Per scope, how many are known."""

    def __len__(self) -> int:
        return len(self.ids)


def kpi_daily(day: ObservedDay, places: pa.Table, hourly: pa.Table, events: pa.Table) -> pa.Table:
    """The table of a day, by scope and id; without rows when it has no points, or its only poll is at midnight.

    Args:
        day: what was observed.
        places: see `places_of`; of the points of the day.
        hourly: `utilization_hourly` of the day.
        events: `charging_events` of the day.

    Raises:
        ValueError: an event is of a point that is none of the day, or `hourly` has not the same hours of every point.
    """
    schema = arrow_schema("kpi_daily")
    if not len(day.ids) or day.until == day.start:  # no second has passed in which anything could be observed
        return schema.empty_table()
    points, polls, event_point = _points(day, places, hourly), _polls(day), _event_points(day, events)
    tables = []
    for kind in sorted(SCOPES):
        scope = _scope(kind, points)
        columns = {
            **_labels(scope, points),
            **_time(scope, points),
            **_at_polls(scope, polls),
            **_of_events(scope, events, event_point),
            **_while_open(scope, points),
        }
        tables.append(pa.table(columns))
    table = durations_shown(with_ratios(pa.concat_tables(tables).combine_chunks()))
    peak = table.schema.get_field_index("peak_utilization")
    table = table.set_column(peak, "peak_utilization", shown(table[peak], table["coverage"]))
    query_date = pa.repeat(pa.scalar(day.query_date, pa.date32()), table.num_rows)
    return table.append_column("query_date", query_date).select(schema.names).cast(schema)


def _points(day: ObservedDay, places: pa.Table, hourly: pa.Table) -> _Points:
    stations = places["id_cs"].combine_chunks().dictionary_encode()
    has_station = np.asarray(stations.is_valid(), bool)
    own = len(stations.dictionary) + np.arange(len(has_station))
    members = {
        "point": day.ids,
        "station": places["id_cs"].cast(pa.string()),
        "city": places["city"],
        "operator": places["operator_name"],
        "power_class": places["power_class"],
        "feed": pa.array([feed for _, feed in day.feeds], pa.string()).take(pa.array(day.feed)),
    }
    return _Points(
        places,
        members,
        np.where(has_station, _whole(stations.indices.fill_null(-1)), own),
        has_station,
        {kind: _whole(hourly[f"{kind}_s"]).reshape(len(day.ids), -1) for kind in _KINDS},
        *_open(day, places),
    )


def _open(day: ObservedDay, places: pa.Table) -> tuple[Flags, dict[str, Ints]]:
    """Whether opening hours are known, and seconds within them, by point. Each different text is read once."""
    words = [places["opening_hours"], places["open_24_7"].cast(pa.string())]
    texts = pc.binary_join_element_wise(*words, "\n", null_handling="replace").combine_chunks().dictionary_encode()
    text = _whole(texts.indices)
    told = places.select(["opening_hours", "open_24_7"]).take(pa.array(_firsts(text))).to_pylist()
    spans = [open_spans(row["opening_hours"], row["open_24_7"], day.start, day.until) for row in told]
    is_known = np.array([found is not None for found in spans], bool)
    opened = OpenTime(spans, day.start, day.until)

    pieces, count = day.pieces, len(day.ids)
    length = opened.before(pieces.end, text[pieces.point]) - opened.before(pieces.start, text[pieces.point])
    occupied = _sums(pieces.point, count, length * (pieces.status_class == OCCUPIED))
    gone = _sums(pieces.point, count, length * (pieces.status_class == GONE))
    in_pieces = _sums(pieces.point, count, length)
    everything = opened.before(day.until, text) - opened.before(day.start, text)
    return is_known[text], {"occupied": occupied, "observed": in_pieces - gone, "unknown": everything - in_pieces}


def _polls(day: ObservedDay) -> _Polls:
    chosen = np.flatnonzero(np.isin(day.sights.status_class, (FREE, OCCUPIED, FAULT)))
    point, status_class = day.sights.point[chosen], day.sights.status_class[chosen]
    second = day.sights.time[chosen] - day.start
    is_poll = np.zeros(second.max(initial=-1) + 1, bool)
    is_poll[second] = True
    number = np.cumsum(is_poll) - 1
    free, occupied = (np.flatnonzero(status_class == code) for code in (FREE, OCCUPIED))
    return _Polls(point, number[second], int(is_poll.sum()), free, occupied)


def _event_points(day: ObservedDay, events: pa.Table) -> Ints:
    """Of each event, the index of its point."""
    point = _indices(events["id_cp"].cast(pa.string()), day.ids)
    if (point < 0).any():
        raise ValueError(
            f"charging_events of {day.query_date}: expected events of the {len(day.ids)} charging points of the day, "
            f"got one of {events['id_cp'][int(point.argmin())]}; make both from the same observations"
        )
    return point


def _scope(kind: str, points: _Points) -> _Scope:
    ids = pc.unique(points.members[kind]).drop_null()
    ids = ids.take(pc.sort_indices(ids))
    code = _indices(points.members[kind], ids)
    inside = np.flatnonzero(code >= 0)
    pair = code * (points.station.max() + 1) + points.station
    _, first, pairs = np.unique(pair[inside], return_index=True, return_inverse=True)
    group = np.full(len(code), -1)
    group[inside] = pairs
    of_group = code[inside[first]]
    stations = _sums(of_group, len(ids), points.has_station[inside[first]])
    return _Scope(kind, ids, code, group, of_group, stations)


def _labels(scope: _Scope, points: _Points) -> Columns:
    first = pa.array(_firsts(scope.code))
    columns = {
        "scope": pa.repeat(scope.kind, len(scope)),
        "scope_id": scope.ids,
        "name": points.places["station_name"].take(first) if scope.kind == "station" else scope.ids,
    }
    for label, kinds in _LABELS.items():
        is_told = scope.kind in kinds
        columns[label] = points.places[label].take(first) if is_told else pa.nulls(len(scope), pa.string())
    if scope.kind == "station":
        columns["power_class"] = _of_one_class(scope, points, columns["power_class"])
    return columns


def _of_one_class(scope: _Scope, points: _Points, of_first: pa.ChunkedArray) -> pa.ChunkedArray:
    """Power classes of the stations' first points, where all others are of the same."""
    power = _whole(points.places["power_class"].combine_chunks().dictionary_encode().indices.fill_null(-1))
    power_of_first = np.append(power[_firsts(scope.code)], -1)  # the last one is that of no scope, -1
    is_mixed = _sums(scope.code, len(scope), power != power_of_first[scope.code]) > 0
    return pc.if_else(pa.array(is_mixed), pa.scalar(None, pa.string()), of_first)


def _time(scope: _Scope, points: _Points) -> Columns:
    occupied = points.seconds["occupied"]
    observed = occupied + points.seconds["free"] + points.seconds["fault"]
    hours = occupied.shape[1]
    cell = scope.code[:, None] * hours + np.arange(hours)
    inside = scope.code >= 0
    occupied_then, observed_then = (
        np.bincount(cell[inside].ravel(), seconds[inside].ravel(), len(scope) * hours)
        for seconds in (occupied, observed)
    )
    seen = np.flatnonzero(observed_then)
    utilization = occupied_then[seen] / observed_then[seen]
    return {
        "points": _sums(scope.code, len(scope), np.ones(len(scope.code))),
        "points_observed": _sums(scope.code, len(scope), observed.sum(axis=1) > 0),
        "stations": scope.stations,
        **{f"{kind}_s": _sums(scope.code, len(scope), points.seconds[kind].sum(axis=1)) for kind in _KINDS},
        "peak_utilization": _quantile(seen // max(hours, 1), utilization, _PEAK, len(scope)),
    }


def _at_polls(scope: _Scope, polls: _Polls) -> Columns:
    """What the polls of the scope's stations saw; a station is judged by its points of this scope."""
    group = scope.group[polls.point]
    shape = (len(scope.of_group), polls.polls)
    has_free = _marked(group[polls.free], polls.poll[polls.free], shape)
    has_working = has_free | _marked(group[polls.occupied], polls.poll[polls.occupied], shape)
    marks = {
        "station_polls": _marked(group, polls.poll, shape),
        "station_polls_free": has_free,
        "station_polls_working": has_working,
        "station_polls_full": has_working & ~has_free,
    }
    code = scope.code[polls.point[polls.occupied]]
    cell = code * polls.polls + polls.poll[polls.occupied]
    occupied = np.bincount(cell[code >= 0], minlength=len(scope) * polls.polls).reshape(len(scope), polls.polls)
    return {
        **{name: _sums(scope.of_group, len(scope), marked.sum(axis=1)) for name, marked in marks.items()},
        "max_occupied": occupied.max(axis=1, initial=0),
    }


def _of_events(scope: _Scope, events: pa.Table, event_point: Ints) -> Columns:
    code = scope.code[event_point]
    is_censored = _flags(events["is_left_censored"]) | _flags(events["is_right_censored"])
    whole = np.flatnonzero((code >= 0) & ~is_censored)
    quantiles = duration_quantiles(
        code[whole],
        _whole(events["duration_s"])[whole],
        _whole(events["n_polls"])[whole],
        np.ones_like(whole),
        len(scope),
        tuple(_DURATIONS.values()),
    )
    return {
        "events": _sums(code, len(scope), np.ones(len(code))),
        **{
            f"duration_{name}_s": pa.array(np.rint(found), pa.float64(), from_pandas=True).cast(pa.int64())
            for name, found in zip(_DURATIONS, quantiles, strict=True)
        },
        "overstays": _sums(code, len(scope), _flags(events["is_overstay"])),
        "censored_events": _sums(code, len(scope), _flags(events["is_right_censored"])),
        "suspicious_events": _sums(code, len(scope), _flags(events["is_suspicious"])),
        **{name: _energy(code, events[name], len(scope)) for name in _ENERGIES},
    }


def _energy(code: Ints, kwh: pa.ChunkedArray, count: int) -> pa.Array:
    total = np.bincount(code + 1, kwh.fill_null(0).to_numpy(), count + 1)[1:]
    return pa.array(total, mask=_sums(code, count, _flags(kwh.is_valid())) == 0)


def _while_open(scope: _Scope, points: _Points) -> Columns:
    is_unknown = _sums(scope.code, len(scope), points.is_open_known) == 0
    return {
        f"open_{name}_s": pa.array(_sums(scope.code, len(scope), seconds), mask=is_unknown)
        for name, seconds in points.open_seconds.items()
    }


def _sums(code: Ints, count: int, values: Values) -> Ints:
    """Sums of whole numbers by code, of codes from 0 to `count`; those of the code -1 are left out."""
    return np.asarray(np.bincount(code + 1, values, count + 1)[1:], np.int64)


def _marked(row: Ints, column: Ints, shape: tuple[int, int]) -> Flags:
    """Whether there is any of a row and column; those of the row -1 are left out."""
    cells = np.zeros((shape[0] + 1, shape[1]), bool)
    cells[row, column] = True  # the row -1 is the last one
    return cells[:-1]


def _quantile(code: Ints, values: Values, share: float, count: int) -> pa.Array:
    """Quantile of the values of each code, with linear interpolation; null where there are none."""
    ordered = values[np.lexsort((values, code))]
    sizes = np.bincount(code, minlength=count)
    some = np.flatnonzero(sizes)
    place = share * (sizes[some] - 1)
    below = np.floor(place).astype(np.int64)
    first = (np.cumsum(sizes) - sizes)[some]
    low, high = ordered[first + below], ordered[first + np.ceil(place).astype(np.int64)]
    found = np.zeros(count)
    found[some] = low + (high - low) * (place - below)
    return pa.array(found, mask=sizes == 0)


def _firsts(code: Ints) -> Ints:
    """Of each code from 0 on, where it is first; every code occurs."""
    codes, first = np.unique(code, return_index=True)
    return first[codes >= 0]


def _indices(texts: pa.ChunkedArray | pa.Array, of: pa.ChunkedArray | pa.Array) -> Ints:
    """Where each text is in `of`; -1 where it is not."""
    return _whole(pc.index_in(texts, value_set=of).fill_null(-1))


def _whole(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(column.to_numpy(), np.int64)


def _flags(column: pa.ChunkedArray) -> Flags:
    return np.asarray(column.to_numpy(), bool)
