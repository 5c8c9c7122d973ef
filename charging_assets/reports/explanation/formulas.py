"""What each figure of `kpi_daily` is made of: in words, in symbols and in numbers; and when it is hidden.

Written a second time, and not taken from `derive.occupancy.formulas`: what is computed here checks what was computed
there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charging_assets.model.tables import table
from charging_assets.model.tables.occupancy import LEAST_COVERAGE
from charging_assets.reports.explanation.model import KINDS

FIGURES = tuple(col.name for col in table("kpi_daily").columns if col.info["unit"] is not None)
"""The columns of `kpi_daily` that can be explained."""

QUANTILES = {"duration_p50_s": 0.5, "duration_p90_s": 0.9}
"""Of the durations of events: which share of them is shorter."""

Row = Mapping[str, Any]
"""Of `kpi_daily`."""

Part = Literal["time", "open", "hours", "stations", "busiest", "events"]
"""What a figure is made from."""

_OBSERVED = ("occupied_s", "free_s", "fault_s")
_COLUMNS = {"B": ("occupied_s",), "F": ("free_s",), "X": ("fault_s",), "U": ("unknown_s",), "O": _OBSERVED}
_NAMES = {"B": "occupied", "F": "free", "X": "out of order", "U": "unknown", "O": "observed"}


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over another sum, each of symbols (B, F, X, U, O) or columns of `kpi_daily`."""

    part: tuple[str, ...]
    whole: tuple[str, ...]
    factor_s: int = 1
    """By which it is multiplied."""
    is_complement: bool = False
    """Whether it is 1 minus that."""
    less: tuple[str, ...] = ()
    """What is taken from the first sum."""

    def of(self, row: Row) -> float | None:
        """The ratio; None where something is not known, or there is nothing to divide by."""
        part, less, whole = ([_value(row, term) for term in terms] for terms in (self.part, self.less, self.whole))
        if None in part or None in less or not _sum(whole):
            return None
        ratio = self.factor_s * (_sum(part) - _sum(less)) / _sum(whole)
        return 1 - ratio if self.is_complement else ratio

    def in_words(self) -> str:
        """Such as `occupied / (occupied + free)`."""
        return self._written(lambda term: _NAMES.get(term, term))

    def in_symbols(self) -> str:
        """Such as `B / (B + F)`."""
        return self._written(str)

    def in_numbers(self, row: Row) -> str:
        """Such as `18,300 s / (18,300 s + 64,200 s)`."""

        def number(term: str) -> str:
            value = _value(row, term)
            unit = " s" if term in _COLUMNS or term.endswith("_s") else ""
            return "not known" if value is None else f"{value:,}{unit}"

        return self._written(number)

    def _written(self, term: Callable[[str], str]) -> str:
        def added(terms: Sequence[str]) -> str:
            text = " + ".join(map(term, terms))
            return f"({text})" if len(terms) > 1 else text

        factor = f" * {self.factor_s:,} s" if self.factor_s != 1 else ""
        part = f"({' - '.join((added(self.part), *map(term, self.less)))})" if self.less else added(self.part)
        return f"{'1 - ' if self.is_complement else ''}{part}{factor} / {added(self.whole)}"


def _sum(values: Sequence[int | None]) -> int:
    return sum(value or 0 for value in values)


def _value(row: Row, term: str) -> int | None:
    values = [row[column] for column in _COLUMNS.get(term, (term,))]
    return None if None in values else sum(values)


COVERAGE = Ratio(("O",), ("O", "U"))
OPEN_COVERAGE = Ratio(("open_observed_s",), ("open_observed_s", "open_unknown_s"))


@dataclass(frozen=True, slots=True)
class Formula:
    """How a figure comes about."""

    made_from: Part = "time"
    ratio: Ratio | None = None
    """None: it is no ratio of columns."""
    coverage: Ratio | None = None
    """It is hidden where this is too low; None: it never is."""
    shown_first: str = "occupied"
    """Of `KINDS`: the points with most of these seconds are shown."""

    def of(self, row: Row) -> float | None:
        """The ratio, computed again; None where it is hidden."""
        return None if self.ratio is None or self.hidden(row) else self.ratio.of(row)

    def hidden(self, row: Row) -> str | None:
        """Why there is no value; None: nothing hides it."""
        if self.coverage is not None:
            coverage = self.coverage.of(row)
            if coverage is None:
                is_known = _value(row, self.coverage.part[0]) is not None
                return "nothing of it was to be observed" if is_known else "no opening hours are known"
            if coverage < LEAST_COVERAGE:
                return f"coverage is {100 * coverage:.1f} %, below {100 * LEAST_COVERAGE:.0f} %"
        return "there is nothing to divide by" if self.ratio and self.ratio.of(row) is None else None


