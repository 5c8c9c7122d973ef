import datetime as dt
import email.utils
import gzip
import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from charging_assets import __version__
from charging_assets.model.answer import Answer
from charging_assets.settings import Settings
from charging_assets.sources import ChargecloudSource, chargecloud, feed_state
from charging_assets_tests.standins.chargecloud import ChargecloudStandin, Reply

GOOD = b'{"data": [{"id": "1"}], "status_code": 1000, "timestamp": "2024-10-23T13:16:09+02:00"}'


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(chargecloud, "BACKOFF_S", 0.01)


def fetch(url: str, feed: str = "koeln", seconds: float = 10.0, contact: str | None = None) -> Answer:
    return ChargecloudSource(url, (feed,), contact).fetch(feed, time.monotonic() + seconds)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_good_answer_is_kept_byte_for_byte() -> None:
    before = dt.datetime.now(dt.UTC)
    with ChargecloudStandin({"koeln": Reply(GOOD, headers={"Content-Type": "application/json"})}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.bytes_total, answer.is_truncated, answer.error) == (GOOD, len(GOOD), False, None)
    assert (answer.feed, answer.url, answer.attempts) == ("koeln", f"{api.url}/koeln", 1)
    assert (answer.http_status, answer.content_type) == (200, "application/json")
    assert answer.requested_at
    assert answer.received_at
    assert before <= answer.requested_at <= answer.received_at <= dt.datetime.now(dt.UTC)


def test_a_compressed_answer_is_kept_decoded() -> None:
    reply = Reply(gzip.compress(GOOD), headers={"Content-Encoding": "gzip"})
    with ChargecloudStandin({"koeln": reply}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.bytes_total, answer.error) == (GOOD, len(GOOD), None)


def test_a_chunked_answer_is_read_to_its_end() -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:10], GOOD[10:])) + b"0\r\n\r\n"
    with ChargecloudStandin({"koeln": Reply(chunked, headers={"Transfer-Encoding": "chunked"})}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.error) == (GOOD, None)


@pytest.mark.parametrize(
    ("contact", "agent"),
    [
        (None, f"charging_assets/{__version__}"),
        ("me@example.org", f"charging_assets/{__version__} (+me@example.org)"),
    ],
)
def test_the_user_agent_names_the_project_and_the_contact(contact: str | None, agent: str) -> None:
    with ChargecloudStandin({"koeln": Reply()}) as api:
        fetch(api.url, contact=contact)
    assert api.requests[0].headers["User-Agent"] == agent


def test_the_settings_name_address_feeds_and_contact() -> None:
    with ChargecloudStandin({"bonn": Reply()}) as api:
        names = {"CHARGECLOUD_URL": api.url, "FEEDS": "bonn", "CONTACT": "https://example.org"}
        source = ChargecloudSource.from_settings(
            Settings.from_env({f"CHARGING_ASSETS_{name}": value for name, value in names.items()})
        )
        answer = source.fetch(source.feeds[0], time.monotonic() + 10)
    assert (source.name, source.feeds, answer.http_status) == ("chargecloud", ("bonn",), 200)
    assert "https://example.org" in api.requests[0].headers["User-Agent"]


def test_one_connection_serves_many_feeds() -> None:
    with ChargecloudStandin({name: Reply(GOOD) for name in ("a", "b", "c")}) as api:
        source = ChargecloudSource(api.url, ("a", "b", "c"))
        for feed in source.feeds:
            assert source.fetch(feed, time.monotonic() + 10).body == GOOD
    assert api.connections == 1


@pytest.mark.parametrize("name", ["../admin", "a/b", "a b", "", "a?x=1", "ä", "a" * 65, "a\r\nHost: b"])
def test_a_name_that_is_no_feed_is_never_requested(name: str) -> None:
    with ChargecloudStandin({}) as api:
        answer = fetch(api.url, name)
    assert api.requests == []
    assert answer.attempts == 0
    assert "cannot be a feed's name" in (answer.error or "")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_feed_that_recovers_is_asked_again(status: int) -> None:
    with ChargecloudStandin({"koeln": [Reply(b"busy", status), Reply(b"busy", status), Reply(GOOD)]}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.attempts, answer.error) == (GOOD, 3, None)


def test_a_feed_that_stays_broken_is_left_after_four_attempts_and_its_last_body_is_kept() -> None:
    with ChargecloudStandin({"koeln": Reply(b"<html>down</html>", 503)}) as api:
        answer = fetch(api.url)
    assert api.asked("koeln") == answer.attempts == 4
    assert (answer.body, answer.http_status) == (b"<html>down</html>", 503)
    assert answer.error == "HTTP 503 after 4 attempts"


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410])
def test_a_refusal_is_final(status: int) -> None:
    body = b"" if status == 204 else b"no"
    with ChargecloudStandin({"koeln": Reply(body, status)}) as api:
        answer = fetch(api.url)
    assert api.asked("koeln") == 1
    assert (answer.error, answer.body) == (f"HTTP {status}", body)


