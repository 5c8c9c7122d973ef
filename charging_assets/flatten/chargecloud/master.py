"""Master data of one chargecloud location -> rows of stations, points and connectors.

Belongs here: what a value means and when it cannot be. Does not belong here: which records are used (`records`), and
how rows become runs of a day (`flatten.master`).

Texts are trimmed; blank and "-" are null; numbers in texts become numbers. What cannot be what it should is left out
and said, never guessed and never zero. `reservable` and the capability RESERVABLE may change with the status: they are
no master data.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from charging_assets.flatten.pieces import MasterRow
from charging_assets.model.tables.master import POWER_CLASSES

Reject = Callable[[str, str, Any], None]
"""Takes note of a value that cannot be used: its path below the record (``.ampere``), the reason, the value."""

_MOST_AMPERE, _MOST_VOLT, _MOST_KW = 2_000, 2_000, 2_000
_LIMITS_KW = {"AC": (3.7, 11.0, 22.0, math.inf), "DC": (50.0, 150.0, math.inf)}
_CLASSES = dict(zip(("AC", "DC"), (POWER_CLASSES[:4], POWER_CLASSES[4:]), strict=True))
_HOURS = {
    "regular_hours": ("weekday", "period_begin", "period_end"),
    "exceptional_openings": ("period_begin", "period_end"),
    "exceptional_closings": ("period_begin", "period_end"),
}
_PLENTY = 4096
"""Different lists, powers and amounts that are remembered: there are few."""
_SEPARATORS = str.maketrans("", "", "*-_ ")


def station_row(location: Mapping[str, Any], source_id: str, reject: Reject) -> MasterRow:
    """The versioned columns of `charging_station`, in their order."""
    operator = _object(location, "operator", reject)
    coordinates = _object(location, "coordinates", reject)
    opening_times = _object(location, "opening_times", reject)
    longitude = _degrees(coordinates, "longitude", 180, ".coordinates", reject)
    latitude = _degrees(coordinates, "latitude", 90, ".coordinates", reject)
    return (
        _text(location, "name", reject),
        _text(location, "address", reject),
        _text(location, "city", reject),
        _text(location, "postal_code", reject),
        _text(location, "country", reject),
        _text(location, "owner", reject),
        _flag(location, "roaming", reject),
        longitude,
        latitude,
        _text(operator, "name", reject, ".operator"),
        _text(operator, "hotline", reject, ".operator"),
        _flag(opening_times, "twentyfourseven", reject, ".opening_times"),
        source_id,
        _opening_hours(opening_times, reject),
        _text(operator, "operatorId", reject, ".operator"),
        _text(location, "directions", reject),
        _text(location, "comment", reject),
        _list(location, "tariffZones", reject),
    )


def point_row(
    evse: Mapping[str, Any],
    id_cs: int | None,
    uid: str | None,
    key: str | None,
    kws: Iterable[MasterRow],
    reject: Reject,
) -> MasterRow:
    """The versioned columns of `charging_point`, in their order.

    Args:
        evse: the record.
        id_cs: its station; None where that has no usable id.
        uid: its usable uid.
        key: its usable EVSE-ID.
        kws: what `power_of` gives for its connectors.
        reject: see `Reject`.
    """
    power, power_class = max(kws, key=lambda kw: kw[0] or 0, default=(None, None))
    return (
        id_cs,
        _text(evse, "chargingStationPosition", reject),
        _text(evse, "chargePointPosition", reject),
        _text(evse, "vehicle_type", reject),
        _text(evse, "floor_level", reject),
        _list(evse, "capabilities", reject, without="RESERVABLE"),
        _text(evse, "physical_reference", reject),
        _text(evse, "chargePointParkingSpaceNumbers", reject),
        _text(evse, "chargePointPublicComment", reject),
        uid,
        None if key is None else key.translate(_SEPARATORS).upper() or None,
        _whole(power),
        power_class,
        _flag(evse, "roaming", reject),
    )


def connector_row(connector: Mapping[str, Any], id_cp: str, power: MasterRow, reject: Reject) -> MasterRow:
    """The versioned columns of `connector`, in their order; `power` is what `power_of` gives for it."""
    kw, power_class = power
    return (
        id_cp,
        _text(connector, "format", reject),
        _text(connector, "power_type", reject),
        _whole(_number(connector, "ampere", _MOST_AMPERE, "A", reject)),
        _whole(_number(connector, "voltage", _MOST_VOLT, "V", reject)),
        _whole(kw),
        _text(connector, "standard", reject),
        _text(connector, "tariff_id", reject),
        power_class,
    )


def power_of(connector: Mapping[str, Any], reject: Reject) -> tuple[float | None, str | None]:
    """Power of a connector in kW, and its class."""
    kw = _number(connector, "max_power", _MOST_KW, "kW", reject)
    kind = connector.get("power_type")
    return kw, None if kw is None or type(kind) is not str else _power_class(kw, kind)


@lru_cache(_PLENTY)
def _power_class(kw: float, kind: str) -> str | None:
    current = kind.strip()[:2].upper()
    if current not in _LIMITS_KW:
        return None
    return next(name for name, limit in zip(_CLASSES[current], _LIMITS_KW[current], strict=True) if kw <= limit)


def _text(record: Mapping[str, Any], key: str, reject: Reject, path: str = "") -> str | None:
    value = record.get(key)
    if value is None or value == "":
        return None
    if type(value) is str:
        text = value.strip()
        return None if text in ("", "-") else text if text.isprintable() else _storable(text)
    if type(value) is int or type(value) is float:
        return str(value)
    reject(f"{path}.{key}", "expected a text", value)
    return None


def _storable(text: str) -> str:
    """Text that every warehouse takes: without control characters, but line breaks, and without half characters."""
    return "".join(
        char if char.isprintable() or char in "\r\n\t" or (char.isspace() and char > "\x7f") else f"\\u{ord(char):04x}"
        for char in text
    )


def _flag(record: Mapping[str, Any], key: str, reject: Reject, path: str = "") -> bool | None:
    value = record.get(key)
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        word = value.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        if word in ("", "-"):
            return None
    reject(f"{path}.{key}", "expected true or false", value)
    return None


def _number(record: Mapping[str, Any], key: str, most: int, unit: str, reject: Reject) -> float | None:
    """An amount above zero; German decimal commas are understood."""
    value = record.get(key)
    if value is None or (type(value) is str and value.strip() in ("", "-")):
        return None
    number = _parsed(value) if isinstance(value, Hashable) else None
    if number is None or not 0.5 <= number <= most:
        reject(f".{key}", f"expected {unit} from 1 to {most:,}", value)
        return None
    return number


def _degrees(record: Mapping[str, Any], key: str, most: int, path: str, reject: Reject) -> float | None:
    value = record.get(key)
    if value is None or (type(value) is str and value.strip() in ("", "-")):
        return None
    number = _parsed(value) if isinstance(value, Hashable) else None
    if number is None or not -most <= number <= most:
        reject(f"{path}.{key}", f"expected degrees from -{most} to {most}", value)
        return None
    return number


@lru_cache(_PLENTY, typed=True)  # else 1 would find what True became
def _parsed(value: Any) -> float | None:
    if type(value) is str:
        text = value.strip()
        if not text.isascii() or "_" in text:  # which `float` would take
            return None
        value = text.replace(",", ".") if text.count(",") == 1 and "." not in text else text
    elif type(value) is not int and type(value) is not float:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(number: float | None) -> int | None:
    return None if number is None else math.floor(number + 0.5)


def _object(record: Mapping[str, Any], key: str, reject: Reject) -> Mapping[str, Any]:
    value = record.get(key)
    if isinstance(value, dict):
        return value
    if value is not None:
        reject(f".{key}", "expected an object", value)
    return {}


def _list(record: Mapping[str, Any], key: str, reject: Reject, *, without: str | None = None) -> str | None:
    """A set of texts as sorted JSON list; null when there are none."""
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        reject(f".{key}", "expected a list of texts", value)
        return None
    texts = tuple(item for item in value if type(item) is str)
    if len(texts) != len(value):
        for number, item in enumerate(value):
            if type(item) is not str:
                reject(f".{key}[{number}]", "expected a text", item)
    return _set(texts, without)


@lru_cache(_PLENTY)
def _set(texts: tuple[str, ...], without: str | None) -> str | None:
    return _json(sorted({_storable(text.strip()) for text in texts} - {"", "-", without}))


def _opening_hours(opening_times: Mapping[str, Any], reject: Reject) -> str | None:
    """What OCPI calls Hours, without `twentyfourseven`; other keys are left out."""
    hours: dict[str, list[dict[str, str | int]]] = {}
    for key, names in _HOURS.items():
        value = opening_times.get(key)
        if not value:
            continue
        path = f".opening_times.{key}"
        if not isinstance(value, list):
            reject(path, "expected a list of opening times", value)
            continue
        periods = []
        for number, period in enumerate(value):
            if isinstance(period, dict) and all(type(period.get(name)) in (str, int) for name in names):
                periods.append({name: _of_period(name, period[name]) for name in names})
            else:
                reject(f"{path}[{number}]", f"expected an object with {', '.join(names)}", period)
        if periods:
            hours[key] = sorted(periods, key=lambda period: [str(period[name]) for name in names])
    return _json(hours)


def _of_period(name: str, value: str | int) -> str | int:
    text = str(value).strip()
    return int(text) if name == "weekday" and text in "1234567" else _storable(text)


def _json(value: Any) -> str | None:
    return msgspec.json.encode(value).decode() if value else None
