"""What a partition was made from, and whether that is still what there is.

Every table file says in its footer which inputs and which versions it was made from (`PartitionInfo`). So an unchanged
partition can be left alone and a stale one be found, whoever built it and when.

Flattened tables (made from raw answers) need their own day. Derived dated tables read from 7 days before to 1 day after
theirs, as far as there are such days: intervals cross midnight, and some things are proven only on the next day.
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Sequence

from charging_assets import __version__
from charging_assets.calendar import is_closed, last_closed_date, month_end
from charging_assets.lake import Lake, LakeError, PartitionInfo, PartitionKey
from charging_assets.model.tables import METADATA, SCHEMA_VERSION, is_dated, made_from, table

DAYS_BEFORE, DAYS_AFTER = 7, 1

DERIVED_AGAIN = 2
"""So many days before a built one may be derived again with it: freezes of the first, and what lies beside them."""

FLATTENED = tuple(t.name for t in METADATA.tables.values() if is_dated(t) and made_from(t) == ("raw_snapshots",))
"""Dated tables made from the raw answers of their own day."""

DERIVED = tuple(t.name for t in METADATA.tables.values() if is_dated(t) and t.name not in ("raw_snapshots", *FLATTENED))
"""Dated tables made from other dated ones."""


def window(query_date: dt.date) -> list[dt.date]:
    """The days that a derived table of `query_date` is made from, as far as they are there."""
    return [query_date + dt.timedelta(days=number) for number in range(-DAYS_BEFORE, DAYS_AFTER + 1)]


class Inputs:
    """The inputs that there are now. What was asked once is remembered, so make one for each question."""

    def __init__(self, lake: Lake, now: dt.datetime | None = None) -> None:
        self._lake, self._now = lake, now
        self._raw: dict[dt.date, str] = {}
        self._infos: dict[tuple[str, PartitionKey], PartitionInfo | None] = {}

    def fingerprint(self, name: str, query_date: dt.date) -> str:
        """What a partition of the dated table `name` would be made from, as hex digest.

        Of a derived table, also whether its day is over: until then, polls to come are not missing.
        """
        if name in FLATTENED:
            if query_date not in self._raw:
                self._raw[query_date] = self._lake.raw.fingerprint(query_date)
            return self._raw[query_date]
        parts = [f"closed={is_closed(query_date, self._now)}"]
        for upstream in made_from(table(name)):
            infos = [info for date in window(query_date) if (info := self._info(upstream, date))]
            parts += [_of_upstream(info) for info in infos]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def is_current(self, names: Sequence[str], query_date: dt.date) -> bool:
        """Whether all of these tables of the day are there, and made by this version from what there is now."""
        for name in names:
            try:
                info = self._info(name, query_date)
            except LakeError:  # a damaged file: building is what mends it
                return False
            if info is None or (info.schema_version, info.code_version) != (SCHEMA_VERSION, __version__):
                return False
            if info.inputs != self.fingerprint(name, query_date):
                return False
        return True

    def _info(self, name: str, key: PartitionKey) -> PartitionInfo | None:
        if (name, key) not in self._infos:
            self._infos[name, key] = self._lake.info(name, key)
        return self._infos[name, key]


def _of_upstream(info: PartitionInfo) -> str:
    """What a partition has to do with the tables that are made from it.

    A derived table without rows says the same whatever it was made from: nearly all days have no frozen spans, and
    without this the night would derive a third day each time.
    """
    if info.table in DERIVED and not info.rows:
        return f"{info.table} {info.key} has no rows"
    return f"{info.table} {info.key} {info.inputs} {info.schema_version} {info.code_version}"


def stale_dates(lake: Lake, dates: Sequence[dt.date], now: dt.datetime | None = None) -> list[dt.date]:
    """Those of `dates` of which a dated table is missing, or was made from other inputs than there are now."""
    inputs = Inputs(lake, now)
    return [date for date in dates if not inputs.is_current((*FLATTENED, *DERIVED), date)]


def undated_inputs(lake: Lake, name: str, active_days: int, poi_rules: str = "", now: dt.datetime | None = None) -> str:
    """What the undated table `name` would be made from, as hex digest: all partitions of its inputs, and this version.

    What has `is_active` depends on `active_days` too, points of interest on the rules of their categories, and months
    on how many days of the last one are over: what nobody polled of them is missing.
    """
    parts = [str(SCHEMA_VERSION), __version__]
    if made_from(table(name)) == ("master_observations",):
        parts.append(f"active_days={active_days}")
    if table(name).info["group"] == "poi":
        parts.append(poi_rules)
    if name == "kpi_monthly":
        parts.append(f"until={_counted_until(lake, now)}")
    for upstream in made_from(table(name)):
        if upstream == "raw_pois":
            parts.append(lake.pois.fingerprint())
            continue
        keys: Sequence[PartitionKey] = lake.partitions(upstream) if is_dated(table(upstream)) else [None]
        infos = (lake.info(upstream, key) for key in keys)
        parts += [f"{upstream} {i.key} {i.inputs} {i.schema_version} {i.code_version}" for i in infos if i]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _counted_until(lake: Lake, now: dt.datetime | None) -> dt.date | None:
    """The last day that counts in `kpi_monthly`: polled, or over and of the same month as the last that was polled."""
    for date in reversed(lake.partitions("kpi_daily")):
        info = lake.info("kpi_daily", date)
        if info is not None and info.rows:
            return max(date, min(last_closed_date(now), month_end(date)))
    return None


def stale_undated(lake: Lake, active_days: int, poi_rules: str = "") -> list[str]:
    """Derived undated tables that are missing, or were made from other inputs than there are now.

    Those of points of interest only where there was a refresh: nothing else brings them.
    """
    names = [t.name for t in METADATA.tables.values() if not is_dated(t) and made_from(t) not in _NOT_DERIVED]
    if not lake.pois.fingerprint():
        names = [name for name in names if made_from(table(name)) != ("raw_pois",)]
    wanted = {made_from(table(name)): undated_inputs(lake, name, active_days, poi_rules) for name in names}
    infos = {name: lake.info(name, None) for name in names}
    return [name for name, info in infos.items() if info is None or info.inputs != wanted[made_from(table(name))]]


_NOT_DERIVED: Collection[tuple[str, ...]] = ((), ("raw_snapshots",))
"""Inputs of what a poll or a refresh writes itself."""