def test_the_server_s_retry_after_is_waited_for() -> None:
    with ChargecloudStandin({"koeln": [Reply(b"", 429, {"Retry-After": "1"}), Reply(GOOD)]}) as api:
        begun = time.monotonic()
        answer = fetch(api.url)
    assert answer.body == GOOD
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_beyond_the_deadline_ends_the_attempts_at_once(form: str) -> None:
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    reply = Reply(b"slow down", 429, {"Retry-After": "3600" if form == "seconds" else later})
    with ChargecloudStandin({"koeln": reply}) as api:
        begun = time.monotonic()
        answer = fetch(api.url)
    assert time.monotonic() - begun < 5
    assert (answer.attempts, answer.body) == (1, b"slow down")
    assert (answer.error or "").startswith("HTTP 429; it asks to wait 3")


def test_a_retry_after_that_is_nonsense_is_ignored() -> None:
    with ChargecloudStandin({"koeln": [Reply(b"", 503, {"Retry-After": "soon"}), Reply(GOOD)]}) as api:
        assert fetch(api.url).body == GOOD


def test_a_refused_connection_is_named() -> None:
    port = closed_port()
    answer = fetch(f"http://127.0.0.1:{port}")
    assert answer.error == f"no connection to 127.0.0.1:{port}: connection refused after 4 attempts"
    assert (answer.attempts, answer.http_status, answer.received_at, answer.body) == (4, None, None, b"")


def test_an_unknown_host_is_named() -> None:
    answer = fetch("http://nowhere.invalid")
    assert "nowhere.invalid:80: the name cannot be resolved" in (answer.error or "")


def test_a_connection_that_is_reset_without_an_answer_is_tried_again() -> None:
    with ChargecloudStandin({"koeln": [Reply(fault="garbage"), Reply(GOOD)]}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.attempts) == (GOOD, 2)


def test_an_answer_without_a_body_is_no_answer() -> None:
    with ChargecloudStandin({"koeln": [Reply(b""), Reply(GOOD)], "bonn": Reply(b"")}) as api:
        assert fetch(api.url).body == GOOD
        assert fetch(api.url, "bonn").error == "HTTP 200 without a body after 4 attempts"


def test_an_answer_that_is_not_http_is_named() -> None:
    with ChargecloudStandin({"koeln": Reply(fault="garbage")}) as api:
        answer = fetch(api.url)
    assert "does not speak HTTP" in (answer.error or "")


def test_a_connection_lost_in_the_body_keeps_what_came() -> None:
    reply = Reply(GOOD[:20], headers={"Content-Length": str(len(GOOD))}, fault="close")
    with ChargecloudStandin({"koeln": reply}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.bytes_total, answer.is_truncated) == (GOOD[:20], 20, True)
    assert answer.error == "the connection broke off at byte 20 after 4 attempts"


def test_a_connection_lost_in_the_body_is_tried_again() -> None:
    broken = Reply(GOOD[:20], headers={"Content-Length": str(len(GOOD))}, fault="reset")
    with ChargecloudStandin({"koeln": [broken, Reply(GOOD)]}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.attempts, answer.is_truncated, answer.error) == (GOOD, 2, False, None)


def test_a_broken_compression_is_an_error_and_not_an_exception() -> None:
    reply = Reply(gzip.compress(GOOD)[:-8] + b"wrongsum", headers={"Content-Encoding": "gzip"})
    with ChargecloudStandin({"koeln": reply}) as api:
        answer = fetch(api.url)
    assert answer.is_truncated
    assert answer.error == "the compression broke off at byte 0 after 4 attempts"


@pytest.mark.parametrize("fault", ["silence", "drip header", "drip body"])
def test_a_server_that_dawdles_is_cut_at_the_deadline(fault: str) -> None:
    with ChargecloudStandin({"koeln": Reply(b"{", fault=fault)}) as api:  # type: ignore[arg-type]
        begun = time.monotonic()
        answer = fetch(api.url, seconds=0.8)
        took = time.monotonic() - begun
    assert 0.7 < took < 3
    assert (answer.error or "").startswith("no complete answer within 0.8 s")
    assert answer.attempts == 1
    if fault == "drip body":
        assert answer.body.startswith(b"{xxx")
        assert answer.is_truncated
        assert answer.bytes_total == len(answer.body)


