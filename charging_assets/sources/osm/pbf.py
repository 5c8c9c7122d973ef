"""Points of interest of an extract of OpenStreetMap in PBF, e.g. of all of Germany, within bounded memory.

What a shape is made of stands before it in the file: once all things with the tags are found, the member ways of
relations are looked up, then the locations of those nodes alone that ways are made of. Shapes are those that osmnx
makes of the same data, so that both sources agree. Does not belong here: how an extract is had (`download`) and found
one's way in (`slices`).
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import pyarrow as pa
import shapely
from osmium.osm.types import Node, Relation, Way

from charging_assets.sources.osm.errors import OsmError
from charging_assets.sources.osm.features import FEATURES
from charging_assets.sources.osm.slices import Place, SlicedExtract, Thing, place

PENDING_BYTES = 500 * 2**20
"""About how much may wait for its nodes' locations; of more, they are looked up in between."""
BATCH_ROWS = 50_000

_UNKNOWN = np.iinfo(np.int32).max
_AREA_RELATIONS = frozenset({"multipolygon", "boundary"})

# https://wiki.openstreetmap.org/wiki/Overpass_turbo/Polygon_Features, which osmnx follows too
_AREA_KEYS = frozenset(
    {"amenity", "area", "area:highway", "boundary", "building", "building:part", "craft", "golf", "historic", "indoor"}
    | {"landuse", "leisure", "military", "office", "place", "public_transport", "ruins", "shop", "tourism"}
)
_AREA_VALUES = {
    "barrier": {"city_wall", "ditch", "hedge", "retaining_wall", "spikes"},
    "highway": {"elevator", "escape", "rest_area", "services"},
    "power": {"generator", "plant", "substation", "transformer"},
    "railway": {"platform", "roundhouse", "station", "turntable"},
    "waterway": {"boatyard", "dam", "dock", "riverbank"},
}
_LINE_VALUES = {
    "aeroway": {"taxiway"},
    "man_made": {"cutline", "embankment", "pipeline"},
    "natural": {"arete", "cliff", "coastline", "ridge", "tree_row"},
}


@dataclass(slots=True)
class ShapeNotes:
    """What became of shapes that are broken in the file; ids like `way/28992488`."""

    repaired: list[str] = field(default_factory=list)
    """Crossed themselves; made valid."""
    missing: dict[str, str] = field(default_factory=dict)
    """Have no shape, and why."""


def read_pbf(
    path: Path, tag_filter: Mapping[str, list[str] | bool], notes: ShapeNotes | None = None
) -> Iterator[pa.Table]:
    """The features with any of the tags, in tables of the schema `FEATURES`.

    Each table is of one kind of element and sorted by id; nodes come while ways still wait, so the tables together are
    not sorted. Relations count if they are areas (`multipolygon`, `boundary`). Only when the last table was taken
    without an error is the file known to be whole.

    Args:
        path: An extract that is sorted by type and id, as all are that can be downloaded.
        tag_filter: Keys with their values, or True for any; not empty. Values are compared as a whole, as by Overpass.
        notes: Receives what is wrong with shapes. Such features come all the same.

    Raises:
        OsmError: the file cannot be read, is cut off, is no extract, is not sorted, or has no feature with the tags.
            What is not seen at its beginning is raised only when tables are taken.
    """
    return _features(SlicedExtract(path), tag_filter, ShapeNotes() if notes is None else notes)


def _features(
    extract: SlicedExtract, tag_filter: Mapping[str, list[str] | bool], notes: ShapeNotes
) -> Iterator[pa.Table]:
    points, waiting, found = _Points(), _Waiting(), False
    with extract:
        for thing in _tagged(extract, tag_filter):
            if isinstance(thing, Node):
                points.add(thing)
            elif isinstance(thing, Way):
                waiting.add_way(thing)
            elif thing.tags.get("type") in _AREA_RELATIONS:
                waiting.add_relation(thing)
            else:
                continue
            found = True
            if len(points.rows) == BATCH_ROWS:
                yield points.table(notes)
                points = _Points()
            if waiting.bytes > PENDING_BYTES:
                yield from waiting.tables(extract, notes)
                waiting = _Waiting()
        if len(points.rows):
            yield points.table(notes)
        yield from waiting.tables(extract, notes)
    if not found:
        raise OsmError(
            f"{extract.path}: expected features with the tags of the categories ({', '.join(sorted(tag_filter))}), "
            "got none: take an extract of a city, a state or Germany that was not filtered"
        )


