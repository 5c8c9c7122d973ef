"""One location of a chargecloud answer -> one piece: its EVSEs, its connectors, and what had to be rejected.

Read quickly with typed decoding, where everything has its documented form; else carefully, record by record, so that
one bad record costs itself and its children only. Both ways give the same rows for what is good.

A text that differs from an earlier one of its location in statuses only is not parsed at all (`forms`).
"""

import hashlib
import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, overload

import msgspec
from msgspec import Raw, Struct

from charging_assets.flatten.chargecloud.forms import Form, cut, spot_of
from charging_assets.flatten.chargecloud.master import (
    Reject,
    connector_row,
    point_row,
    power_of,
    station_row,
)
from charging_assets.flatten.pieces import NULL, Pieces
from charging_assets.model.ids import station_number

_LOCATION_KEYS = (
    *("address", "city", "comment", "coordinates", "country", "directions", "distance_in_m", "name"),
    *("opening_times", "operator", "owner", "postal_code", "roaming", "status", "tariffZones"),
)
_EVSE_KEYS = (
    *("capabilities", "chargePointParkingSpaceNumbers", "chargePointPosition", "chargePointPublicComment"),
    *(
        "chargingStationPosition",
        "floor_level",
        "physical_reference",
        "reservable",
        "roaming",
        "vehicle_type",
    ),
)
_CONNECTOR_KEYS = ("ampere", "format", "max_power", "power_type", "standard", "tariff_id", "voltage")

