import datetime as dt
import json
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from charging_assets import __version__
from charging_assets.settings import DEFAULT_FEEDS
from charging_assets.simulator.town import CITIES
from charging_assets.sources.osm.cities import city_name, city_query
from charging_assets.sources.osm.features import FEATURES
from charging_assets.sources.osm.overpass import BUSY_PAUSE_S, CityPois, OverpassSource
from charging_assets_tests.standins.overpass import GAVE_UP, Element, OverpassStandin, Reply, place

QUERY = "Neuss, Deutschland"
NEUSS = shapely.box(6.67, 51.18, 6.70, 51.23)
TEST_FILTER: dict[str, list[str] | bool] = {
    "amenity": [
        *("fuel", "fast_food", "restaurant", "cafe", "parking", "charging_station", "bank", "pharmacy", "cinema"),
    ],
    "shop": ["supermarket", "mall", "doityourself", "convenience", "bakery"],
    "tourism": ["hotel"],
    "highway": ["services", "rest_area"],
}
DEGREE_OF_LATITUDE_M = 111_200
CAFE: Element = {"type": "node", "id": 1, "lon": 6.68, "lat": 51.20, "tags": {"amenity": "cafe", "name": "Süß"}}
BANK: Element = {"type": "node", "id": 2, "lon": 6.69, "lat": 51.20, "tags": {"amenity": "bank"}}


