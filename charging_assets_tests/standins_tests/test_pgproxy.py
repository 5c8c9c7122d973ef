"""The proxy passes everything on but for the faults it was told, and what is lost is truly lost or truly committed."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import psutil
import psycopg2
import psycopg2.errors
import psycopg2.extensions
import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from charging_assets_tests.standins.pgproxy import Fault, PgProxy
from charging_assets_tests.standins.postgres import PostgresStandin, is_alive

_IN_ERROR = psycopg2.extensions.TRANSACTION_STATUS_INERROR


@pytest.fixture
def proxy(postgres: PostgresStandin) -> Iterator[PgProxy]:
    with PgProxy(postgres.socket_path) as proxy:
        yield proxy


@pytest.fixture
def database(postgres: PostgresStandin) -> str:
    """A database with an empty table `t(a int)`."""
    name = postgres.new_database()
    postgres.execute(name, "CREATE TABLE t (a int)")
    return name


@pytest.fixture
def connection(proxy: PgProxy, database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(proxy.dsn(database))) as connection:
        yield connection


class Authority:
    """A certificate authority that was made up, and certificates of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, folder.name)])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)))

    def certificate(self, host: str) -> tuple[Path, Path]:
        """Certificate and key for a host name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        signed = self._sign(name, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        paths = self._folder / f"{host}.pem", self._folder / f"{host}.key"
        paths[0].write_bytes(signed)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def count(postgres: PostgresStandin, database: str) -> int:
    return int(postgres.execute(database, "SELECT count(*) FROM t")[0][0])


def test_a_server_leaves_no_process_and_no_folder_behind() -> None:
    with PostgresStandin() as server:
        folder = server.socket_path.parents[1]
        database = server.new_database()
        rows = server.execute(database, "SHOW server_encoding") + server.execute(database, "SHOW fsync")
        processes = [
            one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())
        ]
        assert processes
    assert rows == [("UTF8",), ("off",)]
    assert not folder.exists()
    assert not any(is_alive(one) for one in processes)


def test_starting_a_server_says_nothing_where_there_is_no_runtime_folder() -> None:
    program = (
        "from charging_assets_tests.standins.postgres import PostgresStandin\n"
        "with PostgresStandin() as server:\n"
        "    print(server.execute('postgres', 'SELECT 1'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[(1,)]\n", "", 0)


def test_queries_and_copies_of_psycopg2_pass_through(connection: Any, proxy: PgProxy, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("".join(f"{number}\n" for number in range(50_000)))
    with connection, connection.cursor() as cursor:
        with lines.open() as file:
            cursor.copy_expert("COPY t FROM STDIN", file)
        cursor.execute("SELECT sum(a), %s FROM t", ["ä'\\"])
        assert cursor.fetchall() == [(sum(range(50_000)), "ä'\\")]
        with (tmp_path / "back").open("w") as file:
            cursor.copy_expert("COPY (SELECT a FROM t ORDER BY a) TO STDOUT", file)
    assert (tmp_path / "back").read_text() == lines.read_text()
    assert proxy.statements == [
        "BEGIN",
        "COPY t FROM STDIN",
        "SELECT sum(a), 'ä''\\' FROM t",
        "COPY (SELECT a FROM t ORDER BY a) TO STDOUT",
        "COMMIT",
    ]


def test_adbc_ingests_and_queries_through_it(proxy: PgProxy, database: str) -> None:
    rows = pa.table({"a": pa.array(range(100_000), pa.int32())})
    with adbc_driver_postgresql.dbapi.connect(proxy.dsn(database)) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("t", rows, mode="append")
        connection.commit()
        cursor.execute("SELECT count(*) FROM t WHERE a > $1", (999,))
        assert cursor.fetchall() == [(99_000,)]
    assert any(sql.startswith("COPY") for sql in proxy.statements)


def test_a_statement_can_be_cancelled(proxy: PgProxy, postgres: PostgresStandin, database: str) -> None:
    # In a process of its own: psycopg2 holds the interpreter's lock while it cancels, and the proxy could not answer.
    program = """
import sys, threading, psycopg2
connection = psycopg2.connect(sys.argv[1])
threading.Thread(target=lambda: (sys.stdin.readline(), connection.cancel())).start()
try:
    connection.cursor().execute("SELECT pg_sleep(60)")
except psycopg2.Error as error:
    print(error.pgcode)
