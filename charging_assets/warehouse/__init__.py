"""Where tables are served from: DuckDB views over the lake (`embedded`), PostgreSQL or Amazon Redshift.

`contract` says what all of them promise, `schema` what tables and views they have, `publishing` what is loaded when.
"""

from charging_assets.warehouse.contract import (
    Load,
    MigrationRefused,
    Step,
    Warehouse,
    WarehouseError,
    WarehouseUnavailable,
)
from charging_assets.warehouse.embedded import EmbeddedWarehouse, connect, export_views, query
from charging_assets.warehouse.opening import warehouse_of
from charging_assets.warehouse.publishing import Difference, Failed, differences, load, publish

__all__ = [
    "Difference",
    "EmbeddedWarehouse",
    "Failed",
    "Load",
    "MigrationRefused",
    "Step",
    "Warehouse",
    "WarehouseError",
    "WarehouseUnavailable",
    "connect",
    "differences",
    "export_views",
    "load",
    "publish",
    "query",
    "warehouse_of",
]
