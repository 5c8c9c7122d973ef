"""A location's text cut where its statuses stand: the next text of the location is then compared, not parsed.

Most texts that were not seen before differ from an earlier one of the same location in statuses, and in what may follow
a status (`reservable`, the capability RESERVABLE), and in nothing else. All other bytes being equal, all else that is
read of it is equal too: so this is exact, like comparing whole texts.
"""

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from charging_assets.flatten.pieces import NULL

# An escaped quote has its backslash before it, so none of these keys stands inside a text. Each pattern begins with
# letters, since alternatives of one pattern are searched ten times slower.
_STATUSES = re.compile(rb'(status"\s*:\s*")([^"\\]*)(?=")')
_FLAGS = re.compile(rb'(reservable"\s*:\s*)(?:true|false)')
_AFTER_CAPABILITIES = re.compile(rb'physical_reference"')
# A capability may go only as the last one of a list, before the key that follows capabilities: elsewhere the same word
# may mean something.
_END_OF_CAPABILITIES = re.compile(rb'(,\s*"RESERVABLE")?\s*\]\s*,\s*"\Z')
STATUS, _FLAG, _CAPABILITY = range(3)
_RESERVABLE = re.compile(rb',\s*"RESERVABLE"')
_CAPABILITIES_END_WITHIN = 64
_MARK = b'"@'


@dataclass(frozen=True, slots=True)
class Form:
    """What the texts of a location have in common.

    `steps` are the bytes before each spot, and its kind; `tail` are those after the last one. `<level>_spot` says for
    each record which of the statuses found is its own; the last of them, one more than there are, is none.
    """

    steps: list[tuple[bytes, int]]
    tail: bytes
    location_id: int
    station: int
    keys_present: int
    evse_id: "array[int]"
    evse_spot: list[int]
    sensor_spot: list[int]
    point: "array[int]"
    connector_id: "array[int]"
    connector_spot: list[int]
    connector: "array[int]"

    def statuses(self, text: bytes, codes: Mapping[bytes, int]) -> list[int] | None:
        """The codes of the statuses in `text` by spot, and `NULL`; None if it is another text, or has other words."""
        found = []
        position = 0
        for before, kind in self.steps:
            if not text.startswith(before, position):
                return None
            position += len(before)
            if kind == STATUS:
                end = text.find(b'"', position)
                code = codes.get(text[position:end])
                if code is None:
                    return None
                found.append(code)
                position = end
            elif kind == _FLAG:
                if text.startswith(b"true", position):
                    position += 4
                elif text.startswith(b"false", position):
                    position += 5
                else:
                    return None
            elif (capability := _RESERVABLE.match(text, position)) is not None:
                position = capability.end()
        if text[position:] != self.tail:
            return None
        found.append(NULL)
        return found


class Cut(NamedTuple):
    """Steps and tail as of `Form`; the words found, and the text with ``@<spot>`` in place of each of them."""

    steps: list[tuple[bytes, int]]
    tail: bytes
    words: list[bytes]
    marked: bytes


def cut(text: bytes) -> Cut | None:
    """Cut a text at its spots; None where a mark could not be told from what is in the text."""
    if _MARK in text:
        return None
    spots = [(match.end(1), match.end(), STATUS) for match in _STATUSES.finditer(text)]
    spots += [(match.end(1), match.end(), _FLAG) for match in _FLAGS.finditer(text)]
    for match in _AFTER_CAPABILITIES.finditer(text):
        end = match.start()
        if (closing := _END_OF_CAPABILITIES.search(text, max(0, end - _CAPABILITIES_END_WITHIN), end)) is not None:
            spots.append((closing.start(), closing.end(1) if closing[1] else closing.start(), _CAPABILITY))
    spots.sort()
    steps: list[tuple[bytes, int]] = []
    words: list[bytes] = []
    marked: list[bytes] = []
    begin = 0
    for start, end, kind in spots:
        before = text[begin:start]
        steps.append((before, kind))
        if kind == STATUS:
            marked += (before, b"@%d" % len(words))
            words.append(text[start:end])
        else:
            marked.append(text[begin:end])
        begin = end
    tail = text[begin:]
    return Cut(steps, tail, words, b"".join((*marked, tail)))


def spot_of(marked: Any, nothing: int) -> int | None:
    """Which spot a status of the marked text is of; `nothing` for no status, None if it stands outside of all spots."""
    if marked is None:
        return nothing
    return int(marked[1:]) if type(marked) is str and marked.startswith("@") else None