def test_a_silent_server_is_left_after_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chargecloud, "READ_TIMEOUT_S", 0.2)
    with ChargecloudStandin({"koeln": [Reply(fault="silence"), Reply(GOOD)]}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.attempts) == (GOOD, 2)


def test_a_body_over_the_cap_keeps_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chargecloud, "MAX_BODY_BYTES", 2**20)
    with ChargecloudStandin({"koeln": Reply(b"y" * 3 * 2**20)}) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.is_truncated) == (b"y" * 2**20, True)
    assert (answer.error, answer.http_status, answer.attempts) == ("cut at 1 MiB", 200, 1)
    assert 2**20 < answer.bytes_total <= 2**20 + 2**16


def test_a_body_of_just_the_cap_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chargecloud, "MAX_BODY_BYTES", 2**20)
    with ChargecloudStandin({"koeln": Reply(b"y" * 2**20)}) as api:
        answer = fetch(api.url)
    assert (len(answer.body), answer.is_truncated, answer.error) == (2**20, False, None)


def test_a_compression_bomb_is_cut_at_64_mib_of_decoded_bytes() -> None:
    bomb = gzip.compress(b"\0" * (80 * 2**20), 1)
    with ChargecloudStandin({"koeln": Reply(bomb, headers={"Content-Encoding": "gzip"})}) as api:
        answer = fetch(api.url, seconds=60)
    assert (len(answer.body), answer.is_truncated, answer.error) == (64 * 2**20, True, "cut at 64 MiB")
    assert answer.bytes_total < 66 * 2**20


def test_redirects_within_the_host_are_followed() -> None:
    moved = {"koeln": Reply(b"", 301, {"Location": "/b"}), "b": Reply(b"", 307, {"Location": "c"}), "c": Reply(GOOD)}
    with ChargecloudStandin(moved) as api:
        answer = fetch(api.url)
    assert (answer.body, answer.attempts, answer.url) == (GOOD, 1, f"{api.url}/koeln")


def test_a_redirect_to_another_host_is_named_and_not_followed() -> None:
    with ChargecloudStandin({"koeln": Reply(GOOD)}) as other:
        target = f"http://me:hunter2@localhost:{other.port}/koeln?key=hunter2"
        with ChargecloudStandin({"koeln": Reply(b"moved", 302, {"Location": target})}) as api:
            answer = fetch(api.url)
    assert other.requests == []
    assert (answer.http_status, answer.body, answer.attempts) == (302, b"moved", 1)
    assert f"another host, which is not followed: http://localhost:{other.port}/koeln" in (answer.error or "")
    assert "hunter2" not in (answer.error or "")


def test_redirects_in_a_circle_end() -> None:
    with ChargecloudStandin({"koeln": Reply(b"", 302, {"Location": "/koeln"})}) as api:
        answer = fetch(api.url)
        assert answer.error == f"more than 3 redirects, the last one to {api.url}/koeln"
    assert api.asked("koeln") == 4


def test_a_redirect_s_own_body_is_not_read_to_its_end() -> None:
    endless = Reply(b"x", 302, {"Location": "/b"}, fault="drip body")
    with ChargecloudStandin({"koeln": endless, "b": Reply(GOOD)}) as api:
        assert fetch(api.url, seconds=5).body == GOOD


def test_a_redirect_to_an_address_that_is_none_is_an_error() -> None:
    with ChargecloudStandin({"koeln": Reply(b"", 302, {"Location": "http://[half"})}) as api:
        assert fetch(api.url).error is not None


def test_credentials_in_the_api_s_address_are_sent_and_never_shown() -> None:
    with ChargecloudStandin({"koeln": Reply(b"", 401)}) as api:
        answer = fetch(api.url.replace("//", "//me:hunt%40er2@"))
    assert api.requests[0].headers["Authorization"] == "Basic bWU6aHVudEBlcjI="
    assert "hunt" not in repr(answer)


