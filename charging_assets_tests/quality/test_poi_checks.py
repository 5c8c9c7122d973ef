"""What the checks of points of interest say, and that they judge whatever is there; that each fails: `test_checks`."""

import datetime as dt
from pathlib import Path

import pytest

from charging_assets.derive.pois import poi_tables
from charging_assets.lake import Lake
from charging_assets.quality.checks import check_undated
from charging_assets.quality.pois import FRESH_DAYS
from charging_assets.quality.verdict import Verdict
from charging_assets.sources.osm.categories import Categories
from charging_assets_tests.osm_features import REFRESHED, east, feature, put_refresh
from charging_assets_tests.sound_lake import NOW, rewrite, with_values

MONTH = dt.timedelta(days=28)
TABLES = ("raw_pois", "poi", "rejected_pois", "poi_refresh_log", "mapping_poi_cs", "station_poi_features")
CAFE = feature("node/1", east(10), amenity="cafe")


def verdicts(lake: Lake, now: dt.datetime = NOW) -> dict[tuple[str, str], Verdict]:
    found = check_undated(lake, now=now, tables=TABLES)
    return {(finding.check.table, finding.check.name): finding.verdict for finding in found}


def said(lake: Lake, table: str, check: str, now: dt.datetime = NOW) -> tuple[bool, str, str]:
    verdict = verdicts(lake, now)[table, check]
    return verdict.passed, verdict.severity, verdict.sentence


def put_pois(lake: Lake) -> None:
    lake.write("poi", None, poi_tables(lake, Categories.load("default").category_of).poi)


# Refreshes


def test_before_the_first_refresh_nothing_fails_but_what_is_made_every_night(lake: Lake) -> None:
    failing = {check for check, verdict in verdicts(lake).items() if not verdict.passed}

    assert failing == {("mapping_poi_cs", "schema"), ("station_poi_features", "schema")}
    assert said(lake, "raw_pois", "refreshes")[2].startswith("There was no refresh yet: the job `refresh_pois`")


def test_after_a_refresh_the_points_of_interest_must_be_made(lake: Lake) -> None:
    put_refresh(lake, "bonn", CAFE)

    assert said(lake, "poi", "schema") == (
        False,
        "error",
        "There is no file of poi, though there should always be one: build it.",
    )


def test_cities_that_failed_were_cut_short_or_never_came_are_named_with_the_reason(lake: Lake) -> None:
    put_refresh(lake, "aachen", CAFE)
    put_refresh(lake, "bonn", CAFE)
    put_refresh(lake, "calw")
    put_refresh(lake, "bonn", at=REFRESHED + MONTH, outcome="failed", reason="HTTP 504 after 3 attempts")
    put_refresh(lake, "calw", CAFE, at=REFRESHED + MONTH, outcome="partial", reason="Overpass gave up")
    put_refresh(lake, "dorf", at=REFRESHED + MONTH, outcome="failed", reason="Nominatim knows no such place")

    assert said(lake, "raw_pois", "refreshes", NOW + MONTH) == (
        False,
        "warn",
        (
            "3 of 4 cities were not refreshed well: "
            "bonn (failed: HTTP 504 after 3 attempts; its points are of 2026-03-02), "
            "calw (partial: Overpass gave up; its points are of 2026-03-02), "
            "dorf (failed: Nominatim knows no such place)."
        ),
    )


def test_a_city_without_points_was_refreshed_well(lake: Lake) -> None:
    put_refresh(lake, "bonn")

    assert said(lake, "raw_pois", "refreshes") == (True, "error", "The last refresh of 1 city succeeded.")


def test_points_are_old_when_a_monthly_refresh_was_missed(lake: Lake) -> None:
    put_refresh(lake, "bonn", CAFE)
    limit = REFRESHED + dt.timedelta(days=FRESH_DAYS)

    assert said(lake, "raw_pois", "refreshes", limit)[0]
    assert said(lake, "raw_pois", "refreshes", limit + dt.timedelta(seconds=1)) == (
        False,
        "warn",
        "1 of 1 city were not refreshed well: bonn (last refreshed 2026-03-02).",
    )


def test_a_damaged_file_of_the_archive_is_told_and_nothing_raises(sound: Lake) -> None:
    path = Path(sound.uri, sound.pois.entries()[0].path)
    path.write_bytes(b"not Parquet")

    passed, severity, sentence = said(sound, "raw_pois", "refreshes")

    assert (passed, severity) == (False, "error")
    assert "remove it, then refresh again" in sentence
    assert {check for check, verdict in verdicts(sound).items() if not verdict.passed} == {("raw_pois", "refreshes")}


# Points


def test_a_category_that_loses_a_third_of_its_points_is_named_with_its_city(lake: Lake) -> None:
    cafes = [feature(f"node/{number}", east(number), amenity="cafe") for number in range(1, 31)]
    few = [feature(f"node/{100 + number}", east(number), shop="mall") for number in range(19)]
    for city, left in (("bonn", 20), ("kiel", 21)):
        moved = [{**one, "osm_id": one["osm_id"] + 1000 * (city == "kiel")} for one in (*cafes, *few)]
        put_refresh(lake, city, *moved)
        put_refresh(lake, city, *moved[:left], at=REFRESHED + MONTH)
    put_pois(lake)

    assert said(lake, "poi", "counts") == (
        False,
        "warn",
        "Many points vanished in the last refresh: bonn: gastronomy 30 → 20.",
    )


