"""The stand-in refuses what Redshift refuses, and carries out the rest in real transactions."""

import datetime as dt
import io
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from sqlalchemy_redshift.commands import CopyCommand, Format

from charging_assets_tests.standins.pgproxy import Fault
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import BUSY, S3Standin

ROLE = "arn:aws:iam::123456789012:role/loader"
POINT = "0101000000000000000000F03F0000000000000040"
_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE
_IN_ERROR = psycopg2.extensions.TRANSACTION_STATUS_INERROR


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Standin]:
    with S3Standin() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(postgres: PostgresStandin, s3: S3Standin) -> Iterator[RedshiftStandin]:
    with RedshiftStandin(postgres, s3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared(cluster: RedshiftStandin, postgres: PostgresStandin) -> Iterator["Client"]:
    """A client for what changes nothing, in a database with `t(a int, b varchar(10), geom geometry)`."""
    with closing(Client(cluster, postgres.new_database())) as client:
        client("CREATE TABLE t (a int, b varchar(10), geom geometry)")
        yield client


@pytest.fixture
def client(cluster: RedshiftStandin, postgres: PostgresStandin) -> Iterator["Client"]:
    """A client of an empty database."""
    cluster.faults.clear()
    with closing(Client(cluster, postgres.new_database())) as client:
        yield client


@pytest.fixture
def bucket(s3: S3Standin) -> "Bucket":
    return Bucket(s3)


class Client:
    """A connection that commits each statement unless told to BEGIN, as the loader's does."""

    def __init__(self, cluster: RedshiftStandin, database: str, **parameters: str) -> None:
        self.cluster, self.database = cluster, database
        self.connection = psycopg2.connect(cluster.dsn(database, **parameters))
        self.connection.autocommit = True

    def __call__(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def another(self, **parameters: str) -> "Client":
        return Client(self.cluster, self.database, **parameters)

    @property
    def status(self) -> int:
        return int(self.connection.info.transaction_status)

    def close(self) -> None:
        self.connection.close()


class Bucket:
    """A bucket, into which tables are written as Parquet."""

    def __init__(self, s3: S3Standin) -> None:
        self.name, self.s3 = s3.new_bucket(), s3.client()

    def put(self, key: str, **columns: pa.Array) -> dict[str, Any]:
        """Write a file; its entry for a manifest."""
        return self.put_table(key, pa.table(columns))

    def put_table(self, key: str, table: pa.Table, **options: Any) -> dict[str, Any]:
        file = io.BytesIO()
        pq.write_table(table, file, **options)
        self.s3.put_object(Bucket=self.name, Key=key, Body=file.getvalue())
        url = f"s3://{self.name}/{key}"
        return {"url": url, "mandatory": True, "meta": {"content_length": len(file.getvalue())}}

    def manifest(self, *entries: dict[str, Any]) -> str:
        """Write a manifest; its address."""
        self.s3.put_object(Bucket=self.name, Key="manifest.json", Body=json.dumps({"entries": entries}))
        return f"s3://{self.name}/manifest.json"

    def copy(self, target: str, options: str = "MANIFEST", address: str | None = None) -> str:
        """The statement that copies what the manifest names."""
        address = address or f"s3://{self.name}/manifest.json"
        return f"COPY {target} FROM '{address}' IAM_ROLE '{ROLE}' FORMAT AS PARQUET {options}"


# ---------------------------------------------------------------- what is refused

REFUSED_BY_REDSHIFT = {
    "ON CONFLICT": "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING",
    "CREATE INDEX": "CREATE INDEX i ON t (a)",
    "CREATE UNIQUE INDEX": "CREATE UNIQUE INDEX i ON t (a)",
    "an array as a type": "CREATE TABLE x (a int[])",
    "an array as a literal": "SELECT ARRAY[1, 2]",
    "an array's element": "SELECT b[1] FROM t",
    "JSONB as a type": "CREATE TABLE x (a jsonb)",
    "JSONB in a cast": "SELECT '{}'::jsonb",
    "UUID as a type": "CREATE TABLE x (a uuid)",
    "UUID in a cast": "SELECT CAST('x' AS uuid)",
    "SERIAL": "CREATE TABLE x (a serial)",
    "BIGSERIAL": "CREATE TABLE x (a bigserial)",
    "DISTINCT ON": "SELECT DISTINCT ON (a) a, b FROM t",
    "FILTER": "SELECT count(*) FILTER (WHERE a > 1) FROM t",
    "LATERAL": "SELECT * FROM t, LATERAL (SELECT t.a + 1) x",
    "generate_series": "SELECT a FROM t, generate_series(1, 3)",
    "SAVEPOINT": "SAVEPOINT s",
    "ROLLBACK TO": "ROLLBACK TO SAVEPOINT s",
    "COPY FROM STDIN": "COPY t FROM STDIN",
    "RETURNING": "INSERT INTO t VALUES (1, 'x') RETURNING a",
    "RETURNING of DELETE": "DELETE FROM t RETURNING a",
    "TEXT": "CREATE TABLE x (a text)",
    "VARCHAR without length": "CREATE TABLE x (a varchar)",
    "BYTEA": "CREATE TABLE x (a bytea)",
    "BYTEA in a cast": "SELECT 'x'::bytea",
    "TABLESPACE": "CREATE TABLE x (a int) TABLESPACE y",
    "ON COMMIT": "CREATE TEMP TABLE x (a int) ON COMMIT DROP",
    "UNLOGGED": "CREATE UNLOGGED TABLE x (a int)",
    "OR REPLACE TABLE": "CREATE OR REPLACE TABLE x (a int)",
    "PARTITION BY": "CREATE TABLE x (a int) PARTITION BY RANGE (a)",
    "CHECK": "CREATE TABLE x (a int CHECK (a > 1))",
    "CHECK of a table": "CREATE TABLE x (a int, CHECK (a > 1))",
    "several actions": "ALTER TABLE t ADD COLUMN x int, ADD COLUMN y int",
    "ADD COLUMN IF NOT EXISTS": "ALTER TABLE t ADD COLUMN IF NOT EXISTS x int",
    "ADD COLUMN NOT NULL": "ALTER TABLE t ADD COLUMN x int NOT NULL",
    "ALTER COLUMN": "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER COLUMN TYPE": "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    "TRIGGER": "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
    "SEQUENCE": "CREATE SEQUENCE s",
    "EXTENSION": "CREATE EXTENSION postgis",
    "CREATE ROLE with options": "CREATE ROLE x LOGIN",
    "advisory locks": "SELECT pg_advisory_lock(1)",
    "pg_sleep": "SELECT pg_sleep(0)",
    "string_agg": "SELECT string_agg(b, ',') FROM t",
    "now": "SELECT now()",
    "current_timestamp": "INSERT INTO t (b) SELECT current_timestamp",
    "regclass": "SELECT 't'::regclass",
    "IS DISTINCT FROM": "SELECT 1 FROM t WHERE a IS DISTINCT FROM 1",
    "FOR UPDATE": "SELECT a FROM t FOR UPDATE",
    "TABLESAMPLE": "SELECT a FROM t TABLESAMPLE BERNOULLI (1)",
    "VALUES as a table": "SELECT * FROM (VALUES (1)) AS v(a)",
    "a change inside WITH": "WITH d AS (DELETE FROM t) SELECT 1",
    "a catalog beside a table": "SELECT a FROM t, pg_catalog.pg_class c WHERE c.relname = 't'",
    "LOCK with a mode": "LOCK t IN SHARE MODE",
    "TRUNCATE of several tables": "TRUNCATE t, t",
    "DO": "DO $$ BEGIN END $$",
    "LISTEN": "LISTEN x",
    "E-strings": "SELECT E'a'",
    "an encoding of another type": "CREATE TABLE x (a varchar(9) ENCODE az64)",
    "BYTEDICT of a boolean": "CREATE TABLE x (a boolean ENCODE bytedict)",
    "an encoding of GEOMETRY": "CREATE TABLE x (a geometry ENCODE zstd)",
    "GEOMETRY as a sort key": "CREATE TABLE x (a geometry) SORTKEY (a)",
    "a late-binding view without schemas": "CREATE VIEW v AS SELECT a FROM t WITH NO SCHEMA BINDING",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE SELECT 1",
}
REFUSED_OF_COPY = {
    "REGION": f"IAM_ROLE '{ROLE}' FORMAT AS PARQUET REGION 'eu-central-1'",
    "MAXERROR": f"IAM_ROLE '{ROLE}' FORMAT AS PARQUET MAXERROR 1",
    "COMPUPDATE": f"IAM_ROLE '{ROLE}' FORMAT AS PARQUET COMPUPDATE ON",
    "ACCEPTANYDATE": f"IAM_ROLE '{ROLE}' FORMAT AS PARQUET ACCEPTANYDATE",
    "an access key": "ACCESS_KEY_ID 'x' SECRET_ACCESS_KEY 'y' FORMAT AS PARQUET",
    "an access key among credentials": "CREDENTIALS 'aws_access_key_id=x;aws_secret_access_key=y' FORMAT AS PARQUET",
    "a role that is none": "IAM_ROLE 'loader' FORMAT AS PARQUET",
    "CSV": f"IAM_ROLE '{ROLE}' FORMAT AS CSV",
}
BEYOND_THE_STANDIN = {
    "IDENTITY": "CREATE TABLE x (a bigint IDENTITY(1, 1))",
    "SUPER": "CREATE TABLE x (a super)",
    "MATERIALIZED VIEW": "CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
    "APPEND": "ALTER TABLE t APPEND FROM u",
    "TRUNCATE beside others": "TRUNCATE t; SELECT 1",
}


@pytest.mark.parametrize("sql", REFUSED_BY_REDSHIFT.values(), ids=REFUSED_BY_REDSHIFT)
def test_what_redshift_does_not_have_is_refused(shared: Client, sql: str) -> None:
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="stand-in"):
        shared(sql)


@pytest.mark.parametrize("options", REFUSED_OF_COPY.values(), ids=REFUSED_OF_COPY)
def test_copy_of_parquet_takes_a_role_and_few_options(shared: Client, options: str) -> None:
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="stand-in"):
        shared(f"COPY t FROM 's3://bucket/key' {options}")


