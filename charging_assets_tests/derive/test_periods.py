"""What days add up to: months, reports' periods and the usual week; and what a day without polls does to them."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.derive.occupancy.formulas import duration_quantiles, with_ratios
from charging_assets.derive.occupancy.periods import (
    EVERYTHING,
    Period,
    Selection,
    kpi_monthly,
    opened_period,
    usage_profile,
)
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import SCOPES

DAY = dt.timedelta(days=1)
HOUR_S, DAY_S = 3_600, 86_400
MAY = dt.date(2026, 5, 1)
"""A Friday."""
KPIS = [name for name in arrow_schema("kpi_daily").names if name not in {"scope", "scope_id", "query_date"}]
RATIOS = [field.name for field in arrow_schema("kpi_daily") if field.type == pa.float64() and "kwh" not in field.name]
HIDDEN = [name for name in RATIOS if name not in {"coverage", "open_utilization"}]
HIDDEN += ["duration_p50_s", "duration_p90_s"]

WHERE = {
    "id_cp": "DE*A*1",
    "id_cs": 7,
    "city": "Köln",
    "operator_name": "Stadtwerke",
    "power_class": "AC 11-22",
    "source": "chargecloud",
    "feed": "koeln",
}

Row = dict[str, Any]


def kpis(scope: str, scope_id: str, **figures: Any) -> Row:
    """A row of `kpi_daily` short of its ratios: two points of a station, half a day occupied and as much free."""
    nothing = ("fault_s", "gone_s", "unknown_s", "events", "overstays", "censored_events", "suspicious_events")
    return {
        **dict.fromkeys(KPIS),
        **dict.fromkeys((*nothing, "max_occupied"), 0),
        **dict.fromkeys(("points", "points_observed"), 2),
        **dict.fromkeys(("occupied_s", "free_s"), DAY_S),
        **dict.fromkeys(("station_polls", "station_polls_working"), 144),
        **dict.fromkeys(("station_polls_free", "station_polls_full"), 72),
        "stations": 1,
        "peak_utilization": 0.75,
        "scope": scope,
        "scope_id": scope_id,
        "name": scope_id,
        **figures,
    }


def table_of(name: str, rows: Sequence[Row]) -> pa.Table:
    schema = arrow_schema(name)
    return pa.table([pa.array([row[f.name] for row in rows], f.type) for f in schema], schema=schema)


def with_its_ratios(row: Row) -> Row:
    schema = arrow_schema("kpi_daily")
    sums = {name: pa.array([row[name]], pa.int64()) for name in KPIS if pa.types.is_integer(schema.field(name).type)}
    made = with_ratios(pa.table(sums)).to_pylist()[0]
    is_shown = made["coverage"] is not None and made["coverage"] >= 0.8
    return row | made | {"peak_utilization": row["peak_utilization"] if is_shown else None}


def write_kpis(lake: Lake, date: dt.date, *rows: Row) -> None:
    made = [with_its_ratios(row) | {"query_date": date} for row in rows]
    made.sort(key=lambda row: (row["scope"], row["scope_id"]))
    lake.write("kpi_daily", date, table_of("kpi_daily", made))


def write_events(lake: Lake, date: dt.date, *events: Row) -> None:
    """One event after the other, of which each names at least `duration_s` and `n_polls`."""
    flags = [name for name in arrow_schema("charging_events").names if name.startswith(("is_", "has_"))]
    usual = {
        **dict.fromkeys(flags, False),
        **dict.fromkeys(("energy_kwh", "energy_kwh_low", "energy_kwh_high"), 5.0),
        **WHERE,
        "status": "CHARGING",
        "query_date": date,
        "gap_s": 0,
    }
    time, rows = day_bounds(date)[0], []
    for event in events:
        end = time + dt.timedelta(seconds=event["duration_s"])
        rows.append(usual | {"start_time": time, "end_time": end} | event)
        time = end
    rows.sort(key=lambda row: (row["id_cp"], row["start_time"]))
    lake.write("charging_events", date, table_of("charging_events", rows))


def hour(time: dt.datetime, **others: Any) -> Row:
    """A row of `utilization_hourly`: a quarter of an hour occupied, the rest free."""
    local = time.astimezone(BERLIN)
    return {
        **dict.fromkeys(("fault_s", "gone_s", "unknown_s"), 0),
        **WHERE,
        "hour_utc": time,
        "hour_local": local.hour,
        "query_date": local.date(),
        "occupied_s": 900,
        "free_s": 2_700,
        **others,
    }


def write_hours(lake: Lake, *rows: Row) -> None:
    for date in {row["query_date"] for row in rows}:
        of_day = sorted((row for row in rows if row["query_date"] == date), key=lambda r: (r["id_cp"], r["hour_utc"]))
        lake.write("utilization_hourly", date, table_of("utilization_hourly", of_day))


AT_ONCE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""A time before all days: only days with rows, and those between, are over."""


def ask(
    what: Callable[[Period, Selection], pa.Table],
    lake: Lake,
    first: dt.date,
    last: dt.date,
    scope: str,
    now: dt.datetime = AT_ONCE,
    **wanted: tuple[str, ...],
) -> pa.Table:
    with opened_period(lake, first, last, now=now) as opened:
        return what(opened, Selection(scope, **wanted))


def period(lake: Lake, first: dt.date, last: dt.date, scope: str = "city", **wanted: Any) -> dict[str, Row]:
    """By `scope_id`."""
    made = ask(Period.kpis, lake, first, last, scope, **wanted)
    require_sound(made)
    return {row["scope_id"]: row for row in made.to_pylist()}


