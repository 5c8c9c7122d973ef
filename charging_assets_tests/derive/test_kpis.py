"""Daily KPIs: figures computed by hand, and what holds for any day."""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_assets.calendar import day_bounds
from charging_assets.derive.occupancy.hourly import utilization_hourly
from charging_assets.derive.occupancy.kpis import kpi_daily
from charging_assets.derive.occupancy.observation import (
    FAULT,
    FREE,
    GONE,
    OCCUPIED,
    Gaps,
    ObservedDay,
    Pieces,
    Runs,
    Sights,
    Spans,
)
from charging_assets.derive.occupancy.places import SCHEMA as PLACES
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.rules import bounds_of, words_of
from charging_assets.model.tables import table
from charging_assets.model.tables.occupancy import SCOPES

DAY = dt.date(2026, 3, 11)
SPRING, AUTUMN = dt.date(2026, 3, 29), dt.date(2026, 10, 25)  # of 23 and 25 hours
HOUR = 3600
_CODES = {"F": FREE, "O": OCCUPIED, "X": FAULT, "G": GONE}
_NONE: Any = np.zeros(0, np.int64)
Row = dict[str, Any]
Rows = Mapping[tuple[str, str], Row]


@dataclass(frozen=True)
class Event:
    """A charging event: when it began, in seconds of the day, and what else KPIs count."""

    id_cp: str
    start: int = 0
    duration_s: int = HOUR
    is_left_censored: bool = False
    is_right_censored: bool = False
    is_overstay: bool = False
    is_suspicious: bool = False
    energy_kwh: float | None = None


def observed(
    seen: Mapping[str, str],
    date: dt.date = DAY,
    *,
    interval_s: int = HOUR,
    feeds: Mapping[str, str] | None = None,
    until_s: int | None = None,
) -> ObservedDay:
    """A day of polls: one letter per poll, which holds until the next one.

    Args:
        seen: by point, F(ree), O(ccupied), out of order (X), G(one) or nothing (.) at each poll from midnight on.
        date: the day.
        interval_s: between two polls.
        feeds: of the points; else koeln.
        until_s: while the day goes on, seconds until the last poll.
    """
    start, end = (int(bound.timestamp()) for bound in day_bounds(date))
    until = end if until_s is None else start + until_s
    ids = sorted(seen)
    names = sorted(set((feeds or {}).values()) | {"koeln"})
    found = [
        (point, start + poll * interval_s, _CODES[letter])
        for point, id_ in enumerate(ids)
        for poll, letter in enumerate(seen[id_])
        if letter != "." and start + poll * interval_s < end
    ]
    point, time, status_class = np.array(found, np.int64).reshape(-1, 3).T
    stop = np.minimum(time + interval_s, until)
    is_piece = time < stop
    runs = Runs(*(_NONE for _ in fields(Runs)))
    return ObservedDay(
        query_date=date,
        start=start,
        until=until,
        end=end,
        feeds=[("chargecloud", name) for name in names],
        statuses=[],
        ids=pa.array(ids, pa.string()),
        feed=np.array([names.index((feeds or {}).get(id_, "koeln")) for id_ in ids], np.int64),
        spans=Spans(runs, _NONE, _NONE, _NONE, _NONE, _NONE, Gaps(_NONE, _NONE, _NONE)),
        polls=_NONE,
        pieces=Pieces(point[is_piece], time[is_piece], stop[is_piece], status_class[is_piece]),
        sights=Sights(point, time, status_class),
    )


def places_of(day: ObservedDay, **told: Mapping[str, Any]) -> pa.Table:
    """Where the day's points are; what is not told is not known."""
    columns = {name: [told.get(name, {}).get(id_) for id_ in day.ids.to_pylist()] for name in PLACES.names}
    return pa.table({**columns, "id_cp": day.ids}, schema=PLACES)


