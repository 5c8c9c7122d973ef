"""Reports written straight from what things are like: for tests of how reports are told and shown."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from charging_assets.derive.occupancy.formulas import with_ratios
from charging_assets.model.arrow import arrow_schema
from charging_assets.reports.occupancy.content import By, Report
from charging_assets.reports.occupancy.provenance import Provenance, Source

_RATIOS = [
    *("coverage", "utilization", "utilization_available", "availability", "uptime", "free_on_arrival", "full_share"),
    *("events_per_point_day", "overstay_share", "simultaneity", "open_utilization"),
]
_KPIS = [name for name in arrow_schema("kpi_daily").names if name not in {"scope", "scope_id", "query_date"}]
_DAYS = ["days", "days_observed"]
_TEXTS = {"name", "city", "operator_name", "power_class"}
_DAY = 86_400


@dataclass(frozen=True)
class Thing:
    """A station, city, operator or power class, the same on each of its days."""

    scope_id: str
    name: str | None = None
    points: int = 2
    busy: float = 0.15
    """Of the time observed and in order."""
    broken: float = 0.0
    """Of the time observed."""
    observed: float = 1.0
    full: float = 0.05
    """Of its station polls."""
    power_class: str = "AC 11-22"
    city: str | None = "Köln"
    days: int | None = None
    """The last so many of the period; None: all."""


def station(number: int, **like: Any) -> Thing:
    return Thing(str(number), like.pop("name", f"Station {number}"), **like)


def always(date: dt.date) -> float:
    return 1.0


def write_report(
    things: Sequence[Thing],
    first: dt.date,
    last: dt.date,
    *,
    by: By = "station",
    only: str | None = None,
    city: str | None = None,
    busier: Callable[[dt.date], float] = always,
    observed: Callable[[dt.date], float] = always,
    by_hour: Callable[[int, int], float] = lambda weekday, hour: 1.0,
    unbuilt: Sequence[dt.date] = (),
    is_simulated: bool = False,
    intervals_s: Sequence[int] = (600,),
    sources: Sequence[Source] = (Source("chargecloud", "none stated", "chargecloud and its operators"),),
) -> Report:
    """A report of these things: `busier` and `observed` are factors of a date, `by_hour` one of weekday (1) and hour.

    Days of which nothing is observed count as not polled.
    """
    dates = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    unpolled = tuple(date for date in dates if not observed(date) and date not in unbuilt)
    cells = [
        _day(thing, date, busier(date), observed(date))
        for thing in things
        for date in dates[-thing.days if thing.days else 0 :]
        if date not in unbuilt
    ]
    total = _together(cells) if cells else _nothing()
    told = Provenance(
        *("R-0123456789ab", first, last, total["coverage"], unpolled, tuple(unbuilt)),
        *(total["days_observed"], total["points"], total["points_observed"], "1", "0.1.0", tuple(sources)),
        is_simulated=is_simulated,
        intervals_s=tuple(intervals_s),
    )
    return Report(
        *(by, first, last, only, city),
        rows=_grouped(cells, "scope_id").sort_by("name"),
        daily=_grouped([cell for cell in cells if cell["query_date"] not in unpolled], "query_date").drop_columns(
            _DAYS
        ),
        profile=_profile(cells, by_hour),
        by_power=_grouped([{**cell, "scope_id": cell["power_class"], "name": None} for cell in cells], "scope_id"),
        total=total,
        provenance=told,
    )


def with_total(report: Report, **figures: Any) -> Report:
    return replace(report, total={**report.total, **figures})


def _day(thing: Thing, date: dt.date, busier: float, observed: float) -> dict[str, Any]:
    seen = round(_DAY * thing.points * thing.observed * observed)
    fault = round(seen * thing.broken)
    occupied = round(min(1.0, thing.busy * busier) * (seen - fault))
    polls = round(144 * thing.observed * observed)
    events = occupied // 7_200
    energy = {"energy_kwh": events * 15.0, "energy_kwh_low": events * 9.0, "energy_kwh_high": events * 21.0}
    return {
        "scope_id": thing.scope_id,
        "query_date": date,
        "power_class": thing.power_class,
        "name": thing.name or thing.scope_id,
        "city": thing.city,
        "operator_name": None,
        "points": thing.points,
        "points_observed": thing.points if seen else 0,
        "stations": 1,
        "occupied_s": occupied,
        "free_s": seen - fault - occupied,
        "fault_s": fault,
        "gone_s": 0,
        "unknown_s": _DAY * thing.points - seen,
        "station_polls": polls,
        "station_polls_free": polls - round(polls * thing.full),
        "station_polls_working": polls,
        "station_polls_full": round(polls * thing.full),
        "events": events,
        "overstays": events // 8,
        "censored_events": events // 9,
        "suspicious_events": events // 50,
        "max_occupied": min(thing.points, events),
        **(energy if events else dict.fromkeys(energy)),
        **dict.fromkeys(["open_occupied_s", "open_observed_s", "open_unknown_s"]),
        "peak_utilization": None,
        "duration_p50_s": 7_020 if events else None,
        "duration_p90_s": 15_300 if events else None,
    }


def _summed(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several things and days; points are those of the things, events those of all."""
    found = dict(cells[0])
    for name in found:
        values = [cell[name] for cell in cells if cell[name] is not None]
        if name in {"points", "points_observed", "stations"}:
            of_thing: dict[str, int] = {}
            for cell in cells:
                of_thing[cell["thing"]] = max(of_thing.get(cell["thing"], 0), cell[name])
            found[name] = sum(of_thing.values())
        elif name == "max_occupied":
            found[name] = max(values) if len({cell["thing"] for cell in cells}) == 1 else None
        elif name.startswith("duration") or name in {"peak_utilization", "query_date", "scope_id", "thing"}:
            found[name] = values[0] if values else None
        elif name in _TEXTS:
            found[name] = values[0] if len(set(values)) == 1 else None
        else:
            found[name] = sum(values) if values else None
    return found


