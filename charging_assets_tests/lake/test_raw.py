"""What was received is kept byte for byte, found again once, and read while the files under it change."""

import dataclasses
import datetime as dt
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charging_assets.lake import Lake, LakeError, RowKey
from charging_assets.lake.store import Entry
from charging_assets.model.answer import Answer, Poll
from charging_assets.model.arrow import arrow_schema
from charging_assets_tests.lake.answers import (
    DAY,
    MIDNIGHT,
    answer,
    files,
    held,
    keep,
    keep_day,
    noise,
    poll_number,
    spools,
)


def test_a_poll_becomes_one_file_that_gives_every_field_of_every_answer_back(any_lake: Lake, tmp_path: Path) -> None:
    poll = poll_number(3)
    answers = [
        answer("koeln", noise(1, 5000)),
        Answer("bonn", error="Connection refused", attempts=3, requested_at=MIDNIGHT),
        dataclasses.replace(answer("Aachen", b"\x00\xff<html>"), http_status=500, is_truncated=True, bytes_total=99),
    ]
    file = keep(any_lake, poll, answers)
    assert file == "raw/query_date=2024-10-23/20241022T223000Z_poll003.parquet"
    rows = list(any_lake.raw.rows(DAY))
    assert [row.poll for row in rows] == [poll] * 3
    assert [row.answer for row in rows] == [answers[2], answers[1], answers[0]], "sorted by feed"
    assert [row.sha256 for row in rows] == [row.answer.sha256 for row in rows]
    assert rows[0].poll.query_time.tzinfo is dt.UTC
    assert spools(tmp_path / "home") == []


def test_an_exception_during_a_poll_passes_on_but_costs_no_received_answer(any_lake: Lake) -> None:
    def answers() -> Iterator[Answer]:
        yield answer("koeln")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        keep(any_lake, poll_number(0), answers())
    assert [row.answer.feed for row in held(any_lake)] == ["koeln"]


def test_a_poll_without_answers_leaves_nothing(any_lake: Lake, tmp_path: Path) -> None:
    assert keep(any_lake, poll_number(0), []) is None
    assert any_lake.raw.dates() == []
    assert list(any_lake.raw.rows(DAY)) == []
    assert any_lake.raw.index(DAY).num_rows == 0
    assert spools(tmp_path / "home") == []


def test_two_polls_in_one_second_both_stay(any_lake: Lake) -> None:
    keep(any_lake, poll_number(0, "first"), [answer("koeln")])
    keep(any_lake, poll_number(0, "second"), [answer("koeln")])
    assert [row.poll.poll_id for row in held(any_lake)] == ["first", "second"]


def test_a_poll_belongs_to_its_berlin_date(any_lake: Lake) -> None:
    for second in (-1, 0, 86_399, 86_400):
        poll = Poll(f"at{second + 1}", MIDNIGHT + dt.timedelta(seconds=second), 600, "chargecloud")
        keep(any_lake, poll, [answer("koeln")])
    assert any_lake.raw.dates() == [DAY - dt.timedelta(days=1), DAY, DAY + dt.timedelta(days=1)]
    assert len(held(any_lake)) == 2


