"""Points of interest from all refreshes: what each city's last good one said, and since when it is known.

A city whose refresh failed, or was cut short, keeps the points of the one before: nothing is read from an answer that
may lack some. Refreshes are folded oldest first and nothing is remembered beside them.

Belongs here: which refresh counts, what becomes of a feature. Does not belong here: how features are got, and which
tags make which category (`sources.osm`); what stands near a station (`poi_matching`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from charging_assets.lake import KeptRefresh, Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.declare import MAX_WKB_BYTES

GOOD = ("ok", "empty")
"""Outcomes after which what is not in the answer is not there."""

CategoryOf = Callable[[Mapping[str, str]], str | None]

_TOLERANCES = tuple(1e-6 * 2**step for step in range(8))
"""Degrees by which outlines may be off: the first is a tenth of a metre, the last a dozen."""
_DEGREE_M = 111_320

_TAGS = ("name", "brand", "operator", "opening_hours")
_decode = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class PoiTables:
    """The tables of these names."""

    poi: pa.Table
    rejected_pois: pa.Table
    poi_refresh_log: pa.Table


def poi_tables(lake: Lake, category_of: CategoryOf) -> PoiTables:
    """Points of interest from all refreshes of the lake.

    Args:
        lake: whose archive is read.
        category_of: the category that the tags of a feature fit, or None.

    Raises:
        LakeError: a file of the archive is damaged.
    """
    refreshes = lake.pois.refreshes()
    last_good = {kept.refresh.city: kept for kept in refreshes if kept.refresh.outcome in GOOD}
    log = _log(refreshes, last_good)
    features = _latest(lake, [kept for kept in refreshes if kept.refresh.outcome in GOOD], last_good)
    poi, rejected = _judged(features, category_of)
    return PoiTables(poi, rejected, log)


def _log(refreshes: Sequence[KeptRefresh], last_good: Mapping[str, KeptRefresh]) -> pa.Table:
    rows = [
        {
            "refreshed_at": kept.refresh.refreshed_at,
            "city": kept.refresh.city,
            "refresh_id": kept.refresh.refresh_id,
            "source": kept.refresh.source,
            "outcome": kept.refresh.outcome,
            "reason": kept.refresh.reason,
            "features": kept.features,
            "requests": kept.refresh.requests,
            "is_used": last_good.get(kept.refresh.city) == kept,
        }
        for kept in refreshes
    ]
    table = pa.Table.from_pylist(rows, arrow_schema("poi_refresh_log"))
    return table.sort_by([(name, "ascending") for name in ("refreshed_at", "city", "refresh_id")])


def _latest(lake: Lake, good: Sequence[KeptRefresh], last_good: Mapping[str, KeptRefresh]) -> pa.Table:
    """Each feature once, as the newest refresh had it that did, with `first_seen`, `last_seen` and `is_current`.

    Of the others only ids are read: there is a refresh each month for ever.
    """
    folded = _folded(lake, good, last_good)
    known = [folded.schema.field(name) for name in ("first_seen", "last_seen", "is_current")]
    schema = pa.schema([*arrow_schema("raw_pois"), *known])
    pieces = [schema.empty_table()]
    for number, kept in enumerate(good):
        newest = folded.filter(pc.equal(folded["refresh"], number))
        if newest.num_rows:
            rows = lake.pois.read(kept).take(newest["row"])
            pieces.append(pa.table([*rows.columns, *(newest[field.name] for field in known)], schema=schema))
    return pa.concat_tables(pieces).unify_dictionaries().combine_chunks()


def _folded(lake: Lake, good: Sequence[KeptRefresh], last_good: Mapping[str, KeptRefresh]) -> pa.Table:
    """Of each feature: `refresh` (place in `good`) and `row` where it is newest, and what is known of it over all."""
    schema = pa.schema([("element", pa.string()), ("osm_id", pa.int64()), ("refresh", pa.int32()), ("row", pa.int64())])
    seen = [schema.empty_table()]
    for number, kept in enumerate(good):
        ids = lake.pois.read(kept, schema.names[:2])
        numbers = [pa.array(np.full(len(ids), number, np.int32)), pa.array(np.arange(len(ids)))]
        seen.append(pa.table([ids["element"].cast(pa.string()), ids["osm_id"], *numbers], schema=schema))
    rows = pa.concat_tables(seen)
    last = pa.array([number for number, kept in enumerate(good) if last_good[kept.refresh.city] == kept], pa.int32())
    rows = rows.append_column("is_current", pc.is_in(rows["refresh"], last))
    # Refreshes come oldest first, and of several cities of one the last by name counts.
    ids = rows.group_by(["element", "osm_id"], use_threads=False).aggregate(
        [("refresh", "min"), ("refresh", "last"), ("row", "last"), ("is_current", "any")]
    )
    times = pa.array([kept.refresh.refreshed_at for kept in good], pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "refresh": ids["refresh_last"],
            "row": ids["row_last"],
            "first_seen": times.take(ids["refresh_min"]),
            "last_seen": times.take(ids["refresh_last"]),
            "is_current": ids["is_current_any"],
        }
    )


def _judged(features: pa.Table, category_of: CategoryOf) -> tuple[pa.Table, pa.Table]:
    """Those that are points of interest, and what is odd about the others and about some of these."""
    tags = [_decode(text) for text in features["tags"].to_pylist()]
    categories = [category_of(of) for of in tags]
    shapes, reasons = _usable(features["geom"].combine_chunks())
    ids = pc.binary_join_element_wise(features["element"].cast(pa.string()), features["osm_id"].cast(pa.string()), "/")
    is_used = np.array([category is not None for category in categories], bool) & ~shapely.is_missing(shapes)
    for row, category in enumerate(categories):
        if category is None:
            reasons[row] = "its tags fit no category"
    is_told = np.array([reason is not None for reason in reasons], bool)
    # What has vanished and is unusable is nobody's concern any more.
    is_told &= features["is_current"].to_numpy()
    rejected = {
        "id_poi": ids.filter(pa.array(is_told)),
        "city": features["city"].filter(pa.array(is_told)),
        "reason": pa.array([reason for reason, told in zip(reasons, is_told, strict=True) if told], pa.string()),
        "is_used": pa.array(is_used[is_told]),
        "tags": features["tags"].filter(pa.array(is_told)),
    }
    kept, used = features.filter(pa.array(is_used)), np.flatnonzero(is_used)
    shapes = shapes[is_used]
    places = shapely.point_on_surface(shapes)
    columns: dict[str, Any] = {
        "id_poi": ids.filter(pa.array(is_used)),
        "geom": pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary()),
        "longitude": pa.array(shapely.get_x(places)),
        "latitude": pa.array(shapely.get_y(places)),
        "poi_category": pa.array([categories[row] for row in used], pa.string()),
        **{name: pa.array([tags[row].get(name) for row in used], pa.string()) for name in _TAGS},
    }
    schema = arrow_schema("poi")
    columns |= {name: kept[name] for name in schema.names if name not in columns}
    return _as_table("poi", columns), _as_table("rejected_pois", rejected)


def _usable(wkb: pa.Array) -> tuple[np.ndarray[Any, Any], list[str | None]]:
    """Shapes, mended where they can be and None where not, and what was odd about each."""
    with np.errstate(invalid="ignore"):  # coordinates that are no numbers are dealt with, and no news
        shapes = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    reasons: list[str | None] = [None] * len(shapes)
    for row in np.flatnonzero(shapely.is_missing(shapes) | shapely.is_empty(shapes)):
        shapes[row], reasons[row] = None, "expected a shape, got none: nodes or members are missing from the source"
    coordinates, of_row = shapely.get_coordinates(shapes, return_index=True)
    for row in np.unique(of_row[~np.isfinite(coordinates).all(axis=1)]):
        shapes[row], reasons[row] = None, "its coordinates are not all numbers"
    for row in np.flatnonzero(~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)):
        reasons[row] = f"its shape was mended: {shapely.is_valid_reason(shapes[row])}"
        shapes[row] = shapely.make_valid(shapes[row])
    for row in np.flatnonzero(_wkb_bytes(shapes) > MAX_WKB_BYTES):
        shapes[row], told = _simplified(shapes[row])
        reasons[row] = f"{reasons[row]}; {told}" if reasons[row] else told
    return shapes, reasons


def _simplified(shape: shapely.Geometry) -> tuple[shapely.Geometry, str]:
    """A shape with so few corners that every warehouse takes it, as like itself as can be, and how like that is.

    One that even roughly drawn and without its holes is too large stays as it is.
    """
    corners = f"its shape of {shapely.get_num_coordinates(shape):,} corners"
    for of, words in ((shape, ""), (_without_holes(shape), " and lost its holes")):
        for degrees in _TOLERANCES:
            drawn = shapely.make_valid(shapely.simplify(of, degrees))
            if len(shapely.to_wkb(drawn)) <= MAX_WKB_BYTES:
                return drawn, f"{corners} was simplified by up to {degrees * _DEGREE_M:.2g} m{words}"
    return shape, f"{corners} is too large for Redshift, which takes {MAX_WKB_BYTES:,} bytes"


def _wkb_bytes(shapes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How large each is; 0 where there is none."""
    return np.array([len(wkb or b"") for wkb in shapely.to_wkb(shapes)], np.int64)


def _without_holes(shape: shapely.Geometry) -> shapely.Geometry:
    rings = shapely.get_exterior_ring(shapely.get_parts(shape))
    return shape if shapely.is_missing(rings).any() else shapely.union_all(shapely.polygons(rings))


def _as_table(name: str, columns: Mapping[str, Any]) -> pa.Table:
    schema = arrow_schema(name)
    return pa.table([columns[field.name] for field in schema], names=schema.names).cast(schema).sort_by("id_poi")
