"""`charging-assets report`; what is in the files is tried in `test_report_exports` and `test_report_page`."""

import csv
import datetime as dt
import io
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.cli.report import CHANGES_SHOWN, print_changed_figures
from charging_assets.lake import Lake
from charging_assets_tests.reports.kpi_days import Point, days, put_days

FIRST, LAST = dt.date(2026, 3, 2), dt.date(2026, 3, 3)
PERIOD = ("--from", str(FIRST), "--to", str(LAST))
POINTS = (
    Point("DE*K1", 1, station="Rathaus"),
    Point("DE*K2", 2, station="Messe", operator="Netz/Werk AG", observed=0.9),
    Point("DE*B1", 3, city="Bonn", station="Markt"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State folder of the command, whose lake has two days of three points; the command runs in an empty folder."""
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    put_days(lake_of(tmp_path / "home"), days(FIRST, 2), *POINTS)
    return tmp_path / "home"


def lake_of(home: Path) -> Lake:
    return Lake(str(home / "lake"), home)


def run(*arguments: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["report", *arguments])


def names_in(content: bytes) -> list[str]:
    return [row[0] for row in csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=";")][1:]


def test_a_report_is_a_file_in_this_folder_and_a_line_that_says_how_sure_it_is(home: Path) -> None:
    result = run("--by", "city", *PERIOD, "--format", "csv")

    assert (result.exit_code, result.stderr) == (0, "")
    (kept,) = lake_of(home).reports.published()
    (line,) = result.stdout.splitlines()
    told = f"{kept.report_id}: 3 of 3 points observed, coverage 96.7 %"
    assert line == f"report-city-2026-03-02-2026-03-03.csv  {told}"
    assert names_in(Path("report-city-2026-03-02-2026-03-03.csv").read_bytes()) == ["Bonn", "Köln"]
    notes = Path("report-city-2026-03-02-2026-03-03-notes.txt").read_text(encoding="utf-8")
    assert kept.report_id in notes


def test_days_missing_are_named(home: Path) -> None:
    put_days(lake_of(home), [FIRST + dt.timedelta(days=4)], *POINTS)

    result = run("--by", "city", "--from", "2026-03-02", "--to", "2026-03-06", "--format", "csv")

    (line,) = result.stdout.splitlines()
    assert line.endswith(", 2 of 5 days missing (4 to 5\N{NO-BREAK SPACE}March 2026)")


def test_each_format_is_what_its_name_says(home: Path) -> None:
    for form in ("xlsx", "parquet", "html"):
        assert run("--by", "operator", *PERIOD, "--format", form).exit_code == 0

    name = "report-operator-2026-03-02-2026-03-03"
    assert sorted(path.name for path in Path().iterdir()) == [f"{name}.html", f"{name}.parquet", f"{name}.xlsx"]
    assert "Operators" in openpyxl.load_workbook(f"{name}.xlsx").sheetnames
    assert pq.read_table(f"{name}.parquet")["scope_id"].to_pylist() == ["Netz/Werk AG", "Stadtwerke"]
    page = Path(f"{name}.html").read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert "Netz/Werk AG" in page
    assert len(lake_of(home).reports.published()) == 1


def test_a_german_excel_gets_decimal_commas(home: Path) -> None:
    content = run("--by", "city", *PERIOD, "--format", "csv", "--decimal", "comma", "--output", "-").stdout_bytes

    assert ";25,00;" in content.decode()


def test_on_standard_output_there_is_the_report_and_nothing_else(home: Path) -> None:
    result = run("--by", "power-class", *PERIOD, "--format", "csv", "--output", "-")

    assert names_in(result.stdout_bytes) == ["AC 11-22"]
    assert result.stderr.startswith("-  R-")
    assert list(Path().iterdir()) == []


def test_a_city_is_given_out_by_itself_or_by_its_stations(home: Path) -> None:
    assert run("--by", "city", "--city", "Köln", *PERIOD, "--format", "csv").exit_code == 0
    assert run("--by", "station", "--city", "Köln", *PERIOD, "--format", "csv").exit_code == 0

    assert names_in(Path("report-city-Köln-2026-03-02-2026-03-03.csv").read_bytes()) == ["Köln"]
    assert names_in(Path("report-station-Köln-2026-03-02-2026-03-03.csv").read_bytes()) == ["Messe", "Rathaus"]


def test_no_name_leads_out_of_the_folder(home: Path) -> None:
    result = run("--by", "operator", "--only", "Netz/Werk AG", *PERIOD)

    assert result.exit_code == 0
    assert [path.name for path in Path().iterdir()] == ["report-operator-Netz_Werk_AG-2026-03-02-2026-03-03.xlsx"]


def test_what_was_published_otherwise_is_told_at_most_ten_at_a_time(home: Path) -> None:
    run("--by", "station", *PERIOD, "--format", "parquet")
    before = lake_of(home).reports.published()[0]
    changed = [Point(p.id_cp, p.id_cs, p.city, p.operator, station=p.station, busy=0.5) for p in POINTS]
    put_days(lake_of(home), days(FIRST, 2), *changed)

    result = run("--by", "station", *PERIOD, "--format", "parquet")

    _, said, *changes, more = result.stdout.splitlines()
    assert said.startswith(f"{before.report_id} of {before.published_at:%Y-%m-}")
    assert said.endswith(" answered the same otherwise: 17 figures changed")
    assert len(changes) == CHANGES_SHOWN
    assert "  Rathaus, Utilization (%): 25.00 -> 50.00" in changes
    assert more == "  … and 7 more: all are in report-station-2026-03-02-2026-03-03-changes.txt"
    assert len(Path("report-station-2026-03-02-2026-03-03-changes.txt").read_text().splitlines()) == 17
    assert run("--by", "station", *PERIOD, "--format", "parquet").stdout.count("\n") == 1


def test_whoever_rebuilds_is_told_which_published_figures_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = lake_of(home)
    run("--by", "city", "--city", "Bonn", *PERIOD)
    print_changed_figures(lake, [FIRST])
    assert capsys.readouterr().out == ""
    put_days(lake, days(FIRST, 2), *POINTS[:2], Point("DE*B1", 3, city="Bonn", station="Markt", busy=0.5))

    print_changed_figures(lake, [FIRST])

    (kept,) = lake.reports.published()
    told, first, *_ = capsys.readouterr().out.splitlines()
    assert told == "published reports would be others now: 1"
    asked = "(city Bonn, 2026-03-02 to 2026-03-03)"
    change = "Bonn, Utilization (%): 25.00 -> 50.00"
    assert first == f"  {kept.report_id} {asked}  5 figures changed, such as {change}"


def test_a_period_of_which_nothing_is_known_is_an_empty_report_with_a_sentence(home: Path) -> None:
    result = run("--by", "city", "--from", "2025-01-01", "--to", "2025-01-31", "--format", "csv")

    assert result.exit_code == 0
    assert result.stdout.endswith(": nothing is known of this period, so it has no figures\n")
    assert names_in(Path("report-city-2025-01-01-2025-01-31.csv").read_bytes()) == []
    assert lake_of(home).reports.published() == []


def test_an_unknown_name_is_told_with_what_is_near(home: Path) -> None:
    result = run("--by", "city", "--city", "Koeln", *PERIOD)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "No city 'Koeln' is known from 2026-03-02 to 2026-03-03. Near: Köln." in result.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "city", "--from", "2026-03-03", "--to", "2026-03-02"), "the earlier one first"),
        (("--by", "city", "--from", "2026-03-03", "--to", "2999-01-01"), "none after"),
        (("--by", "operator", "--city", "Köln", *PERIOD), "got it with --by operator"),
        (("--by", "station", "--city", "Köln", "--only", "1", *PERIOD), "got both"),
        (("--by", "street", *PERIOD), "'street' is not one of"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(home: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert list(Path().iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(home: Path) -> None:
    Path("file").write_text("")

    result = run("--by", "city", *PERIOD, "--output", "file/report.xlsx")

    assert result.exit_code == 1
    assert "file/report.xlsx cannot be written" in result.stderr
    assert "name another place with --output" in result.stderr
