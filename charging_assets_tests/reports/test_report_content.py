"""Which figures a report has, from a lake of days that can be told by hand."""

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets import __version__
from charging_assets.calendar import day_bounds
from charging_assets.derive.inputs import Inputs
from charging_assets.lake import Kind, Lake, LakeError, Question
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import METHOD_VERSION
from charging_assets.reports.occupancy.content import By, Report, UnknownName, make_report
from charging_assets.reports.occupancy.wording import coverage
from charging_assets_tests.raw_days import make_raw_poll
from charging_assets_tests.reports.kpi_days import Point, days, put_days

FIRST, LAST = dt.date(2026, 3, 2), dt.date(2026, 3, 8)
WEEK = days(FIRST, 7)

HALL = Point("DE*K1", 1, station="Rathaus", durations=(3_600, 18_000))
FAST = Point(
    "DE*K2", 2, station="Am Öhlbach", operator="Netz AG", power_class="DC 50-150", busy=0.5, durations=(1_800,)
)
BONN = Point("DE*B1", 3, city="Bonn", station="Markt", busy=0.125)


@pytest.fixture
def week(lake: Lake) -> Lake:
    """A week of three points."""
    put_days(lake, WEEK, HALL, FAST, BONN)
    return lake


def report(lake: Lake, by: By = "city", only: str | None = None, city: str | None = None) -> Report:
    return make_report(lake, by, FIRST, LAST, only, city)


def names(made: Report) -> list[str]:
    found: list[str] = made.rows["name"].to_pylist()
    return found


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("station", ["Am Öhlbach", "Markt", "Rathaus"]),
        ("city", ["Bonn", "Köln"]),
        ("operator", ["Netz AG", "Stadtwerke"]),
        ("power_class", ["AC 11-22", "DC 50-150"]),
    ],
)
def test_there_is_a_row_for_each_sorted_by_name(week: Lake, by: By, expected: list[str]) -> None:
    assert names(report(week, by)) == expected


def test_names_are_sorted_as_people_look_them_up(lake: Lake) -> None:
    towns = ["Zirndorf", "Öhringen", "Ochsenfurt", "olpe", "Köln", "Konz"]
    put_days(lake, [FIRST], *(Point(f"DE*{n}", n, city=town) for n, town in enumerate(towns)))

    assert names(report(lake)) == ["Köln", "Konz", "Ochsenfurt", "Öhringen", "olpe", "Zirndorf"]


def test_power_classes_are_sorted_by_power(lake: Lake) -> None:
    classes = ["DC 0-50", "AC 11-22", "AC 3.7-11", "AC 0-3.7"]
    put_days(lake, [FIRST], *(Point(f"DE*{n}", n, power_class=name) for n, name in enumerate(classes)))

    assert names(report(lake, "power_class")) == ["AC 0-3.7", "AC 3.7-11", "AC 11-22", "DC 0-50"]
    assert report(lake).by_power["scope_id"].to_pylist() == ["AC 0-3.7", "AC 3.7-11", "AC 11-22", "DC 0-50"]


def test_a_report_of_one_thing_is_of_that_alone(week: Lake) -> None:
    made = report(week, "city", only="Köln")

    assert names(made) == ["Köln"]
    assert (made.total["points"], made.total["utilization"]) == (2, 0.375)
    assert made.total["max_occupied"] == 2
    assert made.daily["points"].to_pylist() == [2] * 7
    assert set(made.profile["utilization"].to_pylist()) == {0.375}


def test_the_stations_of_a_city_come_with_the_figures_of_the_city(week: Lake) -> None:
    made = report(week, "station", city="Köln")

    assert names(made) == ["Am Öhlbach", "Rathaus"]
    assert made.total == report(week, "city", only="Köln").total
    assert made.daily.equals(report(week, "city", only="Köln").daily)


@pytest.mark.parametrize("by", ["city", "operator", "power_class"])
def test_a_city_is_for_stations(week: Lake, by: By) -> None:
    with pytest.raises(ValueError, match=f"a report of a city is by station.*got one by {by}"):
        report(week, by, city="Köln")


# -- all together ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["station", "city", "operator", "power_class"])
def test_all_together_are_all_points_however_they_are_grouped(week: Lake, by: By) -> None:
    made = report(week, by)

    assert (made.total["points"], made.total["stations"], made.total["events"]) == (3, 3, 21)
    assert made.total["utilization"] == pytest.approx((0.25 + 0.5 + 0.125) / 3)
    assert sum(made.rows["occupied_s"].to_pylist()) == made.total["occupied_s"]
    assert made.daily["query_date"].to_pylist() == WEEK
    assert made.daily["utilization"].to_pylist() == [pytest.approx(0.875 / 3)] * 7
    assert made.profile.num_rows == 7 * 24
    assert made.profile["utilization"].to_pylist() == [pytest.approx(0.875 / 3)] * 7 * 24


