"""What feeds publish of what really happens, and when."""

import datetime as dt
import hashlib
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from charging_assets.simulator import FreezeKind, Simulation
from charging_assets.simulator.demand import Demand
from charging_assets.simulator.sessions import AVAILABLE, CHARGING
from charging_assets.simulator.world import DAY_S
from charging_assets_tests.simulated import EPOCH, FEEDS, small_simulation, small_world

DAY = dt.timedelta(days=1)


def polled(simulation: Simulation, feed: str, start: dt.datetime, hours: int) -> np.ndarray:
    """Published statuses of a feed every ten minutes: one row per point that does not change in its equipment."""
    points = simulation.world.points_of(simulation.world.feeds.index(feed))
    times = int(start.timestamp()) + 600 * np.arange(6 * hours)
    is_there = (simulation.world.points.opens[points] <= times[0]) & (
        simulation.world.points.closes[points] > times[-1]
    )
    return simulation.published(times, points)[is_there]


def test_a_feed_publishes_what_happened_after_its_own_lag_of_at_most_8_minutes() -> None:
    simulation = small_simulation()
    assert len(set(simulation.lag_s.tolist())) == len(FEEDS)
    assert 0 <= simulation.lag_s.min() <= simulation.lag_s.max() <= 480
    sessions = simulation.sessions(EPOCH + DAY, EPOCH + 2 * DAY)
    silences = simulation.silences(EPOCH, EPOCH + 5 * DAY)
    seen = 0
    for point, start, end in zip(sessions.point, sessions.start, sessions.end, strict=True):
        if point in silences.point:
            continue
        lag = int(simulation.lag_s[simulation.world.points.feed[point]])
        around = np.array([start - 1, start, end - 1, end]) + lag
        assert simulation.published(around, np.array([point]))[0].tolist()[:3] == [AVAILABLE, CHARGING, CHARGING]
        assert simulation.published(around, np.array([point]))[0, 3] != CHARGING
        seen += 1
    assert seen > 30


def test_a_point_does_one_thing_at_a_time() -> None:
    simulation = small_simulation()
    sessions = simulation.sessions(EPOCH, EPOCH + 60 * DAY)
    faults = simulation.faults(EPOCH, EPOCH + 60 * DAY)
    for point in range(len(simulation.world.points)):
        spans = sorted(
            (start, end)
            for found in (sessions, faults)
            for start, end in zip(found.start[found.point == point], found.end[found.point == point], strict=True)
        )
        assert all(before[1] <= after[0] + 1 for before, after in itertools.pairwise(spans))
        assert all(start < end for start, end in spans)


def test_some_points_are_broken_for_weeks() -> None:
    faults = small_simulation().faults(EPOCH, EPOCH + 365 * DAY)
    lengths = (faults.end - faults.start) / DAY_S
    assert (lengths > 14).any()
    assert np.median(lengths) < 1


def test_people_come_by_the_clock_on_the_wall() -> None:
    world = small_world()
    demand = Demand(world)

    def hourly(*date: int) -> np.ndarray:
        return np.diff(demand.arrivals(int(dt.datetime(*date, tzinfo=dt.UTC).timestamp())))

    used = np.unique(demand.group)
    tuesday_winter, tuesday_summer = hourly(2026, 1, 20)[used], hourly(2026, 7, 21)[used]
    assert np.allclose(tuesday_winter[:, 10], tuesday_summer[:, 9])
    autumn = hourly(2026, 10, 25)[used]
    assert np.allclose(autumn[:, 0], autumn[:, 1])  # local 2 o'clock comes twice
    spring = hourly(2026, 3, 29)[used]
    assert np.allclose(spring[:, 0], hourly(2026, 3, 22)[used][:, 0])
    assert np.allclose(spring[:, 1], hourly(2026, 3, 22)[used][:, 2])  # local 2 o'clock does not come


def test_a_holiday_is_like_a_sunday_in_the_states_that_have_it() -> None:
    world = small_world()
    demand = Demand(world)

    def of_feed(feed: str, day: int) -> np.ndarray:
        groups = np.unique(demand.group[world.points_of(FEEDS.index(feed))])
        return np.asarray(np.diff(demand.arrivals(int(dt.datetime(2026, 6, day, tzinfo=dt.UTC).timestamp())))[groups])

    thursday, sunday, other_thursday = 4, 7, 11  # Corpus Christi, in North Rhine-Westphalia but not in the north
    assert np.allclose(of_feed("koeln", thursday)[:, 4:20], of_feed("koeln", sunday)[:, 4:20])
    assert np.allclose(of_feed("kiel", thursday)[:, 4:20], of_feed("kiel", other_thursday)[:, 4:20])
    assert not np.allclose(of_feed("kiel", thursday)[:, 4:20], of_feed("kiel", sunday)[:, 4:20])


