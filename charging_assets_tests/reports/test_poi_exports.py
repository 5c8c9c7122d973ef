import datetime as dt
import json
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import GeometryCollection, LineString, MultiPoint, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from charging_assets.reports.poi_exports import FORMS, ExportError, Form, Written, export_pois, short_names

SEEN = dt.datetime(2026, 11, 2, 3, 4, 5, tzinfo=dt.UTC)
SQUARE = Polygon([(6.69, 51.2), (6.69, 51.21), (6.70, 51.21), (6.70, 51.2)])  # clockwise
TAGS = json.dumps({"amenity": "cafe", "note": "ü" * 200}, ensure_ascii=False)


def poi_rows(**shapes: BaseGeometry | None) -> pa.Table:
    """POIs node/1, node/2, … with these shapes."""
    count = len(shapes)
    return pa.table(
        {
            "id_poi": [f"node/{number}" for number in range(1, count + 1)],
            "geom": pa.array([None if shape is None else shape.wkb for shape in shapes.values()], pa.binary()),
            "longitude": pa.array([6.69] * count, pa.float64()),
            "latitude": pa.array([51.2] * count, pa.float64()),
            "poi_category": pa.array(["gastronomy"] * count).dictionary_encode(),
            "name": pa.array(shapes, pa.string()),
            "opening_hours": pa.array([None] * count, pa.string()),
            "tags": [TAGS] * count,
            "osm_version": pa.array([3, None, *[7] * count][:count], pa.int32()),
            "last_seen": pa.array([SEEN] * count, pa.timestamp("us", "UTC")),
        }
    )


POIS = poi_rows(
    Café=Point(6.691234567, 51.2),
    way=LineString([(6.69, 51.2), (6.7, 51.21)]),
    area=SQUARE,
    areas=MultiPolygon([SQUARE, shapely.affinity.translate(SQUARE, 0.1, 0)]),
)
STATIONS = pa.table(
    {
        "id_cs": pa.array([490_001, 490_002], pa.int64()),
        "name": ["Straße", None],
        "postal_code": ["01067", "70469"],
        "longitude": [6.7, None],
        "latitude": [51.2, None],
        "operator_name": ["Stadtwerke", "Stadtwerke"],
        "operator_hotline": ["+49", "+49"],
        "open_24_7": [True, None],
        "last_seen": pa.array([SEEN, SEEN], pa.timestamp("us", "UTC")),
    }
)


def read(file: Path, layer: str | None = None) -> list[dict[str, Any]]:
    return list(gpd.read_file(file, layer=layer, use_arrow=True).to_dict("records"))


def rows_of(written: list[Written]) -> dict[str, int]:
    return {layer.layer: layer.rows for layer in written}


def parts(zip_file: Path, folder: Path) -> Path:
    """The shapefile in a zip, unpacked."""
    with zipfile.ZipFile(zip_file) as archive:
        archive.extractall(folder)
    return folder / f"{zip_file.stem}.shp"


# -- all forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_same_data_gives_the_same_bytes_and_replaces_the_earlier_export(tmp_path: Path, form: Form) -> None:
    written = export_pois(POIS, STATIONS, tmp_path / "new/folder", form)
    files = {layer.file for layer in written}
    assert files == set((tmp_path / "new/folder").iterdir())
    before = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_text("an earlier export")
    assert export_pois(POIS, STATIONS, tmp_path / "new/folder", form) == written
    assert {file: file.read_bytes() for file in files} == before


@pytest.mark.parametrize("form", FORMS)
def test_without_rows_there_are_layers_too(tmp_path: Path, form: Form) -> None:
    written = export_pois(POIS.slice(0, 0), STATIONS.slice(0, 0), tmp_path, form)
    assert set(rows_of(written).values()) == {0}
    assert all(layer.file.exists() for layer in written)


_SMALL_DISK = """
import resource, sys
from pathlib import Path
from charging_assets.reports.poi_exports import ExportError, export_pois
from charging_assets_tests.reports.test_poi_exports import STATIONS, many_pois
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    export_pois(many_pois(), STATIONS, Path(sys.argv[1]), sys.argv[2])
except ExportError as error:
    print(error)
"""


def many_pois() -> pa.Table:
    return poi_rows(**{f"poi {number}": Point(6 + number / 1e4, 51.2) for number in range(2_000)})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limit", ["from the start", "at the very end"])
