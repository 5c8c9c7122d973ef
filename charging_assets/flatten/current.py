"""`current_status`: what each charging point was last seen doing."""

import datetime as dt

import numpy as np
import pyarrow as pa

from charging_assets.calendar import query_date_of
from charging_assets.flatten.columns import few_texts, origin, status_classes, timestamps
from charging_assets.flatten.facts import Observations, codes
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema

LOOK_BACK = dt.timedelta(hours=24)
"""A point that was not seen for longer has no current status."""


def current_status(lake: Lake, as_of: dt.datetime) -> pa.Table:
    """Each point's status in the last good answer of its feed, if that is at most 24 hours older than `as_of`.

    Only the time of the polls decides, not when a file came into the lake: importing old answers changes nothing. An
    answer without any location is no evidence that the points are gone, so it is not the last good one.

    Returns:
        Table `current_status`: one row per charging point, sorted by id; of two feeds the one that answered later wins.
    """
    begin = as_of - LOOK_BACK
    collected = Observations()
    date = query_date_of(begin)
    while date <= query_date_of(as_of):
        for row in lake.raw.rows(date, since=begin):
            if begin <= row.poll.query_time <= as_of:
                collected.add(row)
        date += dt.timedelta(days=1)
    seen = collected.sort()
    good = [((s.poll.source, s.answer.feed), s.poll.query_time, s.reading.outcome == "ok") for s in seen.seen]
    last_time = {feed: time for feed, time, is_good in good if is_good}
    # By time: two polls in one second share the points among them, as each row counts for one of them only.
    is_last = np.array([is_good and time == last_time[feed] for feed, time, is_good in good], dtype=bool)
    statuses, status = seen.pieces.statuses.texts(), codes(seen.pieces.evse_status)
    sensor = codes(seen.pieces.evse_sensor)
    sources_and_feeds = origin(seen)

    schema = arrow_schema("current_status")
    tables = [schema.empty_table()]
    for span in seen.evses().spans():
        row_status = status[span.source_row]
        number = np.arange(len(span.id))
        is_first_seen = np.ones(len(span.id), dtype=bool)
        is_first_seen[1:] = span.id[1:] != span.id[:-1]
        is_change = is_first_seen.copy()
        is_change[1:] |= row_status[1:] != row_status[:-1]
        run_start = np.maximum.accumulate(np.where(is_change, number, 0))
        candidates = np.flatnonzero(is_last[span.answer])
        is_latest = np.ones(len(candidates), dtype=bool)
        is_latest[:-1] = span.id[candidates][1:] != span.id[candidates][:-1]
        rows = candidates[is_latest]
        start, answer, source_row = run_start[rows], span.answer[rows], span.source_row[rows]
        query_time = seen.query_times[answer]
        columns = [
            few_texts(span.id[rows], span.ids).cast(pa.string()),
            timestamps(query_time),
            few_texts(status[source_row], statuses),
            few_texts(sensor[source_row], statuses),
            *(column.take(pa.array(answer)) for column in sources_and_feeds.values()),
            status_classes(status[source_row], statuses),
            timestamps(seen.query_times[span.answer[start]]),
            pa.array(~is_first_seen[start]),
            pa.array((int(as_of.timestamp()) - query_time // 1_000_000).astype(np.int32)),
            pa.repeat(pa.scalar(as_of, schema.field("as_of").type), len(rows)),
        ]
        tables.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(tables).unify_dictionaries()
