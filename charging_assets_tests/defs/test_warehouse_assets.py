"""The assets in the warehouse, materialized by their job from a small lake, and the check that they are in step."""

import datetime as dt
import logging
import os
import re
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from charging_assets.definitions import build_definitions
from charging_assets.defs.assets.warehouse import build_warehouse_assets
from charging_assets.defs.checks import build_checks
from charging_assets.defs.partitions import DAILY
from charging_assets.defs.resources import LakeResource
from charging_assets.flatten.day import TABLES as FLATTENED
from charging_assets.lake import Lake
from charging_assets.model.tables import is_dated
from charging_assets.settings import Settings
from charging_assets.warehouse import warehouse_of
from charging_assets.warehouse.contract import published_tables
from charging_assets_tests.clock import set_clock
from charging_assets_tests.judging import judge, lose_a_row
from charging_assets_tests.sound_lake import DAY, DAY_BEFORE, FROZEN_DAY, TODAY, WEEK_BEFORE
from charging_assets_tests.standins.pgproxy import PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin

DAYS = [DAY_BEFORE, DAY, FROZEN_DAY]
TABLE = "status_chargingpoints"
ASSET = dg.AssetKey(["warehouse", TABLE])
DATED = [tab.name for tab in published_tables() if is_dated(tab)]
UNDATED = [tab.name for tab in published_tables() if not is_dated(tab)]
ALL = (*DATED, *UNDATED)
FEW = (TABLE, "poll_log", "connector", "poi")
"""Enough where it does not matter which tables there are."""
ONLY_FEW = {"asset_selection": [dg.AssetKey(["warehouse", name]) for name in FEW]}
"""What `run` takes to publish these alone."""
CANARY = "canary-0c5f"

Instance = dg.DagsterInstance


