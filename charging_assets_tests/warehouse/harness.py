"""A lake and a warehouse over it, as tests use them: the same for every kind of warehouse.

A real Redshift is tried by `make test-redshift-live`, where the environment says which: the variables
CHARGING_ASSETS_TEST_REDSHIFT_… with HOST, PORT, DATABASE, USER, PASSWORD, IAM_ROLE, SSLMODE and SSLROOTCERT are as
CHARGING_ASSETS_REDSHIFT_…, and LAKE is an address on S3 in its region, for which boto3 finds credentials as usual. The
database must be for these tests alone, and have `test` in its name: our two schemas are dropped before each of them.
The user must be a superuser, as users and roles are made.

Belongs here: how a warehouse of each kind comes to be, and how tests look at it. Does not belong here: what is
expected.
"""

import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from sqlalchemy import MetaData

from charging_assets.lake import Lake, PartitionKey
from charging_assets.model.tables import METADATA, table
from charging_assets.model.tables.declare import Geometry
from charging_assets.settings import Settings
from charging_assets.warehouse import EmbeddedWarehouse, Load, Warehouse, load
from charging_assets.warehouse import query as query_lake
from charging_assets.warehouse.contract import PUBLISHED, READER, STORE
from charging_assets.warehouse.postgres import PostgresWarehouse
from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse
from charging_assets.warehouse.redshift.connection import connected as redshift_connected
from charging_assets_tests.standins.pgproxy import PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.warehouse.rows import Row, as_rows

_LIVE = "CHARGING_ASSETS_TEST_REDSHIFT_"
_Served = TypeVar("_Served", bound="ServedHarness")

IAM_ROLE = "arn:aws:iam::123456789012:role/charging-lake"

Recipe = Mapping[str, Any]
"""How another process makes the same warehouse: see `warehouse_of_recipe`."""


