"""Polls of the past: what a collector would have brought home, written straight into the lake's raw files."""

import datetime as dt
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from charging_assets.calendar import day_bounds
from charging_assets.lake import Kind, Lake
from charging_assets.model.answer import SIMULATOR, Answer, Poll
from charging_assets.progress import advance
from charging_assets.simulator.simulation import Simulation
from charging_assets.simulator.streams import Stream, stream
from charging_assets.simulator.world import Longs, World

_WRITERS = 2
"""Polls that are written at the same time."""
_ANSWER_S = 0.25
"""How long an answer takes."""
_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"


@dataclass(frozen=True, slots=True)
class History:
    """What was written."""

    polls: int
    answers: int
    """Good ones."""
    missing: int
    """Feeds that did not answer a poll, or not well."""
    json_bytes: int


def epoch_of(query_date: dt.date) -> dt.datetime:
    """Where the world begins whose history begins on this date: 1 January UTC of its year, or of the one before.

    So histories of any dates of a year are of one world: simulating the last week again a day later goes on with it.
    """
    start, _ = day_bounds(query_date)
    return dt.datetime(start.year, 1, 1, tzinfo=dt.UTC)


def kind_of(world: World) -> Kind:
    """What a lake holds that has answers or facts of this world."""
    return Kind("simulated", world.seed, f"{world.epoch:%Y-%m-%d}")


def write_history(
    simulation: Simulation,
    lake: Lake,
    query_dates: Sequence[dt.date],
    *,
    interval_s: int,
    missing: float = 0.0,
    until: dt.datetime | None = None,
) -> History:
    """Poll the simulation on these query dates, from each midnight on.

    The same world, dates and arguments give the same bytes; what the lake holds already is not written again.

    Args:
        simulation: who answers.
        lake: where the raw files go.
        query_dates: in ascending order.
        interval_s: seconds between two polls.
        missing: share of the answers that do not come, or not well.
        until: no poll at or after this time.

    Raises:
        ValueError: the simulated world does not reach over the dates.
        WrongKind: the lake holds real data, or another simulated world.
        LakeError: the lake cannot be written.
    """
    lake.raw.claim(kind_of(simulation.world))
    total = sum(len(_times(date, interval_s, until)) for date in query_dates)
    polls = good = bad = size = 0
    with ThreadPoolExecutor(_WRITERS) as writers:  # hashing, compressing and waiting for the disk hold no lock
        writing: deque[Future[int]] = deque()
        for date in query_dates:
            times = _times(date, interval_s, until)
            statuses = simulation.published(times)
            for number, second in enumerate(times.tolist()):
                time = dt.datetime.fromtimestamp(second, dt.UTC)
                poll = Poll(f"sim-{simulation.world.seed}-{second}", time, interval_s, SIMULATOR)
                answers = list(_answers(simulation, time, statuses[:, number], missing))
                writing.append(writers.submit(lake.raw.import_answers, poll, answers))
                if len(writing) > _WRITERS:
                    writing.popleft().result()
                came = [answer for answer in answers if answer.error is None]
                polls, good, bad = polls + 1, good + len(came), bad + len(simulation.world.feeds) - len(came)
                size += sum(answer.bytes_total for answer in came)
                advance("polls simulated", polls, total)
        for written in writing:
            written.result()
    return History(polls, good, bad, size)


def _times(query_date: dt.date, interval_s: int, until: dt.datetime | None) -> Longs:
    start, end = (int(bound.timestamp()) for bound in day_bounds(query_date))
    return np.arange(start, end if until is None else min(end, int(until.timestamp())), interval_s)


def _answers(simulation: Simulation, time: dt.datetime, statuses: Longs, missing: float) -> Iterator[Answer]:
    """What the feeds answer to one poll. Of what is missing, half hangs, a quarter fails, a quarter was not asked."""
    second = int(time.timestamp())
    world = simulation.world
    # Drawn per poll and for all feeds at once, so that another interval or share leaves the others as they are.
    draws = stream(world.seed, Stream.MISSING, second).random((len(world.feeds), 2)).tolist()
    for number, (feed, (draw, kind)) in enumerate(zip(world.feeds, draws, strict=True)):
        asked = time + dt.timedelta(seconds=_ANSWER_S * number)
        came = asked + dt.timedelta(seconds=_ANSWER_S)
        if draw >= missing:
            body = simulation.write(number, second, statuses[world.points_of(number)])
            yield Answer(
                feed,
                body,
                requested_at=asked,
                received_at=came,
                attempts=1,
                http_status=200,
                content_type="application/json",
                bytes_total=len(body),
            )
        elif kind < 0.5:
            yield Answer(feed, requested_at=asked, attempts=3, error="no answer within 30 s")
        elif kind < 0.75:
            yield Answer(
                feed,
                _GATEWAY_PAGE,
                requested_at=asked,
                received_at=came,
                attempts=3,
                http_status=502,
                content_type="text/html",
                bytes_total=len(_GATEWAY_PAGE),
                error="HTTP 502 Bad Gateway",
            )
