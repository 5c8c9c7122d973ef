import errno
import fcntl
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charging_assets import __version__, progress
from charging_assets.sources.osm.download import ATTEMPTS, BACKOFF_S, Extract, download
from charging_assets.sources.osm.errors import OsmError
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

PBF = b"\x00\x00\x00\x0d\n\x09OSMHeader\x18\x05" + bytes(range(256)) * 40
NEWER = PBF + b"newer"
TAGGED = {"ETag": '"one"', "Last-Modified": "Wed, 23 Oct 2024 11:16:09 GMT"}
NAME = "town.osm.pbf"
Told = dict[str, str]


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def pauses() -> list[float]:
    return []


def cut(at: int, begin: int = 0, **headers: str) -> Reply:
    """An answer that ends early, although its header promises all."""
    told = {"Content-Length": str(len(PBF) - begin)} | TAGGED | headers
    return Reply(PBF[begin:at], 206 if begin else 200, told, "close")


def rest(begin: int) -> Reply:
    return Reply(PBF[begin:], 206, {"Content-Range": f"bytes {begin}-{len(PBF) - 1}/{len(PBF)}"})


def fetch(server: ChargecloudStandin, folder: Path, pauses: list[float] | None = None) -> Extract:
    return download(f"{server.url}/{NAME}", folder, sleep=(pauses if pauses is not None else []).append)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_extract_is_downloaded_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    with ChargecloudStandin({NAME: Reply(PBF, headers=TAGGED)}) as server:
        extract = download(f"{server.url}/{NAME}", folder, contact="me@example.org")
    assert extract == Extract(folder / NAME, True, len(PBF))
    assert extract.path.read_bytes() == PBF
    assert files(folder) == {NAME, f"{NAME}.json"}
    (request,) = server.requests
    assert request.headers["User-Agent"] == f"charging_assets/{__version__} (+me@example.org)"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"Range", "If-None-Match", "If-Modified-Since"} & request.headers.keys()


def test_what_is_not_newer_is_not_downloaded_again(tmp_path: Path) -> None:
    with ChargecloudStandin({NAME: [Reply(PBF, headers=TAGGED), Reply(b"", 304), Reply(NEWER)]}) as server:
        assert fetch(server, tmp_path).is_new
        assert fetch(server, tmp_path) == Extract(tmp_path / NAME, False, len(PBF))
        assert files(tmp_path) == {NAME, f"{NAME}.json"}
        assert fetch(server, tmp_path) == Extract(tmp_path / NAME, True, len(NEWER))
    asked = [(each.headers.get("If-None-Match"), each.headers.get("If-Modified-Since")) for each in server.requests]
    assert asked == [(None, None), *[(TAGGED["ETag"], TAGGED["Last-Modified"])] * 2]


def test_a_file_of_another_address_or_of_unknown_origin_is_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"who knows")
    replies = {NAME: Reply(PBF, headers=TAGGED), f"elsewhere/{NAME}": Reply(NEWER)}
    with ChargecloudStandin(replies) as server:
        fetch(server, tmp_path)
        assert (tmp_path / NAME).read_bytes() == PBF
        download(f"{server.url}/elsewhere/{NAME}", tmp_path)
    assert (tmp_path / NAME).read_bytes() == NEWER
    assert "If-None-Match" not in server.requests[-1].headers


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path, pauses: list[float]) -> None:
    with ChargecloudStandin(
        {NAME: [cut(4000), cut(7000, 4000, **{"Content-Range": "bytes 4000-"}), rest(7000)]}
    ) as server:
        assert fetch(server, tmp_path, pauses).is_new
    assert (tmp_path / NAME).read_bytes() == PBF
    asked = [(each.headers.get("Range"), each.headers.get("If-Range")) for each in server.requests]
    assert asked == [(None, None), ("bytes=4000-", '"one"'), ("bytes=7000-", '"one"')]
    assert pauses == [BACKOFF_S, BACKOFF_S], "what brings something starts the count again"


def test_the_next_call_goes_on_where_the_last_one_gave_up(tmp_path: Path, pauses: list[float]) -> None:
    with ChargecloudStandin({NAME: [cut(4000), *[Reply(b"", 503)] * (ATTEMPTS - 1), rest(4000)]}) as server:
        with pytest.raises(OsmError, match=rf"{NAME}: HTTP 503, after 5 attempts in a row; 0\.0 MB are kept"):
            fetch(server, tmp_path, pauses)
        fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == PBF


def test_a_part_of_what_the_server_replaced_is_thrown_away(tmp_path: Path) -> None:
    with ChargecloudStandin({NAME: [cut(4000), Reply(NEWER, headers={"ETag": '"two"'})]}) as server:
        fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == NEWER


@pytest.mark.parametrize("headers", [{"ETag": 'W/"one"', "Last-Modified": ""}, {"ETag": "", "Last-Modified": ""}])
def test_without_a_strong_validator_a_download_starts_again(tmp_path: Path, headers: Told) -> None:
    with ChargecloudStandin({NAME: [cut(4000, **headers), Reply(PBF)]}) as server:
        fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == PBF
    assert "Range" not in server.requests[1].headers


