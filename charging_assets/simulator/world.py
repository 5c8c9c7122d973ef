"""The world that is simulated: stations, their points, and how they change over the years.

Belongs here: what there is, from when to when. Does not belong here: what happens at it (`sessions`).

The number of points and connectors is the same at every instant: a station that closes is followed by a new one of the
same equipment elsewhere in its feed.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charging_assets.simulator.stations import (
    EXTRA_PLUGS,
    MAIN_PLUG,
    UPGRADES,
    Builder,
    Draft,
    Point,
    Station,
    make_draft,
)
from charging_assets.simulator.streams import Stream, stream
from charging_assets.simulator.town import CITIES, FEEDS, KINDS, Town, lay_out, shifted

POINTS = 2_423
CONNECTORS = 2_806

DAY_S = 86_400
HORIZON_DAYS = 3 * 366
"""How long after its epoch a world goes on."""

BEFORE_EPOCH_DAYS = 60
"""How long before the epoch points begin to exist, so that at the epoch some have been broken for weeks."""

CHANGES_PER_YEAR = {"renamed": 0.10, "upgraded": 0.05, "moved": 0.03, "replaced": 0.05}
"""Mean number of changes of each kind per station. A replaced station closes, and another one opens for it."""

_YEAR_S = 365.25 * DAY_S

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


class Change(NamedTuple):
    """One change of master data. A new station has no `before`, a closed one no `after`."""

    time: int
    """UTC, seconds since 1970."""
    feed: str
    id_cs: str
    kind: str
    """`renamed`, `upgraded`, `moved`, `opened` or `closed`."""
    before: str | None
    after: str | None


class Version(NamedTuple):
    """A station while it did not change."""

    feed: int
    """Index into `World.feeds`."""
    station: Station
    points: range
    """Which of the simulated points are its own."""
    opens: int
    closes: int


@dataclass(frozen=True, slots=True)
class Points:
    """Simulated points in columns, those of a feed side by side.

    A point of the API that is upgraded is two of these, with the same EVSE-ID, one after the other.
    """

    evse_id: list[str]
    feed: Longs
    station: Longs
    """Points with the same number stand at one station."""
    kind: Longs
    """Index into `KINDS`."""
    power: Longs
    """In kW; from 50 on it is direct current."""
    opens: Longs
    """UTC, seconds since 1970, as all times here."""
    closes: Longs
    popularity: Floats
    """How much busier than others of its power; 1 on average."""
    demand: Floats
    """How many times as many people come as would without planted effects (`effects`); 1 without any."""

    def __len__(self) -> int:
        return len(self.evse_id)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that exists from the epoch to the end; see `make_world`."""

    seed: int
    epoch: dt.datetime
    """Where the simulation begins: midnight UTC."""
    towns: tuple[Town, ...]
    versions: tuple[Version, ...]
    """Sorted by feed, id and time."""
    changes: tuple[Change, ...]
    """Sorted by time."""
    points: Points

    @property
    def feeds(self) -> tuple[str, ...]:
        """What the feeds are called, in the order of their indices."""
        return tuple(town.city.feed for town in self.towns)

    @property
    def start_s(self) -> int:
        """The epoch in seconds since 1970."""
        return int(self.epoch.timestamp())

    @property
    def end_s(self) -> int:
        """Where the world ends, in seconds since 1970."""
        return self.start_s + HORIZON_DAYS * DAY_S

    def points_of(self, feed: int) -> slice:
        """Which of the simulated points are of a feed, by its index."""
        first, end = np.searchsorted(self.points.feed, [feed, feed + 1])
        return slice(int(first), int(end))


