"""Fixtures that more than one suite uses."""

from pathlib import Path

import pytest

from charging_assets.lake import Lake

_CAPTURE = Path(__file__).resolve().parents[2] / "shared/data/chargecloud/SW-Stuttgart_2024-10-23T131609+0200.json"


@pytest.fixture(scope="session")
def real_answer_path() -> Path:
    """A complete raw answer of the feed SW-Stuttgart: 234 locations, 523 EVSEs, 526 connectors."""
    if not _CAPTURE.exists():
        pytest.skip(f"no captured answer at {_CAPTURE} (it is not part of the repository)")
    return _CAPTURE


@pytest.fixture(scope="session")
def real_answer(real_answer_path: Path) -> bytes:
    return real_answer_path.read_bytes()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake on local disk."""
    return Lake(str(tmp_path / "lake"), tmp_path / "home")
