"""Points of interest from OpenStreetMap, and what is near the charging stations."""

import base64
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pyarrow as pa

from charging_assets.calendar import utc_now
from charging_assets.defs.assets.days import published
from charging_assets.defs.checks import require_passed
from charging_assets.defs.metadata import asset_spec
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.inputs import undated_inputs
from charging_assets.derive.pois import GOOD, poi_tables
from charging_assets.derive.station_pois import StationPois, current_pois, station_pois
from charging_assets.lake import KeptRefresh, Kind, Lake, Refresh
from charging_assets.model.tables.poi import DISTANCES_M
from charging_assets.reports.poi_map import ATTRIBUTION, SIMULATED, poi_map
from charging_assets.settings import Settings
from charging_assets.sources.osm.categories import Categories
from charging_assets.sources.osm.errors import OsmError
from charging_assets.sources.osm.features import FEATURES

MANY_CITIES = 50
"""More of them are a load that the keepers of public Overpass servers ask not to be put on them."""

_REASONS = 5

POI_TABLES = ("poi", "rejected_pois", "poi_refresh_log")
STATION_TABLES = ("mapping_poi_cs", "station_poi_features")


@dg.multi_asset(
    name="raw_pois",
    specs=[
        asset_spec(
            "raw_pois",
            how="Asks Overpass for each city, one after the other (or reads the extract that CHARGING_ASSETS_OSM_PBF "
            "names), and keeps what came, city by city. Public servers are shared: once a month is enough. Where the "
            "lake is simulated it asks nobody and reports what the simulation has put there.",
            cadence="month",
            kinds={"python", "openstreetmap"},
        )
    ],
    pool="openstreetmap",
)
def raw_pois(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[None]]:
    """Refresh the points of interest; a city that fails stops no other. A simulated lake has its own."""
    settings, opened = Settings.from_env(), lake.open()
    if _is_simulated(opened, settings):
        context.log.info("Simulated stations stand where no real thing is: nobody was asked.")
        yield dg.MaterializeResult(metadata=_held(opened.pois.refreshes()))
        return
    opened.raw.claim(Kind("real"))
    categories = Categories.load(settings.poi_categories, settings.poi_radius_m)
    kept = []
    for one in refreshed(context, settings, opened, categories):
        said = f"{one.refresh.city}: {one.refresh.outcome}, {one.features:,} features"
        log = context.log.info if one.refresh.outcome == "ok" else context.log.warning
        log("%s%s", said, f" ({one.refresh.reason})" if one.refresh.reason else "")
        kept.append(one)
    good = [one for one in kept if one.refresh.outcome in GOOD]
    if not good:
        raise dg.Failure(
            "Not one city was refreshed; the points of before stay. "
            + " ".join(f"{one.refresh.city}: {one.refresh.reason}." for one in kept[:_REASONS])
        )
    yield dg.MaterializeResult(
        metadata={
            "refresh_id": kept[0].refresh.refresh_id,
            "source": kept[0].refresh.source,
            "cities": len(kept),
            "features": sum(one.features for one in kept),
            "requests": sum(one.refresh.requests for one in kept),
            "not_refreshed": dg.MetadataValue.json(
                {one.refresh.city: one.refresh.reason for one in kept if one not in good}
            ),
        }
    )


def _is_simulated(lake: Lake, settings: Settings) -> bool:
    return (lake.raw.kind() or Kind.of_source(settings.source)).kind == "simulated"


def _held(refreshes: Sequence[KeptRefresh]) -> Mapping[str, Any]:
    return {
        "source": ", ".join(sorted({kept.refresh.source for kept in refreshes})) or "simulator",
        "cities": len({kept.refresh.city for kept in refreshes}),
        "features": sum(kept.features for kept in refreshes),
        "requests": 0,
    }


