"""A password shows up nowhere, whatever goes wrong; and a server that is not the right one gets none."""

import logging
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from charging_assets.lake import Lake
from charging_assets.settings import Settings, SettingsError
from charging_assets.warehouse import Warehouse, WarehouseError, WarehouseUnavailable, load, warehouse_of
from charging_assets.warehouse.postgres import PostgresWarehouse
from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse
from charging_assets_tests.lake.replacing import DAY, TABLE, version
from charging_assets_tests.standins.pgproxy import Fault, PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin
from charging_assets_tests.warehouse.authority import Authority
from charging_assets_tests.warehouse.harness import IAM_ROLE

TOKEN = "canary"
CANARY = f"{TOKEN}-Pa55'wörd @:/?#%41\\"
"""What no text of ours may have, not even in part."""
WRONG = f"{TOKEN}-wrong"


@dataclass(frozen=True)
class Guarded:
    """A server that speaks TLS as `localhost` and asks for the canary; its schema is there, and one partition."""

    kind: str
    proxy: PgProxy
    postgres: PostgresStandin
    database: str
    authority: Path
    lake: Lake
    home: Path

    def values(self, **changed: Any) -> dict[str, Any]:
        """How it is reached."""
        return {
            "host": "localhost",
            "port": self.proxy.port,
            "database": self.database,
            "user": "postgres",
            "password": CANARY,
            "sslmode": "verify-full",
            "sslrootcert": str(self.authority),
        } | changed

    def warehouse(self, **changed: Any) -> Warehouse:
        """The warehouse, reached otherwise in some respect."""
        values = self.values(**changed)
        if self.kind == "redshift":
            return RedshiftWarehouse(RedshiftConfig(**values, iam_role=IAM_ROLE))
        return PostgresWarehouse(_dsn(values))

    def environment(self, **changed: Any) -> Mapping[str, str]:
        """The settings that say the same."""
        values = self.values(**changed)
        variables = {"HOME": str(self.home), "LAKE": self.lake.uri, "WAREHOUSE": self.kind, "FIRST_DATE": "2024-10-22"}
        if self.kind == "redshift":
            variables |= {f"REDSHIFT_{name.upper()}": str(value) for name, value in values.items()}
            variables |= {"REDSHIFT_IAM_ROLE": IAM_ROLE}
        else:
            variables |= {"POSTGRES_DSN": _dsn(values)}
        return {f"CHARGING_ASSETS_{name}": value for name, value in variables.items()}

    def rows(self) -> int:
        """What is there."""
        return int(self.postgres.execute(self.database, f"SELECT count(*) FROM charging_store.{TABLE}")[0][0])

    def end_sessions(self) -> None:
        """End all sessions of the database but that which does it."""
        self.postgres.execute(
            self.database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{self.database}' AND pid <> pg_backend_pid()",
        )


