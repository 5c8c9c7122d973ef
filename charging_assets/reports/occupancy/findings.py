"""What a report's figures say, in sentences that somebody can act upon and that hold.

Belongs here: which statements the figures allow. Does not belong here: how figures are worded (`wording`) and shown
(`page`). Nothing hidden is ranked or compared. What is said of differences between days is held against how much days
differ anyway: it must be three standard errors, since neighbouring days are alike and so tell less than their number.
Public holidays count as the weekdays they are.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from charging_assets.model.tables.occupancy import LEAST_COVERAGE
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.wording import NOUNS, called, counted, coverage, days, duration, listed, percent

OFTEN_FULL = 0.2
"""Of a station's polls: from here on it is a candidate for more points."""
HARDLY_USED = 0.02
"""Of available time: below it, half an hour a day, a station hardly is used."""
OFTEN_FAULTY = 0.1
"""Of observed time."""

_NAMED = 3
"""Names, hours or dates in a sentence."""
_STANDARD_ERRORS = 3.0
_LEAST_DIFFERENCE = 0.005
"""Of utilization: less is not worth a word, however sure."""
_LEAST_WEEKDAYS, _LEAST_WEEKEND_DAYS = 8, 4
"""Of two weeks, to tell weekdays from weekends."""
_LEAST_TREND_WEEKS = 4
_NEARLY = 0.01
"""Of utilization: hours that are so near to the busiest, or the quietest, are named with it."""
_LEAST_HOURS = 12
"""Of a day, to name the busiest and the quietest."""
_LEAST_POINT_DAYS = 14
"""Observed, to name them: the busiest hour of two points within a few days is chance."""
_LEAST_DAYS_TO_JUDGE = 7
"""To say that a station hardly is used, or is a candidate for more points."""
_LEAST_SEEN = 0.5
"""Of the days with figures: a thing that was observed for less is not ranked against the others."""

Row = Mapping[str, Any]


def findings(report: Report) -> list[str]:
    """At most nine sentences on use, free points, hours, weekends, trend, places, faults and what was not observed.

    For a report without figures one, which says that nothing was observed.
    """
    if not report.total["points_observed"] or report.total["coverage"] is None:
        known = report.total["points"]
        of_known = f" of the {counted(known, 'charging point', 'charging points')} known" if known else ""
        return [f"Nothing was observed{of_known} in this period, so there are no figures."]
    by_time = () if report.total["utilization"] is None else (_hours, _weekends, _trend)
    told = (_use, _free, *by_time, _places, _hardly_used, _faults, _unobserved)
    return [sentence for sentence in (tell(report) for tell in told) if sentence]


# -- of all together -------------------------------------------------------------------------------------------------


def _use(report: Report) -> str:
    total, share = report.total, report.total["utilization"]
    if share is None:
        least = percent(LEAST_COVERAGE, 0)
        return f"Less than {least} of the points' time was observed: too little for figures of all together."
    a_day = f"{duration(86_400 * share)} a day"
    if total["points_observed"] == 1:
        return _on_days(
            report, f"the one point observed was occupied {percent(share)} of the time, {a_day} on average."
        )
    points = counted(total["points_observed"], "point", "points")
    known = f", of {total['points']:,} known," if total["points_observed"] < total["points"] else ""
    said = f"the {points} observed{known} were occupied {percent(share)} of the time, on average {a_day} each"
    if total["simultaneity"] is not None:
        said += f", and at most {total['max_occupied']:,} of them at once"
    return _on_days(report, f"{said}.")


def _on_days(report: Report, said: str) -> str:
    """As a sentence, which says of how many days it is where some have no figures."""
    observed, days_in_all = report.provenance.days_observed, report.provenance.days
    if observed == days_in_all:
        return said[0].upper() + said[1:]
    return f"On the {observed:,} of {days_in_all:,} days observed, {said}"


def _free(report: Report) -> str | None:
    total = report.total
    if total["free_on_arrival"] is None:
        return None
    a_station = "the station" if total["stations"] == 1 else "a station on average"
    free = percent(total["free_on_arrival"])
    return f"Polled {report.provenance.polled}, {a_station} had a free point {free} of the time."


def _hours(report: Report) -> str | None:
    hours = report.profile.group_by("hour_local").aggregate(
        [(f"{kind}_s", "sum") for kind in ("occupied", "free", "fault", "unknown")]
    )
    shares = {}
    for row in hours.sort_by("hour_local").to_pylist():
        occupied, unknown = row["occupied_s_sum"], row["unknown_s_sum"]
        observed = occupied + row["free_s_sum"] + row["fault_s_sum"]
        if observed and observed / (observed + unknown) >= LEAST_COVERAGE:
            shares[row["hour_local"]] = occupied / observed
    if len(shares) < _LEAST_HOURS or _observed(report.total) < _LEAST_POINT_DAYS * 86_400:
        return None
    most, least = (choose(shares.values()) for choose in (max, min))
    busiest, quietest = (
        _spans([hour for hour in shares if abs(shares[hour] - end) < _NEARLY]) for end in (most, least)
    )
    if most - least < 3 * _NEARLY or len(busiest) > _NAMED:
        return None
    of = "The" if len(shares) == 24 else "In the hours observed well enough, the"
    points = "point was" if report.total["points_observed"] == 1 else "points were"
    quiet = f", and quietest {listed(quietest)} (down to {percent(least, 0)})" if len(quietest) <= _NAMED else ""
    return f"{of} {points} busiest {listed(busiest)} (up to {percent(most, 0)} occupied){quiet}."


