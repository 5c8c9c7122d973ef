"""Answers of the chargecloud API (and of the simulator, which answers like it) -> pieces."""

import hashlib
from typing import ClassVar, overload

from charging_assets.flatten.chargecloud.envelope import EnvelopeReader
from charging_assets.flatten.chargecloud.records import KNOWN_KEYS, LocationReader
from charging_assets.flatten.pieces import Pieces
from charging_assets.flatten.reading import Reading

_REMEMBERED = 1_000_000
"""Distinct locations remembered before starting afresh: about 130 MiB."""


class ChargecloudReader:
    """Reads the answers of all feeds of the API; each feed has its own envelope memory, all share the pieces."""

    known_keys: ClassVar[tuple[str, ...]] = KNOWN_KEYS

    def __init__(self, pieces: Pieces, source: str) -> None:
        self._pieces = pieces
        self._location = LocationReader(pieces, source)
        self._remembered: dict[bytes, int] = {}
        self._envelopes: dict[str, EnvelopeReader] = {}

    def read(self, feed: str, body: bytes) -> Reading:
        """Read one answer of `feed`; fastest when the answers of a feed come in the order of time. Never raises."""
        envelope = self._envelopes.get(feed)
        if envelope is None:
            envelope = self._envelopes[feed] = EnvelopeReader(self._pieces, self._piece_of)
        return envelope.read(body)

    @overload
    def _piece_of(self, text: bytes) -> int: ...
    @overload
    def _piece_of(self, text: bytes, *, is_guess: bool) -> int | None: ...
    def _piece_of(self, text: bytes, *, is_guess: bool = False) -> int | None:
        # A digest instead of the text itself: a day of all of Germany would keep gigabytes of almost equal texts.
        digest = hashlib.sha256(text).digest()
        piece = self._remembered.get(digest)
        if piece is None:
            piece = self._location.read(text, is_guess=is_guess)
            if piece is None:
                return None
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = piece
        return piece