_EXCERPT_LENGTH = 200
_NAMES = 50
"""Names of unknown keys that are kept for one location; they are all counted."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _typed(name: str, *read: tuple[str, Any], skipped: tuple[str, ...]) -> type[Any]:
    """A Struct that decodes the fields `read` and skips over the known others; an unknown key fails the decoding.

    `Raw` is msgspec's cheapest way to skip a value: it checks the syntax and makes no Python object of the content.
    """
    return msgspec.defstruct(
        name,
        [*((key, kind | None, None) for key, kind in read), *((key, Raw, Raw(b"")) for key in skipped)],
        bases=(Struct,),
        forbid_unknown_fields=True,
        gc=False,
    )


_Connector = _typed("_Connector", ("id", str | int), ("status", str), skipped=_CONNECTOR_KEYS)
_Evse = _typed(
    "_Evse",
    *(("id", str | int), ("uid", str | int), ("status", str), ("parkingsensor_status", str)),
    ("connectors", list[_Connector]),  # type: ignore[valid-type]
    skipped=_EVSE_KEYS,
)
_Location = _typed(
    "_Location",
    ("id", str | int),
    ("evses", list[_Evse]),  # type: ignore[valid-type]
    skipped=_LOCATION_KEYS,
)

_KNOWN = {
    "location": {"id", "evses", *_LOCATION_KEYS},
    "evse": {"id", "uid", "status", "parkingsensor_status", "connectors", *_EVSE_KEYS},
    "connector": {"id", "status", *_CONNECTOR_KEYS},
}
KNOWN_KEYS = tuple(f"{level}.{key}" for level, keys in _KNOWN.items() for key in sorted(keys))
"""All known keys; key `n` is bit `n` of `Pieces.keys_present`."""
_BITS = {level: {key: 1 << KNOWN_KEYS.index(f"{level}.{key}") for key in keys} for level, keys in _KNOWN.items()}

_FORMS = 100_000
"""Locations whose form is remembered before starting afresh: about 300 MiB."""
_REMEMBERED = 1_000_000
"""Distinct texts remembered before starting afresh: about 130 MiB."""


class _Master(NamedTuple):
    """Codes of the rows of one location: its station, its EVSEs and all their connectors; see `Pieces`."""

    station: int
    points: "array[int]"
    connectors: "array[int]"
    keys_present: int


class LocationReader:
    """Turns the JSON of single locations of a source into pieces."""

    def __init__(self, pieces: Pieces, source: str) -> None:
        self._pieces = pieces
        self._source = source
        self._forms: dict[bytes, Form] = {}
        self._remembered: dict[bytes, int] = {}
        self._decode = msgspec.json.Decoder(_Location).decode
        self._words: dict[bytes, int] = {}
        self._key_sets: dict[tuple[str, ...], int] = {}
        # What the JSON value of an id becomes; ids that cannot be used are None.
        self._ids: dict[str, dict[str | int, int | None]] = {"location": {}, "evse": {}, "connector": {}}
        self._vocabularies = {
            "location": pieces.location_ids,
            "evse": pieces.evse_ids,
            "connector": pieces.connector_ids,
        }

    @overload
    def read(self, text: bytes) -> int: ...
    @overload
    def read(self, text: bytes, *, is_guess: bool) -> int | None: ...
    def read(self, text: bytes, *, is_guess: bool = False) -> int | None:
        """Flatten one location and return its piece; equal texts have one piece.

        `text` may be anything and what is unusable is rejected; but with `is_guess`, text that is not exactly one JSON
        value is not flattened at all, and the result is None.
        """
        # A digest instead of the text itself: a day of all of Germany would keep gigabytes of almost equal texts. With
        # statuses that come and go most changed texts were seen before, and comparing them with a form takes longer.
        digest = hashlib.sha256(text).digest()
        piece = self._remembered.get(digest)
        if piece is None:
            piece = self._read(text, is_guess=is_guess)
            if piece is None:
                return None
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = piece
        return piece

    def _read(self, text: bytes, *, is_guess: bool) -> int | None:
        head = text[: text.find(b",")]  # has the id, if that comes first
        form = self._forms.get(head)
        if form is not None and (found := form.statuses(text, self._words)) is not None:
            return self._read_by_form(form, found)
        try:
            form = self._form(self._decode(text), text)
        except _UNREADABLE:
            if is_guess and not _is_one_value(text):
                return None
            form = None
        if form is None:
            return self._read_carefully(text)
        if len(self._forms) >= _FORMS:
            self._forms.clear()
        self._forms[head] = form
        found = form.statuses(text, self._words)
        assert found is not None, "a form matches the text that it was made of"
        return self._read_by_form(form, found)

    def _read_by_form(self, form: Form, found: list[int]) -> int:
        pieces = self._pieces
        pieces.evse_id.extend(form.evse_id)
        pieces.evse_status.extend([found[spot] for spot in form.evse_spot])
        pieces.evse_sensor.extend([found[spot] for spot in form.sensor_spot])
        pieces.evse_master.extend(form.point)
        pieces.connector_id.extend(form.connector_id)
        pieces.connector_status.extend([found[spot] for spot in form.connector_spot])
        pieces.connector_master.extend(form.connector)
        return pieces.end_piece(form.location_id, master=form.station, keys_present=form.keys_present)

    def _form(self, location: Any, text: bytes) -> Form | None:
        """The form of a location in which every record and every value can be used, else None."""
        location_id = self._id("location", location.id)
        parts = cut(text)
        master = self._read_master(text)
        if location_id is None or parts is None or master is None:
            return None
        nothing = len(parts.words)
        evse_id, connector_id = array("i"), array("i")
        spots: tuple[list[int | None], list[int | None], list[int | None]] = ([], [], [])
        for evse in self._decode(parts.marked).evses or ():
            if (code := self._evse_id(evse.id, evse.uid)) is None:
                return None
            evse_id.append(code)
            spots[0].append(spot_of(evse.status, nothing))
            spots[1].append(spot_of(evse.parkingsensor_status, nothing))
            for connector in evse.connectors or ():
                if (code := self._id("connector", connector.id)) is None:
                    return None
                connector_id.append(code)
                spots[2].append(spot_of(connector.status, nothing))
        evse_spot, sensor_spot, connector_spot = ([spot for spot in column if spot is not None] for column in spots)
        if sum(map(len, spots)) != len(evse_spot) + len(sensor_spot) + len(connector_spot):
            return None
        for word in parts.words:
            if word not in self._words:
                self._words[word] = self._status(word.decode())
        return Form(
            parts.steps,
            parts.tail,
            location_id,
            master.station,
            master.keys_present,
            evse_id,
            evse_spot,
            sensor_spot,
            master.points,
            connector_id,
            connector_spot,
            master.connectors,
        )

    def _read_master(self, text: bytes) -> _Master | None:
        try:
            location = msgspec.json.decode(text)
        except _UNREADABLE:  # in a value that the typed decoding skipped
            return None
        tally = _Tally()
        reject = tally.below("")  # that there is something is enough: where it is, is read carefully
        source_id, id_cs = self._station_ids(location)
        keys = self._keys_of("location", location)
        points, connectors = array("i"), array("i")
        for evse in location.get("evses") or ():
            plugs = evse.get("connectors") or ()
            point, rows = self._master_of_evse(evse, id_cs, reject, [(plug, reject) for plug in plugs])
            points.append(point)
            connectors.extend(rows)
            keys |= self._keys_of("evse", evse)
            for plug in plugs:
                keys |= self._keys_of("connector", plug)
        station = self._pieces.station_rows[station_row(location, source_id or "", reject)]
        return None if tally.values else _Master(station, points, connectors, keys)

    def _keys_of(self, level: str, record: Mapping[str, Any]) -> int:
        """Which known keys a record has that has no others, as bits."""
        keys = level, *record
        if (present := self._key_sets.get(keys)) is None:
            present = self._key_sets[keys] = sum(_BITS[level][key] for key in record)
        return present

    def _station_ids(self, location: Mapping[str, Any]) -> tuple[str, int] | tuple[None, None]:
        source_id = _usable_id(location.get("id"))
        return (None, None) if source_id is None else (source_id, station_number(self._source, source_id))

    def _master_of_evse(
        self,
        evse: Mapping[str, Any],
        id_cs: int | None,
        reject: Reject,
        connectors: Iterable[tuple[Mapping[str, Any], Reject]],
    ) -> tuple[int, list[int]]:
        """Codes of the rows of a usable EVSE and of its usable connectors."""
        key, uid = _usable_id(evse.get("id")), _usable_id(evse.get("uid"))
        id_cp = key or f"uid:{uid}"
        rows, powers = [], []
        for connector, reject_connector in connectors:
            power = power_of(connector, reject_connector)
            powers.append(power)
            rows.append(self._pieces.connector_rows[connector_row(connector, id_cp, power, reject_connector)])
        return self._pieces.point_rows[point_row(evse, id_cs, uid, key, powers, reject)], rows

    def _read_carefully(self, text: bytes) -> int:
        pieces = self._pieces
        try:
            location = _decode_leniently(text)
        except RecursionError:
            pieces.add_reject("location", "", "is nested too deeply to be read", _beginning(text))
            return pieces.end_piece(NULL)
        except ValueError as error:
            pieces.add_reject("location", "", f"cannot be read: {_printable(str(error))}", _beginning(text))
            return pieces.end_piece(NULL)
        if not isinstance(location, dict):
            pieces.add_reject("location", "", f"expected an object, got {_kind(location)}", _beginning(text))
            return pieces.end_piece(NULL)
        tally = _Tally()
        tally.count("location", location)
        location_id, master = self._id("location", location.get("id")), NULL
        source_id, id_cs = self._station_ids(location)
        if source_id is None:
            reason = f"has no usable id ({_kind(location.get('id'))}); its EVSEs are used all the same"
            pieces.add_reject("location", "", reason, _beginning(text))
        else:
            master = pieces.station_rows[station_row(location, source_id, tally.below(""))]
        evses_rejected = connectors_rejected = 0
        for path, evse in _children("", "evses", location):
            evse_ok, connectors_lost = self._read_evse(path, evse, id_cs, tally)
            evses_rejected += not evse_ok
            connectors_rejected += connectors_lost
        for path, reason, value in tally.values:
            pieces.add_reject("value", path, f"{reason}, got {_kind(value)}", _excerpt(value))
        unknown = tally.unknown
        return pieces.end_piece(
            NULL if location_id is None else location_id,
            master=master,
            keys_present=tally.keys_present,
            evses_rejected=evses_rejected,
            connectors_rejected=connectors_rejected,
            unknown_keys=unknown.total(),
            unknown_name=pieces.unknown_names[", ".join(sorted(unknown)[:_NAMES])] if unknown else NULL,
            values_rejected=len(tally.values),
        )

    def _read_evse(self, path: str, evse: Any, id_cs: int | None, tally: "_Tally") -> tuple[bool, int]:
        """Whether the EVSE is used, and how many of its connectors are not."""
        pieces = self._pieces
        if not isinstance(evse, dict):
            pieces.add_reject("evse", path, _expected_record(path, evse), _excerpt(evse))
            return False, 0
        tally.count("evse", evse)
        connectors = _children(path, "connectors", evse)
        evse_id = self._evse_id(evse.get("id"), evse.get("uid"))
        if evse_id is None:
            reason = f"has neither a usable id ({_kind(evse.get('id'))}) nor uid ({_kind(evse.get('uid'))})"
            for _, connector in connectors:
                if isinstance(connector, dict):
                    tally.count("connector", connector)
            pieces.add_reject("evse", path, reason, _excerpt(evse), connectors_lost=len(connectors))
            return False, len(connectors)
        ids = [self._connector_id(*each, tally) for each in connectors]
        usable = [(each, id_) for each, id_ in zip(connectors, ids, strict=True) if id_ is not None]
        plugs = [(plug, tally.below(plug_path)) for (plug_path, plug), _ in usable]
        point, rows = self._master_of_evse(evse, id_cs, tally.below(path), plugs)
        sensor = self._status(evse.get("parkingsensor_status"))
        pieces.add_evse(evse_id, self._status(evse.get("status")), sensor, point)
        for ((_, connector), connector_id), row in zip(usable, rows, strict=True):
            pieces.add_connector(connector_id, self._status(connector.get("status")), row)
        return True, len(connectors) - len(usable)

    def _connector_id(self, path: str, connector: Any, tally: "_Tally") -> int | None:
        """The code of a connector's id; None, and a reject, where it cannot be used."""
        if not isinstance(connector, dict):
            self._pieces.add_reject("connector", path, _expected_record(path, connector), _excerpt(connector))
            return None
        tally.count("connector", connector)
        connector_id = self._id("connector", connector.get("id"))
        if connector_id is None:
            reason = f"has no usable id ({_kind(connector.get('id'))})"
            self._pieces.add_reject("connector", path, reason, _excerpt(connector))
        return connector_id

    def _evse_id(self, evse_id: Any, uid: Any) -> int | None:
        code = self._id("evse", evse_id)
        if code is None and (usable := _usable_id(uid)) is not None:
            code = self._pieces.evse_ids[f"uid:{usable}"]
        return code

    def _id(self, level: str, value: Any) -> int | None:
        if type(value) is not str and type(value) is not int:  # True == 1 and 1.0 == 1 would find the int's entry
            return None
        known = self._ids[level]
        try:
            return known[value]
        except KeyError:
            usable = _usable_id(value)
            code = known[value] = None if usable is None else self._vocabularies[level][usable]
            return code

    def _status(self, value: Any) -> int:
        if value is None:
            return NULL
        if type(value) is not str:
            return self._pieces.statuses[_excerpt(value)]
        return self._pieces.statuses[_printable(value)]