@pytest.mark.parametrize("sql", BEYOND_THE_STANDIN.values(), ids=BEYOND_THE_STANDIN)
def test_what_the_standin_cannot_do_is_not_called_unsupported_by_redshift(shared: Client, sql: str) -> None:
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="not carried out by the stand-in"):
        shared(sql)


@pytest.mark.parametrize(
    "sql", ["MERGE INTO t USING t u ON t.a = u.a WHEN MATCHED THEN DELETE", "UNLOAD ('x') TO 's3://b'"]
)
def test_merge_and_unload_are_refused(shared: Client, sql: str) -> None:
    with pytest.raises(psycopg2.errors.FeatureNotSupported):
        shared(sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE x (a varchar(65536))", "1 to 65535 bytes"),
        ("CREATE TABLE x (a varbyte(16777217))", "1 to 16777216 bytes"),
        ("CREATE TABLE x (a int ENCODE snappy)", "no encoding SNAPPY"),
        ("CREATE TABLE x (a int) DISTSTYLE KEY", "DISTSTYLE KEY with 0 columns"),
        ("CREATE TABLE x (a int) DISTSTYLE ALL DISTKEY (a)", "DISTSTYLE ALL with 1 columns"),
        ("CREATE TABLE x (a int) SORTKEY (b)", 'column "b" named in a key does not exist'),
        ("SELECT 'never closed", "unterminated quoted string"),
        ("SELECT FROM WHERE", "syntax error"),
        ("COPY t FROM 's3://bucket/key' FORMAT AS PARQUET", "needs IAM_ROLE"),
    ],
)
def test_mistakes_are_errors_of_syntax(shared: Client, sql: str, said: str) -> None:
    with pytest.raises(psycopg2.ProgrammingError, match=said):
        shared(sql)


