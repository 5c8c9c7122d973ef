"""What was published is kept, and told when it is another by now."""

import datetime as dt

import pytest

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.reports.occupancy.archive import Publication, changed_figures, publish
from charging_assets.reports.occupancy.content import By, make_report
from charging_assets_tests.reports.kpi_days import Point, days, put_days

FIRST, LAST = dt.date(2026, 3, 2), dt.date(2026, 3, 3)
DATES = days(FIRST, 2)
NOON = dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC)

KOELN = Point("DE*K1", 1, station="Rathaus")
BONN = Point("DE*B1", 2, city="Bonn", station="Markt")


@pytest.fixture
def built(lake: Lake) -> Lake:
    """Two days of two points."""
    put_days(lake, DATES, KOELN, BONN)
    return lake


def give_out(lake: Lake, by: By = "city", only: str | None = None, *, last: dt.date = LAST) -> list[str]:
    return [str(change) for change in publish(lake, make_report(lake, by, FIRST, last, only), NOON).changes]


def rebuild(lake: Lake, *points: Point) -> None:
    put_days(lake, DATES, *points)


def busier(point: Point) -> Point:
    return Point(point.id_cp, point.id_cs, point.city, station=point.station, busy=0.5)


def test_the_first_report_of_a_question_is_kept_and_changes_nothing(built: Lake) -> None:
    made = make_report(built, "city", FIRST, LAST)

    assert publish(built, made, NOON) == Publication(None, [])

    (kept,) = built.reports.published()
    assert (kept.report_id, kept.question, kept.published_at) == (made.provenance.report_id, made.question, NOON)
    assert built.reports.read(kept).equals(made.rows)


def test_the_same_report_is_kept_once(built: Lake) -> None:
    for _ in range(2):
        assert give_out(built) == []

    assert len(built.reports.published()) == 1


def test_other_figures_for_the_same_question_are_told_one_by_one(built: Lake) -> None:
    give_out(built)
    rebuild(built, busier(KOELN), BONN)

    assert give_out(built) == [
        "Köln, Utilization (%): 25.00 -> 50.00",
        "Köln, Utilization of available time (%): 25.00 -> 50.00",
        "Köln, Peak utilization (%): 25.00 -> 50.00",
        "Köln, Occupied (point-hours): 12.0 -> 24.0",
        "Köln, Free (point-hours): 36.0 -> 24.0",
    ]
    assert len(built.reports.published()) == 2


def test_what_came_went_or_was_hidden_is_told_in_words(built: Lake) -> None:
    give_out(built)
    rebuild(built, Point("DE*K1", 1, station="Rathaus", observed=0.5), Point("DE*H1", 3, city="Hof"))
    told = give_out(built)

    assert "Bonn: in the report -> not in the report" in told
    assert "Hof: not in the report -> in the report" in told
    assert "Köln, Utilization (%): 25.00 -> not shown" in told
    assert "Köln, Coverage (%): 100.00 -> 50.00" in told


def test_differences_too_small_to_be_printed_are_none(built: Lake) -> None:
    give_out(built)
    rebuild(built, Point("DE*K1", 1, station="Rathaus", busy=0.250001), BONN)

    assert give_out(built) == []


def test_figures_that_went_back_to_what_they_were_changed_too(built: Lake) -> None:
    give_out(built)
    rebuild(built, busier(KOELN), BONN)
    give_out(built)
    rebuild(built, KOELN, BONN)

    assert "Köln, Utilization (%): 50.00 -> 25.00" in give_out(built)
    assert len(built.reports.published()) == 3
    assert give_out(built) == []


def test_reports_of_other_questions_are_not_compared(built: Lake) -> None:
    give_out(built)
    rebuild(built, busier(KOELN), BONN)

    assert give_out(built, only="Köln") == []
    assert give_out(built, "station") == []
    assert give_out(built, last=FIRST) == []


def test_a_report_of_nothing_is_not_kept(lake: Lake) -> None:
    assert give_out(lake) == []

    assert lake.reports.entries() == []


def test_rebuilding_tells_which_published_figures_changed(built: Lake) -> None:
    give_out(built)
    give_out(built, "station", only="2")
    rebuild(built, busier(KOELN), BONN)

    changes = changed_figures(built, [FIRST])

    assert {change.name for change in changes} == {"Köln"}
    assert "Köln, Utilization (%): 25.00 -> 50.00" in map(str, changes)
    assert {change.published.question.by for change in changes} == {"city"}


def test_only_periods_that_touch_the_dates_are_looked_at(built: Lake) -> None:
    give_out(built)
    give_out(built, last=FIRST)
    rebuild(built, busier(KOELN), BONN)

    assert {change.published.question.last for change in changed_figures(built, [LAST])} == {LAST}
    assert {change.published.question.last for change in changed_figures(built, DATES)} == {FIRST, LAST}
    assert changed_figures(built, [LAST + dt.timedelta(days=1)]) == []


def test_final_figures_are_kept_beside_preliminary_ones_that_were_the_same(built: Lake) -> None:
    for time in (day_bounds(LAST)[1] - dt.timedelta(minutes=1), day_bounds(LAST)[1]):
        publish(built, make_report(built, "city", FIRST, LAST, now=time), time)

    assert [report.is_preliminary for report in built.reports.published()] == [True, False]


def test_days_before_the_lake_began_change_what_is_missing_of_later_periods(built: Lake) -> None:
    made = make_report(built, "city", FIRST - dt.timedelta(days=5), LAST)
    publish(built, made, NOON)
    put_days(built, [FIRST - dt.timedelta(days=30)], KOELN, BONN)

    assert changed_figures(built, [FIRST - dt.timedelta(days=29)]) == []
    changes = changed_figures(built, [FIRST - dt.timedelta(days=30)])
    assert "Köln, Coverage (%): 100.00 -> 28.57" in map(str, changes)


def test_a_report_of_a_period_that_was_not_over_is_expected_to_change(built: Lake) -> None:
    made = make_report(built, "city", FIRST, LAST)
    publish(built, made, day_bounds(LAST)[1] - dt.timedelta(seconds=1))
    rebuild(built, busier(KOELN), BONN)

    assert changed_figures(built, DATES) == []
    assert "Köln, Utilization (%): 25.00 -> 50.00" in give_out(built)

    rebuild(built, KOELN, BONN)
    assert changed_figures(built, DATES) != []


def test_the_last_report_of_a_question_is_what_counts(built: Lake) -> None:
    give_out(built)
    rebuild(built, busier(KOELN), BONN)
    give_out(built)

    assert changed_figures(built, DATES) == []


def test_without_published_reports_no_table_is_read(lake: Lake) -> None:
    assert changed_figures(lake, DATES) == []
