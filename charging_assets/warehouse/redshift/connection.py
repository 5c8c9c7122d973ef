"""How a connection to Redshift is made, and whether an error means that it is gone.

Belongs here: TLS, credentials, limits of a session. Does not belong here: what is asked over it.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import psycopg2

from charging_assets.warehouse.contract import WarehouseUnavailable
from charging_assets.warehouse.redshift.ca import amazon_roots_file
from charging_assets.warehouse.redshift.config import RedshiftConfig

CONNECT_TIMEOUT_S = 30
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
"""The network forgets a connection that is silent for minutes, as it is during a long COPY."""
_CREDENTIALS_S = 900
"""How long credentials of IAM are good for logging in: the least that can be asked for."""
_CLUSTER = re.compile(r"([a-z0-9-]+)\.[a-z0-9]+\.([a-z0-9-]+)\.redshift\.amazonaws\.com(\.cn)?")
_WORKGROUP = re.compile(r"([a-z0-9-]+)\.\d{12}\.([a-z0-9-]+)\.redshift-serverless\.amazonaws\.com(\.cn)?")


@contextmanager
def connected(config: RedshiftConfig) -> Iterator[Any]:
    """A cursor of a new connection, which commits each statement by itself unless it is told to BEGIN.

    Raises:
        WarehouseUnavailable: there is no way in; the message says why, and never the password.
    """
    with closing(_connect(config)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout TO {config.statement_timeout_s * 1000}")
        cursor.execute("SET query_group TO %s", [config.query_group])
        yield cursor


def credentials(config: RedshiftConfig) -> tuple[str, str]:
    """User and password: those of the configuration, or short-lived ones of IAM.

    Raises:
        WarehouseUnavailable: IAM gives none; the message says what is needed.
    """
    if config.password is not None:
        return config.user, config.password
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow, and seldom needed

    try:
        if of_cluster := _CLUSTER.fullmatch(config.host):
            return _cluster_credentials(config, *of_cluster.group(1, 2))
        if of_workgroup := _WORKGROUP.fullmatch(config.host):
            return _workgroup_credentials(config, *of_workgroup.group(1, 2))
    except (BotoCoreError, ClientError) as error:
        raise WarehouseUnavailable(
            f"IAM gives no credentials for {config.where} ({error}): this process needs AWS credentials that allow "
            "redshift:GetClusterCredentials (a cluster) or redshift-serverless:GetCredentials (a workgroup). Or set "
            "CHARGING_ASSETS_REDSHIFT_PASSWORD."
        ) from error
    raise WarehouseUnavailable(
        f"{config.where} needs a password: IAM gives credentials only for endpoints like "
        "name.abc123.eu-central-1.redshift.amazonaws.com and "
        "name.123456789012.eu-central-1.redshift-serverless.amazonaws.com. Set CHARGING_ASSETS_REDSHIFT_PASSWORD, or "
        "CHARGING_ASSETS_REDSHIFT_HOST to the endpoint's own name."
    )


def is_gone(error: BaseException) -> bool:
    """Whether the connection was lost, or the server ended it."""
    if not isinstance(error, psycopg2.Error):
        return False
    if error.pgcode:
        return str(error.pgcode).startswith(("08", "57P"))
    # What libpq itself says has no code; a reply that breaks off is a `DatabaseError` and none of its subclasses.
    is_of_libpq = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return is_of_libpq or type(error) is psycopg2.DatabaseError


def _connect(config: RedshiftConfig) -> Any:
    user, password = credentials(config)
    with _trusted(config) as sslrootcert:
        try:
            connection = psycopg2.connect(
                host=config.host,
                port=config.port,
                dbname=config.database,
                user=user,
                password=password,
                sslmode=config.sslmode,
                sslrootcert=sslrootcert,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="charging_assets",
                **_KEEPALIVES,
            )
        except psycopg2.Error as error:
            said = " ".join(str(error).split())
            raise WarehouseUnavailable(f"{config.where} cannot be reached ({said}): {_advice(said)}") from error
    connection.autocommit = True
    return connection


def _trusted(config: RedshiftConfig) -> AbstractContextManager[str | None]:
    """The file of certificates to trust, where the mode looks at them: given one, libpq would verify in others, too."""
    if config.sslrootcert is not None or not config.sslmode.startswith("verify-"):
        return nullcontext(config.sslrootcert)
    return amazon_roots_file()


def _advice(said: str) -> str:
    for pattern, advice in _ADVICE:
        if re.search(pattern, said):
            return advice
    return "check host and port, that the cluster is not paused, and that its security group lets this machine in"


_ADVICE = (
    (
        "certificate verify failed",
        "no certificate of Amazon: check CHARGING_ASSETS_REDSHIFT_HOST; for another authority, set …_SSLROOTCERT",
    ),
    (
        "does not match host name",
        "set CHARGING_ASSETS_REDSHIFT_HOST to the endpoint's own name, as the console shows it",
    ),
    ("root certificate file", "CHARGING_ASSETS_REDSHIFT_SSLROOTCERT must be a file of certificates"),
    (
        "does not support SSL",
        "that is no endpoint of Redshift, and without TLS it would get to read the password: check host and port",
    ),
    ("password|authentication", "check CHARGING_ASSETS_REDSHIFT_USER and CHARGING_ASSETS_REDSHIFT_PASSWORD"),
    ("database .* does not exist", "check CHARGING_ASSETS_REDSHIFT_DATABASE"),
)


def _cluster_credentials(config: RedshiftConfig, name: str, region: str) -> tuple[str, str]:
    import boto3  # noqa: PLC0415 - as above

    given = boto3.client("redshift", region_name=region).get_cluster_credentials(
        ClusterIdentifier=name,
        DbUser=config.user,
        DbName=config.database,
        AutoCreate=False,
        DurationSeconds=_CREDENTIALS_S,
    )
    return given["DbUser"], given["DbPassword"]


def _workgroup_credentials(config: RedshiftConfig, name: str, region: str) -> tuple[str, str]:
    """Of a workgroup; IAM says which user that is, whatever the configuration does."""
    import boto3  # noqa: PLC0415 - as above

    given = boto3.client("redshift-serverless", region_name=region).get_credentials(
        workgroupName=name, dbName=config.database, durationSeconds=_CREDENTIALS_S
    )
    return given["dbUser"], given["dbPassword"]
