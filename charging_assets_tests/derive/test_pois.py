"""Points of interest are what each city's last good refresh said, and nothing of an answer that may lack some."""

import datetime as dt
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.derive.pois import PoiTables, poi_tables
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.declare import MAX_WKB_BYTES
from charging_assets.sources.osm.categories import Categories
from charging_assets_tests.osm_features import REFRESHED, bow_tie, east, feature, put_refresh, square

MONTH = dt.timedelta(days=28)
CATEGORIES = Categories.load("default")


def made(lake: Lake) -> PoiTables:
    return poi_tables(lake, CATEGORIES.category_of)


def pois(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["id_poi"]: row for row in made(lake).poi.to_pylist()}


def rejected(lake: Lake) -> dict[str, tuple[str, bool]]:
    return {row["id_poi"]: (row["reason"], row["is_used"]) for row in made(lake).rejected_pois.to_pylist()}


def cafe(number: int, **tags: str) -> dict[str, Any]:
    return feature(f"node/{number}", east(number), amenity="cafe", **tags)


def test_a_feature_becomes_a_point_of_interest_with_all_that_is_known_of_it(lake: Lake) -> None:
    tags = {"amenity": "cafe", "name": "Süß", "brand": "Kette", "operator": "Müller", "opening_hours": "Mo-Fr 8-18"}
    put_refresh(lake, "bonn", feature("way/12", square(0), **tags, addr__city="Köln"))

    tables = made(lake)

    assert tables.poi.schema == arrow_schema("poi")
    [row] = tables.poi.to_pylist()
    geom = shapely.from_wkb(row.pop("geom"))
    assert geom.equals(square(0))
    assert geom.contains(shapely.Point(row.pop("longitude"), row.pop("latitude")))
    assert json.loads(row.pop("tags")) == {**tags, "addr:city": "Köln"}
    del tags["amenity"]
    assert row == {
        **tags,
        "id_poi": "way/12",
        "poi_category": "gastronomy",
        "osm_version": None,
        "osm_time": None,
        "city": "bonn",
        "source": "overpass",
        "first_seen": REFRESHED,
        "last_seen": REFRESHED,
        "is_current": True,
    }


def test_without_refreshes_there_are_tables_without_rows(lake: Lake) -> None:
    tables = made(lake)

    for name in ("poi", "rejected_pois", "poi_refresh_log"):
        assert getattr(tables, name) == arrow_schema(name).empty_table(), name


def test_an_extract_without_a_point_of_interest_gives_no_rows(lake: Lake) -> None:
    put_refresh(lake, "sea", source="pbf")

    tables = made(lake)

    assert (tables.poi.num_rows, tables.rejected_pois.num_rows) == (0, 0)
    assert tables.poi_refresh_log["outcome"].to_pylist() == ["empty"]


@pytest.mark.parametrize("outcome", ["failed", "partial"])
def test_a_city_that_was_not_refreshed_well_keeps_the_points_of_before_and_says_so(lake: Lake, outcome: str) -> None:
    put_refresh(lake, "bonn", cafe(1), cafe(2))
    put_refresh(lake, "kiel", cafe(3))
    given_up = [cafe(1, name="New")] if outcome == "partial" else []
    put_refresh(lake, "bonn", *given_up, at=REFRESHED + MONTH, outcome=outcome, reason="the server gave up")
    put_refresh(lake, "kiel", cafe(4), at=REFRESHED + MONTH)

    found = pois(lake)

    assert {id_: (row["is_current"], row["name"], row["last_seen"]) for id_, row in found.items()} == {
        "node/1": (True, None, REFRESHED),
        "node/2": (True, None, REFRESHED),
        "node/3": (False, None, REFRESHED),
        "node/4": (True, None, REFRESHED + MONTH),
    }
    log = made(lake).poi_refresh_log.to_pylist()
    assert [(row["city"], row["refreshed_at"], row["outcome"], row["features"], row["is_used"]) for row in log] == [
        ("bonn", REFRESHED, "ok", 2, True),
        ("kiel", REFRESHED, "ok", 1, False),
        ("bonn", REFRESHED + MONTH, outcome, len(given_up), False),
        ("kiel", REFRESHED + MONTH, "ok", 1, True),
    ]
    assert log[2]["reason"] == "the server gave up"


def test_a_good_answer_without_points_means_that_all_have_gone(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1))
    put_refresh(lake, "bonn", at=REFRESHED + MONTH)

    assert pois(lake)["node/1"]["is_current"] is False


def test_what_comes_back_is_the_one_that_was_known_before(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1))
    put_refresh(lake, "bonn", cafe(2), at=REFRESHED + MONTH)
    put_refresh(lake, "bonn", cafe(1, name="Again"), at=REFRESHED + 2 * MONTH)

    row = pois(lake)["node/1"]

    assert (row["first_seen"], row["last_seen"], row["is_current"]) == (REFRESHED, REFRESHED + 2 * MONTH, True)
    assert row["name"] == "Again"


