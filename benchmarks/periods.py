"""KPIs over periods from a year of days: ``python -m benchmarks.periods [--years N]``.

2,423 points at 942 stations in 38 cities, made up and written straight into a lake: 365 days of `kpi_daily`,
`charging_events` and `utilization_hourly`. The figures of a day are sums of its hours, of which a few have outages.

- Figures and days of one city, or by station, over the year. Limit: 1 s.
- The whole report of them, with its days, hours and power classes. Limit: 1 s for a city.
- Utilization by station and hour over the year. Limit: 2 s.
- `kpi_monthly` and `usage_profile`, whole.

Each is measured in a process of its own, several times, with its peak of memory; medians are printed. Writing the lake
is not on the clock, imports are done before, and the first run finds the files in the system's cache. With ``--years``
the lake has more of them, and reports stay at one year.
"""

import argparse
import datetime as dt
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.calendar import BERLIN, day_bounds
from charging_assets.derive.occupancy.periods import Selection, kpi_monthly, opened_period, usage_profile
from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.tables.master import POWER_CLASSES
from charging_assets.model.tables.occupancy import SCOPES
from charging_assets.reports.occupancy.content import By, make_report

FIRST = dt.date(2025, 1, 1)
DAYS, POINTS, STATIONS, CITIES, OPERATORS = 365, 2_423, 942, 38, 25
CITY = "Stadt 07"
MAX_REPORT_S, MAX_PROFILE_S = 1.0, 2.0

