"""Flattened locations in columns, each distinct one once.

Consecutive answers of a feed are almost equal, so the records of a location are flattened once per distinct text and
the result, a *piece*, is referred to by number. A day is then a list of (answer, piece) pairs, some bytes each, and
becomes rows by array arithmetic (`facts`). Equal bytes flatten equally, so this is exact, not a guess.

All texts are interned, and so are the rows of master data, which hardly ever change: the columns hold 32-bit codes, -1
stands for null.
"""

from array import array
from dataclasses import dataclass, field
from typing import Any, TypeVar

NULL = -1

MasterRow = tuple[Any, ...]
"""The versioned columns of a station, point or connector, in the order of `master.entity_columns`."""

_T = TypeVar("_T")


class Codes(dict[_T, int]):
    """Distinct values and their codes, numbered in order of first sight; `list()` has each value at its code."""

    def __missing__(self, value: _T) -> int:
        code = self[value] = len(self)
        return code


class Vocabulary(Codes[str]):
    """Texts and their codes."""

    def texts(self) -> list[str]:
        """The texts, at the index that is their code."""
        return list(self)


def _codes() -> "array[int]":
    return array("i")


@dataclass(slots=True)
class Pieces:
    """Columns of all pieces. `<level>_ends[p]` is where the rows of piece `p` end in the columns of that level."""

    location_ids: Vocabulary = field(default_factory=Vocabulary)
    evse_ids: Vocabulary = field(default_factory=Vocabulary)
    connector_ids: Vocabulary = field(default_factory=Vocabulary)
    statuses: Vocabulary = field(default_factory=Vocabulary)
    unknown_names: Vocabulary = field(default_factory=Vocabulary)
    """Comma-separated names of unknown keys, as one text."""
    texts: Vocabulary = field(default_factory=Vocabulary)
    """Levels, paths, reasons and excerpts of rejects."""
    station_rows: Codes[MasterRow] = field(default_factory=Codes)
    point_rows: Codes[MasterRow] = field(default_factory=Codes)
    connector_rows: Codes[MasterRow] = field(default_factory=Codes)

    # one row per EVSE and connector that is used
    evse_id: "array[int]" = field(default_factory=_codes)
    evse_status: "array[int]" = field(default_factory=_codes)
    evse_sensor: "array[int]" = field(default_factory=_codes)
    evse_master: "array[int]" = field(default_factory=_codes)
    connector_id: "array[int]" = field(default_factory=_codes)
    connector_status: "array[int]" = field(default_factory=_codes)
    connector_master: "array[int]" = field(default_factory=_codes)

    # one row per rejected record; the path is relative to the location
    reject_level: "array[int]" = field(default_factory=_codes)
    reject_path: "array[int]" = field(default_factory=_codes)
    reject_reason: "array[int]" = field(default_factory=_codes)
    reject_excerpt: "array[int]" = field(default_factory=_codes)
    reject_connectors: "array[int]" = field(default_factory=_codes)

    # one row per piece
    location_id: "array[int]" = field(default_factory=_codes)
    location_master: "array[int]" = field(default_factory=_codes)
    keys_present: "array[int]" = field(default_factory=lambda: array("q"))
    """Which of the source's known keys the location has, as bits."""
    evse_ends: "array[int]" = field(default_factory=_codes)
    connector_ends: "array[int]" = field(default_factory=_codes)
    reject_ends: "array[int]" = field(default_factory=_codes)
    evses_rejected: "array[int]" = field(default_factory=_codes)
    connectors_rejected: "array[int]" = field(default_factory=_codes)
    unknown_keys: "array[int]" = field(default_factory=_codes)
    unknown_name: "array[int]" = field(default_factory=_codes)
    values_rejected: "array[int]" = field(default_factory=_codes)

    def add_evse(self, id_code: int, status: int, sensor: int, master: int) -> None:
        """Add an EVSE to the piece being read."""
        self.evse_id.append(id_code)
        self.evse_status.append(status)
        self.evse_sensor.append(sensor)
        self.evse_master.append(master)

    def add_connector(self, id_code: int, status: int, master: int) -> None:
        """Add a connector to the piece being read."""
        self.connector_id.append(id_code)
        self.connector_status.append(status)
        self.connector_master.append(master)

    def add_reject(
        self,
        level: str,
        path: str,
        reason: str,
        excerpt: str,
        *,
        connectors_lost: int = 0,
    ) -> None:
        """Add a rejected record to the piece being read; `path` is relative to the location (``.evses[2]``)."""
        self.reject_level.append(self.texts[level])
        self.reject_path.append(self.texts[path])
        self.reject_reason.append(self.texts[reason])
        self.reject_excerpt.append(self.texts[excerpt])
        self.reject_connectors.append(connectors_lost)

    def end_piece(
        self,
        location_id: int,
        *,
        master: int = NULL,
        keys_present: int = 0,
        evses_rejected: int = 0,
        connectors_rejected: int = 0,
        unknown_keys: int = 0,
        unknown_name: int = NULL,
        values_rejected: int = 0,
    ) -> int:
        """Close the piece being read and return its number.

        `location_id` and `master` (of the station) are `NULL` for a rejected location.
        """
        self.location_id.append(location_id)
        self.location_master.append(master)
        self.keys_present.append(keys_present)
        self.evse_ends.append(len(self.evse_id))
        self.connector_ends.append(len(self.connector_id))
        self.reject_ends.append(len(self.reject_level))
        self.evses_rejected.append(evses_rejected)
        self.connectors_rejected.append(connectors_rejected)
        self.unknown_keys.append(unknown_keys)
        self.unknown_name.append(unknown_name)
        self.values_rejected.append(values_rejected)
        return len(self.location_id) - 1
