"""Occupancy in the graph: whichever day is built first, the tables are the same; and what a bad day stops."""

import datetime as dt
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pytest

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.definitions import build_definitions
from charging_assets.defs.jobs import build_config
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets.derive.inputs import Inputs, stale_dates, stale_undated, undated_inputs
from charging_assets.derive.occupancy.day import TABLES
from charging_assets.lake import Lake, PartitionInfo
from charging_assets.reports.occupancy.archive import publish
from charging_assets.reports.occupancy.content import make_report
from charging_assets_tests.chargecloud_answers import answer, evse, location
from charging_assets_tests.clock import set_clock
from charging_assets_tests.judging import judge
from charging_assets_tests.raw_days import make_raw_poll
from charging_assets_tests.sound_lake import rewrite, table_of, with_values

DAYS = [dt.date(2024, 10, 24) + dt.timedelta(days=number) for number in range(5)]
"""The fourth one has 25 hours."""
MIDDLE = DAYS[2]
PERIODS = ("kpi_monthly", "usage_profile")
BY_DAY, BY_NIGHT = "DE*K*E000", "DE*K*E001"
"""Points that charge from 9 to 12, and from 22 to 2 o'clock."""
FIRST, NIGHT, OPEN = "23:37-01:45", "21:45-01:45", "21:45-23:52 open"
"""How the night looks: the first one began unseen, and the last one ends with the last poll and what it holds."""


def add_poll(lake: Lake, time: dt.datetime) -> None:
    hour = time.astimezone(BERLIN).hour
    statuses = {BY_DAY: 9 <= hour < 12, BY_NIGHT: hour >= 22 or hour < 2}
    points = [evse(id_, "CHARGING" if is_charging else "AVAILABLE") for id_, is_charging in statuses.items()]
    make_raw_poll(lake, time, {"koeln": answer(location("100", points))}, interval_s=1800)


def add_day(lake: Lake, date: dt.date, hours: float = 25) -> None:
    """A poll every half hour, as far as the day goes."""
    start, end = day_bounds(date)
    for number in range(int(2 * hours)):
        if (time := start + number * dt.timedelta(minutes=30)) < end:
            add_poll(lake, time)


def add_answer(lake: Lake, date: dt.date) -> None:
    add_poll(lake, day_bounds(date)[0] + dt.timedelta(hours=13, minutes=10))


def graph_of(lake: Lake) -> dg.Definitions:
    return build_definitions(
        {
            "lake": LakeResource(uri=lake.uri, home=str(Path(lake.uri).parent / "home")),
            "chargecloud": ChargecloudResource(feeds=["koeln"], interval_s=1800),
        }
    )


def run(
    lake: Lake,
    instance: dg.DagsterInstance,
    *span: dt.date,
    assets: Sequence[str] = (),
    skip_unchanged: bool = False,
) -> dg.ExecuteInProcessResult:
    """Build the days from the first one to the last one named, in one run: all dated tables, or only `assets`."""
    graph, tags = graph_of(lake), {}
    if span:
        ends = (str(span[0]), str(span[-1]))
        tags = dict(
            zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), ends, strict=True)
        )
    if assets:
        job = graph.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey(name) for name in assets]
        return job.execute_in_process(instance=instance, tags=tags, asset_selection=selection, raise_on_error=False)
    job = graph.resolve_job_def("build_query_date")
    config = build_config(skip_unchanged=skip_unchanged)
    return job.execute_in_process(instance=instance, tags=tags, run_config=config, raise_on_error=False)


def files(lake: Lake) -> dict[str, bytes]:
    """The bytes of all partitions of occupancy."""
    folder = Path(lake.uri) / "tables"
    return {str(path.relative_to(folder)): path.read_bytes() for name in TABLES for path in (folder / name).iterdir()}


def infos(lake: Lake) -> dict[dt.date, PartitionInfo | None]:
    return {day: lake.info("kpi_daily", day) for day in DAYS}


