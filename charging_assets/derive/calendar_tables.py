"""The calendar as tables: every query time in local parts, and Germany's public holidays.

Does not belong here: query dates and midnights (`calendar`).
"""

import datetime as dt

import holidays
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import BERLIN
from charging_assets.lake import Lake
from charging_assets.model.arrow import TIMESTAMP, arrow_schema
from charging_assets.model.tables.master import STATES


def time_table(lake: Lake) -> pa.Table:
    """The table `time`: one row for each query time of `poll_log`, whatever the answers were.

    Raises:
        LakeError: a day cannot be read.
    """
    days = [lake.read("poll_log", query_date, ["query_time"]) for query_date in lake.partitions("poll_log")]
    times = pc.unique(pa.concat_tables(days)["query_time"]) if days else pa.array([], TIMESTAMP)
    return time_parts(times.take(pc.sort_indices(times)))


def time_parts(times: pa.Array) -> pa.Table:
    """Rows of `time` for distinct, sorted UTC times."""
    local = times.cast(pa.timestamp("us", tz=BERLIN.key))
    clock = pc.local_timestamp(local)
    weekday = pc.day_of_week(clock, count_from_zero=False, week_start=1)
    minute_of_day = pc.add(pc.multiply(pc.hour(clock), 60), pc.minute(clock))
    schema = arrow_schema("time")
    columns = {
        "query_time": times,
        "hour": pc.hour(clock),
        "day": pc.day(clock),
        "week": pc.iso_week(clock),
        "month": pc.month(clock),
        "year": pc.year(clock),
        "weekday": weekday,
        "iso_year": pc.iso_year(clock),
        "query_date": clock.cast(pa.date32()),
        "minute_of_week": pc.add(pc.multiply(pc.subtract(weekday, 1), 24 * 60), minute_of_day),
        "is_dst": pc.is_dst(local),
    }
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def public_holidays(first: dt.date, last: dt.date) -> pa.Table:
    """The table `public_holiday`, from the year of `first` to the one after the year of `last`.

    Args:
        first: the first query date there is.
        last: the last one.
    """
    years = range(first.year, last.year + 2)
    rows = sorted(
        (date, state, name)  # several names come joined
        for state in STATES
        for date, name in holidays.country_holidays("DE", state, years, language="de").items()
    )
    schema = arrow_schema("public_holiday")
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
