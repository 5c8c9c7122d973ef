"""Every check fails for what it is there for, and only then."""

import datetime as dt
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.derive.occupancy.day import TABLES
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake, PartitionKey, StoredPartition
from charging_assets.model.tables import METADATA
from charging_assets.quality.checks import CHECKS, check_day, check_undated, is_per_date
from charging_assets.quality.verdict import Verdict
from charging_assets_tests.chargecloud_answers import answer, city, evse, location
from charging_assets_tests.osm_features import put_refresh
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll
from charging_assets_tests.sound_lake import (
    DAY,
    DAY_BEFORE,
    FROZEN_DAY,
    NOW,
    TODAY,
    WEEK_BEFORE,
    add_occupancy,
    feed_health,
    rewrite,
    table_of,
    with_values,
)

NIGHT = dt.timedelta(days=1)
ALWAYS_FAILING = {(FROZEN_DAY, "feed_health", "frozen_feeds"), (FROZEN_DAY, "kpi_daily", "coverage")}
"""The sound lake has a frozen feed and a day that is hardly observed, and is told so."""


def verdicts(lake: Lake, key: PartitionKey, now: dt.datetime = NOW) -> dict[tuple[str, str], Verdict]:
    findings = check_undated(lake, now=now) if key is None else check_day(lake, key, now=now)
    return {(finding.check.table, finding.check.name): finding.verdict for finding in findings}


def failing(lake: Lake) -> set[tuple[PartitionKey, str, str]]:
    """What fails on the days that are damaged, and of the undated tables."""
    return {
        (key, *check)
        for key in (DAY, FROZEN_DAY, None)
        for check, verdict in verdicts(lake, key).items()
        if not verdict.passed
    }


# Ways to damage a partition: (table, partition, how). Each is what one check is there for.


Change = Callable[[pa.Table], pa.Table]
Damage = Callable[[Lake], None]


def put(table: str, key: PartitionKey, column: str, values: dict[int, Any]) -> Damage:
    return lambda lake: rewrite(lake, table, key, lambda rows: with_values(rows, column, values))


def shift(table: str, key: PartitionKey, column: str, by: dt.timedelta, row: int = 0) -> Damage:
    """Other times, in one row, than there were."""
    return lambda lake: rewrite(
        lake, table, key, lambda rows: with_values(rows, column, {row: rows[column][row].as_py() + by})
    )


def change(table: str, key: PartitionKey, how: Change) -> Damage:
    return lambda lake: rewrite(lake, table, key, how)


def both(*damages: Damage) -> Damage:
    def damage(lake: Lake) -> None:
        for each in damages:
            each(lake)

    return damage


def swap_first_two(rows: pa.Table) -> pa.Table:
    return rows.take([1, 0, *range(2, rows.num_rows)])


def next_day(rows: pa.Table) -> pa.Table:
    later = rows["query_date"][0].as_py() + dt.timedelta(days=1)
    return with_values(rows, "query_date", dict.fromkeys(range(rows.num_rows), later))


def without_last_column(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(rows.column_names[-1])


def misplaced_raw_file(lake: Lake) -> None:
    source = next(Path(lake.uri, f"raw/query_date={TODAY}").glob("*.parquet"))
    shutil.copy(source, Path(lake.uri, f"raw/query_date={DAY}", source.name))


def torn_raw_file(lake: Lake) -> None:
    path = next(Path(lake.uri, f"raw/query_date={DAY}").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])


def silence(lake: Lake) -> None:
    shutil.rmtree(Path(lake.uri, f"raw/query_date={TODAY}"))


def more_rejected(lake: Lake) -> None:
    """A hundred connectors of an answer below a broken EVSE: the day still balances."""
    for column in ("connectors_in", "connectors_rejected"):
        rewrite(lake, "poll_log", DAY, lambda rows, column=column: _plus(rows, column, 100))
    rewrite(lake, "rejected_records", DAY, lambda rows: _plus(rows, "connectors_lost", 100))


def _plus(rows: pa.Table, column: str, more: int, row: int = 0) -> pa.Table:
    return with_values(rows, column, {row: rows[column][row].as_py() + more})


