import gzip
import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.lake import Lake

ANSWER = {"data": [], "status_code": 1000, "timestamp": "2024-10-23T13:16:09+02:00"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home/dagster"))
    return tmp_path / "home"


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])


def saved(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def test_an_answer_is_imported_once_however_often_it_is_given(home: Path, tmp_path: Path) -> None:
    file = saved(tmp_path / "koeln_2024-10-23.json", ANSWER)
    first, second = run("import-raw", file), run("import-raw", file)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "2024-10-23 11:16:09 UTC" in first.stdout
    assert first.stdout.splitlines()[-1] == "1 new answer from 1 of 1 files."
    assert second.stdout.splitlines()[-1] == "0 new answers from 1 of 1 files."
    listed = run("sql", "--format", "csv", "SELECT feed, query_time, interval_s, bytes_total FROM raw_snapshots")
    assert listed.stdout.splitlines()[1:] == [f"koeln,2024-10-23T11:16:09+00:00,600,{file.stat().st_size}"]


def test_raw_snapshots_have_every_column_but_the_body(home: Path, tmp_path: Path) -> None:
    run("import-raw", saved(tmp_path / "koeln_2024-10-23.json", ANSWER))
    described = json.loads(run("sql", "--format", "json", "DESCRIBE raw_snapshots").stdout)
    columns = {row["column_name"]: row["column_type"] for row in described}
    assert columns["sha256"] == "VARCHAR"
    assert columns["query_time"] == "TIMESTAMP WITH TIME ZONE"
    assert "body" not in columns


def test_answers_of_many_cities_come_with_one_poll(home: Path, tmp_path: Path) -> None:
    file = saved(tmp_path / "20241023_131609_cp_data_cities.json", {"koeln": ANSWER, "bonn": ANSWER})
    with file.open("rb") as plain, gzip.open(f"{file}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert run("import-raw", f"{file}.gz").exit_code == 0
    listed = run(
        "sql", "--format", "csv", "SELECT feed, count(DISTINCT poll_id) FROM raw_snapshots GROUP BY 1 ORDER BY 1"
    )
    assert listed.stdout.splitlines()[1:] == ["bonn,1", "koeln,1"]


def test_a_file_that_fails_is_named_and_costs_no_other_its_import(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bonn_2024-10-23.json"
    broken.write_text("<html>")
    missing = tmp_path / "kiel_2024-10-23.json"
    good = saved(tmp_path / "koeln_2024-10-23.json", ANSWER)
    result = run("import-raw", broken, missing, good)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 new answer from 1 of 3 files."
    failures = result.stderr.splitlines()
    assert [line.split(":")[0] for line in failures] == [f"failed  {broken}", f"failed  {missing}"]


def test_a_feed_and_an_interval_can_be_given_for_files_that_do_not_say(home: Path, tmp_path: Path) -> None:
    file = saved(tmp_path / "answer.json", ANSWER)
    assert "--feed" in run("import-raw", file).stderr
    assert run("import-raw", file, "--feed", "SW-Stuttgart", "--interval-s", "60").exit_code == 0
    listed = run("sql", "--format", "csv", "SELECT feed, interval_s FROM raw_snapshots")
    assert listed.stdout.splitlines()[1:] == ["SW-Stuttgart,60"]


def test_a_name_that_no_feed_can_have_is_wrong_usage(home: Path, tmp_path: Path) -> None:
    result = run("import-raw", saved(tmp_path / "answer.json", ANSWER), "--feed", "../etc")
    assert result.exit_code == 2
    assert not Path(Lake(str(home / "lake"), home).uri).exists()


def test_the_captured_answer_is_kept_byte_for_byte(home: Path, real_answer_path: Path, real_answer: bytes) -> None:
    assert run("import-raw", real_answer_path).exit_code == 0
    lake = Lake(str(home / "lake"), home)
    [row] = [row for date in lake.raw.dates() for row in lake.raw.rows(date)]
    assert row.answer.body == real_answer
    assert row.answer.feed == "SW-Stuttgart"


def test_dagster_is_told_of_what_was_imported(home: Path, tmp_path: Path) -> None:
    run("import-raw", saved(tmp_path / "koeln_2024-10-23.json", ANSWER))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("raw_snapshots"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == "2024-10-23"
