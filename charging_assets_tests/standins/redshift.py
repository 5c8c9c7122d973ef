"""Amazon Redshift on loopback, as psycopg2 sees it: a proxy in front of a real PostgreSQL that refuses what Redshift
refuses, translates what PostgreSQL says in other words, and carries out COPY from an S3 stand-in.

What it cannot prove stands in REDSHIFT.md beside it, with where each rule comes from.
"""

import functools
import socket
import threading
from pathlib import Path
from typing import Any

from charging_assets_tests.standins.pgproxy import Message, PgProxy, Session, SqlError, fields, message
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift_copy import Column, Copy, Source, find_sources, parse_copy, read_csv
from charging_assets_tests.standins.redshift_sql import SERVER_VERSION, beyond, quoted, split, translate
from charging_assets_tests.standins.s3 import S3Standin

SERIALIZATION_SQLSTATE = "XX000"
"""Of error 1023. Real clusters were seen to say XX000; see REDSHIFT.md."""

_STARTUP = {"user", "database", "application_name", "client_encoding"}
_SETTINGS = {
    "default_transaction_isolation": "repeatable read",
    "standard_conforming_strings": "off",  # a backslash escapes, as it does in Redshift
    "escape_string_warning": "off",
    "standin.query_group": "default",
}
_PREPARING = threading.Lock()

# What is built into Redshift is put among what is built into PostgreSQL: found by any search path, seen in no schema.
_BUILT_IN = """
SET allow_system_table_mods = on;
GRANT CREATE ON SCHEMA public TO PUBLIC;

CREATE FUNCTION pg_catalog.standin_too_long(type text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN RAISE 'value too long for type %', type USING ERRCODE = '22001'; END $$;

CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT 'PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2, Redshift 1.0 (stand-in)' $$;
CREATE FUNCTION pg_catalog.getdate() RETURNS timestamp LANGUAGE sql STABLE AS
$$ SELECT date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC') $$;
CREATE FUNCTION pg_catalog.standin_sysdate() RETURNS timestamp LANGUAGE sql STABLE AS
$$ SELECT transaction_timestamp() AT TIME ZONE 'UTC' $$;

CREATE TYPE pg_catalog.geometry;
CREATE FUNCTION pg_catalog.geometry_in(cstring) RETURNS geometry LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION pg_catalog.geometry_out(geometry) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE pg_catalog.geometry (INPUT = geometry_in, OUTPUT = geometry_out, STORAGE = extended);

CREATE FUNCTION pg_catalog.from_varbyte(value bytea, format varchar) RETURNS varchar
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF lower(format) <> 'hex' THEN
        RAISE 'FROM_VARBYTE as % is not carried out by the stand-in of Amazon Redshift', format USING ERRCODE = '0A000';
    END IF;
    PERFORM standin_too_long('character varying(65535)') WHERE octet_length(value) > 32767;
    RETURN encode(value, 'hex');
END $$;

CREATE FUNCTION pg_catalog.st_geomfromwkb(wkb varchar, srid int) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    hex text := upper(wkb);
    number text := lpad(upper(to_hex(srid)), 8, '0');
BEGIN
    IF srid < 0 THEN RETURN NULL; END IF;
    PERFORM standin_too_long('character varying(65535)') WHERE octet_length(wkb) > 65535;
    IF octet_length(hex) < 18 OR octet_length(hex) % 2 = 1 OR hex !~ '^0[01][0-9A-F]+$' THEN
        RAISE 'Invalid WKB: expected hexadecimal digits, got %', left(wkb, 40) USING ERRCODE = 'XX000';
    END IF;
    IF substr(hex, 1, 2) || substr(hex, 5, 6) <> '01000000' THEN
        RAISE 'the stand-in of Amazon Redshift reads little-endian WKB of two dimensions without SRID, not %',
            left(wkb, 40) USING ERRCODE = '0A000';
    END IF;
    number := substr(number, 7, 2) || substr(number, 5, 2) || substr(number, 3, 2) || substr(number, 1, 2);
    RETURN CASE WHEN srid = 0 THEN hex ELSE substr(hex, 1, 8) || '20' || number || substr(hex, 11) END::geometry;
END $$;
CREATE FUNCTION pg_catalog.st_geomfromwkb(wkb varchar) RETURNS geometry LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT st_geomfromwkb(wkb, 0) $$;
CREATE FUNCTION pg_catalog.st_ashexewkb(geom geometry) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT geom::text::varchar $$;

CREATE VIEW pg_catalog.svv_roles AS
SELECT oid::int AS role_id, rolname::varchar AS role_name, 'postgres'::varchar AS role_owner
FROM pg_roles WHERE NOT rolcanlogin AND rolname !~ '^pg_';
CREATE VIEW pg_catalog.svv_columns AS SELECT * FROM information_schema.columns;
GRANT SELECT ON pg_catalog.svv_roles, pg_catalog.svv_columns TO PUBLIC;
"""


