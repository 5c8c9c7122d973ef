"""Damage to a partition, and having its checks judge it, as from the UI."""

import datetime as dt

import dagster as dg
import pyarrow.parquet as pq

from charging_assets.lake import Lake


def lose_a_row(lake: Lake, table: str, date: dt.date) -> None:
    """Take a row out of the file of a partition, and leave its footer as it is."""
    path = lake.location(table, date)
    file = pq.ParquetFile(path)
    rows, footer = file.read(), file.metadata.metadata
    pq.write_table(rows.slice(1).replace_schema_metadata({**(rows.schema.metadata or {}), **footer}), path)


def judge(graph: dg.Definitions, instance: dg.DagsterInstance, table: str, date: dt.date) -> None:
    checks = {key for key in graph.resolve_asset_graph().asset_check_keys if key.asset_key.path == [table]}
    job = graph.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=checks)
    # By tag, as the UI does it: with `partition_key`, all assets there are would have to be of one kind of partitions.
    job.execute_in_process(instance=instance, tags={"dagster/partition": date.isoformat()}, raise_on_error=False)
