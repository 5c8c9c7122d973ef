"""What errors of Redshift mean, and what to do about them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from charging_assets.warehouse.contract import WarehouseError, WarehouseUnavailable
from charging_assets.warehouse.redshift.config import RedshiftConfig
from charging_assets.warehouse.redshift.connection import is_gone

_CONFLICTS = {"40001", "40P01"}
"""Serialization failure, deadlock."""
_CONFLICT = re.compile(r"\s*(1018|1023)\b")
"""Redshift's own numbers, as a message begins: a table was replaced, or rows were written, since the snapshot."""


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way, so that the same is worth trying again."""
    return isinstance(error, psycopg2.Error) and (error.pgcode in _CONFLICTS or _CONFLICT.match(str(error)) is not None)


@contextmanager
def explained(config: RedshiftConfig, doing: str) -> Iterator[None]:
    """Turn psycopg2's errors in the block into those of the contract: what was done, what came, what to do."""
    try:
        yield
    except psycopg2.Error as error:
        said = " ".join(str(error).split())
        if is_gone(error):
            raise WarehouseUnavailable(
                f"{doing}: the connection to {config.where} was lost ({said}). Nothing is half done; once it answers "
                "again, `charging-assets publish` loads what is missing."
            ) from error
        raise WarehouseError(f"{doing} failed at {config.where}: {said}: {_advice(config, error, said)}") from error


def _advice(config: RedshiftConfig, error: psycopg2.Error, said: str) -> str:
    if is_conflict(error):
        return "others wrote the same again and again: publish again when they are done"
    if error.pgcode == "57014":
        return (
            f"it took longer than {config.statement_timeout_s} s, or somebody cancelled it: see sys_query_history, "
            "then publish again"
        )
    for pattern, advice in _ADVICE:
        if re.search(pattern, f"{error.pgcode} {said}"):
            return advice.format(role=config.iam_role)
    return "nothing was changed; sys_load_error_detail (stl_load_errors on older clusters) has more about a failed COPY"


_ADVICE = (
    (
        r"(?i)assume ?role|not authorized to|access ?denied|\b403\b",
        "the role {role} must be attached to Redshift and allow s3:GetObject and s3:ListBucket on the lake's bucket",
    ),
    (
        r"(?i)permanentredirect|\b301\b|must be addressed using|(same|different|wrong) .*region",
        "COPY of Parquet reads only from a bucket in Redshift's own region: move the lake, or the cluster",
    ),
    (
        r"(?i)nosuchkey|no such key|(s3://|s3 object|manifest).*(does not exist|not found|mismatch|content_?length)",
        "the lake's file was replaced or removed in the meantime: publish again",
    ),
    (r"^42501", "run `charging-assets migrate` as an administrator, and grant the role charging_loader to this user"),
    (
        r"^(42P06|42P07|42710|23505)|tuple concurrently",
        "somebody made it just now, or this user may not see it: run `charging-assets migrate` again, with more rights",
    ),
    (r"^(42P01|3F000)", "run `charging-assets migrate` first"),
    (
        r"^2BP01",
        "drop the views that depend on it, or make them late-binding (WITH NO SCHEMA BINDING), then try again",
    ),
    (r"(?i)^53100|disk full", "Redshift's disks are full: resize it or delete something, then publish again"),
)
