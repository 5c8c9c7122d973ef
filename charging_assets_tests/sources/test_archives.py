import datetime as dt
import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from charging_assets import calendar
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets.sources import ArchiveError, ImportResult, archives, import_archive

ANSWER = b'{ "data": [\r\n ],"status_code":1000, "timestamp":"2024-10-23T13:16:09+02:00" }\n'
TIME = dt.datetime(2024, 10, 23, 11, 16, 9, tzinfo=dt.UTC)
CITIES = "20210801_120000_cp_data_cities.json"
CITIES_TIME = dt.datetime(2021, 8, 1, 10, 0, 0, tzinfo=dt.UTC)
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),  # test ids hold these bytes, and workers must agree on them
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


Writer = Callable[[str, bytes], Path]


@pytest.fixture
def archive(tmp_path: Path) -> Writer:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def load(lake: Lake, path: Path, feed: str | None = None) -> ImportResult:
    return import_archive(lake, path, feed=feed, interval_s=600)


def bodies(lake: Lake) -> dict[tuple[dt.datetime, str], bytes]:
    rows = [row for date in lake.raw.dates() for row in lake.raw.rows(date)]
    found = {(row.poll.query_time, row.answer.feed): row.answer.body for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("packing", PACKINGS)
def test_one_feed_s_answer_is_kept_byte_for_byte(lake: Lake, archive: Writer, packing: str) -> None:
    path = archive(f"SW-Stuttgart_2024-10-23T131609+0200.json{packing}", PACKINGS[packing](ANSWER))
    assert load(lake, path) == ImportResult(TIME, 1, 1, ())
    assert bodies(lake) == {(TIME, "SW-Stuttgart"): ANSWER}


def test_an_imported_answer_says_that_nobody_asked_for_it(lake: Lake, archive: Writer) -> None:
    load(lake, archive("koeln_2024-10-23.json", ANSWER))
    (row,) = lake.raw.rows(dt.date(2024, 10, 23))
    assert (row.poll.interval_s, row.poll.source) == (600, "chargecloud")
    assert (row.answer.url, row.answer.requested_at, row.answer.received_at) == (None, None, None)
    assert (row.answer.http_status, row.answer.attempts, row.answer.error) == (None, 0, None)
    assert (row.answer.bytes_total, row.answer.is_truncated) == (len(ANSWER), False)


def test_the_real_answer_can_be_imported(lake: Lake, real_answer_path: Path) -> None:
    assert load(lake, real_answer_path) == ImportResult(TIME, 1, 1, ())
    assert bodies(lake) == {(TIME, "SW-Stuttgart"): real_answer_path.read_bytes()}


def test_the_feed_can_be_named(lake: Lake, archive: Writer) -> None:
    load(lake, archive("download (3).json", ANSWER), feed="bonn")
    load(lake, archive("koeln_2024-10-23.json", ANSWER), feed="kiel")
    assert {feed for _, feed in bodies(lake)} == {"bonn", "kiel"}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_cities_archive_gives_each_city_its_bytes(lake: Lake, archive: Writer, packing: str) -> None:
    koeln = b'{ "data":[ {"name":"K\xc3\xb6ln \\u00e4"} ] }'
    content = b'{"koeln" : %s,\n "bonn":null, "kiel": "Read timed out", "hof":[1 ,2]}' % koeln
    path = archive(CITIES + packing, PACKINGS[packing](content))
    assert load(lake, path) == ImportResult(CITIES_TIME, 4, 4, ())
    assert bodies(lake) == {
        (CITIES_TIME, "koeln"): koeln,
        (CITIES_TIME, "bonn"): b"null",
        (CITIES_TIME, "kiel"): b'"Read timed out"',
        (CITIES_TIME, "hof"): b"[1 ,2]",
    }


def test_bytes_that_are_no_utf8_are_kept_too(lake: Lake, archive: Writer) -> None:
    load(lake, archive(CITIES, b'{"koeln": {"name": "K\xf6ln"}}'))
    assert bodies(lake) == {(CITIES_TIME, "koeln"): b'{"name": "K\xf6ln"}'}


@pytest.mark.parametrize(
    ("name", "utc"),
    [
        ("20210115_235959", dt.datetime(2021, 1, 15, 22, 59, 59, tzinfo=dt.UTC)),
        ("20210702_003000", dt.datetime(2021, 7, 1, 22, 30, tzinfo=dt.UTC)),
    ],
)
def test_the_time_in_a_name_is_german(lake: Lake, archive: Writer, name: str, utc: dt.datetime) -> None:
    assert load(lake, archive(f"{name}_cp_data_cities.json", b'{"koeln": {}}')).query_time == utc
    assert lake.raw.dates() == [dt.date(int(name[:4]), int(name[4:6]), int(name[6:8]))]


@pytest.mark.parametrize(
    ("timestamps", "hour_utc", "is_noted"),
    [
        (["2021-10-31T02:30:02+02:00"], 0, False),
        (["2021-10-31T02:30:02+01:00"], 1, False),
        ([None, 7, "soon", "2021-10-30T02:30:02+02:00", "2021-10-31T01:29:58+00:00"], 1, False),
        ([None, "2021-10-30T02:30:02+02:00"], 0, True),
    ],
)
def test_in_the_doubled_hour_of_autumn_the_answers_tell_the_time(
    lake: Lake, archive: Writer, timestamps: list[object], hour_utc: int, is_noted: bool
) -> None:
    answers = {f"feed{number}": {"data": [], "timestamp": each} for number, each in enumerate(timestamps)}
    done = load(lake, archive("20211031_023000_cp_data_cities.json", json.dumps(answers | {"koeln": "?"}).encode()))
    assert done.query_time == dt.datetime(2021, 10, 31, hour_utc, 30, tzinfo=dt.UTC)
    assert [("clocks showed its time twice" in note) for note in done.notes] == [True] * is_noted


def test_an_archive_may_come_through_a_pipe(lake: Lake, tmp_path: Path) -> None:
    pipe = tmp_path / "koeln_2024-10-23.json.gz"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[gzip.compress(ANSWER)])
    writer.start()
    assert load(lake, pipe) == ImportResult(TIME, 1, 1, ())
    writer.join()


