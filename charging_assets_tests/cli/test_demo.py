import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from charging_assets.calendar import expected_polls, today
from charging_assets.cli import demo
from charging_assets.flatten.day import TABLES
from charging_assets.lake import Kind, Lake
from charging_assets.sources.osm.categories import Categories

COMMAND = [sys.executable, "-c", "from charging_assets.cli import main; main()", "demo", "--days", "1"]
HOME = ".charging_assets-demo"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in the demo's lake but the archive of reports, whose files are called by when they were given out."""
    lake = folder / HOME / "lake"
    paths = [path for path in lake.rglob("*") if path.is_file() and path.parent != lake / "reports"]
    return {str(path.relative_to(lake)): path.read_bytes() for path in paths}


def reports(folder: Path) -> list[str]:
    """Ids of the reports that were given out."""
    return [report.report_id for report in lake_of(folder).reports.published()]


def lake_of(folder: Path) -> Lake:
    return Lake(str(folder / HOME / "lake"), folder / HOME)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which a demo of one day was made, and what that said."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, "--no-serve")


@pytest.fixture
def made(first: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A copy of the first demo's folder."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_demo_makes_all_tables_of_yesterday_and_shows_what_it_made(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = first
    assert done.returncode == 0, done.stderr
    lake = lake_of(folder)
    (date,) = lake.raw.dates()
    assert (today() - date).days in {1, 2}  # 2: it was midnight meanwhile
    assert [lake.partitions(table) for table in TABLES] == [[date]] * len(TABLES)
    rows = lake.read("status_chargingpoints", date).num_rows
    assert rows > 200_000
    assert f"{rows:>12,}" in done.stdout
    assert "GB of JSON, kept byte for byte in" in done.stdout
    assert "Coverage: " in done.stdout
    assert f"{38 * expected_polls(date, 600):,} answers" in done.stdout
    for words in ("GROUP BY ALL ORDER BY points DESC", "FROM usage_profile", "HTTP 502 Bad Gateway", "Simulated in"):
        assert words in done.stdout
    assert "polls simulated" in done.stderr
    assert "days of status_chargingpoints built" in done.stderr
    assert (folder / HOME / "utilization.svg").read_text().startswith("<svg")
    assert (folder / HOME / "pois.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in folder.iterdir()] == [HOME]


def test_a_demo_shows_what_stands_around_its_stations_and_so_does_the_ui(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = first
    lake = lake_of(folder)
    assert lake.read("poi", None).num_rows > 5_000
    assert lake.read("mapping_poi_cs", None).num_rows > 2_000
    assert {row["outcome"] for row in lake.read("poi_refresh_log", None).to_pylist()} == {"ok"}
    _, question, shown = done.stdout.partition("Are points used more near something?")
    assert question
    for category in Categories.load("default").names:
        assert re.search(rf"^poi:{category} +\d+ ", shown, re.MULTILINE), shown
    with dg.DagsterInstance.from_config(str(folder / HOME / "dagster")) as instance:
        for name in ("raw_pois", "poi", "rejected_pois", "poi_refresh_log", "mapping_poi_cs", "station_poi_features"):
            assert instance.get_latest_materialization_event(dg.AssetKey(name)), name
        asked = instance.get_latest_materialization_event(dg.AssetKey("raw_pois"))
        assert asked
        assert asked.asset_materialization
        assert asked.asset_materialization.metadata["requests"].value == 0


def test_a_demo_gives_out_a_report_and_its_commands_can_be_tried(
    first: tuple[Path, subprocess.CompletedProcess[str]], made: Path
) -> None:
    page = (first[0] / HOME / "report-koeln.html").read_text()
    (report,) = lake_of(first[0]).reports.published()
    assert report.question.city == "Köln"
    assert report.report_id in page
    assert "SIMULATED" in page
    home, _, commands = first[1].stdout.partition("Your own questions:\n")[2].partition("\n")
    assert home.split() == ["export", f"CHARGING_ASSETS_HOME={HOME}"]
    assert [line.split()[1] for line in commands.splitlines()] == ["sql", "report", "explain"]
    for line in commands.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "charging-assets"
        done = subprocess.run(
            [*COMMAND[:3], *arguments],
            cwd=made,
            env=os.environ | {"CHARGING_ASSETS_HOME": HOME},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_its_commands_are_called_as_a_fresh_shell_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "project/.venv/bin/charging-assets"
    started.parent.mkdir(parents=True)
    started.touch(0o755)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PATH", str(tmp_path))
    for argument in (".venv/bin/charging-assets", str(started)):
        monkeypatch.setattr(sys, "argv", [argument, "demo"])
        assert demo._command() == ".venv/bin/charging-assets"
    monkeypatch.chdir(started.parent)
    assert demo._command() == str(started)
    monkeypatch.setenv("PATH", str(started.parent))
    assert demo._command() == "charging-assets"


def test_what_a_demo_shows_fits_into_100_columns(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    shown = first[1].stdout.partition("\ntable ")[2].splitlines()
    assert len(shown) > 50
    assert [line for line in shown if len(line) > 100] == []


def test_a_demo_that_was_made_before_there_were_points_of_interest_gets_them(
    first: tuple[Path, subprocess.CompletedProcess[str]], made: Path
) -> None:
    lake = made / HOME / "lake"
    shutil.rmtree(lake / "raw_pois")
    for name in ("poi", "rejected_pois", "poi_refresh_log"):
        shutil.rmtree(lake / "tables" / name)
    assert run(made, "--no-serve").returncode == 0
    assert files(made) == files(first[0])


def test_a_second_demo_changes_nothing(made: Path) -> None:
    before, given_out = files(made), reports(made)
    done = run(made, "--no-serve")
    assert done.returncode == 0
    assert "All polls are there already.\nAll tables are built already." in done.stdout
    assert "Which feeds failed most, and why?" in done.stdout
    assert files(made) == before
    assert reports(made) == given_out


def test_a_demo_that_was_stopped_goes_on_to_the_same_tables(
    first: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [*COMMAND, "--no-serve"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / HOME).glob("lake/raw/*/*.parquet")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped. What was made stays in ./.charging_assets-demo: run the demo again" in complaint
    assert "Traceback" not in complaint
    assert 0 < len(files(tmp_path)) < len(files(first[0]))

    assert run(tmp_path, "--no-serve").returncode == 0
    assert files(tmp_path) == files(first[0])
    assert reports(tmp_path) == reports(first[0])


def test_another_world_is_refused(made: Path) -> None:
    before = files(made)
    done = run(made, "--no-serve", "--seed", "2")
    assert done.returncode == 1
    assert "holds simulated data (seed 1," in done.stderr
    assert "run with --seed 1." in done.stderr
    assert files(made) == before


def test_real_data_is_refused(tmp_path: Path) -> None:
    lake_of(tmp_path).raw.claim(Kind("real"))
    done = run(tmp_path, "--no-serve")
    assert done.returncode == 1
    assert "holds real data, and this demo is simulated data" in done.stderr
    assert lake_of(tmp_path).raw.dates() == []


def test_a_busy_port_is_refused_before_any_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = run(tmp_path, "--port", str(busy.getsockname()[1]))
    assert done.returncode == 1
    assert "choose another with --port, or --no-serve" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_of_another_installation_do_not_matter(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", str(made / "elsewhere"))
    monkeypatch.setenv("DAGSTER_HOME", str(made / "elsewhere"))
    monkeypatch.setenv("CHARGING_ASSETS_INTERVAL_S", "wrong")
    assert run(made, "--no-serve").returncode == 0
    assert not (made / "elsewhere").exists()


@pytest.fixture
def served(made: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo that serves, and the port of its UI."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port)],
        cwd=made,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "HTTP_PROXY": "http://127.0.0.1:9"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process, port
    for child in [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
        child.kill()


def test_a_served_demo_polls_the_same_world_live_until_ctrl_c(
    made: Path, served: tuple[subprocess.Popen[str], int]
) -> None:
    process, port = served
    assert process.stdout is not None
    said = ""
    while "Ctrl-C ends both" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    assert "38 of 38 feeds answered" in said
    assert f"http://localhost:{port} is the Dagster UI" in said
    repository = '{repositoryLocationName: "charging_assets", repositoryName: "__repository__"}'
    fields = "...on Schedules {results {name scheduleState {status}}}"
    query = {"query": f"{{schedulesOrError(repositorySelector: {repository}) {{{fields}}}}}"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        schedules = json.load(response)["data"]["schedulesOrError"]["results"]
    running = {schedule["name"] for schedule in schedules if schedule["scheduleState"]["status"] == "RUNNING"}
    assert running == {"poll_chargecloud_schedule"}

    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "Stopped. Everything stays in ./.charging_assets-demo" in rest
    assert psutil.wait_procs(children, timeout=10)[1] == []
    live = lake_of(made).raw.index(lake_of(made).raw.dates()[-1])
    assert set(live["source"].to_pylist()) == {"simulator"}
    assert lake_of(made).info("current_status", None) is not None
