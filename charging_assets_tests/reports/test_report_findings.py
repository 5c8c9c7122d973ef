import datetime as dt
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_reports import Thing, station, write_report

from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.findings import findings

FIRST = dt.date(2026, 11, 2)  # a Monday


def after(days: int) -> dt.date:
    """The last day of a period of so many."""
    return FIRST + dt.timedelta(days=days - 1)


def told(report: Report, *words: str) -> str:
    """The one sentence that has all these words."""
    (sentence,) = [sentence for sentence in said(report) if all(word in sentence for word in words)]
    return sentence


def said(report: Report) -> Sequence[str]:
    return [sentence.replace("\u00a0", " ") for sentence in findings(report)]


def is_told(report: Report, word: str) -> bool:
    return any(word in sentence for sentence in said(report))


def test_use_is_said_of_the_points_observed() -> None:
    report = write_report([station(1, points=2, busy=0.125), station(2, points=2, busy=0.125)], FIRST, after(7))
    assert said(report)[0] == "The 4 points observed were occupied 12.5 % of the time, on average 3 h a day each."


def test_use_is_said_with_the_points_and_days_that_it_is_of_where_some_are_missing() -> None:
    things = [station(1, points=9), station(2, points=1, observed=0.0)]
    report = write_report(things, FIRST, after(10), observed=lambda date: float(date > after(1)))
    assert said(report)[0].startswith(
        "On the 9 of 10 days observed, the 9 points observed, of 10 known, were occupied "
    )


def test_free_points_are_said_with_how_often_was_polled() -> None:
    things = [station(1, full=0.25), station(2, full=0.25)]
    report = write_report(things, FIRST, after(7), intervals_s=(300,))
    assert (
        told(report, "free point")
        == "Polled every 5 minutes, a station on average had a free point 75.0 % of the time."
    )
    assert "the station had a free point" in told(write_report(things[:1], FIRST, after(7)), "free point")


def test_a_single_point_is_not_spoken_of_as_several() -> None:
    report = write_report([station(1, points=1, busy=0.125, broken=0.5)], FIRST, after(7))
    assert (
        told(report, "observed was occupied")
        == "The one point observed was occupied 6.2 % of the time, 1 h 30 min a day on average."
    )
    assert told(report, "out of order") == "The point was out of order for 50.0 % of the time observed."


def test_the_busiest_moment_is_only_said_of_one_thing_since_several_have_theirs_at_other_times() -> None:
    one = write_report([Thing("Hof", points=9)], FIRST, after(2), by="city", only="Hof")
    assert told(one, "at once").endswith("and at most 9 of them at once.")
    two = write_report([Thing("Hof", points=9), Thing("Roth", points=9)], FIRST, after(2), by="city")
    assert not is_told(two, "at once")


def test_hours_are_named_from_the_local_hours_of_all_weekdays() -> None:
    def by_hour(weekday: int, hour: int) -> float:
        return {12: 2.0, 3: 0.2}.get(hour, 1.0)

    report = write_report([station(1, busy=0.2)], FIRST, after(7), by_hour=by_hour)
    assert told(report, "busiest from") == (
        "The points were busiest from 12:00 to 13:00 (up to 40 % occupied), "
        "and quietest from 3:00 to 4:00 (down to 4 %)."
    )


def test_hours_nearly_as_busy_are_named_with_the_busiest() -> None:
    def by_hour(weekday: int, hour: int) -> float:
        return {8: 1.96, 12: 2.0, 13: 1.98, 19: 1.99}.get(hour, 1.0)

    report = write_report([station(1, busy=0.2)], FIRST, after(7), by_hour=by_hour)
    assert told(report, "busiest from") == (
        "The points were busiest from 8:00 to 9:00, from 12:00 to 14:00 and from 19:00 to 20:00 (up to 40 % occupied)."
    )


def test_the_busiest_hour_of_a_few_point_days_is_not_told() -> None:
    def by_hour(weekday: int, hour: int) -> float:
        return 2.0 if hour == 12 else 1.0

    things = [station(1, busy=0.2)]
    assert is_told(write_report(things, FIRST, after(7), by_hour=by_hour), "busiest from")
    assert not is_told(write_report(things, FIRST, after(6), by_hour=by_hour), "busiest from")


def test_hours_that_do_not_differ_are_not_ranked() -> None:
    assert not is_told(write_report([station(1)], FIRST, after(7)), "busiest from")


def test_weekends_are_compared_from_two_weeks_on() -> None:
    def busier(date: dt.date) -> float:
        return (0.5 if date.weekday() >= 5 else 1.0) + date.day % 3 / 100

    things = [station(1, busy=0.2)]
    assert told(write_report(things, FIRST, after(14), busier=busier), "weekends").startswith(
        "From Monday to Friday the points were used more than on weekends: 20."
    )
    assert not is_told(write_report(things, FIRST, after(13), busier=busier), "weekend")


