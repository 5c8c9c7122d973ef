"""Columns of codes and seconds as tables of the model."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from charging_assets.derive.activity import Feed, Ints
from charging_assets.model.arrow import FEW_TEXT, TIMESTAMP, arrow_schema


def times(seconds: Ints) -> pa.Array:
    """Seconds since 1970 as times."""
    return pa.array(seconds * 1_000_000).view(TIMESTAMP)


def few(codes: Ints, texts: Sequence[str | None] | pa.Array) -> pa.DictionaryArray:
    """Texts by their codes; code -1 is null."""
    values = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=codes < 0), values)


def origin(feed: Ints, feeds: Sequence[Feed]) -> dict[str, pa.Array]:
    """The columns `source` and `feed`."""
    return {"source": few(feed, [source for source, _ in feeds]), "feed": few(feed, [name for _, name in feeds])}


def table_of(name: str, query_date: dt.date, rows: int, /, **columns: Any) -> pa.Table:
    """Columns as a dated table of the model, in its order and types."""
    columns["query_date"] = pa.repeat(pa.scalar(query_date, pa.date32()), rows)
    schema = arrow_schema(name)
    return pa.Table.from_arrays([_as(columns[field.name], field.type) for field in schema], schema=schema)


def _as(values: Any, kind: pa.DataType) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    array = array if isinstance(array, pa.Array) else pa.array(array)
    if kind == FEW_TEXT and not pa.types.is_dictionary(array.type):
        return array.dictionary_encode()
    if kind == FEW_TEXT:  # `few` repeats texts where two feeds are of one source
        return array.cast(pa.string()).dictionary_encode()
    return array.cast(kind)
