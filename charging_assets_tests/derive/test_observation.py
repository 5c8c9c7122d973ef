"""The rules of observation, against a reference that goes from sight to sight in plain Python."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_assets.calendar import day_bounds
from charging_assets.derive.occupancy.day import OccupancyDay, OccupancyMaker
from charging_assets.lake import Lake
from charging_assets.model.statuses import status_class
from charging_assets.simulator.sessions import AVAILABLE, CHARGING, OUTOFORDER, STATUSES, UNKNOWN
from charging_assets_tests.derive.polled_days import SOURCE, Polled, times_of, write_polled_day, write_rows

DAY = dt.date(2026, 3, 10)
NIGHT = dt.timedelta(days=1)
FEED, OTHER = "koeln", "roth"
POINT = "DE*ABC*E1"
MINUTE = 60
SUMMER_BEGINS, SUMMER_ENDS = dt.date(2026, 3, 29), dt.date(2026, 10, 25)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), tmp_path)


def put(
    lake: Lake,
    date: dt.date,
    status: Sequence[int] | Mapping[str, Sequence[int]],
    times: Any = None,
    interval_s: Any = 600,
    feed: str = FEED,
) -> None:
    """A day on which a feed's points had these statuses, -1 where a poll did not see one."""
    times = times_of(date) if times is None else np.asarray(times)
    points = status if isinstance(status, Mapping) else {POINT: status}
    polled = Polled(list(points), np.array(list(points.values())).reshape(len(points), len(times)))
    write_polled_day(lake, date, {feed: polled}, times, interval_s)


def freeze(lake: Lake, date: dt.date, spans: Sequence[tuple[str, int, int]]) -> None:
    """Frozen spans of points, as (point, from, until), in seconds."""
    spans = sorted(spans)
    write_rows(
        lake,
        "frozen_spans",
        date,
        len(spans),
        source=[SOURCE] * len(spans),
        feed=[FEED] * len(spans),
        id_cp=[point for point, _, _ in spans],
        start_time=[at(start) for _, start, _ in spans],
        end_time=[at(end) for _, _, end in spans],
        kind=["whole"] * len(spans),
        freeze_start=[at(start) for _, start, _ in spans],
    )


def make(lake: Lake, date: dt.date = DAY, *, is_closed: bool = True) -> OccupancyDay:
    return OccupancyMaker(lake).make(date, is_closed=is_closed)


def at(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(second, dt.UTC)


def local(text: str, date: dt.date = DAY) -> int:
    """``14:30`` of a day as seconds since 1970."""
    hour, minute = map(int, text.split(":"))
    return int(day_bounds(date)[0].timestamp()) + 3600 * hour + 60 * minute


def changing(date: dt.date, *changes: tuple[str, int]) -> list[int]:
    """A status for each poll of the day: each from its time on."""
    times = times_of(date)
    status = np.full(len(times), AVAILABLE)
    for text, code in changes:
        status[times >= local(text, date)] = code
    return status.tolist()


def spans_of(table: pa.Table, *more: str) -> list[tuple[Any, ...]]:
    columns = [table[name].to_pylist() for name in ("start_time", "end_time", *more)]
    return [(int(start.timestamp()), int(end.timestamp()), *rest) for start, end, *rest in zip(*columns, strict=True)]


def seconds_of(hourly: pa.Table) -> dict[str, int]:
    names = ("free", "occupied", "fault", "gone", "unknown")
    return {name: found for name in names if (found := sum(hourly[f"{name}_s"].to_pylist()))}


def test_boundaries_lie_midway_between_two_polls(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("11:00", AVAILABLE)))

    (event,) = spans_of(make(lake).charging_events, "duration_s", "n_polls", "has_gap")

    assert event == (local("9:55"), local("10:55"), 3600, 6, False)


def test_a_gap_of_three_polls_between_equal_statuses_is_bridged_but_its_middle_stays_unknown(lake: Lake) -> None:
    status = changing(DAY, ("10:00", CHARGING), ("12:00", AVAILABLE))
    for poll in range(63, 66):  # 10:30, 10:40 and 10:50
        status[poll] = -1
    put(lake, DAY, status)

    made = make(lake)

    (event,) = spans_of(made.charging_events, "has_gap", "gap_s", "is_right_censored")
    assert event == (local("9:55"), local("11:55"), True, 2400 - 900, False)
    assert seconds_of(made.utilization_hourly)["occupied"] == 7200 - 1500


