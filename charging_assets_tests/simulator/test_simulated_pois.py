"""Simulated points of interest: what a refresh brings of them, and what is matched against where they were put."""

import datetime as dt
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import shapely

from charging_assets.derive.dimensions import dimensions
from charging_assets.derive.pois import PoiTables, poi_tables
from charging_assets.derive.station_pois import StationPois, station_pois
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Kind, Lake, WrongKind
from charging_assets.simulator import Simulation, TownPois, World, make_world, pois_of, write_history, write_pois
from charging_assets.simulator.pois import BROKEN
from charging_assets.sources.osm.categories import Categories, TagCounts
from charging_assets_tests.simulated import EPOCH, small_world

AT = EPOCH + dt.timedelta(days=3)
CATEGORIES = Categories.load("default")
RADIUS_M = {name: CATEGORIES.radius_m(name) for name in CATEGORIES.names}


@pytest.fixture(scope="module")
def germany() -> list[TownPois]:
    world = make_world(1, EPOCH)
    return [pois_of(world, feed) for feed in range(len(world.feeds))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Lake, PoiTables, StationPois]:
    """A world of four feeds with one poll and points of interest, and the tables that the platform makes of them."""
    folder = tmp_path_factory.mktemp("pois")
    lake = Lake(str(folder / "lake"), folder / "home")
    world = make_world(1, EPOCH, feeds=("ansbach", "bonn", "kiel", "koeln"), points=300, connectors=330)
    write_history(Simulation(world), lake, [AT.date()], interval_s=86_400)
    write_pois(world, lake, AT)
    for staged in flatten_day(lake, AT.date()).values():
        lake.publish(staged)
    lake.write("charging_station", None, dimensions(lake, active_days=2)["charging_station"])
    tables = poi_tables(lake, CATEGORIES.category_of)
    # Without those that were mended: the truth says nothing of what they enclose.
    is_told = pc.is_in(tables.poi["id_poi"], value_set=tables.rejected_pois["id_poi"])
    lake.write("poi", None, tables.poi.filter(pc.invert(is_told)))
    return world, lake, tables, station_pois(lake, RADIUS_M)


def distances(world: World, lake: Lake) -> dict[tuple[int, str], float]:
    """The truth: metres from each station to each sound feature of its town that is a point of interest."""
    stations = lake.read("charging_station", None, ["id_cs", "longitude", "latitude", "feed"]).to_pylist()
    towns = {town.feed: town for town in (pois_of(world, feed) for feed in range(len(world.feeds)))}
    return {
        (station["id_cs"], feature.id_poi): distance
        for station in stations
        for feature, distance in zip(
            towns[station["feed"]].features,
            towns[station["feed"]].distances_m(station["longitude"], station["latitude"]).tolist(),
            strict=True,
        )
        if CATEGORIES.category_of(feature.tags) and feature.shape not in BROKEN
    }


def test_what_is_matched_is_what_was_put_there(built: tuple[World, Lake, PoiTables, StationPois]) -> None:
    world, lake, tables, made = built
    category = dict(zip(*(tables.poi[name].to_pylist() for name in ("id_poi", "poi_category")), strict=True))
    truth = distances(world, lake)
    near = {pair for pair, metres in truth.items() if metres <= RADIUS_M[category[pair[1]]]}
    undecided = {pair for pair, metres in truth.items() if abs(metres - RADIUS_M[category[pair[1]]]) <= 0.1}
    found = {(row["id_cs"], row["id_poi"]): row["distance_m"] for row in made.mapping_poi_cs.to_pylist()}

    assert len(near) > 50
    assert len(undecided) < 5
    assert found.keys() - undecided == near - undecided
    assert all(abs(metres - truth[pair]) <= 0.02 + 0.002 * metres for pair, metres in found.items())
    assert min(found.values()) == 0  # a station stands in a car park


def test_what_is_counted_around_stations_is_what_was_put_there(
    built: tuple[World, Lake, PoiTables, StationPois],
) -> None:
    world, lake, tables, made = built
    category = dict(zip(*(tables.poi[name].to_pylist() for name in ("id_poi", "poi_category")), strict=True))
    truth = distances(world, lake)
    rows = {(row["id_cs"], row["poi_category"]): row for row in made.station_poi_features.to_pylist()}
    for metres in (50, 100, 250):
        # projected distances differ by up to 0.2 %
        surely, perhaps = (
            Counter((id_cs, category[id_poi]) for (id_cs, id_poi), to in truth.items() if to <= metres * factor)
            for factor in (0.998, 1.002)
        )
        assert sum(surely.values()) > 50
        wrong = {
            key: (surely[key], row[f"count_{metres}m"], perhaps[key])
            for key, row in rows.items()
            if not surely[key] <= row[f"count_{metres}m"] <= perhaps[key]
        }
        assert wrong == {}


