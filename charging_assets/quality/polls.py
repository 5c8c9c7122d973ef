"""Checks of what flattening made of a day's answers: against these, against each other, against other days."""

import datetime as dt
import statistics
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.lake import Lake, LakeError, fingerprint_of
from charging_assets.quality.partition import RAW, Partition
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned

LEVELS = ("locations", "evses", "connectors")

_FACTS = {
    "status_chargingpoints": ("id_chargingpoint", "point", "evses_ok"),
    "status_connectors": ("id_connector", "connector", "connectors_ok"),
}
"""Id column, level of `master_observations` and count of `poll_log` that belong to each fact table."""

_WEEKS = 4
"""How many earlier days of the same weekday a day is compared with."""
_VOLUME_DEVIATION = 0.2
"""Of rows per poll. Feeds of 38 come and go: less than this is a small one, or some points."""
_REJECTED_WARN = 0.01
_REJECTED_ERROR = 0.2
"""Of the records of a feed."""


def poll_checks() -> Iterator[Check]:
    """The checks of flattened tables that their declaration does not give."""
    log = "poll_log"
    yield Check(
        log,
        "rows_against_raw",
        "It has one row for each distinct answer it was made from, and raw still has them.",
        _log_against_raw,
        needs=(RAW,),
        blocking=True,
    )
    yield Check(log, "balance", "Of each answer and level: in = ok + rejected + duplicate.", _balance, blocking=True)
    yield Check(log, "new_keys", "No answer has JSON keys that the source is not known to have.", _new_keys)
    yield Check(
        log, "vanished_keys", "No JSON key has gone from all answers of a feed since the day before.", _vanished_keys
    )
    for name, (_, level, _) in _FACTS.items():
        yield Check(
            name,
            "rows_against_raw",
            "Of each feed it has as many rows as `poll_log` counts usable records.",
            _facts_against_raw,
            needs=(log,),
            blocking=True,
        )
        yield Check(
            name,
            "references",
            f"Every {level} has master data of the day; rows without are kept.",
            _facts_references,
            needs=("master_observations",),
        )
        yield Check(name, "volume", "Rows per poll are as on earlier days of the same weekday.", _volume, needs=(log,))
    yield Check(
        "rejected_records",
        "rows_against_raw",
        "It accounts for all that `poll_log` counts as rejected.",
        _rejects_against_raw,
        needs=(log,),
        blocking=True,
    )
    yield Check(
        "rejected_records",
        "rejected_share",
        f"Of no feed more than {_REJECTED_WARN:.0%} of the records were rejected.",
        _rejected_share,
        needs=(log,),
    )
    yield Check(
        "master_observations",
        "rows_against_raw",
        "Its runs begin and end at polls that their feed answered.",
        _master_against_raw,
        needs=(log,),
        blocking=True,
    )


def _log_against_raw(partition: Partition, name: str) -> Verdict:
    log, index = partition.rows(name), partition.raw_index
    own, now = fingerprint_of(log), fingerprint_of(index)
    answers = len(_answers(log)) if log.num_rows else 0
    figures = {"rows": log.num_rows, "answers": answers, "raw_answers": index.num_rows}
    if own != partition.inputs(name) or answers != log.num_rows:
        return failed(
            f"Its {amount(log.num_rows, 'row')} stand for {amount(answers, 'answer')}, which are not those it was made "
            f"from; raw has {index.num_rows:,}: build it again.",
            **figures,
        )
    if own == now:
        return passed(f"{amount(log.num_rows, 'row')} for {amount(answers, 'distinct raw answer')}.", **figures)
    held, kept = _answers(log), _answers(index)
    if lost := sorted(held - kept):
        named = [f"{feed} at {time}" for time, _, feed, _ in lost]
        # The table is as good as it was, so nothing is held back; but nobody can make or check it again.
        return warned(
            f"{amount(len(lost), 'answer')} of it are no longer among the raw ones, restore them: {some(named)}.",
            named,
            **figures,
        )
    return passed(
        f"{amount(log.num_rows, 'row')} for as many raw answers; {len(kept - held):,} came since: build it again.",
        **figures,
        came_since=len(kept - held),
    )


