"""Which partitions of the lake a warehouse lacks, and loading them.

What counts is content: a partition is in step when the load log has the hash of the file that the lake has now. Nothing
is remembered beside the log, so that loading resumes where it was stopped, and only what is missing is loaded.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass

from charging_assets.lake import Lake, LakeError, PartitionKey
from charging_assets.model.tables import is_dated, table
from charging_assets.progress import advance
from charging_assets.warehouse.contract import (
    Load,
    Warehouse,
    WarehouseError,
    WarehouseUnavailable,
    key_text,
    published_tables,
)

WORKERS = 2
"""Loads side by side: one reads and converts while the server writes the other."""


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """A partition that is not the same in lake and warehouse."""

    table: str
    key: PartitionKey
    why: str
    """`missing` (the warehouse lacks it), `outdated` (it has another version), `surplus` (the lake has no such)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A partition that could not be loaded."""

    difference: Difference
    error: Exception


def differences(
    lake: Lake, warehouse: Warehouse, tables: Sequence[str] | None = None, dates: Collection[dt.date] | None = None
) -> list[Difference]:
    """What differs between lake and warehouse, by table and date, undated tables first.

    Args:
        lake: what should be there.
        warehouse: what is there.
        tables: which tables; None: all that are published.
        dates: which partitions of dated tables; None: all. Undated tables are compared in any case.

    Raises:
        WarehouseError: the load log cannot be read.
    """
    names = [tab.name for tab in published_tables()] if tables is None else tables
    loads, found = warehouse.load_log(), list[Difference]()
    for name in names:
        stored = lake.versions(name)
        logged = {key for table_name, key in loads if table_name == name}
        wanted = [key for key in {*stored, *logged} if key is None or dates is None or key in dates]
        for key in sorted(wanted, key=key_text):
            if why := _difference(lake, name, key, stored, loads.get((name, key))):
                found.append(Difference(name, key, why))
    return sorted(found, key=lambda one: (is_dated(table(one.table)), key_text(one.key), names.index(one.table)))


def load(lake: Lake, warehouse: Warehouse, name: str, key: PartitionKey) -> Load:
    """Load a partition of the lake.

    Raises:
        LakeError, WarehouseError: it was not loaded; the warehouse has what it had.
    """
    file = lake.file(name, key)
    if file is None:
        raise WarehouseError(f"There is no {name} {key_text(key)} in {lake.uri}: build it first.")
    with closing(file):
        return warehouse.replace_table(file) if key is None else warehouse.replace_partition(file)


def publish(
    lake: Lake, warehouse: Warehouse, wanted: Sequence[Difference], workers: int = WORKERS
) -> Iterator[Load | Failed]:
    """Load the partitions, some at a time, and tell of each as it is done.

    One that fails stops no other, unless the warehouse has gone: then the rest is not tried.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: dict[Future[Load], Difference] = {
            pool.submit(load, lake, warehouse, one.table, one.key): one for one in wanted
        }
        try:
            for number, future in enumerate(as_completed(pending), start=1):
                if future.cancelled():
                    continue
                try:
                    yield future.result()
                except (LakeError, WarehouseError) as error:
                    yield Failed(pending[future], error)
                    if isinstance(error, WarehouseUnavailable):
                        _cancel(pending)
                advance("partitions published", number, len(pending))
        finally:
            _cancel(pending)  # when nobody wants the rest, what has begun is still finished


def _cancel(pending: Iterable[Future[Load]]) -> None:
    for future in pending:
        future.cancel()


def _difference(
    lake: Lake, name: str, key: PartitionKey, stored: Mapping[PartitionKey, str], logged: Load | None
) -> str | None:
    if key not in stored:
        return "surplus"
    if logged is None:
        return "missing"
    if logged.file_version == stored[key]:
        return None
    try:
        file = lake.file(name, key)
        if file is None:  # removed since it was listed
            return "surplus"
        with closing(file):
            return None if file.content_hash == logged.content_hash else "outdated"
    except LakeError:  # a damaged file: loading it says what is the matter
        return "outdated"
