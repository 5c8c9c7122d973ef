"""Answers of a poll under way, on local disk, so that a killed poll loses none that was received.

One file per poll. It is locked (`flock`) for as long as the poll's process lives; an unlocked one waits for recovery.
It is a sequence of records, the first about the poll, each other one an answer:

    magic `CAsp` | length of meta (u32) | length of body (u64) | CRC-32 of body (u32) | CRC-32 of these and meta (u32)
    meta (MessagePack) | body

`append` returns after fsync, so only the last record can be torn by a kill; lengths and checksums show where it ends.
"""

import dataclasses
import fcntl
import hashlib
import logging
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from charging_assets.failpoints import failpoint
from charging_assets.lake.durable import fsync, make_folder
from charging_assets.lake.errors import LakeError, explained
from charging_assets.lake.raw_files import KeptAnswer, poll_stem, without_body
from charging_assets.model.answer import Answer, Poll

SUFFIX = ".spool"

_log = logging.getLogger(__name__)

_MAGIC = b"CAsp"
_HEAD = struct.Struct("<4sIQI")
_CRC = struct.Struct("<I")
_WRITE_AT_ONCE = 256 << 10


class _Owner(msgspec.Struct):
    """The first record: whose answers these are."""

    lake: str
    poll: Poll


class SpoolFile:
    """The spool of one poll, locked by this object until it is closed.

    Attributes:
        path: where it is.
        lake: URI of the lake that the answers are for.
        poll: whose answers they are.
        answers: those that are safely in the file.
    """

    def __init__(self, path: Path, descriptor: int, owner: _Owner) -> None:
        self.path = path
        self.lake, self.poll = owner.lake, owner.poll
        self.answers: list[KeptAnswer] = []
        self._descriptor = descriptor
        self._end = 0

    @classmethod
    def create(cls, folder: Path, lake: str, poll: Poll) -> Self:
        """Start the spool of a poll in `folder`, which is made when absent.

        Raises:
            LakeError: the poll has a spool already.
            OSError: the disk did not take it.
        """
        path = folder / f"{poll_stem(poll)}{SUFFIX}"
        owner = _Owner(lake, poll)
        make_folder(folder)
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                raise LakeError(
                    f"{path} exists: poll {poll.poll_id} is under way, or was killed and waits for recovery"
                ) from None
            spool = cls(path, descriptor, owner)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not os.fstat(descriptor).st_nlink:  # a recovery found it still empty and removed it
                    spool.close()
                    continue
                spool._write(msgspec.msgpack.encode(owner), b"")
                fsync(folder)
            except OSError:
                spool.remove()
                raise
            return spool

    @classmethod
    def take_over(cls, path: Path) -> Self | None:
        """Lock and read the spool of a killed poll; None when its poll lives, or was killed before its first answer.

        Raises:
            LakeError: it cannot be read.
        """
        with explained(f"Reading {path}"), ExitStack() as undo:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if not os.fstat(descriptor).st_nlink:  # published or recovered since it was opened
                return None
            records = _records(descriptor)
            first = next(records, None)
            if first is None:
                path.unlink()
                return None
            try:
                spool = cls(path, descriptor, msgspec.msgpack.decode(first.meta, type=_Owner))
                spool.answers = [spool._kept(record) for record in records]
            except msgspec.MsgspecError as error:
                raise LakeError(
                    f"{path} is damaged or was written by another version of charging_assets ({error}): publish it "
                    "with that version, or move it out of the folder to give its answers up"
                ) from error
            undo.pop_all()
            return spool

    def append(self, answer: Answer) -> None:
        """Store an answer durably.

        Raises:
            OSError: it could not; the file is as it was before.
        """
        meta = without_body(answer)
        offset = self._write(msgspec.msgpack.encode(meta), answer.body)
        read_body = partial(self._read, offset, len(answer.body))
        self.answers.append(KeptAnswer(meta, answer.sha256, read_body))

    def remove(self) -> None:
        """Delete the file, its answers being safe elsewhere."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Leave the file to a later recovery."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, meta: bytes, body: bytes) -> int:
        """Append a record and fsync; returns the offset of its body."""
        head = _HEAD.pack(_MAGIC, len(meta), len(body), zlib.crc32(body))
        head += _CRC.pack(zlib.crc32(meta, zlib.crc32(head))) + meta
        try:
            position = self._end
            for part in (head, body):
                left = memoryview(part)
                while left:
                    written = os.pwrite(self._descriptor, left[:_WRITE_AT_ONCE], position)
                    position += written
                    left = left[written:]
                    failpoint("lake.spool.mid_record")
            failpoint("lake.spool.before_fsync")
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end = position
        return position - len(body)

    def _read(self, offset: int, length: int) -> bytes:
        with explained(f"Reading {self.path}"):
            parts = []
            while length:
                part = os.pread(self._descriptor, length, offset)
                if not part:
                    raise LakeError(f"{self.path} was shortened while it was read")
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _kept(self, record: "_Record") -> KeptAnswer:
        meta = msgspec.msgpack.decode(record.meta, type=Answer)
        if record.fault:
            errors = [meta.error] if meta.error else []
            meta = dataclasses.replace(meta, is_truncated=True, error=" ".join([*errors, record.fault]))
        return KeptAnswer(meta, record.sha256, partial(self._read, record.offset, record.length))


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    meta: bytes
    offset: int
    length: int
    sha256: str
    fault: str | None


def _records(descriptor: int) -> Iterator[_Record]:
    """Every record whose meta is whole. A body that is not is given as far as it goes, with its fault."""
    size = os.fstat(descriptor).st_size
    if not size:
        return
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data, memoryview(data) as view:
        start = 0
        while (start := data.find(_MAGIC, start)) >= 0:
            meta_start = start + _HEAD.size + _CRC.size
            if meta_start > size:
                return
            _, meta_length, body_length, body_crc = _HEAD.unpack_from(data, start)
            (meta_crc,) = _CRC.unpack_from(data, start + _HEAD.size)
            offset = meta_start + meta_length
            meta = data[meta_start:offset]
            if zlib.crc32(meta, zlib.crc32(data[start : start + _HEAD.size])) != meta_crc:
                start += 1
                continue
            stop = min(offset + body_length, size)
            with view[offset:stop] as body:
                fault = None
                if len(body) < body_length:
                    fault = (
                        f"The poll was killed while this answer was being stored: {len(body)} of {body_length} "
                        "bytes are kept."
                    )
                elif zlib.crc32(body) != body_crc:
                    fault = "The answer was damaged on its way through the spool: its checksum does not match."
                yield _Record(meta, offset, len(body), hashlib.sha256(body).hexdigest(), fault)
            start = stop


class PollSpool:
    """A poll under way; a context manager. Leaving it, also by an exception, publishes what was received as one file.

    When the spool's disk fails, answers stay in memory and are still published at the end.

    Attributes:
        file: path of the raw file within the lake, once it is published; None when there was no answer.
    """

    def __init__(self, folder: Path, lake: str, poll: Poll, publish: Callable[[Poll, list[KeptAnswer]], str]) -> None:
        self.file: str | None = None
        self._folder, self._lake, self._poll, self._publish = folder, lake, poll, publish
        self._lock = threading.Lock()
        self._spool: SpoolFile | None = None
        self._in_memory: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Keep an answer; when this returns, a kill does not lose it. May be called from several threads."""
        with self._lock:
            if self._spool is not None:
                try:
                    self._spool.append(answer)
                except OSError as error:
                    _log.warning("Spooling the answer of %s failed (%s): it is kept in memory", answer.feed, error)
                else:
                    return
            self._in_memory.append(answer)

    def __enter__(self) -> Self:
        try:
            self._spool = SpoolFile.create(self._folder, self._lake, self._poll)
        except OSError as error:
            _log.warning("No spool in %s (%s): answers of this poll are kept in memory", self._folder, error)
        return self

    def __exit__(self, *_exception: object) -> None:
        spooled = self._spool.answers if self._spool else []
        answers = [*spooled, *map(KeptAnswer.in_memory, self._in_memory)]
        is_published = False
        try:
            if answers:
                self.file = self._publish(self._poll, answers)
            is_published = True
        except Exception as error:
            raise LakeError(f"{error}. {self._rescue()}") from error
        finally:
            if self._spool and is_published:
                self._spool.remove()
            elif self._spool:
                self._spool.close()

    def _rescue(self) -> str:
        """Spool once more what is only in memory; says what is kept where and what is lost."""
        lost = []
        for answer in self._in_memory:
            try:
                if self._spool is None:
                    self._spool = SpoolFile.create(self._folder, self._lake, self._poll)
                self._spool.append(answer)
            except OSError:
                lost.append(answer.feed)
        kept = len(self._spool.answers) if self._spool else 0
        said = (
            [f"{kept} answers of the poll are safe in {self._folder} and are published by the next poll"]
            if kept
            else []
        )
        if lost:
            said.append(f"The answers of these feeds could not be stored anywhere: {', '.join(sorted(lost))}")
        return ". ".join(said)
