import datetime as dt
import logging
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.calendar import BERLIN, compact_text
from charging_assets.defs import schedules
from charging_assets.defs.assets.raw import SCHEDULED_TAG
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.schedules import (
    DAYS_PER_RUN,
    NIGHT_TAG,
    RANGE_END,
    RANGE_START,
    RUNS_PER_NIGHT,
    build_schedules,
    changed_dates,
    poll_schedule,
    spans,
)
from charging_assets.defs.unfinished import HOST_TAG, PROCESS_TAG, process_tags
from charging_assets.derive.inputs import Inputs
from charging_assets.lake import Lake
from charging_assets.settings import Settings
from charging_assets_tests.clock import set_clock
from charging_assets_tests.raw_days import make_raw_day

QUEUED, STARTED, FAILURE = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
Instance = dg.DagsterInstance


class Ticks:
    """Evaluates ticks of the schedules at chosen times, on the lake of the fixture `lake`."""

    def __init__(self, lake: Lake, instance: Instance, graph: dg.Definitions, patch: pytest.MonkeyPatch) -> None:
        self.instance = instance
        self.logged: list[str] = []
        """What the ticks put into their logs."""
        self._patch = patch
        self._resources = {"lake": LakeResource(uri=lake.uri, home=str(Path(lake.uri).parent / "home"))}
        self._repository = graph.get_repository_def()
        self._schedules = {one.name: one for one in build_schedules(Settings.from_env({}))}

    def __call__(self, name: str, due: str, now: str | None = None) -> list[dg.RunRequest] | str:
        """What a tick due at `due` asks for at `now` (ISO with an offset; default: in time), or why for nothing."""
        set_clock(self._patch, now or due)
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=dt.datetime.fromisoformat(due),
            repository_def=self._repository,
            resources=self._resources,
        ) as context:
            context.log.addHandler(handler)
            tick = self._schedules[f"{name}_schedule"].evaluate_tick(context)
        return list(tick.run_requests or []) or str(tick.skip_message)

    def one(self, name: str, due: str, now: str | None = None) -> dg.RunRequest:
        """The only run that the tick asks for."""
        [request] = self(name, due, now)
        assert isinstance(request, dg.RunRequest)
        return request

    def why_not(self, name: str, due: str, now: str | None = None) -> str:
        """Why the tick asks for no run."""
        reason = self(name, due, now)
        assert isinstance(reason, str), reason
        return reason

    def ranges(self, due: str, now: str | None = None) -> list[tuple[str, bool]]:
        """The dates that the night's tick asks for, as ``first/last``, and whether unchanged ones are left alone."""
        requests = self("night", due, now)
        assert isinstance(requests, list), requests
        return [
            (
                f"{request.tags[RANGE_START]}/{request.tags[RANGE_END]}",
                request.run_config["ops"]["flatten"]["config"]["skip_unchanged"],
            )
            for request in requests
        ]

    def add_run(self, job: str, status: dg.DagsterRunStatus, run_id: str | None = None, **tags: str) -> None:
        """A run of the job, as if it had been started."""
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("charging_assets"), "__repository__")
        run = dg.DagsterRun(job, run_id, status=status, tags=tags, remote_job_origin=RemoteJobOrigin(origin, job))
        self.instance.run_storage.add_run(run)


