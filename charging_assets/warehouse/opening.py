"""The warehouse that the settings name."""

from dataclasses import asdict

from charging_assets.lake import Lake
from charging_assets.settings import Settings
from charging_assets.warehouse.contract import Warehouse
from charging_assets.warehouse.embedded import EmbeddedWarehouse


def warehouse_of(settings: Settings, lake: Lake) -> Warehouse:
    """The warehouse of the settings; nothing is asked yet."""
    # Imported when asked for: each brings drivers along that the others do not need.
    if settings.postgres_dsn is not None and settings.warehouse == "postgres":
        from charging_assets.warehouse.postgres import PostgresWarehouse  # noqa: PLC0415

        return PostgresWarehouse(settings.postgres_dsn)
    if settings.redshift is not None:
        from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse  # noqa: PLC0415

        return RedshiftWarehouse(RedshiftConfig(**asdict(settings.redshift)))
    return EmbeddedWarehouse(lake)
