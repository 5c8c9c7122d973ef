"""What can go wrong with the lake, in sentences for whoever can act on them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa


class LakeError(Exception):
    """The lake could not do what was asked; the message says what to do about it."""


class SchemaMismatch(LakeError):  # noqa: N818 - says what happened
    """Columns, or their types, are not those that the data model declares."""


class InvalidRows(LakeError):  # noqa: N818 - says what happened
    """The columns are right, but rows break the table's rules: nulls, order, uniqueness, partition."""


class LakeChanged(LakeError):  # noqa: N818 - says what happened
    """A file was replaced or removed between opening and reading it; reading again helps."""


_NO_LINKS = "not permitted: a lake needs a file system with hard links and this user's right to write there"
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, then run this again",
    errno.EDQUOT: "the disk quota is used up: free some space or raise the quota, then run this again",
    errno.EFBIG: "the file would be larger than this process may write (see `ulimit -f`)",
    errno.EROFS: "the file system is mounted read-only: remount it, or point CHARGING_ASSETS_LAKE elsewhere",
    errno.EACCES: "permission denied: give this user the right to write there, or point CHARGING_ASSETS_LAKE elsewhere",
    errno.EPERM: _NO_LINKS,
    errno.ENOTSUP: _NO_LINKS,
    errno.ENOSYS: _NO_LINKS,
    errno.EXDEV: "`.staging` and the lake are on different file systems: keep the whole lake on one",
    errno.EMFILE: "too many open files: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOTDIR: "a part of that path is a file: point CHARGING_ASSETS_LAKE at a folder",
    errno.EIO: "the disk reported an I/O error: check its health",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `LakeError`: what was attempted (`doing`), what came, what to do.

    `FileNotFoundError` passes: to most callers a missing file is an answer, not a fault.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, str(error))
        raise LakeError(f"{doing} failed: {advice}") from error


@contextmanager
def readable(path: str, remedy: str) -> Iterator[None]:
    """Like `explained`, of a block that reads a Parquet file of the lake; `remedy` is what to do when it is damaged."""
    with explained(f"Reading {path}"):
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            what = " ".join(str(error).split())  # Parquet's errors have several lines
            raise LakeError(f"The file {path} of the lake cannot be read ({what}): {remedy}") from error
