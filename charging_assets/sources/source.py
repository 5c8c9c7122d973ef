"""The seam between whoever is asked and everything that follows."""

from typing import Literal, NamedTuple, Protocol

from charging_assets.model.answer import Answer


class FeedState(NamedTuple):
    """Whether a feed is worth polling, and why."""

    state: Literal["alive", "empty", "gone"]
    sentence: str


class Source(Protocol):
    """A system that answers for feeds. Constructing one does no I/O."""

    @property
    def name(self) -> str:
        """What stands in the column `source`."""

    @property
    def feeds(self) -> tuple[str, ...]:
        """The feeds of one poll."""

    def fetch(self, feed: str, deadline: float) -> Answer:
        """Ask for one feed; called from several threads at once.

        Args:
            feed: One of `feeds`.
            deadline: When to have returned, on the clock of `time.monotonic`.

        Returns:
            The final attempt. A fault does not raise: `Answer.error` says in a sentence what went wrong, and whatever
            was received stands in `Answer.body`.
        """

    def state(self, answer: Answer) -> FeedState:
        """What an answer says about its feed: `alive` (has locations), `empty` (has none) or `gone` (all else)."""
