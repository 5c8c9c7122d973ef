"""`master_observations`: what a day's answers say about stations, points and connectors."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from charging_assets.flatten.columns import origin, table_of, timestamps
from charging_assets.flatten.facts import Level, Runs, SortedObservations, codes
from charging_assets.flatten.pieces import Codes, MasterRow
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.ids import station_number
from charging_assets.model.tables import table
from charging_assets.model.tables.master import entity_columns

_SCHEMA = arrow_schema("master_observations")


def master_observations(
    day: SortedObservations, connectors: Level, evses: Level, locations: Level, query_date: dt.date
) -> Iterator[pa.Table]:
    """The rows of each level in the order of the table's key."""
    pieces = day.pieces
    stations = codes(pieces.location_master)
    # fmt: off
    for level, dimension, records, values, rows in (
        ("connector", "connector", connectors, codes(pieces.connector_master), pieces.connector_rows),
        ("point", "charging_point", evses, codes(pieces.evse_master), pieces.point_rows),
        ("station", "charging_station", locations, stations[stations >= 0], pieces.station_rows),
    ):
        # fmt: on
        columns = _columns(rows, entity_columns(table(dimension)))
        found = list(records.runs(values))
        if found:
            made = pa.concat_tables([_rows(level, day, runs, columns, query_date) for runs in found])
            # They come by id and then by feed, whose numbers are in the order of the key.
            order = np.argsort(np.concatenate([day.feed[runs.first] for runs in found]), kind="stable")
            yield made.unify_dictionaries().take(pa.array(order))


def _columns(rows: Codes[MasterRow], names: tuple[str, ...]) -> Mapping[str, pa.Array]:
    """Distinct rows in columns, and their `content_hash`."""
    values = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    columns = {name: pa.array(column, _plain(name)) for name, column in zip(names, values, strict=True)}
    hashes = [int.from_bytes(hashlib.sha256(repr(row).encode()).digest()[:8], "big", signed=True) for row in rows]
    return {**columns, "content_hash": pa.array(hashes, pa.int64())}


def _plain(name: str) -> pa.DataType:
    kind = _SCHEMA.field(name).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _rows(
    level: str, day: SortedObservations, runs: Runs, columns: Mapping[str, pa.Array], query_date: dt.date
) -> pa.Table:
    first = pa.array(runs.first)
    ids = pa.array(runs.ids, pa.string()).take(pa.array(runs.id))
    value = pa.array(runs.value)
    made = {
        **{field.name: pa.nulls(len(runs.id), field.type) for field in _SCHEMA},
        "level": pa.repeat(level, len(runs.id)),
        "id": ids,
        "first_seen": timestamps(day.query_times[runs.first]),
        "last_seen": timestamps(day.query_times[runs.last]),
        "query_date": query_date,
        **{name: column.take(first) for name, column in origin(day).items()},
        "polls": runs.polls.astype(np.int32),
        **{name: column.take(value) for name, column in columns.items()},
    }
    if level == "station":
        sources = made["source"].cast(pa.string()).to_pylist()
        numbers = map(station_number, sources, ids.to_pylist())
        made["id_cs"] = pa.array(list(numbers), pa.int64())
    elif level == "point":
        made["id_cp"] = ids
    return table_of("master_observations", len(runs.id), **made)
