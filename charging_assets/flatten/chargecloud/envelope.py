"""The outside of a chargecloud answer: where its locations stand, when it was made, and whether it is one at all.

Three ways, each exact, tried from the fastest on:

1. *By the previous answer.* Almost all locations of a feed are the same bytes as ten minutes before, in the same
   order. So each is compared in place (no parsing); a changed one ends where the next known one begins, which is
   believed only if what lies between is exactly one JSON value.
2. *By parsing* with msgspec, values left as raw bytes.
3. *By structure*, with a scanner that knows only strings and brackets: for an answer in which a single location is not
   valid JSON (control characters, nesting of 10,000 levels), so that the other locations are not lost.
"""

import re
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, overload

import msgspec
import numpy as np
from msgspec import Raw, Struct

from charging_assets.flatten.pieces import NULL, Pieces
from charging_assets.flatten.reading import Reading

_SUCCESS = 1000
_MARKER_LENGTH = 48
"""Bytes of the next location that mark the end of a changed one: enough to reach its id."""
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


class _Envelope(Struct):
    data: Raw = Raw(b"")
    status_code: Raw = Raw(b"")
    status_message: Raw = Raw(b"")
    timestamp: Raw = Raw(b"")


_KNOWN_KEYS = {*_Envelope.__struct_fields__, "languages", "localesLanguageMap", "currentLocale"}
_StrictEnvelope = msgspec.defstruct(
    "_StrictEnvelope",
    [(key, Raw, Raw(b"")) for key in ("languages", "localesLanguageMap", "currentLocale")],
    bases=(_Envelope,),
    forbid_unknown_fields=True,
)

_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_strictly = msgspec.json.Decoder(_StrictEnvelope).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _NotAnAnswerError(Exception):
    """The body is no answer of the API; carries the outcome and the reason."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


@dataclass(slots=True)
class _Layout:
    """Where the previous answer had what. `chunks[i]` is location i and what separates it from the next one."""

    prefix: bytes
    chunks: list[bytes]
    separators: list[bytes]
    """Between location i and the next; for the last one, the beginning of what follows the list."""
    pieces: "array[int]"


class PieceOf(Protocol):
    """Flattens the JSON text of one location and returns the number of its piece.

    With `is_guess` the text was cut out of an answer without parsing: the result is None unless it is exactly one JSON
    value.
    """

    @overload
    def __call__(self, text: bytes) -> int: ...
    @overload
    def __call__(self, text: bytes, *, is_guess: bool) -> int | None: ...


class EnvelopeReader:
    """Reads the answers of one feed in any order; it is fastest when they come in the order of time."""

    def __init__(self, pieces: Pieces, piece_of: PieceOf) -> None:
        self._pieces = pieces
        self._piece_of = piece_of
        self._layout: _Layout | None = None

    def read(self, body: bytes) -> Reading:
        """Read one answer; never raises for what it may contain."""
        if body.startswith(_BOM):
            body = body[len(_BOM) :]
        reading = self._read_by_previous(body)
        if reading is None:
            self._layout = None
            try:
                reading = self._read_by_parsing(body)
            except _NotAnAnswerError as error:
                reading = Reading(error.outcome, error.reason)
        return reading

    def _read_by_previous(self, body: bytes) -> Reading | None:
        layout = self._layout
        if layout is None or not body.startswith(layout.prefix):
            return None
        chunks, separators, pieces = layout.chunks, layout.separators, layout.pieces
        position = len(layout.prefix)
        is_next = body.startswith
        last = len(chunks) - 1
        for index, chunk in enumerate(chunks):
            if is_next(chunk, position):
                position += len(chunk)
                continue
            separator = separators[index]
            marker = separator if index == last else separator + chunks[index + 1][:_MARKER_LENGTH]
            end = body.find(marker, position, position + 2 * len(chunk) + 4096)
            if end < 0:
                return None
            location = body[position:end]
            piece = self._piece_of(location, is_guess=True)
            if piece is None:
                return None
            pieces[index] = piece
            if index == last:
                chunks[index] = location
                position = end
            else:
                chunks[index] = location + separator
                position = end + len(separator)
        outside = layout.prefix + body[position:]
        try:
            envelope = _decode_envelope(outside)
        except _UNREADABLE:
            return None
        if bytes(envelope.data).translate(None, _BLANKS) != b"[]":
            return None
        return self._reading(envelope, outside, pieces[:])

    def _read_by_parsing(self, body: bytes) -> Reading:
        try:
            envelope = _decode_envelope(body)
            locations = _decode_list(envelope.data) if _first(envelope.data) == b"[" else None
        except _UNREADABLE as error:
            return self._read_by_structure(body, error)
        if locations is None:
            raise _NotAnAnswerError("unexpected", _no_list(envelope))
        texts = [bytes(location) for location in locations]
        pieces = self._pieces_of(texts)
        if locations:
            self._layout = _layout(body, locations, texts, pieces)
        return self._reading(envelope, body, pieces[:])

    def _read_by_structure(self, body: bytes, error: Exception) -> Reading:
        found = _data_list(body)
        if found is None:
            raise _NotAnAnswerError(*_why_unreadable(body, error))
        start, end, texts = found
        outside = body[:start] + b"[]" + body[end:]
        try:
            envelope = _decode_envelope(outside)
        except _UNREADABLE:
            raise _NotAnAnswerError(*_why_unreadable(body, error)) from None
        return self._reading(envelope, outside, self._pieces_of(texts))

    def _pieces_of(self, texts: list[bytes]) -> "array[int]":
        return array("i", map(self._piece_of, texts))

    def _reading(self, envelope: Any, outside: bytes, pieces: "array[int]") -> Reading:
        code = bytes(envelope.status_code).strip(b'"')
        reason = None
        if code not in (b"", b"1000"):
            said = f"{_text(envelope.status_code)} ({_text(envelope.status_message)})"
            reason = f"the answer's status_code is {said}, expected {_SUCCESS}"
            if not pieces:
                return Reading("unexpected", reason, _source_time(envelope.timestamp))
        elif not pieces:
            reason = "the feed answered, but with no locations"
        unknown = self._unknown_keys(outside)
        return Reading(
            "ok" if pieces else "empty",
            reason,
            _source_time(envelope.timestamp),
            pieces,
            unknown_keys=len(unknown),
            unknown_name=self._pieces.unknown_names[", ".join(unknown)] if unknown else NULL,
        )

    def _unknown_keys(self, outside: bytes) -> list[str]:
        try:
            _decode_strictly(outside)
        except msgspec.ValidationError:
            keys = msgspec.json.decode(outside, type=dict[str, Raw]).keys()
            return sorted(f"envelope.{key[:64]}" for key in keys - _KNOWN_KEYS)
        return []


def _layout(body: bytes, locations: list[Raw], texts: list[bytes], pieces: "array[int]") -> _Layout:
    base = _address(body)
    starts = [_address(memoryview(location)) - base for location in locations]
    ends = [start + len(text) for start, text in zip(starts, texts, strict=True)]
    separators = [body[end:start] for end, start in zip(ends, starts[1:], strict=False)]
    return _Layout(
        prefix=body[: starts[0]],
        chunks=[*(text + separator for text, separator in zip(texts, separators, strict=False)), texts[-1]],
        separators=[*separators, body[ends[-1] : ends[-1] + _MARKER_LENGTH]],
        pieces=pieces,
    )


def _address(buffer: Any) -> int:
    """Where a buffer lies in memory: msgspec's `Raw` is a view into the body, and its offset there is wanted."""
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _no_list(envelope: Any) -> str:
    given = _text(envelope.data, 40) if bytes(envelope.data) else "missing"
    return f"expected a list of locations in `data`, which is {given}{_message(envelope)}"


