"""A day of ten-minute polls, driven by Dagster's own scheduler at the times of that day and run in this process.

What is compressed is the time between two ticks. The day crosses a local midnight and the end of summer time, and has a
tick that comes late, a daemon that is away, and a lake that cannot be written.
"""

import datetime as dt
import logging
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import CodeLocationOrigin, InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs

from charging_assets.defs import housekeeping
from charging_assets.defs.housekeeping import prune_logs
from charging_assets.lake import Lake
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.clock import set_clock
from charging_assets_tests.compressed_day import FEEDS, INTERVAL_S
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

SCHEDULE = "poll_chargecloud_schedule"
DAGSTER_YAML = Path(housekeeping.__file__).with_name("dagster.yaml")
IN_THIS_PROCESS = """
run_launcher:
  module: dagster._core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
BYTES_PER_RUN = 64 * 1024
"""What a poll may leave in Dagster's folder for ever: its row and its assets' events."""
EMPTY_BYTES = 512 * 1024
"""What that folder holds before anything ran."""


class HereAndNow(WorkspaceLoadTarget):
    """The code location `charging_assets_tests.compressed_day`, in this process."""

    def create_origins(self) -> Sequence[CodeLocationOrigin]:
        target = LoadableTargetOrigin(
            executable_path=sys.executable, module_name="charging_assets_tests.compressed_day", attribute="defs"
        )
        return [InProcessCodeLocationOrigin(loadable_target_origin=target, location_name="charging_assets")]


class Daemon:
    """Dagster's scheduler, which believes whatever time it is told."""

    def __init__(self, context: WorkspaceProcessContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self._context = context
        self._monkeypatch = monkeypatch
        self._iterations: dict[str, ScheduleIterationTimes] = {}

    def start(self, now: dt.datetime) -> None:
        with freeze_time(now):
            [location] = self._context.create_request_context().code_locations
            [repository] = location.get_repositories().values()
            self._context.instance.start_schedule(repository.get_schedule(SCHEDULE))

    def wake(self, now: dt.datetime) -> None:
        """One round of the daemon: evaluate what is due, run what is asked for."""
        set_clock(self._monkeypatch, now)
        with freeze_time(now):
            faults = [
                fault
                for fault in launch_scheduled_runs(self._context, logging.getLogger("scheduler"), now, self._iterations)
                if fault
            ]
        assert not faults


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"), tmp_path / "home")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With the settings that ship, but for runs being made here and at once."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML.read_text() + IN_THIS_PROCESS)
    with dg.DagsterInstance.from_config(str(home)) as stored:
        yield stored


@pytest.fixture
def daemon(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with (
        ChargecloudStandin({feed: Reply(city(3, name=feed)) for feed in FEEDS}) as server,
        create_test_daemon_workspace_context(HereAndNow(), instance) as context,
    ):
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", server.url)
        yield Daemon(context, monkeypatch)


def poll_times(lake: Lake) -> list[dt.datetime]:
    """The times of all polls that the lake holds, each of which must have asked every feed once."""
    index = [lake.raw.index(date).select(["query_time", "feed"]).to_pylist() for date in lake.raw.dates()]
    rows = sorted((row["query_time"], row["feed"]) for day in index for row in day)
    times = sorted({time for time, _ in rows})
    assert rows == [(time, feed) for time in times for feed in sorted(FEEDS)]
    return times


def bytes_used(folder: Path) -> int:
    """Bytes of all files, without the pages of SQLite's that wait to be used again."""
    used = 0
    for path in folder.rglob("*"):
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                pages, free, size = (
                    database.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
            used += (pages - free) * size
        elif path.is_file():
            used += path.stat().st_size
    return used


@pytest.mark.parametrize(
    ("start", "ticks", "gone"),
    [
        pytest.param("2026-10-24T21:40:00+00:00", 9, 6, id="an hour and a half around midnight"),
        pytest.param(
            "2026-10-24T12:00:00+00:00", 144, 100, id="a day", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]
        ),
    ],
)
def test_a_day_of_polls_ends_with_every_poll_there_and_a_bounded_log(
    daemon: Daemon,
    lake: Lake,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    start: str,
    ticks: int,
    gone: int,
) -> None:
    """`gone`: the daemon is away when this tick and the next one are due."""
    first = dt.datetime.fromisoformat(start)
    due = [first + number * dt.timedelta(seconds=INTERVAL_S) for number in range(ticks)]
    before_midnight = due.index(dt.datetime(2026, 10, 24, 21, 50, tzinfo=dt.UTC))
    unwritable = gone - 3
    raw = tmp_path / "lake/raw"
    polled, lost = [], []
    daemon.start(first - dt.timedelta(seconds=1))
    for number, time in enumerate(due):
        if number in (gone, gone + 1):
            lost.append(time)
            continue
        # The last tick of the day comes ten seconds before midnight, and is not lost.
        now = time + dt.timedelta(seconds=590 if number == before_midnight else 3)
        if number == unwritable:
            raw.rename(tmp_path / "raw")
            raw.touch()
        daemon.wake(now)
        if number == unwritable:
            raw.unlink()
            (tmp_path / "raw").rename(raw)
        polled.append(now)

    assert poll_times(lake) == polled
    midnight = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)
    days = [lake.raw.index(dt.date(2026, 10, day))["query_time"].to_pylist() for day in (24, 25)]
    assert max(days[0]) == midnight - dt.timedelta(seconds=10)
    assert min(days[1]) == midnight + dt.timedelta(seconds=3)
    runs = [run.status for run in instance.get_runs()]
    assert (runs.count(dg.DagsterRunStatus.SUCCESS), runs.count(dg.DagsterRunStatus.FAILURE)) == (ticks - 3, 1)
    [state] = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    done = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert [tick.status for tick in done] == [TickStatus.SUCCESS] * (ticks - 2)

    everything = tmp_path / "dagster"
    before, materialized = bytes_used(everything), instance.get_materialized_partitions(dg.AssetKey("raw_snapshots"))
    assert materialized == {"2026-10-24", "2026-10-25"}
    pruned = prune_logs(instance, max(polled[-1], dt.datetime.now(dt.UTC)) + dt.timedelta(hours=1))
    after = bytes_used(everything)
    assert pruned.runs == ticks - 2
    assert (before - EMPTY_BYTES) / ticks > 1.5 * BYTES_PER_RUN
    assert (after - EMPTY_BYTES) / ticks < BYTES_PER_RUN
    assert instance.get_materialized_partitions(dg.AssetKey("raw_snapshots")) == materialized
    print(f"{ticks} ticks: {before / 1024:,.0f} KiB before, {after / 1024:,.0f} KiB after")
