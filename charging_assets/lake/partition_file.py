"""One version of a partition's file, as a warehouse loads it.

Belongs here: what is in the file, its hash, its rows in bounded batches, the manifest by which Redshift finds it. Does
not belong here: what a warehouse does with them (`warehouse`).
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Table

from charging_assets.lake.errors import LakeError, SchemaMismatch, explained, readable
from charging_assets.lake.store import Store
from charging_assets.lake.tables import REMEDY, PartitionInfo, PartitionKey, info_in
from charging_assets.model.arrow import schema_of
from charging_assets.model.tables import SCHEMA_VERSION

BATCH_ROWS = 65_536
_MENDING = "nothing was loaded: build this partition again"
_PIECE = 8 << 20


class PartitionFile:
    """An open file: everything it gives is of one version, whatever is published meanwhile. A context manager.

    Attributes:
        table: as the model declares it.
        key: the query date, or None for an undated table.
        info: what the footer says.
        schema: the file's own columns, whatever the model says.
        version: tells versions of the file apart without reading it: see `Lake.versions`.
        uri: where the file is, for people and for Redshift.
    """

    def __init__(
        self, store: Store, uri: str, path: str, table: Table, key: PartitionKey, version: str, source: pa.NativeFile
    ) -> None:
        self._store, self._lake_uri, self._path, self._source = store, uri, path, source
        self.table, self.key, self.version = table, key, version
        self.uri = f"{uri}/{path}"
        with readable(path, REMEDY):
            self._file = pq.ParquetFile(source)
        self.info: PartitionInfo = info_in(table.name, key, self._file.metadata, source.size())
        self.schema: pa.Schema = self._file.schema_arrow

    @classmethod
    def open(cls, store: Store, uri: str, path: str, table: Table, key: PartitionKey) -> Self | None:
        """The newest version of the file at `path`, relative to `uri`; None when there is none.

        Raises:
            LakeError: the file is damaged.
        """
        entry = store.entry(path)  # before it is opened: of a file replaced in between, an older version than is read
        if entry is None:
            return None
        return cls(store, uri, path, table, key, entry.version, store.open(path))

    @classmethod
    def of_rows(cls, store: Store, uri: str, table: Table, key: PartitionKey, rows: pa.Table) -> Self:
        """A new file of `rows` in the store's folder ``staged``, of tables that are in no lake; see `remove`.

        Raises:
            LakeError: it cannot be written.
        """
        path = f"staged/{table.name}/{uuid4().hex}.parquet"
        with explained(f"Writing {path}"), tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "rows.parquet"
            pq.write_table(rows, local, compression="zstd")
            store.put_new(local, path)
        opened = cls.open(store, uri, path, table, key)
        if opened is None:
            raise LakeError(f"{uri}/{path} was removed by somebody else right after it was written")
        return opened

    def remove(self) -> None:
        """Delete the file: for those that `of_rows` made."""
        self._store.delete(self._path)

    @cached_property
    def content_hash(self) -> str:
        """Hex SHA-256 of the file's bytes: equal for equal rows, since building again gives the same bytes."""
        digest = hashlib.sha256()
        with readable(self._path, REMEDY):
            self._source.seek(0)
            while piece := self._source.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def checked_columns(self) -> list[str]:
        """The file's columns, once they are those that the model declares, or the first of them in an older file.

        Raises:
            SchemaMismatch: a column is unknown, missing, misplaced or of another type; the message names it.
        """
        name, declared, found = self.table.name, schema_of(self.table), self.schema
        for column in found.names:
            if column not in declared.names:
                raise SchemaMismatch(f"{self.uri}: column {column!r} is not declared for {name}; {_MENDING}")
        missing = [column for column in declared.names if column not in found.names]
        is_older = 0 < self.info.schema_version < SCHEMA_VERSION
        if missing and not (is_older and missing == declared.names[-len(missing) :]):
            raise SchemaMismatch(f"{self.uri}: column {missing[0]!r} of {name} is missing; {_MENDING}")
        for column, expected in zip(found.names, declared.names, strict=False):
            if column != expected:
                raise SchemaMismatch(
                    f"{self.uri}: expected column {expected!r} of {name}, got {column!r} in its place; {_MENDING}"
                )
            kinds = [_value_type(schema.field(column).type) for schema in (declared, found)]
            if kinds[0] != kinds[1]:
                raise SchemaMismatch(
                    f"{self.uri}: column {column!r} of {name} must be {kinds[0]}, got {kinds[1]}; {_MENDING}"
                )
        return list(found.names)

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, at most `BATCH_ROWS` at once; all columns as the file has them, or `columns`.

        Raises:
            LakeError: the file is damaged.
        """
        batches = self._file.iter_batches(BATCH_ROWS, columns=columns)
        while True:
            with readable(self._path, REMEDY):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def manifest(self) -> Iterator[str]:
        """The address of a manifest for Redshift's COPY that names this file, for as long as the block runs.

        Raises:
            LakeError: the file is not on S3.
        """
        if not self.uri.startswith("s3://"):
            raise LakeError(f"Redshift reads from S3 only, but this file is {self.uri}")
        entry = {"url": self.uri, "mandatory": True, "meta": {"content_length": self.info.bytes}}
        path = f"manifests/{self.table.name}/{uuid4().hex}.json"
        with explained(f"Writing {path}"), tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "manifest.json"
            local.write_text(json.dumps({"entries": [entry]}))
            self._store.put_new(local, path)
        try:
            yield f"{self._lake_uri}/{path}"
        finally:
            self._store.delete(path)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
