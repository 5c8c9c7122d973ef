"""A station of the captured answer is renamed, upgraded and taken away: what the graph makes of it."""

import datetime as dt
import json
import random
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.defs.assets.dimensions import DIMENSIONS
from charging_assets.lake import Lake
from charging_assets_tests.raw_days import make_raw_poll

DAYS = [dt.date(2026, 3, 24) + dt.timedelta(days=number) for number in range(8)]
"""The clocks go forward on the sixth."""

STATION, POINT, PLUG = 493558, "DE*STR*E10001*001", "189797559"
OBSERVED, MADE = [dg.AssetKey("master_observations")], [dg.AssetKey(name) for name in DIMENSIONS]
POLLS = (dt.timedelta(hours=8), dt.timedelta(hours=20))


def polls(date: dt.date) -> list[dt.datetime]:
    return [day_bounds(date)[0] + after for after in POLLS]


def answer_on(day: int, real_answer: bytes) -> bytes:
    """The captured answer as it would be on the `day`th of `DAYS`, counted from 1."""
    answer = json.loads(real_answer)
    station = next(each for each in answer["data"] if each["id"] == str(STATION))
    if day >= 2:
        station["name"] = "Neuer Name "
    if day >= 4:
        station["evses"][0]["connectors"][0] |= {"max_power": 50, "power_type": "DC", "ampere": "125"}
    if day >= 6:
        answer["data"].remove(station)
    station["evses"][0]["reservable"] = day % 2 == 0
    return json.dumps(answer).encode()


def history(lake: Lake, table: str, column: str, value: object) -> list[dict[str, Any]]:
    rows: pa.Table = lake.read(table, None)
    return rows.filter(pc.equal(rows[column], pa.scalar(value, rows[column].type))).to_pylist()  # type: ignore[no-any-return]


def test_all_tables_are_made_from_a_captured_answer(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, real_answer: bytes
) -> None:
    for day, date in enumerate(DAYS[:2], start=1):
        for time in polls(date):
            make_raw_poll(lake, time, {"SW-Stuttgart": answer_on(day, real_answer)})
        build = graph.resolve_job_def("build_query_date")
        assert build.execute_in_process(instance=instance, partition_key=date.isoformat()).success

    assert graph.resolve_job_def("refresh_dimensions").execute_in_process(instance=instance).success

    assert lake.read("status_chargingpoints", DAYS[1]).num_rows == 523 * len(POLLS)
    assert lake.read("kpi_daily", DAYS[1]).num_rows > 523
    assert lake.read("charging_point", None).num_rows == 523


@pytest.mark.parametrize("order", ["in order", "backwards", "the middle last"])
def test_versions_have_the_right_bounds_in_whichever_order_days_are_built(
    graph: dg.Definitions, lake: Lake, instance: dg.DagsterInstance, real_answer: bytes, order: str
) -> None:
    for day, date in enumerate(DAYS, start=1):
        for time in polls(date):
            make_raw_poll(lake, time, {"SW-Stuttgart": answer_on(day, real_answer)})
    dates = {"in order": DAYS, "backwards": DAYS[::-1], "the middle last": [*DAYS[:2], *DAYS[4:], *DAYS[2:4]]}[order]
    build, refresh = (graph.resolve_job_def(job) for job in ("build_query_date", "refresh_dimensions"))
    for date in dates:
        key = date.isoformat()
        assert build.execute_in_process(instance=instance, partition_key=key, asset_selection=OBSERVED).success
        if random.Random(order + str(date)).random() < 0.3:  # in between it makes no difference either
            refresh.execute_in_process(instance=instance, asset_selection=MADE)

    assert refresh.execute_in_process(instance=instance, asset_selection=MADE).success

    first, second, fourth, fifth = (polls(DAYS[number]) for number in (0, 1, 3, 4))
    stations = history(lake, "charging_station_history", "id_cs", STATION)
    told = ("name", "valid_from", "valid_to", "is_current", "changed_columns")
    assert [tuple(row[name] for name in told) for row in stations] == [
        ("Affalterstr. 9 LADE / 341-N-01", first[0], second[0], False, None),
        ("Neuer Name", second[0], None, True, "name"),
    ]
    plugs = history(lake, "connector_history", "id_connector", PLUG)
    told = ("max_power", "power_type", "power_class", "valid_from", "valid_to", "is_current", "changed_columns")
    assert [tuple(row[name] for name in told) for row in plugs] == [
        (22, "AC_3_PHASE", "AC 11-22", first[0], fourth[0], False, None),
        (50, "DC", "DC 0-50", fourth[0], None, True, "power_type,ampere,max_power,power_class"),
    ]
    points = history(lake, "charging_point_history", "id_cp", POINT)
    assert [(row["power_class"], row["valid_from"]) for row in points] == [
        ("AC 11-22", first[0]),
        ("DC 0-50", fourth[0]),
    ]
    for table, column, value in (
        ("charging_station", "id_cs", STATION),
        ("charging_point", "id_cp", POINT),
        ("connector", "id_connector", PLUG),
    ):
        (now,) = history(lake, table, column, value)
        assert (now["first_seen"], now["last_seen"], now["is_active"]) == (first[0], fifth[-1], False)
        everything = lake.read(table, None)
        assert everything["is_active"].to_pylist().count(True) == everything.num_rows - {"charging_station": 1}.get(
            table, 2
        )
