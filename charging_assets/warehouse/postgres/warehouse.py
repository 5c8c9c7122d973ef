"""PostgreSQL: rows go from the lake's file by ADBC's binary COPY into the table itself, within one transaction.

The transaction takes an advisory lock of the partition, deletes its rows, copies the new ones, writes the load log and
commits. Readers never wait for that and it never waits for readers: they see the rows of before until the COMMIT. A
staging table and a swap of partitions would need an exclusive lock, for which readers queue behind the slowest query.

Belongs here: how a partition is replaced, and what is made of errors. Does not belong here: the schema (`ddl`).
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_manager as adbc
import psycopg2
import pyarrow as pa
import shapely
from adbc_driver_postgresql import dbapi
from psycopg2.extensions import make_dsn, parse_dsn
from sqlalchemy import MetaData, Table

from charging_assets.failpoints import failpoint
from charging_assets.lake import PartitionFile, PartitionKey
from charging_assets.model.tables import METADATA, is_dated
from charging_assets.model.tables.declare import Geometry
from charging_assets.warehouse.contract import (
    LOAD_LOG,
    PUBLISHED,
    STORE,
    Load,
    Step,
    WarehouseError,
    WarehouseUnavailable,
    key_text,
)
from charging_assets.warehouse.postgres.ddl import POSTGIS_TYPE, PostgresDdl, quoted
from charging_assets.warehouse.retry import retrying
from charging_assets.warehouse.schema import Found, catalog_query, load_log, plan, require_columns

ATTEMPTS = 4
MIGRATION_ATTEMPTS = 30
"""They wait about two minutes together."""
STATEMENT_TIMEOUT_S = 3600
LOCK_TIMEOUT_S = 600
"""How long a load waits for another one of the same partition."""

_SESSION = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    # Of a loader whose machine has gone: its lock and its transaction end now, and not when TCP gives up in hours.
    "idle_in_transaction_session_timeout": "600s",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
    "TimeZone": "UTC",
}
_CONNECTING = {
    "application_name": "charging_assets",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
_PASSING = {"40001", "40P01"}
"""Serialization failure, deadlock."""
_GONE = ("08", "57P", "53300")
"""Connection lost, server shut down or starting, too many connections: how these SQLSTATEs begin."""
_LOG_COLUMNS = [col.name for col in load_log.columns]


class PostgresWarehouse:
    """See `Warehouse`. Shapes are PostGIS geometries where the extension is installed, else hex EWKB texts.

    Args:
        dsn: a libpq connection string or URI; it may hold a password, which is never shown.
        metadata: the tables.
    """

    name = "postgres"

    def __init__(self, dsn: str, metadata: MetaData = METADATA) -> None:
        given = _parsed(dsn)
        if given is None:  # raised here, where it has no context: what libpq says repeats the string
            raise WarehouseError(
                "CHARGING_ASSETS_POSTGRES_DSN (not shown, it may hold a password) is no connection string: expected "
                "postgresql://user:password@host:5432/database?sslmode=verify-full; write / and @ in a password as %2F "
                "and %40"
            )
        self._dsn = make_dsn(**{**_CONNECTING, **given})
        self._where = (
            f"PostgreSQL at {given.get('host', 'the default host')}, database {given.get('dbname', 'default')}"
        )
        self._metadata = metadata

    def plan(self) -> Sequence[Step]:
        """See `Warehouse`."""
        with self._connected() as cursor:
            found, ddl = self._found(cursor)
            return plan(self._metadata, found, ddl)

    def ensure_schema(self) -> Sequence[Step]:
        """See `Warehouse`.

        A table that gets a column is locked for a moment. While a query has it, this gives up at once and tries again:
        waiting for the lock, it would keep all other readers waiting.
        """
        return retrying(self._ensure_schema, attempts=MIGRATION_ATTEMPTS, is_worth=_is_locked)

    def _ensure_schema(self) -> Sequence[Step]:
        with self._connected() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_lock_number(STORE)])
            cursor.execute("SET LOCAL lock_timeout = '400ms'")
            found, ddl = self._found(cursor)
            steps = plan(self._metadata, found, ddl)
            for step in steps:
                for statement in step.statements:
                    cursor.execute(statement)
            cursor.connection.commit()
        return steps

    def replace_partition(self, file: PartitionFile) -> Load:
        """See `Warehouse`."""
        if file.key is None or not is_dated(file.table):
            raise ValueError(f"{file.table.name} is not dated: replace_table")
        return self._replace(file, f"WHERE query_date = '{file.key.isoformat()}'")

    def replace_table(self, file: PartitionFile) -> Load:
        """See `Warehouse`."""
        if file.key is not None or is_dated(file.table):
            raise ValueError(f"{file.table.name} is dated: replace_partition")
        return self._replace(file, "")

    def load_log(self) -> Mapping[tuple[str, PartitionKey], Load]:
        """See `Warehouse`."""
        with self._connected() as cursor:
            cursor.execute(f"SELECT {', '.join(_LOG_COLUMNS)} FROM {STORE}.{LOAD_LOG}")  # noqa: S608 - constants
            loads = [Load.of_row(row) for row in cursor.fetchall()]
        return {(load.table, load.key): load for load in loads}

    def views(self) -> Mapping[str, Sequence[str]]:
        """See `Warehouse`."""
        with self._connected() as cursor:
            found, _ = self._found(cursor)
        return {name: list(columns) for (schema, name), columns in found.columns.items() if schema == PUBLISHED}

    def _replace(self, file: PartitionFile, where: str) -> Load:
        columns = file.checked_columns()
        load = Load.of_file(file)
        is_committing = was_connected = False

        def attempt() -> Load:
            nonlocal is_committing, was_connected
            if is_committing and self._is_logged(load):
                return load
            is_committing = False
            with closing(dbapi.connect(self._dsn, autocommit=False)) as connection, connection.cursor() as cursor:
                was_connected = True
                self._begin(cursor, file)
                geometry_kinds = self._checked_table(cursor, file.table)
                cursor.execute(f"DELETE FROM {STORE}.{quoted(file.table.name)} {where}")  # noqa: S608 - of the model
                failpoint("warehouse.after_delete")
                failpoint("warehouse.before_copy")
                rows = _record_batches(file, columns, geometry_kinds)
                copied = cursor.adbc_ingest(file.table.name, rows, mode="append", db_schema_name=STORE)
                if copied != load.rows:
                    raise WarehouseError(
                        f"{file.uri}: {load.rows} rows were to be loaded, but {copied} were; load again."
                    )
                failpoint("warehouse.before_log")
                _write_log(cursor, load)
                failpoint("warehouse.before_commit")
                is_committing = True
                connection.commit()
                failpoint("warehouse.after_commit")
            return load

        with self._explained(f"Loading {load.table} {key_text(load.key)}"):
            # A first connection that fails may be a wrong password: said at once, and not tried until it is locked.
            return retrying(attempt, attempts=ATTEMPTS, is_worth=lambda error: was_connected and _passes(error))

    def _begin(self, cursor: dbapi.Cursor, file: PartitionFile) -> None:
        """Set the transaction's limits, and wait until nobody else replaces this partition."""
        # Whatever the user's default is: with a snapshot from before the lock, DELETE would miss what the other left.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SESSION.items())
        cursor.execute(f"SELECT {settings}")
        cursor.fetchall()
        # By itself: a statement sees what was committed before it began.
        locks = _lock_number(file.table.name), _lock_number(key_text(file.key))
        cursor.execute(f"SELECT pg_advisory_xact_lock({locks[0]}, {locks[1]})")
        cursor.fetchall()

    def _checked_table(self, cursor: dbapi.Cursor, tab: Table) -> Mapping[str, str]:
        """The store table's columns and their types, as the catalog has them."""
        cursor.execute(catalog_query(table=tab.name))
        columns = Found.of_rows((), (), cursor.fetchall()).columns.get((STORE, tab.name), {})
        require_columns(tab, columns, PostgresDdl(_postgis_in_use(tab, columns)))
        return columns

    def _is_logged(self, load: Load) -> bool:
        with self._connected() as cursor:
            cursor.execute(f"SELECT 1 FROM {STORE}.{LOAD_LOG} WHERE load_id = %s", [load.load_id])  # noqa: S608
            return cursor.fetchone() is not None

    def _found(self, cursor: Any) -> tuple[Found, PostgresDdl]:
        cursor.execute("SELECT nspname FROM pg_namespace")
        schemas = [name for (name,) in cursor.fetchall()]
        cursor.execute("SELECT rolname FROM pg_roles")
        roles = [name for (name,) in cursor.fetchall()]
        cursor.execute(catalog_query())
        found = Found.of_rows(schemas, roles, cursor.fetchall())
        cursor.execute("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'")
        installed = cursor.fetchone()
        tables = [(tab, found.columns.get((STORE, tab.name), {})) for tab in self._metadata.tables.values()]
        as_text = any(columns and _postgis_in_use(tab, columns) is None for tab, columns in tables if _shapes(tab))
        return found, PostgresDdl(installed[0] if installed and not as_text else None)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A cursor for small statements; what is not committed in the block is rolled back."""
        with (
            self._explained("A question"),
            closing(psycopg2.connect(self._dsn)) as connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn errors of the drivers into those of the contract."""
        try:
            yield
        except (psycopg2.Error, adbc.Error) as error:
            said = " ".join(str(error).split())
            if _is_gone(error):
                raise WarehouseUnavailable(
                    f"{self._where}, cannot be used now ({said}). What it has is as it was; once it is there again, "
                    "`charging-assets publish` loads what is missing."
                ) from error
            advice = _ADVICE.get(_sqlstate(error), "the partition is as it was")
            raise WarehouseError(f"{doing} failed in {self._where}: {said}: {advice}") from error


