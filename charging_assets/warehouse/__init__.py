"""Where tables are served from: today the embedded warehouse, DuckDB views over the lake (`embedded`)."""

from charging_assets.warehouse.embedded import WarehouseError, connect, export_views, query

__all__ = ["WarehouseError", "connect", "export_views", "query"]
