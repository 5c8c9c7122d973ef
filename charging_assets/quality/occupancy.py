"""Checks of what is made from observed time: whether its seconds and events add up, and whether it is likely.

Every table is judged against the one that it follows from, by other means than it was made by: intervals against
themselves, hours against intervals, KPIs against hours and events, months against days. Does not belong here: whether
the polls can be believed (`feeds`).
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.calendar import BERLIN, day_bounds, is_closed
from charging_assets.derive.inputs import DAYS_BEFORE, undated_inputs
from charging_assets.lake import LakeError
from charging_assets.model.tables.occupancy import LEAST_COVERAGE, SCOPE_COLUMNS
from charging_assets.quality.partition import Partition, key_text
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned
from charging_assets.settings import Settings

_HOUR_S = 3600

_KINDS = ("occupied", "free", "fault", "gone", "unknown")
"""What seconds are of; the last one is what is left."""

_SUSPICIOUS, _FEWEST = 0.02, 5
"""Share of the events of a day, and how many, that are told. Of 31,995 real sessions of Perth & Kinross 0.1 % are so
long, of simulated ones up to 0.7 %."""

_LIKELY = (0.02, 0.5)
"""Utilization of all points of a day. Published for Germany are means of 7 % (DC) to 17 %, by day 20 %; of the days of
Perth & Kinross 19 of 20 are above 3.5 %. Beyond that it is more likely that feeds repeat themselves."""
_ENOUGH_POINTS = 50
"""Of fewer points a day says little: one that charges all day is 2 %."""

_UNPLACED = 0.01
"""Share of points of which a KPI may lack the station, city or power class before it is told."""

_COMPARED_SCOPES = ("city", "feed")
"""Of months, against days: the others are made by the same statements, of many times the rows."""

Ints = NDArray[np.int64]


def occupancy_checks() -> Iterator[Check]:
    """The checks of occupancy that its declaration does not give."""
    events, hourly, daily = "charging_events", "utilization_hourly", "kpi_daily"
    yield Check(
        "status_intervals",
        "overlaps",
        "Intervals of a point lie one after the other, and bridged gaps within them.",
        _intervals,
        blocking=True,
    )
    yield Check(
        events,
        "overlaps",
        "Events of a point lie one after the other; each ends on the day, or was last seen on it.",
        _events,
        blocking=True,
    )
    yield Check(events, "one_day", "No event is in the partition of the day before as well.", _one_day)
    yield Check(
        events, "suspicious_events", f"Hardly any event, at most {_SUSPICIOUS:.0%}, is suspiciously long.", _long
    )
    yield Check(
        hourly,
        "hours",
        "Every point has all hours of the day so far, and the seconds of each add up to it.",
        _hours,
        blocking=True,
    )
    yield Check(
        hourly,
        "intervals",
        "Every point was occupied, free, out of order and gone for as long as its intervals say.",
        _hours_against_intervals,
        needs=("status_intervals",),
    )
    yield Check(
        hourly, "references", f"Station, city and power class are known of {1 - _UNPLACED:.0%} of the points.", _places
    )
    yield Check(
        daily,
        "sums",
        "Every scope has the seconds of the hours, and the events, of its points; coverage and utilization follow.",
        _kpis_against_points,
        needs=(hourly, events),
        blocking=True,
    )
    yield Check(daily, "coverage", f"Every feed and city was observed for {LEAST_COVERAGE:.0%} of the day.", _coverage)
    yield Check(
        daily,
        "utilization",
        f"All points together were occupied for {_LIKELY[0]:.0%} to {_LIKELY[1]:.0%} of the time observed.",
        _utilization,
    )
    yield Check("kpi_monthly", "sums", "The last month of every feed and city has the seconds of its days.", _months)
    yield Check(
        "usage_profile",
        "sums",
        "The hours of the week of every feed and city have the seconds of all months.",
        _profile,
        needs=("kpi_monthly",),
    )


# -- one after the other -----------------------------------------------------------------------------------------------


def _intervals(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    start, end, gap_s = _seconds(rows["start_time"]), _seconds(rows["end_time"]), _whole(rows["gap_s"])
    wrong = [f"{_key(rows, row)} begins before the one before ends" for row in _overlapping(rows, start, end)]
    wrong += [
        f"{_key(rows, row)} has gaps of {gap_s[row]:,} s in {end[row] - start[row]:,} s"
        for row in _where(gap_s > end - start)
    ]
    points = len(pc.unique(rows["id_cp"]))
    figures = {"rows": rows.num_rows, "points": points, "seconds": int((end - start).sum()), "gap_s": int(gap_s.sum())}
    if wrong:
        return failed(
            f"{amount(len(wrong), 'fault')} in {amount(rows.num_rows, 'interval')}: {some(wrong)}.", wrong, **figures
        )
    length_s = points * _length_s(partition.date)
    return passed(
        f"{amount(rows.num_rows, 'interval')} of {amount(points, 'point')} cover "
        f"{figures['seconds'] / max(length_s, 1):.1%} of the day, {amount(figures['gap_s'], 'second')} of it gaps.",
        **figures,
    )


def _events(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    day_start, day_end = (int(bound.timestamp()) for bound in day_bounds(partition.date))
    start, end = _seconds(rows["start_time"]), _seconds(rows["end_time"])
    is_open = pc.fill_null(rows["is_right_censored"], fill_value=False).to_numpy()
    wrong = [f"{_key(rows, row)} begins before the one before ends" for row in _overlapping(rows, start, end)]
    for is_wrong, words in (
        ((end <= day_start) | (start >= day_end), "was not seen on the day"),
        ((end > day_end) & ~is_open, "ends after the day"),
        (start < day_start - (DAYS_BEFORE + 1) * 24 * _HOUR_S, f"begins more than {DAYS_BEFORE} days before"),
        (end - start != _whole(rows["duration_s"]), "has another duration than from its start to its end"),
    ):
        wrong += [f"{_key(rows, row)} {words}" for row in _where(is_wrong)]
    figures = {
        "events": rows.num_rows,
        "points": len(pc.unique(rows["id_cp"])),
        "begun_before": int((start < day_start).sum()),
        "censored": int(is_open.sum()),
    }
    if wrong:
        return failed(
            f"{amount(len(wrong), 'fault')} in {amount(rows.num_rows, 'event')}: {some(wrong)}.", wrong, **figures
        )
    return passed(
        f"{amount(rows.num_rows, 'event')} of {amount(figures['points'], 'point')}, of which "
        f"{figures['begun_before']:,} began before the day and {figures['censored']:,} were not seen to end.",
        **figures,
    )


def _overlapping(rows: pa.Table, start: Ints, end: Ints) -> Iterator[int]:
    """Rows that begin before the one before them of the same point ends."""
    point = _codes(rows["id_cp"])
    order = np.lexsort((start, point))
    is_wrong = (np.diff(point[order]) == 0) & (start[order][1:] < end[order][:-1])
    yield from order[1:][is_wrong].tolist()


def _one_day(partition: Partition, name: str) -> Verdict:
    rows, before = partition.rows(name), partition.date - dt.timedelta(days=1)
    try:
        earlier = partition.lake.read(name, before, ("id_cp", "start_time"))
    except LakeError as error:
        return passed(f"Not judged against {before}: {error}.", events=rows.num_rows)
    is_twice = pc.is_in(_as_key(rows), value_set=_as_key(earlier).combine_chunks())
    twice = [_key(rows, row) for row in _where(is_twice.to_numpy())]
    figures = {"events": rows.num_rows, "events_before": earlier.num_rows}
    if twice:
        return warned(
            f"{amount(len(twice), 'event')} of {rows.num_rows:,} are also in {before}, which was made when their end "
            f"was not known, so build it again: {some(twice)}.",
            twice,
            **figures,
        )
    return passed(f"None of {amount(rows.num_rows, 'event')} is among the {earlier.num_rows:,} of {before}.", **figures)


def _as_key(rows: pa.Table) -> pa.ChunkedArray:
    times = rows["start_time"].cast(pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(rows["id_cp"].cast(pa.string()), times, "\n")


def _long(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    long = rows.filter(pc.fill_null(rows["is_suspicious"], fill_value=False))
    share = long.num_rows / max(rows.num_rows, 1)
    figures = {"events": rows.num_rows, "suspicious": long.num_rows, "share": round(share, 4)}
    sentence = f"{long.num_rows:,} of {amount(rows.num_rows, 'event')} are suspiciously long ({share:.1%})"
    if share <= _SUSPICIOUS or long.num_rows < _FEWEST:
        return passed(f"{sentence}.", **figures)
    longest = long.sort_by([("duration_s", "descending")])
    named = [
        f"{_key(longest, row)} for {longest['duration_s'][row].as_py() / _HOUR_S:.1f} h" for row in range(long.num_rows)
    ]
    return warned(f"{sentence}, so maybe points are stuck: {some(named)}.", named, **figures)


# -- hours -------------------------------------------------------------------------------------------------------------


def _hours(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    if not rows.num_rows:
        return passed("0 points, so no hours.", points=0)
    start, end = (int(bound.timestamp()) for bound in day_bounds(partition.date))
    times = _seconds(rows["hour_utc"])
    if outside := [_key(rows, row) for row in _where((times < start) | (times >= end))]:
        return failed(f"{amount(len(outside), 'row')} of other days: {some(outside)}.", outside, outside=len(outside))
    hour = (times - start) // _HOUR_S
    total = sum(_kinds(rows).values(), np.zeros(rows.num_rows, np.int64))
    last = int(hour.max())
    lengths = np.full(last + 1, _HOUR_S)
    lengths[last] = total[hour == last].max()  # the running one is as long as it was observed
    is_whole = start + last * _HOUR_S + lengths[last] == end
    local = np.array([dt.datetime.fromtimestamp(start + n * _HOUR_S, BERLIN).hour for n in range(last + 1)])
    wrong = [
        f"{_key(rows, row)} has {total[row]:,} s of {lengths[hour[row]]:,} s"
        for row in _where((total != lengths[hour]) | (lengths[hour] > _HOUR_S))
    ]
    wrong += [
        f"{_key(rows, row)} is called hour {rows['hour_local'][row]} and not {local[hour[row]]}"
        for row in _where(_whole(rows["hour_local"]) != local[hour])
    ]
    ids, counts = (pc.value_counts(rows["id_cp"]).field(n) for n in (0, 1))
    short = pc.not_equal(counts, last + 1).to_numpy(zero_copy_only=False)
    wrong += [f"{ids[row]} has {counts[row]} hours of {last + 1}" for row in _where(short)]
    figures = {"points": len(ids), "hours": last + 1, "seconds": int(total.sum())}
    if wrong:
        return failed(
            f"{amount(len(wrong), 'fault')} in {amount(rows.num_rows, 'row')}: {some(wrong)}.", wrong, **figures
        )
    if is_closed(partition.date, partition.now) and not is_whole:
        return warned(f"It ends in hour {last + 1}, but the day is over: build it again.", (), **figures)
    return passed(
        f"{amount(len(ids), 'point')} of {amount(last + 1, 'hour')}, {figures['seconds']:,} seconds in all.", **figures
    )


def _hours_against_intervals(partition: Partition, name: str) -> Verdict:
    rows, intervals = partition.rows(name), partition.rows("status_intervals")
    if verdict := _other_inputs(partition, name, "status_intervals"):
        return verdict
    ids = _texts(pc.unique(rows["id_cp"]))
    point, of_interval = _indices(rows["id_cp"], ids), _indices(intervals["id_cp"], ids)
    observed = _seconds(intervals["end_time"]) - _seconds(intervals["start_time"]) - _whole(intervals["gap_s"])
    is_observed = (of_interval >= 0) & pc.invert(intervals["is_frozen"]).fill_null(False).to_numpy()
    wrong = [
        f"{id_} has intervals and no hours" for id_ in pc.unique(intervals["id_cp"].filter(pa.array(of_interval < 0)))
    ]
    totals = {}
    for kind, seconds in _kinds(rows).items():
        if kind == "unknown":
            continue
        is_of_kind = is_observed & pc.equal(intervals["status_class"], kind).fill_null(False).to_numpy()
        expected = _summed(of_interval[is_of_kind], observed[is_of_kind], len(ids))
        found = _summed(point, seconds, len(ids))
        totals[f"{kind}_s"] = int(found.sum())
        wrong += [
            f"{ids[row]} was {kind} for {found[row]:,} s, and for {expected[row]:,} s by its intervals"
            for row in _where(found != expected)
        ]
    figures = {"points": len(ids), "intervals": intervals.num_rows, **totals}
    if wrong:
        return failed(
            f"Of {amount(len(ids), 'point')}, hours and intervals do not agree: {some(wrong)}.", wrong, **figures
        )
    return passed(
        f"{amount(sum(totals.values()), 'observed second')} of {amount(len(ids), 'point')}, as many as in "
        f"{amount(intervals.num_rows, 'interval')}.",
        **figures,
    )


def _places(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    points = len(pc.unique(rows["id_cp"]))
    columns = ("id_cs", "city", "power_class")
    lacking = {column: pc.unique(rows["id_cp"].filter(pc.is_null(rows[column]))).to_pylist() for column in columns}
    figures = {"points": points, **{f"without_{column}": len(ids) for column, ids in lacking.items()}}
    said = ", ".join(f"{len(ids):,} without {column}" for column, ids in lacking.items())
    sentence = f"Of {amount(points, 'point')}, {said}"
    if max(map(len, lacking.values())) <= _UNPLACED * points:
        return passed(f"{sentence}.", **figures)
    named = [f"{id_} without {column}" for column, ids in lacking.items() for id_ in ids]
    return warned(f"{sentence}, so these are in no such KPI: {some(named)}.", named, **figures)


# -- KPIs --------------------------------------------------------------------------------------------------------------


_SUMMED = (*(f"{kind}_s" for kind in _KINDS), "events")


def _kpis_against_points(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    if verdict := _other_inputs(partition, name, "utilization_hourly", "charging_events"):
        return verdict
    hours, events = partition.rows("utilization_hourly"), partition.rows("charging_events")
    ids = _texts(pc.unique(hours["id_cp"]))
    point, of_event = _indices(hours["id_cp"], ids), _indices(events["id_cp"], ids)
    points = hours.take(pa.array(np.unique(point, return_index=True)[1]))
    of_points = np.column_stack(
        [
            *(_summed(point, seconds, len(ids)) for seconds in _kinds(hours).values()),
            np.bincount(of_event[of_event >= 0], minlength=len(ids)),
        ]
    )
    wrong = [f"event of {id_}, which has no hours" for id_ in pc.unique(events["id_cp"].filter(pa.array(of_event < 0)))]
    for scope, column in SCOPE_COLUMNS.items():
        wrong += _unlike_points(scope, rows, _texts(points[column]), of_points)
    wrong += [f"{_key(rows, row)} has {words}" for row, words in _unlike_sums(rows)]
    figures = {"scopes": rows.num_rows, "points": len(ids), "events": events.num_rows}
    if wrong:
        return failed(
            f"{amount(len(wrong), 'fault')} in {amount(rows.num_rows, 'scope')}: {some(wrong)}.", wrong, **figures
        )
    return passed(
        f"{amount(rows.num_rows, 'scope')} have the seconds and the {amount(events.num_rows, 'event')} of their "
        f"points, {len(ids):,} in all.",
        **figures,
    )


def _unlike_points(scope: str, rows: pa.Table, members: pa.StringArray, of_points: Ints) -> Iterator[str]:
    """Scopes of a kind that have not the sums of their points.

    Args:
        scope: the kind.
        rows: of `kpi_daily`.
        members: the scope that each point is in; null in none.
        of_points: shape (points, `_SUMMED`).
    """
    rows = rows.filter(pc.equal(rows["scope"], scope))
    found = np.column_stack([_whole(rows[column]) for column in _SUMMED])
    ids = pc.unique(pa.concat_arrays([members, _texts(rows["scope_id"])])).drop_null()
    of_scope, of_row = _indices(members, ids), _indices(rows["scope_id"], ids)
    expected = np.column_stack(
        [_summed(of_scope[of_scope >= 0], column[of_scope >= 0], len(ids)) for column in of_points.T]
    )
    row_of = np.full(len(ids), -1)
    row_of[of_row] = np.arange(len(of_row))
    for at in _where((row_of < 0) | (np.bincount(of_scope + 1, minlength=len(ids) + 1)[1:] == 0)):
        yield f"{scope} {ids[at]} has {'points and no row' if row_of[at] < 0 else 'a row and no points'}"
    told = np.flatnonzero(row_of >= 0)
    for at in told[(found[row_of[told]] != expected[told]).any(axis=1)]:
        yield f"{scope} {ids[at]} has {_said(_SUMMED, found[row_of[at]])}, not {_said(_SUMMED, expected[at])}"


def _said(names: Sequence[str], values: Iterable[int] | None) -> str:
    return "no row" if values is None else ", ".join(f"{n} {value:,}" for n, value in zip(names, values, strict=True))


def _unlike_sums(rows: pa.Table) -> Iterator[tuple[int, str]]:
    """Rows whose coverage or utilization do not follow from their seconds."""
    seconds = _kinds(rows)
    occupied = seconds["occupied"]
    observed = occupied + seconds["free"] + seconds["fault"]
    coverage, utilization = (rows[column].fill_null(np.nan).to_numpy() for column in ("coverage", "utilization"))
    with np.errstate(invalid="ignore"):
        of_time = observed / (observed + seconds["unknown"])
        of_observed = np.where(of_time >= LEAST_COVERAGE, occupied / observed, np.nan)
    for words, found, expected in (("coverage", coverage, of_time), ("utilization", utilization, of_observed)):
        for row in _where(~np.isclose(found, expected, rtol=0, atol=1e-9, equal_nan=True)):
            yield row, f"a {words} of {_ratio(found[row])}, not {_ratio(expected[row])}"


def _ratio(value: float) -> str:
    return "null" if np.isnan(value) else f"{value:.4f}"


def _coverage(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    is_hidden = pc.less(rows["coverage"].fill_null(1.0), LEAST_COVERAGE)
    hidden, said = {}, []
    for scope, scopes in {"feed": "feeds", "city": "cities", "point": "points"}.items():
        is_of_scope = pc.equal(rows["scope"], scope)
        found = rows.filter(pc.and_(is_of_scope, is_hidden)).sort_by([("coverage", "ascending")])
        hidden[scopes] = [f"{scope} {row['scope_id']} {row['coverage']:.1%}" for row in found.to_pylist()]
        said.append(f"{found.num_rows:,} of {pc.sum(is_of_scope).as_py() or 0:,} {scopes}")
    sentence = f"{', '.join(said[:-1])} and {said[-1]} were observed for less than {LEAST_COVERAGE:.0%} of the day"
    figures = {f"{scopes}_hidden": len(found) for scopes, found in hidden.items()}
    if named := [*hidden["feeds"], *hidden["cities"]]:
        return warned(f"{sentence}, so their KPIs are hidden: {some(named)}.", named, **figures)
    return passed(f"{sentence}.", **figures)


def _utilization(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    feeds = rows.filter(pc.equal(rows["scope"], "feed"))
    seconds = {kind: int(of_kind.sum()) for kind, of_kind in _kinds(feeds).items()}
    observed = seconds["occupied"] + seconds["free"] + seconds["fault"]
    points = int(_whole(feeds["points_observed"]).sum())
    figures = {"points_observed": points, "occupied_s": seconds["occupied"], "observed_s": observed}
    if points < _ENOUGH_POINTS or observed < LEAST_COVERAGE * (observed + seconds["unknown"]):
        of_time = observed / max(observed + seconds["unknown"], 1)
        return passed(f"Too little to judge by: {amount(points, 'point')}, {of_time:.1%} of the time.", **figures)
    share = seconds["occupied"] / observed
    sentence = f"{amount(points, 'point')} were occupied for {share:.1%} of the time observed"
    if not _LIKELY[0] <= share <= _LIKELY[1]:
        named = [f"{row['scope_id']} {row['utilization'] or 0:.1%}" for row in feeds.to_pylist()]
        return warned(f"{sentence}, which is not likely; see `frozen_feeds`. By feed: {some(named)}.", named, **figures)
    return passed(f"{sentence}.", **figures, utilization=round(share, 4))


def _months(partition: Partition, name: str) -> Verdict:
    rows, lake = partition.rows(name), partition.lake
    rows = rows.filter(pc.is_in(rows["scope"].cast(pa.string()), value_set=pa.array(_COMPARED_SCOPES)))
    if not rows.num_rows:
        return passed("0 months of feeds and cities.", months=0)
    names = ("occupied_s", "free_s", "fault_s", "events")
    month = pc.max(rows["month"]).as_py()
    days = [date for date in lake.partitions("kpi_daily") if date.replace(day=1) == month]
    try:
        daily = pa.concat_tables([lake.read("kpi_daily", date, ("scope", "scope_id", *names)) for date in days])
    except LakeError as error:
        return passed(f"Not judged against the days of {month:%Y-%m}: {error}.", days=len(days))
    found = _scope_sums(rows.filter(pc.equal(rows["month"], month)), names)
    wrong = _unequal(names, found, _scope_sums(daily, names))
    figures = {"scopes": len(found), "days": len(days)}
    if wrong and undated_inputs(lake, name, Settings.from_env().active_days) != partition.inputs(name):
        return warned(
            f"Days of {month:%Y-%m} were built since: refresh the dimensions. {some(wrong)}.", wrong, **figures
        )
    if wrong:
        return failed(
            f"{len(wrong):,} of {amount(len(found), 'scope')} differ from the {amount(len(days), 'day')} of "
            f"{month:%Y-%m}: {some(wrong)}.",
            wrong,
            **figures,
        )
    return passed(
        f"{amount(len(found), 'scope')} add up to the {amount(len(days), 'day')} of {month:%Y-%m}.", **figures
    )


def _profile(partition: Partition, name: str) -> Verdict:
    names = ("occupied_s", "free_s", "fault_s")
    found, expected = (_scope_sums(partition.rows(each), names) for each in (name, "kpi_monthly"))
    figures = {"scopes": len(found), "occupied_s": sum(values[0] for values in found.values())}
    if wrong := _unequal(names, found, expected):
        return failed(
            f"{len(wrong):,} of {amount(len(found), 'scope')} differ from kpi_monthly: {some(wrong)}.", wrong, **figures
        )
    return passed(f"{amount(len(found), 'scope')} have as many seconds as in kpi_monthly.", **figures)


def _scope_sums(rows: pa.Table, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Sums over all rows of each feed and city."""
    rows = rows.select(["scope", "scope_id", *names])
    rows = rows.filter(pc.is_in(rows["scope"].cast(pa.string()), value_set=pa.array(_COMPARED_SCOPES)))
    sums = rows.group_by(["scope", "scope_id"]).aggregate([(column, "sum") for column in names])
    keys = [
        f"{scope} {id_}" for scope, id_ in zip(sums["scope"].to_pylist(), sums["scope_id"].to_pylist(), strict=True)
    ]
    values = zip(*(sums[f"{column}_sum"].to_pylist() for column in names), strict=True)
    return dict(sorted(zip(keys, values, strict=True)))


