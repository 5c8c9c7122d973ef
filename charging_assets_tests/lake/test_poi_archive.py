"""Refreshes of points of interest: each kept once, whole, and as it was."""

import datetime as dt
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from charging_assets.lake import KeptRefresh, Lake, LakeError, Refresh, SchemaMismatch
from charging_assets.model.arrow import arrow_schema
from charging_assets.sources.osm.features import FEATURES
from charging_assets_tests.osm_features import REFRESHED, feature, put_refresh, table_of_features

CAFE = feature("node/1", shapely.Point(9.1, 48.8), amenity="cafe", name="Süß & 'salzig'")
SHAPELESS = feature("relation/7", None, shop="mall")


def test_what_was_put_is_read_back_with_its_refresh(any_lake: Lake) -> None:
    kept = put_refresh(any_lake, "bonn", CAFE, SHAPELESS, reason="of two cities of the name, the larger", requests=7)

    assert any_lake.pois.refreshes() == [kept]
    assert kept == KeptRefresh(
        Refresh("20260302", REFRESHED, "overpass", "bonn", "ok", "of two cities of the name, the larger", 7),
        "raw_pois/bonn/20260302T032000Z_20260302.parquet",
        2,
    )
    rows = any_lake.pois.read(kept)
    assert rows.schema == arrow_schema("raw_pois")
    of_refresh = {"refresh_id": "20260302", "refreshed_at": REFRESHED, "source": "overpass", "city": "bonn"}
    unknown = {"osm_version": None, "osm_time": None}
    assert rows.to_pylist() == [{**CAFE, **unknown, **of_refresh}, {**SHAPELESS, **unknown, **of_refresh}]


def test_a_refresh_that_brought_nothing_is_remembered_too(lake: Lake) -> None:
    put_refresh(lake, "bonn", outcome="failed", reason="HTTP 504")
    put_refresh(lake, "kiel")

    found = {
        kept.refresh.city: (kept.refresh.outcome, kept.refresh.reason, kept.features) for kept in lake.pois.refreshes()
    }

    assert found == {"bonn": ("failed", "HTTP 504", 0), "kiel": ("empty", None, 0)}
    assert all(lake.pois.read(kept).num_rows == 0 for kept in lake.pois.refreshes())


def test_refreshes_come_oldest_first_whatever_order_they_were_put_in(lake: Lake) -> None:
    days = [REFRESHED + dt.timedelta(days=number) for number in (2, 0, 1)]
    for at in days:
        put_refresh(lake, "zwickau", CAFE, at=at)
        put_refresh(lake, "aachen", CAFE, at=at)

    order = [(kept.refresh.refreshed_at, kept.refresh.city) for kept in lake.pois.refreshes()]

    assert order == [(at, city) for at in sorted(days) for city in ("aachen", "zwickau")]


def test_a_city_of_a_refresh_is_written_once(any_lake: Lake) -> None:
    kept = put_refresh(any_lake, "bonn", CAFE)

    with pytest.raises(LakeError, match=r"raw_pois/bonn/.* is in the lake already: a refresh asks for a city once"):
        put_refresh(any_lake, "bonn", SHAPELESS)

    assert any_lake.pois.read(kept)["osm_id"].to_pylist() == [1]


def test_of_two_who_put_the_same_at_once_one_is_refused(lake: Lake) -> None:
    refused: list[LakeError] = []
    ready = threading.Barrier(4)

    def put(number: int) -> None:
        ready.wait()
        try:
            put_refresh(lake, "bonn", feature(f"node/{number}", shapely.Point(9, 48), amenity="cafe"))
        except LakeError as error:
            refused.append(error)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 3
    assert [kept.features for kept in lake.pois.refreshes()] == [1]


def test_the_fingerprint_changes_with_every_refresh_and_only_then(lake: Lake) -> None:
    prints = [lake.pois.fingerprint()]
    for number, city in enumerate(("bonn", "kiel", "bonn")):
        put_refresh(lake, city, CAFE, at=REFRESHED + dt.timedelta(days=number))
        prints.append(lake.pois.fingerprint())

    assert prints[0] == ""
    assert len(set(prints)) == 4
    assert lake.pois.fingerprint() == prints[-1]


@pytest.mark.parametrize("city", ["", "../etc", "a/b", "Köln", "-x", "a" * 65, "a\n", "."])
def test_what_could_leave_its_folder_names_no_city(lake: Lake, city: str) -> None:
    with pytest.raises(LakeError, match="cannot name a file: expected 1 to 64 letters"):
        put_refresh(lake, city, CAFE)

    assert lake.pois.entries() == []


@pytest.mark.parametrize(
    "rows",
    [
        FEATURES.empty_table().drop_columns(["geom"]),
        FEATURES.empty_table().select(list(reversed(FEATURES.names))),
        FEATURES.empty_table().append_column("colour", pa.array([], pa.string())),
        arrow_schema("raw_pois").empty_table(),
    ],
    ids=["without a column", "in another order", "with one more", "with those of the refresh"],
)
def test_other_columns_are_refused(lake: Lake, rows: pa.Table) -> None:
    with pytest.raises(SchemaMismatch, match="expected the columns element, osm_id, geom, tags, osm_version, osm_time"):
        lake.pois.put(Refresh("1", REFRESHED, "overpass", "bonn", "ok", None, 1), rows)

    assert lake.pois.entries() == []


def test_a_damaged_file_is_named_with_what_to_do(lake: Lake) -> None:
    kept = put_refresh(lake, "bonn", CAFE)
    path = Path(lake.uri, kept.path)
    path.write_bytes(path.read_bytes()[:-40])

    for read in (lake.pois.refreshes, lambda: lake.pois.read(kept)):
        with pytest.raises(LakeError, match=f"{kept.path}.*remove it, then refresh again"):
            read()


def test_a_file_of_somebody_else_is_named_with_what_to_do(lake: Lake) -> None:
    kept = put_refresh(lake, "bonn", CAFE)
    stranger = Path(lake.uri, "raw_pois/bonn/other.parquet")
    pq.write_table(table_of_features(CAFE), stranger)

    with pytest.raises(LakeError, match=r"raw_pois/bonn/other.parquet.*remove it, then refresh again"):
        lake.pois.refreshes()

    stranger.unlink()
    assert lake.pois.refreshes() == [kept]


def test_an_archive_without_refreshes_is_empty(any_lake: Lake) -> None:
    assert (list(any_lake.pois.entries()), list(any_lake.pois.refreshes())) == ([], [])
