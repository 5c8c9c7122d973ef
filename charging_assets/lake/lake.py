"""`Lake`: the tables, one Parquet file per table and partition; and the raw answers, as `Lake.raw`."""

import datetime as dt
import glob
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from charging_assets import __version__
from charging_assets.lake.errors import LakeChanged, LakeError, explained
from charging_assets.lake.partition_file import PartitionFile
from charging_assets.lake.poi_archive import PoiArchive
from charging_assets.lake.raw import RawArchive
from charging_assets.lake.report_archive import ReportArchive
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Entry, store_at
from charging_assets.lake.tables import (
    PartitionInfo,
    PartitionKey,
    StagedPartition,
    StageWriter,
    StoredPartition,
    is_partition_file,
    partition_path,
    partition_pattern,
    query_date_in,
    read_info,
    read_stored,
    read_table,
)
from charging_assets.model.tables import SCHEMA_VERSION
from charging_assets.model.tables import table as model_table

_T = TypeVar("_T")

_ATTEMPTS = 10
"""How often a file is opened again that was replaced while it was read."""

_DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")

_SPARE_DESCRIPTORS = 64
"""Room for what else is opened meanwhile; a reader of the snapshot opens one file per thread."""


class Lake:
    """All files of one lake. Making one is cheap: no file is touched, nothing is asked over the network.

    A partition of a table is one file. It is replaced whole or not at all, and a reader gets one version of it.

    Args:
        uri: a path, or ``s3://bucket/prefix`` (`Settings.lake`).
        home: state of this installation, always a local folder: spooled polls; staged and cached files of S3 lakes.

    Attributes:
        raw: the answers as they came.
        pois: what OpenStreetMap gave, refresh by refresh.
        reports: what was published, as it was.
    """

    def __init__(self, uri: str, home: Path) -> None:
        self.uri = uri
        self._store = store_at(uri, cache_dir=home / "cache")
        # Renaming is atomic within one file system only, so a local lake stages inside itself.
        self._staging_dir = home / "staging" if uri.startswith("s3://") else Path(uri) / ".staging"
        self.raw = RawArchive(self._store, home / "spool", self._staging_dir, uri)
        self.pois = PoiArchive(self._store, self._staging_dir)
        self.reports = ReportArchive(self._store, self._staging_dir)

    def stage(self, table: str, key: PartitionKey) -> StageWriter:
        """Begin a new version of a partition, which nobody sees before `publish`. A context manager.

        Raises:
            LakeError: the staging folder cannot be written.
        """
        return StageWriter(table, key, self._staging_dir)

    def publish(self, staged: StagedPartition) -> PartitionInfo:
        """Put a staged partition atomically in place of the one before it.

        Raises:
            LakeError: it could not be published; the one before it still stands.
        """
        with staged.file:
            self._store.replace(staged.path, partition_path(staged.table, staged.key))
        return PartitionInfo(
            staged.table, staged.key, staged.rows, staged.bytes, SCHEMA_VERSION, __version__, staged.inputs
        )

    def write(self, table: str, key: PartitionKey, data: pa.Table, inputs: str = "") -> PartitionInfo:
        """Replace a partition by `data`; `inputs` is the fingerprint of what it was made from.

        Raises:
            SchemaMismatch, InvalidRows: `data` is not a valid partition of the table.
            LakeError: it could not be published. In each case the partition before it still stands.
        """
        with self.stage(table, key) as writer:
            writer.write(data)
            return self.publish(writer.finish(inputs))

    def read(self, table: str, key: PartitionKey, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a partition, all columns or `columns` in their order; a typed empty table when there is none.

        Columns that an older file lacks are null.

        Raises:
            SchemaMismatch: there is no such column, or the file has it with another type than declared.
            LakeError: the file is damaged.
        """
        return _steadily(lambda: read_table(self._store, table, key, columns))

    def head(self, table: str, key: PartitionKey, rows: int) -> pa.Table:
        """The first rows of a partition, at most `rows`; a typed empty table when there is none.

        Raises:
            SchemaMismatch: the file has a column with another type than declared.
        """
        return _steadily(lambda: read_table(self._store, table, key, None, rows))

    def stored(self, table: str, key: PartitionKey) -> StoredPartition | None:
        """A partition as its file has it, whatever the model says, for whoever judges it; None when there is none.

        Raises:
            LakeError: the file is damaged.
        """
        return _steadily(lambda: read_stored(self._store, table, key))

    def info(self, table: str, key: PartitionKey) -> PartitionInfo | None:
        """What the footer of a partition says; None when there is no such partition.

        Raises:
            LakeError: the file is damaged.
        """
        return _steadily(lambda: read_info(self._store, table, key))

    def file(self, table: str, key: PartitionKey) -> PartitionFile | None:
        """The file of a partition, opened for whoever loads it into a warehouse; None when there is no such partition.

        Raises:
            LakeError: the file is damaged.
        """
        return _steadily(
            lambda: PartitionFile.open(self._store, self.uri, partition_path(table, key), model_table(table), key)
        )

    def versions(self, table: str) -> dict[PartitionKey, str]:
        """What tells versions of a table's files apart, by partition, without opening them.

        Equal ones mean equal bytes; those of equal bytes may differ.
        """
        entries = self._entries(table)
        keys = [query_date_in(entry.path.rpartition("/")[2]) for entry in entries]
        return {key: entry.version for key, entry in zip(keys, entries, strict=True)}

    def partitions(self, table: str) -> list[dt.date]:
        """The query dates that a dated table has, sorted."""
        dates = (query_date_in(name) for name in self._store.names(f"tables/{table}/"))
        return [date for date in dates if date is not None]

    def location(self, table: str, key: PartitionKey) -> str:
        """Where the file of a partition is, or would be, for people: an absolute path or an ``s3://`` address."""
        return f"{self.uri}/{partition_path(table, key)}"

    def glob(self, table: str) -> str:
        """A pattern for all files of a table, as DuckDB's `read_parquet` takes it, for readers outside of this process.

        They get no `snapshot`: a file that is replaced while they read may fail them.

        Raises:
            LakeError: the lake is on S3, where files are nobody else's to read.
        """
        if self.uri.startswith("s3://"):
            raise LakeError(f"{self.uri} has no files on this machine: use a local lake, or copy this one to a disk")
        folder = Path(self.uri).absolute() / "tables" / table
        return f"{glob.escape(str(folder))}/{partition_pattern(table)}"

    @contextmanager
    def snapshot(self, tables: Iterable[str]) -> Iterator[dict[str, list[str]]]:
        """Paths of all files of `tables`, readable and unchanged inside the block, whatever is replaced meanwhile.

        The paths are of open file descriptors, since a replaced file lives on while one is open. They mean something
        to this process only, and are used again for other files later. DuckDB, when locked down, resolves them: while a
        file is in place its allow lists see the file's own path, afterwards the descriptor's. So give it both, these
        paths as `allowed_paths` and their folder as `allowed_directories`.

        Yields:
            For each table its files' paths by query date; an empty list when it has none.

        Raises:
            LakeError: this process may not open that many files.
        """
        with ExitStack() as opened:
            yield {table: _steadily(partial(self._open_all, table, opened)) for table in tables}

    def _entries(self, table: str) -> Sequence[Entry]:
        return [entry for entry in self._store.list(f"tables/{table}/") if is_partition_file(table, entry.path)]

    def _open_all(self, table: str, opened: ExitStack) -> list[str]:
        entries = self.pois.entries() if table == "raw_pois" else self._entries(table)
        _allow_open_files(len(entries))
        paths = []
        with ExitStack() as these, explained(f"Opening the {len(entries)} files of {table}"):
            for path in self._store.fetch(entries):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                these.callback(os.close, descriptor)
                paths.append(str(_DESCRIPTORS / str(descriptor)))
            opened.push(these.pop_all())
        return paths

    def check_writable(self) -> None:
        """Write a small file the way raw answers and partitions are written, and remove it.

        Raises:
            LakeError: that is not possible; the message says what to do.
        """
        with stage_file(self._staging_dir) as probe:
            with explained(f"Writing {probe.path}"):
                probe.path.write_bytes(b"can this be written?")
            path = f".probe-{probe.path.name}"
            self._store.put_new(probe.path, path)
            self._store.delete(path)  # else renaming does nothing: both are names of one file
            self._store.replace(probe.path, path)
            self._store.delete(path)

    def free_bytes(self) -> int | None:
        """Bytes left for the lake; None on S3."""
        return self._store.free_bytes()


def _steadily(read: Callable[[], _T]) -> _T:
    """Call `read` again when a file was replaced or removed under it.

    Raises:
        LakeChanged: that happened each time.
    """
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except (LakeChanged, FileNotFoundError) as error:
            changed = error
    raise LakeChanged(f"{changed}; so it went {_ATTEMPTS} times: try again when less is written") from changed


def _allow_open_files(count: int) -> None:
    """Raise the soft limit of open files so that `count` more fit: 1,024 is common, 8 years of 2 tables are 5,800."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sum(1 for _ in _DESCRIPTORS.iterdir()) + count + _SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LakeError(
            f"A snapshot of {count} files needs {needed} open files, but this process may have {hard}: "
            "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of systemd)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
