"""Arrow schemas from the data model."""

from functools import cache
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, LargeBinary, String, Table
from sqlalchemy.types import TypeEngine

from charging_assets.model.tables import table
from charging_assets.model.tables.declare import Geometry

TIMESTAMP = pa.timestamp("us", tz="UTC")
FEW_TEXT = pa.dictionary(pa.int32(), pa.string())

_PLAIN: tuple[tuple[type[TypeEngine[Any]], pa.DataType], ...] = (
    (BigInteger, pa.int64()),  # before Integer, of which it is a subclass
    (Integer, pa.int32()),
    (Boolean, pa.bool_()),
    (Double, pa.float64()),
    (DateTime, TIMESTAMP),
    (Date, pa.date32()),
    (LargeBinary, pa.large_binary()),
    (Geometry, pa.binary()),
    (String, pa.string()),
)


@cache
def arrow_schema(name: str) -> pa.Schema:
    """Arrow schema of the table `name`, fields in the declared order, without metadata."""
    return schema_of(table(name))


def schema_of(tab: Table) -> pa.Schema:
    """Arrow schema of a declared table; see `arrow_schema`."""
    return pa.schema([_field(column) for column in tab.columns])


def _field(column: Column[Any]) -> pa.Field:
    if column.info["few"]:
        return pa.field(column.name, FEW_TEXT, nullable=column.nullable)
    for kind, arrow in _PLAIN:
        if isinstance(column.type, kind):
            return pa.field(column.name, arrow, nullable=column.nullable)
    raise TypeError(f"{column}: no Arrow type is known for {column.type!r}")