def _is_one_value(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=Raw)
    except _UNREADABLE:
        return False
    return True


def _decode_leniently(text: bytes) -> Any:
    """The JSON value, also where a text or number in it is impossible: that costs the record that needs it, no other.

    Control characters are taken as they are, what is not UTF-8 and halves of surrogate pairs become surrogates (which
    are not printable, so no id), numbers out of range become infinite.

    Raises:
        ValueError: it is no JSON all the same.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _LENIENT.decode(text.decode("utf-8", "surrogateescape"))


def _whole_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python's limit of 4,300 digits
        return -math.inf if digits.startswith("-") else math.inf


_LENIENT = json.JSONDecoder(strict=False, parse_int=_whole_number)


def _usable_id(value: Any) -> str | None:
    """The id as text without blanks around it, or None: missing, blank, of another type, or with control characters."""
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        return None
    text = value.strip()
    return text if text and text.isprintable() else None


def _children(path: str, key: str, record: dict[str, Any]) -> list[tuple[str, Any]]:
    """The records below `key` with their paths; something that is no list counts as one (bad) record."""
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        return [(f"{path}.{key}", value)]
    return [(f"{path}.{key}[{index}]", child) for index, child in enumerate(value)]


def _expected_record(path: str, value: Any) -> str:
    return f"expected {'an object' if path.endswith(']') else 'a list of objects'}, got {_kind(value)}"


class _Tally:
    """What is noted of a location beside its rows.

    Attributes:
        unknown: unknown keys as ``evse.foo``, with how often they come.
        keys_present: which known keys some record has, as bits.
        values: values that cannot be used: (path, reason, value).
    """

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.keys_present = 0
        self.values: list[tuple[str, str, Any]] = []

    def count(self, level: str, record: Mapping[str, Any]) -> None:
        bits = _BITS[level]
        for key in record:
            if bit := bits.get(key):
                self.keys_present |= bit
            else:
                self.unknown[f"{level}.{_printable(key[:64])}"] += 1

    def below(self, path: str) -> Reject:
        return lambda key, reason, value: self.values.append((f"{path}{key}", reason, value))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null or missing"
        case bool():
            return "true or false"
        case str():
            return "a text" if value.strip() else "a blank text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


def _beginning(text: bytes) -> str:
    """The excerpt of a location; of the text itself, since it may be large, or no JSON."""
    return _printable(text[: 4 * _EXCERPT_LENGTH].decode("utf-8", "replace"))[:_EXCERPT_LENGTH]


def _excerpt(value: Any) -> str:
    """The beginning of a value as JSON text."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # decoding it went just well, with less on the stack
        return f"({_kind(value)}, nested too deeply to be shown)"
    return _printable(text[:_EXCERPT_LENGTH])[:_EXCERPT_LENGTH]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
