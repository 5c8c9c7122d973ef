"""What a report says: the figures of a period, by station, city, operator or power class.

Belongs here: which figures belong together, and their id. Does not belong here: how they are figured
(`derive.occupancy.periods`), and how they are written (`exports`, `workbook`, `page`).
"""

import datetime as dt
import difflib
import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets import __version__
from charging_assets.calendar import last_closed_date, query_date_of, utc_now
from charging_assets.derive.inputs import Inputs
from charging_assets.derive.occupancy.periods import EVERYTHING, Period, Selection, opened_period
from charging_assets.lake import Lake, LakeError, Question
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.model.tables.occupancy import METHOD_VERSION
from charging_assets.reports.occupancy.provenance import Provenance, sources_of

By = Literal["station", "city", "operator", "power_class"]

KPIS = [name for name in arrow_schema("kpi_daily").names if name not in {"scope", "scope_id", "query_date"}]
_TEXTS = ("name", "city", "operator_name", "power_class")
_DAYS = ("days", "days_observed")
_SUMS = [
    field.name
    for field in arrow_schema("kpi_daily")
    if pa.types.is_integer(field.type) and not field.nullable and field.name != "max_occupied"
]
"""Figures that are 0 where nothing is known."""


class UnknownName(Exception):  # noqa: N818 - says what happened
    """There is nothing of that name in the period; the message lists what is spelled alike."""


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a period. Ratios are 0 to 1, durations seconds; a figure of too little coverage is null.

    Figures of several rows together are null where they cannot be told from the rows: the peak, and how many points
    were occupied at once.
    """

    by: By
    first: dt.date
    last: dt.date
    only: str | None
    """The one `scope_id` that it is of; None: all."""
    city: str | None
    """By station: the city that it is of; None: all."""
    rows: pa.Table
    """As `Period.kpis` gives them: `scope_id` and the KPIs of `kpi_daily`; one row per thing, sorted by name."""
    daily: pa.Table
    """`query_date` and the KPIs of `kpi_daily`: of all points together, by day. Days without figures are absent."""
    profile: pa.Table
    """`weekday` (1: Monday), `hour_local`, `occupied_s`, `free_s`, `fault_s`, `unknown_s`, `days`, `coverage`,
    `utilization`: of all points together."""
    by_power: pa.Table
    """`scope_id` (a power class) and the KPIs as in `rows`: of all points together. By one station: without rows."""
    total: Mapping[str, Any]
    """The KPIs of `rows` of all points together, those included that are in no row; where nothing is known, sums are
    0."""
    provenance: Provenance

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the period."""
        return not self.rows.num_rows

    @property
    def question(self) -> Question:
        """What it was asked for."""
        return Question(self.by, self.first, self.last, self.only, self.city)


def make_report(
    lake: Lake,
    by: By,
    first: dt.date,
    last: dt.date,
    only: str | None = None,
    city: str | None = None,
    now: dt.datetime | None = None,
) -> Report:
    """The report of a period.

    Args:
        lake: whose `kpi_daily`, `charging_events` and `utilization_hourly` are read.
        by: what it has a row of.
        first: first query date.
        last: last one.
        only: `scope_id` of the one thing that it is of; None: all there are.
        city: by station: only stations of this city.
        now: up to when days without polls are missing and not to come; None: now.

    Raises:
        UnknownName: the period has figures, but none of `only` or `city`.
        LakeError: the lake cannot be read.
        ValueError: `city` is given, but the report is not by station.
    """
    question, now = Question(by, first, last, only, city), now or utc_now()
    _require_sound(question)
    wanted, whole, powers = _wanted(question), _whole(question), _powers(question)
    with opened_period(lake, first, last, (wanted, whole, powers), now) as period, ThreadPoolExecutor() as pool:
        profile = pool.submit(period.profile, whole)
        by_power = pool.submit(period.kpis, powers)
        feeds = pool.submit(period.feeds, whole)
        made_from = pool.submit(_made_from, lake, first, last, now)
        rows = _by_name(period.kpis(wanted))
        if not rows.num_rows and (only or city):
            _require_known(period, question)
        total = _total(rows if wanted == whole else period.kpis(whole))
        daily = period.daily(whole).select(["query_date", *KPIS])
        known = set(daily["query_date"].to_pylist())
        said = _provenance(lake, question, total, known, feeds.result(), made_from.result(), now)
        report = Report(
            by=by,
            first=first,
            last=last,
            only=only,
            city=city,
            rows=rows,
            daily=daily,
            profile=profile.result().drop_columns(["scope", "scope_id"]),
            by_power=_by_name(by_power.result()).select(["scope_id", *KPIS, *_DAYS]),
            total=total,
            provenance=said,
        )
    return replace(report, provenance=replace(said, report_id=_report_id(report)))


