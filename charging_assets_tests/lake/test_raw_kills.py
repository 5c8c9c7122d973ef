"""Whatever moment a collector is killed at: no received answer is lost, none comes twice, every body has its sha256."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

import pytest

from charging_assets.lake import Lake
from charging_assets_tests.lake.answers import DAY, files, held, spools
from charging_assets_tests.lake.collecting import body_of

_ROOT = Path(__file__).parents[2]

# A collector publishes twice a turn and compacts at the end of every third: its seventh file is a compacted one.
_FAILPOINTS = [
    *("lake.spool.mid_record:3", "lake.spool.mid_record:4", "lake.spool.before_fsync:1", "lake.spool.before_fsync:3"),
    *("lake.publish.before_fsync:1", "lake.publish.before_fsync:2", "lake.raw.before_link:1", "lake.raw.after_link:1"),
    *("lake.raw.after_link:2", "lake.publish.before_fsync:7", "lake.raw.before_link:7", "lake.raw.after_link:7"),
    "lake.compact.before_verify:1",
    *("lake.compact.after_verify:1", "lake.compact.between_unlinks:1", "lake.compact.between_unlinks:3"),
    *("lake.compact.between_unlinks:8", "lake.compact.before_verify:2", "lake.raw.after_link:14"),
]


class Collectors:
    """Collectors that die one after the other, and the answers that they said they had received."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._number = 0
        self.received: set[tuple[str, str]] = set()

    def die(self, failpoint: str = "-", seconds: float = 0) -> None:
        """Run a collector to its death."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._number} {failpoint} {seconds}\n")
        self._process.stdin.flush()
        self._number += 1
        for line in self._process.stdout:
            first, second = line.split()
            if first == "dead":
                assert int(second) == (signal.SIGALRM if failpoint == "-" else signal.SIGKILL)
                return
            self.received.add((first, second))
        raise AssertionError("the process that starts collectors died")


@contextmanager
def collectors(lake: Lake, home: Path) -> Iterator[Collectors]:
    command = [sys.executable, "-m", "charging_assets_tests.lake.collecting", lake.uri, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        yield Collectors(process)
        assert process.stdin is not None
        process.stdin.close()


def check(lake: Lake, received: set[tuple[str, str]]) -> int:
    """Everything received is there once and whole; what was cut off is marked. Returns the number of the latter."""
    whole, cut = set(), set()
    for row in held(lake):
        key = (row.poll.poll_id, row.answer.feed)
        assert key not in whole | cut, f"{key} comes twice"
        body = body_of(*key)
        if row.answer.is_truncated:
            assert body.startswith(row.answer.body)
            assert "killed" in (row.answer.error or "")
            cut.add(key)
        else:
            assert row.answer.body == body
            whole.add(key)
    assert received <= whole
    return len(cut)


def test_a_collector_killed_at_a_failpoint_loses_and_repeats_nothing(any_lake: Lake, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with collectors(any_lake, home) as some:
        for failpoint in _FAILPOINTS:
            some.die(failpoint)
            assert len(spools(home)) <= 1
            any_lake.raw.recover_polls()
            assert spools(home) == []
            check(any_lake, some.received)
    received = any_lake.raw.fingerprint(DAY)
    any_lake.raw.compact(DAY)
    assert len(files(any_lake)) == 1
    assert any_lake.raw.fingerprint(DAY) == received
    assert check(any_lake, some.received) == 2, "the answers that the first two kills cut off"


def test_collectors_killed_at_random_moments_lose_and_repeat_nothing(any_lake: Lake, tmp_path: Path) -> None:
    on_s3 = any_lake.uri.startswith("s3://")
    left_behind = kill_at_random(
        any_lake, tmp_path / "home", rounds=10 if on_s3 else 40, longest_s=0.6 if on_s3 else 0.12
    )
    assert left_behind or on_s3, "no collector was killed between receiving and publishing"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_killed_collectors_lose_and_repeat_nothing(any_lake: Lake, tmp_path: Path) -> None:
    rounds = 300 if any_lake.uri.startswith("s3://") else 3000
    assert kill_at_random(any_lake, tmp_path / "home", rounds=rounds, longest_s=0.6)


def kill_at_random(any_lake: Lake, home: Path, *, rounds: int, longest_s: float) -> int:
    """Kill collectors one after the other and check what is held; returns how many left a spool behind."""
    chance = random.Random(20241023)
    left_behind = 0
    with collectors(any_lake, home) as some:
        # Longer on a busy machine, where collectors are killed before they have received much.
        for number in takewhile(lambda done: done < rounds or len(some.received) <= rounds, count()):
            some.die(seconds=chance.uniform(0.001, longest_s))
            left_behind += len(spools(home))
            if number % 10 == 9:
                any_lake.raw.recover_polls()
                check(any_lake, some.received)
    any_lake.raw.recover_polls()
    any_lake.raw.compact(DAY)
    check(any_lake, some.received)
    assert len(files(any_lake)) == 1
    assert spools(home) == []
    return left_behind
