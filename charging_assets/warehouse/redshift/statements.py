"""The statements of a load, in their order: one COPY into a temporary table, then one transaction.

The lake's address and the role are the only values of outside that become part of a text, quoted by SQLAlchemy; values
of the load log are given to psycopg2 apart from it.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, DateTime, Table
from sqlalchemy.schema import CreateTable
from sqlalchemy_redshift.dialect import CopyCommand, Format

from charging_assets.model.tables.declare import Geometry
from charging_assets.warehouse.contract import STORE
from charging_assets.warehouse.redshift.ddl import STAGE, lock_table, quoted, stage_table, stored, written
from charging_assets.warehouse.schema import load_log

COUNT_STAGED = f"SELECT count(*) FROM {quoted(STAGE)}"  # noqa: S608 - a constant, as all names below are the model's
LOG_COLUMNS = ", ".join(quoted(col.name) for col in load_log.columns)
SELECT_LOG = f"SELECT {LOG_COLUMNS} FROM {stored(load_log)}"  # noqa: S608
FIND_LOAD = f"SELECT 1 FROM {stored(load_log)} WHERE load_id = %s"  # noqa: S608
DELETE_LOG = f"DELETE FROM {stored(load_log)} WHERE table_name = %s AND partition_key = %s"  # noqa: S608
INSERT_LOG = f"INSERT INTO {stored(load_log)} ({LOG_COLUMNS}) VALUES ({', '.join(['%s'] * len(load_log.columns))})"  # noqa: S608


def create_stage(tab: Table, columns: Sequence[str]) -> str:
    """CREATE TABLE of the temporary table that COPY fills."""
    return written(CreateTable(stage_table(tab, columns)))


def copy(tab: Table, columns: Sequence[str], manifest: str, iam_role: str) -> str:
    """COPY of the file that the manifest at the address `manifest` names."""
    command = CopyCommand(
        stage_table(tab, columns),
        data_location=manifest,
        iam_role_arns=[iam_role],
        format=Format.parquet,
        manifest=True,
    )
    return written(command)


def lock(tab: Table) -> str:
    """Wait for other loads of the table. First in its transaction: what comes before would fix what it sees."""
    return f"LOCK {STORE}.{quoted(lock_table(tab).name)}"


def delete(tab: Table, key: dt.date | None) -> str:
    """DELETE of the rows of a partition, or of all rows of an undated table."""
    where = "" if key is None else f" WHERE {quoted('query_date')} = '{key.isoformat()}'"
    return f"DELETE FROM {stored(tab)}{where}"  # noqa: S608


def insert(tab: Table, columns: Sequence[str]) -> str:
    """INSERT of the staged rows; columns that the file did not have stay null."""
    names = ", ".join(map(quoted, columns))
    values = ", ".join(_converted(tab.columns[name]) for name in columns)
    return f"INSERT INTO {stored(tab)} ({names}) SELECT {values} FROM {quoted(STAGE)}"  # noqa: S608


def _converted(col: Column[Any]) -> str:
    name = quoted(col.name)
    if isinstance(col.type, DateTime):
        return f"{name} AT TIME ZONE 'UTC'"
    if isinstance(col.type, Geometry):
        return f"ST_GeomFromWKB(FROM_VARBYTE({name}, 'hex'), {col.type.srid})"
    return name
