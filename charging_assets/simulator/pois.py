"""Points of interest of the simulated towns, as a refresh from OpenStreetMap would bring them, and where they are.

All shapes are boxes, of which points and open ways are the flat ones: how far a place is from one is a formula, so that
what is matched otherwise can be compared with it. A few are as broken as some are in reality.

Belongs here: where things stand, their shapes and tags. Does not belong here: which things there are (`things`).
"""

import datetime as dt
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.lake import Lake, Refresh
from charging_assets.model.answer import SIMULATOR
from charging_assets.model.arrow import arrow_schema
from charging_assets.simulator.history import kind_of
from charging_assets.simulator.stations import Station
from charging_assets.simulator.streams import Stream, stream
from charging_assets.simulator.things import AROUND, LANDMARKS, THINGS, Thing
from charging_assets.simulator.town import FEEDS, City
from charging_assets.simulator.world import Floats, World

Shape = Literal["point", "line", "area", "multi_area", "crossed", "none"]
"""`multi_area` is a relation of one area; the outline of what is `crossed` crosses itself; `none` lost its members."""

BROKEN: tuple[Shape, ...] = ("crossed", "none")
"""From such a thing no distance is known."""

_ELEMENTS: Mapping[Shape, str] = {
    "point": "node",
    "line": "way",
    "area": "way",
    "multi_area": "relation",
    "crossed": "way",
    "none": "relation",
}

_FIRST_ID, _IDS_PER_TOWN = 10**12, 10**6
"""Far above the ids that OpenStreetMap has given so far: no made-up thing is taken for a real one."""

_NEAR_M, _FAR_M = 4.0, 800.0
"""How far things stand from their station; as many within 4 to 40 m as within 40 to 400."""
_LANDMARK_M = (300.0, 3000.0)
_LANDMARKS_PER_TOWN = 4
_BROKEN_M = 700.0

_AROUND_IT = 0.4
"""Share of the parking areas that their station stands in."""
_UNNAMED, _LISTED, _OPEN, _RELATION = 0.08, 0.05, 0.04, 0.06
"""Shares: without a name; stations that are mapped themselves; shops whose outline is left open; areas as relations."""
_LEAST_RELATION_M = 40.0
"""Front of what may be mapped as a relation."""


class Feature(NamedTuple):
    """One thing on the map."""

    osm_id: int
    shape: Shape
    tags: Mapping[str, str]
    longitude: float
    """Of its middle, as `latitude`, in degrees."""
    latitude: float
    angle: float
    """Direction of its depth: radians from east, anticlockwise."""
    front_m: float
    depth_m: float

    @property
    def id_poi(self) -> str:
        """What it is called in the tables."""
        return f"{_ELEMENTS[self.shape]}/{self.osm_id}"


@dataclass(frozen=True, slots=True)
class TownPois:
    """What stands in one town."""

    feed: str
    features: tuple[Feature, ...]

    def table(self, before: dt.datetime) -> pa.Table:
        """They as a refresh gives them: the first columns of `raw_pois`, sorted by (element, osm_id).

        Args:
            before: no version is as new as this.
        """
        features = sorted(self.features, key=lambda feature: (_ELEMENTS[feature.shape], feature.osm_id))
        columns = {
            "element": [_ELEMENTS[feature.shape] for feature in features],
            "osm_id": [feature.osm_id for feature in features],
            "geom": [_wkb(feature) for feature in features],
            "tags": [json.dumps(feature.tags, ensure_ascii=False, sort_keys=True) for feature in features],
            "osm_version": [1 + feature.osm_id % 9 for feature in features],
            "osm_time": [before - dt.timedelta(hours=1 + feature.osm_id * 977 % 40_000) for feature in features],
        }
        schema = arrow_schema("raw_pois")
        return pa.table(columns, pa.schema([schema.field(name) for name in schema.names[:-4]]))

    def distances_m(self, longitude: float, latitude: float) -> Floats:
        """From a place to the edge of each feature, 0 inside; NaN for broken ones. Right to 0.1 % up to 10 km."""
        columns = zip(*[feature[3:] for feature in self.features], strict=True)
        east, north, angle, front, depth = (np.array(column, np.float64) for column in columns)
        per_east, per_north = _metres_per_degree((latitude + north) / 2)
        dx, dy = (longitude - east) * per_east, (latitude - north) * per_north
        ahead = np.abs(dx * np.cos(angle) + dy * np.sin(angle)) - depth / 2
        aside = np.abs(dy * np.cos(angle) - dx * np.sin(angle)) - front / 2
        is_broken = [feature.shape in BROKEN for feature in self.features]
        return np.where(is_broken, np.nan, np.hypot(np.maximum(ahead, 0), np.maximum(aside, 0)))


