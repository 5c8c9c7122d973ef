"""The answers as they came."""

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary

from charging_assets.model.tables.declare import column, declare, query_time, text, time

raw_snapshots = declare(
    "raw_snapshots",
    "Every answer of every poll, byte for byte, failed ones too; write-once, kept for ever. "
    "The raw files have this form; their order within a file is by feed.",
    text("poll_id", "Identifies one poll (or one imported archive file)."),
    query_time("Start of the poll, UTC, whole seconds; one value for all its feeds."),
    column("interval_s", Integer(), "Planned distance between two polls when this one was made.", unit="s"),
    text("source", "Which system was asked: `chargecloud`, `simulator`."),
    text("feed", "Which feed of the source was asked: a city's or an operator's slug."),
    text("url", "What was requested; null for imported archives.", nullable=True),
    time("requested_at", "When the final attempt began; null for imported archives.", nullable=True),
    time("received_at", "When the last byte of the final attempt came; null when none did.", nullable=True),
    column("attempts", Integer(), "Requests made, the final one included; 0 for imports.", unit="requests"),
    column(
        "http_status",
        Integer(),
        "HTTP status of the final attempt; null when no response came.",
        nullable=True,
    ),
    text("content_type", "Content-Type of the response.", nullable=True),
    column("bytes_total", BigInteger(), "Bytes received, before any cut.", unit="bytes"),
    column("is_truncated", Boolean(), "Whether `body` is only a prefix of what the feed sent."),
    text("sha256", "Hex SHA-256 of `body` as it is kept here."),
    text("error", "Why the poll of this feed failed, in a sentence; null when it did not.", nullable=True),
    column("body", LargeBinary(), "The answer as it came (decoded from its transfer encoding only)."),
    key=("query_time", "source", "feed", "sha256", "poll_id"),
    group="raw",
    dated=True,
)