def test_a_gap_of_four_polls_censors_what_lies_on_either_side(lake: Lake) -> None:
    status = changing(DAY, ("10:00", CHARGING), ("12:00", AVAILABLE))
    for poll in range(63, 67):
        status[poll] = -1
    put(lake, DAY, status)

    events = spans_of(make(lake).charging_events, "is_left_censored", "is_right_censored")

    # 7.5 minutes after 10:20, and 7.5 minutes before 11:10
    assert events == [
        (local("9:55"), local("10:20") + 450, False, True),
        (local("11:10") - 450, local("11:55"), True, False),
    ]


def test_a_change_within_a_short_gap_is_no_censoring_and_leaves_the_middle_unknown(lake: Lake) -> None:
    status = changing(DAY, ("10:00", CHARGING), ("11:00", AVAILABLE))
    status[65] = status[66] = -1  # 10:50 and 11:00
    put(lake, DAY, status)

    (event,) = spans_of(make(lake).charging_events, "has_gap", "is_right_censored")

    assert event == (local("9:55"), local("10:40") + 450, True, False)


def test_a_day_that_switches_to_five_minutes_and_back_has_no_gap(lake: Lake) -> None:
    five = np.arange(local("10:05"), local("14:00"), 300)
    times = np.unique(np.concatenate([times_of(DAY), five]))
    interval_s = np.where((times >= local("10:00")) & (times < local("14:00")), 300, 600)
    put(lake, DAY, [CHARGING] * len(times), times, interval_s)
    put(lake, DAY - NIGHT, changing(DAY))
    put(lake, DAY + NIGHT, changing(DAY))

    made = make(lake)

    assert seconds_of(made.utilization_hourly) == {"occupied": 86_100, "free": 300}  # after 23:55
    assert not any(made.status_intervals["has_gap"].to_pylist())


@pytest.mark.parametrize(("date", "hours"), [(SUMMER_BEGINS, 23), (DAY, 24), (SUMMER_ENDS, 25)])
def test_intervals_and_gaps_of_a_day_are_the_day(lake: Lake, date: dt.date, hours: int) -> None:
    for day in (date - NIGHT, date, date + NIGHT):
        put(lake, day, [CHARGING] * len(times_of(day)))

    made = make(lake, date)

    assert spans_of(made.status_intervals) == [tuple(int(bound.timestamp()) for bound in day_bounds(date))]
    assert seconds_of(made.utilization_hourly) == {"occupied": 3600 * hours}
    assert made.utilization_hourly.num_rows == hours


def test_the_doubled_hour_of_autumn_is_two_rows_with_one_label(lake: Lake) -> None:
    put(lake, SUMMER_ENDS, [AVAILABLE] * 150)

    hourly = make(lake, SUMMER_ENDS).utilization_hourly

    labels = hourly["hour_local"].to_pylist()
    assert labels == [0, 1, 2, 2, *range(3, 24)]
    assert len(set(hourly["hour_utc"].to_pylist())) == 25


def test_hours_to_come_are_absent_and_the_last_poll_is_the_end(lake: Lake) -> None:
    times = times_of(DAY)[:62]  # until 10:10
    put(lake, DAY, changing(DAY, ("10:00", CHARGING))[:62], times)

    made = make(lake, is_closed=False)

    assert made.utilization_hourly.num_rows == 11
    assert sum(seconds_of(made.utilization_hourly).values()) == local("10:10") - local("0:00")
    (event,) = spans_of(made.charging_events, "is_right_censored")
    assert event == (local("9:55"), local("10:10"), True)


def test_frozen_time_is_unknown_and_cuts_off_what_it_touches(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("16:00", AVAILABLE)))
    freeze(lake, DAY, [(POINT, local("12:00"), local("15:00"))])

    made = make(lake)

    events = spans_of(made.charging_events, "is_left_censored", "is_right_censored", "is_frozen")
    assert events == [
        (local("9:55"), local("11:55"), False, True, True),
        (local("14:55"), local("15:55"), True, False, True),
    ]
    (frozen,) = [row for row in spans_of(made.status_intervals, "is_frozen") if row[2]]
    assert frozen == (local("11:55"), local("14:55"), True)
    assert seconds_of(made.utilization_hourly)["occupied"] == 3 * 3600


