"""Files that are being written: invisible to readers, and swept once their writer is dead.

A staged file is locked (`flock`) for as long as its writer lives; a kill releases the lock, whatever else it prevents.
So a file that can be locked is nobody's, on this host or on another one that shares the file system, and no process id
has to be trusted.
"""

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from charging_assets.lake.errors import explained

_SUFFIX = ".staged"


class StagedFile:
    """A temporary file that is this process's own; a context manager that removes it, if it still has its name.

    Attributes:
        path: where to write; keep to this file (opening it with truncation is fine), since the lock is on its inode.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def discard(self) -> None:
        """Remove the file and release its lock; a file that was renamed away stays. Harmless when repeated."""
        if self._descriptor >= 0:
            with suppress(OSError):  # renamed away by publishing, or a folder that has become read-only
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    def __del__(self) -> None:
        self.discard()


def stage_file(folder: Path) -> StagedFile:
    """Create an empty staged file in `folder` (made when absent), after sweeping those of dead writers.

    Raises:
        LakeError: the folder cannot be written.
    """
    with explained(f"Creating a file in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        while True:
            path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            staged = StagedFile(path, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else a sweeper locked it before we did, and removed it
                return staged


def sweep(folder: Path) -> int:
    """Remove the staged files in `folder` whose writers are dead; returns how many."""
    swept = 0
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # just published or swept by another process, or another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            swept += 1
        except OSError:  # locked: its writer lives
            pass
        finally:
            os.close(descriptor)
    return swept
