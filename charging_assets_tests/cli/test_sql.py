import csv
import datetime as dt
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema

NOON = dt.datetime(2024, 10, 23, 10, tzinfo=dt.UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State folder of the command, with three status rows of one day in its lake."""
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    few = {"query_date": NOON.date(), "source": "chargecloud", "feed": "koeln", "status_class": "free"}
    rows = [{"id_chargingpoint": f"DE*{n}", "query_time": NOON, "status_cp": "AVAILABLE", **few} for n in range(3)]
    lake = Lake(str(tmp_path / "lake"), tmp_path)
    lake.write("status_chargingpoints", NOON.date(), pa.Table.from_pylist(rows, arrow_schema("status_chargingpoints")))
    return tmp_path


def run(*arguments: str, stdin: str | None = None, width: int | None = None) -> Result:
    return CliRunner(mix_stderr=False).invoke(
        main, arguments, input=stdin, env={"COLUMNS": str(width), "TTY_COMPATIBLE": "1"} if width else {}
    )


def test_csv_is_a_header_and_rows_and_nothing_else(home: Path) -> None:
    result = run(
        "sql",
        "--format",
        "csv",
        "SELECT id_status_cp, query_time, query_date, status_parkingsensor, 1.5 AS x, true AS b "
        "FROM status_chargingpoints ORDER BY 1 LIMIT 1",
    )
    assert result.stdout == (
        "id_status_cp,query_time,query_date,status_parkingsensor,x,b\n"
        f"DE*0@{int(NOON.timestamp())},2024-10-23T10:00:00+00:00,2024-10-23,,1.5,true\n"
    )
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("text", ['say "hi"', "a,b", "line\nfeed", "carriage\rreturn", "", " blank ", "Köln", "'"])
def test_csv_quotes_so_that_every_text_comes_back(home: Path, text: str) -> None:
    literal = text.replace("'", "''")
    result = run("sql", "--format", "csv", f'SELECT \'{literal}\' AS "na""me,", 1 AS n')
    # newline="" keeps csv from seeing line ends where the printed text has characters
    assert list(csv.reader(io.StringIO(result.stdout_bytes.decode(), newline=""))) == [['na"me,', "n"], [text, "1"]]


def test_csv_keeps_the_row_of_a_single_null(home: Path) -> None:
    assert run("sql", "--format", "csv", "SELECT NULL AS a UNION ALL SELECT 1 ORDER BY a").stdout == 'a\n1\n""\n'


def test_a_dash_reads_the_statement_from_standard_input(home: Path) -> None:
    assert run("sql", "--format", "csv", "-", stdin="SELECT 'Köln' AS city").stdout == "city\nKöln\n"


def test_csv_of_no_rows_is_its_header(home: Path) -> None:
    assert run("sql", "--format", "csv", "SELECT feed, status_cp FROM status_chargingpoints WHERE false").stdout == (
        "feed,status_cp\n"
    )


def test_csv_times_keep_their_fractions_and_only_aware_ones_have_an_offset(home: Path) -> None:
    result = run(
        "sql",
        "--format",
        "csv",
        "SELECT TIMESTAMPTZ '2024-10-23 12:00:00.25+02' AS a, TIMESTAMP '2024-10-23 12:00:00' AS b, "
        "timezone('Europe/Berlin', TIMESTAMPTZ '2024-10-23 10:00:00+00') AS c",
    )
    assert result.stdout.splitlines()[1] == "2024-10-23T10:00:00.250000+00:00,2024-10-23T12:00:00,2024-10-23T12:00:00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("INTERVAL 90 MINUTE", "01:30:00"),
        ("'a'::BLOB", "a"),
        ("'101'::BIT", "101"),
        ("'340282366920938463463374607431768211455'::UHUGEINT", "340282366920938463463374607431768211455"),
        ("TIMETZ '10:00:00+02'", "10:00:00+02"),
        ("TIMESTAMP '12024-01-01 00:00:00'", "12024-01-01T00:00:00"),
        ("{'t': TIMESTAMPTZ '2024-10-23 12:00:00+02'}", '{"t":"2024-10-23T10:00:00Z"}'),
    ],
)
def test_values_of_rare_types_are_told_and_told_alike(home: Path, value: str, text: str) -> None:
    printed = run("sql", "--format", "csv", f"SELECT {value} AS a, 1 AS b").stdout
    [[_, _], [told, one]] = csv.reader(io.StringIO(printed))
    assert (told, one) == (text, "1")


def test_json_is_one_array_of_objects(home: Path) -> None:
    result = run(
        "sql",
        "--format",
        "json",
        "SELECT query_time, query_date, status_parkingsensor AS p, sum(2) AS s, 'nan'::DOUBLE AS x, [1, 2] AS l, "
        "count(*) > 1 AS b FROM status_chargingpoints GROUP BY ALL",
    )
    assert json.loads(result.stdout) == [
        {
            "query_time": "2024-10-23T10:00:00+00:00",
            "query_date": "2024-10-23",
            "p": None,
            "s": 6,
            "x": None,
            "l": [1, 2],
            "b": True,
        }
    ]
    assert json.loads(run("sql", "--format", "json", "SELECT 1 AS a WHERE false").stdout) == []


def test_json_with_two_columns_of_one_name_is_refused(home: Path) -> None:
    result = run("sql", "--format", "json", "SELECT 1 AS a, 2 AS a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "AS" in result.stderr


@pytest.mark.parametrize("form", ["csv", "json"])
def test_results_larger_than_a_batch_come_whole_and_in_order(home: Path, form: str) -> None:
    result = run("sql", "--format", form, "SELECT range AS n FROM range(120000) ORDER BY n DESC")
    numbers = (
        [int(line) for line in result.stdout.splitlines()[1:]]
        if form == "csv"
        else [row["n"] for row in json.loads(result.stdout)]
    )
    assert numbers == list(range(119_999, -1, -1))


def test_a_table_shows_names_values_and_how_many_rows(home: Path) -> None:
    result = run("sql", "SELECT feed, count(*) AS points, NULL AS nothing FROM status_chargingpoints GROUP BY 1")
    header, _, row = result.stdout.splitlines()
    assert header.split() == ["feed", "points", "nothing"]
    assert row.split() == ["koeln", "3", "NULL"]
    assert result.stderr == "(1 row)\n"


def test_a_table_stops_after_a_thousand_rows_and_says_so(home: Path) -> None:
    result = run("sql", "SELECT * FROM range(2000)")
    assert result.stdout.splitlines()[-1].strip() == "999"
    assert "--format csv" in result.stderr


def test_a_table_wider_than_the_terminal_becomes_one_block_per_row(home: Path) -> None:
    narrow = run("sql", "SELECT * FROM status_chargingpoints", width=80).stdout
    assert narrow.count("DE*0@") == 1
    assert "row 3" in narrow
    assert all(len(line) <= 80 for line in run("sql", "SELECT 1 AS a, 2 AS b", width=80).stdout.splitlines())
    assert "row 1" not in run("sql", "SELECT * FROM status_chargingpoints", width=200).stdout


def test_a_table_shows_control_characters_instead_of_obeying_them(home: Path) -> None:
    assert "\\x1b[31m" in run("sql", "SELECT 'a' || chr(27) || '[31m' AS x").stdout


def test_a_mistake_is_explained_on_stderr_without_a_stack_trace(home: Path) -> None:
    result = run("sql", "--format", "csv", "SELECT state_cp FROM status_chargingpoints")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "status_cp" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_usage_and_wrong_settings_exit_with_2(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("sql").exit_code == 2
    assert run("sql", "--format", "xml", "SELECT 1").exit_code == 2
    monkeypatch.setenv("CHARGING_ASSETS_INTERVAL_S", "7")
    result = run("sql", "SELECT 1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "CHARGING_ASSETS_INTERVAL_S='7'" in result.stderr


def test_a_reader_that_stops_reading_is_no_error(home: Path) -> None:
    command = [sys.executable, "-c", "from charging_assets.cli import main; main()"]
    sql = ["sql", "--format", "csv", "SELECT * FROM range(3000000)"]
    with subprocess.Popen([*command, *sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_does_not_wait_for_heavy_imports() -> None:
    probe = (
        "import sys, charging_assets.cli; print(sorted({'pyarrow', 'duckdb', 'dagster', 'rich', 'boto3', 'sqlalchemy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_exported_views_open_in_duckdb_and_the_command_says_what_is_empty(home: Path) -> None:
    file = home / "bi.duckdb"
    result = run("export", "views", str(file))
    assert result.exit_code == 0
    assert "status_connectors" in result.stdout.splitlines()[-1]
    assert "status_chargingpoints" not in result.stdout.splitlines()[-1]
    with duckdb.connect(file, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM status_chargingpoints").fetchall() == [(3,)]


def test_an_export_of_an_s3_lake_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_LAKE", "s3://bucket/lake")
    result = run("export", "views", str(home / "bi.duckdb"))
    assert result.exit_code == 1
    assert "charging-assets sql" in result.stderr
    assert not (home / "bi.duckdb").exists()
