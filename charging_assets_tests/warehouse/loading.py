"""Processes that load a partition, to be killed or to be many at once.

`python -m charging_assets_tests.warehouse.loading RECIPE` reads lines of JSON, each a list of lives. For each life it
forks a process, which has all that it needs imported already; when all have ended it prints how, as a list: 0,
`REFUSED` after an error of the contract, or the negative number of a signal.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Self

from charging_assets.lake import Lake, LakeError
from charging_assets.warehouse import WarehouseError, load
from charging_assets.warehouse.contract import key_of_text
from charging_assets_tests.warehouse.harness import Recipe, warehouse_of_recipe

REFUSED = 3
KILLED, TIMED_OUT = -signal.SIGKILL, -signal.SIGALRM


@dataclass(frozen=True, kw_only=True)
class Life:
    """What one process does."""

    table: str
    lakes: Sequence[str]
    """Addresses of the lakes from which it loads, in turn."""
    keys: Sequence[str]
    """Which partitions, in turn, as the load log words them."""
    home: str
    times: int | None = 1
    """How many loads; None: until it dies."""
    failpoint: str = ""
    """Where it dies."""
    seconds: float | None = None
    """When it dies, counted from the end of its first load: as suddenly as by SIGKILL."""
    file_bytes: int | None = None
    """How large a file it may write."""


class Nursery:
    """A process that forks others; a context manager."""

    def __init__(self, recipe: Recipe) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "charging_assets_tests.warehouse.loading", json.dumps(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()

    def live(self, *lives: Life) -> list[int]:
        """Let these processes live side by side; returns how each ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([asdict(life) for life in lives]), file=self._process.stdin, flush=True)
        ended: list[int] = json.loads(self._process.stdout.readline())
        return ended


def _live(life: Life, recipe: Recipe) -> int:
    os.environ["CHARGING_ASSETS_FAILPOINT"] = life.failpoint
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if life.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (life.file_bytes, hard))
    warehouse = warehouse_of_recipe(recipe)
    lakes = [Lake(uri, Path(life.home)) for uri in life.lakes]
    try:
        for turn in count() if life.times is None else range(life.times):
            key = key_of_text(life.keys[turn % len(life.keys)])
            load(lakes[turn % len(lakes)], warehouse, life.table, key)
            if turn == 0 and life.seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, life.seconds)
    except (LakeError, WarehouseError) as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # what is said may go to a file
        print(error, file=sys.stderr)
        return REFUSED
    return 0


def main() -> None:
    recipe = json.loads(sys.argv[1])
    # What is imported late otherwise, by each process again.
    import adbc_driver_postgresql.dbapi  # noqa: F401
    import boto3  # noqa: F401

    for line in sys.stdin:
        children = []
        for life in json.loads(line):
            child = os.fork()
            if not child:
                ended = 1
                try:
                    ended = _live(Life(**life), recipe)
                except BaseException:  # noqa: BLE001 - nothing may return into the parent's loop
                    traceback.print_exc()
                os._exit(ended)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        print(json.dumps([os.waitstatus_to_exitcode(status) for status in statuses]), flush=True)


if __name__ == "__main__":
    main()
