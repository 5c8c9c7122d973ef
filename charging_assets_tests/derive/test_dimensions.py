"""Versions of master data: what they are, from when to when, and that the order of building does not matter."""

import datetime as dt
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charging_assets.calendar import day_bounds
from charging_assets.derive.dimensions import dimensions
from charging_assets.lake import InvalidRows, Lake
from charging_assets.model.arrow import arrow_schema

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of equal master data: a row of `master_observations`."""

    level: str
    id: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    feed: str = "koeln"
    source: str = "chargecloud"
    content_hash: int | None = None

    @property
    def row(self) -> Row:
        key = {"station": ("id_cs", int), "point": ("id_cp", str)}.get(self.level)
        made_up = zlib.crc32(repr(sorted(self.data.items())).encode())
        return {
            **self.data,
            **({key[0]: key[1](self.id)} if key else {}),
            "level": self.level,
            "id": self.id,
            "first_seen": self.first_seen,
            "last_seen": self.last_seen,
            "source": self.source,
            "feed": self.feed,
            "polls": 1,
            "content_hash": made_up if self.content_hash is None else self.content_hash,
        }


def write_day(lake: Lake, query_date: dt.date, runs: Iterable[Run]) -> None:
    schema = arrow_schema("master_observations")
    rows = [{**run.row, "query_date": query_date} for run in runs]
    rows.sort(key=lambda row: [row[name] for name in ("level", "source", "feed", "id", "first_seen")])
    lake.write("master_observations", query_date, pa.Table.from_pylist(rows, schema=schema))


def tables_of(lake: Lake, active_days: int = 2) -> dict[str, list[Row]]:
    """The six tables, each written and read again: so they are valid, with sorted and unique keys."""
    made = dimensions(lake, active_days=active_days)
    for name, rows in made.items():
        lake.write(name, None, rows)
    return {name: lake.read(name, None).to_pylist() for name in made}


def day(number: int) -> dt.date:
    return dt.date(2026, 11, number)


def hour(number: int, hours: float) -> dt.datetime:
    """That many hours after midnight of `day(number)`."""
    return day_bounds(day(number))[0] + dt.timedelta(hours=hours)


def all_day(level: str, id_: str, number: int, data: Mapping[str, Any] | None = None, feed: str = "koeln") -> Run:
    return Run(level, id_, hour(number, 0), hour(number, 23), data or {}, feed)


def station(number: int, feed: str = "koeln", **data: Any) -> Run:
    """Station 7, the whole day."""
    return all_day("station", "7", number, data, feed)


def columns(rows: Iterable[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


VALIDITY = ("valid_from", "valid_to", "is_current", "changed_columns")


# -- a station that is renamed, upgraded and gone --------------------------------------------------------------------

SLOW, FAST = {"id_cp": "DE*7", "max_power": 22}, {"id_cp": "DE*7", "max_power": 150}


def _story() -> dict[dt.date, list[Run]]:
    """Renamed on day 2, upgraded on day 4, gone on day 6; the feed goes on until day 8, with another station."""
    days: dict[dt.date, list[Run]] = {day(number): [all_day("station", "8", number)] for number in range(1, 9)}
    for number in range(1, 6):
        days[day(number)].append(all_day("point", "DE*7", number, {"id_cs": 7}))
    days[day(1)] += [station(1, name="Old"), all_day("connector", "70", 1, SLOW)]
    days[day(2)] += [
        Run("station", "7", hour(2, 0), hour(2, 9), {"name": "Old"}),
        Run("station", "7", hour(2, 10), hour(2, 23), {"name": "New"}),
        all_day("connector", "70", 2, SLOW),
    ]
    days[day(3)] += [station(3, name="New"), all_day("connector", "70", 3, SLOW)]
    days[day(4)] += [
        station(4, name="New"),
        Run("connector", "70", hour(4, 0), hour(4, 6), SLOW),
        Run("connector", "70", hour(4, 12), hour(4, 23), FAST),
    ]
    days[day(5)] += [station(5, name="New"), all_day("connector", "70", 5, FAST)]
    return days


def test_a_rename_and_an_upgrade_begin_versions_and_what_is_gone_is_not_active(lake: Lake) -> None:
    for date, runs in _story().items():
        write_day(lake, date, runs)
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "id_cs", "name", *VALIDITY) == [
        (7, "Old", hour(1, 0), hour(2, 10), False, None),
        (7, "New", hour(2, 10), None, True, "name"),
        (8, None, hour(1, 0), None, True, None),
    ]
    assert columns(made["connector_history"], "id_connector", "max_power", *VALIDITY) == [
        ("70", 22, hour(1, 0), hour(4, 12), False, None),
        ("70", 150, hour(4, 12), None, True, "max_power"),
    ]
    assert columns(made["charging_station"], "id_cs", "name", "first_seen", "last_seen", "is_active") == [
        (7, "New", hour(1, 0), hour(5, 23), False),
        (8, None, hour(1, 0), hour(8, 23), True),
    ]
    assert columns(made["charging_point"], "id_cp", "id_cs", "last_seen", "is_active") == [
        ("DE*7", 7, hour(5, 23), False)
    ]
    assert columns(made["connector"], "id_connector", "id_cp", "max_power", "is_active") == [("70", "DE*7", 150, False)]


@pytest.fixture(scope="module")
def told_in_order(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    folder = tmp_path_factory.mktemp("in_order")
    lake = Lake(str(folder / "lake"), folder / "home")
    for date, runs in sorted(_story().items()):
        write_day(lake, date, runs)
    return dimensions(lake, active_days=2)


@settings(max_examples=15)
@given(st.permutations(sorted(_story())), st.integers(0, 8))
def test_the_order_of_building_does_not_matter(
    told_in_order: dict[str, pa.Table], order: Sequence[dt.date], pause: int
) -> None:
    """Nor that the tables were made before all days were there, nor that days are built again."""
    story = _story()
    with TemporaryDirectory() as folder:
        lake = Lake(folder, Path(folder) / "home")
        for date in order[:pause]:
            write_day(lake, date, story[date])
        dimensions(lake, active_days=2)
        for date in [*order[pause:], *order[:2]]:
            write_day(lake, date, story[date])
        assert dimensions(lake, active_days=2) == told_in_order


def test_an_old_day_that_is_filled_in_the_middle_gives_the_versions_it_had(lake: Lake) -> None:
    write_day(lake, day(1), [station(1, name="A")])
    write_day(lake, day(3), [station(3, name="A")])
    assert len(tables_of(lake)["charging_station_history"]) == 1
    write_day(lake, day(2), [station(2, name="B")])
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "name", "valid_from", "valid_to") == [
        ("A", hour(1, 0), hour(2, 0)),
        ("B", hour(2, 0), hour(3, 0)),
        ("A", hour(3, 0), None),
    ]


# -- rules -----------------------------------------------------------------------------------------------------------


def test_a_lake_without_observations_gives_empty_tables(lake: Lake) -> None:
    assert set(tables_of(lake)) == {
        f"{name}{part}" for name in ("charging_station", "charging_point", "connector") for part in ("", "_history")
    }
    write_day(lake, day(1), [])
    assert not any(tables_of(lake).values())


def test_an_absence_is_no_version(lake: Lake) -> None:
    write_day(lake, day(1), [station(1, name="A")])
    write_day(lake, day(2), [all_day("station", "8", 2)])
    write_day(lake, day(3), [station(3, name="A")])
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "id_cs", *VALIDITY)[0] == (7, hour(1, 0), None, True, None)
    assert made["charging_station"][0]["is_active"]


def test_a_change_and_its_reversal_within_a_day_are_three_versions(lake: Lake) -> None:
    names = [("A", 0), ("B", 8), ("A", 9)]
    write_day(lake, day(1), [Run("station", "7", hour(1, at), hour(1, at), {"name": name}) for name, at in names])
    write_day(lake, day(2), [station(2, name="A")])
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "name", *VALIDITY) == [
        ("A", hour(1, 0), hour(1, 8), False, None),
        ("B", hour(1, 8), hour(1, 9), False, "name"),
        ("A", hour(1, 9), None, True, "name"),
    ]


def test_a_run_within_another_one_begins_a_version_of_its_own(lake: Lake) -> None:
    write_day(
        lake,
        day(1),
        [
            Run("station", "7", hour(1, 0), hour(1, 20), {"name": "A"}),
            Run("station", "7", hour(1, 8), hour(1, 9), {"name": "B"}),
        ],
    )
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "name", "valid_from") == [("A", hour(1, 0)), ("B", hour(1, 8))]
    assert made["charging_station"][0]["last_seen"] == hour(1, 20)
    write_day(lake, day(2), [station(2, name="A")])
    assert columns(tables_of(lake)["charging_station_history"], "name") == [("A",), ("B",), ("A",)]


def test_two_runs_that_one_feed_begins_at_once_are_kept_out_of_the_lake(lake: Lake) -> None:
    """Else two versions could have one `valid_from`."""
    with pytest.raises(InvalidRows, match="unique"):
        write_day(lake, day(1), [station(1, name="A"), station(1, name="B")])


def test_changed_columns_stand_in_the_order_of_the_table_and_a_null_is_a_value(lake: Lake) -> None:
    changes = [
        {"comment": "c", "name": "A", "open_24_7": True, "latitude": 50.0},
        {"comment": None, "name": "B", "open_24_7": True, "latitude": 50.5},
        {"comment": None, "name": "B", "open_24_7": None, "latitude": 50.5},
    ]
    for number, data in enumerate(changes, start=1):
        write_day(lake, day(number), [station(number, **data)])
    found = columns(tables_of(lake)["charging_station_history"], "changed_columns")
    assert found == [(None,), ("name,latitude,comment",), ("open_24_7",)]


def test_equal_columns_under_another_hash_are_no_version(lake: Lake) -> None:
    """Data that is not versioned must not make versions, whatever the hash covers."""
    write_day(lake, day(1), [station(1, name="A")])
    write_day(lake, day(2), [station(2, name="A", max_power=22)])  # a column of another level
    write_day(lake, day(3), [station(3, name="B", max_power=22)])
    found = columns(tables_of(lake)["charging_station_history"], "name", "valid_from", "changed_columns")
    assert found == [("A", hour(1, 0), None), ("B", hour(3, 0), "name")]


def test_a_hash_may_be_any_number(lake: Lake) -> None:
    hashes = [0, -(2**63), 2**63 - 1]
    for number, content_hash in enumerate(hashes, start=1):
        run = Run("station", "7", hour(number, 0), hour(number, 1), {"name": str(number)}, content_hash=content_hash)
        write_day(lake, day(number), [run])
    assert columns(tables_of(lake)["charging_station_history"], "name") == [("1",), ("2",), ("3",)]


def test_a_point_that_moves_to_another_station_gets_a_version(lake: Lake) -> None:
    for number, parent in ((1, 7), (2, 8)):
        write_day(lake, day(number), [all_day("point", "DE*7", number, {"id_cs": parent})])
    found = columns(tables_of(lake)["charging_point_history"], "id_cs", "valid_from", "changed_columns")
    assert found == [(7, hour(1, 0), None), (8, hour(2, 0), "id_cs")]


def test_stations_without_a_number_of_their_own_come_first(lake: Lake) -> None:
    write_day(lake, day(1), [all_day("station", id_, 1) for id_ in ("12", "-5", "3")])
    assert columns(tables_of(lake)["charging_station"], "id_cs") == [(-5,), (3,), (12,)]


# -- several feeds ---------------------------------------------------------------------------------------------------


def test_of_two_feeds_the_one_that_had_it_first_gives_its_columns_and_all_count_for_its_sights(lake: Lake) -> None:
    write_day(lake, day(1), [station(1, "koeln", name="Cologne's")])
    write_day(lake, day(2), [station(2, "koeln", name="Cologne's"), station(2, "bonn", name="Bonn's")])
    write_day(lake, day(3), [station(3, "bonn", name="Bonn's new")])
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "name", "valid_from", "valid_to") == [
        ("Cologne's", hour(1, 0), None)
    ]
    assert columns(made["charging_station"], "name", "feed", "first_seen", "last_seen", "is_active") == [
        ("Cologne's", "koeln", hour(1, 0), hour(3, 23), True)
    ]


def test_of_feeds_that_had_it_at_once_the_first_by_source_feed_and_id_wins(lake: Lake) -> None:
    """By the parts, not by the text they make together, where ``bonn-sued/7`` would come before ``bonn/7``."""
    write_day(lake, day(1), [station(1, "bonn-sued"), station(1, "bonn"), station(1, "koeln")])
    assert columns(tables_of(lake)["charging_station"], "feed") == [("bonn",)]
    write_day(lake, day(1), [all_day("station", id_, 1, {"source_id": id_}) for id_ in ("7", "07")])
    assert columns(tables_of(lake)["charging_station"], "id_cs", "source_id") == [(7, "07")]


def test_an_earlier_day_that_is_filled_in_changes_whose_columns_count(lake: Lake) -> None:
    write_day(lake, day(2), [station(2, "bonn", name="Bonn's")])
    write_day(lake, day(3), [station(3, "bonn", name="Bonn's"), station(3, "koeln", name="Cologne's")])
    write_day(lake, day(1), [station(1, "koeln", name="Cologne's")])
    assert columns(tables_of(lake)["charging_station_history"], "name", "valid_from") == [("Cologne's", hour(1, 0))]


# -- is_active -------------------------------------------------------------------------------------------------------


def test_a_feed_that_is_silent_says_nothing_about_its_stations(lake: Lake) -> None:
    write_day(lake, day(1), [station(1, "koeln"), all_day("station", "8", 1, feed="bonn")])
    for number in range(2, 9):
        write_day(lake, day(number), [all_day("station", "8", number, feed="bonn")])
    assert columns(tables_of(lake)["charging_station"], "id_cs", "is_active") == [(7, True), (8, True)]


@pytest.mark.parametrize(("active_days", "is_active"), [(1, False), (2, False), (3, True)])
def test_days_on_which_the_feed_was_not_observed_do_not_count(lake: Lake, active_days: int, is_active: bool) -> None:
    write_day(lake, day(1), [station(1), all_day("station", "8", 1)])
    for number in (5, 9):  # two days of the feed since, whatever lies between
        write_day(lake, day(number), [all_day("station", "8", number)])
    assert tables_of(lake, active_days)["charging_station"][0]["is_active"] is is_active


def test_what_left_the_feed_that_saw_it_last_is_not_active_though_another_feed_is_silent(lake: Lake) -> None:
    write_day(lake, day(1), [station(1, "koeln"), station(1, "bonn")])
    write_day(lake, day(2), [station(2, "bonn")])
    for number in (3, 4):
        write_day(lake, day(number), [all_day("station", "8", number, feed="bonn")])
    assert not tables_of(lake)["charging_station"][0]["is_active"]


# -- daylight saving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query_date", "changed_at"),
    [
        (dt.date(2026, 3, 29), dt.datetime(2026, 3, 29, 1, 0, tzinfo=dt.UTC)),  # 03:00, one minute after 01:59
        (dt.date(2026, 10, 25), dt.datetime(2026, 10, 25, 1, 0, tzinfo=dt.UTC)),  # 02:00 for the second time
    ],
)
def test_bounds_are_poll_times_on_the_days_that_have_23_or_25_hours(
    lake: Lake, query_date: dt.date, changed_at: dt.datetime
) -> None:
    start, end = day_bounds(query_date)
    poll = dt.timedelta(minutes=10)
    write_day(
        lake,
        query_date,
        [
            Run("station", "7", start, changed_at - poll, {"name": "A"}),
            Run("station", "7", changed_at, end - poll, {"name": "B"}),
        ],
    )
    write_day(lake, query_date + dt.timedelta(days=1), [Run("station", "7", end, end, {"name": "B"})])
    made = tables_of(lake)
    assert columns(made["charging_station_history"], "name", "valid_from", "valid_to") == [
        ("A", start, changed_at),
        ("B", changed_at, None),
    ]
    assert columns(made["charging_station"], "first_seen", "last_seen") == [(start, end)]


# -- against the rules, word by word ---------------------------------------------------------------------------------

_FEEDS = ("bonn", "bonn-sued", "koeln")
_SIGHT = st.tuples(
    st.integers(1, 5),  # day
    st.sampled_from(_FEEDS),
    st.sampled_from(["7", "07", "8"]),
    st.integers(0, 22),  # hour
    st.integers(0, 5),  # hours until its last sight
    st.sampled_from(["A", "B"]),
)


def _by_the_rules(runs: Mapping[int, list[Run]], active_days: int) -> dict[str, list[Row]]:
    """Stations and their history, slowly."""
    stations, history = [], []
    observed = {feed: [n for n in sorted(runs) if any(run.feed == feed for run in runs[n])] for feed in _FEEDS}
    for id_cs in sorted({int(run.id) for of_day in runs.values() for run in of_day}):
        sights = [(n, run) for n in runs for run in runs[n] if int(run.id) == id_cs]
        _, first = min(sights, key=lambda sight: (sight[1].first_seen, sight[1].source, sight[1].feed, sight[1].id))
        own = sorted(
            (run for _, run in sights if (run.feed, run.id) == (first.feed, first.id)), key=lambda run: run.first_seen
        )
        begins = [
            run for before, run in zip([None, *own], own, strict=False) if before is None or before.data != run.data
        ]
        last_day = max(n for n, _ in sights)
        feeds = {run.feed for n, run in sights if n == last_day}
        stations.append(
            {
                "id_cs": id_cs,
                "name": begins[-1].data["name"],
                "feed": first.feed,
                "first_seen": first.first_seen,
                "last_seen": max(run.last_seen for _, run in sights),
                "is_active": any(last_day in observed[feed][-active_days:] for feed in feeds),
            }
        )
        history += [
            {
                "id_cs": id_cs,
                "name": run.data["name"],
                "valid_from": run.first_seen,
                "valid_to": after and after.first_seen,
            }
            for run, after in zip(begins, [*begins[1:], None], strict=True)
        ]
    return {"charging_station": stations, "charging_station_history": history}


@settings(max_examples=60)
@given(st.lists(_SIGHT, max_size=25), st.integers(1, 3))
@example([(1, "koeln", "7", 0, 1, "A"), (1, "bonn", "07", 0, 1, "B"), (2, "koeln", "7", 0, 1, "B")], 1)
def test_any_observations_give_what_the_rules_say(
    sights: list[tuple[int, str, str, int, int, str]], active_days: int
) -> None:
    distinct = {(n, feed, id_, at): (hours, name) for n, feed, id_, at, hours, name in sights}
    runs: dict[int, list[Run]] = {}
    for (n, feed, id_, at), (hours, name) in distinct.items():
        runs.setdefault(n, []).append(
            Run("station", id_, hour(n, at), hour(n, min(at + hours, 23)), {"name": name}, feed)
        )
    with TemporaryDirectory() as folder:
        lake = Lake(folder, Path(folder) / "home")
        for number, of_day in runs.items():
            write_day(lake, day(number), of_day)
        made = dimensions(lake, active_days=active_days)
    for name, expected in _by_the_rules(runs, active_days).items():
        assert made[name].select(expected[0] if expected else []).to_pylist() == expected
