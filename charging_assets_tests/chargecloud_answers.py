"""Small answers in the form of the chargecloud API, for tests that need to say exactly what is in one."""

import json
from typing import Any


def connector(id_: Any = "1", status: Any = "AVAILABLE", **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "status": status,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "ampere": "32",
        "voltage": "400",
        "max_power": 22,
        "tariff_id": None,
        **more,
    }


def evse(id_: Any = "DE*ABC*E1", status: Any = "AVAILABLE", connectors: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "uid": "9001",
        "id": id_,
        "status": status,
        "reservable": False,
        "capabilities": ["RFID_READER"],
        "floor_level": "",
        "vehicle_type": "four_wheeled",
        "roaming": False,
        "connectors": [connector(f"{id_}-c", status)] if connectors is None else connectors,
        **more,
    }


def location(id_: Any = "100", evses: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "name": "Musterstr. 1 ",
        "address": "Musterstr. 1",
        "city": "Musterstadt",
        "coordinates": {"latitude": "48.8", "longitude": "9.1"},
        "operator": {"operatorId": "MST", "name": "Stadtwerke", "hotline": "+49711"},
        "opening_times": {"twentyfourseven": True},
        "owner": None,
        "evses": [evse()] if evses is None else evses,
        "tariffZones": [],
        **more,
    }


def answer(*locations: Any, timestamp: str = "2024-10-23T13:16:09+02:00", **more: Any) -> bytes:
    envelope = {"currentLocale": "de_DE", "data": list(locations), "status_code": 1000, "status_message": "Success"}
    return json.dumps({**envelope, "timestamp": timestamp, **more}).encode()


def city(points: int, statuses: str = "AVAILABLE", name: str = "X", **more: Any) -> bytes:
    """An answer with `points` charging points, one per location, all in one status."""
    return answer(
        *(location(str(100 + n), [evse(f"DE*{name}*E{n:03d}", statuses)]) for n in range(points)),
        **more,
    )
