"""Flattening a raw day, against parsers that keep nothing and against pandas: ``python -m benchmarks.flatten``.

All contenders start from the same raw files of one lake, so that reading and decompressing are in every figure. Each
runs in a process of its own, pinned to one core, in turn with the others, several times; medians are compared. Imports
are done before the clock starts, and nothing is written into the lake.

- ``simdjson``, ``orjson``: parse every answer, keep nothing - a bound for anything that parses JSON.
- ``ours``: to finished, published Parquet tables, of all columns, with log and rejects.
- ``pandas``: `json_normalize` of EVSEs and of connectors per answer, appended to two CSV files - what most would write.

The others pass over answers that they cannot read; ours accounts for them.

With ``--json``, standard output is one JSON object and nothing else.
"""

import argparse
import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.data import polls
from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll

DAY = dt.date(2024, 10, 23)
POINTS = 2615
FACTS = ("status_chargingpoints", "status_connectors")


def main() -> None:
    arguments = _arguments()
    if arguments.contender:
        os.sched_setaffinity(0, {arguments.core})
        print(json.dumps(_run_here(arguments.contender, arguments.lake, arguments.date)))
        return
    with _work_folder() as folder:
        results = _given_day(arguments) if arguments.lake else _everything(arguments, folder)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        _show(results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flatten", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--lake", help="measure a day of this lake instead of generated ones")
    parser.add_argument("--date", type=dt.date.fromisoformat, default=DAY, help="query date in that lake")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--quick", action="store_true", help="only the default day, without pandas")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


# -- contenders: each reads the day of the lake and returns how many status rows it saw -------------------------------


def _simdjson(lake: Lake, date: dt.date, _folder: str) -> dict[str, int]:
    import simdjson

    parser = simdjson.Parser()
    for row in lake.raw.rows(date):
        with suppress(ValueError):
            parser.parse(row.answer.body)
    return {}


def _orjson(lake: Lake, date: dt.date, _folder: str) -> dict[str, int]:
    import orjson

    for row in lake.raw.rows(date):
        with suppress(ValueError):
            orjson.loads(row.answer.body)
    return {}


def _ours(lake: Lake, date: dt.date, folder: str) -> dict[str, int]:
    from charging_assets.flatten.day import flatten_day

    own = Lake(f"{folder}/lake", Path(folder))
    own.raw = lake.raw
    published = {name: own.publish(staged) for name, staged in flatten_day(own, date).items()}
    facts = [published[name] for name in FACTS]
    return {"rows": sum(info.rows for info in facts), "bytes": sum(info.bytes for info in facts)}


def _pandas(lake: Lake, date: dt.date, folder: str) -> dict[str, int]:
    import pandas as pd

    for row in lake.raw.rows(date):
        with suppress(ValueError, KeyError, TypeError, NotImplementedError):
            data = json.loads(row.answer.body)["data"]
            points = pd.json_normalize(data, record_path=["evses"])
            plugs = pd.json_normalize(data, record_path=["evses", "connectors"])
            for name, frame in (("points", points), ("connectors", plugs)):
                frame["query_time"] = row.poll.query_time
                frame.to_csv(f"{folder}/{name}.csv", mode="a", header=False)
    return {}


CONTENDERS: dict[str, Callable[[Lake, dt.date, str], dict[str, int]]] = {
    "simdjson": _simdjson,
    "orjson": _orjson,
    "ours": _ours,
    "pandas": _pandas,
}


def _run_here(name: str, lake_uri: str, date: dt.date) -> dict[str, float]:
    """Run one contender in this process; only its work is on the clock."""
    _import_all(name)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(lake_uri, Path(folder))
        begin = time.perf_counter()
        made = CONTENDERS[name](lake, date, folder)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_rss_mib": _peak_rss_mib(), **made}


def _import_all(name: str) -> None:
    import pyarrow as pa

    pa.array([0])  # pyarrow imports pandas at its first conversion: 0.5 s that are nobody's work
    if name == "simdjson":
        import simdjson  # noqa: F401
    elif name == "orjson":
        import orjson  # noqa: F401
    elif name == "ours":
        import charging_assets.flatten.day  # noqa: F401
    else:
        import pandas.io.formats.csvs  # noqa: F401 - what `to_csv` imports when it is called


