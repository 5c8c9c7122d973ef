"""Checks of points of interest: whether refreshes succeed, and whether what is near a station really is."""

import datetime as dt
from collections.abc import Iterator

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from charging_assets.derive.poi_matching import GERMANY
from charging_assets.derive.pois import GOOD
from charging_assets.lake import LakeError
from charging_assets.quality.partition import Partition
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned
from charging_assets.settings import Settings
from charging_assets.sources.osm.categories import Categories, TagCounts
from charging_assets.sources.osm.errors import OsmError

FRESH_DAYS = 45
"""Refreshes are monthly; of a city without a good one for longer, the points are called old."""

_FEWEST, _LOST_SHARE = 20, 0.3
"""A category of at least so many points that loses this share from one refresh to the next is told of."""

_SAMPLE, _TOLERANCE = 50, 0.004
"""Of the mapping so many rows are measured again; EPSG:25832 is wrong by 0.18 % at most in Germany."""

_decode = msgspec.json.Decoder(dict[str, str]).decode


def poi_checks() -> Iterator[Check]:
    """The checks of points of interest that their declaration does not give."""
    yield Check(
        "raw_pois", "refreshes", "The last refresh of every city succeeded, not long ago.", _refreshes, of_lake=True
    )
    yield Check("poi", "coordinates", "Points lie within the bounding box of Germany.", _coordinates)
    yield Check(
        "poi", "counts", "No category of a city lost a third of its points from one refresh to the next.", _counts
    )
    yield Check("poi", "tags", "Every tag of the file of categories is found on some point.", _tags)
    yield Check(
        "mapping_poi_cs",
        "references",
        "Stations and points are those of `charging_station` and `poi`.",
        _references,
        needs=("charging_station", "poi"),
        blocking=True,
    )
    yield Check(
        "mapping_poi_cs",
        "distances",
        "Distances, measured again on the ellipsoid for a sample, are the same, and within the radius.",
        _distances,
        needs=("charging_station", "poi"),
    )
    yield Check(
        "station_poi_features",
        "stations",
        "Every station has a place, and most of them some point of interest within 500 m.",
        _stations,
        needs=("charging_station", "poi"),
    )


def _refreshes(partition: Partition, _name: str) -> Verdict:
    try:
        refreshes = partition.lake.pois.refreshes()
    except LakeError as error:
        return failed(str(error))
    if not refreshes:
        return passed("There was no refresh yet: the job `refresh_pois` asks for points of interest.")
    last = {kept.refresh.city: kept.refresh for kept in refreshes}
    good = {kept.refresh.city: kept.refresh for kept in refreshes if kept.refresh.outcome in GOOD}
    oldest = partition.now - dt.timedelta(days=FRESH_DAYS)
    bad = [f"{city} ({refresh.outcome}: {refresh.reason})" for city, refresh in last.items() if city not in good]
    bad += [
        f"{city} ({refresh.outcome}: {refresh.reason}; its points are of {good[city].refreshed_at:%Y-%m-%d})"
        for city, refresh in last.items()
        if city in good and good[city] is not refresh
    ]
    bad += [
        f"{city} (last refreshed {refresh.refreshed_at:%Y-%m-%d})"
        for city, refresh in good.items()
        if refresh is last[city] and refresh.refreshed_at < oldest
    ]
    if bad:
        return warned(
            f"{len(bad):,} of {_cities(len(last))} were not refreshed well: {some(sorted(bad))}.",
            sorted(bad),
            cities=len(last),
        )
    return passed(f"The last refresh of {_cities(len(last))} succeeded.", cities=len(last))


def _cities(number: int) -> str:
    return "1 city" if number == 1 else f"{number:,} cities"


