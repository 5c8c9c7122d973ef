import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from charging_assets.derive.poi_matching import MAPPING, match, station_features

_NEUSS = Path(__file__).resolve().parents[3] / "shared/data/osm/neuss_overpass.json"

TEST_FILTER = {
    "amenity": ["fuel", "fast_food", "restaurant", "cafe", "parking", "charging_station", "bank", "pharmacy", "cinema"],
    "shop": ["supermarket", "mall", "doityourself", "convenience", "bakery"],
    "tourism": ["hotel"],
    "highway": ["services", "rest_area"],
}

EAST, NORTH = 6.69, 51.2
METRE_EAST, METRE_NORTH = 1 / 69_870, 1 / 111_250
"""Degrees in Neuss."""

Shape = BaseGeometry | bytes | None


def at(east: float = 0, north: float = 0) -> tuple[float, float]:
    """Longitude and latitude, so many metres from the middle of Neuss."""
    return EAST + east * METRE_EAST, NORTH + north * METRE_NORTH


def square(east: float, north: float, size: float) -> Polygon:
    corners = [(0, 0), (size, 0), (size, size), (0, size)]
    return Polygon([at(east + x, north + y) for x, y in corners])


def stations(*places: tuple[float | None, float | None]) -> pa.Table:
    """Stations 1, 2, … at longitudes and latitudes."""
    longitude, latitude = zip(*places, strict=True) if places else ((), ())
    return pa.table(
        {
            "id_cs": pa.array(range(1, len(places) + 1), pa.int64()),
            "longitude": pa.array(longitude, pa.float64()),
            "latitude": pa.array(latitude, pa.float64()),
        }
    )


def pois(shapes: dict[str, Shape], categories: Sequence[str | None] | str | None = "food") -> pa.Table:
    """POIs by their ids, all of one category or each of its own."""
    wkb = [shape.wkb if isinstance(shape, BaseGeometry) else shape for shape in shapes.values()]
    texts = [categories] * len(shapes) if categories is None or isinstance(categories, str) else categories
    return pa.table(
        {
            "id_poi": pa.array(shapes, pa.string()),
            "geom": pa.array(wkb, pa.binary()),
            "poi_category": pa.array(texts, pa.string()),
        }
    )


def pairs(mapping: pa.Table) -> set[tuple[int, str]]:
    return set(zip(mapping["id_cs"].to_pylist(), mapping["id_poi"].to_pylist(), strict=True))


def distances(station_rows: pa.Table, poi_rows: pa.Table) -> Any:
    """Every station to every POI in metres, by GeoPandas: (stations, POIs)."""
    places = gpd.GeoSeries.from_xy(station_rows["longitude"], station_rows["latitude"], crs=4326).to_crs(25832)
    shapes = gpd.GeoSeries.from_wkb(poi_rows["geom"].to_pylist(), crs=4326).to_crs(25832)
    return shapely.distance(places.to_numpy()[:, None], shapes.to_numpy()[None, :])


# -- the mapping -----------------------------------------------------------------------------------------------------


def test_distance_is_to_the_edge_of_a_shape_and_zero_inside() -> None:
    found = match(
        stations(at()),
        pois(
            {
                "way/1": square(-50, -50, 100),  # around the station
                "way/2": square(20, -50, 100),
                "way/3": LineString([at(-30, -100), at(-30, 100)]),
                "node/4": Point(at(0, 25)),
            }
        ),
        {"food": 40},
    ).mapping
    assert found.schema == MAPPING
    told = dict(zip(found["id_poi"].to_pylist(), found["distance_m"].to_pylist(), strict=True))
    assert told["way/1"] == 0
    assert told == pytest.approx({"way/1": 0, "way/2": 20, "way/3": 30, "node/4": 25}, abs=0.05)


def test_a_hole_is_outside() -> None:
    ring = Polygon(square(-100, -100, 200).exterior, [square(-30, -30, 60).exterior])
    assert match(stations(at()), pois({"relation/1": ring}), {"food": 29}).mapping.num_rows == 0
    (distance,) = match(stations(at()), pois({"relation/1": ring}), {"food": 31}).mapping["distance_m"].to_pylist()
    assert distance == pytest.approx(30, abs=0.05)