def half(rows: pa.Table) -> pa.Table:
    return rows.slice(0, rows.num_rows // 2)


def swapped_coordinates(table: str, key: PartitionKey, row: int = -1) -> Damage:
    return both(put(table, key, "longitude", {row: 48.8}), put(table, key, "latitude", {row: 9.1}))


def failed_refresh(lake: Lake) -> None:
    put_refresh(lake, "bonn", at=NOW - NIGHT, outcome="failed", reason="HTTP 504 after 3 attempts")


def vanished(category: str) -> Change:
    """The last refresh lacks one category."""

    def change(rows: pa.Table) -> pa.Table:
        is_of_it = [of == category and city == "bonn" for of, city in zip(*_columns(rows), strict=True)]
        return with_values(rows, "is_current", {row: False for row, is_one in enumerate(is_of_it) if is_one})

    return change


def _columns(rows: pa.Table) -> tuple[list[str], list[str]]:
    return rows["poi_category"].to_pylist(), rows["city"].to_pylist()


def without_tag(key: str, value: str) -> Change:
    """Points that have the tag get another one."""

    def change(rows: pa.Table) -> pa.Table:
        tags = rows["tags"].to_pylist()
        return with_values(
            rows, "tags", {row: "{}" for row, text in enumerate(tags) if json.loads(text) == {key: value}}
        )

    return change


def without_station(rows: pa.Table) -> pa.Table:
    """All rows but those of the first station."""
    return rows.filter(pc.not_equal(rows["id_cs"], rows["id_cs"][0]))


def of_other_facts(how: Change) -> Damage:
    """The tables of occupancy, all of them, as they would be of other facts and polls of the day."""

    def damage(lake: Lake) -> None:
        folder = Path(lake.uri).parent / "other"
        shutil.copytree(lake.uri, folder)
        other = Lake(str(folder), folder)
        for name in ("poll_log", "status_chargingpoints"):
            rewrite(other, name, DAY, how)
        add_occupancy(other)
        for table in (*TABLES, "kpi_monthly", "usage_profile"):
            for key in other.partitions(table) if table in TABLES else [None]:
                shutil.copy(other.location(table, key), lake.location(table, key))

    return damage


def first_poll(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["query_time"], pc.min(rows["query_time"])))


def nobody_charges(rows: pa.Table) -> pa.Table:
    if "status_cp" not in rows.column_names:
        return rows
    every = range(rows.num_rows)
    rows = with_values(rows, "status_cp", dict.fromkeys(every, "AVAILABLE"))
    return with_values(rows, "status_class", dict.fromkeys(every, "free"))


_UNDATED = tuple(name for name in METADATA.tables if not METADATA.tables[name].info["dated"] and name != "raw_pois")
_DATED = tuple(name for name in METADATA.tables if name not in _UNDATED and name not in ("raw_snapshots", "raw_pois"))
_KEYS: dict[str, PartitionKey] = {**dict.fromkeys(_DATED, DAY), **dict.fromkeys(_UNDATED), "frozen_spans": FROZEN_DAY}

UNSAMPLED = 1
"""A row of the mapping that is not measured again, and a station whose rows are not."""

FROZEN_INTERVAL = 1
"""A row of `status_intervals` that is no observation."""

