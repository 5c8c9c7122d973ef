import dataclasses
import json
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from charging_assets.defs.alerts import LISTED, NotSentError, Problem, post_webhook, send_mail, subject_of, text_of
from charging_assets.settings import Settings
from charging_assets_tests.standins.smtp import SmtpStandin

RUN = Problem("run", "build_query_date", "2026-03-28 to 2026-03-29", "The disk is full.", "http://ui:3000/runs/1")
CHECK = Problem("check", "poll_log.complete", "2026-03-29", "12 of 138 polls are missing.", None)
WARNING = dataclasses.replace(CHECK, kind="warning", name="feed_health.frozen")
NOWHERE = 9  # the port "discard", where nobody listens


def settings(**values: str) -> Settings:
    return Settings.from_env({f"CHARGING_ASSETS_{name.upper()}": value for name, value in values.items()})


def mail_error(smtp_url: str) -> str:
    """All that would be logged of a mail that could not be sent."""
    with pytest.raises(NotSentError) as error:
        send_mail([RUN], settings(alert_email="ops@example.org", smtp_url=smtp_url))
    return "".join(traceback.format_exception(error.value))


def webhook_error(url: str) -> str:
    """All that would be logged of a message that was not taken."""
    with pytest.raises(NotSentError) as error:
        post_webhook([RUN], settings(alert_webhook=url))
    return "".join(traceback.format_exception(error.value))


@contextmanager
def webhook(*, status: int = 200, location: str | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on loopback: its address with a secret path, and the JSON bodies that were posted there."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/services/s3cret"
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/s3cret", bodies
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("problems", "subject"),
    [
        ([RUN], "charging_assets: 1 run failed"),
        ([RUN, CHECK, CHECK], "charging_assets: 1 run and 2 checks failed"),
        ([CHECK, WARNING], "charging_assets: 1 check failed, 1 warning"),
        ([RUN, CHECK, WARNING], "charging_assets: 1 run and 1 check failed, 1 warning"),
        ([WARNING, WARNING], "charging_assets: 2 warnings"),
        ([RUN] * 1200, "charging_assets: 1,200 runs failed"),
    ],
)
def test_the_subject_counts_what_failed(problems: list[Problem], subject: str) -> None:
    assert subject_of(problems) == subject


def test_a_message_tells_what_failed_for_which_date_why_and_where_to_look() -> None:
    assert text_of([RUN, WARNING]) == (
        "Run failed: build_query_date (2026-03-28 to 2026-03-29)\nThe disk is full.\nhttp://ui:3000/runs/1\n\n"
        "Warning: feed_health.frozen (2026-03-29)\n12 of 138 polls are missing."
    )


def test_a_thousand_problems_are_a_short_message_that_says_how_many_there_are() -> None:
    text = text_of([RUN] * 1000)

    assert text.count("Run failed") == LISTED
    assert text.endswith(f"… and {1000 - LISTED:,} more, which the UI shows.")


def test_a_mail_reaches_all_receivers_with_one_message() -> None:
    with SmtpStandin() as server:
        send_mail(
            [RUN, CHECK],
            settings(
                alert_email="ops@example.org, dev@example.org",
                smtp_url=f"smtp://bot%40example.org:p%40ss@127.0.0.1:{server.port}",
            ),
        )

    [mail] = server.mails
    assert server.logins == [("bot@example.org", "p@ss")]
    assert (mail["From"], mail["To"]) == ("bot@example.org", "ops@example.org, dev@example.org")
    assert mail["Subject"] == "charging_assets: 1 run and 1 check failed"
    assert mail.get_content().strip() == text_of([RUN, CHECK])


def test_a_mail_server_without_a_login_needs_none() -> None:
    with SmtpStandin() as server:
        send_mail([RUN], settings(alert_email="ops@example.org", smtp_url=f"smtp://127.0.0.1:{server.port}"))

    assert server.logins == []
    assert server.mails[0]["From"] == "ops@example.org"


def test_an_address_that_nobody_reads_does_not_keep_the_message_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SmtpStandin(refuse=frozenset({"gone@example.org"})) as server, caplog.at_level(logging.ERROR):
        send_mail(
            [RUN],
            settings(alert_email="gone@example.org,ops@example.org", smtp_url=f"smtp://127.0.0.1:{server.port}"),
        )

    assert len(server.mails) == 1
    assert "gone@example.org" in caplog.text


def test_a_message_that_every_receiver_refuses_is_an_error() -> None:
    with SmtpStandin(refuse=frozenset({"gone@example.org"})) as server, pytest.raises(NotSentError) as error:
        send_mail([RUN], settings(alert_email="gone@example.org", smtp_url=f"smtp://127.0.0.1:{server.port}"))

    assert "gone@example.org was not sent" in str(error.value)
    assert "SMTPRecipientsRefused" in str(error.value)


def test_no_password_shows_when_the_mail_server_refuses_it_or_is_down() -> None:
    with SmtpStandin(refuse_login=True) as server:
        refused = mail_error(f"smtp://bot:hunter2@127.0.0.1:{server.port}")
    down = mail_error(f"smtp://bot:hunter2@127.0.0.1:{NOWHERE}")

    assert "SMTPAuthenticationError, code 535" in refused
    assert f"smtp://127.0.0.1:{NOWHERE} failed with ConnectionRefusedError" in down
    assert "hunter2" not in refused + down


def test_a_password_is_not_sent_where_everyone_could_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charging_assets.defs.alerts._LOOPBACK", ())
    with SmtpStandin() as server:
        refused = mail_error(f"smtp://bot:hunter2@127.0.0.1:{server.port}")

    assert "has no encryption" in refused
    assert server.logins == []


def test_a_webhook_gets_a_text_for_people_and_fields_for_programs() -> None:
    with webhook() as (url, bodies):
        post_webhook([RUN, CHECK], settings(alert_webhook=url))

    [body] = bodies
    assert body["text"] == f"charging_assets: 1 run and 1 check failed\n\n{text_of([RUN, CHECK])}"
    assert body["problems"][0] == {
        "kind": "run",
        "name": "build_query_date",
        "partition": "2026-03-28 to 2026-03-29",
        "sentence": "The disk is full.",
        "link": "http://ui:3000/runs/1",
    }
    assert body["problems_in_all"] == 2


@pytest.mark.parametrize(("status", "location"), [(500, None), (404, None), (302, "/elsewhere")])
def test_a_webhook_that_does_not_take_the_message_is_an_error_without_its_secret_path(
    status: int, location: str | None
) -> None:
    with webhook(status=status, location=location) as (url, _):
        logged = webhook_error(url)

    assert f"answered HTTP {status}" in logged
    assert "s3cret" not in logged


def test_a_webhook_that_is_down_is_an_error_without_its_secret_path() -> None:
    logged = webhook_error(f"http://127.0.0.1:{NOWHERE}/services/s3cret")

    assert f"The message to http://127.0.0.1:{NOWHERE}/… was not sent: ConnectionError" in logged
    assert "s3cret" not in logged
