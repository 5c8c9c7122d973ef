"""Fixtures that more than one suite uses."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from charging_assets.lake import Lake
from charging_assets_tests.sound_lake import make_sound_lake
from charging_assets_tests.standins.postgres import PostgresStandin

# How long an example takes says nothing of the code where machines are shared.
hypothesis.settings.register_profile("shared machines", deadline=None)
hypothesis.settings.load_profile("shared machines")

_CAPTURE = Path(__file__).resolve().parents[2] / "shared/data/chargecloud/SW-Stuttgart_2024-10-23T131609+0200.json"
_OSM = Path(__file__).resolve().parents[2] / "shared/data/osm"


@pytest.fixture(scope="session")
def real_answer_path() -> Path:
    """A complete raw answer of the feed SW-Stuttgart: 234 locations, 523 EVSEs, 526 connectors."""
    if not _CAPTURE.exists():
        pytest.skip(f"no captured answer at {_CAPTURE} (it is not part of the repository)")
    return _CAPTURE


@pytest.fixture(scope="session")
def real_answer(real_answer_path: Path) -> bytes:
    return real_answer_path.read_bytes()


def _of_osm(name: str) -> Path:
    if not (_OSM / name).exists():
        pytest.skip(f"no {name} in {_OSM} (it is not part of the repository)")
    return _OSM / name


@pytest.fixture(scope="session")
def neuss_overpass_path() -> Path:
    """A part of Neuss as Overpass answers: 150 features and the nodes that they are made of."""
    return _of_osm("neuss_overpass.json")


@pytest.fixture(scope="session")
def neuss_pbf_path() -> Path:
    """The extract that holds the same features and all else."""
    return _of_osm("neuss.osm.pbf")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake on local disk."""
    return Lake(str(tmp_path / "lake"), tmp_path / "home")


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make_sound_lake(folder)
    return folder


@pytest.fixture
def sound(sound_folder: Path, tmp_path: Path) -> Lake:
    """A sound lake of one's own."""
    shutil.copytree(sound_folder, tmp_path / "copy")
    return Lake(str(tmp_path / "copy/lake"), tmp_path / "copy/home")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresStandin]:
    """A PostgreSQL server; take a `new_database` of it."""
    with PostgresStandin() as server:
        yield server
