"""Status classes: what KPIs count a raw status as."""

STATUS_CLASSES: dict[str, str] = {
    "AVAILABLE": "free",
    "CHARGING": "occupied",
    "OCCUPIED": "occupied",
    "BLOCKED": "occupied",
    "RESERVED": "occupied",
    "OUTOFORDER": "fault",
    "INOPERATIVE": "fault",
    "FAULTED": "fault",
    "REMOVED": "gone",
    "PLANNED": "gone",
}
"""Status class of each known raw status (upper case, no blanks around); all else is `unknown`."""


def status_class(status: str | None) -> str:
    """What KPIs count a raw status as: `free`, `occupied`, `fault`, `unknown` or `gone`; never guessed."""
    return STATUS_CLASSES.get((status or "").strip().upper(), "unknown")