def _station_ratio(part: str, whole: str) -> Formula:
    return Formula("stations", Ratio((part,), (whole,)), COVERAGE)


FORMULAS: Mapping[str, Formula] = {
    **dict.fromkeys(FIGURES, Formula()),
    **{f"{kind}_s": Formula(shown_first=kind) for kind in KINDS},
    "points_observed": Formula(shown_first="unknown"),
    "coverage": Formula("time", COVERAGE, shown_first="unknown"),
    "utilization": Formula("time", Ratio(("B",), ("O",)), COVERAGE),
    "utilization_available": Formula("time", Ratio(("B",), ("B", "F")), COVERAGE),
    "availability": Formula("time", Ratio(("B", "F"), ("O",)), COVERAGE, "fault"),
    "uptime": Formula("time", Ratio(("X",), ("O",), is_complement=True), COVERAGE, "fault"),
    **{name: Formula("stations") for name in FIGURES if name.startswith("station_polls")},
    "free_on_arrival": _station_ratio("station_polls_free", "station_polls"),
    "full_share": _station_ratio("station_polls_full", "station_polls_working"),
    "peak_utilization": Formula("hours", coverage=COVERAGE),
    **dict.fromkeys(QUANTILES, Formula("events", coverage=COVERAGE)),
    **{name: Formula("events") for name in FIGURES if name.startswith("energy_kwh")},
    **dict.fromkeys(("events", "overstays", "censored_events", "suspicious_events"), Formula("events")),
    "events_per_point_day": Formula(
        "events", Ratio(("events",), ("O",), factor_s=86_400, less=("censored_events",)), COVERAGE
    ),
    "overstay_share": Formula("events", Ratio(("overstays",), ("events",)), COVERAGE),
    "max_occupied": Formula("busiest"),
    "simultaneity": Formula("busiest", Ratio(("max_occupied",), ("points_observed",)), COVERAGE),
    **{name: Formula("open") for name in FIGURES if name.startswith("open_")},
    "open_unknown_s": Formula("open", shown_first="unknown"),
    "open_utilization": Formula("open", Ratio(("open_occupied_s",), ("open_observed_s",)), OPEN_COVERAGE),
}
"""Of every one of `FIGURES`."""


_SHORTER = "duration than which {} of the events are shorter, of those whose both ends were seen"
_WORDS = {
    "duration_p50_s": _SHORTER.format("half"),
    "duration_p90_s": _SHORTER.format("90 %"),
    "energy_kwh": "sum of the estimates of the events, min(power * duration, cap) of each",
    "energy_kwh_low": "sum of the lower ends of the events' estimates",
    "energy_kwh_high": "sum of the upper ends of the events' estimates",
}
"""Of figures of which it takes more than their column's text."""


def words_of(kpi: str) -> str:
    """How a figure comes about, in words."""
    if (ratio := FORMULAS[kpi].ratio) is not None:
        return ratio.in_words()
    if (kind := kpi.removesuffix("_s")) in KINDS:
        symbol = next((f"{symbol}, " for symbol, columns in _COLUMNS.items() if columns == (kpi,)), "")
        return f"{symbol}sum of the points' {kind} seconds"
    return _WORDS.get(kpi) or table("kpi_daily").columns[kpi].comment or ""


def coverages_of(kpi: str, row: Row) -> tuple[str, ...]:
    """How the coverage of the day comes about, and that of opening hours for what is hidden by it."""
    ratios = {f"coverage = {COVERAGE.in_symbols()}": COVERAGE, "coverage of opening hours": OPEN_COVERAGE}
    wanted = ([COVERAGE] if kpi != "coverage" else []) + [FORMULAS[kpi].coverage]
    shares = [(f"{name} = {ratio.in_numbers(row)}", ratio.of(row)) for name, ratio in ratios.items() if ratio in wanted]
    return tuple(f"{text} = {'none' if share is None else f'{100 * share:.2f} %'}" for text, share in shares)