class Proxy:
    """A CONNECT proxy on loopback; `refuse` makes it answer 407."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.targets: list[str] = []
        self.credentials: list[str | None] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.targets.append(self.path)
                proxy.credentials.append(self.headers["Proxy-Authorization"])
                if refuse:
                    self.send_error(407)
                    return
                host, _, port = self.path.rpartition(":")
                with socket.create_connection((host, int(port)), timeout=5) as far:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.flush()
                    ends = {self.connection: far, far: self.connection}
                    while True:
                        for end in select.select(list(ends), [], [], 5)[0]:
                            if not (data := end.recv(65536)):
                                return
                            ends[end].sendall(data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "own-ca.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_api(certificate: Path) -> Iterator[ChargecloudStandin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    feeds = {
        "koeln": Reply(GOOD),
        "drip": Reply(b"{", fault="drip body"),
        "header": Reply(fault="drip header"),
    }
    with ChargecloudStandin(feeds, tls=context) as api:
        yield api


def test_a_certificate_of_an_unknown_ca_is_refused_once(tls_api: ChargecloudStandin) -> None:
    answer = fetch(tls_api.url)
    assert (answer.attempts, answer.http_status) == (1, None)
    assert f"the certificate of 127.0.0.1:{tls_api.port} is not trusted" in (answer.error or "")
    assert "REQUESTS_CA_BUNDLE" in (answer.error or "")


def test_an_own_ca_is_trusted(tls_api: ChargecloudStandin, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert fetch(tls_api.url).body == GOOD


def test_a_ca_file_that_is_not_there_is_named(tls_api: ChargecloudStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")
    answer = fetch(tls_api.url)
    assert "/no/such/ca.pem" in (answer.error or "")
    assert answer.attempts == 1


@pytest.mark.parametrize("feed", ["drip", "header"])
def test_a_server_that_drips_through_tls_is_cut_at_the_deadline(
    tls_api: ChargecloudStandin, certificate: Path, monkeypatch: pytest.MonkeyPatch, feed: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    begun = time.monotonic()
    answer = fetch(tls_api.url, feed, seconds=0.8)
    assert time.monotonic() - begun < 3
    assert (answer.error or "").startswith("no complete answer within 0.8 s")
    assert answer.body.startswith(b"{xxx") == (feed == "drip")


def test_a_redirect_away_from_https_is_not_followed(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        ChargecloudStandin({"koeln": Reply(GOOD)}) as plain,
        ChargecloudStandin({"koeln": Reply(b"", 302, {"Location": f"{plain.url}/koeln"})}, tls=context) as api,
    ):
        answer = fetch(api.url)
    assert plain.requests == []
    assert answer.error == f"redirected away from https, which is not followed: {plain.url}/koeln"


def test_a_proxy_is_used_with_its_credentials(
    tls_api: ChargecloudStandin, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.port}")
        answer = fetch(tls_api.url)
    assert (answer.body, answer.error) == (GOOD, None)
    assert proxy.targets == [f"127.0.0.1:{tls_api.port}"]
    assert proxy.credentials == ["Basic bWU6aHVudGVyMg=="]


def test_a_proxy_that_refuses_is_named_without_its_credentials(
    tls_api: ChargecloudStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(refuse=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.port}")
        answer = fetch(tls_api.url)
    assert f"the proxy 127.0.0.1:{proxy.port}" in (answer.error or "")
    assert "407" in (answer.error or "")
    assert "hunter2" not in repr(answer)


@pytest.mark.parametrize(
    "form",
    ["http://me:hunter2@127.0.0.1:{}", "me:hunter2@127.0.0.1:{}", "http://me:hunter2@", "socks5://me:hunter2@h:1"],
)
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_credentials(
    tls_api: ChargecloudStandin, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", form.format(closed_port()))
    answer = fetch(tls_api.url)
    assert answer.error
    assert "hunter2" not in repr(answer)
    if form.startswith("http:") and "{}" in form:
        assert "no connection to the proxy 127.0.0.1:" in answer.error
        assert "connection refused" in answer.error
    else:
        assert "check CHARGING_ASSETS_CHARGECLOUD_URL and HTTPS_PROXY" in answer.error


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Answer("a", GOOD, http_status=200), "alive", "1 locations, as of 2024-10-23"),
        (Answer("a", b'{"data": []}', http_status=200), "empty", "without locations"),
        (Answer("a", b"", http_status=404, error="HTTP 404"), "gone", "HTTP 404"),
        (Answer("a", b'{"data": null}', http_status=200), "gone", "list `data`"),
        (Answer("a", b"<html>", http_status=200), "gone", "6 bytes"),
        (Answer("a", b"", http_status=200), "gone", "0 bytes"),
        (Answer("a", b'{"data": [' + b"[" * 10_000, http_status=200), "gone", "list `data`"),
        (Answer("a", b'{"data": [], "timestamp": "\xff"}', http_status=200), "gone", "list `data`"),
    ],
)
def test_a_feed_is_alive_empty_or_gone(answer: Answer, state: str, words: str) -> None:
    found = feed_state(answer)
    assert found.state == state
    assert words in found.sentence


def test_failed_requests_leave_no_threads_behind() -> None:
    port = closed_port()
    before = threading.active_count()
    source = ChargecloudSource(f"http://127.0.0.1:{port}", ("a",))
    for _ in range(20):
        source.fetch("a", time.monotonic() + 10)
    assert threading.active_count() <= before + 1
