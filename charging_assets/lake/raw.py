"""The archive of raw answers: written once, kept for ever, read as a stream.

Belongs here: which files a day has, publishing and recovering polls, importing archives, reading. Does not belong here:
the inside of a raw file (`raw_files`), answers of a poll under way (`spool`), merging a closed day (`compaction`).
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa

from charging_assets.calendar import query_date_of
from charging_assets.lake.compaction import Compaction, compact_day
from charging_assets.lake.errors import LakeChanged, LakeError
from charging_assets.lake.kind import Kind, KindMark, WrongKind
from charging_assets.lake.raw_files import (
    INDEX_SCHEMA,
    KeptAnswer,
    RawRow,
    RowKey,
    day_folder,
    distinct,
    fingerprint_of,
    index_of,
    is_compacted,
    poll_path,
    read_groups,
    read_rows,
    row_keys,
    time_of,
    write_raw_file,
)
from charging_assets.lake.spool import SUFFIX, PollSpool, SpoolFile
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Store
from charging_assets.model.answer import Answer, Poll

_log = logging.getLogger(__name__)

_LEVEL = 3
_GROUP_BYTES = 16 << 20
_LISTINGS = 20
"""How often a day is listed before giving up; two are usual, compaction while reading makes it three."""

T = TypeVar("T")


class KeptIn(NamedTuple):
    """Where a raw answer is."""

    path: str
    """Of its file, relative to the lake."""
    is_intact: bool | None
    """Whether its body has the SHA-256 that is stored with it; None: not asked."""


class RawArchive:
    """All raw answers of a lake. Several processes may use it at once.

    Args:
        store: where the lake's files are.
        spool_dir: local folder for answers of polls under way.
        staging_dir: local folder for files before they are published, on a local lake's own file system.
        lake_uri: which lake this is; spools of other lakes in `spool_dir` are left alone.
    """

    def __init__(self, store: Store, spool_dir: Path, staging_dir: Path, lake_uri: str) -> None:
        self._store = store
        self._spool_dir = spool_dir
        self._staging_dir = staging_dir
        self._lake_uri = lake_uri
        self._kind = KindMark(store, staging_dir, lake_uri, self._first_source)

    def kind(self) -> Kind | None:
        """What the lake was claimed for; None while nobody has."""
        return self._kind.held()

    def is_simulated(self) -> bool:
        """Whether the lake was claimed for a simulation."""
        held = self.kind()
        return held is not None and held.kind == "simulated"

    def claim(self, kind: Kind) -> None:
        """Refuse to mix: an empty lake holds this kind of data from now on. Publishing asks for itself.

        Raises:
            WrongKind: the lake holds another kind.
        """
        self._kind.claim(kind)

    def begin_poll(self, poll: Poll) -> PollSpool:
        """Start to keep the answers of a poll: ``with archive.begin_poll(poll) as spool: spool.add(answer)``.

        Raises:
            WrongKind: the lake holds another kind of data.
        """
        try:
            self._kind.check(Kind.of_source(poll.source))
        except WrongKind:
            raise
        except LakeError as error:  # what is received waits in the spool for the lake to come back
            _log.warning("%s: what it holds will be asked again before the poll is published", error)
        return PollSpool(self._spool_dir, self._lake_uri, poll, self._publish)

    def recover_polls(self) -> list[str]:
        """Publish what killed polls had received; returns the paths of the new files. May be repeated at any time.

        Raises:
            LakeError: a spool could not be read or published; it is left as it was, the others were published.
        """
        published, faults = [], []
        for path in sorted(self._spool_dir.glob(f"*{SUFFIX}")):
            try:
                spool = SpoolFile.take_over(path)
                if spool is None:
                    continue
                try:
                    if spool.lake != self._lake_uri:
                        _log.warning("%s waits for the next poll into its own lake, %s", path, spool.lake)
                    else:
                        # Publishing may have been what was killed, and the day may have been compacted since.
                        if answers := self._not_held(spool.poll, spool.answers, exactly=True):
                            published.append(self._publish(spool.poll, answers))
                        spool.remove()
                finally:
                    spool.close()
            except LakeError as error:
                faults.append(str(error))
        if faults:
            raise LakeError("Some answers of killed polls are not published yet. " + " ".join(faults))
        return published

    def import_answers(self, poll: Poll, answers: Iterable[Answer]) -> int:
        """Publish those answers whose (query_time, source, feed, sha256) the day does not hold yet.

        Returns:
            How many were new.
        """
        kept = {(answer.meta.feed, answer.sha256): answer for answer in map(KeptAnswer.in_memory, answers)}
        new = self._not_held(poll, list(kept.values()), exactly=False)
        if new:
            self._publish(poll, new)
        return len(new)

    def dates(self) -> list[dt.date]:
        """Query dates that have raw answers, sorted."""
        dates = []
        for name in self._store.names("raw"):
            key, _, value = name.partition("=")
            if key == "query_date":
                try:
                    dates.append(dt.date.fromisoformat(value))
                except ValueError:  # somebody else's folder
                    continue
        return sorted(dates)

    def files(self, query_date: dt.date) -> int:
        """How many files the day has: one per poll or import, one in all after `compact`."""
        return len(self._store.list(day_folder(query_date)))

    def rows(self, query_date: dt.date, since: dt.datetime | None = None) -> Iterator[RawRow]:
        """The day's answers, each once, file by file in the order of their names (loose ones by time, then compacted).

        One row group of bodies is in memory at a time: 16 MiB, or 64 MiB of a compacted day. From S3 the next files
        are fetched meanwhile: at most 8, and 4 MiB of each.

        Args:
            query_date: which day.
            since: leave out answers of earlier query times, mostly without reading them.
        """
        seen: set[RowKey] = set()
        return self._each_file(
            query_date,
            lambda path, source: read_rows(path, source, since, seen),
            lambda time: since is None or time >= since,
        )

    def find(self, query_date: dt.date, keys: Collection[RowKey], *, verify: bool = False) -> dict[RowKey, KeptIn]:
        """Where answers of a day are kept; those that it does not have are left out.

        Args:
            query_date: which day.
            keys: of the answers; times in UTC.
            verify: whether to read the bodies and compute their SHA-256 again.

        Raises:
            LakeError: a file is damaged.
        """
        wanted = set(keys)
        times = {key[0] for key in wanted}

        def read(path: str, source: pa.NativeFile) -> Iterator[tuple[RowKey, KeptIn]]:
            for group in read_groups(path, source):
                numbered = enumerate(row_keys(group.index().to_pydict()))
                rows = [(number, key) for number, key in numbered if key in wanted]
                bodies = group.bodies() if verify and rows else None
                for number, key in rows:
                    is_intact = None
                    if bodies is not None:
                        is_intact = hashlib.sha256(bodies[number].as_py()).hexdigest() == key[3]
                    yield key, KeptIn(path, is_intact)
                del bodies  # else two row groups are in memory while the next one is read

        return dict(self._each_file(query_date, read, times.__contains__))

    def index(self, query_date: dt.date) -> pa.Table:
        """All columns of the day's raw rows but `body`, each row once, sorted by the table's key."""
        return self._index(query_date, lambda _: True)

    def fingerprint(self, query_date: dt.date) -> str:
        """Hex digest of the day's set of (query_time, source, feed, sha256); files and polls do not matter."""
        return fingerprint_of(self.index(query_date))

    def compact(self, query_date: dt.date) -> Compaction | None:
        """Merge the day's files into one; see `compact_day`. The caller knows that the day is over."""
        return compact_day(self._store, self._staging_dir, day_folder(query_date))

    def _publish(self, poll: Poll, answers: list[KeptAnswer]) -> str:
        """Write answers as one new raw file and return its path, unless they are all held already."""
        self._kind.claim(Kind.of_source(poll.source))
        answers = sorted(answers, key=lambda answer: (answer.meta.feed, answer.sha256))
        with stage_file(self._staging_dir) as staged:
            number = 0
            while answers:
                bodies = (answer.read_body() for answer in answers)
                index = index_of(poll, answers)
                write_raw_file(staged.path, index, bodies, level=_LEVEL, group_bytes=_GROUP_BYTES)
                # A name that is taken means that this publishing was killed before, or that an importer was faster.
                while not self._store.put_new(staged.path, poll_path(poll, number := number + 1)):
                    left = self._not_held(poll, answers, exactly=True)
                    if len(left) < len(answers):
                        answers = left
                        break
                else:
                    return poll_path(poll, number)
        return poll_path(poll)

    def _not_held(self, poll: Poll, answers: list[KeptAnswer], *, exactly: bool) -> list[KeptAnswer]:
        """Those answers that the lake does not hold: from this very poll (`exactly`), or from any of the same time."""
        index = self._index(query_date_of(poll.query_time), lambda time: time == poll.query_time)
        held = {
            (time, source, feed, sha256, poll_id if exactly else None)
            for time, source, feed, sha256, poll_id in row_keys(index.to_pydict())
        }
        poll_id = poll.poll_id if exactly else None
        return [
            answer
            for answer in answers
            if (poll.query_time, poll.source, answer.meta.feed, answer.sha256, poll_id) not in held
        ]

    def _index(self, query_date: dt.date, is_wanted: Callable[[dt.datetime], bool]) -> pa.Table:
        """Like `index`, of the loose files of wanted query times and of all compacted rows."""

        def read(path: str, source: pa.NativeFile) -> Iterator[pa.Table]:
            return (group.index() for group in read_groups(path, source))

        tables = self._each_file(query_date, read, is_wanted)
        return distinct(pa.concat_tables([INDEX_SCHEMA.empty_table(), *tables]))

    def _first_source(self) -> str | None:
        """The source of some answer, from the first file there is."""

        def read(path: str, source: pa.NativeFile) -> Iterator[str]:
            return (name for group in read_groups(path, source) for name in group.index()["source"].to_pylist())

        sources = (source for date in self.dates() for source in self._each_file(date, read, lambda _: True))
        return next(sources, None)

    def _each_file(
        self,
        query_date: dt.date,
        read: Callable[[str, pa.NativeFile], Iterable[T]],
        is_wanted: Callable[[dt.datetime], bool],
    ) -> Iterator[T]:
        """What `read` makes of every file of the day, while compaction may replace files by another.

        A listing made during a compaction can miss both the files that go and the one that comes. So the day is listed
        again until no file vanished and no compacted one is new; what else came meanwhile came too late. Files that
        vanish do not keep the rest of their listing from being read: whoever deletes one after the other may stay a
        step ahead. `read` may be called twice for a file that vanishes half-way, and for rows that move.
        """

        def is_due(path: str) -> bool:
            time = time_of(path)
            return path not in done and (time is None or is_wanted(time))

        done: set[str] = set()
        is_complete = False
        for _ in range(_LISTINGS):
            paths = [entry.path for entry in self._store.list(day_folder(query_date)) if is_due(entry.path)]
            if is_complete and not any(map(is_compacted, paths)):
                return
            is_complete = True
            for path, source in self._store.open_each(paths):
                if source is None:
                    is_complete = False
                    continue
                try:
                    yield from read(path, source)
                    done.add(path)
                except LakeChanged:
                    is_complete = False
        raise LakeError(f"Raw files of {query_date} come and go faster than they can be read: try again later")
