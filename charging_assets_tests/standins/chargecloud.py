"""chargecloud on loopback: feeds that answer, fail, dawdle and break as a test says.

What it cannot prove: how the real API limits, redirects, compresses and words its errors; name resolution; TLS of
public CAs.
"""

import contextlib
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Reply:
    """What a feed does when it is asked once."""

    body: bytes = b'{"data": []}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """A `Content-Length` given here replaces the true one."""
    fault: Literal["silence", "drip header", "drip body", "reset", "close", "garbage"] | None = None
    """`silence`: no byte. `drip …`: a byte every 50 ms, without end. `reset`, `close`: after the body."""
    wait_for: threading.Event | None = None
    """Answer only when this is set."""


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes, or refuses the certificate, is no error here
            super().handle_error(request, client_address)


class ChargecloudStandin:
    """A threaded HTTP server whose `feeds` maps each path to one reply, or to several in turn (the last one stays).

    Use it as a context manager; unknown feeds answer 404. `most_at_once` counts requests that were open side by side.
    """

    def __init__(self, feeds: Mapping[str, Reply | Sequence[Reply]], *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0
        self._replies = {name: [one] if isinstance(one, Reply) else list(one) for name, one in feeds.items()}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, feed: str) -> int:
        """How often a feed was asked."""
        return sum(request.path == f"/{feed}" for request in self.requests)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with standin._lock:
                    standin.connections += 1

            def do_GET(self) -> None:
                with standin._lock:
                    standin.requests.append(Request(self.path, dict(self.headers)))
                    replies = standin._replies.get(self.path.removeprefix("/"), [Reply(b"", 404)])
                    reply = replies.pop(0) if len(replies) > 1 else replies[0]
                    standin._at_once += 1
                    standin.most_at_once = max(standin.most_at_once, standin._at_once)
                try:
                    with contextlib.suppress(OSError):  # the client had enough
                        self._answer(reply)
                finally:
                    with standin._lock:
                        standin._at_once -= 1

            def _answer(self, reply: Reply) -> None:
                if reply.wait_for is not None:
                    reply.wait_for.wait(30)
                if reply.fault == "silence":
                    standin._closing.wait()
                    self.close_connection = True
                    return
                if reply.fault == "garbage":
                    self.wfile.write(b"\x00\x01 what is HTTP?\r\n\r\n")
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                if reply.fault == "drip header":
                    self.flush_headers()
                    self._drip()
                    return
                length = 2**30 if reply.fault == "drip body" else len(reply.body)
                for name, value in ({"Content-Length": str(length)} | dict(reply.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                if reply.fault == "drip body":
                    self._drip()
                elif reply.fault == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                elif reply.fault == "close":
                    self.close_connection = True

            def _drip(self) -> None:
                self.close_connection = True
                while not standin._closing.wait(0.05):
                    self.wfile.write(b"x")

            def log_message(self, *args: object) -> None:
                pass

        return Handler