class Harness:
    """A lake and a warehouse that has its schema.

    Attributes:
        home: the folder of the lake's installation.
        lake: where `write` puts partitions.
        warehouse: where `load` loads them.
    """

    warehouse: Warehouse

    def __init__(self, lake_uri: str, home: Path, s3: Any = None) -> None:
        """`s3`: a boto3 client, for a lake that is there."""
        self.home, self.lake, self._s3 = home, Lake(lake_uri, home), s3

    def write(self, name: str, key: PartitionKey, rows: pa.Table) -> None:
        """Replace a partition of the lake."""
        self.lake.write(name, key, rows)

    def load(self, name: str, key: PartitionKey) -> Load:
        """Load a partition of the lake into the warehouse."""
        return load(self.lake, self.warehouse, name, key)

    def query(self, sql: str) -> list[Row]:
        """What somebody gets who may only read."""
        raise NotImplementedError

    def literal(self, text: str) -> str:
        """A text in SQL."""
        return "'" + text.replace("'", "''") + "'"

    def count(self, name: str) -> int:
        """Rows of a table."""
        return int(self.query(f'SELECT count(*) FROM charging."{name}"')[0][0])

    def rows(self, name: str, key: PartitionKey = None) -> list[Row]:
        """The stored columns of a table or, with a key, of a partition; shapes as the lake has them."""
        columns = ", ".join(f'"{col.name}"' for col in table(name).columns)
        where = f" WHERE query_date = '{key}'" if key else ""
        rows = self.query(f'SELECT {columns} FROM charging."{name}"{where}')
        is_shape = [isinstance(col.type, Geometry) for col in table(name).columns]
        return [
            tuple(_wkb(value) if is_one else value for value, is_one in zip(row, is_shape, strict=True)) for row in rows
        ]

    def rewrite(
        self,
        name: str,
        key: PartitionKey,
        change: Callable[[pa.Table], pa.Table] = lambda rows: rows,
        footer: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Put something else in place of a partition of the lake, as another program would.

        What its footer says stays, but for `footer`.
        """
        stored = pq.ParquetFile(pa.BufferReader(self.read_bytes(name, key)))
        said = {what: text for what, text in stored.metadata.metadata.items() if what != b"ARROW:schema"}
        changed = change(stored.read()).replace_schema_metadata({**said, **(footer or {})})
        made = io.BytesIO()
        pq.write_table(changed, made)
        self.write_bytes(name, key, made.getvalue())

    def read_bytes(self, name: str, key: PartitionKey) -> bytes:
        """The file of a partition of the lake."""
        location = self.lake.location(name, key)
        if not location.startswith("s3://"):
            return Path(location).read_bytes()
        return bytes(self._s3.get_object(**_object(location))["Body"].read())

    def write_bytes(self, name: str, key: PartitionKey, data: bytes) -> None:
        """Put `data` in place of the file of a partition of the lake."""
        location = self.lake.location(name, key)
        if location.startswith("s3://"):
            self._s3.put_object(**_object(location), Body=data)
        else:
            Path(location).write_bytes(data)

    def objects(self, prefix: str) -> list[str]:
        """Keys of the objects on S3 whose addresses begin so."""
        of = _object(prefix)
        listed = self._s3.list_objects_v2(Bucket=of["Bucket"], Prefix=of["Key"])
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def remove(self, name: str, key: PartitionKey) -> None:
        """Remove a partition from the lake."""
        location = self.lake.location(name, key)
        if location.startswith("s3://"):
            self._s3.delete_object(**_object(location))
        else:
            Path(location).unlink()


class EmbeddedHarness(Harness):
    """DuckDB over the lake: a load checks, and the lake itself is what is queried."""

    def __init__(self, lake_uri: str, home: Path) -> None:
        super().__init__(lake_uri, home)
        self.warehouse = EmbeddedWarehouse(self.lake)

    def query(self, sql: str) -> list[Row]:
        """See `Harness`."""
        with query_lake(self.lake, sql) as reader:
            return as_rows(reader.read_all())


class ServedHarness(Harness):
    """A warehouse on a server, in a database that is empty: it has no schema yet."""

    def new_warehouse(self, metadata: MetaData = METADATA, user: str | None = None) -> Warehouse:
        """The same warehouse with other tables, or for another user than its owner."""
        raise NotImplementedError

    def new_user(self, *roles: str) -> str:
        """A user who may log in and has these roles."""
        raise NotImplementedError

    def execute(self, sql: str) -> list[Row]:
        """A statement of the owner, behind everybody's back."""
        raise NotImplementedError

    def connected(self, user: str) -> AbstractContextManager[Any]:
        """A psycopg2 connection, as clients have it."""
        raise NotImplementedError

    @cached_property
    def reader(self) -> str:
        """A user who may only read."""
        return self.new_user(READER)

    def query(self, sql: str) -> list[Row]:
        """See `Harness`."""
        with self.connected(self.reader) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Remove what it has made."""
        raise NotImplementedError


class ProxiedHarness(ServedHarness):
    """One on a server of our own, behind a proxy.

    Attributes:
        proxy: what stands before the server; its faults and statements are those of everybody who goes through it.
        database: whose tables they are.
    """

    def __init__(self, lake_uri: str, home: Path, postgres: PostgresStandin, proxy: PgProxy, s3: Any = None) -> None:
        super().__init__(lake_uri, home, s3)
        self.proxy, self.database = proxy, postgres.new_database()
        self._postgres = postgres
        self.warehouse = self.new_warehouse()
        proxy.faults.clear()
        proxy.statements.clear()

    def recipe(self, user: str = "postgres") -> Recipe:
        """How another process makes this warehouse, as that user."""
        raise NotImplementedError

    def make_schema(self) -> None:
        """What `ensure_schema` makes; the first of its kind on a server is what all others are copied from."""
        first = f"first_{self.recipe()['kind']}"
        if self._postgres.execute("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{first}'"):
            self.close()
            self._copy_database(first, self.database)
        else:
            self.warehouse.ensure_schema()
            self._copy_database(self.database, first)
        self.proxy.statements.clear()

    def _copy_database(self, of: str, name: str) -> None:
        self._postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {of}")

    def new_warehouse(self, metadata: MetaData = METADATA, user: str | None = None) -> Warehouse:
        """See `ServedHarness`."""
        return warehouse_of_recipe(self.recipe(user or "postgres"), metadata)

    def new_user(self, *roles: str) -> str:
        """See `ServedHarness`."""
        name = f"user_{uuid4().hex}"
        self.execute(f"CREATE ROLE {name} LOGIN{' IN ROLE ' * bool(roles)}{', '.join(roles)}")
        return name

    def execute(self, sql: str) -> list[Row]:
        """See `ServedHarness`; straight at the server, in PostgreSQL's words."""
        return self._postgres.execute(self.database, sql)

    @contextmanager
    def connected(self, user: str) -> Iterator[Any]:
        """See `ServedHarness`."""
        with closing(psycopg2.connect(self.proxy.dsn(self.database, user=user))) as connection:
            yield connection

    @contextmanager
    def impatient(self) -> Iterator[Any]:
        """A cursor of the reader, straight at the server, who fails rather than wait half a second for a lock."""
        dsn = self._postgres.dsn(self.database, user=self.reader)
        with closing(psycopg2.connect(dsn, options="-c lock_timeout=500ms")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def close(self) -> None:
        """See `ServedHarness`."""
        self._postgres.execute("postgres", f"DROP DATABASE {self.database} WITH (FORCE)")


class PostgresHarness(ProxiedHarness):
    """PostgreSQL."""

    def recipe(self, user: str = "postgres") -> Recipe:
        """See `ProxiedHarness`."""
        return {"kind": "postgres", "dsn": self.proxy.dsn(self.database, user=user)}


class RedshiftHarness(ProxiedHarness):
    """The stand-in of Redshift, with the lake on S3."""

    def recipe(self, user: str = "postgres") -> Recipe:
        """See `ProxiedHarness`."""
        return {
            "kind": "redshift",
            "host": "127.0.0.1",
            "port": self.proxy.port,
            "database": self.database,
            "user": user,
            "password": self.proxy.password or "never asked for",
            "iam_role": IAM_ROLE,
            "sslmode": "disable",
        }

    def literal(self, text: str) -> str:
        """See `Harness`; a backslash escapes."""
        return super().literal(text).replace("\\", "\\\\")


class LiveRedshiftHarness(ServedHarness):
    """A real cluster or workgroup; see the module."""

    def __init__(self, settings: Settings, home: Path) -> None:
        super().__init__(f"{settings.lake}/{uuid4().hex}", home, boto3.client("s3"))
        assert settings.redshift is not None
        self._config = RedshiftConfig(**asdict(settings.redshift))
        self._passwords: dict[str, str] = {}
        self.warehouse = self.new_warehouse()
        for schema in (PUBLISHED, STORE):
            self.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def new_warehouse(self, metadata: MetaData = METADATA, user: str | None = None) -> Warehouse:
        """See `ServedHarness`."""
        return RedshiftWarehouse(self._config_of(user), metadata)

    def new_user(self, *roles: str) -> str:
        """See `ServedHarness`."""
        name, password = f"user_{uuid4().hex}", f"Aa1{secrets.token_hex(16)}"
        self.execute(f"CREATE USER {name} PASSWORD '{password}'")
        for role in roles:
            self.execute(f"GRANT ROLE {role} TO {name}")
        self._passwords[name] = password
        return name

    def execute(self, sql: str) -> list[Row]:
        """See `ServedHarness`."""
        with redshift_connected(self._config) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def connected(self, user: str) -> Iterator[Any]:
        """See `ServedHarness`."""
        with redshift_connected(self._config_of(user)) as cursor:
            yield cursor.connection

    def literal(self, text: str) -> str:
        """See `Harness`; a backslash escapes."""
        return super().literal(text).replace("\\", "\\\\")

    def close(self) -> None:
        """See `ServedHarness`."""
        for schema in (PUBLISHED, STORE):
            self.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        for user in self._passwords:
            self.execute(f"DROP USER {user}")
        for key in self.objects(f"{self.lake.uri}/"):
            self._s3.delete_object(Bucket=_object(self.lake.uri)["Bucket"], Key=key)

    def _config_of(self, user: str | None) -> RedshiftConfig:
        return replace(self._config, user=user, password=self._passwords[user]) if user else self._config


def live_settings() -> Settings | None:
    """Which cluster the live tests may use; None if the environment names none.

    Raises:
        SettingsError: a variable is missing or wrong.
        ValueError: the database may be somebody's.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith(_LIVE)}
    if not given:
        return None
    environment = {f"CHARGING_ASSETS_REDSHIFT_{name.removeprefix(_LIVE)}": value for name, value in given.items()}
    settings = Settings.from_env(
        environment | {"CHARGING_ASSETS_WAREHOUSE": "redshift", "CHARGING_ASSETS_LAKE": given.get(f"{_LIVE}LAKE", "")}
    )
    assert settings.redshift is not None
    if "test" not in settings.redshift.database:
        raise ValueError(
            f"{_LIVE}DATABASE={settings.redshift.database!r}: the schemas {PUBLISHED} and {STORE} of that database are "
            "dropped before each test, so its name must have `test` in it"
        )
    return settings


def warehouse_of_recipe(recipe: Recipe, metadata: MetaData = METADATA) -> Warehouse:
    """The warehouse that a recipe describes."""
    given = dict(recipe)
    if given.pop("kind") == "postgres":
        return PostgresWarehouse(given["dsn"], metadata)
    return RedshiftWarehouse(RedshiftConfig(**given), metadata)


def with_schema(empty: _Served) -> _Served:
    """The same, now with its schema."""
    if isinstance(empty, ProxiedHarness):
        empty.make_schema()
    else:
        empty.warehouse.ensure_schema()
    return empty


def _wkb(ewkb: str | None) -> bytes | None:
    """Without its spatial reference, which must be the right one."""
    if ewkb is None:
        return None
    shape = shapely.from_wkb(ewkb)
    assert shapely.get_srid(shape) == Geometry.srid
    plain: bytes = shapely.to_wkb(shape, byte_order=1, include_srid=False)
    return plain


def _object(location: str) -> dict[str, str]:
    parts = urlsplit(location)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
