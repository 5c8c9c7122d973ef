import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import osmium
import pyarrow as pa
import pytest
import shapely
from osmium.osm.mutable import Node, OSMObject, Relation, Way

from charging_assets import progress
from charging_assets.sources.osm import pbf, slices
from charging_assets.sources.osm.categories import Categories
from charging_assets.sources.osm.errors import OsmError
from charging_assets.sources.osm.features import FEATURES
from charging_assets.sources.osm.overpass import OverpassSource
from charging_assets.sources.osm.pbf import ShapeNotes, read_pbf
from charging_assets_tests.standins.overpass import OverpassStandin, place

TEST_FILTER: dict[str, list[str] | bool] = {
    "amenity": [
        *("fuel", "fast_food", "restaurant", "cafe", "parking", "charging_station", "bank", "pharmacy", "cinema"),
    ],
    "shop": ["supermarket", "mall", "doityourself", "convenience", "bakery"],
    "tourism": ["hotel"],
    "highway": ["services", "rest_area"],
}
SHOPS: dict[str, list[str] | bool] = {"shop": True}
TIME = dt.datetime(2024, 10, 23, 11, 16, 9, tzinfo=dt.UTC)
Point = tuple[float, float]


def node(number: int, at: Point = (6.68, 51.2), **tags: str) -> Node:
    return Node(id=number, location=at, tags=tags)


def way(number: int, points: Sequence[Point], **tags: str) -> list[OSMObject]:
    """A way and its nodes; closed if its last point is its first."""
    numbers = {point: number * 100 + at for at, point in reversed(list(enumerate(points)))}
    nodes = [node(name, point) for point, name in numbers.items()]
    return [*nodes, Way(id=number, nodes=[numbers[point] for point in points], tags=tags)]


def relation(number: int, *members: tuple[int, str], **tags: str) -> Relation:
    return Relation(
        id=number, members=[("w", ref, role) for ref, role in members], tags={"type": "multipolygon"} | tags
    )


def square(west: float, south: float, size: float) -> list[Point]:
    east, north = west + size, south + size
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def extract(
    folder: Path, *things: OSMObject | Sequence[OSMObject], is_sorted: bool = True, name: str = "x.osm.pbf"
) -> Path:
    flat = [one for thing in things for one in (thing if isinstance(thing, Sequence) else (thing,))]
    if is_sorted:
        flat.sort(key=lambda thing: ((Node, Way, Relation).index(type(thing)), thing.id > 0, abs(thing.id)))
    path = folder / name
    with osmium.SimpleWriter(path, overwrite=True) as writer:
        for thing in flat:
            writer.add(thing)
    return path


def read(path: Path, tag_filter: Mapping[str, list[str] | bool] = SHOPS, notes: ShapeNotes | None = None) -> pa.Table:
    tables = list(read_pbf(path, tag_filter, notes))
    assert all(table.schema == FEATURES and table.num_rows for table in tables)
    return pa.concat_tables(tables).sort_by([("element", "ascending"), ("osm_id", "ascending")])


def ids(features: pa.Table) -> list[str]:
    return [f"{row['element']}/{row['osm_id']}" for row in features.select(["element", "osm_id"]).to_pylist()]


def shapes(features: pa.Table) -> dict[str, Any]:
    return dict(zip(ids(features), shapely.from_wkb(features["geom"].to_numpy(zero_copy_only=False)), strict=True))


def overpass_elements(path: Path) -> list[dict[str, Any]]:
    """Everything in an extract as Overpass answers it."""
    elements: list[dict[str, Any]] = []
    for thing in osmium.FileProcessor(path):
        if isinstance(thing, osmium.osm.Node):
            own: dict[str, Any] = {"type": "node", "lon": thing.location.lon, "lat": thing.location.lat}
        elif isinstance(thing, osmium.osm.Way):
            own = {"type": "way", "nodes": [ref.ref for ref in thing.nodes]}
        else:
            kinds = {"n": "node", "w": "way", "r": "relation"}
            members = [{"type": kinds[each.type], "ref": each.ref, "role": each.role} for each in thing.members]
            own = {"type": "relation", "members": members}
        elements.append(own | {"id": thing.id, "tags": dict(thing.tags)})
    return elements


def through_osmnx(
    elements: Iterable[dict[str, Any]], tag_filter: Mapping[str, list[str] | bool], folder: Path
) -> pa.Table:
    everywhere = place("Neuss", shapely.box(6.5, 51.0, 6.9, 51.4))
    with OverpassStandin(elements, {"Neuss, Deutschland": [everywhere]}) as osm:
        source = OverpassSource(
            osm.overpass_url, osm.nominatim_url, None, folder, tag_filter, 0.0, sleep=lambda _: None
        )
        answer = source.fetch("neuss")
    assert answer.outcome == "ok", answer.reason
    return answer.features


