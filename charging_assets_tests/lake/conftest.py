"""Lakes on local disk and on S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from charging_assets.lake import Lake
from charging_assets_tests.standins.s3 import S3Standin


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Standin]:
    with S3Standin() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Standin, monkeypatch: pytest.MonkeyPatch) -> S3Standin:
    """The server that stands in for S3; the environment leads boto3 there."""
    s3_server.faults.clear()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_lake(s3: S3Standin, tmp_path: Path) -> Lake:
    """An empty lake in a new bucket, below a prefix."""
    return Lake(f"s3://{s3.new_bucket()}/some/prefix", tmp_path / "home")


@pytest.fixture(params=["local", "s3"])
def any_lake(request: pytest.FixtureRequest) -> Lake:
    """An empty lake; the test runs on each kind."""
    lake: Lake = request.getfixturevalue("lake" if request.param == "local" else "s3_lake")
    return lake