def test_a_refresh_that_failed_between_two_good_ones_is_not_what_counts_are_compared_with(lake: Lake) -> None:
    cafes = [feature(f"node/{number}", east(number), amenity="cafe") for number in range(1, 31)]
    put_refresh(lake, "bonn", *cafes)
    put_refresh(lake, "bonn", at=REFRESHED + MONTH, outcome="failed", reason="HTTP 504")
    put_refresh(lake, "bonn", *cafes[:10], at=REFRESHED + 2 * MONTH)
    put_pois(lake)

    assert "gastronomy 30 → 10" in said(lake, "poi", "counts")[2]


def test_a_configured_tag_that_matches_nothing_is_reported(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[food]\nradius_m = 50\ntags = { amenity = ["cafe", "caffee"], shop = ["trade"] }\n')
    monkeypatch.setenv("CHARGING_ASSETS_POI_CATEGORIES", str(file))
    put_refresh(lake, "bonn", CAFE)
    put_pois(lake)

    assert said(lake, "poi", "tags") == (
        False,
        "warn",
        "2 of 3 configured tags are on no point: amenity=caffee, shop=trade.",
    )


def test_a_file_of_categories_with_an_error_is_told_with_what_was_expected(
    sound: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[food]\nradius_m = -5\ntags = { amenity = ['cafe'] }\n")
    monkeypatch.setenv("CHARGING_ASSETS_POI_CATEGORIES", str(file))

    assert said(sound, "poi", "tags") == (
        False,
        "error",
        f"{file}, [food], radius_m: expected metres above 0 and up to 5,000, got -5",
    )


# Mapping


def test_distances_to_a_station_that_has_moved_since_are_wrong(sound: Lake) -> None:
    rewrite(sound, "charging_station", None, lambda rows: with_values(rows, "longitude", {0: 9.1005}))

    passed, severity, sentence = said(sound, "mapping_poi_cs", "distances")

    assert (passed, severity) == (False, "error")
    assert sentence.startswith("1 of 50 distances are wrong: ")
    assert " to node/1: 10.0" in sentence
    assert " m of at most 30 m, measured 26." in sentence


def test_a_distance_beyond_the_radius_is_wrong(sound: Lake) -> None:
    rewrite(sound, "mapping_poi_cs", None, lambda rows: with_values(rows, "radius_m", {0: 5.0}))

    assert " m of at most 5 m, measured 10." in said(sound, "mapping_poi_cs", "distances")[2]


def test_stations_that_lost_their_place_since_are_not_measured(sound: Lake) -> None:
    every = range(sound.read("charging_station", None).num_rows)
    rewrite(sound, "charging_station", None, lambda rows: with_values(rows, "longitude", dict.fromkeys(every)))

    assert said(sound, "mapping_poi_cs", "distances") == (True, "error", "0 of 756 rows were measured again.")


def test_a_mapping_without_rows_has_nothing_to_measure(sound: Lake) -> None:
    rewrite(sound, "mapping_poi_cs", None, lambda rows: rows.slice(0, 0))

    assert said(sound, "mapping_poi_cs", "distances") == (True, "error", "0 of 0 rows were measured again.")
    assert said(sound, "mapping_poi_cs", "references")[0]


def test_stations_and_points_that_are_not_there_are_both_named(sound: Lake) -> None:
    rewrite(sound, "charging_station", None, lambda rows: rows.slice(1))
    rewrite(sound, "poi", None, lambda rows: rows.filter([id_ != "node/2" for id_ in rows["id_poi"].to_pylist()]))

    passed, severity, sentence = said(sound, "mapping_poi_cs", "references")

    assert (passed, severity) == (False, "error")
    assert sentence.startswith("2 ids of 756 rows in no other table: id_cs ")
    assert sentence.endswith("id_poi node/2.")


def test_stations_without_a_place_in_germany_are_named(sound: Lake) -> None:
    first = sound.read("station_poi_features", None)["id_cs"][0].as_py()
    rewrite(
        sound,
        "station_poi_features",
        None,
        lambda rows: rows.filter([id_ != first for id_ in rows["id_cs"].to_pylist()]),
    )

    assert said(sound, "station_poi_features", "stations") == (
        False,
        "warn",
        f"1 of 252 stations have no place in Germany, so what is near is not known: {first}.",
    )


def test_most_stations_without_anything_near_are_told_with_the_setting_to_look_at(sound: Lake) -> None:
    far = dict.fromkeys(range(12 * 127), 0)
    rewrite(sound, "station_poi_features", None, lambda rows: with_values(rows, "count_500m", far))

    passed, severity, sentence = said(sound, "station_poi_features", "stations")

    assert (passed, severity) == (False, "warn")
    assert sentence.startswith("127 of 252 stations have no point of interest within 500 m")
    assert "CHARGING_ASSETS_POI_CITIES" in sentence


def test_where_all_points_have_vanished_no_station_is_said_to_be_without_a_place(sound: Lake) -> None:
    every = dict.fromkeys(range(sound.read("poi", None).num_rows), False)
    rewrite(sound, "poi", None, lambda rows: with_values(rows, "is_current", every))
    rewrite(sound, "station_poi_features", None, lambda rows: rows.slice(0, 0))

    assert said(sound, "station_poi_features", "stations") == (
        True,
        "error",
        "There are no points of interest yet.",
    )
