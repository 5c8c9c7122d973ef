"""What a warehouse promises, whichever it is.

A partition is replaced whole or not at all, by one load at a time, and readers see the one before until then. How often
and in which order loads are repeated changes nothing: at-least-once execution, exactly-once effect per (table,
partition). What was loaded stands in the load log, which is written in the same transaction.

Belongs here: the contract, its errors, and the names of schemas and roles. Does not belong here: SQL.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import MetaData, Table

from charging_assets import calendar
from charging_assets.lake import PartitionFile, PartitionKey
from charging_assets.model.tables import METADATA

PUBLISHED, STORE = "charging", "charging_store"
"""Schemas: what people query (views only), and the tables behind it."""

LOADER, READER = "charging_loader", "charging_reader"
"""Roles: who may load, and who may read the published schema. Neither can log in; grant them to users."""

LOAD_LOG = "load_log"
"""Table of the store, and a view for everybody: the last load of each partition."""

WHOLE = "all"
"""How the load log words the key of an undated table's only partition."""


class WarehouseError(Exception):
    """The warehouse could not do what was asked; the message says what to do about it."""


class WarehouseUnavailable(WarehouseError):  # noqa: N818 - says what is the matter
    """The warehouse does not answer, or not any more: what was not loaded can be published later."""


class MigrationRefused(WarehouseError):  # noqa: N818 - says what happened
    """The schema cannot be brought to what the model declares without risking rows; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Load:
    """One row of the load log, in the order of its columns: the last load of a partition."""

    table: str
    key: PartitionKey
    content_hash: str
    """Hex SHA-256 of the lake's file that was loaded."""
    file_version: str
    """Which version of the file that was: see `Lake.versions`."""
    rows: int
    schema_version: int
    code_version: str
    inputs: str
    load_id: str
    """Tells loads of equal content apart, as a load whose COMMIT was never answered has to."""
    loaded_at: dt.datetime

    @classmethod
    def of_file(cls, file: PartitionFile) -> "Load":
        """A new load, of a file, that begins now."""
        info = file.info
        return cls(
            table=file.table.name,
            key=file.key,
            content_hash=file.content_hash,
            file_version=file.version,
            rows=info.rows,
            schema_version=info.schema_version,
            code_version=info.code_version,
            inputs=info.inputs,
            load_id=uuid4().hex,
            loaded_at=calendar.utc_now(),
        )

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Load":
        """From the values of a row of the load log, in the order of its columns."""
        return cls(row[0], key_of_text(row[1]), *row[2:])

    def as_row(self) -> tuple[Any, ...]:
        """The values of its row of the load log, in the order of its columns."""
        table, key, *rest = (getattr(self, each.name) for each in fields(self))
        return (table, key_text(key), *rest)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a warehouse's schema."""

    what: str
    """In words, for whoever is asked to agree."""
    statements: Sequence[str] = field(repr=False)
    is_change: bool = True
    """Whether anything differs afterwards; grants are made again in any case."""


class Warehouse(Protocol):
    """A place that serves the tables. Making one does no I/O; each call opens and closes its own connections."""

    name: str
    """`duckdb`, `postgres` or `redshift`."""

    def plan(self) -> Sequence[Step]:
        """What `ensure_schema` would do.

        Raises:
            MigrationRefused: what is there cannot be brought to the model without risking rows.
            WarehouseUnavailable: it does not answer.
        """

    def ensure_schema(self) -> Sequence[Step]:
        """Create and upgrade schemas, tables, views and roles, in one transaction; returns what was done.

        Raises: see `plan`.
        """

    def replace_partition(self, file: PartitionFile) -> Load:
        """Make the rows of a dated table's partition those of `file`.

        Raises:
            SchemaMismatch: the file's columns are not those of the table; nothing was deleted.
            WarehouseUnavailable: it does not answer; the partition is as it was, or replaced whole.
            WarehouseError: it refused, or a value cannot be stored; the partition is as it was.
        """

    def replace_table(self, file: PartitionFile) -> Load:
        """Make the rows of an undated table those of `file`. Raises: see `replace_partition`."""

    def load_log(self) -> Mapping[tuple[str, PartitionKey], Load]:
        """The last load of each partition, by table and key.

        Raises:
            WarehouseError: there is no such schema yet, or it does not answer.
        """

    def views(self) -> Mapping[str, Sequence[str]]:
        """The views that people query and their columns, as they are in the warehouse now."""


def published_tables(metadata: MetaData = METADATA) -> list[Table]:
    """The tables that a warehouse has: all but raw data, which stays in the lake."""
    return [tab for tab in metadata.tables.values() if tab.info["group"] != "raw"]


def key_text(key: PartitionKey) -> str:
    """A partition's key as the load log has it."""
    return WHOLE if key is None else key.isoformat()


def key_of_text(text: str) -> PartitionKey:
    """The key that `key_text` made into `text`."""
    return None if text == WHOLE else dt.date.fromisoformat(text)
