"""Where the lake's files are: a folder, or a prefix of an S3 bucket. The only code that knows the difference.

Belongs here: listing, opening one version of a file, publishing whole files atomically, deleting. Does not belong here:
what is in the files (`tables`, `raw`) and how files come to be (`staging`).

Paths are relative to the lake, with forward slashes. Names that begin with a dot are never listed.
"""

import filecmp
import io
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from charging_assets.failpoints import failpoint
from charging_assets.lake.durable import fsync, make_folder
from charging_assets.lake.errors import LakeChanged, LakeError, explained
from charging_assets.lake.staging import stage_file

_PIECE = 64 << 20
"""Bytes of a larger object that are fetched at once to copy it."""

_SMALL = 4 << 20
"""Bytes that are fetched with the first request to an S3 object; most files are smaller."""

_AHEAD = 8
"""S3 objects asked for at once: a small one takes about 30 ms, nearly all of it waiting. 32 MiB of `_SMALL` ones."""

_ATTEMPTS = 4
"""How often is done again what boto3 does not repeat by itself."""

_UNUSED_S = 30 * 86_400
"""After how long without use a file of the cache is removed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the lake as it was listed."""

    path: str
    size: int
    version: str
    """Differs whenever the content may differ: inode and modification time, or the ETag."""


class Store(Protocol):
    """What the lake needs of a place that keeps files. Every method raises `LakeError` when the place fails."""

    def list(self, prefix: str) -> Sequence[Entry]:
        """All files in and below the folder `prefix`, sorted by path; none when it does not exist."""

    def entry(self, path: str) -> Entry | None:
        """One file as `list` would give it; None when there is none."""

    def names(self, prefix: str) -> Sequence[str]:
        """Names of the files and folders directly in the folder `prefix`, sorted."""

    def open(self, path: str) -> pa.NativeFile:
        """Random access to one version of the file, whatever replaces it meanwhile.

        Raises:
            FileNotFoundError: there is no such file.
            LakeChanged: (while reading, S3 only) it was replaced or deleted; the new version must be opened.
        """

    def open_each(self, paths: Iterable[str]) -> Iterator[tuple[str, pa.NativeFile | None]]:
        """Each path with its file as `open` gives it, or None where there is none any more; close what you get."""

    def put_new(self, local: Path, path: str) -> bool:
        """Publish `local` durably as `path` unless that exists; returns whether it did. The caller removes `local`."""

    def replace(self, local: Path, path: str) -> None:
        """Publish `local` durably as `path`, atomically in place of what was there. The caller removes `local`."""

    def delete(self, path: str) -> None:
        """Remove the file; an absent one is fine."""

    def fetch(self, entries: Sequence[Entry]) -> Sequence[Path]:
        """Local files with the content of `entries`, or newer. Open them at once: they may be replaced and removed.

        Raises:
            FileNotFoundError, LakeChanged: a file was deleted, or replaced while it was copied; list again.
        """

    def free_bytes(self) -> int | None:
        """How much can still be written; None when there is no limit to know."""