def changed(lake: Lake, before: dict[dt.date, PartitionInfo | None]) -> list[dt.date]:
    now = infos(lake)
    return [day for day in DAYS if now[day] != before[day]]


def nights(lake: Lake, date: dt.date) -> list[str]:
    """The day's events of the night, in local time; those whose end was not seen are open."""
    rows = lake.read("charging_events", date)
    found = rows.filter(pc.equal(rows["id_cp"].cast("string"), BY_NIGHT)).to_pylist()
    ends = [[f"{row[end].astimezone(BERLIN):%H:%M}" for end in ("start_time", "end_time")] for row in found]
    return [
        f"{start}-{end}{' open' if row['is_right_censored'] else ''}"
        for row, (start, end) in zip(found, ends, strict=True)
    ]


def errors(result: dg.ExecuteInProcessResult) -> list[str]:
    found = result.get_asset_check_evaluations()
    return [
        f"{one.asset_key.path[-1]} {one.partition} {one.check_name}: {one.description}"
        for one in found
        if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
    ]


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.user_failure_data)


@pytest.fixture(scope="module")
def built_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All days, built in one run."""
    folder = tmp_path_factory.mktemp("built")
    lake = Lake(str(folder / "lake"), folder / "home")
    for day in DAYS:
        add_day(lake, day)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(lake, instance, *DAYS)
    assert result.success
    assert errors(result) == []
    return folder


@pytest.fixture
def built(built_folder: Path, tmp_path: Path) -> Lake:
    shutil.copytree(built_folder, tmp_path / "built")
    return Lake(str(tmp_path / "built/lake"), tmp_path / "built/home")


@pytest.fixture
def raw(built_folder: Path, tmp_path: Path) -> Lake:
    """Only the answers of all days."""
    shutil.copytree(built_folder / "lake/raw", tmp_path / "raw/lake/raw")
    for name in ("home", "lake/kind.json"):
        if (built_folder / name).is_file():
            shutil.copy(built_folder / name, tmp_path / "raw" / name)
    return Lake(str(tmp_path / "raw/lake"), tmp_path / "raw/home")


# Any order


def test_a_run_over_several_days_gives_each_its_tables_and_verdicts(built: Lake, instance: dg.DagsterInstance) -> None:
    result = run(built, instance, *DAYS)

    made = [e.step_materialization_data.materialization for e in result.all_events if e.is_step_materialization]
    for name in TABLES:
        assert {one.partition for one in made if one.asset_key.path == [name]} == set(map(str, DAYS))
        assert built.partitions(name) == DAYS
    checked = {one.partition for one in result.get_asset_check_evaluations() if one.asset_key.path == ["kpi_daily"]}
    assert checked == set(map(str, DAYS))
    rows = {day: built.read("utilization_hourly", day).num_rows for day in DAYS}
    assert rows == {day: 2 * (25 if day.day == 27 else 24) for day in DAYS}
    assert [nights(built, day) for day in DAYS] == [
        [FIRST],
        *[[NIGHT]] * 3,
        [NIGHT, OPEN],
    ]


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)], ids=str)
def test_days_built_in_any_order_are_the_same_to_the_byte(
    raw: Lake, built: Lake, instance: dg.DagsterInstance, order: Sequence[int]
) -> None:
    for number in order:
        assert run(raw, instance, DAYS[number]).success
    later = stale_dates(raw, DAYS)  # which lacked a day before them when they were built
    assert later
    for day in later:
        assert run(raw, instance, day).success

    assert stale_dates(raw, DAYS) == []
    assert files(raw) == files(built)


def test_occupancy_alone_is_the_same_in_any_order_once_all_facts_are_there(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    expected = files(built)
    for name in TABLES:
        shutil.rmtree(Path(built.uri) / "tables" / name)

    for number in (3, 1, 4, 0, 2):
        assert run(built, instance, DAYS[number], assets=TABLES).success

    assert files(built) == expected


@pytest.mark.parametrize("first", [0, 1], ids=["in order", "the second day first"])
def test_a_session_over_midnight_is_one_event_whichever_day_is_built_first(
    lake: Lake, instance: dg.DagsterInstance, first: int
) -> None:
    for day in DAYS[:2]:
        add_day(lake, day)

    assert run(lake, instance, DAYS[first]).success
    assert run(lake, instance, DAYS[1 - first]).success
    if first == 1:
        assert stale_dates(lake, DAYS[:2]) == [DAYS[1]]
        assert run(lake, instance, DAYS[1]).success

    assert nights(lake, DAYS[0]) == [FIRST]
    assert nights(lake, DAYS[1]) == [NIGHT, OPEN]


def test_a_session_over_midnight_moves_on_when_the_next_day_comes(lake: Lake, instance: dg.DagsterInstance) -> None:
    add_day(lake, DAYS[0])
    assert run(lake, instance, DAYS[0]).success
    assert nights(lake, DAYS[0]) == [FIRST, OPEN]

    add_day(lake, DAYS[1])
    result = run(lake, instance, DAYS[1])

    assert errors(result) == []
    assert nights(lake, DAYS[0]) == [FIRST]
    assert nights(lake, DAYS[1])[0] == NIGHT


# What is built again


def test_an_answer_that_comes_later_changes_its_day_and_the_day_before(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    add_answer(built, MIDDLE)
    before = infos(built)

    result = run(built, instance, MIDDLE)

    assert result.success
    assert changed(built, before) == [DAYS[1], MIDDLE]
    made = [e.step_materialization_data.materialization for e in result.all_events if e.is_step_materialization]
    assert {one.partition for one in made if one.asset_key.path == ["kpi_daily"]} == {str(DAYS[1]), str(MIDDLE)}
    checked = {one.partition for one in result.get_asset_check_evaluations() if one.asset_key.path == ["kpi_daily"]}
    assert checked == {str(DAYS[1]), str(MIDDLE)}
    assert Inputs(built).is_current(TABLES, DAYS[1])
    assert stale_dates(built, DAYS) == DAYS[3:]


def freeze(lake: Lake, date: dt.date) -> None:
    """One point was frozen all day."""
    start, end = day_bounds(date)
    spans = {
        "source": "chargecloud",
        "feed": "koeln",
        "id_cp": BY_DAY,
        "start_time": start,
        "end_time": end,
        "query_date": date,
        "kind": "part",
        "freeze_start": start,
        "freeze_end": end,
        "expected_changes": 20.0,
        "is_proven_later": True,
        "polls": 48,
    }
    lake.write("frozen_spans", date, table_of("frozen_spans", [spans]), "proven")


def test_a_freeze_that_is_proven_later_takes_the_two_days_before_along(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    freeze(built, DAYS[2])
    before = infos(built)

    assert run(built, instance, DAYS[3], assets=TABLES).success

    assert changed(built, before) == DAYS[1:4]
    hours = built.read("utilization_hourly", DAYS[2])
    assert set(hours.filter(pc.equal(hours["id_cp"].cast("string"), BY_DAY))["unknown_s"].to_pylist()[:23]) == {3600}
    events = [set(built.read("charging_events", day)["id_cp"].to_pylist()) for day in DAYS]
    assert [BY_DAY in ids for ids in events] == [True, True, False, True, True]


def test_nothing_is_built_again_where_nothing_has_changed(built: Lake, instance: dg.DagsterInstance) -> None:
    inodes = {path: path.stat().st_ino for path in (Path(built.uri) / "tables/kpi_daily").iterdir()}

    assert run(built, instance, *DAYS[2:], skip_unchanged=True).success

    assert {path: path.stat().st_ino for path in inodes} == inodes


def test_a_backfill_builds_only_days_that_an_answer_has_changed(built: Lake, instance: dg.DagsterInstance) -> None:
    add_answer(built, DAYS[3])
    before = infos(built)

    assert run(built, instance, *DAYS, skip_unchanged=True).success

    assert changed(built, before) == DAYS[2:]
    assert stale_dates(built, DAYS) == []


def test_today_grows_and_is_made_once_more_when_it_is_over(
    built: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = DAYS[-1] + dt.timedelta(days=1)
    midnight, end = day_bounds(today)
    hours = []
    for number in (3, 10):
        add_day(built, today, hours=number)
        set_clock(monkeypatch, midnight + dt.timedelta(hours=number))
        assert errors(run(built, instance, today)) == []
        hours.append(built.read("utilization_hourly", today).num_rows)
        assert nights(built, DAYS[-1]) == [NIGHT]
    assert hours == [2 * 3, 2 * 10]

    set_clock(monkeypatch, end + dt.timedelta(minutes=5))
    assert stale_dates(built, [today]) == [today]
    assert errors(run(built, instance, today, skip_unchanged=True)) == []

    made = built.read("utilization_hourly", today)
    assert made.num_rows == 2 * 24
    assert set(made["unknown_s"].to_pylist()[10:24]) == {3600}


def test_a_day_between_without_answers_has_no_tables_and_is_reported_with_none(
    raw: Lake, instance: dg.DagsterInstance
) -> None:
    shutil.rmtree(Path(raw.uri) / f"raw/query_date={MIDDLE}")

    result = run(raw, instance, *DAYS)

    assert result.success
    assert raw.partitions("kpi_daily") == [day for day in DAYS if day != MIDDLE]
    assert nights(raw, DAYS[1]) == [NIGHT, OPEN]
    assert nights(raw, DAYS[3])[0] == FIRST


# What must not be read


def spoil(lake: Lake, instance: dg.DagsterInstance, table: str, date: dt.date) -> None:
    """A table says that it is of another day, which its check finds."""
    if table == "frozen_spans":
        freeze(lake, date)
    rewrite(lake, table, date, lambda rows: with_values(rows, "query_date", {0: date - dt.timedelta(days=400)}))
    judge(graph_of(lake), instance, table, date)


@pytest.mark.parametrize("table", ["status_chargingpoints", "frozen_spans", "poll_log", "master_observations"])
def test_a_bad_day_is_refused_by_the_days_that_read_it(built: Lake, instance: dg.DagsterInstance, table: str) -> None:
    spoil(built, instance, table, DAYS[3])
    before = files(built)

    for day in (DAYS[2], DAYS[3], DAYS[4]):  # whose day after, own day or day before it is
        result = run(built, instance, day, assets=TABLES)
        assert not result.success
        assert f"{table} {DAYS[3]}, query_date" in failure(result)

    assert files(built) == before
    assert run(built, instance, DAYS[1], assets=TABLES).success
    assert run(built, instance, DAYS[3]).success  # which mends it
    assert run(built, instance, DAYS[4], assets=TABLES).success


def test_days_that_do_not_read_a_bad_one_are_built_before_the_run_fails(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    spoil(built, instance, "status_chargingpoints", DAYS[4])
    for name in TABLES:
        shutil.rmtree(Path(built.uri) / "tables" / name)

    result = run(built, instance, *DAYS, assets=TABLES)

    assert not result.success
    assert built.partitions("kpi_daily") == DAYS[:3]


# Months and weeks


def test_months_and_weeks_are_made_from_all_days_and_stale_after_a_new_one(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    result = run(built, instance, assets=PERIODS)

    assert errors(result) == []
    months = built.read("kpi_monthly", None)
    city = months.filter(pc.equal(months["scope"].cast("string"), "city")).to_pylist()
    assert [(row["month"], row["days"], row["events"]) for row in city] == [
        (dt.date(2024, 10, 1), 8, 11)
    ]  # to the 31st
    assert built.read("usage_profile", None)["days"].to_pylist() == [1] * built.read("usage_profile", None).num_rows
    assert not set(PERIODS) & set(stale_undated(built, active_days=2))

    add_answer(built, DAYS[4])
    assert run(built, instance, DAYS[4]).success

    assert set(PERIODS) <= set(stale_undated(built, active_days=2))


def test_a_month_is_made_again_as_its_days_go_by_unpolled_and_not_when_it_is_over(built: Lake) -> None:
    def inputs(now: dt.date) -> list[str]:
        time = day_bounds(now)[0]
        return [undated_inputs(built, name, active_days=2, now=time) for name in PERIODS]

    ahead, next_morning, sixth, seventh, later, last = (
        inputs(dt.date(2024, *date)) for date in ((10, 25), (10, 29), (10, 30), (10, 31), (11, 1), (12, 31))
    )
    assert ahead == next_morning, "no day went by unpolled"
    assert len({next_morning[0], sixth[0], seventh[0], later[0]}) == 4
    assert later[0] == last[0]
    assert sixth[1] == last[1], "hours of the week are of what was polled"

    built.write("kpi_daily", dt.date(2024, 12, 30), built.read("kpi_daily", DAYS[0]).slice(0, 0))
    assert inputs(dt.date(2024, 12, 31))[0] == inputs(dt.date(2025, 1, 9))[0], "a day without rows begins no month"


def test_a_day_whose_kpis_are_bad_is_in_no_month(built: Lake, instance: dg.DagsterInstance) -> None:
    assert run(built, instance, assets=PERIODS).success
    before = [built.info(name, None) for name in PERIODS]
    rewrite(built, "kpi_daily", MIDDLE, lambda rows: with_values(rows, "occupied_s", {0: 7}))
    judge(graph_of(built), instance, "kpi_daily", MIDDLE)

    result = run(built, instance, assets=PERIODS)

    assert not result.success
    assert f"kpi_daily {MIDDLE}, sums" in failure(result)
    assert [built.info(name, None) for name in PERIODS] == before


def test_figures_that_were_given_out_are_named_when_a_run_changes_them(
    built: Lake, instance: dg.DagsterInstance
) -> None:
    given_out = make_report(built, "city", DAYS[0], DAYS[-1])
    publish(built, given_out, day_bounds(DAYS[-1])[1])
    charging = answer(location("100", [evse(BY_DAY, "CHARGING"), evse(BY_NIGHT, "CHARGING")]))
    for hour in range(13, 18):  # in which nobody charged, as far as was known
        time = day_bounds(MIDDLE)[0] + dt.timedelta(hours=hour, minutes=10)
        make_raw_poll(built, time, {"koeln": charging}, interval_s=1800)

    result = run(built, instance, MIDDLE)

    assert result.success
    said = [log.user_message for log in instance.all_logs(result.run_id) if log.level == logging.WARNING]
    found = [text for text in said if f"Published report {given_out.provenance.report_id} would be another now" in text]
    assert found, said


def test_the_reports_of_a_month_are_files_and_pictures(
    built: Lake, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGING_ASSETS_HOME", str(tmp_path / "here"))
    job = graph_of(built).resolve_job_def("make_reports")

    result = job.execute_in_process(instance=instance, partition_key="2024-10-01")

    assert result.success
    (made,) = [one for one in result.get_asset_materialization_events() if one.asset_key.path[-1] == "report_by_city"]
    metadata = made.materialization.metadata
    assert made.partition == "2024-10-01"
    assert "data:image/svg+xml;base64," in str(metadata["picture"].value)
    page, workbook = (Path(str(metadata[name].value)) for name in ("page", "workbook"))
    assert str(metadata["report_id"].value) in page.read_text(encoding="utf-8")
    assert workbook.read_bytes().startswith(b"PK")
    assert "station" in {report.question.by for report in built.reports.published()}
