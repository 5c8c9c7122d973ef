"""A partition of a table as one Parquet file: what is in it, how it is named, how it is checked, written and read.

The same file is what DuckDB reads, PostgreSQL is loaded from and Redshift COPYs, so it is checked while it is written,
before anybody can see it. Its bytes depend only on its rows (and the pieces they were written in), `inputs` and the
versions of code and libraries: there is no wall time and no run id in it.
"""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from charging_assets import __version__
from charging_assets.lake.errors import InvalidRows, LakeError, SchemaMismatch, explained, readable
from charging_assets.lake.staging import StagedFile, stage_file
from charging_assets.lake.store import Store
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import SCHEMA_VERSION, is_dated, key_of
from charging_assets.model.tables import table as model_table
from charging_assets.model.tables.declare import Geometry

PartitionKey = dt.date | None
"""The query date of a dated table's partition; None for the only one of an undated table."""

_ROW_GROUP = 1_000_000
_WRITER_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    # One page per column and row group: patterns (each id has the same query times) compress within a page only.
    # A day of status rows at 4 % changing takes 0.13 bytes a row, and 0.31 with the library's 20,000 rows a page.
    "data_page_size": 8 << 20,
    "max_rows_per_page": _ROW_GROUP,
}
_SCHEMA_VERSION = b"charging_assets.schema_version"
_CODE_VERSION = b"charging_assets.code_version"
_INPUTS = b"charging_assets.inputs"
REMEDY = "remove it, then build this partition again"


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What the footer of a partition's file says."""

    table: str
    key: PartitionKey
    rows: int
    bytes: int
    schema_version: int
    code_version: str
    inputs: str
    """Fingerprint of what the partition was made from."""


@dataclass(frozen=True, slots=True)
class StagedPartition:
    """A checked partition that nobody sees yet, for `Lake.publish`. Dropped instead, it takes its file along."""

    table: str
    key: PartitionKey
    path: Path
    rows: int
    bytes: int
    inputs: str
    file: StagedFile


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """A partition as its file has it, whatever the model says."""

    info: PartitionInfo
    schema: pa.Schema
    row_groups: Iterator[pa.Table]
    """All columns, to be used up once; each in one piece. Raises `LakeError` when the file is damaged."""


def partition_path(table: str, key: PartitionKey) -> str:
    """Where the file of a partition is, relative to the lake.

    Raises:
        LakeError: a dated table was asked for without a date, or an undated one with.
    """
    if is_dated(model_table(table)) != (key is not None):
        raise LakeError(
            f"{table} is {'dated: name a query date' if key is None else 'not dated: it has one partition, None'}"
        )
    return f"tables/{table}/all.parquet" if key is None else f"tables/{table}/query_date={key.isoformat()}.parquet"


def query_date_in(name: str) -> dt.date | None:
    """The query date of the dated partition whose file has that name; None when it is not such a name."""
    text = name.removeprefix("query_date=").removesuffix(".parquet")
    try:
        query_date = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return query_date if name == f"query_date={query_date.isoformat()}.parquet" else None


def partition_pattern(table: str) -> str:
    """A glob pattern for the names of a table's files."""
    return "query_date=*.parquet" if is_dated(model_table(table)) else "all.parquet"


def is_partition_file(table: str, path: str) -> bool:
    """Whether a file in the table's folder is one of its partitions, and not something that was put beside them."""
    name = path.rpartition("/")[2]
    return query_date_in(name) is not None if is_dated(model_table(table)) else name == "all.parquet"


