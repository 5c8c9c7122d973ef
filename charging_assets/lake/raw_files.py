"""One raw Parquet file: its name, its columns, how bodies are packed and how rows come back.

Belongs here: what is inside one file. Does not belong here: which files a day has and which of them may go (`raw`,
`compaction`), and answers that are still being received (`spool`).

Bodies repeat each other almost entirely, but a compressor sees that within one page only. So a row group has a single
page of bodies, without dictionary: a day of five feeds takes 1/870 of its JSON that way and 1/380 with 8 MiB pages.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from charging_assets.calendar import compact_text, parse_compact, query_date_of
from charging_assets.lake.errors import explained, readable
from charging_assets.model.answer import Answer, Poll
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import key_of, table

SCHEMA = arrow_schema("raw_snapshots")
INDEX_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("body"))
KEY = key_of(table("raw_snapshots"))

_POLL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COMPACTED = "compacted_"
_REMEDY = "restore it from a copy, or move it out of the lake to go on without its answers"
_TEXTS = [name for name in INDEX_SCHEMA.names if INDEX_SCHEMA.field(name).type == pa.string() and name != "sha256"]
_POLL_FIELDS = tuple(field.name for field in fields(Poll))
_ANSWER_FIELDS = tuple(field.name for field in fields(Answer))

RowKey = tuple[dt.datetime, str, str, str, str]
"""query_time, source, feed, sha256, poll_id: what tells two raw rows apart."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One raw answer as it is kept."""

    poll: Poll
    answer: Answer
    sha256: str
    """As stored; equals `answer.sha256` unless the file is damaged."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that waits for its file, its body wherever it was put."""

    meta: Answer
    """The answer, with an empty `body`."""
    sha256: str
    read_body: Callable[[], bytes]

    @classmethod
    def in_memory(cls, answer: Answer) -> "KeptAnswer":
        """Keep a complete answer."""
        body = answer.body
        return cls(without_body(answer), answer.sha256, lambda: body)


def without_body(answer: Answer) -> Answer:
    """The answer's other fields, in a form that can be stored whatever a feed put into its headers.

    Text that is not valid Unicode gets replacement characters, and `bytes_total` is at least what is kept.
    """

    def storable(text: str | None) -> str | None:
        return None if text is None else text.encode("utf-8", "replace").decode()

    return Answer(
        feed=answer.feed,
        url=storable(answer.url),
        requested_at=answer.requested_at,
        received_at=answer.received_at,
        attempts=answer.attempts,
        http_status=answer.http_status,
        content_type=storable(answer.content_type),
        bytes_total=max(answer.bytes_total, len(answer.body)),
        is_truncated=answer.is_truncated,
        error=storable(answer.error),
    )


def day_folder(query_date: dt.date) -> str:
    """Folder of a day's raw files, relative to the lake."""
    return f"raw/query_date={query_date.isoformat()}"


def poll_stem(poll: Poll) -> str:
    """Name of a poll's files, without suffix.

    Raises:
        ValueError: the poll's id or time cannot stand in a file name.
    """
    if not _POLL_ID.fullmatch(poll.poll_id):
        raise ValueError(f"poll_id {poll.poll_id!r}: expected 1 to 100 letters, digits, '-', '_' or '.'")
    if poll.query_time.tzinfo is None or poll.query_time.microsecond:
        raise ValueError(f"query_time {poll.query_time!r}: expected whole seconds with a time zone")
    return f"{compact_text(poll.query_time)}_{poll.poll_id}"


def poll_path(poll: Poll, number: int = 1) -> str:
    """Where a poll's raw file is, relative to the lake; `number`: there are files of this poll with other answers."""
    suffix = "" if number == 1 else f"-{number}"
    return f"{day_folder(query_date_of(poll.query_time))}/{poll_stem(poll)}{suffix}.parquet"


def compacted_path(folder: str, index: pa.Table) -> str:
    """Where the compacted file of exactly these rows is: equal sets of rows have equal names."""
    return f"{folder}/{_COMPACTED}{_digest(index, KEY)[:16]}.parquet"


def is_compacted(path: str) -> bool:
    """Whether the path is that of a compacted day."""
    return path.rpartition("/")[2].startswith(_COMPACTED)


def time_of(path: str) -> dt.datetime | None:
    """Query time of all rows of a file, by its name; None for compacted days and names of another form."""
    try:
        return parse_compact(path.rpartition("/")[2].partition("_")[0])
    except ValueError:
        return None


def fingerprint_of(index: pa.Table) -> str:
    """Hex digest of the set of (query_time, source, feed, sha256): neither files nor polls nor order matter."""
    return _digest(index, KEY[:4])


def _digest(index: pa.Table, names: Sequence[str]) -> str:
    columns = (index[name].cast(pa.int64() if name == "query_time" else pa.string()) for name in names)
    keys = sorted(set(zip(*(column.to_pylist() for column in columns), strict=True)))
    return hashlib.sha256("\n".join(map(repr, keys)).encode()).hexdigest()


