"""An extract in PBF, read in slices whose beginnings are remembered, so that things are found again by their ids.

osmium reads a file from its beginning to its end, and keeps a set of ids as bits: of the nodes of a state's shops it
would take 1.6 GiB, or several passes over the whole file. Of a sorted file it is known which slice can hold an id, so
that what is needed is unpacked once more, and each slice with a small set. Does not belong here: which things are
wanted, and for what.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import osmium
from osmium import osm
from osmium.filter import IdFilter, KeyFilter
from osmium.osm.types import Node, Relation, Way

from charging_assets import progress
from charging_assets.sources.osm.errors import OsmError

SLICE_BYTES = 4 * 2**20
"""Larger ones span more ids, of smaller ones more readers are made."""
ID_SET_CHUNKS = 32
"""Of a set of ids, at most: 128 MiB. The ids of today's nodes span 410, which the only slice of a city may do."""

Thing = Node | Way | Relation

_CHUNK_BITS = 25
"""Ids in a chunk of osmium's sets, which takes 4 MiB."""
_MAX_HEADER_BYTES, _MAX_BLOB_BYTES = 2**16, 2**25
_TEXT_1, _NUMBER_3 = 1 << 3 | 2, 3 << 3
_ORDER = {"n": 0, "w": 1, "r": 2}
_NAMES = ("node", "way", "relation")
_KINDS = (osm.NODE, osm.WAY, osm.RELATION)


Place = tuple[int, bool, int]
"""Where a thing stands in a sorted file: by kind (node, way, relation), then by id, those below 0 first."""


def place(thing: Thing) -> Place:
    """Where the thing stands; equal only for the same."""
    number = thing.id
    return _ORDER[thing.type_str()], number > 0, abs(number)


@dataclass(frozen=True, slots=True)
class _Slice:
    begin: int
    end: int
    first: Place


