import datetime as dt
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.event_log import SqliteEventLogStorage

from charging_assets.defs import housekeeping
from charging_assets.defs.housekeeping import KEPT_EVENTS, prune_logs
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake
from charging_assets_tests.clock import set_clock
from charging_assets_tests.raw_days import make_raw_day

DAYS = dg.DailyPartitionsDefinition("2026-03-01")
OLD = dt.timedelta(hours=1)


@dg.asset(partitions_def=DAYS)
def measured(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    for _ in range(10):
        context.log.info("a line of the log that nobody reads")
    print("printed")
    if context.partition_key == "2026-03-03":
        raise dg.Failure("The disk is full.")
    return dg.MaterializeResult(metadata={"rows": 7}, data_version=dg.DataVersion("v1"), tags={"kind": "x"})


@dg.asset
def undated() -> None:
    pass


@dg.asset_check(asset=measured, partitions_def=DAYS)
def complete(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=context.partition_key != "2026-03-02", description="12 polls are missing.")


GRAPH = dg.Definitions(
    assets=[measured, undated],
    asset_checks=[complete],
    jobs=[dg.define_asset_job("measuring", [measured]), dg.define_asset_job("other", [undated])],
)


@pytest.fixture
def instance(stored_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return stored_instance


def run(instance: dg.DagsterInstance, day: int) -> str:
    """Measure a day in March: on the second the check fails, on the third the run."""
    return (
        GRAPH.resolve_job_def("measuring")
        .execute_in_process(instance=instance, partition_key=f"2026-03-{day:02}", raise_on_error=False)
        .run_id
    )


def run_undated(instance: dg.DagsterInstance) -> str:
    return GRAPH.resolve_job_def("other").execute_in_process(instance=instance).run_id


def whole_state(instance: dg.DagsterInstance) -> Mapping[str, Any]:
    """What people see of assets, whichever runs made them."""
    graph = GRAPH.resolve_asset_graph()
    state: dict[str, Any] = {}
    for key in (measured.key, undated.key):
        latest = instance.get_latest_materialization_event(key)
        records = instance.fetch_materializations(key, limit=100).records
        state[key.to_user_string()] = (
            instance.get_materialized_partitions(key),
            latest and latest.asset_materialization,
            [(record.storage_id, record.run_id, record.asset_materialization) for record in records],
            [record.asset_entry for record in instance.get_asset_records([key])],
            instance.get_event_tags_for_asset(key),
            instance.get_latest_data_version_record(key) is not None,
            # How the UI finds partitions that failed: they were planned, by a run that failed.
            instance.event_log_storage.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
            ),
        )
    for check in graph.asset_check_keys:
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
        state[check.to_user_string()] = [
            (one.status, one.partition, one.run_id, one.event and one.event.dagster_event) for one in history
        ]
    state["runs"] = [(one.run_id, one.status, one.tags) for one in instance.get_runs()]
    return state


def in_future() -> dt.datetime:
    """After the end of every run until now."""
    return dt.datetime.now(dt.UTC) + OLD


def events_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The types of a run's events; of lines of its log "LOG"."""
    return [
        str(entry.dagster_event.event_type_value) if entry.dagster_event else "LOG"
        for entry in instance.all_logs(run_id)
    ]


@pytest.mark.parametrize("stored_instance", ["one file per run", "one database"], indirect=True)
def test_logs_of_old_runs_go_and_all_that_is_known_of_assets_and_checks_stays(instance: dg.DagsterInstance) -> None:
    runs = [run(instance, day) for day in (1, 2, 3)]
    runs.append(run_undated(instance))
    before = whole_state(instance)
    events = {run_id: events_of(instance, run_id) for run_id in runs}
    last = instance.event_log_storage.get_maximum_record_id()

    done = prune_logs(instance, in_future())

    assert whole_state(instance) == before
    assert before["measured"][0] == {"2026-03-01", "2026-03-02"}
    for run_id in runs[:-1]:
        assert events_of(instance, run_id) == [kind for kind in events[run_id] if kind in KEPT_EVENTS]
    assert done.runs == 4
    assert done.events >= sum(kind not in KEPT_EVENTS for run_id in runs[:-1] for kind in events[run_id])
    assert instance.event_log_storage.get_maximum_record_id() == last  # ids of new events must grow
    assert run(instance, 4) not in runs  # and the instance goes on working
    assert "2026-03-04" in instance.get_materialized_partitions(measured.key)


@pytest.mark.parametrize("stored_instance", ["one file per run", "one database"], indirect=True)
def test_pruning_again_finds_nothing_more_than_the_last_run_to_do(instance: dg.DagsterInstance) -> None:
    for day in (1, 2):
        run(instance, day)
    prune_logs(instance, in_future())
    before = whole_state(instance)

    done = prune_logs(instance, in_future())

    assert done.runs <= 1
    assert done.events <= 1
    assert whole_state(instance) == before


def test_of_old_verdicts_on_a_partition_the_last_completed_one_stays(instance: dg.DagsterInstance) -> None:
    def verdicts() -> list[tuple[str | None, str]]:
        history = instance.event_log_storage.get_asset_check_execution_history(complete.check_key, limit=100)
        return [(one.partition, one.run_id) for one in history]

    first, again, other, last = (run(instance, day) for day in (1, 1, 2, 1))
    assert verdicts() == [("2026-03-01", last), ("2026-03-02", other), ("2026-03-01", again), ("2026-03-01", first)]

    done = prune_logs(instance, in_future())

    assert done.verdicts == 2
    assert verdicts() == [("2026-03-01", last), ("2026-03-02", other)]


def test_files_of_old_runs_become_small_and_what_they_printed_goes(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def sizes() -> dict[str, int]:
        return {path.stem: path.stat().st_size for path in (tmp_path / "dagster/history/runs").glob("*-*.db")}

    runs = [run(instance, 1) for _ in range(3)]
    before = sizes()
    assert all((tmp_path / "dagster/storage" / run_id).exists() for run_id in runs)

    done = prune_logs(instance, in_future())

    after = sizes()
    assert done.bytes == sum(before.values()) - sum(after.values())
    assert min(before.values()) > 110_000
    assert max(after.values()) < 32_000
    assert not any((tmp_path / "dagster/storage" / run_id).exists() for run_id in runs)
    assert sorted(path.suffix for path in (tmp_path / "dagster/history/runs").iterdir()) == [".db"] * 4


def test_runs_that_are_not_over_or_not_old_enough_keep_their_logs(instance: dg.DagsterInstance) -> None:
    run_id = run(instance, 1)
    under_way = run(instance, 2)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "measuring"), under_way)
    before = [events_of(instance, one) for one in (run_id, under_way)]

    prune_logs(instance, dt.datetime.now(dt.UTC) - OLD)
    assert [events_of(instance, one) for one in (run_id, under_way)] == before
    prune_logs(instance, in_future())
    assert events_of(instance, under_way) == before[1]
    assert events_of(instance, run_id) != before[0]


