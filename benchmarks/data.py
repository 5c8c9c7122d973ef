"""Raw days to measure on: the captured answer (or one of the same shape) scaled up, with statuses that change.

Statuses flip with a given probability per poll and point, `reservable` follows the status, as it seems to do in the
real feeds; everything else stays the same from poll to poll. JSON is written without blanks, as an API sends it.
"""

import datetime as dt
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CAPTURE = Path(__file__).resolve().parents[2] / "shared/data/chargecloud/SW-Stuttgart_2024-10-23T131609+0200.json"


def answer_of_shape() -> dict[str, Any]:
    """The captured answer where it is at hand, else a made-up one of its shape: 234 locations, 523 EVSEs."""
    if CAPTURE.exists():
        answer: dict[str, Any] = json.loads(CAPTURE.read_bytes())
        return answer
    rng = random.Random(1)
    sizes = [rng.choice((1, 2, 2, 2, 2, 2, 2, 4)) for _ in range(234)]
    sizes[-1] += 523 - sum(sizes)
    return {"data": [_location(n, size) for n, size in enumerate(sizes)], "status_code": 1000, "timestamp": ""}


def polls(points: int, count: int, changing: float, seed: int = 1) -> Iterator[dict[str, bytes]]:
    """`count` polls of as many feeds as `points` charging points need: {feed: answer}.

    Args:
        points: charging points in all feeds together; 523 a feed as in the capture, the last one is cut to fit.
        count: polls.
        changing: share of the points that change their status from one poll to the next.
        seed: of the random changes.
    """
    rng = random.Random(seed)
    feeds = [_Feed(number, limit) for number, limit in enumerate(_limits(points))]
    for number in range(count):
        if number:
            for feed in feeds:
                feed.change(rng, changing)
        yield {feed.name: feed.answer(number) for feed in feeds}


def _limits(points: int) -> Iterator[int]:
    while points > 0:
        yield min(points, 523)
        points -= 523


class _Feed:
    """One feed's answer, cut into one text per point and status: a poll is made by joining, not by encoding JSON."""

    def __init__(self, number: int, limit: int) -> None:
        self.name = f"feed-{number:03d}"
        answer = answer_of_shape()
        answer["timestamp"] = "@time@"
        kept = []
        for location in answer["data"]:
            location["id"] = f"{number}{location['id']}"
            location["evses"] = location["evses"][:limit]
            limit -= len(location["evses"])
            for evse in location["evses"]:
                evse["id"] = f"{evse['id']}*{number}"
                evse["status"] = "@status@"
                evse["reservable"] = "@reservable@"
                for connector in evse["connectors"]:
                    connector["id"] = f"{number}{connector['id']}"
                    connector["status"] = "@status@"
                evse["end"] = "@end@"
            kept.append(location)
            if limit <= 0:
                break
        answer["data"] = kept
        text = json.dumps(answer, separators=(",", ":"))
        text = text.replace(',"end":"@end@"', "@end@")
        self._points = text.split("@end@")
        self._free = [part.replace("@status@", "AVAILABLE").replace('"@reservable@"', "true") for part in self._points]
        self._busy = [part.replace("@status@", "CHARGING").replace('"@reservable@"', "false") for part in self._points]
        self._is_busy = [index % 5 == 0 for index in range(len(self._points))]

    def change(self, rng: random.Random, share: float) -> None:
        self._is_busy = [busy != (rng.random() < share) for busy in self._is_busy]

    def answer(self, number: int) -> bytes:
        time = dt.datetime(2024, 10, 23, tzinfo=dt.UTC) + dt.timedelta(minutes=10 * number)
        parts = [
            busy if is_busy else free for is_busy, busy, free in zip(self._is_busy, self._busy, self._free, strict=True)
        ]
        return "".join(parts).replace("@time@", time.isoformat()).encode()


def _location(number: int, evses: int) -> dict[str, Any]:
    return {
        "id": str(490000 + number),
        "name": f"Musterstr. {number} LADE / {number}-N-01",
        "status": "active",
        "address": f"Musterstr. {number}",
        "city": "Musterstadt",
        "postal_code": "70469",
        "country": "DE",
        "directions": "",
        "comment": "",
        "coordinates": {"latitude": f"48.{816269 + number}", "longitude": f"9.{171917 + number}"},
        "distance_in_m": "0",
        "operator": {"operatorId": "MST", "name": "Stadtwerke Musterstadt GmbH", "hotline": "+4971112345678"},
        "opening_times": {"twentyfourseven": True},
        "owner": None,
        "roaming": False,
        "evses": [_evse(number, evse) for evse in range(evses)],
        "tariffZones": ["2848"],
    }


def _evse(location: int, number: int) -> dict[str, Any]:
    return {
        "uid": str(1140000 + 10 * location + number),
        "id": f"DE*MST*E{10000 + location}*{number + 1:03d}",
        "status": "AVAILABLE",
        "reservable": True,
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
        "physical_reference": "",
        "floor_level": "",
        "vehicle_type": "four_wheeled",
        "chargePointPosition": None,
        "chargePointPublicComment": None,
        "chargePointParkingSpaceNumbers": None,
        "chargingStationPosition": None,
        "roaming": False,
        "connectors": [
            {
                "id": str(327200000 + 10 * location + number),
                "status": "AVAILABLE",
                "standard": "IEC_62196_T2",
                "format": "SOCKET",
                "power_type": "AC_3_PHASE",
                "ampere": "32",
                "voltage": "400",
                "max_power": 22,
                "tariff_id": None,
            }
        ],
    }
