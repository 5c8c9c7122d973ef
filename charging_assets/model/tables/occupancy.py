"""What polls tell of the use of charging points: intervals, events, hours, KPIs and what is associated with them.

Seconds of a charging point are of five kinds: `occupied`, `free`, `fault`, `gone`, and `unknown`, which is all that was
not observed: polls that failed or were never made, gaps, frozen time, and statuses that say nothing. `docs/method.md`
has the rules and formulas.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, Integer

from charging_assets.model.tables.declare import column, count, declare, status_class_column, text, time
from charging_assets.model.tables.master import POWER_CLASSES

SCOPE_COLUMNS = {
    "point": "id_cp",
    "station": "id_cs",
    "city": "city",
    "operator": "operator_name",
    "power_class": "power_class",
    "feed": "feed",
}
"""For each of `SCOPES` the column of `charging_events` and `utilization_hourly` that has its `scope_id`."""

SCOPES = tuple(SCOPE_COLUMNS)
"""What a KPI is of."""

METHOD_VERSION = "1"
"""Of the rules and formulas in `docs/method.md`; raised when a figure of the same answers would change."""

LEAST_COVERAGE = 0.8
"""A KPI of less coverage is hidden: null."""

_FACTS = ("status_chargingpoints", "master_observations", "poll_log", "frozen_spans")


def _flag(name: str, doc: str) -> Column[Any]:
    return column(name, Boolean(), doc)


def _seconds(name: str, doc: str, *, nullable: bool = False) -> Column[Any]:
    return column(name, BigInteger(), doc, unit="s", nullable=nullable)


def _ratio(name: str, doc: str) -> Column[Any]:
    return column(name, Double(), doc, nullable=True, unit="1")


def _kwh(name: str, doc: str) -> Column[Any]:
    return column(name, Double(), doc, nullable=True, unit="kWh")


def _id_cp() -> Column[Any]:
    return text("id_cp", "Charging point.", few=True)


def _query_date() -> Column[Any]:
    return column("query_date", Date(), "Europe/Berlin date; the partition.")


def _whereabouts() -> list[Column[Any]]:
    """The day's own hierarchy of a point."""
    return [
        text("source", "Which system answered.", few=True),
        text("feed", "Which feed gave the status; of several the first by name.", few=True),
        column(
            "id_cs", BigInteger(), "Charging station, by the day's own master data; null: not known.", nullable=True
        ),
        text("city", "City, by the day's own master data; null: not known.", nullable=True, few=True),
        text("operator_name", "Operator, by the day's own master data; null: not known.", nullable=True, few=True),
        text(
            "power_class",
            f"By the day's own master data: {', '.join(f'`{name}`' for name in POWER_CLASSES)} kW; null: not known.",
            nullable=True,
            few=True,
        ),
    ]


def _censored() -> list[Column[Any]]:
    return [
        _flag(
            "is_left_censored",
            "Whether it began at an unknown time earlier: before it lies the beginning of observation, a gap of more "
            "than 3 polls, or frozen time.",
        ),
        _flag(
            "is_right_censored",
            "Whether it went on for an unknown time: after it lies the end of observation, a gap of more than 3 "
            "polls, or frozen time.",
        ),
        _flag(
            "has_gap", "Whether polls are missing within it or at its edges: its bounds or its length are less sure."
        ),
    ]


