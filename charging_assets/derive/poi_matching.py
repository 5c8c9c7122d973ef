"""Which points of interest are near which charging station, by the distance to the edge of their shape.

Belongs here: distances and what is counted from them. Does not belong here: which things are points of interest, and
which radius their category has (`sources/osm/categories.toml`).

Distances are those of ETRS89 / UTM zone 32N (EPSG:25832), which is wrong by 0.04 % at 9 degrees east and by 0.18 % at
15. Shapes are read and projected where a coarse raster says that a station may be near: most are not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from charging_assets.model.tables.poi import DISTANCES_M
from charging_assets.progress import advance

GERMANY = (5.5, 47.0, 15.6, 55.2)
"""West, south, east and north in degrees, generously: stations elsewhere are not placed."""

MAPPING = pa.schema(
    [
        pa.field("id_poi", pa.string(), nullable=False),
        pa.field("id_cs", pa.int64(), nullable=False),
        pa.field("poi_category", pa.string(), nullable=False),
        pa.field("distance_m", pa.float64(), nullable=False),
        pa.field("radius_m", pa.float64(), nullable=False),
        pa.field("rank_in_category", pa.int32(), nullable=False),
    ]
)
"""One row per station and POI within the radius of its category, sorted by (id_cs, id_poi).

- `distance_m`: from the station to the POI's edge, in whole millimetres; 0 inside of it.
- `rank_in_category`: 1 for the station's nearest POI of that category; of equally near ones the first by id.
"""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Shapes = NDArray[np.object_]

_POIS_AT_ONCE = 200_000
_STATIONS_AT_ONCE = 2_000
"""Bounds of memory: shapes of so many POIs, and pairs of so many stations with them."""

_LEAST_CELL_M = 100.0
"""Of the raster: a finer one would pass over few more shapes, and of Germany take more than 60 MB."""

_SIMPLE_WKB = ((b"\1\1\0\0\0", 5), (b"\1\2\0\0\0", 9), (b"\1\3\0\0\0\1\0\0\0", 13))
"""How points, lines and polygons of one ring begin in little-endian WKB, and at which byte their coordinates do."""
_END = 2**31 - 1
"""Of a value, for `binary_slice`: without an end, PyArrow 26 fails ("Negative buffer resize")."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What `match` found, and what it could not use."""

    mapping: pa.Table
    """As `MAPPING` says."""
    unplaced: pa.Table
    """Stations that no place is known of: `id_cs`, `longitude`, `latitude` as they were, `reason`."""
    left_out: pa.Table
    """POIs that cannot be matched: `id_poi`, `reason`."""
    repaired: pa.Table
    """POIs near a station whose invalid shape was made a valid one: `id_poi`, `reason`."""


def match(stations: pa.Table, pois: pa.Table, radius_m: Mapping[str, float]) -> Matches:
    """Pair each station with the POIs within the radius of their category, the radius included.

    Args:
        stations: `id_cs` (unique), `longitude` and `latitude` in degrees, WGS 84; other columns are ignored.
        pois: `id_poi` (unique), `geom` (WKB, degrees) and `poi_category`; other columns are ignored. Those without a
            category, as charging stations are, match nothing.
        radius_m: of each category, in metres.

    Raises:
        ValueError: a POI has a category without a radius.
    """
    placed, unplaced = _placed(stations)
    near = _Near(placed, pois, list(radius_m), max(radius_m.values(), default=0.0))
    radii = np.array(list(radius_m.values()), np.float64)
    found = [pairs.where(pairs.distance_m <= radii[pairs.category]) for pairs in near.pairs()]
    pairs = _Pairs.of_all(found)
    mapping = pa.table(
        [
            near.pois["id_poi"].take(pa.array(pairs.poi)).cast(pa.string()),
            placed.id_cs[pairs.station],
            pa.array(near.categories, pa.string()).take(pa.array(pairs.category)),
            pairs.distance_m,
            radii[pairs.category],
            np.zeros(len(pairs.poi), np.int32),
        ],
        schema=MAPPING,
    )
    return Matches(_ranked(mapping), unplaced, _reasons(near.left_out), _reasons(near.repaired))


