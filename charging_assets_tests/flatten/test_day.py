"""A day of raw answers becomes four tables that balance."""

import copy
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charging_assets.flatten.day import TABLES, flatten_day
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets_tests.chargecloud_answers import answer, city, connector, evse, location

DAY = dt.date(2024, 10, 23)
START = dt.datetime(2024, 10, 22, 22, tzinfo=dt.UTC)


def keep(lake: Lake, number: int, *answers: Answer, poll_id: str | None = None, source: str = "chargecloud") -> None:
    """Put a poll into the lake: the `number`th ten minutes of the day."""
    poll = Poll(poll_id or f"poll{number:04d}", START + dt.timedelta(minutes=10 * number), 600, source)
    lake.raw.import_answers(poll, answers)


def build(lake: Lake) -> dict[str, pa.Table]:
    """Flatten and publish the day; returns what then stands in the lake."""
    for staged in flatten_day(lake, DAY).values():
        lake.publish(staged)
    return {name: lake.read(name, DAY) for name in TABLES}


def ok(feed: str, body: bytes, **more: Any) -> Answer:
    return Answer(feed, body, http_status=200, attempts=1, bytes_total=len(body), **more)


def test_the_real_answer_gives_its_known_counts(lake: Lake, real_answer: bytes) -> None:
    keep(lake, 80, ok("SW-Stuttgart", real_answer))
    tables = build(lake)
    points = tables["status_chargingpoints"]
    assert Counter(points["status_cp"].to_pylist()) == {
        "AVAILABLE": 404,
        "CHARGING": 109,
        "OUTOFORDER": 8,
        "UNKNOWN": 2,
    }
    assert tables["status_connectors"].num_rows == 526
    assert tables["rejected_records"].num_rows == 0
    (log,) = tables["poll_log"].to_pylist()
    assert (log["locations_ok"], log["evses_ok"], log["connectors_ok"]) == (234, 523, 526)
    assert (log["outcome"], log["unknown_keys"]) == ("ok", 0)
    assert log["source_time"] == dt.datetime(2024, 10, 23, 11, 16, 9, tzinfo=dt.UTC)


def test_a_day_without_raw_answers_gives_four_empty_tables(lake: Lake) -> None:
    assert {name: table.num_rows for name, table in build(lake).items()} == dict.fromkeys(TABLES, 0)


def test_rows_carry_the_query_time_origin_and_class(lake: Lake) -> None:
    statuses = ["AVAILABLE", "charging ", "BLOCKED", "INOPERATIVE", "REMOVED", "UNKNOWN", "BROKEN?", None, 7]
    points = [evse(f"E{n}", status, [], parkingsensor_status="OCCUPIED") for n, status in enumerate(statuses)]
    keep(lake, 3, ok("koeln", answer(location("1", points))))
    table = build(lake)["status_chargingpoints"]
    assert table["status_cp"].to_pylist() == [*statuses[:-1], "7"]
    classes = ["free", "occupied", "occupied", "fault", "gone", "unknown", "unknown", "unknown", "unknown"]
    assert table["status_class"].to_pylist() == classes
    assert set(table["status_parkingsensor"].to_pylist()) == {"OCCUPIED"}
    first = table.slice(0, 1).to_pylist()[0]
    assert first["query_time"] == START + dt.timedelta(minutes=30)
    assert (first["query_date"], first["source"], first["feed"]) == (DAY, "chargecloud", "koeln")