def rows_of(lake: Lake, question: Question) -> pa.Table:
    """The rows of a report alone: as they would be now.

    Raises:
        LakeError: the lake cannot be read.
        ValueError: a city is given, but the report is not by station.
    """
    _require_sound(question)
    with opened_period(lake, question.first, question.last) as period:
        return _by_name(period.kpis(_wanted(question)))


def _require_sound(question: Question) -> None:
    if question.city is not None and question.by != "station":
        raise ValueError(f"a report of a city is by station, or of that city only; got one by {question.by}")


def _by_name(rows: pa.Table) -> pa.Table:
    """The rows in their order: power classes by power, others as people look them up, umlauts like their vowels."""
    ids = rows["scope_id"].to_pylist()
    names = [name or scope_id for name, scope_id in zip(rows["name"].to_pylist(), ids, strict=True)]

    def place(row: int) -> tuple[int, str, str]:
        power = POWER_CLASSES.index(ids[row]) if ids[row] in POWER_CLASSES else -1
        letters = (c for c in unicodedata.normalize("NFKD", names[row]) if not unicodedata.combining(c))
        return power, "".join(letters).casefold(), ids[row]

    return rows.take(pa.array(sorted(range(len(ids)), key=place), pa.int64()))


def _require_known(period: Period, question: Question) -> None:
    """Tell a name that is misspelled from a period of which nothing is known.

    Raises:
        UnknownName: it is the name.
    """
    by, name = ("city", question.city) if question.city else (question.by, question.only)
    known = period.kpis(Selection(by))
    called = {scope_id: scope_id for scope_id in known["scope_id"].to_pylist()}
    called |= {thing: f"{scope_id} ({thing})" for scope_id, thing in _names(known) if thing != scope_id}
    if not called:
        return
    near = difflib.get_close_matches(str(name), called, n=5, cutoff=0.5)
    hint = f"Near: {', '.join(called[match] for match in near)}." if near else f"There are {known.num_rows:,} others."
    what = by.replace("_", " ")
    raise UnknownName(f"No {what} {name!r} is known from {question.first} to {question.last}. {hint}")


def _names(rows: pa.Table) -> list[tuple[str, str]]:
    return [(i, n) for i, n in zip(rows["scope_id"].to_pylist(), rows["name"].to_pylist(), strict=True) if n]


# -- of what ---------------------------------------------------------------------------------------------------------


def _wanted(question: Question) -> Selection:
    """What has a row."""
    scope_ids, cities = (None if name is None else (name,) for name in (question.only, question.city))
    return Selection(question.by, scope_ids, cities)


def _whole(question: Question) -> Selection:
    """All points of the report, each once."""
    place = _place(question)
    return EVERYTHING if place is None else Selection(place[0], place[1:])


def _powers(question: Question) -> Selection:
    """Power classes: where a place is named, of its points, as rows of power classes are of the whole."""
    place = _place(question)
    if place is None:
        return Selection("power_class")
    scope, scope_id = place
    if scope == "station":  # `kpi_daily` does not tell the station of a point
        return Selection("power_class", ())
    return Selection(scope, (scope_id,)) if scope == "power_class" else Selection.by_power(**{scope: scope_id})


def _place(question: Question) -> tuple[str, str] | None:
    """The scope and id that have all points of a report; None: everything there is."""
    if question.city is not None:
        return "city", question.city
    return None if question.only is None else (question.by, question.only)


def _total(rows: pa.Table) -> Mapping[str, Any]:
    names = [name for name in rows.column_names if name not in {"scope", "scope_id", *_TEXTS}]
    if not rows.num_rows:
        return {name: 0 if name in {*_SUMS, *_DAYS} else None for name in names}
    figures: Mapping[str, Any] = rows.select(names).to_pylist()[0]
    return figures


