"""Rows of any table, made from its declaration: the hardest values that each type has, and texts that mean harm."""

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import shapely
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, String, Table

from charging_assets.lake import PartitionKey
from charging_assets.model.arrow import schema_of
from charging_assets.model.tables import key_of
from charging_assets.model.tables.declare import Geometry

Row = tuple[Any, ...]

HOSTILE = (
    "O'Neil; DROP TABLE x;--",
    "''; DELETE FROM charging_store.load_log; --",
    '"quoted" ""twice"" \'single\'',
    "back\\slash \\\\ \\t \\n \\x41 \\101",
    "\\N",
    "\\.",
    "line\nbreak\r\nand\rreturn",
    "tab\tand\vvertical\fand feed",
    "",
    " ",
    " blank before and behind ",
    "NULL",
    "null",
    "NaN",
    "-Infinity",
    "\\\\N",
    ",;|^~`$1 %s %(x)s {0} ?",
    "$$ dollar $body$ quoted $$",
    "/* remark */ -- and more",
    "\x01\x02\x1b[31m\x7f\x80",
    "Grüße aus Köln: ß ẞ ﬁ",
    "e\u0301 is not é",
    "⚡🚗🔋 👩‍👩‍👧‍👦 \U0010ffff",
    "שלום \u202eright to left\u202c مرحبا",
    "\ufeffmark \u200bno width\u00a0no break\u2028line",
    "日本語の充電スタンド",
    "true",
    "2026-03-29 02:30:00",
    "{1,2,NULL}",
    '{"json": ["a", null]}',
    "\u0300",
    "x" * 500,
)
"""Each is different from the others under every comparison, and short enough to be an id."""

_INTS = (-(2**31), 2**31 - 1, 0, -1, 1)
_LONGS = (-(2**63), 2**63 - 1, 0, -1, 2**53 + 1)
_DOUBLES = (math.inf, -math.inf, math.nan, -0.0, 5e-324, -1.7976931348623157e308, 0.1, 1 / 3, 1e22)
_TIMES = (
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, dt.UTC),
    dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, dt.UTC),
)
_SHAPES = (
    shapely.Point(9.18, 48.77),
    shapely.Point(-180, -90),
    shapely.Point(5e-324, -0.0),
    shapely.LineString([(0, 0), (1 / 3, 0.1), (180, 90)]),
    shapely.box(9, 48, 10, 49) - shapely.box(9.1, 48.1, 9.2, 48.2),
    shapely.MultiPolygon([shapely.box(9, 48, 10, 49), shapely.box(11, 50, 12, 51)]),
    shapely.GeometryCollection([shapely.Point(9, 48), shapely.LineString([(9, 48), (10, 49)])]),
    shapely.Point(9, 48).buffer(1, quad_segs=200),
)
_DATES = (dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31))
_START = dt.datetime(2026, 3, 29, 0, 59, 30, tzinfo=dt.UTC)


def hard_rows(tab: Table, key: PartitionKey, texts: Sequence[str] = HOSTILE, null_every: int | None = None) -> pa.Table:
    """As many rows as there are texts, in the table's order: each text stands once in each text column.

    Args:
        tab: whose rows.
        key: their query date; None for an undated table.
        texts: all different.
        null_every: of a column that may be null, every so many rows are.
    """
    rows = [
        {
            col.name: None if _is_null(col, number, place, null_every) else _value(col, number, place, key, texts)
            for place, col in enumerate(tab.columns)
        }
        for number in range(len(texts))
    ]
    names = key_of(tab)
    rows.sort(key=lambda row: tuple(row[name] for name in names))
    return pa.Table.from_pylist(rows, schema_of(tab))


def text_columns(tab: Table) -> list[str]:
    """Names of the columns that hold texts."""
    return [col.name for col in tab.columns if isinstance(col.type, String)]


def as_rows(rows: pa.Table) -> list[Row]:
    """The rows as tuples."""
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if rows.num_rows else []


def sorted_texts(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Rows in some order of their own, every value as a text that differs exactly when the value does."""
    return sorted(tuple(_as_text(value) for value in row) for row in rows)


def _is_null(col: Column[Any], number: int, place: int, null_every: int | None) -> bool:
    return null_every is not None and bool(col.nullable) and (number + place) % null_every == 0


def _value(col: Column[Any], number: int, place: int, key: PartitionKey, texts: Sequence[str]) -> Any:
    turn = number + place
    if isinstance(col.type, String):
        return texts[turn % len(texts)]
    if isinstance(col.type, Geometry):
        return shapely.to_wkb(_SHAPES[turn % len(_SHAPES)], byte_order=1)
    if isinstance(col.type, Date):
        return (
            key
            if col.name == "query_date" and key
            else _START.date() + dt.timedelta(number)
            if _is_key(col)
            else (_DATES[turn % len(_DATES)])
        )
    if isinstance(col.type, DateTime):
        return _START + dt.timedelta(seconds=number) if _is_key(col) else _TIMES[turn % len(_TIMES)]
    if isinstance(col.type, BigInteger):
        return -(2**63) + number if _is_key(col) else _LONGS[turn % len(_LONGS)]
    if isinstance(col.type, Boolean):
        return turn % 2 == 0
    if isinstance(col.type, Integer):
        return _INTS[turn % len(_INTS)]
    if isinstance(col.type, Double):
        return _DOUBLES[turn % len(_DOUBLES)]
    raise TypeError(f"{col}: no values are known for {col.type!r}")


def _is_key(col: Column[Any]) -> bool:
    return bool(col.primary_key)


def _as_text(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, Decimal):
        return repr(int(value) if value == value.to_integral_value() else float(value))
    return repr(value)
