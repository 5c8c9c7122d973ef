"""What a reader makes of one answer, whatever the source: the seam between formats and tables."""

import datetime as dt
from array import array
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from charging_assets.flatten.pieces import NULL, Pieces


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer says."""

    outcome: str
    """As `poll_log.outcome`: `ok`, `empty`, `unreadable` or `unexpected`."""
    reason: str | None = None
    source_time: dt.datetime | None = None
    pieces: "array[int]" = field(default_factory=lambda: array("i"))
    """One piece per location, in the answer's order."""
    unknown_keys: int = 0
    """Unknown keys outside the locations."""
    unknown_name: int = NULL
    """Their names, as code of `Pieces.unknown_names`."""


class AnswerReader(Protocol):
    """Reads the answers of one source, remembering what helps to read the next one.

    Flattened locations go into `pieces`. Key `n` of `known_keys` is bit `n` of `Pieces.keys_present`.
    """

    known_keys: ClassVar[tuple[str, ...]]

    def __init__(self, pieces: Pieces, source: str) -> None: ...

    def read(self, feed: str, body: bytes) -> Reading:
        """Read an answer. Never raises."""
        ...
