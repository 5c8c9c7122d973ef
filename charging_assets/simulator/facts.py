"""Status facts written straight into the lake's tables, without JSON and without flattening: years, to query.

The rows are those that polling and flattening the same simulation would give, at every planned poll (a test compares
them). There are no raw answers behind them, so they cannot be built again: use a lake of its own.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.model.answer import SIMULATOR
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.statuses import status_class
from charging_assets.progress import advance
from charging_assets.simulator.history import kind_of
from charging_assets.simulator.sessions import STATUSES
from charging_assets.simulator.simulation import Simulation
from charging_assets.simulator.world import Longs, World

_CLASSES = tuple(dict.fromkeys(map(status_class, STATUSES)))
_CLASS_OF = np.array([_CLASSES.index(status_class(status)) for status in STATUSES])


@dataclass(frozen=True, slots=True)
class _Ids:
    """What a table has a row for: ids, sorted, and at which simulated point each one is, from when to when."""

    table: str
    column: str
    status_column: str
    texts: list[str]
    id: Longs
    """Index into `texts`, ascending; an id comes again with the next simulated point that it is at."""
    point: Longs


def write_facts(
    simulation: Simulation, lake: Lake, query_dates: Sequence[dt.date], *, interval_s: int
) -> Iterator[PartitionInfo]:
    """Write `status_chargingpoints` and `status_connectors` of these query dates, polled from each midnight on.

    Raises:
        ValueError: the simulated world does not reach over the dates.
        WrongKind: the lake holds real data, or another simulated world.
        LakeError: the lake cannot be written.
    """
    world = simulation.world
    lake.raw.claim(kind_of(world))
    inputs = f"simulated facts: seed {world.seed}, epoch {world.epoch:%Y-%m-%d}, every {interval_s} s"
    tables = _points(world), _connectors(world)
    for done, date in enumerate(query_dates, 1):
        start, end = (int(bound.timestamp()) for bound in day_bounds(date))
        times = np.arange(start, end, interval_s)
        statuses = simulation.published(times)
        for ids in tables:
            yield lake.write(ids.table, date, _rows(world, ids, statuses, times, date), inputs)
        advance("days simulated", done, len(query_dates))


def _points(world: World) -> _Ids:
    texts, index = np.unique(world.points.evse_id, return_inverse=True)
    order = np.lexsort((world.points.opens, index))
    return _Ids("status_chargingpoints", "id_chargingpoint", "status_cp", texts.tolist(), index[order], order)


def _connectors(world: World) -> _Ids:
    pairs = {
        (id_, point)
        for version in world.versions
        for point, evse in zip(version.points, version.station.points, strict=True)
        for id_, _ in evse.connectors
    }
    names, point = (np.array(column) for column in zip(*pairs, strict=True))
    texts, index = np.unique(names, return_inverse=True)
    order = np.lexsort((world.points.opens[point], index))
    return _Ids("status_connectors", "id_connector", "status_connector", texts.tolist(), index[order], point[order])


def _rows(world: World, ids: _Ids, statuses: Longs, times: Longs, date: dt.date) -> pa.Table:
    """A day's rows of a table, by id and time."""
    points = world.points
    is_there = (points.opens[ids.point] <= times[-1]) & (points.closes[ids.point] > times[0])
    id_, point = ids.id[is_there], ids.point[is_there]
    is_open = (points.opens[point][:, None] <= times) & (times < points.closes[point][:, None])
    status = statuses[point][is_open]
    counts = is_open.sum(axis=1)
    at = np.broadcast_to(times * 1_000_000, is_open.shape)[is_open]
    columns = {
        ids.column: _few(np.repeat(id_, counts), ids.texts),
        "query_time": pa.array(at).view(TIMESTAMP),
        ids.status_column: _few(status, STATUSES),
        "status_parkingsensor": _few(np.full_like(status, -1), ()),
        "query_date": pa.repeat(pa.scalar(date), len(status)),
        "source": _few(np.zeros_like(status), (SIMULATOR,)),
        "feed": _few(np.repeat(points.feed[point], counts), world.feeds),
        "status_class": _few(_CLASS_OF[status], _CLASSES),
    }
    schema = arrow_schema(ids.table)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _few(codes: Longs, texts: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary-encoded column; code -1 is null."""
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
