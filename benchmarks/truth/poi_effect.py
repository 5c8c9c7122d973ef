"""`poi_effect` against effects that were planted: ``python -m benchmarks.truth.poi_effect [--seeds N] [--first SEED]``.

Each simulated world (2,423 points, 38 towns, 28 days) comes three times, of the same seed: as it is; with more people
at stations that have food shops within 100 m and fewer at those near lodgings; and with districts of about 5 km that
are busier or quieter than others, whatever stands in them. Its points of interest are matched as always. `kpi_daily` is
made from the true sessions, faults and lost connections instead of from polls.

- Planted effects: how often the truth lies in the 95 % interval (wanted: in 18 of 20 worlds, for each effect and
  outcome). The truth is not the planted factor, since a point in use takes nobody: it is what becomes of events and of
  utilization in 180 days at the stations that this effect alone reaches, with it against without. Each station counts
  the same there, as it does in the model: a mean of what it has of the mean of its power.
- Worlds without effect: how many categories are findings (wanted: at most 3 in 20 worlds together). These worlds are
  not quite without any: people come at other hours to a business park than to a market place, and so more or fewer of
  them find a point in use. The mean ratio of each category shows how much that is.
- Worlds with districts, no effect: the same, and how many of the categories' intervals hold 1 (wanted: 90 %).

Then how long it takes, which is for people to judge: for 2,423 points and 28 days, and for 190,000 points.
"""

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.calendar import day_bounds
from charging_assets.derive.poi_effect import NEAR_M, poi_effect
from charging_assets.derive.pois import poi_tables
from charging_assets.derive.station_pois import station_pois
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.model.tables.occupancy import POI_OUTCOMES
from charging_assets.simulator import Simulation, World, make_world, write_pois
from charging_assets.simulator.effects import Effect, affected, planted, with_districts
from charging_assets.simulator.sessions import Spans
from charging_assets.sources.osm.categories import Categories

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIRST = dt.date(2026, 1, 2)
"""The first query date that lies wholly in these worlds."""
DAYS, TRUTH_DAYS = 28, 180
FACTORS = {"food_retail": 1.5, "lodging": 0.7}
DISTRICT_SPREAD = 0.3
"""Of the logarithm of how many times as many people come to a district."""
LEAST_INSIDE, MOST_FINDINGS, OF_WORLDS = 18, 3, 20
LEAST_COVERED = 0.9
"""Share of the intervals that hold 1, in worlds with districts and no effect."""
SPEED = ((2_423, 38, 28), (190_000, 2_000, 3))
"""Points, cities and days."""

CATEGORIES = Categories.load("default")
POWER_CLASS = {3: "AC 0-3.7", 11: "AC 3.7-11", 22: "AC 11-22", 50: "DC 0-50", 150: "DC 50-150", 300: "DC 150+"}

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found of one planted effect in one world."""

    truth: float
    ratio: float
    low: float
    high: float
    is_finding: bool

    @property
    def is_inside(self) -> bool:
        """Whether the truth lies in the interval."""
        return self.low <= self.truth <= self.high


class Nothing:
    """What was found of the categories in worlds where they have no effect."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self.ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.holds_one: list[bool] = []

    def add(self, rows: list[dict[str, Any]], seed: int) -> None:
        """What was found in one world."""
        for row in rows:
            if row["term"].startswith("poi:") and row["rate_ratio"] is not None:
                self.ratios[row["outcome"], row["term"]].append(row["rate_ratio"])
                self.findings += [f"{row['outcome']}, {row['term']}, seed {seed}"] * row["is_finding"]
                self.holds_one.append(row["rate_ratio_low"] <= 1 <= row["rate_ratio_high"])

    @property
    def covered(self) -> float:
        """Share of the intervals that hold 1."""
        return float(np.mean(self.holds_one))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.poi_effect", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=OF_WORLDS, help="how many worlds")
    parser.add_argument("--first", type=int, default=1, help="seed of the first one")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    failed = list(_judge(seeds))
    _print_speed()
    if failed:
        sys.exit("Missed: " + "; ".join(failed))