class LocalStore:
    """A folder. Publishing is fsync, link or rename, fsync of the folder: what is visible survives a power cut."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, prefix: str) -> Sequence[Entry]:
        """See `Store`."""
        found: MutableSequence[Entry] = []
        with explained(f"Listing {self.root / prefix}"):
            self._collect(self.root / prefix, prefix.strip("/"), found)
        return sorted(found, key=lambda entry: entry.path)

    def _collect(self, folder: Path, relative: str, found: MutableSequence[Entry]) -> None:
        try:
            children = sorted(os.scandir(folder), key=lambda child: child.name)
        except FileNotFoundError:
            return
        for child in children:
            path = f"{relative}/{child.name}" if relative else child.name
            if child.name.startswith("."):
                continue
            if child.is_dir():
                self._collect(folder / child.name, path, found)
                continue
            if (entry := self.entry(path)) is not None:  # else deleted since the scan
                found.append(entry)

    def entry(self, path: str) -> Entry | None:
        """See `Store`."""
        with explained(f"Looking at {self.root / path}"):
            try:
                stat = (self.root / path).stat()
            except FileNotFoundError:
                return None
            return Entry(path, stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}")

    def names(self, prefix: str) -> Sequence[str]:
        """See `Store`."""
        with explained(f"Listing {self.root / prefix}"):
            try:
                return sorted(p.name for p in (self.root / prefix).iterdir() if not p.name.startswith("."))
            except FileNotFoundError:
                return []

    def open(self, path: str) -> pa.NativeFile:
        """See `Store`; a replaced file lives on for whom has it open."""
        with explained(f"Opening {self.root / path}"):
            return pa.OSFile(str(self.root / path), "rb")

    def open_each(self, paths: Iterable[str]) -> Iterator[tuple[str, pa.NativeFile | None]]:
        """See `Store`."""
        for path in paths:
            try:
                yield path, self.open(path)
            except FileNotFoundError:
                yield path, None

    def put_new(self, local: Path, path: str) -> bool:
        """See `Store`; a hard link fails when its name exists, and shows the whole file or nothing."""
        target = self.root / path
        with explained(f"Publishing {target}"):
            make_folder(target.parent)
            failpoint("lake.publish.before_fsync")
            fsync(local)
            failpoint("lake.raw.before_link")
            try:
                os.link(local, target)
            except FileExistsError:
                fsync(target.parent)  # whoever published it may have been killed before this
                return False
            failpoint("lake.raw.after_link")
            fsync(target.parent)
        return True

    def replace(self, local: Path, path: str) -> None:
        """See `Store`; consumes `local`, unless that is what is there already."""
        target = self.root / path
        with explained(f"Publishing {target}"):
            if _is_same(local, target):  # whoever compares versions need not look into it again
                return
            make_folder(target.parent)
            failpoint("lake.publish.before_fsync")
            fsync(local)
            failpoint("lake.publish.before_rename")
            local.replace(target)
            failpoint("lake.publish.after_rename")
            fsync(target.parent)

    def delete(self, path: str) -> None:
        """See `Store`."""
        with explained(f"Deleting {self.root / path}"):
            (self.root / path).unlink(missing_ok=True)

    def fetch(self, entries: Sequence[Entry]) -> Sequence[Path]:
        """The files themselves."""
        return [self.root / entry.path for entry in entries]

    def free_bytes(self) -> int | None:
        """What the file system has left for this user."""
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        with explained(f"Asking for the free space of {existing}"):
            stat = os.statvfs(existing)
            return stat.f_bavail * stat.f_frsize


def _is_same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except FileNotFoundError:
        return False


class S3Store:
    """A prefix of an S3 bucket. An object appears whole or not at all; its ETag tells its versions apart.

    Credentials, region, endpoint, proxies and CA bundle come from where boto3 always takes them (`AWS_PROFILE`,
    `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`, `HTTPS_PROXY`, instance roles, …).
    """

    def __init__(self, bucket: str, prefix: str, cache_dir: Path) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._cache_dir = cache_dir
        self._is_cache_swept = False
        self._lock = threading.Lock()
        self._created: Any = None

    @property
    def _client(self) -> Any:
        """The one client (they are thread-safe), made at first use."""
        with self._lock:
            if self._created is None:
                import boto3  # noqa: PLC0415 - takes 0.2 s that local lakes need not pay
                from botocore.config import Config  # noqa: PLC0415

                config = Config(
                    retries={"mode": "standard", "total_max_attempts": 5},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=16,
                )
                with self._explained("Connecting to", ""):
                    self._created = boto3.session.Session().client("s3", config=config)
            return self._created

    def list(self, prefix: str) -> Sequence[Entry]:
        """See `Store`."""
        entries = []
        for page in self._pages(prefix):
            for found in page.get("Contents", ()):
                path = found["Key"].removeprefix(self._prefix)
                # S3's own console makes a "folder" by an empty object whose name ends with a slash.
                if path and not path.endswith("/") and not any(part.startswith(".") for part in path.split("/")):
                    entries.append(Entry(path, found["Size"], found["ETag"].strip('"')))
        return sorted(entries, key=lambda entry: entry.path)

    def entry(self, path: str) -> Entry | None:
        """See `Store`."""
        try:
            with self._explained("Looking at", path):
                found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + path)
        except FileNotFoundError:
            return None
        return Entry(path, found["ContentLength"], found["ETag"].strip('"'))

    def names(self, prefix: str) -> Sequence[str]:
        """See `Store`."""
        names = set()
        for page in self._pages(prefix, Delimiter="/"):
            names |= {found["Key"].rpartition("/")[2] for found in page.get("Contents", ())}
            names |= {found["Prefix"].rstrip("/").rpartition("/")[2] for found in page.get("CommonPrefixes", ())}
        return sorted(name for name in names if name and not name.startswith("."))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with self._explained("Listing", folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + folder, **options
            )
            yield from pages

    def open(self, path: str) -> pa.NativeFile:
        """See `Store`; a small object is fetched at once, of others what is read."""
        return self._open(path)[0]

    def _open(self, path: str) -> tuple[pa.NativeFile, str]:
        """The newest version of an object, and its ETag."""
        answer, head = self._get(path, Range=f"bytes=0-{_SMALL - 1}")
        size = int(answer["ContentRange"].rpartition("/")[2])
        etag: str = answer["ETag"]
        if size == len(head):
            return pa.BufferReader(head), etag
        return pa.PythonFile(_RangeReader(self, path, etag, size), mode="r"), etag

    def open_each(self, paths: Iterable[str]) -> Iterator[tuple[str, pa.NativeFile | None]]:
        """See `Store`; the next few are opened meanwhile."""
        left = iter(paths)
        opening: deque[tuple[str, Future[pa.NativeFile]]] = deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            while True:
                opening.extend((path, pool.submit(self.open, path)) for path in islice(left, _AHEAD - len(opening)))
                if not opening:
                    return
                path, opened = opening.popleft()
                try:
                    yield path, opened.result()
                except FileNotFoundError:
                    yield path, None

    def _get(self, path: str, **options: str) -> tuple[dict[str, Any], bytes]:
        """S3's answer for an object and its body, asked for again when that breaks off: boto3 repeats requests only."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

        attempts_left = _ATTEMPTS
        with self._explained("Reading", path):
            while True:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path, **options)
                attempts_left -= 1
                try:
                    return answer, answer["Body"].read()
                except BotoCoreError:
                    if not attempts_left:
                        raise

    def read_range(self, path: str, etag: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive) of the version `etag` of an object.

        Raises:
            LakeChanged: the object is not that version any more.
        """
        try:
            return self._get(path, IfMatch=etag, Range=f"bytes={start}-{stop - 1}")[1]
        except FileNotFoundError as error:
            raise LakeChanged(f"{self._uri(path)} was deleted while it was read") from error

    def put_new(self, local: Path, path: str) -> bool:
        """See `Store`; by a conditional PUT."""
        # A PUT that is repeated because its answer got lost meets the object of its first attempt: know one's own.
        token = uuid.uuid4().hex
        failpoint("lake.publish.before_fsync")
        failpoint("lake.raw.before_link")
        try:
            with self._explained("Publishing", path):
                if not self._put_if_absent(local, path, token) and self._token_of(path) != token:
                    return False
        except FileNotFoundError:  # it was there, and was deleted since
            return False
        failpoint("lake.raw.after_link")
        return True

    def _put_if_absent(self, local: Path, path: str, token: str) -> bool:
        attempts_left = _ATTEMPTS
        while True:
            attempts_left -= 1
            try:
                self._put(local, path, IfNoneMatch="*", Metadata={"put": token})
            except self._client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                if code in _EXISTS:
                    return False
                # S3 says so while another PUT or DELETE of that name is under way, and asks to repeat the PUT.
                if code != "ConditionalRequestConflict" or not attempts_left:
                    raise
            else:
                return True

    def _token_of(self, path: str) -> str | None:
        found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + path)
        token: str | None = found["Metadata"].get("put")
        return token

    def replace(self, local: Path, path: str) -> None:
        """See `Store`; by one PUT."""
        failpoint("lake.publish.before_fsync")
        failpoint("lake.publish.before_rename")
        with self._explained("Publishing", path):
            self._put(local, path)
        failpoint("lake.publish.after_rename")

    def _put(self, local: Path, path: str, **options: Any) -> None:
        with local.open("rb") as body:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=body, **options)

    def delete(self, path: str) -> None:
        """See `Store`."""
        with self._explained("Deleting", path):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + path)

    def fetch(self, entries: Sequence[Entry]) -> Sequence[Path]:
        """Copies in the cache, downloaded where they are of another version."""
        with ThreadPoolExecutor(_AHEAD) as pool:
            fetched = tuple(pool.map(self._fetch, entries))
        if not self._is_cache_swept:  # once per process is enough: it looks at every file
            self._is_cache_swept = True
            self._sweep_cache()
        return fetched

    def _fetch(self, entry: Entry) -> Path:
        """The cached copy of the version listed, or a new one of the newest. Only the newest of a path is kept."""
        folder = self._cache_dir / entry.path
        cached = folder / f"{entry.version}.parquet"
        if cached.exists():
            with suppress(OSError):  # removed since, or another user's
                os.utime(cached)
            return cached
        source, etag = self._open(entry.path)
        cached = folder / (etag.strip('"') + ".parquet")
        with source, stage_file(self._cache_dir) as staged, explained(f"Writing {cached}"):
            with staged.path.open("wb") as file:
                while piece := source.read(_PIECE):
                    file.write(piece)
            folder.mkdir(parents=True, exist_ok=True)
            for older in folder.iterdir():
                older.unlink(missing_ok=True)
            staged.path.replace(cached)
        return cached

    def _sweep_cache(self) -> None:
        """Remove what nobody has asked for in a month, e.g. partitions of a year that was looked at once."""
        last_use = time.time() - _UNUSED_S
        for path in self._cache_dir.rglob("*.parquet"):
            with suppress(FileNotFoundError):  # another process was faster
                if path.stat().st_mtime < last_use:
                    path.unlink()

    def free_bytes(self) -> int | None:
        """None: a bucket is never full."""
        return None

    def _uri(self, path: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{path}"

    @contextmanager
    def _explained(self, doing: str, path: str) -> Iterator[None]:
        """Turn boto3's errors into `FileNotFoundError`, `LakeChanged` or a `LakeError` that says what to do."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(f"{self._uri(path)} does not exist") from error
            if code in _EXISTS:
                raise LakeChanged(f"{self._uri(path)} was replaced while it was read") from error
            advice = _S3_ADVICE.get(code, "if this goes on, ask whoever runs the bucket")
            message = error.response["Error"].get("Message") or code
            raise LakeError(f"{doing} {self._uri(path)} failed: {code} ({message}): {advice}") from error
        except BotoCoreError as error:
            raise LakeError(
                f"{doing} {self._uri(path)} failed: {error}: check the network, the AWS credentials, "
                "AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
            ) from error


