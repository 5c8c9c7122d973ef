"""The public API of chargecloud: `GET <url>/<feed>`, JSON, no authentication.

Proxies and an own CA come from the variables that `requests` reads: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`,
`REQUESTS_CA_BUNDLE`. Credentials in a proxy's or in the API's address are used and never shown.
"""

import dataclasses
import datetime as dt
import email.utils
import http.client
import itertools
import os
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
import requests
import requests.adapters
import urllib3
import urllib3.connection

from charging_assets import __version__
from charging_assets.model.answer import Answer
from charging_assets.settings import Settings, check_feed
from charging_assets.sources.connection import DeadlineAdapter, causes, cut_at, is_cut
from charging_assets.sources.source import FeedState

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
"""Longest silence of a server; how long a whole answer may take is the deadline's business."""
ATTEMPTS = 4
BACKOFF_S = 1.0
"""Wait before the second attempt; doubles, each time with a jitter of half."""
MAX_BODY_BYTES = 64 * 2**20
"""Of the decoded body; a real feed answers 0.1 to 2 MB."""
MAX_REDIRECTS = 3
_CHUNK_BYTES = 64 * 2**10


class ChargecloudSource:
    """chargecloud's feeds at one address.

    Args:
        url: `http(s)://[user:password@]host[:port][/path]` without a trailing slash.
        feeds: City or operator slugs.
        contact: Mail address or URL for the User-Agent.
        name: Who answers there; see `Source.name`.
    """

    def __init__(self, url: str, feeds: tuple[str, ...], contact: str | None = None, name: str = "chargecloud") -> None:
        self.name = name
        self.feeds = feeds
        parts = urlsplit(url)
        self._url = parts._replace(netloc=_bare(parts.netloc)).geturl()
        self._auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._agent = f"charging_assets/{__version__}" + (f" (+{contact})" if contact else "")
        self._idle: deque[requests.Session] = deque()

    @classmethod
    def from_settings(cls, settings: Settings) -> "ChargecloudSource":
        """The source that the settings describe."""
        return cls(settings.chargecloud_url, settings.feeds, settings.contact, settings.source)

    def fetch(self, feed: str, deadline: float) -> Answer:
        """See `Source.fetch`; asks again after 429, 5xx and lost connections while the deadline allows."""
        try:
            url = f"{self._url}/{check_feed(feed)}"
        except ValueError as error:
            return Answer(feed, error=str(error))
        with self._session() as session, cut_at(deadline):
            return _ask(session, feed, url, deadline)

    def state(self, answer: Answer) -> FeedState:
        """See `Source.state`."""
        return feed_state(answer)

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A session that no other thread has: sessions are not thread-safe, and a new one costs a TLS handshake."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = _Session()
            session.auth = self._auth
            session.headers.update(
                {"User-Agent": self._agent, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
            )
            session.mount("https://", DeadlineAdapter())
            session.mount("http://", DeadlineAdapter())
        try:
            yield session
        finally:
            self._idle.append(session)


def feed_state(answer: Answer) -> FeedState:
    """What an answer says about its feed: `alive` (has locations), `empty` (has none) or `gone` (all else)."""
    if answer.error is not None:
        return FeedState("gone", answer.error)
    try:
        envelope = msgspec.json.decode(answer.body, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return FeedState("gone", f"expected a JSON object with a list `data`, got {len(answer.body):,} bytes: {error}")
    at = f", as of {envelope.timestamp}" if isinstance(envelope.timestamp, str) else ""
    if not envelope.data:
        return FeedState("empty", f"answers without locations{at}: the feed may have been renamed or given up")
    return FeedState("alive", f"{len(envelope.data):,} locations{at}")


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]
    timestamp: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    answer: Answer
    is_transient: bool
    retry_after_s: float


def _ask(session: requests.Session, feed: str, url: str, deadline: float) -> Answer:
    begun = time.monotonic()
    for attempts in itertools.count(1):
        attempt = _attempt(session, feed, url, deadline)
        answer = attempt.answer
        error = answer.error
        if (answer.http_status is None or answer.is_truncated) and time.monotonic() >= deadline:
            got = f", cut off at byte {answer.bytes_total:,}" if answer.bytes_total else ""
            error = f"no complete answer within {max(0.0, deadline - begun):.1f} s{got}"
            break
        if not attempt.is_transient or attempts == ATTEMPTS:
            break
        backoff = BACKOFF_S * 2 ** (attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
        wait = max(backoff, attempt.retry_after_s)
        if time.monotonic() + wait >= deadline:
            if wait > backoff:
                error = f"{error}; it asks to wait {wait:.0f} s, longer than this poll can"
            break
        time.sleep(wait)
    if error is not None and attempts > 1:
        error = f"{error} after {attempts} attempts"
    return dataclasses.replace(answer, attempts=attempts, error=error)


def _attempt(session: requests.Session, feed: str, url: str, deadline: float) -> _Attempt:
    answer = Answer(feed, url=url, requested_at=dt.datetime.now(dt.UTC))
    body = bytearray()
    received = 0
    error: str | None = None
    is_transient = False
    is_truncated = False
    retry_after_s = 0.0
    try:
        response, refusal = _open(session, url, deadline)
        with response:
            status = response.status_code
            answer = dataclasses.replace(
                answer,
                received_at=dt.datetime.now(dt.UTC),
                http_status=status,
                content_type=response.headers.get("Content-Type"),
            )
            if refusal is not None or status != http.client.OK:
                error = refusal or f"HTTP {status}"
                is_transient = status == http.client.TOO_MANY_REQUESTS or status >= 500
                retry_after_s = _seconds(response.headers.get("Retry-After"))
            # read1 returns what one receive brought; read(n) waits for n bytes and loses them when the server resets
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                received += len(chunk)
                body += chunk[: MAX_BODY_BYTES - len(body)]
                answer = dataclasses.replace(answer, received_at=dt.datetime.now(dt.UTC))
                if received > MAX_BODY_BYTES:
                    error, is_transient, is_truncated = error or f"cut at {MAX_BODY_BYTES // 2**20} MiB", False, True
                    break
            if is_cut():  # without a length, or within the header, the cut looks like the answer's end
                raise TimeoutError
            if error is None and not received:
                error, is_transient = "HTTP 200 without a body", True
    except Exception as fault:  # noqa: BLE001 - requests raises more than it documents: TypeError for the proxy http://me@
        if answer.http_status is None:
            error, is_transient = _explain(fault, session, url)
        else:
            is_truncated = True
            if error is None:
                what = "compression" if isinstance(fault, urllib3.exceptions.DecodeError) else "connection"
                error, is_transient = f"the {what} broke off at byte {received:,}", True
    answer = dataclasses.replace(answer, body=bytes(body), bytes_total=received, is_truncated=is_truncated, error=error)
    return _Attempt(answer, is_transient, retry_after_s)


def _open(session: requests.Session, url: str, deadline: float) -> tuple[requests.Response, str | None]:
    """The response behind harmless redirects, its body unread; or the first other one and why it is not followed."""
    for hops in itertools.count(1):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        timeouts = (min(CONNECT_TIMEOUT_S, left), min(READ_TIMEOUT_S, left))
        response = session.get(url, stream=True, allow_redirects=False, timeout=timeouts)
        if not response.is_redirect:
            break
        here, target = urlsplit(url), urlsplit(urljoin(url, response.headers["Location"]))
        target = target._replace(netloc=_bare(target.netloc))
        shown = requests.utils.requote_uri(target._replace(query="", fragment="").geturl()[:200])
        if target.hostname != here.hostname:
            return response, f"redirected to another host, which is not followed: {shown}"
        if target.scheme not in {"https", here.scheme}:
            return response, f"redirected away from https, which is not followed: {shown}"
        if hops > MAX_REDIRECTS:
            return response, f"more than {MAX_REDIRECTS} redirects, the last one to {shown}"
        response.close()
        url = target.geturl()
    return response, None


def _seconds(retry_after: str | None) -> float:
    """`Retry-After`, a number of seconds or an HTTP date, as seconds from now; 0 when absent or unreadable."""
    if retry_after is None:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _explain(fault: Exception, session: requests.Session, url: str) -> tuple[str, bool]:
    """A sentence for what `requests` raised before a response came, and whether asking again may help.

    The texts of `requests` and `urllib3` are not used: they are nested representations of objects, and some hold the
    proxy's address with its password.
    """
    chain = list(causes(fault))
    host = _host_and_port(url)
    if isinstance(fault, requests.exceptions.ProxyError):
        proxies = session.merge_environment_settings(url, {}, None, None, None)["proxies"]
        host = "the proxy " + _bare(requests.utils.select_proxy(url, proxies) or "").rpartition("//")[2].strip("/")
    for cause in chain:
        match cause:
            case ssl.SSLCertVerificationError():
                advice = "an own CA's file goes into REQUESTS_CA_BUNDLE"
                return f"the certificate of {host} is not trusted: {cause.verify_message} ({advice})", False
            case ssl.SSLError():
                return f"no TLS connection to {host}: {(cause.reason or 'ended early').replace('_', ' ').lower()}", True
            case socket.gaierror():
                return f"no connection to {host}: the name cannot be resolved", True
            case urllib3.exceptions.ConnectTimeoutError() if not isinstance(
                cause, urllib3.exceptions.NewConnectionError
            ):
                return f"no connection to {host} within {CONNECT_TIMEOUT_S:.0f} s", True
            case urllib3.exceptions.ReadTimeoutError() | TimeoutError():
                return f"no answer from {host} within {READ_TIMEOUT_S:.0f} s", True
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return f"{host} closed the connection without an answer", True
            case OSError(errno=int(number)):
                return f"no connection to {host}: {os.strerror(number).lower()}", True
            case http.client.HTTPException():
                return f"{host} does not speak HTTP: {type(cause).__name__}", True
    if type(fault) is OSError:  # requests' own: REQUESTS_CA_BUNDLE names a file that is not there
        return str(fault), False
    if isinstance(fault, requests.exceptions.ProxyError):
        return f"no way through {host}: {str(chain[-1])[:100]}", True
    return (
        f"{host} cannot be asked: {type(fault).__name__} (check CHARGING_ASSETS_CHARGECLOUD_URL and HTTPS_PROXY)",
        False,
    )


def _bare(netloc: str) -> str:
    """An address without its `user:password@`."""
    return netloc.rpartition("@")[2]


def _host_and_port(url: str) -> str:
    parts = urlsplit(url)
    netloc = _bare(parts.netloc)
    return netloc if parts.port else f"{netloc}:{443 if parts.scheme == 'https' else 80}"


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """None: `_open` judges redirects. Told not to follow one, requests would still read its body, however long."""
        return None