def require_sound(made: pa.Table) -> None:
    """Nulls only where they may be, no NaN, shares within their range."""
    for field, column in zip(made.schema, made.columns, strict=True):
        assert field.nullable or not column.null_count, field.name
        if field.type == pa.float64():
            values = column.drop_null().to_numpy()
            assert np.isfinite(values).all(), field.name
            if field.name in RATIOS and field.name != "events_per_point_day":
                assert ((values >= 0) & (values <= 1)).all(), field.name


def length_s(date: dt.date) -> int:
    start, end = day_bounds(date)
    return int((end - start).total_seconds())


# -- sums ------------------------------------------------------------------------------------------------------------


def test_seconds_counts_and_energy_are_added_up_and_ratios_made_from_the_sums(lake: Lake) -> None:
    busy = {"occupied_s": 150_000, "free_s": 12_800, "fault_s": 10_000, "gone_s": 60, "max_occupied": 2}
    write_kpis(
        lake,
        MAY,
        kpis("city", "Köln", **busy, events=9, overstays=2, censored_events=1, suspicious_events=1, energy_kwh=10.5),
    )
    quiet = {"occupied_s": 20_000, "free_s": 150_000, "unknown_s": 2_800, "max_occupied": 1, "energy_kwh": 4.25}
    polls = {"station_polls": 140, "station_polls_free": 130, "station_polls_working": 135, "station_polls_full": 5}
    write_kpis(lake, MAY + DAY, kpis("city", "Köln", **quiet, **polls, events=1))
    (row,) = period(lake, MAY, MAY + DAY).values()
    seconds = [row[f"{kind}_s"] for kind in ("occupied", "free", "fault", "gone", "unknown")]
    assert seconds == [170_000, 162_800, 10_000, 60, 2_800]
    observed = 342_800
    assert row["coverage"] == observed / 345_600
    assert row["utilization"] == 170_000 / observed
    assert row["utilization_available"] == 170_000 / 332_800
    assert row["availability"] == row["uptime"] == 332_800 / observed
    assert (row["station_polls"], row["station_polls_free"], row["free_on_arrival"]) == (284, 202, 202 / 284)
    assert (row["station_polls_working"], row["station_polls_full"], row["full_share"]) == (279, 77, 77 / 279)
    assert (row["events"], row["overstays"], row["overstay_share"]) == (10, 2, 0.2)
    assert (row["censored_events"], row["suspicious_events"]) == (1, 1)
    assert row["events_per_point_day"] == 9 * DAY_S / observed
    assert (row["max_occupied"], row["simultaneity"]) == (2, 1)
    assert (row["energy_kwh"], row["energy_kwh_low"], row["energy_kwh_high"]) == (14.75, None, None)
    assert (row["days"], row["days_observed"]) == (2, 2)


def test_points_and_stations_are_the_most_of_a_day_and_names_those_of_the_last(lake: Lake) -> None:
    first = {"name": "old", "city": "Köln", "operator_name": "Stadtwerke", "power_class": "AC 11-22"}
    write_kpis(lake, MAY, kpis("station", "7", points=4, points_observed=1, stations=1, **first))
    last = {"name": "new", "city": "Bonn", "operator_name": None, "power_class": None}
    write_kpis(lake, MAY + 2 * DAY, kpis("station", "7", points=3, points_observed=3, stations=2, **last))
    (row,) = period(lake, MAY, MAY + 5 * DAY, "station").values()
    assert (row["points"], row["points_observed"], row["stations"]) == (4, 3, 2)
    assert {name: row[name] for name in last} == last


def test_the_peak_is_the_mean_of_the_daily_ones_weighted_by_observed_time(lake: Lake) -> None:
    write_kpis(lake, MAY, kpis("city", "Köln", occupied_s=100_000, free_s=72_800, peak_utilization=0.9))
    write_kpis(lake, MAY + DAY, kpis("city", "Köln", occupied_s=0, free_s=150_000, peak_utilization=0.5))
    hidden = kpis("city", "Köln", occupied_s=900, free_s=0, unknown_s=20_000, peak_utilization=1)
    write_kpis(lake, MAY + 2 * DAY, hidden)
    (row,) = period(lake, MAY, MAY + 2 * DAY).values()
    assert row["peak_utilization"] == pytest.approx((172_800 * 0.9 + 150_000 * 0.5) / 322_800)


def test_below_80_percent_coverage_kpis_are_hidden_but_for_what_does_not_depend_on_it(lake: Lake) -> None:
    often = kpis("city", "Köln", occupied_s=100_000, free_s=38_240, unknown_s=34_560, events=4, overstays=1)
    seldom = kpis("city", "Köln", occupied_s=100_000, free_s=38_239, unknown_s=34_561, events=4, overstays=1)
    for date, figures in ((MAY, often), (MAY + DAY, seldom)):
        write_kpis(lake, date, figures)
        write_events(lake, date, {"duration_s": 3_600, "n_polls": 6})
    (shown,) = period(lake, MAY, MAY).values()
    assert shown["coverage"] == 0.8
    assert all(shown[name] is not None for name in HIDDEN)
    (hidden,) = period(lake, MAY, MAY + DAY).values()
    assert 0.79999 < hidden["coverage"] < 0.8
    assert [name for name in HIDDEN if hidden[name] is not None] == []
    assert (hidden["overstays"], hidden["occupied_s"]) == (2, 200_000)