def test_unknown_statuses_are_never_free_and_end_an_event(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("11:00", UNKNOWN), ("12:00", CHARGING), ("13:00", OUTOFORDER)))
    put(lake, DAY + NIGHT, changing(DAY + NIGHT, ("0:00", OUTOFORDER)))

    made = make(lake)

    assert [event[:2] for event in spans_of(made.charging_events)] == [
        (local("9:55"), local("10:55")),
        (local("11:55"), local("12:55")),
    ]
    found = seconds_of(made.utilization_hourly)
    assert found == {"free": local("9:55") - local("0:00"), "occupied": 7200, "unknown": 3600, "fault": 39_900}


def test_an_event_is_dated_by_its_end_and_found_once(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("22:00", CHARGING)))
    before = make(lake)
    put(lake, DAY + NIGHT, changing(DAY + NIGHT, ("0:00", CHARGING), ("2:00", AVAILABLE)))

    assert spans_of(before.charging_events, "is_right_censored") == [(local("21:55"), local("24:00") - 150, True)]
    assert make(lake).charging_events.num_rows == 0
    (event,) = spans_of(make(lake, DAY + NIGHT).charging_events, "is_left_censored", "is_right_censored", "n_polls")
    assert event == (local("21:55"), local("25:55"), False, False, 24)


def test_what_ends_at_midnight_belongs_to_the_day_before(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("22:00", CHARGING)), times_of(DAY) + 300)
    put(lake, DAY + NIGHT, changing(DAY + NIGHT), times_of(DAY + NIGHT) + 300)

    (event,) = spans_of(make(lake).charging_events)

    assert event == (local("22:00"), local("24:00"))
    assert make(lake, DAY + NIGHT).charging_events.num_rows == 0


def test_an_event_of_many_days_is_looked_back_for_seven_days(lake: Lake) -> None:
    for number in range(9, 0, -1):
        put(lake, DAY - number * NIGHT, [CHARGING] * 144)
    put(lake, DAY, changing(DAY, ("0:00", CHARGING), ("8:00", AVAILABLE)))

    (event,) = spans_of(make(lake).charging_events, "is_left_censored", "is_suspicious")

    assert event == (local("0:00") - 7 * 86_400 - 450, local("7:55"), True, True)


def test_reserved_and_occupied_points_are_occupied_but_only_the_latter_make_an_event(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("11:00", AVAILABLE), ("12:00", OUTOFORDER)))
    facts = lake.read("status_chargingpoints", DAY)
    renamed = facts["status_cp"].cast(pa.string()).to_pylist()
    words = {"CHARGING": "RESERVED", "OUTOFORDER": " occupied"}
    texts = [words.get(text, text) for text in renamed]
    facts = facts.set_column(2, facts.schema.field(2), pa.array(texts).dictionary_encode())
    classes = pa.array([status_class(text) for text in texts]).dictionary_encode()
    place = facts.schema.get_field_index("status_class")
    lake.write("status_chargingpoints", DAY, facts.set_column(place, facts.schema.field(place), classes))

    made = make(lake)

    assert made.charging_events["status"].to_pylist() == [" occupied"]
    assert seconds_of(made.utilization_hourly)["occupied"] == 3600 + 43_350


def test_a_status_change_within_an_event_does_not_end_it(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("11:00", OUTOFORDER), ("12:00", AVAILABLE)))
    facts = lake.read("status_chargingpoints", DAY)
    texts = ["OCCUPIED" if text == "OUTOFORDER" else text for text in facts["status_cp"].to_pylist()]
    facts = facts.set_column(2, facts.schema.field(2), pa.array(texts).dictionary_encode())
    lake.write("status_chargingpoints", DAY, facts)

    (event,) = spans_of(make(lake).charging_events, "status", "n_polls")

    assert event == (local("9:55"), local("11:55"), "CHARGING", 12)


def test_points_of_a_feed_that_is_silent_all_day_are_unknown_all_day(lake: Lake) -> None:
    put(lake, DAY - NIGHT, [AVAILABLE] * 144)
    put(lake, DAY, [-1] * 144)

    made = make(lake)

    assert seconds_of(made.utilization_hourly) == {"unknown": 86_400}
    assert made.utilization_hourly.num_rows == 24


