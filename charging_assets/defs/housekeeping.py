"""What keeps the disk from filling up: raw files of closed days become one each, logs of old runs are shortened.

Dagster itself prunes the ticks of schedules and sensors only (`retention` in `dagster.yaml`). Deleting a run is no way
out: Dagster then forgets which partitions it had materialized. So runs stay, and so do the events of assets and the
verdicts of checks; what goes is the rest of an old run's log, which is most of it.
"""

import datetime as dt
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from charging_assets.calendar import is_closed, utc_now
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import LakeError
from charging_assets.settings import Settings

KEPT_EVENTS = sorted(kind.value for kind in ASSET_EVENTS)
"""Not those of checks: each verdict, with its whole event, has a row in a table of its own, which is left alone."""

_COMPLETED = [AssetCheckExecutionRecordStatus.SUCCEEDED.value, AssetCheckExecutionRecordStatus.FAILED.value]
_RUNS_AT_ONCE = 500
_BUSY_WITHIN_S = 5.0
_PAGE_BYTES = 512
"""Dagster's 12 tables and 15 indexes are 28 pages, however empty: 112 KiB at SQLite's 4 KiB, 14 KiB at this."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune_logs` did."""

    runs: int
    events: int
    """Events that are gone."""
    verdicts: int
    """Verdicts of checks that are gone."""
    bytes: int
    """By how much files of single runs became smaller; 0 where the event log is in one database."""
    busy: int
    """Runs that were left for the next time, because somebody was reading their log."""


@dg.op(out=dg.Out(dg.Nothing), description="Merges the raw files of each closed day into one; no answer is changed.")
def compact_closed_days(context: dg.OpExecutionContext, lake: LakeResource) -> None:
    """Compact each closed day that has loose raw files. A day that cannot be compacted does not stop the others.

    Raises:
        dagster.Failure: some day could not be compacted; the message says why, and what to do.
    """
    raw = lake.open().raw
    faults = []
    for date in raw.dates():
        if not is_closed(date):
            continue
        try:
            done = raw.compact(date)
        except LakeError as error:
            faults.append(f"{date}: {error}")
            continue
        if done:
            context.log.info(
                "%s: %d files are one now, %s bytes of answers in %s",
                date,
                done.files_before,
                f"{done.json_bytes:,}",
                f"{done.file_bytes:,}",
            )
    if faults:
        raise dg.Failure(" ".join(faults), allow_retries=False)


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Removes what is no event of an asset from the logs of runs that ended more than "
    "CHARGING_ASSETS_KEEP_LOGS_DAYS days ago, and what they printed. The last verdict on each partition stays.",
)
def prune_run_logs(context: dg.OpExecutionContext) -> None:
    """Shorten the logs of old runs of this code location."""
    days = Settings.from_env().keep_logs_days
    ended_before = utc_now() - dt.timedelta(days=days)
    done = prune_logs(context.instance, ended_before, context.run.tags.get(REPOSITORY_LABEL_TAG))
    context.log.info(
        "%d runs that ended before %s: %s events, %s superseded verdicts and %s bytes of files are gone",
        done.runs,
        ended_before,
        f"{done.events:,}",
        f"{done.verdicts:,}",
        f"{done.bytes:,}",
    )
    if done.busy:
        context.log.warning("%d runs are left for the next time: their logs were being read", done.busy)


@dg.job(
    description="Compacts the raw files of closed days and shortens the logs of old runs. May be killed and repeated."
)
def housekeeping() -> None:
    """Neither waits for the other, or fails with it."""
    compact_closed_days()
    prune_run_logs()