def _weekends(report: Report) -> str | None:
    shown = _days_shown(report)
    weekend, week = ([row for row in shown if (row["query_date"].weekday() >= 5) is is_end] for is_end in (True, False))
    if len(weekend) < _LEAST_WEEKEND_DAYS or len(week) < _LEAST_WEEKDAYS:
        return None
    figures = f"{percent(_utilization(week))} against {percent(_utilization(weekend))}"
    if not _differ(week, weekend):
        return f"Weekdays and weekends did not differ clearly: {figures}."
    more = "more" if _utilization(week) > _utilization(weekend) else "less"
    return f"From Monday to Friday the points were used {more} than on weekends: {figures}."


def _trend(report: Report) -> str | None:
    """First against last weeks, as many of each: whole weeks, so that both have the same weekdays."""
    weeks = report.provenance.days // 14
    shown = _days_shown(report)
    start, end = (
        [row for row in shown if row["query_date"] < report.first + dt.timedelta(weeks=weeks)],
        [row for row in shown if row["query_date"] > report.provenance.until - dt.timedelta(weeks=weeks)],
    )
    if 2 * weeks < _LEAST_TREND_WEEKS or min(len(start), len(end)) < LEAST_COVERAGE * 7 * weeks:
        return None
    before, after = _utilization(start), _utilization(end)
    figures = f"{percent(before)} in the first {weeks} weeks, {percent(after)} in the last {weeks}"
    if not _differ(start, end):
        return f"Over the period use neither rose nor fell clearly: {figures}."
    return f"Over the period use {'rose' if after > before else 'fell'}: {figures}."


def _unobserved(report: Report) -> str:
    told, total = report.provenance, report.total
    parts = []
    if told.unpolled_days:
        parts.append(f"{counted(len(told.unpolled_days), 'day', 'days')} had no poll{_dates(told.unpolled_days)}")
    if told.unbuilt_days:
        number = counted(len(told.unbuilt_days), "day", "days")
        parts.append(f"the figures of {number} are not made yet{_dates(told.unbuilt_days)}")
    if told.unknown_days:
        number = counted(len(told.unknown_days), "day", "days")
        parts.append(f"nothing was known of {number}{_dates(told.unknown_days)}")
    hidden = [
        row["query_date"]
        for row in report.daily.to_pylist()
        if row["utilization"] is None and row["query_date"] not in told.missing_days
    ]
    if hidden and total["utilization"] is not None:
        number = counted(len(hidden), "day was", "days were")
        parts.append(
            f"{number} observed too little for a figure of {'its' if len(hidden) == 1 else 'their'} own{_dates(hidden)}"
        )
    if total["points_observed"] < total["points"]:
        points = counted(total["points"], "point", "points")
        parts.append(f"on no day more than {total['points_observed']:,} of {points} were observed")
    share = f"Of the time in which points were known, {coverage(total['coverage'])} was observed"
    return f"{share}; {listed(parts)}." if parts else f"{share}."


def _dates(dates: Sequence[dt.date]) -> str:
    """In parentheses, unless they are too scattered to be read."""
    said = days(dates)
    return f" ({said})" if said.count(",") < _NAMED else ""


# -- of places -------------------------------------------------------------------------------------------------------


def _places(report: Report) -> str | None:
    """Stations: which are full; other things: which are used most and least."""
    if report.by == "station":
        return _full(report)
    ranked = sorted(
        (row for row in rows_seen(report) if row["utilization"] is not None), key=lambda row: -row["utilization"]
    )
    if len(ranked) < 2 or percent(ranked[0]["utilization"]) == percent(ranked[-1]["utilization"]):
        return None
    most, least = (_of_equal_use(ranked, report, row) for row in (ranked[0], ranked[-1]))
    if max(len(most), len(least)) > _NAMED:
        return None
    several = NOUNS[report.by][1]
    return (
        f"Of the {len(ranked):,} {several} with figures, {listed(most)} had the highest use and {listed(least)} the "
        "lowest."
    )


def _of_equal_use(rows: Sequence[Row], report: Report, like: Row) -> list[str]:
    """All that are printed with the same figure, with their points: a few points soon are busy, or idle."""
    use = percent(like["utilization"])
    return [
        f"{called(row, report)} ({use}, {counted(row['points_observed'], 'point', 'points')})"
        for row in rows
        if percent(row["utilization"]) == use
    ]


