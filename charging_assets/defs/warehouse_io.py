"""Between assets and a warehouse: a partition is replaced whole, and the event log told of each by itself.

Belongs here: which rows or files an output names, what becomes of a run of which some could not be loaded. Does not
belong here: how a partition is replaced (`warehouse`). Of use to other Dagster projects, too: see
`docs/warehouse_io_manager.md`.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from sqlalchemy import Table

from charging_assets.defs.metadata import Metadata, load_metadata
from charging_assets.defs.partitions import query_date
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.warehouses import WarehouseResource
from charging_assets.lake import InvalidRows, LakeError, PartitionFile, PartitionKey, SchemaMismatch
from charging_assets.lake.store import store_at
from charging_assets.model.arrow import schema_of
from charging_assets.model.tables import key_of
from charging_assets.model.tables.declare import Geometry
from charging_assets.warehouse import Load, Warehouse, WarehouseError, WarehouseUnavailable
from charging_assets.warehouse.contract import PUBLISHED, key_text

REASONS = 10
"""A failure names so many partitions and why they were not loaded; the run's log has all."""


@dataclass(frozen=True, slots=True)
class LakePartition:
    """A partition of the lake that is to be loaded."""

    table: str
    key: PartitionKey
    reload: bool = False
    """Whether to load it although the warehouse has it already."""
    refused: Sequence[str] = ()
    """Why it must not be loaded, in sentences; empty when it may."""


Rows: TypeAlias = pa.Table | pd.DataFrame
Part: TypeAlias = LakePartition | Rows


class WarehouseIOManager(dg.ConfigurableIOManager):
    """Makes each asset the warehouse's table that is named like the last part of its key.

    Outputs: a `LakePartition`, or rows as Arrow table or pandas frame (an undated table, or one partition); or an
    iterable of (partition key, one of these), consumed one at a time. Rows replace those that the partition had; what
    the warehouse has already of a `LakePartition` is recorded without loading it again. A partition that cannot be
    loaded stops no other: the step fails after the last one.

    Inputs: the rows of all partitions that are needed, as one Arrow table, or as frame where the input is annotated
    with `pandas.DataFrame`. Input metadata ``{"columns": […]}`` reads only those columns.

    Partition keys of dated tables are ISO dates.
    """

    warehouse: dg.ResourceDependency[WarehouseResource]
    lake: dg.ResourceDependency[LakeResource]
    """Where a `LakePartition` is. Rows for Redshift are staged there, too, so then it is on S3."""

    def handle_output(self, context: dg.OutputContext, obj: Part | Iterable[tuple[str, Part]]) -> None:
        """Load what an asset returned, and tell the event log about each partition by itself.

        Raises:
            dg.Failure: at least one partition was not loaded. The others are recorded as materialized.
        """
        loaded: dict[str | None, Metadata] = {}
        try:
            self._load_each(context, obj, loaded)
        except Exception:
            for key, metadata in loaded.items():  # Dagster records no partition of an output that failed
                context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata))
            raise
        for key, metadata in loaded.items():
            if key is None:
                context.add_output_metadata(metadata)
            else:  # output metadata is one dict for all partitions of a run
                context.step_context.add_asset_metadata(metadata, context.asset_key, key)

    def load_input(self, context: dg.InputContext) -> Rows:
        """Read what a downstream asset needs of a table."""
        tab = self._table(context.asset_key)
        columns = (context.definition_metadata or {}).get("columns") or list(tab.columns.keys())
        keys = sorted(context.asset_partition_keys) if context.has_asset_partitions else None
        rows = _as_stored(tab, self.warehouse.query(_select(tab, columns, keys)))
        return rows.to_pandas() if context.dagster_type.typing_type is pd.DataFrame else rows

    def _load_each(
        self,
        context: dg.OutputContext,
        obj: Part | Iterable[tuple[str, Part]],
        loaded: dict[str | None, Metadata],
    ) -> None:
        """Load the parts of an output; what is to be recorded of each goes into `loaded`."""
        tab, failed = self._table(context.asset_key), dict[str, str]()
        loader = _Loader(context.log, self.warehouse.open(), self.lake)
        for key, part in _parts(context, obj):
            try:
                loaded[key] = loader.load(tab, key, part)
            except WarehouseUnavailable as error:
                failed[key or tab.name] = f"{error} What comes after it was not tried."
                break
            except (LakeError, WarehouseError) as error:
                context.log.error("%s: %s", key or tab.name, error)  # noqa: TRY400 - the trace would bury the message
                failed[key or tab.name] = str(error)
        if failed:
            raise dg.Failure(_summary(tab.name, failed, len(loaded)))

    def _table(self, key: dg.AssetKey) -> Table:
        tables = self.warehouse.tables.tables
        if key.path[-1] not in tables:
            raise dg.DagsterInvariantViolationError(
                f"{key.to_user_string()}: expected the last part to be a table of the warehouse resource: "
                f"{', '.join(tables)}"
            )
        return tables[key.path[-1]]


