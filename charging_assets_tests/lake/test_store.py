"""Both places that keep files behave the same, but for what each promises in its own way."""

import os
import random
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from charging_assets.lake import LakeChanged, LakeError
from charging_assets.lake.staging import stage_file, sweep
from charging_assets.lake.store import LocalStore, S3Store, Store
from charging_assets_tests.standins.s3 import BUSY, S3Standin


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "lake")
    return request.getfixturevalue("s3_store")


@pytest.fixture
def s3_store(s3: S3Standin, tmp_path: Path) -> S3Store:
    return S3Store(s3.new_bucket(), "/some/prefix/", tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> "LocalFiles":
    return LocalFiles(tmp_path / "local")


class LocalFiles:
    """Makes files to publish."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.made = folder, 0

    def __call__(self, content: bytes) -> Path:
        self.made += 1
        path = self.folder / str(self.made)
        path.write_bytes(content)
        return path


def content(store: Store, path: str) -> bytes:
    with store.open(path) as file:
        return file.read()


def test_a_published_file_is_listed_opened_and_deleted(store: Store, local: LocalFiles) -> None:
    store.replace(local(b"one"), "tables/t/a.parquet")
    assert store.put_new(local(b"two"), "tables/t/sub/b.parquet")
    assert [(entry.path, entry.size) for entry in store.list("tables/t/")] == [
        ("tables/t/a.parquet", 3),
        ("tables/t/sub/b.parquet", 3),
    ]
    assert content(store, "tables/t/a.parquet") == b"one"
    store.delete("tables/t/a.parquet")
    store.delete("tables/t/a.parquet")
    assert [entry.path for entry in store.list("tables")] == ["tables/t/sub/b.parquet"]


def test_names_are_those_directly_in_a_folder_and_similar_folders_stay_apart(store: Store, local: LocalFiles) -> None:
    for path in ("raw/d=1/x", "raw/d=1/y", "raw/d=2/x", "raw/z", "raw/d=11/x", "rawer/x"):
        store.replace(local(b"."), path)
    assert list(store.names("raw/")) == ["d=1", "d=11", "d=2", "z"]
    assert [entry.path for entry in store.list("raw/d=1")] == ["raw/d=1/x", "raw/d=1/y"]


def test_what_begins_with_a_dot_is_never_listed(store: Store, local: LocalFiles) -> None:
    for path in (".staging/x", "raw/.hidden", "raw/shown"):
        store.replace(local(b"."), path)
    assert [entry.path for entry in store.list("")] == ["raw/shown"]
    assert list(store.names("")) == ["raw"]
    assert list(store.names("raw")) == ["shown"]


def test_a_folder_that_does_not_exist_is_empty(store: Store) -> None:
    assert list(store.list("nothing/here/")) == []
    assert list(store.names("nothing/here/")) == []


def test_a_missing_file_is_a_missing_file(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.open("tables/none.parquet")


def test_replacing_changes_content_and_version(store: Store, local: LocalFiles) -> None:
    store.replace(local(b"old"), "a")
    (before,) = store.list("")
    store.replace(local(b"new"), "a")
    (after,) = store.list("")
    assert content(store, "a") == b"new"
    assert after.version != before.version


def test_a_published_name_is_never_overwritten_by_put_new(store: Store, local: LocalFiles) -> None:
    assert store.put_new(local(b"first"), "raw/a")
    second = local(b"second")
    assert not store.put_new(second, "raw/a")
    assert content(store, "raw/a") == b"first"
    assert second.exists()


def test_of_eight_that_publish_one_name_at_once_exactly_one_does(store: Store, local: LocalFiles) -> None:
    for round_ in range(12):
        files = [local(f"{round_} {i}".encode()) for i in range(8)]
        with ThreadPoolExecutor(8) as pool:
            published = list(pool.map(lambda file: store.put_new(file, f"raw/{round_}"), files))  # noqa: B023
        assert published.count(True) == 1
        assert content(store, f"raw/{round_}") == files[published.index(True)].read_bytes()


def test_any_range_of_a_large_file_reads_right(store: Store, local: LocalFiles) -> None:
    data = random.Random(1).randbytes(5 << 20)
    store.replace(local(data), "large")
    with store.open("large") as file:
        assert file.size() == len(data)
        assert file.read_at(1000, 4_500_000) == data[4_500_000:4_501_000]
        file.seek(len(data) - 10)
        assert file.read() == data[-10:]
        file.seek(0)
        assert file.read() == data


def test_an_open_local_file_stays_what_it_was(tmp_path: Path, local: LocalFiles) -> None:
    store = LocalStore(tmp_path / "lake")
    store.replace(local(b"old"), "a")
    with store.open("a") as file:
        store.replace(local(b"new"), "a")
        assert file.read() == b"old"


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_a_large_object_that_changes_under_its_reader_is_not_mixed(
    s3_store: S3Store, local: LocalFiles, change: str
) -> None:
    s3_store.replace(local(bytes(5 << 20)), "large")
    with s3_store.open("large") as file:
        if change == "replaced":
            s3_store.replace(local(b"x" * (5 << 20)), "large")
        else:
            s3_store.delete("large")
        with pytest.raises(LakeChanged, match=change):
            file.read_at(10, 4_500_000)


def test_s3_that_is_busy_twice_is_asked_again(s3: S3Standin, s3_store: S3Store, local: LocalFiles) -> None:
    s3.faults.extend([BUSY, BUSY])
    s3_store.replace(local(b"content"), "a")
    assert not s3.faults
    assert content(s3_store, "a") == b"content"


def test_a_put_whose_answer_was_lost_still_counts_as_ones_own(
    s3: S3Standin, s3_store: S3Store, local: LocalFiles
) -> None:
    s3.faults.append("lose")
    assert s3_store.put_new(local(b"mine"), "raw/a")
    assert not s3.faults
    assert not s3_store.put_new(local(b"another's"), "raw/a")
    assert content(s3_store, "raw/a") == b"mine"


def test_a_put_that_meets_another_one_is_repeated(s3: S3Standin, s3_store: S3Store, local: LocalFiles) -> None:
    s3.faults.extend([("409 Conflict", "ConditionalRequestConflict")] * 2)
    assert s3_store.put_new(local(b"mine"), "raw/a")
    assert not s3.faults
    assert content(s3_store, "raw/a") == b"mine"


def test_an_object_that_was_there_and_is_gone_was_there(s3: S3Standin, s3_store: S3Store, local: LocalFiles) -> None:
    s3_store.replace(local(b"another's"), "raw/a")
    s3.faults.extend([lambda: None, lambda: s3_store.delete("raw/a")])
    assert not s3_store.put_new(local(b"mine"), "raw/a")
    assert not s3.faults


@pytest.mark.parametrize("size", [3_000, 5 << 20])
def test_a_body_that_breaks_off_is_asked_for_again(
    s3: S3Standin, s3_store: S3Store, local: LocalFiles, size: int
) -> None:
    data = random.Random(1).randbytes(size)
    s3_store.replace(local(data), "a")
    s3.faults.extend(["break off", "break off"])
    with s3_store.open("a") as file:
        assert not s3.faults
        s3.faults.append("break off")
        assert file.read() == data
    s3.faults.clear()
    s3.faults.extend(["break off"] * 20)
    with pytest.raises(LakeError, match="check the network"):
        s3_store.open("a")


def test_folders_that_the_console_of_s3_made_are_no_files(s3: S3Standin, local: LocalFiles, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    store = S3Store(bucket, "lake", tmp_path / "cache")
    for key in ("lake/", "lake/raw/", "lake/raw/query_date=2024-10-23/"):
        s3.client().put_object(Bucket=bucket, Key=key)
    store.replace(local(b"."), "raw/query_date=2024-10-23/x")
    assert [entry.path for entry in store.list("raw")] == ["raw/query_date=2024-10-23/x"]
    assert [entry.path for entry in store.list("")] == ["raw/query_date=2024-10-23/x"]
    assert (list(store.names("")), list(store.names("raw"))) == (["raw"], ["query_date=2024-10-23"])


def test_files_are_opened_in_the_order_asked_for_and_missing_ones_are_told(store: Store, local: LocalFiles) -> None:
    paths = [f"raw/{number:02}" for number in range(30)]
    for path in paths[::2]:
        store.replace(local(path.encode()), path)
    opened = {path: file and file.read() for path, file in store.open_each(paths)}
    assert list(opened) == paths
    assert opened == {path: None if number % 2 else path.encode() for number, path in enumerate(paths)}


def test_s3_is_asked_for_several_files_at_once(s3: S3Standin, s3_store: S3Store, local: LocalFiles) -> None:
    paths = [f"raw/{number}" for number in range(6)]
    for path in paths:
        s3_store.replace(local(path.encode()), path)
    together = threading.Barrier(4, timeout=30)
    s3.faults.extend([together.wait] * 4)
    assert [file.read() for _, file in s3_store.open_each(paths) if file] == [path.encode() for path in paths]
    assert not together.broken


def test_what_nobody_asked_for_in_a_month_leaves_the_cache(s3_store: S3Store, local: LocalFiles) -> None:
    for name in "abc":
        s3_store.replace(local(name.encode()), f"tables/t/{name}.parquet")
    entries = s3_store.list("tables")
    cached = s3_store.fetch(entries)
    month_ago = time.time() - 31 * 86_400
    for path in cached[:2]:
        os.utime(path, (month_ago, month_ago))
    s3_store._is_cache_swept = False  # as in the next process
    assert list(s3_store.fetch(entries[:1])) == list(cached[:1])
    assert [path.exists() for path in cached] == [True, False, True]


def test_only_the_newest_version_of_an_object_is_kept_in_the_cache(
    s3_store: S3Store, local: LocalFiles, tmp_path: Path
) -> None:
    s3_store.replace(local(b"old"), "tables/t/a.parquet")
    stale = s3_store.list("tables")
    (cached,) = s3_store.fetch(stale)
    assert cached.read_bytes() == b"old"
    s3_store.replace(local(b"newer"), "tables/t/a.parquet")
    (cached,) = s3_store.fetch(s3_store.list("tables"))
    assert cached.read_bytes() == b"newer"
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [cached]
    assert s3_store.fetch(stale) == (cached,), "what is not there any more is not to be had, but the newest is"


def test_a_wrong_bucket_is_named_with_what_to_do(s3: S3Standin, tmp_path: Path, local: LocalFiles) -> None:
    store = S3Store("no-such-bucket", "p", tmp_path / "cache")
    for attempt in (
        lambda: store.names("raw"),
        lambda: store.open("raw/a"),
        lambda: store.put_new(local(b"x"), "raw/a"),
        lambda: store.replace(local(b"x"), "raw/a"),
    ):
        with pytest.raises(
            LakeError, match=r"s3://no-such-bucket/p/.*create the bucket or correct CHARGING_ASSETS_LAKE"
        ):
            attempt()


def test_missing_credentials_are_said_to_be_missing(
    s3: S3Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LakeError, match=r"Unable to locate credentials.*check .*the AWS credentials"):
        S3Store("bucket", "", tmp_path / "cache").names("")


def test_a_staged_file_of_a_living_writer_is_not_swept_and_goes_when_dropped(tmp_path: Path) -> None:
    staged = stage_file(tmp_path)
    assert sweep(tmp_path) == 0
    assert staged.path.exists()
    with stage_file(tmp_path) as another:
        assert another.path.exists()
    assert not another.path.exists()
    path = staged.path
    del staged
    assert not path.exists()


def test_staged_files_of_a_killed_writer_are_swept_by_the_next_one(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from charging_assets.lake.staging import stage_file\n"
        "kept = [stage_file(Path(sys.argv[1])) for _ in range(3)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    with stage_file(tmp_path) as staged:
        assert list(tmp_path.iterdir()) == [staged.path]


def test_threads_that_stage_and_sweep_at_once_never_lose_a_file(tmp_path: Path) -> None:
    def use(_: int) -> bool:
        with stage_file(tmp_path) as staged:
            sweep(tmp_path)
            return staged.path.exists()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(400)))
    assert list(tmp_path.iterdir()) == []


def test_local_free_space_is_known_before_the_lake_exists(tmp_path: Path) -> None:
    free = LocalStore(tmp_path / "not" / "yet").free_bytes()
    assert free is not None
    assert 0 < free <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


def test_too_many_open_files_are_explained(tmp_path: Path, local: LocalFiles) -> None:
    store = LocalStore(tmp_path / "lake")
    store.replace(local(b"x"), "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(LakeError, match="too many open files: raise the limit"):
            store.open("a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
