"""HTTP with an end: a deadline that cuts a connection, whatever the server sends and however slowly.

Belongs here: what every source needs of it. Does not belong here: who is asked for what, and what is retried.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.connection


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it wraps, outermost first: requests and urllib3 keep causes in five different places."""
    waiting, seen = [error], set[int]()
    while waiting:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        inner = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]


class _Watch:
    """Cuts the connection in use when the deadline passes.

    A socket's timeout bounds each receive: a server that sends a byte per second would be listened to for ever.
    """

    connection: urllib3.connection.HTTPConnection | None = None
    is_over = False

    def cut(self) -> None:
        self.is_over = True
        sock = self.connection.sock if self.connection else None
        if sock is None:
            return
        # of a duplicate, as TLS sockets close themselves first; only shutdown wakes a thread that is receiving
        with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)


_using = threading.local()


def is_cut() -> bool:
    """Whether the deadline of the block around has passed."""
    return bool(_using.watch.is_over)


@contextmanager
def cut_at(deadline: float) -> Iterator[None]:
    """Within the block, connections of this thread's `DeadlineAdapter` are cut at `deadline` (`time.monotonic`)."""
    watch = _using.watch = _Watch()
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), watch.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        del _using.watch


class _HTTPConnection(urllib3.connection.HTTPConnection):
    """Tells the thread's `_Watch` that it is being used."""

    def connect(self) -> None:
        _using.watch.connection = self
        super().connect()
        if _using.watch.is_over:  # it was cut before there was a socket
            self.close()
            raise TimeoutError

    def request(self, *args: Any, **kwargs: Any) -> None:
        _using.watch.connection = self
        super().request(*args, **kwargs)


class _HTTPSConnection(_HTTPConnection, urllib3.connection.HTTPSConnection):
    pass


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Makes connections that `cut_at` can cut; to be used within it only."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> urllib3.HTTPConnectionPool:
        """As requests asks for it, with connections of ours."""
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        assert isinstance(pool, urllib3.HTTPConnectionPool)
        pool.ConnectionCls = _HTTPSConnection if pool.scheme == "https" else _HTTPConnection
        return pool
