"""Merging the raw files of a closed day into one, several hundred times smaller than its JSON.

Nothing is deleted before the merged file was published, read back and found to hold every row with every checksum
right. So a kill at any point leaves the day complete, at worst twice, which readers do not notice and the next run
repairs.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from charging_assets.failpoints import failpoint
from charging_assets.lake.errors import LakeChanged, LakeError
from charging_assets.lake.raw_files import (
    INDEX_SCHEMA,
    compacted_path,
    distinct,
    is_compacted,
    read_groups,
    write_raw_file,
)
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Store

_ORDER = ("source", "feed", "query_time", "poll_id", "sha256")
"""Consecutive answers of a feed, which differ in a few statuses, lie side by side."""

_LEVEL = 15
"""Bodies of 5 feeds' day (290 MB of JSON, 4 % of statuses changing per poll, one core): level 9 makes them 329x smaller
in 0.6 s, 13 698x in 1.6 s, 15 871x in 3.2 s, 17 601x in 7.7 s, 19 738x in 8 s. The whole file: 750x in 5 s."""

_GROUP_BYTES = 64 << 20
_BATCH_BYTES = 256 << 20
_ATTEMPTS = 5

Body = TypeVar("Body", bytes, pa.Buffer)

_PLAN_SCHEMA = pa.schema([*INDEX_SCHEMA, *(pa.field(name, pa.int64()) for name in ("file", "group", "row"))])


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did."""

    files_before: int
    rows: int
    json_bytes: int
    """Bytes of all bodies."""
    file_bytes: int
    """Size of the file that holds them now."""


def compact_day(store: Store, staging_dir: Path, folder: str) -> Compaction | None:
    """Merge all raw files in `folder`, loose and compacted ones; exact duplicates become one.

    At most 256 MiB of bodies are held at once, so memory does not grow with the day: 2.9 GB of JSON take 47 s and
    0.86 GiB. May be killed and repeated at any time; files that are added meanwhile stay for the next time.

    Returns:
        None when the day is one compacted file already, or has no files.

    Raises:
        LakeError: a body does not have its checksum, or a file cannot be read; no file was deleted.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _compact(store, staging_dir, folder)
        except (FileNotFoundError, LakeChanged):  # another process is compacting the same day
            continue
    raise LakeError(f"Raw files in {folder} vanish while they are compacted: is another process compacting this day?")


def _compact(store: Store, staging_dir: Path, folder: str) -> Compaction | None:
    sizes = {entry.path: entry.size for entry in store.list(folder)}
    paths = list(sizes)
    if not paths or (len(paths) == 1 and is_compacted(paths[0])):
        return None
    plan = _plan(store, paths)
    index = plan.select(INDEX_SCHEMA.names)
    target = compacted_path(folder, index)
    if target not in sizes:
        with stage_file(staging_dir) as staged:
            bodies = _bodies(store, paths, plan)
            write_raw_file(staged.path, index, bodies, level=_LEVEL, group_bytes=_GROUP_BYTES)
            sizes[target] = staged.path.stat().st_size
            store.put_new(staged.path, target)
    failpoint("lake.compact.before_verify")
    json_bytes = _verify(store, target, index)
    failpoint("lake.compact.after_verify")
    for path in paths:
        if path != target:
            store.delete(path)
            failpoint("lake.compact.between_unlinks")
    return Compaction(len(paths), index.num_rows, json_bytes, sizes[target])


def _plan(store: Store, paths: list[str]) -> pa.Table:
    """The files' distinct rows in their new order, with `file` (number in `paths`), `group` and `row` of each one."""
    tables = [_PLAN_SCHEMA.empty_table()]
    for file, (path, source) in enumerate(_opened(store, paths)):
        for number, group in enumerate(read_groups(path, source)):
            index = group.index()
            rows = np.arange(index.num_rows)
            place = (np.full_like(rows, file), np.full_like(rows, number), rows)
            tables.append(pa.table([*index.columns, *map(pa.array, place)], schema=_PLAN_SCHEMA))
    return distinct(pa.concat_tables(tables), _ORDER)


def _bodies(store: Store, paths: list[str], plan: pa.Table) -> Iterator[bytes]:
    """The bodies of the plan's rows in its order, read in batches: a batch reads each row group that it touches once.

    Raises:
        LakeError: a body does not have its checksum.
    """
    places = list(zip(*(plan[name].to_pylist() for name in ("file", "group", "row", "sha256")), strict=True))
    batches = np.cumsum(plan["bytes_total"].to_numpy()) // _BATCH_BYTES
    for batch in np.unique(batches):
        begin, end = np.searchsorted(batches, [batch, batch + 1])
        wanted: dict[int, dict[int, list[tuple[int, str]]]] = {}
        for file, number, row, sha256 in places[begin:end]:
            wanted.setdefault(file, {}).setdefault(number, []).append((row, sha256))
        found: dict[tuple[int, int, int], bytes] = {}
        opened = _opened(store, [paths[file] for file in wanted])
        for (file, numbers), (path, source) in zip(wanted.items(), opened, strict=True):
            for number, group in enumerate(read_groups(path, source)):
                if number in numbers:
                    bodies = group.bodies()
                    for row, sha256 in numbers[number]:
                        found[file, number, row] = _checked(bodies[row].as_py(), sha256, path)
        for file, number, row, _ in places[begin:end]:
            yield found.pop((file, number, row))


def _opened(store: Store, paths: list[str]) -> Iterator[tuple[str, pa.NativeFile]]:
    """The files in the given order.

    Raises:
        LakeChanged: one of them was deleted.
    """
    for path, source in store.open_each(paths):
        if source is None:
            raise LakeChanged(f"The raw file {path} was deleted")
        yield path, source


def _verify(store: Store, path: str, expected: pa.Table) -> int:
    """Read the whole file back; returns the bytes of its bodies.

    Raises:
        LakeError: it does not hold exactly the expected rows, or a body does not have its checksum.
    """
    begin = size = 0
    for group in read_groups(path, store.open(path)):
        index = group.index()
        if not index.equals(expected.slice(begin, index.num_rows)):
            break
        begin += index.num_rows
        for body, sha256 in zip(group.bodies(), index["sha256"].to_pylist(), strict=True):
            size += len(_checked(body.as_buffer(), sha256, path))
    if begin != expected.num_rows:
        raise LakeError(
            f"The compacted file {path} does not hold the day's rows. The other files of the day are all still there: "
            "move this one out of the lake, then compact again"
        )
    return size


def _checked(body: Body, sha256: str, path: str) -> Body:
    if hashlib.sha256(body).hexdigest() != sha256:
        raise LakeError(
            f"The raw file {path} is damaged: an answer does not have its sha256 {sha256}. No file was deleted: "
            "restore this one from a copy or, if it is a compacted one beside the loose ones, move it out of the lake"
        )
    return body