_ADVICE = {
    "42501": "run `charging-assets migrate` as the owner, and grant charging_loader to this user",
    "42P01": "run `charging-assets migrate` first",
    "3F000": "run `charging-assets migrate` first",
    "40001": "another transaction was in the way again and again: publish again when it is done",
    "40P01": "another transaction was in the way again and again: publish again when it is done",
    "54000": "an id is longer than the 2,700 bytes that a key of PostgreSQL can have; the table is as it was. The feed "
    "sends garbage: see it in DuckDB (`charging-assets sql`), which has the table",
    "53100": "the server's disk is full: free some space there, then publish again; nothing was lost",
    "55P03": "others have had the same tables or the same partition for long: see pg_stat_activity, then try again",
    "57014": f"it took longer than {STATEMENT_TIMEOUT_S} s: see pg_stat_activity, then publish again",
    "22021": "PostgreSQL's texts cannot hold a NUL character: the partition stays as it was",
}


def _parsed(dsn: str) -> Mapping[str, str] | None:
    """What a connection string says; None where it is none, or holds a piece of a password where none belongs."""
    try:
        given = dict(parse_dsn(dsn))
    except psycopg2.ProgrammingError:
        return None
    # A / or @ in a password that is not escaped ends it: its rest is taken for a host, port or database.
    is_split = any("@" in given.get(name, "").lstrip("@") for name in ("host", "dbname"))
    has_ports = all(port.isdigit() for port in given.get("port", "").split(",") if port)
    return None if is_split or not has_ports else given


