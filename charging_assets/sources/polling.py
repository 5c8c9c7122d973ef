"""One poll: every feed of a source asked once, a few at a time, and over before the next poll begins."""

import collections
import datetime as dt
import logging
import math
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from charging_assets import calendar, progress
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets.sources.source import Source

FEEDS_AT_ONCE = 4

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll brought; every feed is either counted in `answered` or a key of `failed`."""

    poll: Poll
    file: str | None
    """Path of the raw file within the lake; None for a source without feeds."""
    answered: int
    """Feeds that gave HTTP 200 with a complete answer of the source's form."""
    failed: dict[str, str]
    """Why each other feed did not, in a sentence."""


def poll_seconds(interval_s: int) -> float:
    """How long a poll may take: 80 % of the interval, leaving 30 s to publish where that leaves at least half of it.

    480 s of 600, 90 of 120, 30 of 60, 5 of 10.
    """
    return min(0.8 * interval_s, max(interval_s - 30.0, 0.5 * interval_s))


def poll(source: Source, lake: Lake, *, interval_s: int, query_time: dt.datetime | None = None) -> PollResult:
    """Ask all feeds of the source and keep every answer, failed ones too, as one raw file.

    Args:
        source: Who is asked.
        lake: Where the raw file goes.
        interval_s: Seconds between two polls; bounds this one, see `poll_seconds`.
        query_time: Start of the poll, UTC, whole seconds; default: now.

    Raises:
        LakeError: the lake cannot be written. A feed's failure does not raise.
    """
    deadline = time.monotonic() + poll_seconds(interval_s)
    this = Poll(uuid.uuid4().hex[:16], query_time or calendar.utc_now(), interval_s, source.name)
    failed: dict[str, str] = {}
    total = len(source.feeds)
    with lake.raw.begin_poll(this) as spool:
        for done, answer in enumerate(_answers(source, deadline), 1):
            spool.add(answer)
            if reason := _why_useless(source, answer):
                failed[answer.feed] = reason
            progress.advance("feeds polled", done, total)
    return PollResult(this, spool.file, total - len(failed), failed)


def _why_useless(source: Source, answer: Answer) -> str | None:
    """Why an answer does not count; a captive portal's page is complete, HTTP 200, and no answer."""
    if answer.error is not None or answer.is_truncated or answer.http_status != 200:
        return answer.error or f"HTTP {answer.http_status}"
    found = source.state(answer)
    return found.sentence if found.state == "gone" else None


def _answers(source: Source, deadline: float) -> Iterator[Answer]:
    """One answer per feed as they come, the last by the deadline.

    Each feed may take an equal share of the time that is left, or a few dripping servers would hold all places until
    the deadline and the others were never asked. A thread that has not answered by then hangs where nothing can wake it
    (in name resolution); it is left behind, which is why these are daemon threads and no executor, whose threads the
    interpreter joins at exit.
    """
    waiting = collections.deque(source.feeds)
    given_up_at: dict[str, float] = {}
    arrived: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    while waiting or given_up_at:
        while waiting and len(given_up_at) < FEEDS_AT_ONCE:
            now = time.monotonic()
            share = (deadline - now) / math.ceil(len(waiting) / FEEDS_AT_ONCE)
            feed = waiting.popleft()
            given_up_at[feed] = now + share
            grace = min(2.0, share / 10)  # for fetch to keep what it has of a body that is cut at its deadline
            asking = (source, feed, now + share - grace, arrived)
            threading.Thread(target=_fetch, args=asking, name=f"fetch {feed}", daemon=True).start()
        due = min(given_up_at, key=given_up_at.__getitem__)
        try:
            answer = arrived.get(timeout=max(0.0, given_up_at[due] - time.monotonic()))
        except queue.Empty:
            answer = Answer(due, error="given up: no answer and no error in its share of the poll's time")
        if given_up_at.pop(answer.feed, None) is not None:  # None: it was given up before
            yield answer


def _fetch(source: Source, feed: str, deadline: float, arrived: "queue.SimpleQueue[Answer]") -> None:
    try:
        answer = source.fetch(feed, deadline)
    except Exception as error:  # noqa: BLE001 - whatever a source gets wrong, the other feeds' answers count
        _LOG.exception("feed %s: the source raised an exception", feed)
        answer = Answer(feed, error=f"the source failed with {type(error).__name__}; this is a fault of the program")
    arrived.put(answer)
