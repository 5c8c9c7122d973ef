"""What has to be known of a Redshift cluster or workgroup."""

import re
from dataclasses import dataclass, field

from charging_assets.warehouse.contract import WarehouseError

_ROLE = re.compile(r"arn:aws(-cn|-us-gov)?:iam::\d{12}:role(/[\w+=,.@-]+)+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RedshiftConfig:
    """How Redshift is reached, and by which right it reads the lake.

    Raises:
        WarehouseError: `iam_role` is not the ARN of a role.
    """

    host: str
    """The endpoint's own name: its certificate is for no other."""
    port: int = 5439
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    """None: short-lived credentials are asked of IAM for each connection."""
    iam_role: str
    """ARN of the role by which Redshift reads the lake. Keys are not taken: statements end up in system tables."""
    sslmode: str = "verify-full"
    sslrootcert: str | None = None
    """File of certificates to trust; None: Amazon's."""
    query_group: str = "charging_assets"
    """By it the workload manager of the cluster can tell loads from other queries."""
    statement_timeout_s: int = 3600

    def __post_init__(self) -> None:
        if not _ROLE.fullmatch(self.iam_role):
            raise WarehouseError(
                f"{self.iam_role!r} is no IAM role: expected the ARN of a role that may read the lake, e.g. "
                "arn:aws:iam::123456789012:role/charging-lake"
            )

    @property
    def where(self) -> str:
        """For messages."""
        return f"Redshift at {self.host}, database {self.database}"