class StageWriter:
    """Writes and checks one partition. A context manager: leaving it without `finish` removes what was written."""

    def __init__(self, table: str, key: PartitionKey, staging_dir: Path) -> None:
        partition_path(table, key)
        self._table, self._key = table, key
        self._schema = arrow_schema(table)
        self._rows = 0
        self._last_key: tuple[Any, ...] | None = None
        self._file = stage_file(staging_dir)
        self._finished = False
        with explained(f"Writing {self._file.path}"):
            self._writer = pq.ParquetWriter(self._file.path, self._schema, **_WRITER_OPTIONS)

    def write(self, data: pa.Table) -> None:
        """Append rows: one row group per million. Pieces must follow each other in the order of the table's key.

        Raises:
            SchemaMismatch: a column is missing, unknown, misplaced or of another type than declared.
            InvalidRows: nulls where none may be, rows out of order or twice, rows of another query date.
            LakeError: the disk did not take it.
        """
        data = _checked_schema(self._table, self._schema, data)
        if not data.num_rows:
            return
        data = _canonical(self._table, data)
        _check_nulls(self._table, data)
        self._check_query_date(data)
        self._check_key(data)
        with explained(f"Writing {self._file.path}"):
            self._writer.write_table(data, row_group_size=_ROW_GROUP)
        self._rows += data.num_rows

    def finish(self, inputs: str) -> StagedPartition:
        """Complete the file; `inputs` is the fingerprint of what it was made from."""
        with explained(f"Writing {self._file.path}"):
            self._writer.add_key_value_metadata(
                {
                    _SCHEMA_VERSION: str(SCHEMA_VERSION),
                    _CODE_VERSION: __version__,
                    _INPUTS: inputs,
                    **_geo(self._table),
                }
            )
            self._writer.close()
            size = self._file.path.stat().st_size
        self._finished = True
        return StagedPartition(self._table, self._key, self._file.path, self._rows, size, inputs, self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if not self._finished:
            with suppress(OSError):  # the disk is full: the footer cannot be written either, and nobody wants it
                self._writer.close()
            self._file.discard()

    def _check_query_date(self, data: pa.Table) -> None:
        if self._key is None:
            return
        bounds = pc.min_max(data["query_date"]).as_py()
        for found in bounds.values():
            if found != self._key:
                raise InvalidRows(f"{self._table}: expected only rows of query_date {self._key}, got one of {found}")

    def _check_key(self, data: pa.Table) -> None:
        """Rows must strictly increase by the key, within `data` and from the piece before: sorted, and no key twice."""
        names = key_of(model_table(self._table))
        first = _key_at(data, names, 0)
        if self._last_key is not None and not self._last_key < first:
            raise _disorder(self._table, names, self._rows, self._last_key, first)
        at = _first_disorder(data, names)
        if at is not None:
            raise _disorder(
                self._table, names, self._rows + at + 1, _key_at(data, names, at), _key_at(data, names, at + 1)
            )
        self._last_key = _key_at(data, names, data.num_rows - 1)


def read_table(
    store: Store, table: str, key: PartitionKey, columns: Sequence[str] | None, rows: int | None = None
) -> pa.Table:
    """One version of a partition, or its first `rows` rows; see `Lake.read`."""
    schema = arrow_schema(table)
    wanted = pa.schema([_declared(table, schema, name) for name in columns]) if columns is not None else schema
    try:
        source = store.open(partition_path(table, key))
    except FileNotFoundError:
        return wanted.empty_table()
    with source, readable(partition_path(table, key), REMEDY):
        file = pq.ParquetFile(source)
        stored = file.schema_arrow
        names = [name for name in wanted.names if name in stored.names]
        if rows is None:
            found = file.read(columns=names)
        else:
            first = islice(file.iter_batches(rows, columns=names), 1)
            found = pa.Table.from_batches(first, pa.schema([stored.field(name) for name in names]))
    arrays = []
    for field in wanted:
        if field.name not in stored.names:
            arrays.append(pa.nulls(found.num_rows, field.type))
            continue
        if found.schema.field(field.name).type != field.type:
            raise SchemaMismatch(
                f"{partition_path(table, key)}: column {field.name!r} is {found.schema.field(field.name).type}, "
                f"expected {field.type}: this partition was written by another version, build it again"
            )
        arrays.append(found[field.name])
    return pa.table(arrays, schema=wanted).unify_dictionaries()


def read_info(store: Store, table: str, key: PartitionKey) -> PartitionInfo | None:
    """The footer of a partition; see `Lake.info`."""
    try:
        source = store.open(partition_path(table, key))
    except FileNotFoundError:
        return None
    with source, readable(partition_path(table, key), REMEDY):
        return info_in(table, key, pq.read_metadata(source), source.size())


def read_stored(store: Store, table: str, key: PartitionKey) -> StoredPartition | None:
    """One version of a partition, for whoever judges it; see `Lake.stored`."""
    path = partition_path(table, key)
    try:
        source = store.open(path)
    except FileNotFoundError:
        return None
    with readable(path, REMEDY):
        file = pq.ParquetFile(source)
        info = info_in(table, key, file.metadata, source.size())
        return StoredPartition(info, file.schema_arrow, _row_groups(path, source, file))


def _row_groups(path: str, source: pa.NativeFile, file: pq.ParquetFile) -> Iterator[pa.Table]:
    with source:
        for number in range(file.num_row_groups):
            with readable(path, REMEDY):
                group = file.read_row_group(number).unify_dictionaries().combine_chunks()
            yield group


def info_in(table: str, key: PartitionKey, footer: pq.FileMetaData, size: int) -> PartitionInfo:
    """What `footer` says of a file of `size` bytes; one that another program wrote has no versions and no inputs."""
    said = {_SCHEMA_VERSION: b"0", _CODE_VERSION: b"", _INPUTS: b""} | (footer.metadata or {})
    return PartitionInfo(
        table,
        key,
        footer.num_rows,
        size,
        int(said[_SCHEMA_VERSION]),
        said[_CODE_VERSION].decode(),
        said[_INPUTS].decode(),
    )


def _geo(table: str) -> dict[bytes, str]:
    """The footer by which GeoParquet 1.1 knows shapes; nothing for a table that has none."""
    shapes = [col.name for col in model_table(table).columns if isinstance(col.type, Geometry)]
    if not shapes:
        return {}
    # Without "crs" it is longitude and latitude of WGS 84; no "geometry_types" means that there may be any.
    columns = {name: {"encoding": "WKB", "geometry_types": []} for name in shapes}
    return {b"geo": json.dumps({"version": "1.1.0", "primary_column": shapes[0], "columns": columns})}


def _declared(table: str, schema: pa.Schema, name: str) -> pa.Field:
    if name not in schema.names:
        raise SchemaMismatch(f"{table} has no column {name!r}; it has: {', '.join(schema.names)}")
    return schema.field(name)


def _checked_schema(table: str, expected: pa.Schema, data: pa.Table) -> pa.Table:
    """`data` under the declared schema. Whether a field may be null is judged by its rows, not by its declaration."""
    if data.schema.equals(expected):
        return data
    for name in data.column_names:
        _declared(table, expected, name)
    for name in expected.names:
        if data.column_names.count(name) != 1:
            raise SchemaMismatch(f"{table}: expected one column {name!r}, got {data.column_names.count(name)}")
    for field, got in zip(expected, data.schema, strict=True):
        if field.name != got.name:
            raise SchemaMismatch(
                f"{table}: expected column {field.name!r}, got {got.name!r} in its place; "
                f"the order is: {', '.join(expected.names)}"
            )
        if field.type != got.type:
            raise SchemaMismatch(f"{table}: column {field.name!r} must be {field.type}, got {got.type}")
    return pa.table(data.columns, schema=expected)


def _check_nulls(table: str, data: pa.Table) -> None:
    for field, column in zip(data.schema, data.columns, strict=True):
        if column.null_count and not field.nullable:
            raise InvalidRows(f"{table}: column {field.name!r} must not be null, but {column.null_count} rows are")


def _key_at(data: pa.Table, names: Sequence[str], row: int) -> tuple[Any, ...]:
    return tuple(data[name][row].as_py() for name in names)


def _disorder(
    table: str, names: Sequence[str], row: int, before: tuple[Any, ...], after: tuple[Any, ...]
) -> InvalidRows:
    key = f"({', '.join(names)})"
    if before == after:
        return InvalidRows(f"{table}: rows must be unique by {key}; row {row} repeats {_text(after)}")
    return InvalidRows(f"{table}: rows must be sorted by {key}; row {row} is {_text(after)} after {_text(before)}")


def _text(key: tuple[Any, ...]) -> str:
    return f"({', '.join(str(value) for value in key)})"


def _canonical(table: str, data: pa.Table) -> pa.Table:
    """`data` in one piece, dictionaries sorted, without values that no row has.

    So equal rows give equal bytes, however their dictionaries came about (e.g. in the order of the raw files).
    """
    columns = []
    for field, chunks in zip(data.schema, data.columns, strict=True):
        column = chunks.combine_chunks()
        columns.append(_sorted_dictionary(table, field, column) if pa.types.is_dictionary(field.type) else column)
    return pa.table(columns, schema=data.schema)


def _sorted_dictionary(table: str, field: pa.Field, column: pa.DictionaryArray) -> pa.DictionaryArray:
    size = len(column.dictionary)
    if column.dictionary.null_count:
        raise InvalidRows(f"{table}: column {field.name!r} has a null in its dictionary; make the index null instead")
    indices = column.indices.fill_null(size).to_numpy(zero_copy_only=False)
    is_used = np.zeros(size + 1, bool)
    is_used[indices] = True
    used = np.flatnonzero(is_used[:size])
    values = column.dictionary.take(pa.array(used))
    distinct = pc.unique(values.take(pc.sort_indices(values)))
    lookup = np.zeros(size + 1, np.int32)
    lookup[used] = pc.index_in(values, value_set=distinct).to_numpy(zero_copy_only=False)
    is_null = indices == size if column.null_count else None
    return pa.DictionaryArray.from_arrays(pa.array(lookup[indices], mask=is_null), distinct)


def _first_disorder(data: pa.Table, names: Sequence[str]) -> int | None:
    """The first row whose key is not below the next row's; None when keys strictly increase."""
    above = np.zeros(data.num_rows - 1, bool)
    tied = np.ones(data.num_rows - 1, bool)
    for name in names:
        column = data[name].chunk(0)
        if pa.types.is_dictionary(column.type):
            column = column.indices  # of a sorted dictionary: they compare as the values do
        before, after = column.slice(0, len(column) - 1), column.slice(1)
        above |= tied & pc.greater(after, before).to_numpy(zero_copy_only=False)
        tied &= pc.equal(after, before).to_numpy(zero_copy_only=False)
    return None if above.all() else int(above.argmin())
