"""How long requests, syncs and the loop's delays took, as plain counters.

Law: counting one costs a fraction of a microsecond and takes no lock: there is
one thread. Labels come from fixed tables, never from what a client sent.
"""

from bisect import bisect_left
from typing import Final, NamedTuple

BOUNDS_S: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
OK: Final = "ok"


class Histogram:
    """Counts per bucket (not cumulative; the last is above every bound) and their sum.

    What took exactly a bound's time is in that bound's bucket.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS_S) + 1)
        self.total_s: float = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count `times` of them that took `seconds` each."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += times
        self.total_s += seconds * times


class Timings:
    """One histogram for each operation and result that has happened."""

    def __init__(self) -> None:
        self.histograms: dict[tuple[str, str], Histogram] = {}

    def of(self, operation: str, result: str) -> Histogram:
        """The histogram of this pair; keep it where requests are many."""
        histogram = self.histograms.get((operation, result))
        if histogram is None:
            histogram = self.histograms[operation, result] = Histogram()
        return histogram


class NodeTimings(NamedTuple):
    """Of the node itself: how late each tick of its loop was; its journal's syncs."""

    loop_lag: Histogram
    journal_sync: Histogram
