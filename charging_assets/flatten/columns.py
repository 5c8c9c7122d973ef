"""Codes -> Arrow columns in the data model's types."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.flatten.facts import SortedObservations
from charging_assets.flatten.pieces import Vocabulary
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.statuses import status_class


def few_texts(code: NDArray[np.int32], texts: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary-encoded column of codes into `texts`; code -1 is null."""
    is_null = code < 0
    indices = pa.array(code, mask=is_null if is_null.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


def origin(day: SortedObservations) -> dict[str, pa.DictionaryArray]:
    """Per answer: the columns `source` and `feed`."""
    sources, feeds = Vocabulary(), Vocabulary()
    source = np.array([sources[s.poll.source] for s in day.seen], dtype=np.int32)
    feed = np.array([feeds[s.answer.feed] for s in day.seen], dtype=np.int32)
    return {"source": few_texts(source, sources.texts()), "feed": few_texts(feed, feeds.texts())}


def status_classes(code: NDArray[np.int32], texts: Sequence[str]) -> pa.DictionaryArray:
    """The column `status_class` for codes of raw statuses; code -1 (no status) is `unknown`."""
    classes = [*(status_class(text) for text in texts), status_class(None)]
    names = list(dict.fromkeys(classes))
    class_of = np.array([names.index(name) for name in classes], dtype=np.int32)
    return few_texts(class_of[code], names)


def timestamps(microseconds: Any) -> pa.Array:
    """Microseconds since the epoch as a UTC timestamp column."""
    return pa.array(microseconds, pa.int64()).view(TIMESTAMP)


def table_of(name: str, rows: int, /, **columns: Any) -> pa.Table:
    """Columns (arrays, lists, or one date for all rows) as a table of the model, in its order and types."""
    schema = arrow_schema(name)
    arrays = []
    for field in schema:
        values = columns.pop(field.name)
        if isinstance(values, dt.date):
            values = pa.repeat(pa.scalar(values, pa.date32()), rows)
        if not isinstance(values, pa.Array):
            values = pa.array(values, from_pandas=False)
        arrays.append(values if values.type == field.type else values.cast(field.type))
    assert not columns, f"{name} has no columns {sorted(columns)}"
    return pa.Table.from_arrays(arrays, schema=schema)
