"""Archives of earlier polls: one feed's answer as it was saved, or the original project's `{city: answer}` files.

Bodies go into the lake byte for byte as they stand in the file, also those that are no good answers: flattening
explains them.
"""

import datetime as dt
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from charging_assets import calendar
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets.settings import check_feed

MAX_ARCHIVE_BYTES = 2**30
"""Unpacked. An archive holds one poll: 38 cities are about 4 MB, all of Germany would be about 250 MB."""

_CITIES_FILE = re.compile(r"(\d{8}_\d{6})_cp_data_cities\.json(?:\.gz|\.zst)?")
_FEED_FILE = re.compile(r"([^_]+)_\d{4}-?\d\d-?\d\d.*\.json(?:\.gz|\.zst)?")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_EARLIEST = dt.datetime(2018, 1, 1, tzinfo=dt.UTC)
_EXPECTED = (
    "expected one feed's answer (JSON with a `timestamp`), or {city: answer} "
    "in a file named YYYYmmdd_HHMMSS_cp_data_cities.json"
)


class ArchiveError(ValueError):
    """A file cannot be imported; the message names it, what was expected, what came and what to do."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What one archive brought."""

    query_time: dt.datetime
    answers: int
    """Answers in the file that could be imported."""
    new: int
    """Of these: not in the lake before."""
    notes: tuple[str, ...]
    """What the user should know, in sentences: unlikely times, cities that were left out and why."""


def import_archive(
    lake: Lake, path: Path, *, feed: str | None = None, source: str = "chargecloud", interval_s: int
) -> ImportResult:
    """Put the answers of one archive, plain, gzip or zstd, into the lake; a second import changes nothing.

    Args:
        lake: Where they go.
        path: `<feed>_<date…>.json` with one answer, or `YYYYmmdd_HHMMSS_cp_data_cities.json` (Europe/Berlin time).
        feed: Whose answer the file is, when its name does not say.
        source: Who gave the answers.
        interval_s: Seconds between two polls of that time.

    Raises:
        ArchiveError: the file is no such archive; nothing of it was imported.
        LakeError: the lake cannot be written.
    """
    content = _content(path)
    cities = _CITIES_FILE.fullmatch(path.name)
    notes: list[str] = []
    if cities and feed is None:
        answers = _city_answers(path, content, notes)
        query_time = _local_time(path, cities[1], answers, notes)
    else:
        query_time = _answer_time(path, content)
        answers = [Answer(_feed(path, feed), bytes(content), bytes_total=len(content))]
    del content
    if query_time < _EARLIEST:
        notes.append(f"its time, {query_time:%Y-%m-%d %H:%M:%S} UTC, lies before {_EARLIEST:%Y}")
    elif query_time > calendar.utc_now():
        notes.append(f"its time, {query_time:%Y-%m-%d %H:%M:%S} UTC, lies in the future")
    # from the content, so that a second import has the same file name; the feed too, as --feed may differ
    identity = hashlib.sha256(source.encode())
    for answer in answers:
        identity.update(f"\n{answer.feed} {answer.sha256}".encode())
    archived = Poll(identity.hexdigest()[:16], query_time, interval_s, source)
    return ImportResult(query_time, len(answers), lake.raw.import_answers(archived, answers), tuple(notes))


def _content(path: Path) -> bytearray:
    """The unpacked file, which is opened once and read forwards: it may be a pipe."""
    content = bytearray()
    try:
        with path.open("rb") as file:
            start = file.peek(4)
            packing = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
            stream = pa.input_stream(file, compression=packing)
            while chunk := stream.read(2**20):
                content += chunk
                if len(content) > MAX_ARCHIVE_BYTES:
                    raise ArchiveError(
                        f"{path}: expected one poll, at most {MAX_ARCHIVE_BYTES // 2**20:,} MiB unpacked, got more; "
                        "split it into one file per poll"
                    )
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not content.strip():
        raise ArchiveError(f"{path}: is empty; {_EXPECTED}")
    return content


def _decode(path: Path, content: bytearray, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise ArchiveError(f"{path}: {_EXPECTED}; got other JSON: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{path}: {_EXPECTED}; this is not JSON, or only a part of it: {error}") from None


class _Stamped(msgspec.Struct):
    timestamp: Any = None


def _answer_time(path: Path, content: bytearray) -> dt.datetime:
    text = _decode(path, content, _Stamped).timestamp
    if text is None:
        raise ArchiveError(f"{path}: {_EXPECTED}; this one has neither a `timestamp` nor such a name")
    try:
        return _stamped_time(text)
    except ValueError:
        raise ArchiveError(
            f"{path}: expected a `timestamp` with an offset, like 2024-10-23T13:16:09+02:00, got {str(text)[:60]!r}"
        ) from None


def _stamped_time(timestamp: object) -> dt.datetime:
    """An answer's `timestamp` as whole seconds UTC; ValueError when it is none."""
    try:
        return _as_utc(dt.datetime.fromisoformat(timestamp))  # type: ignore[arg-type]
    except (TypeError, OverflowError) as error:
        raise ValueError from error


def _as_utc(moment: dt.datetime) -> dt.datetime:
    """Whole seconds UTC; ValueError without an offset, or for a year that neither dates nor file names can hold."""
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise ValueError
    return moment.astimezone(dt.UTC).replace(microsecond=0)


def _local_time(path: Path, stamp: str, answers: list[Answer], notes: list[str]) -> dt.datetime:
    """The time in a file's name. Where autumn doubles it, the answers' own timestamps tell which one is meant."""
    try:
        times = [_as_utc(time) for time in calendar.parse_local(stamp, "%Y%m%d_%H%M%S")]
    except (ValueError, OverflowError):
        raise ArchiveError(
            f"{path}: expected a date and time YYYYmmdd_HHMMSS at the start of its name, got {stamp}"
        ) from None
    if len(times) > 1:
        for answer in answers:
            with suppress(ValueError, RecursionError):  # not every answer is one
                told = _stamped_time(msgspec.json.decode(answer.body, type=_Stamped).timestamp)
                for time in times:
                    if abs(time - told) < dt.timedelta(minutes=30):
                        return time
        notes.append("clocks showed its time twice that night: taken for the first, as no answer's timestamp tells")
    return times[0]


def _feed(path: Path, feed: str | None) -> str:
    if feed is None:
        named = _FEED_FILE.fullmatch(path.name)
        if named is None:
            raise ArchiveError(
                f"{path}: expected a name like koeln_2024-10-23.json, to know whose answer it is; or --feed NAME"
            )
        feed = named[1]
    try:
        return check_feed(feed)
    except ValueError as error:
        raise ArchiveError(f"{path}: {error}; say the right one with --feed NAME") from None


def _city_answers(path: Path, content: bytearray, notes: list[str]) -> list[Answer]:
    cities: dict[str, msgspec.Raw] = _decode(path, content, dict[str, msgspec.Raw])
    if {"data", "timestamp"} <= cities.keys():
        raise ArchiveError(
            f"{path}: its name promises {{city: answer}}, but it is one feed's answer; say whose with --feed NAME"
        )
    answers = []
    for city, raw in cities.items():
        try:
            body = bytes(raw)
            answers.append(Answer(check_feed(city), body, bytes_total=len(body)))
        except ValueError as error:
            notes.append(f"left out: {error}")
    if not answers:
        raise ArchiveError(f"{path}: {_EXPECTED}; this one holds no city. {' '.join(notes)}".rstrip())
    return answers
