"""Checks that follow from the data model: columns, keys, nulls, partition, words and bounds of every table."""

from collections import Counter
from collections.abc import Iterator

import pyarrow.compute as pc
from sqlalchemy import Date, Table

from charging_assets.calendar import day_bounds
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.rules import bounds_of, words_of
from charging_assets.model.statuses import STATUS_CLASSES
from charging_assets.model.tables import is_dated, key_of, made_from, table
from charging_assets.quality.partition import ABSENT, RAW, Partition, Profile, key_text
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned

_KNOWN: dict[str, frozenset[str]] = {
    "status_cp": frozenset((*STATUS_CLASSES, "UNKNOWN")),
    "status_connector": frozenset((*STATUS_CLASSES, "UNKNOWN")),
    "format": frozenset(("SOCKET", "CABLE")),
    "power_type": frozenset(("AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC")),
}
"""Words of the sources that are understood, by column; a source may use others any day."""

_IN_ORDER = (
    ("first_seen", "last_seen"),
    ("start_time", "end_time"),
    ("freeze_start", "freeze_end"),
    ("since", "query_time"),
    ("query_time", "as_of"),
    ("first_date", "last_date"),
    ("gap_s", "duration_s"),
    ("energy_kwh_low", "energy_kwh"),
    ("energy_kwh", "energy_kwh_high"),
    ("rate_ratio_low", "rate_ratio"),
    ("rate_ratio", "rate_ratio_high"),
    ("duration_p50_s", "duration_p90_s"),
    ("open_occupied_s", "open_observed_s"),
    ("station_polls_free", "station_polls_working"),
    ("station_polls_full", "station_polls_working"),
    ("station_polls_working", "station_polls"),
    ("points_observed", "points"),
    ("points_with", "points"),
    ("stations", "points"),
    ("days_observed", "days"),
    ("overstays", "events"),
    ("censored_events", "events"),
    ("suspicious_events", "events"),
)
"""Pairs of columns of which the first is at most the second, where a table has both."""

_OF_THE_DAY = ("query_date", "query_time", "first_seen", "last_seen", "start_time", "end_time", "hour_utc")
_NOT_OF_THE_DAY = {
    "charging_events": ("start_time", "end_time"),
}
"""Times that may lie on other days than that of their partition: an event begins up to 7 days before, and one whose end
was not seen may reach over midnight."""


def declared_checks(name: str) -> Iterator[Check]:
    """The checks that the declaration of a table asks for."""
    declared = table(name)
    if name == RAW:  # readers drop what is there twice, and one form of file is all they take
        yield Check(RAW, "schema", "The raw files of the day can be read and are of one form.", _raw_schema)
        yield Check(
            RAW, "query_date", "Every raw answer of the day's folder was asked for on that day.", _raw_query_date
        )
        return
    if name == "raw_pois":  # one file per refresh and city: see `pois`
        return
    keys = ", ".join(key_of(declared))
    yield Check(name, "schema", "The file is there and has the declared columns.", _schema, blocking=True)
    yield Check(name, "keys", f"({keys}) is unique, and rows are sorted by it.", _keys, blocking=True)
    yield Check(name, "not_null", "Columns that must not be null are not.", _not_null, blocking=True)
    if is_dated(declared):
        yield Check(name, "query_date", "All rows are of the day of their partition.", _query_date, blocking=True)
    if words_of(declared):
        columns = ", ".join(words_of(declared))
        yield Check(name, "accepted_values", f"Only declared words are in {columns}.", _accepted_values)
    if known := ", ".join(_known_of(declared)):
        yield Check(name, "known_words", f"All words of the sources in {known} are known.", _known_words)
    if bounds_of(declared) or _pairs_of(declared):
        yield Check(name, "bounds", "Numbers are within their bounds and in order, and so are times.", _bounds)


def _known_of(declared: Table) -> list[str]:
    """Of dated tables only: they say on which day a new word came, and what is made from them has it too."""
    return [col.name for col in declared.columns if col.name in _KNOWN] if is_dated(declared) else []


def _pairs_of(declared: Table) -> list[tuple[str, str]]:
    return [pair for pair in _IN_ORDER if set(pair) <= set(declared.columns.keys())]


def _schema(partition: Partition, name: str) -> Verdict:
    found = partition.content(name)
    if found.fault == ABSENT:
        if source := _should_be_made_from(partition, name):
            return failed(f"There is no file of {name}, though {source}: build it.")
        return passed("There is no file, and nothing to make it from.")
    if found.fault:
        return failed(f"{name} {found.fault}: build it again." if found.info else f"{found.fault}.")
    assert found.info
    columns = amount(len(arrow_schema(name)), "column")
    return passed(
        f"{amount(found.info.rows, 'row')} in {columns} as declared (schema version {found.info.schema_version}).",
        rows=found.info.rows,
        bytes=found.info.bytes,
    )


def _should_be_made_from(partition: Partition, name: str) -> str | None:
    """What there is to make a table from, in words; None where there is nothing."""
    if partition.key is None:
        is_early = "raw_pois" in made_from(table(name)) and not partition.lake.pois.entries()
        return None if is_early else "there should always be one"
    for upstream in made_from(table(name)):
        found = partition.content(upstream)
        if found.fault and found.fault != ABSENT:
            return f"{upstream} has something (which cannot be judged)"
        if found.profile.rows:
            return f"{upstream} has {amount(found.profile.rows, 'row')}"
    return None


