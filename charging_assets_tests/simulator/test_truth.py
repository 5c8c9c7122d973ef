"""The ground truth as Parquet files."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from charging_assets.simulator import write_truth
from charging_assets_tests.simulated import EPOCH, FEEDS, small_simulation

START, END = EPOCH + dt.timedelta(days=100), EPOCH + dt.timedelta(days=200)
FROZEN = EPOCH + dt.timedelta(days=150)


def truth(folder: Path) -> dict[str, pa.Table]:
    simulation = small_simulation()
    simulation.freeze("koeln", "frozen", FROZEN, FROZEN + dt.timedelta(days=2))
    simulation.freeze("kiel", "mass_reset", FROZEN)
    simulation.freeze("roth", "frozen", END)
    rows = write_truth(simulation, folder, START, END)
    tables = {path.stem: pq.read_table(path) for path in folder.iterdir()}
    assert rows == {name: table.num_rows for name, table in tables.items()}
    return tables


def test_sessions_and_faults_are_whole_and_overlap_the_span(tmp_path: Path) -> None:
    tables = truth(tmp_path / "new" / "folder")
    for name in ("sessions", "faults"):
        table = tables[name]
        assert table.num_rows > 50
        assert set(table["feed"].to_pylist()) == set(FEEDS)
        assert pc.all(pc.less(table["started_at"], table["ended_at"])).as_py()
        assert pc.min(table["ended_at"]).as_py() > START
        assert pc.max(table["started_at"]).as_py() < END
        assert pc.min(table["started_at"]).as_py() < START
    assert set(tables["faults"]["status"].to_pylist()) == {"OUTOFORDER", "INOPERATIVE", "UNKNOWN"}


def test_a_session_has_the_same_energy_whatever_span_is_asked_for(tmp_path: Path) -> None:
    whole = truth(tmp_path / "a")["sessions"].to_pylist()
    write_truth(small_simulation(), tmp_path / "b", FROZEN, FROZEN + dt.timedelta(days=1))
    part = pq.read_table(tmp_path / "b" / "sessions.parquet").to_pylist()
    assert len(part) > 10
    assert [
        row for row in whole if row["started_at"] < FROZEN + dt.timedelta(days=1) and row["ended_at"] > FROZEN
    ] == part
    hours = [(row["ended_at"] - row["started_at"]).total_seconds() / 3600 for row in whole]
    assert all(0 <= row["energy_kwh"] <= row["power_kw"] * time + 0.01 for row, time in zip(whole, hours, strict=True))


def test_freezes_of_the_span_are_told_and_open_ends_are_null(tmp_path: Path) -> None:
    assert truth(tmp_path)["freezes"].to_pylist() == [
        {"feed": "koeln", "kind": "frozen", "started_at": FROZEN, "ended_at": FROZEN + dt.timedelta(days=2)},
        {"feed": "kiel", "kind": "mass_reset", "started_at": FROZEN, "ended_at": None},
    ]


def test_master_changes_of_the_span_are_told_in_order(tmp_path: Path) -> None:
    changes = truth(tmp_path)["master_changes"]
    assert changes.num_rows > 0
    times = changes["time"].to_pylist()
    assert times == sorted(times)
    assert START <= times[0] <= times[-1] < END
    expected = [c.id_cs for c in small_simulation().world.changes if START.timestamp() <= c.time < END.timestamp()]
    assert changes["id_cs"].to_pylist() == expected