def test_a_thing_of_two_cities_is_there_once_and_as_long_as_one_of_them_has_it(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1))
    put_refresh(lake, "koeln", cafe(1))
    put_refresh(lake, "koeln", cafe(2), at=REFRESHED + MONTH)

    found = pois(lake)

    assert list(found) == ["node/1", "node/2"]
    assert found["node/1"]["is_current"]


def test_a_node_and_a_way_of_one_number_are_two_things(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1), feature("way/1", square(0), shop="mall"))

    assert {id_: row["poi_category"] for id_, row in pois(lake).items()} == {
        "node/1": "gastronomy",
        "way/1": "shopping",
    }


def test_ids_are_in_the_order_of_texts_as_the_key_asks_for(lake: Lake) -> None:
    put_refresh(lake, "bonn", *(cafe(number) for number in (9, 10, 100)))

    lake.write("poi", None, made(lake).poi)

    assert lake.read("poi", None)["id_poi"].to_pylist() == ["node/10", "node/100", "node/9"]


def test_other_categories_sort_what_is_there_anew_without_asking_anybody(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1), feature("node/2", east(5), amenity="fuel"))

    original = poi_tables(lake, Categories.load("original").category_of)
    nothing = poi_tables(lake, lambda tags: None)

    assert len(pois(lake)) == 2
    assert original.poi["poi_category"].to_pylist() == ["fuel"]
    assert nothing.poi.num_rows == 0
    assert nothing.rejected_pois["reason"].to_pylist() == ["its tags fit no category"] * 2


# What is broken


def test_a_charging_station_is_no_point_of_interest(lake: Lake) -> None:
    put_refresh(lake, "bonn", feature("node/1", east(0), amenity="charging_station", shop="supermarket"))

    assert pois(lake) == {}
    assert rejected(lake) == {"node/1": ("its tags fit no category", False)}


def test_an_outline_that_crosses_itself_is_mended_and_told(lake: Lake) -> None:
    put_refresh(lake, "bonn", feature("way/1", bow_tie(0), shop="bakery"))

    geom = shapely.from_wkb(pois(lake)["way/1"]["geom"])

    assert geom.is_valid
    assert geom.geom_type == "MultiPolygon"
    [(reason, is_used)] = rejected(lake).values()
    assert reason.startswith("its shape was mended: Self-intersection[9.1")
    assert is_used


@pytest.mark.parametrize(
    "geom",
    [None, shapely.Point(), shapely.Polygon(), shapely.GeometryCollection(), shapely.Point(float("nan"), float("nan"))],
    ids=["null", "empty point", "empty area", "empty collection", "without numbers"],
)
def test_what_has_no_shape_is_rejected_and_the_rest_is_there(lake: Lake, geom: shapely.Geometry | None) -> None:
    put_refresh(lake, "bonn", feature("relation/1", geom, shop="mall"), cafe(1))

    assert list(pois(lake)) == ["node/1"]
    assert rejected(lake) == {
        "relation/1": ("expected a shape, got none: nodes or members are missing from the source", False)
    }


@pytest.mark.parametrize("wkb", [b"", b"\1\1\0\0", b"no shape at all", b"\1\3\0\0\0\xff\xff\xff\x7f"])
def test_bytes_that_are_no_shape_are_rejected_and_the_rest_is_there(lake: Lake, wkb: bytes) -> None:
    put_refresh(lake, "bonn", {**feature("way/1", None, shop="mall"), "geom": wkb}, cafe(1))

    assert list(pois(lake)) == ["node/1"]
    [(reason, is_used)] = rejected(lake).values()
    assert reason.startswith("expected a shape, got none")
    assert not is_used


@pytest.mark.parametrize(
    "corners",
    [[(9, 48), (9, 48), (9, 48), (9, 48)], [(9, 48), (9.001, 48), (9, 48), (9, 48)]],
    ids=["a point as an area", "a line as an area"],
)
def test_an_area_without_extent_is_mended(lake: Lake, corners: list[tuple[float, float]]) -> None:
    put_refresh(lake, "bonn", feature("way/1", shapely.Polygon(corners), shop="mall"))

    row = pois(lake)["way/1"]

    assert (row["longitude"], row["latitude"]) == (pytest.approx(9, abs=0.001), 48)
    shape = shapely.from_wkb(row["geom"])
    assert shape.is_valid
    assert not shape.is_empty
    assert rejected(lake)["way/1"][1]


