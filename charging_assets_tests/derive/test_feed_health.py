"""What is said of a feed's day: polls, failures, gaps, freezes; whatever is missing."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.derive.polled_days import Polled, times_of, write_polled_day, write_rows

DAY = dt.date(2026, 3, 11)
START, END = day_bounds(DAY)
GOOD = Answer("koeln", city(2, name="koeln"), attempts=1, http_status=200)


def health(lake: Lake, date: dt.date = DAY, *, is_closed: bool = True) -> dict[str, dict[str, Any]]:
    """Rows of the day by feed; both tables are such as the lake takes."""
    made = FeedHealthMaker(lake).make(date, is_closed=is_closed)
    lake.write("feed_health", date, made.feed_health)
    lake.write("frozen_spans", date, made.frozen_spans)
    return {row["feed"]: row for row in made.feed_health.to_pylist()}


def poll_at_every(lake: Lake, date: dt.date, times: list[int], interval_s: list[int]) -> None:
    """Polls that saw one point, free all day."""
    feeds = {"koeln": Polled(["DE*K*E1"], np.zeros((1, len(times)), int))}
    write_polled_day(lake, date, feeds, np.array(times), np.array(interval_s))


def keep(lake: Lake, minute: int, *answers: Answer) -> None:
    """Put a poll into the lake, that many minutes after midnight."""
    poll = Poll(f"poll{minute:04d}", START + dt.timedelta(minutes=minute), 600, "chargecloud")
    lake.raw.import_answers(poll, answers)


def flatten(lake: Lake) -> None:
    for staged in flatten_day(lake, DAY).values():
        lake.publish(staged)


@pytest.mark.parametrize(
    ("date", "polls"), [(DAY, 144), (dt.date(2026, 3, 29), 138), (dt.date(2026, 10, 25), 150)], ids=str
)
def test_as_many_polls_are_planned_as_the_day_has_room_for(lake: Lake, date: dt.date, polls: int) -> None:
    times = times_of(date).tolist()
    poll_at_every(lake, date, times, [600] * len(times))
    row = health(lake, date)["koeln"]
    assert (row["polls_planned"], row["polls_answered"], row["polls_missing"]) == (polls, polls, 0)
    assert row["longest_gap_s"] == 600


def test_a_change_of_the_interval_is_followed_from_the_poll_on_that_was_made_with_it(lake: Lake) -> None:
    start = int(START.timestamp())
    morning, evening = start + 8 * 3600, start + 16 * 3600
    times = [*range(start, morning, 600), *range(morning, evening, 300), *range(evening, start + 24 * 3600, 600)]
    interval_s = [300 if morning <= time < evening else 600 for time in times]
    poll_at_every(lake, DAY, times, interval_s)
    row = health(lake)["koeln"]
    assert (row["polls_planned"], row["polls_missing"]) == (48 + 96 + 48, 0)

    del times[60:80], interval_s[60:80]  # of those every five minutes
    poll_at_every(lake, DAY, times, interval_s)
    row = health(lake)["koeln"]
    assert (row["polls_planned"], row["polls_answered"], row["polls_missing"]) == (192, 172, 20)
    assert row["longest_gap_s"] == 21 * 300


def test_before_and_after_the_polls_of_a_closed_day_some_are_missing(lake: Lake) -> None:
    times = [int(START.timestamp()) + 3600 * hour for hour in (6, 7, 8)]
    poll_at_every(lake, DAY, times, [3600] * 3)
    row = health(lake)["koeln"]
    assert (row["polls_planned"], row["polls_answered"], row["polls_missing"]) == (24, 3, 21)
    assert row["longest_gap_s"] == 16 * 3600


def test_of_a_day_that_goes_on_only_what_has_been_is_planned(lake: Lake) -> None:
    times = times_of(DAY)[:60].tolist()
    poll_at_every(lake, DAY, times, [600] * 60)
    row = health(lake, is_closed=False)["koeln"]
    assert (row["polls_planned"], row["polls_missing"], row["longest_gap_s"]) == (60, 0, 600)


def test_polls_that_start_seconds_late_are_as_many_as_planned(lake: Lake) -> None:
    late = np.random.default_rng(1).integers(0, 90, 144)
    poll_at_every(lake, DAY, (times_of(DAY) + late).tolist(), [600] * 144)
    row = health(lake)["koeln"]
    assert (row["polls_planned"], row["polls_missing"]) == (144, 0)


def test_a_failing_feed_says_why(lake: Lake) -> None:
    for minute in range(0, 60, 10):
        keep(lake, minute, GOOD)
    for minute in (60, 70, 80):
        keep(lake, minute, Answer("koeln", b"", attempts=2, error="the server did not answer within 10 s"))
    keep(lake, 90, Answer("koeln", b"<html>maintenance</html>", attempts=1, http_status=200))
    keep(lake, 100, Answer("koeln", city(0), attempts=1, http_status=200))
    flatten(lake)
    row = health(lake, is_closed=False)["koeln"]
    counts = {name: row[f"polls_{name}"] for name in ("planned", "answered", "empty", "failed", "missing")}
    assert counts == {"planned": 11, "answered": 6, "empty": 1, "failed": 4, "missing": 0}
    assert row["state"] == "alive"
    reasons = list(json.loads(row["failures"]).items())
    assert reasons[0] == ("the server did not answer within 10 s", 3)
    assert [count for _, count in reasons] == [3, 1]
    assert row["longest_gap_s"] == 60 * 60  # from the last good poll until now, an interval after the last one


def test_empty_and_gone_feeds_are_told_from_living_ones(lake: Lake) -> None:
    for minute in (0, 10):
        gone = Answer("kiel", b"", attempts=1, error="no such host")
        keep(lake, minute, GOOD, Answer("roth", city(0), attempts=1, http_status=200), gone)
    flatten(lake)
    rows = health(lake)
    assert {feed: row["state"] for feed, row in rows.items()} == {"kiel": "gone", "koeln": "alive", "roth": "empty"}
    for feed in ("kiel", "roth"):
        row = rows[feed]
        assert (row["points_seen"], row["unknown_share"], row["frozen_points"], row["frozen_share"]) == (0, None, 0, 0)
        assert (row["expected_changes"], row["longest_gap_s"]) == (0, 24 * 3600)


def test_a_feed_that_was_asked_only_later_misses_the_polls_before(lake: Lake) -> None:
    for minute in range(0, 60, 10):
        keep(lake, minute, GOOD, *([Answer("roth", city(1), attempts=1, http_status=200)] if minute >= 40 else []))
    flatten(lake)
    rows = health(lake, is_closed=False)
    assert [(rows[feed]["polls_planned"], rows[feed]["polls_missing"]) for feed in ("koeln", "roth")] == [
        (6, 0),
        (6, 4),
    ]


def test_each_source_has_its_own_plan(lake: Lake) -> None:
    polls = [("chargecloud", "koeln", 10 * number, 600) for number in range(6)]
    polls += [("ocpi", "mitte", 15 * number, 900) for number in (0, 2)]
    polls.sort(key=lambda poll: (poll[2], poll[0]))
    source, feed, minute, interval_s = zip(*polls, strict=True)
    times = [START + dt.timedelta(minutes=minutes) for minutes in minute]
    columns = {"query_time": times, "source": source, "feed": feed, "interval_s": interval_s, "outcome": ["ok"] * 8}
    write_rows(lake, "poll_log", DAY, 8, **columns)
    rows = health(lake, is_closed=False)
    assert [(rows[feed]["polls_planned"], rows[feed]["polls_missing"]) for feed in ("koeln", "mitte")] == [
        (6, 0),
        (3, 1),
    ]


def test_two_polls_in_one_second_do_not_stand_in_for_a_missing_one(lake: Lake) -> None:
    for minute in (0, 10, 30):
        keep(lake, minute, GOOD)
    other = Answer("koeln", city(1, name="koeln"), attempts=1, http_status=200)
    lake.raw.import_answers(Poll("again", START, 600, "chargecloud"), [other])
    flatten(lake)
    row = health(lake, is_closed=False)["koeln"]
    assert (row["polls_planned"], row["polls_answered"], row["polls_missing"]) == (4, 4, 1)


def test_unknown_statuses_have_their_share(lake: Lake) -> None:
    keep(lake, 0, Answer("koeln", city(3, "UNKNOWN"), attempts=1, http_status=200))
    keep(lake, 10, Answer("koeln", city(1, "CHARGING"), attempts=1, http_status=200))
    flatten(lake)
    row = health(lake)["koeln"]
    assert (row["points_seen"], row["unknown_share"], row["changes"]) == (3, 0.75, 1)


def test_a_change_across_midnight_counts_on_the_day_that_saw_it(lake: Lake) -> None:
    yesterday = DAY - dt.timedelta(days=1)
    for date, status in ((yesterday, 0), (DAY, 1)):
        times = times_of(date)
        write_polled_day(lake, date, {"koeln": Polled(["a"], np.full((1, len(times)), status))}, times)
    assert [health(lake, date)["koeln"]["changes"] for date in (yesterday, DAY)] == [0, 1]


def test_a_day_with_one_poll_is_whole_and_without_nan(lake: Lake) -> None:
    keep(lake, 600, GOOD)
    flatten(lake)
    row = health(lake)["koeln"]
    assert (row["polls_planned"], row["polls_missing"], row["points_seen"], row["changes"]) == (144, 143, 2, 0)
    assert row["longest_gap_s"] == 14 * 3600
    assert 0 < row["expected_changes"] < 1
    assert row["freeze_kind"] is None


def test_a_day_without_polls_has_no_rows(lake: Lake) -> None:
    made = FeedHealthMaker(lake).make(DAY, is_closed=True)
    assert (made.feed_health.num_rows, made.frozen_spans.num_rows) == (0, 0)
    assert health(lake) == {}


def test_a_partition_that_is_replaced_is_read_again(lake: Lake) -> None:
    maker = FeedHealthMaker(lake)
    times = times_of(DAY)
    for points in (3, 5):
        ids = [f"p{number}" for number in range(points)]
        write_polled_day(lake, DAY, {"koeln": Polled(ids, np.zeros((points, 144), int))}, times)
        assert maker.make(DAY, is_closed=True).feed_health["points_seen"].to_pylist() == [points]
