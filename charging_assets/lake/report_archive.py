"""The archive of published reports: one file per report that was given out, written once, kept for ever.

Belongs here: which files there are and what their footers say of the report. Does not belong here: what is in a report,
and whether its figures still hold (`reports`).
"""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.calendar import compact_text, last_closed_date
from charging_assets.lake.errors import LakeError, explained, readable
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Entry, Store

_FOLDER = "reports"
_SAID = b"charging_assets.report"
_ID = re.compile(r"R-[0-9a-f]{10}")
_REMEDY = "remove it; what it says of published figures is lost"


@dataclass(frozen=True, slots=True)
class Question:
    """What a report was asked for; reports of the same question can be compared."""

    by: str
    first: dt.date
    last: dt.date
    only: str | None = None
    city: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """A report that was given out, and its file."""

    report_id: str
    published_at: dt.datetime
    """When it was given out: UTC, whole seconds."""
    question: Question
    method_version: str
    path: str

    @property
    def is_preliminary(self) -> bool:
        """Whether its period was not over when it was given out."""
        return self.question.last > last_closed_date(self.published_at)


class ReportArchive:
    """All published reports of a lake. Several processes may use it at once."""

    def __init__(self, store: Store, staging_dir: Path) -> None:
        self._store, self._staging_dir = store, staging_dir

    def put(
        self, report_id: str, published_at: dt.datetime, question: Question, method_version: str, rows: pa.Table
    ) -> PublishedReport:
        """Keep a report that is given out.

        Args:
            report_id: ``R-`` and 10 hexadecimal digits.
            published_at: UTC, whole seconds.
            question: what it was asked for.
            method_version: by which rules its figures were made.
            rows: its figures; the metadata of their schema is kept too.

        Raises:
            LakeError: the file cannot be written.
        """
        if not _ID.fullmatch(report_id):
            raise LakeError(f"{report_id!r} is no id of a report: expected R- and 10 hexadecimal digits")
        path = f"{_FOLDER}/{compact_text(published_at)}_{report_id}.parquet"
        said = {"published_at": published_at.isoformat(), "report_id": report_id, "method_version": method_version}
        with stage_file(self._staging_dir) as staged, explained(f"Writing {staged.path}"):
            with pq.ParquetWriter(staged.path, rows.schema, compression="zstd") as writer:
                writer.write_table(rows)
                writer.add_key_value_metadata({_SAID: json.dumps({**said, **asdict(question)}, default=str)})
            self._store.put_new(staged.path, path)  # one that is there already has the same id: the same content
        return PublishedReport(report_id, published_at, question, method_version, path)

    def entries(self) -> Sequence[Entry]:
        """The files."""
        return [entry for entry in self._store.list(f"{_FOLDER}/") if entry.path.endswith(".parquet")]

    def published(self) -> Sequence[PublishedReport]:
        """All of them, oldest first.

        Raises:
            LakeError: a file is damaged.
        """
        paths = [entry.path for entry in self.entries()]
        return sorted(self._opened(paths), key=lambda report: (report.published_at, report.path))

    def newest(self, question: Question) -> PublishedReport | None:
        """What was given out last for this question; None: nothing yet.

        Raises:
            LakeError: a file is damaged.
        """
        return next((report for report in reversed(self.published()) if report.question == question), None)

    def read(self, report: PublishedReport) -> pa.Table:
        """The figures of a report.

        Raises:
            LakeError: the file is damaged.
        """
        with closing(self._store.open(report.path)) as source, readable(report.path, _REMEDY):
            return pq.read_table(source)

    def _opened(self, paths: Sequence[str]) -> Iterator[PublishedReport]:
        for path, source in self._store.open_each(paths):
            if source is None:
                continue
            with closing(source), readable(path, _REMEDY):
                yield _report(path, pq.read_metadata(source).metadata or {})


def _report(path: str, footer: Mapping[bytes, bytes]) -> PublishedReport:
    try:
        said: dict[str, Any] = json.loads(footer[_SAID])
        first, last = (dt.date.fromisoformat(said[name]) for name in ("first", "last"))
        return PublishedReport(
            said["report_id"],
            dt.datetime.fromisoformat(said["published_at"]),
            Question(said["by"], first, last, said["only"], said["city"]),
            said["method_version"],
            path,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LakeError(
            f"{path} does not say which report it is ({error!r}): another program, or another version, wrote it; "
            f"{_REMEDY}"
        ) from error
