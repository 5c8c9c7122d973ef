import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
import pytest

from charging_assets.calendar import today, utc_now
from charging_assets.defs.assets.raw import SCHEDULED_TAG
from charging_assets.defs.jobs import build_config
from charging_assets.derive.inputs import DERIVED, FLATTENED, Inputs
from charging_assets.flatten.day import TABLES
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

DAYS = [dt.date(2024, 10, day) for day in (21, 22, 23)]
RANGE = {
    "dagster/asset_partition_range_start": DAYS[0].isoformat(),
    "dagster/asset_partition_range_end": DAYS[2].isoformat(),
}


def execute(
    graph: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    partition: dt.date | None = None,
    **more: Any,
) -> dg.ExecuteInProcessResult:
    """Run a job of the graph for one partition, or for the tags given."""
    key = partition.isoformat() if partition else None
    return graph.resolve_job_def(job).execute_in_process(instance=instance, partition_key=key, **more)


def materializations(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], Mapping[str, Any]]:
    """The metadata of what a run materialized: {(asset, partition): {name: value}}."""
    found = [e.step_materialization_data.materialization for e in result.all_events if e.is_step_materialization]
    return {
        (m.asset_key.path[-1], m.partition): {name: value.value for name, value in m.metadata.items()} for m in found
    }


def test_a_query_date_gives_its_tables(graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance) -> None:
    make_raw_day(lake, DAYS[0], polls=3, points=2)

    made = materializations(execute(graph, "build_query_date", instance, DAYS[0]))

    rows = {name: made[name, "2024-10-21"]["dagster/partition_row_count"] for name in TABLES}
    assert rows == {
        "status_chargingpoints": 6,
        "status_connectors": 6,
        "poll_log": 3,
        "rejected_records": 0,
        "master_observations": 6,
    }
    assert {name: lake.read(name, DAYS[0]).num_rows for name in TABLES} == rows
    shown = made["status_chargingpoints", "2024-10-21"]
    assert shown["inputs"] == lake.raw.fingerprint(DAYS[0])
    sample = {record.data["column"]: record.data["row 6"] for record in shown["preview"].records}
    assert list(sample) == arrow_schema("status_chargingpoints").names
    assert sample["id_chargingpoint"] == "DE*koeln*E001"
    assert sample["query_time"] == "2024-10-20 22:20:00+00:00"
    assert "preview" not in made["rejected_records", "2024-10-21"]


def test_several_dates_in_one_run_have_figures_of_their_own(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance
) -> None:
    for polls, day in enumerate(DAYS, start=1):
        make_raw_day(lake, day, polls=polls, points=2)

    result = graph.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, tags=RANGE, asset_selection=[dg.AssetKey(name) for name in TABLES]
    )

    made = materializations(result)
    for polls, day in enumerate(DAYS, start=1):
        shown = made["status_chargingpoints", day.isoformat()]
        assert shown["dagster/partition_row_count"] == polls * 2
        assert shown["inputs"] == lake.raw.fingerprint(day)
        assert made["poll_log", day.isoformat()]["dagster/partition_row_count"] == polls
    for name in TABLES:
        assert instance.get_materialized_partitions(dg.AssetKey(name)) == {day.isoformat() for day in DAYS}
    assert instance.get_runs_count() == 1


@pytest.mark.parametrize("table", TABLES)
def test_one_of_the_flattened_tables_can_be_built_alone(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, table: str
) -> None:
    make_raw_day(lake, DAYS[0])

    result = graph.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=DAYS[0].isoformat(), asset_selection=[dg.AssetKey(table)]
    )

    assert set(materializations(result)) == {(table, "2024-10-21")}
    assert [name for name in TABLES if lake.partitions(name)] == [table]


def test_building_again_gives_the_same_bytes(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "lake/tables").rglob("*.parquet")}

    make_raw_day(lake, DAYS[0])
    execute(graph, "build_query_date", instance, DAYS[0])
    first = files()
    execute(graph, "build_query_date", instance, DAYS[0])

    assert len(first) == len((*FLATTENED, *DERIVED))
    assert files() == first