def station_features(
    stations: pa.Table, pois: pa.Table, categories: Sequence[str], distances: Sequence[int] = DISTANCES_M
) -> pa.Table:
    """Count the POIs around each station, by category and distance.

    There is a row for every placed station and every category, so that nothing near is a zero and means are right
    without a join. Stations without a place (`Matches.unplaced`) have no rows: what is near them is not known.

    Args:
        stations: as for `match`.
        pois: as for `match`.
        categories: all there are.
        distances: in whole metres, ascending.

    Returns:
        `id_cs`, `poi_category`, for each distance `count_<distance>m` (int32, that distance included), and `nearest_m`:
        metres to the nearest, in whole millimetres, null where there is none within the largest distance. Sorted by
        (id_cs, poi_category).

    Raises:
        ValueError: a POI is of none of the categories.
    """
    placed, _ = _placed(stations)
    names = sorted(categories)
    near = _Near(placed, pois, names, float(max(distances)))
    counts = np.zeros((len(placed.id_cs), len(names), len(distances)), np.int32)
    nearest = np.full((len(placed.id_cs), len(names)), np.inf)
    for pairs in near.pairs():
        innermost = np.searchsorted(distances, pairs.distance_m)
        np.add.at(counts, (pairs.station, pairs.category, innermost), 1)
        np.minimum.at(nearest, (pairs.station, pairs.category), pairs.distance_m)
    counts = counts.cumsum(axis=2, dtype=np.int32)
    order = np.argsort(placed.id_cs, kind="stable")
    flat = nearest[order].ravel().round(3)
    return pa.table(
        {
            "id_cs": np.repeat(placed.id_cs[order], len(names)),
            "poi_category": pa.array(names * len(order), pa.string()),
            **{f"count_{distance}m": counts[order, :, place].ravel() for place, distance in enumerate(distances)},
            "nearest_m": pa.array(flat, pa.float64(), mask=np.isinf(flat)),
        }
    )


# -- stations --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Placed:
    """Stations whose place is known, in degrees."""

    id_cs: Ints
    longitude: Floats
    latitude: Floats


def _placed(stations: pa.Table) -> tuple[_Placed, pa.Table]:
    """The stations in Germany; and the others, with the reason."""
    longitude, latitude = (_numbers(stations[name]) for name in ("longitude", "latitude"))
    west, south, east, north = GERMANY
    reasons = np.select(
        [
            np.isnan(longitude) | np.isnan(latitude),
            (longitude == 0) & (latitude == 0),
            _within_germany(longitude, latitude),
            _within_germany(latitude, longitude),
        ],
        [
            "it has no coordinates",
            "its coordinates are 0, 0",
            "",
            "its longitude and latitude are swapped",
        ],
        f"it is outside of Germany ({west:g} to {east:g} degrees east, {south:g} to {north:g} north)",
    )
    is_placed = reasons == ""
    columns = stations.select(["id_cs", "longitude", "latitude"])
    unplaced = columns.filter(pa.array(~is_placed)).append_column("reason", pa.array(reasons[~is_placed], pa.string()))
    id_cs = columns["id_cs"].filter(pa.array(is_placed)).to_numpy()
    return _Placed(id_cs, longitude[is_placed], latitude[is_placed]), unplaced


def _numbers(column: pa.ChunkedArray) -> Floats:
    """With NaN for null."""
    numbers: Floats = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return numbers


def _within_germany(longitude: Floats, latitude: Floats) -> Mask:
    west, south, east, north = GERMANY
    return (west <= longitude) & (longitude <= east) & (south <= latitude) & (latitude <= north)


