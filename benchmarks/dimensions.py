"""Dimensions with history from many days of master data: ``python -m benchmarks.dimensions [--large]``.

- A year of the default feeds: 1,093 stations, 2,423 points, 2,806 connectors, 365 days. Limits: 20 s and 1 GiB.
- With ``--large``, a month of all of Germany: 190,000 points. Limits: 120 s and 3 GiB.

The observations are made up: each day some stations are renamed, connectors upgraded, some of all vanish and some are
new. Each size is measured in a process of its own, from the lake's files to Arrow tables; writing these is not on the
clock. Imports are done before.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP, arrow_schema

FIRST = dt.date(2025, 11, 24)
TABLE = "master_observations"


@dataclass(frozen=True)
class Size:
    """A case: how much, and what it may cost."""

    name: str
    stations: int
    points: int
    connectors: int
    days: int
    max_seconds: float
    max_mib: float


SIZES = {
    "year": Size("a year of 2,423 points", 1_093, 2_423, 2_806, 365, 20, 1024),
    "germany": Size("a month of 190,000 points", 86_000, 190_000, 220_000, 30, 120, 3072),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dimensions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--large", action="store_true", help="measure all of Germany too")
    parser.add_argument("--lake", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lake:
        print(json.dumps(_measure(arguments.lake)))
        return
    for name in ("year", "germany") if arguments.large else ("year",):
        with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
            _show(SIZES[name], _make_days(folder, SIZES[name]), folder)


def _show(size: Size, rows: int, lake: str) -> None:
    child = [sys.executable, "-m", "benchmarks.dimensions", "--lake", lake]
    result = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{size.name}: {rows:,} observations of {size.days} days")
    print(f"  {result['seconds']:.1f} s (limit {size.max_seconds:.0f})")
    print(f"  {result['peak_mib']:,.0f} MiB peak (limit {size.max_mib:,.0f})")
    for table, count in result["rows"].items():
        print(f"  {table:26} {count:,} rows")


def _measure(uri: str) -> dict[str, object]:
    """Make the tables in this process."""
    from charging_assets.derive.dimensions import dimensions

    pa.array([0])  # pyarrow imports pandas at its first conversion: 0.5 s that are nobody's work
    with tempfile.TemporaryDirectory() as home:
        begin = time.perf_counter()
        tables = dimensions(Lake(uri, Path(home)), active_days=2)
        seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "peak_mib": _peak_mib(),
        "rows": {name: rows.num_rows for name, rows in tables.items()},
    }


def _peak_mib() -> float:
    """Peak resident memory of this process; `ru_maxrss` would start with the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected VmHWM in /proc/self/status: this benchmark runs on Linux")


# -- observations ----------------------------------------------------------------------------------------------------


class _Things:
    """The things of one level: some come, some go, some change."""

    def __init__(self, count: int, changing: float) -> None:
        self.changing = changing
        slots = count + count // 20
        self.is_there = np.arange(slots) < count
        self.version = np.zeros(slots, np.int64)

    def live_a_day(self, rng: np.random.Generator) -> None:
        dice = rng.random(len(self.is_there))
        self.version[dice < self.changing] += 1
        self.is_there[dice > 0.9999] ^= True


def _make_days(folder: str, size: Size) -> int:
    """Write the days; returns how many rows they have."""
    rng = np.random.default_rng(1)
    lake = Lake(folder, Path(folder) / "home")
    counts = {"connector": size.connectors, "point": size.points, "station": size.stations}
    levels = {level: _Things(count, 0.0002) for level, count in counts.items()}
    rows = 0
    for number in range(size.days):
        query_date = FIRST + dt.timedelta(days=number)
        parts = []
        for level, things in levels.items():
            things.live_a_day(rng)
            there = np.flatnonzero(things.is_there)
            parts.append(_rows(level, there, things.version[there], query_date, counts))
        day = pa.concat_tables(parts).unify_dictionaries()
        order = [(name, "ascending") for name in ("level", "feed", "id")]
        plain = pa.table({name: day[name].cast(pa.string()) for name, _ in order})
        rows += lake.write(TABLE, query_date, day.take(pa.compute.sort_indices(plain, order))).rows
    return rows


def _rows(
    level: str, slot: NDArray[np.int64], version: NDArray[np.int64], query_date: dt.date, counts: dict[str, int]
) -> pa.Table:
    """A day's rows of one level."""
    start, end = (int(bound.timestamp()) * 1_000_000 for bound in day_bounds(query_date))
    count = len(slot)
    station = slot * counts["station"] // counts[level]
    point = slot * counts["point"] // counts[level]

    def numbered(text: str, numbers: NDArray[np.int64]) -> pa.Array:
        return pa.compute.binary_join_element_wise(text, pa.array(numbers).cast(pa.string()), "")

    def same(value: object, kind: pa.DataType | None = None) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), count)

    evse = numbered("DE*MST*E", 10_000_000 + point)
    columns = {
        "level": same(level),
        "id": {"station": numbered("", 490_000 + slot), "point": evse, "connector": numbered("", 3_000_000 + slot)}[
            level
        ],
        "first_seen": pa.array(np.full(count, start)).view(TIMESTAMP),
        "last_seen": pa.array(np.full(count, end - 600_000_000)).view(TIMESTAMP),
        "query_date": same(query_date),
        "source": same("chargecloud"),
        "feed": numbered("feed-", 100 + station // 240),
        "polls": same(144),
        "content_hash": pa.array(slot * 1_000 + version),
    }
    if level == "station":
        columns |= {
            "id_cs": pa.array(490_000 + slot),
            "name": pa.compute.binary_join_element_wise(
                numbered("Musterstr. ", slot), numbered("LADE / N-", version), " "
            ),
            "address": numbered("Musterstr. ", slot),
            "city": same("Musterstadt"),
            "postal_code": same("70469"),
            "country": same("DE"),
            "longitude": pa.array(9 + slot / 1e6),
            "latitude": pa.array(48 + slot / 1e6),
            "operator_name": same("Stadtwerke Musterstadt GmbH"),
            "operator_hotline": same("+4971112345678"),
            "open_24_7": same(True),
            "source_id": numbered("", 490_000 + slot),
            "directions": numbered("Gegenüber von Haus ", slot),
            "tariff_zones": same('["2848"]'),
        }
    elif level == "point":
        columns |= {
            "id_cp": evse,
            "id_cs": pa.array(490_000 + station),
            "vehicle_type": same("four_wheeled"),
            "floor_level": numbered("", version),
            "capabilities": same('["REMOTE_START_STOP_CAPABLE", "RFID_READER"]'),
            "evse_uid": numbered("", 1_140_000 + slot),
            "evse_key": numbered("DEMSTE", 10_000_000 + slot),
            "roaming": same(False),
        }
    else:
        columns |= {
            "id_cp": evse,
            "format": same("SOCKET"),
            "power_type": same("AC_3_PHASE"),
            "ampere": same(32),
            "voltage": same(400),
            "max_power": pa.array(11 * (1 + version)),
            "standard": same("IEC_62196_T2"),
            "power_class": same("AC 11-22"),
        }
    schema = arrow_schema(TABLE)
    made = [
        columns[field.name].cast(field.type) if field.name in columns else same(None, field.type) for field in schema
    ]
    return pa.table(made, schema=schema)


if __name__ == "__main__":
    main()
