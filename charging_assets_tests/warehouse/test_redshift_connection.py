"""How Redshift is reached: whom a connection trusts, who it says it is, and what it tells when there is no way in."""

import datetime as dt
import json
import ssl
import stat
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import certifi
import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from charging_assets.warehouse.contract import WarehouseError, WarehouseUnavailable
from charging_assets.warehouse.redshift.ca import NAMES, amazon_roots, amazon_roots_file
from charging_assets.warehouse.redshift.config import RedshiftConfig
from charging_assets.warehouse.redshift.connection import connected, credentials, is_gone
from charging_assets_tests.standins.pgproxy import Fault
from charging_assets_tests.standins.postgres import PostgresStandin
from charging_assets_tests.standins.redshift import RedshiftStandin
from charging_assets_tests.standins.s3 import S3Standin

CANARY = "canary-Pa55'word%s"
CONFIG = RedshiftConfig(
    host="localhost",
    database="dev",
    user="postgres",
    password=CANARY,
    iam_role="arn:aws:iam::123456789012:role/charging-lake",
)
CLUSTER = "charging.abc123xyz.eu-central-1.redshift.amazonaws.com"
WORKGROUP = "charging.123456789012.eu-central-1.redshift-serverless.amazonaws.com"


class Certificates:
    """An authority of our own and a certificate for the host `localhost`.

    Attributes:
        authority: file of the authority's certificate.
        server: files of the server's certificate and key.
    """

    def __init__(self, folder: Path) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost")]
        now = dt.datetime.now(dt.UTC)
        signed = [
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name is names[0], path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(keys[0], hashes.SHA256())
            for name, key in zip(names, keys, strict=True)
        ]
        self.authority = folder / "authority.pem"
        self.server = folder / "server.pem", folder / "key.pem"
        self.authority.write_bytes(signed[0].public_bytes(serialization.Encoding.PEM))
        self.server[0].write_bytes(signed[1].public_bytes(serialization.Encoding.PEM))
        self.server[1].write_bytes(
            keys[1].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody gives this process AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def iam(no_aws: None, s3: S3Standin) -> None:
    """The environment leads boto3 to an account of AWS."""


@pytest.fixture(scope="module")
def endpoint(postgres: PostgresStandin, s3_server: S3Standin, certificates: Certificates) -> Iterator[RedshiftStandin]:
    """A cluster that speaks TLS and asks for the password."""
    with RedshiftStandin(postgres, s3_server, tls=certificates.server, password=CANARY) as standin:
        yield standin


@pytest.fixture
def config(endpoint: RedshiftStandin, postgres: PostgresStandin, certificates: Certificates) -> RedshiftConfig:
    """The way to it, with all that has to be right."""
    return replace(
        CONFIG, port=endpoint.port, database=postgres.new_database(), sslrootcert=str(certificates.authority)
    )


def refusal(config: RedshiftConfig) -> str:
    """What is said when there is no way in; the password must be nowhere in it, nor in what it came from."""
    with pytest.raises(WarehouseUnavailable) as caught, connected(config):
        pass
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert config.host in str(caught.value)
    return str(caught.value)


def subjects(pem: str) -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    return [
        dict(part for parts in known["subject"] for part in parts)["commonName"] for known in context.get_ca_certs()
    ]


def test_by_default_only_amazons_own_authorities_are_trusted() -> None:
    with amazon_roots_file() as path:
        file = Path(path)
        assert sorted(subjects(file.read_text())) == sorted(NAMES)
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700  # nobody else may put another one in its place
    assert not file.exists()
    assert len(NAMES) == 5


def test_a_bundle_without_one_of_amazons_authorities_is_refused_by_its_name(tmp_path: Path) -> None:
    whole = amazon_roots(Path(certifi.where()))
    one, *others = whole.split("-----END CERTIFICATE-----\n")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("".join(f"{other}-----END CERTIFICATE-----\n" for other in others if other))
    (missing,) = subjects(f"{one}-----END CERTIFICATE-----\n")
    with pytest.raises(WarehouseError, match=rf"{missing} is not there: upgrade certifi, or set .*SSLROOTCERT"):
        amazon_roots(bundle)


def test_a_machine_without_room_for_the_certificates_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(WarehouseError, match=r"cannot be written into .*none"), amazon_roots_file():
        pass


def test_a_session_commits_each_statement_has_limits_and_says_whose_it_is(
    endpoint: RedshiftStandin, config: RedshiftConfig
) -> None:
    endpoint.statements.clear()
    with connected(replace(config, query_group="it's mine", statement_timeout_s=90)) as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("90s",)
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("charging_assets",)
        assert cursor.connection.autocommit
        assert cursor.connection.info.ssl_in_use
        said = cursor.connection.get_dsn_parameters()
    assert said["sslmode"] == "verify-full"
    assert (said["keepalives_idle"], said["keepalives_interval"], said["keepalives_count"]) == ("30", "10", "6")
    assert endpoint.statements[:2] == ["SET statement_timeout TO 90000", "SET query_group TO 'it''s mine'"]


def test_an_authority_that_is_not_amazons_is_refused(config: RedshiftConfig) -> None:
    assert "no certificate of Amazon" in refusal(replace(config, sslrootcert=None))


def test_a_certificate_for_another_host_is_refused(config: RedshiftConfig) -> None:
    assert "the endpoint's own name" in refusal(replace(config, host="127.0.0.1"))


def test_a_server_without_tls_is_refused(
    postgres: PostgresStandin, s3_server: S3Standin, config: RedshiftConfig
) -> None:
    with RedshiftStandin(postgres, s3_server, password=CANARY) as plain:
        assert "that is no endpoint of Redshift" in refusal(replace(config, port=plain.port))


def test_certificates_are_looked_at_in_the_modes_that_verify_only(config: RedshiftConfig) -> None:
    with connected(replace(config, host="127.0.0.1", sslmode="require", sslrootcert=None)) as cursor:
        assert cursor.connection.info.ssl_in_use


def test_a_file_of_certificates_that_is_not_there_is_named(config: RedshiftConfig, tmp_path: Path) -> None:
    assert "SSLROOTCERT must be a file of certificates" in refusal(replace(config, sslrootcert=str(tmp_path / "none")))


def test_a_wrong_password_and_a_wrong_database_are_told_apart(config: RedshiftConfig) -> None:
    assert "check CHARGING_ASSETS_REDSHIFT_USER and" in refusal(replace(config, password=f"{CANARY}?"))
    assert "check CHARGING_ASSETS_REDSHIFT_DATABASE" in refusal(replace(config, database="none"))


def test_a_host_where_nobody_listens_is_named_with_what_to_check(config: RedshiftConfig) -> None:
    assert "security group" in refusal(replace(config, port=1))


def test_a_configuration_does_not_show_its_password() -> None:
    assert CANARY not in f"{CONFIG!r} {CONFIG} {CONFIG.where}"


def test_a_given_password_is_used_as_it_is(no_aws: None) -> None:
    assert credentials(CONFIG) == ("postgres", CANARY)


def test_without_a_password_iam_gives_a_short_lived_one_for_a_cluster(iam: None) -> None:
    boto3.client("redshift", region_name="eu-central-1").create_cluster(
        ClusterIdentifier="charging", NodeType="ra3.large", MasterUsername="admin", MasterUserPassword="Passw0rd"
    )
    config = replace(CONFIG, host=CLUSTER, password=None)
    first, second = credentials(config), credentials(config)
    assert first[0] == second[0] == "IAM:postgres"  # and not IAMA, as of a user that was made for it
    assert len({first[1], second[1]}) == 2


def test_without_a_password_iam_says_who_somebody_is_in_a_workgroup(
    no_aws: None, monkeypatch: pytest.MonkeyPatch, workgroups: list[dict[str, Any]], workgroups_url: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "standin")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "standin")
    monkeypatch.setenv("AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", workgroups_url)
    assert credentials(replace(CONFIG, host=WORKGROUP, password=None)) == ("IAM:somebody", "short-lived")
    assert workgroups == [{"workgroupName": "charging", "dbName": "dev", "durationSeconds": 900}]