def pois_of(world: World, feed: int) -> TownPois:
    """What stands in the town of a feed, by its index: around the stations that it has at the epoch, and elsewhere.

    It depends on nothing but the world.
    """
    town = _Surroundings(world, feed)
    for station in _stations(world, feed):
        town.add_around(station)
    town.add_landmarks()
    town.add_broken()
    return TownPois(world.feeds[feed], tuple(town.features))


def write_pois(world: World, lake: Lake, at: dt.datetime) -> int:
    """Keep in the lake what a refresh of all towns would have brought; returns how many features are new.

    Nothing changes in these towns: a town that the lake has is left as it is.

    Args:
        world: whose towns.
        lake: in whose archive.
        at: when the refresh began; if a town is there already, then when that one did.

    Raises:
        WrongKind: the lake holds real data, or another simulated world.
        LakeError: the lake cannot be read or written.
    """
    lake.raw.claim(kind_of(world))
    held = {kept.refresh.city: kept.refresh.refreshed_at for kept in lake.pois.refreshes()}
    at = min(held.values(), default=at)
    features = 0
    for number, feed in enumerate(world.feeds):
        if feed not in held:
            refresh = Refresh(f"sim-{world.seed}", at, SIMULATOR, feed, "ok", None, 0)
            features += lake.pois.put(refresh, pois_of(world, number).table(world.epoch)).features
    return features


class _Surroundings:
    """Puts things into a town."""

    def __init__(self, world: World, feed: int) -> None:
        self.features: list[Feature] = []
        self._city = world.towns[feed].city
        self._number = FEEDS.index(self._city.feed)
        self._rng = stream(world.seed, Stream.POIS, self._number)

    def add_around(self, station: Station) -> None:
        """What people find at a station, and sometimes the station itself."""
        rng, place = self._rng, (station.longitude, station.latitude)
        around = [(tag, share) for share, tags in AROUND[station.kind].items() for tag in tags]
        for tag, share in around:
            if rng.random() < share:
                is_around = tag == "amenity=parking" and rng.random() < _AROUND_IT
                metres = 0.0 if is_around else math.exp(rng.uniform(math.log(_NEAR_M), math.log(_FAR_M)))
                self._add(tag, place, metres)
        if rng.random() < _LISTED:
            tags = {"amenity": "charging_station", "operator": station.operator[1]}
            self._put("point", tags, place, rng.uniform(0.2, 3), Thing())

    def add_landmarks(self) -> None:
        """What a town has once."""
        for number in range(_LANDMARKS_PER_TOWN):
            tag = LANDMARKS[(self._number * _LANDMARKS_PER_TOWN + number) % len(LANDMARKS)]
            self._add(tag, (self._city.longitude, self._city.latitude), self._rng.uniform(*_LANDMARK_M))

    def add_broken(self) -> None:
        """In some towns, what was drawn wrongly, or came without its members."""
        place = self._city.longitude, self._city.latitude
        broken: tuple[tuple[int, str, Shape], ...] = (
            (3, "shop=supermarket", "crossed"),
            (4, "amenity=university", "none"),
        )
        for every, tag, shape in broken:
            if self._number % every == 0:
                self._put(shape, self._tags(tag), place, _BROKEN_M, THINGS[tag])

    def _add(self, tag: str, place: tuple[float, float], metres: float) -> None:
        """A thing whose edge is so far from a place in any direction; at 0 m it is around the place."""
        rng, thing = self._rng, THINGS[tag]
        shape: Shape = "area" if thing.front_m else "point"
        if thing.front_m and tag.startswith("shop=") and rng.random() < _OPEN:
            shape, thing = "line", thing._replace(depth_m=0)
        elif thing.front_m >= _LEAST_RELATION_M and rng.random() < _RELATION:
            shape = "multi_area"
        self._put(shape, self._tags(tag), place, metres, thing)

    def _put(self, shape: Shape, tags: Mapping[str, str], place: tuple[float, float], metres: float, of: Thing) -> None:
        rng = self._rng
        angle = rng.uniform(0, 2 * math.pi)
        # To its middle: ahead, and to the side by so little that its front is still what is nearest.
        ahead = metres + of.depth_m / 2 if metres else rng.uniform(-0.4, 0.4) * of.depth_m
        aside = rng.uniform(-0.4, 0.4) * of.front_m
        longitude, latitude = _moved(place, [(ahead, aside)], angle)[0].tolist()
        osm_id = _FIRST_ID + self._number * _IDS_PER_TOWN + len(self.features) + 1
        self.features.append(Feature(osm_id, shape, tags, longitude, latitude, angle, of.front_m, of.depth_m))

    def _tags(self, tag: str) -> dict[str, str]:
        rng, thing = self._rng, THINGS[tag]
        key, _, value = tag.partition("=")
        tags = {key: value, "addr:city": self._city.name}
        if thing.names and rng.random() >= _UNNAMED:
            tags["name"] = _named(thing, self._city, rng)
        if thing.opening_hours:
            tags["opening_hours"] = thing.opening_hours
        if thing.front_m and thing.is_building:
            tags["building"] = "yes"
        return tags


