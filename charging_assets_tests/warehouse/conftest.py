"""Warehouses of every kind, each in an empty database with an empty lake."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from charging_assets_tests.standins.pgproxy import PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin
from charging_assets_tests.warehouse.harness import (
    EmbeddedHarness,
    Harness,
    LiveRedshiftHarness,
    PostgresHarness,
    ProxiedHarness,
    RedshiftHarness,
    ServedHarness,
    live_settings,
    with_schema,
)

pytest.register_assert_rewrite("charging_assets_tests.warehouse.faults")

SERVED = ["postgres", "redshift", pytest.param("live_redshift", marks=pytest.mark.live)]


@pytest.fixture(scope="session")
def postgres_proxy(postgres: PostgresStandin) -> Iterator[PgProxy]:
    with PgProxy(postgres.socket_path) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Standin]:
    with S3Standin() as server:
        yield server


@pytest.fixture(scope="session")
def redshift_proxy(postgres: PostgresStandin, s3_server: S3Standin) -> Iterator[RedshiftStandin]:
    with RedshiftStandin(postgres, s3_server) as standin:
        yield standin


@pytest.fixture
def s3(s3_server: S3Standin, monkeypatch: pytest.MonkeyPatch) -> S3Standin:
    """The server that stands in for S3; the environment leads boto3 there."""
    s3_server.faults.clear()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["duckdb", *SERVED])
def harness(request: pytest.FixtureRequest) -> Harness:
    """A warehouse of each kind with its schema; the test runs on each."""
    if request.param == "duckdb":
        embedded: Harness = request.getfixturevalue("duckdb_harness")
        return embedded
    return with_schema(_empty(request))


@pytest.fixture(params=SERVED)
def served(request: pytest.FixtureRequest) -> ServedHarness:
    """A warehouse with its schema, of each kind that is a server."""
    return with_schema(_empty(request))


@pytest.fixture(params=SERVED)
def empty(request: pytest.FixtureRequest) -> ServedHarness:
    """A warehouse without a schema, of each kind that is a server."""
    return _empty(request)


@pytest.fixture
def duckdb_harness(tmp_path: Path) -> Harness:
    return EmbeddedHarness(str(tmp_path / "lake"), tmp_path / "home")


@pytest.fixture
def empty_postgres(tmp_path: Path, postgres: PostgresStandin, postgres_proxy: PgProxy) -> Iterator[ProxiedHarness]:
    with closing(PostgresHarness(str(tmp_path / "lake"), tmp_path / "home", postgres, postgres_proxy)) as made:
        yield made


@pytest.fixture
def empty_redshift(
    tmp_path: Path, postgres: PostgresStandin, redshift_proxy: RedshiftStandin, s3: S3Standin
) -> Iterator[ProxiedHarness]:
    lake_uri = f"s3://{s3.new_bucket()}/lake"
    with closing(RedshiftHarness(lake_uri, tmp_path / "home", postgres, redshift_proxy, s3.client())) as made:
        yield made


@pytest.fixture
def empty_live_redshift(tmp_path: Path) -> Iterator[ServedHarness]:
    settings = live_settings()
    if settings is None:
        pytest.skip(
            "no cluster to try this on: set CHARGING_ASSETS_TEST_REDSHIFT_…, see charging_assets_tests/warehouse"
        )
    with closing(LiveRedshiftHarness(settings, tmp_path / "home")) as made:
        yield made


def _empty(request: pytest.FixtureRequest) -> ServedHarness:
    made: ServedHarness = request.getfixturevalue(f"empty_{request.param}")
    return made
