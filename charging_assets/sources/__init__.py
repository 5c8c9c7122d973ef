"""Who is asked and how: a small seam, chargecloud behind it, the poll of all feeds, archives of earlier polls.

Belongs here: everything up to an `Answer`, byte for byte as it came. Does not belong here: what an answer means
(`flatten`) and where it is kept (`lake`).
"""

from charging_assets.sources.archives import ArchiveError, ImportResult, import_archive
from charging_assets.sources.chargecloud import ChargecloudSource, feed_state
from charging_assets.sources.polling import PollResult, poll, poll_seconds
from charging_assets.sources.source import FeedState, Source

__all__ = [
    "ArchiveError",
    "ChargecloudSource",
    "FeedState",
    "ImportResult",
    "PollResult",
    "Source",
    "feed_state",
    "import_archive",
    "poll",
    "poll_seconds",
]
