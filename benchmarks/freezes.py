"""How well freezes are found, and how fast: ``python -m benchmarks.freezes [--days N] [--seeds N] [--sites]``.

Two worlds are polled every ten minutes:

- Perth & Kinross: a year of 32,000 real charging sessions at 76 connectors, as one feed; with ``--sites`` also as one
  feed for each site, of 2 to 12 connectors.
- The simulator: 2,423 points in 38 feeds, 24 days for each seed.

As they are, everything found in them is false. Then freezes of 6 hours to 5 days are put in, so that feeds are frozen
more than a tenth of the time, and what is found is compared with them. *Found* is the share of the frozen point-hours
that `frozen_spans` names (wanted: 80 %), *false* the share of the live ones (wanted: at most 1 %). A point is called
frozen from its last change until its next one; the hours of that which lie outside of the freeze are among the false.
"""

import argparse
import csv
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.truth.sessions import PERTH, perth_time
from charging_assets.calendar import day_bounds
from charging_assets.derive.activity import DayActivity, join_days, read_day, seconds
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.derive.freezes import find_freezes
from charging_assets.lake import Lake
from charging_assets.simulator import Simulation, make_world
from charging_assets.simulator.sessions import AVAILABLE, CHARGING
from charging_assets_tests.derive.polled_days import Polled, write_polled_day

POLL_S = 600
DAY_POLLS = 144
OWN_OPERATOR, OTHER_OPERATOR = "DE*OWN", "DE*OTH"
"""Every fifth point is the other operator's."""
LENGTHS_H = (6, 9, 12, 18, 24, 36, 48, 72, 96, 120)
LENGTH_CLASSES = (("6 h", 0, 7), ("9-12 h", 7, 13), ("18-24 h", 13, 25), ("36-48 h", 25, 49), ("3-5 days", 49, 999))
KINDS = ("whole", "19 of 20", "half", "an operator", "mass reset")
RATE_CLASSES = ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 99.0))
"""Changes of a feed per hour."""


@dataclass(frozen=True)
class Town:
    """What polls saw: one row per point, one column per poll."""

    name: str
    feed: NDArray[np.str_]
    ids: NDArray[np.str_]
    status: NDArray[np.int8]
    times: NDArray[np.int64]
    dates: list[dt.date]

    def changes_per_hour(self, feed: str) -> float:
        """Changes of status that polls of a feed see."""
        status = self.status[self.feed == feed]
        return float((status[:, 1:] != status[:, :-1]).sum() / (status.shape[1] * POLL_S / 3600))


