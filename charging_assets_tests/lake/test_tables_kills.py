"""At whatever moment a writer is killed: the old partition or the new one, never none or a mix; nothing piles up."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charging_assets.lake import Lake
from charging_assets_tests.lake.replacing import DAY, TABLE, number_in, version

_ROOT = Path(__file__).parents[2]


def replacing(lake: Lake, home: Path, *what: str) -> list[str]:
    return [sys.executable, "-m", "charging_assets_tests.lake.replacing", lake.uri, str(home), *what]


def staged_files(lake: Lake, home: Path) -> list[Path]:
    folder = home / "staging" if lake.uri.startswith("s3://") else Path(lake.uri) / ".staging"
    return list(folder.iterdir())


@pytest.mark.parametrize(
    ("failpoint", "version_after"),
    [("lake.publish.before_fsync", 1), ("lake.publish.before_rename", 1), ("lake.publish.after_rename", 2)],
)
def test_a_writer_killed_while_publishing_leaves_the_old_or_the_new_partition(
    any_lake: Lake, tmp_path: Path, failpoint: str, version_after: int
) -> None:
    home = tmp_path / "home"
    killed = subprocess.run(
        replacing(any_lake, home, "times", "5"),
        env=os.environ | {"CHARGING_ASSETS_FAILPOINT": f"{failpoint}:3"},
        cwd=_ROOT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert number_in(any_lake) == version_after
    info = any_lake.info(TABLE, DAY)
    assert info is not None
    assert info.inputs == str(version_after)
    any_lake.write(TABLE, DAY, version(7))
    assert number_in(any_lake) == 7
    assert staged_files(any_lake, home) == []


def test_writers_killed_at_random_moments_leave_whole_partitions_and_no_pile_of_files(
    any_lake: Lake, tmp_path: Path
) -> None:
    kill_at_random(any_lake, tmp_path / "home", times=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_killed_writers_leave_whole_partitions_and_no_pile_of_files(
    any_lake: Lake, tmp_path: Path
) -> None:
    kill_at_random(any_lake, tmp_path / "home", times=25)


def kill_at_random(any_lake: Lake, home: Path, *, times: int) -> None:
    """Kill some dozen writers one after the other, or so many times more, and check what is there."""
    rounds, longest_s = (25 * times, 0.1) if any_lake.uri.startswith("s3://") else (80 * times, 0.03)
    moments = random.Random(20241023)
    any_lake.write(TABLE, DAY, version(0))
    seen = 0
    left_behind = 0
    with subprocess.Popen(
        replacing(any_lake, home, "dying"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        done = 0
        while done < rounds or seen <= 2 * rounds:  # longer on a busy machine, where writers die before they did much
            done += 1
            nursery.stdin.write(f"{seen + 1} {moments.uniform(0.001, longest_s)}\n")
            nursery.stdin.flush()
            assert nursery.stdout.readline().strip() == str(-signal.SIGALRM)
            number = number_in(any_lake)
            assert number > seen
            seen = number
            assert len(staged_files(any_lake, home)) <= 1
            left_behind += len(staged_files(any_lake, home))
        nursery.stdin.close()
    assert left_behind, "no writer was killed between staging and publishing"
    any_lake.write(TABLE, DAY, version(seen + 1))
    assert staged_files(any_lake, home) == []