def test_an_evse_without_id_falls_back_to_its_uid_and_without_both_is_rejected_with_its_connectors(lake: Lake) -> None:
    lost = evse(" ", connectors=[connector("a"), connector("b")])
    del lost["uid"]
    keep(lake, 0, ok("koeln", answer(location("1", [evse(None, connectors=[connector("c")]), lost, evse("E1")]))))
    tables = build(lake)
    assert tables["status_chargingpoints"]["id_chargingpoint"].to_pylist() == ["E1", "uid:9001"]
    assert tables["status_connectors"]["id_connector"].to_pylist() == ["E1-c", "c"]
    (reject,) = tables["rejected_records"].to_pylist()
    assert (reject["level"], reject["path"], reject["connectors_lost"]) == ("evse", "data[0].evses[1]", 2)
    assert "neither a usable id" in reject["reason"]
    assert reject["excerpt"].startswith('{"id":" "')
    (log,) = tables["poll_log"].to_pylist()
    assert (log["evses_in"], log["evses_ok"], log["evses_rejected"]) == (3, 2, 1)
    assert (log["connectors_in"], log["connectors_ok"], log["connectors_rejected"]) == (4, 2, 2)


def test_a_point_answered_by_two_feeds_counts_once_for_the_first_feed_by_name(lake: Lake) -> None:
    keep(
        lake,
        0,
        ok("zirndorf", answer(location("1", [evse("E1", "CHARGING")]))),
        ok("bonn", answer(location("1", [evse("E1", "AVAILABLE")]))),
    )
    tables = build(lake)
    (row,) = tables["status_chargingpoints"].to_pylist()
    assert (row["feed"], row["status_cp"]) == ("bonn", "AVAILABLE")
    log = {row["feed"]: row for row in tables["poll_log"].to_pylist()}
    assert (log["zirndorf"]["evses_duplicate"], log["zirndorf"]["connectors_duplicate"]) == (1, 1)
    assert (log["zirndorf"]["locations_duplicate"], log["bonn"]["evses_duplicate"]) == (1, 0)


def test_two_polls_in_one_second_count_once_and_both_are_logged(lake: Lake) -> None:
    keep(lake, 0, ok("bonn", city(2, "CHARGING")), poll_id="bbbb")
    keep(lake, 0, ok("bonn", city(2, "AVAILABLE")), poll_id="aaaa")
    tables = build(lake)
    assert set(tables["status_chargingpoints"]["status_cp"].to_pylist()) == {"AVAILABLE"}
    assert [(r["poll_id"], r["evses_duplicate"]) for r in tables["poll_log"].to_pylist()] == [("aaaa", 0), ("bbbb", 2)]


def test_failed_and_cut_off_answers_stand_in_the_log_with_their_reason(lake: Lake) -> None:
    keep(
        lake,
        0,
        Answer("a", b"<html>", http_status=503, attempts=4, error="HTTP status 503 after 4 attempts"),
        Answer("b", error="no connection to host:443", attempts=4),
        ok("c", city(3)[:100], is_truncated=True),
        ok("d", b'{"data": []}'),
        ok("e", city(1)),
    )
    tables = build(lake)
    log = {row["feed"]: (row["outcome"], row["reason"]) for row in tables["poll_log"].to_pylist()}
    assert log["a"] == ("failed", "HTTP status 503 after 4 attempts")
    assert log["b"] == ("failed", "no connection to host:443")
    assert log["c"] == ("unreadable", "only the first 100 bytes of the answer were kept")
    assert log["d"][0] == "empty"
    assert log["e"] == ("ok", None)
    assert tables["status_chargingpoints"].num_rows == 1


def test_unknown_keys_are_counted_per_answer_and_named(lake: Lake) -> None:
    odd = location("1", [evse("E1", connectors=[connector("c", plug="x")], lamp=1)], colour="red", size=2)
    keep(lake, 0, ok("bonn", answer(odd, odd | {"id": "2"}, page=1)), ok("koeln", city(1)))
    log = {row["feed"]: row for row in build(lake)["poll_log"].to_pylist()}
    assert log["bonn"]["unknown_keys"] == 9
    assert log["bonn"]["unknown_key_names"] == (
        "connector.plug, envelope.page, evse.lamp, location.colour, location.size"
    )
    assert (log["koeln"]["unknown_keys"], log["koeln"]["unknown_key_names"]) == (0, None)


