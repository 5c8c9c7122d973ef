"""Small simulated worlds for tests, in the year 2026."""

import datetime as dt

from charging_assets.simulator import Simulation, World, make_world

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FEEDS = ("roth", "koeln", "kiel")


def small_world(seed: int = 1, points: int = 60, connectors: int = 66) -> World:
    """A world of three feeds in three federal states."""
    return make_world(seed, EPOCH, feeds=FEEDS, points=points, connectors=connectors)


def small_simulation(seed: int = 1) -> Simulation:
    return Simulation(small_world(seed))
