"""What is said of use and surroundings, on lakes whose effects are known since they were put there."""

import datetime as dt
import math
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t as student

from charging_assets.derive.poi_effect import BLOCK_DEGREES, LEAST_BLOCKS, LEAST_STATIONS, poi_effect
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import key_of, table

FIRST = dt.date(2026, 3, 1)
CATEGORIES = ("food_retail", "fuel_car")
GRID = tuple((east, north) for east in range(10) for north in range(8))
Row = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """A station whose points are used alike."""

    id_cs: int
    city: str | None = "Köln"
    power_class: str | None = "AC 11-22"
    near: frozenset[str] = frozenset()
    events: int = 20
    """Per point, in all days."""
    occupied: float = 0.2
    """Share of observed time."""
    observed: float = 1.0
    """Share of all time."""
    points: int = 2
    place: tuple[float, float] = (7.0, 51.0)


def sites(
    count: int = 400, *, factor: float = 1.0, cities: Sequence[str] = ("Köln", "Bonn"), seed: int = 1
) -> list[Site]:
    """Stations that differ by chance; those with a food shop nearby are used `factor` times as much."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        near = frozenset(name for name in CATEGORIES if rng.random() < 0.3)
        busy = rng.lognormal(0, 0.3) * (factor if "food_retail" in near else 1)
        city = cities[number % len(cities)]
        place = 7 + 3 * cities.index(city) + rng.uniform(0, 0.4), 51 + rng.uniform(0, 0.3)
        made.append(
            Site(
                number,
                city,
                "DC 0-50" if rng.random() < 0.3 else "AC 11-22",
                near,
                int(rng.poisson(30 * busy)),
                min(0.1 * busy * rng.lognormal(0, 0.2), 1.0),
                place=place,
            )
        )
    return made


def in_neighbourhoods(seed: int, *, spread: float) -> list[Site]:
    """800 stations in 80 blocks, some busier than others. In some a category is often near, in others hardly ever."""
    rng = np.random.default_rng(seed)
    blocks = [(7 + (0.5 + east) * BLOCK_DEGREES[0], 51 + (0.5 + north) * BLOCK_DEGREES[1]) for east, north in GRID]
    busy, is_full = rng.lognormal(0, spread, len(blocks)), rng.random((len(blocks), len(CATEGORIES))) < 0.5
    made = []
    for number in range(800):
        block = number % len(blocks)
        near = frozenset(
            name
            for name, full in zip(CATEGORIES, is_full[block], strict=True)
            if rng.random() < (0.85 if full else 0.1)
        )
        its_own = busy[block] * rng.lognormal(0, 0.3)
        made.append(
            Site(
                number,
                near=near,
                events=int(rng.poisson(30 * its_own)),
                occupied=min(0.1 * its_own, 1.0),
                place=blocks[block],
            )
        )
    return made


def put(lake: Lake, sites: Sequence[Site], *, days: int = 4, first: dt.date = FIRST) -> None:
    """Write what `poi_effect` reads; the events of all days fall on the first."""
    stations = list({site.id_cs: site for site in sites}.values())
    places = [{"id_cs": s.id_cs, "longitude": s.place[0], "latitude": s.place[1]} for s in stations]
    write(lake, "charging_station", None, places)
    points = points_of(sites)
    write(lake, "charging_point", None, [{"id_cp": id_cp, "id_cs": site.id_cs} for id_cp, site in points])
    write(
        lake,
        "station_poi_features",
        None,
        [
            {"id_cs": site.id_cs, "poi_category": name, "count_100m": int(name in site.near), "count_500m": 5}
            for site in stations
            for name in CATEGORIES
        ],
    )
    for number in range(days):
        put_day(lake, first + dt.timedelta(days=number), points, has_events=number == 0)


def points_of(sites: Sequence[Site]) -> list[tuple[str, Site]]:
    """Points by their ids; sites of one station have its points one after the other."""
    numbers: Counter[int] = Counter()
    points = []
    for site in sites:
        for _ in range(site.points):
            numbers[site.id_cs] += 1
            points.append((f"P{site.id_cs:05}-{numbers[site.id_cs]}", site))
    return points


def put_day(lake: Lake, date: dt.date, points: Sequence[tuple[str, Site]], *, has_events: bool = True) -> None:
    rows = []
    for id_cp, site in points:
        observed = int(86_400 * site.observed)
        occupied = int(observed * site.occupied)
        rows.append(
            {
                "scope": "point",
                "scope_id": id_cp,
                "query_date": date,
                "city": site.city,
                "power_class": site.power_class,
                "events": site.events if has_events else 0,
                "occupied_s": occupied,
                "free_s": observed - occupied,
                "unknown_s": 86_400 - observed,
            }
        )
    # What is not of points counts nowhere, whatever it is called.
    rows.append({**rows[0], "scope": "feed", "events": 10**6})
    write(lake, "kpi_daily", date, rows)


def write(lake: Lake, name: str, date: dt.date | None, rows: Sequence[Row]) -> None:
    """Replace a partition; what rows do not say is null, 0, false or empty."""
    schema = arrow_schema(name)
    rows = sorted(rows, key=lambda row: tuple(row[key] for key in key_of(table(name)) if key in row))
    given = {key for row in rows for key in row}
    arrays = [
        pa.array([row.get(field.name, 0) for row in rows]).cast(field.type)
        if field.name in given
        else blank(field, len(rows))
        for field in schema
    ]
    lake.write(name, date, pa.Table.from_arrays(arrays, schema=schema))


def blank(field: pa.Field, rows: int) -> pa.Array:
    is_text = pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
    return pa.repeat(pa.scalar(None if field.nullable else "" if is_text else 0), rows).cast(field.type)


def effects(lake: Lake) -> dict[tuple[str, str], Row]:
    """The rows by outcome and term; they are such as the lake takes, without any NaN, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = poi_effect(lake)
    lake.write("poi_effect", None, made)
    rows = made.to_pylist()
    for row in rows:
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float)), row
        is_estimated = row["rate_ratio"] is not None
        assert is_estimated or row["remark"]
        for name in ("rate_ratio_low", "rate_ratio_high", "p_value"):
            assert (row[name] is not None) == is_estimated
        assert is_estimated or not row["is_finding"]
        assert not is_estimated or row["rate_ratio_low"] <= row["rate_ratio"] <= row["rate_ratio_high"]
        assert row["points_with"] <= row["points"]
    return {(row["outcome"], row["term"]): row for row in rows}