@pytest.mark.parametrize(
    "wrong", [rest(3000), Reply(PBF[4000:], 206), Reply(b"", 416)], ids=["another part", "no range", "no such range"]
)
def test_a_part_that_does_not_fit_is_fetched_anew(tmp_path: Path, wrong: Reply) -> None:
    with ChargecloudStandin({NAME: [cut(4000), wrong, Reply(PBF)]}) as server:
        fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == PBF
    assert len(server.requests) == 3


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    with ChargecloudStandin({NAME: [Reply(PBF, headers=TAGGED), cut(4000), Reply(b"", 404)]}) as server:
        fetch(server, tmp_path)
        with pytest.raises(OsmError, match="got HTTP 404"):
            fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == PBF


@pytest.mark.parametrize("fault", ["reset", "close"])
def test_a_server_that_goes_away_is_asked_a_few_times(tmp_path: Path, pauses: list[float], fault: str) -> None:
    empty = Reply(b"", 200, {"Content-Length": "5"}, fault)  # type: ignore[arg-type]
    with ChargecloudStandin({NAME: empty}) as server, pytest.raises(OsmError, match=r"after 5 attempts in a row$"):
        fetch(server, tmp_path, pauses)
    assert len(server.requests) == ATTEMPTS
    assert pauses == [10, 20, 40, 80]


def test_a_server_that_is_busy_says_how_long_to_wait(tmp_path: Path, pauses: list[float]) -> None:
    with ChargecloudStandin({NAME: [Reply(b"", 429, {"Retry-After": "77"}), Reply(PBF)]}) as server:
        fetch(server, tmp_path, pauses)
    assert pauses == [77]


def test_a_server_that_drips_is_left_at_the_deadline(tmp_path: Path) -> None:
    dripping = Reply(PBF, headers=TAGGED, fault="drip body")
    with (
        ChargecloudStandin({NAME: dripping}) as server,
        pytest.raises(OsmError, match=r"the server is too slow; 0\.0 MB are kept"),
    ):
        download(f"{server.url}/{NAME}", tmp_path, deadline_s=0.2, sleep=[].append)


def test_nobody_at_the_address_is_explained(tmp_path: Path) -> None:
    with ChargecloudStandin({}) as server:
        url = f"{server.url}/{NAME}"
    with pytest.raises(OsmError, match=r"town\.osm\.pbf: no connection: connection refused, after 5 attempts"):
        download(url, tmp_path, sleep=[].append)


def test_a_page_instead_of_an_extract_is_refused_and_not_kept(tmp_path: Path) -> None:
    said = r"expected an extract in PBF, got b'<html>Please log in': check the address"
    with ChargecloudStandin({NAME: Reply(b"<html>Please log in")}) as server, pytest.raises(OsmError, match=said):
        fetch(server, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert (tmp_path / f"{NAME}.part").stat().st_size == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/a.osm.pbf",
        "https:///a.osm.pbf",
        "https://host/",
        "https://host/a.osm.bz2",
        "https://host/.pbf",
        "a.pbf",
    ],
)
def test_an_address_of_something_else_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(OsmError, match="expected the address of an extract"):
        download(url, tmp_path)
    assert files(tmp_path) == set()


def test_credentials_are_used_and_never_shown_or_kept(tmp_path: Path) -> None:
    with ChargecloudStandin({f"{NAME}?key=secret": [cut(4000), Reply(b"", 403)]}) as server:
        url = f"{server.url.replace('//', '//me:secret@')}/{NAME}?key=secret"
        with pytest.raises(OsmError, match="HTTP 403") as caught:
            download(url, tmp_path, sleep=[].append)
    assert "secret" not in str(caught.value)
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())
    assert server.requests[0].headers["Authorization"].startswith("Basic ")


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    with (tmp_path / f"{NAME}.part").open("ab") as other, ChargecloudStandin({NAME: Reply(PBF)}) as server:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OsmError, match=r"another process is downloading it"):
            fetch(server, tmp_path)
    assert server.requests == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_take_it_is_explained(tmp_path: Path) -> None:
    said = r"a download cannot be kept there: File too large"
    with (
        ChargecloudStandin({NAME: Reply(PBF)}) as server,
        file_size_limit(5000),
        pytest.raises(OsmError, match=said),
    ):
        fetch(server, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OsmError, match=rf"cannot be kept there: {os.strerror(errno.ENOTDIR)}"):
        download("https://host/a.pbf", tmp_path / "file" / "below")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 256 kB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_file_too_large_for_the_disk_is_not_begun(small_disk: Path) -> None:
    said = r"expected 0\.5 MB free for town\.osm\.pbf, got 0\.\d MB: free some space"
    with ChargecloudStandin({NAME: Reply(PBF * 50)}) as server, pytest.raises(OsmError, match=said):
        fetch(server, small_disk)
    assert (small_disk / f"{NAME}.part").stat().st_size == 0


def test_a_disk_that_becomes_full_is_left_as_it_was(small_disk: Path) -> None:
    chunked = Reply(
        b"80000\r\n" + (PBF * 60)[:0x80000] + b"\r\n0\r\n\r\n",
        headers={"Transfer-Encoding": "chunked", "Content-Length": ""},
    )
    said = r"cannot be kept there: No space left on device: free some space"
    with ChargecloudStandin({NAME: chunked}) as server, pytest.raises(OsmError, match=said):
        fetch(server, small_disk)
    assert not (small_disk / f"{NAME}.part").exists()


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with ChargecloudStandin({NAME: Reply(PBF * 300)}) as server, progress.watch(lambda *report: told.append(report)):
        fetch(server, tmp_path)
    assert told[-1] == ("MB downloaded", 3, 3)