def _answers(rows: pa.Table) -> set[tuple[dt.datetime, str, str, str]]:
    columns = (rows[name].to_pylist() for name in ("query_time", "source", "feed", "sha256"))
    return set(zip(*columns, strict=True))


def _other_inputs(partition: Partition, name: str) -> Verdict | None:
    """Says so when a table and `poll_log` were made from different answers, as after a kill between the two."""
    if partition.inputs(name) == partition.inputs("poll_log"):
        return None
    return failed(f"{name} and poll_log were made from different raw answers: build the day again.")


def _facts_against_raw(partition: Partition, name: str) -> Verdict:
    log, profile = partition.rows("poll_log"), partition.profile(name)
    *_, count = _FACTS[name]
    expected = _sums(log, "feed", count)
    found = profile.words.get("feed", Counter())
    figures = {"rows": profile.rows, "expected_rows": sum(expected.values()), "polls": _polls(log)}
    wrong = [
        f"{feed} has {amount(found[feed], 'row')} of {expected[feed]:,}"
        for feed in sorted(expected.keys() | found.keys())
        if found[feed] != expected[feed]
    ]
    if wrong:
        return failed(
            f"{amount(profile.rows, 'row')}, but {figures['expected_rows']:,} records of the answers were usable: "
            f"{some(wrong)}.",
            wrong,
            **figures,
        )
    if verdict := _other_inputs(partition, name):
        return verdict
    return passed(
        f"{amount(profile.rows, 'row')} for as many usable records in {amount(figures['polls'], 'poll')} of "
        f"{amount(len(found), 'feed')}.",
        **figures,
    )


def _sums(rows: pa.Table, by: str, column: str) -> Counter[str]:
    summed = rows.group_by(by).aggregate([(column, "sum")])
    return Counter(dict(zip(summed[by].to_pylist(), summed[f"{column}_sum"].to_pylist(), strict=True)))


def _polls(log: pa.Table) -> int:
    return len(pc.unique(log["query_time"]))


def _balance(partition: Partition, name: str) -> Verdict:
    log = partition.rows(name)
    wrong = []
    for level in LEVELS:
        out = pc.add(pc.add(log[f"{level}_ok"], log[f"{level}_rejected"]), log[f"{level}_duplicate"])
        wrong += [
            f"{row['feed']} at {row['query_time']}: {row[f'{level}_in']} {level} in, {row[f'{level}_ok']} ok, "
            f"{row[f'{level}_rejected']} rejected, {row[f'{level}_duplicate']} duplicate"
            for row in log.filter(pc.not_equal(log[f"{level}_in"], out)).to_pylist()
        ]
    totals = {f"{level}_in": pc.sum(log[f"{level}_in"]).as_py() or 0 for level in LEVELS}
    if wrong:
        return failed(f"{amount(len(wrong), 'level')} of answers do not balance: {some(wrong)}.", wrong, **totals)
    counts = ", ".join(f"{totals[f'{level}_in']:,} {level}" for level in LEVELS)
    return passed(f"{amount(log.num_rows, 'answer')} balance: {counts} in.", **totals)


def _rejects_against_raw(partition: Partition, name: str) -> Verdict:
    log, rejects = partition.rows("poll_log"), partition.rows(name)
    lost = pc.sum(rejects["connectors_lost"]).as_py() or 0
    expected = sum(pc.sum(log[f"{level}_rejected"]).as_py() or 0 for level in (*LEVELS, "values"))
    found = f"{amount(rejects.num_rows, 'row')} and {amount(lost, 'connector')} below them"
    figures = {"rows": rejects.num_rows, "connectors_lost": lost, "expected": expected}
    if rejects.num_rows + lost != expected:
        return failed(f"{found}, where poll_log counts {expected:,} rejected records and values.", **figures)
    if verdict := _other_inputs(partition, name):
        return verdict
    return passed(f"{found}, as many as poll_log counts rejected records and values.", **figures)


