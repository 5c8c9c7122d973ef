"""The energy of a charging event is estimated from its duration and the power class of its point."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.derive.occupancy.energy import ENERGY_MODELS, energy_kwh
from charging_assets.model.tables.master import POWER_CLASSES

HOUR = 3600


def estimate_of(power_class: str, hours: float) -> float:
    (estimate,), _, _ = energy_kwh(np.array([round(hours * HOUR)]), pa.array([power_class]))
    kwh: float = estimate.as_py()
    return kwh


def test_every_power_class_is_known() -> None:
    assert tuple(ENERGY_MODELS) == POWER_CLASSES


def test_a_short_event_takes_the_more_the_longer_it_is_and_the_stronger_the_point() -> None:
    assert estimate_of("AC 11-22", 1.0) == pytest.approx(2 * estimate_of("AC 11-22", 0.5))
    powers = [estimate_of(name, 0.1) for name in POWER_CLASSES]
    assert powers == sorted(powers)
    assert powers[0] < powers[-1] / 30


@pytest.mark.parametrize(("power_class", "most"), [(name, 20.0 if "AC" in name else 40.0) for name in POWER_CLASSES])
def test_a_car_that_stays_for_days_has_taken_what_its_battery_holds(power_class: str, most: float) -> None:
    assert estimate_of(power_class, 10.0) == most
    assert estimate_of(power_class, 72.0) == most


def test_without_power_there_is_no_estimate() -> None:
    power_class = pa.array(["AC 11-22", None, "steam", "DC 150+"])
    for column in energy_kwh(np.array([HOUR] * 4), power_class):
        assert column.type == pa.float64()
        assert column.is_valid().to_pylist() == [True, False, False, True]


def test_texts_may_come_in_chunks_and_as_dictionaries() -> None:
    names, duration_s = ["AC 11-22", None, "DC 0-50", "AC 11-22"], np.array([HOUR, HOUR, 2 * HOUR, 60])
    plain = pa.array(names, pa.string())
    in_chunks = pa.chunked_array([plain.slice(0, 1).dictionary_encode(), plain.slice(1).dictionary_encode()])
    assert energy_kwh(duration_s, in_chunks) == energy_kwh(duration_s, plain)
    assert [len(column) for column in energy_kwh(np.array([], np.int64), pa.array([], pa.string()))] == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 8 * 24 * HOUR), st.sampled_from(POWER_CLASSES)), min_size=1))
def test_the_estimate_lies_in_its_band_and_below_what_the_point_could_give(events: list[tuple[int, str]]) -> None:
    duration_s = np.array([duration for duration, _ in events])
    columns = energy_kwh(duration_s, pa.array([name for _, name in events]))
    estimate, low, high = (column.to_numpy() for column in columns)
    assert np.isfinite(high).all()
    assert (low >= 0).all()
    assert (low <= estimate).all()
    assert (estimate <= high).all()
    at_most_kw = np.array([400.0 if name.endswith("+") else float(name.rpartition("-")[2]) for _, name in events])
    assert (estimate <= at_most_kw * duration_s / HOUR + 1e-9).all()
