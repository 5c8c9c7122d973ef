import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from charging_assets.calendar import today
from charging_assets.cli.runs import build, poll
from charging_assets.definitions import build_definitions
from charging_assets.defs.sensors import _problem
from charging_assets.defs.unfinished import UNFINISHED
from charging_assets.flatten.day import TABLES
from charging_assets.lake import Lake
from charging_assets.settings import Settings
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.judging import judge, lose_a_row
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

DAYS = [dt.date(2024, 10, day) for day in (21, 22, 23, 24)]
SPAN = ("--from", "2024-10-21", "--to", "2024-10-24")


def set_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of an installation in a folder, on its lake."""
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(folder / "home"))
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", str(folder / "lake"))
    monkeypatch.setenv("CHARGING_ASSETS_FEEDS", "koeln,bonn")
    monkeypatch.setenv("DAGSTER_HOME", "")  # as good as unset, and put back after the test
    return folder / "home"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of an installation in `tmp_path`, on the lake of the fixture `lake`."""
    return set_up(tmp_path, monkeypatch)


@dataclass(frozen=True)
class Built:
    """An installation in a folder that has built something, and what that said."""

    folder: Path
    result: Result


def built(folder: Path, days: Sequence[dt.date], *arguments: str) -> Built:
    """Build days of two points; the first has three polls, and each other one more than the one before."""
    with pytest.MonkeyPatch.context() as patch:
        lake = Lake(str(folder / "lake"), set_up(folder, patch))
        for polls, day in enumerate(days, start=3):
            make_raw_day(lake, day, polls=polls, points=2)
        return Built(folder, run(build, *arguments))


@pytest.fixture(scope="module")
def first_built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("one"), DAYS[:1], "--date", "2024-10-21")


@pytest.fixture(scope="module")
def first_four_built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("four"), DAYS, *SPAN)


@pytest.fixture
def one_built(first_built: Built, tmp_path: Path) -> Result:
    """The test's installation has built one date: what that said."""
    shutil.copytree(first_built.folder, tmp_path, dirs_exist_ok=True)
    return first_built.result


@pytest.fixture
def four_built(first_four_built: Built, tmp_path: Path) -> Result:
    """The test's installation has built four dates in one go: what that said."""
    shutil.copytree(first_four_built.folder, tmp_path, dirs_exist_ok=True)
    return first_four_built.result


