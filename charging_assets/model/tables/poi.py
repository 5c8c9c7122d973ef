"""Points of interest from OpenStreetMap, and which charging stations they are near."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer

from charging_assets.model.tables.declare import MAX_WKB_BYTES, column, count, declare, geometry, text, time

POI_SOURCES = ("overpass", "pbf", "simulator")
REFRESH_OUTCOMES = ("ok", "empty", "partial", "failed")
"""The city has points; it has none; the answer was cut short, so that some may be missing; none came."""
DISTANCES_M = (50, 100, 250, 500)
"""Within which points are counted around a station."""


def _feature() -> list[Column[Any]]:
    return [
        text("element", "Kind of OpenStreetMap's element: `node`, `way` or `relation`.", few=True),
        column("osm_id", BigInteger(), "Its number among those of its kind."),
        geometry("geom", "Shape as the source has it; null where none can be built.", nullable=True),
        text("tags", "All tags, as a JSON object with sorted keys."),
        column("osm_version", Integer(), "Version of the element; null where the source does not tell.", nullable=True),
        time("osm_time", "When that version was made; null where the source does not tell.", nullable=True),
    ]


raw_pois = declare(
    "raw_pois",
    "Features of OpenStreetMap as they are tagged, as each refresh got them: one file per refresh and city (or "
    "extract), written once, kept for ever.",
    *_feature(),
    text("refresh_id", "Identifies the refresh.", few=True),
    time("refreshed_at", "When the refresh began."),
    text("source", f"Where they are from: {', '.join(f'`{name}`' for name in POI_SOURCES)}.", few=True),
    text("city", "City that was asked for, by its slug; of an extract, its name.", few=True),
    key=("element", "osm_id"),
    group="raw",
    dated=False,
)

poi = declare(
    "poi",
    "Points of interest, each once: what the last good refresh of its city said of it. One that has vanished stays, "
    "with `is_current` false.",
    text("id_poi", "`<element>/<number>` of OpenStreetMap, e.g. `way/123`."),
    geometry("geom", f"Shape: a point, a line or an area; simplified if it is larger than {MAX_WKB_BYTES:,} bytes."),
    column("longitude", Double(), "East, WGS 84, of a point on or in it.", unit="degrees"),
    column("latitude", Double(), "North, WGS 84, of the same point.", unit="degrees"),
    text("poi_category", "Category, the first that its tags fit; see the file of categories.", few=True),
    text("name", "Name.", nullable=True),
    text("brand", "Brand.", nullable=True),
    text("operator", "Operator.", nullable=True),
    text("opening_hours", "Opening hours, in OpenStreetMap's words.", nullable=True),
    text("tags", "All tags, as a JSON object with sorted keys."),
    column("osm_version", Integer(), "Version of the element; null where the source does not tell.", nullable=True),
    time("osm_time", "When that version was made; null where the source does not tell.", nullable=True),
    text("city", "City whose refresh gave it, by its slug; of an extract, its name.", few=True),
    text("source", f"Where it is from: {', '.join(f'`{name}`' for name in POI_SOURCES)}.", few=True),
    time("first_seen", "First refresh that had it."),
    time("last_seen", "Last refresh that had it."),
    column("is_current", Boolean(), "Whether the last good refresh of its city had it."),
    key=("id_poi",),
    group="poi",
    dated=False,
    made_from=("raw_pois",),
)

rejected_pois = declare(
    "rejected_pois",
    "Features of the last good refresh of a city that are in no category or have no usable shape, and what is odd "
    "about those that were mended or simplified.",
    text("id_poi", "`<element>/<number>` of OpenStreetMap."),
    text("city", "City, by its slug.", few=True),
    text("reason", "What was expected and what came, in a sentence."),
    column("is_used", Boolean(), "Whether it is in `poi` all the same."),
    text("tags", "All tags, as a JSON object with sorted keys."),
    key=("id_poi",),
    group="poi",
    dated=False,
    made_from=("raw_pois",),
)

poi_refresh_log = declare(
    "poi_refresh_log",
    "What became of each city (or extract) in each refresh. After one that failed, the city's points of before stay.",
    time("refreshed_at", "When the refresh began."),
    text("city", "City, by its slug; of an extract, its name."),
    text("refresh_id", "Identifies the refresh."),
    text("source", f"Who was asked: {', '.join(f'`{name}`' for name in POI_SOURCES)}.", few=True),
    text("outcome", "`ok`, `empty` (a good answer without points), `partial` (cut short) or `failed`.", few=True),
    text("reason", "Why it is not `ok`, or what is odd about it, in a sentence.", nullable=True),
    count("features", "Features that came.", unit="features"),
    count("requests", "Requests made.", unit="requests"),
    column("is_used", Boolean(), "Whether `poi` has its points: the last good one of the city."),
    key=("refreshed_at", "city", "refresh_id"),
    group="poi",
    dated=False,
    made_from=("raw_pois",),
)

mapping_poi_cs = declare(
    "mapping_poi_cs",
    "Which points of interest are near which charging stations: nearer than the radius of their category, by the true "
    "distance from the station to the shape's edge.",
    text("id_poi", "Point of interest."),
    column("id_cs", BigInteger(), "Charging station."),
    text("poi_category", "Category of the point.", few=True),
    column("distance_m", Double(), "From the station to the edge of the shape, in EPSG:25832; 0 inside.", unit="m"),
    column("radius_m", Double(), "Radius of the category.", unit="m"),
    column("rank_in_category", Integer(), "1 for the nearest of its category at the station."),
    key=("id_cs", "id_poi"),
    group="poi",
    dated=False,
    made_from=("poi", "charging_station"),
)

station_poi_features = declare(
    "station_poi_features",
    "What stands around each charging station: how many points of each category, and how far the nearest is.",
    column("id_cs", BigInteger(), "Charging station."),
    text("poi_category", "Category.", few=True),
    *(count(f"count_{metres}m", f"Points within {metres} m.", unit="points") for metres in DISTANCES_M),
    column(
        "nearest_m",
        Double(),
        f"Distance of the nearest; null where none is within {DISTANCES_M[-1]} m.",
        nullable=True,
        unit="m",
    ),
    key=("id_cs", "poi_category"),
    group="poi",
    dated=False,
    made_from=("poi", "charging_station"),
)
