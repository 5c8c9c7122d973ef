"""What values of columns may be, beyond their types: the words we use ourselves, and bounds.

Checks and the types of small tables derive from it. Words of the sources are not bound: a source may use others any
day.
"""

from sqlalchemy import Double, Integer, Table

from charging_assets.model.statuses import STATUS_CLASSES
from charging_assets.model.tables.master import POWER_CLASSES, STATES
from charging_assets.model.tables.occupancy import POI_FAMILIES, POI_OUTCOMES, SCOPES
from charging_assets.model.tables.poi import REFRESH_OUTCOMES
from charging_assets.model.tables.trust import FEED_STATES, FREEZE_KINDS

_ACCEPTED: dict[str, tuple[str, ...]] = {
    "status_class": (*sorted(set(STATUS_CLASSES.values())), "unknown"),
    "poi_refresh_log.outcome": REFRESH_OUTCOMES,
    "outcome": ("ok", "empty", "failed", "unreadable", "unexpected"),
    "rejected_records.level": ("location", "evse", "connector", "value"),
    "master_observations.level": ("station", "point", "connector"),
    "power_class": POWER_CLASSES,
    "feed_health.state": FEED_STATES,
    "freeze_kind": FREEZE_KINDS,
    "kind": FREEZE_KINDS,
    "public_holiday.state": STATES,
    "scope": SCOPES,
    "poi_effect.outcome": POI_OUTCOMES,
    "family": POI_FAMILIES,
}
"""By column, or by table and column."""

_BOUNDS: dict[str, tuple[float, float]] = {
    "longitude": (-180, 180),
    "latitude": (-90, 90),
    "hour": (0, 23),
    "day": (1, 31),
    "week": (1, 53),
    "month": (1, 12),
    "weekday": (1, 7),
    "minute_of_week": (0, 7 * 24 * 60 - 1),
    "http_status": (100, 599),
    "hour_local": (0, 23),
    **dict.fromkeys(
        (
            "coverage",
            "utilization",
            "utilization_available",
            "availability",
            "uptime",
            "free_on_arrival",
            "peak_utilization",
            "simultaneity",
            "open_utilization",
            "uptime_12m",
            "uptime_12m_coverage",
            "p_value",
        ),
        (0, 1),
    ),
    "skill": (float("-inf"), 1),
}
"""By column; what else has a unit is not negative, and a share is at most 1."""


def words_of(declared: Table) -> dict[str, tuple[str, ...]]:
    """By column, the only words that may be in it."""
    names = {col.name: (col.name, f"{declared.name}.{col.name}") for col in declared.columns}
    return {name: _ACCEPTED[key] for name, keys in names.items() for key in keys if key in _ACCEPTED}


def bounds_of(declared: Table) -> dict[str, tuple[float, float]]:
    """By column, the least and the most that its numbers may be."""
    bounds = {}
    for col in declared.columns:
        if col.name in _BOUNDS and isinstance(col.type, Integer | Double):
            bounds[col.name] = _BOUNDS[col.name]
        elif col.name.endswith("_share"):
            bounds[col.name] = (0.0, 1.0)
        elif col.info["unit"] is not None and isinstance(col.type, Integer | Double):
            bounds[col.name] = (0, float("inf"))
    return bounds
