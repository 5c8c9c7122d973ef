"""What a report says: the figures of a period, by station, city, operator or power class.

Belongs here: which figures belong together, and their id. Does not belong here: how they are figured
(`derive.occupancy.periods`), and how they are written (`exports`, `workbook`, `page`).
"""

import datetime as dt
import difflib
import hashlib
import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets import __version__
from charging_assets.derive.occupancy.formulas import duration_quantiles, share, shown, with_ratios
from charging_assets.derive.occupancy.periods import daily_of_period, kpis_of_period, profile_of_period
from charging_assets.lake import Lake, Question
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.model.tables.occupancy import METHOD_VERSION
from charging_assets.reports.occupancy.provenance import Provenance, sources_of
from charging_assets.warehouse import connect

By = Literal["station", "city", "operator", "power_class"]

KPIS = [name for name in arrow_schema("kpi_daily").names if name not in {"scope", "scope_id", "query_date"}]
_TEXTS = ("name", "city", "operator_name", "power_class")
_RATIOS = (
    *("coverage", "utilization", "utilization_available", "availability", "uptime", "free_on_arrival", "full_share"),
    *("peak_utilization", "events_per_point_day", "overstay_share", "simultaneity", "open_utilization"),
)
_OF_EVENTS = {"duration_p50_s": 0.5, "duration_p90_s": 0.9}
_ADDED = [name for name in KPIS if name not in {*_TEXTS, *_RATIOS, *_OF_EVENTS, "max_occupied"}]
"""What adds up where no point is in two rows. The rest follows from these, or cannot be told from rows."""
_OF_STATIONS = ("stations", *(name for name in KPIS if name.startswith("station_polls")))
"""Of these, what does not add up over points."""


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
    """As `kpis_of_period` gives them: `scope_id` and the KPIs of `kpi_daily`; one row per thing, sorted by name."""
    daily: pa.Table
    """`query_date`, then the same KPIs: of all points together, day by day. Days without figures are absent."""
    profile: pa.Table
    """`weekday` (1: Monday), `hour_local`, `occupied_s`, `free_s`, `fault_s`, `unknown_s`, `days`, `coverage`,
    `utilization`: of all points together."""
    by_power: pa.Table
    """`scope_id` (a power class) and the KPIs: of all points together. By one station: without rows."""
    total: Mapping[str, Any]
    """The KPIs of all points together, those included that are in no row; where nothing is known, sums are 0."""
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
    lake: Lake, by: By, first: dt.date, last: dt.date, only: str | None = None, city: str | None = None
) -> Report:
    """The report of a period.

    Args:
        lake: whose `kpi_daily`, `charging_events` and `utilization_hourly` are read.
        by: what it has a row of.
        first: first query date.
        last: last one.
        only: `scope_id` of the one thing that it is of; None: all there are.
        city: by station: only stations of this city.

    Raises:
        UnknownName: the period has figures, but none of `only` or `city`.
        LakeError: the lake cannot be read.
        ValueError: `city` is given, but the report is not by station.
    """
    question = Question(by, first, last, only, city)
    scope, scope_ids = _all_together(question)
    period = (first, last)
    # A year is hundreds of files, and each table's are opened by one thread.
    with ThreadPoolExecutor() as pool:
        days = pool.submit(daily_of_period, lake, scope, *period, scope_ids=scope_ids)
        hours = pool.submit(profile_of_period, lake, scope, *period, scope_ids=scope_ids)
        by_power = pool.submit(_by_power, lake, question)
        rows = rows_of(lake, question)
        if not rows.num_rows and (only or city):
            _require_known(lake, question)
        totals = rows if scope == by and only else kpis_of_period(lake, scope, *period, scope_ids=scope_ids)
        total = _total(lake, question, totals)
        daily = _together(days.result(), ["query_date"]).sort_by("query_date")
        said = _provenance(lake, question, total, set(daily["query_date"].to_pylist()))
        report = Report(by, *period, only, city, rows, daily, _profile(hours.result()), by_power.result(), total, said)
    return replace(report, provenance=replace(said, report_id=_report_id(report)))


def rows_of(lake: Lake, question: Question) -> pa.Table:
    """The rows of a report alone: as they would be now.

    Raises:
        LakeError: the lake cannot be read.
        ValueError: a city is given, but the report is not by station.
    """
    if question.city is not None and question.by != "station":
        raise ValueError(f"a report of a city is by station, or of that city only; got one by {question.by}")
    rows = kpis_of_period(
        lake,
        question.by,
        question.first,
        question.last,
        scope_ids=None if question.only is None else [question.only],
        cities=None if question.city is None else [question.city],
    )
    return rows.take(pa.array(_by_name(rows), pa.int64()))