Ints = NDArray[np.int64]


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        way, uri = arguments.child
        print(json.dumps(_measure(way, uri, arguments.rounds)))
        return
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        lake = arguments.lake or Path(folder) / "lake"
        if not lake.exists():
            _make_lake(lake, DAYS * arguments.years)
        rows = {name: _rows(lake, name) for name in ("kpi_daily", "charging_events", "utilization_hourly")}
        print(", ".join(f"{count:,} rows of {name}" for name, count in rows.items()))
        for name, (_, limit) in WAYS.items():
            _show(name, limit, _run(name, str(lake), arguments.rounds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.periods", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--years", type=int, default=1, help="how many years the lake has (default 1)")
    parser.add_argument("--lake", type=Path, help="where to keep the lake for the next time (default: nowhere)")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "LAKE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _show(name: str, limit: float | None, result: Mapping[str, float]) -> None:
    against = f" (limit {limit:.0f} s)" if limit else ""
    seconds = f"{result['seconds']:.2f} s{against}, {result['cpu']:.2f} s of CPU"
    print(f"  {name:38} {seconds:36} {result['mib']:6,.0f} MiB peak {result['rows']:10,} rows")


def _run(way: str, lake: str, rounds: int) -> dict[str, float]:
    child = [sys.executable, "-m", "benchmarks.periods", "--rounds", str(rounds), "--child", way, lake]
    result: dict[str, float] = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
    return result


def _measure(way: str, uri: str, rounds: int) -> dict[str, float]:
    """Go one way in this process, again and again."""
    import duckdb  # noqa: F401 - so that importing it is not on the clock

    go, lake, took = WAYS[way][0], _lake_at(Path(uri)), []
    for _ in range(rounds):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        made = go(lake)
        took.append((time.perf_counter() - begin, time.process_time() - begin_cpu))
    seconds, cpu = map(statistics.median, zip(*took, strict=True))
    return {"seconds": seconds, "cpu": cpu, "mib": _peak_mib(), "rows": made.num_rows}


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected VmHWM in /proc/self/status: this benchmark runs on Linux")


def _lake_at(folder: Path) -> Lake:
    return Lake(str(folder), folder.parent / "home")


def _rows(folder: Path, name: str) -> int:
    lake = _lake_at(folder)
    return sum(info.rows for date in lake.partitions(name) if (info := lake.info(name, date)))


# -- the ways --------------------------------------------------------------------------------------------------------

Way = Callable[[Lake], pa.Table]


def _asked(what: Literal["kpis", "daily", "profile"], selection: Selection, days: int = DAYS) -> Way:
    def go(lake: Lake) -> pa.Table:
        with opened_period(lake, FIRST, FIRST + dt.timedelta(days=days - 1)) as period:
            made: pa.Table = getattr(period, what)(selection)
            return made

    return go


def _report(by: By, only: str | None = None, city: str | None = None) -> Way:
    return lambda lake: make_report(lake, by, FIRST, FIRST + dt.timedelta(days=DAYS - 1), only, city).rows


_OF_CITY = (CITY,)
WAYS: dict[str, tuple[Way, float | None]] = {
    "one city, a year": (_asked("kpis", Selection("city", cities=_OF_CITY)), MAX_REPORT_S),
    "all cities, a year": (_asked("kpis", Selection("city")), MAX_REPORT_S),
    "stations of a city, a year": (_asked("kpis", Selection("station", cities=_OF_CITY)), MAX_REPORT_S),
    "all stations, a year": (_asked("kpis", Selection("station")), MAX_REPORT_S),
    "all stations, a month": (_asked("kpis", Selection("station"), days=31), MAX_REPORT_S),
    "days of all cities, a year": (_asked("daily", Selection("city")), MAX_REPORT_S),
    "report of one city, a year": (_report("city", only=CITY), MAX_REPORT_S),
    "report of a city's stations, a year": (_report("station", city=CITY), MAX_REPORT_S),
    "report of all cities, a year": (_report("city"), None),
    "one city by weekday and hour, a year": (_asked("profile", Selection("city", cities=_OF_CITY)), MAX_PROFILE_S),
    "stations by weekday and hour, a year": (_asked("profile", Selection("station")), MAX_PROFILE_S),
    "kpi_monthly": (kpi_monthly, None),
    "usage_profile": (usage_profile, None),
}

# -- the lake --------------------------------------------------------------------------------------------------------


def _make_lake(folder: Path, days: int) -> None:
    lake, country = _lake_at(folder), _Country()
    for number in range(days):
        date = FIRST + dt.timedelta(days=number)
        for name, rows in country.day(date).items():
            lake.write(name, date, rows)
        if number % 50 == 0:
            print(f"writing {date} ...", file=sys.stderr, flush=True)


class _Country:
    """Made-up points, and what they did on a day."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self._station = np.sort(
            np.concatenate([np.arange(STATIONS), self._random.integers(0, STATIONS, POINTS - STATIONS)])
        )
        self._city = self._station * CITIES // STATIONS
        self._power = self._random.choice(len(POWER_CLASSES), POINTS, p=(0.02, 0.06, 0.7, 0.02, 0.06, 0.06, 0.08))
        self._rate = self._random.beta(1.5, 8, POINTS)
        operator = self._city * OPERATORS // CITIES
        of_point = {
            "point": [f"DE*MST*E{number:08}" for number in range(POINTS)],
            "station": [str(490_000 + number) for number in self._station],
            "city": [f"Stadt {number:02}" for number in self._city],
            "operator": [f"Stadtwerke {number:02} GmbH" for number in operator],
            "power_class": [POWER_CLASSES[number] for number in self._power],
            "feed": [f"feed-{number:02}" for number in self._city],
        }
        self._names = {scope: np.unique(names, return_inverse=True) for scope, names in of_point.items()}
        """By scope: its ids, and which of them each point belongs to."""

    def day(self, date: dt.date) -> dict[str, pa.Table]:
        """The three tables of a day."""
        start, end = (int(bound.timestamp()) for bound in day_bounds(date))
        hours = np.arange(start, end, 3600)
        local = np.array([dt.datetime.fromtimestamp(hour, BERLIN).hour for hour in hours.tolist()])
        usual = self._rate[:, None] * (0.4 + np.sin((local - 4) / 24 * np.pi) ** 2)
        shape = (POINTS, len(hours))
        unknown = np.where(self._random.random(len(hours)) < 0.03, self._random.integers(1, 3600), 0)
        unknown = np.broadcast_to(unknown, shape)
        is_fault = np.repeat(self._random.random(POINTS) < 0.02, len(hours)).reshape(shape)
        share = np.clip(self._random.normal(usual, 0.3), 0, 1)
        occupied = np.where(is_fault, 0, ((3600 - unknown) * share).astype(np.int64))
        fault = np.where(is_fault, 3600 - unknown, 0)
        seconds = {"occupied_s": occupied, "fault_s": fault, "unknown_s": unknown}
        seconds["free_s"] = 3600 - occupied - fault - unknown
        seconds["gone_s"] = np.zeros(shape, np.int64)
        events = self._events(date, start)
        return {
            "utilization_hourly": self._hourly(date, hours, local, seconds),
            "charging_events": events,
            "kpi_daily": self._kpis(date, seconds, events),
        }

    def _hourly(self, date: dt.date, hours: Ints, local: Ints, seconds: Mapping[str, Ints]) -> pa.Table:
        point = np.repeat(np.arange(POINTS), len(hours))
        return _table(
            "utilization_hourly",
            {name: pa.array(values.ravel()) for name, values in seconds.items()}
            | {
                "hour_utc": _times(np.tile(hours, POINTS)),
                "hour_local": pa.array(np.tile(local, POINTS)),
                "query_date": _same(date, len(point)),
            }
            | self._whereabouts(point),
        )

    def _events(self, date: dt.date, start: int) -> pa.Table:
        number = self._random.poisson(1.5 + 8 * self._rate)
        point = np.repeat(np.arange(POINTS), number)
        # Slots of a point, so that no two of its events begin at the same time.
        slot = np.arange(len(point)) - np.repeat(np.cumsum(number) - number, number)
        begin = start + slot * 3600 + self._random.integers(0, 12, len(point)) * 300
        is_dc = self._power[point] >= 4
        median = np.where(is_dc, 1_620, 4_080)
        duration = (median * self._random.lognormal(0, 1, len(point)) / 300).astype(np.int64) * 300 + 300
        is_censored = self._random.random((2, len(point))) < 0.02
        energy = np.where(is_dc, 40.0, 15.0) * self._random.random(len(point))
        flags = ("is_single_poll", "is_frozen", "is_suspicious", "has_gap")
        return _table(
            "charging_events",
            {
                "start_time": _times(begin),
                "end_time": _times(begin + duration),
                "duration_s": pa.array(duration),
                "status": _same("CHARGING", len(point)),
                "is_left_censored": pa.array(is_censored[0]),
                "is_right_censored": pa.array(is_censored[1]),
                "energy_kwh": pa.array(energy),
                "energy_kwh_low": pa.array(energy * 0.6),
                "energy_kwh_high": pa.array(energy * 1.5),
                "query_date": _same(date, len(point)),
                "gap_s": pa.array(np.zeros(len(point), np.int64)),
                "n_polls": pa.array(duration // 300),
                "is_overstay": pa.array(duration > np.where(is_dc, 2_700, 14_400)),
            }
            | {name: _same(False, len(point)) for name in flags}
            | self._whereabouts(point),
        )

    def _whereabouts(self, point: Ints) -> dict[str, pa.Array]:
        def of(scope: str) -> pa.Array:
            names, number = self._names[scope]
            return pa.DictionaryArray.from_arrays(pa.array(number[point].astype(np.int32)), pa.array(names))

        columns = {"id_cp": "point", "city": "city", "operator_name": "operator", "power_class": "power_class"}
        return {
            "id_cs": pa.array(490_000 + self._station[point]),
            "source": _same("chargecloud", len(point)),
            "feed": of("feed"),
            **{column: of(scope) for column, scope in columns.items()},
        }

    def _kpis(self, date: dt.date, seconds: Mapping[str, Ints], events: pa.Table) -> pa.Table:
        rows = [self._kpis_of(scope, date, seconds, events) for scope in sorted(SCOPES)]
        return pa.concat_tables(rows).unify_dictionaries()

    def _kpis_of(self, scope: str, date: dt.date, seconds: Mapping[str, Ints], events: pa.Table) -> pa.Table:
        from charging_assets.derive.occupancy.formulas import with_ratios

        names, number = self._names[scope]
        count = len(names)

        def summed(of_point: NDArray[np.float64]) -> Ints:
            return np.bincount(number, of_point, count).astype(np.int64)

        columns = {name: summed(values.sum(axis=1)) for name, values in seconds.items()}
        size = summed(np.ones(POINTS))
        stations = np.bincount(np.unique(np.stack([number, self._station]), axis=1)[0], minlength=count)
        of_event = number[pc.index_in(events["id_cp"].cast(pa.string()), pa.array(self._names["point"][0])).to_numpy()]

        def counted(flag: NDArray[np.bool_] | None = None) -> Ints:
            return np.bincount(of_event if flag is None else of_event[flag], minlength=count)

        def flagged(name: str) -> NDArray[np.bool_]:
            return events[name].to_numpy()  # type: ignore[no-any-return]

        busy = columns["occupied_s"] / np.maximum(columns["occupied_s"] + columns["free_s"], 1)
        polls = 144 * stations
        columns |= {
            "points": size,
            "points_observed": size,
            "stations": stations,
            "station_polls": polls,
            "station_polls_free": (polls * (1 - busy**2)).astype(np.int64),
            "station_polls_working": polls,
            "station_polls_full": (polls * busy**2).astype(np.int64),
            "events": counted(),
            "overstays": counted(flagged("is_overstay")),
            "censored_events": counted(flagged("is_left_censored") | flagged("is_right_censored")),
            "suspicious_events": counted(flagged("is_suspicious")),
            "max_occupied": np.minimum(size, (2 * busy * size).astype(np.int64)),
            "duration_p50_s": np.full(count, 3_600),
            "duration_p90_s": np.full(count, 9_000),
        }
        energy = {
            name: np.bincount(of_event, events[name].to_numpy(), count)
            for name in ("energy_kwh", "energy_kwh_low", "energy_kwh_high")
        }
        texts = {
            "scope": _same(scope, count),
            "scope_id": pa.array(names),
            "query_date": _same(date, count),
            "name": pa.array(names),
            "peak_utilization": pa.array(np.minimum(1, busy * 1.5)),
        }
        texts |= dict.fromkeys(("city", "operator_name", "power_class"), pa.nulls(count, pa.string()))
        if scope in ("point", "station", "city"):
            first = np.unique(number, return_index=True)[1]
            texts["city"] = pa.array(self._names["city"][0][self._names["city"][1][first]])
        never = ("open_occupied_s", "open_observed_s", "open_unknown_s")
        opening = {name: pa.nulls(count, pa.int64()) for name in never}
        numbers = {name: pa.array(values) for name, values in (columns | energy).items()}
        made = with_ratios(pa.table(texts | numbers | opening))
        return _table("kpi_daily", {name: made[name] for name in made.column_names})


def _table(name: str, columns: Mapping[str, pa.Array]) -> pa.Table:
    schema = arrow_schema(name)
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _times(seconds: Ints) -> pa.Array:
    return pa.array(seconds * 1_000_000).view(TIMESTAMP)


def _same(value: object, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), count)


if __name__ == "__main__":
    main()