def _rejected_share(partition: Partition, name: str) -> Verdict:
    log, rejects = partition.rows("poll_log"), partition.rows(name)
    pairs = {level: (f"{level}_in", f"{level}_rejected") for level in LEVELS}
    # A connector is the record that there are most of: values are counted against those.
    pairs["values"] = ("connectors_in", "values_rejected")
    shares: list[tuple[float, str]] = []
    total = {"in": 0, "rejected": 0}
    for level, (came, bad) in pairs.items():
        came_by_feed, bad_by_feed = _sums(log, "feed", came), _sums(log, "feed", bad)
        total["in"] += came_by_feed.total() if level != "values" else 0
        total["rejected"] += bad_by_feed.total()
        for feed, count in bad_by_feed.items():
            if count:
                share = count / max(came_by_feed[feed], count)
                shares.append((share, f"{feed}: {count:,} of {level}, {share:.1%}"))
    shares.sort(reverse=True)
    worst = shares[0][0] if shares else 0.0
    figures = {"records": total["in"], "rejected": total["rejected"], "worst_share": round(worst, 6)}
    if worst <= _REJECTED_WARN:
        return passed(f"{total['rejected']:,} of {amount(total['in'], 'record')} rejected.", **figures)
    reasons = [f"{reason} ({count:,} times)" for reason, count in _most(rejects["reason"])]
    named = [text for share, text in shares if share > _REJECTED_WARN]
    fail = failed if worst > _REJECTED_ERROR else warned
    return fail(
        f"Of {amount(total['in'], 'record')}, {total['rejected']:,} records and values were rejected: {some(named)}; "
        f"because: {some(reasons)}.",
        [*named, *reasons],
        **figures,
    )


def _most(column: pa.ChunkedArray, most: int = 5) -> list[tuple[str, int]]:
    counts = pc.value_counts(column)
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])[:most]


def _master_against_raw(partition: Partition, name: str) -> Verdict:
    log, master = partition.rows("poll_log"), partition.rows(name)
    answered = log.filter(pc.greater(log["locations_in"], 0))
    polls = {(row["feed"], row["query_time"]) for row in answered.select(["feed", "query_time"]).to_pylist()}
    wrong = []
    for column in ("first_seen", "last_seen"):
        ends = master.group_by(["feed", column]).aggregate([("id", "min")])
        for feed, time, thing in zip(*(ends[each].to_pylist() for each in ("feed", column, "id_min")), strict=True):
            if (feed, time) not in polls:
                wrong.append(f"{column} of {thing} is {time}, when {feed} gave no answer")
    if wrong:
        return failed(f"Runs of master data that no answer shows: {some(wrong)}.", wrong, rows=master.num_rows)
    if verdict := _other_inputs(partition, name):
        return verdict
    return passed(
        f"{amount(master.num_rows, 'run')} of master data, all within {amount(_polls(answered), 'poll')}.",
        rows=master.num_rows,
    )


def _facts_references(partition: Partition, name: str) -> Verdict:
    column, level, _ = _FACTS[name]
    master = partition.rows("master_observations")
    known = set(master.filter(pc.equal(master["level"], level))["id"].to_pylist())
    found = partition.profile(name).words.get(column, Counter())
    if orphans := sorted(found.keys() - known):
        rows = sum(found[orphan] for orphan in orphans)
        return warned(
            f"{amount(len(orphans), level)} of {len(found):,} without master data of the day, "
            f"in {amount(rows, 'row')}, which are kept: {some(orphans)}.",
            orphans,
            ids=len(found),
            ids_without_master=len(orphans),
            rows=rows,
        )
    return passed(f"All {amount(len(found), level)} have master data of the day.", ids=len(found))