def test_durations_of_all_together_are_of_their_events(week: Lake) -> None:
    total = report(week).total

    assert total["duration_p50_s"] == pytest.approx(3_600, abs=300)  # a poll is 600 s long
    assert total["duration_p90_s"] == pytest.approx(18_000, abs=300)
    assert total["overstay_share"] == pytest.approx(1 / 3)


def test_what_does_not_follow_from_rows_is_not_made_up(week: Lake) -> None:
    total = report(week).total

    assert (total["max_occupied"], total["simultaneity"], total["peak_utilization"]) == (None, None, None)


# -- by power class --------------------------------------------------------------------------------------------------


def test_power_classes_of_a_city_are_of_its_points(week: Lake) -> None:
    rows = report(week, "city", only="Köln").by_power.to_pylist()

    assert [(row["scope_id"], row["points"], row["utilization"]) for row in rows] == [
        ("AC 11-22", 1, 0.25),
        ("DC 50-150", 1, 0.5),
    ]
    for row, only in zip(rows, ("1", "2"), strict=True):
        (station,) = report(week, "station", only).rows.to_pylist()
        for name in ("events", "duration_p50_s", "duration_p90_s", "energy_kwh", "coverage", "overstay_share"):
            assert row[name] == pytest.approx(station[name])


def test_power_classes_of_an_operator_are_of_its_points(week: Lake) -> None:
    rows = report(week, "operator", only="Netz AG").by_power.to_pylist()

    assert [(row["scope_id"], row["points"], row["duration_p50_s"]) for row in rows] == [("DC 50-150", 1, 1_800)]


def test_power_classes_of_several_points_do_not_count_a_station_twice(lake: Lake) -> None:
    put_days(lake, WEEK, HALL, Point("DE*K3", 1, busy=0.75))

    (row,) = report(lake, "city", only="Köln").by_power.to_pylist()

    assert (row["points"], row["utilization"]) == (2, 0.5)
    assert (row["stations"], row["station_polls"], row["free_on_arrival"]) == (None, None, None)


def test_power_classes_of_the_whole_are_those_of_the_report_by_power_class(week: Lake) -> None:
    made = report(week)

    assert made.by_power.to_pylist() == report(week, "power_class").by_power.to_pylist()
    assert made.by_power["utilization"].to_pylist() == [0.1875, 0.5]


# -- what is not known -----------------------------------------------------------------------------------------------


def test_figures_of_too_little_coverage_are_hidden_and_nothing_is_nan(lake: Lake) -> None:
    put_days(lake, WEEK, HALL, Point("DE*B1", 3, city="Bonn", observed=0.5))
    made = report(lake)

    bonn, koeln = made.rows.to_pylist()
    assert (bonn["coverage"], bonn["utilization"], bonn["points_observed"]) == (0.5, None, 1)
    assert koeln["utilization"] == 0.25
    assert made.total["coverage"] == 0.75
    assert made.total["utilization"] is None
    for rows in (made.rows, made.daily, made.profile, made.by_power):
        values = [value for row in rows.to_pylist() for value in row.values() if isinstance(value, float)]
        assert not any(map(math.isnan, values))


def test_a_day_without_polls_counts_as_not_observed(lake: Lake) -> None:
    put_days(lake, [*WEEK[:2], *WEEK[4:]], HALL)
    made = report(lake)

    assert made.total["coverage"] == pytest.approx(5 / 7)
    assert made.provenance.unpolled_days == tuple(WEEK[2:4])
    assert made.daily["query_date"].to_pylist() == [*WEEK[:2], *WEEK[4:]]


def test_days_to_come_are_not_missing_and_a_period_that_goes_on_is_preliminary(lake: Lake) -> None:
    put_days(lake, WEEK[:2], HALL)

    def said_on(number: int) -> tuple[int, int, bool, float | None]:
        noon = day_bounds(FIRST)[0] + dt.timedelta(days=number, hours=12)
        said = make_report(lake, "city", FIRST, LAST, now=noon).provenance
        return said.days, len(said.missing_days), said.is_preliminary, said.coverage

    assert [said_on(number) for number in (1, 2, 3, 6, 7, 99)] == [
        (2, 0, True, 1.0),
        (3, 0, True, 1.0),  # of the third day no poll was made yet
        (4, 1, True, 2 / 3),
        (7, 4, True, 2 / 6),
        (7, 5, False, 2 / 7),
        (7, 5, False, 2 / 7),
    ]