def _keys(partition: Partition, name: str) -> Verdict:
    profile, key = partition.profile(name), ", ".join(key_of(table(name)))
    if not profile.repeated and not profile.unsorted:
        return passed(f"{amount(profile.rows, 'row')}, keys ({key}) unique and sorted.", rows=profile.rows)
    return failed(
        f"Of {amount(profile.rows, 'row')}, {profile.repeated:,} repeat the key ({key}) of the row before and "
        f"{profile.unsorted:,} are out of order, first {profile.disorder}.",
        [profile.disorder or ""],
        rows=profile.rows,
        repeated=profile.repeated,
        unsorted=profile.unsorted,
    )


def _not_null(partition: Partition, name: str) -> Verdict:
    profile = partition.profile(name)
    required = [col.name for col in table(name).columns if not col.nullable]
    wrong = {column: profile.nulls[column] for column in required if profile.nulls[column]}
    if not wrong:
        return passed(
            f"{amount(profile.rows, 'row')}, no null in the {amount(len(required), 'column')} that must have none.",
            rows=profile.rows,
        )
    named = [f"{column}: {count:,}" for column, count in wrong.items()]
    return failed(f"Of {amount(profile.rows, 'row')}, some are null where none may be: {some(named)}.", named, **wrong)


def _query_date(partition: Partition, name: str) -> Verdict:
    start, end = day_bounds(partition.date)
    profile = partition.profile(name)
    wrong = []
    for col in table(name).columns:
        # When something was requested, received or frozen may lie beyond midnight.
        if col.name not in _OF_THE_DAY or col.name in _NOT_OF_THE_DAY.get(name, ()):
            continue
        low, high = profile.bounds.get(col.name, (None, None))
        if low is None:
            continue
        if isinstance(col.type, Date):
            is_within = low == high == partition.date
        else:
            is_within = start <= low and (high <= end if col.name == "end_time" else high < end)
        if not is_within:
            wrong.append(f"{col.name} from {low} to {high}")
    if wrong:
        return failed(f"Rows of other days than {partition.date}: {'; '.join(wrong)}.", wrong, rows=profile.rows)
    return passed(f"{amount(profile.rows, 'row')}, all of {partition.date}.", rows=profile.rows)


def _accepted_values(partition: Partition, name: str) -> Verdict:
    profile = partition.profile(name)
    accepted = words_of(table(name))
    wrong = [
        _counted(profile, column, word, count)
        for column, words in accepted.items()
        for word, count in profile.words.get(column, {}).items()
        if word not in words
    ]
    counts = {
        f"{column} {word}": count
        for column in accepted
        for word, count in sorted(profile.words.get(column, {}).items())
    }
    if wrong:
        return failed(f"Words that are not declared: {some(wrong)}.", wrong, rows=profile.rows, **counts)
    return passed(
        f"{amount(profile.rows, 'row')}, only declared words in {', '.join(accepted)}.", rows=profile.rows, **counts
    )


def _known_words(partition: Partition, name: str) -> Verdict:
    profile = partition.profile(name)
    columns = _known_of(table(name))
    new = [
        _counted(profile, column, word, count)
        for column in columns
        for word, count in profile.words.get(column, {}).items()
        if word.strip().upper() not in _KNOWN[column]
    ]
    counts = {
        f"{column} {word}": count
        for column in columns
        for word, count in profile.words.get(column, Counter()).most_common(30)
    }
    if new:
        return warned(f"{amount(len(new), 'new word')}: {some(new)}.", new, rows=profile.rows, **counts)
    return passed(
        f"{amount(profile.rows, 'row')}, only known words in {', '.join(columns)}.", rows=profile.rows, **counts
    )


def _counted(profile: Profile, column: str, word: str, count: int) -> str:
    place = profile.places.get((column, word))
    return f"{column} {word!r}: {amount(count, 'row')}{f', first {place}' if place else ''}"


def _bounds(partition: Partition, name: str) -> Verdict:
    profile, declared = partition.profile(name), table(name)
    bounds = bounds_of(declared)
    wrong = [
        f"{column} from {profile.bounds[column][0]} to {profile.bounds[column][1]}, expected {low:g} to {high:g}"
        for column, (low, high) in bounds.items()
        if column in profile.bounds and not (low <= profile.bounds[column][0] and profile.bounds[column][1] <= high)
    ]
    pairs = _pairs_of(declared)
    for before, after in pairs:
        rows = partition.rows(name)
        is_wrong = pc.fill_null(pc.greater(rows[before], rows[after]), fill_value=False)
        if count := pc.sum(is_wrong).as_py():
            first = key_text(rows, key_of(declared), pc.index(is_wrong, value=True).as_py())
            wrong.append(f"{before} after {after} in {amount(count, 'row')}, first {first}")
    judged = [*bounds, *(f"{before} <= {after}" for before, after in pairs)]
    if wrong:
        return failed(f"Out of bounds: {some(wrong)}.", wrong, rows=profile.rows)
    return passed(f"{amount(profile.rows, 'row')}, {amount(len(judged), 'bound')} held.", rows=profile.rows)


def _raw_schema(partition: Partition, name: str) -> Verdict:
    if fault := partition.content(name).fault:
        return failed(f"{fault}.")
    index = partition.raw_index
    files = partition.lake.raw.files(partition.date)
    return passed(
        f"{amount(index.num_rows, 'answer')} in {amount(files, 'readable file')}.", answers=index.num_rows, files=files
    )


def _raw_query_date(partition: Partition, _: str) -> Verdict:
    times = partition.raw_index["query_time"]
    start, end = day_bounds(partition.date)
    found = pc.min_max(times).as_py()
    if len(times) and not (start <= found["min"] and found["max"] < end):
        span = f"{found['min']} to {found['max']}"
        return failed(f"Raw answers of other days than {partition.date}: {span}.", [span], answers=len(times))
    return passed(f"{amount(len(times), 'answer')}, all of {partition.date}.", answers=len(times))
