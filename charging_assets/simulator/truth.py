"""The ground truth as Parquet files, to measure against: what really happened, whatever a feed published."""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.model.arrow import TIMESTAMP
from charging_assets.simulator.sessions import STATUSES, Spans, joined
from charging_assets.simulator.simulation import Simulation
from charging_assets.simulator.world import Floats, Longs

_SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
# At these shares of sessions, by alternating and by direct current: what vehicles draw in kW, what they need in kWh.
_VEHICLE_KW = ((2.3, 3.7, 10.5, 11, 22), (25, 40, 68, 120, 200))
_NEED_KWH = ((2, 5, 14, 32, 60), (8, 22, 44, 62, 85))
_DIRECT_KW = 50


def sessions(simulation: Simulation, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """Sessions that overlap [start, end), whole: one row each, by point and time."""
    spans = simulation.sessions(start, end)
    power = simulation.world.points.power[spans.point]
    energy = _energy_kwh(simulation.world.seed, spans, power)
    return pa.table({**_columns(simulation, spans), "power_kw": power, "energy_kwh": energy})


def faults(simulation: Simulation, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """Faults of points and times at which they were not connected (UNKNOWN) that overlap [start, end), whole."""
    spans = joined(simulation.faults(start, end), simulation.silences(start, end))
    status = pa.DictionaryArray.from_arrays(pa.array(spans.status, pa.int32()), pa.array(STATUSES)).cast(pa.string())
    return pa.table({**_columns(simulation, spans), "status": status})


def freezes(simulation: Simulation, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """Freezes that overlap [start, end); the end of one that goes on is null."""
    rows = [
        {"feed": freeze.feed, "kind": freeze.kind, "started_at": freeze.start, "ended_at": freeze.end}
        for freeze in simulation.freezes
        if freeze.start < end and (freeze.end is None or freeze.end > start)
    ]
    return _rows(rows, {"feed": pa.string(), "kind": pa.string(), "started_at": TIMESTAMP, "ended_at": TIMESTAMP})


def master_changes(simulation: Simulation, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """Changes of stations in [start, end), by time."""
    rows = [
        {**change._asdict(), "time": dt.datetime.fromtimestamp(change.time, dt.UTC)}
        for change in simulation.world.changes
        if start.timestamp() <= change.time < end.timestamp()
    ]
    texts = ("feed", "id_cs", "kind", "before", "after")
    return _rows(rows, {"time": TIMESTAMP, **dict.fromkeys(texts, pa.string())})


TABLES: dict[str, Callable[[Simulation, dt.datetime, dt.datetime], pa.Table]] = {
    "sessions": sessions,
    "faults": faults,
    "freezes": freezes,
    "master_changes": master_changes,
}


def write_truth(simulation: Simulation, folder: Path, start: dt.datetime, end: dt.datetime) -> dict[str, int]:
    """Write what happened in [start, end) as `<folder>/<table>.parquet`; returns the rows of each table.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name, make in TABLES.items():
        table = make(simulation, start, end)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        rows[name] = table.num_rows
    return rows


def _columns(simulation: Simulation, spans: Spans) -> dict[str, Any]:
    world = simulation.world
    feed = world.points.feed[spans.point]
    return {
        "feed": pa.array(world.feeds).take(pa.array(feed)),
        "id_chargingpoint": pa.array(world.points.evse_id).take(pa.array(spans.point)),
        "started_at": _times(spans.start),
        "ended_at": _times(spans.end),
        "published_after_s": simulation.lag_s[feed],
    }


def _times(seconds: Longs) -> pa.Array:
    return pa.array(seconds * 1_000_000).view(TIMESTAMP)


def _rows(rows: Sequence[dict[str, Any]], columns: dict[str, pa.DataType]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(columns.items()))


def _energy_kwh(seed: int, spans: Spans, power: Longs) -> Floats:
    """What a session's vehicle drew: as fast as vehicle and point can, until it has what it needs or leaves."""
    hours = (spans.end - spans.start) / 3600
    energy = np.empty(len(spans))
    for number, is_meant in enumerate((power < _DIRECT_KW, power >= _DIRECT_KW)):
        speed = np.interp(_noise(seed, 2 * number, spans)[is_meant], _SHARES, _VEHICLE_KW[number])
        need = np.interp(_noise(seed, 2 * number + 1, spans)[is_meant], _SHARES, _NEED_KWH[number])
        energy[is_meant] = np.minimum(np.minimum(speed, power[is_meant]) * hours[is_meant], need)
    return np.round(energy, 2)


def _noise(seed: int, purpose: int, spans: Spans) -> Floats:
    """A number from 0 to 1 for each session that depends on nothing but the session (by mixing bits as SplitMix64)."""
    mixed = (spans.start.astype(np.uint64) << np.uint64(24)) + spans.point.astype(np.uint64)
    mixed += np.uint64(0x9E3779B97F4A7C15 * (4 * seed + purpose + 1) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(float) / 2.0**53