def test_days_that_are_hidden_do_not_count_as_weekend_days() -> None:
    def observed(date: dt.date) -> float:
        return 0.7 if date == dt.date(2026, 11, 8) else 1.0

    report = write_report([station(1), station(2)], FIRST, after(14), observed=observed)
    assert not is_told(report, "weekend")


def test_a_difference_within_what_days_differ_anyway_is_no_difference() -> None:
    def busier(date: dt.date) -> float:
        return [0.5, 1.5, 1.1, 0.7, 1.3, 0.6, 1.2][date.toordinal() * 5 % 7] + (0.05 if date.weekday() >= 5 else 0)

    report = write_report([station(1, busy=0.2)], FIRST, after(28), busier=busier)
    assert told(report, "weekends").startswith("Weekdays and weekends did not differ clearly: ")
    assert told(report, "Over the period").startswith("Over the period use neither rose nor fell clearly: ")


@pytest.mark.parametrize(("late", "word"), [(1.5, "rose"), (0.5, "fell")])
def test_a_trend_is_told_from_four_weeks_on(late: float, word: str) -> None:
    def busier(date: dt.date) -> float:
        return (late if date >= FIRST + dt.timedelta(days=14) else 1.0) + date.day % 5 / 100

    things = [station(1, busy=0.2)]
    trend = told(write_report(things, FIRST, after(28), busier=busier), "Over the period")
    assert trend.startswith(f"Over the period use {word}: 20.4 % in the first 2 weeks, ")
    assert not is_told(write_report(things, FIRST, after(27), busier=busier), "Over the period")


def test_no_trend_is_told_over_weeks_of_which_days_are_missing() -> None:
    def observed(date: dt.date) -> float:
        return 0.0 if date < FIRST + dt.timedelta(days=4) else 1.0

    report = write_report([station(1)], FIRST, after(28), observed=observed)
    assert not is_told(report, "Over the period")


def test_stations_that_are_full_often_are_candidates_for_more_points() -> None:
    things = [station(1), *(station(n, name=f"Full {n}", full=n / 10) for n in range(3, 8))]
    assert told(write_report(things, FIRST, after(7), city="Köln"), "candidates") == (
        "At 5 stations all working points were occupied at 20 % of the polls or more, candidates for more points: "
        "Full 7 (70.1 %), Full 6 (59.7 %), Full 5 (50.0 %) and 2 more."
    )
    assert "At 1 station " in told(write_report(things[:2], FIRST, after(7)), "a candidate for more points: Full 3")
    assert is_told(write_report([station(1), station(2)], FIRST, after(7)), "No station had all")


def test_less_than_a_week_makes_no_station_a_candidate() -> None:
    report = write_report([station(1), station(2, name="Full", full=0.5)], FIRST, after(6), city="Köln")
    assert told(report, "all working points") == (
        "At 1 station all working points were occupied at 20 % of the polls or more: Full (50.0 %)."
    )


def test_a_broken_station_that_is_full_wants_repair_and_no_more_points() -> None:
    things = [station(1), station(2), station(3, name="Broken", full=0.5, broken=0.4)]
    report = write_report(things, FIRST, after(7), city="Köln")
    assert told(report, "all working points") == (
        "No station, those often out of order left aside, had all working points occupied at 20 % of its polls or more."
    )


def test_stations_of_several_cities_are_named_with_theirs() -> None:
    things = [station(1), station(2, name="Markt", city="Hof", full=0.5), station(3, name="Kai", city=None, full=0.5)]
    names = told(write_report(things, FIRST, after(7)), "candidates")
    assert "Markt, Hof (50.0 %)" in names
    assert "Kai (50.0 %)" in names


def test_what_is_hidden_is_not_ranked() -> None:
    things = [station(1), station(2), station(3, name="Hidden", full=0.9, busy=0.001, broken=0.4, observed=0.79)]
    report = write_report(things, FIRST, after(7))
    assert report.total["utilization"] is not None
    assert not is_told(report, "Hidden")


def test_a_station_that_was_there_for_a_small_part_of_the_period_is_not_ranked() -> None:
    things = [station(1), station(2), station(3, name="New", full=0.9, broken=0.5, days=3)]
    assert not is_told(write_report(things, FIRST, after(7)), "New")


def test_days_without_figures_keep_nobody_from_being_ranked() -> None:
    things = [station(1, days=7), station(2, full=0.5, days=7)]
    report = write_report(things, FIRST, after(20), observed=lambda date: float(date > after(13)))
    assert is_told(report, "a candidate")