_NOT_NULL = {
    "status_chargingpoints": "source",
    "status_connectors": "source",
    "poll_log": "is_truncated",
    "rejected_records": "excerpt",
    "master_observations": "polls",
    "current_status": "is_since_exact",
    "charging_station": "is_active",
    "charging_point": "is_active",
    "connector": "is_active",
    "charging_station_history": "source",
    "charging_point_history": "source",
    "connector_history": "source",
    "time": "is_dst",
    "public_holiday": "name",
    "feed_health": "changes",
    "frozen_spans": "is_proven_later",
    "poi": "source",
    "rejected_pois": "is_used",
    "poi_refresh_log": "is_used",
    "mapping_poi_cs": "rank_in_category",
    "station_poi_features": "count_50m",
    "status_intervals": "is_single_poll",
    "charging_events": "is_single_poll",
    "utilization_hourly": "source",
    "kpi_daily": "stations",
    "kpi_monthly": "days",
    "usage_profile": "days",
    "poi_effect": "reference",
}
_OUT_OF_BOUNDS: dict[str, tuple[str, dict[int, Any]]] = {
    "poll_log": ("attempts", {0: -1}),
    "rejected_records": ("connectors_lost", {0: -1, 1: 1}),
    "current_status": ("age_s", {0: -5}),
    "master_observations": ("ampere", {0: -32}),
    "charging_point": ("max_power", {0: -22}),
    "connector": ("ampere", {0: -32}),
    "charging_station_history": ("longitude", {0: 190.0}),
    "charging_point_history": ("max_power", {0: -22}),
    "connector_history": ("voltage", {0: -400}),
    "time": ("hour", {0: 24}),
    "feed_health": ("unknown_share", {0: 1.5}),
    "frozen_spans": ("polls", {0: -1}),
    "poi_refresh_log": ("features", {0: -1}),
    "mapping_poi_cs": ("radius_m", {UNSAMPLED: -30.0}),
    "station_poi_features": ("nearest_m", {0: -1.0}),
    "status_intervals": ("n_polls", {0: -1}),
    "charging_events": ("energy_kwh_low", {0: 21.0}),
    "kpi_daily": ("station_polls_full", {0: 1000}),
    "kpi_monthly": ("uptime_12m", {0: 1.1}),
    "usage_profile": ("days", {0: -1}),
    "poi_effect": ("rate_ratio_low", {0: 1.5}),
}
_NOT_ACCEPTED: dict[str, tuple[str, dict[int, Any]]] = {
    "status_chargingpoints": ("status_class", {7: "busy"}),
    "status_connectors": ("status_class", {7: "busy"}),
    "poll_log": ("outcome", {0: "great"}),
    "rejected_records": ("level", {0: "plug"}),
    "master_observations": ("power_class", {0: "AC 0-99"}),
    "current_status": ("status_class", {0: "busy"}),
    "charging_point": ("power_class", {0: "AC 0-99"}),
    "connector": ("power_class", {0: "AC 0-99"}),
    "charging_point_history": ("power_class", {0: "AC 0-99"}),
    "connector_history": ("power_class", {0: "AC 0-99"}),
    "public_holiday": ("state", {-1: "XX"}),
    "feed_health": ("freeze_kind", {0: "slush"}),
    "frozen_spans": ("kind", {0: "slush"}),
    "poi_refresh_log": ("outcome", {0: "great"}),
    "status_intervals": ("status_class", {FROZEN_INTERVAL: "busy"}),
    "charging_events": ("power_class", {0: "AC 0-99"}),
    "utilization_hourly": ("power_class", {1: "AC 0-99"}),
    "kpi_daily": ("power_class", {-1: "AC 0-99"}),
    "kpi_monthly": ("power_class", {-1: "AC 0-99"}),
    "usage_profile": ("scope", {-1: "zone"}),
    "poi_effect": ("family", {0: "gauss"}),
}

