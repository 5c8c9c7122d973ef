"""What the UI shows of an asset: its declaration from the data model, and figures of single partitions."""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Table

from charging_assets import __version__
from charging_assets.calendar import query_date_of
from charging_assets.lake import PartitionInfo
from charging_assets.model.dictionary import type_name
from charging_assets.model.tables import SCHEMA_VERSION, key_of, table
from charging_assets.settings import Settings
from charging_assets.sources import PollResult

if TYPE_CHECKING:  # it brings DuckDB along, which loading the definitions does without
    from charging_assets.warehouse import Load

PREVIEW_OF = 5_000
"""A preview shows rows from the first so many: one page of a file, and some dozen points of a status table."""
_PREVIEW_ROWS = 3

Metadata = Mapping[str, dg.MetadataValue[Any] | str | int | None]


_INTERVAL = dt.timedelta(seconds=Settings.from_env().interval_s)

_FRESH = {
    # Two ticks may fail before anybody is told; a day's tables are made hourly, and for good in the night after it.
    "tick": dg.FreshnessPolicy.time_window(
        warn_window=3.5 * _INTERVAL, fail_window=max(dt.timedelta(hours=2), 12 * _INTERVAL)
    ),
    "day": dg.FreshnessPolicy.time_window(warn_window=dt.timedelta(hours=3), fail_window=dt.timedelta(hours=26)),
    "night": dg.FreshnessPolicy.time_window(warn_window=dt.timedelta(hours=26), fail_window=dt.timedelta(hours=50)),
    "month": dg.FreshnessPolicy.time_window(warn_window=dt.timedelta(days=33), fail_window=dt.timedelta(days=65)),
}
"""How old the last materialization may be, by cadence. Backfilling an old day makes an asset fresh in this sense:
whether the newest poll is fresh is for a check to say."""


def asset_spec(name: str, *, how: str, cadence: str, kinds: set[str], skippable: bool = False) -> dg.AssetSpec:
    """The asset of the table `name`.

    Args:
        name: of the table.
        how: what materializing it does, in a sentence for whoever is about to.
        cadence: how often it is made: every `tick`, for each `day` as it goes, every `night` or `month`.
        kinds: badges that the UI shows.
        skippable: a run may end well without materializing it.
    """
    declared = table(name)
    key = ", ".join(f"`{column}`" for column in key_of(declared))
    return dg.AssetSpec(
        name,
        description=f"{declared.comment}\n\n{how}\n\nKey: {key}.",
        group_name=declared.info["group"],
        owners=["team:data-platform"],
        kinds=kinds,
        tags={"cadence": cadence},
        metadata={"dagster/column_schema": column_schema(declared), "dagster/table_name": name},
        code_version=f"{__version__}/{SCHEMA_VERSION}",
        skippable=skippable,
        freshness_policy=_FRESH[cadence],
    )


def column_schema(declared: Table) -> dg.TableSchema:
    """Columns of a table as the UI shows them: types, documentation, units, what may be null or must be unique."""
    key = key_of(declared)

    def column(col: Column[Any]) -> dg.TableColumn:
        other = ["key"] if col.name in key else []
        other += [f"unit: {col.info['unit']}"] if col.info["unit"] else []
        constraints = dg.TableColumnConstraints(nullable=bool(col.nullable), unique=key == (col.name,), other=other)
        return dg.TableColumn(col.name, type_name(col), description=col.comment, constraints=constraints)

    return dg.TableSchema(columns=[column(col) for col in declared.columns])


def partition_metadata(info: PartitionInfo, location: str, preview: dg.TableMetadataValue | None) -> Metadata:
    """What stands in the footer of the partition's file at `location`, and some of its rows where they are known."""
    count = "dagster/row_count" if info.key is None else "dagster/partition_row_count"
    return {
        count: info.rows,
        "bytes": info.bytes,
        **({"preview": preview} if preview else {}),
        "path": dg.MetadataValue.path(location),
        **({"inputs": info.inputs} if info.inputs else {}),
        "schema_version": str(info.schema_version),  # the UI plots whatever is a number
        "code_version": info.code_version,
    }


def load_metadata(load: "Load") -> Metadata:
    """What the load log of a warehouse says of a partition."""
    count = "dagster/row_count" if load.key is None else "dagster/partition_row_count"
    return {
        count: load.rows,
        "content_hash": load.content_hash,
        "load_id": load.load_id,
        "loaded_at": load.loaded_at.isoformat(),
        "schema_version": str(load.schema_version),  # the UI plots whatever is a number
        "code_version": load.code_version,
    }


def raw_metadata(index: pa.Table) -> Metadata:
    """What the raw folder of one date holds; `index` as `Lake.raw.index` gives it."""
    feeds = sorted(pc.unique(index["feed"]).to_pylist())
    times = pc.min_max(index["query_time"]).as_py()
    span = {"first_poll": str(times["min"]), "last_poll": str(times["max"])} if index.num_rows else {}
    return {
        "dagster/partition_row_count": index.num_rows,
        "polls": len(pc.unique(index["poll_id"])),
        "answers_with_error": index.num_rows - index["error"].null_count,
        "bytes": pc.sum(index["bytes_total"]).as_py() or 0,
        "feeds": len(feeds),
        "feed_names": ", ".join(feeds),
        **span,
    }


def poll_metadata(result: PollResult) -> Metadata:
    """What one poll brought."""
    return {
        "query_date": query_date_of(result.poll.query_time).isoformat(),
        "file": result.file,
        "feeds_answered": result.answered,
        "feeds_failed": dg.MetadataValue.json(dict(sorted(result.failed.items()))),
    }


def preview(rows: pa.Table) -> dg.TableMetadataValue | None:
    """Some of the rows, evenly spread; None when there are none.

    A line per column and not per row, and long words cut: the UI breaks lines at blanks only and cuts off what is wide.
    """
    if not rows.num_rows:
        return None

    def cell(value: object) -> str | None:
        words = str(value)[:120].split(" ")
        return None if value is None else " ".join(word if len(word) <= 24 else f"{word[:23]}…" for word in words)

    last = rows.num_rows - 1
    places = sorted({number * last // (_PREVIEW_ROWS - 1) for number in range(_PREVIEW_ROWS)})
    names = [f"row {place + 1:,}" for place in places]
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"column": column, **dict(zip(names, map(cell, values), strict=True))})
            for column, values in rows.take(places).to_pydict().items()
        ],
        dg.TableSchema([dg.TableColumn(name) for name in ("column", *names)]),
    )