def test_a_time_of_which_nothing_is_known_but_that_it_was_has_no_ratios(lake: Lake) -> None:
    nothing = {"occupied_s": 0, "free_s": 0, "points_observed": 0, "peak_utilization": None}
    polls = dict.fromkeys(("station_polls", "station_polls_free", "station_polls_working", "station_polls_full"), 0)
    write_kpis(lake, MAY, kpis("city", "Köln", **nothing, **polls, unknown_s=172_800))
    write_kpis(lake, MAY + DAY, kpis("city", "Bonn", **nothing, **polls, gone_s=172_800))
    made = period(lake, MAY, MAY + DAY)
    assert {name: value for name, value in made["Köln"].items() if name in RATIOS and value is not None} == {
        "coverage": 0
    }
    assert [made["Bonn"][name] for name in RATIOS if made["Bonn"][name] is not None] == []
    assert (made["Köln"]["days"], made["Köln"]["days_observed"]) == (1, 0)


def test_opening_hours_stay_null_where_none_are_known_and_else_are_added_up(lake: Lake) -> None:
    write_kpis(lake, MAY, kpis("city", "Bonn"), kpis("city", "Köln"))
    opened = {"open_occupied_s": 10_000, "open_observed_s": 40_000, "open_unknown_s": 3_200}
    write_kpis(lake, MAY + DAY, kpis("city", "Bonn"), kpis("city", "Köln", **opened))
    write_kpis(lake, MAY + 3 * DAY, kpis("city", "Bonn"), kpis("city", "Köln"))
    two = period(lake, MAY, MAY + DAY)
    assert {name: two["Köln"][name] for name in opened} == opened
    assert two["Köln"]["open_utilization"] == 0.25
    assert [two["Bonn"][name] for name in (*opened, "open_utilization")] == [None] * 4
    # The third day is missing: it is unobserved as long as the second day was open.
    four = period(lake, MAY, MAY + 3 * DAY)["Köln"]
    assert [four[name] for name in opened] == [10_000, 40_000, 3_200 + 43_200]
    assert four["open_utilization"] is None
    assert period(lake, MAY, MAY + 3 * DAY)["Bonn"]["open_unknown_s"] is None
    # What follows a day without known hours adds nothing to what is known of those before.
    write_kpis(lake, MAY + 2 * DAY, kpis("city", "Köln"))
    write_kpis(lake, MAY + 5 * DAY, kpis("city", "Köln"))
    assert period(lake, MAY, MAY + 5 * DAY)["Köln"]["open_unknown_s"] == 3_200


def test_durations_are_of_the_events_of_the_period_whose_both_ends_were_seen(lake: Lake) -> None:
    names = {"point": "DE*A*1", "station": "7", "city": "Köln", "operator": "Stadtwerke", "power_class": "AC 11-22"}
    names["feed"] = "koeln"
    dates = [MAY + number * DAY for number in range(3)]
    for date in dates:
        write_kpis(lake, date, *(kpis(scope, name) for scope, name in names.items()), kpis("city", "Bonn"))
    whole = [(600, 1), (1_200, 2), (5_400, 9), (5_400, 9), (30_000, 50)]
    write_events(lake, MAY, *({"duration_s": seconds, "n_polls": polls} for seconds, polls in whole[:3]))
    censored = {"duration_s": 20_000, "n_polls": 30}
    elsewhere = {
        "id_cp": "DE*B*1",
        "id_cs": None,
        "city": None,
        "operator_name": None,
        "power_class": None,
        "feed": "bonn",
    }
    write_events(
        lake,
        MAY + DAY,
        *({"duration_s": seconds, "n_polls": polls} for seconds, polls in whole[3:]),
        censored | {"is_left_censored": True},
        censored | {"is_right_censored": True},
        censored | elsewhere,
    )
    write_events(lake, MAY + 2 * DAY, {"duration_s": 60, "n_polls": 1})
    seconds, polls = np.array(whole).T
    alike = np.zeros(len(whole), np.int64)
    p50, p90 = duration_quantiles(alike, seconds, polls, alike + 1, 1, [0.5, 0.9])[:, 0]
    for scope, name in names.items():
        row = period(lake, MAY, MAY + DAY, scope)[name]
        assert (row["duration_p50_s"], row["duration_p90_s"]) == (round(p50), round(p90)), scope
    bonn = period(lake, MAY, MAY + DAY)["Bonn"]
    assert (bonn["duration_p50_s"], bonn["duration_p90_s"]) == (None, None)


def test_fractions_add_up_exactly_so_that_no_order_of_adding_can_show(lake: Lake) -> None:
    for number in range(10):
        observed = {"occupied_s": 100_001, "free_s": 0, "peak_utilization": 0.1}
        write_kpis(lake, MAY + number * DAY, kpis("city", "Köln", **observed, energy_kwh=0.1))
    (row,) = period(lake, MAY, MAY + 9 * DAY).values()
    assert (row["energy_kwh"], row["peak_utilization"]) == (1, 0.1)  # else 0.9999999999999999, 0.10000000000000002