# -- pairs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of a station and a POI, by their places in `_Placed` and `_Near.pois`."""

    station: Ints
    poi: Ints
    category: Ints
    distance_m: Floats

    @classmethod
    def of_all(cls, several: Sequence["_Pairs"]) -> "_Pairs":
        """All of them, in one."""
        none = np.empty(0, np.int64)
        return cls(
            np.concatenate([none, *(pairs.station for pairs in several)]),
            np.concatenate([none, *(pairs.poi for pairs in several)]),
            np.concatenate([none, *(pairs.category for pairs in several)]),
            np.concatenate([np.empty(0, np.float64), *(pairs.distance_m for pairs in several)]),
        )

    def where(self, mask: Mask) -> "_Pairs":
        """Some of them."""
        return _Pairs(self.station[mask], self.poi[mask], self.category[mask], self.distance_m[mask])


class _Near:
    """The POIs within a distance of a station. `left_out` and `repaired` fill while `pairs` is read."""

    def __init__(self, stations: _Placed, pois: pa.Table, categories: list[str], distance_m: float) -> None:
        self.left_out: dict[str, str] = {}
        self.repaired: dict[str, str] = {}
        self.pois = self._with_category(pois.select(["id_poi", "geom", "poi_category"]))
        self.categories = categories
        self._category = _category_numbers(self.pois["poi_category"], categories)
        self._distance_m = distance_m
        self._stations = shapely.points(_metres(np.column_stack([stations.longitude, stations.latitude])))
        self._reach = _Reach(stations, distance_m) if len(self._stations) else None

    def pairs(self) -> Iterator[_Pairs]:
        """All pairs, in slices."""
        for place, shapes in self._slices():
            tree = shapely.STRtree(shapes)
            for start in range(0, len(self._stations), _STATIONS_AT_ONCE):
                some = self._stations[start : start + _STATIONS_AT_ONCE]
                station, poi = tree.query(some, predicate="dwithin", distance=self._distance_m)
                distance = shapely.distance(some[station], shapes[poi])
                pairs = _Pairs(station + start, place[poi], self._category[place[poi]], distance)
                yield pairs.where(distance <= self._distance_m)

    def _slices(self) -> Iterator[tuple[Ints, Shapes]]:
        """All shapes that may be near, projected, and their places among all POIs."""
        if self._reach is None:
            return
        held: list[tuple[Ints, Shapes]] = []
        first = 0
        for batch in self.pois.select(["geom"]).to_batches(max_chunksize=_POIS_AT_ONCE):
            held.append(self._shapes(batch["geom"].cast(pa.binary()), first, self._reach))
            first += len(batch)
            if first == len(self.pois) or sum(len(place) for place, _ in held) >= _POIS_AT_ONCE:
                places, shapes = zip(*held, strict=True)
                yield np.concatenate(places), np.concatenate(shapes)
                held.clear()
            advance("POIs compared with stations", first, len(self.pois))

    def _with_category(self, pois: pa.Table) -> pa.Table:
        if not pois["poi_category"].null_count:
            return pois
        has_none = pc.is_null(pois["poi_category"])
        self.left_out |= dict.fromkeys(pois["id_poi"].filter(has_none).to_pylist(), "it has no category")
        return pois.filter(pc.invert(has_none))

    def _shapes(self, wkb: pa.BinaryArray, first: int, reach: "_Reach") -> tuple[Ints, Shapes]:
        """Those shapes that may be near, projected, and their places among all POIs; `first` is that of the first."""
        bounds = _bounds(wkb)
        is_usable = ~np.isnan(bounds).any(axis=1)
        for place in np.flatnonzero(~is_usable).tolist():
            self.left_out[self._id_poi(first + place)] = _why_unusable(wkb.slice(place, 1))
        is_near = is_usable & reach.touches(bounds)
        is_point = (bounds[:, :2] == bounds[:, 2:]).all(axis=1)
        points, others = np.flatnonzero(is_near & is_point), np.flatnonzero(is_near & ~is_point)
        shapes = _from_wkb(wkb.take(pa.array(others)))
        for number in np.flatnonzero(~shapely.is_valid(shapes)).tolist():
            self._repair(shapes, number, self._id_poi(first + int(others[number])))
        is_there = ~shapely.is_missing(shapes)
        places = np.concatenate([points, others[is_there]]) + first
        projected = [shapely.points(_metres(bounds[points, :2])), shapely.transform(shapes[is_there], _metres)]
        return places, np.concatenate(projected)

    def _id_poi(self, place: int) -> str:
        id_poi: str = self.pois["id_poi"][place].as_py()
        return id_poi

    def _repair(self, shapes: Shapes, number: int, id_poi: str) -> None:
        """Make a shape a valid one, or None where that is impossible."""
        shape = shapes[number]
        if shape is None:
            self.left_out[id_poi] = "its shape cannot be read"
            return
        shapes[number] = shapely.make_valid(shape)
        self.repaired[id_poi] = shapely.is_valid_reason(shape)


