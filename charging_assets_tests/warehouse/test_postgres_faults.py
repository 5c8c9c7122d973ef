"""What PostgreSQL survives: see `faults`."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from charging_assets.warehouse import Failed, differences, publish
from charging_assets_tests.lake.replacing import DAY
from charging_assets_tests.standins.pgproxy import PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.s3 import BUSY, S3Standin
from charging_assets_tests.warehouse.faults import TABLE, FaultCases, make_version, version_in
from charging_assets_tests.warehouse.harness import PostgresHarness, ProxiedHarness, with_schema


class TestPostgres(FaultCases):
    lost_connections = 4
    longest_life_s = 0.15

    @pytest.fixture
    def served(self, empty_postgres: ProxiedHarness) -> ProxiedHarness:
        return with_schema(empty_postgres)


@pytest.fixture
def on_s3(
    tmp_path: Path, postgres: PostgresStandin, postgres_proxy: PgProxy, s3: S3Standin
) -> Iterator[ProxiedHarness]:
    """PostgreSQL, with the lake on S3."""
    lake_uri = f"s3://{s3.new_bucket()}/lake"
    with closing(PostgresHarness(lake_uri, tmp_path / "home", postgres, postgres_proxy, s3.client())) as made:
        yield with_schema(made)


def test_an_s3_that_is_busy_twice_is_asked_again(on_s3: ProxiedHarness, s3: S3Standin) -> None:
    old, new = make_version(on_s3, "OLD", 7), make_version(on_s3, "NEW", 5)
    on_s3.write(TABLE, DAY, old.lake.read(TABLE, DAY))
    on_s3.load(TABLE, DAY)
    on_s3.write(TABLE, DAY, new.lake.read(TABLE, DAY))
    s3.faults.extend([BUSY, BUSY])

    on_s3.load(TABLE, DAY)

    assert not s3.faults
    assert version_in(on_s3, new) is new


def test_an_object_that_is_gone_since_it_was_missed_is_told_and_changes_nothing(on_s3: ProxiedHarness) -> None:
    old, new = make_version(on_s3, "OLD", 7), make_version(on_s3, "NEW", 5)
    on_s3.write(TABLE, DAY, old.lake.read(TABLE, DAY))
    on_s3.load(TABLE, DAY)
    on_s3.write(TABLE, DAY, new.lake.read(TABLE, DAY))
    wanted = differences(on_s3.lake, on_s3.warehouse)
    on_s3.remove(TABLE, DAY)

    (failed,) = publish(on_s3.lake, on_s3.warehouse, wanted)

    assert isinstance(failed, Failed)
    assert "build it first" in str(failed.error)
    assert version_in(on_s3, old) is old
    on_s3.write(TABLE, DAY, new.lake.read(TABLE, DAY))
    on_s3.load(TABLE, DAY)
    assert version_in(on_s3, new) is new