def _full(report: Report) -> str | None:
    ranked = sorted(rows_to_be_full(report), key=lambda row: -row["full_share"])
    often = [row for row in ranked if row["full_share"] >= OFTEN_FULL]
    if len(ranked) < 2:
        return None
    limit = percent(OFTEN_FULL, 0)
    is_any_aside = any((row["full_share"] or 0) >= OFTEN_FULL and not _is_in_order(row) for row in rows_seen(report))
    among = ", those often out of order left aside," if is_any_aside else ""
    if not often:
        return f"No station{among} had all working points occupied at {limit} of its polls or more."
    at, candidates = ("1 station", "a candidate") if len(often) == 1 else (f"{len(often):,} stations", "candidates")
    more = f", {candidates} for more points" if report.provenance.days_observed >= _LEAST_DAYS_TO_JUDGE else ""
    names = _names(report, often, "full_share")
    return f"At {at}{among} all working points were occupied at {limit} of the polls or more{more}: {names}."


def _hardly_used(report: Report) -> str | None:
    """Of things in order for most of the time: one that is broken is not unused."""
    if report.by != "station" or report.provenance.days_observed < _LEAST_DAYS_TO_JUDGE:
        return None
    ranked = [row for row in rows_seen(report) if None not in (row["utilization_available"], row["availability"])]
    hardly = sorted(
        (row for row in ranked if row["utilization_available"] < HARDLY_USED and row["availability"] >= 0.5),
        key=lambda row: row["utilization_available"],
    )
    if len(ranked) < 2 or not hardly:
        return None
    were = "was" if len(hardly) == 1 else "were"
    names = _names(report, hardly, "utilization_available")
    return (
        f"Of {len(ranked):,} stations with figures, {len(hardly):,} {were} hardly used, under half an hour a day per "
        f"point: {names}."
    )


def _faults(report: Report) -> str | None:
    total, (one, several) = report.total, NOUNS[report.by]
    if total["availability"] is None:
        return None
    if not total["fault_s"]:
        return "No point was seen out of order."
    broken = 1 - total["availability"]
    said = f"Points were out of order for {percent(broken)} of the time observed"
    if total["points_observed"] == 1:
        said = said.replace("Points were", "The point was")
    faulty = sorted(
        (
            row
            for row in rows_seen(report)
            if row["availability"] is not None and 1 - row["availability"] >= OFTEN_FAULTY
        ),
        key=lambda row: row["availability"],
    )
    if not faulty or report.rows.num_rows < 2:
        return said + "."
    names = _names(report, faulty, "availability", is_inverse=True)
    return f"{said}; {counted(len(faulty), one, several)} had {percent(OFTEN_FAULTY, 0)} or more: {names}."


def rows_seen(report: Report) -> list[Row]:
    """Those observed for half of the time at least: a station of yesterday is not ranked against those of a month."""
    least = _LEAST_SEEN * 86_400 * report.provenance.days_observed
    rows = report.rows.to_pylist()
    return [row for row in rows if row["points_observed"] and _observed(row) >= least * row["points_observed"]]


def rows_to_be_full(report: Report) -> list[Row]:
    """Of these, those whose share of polls without a free point tells of use.

    A station often out of order has few working points, which soon are occupied: it wants repair, not more points.
    """
    return [
        row
        for row in rows_seen(report)
        if row["full_share"] is not None and (report.by != "station" or _is_in_order(row))
    ]


def _is_in_order(row: Row) -> bool:
    return row["availability"] is not None and 1 - row["availability"] < OFTEN_FAULTY


def _names(report: Report, rows: Sequence[Row], figure: str, *, is_inverse: bool = False) -> str:
    shares = [1 - row[figure] if is_inverse else row[figure] for row in rows[:_NAMED]]
    names = [f"{called(row, report)} ({percent(share)})" for row, share in zip(rows, shares, strict=False)]
    more = len(rows) - len(names)
    return listed([*names, f"{more:,}\u00a0more"] if more else names)


# -- days ------------------------------------------------------------------------------------------------------------


def _days_shown(report: Report) -> list[Row]:
    return [row for row in report.daily.to_pylist() if row["utilization"] is not None]


def _observed(row: Row) -> float:
    return float(row["occupied_s"] + row["free_s"] + row["fault_s"])


def _utilization(rows: Sequence[Row]) -> float:
    """Of several days together."""
    return float(sum(row["occupied_s"] for row in rows) / sum(map(_observed, rows)))


def _differ(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether two groups of days differ by more than days do anyway."""

    def error(rows: Sequence[Row]) -> float:
        mean = _utilization(rows)
        return float(sum((row["utilization"] - mean) ** 2 for row in rows)) / (len(rows) - 1) / len(rows)

    difference = abs(_utilization(some) - _utilization(others))
    return difference > max(_LEAST_DIFFERENCE, _STANDARD_ERRORS * math.sqrt(error(some) + error(others)))


def _spans(hours: Sequence[int]) -> list[str]:
    """Sorted hours, neighbours put together."""
    starts = [hour for hour in hours if hour - 1 not in hours]
    ends = [hour + 1 for hour in hours if hour + 1 not in hours]
    return [f"from {start}:00 to {end}:00" for start, end in zip(starts, ends, strict=True)]