def polls_of(event: Event) -> int:
    """How many polls every ten minutes see it."""
    return max(1, event.duration_s // 600)


def events_of(day: ObservedDay, events: Sequence[Event]) -> pa.Table:
    """The day's `charging_events`."""
    rows = []
    for event in sorted(events, key=lambda event: (event.id_cp, event.start)):
        start = dt.datetime.fromtimestamp(day.start + event.start, dt.UTC)
        kwh = event.energy_kwh
        rows.append(
            {
                **{field.name: False for field in arrow_schema("charging_events") if pa.types.is_boolean(field.type)},
                **dict.fromkeys(("status", "source", "feed"), "?"),
                **{name: getattr(event, name) for name in (field.name for field in fields(Event)) if name != "start"},
                "start_time": start,
                "end_time": start + dt.timedelta(seconds=event.duration_s),
                "energy_kwh_low": kwh and kwh / 2,
                "energy_kwh_high": kwh and kwh * 2,
                "query_date": day.query_date,
                "gap_s": 0,
                "n_polls": polls_of(event),
            }
        )
    schema = arrow_schema("charging_events")
    return pa.table([pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema)


def kpis(day: ObservedDay, events: Sequence[Event] = (), **told: Mapping[str, Any]) -> Rows:
    """Rows of the day by scope and id; the real table of hours is between."""
    places = places_of(day, **told)
    return rows_of(kpi_daily(day, places, utilization_hourly(day, places), events_of(day, events)))


def rows_of(made: pa.Table) -> Rows:
    return {(row["scope"], row["scope_id"]): row for row in made.to_pylist()}


def picked(row: Row, *names: str) -> list[Any]:
    return [row[name] for name in names]


RATIOS = (
    *("utilization", "utilization_available", "availability", "uptime", "free_on_arrival", "full_share"),
    *("peak_utilization", "events_per_point_day", "simultaneity"),
)


def test_a_points_seconds_and_ratios_are_those_of_its_day() -> None:
    row = kpis(observed({"A": "F" * 12 + "O" * 6 + "XX" + "GG" + ".."}))["point", "A"]

    names = [f"{kind}_s" for kind in ("occupied", "free", "fault", "gone", "unknown")]
    assert [second // HOUR for second in picked(row, *names)] == [6, 12, 2, 2, 2]
    assert picked(row, "points", "points_observed", "stations") == [1, 1, 0]
    assert row["coverage"] == pytest.approx(20 / 22)
    assert picked(row, "utilization", "utilization_available", "availability", "uptime") == pytest.approx(
        [6 / 20, 6 / 18, 18 / 20, 18 / 20]
    )
    assert picked(row, "station_polls", "station_polls_free", "station_polls_working", "station_polls_full") == [
        *(20, 12, 18, 6)
    ]
    assert picked(row, "free_on_arrival", "full_share") == pytest.approx([12 / 20, 6 / 18])
    assert picked(row, "max_occupied", "simultaneity", "peak_utilization") == [1, 1, 1]


def test_below_80_percent_coverage_ratios_are_hidden_and_counts_are_not() -> None:
    event = Event("A", is_overstay=True)
    enough, short = (
        kpis(observed({"A": "O" * hours}, interval_s=HOUR // 10), [event])["point", "A"] for hours in (192, 191)
    )
    assert enough["coverage"] == 0.8
    assert None not in picked(enough, *RATIOS)
    assert picked(short, *RATIOS) == [None] * len(RATIOS)
    assert short["coverage"] == pytest.approx(191 / 240)
    assert picked(short, "occupied_s", "events", "overstays", "max_occupied") == [191 * 360, 1, 1, 1]
    of_events = ("overstay_share", "duration_p50_s", "duration_p90_s")
    assert None not in picked(enough, *of_events)
    assert picked(short, *of_events) == [None] * 3


def test_a_point_of_which_nothing_was_observed_has_no_coverage_and_no_ratio() -> None:
    rows = kpis(observed({"A": "", "B": "G" * 24}))
    assert picked(rows["point", "A"], "coverage", "unknown_s", "points_observed") == [0, 24 * HOUR, 0]
    assert picked(rows["point", "B"], "coverage", "gone_s", "points_observed") == [None, 24 * HOUR, 0]
    assert [picked(row, *RATIOS) for row in rows.values()] == [[None] * len(RATIOS)] * 3


def test_a_station_is_full_when_none_of_its_working_points_is_free() -> None:
    seen = {
        "A": "FOOXXGG." + "F" * 16,
        "B": "FFOOXX.X" + "F" * 16,
    }
    row = kpis(observed(seen), id_cs={"A": 7, "B": 7})["station", "7"]
    # polls:   free, free, full, full, fault, fault, none, fault, then 16 free
    assert picked(row, "station_polls", "station_polls_free", "station_polls_working", "station_polls_full") == [
        *(23, 18, 20, 2)
    ]
    assert picked(row, "free_on_arrival", "full_share") == pytest.approx([18 / 23, 2 / 20])


def test_a_city_sums_the_polls_of_its_stations_and_a_point_without_one_is_a_station_of_its_own() -> None:
    seen = {"A": "OF" * 12, "B": "FF" * 12, "C": "OO" * 12, "D": "OF" * 12}
    rows = kpis(observed(seen), id_cs={"A": 7, "B": 7}, city=dict.fromkeys(seen, "Köln"))

    polls = ("station_polls", "station_polls_free", "station_polls_full", "stations", "points")
    assert picked(rows["city", "Köln"], *polls) == [72, 24 + 12, 24 + 12, 1, 4]
    assert picked(rows["station", "7"], *polls) == [24, 24, 0, 1, 2]
    assert [scope_id for scope, scope_id in rows if scope == "station"] == ["7"]


def test_a_scope_judges_stations_by_its_own_points() -> None:
    seen = {"A": "O" * 24, "B": "F" * 24}
    power = {"A": "DC 0-50", "B": "AC 11-22"}
    rows = kpis(observed(seen), id_cs={"A": 7, "B": 7}, power_class=power)
    shares = {scope: (row["full_share"], row["free_on_arrival"]) for scope, row in rows.items()}
    assert shares["power_class", "DC 0-50"] == shares["point", "A"] == (1, 0)
    assert shares["power_class", "AC 11-22"] == shares["station", "7"] == (0, 1)


def test_simultaneity_counts_points_that_are_occupied_at_the_same_poll() -> None:
    seen = {"A": "OOFF" * 6, "B": "FOOF" * 6, "C": "FFFO" * 6, "D": ""}
    row = kpis(observed(seen))["feed", "koeln"]
    assert picked(row, "points", "points_observed", "max_occupied") == [4, 3, 2]
    assert row["coverage"] == 0.75
    row = kpis(observed({id_: seen[id_] for id_ in "ABC"}))["feed", "koeln"]
    assert row["simultaneity"] == pytest.approx(2 / 3)


def test_peak_utilization_is_the_95th_percentile_of_the_hours_that_were_observed() -> None:
    whole = kpis(observed({"A": "OO" + "OF" + "FF" * 22}, interval_s=HOUR // 2))["point", "A"]
    assert whole["peak_utilization"] == pytest.approx(0.85 * 0.5)  # hour 21.85 of 0..23, of which 22 is the one at 0.5
    short = kpis(observed({"A": "OO" + "OF" + "FF" * 21 + ".."}, interval_s=HOUR // 2))["point", "A"]
    assert short["peak_utilization"] == pytest.approx(0.9 * 0.5)  # hour 20.9 of 0..22


def test_the_peak_of_a_city_is_that_of_its_hours_and_not_of_its_points() -> None:
    rows = kpis(observed({"A": "O" * 12 + "F" * 12, "B": "F" * 12 + "O" * 12}), city={"A": "Köln", "B": "Köln"})
    assert [rows[scope]["peak_utilization"] for scope in (("point", "A"), ("city", "Köln"))] == [1, 0.5]


def test_durations_are_of_events_whose_both_ends_were_seen() -> None:
    day = observed(dict.fromkeys("AB", "F" * 24))
    events = [
        *(Event("A", number, duration) for number, duration in enumerate((600, 1200, 1801, 6000))),
        Event("A", 10, 90_000, is_left_censored=True, is_suspicious=True, is_overstay=True, energy_kwh=20.0),
        Event("A", 11, 50_000, is_right_censored=True, is_overstay=True),
        Event("B", 0, 40_000, is_left_censored=True, is_right_censored=True, energy_kwh=4.0),
    ]
    rows = kpis(day, events, city={"A": "Köln", "B": "Köln"})

    counted = ("events", "censored_events", "suspicious_events", "overstays")
    assert picked(rows["point", "A"], *counted) == [6, 1, 1, 2]
    assert picked(rows["city", "Köln"], *counted) == [7, 2, 1, 2]
    durations = ("duration_p50_s", "duration_p90_s")
    assert picked(rows["point", "A"], *durations) == [1500, 6060]  # the end of 2 polls; 0.6 through the tenth one
    assert picked(rows["city", "Köln"], *durations) == [1500, 6060]
    assert picked(rows["point", "B"], *durations) == [None, None]
    assert picked(rows["point", "A"], "events_per_point_day", "overstay_share") == pytest.approx([5, 2 / 6])
    assert rows["city", "Köln"]["events_per_point_day"] == pytest.approx(2.5)  # those that were seen to end


def test_energy_is_null_where_no_event_has_an_estimate() -> None:
    day = observed(dict.fromkeys("ABC", "F" * 24))
    events = [Event("A", 0, energy_kwh=20.0), Event("A", 1), Event("B", 0)]
    rows = kpis(day, events, id_cs={"A": 1, "B": 1, "C": 2})
    energies = ("energy_kwh", "energy_kwh_low", "energy_kwh_high")
    assert picked(rows["point", "A"], *energies) == picked(rows["station", "1"], *energies) == [20, 10, 40]
    assert picked(rows["point", "B"], *energies) == picked(rows["point", "C"], *energies) == [None] * 3


OPEN = ("open_occupied_s", "open_observed_s", "open_unknown_s", "open_utilization")


def open_on(*weekdays: int) -> str:
    """Opening hours from 8 to 20 o'clock."""
    periods = [{"weekday": day, "period_begin": "08:00", "period_end": "20:00"} for day in weekdays]
    return json.dumps({"regular_hours": periods})


BY_DAY, ON_MONDAYS = open_on(3, 7), open_on(1)


def test_opening_hours_cut_the_time_of_the_stations_that_have_some() -> None:
    seen = {
        "A": "F" * 6 + "O" * 4 + "F" * 8 + "GX" + "..FF",  # 2 of 11 hours; gone at 18
        "B": "F" * 6 + "O" * 4 + "F" * 6 + ".." + "F" * 6,  # 2 of 10 hours, 2 not observed
        "C": "O" * 24,  # nobody knows when it is open
        "D": "OF" * 12,  # always
    }
    rows = kpis(
        observed(seen),
        id_cs={"A": 1, "B": 1, "C": 2, "D": 3},
        city=dict.fromkeys(seen, "Köln"),
        opening_hours={"A": BY_DAY, "B": BY_DAY},
        open_24_7={"A": False, "B": False, "D": True},
    )
    assert picked(rows["point", "A"], *OPEN) == [2 * HOUR, 11 * HOUR, 0, pytest.approx(2 / 11)]
    assert picked(rows["point", "B"], *OPEN) == [2 * HOUR, 10 * HOUR, 2 * HOUR, pytest.approx(2 / 10)]
    assert picked(rows["station", "1"], *OPEN) == [4 * HOUR, 21 * HOUR, 2 * HOUR, pytest.approx(4 / 21)]
    assert picked(rows["station", "2"], *OPEN) == [None] * 4
    assert picked(rows["station", "3"], *OPEN) == [12 * HOUR, 24 * HOUR, 0, 0.5]
    assert picked(rows["city", "Köln"], *OPEN) == [16 * HOUR, 45 * HOUR, 2 * HOUR, pytest.approx(16 / 45)]


def test_a_piece_is_cut_where_a_station_opens_and_closes() -> None:
    hours = BY_DAY.replace("08:00", "08:15").replace("20:00", "19:50")
    row = kpis(observed({"A": "F" * 8 + "O" * 12 + "F" * 4}), opening_hours={"A": hours})["point", "A"]
    assert picked(row, "open_occupied_s", "open_observed_s") == [11 * HOUR + 35 * 60] * 2


def test_a_station_that_is_closed_all_day_has_no_open_seconds_and_no_utilization_of_them() -> None:
    row = kpis(observed({"A": "O" * 24}), opening_hours={"A": ON_MONDAYS})
    assert picked(row["point", "A"], *OPEN) == [0, 0, 0, None]


@pytest.mark.parametrize(("date", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_days_on_which_clocks_change_have_all_their_hours(date: dt.date, hours: int) -> None:
    seen = {"A": "O" * hours, "B": "F" * hours}
    overnight = BY_DAY.replace("08:00", "00:00")
    row = kpis(observed(seen, date), opening_hours={"A": overnight}, open_24_7={"B": True})["feed", "koeln"]
    assert picked(row, "occupied_s", "free_s", "unknown_s", "station_polls") == [
        hours * HOUR,
        hours * HOUR,
        0,
        2 * hours,
    ]
    assert picked(row, "open_occupied_s", "open_observed_s") == [(hours - 4) * HOUR, (2 * hours - 4) * HOUR]
    assert row["utilization"] == 0.5


def test_a_day_that_goes_on_counts_up_to_its_last_poll() -> None:
    row = kpis(
        observed({"A": "FOF" + "OO"}, until_s=4 * HOUR + 1200), opening_hours={"A": BY_DAY.replace("08:00", "04:10")}
    )["point", "A"]
    assert picked(row, "occupied_s", "free_s", "unknown_s", "coverage") == [2 * HOUR + 1200, 2 * HOUR, 0, 1]
    assert picked(row, "open_occupied_s", "open_unknown_s") == [600, 0]


def test_a_day_whose_only_poll_was_at_midnight_has_no_kpis_yet() -> None:
    day = observed({"A": "O", "B": "F"}, until_s=0)
    no_hours = arrow_schema("utilization_hourly").empty_table()
    assert kpi_daily(day, places_of(day), no_hours, events_of(day, [])).num_rows == 0


def test_scopes_are_named_and_placed() -> None:
    rows = kpis(
        observed(dict.fromkeys("ABCD", "F" * 24), feeds={"C": "bonn"}),
        id_cs={"A": 9, "B": 9, "C": 10},
        station_name={"A": "Am Markt", "B": "Am Markt"},
        city={"A": "Köln", "B": "Köln", "C": "Bonn"},
        operator_name={"A": "Stadtwerke", "B": "Stadtwerke"},
        power_class={"A": "AC 11-22", "B": "DC 0-50", "C": "AC 11-22"},
    )
    labels = ("name", "city", "operator_name", "power_class")
    assert {scope: picked(row, *labels) for scope, row in rows.items()} == {
        ("city", "Bonn"): ["Bonn", "Bonn", None, None],
        ("city", "Köln"): ["Köln", "Köln", None, None],
        ("feed", "bonn"): ["bonn", None, None, None],
        ("feed", "koeln"): ["koeln", None, None, None],
        ("operator", "Stadtwerke"): ["Stadtwerke", None, "Stadtwerke", None],
        ("point", "A"): ["A", "Köln", "Stadtwerke", "AC 11-22"],
        ("point", "B"): ["B", "Köln", "Stadtwerke", "DC 0-50"],
        ("point", "C"): ["C", "Bonn", None, "AC 11-22"],
        ("point", "D"): ["D", None, None, None],
        ("power_class", "AC 11-22"): ["AC 11-22", None, None, "AC 11-22"],
        ("power_class", "DC 0-50"): ["DC 0-50", None, None, "DC 0-50"],
        ("station", "10"): [None, "Bonn", None, "AC 11-22"],
        ("station", "9"): ["Am Markt", "Köln", "Stadtwerke", None],
    }
    assert list(rows) == sorted(rows)
    assert [rows["power_class", name]["stations"] for name in ("AC 11-22", "DC 0-50")] == [2, 1]


def test_a_station_with_a_point_of_unknown_power_has_no_power_class() -> None:
    day = observed(dict.fromkeys("AB", "F" * 24))
    for power in ({"A": "AC 11-22"}, {"B": "AC 11-22"}):
        assert kpis(day, id_cs={"A": 9, "B": 9}, power_class=power)["station", "9"]["power_class"] is None
    both = dict.fromkeys("AB", "AC 11-22")
    assert kpis(day, id_cs={"A": 9, "B": 9}, power_class=both)["station", "9"]["power_class"] == "AC 11-22"


def test_the_lake_takes_the_table_also_of_a_day_without_points(lake: Lake) -> None:
    for date, seen in ((DAY, {"A": "FO" * 12, "B": "O.." * 8}), (AUTUMN, {})):
        day = observed(seen, date)
        places = places_of(day, id_cs={"A": 7})
        made = kpi_daily(day, places, utilization_hourly(day, places), events_of(day, [Event(id_) for id_ in seen]))
        assert made.schema == arrow_schema("kpi_daily")
        lake.write("kpi_daily", date, made)
        assert lake.read("kpi_daily", date).num_rows == made.num_rows == (4 if seen else 0)


def test_an_event_of_a_point_that_is_not_of_the_day_is_refused() -> None:
    day = observed({"A": "F" * 24})
    places = places_of(day)
    with pytest.raises(ValueError, match=r"events of the 1 charging points of the day, got one of Z; make both"):
        kpi_daily(day, places, utilization_hourly(day, places), events_of(day, [Event("A"), Event("Z")]))


@dataclass(frozen=True)
class World:
    """Some day: what was seen of points, where they are, and events."""

    seen: dict[str, str]
    date: dt.date
    stations: dict[str, int | None]
    power: dict[str, str | None]
    feeds: dict[str, str]
    events: list[Event]

    def day(self) -> ObservedDay:
        return observed(self.seen, self.date, interval_s=HOUR // 2, feeds=self.feeds)

    def rows(self) -> Rows:
        return rows_of(self.table())

    def table(self) -> pa.Table:
        day, at = self.day(), self.stations
        places = places_of(
            day,
            id_cs=at,
            station_name={id_: f"Nr. {number}" for id_, number in at.items() if number},
            city={id_: "Köln" if number < 3 else "Bonn" for id_, number in at.items() if number},
            operator_name={id_: "Stadtwerke" for id_, number in at.items() if number in (2, 3)},
            power_class=self.power,
            opening_hours={id_: (BY_DAY, ON_MONDAYS, "?")[number % 3] for id_, number in at.items() if number},
            open_24_7={id_: number == 4 for id_, number in at.items() if number},
        )
        return kpi_daily(day, places, utilization_hourly(day, places), events_of(day, self.events))


@st.composite
def worlds(draw: st.DrawFn, letters: str = "FFOOXG..", stations: Sequence[int | None] = (None, 1, 2, 3, 4)) -> World:
    ids = [f"DE*ABC*E{number}" for number in range(draw(st.integers(0, 6)))]
    polls = st.text(st.sampled_from(letters), min_size=50, max_size=50)
    numbers = {id_: number for number, id_ in enumerate(ids)}
    events = st.builds(
        Event,
        st.sampled_from(ids or ["none"]),
        st.integers(0, 23 * HOUR),
        st.integers(60, 100_000),
        *[st.booleans()] * 4,
        st.none() | st.floats(0.1, 40),
    )
    unique: Callable[[Event], Any] = lambda event: (event.id_cp, event.start)  # noqa: E731
    return World(
        {id_: draw(polls) for id_ in ids},
        draw(st.sampled_from([DAY, SPRING, AUTUMN])),
        {id_: draw(st.sampled_from(stations)) for id_ in ids},
        {id_: draw(st.sampled_from([None, "AC 11-22", "DC 0-50"])) for id_ in ids},
        {id_: "koeln" if number % 2 else "bonn" for id_, number in numbers.items()},
        draw(st.lists(events, max_size=8, unique_by=unique)) if ids else [],
    )


@settings(max_examples=60)
@given(worlds())
def test_no_kpi_is_outside_its_range_or_nan_whatever_was_seen(world: World) -> None:
    made = world.table()
    declared = table("kpi_daily")
    for name, (least, most) in bounds_of(declared).items():
        values = made[name].drop_null()
        assert pc.all(pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))).as_py() is not False, name
        assert not pa.types.is_floating(values.type) or pc.any(pc.is_nan(values)).as_py() is not True, name
    for name, words in words_of(declared).items():
        assert set(made[name].drop_null().to_pylist()) <= set(words)
    for field in made.schema:
        assert field.nullable or not made[field.name].null_count, field.name
    order = [(row["scope"], row["scope_id"]) for row in made.select(["scope", "scope_id"]).to_pylist()]
    assert order == sorted(set(order))
    assert not world.seen or {scope for scope, _ in order} >= {"point", "feed"}
    assert {scope for scope, _ in order} <= set(SCOPES)


@settings(max_examples=60)
@given(worlds())
def test_the_seconds_of_a_scope_are_its_points_times_the_length_of_the_day(world: World) -> None:
    day = world.day()
    for row in world.rows().values():
        kinds = picked(row, "occupied_s", "free_s", "fault_s", "gone_s", "unknown_s")
        assert sum(kinds) == row["points"] * (day.until - day.start)
        if row["open_observed_s"] is not None:
            assert row["open_occupied_s"] <= row["occupied_s"]
            assert row["open_observed_s"] <= sum(kinds[:3])
            assert row["open_unknown_s"] <= row["unknown_s"]


SUMS = (
    *("points", "points_observed", "occupied_s", "free_s", "fault_s", "gone_s", "unknown_s", "events", "overstays"),
    *("censored_events", "suspicious_events"),
)


@settings(max_examples=60)
@given(worlds(stations=(1, 2, 3, 4)))
def test_points_stations_cities_and_feeds_have_the_same_sums(world: World) -> None:
    rows = world.rows()
    sums: dict[str, list[int]] = {}
    for (scope, _), row in rows.items():
        so_far = sums.get(scope, [0] * len(SUMS))
        sums[scope] = [one + other for one, other in zip(so_far, picked(row, *SUMS), strict=True)]
    assert sums.get("point") == sums.get("station") == sums.get("city") == sums.get("feed")
    for name in ("energy_kwh", "open_occupied_s", "open_observed_s", "open_unknown_s", "stations"):
        total = {
            kind: sum(row[name] or 0 for (scope, _), row in rows.items() if scope == kind)
            for kind in ("station", "city")
        }
        assert total["station"] == pytest.approx(total["city"]), name


@settings(max_examples=60)
@given(worlds(letters="FOX", stations=(1, 2, 3)))
def test_the_utilization_of_a_city_is_the_mean_of_its_points_weighted_by_observed_time(world: World) -> None:
    rows = world.rows()
    for (scope, city), row in rows.items():
        if scope != "city":
            continue
        points = [point for (kind, _), point in rows.items() if kind == "point" and point["city"] == city]
        weights = [sum(picked(point, "occupied_s", "free_s", "fault_s")) for point in points]
        for name in ("utilization", "availability", "uptime", "events_per_point_day"):
            mean = np.average([point[name] for point in points], weights=weights)
            assert row[name] == pytest.approx(mean), name


@settings(max_examples=60)
@given(worlds())
def test_polls_are_counted_as_one_would_count_them_one_by_one(world: World) -> None:
    at = world.stations
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for id_ in world.seen:
        members["point", id_].append(id_)
        members["feed", world.feeds[id_]].append(id_)
        if at[id_]:
            members["station", str(at[id_])].append(id_)
        if world.power[id_]:
            members["power_class", str(world.power[id_])].append(id_)
    day = world.day()
    polls = (day.until - day.start) // (HOUR // 2)
    rows = world.rows()
    for scope, ids in members.items():
        counted, most = np.zeros(4, int), 0
        for poll in range(polls):
            stations: dict[Any, str] = defaultdict(str)
            for id_ in ids:
                stations[at[id_] or id_] += world.seen[id_][poll].strip(".G")
            for seen in filter(None, stations.values()):
                is_free, is_working = "F" in seen, bool(set(seen) & set("FO"))
                counted += [1, is_free, is_working, is_working and not is_free]
            most = max(most, sum(world.seen[id_][poll] == "O" for id_ in ids))
        names = ("station_polls", "station_polls_free", "station_polls_working", "station_polls_full", "max_occupied")
        assert picked(rows[scope], *names) == [*counted.tolist(), most]


@settings(max_examples=60)
@given(worlds())
def test_as_many_events_as_asked_for_are_shorter_than_a_quantile_of_durations(world: World) -> None:
    rows = world.rows()
    for feed in set(world.feeds.values()):
        whole = [
            event
            for event in world.events
            if world.feeds[event.id_cp] == feed and not (event.is_left_censored or event.is_right_censored)
        ]
        found = picked(rows["feed", feed], "duration_p50_s", "duration_p90_s")
        for share, duration_s in zip((0.5, 0.9), found, strict=True):
            if whole and (rows["feed", feed]["coverage"] or 0) >= 0.8:
                assert shorter(whole, duration_s - 1) <= share <= shorter(whole, duration_s + 1)
            else:
                assert duration_s is None


def shorter(events: Sequence[Event], duration_s: float) -> float:
    """Share of events shorter than this, each spread over the poll that it was rounded to."""
    widths = [event.duration_s / polls_of(event) for event in events]
    parts = [
        min(max((duration_s - event.duration_s + width / 2) / width, 0), 1)
        for event, width in zip(events, widths, strict=True)
    ]
    return sum(parts) / len(events)