def _by_name(rows: pa.Table) -> list[int]:
    """The order of the rows: power classes by power, others as people look them up, umlauts like their vowels."""
    ids = rows["scope_id"].to_pylist()
    names = [name or scope_id for name, scope_id in zip(rows["name"].to_pylist(), ids, strict=True)]

    def place(row: int) -> tuple[int, str, str]:
        power = POWER_CLASSES.index(ids[row]) if ids[row] in POWER_CLASSES else -1
        letters = (c for c in unicodedata.normalize("NFKD", names[row]) if not unicodedata.combining(c))
        return power, "".join(letters).casefold(), ids[row]

    return sorted(range(len(ids)), key=place)


def _require_known(lake: Lake, question: Question) -> None:
    """Tell a name that is misspelled from a period of which nothing is known.

    Raises:
        UnknownName: it is the name.
    """
    by, name = ("city", question.city) if question.city else (question.by, question.only)
    known = kpis_of_period(lake, by, question.first, question.last)
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


# -- all together ----------------------------------------------------------------------------------------------------


def _all_together(question: Question) -> tuple[str, list[str] | None]:
    """The scope and ids that have all points of a report, each once: feeds where no place is named."""
    if question.city is not None:
        return "city", [question.city]
    if question.only is not None:
        return question.by, [question.only]
    return "feed", None


def _total(lake: Lake, question: Question, rows: pa.Table) -> Mapping[str, Any]:
    if not rows.num_rows:
        return {name: 0 if name in _ADDED else None for name in KPIS if name not in _TEXTS}
    if rows.num_rows > 1:
        rows = _with_durations(lake, question, _together(rows, []), None)
    figures: Mapping[str, Any] = rows.select([name for name in KPIS if name not in _TEXTS]).to_pylist()[0]
    return figures


def _by_power(lake: Lake, question: Question) -> pa.Table:
    """Where a place is named, from its points: rows of power classes are of the whole."""
    by, only = question.by, question.only
    city = only if by == "city" else question.city
    columns = ["scope_id", *KPIS]
    if by == "power_class" or (only is None and city is None):
        return rows_of(lake, replace(question, by="power_class")).select(columns)
    if by == "station" and only is not None:  # `kpi_daily` does not tell the station of a point
        return arrow_schema("kpi_daily").empty_table().select(columns)
    points = kpis_of_period(lake, "point", question.first, question.last, cities=None if city is None else [city])
    if by == "operator":
        points = points.filter(pc.equal(points["operator_name"], only))
    points = points.append_column("class", points["power_class"].cast(pa.string()))
    classes = _together(points.filter(pc.is_valid(points["class"])), ["class"], untold=_OF_STATIONS)
    classes = _with_durations(lake, question, classes, "power_class")
    classes = classes.rename_columns({"class": "scope_id"})
    classes = classes.set_column(classes.column_names.index("name"), "name", classes["scope_id"])
    return classes.take(pa.array(_by_name(classes), pa.int64())).select(columns)