def test_a_point_that_a_living_feed_names_no_more_is_no_point_of_the_day(lake: Lake) -> None:
    put(lake, DAY - NIGHT, {POINT: [AVAILABLE] * 144, "DE*ABC*E2": [AVAILABLE] * 144})
    put(lake, DAY, {POINT: [AVAILABLE] * 144})

    assert set(make(lake).utilization_hourly["id_cp"].to_pylist()) == {POINT}


def test_a_point_that_vanishes_and_returns_is_unknown_meanwhile(lake: Lake) -> None:
    status = changing(DAY, ("0:00", AVAILABLE))
    for poll in range(60, 120):
        status[poll] = -1
    put(lake, DAY, {POINT: status, "DE*ABC*E2": [AVAILABLE] * 144})

    hourly = make(lake).utilization_hourly
    mine = hourly.filter(pa.compute.equal(hourly["id_cp"], POINT))

    assert seconds_of(mine)["unknown"] == 61 * 600 - 900 + 150  # the gap, and the last minutes of the day


def test_a_single_poll_makes_a_day(lake: Lake) -> None:
    put(lake, DAY, [CHARGING], [local("12:00")])

    made = make(lake)

    (event,) = spans_of(made.charging_events, "is_single_poll", "is_left_censored", "is_right_censored")
    assert event == (local("12:00") - 450, local("12:00") + 450, True, True, True)
    assert seconds_of(made.utilization_hourly) == {"occupied": 900, "unknown": 85_500}


def test_a_day_without_polls_has_typed_tables_without_rows(lake: Lake) -> None:
    made = make(lake)

    assert [table.num_rows for table in (made.status_intervals, made.charging_events, made.kpi_daily)] == [0, 0, 0]


def test_a_day_whose_feeds_all_failed_and_that_knows_no_points_is_empty(lake: Lake) -> None:
    put(lake, DAY, [-1] * 144)

    assert make(lake).utilization_hourly.num_rows == 0


def test_doubled_polls_change_nothing(lake: Lake) -> None:
    put(lake, DAY, changing(DAY, ("10:00", CHARGING), ("11:00", AVAILABLE)))
    once = make(lake)
    times = np.sort(np.concatenate([times_of(DAY), times_of(DAY) + 1]))
    put(lake, DAY, np.repeat(changing(DAY, ("10:00", CHARGING), ("11:00", AVAILABLE)), 2).tolist(), times)

    (event,) = spans_of(make(lake).charging_events)

    assert spans_of(once.charging_events) == [(local("9:55"), local("10:55"))]
    assert event == (local("9:55"), local("10:55"))  # the second poll of each pair comes before the midpoint


class Sight(NamedTuple):
    time: int
    status: int
    interval_s: int
    is_frozen: bool


class Run(NamedTuple):
    """What the reference finds: a run of sights."""

    status: int
    is_frozen: bool
    start: int
    end: int
    is_left_censored: bool
    is_right_censored: bool
    gaps: tuple[tuple[int, int], ...]
    polls: int
    last: int


def reference(sights: Sequence[Sight]) -> list[Run]:
    """All runs of a point, sight by sight."""
    groups: list[list[Sight]] = []
    for sight in sights:
        before = groups[-1][-1] if groups else None
        goes_on = (
            before is not None
            and before.status == sight.status
            and before.is_frozen == sight.is_frozen
            and missing(before, sight) <= 3
        )
        groups[-1].append(sight) if goes_on else groups.append([sight])
    runs = []
    for number, group in enumerate(groups):
        first, last = group[0], group[-1]
        before = groups[number - 1][-1] if number else None
        after = groups[number + 1][0] if number + 1 < len(groups) else None
        start = first.time - 3 * first.interval_s // 4 if before is None else edges(before, first)[1]
        end = last.time + 3 * last.interval_s // 4 if after is None else edges(last, after)[0]
        bounds = [edges(one, two) for one, two in pairwise(group)]
        runs.append(
            Run(
                first.status,
                first.is_frozen,
                start,
                end,
                before is None or missing(before, first) > 3 or before.is_frozen != first.is_frozen,
                after is None or missing(last, after) > 3 or after.is_frozen != last.is_frozen,
                tuple(bound for bound in bounds if bound[0] < bound[1]),
                len(group),
                last.time,
            )
        )
    return runs


def missing(one: Sight, two: Sight) -> int:
    return round((two.time - one.time) / max(one.interval_s, two.interval_s)) - 1