def test_each_category_has_its_radius_which_is_included() -> None:
    places, things = stations(at()), pois({"node/1": Point(at(35)), "node/2": Point(at(-35))}, ["food", "fuel"])
    found = match(places, things, {"food": 40, "fuel": 30}).mapping
    assert pairs(found) == {(1, "node/1")}
    assert found["radius_m"].to_pylist() == [40]
    exact = float(distances(places, things)[0, 0])
    assert pairs(match(places, things, {"food": exact, "fuel": 1}).mapping) == {(1, "node/1")}
    assert pairs(match(places, things, {"food": np.nextafter(exact, 0), "fuel": 1}).mapping) == set()


def test_ranks_begin_anew_in_each_category_and_ties_go_by_id() -> None:
    things = {
        "node/9": Point(at(20)),
        "node/10": Point(at(20)),
        "node/3": Point(at(5)),
        "way/1": square(-50, -50, 100),
        "node/4": Point(at(1)),
    }
    found = match(
        stations(at(), at(1)), pois(things, ["food", "food", "food", "food", "fuel"]), {"food": 40, "fuel": 30}
    )
    ranks = {
        (row["id_cs"], row["poi_category"], row["id_poi"]): row["rank_in_category"] for row in found.mapping.to_pylist()
    }
    assert ranks[1, "food", "way/1"] == 1
    assert ranks[1, "food", "node/3"] == 2
    assert ranks[1, "food", "node/10"] == 3
    assert ranks[1, "food", "node/9"] == 4
    assert ranks[1, "fuel", "node/4"] == 1
    assert ranks[2, "fuel", "node/4"] == 1