def of_terms(rows: dict[tuple[str, str], Row], term: str) -> list[Row]:
    return [rows["events", term], rows["utilization", term]]


# -- what is there is found ------------------------------------------------------------------------------------------


def test_what_is_there_is_found_and_what_is_not_is_not(lake: Lake) -> None:
    put(lake, sites(factor=1.8))
    rows = effects(lake)
    assert list(rows) == [
        (outcome, term)
        for outcome in ("events", "utilization")
        for term in ("poi:food_retail", "poi:fuel_car", "power:DC 0-50")
    ]
    for row in of_terms(rows, "poi:food_retail"):
        assert row["is_finding"]
        assert row["rate_ratio_low"] < 1.8 < row["rate_ratio_high"]
        assert row["rate_ratio_high"] / row["rate_ratio_low"] < 1.25
        assert row["skill"] > 0.1
        assert row["remark"] is None
    for row in (*of_terms(rows, "poi:fuel_car"), *of_terms(rows, "power:DC 0-50")):
        assert not row["is_finding"]
        assert row["rate_ratio_low"] < 1 < row["rate_ratio_high"]


def test_a_row_says_what_it_is_of(lake: Lake) -> None:
    made = sites()
    put(lake, made, days=5)
    row = effects(lake)["events", "poi:food_retail"]
    assert (row["points"], row["stations"], row["point_days"]) == (800, 400, 4000)
    assert row["points_with"] == 2 * sum("food_retail" in site.near for site in made)
    assert (row["first_date"], row["last_date"]) == (FIRST, FIRST + dt.timedelta(days=4))
    assert row["reference"] == "none within 100 m"
    assert row["family"] == "negative_binomial"
    assert effects(lake)["events", "power:DC 0-50"]["reference"] == "AC 11-22"


def test_without_any_effect_nothing_is_found(lake: Lake) -> None:
    put(lake, sites())
    assert not any(row["is_finding"] for row in effects(lake).values())