def _judge(seeds: range) -> Iterator[str]:
    compared: dict[tuple[str, str], list[Compared]] = defaultdict(list)
    kinds = {"without effect": Nothing(), "with districts, no effect": Nothing()}
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="charging-truth-") as folder:
            with_effects, *without = _effects_of(seed, Lake(f"{folder}/lake", Path(folder) / "home"), compared)
        for nothing, rows in zip(kinds.values(), without, strict=True):
            nothing.add(rows, seed)
        skills = ", ".join(f"{row['outcome']} {row['skill']:.3f}" for row in _of_term(with_effects, "food_retail"))
        findings = " + ".join(str(len(nothing.findings)) for nothing in kinds.values())
        print(f"seed {seed:3}: skill with effects: {skills}; findings without any: {findings}", flush=True)

    print(f"\n{'planted effect':34} {'truth':>7} {'found':>7}  truth in the 95 % interval")
    for (outcome, category), found in compared.items():
        inside, findings_of, worlds = sum(f.is_inside for f in found), sum(f.is_finding for f in found), len(found)
        what = f"{outcome}, {category} x {FACTORS[category]:g}"
        truth, ratio = (_geometric_mean([getattr(each, name) for each in found]) for name in ("truth", "ratio"))
        print(f"{what:34} {truth:7.3f} {ratio:7.3f}  {inside} of {worlds}, a finding in {findings_of}")
        if inside * OF_WORLDS < LEAST_INSIDE * worlds:
            yield f"{what}: {inside} of {worlds} in the interval"
    for name, nothing in kinds.items():
        yield from _judge_nothing(f"{len(seeds)} worlds {name}", nothing, len(seeds))
    if (covered := kinds["with districts, no effect"].covered) < LEAST_COVERED:
        yield f"{covered:.1%} of intervals hold 1 in worlds with districts"


def _judge_nothing(worlds: str, nothing: Nothing, count: int) -> Iterator[str]:
    findings, intervals = nothing.findings, len(nothing.holds_one)
    print(
        f"\n{worlds}: {len(findings)} findings {findings or ''}; {nothing.covered:.1%} of {intervals} intervals hold 1"
    )
    for outcome in POI_OUTCOMES:
        of_terms = ((term, ratios) for (of, term), ratios in nothing.ratios.items() if of == outcome)
        means = (f"{term[4:]} {_geometric_mean(ratios):.3f}" for term, ratios in of_terms)
        print(f"  mean ratios of {outcome}: {', '.join(means)}")
    if len(findings) * OF_WORLDS > MOST_FINDINGS * count:
        yield f"{len(findings)} findings in {worlds}"


def _geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _effects_of(seed: int, lake: Lake, compared: dict[tuple[str, str], list[Compared]]) -> list[list[dict[str, Any]]]:
    """Rows of `poi_effect` of a world with the planted effects, without, and with districts; adds to `compared`."""
    world = make_world(seed, EPOCH)
    effects = {category: Effect(_tags(category), NEAR_M, factor) for category, factor in FACTORS.items()}
    other = planted(world, list(effects.values()))
    districts = with_districts(world, DISTRICT_SPREAD, np.random.default_rng(seed))
    simulations = Simulation(other), Simulation(world), Simulation(districts)
    _write_surroundings(world, lake)
    rows = []
    for simulation in simulations:
        for number in range(DAYS):
            _write_kpis(simulation, lake, FIRST + dt.timedelta(days=number))
        rows.append(poi_effect(lake).to_pylist())
    masks = {category: affected(world, effect) for category, effect in effects.items()}
    for category, mask in masks.items():
        alone = mask & (sum(masks.values()) == 1)
        for row in _of_term(rows[0], category):
            truth = _true_ratio(*simulations[:2], alone, row["outcome"])
            figures = (row[name] for name in ("rate_ratio", "rate_ratio_low", "rate_ratio_high", "is_finding"))
            compared[row["outcome"], category].append(Compared(truth, *figures))
    return rows


def _of_term(rows: list[dict[str, Any]], category: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["term"] == f"poi:{category}"]