def test_a_full_disk_is_told_and_leaves_the_earlier_export(tmp_path: Path, form: Form, limit: str) -> None:
    written = export_pois(POIS, STATIONS, tmp_path, form)
    before = {layer.file: layer.file.read_bytes() for layer in written}
    size = 2_000
    if limit == "at the very end":
        whole = export_pois(many_pois(), STATIONS, tmp_path / "whole", form)
        size = max(_part_sizes(whole[0].file)) - (20_000 if form == "gpkg" else 40)  # gpkg: 16 KiB more is an index
        for layer in whole:
            layer.file.unlink(missing_ok=True)
        (tmp_path / "whole").rmdir()
    child = [sys.executable, "-c", _SMALL_DISK, str(tmp_path), form, str(size)]
    told = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert told.startswith(f"Writing {form} into {tmp_path} failed (")
    assert "see whether the disk has room" in told
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def _part_sizes(file: Path) -> list[int]:
    if file.suffix != ".zip":
        return [file.stat().st_size]
    with zipfile.ZipFile(file) as archive:
        return [part.file_size for part in archive.infolist()]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"Writing gpkg into .*file/folder failed .* this user may write there"):
        export_pois(POIS, STATIONS, tmp_path / "file/folder", "gpkg")


# -- GeoPackage ------------------------------------------------------------------------------------------------------


def test_a_geopackage_has_a_layer_for_each_kind_of_shape(tmp_path: Path) -> None:
    written = export_pois(POIS, STATIONS, tmp_path, "gpkg")
    file = tmp_path / "poi.gpkg"
    assert rows_of(written) == {"poi_points": 1, "poi_lines": 1, "poi_areas": 2, "stations": 2}
    assert pyogrio.list_layers(file).tolist() == [
        ["poi_points", "Point"],
        ["poi_lines", "MultiLineString"],
        ["poi_areas", "MultiPolygon"],
        ["stations", "Point"],
    ]
    (cafe,) = read(file, "poi_points")
    assert cafe["geometry"].equals(Point(6.691234567, 51.2))
    assert (cafe["id_poi"], cafe["name"], cafe["poi_category"]) == ("node/1", "Café", "gastronomy")
    assert (cafe["tags"], cafe["osm_version"], cafe["last_seen"]) == (TAGS, 3, SEEN)
    areas = [row["geometry"] for row in read(file, "poi_areas")]
    assert [len(area.geoms) for area in areas] == [1, 2]
    assert areas[0].equals(SQUARE)
    first, second = read(file, "stations")
    assert (first["name"], first["postal_code"], first["open_24_7"]) == ("Straße", "01067", True)
    assert first["geometry"].equals(Point(6.7, 51.2))
    assert second["geometry"] is None
    with sqlite3.connect(file) as database:
        contents = database.execute("SELECT description, last_change, srs_id FROM gpkg_contents").fetchall()
    assert {("OpenStreetMap contributors" in text, time, srs) for text, time, srs in contents} == {
        (True, "2026-11-02T03:04:05.000Z", 4326)
    }


def test_no_poi_is_left_out_whatever_its_shape_is(tmp_path: Path) -> None:
    line = LineString([(6.8, 51.2), (6.9, 51.2)])
    rows = poi_rows(
        none=None,
        empty=Polygon(),
        two=MultiPoint([(6.69, 51.2), (6.7, 51.2)]),
        mixed=GeometryCollection([line, SQUARE, Point(6, 51)]),
        lines=GeometryCollection([line, Point(6, 51)]),
        high=Point(6.69, 51.2, 40),
    )
    export_pois(rows, STATIONS, tmp_path, "gpkg")
    shapes = {
        row["name"]: row["geometry"]
        for layer in ("poi_points", "poi_lines", "poi_areas")
        for row in read(tmp_path / "poi.gpkg", layer)
    }
    assert shapes["none"] is shapes["empty"] is None
    assert shapes["two"].geom_type == "Point"
    assert shapes["mixed"].equals(SQUARE)
    assert shapes["lines"].equals(line)
    assert not shapes["high"].has_z


# -- shapefiles ------------------------------------------------------------------------------------------------------


def test_there_is_a_zipped_shapefile_for_each_kind_of_shape(tmp_path: Path) -> None:
    written = export_pois(POIS, STATIONS, tmp_path / "out", "shapefile")
    assert {layer.layer: layer.file.name for layer in written} == {
        name: f"{name}.zip" for name in ("poi_points", "poi_lines", "poi_areas", "stations")
    }
    with zipfile.ZipFile(tmp_path / "out/poi_areas.zip") as archive:
        endings = {Path(name).suffix for name in archive.namelist()}
        assert endings == {".shp", ".shx", ".dbf", ".prj", ".cpg", ".txt"}
        assert archive.read("poi_areas.cpg") == b"UTF-8"
        assert "© OpenStreetMap contributors" in archive.read("ATTRIBUTION.txt").decode()
    names = ["id_poi", "longitude", "latitude", "category", "name", "open_hours", "tags", "osm_vers", "last_seen"]
    for layer, kind in (("poi_points", "Point"), ("poi_lines", "LineString"), ("poi_areas", "Polygon")):
        info = pyogrio.read_info(parts(tmp_path / f"out/{layer}.zip", tmp_path / layer))
        assert (info["geometry_type"], info["crs"], info["fields"].tolist()) == (kind, "EPSG:4326", names)
    (cafe,) = read(tmp_path / "poi_points/poi_points.shp")
    assert (cafe["name"], cafe["osm_vers"], cafe["last_seen"]) == ("Café", 3, "2026-11-02T03:04:05Z")
    first, second = read(parts(tmp_path / "out/stations.zip", tmp_path / "stations"))
    assert (first["post_code"], first["op_hotline"], first["open_24_7"]) == ("01067", "+49", True)
    assert second["geometry"] is None