def test_an_unchanged_date_is_skipped_when_asked_for_and_still_tells_its_figures(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    for day in DAYS:
        make_raw_day(lake, day, polls=2)
    execute(graph, "build_query_date", instance, tags=RANGE)
    make_raw_poll(lake, dt.datetime(2024, 10, 22, 12, tzinfo=dt.UTC), {"koeln": city(2, name="koeln")})
    path = tmp_path / "lake/tables/poll_log"
    before = {file.name: file.stat().st_ino for file in path.iterdir()}

    config = build_config(skip_unchanged=True)
    made = materializations(execute(graph, "build_query_date", instance, tags=RANGE, run_config=config))

    after = {file.name: file.stat().st_ino for file in path.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"query_date=2024-10-22.parquet"}
    rows = [made["poll_log", day.isoformat()]["dagster/partition_row_count"] for day in DAYS]
    assert rows == [2, 3, 2]


def test_a_date_without_raw_answers_keeps_its_tables(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    make_raw_day(lake, DAYS[0], polls=1)
    execute(graph, "build_query_date", instance, DAYS[0])
    for file in (tmp_path / "lake/raw/query_date=2024-10-21").iterdir():
        file.unlink()
    (tmp_path / "lake/raw/query_date=2024-10-21").rmdir()
    make_raw_day(lake, DAYS[2], polls=2)

    made = materializations(execute(graph, "build_query_date", instance, tags=RANGE))

    rows = [made["poll_log", day.isoformat()]["dagster/partition_row_count"] for day in DAYS]
    assert rows == [1, 0, 2]
    assert lake.partitions("poll_log") == [DAYS[0], DAYS[2]]


def test_dates_without_any_raw_answer_are_an_error_that_says_what_to_do(
    graph: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.Failure, match="No raw answers for 2024-10-21 to 2024-10-23: poll, or take archives in"):
        execute(graph, "build_query_date", instance, tags=RANGE)


_BUILD = """
import sys
from charging_assets.definitions import defs
defs.resolve_job_def("build_query_date").execute_in_process(partition_key=sys.argv[1])
"""


def test_a_kill_between_two_tables_is_seen_and_healed_by_building_again(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    make_raw_day(lake, DAYS[0], polls=2)
    execute(graph, "build_query_date", instance, DAYS[0])
    make_raw_poll(lake, dt.datetime(2024, 10, 21, 12, tzinfo=dt.UTC), {"koeln": city(2, name="koeln")})
    environment = os.environ | {
        "CHARGING_ASSETS_HOME": str(tmp_path / "home"),
        "CHARGING_ASSETS_LAKE": str(tmp_path / "lake"),
        "CHARGING_ASSETS_FAILPOINT": "graph.between_tables:2",
    }

    killed = subprocess.run(
        [sys.executable, "-c", _BUILD, DAYS[0].isoformat()],
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    made_from = [info.inputs for name in TABLES if (info := lake.info(name, DAYS[0]))]
    assert made_from[0] == made_from[1] == lake.raw.fingerprint(DAYS[0])
    assert made_from[2] == made_from[3] != made_from[0]
    assert not Inputs(lake).is_current(TABLES, DAYS[0])

    execute(graph, "build_query_date", instance, DAYS[0])

    assert Inputs(lake).is_current(TABLES, DAYS[0])
    assert lake.read("poll_log", DAYS[0]).num_rows == 3


def test_raw_snapshots_reports_what_there_is_and_asks_nobody_outside_its_job(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    make_raw_day(lake, DAYS[0], polls=3, points=1)
    make_raw_poll(lake, dt.datetime(2024, 10, 23, 12, tzinfo=dt.UTC), {"koeln": b"x" * 10, "bonn": b"y" * 20})
    before = sorted((tmp_path / "lake").rglob("*"))

    with ChargecloudStandin({}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        result = graph.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, tags=RANGE, asset_selection=[dg.AssetKey("raw_snapshots")]
        )

    assert standin.requests == []
    assert sorted((tmp_path / "lake").rglob("*")) == before
    made = materializations(result)
    reported = ("polls", "dagster/partition_row_count", "feeds", "feed_names")
    assert {key: [shown[name] for name in reported] for (_, key), shown in made.items()} == {
        "2024-10-21": [3, 3, 1, "koeln"],
        "2024-10-22": [0, 0, 0, ""],
        "2024-10-23": [1, 2, 2, "bonn, koeln"],
    }
    assert made["raw_snapshots", "2024-10-23"]["bytes"] == 30
    versions = instance.fetch_materializations(dg.AssetKey("raw_snapshots"), limit=3).records
    assert {v.partition_key: v.asset_materialization.tags["dagster/data_version"] for v in versions} == {
        day.isoformat(): lake.raw.fingerprint(day) for day in DAYS
    }


def test_the_poll_job_polls_and_renews_current_status(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChargecloudStandin({"koeln": Reply(city(3)), "bonn": Reply(b"gone", 404)}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        result = execute(graph, "poll_chargecloud", instance, today())

    made = materializations(result)
    raw = made["raw_snapshots", today().isoformat()]
    assert raw["feeds_answered"] == 1
    assert raw["polls"] == 1
    assert list(raw["feeds_failed"]) == ["bonn"]
    assert "404" in raw["feeds_failed"]["bonn"]
    assert made["current_status", None]["dagster/row_count"] == 3
    assert lake.read("current_status", None)["status_cp"].to_pylist() == ["AVAILABLE"] * 3
    assert lake.raw.index(today()).num_rows == 2


def test_old_answers_that_are_imported_later_do_not_win_in_current_status(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChargecloudStandin({"koeln": Reply(city(2, "CHARGING")), "bonn": Reply(city(1, name="B"))}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        execute(graph, "poll_chargecloud", instance, today())
    make_raw_poll(lake, utc_now() - dt.timedelta(hours=3), {"koeln": city(2, "OUTOFORDER")})

    graph.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("current_status")]
    )

    statuses = lake.read("current_status", None)
    assert statuses.filter(pc.equal(statuses["feed"], "koeln"))["status_cp"].to_pylist() == ["CHARGING", "CHARGING"]


def test_a_run_that_begins_too_late_neither_polls_nor_looks_as_if_it_had(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = utc_now() - dt.timedelta(seconds=601)

    with ChargecloudStandin({}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        result = execute(graph, "poll_chargecloud", instance, today(), tags={SCHEDULED_TAG: due.isoformat()})

    assert standin.requests == []
    assert result.success
    assert materializations(result) == {}


def test_the_past_is_not_polled(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChargecloudStandin({}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        result = execute(graph, "poll_chargecloud", instance, DAYS[0])

    assert standin.requests == []
    assert materializations(result) == {}


def test_a_poll_that_was_due_before_midnight_and_begins_after_it_is_filed_by_its_beginning(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = today() - dt.timedelta(days=1)
    due = utc_now() - dt.timedelta(seconds=30)

    with ChargecloudStandin({"koeln": Reply(city(1)), "bonn": Reply(city(1, name="B"))}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        tags = {SCHEDULED_TAG: due.isoformat()}
        result = execute(graph, "poll_chargecloud", instance, yesterday, tags=tags)

    assert lake.raw.dates() == [today()]
    shown = materializations(result)["raw_snapshots", yesterday.isoformat()]
    assert shown["query_date"] == today().isoformat()


_POLL_UNTIL_KILLED = """
import datetime as dt, pathlib, sys
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
lake = Lake(sys.argv[1], pathlib.Path(sys.argv[2]))
poll = Poll("killed", dt.datetime(2024, 10, 23, 11, tzinfo=dt.UTC), 600, "chargecloud")
with lake.raw.begin_poll(poll) as spool:
    spool.add(Answer("koeln", b"received"))
    spool.add(Answer("bonn", b"lost"))
"""


def test_the_poll_job_first_brings_in_what_a_killed_poll_had_received(
    graph: dg.Definitions,
    lake: Lake,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _POLL_UNTIL_KILLED, str(tmp_path / "lake"), str(tmp_path / "home")],
        env=os.environ | {"CHARGING_ASSETS_FAILPOINT": "lake.spool.before_fsync:2"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert lake.raw.dates() == []

    with ChargecloudStandin({}) as standin:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", standin.url)
        execute(graph, "poll_chargecloud", instance, today())

    assert "received" in [row.answer.body.decode() for row in lake.raw.rows(dt.date(2024, 10, 23))]
