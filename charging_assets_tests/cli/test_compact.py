"""Closed days become one file each, and nothing that can be asked changes."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from charging_assets.calendar import today
from charging_assets.cli import main
from charging_assets.lake import Lake
from charging_assets_tests.raw_days import make_raw_day

_COUNT = "SELECT count(*), count(DISTINCT sha256), sum(bytes_total) FROM raw_snapshots"


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])


def test_closed_days_are_compacted_once_and_today_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    lake = Lake(str(tmp_path / "lake"), tmp_path)
    make_raw_day(lake, dt.date(2024, 10, 23))
    make_raw_day(lake, today())
    before = run("sql", "--format", "csv", _COUNT).stdout
    files_today = lake.raw.files(today())
    first, second = run("compact"), run("compact")
    assert first.exit_code == second.exit_code == 0
    assert first.stdout.startswith("2024-10-23  ")
    assert first.stdout.splitlines()[-1] == "1 day compacted."
    assert second.stdout == "0 days compacted.\n"
    assert run("sql", "--format", "csv", _COUNT).stdout == before
    assert lake.raw.files(today()) == files_today
