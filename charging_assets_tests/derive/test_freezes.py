"""Feeds that stand still are told from feeds that are quiet, and their points and times are named."""

import datetime as dt
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charging_assets.calendar import day_bounds
from charging_assets.derive.activity import Changes, Window
from charging_assets.derive.feed_health import FeedHealthDay, FeedHealthMaker
from charging_assets.derive.freezes import find_freezes
from charging_assets.lake import Lake
from charging_assets.simulator import FreezeKind, Simulation, make_world
from charging_assets.simulator.sessions import AVAILABLE, OUTOFORDER
from charging_assets_tests.derive.polled_days import Codes, Polled, times_of, write_polled_day, write_simulated_days
from charging_assets_tests.simulated import EPOCH, FEEDS

HOUR = dt.timedelta(hours=1)
DATES = [dt.date(2026, 1, 8) + dt.timedelta(days=number) for number in range(12)]
BEGIN = dt.datetime(2026, 1, 15, 11, tzinfo=dt.UTC)
"""On the eighth of the days, which is a Thursday."""
POINTS = {"koeln": 104, "kiel": 38, "roth": 8}

Rows = list[dict[str, Any]]


def simulation(*freezes: tuple[str, FreezeKind, dt.datetime, dt.datetime]) -> Simulation:
    """Three feeds of 8, 38 and 104 points, which change 30, 110 and 340 times a day."""
    world = make_world(1, EPOCH, feeds=FEEDS, points=150, connectors=165)
    made = Simulation(world)
    for freeze in freezes:
        made.freeze(*freeze)
    return made


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake without a freeze. Do not write to it."""
    folder = tmp_path_factory.mktemp("living")
    lake = Lake(str(folder / "lake"), folder / "home")
    write_simulated_days(simulation(), lake, DATES)
    return lake


@pytest.fixture
def lake_with(living: Lake, tmp_path: Path) -> Callable[..., Lake]:
    """Makes a copy of the living lake in which something has frozen."""

    def make(*freezes: tuple[str, FreezeKind, dt.datetime, dt.datetime]) -> Lake:
        shutil.copytree(living.uri, tmp_path / "lake")
        lake = Lake(str(tmp_path / "lake"), tmp_path / "home")
        write_simulated_days(simulation(*freezes), lake, [date for date in DATES if date >= BEGIN.date()])
        return lake

    return make


def make(lake: Lake, date: dt.date) -> FeedHealthDay:
    """The day, as the lake takes it."""
    made = FeedHealthMaker(lake).make(date, is_closed=True)
    lake.write("feed_health", date, made.feed_health)
    lake.write("frozen_spans", date, made.frozen_spans)
    return made


def feed(made: FeedHealthDay, name: str) -> dict[str, Any]:
    return next(row for row in made.feed_health.to_pylist() if row["feed"] == name)


def spans(lake: Lake, name: str, dates: Sequence[dt.date]) -> Rows:
    maker = FeedHealthMaker(lake)
    made = (maker.make(date, is_closed=True).frozen_spans.to_pylist() for date in dates)
    return [row for rows in made for row in rows if row["feed"] == name]


def test_a_living_feed_is_never_frozen_not_even_at_night(living: Lake) -> None:
    maker = FeedHealthMaker(living)
    for date in DATES:
        made = maker.make(date, is_closed=True)
        assert made.frozen_spans.num_rows == 0
        for row in made.feed_health.to_pylist():
            assert (row["freeze_kind"], row["freeze_start"], row["frozen_points"]) == (None, None, 0)
            assert 0.4 < row["changes"] / row["expected_changes"] < 2


@pytest.mark.parametrize(("name", "hours"), [("koeln", 12), ("koeln", 48), ("kiel", 30), ("roth", 48)])
def test_a_frozen_feed_is_named_with_all_its_points(lake_with: Callable[..., Lake], name: str, hours: int) -> None:
    end = BEGIN + hours * HOUR
    lake = lake_with((name, "frozen", BEGIN, end))
    made = make(lake, BEGIN.date())
    row = feed(made, name)
    assert (row["freeze_kind"], row["frozen_points"]) == ("whole", POINTS[name])
    # The rates are 14, 5 and 1 changes an hour: so long before the freeze may the last change lie.
    assert BEGIN - 3 * HOUR <= row["freeze_start"] <= BEGIN + HOUR / 2
    assert all(feed(made, other)["frozen_points"] == 0 for other in FEEDS if other != name)
    found = spans(lake, name, DATES)
    assert max(row["end_time"] for row in found) - end <= 2 * HOUR
    assert min(row["end_time"] for row in found if row["query_date"] == found[-1]["query_date"]) >= end
    frozen_hours = sum((row["end_time"] - row["start_time"]) / HOUR for row in found)
    assert frozen_hours == pytest.approx(hours * POINTS[name], rel=0.1, abs=3 * POINTS[name])


def test_a_feed_of_which_one_point_in_twenty_lives_is_frozen_but_for_these(lake_with: Callable[..., Lake]) -> None:
    lake = lake_with(("kiel", "mostly_frozen", BEGIN, BEGIN + 48 * HOUR))
    row = feed(make(lake, BEGIN.date() + dt.timedelta(days=1)), "kiel")
    assert row["freeze_kind"] == "part"
    assert row["frozen_points"] == 36  # the first of each twenty points live
    assert BEGIN - HOUR <= row["freeze_start"] <= BEGIN + HOUR
    assert BEGIN + 47 * HOUR <= row["freeze_end"] <= BEGIN + 49 * HOUR
    assert row["frozen_share"] == pytest.approx(36 / 38)


@pytest.mark.parametrize("name", ["koeln", "kiel", "roth"])
def test_a_mass_reset_is_named_from_the_poll_on_that_showed_it(lake_with: Callable[..., Lake], name: str) -> None:
    lake = lake_with((name, "mass_reset", BEGIN, BEGIN + 48 * HOUR))
    made = make(lake, BEGIN.date())
    row = feed(made, name)
    assert (row["freeze_kind"], row["freeze_start"], row["frozen_points"]) == ("mass_reset", BEGIN, POINTS[name])
    first = next(row for row in made.frozen_spans.to_pylist() if row["feed"] == name)
    assert (first["start_time"], first["end_time"]) == (BEGIN, day_bounds(BEGIN.date())[1])
    assert first["polls"] == (first["end_time"] - first["start_time"]) / dt.timedelta(minutes=10)


def test_a_freeze_of_the_evening_is_proven_when_the_next_day_is_there(
    lake_with: Callable[..., Lake], tmp_path: Path
) -> None:
    begin = BEGIN + 8 * HOUR
    lake = lake_with(("kiel", "frozen", begin, begin + 40 * HOUR))
    date = begin.date()
    for table in ("poll_log", "status_chargingpoints"):
        for later in DATES:
            if later > date:
                Path(lake.location(table, later)).rename(tmp_path / f"{table} {later}")
    maker = FeedHealthMaker(lake)
    made = maker.make(date, is_closed=True)
    assert (feed(made, "kiel")["freeze_kind"], made.frozen_spans.num_rows) == (None, 0)

    for table in ("poll_log", "status_chargingpoints"):
        later = date + dt.timedelta(days=1)
        (tmp_path / f"{table} {later}").rename(lake.location(table, later))
    made = maker.make(date, is_closed=True)
    row = feed(made, "kiel")
    assert (row["freeze_kind"], row["frozen_points"], row["freeze_end"]) == ("whole", 38, None)
    assert begin - 2 * HOUR <= row["freeze_start"] <= begin + HOUR
    assert set(made.frozen_spans["is_proven_later"].to_pylist()) == {True}
    assert set(made.frozen_spans["end_time"].to_pylist()) == {day_bounds(date)[1]}
    tomorrow = maker.make(later, is_closed=True).frozen_spans
    assert set(tomorrow["is_proven_later"].to_pylist()) == {False}
    assert set(tomorrow["start_time"].to_pylist()) == {day_bounds(later)[0]}


def test_a_feed_that_was_never_seen_to_move_is_frozen(lake: Lake) -> None:
    points = 30
    for date in DATES[:9]:
        times = times_of(date, 1800)
        statuses = np.tile(np.arange(points)[:, None] % 2, (1, len(times)))
        ids = [f"p{number:02d}" for number in range(points)]
        write_polled_day(lake, date, {"koeln": Polled(ids, statuses)}, times, 1800)
    row = feed(make(lake, DATES[7]), "koeln")
    assert (row["freeze_kind"], row["frozen_points"], row["frozen_share"]) == ("whole", points, 1)
    assert row["freeze_start"] == day_bounds(DATES[0])[0]


@pytest.fixture
def kiel_with(tmp_path: Path) -> Callable[..., FeedHealthMaker]:
    """Makes nine days of kiel's 38 points in which something else is published from `since` on."""

    def make(ids: Sequence[str], since: dt.date, change: Callable[[Codes, Codes], None]) -> FeedHealthMaker:
        lake = Lake(str(tmp_path / "lake"), tmp_path / "home")
        simulated = simulation()
        points = simulated.world.points_of(simulated.world.feeds.index("kiel"))
        last = np.zeros(0, int)
        for date in DATES[:9]:
            times = times_of(date)
            statuses = simulated.published(times, points)
            if date >= since:
                change(statuses, last)
            last = statuses[:, -1]
            write_polled_day(lake, date, {"kiel": Polled(ids, statuses)}, times)
        return FeedHealthMaker(lake)

    return make


