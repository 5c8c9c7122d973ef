"""DuckDB over the files of the lake, in the one version that there is when it is opened."""

import datetime as dt
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from charging_assets.lake import Lake, LakeError
from charging_assets.model.arrow import arrow_schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@contextmanager
def connected(lake: Lake, *names: str) -> "Iterator[Connection]":
    """A connection with a view of each table.

    Raises:
        LakeError: the lake cannot be read.
    """
    import duckdb  # noqa: PLC0415 - slow, and the graph is loaded without it

    with (
        tempfile.TemporaryDirectory(prefix="charging-assets-", ignore_cleanup_errors=True) as spill,
        lake.snapshot(names) as paths,
        duckdb.connect(
            ":memory:",
            config={
                "enable_external_file_cache": False,  # keyed by path, but a descriptor's path outlives its file
                "memory_limit": "1GiB",  # what goes beyond is spilled, however many years there are
                "temp_directory": spill,
            },
        ) as connection,
    ):
        try:
            for name in names:
                _create_view(connection, name, paths[name])
            yield connection
        except duckdb.Error as error:
            _require_readable(lake, names)
            raise LakeError(f"Tables cannot be summed up: {error}") from error


def _require_readable(lake: Lake, names: Sequence[str]) -> None:
    """Raise with the file that is damaged, if one is: DuckDB knows of descriptors only."""
    for name in names:
        for date in lake.partitions(name):
            lake.read(name, date)


def _create_view(connection: "Connection", name: str, paths: Sequence[str]) -> None:
    """A view of a table with the model's columns, whichever of them the files have."""
    fields = [
        # DuckDB makes an enumeration of a dictionary.
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in arrow_schema(name)
    ]
    empty = connection.from_arrow(pa.schema(fields).empty_table())
    kinds = dict(zip(empty.columns, empty.types, strict=True))
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {kind}) AS {column}" for column, kind in kinds.items())
        connection.execute(f"CREATE VIEW {name} AS SELECT {columns} WHERE false")
        return
    columns = ", ".join(
        f"'{column}': {{name: '{column}', type: '{kind}', default_value: NULL}}" for column, kind in kinds.items()
    )
    connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({list(paths)}, schema = MAP {{{columns}}})")


def dates_with_kpis(connection: "Connection") -> list[dt.date]:
    """The days with rows in `kpi_daily`, sorted."""
    rows = connection.execute("SELECT DISTINCT query_date FROM kpi_daily ORDER BY query_date").fetchall()
    return [date for (date,) in rows]
