"""`utilization_hourly`: seconds of each point and hour, by what it was doing."""

import datetime as dt

import numpy as np
import pyarrow as pa

from charging_assets.calendar import BERLIN
from charging_assets.derive.occupancy.columns import few, origin, table_of, times
from charging_assets.derive.occupancy.observation import CLASSES, UNKNOWN, ObservedDay

_HOUR_S = 3600


def utilization_hourly(day: ObservedDay, places: pa.Table) -> pa.Table:
    """The table of a day: all its points, each with all hours so far, by point and time.

    Args:
        day: what was observed.
        places: see `places_of`; of the points of the day.
    """
    hours = -(-(day.until - day.start) // _HOUR_S)
    begins = day.start + _HOUR_S * np.arange(hours)
    length = np.minimum(day.until - begins, _HOUR_S)
    by_class = _seconds(day, hours)
    by_class[:, :, UNKNOWN] = length - by_class.sum(axis=2)
    points = len(day.ids)
    point = np.repeat(np.arange(points), hours)
    local = np.array([dt.datetime.fromtimestamp(begin, BERLIN).hour for begin in begins.tolist()], np.int64)
    of_point = places.take(pa.array(point))
    return table_of(
        "utilization_hourly",
        day.query_date,
        len(point),
        id_cp=few(point, day.ids),
        hour_utc=times(np.tile(begins, points)),
        hour_local=np.tile(local, points),
        **{f"{name}_s": by_class[:, :, code].ravel() for code, name in enumerate(CLASSES)},
        **origin(day.feed[point], day.feeds),
        **{name: of_point[name] for name in ("id_cs", "city", "operator_name", "power_class")},
    )


def _seconds(day: ObservedDay, hours: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Observed seconds, shape (points, hours, classes)."""
    pieces = day.pieces
    first, last = (pieces.start - day.start) // _HOUR_S, (pieces.end - 1 - day.start) // _HOUR_S
    count = last - first + 1
    piece = np.repeat(np.arange(len(count)), count)
    hour = first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)
    begin = day.start + hour * _HOUR_S
    overlap = np.minimum(pieces.end[piece], begin + _HOUR_S) - np.maximum(pieces.start[piece], begin)
    place = (pieces.point[piece] * hours + hour) * len(CLASSES) + pieces.status_class[piece]
    size = len(day.ids) * hours * len(CLASSES)
    return np.bincount(place, overlap, size).astype(np.int64).reshape(len(day.ids), hours, len(CLASSES))
