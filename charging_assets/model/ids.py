"""How ids are made where a source has none of the form that tables need."""

import hashlib

_LARGEST = 2**63 - 1
_NUMBERED = ("chargecloud", "simulator")
"""Sources that share one numbering: a lake never holds both."""


def station_number(source: str, source_id: str) -> int:
    """`id_cs`: chargecloud's own number; of others, and where it is none, a negative hash of (source, source_id)."""
    is_number = source_id.isascii() and source_id.isdigit() and source_id[0] != "0"
    if source in _NUMBERED and is_number and (number := int(source_id)) <= _LARGEST:
        return number
    digest = hashlib.sha256(f"{source}\n{source_id}".encode()).digest()
    return -(int.from_bytes(digest[:8], "big") >> 1) - 1
