"""From a figure of `kpi_daily` down to what it rests on: points, intervals, polls, and the hashes of the raw answers.

    tables of the days around ─▶ evidence ─┬─▶ parts: what is shown ──────┬─▶ Explanation
    kpi_daily ─▶ formulas ─────────────────┴─▶ checks: does it add up? ───┘   (model; explaining: all of it)

Each level is added up again and compared with the level above it, by arithmetic that is written here a second time and
not taken from where the figures are made: somebody who audits a figure wants a second calculation.

Does not belong here: how figures are made (`derive.occupancy`), and how an explanation is printed (`cli`).
"""

from charging_assets.reports.explanation.checks import shorter
from charging_assets.reports.explanation.explaining import MOST, ExplanationError, explain
from charging_assets.reports.explanation.formulas import FIGURES, QUANTILES
from charging_assets.reports.explanation.model import (
    Event,
    Explanation,
    Interval,
    Poll,
    Station,
    Unobserved,
    as_json,
)

__all__ = [
    "FIGURES",
    "MOST",
    "QUANTILES",
    "Event",
    "Explanation",
    "ExplanationError",
    "Interval",
    "Poll",
    "Station",
    "Unobserved",
    "as_json",
    "explain",
    "shorter",
]
