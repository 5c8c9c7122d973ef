"""Received answers survive kills, damage and full disks; spools of living polls and other lakes are left alone."""

import dataclasses
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_assets.lake import Lake, LakeError
from charging_assets.lake.spool import SpoolFile
from charging_assets.model.answer import Answer
from charging_assets_tests.lake.answers import DAY, answer, held, keep, noise, poll_number, spools

_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_ANSWERS = st.lists(
    st.builds(
        lambda body, **others: Answer(body=body, bytes_total=len(body), **others),
        feed=st.sampled_from(["bonn", "koeln", "SW-Stuttgart"]),
        body=st.binary(max_size=300) | st.just(b"CAsp" * 50),
        url=_TEXT,
        error=_TEXT,
        requested_at=st.none() | st.just(poll_number(3).query_time),
        http_status=st.none() | st.integers(100, 599),
        is_truncated=st.booleans(),
    ),
    max_size=5,
)


def spooled(folder: Path, answers: list[Answer]) -> tuple[Path, list[int]]:
    """A spool that its poll left behind; where each of its records ends, the one about the poll first."""
    spool = SpoolFile.create(folder, "lake", poll_number(0))
    ends = [spool.path.stat().st_size]
    for each in answers:
        spool.append(each)
        ends.append(spool.path.stat().st_size)
    spool.close()
    return spool.path, ends


def recovered(path: Path) -> list[Answer] | None:
    """What a recovery finds; None when it finds that there is nothing."""
    spool = SpoolFile.take_over(path)
    if spool is None:
        return None
    assert (spool.lake, spool.poll) == ("lake", poll_number(0))
    found = [dataclasses.replace(kept.meta, body=kept.read_body()) for kept in spool.answers]
    assert [kept.sha256 for kept in spool.answers] == [each.sha256 for each in found]
    spool.close()
    return found


