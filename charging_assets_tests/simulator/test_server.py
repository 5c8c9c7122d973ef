"""The simulation over HTTP, as the project's own poll sees it, and as `poll_log` names what it saw."""

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest

from charging_assets.calendar import query_date_of, today, utc_now
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.answer import SIMULATOR
from charging_assets.simulator import FAULT_KINDS, FEEDS, SimulatedServer, Simulation, epoch_of, make_world
from charging_assets.sources import ChargecloudSource, chargecloud, poll

SOME = FEEDS[:9]
FAULTY = dict(zip(SOME, FAULT_KINDS, strict=False))
"""A feed for each fault; the last of `SOME` has none."""


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(chargecloud, "BACKOFF_S", 0.01)


def some_simulation(points: int = 360) -> Simulation:
    """A world of nine feeds that is there today."""
    return Simulation(make_world(1, epoch_of(today()), feeds=SOME, points=points, connectors=points))


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    """Nine feeds, five and a half hours of theirs per second."""
    with SimulatedServer(some_simulation(), speed=20_000) as server:
        yield server


def ask(url: str, method: str = "GET", body: bytes | None = None) -> Any:
    with urlopen(Request(url, body, method=method), timeout=20) as response:
        return json.load(response)


def set_fault(server: SimulatedServer, feed: str, fault: str) -> None:
    assert ask(f"{server.url}/_faults", "POST", json.dumps({"feed": feed, "fault": fault}).encode())[feed] == fault


def statuses(server: SimulatedServer, feed: str) -> Mapping[str, str]:
    data = ask(f"{server.url}/{feed}")["data"]
    return {evse["id"]: evse["status"] for location in data for evse in location["evses"]}


def changed(server: SimulatedServer, *feeds: str, until: str) -> list[float]:
    """Watch the feeds until a quarter of the points of `until` have changed; the share of each feed's points then."""
    first = {feed: statuses(server, feed) for feed in {*feeds, until}}
    seen: dict[str, set[str]] = {feed: set() for feed in first}
    end = time.monotonic() + 60
    while len(seen[until]) < len(first[until]) / 4:
        assert time.monotonic() < end, "hardly a status changed"
        for feed, before in first.items():
            seen[feed] |= {point for point, status in statuses(server, feed).items() if before.get(point) != status}
    return [len(seen[feed]) / len(first[feed]) for feed in feeds]


def test_each_fault_shows_in_the_poll_and_in_poll_log(lake: Lake) -> None:
    with SimulatedServer(some_simulation(), faults=FAULTY, slow_s=600) as server:
        result = poll(ChargecloudSource(server.url, (*SOME, "atlantis"), name=SIMULATOR), lake, interval_s=10)
    date = query_date_of(result.poll.query_time)
    for staged in flatten_day(lake, date).values():
        lake.publish(staged)
    log = {row["feed"]: row for row in lake.read("poll_log", date).to_pylist()}
    feed_of = {kind: feed for feed, kind in FAULTY.items()}
    assert {kind: log[feed]["outcome"] for kind, feed in feed_of.items()} == {
        "http_500": "failed",
        "html": "unreadable",
        "truncated": "unreadable",
        "slow": "failed",
        "unknown": "empty",
        **dict.fromkeys(("frozen", "mostly_frozen", "mass_reset"), "ok"),
    }
    assert (log[SOME[-1]]["outcome"], log["atlantis"]["outcome"]) == ("ok", "empty")
    assert "HTTP 500" in result.failed[feed_of["http_500"]]
    assert "HTTP 500" in log[feed_of["http_500"]]["reason"]
    assert log[feed_of["http_500"]]["attempts"] == chargecloud.ATTEMPTS
    assert "no complete answer within" in result.failed[feed_of["slow"]]
    assert log[feed_of["slow"]]["is_truncated"]
    assert not log[feed_of["truncated"]]["is_truncated"], "as far as HTTP can tell it came whole"
    assert {row["source"] for row in log.values()} == {SIMULATOR}
    facts = lake.read("status_chargingpoints", date)
    reset = [row["status_cp"] for row in facts.to_pylist() if row["feed"] == feed_of["mass_reset"]]
    assert set(reset) == {"AVAILABLE"}


