"""Towns that answer like chargecloud, with known ground truth: for the first minute, for tests, for measuring.

    town -> world -> demand -> sessions -> simulation -> history | facts | truth | server
    (places)(stations,(when     (what     (what feeds   (raw polls, tables,
             changes)  and how   happens)  publish)      ground truth, HTTP)
              |        long)               answers: as JSON
              pois (what stands around the stations), effects (more or fewer people near some of it)

Belongs here: everything that is made up. Does not belong here: anything that reads answers, since this is what reading
is tested with (`flatten` and `sources` are not imported). One seed and one epoch give one world, whoever asks.
"""

from charging_assets.simulator.facts import write_facts
from charging_assets.simulator.history import History, epoch_of, write_history
from charging_assets.simulator.pois import TownPois, pois_of, write_pois
from charging_assets.simulator.server import FAULT_KINDS, SimulatedServer
from charging_assets.simulator.simulation import FREEZE_KINDS, Freeze, FreezeKind, Simulation
from charging_assets.simulator.town import FEEDS, Place, Town
from charging_assets.simulator.truth import write_truth
from charging_assets.simulator.world import HORIZON_DAYS, World, make_world

__all__ = [
    "FAULT_KINDS",
    "FEEDS",
    "FREEZE_KINDS",
    "HORIZON_DAYS",
    "Freeze",
    "FreezeKind",
    "History",
    "Place",
    "SimulatedServer",
    "Simulation",
    "Town",
    "TownPois",
    "World",
    "epoch_of",
    "make_world",
    "pois_of",
    "write_facts",
    "write_history",
    "write_pois",
    "write_truth",
]
