"""Points of interest and stations as files that geographic programs open: GeoPackage, shapefiles, GeoJSON, GeoParquet.

Belongs here: what a format asks for (one kind of shape per layer, short names, cut texts). Does not belong here: which
rows there are.
"""

import datetime as dt
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

Form = Literal["gpkg", "shapefile", "geojson", "geoparquet"]
FORMS: tuple[Form, ...] = get_args(Form)

ATTRIBUTION = "Points of interest: © OpenStreetMap contributors, Open Database License (ODbL) 1.0"
"""What the licence asks for, wherever the data goes."""
SIMULATED = "SIMULATED: these points of interest and stations are on no map of the earth"

SHORT_NAMES = {
    "poi_category": "category",
    "opening_hours": "open_hours",
    "osm_version": "osm_vers",
    "postal_code": "post_code",
    "operator_name": "op_name",
    "operator_hotline": "op_hotline",
    "operator_id": "op_id",
    "tariff_zones": "tariffs",
}
"""Of columns in shapefiles, where they have at most 10 characters. Others are cut, and numbered where that is taken."""

_NAME_LENGTH, _TEXT_BYTES, _FILE_BYTES = 10, 254, 2**31 - 1
"""What a shapefile can hold. Larger files are read by some programs and not by others."""

_LAYERS = ("poi_points", "poi_lines", "poi_areas")
"""By the dimension of their shapes."""
_KINDS = {"poi_points": "Point", "poi_lines": "MultiLineString", "poi_areas": "MultiPolygon", "stations": "Point"}
_GEOMETRY = "geom"
_WGS84 = "EPSG:4326"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest there is, so that equal data gives equal files."""

Shapes = NDArray[np.object_]
_Layers = Mapping[str, pa.Table]


class ExportError(Exception):
    """An export could not be written; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Written:
    """One layer of an export."""

    file: Path
    layer: str
    rows: int
    cut: Mapping[str, int] = field(default_factory=dict)
    """How many texts were cut to what a shapefile can hold, by column."""


