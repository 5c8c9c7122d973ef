import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import demo, main
from charging_assets.derive.inputs import DERIVED, Inputs
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Kind, Lake
from charging_assets.lake.spool import SpoolFile
from charging_assets.model.answer import Answer, Poll
from charging_assets.model.arrow import arrow_schema
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

ALIVE = Reply(json.dumps({"data": [{"id": "1"}, {"id": "2"}], "timestamp": "2024-10-23T13:16:09+02:00"}).encode())
DAY = dt.date(2024, 10, 23)
DAYS = [DAY + dt.timedelta(days=number) for number in range(3)]
EMPTY = Reply(b'{"data": []}')


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh installation: nothing set but where its state is, and a contact."""
    for name in list(os.environ):
        if name.startswith("CHARGING_ASSETS_") or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHARGING_ASSETS_CONTACT", "me@example.org")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))  # doctor sets it: so that it is put back
    return tmp_path / "home"


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChargecloudStandin]:
    with ChargecloudStandin({"koeln": ALIVE, "bonn": ALIVE, "kiel": EMPTY}) as server:
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", server.url)
        monkeypatch.setenv("CHARGING_ASSETS_FEEDS", "koeln,bonn,kiel,atlantis")
        yield server


def run(*arguments: str, width: int = 120) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["doctor", *arguments], env={"COLUMNS": str(width)})


def finding(result: Result, subject: str) -> tuple[str, str]:
    """State and sentence of the finding with that subject, its wrapped lines joined."""
    lines = result.stdout.splitlines()
    [at] = [n for n, line in enumerate(lines) if line[9:].startswith(f"{subject} ") and line[2:9].strip()]
    sentence = [lines[at].split(subject, 1)[1].strip()]
    for line in lines[at + 1 :]:
        if not line.startswith(" " * 11):
            break
        sentence.append(line.strip())
    return lines[at][2:9].strip(), " ".join(sentence)


def test_a_fresh_installation_has_no_faults_and_is_told_the_next_step() -> None:
    result = run("--offline")
    assert result.exit_code == 0, result.output
    assert finding(result, "writable")[0] == "ok"
    assert "charging-assets import-raw" in finding(result, "raw answers")[1]
    assert finding(result, "daemon")[0] == "warn"
    assert "dagster dev" in finding(result, "daemon")[1]


def test_each_setting_is_shown_with_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_INTERVAL_S", "300")
    monkeypatch.setenv("CHARGING_ASSETS_SOURCE", "simulator")
    result = run("--offline")
    assert finding(result, "CHARGING_ASSETS_INTERVAL_S")[1] == "300 (environment)"
    assert finding(result, "CHARGING_ASSETS_SOURCE")[1] == "simulator (environment)"
    assert finding(result, "CHARGING_ASSETS_FIRST_DATE")[1] == "2018-01-01 (default)"


def test_secrets_in_settings_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", "https://me:hunter2@proxy.example.org")
    monkeypatch.setenv("CHARGING_ASSETS_ALERT_EMAIL", "ops@example.org")
    monkeypatch.setenv("CHARGING_ASSETS_SMTP_URL", "smtp://me:hunter2@mail.example.org")
    monkeypatch.setenv("CHARGING_ASSETS_ALERT_WEBHOOK", "https://hooks.example.org/services/hunter2")
    result = run("--offline")
    assert finding(result, "CHARGING_ASSETS_CHARGECLOUD_URL")[1] == "https://proxy.example.org (environment)"
    assert finding(result, "CHARGING_ASSETS_SMTP_URL")[1] == "smtp://mail.example.org (environment)"
    assert finding(result, "CHARGING_ASSETS_ALERT_WEBHOOK")[1] == "https://hooks.example.org/… (environment)"
    assert "hunter2" not in result.output


def test_a_misspelt_setting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_FEED", "koeln")
    state, sentence = finding(run("--offline"), "CHARGING_ASSETS_FEED")
    assert state == "warn"
    assert "CHARGING_ASSETS_FEEDS is meant" in sentence


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_FEEDS", "köln")
    result = run("--offline")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "CHARGING_ASSETS_FEEDS" in result.stderr


def test_every_feed_is_named_as_alive_empty_or_gone(feeds: ChargecloudStandin) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert finding(result, "alive") == ("ok", "2 feeds: koeln, bonn")
    assert finding(result, "empty")[0] == finding(result, "gone")[0] == "warn"
    assert "kiel" in finding(result, "empty")[1]
    assert "atlantis" in finding(result, "gone")[1]
    assert "404" in finding(result, "gone")[1]


def test_every_feed_is_asked_once_and_none_when_offline(feeds: ChargecloudStandin) -> None:
    run("--offline")
    assert not feeds.requests
    run()
    assert sorted(request.path for request in feeds.requests) == ["/atlantis", "/bonn", "/kiel", "/koeln"]


def test_feeds_are_not_asked_for_a_lake_of_a_simulation(feeds: ChargecloudStandin, home: Path) -> None:
    Lake(str(home / "lake"), home).raw.claim(Kind("simulated"))

    result = run()

    assert not feeds.requests
    assert finding(result, "feeds")[0] == "ok"


def test_no_feed_alive_is_a_fault(feeds: ChargecloudStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_FEEDS", "kiel,atlantis")
    result = run()
    assert result.exit_code == 1
    assert finding(result, "feeds")[0] == "fault"


def test_a_lake_that_cannot_be_written_is_a_fault_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", str(tmp_path / "file" / "lake"))
    result = run("--offline")
    assert result.exit_code == 1
    state, sentence = finding(result, "writable")
    assert state == "fault"
    assert "CHARGING_ASSETS_LAKE" in sentence
    assert finding(result, "dagster")[0] == "ok"  # later sections are there nevertheless


def test_a_dagster_home_that_cannot_be_made_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "dagster"))
    result = run("--offline")
    assert result.exit_code == 1
    assert finding(result, "home")[0] == "fault"
    assert "expected a folder that can be written" in finding(result, "home")[1]


def test_a_broken_dagster_yaml_is_a_fault_and_not_a_stack_trace(home: Path) -> None:
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text("nonsense: {")
    result = run("--offline")
    assert result.exit_code == 1
    assert finding(result, "daemon")[0] == "fault"
    assert "Traceback" not in result.output


def test_a_running_daemon_is_known_by_its_heartbeat(home: Path) -> None:
    from dagster import DagsterInstance
    from dagster._daemon.types import DaemonHeartbeat

    (home / "dagster").mkdir(parents=True)
    with DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 7, "SCHEDULER", "a", []))
    state, sentence = finding(run("--offline"), "daemon")
    assert state == "ok"
    assert "7 s ago" in sentence or "8 s ago" in sentence or "9 s ago" in sentence
    with DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 86_400, "SCHEDULER", "a", []))
    assert finding(run("--offline"), "daemon")[0] == "warn"


def test_raw_days_that_no_table_has_are_told_with_the_command_that_builds_them(tmp_path: Path) -> None:
    file = tmp_path / "koeln_2024-10-23.json"
    file.write_bytes(ALIVE.body)
    assert CliRunner().invoke(main, ["import-raw", str(file)]).exit_code == 0
    result = run("--offline")
    assert finding(result, "raw answers") == ("ok", "1 day, 2024-10-23 to 2024-10-23")
    state, sentence = finding(result, "not built")
    assert state == "warn"
    assert "charging-assets build --from 2024-10-23 --to 2024-10-23" in sentence


def test_days_that_no_partition_exists_for_are_told_without_a_command_that_would_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "koeln_2030-01-01.json"
    file.write_bytes(b'{"data": [], "timestamp": "2099-01-01T12:00:00+01:00"}')
    assert CliRunner().invoke(main, ["import-raw", str(file)]).exit_code == 0
    result = run("--offline")
    assert finding(result, "out of range")[0] == "warn"
    assert "build --from" not in result.stdout


def test_answers_of_a_killed_poll_are_told_and_left_where_they_are(home: Path) -> None:
    poll = Poll("killed", dt.datetime(2024, 10, 23, 10, tzinfo=dt.UTC), 600, "chargecloud")
    for lake in (str(home / "lake"), "/elsewhere"):
        spool = SpoolFile.create(home / "spool", lake, poll)
        spool.append(Answer("koeln", ALIVE.body))
        if lake == "/elsewhere":
            assert "killed poll" not in run("--offline").stdout  # it is under way
        spool.close()
        state, sentence = finding(run("--offline"), "killed poll")
        assert state == "warn"
        assert sentence.startswith("1 answer of 2024-10-23 10:00 UTC waits in ")
        assert ("another lake" in sentence) == (lake == "/elsewhere")
        spool.path.unlink()


def flatten(lake: Lake, *days: dt.date) -> None:
    for day in days:
        for staged in flatten_day(lake, day).values():
            lake.publish(staged)


@pytest.fixture
def built(home: Path) -> Lake:
    """Days of two polls with all dated tables, the derived ones without rows."""
    lake = Lake(str(home / "lake"), home)
    for day in DAYS:
        make_raw_day(lake, day, polls=2)
    flatten(lake, *DAYS)
    for name in DERIVED:
        for day in DAYS:
            lake.write(name, day, arrow_schema(name).empty_table(), Inputs(lake).fingerprint(name, day))
    return lake


def raw_files(lake: Lake, day: dt.date) -> list[Path]:
    return sorted((Path(lake.uri) / "raw" / f"query_date={day}").glob("*.parquet"))


def test_a_day_that_got_answers_after_it_was_built_is_told(built: Lake) -> None:
    assert finding(run("--offline"), "up to date") == ("ok", "the last 3 days before today")
    make_raw_poll(built, dt.datetime(2024, 10, 25, 12, tzinfo=dt.UTC), {"bonn": ALIVE.body})
    result = run("--offline")
    state, sentence = finding(result, "up to date")
    assert state == "warn"
    assert "1 day of the last 3" in sentence
    assert "charging-assets build --from 2024-10-25 --to 2024-10-25" in sentence
    assert not {"lost days", "lost answers"} & {line[9:].split("  ")[0] for line in result.stdout.splitlines()}


def test_days_whose_figures_were_made_from_what_an_earlier_day_was_before_are_told(built: Lake) -> None:
    make_raw_poll(built, dt.datetime(2024, 10, 23, 12, tzinfo=dt.UTC), {"bonn": ALIVE.body})
    flatten(built, DAY)
    for name in DERIVED:
        built.write(name, DAY, arrow_schema(name).empty_table(), Inputs(built).fingerprint(name, DAY))
    state, sentence = finding(run("--offline"), "up to date")
    assert state == "warn"
    assert "2 days of the last 3" in sentence
    assert "charging-assets build --from 2024-10-24 --to 2024-10-25" in sentence


def test_days_that_are_to_be_built_again_are_built_with_the_later_ones_that_are_made_from_them(built: Lake) -> None:
    make_raw_poll(built, dt.datetime(2024, 10, 23, 12, tzinfo=dt.UTC), {"bonn": ALIVE.body})
    state, sentence = finding(run("--offline"), "up to date")
    assert state == "warn"
    assert "1 day of the last 3" in sentence
    assert "charging-assets build --from 2024-10-23 --to 2024-10-25" in sentence


def test_a_day_whose_raw_answers_are_gone_is_told(built: Lake) -> None:
    shutil.rmtree(raw_files(built, DAYS[1])[0].parent)
    result = run("--offline")
    state, sentence = finding(result, "lost days")
    assert state == "warn"
    assert sentence.startswith("1 day of poll_log without any raw answers (2024-10-24)")
    assert "from a backup" in sentence
    assert "lost answers  " not in result.stdout


@pytest.mark.parametrize("lost", [1, 2], ids=["one of two", "all, but for the folder"])
def test_answers_that_are_gone_are_told_before_anybody_builds_without_them(built: Lake, lost: int) -> None:
    for path in raw_files(built, DAYS[1])[:lost]:
        path.unlink()
    result = run("--offline")
    state, sentence = finding(result, "lost answers")
    assert state == "warn"
    assert f"in no raw file any more: {lost} of 2024-10-24." in sentence
    assert "from a backup before anything is built" in sentence
    assert "when the lost answers are back, `charging-assets build" in finding(result, "up to date")[1]


def test_answers_are_not_lost_by_compacting(built: Lake) -> None:
    built.raw.compact(DAYS[1])
    result = run("--offline")
    assert finding(result, "up to date")[0] == "ok"
    assert not {"lost days", "lost answers"} & {line[9:].split("  ")[0] for line in result.stdout.splitlines()}


@pytest.mark.parametrize(("folder", "is_demo"), [(demo.HOME, True), ("elsewhere", False)])
def test_a_demo_that_was_stopped_is_to_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_demo: bool
) -> None:
    from dagster import DagsterInstance
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        RegisteredCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
    from dagster._daemon.types import DaemonHeartbeat

    home = tmp_path / folder
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    Lake(str(home / "lake"), home).raw.claim(Kind("simulated"))
    (home / "dagster").mkdir(parents=True)
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("charging_assets"), "__repository__"), "polls"
    )
    running = InstigatorStatus.RUNNING
    with DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 86_400, "SCHEDULER", "a", []))
        instance.add_instigator_state(
            InstigatorState(origin, InstigatorType.SCHEDULE, running, ScheduleInstigatorData("* * * * *", time.time()))
        )

    state, sentence = finding(run("--offline"), "daemon")

    assert state == ("warn" if is_demo else "fault")
    assert ("dagster dev" in sentence) != is_demo
    assert sentence.endswith(f"run `charging-assets demo` again in {tmp_path}") == is_demo


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_of_text_is_longer_than_the_terminal(feeds: ChargecloudStandin, width: int) -> None:
    lines = run(width=width).stdout.splitlines()
    assert all(len(line) <= width or " " not in line.strip()[45:] for line in lines)
