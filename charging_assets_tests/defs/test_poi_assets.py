"""The job `refresh_pois` from servers on loopback and from extracts, and what is made of what came."""

import base64
import datetime as dt
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import osmium
import pytest
import shapely
from osmium.osm.mutable import Node

from charging_assets.defs.assets.pois import MANY_CITIES, POI_TABLES, STATION_TABLES
from charging_assets.lake import Kind, Lake
from charging_assets.sources.osm import overpass
from charging_assets_tests.clock import set_clock
from charging_assets_tests.osm_features import REFRESHED, bow_tie, east, feature, put_refresh, put_stations
from charging_assets_tests.sound_lake import rewrite
from charging_assets_tests.standins.overpass import Element, OverpassStandin, Reply, place

BONN, KIEL = shapely.box(9.09, 48.79, 9.11, 48.81), shapely.box(10.1, 54.3, 10.2, 54.4)
PLACES = {"Bonn, Deutschland": [place("Bonn", BONN)], "Kiel, Deutschland": [place("Kiel", KIEL)]}
STATION = (9.1, 48.8)
PNG = b"\x89PNG\r\n\x1a\n"


def cafe(number: int, at: shapely.Point | None = None, **tags: str) -> Element:
    point = at or east(5 * number)
    return {"type": "node", "id": number, "lon": point.x, "lat": point.y, "tags": {"amenity": "cafe", **tags}}


ELEMENTS = (cafe(1), cafe(2, name="Süß"), cafe(3, shapely.Point(10.15, 54.35)))


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, a home, two cities; and nobody waits between requests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHARGING_ASSETS_CONTACT", "me@example.org")
    monkeypatch.setenv("CHARGING_ASSETS_POI_CITIES", "bonn,kiel")
    impatient = functools.partial(overpass.OverpassSource, sleep=lambda _seconds: None)
    monkeypatch.setattr(overpass, "OverpassSource", impatient)
    set_clock(monkeypatch, REFRESHED)


@pytest.fixture
def a_month_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Sets the clock, for the second refresh of a test."""
    return lambda: set_clock(monkeypatch, REFRESHED + dt.timedelta(days=28))


Serve = Callable[..., OverpassStandin]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server that the settings then lead to."""
    running: list[OverpassStandin] = []

    def start(
        elements: Sequence[Element] = ELEMENTS,
        places: Mapping[str, Sequence[Mapping[str, Any]]] = PLACES,
        replies: Mapping[str, Sequence[Reply]] | None = None,
    ) -> OverpassStandin:
        server = OverpassStandin(elements, places, replies)
        running.append(server.__enter__())
        monkeypatch.setenv("CHARGING_ASSETS_OVERPASS_URL", server.overpass_url)
        monkeypatch.setenv("CHARGING_ASSETS_NOMINATIM_URL", server.nominatim_url)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


def refresh(graph: dg.Definitions, instance: dg.DagsterInstance, **how: Any) -> dg.ExecuteInProcessResult:
    return graph.resolve_job_def("refresh_pois").execute_in_process(instance=instance, **how)


def materialize(graph: dg.Definitions, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    return graph.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(name) for name in names]
    )


def made(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, Any]]:
    """The metadata of what a run materialized."""
    found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {each.asset_key.path[-1]: {name: value.value for name, value in each.metadata.items()} for each in found}


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], str | None]:
    return {
        (each.asset_key.path[-1], each.check_name): each.description
        for each in result.get_asset_check_evaluations()
        if not each.passed
    }


