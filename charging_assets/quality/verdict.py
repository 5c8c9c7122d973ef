"""What a check says: whether it passed, in a sentence, with figures and examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from charging_assets.lake import PartitionKey
from charging_assets.quality.partition import Partition

Severity = Literal["error", "warn"]

_NAMED = 5
"""Examples that a sentence names; a verdict carries `_KEPT`."""
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found in one partition of one table."""

    passed: bool
    sentence: str
    figures: Mapping[str, int | float | str] = field(default_factory=dict)
    examples: Sequence[str] = ()
    severity: Severity = "error"
    """What it means that it did not pass."""


@dataclass(frozen=True, slots=True)
class Check:
    """What is expected of a table."""

    table: str
    name: str
    promise: str
    """What holds when it passes, in a sentence."""
    judge: Callable[[Partition, str], Verdict]
    """Judges a table of a partition whose schema, and those of `needs`, are right."""
    needs: tuple[str, ...] = ()
    """Other tables of the same partition that it reads."""
    blocking: bool = False
    """Whether a partition that fails it must not be read by whatever is made from it."""
    of_lake: bool = False
    """Whether a dated table is judged once and not per partition."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and its verdict on a partition; `key` is None of undated tables, and of what is judged once."""

    check: Check
    key: PartitionKey
    verdict: Verdict


def passed(sentence: str, /, **figures: float | str) -> Verdict:
    """All is as promised."""
    return Verdict(True, sentence, figures)


def failed(sentence: str, examples: Iterable[str] = (), /, **figures: float | str) -> Verdict:
    """Something is wrong with the table."""
    return Verdict(False, sentence, figures, tuple(examples)[:_KEPT])


def warned(sentence: str, examples: Iterable[str] = (), /, **figures: float | str) -> Verdict:
    """Something is odd about what the table says."""
    return Verdict(False, sentence, figures, tuple(examples)[:_KEPT], "warn")


def some(things: Sequence[object]) -> str:
    """The first few of them, and how many more there are: ``a, b, c, d, e and 12 more``."""
    named = ", ".join(map(str, things[:_NAMED]))
    return named if len(things) <= _NAMED else f"{named} and {len(things) - _NAMED:,} more"


def amount(number: int, noun: str) -> str:
    """``1 row``, ``748,512 rows``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
