"""Answers of the chargecloud API (and of the simulator, which answers like it) -> pieces."""

from typing import ClassVar

from charging_assets.flatten.chargecloud.envelope import EnvelopeReader
from charging_assets.flatten.chargecloud.records import KNOWN_KEYS, LocationReader
from charging_assets.flatten.pieces import Pieces
from charging_assets.flatten.reading import Reading


class ChargecloudReader:
    """Reads the answers of all feeds of the API; each feed has its own envelope memory, all share the pieces."""

    known_keys: ClassVar[tuple[str, ...]] = KNOWN_KEYS

    def __init__(self, pieces: Pieces, source: str) -> None:
        self._pieces = pieces
        self._location = LocationReader(pieces, source)
        self._envelopes: dict[str, EnvelopeReader] = {}

    def read(self, feed: str, body: bytes) -> Reading:
        """Read one answer of `feed`; fastest when the answers of a feed come in the order of time. Never raises."""
        envelope = self._envelopes.get(feed)
        if envelope is None:
            envelope = self._envelopes[feed] = EnvelopeReader(self._pieces, self._location.read)
        return envelope.read(body)