def export_pois(pois: pa.Table, stations: pa.Table, folder: Path, form: Form, note: str = ATTRIBUTION) -> list[Written]:
    """Write POIs and stations into a folder, each file replaced when all are complete.

    | form | files |
    |---|---|
    | `gpkg` | `poi.gpkg` with the layers poi_points, poi_lines, poi_areas and stations |
    | `shapefile` | `poi_points.zip`, `poi_lines.zip`, `poi_areas.zip` and `stations.zip` |
    | `geojson` | `poi.geojson` and `stations.geojson`, as RFC 7946 says: WGS 84, 7 decimals |
    | `geoparquet` | `poi.parquet` and `stations.parquet`, GeoParquet 1.1 |

    No row is left out: a POI without a shape is among the points, and a station without coordinates has no shape. Of a
    shape of several dimensions, layers of one kind have the parts of the highest. Equal data gives equal files.

    Args:
        pois: the table `poi`: `geom` (WKB, degrees) and whatever columns there are.
        stations: the table `charging_station`: `longitude`, `latitude` and whatever columns there are.
        folder: where to; it is created.
        form: one of `FORMS`.
        note: where the data are from, which the files say.

    Returns:
        The layers that were written.

    Raises:
        ExportError: the files cannot be written.
    """
    layers = {"poi": _plain(pois), "stations": _with_places(_plain(stations))}
    if form in ("gpkg", "shapefile"):
        layers = {**_by_dimension(layers["poi"]), "stations": layers["stations"]}
    with _explained(form, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as draft:
            written = list(_WRITERS[form](layers, Path(draft), note))
            for file in dict.fromkeys(layer.file for layer in written):
                file.replace(folder / file.name)
    return [Written(folder / layer.file.name, layer.layer, layer.rows, layer.cut) for layer in written]


@contextmanager
def _explained(form: str, folder: Path) -> Iterator[None]:
    """Turn what writing can raise into an `ExportError`."""
    try:
        yield
    except (OSError, DataLayerError, DataSourceError) as error:
        raise ExportError(
            f"Writing {form} into {folder} failed ({error}): see whether the disk has room and this user may write "
            "there, then export again; earlier exports are as they were, as far as they were not replaced"
        ) from error


# -- layers ----------------------------------------------------------------------------------------------------------


def _plain(rows: pa.Table) -> pa.Table:
    """Without dictionaries, which GDAL does not write."""
    plain = [
        pa.field(each.name, each.type.value_type if pa.types.is_dictionary(each.type) else each.type)
        for each in rows.schema
    ]
    return rows.cast(pa.schema(plain))


def _with_places(stations: pa.Table) -> pa.Table:
    """Stations with their point as `geom`, null where they have no coordinates."""
    degrees = [stations[name].fill_null(np.nan).to_numpy() for name in ("longitude", "latitude")]
    is_known = np.isfinite(degrees).all(axis=0)
    shapes = np.full(len(stations), None, object)
    shapes[is_known] = shapely.points(*(values[is_known] for values in degrees))
    return stations.append_column(_GEOMETRY, _wkb(shapes))


def _by_dimension(pois: pa.Table) -> dict[str, pa.Table]:
    """The POIs in a layer each for points, lines and areas."""
    shapes = shapely.force_2d(shapely.from_wkb(pois[_GEOMETRY].to_numpy()))
    dimension = np.maximum(shapely.get_dimensions(shapes), 0)  # -1: none, or an empty one
    place = pois.schema.get_field_index(_GEOMETRY)
    layers = {}
    for number, layer in enumerate(_LAYERS):
        those = np.flatnonzero(dimension == number)
        same = [_of_dimension(shape, number) for shape in shapes[those]]
        layers[layer] = pois.take(pa.array(those)).set_column(place, _GEOMETRY, _wkb(np.array(same, object)))
    return layers


def _of_dimension(shape: shapely.Geometry | None, dimension: int) -> shapely.Geometry | None:
    """A point, several lines or several polygons: the parts of that dimension."""
    if shape is None or shape.is_empty:
        return None
    if dimension == 0:
        return shape if shape.geom_type == "Point" else shapely.point_on_surface(shape)
    if shape.geom_type == "GeometryCollection":
        parts = shapely.get_parts(shape)
        shape = shapely.union_all(parts[shapely.get_dimensions(parts) == dimension])
    together = shapely.multilinestrings if dimension == 1 else shapely.multipolygons
    return together(shapely.get_parts(shape))


def _wkb(shapes: Shapes) -> pa.Array:
    return pa.array(shapely.to_wkb(shapes), pa.binary())


def _newest(layers: _Layers) -> dt.datetime:
    """When anything was last seen: the date of the data, which formats ask for."""
    seen = [pc.max(rows["last_seen"]).as_py() for rows in layers.values() if "last_seen" in rows.column_names]
    return max((time for time in seen if time is not None), default=dt.datetime(1980, 1, 1, tzinfo=dt.UTC))


# -- formats ---------------------------------------------------------------------------------------------------------


def _write_gpkg(layers: _Layers, folder: Path, note: str) -> Iterator[Written]:
    file = folder / "poi.gpkg"
    with _dated(_newest(layers)):
        for layer, rows in layers.items():
            _write(rows, file, "GPKG", layer, DESCRIPTION=note)
    for layer, rows in layers.items():
        _read_back(file, layer, len(rows))
        yield Written(file, layer, len(rows))


def _write_shapefiles(layers: _Layers, folder: Path, note: str) -> Iterator[Written]:
    date = f"{_newest(layers):%Y-%m-%d}"
    for layer, rows in layers.items():
        cut_rows, cut = _cut(rows)
        names = short_names([name for name in rows.column_names if name != _GEOMETRY])
        parts = folder / layer
        parts.mkdir()
        shapefile = parts / f"{layer}.shp"
        renamed = cut_rows.rename_columns([names.get(name, name) for name in rows.column_names])
        _write(renamed, shapefile, "ESRI Shapefile", layer, ENCODING="UTF-8", RESIZE="YES", DBF_DATE_LAST_UPDATE=date)
        _read_back(shapefile, layer, len(rows))
        _check_length(shapefile)
        (parts / "ATTRIBUTION.txt").write_text(f"{note}\n", encoding="utf-8")
        for part in parts.iterdir():
            if part.stat().st_size > _FILE_BYTES:
                raise ExportError(
                    f"{part.name} would have {part.stat().st_size:,} bytes, and a shapefile's parts can have 2 GiB: "
                    "export fewer rows, or as gpkg"
                )
        yield Written(_zipped(parts), layer, len(rows), cut)


def _write_geojson(layers: _Layers, folder: Path, note: str) -> Iterator[Written]:
    for layer, rows in layers.items():
        file = folder / f"{layer}.geojson"
        # Texts stay texts, also where they look like JSON (as `tags` does): a name may, too.
        _write(rows, file, "GeoJSON", layer, RFC7946="YES", AUTODETECT_JSON_STRINGS="NO", DESCRIPTION=note)
        _read_back(file, layer, len(rows))
        yield Written(file, layer, len(rows))


def _write_geoparquet(layers: _Layers, folder: Path, note: str) -> Iterator[Written]:
    import geopandas as gpd  # noqa: PLC0415 - only this form needs it
    import pandas as pd  # noqa: PLC0415 - as above

    for layer, rows in layers.items():
        file = folder / f"{layer}.parquet"
        columns = rows.drop_columns([_GEOMETRY]).to_pandas(types_mapper=pd.ArrowDtype)  # integers with nulls stay so
        shapes = gpd.GeoSeries.from_wkb(rows[_GEOMETRY].to_numpy(), crs=_WGS84)
        frame = gpd.GeoDataFrame(columns, geometry=shapes).rename_geometry(_GEOMETRY)
        frame.to_parquet(file, index=False, compression="zstd", schema_version="1.1.0", write_covering_bbox=True)
        written = pq.read_table(file)
        said = {**(written.schema.metadata or {}), "attribution": note}
        pq.write_table(written.replace_schema_metadata(said), file, compression="zstd")
        yield Written(file, layer, len(rows))


_WRITERS = {
    "gpkg": _write_gpkg,
    "shapefile": _write_shapefiles,
    "geojson": _write_geojson,
    "geoparquet": _write_geoparquet,
}


def _write(rows: pa.Table, file: Path, driver: str, layer: str, **options: str) -> None:
    pyogrio.write_arrow(
        rows,
        file,
        layer=layer,
        driver=driver,
        geometry_name=_GEOMETRY,
        geometry_type=_KINDS.get(layer, "Unknown"),
        crs=_WGS84,
        layer_options=options,
    )


def _read_back(file: Path, layer: str, rows: int) -> None:
    """Make sure that a layer is complete: GDAL keeps silent when the disk gets full while it closes a file."""
    with pyogrio.open_arrow(file, layer=layer, use_pyarrow=True) as (_, reader):
        found = sum(len(batch) for batch in reader)
    if found != rows:
        raise OSError(f"{layer} should have {rows:,} rows and has {found:,}")


@contextmanager
def _dated(time: dt.datetime) -> Iterator[None]:
    """Have GDAL write the date of the data instead of the present one."""
    name = "OGR_CURRENT_DATE"
    before = pyogrio.get_gdal_config_option(name)
    pyogrio.set_gdal_config_options({name: f"{time.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.000Z}"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({name: before})


# -- shapefiles ------------------------------------------------------------------------------------------------------


def short_names(columns: list[str]) -> dict[str, str]:
    """The names of columns in a shapefile: unique, of at most 10 characters."""
    short: dict[str, str] = {}
    for name in columns:
        wanted = SHORT_NAMES.get(name, name)[:_NAME_LENGTH]
        number = 1
        while wanted in short.values():
            number += 1
            wanted = f"{name[: _NAME_LENGTH - 1 - len(str(number))]}_{number}"
        short[name] = wanted
    return short


def _cut(rows: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Texts of at most 254 bytes of UTF-8, no character broken; and how many were longer, by column."""
    cut = {}
    for place, each in enumerate(rows.schema):
        if not pa.types.is_string(each.type):
            continue
        texts = rows[each.name]
        is_long = pc.fill_null(pc.greater(pc.binary_length(texts), _TEXT_BYTES), False)
        count = pc.sum(is_long).as_py()
        if count:
            shorter = [
                text.encode()[:_TEXT_BYTES].decode(errors="ignore") for text in texts.filter(is_long).to_pylist()
            ]
            rows = rows.set_column(
                place, each, pc.replace_with_mask(texts.combine_chunks(), is_long.combine_chunks(), pa.array(shorter))
            )
            cut[each.name] = count
    return rows, cut


def _check_length(shapefile: Path) -> None:
    """Compare the size of a .shp with what its header says, in words of 2 bytes: reading it would not show it."""
    with shapefile.open("rb") as file:
        told = 2 * int.from_bytes(file.read(28)[24:], "big")
    if shapefile.stat().st_size != told:
        raise OSError(f"{shapefile.name} should have {told:,} bytes and has {shapefile.stat().st_size:,}")


def _zipped(folder: Path) -> Path:
    """The files of a folder in a zip beside it."""
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(part.name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with part.open("rb") as content, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := content.read(2**20):
                    target.write(chunk)
    return file
