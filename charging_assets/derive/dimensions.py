"""Stations, points and connectors with their history, from every day of `master_observations`.

Each call reads all days there are, oldest first, and remembers nothing: so it cannot matter in which order they were
built. What stays in memory are a few numbers for each thing a feed has named, and the rows that begin a version.
Does not belong here: what master data is, and when two of them are equal (`flatten`, as `content_hash`).
"""

import datetime as dt
from collections import defaultdict, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.tables import table
from charging_assets.model.tables.master import entity_columns
from charging_assets.progress import advance

LEVELS = {
    "station": ("charging_station", "id_cs"),
    "point": ("charging_point", "id_cp"),
    "connector": ("connector", "id"),
}
"""For each level of `master_observations`: its dimension, and which of its columns is the key of that."""

_OBSERVATIONS = "master_observations"
_NAMED = np.dtype([("hash", np.int64), ("first_seen", np.int64), ("last_seen", np.int64), ("day", np.int64)])
"""What is known of something that a feed has named: its last hash, first and last sight in µs, day of the last."""


def dimensions(lake: Lake, *, active_days: int) -> dict[str, pa.Table]:
    """The three dimensions and their histories, each as `Lake.write` takes it.

    A version is a run of equal versioned columns. It begins with its first sight and ends where the next one begins, so
    an absence ends none, and A, B, A are three. Where several feeds answer the same thing, the one that had it first
    gives its versions and columns for all time, else they would flap; of equally early ones the first by (source, feed,
    id). All of them count for `first_seen`, `last_seen` and `is_active`.

    Args:
        lake: where the days are.
        active_days: something is active when the feed that saw it last did so on one of its own last so many days.

    Returns:
        Rows by table name; without a day of observations they are empty.

    Raises:
        LakeError: a day cannot be read.
    """
    observed = _Observed(active_days)
    query_dates = lake.partitions(_OBSERVATIONS)
    for number, query_date in enumerate(query_dates, start=1):
        observed.add(query_date, lake.read(_OBSERVATIONS, query_date))
        advance("days of master data read", number, len(query_dates))
    return {name: rows for level in LEVELS for name, rows in observed.tables(level).items()}