def prune_logs(instance: dg.DagsterInstance, ended_before: dt.datetime, repository: str | None = None) -> Pruned:
    """Remove what is no event of an asset from the logs of runs that ended before a time.

    What was printed by them goes too, and so do their verdicts on what was judged again since. Partitions, latest
    materializations and latest verdicts stay as they are. May be killed and repeated at any time.

    Args:
        instance: whose event log is pruned.
        ended_before: aware; other runs are left alone.
        repository: label of a repository, as runs have it in their tag ``.dagster/repository``. Runs of others, which
            may share the instance, are left alone.

    Raises:
        dagster.Failure: the event log is of a kind that this does not know.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise dg.Failure(
            f"The event log is kept by {type(storage).__name__}, which this job cannot shorten: it knows those that "
            "keep events in SQL tables (SQLite, dagster-postgres). Leave the logs to that storage's own "
            "retention, and the raw files to `charging-assets compact`.",
            allow_retries=False,
        )
    runs = events = verdicts = size = busy = 0
    for run_ids in _old_runs(instance, ended_before, repository):
        shortened = []
        # Every run has events that are removed last, and from one database: what has none of them was pruned before.
        for run_id in _not_pruned(storage, run_ids):
            try:
                removed, freed = _shorten_file(storage, run_id)
            except sqlite3.OperationalError:  # "database is locked"
                busy += 1
                continue
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            shortened.append(run_id)
            events, size = events + removed, size + freed
        removed = _delete(storage, shortened)
        verdicts += _delete_verdicts(storage, run_ids)
        events += 0 if storage.is_run_sharded else removed  # else these are copies of what the files had
        runs += len(shortened)
    return Pruned(runs, events, verdicts, size, busy)


def _old_runs(
    instance: dg.DagsterInstance, ended_before: dt.datetime, repository: str | None
) -> Iterator[Sequence[str]]:
    old = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=ended_before)
    last = None
    while runs := instance.get_runs(old, cursor=last, limit=_RUNS_AT_ONCE):
        yield [run.run_id for run in runs if run.tags.get(REPOSITORY_LABEL_TAG) in (None, repository)]
        last = runs[-1].run_id


def _prunable(run_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    events = SqlEventLogStorageTable.c
    return sa.and_(
        events.run_id.in_(run_ids),
        sa.or_(events.dagster_event_type.is_(None), events.dagster_event_type.not_in(KEPT_EVENTS)),
        # SQLite gives the number of its last row again once that is gone, and sensors count on numbers that grow.
        events.id < sa.select(sa.func.max(events.id)).scalar_subquery(),
    )


def _not_pruned(storage: SqlEventLogStorage, run_ids: Sequence[str]) -> Sequence[str]:
    with storage.index_connection() as database:
        found = sa.select(SqlEventLogStorageTable.c.run_id).where(_prunable(run_ids)).distinct()
        return [run_id for (run_id,) in database.execute(found)]


def _delete(storage: SqlEventLogStorage, run_ids: Sequence[str]) -> int:
    # The file is not made smaller: the room is used again, and until it were rewritten no run could log.
    with storage.index_connection() as database:
        return int(database.execute(SqlEventLogStorageTable.delete().where(_prunable(run_ids))).rowcount)


def _delete_verdicts(storage: SqlEventLogStorage, run_ids: Sequence[str]) -> int:
    """Delete verdicts of these runs on what was judged again since: today's tables are judged 24 times a day."""
    verdicts, newer = AssetCheckExecutionsTable, AssetCheckExecutionsTable.alias()
    superseded = (
        sa.select(newer.c.id)
        .where(
            newer.c.asset_key == verdicts.c.asset_key,
            newer.c.check_name == verdicts.c.check_name,
            newer.c.partition.is_not_distinct_from(verdicts.c.partition),
            newer.c.id > verdicts.c.id,
            newer.c.execution_status.in_(_COMPLETED),
        )
        .exists()
    )
    with storage.index_connection() as database:
        return int(database.execute(verdicts.delete().where(verdicts.c.run_id.in_(run_ids), superseded)).rowcount)


def _shorten_file(storage: SqlEventLogStorage, run_id: str) -> tuple[int, int]:
    """Shorten the file that SQLite storage has for each run; returns how many events and bytes it has lost.

    It is not deleted: whoever has looked at it since it started believes its tables to be there.
    """
    if not isinstance(storage, SqliteEventLogStorage):
        return 0, 0
    path = Path(storage.path_for_shard(run_id))
    if not path.exists():
        return 0, 0
    before = path.stat().st_size
    with closing(sqlite3.connect(path, timeout=_BUSY_WITHIN_S, isolation_level=None)) as database:
        kept = ", ".join("?" * len(KEPT_EVENTS))
        removed = database.execute(
            f"DELETE FROM event_logs WHERE dagster_event_type IS NULL OR dagster_event_type NOT IN ({kept})",  # noqa: S608
            KEPT_EVENTS,
        ).rowcount
        # The size of pages can be changed outside of write-ahead mode only.
        for statement in ("journal_mode = DELETE", f"page_size = {_PAGE_BYTES}"):
            database.execute(f"PRAGMA {statement}").fetchall()
        database.execute("VACUUM")
        database.execute("PRAGMA journal_mode = WAL").fetchall()
    return removed, max(0, before - path.stat().st_size)
