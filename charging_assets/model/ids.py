"""How ids are made where a source has none of the form that tables need."""

import hashlib

_LARGEST = 2**63 - 1


def station_number(source: str, source_id: str) -> int:
    """`id_cs`: the source's own number; where it is none, a negative hash of (source, source_id)."""
    if source_id.isascii() and source_id.isdigit() and source_id[0] != "0" and (number := int(source_id)) <= _LARGEST:
        return number
    digest = hashlib.sha256(f"{source}\n{source_id}".encode()).digest()
    return -(int.from_bytes(digest[:8], "big") >> 1) - 1
