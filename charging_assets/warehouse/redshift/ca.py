"""Amazon's root certificates, by which a connection knows that it has reached Amazon's Redshift.

They are taken from the bundle that comes with `requests`: so nothing is downloaded, and nothing here grows old.
"""

import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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
    certificates = zip(context.get_ca_certs(), context.get_ca_certs(binary_form=True), strict=True)
    found = {name: der for known, der in certificates if (name := _common_name(known)) in NAMES}
    if missing := sorted(NAMES - found.keys()):
        raise WarehouseError(
            f"Expected Amazon's root certificates in {bundle}, but {', '.join(missing)} is not there: upgrade certifi, "
            "or set CHARGING_ASSETS_REDSHIFT_SSLROOTCERT to a file of them (Amazon's documentation on SSL connections "
            "to Redshift says where it is)."
        )
    return "".join(ssl.DER_cert_to_PEM_cert(found[name]) for name in sorted(found))


@contextmanager
def amazon_roots_file() -> Iterator[str]:
    """Path of a file of Amazon's root certificates, for as long as the block runs.

    Raises:
        WarehouseError: see `amazon_roots`; or there is no room for the file.
    """
    roots = amazon_roots(Path(certifi.where()))
    with ExitStack() as stack:
        try:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "amazon.pem"
            file.write_text(roots)
        except OSError as error:
            raise WarehouseError(
                f"Amazon's root certificates cannot be written into {tempfile.gettempdir()}: {error}"
            ) from error
        yield str(file)


def _common_name(certificate: Mapping[str, Any]) -> str:
    return next((value for part in certificate["subject"] for name, value in part if name == "commonName"), "")
