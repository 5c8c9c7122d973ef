"""Query dates, midnights and daylight saving."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_assets import calendar

_TIMES = st.datetimes(dt.datetime(2018, 1, 1), dt.datetime(2040, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


@given(_TIMES)
def test_a_time_lies_within_the_bounds_of_its_query_date(time: dt.datetime) -> None:
    start, end = calendar.day_bounds(calendar.query_date_of(time))
    assert start <= time < end


@given(_TIMES.map(lambda time: time.replace(microsecond=0)))
def test_the_form_of_file_names_loses_nothing(time: dt.datetime) -> None:
    assert calendar.parse_compact(calendar.compact_text(time)) == time


@pytest.mark.parametrize(
    ("date", "hours"), [(dt.date(2026, 3, 29), 23), (dt.date(2026, 10, 25), 25), (dt.date(2026, 11, 23), 24)]
)
def test_days_have_23_24_or_25_hours(date: dt.date, hours: int) -> None:
    start, end = calendar.day_bounds(date)
    assert (end - start) == dt.timedelta(hours=hours)
    assert calendar.expected_polls(date, 600) == 6 * hours


def test_midnight_in_berlin_divides_the_dates() -> None:
    assert calendar.query_date_of(dt.datetime(2024, 7, 1, 21, 59, 59, tzinfo=dt.UTC)) == dt.date(2024, 7, 1)
    assert calendar.query_date_of(dt.datetime(2024, 7, 1, 22, 0, 0, tzinfo=dt.UTC)) == dt.date(2024, 7, 2)


def test_a_day_is_closed_from_its_last_midnight_on() -> None:
    date = dt.date(2026, 10, 25)
    end = dt.datetime(2026, 10, 25, 23, tzinfo=dt.UTC)
    assert calendar.is_closed(date, end)
    assert not calendar.is_closed(date, end - dt.timedelta(seconds=1))


def test_the_last_closed_date_is_the_last_that_is_closed() -> None:
    for now in (dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC), dt.datetime(2026, 10, 25, 22, 59, tzinfo=dt.UTC)):
        date = calendar.last_closed_date(now)
        assert (calendar.is_closed(date, now), calendar.is_closed(date + dt.timedelta(days=1), now)) == (True, False)


@pytest.mark.parametrize(("month", "days"), [(1, 31), (2, 29), (4, 30), (12, 31)])
def test_a_month_has_one_end(month: int, days: int) -> None:
    for day in (1, days):
        assert calendar.month_end(dt.date(2028, month, day)) == dt.date(2028, month, days)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="with a time zone"):
        calendar.query_date_of(dt.datetime(2024, 7, 1))  # noqa: DTZ001


def test_local_times_become_utc() -> None:
    read = calendar.parse_local("20190401_121005", "%Y%m%d_%H%M%S")
    assert read == (dt.datetime(2019, 4, 1, 10, 10, 5, tzinfo=dt.UTC),)


def test_a_local_time_of_the_doubled_hour_means_two_times_and_one_that_spring_leaves_out_one() -> None:
    read = calendar.parse_local("20211031_023000", "%Y%m%d_%H%M%S")
    assert read == (dt.datetime(2021, 10, 31, 0, 30, tzinfo=dt.UTC), dt.datetime(2021, 10, 31, 1, 30, tzinfo=dt.UTC))
    assert len(calendar.parse_local("20211031_030000", "%Y%m%d_%H%M%S")) == 1
    read = calendar.parse_local("20210328_023000", "%Y%m%d_%H%M%S")
    assert read == (dt.datetime(2021, 3, 28, 1, 30, tzinfo=dt.UTC),)