class SlicedExtract:
    """An extract that is sorted by type and id, opened once, so that replacing the file disturbs nobody.

    One that was cut off just between two blobs looks whole.

    Raises:
        OsmError: the file cannot be read, or is no extract. What is not seen at its beginning is raised when reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._slices: list[_Slice] = []
        self._pool = osmium.io.ThreadPool()
        try:
            self._file = path.open("rb", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise OsmError(f"{path}: cannot be read: {error.strerror or error}") from None
        try:
            self._header = self._bytes(0, self._blob_end(0, b"OSMHeader"))
            with self._explained(), osmium.io.Reader(self._buffer(b""), osm.NOTHING) as reader:
                has_history = reader.header().has_multiple_object_versions
            if has_history:
                raise OsmError(f"{path}: expected the present state, got a file with its history; take one without")
        except OsmError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def things(self, *keys: str) -> Iterator[Thing]:
        """All that have one of the keys, from the beginning to the end; a thing is gone when the next one is taken.

        Raises:
            OsmError: the file is damaged, cut off or not sorted.
        """
        self._slices = []
        for begin, first_end, end in self._bounds():
            content = self._bytes(begin, end)
            first = self._first(content[: first_end - begin]) or self._first(content)
            if first is None:
                continue
            if self._slices and first < self._slices[-1].first:
                raise self.unsorted(first)
            self._slices.append(_Slice(begin, end, first))
            yield from self._read(content, osm.NODE | osm.WAY | osm.RELATION, KeyFilter(*keys))
            progress.advance("MB of the extract searched", end // 10**6, self._size // 10**6)

    def nodes(self, ids: np.ndarray) -> Iterator[Node]:
        """Those with the ids (sorted, unique), as far as `things` has come; an id that is not there gives nothing."""
        return self._by_id(0, ids)  # type: ignore[return-value]

    def ways(self, ids: np.ndarray) -> Iterator[Way]:
        """As `nodes`."""
        return self._by_id(1, ids)  # type: ignore[return-value]

    def unsorted(self, late: Place) -> OsmError:
        """What to say of a thing that stands behind one that it should stand before."""
        kind, _, number = late
        return OsmError(
            f"{self.path}: expected an extract that is sorted by type and id, got {_NAMES[kind]} {number} late: "
            "run `osmium sort` on it, or `osmium merge` on its parts"
        )

    def _by_id(self, kind: int, ids: np.ndarray) -> Iterator[Thing]:
        ids = ids[ids > 0]  # those of an editor's own file, below 0, fit into no set
        starts = [*(_rank(ids, kind, each.first) for each in self._slices), len(ids)]
        for number, each in enumerate(self._slices):
            few = ids[starts[number] : starts[number + 1]]
            chunks = np.unique(few >> _CHUNK_BITS)
            if not len(chunks):
                continue
            content = self._bytes(each.begin, each.end)
            for part in np.array_split(chunks, -(-len(chunks) // ID_SET_CHUNKS)):
                begin, end = np.searchsorted(few, [part[0] << _CHUNK_BITS, (part[-1] + 1) << _CHUNK_BITS])
                yield from self._read(content, _KINDS[kind], IdFilter(few[begin:end].tolist()))

    # -- PBF's framing: each blob's length stands before it --

    def _bounds(self) -> Iterator[tuple[int, int, int]]:
        """Where each slice begins, its first blob ends, and it ends."""
        begin = len(self._header)
        while begin < self._size:
            first_end = end = self._blob_end(begin, b"OSMData")
            while end < self._size and end - begin < SLICE_BYTES:
                end = self._blob_end(end, b"OSMData")
            yield begin, first_end, end
            begin = end

    def _blob_end(self, begin: int, kind: bytes) -> int:
        """Where the blob ends whose length stands at `begin`; 4 bytes say how long its own header is."""
        length = int.from_bytes(self._bytes(begin, begin + 4), "big")
        if not 0 < length <= _MAX_HEADER_BYTES:
            raise self._broken(f"no blob begins at byte {begin:,}")
        blob_kind, size = _blob_header(self._bytes(begin + 4, begin + 4 + length))
        if blob_kind != kind or not 0 <= size <= _MAX_BLOB_BYTES:
            raise self._broken(f"no blob {kind.decode()} begins at byte {begin:,}")
        return begin + 4 + length + size

    def _bytes(self, begin: int, end: int) -> bytes:
        try:
            content = os.pread(self._file.fileno(), end - begin, begin)
        except OSError as error:
            raise OsmError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        if len(content) < end - begin:
            raise self._broken(f"it ends at byte {self._size:,}")
        return content

    # -- osmium --

    def _buffer(self, content: bytes) -> osmium.io.FileBuffer:
        return osmium.io.FileBuffer(self._header + content, "pbf")

    def _read(self, content: bytes, kinds: osm.osm_entity_bits, *chosen: osmium.BaseFilter) -> Iterator[Thing]:
        processor = osmium.FileProcessor(self._buffer(content), kinds, self._pool)
        for each in chosen:
            processor.with_filter(each)
        with self._explained():
            yield from processor  # type: ignore[misc]

    def _first(self, content: bytes) -> Place | None:
        for thing in self._read(content, osm.NODE | osm.WAY | osm.RELATION):
            return place(thing)
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._broken(str(error)) from None

    def _broken(self, why: str) -> OsmError:
        return OsmError(
            f"{self.path}: expected a whole extract of OpenStreetMap in PBF, got another file, or a part of one "
            f"({why}): remove it and download it again"
        )


def _rank(ids: np.ndarray, kind: int, at: Place) -> int:
    """How many of the ids of a kind stand before a place."""
    if at[0] != kind:
        return len(ids) if at[0] > kind else 0
    return int(np.searchsorted(ids, at[2])) if at[1] else 0


def _blob_header(content: bytes) -> tuple[bytes, int]:
    """A blob's kind and size: fields 1 and 3 of a message in protocol buffers; (b"", -1) if it is none."""
    kind, size, at = b"", -1, 0
    try:
        while at < len(content):
            tag, at = _varint(content, at)
            value, at = _varint(content, at)
            if tag == _TEXT_1:
                kind = content[at : at + value]
            elif tag == _NUMBER_3:
                size = value
            if tag & 7 == 2:
                at += value
    except IndexError:
        return b"", -1
    return kind, size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits per byte, lowest first, and where it ends."""
    value = shift = 0
    while content[at] & 128:
        value |= (content[at] & 127) << shift
        shift += 7
        at += 1
    return value | content[at] << shift, at + 1