def test_long_texts_are_cut_between_characters_and_counted(tmp_path: Path) -> None:
    layers = {layer.layer: layer for layer in export_pois(POIS, STATIONS, tmp_path, "shapefile")}
    assert dict(layers["poi_areas"].cut) == {"tags": 2}
    assert dict(layers["stations"].cut) == {}
    (cafe,) = read(parts(tmp_path / "poi_points.zip", tmp_path / "points"))
    assert TAGS.startswith(cafe["tags"])
    assert len(cafe["tags"].encode()) in (253, 254)


def test_a_text_of_254_bytes_is_not_cut(tmp_path: Path) -> None:
    rows = POIS.set_column(POIS.schema.get_field_index("tags"), "tags", pa.array(["é" * 127] * len(POIS)))
    assert all(not layer.cut for layer in export_pois(rows, STATIONS, tmp_path, "shapefile"))
    assert read(parts(tmp_path / "poi_points.zip", tmp_path / "points"))[0]["tags"] == "é" * 127


@given(st.lists(st.text("abc_1", min_size=1, max_size=14), max_size=30, unique=True))
def test_short_names_are_short_and_unique(columns: list[str]) -> None:
    short = short_names(columns)
    assert list(short) == columns
    assert len(set(short.values())) == len(columns)
    assert all(0 < len(name) <= 10 for name in short.values())


def test_short_names_are_fixed_where_cutting_would_hurt() -> None:
    columns = ["operator_name", "operator_hotline", "operator_id", "opening_hours", "addr:street", "addr:street:name"]
    assert list(short_names(columns).values()) == [
        "op_name",
        "op_hotline",
        "op_id",
        "open_hours",
        "addr:stree",
        "addr:str_2",
    ]


# -- GeoJSON ---------------------------------------------------------------------------------------------------------


def test_geojson_is_as_the_standard_says(tmp_path: Path) -> None:
    written = export_pois(POIS, STATIONS, tmp_path, "geojson")
    assert rows_of(written) == {"poi": 4, "stations": 2}
    told = json.loads((tmp_path / "poi.geojson").read_text(encoding="utf-8"))
    assert told["type"] == "FeatureCollection"
    assert "crs" not in told
    assert "OpenStreetMap contributors" in told["description"]
    cafe, line, area, areas = told["features"]
    assert cafe["geometry"] == {"type": "Point", "coordinates": [6.6912346, 51.2]}
    assert [each["geometry"]["type"] for each in (line, area, areas)] == ["LineString", "Polygon", "MultiPolygon"]
    assert Polygon(area["geometry"]["coordinates"][0]).exterior.is_ccw
    assert cafe["properties"] == {
        "id_poi": "node/1",
        "longitude": 6.69,
        "latitude": 51.2,
        "poi_category": "gastronomy",
        "name": "Café",
        "opening_hours": None,
        "tags": TAGS,
        "osm_version": 3,
        "last_seen": "2026-11-02T03:04:05Z",
    }
    assert line["properties"]["osm_version"] is None
    stations = json.loads((tmp_path / "stations.geojson").read_text(encoding="utf-8"))["features"]
    assert [station["geometry"] for station in stations] == [{"type": "Point", "coordinates": [6.7, 51.2]}, None]


# -- GeoParquet ------------------------------------------------------------------------------------------------------


def test_geoparquet_has_the_metadata_of_its_version_and_keeps_types(tmp_path: Path) -> None:
    written = export_pois(POIS, STATIONS, tmp_path, "geoparquet")
    assert rows_of(written) == {"poi": 4, "stations": 2}
    schema = pq.read_schema(tmp_path / "poi.parquet")
    assert "OpenStreetMap contributors" in schema.metadata[b"attribution"].decode()
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["primary_column"] == "geom"
    column = geo["columns"]["geom"]
    assert column["encoding"] == "WKB"
    assert set(column["geometry_types"]) == {"Point", "LineString", "Polygon", "MultiPolygon"}
    assert column["bbox"] == pytest.approx([6.69, 51.2, 6.8, 51.21])
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert schema.field("osm_version").type == pa.int32()
    assert schema.field("last_seen").type == pa.timestamp("us", "UTC")
    frame = gpd.read_parquet(tmp_path / "poi.parquet")
    assert [
        shape.equals(shapely.from_wkb(wkb)) for shape, wkb in zip(frame.geom, POIS["geom"].to_pylist(), strict=True)
    ]
    stations = pq.read_table(tmp_path / "stations.parquet")
    assert stations["id_cs"].type == pa.int64()
    assert stations["open_24_7"].to_pylist() == [True, None]