def make_world(
    seed: int,
    epoch: dt.datetime,
    *,
    feeds: Sequence[str] = FEEDS,
    points: int = POINTS,
    connectors: int = CONNECTORS,
) -> World:
    """A world that depends on nothing but these arguments.

    Args:
        seed: of everything random.
        epoch: where the simulation begins: midnight UTC.
        feeds: some of `FEEDS`.
        points: charging points at every instant.
        connectors: connectors at every instant; one per point, and more as far as there are points that have several.

    Raises:
        ValueError: the arguments do not go together.
    """
    if epoch.utcoffset() != dt.timedelta(0) or epoch.timestamp() % DAY_S:
        raise ValueError(f"epoch: expected a midnight in UTC, got {epoch!r}")
    if unknown := set(feeds) - set(FEEDS):
        raise ValueError(f"feeds {sorted(unknown)} are not simulated; there are: {', '.join(FEEDS)}")
    if points < len(feeds):
        raise ValueError(f"points: expected at least one for each of the {len(feeds)} feeds, got {points}")
    numbers = [FEEDS.index(feed) for feed in feeds]
    generators = [stream(seed, Stream.STATIONS, number) for number in numbers]
    towns = [lay_out(CITIES[number], rng) for number, rng in zip(numbers, generators, strict=True)]
    plans = [_drafts(*each) for each in zip(towns, _rooms(towns, points), generators, strict=True)]
    extras = _extras([draft for drafts in plans for draft in drafts], connectors, seed)
    start = int(epoch.timestamp())
    lives = _Lives(start, start + HORIZON_DAYS * DAY_S)
    for feed, (town, drafts, rng) in enumerate(zip(towns, plans, generators, strict=True)):
        builder = Builder(town, numbers[feed])
        changing = stream(seed, Stream.CHANGES, numbers[feed])
        for draft in drafts:
            lives.live(feed, builder.build(draft, next(extras), rng), builder, changing)
    versions = sorted(lives.versions, key=lambda version: (version.feed, int(version.station.id), version.opens))
    changes = sorted(lives.changes, key=lambda change: (change.time, change.id_cs))
    return World(seed, epoch, tuple(towns), tuple(versions), tuple(changes), lives.points(seed))


class _Lives:
    """Lives of stations from the epoch to the end of the world, with all their changes."""

    def __init__(self, start: int, end: int) -> None:
        self.versions: list[Version] = []
        self.changes: list[Change] = []
        self._rows: list[list[Any]] = []
        self._stations = 0
        self._start, self._end = start, end

    def live(self, feed: int, station: Station, builder: Builder, rng: np.random.Generator) -> None:
        """A station's life, and those of its successors."""
        kinds, rates = list(CHANGES_PER_YEAR), np.array(list(CHANGES_PER_YEAR.values()))
        opens = self._start - BEFORE_EPOCH_DAYS * DAY_S
        points = self._equip(feed, station, opens)
        time = self._start
        while (time := time + 1 + int(rng.exponential(_YEAR_S / rates.sum()))) < self._end:
            kind = kinds[int(rng.choice(len(kinds), p=rates / rates.sum()))]
            if kind == "upgraded" and station.points[0].power not in UPGRADES:
                kind = "renamed"
            changed = _CHANGED[kind](station, builder, rng)
            self.changes += _described(time, builder.feed, kind, station, changed)
            self.versions.append(Version(feed, station, points, opens, time))
            if kind in ("replaced", "upgraded"):
                for index in points:
                    self._rows[index][-1] = time
                points = self._equip(feed, changed, time)
            station, opens = changed, time
        self.versions.append(Version(feed, station, points, opens, self._end))

    def _equip(self, feed: int, station: Station, opens: int) -> range:
        """Begin to simulate the points of a station."""
        first, kind = len(self._rows), KINDS.index(station.kind)
        for point in station.points:
            self._rows.append([point.evse_id, feed, self._stations, kind, point.power, opens, self._end])
        self._stations += 1
        return range(first, len(self._rows))

    def points(self, seed: int) -> Points:
        """All points that were equipped."""
        evse_id, *numbers = zip(*self._rows, strict=True)
        feed, station, kind, power, opens, closes = (np.array(column, np.int64) for column in numbers)
        rng = stream(seed, Stream.POPULARITY)
        popularity = rng.lognormal(0, 0.4, self._stations)[station] * rng.lognormal(0, 0.2, len(evse_id))
        mean = np.exp((0.4**2 + 0.2**2) / 2)
        demand = np.ones(len(evse_id))
        return Points(list(evse_id), feed, station, kind, power, opens, closes, popularity / mean, demand)


