"""What checks read: every table of a partition once, in one pass, whatever is wrong with its file.

Belongs here: reading, and the columnar summary that most checks are content with. Does not belong here: what is
expected.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.lake import Lake, LakeError, PartitionInfo, PartitionKey
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import key_of, table

RAW = "raw_snapshots"

ABSENT = "has no file"
"""The fault of a table that is not there."""

_STREAMED = frozenset({"status_chargingpoints", "status_connectors"})
"""Tables of which checks need no rows but their profile: 75 million rows a day when there are 190,000 points."""

_PLACED = 50
"""Of a column with at most so many words, the first row of each is known."""


@dataclass(slots=True)
class Profile:
    """What one pass over a table's rows tells about them."""

    rows: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    """By column."""
    repeated: int = 0
    """Rows that have the key of the row before."""
    unsorted: int = 0
    """Rows whose key is below that of the row before."""
    disorder: str | None = None
    """The first of both, in words."""
    words: dict[str, Counter[str]] = field(default_factory=dict)
    """Rows by word, of columns with few distinct texts."""
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    """Key of the first row that has a word, by (column, word)."""
    bounds: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Smallest and largest value of columns of numbers, dates and times; absent where all are null."""

    _last_key: tuple[Any, ...] | None = None

    def add(self, rows: pa.Table, key: Sequence[str]) -> None:
        """Take in the rows that follow those before; each column in one piece."""
        if not rows.num_rows:
            return
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            self.nulls[name] += column.null_count
            if pa.types.is_dictionary(column.type):
                self._add_words(rows, key, name, column.chunk(0))
            elif not (pa.types.is_string(column.type) or pa.types.is_boolean(column.type)):
                self._add_bounds(name, pc.min_max(column).as_py())
        self._add_keys(rows, key)
        self.rows += rows.num_rows

    def _add_words(self, rows: pa.Table, key: Sequence[str], name: str, column: pa.DictionaryArray) -> None:
        codes = _codes(column)
        words = column.dictionary.to_pylist()
        counts = np.bincount(codes + 1, minlength=len(words) + 1)[1:].tolist()
        counted = self.words.setdefault(name, Counter())
        for code, (word, count) in enumerate(zip(words, counts, strict=True)):
            if word is None:  # no index is null then, but the value is
                self.nulls[name] += count
            elif count:
                counted[word] += count
                if len(words) <= _PLACED and (name, word) not in self.places:
                    self.places[name, word] = key_text(rows, key, int((codes == code).argmax()))

    def _add_bounds(self, name: str, found: dict[str, Any]) -> None:
        if found["min"] is None:
            return
        low, high = self.bounds.get(name, (found["min"], found["max"]))
        self.bounds[name] = min(low, found["min"]), max(high, found["max"])

    def _add_keys(self, rows: pa.Table, key: Sequence[str]) -> None:
        first = _key_at(rows, key, 0)
        if self._last_key is not None:
            is_below = _comparable(first) < _comparable(self._last_key)
            self._note(self._last_key == first, is_below, self._last_key, first)
        tied = np.ones(rows.num_rows - 1, bool)
        below = np.zeros(rows.num_rows - 1, bool)
        for name in key:
            ranks = _ranks(rows[name].chunk(0))
            below |= tied & (ranks[1:] < ranks[:-1])
            tied &= ranks[1:] == ranks[:-1]
        if (wrong := tied | below).any():
            at = int(wrong.argmax())
            self._note(int(tied.sum()), int(below.sum()), _key_at(rows, key, at), _key_at(rows, key, at + 1))
        self._last_key = _key_at(rows, key, rows.num_rows - 1)

    def _note(self, repeated: int, unsorted: int, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        self.repeated += repeated
        self.unsorted += unsorted
        if (repeated or unsorted) and self.disorder is None:
            self.disorder = f"{_text(after)} twice" if before == after else f"{_text(after)} after {_text(before)}"


@dataclass(frozen=True, slots=True)
class Content:
    """A table of a partition as it was found."""

    info: PartitionInfo | None = None
    """None: there is no such file, or it cannot be read."""
    fault: str | None = None
    """Why its rows cannot be judged, in words."""
    profile: Profile = field(default_factory=Profile)
    rows: pa.Table | None = None
    """All rows, but of tables that are only streamed."""


class Partition:
    """A partition of a lake's tables under judgement; each table is read when it is asked for, and once.

    Args:
        lake: where the tables are.
        key: query date; None for the undated tables.
        now: the time of judgement, UTC.
    """

    def __init__(self, lake: Lake, key: PartitionKey, now: dt.datetime) -> None:
        self.lake, self.key, self.now = lake, key, now
        self._contents: dict[str, Content] = {}

    @property
    def date(self) -> dt.date:
        """The query date of a dated partition."""
        assert self.key is not None
        return self.key

    def content(self, name: str) -> Content:
        """A table as it was found."""
        if name not in self._contents:
            self._contents[name] = _read_raw(self) if name == RAW else _read(self.lake, name, self.key)
        return self._contents[name]

    def profile(self, name: str) -> Profile:
        """The summary of a table's rows."""
        return self.content(name).profile

    def rows(self, name: str) -> pa.Table:
        """The rows of a table that is not only streamed."""
        found = self.content(name).rows
        assert found is not None
        return found

    def inputs(self, name: str) -> str:
        """Fingerprint of what a table was made from, as its file says."""
        info = self.content(name).info
        return info.inputs if info else ""

    @cached_property
    def raw_index(self) -> pa.Table:
        """The day's raw answers, as `Lake.raw.index` gives them.

        Raises:
            LakeError: they cannot be read.
        """
        try:
            return self.lake.raw.index(self.date)
        except pa.ArrowException as error:  # a raw file that another program wrote
            raise LakeError(f"The raw files of {self.date} are not of one form: {error}") from error


