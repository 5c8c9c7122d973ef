"""A small lake on which every check passes but two, and how to damage it past the lake's own checks.

`DAY` is a healthy day, of a poll every eight hours; on `FROZEN_DAY` a feed is frozen and polls end soon after midnight,
which the checks `frozen_feeds` and `coverage` say.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.calendar import day_bounds
from charging_assets.derive.calendar_tables import public_holidays, time_table
from charging_assets.derive.dimensions import dimensions
from charging_assets.derive.inputs import undated_inputs
from charging_assets.derive.occupancy.day import TABLES, OccupancyMaker
from charging_assets.derive.occupancy.periods import kpi_monthly, usage_profile
from charging_assets.derive.pois import poi_tables
from charging_assets.derive.station_pois import station_pois
from charging_assets.flatten.current import current_status
from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake, PartitionKey
from charging_assets.model.arrow import arrow_schema
from charging_assets.sources.osm.categories import ANY, Categories
from charging_assets_tests.chargecloud_answers import answer, connector, evse, location
from charging_assets_tests.osm_features import REFRESHED, Feature, bow_tie, east, feature, put_refresh, square
from charging_assets_tests.raw_days import make_raw_poll

WEEK_BEFORE, DAY_BEFORE, DAY, FROZEN_DAY, TODAY = (dt.date(2026, 3, day) for day in (4, 10, 11, 12, 13))
POLLS = 3
_INTERVAL_S = {WEEK_BEFORE: 8 * 3600, DAY_BEFORE: 8 * 3600, DAY: 8 * 3600, FROZEN_DAY: 600, TODAY: 600}
NOW = day_bounds(TODAY)[0] + dt.timedelta(minutes=25)
"""Five minutes after the last poll."""

_POINTS = 250
_CHARGING, _CHARGING_OVER_NIGHT, _BROKEN = range(10, 90), range(90, 94), 94
"""Points of bonn."""


def make_sound_lake(folder: Path) -> Lake:
    """Four days of two feeds and the first polls of a fifth, with all tables."""
    lake = Lake(str(folder / "lake"), folder / "home")
    for date in (WEEK_BEFORE, DAY_BEFORE, DAY, FROZEN_DAY, TODAY):
        for number in range(POLLS):
            time = day_bounds(date)[0] + number * dt.timedelta(seconds=_INTERVAL_S[date])
            bodies = {"bonn": _bonn(date, number), "koeln": _koeln()}
            make_raw_poll(lake, time, bodies, interval_s=_INTERVAL_S[date])
    for date in (WEEK_BEFORE, DAY_BEFORE, DAY, FROZEN_DAY):
        for staged in flatten_day(lake, date).values():
            lake.publish(staged)
        frozen = 2 if date == FROZEN_DAY else 0
        lake.write("feed_health", date, feed_health(date, frozen), "made up")
        lake.write("frozen_spans", date, frozen_spans(date, frozen), "made up")
    for name, rows in dimensions(lake, active_days=2).items():
        lake.write(name, None, rows)
    lake.write("current_status", None, current_status(lake, NOW))
    lake.write("time", None, time_table(lake))
    lake.write("public_holiday", None, public_holidays(WEEK_BEFORE, DAY))
    add_occupancy(lake)
    _add_pois(lake)
    lake.write("poi_effect", None, _poi_effect())
    return lake


def add_occupancy(lake: Lake) -> None:
    """Make the tables of occupancy of all days, and those of months and weeks."""
    maker = OccupancyMaker(lake)
    for date in (WEEK_BEFORE, DAY_BEFORE, DAY, FROZEN_DAY):
        made = maker.make(date, is_closed=True)
        for name in TABLES:
            lake.write(name, date, getattr(made, name), "made up")
    for name, rows in {"kpi_monthly": kpi_monthly(lake), "usage_profile": usage_profile(lake)}.items():
        lake.write(name, None, rows, undated_inputs(lake, name, active_days=2))


def _poi_effect() -> pa.Table:
    """What a model might have said, of places of which there are too few here to make one."""
    found: dict[str, Any] = {
        "outcome": "events",
        "rate_ratio": 1.4,
        "rate_ratio_low": 1.1,
        "rate_ratio_high": 1.7,
        "p_value": 0.01,
        "is_finding": True,
        "points": 200,
        "points_with": 80,
        "stations": 150,
        "point_days": 600.0,
        "family": "negative_binomial",
        "skill": 0.02,
        "first_date": WEEK_BEFORE,
        "last_date": FROZEN_DAY,
        "reference": "none within the radius",
    }
    return table_of("poi_effect", [{**found, "term": term} for term in ("poi:fuel", "poi:gastronomy")])


def _add_pois(lake: Lake) -> None:
    """Two refreshes of bonn, where all stations stand in one place, and one of koeln that has every tag somewhere."""
    categories = Categories.load("default")
    for at in (REFRESHED - dt.timedelta(days=28), REFRESHED):
        put_refresh(lake, "bonn", *_pois_of_bonn(), at=at)
    tags = [(key, "company" if value == ANY else value) for key, value in categories.tags]
    put_refresh(lake, "koeln", *(feature(f"node/{1000 + n}", east(300 + n), **{k: v}) for n, (k, v) in enumerate(tags)))
    tables = poi_tables(lake, categories.category_of)
    for name in ("poi", "rejected_pois", "poi_refresh_log"):
        lake.write(name, None, getattr(tables, name))
    made = station_pois(lake, {name: categories.radius_m(name) for name in categories.names})
    for name in ("mapping_poi_cs", "station_poi_features"):
        lake.write(name, None, getattr(made, name))


def _pois_of_bonn() -> list[Feature]:
    """Three are next to the stations; of a category there are enough that losing some is told; two are rejected."""
    return [
        feature("node/1", east(10), amenity="fast_food", name="Imbiß"),
        feature("node/2", east(0, north=15), amenity="cafe"),
        feature("way/3", square(20), shop="supermarket", name="Markt", brand="Kette"),
        *(feature(f"node/{100 + n}", east(100 + n), amenity="parking") for n in range(24)),
        feature("way/4", bow_tie(200), shop="bakery"),
        feature("relation/5", None, shop="mall"),
    ]


def _bonn(date: dt.date, number: int) -> bytes:
    """One EVSE of 251 is rejected. On `DAY` the last station, point and connector become something else."""
    points = [location(str(1000 + n), [evse(f"DE*BN*E{n:03d}", _status(n, number))]) for n in range(_POINTS)]
    changed = date >= DAY
    points[-1]["name"] = "New name" if changed else "Old name"
    last = points[-1]["evses"][0]
    last["floor_level"] = "2" if changed else "1"
    last["connectors"][0]["max_power"] = 11 if changed else 22
    nameless = {**evse(None, connectors=[]), "uid": None}
    return answer(*points, location("2000", [nameless]))


def _status(point: int, number: int) -> str:
    """Of a point of bonn at a poll of a day: some charge at the second one, and some over midnight."""
    is_charging = point in _CHARGING if number == 1 else point in _CHARGING_OVER_NIGHT
    return "CHARGING" if is_charging else "OUTOFORDER" if point == _BROKEN else "AVAILABLE"


def _koeln() -> bytes:
    return answer(location("3000", [evse("DE*K*E1", connectors=[connector("k1")]), evse("DE*K*E2", connectors=[])]))


def table_of(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table of the model."""
    return pa.Table.from_pylist(rows, schema=arrow_schema(name))


