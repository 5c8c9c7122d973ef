"""The health of feeds in the graph: which days are read, and what a bad one among them stops."""

import datetime as dt
import shutil
from pathlib import Path

import dagster as dg
import pytest

from charging_assets.definitions import build_definitions
from charging_assets.defs.resources import LakeResource
from charging_assets.derive.inputs import Inputs
from charging_assets.lake import Lake, PartitionInfo
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.judging import judge, lose_a_row
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll

DAYS = [dt.date(2024, 10, 1) + dt.timedelta(days=number) for number in range(10)]
HEALTH = ("feed_health", "frozen_spans")


def build(graph: dg.Definitions, instance: dg.DagsterInstance, *span: dt.date) -> dg.ExecuteInProcessResult:
    tags = dict(
        zip(
            ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"),
            (span[0].isoformat(), span[-1].isoformat()),
            strict=True,
        )
    )
    job = graph.resolve_job_def("build_query_date")
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def infos(lake: Lake) -> dict[dt.date, PartitionInfo | None]:
    return {day: lake.info("feed_health", day) for day in DAYS}


@pytest.fixture(scope="module")
def built_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All days, built in one run."""
    folder = tmp_path_factory.mktemp("built")
    lake = LakeResource(uri=str(folder / "lake"), home=str(folder / "home"))
    for day in DAYS:
        make_raw_day(lake.open(), day, polls=2)
    with dg.DagsterInstance.ephemeral() as instance:
        assert build(build_definitions({"lake": lake}), instance, *DAYS).success
    return folder


@pytest.fixture
def built(built_folder: Path, lake: Lake, tmp_path: Path) -> Lake:
    """The test's lake, with all days."""
    shutil.copytree(built_folder, tmp_path, dirs_exist_ok=True)
    return lake


def add_answer(lake: Lake, day: dt.date) -> None:
    make_raw_poll(lake, dt.datetime.combine(day, dt.time(12), dt.UTC), {"koeln": city(2, name="koeln")})


def test_building_a_day_derives_the_day_before_again_and_says_so(
    built: Lake, graph: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    add_answer(built, DAYS[5])
    before = infos(built)

    result = build(graph, instance, DAYS[5])

    assert [day for day in DAYS if infos(built)[day] != before[day]] == [DAYS[4], DAYS[5]]
    assert Inputs(built).is_current(HEALTH, DAYS[4])
    made = [
        event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization
    ]
    assert {one.partition for one in made if one.asset_key.path == ["feed_health"]} == {str(DAYS[4]), str(DAYS[5])}
    checked = {one.partition for one in result.get_asset_check_evaluations() if one.asset_key.path == ["feed_health"]}
    assert checked == {str(DAYS[4]), str(DAYS[5])}


def test_a_bad_day_is_not_read_for_the_day_before_either(
    built: Lake, graph: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    lose_a_row(built, "status_chargingpoints", DAYS[0])
    judge(graph, instance, "status_chargingpoints", DAYS[0])
    add_answer(built, DAYS[8])
    before = infos(built)

    result = build(graph, instance, DAYS[8])  # reads from the second day on; for the day before, from the first

    assert result.success
    assert [day for day in DAYS if infos(built)[day] != before[day]] == [DAYS[8]]


def test_a_bad_day_holds_back_only_the_days_that_read_it(
    built: Lake, graph: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    lose_a_row(built, "status_chargingpoints", DAYS[0])
    judge(graph, instance, "status_chargingpoints", DAYS[0])
    for day in DAYS[6:]:
        add_answer(built, day)
    before = infos(built)

    result = build(graph, instance, *DAYS[6:])

    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert f"status_chargingpoints {DAYS[0]}, rows_against_raw" in str(failure.step_failure_data.user_failure_data)
    assert [day for day in DAYS if infos(built)[day] != before[day]] == DAYS[8:]

    assert build(graph, instance, DAYS[0]).success  # which mends it
    assert build(graph, instance, *DAYS[6:]).success
