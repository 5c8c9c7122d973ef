"""Real sessions that are polled are found again, as far as polls see them; `benchmarks.truth.perth` has the year."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from benchmarks.truth.perth import (
    STATED,
    Found,
    Period,
    Polls,
    are_same,
    evse_ids,
    judge,
    make,
    occupied_s,
    sessions_s,
    statuses,
    write_answers,
    write_tables,
)
from benchmarks.truth.sessions import PERTH, Sessions, read_perth
from charging_assets.derive.activity import Ints, seconds
from charging_assets.lake import Lake
from charging_assets.simulator.sessions import CHARGING

pytestmark = pytest.mark.skipif(not PERTH.exists(), reason=f"the real sessions are not there: {PERTH}")

INTERVAL_S = 600
WEEKS = Period.of(dt.date(2019, 3, 18), 21)
"""With the end of winter time on 31 March."""
MISSING = [0.0, 0.02]


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    return read_perth()


@pytest.fixture(scope="module", params=MISSING, ids=["all polls", "2 % missing"])
def polled(
    request: pytest.FixtureRequest, sessions: Sessions, tmp_path_factory: pytest.TempPathFactory
) -> tuple[float, Polls, Found]:
    """The share of polls that are missing, the others, and what they found."""
    folder = tmp_path_factory.mktemp("perth")
    lake = Lake(str(folder / "lake"), folder / "home")
    polls = Polls.of(WEEKS, INTERVAL_S, request.param)
    write_tables(lake, sessions, WEEKS, polls)
    return request.param, polls, make(lake, WEEKS, looks_for_freezes=False)


@pytest.mark.parametrize("kind", ["AC", "rapid"])
def test_polls_find_the_share_of_events_that_is_stated(
    kind: str, sessions: Sessions, polled: tuple[float, Polls, Found]
) -> None:
    missing, polls, found = polled
    of = sessions.is_rapid == (kind == "rapid")
    midnights = WEEKS.midnights()
    count = (of[sessions.point] & (sessions.end > midnights[0]) & (sessions.end <= midnights[-1])).sum()
    stated = STATED[INTERVAL_S, missing][kind]["events"]
    deviation = np.sqrt(stated * (1 - stated) / count)  # as if each session were lost by itself
    assert judge(sessions, WEEKS, polls, found, of).events == pytest.approx(stated, abs=0.01 + 3 * deviation)


def test_occupied_time_is_that_of_the_sessions(sessions: Sessions, polled: tuple[float, Polls, Found]) -> None:
    _, polls, found = polled
    found_s, truth_s = occupied_s(sessions, WEEKS, found), sessions_s(sessions, WEEKS, polls)
    # Each end of a session is off by up to half a poll, evenly: less than 12 ** -0.5 polls of standard deviation.
    deviation_s = INTERVAL_S * np.sqrt(2 * found.events.num_rows / 12)
    assert found_s.sum() == pytest.approx(truth_s.sum(), abs=3 * deviation_s)
    assert 3 * deviation_s < 0.02 * truth_s.sum()
    assert (np.abs(found_s - truth_s) <= 1.5 * INTERVAL_S * _sessions_around(sessions)).all()


def _sessions_around(sessions: Sessions) -> Ints:
    """How many sessions lie on a day or within a poll of it; shape (points, days)."""
    midnights, count = WEEKS.midnights(), np.zeros((len(sessions.points), len(WEEKS.judged)), np.int64)
    first = np.searchsorted(midnights, sessions.start - INTERVAL_S, side="right") - 1
    last = np.searchsorted(midnights, sessions.end + INTERVAL_S)
    for point, begin, end in zip(sessions.point.tolist(), first.tolist(), last.tolist(), strict=True):
        count[point, max(begin, 0) : end] += 1
    return count


def test_each_run_of_polls_that_saw_charging_is_one_event(
    sessions: Sessions, polled: tuple[float, Polls, Found]
) -> None:
    _, polls, found = polled
    is_charging = statuses(sessions, polls.times) == CHARGING
    point, last = np.nonzero(is_charging[:, :-1] & ~is_charging[:, 1:])
    distance = polls.times[last + 1] - polls.times[last]
    end = polls.times[last] + np.minimum(distance // 2, INTERVAL_S * 3 // 4)
    midnights = WEEKS.midnights()
    is_judged = (end > midnights[0]) & (end <= midnights[-1])
    ids = np.array(evse_ids(sessions))[point[is_judged]].tolist()
    expected = sorted(zip(ids, end[is_judged].tolist(), strict=True))
    events = found.events
    assert sorted(zip(events["id_cp"].to_pylist(), seconds(events["end_time"]).tolist(), strict=True)) == expected
    assert not pc.any(events["is_left_censored"]).as_py()


def test_what_no_poll_was_near_to_is_unknown_and_nothing_else(
    sessions: Sessions, polled: tuple[float, Polls, Found]
) -> None:
    missing, polls, found = polled
    midnights = WEEKS.midnights()
    gap_start, gap_end = (np.clip(bound, midnights[0], midnights[-1]) for bound in polls.gaps())
    unknown_s = pc.sum(found.hours["unknown_s"]).as_py()
    assert unknown_s == (gap_end - gap_start).sum() * len(sessions.points)
    assert (unknown_s > 0) == (missing > 0)
    kinds = ("occupied_s", "free_s", "fault_s", "gone_s", "unknown_s")
    total_s = sum(pc.sum(found.hours[kind]).as_py() for kind in kinds)
    assert total_s == (midnights[-1] - midnights[0]) * len(sessions.points)


def test_answers_and_the_tables_that_flattening_makes_of_them_tell_the_same(sessions: Sessions, tmp_path: Path) -> None:
    days = [dt.date(2019, 3, 30), dt.date(2019, 3, 31)]
    period = Period(days, days)
    polls = Polls.of(period, 1800)
    founds = []
    for write in (write_answers, write_tables):
        lake = Lake(str(tmp_path / write.__name__), tmp_path / "home")
        write(lake, sessions, period, polls)
        founds.append(make(lake, period, looks_for_freezes=True))
    assert founds[0].events.num_rows > 0
    assert are_same(*founds)