@pytest.mark.parametrize(("kind", "alive"), [("frozen", 0.0), ("mostly_frozen", 0.05), ("mass_reset", 0.0)])
def test_a_frozen_feed_publishes_the_past_until_it_thaws(kind: FreezeKind, alive: float) -> None:
    simulation, healthy = small_simulation(), small_simulation()
    start = EPOCH + dt.timedelta(days=3, hours=11)
    simulation.freeze("koeln", kind, start)
    frozen, real = polled(simulation, "koeln", start, 24), polled(healthy, "koeln", start, 24)
    moving = (frozen != frozen[:, :1]).any(axis=1)
    assert moving.sum() <= np.ceil(alive * len(frozen))
    assert (real != real[:, :1]).any(axis=1).mean() > 0.3
    first = np.full(len(real), AVAILABLE) if kind == "mass_reset" else real[:, 0]
    assert (frozen[:, 0] == first).all()
    assert (polled(simulation, "koeln", start - DAY, 24) == polled(healthy, "koeln", start - DAY, 24)).all()
    assert (polled(simulation, "kiel", start, 24) == polled(healthy, "kiel", start, 24)).all()
    simulation.thaw("koeln", start + DAY)
    assert (polled(simulation, "koeln", start + DAY, 24) == polled(healthy, "koeln", start + DAY, 24)).all()
    assert simulation.freezes[0].end == start + DAY


def test_only_a_feed_that_there_is_can_freeze_and_only_while_there_is_a_world() -> None:
    with pytest.raises(ValueError, match="'atlantis' cannot freeze: expected one of the feeds roth, koeln, kiel"):
        small_simulation().freeze("atlantis", "frozen", EPOCH)
    with pytest.raises(ValueError, match="koeln cannot freeze at 2025-12-31"):
        small_simulation().freeze("koeln", "frozen", EPOCH - DAY)


def test_times_outside_of_the_world_are_refused() -> None:
    with pytest.raises(ValueError, match="expected times from 2026-01-01 to before 2029-01-03"):
        small_simulation().answer("koeln", EPOCH - dt.timedelta(seconds=1))
    with pytest.raises(ValueError, match="span of this world"):
        small_simulation().answer("koeln", EPOCH + 1200 * DAY)


def test_threads_get_the_answers_that_one_alone_would_get() -> None:
    simulation = small_simulation()
    asked = [(feed, EPOCH + dt.timedelta(hours=5 * number)) for number in range(40) for feed in FEEDS]
    got: dict[tuple[str, dt.datetime], bytes] = {}

    def ask(part: int) -> None:
        for feed, time in asked[part::4]:
            got[feed, time] = simulation.answer(feed, time)

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = small_simulation()
    assert got == {(feed, time): alone.answer(feed, time) for feed, time in asked}


_MADE_IN_ANOTHER_PROCESS = """
import datetime as dt, pathlib, sys
from charging_assets.lake import Lake
from charging_assets.simulator import write_history, write_truth
from charging_assets_tests.simulated import EPOCH, small_simulation
base = pathlib.Path(sys.argv[1])
simulation = small_simulation(seed=7)
dates = [dt.date(2026, 3, 28), dt.date(2026, 3, 29)]
write_history(simulation, Lake(str(base / "lake"), base / "home"), dates, interval_s=3600, missing=0.1)
write_truth(simulation, base / "truth", EPOCH, EPOCH + dt.timedelta(days=100))
"""


def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    made = []
    for hash_seed in ("1", "2"):
        base = tmp_path / hash_seed
        command = [sys.executable, "-c", _MADE_IN_ANOTHER_PROCESS, str(base)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        files = sorted(path for folder in ("lake", "truth") for path in (base / folder).rglob("*.parquet"))
        made.append({str(path.relative_to(base)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert made[0] == made[1]
    assert len(made[0]) == 24 + 23 + 4