def _message(envelope: Any) -> str:
    message = _text(envelope.status_message)
    return f"; the API says {message}" if message else ""


def _text(raw: Raw, length: int = 100) -> str:
    text = bytes(raw)[: 4 * length].decode("utf-8", "replace")[:length]
    return "".join(char if char.isprintable() else " " for char in text)


def _why_unreadable(body: bytes, error: Exception) -> tuple[str, str]:
    head = body[:1000].lstrip(_BLANKS)
    if not head:
        return "unreadable", "the body is empty"
    if head.startswith(b"<"):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", body[:10_000], re.IGNORECASE)
        named = f" titled {_text(Raw(title[1].strip()))!r}" if title else ""
        return "unreadable", f"expected JSON, got an HTML or XML page{named}"
    if isinstance(error, msgspec.ValidationError):
        return "unexpected", f"expected a JSON object with a list `data`: {error}"
    if isinstance(error, RecursionError):
        return "unreadable", "the JSON is nested too deeply to be read"
    if "truncated" in str(error):
        return "unreadable", f"the JSON ends in the middle, after {len(body):,} bytes"
    return "unreadable", f"expected JSON, got something else: {error}"


def _source_time(raw: Raw) -> datetime | None:
    try:
        time = datetime.fromisoformat(bytes(raw).decode("ascii").strip('"'))
        return time.astimezone(UTC).replace(microsecond=0) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},:]', re.DOTALL)


def _data_list(body: bytes) -> tuple[int, int, list[bytes]] | None:
    """Where the list of the top-level key `data` begins and ends, and its elements, by strings and brackets alone.

    None unless the whole body is one object whose brackets match: then nothing of it may be believed.
    """
    expected_closers = bytearray()
    start = element = -1
    found: tuple[int, int, list[bytes]] | None = None
    elements: list[bytes] = []
    key = b""
    is_key = False
    end = 0
    for token in _TOKEN.finditer(body):
        text = token[0]
        depth = len(expected_closers)
        if depth == 0 and (text != b"{" or end or body[: token.start()].strip(_BLANKS)):
            return None
        if text in (b"{", b"["):
            if depth == 1 and text == b"[" and is_key and key == b'"data"':
                if found:
                    return None
                start, element = token.start(), token.end()
            expected_closers += b"}" if text == b"{" else b"]"
        elif text in (b"}", b"]"):
            if expected_closers.pop() != text[0]:
                return None
            if start >= 0 and depth == 2:
                elements.append(body[element : token.start()].strip(_BLANKS))
                found = (start, token.end(), [] if elements == [b""] else elements)
                start = -1
            if depth == 1:
                end = token.end()
        elif text == b"," and depth == 2 and start >= 0:
            elements.append(body[element : token.start()].strip(_BLANKS))
            element = token.end()
        if depth == 1:
            is_key = text == b":"
            if text.startswith(b'"'):
                key = text
    if not end or body[end:].strip(_BLANKS):
        return None
    return found
