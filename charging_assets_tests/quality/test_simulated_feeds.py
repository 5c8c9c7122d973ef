"""Feeds that fail, are polled with gaps, or are frozen: named by `feed_health` and by the checks."""

import datetime as dt
from collections.abc import Sequence

import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.answer import SIMULATOR, Answer, Poll
from charging_assets.quality.checks import check_day
from charging_assets.simulator import Simulation, make_world
from charging_assets_tests.simulated import EPOCH

FEEDS = ("koeln", "kiel", "bonn", "roth")
FROZEN, FAILING, GAPPY, HEALTHY = FEEDS
DATES = [dt.date(2026, 3, 7) + dt.timedelta(days=number) for number in range(4)]
FREEZE = day_bounds(DATES[2])[0] + dt.timedelta(hours=9)


def _answers(simulation: Simulation, time: dt.datetime, number: int) -> Sequence[Answer]:
    found = []
    for feed in FEEDS:
        if feed == FAILING and time >= day_bounds(DATES[2])[0]:
            found.append(Answer(feed, attempts=3, error="no answer within 30 s"))
        elif feed != GAPPY or not 60 <= number <= 90:
            body = simulation.answer(feed, time)
            found.append(Answer(feed, body, http_status=200, attempts=1, bytes_total=len(body)))
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Four days; on the third one feed freezes at 9 h, one fails from then on, and one lacks five hours each day."""
    folder = tmp_path_factory.mktemp("simulated")
    lake = Lake(str(folder / "lake"), folder / "home")
    simulation = Simulation(make_world(3, EPOCH, feeds=FEEDS, points=240, connectors=260))
    simulation.freeze(FROZEN, "frozen", FREEZE, day_bounds(DATES[3])[0] + dt.timedelta(hours=18))
    for date in DATES:
        for number in range(144):
            time = day_bounds(date)[0] + number * dt.timedelta(minutes=10)
            poll = Poll(f"p{int(time.timestamp())}", time, 600, SIMULATOR)
            lake.raw.import_answers(poll, _answers(simulation, time, number))
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
    maker = FeedHealthMaker(lake)
    for date in DATES:
        made = maker.make(date, is_closed=True)
        lake.write("feed_health", date, made.feed_health)
        lake.write("frozen_spans", date, made.frozen_spans)
    return lake


def test_feed_health_names_the_frozen_the_failing_and_the_gappy_feed(simulated: Lake) -> None:
    health = {row["feed"]: row for row in simulated.read("feed_health", DATES[2]).to_pylist()}

    assert {feed: row["state"] for feed, row in health.items()} == dict.fromkeys(FEEDS, "alive") | {FAILING: "gone"}
    assert {feed for feed, row in health.items() if row["freeze_kind"]} == {FROZEN}
    assert health[FROZEN]["freeze_kind"] == "whole"
    assert abs(health[FROZEN]["freeze_start"] - FREEZE) <= dt.timedelta(minutes=30)
    assert health[FROZEN]["frozen_share"] > 0.5
    assert health[FAILING]["polls_failed"] == 144
    assert health[FAILING]["failures"] == '{"no answer within 30 s": 144}'
    assert health[GAPPY]["longest_gap_s"] >= 5 * 3600
    assert (health[GAPPY]["polls_missing"], health[HEALTHY]["polls_missing"]) == (31, 0)


def test_the_checks_name_them_too_and_nobody_else(simulated: Lake) -> None:
    now = day_bounds(DATES[3])[1]

    findings = check_day(simulated, DATES[2], now=now, tables=["feed_health"])

    said = {finding.check.name: finding.verdict.sentence for finding in findings if not finding.verdict.passed}
    assert set(said) == {"feeds_alive", "frozen_feeds", "completeness"}
    for name, feed in (("feeds_alive", FAILING), ("frozen_feeds", FROZEN), ("completeness", GAPPY)):
        assert feed in said[name]
        assert HEALTHY not in said[name]
