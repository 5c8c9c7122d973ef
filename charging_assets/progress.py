"""How long work tells whoever watches how far it is, without knowing who that is.

Domain code calls `advance`; the command wraps the work in `watch` and draws a bar; under the Dagster UI nobody watches
and the calls cost nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[str, int, int], None]

_watcher: ContextVar[Watcher | None] = ContextVar("charging_assets_progress", default=None)


def advance(what: str, done: int, total: int) -> None:
    """Report that `done` of `total` units of `what` (a short noun phrase, e.g. ``"feeds polled"``) are finished."""
    if (watcher := _watcher.get()) is not None:
        watcher(what, done, total)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Call `watcher(what, done, total)` for every report made inside the block (same thread or copied context)."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
