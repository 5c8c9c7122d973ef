"""The Dagster UI as it runs for a user: web server, daemon and code location, asked as the browser asks them."""

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from charging_assets.flatten.day import TABLES
from charging_assets.lake import Lake
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll

REPOSITORY = Path(__file__).resolve().parents[2]
DAYS = [dt.date(2024, 10, day) for day in (21, 22, 23, 24)]
KEYS = [day.isoformat() for day in DAYS]

Found = TypeVar("Found")


class UI:
    """A running UI; each method is one request of the browser's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def location(self) -> str | None:
        """What became of loading the definitions; None when there is no server yet."""
        query = "{workspaceOrError{...on Workspace{locationEntries{locationOrLoadError{__typename}}}}}"
        try:
            (entry,) = self.ask(query)["workspaceOrError"]["locationEntries"]
        except OSError:
            return None
        return (entry["locationOrLoadError"] or {}).get("__typename")

    def materialize(self, assets: Sequence[str], tags: Mapping[str, str]) -> str:
        """Launch a run; returns its id."""
        launched = self.ask(
            "mutation($params: ExecutionParams!){launchRun(executionParams: $params){"
            "__typename ...on LaunchRunSuccess{run{id}} ...on PythonError{message}}}",
            params={
                "selector": {
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "charging_assets",
                    "jobName": "__ASSET_JOB",
                    "assetSelection": [{"path": [asset]} for asset in assets],
                },
                "mode": "default",
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["id"])

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launch a backfill; returns its id."""
        launched = self.ask(
            "mutation($params: LaunchBackfillParams!){launchPartitionBackfill(backfillParams: $params){"
            "__typename ...on LaunchBackfillSuccess{backfillId} ...on PythonError{message}}}",
            params={"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def runs(self, tags: Mapping[str, str]) -> dict[str, str]:
        """{id: status} of the runs with these tags; fails when one of them did."""
        results = self.ask(
            "query($tags: [ExecutionTag!]){runsOrError(filter: {tags: $tags}){...on Runs{results{id status}}}}",
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )["runsOrError"]["results"]
        assert not {run["status"] for run in results} & {"FAILURE", "CANCELED"}, self.complaints(results)
        return {run["id"]: run["status"] for run in results}

    def complaints(self, runs: Sequence[Mapping[str, str]]) -> list[Any]:
        query = "query($id: ID!){logsForRun(runId: $id){...on EventConnection{events{...on MessageEvent{message}}}}}"
        return [self.ask(query, id=run["id"]) for run in runs]

    def rows(self, asset: str) -> dict[str, int]:
        """Rows per partition, as the asset's page shows them."""
        events = self.ask(
            "query($path: [String!]!){assetOrError(assetKey: {path: $path}){...on Asset{assetMaterializations{"
            "partition metadataEntries{label ...on IntMetadataEntry{intValue}}}}}}",
            path=[asset],
        )["assetOrError"]["assetMaterializations"]
        return {
            event["partition"]: entry["intValue"]
            for event in reversed(events)
            for entry in event["metadataEntries"]
            if entry["label"] == "dagster/partition_row_count"
        }

    def is_synced(self, asset: str, partition: str) -> bool:
        """Whether the UI takes a partition for made from what its upstream has now."""
        query = (
            "query($path: [String!]!, $key: String!){assetNodeOrError(assetKey: {path: $path}){"
            "...on AssetNode{staleStatus(partition: $key)}}}"
        )
        status = self.ask(query, path=[asset], key=partition)["assetNodeOrError"]["staleStatus"]
        assert status in {"FRESH", "STALE"}
        return bool(status == "FRESH")


def wait(what: str, check: Callable[[], Found], seconds: float) -> Found:
    """The first truth that `check` returns."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[UI]:
    """The UI and its daemon over the lake of the fixture `lake`, ended with all their processes."""
    dagster_home = tmp_path / "home/dagster"
    dagster_home.mkdir(parents=True)
    shutil.copy(REPOSITORY / "charging_assets/defs/dagster.yaml", dagster_home)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CHARGING_ASSETS_")} | {
        "DAGSTER_HOME": str(dagster_home),
        "CHARGING_ASSETS_HOME": str(tmp_path / "home"),
        "CHARGING_ASSETS_LAKE": str(tmp_path / "lake"),
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    log = tmp_path / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        running = UI(f"http://127.0.0.1:{port}")
        loaded = wait("the UI came up", lambda: process.poll() is not None or running.location(), 120)
        assert loaded == "RepositoryLocation", log.read_text()
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a shell's `&` made it deaf to that
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@pytest.mark.timeout(600)  # nothing here is slow, but the machine may be
def test_the_running_ui_builds_a_date_backfills_three_in_one_run_and_knows_what_is_stale(lake: Lake, ui: UI) -> None:
    def finished(tags: Mapping[str, str]) -> Callable[[], list[str]]:
        def check() -> list[str]:
            runs = ui.runs(tags)
            return list(runs) if set(runs.values()) == {"SUCCESS"} else []

        return check

    def report_raw(number: str) -> None:
        span = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
        ui.materialize(["raw_snapshots"], {**span, "report": number})
        wait("raw_snapshots reported", finished({"report": number}), 120)

    for polls, day in enumerate(DAYS, start=1):
        make_raw_day(lake, day, polls=polls, points=2)
    report_raw("1")
    backfill = ui.backfill(TABLES, KEYS[1:])  # the daemon looks for new ones every 30 s
    run = ui.materialize(TABLES, {"dagster/partition": KEYS[0]})

    assert wait("one date built", finished({"dagster/partition": KEYS[0]}), 120) == [run]
    assert len(wait("three dates built", finished({"dagster/backfill": backfill}), 180)) == 1
    assert ui.rows("raw_snapshots") == dict(zip(KEYS, [1, 2, 3, 4], strict=True))
    for table, rows in {"status_chargingpoints": [2, 4, 6, 8], "poll_log": [1, 2, 3, 4]}.items():
        assert ui.rows(table) == dict(zip(KEYS, rows, strict=True))
        assert [lake.read(table, day).num_rows for day in DAYS] == rows
    assert lake.partitions("rejected_records") == DAYS
    assert [ui.is_synced("poll_log", key) for key in KEYS] == [True] * 4

    make_raw_poll(lake, dt.datetime(2024, 10, 24, 12, tzinfo=dt.UTC), {"koeln": city(2, name="koeln")})
    report_raw("2")

    assert [ui.is_synced("poll_log", key) for key in KEYS] == [True, True, True, False]
