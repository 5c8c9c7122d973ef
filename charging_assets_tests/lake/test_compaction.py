"""A closed day becomes one small file; nothing is deleted before that file was read back and found right."""

import datetime as dt
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from charging_assets.lake import Lake, LakeError, compaction
from charging_assets_tests.lake.answers import DAY, answer, files, held, keep, keep_day, noise, poll_number


def test_a_compacted_day_is_one_file_with_the_same_rows(any_lake: Lake) -> None:
    keep_day(any_lake, 5)
    before = held(any_lake)
    done = any_lake.raw.compact(DAY)
    assert done is not None
    assert (done.files_before, done.rows) == (5, 10)
    assert done.json_bytes == sum(len(row.answer.body) for row in before)
    assert done.file_bytes == any_lake.raw._store.list("raw")[0].size
    assert [name.partition("_")[0] for name in files(any_lake)] == ["compacted"]
    assert held(any_lake) == before


def test_rows_of_a_compacted_day_lie_by_feed_and_then_by_time(any_lake: Lake) -> None:
    keep_day(any_lake, 3)
    any_lake.raw.compact(DAY)
    rows = [(row.answer.feed, row.poll.query_time) for row in any_lake.raw.rows(DAY)]
    assert rows == sorted(rows)


def test_compacting_a_compacted_day_or_an_empty_one_does_nothing(any_lake: Lake) -> None:
    assert any_lake.raw.compact(DAY) is None
    keep_day(any_lake, 1)
    assert any_lake.raw.compact(DAY) is not None
    before = any_lake.raw._store.list("raw")
    assert any_lake.raw.compact(DAY) is None
    assert any_lake.raw._store.list("raw") == before


def test_late_imports_join_the_compacted_file_at_the_next_compaction(any_lake: Lake) -> None:
    keep_day(any_lake, 3)
    any_lake.raw.compact(DAY)
    first = files(any_lake)
    any_lake.raw.import_answers(poll_number(50, "late"), [answer("bonn"), answer("koeln")])
    before = held(any_lake)
    done = any_lake.raw.compact(DAY)
    assert done is not None
    assert (done.files_before, done.rows) == (2, 8)
    assert len(files(any_lake)) == 1
    assert files(any_lake) != first
    assert held(any_lake) == before


def test_exact_duplicates_become_one_and_the_others_stay(any_lake: Lake) -> None:
    keep_day(any_lake, 2, ["koeln"])
    loose = any_lake.raw._store.list("raw")
    with any_lake.raw._store.open(loose[0].path) as file:
        copy = file.read()
    any_lake.raw.compact(DAY)
    keep(any_lake, poll_number(1, "other"), [answer("koeln", b"koeln 1 " * 50)])
    _put(any_lake, loose[0].path, copy)
    done = any_lake.raw.compact(DAY)
    assert done is not None
    assert (done.files_before, done.rows) == (3, 3)
    assert [row.poll.poll_id for row in held(any_lake)] == ["poll000", "other", "poll001"]


def test_a_duplicate_of_a_compacted_day_goes_without_writing_the_day_again(any_lake: Lake) -> None:
    keep_day(any_lake, 2, ["koeln"])
    loose = any_lake.raw._store.list("raw")
    with any_lake.raw._store.open(loose[0].path) as file:
        copy = file.read()
    any_lake.raw.compact(DAY)
    before = any_lake.raw._store.list("raw")
    _put(any_lake, loose[0].path, copy)
    assert any_lake.raw.compact(DAY) is not None
    assert any_lake.raw._store.list("raw") == before


def test_the_size_of_batches_changes_nothing_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for batch_bytes in (1, 2_500, 1 << 30):
        monkeypatch.setattr(compaction, "_BATCH_BYTES", batch_bytes)
        lake = Lake(str(tmp_path / str(batch_bytes)), tmp_path / "home")
        keep_day(lake, 6, ["a", "b", "c"])
        keep(lake, poll_number(7), [answer("b", b"")])
        assert lake.raw.compact(DAY) is not None
        (file,) = Path(lake.uri, f"raw/query_date={DAY}").iterdir()
        contents.append((file.name, file.read_bytes()))
        assert len(held(lake)) == 19
    assert contents[0] == contents[1] == contents[2]


