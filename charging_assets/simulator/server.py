"""The simulation over HTTP: answers like chargecloud's API, and fails on demand.

    GET    /<feed>          what the feed publishes at this moment of simulated time
    GET    /_faults         the faults that go on, as {feed: fault}
    POST   /_faults         {"feed": "koeln", "fault": "frozen"}; ends the feed's fault before it
    DELETE /_faults/<feed>  ends the feed's fault

It listens on this machine only, and knows nobody: whoever can reach it may set faults.
"""

import datetime as dt
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.calendar import utc_now
from charging_assets.model.arrow import TIMESTAMP
from charging_assets.simulator.answers import empty_answer
from charging_assets.simulator.simulation import FREEZE_KINDS, FreezeKind, Simulation
from charging_assets.simulator.truth import write_truth

ServedKind = Literal["http_500", "html", "truncated", "slow", "unknown"]
FaultKind = ServedKind | FreezeKind
FAULT_KINDS: tuple[FaultKind, ...] = (*get_args(ServedKind), *FREEZE_KINDS)

SLOW_S = 60.0
"""How long a slow answer takes by default: longer than a poll of 38 feeds every 10 minutes waits for one, 48 s."""

_SLOW_PIECES = 100
_MOST_BYTES = 10_000
"""A request to set a fault has about 40."""
_ERROR_PAGE = b'{"status_code":2000,"status_message":"Internal Server Error"}'
_HTML_PAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"


@dataclass(frozen=True, slots=True)
class ServedFault:
    """A feed that failed, or published something else than it should, in simulated time."""

    feed: str
    kind: FaultKind
    start: dt.datetime
    end: dt.datetime | None
    """None: it goes on."""


