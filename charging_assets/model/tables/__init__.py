"""The data model, declared once.

Belongs here: every table with its columns, types, units, documentation, key, order, partitioning and the columns that
only views compute. Does not belong here: how a table is filled (`flatten`, `derive`) or where it is stored (`lake`,
`warehouse`).

Arrow schemas, DDL, Dagster column schemas and `docs/data_dictionary.md` derive from this module. New columns go last
within their table: Redshift's COPY of Parquet maps columns by position.
"""

from sqlalchemy import Table

from charging_assets.model.tables.declare import METADATA

# Importing them declares their tables, in the order of the data dictionary.
# isort: off
from charging_assets.model.tables import raw, status, master, poi, trust, occupancy  # noqa: F401
# isort: on

__all__ = ["METADATA", "SCHEMA_VERSION", "is_dated", "key_of", "made_from", "table"]

SCHEMA_VERSION = 2
"""Raised whenever a column is added; written into the footer of every table file."""


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        KeyError: no such table; the message lists those there are.
    """
    try:
        return METADATA.tables[name]
    except KeyError:
        raise KeyError(f"no table {name!r}; there are: {', '.join(METADATA.tables)}") from None


def is_dated(tab: Table) -> bool:
    """Whether the table is partitioned by query date."""
    return bool(tab.info["dated"])


def key_of(tab: Table) -> tuple[str, ...]:
    """Names of the key's columns, in order; rows of a table file are sorted by them."""
    return tuple(column.name for column in tab.primary_key.columns)


def made_from(tab: Table) -> tuple[str, ...]:
    """Names of the tables that it is made from."""
    return tuple(tab.info["made_from"])