DAMAGES: dict[tuple[str, str], Damage] = {
    **{(name, "schema"): change(name, _KEYS[name], without_last_column) for name in _KEYS},
    **{(name, "keys"): change(name, _KEYS[name], swap_first_two) for name in _KEYS},
    **{(name, "not_null"): put(name, _KEYS[name], column, {0: None}) for name, column in _NOT_NULL.items()},
    **{(name, "query_date"): change(name, _KEYS[name], next_day) for name in _DATED},
    **{(name, "bounds"): put(name, _KEYS[name], *values) for name, values in _OUT_OF_BOUNDS.items()},
    **{
        (name, "accepted_values"): put(name, FROZEN_DAY if name == "feed_health" else _KEYS[name], *values)
        for name, values in _NOT_ACCEPTED.items()
    },
    ("charging_station", "bounds"): shift("charging_station", None, "last_seen", -30 * NIGHT),
    ("raw_snapshots", "schema"): torn_raw_file,
    ("raw_snapshots", "query_date"): misplaced_raw_file,
    ("raw_snapshots", "freshness"): silence,
    ("status_chargingpoints", "known_words"): put("status_chargingpoints", DAY, "status_cp", {3: "ON FIRE"}),
    ("status_connectors", "known_words"): put("status_connectors", DAY, "status_connector", {3: "ON FIRE"}),
    ("master_observations", "known_words"): put("master_observations", DAY, "format", {0: "BUCKET"}),
    ("poll_log", "rows_against_raw"): put("poll_log", DAY, "sha256", {0: "0" * 64}),
    ("poll_log", "balance"): change("poll_log", DAY, lambda rows: _plus(rows, "evses_in", 1)),
    ("poll_log", "new_keys"): both(
        put("poll_log", DAY, "unknown_keys", {0: 2}), put("poll_log", DAY, "unknown_key_names", {0: "evse.shade"})
    ),
    ("poll_log", "vanished_keys"): put("poll_log", DAY, "absent_key_names", dict.fromkeys(range(6), "evse.status")),
    ("status_chargingpoints", "rows_against_raw"): change("status_chargingpoints", DAY, lambda rows: rows.slice(1)),
    ("status_connectors", "rows_against_raw"): change("status_connectors", DAY, lambda rows: rows.slice(1)),
    ("status_chargingpoints", "references"): put(
        "status_chargingpoints", DAY, "id_chargingpoint", dict.fromkeys((-3, -2, -1), "~nobody")
    ),
    ("status_connectors", "references"): put(
        "status_connectors", DAY, "id_connector", dict.fromkeys((-3, -2, -1), "~nobody")
    ),
    ("status_chargingpoints", "volume"): change("status_chargingpoints", WEEK_BEFORE, half),
    ("status_connectors", "volume"): change("status_connectors", WEEK_BEFORE, half),
    ("rejected_records", "rows_against_raw"): change("rejected_records", DAY, lambda rows: rows.slice(1)),
    ("rejected_records", "rejected_share"): more_rejected,
    ("master_observations", "rows_against_raw"): shift(
        "master_observations", DAY, "first_seen", dt.timedelta(seconds=1)
    ),
    ("master_observations", "references"): put("master_observations", DAY, "id_cp", {0: "nobody"}),
    ("master_observations", "coordinates"): swapped_coordinates("master_observations", DAY),
    ("feed_health", "completeness"): put("feed_health", DAY, "polls_answered", {0: 1}),
    ("feed_health", "feeds_alive"): put("feed_health", DAY, "state", {0: "gone"}),
    ("feed_health", "frozen_feeds"): put("feed_health", DAY, "freeze_kind", {0: "whole"}),
    ("frozen_spans", "references"): change("frozen_spans", FROZEN_DAY, lambda rows: rows.slice(1)),
    ("charging_station", "coordinates"): swapped_coordinates("charging_station", None, UNSAMPLED),
    ("charging_point", "references"): put("charging_point", None, "id_cs", {0: 999_999}),
    ("connector", "references"): put("connector", None, "id_cp", {0: "nobody"}),
    **{
        (f"{name}_history", "history"): put(f"{name}_history", None, "is_current", {0: False})
        for name in ("charging_station", "charging_point", "connector")
    },
    **{
        (f"{name}_history", "references"): change(f"{name}_history", None, lambda rows: rows.slice(1))
        for name in ("charging_station", "charging_point", "connector")
    },
    ("time", "references"): change("time", None, lambda rows: rows.slice(3)),
    ("raw_pois", "refreshes"): failed_refresh,
    ("poi", "bounds"): shift("poi", None, "first_seen", 60 * NIGHT),
    ("poi", "coordinates"): swapped_coordinates("poi", None),
    ("poi", "counts"): change("poi", None, vanished("parking_transit")),
    ("poi", "tags"): change("poi", None, without_tag("shop", "trade")),
    ("mapping_poi_cs", "references"): put("mapping_poi_cs", None, "id_poi", {0: "area/1"}),
    ("mapping_poi_cs", "distances"): put("mapping_poi_cs", None, "distance_m", {0: 29.0}),
    ("station_poi_features", "stations"): change("station_poi_features", None, without_station),
    ("status_intervals", "overlaps"): shift(
        "status_intervals", DAY, "start_time", -dt.timedelta(seconds=1), FROZEN_INTERVAL
    ),
    ("charging_events", "overlaps"): change("charging_events", DAY, lambda rows: _plus(rows, "duration_s", 60)),
    ("charging_events", "one_day"): lambda lake: rewrite(
        lake, "charging_events", DAY_BEFORE, lambda _: lake.read("charging_events", DAY)
    ),
    ("charging_events", "suspicious_events"): put(
        "charging_events", DAY, "is_suspicious", dict.fromkeys(range(5), True)
    ),
    # Another hour of the same point makes up for it: the point has as many seconds of each kind.
    ("utilization_hourly", "bounds"): both(
        put("utilization_hourly", DAY, "fault_s", {0: -1, 1: 1}),
        put("utilization_hourly", DAY, "free_s", {0: 3601, 1: 3599}),
    ),
    ("utilization_hourly", "hours"): put("utilization_hourly", DAY, "hour_local", {0: 23}),
    ("utilization_hourly", "intervals"): change("status_intervals", DAY, lambda rows: _plus(rows, "gap_s", 60)),
    ("utilization_hourly", "references"): put("utilization_hourly", DAY, "id_cs", dict.fromkeys(range(1, 100, 24))),
    ("kpi_daily", "sums"): change("kpi_daily", DAY, lambda rows: _plus(rows, "events", 1, -1)),
    ("kpi_daily", "coverage"): of_other_facts(first_poll),
    ("kpi_daily", "utilization"): of_other_facts(nobody_charges),
    ("kpi_monthly", "sums"): change("kpi_monthly", None, lambda rows: _plus(rows, "events", 1)),
    ("usage_profile", "sums"): change("usage_profile", None, lambda rows: _plus(rows, "occupied_s", 60)),
}


