"""Checks of master data: where stations are, what belongs to what, and whether versions follow each other."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.model.tables import key_of, table
from charging_assets.quality.partition import Partition
from charging_assets.quality.verdict import Check, Verdict, amount, failed, passed, some, warned

_LONGITUDES = (5.8, 15.1)
_LATITUDES = (47.2, 55.1)
"""The bounding box of Germany. It also holds Strasbourg and most of Switzerland's north: a first test, not a border."""

_PARENTS = {
    "charging_point": ("id_cs", "charging_station"),
    "connector": ("id_cp", "charging_point"),
}
"""Column that names the parent, and the table in which it is."""

_HISTORIES = {
    "charging_station_history": "charging_station",
    "charging_point_history": "charging_point",
    "connector_history": "connector",
}


def master_checks() -> Iterator[Check]:
    """The checks of master data that its declaration does not give."""
    yield Check(
        "master_observations",
        "references",
        "Points have a station of the same day, connectors a point.",
        _observed_references,
    )
    for name in ("master_observations", "charging_station"):
        yield Check(name, "coordinates", "Stations lie within the bounding box of Germany.", _coordinates)
    for name, (_, parents) in _PARENTS.items():
        yield Check(name, "references", f"Every row has its parent in `{parents}`.", _references, needs=(parents,))
    for name, dimension in _HISTORIES.items():
        yield Check(
            name,
            "history",
            "Versions of an id follow each other without gap; only the last is current.",
            _history,
            blocking=True,
        )
        yield Check(
            name,
            "references",
            f"It has versions of the same ids as `{dimension}` has rows.",
            _same_ids,
            needs=(dimension,),
        )
    yield Check("time", "references", "Every query date that has a `poll_log` has rows here.", _query_dates)