# -- what is wanted --------------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_there(lake: Lake) -> None:
    stations = [kpis("station", "7", city="Köln"), kpis("station", "8", city="Köln"), kpis("station", "9", city="Bonn")]
    unknown = kpis("station", "10", city=None)
    cities = [kpis("city", name, city=name) for name in ("Köln", "Bonn")]
    write_kpis(lake, MAY, *stations, unknown, *cities, kpis("feed", "koeln"))
    assert list(period(lake, MAY, MAY, "station")) == ["10", "7", "8", "9"]
    assert list(period(lake, MAY, MAY, "station", cities=("Köln",))) == ["7", "8"]
    assert list(period(lake, MAY, MAY, "station", cities=("Köln", "Bonn"), scope_ids=("8", "9", "10", "11"))) == [
        "8",
        "9",
    ]
    assert list(period(lake, MAY, MAY, "city", cities=("Bonn",))) == ["Bonn"]
    assert list(period(lake, MAY, MAY, "feed", scope_ids=("koeln",))) == ["koeln"]
    assert list(period(lake, MAY, MAY, "feed", cities=("Köln",))) == []
    assert list(period(lake, MAY, MAY, "city", cities=())) == []


def test_of_a_station_that_moved_the_days_and_events_in_the_city_count(lake: Lake) -> None:
    for date, city in ((MAY, "Köln"), (MAY + DAY, "Bonn")):
        write_kpis(lake, date, kpis("station", "7", city=city))
        write_events(lake, date, {"duration_s": 600 if city == "Köln" else 9_000, "n_polls": 15, "city": city})
    (row,) = period(lake, MAY, MAY + DAY, "station", cities=("Köln",)).values()
    assert (row["city"], row["days"], row["duration_p50_s"]) == ("Köln", 1, 600)


def test_days_are_those_of_the_table(lake: Lake) -> None:
    for number in (0, 2, 3):
        cities = [kpis("city", name, city=name, events=number) for name in ("Köln", "Bonn")]
        write_kpis(lake, MAY + number * DAY, *cities, kpis("feed", "koeln"))
    made = ask(Period.daily, lake, MAY, MAY + 2 * DAY, "city")
    assert made.schema == arrow_schema("kpi_daily")
    assert [(row["scope_id"], row["query_date"], row["events"]) for row in made.to_pylist()] == [
        *(("Bonn", MAY, 0), ("Bonn", MAY + 2 * DAY, 2), ("Köln", MAY, 0), ("Köln", MAY + 2 * DAY, 2))
    ]
    stored = [row for row in lake.read("kpi_daily", MAY).to_pylist() if row["scope_id"] == "Bonn"]
    assert ask(Period.daily, lake, MAY, MAY, "city", cities=("Bonn",)).to_pylist() == stored


def test_whatever_there_is_not_gives_typed_tables_without_rows(lake: Lake) -> None:
    tables = {
        "kpi_daily": lambda: ask(Period.daily, lake, MAY, MAY + DAY, "station"),
        "kpi_monthly": lambda: kpi_monthly(lake, AT_ONCE),
        "usage_profile": lambda: usage_profile(lake),
        "usage_profile of a period": lambda: ask(Period.profile, lake, MAY, MAY + DAY, "station"),
    }
    columns = arrow_schema("kpi_monthly")
    for name, make in tables.items():
        assert make().equals(arrow_schema(name.split()[0]).empty_table()), name
    empty = ask(Period.kpis, lake, MAY, MAY + DAY, "station")
    assert empty.num_rows == 0
    assert empty.column_names == ["scope", "scope_id", *KPIS, "days", "days_observed"]
    assert all(field == columns.field(field.name) for field in empty.schema)
    lake.write("kpi_monthly", None, kpi_monthly(lake, AT_ONCE))
    lake.write("usage_profile", None, usage_profile(lake))
    for date in (MAY - 9 * DAY, MAY + 9 * DAY):  # nothing in between; nor in a period that ends before it begins
        write_kpis(lake, date, kpis("station", "7"))
        write_hours(lake, hour(day_bounds(date)[0]))
    for first, last in ((MAY, MAY + DAY), (MAY + 10 * DAY, MAY - 10 * DAY), (MAY + 99 * DAY, MAY + 100 * DAY)):
        assert ask(Period.kpis, lake, first, last, "station").equals(empty)
        assert ask(Period.daily, lake, first, last, "station").num_rows == 0
        assert ask(Period.profile, lake, first, last, "station").num_rows == 0


def test_an_unknown_scope_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"expected a scope of point, station, .*, got 'power-class'"):
        Selection("power-class")


def test_what_an_older_file_lacks_is_null(lake: Lake) -> None:
    for number in range(2):
        opened = {"open_occupied_s": 10_000, "open_observed_s": 40_000, "open_unknown_s": 0}
        write_kpis(lake, MAY + number * DAY, kpis("city", "Köln", **opened))
    path = Path(lake.location("kpi_daily", MAY))
    pq.write_table(pq.read_table(path).drop_columns(["open_occupied_s", "open_observed_s", "open_unknown_s"]), path)
    (row,) = period(lake, MAY, MAY + DAY).values()
    assert (row["days"], row["open_observed_s"]) == (2, 40_000)


# -- days that nobody polled -----------------------------------------------------------------------------------------


def test_a_missing_day_between_two_is_not_observed(lake: Lake) -> None:
    write_kpis(lake, MAY, kpis("city", "Köln", points=3))
    write_kpis(lake, MAY + 2 * DAY, kpis("city", "Köln"))
    (row,) = period(lake, MAY, MAY + 2 * DAY).values()
    assert (row["days"], row["days_observed"], row["unknown_s"]) == (3, 2, 3 * DAY_S)
    assert row["coverage"] == 4 / 7
    assert row["utilization"] is None
    lake.write("kpi_daily", MAY + DAY, arrow_schema("kpi_daily").empty_table())  # built, of no polls
    assert list(period(lake, MAY, MAY + 2 * DAY).values()) == [row]