def _category_numbers(column: pa.ChunkedArray, categories: list[str]) -> Ints:
    """Of each POI, the place of its category."""
    texts = column.cast(pa.string())
    numbers = pc.index_in(texts, value_set=pa.array(categories, pa.string()))
    if numbers.null_count:
        unknown = pc.unique(texts.filter(pc.is_null(numbers))).to_pylist()
        raise ValueError(
            f"expected POIs of the categories {', '.join(categories) or '(none)'}, got {', '.join(sorted(unknown))}: "
            "derive the POIs again with the categories that are configured now"
        )
    places: Ints = numbers.to_numpy().astype(np.int64)
    return places


def _ranked(mapping: pa.Table) -> pa.Table:
    """Round the distances, rank, and sort."""
    mapping = mapping.set_column(
        MAPPING.get_field_index("distance_m"), MAPPING.field("distance_m"), pc.round(mapping["distance_m"], 3)
    )
    order = ["id_cs", "poi_category", "distance_m", "id_poi"]
    mapping = mapping.sort_by([(name, "ascending") for name in order])
    station = mapping["id_cs"].to_numpy()
    category = mapping["poi_category"].combine_chunks().dictionary_encode().indices.to_numpy()
    begins = np.ones(len(mapping), bool)
    begins[1:] = (station[1:] != station[:-1]) | (category[1:] != category[:-1])
    place = np.arange(len(mapping))
    rank = place - np.maximum.accumulate(np.where(begins, place, 0)) + 1
    name = "rank_in_category"
    ranked = mapping.set_column(MAPPING.get_field_index(name), MAPPING.field(name), pa.array(rank, pa.int32()))
    return ranked.sort_by([("id_cs", "ascending"), ("id_poi", "ascending")])


def _reasons(reasons: Mapping[str, str]) -> pa.Table:
    return pa.table({"id_poi": pa.array(reasons, pa.string()), "reason": pa.array(reasons.values(), pa.string())})


# -- shapes ----------------------------------------------------------------------------------------------------------

_TO_METRES = Transformer.from_crs(4326, 25832, always_xy=True)


def _metres(degrees: Floats) -> Floats:
    """Projected coordinates, (n, 2) as they came."""
    return np.column_stack(_TO_METRES.transform(degrees[:, 0], degrees[:, 1]))


def _from_wkb(wkb: pa.BinaryArray) -> Shapes:
    """Shapes; None where one is null or cannot be read."""
    with np.errstate(invalid="ignore"):  # NaN is dealt with, and no news
        shapes: Shapes = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    return shapes