def _dsn(values: Mapping[str, Any]) -> str:
    return str(make_dsn(**{"dbname" if name == "database" else name: value for name, value in values.items()}))


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The right one and another one."""
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder / "right"), Authority(folder / "other")


@pytest.fixture(scope="module")
def servers(
    postgres: PostgresStandin, s3_server: S3Standin, authorities: tuple[Authority, Authority]
) -> Iterator[Mapping[str, PgProxy]]:
    """Both, as `localhost` and with the canary as password."""
    tls = authorities[0].certificate("localhost")
    with (
        PgProxy(postgres.socket_path, tls=tls, password=CANARY) as proxy,
        RedshiftStandin(postgres, s3_server, tls=tls, password=CANARY) as standin,
    ):
        yield {"postgres": proxy, "redshift": standin}


@pytest.fixture(scope="module")
def databases(
    postgres: PostgresStandin, servers: Mapping[str, PgProxy], authorities: tuple[Authority, Authority]
) -> Mapping[str, str]:
    """For each a database, with its schema."""
    made = {kind: postgres.new_database() for kind in servers}
    for kind, proxy in servers.items():
        nowhere = Lake("/no/such/lake", Path("/no/such/home"))
        guarded = Guarded(kind, proxy, postgres, made[kind], authorities[0].path, nowhere, Path("/no/such/home"))
        guarded.warehouse().ensure_schema()
    return made


@pytest.fixture(params=["postgres", "redshift"])
def guarded(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres: PostgresStandin,
    s3: S3Standin,
    servers: Mapping[str, PgProxy],
    databases: Mapping[str, str],
    authorities: tuple[Authority, Authority],
) -> Guarded:
    kind, home = request.param, tmp_path / "home"
    lake = Lake(f"s3://{s3.new_bucket()}/lake" if kind == "redshift" else str(tmp_path / "lake"), home)
    lake.write(TABLE, DAY, version(0))
    made = Guarded(kind, servers[kind], postgres, databases[kind], authorities[0].path, lake, home)
    made.proxy.faults.clear()
    load(lake, made.warehouse(), TABLE, DAY)
    made.proxy.statements.clear()
    return made


def _everything_said(error: BaseException) -> str:
    """All that can be read off an error and those it came from."""
    texts = ["".join(traceback.format_exception(error))]
    while True:
        texts += [str(error), repr(error), repr(error.args), repr(getattr(error, "__notes__", None))]
        before = error.__cause__ or error.__context__
        if before is None:
            return "\n".join(texts)
        error = before


def _closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def _do(guarded: Guarded, what: str, **changed: Any) -> None:
    """Do something that needs the server, reached in this way."""
    warehouse = guarded.warehouse(**changed)
    if what == "load":
        load(guarded.lake, warehouse, TABLE, DAY)
    else:
        getattr(warehouse, what)()


_FAULTS: dict[str, Callable[[Guarded], None]] = {
    "sessions are ended": lambda guarded: guarded.proxy.faults.extend(
        [Fault("load_log", guarded.end_sessions)] * 4  # as often as it is tried again
    ),
    "connections are lost": lambda guarded: guarded.proxy.faults.extend([Fault("load_log", "lose before")] * 4),
    "an error is answered": lambda guarded: guarded.proxy.faults.append(
        Fault("load_log", "error:53100:No space left on device")
    ),
}


@pytest.mark.parametrize("what", ["plan", "load"])
def test_no_way_of_not_getting_in_shows_the_password(
    guarded: Guarded,
    authorities: tuple[Authority, Authority],
    what: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    ways: dict[str, dict[str, Any]] = {
        "nobody listens": {"port": _closed_port()},
        "no such host": {"host": "no-such-host.invalid"},
        "another password": {"password": WRONG},
        "no such database": {"database": "nowhere"},
        "no such user": {"user": "nobody"},
        "another authority": {"sslrootcert": str(authorities[1].path)},
        "another host's certificate": {"host": "127.0.0.1"},
        "no file of certificates": {"sslrootcert": "/no/such/file.pem"},
        "an option that is none": {"sslmode": "verify-sometimes"},
    }
    for way, changed in ways.items():
        with pytest.raises(WarehouseError) as caught:
            _do(guarded, what, **changed)
        said = _everything_said(caught.value)
        assert TOKEN not in said, way
        assert guarded.kind in said.lower(), way
    printed = capfd.readouterr()
    assert TOKEN not in caplog.text + printed.out + printed.err
    assert TOKEN not in "".join(guarded.proxy.statements)
    assert guarded.rows() == version(0).num_rows


@pytest.mark.parametrize("fault", _FAULTS)
def test_no_fault_on_the_way_shows_the_password(
    guarded: Guarded, fault: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    guarded.lake.write(TABLE, DAY, version(1))
    for what in ("load", "load_log"):
        _FAULTS[fault](guarded)
        with pytest.raises(WarehouseError) as caught:
            _do(guarded, what)
        assert TOKEN not in _everything_said(caught.value)
        guarded.proxy.faults.clear()
    printed = capfd.readouterr()
    assert TOKEN not in caplog.text + printed.out + printed.err
    assert TOKEN not in "".join(guarded.proxy.statements)
    assert guarded.rows() == version(0).num_rows


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://user:{TOKEN}@host:no-port/database",
        f"postgresql://user:{TOKEN}@host/database?no-such-option=1",
        f"host=localhost password='{TOKEN}",
        f"host=localhost pasword={TOKEN}",
        f"{TOKEN}",
        f"mysql://user:{TOKEN}@host/database",
        f"postgresql://user:begin/{TOKEN}@host:5432/database",
        f"postgresql://user:begin@{TOKEN}@host:5432/database",
    ],
)
def test_a_connection_string_that_is_none_is_not_repeated(dsn: str, tmp_path: Path) -> None:
    settings = Settings.from_env({"CHARGING_ASSETS_WAREHOUSE": "postgres", "CHARGING_ASSETS_POSTGRES_DSN": dsn})
    with pytest.raises(WarehouseError, match=r"POSTGRES_DSN|PostgreSQL at host") as caught:
        warehouse_of(settings, Lake(str(tmp_path / "lake"), tmp_path)).plan()
    assert TOKEN not in _everything_said(caught.value)


def test_settings_and_what_is_made_of_them_do_not_show_the_password(guarded: Guarded) -> None:
    settings = Settings.from_env(guarded.environment())
    made = warehouse_of(settings, guarded.lake)
    assert [step for step in made.plan() if step.is_change] == []  # it is the right password
    shown = [repr(settings), str(settings), repr(settings.redshift), repr(made), str(made)]
    shown += [repr(step) for step in made.plan()] + [repr(made.load_log()), repr(made.views())]
    assert TOKEN not in "\n".join(shown)


@pytest.mark.parametrize(
    ("name", "value"), [("IAM_ROLE", "no role"), ("PORT", "many"), ("SSLMODE", "none"), ("HOST", ""), ("USER", "")]
)
def test_a_wrong_setting_of_redshift_does_not_show_the_password(name: str, value: str) -> None:
    given = {"HOST": "h", "DATABASE": "d", "USER": "u", "IAM_ROLE": IAM_ROLE, "PASSWORD": CANARY, name: value}
    environment = {f"CHARGING_ASSETS_REDSHIFT_{name}": value for name, value in given.items()}
    environment |= {"CHARGING_ASSETS_WAREHOUSE": "redshift", "CHARGING_ASSETS_LAKE": "s3://bucket/lake"}
    with pytest.raises(SettingsError, match=f"CHARGING_ASSETS_REDSHIFT_{name}") as caught:
        Settings.from_env(environment)
    assert TOKEN not in _everything_said(caught.value)


def _command(guarded: Guarded, *arguments: str, **changed: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DAGSTER_HOME": "", **guarded.environment(**changed)}
    return subprocess.run(
        [Path(sys.executable).with_name("charging-assets"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_shows_the_password_neither_when_it_works_nor_when_it_fails(guarded: Guarded) -> None:
    guarded.lake.write(TABLE, DAY, version(1))
    done = [_command(guarded, *arguments) for arguments in (["publish", "--to", "2024-10-24"], ["doctor", "--offline"])]
    assert done[0].returncode == 0, done
    assert guarded.rows() == version(1).num_rows
    failed = [_command(guarded, "migrate", password=WRONG), _command(guarded, "publish", port=_closed_port())]
    assert [one.returncode for one in failed] == [1, 1], failed
    for one in [*done, *failed]:
        assert TOKEN not in one.stdout + one.stderr, one.args
    kept = [path for path in guarded.home.rglob("*") if path.is_file()]
    assert kept
    for path in kept:  # Dagster's events among them
        assert TOKEN.encode() not in path.read_bytes(), path


# TLS


@pytest.mark.parametrize("what", ["plan", "load"])  # PostgreSQL answers them to psycopg2 and to ADBC
def test_the_right_authority_and_host_are_accepted(guarded: Guarded, what: str) -> None:
    _do(guarded, what)
    assert guarded.rows() == version(0).num_rows


@pytest.mark.parametrize("what", ["plan", "load"])
def test_a_certificate_of_another_authority_is_refused(
    guarded: Guarded, authorities: tuple[Authority, Authority], what: str
) -> None:
    with pytest.raises(WarehouseUnavailable, match="certificate verify failed"):
        _do(guarded, what, sslrootcert=str(authorities[1].path))
    assert guarded.proxy.statements == []


@pytest.mark.parametrize("what", ["plan", "load"])
def test_a_certificate_of_another_host_is_refused(guarded: Guarded, what: str) -> None:
    with pytest.raises(WarehouseUnavailable, match="does not match host name"):
        _do(guarded, what, host="127.0.0.1")
    assert guarded.proxy.statements == []
    _do(guarded, what, host="127.0.0.1", sslmode="verify-ca")  # which does not ask for the host


@pytest.mark.parametrize("what", ["plan", "load"])
def test_a_server_without_tls_gets_no_password(guarded: Guarded, what: str) -> None:
    with PgProxy(guarded.postgres.socket_path, password=CANARY) as plain:
        with pytest.raises(WarehouseUnavailable, match="does not support SSL"):
            _do(guarded, what, port=plain.port)
        assert plain.statements == []
