"""Query times in local parts, also where the clock jumps; and holidays of the states."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.calendar import BERLIN, day_bounds, query_date_of
from charging_assets.derive.calendar_tables import public_holidays, time_parts, time_table
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll

POLL = dt.timedelta(minutes=10)


def _parts_of(*times: dt.datetime) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = time_parts(pa.array(times, TIMESTAMP)).to_pylist()
    return rows


def _day(query_date: dt.date) -> list[dict[str, Any]]:
    """A day polled every ten minutes."""
    start, end = day_bounds(query_date)
    return _parts_of(*(start + number * POLL for number in range((end - start) // POLL)))


# -- time ------------------------------------------------------------------------------------------------------------


def test_every_query_time_of_the_log_is_there_once_whatever_became_of_the_poll(lake: Lake) -> None:
    for query_date in (dt.date(2026, 10, 25), dt.date(2026, 10, 24)):
        start, _ = day_bounds(query_date)
        make_raw_day(lake, query_date, polls=2, feed="koeln")
        make_raw_poll(lake, start, {"bonn": b"no answer of chargecloud's"})
        make_raw_poll(lake, start + 2 * POLL, {"bonn": b"none either"})
        lake.publish(flatten_day(lake, query_date, ["poll_log"])["poll_log"])
    made = time_table(lake)
    lake.write("time", None, made)
    expected = [day_bounds(dt.date(2026, 10, day))[0] + number * POLL for day in (24, 25) for number in range(3)]
    assert made["query_time"].to_pylist() == expected


def test_without_polls_there_are_no_times(lake: Lake) -> None:
    lake.write("time", None, time_table(lake))
    assert lake.read("time", None).num_rows == 0


def test_the_day_in_spring_has_23_hours_and_none_from_two_to_three() -> None:
    rows = _day(dt.date(2026, 3, 29))
    assert len(rows) == 138
    assert {row["query_date"] for row in rows} == {dt.date(2026, 3, 29)}
    assert {row["hour"] for row in rows} == set(range(24)) - {2}
    assert [row["is_dst"] for row in rows] == [False] * 12 + [True] * 126
    sunday = 6 * 24 * 60
    assert [row["minute_of_week"] - sunday for row in rows[10:14]] == [100, 110, 180, 190]


def test_the_day_in_autumn_has_25_hours_and_that_from_two_to_three_twice() -> None:
    rows = _day(dt.date(2026, 10, 25))
    assert len(rows) == 150
    assert {row["query_date"] for row in rows} == {dt.date(2026, 10, 25)}
    assert [(row["hour"], row["is_dst"]) for row in rows[12:24]] == [(2, True)] * 6 + [(2, False)] * 6
    assert rows[12]["minute_of_week"] == rows[18]["minute_of_week"] == 6 * 24 * 60 + 120
    assert {row["query_time"] for row in rows[12:18]}.isdisjoint(row["query_time"] for row in rows[18:24])


def test_new_year_lies_in_the_last_week_of_the_year_before() -> None:
    (row,) = _parts_of(dt.datetime(2026, 12, 31, 23, 0, tzinfo=dt.UTC))
    assert row == {
        "query_time": dt.datetime(2026, 12, 31, 23, 0, tzinfo=dt.UTC),
        "hour": 0,
        "day": 1,
        "week": 53,
        "month": 1,
        "year": 2027,
        "weekday": 5,
        "iso_year": 2026,
        "query_date": dt.date(2027, 1, 1),
        "minute_of_week": 4 * 24 * 60,
        "is_dst": False,
    }


@given(st.datetimes(dt.datetime(2018, 1, 1), dt.datetime(2037, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001
def test_every_part_is_what_the_clock_and_the_calendar_on_the_wall_say(time: dt.datetime) -> None:
    time = time.replace(microsecond=0)
    (row,) = _parts_of(time)
    local = time.astimezone(BERLIN)
    assert row["query_date"] == query_date_of(time)
    assert (row["year"], row["month"], row["day"], row["hour"]) == local.timetuple()[:4]
    assert (row["iso_year"], row["week"], row["weekday"]) == tuple(local.isocalendar())
    assert row["minute_of_week"] == ((local.isoweekday() - 1) * 24 + local.hour) * 60 + local.minute
    assert row["is_dst"] is (local.dst() != dt.timedelta(0))


# -- public_holiday --------------------------------------------------------------------------------------------------


def _holidays(first: dt.date, last: dt.date) -> dict[tuple[dt.date, str], str]:
    return {(row["date"], row["state"]): row["name"] for row in public_holidays(first, last).to_pylist()}


def test_holidays_are_those_of_the_states() -> None:
    of = _holidays(dt.date(2026, 1, 1), dt.date(2026, 1, 1))

    def states(month: int, day: int) -> set[str]:
        return {state for date, state in of if date == dt.date(2026, month, day)}

    everywhere = {state for _, state in of}
    assert len(everywhere) == 16
    assert states(10, 3) == states(1, 1) == everywhere
    assert of[dt.date(2026, 6, 4), "NW"] == "Fronleichnam"
    assert states(6, 4) == {"BW", "BY", "HE", "NW", "RP", "SL"}
    assert of[dt.date(2026, 10, 31), "BB"] == "Reformationstag"
    assert not states(10, 31) & {"BY", "BE", "NW", "SL"}
    assert of[dt.date(2026, 8, 15), "SL"] == "Mariä Himmelfahrt"
    assert states(3, 8) == {"BE", "MV"}  # Frauentag
    assert states(8, 8) == set()  # Augsburg's peace festival is a city's


def test_holidays_reach_from_the_first_year_to_a_year_after_the_last() -> None:
    of = _holidays(dt.date(2024, 12, 31), dt.date(2026, 1, 1))
    assert {date.year for date, _ in of} == {2024, 2025, 2026, 2027}


def test_two_holidays_on_one_date_are_one_row() -> None:
    of = _holidays(dt.date(2008, 1, 1), dt.date(2008, 1, 1))
    assert of[dt.date(2008, 5, 1), "HH"] == "Christi Himmelfahrt; Erster Mai"


@pytest.mark.parametrize("last", [dt.date(2018, 1, 1), dt.date(2037, 12, 31)])
def test_holidays_are_a_valid_table(lake: Lake, last: dt.date) -> None:
    made = public_holidays(dt.date(2018, 1, 1), last)
    lake.write("public_holiday", None, made)
    assert lake.read("public_holiday", None).equals(made)
