"""Planted effects: more or fewer people come to stations that stand near certain things, or in a certain district.

For measuring whether an analysis finds what is there, and nothing else: stations of a district are alike for reasons
that no analysis is told, and so look like many that agree. Things stand where they stand whatever is
planted: nobody builds a supermarket because a charging station is busy. Which things a station has around it depends on
the kind of its place, and so do the hours at which people come; how many come in all does not, but for what is planted.

Belongs here: whom an effect reaches. Does not belong here: how many people come otherwise (`demand`), and what becomes
of them: a point in use takes nobody, so twice the people are less than twice the sessions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charging_assets.simulator.pois import TownPois, pois_of
from charging_assets.simulator.stations import Station
from charging_assets.simulator.world import World

DISTRICT_DEGREES = (0.07, 0.045)
"""Of longitude and latitude, about 5 km."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What things do to the stations near them; those of several effects multiply."""

    tags: frozenset[str]
    """Of the things, each `<key>=<value>`."""
    within_m: float
    """From the station to the thing's edge, at most. How many things there are does not matter."""
    factor: float
    """How many times as many people come to a free point."""


def planted(world: World, effects: Sequence[Effect]) -> World:
    """The world with these effects on top of those it has. There is nothing else that differs.

    A lake does not tell the two worlds apart: keep each in a lake of its own.
    """
    demand = world.points.demand.copy()
    for effect in effects:
        demand[affected(world, effect)] *= effect.factor
    return replace(world, points=replace(world.points, demand=demand))


def with_districts(world: World, spread: float, rng: np.random.Generator) -> World:
    """The world with some districts busier than others, whatever stands in them, on top of the effects it has.

    Args:
        world: what else there is.
        spread: standard deviation of the logarithm of how many times as many people come to a district's free points.
        rng: tells where districts begin and how busy each is.
    """
    places = np.zeros((len(world.points), 2))
    for version in reversed(world.versions):  # as for `affected`
        places[version.points] = version.station.longitude, version.station.latitude
    cells = np.floor(places / DISTRICT_DEGREES + rng.random(2))
    _, district = np.unique(cells, axis=0, return_inverse=True)
    factor = rng.lognormal(0, spread, len(world.points))[district.ravel()]
    return replace(world, points=replace(world.points, demand=world.points.demand * factor))


def affected(world: World, effect: Effect) -> NDArray[np.bool_]:
    """Which of the simulated points an effect reaches: by where their station stood when they began."""
    towns = [_things(pois_of(world, feed), effect.tags) for feed in range(len(world.feeds))]
    is_affected = np.zeros(len(world.points), bool)
    for version in reversed(world.versions):  # the first version of a station's points has the last word
        is_affected[version.points] = _is_near(version.station, towns[version.feed], effect.within_m)
    return is_affected


def _things(town: TownPois, tags: frozenset[str]) -> TownPois:
    """Those of a town that have one of the tags."""
    things = [thing for thing in town.features if any(f"{key}={value}" in tags for key, value in thing.tags.items())]
    return replace(town, features=tuple(things))


def _is_near(station: Station, things: TownPois, within_m: float) -> bool:
    metres = things.distances_m(station.longitude, station.latitude) if things.features else np.empty(0)
    return bool((metres <= within_m).any())  # not those that are broken: they are nowhere
