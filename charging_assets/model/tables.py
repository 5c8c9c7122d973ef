"""The data model, declared once.

Belongs here: every table with its columns, types, units, documentation, key, order, partitioning and the columns that
only views compute. Does not belong here: how a table is filled (`flatten`, `derive`) or where it is stored (`lake`,
`warehouse`).

Arrow schemas, DDL, Dagster column schemas and `docs/data_dictionary.md` derive from this module. New columns go last
within their table: Redshift's COPY of Parquet maps columns by position.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)
from sqlalchemy.types import TypeEngine

SCHEMA_VERSION = 1
"""Raised whenever a column is added; written into the footer of every table file."""

METADATA = MetaData()


def _column(
    name: str,
    kind: TypeEngine[Any],
    doc: str,
    *,
    nullable: bool = False,
    unit: str | None = None,
    few: bool = False,
) -> Column[Any]:
    """One column. `few`: a text with few distinct values against the rows, dictionary-encoded in Arrow and Parquet."""
    return Column(name, kind, nullable=nullable, comment=doc, info={"unit": unit, "few": few})


def _time(name: str, doc: str, *, nullable: bool = False) -> Column[Any]:
    return _column(name, DateTime(timezone=True), doc, nullable=nullable)


def _text(name: str, doc: str, *, nullable: bool = False, few: bool = False) -> Column[Any]:
    return _column(name, String(), doc, nullable=nullable, few=few)


def _count(name: str, doc: str, *, unit: str = "records") -> Column[Any]:
    return _column(name, Integer(), doc, unit=unit)


def _query_time(
    doc: str = "Start of the poll that saw this, UTC, whole seconds; one value for all its feeds.",
) -> Column[Any]:
    return _time("query_time", doc)


def _origin() -> list[Column[Any]]:
    return [
        _column("query_date", Date(), "Europe/Berlin date of `query_time`; the partition."),
        _text("source", "Which system answered: `chargecloud`, `simulator`.", few=True),
        _text("feed", "Which feed of the source answered: a city's or an operator's slug.", few=True),
    ]


def _status_class() -> Column[Any]:
    return _text(
        "status_class",
        "What KPIs count the raw status as: `free`, `occupied`, `fault`, `unknown` or `gone`.",
        few=True,
    )


def _table(
    name: str,
    doc: str,
    *columns: Column[Any],
    key: tuple[str, ...],
    group: str,
    dated: bool,
    computed: dict[str, tuple[str, str]] | None = None,
) -> Table:
    """One table. `key` is also the order of its rows; `computed` names view columns: {name: (SQL, documentation)}."""
    return Table(
        name,
        METADATA,
        *columns,
        PrimaryKeyConstraint(*key, name=f"{name}_key"),
        comment=doc,
        info={"group": group, "dated": dated, "computed": computed or {}},
    )


raw_snapshots = _table(
    "raw_snapshots",
    "Every answer of every poll, byte for byte, failed ones too; write-once, kept for ever. "
    "The raw files have this form; their order within a file is by feed.",
    _text("poll_id", "Identifies one poll (or one imported archive file)."),
    _query_time("Start of the poll, UTC, whole seconds; one value for all its feeds."),
    _column("interval_s", Integer(), "Planned distance between two polls when this one was made.", unit="s"),
    _text("source", "Which system was asked: `chargecloud`, `simulator`."),
    _text("feed", "Which feed of the source was asked: a city's or an operator's slug."),
    _text("url", "What was requested; null for imported archives.", nullable=True),
    _time("requested_at", "When the final attempt began; null for imported archives.", nullable=True),
    _time("received_at", "When the last byte of the final attempt came; null when none did.", nullable=True),
    _column("attempts", Integer(), "Requests made, the final one included; 0 for imports.", unit="requests"),
    _column(
        "http_status",
        Integer(),
        "HTTP status of the final attempt; null when no response came.",
        nullable=True,
    ),
    _text("content_type", "Content-Type of the response.", nullable=True),
    _column("bytes_total", BigInteger(), "Bytes received, before any cut.", unit="bytes"),
    _column("is_truncated", Boolean(), "Whether `body` is only a prefix of what the feed sent."),
    _text("sha256", "Hex SHA-256 of `body` as it is kept here."),
    _text("error", "Why the poll of this feed failed, in a sentence; null when it did not.", nullable=True),
    _column("body", LargeBinary(), "The answer as it came (decoded from its transfer encoding only)."),
    key=("query_time", "source", "feed", "sha256", "poll_id"),
    group="raw",
    dated=True,
)

status_chargingpoints = _table(
    "status_chargingpoints",
    "Status of every charging point (EVSE) at every poll. One row per point and query time.",
    _text("id_chargingpoint", "EVSE-ID as the feed gives it; `uid:<uid>` where it gives none.", few=True),
    _query_time(),
    _text("status_cp", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    _text("status_parkingsensor", "Status of the parking sensor, where there is one.", nullable=True, few=True),
    *_origin(),
    _status_class(),
    key=("id_chargingpoint", "query_time"),
    group="status",
    dated=True,
    computed={
        "id_status_cp": (
            "id_chargingpoint || '@' || epoch(query_time)::BIGINT",
            "Identifies the row: `<id_chargingpoint>@<epoch seconds of query_time>`.",
        )
    },
)

status_connectors = _table(
    "status_connectors",
    "Status of every connector (plug) at every poll. One row per connector and query time.",
    _text("id_connector", "The feed's number of the connector.", few=True),
    _query_time(),
    _text("status_connector", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    *_origin(),
    _status_class(),
    key=("id_connector", "query_time"),
    group="status",
    dated=True,
    computed={
        "id_status_connectors": (
            "id_connector || '@' || epoch(query_time)::BIGINT",
            "Identifies the row: `<id_connector>@<epoch seconds of query_time>`.",
        )
    },
)

poll_log = _table(
    "poll_log",
    "What became of every request: one row per poll and feed, the final attempt. Per level (locations, EVSEs, "
    "connectors) it balances: in = ok + rejected + duplicate.",
    _query_time("Start of the poll, UTC, whole seconds."),
    *_origin(),
    _text("poll_id", "Identifies one poll (or one imported archive file)."),
    _column("interval_s", Integer(), "Planned distance between two polls when this one was made.", unit="s"),
    _text(
        "outcome",
        "`ok` (usable, non-empty), `empty` (usable, no locations), `failed` (no or no usable HTTP answer), "
        "`unreadable` (not JSON, or cut off), `unexpected` (JSON, but not the envelope of the API).",
        few=True,
    ),
    _text("reason", "Why the outcome is not `ok`, or what is odd about an `ok` answer, in a sentence.", nullable=True),
    _text("url", "What was requested; null for imported archives.", nullable=True),
    _time("requested_at", "When the final attempt began.", nullable=True),
    _time("received_at", "When its last byte came.", nullable=True),
    _column("attempts", Integer(), "Requests made, the final one included; 0 for imports.", unit="requests"),
    _column("http_status", Integer(), "HTTP status; null when no response came.", nullable=True),
    _text("content_type", "Content-Type of the response.", nullable=True),
    _column("bytes_total", BigInteger(), "Bytes received.", unit="bytes"),
    _column("is_truncated", Boolean(), "Whether only a prefix was kept."),
    _text("sha256", "Hex SHA-256 of the raw answer: the way back to it."),
    _time("source_time", "The answer's own `timestamp`; null where it has none.", nullable=True),
    *(
        _count(f"{level}_{fate}", doc)
        for level in ("locations", "evses", "connectors")
        for fate, doc in (
            ("in", f"Records of level {level[:-1]} in the answer, below rejected ones too."),
            ("ok", f"Of `{level}_in`: used."),
            ("rejected", f"Of `{level}_in`: rejected, or below a rejected record; see `rejected_records`."),
            ("duplicate", f"Of `{level}_in`: the same id was already answered at this query time."),
        )
    ),
    _count("unknown_keys", "Occurrences of JSON keys that the source is not known to have.", unit="keys"),
    _text(
        "unknown_key_names",
        "Which keys these are, e.g. `evse.foo, location.bar`, at most 50 of a location; null when none.",
        nullable=True,
    ),
    key=("query_time", "source", "feed", "poll_id"),
    group="status",
    dated=True,
)

rejected_records = _table(
    "rejected_records",
    "Bad records inside good answers: what was wrong, where, and what it took along. The raw answer still has them "
    "whole.",
    _query_time("Start of the poll, UTC, whole seconds."),
    *_origin(),
    _text("poll_id", "Identifies the poll."),
    _text("level", "`location`, `evse` or `connector`.", few=True),
    _text("path", "Where in the answer: `data[17].evses[2].connectors[0]`."),
    _text("reason", "What was expected and what came, in a sentence."),
    _text("excerpt", "The beginning of the record as JSON, at most 200 characters."),
    _count("connectors_lost", "Connectors below it that were rejected along with it.", unit="connectors"),
    key=("query_time", "source", "feed", "poll_id", "path"),
    group="status",
    dated=True,
)

current_status = _table(
    "current_status",
    "Each charging point's last status: from the last good answer of its feed within 24 hours before `as_of`.",
    _text("id_chargingpoint", "EVSE-ID as the feed gives it; `uid:<uid>` where it gives none."),
    _time("query_time", "The poll that saw it last, UTC."),
    _text("status_cp", "Status as the feed words it; null where it gives none.", nullable=True, few=True),
    _text("status_parkingsensor", "Status of the parking sensor, where there is one.", nullable=True, few=True),
    _text("source", "Which system answered.", few=True),
    _text("feed", "Which feed answered.", few=True),
    _status_class(),
    _time("since", "First poll of the unbroken run of this status, looking back at most 24 hours."),
    _column(
        "is_since_exact",
        Boolean(),
        "Whether another status was seen before `since`; if not, the status may be older than `since`.",
    ),
    _column(
        "age_s",
        Integer(),
        "`as_of` - `query_time`: how old this was when the table was made.",
        unit="s",
    ),
    _time("as_of", "When the table was made."),
    key=("id_chargingpoint",),
    group="status",
    dated=False,
)

STATUS_CLASSES: dict[str, str] = {
    "AVAILABLE": "free",
    "CHARGING": "occupied",
    "OCCUPIED": "occupied",
    "BLOCKED": "occupied",
    "RESERVED": "occupied",
    "OUTOFORDER": "fault",
    "INOPERATIVE": "fault",
    "FAULTED": "fault",
    "REMOVED": "gone",
    "PLANNED": "gone",
}
"""Status class of each known raw status (upper case, no blanks around); all else is `unknown`."""


def status_class(status: str | None) -> str:
    """What KPIs count a raw status as: `free`, `occupied`, `fault`, `unknown` or `gone`; never guessed."""
    return STATUS_CLASSES.get((status or "").strip().upper(), "unknown")


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        KeyError: no such table; the message lists those there are.
    """
    try:
        return METADATA.tables[name]
    except KeyError:
        raise KeyError(f"no table {name!r}; there are: {', '.join(METADATA.tables)}") from None


def is_dated(tab: Table) -> bool:
    """Whether the table is partitioned by query date."""
    return bool(tab.info["dated"])


def key_of(tab: Table) -> tuple[str, ...]:
    """Names of the key's columns, in order; rows of a table file are sorted by them."""
    return tuple(column.name for column in tab.primary_key.columns)
