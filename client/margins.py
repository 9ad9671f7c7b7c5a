"""How much of a deadline is kept for the way back of an answer.

Law: the node is told a little less than we wait, so that its answer, which may say more
than "unknown", still arrives in time. It looks at deadlines every 10 ms, when it is not
late, so that a margin of less would be none.
"""

from functools import lru_cache
from typing import Final

MARGIN_SHARE: Final = 0.1
MARGIN_SECONDS_MIN: Final = 0.05
MARGIN_SECONDS_MAX: Final = 0.2


def margin_of(patience: float) -> float:
    """How many of so many seconds are left for the answer."""
    least = min(MARGIN_SECONDS_MIN, patience / 2)
    return max(least, min(patience * MARGIN_SHARE, MARGIN_SECONDS_MAX))


@lru_cache(maxsize=64)  # of a client's calls most have the same
def node_timeout_ms(patience: float) -> int:
    """What the node is told when we wait `patience` seconds."""
    return max(1, int((patience - margin_of(patience)) * 1000))