def _tags(category: str) -> frozenset[str]:
    """All tags of a category, as things have them."""
    pairs = ((key, value) for key, value in CATEGORIES.tags if CATEGORIES.category_of({key: value}) == category)
    return frozenset(f"{key}={value}" for key, value in pairs)


# -- the truth --------------------------------------------------------------------------------------------------------


def _true_ratio(with_effect: Simulation, without: Simulation, alone: NDArray[np.bool_], outcome: str) -> float:
    """Of an outcome, at the stations of some points."""
    points = without.world.points
    end = EPOCH + dt.timedelta(days=TRUTH_DAYS)
    seconds = _overlap(points.opens, points.closes, EPOCH, end).astype(float)
    amounts = [_amount(simulation, end, outcome) for simulation in (with_effect, without)]
    usual = np.zeros(len(points))
    for power in POWER_CLASS:
        is_of = points.power == power
        usual[is_of] = amounts[1][is_of].sum() / max(seconds[is_of].sum(), 1) * seconds[is_of]
    expected = np.bincount(points.station[alone], usual[alone])
    is_there = expected > 0
    relative = [np.bincount(points.station[alone], amount[alone])[is_there] / expected[is_there] for amount in amounts]
    return float(relative[0].mean() / relative[1].mean())


def _amount(simulation: Simulation, end: dt.datetime, outcome: str) -> Floats:
    """Sessions that ended, or seconds in use, per point from the epoch on."""
    sessions = simulation.sessions(EPOCH, end)
    if outcome == "events":
        has_ended = sessions.end <= end.timestamp()
        return np.bincount(sessions.point[has_ended], minlength=len(simulation.world.points)).astype(float)
    return _seconds(simulation.world, sessions, EPOCH, end).astype(float)


def _seconds(world: World, spans: Spans, start: dt.datetime, end: dt.datetime) -> Longs:
    """Per point, of the spans, within [start, end)."""
    within = _overlap(spans.start, spans.end, start, end)
    return np.bincount(spans.point, within, len(world.points)).astype(np.int64)


def _overlap(begin: Longs, until: Longs, start: dt.datetime, end: dt.datetime) -> Longs:
    first, last = int(start.timestamp()), int(end.timestamp())
    seconds: Longs = np.maximum(np.minimum(until, last) - np.maximum(begin, first), 0)
    return seconds


# -- the tables -------------------------------------------------------------------------------------------------------


def _write_surroundings(world: World, lake: Lake) -> None:
    """Stations and points as they are on the last day, and what is near them."""
    last = int(day_bounds(FIRST + dt.timedelta(days=DAYS - 1))[1].timestamp()) - 1
    versions = [version for version in world.versions if version.opens <= last < version.closes]
    stations = sorted((int(v.station.id), v.station.longitude, v.station.latitude) for v in versions)
    points = sorted((point.evse_id, int(v.station.id)) for v in versions for point in v.station.points)
    _write(lake, "charging_station", None, **_named(("id_cs", "longitude", "latitude"), stations))
    _write(lake, "charging_point", None, **_named(("id_cp", "id_cs"), points))
    write_pois(world, lake, EPOCH)
    lake.write("poi", None, poi_tables(lake, CATEGORIES.category_of).poi)
    radius_m = {name: CATEGORIES.radius_m(name) for name in CATEGORIES.names}
    lake.write("station_poi_features", None, station_pois(lake, radius_m).station_poi_features)


