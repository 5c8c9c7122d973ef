"""Amazon Redshift as a warehouse: COPY from the lake on S3, a partition replaced in one transaction."""

from charging_assets.warehouse.redshift.config import RedshiftConfig
from charging_assets.warehouse.redshift.warehouse import RedshiftWarehouse

__all__ = ["RedshiftConfig", "RedshiftWarehouse"]