@pytest.fixture
def database(postgres: PostgresStandin, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with the schema, which the settings name as the warehouse."""
    name = postgres.new_database()
    monkeypatch.setenv("CHARGING_ASSETS_WAREHOUSE", "postgres")
    set_dsn(monkeypatch, postgres.dsn(name))
    return name


@pytest.fixture
def published(sound: Lake, database: str) -> dg.Definitions:
    """The platform on a lake of its own, with an empty warehouse."""
    warehouse_of(Settings.from_env(), sound).ensure_schema()
    return definitions(sound)


def set_dsn(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_POSTGRES_DSN", dsn)


def definitions(lake: Lake) -> dg.Definitions:
    home = Path(lake.uri).parent / "home" if "://" not in lake.uri else Path("unused")
    return build_definitions({"lake": LakeResource(uri=lake.uri, home=str(home))})


def run(
    graph: dg.Definitions, instance: Instance, *days: dt.date, job: str = "publish", **more: Any
) -> dg.ExecuteInProcessResult:
    """Run a job for one day, or from the first of several to the last; failures are in the result."""
    tags = {}
    if len(days) > 1:
        tags = {
            "dagster/asset_partition_range_start": days[0].isoformat(),
            "dagster/asset_partition_range_end": days[-1].isoformat(),
        }
    return graph.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=days[0].isoformat() if len(days) == 1 else None,
        tags=tags,
        raise_on_error=False,
        **more,
    )


def recorded(instance: Instance, result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], Mapping[str, Any]]:
    """What a run recorded as materialized, from the event log: {(table, partition): metadata}."""
    logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [log.get_dagster_event().step_materialization_data.materialization for log in logs]
    found = {
        (event.asset_key.path[-1], event.partition): {name: value.value for name, value in event.metadata.items()}
        for event in events
    }
    assert len(found) == len(events)
    return found


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What each failed step said to people."""
    events = [event for event in result.all_events if event.is_step_failure]
    return {
        str(event.step_key).removeprefix("publish_"): str(data.description)
        for event in events
        if (data := event.step_failure_data.user_failure_data)
    }


def rows(postgres: PostgresStandin, database: str, tables: Collection[str] = ALL) -> dict[tuple[str, str | None], int]:
    """Rows of each partition in the warehouse."""
    found: dict[tuple[str, str | None], int] = {}
    for name in DATED:
        counted = f'SELECT query_date, count(*) FROM charging."{name}" GROUP BY 1'
        found |= {(name, day.isoformat()): count for day, count in postgres.execute(database, counted)}
    for name in UNDATED:
        found[name, None] = postgres.execute(database, f'SELECT count(*) FROM charging."{name}"')[0][0]
    return {(name, key): count for (name, key), count in found.items() if name in tables}


def rows_in(lake: Lake, *days: dt.date, tables: Collection[str] = ALL) -> dict[tuple[str, str | None], int]:
    """Rows of each partition in the lake, of undated tables and these days; a dated one without rows is left out."""
    found = {(name, day.isoformat()): lake.read(name, day).num_rows for name in DATED if name in tables for day in days}
    found = {key: count for key, count in found.items() if count}
    return found | {(name, None): lake.read(name, None).num_rows for name in UNDATED if name in tables}


def loads(lake: Lake) -> dict[tuple[str, dt.date | None], str]:
    """The load log: which load each partition is of."""
    return {key: load.load_id for key, load in warehouse_of(Settings.from_env(), lake).load_log().items()}


# Loading


def test_a_range_is_one_run_with_figures_for_each_partition_and_undated_tables_loaded_once(
    sound: Lake, published: dg.Definitions, postgres: PostgresStandin, database: str, instance: Instance
) -> None:
    result = run(published, instance, *DAYS)

    assert result.success
    made = recorded(instance, result)
    assert made.keys() == {(name, day.isoformat()) for name in DATED for day in DAYS} | {(n, None) for n in UNDATED}
    expected = rows_in(sound, *DAYS)
    assert rows(postgres, database) == expected
    counts = {
        key: shown.get("dagster/partition_row_count", shown.get("dagster/row_count")) for key, shown in made.items()
    }
    assert {key: count for key, count in counts.items() if count} == {
        key: count for key, count in expected.items() if count
    }
    shown = made[TABLE, DAY.isoformat()]
    assert shown["load_id"] == loads(sound)[TABLE, DAY]
    assert shown["seconds"] > 0
    assert instance.get_materialized_partitions(ASSET) == {day.isoformat() for day in DAYS}


def test_what_the_warehouse_has_is_recorded_and_not_loaded_again_unless_it_is_asked_for(
    sound: Lake, published: dg.Definitions, instance: Instance
) -> None:
    run(published, instance, DAY, **ONLY_FEW)
    first = loads(sound)

    again = run(published, instance, DAY_BEFORE, DAY, **ONLY_FEW)
    second = loads(sound)
    reload = {"ops": {f"publish_{TABLE}": {"config": {"reload": True}}}}
    run(published, instance, DAY, run_config=reload, **ONLY_FEW)
    third = loads(sound)

    assert {key: second[key] for key in first} == first
    made = recorded(instance, again)
    assert made[TABLE, DAY.isoformat()]["load_id"] == first[TABLE, DAY]
    assert made[TABLE, DAY.isoformat()]["not_loaded"] == "the warehouse has it already"
    assert "not_loaded" not in made[TABLE, DAY_BEFORE.isoformat()]
    assert [key for key in second if third[key] != second[key]] == [(TABLE, DAY)]


def test_a_date_that_the_lake_lacks_is_a_warning(
    published: dg.Definitions, postgres: PostgresStandin, database: str, instance: Instance
) -> None:
    lacking = DAY_BEFORE - dt.timedelta(days=1)

    result = run(published, instance, lacking, DAY_BEFORE, **ONLY_FEW)

    assert result.success
    assert recorded(instance, result)[TABLE, lacking.isoformat()] == {"not_loaded": "the lake has no such partition"}
    warnings = [log.user_message for log in instance.all_logs(result.run_id) if log.level == logging.WARNING]
    assert f"{TABLE} {lacking} is not in the lake: nothing was loaded." in warnings
    assert {key for _, key in rows(postgres, database)} == {DAY_BEFORE.isoformat(), None}


def test_a_damaged_partition_stops_no_other_and_publishing_again_repairs_exactly_it(
    sound: Lake, published: dg.Definitions, postgres: PostgresStandin, database: str, instance: Instance
) -> None:
    path = Path(sound.location(TABLE, DAY))
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])

    result = run(published, instance, *DAYS, **ONLY_FEW)

    assert not result.success
    (said,) = failures(result).items()
    assert said[0] == TABLE
    assert said[1].startswith(f"{TABLE}: 2 loaded, 1 not. {DAY}: The file ")
    assert "build this partition again" in said[1]
    good = {DAY_BEFORE.isoformat(), FROZEN_DAY.isoformat()}
    assert instance.get_materialized_partitions(ASSET) == good
    assert {key for table, key in recorded(instance, result) if table == TABLE} == good
    assert {key for table, key in rows(postgres, database) if table == TABLE} == good
    before = loads(sound)

    path.write_bytes(whole)
    assert run(published, instance, *DAYS, **ONLY_FEW).success

    assert instance.get_materialized_partitions(ASSET) == {day.isoformat() for day in DAYS}
    assert loads(sound).items() - before.items() == {((TABLE, DAY), loads(sound)[TABLE, DAY])}
    assert rows(postgres, database, FEW) == rows_in(sound, *DAYS, tables=FEW)