def key_text(rows: pa.Table, key: Sequence[str], row: int) -> str:
    """The key of a row, for people: ``(DE*ABC*E1, 2024-10-23 11:16:09+00:00)``."""
    return _text(_key_at(rows, key, row))


def _read(lake: Lake, name: str, key: PartitionKey) -> Content:
    try:
        stored = lake.stored(name, key)
        if stored is None:
            return Content(fault=ABSENT)
        if differences := "; ".join(_differences(arrow_schema(name), stored.schema)):
            return Content(stored.info, differences)
        profile, groups = Profile(), []
        for group in stored.row_groups:
            profile.add(group, key_of(table(name)))
            if name not in _STREAMED:
                groups.append(group)
    except LakeError as error:
        return Content(fault=str(error))
    if name in _STREAMED:
        return Content(stored.info, None, profile)
    rows = pa.concat_tables([arrow_schema(name).empty_table(), *groups], promote_options="permissive")
    return Content(stored.info, None, profile, rows.unify_dictionaries())


def _read_raw(partition: Partition) -> Content:
    try:
        return Content(profile=Profile(partition.raw_index.num_rows), rows=partition.raw_index)
    except LakeError as error:
        return Content(fault=str(error))


def _differences(expected: pa.Schema, found: pa.Schema) -> Iterator[str]:
    """What is not as declared; whether a column may be null is judged by its rows."""
    if missing := [name for name in expected.names if name not in found.names]:
        yield f"has no column {', '.join(missing)}"
    if unknown := [name for name in found.names if name not in expected.names]:
        yield f"has a column {', '.join(unknown)}, which is not declared"
    if not missing and not unknown and expected.names != found.names:
        yield f"has its columns in the order {', '.join(found.names)}"
    for field_ in expected:
        if found.names.count(field_.name) == 1 and (kind := found.field(field_.name).type) != field_.type:
            yield f"has {kind} in {field_.name}, where {field_.type} is declared"


def _codes(column: pa.DictionaryArray) -> NDArray[np.int64]:
    """Codes of a column's words; -1 stands for null."""
    codes: NDArray[np.int64] = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _ranks(column: pa.Array) -> NDArray[Any]:
    """Numbers that compare as the values do; null is below all."""
    if pa.types.is_string(column.type):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        ranks = pc.rank(column.dictionary, tiebreaker="dense").to_numpy(zero_copy_only=False).astype(np.int64)
        return np.append(ranks, -1)[_codes(column)]
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    values: NDArray[Any] = column.fill_null(np.iinfo(np.int32).min).to_numpy(zero_copy_only=False)
    return values


def _key_at(rows: pa.Table, key: Sequence[str], row: int) -> tuple[Any, ...]:
    return tuple(rows[name][row].as_py() for name in key)


def _comparable(key: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is not None, value) for value in key)


def _text(key: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, key))})"
