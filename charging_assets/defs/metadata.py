"""What the UI shows of an asset: its declaration from the data model, and figures of single partitions."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Table

from charging_assets import __version__
from charging_assets.calendar import query_date_of
from charging_assets.lake import PartitionInfo
from charging_assets.lake.tables import partition_path
from charging_assets.model.dictionary import type_name
from charging_assets.model.tables import SCHEMA_VERSION, key_of, table
from charging_assets.sources import PollResult

PREVIEW_ROWS = 5

Metadata = Mapping[str, dg.MetadataValue[Any] | str | int | None]


def asset_spec(name: str, *, cadence: str, kinds: set[str], skippable: bool = False) -> dg.AssetSpec:
    """The asset of the table `name`; `cadence` says how often it is made: `tick` or `day`.

    `skippable`: a run may end well without materializing it.
    """
    declared = table(name)
    return dg.AssetSpec(
        name,
        description=declared.comment,
        group_name=declared.info["group"],
        owners=["team:data-platform"],
        kinds=kinds,
        tags={"cadence": cadence},
        metadata={"dagster/column_schema": column_schema(declared), "dagster/table_name": name},
        code_version=f"{__version__}/{SCHEMA_VERSION}",
        skippable=skippable,
    )


def column_schema(declared: Table) -> dg.TableSchema:
    """Columns of a table as the UI shows them: types, documentation, units, what may be null or must be unique."""
    key = key_of(declared)

    def column(col: Column[Any]) -> dg.TableColumn:
        unit = [f"unit: {col.info['unit']}"] if col.info["unit"] else []
        constraints = dg.TableColumnConstraints(nullable=bool(col.nullable), unique=key == (col.name,), other=unit)
        return dg.TableColumn(col.name, type_name(col), description=col.comment, constraints=constraints)

    return dg.TableSchema(
        columns=[column(col) for col in declared.columns],
        constraints=dg.TableConstraints(other=[f"unique and sorted by ({', '.join(key)})"]),
    )


def partition_metadata(info: PartitionInfo, uri: str, preview: str | None) -> Metadata:
    """What stands in the footer of a partition's file, and its first rows (Markdown) where they are known."""
    count = "dagster/row_count" if info.key is None else "dagster/partition_row_count"
    shown = {"preview": dg.MetadataValue.md(preview)} if preview else {}
    return {
        count: info.rows,
        "bytes": info.bytes,
        "path": dg.MetadataValue.path(f"{uri}/{partition_path(info.table, info.key)}"),
        "inputs": info.inputs,
        "schema_version": info.schema_version,
        "code_version": info.code_version,
        **shown,
    }


def raw_metadata(index: pa.Table) -> Metadata:
    """What the raw folder of one date holds; `index` as `Lake.raw.index` gives it."""
    feeds = sorted(pc.unique(index["feed"]).to_pylist())
    times = pc.min_max(index["query_time"]).as_py()
    span = {"first_poll": str(times["min"]), "last_poll": str(times["max"])} if index.num_rows else {}
    return {
        "dagster/partition_row_count": index.num_rows,
        "polls": len(pc.unique(index["poll_id"])),
        "answers": index.num_rows,
        "answers_with_error": index.num_rows - index["error"].null_count,
        "bytes": pc.sum(index["bytes_total"]).as_py() or 0,
        "feeds": dg.MetadataValue.json(feeds),
        **span,
    }


def poll_metadata(result: PollResult) -> Metadata:
    """What one poll brought."""
    return {
        "query_time": result.poll.query_time.isoformat(),
        "query_date": query_date_of(result.poll.query_time).isoformat(),
        "file": result.file,
        "feeds_answered": result.answered,
        "feeds_failed": dg.MetadataValue.json(dict(sorted(result.failed.items()))),
    }


def preview(rows: pa.Table) -> str | None:
    """The first rows as a Markdown table; None when there are none."""

    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return (text if len(text) <= 60 else f"{text[:59]}…").translate(_ESCAPED)

    lines = [rows.column_names, ["---"] * rows.num_columns]
    lines += [[cell(value) for value in row.values()] for row in rows.slice(0, PREVIEW_ROWS).to_pylist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows.num_rows else None


_ESCAPED = str.maketrans({"|": "\\|", "\n": " ", "\r": " "})
