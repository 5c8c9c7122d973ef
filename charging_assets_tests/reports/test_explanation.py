"""A figure is taken apart down to the raw answers, on days that went through the whole pipeline."""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.feed_health import FeedHealthMaker
from charging_assets.derive.inputs import Inputs
from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets.model.tables.occupancy import METHOD_VERSION, SCOPES
from charging_assets.reports.explanation import FIGURES, Explanation, ExplanationError, Interval, as_json, explain
from charging_assets.simulator import write_history
from charging_assets_tests.chargecloud_answers import answer, evse, location
from charging_assets_tests.raw_days import make_raw_poll
from charging_assets_tests.simulated import small_simulation
from charging_assets_tests.sound_lake import rewrite, table_of, with_values

DAY = dt.date(2026, 3, 11)
HOUR_S = 3600
A, B = "DE*ABC*E1", "DE*ABC*E2"
LOST = 14
"""The local hour whose poll fails."""

Statuses = Mapping[str, Callable[[float], str | None]]
"""By point its status at the poll of each hour of the day; None: the answer does not have it."""


def usual(hour: float) -> str:
    return "CHARGING" if 8 <= hour <= 10 else "AVAILABLE"


def broken_in_the_evening(hour: float) -> str | None:
    return None if hour == 18 else "OUTOFORDER" if hour == 20 else "AVAILABLE"


STATUSES: Statuses = {A: usual, B: broken_in_the_evening}