IDS = [f"DE*KIE*E{number:02d}" for number in range(38)]
Kiel = Callable[..., FeedHealthMaker]


@pytest.mark.parametrize("status", [OUTOFORDER, -1], ids=["in fault", "not answered"])
def test_points_that_cannot_change_are_not_frozen(kiel_with: Kiel, status: int) -> None:
    def change(statuses: Codes, _: Codes) -> None:
        statuses[:, :] = status

    maker = kiel_with(IDS, DATES[4], change)
    for date in DATES[:9]:
        assert maker.make(date, is_closed=True).frozen_spans.num_rows == 0


def test_busy_points_that_nobody_uses_any_more_are_not_frozen(kiel_with: Kiel) -> None:
    def change(statuses: Codes, _: Codes) -> None:
        statuses[:2] = AVAILABLE

    maker = kiel_with(IDS, DATES[3], change)
    assert maker.make(DATES[7], is_closed=True).frozen_spans.num_rows == 0


def test_the_frozen_points_of_one_operator_of_several_are_named(kiel_with: Kiel) -> None:
    ids = [f"DE{'OTH' if number % 4 == 0 else 'KIE'}E{number:02d}" for number in range(38)]

    def change(statuses: Codes, last: Codes) -> None:
        statuses[::4] = last[::4, None]

    made = kiel_with(ids, DATES[5], change).make(DATES[7], is_closed=True)
    assert feed(made, "kiel")["freeze_kind"] == "part"
    assert made.frozen_spans["id_cp"].to_pylist() == ids[::4]


