"""What goes with the figures wherever they go, in plain words: their headline, where they are from, what they mean."""

from collections.abc import Sequence

from charging_assets.reports.occupancy import wording
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.figures import row_figures
from charging_assets.reports.occupancy.provenance import PRELIMINARY, SIMULATED, Provenance

LETTERS = (
    "Letters",
    "B is time occupied, F free, X out of order, U not observed, of all points together; O = B + F + X, observed.",
)
"""What the columns' explanations take for granted."""


def headline(report: Report) -> str:
    """What a report is of: ``Charging points in Köln, 1 to 31 March 2026``."""
    return f"{wording.title(report)}, {wording.period(report.first, report.last)}"


def origin(said: Provenance) -> Sequence[tuple[str, str]]:
    """Where figures are from, as labels and texts."""
    return [
        *([("Warning", SIMULATED)] if said.is_simulated else []),
        *([("Status", PRELIMINARY)] if said.is_preliminary else []),
        *([("Status", said.outdated)] if said.outdated else []),
        ("Report", said.report_id),
        ("Period", days_of(said)),
        ("Observed", said.observed),
        ("Days missing", missing(said)),
        ("Polled", f"{said.polled}: {said.events_seen}"),
        ("Method", f"version {said.method_version}, docs/method.md"),
        ("Code", said.made_by),
        *(("Source", str(source)) for source in said.sources),
    ]


def days_of(said: Provenance) -> str:
    """The days of the period."""
    days = "1 day" if said.days == 1 else f"{said.days:,} days"
    so_far = " so far" if said.days_to_come else ""
    return f"{said.first} to {said.last}, {days}{so_far}, midnight to midnight in Germany"


def missing(said: Provenance) -> str:
    """Which days of the period the figures know nothing of."""
    parts = []
    if said.unpolled_days:
        days = wording.days(said.unpolled_days)
        parts.append(f"nobody polled on {len(said.unpolled_days)} of {said.days} days: {days}")
    if said.unbuilt_days:
        parts.append(f"polled, but not built yet: {wording.days(said.unbuilt_days)}")
    if said.unknown_days:
        parts.append(f"none of it known on {wording.days(said.unknown_days)}")
    return "; ".join(parts) or f"none of the {said.days}"


def notes(report: Report) -> str:
    """A text to lie beside a csv."""
    lines = [headline(report), ""]
    lines += [f"{label}: {text}" for label, text in origin(report.provenance)]
    lines += ["", "Columns", *(f"{figure.heading}: {figure.doc}" for figure in row_figures(report.by))]
    lines.append(": ".join(LETTERS))
    return "\n".join(lines) + "\n"