def _unequal(
    names: Sequence[str], found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]
) -> list[str]:
    return [
        f"{id_} has {_said(names, found.get(id_))}, not {_said(names, expected.get(id_))}"
        for id_ in sorted(found.keys() | expected.keys())
        if found.get(id_) != expected.get(id_)
    ]


# -- columns -----------------------------------------------------------------------------------------------------------


def _other_inputs(partition: Partition, name: str, *others: str) -> Verdict | None:
    """Says so when tables of a day were made from different ones, as after a kill between them."""
    if differing := [other for other in others if partition.inputs(other) != partition.inputs(name)]:
        return failed(f"{name} and {some(differing)} were made from different days around: build the day again.")
    return None


def _kinds(rows: pa.Table) -> dict[str, Ints]:
    return {kind: _whole(rows[f"{kind}_s"]) for kind in _KINDS}


def _whole(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)


def _seconds(column: pa.ChunkedArray) -> Ints:
    return _whole(column) // 1_000_000


def _codes(column: pa.ChunkedArray) -> Ints:
    return _indices(column, _texts(pc.unique(column)))


def _texts(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    """In one piece."""
    texts = column.cast(pa.string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _indices(texts: pa.ChunkedArray | pa.Array, of: pa.StringArray) -> Ints:
    """Where each text is in `of`, which has no null; -1 where it is not."""
    return np.asarray(pc.index_in(_texts(texts), value_set=of).fill_null(-1).to_numpy(), np.int64)


def _summed(code: Ints, values: Ints, count: int) -> Ints:
    return np.bincount(code, values, count).astype(np.int64)


def _where(is_so: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(is_so).tolist()


def _key(rows: pa.Table, row: int) -> str:
    names = [name for name in ("scope", "scope_id", "id_cp", "start_time", "hour_utc") if name in rows.column_names]
    return key_text(rows, names, row)


def _length_s(query_date: dt.date) -> int:
    start, end = day_bounds(query_date)
    return int((end - start).total_seconds())