def test_there_is_a_damage_for_every_check_and_a_check_for_every_damage() -> None:
    checks = [(check.table, check.name) for check in CHECKS]

    assert sorted(checks) == sorted(DAMAGES)
    assert {table for table, _ in checks} == set(METADATA.tables)


def test_a_sound_lake_passes_every_check_and_a_frozen_feed_is_told(sound: Lake) -> None:
    assert failing(sound) == ALWAYS_FAILING


@pytest.mark.parametrize("check", DAMAGES, ids="-".join)
def test_a_damage_is_found_by_exactly_its_check(check: tuple[str, str], sound: Lake) -> None:
    DAMAGES[check](sound)

    new = failing(sound) - ALWAYS_FAILING

    assert {(table, name) for _, table, name in new} == {check}
    key = next(iter(new))[0]
    verdict = verdicts(sound, key)[check]
    assert verdict.sentence.endswith((".", "?"))
    assert any(character.isdigit() for character in verdict.sentence) or verdict.examples or check[1] == "schema"


def test_sentences_of_passing_checks_state_their_figures(sound: Lake) -> None:
    said = {**verdicts(sound, DAY), **verdicts(sound, None)}

    for check, verdict in said.items():
        assert verdict.figures, check
        assert any(character.isdigit() for character in verdict.sentence), check
    assert (
        said["status_chargingpoints", "keys"].sentence
        == "756 rows, keys (id_chargingpoint, query_time) unique and sorted."
    )
    assert said["poll_log", "rows_against_raw"].sentence == "6 rows for 6 distinct raw answers."


# What they say


def test_a_new_status_word_is_listed_with_its_count_and_where_it_is(sound: Lake) -> None:
    put("status_chargingpoints", DAY, "status_cp", dict.fromkeys(range(3), "ON FIRE"))(sound)

    verdict = verdicts(sound, DAY)["status_chargingpoints", "known_words"]

    assert verdict.sentence == (
        "1 new word: status_cp 'ON FIRE': 3 rows, first (DE*BN*E000, 2026-03-10 23:00:00+00:00)."
    )
    assert verdict.severity == "warn"
    assert verdict.figures["status_cp ON FIRE"] == 3