def index_of(poll: Poll, answers: Sequence[KeptAnswer]) -> pa.Table:
    """The rows of one poll's answers without their bodies, in the given order."""
    shared = {name: getattr(poll, name) for name in _POLL_FIELDS}
    rows = [
        shared
        | {name: getattr(answer.meta, name) for name in _ANSWER_FIELDS if name != "body"}
        | {"sha256": answer.sha256}
        for answer in answers
    ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def distinct(index: pa.Table, order: Sequence[str] = KEY) -> pa.Table:
    """Sort rows by `order` (all columns of the key, in any order) and keep the first of those with equal keys."""
    index = index.take(pc.sort_indices(index, sort_keys=[(name, "ascending") for name in order]))
    if index.num_rows < 2:
        return index
    repeated = np.ones(index.num_rows - 1, dtype=bool)
    for name in order:
        column = index[name].combine_chunks()
        repeated &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return index.filter(pa.array(np.concatenate(([True], ~repeated))))


def write_raw_file(path: Path, index: pa.Table, bodies: Iterable[bytes], *, level: int, group_bytes: int) -> None:
    """Write rows and their bodies, pulling one body at a time; at most one row group is in memory.

    Args:
        path: file to write.
        index: rows as `INDEX_SCHEMA`, in the order of the file.
        bodies: as many bodies, in the same order.
        level: zstd level.
        group_bytes: a row group ends before its bodies exceed this, unless it is a single body.

    Raises:
        LakeError: the disk did not take it.
    """
    with (
        explained(f"Writing {path}"),
        pq.ParquetWriter(
            path,
            SCHEMA,
            compression="zstd",
            compression_level=level,
            use_dictionary=_TEXTS,
            write_statistics=False,
            data_page_size=1 << 30,
            max_rows_per_page=1 << 30,
        ) as writer,
    ):
        held: list[bytes] = []
        size = begin = 0
        for body in bodies:
            if held and size + len(body) > group_bytes:
                _write_group(writer, index.slice(begin, len(held)), held)
                begin += len(held)
                held, size = [], 0
            held.append(body)
            size += len(body)
        _write_group(writer, index.slice(begin, len(held)), held)


def _write_group(writer: pq.ParquetWriter, index: pa.Table, bodies: list[bytes]) -> None:
    column = pa.array(bodies, pa.large_binary())
    writer.write_table(index.append_column(SCHEMA.field("body"), column), row_group_size=index.num_rows)


class RawGroup:
    """One row group of an open raw file."""

    def __init__(self, path: str, file: pq.ParquetFile, number: int) -> None:
        self._path, self._file, self._number = path, file, number

    def index(self) -> pa.Table:
        """Its rows without bodies."""
        return self._read(INDEX_SCHEMA.names)

    def bodies(self) -> pa.ChunkedArray:
        """The bodies of its rows; this is what takes memory."""
        return self._read(["body"])["body"]

    def _read(self, columns: list[str]) -> pa.Table:
        with readable(self._path, _REMEDY):
            return self._file.read_row_group(self._number, columns=columns, use_threads=False)


def read_groups(path: str, source: pa.NativeFile) -> Iterator[RawGroup]:
    """The row groups of an open file, each to be used before the next one is asked for; closes `source`.

    Raises:
        LakeChanged: it was compacted away; list again.
        LakeError: it is not a readable raw file.
    """
    with source:
        with readable(path, _REMEDY):
            file = pq.ParquetFile(source)
        for number in range(file.num_row_groups):
            yield RawGroup(path, file, number)


def read_rows(path: str, source: pa.NativeFile, since: dt.datetime | None, seen: set[RowKey]) -> Iterator[RawRow]:
    """The rows of a file that are not in `seen` (they are added as they are handed out) and not before `since`.

    One row group of bodies is in memory at a time; those without a wanted row are not decompressed.
    """
    for group in read_groups(path, source):
        columns = group.index().to_pydict()
        rows = [
            (number, key)
            for number, key in enumerate(row_keys(columns))
            if key not in seen and (since is None or key[0] >= since)
        ]
        if not rows:
            continue
        bodies = group.bodies()
        for number, key in rows:
            if key not in seen:  # a file may hold a row twice
                seen.add(key)
                yield _raw_row(columns, number, bodies[number].as_py())
        del bodies  # else two row groups are in memory while the next one is read


def row_keys(columns: Mapping[str, list[Any]]) -> list[RowKey]:
    """The key of every row of an index, given as Python columns; times in UTC."""
    times = map(_utc, columns["query_time"])
    return list(zip(times, *(columns[name] for name in KEY[1:]), strict=True))


def _raw_row(columns: Mapping[str, list[Any]], number: int, body: bytes) -> RawRow:
    fields_of_row = {name: values[number] for name, values in columns.items()}
    for name in ("query_time", "requested_at", "received_at"):
        fields_of_row[name] = _utc(fields_of_row[name])
    poll = Poll(**{name: fields_of_row.pop(name) for name in _POLL_FIELDS})
    sha256 = fields_of_row.pop("sha256")
    return RawRow(poll, Answer(body=body, **fields_of_row), sha256)


def _utc(time: dt.datetime | None) -> dt.datetime | None:
    """Arrow's times have a `ZoneInfo`, whose arithmetic is slower than that of `dt.UTC`."""
    return None if time is None else time.replace(tzinfo=dt.UTC)
