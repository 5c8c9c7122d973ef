"""An S3 on loopback: moto's server, with faults on demand.

What it cannot prove: IAM, TLS, throttling, regions, and how long S3 takes. moto first looks whether an object exists
and then puts it, and nothing keeps another thread from doing the same in between; real S3 decides conditional PUTs
atomically. So here requests that change something are let in one at a time.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Self

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = str | tuple[str, str] | Callable[[], object]

_bucket_numbers = count()
"""Of a process: all servers in it share moto's buckets."""

BUSY = ("503 Slow Down", "SlowDown")


class S3Standin:
    """A running server; a context manager.

    Attributes:
        environment: variables that lead boto3 here, in this process and in children.
        faults: taken one by one by the next GETs, HEADs and PUTs of objects: an HTTP status and S3's error code are
            answered and nothing is done, ``"lose"`` does it and answers 503 nevertheless, ``"break off"`` sends half of
            the body, a callable is called before the answer.
    """

    def __init__(self) -> None:
        self.faults: deque[Fault] = deque()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}",
            "AWS_ACCESS_KEY_ID": "standin",
            "AWS_SECRET_ACCESS_KEY": "standin",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def client(self) -> Any:
        """A boto3 client of this server, for looking behind the lake's back."""
        names = {"AWS_ENDPOINT_URL": "endpoint_url", "AWS_DEFAULT_REGION": "region_name"}
        names |= {name: name.lower() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return boto3.client("s3", **{names[name]: value for name, value in self.environment.items()})

    def new_bucket(self) -> str:
        """The name of a bucket that was just created."""
        name = f"bucket-{next(_bucket_numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        is_object = environ["PATH_INFO"].count("/") >= 2
        fault = self.faults.popleft() if self.faults and is_object and method in ("GET", "HEAD", "PUT") else None
        if callable(fault):
            fault()
        if isinstance(fault, tuple):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _refusal(*fault, start_response)
        if fault == "break off":
            body = b"".join(self._moto(environ, start_response))
            return [body[: len(body) // 2]]
        if method == "GET":
            return self._moto(environ, start_response)
        with self._lock:
            if fault == "lose":
                self._moto(environ, lambda *_answer: None)
                return _refusal(*BUSY, start_response)
            return self._moto(environ, start_response)


def _refusal(status: str, code: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>The stand-in was told to say so.</Message></Error>".encode()]


class _Quiet(WSGIRequestHandler):
    def log(self, *_what: object) -> None:
        """Say nothing."""