class SimulatedServer:
    """Serves a simulation on 127.0.0.1; a context manager that answers inside its block.

    Args:
        simulation: who answers.
        port: where to listen; 0 takes a free one.
        speed: seconds of simulated time per second. Simulated time begins now; at speed 1 it is the clock's.
        faults: of feeds, from the beginning on.
        slow_s: how long the answer of a feed with the fault `slow` takes, a piece at a time.

    Attributes:
        url: where it listens, without a trailing slash.

    Raises:
        OSError: the port is in use, or not this user's to take.
        ValueError: a fault is of an unknown feed or kind, or simulated time lies outside of the world.
    """

    def __init__(
        self,
        simulation: Simulation,
        port: int = 0,
        *,
        speed: float = 1.0,
        faults: Mapping[str, str] | None = None,
        slow_s: float = SLOW_S,
    ) -> None:
        self._simulation, self._speed, self._slow_s = simulation, speed, slow_s
        self._faults: dict[str, ServedFault] = {}
        self._past_faults: list[ServedFault] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._started = utc_now()
        self._started_clock = time.monotonic()
        self._http = _HTTPServer(("127.0.0.1", port), _handler(self), bind_and_activate=False)
        try:
            self._http.server_bind()
            for feed, kind in (faults or {}).items():
                self.set_fault(feed, kind)
            # The first question costs seconds, which nobody shall wait for who has connected.
            for feed in simulation.world.feeds:
                simulation.answer(feed, self.now())
            self._http.server_activate()
        except BaseException:
            self._http.server_close()
            raise
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="simulator", daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def now(self) -> dt.datetime:
        """Simulated time, in whole seconds as the simulation has them."""
        if self._speed == 1:
            return utc_now()  # follows the clock where that is set
        elapsed = time.monotonic() - self._started_clock
        return (self._started + dt.timedelta(seconds=self._speed * elapsed)).replace(microsecond=0)

    def faults(self) -> dict[str, str]:
        """The faults that go on, by feed."""
        with self._lock:
            return {feed: fault.kind for feed, fault in self._faults.items()}

    def set_fault(self, feed: str, kind: str) -> None:
        """Have a feed fail from now on, instead of how it failed before.

        Raises:
            ValueError: there is no such feed, or no such fault.
        """
        known = next((known for known in FAULT_KINDS if known == kind), None)
        if known is None:
            raise ValueError(f"{kind!r} is no fault: expected one of {', '.join(FAULT_KINDS)}")
        if feed not in self._simulation.world.feeds:
            raise ValueError(f"{feed!r} cannot fail: expected one of {', '.join(self._simulation.world.feeds)}")
        with self._lock:
            now = self.now()
            self._end_fault(feed, now)
            if known in FREEZE_KINDS:
                self._simulation.freeze(feed, known, now)
            self._faults[feed] = ServedFault(feed, known, now, None)

    def clear_fault(self, feed: str) -> bool:
        """End a feed's fault; returns whether there was one."""
        with self._lock:
            return self._end_fault(feed, self.now())

    def _end_fault(self, feed: str, now: dt.datetime) -> bool:
        fault = self._faults.pop(feed, None)
        if fault is None:
            return False
        if fault.kind in FREEZE_KINDS:
            self._simulation.thaw(feed, now)
        self._past_faults.append(replace(fault, end=now))
        return True

    def write_truth(self, folder: Path) -> dict[str, int]:
        """Write what happened since the server began, and how it failed (`served_faults`); see `truth.write_truth`.

        Raises:
            OSError: the folder cannot be written.
        """
        # A second later, so that a server that ran for less than one has a span.
        rows = write_truth(self._simulation, folder, self._started, self.now() + dt.timedelta(seconds=1))
        with self._lock:
            faults = [*self._past_faults, *self._faults.values()]
        schema = pa.schema(
            {"feed": pa.string(), "kind": pa.string(), "started_at": TIMESTAMP, "ended_at": TIMESTAMP}.items()
        )
        table = pa.table(
            [[getattr(fault, name) for fault in faults] for name in ("feed", "kind", "start", "end")], schema=schema
        )
        pq.write_table(table, folder / "served_faults.parquet", compression="zstd")
        return {**rows, "served_faults": table.num_rows}

    def reply(self, feed: str) -> "_Reply":
        """What a feed answers now."""
        with self._lock:
            fault = self._faults.get(feed)
        kind = fault.kind if fault else None
        now = self.now()
        if kind == "http_500":
            return _Reply(_ERROR_PAGE, HTTPStatus.INTERNAL_SERVER_ERROR)
        if kind == "html":
            return _Reply(_HTML_PAGE, content_type="text/html")
        if kind == "unknown":
            return _Reply(empty_answer(int(now.timestamp())))
        try:
            body = self._simulation.answer(feed, now)
        except ValueError as error:  # a fast server comes to the end of its world
            return _Reply(str(error).encode(), HTTPStatus.SERVICE_UNAVAILABLE, "text/plain")
        if kind == "truncated":
            return _Reply(body[: len(body) // 2])
        return _Reply(body, is_slow=kind == "slow")

    def dawdle(self) -> bool:
        """Wait before the next piece of a slow answer; returns whether the server goes on."""
        return not self._closing.wait(self._slow_s / _SLOW_PIECES)


@dataclass(frozen=True, slots=True)
class _Reply:
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "application/json"
    is_slow: bool = False


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients come and go
            super().handle_error(request, client_address)


def _handler(server: SimulatedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # header and body are two writes: the second would wait 40 ms for the first
        timeout = 120

        def do_GET(self) -> None:
            path = self._path()
            self._send(_json(server.faults()) if path == "_faults" else server.reply(path))

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if self._path() != "_faults" or not size.isdecimal() or int(size) > _MOST_BYTES:
                self.close_connection = True  # the body is not read
                self._send(_refusal('expected POST /_faults with {"feed": "…", "fault": "…"}'))
                return
            body = self.rfile.read(int(size))
            try:
                asked = json.loads(body)
                server.set_fault(asked["feed"], asked["fault"])
            except (KeyError, TypeError) as error:
                self._send(_refusal(f'expected {{"feed": "…", "fault": "…"}}, got {body!r} ({error})'))
            except ValueError as error:  # also what is no JSON
                self._send(_refusal(str(error)))
            else:
                self._send(_json(server.faults()))

        def do_DELETE(self) -> None:
            feed = self._path().removeprefix("_faults/")
            if server.clear_fault(feed):
                self._send(_json(server.faults()))
            else:
                self._send(_refusal(f"{feed!r} has no fault: expected DELETE /_faults/<feed>", HTTPStatus.NOT_FOUND))

        def _path(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix("/")

        def _send(self, reply: _Reply) -> None:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if not reply.is_slow:
                self.wfile.write(reply.body)
                return
            piece = len(reply.body) // _SLOW_PIECES + 1
            for start in range(0, len(reply.body), piece):
                if not server.dawdle():
                    self.close_connection = True
                    return
                self.wfile.write(reply.body[start : start + piece])

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal belongs to whoever started the server."""

    return Handler


def _json(value: Any) -> _Reply:
    return _Reply(json.dumps(value).encode())


def _refusal(sentence: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> _Reply:
    return _Reply(json.dumps({"error": sentence}, ensure_ascii=False).encode(), status)
