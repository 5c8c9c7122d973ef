"""What the checks of occupancy say, and that they judge whatever day there is; that each fails: `test_checks`."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.inputs import undated_inputs
from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.quality.checks import check_day, check_undated
from charging_assets.quality.verdict import Verdict
from charging_assets_tests.raw_days import make_raw_day
from charging_assets_tests.sound_lake import DAY, DAY_BEFORE, NOW, rewrite, with_values

PERIODS = ("kpi_monthly", "usage_profile")
Rows = Mapping[int, Any]


def verdicts(lake: Lake, date: dt.date = DAY, now: dt.datetime = NOW) -> dict[tuple[str, str], Verdict]:
    found = [*check_day(lake, date, now=now, tables=TABLES), *check_undated(lake, now=now, tables=PERIODS)]
    return {(finding.check.table, finding.check.name): finding.verdict for finding in found}


def said(lake: Lake, table: str, check: str) -> tuple[bool, str, str]:
    verdict = verdicts(lake)[table, check]
    return verdict.passed, verdict.severity, verdict.sentence


def put(lake: Lake, table: str, column: str, values: Rows, key: dt.date | None = DAY) -> None:
    rewrite(lake, table, key, lambda rows: with_values(rows, column, dict(values)))


def build(lake: Lake, date: dt.date, *, is_closed: bool = True) -> None:
    for staged in flatten_day(lake, date).values():
        lake.publish(staged)
    made = OccupancyMaker(lake).make(date, is_closed=is_closed)
    for name in TABLES:
        lake.write(name, date, getattr(made, name))


# Whatever the day


@pytest.mark.parametrize(("date", "hours"), [(dt.date(2026, 3, 29), 23), (dt.date(2026, 10, 25), 25)])
def test_days_of_23_and_25_hours_add_up(lake: Lake, date: dt.date, hours: int) -> None:
    make_raw_day(lake, date, polls=hours, interval_s=3600)
    build(lake, date)

    found = verdicts(lake, date, now=day_bounds(date)[1])

    assert all(verdict.passed for (table, _), verdict in found.items() if table in TABLES)
    assert found["utilization_hourly", "hours"].sentence == (
        f"2 points of {hours} hours, {2 * hours * 3600:,} seconds in all."
    )


def test_a_day_adds_up_as_far_as_it_has_gone(lake: Lake) -> None:
    make_raw_day(lake, DAY, polls=10)
    build(lake, DAY, is_closed=False)

    found = verdicts(lake, DAY, now=day_bounds(DAY)[0] + dt.timedelta(minutes=95))

    assert all(verdict.passed for (table, _), verdict in found.items() if table in TABLES)
    assert found["utilization_hourly", "hours"].sentence == "2 points of 2 hours, 10,800 seconds in all."


def test_hours_that_were_made_before_the_day_was_over_are_to_be_made_again(lake: Lake) -> None:
    make_raw_day(lake, DAY, polls=10)
    build(lake, DAY, is_closed=False)

    verdict = verdicts(lake, DAY, now=day_bounds(DAY)[1])["utilization_hourly", "hours"]

    assert (verdict.passed, verdict.severity) == (False, "warn")
    assert verdict.sentence == "It ends in hour 2, but the day is over: build it again."


@pytest.mark.parametrize("polls", [0, 1])
def test_days_of_no_poll_or_one_have_a_verdict_of_every_check(lake: Lake, polls: int) -> None:
    make_raw_day(lake, DAY, polls=polls)
    build(lake, DAY)

    failing = {check for check, verdict in verdicts(lake).items() if not verdict.passed and check[0] in TABLES}

    assert failing == ({("kpi_daily", "coverage")} if polls else set())


def test_tables_of_a_day_that_were_made_from_different_days_around_are_found(sound: Lake) -> None:
    sound.write("utilization_hourly", DAY, sound.read("utilization_hourly", DAY), "later")

    assert said(sound, "utilization_hourly", "intervals") == (
        False,
        "error",
        "utilization_hourly and status_intervals were made from different days around: build the day again.",
    )
    assert said(sound, "kpi_daily", "sums")[2].startswith("kpi_daily and utilization_hourly were made from different")


# Intervals and events


def test_intervals_and_events_that_overlap_are_named(sound: Lake) -> None:
    at = [row["id_cp"] for row in sound.read("status_intervals", DAY).to_pylist()].index("DE*BN*E010")
    start = sound.read("status_intervals", DAY)["start_time"][at + 1].as_py()
    put(sound, "status_intervals", "start_time", {at + 1: start - dt.timedelta(minutes=1)})
    rewrite(sound, "charging_events", DAY, lambda rows: pa.concat_tables([rows.slice(0, 1), rows]))
    put(sound, "charging_events", "start_time", {1: dt.datetime(2026, 3, 11, 4, tzinfo=dt.UTC)})
    put(sound, "charging_events", "duration_s", {1: 7 * 3600})

    assert said(sound, "status_intervals", "overlaps")[2] == (
        "1 fault in 422 intervals: (DE*BN*E010, 2026-03-11 02:59:00+00:00) begins before the one before ends."
    )
    assert said(sound, "charging_events", "overlaps")[2] == (
        "1 fault in 85 events: (DE*BN*E010, 2026-03-11 04:00:00+00:00) begins before the one before ends."
    )


def test_gaps_that_are_longer_than_their_interval_are_named(sound: Lake) -> None:
    put(sound, "status_intervals", "gap_s", {0: 80_000})

    assert said(sound, "status_intervals", "overlaps")[2] == (
        "1 fault in 422 intervals: (DE*BN*E000, 2026-03-10 23:00:00+00:00) has gaps of 80,000 s in 72,000 s."
    )


@pytest.mark.parametrize(
    ("hours", "is_open", "words"),
    [
        ((-30, -24.0), False, "was not seen on the day"),
        ((20, 25), False, "ends after the day"),
        ((24, 25), True, "was not seen on the day"),
        ((-9 * 24, 1), False, "begins more than 7 days before"),
    ],
)
def test_events_that_are_not_of_the_day_are_named(
    sound: Lake, hours: tuple[float, float], is_open: bool, words: str
) -> None:
    start, end = (day_bounds(DAY)[0] + dt.timedelta(hours=number) for number in hours)
    put(sound, "charging_events", "start_time", {0: start})
    put(sound, "charging_events", "end_time", {0: end})
    put(sound, "charging_events", "duration_s", {0: int((end - start).total_seconds())})
    put(sound, "charging_events", "is_right_censored", {0: is_open})

    assert said(sound, "charging_events", "overlaps") == (
        False,
        "error",
        f"1 fault in 84 events: (DE*BN*E010, {start}) {words}.",
    )


def test_an_event_whose_end_was_not_seen_may_reach_over_midnight(sound: Lake) -> None:
    last = sound.read("charging_events", DAY).num_rows - 1
    start = sound.read("charging_events", DAY)["start_time"][last].as_py()
    end = day_bounds(DAY)[1] + dt.timedelta(minutes=7)
    put(sound, "charging_events", "end_time", {last: end})
    put(sound, "charging_events", "duration_s", {last: int((end - start).total_seconds())})
    put(sound, "charging_events", "is_right_censored", {last: True})

    assert said(sound, "charging_events", "overlaps")[0]
    assert said(sound, "charging_events", "query_date")[0]


def test_events_that_have_moved_on_are_named_where_the_day_before_still_has_them(sound: Lake) -> None:
    today, before = (sound.read("charging_events", date) for date in (DAY, DAY_BEFORE))
    rewrite(sound, "charging_events", DAY_BEFORE, lambda rows: pa.concat_tables([rows, today.slice(82)]))

    assert said(sound, "charging_events", "one_day") == (
        False,
        "warn",
        (
            "2 events of 84 are also in 2026-03-10, which was made when their end was not known, so build it again: "
            "(DE*BN*E092, 2026-03-10 11:00:00+00:00), (DE*BN*E093, 2026-03-10 11:00:00+00:00)."
        ),
    )
    assert before.num_rows == 84


def test_a_day_before_that_cannot_be_read_is_told_and_nothing_raises(sound: Lake) -> None:
    Path(sound.location("charging_events", DAY_BEFORE)).write_bytes(b"not Parquet")

    passed, _, sentence = said(sound, "charging_events", "one_day")

    assert passed
    assert sentence.startswith("Not judged against 2026-03-10: ")


def test_suspiciously_long_events_are_named_by_length_where_they_are_many(sound: Lake) -> None:
    put(sound, "charging_events", "is_suspicious", dict.fromkeys(range(4), True))
    assert said(sound, "charging_events", "suspicious_events") == (
        True,
        "error",
        "4 of 84 events are suspiciously long (4.8%).",
    )

    put(sound, "charging_events", "is_suspicious", {4: True})
    put(sound, "charging_events", "duration_s", {3: 90_000})
    assert said(sound, "charging_events", "suspicious_events")[2].startswith(
        "5 of 84 events are suspiciously long (6.0%), so maybe points are stuck: "
        "(DE*BN*E013, 2026-03-11 03:00:00+00:00) for 25.0 h, "
    )


# Hours


def test_hours_that_are_too_long_or_missing_are_named(sound: Lake) -> None:
    put(sound, "utilization_hourly", "free_s", {1: 3000})
    rewrite(sound, "utilization_hourly", DAY, lambda rows: rows.slice(0, rows.num_rows - 2))

    assert said(sound, "utilization_hourly", "hours") == (
        False,
        "error",
        (
            "2 faults in 6,046 rows: (DE*BN*E000, 2026-03-11 00:00:00+00:00) has 3,000 s of 3,600 s, "
            "DE*K*E2 has 22 hours of 24."
        ),
    )


@pytest.mark.parametrize("days", [-40, 40])
def test_hours_of_other_days_are_told_and_nothing_raises(sound: Lake, days: int) -> None:
    time = day_bounds(DAY)[0] + dt.timedelta(days=days)
    put(sound, "utilization_hourly", "hour_utc", {0: time})

    assert not said(sound, "utilization_hourly", "query_date")[0]
    assert said(sound, "utilization_hourly", "hours")[2] == f"1 row of other days: (DE*BN*E000, {time})."


def test_a_point_that_was_busier_than_its_intervals_say_is_named_with_both(sound: Lake) -> None:
    put(sound, "utilization_hourly", "free_s", {0: 0})
    put(sound, "utilization_hourly", "occupied_s", {0: 3600})

    assert said(sound, "utilization_hourly", "intervals")[2] == (
        "Of 252 points, hours and intervals do not agree: DE*BN*E000 was occupied for 3,600 s, and for 0 s by its "
        "intervals, DE*BN*E000 was free for 68,400 s, and for 72,000 s by its intervals."
    )


def test_intervals_of_a_point_without_hours_are_named(sound: Lake) -> None:
    rewrite(sound, "utilization_hourly", DAY, lambda rows: rows.slice(24))

    assert "DE*BN*E000 has intervals and no hours" in said(sound, "utilization_hourly", "intervals")[2]
    assert "point DE*BN*E000 has a row and no points" in said(sound, "kpi_daily", "sums")[2]


def test_points_of_no_station_are_told_where_they_are_more_than_a_few(sound: Lake) -> None:
    put(sound, "utilization_hourly", "id_cs", dict.fromkeys(range(48)))
    assert said(sound, "utilization_hourly", "references")[0]

    put(sound, "utilization_hourly", "id_cs", dict.fromkeys(range(72)))
    assert said(sound, "utilization_hourly", "references") == (
        False,
        "warn",
        (
            "Of 252 points, 3 without id_cs, 0 without city, 1 without power_class, so these are in no such KPI: "
            "DE*BN*E000 without id_cs, DE*BN*E001 without id_cs, DE*BN*E002 without id_cs, "
            "DE*K*E2 without power_class."
        ),
    )


# KPIs


def test_kpis_that_are_not_those_of_their_points_are_named_with_both(sound: Lake) -> None:
    put(sound, "kpi_daily", "free_s", {1: 18_000_000})
    rewrite(sound, "kpi_daily", DAY, lambda rows: rows.slice(0, rows.num_rows - 1))

    sentence = said(sound, "kpi_daily", "sums")[2]

    assert sentence.startswith("4 faults in 508 scopes: station 3000 has points and no row, feed bonn has occupied_s ")
    assert ", free_s 18,000,000, " in sentence
    assert "(feed, bonn) has a coverage of " in sentence


@pytest.mark.parametrize(("column", "value"), [("coverage", 0.5001), ("utilization", 0.3001), ("utilization", None)])
def test_coverage_and_utilization_follow_from_the_seconds(sound: Lake, column: str, value: float | None) -> None:
    put(sound, "kpi_daily", column, {0: value})

    assert f"(city, Musterstadt) has a {column} of {value or 'null'}, not 0." in (said(sound, "kpi_daily", "sums")[2])


def test_the_utilization_of_few_points_is_not_judged(lake: Lake) -> None:
    make_raw_day(lake, DAY, polls=24, interval_s=3600, points=49)
    build(lake, DAY)
    assert said(lake, "kpi_daily", "utilization")[2] == "Too little to judge by: 49 points, 99.0% of the time."


@pytest.mark.parametrize(("status", "share"), [("AVAILABLE", "0.0%"), ("CHARGING", "100.0%")])
def test_a_utilization_that_is_not_likely_is_told_by_feed(lake: Lake, status: str, share: str) -> None:
    make_raw_day(lake, DAY, polls=24, interval_s=3600, points=50, status=status)
    build(lake, DAY)

    assert said(lake, "kpi_daily", "utilization") == (
        False,
        "warn",
        (
            f"50 points were occupied for {share} of the time observed, which is not likely; see `frozen_feeds`. "
            f"By feed: koeln {share}."
        ),
    )


# Months and weeks


def test_a_month_that_differs_is_wrong_only_if_its_days_are_those_it_was_made_from(sound: Lake) -> None:
    events = sound.read("kpi_daily", DAY)["events"][0].as_py()
    put(sound, "kpi_daily", "events", {0: events + 1})
    passed, severity, sentence = said(sound, "kpi_monthly", "sums")
    assert (passed, severity) == (False, "error")
    assert sentence.startswith("1 of 3 scopes differ from the 4 days of 2026-03: city Musterstadt has occupied_s ")

    sound.write("kpi_daily", DAY, sound.read("kpi_daily", DAY), "later")
    assert undated_inputs(sound, "kpi_monthly", 2) != sound.info("kpi_monthly", None).inputs  # type: ignore[union-attr]
    passed, severity, sentence = said(sound, "kpi_monthly", "sums")
    assert (passed, severity) == (False, "warn")
    assert sentence.startswith("Days of 2026-03 were built since: refresh the dimensions. city Musterstadt has")


def test_a_scope_that_only_a_month_or_only_its_days_have_is_named(sound: Lake) -> None:
    rewrite(
        sound,
        "kpi_monthly",
        None,
        lambda rows: rows.filter(pc.invert(pc.equal(rows["scope_id"].cast("string"), "bonn"))),
    )

    assert "feed bonn has no row, not occupied_s " in said(sound, "kpi_monthly", "sums")[2]
    assert said(sound, "usage_profile", "sums")[2].startswith("1 of 3 scopes differ from kpi_monthly: feed bonn has ")


def test_without_days_there_is_nothing_to_compare_months_with(lake: Lake) -> None:
    for name in PERIODS:
        lake.write(name, None, arrow_schema(name).empty_table())

    assert all(verdict.passed for (table, _), verdict in verdicts(lake).items() if table in PERIODS)
