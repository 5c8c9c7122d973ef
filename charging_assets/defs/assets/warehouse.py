"""The tables as they stand in the warehouse: an asset for each, downstream of the lake's table and its checks.

Imported only where a warehouse is set up.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field
from sqlalchemy import Table

from charging_assets.defs.checks import bad_partitions
from charging_assets.defs.metadata import asset_spec, column_schema
from charging_assets.defs.partitions import DAILY, query_date
from charging_assets.defs.warehouse_io import LakePartition
from charging_assets.model.tables import is_dated
from charging_assets.settings import Settings
from charging_assets.warehouse.contract import PUBLISHED, published_tables


class PublishConfig(dg.Config):
    """How partitions are loaded."""

    reload: bool = Field(
        default=False,
        description="Load partitions, too, that the warehouse has already, as its load log says by their hash.",
    )


def build_warehouse_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """An asset for each published table."""
    return [_asset(tab, settings) for tab in published_tables()]


def _asset(tab: Table, settings: Settings) -> dg.AssetsDefinition:
    partitions = DAILY if is_dated(tab) else None

    @dg.multi_asset(
        name=f"publish_{tab.name}",
        outs={"loaded": dg.AssetOut.from_spec(_spec(tab, settings), io_manager_key="warehouse_io_manager")},
        deps=[tab.name],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        pool="warehouse",
    )
    def publish(context: dg.AssetExecutionContext, config: PublishConfig) -> Iterator[dg.Output[Any]]:
        """Say what is to be loaded: the partitions of the run, as the lake has them."""
        keys = context.partition_keys if partitions else None
        bad = bad_partitions(context.instance, [tab.name], keys)
        wanted = [(key, _wanted(tab.name, key, config, bad)) for key in keys or [None]]
        yield dg.Output(wanted if partitions else wanted[0][1], output_name="loaded")

    return publish


def _wanted(
    name: str, key: str | None, config: PublishConfig, bad: Mapping[str | None, Sequence[str]]
) -> LakePartition:
    found = bad.get(key, ())
    refused = [f"a blocking check found it bad. {' '.join(found)} Build it again, then publish it."] if found else ()
    return LakePartition(name, query_date(key) if key else None, reload=config.reload, refused=refused)


def _spec(tab: Table, settings: Settings) -> dg.AssetSpec:
    name = f"{PUBLISHED}.{tab.name}"
    of_lake = asset_spec(
        tab.name,
        how="Loaded from the lake as it stands there, in place of what the warehouse had of it, unless a blocking "
        f"check found it bad. People query the view `{name}`.",
        cadence="day" if settings.publish_hourly else "night",
        kinds={settings.warehouse},
    )
    computed = [dg.TableColumn(column, "varchar", description=doc) for column, (_, doc) in tab.info["computed"].items()]
    columns = dg.TableSchema(columns=[*computed, *column_schema(tab).columns])
    return of_lake.replace_attributes(
        key=["warehouse", tab.name],
        group_name="warehouse",
        metadata={"dagster/column_schema": columns, "dagster/table_name": name},
    )