def test_runs_of_other_code_locations_keep_their_logs(instance: dg.DagsterInstance) -> None:
    ours, theirs = run(instance, 1), run(instance, 2)
    for run_id, label in ((ours, "__repository__@charging_assets"), (theirs, "__repository__@theirs")):
        instance.add_run_tags(run_id, {".dagster/repository": label})
    before = events_of(instance, theirs)

    prune_logs(instance, in_future(), "__repository__@charging_assets")

    assert events_of(instance, theirs) == before
    assert "STEP_START" not in events_of(instance, ours)


def test_a_log_that_somebody_holds_open_is_left_for_the_next_time(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_BUSY_WITHIN_S", 0.01)
    run_id, other = run(instance, 1), run(instance, 2)
    run_undated(instance)
    before = events_of(instance, run_id)
    assert isinstance(instance.event_log_storage, SqliteEventLogStorage)
    with closing(sqlite3.connect(instance.event_log_storage.path_for_shard(run_id))) as reader:
        reader.execute("BEGIN IMMEDIATE")
        assert prune_logs(instance, in_future()).busy == 1
    assert events_of(instance, run_id) == before
    assert "STEP_START" not in events_of(instance, other)

    assert prune_logs(instance, in_future()).busy == 0
    assert "STEP_START" not in events_of(instance, run_id)


def test_an_event_log_of_an_unknown_kind_is_refused_in_a_sentence(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        pass

    monkeypatch.setattr(type(instance), "event_log_storage", Elsewhere())
    with pytest.raises(dg.Failure) as failure:
        prune_logs(instance, in_future())
    assert "The event log is kept by Elsewhere" in str(failure.value.description)


def keep_house(instance: dg.DagsterInstance, lake: Lake) -> dg.ExecuteInProcessResult:
    home = str(Path(lake.uri).parent / "home")
    graph = dg.Definitions(jobs=[housekeeping.housekeeping], resources={"lake": LakeResource(uri=lake.uri, home=home)})
    return graph.resolve_job_def("housekeeping").execute_in_process(instance=instance, raise_on_error=False)


def test_the_job_compacts_closed_days_and_prunes_by_the_setting(
    instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [dt.date(2026, 3, 28), dt.date(2026, 3, 29)]
    for day in days:
        make_raw_day(lake, day, polls=3)
    raw = [lake.raw.fingerprint(day) for day in days]
    run_id = run(instance, 1)
    set_clock(monkeypatch, "2026-03-29T21:59:59+00:00")  # the last second of a day of 23 hours

    assert keep_house(instance, lake).success

    assert [lake.raw.files(day) for day in days] == [1, 3]
    assert [lake.raw.fingerprint(day) for day in days] == raw
    assert "STEP_START" in events_of(instance, run_id)  # 14 days are not over

    monkeypatch.setenv("CHARGING_ASSETS_KEEP_LOGS_DAYS", "3")
    set_clock(monkeypatch, dt.datetime.now(dt.UTC) + dt.timedelta(days=3, minutes=1))
    assert keep_house(instance, lake).success
    assert [lake.raw.files(day) for day in days] == [1, 1]
    assert "STEP_START" not in events_of(instance, run_id)


def test_a_damaged_day_is_told_and_keeps_neither_other_days_nor_the_logs_from_their_turn(
    instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [dt.date(2026, 3, day) for day in (27, 28, 29)]
    for day in days:
        make_raw_day(lake, day, polls=2)
    damaged = sorted(Path(lake.uri, "raw/query_date=2026-03-28").iterdir())[0]
    damaged.write_bytes(b"PAR1 and nothing else")
    run_id = run(instance, 1)
    set_clock(monkeypatch, dt.datetime.now(dt.UTC) + dt.timedelta(days=15))

    done = keep_house(instance, lake)

    assert not done.success
    [failure] = [event for event in done.all_events if event.is_step_failure]
    assert failure.step_key == "compact_closed_days"
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert str(said.description).startswith("2026-03-28: ")
    assert [lake.raw.files(day) for day in days] == [1, 2, 1]
    assert "STEP_START" not in events_of(instance, run_id)


def test_the_settings_that_ship_for_dagster_bound_ticks_runs_and_pools(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_bytes(Path(housekeeping.__file__).with_name("dagster.yaml").read_bytes())

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        ticks = {kind: instance.get_tick_retention_settings(kind) for kind in InstigatorType}
        assert set(ticks[InstigatorType.SCHEDULE].values()) == {30}
        assert ticks[InstigatorType.SENSOR][TickStatus.SKIPPED] == 2
        assert ticks[InstigatorType.SENSOR][TickStatus.FAILURE] == 30
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [{"key": "night", "limit": 1}]
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60


def test_one_poll_at_a_time_has_the_api_and_other_steps_need_not_wait(tmp_path: Path) -> None:
    @dg.op(pool="chargecloud_api")
    def ask() -> None:
        pass

    @dg.op
    def build() -> None:
        pass

    @dg.job
    def poll() -> None:
        ask()

    @dg.job
    def make() -> None:
        build()

    (tmp_path / "dagster.yaml").write_bytes(Path(housekeeping.__file__).with_name("dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        assert poll.execute_in_process(instance=instance).success  # this is how a pool comes to be known

        first = storage.claim_concurrency_slot("chargecloud_api", "one run", "ask")
        second = storage.claim_concurrency_slot("chargecloud_api", "another", "ask")
        assert (first.is_claimed, second.is_claimed) == (True, False)
        assert make.execute_in_process(instance=instance).success
        storage.free_concurrency_slots_for_run("one run")
        assert storage.claim_concurrency_slot("chargecloud_api", "another", "ask").is_claimed