class _Observed:
    """What all days so far say; days are added in their order, with rows in the order of the table's key."""

    def __init__(self, active_days: int) -> None:
        self._names = pa.array([], pa.string())
        """What feeds have named, as ``level/source/feed/id``: only the id can hold a slash. Its place is its number."""
        self._named = np.empty(0, _NAMED)
        self._beginnings = [_with_number(arrow_schema(_OBSERVATIONS).empty_table(), np.empty(0, np.int64))]
        """Rows that begin a version of what one feed says, with the number of whom they describe."""
        self._last_days: dict[str, deque[int]] = defaultdict(partial(deque, maxlen=active_days))
        """Days on which a feed named anything, by ``source/feed``."""

    def add(self, query_date: dt.date, rows: pa.Table) -> None:
        """Add a day, younger than those before."""
        feed = _joined(rows["source"], rows["feed"])
        for name in pc.unique(feed).to_pylist():
            self._last_days[name].append(query_date.toordinal())
        known = len(self._named)
        number = self._number(_joined(rows["level"], feed, rows["id"]))
        content = rows["content_hash"].to_numpy()
        first_seen = _microseconds(rows["first_seen"])
        is_same_as_above = np.zeros(len(number), bool)
        is_same_as_above[1:] = number[1:] == number[:-1]
        before = np.where(is_same_as_above, np.roll(content, 1), self._named["hash"][number])
        is_new = (number >= known) & ~is_same_as_above
        begins = np.flatnonzero(is_new | (content != before))
        self._beginnings.append(_with_number(rows.take(pa.array(begins)), number[begins]))
        self._named["hash"][number] = content  # of several runs in a day the last is kept
        self._named["first_seen"][number[is_new]] = first_seen[is_new]
        np.maximum.at(self._named["last_seen"], number, _microseconds(rows["last_seen"]))
        self._named["day"][number] = query_date.toordinal()

    def _number(self, names: pa.ChunkedArray) -> NDArray[np.int64]:
        """The numbers of names; new ones get the next, in their order."""
        numbers = pc.index_in(names, value_set=self._names)
        if numbers.null_count:
            new = pc.unique(names.filter(pc.is_null(numbers)))
            self._names = pa.concat_arrays([self._names, new])
            self._named = np.concatenate([self._named, np.zeros(len(new), _NAMED)])
            numbers = pc.index_in(names, value_set=self._names)
        found: NDArray[np.int64] = numbers.to_numpy().astype(np.int64)
        return found

    def tables(self, level: str) -> dict[str, pa.Table]:
        """The dimension and the history of a level."""
        name, key = LEVELS[level]
        begins = pa.concat_tables(self._beginnings).unify_dictionaries()
        begins = begins.filter(pc.equal(begins["level"], level)).combine_chunks()
        number = begins["number"].to_numpy()

        # Everything a feed has named (`who`) is some entity; entities are numbered in the order of their keys.
        who, at = np.unique(number, return_index=True)
        named, first_rows = self._named[who], begins.take(pa.array(at))
        entity = pc.rank(first_rows[key], tiebreaker="dense").to_numpy().astype(np.int64) - 1
        # Equally early ones are of one day, where numbers follow (source, feed, id); and the sort is stable.
        order = np.lexsort((named["first_seen"], entity))
        start = np.searchsorted(entity[order], np.arange(entity.max(initial=-1) + 1))
        winner = order[start]

        def over_all(of_each: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
            reduced: NDArray[Any] = of_each.reduceat(values[order], start) if len(start) else values[:0]
            return reduced

        last_day = over_all(np.maximum, named["day"])
        oldest_active = np.array([days[0] for days in self._last_days.values()], np.int64)
        feeds = pa.array(self._last_days, pa.string())
        feed = pc.index_in(_joined(first_rows["source"], first_rows["feed"]), value_set=feeds).to_numpy()
        is_active = (named["day"] == last_day[entity]) & (named["day"] >= oldest_active[feed])

        entity_of = np.full(len(self._names), -1)
        entity_of[who[winner]] = np.arange(len(winner))
        history, current = _versions(name, key, begins, entity_of[number])
        seen = {
            "first_seen": pa.array(named["first_seen"][winner]).view(TIMESTAMP),
            "last_seen": pa.array(over_all(np.maximum, named["last_seen"])).view(TIMESTAMP),
            "is_active": pa.array(over_all(np.logical_or, is_active)),
        }
        return {name: _columns(name, key, current, seen), f"{name}_history": history}


def _versions(name: str, key: str, begins: pa.Table, entity: NDArray[np.int64]) -> tuple[pa.Table, pa.Table]:
    """The history of a level, and the row of each entity's last version in the order of entities.

    `entity` is -1 where another feed's rows count.
    """
    rows = np.flatnonzero(entity >= 0)
    rows = rows[np.lexsort((_microseconds(begins["first_seen"])[rows], entity[rows]))]
    versions, entity = begins.take(pa.array(rows)), entity[rows]
    changed = _changed(versions, np.flatnonzero(entity[1:] == entity[:-1]), entity_columns(table(name)))
    # Equal columns under another hash are no version: hashes may change with the code that made them.
    is_version = pc.not_equal(changed, "").fill_null(True)
    versions, changed = versions.filter(is_version), changed.filter(is_version)
    entity = entity[is_version.to_numpy(zero_copy_only=False)]
    is_current = np.ones(len(entity), bool)
    is_current[:-1] = entity[1:] != entity[:-1]
    valid_from = _microseconds(versions["first_seen"])
    validity = {
        "valid_from": versions["first_seen"],
        "valid_to": pa.array(np.roll(valid_from, -1), mask=is_current).view(TIMESTAMP),
        "is_current": pa.array(is_current),
        "changed_columns": changed,
    }
    return _columns(f"{name}_history", key, versions, validity), versions.filter(pa.array(is_current))


def _changed(versions: pa.Table, before: NDArray[np.int64], columns: Sequence[str]) -> pa.Array:
    """Names of `columns` that a row has not as the row above, comma-separated; null for rows that `before` lacks.

    Args:
        versions: rows to compare, each with the one above.
        before: places of the rows whose next row is to be compared with them.
        columns: what to compare; a null equals a null.
    """
    differing = []
    for name in columns:
        old, new = (versions[name].take(pa.array(rows)) for rows in (before, before + 1))
        is_equal = pc.coalesce(pc.equal(old, new), pc.and_(pc.is_null(old), pc.is_null(new)))
        differing.append(pc.if_else(is_equal, pa.scalar(None, pa.string()), name))
    # The kernel leaves rows out in which everything is null (pyarrow 26), hence the empty text in front.
    texts = pc.utf8_ltrim(pc.binary_join_element_wise("", *differing, ",", null_handling="skip"), ",")
    place = np.full(versions.num_rows, -1)
    place[before + 1] = np.arange(len(before))
    return texts.take(pa.array(place, mask=place < 0)).combine_chunks()


def _columns(name: str, key: str, rows: pa.Table, made: dict[str, pa.Array]) -> pa.Table:
    """The table `name`: columns that were `made`, the others from `rows` of observations, its key from `key`."""
    schema = arrow_schema(name)
    columns = {schema.names[0]: rows[key], **made}
    return pa.table([columns[col] if col in columns else rows[col] for col in schema.names], schema=schema)


def _with_number(rows: pa.Table, number: NDArray[np.int64]) -> pa.Table:
    return rows.append_column("number", pa.array(number))


def _joined(*columns: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts joined by slashes."""
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), "/")


def _microseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    found: NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return found