class Waiting:
    """Time that passes by being slept, beside the real one."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def clock(self) -> float:
        return time.monotonic() + sum(self.pauses)


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def standin(
    elements: Sequence[Element] = (CAFE, BANK),
    replies: Mapping[str, Sequence[Reply]] | None = None,
    places: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> OverpassStandin:
    return OverpassStandin(elements, places or {QUERY: [place("Neuss", NEUSS)]}, replies)


def source(osm: OverpassStandin, folder: Path, waiting: Waiting | None = None, **options: Any) -> OverpassSource:
    waiting = waiting or Waiting()
    values = {
        "overpass_url": osm.overpass_url,
        "nominatim_url": osm.nominatim_url,
        "contact": None,
        "cache_dir": folder / "cache",
        "tag_filter": TEST_FILTER,
        "buffer_m": 0.0,
        "sleep": waiting.sleep,
        "clock": waiting.clock,
    }
    return OverpassSource(**values | options)


def ids(answer: CityPois) -> list[str]:
    rows = answer.features.select(["element", "osm_id"]).to_pylist()
    return [f"{row['element']}/{row['osm_id']}" for row in rows]


def shape_of(answer: CityPois, row: int = 0) -> shapely.Geometry:
    return shapely.from_wkb(answer.features["geom"][row].as_py())


def way(number: int, points: Sequence[tuple[float, float]], **tags: str) -> list[Element]:
    """A way and its nodes; closed if its last point is its first."""
    names = {point: number * 100 + at for at, point in reversed(list(enumerate(points)))}
    nodes = [{"type": "node", "id": name, "lon": lon, "lat": lat} for (lon, lat), name in names.items()]
    return [*nodes, {"type": "way", "id": number, "nodes": [names[point] for point in points], "tags": tags}]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_neuss_has_150_features_under_the_test_filter(neuss_overpass_path: Path, tmp_path: Path) -> None:
    elements = json.loads(neuss_overpass_path.read_bytes())["elements"]
    before = dt.datetime.now(dt.UTC)
    with standin(elements) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.city, answer.name, answer.outcome, answer.reason) == ("neuss", QUERY, "ok", None)
    assert (answer.requests, before <= answer.asked_at <= dt.datetime.now(dt.UTC)) == (3, True)
    features = answer.features
    assert (features.schema, features.num_rows, len(set(ids(answer)))) == (FEATURES, 150, 150)
    assert features.sort_by([("element", "ascending"), ("osm_id", "ascending")]) == features
    given = {f"{element['type']}/{element['id']}": element.get("tags") for element in elements}
    for feature, row in zip(ids(answer), features.to_pylist(), strict=True):
        assert json.loads(row["tags"]) == given[feature]
        assert row["tags"] == json.dumps(given[feature], sort_keys=True, ensure_ascii=False)
        assert row["geom"][0] == 1, "little-endian"
        assert (row["osm_version"], row["osm_time"]) == (None, None)


def test_every_request_says_who_asks(tmp_path: Path) -> None:
    with standin() as osm:
        answer = source(osm, tmp_path, contact="me@example.org").fetch("neuss")
        source(osm, tmp_path / "nameless").fetch("neuss")
    assert answer.outcome == "ok"
    agents = [request.headers["User-Agent"] for request in osm.requests]
    named, nameless = f"charging_assets/{__version__} (+me@example.org)", f"charging_assets/{__version__}"
    assert agents == [named] * 3 + [nameless] * 3


def test_what_is_outside_the_boundary_is_found_up_to_the_buffer(tmp_path: Path) -> None:
    def north_of_it(metres: int) -> Element:
        return CAFE | {"id": metres, "lat": NEUSS.bounds[3] + metres / DEGREE_OF_LATITUDE_M}

    with standin([north_of_it(metres) for metres in (99, 199, 299)]) as osm:
        near, far = (source(osm, tmp_path, buffer_m=buffer_m).fetch("neuss") for buffer_m in (100, 200))
    assert (ids(near), ids(far)) == (["node/99"], ["node/99", "node/199"])
    assert near.polygon_area_km2 == far.polygon_area_km2 == pytest.approx(2.09 * 5.56, rel=0.01)


def test_a_boundary_of_many_corners_is_asked_for_with_few_and_loses_nothing(tmp_path: Path) -> None:
    centre, buffer_m = shapely.Point(356_000, 5_674_000), 100.0
    turns = np.linspace(0, 2 * np.pi, 5_000, endpoint=False)
    radius_m = 3_000 + np.random.default_rng(1).uniform(-5, 5, len(turns))
    boundary = shapely.Polygon(np.column_stack([np.cos(turns), np.sin(turns)]) * radius_m[:, None] + centre.coords[0])
    edge = boundary.buffer(buffer_m - 0.1).exterior
    to_lonlat = pyproj.Transformer.from_crs(25832, 4326, always_xy=True).transform
    city = shapely.transform(boundary, to_lonlat, interleaved=False)
    points = [to_lonlat(*edge.interpolate(at, normalized=True).coords[0]) for at in np.linspace(0, 1, 100)]
    cafes = [CAFE | {"id": number, "lon": lon, "lat": lat} for number, (lon, lat) in enumerate(points)]
    with standin(cafes, places={QUERY: [place("Neuss", city)]}) as osm:
        answer = source(osm, tmp_path, buffer_m=buffer_m).fetch("neuss")
    assert (answer.outcome, answer.features.num_rows) == ("ok", len(cafes))
    asked = re.search("poly:'([^']*)'", osm.requests[-1].parameters["data"])
    assert asked
    assert len(asked[1].split()) // 2 < 100


def test_what_lies_in_two_parts_of_a_large_area_comes_once(tmp_path: Path) -> None:
    large = shapely.box(6.0, 50.5, 7.2, 51.3)
    middle = large.centroid
    long = way(7, [(middle.x - 0.3, middle.y - 0.1), (middle.x + 0.3, middle.y + 0.1)], highway="services")
    with standin([*long, CAFE], places={QUERY: [place("Neuss", large)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert osm.asked("interpreter") > 1
    assert (ids(answer), answer.outcome) == (["node/1", "way/7"], "ok")


def test_an_answer_in_which_overpass_gave_up_is_partial_and_not_kept(tmp_path: Path) -> None:
    with standin(replies={"interpreter": [Reply(fault="remark")]}) as osm:
        first = source(osm, tmp_path).fetch("neuss")
        second = source(osm, tmp_path).fetch("neuss")
    assert (first.outcome, ids(first)) == ("partial", ["node/1"])
    assert first.reason == f"Overpass gave up within an answer: {GAVE_UP}"
    assert (second.outcome, ids(second), second.requests) == ("ok", ["node/1", "node/2"], 2)


def test_an_answer_in_which_overpass_gave_up_without_any_feature_is_not_called_empty(tmp_path: Path) -> None:
    with standin([CAFE], replies={"interpreter": [Reply(fault="remark")]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.features.num_rows) == ("partial", 0)


def test_a_part_that_is_asked_again_in_the_end_is_no_longer_partial(tmp_path: Path) -> None:
    large = shapely.box(6.0, 50.5, 7.2, 51.3)
    replies = {"interpreter": [Reply(fault="remark"), Reply(504)]}
    with standin(replies=replies, places={QUERY: [place("Neuss", large)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer), answer.reason) == ("ok", ["node/1", "node/2"], None)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("endpoint", ["search", "interpreter"])
def test_a_busy_server_is_asked_again_after_long_pauses(
    endpoint: str, status: int, tmp_path: Path, waiting: Waiting
) -> None:
    with standin(replies={endpoint: [Reply(status)] * 2}) as osm:
        answer = source(osm, tmp_path, waiting).fetch("neuss")
    assert (answer.outcome, ids(answer), osm.asked(endpoint)) == ("ok", ["node/1", "node/2"], 3)
    assert [pause for pause in waiting.pauses if pause >= BUSY_PAUSE_S] == [BUSY_PAUSE_S, 2 * BUSY_PAUSE_S]


@pytest.mark.parametrize("status", [429, 504])
@pytest.mark.parametrize("endpoint", ["search", "interpreter"])
def test_a_server_that_stays_busy_is_left_after_three_attempts(endpoint: str, status: int, tmp_path: Path) -> None:
    body = b"<html><head><style>p {}</style></head><body><p>The server is probably too busy</p></body></html>"
    with standin(replies={endpoint: [Reply(status, body)] * 9}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.features.num_rows, osm.asked(endpoint)) == ("failed", 0, 3)
    assert answer.reason == f"{osm.host} answers HTTP {status}: The server is probably too busy after 3 attempts"


def test_a_wait_that_a_server_asks_for_is_granted(tmp_path: Path, waiting: Waiting) -> None:
    with standin(replies={"interpreter": [Reply(429, headers={"Retry-After": "77"})]}) as osm:
        assert source(osm, tmp_path, waiting).fetch("neuss").outcome == "ok"
    assert 77 in waiting.pauses


def test_a_wait_beyond_the_deadline_is_not_begun(tmp_path: Path, waiting: Waiting) -> None:
    with standin(replies={"interpreter": [Reply(429, headers={"Retry-After": "3600"})]}) as osm:
        answer = source(osm, tmp_path, waiting).fetch("neuss")
    assert answer.outcome == "failed"
    assert answer.reason == (
        f"no complete answer within 900 s: {osm.host} answers HTTP 429: nothing; the next wait would be 3600 s"
    )
    assert 3600 not in waiting.pauses


def test_an_error_with_features_in_it_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    body = json.dumps({"elements": [CAFE]}).encode()
    with standin(replies={"interpreter": [Reply(500, body)] * 3}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.features.num_rows) == ("failed", 0)
    assert "HTTP 500" in (answer.reason or "")


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        ("interpreter", b"<html><body>Welcome!</body></html>", "an object with a list `elements`"),
        ("interpreter", b"", "an object with a list `elements`"),
        ("interpreter", b"[]", "an object with a list `elements`"),
        ("interpreter", b'{"error": "busy"}', "an object with a list `elements`"),
        ("interpreter", b'{"elements": [{"type": "node", "id": 1', "an object with a list `elements`"),
        ("interpreter", b'{"elements": [{"type": "node", "id": 1, "tags": {"a": 1}}]}', "an object with a list"),
        ("interpreter", b'{"elements": [{"type": "node", "id": 1, "tags": {"a": "\\ud800"}}]}', "an object with a"),
        ("search", b"<html><body>Welcome!</body></html>", "a list of places"),
        ("search", b'{"error": "busy"}', "a list of places"),
        ("search", b"[" * 100_000, "a list of places"),
    ],
)
def test_an_answer_of_another_form_is_no_answer_and_is_not_kept(
    endpoint: str, body: bytes, expected: str, tmp_path: Path
) -> None:
    with standin(replies={endpoint: [Reply(body=body)] * 3}) as osm:
        broken = source(osm, tmp_path).fetch("neuss")
        mended = source(osm, tmp_path).fetch("neuss")
    assert (broken.outcome, broken.features.num_rows) == ("failed", 0)
    assert f"expected {expected}" in (broken.reason or "")
    assert osm.host in (broken.reason or "")
    assert (mended.outcome, ids(mended)) == ("ok", ["node/1", "node/2"])


def test_elements_without_what_they_need_are_reported_with_the_folder_of_the_answers(tmp_path: Path) -> None:
    body = b'{"elements": [{"type": "node", "id": 1, "tags": {"amenity": "cafe"}}]}'
    with standin(replies={"interpreter": [Reply(body=body)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert answer.outcome == "failed"
    assert answer.reason == f"osmnx cannot read the answers kept in {tmp_path / 'cache'}: KeyError: 'lon'"


@pytest.mark.parametrize("endpoint", ["search", "interpreter"])
@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_an_answer_that_breaks_off_is_asked_for_again(endpoint: str, fault: Any, tmp_path: Path) -> None:
    with standin(replies={endpoint: [Reply(fault=fault)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer), osm.asked(endpoint)) == ("ok", ["node/1", "node/2"], 2)


def test_an_answer_that_always_breaks_off_is_reported_as_that(tmp_path: Path) -> None:
    with standin(replies={"interpreter": [Reply(fault="cut")] * 3}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.reason) == ("failed", f"the answer of {osm.host} broke off after 3 attempts")


@pytest.mark.parametrize("service", ["overpass_url", "nominatim_url"])
def test_a_server_that_is_down_is_reported_without_secrets(service: str, tmp_path: Path) -> None:
    port = closed_port()
    with standin() as osm:
        answer = source(osm, tmp_path, **{service: f"http://me:secret@127.0.0.1:{port}/api"}).fetch("neuss")
    assert answer.outcome == "failed"
    assert answer.reason == f"no connection to 127.0.0.1:{port}: connection refused after 3 attempts"


@pytest.mark.parametrize("endpoint", ["search", "status", "interpreter"])
@pytest.mark.parametrize("fault", ["silence", "drip header"])
def test_a_server_that_dawdles_is_left_at_the_deadline(endpoint: str, fault: Any, tmp_path: Path) -> None:
    import osmnx  # noqa: F401 - takes seconds, which are not the server's

    times = {"deadline_s": 1.5, "sleep": lambda seconds: None, "clock": time.monotonic, "pause_s": 0.0}
    with standin(replies={endpoint: [Reply(fault=fault)]}) as osm:
        answer = source(osm, tmp_path, **times).fetch("neuss")
    assert (answer.outcome, osm.asked(endpoint)) == ("failed", 1)
    assert answer.reason == "no complete answer within 1.5 s: nothing came"


def test_a_server_whose_slots_are_always_taken_is_left_at_the_deadline(tmp_path: Path, waiting: Waiting) -> None:
    taken = b"Connected as: 1\nCurrent time: now\nAnnounced endpoint: none\nRate limit: 2\nCurrently running queries\n"
    with standin(replies={"status": [Reply(body=taken)] * 999}) as osm:
        answer = source(osm, tmp_path, waiting, deadline_s=100).fetch("neuss")
    assert answer.outcome == "failed"
    assert "no complete answer within 100 s" in (answer.reason or "")
    assert (osm.asked("interpreter"), sum(waiting.pauses) < 100) == (0, True)


def test_a_slot_that_is_free_after_the_deadline_is_not_waited_for(tmp_path: Path, waiting: Waiting) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    status = f"Connected as: 1\n\n\nRate limit: 2\nSlot available after: {later:%Y-%m-%dT%H:%M:%SZ}, in 3600 seconds.\n"
    with standin(replies={"status": [Reply(body=status.encode())]}) as osm:
        answer = source(osm, tmp_path, waiting).fetch("neuss")
    assert (answer.outcome, osm.asked("interpreter")) == ("failed", 0)
    assert sum(waiting.pauses) < 900


def test_a_slot_that_is_free_soon_is_waited_for(tmp_path: Path, waiting: Waiting) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    status = f"Connected as: 1\n\n\nRate limit: 2\nSlot available after: {soon:%Y-%m-%dT%H:%M:%SZ}, in 100 seconds.\n"
    with standin(replies={"status": [Reply(body=status.encode())]}) as osm:
        assert source(osm, tmp_path, waiting).fetch("neuss").outcome == "ok"
    assert any(60 < pause <= 100 for pause in waiting.pauses)


def test_an_own_server_without_limits_is_not_waited_for(tmp_path: Path) -> None:
    free = b"Connected as: 1\nCurrent time: now\nAnnounced endpoint: none\nRate limit: 0\nCurrently running queries\n"
    with standin(replies={"status": [Reply(body=free)] * 999}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, osm.asked("status")) == ("ok", 1)


def test_a_city_without_any_feature_is_empty_also_when_asked_again(tmp_path: Path) -> None:
    outside = CAFE | {"lon": 7.5}
    with standin([outside]) as osm:
        answers = [source(osm, tmp_path).fetch("neuss") for _ in range(2)]
    for answer in answers:
        assert (answer.outcome, answer.features) == ("empty", FEATURES.empty_table())
        assert answer.reason == "Overpass knows nothing there that has one of the tags"
    assert [answer.requests for answer in answers] == [3, 0]


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ([], "Nominatim knows no 'Neuss, Deutschland': check the feed's name"),
        (
            [place("Neuss", NEUSS, display_name="Neuss, Österreich")],
            "Nominatim knows no 'Neuss, Deutschland': check the feed's name",
        ),
        (
            [place("Neuss", shapely.Point(6.68, 51.2))],
            "Nominatim knows no boundary of 'Neuss, Deutschland', only a point: Neuss, Deutschland",
        ),
    ],
    ids=["unknown", "abroad", "a point"],
)
def test_a_city_that_nominatim_cannot_place_fails_and_says_so(
    places: list[dict[str, Any]], reason: str, tmp_path: Path
) -> None:
    with standin(places={QUERY: places}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.reason, answer.features.num_rows) == ("failed", reason, 0)
    assert osm.asked("interpreter") == 0


def test_of_two_cities_with_one_name_the_more_important_is_taken_and_named(tmp_path: Path) -> None:
    small = place("Neuss", shapely.box(8, 50, 8.1, 50.1), importance=0.3, display_name="Neuss, Hessen, Deutschland")
    large = place("Neuss", NEUSS, importance=0.6, display_name="Neuss, Nordrhein-Westfalen, Deutschland")
    with standin(places={QUERY: [small, large, large]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer)) == ("ok", ["node/1", "node/2"])
    assert answer.reason == (
        "took the most important place of that name, Neuss, Nordrhein-Westfalen, Deutschland, "
        "not Neuss, Hessen, Deutschland"
    )


def test_a_city_is_taken_before_the_more_important_district_of_its_name(tmp_path: Path) -> None:
    district = place("Neuss", shapely.box(8, 50, 9, 51), importance=0.9, addresstype="county")
    with standin(places={QUERY: [district, place("Neuss", NEUSS)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer), answer.reason) == ("ok", ["node/1", "node/2"], None)


def test_a_name_that_only_a_district_has_gives_the_district_and_says_so(tmp_path: Path) -> None:
    with standin(places={QUERY: [place("Neuss", NEUSS, addresstype="county")]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, answer.reason) == (
        "ok",
        "no municipality has that name: took the county Neuss, Deutschland",
    )


def test_a_city_of_several_parts_with_a_crossing_boundary_is_asked_for(tmp_path: Path) -> None:
    bow = shapely.Polygon([(6.67, 51.18), (6.70, 51.23), (6.70, 51.18), (6.67, 51.23)])
    parts = shapely.MultiPolygon([bow, shapely.box(6.8, 51.2, 6.81, 51.21)])
    exclave = CAFE | {"id": 3, "lon": 6.805, "lat": 51.205}
    between = CAFE | {"id": 4, "lon": 6.75, "lat": 51.205}
    both_sides = [CAFE | {"id": 5, "lon": 6.675, "lat": 51.205}, CAFE | {"id": 6, "lon": 6.695, "lat": 51.205}]
    with standin([exclave, between, *both_sides], places={QUERY: [place("Neuss", parts)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer)) == ("ok", ["node/3", "node/5", "node/6"])


def test_tags_named_like_osmnx_own_fields_are_kept(tmp_path: Path) -> None:
    tags = {"amenity": "cafe", "id": "17", "element": "fire", "geometry": "round", "type": "small", "lon": "x"}
    members = [{"type": "way", "ref": 7, "role": "outer"}]
    square = way(7, [(6.68, 51.2), (6.69, 51.2), (6.69, 51.21), (6.68, 51.2)])
    relation = {"amenity": "parking", "type": "multipolygon", "members": "only", "id": "18"}
    elements = [
        CAFE | {"tags": tags},
        BANK,
        *square,
        {"type": "relation", "id": 9, "members": members, "tags": relation},
    ]
    with standin(elements) as osm:
        first = source(osm, tmp_path).fetch("neuss")
        cached = source(osm, tmp_path).fetch("neuss")
    for answer in (first, cached):
        assert (ids(answer), answer.reason) == (["node/1", "node/2", "relation/9"], None)
        assert [json.loads(text) for text in answer.features["tags"].to_pylist()] == [tags, BANK["tags"], relation]


def test_an_open_way_is_a_line_and_a_closed_one_an_area(tmp_path: Path) -> None:
    path = [(6.68, 51.20), (6.69, 51.20), (6.69, 51.21)]
    with standin([*way(1, path, shop="bakery"), *way(2, [*path, path[0]], shop="bakery")]) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert ids(answer) == ["way/1", "way/2"]
    assert shape_of(answer, 0) == shapely.LineString(path)
    assert shape_of(answer, 1).normalize() == shapely.Polygon(path).normalize()


def test_a_crossing_area_is_repaired_without_the_lines_that_the_repair_leaves(tmp_path: Path) -> None:
    spike = [(6.68, 51.20), (6.69, 51.20), (6.69, 51.21), (6.68, 51.21), (6.68, 51.22), (6.68, 51.20)]
    with standin(way(1, spike, shop="mall")) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    shape = shape_of(answer)
    assert (shape.geom_type, shape.is_valid) == ("Polygon", True)
    assert shape.area == pytest.approx(0.01 * 0.01)


def test_a_relation_with_a_missing_member_does_not_cost_the_others(tmp_path: Path) -> None:
    ring = [(6.68, 51.20), (6.69, 51.20), (6.69, 51.21), (6.68, 51.21), (6.68, 51.20)]
    hole = [(6.682, 51.202), (6.688, 51.202), (6.688, 51.208), (6.682, 51.202)]
    tags = {"type": "multipolygon", "amenity": "parking"}
    members = [{"type": "way", "ref": 1, "role": "outer"}, {"type": "way", "ref": 2, "role": "inner"}]
    whole = {"type": "relation", "id": 3, "tags": tags, "members": members}
    torn = {
        "type": "relation",
        "id": 4,
        "tags": tags,
        "members": [*members, {"type": "way", "ref": 5, "role": "outer"}],
    }
    with standin([*way(1, ring), *way(2, hole), whole, torn, CAFE]) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, ids(answer)) == ("ok", ["node/1", "relation/3"])
    assert shape_of(answer, 1).area == pytest.approx(shapely.Polygon(ring, [hole]).area)


def test_any_value_of_a_tag_can_be_asked_for(tmp_path: Path) -> None:
    office = CAFE | {"id": 3, "tags": {"office": 'it\'s "new"'}}
    with standin([office, CAFE]) as osm:
        answer = source(osm, tmp_path, tag_filter={"office": True}).fetch("neuss")
    assert ids(answer) == ["node/3"]


def test_within_one_refresh_nothing_is_asked_twice(tmp_path: Path) -> None:
    with standin() as osm:
        first, again = (source(osm, tmp_path).fetch("neuss") for _ in range(2))
        next_month = source(osm, tmp_path / "next month").fetch("neuss")
    assert (first.requests, again.requests, next_month.requests) == (3, 0, 3)
    assert first.features == again.features == next_month.features


def test_answers_that_cannot_be_kept_are_reported_with_their_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with standin() as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert answer.outcome == "failed"
    assert f"cannot be kept in {tmp_path / 'cache'}" in (answer.reason or "")


@pytest.mark.parametrize("status", [403, 406])
def test_who_is_refused_learns_about_the_contact(status: int, tmp_path: Path) -> None:
    with standin(replies={"interpreter": [Reply(status)]}) as osm:
        answer = source(osm, tmp_path).fetch("neuss")
    assert (answer.outcome, osm.asked("interpreter")) == ("failed", 1)
    assert "CHARGING_ASSETS_CONTACT" in (answer.reason or "")


def test_a_pause_goes_before_each_request_to_nominatim_and_overpass(tmp_path: Path, waiting: Waiting) -> None:
    with standin() as osm:
        source(osm, tmp_path, waiting, pause_s=2.0).fetch("neuss")
    assert waiting.pauses == [2.0, 2.0]


def test_one_city_s_failure_leaves_the_next_alone(tmp_path: Path) -> None:
    with standin(places={QUERY: [place("Neuss", NEUSS)], "Köln, Deutschland": []}) as osm:
        asked = source(osm, tmp_path)
        assert [asked.fetch(city).outcome for city in ("koeln", "neuss")] == ["failed", "ok"]


@pytest.mark.parametrize(
    "replies",
    [
        {},
        {"interpreter": [Reply(fault="remark")]},
        {"interpreter": [Reply(429)] * 3},
        {"search": [Reply(body=b"[]")]},
        {"status": [Reply(body=b"1\n2\n3\nRate limit: 0\nCurrently running queries\n")] * 9},
    ],
    ids=["ok", "partial", "refused", "unknown", "no limits"],
)
def test_osmnx_and_the_resolver_are_afterwards_as_before(replies: dict[str, list[Reply]], tmp_path: Path) -> None:
    import osmnx
    from osmnx import _nominatim, _overpass

    def state() -> list[object]:
        modules = [(module.requests, module.time) for module in (_nominatim, _overpass)]
        return [dict(vars(osmnx.settings)), modules, socket.getaddrinfo]

    before = state()
    with standin(replies=replies) as osm:
        source(osm, tmp_path).fetch("neuss")
    assert state() == before


def test_cities_are_asked_one_at_a_time(tmp_path: Path) -> None:
    cities = ["neuss", "koeln", "bonn"]
    answers: dict[str, CityPois] = {}
    with standin(places={city_query(city): [place(city, NEUSS)] for city in cities}) as osm:

        def fetch(city: str) -> None:
            answers[city] = source(osm, tmp_path / city).fetch(city)

        threads = [threading.Thread(target=fetch, args=(city,)) for city in cities]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answers[city].outcome for city in cities] == ["ok"] * 3
    assert osm.most_at_once == 1
    searched = [request.path == "/search" for request in osm.requests]
    assert searched == [True, False, False] * 3, "no city begins before the one before has ended"


def test_every_default_feed_is_asked_for_by_its_city_s_name() -> None:
    names = {city.feed: city.name for city in CITIES} | {"SW-Stuttgart": "Stuttgart"}
    assert {feed: city_name(feed) for feed in DEFAULT_FEEDS} == names
    assert city_query("koeln") == "Köln, Deutschland"


def test_an_unknown_feed_is_asked_for_as_it_is() -> None:
    assert [city_query(slug) for slug in ("neuss", "bad-Homburg", "")] == [
        *("Neuss, Deutschland", "Bad-Homburg, Deutschland", ", Deutschland")
    ]
