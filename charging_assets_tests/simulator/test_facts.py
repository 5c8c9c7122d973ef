"""Facts without JSON are those that polling and flattening would have given."""

import datetime as dt
from pathlib import Path

import pytest

from charging_assets.flatten.day import flatten_day
from charging_assets.lake import Lake
from charging_assets.simulator import write_facts, write_history
from charging_assets_tests.simulated import EPOCH, small_simulation

TABLES = ("status_chargingpoints", "status_connectors")


def day_with_a_change() -> dt.date:
    """A day on which a station is upgraded, so that its points are simulated anew under the same ids."""
    change = next(change for change in small_simulation().world.changes if change.kind == "upgraded")
    return dt.datetime.fromtimestamp(change.time, dt.UTC).date()


@pytest.mark.parametrize("date", [dt.date(2026, 3, 29), day_with_a_change()])
def test_facts_equal_what_flattening_the_same_polls_gives(date: dt.date, tmp_path: Path) -> None:
    polled, written = (Lake(str(tmp_path / name), tmp_path / f"{name}-home") for name in ("polled", "written"))
    write_history(small_simulation(), polled, [date], interval_s=1200)
    for staged in flatten_day(polled, date, TABLES).values():
        polled.publish(staged)
    made = list(write_facts(small_simulation(), written, [date], interval_s=1200))
    assert [info.table for info in made] == list(TABLES)
    for table, info in zip(TABLES, made, strict=True):
        expected, got = polled.read(table, date), written.read(table, date)
        assert got.num_rows == info.rows > 1000
        assert got.to_pylist() == expected.to_pylist()


def test_the_same_facts_are_the_same_bytes(tmp_path: Path) -> None:
    dates = [dt.date(2026, 2, 1), dt.date(2026, 2, 2)]
    files = []
    for name in ("one", "two"):
        lake = Lake(str(tmp_path / name), tmp_path / "home")
        list(write_facts(small_simulation(), lake, dates, interval_s=600))
        root = tmp_path / name / "tables"
        files.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")})
    assert files[0] == files[1]
    assert len(files[0]) == 4


def test_dates_outside_of_the_world_are_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match="span of this world"):
        list(write_facts(small_simulation(), lake, [EPOCH.date() - dt.timedelta(days=1)], interval_s=600))
