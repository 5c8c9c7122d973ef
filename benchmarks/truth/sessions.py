"""Real charging sessions: who charged from when to when, and how much.

- Perth & Kinross (Scotland), 2018-09 to 2019-08: a year of 32,000 sessions. A charging point is a connector, since
  those of one post are used at the same time.
- EPFL: 1,878 sessions at two CCS plugs of a DC charger of 172 kW in western Switzerland, 2022-04 to 2023-07.

How Perth's file is read, and how that is known to be right:

- Day and month are swapped wherever the day can be a month: as they stand, sessions lie in 2018-01 to 2018-08 and
  2019-09 to 2019-12 too, and 120 take more than 5 days. Swapped back, each of the 365 days has 23 to 136 sessions, no
  two at a connector overlap, and 4 of 5 that end before they start end in 1970.
- Times are of the local clock, Europe/London: where the end was never known it is 1970-01-01 01:00, which is 0 in
  seconds since 1970 on a British clock. In the doubled hour of autumn the first one is meant.
- Left out: the operator's test site, sessions without an end (105), those not of at least a minute (605; times are in
  minutes), and those of 5 days or more (4, among them two closed in the same minute).

Belongs here: reading the files. Does not belong here: polling the sessions, or judging by them.
"""

import csv
import datetime as dt
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import CAPTURE
from charging_assets.derive.activity import Flags, Floats, Ints

FOLDER = CAPTURE.parents[1] / "sessions"
PERTH = FOLDER / "perth_kinross_2018-09_2019-08.csv"
EPFL = FOLDER / "epfl_dc_sessions.xlsx"
_LONDON = ZoneInfo("Europe/London")
_LONGEST_S = 5 * 86_400

_APT_TRIPLE, _SIEMENS_TRIPLE = "APT Triple Rapid Charger", "Siemens Triple Rapid Charger"
_PERTH_POWER = {
    ("APT 7kW Dual Outlet", "1"): "AC 3.7-11",
    ("APT 7kW Dual Outlet", "2"): "AC 3.7-11",
    ("Siemens 7 kW Dual Outlet", "1"): "AC 3.7-11",
    ("Siemens 7 kW Dual Outlet", "2"): "AC 3.7-11",
    ("APT 22kW Dual Outlet", "1"): "AC 11-22",
    ("APT 22kW Dual Outlet", "2"): "AC 11-22",
    ("APT 22kW Raption", "1"): "AC 11-22",
    ("APT 22kW Raption", "2"): "DC 0-50",
    ("APT 22kW Raption", "3"): "DC 0-50",
    ("Siemens Semi-Rapid", "1"): "DC 0-50",
    ("Siemens Semi-Rapid", "2"): "DC 0-50",
    ("Siemens Semi-Rapid", "3"): "AC 11-22",
    (_APT_TRIPLE, "1"): "AC 22-43",
    (_APT_TRIPLE, "2"): "DC 0-50",
    (_SIEMENS_TRIPLE, "1"): "DC 0-50",
    (_SIEMENS_TRIPLE, "2"): "DC 0-50",
    (_SIEMENS_TRIPLE, "3"): "AC 22-43",
}
"""By model and connector, as the file has no power of connectors. Which of a post's are AC is told by energy per hour:
its median is 3 to 9 kW at AC plugs, and 13 to 33 kW at DC plugs."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions in columns, by point and time; no two at a point overlap."""

    points: list[str]
    """Sorted."""
    power_class: NDArray[np.str_]
    """Of each point."""
    is_rapid: Flags
    """Of each point: whether it is at a (semi-)rapid charger, its AC plug included."""
    site: NDArray[np.str_]
    """Of each point."""
    point: Ints
    """Index into `points`; this and the following are of each session."""
    start: Ints
    """UTC, seconds since 1970; so is `end`."""
    end: Ints
    kwh: Floats
    """Metered energy."""

    def __len__(self) -> int:
        return len(self.point)

    @property
    def duration_s(self) -> Ints:
        """Of each session."""
        return self.end - self.start

    def take(self, chosen: Flags) -> "Sessions":
        """Some of the sessions, of the same points."""
        of_session = {name: getattr(self, name)[chosen] for name in ("point", "start", "end", "kwh")}
        return replace(self, **of_session)


def months(sessions: Sessions) -> Ints:
    """The month in which each session starts, UTC, 1 to 12."""
    return sessions.start.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1


def read_perth() -> Sessions:
    """The sessions of Perth & Kinross.

    Raises:
        FileNotFoundError: the file is not there.
    """
    with PERTH.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "TEST" not in row["Site"] and row["End Date"]]
    records = []
    for row in rows:
        start, end, kwh = perth_time(row, "Start"), perth_time(row, "End"), float(row["Total kWh"])
        if 0 < end - start < _LONGEST_S:
            place = f"{row['CP ID']}*{row['Connector']}", _PERTH_POWER[row["Model"], row["Connector"]]
            records.append((*place, "Rapid" in row["Model"], row["Site"], start, end, max(kwh, 0)))
    return _sessions(records)


def read_epfl() -> Sessions:
    """The sessions of EPFL.

    Raises:
        FileNotFoundError: the file is not there.
    """
    import openpyxl

    rows = openpyxl.load_workbook(EPFL, read_only=True).active.values
    names = next(rows)
    records = []
    for row in rows:
        of = dict(zip(names, row, strict=True))
        start = int(of["Arrival"].replace(tzinfo=dt.UTC).timestamp())
        end = start + of["Stay (min)"] * 60
        records.append((of["CCS"], "DC 150+", True, "EPFL", start, end, of["Energy (Wh)"] / 1000))
    return _sessions(records)


def _sessions(records: list[tuple[Any, ...]]) -> Sessions:
    """From rows of point, power class, rapid, site, start, end and kWh."""
    records.sort(key=lambda record: (record[0], record[4]))
    of_point = {record[0]: record for record in records}
    points = list(of_point)
    numbers = {point: number for number, point in enumerate(points)}
    power_class, is_rapid, site = (np.array([of_point[point][column] for point in points]) for column in (1, 2, 3))
    start, end, kwh = (np.array([record[column] for record in records]) for column in (4, 5, 6))
    return Sessions(
        points, power_class, is_rapid, site, np.array([numbers[record[0]] for record in records]), start, end, kwh
    )


def perth_time(row: dict[str, str], which: str) -> int:
    """Seconds since 1970, `which` is Start or End. The file has day and month swapped where the day can be a month."""
    time = dt.datetime.fromisoformat(f"{row[f'{which} Date'][:10]}T{row[f'{which} Time']}")
    if time.day <= 12:
        time = time.replace(day=time.month, month=time.day)
    return int(time.replace(tzinfo=_LONDON).timestamp())
