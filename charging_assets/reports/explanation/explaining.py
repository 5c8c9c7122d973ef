"""`explain`: find the figure and what it rests on, take it apart, compare, and find the raw answers.

Belongs here: the order of this, and what is said when something is not there.
"""

import datetime as dt
import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

from charging_assets import __version__
from charging_assets.calendar import query_date_of
from charging_assets.derive.inputs import Inputs
from charging_assets.lake import Lake
from charging_assets.model.tables import table
from charging_assets.model.tables.occupancy import METHOD_VERSION, SCOPES
from charging_assets.reports.explanation.checks import checks_of, checks_of_answers, durations
from charging_assets.reports.explanation.evidence import Day, is_text, time_of
from charging_assets.reports.explanation.formulas import FIGURES, FORMULAS, Row, coverages_of, words_of
from charging_assets.reports.explanation.model import KINDS, Explanation, Figure, Poll, Provenance
from charging_assets.reports.explanation.parts import Shown, counted, shown_of

MOST = 10
"""So many points, stations or events are shown in full where a scope has more."""

_NEEDED = ("utilization_hourly", "status_intervals", "charging_events", "status_chargingpoints", "poll_log")


class ExplanationError(Exception):
    """A figure cannot be explained; the message says what is missing and what to do."""


def explain(
    lake: Lake,
    kpi: str,
    scope: str,
    scope_id: str,
    query_date: dt.date,
    *,
    most: int | None = MOST,
    verify: bool = False,
) -> Explanation:
    """Take a figure of `kpi_daily` apart, down to the raw answers.

    Args:
        lake: has the day's tables.
        kpi: one of `FIGURES`.
        scope: one of `SCOPES`.
        scope_id: as `kpi_daily` has it: a charging point, a station's number, a city, an operator's name, …
        query_date: the day.
        most: so many points, stations or events are taken apart; sums and checks are of all. None: all.
        verify: whether to read the raw answers themselves and compute their SHA-256 again.

    Raises:
        ExplanationError: there is no such figure, or what it was made from is not there.
        LakeError: a file is damaged, or of another version.
    """
    if kpi not in FIGURES:
        raise ExplanationError(f"There is no figure {kpi!r}.{_near(kpi, FIGURES)} All of them: {', '.join(FIGURES)}.")
    row = _row_of(lake, kpi, scope, scope_id, query_date)
    provenance = _provenance(lake, query_date)
    for name in _NEEDED:
        _require(lake, name, query_date)
    with closing(Day(lake, query_date, scope, scope_id)) as day:
        if not day.length:
            raise ExplanationError(
                f"utilization_hourly of {query_date} has no time of {scope.replace('_', ' ')} {scope_id!r}, though "
                f"kpi_daily has its figures: `charging-assets build --date {query_date}` makes both again."
            )
        shown = shown_of(day, kpi, row[kpi], most)
        events = day.events if FORMULAS[kpi].made_from == "events" else []
        polls = _with_answers(lake, _polls(day, shown), verify=verify)
        dates = sorted({query_date_of(poll.query_time) for poll in polls})
        gone = [date for date in dates if not lake.raw.files(date)]
        return Explanation(
            kpi=kpi,
            scope=scope,
            scope_id=scope_id,
            name=row["name"],
            query_date=query_date,
            start=time_of(day.start),
            until=time_of(day.until),
            figure=_figure(kpi, row),
            provenance=provenance,
            points=shown.points,
            points_in_all=len(day.points),
            totals={kind: sum(point[kind] for point in day.points) for kind in KINDS},
            hours=shown.hours,
            stations=shown.stations,
            stations_in_all=len({point["station"] for point in day.points}),
            busiest=shown.busiest,
            events=shown.events,
            events_in_all=len(events),
            durations=tuple(durations(events)),
            polls=polls,
            checks=(*checks_of(day, kpi, row), *checks_of_answers(polls, gone, verify=verify)),
            notes=tuple(_notes(provenance, day, gone)),
        )


def _row_of(lake: Lake, kpi: str, scope: str, scope_id: str, query_date: dt.date) -> Row:
    """The row of `kpi_daily` that has the figure."""
    if scope not in SCOPES:
        raise ExplanationError(f"There is no scope {scope!r}: expected one of {', '.join(SCOPES)}.")
    _require(lake, "kpi_daily", query_date)
    rows = lake.read("kpi_daily", query_date)
    if not rows.num_rows:
        raise ExplanationError(f"There is no {kpi} of {query_date} to explain: {_why_empty(lake, query_date)}.")
    rows = rows.filter(is_text(rows["scope"], scope))
    found: list[dict[str, Any]] = rows.filter(is_text(rows["scope_id"], scope_id)).to_pylist()
    if not found:
        near = _near(scope_id, rows["scope_id"].to_pylist())
        raise ExplanationError(
            f"kpi_daily of {query_date} has no {scope.replace('_', ' ')} {scope_id!r}.{near} It has "
            f"{rows.num_rows:,}; `charging-assets sql` lists them (column scope_id of kpi_daily)."
        )
    return found[0]