# Parity with osmnx


def test_neuss_gives_the_same_features_and_categories_as_osmnx(
    neuss_pbf_path: Path, neuss_overpass_path: Path, tmp_path: Path
) -> None:
    ours = read(neuss_pbf_path, TEST_FILTER)
    theirs = through_osmnx(json.loads(neuss_overpass_path.read_bytes())["elements"], TEST_FILTER, tmp_path)
    assert ours.num_rows == 150
    assert set(ids(ours)) ^ set(ids(theirs)) == set()
    assert ours.select(["element", "osm_id", "tags"]) == theirs.select(["element", "osm_id", "tags"])
    assert all(shapely.equals(shape, shapes(theirs)[name]) for name, shape in shapes(ours).items())
    for preset in ("default", "original"):
        category_of = Categories.load(preset).category_of
        kinds = [[category_of(json.loads(tags)) for tags in some["tags"].to_pylist()] for some in (ours, theirs)]
        assert kinds[0] == kinds[1]
        assert kinds[0].count(None) >= 19, "charging stations"


def test_all_categories_of_neuss_have_the_same_features_and_shapes_as_through_osmnx(
    neuss_pbf_path: Path, tmp_path: Path
) -> None:
    tag_filter = Categories.load("default").tag_filter()
    ours = read(neuss_pbf_path, tag_filter)
    theirs = through_osmnx(overpass_elements(neuss_pbf_path), tag_filter, tmp_path)
    assert ids(ours) == ids(theirs)
    assert any(name.startswith("relation/") for name in ids(ours))
    assert ours["tags"] == theirs["tags"]
    assert [name for name, shape in shapes(ours).items() if not shapely.equals(shape, shapes(theirs)[name])] == []


def test_closed_ways_are_areas_by_the_rules_of_osmnx(tmp_path: Path) -> None:
    from osmnx.features import _POLYGON_FEATURES

    kinds = [
        {key: value}
        for key, rule in (_POLYGON_FEATURES | {"route": {}}).items()
        for value in (*sorted(rule.get("values", ())), "yes", "no")
    ]
    kinds += [kind | {"area": "no"} for kind in kinds] + [{"area": "yes"}, {"barrier": "fence", "building": "yes"}]
    path = extract(
        tmp_path, *(way(number, square(6.68, 51.2, 0.001), name="x", **kind) for number, kind in enumerate(kinds, 1))
    )
    everything: dict[str, list[str] | bool] = {"name": True}
    ours, theirs = (
        {name: shape.geom_type for name, shape in shapes(features).items()}
        for features in (read(path, everything), through_osmnx(overpass_elements(path), everything, tmp_path))
    )
    assert ours == theirs
    assert set(ours.values()) == {"LineString", "Polygon"}


# What is selected, and how it comes


def test_features_come_with_tags_version_time_and_shape(tmp_path: Path) -> None:
    ring = square(6.68, 51.2, 0.001)
    cafe = Node(
        id=7, version=3, timestamp=TIME, location=(6.6812345, 51.2), tags={"shop": "bakery", "name": "Süß", "a": "1"}
    )
    path = extract(tmp_path, cafe, way(8, ring, shop="mall"), way(9, ring), relation(5, (9, "outer"), shop="trade"))
    features = read(path)
    assert ids(features) == ["node/7", "relation/5", "way/8"]
    first, second, third = features.to_pylist()
    assert first | {"geom": None} == {
        "element": "node",
        "osm_id": 7,
        "geom": None,
        "tags": '{"a": "1", "name": "Süß", "shop": "bakery"}',
        "osm_version": 3,
        "osm_time": TIME,
    }
    assert first["geom"] == shapely.to_wkb(shapely.Point(6.6812345, 51.2), byte_order=1)
    assert second["geom"][0] == 1, "little-endian"
    assert (third["osm_version"], third["osm_time"]) == (None, None), "the file does not tell"
    assert shapes(features)["way/8"].equals(shapely.Polygon(ring))
    assert shapes(features)["relation/5"].equals(shapely.Polygon(ring))


