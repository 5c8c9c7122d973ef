"""The warehouse that the settings name."""

from charging_assets.lake import Lake
from charging_assets.settings import RedshiftSettings, Settings
from charging_assets.warehouse.contract import Warehouse
from charging_assets.warehouse.embedded import EmbeddedWarehouse


def warehouse_of(settings: Settings, lake: Lake) -> Warehouse:
    """The warehouse of the settings; nothing is asked yet."""
    # Imported when asked for: each brings drivers along that the others do not need.
    if settings.postgres_dsn is not None and settings.warehouse == "postgres":
        from charging_assets.warehouse.postgres import PostgresWarehouse  # noqa: PLC0415

        return PostgresWarehouse(settings.postgres_dsn)
    if settings.redshift is not None:
        return redshift_of(settings.redshift)
    return EmbeddedWarehouse(lake)


def redshift_of(settings: RedshiftSettings) -> Warehouse:
    """The Redshift warehouse of the settings."""
    from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse  # noqa: PLC0415

    return RedshiftWarehouse(
        RedshiftConfig(
            host=settings.host,
            port=settings.port,
            database=settings.database,
            user=settings.user,
            password=settings.password,
            iam_role=settings.iam_role,
            sslmode=settings.sslmode,
            sslrootcert=settings.sslrootcert,
        )
    )
