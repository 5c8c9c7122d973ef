"""An extract from a URL: fetched only when it is newer, resumed where it broke off, there only when it is whole.

Proxies and an own CA come from the variables that `requests` reads. Credentials in the address are used and never
shown. Does not belong here: what is in an extract (`pbf`).
"""

import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from charging_assets import __version__, progress
from charging_assets.sources.connection import causes
from charging_assets.sources.osm.errors import OsmError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Longest silence of a server."""
DEADLINE_S = 6 * 3600.0
"""For all attempts; Germany, 4.5 GB, takes an hour at 10 Mbit/s."""
ATTEMPTS = 5
"""In a row that bring nothing."""
BACKOFF_S = 10.0
"""Wait before the second attempt; doubles."""

_CHUNK_BYTES = 2**20
_FILE_NAME = re.compile(r"[\w][\w.-]*\.pbf")


@dataclass(frozen=True, slots=True)
class Extract:
    """An extract on disk."""

    path: Path
    is_new: bool
    """False: the server has none that is newer than the one that was there."""
    bytes: int


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a file is of, as the server named it; kept beside the file."""

    url: str
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """What `If-Range` takes: not a weak ETag."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    @classmethod
    def of(cls, path: Path, url: str) -> "_Origin | None":
        """The file's origin, None where it is unknown or another one."""
        try:
            origin = cls(**json.loads(_beside(path).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return origin if path.exists() and origin.url == url else None

    def keep(self, path: Path) -> None:
        temporary = _beside(path).with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(_beside(path))


def download(
    url: str,
    folder: Path,
    contact: str | None = None,
    deadline_s: float = DEADLINE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Extract:
    """The extract at the URL, as a file of the same name in the folder.

    What was there before stays until the new one is whole. After an error, the next call goes on where it ended.

    Args:
        url: `http(s)://[user:password@]host/…/<name>.pbf`.
        folder: Made if need be.
        contact: Mail address or URL for the User-Agent.
        deadline_s: Seconds for it, pauses included.
        sleep: Waits so many seconds.

    Raises:
        OsmError: it cannot be had or kept.
    """
    parts = urlsplit(url)
    name = unquote(parts.path).rpartition("/")[2]
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _FILE_NAME.fullmatch(name):
        raise OsmError(
            f"{_shown(url)}: expected the address of an extract, like https://…/germany-latest.osm.pbf, got another"
        )
    path, part = folder / name, folder / f"{name}.part"
    session = requests.Session()
    session.headers.update(
        {
            "User-Agent": f"charging_assets/{__version__}" + (f" (+{contact})" if contact else ""),
            "Accept-Encoding": "identity",
        }
    )
    with _explained(part), session:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, part)
            return _Download(session, url, path, part, file, time.monotonic() + deadline_s).persist(sleep)


class _TransientError(Exception):
    """Asking again may help."""

    def __init__(self, sentence: str, retry_after_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class _Download:
    session: requests.Session
    url: str
    path: Path
    part: Path
    file: BinaryIO
    """The part, locked, at its end."""
    deadline: float

    def persist(self, sleep: Callable[[float], None]) -> Extract:
        failures = 0
        while True:
            before = self.file.tell()
            try:
                return self._attempt()
            except _TransientError as error:
                got = self.file.tell()
                failures = 1 if got > before else failures + 1
                wait = max(BACKOFF_S * 2 ** (failures - 1), error.retry_after_s)
                if failures == ATTEMPTS or time.monotonic() + wait > self.deadline:
                    count = f", after {failures} attempts in a row" if failures > 1 else ""
                    kept = f"; {_mb(got)} are kept and not fetched again" if got else ""
                    raise OsmError(f"{_shown(self.url)}: {error}{count}{kept}") from None
                sleep(wait)

    def _attempt(self) -> Extract:
        with self._asked() as response:
            if response.status_code == http.client.NOT_MODIFIED:
                self.part.unlink()
                return Extract(self.path, False, self.path.stat().st_size)
            self._judge(response)
            size = self._begin(response)
            self._receive(response, size)
        if size is not None and self.file.tell() != size:
            self._restart()
            raise _TransientError("the server sent another number of bytes than it said")
        return self._finish()

    @contextmanager
    def _asked(self) -> Iterator[requests.Response]:
        """The server's response, its body unread: of what is missing, or of all if it is newer than what is there."""
        headers: dict[str, str | None] = {}
        begun, there = (_Origin.of(path, _shown(self.url)) for path in (self.part, self.path))
        if self.file.tell() and begun and begun.validator:
            headers = {"Range": f"bytes={self.file.tell()}-", "If-Range": begun.validator}
        elif there:
            headers = {"If-None-Match": there.etag, "If-Modified-Since": there.last_modified}
        timeouts = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        try:
            response = self.session.get(self.url, headers=headers, stream=True, timeout=timeouts)
        except (requests.ConnectionError, requests.Timeout) as fault:
            raise _TransientError(_explain(fault)) from fault
        except (requests.RequestException, ValueError) as fault:
            raise OsmError(f"{_shown(self.url)}: cannot be asked for: {type(fault).__name__}") from fault
        with response:
            yield response

    def _judge(self, response: requests.Response) -> None:
        status = response.status_code
        if status == http.client.OK:
            return
        if status == http.client.PARTIAL_CONTENT:
            if response.headers.get("Content-Range", "").startswith(f"bytes {self.file.tell()}-"):
                return
            self._restart()
            raise _TransientError("the server sent another part than the one that is missing")
        if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._restart()
            raise _TransientError("the server has less than was fetched before")
        if status == http.client.TOO_MANY_REQUESTS or status >= 500:
            wait = response.headers.get("Retry-After", "")
            raise _TransientError(f"HTTP {status}", float(wait[:9]) if wait.isascii() and wait.isdigit() else 0.0)
        raise OsmError(f"{_shown(self.url)}: expected an extract, got HTTP {status}: check the address")

    def _begin(self, response: requests.Response) -> int | None:
        """How large the whole file will be, if the server says so; there is room for it."""
        headers = response.headers
        if response.status_code == http.client.OK:
            self._restart()
            _Origin(_shown(self.url), headers.get("ETag"), headers.get("Last-Modified")).keep(self.part)
        length = headers.get("Content-Length", "")
        if not length.isdigit():
            return None
        free = shutil.disk_usage(self.part.parent).free
        if int(length) > free:
            raise OsmError(
                f"{self.part.parent}: expected {_mb(int(length))} free for {self.path.name}, got {_mb(free)}: "
                "free some space, then run this again"
            )
        return self.file.tell() + int(length)

    def _receive(self, response: requests.Response, size: int | None) -> None:
        try:
            # read1 returns what one receive brought; read(n) waits for n bytes and loses them when the server resets
            while chunk := response.raw.read1(_CHUNK_BYTES):
                self.file.write(chunk)
                if size:
                    progress.advance("MB downloaded", self.file.tell() // 10**6, size // 10**6)
                if time.monotonic() > self.deadline:
                    raise _TransientError("the server is too slow")
        except urllib3.exceptions.HTTPError as fault:
            raise _TransientError(f"the connection broke off at byte {self.file.tell():,}") from fault

    def _finish(self) -> Extract:
        self.file.flush()
        with self.part.open("rb") as written:
            start = written.read(64)
        if b"OSMHeader" not in start:
            self._restart()
            raise OsmError(f"{_shown(self.url)}: expected an extract in PBF, got {start!r}: check the address")
        os.fsync(self.file.fileno())
        self.part.replace(self.path)
        _beside(self.part).replace(_beside(self.path))
        return Extract(self.path, True, self.path.stat().st_size)

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()


def _lock(file: BinaryIO, part: Path) -> None:
    """Have the part for this process alone; it may have been finished between opening and locking it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_alone = part.stat().st_ino == os.fstat(file.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_alone = False
    if not is_alone:
        raise OsmError(f"{part}: another process is downloading it: wait for that one")


@contextmanager
def _explained(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            part.unlink(missing_ok=True)  # whoever else writes there needs the room more
            advice = ": free some space, then run this again"
        raise OsmError(f"{part.parent}: a download cannot be kept there: {error.strerror or error}{advice}") from error


def _explain(fault: Exception) -> str:
    """A sentence without the texts of `requests` and `urllib3`, which are nested representations of objects."""
    for cause in causes(fault):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"the certificate is not trusted: {cause.verify_message} (an own CA: REQUESTS_CA_BUNDLE)"
            case socket.gaierror():
                return "the name cannot be resolved"
            case http.client.RemoteDisconnected():
                return "the connection was closed without an answer"
            case OSError(errno=int(number)):
                return f"no connection: {os.strerror(number).lower()}"
    return "no answer in time" if isinstance(fault, requests.Timeout) else f"no connection: {type(fault).__name__}"


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _shown(url: str) -> str:
    """An address without what may be secret."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