def test_no_charging_station_and_no_broken_shape_becomes_a_match(
    built: tuple[World, Lake, PoiTables, StationPois],
) -> None:
    world, _, tables, made = built
    features = [feature for number in range(len(world.feeds)) for feature in pois_of(world, number).features]
    stations = {feature.id_poi for feature in features if feature.tags.get("amenity") == "charging_station"}
    broken = {feature.id_poi: feature.shape for feature in features if feature.shape in BROKEN}
    rejected = {row["id_poi"]: row for row in tables.rejected_pois.to_pylist()}

    assert stations
    assert set(broken.values()) == set(BROKEN)
    assert rejected.keys() == stations | broken.keys()
    assert {id_poi for id_poi, row in rejected.items() if row["is_used"]} == {
        id_poi for id_poi, shape in broken.items() if shape == "crossed"
    }
    assert stations.isdisjoint(made.mapping_poi_cs["id_poi"].to_pylist())


def test_germany_has_4_to_8_features_per_station_of_every_configured_tag(germany: list[TownPois]) -> None:
    features = [feature for town in germany for feature in town.features]
    stations = {version.station.id for version in make_world(1, EPOCH).versions if version.opens <= EPOCH.timestamp()}
    assert 4 * len(stations) < len(features) < min(8 * len(stations), 8_000)
    assert len({feature.id_poi for feature in features}) == len(features)
    counts = TagCounts(CATEGORIES)
    for feature in features:
        counts.add(feature.tags)
    assert counts.without_match == []
    shapes = Counter(feature.shape for feature in features)
    assert set(shapes) == {"point", "line", "area", "multi_area", *BROKEN}
    assert shapes["point"] > shapes["area"] > shapes["multi_area"] > shapes["line"] > shapes["crossed"] > 0
    unnamed = sum("name" not in feature.tags for feature in features)
    assert 0.05 < unnamed / len(features) < 0.3
    centres = {town.city.feed: (town.city.longitude, town.city.latitude) for town in make_world(1, EPOCH).towns}
    assert all(np.nanmax(town.distances_m(*centres[town.feed])) < 12_000 for town in germany)


def test_features_come_as_a_refresh_gives_them(germany: list[TownPois]) -> None:
    table = pa.concat_tables([town.table(EPOCH) for town in germany]).to_pandas()
    assert table.columns.tolist() == ["element", "osm_id", "geom", "tags", "osm_version", "osm_time"]
    shapes = shapely.from_wkb(table["geom"].to_numpy())
    kinds = Counter(zip(table["element"], (shape and shape.geom_type for shape in shapes), strict=True))
    assert set(kinds) == {
        ("node", "Point"),
        ("way", "LineString"),
        ("way", "Polygon"),
        ("relation", "MultiPolygon"),
        ("relation", None),
    }
    is_invalid = ~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)
    assert set(shapely.is_valid_reason(shapes[is_invalid]).astype("U17")) == {"Self-intersection"}
    assert all(text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True) for text in table["tags"])
    assert table["osm_time"].max() < EPOCH
    ids = [(row["element"], row["osm_id"]) for row in germany[0].table(EPOCH).to_pylist()]
    assert ids == sorted(ids)


def test_the_same_seed_gives_the_same_features_and_another_one_others() -> None:
    assert pois_of(small_world(1), 0) == pois_of(small_world(1), 0)
    assert pois_of(small_world(1), 0).features != pois_of(small_world(2), 0).features


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


def test_they_are_written_once_and_towns_that_are_missing_join_the_first_refresh(lake: Lake, tmp_path: Path) -> None:
    world = small_world()
    written = write_pois(world, lake, AT)
    assert written == sum(kept.features for kept in lake.pois.refreshes()) > 100
    made = files(tmp_path)

    assert write_pois(world, lake, AT + dt.timedelta(days=30)) == 0
    assert files(tmp_path) == made

    kept = lake.pois.refreshes()[1]
    (tmp_path / "lake" / kept.path).unlink()
    assert write_pois(world, lake, AT + dt.timedelta(days=30)) == kept.features
    assert files(tmp_path) == made


def test_a_lake_of_real_data_is_refused(lake: Lake) -> None:
    lake.raw.claim(Kind("real"))
    with pytest.raises(WrongKind):
        write_pois(small_world(), lake, AT)
    assert lake.pois.refreshes() == []
