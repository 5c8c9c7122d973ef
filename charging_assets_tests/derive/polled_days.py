"""Days as flattening leaves them, written straight from matrices of statuses: for tests of what is made from them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.statuses import status_class
from charging_assets.simulator import Simulation
from charging_assets.simulator.sessions import STATUSES

Codes = NDArray[np.integer[Any]]
SOURCE = "simulator"
_CLASSES = sorted({status_class(status) for status in STATUSES})
_CLASS_OF = np.array([_CLASSES.index(status_class(status)) for status in STATUSES])


class Polled(NamedTuple):
    """What polls saw of one feed."""

    ids: Sequence[str]
    status: Codes
    """Indices into the simulator's `STATUSES`, -1 where a poll did not see the point; shape (points, polls)."""


def times_of(query_date: dt.date, interval_s: int = 600) -> NDArray[np.int64]:
    """The polls of a day, from midnight on, in seconds since 1970."""
    start, end = (int(bound.timestamp()) for bound in day_bounds(query_date))
    return np.arange(start, end, interval_s)


def write_polled_day(
    lake: Lake,
    query_date: dt.date,
    feeds: Mapping[str, Polled],
    times: NDArray[np.int64],
    interval_s: int | NDArray[np.int64] = 600,
) -> None:
    """Write `status_chargingpoints` and `poll_log`; each feed answered each poll, without locations if none is seen."""
    names = list(feeds)
    ids = np.concatenate([np.asarray(polled.ids, str) for polled in feeds.values()])
    status = np.concatenate([polled.status for polled in feeds.values()])
    feed = np.repeat(np.arange(len(names)), [len(polled.ids) for polled in feeds.values()])
    order = np.argsort(ids, kind="stable")
    ids, status, feed = ids[order], status[order], feed[order]
    is_seen = status >= 0
    counts = is_seen.sum(axis=1)
    rows = int(counts.sum())
    write_rows(
        lake,
        "status_chargingpoints",
        query_date,
        rows,
        id_chargingpoint=_few(np.repeat(np.arange(len(ids)), counts), ids.tolist()),
        query_time=_times(np.broadcast_to(times, status.shape)[is_seen]),
        status_cp=_few(status[is_seen], STATUSES),
        source=_few(np.zeros(rows, int), (SOURCE,)),
        feed=_few(np.repeat(feed, counts), names),
        status_class=_few(_CLASS_OF[status[is_seen]], _CLASSES),
    )
    has_answered = np.stack([is_seen[feed == code].any(axis=0) for code in range(len(names))], axis=1).ravel()
    polls = len(has_answered)
    sorted_names = np.argsort(names)
    write_rows(
        lake,
        "poll_log",
        query_date,
        polls,
        query_time=_times(np.repeat(times, len(names))),
        source=_few(np.zeros(polls, int), (SOURCE,)),
        feed=_few(np.tile(sorted_names, len(times)), names),
        interval_s=np.repeat(np.broadcast_to(interval_s, times.shape), len(names)),
        outcome=_few(np.where(has_answered.reshape(-1, len(names))[:, sorted_names].ravel(), 0, 1), ("ok", "empty")),
    )


def write_simulated_days(simulation: Simulation, lake: Lake, dates: Sequence[dt.date], interval_s: int = 600) -> None:
    """What polls of a simulation see on these days, of points that do not open or close meanwhile."""
    world = simulation.world
    for date in dates:
        times = times_of(date, interval_s)
        is_open = (world.points.opens <= times[0]) & (world.points.closes > times[-1])
        feeds = {}
        for number, feed in enumerate(world.feeds):
            points = np.flatnonzero(is_open & (world.points.feed == number))
            ids = [world.points.evse_id[point] for point in points.tolist()]
            feeds[feed] = Polled(ids, simulation.published(times, points))
        write_polled_day(lake, date, feeds, times, interval_s)


def write_rows(lake: Lake, table: str, query_date: dt.date, rows: int, **columns: Any) -> None:
    """Write a partition; columns that are not given are null, or 0, false or empty where they may not be."""
    schema = arrow_schema(table)
    columns["query_date"] = pa.repeat(pa.scalar(query_date), rows)
    arrays = [
        pa.array(columns[field.name]).cast(field.type) if field.name in columns else _nothing(field, rows)
        for field in schema
    ]
    lake.write(table, query_date, pa.Table.from_arrays(arrays, schema=schema), f"{table} of {query_date}")


def _nothing(field: pa.Field, rows: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(rows, field.type)
    empty = "" if pa.types.is_string(field.type) else pa.scalar(0).cast(field.type)
    return pa.repeat(empty, rows)


def _times(seconds: NDArray[np.int64]) -> pa.Array:
    return pa.array(seconds * 1_000_000).view(TIMESTAMP)


def _few(codes: Codes, texts: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(texts, pa.string()))