def test_days_on_which_feeds_were_silent_are_known_and_not_observed(lake: Lake) -> None:
    put_days(lake, WEEK[:5], HALL)
    put_days(lake, WEEK[5:6], replace(HALL, observed=0.0))
    made = report(lake)

    assert (made.provenance.days_observed, made.provenance.missing_days) == (5, (LAST,))
    assert ", on 5 of 7 days; figures are of the points observed" in made.provenance.observed


def test_a_damaged_file_is_named(week: Lake) -> None:
    path = Path(week.location("kpi_daily", WEEK[2]))
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(LakeError, match=f"The file tables/kpi_daily/{path.name} of the lake cannot be read"):
        report(week)


def test_a_day_that_was_polled_but_not_built_is_told_from_one_without_polls(lake: Lake) -> None:
    put_days(lake, WEEK[:5], HALL)
    make_raw_poll(lake, dt.datetime(2026, 3, 7, 12, tzinfo=dt.UTC), {"koeln": b"{}"})
    said = report(lake).provenance

    assert (said.unpolled_days, said.unbuilt_days) == ((WEEK[6],), (WEEK[5],))
    assert said.missing_days == tuple(WEEK[5:])


def test_days_on_which_nothing_of_it_was_known_are_told(lake: Lake) -> None:
    put_days(lake, WEEK[:3], HALL)
    put_days(lake, WEEK[3:], HALL, BONN)

    assert report(lake, "city", only="Bonn").provenance.unknown_days == tuple(WEEK[:3])
    assert report(lake).provenance.unknown_days == ()


@pytest.mark.parametrize("by", ["station", "city", "operator", "power_class"])
@pytest.mark.parametrize("only", [None, "Köln"])
def test_a_period_of_which_nothing_is_known_gives_an_empty_report(lake: Lake, by: By, only: str | None) -> None:
    made = report(lake, by, only)

    assert made.is_empty
    assert (made.total["points"], made.total["occupied_s"], made.total["utilization"]) == (0, 0, None)
    assert [rows.num_rows for rows in (made.rows, made.daily, made.profile, made.by_power)] == [0, 0, 0, 0]
    assert made.provenance.unpolled_days == tuple(WEEK)
    assert made.provenance.observed == "nothing is known of this period: no figure is shown"


def test_a_misspelled_name_is_told_with_what_is_near(week: Lake) -> None:
    with pytest.raises(UnknownName, match=r"No city 'Koeln' is known from 2026-03-02 to 2026-03-08\. Near: Köln\."):
        report(week, "city", only="Koeln")
    with pytest.raises(UnknownName, match=r"No station 'Ratshaus' is known.* Near: 1 \(Rathaus\)"):
        report(week, "station", only="Ratshaus")
    with pytest.raises(UnknownName, match=r"No city 'Bon' .* Near: Bonn\."):
        report(week, "station", city="Bon")
    with pytest.raises(UnknownName, match=r"No power class 'x' .* There are 2 others\."):
        report(week, "power_class", only="x")


# -- where it is from ------------------------------------------------------------------------------------------------


def test_it_says_where_its_figures_are_from(week: Lake) -> None:
    said = report(week).provenance

    assert (said.first, said.last, said.days, said.coverage) == (FIRST, LAST, 7, 1.0)
    assert (said.points, said.points_observed) == (3, 3)
    assert said.method_version == METHOD_VERSION
    assert not said.is_simulated
    assert said.observed.startswith("3 of the 3 points known were observed, 100.0 % of their time")
    (source,) = said.sources
    assert source.name == "Public API of chargecloud (new-poi.chargecloud.de), feeds bonn, köln"
    assert source.licence.startswith("none stated")
    assert source.attribution.startswith("chargecloud and the cities and operators")


def test_days_that_another_version_made_are_told(week: Lake) -> None:
    assert report(week).provenance.made_by == f"charging_assets {__version__}"
    path = Path(week.location("kpi_daily", WEEK[2]))
    footer = pq.read_metadata(path).metadata | {b"charging_assets.code_version": b"0.0.9"}
    pq.write_table(pq.read_table(path).replace_schema_metadata(footer), path)

    said = report(week).provenance

    assert said.other_versions == ("0.0.9",)
    assert "days of the period were made by 0.0.9, whose method may be another" in said.made_by


def test_days_that_were_made_from_what_is_there_no_more_are_told(week: Lake) -> None:
    assert report(week).provenance.outdated == ""
    for date, inputs in {WEEK[1]: Inputs(week).fingerprint("kpi_daily", WEEK[1]), WEEK[2]: "others"}.items():
        week.write("kpi_daily", date, week.read("kpi_daily", date), inputs)

    said = report(week).provenance

    assert said.outdated_days == (WEEK[2],)
    assert said.outdated == (
        "OUTDATED: 1 of 7 days made from other answers than there are now, so figures may change: "
        "`charging-assets build --from 2026-03-04 --to 2026-03-04` makes them again."
    )