@pytest.mark.parametrize("setting", ["lock_timeout", "work_mem", "standard_conforming_strings", "synchronous_commit"])
def test_settings_that_redshift_does_not_know_are_refused(shared: Client, setting: str) -> None:
    for sql in (f"SET {setting} TO 1", f"SHOW {setting}"):
        with pytest.raises(psycopg2.errors.UndefinedObject, match="unrecognized configuration parameter"):
            shared(sql)


@pytest.mark.parametrize("parameters", [{"options": "-c statement_timeout=1"}, {"replication": "database"}])
def test_startup_parameters_that_redshift_does_not_know_are_refused(shared: Client, parameters: dict[str, str]) -> None:
    with pytest.raises(psycopg2.OperationalError, match="unrecognized configuration parameter"):
        shared.another(**parameters)


def test_a_refused_statement_fails_its_transaction(shared: Client) -> None:
    shared("BEGIN")
    with pytest.raises(psycopg2.errors.FeatureNotSupported):
        shared("SAVEPOINT s")
    assert shared.status == _IN_ERROR
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        shared("SELECT 1")
    shared("ROLLBACK")
    assert shared("SELECT 1") == [(1,)]


def test_words_in_texts_names_and_comments_are_not_taken_for_sql(shared: Client) -> None:
    sql = """SELECT 'a; SAVEPOINT s -- ''x''' AS "returning", /* ON CONFLICT; */ 'pg_sleep(1)' -- LATERAL;
             ; SELECT 'jsonb' AS uuid"""
    assert shared(sql) == [("jsonb",)]


# ---------------------------------------------------------------- how it looks to a client


def test_it_says_that_it_is_8_0_2_and_redshift(shared: Client) -> None:
    assert shared.connection.server_version == 80002
    assert shared("SHOW server_version") == [("8.0.2",)]
    assert "Redshift" in shared("SELECT version()")[0][0]


def test_backslashes_escape_in_texts_and_psycopg2_knows(shared: Client) -> None:
    hostile = "O'Neil; DROP TABLE x;--\\ \\' \" \n\t😀 \\n %"
    assert shared("SELECT %s, '\\\\'", [hostile]) == [(hostile, "\\")]


def test_names_are_folded_to_small_letters_even_in_quotes(client: Client) -> None:
    client('CREATE TABLE "Odd Name" ("Some" int)')
    assert client('SELECT "SOME" FROM "odd name"') == []


