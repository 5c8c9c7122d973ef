"""Random numbers that depend on nothing but the seed and what they are for."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is for. Numbers are part of the seed: never change or reuse one."""

    STATIONS = 1
    CHANGES = 2
    OUTAGES = 3
    SESSIONS = 4
    MISSING = 5
    POPULARITY = 6
    LAGS = 7
    POIS = 8


def stream(seed: int, purpose: Stream, number: int = 0) -> np.random.Generator:
    """The generator of one purpose; `number` tells e.g. days or feeds apart."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(purpose, number))))
