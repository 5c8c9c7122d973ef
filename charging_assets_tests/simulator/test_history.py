"""A simulated past in the raw files of a lake."""

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest

from charging_assets.calendar import day_bounds, expected_polls
from charging_assets.lake import Lake, RawRow
from charging_assets.progress import watch
from charging_assets.simulator import Simulation, epoch_of, write_history
from charging_assets_tests.simulated import EPOCH, FEEDS, small_simulation

DAY = dt.date(2026, 2, 3)
AUTUMN = dt.date(2026, 10, 25)


def kept(lake: Lake, date: dt.date = DAY) -> list[RawRow]:
    return list(lake.raw.rows(date))


def test_every_poll_of_a_day_is_kept_as_a_collector_would_have(lake: Lake) -> None:
    simulation = small_simulation()
    made = write_history(simulation, lake, [DAY], interval_s=600)
    rows = kept(lake)
    assert (made.polls, made.answers, made.missing) == (144, 144 * len(FEEDS), 0)
    assert made.json_bytes == sum(len(row.answer.body) for row in rows)
    assert Counter(row.answer.feed for row in rows) == dict.fromkeys(FEEDS, 144)
    assert {(row.poll.source, row.poll.interval_s, row.answer.http_status) for row in rows} == {("simulator", 600, 200)}
    assert len({row.poll.poll_id for row in rows}) == 144
    for row in rows[::50]:
        assert row.answer.body == small_simulation().answer(row.answer.feed, row.poll.query_time)


def test_a_day_of_25_hours_has_more_polls(lake: Lake) -> None:
    made = write_history(small_simulation(), lake, [AUTUMN], interval_s=3600)
    assert made.polls == expected_polls(AUTUMN, 3600) == 25


def test_the_past_ends_now(lake: Lake) -> None:
    until = day_bounds(DAY)[0] + dt.timedelta(hours=2)
    assert write_history(small_simulation(), lake, [DAY], interval_s=600, until=until).polls == 12
    assert max(row.poll.query_time for row in kept(lake)) < until


def test_some_answers_are_missing_and_say_why(lake: Lake) -> None:
    made = write_history(small_simulation(), lake, [DAY], interval_s=600, missing=0.3)
    rows = kept(lake)
    assert made.missing == pytest.approx(0.3 * 144 * len(FEEDS), rel=0.25)
    assert made.answers == sum(row.answer.error is None for row in rows)
    errors = Counter(row.answer.error for row in rows)
    assert errors.keys() == {None, "no answer within 30 s", "HTTP 502 Bad Gateway"}
    assert len(rows) < 144 * len(FEEDS)
    assert {row.answer.http_status for row in rows if row.answer.body.startswith(b"<html>")} == {502}


def test_writing_a_history_again_adds_what_is_not_held_yet(lake: Lake) -> None:
    write_history(small_simulation(), lake, [DAY], interval_s=3600, missing=0.1)
    before = lake.raw.fingerprint(DAY)
    write_history(small_simulation(), lake, [DAY - dt.timedelta(days=1), DAY], interval_s=3600, missing=0.1)
    assert lake.raw.fingerprint(DAY) == before
    assert lake.raw.dates() == [DAY - dt.timedelta(days=1), DAY]


def test_progress_is_reported_poll_by_poll(lake: Lake) -> None:
    seen: list[tuple[str, int, int]] = []
    with watch(lambda *report: seen.append(report)):
        write_history(small_simulation(), lake, [DAY], interval_s=3600)
    assert seen == [("polls simulated", number, 24) for number in range(1, 25)]


def test_histories_of_a_year_begin_in_one_world() -> None:
    assert epoch_of(dt.date(2026, 1, 2)) == epoch_of(dt.date(2026, 12, 31)) == EPOCH
    assert epoch_of(dt.date(2026, 1, 1)) == EPOCH.replace(year=2025)  # begins at 23:00 UTC of the day before
    Simulation(small_simulation().world).answer("koeln", day_bounds(dt.date(2026, 1, 2))[0])


def test_two_lakes_of_the_same_history_have_the_same_files(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        lake = Lake(str(tmp_path / name), tmp_path / f"{name}-home")
        write_history(small_simulation(), lake, [DAY], interval_s=3600, missing=0.1)
        root = tmp_path / name / "raw"
        files.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")})
    assert files[0] == files[1]
    assert len(files[0]) == 24