# -- where it is from ------------------------------------------------------------------------------------------------


def _provenance(
    lake: Lake,
    question: Question,
    total: Mapping[str, Any],
    known: AbstractSet[dt.date],
    feeds: Sequence[str],
    made_from: "_MadeFrom",
    now: dt.datetime,
) -> Provenance:
    """All but the report's id.

    Args:
        lake: where the figures are from.
        question: what was asked.
        total: of everything together.
        known: days that have figures.
        feeds: those that the figures are of.
        made_from: what made the days.
        now: when the report is made.
    """
    first, last, over, today = question.first, question.last, last_closed_date(now), query_date_of(now)
    period = {first + dt.timedelta(days=number) for number in range((last - first).days + 1)}
    built = set(lake.partitions("kpi_daily"))
    polled = built.union(lake.raw.dates(), lake.partitions("poll_log"))
    is_simulated = lake.raw.is_simulated()
    return Provenance(
        report_id="",
        first=first,
        last=last,
        coverage=total["coverage"],
        unpolled_days=tuple(sorted(date for date in period - polled if date <= over)),
        unbuilt_days=tuple(sorted(period & polled - built)),
        unknown_days=tuple(sorted((period & built).difference(known))),
        days_observed=total["days_observed"],
        points=total["points"],
        points_observed=total["points_observed"],
        method_version=METHOD_VERSION,
        code_version=__version__,
        sources=sources_of(feeds, is_simulated=is_simulated),
        is_simulated=is_simulated,
        intervals_s=_intervals(lake, sorted(known & set(lake.partitions("poll_log"))), feeds),
        is_preliminary=last > over,
        days_to_come=sum(date > today for date in period),
        outdated_days=tuple(sorted(made_from.outdated_days)),
        other_versions=tuple(sorted(made_from.versions - {__version__})),
    )


class _MadeFrom(NamedTuple):
    versions: AbstractSet[str]
    """Of the code that made the days."""
    outdated_days: AbstractSet[dt.date]


def _made_from(lake: Lake, first: dt.date, last: dt.date, now: dt.datetime) -> _MadeFrom:
    """What the days of a period were made from, and whether that is still what there is."""
    inputs, versions, outdated = Inputs(lake, now), set(), set()
    for date in lake.partitions("kpi_daily"):
        info = lake.info("kpi_daily", date) if first <= date <= last else None
        if info is None:
            continue
        versions.add(info.code_version)
        if info.inputs and info.inputs != _fingerprint(inputs, date):  # other programs do not tell
            outdated.add(date)
    return _MadeFrom(versions, outdated)


def _fingerprint(inputs: Inputs, date: dt.date) -> str | None:
    """What a day's figures would be made from now; None where that is damaged."""
    try:
        return inputs.fingerprint("kpi_daily", date)
    except LakeError:
        return None


def _intervals(lake: Lake, dates: Sequence[dt.date], feeds: Sequence[str]) -> tuple[int, ...]:
    """Planned seconds between two polls of these feeds, sorted: on the first, the middle and the last of the days."""
    found = set()
    for date in {dates[0], dates[len(dates) // 2], dates[-1]} if dates else ():
        polls = lake.read("poll_log", date, ["feed", "interval_s"])
        of_feeds = pc.is_in(polls["feed"].cast(pa.string()), value_set=pa.array(feeds, pa.string()))
        found.update(pc.unique(polls["interval_s"].filter(of_feeds)).to_pylist())
    return tuple(sorted(found))


def _report_id(report: Report) -> str:
    """Of the question, the method and the figures, and whether they are final; not of the code that made them."""
    said = report.provenance
    content = {
        "question": asdict(report.question),
        "method": said.method_version,
        "missing": [said.unpolled_days, said.unbuilt_days, said.unknown_days],
        "is_simulated": said.is_simulated,
        "is_preliminary": said.is_preliminary,
        "total": dict(report.total),
        **{name: getattr(report, name).to_pydict() for name in ("rows", "daily", "profile", "by_power")},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return f"R-{digest[:10]}"