def _peak_rss_mib() -> float:
    """Peak resident memory of this process; `ru_maxrss` would start with the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected VmHWM in /proc/self/status: this benchmark runs on Linux")


# -- measuring -------------------------------------------------------------------------------------------------------


def _start(name: str, lake: str, date: dt.date, core: int) -> "subprocess.Popen[str]":
    what = ["--contender", name, "--lake", lake, "--date", str(date), "--core", str(core)]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.flatten", *what], stdout=subprocess.PIPE, text=True)


def _result(process: "subprocess.Popen[str]") -> dict[str, float]:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a contender failed: {process.args!r}")
    result: dict[str, float] = json.loads(output)
    return result


def compare(lake: str, date: dt.date, contenders: Sequence[str], rounds: int) -> dict[str, Any]:
    """Run the contenders in turn, `rounds` times; medians, and ratios of our seconds to theirs."""
    core = max(os.sched_getaffinity(0))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in contenders:
            runs[name].append(_result(_start(name, lake, date, core)))
            _say(f"  {name}: {runs[name][-1]['seconds']:.2f} s")
    rows = int(runs["ours"][0]["rows"])
    if not rows:
        raise SystemExit(f"the answers of {date} give no status rows: choose another --date")
    result: dict[str, Any] = {"rows": rows, "bytes_per_row": round(runs["ours"][0]["bytes"] / rows, 3)}
    for name, measured in runs.items():
        seconds = statistics.median(run["seconds"] for run in measured)
        result[name] = {
            "seconds": round(seconds, 4),
            "rows_per_second": round(rows / seconds),
            "peak_rss_mib": round(max(run["peak_rss_mib"] for run in measured), 1),
        }
    for name in contenders:
        if name != "ours":
            result[f"vs_{name}"] = round(result["ours"]["seconds"] / result[name]["seconds"], 4)
    return result


def side_by_side(lakes: Sequence[str], rounds: int) -> dict[str, float]:
    """Two days in two processes at once, each on its core, against one day alone: times the rows per second."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return {}
    gains = []
    for _ in range(rounds):
        alone = _result(_start("ours", lakes[0], DAY, cores[0]))["seconds"]
        pair = [_start("ours", lake, DAY, core) for lake, core in zip(lakes, cores, strict=True)]
        gains.append(2 * alone / max(_result(process)["seconds"] for process in pair))
    return {"times_rows_per_second": round(statistics.median(gains), 2)}


# -- what is measured ------------------------------------------------------------------------------------------------


def _given_day(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if arguments.date not in Lake(arguments.lake, Path(folder)).raw.dates():
            raise SystemExit(f"{arguments.lake} has no raw answers of {arguments.date}: choose another --date")
    return compare(arguments.lake, arguments.date, list(CONTENDERS), arguments.rounds)


def _everything(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    _say("a day of 2,615 points, 144 polls, 4 % of the points changing per poll; loose files as polling leaves them")
    lake, json_bytes = _make_day(folder / "day", POINTS, 0.04)
    contenders = ["simdjson", "orjson", "ours", *([] if arguments.quick else ["pandas"])]
    results = compare(lake, DAY, contenders, arguments.rounds)
    if arguments.quick:
        return results
    results["changing"] = {}
    for share in (0.01, 0.1, 0.3, 1.0):
        _say(f"the same with {share:.0%} changing")
        other, _ = _make_day(folder / "other", POINTS, share)
        measured = compare(other, DAY, ["simdjson", "orjson", "ours"], arguments.rounds)
        results["changing"][f"{share:.0%}"] = {key: measured[key] for key in ("vs_orjson", "vs_simdjson")}
        shutil.rmtree(folder / "other")
    _say("two days side by side")
    second, _ = _make_day(folder / "second", POINTS, 0.04)
    results["two_processes"] = side_by_side([lake, second], arguments.rounds)
    _say("the same day compacted")
    results["compaction"] = _compact(lake, json_bytes)
    compacted = compare(lake, DAY, ["simdjson", "orjson", "ours"], arguments.rounds)
    results["compacted"] = {key: compacted[key] for key in ("ours", "orjson", "vs_orjson", "vs_simdjson")}
    _say("a tenth of a national day: 26,150 points")
    tenth, _ = _make_day(folder / "tenth", 10 * POINTS, 0.04)
    large = compare(tenth, DAY, ["ours"], 1)
    small = compare(second, DAY, ["ours"], 3)
    results["tenth_of_national"] = {
        "rows": large["rows"],
        **large["ours"],
        "cost_per_row_vs_small": round(small["ours"]["rows_per_second"] / large["ours"]["rows_per_second"], 3),
    }
    return results


def _make_day(folder: Path, points: int, changing: float) -> tuple[str, int]:
    """Write a raw day poll by poll, as polling does; returns the lake and the bytes of its JSON."""
    lake = Lake(str(folder), folder / "home")
    start, _ = day_bounds(DAY)
    size = 0
    for number, answers in enumerate(polls(points, 144, changing)):
        poll = Poll(f"{number:012x}", start + dt.timedelta(minutes=10 * number), 600, "chargecloud")
        kept = [
            Answer(feed, body, attempts=1, http_status=200, bytes_total=len(body)) for feed, body in answers.items()
        ]
        lake.raw.import_answers(poll, kept)
        size += sum(len(answer.body) for answer in kept)
    return str(folder), size


def _compact(lake_uri: str, json_bytes: int) -> dict[str, float]:
    lake = Lake(lake_uri, Path(lake_uri) / "home")
    begin = time.perf_counter()
    done = lake.raw.compact(DAY)
    seconds = time.perf_counter() - begin
    assert done is not None
    return {"seconds": round(seconds, 2), "json_to_file": round(json_bytes / done.file_bytes)}


# -- showing ---------------------------------------------------------------------------------------------------------


@contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        yield Path(folder)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(results: dict[str, Any], indent: str = "") -> None:
    for key, value in results.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            _show(value, indent + "  ")
        else:
            print(f"{indent}{key:24} {value:,}")


if __name__ == "__main__":
    main()
