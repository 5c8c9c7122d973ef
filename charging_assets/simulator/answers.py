"""The JSON that a feed answers, as chargecloud words it: numbers as strings, blanks at the end, nulls, ballast.

Almost everything in an answer was in the one before. So each station's text is kept, and made anew only when a status
in it changed; an answer is made by joining them.
"""

import datetime as dt
import json
import threading
from typing import Any

import numpy as np

from charging_assets.calendar import BERLIN
from charging_assets.simulator.sessions import AVAILABLE, STATUSES
from charging_assets.simulator.stations import Point, Station
from charging_assets.simulator.world import Longs, Version, World

_LOCALES = {"de_DE": "Deutsch", "en_GB": "English", "es_ES": "Español", "nl_NL": "Nederlands"}
_LOCALES |= {"fr_FR": "Français", "it_IT": "Italiano", "pl_PL": "Polski"}
_LANGUAGES = {"de_DE": "German (Germany)", "en_GB": "English (United Kingdom)", "nl_NL": "Dutch (Netherlands)"}
_LANGUAGES |= {"pl_PL": "Polski (Polska)", "fr_FR": "French (France)"}
_CAPABILITIES = ("RFID_READER", "REMOTE_START_STOP_CAPABLE")
_MALL_HOURS = [{"weekday": day, "period_begin": "08:00", "period_end": "20:00"} for day in range(1, 7)]
_CUT = b'"@"'
"""Stands where a text is cut to be filled in."""


class _Location:
    """One station's text, cut where its EVSEs belong."""

    def __init__(self, version: Version, first_point: int) -> None:
        self.points = [number - first_point for number in version.points]
        """Indices among the points of the feed."""
        self._before, self._after = _encoded(_location(version.station)).split(_CUT)
        self._evses = version.station.points

    def text(self, statuses: Longs, known: dict[tuple[int, int], bytes]) -> bytes:
        """The location as JSON; `known` are the texts of EVSEs by (point, status), those made here are added."""
        texts = []
        for point, evse in zip(self.points, self._evses, strict=True):
            status = int(statuses[point])
            if (text := known.get((point, status))) is None:
                text = known[point, status] = _encoded(_evse(evse, status))
            texts.append(text)
        return b"%s%s%s" % (self._before, b",".join(texts), self._after)


class AnswerWriter:
    """Writes the answers of one feed; safe to use from several threads, fastest in the order of time."""

    def __init__(self, world: World, feed: int) -> None:
        self._first_point = world.points_of(feed).start
        self._versions = [version for version in world.versions if version.feed == feed]
        self._turns = np.unique([(version.opens, version.closes) for version in self._versions])
        self._lock = threading.Lock()
        self._evses: dict[tuple[int, int], bytes] = {}
        # The answer before: between which turns it lay, its statuses, its locations and their texts.
        self._turn = -1
        self._statuses: Longs = np.zeros(0, np.int64)
        self._locations: list[_Location] = []
        self._texts: list[bytes] = []
        self._location_of: dict[int, int] = {}

    def write(self, time: int, statuses: Longs) -> bytes:
        """The answer at a time.

        Args:
            time: seconds since 1970.
            statuses: codes, one for each of the feed's points in `World.points`.
        """
        with self._lock:
            turn = int(np.searchsorted(self._turns, time, side="right"))
            if turn != self._turn:
                self._turn = turn
                self._open(time)
                changed = set(range(len(self._locations)))
            else:
                points = np.flatnonzero(statuses != self._statuses).tolist()
                changed = {self._location_of[point] for point in points if point in self._location_of}
            self._statuses = statuses
            for number in changed:
                self._texts[number] = self._locations[number].text(statuses, self._evses)
            return _envelope(time, self._texts)

    def _open(self, time: int) -> None:
        """Begin a time between two turns, in which stations do not change."""
        versions = [version for version in self._versions if version.opens <= time < version.closes]
        self._locations = [_Location(version, self._first_point) for version in versions]
        self._texts = [b""] * len(versions)
        self._location_of = {
            point: number for number, location in enumerate(self._locations) for point in location.points
        }


def empty_answer(time: int) -> bytes:
    """What the API answers for a feed that it does not know."""
    return _envelope(time, [])


def _envelope(time: int, locations: list[bytes]) -> bytes:
    local = dt.datetime.fromtimestamp(time, BERLIN).isoformat()
    return b"%s%s%s%s%s" % (_BEFORE, b",".join(locations), _BETWEEN, _encoded(local), _AFTER)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _location(station: Station) -> dict[str, Any]:
    operator_id, operator, hotline = station.operator
    return {
        "id": station.id,
        "name": station.name,
        "status": "active",
        "address": station.address,
        "city": station.city,
        "postal_code": station.postal_code,
        "country": "DE",
        "directions": station.directions,
        "comment": "",
        "coordinates": {"latitude": f"{station.latitude:.6f}", "longitude": f"{station.longitude:.6f}"},
        "distance_in_m": "0",
        "operator": {"operatorId": operator_id, "name": operator, "hotline": hotline},
        "opening_times": {"twentyfourseven": True}
        if station.is_always_open
        else {"twentyfourseven": False, "regular_hours": _MALL_HOURS},
        "owner": None,
        "roaming": station.roaming,
        "evses": ["@"],
        "tariffZones": station.tariff_zones,
    }


def _evse(point: Point, status: int) -> dict[str, Any]:
    reservable = status == AVAILABLE if point.reservable is None else point.reservable
    return {
        "uid": point.uid,
        "id": point.evse_id,
        "status": STATUSES[status],
        "reservable": reservable,
        "capabilities": [*_CAPABILITIES, "RESERVABLE"] if reservable else _CAPABILITIES,
        "physical_reference": "",
        "floor_level": point.floor_level,
        "vehicle_type": "four_wheeled",
        "chargePointPosition": point.position,
        "chargePointPublicComment": None,
        "chargePointParkingSpaceNumbers": point.parking_space,
        "chargingStationPosition": point.station_position,
        "roaming": False,
        "connectors": [
            {
                "id": id_,
                "status": STATUSES[status],
                "standard": plug.standard,
                "format": plug.format,
                "power_type": plug.power_type,
                "ampere": plug.ampere,
                "voltage": plug.voltage,
                "max_power": plug.max_power,
                "tariff_id": None,
            }
            for id_, plug in point.connectors
        ],
    }


_BEFORE, _BETWEEN, _AFTER = _encoded(
    {
        "languages": _LANGUAGES,
        "localesLanguageMap": {
            locale: {"flag": "gb" if locale == "en_GB" else locale[:2], "text": text}
            for locale, text in _LOCALES.items()
        },
        "currentLocale": "de_DE",
        "data": ["@"],
        "status_code": 1000,
        "status_message": "Success",
        "timestamp": "@",
    }
).split(_CUT)