def test_stations_abroad_swapped_and_unset_are_told_apart(sound: Lake) -> None:
    def move(rows: pa.Table) -> pa.Table:
        rows = with_values(rows, "longitude", {0: 2.35, 1: 48.8, 2: 0.0, 3: None})
        return with_values(rows, "latitude", {0: 48.9, 1: 9.1, 2: 0.0})

    rewrite(sound, "charging_station", None, move)

    assert verdicts(sound, None)["charging_station", "coordinates"].sentence == (
        "3 outside of Germany of 252 stations, 1 without coordinates: 1000 at 48.9 N 2.35 E, "
        "1001 at 9.1 N 48.8 E (swapped), 1002 at 0 N 0 E (unset)."
    )


def test_a_missing_file_fails_where_there_is_something_to_make_it_from(sound: Lake) -> None:
    Path(sound.location("poll_log", DAY)).unlink()

    said = verdicts(sound, DAY)

    assert said["poll_log", "schema"].sentence == (
        "There is no file of poll_log, though raw_snapshots has 6 rows: build it."
    )
    assert [check for check, verdict in said.items() if not verdict.passed] == [("poll_log", "schema")]
    assert said["status_connectors", "volume"].sentence == "Not judged without poll_log: has no file"


def test_a_date_without_raw_answers_has_nothing_to_fail(sound: Lake) -> None:
    said = verdicts(sound, dt.date(2026, 2, 1))

    assert all(verdict.passed for verdict in said.values())


def test_an_unreadable_file_is_told_and_nothing_raises(sound: Lake) -> None:
    Path(sound.location("status_connectors", DAY)).write_bytes(b"not Parquet")

    said = verdicts(sound, DAY)

    assert [check for check, verdict in said.items() if not verdict.passed] == [("status_connectors", "schema")]
    assert "cannot be read" in said["status_connectors", "schema"].sentence


def test_columns_in_another_order_and_of_another_type_are_named(sound: Lake) -> None:
    def reorder(rows: pa.Table) -> pa.Table:
        return rows.select(list(reversed(rows.column_names)))

    rewrite(sound, "time", None, reorder)
    rewrite(sound, "public_holiday", None, lambda rows: rows.set_column(2, "name", pa.array(range(rows.num_rows))))

    said = verdicts(sound, None)

    assert "has its columns in the order is_dst, minute_of_week" in said["time", "schema"].sentence
    assert "has int64 in name, where string is declared" in said["public_holiday", "schema"].sentence


def test_answers_that_came_since_a_day_was_built_are_told_but_do_not_fail_it(sound: Lake) -> None:
    make_raw_poll(sound, day_bounds(DAY)[0] + dt.timedelta(minutes=30), {"bonn": city(3)})

    verdict = verdicts(sound, DAY)["poll_log", "rows_against_raw"]

    assert verdict.passed
    assert verdict.sentence == "6 rows for as many raw answers; 1 came since: build it again."


def test_raw_answers_that_are_gone_are_told_and_hold_nothing_back(sound: Lake) -> None:
    next(Path(sound.uri, f"raw/query_date={DAY}").glob("*.parquet")).unlink()

    verdict = verdicts(sound, DAY)["poll_log", "rows_against_raw"]

    assert (verdict.passed, verdict.severity) == (False, "warn")
    assert verdict.sentence.startswith(
        "2 answers of it are no longer among the raw ones, restore them: bonn at 2026-03-1"
    )


def test_tables_of_a_day_that_were_made_from_different_answers_are_found(sound: Lake) -> None:
    make_raw_poll(sound, day_bounds(DAY)[0], {"kiel": b"no JSON"})
    sound.publish(flatten_day(sound, DAY, ["poll_log"])["poll_log"])

    said = verdicts(sound, DAY)

    assert {check for check, verdict in said.items() if not verdict.passed} == {
        (table, "rows_against_raw")
        for table in ("status_chargingpoints", "status_connectors", "rejected_records", "master_observations")
    }
    assert "different raw answers" in said["status_connectors", "rows_against_raw"].sentence


