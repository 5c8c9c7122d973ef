"""How a table is declared: kinds of columns, and what `Table.info` and `Column.info` hold."""

from typing import Any

from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

METADATA = MetaData()


MAX_WKB_BYTES = 32_767
"""Of a shape in every warehouse. Redshift makes geometries of hexadecimal text, which has two letters for a byte."""


class Geometry(UserDefinedType[bytes]):
    """A shape on the earth: longitude and latitude in degrees, WGS 84. In Arrow and Parquet it is plain WKB."""

    cache_ok = True
    srid = 4326

    def get_col_spec(self, **_options: Any) -> str:
        """The type's name in DDL."""
        return "geometry"


def column(
    name: str,
    kind: TypeEngine[Any],
    doc: str,
    *,
    nullable: bool = False,
    unit: str | None = None,
    few: bool = False,
) -> Column[Any]:
    """One column. `few`: a text with few distinct values against the rows, dictionary-encoded in Arrow and Parquet."""
    return Column(name, kind, nullable=nullable, comment=doc, info={"unit": unit, "few": few})


def time(name: str, doc: str, *, nullable: bool = False) -> Column[Any]:
    """A point in time, UTC."""
    return column(name, DateTime(timezone=True), doc, nullable=nullable)


def text(name: str, doc: str, *, nullable: bool = False, few: bool = False) -> Column[Any]:
    """A text; `few` as for `column`."""
    return column(name, String(), doc, nullable=nullable, few=few)


def geometry(name: str, doc: str, *, nullable: bool = False) -> Column[Any]:
    """A shape."""
    return column(name, Geometry(), doc, nullable=nullable)


def count(name: str, doc: str, *, unit: str = "records") -> Column[Any]:
    """How many of something; never null."""
    return column(name, Integer(), doc, unit=unit)


def query_time(
    doc: str = "Start of the poll that saw this, UTC, whole seconds; one value for all its feeds.",
) -> Column[Any]:
    """The clock of everything that polls see."""
    return time("query_time", doc)


def origin() -> list[Column[Any]]:
    """Partition and origin of a row that one poll of one feed gave."""
    return [
        column("query_date", Date(), "Europe/Berlin date of `query_time`; the partition."),
        text("source", "Which system answered: `chargecloud`, `simulator`.", few=True),
        text("feed", "Which feed of the source answered: a city's or an operator's slug.", few=True),
    ]


def status_class_column() -> Column[Any]:
    """Beside every raw status: what it counts as."""
    return text(
        "status_class",
        "What KPIs count the raw status as: `free`, `occupied`, `fault`, `unknown` or `gone`.",
        few=True,
    )


def declare(
    name: str,
    doc: str,
    *columns: Column[Any],
    key: tuple[str, ...],
    group: str,
    dated: bool,
    made_from: tuple[str, ...] = (),
    computed: dict[str, tuple[str, str]] | None = None,
    metadata: MetaData = METADATA,
) -> Table:
    """One table.

    Args:
        name: of the table, its asset and its folder in the lake.
        doc: what one row is, and why it is there.
        *columns: in their order, new ones last.
        key: columns that identify a row; also the order of the rows.
        group: of the asset.
        dated: whether there is a partition per query date.
        made_from: tables that it is made from. A dated table is never made from an undated one.
        computed: columns that only views have: {name: (SQL that DuckDB, PostgreSQL and Redshift understand,
            documentation)}.
        metadata: the collection that it becomes part of.
    """
    return Table(
        name,
        metadata,
        *columns,
        PrimaryKeyConstraint(*key, name=f"{name}_key"),
        comment=doc,
        info={"group": group, "dated": dated, "made_from": made_from, "computed": computed or {}},
    )