@pytest.mark.parametrize("compact", [False, True], ids=["loose", "compacted"])
def test_importing_twice_changes_nothing(lake: Lake, archive: Writer, compact: bool) -> None:
    paths = [
        archive("koeln_2024-10-23.json", ANSWER),
        archive("20241023_150000_cp_data_cities.json", b'{"koeln": {}, "bonn": {"a": 1}}'),
    ]
    assert [load(lake, path).new for path in paths] == [1, 2]
    day = dt.date(2024, 10, 23)
    if compact:
        lake.raw.compact(day)
    before = sorted((path, path.read_bytes()) for path in Path(lake.uri).rglob("*.parquet"))
    packed = archive("koeln_2024-10-23.json.zst", PACKINGS[".zst"](ANSWER))
    assert [load(lake, path).new for path in (*paths, packed)] == [0, 0, 0]
    assert sorted((path, path.read_bytes()) for path in Path(lake.uri).rglob("*.parquet")) == before
    assert len(bodies(lake)) == 3


def test_the_same_answer_under_another_feed_s_name_is_another_answer(lake: Lake, archive: Writer) -> None:
    path = archive("x.json", ANSWER)
    assert [load(lake, path, feed=feed).new for feed in ("koeln", "bonn", "koeln")] == [1, 1, 0]
    assert set(bodies(lake)) == {(TIME, "koeln"), (TIME, "bonn")}


def test_a_city_that_cannot_be_a_feed_is_left_out_and_reported(lake: Lake, archive: Writer) -> None:
    content = json.dumps({"Köln": {}, "../etc": {}, "bonn": {}}, ensure_ascii=False).encode()
    result = load(lake, archive(CITIES, content))
    assert (result.answers, result.new) == (1, 1)
    assert [note.split(" cannot")[0] for note in result.notes] == ["left out: 'Köln'", "left out: '../etc'"]
    assert set(bodies(lake)) == {(CITIES_TIME, "bonn")}


def test_unlikely_times_are_kept_and_reported(lake: Lake, archive: Writer) -> None:
    old = load(lake, archive("20170203_040506_cp_data_cities.json", b'{"bonn": {}}'))
    next_year = calendar.utc_now().year + 1
    new = load(lake, archive("koeln_2024-01-01.json", ANSWER.replace(b"2024-", b"%d-" % next_year)))
    assert old.notes == ("its time, 2017-02-03 03:05:06 UTC, lies before 2018",)
    assert new.notes == (f"its time, {next_year}-10-23 11:16:09 UTC, lies in the future",)
    assert len(bodies(lake)) == 2


