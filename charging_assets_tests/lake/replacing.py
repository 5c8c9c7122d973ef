"""Versions of one partition, and a process that replaces it again and again, to be killed or read beside.

`python -m charging_assets_tests.lake.replacing URI HOME times N` replaces it N times (versions 0 to N-1).
`… dying` reads lines `<version> <seconds>`: each forks a process that replaces it with that version, the next one, …
until it dies by a timer (SIGALRM without a handler: as sudden as SIGKILL); then its signal is printed.
"""

import datetime as dt
import os
import signal
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema

TABLE = "status_chargingpoints"
DAY = dt.date(2024, 10, 23)


def few(values: list[str | None]) -> pa.DictionaryArray:
    return pa.array(values, pa.string()).dictionary_encode().cast(pa.dictionary(pa.int32(), pa.string()))


def status_day(statuses: np.ndarray, names: list[str]) -> pa.Table:
    """A valid partition of `status_chargingpoints`: `statuses[point, poll]` are indices of `names`."""
    points, polls = statuses.shape
    ids = pa.DictionaryArray.from_arrays(
        np.repeat(np.arange(points, dtype=np.int32), polls), [f"DE*ABC*E{number:06d}" for number in range(points)]
    )
    start = np.datetime64(day_bounds(DAY)[0].replace(tzinfo=None), "us")
    times = start + np.arange(polls) * np.timedelta64(86_400_000_000 // polls, "us")
    rows = points * polls
    columns = {
        "id_chargingpoint": ids,
        "query_time": pa.array(np.tile(times, points)).cast(pa.timestamp("us", tz="UTC")),
        "status_cp": pa.DictionaryArray.from_arrays(statuses.reshape(-1).astype(np.int32), names),
        "status_parkingsensor": few([None] * rows),
        "query_date": pa.array([DAY]).take(pa.array(np.zeros(rows, np.int32))),
        "source": few(["chargecloud"] * rows),
        "feed": few(["koeln"] * rows),
        "status_class": few(["free"] * rows),
    }
    return pa.table([columns[name] for name in arrow_schema(TABLE).names], schema=arrow_schema(TABLE))


def version(number: int) -> pa.Table:
    """A small partition whose every row, and whose size, tells which version it is of."""
    return status_day(np.zeros((20 + number % 5, 24), np.int32), [f"VERSION {number}"])


def number_of(status_cp: list[str], rows: int) -> int:
    """Which version rows with these distinct statuses are; fails if they are not all rows of one version."""
    assert len(status_cp) == 1, f"a mix of {status_cp}"
    number = int(status_cp[0].removeprefix("VERSION "))
    assert rows == (20 + number % 5) * 24, f"{rows} rows of version {number}"
    return number


def number_in(lake: Lake) -> int:
    found = lake.read(TABLE, DAY)
    return number_of(found["status_cp"].unique().to_pylist(), found.num_rows)


def _die_replacing(lake: Lake, first: int, seconds: float) -> None:
    lake.write(TABLE, DAY, version(first))  # connects to S3, which takes longer than the life that follows
    signal.setitimer(signal.ITIMER_REAL, seconds)
    for number in count(first + 1):
        lake.write(TABLE, DAY, version(number))


def main() -> None:
    uri, home, what = sys.argv[1:4]
    lake = Lake(uri, Path(home))
    if what == "times":
        for number in range(int(sys.argv[4])):
            lake.write(TABLE, DAY, version(number), inputs=str(number))
        return
    # Imported here once, and not in each process that is forked: pandas by pyarrow, boto3 by an S3 lake.
    version(0)
    import boto3  # noqa: F401

    for line in sys.stdin:
        first, seconds = line.split()
        child = os.fork()
        if not child:
            _die_replacing(lake, int(first), float(seconds))
        _, status = os.waitpid(child, 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
