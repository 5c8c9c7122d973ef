"""Verdicts per partition in the event log, and what a bad one stops: in the same run, and in later ones."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqlEventLogStorage

from charging_assets.defs.checks import GROUPS, build_checks, require_passed
from charging_assets.defs.partitions import DAILY
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake
from charging_assets.quality.checks import CHECKS, is_per_date
from charging_assets_tests.sound_lake import DAY, DAY_BEFORE, FROZEN_DAY, rewrite, with_values

RANGE = {
    "dagster/asset_partition_range_start": DAY_BEFORE.isoformat(),
    "dagster/asset_partition_range_end": FROZEN_DAY.isoformat(),
}
KEYS = [date.isoformat() for date in (DAY_BEFORE, DAY, FROZEN_DAY)]
FLATTENED = GROUPS["check_flattened"]
DIMENSIONS = GROUPS["check_dimensions"]

Evaluations = Mapping[tuple[str, str, str | None], dg.AssetCheckEvaluation]


def graph(lake: Lake, *, yesterday_too: bool = False) -> dg.Definitions:
    """Assets that find their tables made already, and what is made from them."""

    def stands_already(name: str, tables: tuple[str, ...], partitions_def: Any) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=name,
            specs=[dg.AssetSpec(table, skippable=True) for table in tables],
            partitions_def=partitions_def,
            can_subset=True,
        )
        def found(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
            for key in sorted(context.selected_asset_keys):
                yield dg.MaterializeResult(asset_key=key)
            if yesterday_too:
                context.log_event(dg.AssetMaterialization("feed_health", partition=DAY_BEFORE.isoformat()))

        return found

    @dg.asset(partitions_def=DAILY, deps=FLATTENED)
    def made_from_the_day() -> None: ...

    @dg.asset(deps=DIMENSIONS)
    def made_from_the_dimensions() -> None: ...

    dated = {"check_raw", "check_flattened", "check_feed_health", "check_occupancy"}
    steps = {name: name.removeprefix("check_") for name in GROUPS}
    assets = [stands_already(steps[name], tables, DAILY if name in dated else None) for name, tables in GROUPS.items()]
    return dg.Definitions(
        assets=[*assets, made_from_the_day, made_from_the_dimensions],
        asset_checks=build_checks(),
        jobs=[
            dg.define_asset_job("day", dg.AssetSelection.assets(*FLATTENED, made_from_the_day)),
            dg.define_asset_job("health", dg.AssetSelection.assets(*GROUPS["check_feed_health"])),
            dg.define_asset_job("undated", dg.AssetSelection.assets(*DIMENSIONS, made_from_the_dimensions)),
            dg.define_asset_job("poll", dg.AssetSelection.assets("raw_snapshots", "current_status")),
            dg.define_asset_job("checks_alone", dg.AssetSelection.checks_for_assets("poll_log")),
        ],
        resources={"lake": LakeResource(uri=lake.uri, home=str(Path(lake.uri).parent / "home"))},
        executor=dg.in_process_executor,
    )


def run(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **how: Any) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **how)


def evaluations(result: dg.ExecuteInProcessResult) -> Evaluations:
    found = result.get_asset_check_evaluations()
    by_check = {(each.asset_key.path[-1], each.check_name, each.partition): each for each in found}
    assert len(by_check) == len(found)
    return by_check


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def spoil(lake: Lake, table: str = "status_chargingpoints", key: Any = DAY) -> Callable[[], None]:
    """Make a partition fail its check `keys`; returns how to mend it."""
    path = Path(lake.location(table, key))
    sound = path.read_bytes()
    rewrite(lake, table, key, lambda rows: rows.take([1, 0, *range(2, rows.num_rows)]))

    def mend() -> None:
        path.write_bytes(sound)

    return mend


# The specs


def test_every_check_has_a_spec_that_says_what_it_promises_and_whether_it_blocks() -> None:
    specs = {(spec.asset_key.path[-1], spec.name): spec for step in build_checks() for spec in step.check_specs}

    assert specs.keys() == {(check.table, check.name) for check in CHECKS}
    for check in CHECKS:
        spec = specs[check.table, check.name]
        assert spec.description == check.promise
        assert spec.blocking == check.blocking
        assert spec.partitions_def == (DAILY if is_per_date(check) else None)


def test_what_is_read_by_others_is_blocked_by_its_schema_keys_nulls_dates_and_what_does_not_add_up() -> None:
    blocking = {check.name for check in CHECKS if check.blocking and check.table != "mapping_poi_cs"}

    declared, against_raw = {"schema", "keys", "not_null", "query_date"}, {"rows_against_raw", "balance"}
    assert blocking == declared | against_raw | {"history"} | {"overlaps", "hours", "sums"}


def test_pairs_of_what_is_not_there_are_held_back() -> None:
    blocking = {check.name for check in CHECKS if check.blocking and check.table == "mapping_poi_cs"}

    assert blocking == {"schema", "keys", "not_null", "references"}


def test_checks_are_defined_without_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_checks()

    assert not caught


# Verdicts


def test_a_run_for_one_date_has_a_verdict_of_every_check_on_that_date(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    result = run(graph(sound), "day", instance, partition_key=DAY.isoformat())

    assert result.success
    found = evaluations(result)
    assert found.keys() == {(check.table, check.name, DAY.isoformat()) for check in CHECKS if check.table in FLATTENED}
    keys = found["status_chargingpoints", "keys", DAY.isoformat()]
    assert keys.passed
    assert keys.description == "756 rows, keys (id_chargingpoint, query_time) unique and sorted."
    assert keys.metadata["rows"].value == 756
    assert keys.target_materialization_data
    assert keys.target_materialization_data.run_id == result.run_id


def test_checks_run_after_what_they_judge_and_before_what_is_made_from_it(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    result = run(graph(sound), "day", instance, partition_key=DAY.isoformat())

    steps = [event.step_key for event in result.all_events if event.is_step_success]
    assert steps == ["flattened", "check_flattened", "made_from_the_day"]


def test_a_run_over_a_range_has_a_verdict_for_each_date(sound: Lake, instance: dg.DagsterInstance) -> None:
    spoil(sound)

    result = run(graph(sound), "day", instance, tags=RANGE)

    assert not result.success
    found = evaluations(result)
    assert Counter(key for *_, key in found) == dict.fromkeys(KEYS, len(found) // 3)
    assert [check for check, each in found.items() if not each.passed] == [
        ("status_chargingpoints", "keys", DAY.isoformat())
    ]
    assert "made_from_the_day" not in made(result)
    for key in KEYS:
        (info,) = instance.event_log_storage.get_asset_check_partition_info(
            [dg.AssetCheckKey(dg.AssetKey("status_chargingpoints"), "keys")], partition_keys=[key]
        )
        assert info.latest_execution_status.value == ("FAILED" if key == DAY.isoformat() else "SUCCEEDED")


def test_a_warning_is_shown_and_stops_nothing(sound: Lake, instance: dg.DagsterInstance) -> None:
    rewrite(sound, "status_connectors", DAY, lambda rows: with_values(rows, "status_connector", {0: "ON FIRE"}))

    result = run(graph(sound), "day", instance, partition_key=DAY.isoformat())

    warning = evaluations(result)["status_connectors", "known_words", DAY.isoformat()]
    assert (warning.passed, warning.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(warning.metadata["examples"].value).startswith("status_connector 'ON FIRE': 1 row, first (")
    assert result.success
    assert "made_from_the_day" in made(result)


def test_undated_tables_have_one_verdict_and_block_as_well(sound: Lake, instance: dg.DagsterInstance) -> None:
    good = run(graph(sound), "undated", instance)
    spoil(sound, "connector", None)
    bad = run(graph(sound), "undated", instance)

    assert good.success
    assert {key for *_, key in evaluations(good)} == {None}
    assert not bad.success
    assert not evaluations(bad)["connector", "keys", None].passed
    assert "made_from_the_dimensions" not in made(bad)


def test_a_run_for_an_old_date_judges_that_date_and_the_newest_answer(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    found = evaluations(run(graph(sound), "poll", instance, partition_key=DAY.isoformat()))

    assert found["raw_snapshots", "schema", DAY.isoformat()].passed
    assert not found["raw_snapshots", "freshness", None].passed
    assert found["current_status", "keys", None].passed


def test_a_date_that_a_run_made_besides_its_own_is_judged_too(sound: Lake, instance: dg.DagsterInstance) -> None:
    result = run(graph(sound, yesterday_too=True), "health", instance, partition_key=DAY.isoformat())

    dates = {key for table, *_, key in evaluations(result) if table == "feed_health"}
    assert dates == {DAY_BEFORE.isoformat(), DAY.isoformat()}


def test_checks_that_are_executed_by_themselves_judge_the_newest_date(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    result = run(graph(sound), "checks_alone", instance)

    assert result.success
    found = evaluations(result)
    assert {(table, key) for table, _, key in found} == {("poll_log", FROZEN_DAY.isoformat())}


# What a bad verdict stops in later runs


def test_a_bad_partition_is_refused_in_later_runs_until_it_passes(sound: Lake, instance: dg.DagsterInstance) -> None:
    mend = spoil(sound)
    run(graph(sound), "day", instance, tags=RANGE)

    with pytest.raises(dg.Failure) as refused:
        require_passed(instance, FLATTENED, KEYS)
    require_passed(instance, FLATTENED, [KEYS[0], KEYS[2]])
    require_passed(instance, ["status_connectors"], KEYS)

    said = refused.value.description
    assert said
    assert f"status_chargingpoints {DAY}, keys (run " in said
    assert "Of 756 rows, 0 repeat the key (id_chargingpoint, query_time) of the row before and 1 are out of" in said
    assert "Build these partitions again" in said
    assert not refused.value.allow_retries

    mend()
    run(graph(sound), "day", instance, partition_key=DAY.isoformat())
    require_passed(instance, FLATTENED, KEYS)


def test_a_bad_partition_is_refused_whatever_keeps_the_events(sound: Lake, tmp_path: Path) -> None:
    wrapped = {
        "module_name": "dagster._core.storage.sqlite_storage",
        "class_name": "DagsterSqliteStorage",
        "config_yaml": f"base_dir: {tmp_path}",
    }
    storage = {"module": "dagster._core.storage.legacy_storage", "class": "LegacyEventLogStorage", "config": wrapped}
    spoil(sound)
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"event_log_storage": storage}) as instance:
        assert not isinstance(instance.event_log_storage, SqlEventLogStorage)
        run(graph(sound), "day", instance, partition_key=DAY.isoformat())

        with pytest.raises(dg.Failure, match=f"status_chargingpoints {DAY}, keys"):
            require_passed(instance, FLATTENED, KEYS)
        require_passed(instance, FLATTENED, [KEYS[0], KEYS[2]])


def test_what_was_never_judged_may_be_read(instance: dg.DagsterInstance) -> None:
    require_passed(instance, [*FLATTENED, *DIMENSIONS], KEYS)


def test_a_run_that_was_killed_before_its_checks_does_not_lift_a_bad_verdict(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    spoil(sound)
    definitions = graph(sound)
    run(definitions, "day", instance, partition_key=DAY.isoformat())
    # A run that is only begun has announced its checks and judged nothing.
    instance.create_run_for_job(definitions.resolve_job_def("day"), tags={"dagster/partition": DAY.isoformat()})
    (info,) = instance.event_log_storage.get_asset_check_partition_info(
        [dg.AssetCheckKey(dg.AssetKey("status_chargingpoints"), "keys")], partition_keys=[DAY.isoformat()]
    )
    assert info.latest_execution_status.value == "PLANNED"

    with pytest.raises(dg.Failure, match=f"status_chargingpoints {DAY}, keys"):
        require_passed(instance, FLATTENED, KEYS)


def test_a_failed_check_that_does_not_block_refuses_nothing(sound: Lake, instance: dg.DagsterInstance) -> None:
    rewrite(sound, "poll_log", DAY, lambda rows: with_values(rows, "attempts", {0: -1}))
    found = evaluations(run(graph(sound), "day", instance, partition_key=DAY.isoformat()))

    assert not found["poll_log", "bounds", DAY.isoformat()].passed
    require_passed(instance, FLATTENED, KEYS)


def test_an_undated_table_that_is_bad_is_refused_whatever_partitions_are_meant(
    sound: Lake, instance: dg.DagsterInstance
) -> None:
    mend = spoil(sound, "charging_point", None)
    run(graph(sound), "undated", instance)

    with pytest.raises(dg.Failure, match=r"charging_point, keys \(run "):
        require_passed(instance, ["charging_point"])
    mend()
    run(graph(sound), "undated", instance)
    require_passed(instance, ["charging_point"], KEYS)