@pytest.fixture
def workgroups() -> list[dict[str, Any]]:
    """What Redshift Serverless was asked for."""
    return []


@pytest.fixture
def workgroups_url(workgroups: list[dict[str, Any]]) -> Iterator[str]:
    """Redshift Serverless on loopback, which moto does not have."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["X-Amz-Target"] == "RedshiftServerless.GetCredentials"
            assert "/eu-central-1/redshift-serverless/" in self.headers["Authorization"]
            workgroups.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = json.dumps({"dbUser": "IAM:somebody", "dbPassword": "short-lived"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_what: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_cluster_that_iam_does_not_know_is_told_with_the_permission_it_takes(iam: None) -> None:
    said = refusal(replace(CONFIG, host=CLUSTER.replace("charging", "unknown"), password=None))
    assert "redshift:GetClusterCredentials" in said
    assert "set CHARGING_ASSETS_REDSHIFT_PASSWORD" in said


def test_a_process_without_aws_credentials_is_told_that_it_needs_some(no_aws: None) -> None:
    assert "needs AWS credentials" in refusal(replace(CONFIG, host=CLUSTER, password=None))


@pytest.mark.parametrize(
    "host",
    ["localhost", "redshift.example.org", f"{CLUSTER}.example.org", "charging.eu-central-1.redshift.amazonaws.com"],
)
def test_a_host_that_is_no_endpoint_of_amazons_needs_a_password(no_aws: None, host: str) -> None:
    said = refusal(replace(CONFIG, host=host, password=None))
    assert "needs a password" in said
    assert "CHARGING_ASSETS_REDSHIFT_HOST" in said


@pytest.mark.parametrize("action", ["lose before", "lose after", "error:57P01:terminating connection", "error:08006:x"])
def test_a_connection_that_was_lost_is_known_from_one_that_was_not(
    endpoint: RedshiftStandin, config: RedshiftConfig, action: str
) -> None:
    with connected(config) as cursor:
        with pytest.raises(psycopg2.Error) as refused:
            cursor.execute("SELECT no_such_column")
        assert not is_gone(refused.value)
        endpoint.faults.append(Fault("SELECT 1", action))
        with pytest.raises(psycopg2.Error) as lost:
            cursor.execute("SELECT 1")
        assert is_gone(lost.value)
    assert not is_gone(ValueError())