@dataclass(frozen=True)
class Frozen:
    """A freeze that was put in."""

    kind: str
    feed: str
    points: NDArray[np.int64]
    first: int
    """Index of its first poll."""
    polls: int

    def of(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The frozen part of a mask of all points and polls."""
        return mask[self.points, self.first : self.first + self.polls]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freezes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--days", type=int, default=362, help="of the real sessions")
    parser.add_argument("--seeds", type=int, default=1, help="of simulated worlds")
    parser.add_argument("--sites", action="store_true", help="judge each real site as a feed, too")
    parser.add_argument("--lake", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lake:
        print(json.dumps(_measure(arguments.lake)))
        return
    for town in _towns(arguments):
        _judge(town)
    _speed()


def _towns(arguments: argparse.Namespace) -> Iterator[Town]:
    if PERTH.exists():
        yield (real := perth(arguments.days))
        if arguments.sites:
            yield replace(
                real,
                name=f"{real.name}, a feed per site",
                feed=np.strings.partition(np.strings.partition(real.ids, "*E")[2], "/")[0],
            )
    else:
        print(f"The real sessions are left out: there is no {PERTH}.")
    for seed in range(1, arguments.seeds + 1):
        yield simulated(seed, days=24)


def perth(days: int) -> Town:
    """The real sessions as polls; a point is a connector."""
    points: dict[str, int] = {}
    sessions = []
    with PERTH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if "TEST" in row["Site"] or not row["End Date"]:
                continue
            start, end = perth_time(row, "Start"), perth_time(row, "End")
            if 0 < end - start < 5 * 86_400:
                point = f"{row['Site']}/{row['CP ID']}*{row['Connector']}"
                sessions.append((points.setdefault(point, len(points)), start, end))
    dates = [dt.date(2018, 9, 2) + dt.timedelta(days=number) for number in range(days)]
    times = _times(dates)
    status = np.full((len(points), len(times)), AVAILABLE, np.int8)
    for number, start, end in sessions:
        first, last = np.searchsorted(times, (start, end))
        status[number, first:last] = CHARGING
    return Town("Perth & Kinross", np.full(len(points), "perth"), _evse_ids(list(points)), status, times, dates)


def _evse_ids(names: list[str]) -> NDArray[np.str_]:
    operators = [OTHER_OPERATOR if number % 5 == 0 else OWN_OPERATOR for number in range(len(names))]
    return np.array([f"{operator}*E{name}" for operator, name in zip(operators, names, strict=True)])


def simulated(seed: int, days: int) -> Town:
    """A simulated world without freezes; points that open or close meanwhile are left out."""
    world = make_world(seed, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    dates = [dt.date(2026, 3, 20) + dt.timedelta(days=number) for number in range(days)]
    times = _times(dates)
    points = np.flatnonzero((world.points.opens <= times[0]) & (world.points.closes > times[-1]))
    status = Simulation(world).published(times, points).astype(np.int8)
    feed = np.array(world.feeds)[world.points.feed[points]]
    ids = _evse_ids([world.points.evse_id[point] for point in points.tolist()])
    return Town(f"simulator, seed {seed}", feed, ids, status, times, dates)


def _times(dates: list[dt.date]) -> NDArray[np.int64]:
    return np.arange(int(day_bounds(dates[0])[0].timestamp()), int(day_bounds(dates[-1])[1].timestamp()), POLL_S)


def freeze(town: Town, rng: np.random.Generator) -> tuple[Town, list[Frozen]]:
    """Freeze each feed again and again, with 3 to 12 living days in between."""
    status, freezes = town.status.copy(), []
    for feed in np.unique(town.feed).tolist():
        points = np.flatnonzero(town.feed == feed)
        first = int(rng.integers(2, 7) * DAY_POLLS + rng.integers(DAY_POLLS))
        while True:
            kind, polls = str(rng.choice(KINDS)), int(rng.choice(LENGTHS_H)) * 3600 // POLL_S
            if first + polls + DAY_POLLS >= len(town.times):
                break
            frozen = points
            if kind == "19 of 20":
                frozen = points[np.arange(len(points)) % 20 != 0]
            elif kind == "half":
                frozen = points[::2]
            elif kind == "an operator":
                frozen = points[np.strings.startswith(town.ids[points], OTHER_OPERATOR)]
            during = slice(first, first + polls)
            status[frozen, during] = AVAILABLE if kind == "mass reset" else status[frozen, first - 1][:, None]
            freezes.append(Frozen(kind, feed, frozen, first, polls))
            first += polls + int(rng.integers(3 * DAY_POLLS, 12 * DAY_POLLS))
    return replace(town, status=status), freezes


def _judge(town: Town) -> None:
    feeds = len(np.unique(town.feed))
    print(f"\n{town.name}: {len(town.ids):,} points in {feeds} feeds, {len(town.dates)} days")
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        found = _found(town, _write(town, folder))
        print(f"  as it is            false {found.mean():.3%} of live point-hours")
    frozen_town, freezes = freeze(town, np.random.default_rng(1))
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        lake = _write(frozen_town, folder)
        found = _found(frozen_town, lake)
        delays = _delays(frozen_town, freezes, lake)
    is_frozen = np.zeros(found.shape, bool)
    for each in freezes:
        is_frozen[each.points, each.first : each.first + each.polls] = True
    print(
        f"  with {len(freezes):4} freezes   false {found[~is_frozen].mean():.3%}, found {found[is_frozen].mean():.1%}"
    )
    print(f"  found by length     {''.join(f'{name:>10}' for name, _, _ in LENGTH_CLASSES)}")
    for kind in KINDS:
        shares = [
            _share([each for each in freezes if each.kind == kind and low <= each.polls / 6 < high], found)
            for _, low, high in LENGTH_CLASSES
        ]
        print(f"    {kind:16}  {''.join(f'{share:>10}' for share in shares)}")
    print("  whole feeds by changes per hour: found, delay until it is proven (median, of those that are)")
    whole = [(each, town.changes_per_hour(each.feed)) for each in freezes if each.kind in ("whole", "mass reset")]
    for low, high in RATE_CLASSES:
        those = [each for each, rate in whole if low <= rate < high]
        known = [delays[id(each)] for each in those if id(each) in delays]
        if those:
            delay = f"{np.median(known):.1f} h" if known else "-"
            print(
                f"    {low:4.1f} to {high:4.1f}  {_share(those, found):>8}  {delay:>8}  ({len(known)} of {len(those)})"
            )


def _share(freezes: list[Frozen], found: NDArray[np.bool_]) -> str:
    total = sum(each.of(found).size for each in freezes)
    return f"{sum(int(each.of(found).sum()) for each in freezes) / total:.0%}" if total else "-"


def _write(town: Town, folder: str) -> Lake:
    lake = Lake(folder, Path(folder) / "home")
    for date in town.dates:
        during = _during(town, date)
        feeds = {
            feed: Polled(town.ids[town.feed == feed].tolist(), town.status[town.feed == feed, during])
            for feed in np.unique(town.feed).tolist()
        }
        write_polled_day(lake, date, feeds, town.times[during], POLL_S)
    return lake


def _during(town: Town, date: dt.date) -> slice:
    first, last = np.searchsorted(town.times, [bound.timestamp() for bound in day_bounds(date)])
    return slice(int(first), int(last))


def _found(town: Town, lake: Lake) -> NDArray[np.bool_]:
    """Which sights `frozen_spans` names, of all days."""
    found = np.zeros(town.status.shape, bool)
    maker = FeedHealthMaker(lake)
    for date in town.dates:
        spans = maker.make(date, is_closed=True).frozen_spans
        points = pc.index_in(spans["id_cp"], value_set=pa.array(town.ids.tolist())).to_pylist()
        first, last = (np.searchsorted(town.times, seconds(spans[name])) for name in ("start_time", "end_time"))
        for point, begin, end in zip(points, first.tolist(), last.tolist(), strict=True):
            found[point, begin:end] = True
    return found


def _delays(town: Town, freezes: list[Frozen], lake: Lake) -> dict[int, float]:
    """Hours from the start of each freeze until it is proven, by its `id`; without those that never are."""
    delays: dict[int, float] = {}
    days: dict[dt.date, DayActivity] = {}
    for each in sorted(freezes, key=lambda each: each.first):
        start, end = (int(town.times[poll]) for poll in (each.first, each.first + each.polls))
        first = next(number for number, date in enumerate(town.dates) if day_bounds(date)[1].timestamp() > start)
        around = town.dates[max(first - 5, 0) : first + 6]
        days = {date: days.get(date) or read_day(lake, date) for date in around}
        window = join_days([days[date] for date in around])
        for found in find_freezes(window)[0]:
            is_same = window.feeds[found.feed][1] == each.feed and found.start < end and (found.end or end) > start
            if is_same and found.kind != "part":
                delays[id(each)] = max(found.proven - start, 0) / 3600
    return delays


def _speed() -> None:
    """Days in a row of the simulator's size, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        _write(freeze(simulated(1, days=11), np.random.default_rng(1))[0], folder)
        child = [sys.executable, "-m", "benchmarks.freezes", "--lake", folder]
        result = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
    print(f"\nspeed: {result['rows']:,} sights a day, some feeds frozen")
    print(f"  the first day, with 8 around it   {result['first_s']:.2f} s")
    print(f"  the next day                      {result['next_s']:.2f} s")
    print(
        f"  peak memory                       {result['peak_mib']:,.0f} MiB, {result['before_mib']:,.0f} of it imports"
    )


def _measure(uri: str) -> dict[str, float]:
    before = _peak_mib()
    with tempfile.TemporaryDirectory() as home:
        lake = Lake(uri, Path(home))
        maker = FeedHealthMaker(lake)
        dates = lake.partitions("poll_log")
        taken = []
        for date in dates[7:9]:
            begin = time.perf_counter()
            maker.make(date, is_closed=True)
            taken.append(time.perf_counter() - begin)
        info = lake.info("status_chargingpoints", dates[7])
    assert info is not None
    peak = _peak_mib()
    return {"rows": info.rows, "first_s": taken[0], "next_s": taken[1], "peak_mib": peak, "before_mib": before}


def _peak_mib() -> float:
    """Peak resident memory of this process; `ru_maxrss` would start with the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected VmHWM in /proc/self/status: this benchmark runs on Linux")


if __name__ == "__main__":
    main()
