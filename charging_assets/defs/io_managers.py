"""Between assets and the lake: a partition is replaced whole and never appended to, a range is read day by day."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import dagster as dg
import pandas as pd
import pyarrow as pa

from charging_assets.defs.metadata import Metadata, partition_metadata, preview
from charging_assets.defs.pandas_types import to_arrow
from charging_assets.defs.partitions import query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake, PartitionInfo, PartitionKey


@dataclass(frozen=True, slots=True)
class Published:
    """A partition that stands in the lake already."""

    info: PartitionInfo | None
    """None: there is no such partition, since there is nothing to make it from."""
    preview: dg.TableMetadataValue | None = None
    """Some of its rows, where they were at hand."""


@dataclass(frozen=True)
class DailyTables(Sequence[tuple[str, pa.Table]]):
    """A table's partitions as (partition key, rows), oldest first; each is read when it is asked for and not kept.

    A date that the table lacks has no rows.
    """

    lake: Lake
    table: str
    keys: Sequence[str]
    columns: Sequence[str] | None

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> tuple[str, pa.Table]: ...
    @overload
    def __getitem__(self, index: slice) -> "DailyTables": ...
    def __getitem__(self, index: int | slice) -> "tuple[str, pa.Table] | DailyTables":
        if isinstance(index, slice):
            return DailyTables(self.lake, self.table, self.keys[index], self.columns)
        key = self.keys[index]
        return key, self.lake.read(self.table, query_date(key), self.columns)


class LakeIOManager(dg.ConfigurableIOManager):
    """Keeps each asset as the lake's table of the same name.

    Outputs: rows (an undated asset, or one partition), as Arrow table or as pandas frame (`attrs["inputs"]` is the
    fingerprint of what it was made from), or an iterable of (partition
    key, rows or `Published`), consumed one partition at a time. Inputs: rows where one partition is needed, else
    `DailyTables`; an input annotated with `DailyTables` gets that in any case. Input metadata ``{"columns": […]}``
    reads only those columns.
    """

    lake: dg.ResourceDependency[LakeResource]

    def handle_output(
        self, context: dg.OutputContext, obj: pa.Table | pd.DataFrame | Iterable[tuple[str, pa.Table | Published]]
    ) -> None:
        """Publish what an asset returned, and tell the event log about each partition by itself."""
        lake, table = self.lake.open(), context.asset_key.path[-1]
        if not context.has_asset_partitions:
            context.add_output_metadata(_published(lake, table, None, obj))
            return
        missing = set(context.asset_partition_keys)
        for key, part in [(context.asset_partition_key, obj)] if isinstance(obj, pa.Table | pd.DataFrame) else obj:
            if key not in missing:
                raise dg.DagsterInvariantViolationError(
                    f"{table}: partition {key} was returned twice, or is none of this run's"
                )
            missing.remove(key)
            # Output metadata is one dict for all partitions of a run; this is the way to have one for each.
            context.step_context.add_asset_metadata(
                _published(lake, table, query_date(key), part), context.asset_key, key
            )
        if missing:
            raise dg.DagsterInvariantViolationError(f"{table}: nothing was returned for {', '.join(sorted(missing))}")

    def load_input(self, context: dg.InputContext) -> pa.Table | DailyTables:
        """Read what a downstream asset needs of a table."""
        lake, table = self.lake.open(), context.asset_key.path[-1]
        columns = (context.definition_metadata or {}).get("columns")
        if not context.has_asset_partitions:
            return lake.read(table, None, columns)
        days = DailyTables(lake, table, sorted(context.asset_partition_keys), columns)
        if len(days) == 1 and context.dagster_type.typing_type is not DailyTables:
            return days[0][1]
        return days


def _published(lake: Lake, table: str, key: PartitionKey, part: pa.Table | pd.DataFrame | Published) -> Metadata:
    inputs = ""
    if isinstance(part, pd.DataFrame):
        part, inputs = to_arrow(part, table), part.attrs.get("inputs", "")
    if isinstance(part, pa.Table):
        part = Published(lake.write(table, key, part, inputs), preview(part))
    if part.info is None:
        return {"dagster/partition_row_count": 0}
    return partition_metadata(part.info, lake.location(table, key), part.preview)
