"""What is asked for, as SQL of the rows that it is made of."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import SCOPE_COLUMNS, SCOPES

ALL = "all"
"""Everything together: a scope of no table, made from feeds."""

OBSERVED = "occupied_s + free_s + fault_s"
ENERGY = ("energy_kwh", "energy_kwh_low", "energy_kwh_high")
DURATIONS = {"duration_p50_s": 0.5, "duration_p90_s": 0.9}
_STATION_POLLS = ("station_polls", "station_polls_free", "station_polls_working", "station_polls_full")
_EVENTS = ("events", "overstays", "censored_events", "suspicious_events")
_OPEN = ("open_occupied_s", "open_observed_s", "open_unknown_s")
ADDED = ("occupied_s", "free_s", "fault_s", "gone_s", "unknown_s", *_STATION_POLLS, *_EVENTS, *_OPEN)
"""Columns of `kpi_daily` of which a period has the sum."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Of what the figures are.

    Raises:
        ValueError: there is no such scope.
    """

    scope: str
    """One of `SCOPES`, or `ALL`."""
    scope_ids: tuple[str, ...] | None = None
    """Only these; None: all."""
    cities: tuple[str, ...] | None = None
    """Only days on which the point, station or city was in one of these; None: all. Operators, power classes and feeds
    are in no city. By weekday and hour these are the cities of the points, so any scope has some."""
    operators: tuple[str, ...] | None = None
    is_of_points: bool = False
    """Whether points are added up, by `scope` as a label that each of them has on a day."""

    def __post_init__(self) -> None:
        if self.scope not in {*SCOPES, ALL}:
            raise ValueError(f"expected a scope of {', '.join(SCOPES)}, got {self.scope!r}")

    @classmethod
    def by_power(cls, *, city: str | None = None, operator: str | None = None) -> "Selection":
        """Power classes of the points of a place, by the labels that each point had on the day.

        What is of stations, the peak, and how many points were occupied at once, is null: points do not tell it.
        """
        cities, operators = (None if name is None else (name,) for name in (city, operator))
        return cls("power_class", None, cities, operators, is_of_points=True)

    @property
    def is_added_up(self) -> bool:
        """Whether its rows are in no table."""
        return self.is_of_points or self.scope == ALL

    @property
    def is_narrow(self) -> bool:
        """Whether its days fit into memory however large the lake is: they are few, or of a city."""
        is_of_many = self.is_of_points or self.scope in ("point", "station")
        return not is_of_many or (self.scope_ids, self.cities) != (None, None)

    @property
    def column(self) -> str:
        """SQL of its `scope_id` in `charging_events` and `utilization_hourly`."""
        return f"'{ALL}'" if self.scope == ALL else SCOPE_COLUMNS[self.scope]

    @property
    def is_wanted(self) -> str:
        """SQL: whether a row that has a `scope_id`, and a city and operator, is asked for."""
        return " AND ".join(
            [
                _is_one_of("CAST(scope_id AS VARCHAR)", self.scope_ids),
                _is_one_of("city", self.cities),
                _is_one_of("operator_name", self.operators),
            ]
        )

    @property
    def is_its_day(self) -> str:
        """SQL: whether a row of `kpi_daily` is one of those that it is made of."""
        scope = "point" if self.is_of_points else "feed" if self.scope == ALL else self.scope
        return f"scope = '{scope}' AND {self.is_wanted}"

    def days(self, rows: str) -> str:
        """SQL of its days: the columns of `kpi_daily`, but ratios only where a table has its rows.

        Args:
            rows: SQL of rows as of `kpi_daily`, of which are taken those that it is made of.
        """
        found = f"SELECT * FROM ({rows}) WHERE {self.is_its_day}"  # noqa: S608 - as in all queries here
        return self.added_up(found) if self.is_added_up else found

    def added_up(self, rows: str, keys: Sequence[str] = (), sums: Sequence[str] = ()) -> str:
        """SQL of `rows`, summed by day and label; what they cannot tell is null.

        Args:
            rows: SQL of rows with the columns of `kpi_daily`.
            keys: further columns, of which each day has one value.
            sums: further columns to add up.
        """
        untold = ["peak_utilization", "max_occupied", *DURATIONS, "city", "operator_name"]
        counts = [*ADDED, "points", "points_observed", "stations"]
        label = "power_class" if self.is_of_points else f"'{ALL}'"
        if self.is_of_points:
            untold += ["stations", *_STATION_POLLS]
            counts = [name for name in counts if name not in untold]
        kinds = {field.name: _sql_type(field.type) for field in arrow_schema("kpi_daily")}
        columns = [
            *(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in [*counts, *sums]),
            *(f"CAST(sum(CAST({name} AS DECIMAL(18, 6))) AS DOUBLE) AS {name}" for name in ENERGY),
            *(f"CAST(NULL AS {kinds[name]}) AS {name}" for name in untold),
        ]
        return f"""
            SELECT
                '{self.scope}' AS scope, {", ".join(["query_date", *keys])}, {", ".join(columns)}, {label} AS scope_id,
                scope_id AS name, {"scope_id" if self.is_of_points else "NULL"} AS power_class
            FROM (SELECT * RENAME (scope AS of_scope, scope_id AS member, name AS of_name) FROM ({rows}))
            WHERE {label} IS NOT NULL
            GROUP BY {", ".join(["query_date", *keys, label])}"""  # noqa: S608


EVERYTHING = Selection(ALL)
"""All points together. Points are known by feed: on a day that several feeds answered, one that is in two of them
counts in the first. Of several feeds the peak, how many points were occupied at once, and by day also the quantiles of
durations, are null; and not observed, between, is each point that has rows before and after, whichever feed had it."""


def is_between(first: dt.date, last: dt.date) -> str:
    """SQL: whether a `query_date` is one of these, ends included."""
    return f"query_date BETWEEN DATE '{first}' AND DATE '{last}'"


def _is_one_of(column: str, values: tuple[str, ...] | None) -> str:
    if values is None:
        return "true"
    quoted = ("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({', '.join(quoted)})" if values else "false"


def _sql_type(kind: pa.DataType) -> str:
    return "DOUBLE" if pa.types.is_floating(kind) else "BIGINT" if pa.types.is_integer(kind) else "VARCHAR"
