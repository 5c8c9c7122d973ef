"""Stations and POIs of a whole country matched, against buffer and sjoin: ``python -m benchmarks.poi_matching``.

90,000 stations and 1.2 million POIs, 30 % of them polygons, made up and clustered like towns. Every way begins with the
same two Arrow tables and runs in a process of its own; seconds are of CPU, memory is what is needed over the inputs.

- The original's way: a GeoDataFrame in metres, a buffer of each POI's radius around it, `sjoin` with the stations.
- `match`, with the radii of the original (30 and 40 m). Limits: a fiftieth of that time, 400 MiB, and the same pairs
  as brute force finds for a sample of stations.
- `station_features` up to 250 m, and up to 500 m as they are published. Limit of the former: 30 s.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import shapely
from numpy.typing import NDArray

STATIONS, POIS, POLYGONS, TOWNS = 90_000, 1_200_000, 0.3, 11_000
SAMPLE = 200
"""Stations that are compared with every POI."""
RADIUS_M = {
    **dict.fromkeys(("shopping", "food_retail", "diy_garden"), 40.0),
    **dict.fromkeys(("highway_service", "fuel_car", "fast_food", "gastronomy", "lodging", "parking_transit"), 30.0),
    **dict.fromkeys(("leisure_culture", "health_education_public", "finance_post_work"), 30.0),
}
LEAST_SPEEDUP, MAX_MIB, MAX_FEATURES_S = 50, 400, 30

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.poi_matching", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_measure(*arguments.child)))
        return
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        _make_inputs(Path(folder))
        print(f"{STATIONS:,} stations, {POIS:,} POIs, {POLYGONS:.0%} of them polygons")
        results = {way: _run(way, folder) for way in WAYS}
        for way, result in results.items():
            print(f"  {way:26} {result['seconds']:7.2f} s  {result['mib']:7,.0f} MiB  {result['rows']:10,} rows")
        _judge(results, Path(folder))


def _judge(results: dict[str, dict[str, float]], folder: Path) -> None:
    ours, theirs, features = (results[way] for way in ("match", "buffer and sjoin", "features, 250 m"))
    print(f"  {theirs['seconds'] / ours['seconds']:.0f} times as fast as buffer and sjoin (limit {LEAST_SPEEDUP})")
    print(f"  {ours['mib']:.0f} MiB over the inputs (limit {MAX_MIB}), {theirs['mib'] / ours['mib']:.1f} times less")
    print(f"  features up to 250 m in {features['seconds']:.1f} s (limit {MAX_FEATURES_S})")
    stations, pois = _inputs(folder)
    found = {way: _pairs_of(_read(folder / f"{way}.arrow")) for way in ("match", "buffer and sjoin")}
    missed = found["match"] - found["buffer and sjoin"]
    print(
        f"  buffer and sjoin misses {len(missed)} pairs, and has {len(found['buffer and sjoin'] - found['match'])} more"
    )
    rows = np.random.default_rng(2).choice(STATIONS, SAMPLE, replace=False)
    ids = set(stations["id_cs"].to_numpy()[rows].tolist())
    true = _by_brute_force(stations.take(pa.array(rows)), pois)
    same = {pair for pair in found["match"] if pair[0] in ids} == true
    print(f"  brute force for {SAMPLE} stations: {len(true)} pairs, {'the same' if same else 'NOT the same'} as match")


def _run(way: str, folder: str) -> dict[str, float]:
    child = [sys.executable, "-m", "benchmarks.poi_matching", "--child", way, folder]
    result: dict[str, float] = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
    return result


def _measure(way: str, folder: str) -> dict[str, float]:
    """Go one way in this process. Imports and reading the inputs are not on the clock."""
    stations, pois = _inputs(Path(folder))
    go = WAYS[way]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begin = _memory_mib("VmRSS"), time.process_time()
    rows = go(stations, pois)
    seconds, peak = time.process_time() - begin, _memory_mib("VmHWM")
    pa.feather.write_feather(rows, Path(folder) / f"{way}.arrow", compression="uncompressed")
    return {"seconds": seconds, "mib": peak - before, "rows": len(rows)}


def _memory_mib(which: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"expected {which} in /proc/self/status: this benchmark runs on Linux")


# -- the ways --------------------------------------------------------------------------------------------------------

Way = Callable[[pa.Table, pa.Table], pa.Table]


def _match() -> Way:
    from charging_assets.derive.poi_matching import match

    return lambda stations, pois: match(stations, pois, RADIUS_M).mapping


def _features(*distances: int) -> Way:
    from charging_assets.derive.poi_matching import station_features

    return lambda stations, pois: station_features(stations, pois, list(RADIUS_M), distances)


def _buffer_and_sjoin() -> Way:
    import geopandas as gpd

    def go(stations: pa.Table, pois: pa.Table) -> pa.Table:
        places = gpd.points_from_xy(stations["longitude"], stations["latitude"], crs=4326)
        left = gpd.GeoDataFrame({"id_cs": stations["id_cs"].to_numpy()}, geometry=places).to_crs(25832)
        shapes = gpd.GeoSeries.from_wkb(pois["geom"].to_numpy(), crs=4326)
        names = ["id_poi", "poi_category"]
        right = gpd.GeoDataFrame(pois.select(names).to_pandas(), geometry=shapes).to_crs(25832)
        right["geometry"] = right.geometry.buffer(right["poi_category"].map(RADIUS_M))
        joined = gpd.sjoin(left, right, predicate="intersects")
        return pa.table({"id_cs": joined["id_cs"], "id_poi": joined["id_poi"]})

    return go


WAYS: dict[str, Callable[[], Way]] = {
    "buffer and sjoin": _buffer_and_sjoin,
    "match": _match,
    "features, 250 m": lambda: _features(50, 100, 250),
    "features, 500 m": lambda: _features(50, 100, 250, 500),
}


def _pairs_of(rows: pa.Table) -> set[tuple[int, str]]:
    return set(zip(rows["id_cs"].to_pylist(), rows["id_poi"].to_pylist(), strict=True))


def _by_brute_force(stations: pa.Table, pois: pa.Table) -> set[tuple[int, str]]:
    """Every station against every POI."""
    import geopandas as gpd

    shapes = gpd.GeoSeries.from_wkb(pois["geom"].to_numpy(), crs=4326).to_crs(25832).to_numpy()
    places = gpd.points_from_xy(stations["longitude"], stations["latitude"], crs=4326).to_crs(25832)
    radii = np.array([RADIUS_M[category] for category in pois["poi_category"].to_pylist()])
    pairs = set()
    for id_cs, place in zip(stations["id_cs"].to_pylist(), np.asarray(places), strict=True):
        near = np.flatnonzero(shapely.distance(shapes, place) <= radii)
        pairs |= {(id_cs, id_poi) for id_poi in pois["id_poi"].take(pa.array(near)).to_pylist()}
    return pairs


# -- inputs ----------------------------------------------------------------------------------------------------------


def _make_inputs(folder: Path) -> None:
    rng = np.random.default_rng(1)
    towns = rng.uniform((6.5, 47.8), (14.5, 54.5), (TOWNS, 2))
    people = rng.pareto(1.1, TOWNS) + 0.2
    stations, places = (_scatter(rng, towns, people, count) for count in (STATIONS, POIS))
    is_polygon = rng.random(POIS) < POLYGONS
    shapes = np.empty(POIS, object)
    shapes[~is_polygon] = shapely.points(places[~is_polygon])
    shapes[is_polygon] = shapely.polygons(_rings(rng, places[is_polygon]))
    tables = {
        "stations": {"id_cs": np.arange(STATIONS), "longitude": stations[:, 0], "latitude": stations[:, 1]},
        "pois": {
            "id_poi": pa.array(
                [f"{'way' if way else 'node'}/{place}" for place, way in enumerate(is_polygon.tolist())]
            ),
            "geom": pa.array(shapely.to_wkb(shapes), pa.binary()),
            "poi_category": pa.array(rng.choice(list(RADIUS_M), POIS).tolist()),
        },
    }
    for name, columns in tables.items():
        pa.feather.write_feather(pa.table(columns), folder / f"{name}.arrow", compression="uncompressed")


def _scatter(rng: np.random.Generator, towns: Floats, people: Floats, count: int) -> Floats:
    """Places around the centres of towns: more in larger ones, which are also wider."""
    town = rng.choice(len(towns), count, p=people / people.sum())
    width = 0.008 * np.sqrt(people[town] / people.mean()).clip(0.3, 5)
    places: Floats = towns[town] + rng.normal(size=(count, 2)) * width[:, None] * (1.5, 1)
    return places


def _rings(rng: np.random.Generator, places: Floats) -> Floats:
    """Hexagons of 8 to 60 m around places."""
    angle = np.linspace(0, 2 * np.pi, 7)[:-1]
    corner = np.column_stack([np.cos(angle) / 70_000, np.sin(angle) / 111_000])
    rings: Floats = places[:, None] + rng.uniform(8, 60, len(places))[:, None, None] * corner
    return rings


def _inputs(folder: Path) -> tuple[pa.Table, pa.Table]:
    return _read(folder / "stations.arrow"), _read(folder / "pois.arrow")


def _read(file: Path) -> pa.Table:
    return pa.feather.read_table(file, memory_map=False)


if __name__ == "__main__":
    main()
