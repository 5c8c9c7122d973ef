"""Simulated answers are worded like those of chargecloud."""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from charging_assets.simulator import FEEDS, Simulation, make_world
from charging_assets_tests.simulated import EPOCH, small_simulation

NOON = EPOCH + dt.timedelta(days=20, hours=11)


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What all 38 feeds answer at a time."""
    simulation = Simulation(make_world(1, EPOCH))
    return {feed: json.loads(simulation.answer(feed, NOON)) for feed in FEEDS}


def locations(answers: dict[str, Any]) -> list[Any]:
    return [location for answer in answers.values() for location in answer["data"]]


def evses(answers: dict[str, Any]) -> list[Any]:
    return [evse for location in locations(answers) for evse in location["evses"]]


def described(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, JSON type) of everything in a value; an object's type is the set of its keys."""
    if isinstance(value, dict):
        yield path, ",".join(sorted(value))
        for key, child in value.items():
            yield from described(child, f"{path}.{key}")
    elif isinstance(value, list):
        yield path, "list"
        for child in value:
            yield from described(child, f"{path}[]")
    else:
        yield path, type(value).__name__


def shape(*values: Any) -> dict[str, set[str]]:
    types: dict[str, set[str]] = defaultdict(set)
    for value in values:
        for path, kind in described(value):
            types[path].add(kind)
    return dict(types)


def test_keys_and_types_are_those_of_the_captured_answer(real_answer: bytes, answers: dict[str, Any]) -> None:
    real, simulated = shape(json.loads(real_answer)), shape(*answers.values())
    for path in (".data[].opening_times.regular_hours", ".data[].evses[].chargePointPosition"):
        for deeper in [known for known in simulated if known.startswith(path)]:
            del simulated[deeper]  # known from other feeds, not in this capture
    simulated[".data[].evses[].chargePointPosition"] = {"NoneType"}
    assert simulated.pop(".data[].opening_times") == {"twentyfourseven", "regular_hours,twentyfourseven"}
    assert real.pop(".data[].opening_times") == {"twentyfourseven"}
    assert simulated == real


def test_all_points_and_connectors_are_answered(answers: dict[str, Any]) -> None:
    points = evses(answers)
    assert len(points) == 2_423
    assert sum(len(evse["connectors"]) for evse in points) == 2_806


def test_the_quirks_of_the_api_occur(answers: dict[str, Any]) -> None:
    stations, points = locations(answers), evses(answers)
    for field in ("name", "address", "city"):
        assert 0 < sum(station[field].endswith(" ") for station in stations) < len(stations) / 2
    assert any("\r\n" in station["directions"] for station in stations)
    assert any(len(point["floor_level"]) > 100 for point in points)
    assert {point["chargingStationPosition"] for point in points} == {None, " "}
    assert {point["chargePointPosition"] for point in points} == {None, "links"}
    assert any("regular_hours" in station["opening_times"] for station in stations)
    hotlines = {tuple(station["operator"].values()) for station in stations}
    assert len(hotlines) > len({operator for operator, _, _ in hotlines})
    coordinates = [tuple(station["coordinates"].values()) for station in stations]
    assert 0 < len(coordinates) - len(set(coordinates)) < len(stations) / 10
    standards = {plug["standard"] for point in points for plug in point["connectors"]}
    assert standards == {"IEC_62196_T2", "IEC_62196_T2_COMBO", "CHADEMO", "DOMESTIC_F"}


def test_statuses_are_those_of_the_capture_and_the_inoperative(answers: dict[str, Any]) -> None:
    points = evses(answers)
    assert {p["status"] for p in points} == {"AVAILABLE", "CHARGING", "OUTOFORDER", "INOPERATIVE", "UNKNOWN"}
    assert all(plug["status"] == point["status"] for point in points for plug in point["connectors"])


def test_reservable_agrees_with_the_capability_and_follows_the_status_of_some_feeds(answers: dict[str, Any]) -> None:
    assert all(point["reservable"] == ("RESERVABLE" in point["capabilities"]) for point in evses(answers))
    following = {
        feed
        for feed, answer in answers.items()
        if all(p["reservable"] == (p["status"] == "AVAILABLE") for p in evses({feed: answer}))
    }
    assert 5 < len(following) < 25


def test_the_timestamp_is_local_with_its_offset() -> None:
    simulation = small_simulation()
    winter, summer = (
        json.loads(simulation.answer("roth", EPOCH + dt.timedelta(days=days)))["timestamp"] for days in (0, 200)
    )
    assert winter == "2026-01-01T01:00:00+01:00"
    assert summer == "2026-07-20T02:00:00+02:00"


def test_an_unknown_feed_is_answered_without_locations() -> None:
    answer = json.loads(small_simulation().answer("atlantis", NOON))
    assert answer["data"] == []
    assert (answer["status_code"], answer["status_message"]) == (1000, "Success")


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    used = small_simulation()
    times = [EPOCH + dt.timedelta(hours=7 * number) for number in range(300)]
    in_order = [used.answer("koeln", time) for time in times]
    assert len(set(in_order)) == len(times)
    assert [used.answer("koeln", time) for time in reversed(times)] == in_order[::-1]
    assert small_simulation().answer("koeln", times[-1]) == in_order[-1]


def test_closed_stations_vanish_from_the_answer_and_opened_ones_appear() -> None:
    simulation = small_simulation()
    closed = next(change for change in simulation.world.changes if change.kind == "closed")
    opened = next(c for c in simulation.world.changes if c.kind == "opened" and c.time == closed.time)
    before, after = (
        {
            location["id"]
            for location in json.loads(simulation.answer(closed.feed, dt.datetime.fromtimestamp(time, dt.UTC)))["data"]
        }
        for time in (closed.time - 1, closed.time)
    )
    assert (before - after, after - before) == ({closed.id_cs}, {opened.id_cs})
