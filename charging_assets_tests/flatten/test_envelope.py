"""What is an answer, what is not, and why - whatever way it is read."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_assets.flatten.chargecloud import ChargecloudReader
from charging_assets.flatten.pieces import Pieces
from charging_assets.flatten.reading import Reading
from charging_assets_tests.chargecloud_answers import answer, connector, evse, location


def read(*bodies: bytes) -> tuple[Reading, Pieces]:
    """The reading of the last body by a reader that has read those before it."""
    pieces = Pieces()
    reader = ChargecloudReader(pieces, "chargecloud")
    return [reader.read("feed", body) for body in bodies][-1], pieces


def contents(reading: Reading, pieces: Pieces) -> list[list[Any]]:
    """What the pieces of a reading say, in plain texts."""

    def rows(piece: int, ends: Any, *columns: tuple[Any, Any]) -> list[tuple[Any, ...]]:
        first = ends[piece - 1] if piece else 0
        return [
            tuple(None if column[row] < 0 else list(names)[column[row]] for column, names in columns)
            for row in range(first, ends[piece])
        ]

    return [
        [
            None if pieces.location_id[p] < 0 else list(pieces.location_ids)[pieces.location_id[p]],
            rows(p, pieces.evse_ends, (pieces.evse_id, pieces.evse_ids), (pieces.evse_status, pieces.statuses)),
            rows(p, pieces.connector_ends, (pieces.connector_id, pieces.connector_ids)),
            rows(p, pieces.reject_ends, (pieces.reject_path, pieces.texts), (pieces.reject_reason, pieces.texts)),
            pieces.unknown_keys[p],
        ]
        for p in reading.pieces
    ]


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        (b"", "unreadable", "the body is empty"),
        (b"  \n ", "unreadable", "the body is empty"),
        (b"<!DOCTYPE html><title>502 Bad Gateway</title>", "unreadable", "HTML or XML page titled '502 Bad Gateway'"),
        (b'{"data": [{"id": "1"', "unreadable", "ends in the middle"),
        (answer(location())[:-300], "unreadable", "ends in the middle"),
        (b"Service unavailable", "unreadable", "expected JSON"),
        (b"\xff\xfe{\x00}\x00", "unreadable", "expected JSON"),
        (b"null", "unexpected", "expected a JSON object"),
        (b"[]", "unexpected", "expected a JSON object"),
        (b"{}", "unexpected", "`data`, which is missing"),
        (b'{"data": null, "status_code": 1000}', "unexpected", "`data`, which is null"),
        (b'{"data": {"a": 1}}', "unexpected", '`data`, which is {"a": 1}'),
        (b'{"data": null, "status_message": "no such feed"}', "unexpected", 'the API says "no such feed"'),
        (b'{"data": [], "status_code": 2001, "status_message": "oops"}', "unexpected", 'API says "oops"'),
        (b'{"data": [], "status_code": 1000}', "empty", "no locations"),
        (b'{"data": [], "status_code": 2001}', "unexpected", "status_code is 2001, expected 1000"),
        (b'{"data": []} trailing', "unreadable", "expected JSON"),
        (b" " * 5_000 + b"<title>Down</title>", "unreadable", "HTML or XML page titled 'Down'"),
        (b'{"data": [], "x": "\\ud800"', "unreadable", "ends in the middle"),
        (b'{"data": [ ], "x": "\\ud800"}', "unreadable", "half a surrogate pair"),
        (b'{"data": [{"a": "' + b'\\"' * 200_000, "unreadable", "ends in the middle"),  # quadratic: an hour
        (b"[" * 10_000 + b"]" * 10_000, "unexpected", "expected a JSON object"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "unreadable", "nested too deeply"),
    ],
)
def test_what_is_no_answer_is_named_with_a_reason(body: bytes, outcome: str, reason: str) -> None:
    for before in ([], [answer(location())]):
        reading, _ = read(*before, body)
        assert reading.outcome == outcome
        assert reason in (reading.reason or "")
        assert not reading.pieces


def test_an_answer_gives_its_time_in_utc() -> None:
    reading, _ = read(answer(location()))
    assert reading.source_time is not None
    assert reading.source_time.isoformat() == "2024-10-23T11:16:09+00:00"


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2024-10-23T13:16:09", "9999-12-31T23:59:59-23:00", None, 12])
def test_a_timestamp_that_cannot_be_used_is_left_out(timestamp: Any) -> None:
    reading, _ = read(answer(location(), timestamp=timestamp))
    assert reading.outcome == "ok"
    assert reading.source_time is None


def test_a_status_code_as_text_and_a_byte_order_mark_do_no_harm() -> None:
    reading, _ = read(b"\xef\xbb\xbf" + answer(location(), status_code="1000"))
    assert (reading.outcome, len(reading.pieces)) == ("ok", 1)


def test_locations_beside_an_error_code_are_used_and_the_code_is_told() -> None:
    reading, _ = read(answer(location(), status_code=3000))
    assert (reading.outcome, len(reading.pieces)) == ("ok", 1)
    assert "3000" in (reading.reason or "")


def test_unknown_keys_of_the_envelope_are_counted() -> None:
    reading, pieces = read(answer(location(), pagination={"next": 2}))
    assert reading.unknown_keys == 1
    assert pieces.unknown_names.texts()[reading.unknown_name] == "envelope.pagination"


@pytest.mark.parametrize("damage", [b'"\xff": 1', b'"\\ud800": 1', b'"x": "\x00"', b'"x": nan', b'"x": 1 2'])
def test_damage_around_the_locations_costs_none_of_them(damage: bytes) -> None:
    clean = answer(location("1"), location("2"))
    body = clean[:-1] + b", " + damage + b"}"
    for before in ([], [clean]):
        reading, pieces = read(*before, body)
        assert reading.outcome == "ok"
        assert [c[0] for c in contents(reading, pieces)] == ["1", "2"]
        assert reading.reason or reading.unknown_keys


def test_of_two_lists_the_last_counts_as_in_any_json() -> None:
    clean = answer(location("1"))
    for before in ([], [clean]):
        reading, _ = read(*before, clean[:-1] + b', "data": []}')
        assert (reading.outcome, len(reading.pieces)) == ("empty", 0)


@pytest.mark.parametrize(
    "poison",
    [
        b'{"id": "2", "name": "nul \x00"}',
        b'{"id": "2", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"id": "2", "x": "\\ud800"}',
        b'{"id": "2", "x": nan}',
        b'{"id": "2", "name": "\xff"}',
    ],
)
def test_a_location_that_is_no_json_costs_only_itself(poison: bytes) -> None:
    good = [location("1", [evse("A")]), location("3", [evse("B")])]
    clean = answer(*good)
    marker = json.dumps(good[1]).encode()
    body = clean.replace(marker, poison + b", " + marker)
    reading, pieces = read(clean, body)
    assert reading.outcome == "ok"
    got = contents(reading, pieces)
    assert [c[0] for c in got] in (["1", None, "3"], ["1", "2", "3"])  # \xff in a field that nobody reads does no harm
    assert [row[0] for c in got for row in c[1]] == ["A", "B"]


@pytest.mark.parametrize(
    ("poison", "as_read"),
    [
        (b"\x00", "\\u0000"),
        (b"\\ud800", "\\ud800"),
        (b"\xff", "\\udcff"),
        (b"\xed\xa0\x80", "\\udced\\udca0\\udc80"),
    ],
)
def test_text_that_is_no_text_costs_only_the_record_that_needs_it(poison: bytes, as_read: str) -> None:
    points = [evse("A", "@1"), evse("B@2", "CHARGING", [connector("8")]), evse("C", connectors=[connector("@3")])]
    body = answer(location("1", points, name="@4"), location("2@5", []))
    for number in range(1, 6):
        body = body.replace(b"@%d" % number, poison)
    reading, pieces = read(body)
    first, second = contents(reading, pieces)
    assert first[1] == [("A", as_read), ("uid:9001", "CHARGING"), ("C", "AVAILABLE")]
    assert [row[0] for row in first[2]] == ["A-c", "8"]
    assert [row[0] for row in first[3]] == [".evses[2].connectors[0]"]
    assert second[0] is None
    assert all(text.isprintable() for text in pieces.texts)


@pytest.mark.parametrize("name", ["\x00\x1b[31m" * 100, "\U000e0001" * 200, "ü" * 1000])
@pytest.mark.parametrize("rest", ["", ', "x": nan', ', "evses": [@]'])
def test_an_excerpt_is_printable_and_has_at_most_200_characters(name: str, rest: str) -> None:
    record = f'{{"name": "{name}"}}'
    body = f'{{"data": [{record[:-1]}{rest.replace("@", record)}}}]}}'
    _, pieces = read(body.encode())
    excerpts = [text for text in pieces.texts if text.startswith("{")]
    assert excerpts
    assert all(text.isprintable() and len(text) <= 200 for text in excerpts)


@pytest.mark.parametrize("record", ['{"evses": [{"x": @}]}', '{"id": "1", "evses": [{"id": "E", "status": @}]}'])
@pytest.mark.parametrize("around", ['{"data": [RECORD]}', '{"data": [{"id": "1"}], "x": @}'])
def test_nesting_to_just_what_can_be_read_is_read_or_rejected(around: str, record: str) -> None:
    for depth in range(900, 1000):  # what takes one more level of Python's stack fails at one level less
        body = around.replace("RECORD", record).replace("@", "[" * depth + "]" * depth)
        reading, _ = read(body.encode())
        assert (reading.outcome, len(reading.pieces)) == ("ok", 1)


@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 4_000, "1e400", "1.0", "NaN"])
def test_a_number_of_any_size_costs_at_most_its_own_record(number: str) -> None:
    body = answer(location("1", [evse("A"), evse("@")]), location("2", [evse("B", "@")]), location("@", []))
    reading, pieces = read(body.replace(b'"@"', number.encode()).replace(b'"@-c"', b'"x"'))
    assert reading.outcome == "ok"
    assert {row[0] for c in contents(reading, pieces) for row in c[1]} >= {"A", "B"}


def test_a_feed_with_one_damaged_location_is_compared_with_its_previous_answer_all_the_same() -> None:
    places = [location(str(n), [evse(f"E{n}")]) for n in range(50)]
    body = answer(*places[:20], location("x", name="@"), *places[20:]).replace(b"@", b"\x00")
    pieces = Pieces()
    reader = ChargecloudReader(pieces, "chargecloud")
    reader.read("feed", body)
    envelope = reader._envelopes["feed"]
    assert envelope._read_by_previous(body.replace(b'"E7", "status": "AVAILABLE"', b'"E7", "status": "X"')) is not None
    assert len(pieces.location_id) == 52


def test_places_without_a_location_are_rejected_and_cost_nothing_else() -> None:
    body = answer(location("1"), 7, location("2")).replace(b", 7,", b",  ,")
    for before in ([], [body], [answer(location("1"), 7, location("2"))]):
        reading, pieces = read(*before, body)
        assert [c[0] for c in contents(reading, pieces)] == ["1", None, "2"]


_STATUS = st.sampled_from(["AVAILABLE", "CHARGING", "OUTOFORDER"])


@st.composite
def _edits(draw: st.DrawFn) -> list[bytes]:
    """A few answers in a row, each made from the one before by status changes, moves, additions and removals."""
    locations = [location(str(n), [evse(f"E{n}-{i}") for i in range(n % 3)]) for n in range(draw(st.integers(0, 6)))]
    bodies = []
    for step in range(draw(st.integers(1, 5))):
        locations = json.loads(json.dumps(locations))
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from(["status", "remove", "add", "swap", "rename", "scalar", "unknown"]))
            at = draw(st.integers(0, max(0, len(locations) - 1)))
            if kind == "add" or not locations:
                locations.insert(at, location(f"new{step}{at}", [evse(f"N{step}{at}", draw(_STATUS))]))
            elif kind == "remove":
                locations.pop(at)
            elif kind == "swap":
                locations.insert(0, locations.pop(at))
            elif kind == "scalar":
                locations[at] = json.loads(draw(st.sampled_from(["null", "1", "12", '"x"', "[]", "{}", "true"])))
            elif isinstance(locations[at], dict) and kind == "rename":
                locations[at]["name"] = draw(st.text(max_size=5))
            elif isinstance(locations[at], dict) and kind == "unknown":
                locations[at]["news"] = draw(st.integers(0, 3))
            elif isinstance(locations[at], dict):
                for point in locations[at].get("evses") or []:
                    point["status"] = draw(_STATUS)
        envelope = {"currentLocale": "de", "data": locations, "status_code": 1000, "timestamp": f"2024-01-0{step + 1}"}
        indent = draw(st.sampled_from([None, None, None, 2]))
        body = json.dumps(envelope, indent=indent).encode()
        twist = draw(st.integers(0, 15))
        if twist == 1:
            body = body.replace(b'"data"', b'"dada"')
        elif twist == 2:
            body = body[:-1] + b', "data": [{"id": "second"}]}'
        elif twist == 3:
            cut = draw(st.integers(0, len(body)))
            body = draw(st.sampled_from([body[:cut], body[:cut] + b"}" + body[cut:], body + b"x", body[:cut] + body]))
        bodies.append(body)
    return bodies


@settings(max_examples=600)
@given(_edits())
def test_remembering_earlier_answers_never_changes_what_is_read(bodies: list[bytes]) -> None:
    warm, warm_pieces = read(*bodies)
    cold, cold_pieces = read(bodies[-1])
    assert (warm.outcome, warm.reason, warm.source_time) == (cold.outcome, cold.reason, cold.source_time)
    assert contents(warm, warm_pieces) == contents(cold, cold_pieces)


def test_a_day_without_changes_is_read_without_parsing_a_location_again() -> None:
    body = answer(*(location(str(n), [evse(f"E{n}")]) for n in range(50)))
    pieces = Pieces()
    reader = ChargecloudReader(pieces, "chargecloud")
    for minute in range(10):
        reader.read("feed", body.replace(b"13:16:09", f"13:1{minute}:09".encode()))
    assert len(pieces.location_id) == 50


def test_connectors_without_an_evse_list_do_not_disturb_the_next_location() -> None:
    reading, pieces = read(answer(location("1", "none"), location("2", [evse("B", connectors=[connector("7")])])))
    got = contents(reading, pieces)
    assert got[0][3] == [(".evses", "expected a list of objects, got a text")]
    assert got[1][1:3] == [[("B", "AVAILABLE")], [("7",)]]
