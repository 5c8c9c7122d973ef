"""When is published what: ticks at chosen times, a lake, a real PostgreSQL."""

import datetime as dt
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._utils.schedules import schedule_execution_time_iterator

from charging_assets.calendar import BERLIN
from charging_assets.defs import publishing, schedules
from charging_assets.defs.publishing import check_warehouse_schedule, lacking, publish_schedule
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.schedules import NIGHT_TAG, RANGE_END, RANGE_START, RUNS_PER_NIGHT
from charging_assets.defs.warehouses import PostgresResource
from charging_assets.lake import Lake
from charging_assets.warehouse import differences, publish
from charging_assets.warehouse.postgres import PostgresWarehouse
from charging_assets_tests.clock import set_clock
from charging_assets_tests.judging import judge, lose_a_row
from charging_assets_tests.sound_lake import DAY, DAY_BEFORE, FROZEN_DAY, TODAY, WEEK_BEFORE
from charging_assets_tests.standins.postgres import PostgresStandin

Instance = dg.DagsterInstance

TABLE = "status_chargingpoints"
FIRST_DATE = dt.date(2026, 1, 1)
NIGHT = "2026-03-13T05:15:00+01:00"


@pytest.fixture
def dsn(postgres: PostgresStandin) -> str:
    return postgres.dsn(postgres.new_database())


@pytest.fixture
def warehouse(dsn: str) -> PostgresWarehouse:
    """A warehouse with its tables, and nothing in them."""
    made = PostgresWarehouse(dsn)
    made.ensure_schema()
    return made


@pytest.fixture(scope="module")
def stored_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as stored:
        yield stored


@pytest.fixture
def instance(stored_instance: Instance) -> Instance:
    """An instance without runs and events."""
    stored_instance.run_storage.wipe()
    stored_instance.event_log_storage.wipe()
    return stored_instance


class Ticks:
    """Evaluates ticks at chosen times."""

    def __init__(
        self, lake: Lake, dsn: str, instance: Instance, graph: dg.Definitions, patch: pytest.MonkeyPatch
    ) -> None:
        self.instance = instance
        self.dsn = dsn
        self.logged: list[str] = []
        """What the ticks put into their logs."""
        self._lake = LakeResource(uri=lake.uri, home=str(Path(lake.uri).parent / "home"))
        self._repository, self._patch = graph.get_repository_def(), patch

    def __call__(self, due: str = NIGHT, *, hourly: bool = False) -> list[dg.RunRequest] | str:
        """What a tick asks for, or why for nothing."""
        set_clock(self._patch, due)
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=dt.datetime.fromisoformat(due),
            repository_def=self._repository,
            resources={"lake": self._lake, "warehouse": PostgresResource(dsn=self.dsn)},
        ) as context:
            context.log.addHandler(handler)
            tick = publish_schedule(FIRST_DATE, hourly=hourly).evaluate_tick(context)
        return list(tick.run_requests or []) or str(tick.skip_message)

    def ranges(self, due: str = NIGHT, *, hourly: bool = False) -> list[str]:
        """The dates that a tick asks for, as ``first/last``."""
        requests = self(due, hourly=hourly)
        assert isinstance(requests, list), requests
        return [f"{request.tags[RANGE_START]}/{request.tags[RANGE_END]}" for request in requests]

    def add_run(self, job: str, status: dg.DagsterRunStatus, **tags: str) -> None:
        """A run of the job, as if it had been started."""
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("charging_assets"), "__repository__")
        run = dg.DagsterRun(job, status=status, tags=tags, remote_job_origin=RemoteJobOrigin(origin, job))
        self.instance.run_storage.add_run(run)


@pytest.fixture
def tick(
    sound: Lake,
    dsn: str,
    warehouse: PostgresWarehouse,
    instance: Instance,
    graph: dg.Definitions,
    monkeypatch: pytest.MonkeyPatch,
) -> Ticks:
    return Ticks(sound, dsn, instance, graph, monkeypatch)


def publish_all(lake: Lake, warehouse: PostgresWarehouse) -> None:
    assert all(not hasattr(done, "error") for done in publish(lake, warehouse, differences(lake, warehouse)))


def change(lake: Lake, name: str, key: dt.date | None) -> None:
    lake.write(name, key, lake.read(name, key).slice(1))


def test_a_night_publishes_spans_of_closed_days_that_differ_the_newest_first(tick: Ticks, sound: Lake) -> None:
    shutil.copy(sound.location(TABLE, DAY), sound.location(TABLE, TODAY))

    assert tick.ranges() == [f"{DAY_BEFORE}/{FROZEN_DAY}", f"{WEEK_BEFORE}/{WEEK_BEFORE}"]


def test_its_runs_wait_for_those_of_the_night_and_a_tick_asks_for_each_once(tick: Ticks) -> None:
    first, again = tick(), tick()

    assert isinstance(first, list)
    assert isinstance(again, list)
    assert {request.tags[NIGHT_TAG] for request in first} == {"2026-03-13"}
    assert [request.run_key for request in first] == [request.run_key for request in again]
    assert len({request.run_key for request in first}) == 2


def test_an_hour_publishes_today_too(tick: Ticks, sound: Lake, warehouse: PostgresWarehouse) -> None:
    publish_all(sound, warehouse)
    shutil.copy(sound.location(TABLE, DAY), sound.location(TABLE, TODAY))

    assert tick() == "nothing differs"
    assert tick.ranges("2026-03-13T10:40:00+00:00", hourly=True) == [f"{TODAY}/{TODAY}"]