def run(command: Any, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def materialized(home: Path, table: str) -> set[str]:
    """The partitions of an asset that the UI shows as materialized."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(table))


def runs(home: Path) -> list[tuple[str, str]]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [(run.job_name, run.status.value) for run in instance.get_runs()]


def unfinished_runs(home: Path) -> Sequence[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))


def told_of(home: Path, run_id: str) -> str:
    """What an alert says of the failure of a run."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        [failure] = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        problem = _problem(instance, failure, Settings.from_env())
        assert problem is not None
        return problem.sentence


def test_build_gives_the_tables_of_a_date_and_the_ui_sees_them(one_built: Result, lake: Lake, home: Path) -> None:
    assert one_built.exit_code == 0
    assert re.search(r"^status_chargingpoints +6 +[\d,]+$", one_built.stdout, re.MULTILINE)
    assert re.search(r"^poll_log +3 +[\d,]+$", one_built.stdout, re.MULTILINE)
    assert re.search(r"^built: 2024-10-21 in \d+\.\d s$", one_built.stdout, re.MULTILINE)
    assert lake.read("status_chargingpoints", DAYS[0]).num_rows == 6
    assert {table: materialized(home, table) for table in TABLES} == {name: {"2024-10-21"} for name in TABLES}
    assert runs(home) == [("refresh_dimensions", "SUCCESS"), ("build_query_date", "SUCCESS")]


def test_build_takes_several_dates_in_one_run(four_built: Result, lake: Lake, home: Path) -> None:
    assert "built: 2024-10-21 to 2024-10-24 in " in four_built.stdout
    assert [lake.read("poll_log", day).num_rows for day in DAYS] == [3, 4, 5, 6]
    assert materialized(home, "poll_log") == {day.isoformat() for day in DAYS}
    assert len(runs(home)) == 2  # of the dated tables, and of the others


@pytest.mark.usefixtures("four_built")
def test_build_leaves_unchanged_dates_alone_and_derives_again_what_looks_at_changed_ones(lake: Lake) -> None:
    make_raw_poll(lake, dt.datetime(2024, 10, 23, 12, tzinfo=dt.UTC), {"koeln": city(2, name="koeln")})
    flattened = {day: lake.info("poll_log", day) for day in DAYS}

    result = run(build, *SPAN)

    assert "unchanged: 2024-10-21\n" in result.stdout
    assert "derived again: 2024-10-22, 2024-10-24\nbuilt: 2024-10-23 in " in result.stdout
    assert lake.read("poll_log", DAYS[2]).num_rows == 6
    assert [day for day in DAYS if lake.info("poll_log", day) != flattened[day]] == [DAYS[2]]
    assert run(build, *SPAN).stdout == "unchanged: 2024-10-21 to 2024-10-24\n"


def test_build_without_dates_builds_today(lake: Lake, home: Path) -> None:
    make_raw_day(lake, today(), polls=1)

    result = run(build)

    assert f"built: {today()} in " in result.stdout
    assert materialized(home, "poll_log") == {today().isoformat()}


@pytest.mark.usefixtures("one_built")
def test_build_starts_no_run_when_nothing_changed(home: Path) -> None:
    result = run(build, "--date", "2024-10-21")

    assert (result.exit_code, result.stdout) == (0, "unchanged: 2024-10-21\n")
    assert len(runs(home)) == 2  # of the dated tables, and of the others


@pytest.mark.usefixtures("one_built")
def test_build_force_builds_unchanged_dates_too(home: Path) -> None:
    result = run(build, "--date", "2024-10-21", "--force")

    assert "built: 2024-10-21 in " in result.stdout
    assert len(runs(home)) == 4


def test_build_names_dates_without_raw_answers_and_builds_the_others(lake: Lake) -> None:
    make_raw_day(lake, DAYS[0])
    make_raw_day(lake, DAYS[3])

    result = run(build, "--from", "2024-10-20", "--to", "2024-10-24")

    assert result.exit_code == 0
    assert "no raw answers: 2024-10-20, 2024-10-22 to 2024-10-23\n" in result.stdout
    assert "built: 2024-10-21, 2024-10-24 in " in result.stdout
    assert lake.partitions("poll_log") == [DAYS[0], DAYS[3]]


def test_build_without_any_raw_answers_is_an_error_that_says_what_to_do(home: Path) -> None:
    result = run(build, "--from", "2024-10-20", "--to", "2024-10-24")

    assert result.exit_code == 1
    assert "no raw answers: 2024-10-20 to 2024-10-24" in result.stdout
    assert "poll first, or take archives in with `charging-assets import-raw`" in result.output
    assert not (home / "dagster").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--date", "2024-10-21", "--to", "2024-10-22"), "Expected either --date, or --from with --to."),
        (("--from", "2024-10-21"), "Expected --from with --to"),
        (("--from", "2024-10-23", "--to", "2024-10-21"), "got 2024-10-23 to 2024-10-21"),
        (("--date", "1999-01-01"), "Expected dates from 2018-01-01 (CHARGING_ASSETS_FIRST_DATE)"),
        (("--date", "21.10.2024"), "does not match the format '%Y-%m-%d'"),
    ],
)
def test_build_refuses_dates_that_make_no_sense(arguments: tuple[str, ...], complaint: str) -> None:
    result = run(build, *arguments)

    assert result.exit_code == 2
    assert complaint in result.output


def test_a_build_that_was_killed_between_two_tables_is_finished_by_the_next_one(lake: Lake, home: Path) -> None:
    make_raw_day(lake, DAYS[0])
    command = [sys.executable, "-c", "from charging_assets.cli.runs import build; build()", "--date", "2024-10-21"]

    killed = subprocess.run(
        command,
        env=os.environ | {"CHARGING_ASSETS_FAILPOINT": "graph.between_tables"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [table for table in TABLES if lake.partitions(table)] == ["status_chargingpoints"]
    assert materialized(home, "status_chargingpoints") == set()

    [left] = unfinished_runs(home)

    result = run(build, "--date", "2024-10-21")

    assert f"ended: build_query_date, run {left.run_id}, whose process is gone\n" in result.stdout
    assert "built: 2024-10-21 in " in result.stdout
    assert {table: materialized(home, table) for table in TABLES} == {name: {"2024-10-21"} for name in TABLES}
    assert runs(home) == [
        ("refresh_dimensions", "SUCCESS"),
        ("build_query_date", "SUCCESS"),
        ("build_query_date", "FAILURE"),
    ]
    assert told_of(home, left.run_id).startswith("The process that executed this run is gone: it was killed")


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Reply]], ChargecloudStandin]:
    def start(feeds: dict[str, Reply]) -> ChargecloudStandin:
        server = ChargecloudStandin(feeds)
        monkeypatch.setenv("CHARGING_ASSETS_CHARGECLOUD_URL", server.url)
        return server

    return start


