"""Redshift: one COPY of the lake's file from S3 into a temporary table, then an exchange within one transaction.

The transaction first locks a table made for that, so that loads of a table wait for each other and not its readers,
and takes its snapshot only then. It deletes the partition's rows, inserts the staged ones, writes the load log and
commits. Whoever is in the way of somebody else's write begins the transaction again; rows are not copied twice for it.

Belongs here: how a partition is replaced, and what is repeated. Does not belong here: the texts of statements
(`statements`, `ddl`), and what is made of errors (`errors`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from sqlalchemy import MetaData, Table

from charging_assets.failpoints import failpoint
from charging_assets.lake import PartitionFile, PartitionKey
from charging_assets.model.tables import METADATA, is_dated
from charging_assets.warehouse.contract import (
    PUBLISHED,
    STORE,
    Load,
    Step,
    WarehouseError,
    key_text,
    published_tables,
)
from charging_assets.warehouse.redshift import statements
from charging_assets.warehouse.redshift.config import RedshiftConfig
from charging_assets.warehouse.redshift.connection import connected, is_gone
from charging_assets.warehouse.redshift.ddl import CATALOG, RedshiftDdl, lock_table
from charging_assets.warehouse.redshift.errors import explained, is_conflict
from charging_assets.warehouse.redshift.limits import require_fitting
from charging_assets.warehouse.retry import retrying
from charging_assets.warehouse.schema import Found, catalog_query, plan, require_columns

CONNECTIONS = 3
"""How many connections a load may lose, the last one included."""
EXCHANGES = 6
"""How often a load begins its transaction, when others are in its way."""


class RedshiftWarehouse:
    """See `Warehouse`. The lake must be on S3, in the region of the cluster.

    Args:
        config: how Redshift is reached.
        metadata: the tables.
    """

    name = "redshift"

    def __init__(self, config: RedshiftConfig, metadata: MetaData = METADATA) -> None:
        self._config = config
        self._metadata = metadata
        self._ddl = RedshiftDdl()

    def plan(self) -> Sequence[Step]:
        """See `Warehouse`."""
        with explained(self._config, "Looking at the schema"), connected(self._config) as cursor:
            return self._plan(cursor)

    def ensure_schema(self) -> Sequence[Step]:
        """See `Warehouse`. Of two at the same time one may fail, and says so."""
        with explained(self._config, "Changing the schema"), connected(self._config) as cursor:
            cursor.execute("BEGIN")
            steps = self._plan(cursor)
            for step in steps:
                for statement in step.statements:
                    cursor.execute(statement)
            cursor.execute("COMMIT")
        return steps

    def replace_partition(self, file: PartitionFile) -> Load:
        """See `Warehouse`."""
        if file.key is None or not is_dated(file.table):
            raise ValueError(f"{file.table.name} is not dated: replace_table")
        return self._replace(file)

    def replace_table(self, file: PartitionFile) -> Load:
        """See `Warehouse`."""
        if file.key is not None or is_dated(file.table):
            raise ValueError(f"{file.table.name} is dated: replace_partition")
        return self._replace(file)

    def load_log(self) -> Mapping[tuple[str, PartitionKey], Load]:
        """See `Warehouse`."""
        with explained(self._config, "Reading the load log"), connected(self._config) as cursor:
            cursor.execute(statements.SELECT_LOG)
            loads = [Load.of_row((*row[:-1], row[-1].astimezone(dt.UTC))) for row in cursor.fetchall()]
        return {(load.table, load.key): load for load in loads}

    def views(self) -> Mapping[str, Sequence[str]]:
        """See `Warehouse`."""
        with explained(self._config, "Looking at the views"), connected(self._config) as cursor:
            found = _found(cursor)
        return {name: list(columns) for (schema, name), columns in found.columns.items() if schema == PUBLISHED}

    def _plan(self, cursor: Any) -> Sequence[Step]:
        found = _found(cursor)
        *steps, grants = plan(self._metadata, found, self._ddl)
        unlocked = [
            tab for tab in published_tables(self._metadata) if (STORE, lock_table(tab).name) not in found.columns
        ]
        if unlocked:
            created = [statement for tab in unlocked for statement in self._ddl.create_lock(tab)]
            steps.append(Step(f"create {len(unlocked)} empty tables that loads lock", created))
        return [*steps, grants]

    def _replace(self, file: PartitionFile) -> Load:
        columns = file.checked_columns()
        require_fitting(file, columns)
        load = Load.of_file(file)
        is_again = False

        def attempt() -> Load:
            nonlocal is_again
            with connected(self._config) as cursor:
                # A connection that was lost during COMMIT leaves open whether that was done: the log tells.
                if is_again and _is_logged(cursor, load):
                    return load
                is_again = True
                self._stage(cursor, file, columns)
                retrying(lambda: _exchange(cursor, file, columns, load), attempts=EXCHANGES, is_worth=is_conflict)
            return load

        with explained(self._config, f"Loading {load.table} {key_text(load.key)}"):
            return retrying(attempt, attempts=CONNECTIONS, is_worth=is_gone)

    def _stage(self, cursor: Any, file: PartitionFile, columns: Sequence[str]) -> None:
        """Copy the file into a temporary table, once it is sure that the rows can go on from there."""
        self._require_table(cursor, file.table)
        cursor.execute(statements.create_stage(file.table, columns))
        failpoint("warehouse.before_copy")
        if file.info.rows == 0:  # a file without row groups is nothing that COPY is documented for
            return
        with file.manifest() as manifest:
            cursor.execute(statements.copy(file.table, columns, manifest, self._config.iam_role))
        cursor.execute(statements.COUNT_STAGED)
        (staged,) = cursor.fetchone()
        if staged != file.info.rows:
            raise WarehouseError(
                f"{file.uri}: expected {file.info.rows} rows, but COPY brought {staged}: the file was replaced in the "
                "meantime. Nothing was loaded: publish again."
            )

    def _require_table(self, cursor: Any, tab: Table) -> None:
        cursor.execute(catalog_query(CATALOG, tab.name))
        found = Found.of_rows((), (), cursor.fetchall())
        require_columns(tab, found.columns.get((STORE, tab.name), {}), self._ddl)


def _exchange(cursor: Any, file: PartitionFile, columns: Sequence[str], load: Load) -> None:
    """Put the staged rows in the place of the partition's."""
    row = load.as_row()
    try:
        cursor.execute("BEGIN")
        cursor.execute(statements.lock(file.table))
        cursor.execute(statements.delete(file.table, file.key))
        failpoint("warehouse.after_delete")
        cursor.execute(statements.insert(file.table, columns))
        failpoint("warehouse.before_log")
        cursor.execute(statements.DELETE_LOG, row[:2])
        cursor.execute(statements.INSERT_LOG, row)
        failpoint("warehouse.before_commit")
        cursor.execute("COMMIT")
        failpoint("warehouse.after_commit")
    except psycopg2.Error as error:
        if not is_gone(error):
            cursor.execute("ROLLBACK")
        raise


def _is_logged(cursor: Any, load: Load) -> bool:
    cursor.execute(statements.FIND_LOAD, [load.load_id])
    return cursor.fetchone() is not None


def _found(cursor: Any) -> Found:
    cursor.execute("SELECT nspname FROM pg_namespace")
    schemas = [name for (name,) in cursor.fetchall()]
    cursor.execute("SELECT role_name FROM svv_roles")
    roles = [name.strip() for (name,) in cursor.fetchall()]
    cursor.execute(catalog_query(CATALOG))
    return Found.of_rows(schemas, roles, cursor.fetchall())
