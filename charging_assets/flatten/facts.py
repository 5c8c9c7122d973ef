"""From answers and pieces to rows: array arithmetic over a day, no Python object per row.

`Observations` collects the answers of a span of time, in any order. `Level` is one kind of record (location, EVSE,
connector) of all those answers: sorted by (id, query time), with the second and later answers for the same (id, query
time) left out and counted as duplicates. Which of them counts is decided by (source, feed, poll id, place in the
answer), so it does not depend on the order in which files were read.
"""

import datetime as dt
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charging_assets.flatten.chargecloud import ChargecloudReader
from charging_assets.flatten.pieces import Pieces
from charging_assets.flatten.reading import AnswerReader, Reading
from charging_assets.lake import RawRow
from charging_assets.model.answer import Answer, Poll

Ints = NDArray[np.int32]
_Longs = NDArray[np.int64]

READERS: dict[str, type[ChargecloudReader]] = {
    "chargecloud": ChargecloudReader,
    "simulator": ChargecloudReader,
}
"""How the answers of each source are read."""

_SPAN_ROWS = 4_000_000
"""Rows sorted at a time: bounds the memory of a partition of any size to some hundred MiB beside its codes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer without its body, and what it says."""

    poll: Poll
    answer: Answer
    sha256: str
    reading: Reading


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of a level: those of consecutive ids, sorted by (id, query time), duplicates left out."""

    ids: list[str]
    """Distinct ids, sorted."""
    id: Ints
    """Per row: index into `ids`."""
    answer: Ints
    """Per row: number of the answer, in the order of `Observations.seen`."""
    source_row: _Longs
    """Per row: index into the columns of the pieces."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of equal values of the records of a level, per (id, feed): sorted by id, feed and time."""

    ids: list[str]
    """Distinct ids, sorted."""
    id: Ints
    """Per run: index into `ids`."""
    value: Ints
    first: Ints
    """Number of the answer that saw it first, in the order of `Observations.seen`."""
    last: Ints
    polls: _Longs
    """Answers of the run that had the record."""


