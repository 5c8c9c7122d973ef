"""Codes -> Arrow columns in the data model's types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.model.arrow import TIMESTAMP
from charging_assets.model.tables import status_class


def few_texts(code: NDArray[np.int32], texts: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary-encoded column; code -1 is null.

    The dictionary holds the texts that occur, sorted: the bytes of a file must not depend on the order in which the
    texts were met.
    """
    count = np.bincount(code + 1, minlength=len(texts) + 1)
    present = sorted(np.flatnonzero(count[1:]).tolist(), key=texts.__getitem__)
    rank = np.zeros(len(texts) + 1, dtype=np.int32)
    rank[present] = np.arange(len(present), dtype=np.int32)
    return sorted_texts(rank[code], [texts[c] for c in present], is_null=code < 0 if count[0] else None)


def sorted_texts(
    index: NDArray[np.int32], texts: Sequence[str], is_null: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    """A dictionary-encoded column of indices into `texts`, which are sorted and all occur."""
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=is_null), pa.array(texts, pa.string()))


def status_classes(code: NDArray[np.int32], texts: Sequence[str]) -> pa.DictionaryArray:
    """The column `status_class` for codes of raw statuses; code -1 (no status) is `unknown`."""
    classes = [*(status_class(text) for text in texts), status_class(None)]
    names = sorted(set(classes))
    class_of = np.array([names.index(name) for name in classes], dtype=np.int32)
    return few_texts(class_of[code], names)


def timestamps(microseconds: Any) -> pa.Array:
    """Microseconds since the epoch as a UTC timestamp column."""
    return pa.array(microseconds, pa.int64()).view(TIMESTAMP)