_EXISTS = ("PreconditionFailed", "412")
_S3_PERMISSIONS = "these credentials need s3:ListBucket on the bucket and s3:{Get,Put,Delete}Object on its objects"
_S3_ADVICE = {
    "NoSuchBucket": "create the bucket or correct CHARGING_ASSETS_LAKE",
    "AccessDenied": _S3_PERMISSIONS,
    "403": _S3_PERMISSIONS,
    "InvalidAccessKeyId": "check the AWS credentials",
    "SignatureDoesNotMatch": "check the AWS credentials",
    "ExpiredToken": "renew the AWS credentials",
    "NotImplemented": "this object store lacks conditional writes (If-None-Match), which a lake needs",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SlowDown": "the bucket is throttled: try again later",
    "EntityTooLarge": "one file exceeds what a single PUT takes (5 GB): split it",
}


class _RangeReader(io.RawIOBase):
    """One version of one S3 object as a seekable file, one GET per read; Arrow coalesces its reads itself."""

    def __init__(self, store: S3Store, path: str, etag: str, size: int) -> None:
        super().__init__()
        self._store, self._path, self._etag, self._size = store, path, etag, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._position + size, self._size)
        if stop <= self._position:
            return b""
        data = self._store.read_range(self._path, self._etag, self._position, stop)
        self._position = stop
        return data


def store_at(uri: str, cache_dir: Path) -> Store:
    """The store of a lake's URI as `Settings.lake` has it: a path, or ``s3://bucket/prefix``."""
    if uri.startswith("s3://"):
        parts = urlsplit(uri)
        return S3Store(parts.netloc, parts.path, cache_dir)
    return LocalStore(Path(uri))
