"""Intervals, events, hours and daily KPIs of a day: ``python -m benchmarks.occupancy [--large]``.

- A day of the default feeds: 2,423 points, 349,000 rows of `status_chargingpoints` (750,000 with the connectors'),
  looking back 7 days and ahead one. Limits: 5 s and 500 MiB.
- With ``--large``, ten times that. Limits: 40 s and 2 GiB, and a cost per row within 20 % of the small day's.

Each size is measured in a process of its own, cold: nothing of the days around is read before. From the lake's files to
files of the four tables; imports are done before.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from charging_assets.calendar import day_bounds
from charging_assets.derive.inputs import window
from charging_assets.lake import Lake
from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.simulator import Simulation, World, make_world
from charging_assets_tests.derive.polled_days import write_rows, write_simulated_days

DAY = dt.date(2026, 3, 12)
EPOCH = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
FROM_KW = (0, 4, 12, 23)


@dataclass(frozen=True)
class Size:
    """A case: how much, and what it may cost."""

    name: str
    points: int
    max_seconds: float
    max_mib: float


SIZES = {
    "day": Size("a day of 2,423 points", 2_423, 5, 500),
    "large": Size("a day of 24,230 points", 24_230, 40, 2048),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.occupancy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--large", action="store_true", help="measure ten times as many points too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lake", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lake:
        print(json.dumps(_measure(arguments.lake)))
        return
    per_row = {}
    for name in ("day", "large") if arguments.large else ("day",):
        size = SIZES[name]
        with tempfile.TemporaryDirectory() as folder:
            rows = _write_days(Lake(f"{folder}/lake", Path(folder)), size.points)
            command = [sys.executable, "-m", "benchmarks.occupancy", "--lake", f"{folder}/lake"]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(arguments.rounds)
            ]
        best = min(runs, key=lambda run: run["seconds"])
        per_row[name] = best["seconds"] / rows
        print(
            f"{size.name}: {rows:,} rows of status_chargingpoints, 9 days read; {best['seconds']:.2f} s at best of "
            f"{arguments.rounds} (limit {size.max_seconds:g} s), {max(run['mib'] for run in runs):.0f} MiB (limit "
            f"{size.max_mib:g} MiB, {best['before']:.0f} MiB of it before)"
        )
        for step, seconds in best["steps"].items():
            print(f"  {step:<22}{seconds:6.2f} s")
        print(f"  rows: {', '.join(f'{table} {count:,}' for table, count in best['rows'].items())}")
    if len(per_row) == 2:
        print(f"cost per row, large / day: {per_row['large'] / per_row['day']:.2f} (limit 1.2)")


def _measure(uri: str) -> dict[str, object]:
    from charging_assets.derive.inputs import DAYS_BEFORE
    from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
    from charging_assets.derive.occupancy.events import charging_events
    from charging_assets.derive.occupancy.hourly import utilization_hourly
    from charging_assets.derive.occupancy.intervals import status_intervals
    from charging_assets.derive.occupancy.kpis import kpi_daily
    from charging_assets.derive.occupancy.places import places_of

    lake = Lake(uri, Path(uri).parent)
    before = _mib()
    steps: dict[str, float] = {}
    last = begun = time.perf_counter()

    def done(step: str) -> None:
        nonlocal last
        now = time.perf_counter()
        steps[step], last = now - last, now

    day = OccupancyMaker(lake).observe(DAY, is_closed=True)
    assert day is not None
    done("observation")
    places = places_of(lake, day.ids, window(DAY)[DAYS_BEFORE::-1])
    done("places")
    made = {"status_intervals": status_intervals(day)}
    done("status_intervals")
    made["charging_events"] = charging_events(day, places)
    done("charging_events")
    made["utilization_hourly"] = utilization_hourly(day, places)
    done("utilization_hourly")
    made["kpi_daily"] = kpi_daily(day, places, made["utilization_hourly"], made["charging_events"])
    done("kpi_daily")
    for name in TABLES:
        lake.write(name, DAY, made[name])
    done("writing")
    rows = {name: made[name].num_rows for name in TABLES}
    return {"seconds": last - begun, "mib": _mib(), "before": before, "steps": steps, "rows": rows}


def _mib() -> float:
    """Most memory so far; `ru_maxrss` would count what the process was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def _write_days(lake: Lake, points: int) -> int:
    """Facts, log and master data of the day and those around it; returns the rows of the day."""
    simulation = Simulation(make_world(1, EPOCH, points=points, connectors=points))
    write_simulated_days(simulation, lake, window(DAY))
    _write_master(simulation.world, lake)
    info = lake.info("status_chargingpoints", DAY)
    assert info is not None
    return info.rows


def _write_master(world: World, lake: Lake) -> None:
    """The points and stations that are open on the day, as flattening would know them."""
    start, end = (int(bound.timestamp()) for bound in day_bounds(DAY))
    points = world.points
    open_ = np.flatnonzero((points.opens <= start) & (points.closes > end))
    stations = np.unique(points.station[open_])
    feed_of = dict(zip(points.station[open_].tolist(), points.feed[open_].tolist(), strict=True))
    feeds = [world.feeds[feed_of[station]] for station in stations.tolist()] + [
        world.feeds[feed] for feed in points.feed[open_].tolist()
    ]
    power = np.digitize(points.power[open_], FROM_KW) - 1 + 3 * (points.power[open_] >= 44)
    ids = [str(station) for station in stations.tolist()] + [points.evse_id[point] for point in open_.tolist()]
    levels = ["station"] * len(stations) + ["point"] * len(open_)
    order = sorted(range(len(ids)), key=lambda row: (levels[row], feeds[row], ids[row]))
    number = [*stations.tolist(), *points.station[open_].tolist()]
    none, every = [None] * len(stations), [None] * len(open_)
    columns = {
        "level": levels,
        "id": ids,
        "source": ["simulator"] * len(ids),
        "feed": feeds,
        "first_seen": [day_bounds(DAY)[0]] * len(ids),
        "last_seen": [day_bounds(DAY)[0]] * len(ids),
        "id_cs": number,
        "id_cp": [*none, *(points.evse_id[point] for point in open_.tolist())],
        "power_class": [*none, *(POWER_CLASSES[min(code, len(POWER_CLASSES) - 1)] for code in power.tolist())],
        "name": [*(f"Station {station}" for station in stations.tolist()), *every],
        "city": [*feeds[: len(stations)], *every],
        "operator_name": [*(f"Stadtwerke {feed}" for feed in feeds[: len(stations)]), *every],
        "open_24_7": [*([True] * len(stations)), *every],
    }
    sorted_columns = {name: pa.array([values[row] for row in order]) for name, values in columns.items()}
    write_rows(lake, "master_observations", DAY, len(ids), **sorted_columns)


if __name__ == "__main__":
    main()
