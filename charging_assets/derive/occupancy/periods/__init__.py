"""KPIs over periods: months, the usual week, and what reports sum up.

Seconds and counts of days are added up, and ratios are made from the sums by `formulas`: no ratio is averaged but the
peak. Every period goes the same way, so a month and the report of that month say the same. Does not belong here: the
figures of a day (`kpis`), and how a report looks (`reports`).

    lake ─▶ views (DuckDB over Parquet) ─▶ selection (which rows) ─┬─▶ sums (KPIs)               ─┬─▶ period (reports)
                                           counted (which days) ───┘   profile (by weekday, hour) ─┴─▶ tables

**Which days count** (`counted`). Whatever has a row on a day of the period before and on one after, but none between,
was not observed between: its feed was silent, or nobody polled. It is taken to have the points and opening hours of the
day before. A city, an operator or a power class has a row while a point of it has; its figures are of those points.

At the ends of a period, days that are over count as not observed if `kpi_daily` has no rows at all of them, for
whatever is known on the first, or last, day of it that has rows: a collector that died is no reason to call a month
complete. They do not count before the first day with rows of the whole lake, when nobody meant to poll. Other absence
at the ends counts for nothing: what is new was not there, what is gone is.
"""

from charging_assets.derive.occupancy.periods.period import Period, opened_period
from charging_assets.derive.occupancy.periods.selection import EVERYTHING, Selection
from charging_assets.derive.occupancy.periods.tables import kpi_monthly, usage_profile

__all__ = ["EVERYTHING", "Period", "Selection", "kpi_monthly", "opened_period", "usage_profile"]
