"""How right the estimate of energy is: ``python -m benchmarks.truth.energy``.

Powers and bands of `ENERGY_MODELS` are calibrated on the sessions of even months of Perth & Kinross and of EPFL (so the
power is right that makes their total right, given the cap), and judged on the odd months. Then each site of Perth is
judged by what the other sites say: its power is calibrated without it.

Wanted on the odd months of both: a total within 20 %, and a smaller mean absolute error than a constant per event; the
constant is the mean of the power class in the even months, which is more than the estimate may know. Printed besides:
the share of events within their band (wanted by its definition: 0.8), and the total of nameplate power times duration.
"""

import sys

import numpy as np
import pyarrow as pa

from benchmarks.truth.sessions import EPFL, PERTH, Sessions, months, read_epfl, read_perth
from charging_assets.derive.activity import Flags, Floats, Ints
from charging_assets.derive.occupancy.energy import ENERGY_MODELS, energy_kwh

MOST_OFF = 0.2
"""Of a total."""
_HEADS = ("events", "metered", "estimate", "MAE", "constant", "in band", "nameplate")
_NAMEPLATE_KW = {"AC 3.7-11": 7, "AC 11-22": 22, "AC 22-43": 43, "DC 0-50": 50, "DC 150+": 172}


def main() -> None:
    missing = [path for path in (PERTH, EPFL) if not path.exists()]
    if missing:
        print(f"Left out: the real sessions are not there ({', '.join(map(str, missing))}).")
        return
    perth, epfl = read_perth(), read_epfl()
    print("Calibrated on even months (in brackets: what `ENERGY_MODELS` has)")
    for sessions in (perth, epfl):
        _calibrate(sessions)
    print("\nJudged on odd months")
    print(f"  {'':20}{''.join(f'{name:>10}' for name in _HEADS)}")
    is_met = [_judge("Perth & Kinross", perth), _judge("EPFL", epfl)]
    _judge_sites(perth)
    if not all(is_met):
        sys.exit(f"missed: a total within {MOST_OFF:.0%}, and a smaller error than a constant")


def power_kw(kwh: Floats, duration_s: Ints, cap_kwh: float) -> float:
    """The power that makes the total of ``min(power * duration, cap)`` that of `kwh`."""
    low, high = 0.1, 1000.0
    while high / low > 1.0001:
        power = (low * high) ** 0.5
        is_less = np.minimum(power * duration_s / 3600, cap_kwh).sum() < kwh.sum()
        low, high = (power, high) if is_less else (low, power)
    return float((low * high) ** 0.5)


def _calibrate(sessions: Sessions) -> None:
    is_even = months(sessions) % 2 == 0
    for name in np.unique(sessions.power_class).tolist():
        those = sessions.take(is_even & (sessions.power_class[sessions.point] == name))
        model = ENERGY_MODELS[name]
        power = power_kw(those.kwh, those.duration_s, model.cap_kwh)
        estimate = np.minimum(power * those.duration_s / 3600, model.cap_kwh)
        low, high = np.quantile(those.kwh / estimate, (0.1, 0.9))
        print(
            f"  {name:10}{len(those):>7,} events, cap {model.cap_kwh:.0f} kWh: power {power:.1f} ({model.power_kw}) "
            f"kW, band {low:.2f} ({model.low:.2f}) to {high:.2f} ({model.high:.2f}) of the estimate"
        )


def _judge(name: str, sessions: Sessions) -> bool:
    """Print how it fares by class and in all, and tell whether what is wanted is met."""
    is_even = months(sessions) % 2 == 0
    class_of = sessions.power_class[sessions.point]
    estimate, low, high = _estimates(sessions)
    is_within = (sessions.kwh >= low) & (sessions.kwh <= high)
    constant, nameplate = np.zeros(len(sessions)), np.zeros(len(sessions))
    classes = np.unique(sessions.power_class).tolist()
    for power_class in classes:
        is_its = class_of == power_class
        constant[is_its] = sessions.kwh[is_its & is_even].mean()
        nameplate[is_its] = _NAMEPLATE_KW[power_class] * sessions.duration_s[is_its] / 3600

    def show(title: str, of: Flags) -> tuple[float, float, float]:
        metered = sessions.kwh[of]
        ratio = estimate[of].sum() / metered.sum()
        error, constant_error = (float(np.abs(guess[of] - metered).mean()) for guess in (estimate, constant))
        print(
            f"  {title:20}{of.sum():>10,}{metered.sum() / 1000:>6.1f} MWh{ratio:>10.3f}{error:>10.2f}"
            f"{constant_error:>10.2f}{is_within[of].mean():>10.2f}{nameplate[of].sum() / metered.sum():>10.1f}"
        )
        return ratio, error, constant_error

    ratio, error, constant_error = show(name, ~is_even)
    for power_class in classes:
        show(f"  {power_class}", ~is_even & (class_of == power_class))
    return abs(ratio - 1) <= MOST_OFF and error < constant_error


def _judge_sites(sessions: Sessions) -> None:
    site_of, class_of = sessions.site[sessions.point], sessions.power_class[sessions.point]
    ratios, is_within = {}, []
    _, low, high = _estimates(sessions)
    for site in np.unique(sessions.site).tolist():
        is_here = site_of == site
        estimate = 0.0
        for name in np.unique(class_of[is_here]).tolist():
            cap, others = ENERGY_MODELS[name].cap_kwh, sessions.take(~is_here & (class_of == name))
            power = power_kw(others.kwh, others.duration_s, cap)
            its = sessions.take(is_here & (class_of == name))
            estimate += float(np.minimum(power * its.duration_s / 3600, cap).sum())
        total = sessions.kwh[is_here].sum()
        ratios[site] = estimate / total
        is_within.append(low[is_here].sum() <= total <= high[is_here].sum())
    least, most = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    is_near = np.abs(np.array(list(ratios.values())) - 1) <= MOST_OFF
    print(
        f"\nPerth's {len(ratios)} sites, each judged by the others: estimate / metered from {ratios[least]:.2f} "
        f"({least})\nto {ratios[most]:.2f} ({most}), {is_near.mean():.0%} of sites within {MOST_OFF:.0%}.\n"
        f"Metered totals of sites within the summed band: {np.mean(is_within):.0%}"
    )


def _estimates(sessions: Sessions) -> list[Floats]:
    """The estimate of each session and the ends of its band."""
    estimates = energy_kwh(sessions.duration_s, pa.array(sessions.power_class[sessions.point].tolist()))
    return [column.to_numpy(zero_copy_only=False) for column in estimates]


if __name__ == "__main__":
    main()