def edges(one: Sight, two: Sight) -> tuple[int, int]:
    """Until when the status of `one` holds, and from when on that of `two`."""
    distance, most = two.time - one.time, 3 * max(one.interval_s, two.interval_s) // 4
    if distance <= 2 * most:
        return one.time + distance // 2, one.time + distance // 2
    return one.time + most, two.time - most


@st.composite
def sights_of_three_days(draw: st.DrawFn) -> list[list[Sight]]:
    """Polls of three days at changing distances, of which a point was seen by some."""
    days = []
    for number in range(-1, 2):
        date = DAY + number * NIGHT
        start, end = (int(bound.timestamp()) for bound in day_bounds(date))
        interval_s = draw(st.sampled_from([600, 1200, 3600]))
        times = list(range(start + draw(st.integers(0, 500)), end, interval_s))
        runs = draw(st.lists(st.tuples(st.integers(-1, 4), st.integers(1, 9)), min_size=1, max_size=12))
        statuses = [status for status, length in runs for _ in range(length)][: len(times)]
        frozen = draw(st.tuples(st.integers(0, 30), st.integers(0, 10)))
        days.append(
            [
                Sight(time, status, interval_s, frozen[0] <= poll < sum(frozen))
                for poll, (time, status) in enumerate(zip(times, statuses, strict=False))
            ]
        )
    return days


@settings(max_examples=50)
@given(days=sights_of_three_days())
def test_intervals_events_and_hours_are_those_of_the_reference(days: list[list[Sight]]) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake", Path(folder))
        for number, sights in enumerate(days, start=-1):
            date = DAY + number * NIGHT
            put(
                lake,
                date,
                [sight.status for sight in sights],
                [sight.time for sight in sights],
                np.array([sight.interval_s for sight in sights]),
            )
            freeze(lake, date, [(POINT, s.time, s.time + 1) for s in sights if s.is_frozen])
        made = make(lake)

    seen = [sight for sights in days for sight in sights if sight.status >= 0]
    start, end = (int(bound.timestamp()) for bound in day_bounds(DAY))
    runs = reference(seen)
    expected = list(expected_intervals(runs, start, end))
    is_there = any(sight.status >= 0 for sight in days[1]) or (
        all(s.status < 0 for s in days[1]) and any(sight.status >= 0 for sight in days[0])
    )
    found = spans_of(
        made.status_intervals, "status", "is_frozen", "is_left_censored", "is_right_censored", "is_single_poll", "gap_s"
    )
    assert found == (expected if is_there else [])
    assert spans_of(made.charging_events, "gap_s", "n_polls") == (
        [
            (run.start, run.end, sum(b - a for a, b in run.gaps), run.polls)
            for run in runs
            if STATUSES[run.status] == "CHARGING" and not run.is_frozen and ends_within(run, start, end)
        ]
    )
    if is_there:
        assert seconds_of(made.utilization_hourly) == expected_seconds(runs, start, end)
    for hour in zip(*(made.utilization_hourly[f"{name}_s"].to_pylist() for name in CLASS_NAMES), strict=True):
        assert sum(hour) == 3600
        assert min(hour) >= 0


CLASS_NAMES = ("free", "occupied", "fault", "gone", "unknown")


def ends_within(run: Run, start: int, end: int) -> bool:
    return start <= run.last < end if run.is_right_censored else start < run.end <= end


def expected_intervals(runs: Sequence[Run], start: int, end: int) -> Iterator[tuple[Any, ...]]:
    for run in runs:
        if run.start < end and run.end > start:
            yield (
                max(run.start, start),
                min(run.end, end),
                STATUSES[run.status],
                run.is_frozen,
                run.is_left_censored and run.start >= start,
                run.is_right_censored and run.end <= end,
                run.polls == 1,
                sum(max(0, min(b, end) - max(a, start)) for a, b in run.gaps),
            )


def expected_seconds(runs: Sequence[Run], start: int, end: int) -> dict[str, int]:
    seconds = dict.fromkeys(CLASS_NAMES, 0)
    for run in runs:
        name = status_class(STATUSES[run.status])
        if not run.is_frozen and name != "unknown":
            length = min(run.end, end) - max(run.start, start)
            bridged = sum(max(0, min(b, end) - max(a, start)) for a, b in run.gaps)
            seconds[name] += max(0, length) - bridged
    seconds["unknown"] = end - start - sum(seconds.values())
    return {name: found for name, found in seconds.items() if found}
