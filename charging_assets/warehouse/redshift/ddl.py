"""How Redshift words the schema; written by SQLAlchemy with the dialect of sqlalchemy-redshift, never executed by it.

Facts are spread evenly and sorted by time, which is what queries cut out; dimensions are on every node, sorted by their
key. Encodings are said for each column, since COPY of Parquet chooses none.

- All texts are VARCHAR(65535), the most there is. The sources' words are not ours to bound, a feed's odd value must not
  keep its day out of the warehouse, and `migrate` changes no types. The length does not cost storage; intermediate
  results of large queries take more memory for it.
- Columns outside of the key may be null, as those that were added later are in older partitions.
- Keys are not declared. Redshift would not enforce them, but its planner would believe them, and those of dated tables
  hold within a partition only.
- Comments are on tables and their columns, and on views: a late-binding view has no columns that could have any.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Column, Date, DateTime, Integer, MetaData, String, Table
from sqlalchemy.schema import CreateTable, SetColumnComment, SetTableComment
from sqlalchemy.sql.elements import ClauseElement, quoted_name
from sqlalchemy.types import TypeEngine, UserDefinedType
from sqlalchemy_redshift.dialect import GEOMETRY, TIMESTAMPTZ, VARCHAR, RedshiftDialect_psycopg2

from charging_assets.model.tables import is_dated, key_of
from charging_assets.model.tables.declare import MAX_WKB_BYTES, Geometry
from charging_assets.warehouse.contract import LOADER, PUBLISHED, READER, STORE
from charging_assets.warehouse.schema import view_query

MAX_TEXT_BYTES = 65_535

CATALOG = "svv_columns"
"""The information schema knows nothing of late-binding views."""

STAGE = "stage"
_CATALOG_TYPES = {
    f"varchar({MAX_TEXT_BYTES})": f"character varying({MAX_TEXT_BYTES})",
    "timestamptz": "timestamp with time zone",
}


class Varbyte(UserDefinedType[bytes]):
    """Bytes, at most `length` of them."""

    cache_ok = True

    def __init__(self, length: int) -> None:
        self.length = length

    def get_col_spec(self, **_options: Any) -> str:
        """The type's name in DDL."""
        return f"VARBYTE({self.length})"


class RedshiftDdl:
    """See `schema.Ddl`."""

    def catalog_type(self, col: Column[Any]) -> str:
        """See `schema.Ddl`."""
        name = str(_type(col).compile(_DIALECT)).lower()
        return _CATALOG_TYPES.get(name, name)

    def create_table(self, tab: Table) -> Sequence[str]:
        """See `schema.Ddl`."""
        created = _store_table(tab)
        comments = [written(SetColumnComment(col)) for col in created.columns]
        return [written(CreateTable(created)), written(SetTableComment(created)), *comments]

    def create_lock(self, tab: Table) -> Sequence[str]:
        """Statements that create the table that loads of `tab` lock."""
        created = lock_table(tab)
        return [written(CreateTable(created)), written(SetTableComment(created))]

    def add_column(self, tab: Table, col: Column[Any]) -> Sequence[str]:
        """See `schema.Ddl`."""
        added = _store_table(tab).columns[col.name]
        specification = f"{quoted(col.name)} {_type(col).compile(_DIALECT)} ENCODE {_encoding(col)}"
        return [f"ALTER TABLE {stored(tab)} ADD COLUMN {specification}", written(SetColumnComment(added))]

    def create_view(self, tab: Table) -> Sequence[str]:
        """See `schema.Ddl`.

        The view is dropped first: Redshift replaces a view only by one of the same columns. Grants to others than the
        roles of `grants` have to be made again.
        """
        name = f"{PUBLISHED}.{quoted(tab.name)}"
        view = Table(quoted_name(tab.name, quote=True), MetaData(), schema=PUBLISHED, comment=tab.comment)
        return [
            f"DROP VIEW IF EXISTS {name}",
            f"CREATE VIEW {name} AS {view_query(tab)} WITH NO SCHEMA BINDING",
            written(SetTableComment(view)).replace("COMMENT ON TABLE", "COMMENT ON VIEW", 1),
        ]

    def create_role(self, name: str) -> Sequence[str]:
        """See `schema.Ddl`."""
        return [f"CREATE ROLE {name}"]

    def grants(self) -> Sequence[str]:
        """See `schema.Ddl`."""
        return [
            f"GRANT USAGE ON SCHEMA {STORE}, {PUBLISHED} TO ROLE {LOADER}",
            f"GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {STORE} TO ROLE {LOADER}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {PUBLISHED} TO ROLE {LOADER}",
            f"GRANT USAGE ON SCHEMA {PUBLISHED} TO ROLE {READER}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {PUBLISHED} TO ROLE {READER}",
        ]


