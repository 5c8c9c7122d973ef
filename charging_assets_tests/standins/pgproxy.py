"""A proxy of PostgreSQL's wire protocol, with faults on demand: what a network and a server may do to a client.

It covers what runs in other processes, too. What it cannot prove: latency, half-open connections, proxies that pool.

psycopg2's `cancel()` keeps Python's lock while it waits: called in the process that the proxy is in, it waits for ever.
"""

import contextlib
import hashlib
import os
import re
import selectors
import socket
import socketserver
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode

Action = str | Callable[[], object]

_SSL_REQUEST, _GSSENC_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_IN_TRANSACTION = b"T"
_FAILING = "SELECT 1 / 0"
_ACTION = r"lose before|lose after|error:[0-9A-Z]{5}:.*"


@dataclass(frozen=True)
class Fault:
    """What happens to the next statement in whose text `match` is found, in whatever case.

    Attributes:
        match: a regular expression.
        action: ``"lose before"`` loses the connection before the server sees the statement, ``"lose after"`` when the
            server has carried it out and the client does not know; ``"error:<SQLSTATE>:<message>"`` answers this error
            instead, and an open transaction has failed; a callable is called before the statement is passed on.
    """

    match: str
    action: Action

    def __post_init__(self) -> None:
        if isinstance(self.action, str) and re.fullmatch(_ACTION, self.action, re.DOTALL) is None:
            raise ValueError(
                f"a fault is 'lose before', 'lose after', 'error:<SQLSTATE>:<message>' or callable, not {self.action!r}"
            )