def _together(rows: pa.Table, keys: Sequence[str], untold: Collection[str] = ()) -> pa.Table:
    """`rows` added up by `keys`; what does not follow from sums, or is `untold`, is null.

    Returns:
        The keys and `KPIS`.
    """
    if len(pc.unique(rows["scope_id"])) <= 1:
        return rows.select([*keys, *KPIS])
    added = [name for name in _ADDED if name not in untold]
    sums = rows.group_by(list(keys), use_threads=False).aggregate([(name, "sum") for name in added])
    sums = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names])
    for field in arrow_schema("kpi_daily"):
        if field.name in KPIS and field.name not in added and (field.name in untold or field.name not in _RATIOS):
            sums = sums.append_column(field.name, pa.nulls(sums.num_rows, _plain(field.type)))
    sums = sums.append_column("peak_utilization", pa.nulls(sums.num_rows, pa.float64()))
    return with_ratios(sums).select([*keys, *KPIS])


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _with_durations(lake: Lake, question: Question, rows: pa.Table, column: str | None) -> pa.Table:
    """`rows` with quantiles of the events of the report, by `column` of `charging_events`, which `rows` have first."""
    city = question.only if question.by == "city" else question.city
    wanted = {"city": city, "operator_name": question.only if question.by == "operator" else None}
    filters = [f"AND {name} = ?" for name, value in wanted.items() if value is not None]
    query = f"""
        SELECT {column or "''"} AS key, duration_s, n_polls, count(*) AS events
        FROM charging_events
        WHERE query_date BETWEEN ? AND ? AND NOT is_left_censored AND NOT is_right_censored {" ".join(filters)}
        GROUP BY ALL ORDER BY ALL"""  # noqa: S608 - names of columns of the model
    with connect(lake, ["charging_events"]) as connection:
        parameters = [question.first, question.last, *(value for value in wanted.values() if value is not None)]
        found = connection.sql(query, params=parameters).to_arrow_table()
    places = pc.index_in(found["key"], value_set=rows.column(0).combine_chunks() if column else pa.array([""]))
    found = found.append_column("place", places).filter(pc.is_valid(places))
    place, duration_s, n_polls, events = (column.to_numpy() for column in found.columns[-1:] + found.columns[1:4])
    quantiles = duration_quantiles(place, duration_s, n_polls, events, len(rows), list(_OF_EVENTS.values()))
    for name, seconds in zip(_OF_EVENTS, quantiles, strict=True):
        whole = pa.array(np.rint(seconds), from_pandas=True).cast(pa.int64())
        rows = rows.set_column(rows.column_names.index(name), name, whole)
    return rows


def _profile(hours: pa.Table) -> pa.Table:
    kinds = ("occupied_s", "free_s", "fault_s", "unknown_s")
    keys = ["weekday", "hour_local"]
    sums = hours.group_by(keys, use_threads=False).aggregate([*((kind, "sum") for kind in kinds), ("days", "max")])
    sums = sums.rename_columns([*keys, *kinds, "days"])
    observed = pc.add(pc.add(sums["occupied_s"], sums["free_s"]), sums["fault_s"])
    coverage = share(observed, pc.add(observed, sums["unknown_s"]))
    sums = sums.append_column("coverage", coverage)
    sums = sums.append_column("utilization", shown(share(sums["occupied_s"], observed), coverage))
    return sums.sort_by([(key, "ascending") for key in keys])


# -- where it is from ------------------------------------------------------------------------------------------------


def _provenance(lake: Lake, question: Question, total: Mapping[str, Any], known: Collection[dt.date]) -> Provenance:
    """All but the report's id; `known` are the days that have figures."""
    first, last = question.first, question.last
    period = {first + dt.timedelta(days=number) for number in range((last - first).days + 1)}
    built = set(lake.partitions("kpi_daily"))
    polled = built.union(lake.raw.dates(), lake.partitions("poll_log"))
    kind = lake.raw.kind()
    is_simulated = kind is not None and kind.kind == "simulated"
    return Provenance(
        report_id="",
        first=first,
        last=last,
        coverage=total["coverage"],
        unpolled_days=tuple(sorted(period - polled)),
        unbuilt_days=tuple(sorted(period & polled - built)),
        unknown_days=tuple(sorted((period & built).difference(known))),
        points=total["points"],
        points_observed=total["points_observed"],
        method_version=METHOD_VERSION,
        code_version=__version__,
        sources=sources_of(_feeds(lake, sorted(period & built)), is_simulated=is_simulated),
        is_simulated=is_simulated,
    )


def _feeds(lake: Lake, dates: Sequence[dt.date]) -> list[str]:
    """The feeds of these days; of a longer period those of a day of each month."""
    days = [lake.read("kpi_daily", date, ["scope", "scope_id"]) for date in {*dates[::_MONTH], *dates[-1:]}]
    return sorted(
        {feed for rows in days for feed in rows.filter(pc.equal(rows["scope"], "feed"))["scope_id"].to_pylist()}
    )


_MONTH = 30


def _report_id(report: Report) -> str:
    """Of the question, the method and the figures; not of the code, which need not change a figure."""
    said = report.provenance
    content = {
        "question": asdict(report.question),
        "method": said.method_version,
        "missing": [said.unpolled_days, said.unbuilt_days, said.unknown_days],
        "is_simulated": said.is_simulated,
        "total": dict(report.total),
        **{name: getattr(report, name).to_pydict() for name in ("rows", "daily", "profile", "by_power")},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return f"R-{digest[:10]}"
