"""`charging-assets export poi`; what is in the files is tried in `test_poi_exports`."""

import zipfile
from pathlib import Path

import pyogrio
import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.derive.pois import poi_tables
from charging_assets.lake import Kind, Lake
from charging_assets.reports.poi_exports import ATTRIBUTION, SIMULATED
from charging_assets.sources.osm.categories import Categories
from charging_assets_tests.osm_features import east, feature, put_refresh, put_stations, square


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State folder of the command; its lake has two stations and no points of interest."""
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    put_stations(lake_of(tmp_path / "home"), (9.1, 48.8), (None, None))
    return tmp_path / "home"


def lake_of(home: Path) -> Lake:
    return Lake(str(home / "lake"), home)


@pytest.fixture
def mapped(home: Path) -> Path:
    """The same with two points of interest."""
    lake = lake_of(home)
    put_refresh(
        lake,
        "bonn",
        feature("node/1", east(10), amenity="cafe", name="Süß"),
        feature("way/2", square(20), shop="supermarket", opening_hours="Mo-Fr 08:00-20:00; " * 20),
    )
    lake.write("poi", None, poi_tables(lake, Categories.load("default").category_of).poi)
    return home


def run(*arguments: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["export", "poi", *arguments])


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("gpkg", {"poi.gpkg"}),
        ("shapefile", {"poi_points.zip", "poi_lines.zip", "poi_areas.zip", "stations.zip"}),
        ("geojson", {"poi.geojson", "stations.geojson"}),
        ("geoparquet", {"poi.parquet", "stations.parquet"}),
    ],
)
def test_each_form_gives_its_files_and_a_line_for_each_layer(
    mapped: Path, tmp_path: Path, form: str, files: set[str]
) -> None:
    folder = tmp_path / "new" / "folder"

    result = run("--format", form, "--to", str(folder))

    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == files
    *layers, attribution = result.stdout.splitlines()
    assert attribution == ATTRIBUTION
    assert {line.partition("  ")[0] for line in layers} == {str(folder / name) for name in files}
    assert sum(int(line.partition(": ")[2].partition(" rows")[0]) for line in layers) == 4


def test_what_is_simulated_is_not_said_to_be_of_a_map(mapped: Path, tmp_path: Path) -> None:
    lake_of(mapped).raw.claim(Kind("simulated", 1, "2026-01-01"))

    result = run("--format", "shapefile", "--to", str(tmp_path / "out"))

    assert result.stdout.splitlines()[-1] == SIMULATED
    with zipfile.ZipFile(tmp_path / "out/poi_points.zip") as archive:
        assert archive.read("ATTRIBUTION.txt").decode().strip() == SIMULATED


def test_a_geopackage_in_this_folder_is_what_one_gets_without_options(
    mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run().exit_code == 0

    layers = {
        name: pyogrio.read_info(tmp_path / "poi.gpkg", layer=name)["features"]
        for name, _ in pyogrio.list_layers(tmp_path / "poi.gpkg")
    }
    assert layers == {"poi_points": 1, "poi_lines": 0, "poi_areas": 1, "stations": 2}


def test_texts_that_a_shapefile_cannot_hold_are_counted(mapped: Path, tmp_path: Path) -> None:
    result = run("--format", "shapefile", "--to", str(tmp_path / "out"))

    assert f"{tmp_path}/out/poi_areas.zip  poi_areas: 1 rows (1 texts of opening_hours cut, 1 texts of tags cut)" in (
        result.stdout.splitlines()
    )


def test_without_points_of_interest_it_says_how_they_come(home: Path, tmp_path: Path) -> None:
    result = run("--to", str(tmp_path / "out"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert "There are no points of interest yet: run the job refresh_pois" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(mapped: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run("--to", str(tmp_path / "file" / "out"))

    assert result.exit_code == 1
    assert f"Error: Writing gpkg into {tmp_path}/file/out failed" in result.stderr


def test_another_form_is_refused_with_those_there_are(home: Path) -> None:
    result = run("--format", "kml")

    assert result.exit_code == 2
    assert "'gpkg', 'shapefile', 'geojson', 'geoparquet'" in result.stderr
