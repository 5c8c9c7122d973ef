"""What stands around the stations of a lake; distances themselves are tried in `test_poi_matching`."""

import shapely

from charging_assets.derive.pois import poi_tables
from charging_assets.derive.station_pois import StationPois, current_pois, station_pois
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.sources.osm.categories import Categories
from charging_assets_tests.osm_features import (
    REFRESHED,
    Feature,
    Place,
    bow_tie,
    east,
    feature,
    put_refresh,
    put_stations,
    square,
)

CATEGORIES = Categories.load("default")
RADII = {name: CATEGORIES.radius_m(name) for name in CATEGORIES.names}

HERE: Place = (9.1, 48.8)


def put_pois(lake: Lake, *features: Feature) -> None:
    put_refresh(lake, "bonn", *features)
    lake.write("poi", None, poi_tables(lake, CATEGORIES.category_of).poi)


def made(lake: Lake) -> StationPois:
    return station_pois(lake, RADII)


def pairs(lake: Lake) -> list[tuple[int, str]]:
    return [(row["id_cs"], row["id_poi"]) for row in made(lake).mapping_poi_cs.to_pylist()]


def test_what_is_near_is_mapped_and_what_is_farther_is_counted(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_pois(
        lake,
        feature("node/1", east(20), amenity="cafe"),
        feature("way/2", square(35), shop="supermarket"),
        feature("node/3", east(35), amenity="cafe"),
        feature("node/4", east(400), amenity="cafe"),
        feature("node/5", east(600), amenity="cafe"),
    )

    tables = made(lake)

    mapping = tables.mapping_poi_cs.to_pylist()
    assert [(row["id_poi"], row["radius_m"], row["rank_in_category"]) for row in mapping] == [
        ("node/1", 30, 1),
        ("way/2", 40, 1),
    ]
    assert tables.mapping_poi_cs.schema == arrow_schema("mapping_poi_cs")
    features = {row.pop("poi_category"): row for row in tables.station_poi_features.to_pylist()}
    assert features.keys() == RADII.keys()
    counts = {name: [row[f"count_{metres}m"] for metres in (50, 100, 250, 500)] for name, row in features.items()}
    assert counts["gastronomy"] == [2, 2, 2, 3]
    assert counts["food_retail"] == [1, 1, 1, 1]
    assert counts["fuel_car"] == [0, 0, 0, 0]
    assert features["fuel_car"]["nearest_m"] is None
    for name, rows in (
        ("mapping_poi_cs", tables.mapping_poi_cs),
        ("station_poi_features", tables.station_poi_features),
    ):
        lake.write(name, None, rows)


def test_points_of_a_category_that_is_no_more_are_passed_over_until_poi_is_made_again(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_pois(lake, feature("node/1", east(20), amenity="cafe"), feature("node/2", east(20), amenity="fuel"))

    tables = station_pois(lake, {"fuel_car": 30.0, "new": 30.0})

    assert tables.mapping_poi_cs["id_poi"].to_pylist() == ["node/2"]
    assert tables.station_poi_features["poi_category"].to_pylist() == ["fuel_car", "new"]


def test_stations_without_a_place_are_told_and_the_others_are_matched(lake: Lake) -> None:
    put_stations(lake, (None, None), (48.8, 9.1), (0.0, 0.0), HERE, (2.35, 48.85), (9.1, None))
    put_pois(lake, feature("node/1", east(5), amenity="cafe"))

    tables = made(lake)

    assert pairs(lake) == [(4, "node/1")]
    unplaced = tables.matches.unplaced
    assert dict(zip(unplaced["id_cs"].to_pylist(), unplaced["reason"].to_pylist(), strict=True)) == {
        1: "it has no coordinates",
        2: "its longitude and latitude are swapped",
        3: "its coordinates are 0, 0",
        5: "it is outside of Germany (5.5 to 15.6 degrees east, 47 to 55.2 north)",
        6: "it has no coordinates",
    }
    assert set(tables.station_poi_features["id_cs"].to_pylist()) == {4}


def test_what_has_vanished_is_near_nothing(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_refresh(lake, "bonn", feature("node/1", east(5), amenity="cafe"), at=REFRESHED.replace(month=1))
    put_pois(lake, feature("node/2", east(6), amenity="cafe"))

    assert pairs(lake) == [(1, "node/2")]
    assert current_pois(lake)["id_poi"].to_pylist() == ["node/2"]


def test_charging_stations_of_openstreetmap_are_never_matched(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_pois(lake, feature("node/1", east(0), amenity="charging_station"), feature("node/2", east(1), amenity="cafe"))

    assert pairs(lake) == [(1, "node/2")]


def test_broken_shapes_cost_no_other_pair(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_pois(
        lake,
        feature("way/1", bow_tie(10), shop="bakery"),
        feature("relation/2", None, shop="bakery"),
        feature("way/3", shapely.LineString([east(-5), east(5)]), shop="bakery"),
    )

    rows = {row["id_poi"]: row["distance_m"] for row in made(lake).mapping_poi_cs.to_pylist()}

    assert rows.keys() == {"way/1", "way/3"}
    assert rows["way/3"] < 0.1


def test_before_any_station_is_known_both_tables_are_empty(lake: Lake) -> None:
    put_pois(lake, feature("node/1", east(0), amenity="cafe"))

    tables = made(lake)

    assert (tables.mapping_poi_cs.num_rows, tables.station_poi_features.num_rows) == (0, 0)


def test_before_any_refresh_nothing_is_said_of_what_is_near(lake: Lake) -> None:
    put_stations(lake, HERE)

    tables = made(lake)

    assert tables.mapping_poi_cs == arrow_schema("mapping_poi_cs").empty_table()
    assert tables.station_poi_features == arrow_schema("station_poi_features").empty_table()


def test_another_radius_finds_more(lake: Lake) -> None:
    put_stations(lake, HERE)
    put_pois(lake, *(feature(f"node/{metres}", east(metres), amenity="cafe") for metres in (20, 90, 200)))

    wide = Categories.load("default", radius_m=100)
    found = station_pois(lake, {name: wide.radius_m(name) for name in wide.names}).mapping_poi_cs

    assert found["id_poi"].to_pylist() == ["node/20", "node/90"]
    assert found["radius_m"].to_pylist() == [100, 100]


def test_nothing_changes_when_nothing_has_changed(lake: Lake) -> None:
    put_stations(lake, HERE, (9.1001, 48.8))
    put_pois(lake, *(feature(f"node/{metres}", east(metres), amenity="cafe") for metres in (20, 25)))
    before = made(lake)
    lake.write("mapping_poi_cs", None, before.mapping_poi_cs)

    assert made(lake).mapping_poi_cs.equals(lake.read("mapping_poi_cs", None))
    assert made(lake).station_poi_features.equals(before.station_poi_features)