def test_many_threads_may_add_at_once(lake: Lake) -> None:
    with lake.raw.begin_poll(poll_number(0)) as spool:
        threads = [
            threading.Thread(target=spool.add, args=[answer(f"feed{number}", noise(number, 300_000))])
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {row.answer.feed: row.answer.body for row in held(lake)} == {
        f"feed{number}": noise(number, 300_000) for number in range(16)
    }


def test_text_that_is_not_unicode_does_not_cost_the_answer(lake: Lake) -> None:
    strange = dataclasses.replace(answer("koeln"), content_type="text/\udcff", error="bad \ud800", url="a\x00b")
    keep(lake, poll_number(0), [strange])
    lake.raw.import_answers(poll_number(1), [strange])
    for row in held(lake):
        assert (row.answer.content_type, row.answer.error, row.answer.url) == ("text/?", "bad ?", "a\x00b")


def test_row_groups_hold_at_most_16_mib_of_bodies(lake: Lake) -> None:
    sizes = [5 << 20, 9 << 20, 4 << 20, 20 << 20, 1, 0]
    answers = [answer(f"feed{number}", bytes(size)) for number, size in enumerate(sizes)]
    file = keep(lake, poll_number(0), answers)
    metadata = pq.ParquetFile(f"{lake.uri}/{file}").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [2, 1, 1, 2]
    assert [len(row.answer.body) for row in held(lake)] == sizes


@pytest.mark.parametrize("poll_id", ["", "../x", "a/b", ".hidden", "x" * 101, "ä"])
def test_a_poll_id_that_cannot_be_a_file_name_is_refused(lake: Lake, poll_id: str) -> None:
    with pytest.raises(ValueError, match="poll_id"):
        keep(lake, poll_number(0, poll_id or "\n"), [answer("koeln")])


def test_a_query_time_with_fractions_is_refused(lake: Lake) -> None:
    poll = Poll("x", MIDNIGHT + dt.timedelta(microseconds=1), 600, "chargecloud")
    with pytest.raises(ValueError, match="whole seconds"):
        keep(lake, poll, [answer("koeln")])


def test_importing_twice_or_after_compaction_changes_nothing(any_lake: Lake) -> None:
    answers = [answer("koeln"), answer("bonn")]
    assert any_lake.raw.import_answers(poll_number(5, "archive"), answers) == 2
    before = files(any_lake)
    assert any_lake.raw.import_answers(poll_number(5, "archive"), answers) == 0
    assert any_lake.raw.import_answers(poll_number(5, "another"), answers) == 0
    assert files(any_lake) == before
    any_lake.raw.compact(DAY)
    before = files(any_lake)
    assert any_lake.raw.import_answers(poll_number(5, "archive"), answers) == 0
    assert files(any_lake) == before
    assert len(held(any_lake)) == 2


def test_an_import_adds_only_what_polls_did_not_see(any_lake: Lake) -> None:
    keep(any_lake, poll_number(5), [answer("koeln")])
    assert any_lake.raw.import_answers(poll_number(5, "x"), [answer("koeln"), answer("bonn"), answer("bonn")]) == 1
    assert any_lake.raw.import_answers(poll_number(6, "x"), [answer("koeln")]) == 1, "another time"
    assert any_lake.raw.import_answers(poll_number(5, "x", "another"), [answer("koeln")]) == 1, "another source"
    assert any_lake.raw.import_answers(poll_number(5, "x"), [answer("koeln", b"other")]) == 1, "another answer"
    assert [(row.poll.poll_id, row.answer.feed) for row in held(any_lake)] == [
        ("poll005", "koeln"),
        *([("x", "bonn")] + [("x", "koeln")] * 2),
        ("x", "koeln"),
    ]


def test_since_leaves_earlier_answers_out_whether_loose_or_compacted(any_lake: Lake) -> None:
    keep_day(any_lake, 4)
    since = poll_number(2).query_time
    expected = [row for row in held(any_lake) if row.poll.query_time >= since]
    assert len(expected) == 4
    assert held(any_lake, since) == expected
    any_lake.raw.compact(DAY)
    keep(any_lake, poll_number(1, "late"), [answer("koeln")])
    assert held(any_lake, since) == expected


def test_since_does_not_read_loose_files_of_earlier_polls(lake: Lake) -> None:
    keep_day(lake, 2)
    Path(lake.uri, f"raw/query_date={DAY}/{files(lake)[0]}").write_bytes(b"not Parquet")
    assert len(held(lake, poll_number(1).query_time)) == 2
    with pytest.raises(LakeError, match=r"poll000\.parquet .* cannot be read"):
        held(lake)


@pytest.mark.parametrize("read_before", [0, 1, 2, 3, 7, 8])
def test_a_reader_overtaken_by_compaction_gets_every_row_once(any_lake: Lake, read_before: int) -> None:
    keep_day(any_lake, 4)
    expected = held(any_lake)
    rows = any_lake.raw.rows(DAY)
    got = [next(rows) for _ in range(read_before)]
    any_lake.raw.compact(DAY)
    got += rows
    key = lambda row: (row.poll.query_time, row.answer.feed)  # noqa: E731
    assert sorted(got, key=key) == sorted(expected, key=key)


def test_a_reader_that_compaction_stays_a_step_ahead_of_gets_every_row_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_day(lake, 30)
    expected = held(lake)
    loose = {path: path.read_bytes() for path in Path(lake.uri).rglob("2*.parquet")}
    lake.raw.compact(DAY)
    for path, content in loose.items():
        path.write_bytes(content)
    store = lake.raw._store
    listed = store.list

    def list_and_delete_the_first(prefix: str) -> Sequence[Entry]:
        entries = listed(prefix)
        if len(entries) > 1:
            store.delete(entries[0].path)
        return entries

    monkeypatch.setattr(store, "list", list_and_delete_the_first)
    assert held(lake) == expected


def test_polls_that_arrive_while_a_day_is_read_do_not_keep_its_reader(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_day(lake, 3)
    expected = held(lake)
    listed = lake.raw._store.list
    numbers = count(100)

    def list_and_poll(prefix: str) -> Sequence[Entry]:
        entries = listed(prefix)
        keep(lake, poll_number(next(numbers)), [answer("kiel")])
        return entries

    monkeypatch.setattr(lake.raw._store, "list", list_and_poll)
    assert held(lake) == expected


def test_a_day_tells_how_many_files_it_has(any_lake: Lake) -> None:
    assert any_lake.raw.files(DAY) == 0
    keep_day(any_lake, 3)
    assert any_lake.raw.files(DAY) == 3
    any_lake.raw.compact(DAY)
    assert any_lake.raw.files(DAY) == 1


def test_a_reader_overtaken_by_a_second_compaction_gets_every_row_once(any_lake: Lake) -> None:
    keep_day(any_lake, 3)
    any_lake.raw.compact(DAY)
    rows = any_lake.raw.rows(DAY)
    got = [next(rows)]
    keep(any_lake, poll_number(9), [answer("koeln")])
    any_lake.raw.compact(DAY)
    got += rows
    assert len(got) == len({(row.poll, row.answer.feed) for row in got}) == 7


def test_the_fingerprint_is_that_of_the_answers_and_not_of_their_files(any_lake: Lake, tmp_path: Path) -> None:
    keep_day(any_lake, 3)
    one = any_lake.raw.fingerprint(DAY)
    any_lake.raw.compact(DAY)
    assert any_lake.raw.fingerprint(DAY) == one
    keep(any_lake, poll_number(0, "repeated"), [answer("koeln", b"koeln 0 " * 50)])
    assert any_lake.raw.fingerprint(DAY) == one, "the same answer by another poll of that time"
    keep(any_lake, poll_number(0, "other"), [answer("koeln", b"something else")])
    assert any_lake.raw.fingerprint(DAY) != one

    other = Lake(str(tmp_path / "other"), tmp_path / "home")
    for number in (2, 0, 1):
        for feed in ("koeln", "bonn"):
            body = f"{feed} {number} ".encode() * 50
            other.raw.import_answers(poll_number(number, f"{feed}-{number}"), [answer(feed, body)])
    assert other.raw.fingerprint(DAY) == one


def test_the_index_has_all_columns_but_the_body_and_is_sorted_by_the_key(any_lake: Lake) -> None:
    keep_day(any_lake, 2, ["koeln", "bonn"])
    any_lake.raw.compact(DAY)
    keep(any_lake, poll_number(0, "poll000"), [answer("koeln", b"koeln 0 " * 50), answer("bonn", b"later")])
    index = any_lake.raw.index(DAY)
    schema = arrow_schema("raw_snapshots")
    assert index.schema.equals(schema.remove(schema.get_field_index("body")))
    keys = [(row["query_time"], row["source"], row["feed"], row["sha256"]) for row in index.to_pylist()]
    assert keys == sorted(set(keys))
    assert len(keys) == 5, "the answer that is both loose and compacted comes once"
    assert sorted(index["sha256"].to_pylist()) == sorted(row.sha256 for row in held(any_lake))


def test_files_and_folders_of_others_are_not_dates(lake: Lake) -> None:
    keep(lake, poll_number(0), [answer("koeln")])
    for name in ("query_date=soon", "other", "query_date=2024-13-01"):
        Path(lake.uri, "raw", name).mkdir()
    assert lake.raw.dates() == [DAY]


def key_of(number: int, feed: str, sha256: str, poll_id: str | None = None) -> RowKey:
    poll = poll_number(number, poll_id)
    return poll.query_time, poll.source, feed, sha256, poll.poll_id


def test_answers_are_found_in_their_files_by_their_hash(any_lake: Lake) -> None:
    keep_day(any_lake, 3)
    wanted = [key_of(number, "bonn", row.sha256) for number in (0, 2) for row in held(any_lake)[2 * number :][:1]]
    absent = [key_of(1, "bonn", "0" * 64), key_of(0, "bonn", wanted[0][3], "another"), key_of(7, *wanted[0][2:4])]
    found = any_lake.raw.find(DAY, [*wanted, *absent])
    assert {key: kept.path.rpartition("/")[2] for key, kept in found.items()} == dict(
        zip(wanted, [files(any_lake)[0], files(any_lake)[2]], strict=True)
    )
    assert {kept.is_intact for kept in found.values()} == {None}, "bodies are not read unless asked for"
    any_lake.raw.compact(DAY)
    found = any_lake.raw.find(DAY, [*wanted, *absent], verify=True)
    (compacted,) = files(any_lake)
    assert found == dict.fromkeys(wanted, (f"raw/query_date={DAY}/{compacted}", True))
    assert any_lake.raw.find(DAY + dt.timedelta(days=1), wanted) == {}


def test_a_body_that_is_not_what_was_hashed_is_found_and_is_not_intact(lake: Lake) -> None:
    keep_day(lake, 1)
    path = Path(lake.uri, "raw", f"query_date={DAY}", files(lake)[0])
    rows = pq.read_table(path)
    body = rows.schema.field("body")
    bodies = pa.array([b"something else", rows["body"][1].as_py()], body.type)
    pq.write_table(rows.set_column(rows.column_names.index("body"), body, bodies), path)
    keys = [
        key_of(0, feed, sha256)
        for feed, sha256 in zip(*(rows[name].to_pylist() for name in ("feed", "sha256")), strict=True)
    ]
    assert [kept.is_intact for kept in lake.raw.find(DAY, keys, verify=True).values()] == [False, True]


def test_an_answer_that_is_compacted_while_it_is_looked_for_is_found(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_day(lake, 4)
    keys = [key_of(number, row.answer.feed, row.sha256) for number in range(4) for row in held(lake)[2 * number :][:2]]
    listed = lake.raw._store.list

    def list_then_compact(prefix: str) -> Sequence[Entry]:
        entries = listed(prefix)
        monkeypatch.undo()
        lake.raw.compact(DAY)
        return entries

    monkeypatch.setattr(lake.raw._store, "list", list_then_compact)
    found = lake.raw.find(DAY, keys)
    assert {kept.path.rpartition("/")[2] for kept in found.values()} == set(files(lake))
    assert found.keys() == set(keys)
