"""Where the charging points of a day are and how strong: its own hierarchy and power, never those of the dimensions.

Dimensions say what was last seen of something. A day built again next year must not change because a station has been
renamed since.
"""

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.lake import Lake

_COLUMNS = (
    *("level", "id_cp", "id_cs", "source", "feed", "first_seen", "power_class"),
    *("name", "city", "operator_name", "opening_hours", "open_24_7"),
)
_OF_POINT = ("id_cp", "id_cs", "power_class")
_OF_STATION = ("id_cs", "name", "city", "operator_name", "opening_hours", "open_24_7")

SCHEMA = pa.schema(
    [
        ("id_cp", pa.string()),
        ("id_cs", pa.int64()),
        ("power_class", pa.string()),
        ("station_name", pa.string()),
        ("city", pa.string()),
        ("operator_name", pa.string()),
        ("opening_hours", pa.string()),
        ("open_24_7", pa.bool_()),
    ]
)


def places_of(lake: Lake, ids: pa.StringArray, query_dates: Sequence[dt.date]) -> pa.Table:
    """Station, city, operator, power class and opening hours of charging points.

    Args:
        lake: whose `master_observations` are read.
        ids: the points.
        query_dates: the day and days before it, youngest first: a point that the day says nothing of is looked for on
            the next one. What changed within a day counts as it was last; of several feeds the first by name counts.

    Returns:
        A row per point in the order of `ids`, in the columns of `SCHEMA`; null where nothing is known.

    Raises:
        LakeError: a day cannot be read.
    """
    place = np.full(len(ids), -1)
    found, rows = [SCHEMA.empty_table()], 0
    for query_date in query_dates:
        lacking = np.flatnonzero(place < 0)
        if not len(lacking):
            break
        places = _places_on(lake, query_date)
        at = pc.index_in(ids.take(pa.array(lacking)), value_set=places["id_cp"].combine_chunks())
        at = at.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        place[lacking[at >= 0]] = rows + at[at >= 0]
        found.append(places)
        rows += places.num_rows
    places = pa.concat_tables(found).combine_chunks().take(pa.array(place, mask=place < 0))
    return places.set_column(0, "id_cp", ids)


def _places_on(lake: Lake, query_date: dt.date) -> pa.Table:
    rows = lake.read("master_observations", query_date, _COLUMNS)
    points = _latest(rows, "point", "id_cp").select(_OF_POINT)
    stations = _latest(rows, "station", "id_cs").select(_OF_STATION)
    at = pc.index_in(points["id_cs"], value_set=stations["id_cs"].combine_chunks())
    stations = stations.drop_columns("id_cs").take(at)
    columns = [*points.columns, *stations.columns]
    return pa.table([column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _latest(rows: pa.Table, level: str, id_column: str) -> pa.Table:
    """Of each thing of a level the latest row of the first feed."""
    rows = rows.filter(pc.and_(pc.equal(rows["level"], level), pc.is_valid(rows[id_column])))
    rows = rows.set_column(0, "feed_name", pc.binary_join_element_wise(*_plain(rows, "source", "feed"), "/"))
    order = [(id_column, "ascending"), ("feed_name", "ascending"), ("first_seen", "descending")]
    rows = rows.take(pc.sort_indices(rows, order))
    ids = rows[id_column].combine_chunks()
    is_first = np.ones(rows.num_rows, bool)
    is_first[1:] = pc.not_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))).to_numpy(zero_copy_only=False)
    return rows.filter(pa.array(is_first))


def _plain(rows: pa.Table, *names: str) -> list[pa.ChunkedArray]:
    return [rows[name].cast(pa.string()) for name in names]