def test_only_whole_values_of_the_filter_are_selected(tmp_path: Path) -> None:
    shops = ["bakery", "bakery;cafe", "Bakery", "kiosk", "mall"]
    nodes = [node(number, shop=shop) for number, shop in enumerate(shops, 1)]
    others = [
        node(6, office="lawyer"),
        node(7, office="no"),
        node(8, amenity="bakery"),
        node(9),
        node(10, xshop="mall"),
    ]
    path = extract(tmp_path, *nodes, *others)
    assert ids(read(path, {"shop": ["bakery", "mall"]})) == ["node/1", "node/5"]
    assert ids(read(path, {"shop": ["mall"], "office": True})) == ["node/5", "node/6", "node/7"]


def test_relations_that_are_no_areas_are_no_features(tmp_path: Path) -> None:
    ring = way(9, square(6.68, 51.2, 0.001))
    kinds = [{"type": "multipolygon"}, {"type": "boundary"}, {"type": "site"}, {"type": ""}]
    relations = [relation(number, (9, "outer"), shop="x", **kind) for number, kind in enumerate(kinds, 1)]
    assert ids(read(extract(tmp_path, ring, *relations))) == ["relation/1", "relation/2"]


def test_long_files_come_in_several_tables_of_one_element_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbf, "BATCH_ROWS", 2)
    ways = [way(number, square(6.68, 51.2, 0.001 * number), shop="x") for number in range(1, 6)]
    path = extract(tmp_path, *(node(number, shop="x") for number in range(1, 6)), *ways)
    tables = list(read_pbf(path, SHOPS))
    assert [(set(table["element"].to_pylist()), table.num_rows) for table in tables] == [
        *(({"node"}, 2), ({"node"}, 2), ({"node"}, 1), ({"way"}, 2), ({"way"}, 2), ({"way"}, 1)),
    ]
    assert [round(shape.area * 1e6) for name, shape in shapes(read(path)).items() if name[0] == "w"] == [
        1,
        4,
        9,
        16,
        25,
    ]