def _why_empty(lake: Lake, query_date: dt.date) -> str:
    """Why a day that is built has no KPIs."""
    _require(lake, "poll_log", query_date)
    outcomes = lake.read("poll_log", query_date, ["outcome"])["outcome"].to_pylist()
    if not outcomes:
        return "no poll was made on that day"
    if "ok" not in outcomes:
        return f"none of its {counted(len(outcomes), 'poll')} was answered; poll_log says why"
    return "only at its midnight was anything seen, and a day that has just begun has figures after its second poll"


def _near(name: str, names: Iterable[str]) -> str:
    by_lower = {each.lower(): each for each in names}
    found = [by_lower[each] for each in difflib.get_close_matches(name.lower(), by_lower)]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _require(lake: Lake, name: str, query_date: dt.date) -> None:
    """Raise unless the lake has the table of the day."""
    if lake.info(name, query_date) is not None:
        return
    lacks = f"{name} has no partition {query_date}"
    if query_date in lake.raw.dates():
        raise ExplanationError(f"{lacks}: make it with `charging-assets build --date {query_date}`, then ask again.")
    days = lake.partitions("kpi_daily")
    known = f"figures are there of {counted(len(days), 'day')}, {days[0]} to {days[-1]}" if days else ""
    raise ExplanationError(
        f"{lacks}, and the lake has no raw answers of that day to build it from; {known or 'no day has figures yet'}."
    )


def _figure(kpi: str, row: Row) -> Figure:
    declared, formula = table("kpi_daily").columns[kpi], FORMULAS[kpi]
    return Figure(
        value=row[kpi],
        unit=declared.info["unit"],
        doc=declared.comment or "",
        words=words_of(kpi),
        symbols=formula.ratio.in_symbols() if formula.ratio else None,
        numbers=formula.ratio.in_numbers(row) if formula.ratio else None,
        coverage=row["coverage"],
        coverages=coverages_of(kpi, row),
        hidden=formula.hidden(row) if row[kpi] is None else None,
    )


def _provenance(lake: Lake, query_date: dt.date) -> Provenance:
    info = lake.info("kpi_daily", query_date)
    if info is None:
        raise ExplanationError(f"kpi_daily of {query_date} was removed while it was read: try again.")
    return Provenance(
        file=lake.location("kpi_daily", query_date),
        inputs=info.inputs,
        is_current=info.inputs == Inputs(lake).fingerprint("kpi_daily", query_date),
        code_version=info.code_version,
        method_version=METHOD_VERSION if info.code_version == __version__ else None,
    )


def _polls(day: Day, shown: Shown) -> tuple[Poll, ...]:
    """By time, the day's polls of the feeds of what is shown, and those of days before that saw it."""
    named = day.polls("key IN (SELECT unnest(?))", list(shown.polls()))
    feeds = {(point.source, point.feed) for point in shown.points} | {(poll.source, poll.feed) for poll in named}
    others = [poll for poll in named if query_date_of(poll.query_time) != day.query_date]
    polls = [*others, *(poll for feed in feeds for poll in day.log.get(feed, ()))]
    return tuple(sorted(polls, key=lambda poll: (poll.query_time, poll.source, poll.feed, poll.poll_id)))


def _with_answers(lake: Lake, polls: Sequence[Poll], *, verify: bool) -> tuple[Poll, ...]:
    """The polls with the files that hold their raw answers."""
    keys = [(poll.query_time, poll.source, poll.feed, poll.sha256, poll.poll_id) for poll in polls]
    by_date = defaultdict(list)
    for key in keys:
        by_date[query_date_of(key[0])].append(key)
    found = [lake.raw.find(date, keys_of_day, verify=verify) for date, keys_of_day in by_date.items()]
    kept = dict(chain.from_iterable(of_day.items() for of_day in found))
    return tuple(
        replace(poll, raw_file=kept[key].path, is_verified=kept[key].is_intact) if key in kept else poll
        for poll, key in zip(polls, keys, strict=True)
    )


def _notes(provenance: Provenance, day: Day, gone: Sequence[dt.date]) -> Iterator[str]:
    if not provenance.is_current:
        yield (
            "kpi_daily was made from other inputs than there are now, so its levels may differ: "
            f"`charging-assets build --date {day.query_date}` makes it again."
        )
    if provenance.method_version is None:
        yield f"kpi_daily was made by charging_assets {provenance.code_version or '(unknown)'}, this is {__version__}."
    if day.end - day.start != 24 * 3600:
        hours = (day.end - day.start) // 3600
        yield f"Clocks were changed: the day has {hours} hours. Where local times repeat, UTC tells them apart."
    if day.until < day.end:
        yield "The day goes on: it counts up to its last poll, and the figure will change."
    for date in gone:
        yield (
            f"The lake has no raw answers of {date} any more: poll_log has their SHA-256, but there is nothing to "
            "compare."
        )
