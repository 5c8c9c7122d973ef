"""`charging-assets explain` prints what an auditor can follow, and its exit code tells whether it adds up."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from charging_assets.cli import main
from charging_assets.lake import Lake
from charging_assets_tests.reports.test_explanation import DAY, LOST, A, B, body_of, build, local, put_day
from charging_assets_tests.sound_lake import rewrite, with_values


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("built")
    lake = Lake(str(home / "lake"), home)
    put_day(lake)
    build(lake, DAY)
    return home


@pytest.fixture
def home(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State folder of the command, with a day of hourly polls of one station in its lake."""
    shutil.copytree(built, tmp_path / "home")
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHARGING_ASSETS_LAKE", raising=False)
    return tmp_path / "home"


def run(*arguments: str, kpi: str = "utilization") -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["explain", "--kpi", kpi, "--date", str(DAY), *arguments])


def lake_of(home: Path) -> Lake:
    return Lake(str(home / "lake"), home)


def test_the_text_goes_from_the_figure_to_points_intervals_and_polls(home: Path) -> None:
    result = run("--station", "100")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("utilization of station 100 (Musterstr. 1) on Wednesday, 2026-03-11: 6.52 %\n")
    assert re.findall(r"^\d\. .*$", result.stdout, re.MULTILINE) == [
        "1. The figure",
        "2. The charging points",
        "3. The intervals of each point",
        "4. The polls and their raw answers",
    ]
    assert "= 10,800 s / 165,600 s\n" in result.stdout
    assert "DIFFERS" not in result.stdout


def test_the_seconds_of_a_point_stand_in_columns_that_add_up(home: Path) -> None:
    block = run("--point", B).stdout.partition(f"{B}, feed koeln\n")[2].partition("\n\n")[0]
    head, *lines = block.splitlines()
    ends = [head.index(kind) + len(kind) for kind in ("occupied", "free", "fault", "gone", "unknown")]
    rows = [line for line in lines if re.match(r" +(\d\d:|seconds in all)", line) and not line.startswith(" " * 7)]

    def cells(line: str) -> list[int]:
        return [int(line[end - 9 : end].replace(",", "").strip() or 0) for end in ends]

    *parts, total = map(cells, rows)
    assert [sum(column) for column in zip(*parts, strict=True)] == total == [0, 78_300, 3_600, 0, 4_500]


def test_times_are_local_and_utc_and_polls_have_the_first_digits_of_their_hashes(home: Path) -> None:
    hashes = {hour: hashlib.sha256(body_of(hour)).hexdigest()[:12] for hour in (8, 10)}
    assert (
        "   07:30:00-10:30:00  06:30:00-09:30:00  CHARGING       10,800\n"
        f"       3 polls: 08:00:00 {hashes[8]} to 10:00:00 {hashes[10]}\n"
    ) in run("--point", A).stdout


def test_time_not_observed_comes_with_its_reason(home: Path) -> None:
    text = " ".join(run("--point", B, kpi="coverage").stdout.split())
    assert "1,800 s unknown, 13:45:00-14:15:00: 1 poll of the feed gave nothing usable (failed: HTTP 502)" in text
    assert "1,800 s unknown, 17:45:00-18:15:00: 1 good answer did not have the point" in text
    assert "no interval 900 no poll of the feed was made after 2026-03-11 23:00:00" in text


@pytest.mark.parametrize(
    ("kpi", "expected"),
    [
        ("events", f"{A}, AC 11-22, CHARGING: 10,800 s"),
        ("duration_p50_s", "0.5 * 1 events = 0.5 are to be shorter"),
        ("energy_kwh", "estimate: min(4.4 kW * 3.000 h, 20 kWh) = 13.200 kWh"),
        ("free_on_arrival", "2/2"),
        ("full_share", "= station_polls_full / station_polls_working\n"),
        ("max_occupied", "1 points occupied, the first of 3 polls with as many"),
        ("peak_utilization", "place 0.95 * (24 - 1) + 1 = 22.85"),
        ("open_utilization", "coverage of opening hours = 165,600 s / (165,600 s + 7,200 s)"),
        ("events_per_point_day", "= (1 - 0) * 86,400 s / 165,600 s\n"),
        ("occupied_s", "occupied_s = B, sum of the points' occupied seconds\n"),
    ],
)
def test_each_kind_of_figure_is_shown_with_what_it_is_made_from(home: Path, kpi: str, expected: str) -> None:
    result = run("--station", "100", kpi=kpi)
    assert (result.exit_code, result.stderr) == (0, "")
    assert expected in result.stdout


@pytest.mark.parametrize("kpi", ["utilization", "duration_p50_s", "free_on_arrival", "peak_utilization"])
@pytest.mark.parametrize("more", [(), ("--all",)])
def test_lines_fit_100_columns_but_for_paths(home: Path, kpi: str, more: tuple[str, ...]) -> None:
    lines = run("--station", "100", *more, kpi=kpi).stdout.splitlines()
    assert [line for line in lines if len(line) > 100 and "/" not in line.split()[-1]] == []


def test_all_lists_every_poll_with_its_full_hash_and_its_file(home: Path) -> None:
    text = run("--point", A, "--all").stdout
    for hour in set(range(24)) - {LOST}:
        assert hashlib.sha256(body_of(hour)).hexdigest() in text
    assert text.count(f"raw/query_date={DAY}/") == 24 + 1  # and the first file once more, above the list


def test_verify_tells_how_many_bodies_have_their_hash(home: Path) -> None:
    assert "SHA-256 computed again from the bodies: 24 of 24 equal" in run("--point", A, "--verify").stdout


def test_json_has_all_polls_of_each_interval_and_their_hashes(home: Path) -> None:
    told = json.loads(run("--point", A, "--format", "json").stdout)
    hashes = {poll["key"]: poll["sha256"] for poll in told["polls"]}
    charging = told["points"][0]["intervals"][1]
    assert [hashes[key] for key in charging["polls"]] == [
        hashlib.sha256(body_of(hour)).hexdigest() for hour in (8, 9, 10)
    ]
    assert charging["start_local"] == local("07:30:00").isoformat()
    assert told["figure"]["value"] == 10_800 / 83_700


def test_a_figure_that_its_levels_do_not_give_is_printed_with_what_differs_and_fails(home: Path) -> None:
    rewrite(lake_of(home), "status_intervals", DAY, lambda rows: with_values(rows, "n_polls", {1: 5}))
    result = run("--point", A)
    assert result.exit_code == 1
    assert (
        "recomputed: DIFFERS - intervals with as many polls as they say: the level above says 3, this level gives 2"
        in " ".join(result.stdout.split())
    )
    assert re.fullmatch(r"Error: 2 of \d+ comparisons differ: this figure is not sound\.\n", result.stderr)


def test_what_cannot_be_explained_is_one_sentence(home: Path) -> None:
    result = run("--station", "101")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: kpi_daily of 2026-03-11 has no station '101'. Did you mean 100? It has 1; `charging-assets sql` lists "
        "them (column scope_id of kpi_daily).\n"
    )


def test_exactly_one_scope_must_be_named(home: Path) -> None:
    for arguments, got in (((), "none"), (("--city", "Musterstadt", "--feed", "koeln"), "2")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert (
            f"Expected one of --point, --station, --city, --operator, --power-class, --feed, got {got}."
            in result.stderr
        )