def coast(corners: int, metres: float) -> shapely.Polygon:
    """A circle of a kilometre with notches of so many metres."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 1_000 + np.where(np.arange(corners) % 2, metres, 0.0)
    return shapely.Polygon(
        np.column_stack([9 + radius * np.cos(angles) / 73_000, 48 + radius * np.sin(angles) / 111_000])
    )


def test_a_shape_too_large_for_a_warehouse_is_simplified_as_little_as_need_be_and_told(lake: Lake) -> None:
    fine, rough = coast(9_000, 0.0), coast(2_400, 3.0)
    holed = fine.difference(shapely.union_all([shapely.Point(9 + 0.0005 * n, 48).buffer(0.0002) for n in range(-5, 6)]))
    large = {"way/1": fine, "way/2": rough, "relation/3": holed}
    put_refresh(lake, "bonn", *(feature(name, shape, shop="mall") for name, shape in large.items()), cafe(4))

    found = {name: shapely.from_wkb(row["geom"]) for name, row in pois(lake).items()}

    for name, shape in large.items():
        assert found[name].is_valid
        assert len(shapely.to_wkb(found[name])) <= MAX_WKB_BYTES
        assert shapely.hausdorff_distance(found[name], shape) * 111_000 < 13
        assert found[name].area == pytest.approx(shape.area, rel=0.01)
    assert {name: reason for name, (reason, is_used) in rejected(lake).items() if is_used} == {
        "way/1": "its shape of 9,001 corners was simplified by up to 0.11 m",
        "way/2": "its shape of 2,401 corners was simplified by up to 3.6 m",
        "relation/3": ANY,
    }


def chequered() -> shapely.Geometry:
    """900 areas that do not touch: however roughly they are drawn, each keeps its corners."""
    return shapely.union_all(
        [shapely.box(9 + x, 48 + y, 9.0005 + x, 48.0005 + y) for x, y in itertools.product(_GRID, _GRID)]
    )


_GRID = [number / 1_000 for number in range(30)]


def test_what_counts_is_the_size_of_a_shape_and_not_the_number_of_its_corners(lake: Lake) -> None:
    """Each ring and each part takes room, too."""
    ringed = coast(2_042, 0.0).difference(shapely.box(8.9999, 47.9999, 9.0001, 48.0001))
    assert (shapely.get_num_coordinates(ringed), len(shapely.to_wkb(ringed))) == (2_048, 32_785)
    parts = shapely.union_all(
        [shapely.box(9 + x, 48 + y, 9.0005 + x, 48.0005 + y) for x in _GRID[:20] for y in _GRID[:20]]
    )
    assert shapely.get_num_coordinates(parts) == 2_000
    put_refresh(lake, "bonn", feature("way/1", ringed, shop="mall"), feature("relation/2", parts, shop="mall"))

    assert len(pois(lake)["way/1"]["geom"]) <= MAX_WKB_BYTES
    told = {name: reason for name, (reason, _) in rejected(lake).items()}
    assert told["way/1"].startswith("its shape of 2,048 corners was simplified")
    assert told["relation/2"].startswith("its shape of 2,000 corners is too large")


def test_an_area_of_too_many_holes_loses_them(lake: Lake) -> None:
    whole = shapely.box(8.9, 47.9, 9.1, 48.1)
    put_refresh(lake, "bonn", feature("relation/1", whole.difference(chequered()), shop="mall"))

    assert shapely.from_wkb(pois(lake)["relation/1"]["geom"]).equals(whole)
    assert rejected(lake)["relation/1"][0].endswith("and lost its holes")


def test_a_shape_that_cannot_be_made_small_stays_as_it_is(lake: Lake) -> None:
    put_refresh(lake, "bonn", feature("relation/1", chequered(), shop="mall"))

    assert shapely.from_wkb(pois(lake)["relation/1"]["geom"]).equals(chequered())
    told = "its shape of 4,500 corners is too large for Redshift, which takes 32,767 bytes"
    assert rejected(lake)["relation/1"] == (told, True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["node", "line", "area"])
def test_coordinates_that_are_no_numbers_are_rejected_and_the_rest_is_there(
    lake: Lake, wrong: float, kind: str
) -> None:
    corners = [(9, 48), (9.001, wrong), (9.001, 48.001), (9, 48)]
    with np.errstate(invalid="ignore"):
        geom = {
            "node": shapely.Point(corners[1]),
            "line": shapely.LineString(corners[:3]),
            "area": shapely.Polygon(corners),
        }[kind]
        put_refresh(lake, "bonn", feature("way/1", geom, shop="mall"), cafe(1))

    assert list(pois(lake)) == ["node/1"]
    assert rejected(lake) == {"way/1": ("its coordinates are not all numbers", False)}


def test_an_open_way_as_a_shop_is_a_line_and_a_point_on_it(lake: Lake) -> None:
    line = shapely.LineString([(9.1, 48.8), (9.1, 48.801), (9.101, 48.801)])
    put_refresh(lake, "bonn", feature("way/1", line, shop="supermarket"))

    row = pois(lake)["way/1"]

    assert shapely.from_wkb(row["geom"]).equals(line)
    assert line.distance(shapely.Point(row["longitude"], row["latitude"])) < 1e-9
    assert rejected(lake) == {}


def test_the_point_of_a_bent_area_is_in_it(lake: Lake) -> None:
    bent = shapely.box(9, 48, 9.01, 48.01) - shapely.box(9.001, 48.001, 9.01, 48.009)
    put_refresh(lake, "bonn", feature("way/1", bent, shop="mall"))

    row = pois(lake)["way/1"]

    assert bent.contains(shapely.Point(row["longitude"], row["latitude"]))
    assert not bent.contains(bent.centroid)


def test_a_thing_without_a_name_is_there_without_one(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1))

    row = pois(lake)["node/1"]

    assert [row[name] for name in ("name", "brand", "operator", "opening_hours")] == [None] * 4


def test_what_was_broken_and_has_vanished_is_told_no_more(lake: Lake) -> None:
    put_refresh(lake, "bonn", feature("relation/1", None, shop="mall"), cafe(1))
    put_refresh(lake, "bonn", cafe(1), at=REFRESHED + MONTH)

    assert rejected(lake) == {}


# Against a plain account of the same


_IDS = st.frozensets(st.integers(1, 4), max_size=4)
_REFRESHES = st.lists(
    st.dictionaries(
        st.sampled_from(["bonn", "kiel"]), st.tuples(st.sampled_from(["ok", "partial", "failed"]), _IDS), min_size=1
    ),
    max_size=5,
)


def _account(refreshes: list[Mapping[str, tuple[str, frozenset[int]]]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What is known of each id after these refreshes."""
    seen: dict[int, list[dt.datetime]] = {}
    now: dict[str, frozenset[int]] = {}
    for month, cities in enumerate(refreshes):
        for city, (outcome, ids) in cities.items():
            if outcome != "ok":
                continue
            now[city] = ids
            for id_ in ids:
                seen.setdefault(id_, []).append(REFRESHED + month * MONTH)
    for id_, times in seen.items():
        yield f"node/{id_}", (times[0], times[-1], any(id_ in ids for ids in now.values()))