def test_settings_of_redshift_are_kept(shared: Client) -> None:
    shared("SET query_group TO 'loads'")
    assert shared("SHOW query_group") == [("loads",)]
    shared("RESET query_group")
    assert shared("SHOW query_group") == [("default",)]


def test_a_statement_timeout_is_kept(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    with closing(client.another()) as other:
        other("BEGIN")
        other("LOCK t")
        client("SET statement_timeout TO 50")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            client("SELECT * FROM t")


def test_the_password_is_asked_for(postgres: PostgresStandin, s3: S3Standin, client: Client) -> None:
    with RedshiftStandin(postgres, s3, password="secret") as cluster:
        Client(cluster, client.database).close()
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            Client(cluster, client.database, password="wrong")


def test_a_database_that_is_not_there_is_called_so(cluster: RedshiftStandin) -> None:
    with pytest.raises(psycopg2.OperationalError, match='database "nowhere" does not exist'):
        Client(cluster, "nowhere")


def test_the_dialect_of_sqlalchemy_works_on_it(client: Client, bucket: Bucket) -> None:
    table = sa.Table(
        "dialect_table",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, nullable=False, redshift_encode="az64"),
        sa.Column("name", sa.String(100), redshift_encode="zstd"),
        sa.Column("at", sa.DateTime(timezone=True), redshift_encode="az64"),
        sa.PrimaryKeyConstraint("id"),
        redshift_diststyle="EVEN",
        redshift_sortkey=["at", "id"],
    )
    bucket.manifest(
        bucket.put(
            "it's a key.parquet",
            id=pa.array([1, 1]),
            name=pa.array(["x", None]),
            at=pa.array([0, None], pa.timestamp("us", "UTC")),
        )
    )
    copied = CopyCommand(
        table,
        data_location=f"s3://{bucket.name}/manifest.json",
        iam_role_arns=[ROLE],
        format=Format.parquet,
        manifest=True,
        stat_update=True,
    )
    engine = sa.create_engine(
        "redshift+psycopg2://", creator=lambda: psycopg2.connect(client.cluster.dsn(client.database))
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(copied)
        connection.execute(sa.insert(table).values(id=2, name="y", at=sa.func.now()))
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 3
    engine.dispose()


# ---------------------------------------------------------------- tables, views, roles


def test_keys_are_not_enforced_but_not_null_is(client: Client) -> None:
    client(
        'CREATE TABLE "t" (a int PRIMARY KEY, b int UNIQUE REFERENCES u (x), c int NOT NULL DEFAULT 1, d int SORTKEY,'
        " CONSTRAINT k UNIQUE (b), FOREIGN KEY (a) REFERENCES u (x)) BACKUP NO DISTSTYLE KEY DISTKEY (a)"
    )
    client("INSERT INTO t (a, b) VALUES (1, 1), (1, 1)")
    for column in ("a", "c"):
        with pytest.raises(psycopg2.errors.NotNullViolation):
            client(f"INSERT INTO t (a, b, c) SELECT {', '.join('NULL' if name == column else '1' for name in 'abc')}")


def test_the_length_of_a_text_is_in_bytes(client: Client) -> None:
    client("CREATE TABLE t (a varchar(6), b varbyte(2))")
    client("INSERT INTO t (a) VALUES ('äöü')")
    for too_long in ("äöüx", "abcdefg"):
        with pytest.raises(
            psycopg2.errors.StringDataRightTruncation, match=r"too long for type character varying\(6\)"
        ):
            client("INSERT INTO t (a) VALUES (%s)", [too_long])
    client("CREATE TEMP TABLE copy_of_t (LIKE t)")
    with pytest.raises(psycopg2.errors.StringDataRightTruncation):
        client("INSERT INTO copy_of_t (a) VALUES ('äöüx')")


def test_the_catalog_gives_types_as_declared(client: Client) -> None:
    client("CREATE SCHEMA s")
    client(
        "CREATE TABLE s.t (a varchar(65535) ENCODE zstd, b timestamp ENCODE az64, c timestamptz, d geometry,"
        " e double precision, f bool, g int8, h date, i numeric(10, 2))"
    )
    expected = [
        ("a", "character varying", 65535),
        ("b", "timestamp without time zone", None),
        ("c", "timestamp with time zone", None),
        ("d", "geometry", None),
        ("e", "double precision", None),
        ("f", "boolean", None),
        ("g", "bigint", None),
        ("h", "date", None),
        ("i", "numeric", None),
    ]
    for view in ("information_schema.columns", "svv_columns"):
        sql = f"SELECT column_name, data_type, character_maximum_length FROM {view} WHERE table_schema = 's'"
        assert client(f"{sql} ORDER BY ordinal_position") == expected
    assert client("SELECT nspname FROM pg_namespace WHERE nspname IN ('s', 'public')") == [("public",), ("s",)]


def test_a_table_can_be_made_from_a_query(client: Client) -> None:
    client("CREATE TEMP TABLE t DISTSTYLE EVEN SORTKEY (a) AS SELECT 1 AS a, 'x'::varchar(3) AS b")
    assert client("SELECT a, b FROM t") == [(1, "x")]


def test_columns_are_added_dropped_renamed_and_widened_one_by_one(client: Client) -> None:
    client("CREATE TABLE t (a varchar(2))")
    client("INSERT INTO t VALUES ('ab')")
    client("ALTER TABLE t ADD COLUMN b varchar(3) DEFAULT 'x' ENCODE zstd")
    client("ALTER TABLE t ADD COLUMN c int")
    client("ALTER TABLE t RENAME COLUMN c TO d")
    client("ALTER TABLE t DROP COLUMN d")
    client("ALTER TABLE t ALTER COLUMN a TYPE varchar(4)")
    client("INSERT INTO t (a) VALUES ('ää')")
    assert client("SELECT a, b FROM t ORDER BY a") == [("ab", "x"), ("ää", "x")]
    with pytest.raises(psycopg2.errors.StringDataRightTruncation):
        client("INSERT INTO t (a) VALUES ('äää')")


def test_a_text_is_not_widened_inside_a_transaction(client: Client) -> None:
    client("CREATE TABLE t (a varchar(2))")
    client("BEGIN")
    with pytest.raises(psycopg2.errors.ActiveSqlTransaction):
        client("ALTER TABLE t ALTER COLUMN a TYPE varchar(4)")


def test_views_bind_late_in_their_wording(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    client("CREATE VIEW v AS WITH w AS (SELECT a FROM public.t) SELECT a FROM w WITH NO SCHEMA BINDING")
    client("COMMENT ON VIEW v IS 'its; purpose'")
    assert client("SELECT a FROM v") == []
    client("DROP VIEW IF EXISTS v")


def test_a_role_is_granted_what_its_users_then_may(client: Client) -> None:
    reader, user = f"reader_{client.database}", f"user_{client.database}"
    client("CREATE SCHEMA s")
    client("CREATE TABLE s.t (a int)")
    client(f"CREATE ROLE {reader}")
    with pytest.raises(psycopg2.errors.DuplicateObject):
        client(f"CREATE ROLE {reader}")
    assert (reader,) in client("SELECT role_name FROM svv_roles")
    client(f"CREATE USER {user} PASSWORD DISABLE")
    client(f"GRANT USAGE ON SCHEMA s TO ROLE {reader}")
    client(f"GRANT SELECT ON ALL TABLES IN SCHEMA s TO ROLE {reader}")
    client(f"ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO ROLE {reader}")
    client("CREATE TABLE s.later (a int)")
    with closing(client.another(user=user)) as other:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            other("SELECT * FROM s.t")
        client(f"GRANT ROLE {reader} TO {user}")
        assert other("SELECT * FROM s.t, s.later") == []
        assert (reader,) in other("SELECT role_name FROM svv_roles")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            other("INSERT INTO s.t VALUES (1)")
        client(f"REVOKE ROLE {reader} FROM {user}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            other("SELECT * FROM s.t")


def test_times_come_from_sysdate_and_getdate_in_utc(shared: Client) -> None:
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    for value in shared("SELECT SYSDATE, getdate()")[0]:
        assert before <= value <= dt.datetime.now(dt.UTC).replace(tzinfo=None)


def test_a_shape_makes_the_round_trip_through_hexadecimal_text(client: Client) -> None:
    client("CREATE TABLE stage (wkb varbyte(100))")
    client("CREATE TABLE t (geom geometry)")
    client("INSERT INTO stage SELECT to_varbyte.x FROM (SELECT decode(%s, 'hex') AS x) to_varbyte", [POINT])
    client("INSERT INTO t SELECT ST_GeomFromWKB(FROM_VARBYTE(wkb, 'hex'), 4326) FROM stage")
    with_srid = f"{POINT[:8]}20E6100000{POINT[10:]}"
    assert client("SELECT geom, ST_AsHexEWKB(geom), ST_AsHexEWKB(ST_GeomFromWKB(%s)) FROM t", [POINT]) == [
        (with_srid, with_srid, POINT)
    ]
    assert client("SELECT ST_GeomFromWKB(NULL, 4326), ST_GeomFromWKB(%s, -1)", [POINT]) == [(None, None)]


@pytest.mark.parametrize("wkb", ["", "no hex", POINT[:-1], POINT + "0" * 65536])
def test_what_is_no_shape_is_refused(shared: Client, wkb: str) -> None:
    with pytest.raises(psycopg2.Error, match=r"Invalid WKB|too long for type character varying\(65535\)"):
        shared("SELECT ST_GeomFromWKB(%s, 4326)", [wkb])


def test_a_text_is_not_a_shape(shared: Client) -> None:
    with pytest.raises(psycopg2.errors.DatatypeMismatch):
        shared("INSERT INTO t (geom) SELECT b FROM t")


# ---------------------------------------------------------------- transactions


def test_truncate_commits_the_transaction_it_is_in(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    client("INSERT INTO t VALUES (1)")
    client("CREATE TABLE u (a int)")
    client("BEGIN")
    client("INSERT INTO u VALUES (1)")
    client("TRUNCATE t")
    assert client.status == _IDLE
    client("ROLLBACK")
    assert client("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)") == [(0, 1)]


def test_a_transaction_sees_what_there_was_at_its_first_query(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    with closing(client.another()) as other:
        other("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert other("SELECT count(*) FROM t") == [(0,)]
        client("INSERT INTO t VALUES (1)")
        assert other("SELECT count(*) FROM t") == [(0,)]
        other("COMMIT")
        assert other("SELECT count(*) FROM t") == [(1,)]


def test_changing_rows_that_were_changed_since_is_error_1023(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    client("INSERT INTO t VALUES (1)")
    with closing(client.another()) as other:
        other("BEGIN")
        other("SELECT count(*) FROM t")
        client("UPDATE t SET a = 2")
        with pytest.raises(psycopg2.errors.InternalError_, match=r"^1023") as raised:
            other("DELETE FROM t")
        assert "Serializable isolation violation on table" in str(raised.value)
        assert other.status == _IN_ERROR


def test_who_locks_first_sees_what_the_one_before_has_committed(client: Client, postgres: PostgresStandin) -> None:
    replacing = ["DELETE FROM t", "INSERT INTO t VALUES (1), (2), (3)"]
    client("CREATE TABLE t (a int)")
    client("CREATE TABLE t_lock (a boolean)")
    for sql in ("BEGIN", "LOCK t_lock", *replacing):
        client(sql)
    with closing(client.another()) as other:
        thread = threading.Thread(target=lambda: [other(sql) for sql in ("BEGIN", "LOCK t_lock", *replacing, "COMMIT")])
        thread.start()
        while not postgres.execute("postgres", "SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]:
            assert thread.is_alive()
        client("COMMIT")
        thread.join(30)
    assert client("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,)]


@pytest.mark.parametrize(("action", "rows"), [("lose before", 0), ("lose after", 1)])
@pytest.mark.parametrize("verb", ["COMMIT", "COPY", "TRUNCATE"])
def test_a_connection_is_lost_before_or_after_a_statement(
    client: Client, bucket: Bucket, verb: str, action: str, rows: int
) -> None:
    client("CREATE TABLE t (a bigint)")
    client("CREATE TABLE other (a int)")
    bucket.manifest(bucket.put("a", a=pa.array([1])))
    begin = [] if verb == "COPY" else ["BEGIN", "INSERT INTO t VALUES (1)"]
    statement = {"COMMIT": "COMMIT", "TRUNCATE": "TRUNCATE other", "COPY": bucket.copy("t")}[verb]
    client.cluster.faults.append(Fault(verb, action))
    with closing(client.another()) as loser:
        for sql in begin:
            loser(sql)
        with pytest.raises(psycopg2.OperationalError):
            loser(statement)
    assert client("SELECT count(*) FROM t") == [(rows,)]


def test_error_1023_can_be_injected_as_real_clusters_word_it(client: Client) -> None:
    client("CREATE TABLE t (a int)")
    client.cluster.faults.append(Fault("insert", "error:XX000:1023"))
    client("BEGIN")
    with pytest.raises(psycopg2.errors.InternalError_, match=r"^1023"):
        client("INSERT INTO t VALUES (1)")
    assert client.status == _IN_ERROR


# ---------------------------------------------------------------- COPY

DAY = dt.datetime(2024, 10, 27, 1, 30, 0, 123456, tzinfo=dt.UTC).replace(tzinfo=None)


def test_copy_reads_each_type_and_nulls(client: Client, bucket: Bucket) -> None:
    client(
        "CREATE TABLE t (a smallint, b int, c bigint, d real, e double precision, f boolean, g varchar(99),"
        " h varbyte(9), i date, j timestamp, k timestamp, l timestamptz, m numeric(9, 2), n char(3))"
    )
    values = [7, 8, 2**40, 1.5, 0.1, True, "ä", b"\0\xff", DAY.date(), DAY, DAY, DAY.replace(tzinfo=dt.UTC)]
    types = [pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_binary()]
    types += [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")]
    values += [Decimal("1.25"), "xyz"]
    types += [pa.decimal128(9, 2), pa.string()]
    columns = {str(n): pa.array([value, None], kind) for n, (value, kind) in enumerate(zip(values, types, strict=True))}
    bucket.manifest(bucket.put("a", **columns))
    client(bucket.copy("t"))
    client("SET timezone TO 'UTC'")
    found = client("SELECT * FROM t ORDER BY a")
    assert [bytes(value) if isinstance(value, memoryview) else value for value in found[0]] == values
    assert found[1] == (None,) * len(values)
    assert client.connection.notices[-1].endswith("2 record(s) loaded successfully.\n")


def test_floats_are_copied_exactly(client: Client, bucket: Bucket) -> None:
    floats = [0.1, 1e-320, 1.7976931348623157e308, -0.0, 1 / 3, float("inf"), float("-inf"), float("nan")]
    client("CREATE TABLE t (a double precision)")
    bucket.manifest(bucket.put("a", a=pa.array(floats)))
    client(bucket.copy("t"))
    assert [str(value) for (value,) in client("SELECT a FROM t")] == [str(value) for value in floats]


def test_a_hundred_thousand_hostile_texts_make_the_round_trip(client: Client, bucket: Bucket) -> None:
    hostile = [
        *(
            "",
            " ",
            "NULL",
            "null",
            "\\N",
            "\\.",
            "'",
            '"',
            '""',
            ",",
            "a,b",
            "\n",
            "\r\n",
            "\r",
            "\t",
            "\\",
            "\\\\n",
            "%s",
        ),
        *("O'Neil; DROP TABLE x;--", '"; --', "äöü€", "😀", "\u2028", "a\n\\.\nb", "x" * 40_000, "ä" * 32_767),
        *(chr(code) for code in range(1, 32)),
        None,
    ]
    texts = [hostile[number % len(hostile)] if number < 1_000 else f"'{number}\n" for number in range(100_000)]
    client("CREATE TABLE t (n int ENCODE az64, a varchar(65535) ENCODE zstd, b varchar(65535) ENCODE bytedict)")
    table = pa.table({"n": pa.array(range(100_000), pa.int32()), "a": texts, "b": pa.array(texts).dictionary_encode()})
    bucket.manifest(bucket.put_table("a", table, row_group_size=30_000))
    client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t WHERE a = b OR (a IS NULL AND b IS NULL)") == [(100_000,)]
    assert [text for (text,) in client("SELECT a FROM t ORDER BY n")] == texts


def test_columns_map_by_position_whatever_their_names(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint, b bigint, c bigint)")
    bucket.manifest(bucket.put("a", b=pa.array([1]), a=pa.array([2])))
    client(bucket.copy('t (c, "a")'))
    assert client("SELECT a, b, c FROM t") == [(2, None, 1)]


def test_fillrecord_leaves_columns_at_the_end_null(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint, b varchar(9) DEFAULT 'x')")
    bucket.manifest(bucket.put("a", a=pa.array([1])))
    client(bucket.copy("t", "MANIFEST FILLRECORD STATUPDATE OFF"))
    assert client("SELECT a, b FROM t") == [(1, None)]


def test_all_files_that_begin_so_are_copied_without_a_manifest(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    for number, key in enumerate(["day/1", "day/2", "daylight"]):
        bucket.put(key, a=pa.array([number]))
    client(bucket.copy("t", "", f"s3://{bucket.name}/day/"))
    assert client("SELECT a FROM t ORDER BY a") == [(0,), (1,)]


def test_what_is_copied_can_be_rolled_back(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    bucket.manifest(bucket.put("a", a=pa.array([1])))
    client("BEGIN")
    client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t") == [(1,)]
    client("ROLLBACK")
    assert client("SELECT count(*) FROM t") == [(0,)]


def test_an_s3_that_is_busy_twice_is_asked_again(client: Client, bucket: Bucket, s3: S3Standin) -> None:
    client("CREATE TABLE t (a bigint)")
    bucket.manifest(bucket.put("a", a=pa.array([1])))
    s3.faults.extend([BUSY, BUSY])
    client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t") == [(1,)]
    assert not s3.faults


@pytest.mark.parametrize(
    ("declared", "array"),
    [
        ("int", pa.array([1], pa.int64())),
        ("bigint", pa.array([1], pa.int32())),
        ("bigint", pa.array([1.0])),
        ("int", pa.array([1], pa.uint32())),
        ("varchar(9)", pa.array([1])),
        ("varchar(9)", pa.array([b"x"])),
        ("varbyte(9)", pa.array(["x"])),
        ("geometry", pa.array([POINT])),
        ("timestamp", pa.array([1], pa.timestamp("ns"))),
        ("timestamptz", pa.array([1], pa.timestamp("us"))),
        ("date", pa.array([1], pa.timestamp("us"))),
        ("varchar(9)", pa.array([["x"]])),
    ],
    ids=str,
)
def test_a_file_of_another_type_is_refused(client: Client, bucket: Bucket, declared: str, array: pa.Array) -> None:
    client(f"CREATE TABLE t (name {declared})")
    bucket.manifest(bucket.put("a", name=array))
    with pytest.raises(psycopg2.errors.InternalError_, match="Spectrum Scan Error") as raised:
        client(bucket.copy("t"))
    assert f"incompatible Parquet schema for column 's3://{bucket.name}/a.name'" in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": pa.array(["x"])}, "Table columns: 2, Data columns: 1"),
        ({"a": pa.array(["x"]), "b": pa.array([1]), "c": pa.array([1])}, "Table columns: 2, Data columns: 3"),
        ({"a": pa.array(["x", "äbc"]), "b": pa.array([1, 2])}, "data column a is longer .* Table: 3, Data: 4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    client: Client, bucket: Bucket, columns: dict[str, pa.Array], said: str
) -> None:
    client("CREATE TABLE t (a varchar(3), b bigint)")
    bucket.manifest(bucket.put("a", **columns))
    with pytest.raises(psycopg2.errors.InternalError_, match=said):
        client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t") == [(0,)]


def test_a_nul_character_is_refused(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a varchar(3))")
    bucket.manifest(bucket.put("a", a=pa.array(["\0"])))
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="NUL character"):
        client(bucket.copy("t"))


def test_a_null_where_none_may_be_is_refused(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint NOT NULL)")
    bucket.manifest(bucket.put("a", a=pa.array([1, None])))
    with pytest.raises(psycopg2.errors.NotNullViolation):
        client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t") == [(0,)]


def test_a_text_that_is_too_long_in_a_late_batch_undoes_what_came_before(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a varchar(3))")
    bucket.manifest(bucket.put("a", a=pa.array(["x"] * 200_000 + ["xxxx"])))
    client("BEGIN")
    client("INSERT INTO t VALUES ('y')")
    with pytest.raises(psycopg2.errors.InternalError_, match="Table: 3, Data: 4"):
        client(bucket.copy("t"))
    assert client.status == _IN_ERROR
    client("COMMIT")
    assert client("SELECT count(*) FROM t") == [(0,)]


def test_a_mandatory_file_that_is_missing_is_named(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    there, missing = bucket.put("there", a=pa.array([1])), bucket.put("missing", a=pa.array([1]))
    bucket.s3.delete_object(Bucket=bucket.name, Key="missing")
    bucket.manifest(there, missing)
    with pytest.raises(psycopg2.errors.InternalError_, match=f"s3://{bucket.name}/missing does not exist"):
        client(bucket.copy("t"))
    bucket.manifest(there, missing | {"mandatory": False})
    client(bucket.copy("t"))
    assert client("SELECT count(*) FROM t") == [(1,)]


def test_a_manifest_has_to_be_there_and_to_give_true_lengths(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    with pytest.raises(psycopg2.errors.InternalError_, match="Problem reading manifest file"):
        client(bucket.copy("t"))
    entry = bucket.put("a", a=pa.array([1]))
    for wrong, said in [
        ({"url": entry["url"], "mandatory": True}, "needs meta.content_length"),
        (entry | {"meta": {"content_length": 1}}, "the manifest's content_length is 1"),
        ({"mandatory": True}, "needs the url of a file"),
    ]:
        bucket.manifest(wrong)
        with pytest.raises(psycopg2.errors.InternalError_, match=said):
            client(bucket.copy("t"))
    bucket.manifest()
    with pytest.raises(psycopg2.errors.InternalError_, match="does not exist"):
        client(bucket.copy("t"))


def test_a_file_that_is_no_parquet_is_refused(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    bucket.s3.put_object(Bucket=bucket.name, Key="a", Body=b"x" * 100)
    with pytest.raises(psycopg2.errors.InternalError_, match="is not a Parquet file"):
        client(bucket.copy("t", "", f"s3://{bucket.name}/a"))


def test_copy_into_what_is_not_there_is_refused(client: Client, bucket: Bucket) -> None:
    bucket.manifest(bucket.put("a", a=pa.array([1])))
    with pytest.raises(psycopg2.errors.UndefinedTable, match='"nowhere" does not exist'):
        client(bucket.copy("nowhere"))
    client("CREATE TABLE t (a bigint)")
    with pytest.raises(psycopg2.errors.UndefinedColumn, match='"b" of relation "t"'):
        client(bucket.copy("t (b)"))
    assert client("SELECT count(*) FROM t") == [(0,)]


def test_two_clients_copy_at_once(client: Client, bucket: Bucket) -> None:
    client("CREATE TABLE t (a bigint)")
    bucket.manifest(bucket.put("a", a=pa.array(range(50_000))))
    with closing(client.another()) as one, closing(client.another()) as two:
        threads = [threading.Thread(target=each, args=(bucket.copy("t"),)) for each in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert client("SELECT count(*), count(DISTINCT a) FROM t") == [(100_000, 50_000)]