def test_rejects_come_sorted_and_whole_however_few_are_made_at_a_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, count in enumerate((3, 0, 15, 1, 1)):
        keep(lake, number, ok("bonn", answer(*range(count), location("1"))), ok("koeln", city(1)))
    once = build(lake)["rejected_records"]
    monkeypatch.setattr("charging_assets.flatten.day._REJECTS_ROWS", 2)
    assert build(lake)["rejected_records"].equals(once)
    assert once.num_rows == 20
    assert once["path"].to_pylist()[3:6] == ["data[0]", "data[10]", "data[11]"]


def test_names_of_unknown_keys_are_bounded_and_their_count_is_not(lake: Lake) -> None:
    keep(lake, 0, ok("bonn", answer(location("1", **{f"key{n:04}": n for n in range(3000)}))))
    (log,) = build(lake)["poll_log"].to_pylist()
    assert log["unknown_keys"] == 3000
    assert log["unknown_key_names"].startswith("location.key0000, location.key0001")
    assert len(log["unknown_key_names"]) < 1000


def test_building_twice_and_building_after_compaction_give_the_same_bytes(lake: Lake, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        for staged in flatten_day(lake, DAY).values():
            lake.publish(staged)
        return {str(p): p.read_bytes() for p in (tmp_path / "lake/tables").rglob("*.parquet")}

    for number in range(6):
        status = "CHARGING" if number % 2 else "AVAILABLE"
        bodies = [city(4, status, "A"), city(3, status, "B").replace(b'"E', b'" E')]
        keep(lake, number, *(ok(feed, body) for feed, body in zip("zb", bodies, strict=True)))
    keep(lake, 2, ok("z", city(4, "OUTOFORDER", "A")), poll_id="late")
    first = files()
    assert len(first) == len(TABLES)
    assert files() == first
    assert lake.raw.compact(DAY) is not None
    assert files() == first


def test_only_the_tables_asked_for_are_staged(lake: Lake) -> None:
    keep(lake, 0, ok("a", city(2)), ok("b", city(2)))
    flattened = flatten_day(lake, DAY, ["poll_log"])
    assert list(flattened) == ["poll_log"]
    lake.publish(flattened["poll_log"])
    assert lake.read("poll_log", DAY)["evses_duplicate"].to_pylist() == [0, 2]


def test_a_source_without_a_reader_is_logged_and_stops_nothing(lake: Lake) -> None:
    keep(lake, 0, ok("bonn", city(1)), source="telepathy")
    keep(lake, 1, ok("bonn", city(1)))
    tables = build(lake)
    assert tables["poll_log"]["outcome"].to_pylist() == ["unexpected", "ok"]
    assert "no reader for the source 'telepathy'" in tables["poll_log"]["reason"][0].as_py()
    assert tables["status_chargingpoints"].num_rows == 1


# -- the conservation law, on generated damage ----------------------------------------------------------------------

_BAD_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["", " ", "\x00", "E1", 5, [], {}, [[]], ["x"], [None, {}], {"a": 1}, "AVAILABLE"]),
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key or index in it, at any depth."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else []:
        yield value, key
        yield from _places(value[key])


@st.composite
def _damaged(draw: st.DrawFn) -> list[Any]:
    """Locations in which some values were replaced, keys removed and records doubled."""
    locations: list[Any] = []
    for n in range(draw(st.integers(0, 4))):
        points = [
            evse(f"E{n}-{i}", "CHARGING", [connector(f"{n}{i}{c}") for c in range(draw(st.integers(0, 2)))])
            for i in range(draw(st.integers(0, 3)))
        ]
        locations.append(location(str(n), points))
    for _ in range(draw(st.integers(0, 6))):
        places = list(_places(locations))
        if not places:
            break
        target, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 3)), target:
            case 0, dict():
                del target[key]
            case 1, list():
                target.insert(key, json.loads(json.dumps(target[key])))
            case _:
                target[key] = copy.deepcopy(draw(_BAD_VALUE))  # lists are edited in place later on
    return locations


