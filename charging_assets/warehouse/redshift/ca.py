"""Amazon's root certificates, by which a connection knows that it has reached Amazon's Redshift.

They are taken from the bundle that comes with `requests`: so nothing is downloaded, and nothing here grows old.
"""

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import certifi

from charging_assets.warehouse.contract import WarehouseError

NAMES = frozenset(
    {
        *(f"Amazon Root CA {number}" for number in range(1, 5)),
        "Starfield Services Root Certificate Authority - G2",
    }
)
"""The common names of Amazon Trust Services' roots, one of which signs for every endpoint."""


@cache
def amazon_roots(bundle: Path) -> str:
    """The certificates of `NAMES` in a file of certificates, as PEM.

    Raises:
        WarehouseError: not all of them are there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    found = {
        name: der
        for known, der in zip(context.get_ca_certs(), context.get_ca_certs(binary_form=True), strict=True)
        if (name := _common_name(known)) in NAMES
    }
    if missing := sorted(NAMES - found.keys()):
        raise WarehouseError(
            f"Expected Amazon's root certificates in {bundle}, but {', '.join(missing)} is not there: upgrade certifi, "
            "or set CHARGING_ASSETS_REDSHIFT_SSLROOTCERT to a file of them (Amazon's documentation on SSL connections "
            "to Redshift says where it is)."
        )
    return "".join(ssl.DER_cert_to_PEM_cert(found[name]) for name in sorted(found))


@contextmanager
def amazon_roots_file() -> Iterator[str]:
    """Path of a private file of Amazon's root certificates, for as long as the block runs.

    Raises:
        WarehouseError: see `amazon_roots`.
    """
    roots = amazon_roots(Path(certifi.where()))
    with tempfile.NamedTemporaryFile("w", prefix="charging-assets-", suffix=".pem") as file:
        file.write(roots)
        file.flush()
        yield file.name


def _common_name(certificate: dict[str, object]) -> str | None:
    parts = certificate["subject"]
    assert isinstance(parts, tuple)
    return next((value for part in parts for name, value in part if name == "commonName"), None)