def test_power_is_told_apart_from_surroundings(lake: Lake) -> None:
    """Fast chargers, used three times as much, stand near fuel stations more often."""
    rng = np.random.default_rng(2)
    made = []
    for site in sites(factor=1.5):
        is_fast = rng.random() < (0.7 if "fuel_car" in site.near else 0.2)
        power = "DC 50-150" if is_fast else "AC 11-22"
        made.append(replace(site, power_class=power, events=site.events * (3 if is_fast else 1)))
    put(lake, made)
    rows = effects(lake)
    fast, fuel = rows["events", "power:DC 50-150"], rows["events", "poi:fuel_car"]
    assert fast["is_finding"]
    assert fast["rate_ratio_low"] < 3 < fast["rate_ratio_high"]
    assert not fuel["is_finding"]
    assert abs(fuel["rate_ratio"] - 1) < 0.15


def test_a_busy_city_full_of_shops_is_no_effect_of_shops(lake: Lake) -> None:
    made = []
    for number, site in enumerate(sites()):
        is_large = site.city == "Köln"
        has_shop = number % 10 < (8 if is_large else 2)
        near = frozenset({"food_retail"}) if has_shop else frozenset()
        made.append(replace(site, near=near, events=site.events * (3 if is_large else 1)))
    put(lake, made)
    row = effects(lake)["events", "poi:food_retail"]
    assert row["rate_ratio_low"] < 1 < row["rate_ratio_high"]


