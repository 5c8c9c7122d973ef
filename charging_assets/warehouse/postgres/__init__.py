"""PostgreSQL as a warehouse: loaded through ADBC, a partition replaced in one transaction."""

from charging_assets.warehouse.postgres.warehouse import PostgresWarehouse

__all__ = ["PostgresWarehouse"]
