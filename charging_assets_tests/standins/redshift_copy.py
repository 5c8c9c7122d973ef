"""COPY of Parquet files from S3, as the stand-in of Redshift carries it out: what is read, checked and sent on.

Nothing here talks to the database: files become text that PostgreSQL's COPY … FROM STDIN (FORMAT csv) takes.
"""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from charging_assets_tests.standins.pgproxy import SqlError
from charging_assets_tests.standins.redshift_sql import Statement, beyond, unsupported

_ROLE = re.compile(r"(arn:aws(-cn|-us-gov)?:iam::\d{12}:role/[\w+=.@/-]+(,(?!$)|$))+")
_BATCH_ROWS = 1 << 16


class Column(NamedTuple):
    """A column of the table that is copied to, with its type in PostgreSQL's words."""

    name: str
    type: str

    @property
    def longest(self) -> int | None:
        """Bytes that a text may have."""
        match = re.fullmatch(r"character(?: varying)?\((\d+)\)", self.type)
        return int(match[1]) if match else None


@dataclass(frozen=True)
class Copy:
    """A COPY statement.

    Attributes:
        table: as it stands in the statement.
        columns: likewise; None for all of them.
        source: the address of a manifest, or what the addresses of all files begin with.
        fills: whether columns that the files have not at their end are null.
    """

    table: str
    columns: tuple[str, ...] | None
    source: str
    is_manifest: bool
    fills: bool


class Source(NamedTuple):
    """A file to be read."""

    bucket: str
    key: str
    size: int | None  # as the manifest says

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def parse_copy(statement: Statement) -> Copy:
    """What a COPY statement asks for.

    Raises:
        SqlError: it is none of Parquet from S3 with a role, or with an option that columnar files do not have.
    """
    statement.must("COPY")
    table = statement.take_name()
    columns = None
    if statement.sees("("):
        columns = tuple(part.take_name() for part in statement.take_parentheses())
    statement.must("FROM")
    source = statement.take()
    if source.kind != "string":
        unsupported(f"COPY … FROM {source.text}")
    if not source.literal.startswith("s3://"):
        beyond(f"COPY from {source.text}")
    options = _options(statement)
    if "PARQUET" not in options:
        beyond("COPY of other files than FORMAT AS PARQUET")
    if "IAM_ROLE" not in options:
        raise SqlError("42601", "COPY needs IAM_ROLE and a role's ARN (said by the Redshift stand-in)")
    return Copy(table, columns, source.literal, "MANIFEST" in options, "FILLRECORD" in options)


def _options(statement: Statement) -> set[str]:
    options: set[str] = set()
    while not statement.is_over:
        if statement.skips("IAM_ROLE"):
            options.add("IAM_ROLE")
            if not statement.skips("DEFAULT"):
                _check_role(statement.take().literal)
        elif statement.skips("WITH", "CREDENTIALS") or statement.skips("CREDENTIALS"):
            statement.skips("AS")
            options.add("IAM_ROLE")
            kind, _, role = statement.take().literal.partition("=")
            _check_role(role if kind == "aws_iam_role" else kind)
        elif statement.skips("FORMAT", "AS") or statement.skips("FORMAT"):
            options.add(statement.take().key)
        elif statement.skips("STATUPDATE"):
            statement.skips_any("ON", "OFF", "TRUE", "FALSE")
        elif statement.sees_any("MANIFEST", "FILLRECORD", "PARQUET"):
            options.add(statement.take().key)
        elif statement.sees_any("ACCEPTINVCHARS", "SERIALIZETOJSON", "EXPLICIT_IDS"):
            beyond(f"COPY … {statement.take().key}")
        else:
            unsupported(f"{statement.take().text} for COPY of Parquet")
    return options


def _check_role(role: str) -> None:
    if _ROLE.fullmatch(role) is None:
        raise SqlError("0A000", "COPY of Parquet takes an IAM role's ARN, and no other credentials (stand-in)")


def find_sources(copy: Copy, s3: Any) -> list[Source]:
    """The files of a COPY.

    Raises:
        SqlError: the manifest, a file it calls mandatory, or any file at all is not there; or it cannot be read.
    """
    bucket, _, key = copy.source.removeprefix("s3://").partition("/")
    if copy.is_manifest:
        sources = [source for source in _read_manifest(bucket, key, s3) if source is not None]
    else:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        try:
            sources = [Source(bucket, entry["Key"], None) for page in pages for entry in page.get("Contents", ())]
        except ClientError as error:
            raise _s3_error(error, copy.source) from error
    if not sources:
        raise SqlError("XX000", f"The specified S3 prefix '{key}' does not exist")
    return sources


def _read_manifest(bucket: str, key: str, s3: Any) -> Iterator[Source | None]:
    try:
        manifest = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        entries = manifest["entries"]
    except ClientError as error:
        raise _s3_error(error, f"s3://{bucket}/{key}", "Problem reading manifest file - ") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SqlError("XX000", f"Invalid manifest: expected {{'entries': …}} as JSON: {error!r}") from error
    for entry in entries:
        url, length = entry.get("url", ""), entry.get("meta", {}).get("content_length")
        of_bucket, slash, of_key = url.removeprefix("s3://").partition("/")
        if not (url.startswith("s3://") and slash and of_key):
            raise SqlError("XX000", f"Invalid manifest: an entry needs the url of a file, not {url!r}")
        if not isinstance(length, int):
            raise SqlError("XX000", f"Invalid manifest: {url} needs meta.content_length, as every columnar file does")
        try:
            s3.head_object(Bucket=of_bucket, Key=of_key)
        except ClientError as error:
            if entry.get("mandatory", False) or error.response["Error"]["Code"] != "404":
                raise _s3_error(error, url) from error
        else:
            yield Source(of_bucket, of_key, length)


