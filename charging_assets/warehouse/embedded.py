"""The embedded warehouse: DuckDB views over the lake, made in memory for one query and gone after it.

Belongs here: the views' SQL, what a query may do, the exported file of views. Does not belong here: where the lake's
files are and which version of them a query sees (`lake`), and how a result is printed (`cli`).
"""

import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from sqlalchemy import Column, LargeBinary, Table

from charging_assets import __version__
from charging_assets.lake import Lake, PartitionFile, PartitionKey
from charging_assets.model.dictionary import type_name
from charging_assets.model.tables import METADATA
from charging_assets.model.tables.declare import Geometry
from charging_assets.warehouse.contract import PUBLISHED, Load, Step, WarehouseError, published_tables

_T = TypeVar("_T")

RAW = "raw_snapshots"
BATCH_ROWS = 50_000
_EXPORT_MARK = "charging_assets_export"
_EXPORT_FORMAT = "v1.0.0"
"""Of the exported file: the oldest that still is read by all, since BI tools bring their own, older DuckDB."""
_AS_TEXT = {"interval", "blob", "bit", "bignum", "uhugeint", "time with time zone", "geometry"}
"""Types whose values Arrow cannot tell, or not all of them."""
_SELECT_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}


class EmbeddedWarehouse:
    """See `Warehouse`. The lake is what its views read, so there is nothing to create and nothing to load."""

    name = "duckdb"

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def plan(self) -> Sequence[Step]:
        """Nothing: views are made for each query."""
        return []

    def ensure_schema(self) -> Sequence[Step]:
        """Nothing: views are made for each query."""
        return []

    def replace_partition(self, file: PartitionFile) -> Load:
        """Check that the views can show the file, which is where they look for it."""
        file.checked_columns()
        return Load.of_file(file)

    def replace_table(self, file: PartitionFile) -> Load:
        """See `replace_partition`."""
        return self.replace_partition(file)

    def load_log(self) -> Mapping[tuple[str, PartitionKey], Load]:
        """What the lake has. Reads every file to tell its hash."""
        loads: dict[tuple[str, PartitionKey], Load] = {}
        for table in published_tables():
            for key in self._lake.versions(table.name):
                if (file := self._lake.file(table.name, key)) is not None:
                    with closing(file):
                        loads[table.name, key] = Load.of_file(file)
        return loads

    def views(self) -> Mapping[str, Sequence[str]]:
        """The model's, and the index of raw answers."""
        return {table.name: list(_shown(table)) for table in METADATA.tables.values()}