def test_two_freezes_on_one_day_are_told_apart(lake_with: Callable[..., Lake]) -> None:
    again = BEGIN + 33 * HOUR
    lake = lake_with(("koeln", "frozen", BEGIN, BEGIN + 20 * HOUR), ("koeln", "frozen", again, again + 20 * HOUR))
    date = BEGIN.date() + dt.timedelta(days=1)
    found = make(lake, date).frozen_spans.to_pylist()
    bounds = sorted({(row["start_time"], row["end_time"]) for row in found})
    assert len(bounds) == 2
    assert bounds[0][0] == day_bounds(date)[0]
    assert abs(bounds[0][1] - (BEGIN + 20 * HOUR)) <= HOUR
    assert abs(bounds[1][0] - again) <= HOUR
    assert bounds[1][1] == day_bounds(date)[1]


def test_a_point_of_two_feeds_is_frozen_in_the_one_that_is(lake_with: Callable[..., Lake]) -> None:
    lake = lake_with(("kiel", "frozen", BEGIN, BEGIN + 40 * HOUR))
    for date in DATES:
        rows = lake.read("status_chargingpoints", date)
        feeds = np.array(rows["feed"].to_pylist())
        is_shared = np.array(rows["id_chargingpoint"].to_pylist()) == rows["id_chargingpoint"][0].as_py()
        feeds[np.flatnonzero(is_shared)[::2]] = "koeln"
        column = pa.array(feeds.tolist()).dictionary_encode()
        at = rows.column_names.index("feed")
        lake.write("status_chargingpoints", date, rows.set_column(at, rows.schema.field("feed"), column))
    made = make(lake, BEGIN.date() + dt.timedelta(days=1))
    assert {row["feed"]: row["points_seen"] for row in made.feed_health.to_pylist()} == {**POINTS, "koeln": 105}
    assert set(made.frozen_spans["feed"].to_pylist()) == {"kiel"}
    assert made.frozen_spans.num_rows == POINTS["kiel"]


