"""One pass over a day's raw answers -> staged partitions of the five tables that come from answers alone.

Answers stream through; what stays in memory are codes of 4 bytes. Nothing is published here: the caller decides.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.flatten.columns import few_texts, origin, status_classes, table_of, timestamps
from charging_assets.flatten.facts import READERS, Ints, Level, Observations, SortedObservations, codes, ranges
from charging_assets.flatten.master import master_observations
from charging_assets.flatten.pieces import NULL
from charging_assets.lake import Lake, StagedPartition, fingerprint_of
from charging_assets.progress import advance

TABLES = ("status_chargingpoints", "status_connectors", "poll_log", "rejected_records", "master_observations")
"""The tables that `flatten_day` makes, in the order in which they are to be published."""

_GROUP_ROWS = 1_000_000
"""Rows in a row group of the facts."""

_REJECTS_ROWS = 250_000
"""Rows of rejected records made at a time: about 100 MiB."""


def flatten_day(lake: Lake, query_date: dt.date, tables: Sequence[str] = TABLES) -> dict[str, StagedPartition]:
    """Flatten all raw answers of `query_date`; `tables` limits what is staged, not what is read.

    Returns:
        The staged partition of each table, in the order of `tables`; publish them with `Lake.publish`.

    Raises:
        LakeError: the raw files cannot be read or the staged ones not be written.
    """
    collected = Observations()
    for number, row in enumerate(lake.raw.rows(query_date), start=1):
        collected.add(row)
        advance("answers flattened", number, 0)
    day = collected.sort()
    keys = {"query_time": timestamps(day.query_times), **origin(day), "sha256": pa.array([s.sha256 for s in day.seen])}
    inputs = fingerprint_of(pa.table(keys))
    evses, connectors, locations = day.evses(), day.connectors(), day.locations()
    batches: dict[str, Callable[[], Iterator[pa.Table]]] = {
        "status_chargingpoints": lambda: _chargingpoints(day, evses, query_date),
        "status_connectors": lambda: _connectors(day, connectors, query_date),
        "poll_log": lambda: iter([_poll_log(day, evses, connectors, locations, query_date)]),
        "rejected_records": lambda: _rejected_records(day, query_date),
        "master_observations": lambda: master_observations(day, connectors, evses, locations, query_date),
    }
    staged = {}
    for table in tables:
        with lake.stage(table, query_date) as writer:
            for batch in batches[table]():
                writer.write(batch)
            staged[table] = writer.finish(inputs)
    return staged


def _chargingpoints(day: SortedObservations, evses: Level, query_date: dt.date) -> Iterator[pa.Table]:
    statuses, status = day.pieces.statuses.texts(), codes(day.pieces.evse_status)
    columns = {
        "status_cp": few_texts(status, statuses),
        "status_parkingsensor": few_texts(codes(day.pieces.evse_sensor), statuses),
        "status_class": status_classes(status, statuses),
    }
    return _facts("status_chargingpoints", "id_chargingpoint", columns, day, evses, query_date)


def _connectors(day: SortedObservations, connectors: Level, query_date: dt.date) -> Iterator[pa.Table]:
    statuses, status = day.pieces.statuses.texts(), codes(day.pieces.connector_status)
    columns = {"status_connector": few_texts(status, statuses), "status_class": status_classes(status, statuses)}
    return _facts("status_connectors", "id_connector", columns, day, connectors, query_date)


def _facts(
    table: str,
    id_column: str,
    columns: dict[str, pa.DictionaryArray],
    day: SortedObservations,
    level: Level,
    query_date: dt.date,
) -> Iterator[pa.Table]:
    """The rows of a level in pieces of a row group each; `columns` have one value per row of the pieces."""
    sources_and_feeds = origin(day)
    for span in level.spans():
        for first in range(0, len(span.id), _GROUP_ROWS):
            rows = slice(first, first + _GROUP_ROWS)
            index, answer, source_row = span.id[rows], span.answer[rows], pa.array(span.source_row[rows])
            low, high = int(index[0]), int(index[-1])
            yield table_of(
                table,
                len(index),
                **{id_column: few_texts(index - np.int32(low), span.ids[low : high + 1])},
                query_time=timestamps(day.query_times[answer]),
                query_date=query_date,
                **{name: column.take(pa.array(answer)) for name, column in sources_and_feeds.items()},
                **{name: column.take(source_row) for name, column in columns.items()},
            )


def _poll_log(
    day: SortedObservations, evses: Level, connectors: Level, locations: Level, query_date: dt.date
) -> pa.Table:
    pieces, seen = day.pieces, day.seen
    rejected_below = {
        "locations": day.locations_in - locations.usable,
        "evses": day.per_answer(codes(pieces.evses_rejected)),
        "connectors": day.per_answer(codes(pieces.connectors_rejected)),
    }
    counts = {}
    for name, level in (("locations", locations), ("evses", evses), ("connectors", connectors)):
        counts[f"{name}_in"] = level.usable + rejected_below[name]
        counts[f"{name}_ok"] = level.usable - level.duplicates
        counts[f"{name}_rejected"] = rejected_below[name]
        counts[f"{name}_duplicate"] = level.duplicates
    unknown_keys = day.per_answer(codes(pieces.unknown_keys)) + np.array(
        [s.reading.unknown_keys for s in seen], dtype=np.int64
    )
    return table_of(
        "poll_log",
        len(seen),
        query_time=timestamps(day.query_times),
        query_date=query_date,
        **origin(day),
        poll_id=[s.poll.poll_id for s in seen],
        interval_s=[s.poll.interval_s for s in seen],
        outcome=pa.array([s.reading.outcome for s in seen], pa.string()).dictionary_encode(),
        reason=[s.reading.reason for s in seen],
        url=[s.answer.url for s in seen],
        requested_at=[s.answer.requested_at for s in seen],
        received_at=[s.answer.received_at for s in seen],
        attempts=[s.answer.attempts for s in seen],
        http_status=[s.answer.http_status for s in seen],
        content_type=[s.answer.content_type for s in seen],
        bytes_total=[s.answer.bytes_total for s in seen],
        is_truncated=[s.answer.is_truncated for s in seen],
        sha256=[s.sha256 for s in seen],
        source_time=[s.reading.source_time for s in seen],
        **counts,
        unknown_keys=unknown_keys,
        unknown_key_names=_unknown_key_names(day),
        values_rejected=day.per_answer(codes(pieces.values_rejected)),
        absent_key_names=_absent_key_names(day),
    )


def _unknown_key_names(day: SortedObservations) -> list[str | None]:
    texts = day.pieces.unknown_names.texts()
    names: list[set[str]] = [
        set() if s.reading.unknown_name == NULL else set(texts[s.reading.unknown_name].split(", ")) for s in day.seen
    ]
    code = codes(day.pieces.unknown_name)[day.pair_piece]
    is_known = code != NULL
    for answer, name in np.unique(np.stack([day.pair_answer[is_known], code[is_known]]), axis=1).T.tolist():
        names[answer].update(texts[name].split(", "))
    return [", ".join(sorted(found)) or None for found in names]


def _absent_key_names(day: SortedObservations) -> list[str | None]:
    """Of an answer that has records of a level, the known keys that none of them has."""
    named: dict[tuple[str, int], str | None] = {}

    def names(source: str, present: int) -> str:
        keys = [(key.partition(".")[0], key, present >> bit & 1) for bit, key in enumerate(READERS[source].known_keys)]
        levels = {level for level, _, is_present in keys if is_present}
        return ", ".join(key for level, key, is_present in keys if level in levels and not is_present)

    found = [(seen.poll.source, present) for seen, present in zip(day.seen, day.keys_present().tolist(), strict=True)]
    for each in set(found):
        named[each] = names(*each) or None if each[1] else None
    return [named[each] for each in found]


def _rejected_records(day: SortedObservations, query_date: dt.date) -> Iterator[pa.Table]:
    """The rows of some answers at a time: these texts are long, and a feed may be broken the whole day."""
    pieces = day.pieces
    ends = codes(pieces.reject_ends)
    texts = pa.array(pieces.texts.texts(), pa.string())
    poll_ids = pa.array([s.poll.poll_id for s in day.seen], pa.string())
    first_pair = np.cumsum(day.locations_in) - day.locations_in
    sources_and_feeds = origin(day)
    for first, end in ranges(day.per_answer(np.diff(ends, prepend=0)), _REJECTS_ROWS):
        pair, source_row = day.expand(ends, slice(first, end))
        answer = day.pair_answer[pair]

        def column(values: Ints, source_row: NDArray[np.int64] = source_row) -> pa.Array:
            return texts.take(pa.array(values[source_row]))

        index = pa.array(pair - first_pair[answer]).cast(pa.string())
        path = pc.binary_join_element_wise("data[", index, "]", column(codes(pieces.reject_path)), "")
        table = table_of(
            "rejected_records",
            len(answer),
            query_time=timestamps(day.query_times[answer]),
            query_date=query_date,
            **{name: values.take(pa.array(answer)) for name, values in sources_and_feeds.items()},
            poll_id=poll_ids.take(pa.array(answer)),
            level=column(codes(pieces.reject_level)).dictionary_encode(),
            path=path,
            reason=column(codes(pieces.reject_reason)),
            excerpt=column(codes(pieces.reject_excerpt)),
            connectors_lost=codes(pieces.reject_connectors)[source_row],
        )
        order = pa.table({"answer": answer, "path": path})
        yield table.take(pc.sort_indices(order, sort_keys=[("answer", "ascending"), ("path", "ascending")]))