def test_memory_bounds_change_how_often_a_file_is_read_and_nothing_else(
    neuss_pbf_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag_filter = Categories.load("default").tag_filter()
    whole = read(neuss_pbf_path, tag_filter)
    monkeypatch.setattr(slices, "SLICE_BYTES", 1)
    monkeypatch.setattr(slices, "ID_SET_CHUNKS", 5)
    monkeypatch.setattr(pbf, "PENDING_BYTES", 10_000)
    passes = []
    monkeypatch.setattr(slices, "IdFilter", lambda few: passes.append(1) or osmium.filter.IdFilter(few))
    in_parts = read(neuss_pbf_path, tag_filter)
    assert in_parts == whole
    assert len(passes) > 20


def test_a_file_that_is_replaced_while_it_is_read_stays_the_same_to_its_reader(tmp_path: Path) -> None:
    path = extract(tmp_path, way(1, square(6.0, 51.0, 0.1), shop="x"))
    tables = read_pbf(path, SHOPS)
    extract(tmp_path, node(7, shop="x"), name="newer.osm.pbf").replace(path)
    assert [ids(table) for table in tables] == [["way/1"]]
    assert ids(read(path)) == ["node/7"]


def test_progress_is_told_in_megabytes(neuss_pbf_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with progress.watch(lambda *report: told.append(report)):
        read(neuss_pbf_path, TEST_FILTER)
    assert told == [("MB of the extract searched", 0, 0)]


# Broken shapes


def test_a_polygon_that_crosses_itself_is_repaired_and_noted(tmp_path: Path) -> None:
    bow_tie = [(6.0, 51.0), (6.2, 51.2), (6.2, 51.0), (6.0, 51.2), (6.0, 51.0)]
    path = extract(
        tmp_path,
        way(1, bow_tie, shop="x"),
        way(2, bow_tie),
        relation(3, (2, "outer"), shop="x"),
        way(4, square(6, 51, 1), shop="x"),
    )
    notes = ShapeNotes()
    found = shapes(read(path, notes=notes))
    for name in ("way/1", "relation/3"):
        assert found[name].is_valid
        assert found[name].area == pytest.approx(0.02)
    assert (sorted(notes.repaired), notes.missing) == (["relation/3", "way/1"], {})


def test_a_repair_keeps_areas_and_drops_the_spikes_beside_them(tmp_path: Path) -> None:
    spiked = [(6.0, 51.0), (6.1, 51.0), (6.3, 51.0), (6.1, 51.0), (6.1, 51.1), (6.0, 51.1), (6.0, 51.0)]
    (shape,) = shapes(read(extract(tmp_path, way(1, spiked, shop="x")))).values()
    assert shape.equals(shapely.box(6.0, 51.0, 6.1, 51.1))


def test_a_flat_ring_becomes_a_line(tmp_path: Path) -> None:
    flat = [(6.0, 51.0), (6.1, 51.0), (6.2, 51.0), (6.0, 51.0)]
    notes = ShapeNotes()
    (shape,) = shapes(read(extract(tmp_path, way(1, flat, shop="x")), notes=notes)).values()
    assert (shape.geom_type in {"LineString", "MultiLineString"}, shape.bounds) == (True, (6.0, 51.0, 6.2, 51.0))
    assert notes.repaired == ["way/1"]


def test_an_open_way_that_is_a_shop_is_a_line(tmp_path: Path) -> None:
    line = [(6.0, 51.0), (6.1, 51.0), (6.1, 51.1)]
    (shape,) = shapes(read(extract(tmp_path, way(1, line, shop="x")))).values()
    assert shape.equals(shapely.LineString(line))


def test_shapes_that_cannot_be_built_are_null_with_a_reason(tmp_path: Path) -> None:
    ring = square(6.0, 51.0, 0.1)
    things = [
        *way(1, ring, shop="x"),
        *way(2, [ring[0], ring[1], ring[0]], shop="x"),
        *way(3, [ring[0]], shop="x"),
        Way(id=4, nodes=[], tags={"shop": "x"}),
        *way(10, ring),
        *way(11, square(6.2, 51.0, 0.1)),
        *way(12, ring[:3]),
        *way(14, square(6.02, 51.02, 0.01)),
        *way(15, square(6.4, 51.0, 0.1)),
        relation(21, (10, "outer"), (11, "outer"), shop="x"),
        relation(22, (10, ""), (10, "label"), shop="x"),
        relation(23, (12, "outer"), shop="x"),
        relation(24, shop="x"),
        relation(25, (10, "outer"), (10, "inner"), shop="x"),
        relation(26, (15, "outer"), shop="x"),
        relation(27, (10, "outer"), (14, "inner"), (11, "entrance"), shop="x"),
        node(30, (6.0, 51.0), shop="x"),
    ]
    lost = {(Node, 101), (Way, 11), (Node, 1501)}
    there = [thing for thing in things if (type(thing), thing.id) not in lost]
    notes = ShapeNotes()
    found = shapes(read(extract(tmp_path, *there), notes=notes))
    assert {name for name, shape in found.items() if shape is not None} == {"node/30", "relation/27"}
    assert notes.missing == {
        "way/1": "1 of its 5 nodes are not in the file",
        "way/2": "expected at least 4 nodes, got 3",
        "way/3": "expected at least 4 nodes, got 1",
        "way/4": "expected at least 2 nodes, got 0",
        "relation/21": "way 11, one of its members, is not in the file",
        "relation/22": "its members make no closed ring with the role `outer`",
        "relation/23": "its members make no closed ring with the role `outer`",
        "relation/24": "its members make no closed ring with the role `outer`",
        "relation/25": "its holes leave nothing of it",
        "relation/26": "nodes of way 15, one of its members, are not in the file",
    }


def test_a_node_without_a_place_has_no_shape(tmp_path: Path) -> None:
    notes = ShapeNotes()
    path = extract(tmp_path, Node(id=1, tags={"shop": "x"}), node(2, shop="x"), node(3, (6.0, 51.0), shop="x"))
    found = shapes(read(path, notes=notes))
    assert [name for name, shape in found.items() if shape is None] == ["node/1"]
    assert notes.missing == {"node/1": "has no location"}


def test_rings_are_pieced_together_and_islands_in_holes_stay(tmp_path: Path) -> None:
    outer, hole, island, apart = (
        square(6 + at, 51 + at, size) for at, size in ((0, 1), (0.2, 0.6), (0.4, 0.2), (2, 0.5))
    )
    halves = [Way(id=1, nodes=[1, 2, 3]), Way(id=2, nodes=[1, 4, 3])]
    corners = [node(number, point) for number, point in enumerate(outer[:4], 1)]
    path = extract(
        tmp_path,
        *(*corners, *halves, way(3, hole), way(4, island, shop="x"), way(5, apart)),
        relation(9, (1, "outer"), (2, "outer"), (3, "inner"), (4, "outer"), (5, "outer"), shop="x"),
    )
    found = shapes(read(path))
    assert found["relation/9"].area == pytest.approx(1 - 0.36 + 0.04 + 0.25)
    assert shapely.equals_exact(found["way/4"], shapely.Polygon(island), 1e-9)
    theirs = shapes(through_osmnx(overpass_elements(path), SHOPS, tmp_path))
    assert {name: shape.equals(theirs[name]) for name, shape in found.items()} == {"relation/9": True, "way/4": True}


def test_rings_that_touch_where_their_ways_end_are_told_apart(tmp_path: Path) -> None:
    """Four ways meet in one node: two of each ring."""
    nodes = [(6.0, 51.0), (6.1, 51.1), (6.0, 51.2), (5.9, 51.1), (6.1, 51.3), (6.0, 51.4), (5.9, 51.3)]
    runs = [(1, 2, 3), (1, 4, 3), (3, 5, 6), (3, 7, 6)]
    path = extract(
        tmp_path,
        *(node(number, point) for number, point in enumerate(nodes, 1)),
        *(Way(id=number, nodes=run) for number, run in enumerate(runs, 1)),
        relation(9, *((number, "outer") for number in (1, 2, 3, 4)), shop="x"),
    )
    (shape,) = shapes(read(path)).values()
    assert (shape.geom_type, shape.area) == ("MultiPolygon", pytest.approx(0.04))


# Files that are none


def broken(folder: Path, content: bytes) -> Path:
    path = folder / "broken.osm.pbf"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.9999])
