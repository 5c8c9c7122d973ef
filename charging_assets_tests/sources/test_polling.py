import datetime as dt
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charging_assets import calendar, progress
from charging_assets.lake import Lake, LakeError
from charging_assets.model.answer import Answer
from charging_assets.sources import (
    ChargecloudSource,
    FeedState,
    PollResult,
    chargecloud,
    feed_state,
    poll,
    poll_seconds,
)
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

GOOD = b'{"data": [{"id": "1"}], "status_code": 1000}'
TIME = dt.datetime(2024, 10, 23, 11, 16, 9, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(chargecloud, "BACKOFF_S", 0.01)


class Scripted:
    """A source whose feeds answer what a function says."""

    name = "chargecloud"

    def __init__(self, feeds: tuple[str, ...], answer: Callable[[str, float], Answer]) -> None:
        self.feeds = feeds
        self._answer = answer

    def fetch(self, feed: str, deadline: float) -> Answer:
        return self._answer(feed, deadline)

    def state(self, answer: Answer) -> FeedState:
        return feed_state(answer)


def good(feed: str) -> Answer:
    return Answer(feed, GOOD, attempts=1, http_status=200, bytes_total=len(GOOD))


def kept(lake: Lake, result: PollResult) -> dict[str, Answer]:
    rows = list(lake.raw.rows(calendar.query_date_of(result.poll.query_time)))
    assert {row.poll for row in rows} == {result.poll}
    answers = {row.answer.feed: row.answer for row in rows}
    assert len(answers) == len(rows)
    return answers


def test_a_page_of_a_captive_portal_is_kept_and_does_not_count_as_an_answer(lake: Lake) -> None:
    with ChargecloudStandin({"a": Reply(b"<html>Please log in</html>"), "b": Reply(GOOD)}) as api:
        result = poll(ChargecloudSource(api.url, ("a", "b")), lake, interval_s=600)
    assert result.answered == 1
    assert "expected a JSON object" in result.failed["a"]
    assert kept(lake, result)["a"].error is None


def test_a_poll_keeps_every_answer_in_one_raw_file(lake: Lake) -> None:
    bodies = {f"city{i}": b'{"data": [%d]}' % i for i in range(9)}
    with ChargecloudStandin({feed: Reply(body) for feed, body in bodies.items()}) as api:
        source = ChargecloudSource(api.url, tuple(bodies))
        result = poll(source, lake, interval_s=600, query_time=TIME)
    assert (result.answered, result.failed) == (9, {})
    assert (result.poll.query_time, result.poll.interval_s, result.poll.source) == (TIME, 600, "chargecloud")
    answers = kept(lake, result)
    assert {feed: answer.body for feed, answer in answers.items()} == bodies
    assert answers["city3"].url == f"{api.url}/city3"
    assert answers["city3"].attempts == 1
    assert [str(path.relative_to(lake.uri)) for path in Path(lake.uri).glob("raw/*/*")] == [result.file]


def test_the_real_answer_is_kept_byte_for_byte(lake: Lake, real_answer: bytes) -> None:
    with ChargecloudStandin({"SW-Stuttgart": Reply(real_answer)}) as api:
        result = poll(ChargecloudSource(api.url, ("SW-Stuttgart",)), lake, interval_s=600)
    assert kept(lake, result)["SW-Stuttgart"].body == real_answer


def test_the_query_time_is_now_in_whole_seconds_and_poll_ids_differ(lake: Lake) -> None:
    source = Scripted(("a",), lambda feed, _: good(feed))
    before = calendar.utc_now()
    one, other = poll(source, lake, interval_s=600), poll(source, lake, interval_s=600)
    assert before <= one.poll.query_time <= calendar.utc_now()
    assert one.poll.query_time.microsecond == 0
    assert one.poll.poll_id != other.poll.poll_id
    assert len([*Path(lake.uri).glob("raw/*/*")]) == 2


def test_one_feed_s_failure_costs_no_other_feed_s_answer(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chargecloud, "READ_TIMEOUT_S", 0.1)
    bad = {
        "gone": Reply(b"no such feed", 404),
        "down": Reply(b"<html>", 503),
        "garbage": Reply(fault="garbage"),
        "silent": Reply(fault="silence"),
        "lost": Reply(GOOD[:5], headers={"Content-Length": "999"}, fault="reset"),
        "away": Reply(b"", 302, {"Location": "http://example.invalid/"}),
    }
    fine = {f"city{i}": Reply(GOOD) for i in range(5)}
    with ChargecloudStandin(bad | fine) as api:
        result = poll(ChargecloudSource(api.url, (*bad, *fine, "no/feed")), lake, interval_s=600)
    assert result.answered == 5
    assert set(result.failed) == {*bad, "no/feed"}
    answers = kept(lake, result)
    assert all(answers[feed].body == GOOD and answers[feed].error is None for feed in fine)
    assert {feed: answers[feed].error for feed in result.failed} == result.failed
    assert answers["gone"].body == b"no such feed"
    assert answers["down"].attempts == 4


def test_an_exception_in_a_source_costs_only_its_own_feed(lake: Lake) -> None:
    def answer(feed: str, _: float) -> Answer:
        if feed == "bad":
            raise ZeroDivisionError("secret")
        return good(feed)

    result = poll(Scripted(("bad", "a", "b"), answer), lake, interval_s=600)
    assert result.answered == 2
    assert "ZeroDivisionError" in result.failed["bad"]
    assert "secret" not in result.failed["bad"]
    assert set(kept(lake, result)) == {"bad", "a", "b"}


def test_a_cut_answer_and_an_http_error_count_as_failed(lake: Lake) -> None:
    answers = {
        "cut": Answer("cut", b"{", http_status=200, is_truncated=True, error="cut at 64 MiB"),
        "odd": Answer("odd", b"{}", http_status=203),
        "ok": good("ok"),
    }
    result = poll(Scripted(tuple(answers), lambda feed, _: answers[feed]), lake, interval_s=600)
    assert (result.answered, result.failed) == (1, {"cut": "cut at 64 MiB", "odd": "HTTP 203"})


def test_at_most_four_feeds_are_asked_at_once(lake: Lake) -> None:
    together, lock = threading.Barrier(4), threading.Lock()
    running = most = 0

    def answer(feed: str, _: float) -> Answer:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(20)  # passes only when four are here
        with lock:
            running -= 1
        return good(feed)

    result = poll(Scripted(tuple(f"f{i}" for i in range(12)), answer), lake, interval_s=600)
    assert (result.answered, most) == (12, 4)


@pytest.mark.parametrize(("interval_s", "seconds"), [(3600, 2880), (600, 480), (120, 90), (60, 30), (10, 5)])
def test_a_poll_is_over_well_before_the_next_one(interval_s: int, seconds: float) -> None:
    assert poll_seconds(interval_s) == seconds


@pytest.mark.parametrize("fault", ["silence", "drip header", "drip body"])
def test_dawdling_feeds_leave_the_others_their_time(lake: Lake, fault: Any) -> None:
    slow = {f"slow{i}": Reply(b"{", fault=fault) for i in range(5)}
    fine = {f"city{i}": Reply(GOOD) for i in range(5)}
    with ChargecloudStandin(slow | fine) as api:
        begun = time.monotonic()
        result = poll(ChargecloudSource(api.url, (*slow, *fine)), lake, interval_s=6)
        took = time.monotonic() - begun
    assert took < 5
    assert set(result.failed) == set(slow)
    assert all("no complete answer within" in reason for reason in result.failed.values())
    answers = kept(lake, result)
    assert all(answers[feed].body == GOOD for feed in fine)
    if fault == "drip body":
        assert all(answers[feed].body.startswith(b"{x") and answers[feed].is_truncated for feed in slow)


def test_a_thread_that_hangs_in_name_resolution_is_given_up(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    hang, first, resolve = threading.Event(), threading.Lock(), socket.getaddrinfo

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        if first.acquire(blocking=False):
            hang.wait(60)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    feeds = tuple(f"city{i}" for i in range(8))
    with ChargecloudStandin({feed: Reply(GOOD) for feed in feeds}) as api:
        begun = time.monotonic()
        result = poll(ChargecloudSource(api.url, feeds), lake, interval_s=4)
        took = time.monotonic() - begun
        asked = len(api.requests)
        hang.set()
        for thread in threading.enumerate():
            if thread.name.startswith("fetch "):
                thread.join(10)
        assert len(api.requests) == asked  # woken after its deadline, the thread asks nothing any more
    assert took < 4
    (reason,) = result.failed.values()
    assert result.answered == 7
    assert reason.startswith("given up: no answer")
    assert len(kept(lake, result)) == 8


def test_an_answer_that_comes_after_it_was_given_up_is_dropped(lake: Lake) -> None:
    wake, threads = threading.Event(), dict[str, threading.Thread]()

    def answer(feed: str, _: float) -> Answer:
        threads[feed] = threading.current_thread()
        if feed == "last":  # asked when the first of the others was given up: its place is free
            wake.set()
            for name in ("a", "b", "c", "d"):
                threads[name].join(10)
        else:
            wake.wait(30)
        return good(feed)

    feeds = ("a", "b", "c", "d", "last")
    result = poll(Scripted(feeds, answer), lake, interval_s=4)
    assert result.failed["a"].startswith("given up")
    assert kept(lake, result)["last"] == good("last")
    assert set(kept(lake, result)) == set(feeds)


def test_a_process_ends_although_a_thread_hangs(tmp_path: Path) -> None:
    program = f"""
        import threading
        from pathlib import Path
        from charging_assets.lake import Lake
        from charging_assets.sources import poll

        class Hanging:
            name, feeds = "chargecloud", ("a",)
            def fetch(self, feed, deadline):
                threading.Event().wait()

        print(poll(Hanging(), Lake({str(tmp_path / "lake")!r}, Path({str(tmp_path)!r})), interval_s=2).failed["a"])
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("given up: no answer")


def test_progress_is_reported_feed_by_feed(lake: Lake) -> None:
    seen: list[tuple[str, int, int]] = []
    with progress.watch(lambda *report: seen.append(report)):
        poll(Scripted(("a", "b"), lambda feed, _: good(feed)), lake, interval_s=600)
    assert seen == [("feeds polled", 1, 2), ("feeds polled", 2, 2)]


def test_a_lake_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lake = Lake(str(tmp_path / "file" / "lake"), tmp_path / "home")
    with pytest.raises(LakeError):
        poll(Scripted(("a",), lambda feed, _: good(feed)), lake, interval_s=600)