def _bounds(wkb: pa.BinaryArray) -> Floats:
    """West, south, east and north of each shape in degrees; all NaN where there is none.

    Of simple shapes they are read from the bytes: making objects of a million shapes would take longer than all else.
    """
    bounds = np.full((len(wkb), 4), np.nan)
    size = pc.fill_null(pc.binary_length(wkb), 0)
    is_other = np.ones(len(wkb), bool)
    for beginning, start in _SIMPLE_WKB:
        is_such = pc.fill_null(pc.starts_with(wkb, pattern=beginning), False).to_numpy(zero_copy_only=False)
        is_such &= (size.to_numpy() - start) % 16 == 0
        is_such &= size.to_numpy() > start
        if is_such.any():
            bounds[is_such] = _bounds_of_runs(pc.binary_slice(wkb.filter(pa.array(is_such)), start, _END))
        is_other &= ~is_such
    shapes = _from_wkb(wkb.filter(pa.array(is_other)))
    others = shapely.bounds(shapes)
    coordinates, shape = shapely.get_coordinates(shapes, return_index=True)
    others[shape[~np.isfinite(coordinates).all(axis=1)]] = np.nan
    bounds[is_other] = others
    return bounds


def _bounds_of_runs(coordinates: pa.BinaryArray) -> Floats:
    """Bounds of values that are nothing but coordinates: x, y, x, y and so on."""
    _, ends, content = coordinates.buffers()
    ends = np.frombuffer(ends, np.int32, len(coordinates) + 1) // 16
    points = np.frombuffer(content, "<f8", 2 * int(ends[-1])).reshape(-1, 2)
    bounds = np.hstack([np.minimum.reduceat(points, ends[:-1]), np.maximum.reduceat(points, ends[:-1])])
    bounds[~np.isfinite(bounds).all(axis=1)] = np.nan
    return bounds


def _why_unusable(wkb: pa.BinaryArray) -> str:
    """Why one shape has no bounds."""
    if wkb.null_count:
        return "it has no shape"
    (shape,) = _from_wkb(wkb)
    if shape is None:
        return "its shape cannot be read"
    return "its shape is empty" if shape.is_empty else "its coordinates are not all numbers"


class _Reach:
    """A raster of what may be near a station: boxes around all stations, drawn in cells at least as large as they."""

    def __init__(self, stations: _Placed, distance_m: float) -> None:
        # 1 %: a degree is nowhere so much shorter. 5 m: an edge of 10 km that is straight in degrees bends by 3 m.
        reach = distance_m * 1.01 + 5
        half_height = reach / 110_500
        half_width = reach / (111_319 * np.cos(np.radians(stations.latitude + half_height)))
        boxes = np.column_stack(
            [
                stations.longitude - half_width,
                stations.latitude - half_height,
                stations.longitude + half_width,
                stations.latitude + half_height,
            ]
        )
        self._cell = np.array([half_width.max(), half_height]) * 2 * max(1.0, _LEAST_CELL_M / (2 * reach))
        self._origin = boxes[:, :2].min(axis=0) - 2 * self._cell  # a margin, for all that is outside
        self._last = ((boxes[:, 2:].max(axis=0) - self._origin) / self._cell).astype(np.int64) + 1
        self._is_near = np.zeros(self._last + 1, bool)
        west, south, east, north = (*self._cells(boxes[:, :2]), *self._cells(boxes[:, 2:]))
        for left in (-1, 0):
            for down in (-1, 0):
                for x in (west, east):
                    self._is_near[x + left, south + down] = True
                    self._is_near[x + left, north + down] = True

    def touches(self, bounds: Floats) -> Mask:
        """Which bounds, in degrees, may touch a box; those larger than a cell may. Of NaN: any answer."""
        x, y = self._cells(np.nan_to_num(bounds[:, :2]))
        is_large = (bounds[:, 2:] - bounds[:, :2] > self._cell).any(axis=1)
        return is_large | self._is_near[x, y]

    def _cells(self, points: Floats) -> tuple[Ints, Ints]:
        cells = ((points - self._origin) / self._cell).clip(0, self._last).astype(np.int64)
        return cells[:, 0], cells[:, 1]
