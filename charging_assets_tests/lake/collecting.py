"""Processes that poll, publish, recover and compact until they are killed; and what their answers were.

`python -m charging_assets_tests.lake.collecting URI HOME` reads lines `<number> <failpoint or -> <seconds>`: each forks
a process that collects as poller `<number>` until it dies at the failpoint, or by a timer (SIGALRM without a handler:
as sudden as SIGKILL). Each answer that was received is told on stdout, `<poll_id> <feed>`, after `add` returned; then a
line `dead <signal>`.
"""

import datetime as dt
import os
import random
import signal
import sys
from itertools import count
from pathlib import Path

from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets_tests.lake.answers import DAY, MIDNIGHT, answer

FEEDS = ("bonn", "kiel", "koeln")


def body_of(poll_id: str, feed: str) -> bytes:
    """The answer of a feed to a poll. The first one of every tenth collector takes several writes to spool."""
    chance = random.Random(f"{poll_id} {feed}")
    if poll_id.endswith("0-0000") and feed == FEEDS[0]:
        return chance.randbytes(7_000) * 100
    return chance.randbytes(chance.randrange(2_000))


def collect(lake: Lake, number: int) -> None:
    """Poll for ever, compacting every third poll as if the day were over."""
    chance = random.Random(number)
    for turn in count():
        lake.raw.recover_polls()
        poll_id = f"{number:04}-{turn:04}"
        poll = Poll(poll_id, MIDNIGHT + dt.timedelta(seconds=chance.randrange(86_400)), 600, "chargecloud")
        with lake.raw.begin_poll(poll) as spool:
            for feed in FEEDS:
                spool.add(_answer(poll_id, feed))
                _tell(f"{poll_id} {feed}")
        imported = f"{poll_id}i"
        lake.raw.import_answers(
            Poll(imported, poll.query_time, 600, "chargecloud"), [_answer(imported, feed) for feed in FEEDS]
        )
        for feed in FEEDS:
            _tell(f"{imported} {feed}")
        if turn % 3 == 2:
            lake.raw.compact(DAY)


def _answer(poll_id: str, feed: str) -> Answer:
    return answer(feed, body_of(poll_id, feed))


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    uri, home = sys.argv[1:]
    # Imported here once, and not in each process that is forked: pandas by pyarrow, boto3 by an S3 lake.
    import boto3  # noqa: F401
    import pandas  # noqa: F401

    for line in sys.stdin:
        number, failpoint, seconds = line.split()
        child = os.fork()
        if not child:
            lake = Lake(uri, Path(home))
            lake.raw.dates()  # connects to S3, which takes longer than the life that follows
            if failpoint == "-":
                signal.setitimer(signal.ITIMER_REAL, float(seconds))
            else:
                os.environ["CHARGING_ASSETS_FAILPOINT"] = failpoint
            collect(lake, int(number))
        _, status = os.waitpid(child, 0)
        _tell(f"dead {os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)}")


if __name__ == "__main__":
    main()