def stage_table(tab: Table, columns: Sequence[str]) -> Table:
    """A temporary table for the columns of a file, as Parquet gives them to COPY.

    Times are without time zone, since only for those COPY of Parquet is documented, and shapes are bytes.
    """
    staged = [_column(tab.columns[name], _staged_type(tab.columns[name])) for name in columns]
    return Table(quoted_name(STAGE, quote=True), MetaData(), *staged, prefixes=["TEMPORARY"])


def lock_table(tab: Table) -> Table:
    """The empty table that loads of `tab` lock in its place, as readers would wait for a lock on `tab` itself."""
    return Table(
        quoted_name(f"{tab.name}_lock", quote=True),
        MetaData(),
        Column("is_locked", Boolean()),
        schema=STORE,
        comment=f"Stays empty; loads of {tab.name} lock it, so that there is one at a time.",
    )


def stored(tab: Table) -> str:
    """A table of the store in SQL."""
    return f"{STORE}.{quoted(tab.name)}"


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return str(_DIALECT.identifier_preparer.quote_identifier(name))


def written(statement: ClauseElement) -> str:
    """The text of a statement, values included."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})).strip()


# Statements are executed without parameters, so that a `%` in them must stay as it is; psycopg2's style doubles it.
_DIALECT = RedshiftDialect_psycopg2(paramstyle="named")


def _store_table(tab: Table) -> Table:
    return Table(
        quoted_name(tab.name, quote=True),
        MetaData(),
        *(_column(col, _type(col), nullable=col.name not in key_of(tab)) for col in tab.columns),
        schema=STORE,
        comment=tab.comment,
        redshift_diststyle="EVEN" if is_dated(tab) else "ALL",
        redshift_sortkey=[quoted_name(name, quote=True) for name in _sort_key(tab)],
    )


def _sort_key(tab: Table) -> Sequence[str]:
    if not is_dated(tab):
        return key_of(tab)
    times = [col.name for col in tab.primary_key.columns if isinstance(col.type, DateTime)]
    return times[:1] or ["query_date"]


def _column(col: Column[Any], kind: TypeEngine[Any], *, nullable: bool = True) -> Column[Any]:
    name = quoted_name(col.name, quote=True)
    unit = f" [{col.info['unit']}]" if col.info["unit"] else ""
    return Column(name, kind, nullable=nullable, comment=f"{col.comment}{unit}", redshift_encode=_encoding(col))


def _type(col: Column[Any]) -> TypeEngine[Any]:
    kind: TypeEngine[Any] = col.type
    if isinstance(kind, String):
        kind = VARCHAR(MAX_TEXT_BYTES)
    elif isinstance(kind, DateTime):
        kind = TIMESTAMPTZ()
    elif isinstance(kind, Geometry):
        kind = GEOMETRY()
    return kind


def _staged_type(col: Column[Any]) -> TypeEngine[Any]:
    if isinstance(col.type, DateTime):
        return DateTime()
    if isinstance(col.type, Geometry):
        return Varbyte(MAX_WKB_BYTES)
    return _type(col)


def _encoding(col: Column[Any]) -> str:
    if isinstance(col.type, Geometry):
        return "RAW"
    if isinstance(col.type, DateTime | Date | Integer):
        return "AZ64"
    # A dictionary has room for 256 values per block of a megabyte: for words, but not for ids.
    return "BYTEDICT" if col.info["few"] and not col.name.startswith("id") else "ZSTD"
