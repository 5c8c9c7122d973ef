"""Effects that are planted in a simulated world: whom they reach, and what becomes of them."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from charging_assets.derive.poi_matching import station_features
from charging_assets.simulator import Simulation, World, make_world, pois_of
from charging_assets.simulator.effects import DISTRICT_DEGREES, Effect, affected, planted, with_districts
from charging_assets.sources.osm.categories import Categories
from charging_assets_tests.simulated import EPOCH, small_simulation, small_world

BUSY = Effect(frozenset({"shop=bakery", "shop=supermarket"}), 100, 1.5)
QUIET = Effect(frozenset({"amenity=parking"}), 50, 0.5)
SPAN = EPOCH, EPOCH + dt.timedelta(days=90)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(1, EPOCH, feeds=("bonn", "kiel", "koeln"), points=600, connectors=640)


def sessions_per_point(world: World) -> np.ndarray:
    return np.bincount(Simulation(world).sessions(*SPAN).point, minlength=len(world.points))


def test_a_world_without_effects_is_what_it_was_before_there_were_any() -> None:
    """The figures are those of the code before effects came in."""
    world = small_world()
    sessions = small_simulation().sessions(EPOCH, EPOCH + dt.timedelta(days=30))
    assert (world.points.demand == 1).all()
    assert len(sessions) == 3_148
    assert (sessions.start - world.start_s).sum() == 4_064_325_619
    assert (sessions.end - sessions.start).sum() == 27_679_055


def test_nothing_else_differs_where_an_effect_is_planted(world: World) -> None:
    other = planted(world, [BUSY])
    assert (other.versions, other.changes, other.seed) == (world.versions, world.changes, world.seed)
    assert [pois_of(other, feed) for feed in range(3)] == [pois_of(world, feed) for feed in range(3)]
    assert (other.points.popularity == world.points.popularity).all()
    assert (planted(world, []).points.demand == 1).all()


def test_an_effect_reaches_the_stations_that_such_a_thing_is_matched_with(world: World) -> None:
    """By the platform's matching, which measures otherwise: on a map and not by a formula."""
    first = {version.points: version.station for version in reversed(world.versions)}
    placed = {points[0]: station for points, station in first.items()}
    columns = [list(placed), *([getattr(s, name) for s in placed.values()] for name in ("longitude", "latitude"))]
    stations = pa.table(columns, names=["id_cs", "longitude", "latitude"])
    things = []
    for feed in range(3):
        town = pois_of(world, feed)
        tags = {feature.id_poi: {f"{key}={value}" for key, value in feature.tags.items()} for feature in town.features}
        for row in town.table(EPOCH).to_pylist():
            id_poi = f"{row['element']}/{row['osm_id']}"
            if tags[id_poi] & BUSY.tags:
                things.append({"id_poi": id_poi, "geom": row["geom"], "poi_category": "shop"})
    features = station_features(stations, pa.Table.from_pylist(things), ["shop"])
    is_near = dict(zip(features["id_cs"].to_pylist(), features["count_100m"].to_numpy() > 0, strict=True))

    is_affected = affected(world, BUSY)

    differing = [point for point, near in is_near.items() if is_affected[point] != near]
    assert 0.2 < np.mean(list(is_near.values())) < 0.8
    assert len(differing) <= 0.01 * len(is_near)  # those at 100 m, and broken shapes that are mended
    for points in first:
        assert len(set(is_affected[points].tolist())) == 1


def test_more_people_come_where_an_effect_is_and_as_many_as_before_elsewhere(world: World) -> None:
    is_affected = affected(world, BUSY)
    with_effect, without = sessions_per_point(planted(world, [BUSY])), sessions_per_point(world)

    ratio = with_effect[is_affected].sum() / without[is_affected].sum()
    elsewhere = with_effect[~is_affected].sum() / without[~is_affected].sum()

    assert 1.25 < ratio < 1.45  # less than half more: a point in use takes nobody
    assert abs(elsewhere - 1) < 0.02


def test_several_effects_multiply(world: World) -> None:
    demand = planted(world, [BUSY, QUIET]).points.demand
    of = {
        (busy, quiet): set(demand[(affected(world, BUSY) == busy) & (affected(world, QUIET) == quiet)].tolist())
        for busy in (False, True)
        for quiet in (False, True)
    }
    assert of == {(False, False): {1.0}, (True, False): {1.5}, (False, True): {0.5}, (True, True): {0.75}}
    assert (planted(planted(world, [BUSY]), [QUIET]).points.demand == demand).all()


def test_people_come_alike_to_all_of_a_district_and_otherwise_to_others(world: World) -> None:
    other = with_districts(world, 0.3, np.random.default_rng(5))
    demand = other.points.demand
    factors, points = np.unique(demand, return_counts=True)
    assert 10 < len(factors) < 50  # in three cities of at most 10 km around
    assert points.max() > 20
    assert 0.15 < np.log(factors).std() < 0.45
    place = np.zeros((len(demand), 2))
    for version in reversed(world.versions):
        place[version.points] = version.station.longitude, version.station.latitude
    for factor in factors:
        extent = np.ptp(place[demand == factor], axis=0)
        assert (extent < DISTRICT_DEGREES).all()
    assert (other.versions, other.changes, other.seed) == (world.versions, world.changes, world.seed)


def test_districts_are_those_of_their_seed_and_multiply_with_effects(world: World) -> None:
    demand = with_districts(world, 0.3, np.random.default_rng(5)).points.demand
    assert (with_districts(world, 0.3, np.random.default_rng(5)).points.demand == demand).all()
    assert (with_districts(world, 0.3, np.random.default_rng(6)).points.demand != demand).any()
    both = with_districts(planted(world, [BUSY]), 0.3, np.random.default_rng(5)).points.demand
    assert both == pytest.approx(demand * np.where(affected(world, BUSY), 1.5, 1))
    assert (world.points.demand == 1).all()


def test_things_that_no_town_has_change_nothing(world: World) -> None:
    assert (planted(world, [Effect(frozenset({"amenity=circus"}), 1000, 9.0)]).points.demand == 1).all()


def test_every_category_can_be_planted(world: World) -> None:
    """Each has things in these towns, near some stations and not near all."""
    categories = Categories.load("default")
    for name in categories.names:
        tags = {f"{key}={value}" for key, value in categories.tags if categories.category_of({key: value}) == name}
        tags |= {"office=company"} if name == "finance_post_work" else set()
        assert 0 < affected(world, Effect(frozenset(tags), 250, 2.0)).mean() < 1, name
