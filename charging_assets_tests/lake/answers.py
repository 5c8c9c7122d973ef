"""Polls and answers to keep, and what is in a lake, for the tests of raw files."""

import datetime as dt
import hashlib
import random
from collections.abc import Iterable
from pathlib import Path

from charging_assets.lake import Lake, RawRow
from charging_assets.model.answer import Answer, Poll

DAY = dt.date(2024, 10, 23)
MIDNIGHT = dt.datetime(2024, 10, 22, 22, tzinfo=dt.UTC)
"""First instant of `DAY` in Berlin."""


def poll_number(number: int, poll_id: str | None = None, source: str = "chargecloud") -> Poll:
    """The poll `number` x 10 minutes into `DAY`."""
    return Poll(poll_id or f"poll{number:03}", MIDNIGHT + dt.timedelta(minutes=10 * number), 600, source)


def answer(feed: str, body: bytes | None = None) -> Answer:
    """A good answer; its body is made from the feed's name unless it is given."""
    body = f'{{"feed":"{feed}"}}'.encode() if body is None else body
    return Answer(
        feed,
        body,
        url=f"https://example.org/{feed}",
        requested_at=MIDNIGHT + dt.timedelta(seconds=1, microseconds=2),
        received_at=MIDNIGHT + dt.timedelta(seconds=2, microseconds=3),
        attempts=2,
        http_status=200,
        content_type="application/json",
        bytes_total=len(body),
    )


def noise(seed: object, size: int) -> bytes:
    """Bytes that no compressor makes smaller."""
    return random.Random(str(seed)).randbytes(size)


def keep(lake: Lake, poll: Poll, answers: Iterable[Answer]) -> str | None:
    """Poll these answers; returns the raw file."""
    with lake.raw.begin_poll(poll) as spool:
        for each in answers:
            spool.add(each)
    return spool.file


def keep_day(lake: Lake, polls: int, feeds: Iterable[str] = ("bonn", "koeln")) -> None:
    """A day of polls whose answers differ in little."""
    for number in range(polls):
        keep(lake, poll_number(number), [answer(feed, f"{feed} {number} ".encode() * 50) for feed in feeds])


def held(lake: Lake, since: dt.datetime | None = None) -> list[RawRow]:
    """The rows of `DAY`, checked: every body has its sha256 and no row comes twice."""
    rows = list(lake.raw.rows(DAY, since))
    for row in rows:
        assert hashlib.sha256(row.answer.body).hexdigest() == row.sha256
    assert len({(row.poll, row.answer.feed, row.sha256) for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: (row.poll.query_time, row.poll.poll_id, row.answer.feed, row.sha256))


def files(lake: Lake) -> list[str]:
    """Names of the raw files of `DAY`."""
    return lake.raw._store.names(f"raw/query_date={DAY}")


def spools(home: Path) -> list[Path]:
    """Spool files of polls under way or killed."""
    return sorted((home / "spool").glob("*"))
