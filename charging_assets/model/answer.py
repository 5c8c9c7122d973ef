"""One answer of one feed at one poll: what sources produce, the raw lake keeps and flattening reads."""

import datetime as dt
import hashlib
from dataclasses import dataclass

SIMULATOR = "simulator"
"""The `Poll.source` of answers that are made up."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What all answers of one poll share."""

    poll_id: str
    query_time: dt.datetime
    """UTC, whole seconds."""
    interval_s: int
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The final attempt at one feed; fields as the columns of `raw_snapshots`."""

    feed: str
    body: bytes = b""
    url: str | None = None
    requested_at: dt.datetime | None = None
    received_at: dt.datetime | None = None
    attempts: int = 0
    http_status: int | None = None
    content_type: str | None = None
    bytes_total: int = 0
    is_truncated: bool = False
    error: str | None = None

    @property
    def sha256(self) -> str:
        """Hex digest of `body`."""
        return hashlib.sha256(self.body).hexdigest()