def put_day(
    lake: Lake, date: dt.date = DAY, statuses: Statuses = STATUSES, hours: Sequence[float] | None = None, **station: Any
) -> None:
    """Put hourly polls of a station with these points into the lake; the one of `LOST` fails."""
    start, end = day_bounds(date)
    for hour in range(int((end - start).total_seconds()) // HOUR_S) if hours is None else hours:
        time = start + dt.timedelta(hours=hour)
        if hour == LOST:
            body = b"<html>Bad Gateway</html>"
            failed = Answer("koeln", body, attempts=3, http_status=502, bytes_total=len(body), error="HTTP 502")
            lake.raw.import_answers(Poll(f"made{hour}", time, HOUR_S, "chargecloud"), [failed])
            continue
        make_raw_poll(lake, time, {"koeln": body_of(hour, statuses, **station)}, interval_s=HOUR_S)


def body_of(hour: float, statuses: Statuses = STATUSES, **station: Any) -> bytes:
    """What the feed answers at the poll of an hour."""
    told = {id_cp: status_at(hour) for id_cp, status_at in statuses.items()}
    return answer(location("100", [evse(id_cp, status) for id_cp, status in told.items() if status], **station))


def build(lake: Lake, *dates: dt.date, frozen: Sequence[Mapping[str, Any]] = (), is_closed: bool = True) -> None:
    """Make the tables that figures rest on; `frozen` are rows of `frozen_spans`, by default what is found."""
    for date in dates:
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
    for date in dates:
        spans = table_of("frozen_spans", [dict(row) for row in frozen if row["query_date"] == date])
        found = FeedHealthMaker(lake).make(date, is_closed=is_closed)
        lake.write("frozen_spans", date, spans if frozen else found.frozen_spans)
    maker = OccupancyMaker(lake)
    for date in dates:
        day = maker.make(date, is_closed=is_closed)
        for name in TABLES:
            lake.write(name, date, getattr(day, name), Inputs(lake).fingerprint(name, date))


def local(text: str, date: dt.date = DAY) -> dt.datetime:
    """A wall-clock time of a day, in winter."""
    return dt.datetime.fromisoformat(f"{date}T{text}+01:00")


def times(interval: Interval) -> tuple[dt.datetime, dt.datetime]:
    return interval.start, interval.end


def differing(explanation: Explanation) -> set[tuple[str, str]]:
    return {(check.level, check.what) for check in explanation.checks if not check.is_equal}


@pytest.fixture(scope="module")
def day_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    lake = Lake(str(folder / "lake"), folder / "home")
    put_day(lake)
    build(lake, DAY)
    return folder


@pytest.fixture
def day(day_folder: Path, tmp_path: Path) -> Lake:
    """A lake of one's own with `DAY`."""
    shutil.copytree(day_folder, tmp_path / "copy")
    return Lake(str(tmp_path / "copy/lake"), tmp_path / "copy/home")


def test_utilization_is_occupied_by_observed_with_the_numbers_filled_in(day: Lake) -> None:
    found = explain(day, "utilization", "station", "100", DAY)
    assert found.figure.value == pytest.approx(10_800 / 165_600)
    assert (found.figure.symbols, found.figure.numbers) == ("B / O", "10,800 s / 165,600 s")
    assert found.figure.coverage == pytest.approx(165_600 / 172_800)
    assert found.totals == {"occupied": 10_800, "free": 151_200, "fault": 3_600, "gone": 0, "unknown": 7_200}
    assert (found.name, found.figure.hidden, found.is_sound) == ("Musterstr. 1", None, True)


def test_the_file_of_the_figure_is_named_with_what_it_was_made_from(day: Lake) -> None:
    found = explain(day, "utilization", "station", "100", DAY).provenance
    assert Path(found.file) == Path(day.uri) / f"tables/kpi_daily/query_date={DAY}.parquet"
    info = day.info("kpi_daily", DAY)
    assert info is not None
    assert (found.inputs, found.is_current) == (info.inputs, True)
    assert (found.code_version, found.method_version) == (info.code_version, METHOD_VERSION)


def test_points_come_with_most_of_what_the_figure_is_about_first(day: Lake) -> None:
    busiest = explain(day, "utilization", "station", "100", DAY).points
    assert [(point.id_cp, point.seconds["occupied"]) for point in busiest] == [(A, 10_800), (B, 0)]
    worst = explain(day, "availability", "station", "100", DAY).points
    assert [(point.id_cp, point.seconds["fault"]) for point in worst] == [(B, 3_600), (A, 0)]


def test_intervals_lie_around_the_polls_that_saw_them(day: Lake) -> None:
    (point,) = explain(day, "utilization", "point", A, DAY).points
    free, charging, again = point.intervals
    assert times(free) == (local("00:00:00"), local("07:30:00"))
    assert times(charging) == (local("07:30:00"), local("10:30:00"))
    assert times(again) == (local("10:30:00"), local("23:45:00"))
    assert (charging.status, charging.counts_as, charging.seconds, charging.n_polls) == (
        "CHARGING",
        "occupied",
        10_800,
        3,
    )
    assert charging.polls == tuple(f"20260311T{hour:02}0000Z/chargecloud/koeln" for hour in (7, 8, 9))


def test_every_poll_leads_to_its_raw_answer_by_the_hash(day: Lake) -> None:
    found = explain(day, "utilization", "point", A, DAY, verify=True)
    bodies = {
        local(f"{hour:02}:00:00"): b"<html>Bad Gateway</html>" if hour == LOST else body_of(hour) for hour in range(24)
    }
    assert {poll.query_time: poll.sha256 for poll in found.polls} == {
        time: hashlib.sha256(body).hexdigest() for time, body in bodies.items()
    }
    assert all(poll.is_verified for poll in found.polls)
    for poll in found.polls:
        assert poll.raw_file is not None
        kept = pq.read_table(Path(day.uri) / poll.raw_file)["body"].to_pylist()
        assert kept == [bodies[poll.query_time]]


def test_bodies_are_not_read_unless_asked_for(day: Lake) -> None:
    assert {poll.is_verified for poll in explain(day, "utilization", "point", A, DAY).polls} == {None}


def test_a_compacted_day_leads_to_its_one_file(day: Lake) -> None:
    day.raw.compact(DAY)
    found = explain(day, "utilization", "point", A, DAY, verify=True)
    (file,) = {poll.raw_file for poll in found.polls}
    assert file is not None
    assert (Path(day.uri) / file).exists()
    assert found.is_sound
    assert all(poll.is_verified for poll in found.polls)


def test_time_that_was_not_observed_says_why(day: Lake) -> None:
    (point,) = explain(day, "coverage", "point", B, DAY).points
    free = point.intervals[0]
    lost, absent = free.gaps
    assert (lost.start, lost.end, lost.seconds) == (local("13:45:00"), local("14:15:00"), 1_800)
    assert lost.reasons == ("1 poll of the feed gave nothing usable (failed: HTTP 502)",)
    assert absent.reasons == ("1 good answer did not have the point",)
    assert free.gap_s == 3_600
    (after,) = point.unobserved
    assert (after.start, after.end) == (local("23:45:00"), local("00:00:00", DAY + dt.timedelta(days=1)))
    assert after.reasons == ("no poll of the feed was made after 2026-03-11 23:00:00",)


def test_polls_that_were_never_made_are_named_by_those_around_them(lake: Lake) -> None:
    put_day(lake, hours=[2, 3, 8, 9])
    build(lake, DAY)
    (point,) = explain(lake, "coverage", "point", A, DAY).points
    assert [span.reasons for span in point.unobserved] == [
        ("no poll of the feed was made before 2026-03-11 02:00:00",),
        ("no poll of the feed was made between 2026-03-11 03:00:00 and 2026-03-11 08:00:00 (planned: every 3,600 s)",),
        ("no poll of the feed was made after 2026-03-11 09:00:00",),
    ]


def test_two_polls_of_one_moment_are_both_shown_and_counted_once(lake: Lake) -> None:
    put_day(lake)
    failed = Answer("koeln", b"busy", attempts=1, http_status=503, bytes_total=4, error="HTTP 503")
    lake.raw.import_answers(Poll("again", local("09:00:00"), HOUR_S, "chargecloud"), [failed])
    build(lake, DAY)
    found = explain(lake, "utilization", "point", A, DAY, verify=True)
    assert found.is_sound
    assert [poll.outcome for poll in found.polls if poll.query_time == local("09:00:00")] == ["failed", "ok"]
    assert found.points[0].intervals[1].n_polls == 3


def test_an_interval_may_only_reach_over_midnight(lake: Lake) -> None:
    before = DAY - dt.timedelta(days=1)
    put_day(lake, before, hours=[22.5, 23.5])
    put_day(lake, hours=[LOST])
    build(lake, before, DAY)
    found = explain(lake, "coverage", "point", A, DAY)
    (interval,) = found.points[0].intervals
    assert times(interval) == (local("00:00:00"), local("00:15:00"))
    assert (interval.n_polls, interval.polls) == (0, ())
    assert found.is_sound


def test_frozen_time_counts_as_unknown_and_says_since_when(lake: Lake) -> None:
    put_day(lake)
    start, end = local("02:00:00"), local("06:00:00")
    span = {
        "source": "chargecloud",
        "feed": "koeln",
        "id_cp": A,
        "start_time": start,
        "end_time": end,
        "query_date": DAY,
        "kind": "mass_reset",
        "freeze_start": start,
        "freeze_end": end,
        "expected_changes": 14.5,
        "is_proven_later": False,
        "polls": 4,
    }
    build(lake, DAY, frozen=[span])
    found = explain(lake, "utilization", "point", A, DAY)
    (frozen,) = (interval for interval in found.points[0].intervals if interval.counts_as == "unknown")
    assert times(frozen) == (local("01:30:00"), local("05:30:00"))
    assert (frozen.status_class, frozen.n_polls) == ("free", 4)
    assert frozen.flags[-1] == (
        "frozen (mass reset) since 2026-03-11 02:00:00 until 2026-03-11 06:00:00: "
        "14.5 changes were to be expected and none came"
    )
    assert found.is_sound


def test_a_hidden_figure_says_so_and_still_shows_its_ingredients(lake: Lake) -> None:
    put_day(lake, hours=range(8, 14))
    build(lake, DAY)
    found = explain(lake, "utilization", "point", A, DAY)
    assert found.figure.value is None
    assert found.figure.hidden == "coverage is 27.1 %, below 80 %"
    assert found.figure.numbers == "11,700 s / 23,400 s"
    assert found.is_sound


def test_every_figure_of_a_day_of_which_nothing_was_observed_is_explained(lake: Lake) -> None:
    put_day(lake, statuses={A: lambda _: "UNKNOWN"}, hours=[8, 9])
    build(lake, DAY)
    (row,) = (row for row in lake.read("kpi_daily", DAY).to_pylist() if row["scope"] == "point")
    for kpi in FIGURES:
        found = explain(lake, kpi, "point", A, DAY)
        assert differing(found) == set()
        assert found.figure.value == row[kpi]
    assert explain(lake, "utilization", "point", A, DAY).figure.hidden == "coverage is 0.0 %, below 80 %"
    assert explain(lake, "overstay_share", "point", A, DAY).figure.hidden == "coverage is 0.0 %, below 80 %"


def test_an_event_over_midnight_is_shown_with_the_polls_of_both_days(lake: Lake) -> None:
    before = DAY - dt.timedelta(days=1)
    put_day(lake, before, {A: lambda hour: "CHARGING" if hour >= 22 else "AVAILABLE"})
    put_day(lake, DAY, {A: lambda hour: "CHARGING" if hour < 2 else "AVAILABLE"})
    build(lake, before, DAY)
    found = explain(lake, "duration_p50_s", "point", A, DAY, verify=True)
    (event,) = found.events
    assert (event.start, event.end) == (local("21:30:00", before), local("01:30:00"))
    assert (event.duration_s, event.rank, found.durations) == (14_400, 1, ((14_400, 4),))
    assert event.polls == tuple(
        f"{day}00Z/chargecloud/koeln" for day in ("20260310T2100", "20260310T2200", "20260310T2300", "20260311T0000")
    )
    verified = {poll.key: poll.is_verified for poll in found.polls}
    assert all(verified[key] for key in event.polls)
    assert found.is_sound


def test_energy_shows_how_each_estimate_comes_about(day: Lake) -> None:
    found = explain(day, "energy_kwh", "point", A, DAY)
    (event,) = found.events
    assert event.power_class == "AC 11-22"
    assert event.energy_words == "min(4.4 kW * 3.000 h, 20 kWh)"
    assert event.energy_kwh == pytest.approx(13.2)
    assert found.figure.value == event.energy_kwh


def test_the_polls_of_a_station_tell_whether_one_was_free(lake: Lake) -> None:
    put_day(lake, statuses={A: usual, B: lambda hour: "CHARGING" if hour == 9 else "OUTOFORDER"})
    build(lake, DAY)
    found = explain(lake, "full_share", "station", "100", DAY)
    (station,) = found.stations
    assert (station.polls, station.polls_free, station.polls_working, station.polls_full) == (23, 20, 23, 3)
    at_nine = station.timeline[9]
    assert (at_nine.query_time, at_nine.free, at_nine.occupied, at_nine.fault) == (local("09:00:00"), 0, 2, 0)
    assert [poll.query_time for poll in station.timeline if poll.counts_as == "full"] == [
        local(f"{hour:02}:00:00") for hour in (8, 9, 10)
    ]
    assert found.figure.numbers == "3 / 23"
    assert found.is_sound


def test_the_busiest_poll_is_shown_with_the_points_that_were_occupied(lake: Lake) -> None:
    put_day(lake, statuses={A: usual, B: lambda hour: "BLOCKED" if hour == 9 else "AVAILABLE"})
    build(lake, DAY)
    busiest = explain(lake, "simultaneity", "city", "Musterstadt", DAY).busiest
    assert busiest is not None
    assert (busiest.query_time, busiest.occupied, busiest.polls_as_busy) == (local("09:00:00"), 2, 1)
    assert busiest.points == (A, B)


def test_peak_utilization_is_taken_apart_into_hours(day: Lake) -> None:
    found = explain(day, "peak_utilization", "station", "100", DAY)
    assert len(found.hours) == 24
    assert [hour.hour_local for hour in found.hours if hour.seconds["occupied"]] == [7, 8, 9, 10]
    assert found.hours[8].utilization == pytest.approx(0.5)
    assert found.is_sound


def test_opening_hours_are_shown_with_the_seconds_within_them(lake: Lake) -> None:
    hours = {
        "twentyfourseven": False,
        "regular_hours": [{"weekday": 3, "period_begin": "08:00", "period_end": "18:00"}],
    }
    put_day(lake, opening_times=hours)
    build(lake, DAY)
    found = explain(lake, "open_utilization", "station", "100", DAY)
    assert found.points[0].opening_hours == "08:00:00 to 18:00:00"
    assert found.points[0].open_seconds == {"occupied": 9_000, "observed": 34_200, "unknown": 1_800}
    assert found.figure.numbers is not None
    assert found.figure.numbers.startswith("9,000 s / ")
    assert found.is_sound


def test_a_day_that_goes_on_counts_to_its_last_poll_and_says_so(lake: Lake) -> None:
    put_day(lake, hours=range(12))
    build(lake, DAY, is_closed=False)
    found = explain(lake, "utilization", "point", A, DAY)
    assert found.until == local("11:00:00")
    assert sum(found.totals.values()) == 11 * HOUR_S
    assert "The day goes on: it counts up to its last poll, and the figure will change." in found.notes
    assert found.is_sound


@pytest.mark.parametrize(("date", "hours"), [(dt.date(2026, 3, 29), 23), (dt.date(2026, 10, 25), 25)])
def test_days_on_which_clocks_change_add_up(lake: Lake, date: dt.date, hours: int) -> None:
    put_day(lake, date)
    build(lake, date)
    found = explain(lake, "utilization", "station", "100", date)
    assert found.is_sound
    assert sum(found.points[0].seconds.values()) == hours * HOUR_S
    assert (
        f"Clocks were changed: the day has {hours} hours. Where local times repeat, UTC tells them apart."
        in found.notes
    )


def test_a_day_that_has_only_begun_has_no_figure_yet(lake: Lake) -> None:
    put_day(lake, hours=[0])
    build(lake, DAY, is_closed=False)
    with pytest.raises(ExplanationError, match="a day that has just begun has figures after its second poll"):
        explain(lake, "utilization", "point", A, DAY)


def test_most_limits_what_is_shown_and_not_what_is_added_up(day: Lake) -> None:
    found = explain(day, "utilization", "station", "100", DAY, most=1)
    assert [point.id_cp for point in found.points] == [A]
    assert found.points_in_all == 2
    assert sum(found.totals.values()) == 2 * 86_400
    assert found.is_sound


SIMULATED_DAYS = (dt.date(2026, 10, 24), dt.date(2026, 10, 25))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two days of three feeds of which 5 % of the answers are missing, the second of 25 hours."""
    folder = tmp_path_factory.mktemp("simulated")
    lake = Lake(str(folder / "lake"), folder / "home")
    write_history(small_simulation(), lake, SIMULATED_DAYS, interval_s=900, missing=0.05)
    build(lake, *SIMULATED_DAYS)
    return lake


@pytest.mark.parametrize(
    ("kpi", "scope"),
    [
        *((kpi, SCOPES[number % len(SCOPES)]) for number, kpi in enumerate(FIGURES)),
        *(("utilization", scope) for scope in SCOPES),
    ],
)
def test_every_figure_of_a_simulated_day_is_what_each_level_gives(simulated: Lake, kpi: str, scope: str) -> None:
    rows = simulated.read("kpi_daily", SIMULATED_DAYS[1]).to_pylist()
    largest = max((row for row in rows if row["scope"] == scope), key=lambda row: (row["points"], row["occupied_s"]))
    found = explain(simulated, kpi, scope, largest["scope_id"], SIMULATED_DAYS[1], most=2)
    assert differing(found) == set()
    assert found.figure.value == largest[kpi]
    assert {check.level for check in found.checks} >= {"figure", "points", "answers"}


Change = Callable[[pa.Table], pa.Table]


def changed(column: str, of: Callable[[Any], Any], row: int = 0) -> Change:
    return lambda rows: with_values(rows, column, {row: of(rows[column][row].as_py())})


def later(time: dt.datetime) -> dt.datetime:
    return time + dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("kpi", "name", "change", "noticed"),
    [
        ("utilization", "kpi_daily", changed("utilization", lambda ratio: ratio + 0.001), ("figure", "utilization")),
        ("utilization", "kpi_daily", changed("fault_s", lambda s: s + 1), ("points", "fault_s")),
        ("points_observed", "kpi_daily", changed("points_observed", lambda n: n + 1), ("points", "points_observed")),
        ("utilization", "utilization_hourly", changed("free_s", lambda s: s - 60), ("intervals", "free_s")),
        ("utilization", "status_intervals", changed("end_time", later), ("intervals", "free_s")),
        (
            "utilization",
            "status_intervals",
            changed("start_time", later, 1),
            ("polls", "intervals with polls, whose bounds follow from these"),
        ),
        ("utilization", "status_intervals", changed("gap_s", lambda s: s + 600, 2), ("polls", "gap_s")),
        (
            "utilization",
            "status_intervals",
            changed("n_polls", lambda n: n - 1),
            ("polls", "intervals with as many polls as they say"),
        ),
        (
            "utilization",
            "status_intervals",
            changed("is_frozen", lambda _: True, 1),
            ("intervals", "points whose intervals give their seconds"),
        ),
        (
            "utilization",
            "status_chargingpoints",
            changed("status_cp", lambda _: "CHARGING", 3),
            ("polls", "polls that saw another status than their interval has"),
        ),
        (
            "utilization",
            "poll_log",
            changed("sha256", lambda text: text[::-1], 3),
            ("answers", "answers that the raw files have by their SHA-256"),
        ),
        ("events", "kpi_daily", changed("events", lambda n: n + 1), ("events", "events")),
        ("duration_p90_s", "kpi_daily", changed("duration_p90_s", lambda s: s - 1), ("events", "duration_p90_s")),
        ("energy_kwh", "kpi_daily", changed("energy_kwh", lambda kwh: kwh * 1.01), ("events", "energy_kwh")),
        (
            "energy_kwh",
            "charging_events",
            changed("energy_kwh", lambda kwh: kwh * 1.01),
            ("events", "events whose energy follows from power class and duration"),
        ),
        (
            "events",
            "charging_events",
            changed("n_polls", lambda n: n + 1),
            ("polls", "polls that saw the events"),
        ),
        (
            "events",
            "charging_events",
            changed("end_time", later),
            ("events", "events whose duration is end - start"),
        ),
        ("peak_utilization", "kpi_daily", changed("peak_utilization", lambda r: r / 2), ("hours", "peak_utilization")),
        (
            "free_on_arrival",
            "kpi_daily",
            changed("station_polls_free", lambda n: n - 1),
            ("stations", "station_polls_free"),
        ),
        ("max_occupied", "kpi_daily", changed("max_occupied", lambda n: n + 1), ("busiest", "max_occupied")),
        ("open_occupied_s", "kpi_daily", changed("open_occupied_s", lambda s: s + 1), ("points", "open_occupied_s")),
    ],
)
def test_what_somebody_changed_is_noticed_where_it_was_changed(
    day: Lake, kpi: str, name: str, change: Change, noticed: tuple[str, str]
) -> None:
    if name == "kpi_daily":  # it has rows of all scopes
        scopes = day.read(name, DAY, ["scope"])["scope"].to_pylist()
        inner, at = change, scopes.index("station")

        def change_station(rows: pa.Table) -> pa.Table:
            return pa.concat_tables([rows.slice(0, at), inner(rows.slice(at)).cast(rows.schema)])

        change = change_station
    assert explain(day, kpi, "station", "100", DAY).is_sound
    rewrite(day, name, DAY, change)
    assert noticed in differing(explain(day, kpi, "station", "100", DAY))


def test_a_raw_answer_that_is_not_what_was_hashed_is_noticed_when_it_is_read(day: Lake) -> None:
    path = sorted((Path(day.uri) / f"raw/query_date={DAY}").iterdir())[5]
    rows = pq.read_table(path)
    other = pa.array([b"something else"], rows.schema.field("body").type)
    pq.write_table(rows.set_column(rows.column_names.index("body"), rows.schema.field("body"), other), path)
    assert explain(day, "utilization", "point", A, DAY).is_sound
    found = explain(day, "utilization", "point", A, DAY, verify=True)
    assert differing(found) == {("answers", "bodies whose SHA-256 is that of poll_log")}
    assert [poll.raw_file for poll in found.polls if not poll.is_verified] == [f"raw/query_date={DAY}/{path.name}"]


def test_a_lake_whose_raw_answers_are_gone_says_so(day: Lake) -> None:
    shutil.rmtree(Path(day.uri) / "raw")
    found = explain(day, "utilization", "point", A, DAY)
    assert found.is_sound
    assert {poll.raw_file for poll in found.polls} == {None}
    assert (
        f"The lake has no raw answers of {DAY} any more: poll_log has their SHA-256, but there is nothing to compare."
    ) in found.notes
    assert not explain(day, "utilization", "point", A, DAY, verify=True).is_sound


def test_a_figure_made_from_other_inputs_than_there_are_now_says_so(day: Lake) -> None:
    put_day(day, hours=[LOST + 24])
    next_day = DAY + dt.timedelta(days=1)
    for staged in flatten_day(day, next_day).values():
        day.publish(staged)
    found = explain(day, "utilization", "point", A, DAY)
    assert not found.provenance.is_current
    assert any(f"charging-assets build --date {DAY}" in note for note in found.notes)


def test_an_explanation_is_json_with_every_field_and_local_times_beside_utc(day: Lake) -> None:
    found = explain(day, "utilization", "station", "100", DAY, verify=True)
    told = json.loads(json.dumps(as_json(found)))

    def has_all(thing: Any, plain: Any) -> None:
        if is_dataclass(thing):
            assert plain.keys() >= {field.name for field in fields(thing)}
            for field in fields(thing):
                has_all(getattr(thing, field.name), plain[field.name])
        if isinstance(thing, tuple):
            assert len(plain) == len(thing)
            for each, plain_each in zip(thing, plain, strict=True):
                has_all(each, plain_each)

    has_all(found, told)
    charging = told["points"][0]["intervals"][1]
    assert (charging["start"], charging["start_local"]) == ("2026-03-11T06:30:00Z", "2026-03-11T07:30:00+01:00")
    assert told["is_sound"] is True
    assert {check["is_equal"] for check in told["checks"]} == {True}


def test_an_unknown_figure_or_thing_is_told_with_the_near_ones(day: Lake) -> None:
    with pytest.raises(ExplanationError, match=r"no figure 'utilisation'\. Did you mean utilization"):
        explain(day, "utilisation", "station", "100", DAY)
    with pytest.raises(ExplanationError, match=r"no city 'musterstat'\. Did you mean Musterstadt\?"):
        explain(day, "utilization", "city", "musterstat", DAY)
    with pytest.raises(ExplanationError, match="no station '4711'"):
        explain(day, "utilization", "station", "4711", DAY)
    with pytest.raises(ExplanationError, match="no scope 'street': expected one of point, station"):
        explain(day, "utilization", "street", "100", DAY)


def test_a_day_that_is_not_built_says_how_to_build_it(day: Lake) -> None:
    missing = Path(day.location("status_intervals", DAY))
    missing.unlink()
    with pytest.raises(
        ExplanationError,
        match=rf"status_intervals has no partition {DAY}: make it with `charging-assets build --date {DAY}`",
    ):
        explain(day, "utilization", "station", "100", DAY)


def test_a_day_without_raw_answers_says_which_days_have_figures(day: Lake) -> None:
    with pytest.raises(
        ExplanationError, match=rf"no raw answers of that day.*figures are there of 1 day, {DAY} to {DAY}"
    ):
        explain(day, "utilization", "station", "100", DAY - dt.timedelta(days=30))


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [([], "no poll was made on that day"), (["empty", "unreadable"], "none of its 2 polls was answered")],
)
def test_a_day_on_which_nothing_was_seen_has_nothing_to_explain(day: Lake, outcomes: Sequence[str], why: str) -> None:
    other = DAY - dt.timedelta(days=1)
    day.write("kpi_daily", other, table_of("kpi_daily", []))
    log = day.read("poll_log", DAY).slice(0, len(outcomes))
    for name, values in {"outcome": outcomes, "query_date": [other] * len(outcomes)}.items():
        log = with_values(log, name, dict(enumerate(values)))
    day.write("poll_log", other, log)
    with pytest.raises(ExplanationError, match=f"There is no utilization of {other} to explain: {why}"):
        explain(day, "utilization", "station", "100", other)
