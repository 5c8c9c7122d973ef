"""What each charging point was last seen doing."""

import datetime as dt

from charging_assets.flatten.current import current_status
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets_tests.chargecloud_answers import answer, city, evse, location

NOW = dt.datetime(2024, 10, 24, 4, tzinfo=dt.UTC)


def keep(lake: Lake, minutes_ago: float, *answers: Answer) -> None:
    time = NOW - dt.timedelta(minutes=minutes_ago)
    lake.raw.import_answers(Poll(f"p{minutes_ago:08.1f}", time, 600, "chargecloud"), answers)


def ok(feed: str, body: bytes) -> Answer:
    return Answer(feed, body, http_status=200, attempts=1, bytes_total=len(body))


def test_a_status_holds_since_the_first_poll_of_its_run_across_midnight(lake: Lake) -> None:
    for hours_ago, status in ((9, "AVAILABLE"), (8, "CHARGING"), (7, "CHARGING"), (0.5, "CHARGING")):
        keep(lake, 60 * hours_ago, ok("bonn", city(1, status)))
    (row,) = current_status(lake, NOW).to_pylist()
    assert (row["status_cp"], row["status_class"]) == ("CHARGING", "occupied")
    assert row["since"] == NOW - dt.timedelta(hours=8)
    assert row["is_since_exact"] is True
    assert (row["age_s"], row["as_of"]) == (1800, NOW)


def test_a_run_that_reaches_back_to_the_first_sight_is_not_exact(lake: Lake) -> None:
    keep(lake, 20, ok("bonn", city(1)))
    keep(lake, 10, ok("bonn", city(1)))
    (row,) = current_status(lake, NOW).to_pylist()
    assert (row["since"], row["is_since_exact"]) == (NOW - dt.timedelta(minutes=20), False)


def test_a_failing_feed_keeps_its_last_good_answer_for_24_hours(lake: Lake) -> None:
    keep(lake, 24 * 60, ok("kiel", city(1, name="K")))
    keep(lake, 24 * 60 + 1, ok("roth", city(1, name="R")))
    keep(lake, 10, Answer("kiel", error="no connection"), ok("roth", b'{"data": []}'))
    assert current_status(lake, NOW)["id_chargingpoint"].to_pylist() == ["DE*K*E000"]


def test_a_point_that_left_the_last_good_answer_is_not_current(lake: Lake) -> None:
    keep(lake, 20, ok("bonn", city(3)))
    keep(lake, 10, ok("bonn", city(2)))
    assert current_status(lake, NOW).num_rows == 2


def test_old_files_that_come_late_never_win(lake: Lake) -> None:
    keep(lake, 10, ok("bonn", city(1, "CHARGING")))
    before = current_status(lake, NOW)
    keep(lake, 30, ok("bonn", city(2, "AVAILABLE")))
    keep(lake, 60 * 24 * 400, ok("bonn", city(5, "OUTOFORDER")))
    after = current_status(lake, NOW)
    assert after["status_cp"].to_pylist() == before["status_cp"].to_pylist() == ["CHARGING"]


def test_of_two_feeds_the_one_that_answered_later_wins(lake: Lake) -> None:
    keep(lake, 20, ok("a", answer(location("1", [evse("E1", "AVAILABLE")]))))
    keep(lake, 10, ok("b", answer(location("1", [evse("E1", "CHARGING")]))))
    (row,) = current_status(lake, NOW).to_pylist()
    assert (row["feed"], row["status_cp"], row["is_since_exact"]) == ("b", "CHARGING", True)


def test_two_polls_in_one_second_hide_none_of_their_points(lake: Lake) -> None:
    for poll_id, points in (("a", 1), ("b", 3)):
        poll = Poll(poll_id, NOW - dt.timedelta(minutes=10), 600, "chargecloud")
        lake.raw.import_answers(poll, [ok("bonn", city(points))])
    assert current_status(lake, NOW).num_rows == 3


def test_answers_from_the_future_are_not_current(lake: Lake) -> None:
    keep(lake, -60, ok("bonn", city(1)))
    assert current_status(lake, NOW).num_rows == 0


def test_the_table_is_a_valid_partition(lake: Lake) -> None:
    keep(lake, 10, ok("bonn", city(3)), ok("kiel", city(2, name="K")))
    assert lake.write("current_status", None, current_status(lake, NOW)).rows == 5