@pytest.mark.parametrize("stamp", ["2024-10-23T11:16:09Z", "2024-10-23T11:16:09.75+00:00", "20241023T131609+0200"])
def test_every_iso_form_with_an_offset_is_a_time(lake: Lake, archive: Writer, stamp: str) -> None:
    content = json.dumps({"timestamp": stamp}).encode()
    assert load(lake, archive("koeln_2024-10-23.json", content)).query_time == TIME


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("koeln_2024-10-23.json", b"", "is empty"),
        ("koeln_2024-10-23.json", b" \n", "is empty"),
        ("koeln_2024-10-23.json", b"<html>busy</html>", "not JSON"),
        ("koeln_2024-10-23.json", ANSWER[:40], "not JSON, or only a part of it"),
        ("koeln_2024-10-23.json", b"[" * 10_000, "other JSON"),
        ("koeln_2024-10-23.json", b'{"data": ' + b"[" * 10_000, "only a part of it"),
        ("koeln_2024-10-23.json", b"[1, 2]", "other JSON"),
        ("koeln_2024-10-23.json", b'{"data": []}', "neither a `timestamp` nor such a name"),
        ("koeln_2024-10-23.json", b'{"timestamp": 5}', "with an offset, like 2024-10-23T13:16:09+02:00, got '5'"),
        ("koeln_2024-10-23.json", b'{"timestamp": "2024-10-23T13:16:09"}', "with an offset"),
        ("koeln_2024-10-23.json", b'{"timestamp": "yesterday"}', "got 'yesterday'"),
        ("koeln_2024-10-23.json", b'{"timestamp": "0001-01-01T00:00:00+02:00"}', "with an offset"),
        ("koeln_2024-10-23.json", b'{"timestamp": "9999-12-31T23:59:59-10:00"}', "with an offset"),
        ("koeln_2024-10-23.json", b'{"timestamp": "\xff"}', "not JSON"),
        ("koeln_2024-10-23.json", b"\x1f\x8bnot gzip at all", "cannot be read"),
        ("koeln_2024-10-23.json.gz", PACKINGS[".gz"](ANSWER)[:-10], "cannot be read"),
        ("koeln_2024-10-23.json.zst", PACKINGS[".zst"](ANSWER)[:-4], "cannot be read"),
        ("answer.json", ANSWER, "--feed NAME"),
        ("koeln_latest.json", ANSWER, "--feed NAME"),
        ("sw stuttgart_2024-10-23.json", ANSWER, "--feed NAME"),
        (CITIES, b'["koeln"]', "other JSON"),
        (CITIES, b"{}", "holds no city"),
        (CITIES, b'{"K\xc3\xb6ln": {}}', "holds no city. left out: 'Köln'"),
        (CITIES, b'{"koeln": {}, "bonn": {"da', "only a part of it"),
        (CITIES, ANSWER, "say whose with --feed NAME"),
        ("20211301_120000_cp_data_cities.json", b'{"koeln": {}}', "YYYYmmdd_HHMMSS"),
        ("cities.json", b'{"koeln": {}}', "neither a `timestamp` nor such a name"),
    ],
)
def test_a_file_that_is_no_archive_is_refused_in_a_sentence(
    lake: Lake, archive: Writer, name: str, content: bytes, words: str
) -> None:
    path = archive(name, content)
    with pytest.raises(ArchiveError) as refused:
        load(lake, path)
    assert str(refused.value).startswith(f"{path}: ")
    assert words in str(refused.value)
    assert lake.raw.dates() == []


@pytest.mark.parametrize("feed", ["a/b", "", "x" * 65])
def test_a_wrong_feed_is_refused(lake: Lake, archive: Writer, feed: str) -> None:
    with pytest.raises(ArchiveError, match="cannot be a feed's name"):
        load(lake, archive("koeln_2024-10-23.json", ANSWER), feed=feed)


def test_a_file_that_is_not_there_or_a_folder_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"koeln\.json: cannot be read: No such file"):
        load(lake, tmp_path / "koeln.json")
    with pytest.raises(ArchiveError, match="cannot be read: Is a directory"):
        load(lake, tmp_path)


def test_a_compression_bomb_is_refused(lake: Lake, archive: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE_BYTES", 4 * 2**20)
    with pytest.raises(ArchiveError, match="at most 4 MiB unpacked, got more"):
        load(lake, archive(f"{CITIES}.gz", gzip.compress(b"\0" * (64 * 2**20), 1)))


def test_a_poll_and_an_archive_of_the_same_second_do_not_hide_each_other(lake: Lake, archive: Writer) -> None:
    with lake.raw.begin_poll(Poll("0123456789abcdef", TIME, 600, "chargecloud")) as spool:
        spool.add(Answer("koeln", b"{}", http_status=200, bytes_total=2))
    assert load(lake, archive("koeln_2024-10-23.json", ANSWER)).new == 1
    assert {row.answer.body for row in lake.raw.rows(dt.date(2024, 10, 23))} == {b"{}", ANSWER}