def test_when_nothing_differs_nothing_is_run(tick: Ticks, sound: Lake, warehouse: PostgresWarehouse) -> None:
    publish_all(sound, warehouse)
    copy = Path(shutil.copy(sound.location(TABLE, DAY), sound.uri))
    copy.replace(sound.location(TABLE, DAY))  # another file with the same bytes, as building again makes it

    assert tick() == "nothing differs"


def test_what_the_lake_has_lost_is_not_asked_for(tick: Ticks, sound: Lake, warehouse: PostgresWarehouse) -> None:
    publish_all(sound, warehouse)
    Path(sound.location(TABLE, DAY)).unlink()

    assert tick() == "nothing differs"


def test_undated_tables_that_differ_are_published_with_the_newest_day(
    tick: Ticks, sound: Lake, warehouse: PostgresWarehouse
) -> None:
    publish_all(sound, warehouse)
    change(sound, "connector", None)
    shutil.copy(sound.location("poll_log", DAY), sound.location("poll_log", TODAY))  # which is not over

    assert tick.ranges() == [f"{FROZEN_DAY}/{FROZEN_DAY}"]
    tick.add_run("publish", dg.DagsterRunStatus.STARTED)
    assert tick() == "what differs is being built or published already"


@pytest.mark.parametrize("job", ["build_query_date", "publish"])
def test_days_that_are_being_built_or_published_are_left_to_that(
    tick: Ticks, sound: Lake, warehouse: PostgresWarehouse, job: str
) -> None:
    publish_all(sound, warehouse)
    for day in (DAY_BEFORE, DAY, FROZEN_DAY):
        change(sound, TABLE, day)
    tick.add_run(job, dg.DagsterRunStatus.QUEUED, **{RANGE_START: str(DAY), RANGE_END: str(DAY)})

    assert tick.ranges() == [f"{FROZEN_DAY}/{FROZEN_DAY}", f"{DAY_BEFORE}/{DAY_BEFORE}"]


def test_what_no_run_would_load_is_not_asked_for(
    tick: Ticks, sound: Lake, warehouse: PostgresWarehouse, graph: dg.Definitions, tmp_path: Path
) -> None:
    publish_all(sound, warehouse)
    lose_a_row(sound, TABLE, DAY)
    shutil.copytree(sound.uri, tmp_path / "lake")  # which the graph judges
    judge(graph, tick.instance, TABLE, DAY)

    assert tick() == "nothing differs"
    change(sound, "poll_log", DAY)
    assert tick.ranges() == [f"{DAY}/{DAY}"]


def test_a_warehouse_that_cannot_be_asked_gets_a_run_that_will_say_so(tick: Ticks) -> None:
    tick.dsn = "postgresql://postgres@/gone?host=/dev/null"

    assert tick.ranges() == [f"{DAY}/{FROZEN_DAY}"]
    assert tick.ranges("2026-03-13T10:40:00+00:00", hourly=True) == [f"{DAY}/{FROZEN_DAY}"]
    assert "PostgreSQL at /dev/null, database gone" in tick.logged[0]
    tick.add_run("publish", dg.DagsterRunStatus.STARTED)
    assert "a run of publish will say what is wrong: " in tick()


def test_a_tick_asks_for_a_bounded_number_of_runs_and_names_the_rest(
    tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "DAYS_PER_RUN", 1)
    for _ in range(RUNS_PER_NIGHT - 3):
        tick.add_run("publish", dg.DagsterRunStatus.QUEUED)

    assert tick.ranges() == [f"{day}/{day}" for day in (FROZEN_DAY, DAY, DAY_BEFORE)]
    assert tick.logged == [f"Left to the next time: {WEEK_BEFORE} to {WEEK_BEFORE}"]
    for _ in range(3):
        tick.add_run("publish", dg.DagsterRunStatus.QUEUED)
    assert tick() == "what differs is being built or published already"


def test_comparing_ends_when_its_time_is_up(
    sound: Lake, warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "COMPARED_AT_ONCE", 1)
    monkeypatch.setattr(schedules, "COMPARED_WITHIN_S", -1.0)
    now = dt.datetime.combine(TODAY, dt.time(4), dt.UTC)

    found, unknown = lacking(sound, warehouse, FIRST_DATE, FROZEN_DAY, now)

    assert {one.key for one in found} == {None, FROZEN_DAY}
    assert unknown == [WEEK_BEFORE, DAY_BEFORE, DAY]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-05-02", "2026-10-25"])
def test_a_day_has_one_tick_after_the_dimensions_and_one_check_after_that(day: str) -> None:
    def due(schedule: dg.ScheduleDefinition) -> list[dt.datetime]:
        start = dt.datetime.fromisoformat(day).replace(tzinfo=BERLIN)
        times = schedule_execution_time_iterator(
            start.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
        )
        found: list[dt.datetime] = []
        for time in times:
            if time.astimezone(BERLIN).date() != start.date():
                return found
            found.append(time.astimezone(BERLIN))
        raise AssertionError("unreachable: ticks have no end")

    (published,) = due(publish_schedule(FIRST_DATE, hourly=False))
    (checked,) = due(check_warehouse_schedule())
    assert dt.time(3, 45) < published.time() < checked.time()
    assert len(due(publish_schedule(FIRST_DATE, hourly=True))) in {23, 24, 25}


def test_both_schedules_wait_until_somebody_turns_them_on() -> None:
    made = [publish_schedule(FIRST_DATE, hourly=True), check_warehouse_schedule()]

    assert {one.default_status for one in made} == {dg.DefaultScheduleStatus.STOPPED}