def test_stations_that_hardly_are_used_are_named_unless_they_are_broken() -> None:
    things = [station(1), station(2, name="Idle", busy=0.01), station(3, name="Broken", busy=0.01, broken=0.9)]
    report = write_report(things, FIRST, after(7), city="Köln")
    assert told(report, "hardly used") == (
        "Of 3 stations with figures, 1 was hardly used, under half an hour a day per point: Idle (1.0 %)."
    )
    assert told(report, "out of order").endswith("; 1 station had 10 % or more: Broken (90.0 %).")
    assert not is_told(write_report(things, FIRST, after(6)), "hardly used")


def test_without_a_fault_none_is_said() -> None:
    assert is_told(write_report([station(1), station(2)], FIRST, after(7)), "No point was seen out of order.")


def test_other_things_than_stations_are_ranked_by_use() -> None:
    things = [Thing("Hof", busy=0.2, full=0.9), Thing("Roth", busy=0.1), Thing("Calw", busy=0.15)]
    report = write_report(things, FIRST, after(7), by="city")
    assert told(report, "Of the 3") == (
        "Of the 3 cities with figures, Hof (20.0 %, 2 points) had the highest use "
        "and Roth (10.0 %, 2 points) the lowest."
    )
    assert not is_told(report, "candidate")


def test_things_of_equal_use_are_named_together_or_not_at_all() -> None:
    things = [Thing("Hof", busy=0.2), Thing("Roth", busy=0.2), *(Thing(f"C{n}", busy=0.1) for n in range(3))]
    words = told(write_report(things, FIRST, after(7), by="city"), "highest")
    assert "Hof (20.0 %, 2 points) and Roth (20.0 %, 2 points) had the highest use and C0 " in words
    assert not is_told(write_report([*things, Thing("C3", busy=0.1)], FIRST, after(7), by="city"), "highest")


def test_what_was_not_observed_is_told() -> None:
    gone = dt.date(2026, 11, 4)
    things = [station(1, points=9), station(2, points=1, observed=0.0)]
    report = write_report(things, FIRST, after(10), observed=lambda date: float(date != gone), unbuilt=[after(10)])
    assert told(report, "Of the time") == (
        "Of the time in which points were known, 80.0 % was observed; 1 day had no poll "
        "(4 November 2026), the figures of 1 day are not made yet (11 November 2026) and on no day more than 9 of "
        "10 points were observed."
    )


def test_days_with_polls_but_without_a_figure_are_told() -> None:
    def observed(date: dt.date) -> float:
        return 0.7 if after(2) <= date <= after(3) else 1.0

    report = write_report([station(1), station(2)], FIRST, after(14), observed=observed)
    assert told(report, "Of the time").endswith(
        "; 2 days were observed too little for a figure of their own (3 to 4 November 2026)."
    )


def test_too_little_coverage_is_said_instead_of_a_figure() -> None:
    report = write_report([station(1), station(2)], FIRST, after(30), observed=lambda date: 0.5)
    assert said(report)[0] == (
        "Less than 80 % of the points' time was observed: too little for figures of all together."
    )
    assert said(report)[1:] == ["Of the time in which points were known, 50.0 % was observed."]


def test_an_empty_report_has_one_sentence() -> None:
    assert said(write_report([], FIRST, after(7))) == ["Nothing was observed in this period, so there are no figures."]
    blind = write_report([station(1, points=3)], FIRST, after(7), observed=lambda date: 0.0)
    assert said(blind) == [
        "Nothing was observed of the 3 charging points known in this period, so there are no figures."
    ]


SHARES = st.floats(0, 1)


@given(
    st.lists(
        st.builds(
            Thing,
            st.text("ab", min_size=1),
            points=st.integers(1, 5),
            busy=SHARES,
            broken=SHARES,
            observed=SHARES,
            full=SHARES,
            power_class=st.sampled_from(["AC 11-22", "DC 150+"]),
            days=st.integers(1, 40),
        ),
        max_size=4,
        unique_by=lambda thing: thing.scope_id,
    ),
    st.integers(1, 40),
    st.sampled_from(["station", "city", "operator", "power_class"]),
    st.lists(SHARES, min_size=7, max_size=7),
)
def test_findings_are_at_most_nine_sentences_without_anything_hidden(things, days, by, observed) -> None:
    report = write_report(things, FIRST, after(days), by=by, observed=lambda date: observed[date.weekday()])
    sentences = findings(report)
    assert 1 <= len(sentences) <= 9
    for sentence in sentences:
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert not re.search(r"None|nan|inf\b|\u2013|-\d", sentence.replace("AC 11-22", ""))
