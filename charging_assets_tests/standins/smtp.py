"""A mail server on loopback that keeps what it is given, or refuses it.

What it cannot prove: TLS, how real servers delay, grey-list and word their refusals.
"""

import base64
import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self, cast


class SmtpStandin:
    """Use it as a context manager. `refuse_login`, and `refuse`: recipients that it does not know."""

    def __init__(self, *, refuse: frozenset[str] = frozenset(), refuse_login: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[str, str]] = []
        self._refuse = refuse
        self._refuse_login = refuse_login
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                return "250-standin\r\n250 AUTH PLAIN"
            case "AUTH":
                _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
                self.logins.append((user, password))
                return f"535 {password} is wrong" if self._refuse_login else "235 welcome"
            case "RCPT":
                return "550 unknown" if any(address in rest for address in self._refuse) else "250 ok"
            case "DATA":
                return "354 go on"
            case "QUIT":
                return "221 bye"
            case _:
                return "250 ok"

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        standin = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 standin\r\n")
                for line in iter(self.rfile.readline, b""):
                    self.wfile.write(f"{standin._answer(line.decode().strip())}\r\n".encode())
                    if line.strip().upper() == b"DATA":
                        data = b"".join(iter(self.rfile.readline, b".\r\n"))
                        mail: Any = message_from_bytes(data.replace(b"\r\n", b"\n"), policy=policy.default)
                        standin.mails.append(cast("EmailMessage", mail))
                        self.wfile.write(b"250 kept\r\n")

        return Handler