def test_poll_keeps_the_answers_and_names_the_feeds_that_failed(
    lake: Lake, home: Path, standin: Callable[..., ChargecloudStandin]
) -> None:
    with standin({"koeln": Reply(city(3)), "bonn": Reply(b"", 404)}):
        result = run(poll)

    assert result.exit_code == 0
    assert "failed  bonn: " in result.stdout
    assert "1 of 2 feeds answered, kept as raw/query_date=" in result.stdout
    assert "current_status: 3 charging points" in result.stdout
    assert [row.answer.feed for date in lake.raw.dates() for row in lake.raw.rows(date)] == ["bonn", "koeln"]
    assert len(materialized(home, "raw_snapshots")) == 1
    assert runs(home) == [("poll_chargecloud", "SUCCESS")]


def test_poll_fails_when_no_feed_answers(lake: Lake, standin: Callable[..., ChargecloudStandin]) -> None:
    with standin({}):
        result = run(poll)

    assert result.exit_code == 1
    assert "0 of 2 feeds answered" in result.stdout
    assert sum(lake.raw.index(date).num_rows for date in lake.raw.dates()) == 2


def test_a_bar_shows_the_progress_and_dagsters_log_only_when_asked_for(
    standin: Callable[..., ChargecloudStandin], capfd: pytest.CaptureFixture[str]
) -> None:
    with standin({"koeln": Reply(city(1)), "bonn": Reply(city(1, name="B"))}):
        quiet = run(poll).output + capfd.readouterr().err
        verbose = run(poll, "--verbose").output + capfd.readouterr().err

    assert "feeds polled" in quiet
    assert "2/2" in quiet
    assert "STEP_START" not in quiet
    assert "STEP_START" in verbose


def test_dagster_gets_its_settings_once_and_keeps_those_it_has(
    home: Path, standin: Callable[..., ChargecloudStandin], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "dagster.yaml").write_text("telemetry: {enabled: false}\n")

    with standin({"koeln": Reply(city(1)), "bonn": Reply(city(1, name="B"))}):
        run(poll)
        monkeypatch.setenv("DAGSTER_HOME", str(own))
        run(poll)

    assert "run_monitoring" in (home / "dagster/dagster.yaml").read_text()
    assert (own / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    with dg.DagsterInstance.from_config(str(own)) as instance:
        assert instance.get_runs_count() == 1


def test_a_lake_that_cannot_be_written_is_an_error_in_a_sentence(
    tmp_path: Path, standin: Callable[..., ChargecloudStandin]
) -> None:
    (tmp_path / "lake").write_text("a file where the lake should be")

    with standin({"koeln": Reply(city(1))}):
        done = subprocess.run(
            [sys.executable, "-c", "from charging_assets.cli import main; main()", "poll"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "CHARGING_ASSETS_LAKE" in done.stderr


@pytest.mark.usefixtures("one_built")
def test_build_mends_a_date_that_a_check_found_bad_though_its_inputs_are_the_same(lake: Lake, home: Path) -> None:
    lose_a_row(lake, "status_chargingpoints", DAYS[0])
    damaged = run(build, "--date", "2024-10-21")  # nobody has judged it yet
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        judge(build_definitions(), instance, "status_chargingpoints", DAYS[0])

    mended = run(build, "--date", "2024-10-21")

    assert damaged.stdout == "unchanged: 2024-10-21\n"
    assert (mended.exit_code, "built: 2024-10-21 in " in mended.stdout) == (0, True)
    assert lake.read("status_chargingpoints", DAYS[0]).num_rows == 6
    assert run(build, "--date", "2024-10-21").stdout == "unchanged: 2024-10-21\n"


@pytest.mark.usefixtures("one_built")
def test_build_makes_undated_tables_that_are_missing_or_made_with_other_settings(
    lake: Lake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(lake.location("charging_station", None)).unlink()

    again = run(build, "--date", "2024-10-21")

    assert "unchanged: 2024-10-21\n" in again.stdout
    assert "made: charging_station, mapping_poi_cs, station_poi_features, poi_effect in " in again.stdout
    assert lake.read("charging_station", None).num_rows == 2
    monkeypatch.setenv("CHARGING_ASSETS_ACTIVE_DAYS", "7")
    assert "made: charging_station, charging_point, connector" in run(build, "--date", "2024-10-21").stdout