status_intervals = declare(
    "status_intervals",
    "What each charging point was doing on a day: runs of equal status, cut at midnight. A status holds around its "
    "poll: boundaries lie midway between two polls, at most 0.75 poll from each. Time without any interval was not "
    "observed; intervals and gaps of a point add up to the day.",
    _id_cp(),
    time("start_time", "When it began, or midnight."),
    time("end_time", "When it ended, or the next midnight; while the day goes on, at the latest the last poll."),
    text("status", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    status_class_column(),
    count("n_polls", "Polls of the day that saw it; 0 where it only reaches over midnight.", unit="polls"),
    *_censored(),
    _flag("is_frozen", "Whether its feed repeated old statuses meanwhile: it is no observation and counts as unknown."),
    _flag("is_single_poll", "Whether one poll alone saw it, on whichever day."),
    _query_date(),
    _seconds("gap_s", "Of its seconds, those in bridged gaps: too far from any poll, they count as unknown."),
    _flag("is_continued", "Whether it goes on from the day before: `start_time` is midnight."),
    _flag("continues", "Whether it goes on the next day: `end_time` is midnight."),
    text("source", "Which system answered.", few=True),
    text("feed", "Which feed gave the status; of several the first by name.", few=True),
    key=("id_cp", "start_time"),
    group="reports",
    dated=True,
    made_from=_FACTS,
)

charging_events = declare(
    "charging_events",
    "Charging events: each run of CHARGING or OCCUPIED at a point, in the partition of the day on which it ends; of "
    "one whose end was not seen, the day of its last poll. Looks back 7 days for the beginning. At 10 minutes polls "
    "see about 95 % of AC events and 91 % of DC events, and short breaks between two are missed.",
    _id_cp(),
    column("id_cs", BigInteger(), "Charging station, by the day's own master data; null: not known.", nullable=True),
    time("start_time", "When it began, midway between two polls; maybe up to 7 days before."),
    time("end_time", "When it ended, midway between two polls."),
    _seconds("duration_s", "`end_time` - `start_time`, bridged gaps included."),
    text("status", "Its first status as the feed words it.", few=True),
    *_censored(),
    _flag("is_single_poll", "Whether one poll alone saw it."),
    _flag("is_frozen", "Whether it was cut off by frozen time, before or after."),
    _flag("is_suspicious", "Whether it took more than 24 hours, at DC more than 3: maybe nobody charged. It is kept."),
    text(
        "power_class",
        f"By the day's own master data: {', '.join(f'`{name}`' for name in POWER_CLASSES)} kW; null: not known.",
        nullable=True,
        few=True,
    ),
    _kwh("energy_kwh", "Estimate of the energy, not metered: by power class and duration; null: power not known."),
    _kwh("energy_kwh_low", "Lower end of the estimate's band."),
    _kwh("energy_kwh_high", "Upper end of the estimate's band."),
    _query_date(),
    _seconds("gap_s", "Of its seconds, those in bridged gaps."),
    count("n_polls", "Polls that saw it.", unit="polls"),
    text("source", "Which system answered.", few=True),
    text("feed", "Which feed gave the status; of several the first by name.", few=True),
    text("city", "City, by the day's own master data; null: not known.", nullable=True, few=True),
    text("operator_name", "Operator, by the day's own master data; null: not known.", nullable=True, few=True),
    _flag("is_overstay", "Whether it took more than 4 hours, at DC more than 45 minutes."),
    key=("id_cp", "start_time"),
    group="reports",
    dated=True,
    made_from=_FACTS,
)

utilization_hourly = declare(
    "utilization_hourly",
    "Seconds of each charging point and hour, by what it was doing; they add up to the hour. Has every point that was "
    "seen on the day, or last seen on one of 7 days before if its feed has not answered since. Hours to come are "
    "absent, and the running one is as long as it was observed.",
    _id_cp(),
    time("hour_utc", "Beginning of the hour, UTC: by it the doubled local hour of autumn is two."),
    column("hour_local", Integer(), "Hour in Europe/Berlin, 0 to 23."),
    *(
        column(f"{kind}_s", Integer(), doc, unit="s")
        for kind, doc in (
            ("occupied", "Occupied: charging, reserved or blocked."),
            ("free", "Free."),
            ("fault", "Out of order."),
            ("gone", "Removed or planned: no charging point at all."),
            ("unknown", "Not observed: gaps, frozen time, statuses that say nothing."),
        )
    ),
    _query_date(),
    *_whereabouts(),
    key=("id_cp", "hour_utc"),
    group="reports",
    dated=True,
    made_from=_FACTS,
)


def _kpis(period: str) -> list[Column[Any]]:
    """The figures of a scope over a period; all follow the same rule of coverage."""
    hidden = f"Null below {100 * LEAST_COVERAGE:.0f} % coverage."
    return [
        text("name", "What people call it: a station's name, else as `scope_id`.", nullable=True),
        text("city", "City of a point, station or city; else null.", nullable=True, few=True),
        text("operator_name", "Operator of a point, station or operator; else null.", nullable=True, few=True),
        text(
            "power_class",
            "Power class of a point or power class, and of a station whose points are of one; else null.",
            nullable=True,
            few=True,
        ),
        count("points", f"Charging points known in the {period}; of several days, the most of a day.", unit="points"),
        count("points_observed", "Of `points`, those observed at some time: what the figures are of.", unit="points"),
        count("stations", "Charging stations of these points, as far as they are known.", unit="stations"),
        _seconds("occupied_s", "Point-seconds occupied, B."),
        _seconds("free_s", "Point-seconds free, F."),
        _seconds("fault_s", "Point-seconds out of order, X."),
        _seconds("gone_s", "Point-seconds removed or planned: outside of everything."),
        _seconds("unknown_s", "Point-seconds not observed, U."),
        _ratio("coverage", "O / (O + U), with O = B + F + X; null: nothing to observe."),
        _ratio("utilization", f"B / O. {hidden}"),
        _ratio("utilization_available", f"B / (B + F): utilization of available time. {hidden}"),
        _ratio("availability", f"(B + F) / O. {hidden}"),
        _ratio(
            "uptime",
            f"1 - X / O: an upper bound, since a status cannot show whether power flows. {hidden}",
        ),
        _ratio(
            "free_on_arrival",
            "Share of a station's polls with at least one of its observed points free; of several stations, of all "
            f"their polls. {hidden}",
        ),
        _ratio(
            "full_share",
            "Share of a station's polls with every working point occupied, of those with a working one: how likely "
            f"somebody queues. {hidden}",
        ),
        count("station_polls", "Polls of stations that `free_on_arrival` is of.", unit="polls"),
        count("station_polls_free", "Of `station_polls`, those with a free point.", unit="polls"),
        count(
            "station_polls_working", "Of `station_polls`, those with a working point: free or occupied.", unit="polls"
        ),
        count("station_polls_full", "Of `station_polls_working`, those with none free.", unit="polls"),
        _ratio(
            "peak_utilization",
            "95th percentile of the utilization of a day's hours; of several days the mean, weighted by observed "
            f"point-seconds. {hidden}",
        ),
        count("events", "Charging events that ended, short of what polls miss; see `charging_events`.", unit="events"),
        _ratio(
            "events_per_point_day",
            "Events per observed point-day, (`events` - `censored_events`) * 86400 / O: those that were seen to end, "
            f"since a long gap makes two events of one session. {hidden}",
        ),
        _seconds(
            "duration_p50_s",
            "Median duration of the events whose both ends were seen, each spread over the poll it was rounded to. "
            f"{hidden}",
            nullable=True,
        ),
        _seconds("duration_p90_s", f"90th percentile of the same. {hidden}", nullable=True),
        count("overstays", "Of `events`, those of more than 4 hours, at DC of more than 45 minutes.", unit="events"),
        _ratio("overstay_share", f"`overstays` / `events`; null without events. {hidden}"),
        count("censored_events", "Of `events`, those that were not seen to end.", unit="events"),
        count("suspicious_events", "Of `events`, the suspiciously long ones.", unit="events"),
        count("max_occupied", "Most points occupied at one poll of the period.", unit="points"),
        _ratio("simultaneity", f"`max_occupied` / `points_observed`. {hidden}"),
        _kwh("energy_kwh", "Estimate of the energy of the events, not metered; null: no event of known power."),
        _kwh(
            "energy_kwh_low",
            "Lower end of the estimate's band, as if all events erred the same way: wide as a band of a total.",
        ),
        _kwh("energy_kwh_high", "Upper end of the same."),
        _seconds(
            "open_occupied_s", "Point-seconds occupied within opening hours; null: none are known.", nullable=True
        ),
        _seconds(
            "open_observed_s", "Point-seconds observed within opening hours; null: none are known.", nullable=True
        ),
        _seconds(
            "open_unknown_s", "Point-seconds not observed within opening hours; null: none are known.", nullable=True
        ),
        _ratio(
            "open_utilization",
            "`open_occupied_s` / `open_observed_s`: utilization within opening hours. Null below 80 % observed.",
        ),
    ]


def _scope() -> list[Column[Any]]:
    return [
        text("scope", f"{', '.join(f'`{name}`' for name in SCOPES)}.", few=True),
        text(
            "scope_id",
            "`id_cp`, `id_cs` as text, city, operator's name, power class or feed. What is not known by its master "
            "data is in no such scope, but in its feed.",
        ),
    ]


kpi_daily = declare(
    "kpi_daily",
    "KPIs of a day, by charging point, station, city, operator, power class and feed, each of the points observed and "
    "with its coverage. Aggregates are weighted by observed point-seconds.",
    *_scope(),
    _query_date(),
    *_kpis("day"),
    key=("scope", "scope_id"),
    group="reports",
    dated=True,
    made_from=_FACTS,
)

kpi_monthly = declare(
    "kpi_monthly",
    "KPIs of a calendar month, from the days of it that are built. Days between the first and the last on which "
    "something was known, but on which it is absent, count as not observed; so do days at the ends of which there are "
    "no KPIs at all, from the first day of the lake up to the last one that is over.",
    *_scope(),
    column("month", Date(), "First day of the month."),
    *_kpis("month"),
    count(
        "days",
        "Days of the month from the first to the last on which it was known, those between on which it is absent "
        "included, and days at the ends of the month without any KPIs.",
        unit="days",
    ),
    count("days_observed", "Of `days`, those of which something was observed.", unit="days"),
    _ratio(
        "uptime_12m",
        "1 - X / O over 12 months up to the end of this one: an upper bound. Null below 80 % of `uptime_12m_coverage`.",
    ),
    _ratio(
        "uptime_12m_coverage",
        "O / (O + U) times the share of the days of these 12 months on which it was known: how much of 12 months was "
        "observed.",
    ),
    key=("scope", "scope_id", "month"),
    group="reports",
    dated=False,
    made_from=("kpi_daily", "charging_events"),
)

usage_profile = declare(
    "usage_profile",
    "How busy, by weekday and local hour, over all days there are.",
    *_scope(),
    column("weekday", Integer(), "Local day of the week, Monday is 1."),
    column("hour_local", Integer(), "Local hour, 0 to 23; the doubled hour of autumn counts twice."),
    _seconds("occupied_s", "Point-seconds occupied, B."),
    _seconds("free_s", "Point-seconds free, F."),
    _seconds("fault_s", "Point-seconds out of order, X."),
    _seconds("unknown_s", "Point-seconds not observed, U."),
    _ratio("coverage", "O / (O + U), with O = B + F + X; null: nothing to observe."),
    _ratio("utilization", "B / O. Null below 80 % coverage."),
    count("days", "Days that the figure is of.", unit="days"),
    key=("scope", "scope_id", "weekday", "hour_local"),
    group="reports",
    dated=False,
    made_from=("utilization_hourly",),
)

POI_OUTCOMES = ("events", "utilization")
POI_FAMILIES = ("negative_binomial", "poisson")

poi_effect = declare(
    "poi_effect",
    "What is associated with how much charging points are used: points of interest around them and power, beside the "
    "city. An association, not a cause: what stands around a station was not put there by chance. One row per outcome "
    "and term of the model.",
    text("outcome", f"What is explained: {', '.join(f'`{name}`' for name in POI_OUTCOMES)}.", few=True),
    text(
        "term", "`poi:<category>` (within the radius, against none), or `power:<power class>` (against the reference)."
    ),
    _ratio("rate_ratio", "How many times as much as without it, all else equal; null: it could not be estimated."),
    _ratio(
        "rate_ratio_low",
        "Lower end of the 95 % interval: robust by block of about 5 km, not corrected for the number of terms.",
    ),
    _ratio("rate_ratio_high", "Upper end of it."),
    _ratio("p_value", "Of the hypothesis that the ratio is 1, corrected for the number of terms (Holm)."),
    _flag(
        "is_finding",
        "Whether `p_value` is below 0.05. False where the terms of this kind do not help to predict places left out.",
    ),
    count("points", "Charging points in the model.", unit="points"),
    count("points_with", "Of `points`, those with the term.", unit="points"),
    count("stations", "Stations of these points.", unit="stations"),
    column("point_days", Double(), "Observed point-days: the exposure.", unit="point-days"),
    text("family", f"{', '.join(f'`{name}`' for name in POI_FAMILIES)}.", few=True),
    _ratio(
        "skill",
        "Share of the deviance of places left out that the terms of this kind (points of interest, or power) explain "
        "beyond the rest of the model; null: it cannot be told.",
    ),
    column("first_date", Date(), "First query date of the figures."),
    column("last_date", Date(), "Last one."),
    text("reference", "What the terms are against, in words."),
    text("remark", "What to mind about this row, in a sentence; null: nothing.", nullable=True),
    key=("outcome", "term"),
    group="reports",
    dated=False,
    made_from=("kpi_daily", "charging_point", "charging_station", "station_poi_features"),
)
