"""What exists in the simulated world, and how it changes."""

import datetime as dt
from collections import Counter

import pytest

from charging_assets.simulator import FEEDS, World, make_world
from charging_assets.simulator.stations import Station
from charging_assets.simulator.world import DAY_S
from charging_assets_tests.simulated import EPOCH, small_world


@pytest.fixture(scope="module")
def germany() -> World:
    return make_world(1, EPOCH)


def stations_at(world: World, day: int) -> list[Station]:
    time = world.start_s + day * DAY_S
    return [version.station for version in world.versions if version.opens <= time < version.closes]


@pytest.mark.parametrize("day", [0, 100, 1000])
def test_there_are_as_many_feeds_points_and_connectors_as_in_reality_at_every_time(germany: World, day: int) -> None:
    stations = stations_at(germany, day)
    points = [point for station in stations for point in station.points]
    connectors = [id_ for point in points for id_, _ in point.connectors]
    assert len(germany.feeds) == 38
    assert len(points) == len({point.evse_id for point in points}) == len({point.uid for point in points}) == 2_423
    assert len(connectors) == len(set(connectors)) == 2_806
    assert len({station.id for station in stations}) == len(stations)
    assert {len(station.points) for station in stations} <= set(range(1, 21))


def test_every_feed_has_points_and_large_towns_have_more(germany: World) -> None:
    sizes = Counter(germany.feeds[feed] for feed in germany.points.feed.tolist())
    assert sizes.keys() == set(FEEDS)
    assert sizes["koeln"] > sizes["kiel"] > sizes["roth"] > 0


def test_stations_stand_around_places_within_10_km_of_their_town(germany: World) -> None:
    for version in germany.versions:
        city, station = germany.towns[version.feed].city, version.station
        assert abs(station.latitude - city.latitude) < 0.1
        assert abs(station.longitude - city.longitude) < 0.16
        assert 47.2 < station.latitude < 55.1
        assert 5.8 < station.longitude < 15.1
    for town in germany.towns:
        assert {place.kind for place in town.places} == {"centre", "mall", "motorway", "residential", "business"}


def test_stations_are_renamed_upgraded_moved_opened_and_closed(germany: World) -> None:
    year = [change for change in germany.changes if change.time < germany.start_s + 365 * DAY_S]
    kinds = Counter(change.kind for change in year)
    assert kinds.keys() == {"renamed", "upgraded", "moved", "opened", "closed"}
    assert kinds["opened"] == kinds["closed"]
    assert all(change.before != change.after for change in year)


def test_an_upgraded_station_keeps_its_ids_and_is_simulated_anew(germany: World) -> None:
    change = next(change for change in germany.changes if change.kind == "upgraded")
    before, after = (
        next(v for v in germany.versions if v.station.id == change.id_cs and v.opens <= time < v.closes)
        for time in (change.time - 1, change.time)
    )
    assert [point.evse_id for point in before.station.points] == [point.evse_id for point in after.station.points]
    assert before.station.points[0].power < after.station.points[0].power
    assert germany.points.closes[before.points].tolist() == germany.points.opens[after.points].tolist()


def test_the_same_arguments_give_the_same_world_and_another_seed_another_one() -> None:
    one, same, other = small_world(1), small_world(1), small_world(2)
    assert one.versions == same.versions
    assert one.changes == same.changes
    assert one.versions != other.versions


def test_arguments_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="midnight in UTC"):
        make_world(1, EPOCH + dt.timedelta(hours=1))
    with pytest.raises(ValueError, match="atlantis"):
        make_world(1, EPOCH, feeds=("atlantis",))
    with pytest.raises(ValueError, match="at least one for each of the 3 feeds, got 2"):
        small_world(points=2)
    with pytest.raises(ValueError, match="connectors: expected 60 to"):
        small_world(points=60, connectors=59)