def test_at_its_ends_a_missing_day_counts_for_what_is_known_next_to_it_but_not_beyond_the_lake(lake: Lake) -> None:
    write_kpis(lake, MAY, kpis("city", "Bonn"), kpis("city", "Köln"))
    write_kpis(lake, MAY + 4 * DAY, kpis("city", "Köln", points=5), kpis("city", "Trier", points=7))
    write_kpis(lake, MAY + 8 * DAY, kpis("city", "Trier"))

    def days(first: int, last: int) -> dict[str, tuple[int, int]]:
        made = period(lake, MAY + first * DAY, MAY + last * DAY)
        return {name: (row["days"], row["unknown_s"] // DAY_S) for name, row in made.items()}

    assert days(2, 6) == {"Köln": (5, 20), "Trier": (5, 28)}
    assert days(-9, 2) == {"Bonn": (3, 4), "Köln": (3, 4)}
    assert days(7, 20) == {"Trier": (2, 2)}
    # Bonn is not known after its day, Trier not before its first; on the days with rows that have none it was no more.
    assert days(-9, 20) == {"Bonn": (1, 0), "Köln": (5, 6), "Trier": (5, 21)}
    assert days(1, 3) == {}


def test_a_month_in_which_the_collector_died_is_missing_up_to_its_end_and_a_month_that_goes_on_up_to_now(
    lake: Lake,
) -> None:
    for number in range(4):
        write_kpis(lake, MAY + number * DAY, kpis("city", "Köln"))

    def told(now: dt.date) -> tuple[int, float, bool]:
        noon = dt.datetime.combine(now, dt.time(12), BERLIN)
        (row,) = ask(Period.kpis, lake, MAY, MAY + 30 * DAY, "city", now=noon).to_pylist()
        monthly = [row for row in kpi_monthly(lake, noon).to_pylist() if row["scope"] == "city"]
        assert [(row["days"], row["coverage"]) for row in monthly] == [(row["days"], row["coverage"])]
        return row["days"], row["coverage"], row["utilization"] is not None

    assert told(MAY - DAY) == told(MAY + 3 * DAY) == told(MAY + 4 * DAY) == (4, 1, True)
    assert told(MAY + 5 * DAY) == (5, 4 / 5, True)
    assert told(MAY + 9 * DAY) == (9, 4 / 9, False)
    assert told(MAY + 31 * DAY) == told(MAY + 300 * DAY) == (31, 4 / 31, False)


def test_what_comes_again_was_not_observed_meanwhile_whether_or_not_others_were(lake: Lake) -> None:
    for number, names in ((0, "Köln Bonn"), (2, "Bonn"), (4, "Köln Bonn")):
        write_kpis(lake, MAY + number * DAY, *(kpis("city", name, points=number + 1) for name in names.split()))
    made = period(lake, MAY, MAY + 4 * DAY)
    assert (made["Köln"]["days"], made["Köln"]["unknown_s"]) == (5, 3 * DAY_S)
    assert (made["Bonn"]["days"], made["Bonn"]["unknown_s"]) == (5, 4 * DAY_S)


@pytest.mark.parametrize(("missing", "hours"), [(dt.date(2026, 3, 29), 23), (dt.date(2026, 10, 25), 25)])
def test_a_missing_day_is_as_long_as_it_was(lake: Lake, missing: dt.date, hours: int) -> None:
    for date in (missing - DAY, missing + DAY):
        write_kpis(lake, date, kpis("city", "Köln", points=1))
    month = missing.replace(day=1)
    (row,) = period(lake, month, month + 30 * DAY).values()
    assert (row["days"], row["unknown_s"]) == (3, hours * HOUR_S)
    monthly = [row for row in kpi_monthly(lake, AT_ONCE).to_pylist() if row["scope"] == "city"]
    assert [(row["month"], row["unknown_s"]) for row in monthly] == [(month, hours * HOUR_S)]


# -- months ----------------------------------------------------------------------------------------------------------


def test_uptime_is_of_the_twelve_months_up_to_the_end_of_each(lake: Lake) -> None:
    # A day in May 2025 is all fault. On the others everything runs.
    broken = {"occupied_s": 0, "free_s": 0, "fault_s": 172_800}
    for number in range(-1, 292):
        new = [kpis("station", "8")] if number > 1 else []
        write_kpis(lake, dt.date(2025, 6, 1) + number * DAY, kpis("station", "7", **({} if number else broken)), *new)
    made = kpi_monthly(lake, AT_ONCE)
    lake.write("kpi_monthly", None, made)
    require_sound(made)
    rows = {(row["scope_id"], row["month"]): row for row in made.to_pylist()}
    coverage = {
        ("7", dt.date(2025, 5, 1)): 1 / 365,
        ("7", dt.date(2026, 2, 1)): (1 + 273) / 365,
        ("7", dt.date(2026, 3, 1)): 293 / 365,
        ("8", dt.date(2026, 3, 1)): 290 / 365,
    }
    assert {key: rows[key]["uptime_12m_coverage"] for key in coverage} == pytest.approx(coverage)
    shown = {key: row["uptime_12m"] for key, row in rows.items() if row["uptime_12m"] is not None}
    assert shown == pytest.approx({("7", dt.date(2026, 3, 1)): 292 / 293})


def test_uptime_is_not_of_twelve_months_where_a_feed_was_silent_for_most_of_them(lake: Lake) -> None:
    months = [dt.date(2025, month, 1) for month in range(1, 13)]
    for month in months:
        silent = [kpis("station", "8")] if month in (months[0], months[-1]) else []
        write_kpis(lake, month, kpis("station", "7"), *silent)
    last = {row["scope_id"]: row for row in kpi_monthly(lake, AT_ONCE).to_pylist() if row["month"] == months[-1]}
    assert (last["7"]["uptime_12m_coverage"], last["8"]["uptime_12m_coverage"]) == (12 / 365, 2 / 365)
    assert (last["7"]["uptime_12m"], last["8"]["uptime_12m"]) == (None, None)


def _uptime_by_hand(days: Mapping[dt.date, int], last: dt.date) -> tuple[float | None, float]:
    """Uptime and coverage of 12 months up to `last`; `days` are those on which it is known, with its points."""
    first = (last + DAY).replace(year=last.year - (last.month < 12))
    known = [date for date in days if first <= date <= last]
    observed = sum(days[date] * DAY_S for date in known)
    up = sum(days[date] * DAY_S - fault_of(date) for date in known)
    coverage = len(known) / ((last - first).days + 1)
    return (up / observed if coverage >= 0.8 else None), coverage


def fault_of(date: dt.date) -> int:
    return 1_000 * date.day


_DATES = st.integers(0, 70).map(lambda number: dt.date(2026, 2, 20) + number * DAY)
_LAKES = st.dictionaries(
    _DATES, st.dictionaries(st.sampled_from(["Bonn", "Köln", "Trier"]), st.integers(1, 3), min_size=1), min_size=1
)
"""Cities and their points by date, over the end of February to the begin of May."""


def _write_all(lake: Lake, days: Mapping[dt.date, Mapping[str, int]]) -> None:
    for date, cities in days.items():
        rows = []
        for city, points in cities.items():
            seconds = {"occupied_s": 40_000 * points, "fault_s": fault_of(date)}
            seconds["free_s"] = points * DAY_S - sum(seconds.values())
            opened = dict.fromkeys(("open_occupied_s", "open_observed_s", "open_unknown_s"), 1_000 * date.day)
            counts = {"events": date.day, "overstays": date.day // 2, "energy_kwh": date.day / 10}
            rows.append(
                kpis("city", city, city=city, points=points, **seconds, **counts, **(opened if points > 1 else {}))
            )
        write_kpis(lake, date, *rows)
        durations = [600 * (1 + (date.day + number) % 5) for number in range(date.day % 4)]
        events = ({"duration_s": duration, "n_polls": duration // 600} for duration in durations)
        write_events(lake, date, *events)


@settings(max_examples=12)
@given(days=_LAKES)
def test_a_month_says_what_a_report_of_that_month_says(
    days: dict[dt.date, dict[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(str(folder / "lake"), folder / "home")
    _write_all(lake, days)
    made = kpi_monthly(lake, AT_ONCE)
    lake.write("kpi_monthly", None, made)
    require_sound(made)
    rows = made.to_pylist()
    months = sorted({date.replace(day=1) for date in days})
    for month in months:
        last = (month + 31 * DAY).replace(day=1) - DAY
        expected = ask(Period.kpis, lake, month, last, "city").to_pylist()
        of_month = [row for row in rows if row["month"] == month]
        assert [{name: row[name] for name in expected[0]} for row in of_month] == expected
        for row in of_month:
            known = {date: cities[row["scope_id"]] for date, cities in days.items() if row["scope_id"] in cities}
            uptime = _uptime_by_hand(known, last)
            assert (row["uptime_12m"], row["uptime_12m_coverage"]) == pytest.approx(uptime)
    assert {row["month"] for row in rows} == set(months)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.lists(st.integers(0, DAY_S), min_size=5, max_size=5),
    opened=st.none() | st.lists(st.integers(0, DAY_S), min_size=3, max_size=3),
    polls=st.lists(st.integers(0, 144), min_size=4, max_size=4),
    events=st.integers(0, 50),
    peak=st.floats(0, 1),
)
def test_a_period_of_one_day_says_what_the_day_says(
    seconds: list[int], opened: list[int] | None, polls: list[int], events: int, peak: float, lake: Lake
) -> None:
    kinds = ("occupied_s", "free_s", "fault_s", "gone_s", "unknown_s")
    names = ("station_polls", "station_polls_working", "station_polls_free", "station_polls_full")
    figures: Row = dict(zip(kinds, seconds, strict=True)) | dict(zip(names, sorted(polls, reverse=True), strict=True))
    if opened:
        occupied, observed, unknown = sorted(opened)
        figures |= {"open_occupied_s": occupied, "open_observed_s": observed, "open_unknown_s": unknown}
    is_observed = sum(seconds[:3]) > 0
    figures |= {"events": events, "overstays": events // 3, "max_occupied": 1}
    figures |= {"energy_kwh": events / 8, "peak_utilization": peak if is_observed else None}
    write_kpis(lake, MAY, kpis("city", "Köln", **figures))
    (day,) = lake.read("kpi_daily", MAY).to_pylist()
    (row,) = period(lake, MAY, MAY).values()
    assert {name: row[name] for name in KPIS} == pytest.approx({name: day[name] for name in KPIS})
    assert (row["days"], row["days_observed"]) == (1, int(is_observed))


# -- all together, and by power class ---------------------------------------------------------------------------------


def test_all_together_are_the_feeds_of_a_day_added_up(lake: Lake) -> None:
    """A point that two feeds have by turns is one point, and no time of it is missing."""
    for number, feed in enumerate(("a", "a", "b", "a")):
        write_kpis(lake, MAY + number * DAY, kpis("feed", feed), kpis("feed", "c", points=3), kpis("point", "DE*A*1"))
        write_events(lake, MAY + number * DAY, {"duration_s": 3_600, "n_polls": 6})
    with opened_period(lake, MAY, MAY + 3 * DAY, now=AT_ONCE) as whole:
        (row,) = whole.kpis(EVERYTHING).to_pylist()
        assert [day["points"] for day in whole.daily(EVERYTHING).to_pylist()] == [5] * 4
        assert whole.feeds(EVERYTHING) == ["a", "b", "c"]
    assert (row["points"], row["stations"], row["days"], row["occupied_s"]) == (5, 2, 4, 8 * DAY_S)
    assert (row["coverage"], row["utilization"], row["duration_p50_s"]) == (1, 0.5, 3_600)
    assert (row["max_occupied"], row["simultaneity"], row["peak_utilization"]) == (None, None, None)


def test_a_point_of_a_silent_feed_was_not_observed_in_what_all_together_say(lake: Lake) -> None:
    for number in range(4):
        silent = [] if number in (1, 2) else [kpis("feed", "b"), kpis("point", "DE*B*1", points=1)]
        write_kpis(lake, MAY + number * DAY, kpis("feed", "a"), kpis("point", "DE*A*1", points=1), *silent)
    with opened_period(lake, MAY, MAY + 5 * DAY, now=AT_ONCE) as whole:
        (row,) = whole.kpis(EVERYTHING).to_pylist()
    assert (row["points"], row["days"], row["unknown_s"]) == (4, 4, 2 * DAY_S)


def test_all_together_of_one_feed_are_that_feed(lake: Lake) -> None:
    write_kpis(lake, MAY, kpis("feed", "koeln", max_occupied=2))
    write_hours(lake, at(MAY, 8))
    with opened_period(lake, MAY, MAY, now=AT_ONCE) as whole:
        assert whole.kpis(EVERYTHING).to_pylist() == ask(Period.kpis, lake, MAY, MAY, "feed").to_pylist()
        assert whole.daily(EVERYTHING).to_pylist() == ask(Period.daily, lake, MAY, MAY, "feed").to_pylist()
        assert [row["scope"] for row in whole.profile(EVERYTHING).to_pylist()] == ["all"]
        assert tuple(whole.feeds(Selection("city", (name,))) for name in ("Köln", "Bonn")) == (["koeln"], [])


def test_power_classes_of_a_place_are_of_the_labels_of_the_day(lake: Lake) -> None:
    changed = [("Köln", "Old", "AC 11-22"), ("Köln", "New", "DC 150+"), ("Bonn", "New", "DC 150+")]
    for number, (city, operator, power) in enumerate(changed):
        labels = {"city": city, "operator_name": operator, "power_class": power}
        write_kpis(
            lake,
            MAY + number * DAY,
            kpis("point", "DE*A*1", points=1, free_s=0, **labels),
            kpis("point", "DE*C*1", points=1, free_s=0, **labels | {"power_class": None}),
        )
        write_events(lake, MAY + number * DAY, {"duration_s": 600 * (number + 1), "n_polls": number + 1, **labels})
    with opened_period(lake, MAY, MAY + 2 * DAY, now=AT_ONCE) as whole:

        def told(**place: str) -> list[tuple[str, int, int, int]]:
            rows = whole.kpis(Selection.by_power(**place)).to_pylist()
            return [(row["scope_id"], row["days"], row["occupied_s"], row["duration_p50_s"]) for row in rows]

        assert told(city="Köln") == [("AC 11-22", 1, DAY_S, 600), ("DC 150+", 1, DAY_S, 1_200)]
        assert told(operator="New") == [("DC 150+", 2, 2 * DAY_S, 1_500)]
        (row,) = whole.kpis(Selection.by_power(operator="Old")).to_pylist()
    assert (row["name"], row["power_class"], row["points"], row["utilization"]) == ("AC 11-22", "AC 11-22", 1, 1)
    assert (row["stations"], row["free_on_arrival"], row["max_occupied"]) == (None, None, None)


def test_days_that_are_read_once_for_several_questions_say_the_same(lake: Lake) -> None:
    name = "O'Neill's \"Stadt\"; --"
    for number in (0, 1, 3):
        write_kpis(
            lake,
            MAY + number * DAY,
            *(kpis("city", city, city=city) for city in (name, "Köln")),
            *(kpis("point", f"DE*{city}*1", city=city, power_class="AC 11-22", points=1) for city in (name, "Köln")),
            kpis("feed", "koeln"),
            kpis("feed", "oneill"),
        )
    wanted = (Selection("city", (name,)), Selection.by_power(city=name), EVERYTHING, Selection("station"))
    with (
        opened_period(lake, MAY, MAY + 9 * DAY, wanted, AT_ONCE) as held,
        opened_period(lake, MAY, MAY + 9 * DAY, now=AT_ONCE) as stored,
    ):
        for selection in wanted:
            assert held.kpis(selection).equals(stored.kpis(selection)), selection
            assert held.daily(selection).equals(stored.daily(selection)), selection
        assert held.kpis(wanted[0])["scope_id"].to_pylist() == [name]
        assert held.kpis(wanted[1])["days"].to_pylist() == [4]
        assert held.feeds(EVERYTHING) == stored.feeds(EVERYTHING) == ["koeln", "oneill"]


# -- the usual week --------------------------------------------------------------------------------------------------


def at(date: dt.date, local_hour: int, **others: Any) -> Row:
    return hour(dt.datetime.combine(date, dt.time(local_hour), BERLIN).astimezone(dt.UTC), **others)


def week(rows: pa.Table) -> dict[tuple[str, str, int, int], Row]:
    require_sound(rows)
    assert rows.schema == arrow_schema("usage_profile")
    return {(row["scope"], row["scope_id"], row["weekday"], row["hour_local"]): row for row in rows.to_pylist()}


def test_hours_of_a_weekday_are_added_up_over_all_days_and_points_of_a_scope(lake: Lake) -> None:
    other = {
        "id_cp": "DE*A*2",
        "id_cs": 8,
        "power_class": "DC 50-150",
        "occupied_s": 3_000,
        "free_s": 0,
        "unknown_s": 600,
    }
    write_hours(lake, at(MAY, 8), at(MAY, 8, **other), at(MAY, 9), at(MAY + 7 * DAY, 8), at(MAY + 8 * DAY, 8))
    made = usage_profile(lake)
    lake.write("usage_profile", None, made)
    rows = week(made)
    assert {scope for scope, *_ in rows} == set(SCOPES)
    city = rows["city", "Köln", 5, 8]
    assert [city[f"{kind}_s"] for kind in ("occupied", "free", "fault", "unknown")] == [4_800, 5_400, 0, 600]
    assert (city["coverage"], city["utilization"], city["days"]) == (10_200 / 10_800, 4_800 / 10_200, 2)
    assert rows["station", "7", 5, 8]["occupied_s"] == 1_800
    assert rows["point", "DE*A*2", 5, 8]["days"] == 1
    assert rows["power_class", "DC 50-150", 5, 8]["utilization"] == 1
    assert rows["feed", "koeln", 6, 8]["days"] == rows["operator", "Stadtwerke", 5, 9]["days"] == 1


def test_the_doubled_hour_of_autumn_counts_twice_on_one_day(lake: Lake) -> None:
    autumn = day_bounds(dt.date(2026, 10, 25))[0]
    write_hours(lake, *(hour(autumn + number * dt.timedelta(hours=1)) for number in range(25)))
    rows = week(usage_profile(lake))
    assert (rows["city", "Köln", 7, 2]["free_s"], rows["city", "Köln", 7, 2]["days"]) == (5_400, 1)
    assert {key[3] for key in rows if key[0] == "city"} == set(range(24))


def test_what_is_not_known_of_a_point_is_in_no_such_scope_but_in_its_feed(lake: Lake) -> None:
    write_hours(lake, at(MAY, 8, id_cs=None, city=None, operator_name=None, power_class=None))
    assert {key[:2] for key in week(usage_profile(lake))} == {("feed", "koeln"), ("point", "DE*A*1")}


def test_days_are_those_observed_however_many_weeks_they_are_apart(lake: Lake) -> None:
    weeks = (0, 1, 61, 62, 63, 124, 200)
    nothing = {"occupied_s": 0, "free_s": 0, "unknown_s": HOUR_S}
    write_hours(lake, *(at(MAY + number * 7 * DAY, 8) for number in weeks), at(MAY + 14 * DAY, 8, **nothing))
    write_hours(lake, at(MAY + 21 * DAY, 9, **nothing))
    rows = week(usage_profile(lake))
    assert rows["city", "Köln", 5, 8]["days"] == len(weeks)
    assert rows["city", "Köln", 5, 8]["unknown_s"] == HOUR_S
    unobserved = rows["city", "Köln", 5, 9]
    assert (unobserved["days"], unobserved["coverage"], unobserved["utilization"]) == (0, 0, None)


def test_the_week_of_a_period_is_of_its_days_and_of_what_is_wanted(lake: Lake) -> None:
    bonn = {"id_cp": "DE*B*1", "id_cs": 9, "city": "Bonn"}
    dates: Iterable[dt.date] = (MAY + number * DAY for number in range(-8, 9))
    write_hours(lake, *(at(date, 8, **others) for date in dates for others in ({}, bonn)))
    rows = week(ask(Period.profile, lake, MAY - DAY, MAY + 7 * DAY, "station"))
    assert {key[:2] for key in rows} == {("station", "7"), ("station", "9")}
    assert [rows["station", "7", weekday, 8]["days"] for weekday in range(1, 8)] == [1, 1, 1, 2, 2, 1, 1]
    assert {key[1] for key in week(ask(Period.profile, lake, MAY, MAY, "station", cities=("Bonn",)))} == {"9"}
    assert {key[1] for key in week(ask(Period.profile, lake, MAY, MAY, "station", scope_ids=("7",)))} == {"7"}
    by_power = week(ask(Period.profile, lake, MAY, MAY, "power_class", cities=("Bonn",)))
    assert by_power["power_class", "AC 11-22", 5, 8]["occupied_s"] == 900
    everything = week(usage_profile(lake))
    of_feed = week(ask(Period.profile, lake, MAY - 8 * DAY, MAY + 8 * DAY, "feed"))
    assert of_feed == {key: row for key, row in everything.items() if key[0] == "feed"}