def _volume(partition: Partition, name: str) -> Verdict:
    polls = _polls(partition.rows("poll_log"))
    rows = partition.profile(name).rows
    if not polls:
        return passed("No polls, so nothing to compare.", rows=rows)
    per_poll = rows / polls
    earlier = list(_earlier_volumes(partition.lake, name, partition.date))
    if not earlier:
        return passed(
            f"{per_poll:,.1f} rows a poll; there is no earlier {partition.date:%A} to compare with.",
            rows_per_poll=per_poll,
        )
    usual = statistics.median(volume for _, volume in earlier)
    change = per_poll / usual - 1
    days = some([str(day) for day, _ in earlier])
    figures = {"rows_per_poll": per_poll, "usual_rows_per_poll": usual, "change": round(change, 4)}
    sentence = f"{per_poll:,.1f} rows a poll, {change:+.1%} against {usual:,.1f} on {days}."
    if abs(change) > _VOLUME_DEVIATION:
        return warned(sentence, [f"{day}: {volume:,.1f}" for day, volume in earlier], **figures)
    return passed(sentence, **figures)


def _earlier_volumes(lake: Lake, name: str, date: dt.date) -> Iterator[tuple[dt.date, float]]:
    """Rows per poll that was made: so neither a day of 23 hours nor one that has just begun is short of any."""
    for day in [day for day in lake.partitions(name) if day < date and day.weekday() == date.weekday()][-_WEEKS:]:
        try:
            info, log = lake.info(name, day), lake.read("poll_log", day, ["query_time"])
        except LakeError:  # its own checks say so
            continue
        if info and info.rows and log.num_rows:
            yield day, info.rows / _polls(log)


def _new_keys(partition: Partition, name: str) -> Verdict:
    log = partition.rows(name)
    odd = log.filter(pc.greater(log["unknown_keys"], 0))
    answers: Counter[str] = Counter()
    for row in odd.group_by("unknown_key_names").aggregate([("feed", "count")]).to_pylist():
        for key in (row["unknown_key_names"] or "not named").split(", "):
            answers[key] += row["feed_count"]
    occurrences = pc.sum(log["unknown_keys"]).as_py() or 0
    if not odd.num_rows:
        return passed(f"{amount(log.num_rows, 'answer')}, only known JSON keys.", answers=log.num_rows)
    named = [f"{key} in {amount(count, 'answer')}" for key, count in answers.most_common()]
    feeds = sorted(pc.unique(odd["feed"]).to_pylist())
    return warned(
        f"{amount(len(answers), 'new JSON key')}, {amount(occurrences, 'time')}, from {some(feeds)}: {some(named)}.",
        named,
        occurrences=occurrences,
        keys=len(answers),
    )


def _vanished_keys(partition: Partition, name: str) -> Verdict:
    today = _always_absent(partition.rows(name))
    earlier = [day for day in partition.lake.partitions(name) if day < partition.date]
    absent = sum(map(len, today.values()))
    if not earlier:
        return passed(f"{amount(absent, 'known key')} absent; no earlier day to compare with.", absent=absent)
    before_day = Partition(partition.lake, earlier[-1], partition.now)
    if fault := before_day.content(name).fault:
        return passed(f"Not compared with {earlier[-1]}, whose {name} {fault}.", absent=absent)
    before = _always_absent(before_day.rows(name))
    vanished = [
        f"{key} of {feed}"
        for feed, keys in sorted(today.items())
        if feed in before
        for key in sorted(keys - before[feed])
    ]
    if vanished:
        return warned(
            f"{amount(len(vanished), 'JSON key')} that were there on {earlier[-1]} are in no record any more: "
            f"{some(vanished)}.",
            vanished,
            vanished=len(vanished),
        )
    return passed(
        f"No key of {amount(len(today), 'feed')} vanished since {earlier[-1]}; known but absent: {absent:,}.",
        absent=absent,
    )


def _always_absent(log: pa.Table) -> dict[str, set[str]]:
    """For each feed with good answers, the known keys that none of them had."""
    usable = log.filter(pc.equal(log["outcome"], "ok"))
    absent: dict[str, set[str]] = {}
    for row in usable.group_by(["feed", "absent_key_names"]).aggregate([]).to_pylist():
        keys = set((row["absent_key_names"] or "").split(", ")) - {""}
        absent[row["feed"]] = absent.get(row["feed"], keys) & keys
    return absent