def test_the_same_days_give_the_same_tables_in_whatever_order_they_are_made(lake_with: Callable[..., Lake]) -> None:
    lake = lake_with(("kiel", "frozen", BEGIN, BEGIN + 30 * HOUR))
    forwards, backwards = FeedHealthMaker(lake), FeedHealthMaker(lake)
    first = {date: forwards.make(date, is_closed=True) for date in DATES}
    second = {date: backwards.make(date, is_closed=True) for date in reversed(DATES)}
    for date in DATES:
        alone = FeedHealthMaker(lake).make(date, is_closed=True)
        for other in (second[date], alone):
            assert first[date].feed_health.equals(other.feed_health)
            assert first[date].frozen_spans.equals(other.frozen_spans)


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spans_lie_within_their_day_and_do_not_overlap(tmp_path: Path, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000), label="seed"))
    points = data.draw(st.integers(1, 12), label="points")
    lake = Lake(str(tmp_path / f"lake{rng.integers(1 << 60)}"), tmp_path / "home")
    dates = DATES[:4]
    hours = [times_of(date, 3600) for date in dates]
    polls = sum(map(len, hours))
    statuses = rng.integers(0, 2, (points, polls))  # in half of the polls it has changed: freezes show soon
    for _ in range(data.draw(st.integers(0, 4), label="freezes")):
        first, length = rng.integers(0, polls), rng.integers(5, 60)
        frozen = rng.random(points) < rng.choice([0.5, 0.9, 1.0])
        statuses[frozen, first : first + length] = statuses[frozen, first : first + 1]
    statuses[rng.random(statuses.shape) < data.draw(st.sampled_from([0, 0.02, 0.5]), label="missed")] = -1
    for number, (date, times) in enumerate(zip(dates, hours, strict=True)):
        seen = statuses[:, sum(map(len, hours[:number])) :][:, : len(times)]
        write_polled_day(lake, date, {"koeln": Polled([f"p{n}" for n in range(points)], seen)}, times, 3600)
    maker = FeedHealthMaker(lake)
    for date in dates:
        made = maker.make(date, is_closed=True)
        lake.write("feed_health", date, made.feed_health)
        lake.write("frozen_spans", date, made.frozen_spans)
        start, end = day_bounds(date)
        rows = made.frozen_spans.to_pylist()
        for row in rows:
            assert start <= row["start_time"] < row["end_time"] <= end
            assert row["freeze_start"] <= row["start_time"]
            assert row["freeze_end"] is None or row["end_time"] <= row["freeze_end"]
            assert 0 < row["polls"] <= 24
        for before, after in pairwise(rows):
            assert before["id_cp"] != after["id_cp"] or before["end_time"] <= after["start_time"]
        (health,) = made.feed_health.to_pylist()
        assert health["frozen_points"] == len({row["id_cp"] for row in rows})
        assert 0 <= health["frozen_share"] <= 1
        assert np.isfinite(health["expected_changes"])


def test_a_silence_after_the_last_poll_is_no_freeze() -> None:
    """Where polls are an hour apart, the last one may begin an hour that still counts as observed."""
    points, hours, polled = 20, 48, 40
    polls = np.arange(polled) * 3600
    changes = Changes(
        point=np.repeat(np.arange(points), polled - 1),
        time=np.tile(polls[1:], points),
        is_free=np.tile(np.arange(polled - 1) % 2 == 1, points),
    )
    window = Window(
        start=0,
        hour_of_week=np.arange(hours) % 168,
        feeds=[("chargecloud", "koeln")],
        ids=pa.array([f"DE*KOE*E{number}" for number in range(points)]),
        feed=np.zeros(points, int),
        operator=np.zeros(points, int),
        polls=[polls],
        changes=changes,
        hours_alive=np.ones((points, hours), np.float32),
        is_free_first=np.ones(points, bool),
    )

    freezes, _ = find_freezes(window)

    assert freezes == []
