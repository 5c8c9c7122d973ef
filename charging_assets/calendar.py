"""The only date arithmetic: query dates, midnights, daylight saving, expected polls.

A *query time* is the start of a poll: UTC, whole seconds. Its date in Europe/Berlin is the *query date*, the partition
of everything dated. Days have 23, 24 or 25 hours; nothing here or elsewhere assumes 24.
"""

import datetime as dt
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
_COMPACT = "%Y%m%dT%H%M%SZ"


def utc_now() -> dt.datetime:
    """The current time: UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def query_date_of(query_time: dt.datetime) -> dt.date:
    """The Europe/Berlin date of an aware time.

    Raises:
        ValueError: `query_time` has no time zone.
    """
    if query_time.tzinfo is None:
        raise ValueError(f"expected a time with a time zone, got {query_time!r}")
    return query_time.astimezone(BERLIN).date()


def today() -> dt.date:
    """The current query date."""
    return query_date_of(utc_now())


def day_bounds(query_date: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """First instant of the day and of the next one, in UTC; 23, 24 or 25 hours apart."""

    def midnight(day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time.min, BERLIN).astimezone(dt.UTC)

    return midnight(query_date), midnight(query_date + dt.timedelta(days=1))


def expected_polls(query_date: dt.date, interval_s: int) -> int:
    """How many polls a whole day has at one poll every `interval_s` seconds (138, 144 or 150 at 600 s)."""
    start, end = day_bounds(query_date)
    return int((end - start).total_seconds()) // interval_s


def is_closed(query_date: dt.date, now: dt.datetime | None = None) -> bool:
    """Whether the day is over, so that no poll of it can come any more (an import still can)."""
    return (now or utc_now()) >= day_bounds(query_date)[1]


def last_closed_date(now: dt.datetime | None = None) -> dt.date:
    """The last day that is over: yesterday."""
    return query_date_of(now or utc_now()) - dt.timedelta(days=1)


def month_end(date: dt.date) -> dt.date:
    """The last day of the month that a date is in."""
    return (date.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)


def compact_text(query_time: dt.datetime) -> str:
    """A query time as it stands in file names: ``20241023T111609Z``."""
    return query_time.astimezone(dt.UTC).strftime(_COMPACT)


def parse_compact(text: str) -> dt.datetime:
    """The inverse of `compact_text`.

    Raises:
        ValueError: `text` is not of the form ``20241023T111609Z``.
    """
    return dt.datetime.strptime(text, _COMPACT).replace(tzinfo=dt.UTC)


def parse_local(text: str, pattern: str) -> tuple[dt.datetime, ...]:
    """What a Europe/Berlin wall-clock time in `strptime` form can mean, in UTC, earlier first.

    One time, or two within the doubled hour of autumn. In the hour that spring leaves out, clocks were not yet set.

    Raises:
        ValueError: `text` is not of the form `pattern`.
    """
    local = dt.datetime.strptime(text, pattern).replace(tzinfo=BERLIN)
    first, second = (local.replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    return (first, second) if first < second else (first,)
