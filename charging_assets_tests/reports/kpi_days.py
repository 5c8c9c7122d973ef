"""Small days of `kpi_daily`, `charging_events` and `utilization_hourly` whose figures can be told by hand."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.derive.occupancy.formulas import with_ratios
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables import key_of, table
from charging_assets.model.tables.occupancy import SCOPES

_HOUR = 3600


@dataclass(frozen=True)
class Point:
    """A charging point, and what each hour of its day is like."""

    id_cp: str
    id_cs: int = 1
    city: str = "Köln"
    operator: str = "Stadtwerke"
    power_class: str = "AC 11-22"
    station: str = "Rathaus"
    busy: float = 0.25
    """Share of the observed time that is occupied; the rest is free."""
    observed: float = 1.0
    """Share of the time that was observed."""
    durations: tuple[int, ...] = ()
    """Seconds of its events, which begin at full hours."""

    def id_in(self, scope: str) -> str:
        """Its `scope_id` there."""
        ids = {"point": self.id_cp, "station": str(self.id_cs), "city": self.city, "operator": self.operator}
        return {**ids, "power_class": self.power_class, "feed": self.city.lower()}[scope]


def put_days(lake: Lake, dates: Sequence[dt.date], *points: Point) -> None:
    """Write the three tables of these dates, every day the same."""
    for date in dates:
        for name, rows in (
            ("utilization_hourly", _hourly(date, points)),
            ("charging_events", _events(date, points)),
            ("kpi_daily", _kpis(date, points)),
        ):
            lake.write(name, date, _table(name, rows))


def days(first: dt.date, count: int) -> list[dt.date]:
    """So many dates in a row."""
    return [first + dt.timedelta(days=number) for number in range(count)]


def _seconds(point: Point) -> dict[str, int]:
    """Of an hour."""
    observed = round(_HOUR * point.observed)
    occupied = round(observed * point.busy)
    return {"occupied_s": occupied, "free_s": observed - occupied, "unknown_s": _HOUR - observed}


def _whereabouts(point: Point) -> dict[str, Any]:
    return {
        "id_cp": point.id_cp,
        "id_cs": point.id_cs,
        "source": "chargecloud",
        "feed": point.id_in("feed"),
        "city": point.city,
        "operator_name": point.operator,
        "power_class": point.power_class,
    }


def _hours(date: dt.date) -> list[dt.datetime]:
    start, end = day_bounds(date)
    return [start + number * dt.timedelta(hours=1) for number in range(int((end - start).total_seconds()) // _HOUR)]


def _hourly(date: dt.date, points: Sequence[Point]) -> list[dict[str, Any]]:
    return [
        {
            "hour_utc": hour,
            "hour_local": hour.astimezone(BERLIN).hour,
            "fault_s": 0,
            "gone_s": 0,
            "query_date": date,
            **_seconds(point),
            **_whereabouts(point),
        }
        for point in points
        for hour in _hours(date)
    ]


def _events(date: dt.date, points: Sequence[Point]) -> list[dict[str, Any]]:
    return [
        {
            "start_time": (start := day_bounds(date)[0] + dt.timedelta(hours=number)),
            "end_time": start + dt.timedelta(seconds=duration),
            "duration_s": duration,
            "status": "CHARGING",
            "gap_s": 0,
            "n_polls": duration // 600,
            "energy_kwh": duration / 360,
            "energy_kwh_low": duration / 720,
            "energy_kwh_high": duration / 180,
            "is_overstay": duration > 4 * _HOUR,
            "query_date": date,
            **_whereabouts(point),
        }
        for point in points
        for number, duration in enumerate(point.durations)
    ]


def _kpis(date: dt.date, points: Sequence[Point]) -> list[dict[str, Any]]:
    rows = []
    for scope in SCOPES:
        for scope_id in sorted({point.id_in(scope) for point in points}):
            members = [point for point in points if point.id_in(scope) == scope_id]
            rows.append({"scope": scope, "scope_id": scope_id, "query_date": date, **_sums(scope, date, members)})
    made = with_ratios(_typed("kpi_daily", rows).drop_columns(_RATIOS))
    return made.to_pylist()


_RATIOS = [
    *("coverage", "utilization", "utilization_available", "availability", "uptime", "free_on_arrival", "full_share"),
    *("events_per_point_day", "overstay_share", "simultaneity", "open_utilization"),
]


def _sums(scope: str, date: dt.date, members: Sequence[Point]) -> dict[str, Any]:
    hours = len(_hours(date))
    durations = sorted(duration for point in members for duration in point.durations)
    stations = len({point.id_cs for point in members})

    def shared(of: Callable[[Point], str], scopes: Sequence[str]) -> str | None:
        return of(members[0]) if scope in scopes else None

    return {
        "name": members[0].station if scope == "station" else members[0].id_in(scope),
        "city": shared(lambda point: point.city, ("point", "station", "city")),
        "operator_name": shared(lambda point: point.operator, ("point", "station", "operator")),
        "power_class": shared(lambda point: point.power_class, ("point", "station", "power_class")),
        "points": len(members),
        "points_observed": sum(point.observed > 0 for point in members),
        "stations": stations,
        **{name: hours * sum(_seconds(point)[name] for point in members) for name in ("occupied_s", "free_s")},
        "unknown_s": hours * sum(_seconds(point)["unknown_s"] for point in members),
        "station_polls": 144 * stations,
        "station_polls_free": 72 * stations,
        "station_polls_working": 144 * stations,
        "station_polls_full": 36 * stations,
        "peak_utilization": max(point.busy for point in members),
        "events": len(durations),
        "duration_p50_s": durations[len(durations) // 2] if durations else None,
        "duration_p90_s": durations[-1] if durations else None,
        "overstays": sum(duration > 4 * _HOUR for duration in durations),
        "max_occupied": len(members),
        **{f"energy_kwh{end}": sum(durations) / per if durations else None for end, per in _ENERGY.items()},
    }


_ENERGY = {"": 360, "_low": 720, "_high": 180}


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Sorted as the lake wants it."""
    key = key_of(table(name))
    return _typed(name, sorted(rows, key=lambda row: tuple(row[column] for column in key)))


def _typed(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """With all columns of the table: what rows do not say is null, 0 or false."""
    schema = arrow_schema(name)
    blank = {field.name: _blank(field) for field in schema}
    return pa.Table.from_pylist([{**blank, **row} for row in rows], schema)


def _blank(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_boolean(field.type):
        return False
    return 0 if pa.types.is_integer(field.type) else ""
