"""What the loader of Redshift survives, as far as its stand-in shows it: see `faults`."""

import pytest

from charging_assets.warehouse import WarehouseError, load
from charging_assets_tests.lake.replacing import DAY
from charging_assets_tests.standins.pgproxy import Fault
from charging_assets_tests.standins.s3 import BUSY, S3Standin
from charging_assets_tests.warehouse.faults import TABLE, FaultCases, Version, life_of, version_in
from charging_assets_tests.warehouse.harness import ProxiedHarness, with_schema
from charging_assets_tests.warehouse.loading import REFUSED, Nursery


class TestRedshift(FaultCases):
    lost_connections = 3
    longest_life_s = 0.5

    @pytest.fixture
    def served(self, empty_redshift: ProxiedHarness) -> ProxiedHarness:
        return with_schema(empty_redshift)

    def test_a_connection_that_is_lost_after_copy_is_made_again(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.append(Fault("COPY", "lose after"))
        load(new.lake, served.warehouse, TABLE, DAY)
        assert version_in(served, new) is new

    def test_an_s3_that_is_busy_twice_is_asked_again(
        self, served: ProxiedHarness, s3: S3Standin, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        s3.faults.extend([BUSY, BUSY])  # of the lake's file
        for statement in ("CREATE TEMPORARY TABLE", "COPY"):  # of the manifest, and of what COPY reads
            served.proxy.faults.append(Fault(statement, lambda: s3.faults.extend([BUSY, BUSY])))
        load(new.lake, served.warehouse, TABLE, DAY)
        assert not served.proxy.faults
        assert not s3.faults
        assert version_in(served, new) is new
        assert _manifests(served, new) == []

    def test_an_s3_that_stays_busy_is_told_and_changes_nothing(
        self, served: ProxiedHarness, s3: S3Standin, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.append(Fault("COPY", lambda: s3.faults.extend([BUSY] * 50)))
        with pytest.raises(WarehouseError, match=f"{TABLE} {DAY} failed .*S3"):
            load(new.lake, served.warehouse, TABLE, DAY)
        s3.faults.clear()
        assert version_in(served, old) is old
        assert _manifests(served, new) == []

    def test_an_object_that_vanished_before_copy_is_told_and_changes_nothing(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.write(TABLE, DAY, new.lake.read(TABLE, DAY))
        served.proxy.faults.append(Fault("COPY", lambda: served.remove(TABLE, DAY)))
        with pytest.raises(WarehouseError, match=r"query_date=2024-10-23\.parquet does not exist.*publish again"):
            served.load(TABLE, DAY)
        assert version_in(served, old) is old
        assert _manifests(served, old) == []
        served.write(TABLE, DAY, new.lake.read(TABLE, DAY))
        served.load(TABLE, DAY)
        assert version_in(served, new) is new

    def test_a_loader_that_has_no_room_for_the_manifest_says_so_and_changes_nothing(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        with Nursery(served.recipe()) as nursery:
            # A file larger than allowed instead of a full disk: the same call fails in the same place.
            assert nursery.live(life_of(served, new, file_bytes=10)) == [REFUSED]
        assert version_in(served, old) is old


def _manifests(served: ProxiedHarness, version: Version) -> list[str]:
    """What is left of the manifests of loads of a version."""
    return served.objects(f"{version.lake.uri}/manifests/")
