"""Published reports: keeping what was given out, and telling which of its figures are others by now.

Belongs here: comparing reports of the same question. Does not belong here: the files (`lake`), and how figures are made
(`content`).
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from charging_assets.lake import Lake, PublishedReport, Question
from charging_assets.reports.occupancy.content import Report, rows_of
from charging_assets.reports.occupancy.exports import with_provenance
from charging_assets.reports.occupancy.figures import row_figures

ABSENT = "not in the report"
HIDDEN = "not shown"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that was published and is another by now."""

    published: PublishedReport
    name: str
    """What it is of, for people."""
    figure: str
    """Its heading, with the unit; nothing where a whole row came or went."""
    before: str
    """As it was printed."""
    after: str

    def __str__(self) -> str:
        what = f"{self.name}, {self.figure}" if self.figure else self.name
        return f"{what}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Publication:
    """What giving out a report did."""

    before: PublishedReport | None
    """The last report for the same question, where that was another one."""
    changes: Sequence[Change]
    """Which of its figures changed since."""


def publish(lake: Lake, report: Report, now: dt.datetime) -> Publication:
    """Keep a report that is given out, unless the last one for its question was the same.

    Args:
        lake: where it is kept.
        report: what is given out; one without rows is not kept, since it says nothing.
        now: when; of one question reports are a second apart, at the least.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    said, question = report.provenance, report.question
    before = None if report.is_empty else lake.reports.newest(question)
    if report.is_empty or (before is not None and before.report_id == said.report_id):
        return Publication(None, [])
    changes: list[Change] = []
    if before is not None:
        now = max(now, before.published_at + dt.timedelta(seconds=1))
        changes = _changes(before, lake.reports.read(before), report.rows)
    lake.reports.put(said.report_id, now, question, said.method_version, with_provenance(report))
    return Publication(before, changes)


def changed_figures(lake: Lake, dates: Collection[dt.date]) -> list[Change]:
    """Which published figures of periods that touch `dates` are others by now; of each question the last counts.

    A report that was given out before its period was over is not looked at: it said that it will change.

    Raises:
        LakeError: the lake cannot be read.
    """
    newest: Mapping[Question, PublishedReport] = {report.question: report for report in lake.reports.published()}
    first_of_lake = lake.partitions("kpi_daily")[:1]
    return [
        change
        for question, report in newest.items()
        if not report.is_preliminary and any(_touches(question, date, first_of_lake) for date in dates)
        for change in _changes(report, lake.reports.read(report), rows_of(lake, question))
    ]


def _touches(question: Question, date: dt.date, first_of_lake: Sequence[dt.date]) -> bool:
    """Whether figures can be others since `date` was built: days without polls are missing from the lake's first on."""
    return date <= question.last and (date >= question.first or date in first_of_lake)


def _changes(published: PublishedReport, before: pa.Table, after: pa.Table) -> list[Change]:
    """What was printed otherwise, by row and figure."""
    old, new = (_printed(published.question.by, rows) for rows in (before, after))
    changes = []
    for scope_id in sorted({*old, *new}):
        (name, was), (newer_name, now) = (rows.get(scope_id, ("", {})) for rows in (old, new))
        if not was or not now:
            words = ("in the report", ABSENT) if was else (ABSENT, "in the report")
            changes.append(Change(published, name or newer_name, "", *words))
            continue
        changes += [
            Change(published, newer_name, figure, was.get(figure) or HIDDEN, text or HIDDEN)
            for figure, text in now.items()
            if was.get(figure, "") != text
        ]
    return changes


def _printed(by: str, rows: pa.Table) -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """By `scope_id`: the name, and by heading the figures as they are printed; hidden ones are empty."""
    figures = [figure for figure in row_figures(by) if figure.kind != "text" and figure.name in rows.column_names]
    columns = [figure.printed(rows) for figure in figures]
    headings = [figure.heading for figure in figures]
    names = [
        name or scope_id for name, scope_id in zip(*(rows[c].to_pylist() for c in ("name", "scope_id")), strict=True)
    ]
    return {
        scope_id: (name, dict(zip(headings, texts, strict=True)))
        for scope_id, name, *texts in zip(rows["scope_id"].to_pylist(), names, *columns, strict=True)
    }