def _coordinates(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    west, south, east, north = GERMANY
    longitude, latitude = (rows[column].to_numpy() for column in ("longitude", "latitude"))
    is_inside = (west <= longitude) & (longitude <= east) & (south <= latitude) & (latitude <= north)
    if outside := rows["id_poi"].filter(pa.array(~is_inside)).to_pylist():
        sentence = f"{amount(len(outside), 'point')} of {rows.num_rows:,} lie outside: {some(outside)}."
        return warned(sentence, outside, points=rows.num_rows, outside=len(outside))
    return passed(f"All {amount(rows.num_rows, 'point')} lie inside.", points=rows.num_rows)


def _counts(partition: Partition, name: str) -> Verdict:
    """Compares what a city's last good refresh has with what the one before had."""
    rows = partition.rows(name)
    times: dict[str, list[dt.datetime]] = {}
    try:
        refreshes = partition.lake.pois.refreshes()
    except LakeError as error:  # which the check `refreshes` tells of
        return passed(f"Not judged: {error}.")
    for kept in refreshes:
        if kept.refresh.outcome in GOOD:
            times.setdefault(kept.refresh.city, []).append(kept.refresh.refreshed_at)
    lost = []
    for city, at in times.items():
        if len(at) < 2:
            continue
        of_city = rows.filter(pc.equal(rows["city"], city))
        was_there = pc.and_(
            pc.less_equal(of_city["first_seen"], at[-2]), pc.greater_equal(of_city["last_seen"], at[-2])
        )
        before = _by_category(of_city.filter(was_there))
        now = _by_category(of_city.filter(of_city["is_current"]))
        lost += [
            f"{city}: {category} {before[category]:,} → {now.get(category, 0):,}"
            for category in before
            if before[category] >= _FEWEST and now.get(category, 0) < (1 - _LOST_SHARE) * before[category]
        ]
    if lost:
        return warned(f"Many points vanished in the last refresh: {some(lost)}.", lost)
    return passed(
        f"{amount(rows.num_rows, 'point')} in {_cities(len(times))}.", points=rows.num_rows, **_by_category(rows)
    )


def _by_category(rows: pa.Table) -> dict[str, int]:
    return {
        str(pair["values"]): int(pair["counts"])
        for pair in pc.value_counts(rows["poi_category"].cast(pa.string())).to_pylist()
    }


def _tags(partition: Partition, name: str) -> Verdict:
    settings = Settings.from_env()
    try:
        categories = Categories.load(settings.poi_categories, settings.poi_radius_m)
    except OsmError as error:
        return failed(str(error))
    tags = partition.rows(name)["tags"].to_pylist()
    if not tags:
        return passed("There are no points yet.")
    counts = TagCounts(categories)
    for text in tags:
        counts.add(_decode(text))
    figures = {"tags": len(categories.tags), "on_no_point": len(counts.without_match)}
    if unused := counts.without_match:
        return warned(
            f"{len(unused)} of {len(categories.tags)} configured tags are on no point: {some(unused)}.",
            unused,
            **figures,
        )
    return passed(f"All {len(categories.tags)} configured tags are found.", **figures)


def _references(partition: Partition, name: str) -> Verdict:
    rows, lacking = partition.rows(name), []
    for column, of in (("id_cs", "charging_station"), ("id_poi", "poi")):
        is_known = pc.is_in(rows[column], value_set=partition.rows(of)[column])
        lacking += [f"{column} {value}" for value in pc.unique(rows.filter(pc.invert(is_known))[column]).to_pylist()]
    if lacking:
        sentence = f"{amount(len(lacking), 'id')} of {amount(rows.num_rows, 'row')} in no other table: {some(lacking)}."
        return failed(sentence, lacking, rows=rows.num_rows, unknown=len(lacking))
    return passed(f"All {amount(rows.num_rows, 'row')} have their station and their point.", rows=rows.num_rows)


def _distances(partition: Partition, name: str) -> Verdict:
    """Rows whose station or point is unknown now are for `references` to tell of."""
    rows = partition.rows(name)
    sample = rows.take(np.unique(np.linspace(0, max(rows.num_rows - 1, 0), min(_SAMPLE, rows.num_rows)).astype(int)))
    stations, pois = partition.rows("charging_station"), partition.rows("poi")
    at_station = pc.index_in(sample["id_cs"], value_set=stations["id_cs"])
    at_poi = pc.index_in(sample["id_poi"], value_set=pois["id_poi"])
    longitude, latitude = (_doubles(stations[of].take(at_station)) for of in ("longitude", "latitude"))
    shapes = shapely.from_wkb(pois["geom"].take(at_poi).to_numpy())
    is_known = np.isfinite(longitude) & np.isfinite(latitude) & ~shapely.is_missing(shapes)
    wrong = []
    for row in np.flatnonzero(is_known).tolist():
        measured = _on_ellipsoid(longitude[row], latitude[row], shapes[row])
        stored, radius = sample["distance_m"][row].as_py(), sample["radius_m"][row].as_py()
        if abs(measured - stored) > 0.05 + _TOLERANCE * measured or stored > radius:
            ids = f"{sample['id_cs'][row]} to {sample['id_poi'][row]}"
            wrong.append(f"{ids}: {stored:.2f} m of at most {radius:g} m, measured {measured:.2f} m")
    figures = {"rows": rows.num_rows, "measured": int(is_known.sum())}
    if wrong:
        return failed(f"{len(wrong)} of {figures['measured']} distances are wrong: {some(wrong)}.", wrong, **figures)
    return passed(f"{figures['measured']} of {amount(rows.num_rows, 'row')} were measured again.", **figures)


def _doubles(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """With NaN for null."""
    values: NDArray[np.float64] = column.fill_null(np.nan).to_numpy()
    return values


_geod = Geod(ellps="GRS80")


def _on_ellipsoid(longitude: float, latitude: float, shape: shapely.Geometry) -> float:
    """Metres from a place to the edge of a shape, 0 inside: another way than the one the table was made by.

    Corners are drawn as far from the place, and in the direction, as they are on the ellipsoid.
    """

    def drawn(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        here = np.broadcast_to([longitude, latitude], degrees.shape)
        azimuth, _, metres = _geod.inv(here[:, 0], here[:, 1], degrees[:, 0], degrees[:, 1])
        return np.column_stack([metres * np.sin(np.radians(azimuth)), metres * np.cos(np.radians(azimuth))])

    return float(shapely.distance(shapely.Point(0, 0), shapely.transform(shape, drawn)))


def _stations(partition: Partition, name: str) -> Verdict:
    rows, stations = partition.rows(name), partition.rows("charging_station")
    if not pc.any(partition.rows("poi")["is_current"]).as_py():
        return passed("There are no points of interest yet.", stations=stations.num_rows)
    known = pc.is_in(stations["id_cs"], value_set=pc.unique(rows["id_cs"]))
    unplaced = stations.filter(pc.invert(known))["id_cs"].to_pylist()
    near = pc.unique(rows.filter(pc.greater(rows["count_500m"], 0))["id_cs"])
    alone = stations.num_rows - len(unplaced) - len(near)
    figures = {"stations": stations.num_rows, "without_place": len(unplaced), "without_point": alone}
    if unplaced:
        return warned(
            f"{len(unplaced):,} of {amount(stations.num_rows, 'station')} have no place in Germany, so what is near is "
            f"not known: {some(unplaced)}.",
            map(str, unplaced),
            **figures,
        )
    if 2 * alone > stations.num_rows:
        return warned(
            f"{alone:,} of {amount(stations.num_rows, 'station')} have no point of interest within 500 m: were their "
            "cities asked for (CHARGING_ASSETS_POI_CITIES)?",
            (),
            **figures,
        )
    return passed(f"{alone:,} of {amount(stations.num_rows, 'station')} have no point within 500 m.", **figures)