def test_rows_are_sorted_by_station_and_id() -> None:
    things = {"way/2": Point(at(1)), "node/2": Point(at(3)), "node/10": Point(at(2))}
    places = stations(at(), at(2)).take(pa.array([1, 0]))
    found = match(places, pois(things), {"food": 30}).mapping
    keys = list(zip(found["id_cs"].to_pylist(), found["id_poi"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert len(keys) == 6


def test_columns_may_be_more_in_another_order_and_dictionaries() -> None:
    things = pois({"node/1": Point(at(5)), "node/2": Point(at(6))}, ["food", "fuel"])
    things = pa.table(
        {
            "city": ["neuss", "neuss"],
            "poi_category": things["poi_category"].dictionary_encode(),
            "geom": things["geom"].cast(pa.large_binary()),
            "id_poi": things["id_poi"],
        }
    )
    things = pa.concat_tables([things.slice(0, 1), things.slice(1)])
    places = stations(at()).append_column("name", pa.array(["Rathaus"]))
    assert pairs(match(places, things, {"fuel": 30, "food": 40}).mapping) == {(1, "node/1"), (1, "node/2")}


@pytest.mark.parametrize("both", ["stations", "pois", "neither"])
def test_without_stations_or_pois_the_mapping_is_empty(both: str) -> None:
    places = stations() if both in ("stations", "neither") else stations(at())
    things = pois({} if both in ("pois", "neither") else {"node/1": Point(at())})
    found = match(places, things, {"food": 40})
    assert found.mapping.schema == MAPPING
    assert found.mapping.num_rows == found.unplaced.num_rows == found.left_out.num_rows == 0


# -- every pair, and no other ----------------------------------------------------------------------------------------

_PLACE = st.tuples(st.floats(-300, 300), st.floats(-300, 300))
_POINT = _PLACE.map(lambda place: Point(at(*place)))
_SQUARE = st.tuples(_PLACE, st.floats(1, 400)).map(lambda given: square(*given[0], given[1]))
_LINE = st.lists(_PLACE, min_size=2, max_size=4, unique=True).map(lambda places: LineString([at(*p) for p in places]))
_MULTI = st.lists(_PLACE, min_size=2, max_size=3, unique=True).map(
    lambda places: MultiPolygon([square(*place, 0.5) for place in places])
)


@settings(max_examples=60)
@given(
    st.lists(_PLACE, min_size=1, max_size=20),
    st.lists(st.one_of(_POINT, _SQUARE, _LINE, _MULTI), min_size=1, max_size=20),
    st.floats(0.5, 400),
)
def test_pairs_are_those_of_brute_force(places: list[tuple[float, float]], shapes: list[Any], radius: float) -> None:
    station_rows = stations(*(at(*place) for place in places))
    poi_rows = pois({f"node/{number}": shape for number, shape in enumerate(shapes)})
    distance = distances(station_rows, poi_rows)
    expected = {(int(row) + 1, f"node/{column}") for row, column in np.argwhere(distance <= radius)}
    found = match(station_rows, poi_rows, {"food": radius})
    if not found.repaired.num_rows:
        assert pairs(found.mapping) == expected


def test_nothing_is_missed_anywhere_in_germany() -> None:
    rng = np.random.default_rng(1)
    places = rng.uniform((5.6, 47.1), (15.5, 55.1), (400, 2))
    angle = rng.uniform(0, 2 * np.pi, 400)
    offset = np.column_stack([np.cos(angle), np.sin(angle)]) * rng.uniform(0, 600, 400)[:, None] / 111_000
    offset[:, 0] /= np.cos(np.radians(places[:, 1]))
    # The points, and the far ends of bars of up to 5 km that point at the station.
    ends = places + offset + offset / np.linalg.norm(offset, axis=1)[:, None] * rng.uniform(0, 0.05, 400)[:, None]
    shapes: dict[str, Shape] = {f"node/{row}": Point(place) for row, place in enumerate(places + offset)}
    shapes |= {f"way/{row}": LineString(ends_) for row, ends_ in enumerate(np.stack([places + offset, ends], axis=1))}
    station_rows, poi_rows = stations(*map(tuple, places.tolist())), pois(shapes)
    distance = distances(station_rows, poi_rows)
    for radius in (3, 40, 250, 590):
        expected = np.argwhere(distance <= radius)
        assert len(expected) == match(station_rows, poi_rows, {"food": radius}).mapping.num_rows
    assert len(expected) > 700


def test_more_are_matched_than_are_compared_at_once() -> None:
    rng = np.random.default_rng(1)
    place = rng.uniform(-2_000, 2_000, (230_000, 2))
    points = shapely.points(EAST + place[:, 0] * METRE_EAST, NORTH + place[:, 1] * METRE_NORTH)
    things = pa.table(
        {
            "id_poi": np.char.add("node/", np.arange(len(points)).astype(str)).tolist(),
            "geom": pa.array(shapely.to_wkb(points), pa.binary()),
            "poi_category": ["food"] * len(points),
        }
    )
    some = rng.uniform(-2_000, 2_000, (2_100, 2))
    places = stations(*(at(*place) for place in some.tolist()))
    found = match(places, things, {"food": 5}).mapping
    rows = [*range(60), *range(2_040, 2_100)]  # of the first and the last slice
    distance = distances(places.take(pa.array(rows)), things)
    expected = {(rows[row] + 1, f"node/{column}") for row, column in np.argwhere(distance <= 5)}
    assert {pair for pair in pairs(found) if pair[0] - 1 in set(rows)} == expected
    assert len({int(poi.removeprefix("node/")) > 200_000 for _, poi in expected}) == 2


# -- what cannot be used ---------------------------------------------------------------------------------------------


def test_stations_without_a_place_are_named_with_the_reason() -> None:
    (east, north) = at()
    places = [
        (east, north),
        (None, north),
        (east, None),
        (0.0, 0.0),
        (north, east),
        (2.35, 48.86),
        (float("nan"), north),
    ]
    found = match(stations(*places), pois({"node/1": Point(at(5))}), {"food": 40})
    assert pairs(found.mapping) == {(1, "node/1")}
    assert found.unplaced.column_names == ["id_cs", "longitude", "latitude", "reason"]
    reasons = dict(zip(found.unplaced["id_cs"].to_pylist(), found.unplaced["reason"].to_pylist(), strict=True))
    assert reasons == {
        2: "it has no coordinates",
        3: "it has no coordinates",
        4: "its coordinates are 0, 0",
        5: "its longitude and latitude are swapped",
        6: "it is outside of Germany (5.5 to 15.6 degrees east, 47 to 55.2 north)",
        7: "it has no coordinates",
    }
    assert found.unplaced["longitude"].to_pylist()[0] is None


def test_shapes_that_cannot_be_used_are_left_out_with_the_reason() -> None:
    broken = bytearray(square(0, 0, 10).wkb)
    shapes: dict[str, Shape] = {
        "node/1": Point(at(5)),
        "node/2": None,
        "node/3": Point(),
        "way/4": Polygon(),
        "way/5": b"no shape",
        "way/6": bytes(broken[:-16]),  # a ring that is not closed, and shorter than it says
        "way/7": LineString([at(), (float("inf"), NORTH)]),
        "relation/8": MultiPolygon([square(0, 0, 5), Polygon([at(), at(1), (EAST, float("inf"))])]),
        "way/9": b"",
    }
    found = match(stations(at()), pois(shapes), {"food": 40})
    assert pairs(found.mapping) == {(1, "node/1")}
    reasons = dict(zip(found.left_out["id_poi"].to_pylist(), found.left_out["reason"].to_pylist(), strict=True))
    assert reasons == {
        "node/2": "it has no shape",
        "node/3": "its shape is empty",
        "way/4": "its shape is empty",
        "way/5": "its shape cannot be read",
        "way/6": "its shape cannot be read",
        "way/7": "its coordinates are not all numbers",
        "relation/8": "its coordinates are not all numbers",
        "way/9": "its shape cannot be read",
    }


def test_a_self_crossing_polygon_is_repaired_and_told() -> None:
    bow_tie = Polygon([at(10, -10), at(30, 10), at(30, -10), at(10, 10)])
    found = match(stations(at(27, 0), at(20, 9)), pois({"way/1": bow_tie}), {"food": 5})
    (row,) = found.mapping.to_pylist()
    assert (row["id_cs"], row["distance_m"]) == (1, 0)
    assert found.repaired["id_poi"].to_pylist() == ["way/1"]
    assert found.repaired["reason"].to_pylist()[0].startswith("Self-intersection")


@pytest.mark.parametrize("order", [0, 1], ids=["big-endian", "little-endian"])
@pytest.mark.parametrize("srid", [False, True], ids=["WKB", "EWKB"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_every_kind_of_wkb_is_read(order: int, srid: bool, dimension: int) -> None:
    shapes: dict[str, BaseGeometry] = {
        "node/1": Point(*at(20), 7),
        "way/2": shapely.force_3d(square(10, -10, 20)),
        "way/3": LineString([(*at(0, 10), 7), (*at(30, 10), 7)]),
        "relation/4": MultiPolygon([shapely.force_3d(square(-30, 0, 5)), shapely.force_3d(square(-50, 0, 5))]),
    }
    wkb = {
        name: shapely.to_wkb(
            shapely.set_srid(shape, 4326), byte_order=order, include_srid=srid, output_dimension=dimension
        )
        for name, shape in shapes.items()
    }
    found = match(stations(at()), pois(wkb), {"food": 40}).mapping
    assert found["distance_m"].to_pylist() == pytest.approx([20, 25, 10, 10], abs=0.05)


def test_a_poi_without_a_category_as_a_charging_station_matches_nothing() -> None:
    things = pois({"node/1": Point(at()), "node/2": Point(at(5))}, [None, "food"])
    found = match(stations(at()), things, {"food": 40})
    assert pairs(found.mapping) == {(1, "node/2")}
    assert found.left_out.to_pylist() == [{"id_poi": "node/1", "reason": "it has no category"}]
    features = station_features(stations(at()), things, ["food"])
    assert features["count_50m"].to_pylist() == [1]


def test_a_category_without_a_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="expected POIs of the categories fuel, got food: derive the POIs again"):
        match(stations(at()), pois({"node/1": Point(at())}), {"fuel": 40})


# -- features --------------------------------------------------------------------------------------------------------


def test_features_count_within_each_distance_and_know_the_nearest() -> None:
    things = pois(
        {f"node/{metres}": Point(at(metres)) for metres in (10, 49, 51, 99, 240, 499, 501)}
        | {"way/1": square(-5, -5, 10), "way/2": square(-700, 0, 100)},
        ["food"] * 7 + ["fuel"] * 2,
    )
    found = station_features(stations(at()), things, ["fuel", "food"])
    assert found.select(range(6)).to_pylist() == [
        {"id_cs": 1, "poi_category": "food", "count_50m": 2, "count_100m": 4, "count_250m": 5, "count_500m": 6},
        {"id_cs": 1, "poi_category": "fuel", "count_50m": 1, "count_100m": 1, "count_250m": 1, "count_500m": 1},
    ]
    assert found["nearest_m"].to_pylist() == [pytest.approx(10, abs=0.05), 0]
    assert found.schema.field("count_50m").type == pa.int32()


def test_every_placed_station_has_a_row_for_every_category() -> None:
    found = station_features(
        stations(at(), (None, None), at(50_000)), pois({"node/1": Point(at(5))}), ["lodging", "food"]
    )
    rows = [(row["id_cs"], row["poi_category"], row["count_500m"]) for row in found.to_pylist()]
    assert rows == [(1, "food", 1), (1, "lodging", 0), (3, "food", 0), (3, "lodging", 0)]
    assert found["nearest_m"].to_pylist()[1:] == [None, None, None]


def test_features_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(1)
    places = stations(*(at(*place) for place in rng.uniform(-1_500, 1_500, (50, 2)).tolist()))
    places = places.take(pa.array(rng.permutation(50)))
    shapes: dict[str, Shape] = {}
    for number, (east, north, size) in enumerate(rng.uniform((-1_500, -1_500, 5), (1_500, 1_500, 80), (400, 3))):
        shapes[f"node/{number}"] = square(east, north, size) if number % 3 else Point(at(east, north))
    categories = rng.choice(["a", "b", "c"], 400)
    things = pois(shapes, categories.tolist())
    distance = distances(places, things)
    found = {
        (row.pop("id_cs"), row.pop("poi_category")): row
        for row in station_features(places, things, "abc", (80, 300)).to_pylist()
    }
    assert list(found) == sorted(found)
    for row, id_cs in enumerate(places["id_cs"].to_pylist()):
        for category in "abc":
            near = distance[row, categories == category]
            expected = {"count_80m": (near <= 80).sum(), "count_300m": (near <= 300).sum()}
            expected["nearest_m"] = round(near.min(), 3) if near.min() <= 300 else None
            assert found[id_cs, category] == expected


def test_features_without_stations_or_pois() -> None:
    assert station_features(stations(), pois({"node/1": Point(at())}), ["food"]).num_rows == 0
    assert station_features(stations(at()), pois({}), ["food"])["count_500m"].to_pylist() == [0]


# -- Neuss -----------------------------------------------------------------------------------------------------------


def neuss() -> dict[str, tuple[BaseGeometry, dict[str, str]]]:
    """Shape and tags of what the test filter finds, by id; closed ways are areas."""
    if not _NEUSS.exists():
        pytest.skip(f"no extract of Neuss at {_NEUSS} (it is not part of the repository)")
    elements = json.loads(_NEUSS.read_bytes())["elements"]
    place = {element["id"]: (element["lon"], element["lat"]) for element in elements if element["type"] == "node"}
    found: dict[str, tuple[BaseGeometry, dict[str, str]]] = {}
    for element in elements:
        tags = element.get("tags", {})
        if not any(tags.get(key) in values for key, values in TEST_FILTER.items()):
            continue
        corners = [place[node] for node in element.get("nodes", [element["id"]])]
        if len(corners) == 1:
            shape: BaseGeometry = Point(corners[0])
        else:
            shape = Polygon(corners) if corners[0] == corners[-1] else LineString(corners)
        found[f"{element['type']}/{element['id']}"] = (shape, tags)
    return found


def test_in_neuss_19_charging_stations_have_as_many_pois_near_as_was_found_before() -> None:
    features = neuss()
    assert len(features) == 150
    charging = [shape for shape, tags in features.values() if tags.get("amenity") == "charging_station"]
    assert len(charging) == 19
    places = stations(*((shape.x, shape.y) for shape in charging))
    things = pois(
        {name: shape for name, (shape, _) in features.items()},
        [None if tags.get("amenity") == "charging_station" else "any" for _, tags in features.values()],
    )
    counts = {}
    for radius in (30, 40, 100, 250):
        found = match(places, things, {"any": radius})
        counts[radius] = (found.mapping.num_rows, len(set(found.mapping["id_cs"].to_pylist())))
        assert found.left_out.num_rows == 19
        assert found.repaired.num_rows == found.unplaced.num_rows == 0
    assert counts == {30: (14, 7), 40: (17, 7), 100: (38, 10), 250: (178, 15)}
