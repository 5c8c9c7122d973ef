"""Is the simulated Germany as busy as the real one, at the same times? Run with `-s` to see both side by side."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.simulator import Simulation, make_world, write_history
from charging_assets.simulator.sessions import Spans
from charging_assets.simulator.truth import sessions as true_sessions
from charging_assets_tests.simulated import EPOCH

FIRST, LAST = dt.date(2026, 6, 1), dt.date(2026, 6, 30)
START, END = day_bounds(FIRST)[0], day_bounds(LAST)[1]
EDGES = np.arange(int(START.timestamp()), int(END.timestamp()) + 1, 3600)
LOCAL = [dt.datetime.fromtimestamp(edge, BERLIN) for edge in EDGES[:-1].tolist()]
HOUR, WEEKDAY = np.array([time.hour for time in LOCAL]), np.array([time.weekday() for time in LOCAL])

Mask = NDArray[np.bool_]


class Month(NamedTuple):
    """What happened in a month, and the share of time in use (in %) of any points at any hours."""

    simulation: Simulation
    sessions: Spans
    occupied: NDArray[np.float64]
    """Seconds, by point and hour."""
    observed: NDArray[np.float64]

    def used(self, points: Mask, hours: Mask) -> float:
        return float(100 * self.occupied[points][:, hours].sum() / self.observed[points][:, hours].sum())


def seconds(
    points: int, point: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much of each hour the spans of each point cover."""
    covered = np.zeros((points, len(EDGES) - 1))
    for which, begin, until in zip(point.tolist(), start.tolist(), end.tolist(), strict=True):
        first, last = (np.clip(moment, EDGES[0], EDGES[-1]) - EDGES[0] for moment in (begin, until))
        for hour in range(first // 3600, -(-last // 3600)):
            covered[which, hour] += min(last, (hour + 1) * 3600) - max(first, hour * 3600)
    return covered


@pytest.fixture(scope="module")
def month() -> Month:
    simulation = Simulation(make_world(1, dt.datetime(2026, 5, 1, tzinfo=dt.UTC)))
    points = simulation.world.points
    found = [source(START, END) for source in (simulation.sessions, simulation.faults)]
    occupied, broken = (seconds(len(points), spans.point, spans.start, spans.end) for spans in found)
    there = seconds(len(points), np.arange(len(points)), points.opens, points.closes)
    return Month(simulation, found[0], occupied, there - broken)


def check(rows: Iterable[tuple[str, float, float, float]]) -> None:
    """Print (what, simulated, from, to) and fail where the simulated figure lies outside."""
    rows = list(rows)
    for what, value, low, high in rows:
        print(f"{what:<32} {value:6.1f}   published {low:g} to {high:g}")
    assert not [row for row in rows if not row[2] <= row[1] <= row[3]]


def test_points_are_as_busy_as_published_by_power_class(month: Month) -> None:
    """BDEW: 14.5 % (H1 2024) to 17 % (H2 2024); Charging Radar: AC 13 %, DC 7 %."""
    power, always = month.simulation.world.points.power, np.ones(len(HOUR), bool)
    classes = {3: "AC up to 3.7 kW", 11: "AC 3.7-11 kW", 22: "AC 11-22 kW"}
    classes |= {50: "DC up to 50 kW", 150: "DC 50-150 kW", 300: "DC above 150 kW"}
    check(
        [
            ("all, % of the time", month.used(power > 0, always), 14.5, 17),
            ("AC", month.used(power < 50, always), 13, 17),
            ("DC", month.used(power >= 50, always), 6, 8.5),
            *(
                (name, month.used(power == kw, always), *((10, 20) if kw < 50 else (5.5, 9.5)))
                for kw, name in classes.items()
            ),
        ]
    )


def test_points_are_as_busy_as_published_by_hour(month: Month) -> None:
    """BDEW: about 20 % by day, 8-10 % at night; Nationale Leitstelle: peak at noon, least from 0 to 5, then 19-20."""
    world = month.simulation.world
    every = np.ones(len(world.points), bool)
    large = np.isin(world.points.feed, [world.feeds.index("koeln"), world.feeds.index("dortmund")])
    by_hour = [month.used(every, hour == HOUR) for hour in range(24)]
    evening = [month.used(large, hour == HOUR) for hour in range(24)]
    for hour in range(24):
        print(f"{hour:02d} h: all {by_hour[hour]:5.1f} %, metropoles {evening[hour]:5.1f} %")
    check(
        [
            ("by day (9-19 h), %", month.used(every, (HOUR >= 9) & (HOUR < 19)), 18, 22),
            ("at night (22-6 h), %", month.used(every, (HOUR >= 22) | (HOUR < 6)), 8, 10),
            ("busiest hour", float(np.argmax(by_hour)), 11, 13),
            ("quietest hour", float(np.argmin(by_hour)), 0, 5),
            ("second peak in metropoles", 17.0 + np.argmax(evening[17:22]), 19, 20),
        ]
    )
    assert max(evening[19:21]) > evening[17] + 0.5


def test_points_are_as_busy_as_published_on_each_weekday(month: Month) -> None:
    """BDEW: 12.5 % (2023) to 17 % (H2 2024) over all days; no figures by weekday are published."""
    every = np.ones(len(month.simulation.world.points), bool)
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    values = [month.used(every, number == WEEKDAY) for number in range(7)]
    check([(f"{name}, %", value, 12.5, 17) for name, value in zip(names, values, strict=True)])
    assert values[6] == min(values)


def test_sessions_take_as_long_as_measured(month: Month) -> None:
    """Quantiles of real sessions at 10, 50 and 90 %, in minutes; within 10 %."""
    power = month.simulation.world.points.power[month.sessions.point]
    minutes = (month.sessions.end - month.sessions.start) / 60
    measured = {
        "DC": (power >= 50, (10, 27, 61)),
        "22 kW": (power == 22, (13, 68, 421)),
        "to 11 kW": (power <= 11, (32, 250, 1317)),
    }
    check(
        (f"{name}, minutes at {share} %", float(np.percentile(minutes[chosen], share)), 0.9 * real, 1.1 * real)
        for name, (chosen, quantiles) in measured.items()
        for share, real in zip((10, 50, 90), quantiles, strict=True)
    )


def test_energy_is_as_much_as_published(month: Month) -> None:
    """Hecht 2022: AC rarely above 11 kW and up to 20 kWh per event; DC about 40 kWh in 45 minutes."""
    sessions = true_sessions(month.simulation, START, END)
    minutes = (month.sessions.end - month.sessions.start) / 60
    power, energy = sessions["power_kw"].to_numpy(), sessions["energy_kwh"].to_numpy()
    like_hecht = (power >= 50) & (minutes > 35) & (minutes < 55)
    check(
        [
            ("AC, mean kWh", energy[power < 50].mean(), 8, 20),
            ("AC, % faster than 11.5 kW", 100 * (energy / minutes * 60 > 11.5)[power < 50].mean(), 0, 10),
            ("DC in 35-55 minutes, mean kWh", energy[like_hecht].mean(), 30, 45),
        ]
    )


def test_polled_and_flattened_it_is_as_busy_as_in_truth(tmp_path: Path) -> None:
    """Occupied over observed polls, against the true seconds of the same two days."""
    feeds = ("bonn", "kiel", "roth")
    simulation = Simulation(make_world(3, EPOCH, feeds=feeds, points=300, connectors=320))
    lake = Lake(str(tmp_path / "lake"), tmp_path / "home")
    dates = [dt.date(2026, 1, 20), dt.date(2026, 1, 21)]
    write_history(simulation, lake, dates, interval_s=600, missing=0.02)
    counts = {"occupied": 0, "free": 0, "fault": 0, "unknown": 0}
    for date in dates:
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
        assert pc.sum(lake.read("poll_log", date)["unknown_keys"]).as_py() == 0
        assert lake.read("rejected_records", date).num_rows == 0
        for row in pc.value_counts(lake.read("status_chargingpoints", date)["status_class"]).to_pylist():
            counts[row["values"]] += row["counts"]
    start, end = day_bounds(dates[0])[0], day_bounds(dates[1])[1]
    spans = simulation.sessions(start, end)
    first, last = int(start.timestamp()), int(end.timestamp())
    true = (np.minimum(spans.end, last) - np.maximum(spans.start, first)).sum() / (300 * (last - first))
    polled = counts["occupied"] / sum(counts.values())
    print(f"truth {100 * true:.2f} %, polled {100 * polled:.2f} %")
    assert polled == pytest.approx(true, rel=0.03)
    assert sum(counts.values()) == pytest.approx(300 * 288 * 0.98, rel=0.02)
