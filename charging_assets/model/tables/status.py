"""What flattening makes of the answers, but for master data: facts, log and rejects; and the current status."""

from sqlalchemy import BigInteger, Boolean, Integer

from charging_assets.model.tables.declare import (
    column,
    count,
    declare,
    origin,
    query_time,
    status_class_column,
    text,
    time,
)

status_chargingpoints = declare(
    "status_chargingpoints",
    "Status of every charging point (EVSE) at every poll. One row per point and query time.",
    text("id_chargingpoint", "EVSE-ID as the feed gives it; `uid:<uid>` where it gives none.", few=True),
    query_time(),
    text("status_cp", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    text("status_parkingsensor", "Status of the parking sensor, where there is one.", nullable=True, few=True),
    *origin(),
    status_class_column(),
    key=("id_chargingpoint", "query_time"),
    group="status",
    dated=True,
    made_from=("raw_snapshots",),
    computed={
        "id_status_cp": (
            "id_chargingpoint || '@' || CAST(CAST(EXTRACT(epoch FROM query_time) AS BIGINT) AS VARCHAR)",
            "Identifies the row: `<id_chargingpoint>@<epoch seconds of query_time>`.",
        )
    },
)

status_connectors = declare(
    "status_connectors",
    "Status of every connector (plug) at every poll. One row per connector and query time.",
    text("id_connector", "The feed's number of the connector.", few=True),
    query_time(),
    text("status_connector", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    *origin(),
    status_class_column(),
    key=("id_connector", "query_time"),
    group="status",
    dated=True,
    made_from=("raw_snapshots",),
    computed={
        "id_status_connectors": (
            "id_connector || '@' || CAST(CAST(EXTRACT(epoch FROM query_time) AS BIGINT) AS VARCHAR)",
            "Identifies the row: `<id_connector>@<epoch seconds of query_time>`.",
        )
    },
)

poll_log = declare(
    "poll_log",
    "What became of every request: one row per poll and feed, the final attempt. Per level (locations, EVSEs, "
    "connectors) it balances: in = ok + rejected + duplicate.",
    query_time("Start of the poll, UTC, whole seconds."),
    *origin(),
    text("poll_id", "Identifies one poll (or one imported archive file)."),
    column("interval_s", Integer(), "Planned distance between two polls when this one was made.", unit="s"),
    text(
        "outcome",
        "`ok` (usable, non-empty), `empty` (usable, no locations), `failed` (no or no usable HTTP answer), "
        "`unreadable` (not JSON, or cut off), `unexpected` (JSON, but not the envelope of the API).",
        few=True,
    ),
    text("reason", "Why the outcome is not `ok`, or what is odd about an `ok` answer, in a sentence.", nullable=True),
    text("url", "What was requested; null for imported archives.", nullable=True),
    time("requested_at", "When the final attempt began.", nullable=True),
    time("received_at", "When its last byte came.", nullable=True),
    column("attempts", Integer(), "Requests made, the final one included; 0 for imports.", unit="requests"),
    column("http_status", Integer(), "HTTP status; null when no response came.", nullable=True),
    text("content_type", "Content-Type of the response.", nullable=True),
    column("bytes_total", BigInteger(), "Bytes received.", unit="bytes"),
    column("is_truncated", Boolean(), "Whether only a prefix was kept."),
    text("sha256", "Hex SHA-256 of the raw answer: the way back to it."),
    time("source_time", "The answer's own `timestamp`; null where it has none.", nullable=True),
    *(
        count(f"{level}_{fate}", doc)
        for level in ("locations", "evses", "connectors")
        for fate, doc in (
            ("in", f"Records of level {level[:-1]} in the answer, below rejected ones too."),
            ("ok", f"Of `{level}_in`: used."),
            ("rejected", f"Of `{level}_in`: rejected, or below a rejected record; see `rejected_records`."),
            ("duplicate", f"Of `{level}_in`: the same id was already answered at this query time."),
        )
    ),
    count("unknown_keys", "Occurrences of JSON keys that the source is not known to have.", unit="keys"),
    text(
        "unknown_key_names",
        "Which keys these are, e.g. `evse.foo, location.bar`, at most 50 of a location; null when none.",
        nullable=True,
    ),
    count(
        "values_rejected",
        "Values of used records that cannot be what they should; see `rejected_records`.",
        unit="values",
    ),
    text(
        "absent_key_names",
        "Known keys that no record of the answer had, e.g. `evse.parkingsensor_status`; null when none.",
        nullable=True,
    ),
    key=("query_time", "source", "feed", "poll_id"),
    group="status",
    dated=True,
    made_from=("raw_snapshots",),
)

rejected_records = declare(
    "rejected_records",
    "Bad records inside good answers: what was wrong, where, and what it took along. The raw answer still has them "
    "whole.",
    query_time("Start of the poll, UTC, whole seconds."),
    *origin(),
    text("poll_id", "Identifies the poll."),
    text(
        "level",
        "`location`, `evse` or `connector`; `value` where one value of a record is unusable and the record is used "
        "without it.",
        few=True,
    ),
    text("path", "Where in the answer: `data[17].evses[2].connectors[0]`."),
    text("reason", "What was expected and what came, in a sentence."),
    text("excerpt", "The beginning of the record as JSON, at most 200 characters."),
    count("connectors_lost", "Connectors below it that were rejected along with it.", unit="connectors"),
    key=("query_time", "source", "feed", "poll_id", "path"),
    group="status",
    dated=True,
    made_from=("raw_snapshots",),
)

current_status = declare(
    "current_status",
    "Each charging point's last status: from the last good answer of its feed within 24 hours before `as_of`.",
    text("id_chargingpoint", "EVSE-ID as the feed gives it; `uid:<uid>` where it gives none."),
    time("query_time", "The poll that saw it last, UTC."),
    text("status_cp", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    text("status_parkingsensor", "Status of the parking sensor, where there is one.", nullable=True, few=True),
    text("source", "Which system answered.", few=True),
    text("feed", "Which feed answered.", few=True),
    status_class_column(),
    time("since", "First poll of the unbroken run of this status, looking back at most 24 hours."),
    column(
        "is_since_exact",
        Boolean(),
        "Whether another status was seen before `since`; if not, the status may be older than `since`.",
    ),
    column(
        "age_s",
        Integer(),
        "`as_of` - `query_time`: how old this was when the table was made.",
        unit="s",
    ),
    time("as_of", "When the table was made."),
    key=("id_chargingpoint",),
    group="status",
    dated=False,
    made_from=("raw_snapshots",),
)
