"""Checks of what is known about the feeds: complete, answering, alive, fresh."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.calendar import day_bounds, is_closed, query_date_of
from charging_assets.quality.partition import RAW, Partition
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned

_ANSWERED = 0.95
"""Of the planned polls of a feed."""
_BRIDGED_POLLS = 3
"""More missing polls in a row than this break an interval of equal statuses."""
_FRESH_INTERVALS = 3
"""A poll may be missed, and one may be under way."""
_REASONS, _REASON_LETTERS = 2, 120
"""So many reasons of a feed are named, and so much of each."""


def feed_checks() -> Iterator[Check]:
    """The checks of feeds that no declaration gives."""
    health = "feed_health"
    yield Check(
        RAW, "freshness", f"The newest answer is at most {_FRESH_INTERVALS} intervals old.", _freshness, of_lake=True
    )
    yield Check(
        health,
        "completeness",
        f"Each living feed answered {_ANSWERED:.0%} of its polls, and missed at most {_BRIDGED_POLLS} in a row.",
        _completeness,
    )
    yield Check(health, "feeds_alive", "Every feed gave an answer that had locations.", _feeds_alive)
    yield Check(health, "frozen_feeds", "No feed was frozen.", _frozen_feeds)
    yield Check(
        "frozen_spans",
        "references",
        "Of each feed it has as many points as `feed_health` counts frozen ones.",
        _spans_against_health,
        needs=(health,),
    )


def _freshness(partition: Partition, _: str) -> Verdict:
    lake, now = partition.lake, partition.now
    for date in reversed(lake.raw.dates()):
        if date > query_date_of(now):  # a clock that is wrong must not look fresh for ever
            continue
        index = lake.raw.index(date)
        is_good = pc.and_(pc.is_null(index["error"]), pc.equal(pc.fill_null(index["http_status"], 200), 200))
        good = index.filter(pc.and_(is_good, pc.less_equal(index["query_time"], pa.scalar(now))))
        if not good.num_rows:
            continue
        newest = good.slice(good.num_rows - 1).to_pylist()[0]
        age_s = int((now - newest["query_time"]).total_seconds())
        limit_s = _FRESH_INTERVALS * newest["interval_s"]
        sentence = (
            f"The newest answer is of {newest['query_time']}, {_duration(age_s)} ago, at one poll every "
            f"{_duration(newest['interval_s'])}"
        )
        figures = {"age_s": age_s, "limit_s": limit_s, "newest": str(newest["query_time"])}
        if age_s > limit_s:
            return failed(f"{sentence}: is the poller running?", [str(newest["query_time"])], **figures)
        return passed(f"{sentence}.", **figures)
    return failed("There are no raw answers: poll, or take archives in.")


def _completeness(partition: Partition, name: str) -> Verdict:
    start, end = day_bounds(partition.date)
    is_over = is_closed(partition.date, partition.now)
    wrong: list[tuple[float, str]] = []
    due_total = answered_total = 0
    longest: tuple[int, str] = (0, "")
    for row in partition.rows(name).to_pylist():
        if row["state"] != "alive":
            continue
        feed, answered, gap_s = row["feed"], row["polls_answered"], row["longest_gap_s"]
        due = row["polls_planned"]  # of a day that is not over, those up to its last poll
        interval_s = (end - start).total_seconds() / max(due, 1)
        share = min(1.0, answered / due) if due else 1.0
        due_total, answered_total = due_total + due, answered_total + min(answered, due)
        longest = max(longest, (gap_s, feed))
        has_gap = is_over and gap_s > (_BRIDGED_POLLS + 1) * interval_s
        if share < _ANSWERED or has_gap:
            wrong.append((share, f"{feed} answered {answered:,} of {due:,}, longest gap {_duration(gap_s)}"))
    total = answered_total / due_total if due_total else 1.0
    figures = {
        "planned": due_total,
        "answered": answered_total,
        "share": round(total, 4),
        "longest_gap_s": longest[0],
    }
    sentence = f"{answered_total:,} of {amount(due_total, 'planned poll')} of living feeds answered ({total:.1%})"
    if wrong:
        named = [text for _, text in sorted(wrong)]
        return warned(f"{sentence}; {some(named)}.", named, **figures)
    gap = f", longest gap {_duration(longest[0])} of {longest[1]}" if longest[1] else ""
    return passed(f"{sentence}{gap}.", **figures)


def _feeds_alive(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name).to_pylist()
    states = Counter(row["state"] for row in rows)
    silent = [
        f"{row['feed']} is {row['state']}{_because(row['failures'])}"
        for row in sorted(rows, key=lambda row: (row["state"] != "gone", row["feed"]))
        if row["state"] != "alive"
    ]
    if silent:
        return warned(
            f"{len(silent):,} of {amount(len(rows), 'feed')} gave no location: {some(silent)}.",
            silent,
            **states,
        )
    return passed(f"{amount(len(rows), 'feed')}, all alive.", **states)


def _because(failures: str | None) -> str:
    """The failures of a feed, ``{"reason": polls}`` as JSON, short enough for a list of feeds."""
    if not failures:
        return ""
    reasons: dict[str, int] = json.loads(failures)
    named = ", ".join(f'"{_shortened(reason)}": {polls}' for reason, polls in list(reasons.items())[:_REASONS])
    more = f" and {len(reasons) - _REASONS:,} more" if len(reasons) > _REASONS else ""
    return f" ({named}{more})"


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _REASON_LETTERS else f"{reason[: _REASON_LETTERS - 1]}…"


def _frozen_feeds(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    frozen = [
        f"{row['feed']} ({row['freeze_kind'].replace('_', ' ')}, {row['frozen_points']:,} of "
        f"{amount(row['points_seen'], 'point')}) from {row['freeze_start']} to {row['freeze_end'] or 'the last poll'}"
        for row in rows.filter(pc.is_valid(rows["freeze_kind"])).to_pylist()
    ]
    points = pc.sum(rows["frozen_points"]).as_py() or 0
    if frozen:
        return warned(
            f"{amount(len(frozen), 'feed')} frozen, so their status is no observation: {some(frozen)}.",
            frozen,
            frozen_feeds=len(frozen),
            frozen_points=points,
        )
    return passed(f"None of {amount(rows.num_rows, 'feed')} is frozen.", frozen_points=points)


def _spans_against_health(partition: Partition, name: str) -> Verdict:
    spans, health = partition.rows(name), partition.rows("feed_health")
    counted = spans.group_by(["feed"]).aggregate([("id_cp", "count_distinct")]).to_pylist()
    found = Counter({row["feed"]: row["id_cp_count_distinct"] for row in counted})
    expected = Counter({row["feed"]: row["frozen_points"] for row in health.to_pylist()})
    wrong = [
        f"{feed} has spans of {amount(found[feed], 'point')} where feed_health counts {expected[feed]:,}"
        for feed in sorted(found.keys() | expected.keys())
        if found[feed] != expected[feed]
    ]
    if wrong:
        return failed(f"Frozen points do not agree: {some(wrong)}.", wrong, rows=spans.num_rows)
    return passed(f"{amount(spans.num_rows, 'span')} of {amount(found.total(), 'frozen point')}.", rows=spans.num_rows)


def _duration(seconds: int) -> str:
    return str(dt.timedelta(seconds=seconds))
