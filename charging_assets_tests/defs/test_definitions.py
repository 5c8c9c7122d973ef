import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from charging_assets.definitions import build_definitions
from charging_assets.defs.partitions import DAILY
from charging_assets.derive.inputs import DERIVED, FLATTENED
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import METADATA, is_dated, table
from charging_assets.warehouse.contract import published_tables
from charging_assets.warehouse.schema import view_columns

REPOSITORY = Path(__file__).resolve().parents[2]

_LOAD = """
import socket, sys, time

def refuse(*_args, **_kwargs):
    raise AssertionError("loading the definitions must not touch the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
begun = time.process_time()
from charging_assets.definitions import defs
defs.get_repository_def()
took = time.process_time() - begun
heavy = {
    *("geopandas", "osmnx", "osmium", "pyogrio", "duckdb", "boto3", "dagster_aws"),
    *("matplotlib", "statsmodels", "scipy.stats", "xlsxwriter"),
} & set(sys.modules)
assert not heavy, f"imported at load: {heavy}"
assert took < 5, f"{took:.1f} s of CPU"
"""


def test_the_definitions_load_without_environment_network_or_a_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-W", "ignore::ImportWarning", "-c", _LOAD],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_named_when_the_definitions_load(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import charging_assets.definitions"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "CHARGING_ASSETS_INTERVAL_S": "7"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1
    assert "CHARGING_ASSETS_INTERVAL_S='7': expected whole seconds from 10 to 3600" in done.stderr


def described(graph: dg.Definitions) -> dict[str, Any]:
    """What there is in the definitions, for snapshots."""
    repository = graph.get_repository_def()
    nodes = graph.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "description": node.description,
            "group": node.group_name,
            "owners": sorted(node.owners),
            "tags": dict(sorted(node.tags.items())),
            "kinds": sorted(node.kinds),
            "partitions": str(node.partitions_def),
            "backfill": str(node.backfill_policy),
            "needs": sorted(parent.to_user_string() for parent in node.parent_keys),
            "metadata": sorted(node.metadata),
            "freshness": str(node.freshness_policy),
        }
        for key, node in sorted((key, nodes.get(key)) for key in nodes.get_all_asset_keys())
    }
    jobs = {
        job.name: {
            "description": job.description,
            "assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
            "checks": len(job.asset_layer.asset_graph.asset_check_keys),
            "executor": job.executor_def.name,
            "tags": dict(job.run_tags),
        }
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    schedules = {
        schedule.name: {
            "job": schedule.job_name,
            "cron": schedule.cron_schedule,
            "timezone": schedule.execution_timezone,
            "status": schedule.default_status.value,
            "description": schedule.description,
        }
        for schedule in repository.schedule_defs
    }

    sensors = {
        sensor.name: {"interval": sensor.minimum_interval_seconds, "description": sensor.description}
        for sensor in repository.sensor_defs
    }
    checks = {
        f"{check.asset_key.to_user_string()}.{check.name}{' (blocking)' if check.blocking else ''}": check.description
        for check in map(nodes.get_check_spec, sorted(nodes.asset_check_keys, key=str))
    }

    return {"assets": assets, "jobs": jobs, "schedules": schedules, "sensors": sensors, "checks": checks}


def test_asset_specs_jobs_schedules_sensors_and_checks(graph: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    assert described(graph) == snapshot


@pytest.fixture
def with_warehouse(graph: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The definitions where a warehouse is set up."""
    monkeypatch.setenv("CHARGING_ASSETS_WAREHOUSE", "postgres")
    monkeypatch.setenv("CHARGING_ASSETS_POSTGRES_DSN", "postgresql:///never-asked")
    return build_definitions()


def test_a_warehouse_adds_its_assets_jobs_schedules_and_checks_and_changes_nothing_else(
    graph: dg.Definitions, with_warehouse: dg.Definitions, snapshot: SnapshotAssertion
) -> None:
    without, found = described(graph), described(with_warehouse)

    added = {part: {name: those[name] for name in those.keys() - without[part].keys()} for part, those in found.items()}
    kept = {part: {name: those[name] for name in those if name in without[part]} for part, those in found.items()}
    assert kept == without
    assert {part: dict(sorted(those.items())) for part, those in added.items()} == snapshot


def test_each_asset_in_the_warehouse_is_made_of_the_lakes_and_shows_the_columns_of_its_view(
    with_warehouse: dg.Definitions,
) -> None:
    nodes = with_warehouse.resolve_asset_graph()
    keys = [key for key in nodes.get_all_asset_keys() if key.path[0] == "warehouse"]

    assert {key.path[-1] for key in keys} == {tab.name for tab in published_tables()}
    for key in keys:
        node, tab = nodes.get(key), table(key.path[-1])
        assert node.parent_keys == {dg.AssetKey(tab.name)}
        assert node.pools == {"warehouse"}
        assert node.partitions_def == (DAILY if is_dated(tab) else None)
        assert node.backfill_policy == (dg.BackfillPolicy.single_run() if is_dated(tab) else None)
        assert [column.name for column in node.metadata["dagster/column_schema"].columns] == list(view_columns(tab))
        assert all(column.description for column in node.metadata["dagster/column_schema"].columns)


def test_every_asset_tells_what_it_is(graph: dg.Definitions) -> None:
    nodes = graph.resolve_asset_graph()
    for key in nodes.get_all_asset_keys():
        spec = nodes.get(key)
        assert spec.description
        assert spec.group_name in {"raw", "status", "master", "reports", "poi"}
        assert spec.owners
        assert spec.kinds


def test_every_asset_that_is_a_table_tells_its_version_and_columns_and_has_checks(graph: dg.Definitions) -> None:
    nodes = graph.resolve_asset_graph()
    tables = {key for key in nodes.get_all_asset_keys() if not key.path[-1].startswith("report_by_")}
    assert {key.path[-1] for key in tables} == set(METADATA.tables)
    for key in tables:
        spec = nodes.get(key)
        schema = spec.metadata["dagster/column_schema"]
        assert spec.code_version
        assert all(column.description for column in schema.columns)
        assert [column.name for column in schema.columns] == arrow_schema(key.path[-1]).names
        assert any(check.asset_key == key for check in nodes.asset_check_keys)


def test_the_unique_column_of_current_status_is_its_key(graph: dg.Definitions) -> None:
    schema: dg.TableSchema = (
        graph.resolve_asset_graph().get(dg.AssetKey("current_status")).metadata["dagster/column_schema"]
    )

    assert [column.name for column in schema.columns if column.constraints.unique] == ["id_chargingpoint"]
    assert [column.name for column in schema.columns if column.constraints.nullable] == [
        "status_cp",
        "status_parkingsensor",
    ]


def test_dated_assets_are_backfilled_in_one_run(graph: dg.Definitions) -> None:
    nodes = graph.resolve_asset_graph()

    for name in ("raw_snapshots", *FLATTENED, *DERIVED):
        assert nodes.get(dg.AssetKey(name)).backfill_policy == dg.BackfillPolicy.single_run()


def test_the_settings_that_ship_for_dagster_are_valid_and_keep_telemetry_off(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "charging_assets/defs/dagster.yaml", tmp_path)

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert not instance.nux_enabled
