"""When people come to charge, and for how long: by place, hour, weekday, holiday and power.

All figures are fitted to published ones: durations to measured quantiles, shares of time to what German operators and
authorities report. Nothing here is random.
"""

import datetime as dt
from functools import cache

import holidays
import numpy as np

from charging_assets.calendar import BERLIN
from charging_assets.simulator.town import KINDS, METROPOLIS
from charging_assets.simulator.world import Floats, Longs, World

SLOW, NORMAL, RAPID = range(3)
"""How long a point is used: AC up to 11 kW, AC up to 22 kW, DC."""

_LIMITS = (12, 44)
"""Power in kW from which a point is `NORMAL`, and from which `RAPID`."""

# Minutes at cumulated shares of sessions. Those at 10, 50 and 90 % are measured; the ends keep the means plausible.
_DURATION_SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
_DURATION_MINUTES = ((4, 32, 250, 1317, 3600), (2, 13, 68, 421, 1440), (2, 10, 27, 61, 150))

_AIM = {3: 0.177, 11: 0.177, 22: 0.177, 50: 0.082, 150: 0.082, 300: 0.082}
"""Share of time in use that a point of average popularity aims at, by kW."""

_MOST = 0.6
"""No point aims at more, however popular."""

# Arrivals per hour of the day in local time, by kind of place: working day, Saturday, Sunday or holiday.
_BY_HOUR = {
    "centre": (
        (2, 2, 2, 2, 3, 5, 7, 10, 14, 18, 21, 21, 18, 12, 12, 11, 12, 13, 12, 10, 7, 5, 4, 3),
        (3, 2, 2, 2, 3, 4, 5, 8, 12, 17, 21, 22, 19, 14, 12, 12, 11, 11, 10, 10, 8, 6, 4, 3),
        (4, 3, 3, 3, 4, 5, 6, 7, 11, 17, 22, 24, 20, 14, 13, 12, 12, 12, 11, 10, 7, 5, 4, 3),
    ),
    "mall": (
        (0, 0, 0, 0, 1, 2, 4, 8, 14, 19, 23, 24, 21, 16, 16, 15, 15, 16, 13, 8, 3, 1, 0, 0),
        (0, 0, 0, 0, 0, 1, 2, 7, 15, 24, 30, 31, 27, 22, 20, 18, 15, 12, 9, 5, 3, 1, 0, 0),
        (0, 0, 0, 0, 0, 0, 1, 2, 3, 5, 8, 10, 10, 9, 9, 8, 7, 6, 4, 3, 1, 1, 0, 0),
    ),
    "motorway": (
        (2, 1, 1, 1, 3, 5, 9, 12, 13, 14, 16, 19, 19, 15, 14, 15, 16, 15, 13, 10, 8, 6, 4, 3),
        (2, 1, 1, 1, 2, 5, 8, 12, 16, 19, 21, 23, 22, 18, 16, 15, 14, 12, 10, 8, 6, 5, 4, 3),
        (2, 1, 1, 1, 2, 3, 5, 8, 12, 16, 19, 22, 22, 19, 18, 19, 19, 17, 14, 11, 9, 7, 5, 3),
    ),
    "residential": (
        (3, 2, 2, 2, 3, 5, 8, 11, 13, 16, 18, 18, 15, 10, 9, 9, 10, 11, 10, 9, 6, 4, 3, 3),
        (3, 2, 2, 2, 3, 4, 5, 8, 12, 16, 19, 19, 16, 12, 11, 10, 10, 10, 9, 8, 6, 4, 3, 3),
        (4, 3, 3, 3, 4, 6, 7, 9, 13, 18, 23, 24, 19, 14, 12, 12, 12, 12, 11, 10, 7, 5, 4, 3),
    ),
    "business": (
        (1, 1, 1, 1, 3, 7, 13, 19, 21, 19, 18, 18, 15, 12, 9, 7, 6, 5, 4, 3, 2, 2, 1, 1),
        (1, 1, 1, 1, 1, 2, 3, 4, 6, 8, 9, 9, 8, 6, 5, 4, 4, 3, 3, 2, 1, 1, 1, 1),
        (1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 6, 6, 5, 4, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1),
    ),
}
_EVENING = np.ones(24)
_EVENING[[18, 19, 20]] = (1.6, 2.2, 1.3)
"""How many times more people come in the evening in a metropolis."""