class Observations:
    """What the answers of a span of time say, in columns."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self._readers: dict[str, AnswerReader] = {}
        self._seen: dict[tuple[dt.datetime, str, str, str], Seen] = {}

    def add(self, row: RawRow) -> None:
        """Take in one raw answer; of several with the same (query time, source, feed, SHA-256) one is kept."""
        poll, answer = row.poll, row.answer
        key = (poll.query_time, poll.source, answer.feed, row.sha256)
        known = self._seen.get(key)
        if known is not None:
            if poll.poll_id < known.poll.poll_id:
                self._seen[key] = Seen(poll, _without_body(answer), row.sha256, known.reading)
            return
        self._seen[key] = Seen(poll, _without_body(answer), row.sha256, self._read(poll.source, answer))

    def _read(self, source: str, answer: Answer) -> Reading:
        if answer.error is not None or answer.http_status not in (None, 200):
            return Reading("failed", answer.error or f"the feed answered with HTTP status {answer.http_status}")
        if answer.is_truncated:
            return Reading("unreadable", f"only the first {len(answer.body):,} bytes of the answer were kept")
        reader = self._readers.get(source)
        if reader is None:
            if source not in READERS:
                return Reading("unexpected", f"no reader for the source {source!r}; there are: {', '.join(READERS)}")
            reader = self._readers[source] = READERS[source](self.pieces, source)
        return reader.read(answer.feed, answer.body)

    def sort(self) -> "SortedObservations":
        """Number the answers by (query time, source, feed, poll id) and lay their pieces out in columns."""
        seen = sorted(
            self._seen.values(),
            key=lambda s: (s.poll.query_time, s.poll.source, s.answer.feed, s.poll.poll_id, s.sha256),
        )
        return SortedObservations(seen, self.pieces)


class SortedObservations:
    """All answers of a span of time, in order, and their (answer, piece) pairs."""

    def __init__(self, seen: list[Seen], pieces: Pieces) -> None:
        self.seen = seen
        self.pieces = pieces
        self.query_times: _Longs = np.array(
            [int(s.poll.query_time.timestamp()) * 1_000_000 for s in seen], dtype=np.int64
        )
        """Per answer: microseconds since the epoch."""
        self.locations_in = np.array([len(s.reading.pieces) for s in seen], dtype=np.int64)
        """Per answer: how many locations it has."""
        joined = array("i")
        for s in seen:
            joined.extend(s.reading.pieces)
        self.pair_piece = codes(joined)
        """Per (answer, location): its piece."""
        self.pair_answer = np.repeat(np.arange(len(seen), dtype=np.int32), self.locations_in)
        feeds = sorted({(s.poll.source, s.answer.feed) for s in seen})
        number = {feed: code for code, feed in enumerate(feeds)}
        self.feed: Ints = np.array([number[s.poll.source, s.answer.feed] for s in seen], dtype=np.int32)
        """Per answer: a number of its (source, feed), in their order."""

    def per_answer(self, piece_column: Ints | _Longs) -> _Longs:
        """Sum a column of the pieces over each answer."""
        totals = np.bincount(self.pair_answer, weights=piece_column[self.pair_piece], minlength=len(self.seen))
        return totals.astype(np.int64)

    def locations(self) -> "Level":
        """The locations of all answers."""
        ids = codes(self.pieces.location_id)
        return Level(self, self.pieces.location_ids, ids[ids >= 0], np.cumsum(ids >= 0, dtype=np.int64))

    def keys_present(self) -> _Longs:
        """Per answer: which of its source's known keys some record has, as bits."""
        present = np.zeros(len(self.seen), dtype=np.int64)
        np.bitwise_or.at(present, self.pair_answer, np.frombuffer(self.pieces.keys_present, np.int64)[self.pair_piece])
        return present

    def evses(self) -> "Level":
        """The EVSEs of all answers."""
        return Level(self, self.pieces.evse_ids, codes(self.pieces.evse_id), codes(self.pieces.evse_ends))

    def connectors(self) -> "Level":
        """The connectors of all answers."""
        return Level(
            self,
            self.pieces.connector_ids,
            codes(self.pieces.connector_id),
            codes(self.pieces.connector_ends),
        )

    def expand(self, ends: Ints | _Longs, answers: slice = slice(None)) -> tuple[_Longs, _Longs]:
        """Per row of a level in every answer: its (answer, location) pair, and its row in the columns of the pieces.

        `ends[p]` is where the rows of piece `p` end; `answers` limits to some of the answers.
        """
        first_pairs = np.concatenate(([0], np.cumsum(self.locations_in)))
        first, end, _ = answers.indices(len(self.seen))
        pair_piece = self.pair_piece[first_pairs[first] : first_pairs[end]]
        starts = np.concatenate(([0], ends[:-1])) if len(ends) else np.zeros(0, np.int64)
        counts = (ends - starts)[pair_piece]
        total = int(counts.sum())
        first_of_pair = np.cumsum(counts) - counts
        pair = np.repeat(np.arange(first_pairs[first], first_pairs[end]), counts)
        source_row = np.arange(total) + np.repeat(starts[pair_piece] - first_of_pair, counts)
        return pair, source_row


