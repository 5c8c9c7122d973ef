"""What a power cut must not undo: a file's content, and the folder entries that lead to it."""

import os
from pathlib import Path


def fsync(path: Path) -> None:
    """Wait until the file's content, or the folder's list of names, is on the disk.

    Raises:
        OSError: the disk did not take it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` with its parents; durably, since a file whose folder is lost would be lost with it.

    Raises:
        OSError: it cannot be created.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync(folder.parent)