def said(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    """Everything in the log of a run."""
    return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


def known(lake: Lake) -> dict[str, bool]:
    rows = lake.read("poi", None, ["id_poi", "is_current"]).to_pylist()
    return {row["id_poi"]: row["is_current"] for row in rows}


def log_of(lake: Lake) -> list[tuple[str, str, bool]]:
    rows = lake.read("poi_refresh_log", None).to_pylist()
    return [(row["city"], row["outcome"], row["is_used"]) for row in rows]


# From Overpass


def test_each_city_is_asked_for_and_all_tables_are_made(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve
) -> None:
    put_stations(lake, STATION)
    server = serve()

    result = refresh(graph, instance)

    shown = made(result)
    assert shown.keys() == {"raw_pois", *POI_TABLES, *STATION_TABLES}
    facts = {name: shown["raw_pois"][name] for name in ("source", "cities", "features", "requests", "not_refreshed")}
    assert facts == {"source": "overpass", "cities": 2, "features": 3, "requests": 6, "not_refreshed": {}}
    assert len(server.requests) == 6
    rows = {name: shown[name]["dagster/row_count"] for name in (*POI_TABLES, *STATION_TABLES)}
    assert rows == {
        "poi": 3,
        "rejected_pois": 0,
        "poi_refresh_log": 2,
        "mapping_poi_cs": 2,
        "station_poi_features": 12,
    }
    assert known(lake) == {"node/1": True, "node/2": True, "node/3": True}
    assert set(lake.read("poi", None)["city"].to_pylist()) == {"bonn", "kiel"}
    mapping = lake.read("mapping_poi_cs", None).to_pylist()
    assert [(row["id_poi"], round(row["distance_m"]), row["rank_in_category"]) for row in mapping] == [
        ("node/1", 5, 1),
        ("node/2", 10, 2),
    ]
    checked = {(each.asset_key.path[-1], each.check_name) for each in result.get_asset_check_evaluations()}
    assert {table for table, _ in checked} == shown.keys()
    assert failed_checks(result).keys() == {("poi", "tags")}  # three cafés do not have all tags


def test_public_servers_are_asked_politely(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve, tmp_path: Path
) -> None:
    server = serve()

    refresh(graph, instance)

    assert server.most_at_once == 1
    assert {request.headers["User-Agent"].partition("/")[2].partition(" ")[2] for request in server.requests} == {
        "(+me@example.org)"
    }
    assert list((tmp_path / "home/cache/overpass").iterdir()) == []  # answers of one refresh are not those of the next


def test_the_map_reaches_as_far_around_a_city_as_points_are_counted(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve
) -> None:
    edge = (BONN.bounds[2], 48.8)
    put_stations(lake, edge)
    serve([cafe(1, east(490, edge))])

    refresh(graph, instance)

    rows = lake.read("station_poi_features", None).to_pylist()
    assert {row["poi_category"]: row["count_500m"] for row in rows}["gastronomy"] == 1


@pytest.mark.parametrize(
    ("places", "replies", "outcome", "reason"),
    [
        ({"Bonn, Deutschland": PLACES["Bonn, Deutschland"]}, {}, "failed", "Nominatim"),
        (PLACES, {"interpreter": [Reply(), Reply(fault="remark")]}, "partial", "Overpass gave up within an answer"),
        (PLACES, {"interpreter": [Reply(), Reply(400)]}, "failed", "400"),
        (PLACES, {"interpreter": [Reply(), *[Reply(504)] * 3]}, "failed", "after 3 attempts"),
    ],
    ids=["unknown to Nominatim", "cut short", "refused", "too busy"],
)
def test_a_city_that_fails_keeps_its_points_and_says_so_and_stops_no_other(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    serve: Serve,
    a_month_later: Callable[[], None],
    places: Mapping[str, Any],
    replies: Mapping[str, Sequence[Reply]],
    outcome: str,
    reason: str,
) -> None:
    serve()
    refresh(graph, instance)
    a_month_later()
    serve([cafe(1), cafe(4)], places, replies)

    result = refresh(graph, instance)

    assert result.success
    assert known(lake) == {"node/1": True, "node/2": False, "node/3": True, "node/4": True}
    assert log_of(lake) == [
        ("bonn", "ok", False),
        ("kiel", "ok", True),
        ("bonn", "ok", True),
        ("kiel", outcome, False),
    ]
    assert reason in made(result)["raw_pois"]["not_refreshed"]["kiel"]
    sentence = failed_checks(result)["raw_pois", "refreshes"]
    assert sentence
    assert sentence.startswith(f"1 of 2 cities were not refreshed well: kiel ({outcome}: ")
    assert reason in sentence
    assert f"kiel: {outcome}, " in said(instance, result)


def test_a_city_without_any_point_is_no_fault(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve
) -> None:
    serve([cafe(1)])

    result = refresh(graph, instance)

    assert log_of(lake) == [("bonn", "ok", True), ("kiel", "empty", True)]
    assert made(result)["raw_pois"]["not_refreshed"] == {}
    assert ("raw_pois", "refreshes") not in failed_checks(result)


def test_when_no_city_comes_the_step_fails_and_the_points_of_before_stay(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    serve: Serve,
    a_month_later: Callable[[], None],
) -> None:
    serve()
    refresh(graph, instance)
    a_month_later()
    serve(places={})

    with pytest.raises(dg.Failure, match="Not one city was refreshed; the points of before stay") as failure:
        refresh(graph, instance)

    assert "bonn: " in str(failure.value)
    assert "kiel: " in str(failure.value)
    assert known(lake) == {"node/1": True, "node/2": True, "node/3": True}
    materialize(graph, instance, *POI_TABLES)
    assert known(lake) == {"node/1": True, "node/2": True, "node/3": True}
    assert log_of(lake)[2:] == [("bonn", "failed", False), ("kiel", "failed", False)]


def test_what_came_before_a_kill_is_kept_city_by_city(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    fetch = overpass.OverpassSource

    class Interrupted(fetch.func):  # type: ignore[name-defined, misc]
        def fetch(self, city: str) -> Any:
            if city == "kiel":
                raise KeyboardInterrupt
            return super().fetch(city)

    monkeypatch.setattr(overpass, "OverpassSource", functools.partial(Interrupted, **fetch.keywords))  # type: ignore[attr-defined]
    with pytest.raises((KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
        refresh(graph, instance)

    assert [kept.refresh.city for kept in lake.pois.refreshes()] == ["bonn"]


@pytest.mark.parametrize("more", [0, 1])
def test_more_cities_than_a_public_server_should_be_asked_for_are_warned_of(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    more: int,
) -> None:
    cities = ["bonn", *(f"city{number}" for number in range(MANY_CITIES - 1 + more))]
    monkeypatch.setenv("CHARGING_ASSETS_POI_CITIES", ",".join(cities))
    serve()

    result = refresh(graph, instance)

    assert len(lake.pois.refreshes()) == len(cities)
    assert ("CHARGING_ASSETS_POI_SOURCE=pbf" in said(instance, result)) == bool(more)


# From an extract


def extract(path: Path, *nodes: Node) -> Path:
    with osmium.SimpleWriter(path, overwrite=True) as writer:
        for one in nodes:
            writer.add(one)
    return path


@pytest.fixture
def pbf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the settings look for an extract; there is none yet."""
    path = tmp_path / "süd deutschland.osm.pbf"
    monkeypatch.setenv("CHARGING_ASSETS_POI_SOURCE", "pbf")
    monkeypatch.setenv("CHARGING_ASSETS_OSM_PBF", str(path))
    return path


def test_an_extract_is_taken_whole_and_nobody_is_asked(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve, pbf: Path
) -> None:
    put_stations(lake, STATION)
    server = serve()
    near, far = east(10), (13.4, 52.5)
    extract(
        pbf,
        Node(id=1, version=3, location=(near.x, near.y), tags={"amenity": "cafe"}),
        Node(id=2, version=1, location=far, tags={"shop": "mall", "name": "Fern"}),
        Node(id=3, version=1, location=far, tags={"highway": "crossing"}),
    )

    shown = made(refresh(graph, instance))

    assert server.requests == []
    assert (shown["raw_pois"]["source"], shown["raw_pois"]["features"]) == ("pbf", 2)
    rows = {row["id_poi"]: row for row in lake.read("poi", None).to_pylist()}
    assert {id_: (row["poi_category"], row["osm_version"]) for id_, row in rows.items()} == {
        "node/1": ("gastronomy", 3),
        "node/2": ("shopping", 1),
    }
    assert {row["city"] for row in rows.values()} == {"s-d-deutschland"}
    assert lake.read("mapping_poi_cs", None)["id_poi"].to_pylist() == ["node/1"]


def test_neuss_has_its_points_of_interest_from_the_extract(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    pbf: Path,
    neuss_pbf_path: Path,
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_OSM_PBF", str(neuss_pbf_path))
    put_stations(lake, (6.69, 51.2))

    result = refresh(graph, instance)

    rows = lake.read("poi", None)
    assert rows.num_rows > 100
    assert set(rows["city"].to_pylist()) == {"neuss"}
    assert None not in rows["osm_version"].to_pylist()
    assert all(json.loads(tags).get("amenity") != "charging_station" for tags in rows["tags"].to_pylist())
    assert failed_checks(result).keys() <= {("poi", "tags"), ("station_poi_features", "stations")}
    assert rows.num_rows + lake.read("rejected_pois", None).num_rows >= made(result)["raw_pois"]["features"]


@pytest.mark.parametrize("what", ["missing", "truncated", "without points"])
def test_an_extract_that_cannot_be_used_is_told_and_the_points_of_before_stay(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    a_month_later: Callable[[], None],
    pbf: Path,
    what: str,
) -> None:
    some = [Node(id=n, location=STATION, tags={"amenity": "cafe", "name": "x" * 99}) for n in range(1, 20_000)]
    extract(pbf, *some)
    refresh(graph, instance)
    before = known(lake)
    a_month_later()
    if what == "missing":
        pbf.unlink()
    elif what == "truncated":
        pbf.write_bytes(pbf.read_bytes()[: pbf.stat().st_size // 2])
    else:
        extract(pbf, Node(id=1, location=STATION, tags={"natural": "tree"}))

    with pytest.raises(dg.Failure, match="Not one city was refreshed; the points of before stay") as failure:
        refresh(graph, instance)

    assert str(pbf) in str(failure.value)
    materialize(graph, instance, *POI_TABLES)
    assert known(lake) == before
    assert [outcome for _, outcome, _ in log_of(lake)] == ["ok", "failed"]


# What is made of it


def test_building_asks_nobody(graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve) -> None:
    put_refresh(lake, "bonn", feature("node/1", east(5), amenity="cafe"))
    server = serve()

    materialize(graph, instance, *POI_TABLES, *STATION_TABLES)

    nodes = graph.resolve_job_def("refresh_dimensions").asset_layer.executable_asset_keys
    assert {key.path[-1] for key in nodes} >= set(STATION_TABLES)
    assert dg.AssetKey("raw_pois") not in nodes
    assert server.requests == []
    assert known(lake) == {"node/1": True}


def test_a_simulated_lake_asks_nobody(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve
) -> None:
    lake.raw.claim(Kind("simulated", seed=1))
    put_refresh(lake, "bonn", feature("node/1", east(5), amenity="cafe"), source="simulator")
    server = serve()

    shown = made(refresh(graph, instance))

    assert server.requests == []
    assert (shown["raw_pois"]["source"], shown["raw_pois"]["features"]) == ("simulator", 1)
    assert known(lake) == {"node/1": True}


def test_points_of_interest_come_before_any_station_is_known(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, serve: Serve
) -> None:
    serve()

    result = refresh(graph, instance)

    assert result.success
    assert lake.read("poi", None).num_rows == 3
    assert [made(result)[name]["dagster/row_count"] for name in STATION_TABLES] == [0, 0]
    assert failed_checks(result).keys() == {("poi", "tags")}


def test_stations_come_before_any_point_of_interest_is_known(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance
) -> None:
    put_stations(lake, STATION)

    result = materialize(graph, instance, *STATION_TABLES)

    assert [made(result)[name]["dagster/row_count"] for name in STATION_TABLES] == [0, 0]


def test_broken_features_are_rejected_and_counted_and_the_rest_is_mapped(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance
) -> None:
    put_stations(lake, STATION, (None, None), (48.8, 9.1), (0.0, 0.0))
    put_refresh(
        lake,
        "bonn",
        feature("node/1", east(5), amenity="cafe"),
        feature("way/2", bow_tie(5), shop="bakery"),
        feature("relation/3", None, shop="mall"),
    )

    shown = made(materialize(graph, instance, *POI_TABLES, *STATION_TABLES))

    assert shown["rejected_pois"]["dagster/row_count"] == 2
    assert shown["mapping_poi_cs"]["dagster/row_count"] == 2
    assert shown["mapping_poi_cs"]["stations_without_place"] == 3


def test_the_map_is_drawn_when_the_mapping_has_changed_and_only_then(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance
) -> None:
    put_stations(lake, STATION, (9.1002, 48.8001))
    put_refresh(lake, "bonn", *(feature(f"node/{n}", east(n), amenity="cafe") for n in range(1, 20)))

    def drawn() -> str | None:
        return made(materialize(graph, instance, *POI_TABLES, *STATION_TABLES))["mapping_poi_cs"].get("map")

    picture = drawn()
    assert picture
    head, _, content = picture.partition("base64,")
    assert head == "![stations and points of interest](data:image/png;"
    assert base64.b64decode(content.removesuffix(")")).startswith(PNG)
    assert drawn() is None
    assert drawn() is None
    put_stations(lake, STATION)
    assert drawn()


def test_other_radii_and_categories_make_another_mapping_of_the_same_points(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_stations(lake, STATION)
    put_refresh(lake, "bonn", *(feature(f"node/{n}", east(n), amenity="fast_food") for n in (20, 80)))

    def mapped() -> list[tuple[str, str, float]]:
        materialize(graph, instance, *POI_TABLES, *STATION_TABLES)
        rows = lake.read("mapping_poi_cs", None).to_pylist()
        return [(row["id_poi"], row["poi_category"], row["radius_m"]) for row in rows]

    assert mapped() == [("node/20", "fast_food", 30)]
    monkeypatch.setenv("CHARGING_ASSETS_POI_RADIUS_M", "100")
    assert mapped() == [("node/20", "fast_food", 100), ("node/80", "fast_food", 100)]
    monkeypatch.setenv("CHARGING_ASSETS_POI_CATEGORIES", "original")
    monkeypatch.delenv("CHARGING_ASSETS_POI_RADIUS_M")
    assert mapped() == [("node/20", "fast_food", 30)]
    assert {row["poi_category"] for row in lake.read("station_poi_features", None).to_pylist()} == {
        *("supermarket", "fast_food", "highway_services", "fuel", "mall", "doityourself")
    }


@pytest.mark.parametrize("asset", ["raw_pois", "poi", "mapping_poi_cs"])
def test_a_file_of_categories_with_an_error_stops_the_step_with_what_was_expected(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asset: str,
) -> None:
    server = serve()
    file = tmp_path / "mine.toml"
    file.write_text("[food]\nradius_m = 30\n")
    monkeypatch.setenv("CHARGING_ASSETS_POI_CATEGORIES", str(file))
    group = {"raw_pois": ["raw_pois"], "poi": POI_TABLES, "mapping_poi_cs": STATION_TABLES}[asset]

    with pytest.raises(Exception, match=r"mine.toml, \[food\], tags: expected keys with values"):
        materialize(graph, instance, *group)

    assert server.requests == []


def test_points_that_a_check_found_bad_are_not_matched(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance
) -> None:
    put_stations(lake, STATION)
    put_refresh(lake, "bonn", *(feature(f"node/{n}", east(n), amenity="cafe") for n in (1, 2)))
    materialize(graph, instance, *POI_TABLES)
    rewrite(lake, "poi", None, lambda rows: rows.take([1, 0]))
    checks = {key for key in graph.resolve_asset_graph().asset_check_keys if key.asset_key.path == ["poi"]}
    job = graph.resolve_implicit_global_asset_job_def()
    job.get_subset(asset_selection=set(), asset_check_selection=checks).execute_in_process(
        instance=instance, raise_on_error=False
    )

    with pytest.raises(dg.Failure, match="must not be read"):
        materialize(graph, instance, *STATION_TABLES)

    materialize(graph, instance, *POI_TABLES)
    assert materialize(graph, instance, *STATION_TABLES).success