def test_a_file_that_was_cut_off_is_refused(neuss_pbf_path: Path, tmp_path: Path, kept: float) -> None:
    content = neuss_pbf_path.read_bytes()
    path = broken(tmp_path, content[: int(kept * len(content))])
    with pytest.raises(OsmError, match=r"expected a whole extract .* or a part of one \(.*\): remove it and download"):
        read(path, TEST_FILTER)


@pytest.mark.parametrize(
    "content", [b"<html>Please log in</html>" * 99, b"PK\x03\x04" * 99, b"<?xml version='1.0'?><osm/>"]
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = broken(tmp_path, content)
    with pytest.raises(
        OsmError, match=r"broken\.osm\.pbf: expected a whole extract of OpenStreetMap in PBF, got another"
    ):
        read_pbf(path, SHOPS)


def test_a_damaged_file_is_refused(neuss_pbf_path: Path, tmp_path: Path) -> None:
    content = bytearray(neuss_pbf_path.read_bytes())
    content[300_000:300_500] = bytes(500)
    with pytest.raises(OsmError, match=r"remove it and download it again"):
        read(broken(tmp_path, content), TEST_FILTER)


def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(OsmError, match=r"nothing\.pbf: cannot be read: No such file"):
        read_pbf(tmp_path / "nothing.pbf", SHOPS)
    with pytest.raises(OsmError, match=r"cannot be read: Is a directory"):
        read_pbf(tmp_path, SHOPS)


@pytest.mark.parametrize("things", [[], [node(1), node(2, amenity="bench")], [relation(1, shop="x", type="site")]])
def test_a_file_without_any_feature_is_refused(tmp_path: Path, things: list[OSMObject]) -> None:
    with pytest.raises(OsmError, match=r"expected features with the tags of the categories \(shop\), got none"):
        read(extract(tmp_path, *things))


def test_a_file_with_history_is_refused(tmp_path: Path) -> None:
    path = extract(tmp_path, node(1, shop="x"), name="x.osh.pbf")
    with pytest.raises(OsmError, match=r"expected the present state, got a file with its history"):
        read_pbf(path, SHOPS)


def test_an_unsorted_file_is_refused_and_told_how_to_sort_it(tmp_path: Path) -> None:
    path = extract(tmp_path, node(2, shop="x"), node(1, shop="x"), is_sorted=False)
    with pytest.raises(OsmError, match=r"expected an extract that is sorted .* got node 1 late: run `osmium sort`"):
        read(path)


def test_a_file_whose_slices_are_not_sorted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 1)
    ring = way(1, square(6.0, 51.0, 0.1), name="nobody asks for it")
    path = extract(tmp_path, ring[-1], ring[:-1], node(500, shop="x"), is_sorted=False)
    with pytest.raises(OsmError, match=r"expected an extract that is sorted .* got node 100 late"):
        read(path)


def test_things_that_a_file_holds_twice_come_once(tmp_path: Path) -> None:
    path = extract(tmp_path, node(1, shop="x"), node(1, shop="x"), node(2, shop="x"), is_sorted=False)
    assert ids(read(path)) == ["node/1", "node/2"]


def test_things_with_negative_ids_come_without_shapes_of_ways(tmp_path: Path) -> None:
    nodes = [node(number, point) for number, point in ((-1, (6.0, 51.0)), (-2, (6.1, 51.0)))]
    path = extract(tmp_path, *nodes, node(-3, shop="x"), Way(id=-4, nodes=[-1, -2], tags={"shop": "x"}))
    found = shapes(read(path))
    assert {name: shape is None for name, shape in found.items()} == {"node/-3": False, "way/-4": True}
