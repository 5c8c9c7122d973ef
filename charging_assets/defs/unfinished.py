"""Runs that are queued or at work, and the end of those that only seem to be, since their process is gone.

Belongs here: which runs are unfinished, and by what the run of a command is known to be dead. Does not belong here:
what unfinished runs keep from being started (`schedules`, `publishing`).

A command executes its runs in its own process. Killed with -9, or by a power cut, it leaves them STARTED until
`max_runtime_seconds` of `dagster.yaml` are over, and their days would not be built till then. So these runs say in tags
which process they are in. Runs that Dagster launches have no such tags, and are left to its own monitoring.
"""

import logging
import os
import socket
from pathlib import Path

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

HOST_TAG = "host"
"""Run tag: the host's name and, on Linux, its namespace of process ids: containers may share a name, but not these."""

PROCESS_TAG = "process"
"""Run tag: run id, process id and when that process was started. A run that is started again from the UI gets all tags
of the first one: that they are not its own is seen by the run id."""

_LOG = logging.getLogger(__name__)


def process_tags(run_id: str, pid: int) -> dict[str, str]:
    """Tags of a run that is executed in the process `pid` of this host."""
    return {HOST_TAG: _host(), PROCESS_TAG: f"{run_id} {pid} {_start_of(pid) or ''}"}


def unfinished(instance: dg.DagsterInstance, *jobs: str) -> list[dg.DagsterRun]:
    """The runs of the jobs that are queued or at work. Dead ones are ended first; if that fails, they count too."""
    try:
        end_dead_runs(instance)
    except Exception:  # noqa: BLE001 - whatever storage raises: ticks start what does not depend on dead runs
        _LOG.exception("Runs whose process is gone could not be ended; the next tick tries again.")
    return [run for job in jobs for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))]


def end_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """End, as failed, each unfinished run whose process was on this host and is gone. Returns these runs."""
    ended = []
    for found in instance.get_runs(dg.RunsFilter(tags={HOST_TAG: _host()}, statuses=UNFINISHED)):
        if not _is_dead(found):
            continue
        run = instance.get_run_by_id(found.run_id)  # it may have been finished just before its process ended
        if run is not None and run.status in UNFINISHED:
            why = "The process that executed this run is gone: it was killed, or the machine went down."
            data = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            instance.report_run_failed(run, why, data)
            ended.append(run)
    return ended


def _is_dead(run: dg.DagsterRun) -> bool:
    run_id, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
    pid, _, start = process.partition(" ")
    if run_id != run.run_id or not pid.isdecimal():
        return False
    now = _start_of(int(pid))
    return now is None or ("" not in (now, start) and now != start)


def _host() -> str:
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str | None:
    """The boot and the clock ticks after it at which a process was started, since process ids are given again.

    Empty where the system does not tell. None if there is no such process, or one that has ended.
    """
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # there is one, of another user
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The second field is a name in brackets, with whatever bytes the program likes.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if state in {"Z", "X"} else f"{boot} {fields[18]}"
