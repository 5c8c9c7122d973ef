"""Stations as a feed describes them: where they stand, what they have, and the quirks of their texts.

Belongs here: one station at one time. Does not belong here: how many there are and how they change (`world`), and the
JSON (`answers`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charging_assets.simulator.town import Place, Town, shifted


class Plug(NamedTuple):
    """The technical side of a connector, as the API words it; `max_power` in kW."""

    standard: str
    format: str
    power_type: str
    ampere: str
    voltage: str
    max_power: int


MAIN_PLUG = {
    3: Plug("IEC_62196_T2", "SOCKET", "AC_1_PHASE", "16", "230", 3),
    11: Plug("IEC_62196_T2", "SOCKET", "AC_3_PHASE", "16", "400", 11),
    22: Plug("IEC_62196_T2", "SOCKET", "AC_3_PHASE", "32", "400", 22),
    50: Plug("IEC_62196_T2_COMBO", "CABLE", "DC", "125", "500", 50),
    150: Plug("IEC_62196_T2_COMBO", "CABLE", "DC", "350", "920", 150),
    300: Plug("IEC_62196_T2_COMBO", "CABLE", "DC", "400", "1000", 300),
}
"""The plug that gives a point its power, by kW; from 50 kW on it is direct current."""

_SCHUKO = Plug("DOMESTIC_F", "SOCKET", "AC_1_PHASE", "16", "230", 3)
_CHADEMO = Plug("CHADEMO", "CABLE", "DC", "125", "500", 50)
_TYPE_2_CABLE = Plug("IEC_62196_T2", "CABLE", "AC_3_PHASE", "63", "400", 43)
EXTRA_PLUGS = {
    3: (),
    11: (_SCHUKO,),
    22: (_SCHUKO,),
    50: (_CHADEMO, _TYPE_2_CABLE),
    150: (_CHADEMO, _TYPE_2_CABLE),
    300: (_CHADEMO, _TYPE_2_CABLE),
}
"""What a point may have beside its main plug, in this order."""

UPGRADES = {3: 11, 11: 22, 50: 150, 150: 300}

# Shares of stations by place, of powers and sizes by kind of place: (value, weight) pairs.
_KIND_SHARES = {"centre": 0.20, "mall": 0.12, "motorway": 0.05, "residential": 0.46, "business": 0.17}
_POWERS = {
    "centre": ((22, 0.85), (11, 0.08), (50, 0.07)),
    "mall": ((22, 0.5), (50, 0.25), (150, 0.25)),
    "motorway": ((50, 0.1), (150, 0.4), (300, 0.5)),
    "residential": ((22, 0.74), (11, 0.22), (3, 0.04)),
    "business": ((22, 0.65), (11, 0.33), (50, 0.02)),
}
_SIZES = {
    "centre": ((1, 0.05), (2, 0.75), (4, 0.15), (6, 0.05)),
    "mall": ((2, 0.55), (4, 0.3), (6, 0.1), (20, 0.05)),
    "motorway": ((4, 0.5), (6, 0.3), (8, 0.15), (12, 0.05)),
    "residential": ((1, 0.1), (2, 0.85), (4, 0.05)),
    "business": ((2, 0.7), (4, 0.2), (10, 0.07), (16, 0.03)),
}
_DIRECTIONS = (
    "Die Ladepunkte befinden sich in der Tiefgarage im 2. Untergeschoss.",
    "Zufahrt über den Hof.\r\n\r\nBitte beachten Sie: \r\nNachts ist das Tor geschlossen.",
    "Parkplatz hinter dem Haus ",
)
_LONG_FLOOR = (
    "Tiefgarage, 2. Untergeschoss, hinter der Schranke rechts, Stellplätze 214 bis 219, Zugang vom Treppenhaus"
)


@dataclass(frozen=True, slots=True)
class Point:
    """One EVSE; fields as in the API."""

    uid: str
    evse_id: str
    connectors: tuple[tuple[str, Plug], ...]
    """(id, plug) of each."""
    reservable: bool | None
    """None: whenever it is free."""
    floor_level: str
    parking_space: str | None
    position: str | None
    station_position: str | None

    @property
    def power(self) -> int:
        """Power in kW, a key of `MAIN_PLUG`."""
        return self.connectors[0][1].max_power


@dataclass(frozen=True, slots=True)
class Station:
    """One location; fields as in the API."""

    id: str
    name: str
    address: str
    city: str
    postal_code: str
    directions: str
    longitude: float
    latitude: float
    operator: tuple[str, str, str]
    """Id, name, hotline."""
    is_always_open: bool
    roaming: bool
    tariff_zones: tuple[str, ...]
    kind: str
    """Of its place; not part of the answers."""
    points: tuple[Point, ...]


class Draft(NamedTuple):
    """What a station will be: its place, the power of its points in kW and their number."""

    place: Place
    power: int
    size: int


def make_draft(places: Sequence[Place], room: int, rng: np.random.Generator) -> Draft:
    """A new station of at most `room` points at one of the places."""
    kinds = list(_KIND_SHARES)
    kind = kinds[int(rng.choice(len(kinds), p=list(_KIND_SHARES.values())))]
    candidates = [place for place in places if place.kind == kind]
    place = candidates[int(rng.integers(len(candidates)))]
    return Draft(place, _pick(_POWERS[kind], rng), min(room, _pick(_SIZES[kind], rng)))


class Builder:
    """Makes the stations of one feed and numbers everything in them.

    Args:
        town: where they stand.
        number: of the feed; part of every id, so that no two feeds share one.
    """

    def __init__(self, town: Town, number: int) -> None:
        self.town = town
        self._number = number
        self._stations = self._points = self._connectors = 0
        code = town.city.feed[:3].upper()
        self._code = code
        name = f"Simulierte Stadtwerke {town.city.name}"
        # Hotlines lie in a range that the Bundesnetzagentur keeps free for films.
        self._operators = ((code, name, f"+49221471000{number:02d}"), (code, name, f"+49221471001{number:02d}"))

    @property
    def feed(self) -> str:
        """What the feed is called."""
        return self.town.city.feed

    def build(self, draft: Draft, extras: Sequence[int], rng: np.random.Generator) -> Station:
        """One station as drafted; `extras[i]` is how many plugs point `i` has beside its main one."""
        self._stations += 1
        place, city = draft.place, self.town.city
        longitude, latitude = place.longitude, place.latitude
        if rng.random() < 0.85:  # the others stand exactly at the place, so some share coordinates
            longitude, latitude = shifted(longitude, latitude, rng.uniform(0.01, 0.15), rng)
        address = f"{place.name} {rng.integers(1, 120)}" if place.kind in ("residential", "business") else place.name
        is_underground = place.kind in ("centre", "mall") and rng.random() < 0.15
        return Station(
            id=str(500_000 + 10_000 * self._number + self._stations),
            name=f"{address} LADE / {rng.integers(100, 900)}-N-{self._stations % 100:02d}{_blank(rng, 0.25)}",
            address=address + _blank(rng, 0.03),
            city=city.name + _blank(rng, 0.02),
            postal_code=city.postal_code,
            directions=_DIRECTIONS[int(rng.integers(len(_DIRECTIONS)))] if rng.random() < 0.06 else "",
            longitude=longitude,
            latitude=latitude,
            operator=self._operators[int(rng.random() < 0.02)],
            is_always_open=place.kind != "mall" or rng.random() < 0.7,
            roaming=self._number % 3 == 0,
            tariff_zones=("2848", "10434") if rng.random() < 0.03 else ("2848",),
            kind=place.kind,
            points=tuple(
                self._point(draft.power, extra, index, is_underground=is_underground, rng=rng)
                for index, extra in enumerate(extras)
            ),
        )

    def _point(self, power: int, extra: int, index: int, *, is_underground: bool, rng: np.random.Generator) -> Point:
        self._points += 1
        station = f"{10 + self._number}{self._stations:04d}"
        has_separators = self._number % 4 != 3
        plugs = (MAIN_PLUG[power], *EXTRA_PLUGS[power][:extra])
        connectors = []
        for plug in plugs:
            self._connectors += 1
            connectors.append((f"{18_900 + self._number}{self._connectors:05d}", plug))
        return Point(
            uid=f"{11 + self._number}{self._points:05d}",
            evse_id=f"DE*{self._code}*E{station}*{index + 1:03d}"
            if has_separators
            else f"DE{self._code}E{station}{index + 1:02d}",
            connectors=tuple(connectors),
            reservable=None if self._number % 3 == 1 else bool(rng.random() < 0.85),
            floor_level=(_LONG_FLOOR if rng.random() < 0.5 else "-2") if is_underground else "",
            parking_space=f"{index + 1:02d}" if is_underground else None,
            position="links" if rng.random() < 0.01 else None,
            station_position=" " if rng.random() < 0.01 else None,
        )


def _pick(weighted: Sequence[tuple[int, float]], rng: np.random.Generator) -> int:
    values, weights = zip(*weighted, strict=True)
    return int(values[int(rng.choice(len(values), p=weights))])


def _blank(rng: np.random.Generator, share: float) -> str:
    return " " if rng.random() < share else ""