def _named(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _write_kpis(simulation: Simulation, lake: Lake, date: dt.date) -> None:
    """The points of a day, as they truly were."""
    world, (start, end) = simulation.world, day_bounds(date)
    points = world.points
    sessions = simulation.sessions(start, end)
    there = _overlap(points.opens, points.closes, start, end)
    occupied = _seconds(world, sessions, start, end)
    fault = np.minimum(_seconds(world, simulation.faults(start, end), start, end), there - occupied)
    unknown = np.minimum(_seconds(world, simulation.silences(start, end), start, end), there - occupied - fault)
    has_ended = sessions.end <= end.timestamp()
    seconds = {"occupied_s": occupied, "free_s": there - occupied - fault - unknown, "fault_s": fault}
    amounts = {**seconds, "unknown_s": unknown, "events": np.bincount(sessions.point[has_ended], minlength=len(points))}
    # A point whose power changes is two of the simulated points, of one id: the day's power is the last.
    ids, which = np.unique(np.array(points.evse_id)[there > 0], return_inverse=True)
    last = np.zeros(len(ids), np.int64)
    last[which] = np.flatnonzero(there > 0)
    _write(
        lake,
        "kpi_daily",
        date,
        scope=["point"] * len(ids),
        scope_id=ids,
        city=[world.towns[feed].city.name for feed in points.feed[last].tolist()],
        power_class=[POWER_CLASS[power] for power in points.power[last].tolist()],
        **{name: np.bincount(which, amount[there > 0]).astype(np.int64) for name, amount in amounts.items()},
    )


def _write(lake: Lake, table: str, date: dt.date | None, **columns: Any) -> None:
    """Replace a partition; columns that are not given are null, or 0, false or empty where they may not be."""
    schema, rows = arrow_schema(table), len(next(iter(columns.values())))
    if date is not None:
        columns["query_date"] = [date] * rows
    arrays = [
        pa.array(columns[field.name]).cast(field.type) if field.name in columns else _nothing(field, rows)
        for field in schema
    ]
    lake.write(table, date, pa.Table.from_arrays(arrays, schema=schema))


def _nothing(field: pa.Field, rows: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(rows, field.type)
    is_text = pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
    return pa.repeat(pa.scalar("" if is_text else 0), rows).cast(field.type)


# -- how fast ---------------------------------------------------------------------------------------------------------


def _print_speed() -> None:
    for points, cities, days in SPEED:
        with tempfile.TemporaryDirectory(prefix="charging-truth-") as folder:
            lake = Lake(f"{folder}/lake", Path(folder) / "home")
            _write_many(lake, points, cities, days)
            begin = time.process_time()
            rows = poi_effect(lake)
            seconds = time.process_time() - begin
        what = f"{points:,} points in {cities:,} cities, {days} days"
        print(f"\n{what}: {len(rows)} terms in {seconds:.1f} s of CPU")


def _write_many(lake: Lake, points: int, cities: int, days: int) -> None:
    """A lake of made-up points, two to a station, whose use depends on nothing."""
    rng = np.random.default_rng(1)
    stations = points // 2
    ids = np.array([f"DE*SIM*E{number:07}" for number in range(points)])
    station = np.minimum(np.arange(points) // 2, stations - 1)
    # Cities are of all sizes, as in reality: a few large ones and many small ones.
    city = (cities * rng.random(stations) ** 3).astype(int)
    longitude, latitude = 6 + 8 * rng.random(cities)[city], 48 + 6 * rng.random(cities)[city]
    places = {"longitude": longitude + rng.normal(0, 0.05, stations), "latitude": latitude}
    _write(lake, "charging_station", None, id_cs=np.arange(stations), **places)
    _write(lake, "charging_point", None, id_cp=ids, id_cs=station)
    categories = sorted(CATEGORIES.names)
    near = rng.random((stations, len(categories))) < np.linspace(0.1, 0.5, len(categories))
    columns: Mapping[str, Any] = {
        "id_cs": np.repeat(np.arange(stations), len(categories)),
        "poi_category": categories * stations,
        **{f"count_{metres}m": near.ravel().astype(int) for metres in (NEAR_M, 250, 500)},
    }
    _write(lake, "station_poi_features", None, **columns)
    power = np.array(POWER_CLASSES)[rng.integers(0, len(POWER_CLASSES), stations)][station]
    busy = rng.lognormal(0, 0.4, stations)[station]
    for number in range(days):
        occupied = np.minimum(12_000 * busy * rng.lognormal(0, 0.5, points), 80_000).astype(int)
        _write(
            lake,
            "kpi_daily",
            FIRST + dt.timedelta(days=number),
            scope=["point"] * points,
            scope_id=ids,
            city=np.char.add("city ", city.astype(str))[station],
            power_class=power,
            occupied_s=occupied,
            free_s=86_400 - occupied,
            events=rng.poisson(2 * busy),
        )


if __name__ == "__main__":
    main()