def test_a_feed_with_broken_records_is_named_with_the_reasons(lake: Lake) -> None:
    start, _ = day_bounds(DAY)
    nameless = {**evse(None, connectors=[]), "uid": None}
    make_raw_poll(lake, start, {"kiel": answer(location("1", [evse("E1"), nameless])), "bonn": city(50)})
    for staged in flatten_day(lake, DAY).values():
        lake.publish(staged)

    verdict = verdicts(lake, DAY)["rejected_records", "rejected_share"]

    assert verdict.severity == "error"
    assert "kiel: 1 of evses, 50.0%" in verdict.sentence
    assert "neither a usable id" in verdict.sentence
    assert "bonn" not in verdict.sentence


def test_days_of_23_hours_and_days_that_have_just_begun_do_not_alarm_the_volume(lake: Lake) -> None:
    spring = dt.date(2026, 3, 29)
    for date, polls in ((dt.date(2026, 3, 22), 24), (spring, 23), (dt.date(2026, 4, 5), 2)):
        make_raw_day(lake, date, polls=polls, points=1, interval_s=3600)
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)

    for date in (spring, dt.date(2026, 4, 5)):
        verdict = verdicts(lake, date)["status_chargingpoints", "volume"]
        assert verdict.passed
        assert verdict.figures["change"] == 0
        assert "2026-03-22" in verdict.sentence


def test_a_backfill_of_an_old_day_does_not_make_a_lake_look_fresh(sound: Lake) -> None:
    silence(sound)
    assert not verdicts(sound, None)["raw_snapshots", "freshness"].passed

    make_raw_day(sound, dt.date(2025, 1, 1))

    verdict = verdicts(sound, None)["raw_snapshots", "freshness"]
    assert not verdict.passed
    assert verdict.sentence == (
        "The newest answer is of 2026-03-11 23:20:00+00:00, 1 day, 0:05:00 ago, at one poll every 0:10:00: "
        "is the poller running?"
    )


def test_answers_of_a_clock_that_runs_ahead_do_not_make_a_lake_look_fresh(sound: Lake) -> None:
    silence(sound)
    make_raw_day(sound, dt.date(2031, 1, 1))

    assert not verdicts(sound, None)["raw_snapshots", "freshness"].passed


def test_today_is_complete_as_far_as_it_has_gone(sound: Lake) -> None:
    noon = day_bounds(TODAY)[0] + dt.timedelta(hours=12)
    sound.write("feed_health", TODAY, feed_health(TODAY, 0))
    rewrite(sound, "feed_health", TODAY, lambda rows: with_values(rows, "polls_planned", {0: 72, 1: 72}))
    rewrite(sound, "feed_health", TODAY, lambda rows: with_values(rows, "polls_answered", {0: 70, 1: 72}))

    verdict = verdicts(sound, TODAY, now=noon)["feed_health", "completeness"]

    assert verdict.passed
    assert verdict.sentence.startswith("142 of 144 planned polls of living feeds answered (98.6%)")


def test_reasons_of_gone_feeds_are_cut_within_their_quotes(sound: Lake) -> None:
    healthy = feed_health(DAY, 0).to_pylist()[0] | {"state": "gone", "polls_answered": 0}
    unresolved = "no connection to new-poi.chargecloud.de:443: the name cannot be resolved after 4 attempts"
    failures = {
        "kiel": {unresolved: 144},
        "roth": {"x" * 121: 3, 'no "data"': 2, "HTTP 404": 1},
    }
    rows = [{**healthy, "feed": feed, "failures": json.dumps(found)} for feed, found in failures.items()]
    sound.write("feed_health", DAY, table_of("feed_health", rows))

    assert verdicts(sound, DAY)["feed_health", "feeds_alive"].sentence == (
        f'2 of 2 feeds gave no location: kiel is gone ("{unresolved}": 144), '
        f'roth is gone ("{"x" * 119}…": 3, "no "data"": 2 and 1 more).'
    )