def test_answers_are_those_of_the_simulation_at_this_moment() -> None:
    with SimulatedServer(some_simulation()) as server:
        answer = ask(f"{server.url}/{SOME[0]}")
        assert abs(dt.datetime.fromisoformat(answer["timestamp"]) - utc_now()) < dt.timedelta(minutes=1)
        at = dt.datetime.fromisoformat(answer["timestamp"])
        assert answer == json.loads(some_simulation().answer(SOME[0], at))


def test_simulated_time_goes_as_fast_as_told(server: SimulatedServer) -> None:
    first, began = dt.datetime.fromisoformat(ask(f"{server.url}/x")["timestamp"]), time.monotonic()
    while time.monotonic() - began < 0.2:
        later = dt.datetime.fromisoformat(ask(f"{server.url}/x")["timestamp"])
    assert 3_000 < (later - first).total_seconds() < 20_000 * (time.monotonic() - began) + 60


def test_a_frozen_feed_stands_still_until_the_fault_ends(server: SimulatedServer) -> None:
    frozen, alive = SOME[:2]
    set_fault(server, frozen, "frozen")
    assert changed(server, frozen, until=alive) == [0]
    assert ask(f"{server.url}/_faults/{frozen}", "DELETE") == {}
    changed(server, until=frozen)


def test_of_a_mostly_frozen_feed_one_point_in_twenty_is_alive(server: SimulatedServer) -> None:
    mostly, alive = SOME[:2]
    set_fault(server, mostly, "mostly_frozen")
    [share] = changed(server, mostly, until=alive)
    assert share <= 0.1, "one in twenty, rounded up"


def test_a_fault_takes_the_place_of_the_one_before_and_both_are_in_the_truth(
    server: SimulatedServer, tmp_path: Path
) -> None:
    set_fault(server, "bonn", "mass_reset")
    assert set(statuses(server, "bonn").values()) == {"AVAILABLE"}
    end = time.monotonic() + 10
    begun = server.now()
    while server.now() == begun:
        assert time.monotonic() < end
    set_fault(server, "bonn", "http_500")
    with pytest.raises(HTTPError, match="500"):
        ask(f"{server.url}/bonn")
    assert ask(f"{server.url}/_faults") == {"bonn": "http_500"}
    ask(f"{server.url}/_faults/bonn", "DELETE")
    assert set(statuses(server, "bonn").values()) != {"AVAILABLE"}, "the reset went with the fault after it"
    rows = server.write_truth(tmp_path)
    assert (rows["freezes"], rows["served_faults"]) == (1, 2)
    [reset, failed] = pq.read_table(tmp_path / "served_faults.parquet").to_pylist()
    assert (reset["kind"], failed["kind"]) == ("mass_reset", "http_500")
    assert reset["started_at"] < reset["ended_at"] == failed["started_at"]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "_faults", b'{"feed": "atlantis", "fault": "html"}', "'atlantis' cannot fail: expected one of"),
        ("POST", "_faults", b'{"feed": "bonn", "fault": "flood"}', "'flood' is no fault: expected one of http_500"),
        ("POST", "_faults", b'{"feed": "bonn"}', "expected {"),
        ("POST", "_faults", b"[1]", "expected {"),
        ("POST", "_faults", b"feed=bonn", "Expecting value"),
        ("POST", "bonn", b"{}", "expected POST /_faults"),
        ("POST", "_faults", b" " * 10_001, "expected POST /_faults"),
        ("DELETE", "_faults/bonn", None, "'bonn' has no fault"),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence(
    server: SimulatedServer, method: str, path: str, body: bytes | None, expected: str
) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(f"{server.url}/{path}", method, body)
    assert refused.value.code in (400, 404)
    assert expected in json.load(refused.value)["error"]
    assert ask(f"{server.url}/_faults") == {}


def test_all_feeds_answer_in_less_than_two_seconds(lake: Lake) -> None:
    with SimulatedServer(Simulation(make_world(1, epoch_of(today())))) as server:
        source, began = ChargecloudSource(server.url, FEEDS, name=SIMULATOR), time.monotonic()
        result = poll(source, lake, interval_s=600)
        assert time.monotonic() - began < 2
    assert (result.answered, result.failed) == (38, {})


def test_a_port_in_use_is_an_error_before_anything_is_simulated(server: SimulatedServer) -> None:
    simulation = some_simulation()
    with pytest.raises(OSError, match="in use"):
        SimulatedServer(simulation, int(server.url.rpartition(":")[2]))
    assert not simulation._days
