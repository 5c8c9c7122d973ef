import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from charging_assets.calendar import day_bounds, today
from charging_assets.cli.runs import build
from charging_assets.cli.simulate import simulate
from charging_assets.lake import Lake, WrongKind
from charging_assets.sources import ChargecloudSource, poll
from charging_assets.sources.osm.categories import Categories


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of an installation in `tmp_path`, on the lake of the fixture `lake`."""
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", str(tmp_path / "lake"))
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(simulate, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_history_fills_the_lake_with_raw_answers_and_tells_the_truth(lake: Lake, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    result = run("history", "--days", "2", "--end", "2026-01-09", "--interval", "3600", "--truth", str(truth))
    assert result.exit_code == 0
    assert lake.raw.dates() == [dt.date(2026, 1, 8), dt.date(2026, 1, 9)]
    assert "48 polls of 38 feeds from 2026-01-08 to 2026-01-09" in result.output
    rows = [pq.read_table(path).num_rows for path in sorted(truth.iterdir())]
    assert len(rows) == 4
    assert f"{rows[3]:,} sessions" in result.output
    assert rows[3] > 2_000


def test_a_history_brings_points_of_interest_once_and_build_makes_their_tables(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_FIRST_DATE", "2026-01-08")
    monkeypatch.setenv("DAGSTER_HOME", "")  # as good as unset, and put back after the test
    first = run("history", "--days", "1", "--end", "2026-01-08", "--interval", "3600")
    assert "points of interest in 38 towns" in first.output
    kept = lake.pois.refreshes()
    assert {refresh.refresh.refreshed_at for refresh in kept} == {day_bounds(dt.date(2026, 1, 8))[0]}

    again = run("history", "--days", "2", "--end", "2026-01-09", "--interval", "3600")
    assert "points of interest" not in again.output
    assert lake.pois.refreshes() == kept

    built = CliRunner().invoke(build, ["--date", "2026-01-08"])
    assert re.search(r"^poi +[\d,]+ +[\d,]+$", built.output, re.MULTILINE)
    assert lake.read("mapping_poi_cs", None).num_rows > 2_000

    monkeypatch.setenv("CHARGING_ASSETS_POI_CATEGORIES", "original")
    renewed = CliRunner().invoke(build, ["--date", "2026-01-08"])
    assert "made: poi, " in renewed.output
    assert set(lake.read("poi", None)["poi_category"].to_pylist()) == set(Categories.load("original").names)
    assert CliRunner().invoke(build, ["--date", "2026-01-08"]).output == "unchanged: 2026-01-08\n"


def test_a_history_reaches_to_now_and_not_beyond(lake: Lake) -> None:
    assert run("history", "--days", "1", "--interval", "3600", "--missing", "0").exit_code == 0
    times = [row.poll.query_time for row in lake.raw.rows(today())]
    assert max(times) < dt.datetime.now(dt.UTC)
    assert len(times) % 38 == 0


def test_facts_fill_the_status_tables_without_raw_answers(lake: Lake) -> None:
    result = run("facts", "--days", "2", "--end", "2026-01-09", "--interval", "1800")
    assert result.exit_code == 0
    assert f"status_chargingpoints: {2 * 48 * 2_423:,} rows" in result.output
    assert lake.partitions("status_connectors") == [dt.date(2026, 1, 8), dt.date(2026, 1, 9)]
    assert lake.raw.dates() == []


def test_facts_do_not_replace_tables_that_were_built_from_raw_answers(lake: Lake) -> None:
    run("history", "--days", "1", "--end", "2026-01-09", "--interval", "3600")
    result = run("facts", "--days", "1", "--end", "2026-01-09")
    assert result.exit_code == 1
    assert "has raw answers" in result.output
    assert lake.partitions("status_connectors") == []


def test_a_date_in_the_future_is_wrong_usage() -> None:
    result = run("history", "--days", "1", "--end", "2999-01-01")
    assert result.exit_code == 2
    assert "a past date or today" in result.output


def test_another_world_or_real_answers_are_refused_by_a_simulated_lake(lake: Lake) -> None:
    run("facts", "--days", "1", "--end", "2026-01-09", "--interval", "3600")
    with pytest.raises(WrongKind, match=r"seed 1, from 2026-01-01 on\), and this is simulated data \(seed 2"):
        run("history", "--days", "1", "--end", "2026-01-09", "--interval", "3600", "--seed", "2")
    with pytest.raises(WrongKind, match="real data"):
        poll(ChargecloudSource("http://127.0.0.1:1", ("koeln",)), lake, interval_s=600)
    assert lake.raw.dates() == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_says_where_it_listens_and_ends_cleanly_with_the_truth(tmp_path: Path, ending: signal.Signals) -> None:
    truth = tmp_path / "truth"
    command = ["-c", "from charging_assets.cli import main; main()", "simulate", "serve", "--port", "0"]
    options = ["--fault", "koeln=unknown", "--fault", "kiel=frozen", "--truth", str(truth)]
    with subprocess.Popen(
        [sys.executable, *command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # so that it is the command that flushes
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("38 simulated feeds at http://127.0.0.1:")
            url = line.split()[4].removesuffix("/<feed>,")
            with urlopen(f"{url}/koeln") as empty, urlopen(f"{url}/bonn") as full:
                assert json.load(empty)["data"] == []
                assert len(json.load(full)["data"]) > 10
            server.send_signal(ending)
            out, err = server.communicate(timeout=30)
        finally:
            server.kill()
    assert (server.returncode, err) == (0, "")
    assert "1 freezes" in out
    assert "2 served_faults" in out
    assert pq.read_table(truth / "freezes.parquet").to_pylist()[0]["feed"] == "kiel"
    assert len(list(truth.iterdir())) == 5


def test_a_busy_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("serve", "--port", str(port))
    assert result.exit_code == 1
    assert f"Port {port} of 127.0.0.1 cannot be used (address already in use)" in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("koeln", "expected FEED=KIND"),
        ("koeln=flood", "'flood' is no fault: expected one of http_500"),
        ("atlantis=html", "'atlantis' cannot fail"),
    ],
)
def test_a_wrong_fault_is_wrong_usage(fault: str, expected: str) -> None:
    result = run("serve", "--port", "0", "--fault", fault)
    assert result.exit_code == 2
    assert expected in result.output


def test_a_folder_for_the_truth_that_cannot_be_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("history", "--days", "1", "--truth", str(tmp_path / "file" / "truth"))
    assert result.exit_code == 2
    assert "cannot be made: Not a directory" in result.output