class _Loader:
    """Loads the parts of one output, one after the other."""

    def __init__(self, log: dg.DagsterLogManager, warehouse: Warehouse, lake: LakeResource) -> None:
        self._log, self._warehouse, self._lake = log, warehouse, lake

    def load(self, tab: Table, key: str | None, part: Part) -> Metadata:
        """What is to be recorded of a part, once it is in the warehouse.

        Raises:
            LakeError, WarehouseError: it is not; the partition is as it was.
        """
        if isinstance(part, LakePartition):
            return self._load_lake_partition(part)
        with self._staged(tab, query_date(key) if key else None, part) as file:
            return self._replace(file)

    def _load_lake_partition(self, part: LakePartition) -> Metadata:
        if part.refused:
            raise LakeError(" ".join(part.refused))
        file = self._lake.open().file(part.table, part.key)
        if file is None:
            self._log.warning("%s %s is not in the lake: nothing was loaded.", part.table, key_text(part.key))
            return {"not_loaded": "the lake has no such partition"}
        with closing(file):
            known = None if part.reload else self._loads.get((part.table, part.key))
            if known and known.content_hash == file.content_hash:
                return {**load_metadata(known), "not_loaded": "the warehouse has it already"}
            return self._replace(file)

    @cached_property
    def _loads(self) -> Mapping[tuple[str, PartitionKey], Load]:
        return self._warehouse.load_log()

    def _replace(self, file: PartitionFile) -> Metadata:
        begun = time.monotonic()
        load = self._warehouse.replace_table(file) if file.key is None else self._warehouse.replace_partition(file)
        return {**load_metadata(load), "seconds": dg.MetadataValue.float(round(time.monotonic() - begun, 2))}

    @contextmanager
    def _staged(self, tab: Table, key: PartitionKey, rows: Rows) -> Iterator[PartitionFile]:
        """A file of the rows, where the warehouse can read it, for as long as the block runs."""
        with tempfile.TemporaryDirectory() as folder:
            uri = self._lake.uri if self._warehouse.name == "redshift" else folder
            store = store_at(uri, cache_dir=Path(folder) / "cache")
            with PartitionFile.of_rows(store, uri, tab, key, _checked(tab, key, rows)) as file:
                try:
                    yield file
                finally:
                    file.remove()


def _parts(context: dg.OutputContext, obj: Part | Iterable[tuple[str, Part]]) -> Iterator[tuple[str | None, Part]]:
    """The output as (partition key, part), None for an undated table.

    Raises:
        dg.DagsterInvariantViolationError: the keys are not those of the run.
    """
    name = context.asset_key.to_user_string()
    if not context.has_asset_partitions:
        if not isinstance(obj, LakePartition | pa.Table | pd.DataFrame):
            raise dg.DagsterInvariantViolationError(
                f"{name} has no partitions: expected a LakePartition or rows, got {type(obj).__name__}"
            )
        yield None, obj
        return
    missing = set(context.asset_partition_keys)
    if isinstance(obj, LakePartition | pa.Table | pd.DataFrame):
        obj = [(context.asset_partition_key, obj)]
    for key, part in obj:
        if key not in missing:
            raise dg.DagsterInvariantViolationError(
                f"{name}: partition {key} was returned twice, or is none of this run's"
            )
        missing.remove(key)
        yield key, part
    if missing:
        raise dg.DagsterInvariantViolationError(f"{name}: nothing was returned for {', '.join(sorted(missing))}")


