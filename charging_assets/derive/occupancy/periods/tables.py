"""The tables of all days there are: `kpi_monthly` and `usage_profile`."""

import datetime as dt

import pyarrow as pa

from charging_assets.calendar import last_closed_date
from charging_assets.derive.occupancy.periods.counted import calendar_of, months_of, years_up_to
from charging_assets.derive.occupancy.periods.profile import profile
from charging_assets.derive.occupancy.periods.selection import Selection
from charging_assets.derive.occupancy.periods.sums import kpis, uptime_12m
from charging_assets.derive.occupancy.periods.views import connected, dates_with_kpis
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import SCOPES


def kpi_monthly(lake: Lake, now: dt.datetime | None = None) -> pa.Table:
    """The table `kpi_monthly`: all months of which there is a day, all scopes. Without days it is empty.

    Args:
        lake: whose `kpi_daily` and `charging_events` are read.
        now: up to when days without polls are missing and not to come; None: now.

    Raises:
        LakeError: the lake cannot be read.
    """
    schema = arrow_schema("kpi_monthly")
    made = [schema.empty_table()]
    with connected(lake, "kpi_daily", "charging_events") as connection:
        dates, over = dates_with_kpis(connection), last_closed_date(now)
        months = months_of(dates)
        by_month, by_year = (calendar_of(dates, periods, over) for periods in (months, years_up_to(months)))
        for selection in map(Selection, sorted(SCOPES)):
            uptime = uptime_12m(connection, selection, by_year)
            rows = kpis(connection, selection, by_month).join(uptime, ["scope_id", "period"])
            rows = rows.sort_by([("scope_id", "ascending"), ("period", "ascending")])
            made.append(rows.rename_columns({"period": "month"}).select(schema.names).cast(schema))
    return pa.concat_tables(made).unify_dictionaries()


def usage_profile(lake: Lake) -> pa.Table:
    """The table `usage_profile`: all days there are, all scopes. Without days it is empty.

    Its `days` are those of which something was observed in that hour.

    Raises:
        LakeError: the lake cannot be read.
    """
    with connected(lake, "utilization_hourly") as connection:
        made = [profile(connection, selection) for selection in map(Selection, sorted(SCOPES))]
    return pa.concat_tables(made).unify_dictionaries()
