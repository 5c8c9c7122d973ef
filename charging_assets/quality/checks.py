"""All checks there are, and how a partition is judged by them."""

import datetime as dt
from collections.abc import Iterable, Sequence

from charging_assets.lake import Lake, PartitionKey
from charging_assets.model.tables import METADATA, is_dated, table
from charging_assets.quality.declared import declared_checks
from charging_assets.quality.feeds import feed_checks
from charging_assets.quality.master import master_checks
from charging_assets.quality.occupancy import occupancy_checks
from charging_assets.quality.partition import Partition
from charging_assets.quality.pois import poi_checks
from charging_assets.quality.polls import poll_checks
from charging_assets.quality.verdict import Check, Finding, Verdict, passed

CHECKS: tuple[Check, ...] = (
    *(check for name in METADATA.tables for check in declared_checks(name)),
    *poll_checks(),
    *feed_checks(),
    *master_checks(),
    *poi_checks(),
    *occupancy_checks(),
)
"""Every check, once; the graph's specs derive from it."""


def is_per_date(check: Check) -> bool:
    """Whether the check has a verdict for each query date, and not one for all."""
    return is_dated(table(check.table)) and not check.of_lake


def judge(lake: Lake, key: PartitionKey, checks: Iterable[Check], *, now: dt.datetime) -> list[Finding]:
    """The findings of `checks` in one partition, each of its tables read once.

    Where a table cannot be judged, its check `schema` fails and the others pass, saying that they did not judge.

    Args:
        lake: where the tables are.
        key: query date, for checks of dated tables; None for all others.
        checks: which ones.
        now: time of judgement, UTC.
    """
    partition = Partition(lake, key, now)
    return [Finding(check, key, _verdict(check, partition)) for check in checks]


def check_day(
    lake: Lake, query_date: dt.date, *, now: dt.datetime, tables: Sequence[str] | None = None
) -> list[Finding]:
    """All findings of a day, of all dated tables or of `tables`."""
    checks = [check for check in CHECKS if is_per_date(check) and (tables is None or check.table in tables)]
    return judge(lake, query_date, checks, now=now)


def check_undated(lake: Lake, *, now: dt.datetime, tables: Sequence[str] | None = None) -> list[Finding]:
    """All findings that belong to no day, of all tables or of `tables`."""
    checks = [check for check in CHECKS if not is_per_date(check) and (tables is None or check.table in tables)]
    return judge(lake, None, checks, now=now)


def _verdict(check: Check, partition: Partition) -> Verdict:
    if check.of_lake or check.name == "schema":
        return check.judge(partition, check.table)
    for name in (check.table, *check.needs):
        if fault := partition.content(name).fault:
            return passed(
                f"Not judged: {name} {fault}" if name == check.table else f"Not judged without {name}: {fault}"
            )
    return check.judge(partition, check.table)
