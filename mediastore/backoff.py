"""How long to wait before something is tried again: longer each time, and random, so that what
failed together, or waits for the same receiver, does not come back together.
"""

import random

RETRY_DELAY_FACTOR = 4
RETRY_JITTER = 0.5  # a pause is between this share of itself and its whole
_GROWN_TIMES_MAX = 20  # a power of more would be no number any more


def backoff_seconds(attempts: int, *, first_seconds: float, longest_seconds: float) -> float:
    """The pause after so many attempts, at least 1."""
    grown = first_seconds * RETRY_DELAY_FACTOR ** min(attempts - 1, _GROWN_TIMES_MAX)
    longest: float = min(grown, longest_seconds)
    return longest * random.uniform(RETRY_JITTER, 1)  # noqa: S311  (keeps no secret)