class RedshiftStandin(PgProxy):
    """A cluster; a context manager, with the faults of `PgProxy`. Databases are those of the PostgreSQL behind it."""

    def __init__(
        self,
        postgres: PostgresStandin,
        s3: S3Standin,
        *,
        tls: tuple[Path, Path] | None = None,
        password: str | None = None,
    ) -> None:
        """Listen.

        Args:
            postgres: what keeps the data and carries out statements.
            s3: from where COPY reads, whatever role it is given.
            tls: as for `PgProxy`.
            password: as for `PgProxy`.
        """
        super().__init__(postgres.socket_path, tls=tls, password=password)
        self._postgres, self._s3 = postgres, s3
        self._prepared: set[str] = set()

    @functools.cached_property
    def s3(self) -> Any:
        """The client that COPY reads with."""
        return self._s3.client()

    def session(self, client: socket.socket) -> Session:
        """What serves a client."""
        return _RedshiftSession(self, client)

    def prepare(self, database: str) -> None:
        """Make in a database what Redshift has built in."""
        with _PREPARING:
            if database in self._prepared:
                return
            exists = f"SELECT 1 FROM pg_database WHERE datname = {quoted(database)}"
            if not self._postgres.execute("postgres", exists):
                return  # PostgreSQL will say so
            if not self._postgres.execute(database, "SELECT 1 FROM pg_proc WHERE proname = 'standin_too_long'"):
                self._postgres.execute(database, _BUILT_IN)
            self._prepared.add(database)


