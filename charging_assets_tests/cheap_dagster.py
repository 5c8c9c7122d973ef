"""Dagster's storage in SQLite at a lower price. What is written and read is the same."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from sqlalchemy.pool import NullPool


@contextmanager
def cheap_dagster() -> Iterator[None]:
    """Have this process remember what Dagster finds out again and again, and write without waiting for the disk.

    Dagster makes an engine for each event that it stores, which compiles all statements anew, and reads all its
    migrations whenever it opens a database: together nearly half of what a small build costs.
    """
    make_engine = sqlite_event_log.create_engine

    @lru_cache(maxsize=64)
    def engine_of(url: str) -> sa.Engine:
        timeout = {"timeout": sqlite_event_log.SQLITE_BUSY_TIMEOUT_SECONDS}
        return make_engine(url, poolclass=NullPool, connect_args=timeout)

    def do_not_wait(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    sa.event.listen(sa.Engine, "connect", do_not_wait)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_event_log, "create_engine", lambda url, **_: engine_of(url))
        patch.setattr(ScriptDirectory, "from_config", lru_cache(ScriptDirectory.from_config))
        yield
    sa.event.remove(sa.Engine, "connect", do_not_wait)
