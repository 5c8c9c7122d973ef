"""What is told to whom when something failed: the wording of a message, and the ways it is sent.

Belongs here: messages, e-mail, webhook. Does not belong here: what failed and since when (`sensors`).

Nothing that leaves this module names a password or the path of a webhook: error messages end up in logs and in the UI.
"""

import logging
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Literal
from urllib.parse import unquote, urlsplit

import requests

from charging_assets.settings import Settings, without_secrets

LISTED = 20
"""A message tells so many problems in full and counts the rest: a thousand failed runs are one problem to a human."""

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 15
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that failed."""

    kind: Literal["run", "check", "warning"]
    """`warning`: a check that says so itself."""
    name: str
    """Of the job; of the check as `asset.check`."""
    partition: str | None
    """For which query date, or range of them."""
    sentence: str
    """What was found, or what the run failed with."""
    link: str | None
    """Where in the UI more is to be seen."""


class NotSentError(Exception):
    """A message did not reach a receiver; the text says which one, why, and what to do."""


def subject_of(problems: Sequence[Problem]) -> str:
    """One line, e.g. ``charging_assets: 1 run and 2 checks failed``."""
    words = {"run": "run", "check": "check", "warning": "warning"}
    counts = {kind: sum(problem.kind == kind for problem in problems) for kind in words}
    failed = [f"{count:,} {words[kind]}{'' if count == 1 else 's'}" for kind, count in counts.items() if count]
    if counts["warning"] == len(problems):
        return f"charging_assets: {failed[0]}"
    if counts["warning"]:
        return f"charging_assets: {' and '.join(failed[:-1])} failed, {failed[-1]}"
    return f"charging_assets: {' and '.join(failed)} failed"


def text_of(problems: Sequence[Problem]) -> str:
    """The message: a paragraph for each problem, the first `LISTED` of them."""
    paragraphs = []
    for problem in problems[:LISTED]:
        what = {"run": "Run failed", "check": "Check failed", "warning": "Warning"}[problem.kind]
        of = f" ({problem.partition})" if problem.partition else ""
        paragraphs.append("\n".join([f"{what}: {problem.name}{of}", problem.sentence, *filter(None, [problem.link])]))
    if len(problems) > LISTED:
        paragraphs.append(f"… and {len(problems) - LISTED:,} more, which the UI shows.")
    return "\n\n".join(paragraphs)


def send_mail(problems: Sequence[Problem], settings: Settings) -> None:
    """Send one mail about all `problems` to `CHARGING_ASSETS_ALERT_EMAIL`.

    Raises:
        NotSentError: nobody got it.
    """
    assert settings.smtp_url is not None  # a setting names receivers of mail only together with a server
    url = urlsplit(settings.smtp_url)
    user, password = (unquote(part) if part else None for part in (url.username, url.password))
    host, is_tls = url.hostname or "", url.scheme == "smtps"
    message = EmailMessage()
    message["Subject"] = subject_of(problems)
    message["From"] = user if user and "@" in user else settings.alert_email[0]
    message["To"] = ", ".join(settings.alert_email)
    message.set_content(text_of(problems))
    context = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(host, url.port or 465, timeout=_TIMEOUT_S, context=context)
            if is_tls
            else smtplib.SMTP(host, url.port or 587, timeout=_TIMEOUT_S)
        ) as server:
            server.ehlo()
            if not is_tls and server.has_extn("starttls"):
                server.starttls(context=context)
                is_tls = True
            if user is not None and password is not None:
                if not is_tls and host not in _LOOPBACK:
                    raise NotSentError(
                        f"No mail was sent: {without_secrets(settings.smtp_url)} has no encryption, so that everyone "
                        "on the way could read the password. Use smtps://, or a server that has STARTTLS."
                    )
                server.login(user, password)
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        # Not the exception's own text, which may repeat what was sent.
        raise NotSentError(
            f"The mail to {message['To']} was not sent: {without_secrets(settings.smtp_url)} failed with "
            f"{_why(error)}. Check CHARGING_ASSETS_SMTP_URL and that server."
        ) from None
    if refused:  # no reason to send it again to the others
        _LOG.error("Nobody reads mail at %s (CHARGING_ASSETS_ALERT_EMAIL).", ", ".join(sorted(refused)))


def post_webhook(problems: Sequence[Problem], settings: Settings) -> None:
    """Post one JSON message about all `problems` to `CHARGING_ASSETS_ALERT_WEBHOOK`.

    Raises:
        NotSentError: it was not taken.
    """
    assert settings.alert_webhook is not None
    subject = subject_of(problems)
    # `text` is what Slack and Mattermost show; the rest is for programs.
    body = {
        "text": f"{subject}\n\n{text_of(problems)}",
        "subject": subject,
        "problems": [asdict(problem) for problem in problems[:LISTED]],
        "problems_in_all": len(problems),
    }
    shown = without_secrets(settings.alert_webhook)
    advice = "Check CHARGING_ASSETS_ALERT_WEBHOOK and that server."
    try:
        # A redirected POST becomes a GET without its body, and a 200 that nobody read.
        answer = requests.post(settings.alert_webhook, json=body, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:  # its text holds the whole URL
        raise NotSentError(f"The message to {shown} was not sent: {type(error).__name__}. {advice}") from None
    if not answer.ok or answer.is_redirect:
        raise NotSentError(f"The message was not taken: {shown} answered HTTP {answer.status_code}. {advice}")


def _why(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):  # a code and what it means; the server's own words may be ours
        return f"{type(error).__name__}, code {error.smtp_code}"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}, {error.strerror}"
    return type(error).__name__