def test_a_damaged_loose_answer_stops_compaction_before_anything_is_published_or_deleted(lake: Lake) -> None:
    keep_day(lake, 3)
    folder = Path(lake.uri, f"raw/query_date={DAY}")
    damaged = folder / files(lake)[1]
    _damage_a_body(damaged)
    before = files(lake)
    with pytest.raises(LakeError, match=r"poll001\.parquet is damaged.*No file was deleted"):
        lake.raw.compact(DAY)
    assert files(lake) == before


def test_a_damaged_compacted_file_never_costs_the_loose_files(lake: Lake) -> None:
    keep_day(lake, 3)
    folder = Path(lake.uri, f"raw/query_date={DAY}")
    loose = {path.name: path.read_bytes() for path in folder.iterdir()}
    lake.raw.compact(DAY)
    (compacted,) = folder.iterdir()
    for name, content in loose.items():
        (folder / name).write_bytes(content)
    _damage_a_body(compacted)
    with pytest.raises(LakeError, match=rf"{compacted.name} is damaged"):
        lake.raw.compact(DAY)
    assert set(loose) < set(files(lake))
    compacted.unlink()
    assert lake.raw.compact(DAY) is not None
    assert files(lake) == [compacted.name]


def test_several_may_compact_the_same_day_at_once(any_lake: Lake) -> None:
    keep_day(any_lake, 12)
    before = held(any_lake)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: any_lake.raw.compact(DAY), range(4)))
    assert any(done)
    assert len(files(any_lake)) == 1
    assert held(any_lake) == before


def test_incompressible_answers_larger_than_a_row_group_are_compacted(lake: Lake) -> None:
    for number in range(2):
        keep(lake, poll_number(number), [answer("koeln", noise(0, 3 << 20) * 23), answer("bonn", b"")])
    before = held(lake)
    done = lake.raw.compact(DAY)
    assert done is not None
    assert done.json_bytes == 2 * 23 * (3 << 20)
    assert held(lake) == before


def test_a_compacted_day_is_two_hundred_times_smaller_than_its_json(lake: Lake, real_answer: bytes) -> None:
    for number, body in enumerate(changing(real_answer, 100)):
        keep(lake, poll_number(number), [answer("SW-Stuttgart", body)])
    done = lake.raw.compact(DAY)
    assert done is not None
    assert done.json_bytes > 200 * done.file_bytes


def changing(real_answer: bytes, polls: int) -> list[bytes]:
    """Consecutive answers in which 4 % of the points change their status from one to the next."""
    content = json.loads(real_answer)
    points = [point for location in content["data"] for point in location["evses"]]
    chance = random.Random(1)
    bodies = []
    for number in range(polls):
        for point in chance.sample(points, len(points) // 25):
            point["status"] = chance.choices(["AVAILABLE", "CHARGING", "OUTOFORDER"], [404, 109, 8])[0]
            point["reservable"] = point["status"] == "AVAILABLE"
            for connector in point["connectors"]:
                connector["status"] = point["status"]
        time = poll_number(number).query_time + dt.timedelta(hours=2, seconds=7)
        content["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%S+0200")
        bodies.append(json.dumps(content, separators=(",", ":")).encode())
    return bodies


def _put(lake: Lake, path: str, content: bytes) -> None:
    local = lake.raw._staging_dir / "copy"
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(content)
    assert lake.raw._store.put_new(local, path)
    local.unlink()


def _damage_a_body(path: Path) -> None:
    """Exchange a body behind its checksum's back, in a file that is valid otherwise."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(path)
    bodies = rows["body"].to_pylist()
    bodies[-1] = b"X" + bodies[-1][1:]
    changed = rows.set_column(
        rows.schema.get_field_index("body"), rows.schema.field("body"), [pa.array(bodies, pa.large_binary())]
    )
    path.unlink()
    pq.write_table(changed, path)
