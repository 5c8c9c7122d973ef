"""The warehouses as resources: what their configuration is, and where secrets in it come from.

A secret is given as `dg.EnvVar`: Dagster shows the variable's name, and its value to nobody. Does not belong here: how
a warehouse is loaded (`warehouse`). Imported only where one is set up: drivers take time to load.
"""

from abc import abstractmethod
from contextlib import closing
from typing import ClassVar

import dagster as dg
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from dagster_aws.redshift import RedshiftClientResource
from pydantic import Field
from sqlalchemy import MetaData

from charging_assets.model.tables import METADATA
from charging_assets.settings import Settings
from charging_assets.warehouse import Warehouse
from charging_assets.warehouse.postgres import PostgresWarehouse
from charging_assets.warehouse.redshift import RedshiftConfig, RedshiftWarehouse
from charging_assets.warehouse.redshift.connection import connected


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """Where tables are published. A subclass may have other `tables` than this project's."""

    tables: ClassVar[MetaData] = METADATA
    """What is published there, declared with `charging_assets.model.tables.declare`."""

    @abstractmethod
    def open(self) -> Warehouse:
        """The warehouse; nothing is asked yet."""

    @abstractmethod
    def query(self, sql: str) -> pa.Table:
        """What a SELECT gives, in the types that come from there."""


class PostgresResource(WarehouseResource):
    """A PostgreSQL database."""

    dsn: str = Field(
        description="libpq connection string or URI (CHARGING_ASSETS_POSTGRES_DSN). It may hold a password: give it "
        "as EnvVar."
    )

    def open(self) -> Warehouse:
        """See `WarehouseResource`."""
        return PostgresWarehouse(self.dsn.strip(), self.tables)

    def query(self, sql: str) -> pa.Table:
        """See `WarehouseResource`."""
        self.open()  # refuses a malformed string without repeating it, as the driver would
        with closing(dbapi.connect(self.dsn.strip())) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()


class RedshiftWarehouseResource(RedshiftClientResource, WarehouseResource):
    """An Amazon Redshift cluster or workgroup, configured like dagster-aws's resource.

    Only its configuration is used: its client commits a DELETE whose INSERT failed, and logs every statement.
    """

    user: str = Field(description="Who loads (CHARGING_ASSETS_REDSHIFT_USER).")
    password: str | None = Field(
        default=None,
        description="Give it as EnvVar (CHARGING_ASSETS_REDSHIFT_PASSWORD). None: each connection asks IAM for "
        "short-lived credentials.",
    )
    database: str = Field(description="Name of the database (CHARGING_ASSETS_REDSHIFT_DATABASE).")
    sslmode: str = Field(default="verify-full", description="As libpq words it (CHARGING_ASSETS_REDSHIFT_SSLMODE).")
    sslrootcert: str | None = Field(
        default=None,
        description="File of certificates to trust (CHARGING_ASSETS_REDSHIFT_SSLROOTCERT). None: Amazon's.",
    )
    iam_role: str = Field(
        description="ARN of the role by which Redshift reads files from S3 (CHARGING_ASSETS_REDSHIFT_IAM_ROLE)."
    )

    def open(self) -> Warehouse:
        """See `WarehouseResource`."""
        return RedshiftWarehouse(self._config(), self.tables)

    def query(self, sql: str) -> pa.Table:
        """See `WarehouseResource`."""
        with connected(self._config()) as cursor:
            cursor.execute(sql)
            names = [column.name for column in cursor.description]
            rows = cursor.fetchall()
            return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})

    def _config(self) -> RedshiftConfig:
        return RedshiftConfig(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.password,
            iam_role=self.iam_role,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert,
        )


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The warehouse that the settings name, with secrets left in the environment."""
    if settings.redshift is None:
        return PostgresResource(dsn=dg.EnvVar("CHARGING_ASSETS_POSTGRES_DSN"))
    of = settings.redshift
    return RedshiftWarehouseResource(
        host=of.host,
        port=of.port,
        user=of.user,
        # Of an unset variable Dagster would make an error.
        password=dg.EnvVar("CHARGING_ASSETS_REDSHIFT_PASSWORD") if of.password else None,
        database=of.database,
        sslmode=of.sslmode,
        sslrootcert=of.sslrootcert,
        iam_role=of.iam_role,
    )