def _renamed(station: Station, _builder: Builder, rng: np.random.Generator) -> Station:
    return replace(station, name=f"{station.address.strip()} LADE / {rng.integers(100, 900)}-S-01")


def _upgraded(station: Station, _builder: Builder, _rng: np.random.Generator) -> Station:
    def upgraded(point: Point) -> Point:
        (id_, _), *others = point.connectors
        return replace(point, connectors=((id_, MAIN_PLUG[UPGRADES[point.power]]), *others))

    return replace(station, points=tuple(map(upgraded, station.points)))


def _moved(station: Station, _builder: Builder, rng: np.random.Generator) -> Station:
    longitude, latitude = shifted(station.longitude, station.latitude, rng.uniform(0.05, 0.4), rng)
    return replace(station, longitude=longitude, latitude=latitude)


def _successor(station: Station, builder: Builder, rng: np.random.Generator) -> Station:
    """A new station of the same equipment, at a place of the same kind."""
    places = [place for place in builder.town.places if place.kind == station.kind]
    draft = Draft(places[int(rng.integers(len(places)))], station.points[0].power, len(station.points))
    return builder.build(draft, [len(point.connectors) - 1 for point in station.points], rng)


_CHANGED = {"renamed": _renamed, "upgraded": _upgraded, "moved": _moved, "replaced": _successor}


def _described(time: int, feed: str, kind: str, before: Station, after: Station) -> list[Change]:
    match kind:
        case "replaced":
            return [
                Change(time, feed, before.id, "closed", before.name, None),
                Change(time, feed, after.id, "opened", None, after.name),
            ]
        case "renamed":
            texts = before.name, after.name
        case "moved":
            texts = _position(before), _position(after)
        case _:
            texts = f"{before.points[0].power} kW", f"{after.points[0].power} kW"
    return [Change(time, feed, before.id, kind, *texts)]


def _position(station: Station) -> str:
    return f"{station.latitude:.6f}, {station.longitude:.6f}"


def _rooms(towns: Sequence[Town], points: int) -> list[int]:
    """How many points each town has: at least one, the others by largest remainders of population^0.7."""
    weight = np.array([town.city.population for town in towns], float) ** 0.7
    share = weight / weight.sum() * (points - len(towns))
    rooms = share.astype(int) + 1
    largest = np.argsort(rooms - 1 - share, kind="stable")[: points - rooms.sum()]
    rooms[largest] += 1
    return [int(room) for room in rooms]


def _drafts(town: Town, room: int, rng: np.random.Generator) -> list[Draft]:
    drafts = []
    while room:
        drafts.append(make_draft(town.places, room, rng))
        room -= drafts[-1].size
    return drafts


def _extras(drafts: Sequence[Draft], connectors: int, seed: int) -> Iterator[list[int]]:
    """Per station: how many extra plugs each point has; as many in all as make up the connectors of the world.

    Points of 50 kW get theirs first, since those are the ones that have three plugs in reality.

    Raises:
        ValueError: there are more connectors than fit, or fewer than points.
    """
    power = np.array([draft.power for draft in drafts for _ in range(draft.size)])
    room = np.array([len(EXTRA_PLUGS[kw]) for kw in power.tolist()])
    if not 0 <= connectors - len(power) <= room.sum():
        raise ValueError(
            f"connectors: expected {len(power)} to {len(power) + room.sum()} for the {len(power)} points of this seed, "
            f"got {connectors}"
        )
    slot = np.repeat(np.arange(len(power)), room)
    rank = stream(seed, Stream.STATIONS, len(CITIES)).random(len(slot)) + (power[slot] > 50) - (power[slot] == 50)
    taken = slot[np.argsort(rank, kind="stable")[: connectors - len(power)]]
    counts = np.bincount(taken, minlength=len(power)).tolist()
    end = 0
    for draft in drafts:
        yield counts[end : (end := end + draft.size)]