"""
    is_asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with subprocess.Popen(
        [sys.executable, "-c", program, proxy.dsn(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        while child.poll() is None and not postgres.execute("postgres", is_asleep)[0][0]:
            pass
        assert child.communicate("now\n", timeout=30)[0] == "57014\n"


def test_two_clients_wait_for_each_other_as_at_the_server(proxy: PgProxy, database: str) -> None:
    with closing(psycopg2.connect(proxy.dsn(database))) as one, closing(psycopg2.connect(proxy.dsn(database))) as two:
        one.cursor().execute("LOCK t")
        two.cursor().execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            two.cursor().execute("SELECT * FROM t")
        two.rollback()
        one.rollback()
        two.cursor().execute("SELECT * FROM t")


def test_a_backend_that_is_terminated_ends_its_client_only(
    connection: Any, proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    with closing(psycopg2.connect(proxy.dsn(database))) as other:
        postgres.execute(database, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(psycopg2.OperationalError, match=r"terminat|closed"):
            connection.cursor().execute("SELECT 1")
        other.cursor().execute("SELECT 1")


def test_a_connection_lost_before_commit_has_committed_nothing(
    connection: Any, proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    proxy.faults.append(Fault("commit", "lose before"))
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg2.OperationalError):
        connection.commit()
    assert count(postgres, database) == 0


def test_a_connection_lost_after_commit_has_committed_all(
    connection: Any, proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    proxy.faults.append(Fault("commit", "lose after"))
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg2.OperationalError):
        connection.commit()
    assert count(postgres, database) == 1


@pytest.mark.parametrize(("action", "committed"), [("lose before", 0), ("lose after", 3)])
def test_adbc_loses_its_connection_during_commit(
    proxy: PgProxy, postgres: PostgresStandin, database: str, action: str, committed: int
) -> None:
    proxy.faults.append(Fault("commit", action))
    with (
        adbc_driver_postgresql.dbapi.connect(proxy.dsn(database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.adbc_ingest("t", pa.table({"a": pa.array([1, 2, 3], pa.int32())}), mode="append")
        with pytest.raises(adbc_driver_postgresql.dbapi.Error):
            connection.commit()
    assert count(postgres, database) == committed


@pytest.mark.parametrize(("action", "inserted"), [("lose before", 0), ("lose after", 1)])
def test_a_statement_with_parameters_is_lost_before_or_after_it_was_carried_out(
    proxy: PgProxy, postgres: PostgresStandin, database: str, action: str, inserted: int
) -> None:
    with (
        adbc_driver_postgresql.dbapi.connect(proxy.dsn(database), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        proxy.faults.append(Fault("insert into t", action))
        with pytest.raises(adbc_driver_postgresql.dbapi.Error):
            cursor.execute("INSERT INTO t SELECT $1::int", (7,))
    assert count(postgres, database) == inserted


def test_an_error_instead_of_a_statement_fails_the_transaction_it_is_in(
    connection: Any, proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    proxy.faults.append(Fault(r"INSERT INTO T VALUES \(2\)", "error:40001:could not serialize: try again"))
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg2.errors.SerializationFailure, match="could not serialize: try again"):
            cursor.execute("INSERT INTO t VALUES (2)")
        assert connection.info.transaction_status == _IN_ERROR
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cursor.execute("SELECT 1")
    connection.commit()
    assert count(postgres, database) == 0


def test_an_error_outside_a_transaction_leaves_none_behind(connection: Any, proxy: PgProxy) -> None:
    connection.autocommit = True
    proxy.faults.append(Fault("select 1", "error:53100:disk full"))
    with connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.DiskFull):
            cursor.execute("SELECT 1")
        assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        cursor.execute("SELECT 1")


def test_an_error_instead_of_a_statement_with_parameters_is_answered(
    proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    with (
        adbc_driver_postgresql.dbapi.connect(proxy.dsn(database), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        proxy.faults.append(Fault("insert", "error:53100:disk full"))
        with pytest.raises(adbc_driver_postgresql.dbapi.Error, match="disk full"):
            cursor.execute("INSERT INTO t SELECT $1::int", (7,))
        cursor.execute("INSERT INTO t SELECT $1::int", (8,))
    assert postgres.execute(database, "SELECT a FROM t") == [(8,)]


def test_faults_wait_for_their_statement_in_their_order(connection: Any, proxy: PgProxy) -> None:
    called: list[str] = []
    proxy.faults.append(Fault("second", lambda: called.append("two")))
    proxy.faults.append(Fault("first", lambda: called.append("one")))
    with connection.cursor() as cursor:
        for name in ("first", "second", "first"):
            cursor.execute(f"SELECT '{name}'")
    assert called == ["two", "one"]
    assert not proxy.faults


def test_a_callable_runs_before_the_server_sees_the_statement(
    connection: Any, proxy: PgProxy, postgres: PostgresStandin, database: str
) -> None:
    seen: list[int] = []
    connection.autocommit = True
    proxy.faults.append(Fault("insert", lambda: seen.append(count(postgres, database))))
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    assert (seen, count(postgres, database)) == ([0], 1)


def test_a_fault_that_is_none_is_refused_where_it_is_made() -> None:
    for action in ("lose", "error:40001", "error:4:x"):
        with pytest.raises(ValueError, match="a fault is"):
            Fault("x", action)


def test_the_password_is_asked_for_and_a_wrong_one_refused(postgres: PostgresStandin, database: str) -> None:
    with PgProxy(postgres.socket_path, password="a:b/c@d ä") as proxy:
        psycopg2.connect(proxy.dsn(database)).close()
        adbc_driver_postgresql.dbapi.connect(proxy.dsn(database)).close()
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(proxy.dsn(database, password="wrong"))


def test_tls_convinces_only_who_trusts_its_authority_and_means_its_host(
    postgres: PostgresStandin, database: str, tmp_path: Path
) -> None:
    right, wrong = Authority(tmp_path / "right"), Authority(tmp_path / "wrong")
    strict = {"host": "localhost", "sslmode": "verify-full"}
    with PgProxy(postgres.socket_path, tls=right.certificate("localhost")) as proxy:
        with closing(psycopg2.connect(proxy.dsn(database, **strict, sslrootcert=str(right.path)))) as connection:
            assert connection.info.ssl_in_use
            with connection.cursor() as cursor:
                cursor.execute("SELECT repeat('x', 5000000)")
                assert len(cursor.fetchall()[0][0]) == 5_000_000
        with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
            psycopg2.connect(proxy.dsn(database, **strict, sslrootcert=str(wrong.path)))
    with (
        PgProxy(postgres.socket_path, tls=right.certificate("elsewhere")) as proxy,
        pytest.raises(psycopg2.OperationalError, match="does not match host name"),
    ):
        psycopg2.connect(proxy.dsn(database, **strict, sslrootcert=str(right.path)))


def test_a_proxy_without_tls_says_so(proxy: PgProxy, database: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="does not support SSL"):
        psycopg2.connect(proxy.dsn(database, sslmode="require"))