class Level:
    """One kind of record in all answers."""

    def __init__(
        self,
        observations: SortedObservations,
        ids: dict[str, int],
        piece_ids: Ints,
        piece_ends: Ints | _Longs,
    ) -> None:
        self._observations = observations
        pair, self._source_row = observations.expand(piece_ends)
        self._answer = observations.pair_answer[pair]
        id_codes = piece_ids[self._source_row]
        is_used = np.bincount(id_codes, minlength=len(ids)).astype(bool)
        used = sorted((text, code) for text, code in ids.items() if is_used[code])
        self._texts = [text for text, _ in used]
        rank = np.zeros(len(ids), dtype=np.int32)
        rank[[code for _, code in used]] = np.arange(len(used), dtype=np.int32)
        self._id = rank[id_codes]
        self._duplicates: _Longs | None = None
        self._in_order: tuple[Ints, Ints, _Longs] | None = None
        self.usable = np.bincount(self._answer, minlength=len(observations.seen))
        """Per answer: records that were not rejected, duplicates included."""

    @property
    def duplicates(self) -> _Longs:
        """Per answer: usable records whose id was already answered at this query time."""
        if self._duplicates is None:
            for _ in self.spans():
                pass
        assert self._duplicates is not None
        return self._duplicates

    def spans(self) -> Iterator[Span]:
        """The rows in spans of at most some million, ids ascending, each (id, query time) once."""
        duplicates = np.zeros(len(self._observations.seen), dtype=np.int64)
        for first, end in self._id_ranges():
            ids, answers, source_rows = self._sorted(first, end)
            times = self._observations.query_times[answers]
            is_new = np.ones(len(ids), dtype=bool)
            is_new[1:] = (ids[1:] != ids[:-1]) | (times[1:] != times[:-1])
            if not is_new.all():
                duplicates += np.bincount(answers[~is_new], minlength=len(duplicates))
                ids, answers, source_rows = ids[is_new], answers[is_new], source_rows[is_new]
            yield Span(self._texts[first:end], ids - np.int32(first), answers, source_rows)
        self._duplicates = duplicates

    def runs(self, values: Ints) -> Iterator[Runs]:
        """Runs of equal values in spans of at most some million rows, ids ascending.

        `values[r]` is the value of row `r` of the pieces. Each feed's rows make runs of their own, also where another
        feed answered the same id; of several at one query time the first counts.
        """
        for first, end in self._id_ranges():
            ids, answers, source_rows = self._sorted(first, end)
            feeds = self._observations.feed[answers]
            if ((ids[1:] == ids[:-1]) & (feeds[1:] < feeds[:-1])).any():
                order = np.lexsort((feeds, ids))  # stable, so that the order of time stays
                ids, answers, source_rows, feeds = ids[order], answers[order], source_rows[order], feeds[order]
            times = self._observations.query_times[answers]
            is_other = np.ones(len(ids), dtype=bool)
            is_other[1:] = (ids[1:] != ids[:-1]) | (feeds[1:] != feeds[:-1])
            is_new = is_other.copy()
            is_new[1:] |= times[1:] != times[:-1]
            if not is_new.all():
                ids, answers, source_rows = ids[is_new], answers[is_new], source_rows[is_new]
                is_other = is_other[is_new]
            value = values[source_rows]
            is_start = is_other
            is_start[1:] |= value[1:] != value[:-1]
            starts = np.flatnonzero(is_start)
            polls = np.diff(starts, append=len(ids))
            yield Runs(
                self._texts[first:end],
                ids[starts] - np.int32(first),
                value[starts],
                answers[starts],
                answers[starts + polls - 1],
                polls,
            )

    def _id_ranges(self) -> Iterator[tuple[int, int]]:
        return ranges(np.bincount(self._id, minlength=len(self._texts)), _SPAN_ROWS)

    def _sorted(self, first: int, end: int) -> tuple[Ints, Ints, _Longs]:
        """The rows of ids from `first` to `end`, by (id, answer): id, answer, source row."""
        if self._in_order is not None:
            return self._in_order
        rows = None if end - first == len(self._texts) else np.flatnonzero((self._id >= first) & (self._id < end))
        ids = self._id if rows is None else self._id[rows]
        order = _order_by(ids)
        chosen = order if rows is None else rows[order]
        in_order = ids[order], self._answer[chosen], self._source_row[chosen]
        if rows is None:  # all of them: spans and runs need the same
            self._in_order = in_order
        return in_order


def ranges(counts: _Longs, at_most: int) -> Iterator[tuple[int, int]]:
    """First and end of consecutive groups that have so many rows together, or of a single group with more.

    `counts[g]`: the rows of group `g`.
    """
    ends = np.cumsum(counts)
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + at_most, side="right")))
        yield first, end
        first = end


def _order_by(ids: Ints) -> _Longs:
    """The stable order by id: rows come in the order of the answers, so it is the order by (id, answer).

    NumPy sorts 16-bit integers by radix, five times faster than any comparison; more ids than that take a second pass.
    """
    order = np.argsort((ids & 0xFFFF).astype(np.uint16), kind="stable")
    high = ids >> 16
    return order[np.argsort(high[order].astype(np.uint16), kind="stable")] if high.any() else order


def codes(column: "array[int]") -> Ints:
    """A column of `Pieces` as NumPy array, without a copy."""
    return np.frombuffer(column, dtype=np.int32) if len(column) else np.zeros(0, np.int32)


def _without_body(answer: Answer) -> Answer:
    return replace(answer, body=b"")