def _named(thing: Thing, city: City, rng: np.random.Generator) -> str:
    return thing.names[int(rng.integers(len(thing.names)))].format(city.name)


def _stations(world: World, feed: int) -> Iterator[Station]:
    for version in world.versions:
        if version.feed == feed and version.opens <= world.start_s < version.closes:
            yield version.station


# -- shapes ----------------------------------------------------------------------------------------------------------


def _metres_per_degree(latitude: float | Floats) -> tuple[Floats, Floats]:
    """Of longitude and of latitude, there, on the ellipsoid of WGS 84."""
    phi = np.radians(latitude)
    east = 111_412.84 * np.cos(phi) - 93.5 * np.cos(3 * phi) + 0.118 * np.cos(5 * phi)
    return east, 111_132.92 - 559.82 * np.cos(2 * phi) + 1.175 * np.cos(4 * phi)


def _moved(place: tuple[float, float], offsets: list[tuple[float, float]], angle: float) -> NDArray[np.float64]:
    """Places by their offsets in metres, along the angle and to the left of it: degrees as on the map, shape (n, 2)."""
    ahead, aside = np.array(offsets).T
    dx, dy = ahead * math.cos(angle) - aside * math.sin(angle), ahead * math.sin(angle) + aside * math.cos(angle)
    east, north = _metres_per_degree(place[1])
    return np.column_stack([place[0] + dx / east, place[1] + dy / north]).round(7)


def _wkb(feature: Feature) -> bytes | None:
    """Its shape as little-endian WKB."""
    place, angle = (feature.longitude, feature.latitude), feature.angle
    d, f = feature.depth_m / 2, feature.front_m / 2
    match feature.shape:
        case "none":
            return None
        case "point":
            return struct.pack("<BI2d", 1, 1, *place)
        case "line":
            return struct.pack("<BII", 1, 2, 2) + _moved(place, [(0, -f), (0, f)], angle).tobytes()
        case "crossed":
            ring = [(-d, -f), (d, f), (d, -f), (-d, f), (-d, -f)]
        case _:
            ring = [(-d, -f), (d, -f), (d, f), (-d, f), (-d, -f)]
    area = struct.pack("<BIII", 1, 3, 1, len(ring)) + _moved(place, ring, angle).astype("<f8").tobytes()
    return struct.pack("<BII", 1, 6, 1) + area if feature.shape == "multi_area" else area