def test_coverage_too_low_for_figures_is_not_rounded_up_to_what_is_enough(week: Lake) -> None:
    said = replace(report(week).provenance, coverage=0.79999)

    assert "79.9 % of their time" in said.observed
    assert [coverage(share) for share in (0.79999, 0.8, 0.8006, 1.0, 0.12)] == [
        f"{shown}\N{NO-BREAK SPACE}%" for shown in ("79.9", "80.0", "80.1", "100.0", "12.0")
    ]


def test_a_simulated_lake_names_no_source_as_if_it_were_real(week: Lake) -> None:
    week.raw.claim(Kind("simulated", 1, "2026-01-01"))
    said = report(week).provenance

    assert said.is_simulated
    assert "chargecloud" not in " ".join(map(str, said.sources))


def test_the_id_is_of_the_question_and_of_the_figures(week: Lake) -> None:
    made = report(week)

    assert made.question == Question("city", FIRST, LAST)
    assert report(week).provenance == made.provenance
    assert len({report(week, by).provenance.report_id for by in ("station", "city", "operator")}) == 3
    put_days(week, WEEK[:1], HALL, FAST, Point("DE*B1", 3, city="Bonn", station="Markt", busy=0.2))
    changed = report(week).provenance
    assert changed.report_id != made.provenance.report_id
    assert len(changed.report_id) == len("R-0123456789")


def test_only_feeds_that_the_figures_are_of_are_named(week: Lake) -> None:
    put_days(week, WEEK[3:4], HALL, FAST, Point("DE*R1", 4, city="Roth"))

    def feeds(by: By, only: str | None) -> str:
        return report(week, by, only).provenance.sources[0].name.partition(", feeds ")[2]

    assert [feeds("city", name) for name in (None, "Köln", "Roth")] == ["bonn, köln, roth", "köln", "roth"]
    assert [feeds("station", "3"), feeds("operator", "Netz AG")] == ["bonn", "köln"]


def test_it_says_how_often_was_polled(week: Lake) -> None:
    def put(date: dt.date, intervals: dict[str, int]) -> None:
        schema = arrow_schema("poll_log")
        times = [day_bounds(date)[0] + number * dt.timedelta(minutes=1) for number in range(len(intervals))]
        facts = {"query_date": [date] * len(times), "query_time": times, "feed": list(intervals)}
        facts |= {"interval_s": list(intervals.values())}
        blank = {field.name: [_blank(field.type)] * len(times) for field in schema}
        week.write("poll_log", date, pa.table({**blank, **facts}, schema))

    assert report(week).provenance.intervals_s == ()
    for date in WEEK:
        put(date, {"köln": 300 if date == LAST else 600, "roth": 60})
    assert report(week).provenance.intervals_s == (300, 600)


def _blank(kind: pa.DataType) -> Any:
    if pa.types.is_integer(kind):
        return 0
    return False if pa.types.is_boolean(kind) else None if pa.types.is_temporal(kind) else ""


def test_power_classes_are_those_that_points_had_on_the_day(lake: Lake) -> None:
    slow, fast = (Point("DE*K1", 1, power_class=name, durations=(time,)) for name, time in (("AC", 3_600), ("DC", 600)))
    put_days(lake, WEEK[:6], slow)
    put_days(lake, WEEK[6:], fast)

    for made in (report(lake), report(lake, only="Köln"), report(lake, "operator", only="Stadtwerke")):
        rows = made.by_power.to_pylist()
        told = [(row["scope_id"], row["days"], row["events"], row["duration_p50_s"]) for row in rows]
        assert told == [("AC", 6, 6, 3_600), ("DC", 1, 1, 600)]


def test_a_point_that_two_feeds_answer_by_turns_is_one_point(lake: Lake) -> None:
    put_days(lake, WEEK, HALL, BONN)
    other = put_days_of_feed(lake, WEEK[3])

    assert other == ["bonn", "other"]
    made = report(lake)
    assert (made.total["points"], made.total["stations"], made.total["coverage"]) == (2, 2, 1)
    assert made.provenance.observed.startswith("2 of the 2 points")


def put_days_of_feed(lake: Lake, date: dt.date) -> list[str]:
    """Let a feed called other have had the points of Köln on this day; returns the feeds of the day."""
    rows = lake.read("kpi_daily", date).to_pylist()
    for row in rows:
        if (row["scope"], row["scope_id"]) == ("feed", "köln"):
            row["scope_id"] = "other"
    rows.sort(key=lambda row: (row["scope"], row["scope_id"]))
    lake.write("kpi_daily", date, pa.Table.from_pylist(rows, arrow_schema("kpi_daily")))
    return [row["scope_id"] for row in rows if row["scope"] == "feed"]
