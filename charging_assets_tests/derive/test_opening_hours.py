"""When stations are open: weekdays, nights, exceptions, daylight saving, and texts that say nothing."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.derive.occupancy.opening_hours import OpenTime, open_spans
from charging_assets.flatten.chargecloud.master import station_row
from charging_assets_tests.chargecloud_answers import location

WEDNESDAY = dt.date(2026, 3, 11)
SPRING, AUTUMN = dt.date(2026, 3, 29), dt.date(2026, 10, 25)  # Sundays of 23 and 25 hours


def text_of(*regular: tuple[int, str, str], **exceptional: list[tuple[str, str]]) -> str:
    """The column `opening_hours`, from weekdays with begin and end, and from exceptions."""
    hours: dict[str, list[dict[str, Any]]] = {
        f"exceptional_{kind}": [{"period_begin": begin, "period_end": end} for begin, end in periods]
        for kind, periods in exceptional.items()
    }
    if regular:
        hours["regular_hours"] = [
            {"weekday": day, "period_begin": begin, "period_end": end} for day, begin, end in regular
        ]
    return json.dumps(hours)


def on(date: dt.date, opening_hours: str | None, open_24_7: bool | None = False) -> list[str] | None:
    """The spans of a day as local times with their hours from UTC: ``08:00+01 20:00+01``."""
    start, until = (int(bound.timestamp()) for bound in day_bounds(date))
    spans = open_spans(opening_hours, open_24_7, start, until)
    return None if spans is None else [" ".join(_local(time, until) for time in span) for span in spans]


def _local(time: int, until: int) -> str:
    local = dt.datetime.fromtimestamp(time, BERLIN)
    return "24:00" if time == until else f"{local:%H:%M%z}"[:-2]


def seconds_on(date: dt.date, opening_hours: str | None, open_24_7: bool | None = False) -> int:
    start, until = (int(bound.timestamp()) for bound in day_bounds(date))
    spans = open_spans(opening_hours, open_24_7, start, until)
    assert spans is not None
    return sum(end - begin for begin, end in spans)


def test_what_flattening_keeps_of_an_answer_is_understood() -> None:
    opening_times = {
        "twentyfourseven": False,
        "regular_hours": [
            {"weekday": str(day), "period_begin": " 08:00", "period_end": "20:00"} for day in range(1, 7)
        ],
        "exceptional_closings": [{"period_begin": "2026-03-11T11:00:00Z", "period_end": "2026-03-11T12:00:00Z"}],
    }
    told: list[tuple[str, str, Any]] = []
    row = station_row(location("7", [], opening_times=opening_times), "7", lambda *value: told.append(value))

    assert told == []
    assert on(WEDNESDAY, row[13], row[11]) == ["08:00+01 12:00+01", "13:00+01 20:00+01"]
    assert on(SPRING, row[13], row[11]) == []


def test_regular_hours_are_of_the_weekday_and_monday_is_the_first() -> None:
    hours = text_of((1, "07:00", "09:00"), (3, "08:00", "12:30"), (3, "13:00", "20:00"))
    assert on(WEDNESDAY, hours) == ["08:00+01 12:30+01", "13:00+01 20:00+01"]
    assert on(dt.date(2026, 3, 9), hours) == ["07:00+01 09:00+01"]
    assert on(dt.date(2026, 3, 10), hours) == []


def test_a_period_over_midnight_is_of_both_days() -> None:
    hours = text_of((2, "22:00", "02:00"), (3, "20:00", "06:00"))
    assert on(WEDNESDAY, hours) == ["00:00+01 02:00+01", "20:00+01 24:00"]
    assert on(dt.date(2026, 3, 12), hours) == ["00:00+01 06:00+01"]


@pytest.mark.parametrize("end", ["24:00", "00:00"])
def test_a_period_may_end_at_midnight(end: str) -> None:
    hours = text_of((3, "18:00", end))
    assert on(WEDNESDAY, hours) == ["18:00+01 24:00"]
    assert on(dt.date(2026, 3, 12), hours) == []


@pytest.mark.parametrize("end", ["24:00", "00:00"])
def test_a_period_from_midnight_to_midnight_is_the_whole_day(end: str) -> None:
    assert on(WEDNESDAY, text_of((3, "00:00", end))) == ["00:00+01 24:00"]


def test_periods_that_touch_or_overlap_are_one() -> None:
    hours = text_of((3, "12:00", "18:00"), (3, "08:00", "12:00"), (3, "17:00", "20:00"), (3, "09:00", "10:00"))
    assert on(WEDNESDAY, hours) == ["08:00+01 20:00+01"]


def test_always_open_is_the_whole_day_of_23_24_or_25_hours() -> None:
    hours = [seconds_on(date, None, open_24_7=True) / 3600 for date in (SPRING, WEDNESDAY, AUTUMN)]
    assert hours == [23, 24, 25]


def test_opening_hours_follow_local_clocks_when_these_change() -> None:
    hours = text_of((7, "00:00", "12:00"), (6, "20:00", "08:00"))
    assert on(SPRING, hours) == ["00:00+01 12:00+02"]
    assert seconds_on(SPRING, hours) == 11 * 3600
    assert on(AUTUMN, hours) == ["00:00+02 12:00+01"]
    assert seconds_on(AUTUMN, hours) == 13 * 3600


def test_a_time_of_the_doubled_hour_is_the_first_so_that_periods_neither_overlap_nor_leave_a_gap() -> None:
    assert on(AUTUMN, text_of((7, "00:00", "02:30"))) == ["00:00+02 02:30+02"]
    assert on(AUTUMN, text_of((7, "02:30", "04:00"))) == ["02:30+02 04:00+01"]
    assert on(AUTUMN, text_of((7, "00:00", "02:30"), (7, "02:30", "04:00"))) == ["00:00+02 04:00+01"]


def test_in_the_hour_that_spring_leaves_out_clocks_were_not_yet_set() -> None:
    assert on(SPRING, text_of((7, "02:30", "05:00"))) == ["03:30+02 05:00+02"]
    assert on(SPRING, text_of((7, "02:30", "03:00"))) == []


def test_exceptional_openings_add_and_exceptional_closings_take_away() -> None:
    hours = text_of(
        (3, "08:00", "12:00"),
        openings=[("2026-03-11T15:00:00+01:00", "2026-03-11T18:00:00+01:00")],
        closings=[
            ("2026-03-11T07:00:00Z", "2026-03-11T08:30:00Z"),
            ("2026-03-11T16:00:00Z", "2026-03-11T16:30:00"),  # without offset it is UTC
            ("2026-03-10T16:00:00Z", "2026-03-10T16:30:00Z"),
        ],
    )
    assert on(WEDNESDAY, hours) == ["09:30+01 12:00+01", "15:00+01 17:00+01", "17:30+01 18:00+01"]
    assert on(dt.date(2026, 3, 18), hours) == ["08:00+01 12:00+01"]


def test_an_exceptional_closing_closes_what_is_always_open() -> None:
    hours = text_of(closings=[("2026-03-10T12:00:00Z", "2026-03-11T05:00:00Z")])
    assert on(WEDNESDAY, hours, open_24_7=True) == ["06:00+01 24:00"]
    closed = text_of(closings=[("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")])
    assert on(WEDNESDAY, closed, open_24_7=True) == []


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        "",
        "{}",
        "null",
        "Mo-Fr 08:00-20:00",
        "[" * 100_000,
        '{"regular_hours": []}',
        '{"regular_hours": "always"}',
        text_of((0, "08:00", "20:00")),
        text_of((8, "08:00", "20:00")),
        text_of((3, "8 Uhr", "20:00")),
        text_of((3, "08:00", "24:30")),
        text_of((3, "24:00", "06:00")),
        text_of((3, "08:00", "20:00"), (4, "early", "late")),
        text_of((3, "08:00", "20:00"), closings=[("tomorrow", "later")]),
        text_of(openings=[("2026-03-11T07:00:00Z", "2026-03-11T08:30:00Z")]),
        '{"regular_hours": [{"weekday": "Monday", "period_begin": "08:00", "period_end": "20:00"}]}',
        '{"regular_hours": [{"weekday": 1, "period_begin": "08:00"}]}',
    ],
)
def test_of_what_is_not_understood_as_a_whole_nothing_is_known(unusable: str | None) -> None:
    assert on(WEDNESDAY, unusable) is None
    assert on(WEDNESDAY, unusable, open_24_7=None) is None
    assert on(WEDNESDAY, unusable, open_24_7=True) == ["00:00+01 24:00"]


def test_hours_that_are_told_count_where_it_is_not_said_whether_it_is_always_open() -> None:
    assert on(WEDNESDAY, text_of((3, "08:00", "20:00")), open_24_7=None) == ["08:00+01 20:00+01"]


_MINUTES = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02d}:{minute % 60:02d}")
_PERIODS = st.lists(st.tuples(st.integers(1, 7), _MINUTES, _MINUTES | st.just("24:00")), min_size=1, max_size=6)
_INSTANTS = st.datetimes(dt.datetime(2026, 3, 27), dt.datetime(2026, 3, 31))  # noqa: DTZ001
_EXCEPTIONS = st.lists(
    st.tuples(_INSTANTS, _INSTANTS).map(lambda pair: (f"{pair[0]:%FT%TZ}", f"{pair[1]:%FT%TZ}")), max_size=3
)


@given(_PERIODS, _EXCEPTIONS, _EXCEPTIONS, st.sampled_from([SPRING, AUTUMN, WEDNESDAY]))
def test_spans_are_sorted_apart_and_within_the_day_whatever_the_hours_are(
    periods: list[tuple[int, str, str]],
    openings: list[tuple[str, str]],
    closings: list[tuple[str, str]],
    date: dt.date,
) -> None:
    start, until = (int(bound.timestamp()) for bound in day_bounds(date))
    spans = open_spans(
        text_of(*periods, openings=openings, closings=closings), open_24_7=False, start=start, until=until
    )
    assert spans is not None
    bounds = [bound for span in spans for bound in span]
    assert bounds == sorted(set(bounds))
    assert not bounds or (start <= bounds[0] and bounds[-1] <= until)


@given(_PERIODS, st.integers(1, 86_399))
def test_a_day_cut_in_two_is_open_as_long_as_in_one_piece(periods: list[tuple[int, str, str]], cut: int) -> None:
    start, until = (int(bound.timestamp()) for bound in day_bounds(WEDNESDAY))
    hours = text_of(*periods)

    def open_s(begin: int, end: int) -> int:
        return sum(stop - first for first, stop in open_spans(hours, open_24_7=False, start=begin, until=end) or ())

    assert open_s(start, start + cut) + open_s(start + cut, until) == open_s(start, until)


def test_open_time_is_measured_for_many_stations_at_once() -> None:
    opened = OpenTime([[(100, 110), (120, 200)], None, [], [(100, 200)]], 100, 200)
    station, begin, end = (np.array(column) for column in zip(
        (0, 100, 200), (0, 105, 125), (0, 110, 120), (1, 100, 200), (2, 100, 200), (3, 100, 200), (3, 199, 200),
        strict=True,
    ))  # fmt: skip
    assert (opened.before(end, station) - opened.before(begin, station)).tolist() == [90, 10, 0, 0, 0, 100, 1]