class _RedshiftSession(Session):
    proxy: RedshiftStandin

    def startup(self, parameters: dict[str, str]) -> dict[str, str]:
        unknown = {
            name for name, value in parameters.items() if name not in _STARTUP and (name, value) != ("options", "")
        }
        if unknown:
            raise SqlError("42704", f"unrecognized configuration parameters {sorted(unknown)} (said by the stand-in)")
        self.proxy.prepare(parameters.get("database", parameters["user"]))
        return {name: value for name, value in parameters.items() if name in _STARTUP} | _SETTINGS

    def on_backend(self, answer: Message) -> bytes:
        if answer.kind == b"S":
            name = answer.text()
            if name == "standard_conforming_strings":
                return b""  # so old a server does not have it, and clients double backslashes
            if name == "server_version":
                return message(b"S", f"{name}\0{SERVER_VERSION}\0".encode())
        if answer.kind == b"E":
            return _as_redshift_says(answer)
        return answer.raw()

    def on_client(self, request: Message) -> None:
        if request.kind == b"Q":
            try:
                self._carry_out(request.body.rstrip(b"\0").decode())
            except SqlError as error:
                self.fail(error)
        elif request.kind == b"X":
            self.backend.send(request.raw())
        elif request.kind in (b"P", b"B", b"E", b"D", b"C", b"F"):
            self.refuse_extended(
                SqlError("0A000", "the Redshift stand-in speaks only the simple protocol, as psycopg2")
            )

    def _carry_out(self, sql: str) -> None:
        statements = split(sql)
        if len(statements) == 1 and statements[0].verb == "COPY":
            self._copy(parse_copy(statements[0]))
            return
        if any(statement.verb == "COPY" for statement in statements):
            beyond("COPY beside other statements")
        translated = [translate(statement) for statement in statements]
        if len(translated) > 1 and any(one.commits or one.is_alone for one in translated):
            beyond("TRUNCATE or a change of a column's type beside other statements")
        if any(one.is_alone for one in translated) and self.status != b"I":
            raise SqlError("25001", "ALTER TABLE ALTER COLUMN cannot run inside a transaction block")
        text = "; ".join(one.sql for one in translated)
        if translated and translated[0].commits:
            self._carry_out_and_commit(text)
        else:
            self.backend.send(message(b"Q", text.encode() + b"\0"))

    def _carry_out_and_commit(self, sql: str) -> None:
        answers = self.exchange(sql)
        if self.status == b"T":
            self.exchange("COMMIT")
        self.finish(b"".join(self.on_backend(answer) for answer in answers if answer.kind != b"Z"))

    def _copy(self, copy: Copy) -> None:
        columns = self._columns(copy)
        if columns is None:
            return
        sources = find_sources(copy, self.proxy.s3)
        names = ", ".join('"' + column.name.replace('"', '""') + '"' for column in columns)
        self.backend.send(message(b"Q", f"COPY {copy.table} ({names}) FROM STDIN (FORMAT csv)\0".encode()))
        answers = self.read_until(b"G")
        rows = 0
        if answers[-1].kind == b"G":
            rows = self._send_rows(copy, sources, columns)
            answers = self.read_until(b"Z")
        if errors := [answer for answer in answers if answer.kind == b"E"]:
            self.finish(b"".join(self.on_backend(error) for error in errors))
            return
        said = f"Load into table '{copy.table}' completed, {rows} record(s) loaded successfully."
        self.finish(fields(b"N", {"S": "INFO", "C": "00000", "M": said}) + message(b"C", b"COPY\0"))

    def _send_rows(self, copy: Copy, sources: list[Source], columns: list[Column]) -> int:
        """Send all files, and how many rows they had; the server's answer is still to be read."""
        sent = 0
        try:
            for source in sources:
                for rows, lines in read_csv(copy, source, columns, self.proxy.s3):
                    self.backend.send(message(b"d", lines))
                    sent += rows
        except SqlError:
            self.backend.send(message(b"f", b"the stand-in has found an error\0"))
            self.read_until(b"Z")
            raise
        self.backend.send(message(b"c"))
        return sent

    def _columns(self, copy: Copy) -> list[Column] | None:
        """The columns to be filled; None if there is no such table, and the client knows."""
        answers = self.exchange(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            f" WHERE attrelid = {quoted(copy.table)}::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        errors = [answer for answer in answers if answer.kind == b"E"]
        if errors:
            self.finish(b"".join(self.on_backend(error) for error in errors))
            return None
        columns = [Column(*_texts(answer.body)) for answer in answers if answer.kind == b"D"]
        if copy.columns is None:
            return columns
        known = {column.name: column for column in columns}
        names = [name.strip('"').replace('""', '"') for name in copy.columns]
        for name in names:
            if name not in known:
                raise SqlError("42703", f'column "{name}" of relation "{copy.table}" does not exist')
        return [known[name] for name in names]


def _texts(row: bytes) -> list[str]:
    """The values of a row, none of which is null."""
    texts, at = [], 2
    while at < len(row):
        size = int.from_bytes(row[at : at + 4])
        texts.append(row[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def _as_redshift_says(answer: Message) -> bytes:
    """An error in Redshift's words, where they matter to clients."""
    parts = {part[:1].decode(): part[1:].decode() for part in answer.body.rstrip(b"\0").split(b"\0")}
    if parts["C"] != "40001":
        return answer.raw()
    detail = f"Serializable isolation violation on table - 0, transactions forming the cycle are: 0, 0 ({parts['M']})"
    return SqlError(SERIALIZATION_SQLSTATE, "1023", detail).response()
