"""Doing again what failed for a reason that passes."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0


def retrying(
    work: Callable[[], _T],
    *,
    attempts: int,
    is_worth: Callable[[Exception], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """What `work` returns, called up to `attempts` times.

    Between two calls it waits a random time, at most twice as long as the time before: those that got into each other's
    way do not meet again.

    Args:
        work: what to do.
        attempts: how often at most.
        is_worth: whether an error passes; others are raised at once.
        sleep: waits so many seconds.

    Raises:
        Exception: the last error of `work`.
    """
    longest = FIRST_WAIT_S
    for left in range(attempts - 1, -1, -1):
        try:
            return work()
        except Exception as error:
            if not left or not is_worth(error):
                raise
        sleep(random.uniform(0, longest))  # noqa: S311 - no secret
        longest = min(2 * longest, LONGEST_WAIT_S)
    raise AssertionError("attempts must be positive")