def refreshed(
    context: dg.AssetExecutionContext, settings: Settings, lake: Lake, categories: Categories
) -> Iterator[KeptRefresh]:
    """Each city of a new refresh (or the extract), kept in the lake as soon as it came."""
    refresh_id, begun = uuid4().hex[:12], utc_now()
    if settings.osm_pbf is not None and settings.poi_source == "pbf":
        of_file = Refresh(refresh_id, begun, "pbf", _name_of(settings.osm_pbf), "ok", None, 0)
        yield _extracted(settings, lake, categories, of_file, settings.osm_pbf)
        return
    # Imported when asked for: it brings osmnx along, which takes seconds.
    from charging_assets.sources.osm.overpass import OverpassSource  # noqa: PLC0415

    if len(settings.poi_cities) > MANY_CITIES:
        context.log.warning(
            "%d cities are much for a public server: take an extract (CHARGING_ASSETS_POI_SOURCE=pbf) or a server of "
            "your own (CHARGING_ASSETS_OVERPASS_URL).",
            len(settings.poi_cities),
        )
    cache = settings.home / "cache" / "overpass" / refresh_id
    source = OverpassSource(
        settings.overpass_url,
        settings.nominatim_url,
        settings.contact,
        cache,
        categories.tag_filter(),
        max(categories.largest_radius_m, DISTANCES_M[-1]),  # whatever is counted around a station at the edge
    )
    try:
        for city in settings.poi_cities:
            came = source.fetch(city)
            refresh = Refresh(refresh_id, begun, "overpass", city, came.outcome, came.reason, came.requests)
            yield lake.pois.put(refresh, came.features)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _extracted(
    settings: Settings, lake: Lake, categories: Categories, refresh: Refresh, path_or_url: str
) -> KeptRefresh:
    """The features of an extract, kept in the lake; or why there are none."""
    from charging_assets.sources.osm.download import download  # noqa: PLC0415 - it brings requests along
    from charging_assets.sources.osm.pbf import read_pbf  # noqa: PLC0415 - and this, osmium

    try:
        path = Path(path_or_url)
        if "://" in path_or_url:
            path = download(path_or_url, settings.home / "cache" / "osm", settings.contact).path
        features = pa.concat_tables(list(read_pbf(path, categories.tag_filter())))
    except OsmError as error:
        return lake.pois.put(replace(refresh, outcome="failed", reason=str(error)), FEATURES.empty_table())
    return lake.pois.put(refresh, features.sort_by([("element", "ascending"), ("osm_id", "ascending")]))


def _name_of(path_or_url: str) -> str:
    """What an extract is called where others have their city."""
    name = path_or_url.rpartition("/")[2].removesuffix(".osm.pbf")
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:64].strip("-_") or "extract"


@dg.multi_asset(
    name="pois",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(name, how="Made anew from all refreshes.", cadence="month", kinds={"python", "parquet"})
        )
        for name in POI_TABLES
    },
    deps=["raw_pois"],
)
def pois(lake: LakeResource) -> Iterator[dg.Output[Any]]:
    """Fold the refreshes into points of interest."""
    settings, opened = Settings.from_env(), lake.open()
    categories = Categories.load(settings.poi_categories, settings.poi_radius_m)
    inputs = undated_inputs(opened, "poi", settings.active_days, categories.rules)
    made = poi_tables(opened, categories.category_of)
    for name in POI_TABLES:
        yield dg.Output(published(opened, opened.write(name, None, getattr(made, name), inputs)), output_name=name)


@dg.multi_asset(
    name="station_pois",
    outs={
        name: dg.AssetOut.from_spec(
            asset_spec(
                name,
                how="Made anew from the stations and the points of interest that there are now; empty without either.",
                cadence="night",
                kinds={"python", "parquet"},
            )
        )
        for name in STATION_TABLES
    },
    deps=["poi", "charging_station"],
)
def station_pois_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[Any]]:
    """Match stations with points of interest."""
    settings, opened = Settings.from_env(), lake.open()
    categories = Categories.load(settings.poi_categories, settings.poi_radius_m)
    require_passed(context.instance, ["poi", "charging_station"])
    inputs = undated_inputs(opened, "mapping_poi_cs", settings.active_days, categories.rules)
    before = opened.read("mapping_poi_cs", None)
    made = station_pois(opened, {name: categories.radius_m(name) for name in categories.names})
    metadata = _metadata(opened, made, with_map=not made.mapping_poi_cs.equals(before))
    for name in STATION_TABLES:
        part = published(opened, opened.write(name, None, getattr(made, name), inputs))
        yield dg.Output(part, output_name=name, metadata=metadata if name == "mapping_poi_cs" else None)


def _metadata(lake: Lake, made: StationPois, *, with_map: bool) -> Mapping[str, Any]:
    """Figures of the matching; with a map where it has changed, as every event is kept for good."""
    figures: dict[str, Any] = {
        "stations_without_place": made.matches.unplaced.num_rows,
        "points_left_out": made.matches.left_out.num_rows,
    }
    if with_map and made.mapping_poi_cs.num_rows:
        stations = lake.read("charging_station", None, ["id_cs", "longitude", "latitude"])
        note = SIMULATED if _is_simulated(lake, Settings.from_env()) else ATTRIBUTION
        picture = base64.b64encode(poi_map(stations, current_pois(lake), made.mapping_poi_cs, note)).decode()
        figures["map"] = dg.MetadataValue.md(f"![stations and points of interest](data:image/png;base64,{picture})")
    return figures