def _checked(tab: Table, key: PartitionKey, rows: Rows) -> pa.Table:
    """The rows as the table declares them, columns in its order.

    Raises:
        SchemaMismatch: a column is unknown or missing, or its values cannot have the declared type.
        InvalidRows: nulls where none may be, rows of another query date, or the same key twice.
    """
    given = pa.Table.from_pandas(rows, preserve_index=False) if isinstance(rows, pd.DataFrame) else rows
    schema = schema_of(tab)
    if sorted(given.column_names) != sorted(schema.names):
        raise SchemaMismatch(
            f"{tab.name}: expected the columns {', '.join(schema.names)}, got {', '.join(given.column_names)}"
        )
    columns = [_as_field(tab, field, given[field.name]) for field in schema]
    checked = pa.table(columns, schema=schema)
    if key is not None and checked.num_rows and set(pc.min_max(checked["query_date"]).as_py().values()) != {key}:
        raise InvalidRows(f"{tab.name}: expected only rows of query_date {key}, got others, too")
    names = key_of(tab)
    distinct = given.group_by(list(names)).aggregate([]).num_rows
    if distinct != checked.num_rows:
        raise InvalidRows(
            f"{tab.name}: rows must be unique by ({', '.join(names)}), but {checked.num_rows} rows have {distinct} keys"
        )
    return checked


def _as_field(tab: Table, field: pa.Field, values: pa.ChunkedArray) -> pa.ChunkedArray:
    if values.null_count and not field.nullable:
        raise InvalidRows(f"{tab.name}: column {field.name!r} must not be null, but {values.null_count} rows are")
    try:
        return values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaMismatch(f"{tab.name}: column {field.name!r} must be {field.type}: {error}") from error


def _select(tab: Table, columns: Sequence[str], partition_keys: Sequence[str] | None) -> str:
    """The query for columns of a published view, of all rows or of those of some partitions."""
    for name in columns:
        if name not in tab.columns:
            raise SchemaMismatch(f"{tab.name} has no column {name!r}; it has: {', '.join(tab.columns.keys())}")
    names = ", ".join(f'"{name}"' for name in columns)
    dates = ", ".join(f"'{query_date(key).isoformat()}'" for key in partition_keys or ())
    where = "" if partition_keys is None else f" WHERE query_date IN ({dates})" if dates else " WHERE false"
    order = ", ".join(f'"{name}"' for name in key_of(tab))
    return f'SELECT {names} FROM {PUBLISHED}."{tab.name}"{where} ORDER BY {order}'  # noqa: S608 - of the model


def _as_stored(tab: Table, found: pa.Table) -> pa.Table:
    """What a query gave, in the types that the lake has."""
    fields = [schema_of(tab).field(name) for name in found.column_names]
    columns = [
        _wkb(found[field.name])
        if isinstance(tab.columns[field.name].type, Geometry)
        else found[field.name].cast(field.type)
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _wkb(shapes: pa.ChunkedArray) -> pa.Array:
    """Shapes as WKB: they come as EWKB, as bytes or as hexadecimal text."""
    values = shapely.to_wkb(shapely.from_wkb(shapes.to_numpy()), include_srid=False)
    return pa.array(values, pa.binary(), from_pandas=True)


def _summary(table: str, failed: Mapping[str, str], loaded: int) -> str:
    """What became of a run of which something was not loaded."""
    told = [f"{key}: {reason}" for key, reason in list(failed.items())[:REASONS]]
    more = [f"{len(failed) - REASONS:,} more are in this run's log."] if len(failed) > REASONS else []
    return " ".join([f"{table}: {loaded:,} loaded, {len(failed):,} not.", *told, *more])
