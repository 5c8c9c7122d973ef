"""All checks of a simulated day of the default feeds, and of the undated tables: ``python -m benchmarks.checks``.

2,423 points and 2,806 connectors, polled every ten minutes: 750,000 status rows. The same weekday of the week before is
there to compare with. Limit: 20 s for all together.

Each is measured several times in one process; the median and the slowest are printed, with the peak of memory. Making
the lake is not on the clock. With ``--json``, standard output is one JSON object and nothing else.
"""

import argparse
import datetime as dt
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charging_assets.calendar import day_bounds
from charging_assets.derive.calendar_tables import public_holidays, time_table
from charging_assets.derive.dimensions import dimensions
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
from charging_assets.derive.occupancy.periods import kpi_monthly, usage_profile
from charging_assets.flatten.current import current_status
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.quality.checks import check_day, check_undated
from charging_assets.quality.verdict import Finding
from charging_assets.simulator import Simulation, make_world
from charging_assets.simulator.history import epoch_of, write_history

DAY, WEEK_BEFORE = dt.date(2026, 3, 11), dt.date(2026, 3, 4)
LIMIT_S = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        results = measure(make_lake(Path(folder)), arguments.rounds)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for name, value in results.items():
        print(f"{name:28} {value}")


def make_lake(folder: Path) -> Lake:
    """Two days with all their tables, and the undated ones."""
    lake = Lake(str(folder / "lake"), folder / "home")
    print("simulating two days ...", file=sys.stderr, flush=True)
    simulation = Simulation(make_world(1, epoch_of(WEEK_BEFORE)))
    write_history(simulation, lake, [WEEK_BEFORE, DAY], interval_s=600, missing=0.01)
    for date in (WEEK_BEFORE, DAY):
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
    maker = FeedHealthMaker(lake)
    for date in (WEEK_BEFORE, DAY):
        health = maker.make(date, is_closed=True)
        lake.write("feed_health", date, health.feed_health)
        lake.write("frozen_spans", date, health.frozen_spans)
    occupancy = OccupancyMaker(lake)
    for date in (WEEK_BEFORE, DAY):
        made = occupancy.make(date, is_closed=True)
        for name in TABLES:
            lake.write(name, date, getattr(made, name))
    for name, make in {"kpi_monthly": kpi_monthly, "usage_profile": usage_profile}.items():
        lake.write(name, None, make(lake))
    for name, rows in dimensions(lake, active_days=2).items():
        lake.write(name, None, rows)
    lake.write("current_status", None, current_status(lake, day_bounds(DAY)[1]))
    lake.write("time", None, time_table(lake))
    lake.write("public_holiday", None, public_holidays(WEEK_BEFORE, DAY))
    return lake


def measure(lake: Lake, rounds: int) -> dict[str, Any]:
    """Seconds of each kind of checks, and what they judged."""
    now = day_bounds(DAY)[1]
    day = _clocked(lambda: check_day(lake, DAY, now=now), rounds)
    undated = _clocked(lambda: check_undated(lake, now=now), rounds)
    findings = [*check_day(lake, DAY, now=now), *check_undated(lake, now=now)]
    rows = {name: lake.info(name, DAY) for name in ("status_chargingpoints", "status_connectors")}
    return {
        "checks": len(findings),
        "checks_failed": sum(not finding.verdict.passed for finding in findings),
        **{f"rows_{name}": info.rows for name, info in rows.items() if info},
        "day_s": day,
        "undated_s": undated,
        "limit_s": LIMIT_S,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _clocked(judge: Callable[[], list[Finding]], rounds: int) -> dict[str, float]:
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        judge()
        took.append(time.perf_counter() - begun)
    return {"median": round(statistics.median(took), 3), "slowest": round(max(took), 3)}


if __name__ == "__main__":
    main()
