"""How far a command's work is, on standard error."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from charging_assets.progress import watch


@contextmanager
def progress_bar() -> Iterator[None]:
    """A bar on standard error for each kind of work that reports its progress."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TimeElapsedColumn

    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    # During a step Dagster redirects the descriptors of stdout and stderr into a file, so the bar has its own.
    with (
        os.fdopen(os.dup(2), "w") as terminal,
        Progress(*columns, console=Console(file=terminal)) as progress,
    ):

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total or None)
            progress.update(tasks[what], completed=done)

        with watch(advance):
            yield
        for task in progress.tasks:
            if task.total is None:  # its bar would go on pulsing in what stays on the screen
                progress.remove_task(task.id)
