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
from msgspec import Raw

from charging_assets.flatten.pieces import NULL, Pieces
from charging_assets.flatten.reading import Reading

_SUCCESS = b"1000"
_MARKER_LENGTH = 48
"""Bytes of the next location that mark the end of a changed one: enough to reach its id."""
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_ABSENT = Raw(b"")


_KNOWN_KEYS = {
    *("data", "status_code", "status_message", "timestamp"),
    *("languages", "localesLanguageMap", "currentLocale"),
}

_decode_envelope = msgspec.json.Decoder(dict[str, Raw]).decode
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
        data = envelope.get("data", _ABSENT)
        if bytes(data).translate(None, _BLANKS) != b"[]":
            return None
        if _address(memoryview(data)) - _address(outside) >= len(layout.prefix):  # a second list
            return None
        return self._reading(envelope, pieces[:])

    def _read_by_parsing(self, body: bytes) -> Reading:
        try:
            envelope = _decode_envelope(body)
            data = envelope.get("data", _ABSENT)
            locations = _decode_list(data) if _first(data) == b"[" else None
        except _UNREADABLE as error:
            return self._read_by_structure(body, error)
        if locations is None:
            raise _NotAnAnswerError("unexpected", _no_list(envelope))
        base = _address(body)
        starts = [_address(memoryview(location)) - base for location in locations]
        return self._reading(envelope, self._pieces_of(body, starts, [bytes(location) for location in locations]))

    def _read_by_structure(self, body: bytes, error: Exception) -> Reading:
        found = _data_list(body)
        if found is None:
            raise _NotAnAnswerError(*_why_unreadable(body, error))
        start, end, spans = found
        outside = body[:start] + b"[]" + body[end:]
        pieces = self._pieces_of(body, [first for first, _ in spans], [body[slice(*span)] for span in spans])
        try:
            envelope = _decode_envelope(outside)
        except _UNREADABLE as fault:
            if not pieces:
                raise _NotAnAnswerError(*_why_unreadable(body, error)) from None
            return Reading("ok", f"what surrounds the list of locations cannot be read: {_said(fault)}", pieces=pieces)
        return self._reading(envelope, pieces)

    def _pieces_of(self, body: bytes, starts: list[int], texts: list[bytes]) -> "array[int]":
        """The pieces of an answer's locations; the next answer is compared with this one."""
        pieces = array("i", map(self._piece_of, texts))
        if texts:
            self._layout = _layout(body, starts, texts, pieces[:])
        return pieces

    def _reading(self, envelope: dict[str, Raw], pieces: "array[int]") -> Reading:
        code = envelope.get("status_code", _ABSENT)
        source_time = _source_time(envelope.get("timestamp", _ABSENT))
        reason = None
        if bytes(code).strip(b'"') not in (b"", _SUCCESS):
            reason = f"the answer's status_code is {_text(code)}, expected {_SUCCESS.decode()}{_message(envelope)}"
            if not pieces:
                return Reading("unexpected", reason, source_time)
        elif not pieces:
            reason = "the feed answered, but with no locations"
        unknown = sorted(f"envelope.{_shown(key[:64])}" for key in envelope.keys() - _KNOWN_KEYS)
        return Reading(
            "ok" if pieces else "empty",
            reason,
            source_time,
            pieces,
            unknown_keys=len(unknown),
            unknown_name=self._pieces.unknown_names[", ".join(unknown)] if unknown else NULL,
        )


def _layout(body: bytes, starts: list[int], texts: list[bytes], pieces: "array[int]") -> _Layout:
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


def _no_list(envelope: dict[str, Raw]) -> str:
    given = _text(envelope["data"], 40) if "data" in envelope else "missing"
    return f"expected a list of locations in `data`, which is {given}{_message(envelope)}"


def _message(envelope: dict[str, Raw]) -> str:
    message = _text(envelope.get("status_message", _ABSENT))
    return f"; the API says {message}" if message else ""


def _text(raw: Raw, length: int = 100) -> str:
    return _shown(bytes(raw)[: 4 * length].decode("utf-8", "replace")[:length])


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _why_unreadable(body: bytes, error: Exception) -> tuple[str, str]:
    text = body.strip(_BLANKS)
    if not text:
        return "unreadable", "the body is empty"
    if text.startswith(b"<"):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", text[:10_000], re.IGNORECASE)
        named = f" titled {_text(Raw(title[1].strip()))!r}" if title else ""
        return "unreadable", f"expected JSON, got an HTML or XML page{named}"
    if isinstance(error, msgspec.ValidationError):
        return "unexpected", f"expected a JSON object with a list `data`: {error}"
    if isinstance(error, RecursionError):
        return "unreadable", "the JSON is nested too deeply to be read"
    if "truncated" in str(error) and not text.endswith(b"}"):
        return "unreadable", f"the JSON ends in the middle, after {len(body):,} bytes"
    return "unreadable", f"expected JSON, got something else: {_said(error)}"


def _said(error: Exception) -> str:
    return str(error).replace("Input data was truncated", "a text or number is cut off, or half a surrogate pair")


def _source_time(raw: Raw) -> datetime | None:
    try:
        time = datetime.fromisoformat(bytes(raw).decode("ascii").strip('"'))
        return time.astimezone(UTC).replace(microsecond=0) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


# A string that nothing closes is a token too, up to the end: else each quote in it is tried as a beginning, and a
# megabyte of escaped quotes takes an hour.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},:]', re.DOTALL)


def _data_list(body: bytes) -> tuple[int, int, list[tuple[int, int]]] | None:
    """Where the list of the top-level key `data` begins and ends, and its elements too, by strings and brackets alone.

    None unless the whole body is one object whose brackets match: then nothing of it may be believed.
    """
    expected_closers = bytearray()
    start = element = -1
    found: tuple[int, int, list[tuple[int, int]]] | None = None
    elements: list[tuple[int, int]] = []
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
                elements.append(_trimmed(body, element, token.start()))
                is_empty = len(elements) == 1 and elements[0][0] == elements[0][1]
                found = (start, token.end(), [] if is_empty else elements)
                start = -1
            if depth == 1:
                end = token.end()
        elif text == b"," and depth == 2 and start >= 0:
            elements.append(_trimmed(body, element, token.start()))
            element = token.end()
        if depth == 1:
            is_key = text == b":"
            if text.startswith(b'"'):
                key = text
    if not end or body[end:].strip(_BLANKS):
        return None
    return found


def _trimmed(body: bytes, start: int, end: int) -> tuple[int, int]:
    text = body[start:end].rstrip(_BLANKS)
    end = start + len(text)
    return end - len(text.lstrip(_BLANKS)), end