@contextmanager
def connect(lake: Lake, tables: Iterable[str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with one view per table of the model, and nothing else within its reach.

    All queries inside the block see the same version of every partition, whatever is published meanwhile. No statement
    can open another file, load an extension or change a setting; that it does not write the lake's files is for the
    caller to see to, as `query` does. Timestamps are shown in UTC.

    Args:
        lake: Where the tables are.
        tables: Those that will be asked for, when that is known: the others' views stay empty, and their files closed.

    Raises:
        LakeError: the lake cannot be read.
    """
    wanted = set(METADATA.tables if tables is None else tables)
    with (
        tempfile.TemporaryDirectory(prefix="charging-assets-", ignore_cleanup_errors=True) as spill,
        lake.snapshot(sorted(wanted - {RAW})) as snapshot,
        duckdb.connect(
            ":memory:",
            config={
                "allow_persistent_secrets": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "enable_external_file_cache": False,  # keyed by path, but a descriptor's path outlives its file
                "temp_directory": spill,
            },
        ) as connection,
    ):
        _allow_only(connection, [path for paths in snapshot.values() for path in paths])
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE SCHEMA {PUBLISHED}")
        connection.execute(f"USE {PUBLISHED}")  # with and without the schema's name, as in other warehouses
        for table in METADATA.tables.values():
            if table.name == RAW and RAW in wanted:
                _copy_raw_index(connection, lake)
            else:
                paths = snapshot.get(table.name, [])
                connection.execute(_view(table, f"[{', '.join(map(_quoted, paths))}]" if paths else None))
        connection.execute("SET lock_configuration = true")
        yield connection


@contextmanager
def query(lake: Lake, sql: str) -> Iterator[pa.RecordBatchReader]:
    """The result of one SELECT statement as a stream of at most `BATCH_ROWS` rows each.

    Raises:
        WarehouseError: `sql` is not one SELECT statement, names what does not exist, or fails. What fails while rows
            are being made is raised by the reader.
        LakeError: the lake cannot be read.
    """
    _require_select(sql)
    with connect(lake, _tables_named_in(sql)) as connection:
        try:
            relation = connection.sql(sql)
            if not _AS_TEXT.isdisjoint(kind.id for kind in relation.types):
                relation = relation.project(
                    ", ".join(
                        f"CAST(#{at} AS VARCHAR) AS {_name(name)}" if kind.id in _AS_TEXT else f"#{at} AS {_name(name)}"
                        for at, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), 1)
                    )
                )
            reader = _interruptibly(connection, lambda: relation.to_arrow_reader(BATCH_ROWS))
        except duckdb.PermissionException as error:
            raise WarehouseError(
                "A query reads the lake's tables and nothing else: no other files, no extensions, no settings "
                f"({str(error).splitlines()[0]})."
            ) from error
        except duckdb.Error as error:
            raise WarehouseError(str(error)) from error
        yield pa.RecordBatchReader.from_batches(reader.schema, _batches(connection, reader))


def export_views(lake: Lake, file: Path) -> Mapping[str, bool]:
    """Write a .duckdb file with one view per table over the files of a local lake; returns which tables have any.

    The file holds no rows: it follows the lake, except that a table without files is exported as an empty one. It
    replaces an earlier export atomically.

    Raises:
        WarehouseError: the lake is on S3, `file` exists and is no such export, or it cannot be written.
    """
    if lake.uri.startswith("s3://"):
        raise WarehouseError(
            f"Views in a file need a local lake, but this one is {lake.uri}: every BI tool would need DuckDB's httpfs "
            "extension and the bucket's credentials. Use `charging-assets sql`, or copy the lake to a disk and point "
            "CHARGING_ASSETS_LAKE there."
        )
    _require_own_export(file)
    has_files = {}
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH {_quoted(str(draft))} AS export (STORAGE_VERSION '{_EXPORT_FORMAT}')")
            connection.execute("USE export")
            connection.execute(f"CREATE SCHEMA {PUBLISHED}")  # the same names as in other warehouses
            connection.execute(
                f"CREATE TABLE {_EXPORT_MARK} AS SELECT ? AS lake, ? AS charging_assets_version",
                [lake.uri, __version__],
            )
            for table in METADATA.tables.values():
                if table.info["group"] == "raw":  # the lake alone tells duplicates apart, and where refreshes are
                    continue
                with lake.snapshot([table.name]) as snapshot:
                    has_files[table.name] = bool(snapshot[table.name])
                connection.execute(_view(table, _quoted(lake.glob(table.name)) if has_files[table.name] else None))
                connection.execute(f"CREATE VIEW {PUBLISHED}.{table.name} AS FROM main.{table.name}")
            connection.execute("USE memory")
            connection.execute("DETACH export")
        draft.replace(file)
    except (duckdb.Error, OSError) as error:
        raise WarehouseError(f"{file} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return has_files


def _view(table: Table, files: str | None) -> str:
    """CREATE VIEW with the model's columns and types, whichever of them `files` (SQL: a path or a list) have."""
    columns = _columns(table)
    typed = ", ".join(f"CAST(NULL AS {_file_type(column)}) AS {column.name}" for column in columns)
    rows = f"SELECT {typed} WHERE false"
    if files is not None:
        read = f"read_parquet({files}, union_by_name = true, hive_partitioning = false)"
        rows += f" UNION ALL BY NAME SELECT * FROM {read}"  # noqa: S608 - our own paths, quoted
    shown = ", ".join(f"{sql} AS {name}" for name, sql in _shown(table).items())
    return f"CREATE VIEW {table.name} AS SELECT {shown} FROM ({rows})"  # noqa: S608 - names of the data model


def _columns(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if not isinstance(column.type, LargeBinary)]


def _shown(table: Table) -> dict[str, str]:
    """Columns of a table's view with their SQL: computed ones first, as they identify a row."""
    shown = {name: sql for name, (sql, _) in table.info["computed"].items()}
    for column in _columns(table):
        if isinstance(column.type, Geometry):
            # As PostgreSQL without PostGIS has it: hex EWKB. The lake's WKB is little-endian; the type gets a flag, and
            # the spatial reference follows it.
            wkb, srid = f"hex(CAST({column.name} AS blob))", column.type.srid.to_bytes(4, "little").hex().upper()
            shown[column.name] = f"substr({wkb}, 1, 8) || '20' || '{srid}' || substr({wkb}, 11)"
        else:
            shown[column.name] = f"CAST({column.name} AS {type_name(column)})"
    return shown


def _file_type(column: Column[Any]) -> str:
    return "blob" if isinstance(column.type, Geometry) else type_name(column)


def _copy_raw_index(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """The raw answers without bodies, as a table: only the lake can tell which rows of raw files are duplicates."""
    columns = _columns(METADATA.tables[RAW])
    connection.execute(f"CREATE TABLE {RAW} ({', '.join(f'{column.name} {type_name(column)}' for column in columns)})")
    for query_date in lake.raw.dates():
        connection.register("answers", lake.raw.index(query_date))
        connection.execute(f"INSERT INTO {RAW} BY NAME SELECT * FROM answers")  # noqa: S608 - a constant
        connection.unregister("answers")


def _allow_only(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Close the file system but for `paths`, which are those of file descriptors.

    DuckDB compares what a path resolves to. A descriptor's path resolves to the file's own while that stands, and to
    itself once the file was replaced: so the folder of descriptors must be allowed too. That opens nothing more but
    pipes and deleted files: other descriptors resolve to what is not in that folder.
    """
    folders = sorted({f"{Path(path).parent}/" for path in paths})
    connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]")
    connection.execute(f"SET allowed_directories = [{', '.join(map(_quoted, folders))}]")
    connection.execute("SET enable_external_access = false")


def _require_select(sql: str) -> None:
    expected = "Expected one SELECT statement (WITH … SELECT, DESCRIBE and SHOW TABLES are fine too)"
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise WarehouseError(f"{expected}, got text that is not UTF-8, at character {error.start + 1}.") from None
    with duckdb.connect(":memory:", config={"enable_external_access": False}) as connection:
        try:
            statements = connection.extract_statements(sql)
        except duckdb.Error as error:
            raise WarehouseError(str(error)) from error
        if len(statements) != 1:
            raise WarehouseError(f"{expected}, got {len(statements) or 'no'} statements.")
        if statements[0].type != duckdb.StatementType.SELECT:
            kind = statements[0].type.name
            raise WarehouseError(f"{expected}, got {'PIVOT without IN (…)' if kind == 'MULTI' else kind}.")
        # COPY … TO inside a WITH makes a SELECT that overwrites files, those of the lake first: only those are allowed.
        row = connection.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [sql]).fetchone()
    tree = str(row and row[0])
    if not tree.startswith('{"error":false'):
        raise WarehouseError(f"{expected}, got one that DuckDB cannot take apart: {tree}")
    # Not parsed: a sum of 400 terms is nested too deeply for Python. Texts of the statement have their quotes escaped.
    if others := set(re.findall(r'"type":"(\w+_NODE)"', tree)) - _SELECT_NODES:
        raise WarehouseError(f"{expected}, got {min(others).partition('_')[0]} within it.")
    # And so does such a COPY in a text that one of these functions runs as SQL.
    if runs_text := re.search(r'"function_name":"(query|json_execute_serialized_sql)"', tree, re.IGNORECASE):
        raise WarehouseError(f"{expected}, got the function {runs_text[1]}, which would run a text as SQL.")


def _tables_named_in(sql: str) -> set[str]:
    """Tables that the statement may read. DuckDB's own `get_table_names` binds, and so fails at `JOIN … USING`."""
    text = sql.lower()
    if "query_table" in text:  # a function that reads tables whose names are computed
        return set(METADATA.tables)
    return {name for name in METADATA.tables if name in text}


def _batches(connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        while (batch := _interruptibly(connection, lambda: next(reader, None))) is not None:
            yield batch
    except (OSError, pa.ArrowException) as error:  # how a stream of DuckDB's tells that its query failed
        raise WarehouseError(str(error)) from error


def _interruptibly(connection: duckdb.DuckDBPyConnection, work: Callable[[], _T]) -> _T:
    """Do `work` in a thread: Ctrl-C does not reach Python within a call, and the call that sorts may take an hour."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(work)
        try:
            return pending.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def _require_own_export(file: Path) -> None:
    """Raise unless `file` may be (re)placed."""
    if not file.parent.is_dir():
        raise WarehouseError(f"{file} cannot be written: there is no folder {file.parent}")
    if file.with_name(f"{file.name}.wal").exists():
        raise WarehouseError(
            f"{file} is open for writing in another program, or was when that crashed (see {file.name}.wal)."
        )
    if not file.exists():
        return
    try:
        with duckdb.connect(file, read_only=True) as connection:
            marks = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [_EXPORT_MARK]).fetchall()
    except duckdb.Error as error:
        raise WarehouseError(
            f"{file} exists and cannot be read as an earlier export, so it stays as it is: {error}"
        ) from error
    if not marks:
        raise WarehouseError(f"{file} exists and is another database, so it stays as it is: choose another name.")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
