"""How much energy a charging event took, as an estimate: a status shows that somebody charges, not how much.

An event takes ``min(power * duration, cap)`` of its power class. Cars rarely take what the point offers, and they stay
when they are full: nameplate power times duration gives 3 to 7 times too much. So *power* is the mean power while
plugged in, and *cap* what a long event ends at.

- Caps are published: in Germany AC events take up to 20 kWh and DC events about 40 kWh (Hecht et al. 2022, iScience 25
  (12) 105634, 22,200 stations).
- Powers are calibrated so that totals are right, given the caps: up to DC 50 kW on 32,000 sessions of Perth & Kinross
  (Scotland, 2018-09 to 2019-08, council open data), `DC 150+` on 1,900 sessions at a point of 172 kW (Switzerland,
  2022-04 to 2023-07, DESL-EPFL/Level-3-EV-charging-dataset), each on the even months alone. `AC 0-3.7` and `DC 50-150`
  are in neither: the first takes the power of the class above it, the second the geometric mean of its neighbours.
- The band holds 8 of 10 single events of those months: 10th and 90th percentile of metered energy / estimate, of the
  two classes not measured the widest of their neighbours. Bounds of many events added up are what the band would be if
  all of them erred the same way (another fleet, a hard winter): errors of events that are independent of each other
  cancel, so as a band of a total they are wide.

``python -m benchmarks.truth.energy`` calibrates, and judges on the odd months and on sites left out. Perth's cars are
of 2018, with small batteries and mostly one phase at AC: expect today's to draw more, and estimates to be low.

Belongs here: the estimate. Does not belong here: which seconds are an event (`events`), sums over events (`kpis`).
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.model.tables.master import POWER_CLASSES

_HOUR_S = 3600


class EnergyModel(NamedTuple):
    """What events of a power class take."""

    power_kw: float
    """Mean power while plugged in."""
    cap_kwh: float
    low: float
    """Of the estimate; so is `high`."""
    high: float


_AC_CAP, _DC_CAP = 20.0, 40.0

ENERGY_MODELS = {
    "AC 0-3.7": EnergyModel(2.1, _AC_CAP, 0.44, 1.91),
    "AC 3.7-11": EnergyModel(2.1, _AC_CAP, 0.44, 1.91),
    "AC 11-22": EnergyModel(4.4, _AC_CAP, 0.34, 2.81),
    "AC 22-43": EnergyModel(11.4, _AC_CAP, 0.29, 1.96),
    "DC 0-50": EnergyModel(23.3, _DC_CAP, 0.44, 1.78),
    "DC 50-150": EnergyModel(42.3, _DC_CAP, 0.44, 1.78),
    "DC 150+": EnergyModel(76.9, _DC_CAP, 0.46, 1.50),
}
"""By power class."""


def energy_kwh(
    duration_s: NDArray[np.integer[Any]], power_class: pa.Array | pa.ChunkedArray
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Estimate of the energy of charging events, and the lower and the upper end of its band.

    Args:
        duration_s: of each event, in seconds.
        power_class: of each event, text or dictionary of it; null where it is not known.

    Returns:
        Three arrays of float64 in kWh, as long as these; null where the power class is null or none of `POWER_CLASSES`.
    """
    codes = pc.index_in(power_class.cast(pa.string()), value_set=pa.array(POWER_CLASSES))
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.combine_chunks()
    is_unknown = codes.is_null().to_numpy(zero_copy_only=False)
    class_of = codes.fill_null(0).to_numpy(zero_copy_only=False)
    models = np.array([ENERGY_MODELS[name] for name in POWER_CLASSES])[class_of]
    power_kw, cap_kwh, low, high = models.T
    estimate = np.minimum(power_kw * duration_s / _HOUR_S, cap_kwh)
    return (
        pa.array(estimate, mask=is_unknown),
        pa.array(estimate * low, mask=is_unknown),
        pa.array(estimate * high, mask=is_unknown),
    )