def _write_log(cursor: dbapi.Cursor, load: Load) -> None:
    row = load.as_row()
    cursor.execute(f"DELETE FROM {STORE}.{LOAD_LOG} WHERE table_name = $1 AND partition_key = $2", row[:2])  # noqa: S608
    values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    cursor.execute(f"INSERT INTO {STORE}.{LOAD_LOG} ({', '.join(_LOG_COLUMNS)}) VALUES ({values})", row)  # noqa: S608


def _record_batches(file: PartitionFile, columns: list[str], kinds: Mapping[str, str]) -> pa.RecordBatchReader:
    """The rows as they are copied: shapes as PostGIS or a text column takes them."""
    shapes = {name: kinds[name] == POSTGIS_TYPE for name in _shapes(file.table) if name in columns}
    fields = [
        field if field.name not in shapes else pa.field(field.name, pa.binary() if shapes[field.name] else pa.string())
        for field in file.schema
    ]
    schema = pa.schema(fields)

    def converted() -> Iterator[pa.RecordBatch]:
        for batch in file.batches(columns):
            arrays = [
                batch[name] if name not in shapes else _ewkb(batch[name], is_binary=shapes[name]) for name in columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, converted())


def _ewkb(wkb: pa.Array, *, is_binary: bool) -> pa.Array:
    """WKB with its spatial reference, as bytes or as hexadecimal text."""
    shapes = shapely.set_srid(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)), Geometry.srid)
    texts = shapely.to_wkb(shapes, hex=not is_binary, include_srid=True)
    return pa.array(texts, pa.binary() if is_binary else pa.string(), from_pandas=True)


def _shapes(tab: Table) -> list[str]:
    return [col.name for col in tab.columns if isinstance(col.type, Geometry)]


def _postgis_in_use(tab: Table, columns: Mapping[str, str]) -> str | None:
    """A name for PostGIS where the table's shapes are its geometries."""
    return "postgis" if any(columns.get(name) == POSTGIS_TYPE for name in _shapes(tab)) else None


def _lock_number(text: str) -> int:
    """A signed 32-bit number, as advisory locks take two of."""
    return zlib.crc32(f"charging_assets {text}".encode()) - 2**31


def _sqlstate(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def _is_gone(error: Exception) -> bool:
    state = _sqlstate(error)
    if state:
        return state.startswith(_GONE)
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or (
        isinstance(error, adbc.Error) and error.status_code == adbc.AdbcStatusCode.IO
    )


def _is_locked(error: Exception) -> bool:
    return isinstance(error.__cause__, psycopg2.Error) and _sqlstate(error.__cause__) == "55P03"


def _passes(error: Exception) -> bool:
    return isinstance(error, WarehouseUnavailable) or (
        isinstance(error, psycopg2.Error | adbc.Error) and (_sqlstate(error) in _PASSING or _is_gone(error))
    )
