"""How far the feeds can be believed."""

from sqlalchemy import Boolean, Date, Double

from charging_assets.model.tables.declare import column, count, declare, text, time

FREEZE_KINDS = ("whole", "part", "mass_reset")
"""Every point of a feed, some of them, or points that several changes at one poll left all free."""

FEED_STATES = ("alive", "empty", "gone")
"""Of a feed on a day: some answer had locations; it answered, but none had; no usable answer came."""

feed_health = declare(
    "feed_health",
    "What became of each feed on a day: how much of it was observed, and whether it can be believed. A feed is frozen "
    "while about 14 changes of status were to be expected, by its own habits, and none came; part of a feed, while far "
    "more of its points stood still than do in a feed that lives.",
    text("source", "Which system was asked: `chargecloud`, `simulator`.", few=True),
    text("feed", "Which feed: a city's or an operator's slug."),
    column("query_date", Date(), "Europe/Berlin date; the partition."),
    text("state", "`alive` (some answer had locations), `empty` (none had) or `gone` (no usable answer).", few=True),
    count(
        "polls_planned",
        "Polls that the recorded intervals give for the day: 138, 144 or 150 at ten minutes. While it is not over, for "
        "the time until an interval after its source's last poll.",
        unit="polls",
    ),
    count("polls_answered", "Polls that this feed answered with locations.", unit="polls"),
    count("polls_empty", "Polls that it answered without any.", unit="polls"),
    count("polls_failed", "Polls whose answer did not come, or could not be used.", unit="polls"),
    count("polls_missing", "Planned polls that were never made; 0 when more were made than planned.", unit="polls"),
    text(
        "failures",
        "Why polls failed, as a JSON object {reason: polls}, most frequent first; null when none did.",
        nullable=True,
    ),
    count("longest_gap_s", "Longest time of the day without an answer that had locations.", unit="s"),
    count("points_seen", "Charging points seen at least once.", unit="points"),
    column(
        "unknown_share",
        Double(),
        "Share of sights of points whose status is of the class `unknown`; null: no sights.",
        nullable=True,
    ),
    count("changes", "Changes of status seen.", unit="changes"),
    column(
        "expected_changes", Double(), "Changes that the feed's habits let expect while it was observed.", unit="changes"
    ),
    text(
        "freeze_kind",
        f"Of the freeze that took most of the day: {', '.join(f'`{kind}`' for kind in FREEZE_KINDS)}; null: none.",
        nullable=True,
        few=True,
    ),
    time(
        "freeze_start",
        "First poll after the last change; of a mass reset, the poll that showed it. Maybe on one of 7 days before.",
        nullable=True,
    ),
    time(
        "freeze_end",
        "Poll that saw the next change, maybe on the next day; null when none came until the end of the next day.",
        nullable=True,
    ),
    count("frozen_points", "Charging points that were frozen at some time of the day.", unit="points"),
    column("frozen_share", Double(), "Share of the day's point-time that was frozen, of the points seen."),
    key=("source", "feed"),
    group="reports",
    dated=True,
    made_from=("status_chargingpoints", "poll_log"),
)

frozen_spans = declare(
    "frozen_spans",
    "Which charging points were frozen on a day, from when to when: their status at a poll from `start_time` until "
    "before `end_time` is no observation. Spans of a point do not overlap.",
    text("source", "Which system was asked: `chargecloud`, `simulator`.", few=True),
    text("feed", "Which feed gave the status.", few=True),
    text("id_cp", "Charging point."),
    time("start_time", "First poll of the day that is no observation of the point; midnight when it was frozen then."),
    time(
        "end_time",
        "First poll that is one again; the next midnight when it was frozen then. While the day is not over, at the "
        "latest an interval after the last poll.",
    ),
    column("query_date", Date(), "Europe/Berlin date; the partition."),
    text("kind", f"{', '.join(f'`{kind}`' for kind in FREEZE_KINDS)}: of the feed, not of the point.", few=True),
    time("freeze_start", "When the whole freeze began, maybe on one of the 7 days before; see `feed_health`."),
    time("freeze_end", "When it ended; null when it went on at the end of the next day.", nullable=True),
    column(
        "expected_changes",
        Double(),
        "Changes that were expected of the frozen points together in the freeze.",
        unit="changes",
    ),
    column("is_proven_later", Boolean(), "Whether it took polls of the next day to tell."),
    count("polls", "Polls of the span that saw the point.", unit="polls"),
    key=("source", "feed", "id_cp", "start_time"),
    group="reports",
    dated=True,
    made_from=("status_chargingpoints", "poll_log"),
)
