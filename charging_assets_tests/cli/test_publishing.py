"""`migrate` and `publish` against a real PostgreSQL, as from the shell."""

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.definitions import build_definitions
from charging_assets.lake import Lake
from charging_assets.warehouse.contract import published_tables
from charging_assets_tests.judging import judge, lose_a_row
from charging_assets_tests.raw_days import make_raw_day
from charging_assets_tests.standins.postgres import PostgresStandin

DAY = dt.date(2026, 3, 11)
COMMAND = [sys.executable, "-c", "from charging_assets.cli import main; main()"]


@pytest.fixture
def database(postgres: PostgresStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, which the settings of an installation in `tmp_path` name as the warehouse."""
    name = postgres.new_database()
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("CHARGING_ASSETS_WAREHOUSE", "postgres")
    monkeypatch.setenv("CHARGING_ASSETS_POSTGRES_DSN", postgres.dsn(name))
    return name


@pytest.fixture
def published(sound: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake with all tables, which the settings name."""
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", sound.uri)
    return sound


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(postgres: PostgresStandin, database: str) -> dict[str, int]:
    """Rows of each published table."""
    return {
        table.name: postgres.execute(database, f'SELECT count(*) FROM charging."{table.name}"')[0][0]
        for table in published_tables()
    }


def rows_in(lake: Lake) -> dict[str, int]:
    return {
        table.name: sum(info.rows for key in lake.versions(table.name) if (info := lake.info(table.name, key)))
        for table in published_tables()
    }


def loads(postgres: PostgresStandin, database: str) -> dict[tuple[str, str], str]:
    log = postgres.execute(database, "SELECT table_name, partition_key, load_id FROM charging.load_log")
    return {(table, key): load_id for table, key, load_id in log}


def test_the_plan_is_printed_and_changes_nothing_until_it_is_carried_out(
    postgres: PostgresStandin, database: str, published: Lake
) -> None:
    planned = run("migrate", "--plan")
    before = postgres.execute(database, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'charging%'")

    made = run("migrate")

    assert "create table charging_store.status_chargingpoints (8 columns)" in planned.stdout
    assert planned.stdout.endswith("changes to make; nothing was done.\n")
    assert before == [(0,)]
    assert "changes made in" in made.stdout
    assert run("migrate", "--plan").stdout == "Nothing to change.\n"


def test_publishing_before_migrating_says_what_to_do(database: str, published: Lake) -> None:
    result = run("publish")

    assert result.exit_code == 1
    assert "run `charging-assets migrate` first" in result.output


def test_publish_gives_the_warehouse_all_rows_of_the_lake_and_the_ui_sees_them(
    postgres: PostgresStandin, database: str, published: Lake, tmp_path: Path
) -> None:
    run("migrate")

    result = run("publish")

    assert result.exit_code == 0
    assert rows(postgres, database) == rows_in(published)
    assert "partitions published in" in result.stdout
    with dg.DagsterInstance.from_config(str(tmp_path / "home/dagster")) as instance:
        dates = instance.get_materialized_partitions(dg.AssetKey(["warehouse", "status_chargingpoints"]))
    assert dates == {date.isoformat() for date in published.partitions("status_chargingpoints")}


def test_publish_again_loads_nothing(postgres: PostgresStandin, database: str, published: Lake) -> None:
    run("migrate")
    run("publish")
    before = loads(postgres, database)

    result = run("publish")

    assert result.stdout == "The warehouse has all of it already.\n"
    assert loads(postgres, database) == before


def test_publish_loads_exactly_what_has_changed(postgres: PostgresStandin, database: str, published: Lake) -> None:
    run("migrate")
    run("publish")
    before = loads(postgres, database)
    published.write("rejected_records", DAY, published.read("rejected_records", DAY).slice(1))

    result = run("publish")

    after = loads(postgres, database)
    assert [key for key in after if after[key] != before[key]] == [("rejected_records", "2026-03-11")]
    assert "1 partition published in" in result.stdout
    assert rows(postgres, database) == rows_in(published)


def test_publish_keeps_to_the_dates_and_tables_that_are_asked_for(
    postgres: PostgresStandin, database: str, published: Lake
) -> None:
    run("migrate")

    run("publish", "--from", "2026-03-11", "--to", "2026-03-11", "--table", "poll_log", "--table", "time")

    assert set(loads(postgres, database)) == {("poll_log", "2026-03-11"), ("time", "all")}


def test_a_table_that_is_none_and_dates_in_the_wrong_order_are_refused(database: str, published: Lake) -> None:
    unknown = run("publish", "--table", "raw_snapshots")
    backwards = run("publish", "--from", "2026-03-12", "--to", "2026-03-11")

    assert (unknown.exit_code, backwards.exit_code) == (2, 2)
    assert "There is no table 'raw_snapshots' to publish; there are: status_chargingpoints" in unknown.output
    assert "Expected the earlier date first" in backwards.output


def test_a_partition_that_a_blocking_check_found_bad_stays_out(
    postgres: PostgresStandin, database: str, published: Lake, tmp_path: Path
) -> None:
    run("migrate")
    run("publish", "--table", "time")
    lose_a_row(published, "poll_log", DAY)
    with dg.DagsterInstance.from_config(str(tmp_path / "home/dagster")) as instance:
        judge(build_definitions(), instance, "poll_log", DAY)

    result = run("publish", "--table", "poll_log")

    assert result.exit_code == 1
    assert "left out  poll_log 2026-03-11: " in result.stdout
    assert ("poll_log", "2026-03-11") not in loads(postgres, database)
    assert ("poll_log", "2026-03-12") in loads(postgres, database)


def test_a_damaged_partition_stops_no_other(postgres: PostgresStandin, database: str, published: Lake) -> None:
    run("migrate")
    Path(published.location("poll_log", DAY)).write_bytes(b"PAR1 this is none PAR1")

    result = run("publish", "--table", "poll_log")

    assert result.exit_code == 1
    assert "failed    poll_log 2026-03-11: " in result.stdout
    assert "3 of 4 partitions published" in result.stdout
    assert set(loads(postgres, database)) == {("poll_log", f"2026-03-{day}") for day in ("04", "10", "12")}


def test_a_partition_that_the_lake_has_no_more_is_named_and_stays(
    postgres: PostgresStandin, database: str, published: Lake
) -> None:
    run("migrate")
    run("publish", "--table", "poll_log")
    Path(published.location("poll_log", DAY)).unlink()

    result = run("publish", "--table", "poll_log")

    assert "surplus   poll_log 2026-03-11: the lake has no such partition" in result.stdout
    assert ("poll_log", "2026-03-11") in loads(postgres, database)


def test_publishing_that_was_killed_goes_on_where_it_was(
    postgres: PostgresStandin, database: str, published: Lake
) -> None:
    run("migrate")
    killed = subprocess.run(
        [*COMMAND, "publish", "--workers", "1"],
        env={**os.environ, "CHARGING_ASSETS_FAILPOINT": "warehouse.before_commit:8"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    before = loads(postgres, database)

    result = run("publish")

    after = loads(postgres, database)
    assert killed.returncode == -signal.SIGKILL
    assert len(before) == 7
    assert before.items() <= after.items()
    assert result.exit_code == 0
    assert rows(postgres, database) == rows_in(published)


def test_a_warehouse_that_is_down_costs_the_lake_nothing(
    database: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", lake.uri)
    monkeypatch.setenv("CHARGING_ASSETS_POSTGRES_DSN", "postgresql://loader:canary@127.0.0.1:1/charging")
    make_raw_day(lake, DAY, polls=3, points=2)

    built = run("build", "--date", str(DAY))
    published = run("publish")

    assert (built.exit_code, published.exit_code) == (1, 1)
    assert "built: 2026-03-11 in" in built.stdout
    assert "not published: PostgreSQL at 127.0.0.1, database charging, cannot be used now" in built.stdout
    assert lake.read("status_chargingpoints", DAY).num_rows == 6
    assert "canary" not in built.output + published.output


def test_build_publishes_what_it_built(
    postgres: PostgresStandin, database: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", lake.uri)
    make_raw_day(lake, DAY, polls=3, points=2)
    run("migrate")

    result = run("build", "--date", str(DAY))

    assert result.exit_code == 0
    assert "partitions published in" in result.stdout
    assert rows(postgres, database) == rows_in(lake)
    assert run("build", "--date", str(DAY)).stdout.endswith("The warehouse has all of it already.\n")


@pytest.mark.parametrize("command", ["migrate", "publish"])
def test_the_embedded_warehouse_has_nothing_to_load(
    command: str, database: Any, published: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_WAREHOUSE", "duckdb")

    result = run(command)

    assert result.exit_code == 0
    assert "there is nothing to load or to migrate" in result.stdout


def test_doctor_says_what_the_warehouse_lacks(database: str, published: Lake) -> None:
    before = run("doctor", "--offline")
    run("migrate")
    lacking = run("doctor", "--offline")
    run("publish")

    assert "run `charging-assets migrate`" in " ".join(before.stdout.split())
    assert "partitions are not loaded: run `charging-assets publish`" in " ".join(lacking.stdout.split())
    assert "it has all partitions of the lake" in " ".join(run("doctor", "--offline").stdout.split())
