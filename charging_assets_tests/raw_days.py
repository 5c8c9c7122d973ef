"""Raw days of small answers, for tests of what stands on the lake."""

import datetime as dt

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer, Poll
from charging_assets_tests.chargecloud_answers import city


def make_raw_day(
    lake: Lake,
    query_date: dt.date,
    *,
    polls: int = 3,
    points: int = 2,
    feed: str = "koeln",
    status: str = "AVAILABLE",
    interval_s: int = 600,
) -> None:
    """Put `polls` answers of one feed with `points` charging points each into the lake, from local midnight on."""
    start, _ = day_bounds(query_date)
    for number in range(polls):
        make_raw_poll(
            lake,
            start + number * dt.timedelta(seconds=interval_s),
            {feed: city(points, status, name=feed)},
            interval_s=interval_s,
        )


def make_raw_poll(lake: Lake, query_time: dt.datetime, bodies: dict[str, bytes], *, interval_s: int = 600) -> None:
    """Put one poll into the lake as if all its feeds had answered well."""
    poll_id = f"made{int(query_time.timestamp())}{'-'.join(bodies)}"
    lake.raw.import_answers(
        Poll(poll_id, query_time, interval_s, "chargecloud"),
        [
            Answer(feed, body, received_at=query_time, attempts=1, http_status=200, bytes_total=len(body))
            for feed, body in bodies.items()
        ],
    )