def test_failing_gappy_gone_and_frozen_feeds_are_named(sound: Lake) -> None:
    healthy = feed_health(DAY, 0).to_pylist()[0]
    start, end = day_bounds(DAY)
    odd: Sequence[dict[str, Any]] = [
        {"feed": "calw", "polls_planned": 144, "polls_answered": 100, "polls_failed": 44},
        {"feed": "hof", "polls_planned": 144, "polls_answered": 138, "longest_gap_s": 4200},
        {"feed": "kiel", "state": "gone", "polls_answered": 0, "failures": '{"HTTP 404": 144}'},
        {"feed": "roth", "state": "empty", "polls_answered": 0},
        {"feed": "solingen", "polls_planned": 144, "polls_answered": 144}
        | {"freeze_kind": "mass_reset", "freeze_start": start, "freeze_end": end, "frozen_points": 70},
    ]
    sound.write("feed_health", DAY, table_of("feed_health", [{**healthy, **row} for row in odd]))

    said = verdicts(sound, DAY)

    assert said["feed_health", "completeness"].sentence == (
        "382 of 432 planned polls of living feeds answered (88.4%); calw answered 100 of 144, longest gap 0:10:00, "
        "hof answered 138 of 144, longest gap 1:10:00."
    )
    assert said["feed_health", "feeds_alive"].sentence == (
        '2 of 5 feeds gave no location: kiel is gone ("HTTP 404": 144), roth is empty.'
    )
    assert said["feed_health", "frozen_feeds"].sentence == (
        "1 feed frozen, so their status is no observation: solingen (mass reset, 70 of 250 points) from "
        "2026-03-10 23:00:00+00:00 to 2026-03-11 23:00:00+00:00."
    )


@pytest.mark.parametrize(
    ("valid_to_by", "fault"),
    [
        (dt.timedelta(seconds=60), "overlaps the next version"),
        (-dt.timedelta(seconds=60), "ends before the next version begins"),
    ],
)
def test_versions_that_overlap_or_leave_a_gap_are_named(sound: Lake, valid_to_by: dt.timedelta, fault: str) -> None:
    ids = sound.read("charging_station_history", None)["id_cs"].to_pylist()
    (renamed,) = [id_ for id_, versions in Counter(ids).items() if versions == 2]
    shift("charging_station_history", None, "valid_to", valid_to_by, row=ids.index(renamed))(sound)

    verdict = verdicts(sound, None)["charging_station_history", "history"]

    assert not verdict.passed
    assert f"{renamed} from 2026-03-03 23:00:00+00:00 {fault}" in verdict.sentence


# How they read


class CountingLake(Lake):
    """Counts how often each partition is read."""

    def stored(self, table: str, key: PartitionKey) -> StoredPartition | None:
        self.reads = getattr(self, "reads", Counter())
        self.reads[table, key] += 1
        return super().stored(table, key)


def test_each_table_of_a_day_is_read_once_for_all_its_checks(sound: Lake, tmp_path: Path) -> None:
    counting = CountingLake(sound.uri, tmp_path)

    check_day(counting, DAY, now=NOW)

    assert set(counting.reads.values()) == {1}
    assert {table for table, key in counting.reads if key == DAY} == set(_DATED)


def test_rows_of_several_row_groups_are_judged_as_one_table(sound: Lake) -> None:
    table = "status_chargingpoints"
    rewrite(sound, table, DAY, lambda rows: rows, row_group_size=100)
    assert failing(sound) == ALWAYS_FAILING

    def repeat(rows: pa.Table) -> pa.Table:
        """The last row of a group again as the first one of the next."""
        return pa.concat_tables([rows.slice(0, 100), rows.slice(99)])

    rewrite(sound, table, DAY, repeat, row_group_size=100)
    verdict = verdicts(sound, DAY)["status_chargingpoints", "keys"]
    assert (verdict.figures["repeated"], verdict.figures["unsorted"]) == (1, 0)
    assert "first (DE*BN*E033, 2026-03-10 23:00:00+00:00) twice" in verdict.sentence


def test_only_dated_tables_have_a_verdict_per_date() -> None:
    per_date = {check.table for check in CHECKS if is_per_date(check)}

    assert per_date == {*_DATED, "raw_snapshots"}
    assert [check.name for check in CHECKS if check.of_lake] == ["freshness", "refreshes"]


def test_the_readme_says_how_many_checks_there_are() -> None:
    assert f"{len(CHECKS)} checks" in (Path(__file__).parents[2] / "README.md").read_text()