def _s3_error(error: ClientError, url: str, begin: str = "") -> SqlError:
    code = error.response["Error"]["Code"]
    if code in ("404", "NoSuchKey", "NoSuchBucket"):
        return SqlError("XX000", f"{begin}The specified S3 object {url} does not exist")
    return SqlError("XX000", f"{begin}S3ServiceException: {code} of {url}")


def read_csv(copy: Copy, source: Source, columns: Sequence[Column], s3: Any) -> Iterator[tuple[int, bytes]]:
    """The rows of a file as text, batch by batch: how many they are, and their lines.

    Args:
        copy: whose options count.
        source: the file.
        columns: of the table, or those named in the statement, in their order: the file's map to them by position.
        s3: a boto3 client.

    Raises:
        SqlError: the file is not there, is no Parquet file, does not fit the columns, or a value does not.
    """
    with tempfile.TemporaryFile() as file:
        _download(source, file, s3)
        try:
            parquet = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise _scan_error(f"File '{source.url}' is not a Parquet file: {error}") from error
        _check_schema(copy, parquet, columns, source)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            yield batch.num_rows, _csv(batch, columns, source)


def _download(source: Source, file: BinaryIO, s3: Any) -> None:
    try:
        answer = s3.get_object(Bucket=source.bucket, Key=source.key)
    except ClientError as error:
        raise _s3_error(error, source.url) from error
    size = answer["ContentLength"]
    if source.size not in (None, size):
        raise _scan_error(f"File '{source.url}' has {size} bytes, the manifest's content_length is {source.size}")
    shutil.copyfileobj(answer["Body"], file)


def _check_schema(copy: Copy, parquet: pq.ParquetFile, columns: Sequence[Column], source: Source) -> None:
    fields = parquet.schema.to_arrow_schema()
    if len(fields) != len(columns) and not (copy.fills and len(fields) < len(columns)):
        raise _scan_error(
            f"Unmatched number of columns between table and file. Table columns: {len(columns)},"
            f" Data columns: {len(fields)}, File name: {source.url}"
        )
    for column, found in zip(columns, fields, strict=False):
        if column.type.split("(")[0] not in _takers(_value_type(found.type)):
            raise _scan_error(
                f"File '{source.url}' has an incompatible Parquet schema for column '{source.url}.{column.name}'."
                f" Column type: {column.type.upper()}, Parquet schema: {found.type} {found.name}"
            )


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _takers(kind: pa.DataType) -> tuple[str, ...]:
    """The types of columns that take values of a file's type: its own, since nothing says that another does."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if is_text or is_binary:
        return ("character varying", "character") if is_text else ("bytea",)
    if pa.types.is_timestamp(kind):
        if kind.unit not in ("ms", "us"):
            return ()
        plain = "timestamp without time zone"
        return (plain,) if kind.tz is None else (plain, "timestamp with time zone")
    if pa.types.is_decimal128(kind):
        return ("numeric",)
    same = {
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float32(): "real",
        pa.float64(): "double precision",
        pa.bool_(): "boolean",
        pa.date32(): "date",
    }
    return (same[kind],) if kind in same else ()


def _csv(batch: pa.RecordBatch, columns: Sequence[Column], source: Source) -> bytes:
    arrays = [_writable(array, column, source) for array, column in zip(batch.columns, columns, strict=False)]
    arrays += [pa.nulls(batch.num_rows, pa.string())] * (len(columns) - len(arrays))
    lines = io.BytesIO()
    names = [str(number) for number in range(len(arrays))]
    pyarrow.csv.write_csv(
        pa.record_batch(arrays, names), lines, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    )
    return lines.getvalue()


def _writable(array: pa.Array, column: Column, source: Source) -> pa.Array:
    kind = _value_type(array.type)
    array = array.cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        _check_text(array, column, source)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([None if value is None else "\\x" + value.hex() for value in array.to_pylist()], pa.string())
    elif pa.types.is_timestamp(kind) and kind.tz is not None:
        is_plain = column.type == "timestamp without time zone"
        return array.cast(pa.timestamp(kind.unit, None if is_plain else "UTC"))
    elif pa.types.is_decimal(kind):
        return array.cast(pa.string())
    return array


def _check_text(array: pa.Array, column: Column, source: Source) -> None:
    longest = pc.max(pc.binary_length(array)).as_py() or 0
    if column.longest is not None and longest > column.longest:
        raise _scan_error(
            f"The length of the data column {column.name} is longer than the length defined in the table."
            f" Table: {column.longest}, Data: {longest}, File name: {source.url}"
        )
    if pc.any(pc.match_substring(array, "\0")).as_py():
        beyond(f"a NUL character (column {column.name}, file {source.url})")


def _scan_error(context: str) -> SqlError:
    return SqlError("XX000", "Spectrum Scan Error", f"context: {context} (said by the Redshift stand-in)")
