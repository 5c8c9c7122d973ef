"""Reading points of interest from an extract in PBF: ``python -m benchmarks.osm``.

An extract is repeated, each copy moved and renumbered, until it has 5 million nodes and 0.9 million ways; its ids are
spread as wide as those of today's nodes, since that decides how much a set of them takes. Limits: at least 5 MB of file
per second with the default categories, and 1.5 GiB with whatever there is.

- ``default``: the tags of the default categories.
- ``crowded``: every building and road is a feature, so that 0.7 million of them wait for their nodes.
- ``pyosmium``: its own way for the same as ``default``, with the locations of all nodes in memory.

Each is measured in a process of its own, in turn with the others; medians are printed. Imports are done before the
clock starts, and features are counted and dropped.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import osmium
import shapely
import shapely.geometry
from osmium.filter import GeoInterfaceFilter, KeyFilter
from osmium.osm.mutable import Node, Relation, Way

from charging_assets.sources.osm.categories import Categories
from charging_assets.sources.osm.pbf import ShapeNotes, read_pbf

NEUSS = Path(__file__).resolve().parents[2] / "shared/data/osm/neuss.osm.pbf"
COPIES = 185
LAST_NODE, LAST_WAY, LAST_RELATION = 13_700_000_000, 1_400_000_000, 19_000_000
MIN_MB_PER_S, MAX_MIB = 5, 1536


def main() -> None:
    arguments = _arguments()
    if arguments.contender:
        print(json.dumps(_run_here(arguments.contender, arguments.pbf)))
        return
    if not arguments.pbf.exists():
        raise SystemExit(f"no extract at {arguments.pbf}: name one of a city with --pbf")
    with tempfile.TemporaryDirectory(prefix="charging-bench-") as folder:
        path = arguments.pbf if arguments.copies == 1 else _repeat(arguments.pbf, arguments.copies, Path(folder))
        _show(path, arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.osm", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pbf", type=Path, default=NEUSS, help="an extract of a city (default: a part of Neuss)")
    parser.add_argument("--copies", type=int, default=COPIES, help="how often it is repeated; 1: it is read as it is")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args()


# -- contenders: each reads the file and returns how many features it saw ---------------------------------------------


def _default(path: Path) -> int:
    return sum(table.num_rows for table in read_pbf(path, Categories.load("default").tag_filter(), ShapeNotes()))


def _crowded(path: Path) -> int:
    return sum(table.num_rows for table in read_pbf(path, {"building": True, "highway": True}, ShapeNotes()))


def _pyosmium(path: Path) -> int:
    tag_filter = Categories.load("default").tag_filter()
    filters = KeyFilter(*tag_filter), GeoInterfaceFilter()
    things: Any = osmium.FileProcessor(path).with_areas(filters[0]).with_filter(filters[0]).with_filter(filters[1])
    seen = set()
    for thing in things:
        tags = dict(thing.tags)
        if any(key in tags and (isinstance(values, bool) or tags[key] in values) for key, values in tag_filter.items()):
            shapely.to_wkb(shapely.geometry.shape(thing.__geo_interface__["geometry"]))
            is_area = isinstance(thing, osmium.osm.Area)
            is_way = thing.from_way() if is_area else isinstance(thing, osmium.osm.Way)
            seen.add((is_way, thing.orig_id() if is_area else thing.id, json.dumps(tags)))
    return len(seen)


CONTENDERS: dict[str, Callable[[Path], int]] = {"default": _default, "crowded": _crowded, "pyosmium": _pyosmium}


def _run_here(name: str, path: Path) -> dict[str, float]:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    rows = CONTENDERS[name](path)
    spent = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - begin_cpu}
    return spent | {"peak_mib": _peak_mib(), "rows": rows}


def _peak_mib() -> float:
    """Peak resident memory of this process; `ru_maxrss` would start with the parent's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected VmHWM in /proc/self/status: this benchmark runs on Linux")


# -- the file --------------------------------------------------------------------------------------------------------


def _repeat(original: Path, copies: int, folder: Path) -> Path:
    """Write the extract `copies` times into one, sorted as extracts are."""
    nodes: list[dict[str, Any]] = []
    ways: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    everything: Any = osmium.FileProcessor(original)
    for thing in everything:
        own = {"id": thing.id, "version": thing.version, "timestamp": thing.timestamp, "tags": dict(thing.tags)}
        if isinstance(thing, osmium.osm.Node):
            nodes.append(own | {"location": (thing.location.lon, thing.location.lat)})
        elif isinstance(thing, osmium.osm.Way):
            ways.append(own | {"nodes": [each.ref for each in thing.nodes]})
        elif isinstance(thing, osmium.osm.Relation):
            relations.append(own | {"members": [(each.type, each.ref, each.role) for each in thing.members]})
    number_of_node = _numbering(nodes, copies, LAST_NODE)
    number_of_way = _numbering(ways, copies, LAST_WAY)
    number_of_relation = _numbering(relations, copies, LAST_RELATION)
    path = folder / "repeated.osm.pbf"
    with osmium.SimpleWriter(path) as writer:
        for copy in range(copies):
            for each in nodes:
                lon, lat = each["location"]
                at = (lon + copy % 16 * 0.05, lat + copy // 16 * 0.03)
                writer.add_node(Node(**each | {"id": number_of_node(copy, each["id"]), "location": at}))
        for copy in range(copies):
            for each in ways:
                refs = [number_of_node(copy, ref) for ref in each["nodes"]]
                writer.add_way(Way(**each | {"id": number_of_way(copy, each["id"]), "nodes": refs}))
        for copy in range(copies):
            for each in relations:
                members = [("w", number_of_way(copy, ref), role) for kind, ref, role in each["members"] if kind == "w"]
                writer.add_relation(Relation(**each | {"id": number_of_relation(copy, each["id"]), "members": members}))
    _say(f"{copies * len(nodes):,} nodes, {copies * len(ways):,} ways, {copies * len(relations):,} relations")
    return path


def _numbering(things: list[dict[str, Any]], copies: int, last: int) -> Callable[[int, int], int]:
    """New ids in the order of the old ones, copy after copy, evenly up to `last`; for things not in the file, too."""
    ranks = {thing["id"]: rank for rank, thing in enumerate(things)}
    step = last // (copies * (len(things) + 1))
    return lambda copy, number: (copy * (len(things) + 1) + ranks.get(number, len(things))) * step + 1


# -- showing ---------------------------------------------------------------------------------------------------------


def _show(path: Path, rounds: int) -> None:
    megabytes = path.stat().st_size / 1e6
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            child = [sys.executable, "-m", "benchmarks.osm", "--contender", name, "--pbf", str(path)]
            runs[name].append(json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout))
            _say(f"  {name}: {runs[name][-1]['seconds']:.1f} s")
    print(f"{megabytes:.1f} MB (limits: {MIN_MB_PER_S} MB/s with the default categories, {MAX_MIB:,} MiB)")
    for name, measured in runs.items():
        seconds, cpu_seconds = (statistics.median(run[key] for run in measured) for key in ("seconds", "cpu_seconds"))
        peak = max(run["peak_mib"] for run in measured)
        print(
            f"  {name:9} {seconds:6.1f} s ({cpu_seconds:.1f} s of CPU) {megabytes / seconds:5.1f} MB/s "
            f"{peak:6,.0f} MiB peak {int(measured[0]['rows']):9,} features"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