class SqlError(Exception):
    """An error to be answered to the client."""

    def __init__(self, sqlstate: str, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate, self.message, self.detail = sqlstate, message, detail

    def response(self, severity: str = "ERROR") -> bytes:
        """The message of the protocol."""
        return fields(b"E", {"S": severity, "C": self.sqlstate, "M": self.message, "D": self.detail})


class Message(NamedTuple):
    """One message of the protocol: its kind, a letter, and what it carries."""

    kind: bytes
    body: bytes

    def raw(self) -> bytes:
        """The message as it is sent."""
        return message(self.kind, self.body)

    def text(self, place: int = 0) -> str:
        """A string of the body, which begins with them."""
        return self.body.split(b"\0", place + 1)[place].decode(errors="surrogateescape")


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message as it is sent."""
    return kind + struct.pack("!I", len(body) + 4) + body


def fields(kind: bytes, values: Mapping[str, str | None]) -> bytes:
    """A message of named fields: an error or a notice."""
    given = (key.encode() + value.encode() + b"\0" for key, value in values.items() if value is not None)
    return message(kind, b"".join(given) + b"\0")


class PgProxy:
    """A proxy on loopback in front of a server's unix socket, with one thread per connection; a context manager.

    Attributes:
        faults: taken in their order: the first one waits for its statement.
        statements: SQL texts in the order in which they came, from all connections.
        port: where it listens.
    """

    def __init__(self, backend: Path, *, tls: tuple[Path, Path] | None = None, password: str | None = None) -> None:
        """Listen.

        Args:
            backend: the unix socket of a server that asks nobody for a password.
            tls: certificate and key; without them clients that ask for TLS are told that there is none.
            password: what every client has to give.
        """
        self.faults: deque[Fault] = deque()
        self.statements: list[str] = []
        self.backend = backend
        self.password = password
        self.tls: ssl.SSLContext | None = None
        if tls is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.hang_up()

    def dsn(self, database: str, **parameters: str) -> str:
        """A libpq URI that leads here. `user` and `password` may be among the parameters of the connection."""
        user = parameters.pop("user", "postgres")
        password = parameters.pop("password", self.password)
        who = quote(user) if password is None else f"{quote(user)}:{quote(password, safe='')}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{quote(database)}?{urlencode(parameters)}".removesuffix("?")

    def take_fault(self, sql: str) -> Fault | None:
        """The first fault, if it is meant for this statement."""
        with self._lock:
            if self.faults and re.search(self.faults[0].match, sql, re.IGNORECASE):
                return self.faults.popleft()
        return None

    def session(self, client: socket.socket) -> "Session":
        """What serves a client; others in derived classes."""
        return Session(self, client)

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                session = proxy.session(self.request)
                with proxy._lock:
                    proxy._sessions.add(session)
                try:
                    session.run()
                finally:
                    with proxy._lock:
                        proxy._sessions.discard(session)

        return Handler


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Its session has closed it."""


class Gone(Exception):  # noqa: N818 - no error: it ends a session
    """One end of the connection is closed, or shall be."""


class Wire:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def read_exactly(self, size: int) -> bytes:
        """So many bytes and not one more: what follows may have to be read by TLS."""
        data = b""
        while len(data) < size:
            data += self._receive(size - len(data))
        return data

    def fill(self) -> None:
        """Take what has come.

        Raises:
            Gone: the other side has closed.
        """
        self._buffer += self._receive(1 << 18)
        while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            self._buffer += self._receive(self.socket.pending())

    def take(self) -> list[Message]:
        """The messages that have come as a whole."""
        messages, start = [], 0
        while len(self._buffer) >= start + 5:
            end = start + 1 + int.from_bytes(self._buffer[start + 1 : start + 5])
            if end > len(self._buffer):
                break
            messages.append(Message(bytes(self._buffer[start : start + 1]), bytes(self._buffer[start + 5 : end])))
            start = end
        del self._buffer[:start]
        return messages

    def close(self) -> None:
        """Hang up, whoever waits."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _receive(self, size: int) -> bytes:
        data = self.socket.recv(size)
        if not data:
            raise Gone
        return data


class Session:
    """One client and its session at the server. Derived classes change what they want changed.

    Attributes:
        status: of the transaction, as the server said last: `I` for none, `T` for open, `E` for failed.
    """

    def __init__(self, proxy: PgProxy, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.proxy = proxy
        self.client = Wire(client)
        self.backend = Wire(socket.socket(socket.AF_UNIX))
        self.status = b"I"
        self._lose_with: bytes | None = None  # the kind of message after which the client gets no more answers
        self._is_lost = False
        self._skips_to_sync = False

    def run(self) -> None:
        """Serve until one of the two is gone."""
        with contextlib.suppress(Gone, OSError), contextlib.closing(self.client), contextlib.closing(self.backend):
            if self._greet():
                self._serve()

    def hang_up(self) -> None:
        """End it, from another thread."""
        for wire in (self.client, self.backend):
            with contextlib.suppress(OSError):
                wire.socket.shutdown(socket.SHUT_RDWR)

    def startup(self, parameters: dict[str, str]) -> dict[str, str]:
        """The parameters with which to begin at the server.

        Raises:
            SqlError: the client is refused.
        """
        return parameters

    def on_backend(self, answer: Message) -> bytes:
        """What the client gets of a message of the server."""
        return answer.raw()

    def on_client(self, request: Message) -> None:
        """Act on a message of the client that no fault is for."""
        self.backend.send(request.raw())

    def exchange(self, sql: str) -> list[Message]:
        """The server's answers to a statement that the client knows nothing of."""
        self.backend.send(message(b"Q", sql.encode() + b"\0"))
        return self.read_until(b"Z")

    def read_until(self, *kinds: bytes) -> list[Message]:
        """The server's messages up to one of these kinds, or until it is ready."""
        answers: list[Message] = []
        while not any(answer.kind in (*kinds, b"Z") for answer in answers):
            self.backend.fill()
            answers += self.backend.take()
        for answer in answers:
            if answer.kind == b"Z":
                self.status = answer.body
        return answers

    def finish(self, answers: bytes) -> None:
        """Answer, and be ready for the next statement."""
        if self._is_lost:
            raise Gone
        self.client.send(answers + message(b"Z", self.status))

    def fail(self, error: SqlError) -> None:
        """Answer an error. An open transaction has truly failed: the server gets an error of its own."""
        if self.status == _IN_TRANSACTION:
            self.exchange(_FAILING)
        self.finish(error.response())

    def refuse_extended(self, error: SqlError) -> None:
        """Answer an error to a message of the extended protocol: what follows it is skipped, up to the next Sync."""
        if self.status == _IN_TRANSACTION:
            self.exchange(_FAILING)
        self.client.send(error.response())
        self._skips_to_sync = True

    def _greet(self) -> bool:
        while True:
            size, code = struct.unpack("!II", self.client.read_exactly(8))
            rest = self.client.read_exactly(size - 8)
            if code == _SSL_REQUEST and self.proxy.tls is not None:
                self.client.send(b"S")
                self.client = Wire(self.proxy.tls.wrap_socket(self.client.socket, server_side=True))
            elif code in (_SSL_REQUEST, _GSSENC_REQUEST):
                self.client.send(b"N")
            else:
                break
        if code != _CANCEL_REQUEST:
            try:
                rest = self._welcome(rest)
            except SqlError as error:
                self.client.send(error.response("FATAL"))
                return False
        self.backend.socket.connect(str(self.proxy.backend))
        self.backend.send(struct.pack("!II", len(rest) + 8, code) + rest)
        return bool(code != _CANCEL_REQUEST)

    def _welcome(self, startup: bytes) -> bytes:
        texts = [text.decode() for text in startup.rstrip(b"\0").split(b"\0")]
        if len(texts) % 2:
            texts.append("")  # of an empty value at the end
        parameters = dict(zip(texts[::2], texts[1::2], strict=True))
        if self.proxy.password is not None:
            self._ask_for_password(parameters["user"], self.proxy.password)
        parameters = self.startup(parameters)
        return b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"

    def _ask_for_password(self, user: str, password: str) -> None:
        salt = os.urandom(4)
        self.client.send(message(b"R", struct.pack("!I", 5) + salt))  # MD5, which every libpq can
        _, size = struct.unpack("!cI", self.client.read_exactly(5))
        given = self.client.read_exactly(size - 4).rstrip(b"\0").decode()
        if given != "md5" + _md5(_md5(password.encode() + user.encode()).encode() + salt):
            raise SqlError("28P01", f'password authentication failed for user "{user}"')

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for wire in (self.backend, self.client):
                selector.register(wire.socket, selectors.EVENT_READ, wire)
            while True:
                for ready in [key.data for key, _ in selector.select()]:
                    ready.fill()
                self._pass_answers(self.backend.take())
                for request in self.client.take():
                    self._take(request)

    def _pass_answers(self, answers: list[Message]) -> None:
        passed = [self.on_backend(answer) for answer in answers]
        if not self._is_lost:
            self.client.send(b"".join(passed))
        for answer in answers:
            if answer.kind == b"Z":
                self.status = answer.body
                if self._is_lost:
                    raise Gone

    def _take(self, request: Message) -> None:
        if self._skips_to_sync:
            if request.kind == b"S":
                self._skips_to_sync = False
                self.client.send(message(b"Z", self.status))
            return
        if request.kind in (b"Q", b"P") and not self._survives(request):
            return
        if request.kind == self._lose_with:
            self._is_lost = True
        self.on_client(request)

    def _survives(self, request: Message) -> bool:
        """Whether a statement is to be carried out, after what was planned for it."""
        sql = request.text(0 if request.kind == b"Q" else 1)
        self.proxy.statements.append(sql)
        fault = self.proxy.take_fault(sql)
        if fault is None:
            return True
        if callable(fault.action):
            fault.action()
        elif fault.action == "lose before":
            raise Gone
        elif fault.action == "lose after":
            self._lose_with = b"Q" if request.kind == b"Q" else b"E"  # what is parsed is carried out by an Execute
        else:
            self._answer_error(fault.action, request.kind)
            return False
        return True

    def _answer_error(self, action: str, kind: bytes) -> None:
        _, sqlstate, text = action.split(":", 2)
        answer = self.fail if kind == b"Q" else self.refuse_extended
        answer(SqlError(sqlstate, text))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