_LEAST = 0.05
"""Arrivals per hour at the least: the way back from arrivals to times needs more than zero."""


class Demand:
    """What each point of a world is asked for.

    Attributes:
        group: per point, which row of `arrivals` holds for it.
        rate: per point, sessions per hour while it is free, in an average hour of the week.
        family: per point, `SLOW`, `NORMAL` or `RAPID`.
    """

    def __init__(self, world: World) -> None:
        points = world.points
        self.family = np.digitize(points.power, _LIMITS)
        minutes = np.array([_mean_minutes(family) for family in (SLOW, NORMAL, RAPID)])[self.family]
        aim = np.array([_AIM[power] for power in points.power.tolist()])
        share = np.minimum(aim * points.popularity, _MOST)
        self.rate = share / (1 - share) / (minutes / 60) * points.demand
        self._states = sorted({town.city.state for town in world.towns})
        state = np.array([self._states.index(town.city.state) for town in world.towns])
        is_metropolis = np.array([town.city.population >= METROPOLIS for town in world.towns])
        self.group = ((state * 2 + is_metropolis)[points.feed]) * len(KINDS) + points.kind

    def arrivals(self, start: int) -> Floats:
        """Arrivals from the beginning of a UTC day to the end of each of its hours, per group.

        Args:
            start: midnight UTC, seconds since 1970.

        Returns:
            Shape (groups, 25), the first column 0, in units of an average hour's arrivals; strictly increasing.
        """
        kinds_of_day, hours = np.array(
            [[_local_hour(start + 3600 * hour, state) for hour in range(24)] for state in self._states]
        ).transpose(2, 0, 1)
        weights = _weights()[:, :, kinds_of_day, hours]  # metropolis, kind, state, hour
        per_hour = weights.transpose(2, 0, 1, 3).reshape(-1, 24)
        return np.concatenate([np.zeros((len(per_hour), 1)), per_hour.cumsum(axis=1)], axis=1)


def durations(family: Longs, share: Floats) -> Floats:
    """Seconds that sessions take, which as many sessions of their family stay below as `share` says."""
    seconds = np.empty(len(share))
    for number, minutes in enumerate(_DURATION_MINUTES):
        chosen = family == number
        seconds[chosen] = 60 * np.exp(np.interp(share[chosen], _DURATION_SHARES, np.log(minutes)))
    return seconds


def _mean_minutes(family: int) -> float:
    return float(durations(np.full(100_000, family), (np.arange(100_000) + 0.5) / 100_000).mean() / 60)


@cache
def _weights() -> Floats:
    """Arrivals in units of an average hour's: by (metropolis or not, kind of place, kind of day, local hour)."""
    by_hour = np.maximum(np.array([_BY_HOUR[kind] for kind in KINDS], float), _LEAST)
    both = np.stack([by_hour, by_hour * _EVENING])
    mean = (both * np.array([5, 1, 1])[:, None]).sum(axis=(2, 3), keepdims=True) / (7 * 24)
    return np.asarray(both / mean)


def _local_hour(time: int, state: str) -> tuple[int, int]:
    """Kind of day (0 working day, 1 Saturday, 2 Sunday or holiday) and hour, in local time."""
    local = dt.datetime.fromtimestamp(time, BERLIN)
    if local.weekday() == 6 or local.date() in _holidays(state):
        return 2, local.hour
    return int(local.weekday() == 5), local.hour


@cache
def _holidays(state: str) -> holidays.HolidayBase:
    return holidays.country_holidays("DE", subdiv=state)