def _grouped(cells: Sequence[dict[str, Any]], key: str) -> pa.Table:
    marked = [
        {**cell, "thing": cell["scope_id"] + cell["name"] if cell["name"] else cell["scope_id"]} for cell in cells
    ]
    groups: dict[Any, list[dict[str, Any]]] = {}
    for cell in marked:
        groups.setdefault(cell[key], []).append(cell)
    return _table(key, [_summed(group) | _days(group) for group in groups.values()])


def _days(cells: Sequence[dict[str, Any]]) -> dict[str, int]:
    known = {cell["query_date"] for cell in cells}
    return {"days": len(known), "days_observed": len({c["query_date"] for c in cells if c["points_observed"]})}


def _together(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    summed = _summed([{**cell, "thing": cell["scope_id"]} for cell in cells])
    (row,) = _table("scope_id", [summed | _days(cells)]).to_pylist()
    return {name: row[name] for name in [*_KPIS, *_DAYS]}


def _nothing() -> dict[str, Any]:
    counts = {field.name for field in arrow_schema("kpi_daily") if not field.nullable}
    return {name: 0 if name in {*counts, *_DAYS} else None for name in [*_KPIS, *_DAYS]}


def _table(key: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    schema = arrow_schema("kpi_daily")
    fields = [schema.field(name) for name in (key, *(name for name in _KPIS if name not in _RATIOS))]
    fields = [field.with_nullable(True) for field in fields] + [pa.field(name, pa.int32()) for name in _DAYS]
    made = with_ratios(pa.Table.from_pylist(list(rows), pa.schema(fields)))
    return made.select([key, *_KPIS, *_DAYS]).sort_by(key)


def _profile(cells: Iterable[dict[str, Any]], by_hour: Callable[[int, int], float]) -> pa.Table:
    sums = dict.fromkeys(((weekday, hour) for weekday in range(1, 8) for hour in range(24)), (0, 0, 0, 0))
    days: dict[int, set[dt.date]] = {weekday: set() for weekday in range(1, 8)}
    for cell in cells:
        weekday = cell["query_date"].isoweekday()
        days[weekday].add(cell["query_date"])
        for hour in range(24):
            kinds = [cell[f"{kind}_s"] // 24 for kind in ("occupied", "free", "fault", "unknown")]
            occupied = min(round(kinds[0] * by_hour(weekday, hour)), kinds[0] + kinds[1])
            kinds[:2] = occupied, kinds[0] + kinds[1] - occupied
            sums[weekday, hour] = tuple(map(sum, zip(sums[weekday, hour], kinds, strict=True)))
    rows = []
    for (weekday, hour), (occupied, free, fault, unknown) in sums.items():
        seen = occupied + free + fault
        coverage = seen / (seen + unknown) if seen + unknown else None
        if days[weekday]:
            rows.append(
                {
                    "weekday": weekday,
                    "hour_local": hour,
                    "occupied_s": occupied,
                    "free_s": free,
                    "fault_s": fault,
                    "unknown_s": unknown,
                    "coverage": coverage,
                    "days": len(days[weekday]),
                    "utilization": occupied / seen if coverage is not None and coverage >= 0.8 else None,
                }
            )
    return pa.Table.from_pylist(rows, pa.schema(list(arrow_schema("usage_profile"))[2:]))