def _usable(value: Any) -> str | None:
    """The rule for ids, written down a second time: whole numbers and printable, non-blank texts."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and value.strip().isprintable():
        return value.strip()
    return None


def _records(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _expected(locations: list[Any]) -> tuple[Counter[str], dict[str, str | None], set[str]]:
    """In and rejected records per level, the first status of each point, and the connectors, by plain Python."""
    count: Counter[str] = Counter()
    points: dict[str, str | None] = {}
    plugs: set[str] = set()
    for place in locations:
        count["locations_in"] += 1
        if not isinstance(place, dict) or _usable(place.get("id")) is None:
            count["locations_rejected"] += 1
        for point in _records(place.get("evses")) if isinstance(place, dict) else []:
            count["evses_in"] += 1
            connectors = _records(point.get("connectors")) if isinstance(point, dict) else []
            count["connectors_in"] += len(connectors)
            id_ = _usable(point.get("id")) if isinstance(point, dict) else None
            if id_ is None and isinstance(point, dict) and _usable(point.get("uid")):
                id_ = f"uid:{_usable(point['uid'])}"
            if id_ is None:
                count["evses_rejected"] += 1
                count["connectors_rejected"] += len(connectors)
                continue
            points.setdefault(id_, point.get("status"))
            for plug in connectors:
                if isinstance(plug, dict) and _usable(plug.get("id")) is not None:
                    plugs.add(_usable(plug["id"]) or "")
                else:
                    count["connectors_rejected"] += 1
    return count, points, plugs


_SERIAL = iter(range(10**9))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_damaged(), min_size=1, max_size=3))
def test_records_in_are_rows_out_plus_rejected_plus_duplicates(tmp_path: Path, polls: list[list[Any]]) -> None:
    serial = next(_SERIAL)
    lake = Lake(str(tmp_path / f"lake{serial}"), tmp_path / "home")
    for number, locations in enumerate(polls):
        keep(lake, number, ok("bonn", answer(*locations)))
    tables = build(lake)
    log = sorted(tables["poll_log"].to_pylist(), key=lambda row: row["query_time"])
    for row, locations in zip(log, polls, strict=True):
        count, points, plugs = _expected(json.loads(json.dumps(locations)))
        now = pc.field("query_time") == pa.scalar(row["query_time"])
        facts = tables["status_chargingpoints"].filter(now)
        got = dict(zip(facts["id_chargingpoint"].to_pylist(), facts["status_cp"].to_pylist(), strict=True))
        assert got.keys() == points.keys()
        assert all(got[p] == s for p, s in points.items() if s is None or (isinstance(s, str) and s.isprintable()))
        assert set(tables["status_connectors"].filter(now)["id_connector"].to_pylist()) == plugs
        out = {"evses": facts.num_rows, "connectors": tables["status_connectors"].filter(now).num_rows}
        for level in ("locations", "evses", "connectors"):
            assert row[f"{level}_in"] == count[f"{level}_in"]
            assert row[f"{level}_rejected"] == count[f"{level}_rejected"]
            assert row[f"{level}_in"] == sum(row[f"{level}_{fate}"] for fate in ("ok", "rejected", "duplicate"))
            assert row[f"{level}_ok"] == out.get(level, row[f"{level}_ok"])
        rejects = tables["rejected_records"].filter(now).to_pylist()
        assert sum(r["level"] == "location" for r in rejects) == count["locations_rejected"]
        assert sum(r["level"] == "evse" for r in rejects) == count["evses_rejected"]
        explained = sum(r["level"] == "connector" for r in rejects) + sum(r["connectors_lost"] for r in rejects)
        assert explained == count["connectors_rejected"]
        assert all(r["reason"] and r["path"] for r in rejects)