def test_a_warehouse_that_is_down_fails_in_a_sentence_and_costs_the_lake_nothing(
    sound: Lake, published: dg.Definitions, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path: path.read_bytes() for path in Path(sound.uri).rglob("*.parquet")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    set_dsn(monkeypatch, f"postgresql://postgres@127.0.0.1:{port}/gone")

    result = run(published, instance, *DAYS)

    said = failures(result)
    assert said.keys() == {*DATED, *UNDATED}
    assert said[TABLE].startswith(f"{TABLE}: 0 loaded, 1 not. {DAY_BEFORE}: ")
    assert "PostgreSQL at 127.0.0.1, database gone" in said[TABLE]
    assert "Connection refused" in said[TABLE]
    assert said[TABLE].endswith("What comes after it was not tried.")
    assert "Traceback" not in said[TABLE]
    assert recorded(instance, result) == {}
    assert {path: path.read_bytes() for path in Path(sound.uri).rglob("*.parquet")} == files


def test_a_warehouse_without_its_tables_says_what_to_do(sound: Lake, database: str, instance: Instance) -> None:
    said = failures(run(definitions(sound), instance, DAY))

    assert "charging-assets migrate" in said[TABLE]


def test_what_a_blocking_check_found_bad_is_not_loaded_until_it_passes(
    sound: Lake, published: dg.Definitions, postgres: PostgresStandin, database: str, instance: Instance
) -> None:
    whole = Path(sound.location(TABLE, DAY)).read_bytes()
    lose_a_row(sound, TABLE, DAY)
    judge(published, instance, TABLE, DAY)

    said = failures(run(published, instance, *DAYS, **ONLY_FEW))

    assert said.keys() == {TABLE}
    assert said[TABLE].startswith(f"{TABLE}: 2 loaded, 1 not. {DAY}: a blocking check found it bad. ")
    assert f"{TABLE} {DAY}, rows_against_raw (run " in said[TABLE]
    assert said[TABLE].endswith("Build it again, then publish it.")
    assert instance.get_materialized_partitions(ASSET) == {DAY_BEFORE.isoformat(), FROZEN_DAY.isoformat()}
    assert (TABLE, DAY.isoformat()) not in rows(postgres, database)

    Path(sound.location(TABLE, DAY)).write_bytes(whole)
    judge(published, instance, TABLE, DAY)
    assert run(published, instance, *DAYS, **ONLY_FEW).success
    assert rows(postgres, database, FEW) == rows_in(sound, *DAYS, tables=FEW)


def test_what_a_blocking_check_finds_bad_in_a_run_is_not_loaded_by_the_same_run(
    sound: Lake, published: dg.Definitions, postgres: PostgresStandin, database: str, instance: Instance
) -> None:
    @dg.multi_asset(
        name="flatten",
        specs=[dg.AssetSpec(name) for name in FLATTENED],
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def stands_already() -> Iterator[dg.MaterializeResult[None]]:
        for name in FLATTENED:
            yield dg.MaterializeResult(asset_key=name)

    lose_a_row(sound, TABLE, DAY)
    tables = [one for one in build_warehouse_assets(Settings.from_env()) if one.key == ASSET]
    checks = [one for one in build_checks() if one.node_def.name == "check_flattened"]
    graph = dg.Definitions(
        [stands_already, *tables],
        asset_checks=checks,
        jobs=[dg.define_asset_job("both", dg.AssetSelection.all())],
        resources=published.resources,
        executor=dg.in_process_executor,
    )

    result = run(graph, instance, DAY, job="both")

    assert not result.success
    assert recorded(instance, result).keys() == {(name, DAY.isoformat()) for name in FLATTENED}
    assert TABLE not in {table for table, _ in loads(sound)}


def test_redshift_is_published_from_a_lake_on_s3(
    sound: Lake, postgres: PostgresStandin, instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = postgres.new_database()
    with S3Standin() as s3, RedshiftStandin(postgres, s3, password=CANARY) as cluster:
        cluster.prepare(database)
        bucket = s3.new_bucket()
        for path in filter(Path.is_file, Path(sound.uri).rglob("[!.]*")):
            s3.client().upload_file(str(path), bucket, f"lake/{path.relative_to(sound.uri)}")
        environment = {
            "CHARGING_ASSETS_LAKE": f"s3://{bucket}/lake",
            "CHARGING_ASSETS_WAREHOUSE": "redshift",
            "CHARGING_ASSETS_REDSHIFT_HOST": "127.0.0.1",
            "CHARGING_ASSETS_REDSHIFT_PORT": str(cluster.port),
            "CHARGING_ASSETS_REDSHIFT_DATABASE": database,
            "CHARGING_ASSETS_REDSHIFT_USER": "postgres",
            "CHARGING_ASSETS_REDSHIFT_PASSWORD": CANARY,
            "CHARGING_ASSETS_REDSHIFT_IAM_ROLE": "arn:aws:iam::123456789012:role/charging-lake",
            "CHARGING_ASSETS_REDSHIFT_SSLMODE": "disable",
            **s3.environment,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        lake = Lake(f"s3://{bucket}/lake", tmp_path / "s3home")
        warehouse_of(Settings.from_env(), lake).ensure_schema()
        graph = build_definitions({"lake": LakeResource(uri=lake.uri, home=str(tmp_path / "s3home"))})

        result = run(graph, instance, *DAYS, **ONLY_FEW)

        assert result.success
        assert rows(postgres, database, FEW) == rows_in(sound, *DAYS, tables=FEW)
        assert CANARY not in everything_said(graph, instance)
        assert CANARY not in "".join(cluster.statements)


# Secrets


def everything_said(graph: dg.Definitions, instance: Instance) -> str:
    """All that Dagster shows or keeps: definitions, runs, their configuration and all events with their errors."""
    kept = [RepositorySnap.from_def(graph.get_repository_def())]
    for one in instance.get_runs():
        kept += [one, *instance.all_logs(one.run_id)]
    return "\n".join(dg.serialize_value(each) for each in kept)


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_the_password_appears_in_nothing_that_dagster_shows_or_keeps(
    sound: Lake,
    published: dg.Definitions,
    postgres: PostgresStandin,
    database: str,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    password: str,
) -> None:
    with PgProxy(postgres.socket_path, password=CANARY if password == "right" else "another") as proxy:
        set_dsn(monkeypatch, proxy.dsn(database, password=CANARY))
        if password == "right":
            Path(sound.location(TABLE, DAY)).write_bytes(b"damaged")

        with caplog.at_level(logging.DEBUG):
            result = run(published, instance, *DAYS, **ONLY_FEW)

    assert not result.success
    assert failures(result).keys() == ({TABLE} if password == "right" else {*FEW})
    said = everything_said(published, instance)
    assert "CHARGING_ASSETS_POSTGRES_DSN" in said
    captured = capfd.readouterr()
    for text in (said, caplog.text, captured.out, captured.err, "".join(proxy.statements)):
        assert CANARY not in text


# The check


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        each.asset_key.path[-1]: each
        for each in result.get_asset_check_evaluations()
        if each.check_name == "warehouse_in_sync"
    }


def test_the_check_says_what_is_missing_outdated_and_surplus_and_passes_when_all_is_published(
    sound: Lake, published: dg.Definitions, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, dt.datetime.combine(TODAY, dt.time(6), dt.UTC))
    assert run(published, instance, WEEK_BEFORE).success
    assert run(published, instance, *DAYS).success
    before = verdicts(run(published, instance, job="check_warehouse"))
    sound.write(TABLE, DAY, sound.read(TABLE, DAY).slice(1))
    shutil.copy(sound.location(TABLE, DAY), sound.location(TABLE, TODAY))  # it is not over, and not asked for
    Path(sound.location(TABLE, WEEK_BEFORE)).unlink()
    sound.write("connector", None, sound.read("connector", None).slice(1))
    sound.write("current_status", None, sound.read("current_status", None).slice(1))

    after = verdicts(run(published, instance, job="check_warehouse"))

    assert before.keys() == after.keys() == {*DATED, *UNDATED}
    assert {each.partition for each in after.values()} == {None}
    assert all(each.passed for each in before.values())
    assert before[TABLE].description == "Every partition is as it is in the lake."
    failed = {table: each for table, each in after.items() if not each.passed}
    assert failed.keys() == {TABLE, "connector"}
    assert {each.severity for each in failed.values()} == {dg.AssetCheckSeverity.WARN}
    assert str(failed[TABLE].description).startswith(
        f"2 partitions not as in the lake: {WEEK_BEFORE} is surplus, {DAY} is outdated. "
    )
    assert {name: value.value for name, value in failed[TABLE].metadata.items()} == {"surplus": 1, "outdated": 1}
    assert str(failed["connector"].description).startswith("1 partition not as in the lake: all is outdated. ")


def test_the_check_names_ten_partitions_and_counts_the_others(
    sound: Lake, published: dg.Definitions, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, dt.datetime.combine(TODAY, dt.time(6), dt.UTC))
    for number in range(20, 28):
        shutil.copy(sound.location(TABLE, DAY), sound.location(TABLE, dt.date(2026, 2, number)))

    said = str(verdicts(run(published, instance, job="check_warehouse"))[TABLE].description)

    assert said.startswith("12 partitions not as in the lake: 2026-02-20 is missing, ")
    assert len(re.findall(r"\d{4}-\d\d-\d\d is missing", said)) == 10
    assert " and 2 more. " in said


def test_the_check_of_a_run_reads_the_load_log_once_for_all_tables(
    published: dg.Definitions,
    postgres: PostgresStandin,
    database: str,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with PgProxy(postgres.socket_path) as proxy:
        set_dsn(monkeypatch, proxy.dsn(database))
        result = run(published, instance, job="check_warehouse")

    assert len(verdicts(result)) == len(published_tables())
    assert len([sql for sql in proxy.statements if "load_log" in sql]) == 1


def test_a_warehouse_that_cannot_be_asked_is_an_error_of_the_check(
    published: dg.Definitions, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_dsn(monkeypatch, f"postgresql://postgres@/gone?host={os.devnull}")

    result = run(published, instance, job="check_warehouse")

    assert result.success  # the verdicts say it
    found = verdicts(result)
    assert len(found) == len(published_tables())
    assert {(each.passed, each.severity) for each in found.values()} == {(False, dg.AssetCheckSeverity.ERROR)}
    assert f"PostgreSQL at {os.devnull}, database gone" in str(found[TABLE].description)


def test_after_publishing_a_day_the_check_is_evaluated_in_the_same_run(
    published: dg.Definitions, instance: Instance
) -> None:
    found = verdicts(run(published, instance, *DAYS, **ONLY_FEW))

    assert found["connector"].passed
    assert str(found[TABLE].description).startswith(f"1 partition not as in the lake: {WEEK_BEFORE} is missing. ")


def test_polls_and_builds_do_not_ask_the_warehouse(published: dg.Definitions) -> None:
    for job in ("poll_chargecloud", "check_polls", "build_query_date", "refresh_dimensions"):
        layer = published.resolve_job_def(job).asset_layer
        keys = [*layer.executable_asset_keys, *(key.asset_key for key in layer.asset_graph.asset_check_keys)]
        assert all(key.path[0] != "warehouse" for key in keys)