def test_what_was_observed_half_as_long_counts_per_day_observed(lake: Lake) -> None:
    made = [replace(s, observed=0.5, events=s.events // 2) if "food_retail" in s.near else s for s in sites()]
    put(lake, made)
    for row in of_terms(effects(lake), "poi:food_retail"):
        assert row["rate_ratio_low"] < 1 < row["rate_ratio_high"]
    assert row["point_days"] == pytest.approx(sum(8 * site.observed for site in made))


def test_more_points_at_a_station_do_not_make_it_more_certain(lake: Lake, tmp_path: Path) -> None:
    put(lake, sites(factor=1.5))
    few = effects(lake)["utilization", "poi:food_retail"]
    other = Lake(str(tmp_path / "other"), tmp_path / "other-home")
    put(other, [replace(site, points=20) for site in sites(factor=1.5)])
    many = effects(other)["utilization", "poi:food_retail"]
    assert many["points"] == 10 * few["points"]
    width = [math.log(row["rate_ratio_high"] / row["rate_ratio_low"]) for row in (few, many)]
    assert width[1] == pytest.approx(width[0], rel=0.2)


def test_points_of_two_powers_at_a_station_are_not_two_stations(lake: Lake, tmp_path: Path) -> None:
    """Each station is as busy by fast as by slow charging, so the second half tells nothing new."""
    slow = [replace(site, power_class="AC 11-22") for site in sites(factor=1.5)]
    put(lake, slow)
    other = Lake(str(tmp_path / "other"), tmp_path / "other-home")
    put(other, [*slow, *(replace(site, power_class="DC 0-50") for site in slow)])
    one, both = (effects(each)["events", "poi:food_retail"] for each in (lake, other))
    assert (both["points"], both["stations"]) == (2 * one["points"], one["stations"])
    assert both["rate_ratio"] == pytest.approx(one["rate_ratio"], rel=0.01)
    assert both["rate_ratio_low"] == pytest.approx(one["rate_ratio_low"], rel=0.01)


def test_stations_that_are_as_their_neighbours_tell_nothing_new(lake: Lake, tmp_path: Path) -> None:
    made = in_neighbourhoods(1, spread=0.3)
    put(lake, made)
    other = Lake(str(tmp_path / "other"), tmp_path / "other-home")
    put(other, [*made, *(replace(site, id_cs=site.id_cs + len(made)) for site in made)])
    one, both = (effects(each)["events", "poi:food_retail"] for each in (lake, other))
    assert both["stations"] == 2 * one["stations"]
    for name in ("rate_ratio", "rate_ratio_low", "rate_ratio_high"):
        assert both[name] == pytest.approx(one[name], rel=0.01)


def test_neighbourhoods_that_are_busy_for_reasons_of_their_own_do_not_narrow_intervals(lake: Lake) -> None:
    """Stations that are taken as strangers to each other would have 1 in two thirds of these intervals."""
    holds_one = []
    for seed in range(10):
        put(lake, in_neighbourhoods(seed, spread=0.8), days=1)
        rows = effects(lake).values()
        assert not any(row["is_finding"] for row in rows)
        holds_one += [row["rate_ratio_low"] < 1 < row["rate_ratio_high"] for row in rows]
    assert len(holds_one) == 40
    assert np.mean(holds_one) >= 0.9


def test_p_values_are_corrected_for_how_many_there_are(lake: Lake) -> None:
    made = sites(factor=1.1)
    put(lake, made)
    rows = list(effects(lake).values())
    blocks = {tuple(np.floor(np.divide(site.place, BLOCK_DEGREES)).tolist()) for site in made}
    t = student(len(blocks) - 1)
    raw = []
    for row in rows:
        error = math.log(row["rate_ratio_high"] / row["rate_ratio_low"]) / (2 * t.ppf(0.975))
        raw.append(2 * t.sf(abs(math.log(row["rate_ratio"])) / error))
    order = np.argsort(raw)
    expected = np.minimum(np.maximum.accumulate(np.array(raw)[order] * np.arange(len(rows), 0, -1)), 1)
    assert raw[order[0]] > 1e-5
    assert [rows[number]["p_value"] for number in order] == pytest.approx(expected.tolist(), rel=0.02)


def test_what_does_not_help_to_predict_other_places_is_no_finding(lake: Lake) -> None:
    """Fuel stations go with much use in two blocks and with little in ten: surroundings predict worse than none."""
    rng = np.random.default_rng(0)
    made = []
    for site in in_neighbourhoods(0, spread=0.0):
        block = site.id_cs % len(GRID)
        near = frozenset({"fuel_car"} if block < 12 else ()) | frozenset({"food_retail"} if rng.random() < 0.5 else ())
        busy = (1.3 if "food_retail" in near else 1) * (7 if block < 2 else 0.15 if block < 12 else 1)
        made.append(replace(site, near=near, events=int(busy * rng.poisson(30 * rng.lognormal(0, 0.2)))))
    put(lake, made)
    row = effects(lake)["events", "poi:food_retail"]
    assert row["p_value"] < 0.01
    assert row["skill"] < -0.05
    assert not row["is_finding"]
    assert "places that were left out" in row["remark"]


def test_counts_that_differ_no_more_than_chance_are_poisson(lake: Lake) -> None:
    put(lake, [replace(site, events=20 + site.id_cs % 3, occupied=0.1 + 0.01 * (site.id_cs % 5)) for site in sites()])
    assert {row["family"] for row in effects(lake).values()} == {"poisson"}


# -- what is used ----------------------------------------------------------------------------------------------------


def test_only_the_last_year_is_used(lake: Lake) -> None:
    made = sites()
    put(lake, made)
    points = points_of([replace(site, events=999) for site in made])
    put_day(lake, FIRST - dt.timedelta(days=362), points)
    before = effects(lake)
    assert next(iter(before.values()))["first_date"] == FIRST
    assert next(iter(before.values()))["point_days"] == 3200

    put_day(lake, FIRST - dt.timedelta(days=361), points)
    after = next(iter(effects(lake).values()))
    assert (after["first_date"], after["point_days"]) == (FIRST - dt.timedelta(days=361), 4000)


def test_points_of_which_too_little_is_known_are_left_out(lake: Lake) -> None:
    made = sites(100)
    put(
        lake,
        [
            *made,
            Site(900, power_class=None),
            Site(901, observed=0.0),
            Site(902, city=None),
        ],
    )
    points = [("stranger", Site(1)), *points_of(made)]
    put_day(lake, FIRST + dt.timedelta(days=4), points)
    features = lake.read("station_poi_features", None)
    lake.write("station_poi_features", None, features.filter(pa.compute.not_equal(features["id_cs"], 0)))

    row = next(iter(effects(lake).values()))
    assert row["stations"] == 100  # without station 0, of whose surroundings nothing is known, and with 902
    assert row["points"] == 200


def test_a_point_whose_power_changed_counts_once_with_its_last(lake: Lake) -> None:
    made = sites()
    put(lake, made)
    upgraded = [replace(site, power_class="DC 150+") if site.power_class == "DC 0-50" else site for site in made]
    put_day(lake, FIRST + dt.timedelta(days=4), points_of(upgraded))
    rows = effects(lake)
    assert rows["events", "power:DC 150+"]["points"] == 800
    assert ("events", "power:DC 0-50") not in rows


# -- where little can be said ---------------------------------------------------------------------------------------


def test_of_an_empty_lake_nothing_is_said(lake: Lake) -> None:
    assert poi_effect(lake) == arrow_schema("poi_effect").empty_table()


@pytest.mark.parametrize("missing", ["charging_station", "charging_point", "station_poi_features"])
def test_without_one_of_the_tables_nothing_is_said(lake: Lake, missing: str) -> None:
    put(lake, sites(50))
    lake.write(missing, None, arrow_schema(missing).empty_table())
    assert poi_effect(lake) == arrow_schema("poi_effect").empty_table()


def test_where_nothing_was_observed_nothing_is_said(lake: Lake) -> None:
    put(lake, [replace(site, observed=0.0, events=0) for site in sites(50)])
    assert effects(lake) == {}


@pytest.mark.parametrize("count", [1, 2, 15, 39])
def test_too_few_stations_tell_nothing(lake: Lake, count: int) -> None:
    put(lake, sites(count))
    rows = effects(lake)
    assert ("events", "poi:food_retail") in rows
    for row in rows.values():
        assert row["rate_ratio"] is None
        assert f"Expected at least {LEAST_STATIONS} stations" in row["remark"]


def test_a_category_that_hardly_any_or_nearly_every_station_has_is_left_out(lake: Lake) -> None:
    made = []
    for site in sites(200):
        near = {name for name, has in (("food_retail", site.id_cs >= 5), ("fuel_car", site.id_cs < 7)) if has}
        made.append(replace(site, near=frozenset(near)))
    put(lake, made)
    rows = effects(lake)
    assert rows["events", "poi:food_retail"]["remark"] == "Expected at least 20 stations without it, there are 5."
    assert rows["events", "poi:fuel_car"]["remark"] == "Expected at least 20 stations with it, there are 7."
    assert rows["events", "poi:fuel_car"]["points_with"] == 14
    assert rows["events", "power:DC 0-50"]["rate_ratio"] is not None


def test_the_points_of_a_rare_power_class_are_in_no_model(lake: Lake) -> None:
    put(lake, [replace(site, power_class="AC 22-43") if site.id_cs < 5 else site for site in sites(200)])
    rows = effects(lake)
    rare = rows["events", "power:AC 22-43"]
    assert (rare["rate_ratio"], rare["points"], rare["points_with"]) == (None, 390, 0)
    assert rare["remark"] == "Expected at least 20 stations with it, there are 5. Its points are in no model."


def test_in_one_city_there_is_an_estimate_and_in_one_place_there_is_none(lake: Lake) -> None:
    made = sites(factor=2.0, cities=("Köln",))
    put(lake, made)
    assert effects(lake)["events", "poi:food_retail"]["is_finding"]

    put(lake, [replace(site, place=(7.01, 51.01)) for site in made])
    row = effects(lake)["events", "poi:food_retail"]
    assert row["rate_ratio"] is None
    assert row["remark"] == "Expected stations with it in at least 10 blocks of about 5 km, they are in 1."


@pytest.mark.parametrize("is_with", [True, False])
def test_a_category_of_fewer_than_ten_neighbourhoods_is_left_out(lake: Lake, is_with: bool) -> None:
    made = in_neighbourhoods(1, spread=0.3)
    for blocks, is_estimated in ((LEAST_BLOCKS, True), (LEAST_BLOCKS - 1, False)):
        near = frozenset({"fuel_car"})
        chosen = [
            replace(s, near=s.near - near | (near if (s.id_cs % len(GRID) < blocks) == is_with else set()))
            for s in made
        ]
        put(lake, chosen, days=1)
        row = effects(lake)["events", "poi:fuel_car"]
        assert (row["rate_ratio"] is not None) == is_estimated
    which = "with it" if is_with else "without it"
    assert row["remark"] == f"Expected stations {which} in at least 10 blocks of about 5 km, they are in 9."


def test_what_is_told_of_ten_neighbourhoods_is_told_with_care(lake: Lake) -> None:
    """Nothing is there to be found. Stations that are taken as strangers have 1 in a quarter of these intervals."""
    holds_one = []
    for seed in range(10):
        made = in_neighbourhoods(seed, spread=0.8)
        near = {True: frozenset({"fuel_car"}), False: frozenset[str]()}
        put(lake, [replace(site, near=near[site.id_cs % len(GRID) < LEAST_BLOCKS]) for site in made], days=1)
        rows = effects(lake)
        holds_one += [row["rate_ratio_low"] < 1 < row["rate_ratio_high"] for row in of_terms(rows, "poi:fuel_car")]
    assert len(holds_one) == 20
    assert np.mean(holds_one) >= 0.85


def test_cities_of_few_stations_are_one(lake: Lake) -> None:
    put(lake, sites(factor=1.8, cities=[f"town {number}" for number in range(100)]))
    row = effects(lake)["events", "poi:food_retail"]
    assert row["rate_ratio_low"] < 1.8 < row["rate_ratio_high"]


def test_a_city_where_nothing_ever_happened_does_no_harm(lake: Lake) -> None:
    made = sites(factor=1.8, cities=("Köln", "Bonn", "Neuss"))
    put(lake, [replace(site, events=0, occupied=0.0) if site.city == "Neuss" else site for site in made])
    for row in of_terms(effects(lake), "poi:food_retail"):
        assert row["rate_ratio"] is not None


def test_where_nothing_ever_happened_no_ratio_is_told(lake: Lake) -> None:
    put(lake, [replace(site, events=0, occupied=0.0) for site in sites()])
    for row in effects(lake).values():
        assert row["rate_ratio"] is None
        assert "Nothing ever happened" in row["remark"]


def test_occupied_time_without_any_event_that_ended_still_has_a_ratio(lake: Lake) -> None:
    put(lake, [replace(site, events=0) for site in sites(factor=1.8)])
    rows = effects(lake)
    assert rows["events", "poi:food_retail"]["rate_ratio"] is None
    row = rows["utilization", "poi:food_retail"]
    assert row["rate_ratio_low"] < 1.8 < row["rate_ratio_high"]


def test_where_nothing_happened_with_a_term_it_has_no_ratio_and_the_others_do(lake: Lake) -> None:
    put(lake, [replace(site, events=0) if "fuel_car" in site.near else site for site in sites()])
    rows = effects(lake)
    assert rows["events", "poi:fuel_car"]["remark"] == "Nothing ever happened at the stations with it."
    assert rows["events", "poi:food_retail"]["rate_ratio"] is not None
    assert rows["utilization", "poi:fuel_car"]["rate_ratio"] is not None


def test_points_that_are_used_all_alike_have_no_interval_and_so_no_ratio(lake: Lake) -> None:
    put(lake, [replace(site, events=20, occupied=0.25) for site in sites()])
    for row in effects(lake).values():
        assert row["rate_ratio"] is None
        assert "too much alike" in row["remark"]


def test_categories_that_always_come_together_are_not_told_apart(lake: Lake) -> None:
    made = [replace(site, near=frozenset(CATEGORIES if "food_retail" in site.near else ())) for site in sites()]
    put(lake, made)
    rows = effects(lake)
    for term in ("poi:food_retail", "poi:fuel_car"):
        assert rows["events", term]["rate_ratio"] is None
        assert "nothing tells them apart" in rows["events", term]["remark"]
    assert rows["events", "power:DC 0-50"]["rate_ratio"] is not None


def test_a_category_that_all_of_one_city_have_is_not_told_apart_from_the_city(lake: Lake) -> None:
    put(lake, [replace(s, near=frozenset({"fuel_car"} if s.city == "Bonn" else ())) for s in sites()])
    assert "nothing tells them apart" in effects(lake)["events", "poi:fuel_car"]["remark"]


def test_one_extreme_station_gives_no_error(lake: Lake) -> None:
    made = sites()
    put(lake, [replace(made[0], events=10**8), *(replace(site, events=0) for site in made[1:])])
    for row in effects(lake).values():
        assert not row["is_finding"]


_IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
from charging_assets.derive.poi_effect import poi_effect
from charging_assets.lake import Lake
print(poi_effect(Lake(sys.argv[1], Path(sys.argv[2])))["remark"].to_pylist())
"""


def test_nothing_is_written_to_stderr_also_by_who_loads_statsmodels_first(lake: Lake, tmp_path: Path) -> None:
    """One station is so far off that the iterations for events do not end, which statsmodels warns of."""
    made = sites(100)
    put(lake, [replace(made[0], events=10**6), *made[1:]], days=1)
    command = [sys.executable, "-c", _IN_A_NEW_PROCESS, str(tmp_path / "lake"), str(tmp_path / "home")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "far off all others" in done.stdout
    assert done.stderr == ""


def test_the_same_figures_give_the_same_rows_in_whichever_order(lake: Lake, tmp_path: Path) -> None:
    put(lake, sites(factor=1.3))
    other = Lake(str(tmp_path / "other"), tmp_path / "other-home")
    put(other, sites(factor=1.3)[::-1])
    assert poi_effect(lake).equals(poi_effect(other))
    assert poi_effect(lake).equals(poi_effect(lake))
