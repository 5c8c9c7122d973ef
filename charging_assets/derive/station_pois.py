"""What stands around the charging stations of a lake: its two tables, and what could not be placed."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.derive.poi_matching import Matches, match, station_features
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema


@dataclass(frozen=True, slots=True)
class StationPois:
    """The tables of these names, and how the matching went."""

    mapping_poi_cs: pa.Table
    station_poi_features: pa.Table
    matches: Matches


def station_pois(lake: Lake, radius_m: Mapping[str, float]) -> StationPois:
    """Match all stations there are with the points of interest there are now; without any, both tables are empty.

    Args:
        lake: whose `charging_station` and `poi` are read.
        radius_m: of each category. Points of others, as `poi` has until it is made again by changed rules, are nowhere.
    """
    stations = lake.read("charging_station", None, ["id_cs", "longitude", "latitude"])
    pois = current_pois(lake)
    is_known = pc.is_in(pois["poi_category"].cast(pa.string()), value_set=pa.array(list(radius_m), pa.string()))
    pois = pois.filter(is_known)
    matches = match(stations, pois, radius_m)
    categories = list(radius_m) if pois.num_rows else []  # nothing is known of what stands there: no zeros
    features = station_features(stations, pois, categories)
    return StationPois(
        matches.mapping.cast(arrow_schema("mapping_poi_cs")),
        features.cast(arrow_schema("station_poi_features")),
        matches,
    )


def current_pois(lake: Lake) -> pa.Table:
    """The points of interest that there are now: `id_poi`, `geom` and `poi_category`."""
    pois = lake.read("poi", None, ["id_poi", "geom", "poi_category", "is_current"])
    return pois.filter(pois["is_current"]).select(["id_poi", "geom", "poi_category"])