def _tagged(extract: SlicedExtract, tag_filter: Mapping[str, list[str] | bool]) -> Iterator[Thing]:
    """All with any of the tags, each once.

    osmium's own filter for tags compares one by one: 60 of them cost more than the few keys of what has one of them.
    """
    wanted = [(key, None if isinstance(values, bool) else frozenset(values)) for key, values in tag_filter.items()]
    before: Place = (-1, False, 0)
    for thing in extract.things(*tag_filter):
        value_of = thing.tags.get
        for key, values in wanted:
            value = value_of(key)
            if value is not None and (values is None or value in values):
                break
        else:
            continue
        here = place(thing)
        if here < before:
            raise extract.unsorted(here)
        if here > before:  # overlapping parts that were put together hold things twice
            before = here
            yield thing


class _Places:
    """Where nodes are: of the ids (sorted, unique), in units of 1e-7 degrees."""

    def __init__(self, extract: SlicedExtract, ids: np.ndarray) -> None:
        self._ids = ids
        self._xy = np.full((len(ids), 2), _UNKNOWN, np.int32)
        found, xy = array("q"), array("i")
        for node in extract.nodes(ids):
            location = node.location
            if location.valid():
                found.append(node.id)
                xy.extend((location.x, location.y))
        self._xy[np.searchsorted(ids, _numbers(found))] = np.frombuffer(xy, np.int32).reshape(-1, 2)

    def of(self, refs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude of each node, and whether they are known; every node must be one of the ids."""
        xy = self._xy[np.searchsorted(self._ids, refs)]
        return xy / 1e7, xy[:, 0] != _UNKNOWN


def _numbers(values: "array[int]") -> np.ndarray:
    return np.frombuffer(values, np.int64)


# -- what was read ---------------------------------------------------------------------------------------------------


class _Rows:
    """Features of one kind of element, without their shapes."""

    def __init__(self, element: str) -> None:
        self.element = element
        self.tags: list[str] = []
        self._ids, self._versions, self._seconds = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.tags)

    def add(self, thing: Thing) -> None:
        self._ids.append(thing.id)
        self._versions.append(thing.version)
        self._seconds.append(int(thing.timestamp.timestamp()))
        self.tags.append(json.dumps(dict(thing.tags), ensure_ascii=False, sort_keys=True))

    def name(self, row: SupportsIndex) -> str:
        return f"{self.element}/{self._ids[row]}"

    def table(self, shapes: np.ndarray, begin: int, notes: ShapeNotes) -> pa.Table:
        """The rows from `begin` on, as many as there are shapes; those that are broken are repaired."""
        end = begin + len(shapes)
        rows = slice(begin, end)
        broken = np.flatnonzero(~shapely.is_valid(shapes) & ~shapely.is_missing(shapes))
        shapes[broken] = [_made_valid(shape) for shape in shapes[broken]]
        notes.repaired += [self.name(begin + row) for row in broken]
        versions, seconds = _numbers(self._versions)[rows], _numbers(self._seconds)[rows]
        columns = {
            "element": pa.repeat(self.element, len(shapes)),
            "osm_id": _numbers(self._ids)[rows],
            "geom": pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary()),
            "tags": self.tags[rows],
            "osm_version": pa.array(versions.astype(np.int32), mask=versions == 0),
            "osm_time": pa.array(seconds * 1_000_000, pa.timestamp("us", tz="UTC"), mask=seconds == 0),
        }
        return pa.table(columns, schema=FEATURES)


class _Points:
    """Nodes that are features."""

    def __init__(self) -> None:
        self.rows = _Rows("node")
        self._xy = array("i")

    def add(self, node: Node) -> None:
        location = node.location
        self.rows.add(node)
        self._xy.extend((location.x, location.y) if location.valid() else (_UNKNOWN, _UNKNOWN))

    def table(self, notes: ShapeNotes) -> pa.Table:
        xy = np.frombuffer(self._xy, np.int32).reshape(-1, 2)
        shapes = shapely.points(xy / 1e7)
        for row in np.flatnonzero(xy[:, 0] == _UNKNOWN):
            shapes[row] = None
            notes.missing[self.rows.name(row)] = "has no location"
        return self.rows.table(shapes, 0, notes)


class _Lines:
    """Ways as the nodes that they run through."""

    def __init__(self) -> None:
        self._ids, self._refs, self._ends = array("q"), array("q"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, way: Way) -> tuple[bool, int]:
        """Keep a way; returns whether it is closed, and of how many nodes it is."""
        refs = [node.ref for node in way.nodes]
        self._ids.append(way.id)
        self._refs.extend(refs)
        self._ends.append(len(self._refs))
        return len(refs) > 0 and refs[0] == refs[-1], len(refs)

    @property
    def ids(self) -> np.ndarray:
        return _numbers(self._ids)

    @property
    def refs(self) -> np.ndarray:
        return _numbers(self._refs)

    def some(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The nodes of ways begin to end, one after another, and how many each has."""
        ends = _numbers(self._ends)[begin : end + 1]
        return self.refs[ends[0] : ends[-1]], np.diff(ends)


class _Waiting:
    """Ways and relations that are features, until it is known where their nodes are."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ways, self._relations = _Rows("way"), _Rows("relation")
        self._lines, self._is_area = _Lines(), bytearray()
        self._members: list[list[tuple[int, str]]] = []

    def add_way(self, way: Way) -> None:
        self._ways.add(way)
        is_closed, length = self._lines.add(way)
        self._is_area.append(is_closed and _is_area(way))
        self.bytes += 100 + len(self._ways.tags[-1]) + 32 * length

    def add_relation(self, relation: Relation) -> None:
        self._relations.add(relation)
        members = [(m.ref, m.role) for m in relation.members if m.type == "w" and m.role in {"outer", "inner"}]
        self._members.append(members)
        self.bytes += 500 + len(self._relations.tags[-1]) + 500 * len(members)

    def tables(self, extract: SlicedExtract, notes: ShapeNotes) -> Iterator[pa.Table]:
        """Look up where the nodes are; then all features, with shapes."""
        others = _Lines()
        member_ids = np.array([ref for members in self._members for ref, _ in members], np.int64)
        for way in extract.ways(np.setdiff1d(member_ids, self._lines.ids)):
            others.add(way)
        places = _Places(extract, np.unique(np.concatenate([self._lines.refs, others.refs])))
        for begin in range(0, len(self._ways), BATCH_ROWS):
            yield self._ways.table(self._way_shapes(begin, places, notes), begin, notes)
        if self._members:
            yield self._relations.table(self._relation_shapes(others, places, notes), 0, notes)

    def _way_shapes(self, begin: int, places: _Places, notes: ShapeNotes) -> np.ndarray:
        end = min(begin + BATCH_ROWS, len(self._ways))
        refs, lengths = self._lines.some(begin, end)
        is_area = np.frombuffer(self._is_area, np.bool_)[begin:end]
        points, are_known = places.of(refs)
        way_of = np.repeat(np.arange(len(lengths)), lengths)
        unknown = np.bincount(way_of[~are_known], minlength=len(lengths))
        fewest = np.where(is_area, 4, 2)  # a ring's first node is its last, too
        is_sound = (unknown == 0) & (lengths >= fewest)
        shapes = np.full(len(lengths), None)
        for chosen, is_ring in ((is_sound & is_area, True), (is_sound & ~is_area, False)):
            at = np.repeat(np.arange(chosen.sum()), lengths[chosen])
            build = shapely.linearrings if is_ring else shapely.linestrings
            built = build(points[chosen[way_of]], indices=at)
            shapes[chosen] = shapely.polygons(built) if is_ring else built
        for row in np.flatnonzero(~is_sound):
            notes.missing[self._ways.name(begin + row)] = (
                f"{unknown[row]} of its {lengths[row]} nodes are not in the file"
                if unknown[row]
                else f"expected at least {fewest[row]} nodes, got {lengths[row]}"
            )
        return shapes

    def _relation_shapes(self, others: _Lines, places: _Places, notes: ShapeNotes) -> np.ndarray:
        wanted = {number for members in self._members for number, _ in members}
        known: dict[int, tuple[_Lines, int]] = {}
        for found in (self._lines, others):
            rows = np.flatnonzero(np.isin(found.ids, list(wanted)))
            known |= {number: (found, row) for number, row in zip(found.ids[rows].tolist(), rows.tolist(), strict=True)}
        shapes = np.full(len(self._members), None)
        for row, members in enumerate(self._members):
            try:
                lines: dict[str, list[np.ndarray]] = {"outer": [], "inner": []}
                for number, role in members:
                    if number not in known:
                        raise _ShapelessError(f"way {number}, one of its members, is not in the file")
                    member_lines, at = known[number]
                    points, are_known = places.of(member_lines.some(at, at + 1)[0])
                    if not are_known.all():
                        raise _ShapelessError(f"nodes of way {number}, one of its members, are not in the file")
                    lines[role].append(points)
                shapes[row], is_repaired = _area(lines["outer"], lines["inner"])
                if is_repaired:
                    notes.repaired.append(self._relations.name(row))
            except _ShapelessError as error:
                notes.missing[self._relations.name(row)] = str(error)
        return shapes


# -- shapes ----------------------------------------------------------------------------------------------------------


class _ShapelessError(Exception):
    """A relation's shape cannot be built, and why."""


def _is_area(closed_way: Way) -> bool:
    value_of = closed_way.tags.get
    if value_of("area") == "no":
        return False
    return (
        any(key in closed_way.tags for key in _AREA_KEYS)
        or any(value_of(key) in values for key, values in _AREA_VALUES.items())
        or any(value_of(key) not in {None, *values} for key, values in _LINE_VALUES.items())
    )


def _area(outer: Sequence[np.ndarray], inner: Sequence[np.ndarray]) -> tuple[shapely.Geometry, bool]:
    """The area within the outer rings, without the inner ones, and whether rings were repaired.

    Rings are pieced together of lines. A hole belongs to the rings that contain it, so that islands within holes stay.
    """
    shells, crossed_outside = _polygons(outer)
    holes, crossed_inside = _polygons(inner)
    if not len(shells):
        raise _ShapelessError("its members make no closed ring with the role `outer`")
    shapely.prepare(shells)
    parts = [shell.difference(shapely.union_all(holes[shapely.contains(shell, holes)])) for shell in shells]
    shape = shapely.union_all(parts)
    if shape.is_empty:
        raise _ShapelessError("its holes leave nothing of it")
    return shape, crossed_outside or crossed_inside


def _polygons(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, bool]:
    """What each ring of lines encloses, and whether one had to be repaired."""
    merged = shapely.line_merge(shapely.MultiLineString([line for line in lines if len(line) > 1]))
    parts = shapely.get_parts(merged)
    is_ring = shapely.is_closed(parts) & (shapely.get_num_coordinates(parts) > 3)
    rings = np.array([shapely.Polygon(ring.coords) for ring in parts[is_ring]], object)
    is_sound = shapely.is_valid(rings)
    repaired = [_made_valid(ring) for ring in rings[~is_sound]]
    # lines are not merged where more than two of them meet, as where two rings touch
    others = shapely.get_parts(shapely.polygonize(parts[~is_ring]))
    polygons = np.concatenate([rings[is_sound], shapely.get_parts(repaired), others])
    return polygons[shapely.get_dimensions(polygons) == 2], len(repaired) > 0


def _made_valid(shape: shapely.Geometry) -> shapely.Geometry:
    """A valid shape, without the lines and points that a repair leaves beside areas."""
    parts = shapely.get_parts(shapely.make_valid(shape))
    dimensions = shapely.get_dimensions(parts)
    return shapely.union_all(parts[dimensions == dimensions.max()])