@given(refreshes=_REFRESHES)
def test_since_when_and_whether_a_point_is_known_is_as_counted_by_hand(
    refreshes: list[Mapping[str, tuple[str, frozenset[int]]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(str(Path(folder, "lake")), Path(folder, "home"))
        for month, cities in enumerate(refreshes):
            for city, (outcome, ids) in cities.items():
                good_or_cut_short = ids if outcome != "failed" else frozenset()
                put_refresh(
                    lake,
                    city,
                    *map(cafe, good_or_cut_short),
                    at=REFRESHED + month * MONTH,
                    outcome="empty" if outcome == "ok" and not ids else outcome,
                )

        found = {id_: (row["first_seen"], row["last_seen"], row["is_current"]) for id_, row in pois(lake).items()}

    assert found == dict(_account(refreshes))


# The file


def test_the_file_is_geoparquet_that_others_read(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1, name="Süß"), feature("way/2", square(20), shop="supermarket"))
    lake.write("poi", None, made(lake).poi)

    frame = gpd.read_parquet(lake.location("poi", None))

    assert frame.crs.equals("EPSG:4326", ignore_axis_order=True)  # OGC:CRS84, the format's default
    assert frame.geometry.name == "geom"
    assert frame.geometry.geom_type.tolist() == ["Point", "Polygon"]
    assert frame["name"].tolist() == ["Süß", None]
    metres = frame.to_crs(25832).distance(gpd.GeoSeries([shapely.Point(9.1, 48.8)], crs=4326).to_crs(25832).iloc[0])
    assert metres.tolist() == pytest.approx([1, 20], abs=0.1)
    said = json.loads(pq.read_metadata(lake.location("poi", None)).metadata[b"geo"])
    assert (said["version"], said["primary_column"]) == ("1.1.0", "geom")
    assert said["columns"]["geom"]["encoding"] == "WKB"


def test_the_tables_are_written_and_read_back_as_they_are(lake: Lake) -> None:
    put_refresh(lake, "bonn", cafe(1), feature("way/2", bow_tie(20), shop="supermarket"))
    tables = made(lake)

    for name in ("poi", "rejected_pois", "poi_refresh_log"):
        rows: pa.Table = getattr(tables, name)
        lake.write(name, None, rows)
        assert lake.read(name, None).to_pylist() == rows.to_pylist()