def _observed_references(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    of_level = {level: rows.filter(pc.equal(rows["level"], level)) for level in ("station", "point", "connector")}
    return _orphans(
        ("point", of_level["point"], "id_cs", of_level["station"]["id_cs"]),
        ("connector", of_level["connector"], "id_cp", of_level["point"]["id"]),
        id_column="id",
    )


def _references(partition: Partition, name: str) -> Verdict:
    column, parents = _PARENTS[name]
    (id_column,) = key_of(table(name))
    known = partition.rows(parents)[column]
    return _orphans((name.replace("_", " "), partition.rows(name), column, known), id_column=id_column)


def _orphans(*levels: tuple[str, pa.Table, str, pa.ChunkedArray], id_column: str) -> Verdict:
    """Judges, for each (what rows are, rows, column that names the parent, ids of parents there are)."""
    orphans: list[str] = []
    counts: dict[str, int] = {}
    said: list[str] = []
    for noun, rows, column, known in levels:
        is_orphan = pc.and_(pc.is_valid(rows[column]), pc.invert(pc.is_in(rows[column], pc.unique(known))))
        found = rows.filter(is_orphan)
        for id_, parent in zip(found[id_column].to_pylist(), found[column].to_pylist(), strict=True):
            orphans.append(f"{noun} {id_} of {column} {parent}")
        counts |= {f"{noun}s": rows.num_rows, f"{noun}s without {column}": rows[column].null_count}
        said.append(f"{amount(rows.num_rows, noun)} ({rows[column].null_count:,} without {column})")
    judged = " and ".join(said)
    if orphans:
        return warned(
            f"Of {judged}, {len(orphans):,} name a parent that is not there: {some(orphans)}.",
            orphans,
            orphans=len(orphans),
            **counts,
        )
    return passed(f"{judged}, every parent that is named is there.", **counts)


def _coordinates(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    if "level" in rows.column_names:
        rows = rows.filter(pc.equal(rows["level"], "station"))
    placed = rows.filter(pc.and_(pc.is_valid(rows["longitude"]), pc.is_valid(rows["latitude"])))
    longitude, latitude = (placed[column].to_numpy() for column in ("longitude", "latitude"))
    outside = placed.filter(pa.array(~(_within(longitude, _LONGITUDES) & _within(latitude, _LATITUDES))))
    ids = "id" if "id" in rows.column_names else "id_cs"
    named = sorted({_placed(row[ids], row["longitude"], row["latitude"]) for row in outside.to_pylist()})
    without = rows.num_rows - placed.num_rows
    figures = {"stations": rows.num_rows, "without_coordinates": without, "outside": len(named)}
    sentence = f"of {amount(rows.num_rows, 'station')}, {without:,} without coordinates"
    if named:
        return warned(f"{len(named):,} outside of Germany {sentence}: {some(named)}.", named, **figures)
    return passed(f"None outside of Germany {sentence}.", **figures)


def _within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (bounds[0] <= values) & (values <= bounds[1])


def _placed(id_: object, longitude: float, latitude: float) -> str:
    guess = ""
    if longitude == latitude == 0:
        guess = " (unset)"
    elif _LONGITUDES[0] <= latitude <= _LONGITUDES[1] and _LATITUDES[0] <= longitude <= _LATITUDES[1]:
        guess = " (swapped)"
    return f"{id_} at {latitude:g} N {longitude:g} E{guess}"


def _history(partition: Partition, name: str) -> Verdict:
    rows = partition.rows(name)
    id_column, _ = key_of(table(name))
    versions, ids = rows.num_rows, rows[id_column]
    if not versions:
        return passed("No versions.", versions=0)
    is_last = np.ones(versions, bool)
    is_last[:-1] = pc.not_equal(ids.slice(0, versions - 1), ids.slice(1)).to_numpy()
    start, end = (rows[column].cast(pa.int64()).fill_null(-1).to_numpy() for column in ("valid_from", "valid_to"))
    expected_end = np.append(start[1:], -1)
    expected_end[is_last] = -1
    wrong: list[str] = []
    for is_wrong, words in (
        ((end > expected_end) & ~is_last, "overlaps the next version"),
        ((end < expected_end) & ~is_last, "ends before the next version begins"),
        ((end != -1) & is_last, "is the last version and has an end"),
        (rows["is_current"].to_numpy() != is_last, "says wrongly whether it is the last version"),
    ):
        wrong += [
            f"{row[id_column]} from {row['valid_from']} {words}" for row in rows.filter(pa.array(is_wrong)).to_pylist()
        ]
    entities = int(is_last.sum())
    figures = {"versions": versions, "ids": entities}
    if wrong:
        return failed(
            f"{amount(len(wrong), 'fault')} in {amount(versions, 'version')}: {some(wrong)}.", wrong, **figures
        )
    return passed(f"{amount(versions, 'version')} of {amount(entities, 'id')}, each with one current.", **figures)


def _same_ids(partition: Partition, name: str) -> Verdict:
    dimension = _HISTORIES[name]
    (id_column,) = key_of(table(dimension))
    versions = set(partition.rows(name)[id_column].to_pylist())
    current = set(partition.rows(dimension)[id_column].to_pylist())
    wrong = [f"{id_} has no version" for id_ in sorted(current - versions)]
    wrong += [f"{id_} is not in {dimension}" for id_ in sorted(versions - current)]
    if wrong:
        return failed(f"{amount(len(wrong), 'id')} in only one of both: {some(wrong)}.", wrong, ids=len(versions))
    return passed(f"{amount(len(versions), 'id')}, the same as in {dimension}.", ids=len(versions))


def _query_dates(partition: Partition, name: str) -> Verdict:
    held = set(pc.unique(partition.rows(name)["query_date"]).to_pylist())
    logged = partition.lake.partitions("poll_log")
    missing = [str(date) for date in logged if date not in held]
    if missing:
        return warned(
            f"{amount(len(missing), 'query date')} of {len(logged):,} not in it: {some(missing)}.",
            missing,
            missing=len(missing),
        )
    return passed(f"{amount(len(logged), 'query date')} with polls, all of them in it.", query_dates=len(logged))
