"""Small features of OpenStreetMap and stations, for tests that need to say exactly what stands where."""

import datetime as dt
import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import shapely
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, String

from charging_assets.lake import KeptRefresh, Lake, Refresh
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import table
from charging_assets.sources.osm.features import FEATURES

Feature = dict[str, Any]
"""A row of `FEATURES`."""

Place = tuple[float | None, float | None]
"""Longitude and latitude, as far as they are known."""

REFRESHED = dt.datetime(2026, 3, 2, 3, 20, tzinfo=dt.UTC)


def feature(id_poi: str, geom: shapely.Geometry | None, **tags: str) -> Feature:
    """A feature by its id, e.g. `way/12`; in tags' names `__` stands for a colon."""
    element, number = id_poi.split("/")
    named = {name.replace("__", ":"): value for name, value in tags.items()}
    return {
        "element": element,
        "osm_id": int(number),
        "geom": None if geom is None else shapely.to_wkb(geom, byte_order=1),
        "tags": json.dumps(named, sort_keys=True, ensure_ascii=False),
    }


def table_of_features(*features: Feature) -> pa.Table:
    """They as both sources give them."""
    rows = pa.Table.from_pylist(list(features), FEATURES)
    return rows.sort_by([("element", "ascending"), ("osm_id", "ascending")])


def east(metres: float, of: tuple[float, float] = (9.1, 48.8), north: float = 0.0) -> shapely.Point:
    """A point so many metres east and north of a place, right within 0.5 % in Germany."""
    longitude, latitude = of
    return shapely.Point(longitude + metres / (111_320 * math.cos(math.radians(latitude))), latitude + north / 111_200)


def square(metres: float, side: float = 10.0, of: tuple[float, float] = (9.1, 48.8)) -> shapely.Polygon:
    """An area whose western edge is so many metres east of a place."""
    west, south = east(metres, of, -side / 2).coords[0]
    right, top = east(metres + side, of, side / 2).coords[0]
    return shapely.box(west, south, right, top)


def bow_tie(metres: float, side: float = 10.0) -> shapely.Polygon:
    """The same, with an outline that crosses itself."""
    first, second, third, fourth, _ = square(metres, side).exterior.coords
    return shapely.Polygon([first, third, second, fourth])


def put_refresh(lake: Lake, city: str, *features: Feature, at: dt.datetime = REFRESHED, **facts: Any) -> KeptRefresh:
    """Keep a refresh of a city; `facts` replace fields of `Refresh`, e.g. `outcome`."""
    values: Mapping[str, Any] = {
        "refresh_id": f"{at:%Y%m%d}",
        "refreshed_at": at,
        "source": "overpass",
        "city": city,
        "outcome": "ok" if features else "empty",
        "reason": None,
        "requests": 3,
    }
    return lake.pois.put(Refresh(**{**values, **facts}), table_of_features(*features))


_ANYTHING: Mapping[type, Any] = {String: "", Integer: 0, BigInteger: 0, Boolean: True, DateTime: REFRESHED}


def put_stations(lake: Lake, *places: Place) -> None:
    """Stations 1, 2, … there, of which nothing else is known."""
    values = {"id_cs": list(range(1, len(places) + 1))}
    values |= {name: [place[at] for place in places] for at, name in enumerate(("longitude", "latitude"))}
    columns = []
    for column in table("charging_station").columns:
        kind = arrow_schema("charging_station").field(column.name).type
        anything = None if column.nullable else _ANYTHING[type(column.type)]
        columns.append(
            pa.array(values.get(column.name, [anything] * len(places)), pa.string() if column.info["few"] else kind)
        )
    names = arrow_schema("charging_station").names
    lake.write("charging_station", None, pa.table(columns, names).cast(arrow_schema("charging_station")))