def feed_health(date: dt.date, frozen: int) -> pa.Table:
    """Two feeds that answered everything; `frozen` points of bonn were frozen."""
    start, end = day_bounds(date)
    healthy: dict[str, Any] = {
        "source": "chargecloud",
        "query_date": date,
        "state": "alive",
        "polls_planned": POLLS,
        "polls_answered": POLLS,
        "polls_empty": 0,
        "polls_failed": 0,
        "polls_missing": 0,
        "longest_gap_s": 600,
        "points_seen": _POINTS,
        "unknown_share": 0.0,
        "changes": 30,
        "expected_changes": 30.0,
        "frozen_points": 0,
        "frozen_share": 0.0,
    }
    freeze = {"freeze_kind": "whole", "freeze_start": start, "freeze_end": end, "frozen_points": frozen}
    return table_of(
        "feed_health", [{**healthy, "feed": "bonn", **(freeze if frozen else {})}, {**healthy, "feed": "koeln"}]
    )


def frozen_spans(date: dt.date, points: int) -> pa.Table:
    """The first `points` points of bonn were frozen all day."""
    start, end = day_bounds(date)
    return table_of(
        "frozen_spans",
        [
            {
                "source": "chargecloud",
                "feed": "bonn",
                "id_cp": f"DE*BN*E{n:03d}",
                "start_time": start,
                "end_time": end,
                "query_date": date,
                "kind": "whole",
                "freeze_start": start,
                "freeze_end": end,
                "expected_changes": 20.0,
                "is_proven_later": False,
                "polls": POLLS,
            }
            for n in range(points)
        ],
    )


def rewrite(
    lake: Lake, name: str, key: PartitionKey, change: Callable[[pa.Table], pa.Table], row_group_size: int | None = None
) -> None:
    """Put something else in place of a partition, as another program would; what its footer says stays."""
    path = lake.location(name, key)
    rows = pq.read_table(path)
    footer = {key: value for key, value in pq.read_metadata(path).metadata.items() if key != b"ARROW:schema"}
    changed = change(rows)
    pq.write_table(changed.replace_schema_metadata(footer), path, row_group_size=row_group_size)


def with_values(rows: pa.Table, column: str, values: dict[int, Any]) -> pa.Table:
    """The rows with other values in one column, by row number (negative ones count from the end)."""
    at = rows.column_names.index(column)
    kind = rows.schema.field(column).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    all_values = rows[column].to_pylist()
    for row, value in values.items():
        all_values[row] = value
    made = pa.array(all_values, plain)
    return rows.set_column(at, pa.field(column, kind), made.dictionary_encode() if plain != kind else made)