@given(answers=_ANSWERS, data=st.data())
@settings(max_examples=150)
def test_a_spool_cut_off_anywhere_keeps_every_complete_answer_and_the_prefix_of_the_last(
    answers: list[Answer], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, ends = spooled(Path(folder), answers)
        cut = data.draw(st.integers(0, ends[-1]), label="cut")
        os.truncate(path, cut)
        found = recovered(path)
        if cut < ends[0]:
            assert found is None
            assert not path.exists(), "nothing was received: nothing to keep"
            return
        assert found is not None
        complete = sum(end <= cut for end in ends[1:])
        assert found[:complete] == answers[:complete]
        for torn in found[complete:]:
            whole = answers[complete]
            assert whole.body.startswith(torn.body)
            assert torn.is_truncated
            assert f"{len(torn.body)} of {len(whole.body)} bytes" in (torn.error or "")
            assert (
                dataclasses.replace(torn, body=whole.body, is_truncated=whole.is_truncated, error=whole.error) == whole
            )
        assert len(found) <= complete + 1


@given(answers=_ANSWERS, data=st.data())
@settings(max_examples=150)
def test_a_damaged_byte_costs_no_other_answer(answers: list[Answer], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, ends = spooled(Path(folder), answers)
        position = data.draw(st.integers(0, ends[-1] - 1), label="position")
        content = bytearray(path.read_bytes())
        content[position] ^= data.draw(st.integers(1, 255), label="flip")
        path.write_bytes(content)
        hit = sum(end <= position for end in ends)
        if hit == 0 and answers:
            with pytest.raises(LakeError, match="damaged"):
                recovered(path)
            assert path.read_bytes() == content, "kept for whoever can read it"
            return
        found = recovered(path) or []
        others = answers[: hit - 1] + answers[hit:] if hit else []
        assert [each for each in found if "damaged" not in (each.error or "")] == others
        assert all(each.is_truncated for each in found if "damaged" in (each.error or ""))


def test_a_living_poll_is_not_recovered(lake: Lake, tmp_path: Path) -> None:
    with lake.raw.begin_poll(poll_number(0)) as spool:
        assert lake.raw.recover_polls() == []
        spool.add(answer("koeln"))
        assert lake.raw.recover_polls() == []
        assert len(spools(tmp_path / "home")) == 1
    assert len(held(lake)) == 1


def test_spools_of_another_lake_wait_for_that_lake(
    any_lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    other = Lake(str(tmp_path / "other"), home)
    left_behind(any_lake, home, [answer("koeln")])
    assert other.raw.recover_polls() == []
    assert other.raw.dates() == []
    assert f"waits for the next poll into its own lake, {any_lake.uri}" in caplog.text
    assert any_lake.raw.recover_polls() == [f"raw/query_date={DAY}/20241022T220000Z_poll000.parquet"]
    assert any_lake.raw.recover_polls() == []
    assert [row.answer for row in held(any_lake)] == [answer("koeln")]


def test_one_unreadable_spool_does_not_hold_the_others_up(lake: Lake, tmp_path: Path) -> None:
    home = tmp_path / "home"
    left_behind(lake, home, [answer("koeln")])
    (bad,) = spools(home)
    content = bad.read_bytes()
    left_behind(lake, home, [answer("bonn")], number=1)
    bad.write_bytes(content.replace(b"lake", b"LAKE", 1))
    with pytest.raises(LakeError, match=r"poll000\.spool is damaged"):
        lake.raw.recover_polls()
    assert [row.answer.feed for row in held(lake)] == ["bonn"]
    assert spools(home) == [bad]


def test_what_is_published_and_compacted_already_is_not_published_again(any_lake: Lake, tmp_path: Path) -> None:
    home = tmp_path / "home"
    left_behind(any_lake, home, [answer("koeln"), answer("bonn")])
    (path,) = spools(home)
    content = path.read_bytes()
    for _ in range(2):
        any_lake.raw.recover_polls()
        path.write_bytes(content)
        any_lake.raw.compact(DAY)
    assert any_lake.raw.recover_polls() == []
    assert len(any_lake.raw._store.list("raw")) == 1
    assert spools(home) == []


def test_a_poll_with_the_id_of_another_that_waits_for_recovery_is_refused(lake: Lake, tmp_path: Path) -> None:
    left_behind(lake, tmp_path / "home", [answer("koeln")])
    with pytest.raises(LakeError, match="waits for recovery"):
        keep(lake, poll_number(0), [answer("bonn")])
    lake.raw.recover_polls()
    assert keep(lake, poll_number(0), [answer("bonn")]) == f"raw/query_date={DAY}/20241022T220000Z_poll000-2.parquet"
    assert [row.answer.feed for row in held(lake)] == ["bonn", "koeln"]


def test_answers_that_the_spool_has_no_room_for_are_published_from_memory(lake: Lake, tmp_path: Path) -> None:
    answers = [answer(f"feed{number}", bytes(40_000)) for number in range(5)]
    with file_size_limit(100_000), lake.raw.begin_poll(poll_number(0)) as spool:
        for each in answers:
            spool.add(each)
        assert spools(tmp_path / "home")[0].stat().st_size < 90_000, "no half record is left"
    assert [row.answer for row in held(lake)] == answers
    assert spools(tmp_path / "home") == []


def test_a_poll_goes_on_where_no_spool_can_be_made(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "spool").write_text("a file where a folder should be")
    keep(lake, poll_number(0), [answer("koeln")])
    assert len(held(lake)) == 1


def test_a_full_disk_is_said_with_what_is_kept_and_what_is_lost(lake: Lake, tmp_path: Path) -> None:
    answers = [answer(f"feed{number}", noise(number, 40_000)) for number in range(4)]
    with (
        file_size_limit(100_000),
        pytest.raises(LakeError, match=r"ulimit.*2 answers .* are safe .*could not be stored anywhere: feed2, feed3"),
    ):
        keep(lake, poll_number(0), answers)
    assert held(lake) == []
    assert len(lake.raw.recover_polls()) == 1
    assert [row.answer for row in held(lake)] == answers[:2]


def test_a_poll_that_cannot_be_published_is_published_by_the_next_recovery(lake: Lake, tmp_path: Path) -> None:
    Path(lake.uri).write_text("a file where the lake should be")
    with pytest.raises(LakeError, match=r"2 answers of the poll are safe"):
        keep(lake, poll_number(0), [answer("koeln"), answer("bonn")])
    with pytest.raises(LakeError, match="not published yet"):
        lake.raw.recover_polls()
    Path(lake.uri).unlink()
    assert len(lake.raw.recover_polls()) == 1
    assert len(held(lake)) == 2
    assert spools(tmp_path / "home") == []


def left_behind(lake: Lake, home: Path, answers: list[Answer], number: int = 0) -> None:
    """What a poll leaves that is killed before it publishes."""
    spool = SpoolFile.create(home / "spool", lake.uri, poll_number(number))
    for each in answers:
        spool.append(each)
    spool.close()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may become larger than `size` bytes: a disk that is full for large files and not for small ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
