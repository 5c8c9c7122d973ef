"""How PostgreSQL words the schema.

Dated tables have no key and no B-tree: a load would spend most of its time on it. A BRIN index tells which blocks can
hold a query date, a time or an id: rows of a partition lie together, sorted by id. Undated tables have their key, whose
B-tree takes ids of up to 2,700 bytes.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, String, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.compiler import IdentifierPreparer

from charging_assets.model.dictionary import type_name
from charging_assets.model.tables import is_dated, key_of
from charging_assets.model.tables.declare import Geometry
from charging_assets.warehouse.contract import LOADER, PUBLISHED, READER, STORE
from charging_assets.warehouse.schema import view_columns, view_query

_BRIN_OPTIONS = "pages_per_range = 32, autosummarize = on"
"""Without the latter, a day that was just loaded is read whole until a vacuum comes."""
_CATALOG_TYPES = {"varchar": "character varying", "timestamptz": "timestamp with time zone"}
POSTGIS_TYPE = "USER-DEFINED"
"""How the catalog words PostGIS's geometry."""


class PostgresDdl:
    """See `schema.Ddl`.

    Args:
        postgis: the schema in which PostGIS is installed. None: shapes are hex EWKB texts.
    """

    def __init__(self, postgis: str | None) -> None:
        self._postgis = postgis

    def catalog_type(self, col: Column[Any]) -> str:
        """See `schema.Ddl`."""
        if isinstance(col.type, Geometry):
            return POSTGIS_TYPE if self._postgis else "character varying"
        return _CATALOG_TYPES.get(type_name(col), type_name(col))

    def create_table(self, tab: Table) -> Sequence[str]:
        """See `schema.Ddl`."""
        name, key = f"{STORE}.{quoted(tab.name)}", key_of(tab)
        columns = [
            f"{quoted(col.name)} {self._type(col)}{' NOT NULL' if col.name in key else ''}" for col in tab.columns
        ]
        constraint = "" if is_dated(tab) else f", PRIMARY KEY ({', '.join(map(quoted, key))})"
        statements = [f"CREATE TABLE {name} ({', '.join(columns)}{constraint})"]
        if is_dated(tab):
            indexed = ", ".join(_in_brin(tab.columns[name]) for name in dict.fromkeys(["query_date", *key]))
            statements.append(f"CREATE INDEX ON {name} USING brin ({indexed}) WITH ({_BRIN_OPTIONS})")
        return [*statements, f"COMMENT ON TABLE {name} IS {literal(tab.comment or '')}"]

    def add_column(self, tab: Table, col: Column[Any]) -> Sequence[str]:
        """See `schema.Ddl`."""
        return [f"ALTER TABLE {STORE}.{quoted(tab.name)} ADD COLUMN {quoted(col.name)} {self._type(col)}"]

    def create_view(self, tab: Table) -> Sequence[str]:
        """See `schema.Ddl`; with the model's documentation as comments."""
        name = f"{PUBLISHED}.{quoted(tab.name)}"
        docs = {column: doc for column, (_, doc) in tab.info["computed"].items()}
        docs |= {col.name: f"{col.comment}{f' [{unit}]' if (unit := col.info['unit']) else ''}" for col in tab.columns}
        return [
            f"CREATE OR REPLACE VIEW {name} AS {view_query(tab)}",
            f"COMMENT ON VIEW {name} IS {literal(tab.comment or '')}",
            *(f"COMMENT ON COLUMN {name}.{quoted(col)} IS {literal(docs[col])}" for col in view_columns(tab)),
        ]

    def create_role(self, name: str) -> Sequence[str]:
        """See `schema.Ddl`."""
        return [f"CREATE ROLE {name} NOLOGIN"]

    def grants(self) -> Sequence[str]:
        """See `schema.Ddl`."""
        return [
            f"GRANT USAGE ON SCHEMA {STORE}, {PUBLISHED} TO {LOADER}",
            f"GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {STORE} TO {LOADER}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {PUBLISHED} TO {LOADER}",
            f"GRANT USAGE ON SCHEMA {PUBLISHED} TO {READER}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {PUBLISHED} TO {READER}",
        ]

    def _type(self, col: Column[Any]) -> str:
        if isinstance(col.type, Geometry):
            return f"{quoted(self._postgis)}.geometry(Geometry, {col.type.srid})" if self._postgis else "varchar"
        return type_name(col)


def _in_brin(col: Column[Any]) -> str:
    """A column of a BRIN index. Of a text a hash is kept: an id may be longer than an index can hold."""
    return f"{quoted(col.name)} text_bloom_ops" if isinstance(col.type, String) else quoted(col.name)


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return _PREPARER.quote_identifier(name)


def literal(text: str) -> str:
    """A text of the model as SQL."""
    return "'" + text.replace("'", "''") + "'"


_PREPARER: IdentifierPreparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