@pytest.fixture(scope="module")
def stored_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Schedules want an instance that other processes could open, too; making one takes a second."""
    with Instance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as stored:
        yield stored


@pytest.fixture
def instance(stored_instance: Instance) -> Instance:
    """An instance without runs."""
    stored_instance.run_storage.wipe()
    return stored_instance


@pytest.fixture
def tick(lake: Lake, instance: Instance, graph: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(lake, instance, graph, monkeypatch)


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> set[dt.date]:
    """The dates that count as changed: whatever a test puts in."""
    dates: set[dt.date] = set()
    monkeypatch.setattr(schedules, "stale_dates", lambda lake, asked, now: [date for date in asked if date in dates])
    return dates


def make_days(lake: Lake, first: str, days: int) -> list[dt.date]:
    """Raw answers on consecutive dates."""
    start = dt.date.fromisoformat(first).toordinal()
    dates = [dt.date.fromordinal(start + number) for number in range(days)]
    for date in dates:
        make_raw_day(lake, date, polls=1, points=1)
    return dates


def pretend_days(monkeypatch: pytest.MonkeyPatch, first: str, days: int) -> list[dt.date]:
    """Like `make_days`, for so many that files would take long."""
    start = dt.date.fromisoformat(first).toordinal()
    dates = [dt.date.fromordinal(start + number) for number in range(days)]
    monkeypatch.setattr("charging_assets.lake.raw.RawArchive.dates", lambda _: dates)
    return dates


@pytest.mark.parametrize(
    ("due", "partition"),
    [
        ("2026-01-15T22:50:00+00:00", "2026-01-15"),  # winter, UTC+1
        ("2026-01-15T23:00:00+00:00", "2026-01-16"),
        ("2026-03-28T22:50:00+00:00", "2026-03-28"),  # the night before the clocks go forward
        ("2026-03-28T23:00:00+00:00", "2026-03-29"),
        ("2026-03-29T00:50:00+00:00", "2026-03-29"),  # 01:50; the next tick is 03:00
        ("2026-03-29T01:00:00+00:00", "2026-03-29"),
        ("2026-03-29T21:50:00+00:00", "2026-03-29"),  # 23:50, summer time by now
        ("2026-03-29T22:00:00+00:00", "2026-03-30"),
        ("2026-10-24T21:50:00+00:00", "2026-10-24"),  # the night before they go back
        ("2026-10-24T22:00:00+00:00", "2026-10-25"),
        ("2026-10-25T00:30:00+00:00", "2026-10-25"),  # 02:30 for the first time
        ("2026-10-25T01:30:00+00:00", "2026-10-25"),  # and for the second
        ("2026-10-25T22:50:00+00:00", "2026-10-25"),
        ("2026-10-25T23:00:00+00:00", "2026-10-26"),
    ],
)
def test_a_tick_polls_for_the_berlin_date_at_which_it_was_due(tick: Ticks, due: str, partition: str) -> None:
    request = tick.one("poll_chargecloud", due)

    assert request.partition_key == partition
    assert request.tags["dagster/partition"] == partition
    assert request.tags[SCHEDULED_TAG] == due


def test_both_runs_of_the_doubled_hour_have_their_own_run_key(tick: Ticks) -> None:
    ticks = ("2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00")

    keys = [tick.one("poll_chargecloud", due).run_key for due in ticks]

    assert keys == ["20261025T003000Z", "20261025T013000Z"]


def test_a_tick_is_good_until_one_interval_after_it_was_due(tick: Ticks) -> None:
    due = "2026-05-02T10:00:00+00:00"

    assert tick.one("poll_chargecloud", due, "2026-05-02T10:10:00+00:00")
    skipped = tick.why_not("poll_chargecloud", due, "2026-05-02T10:10:01+00:00")
    assert "due at 2026-05-02T10:00:00+00:00, 0:10:01 ago" in skipped


def test_polls_do_not_pile_up_in_a_queue_that_stands_still(tick: Ticks) -> None:
    tick.add_run("poll_chargecloud", STARTED)
    assert tick.one("poll_chargecloud", "2026-05-02T10:00:00+00:00")

    tick.add_run("poll_chargecloud", QUEUED)
    assert "still queued" in tick.why_not("poll_chargecloud", "2026-05-02T10:10:00+00:00")


def test_every_schedule_waits_until_somebody_turns_it_on() -> None:
    made = build_schedules(Settings.from_env({}))

    assert [one.name for one in made] == [
        "poll_chargecloud_schedule",
        "check_polls_schedule",
        "today_schedule",
        "night_schedule",
        "dimensions_schedule",
        "pois_schedule",
        "reports_schedule",
        "housekeeping_schedule",
    ]
    assert {one.default_status for one in made} == {dg.DefaultScheduleStatus.STOPPED}
    assert {one.execution_timezone for one in made} <= {"UTC", "Europe/Berlin"}


@pytest.mark.parametrize(
    ("interval_s", "cron"),
    [
        (300, "*/5 * * * *"),
        (600, "*/10 * * * *"),
        (720, "*/12 * * * *"),
        (1800, "*/30 * * * *"),
        (3600, "0 * * * *"),
    ],
)
def test_the_cron_expression_follows_the_interval(interval_s: int, cron: str) -> None:
    schedule = poll_schedule(interval_s)

    assert schedule is not None
    assert schedule.cron_schedule == cron


@pytest.mark.parametrize("interval_s", [10, 60, 240, 450])
def test_intervals_below_five_minutes_or_of_broken_minutes_have_no_schedule(interval_s: int) -> None:
    assert poll_schedule(interval_s) is None


# When Dagster's own scheduler finds ticks due


def due_times(name: str, first: str, last: str) -> list[dt.datetime]:
    """All ticks of a schedule from the Berlin date `first` to `last`, in Berlin time, as the daemon computes them."""
    [schedule] = [one for one in build_schedules(Settings.from_env({})) if one.name == f"{name}_schedule"]
    start, end = (dt.datetime.fromisoformat(day).replace(tzinfo=BERLIN) for day in (first, last))
    times = []
    for due in schedule_execution_time_iterator(
        start.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
    ):
        if due.astimezone(BERLIN).date() > end.date():
            return times
        times.append(due.astimezone(BERLIN))
    raise AssertionError("unreachable: ticks have no end")


@pytest.mark.parametrize(("first", "last"), [("2026-03-27", "2026-03-31"), ("2026-10-23", "2026-10-27")])
def test_every_night_has_one_tick_also_when_the_clocks_change(first: str, last: str) -> None:
    ticks = due_times("night", first, last)

    assert [tick.day for tick in ticks] == list(range(dt.date.fromisoformat(first).day, ticks[-1].day + 1))
    assert len(ticks) == 5
    assert {tick.time() for tick in ticks} == {dt.time(1, 15)}


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-05-02", 24), ("2026-10-25", 25)])
def test_today_is_built_once_an_hour_on_days_of_any_length(day: str, hours: int) -> None:
    ticks = due_times("today", day, day)

    assert len(ticks) == len({tick.astimezone(dt.UTC) for tick in ticks}) == hours


@pytest.mark.parametrize("day", ["2026-03-29", "2026-05-02", "2026-10-25"])
def test_the_dimensions_are_tried_from_the_night_to_the_last_hour_and_never_in_an_hour_that_is_not_there(
    day: str,
) -> None:
    ticks = due_times("dimensions", day, day)

    assert [(tick.hour, tick.minute) for tick in ticks] == [(hour, 45) for hour in range(3, 24)]
    assert due_times("night", day, day)[0] < ticks[0]


def test_housekeeping_comes_once_a_week() -> None:
    ticks = due_times("housekeeping", "2026-03-16", "2026-04-12")

    assert [(tick.isoweekday(), tick.hour, tick.minute) for tick in ticks] == [(1, 4, 30)] * 4


def test_points_of_interest_come_once_a_month() -> None:
    ticks = due_times("pois", "2026-02-01", "2026-04-30")

    assert [(tick.month, tick.day, tick.hour, tick.minute) for tick in ticks] == [(n, 2, 4, 20) for n in (2, 3, 4)]


# Today


@pytest.mark.parametrize(
    ("due", "date"),
    [
        ("2026-01-15T22:25:00+00:00", "2026-01-15"),
        ("2026-01-15T23:25:00+00:00", "2026-01-16"),
        ("2026-03-28T23:25:00+00:00", "2026-03-29"),
        ("2026-03-29T21:25:00+00:00", "2026-03-29"),
        ("2026-03-29T22:25:00+00:00", "2026-03-30"),
        ("2026-10-25T00:25:00+00:00", "2026-10-25"),
        ("2026-10-25T01:25:00+00:00", "2026-10-25"),
        ("2026-10-25T22:25:00+00:00", "2026-10-25"),
        ("2026-10-25T23:25:00+00:00", "2026-10-26"),
    ],
)
def test_today_is_the_berlin_date_at_which_the_tick_was_due(tick: Ticks, lake: Lake, due: str, date: str) -> None:
    make_days(lake, date, 1)

    request = tick.one("today", due)

    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (date, date)
    assert request.run_key == compact_text(dt.datetime.fromisoformat(due))


def test_a_tick_for_today_is_void_after_an_hour_and_when_its_day_is_over(tick: Ticks, lake: Lake) -> None:
    make_days(lake, "2026-03-28", 2)
    due = "2026-03-28T22:25:00+00:00"  # 23:25

    assert tick.one("today", due, "2026-03-28T22:59:59+00:00")
    assert "2026-03-28 is over" in tick.why_not("today", due, "2026-03-28T23:00:00+00:00")
    assert "ago" in tick.why_not("today", "2026-03-28T10:25:00+00:00", "2026-03-28T11:25:01+00:00")


def test_today_is_not_built_without_answers_or_while_it_is_being_built(tick: Ticks, lake: Lake) -> None:
    due = "2026-05-02T10:25:00+00:00"
    assert "no raw answers of 2026-05-02" in tick.why_not("today", due)

    make_days(lake, "2026-05-02", 1)
    tick.add_run("build_query_date", QUEUED, **{"dagster/partition": "2026-05-01"})
    assert tick.one("today", due)
    tick.add_run("build_query_date", QUEUED, **{RANGE_START: "2026-05-01", RANGE_END: "2026-05-03"})
    assert "2026-05-02 is being built" in tick.why_not("today", due)


# Every night


@pytest.mark.parametrize(
    ("due", "last"),
    [
        ("2026-01-16T00:15:00+00:00", "2026-01-14/2026-01-15"),  # 01:15
        ("2026-03-29T00:15:00+00:00", "2026-03-27/2026-03-28"),  # an hour before the clocks go forward
        ("2026-03-29T23:15:00+00:00", "2026-03-28/2026-03-29"),  # after the day of 23 hours
        ("2026-10-24T23:15:00+00:00", "2026-10-23/2026-10-24"),
        ("2026-10-26T00:15:00+00:00", "2026-10-24/2026-10-25"),  # after the day of 25 hours
    ],
)
def test_a_night_builds_the_last_two_closed_days_changed_or_not(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch, due: str, last: str
) -> None:
    pretend_days(monkeypatch, "2026-01-01", 320)

    assert tick.ranges(due) == [(last, False)]


def test_the_last_poll_of_a_day_is_built_by_the_night_after_it(tick: Ticks, lake: Lake) -> None:
    """With nothing put in place of finding stale days: the day has a single poll, at 23:50, and no tables."""
    make_raw_day(lake, dt.date(2026, 3, 29), polls=138)

    assert tick.ranges("2026-03-29T23:15:00+00:00") == [("2026-03-29/2026-03-29", False)]


def test_a_night_builds_older_days_that_changed_and_leaves_unchanged_ones_in_between_alone(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_days(monkeypatch, "2026-01-01", 100)
    stale.update(dt.date(2026, 3, day) for day in (1, 2, 3, 10))

    assert tick.ranges("2026-03-20T00:15:00+00:00") == [
        ("2026-03-18/2026-03-19", False),
        ("2026-03-10/2026-03-10", True),
        ("2026-03-01/2026-03-03", True),
    ]


def test_a_daemon_that_was_down_for_two_nights_leaves_no_day_unbuilt(tick: Ticks, lake: Lake) -> None:
    """Of the ticks of three nights Dagster evaluates the last one; nothing of these days was ever built."""
    make_days(lake, "2026-03-26", 5)

    asked = tick.ranges("2026-03-30T23:15:00+00:00")

    assert asked == [("2026-03-29/2026-03-30", False), ("2026-03-26/2026-03-28", True)]


def test_a_late_tick_of_a_night_is_as_good_as_one_in_time(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_days(monkeypatch, "2026-01-01", 200)
    due = "2026-03-20T00:15:00+00:00"

    assert tick.ranges(due, "2026-03-20T20:00:00+00:00") == tick.ranges(due)
    assert tick.ranges(due, "2026-03-22T20:00:00+00:00") == [("2026-03-20/2026-03-21", False)]


def test_the_night_asks_for_nothing_where_nothing_can_be_built(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    due = "2026-03-20T00:15:00+00:00"
    assert "no closed day has changed" in tick.why_not("night", due)

    stale.update(pretend_days(monkeypatch, "2017-01-01", 365))  # before CHARGING_ASSETS_FIRST_DATE
    assert "no closed day has changed" in tick.why_not("night", due)
    stale.update(pretend_days(monkeypatch, "2026-03-20", 5))  # today, and days to come
    assert "no closed day has changed" in tick.why_not("night", due)


def test_days_without_raw_answers_are_in_no_run(tick: Ticks, lake: Lake) -> None:
    make_days(lake, "2026-03-01", 2)
    make_days(lake, "2026-03-04", 1)
    make_days(lake, "2026-03-19", 1)

    assert [dates for dates, _ in tick.ranges("2026-03-20T00:15:00+00:00")] == [
        "2026-03-19/2026-03-19",
        "2026-03-04/2026-03-04",
        "2026-03-01/2026-03-02",
    ]


def test_a_night_is_bounded_and_names_what_it_leaves_to_the_next(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = pretend_days(monkeypatch, "2018-01-01", 3000)
    stale.update(dates)

    asked = tick.ranges("2026-03-20T00:15:00+00:00")

    assert len(asked) == RUNS_PER_NIGHT
    lengths = [(dt.date.fromisoformat(one[11:]) - dt.date.fromisoformat(one[:10])).days + 1 for one, _ in asked]
    assert lengths[0] == 2
    assert max(lengths) <= DAYS_PER_RUN
    assert asked[1][0].endswith("/2026-03-17")  # the newest first
    built: set[dt.date] = set()
    nights = 0
    while len(built) < 2998 and nights < 10:
        for first, last in (one.split("/") for one, _ in tick.ranges("2026-03-20T00:15:00+00:00")):
            built.update(date for date in dates if first <= date.isoformat() <= last)
        stale.difference_update(built)
        nights += 1
    assert nights == 6  # 2,998 days at 2 + 6 x 92 at most a night
    assert tick.logged[0].startswith("Left to the next night: 2024-07-20 to 2024-10-19, 2024-04-19 to")


def test_dates_that_a_run_is_building_are_left_to_it(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale.update(pretend_days(monkeypatch, "2026-03-01", 19))
    tick.add_run("build_query_date", STARTED, **{RANGE_START: "2026-03-05", RANGE_END: "2026-03-12"})
    tick.add_run("build_query_date", QUEUED, **{"dagster/partition": "2026-03-19"})
    tick.add_run("build_query_date", FAILURE, **{RANGE_START: "2026-03-01", RANGE_END: "2026-03-19"})

    assert [dates for dates, _ in tick.ranges("2026-03-20T00:15:00+00:00")] == [
        "2026-03-18/2026-03-18",
        "2026-03-13/2026-03-17",
        "2026-03-01/2026-03-04",
    ]


def test_a_night_says_which_days_are_left_to_runs_that_build_them(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_days(monkeypatch, "2026-03-01", 19)
    stale.add(dt.date(2026, 3, 7))
    tick.add_run("build_query_date", STARTED, **{RANGE_START: "2026-03-05", RANGE_END: "2026-03-19"})

    assert tick.why_not("night", "2026-03-20T00:15:00+00:00") == (
        "being built already: 2026-03-07 to 2026-03-07, 2026-03-18 to 2026-03-19; "
        "no other closed day has changed or is recent"
    )


def test_a_queue_that_stands_still_is_not_filled_by_ticks(
    tick: Ticks, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale.update(pretend_days(monkeypatch, "2018-01-01", 3100))
    days = ["2026-03-28", "2026-03-29", "2026-03-30"]
    for day in days:
        for name, job, every in (
            ("night", "build_query_date", 1),
            ("today", "build_query_date", 4),
            ("dimensions", "refresh_dimensions", 7),
            ("poll_chargecloud", "poll_chargecloud", 24),
        ):
            for due in due_times(name, day, day)[::every]:
                asked = tick(name, due.astimezone(dt.UTC).isoformat())
                for request in asked if isinstance(asked, list) else []:
                    tick.add_run(job, QUEUED, **request.tags)

    runs = [run.job_name for run in tick.instance.get_runs()]
    assert runs.count("poll_chargecloud") == 1
    assert runs.count("refresh_dimensions") == 0  # builds come first
    assert runs.count("build_query_date") <= RUNS_PER_NIGHT + len(days)


def test_what_was_not_compared_in_time_is_compared_in_other_nights(
    lake: Lake, stale: set[dt.date], monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = [dt.date.fromordinal(dt.date(2024, 1, 1).toordinal() + number) for number in range(200)]
    asked: list[dt.date] = []

    def count(lake: Lake, dates: Sequence[dt.date], now: dt.datetime) -> list[dt.date]:
        asked.extend(dates)
        return []

    monkeypatch.setattr(schedules, "stale_dates", count)
    found: set[dt.date] = set()
    for night in range(1, 200):
        clock = iter(range(1000))  # time for so many comparisons, and no more
        monkeypatch.setattr(schedules.time, "monotonic", lambda clock=clock: 10.0 * next(clock))
        asked.clear()
        _, left = changed_dates(lake, dates, dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + night * dt.timedelta(days=1))
        assert dates[-1] in asked
        assert sorted([*asked, *left]) == dates
        found.update(asked)
    assert found == set(dates)


DATES = st.dates(dt.date(2026, 1, 1), dt.date(2026, 4, 30))


@given(st.sets(DATES), st.integers(1, 9))
def test_spans_hold_exactly_the_dates_and_none_is_too_long(dates: set[dt.date], most: int) -> None:
    found = spans(sorted(dates), most)

    lengths = [last.toordinal() - first.toordinal() + 1 for first, last in found]
    assert all(1 <= length <= most for length in lengths)
    assert sum(lengths) == len(dates)
    assert {first for first, _ in found} | {last for _, last in found} <= dates
    assert len(spans(sorted(dates))) == sum(dt.date.fromordinal(date.toordinal() - 1) not in dates for date in dates)


# Dimensions and housekeeping

NIGHT = {NIGHT_TAG: "2026-03-29"}
FIRST_TRY, SECOND_TRY = "2026-03-29T01:45:00+00:00", "2026-03-29T02:45:00+00:00"  # 03:45 and 04:45


def build_observations(monkeypatch: pytest.MonkeyPatch, *dates: str) -> None:
    """Have these dates been built from all answers that there are of them."""
    built = [dt.date.fromisoformat(date) for date in dates]
    monkeypatch.setattr(Inputs, "is_current", lambda _, tables, date: date in built)


def test_the_dimensions_wait_for_the_builds_of_the_night_and_are_made_once_a_day(
    tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_days(monkeypatch, "2026-03-20", 9)
    build_observations(monkeypatch, "2026-03-27")
    assert "has not built yesterday yet" in tick.why_not("dimensions", FIRST_TRY)

    build_observations(monkeypatch, "2026-03-27", "2026-03-28")
    tick.add_run("build_query_date", QUEUED, **NIGHT)
    assert "1 runs of build_query_date come first" in tick.why_not("dimensions", FIRST_TRY)

    [run] = tick.instance.get_runs()
    tick.instance.delete_run(run.run_id)
    request = tick.one("dimensions", SECOND_TRY)
    assert (request.run_key, request.tags[NIGHT_TAG]) == ("2026-03-29", "2026-03-29")

    tick.add_run("refresh_dimensions", FAILURE, **NIGHT)
    assert "made today, or were tried" in tick.why_not("dimensions", "2026-03-29T03:45:00+00:00")
    assert tick.one("dimensions", "2026-03-30T01:45:00+00:00").run_key == "2026-03-30"


def test_a_night_whose_builds_failed_does_not_keep_the_dimensions_from_being_made(
    tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_days(monkeypatch, "2026-03-20", 9)
    build_observations(monkeypatch, "2026-03-20")
    tick.add_run("build_query_date", FAILURE, **NIGHT)

    assert tick.one("dimensions", FIRST_TRY)


def test_a_late_tick_of_the_dimensions_leaves_it_to_the_next(tick: Ticks) -> None:
    assert "ago" in tick.why_not("dimensions", FIRST_TRY, "2026-03-29T02:45:01+00:00")


def test_housekeeping_is_useful_however_late_and_not_started_twice(tick: Ticks) -> None:
    due = "2026-03-30T02:30:00+00:00"
    assert tick.one("housekeeping", due, "2026-04-03T12:00:00+00:00").run_key == "20260330T023000Z"

    tick.add_run("housekeeping", STARTED)
    assert "still at work" in tick.why_not("housekeeping", due)


def test_points_of_interest_are_useful_however_late_and_not_asked_for_twice(tick: Ticks) -> None:
    due = "2026-03-02T03:20:00+00:00"
    assert tick.one("pois", due, "2026-03-20T12:00:00+00:00").run_key == "20260302T032000Z"

    tick.add_run("refresh_pois", QUEUED)
    assert "still at work" in tick.why_not("pois", due)


# Runs of commands

DAY = {RANGE_START: "2026-05-02", RANGE_END: "2026-05-02"}
DUE = "2026-05-02T10:25:00+00:00"
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="elsewhere only process ids are compared")


@pytest.fixture
def killed() -> tuple[str, dict[str, str]]:
    """A run id, and the tags that its run got in a process that is killed by now."""
    run_id = make_new_run_id()
    with subprocess.Popen(["sleep", "600"]) as process:
        tags = process_tags(run_id, process.pid)
        process.kill()
    return run_id, tags


def test_a_run_whose_process_was_killed_is_ended_and_its_day_is_built(
    tick: Ticks, lake: Lake, killed: tuple[str, dict[str, str]]
) -> None:
    make_days(lake, "2026-05-02", 1)
    run_id, tags = killed
    tick.add_run("build_query_date", STARTED, run_id, **DAY, **tags)

    assert tick.one("today", DUE)
    assert tick.instance.get_run_by_id(run_id).status is FAILURE  # type: ignore[union-attr]
    [told] = tick.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert told.get_dagster_event().message.startswith("The process that executed this run is gone")


@on_linux
def test_a_process_is_alive_until_it_is_killed_whether_its_parent_has_noticed_or_not(tick: Ticks, lake: Lake) -> None:
    make_days(lake, "2026-05-02", 1)
    run_id = make_new_run_id()
    with subprocess.Popen(["sleep", "600"]) as process:
        tags = process_tags(run_id, process.pid)
        tick.add_run("build_query_date", STARTED, run_id, **DAY, **tags)
        assert "2026-05-02 is being built" in tick.why_not("today", DUE)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now, and has its process id still
        assert tick.one("today", DUE)


@on_linux
def test_a_process_id_that_was_given_again_is_not_the_process(tick: Ticks, lake: Lake) -> None:
    make_days(lake, "2026-05-02", 1)
    run_id = make_new_run_id()
    tags = process_tags(run_id, os.getpid())
    before, _, ticks = tags[PROCESS_TAG].rpartition(" ")
    tags[PROCESS_TAG] = f"{before} {int(ticks) - 1}"
    tick.add_run("build_query_date", STARTED, run_id, **DAY, **tags)

    assert tick.one("today", DUE)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({HOST_TAG: "elsewhere"}, id="of another host"),
        pytest.param({PROCESS_TAG: "by hand"}, id="with a tag that somebody has set"),
    ],
)
def test_runs_of_which_nothing_is_known_are_left_alone(
    tick: Ticks, lake: Lake, killed: tuple[str, dict[str, str]], other: dict[str, str]
) -> None:
    make_days(lake, "2026-05-02", 1)
    run_id, tags = killed
    tick.add_run("build_query_date", STARTED, run_id, **DAY, **tags | other)

    assert "2026-05-02 is being built" in tick.why_not("today", DUE)


def test_a_run_that_was_started_again_from_the_ui_is_not_taken_for_that_of_the_command(
    tick: Ticks, lake: Lake, killed: tuple[str, dict[str, str]]
) -> None:
    make_days(lake, "2026-05-02", 1)
    _, tags = killed
    tick.add_run("build_query_date", QUEUED, **DAY, **tags)  # Dagster gives it all tags of the first

    assert "2026-05-02 is being built" in tick.why_not("today", DUE)


def test_a_tick_goes_on_where_a_dead_run_cannot_be_ended(
    tick: Ticks, lake: Lake, killed: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    make_days(lake, "2026-05-02", 1)
    run_id, tags = killed
    tick.add_run("build_query_date", STARTED, run_id, **DAY, **tags)
    monkeypatch.setattr(Instance, "report_run_failed", refuse)

    assert "2026-05-02 is being built" in tick.why_not("today", DUE)
