"""What a warehouse's schema should be, and what brings it there, for those that are loaded.

Tables are in the schema `charging_store`, one per table of the model, and a load log. What people query are the views
of the same names in `charging`, which add the computed columns. New columns are added last and may be null, since older
partitions lack them; nothing is ever dropped, and a type is never changed.

Belongs here: which steps there are and what is refused. Does not belong here: how a warehouse words them (`ddl`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table

from charging_assets.model.tables.declare import column, declare, text, time
from charging_assets.warehouse.contract import (
    LOAD_LOG,
    LOADER,
    PUBLISHED,
    READER,
    STORE,
    MigrationRefused,
    Step,
    WarehouseError,
    published_tables,
)


def catalog_query(catalog: str = "information_schema.columns", table: str | None = None) -> str:
    """What `Found.of_rows` reads: all columns of both schemas, or those of one store table."""
    wanted = f"table_schema IN ('{STORE}', '{PUBLISHED}')"
    if table is not None:
        wanted = f"table_schema = '{STORE}' AND table_name = '{table}'"
    return (
        "SELECT table_schema, table_name, column_name, data_type, character_maximum_length "  # noqa: S608 - the model's
        f"FROM {catalog} WHERE {wanted} ORDER BY table_schema, table_name, ordinal_position"
    )


load_log = declare(
    LOAD_LOG,
    "The last load of each partition into this warehouse, written in the same transaction as its rows.",
    text("table_name", "Which table."),
    text("partition_key", "Which query date, as an ISO date; `all` for tables that are not dated."),
    text("content_hash", "Hex SHA-256 of the lake's file that was loaded."),
    text("file_version", "Which version of that file it was, as the lake tells them apart."),
    column("row_count", BigInteger(), "Rows that were loaded.", unit="rows"),
    column("schema_version", Integer(), "Version of the data model by which the file was written."),
    text("code_version", "Version of charging_assets that wrote the file."),
    text("inputs", "Fingerprint of what the partition was made from."),
    text("load_id", "Identifies the load."),
    time("loaded_at", "When the load began to replace the rows, by the clock of the loader."),
    key=("table_name", "partition_key"),
    group="warehouse",
    dated=False,
    metadata=MetaData(),
)


@dataclass(frozen=True)
class Found:
    """What a warehouse has."""

    schemas: Collection[str]
    roles: Collection[str]
    columns: Mapping[tuple[str, str], Mapping[str, str]]
    """By schema and table or view: names of the columns in their order, with their types as the catalog words them."""

    @classmethod
    def of_rows(cls, schemas: Collection[str], roles: Collection[str], rows: Sequence[Sequence[Any]]) -> "Found":
        """From the rows of `catalog_query`."""
        columns: dict[tuple[str, str], dict[str, str]] = {}
        for schema, name, column_name, kind, length in rows:
            columns.setdefault((schema, name), {})[column_name] = f"{kind}({length})" if length else kind
        return cls(schemas, roles, columns)


class Ddl(Protocol):
    """How a warehouse words its schema. Types are those of its catalog, with `(length)` where it gives one."""

    def catalog_type(self, col: Column[Any]) -> str:
        """The type that the catalog gives a column which was created as declared."""

    def create_table(self, tab: Table) -> Sequence[str]:
        """Statements that create a store table, with all that belongs to it."""

    def add_column(self, tab: Table, col: Column[Any]) -> Sequence[str]:
        """Statements that add a column that may be null, as the last one."""

    def create_view(self, tab: Table) -> Sequence[str]:
        """Statements that create a published view, or replace it by one with more columns."""

    def create_role(self, name: str) -> Sequence[str]:
        """Statements that create a role that cannot log in."""

    def grants(self) -> Sequence[str]:
        """Statements that let the loader load and the reader read, and nothing more; harmless when repeated."""


def store_tables(metadata: MetaData) -> list[Table]:
    """All tables of the store: the published ones, and the load log."""
    return [*published_tables(metadata), load_log]


def view_columns(tab: Table) -> dict[str, str]:
    """The columns of a published view, each with its SQL: computed ones first, as they identify a row."""
    columns = {name: sql for name, (sql, _) in tab.info["computed"].items()}
    return columns | {col.name: f'"{col.name}"' for col in tab.columns}


def view_query(tab: Table) -> str:
    """The SELECT of a published view."""
    shown = ", ".join(f'{sql} AS "{name}"' for name, sql in view_columns(tab).items())
    return f'SELECT {shown} FROM {STORE}."{tab.name}"'  # noqa: S608 - names of the data model


def plan(metadata: MetaData, found: Found, ddl: Ddl) -> list[Step]:
    """The steps from what was found to what the model declares.

    Raises:
        MigrationRefused: at least one table cannot be brought there without risking rows; all reasons are given.
    """
    tables = store_tables(metadata)
    if reasons := [reason for tab in tables for reason in _reasons_against(tab, found, ddl)]:
        raise MigrationRefused("The schema stays as it is. " + " ".join(reasons))
    steps = [Step(f"create role {name}", ddl.create_role(name)) for name in (LOADER, READER) if name not in found.roles]
    steps += [
        Step(f"create schema {name}", [f"CREATE SCHEMA {name}"])
        for name in (STORE, PUBLISHED)
        if name not in found.schemas
    ]
    for tab in tables:
        steps += _table_steps(tab, found, ddl)
    steps += [
        Step(f"create view {PUBLISHED}.{tab.name}", ddl.create_view(tab))
        for tab in tables
        # A view stays with the table that it was made for, also when that is renamed and another takes its name.
        if (STORE, tab.name) not in found.columns
        or list(found.columns.get((PUBLISHED, tab.name), ())) != list(view_columns(tab))
    ]
    grants = f"let {LOADER} load into {STORE}, and {READER} read {PUBLISHED}"
    return [*steps, Step(grants, ddl.grants(), is_change=False)]


def _table_steps(tab: Table, found: Found, ddl: Ddl) -> Iterator[Step]:
    has = found.columns.get((STORE, tab.name))
    if has is None:
        # What an earlier table of that name had been loaded with is not in this one.
        forget = f"DELETE FROM {STORE}.{LOAD_LOG} WHERE table_name = '{tab.name}'"  # noqa: S608 - of the model
        is_logged = tab.name != LOAD_LOG and (STORE, LOAD_LOG) in found.columns
        statements = [*ddl.create_table(tab), *([forget] if is_logged else [])]
        yield Step(f"create table {STORE}.{tab.name} ({len(tab.columns)} columns)", statements)
        return
    for col in tab.columns:
        if col.name not in has:
            yield Step(f"add column {STORE}.{tab.name}.{col.name}, null in rows so far", ddl.add_column(tab, col))


def _reasons_against(tab: Table, found: Found, ddl: Ddl) -> Iterator[str]:
    has, where = found.columns.get((STORE, tab.name)), f"{STORE}.{tab.name}"
    if has is None:
        return
    for name in has:
        if name not in tab.columns:
            yield (
                f"{where} has a column {name!r} that this version of charging_assets does not know: use the newer one "
                "that added it, or rename the table to keep it and run this again."
            )
    for col in tab.columns:
        expected = ddl.catalog_type(col)
        if (kind := has.get(col.name, expected)) != expected:
            yield (
                f"{where}.{col.name} is {kind}, expected {expected}: types are not changed in place. Rename the table "
                "to keep it, run this again, and publish its partitions from the lake."
            )
        if col.name not in has and col.primary_key:
            yield (
                f"{where} lacks {col.name!r}, a part of its key, which rows so far cannot have: rename the table to "
                "keep it, run this again, and publish its partitions from the lake."
            )


def require_columns(tab: Table, has: Mapping[str, str], ddl: Ddl) -> None:
    """Check a store table before anything of it is deleted; `has` is as in `Found.columns`.

    Raises:
        WarehouseError: it is absent, or a column is not as declared; the message names it.
    """
    where = f"{STORE}.{tab.name}"
    if not has:
        raise WarehouseError(f"There is no table {where} in the warehouse: run `charging-assets migrate` first.")
    for col in tab.columns:
        expected, kind = ddl.catalog_type(col), has.get(col.name)
        if kind != expected:
            raise WarehouseError(
                f"{where}: expected column {col.name!r} as {expected}, got {kind or 'none'}; nothing was deleted. "
                "`charging-assets migrate --plan` says what can be done."
            )
    for name in has:
        if name not in tab.columns:
            raise WarehouseError(
                f"{where}: column {name!r} is not declared; nothing was deleted. `charging-assets migrate --plan` says "
                "what can be done."
            )
