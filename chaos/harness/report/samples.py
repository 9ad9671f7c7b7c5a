"""What a page shows of a history: counts and latencies by bins of time, some points.

Law: one pass over the file, in memory that does not grow with its length. Latencies are
kept in buckets that are 4 % wide; of the points in a bin some are kept by chance, and
every slowest one. What the last reads of a run did is left out: they are no load.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Final

import msgspec

from ..history import LAST_READER, Done, Kill, Line, Start

BINS_MAX: Final = 240
POINTS_PER_BIN: Final = 24
OUTCOMES: Final[tuple[str, ...]] = ("ok", "refused", "unknown")
_WIDTHS_S: Final = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)
_BUCKETS_PER_DOUBLING: Final = 16
_MICROSECONDS: Final = 1_000_000


class Latencies:
    """How often which latency was seen."""

    def __init__(self) -> None:
        self.count = 0
        self.max_s = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """One more."""
        microseconds = max(1.0, seconds * _MICROSECONDS)
        bucket = int(math.log2(microseconds) * _BUCKETS_PER_DOUBLING)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.max_s = max(self.max_s, seconds)

    def quantile(self, share: float) -> float:
        """The latency that `share` of them do not exceed, in seconds."""
        assert self.count
        left = math.ceil(share * self.count)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                edge = 2.0 ** ((bucket + 1) / _BUCKETS_PER_DOUBLING)
                return min(edge / _MICROSECONDS, self.max_s)
        return self.max_s


class Point(msgspec.Struct, frozen=True, gc=False):
    """One operation: when it ended, how long it took, how it ended."""

    end_s: float
    latency_s: float
    outcome: str


class Bin:
    """What ended in one piece of time."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.latencies = Latencies()
        self.points: list[Point] = []
        self.slowest: Point | None = None
        self._seen = 0

    def add(self, point: Point, dice: Random) -> None:
        """One more operation."""
        self.counts[point.outcome] += 1
        if point.outcome == "ok":
            self.latencies.add(point.latency_s)
        if self.slowest is None or point.latency_s > self.slowest.latency_s:
            self.slowest = point
        self._seen += 1
        if len(self.points) < POINTS_PER_BIN:
            self.points.append(point)
        elif (place := dice.randrange(self._seen)) < POINTS_PER_BIN:
            self.points[place] = point


class Down(msgspec.Struct, frozen=True):
    """A node's process was not there, or did not answer yet."""

    node: str
    from_s: float
    until_s: float


class Samples:
    """Everything that is shown of a history."""

    def __init__(self, seconds: float, calm: Sequence[tuple[float, float]]) -> None:
        self.seconds = seconds
        needed_s = seconds / BINS_MAX
        self.width_s = next((w for w in _WIDTHS_S if w >= needed_s), _WIDTHS_S[-1])
        self.bins = [Bin() for _ in range(int(seconds / self.width_s) + 1)]
        # By kind of operation: while nothing was hurt, and under faults.
        self.by_kind: dict[tuple[str, bool], Latencies] = {}
        self.downs: list[Down] = []
        self._faulty = list(calm)
        self._dice = Random(0)
        self._killed: dict[str, float] = {}

    def read(self, lines: Iterable[Line]) -> None:
        """All of the history."""
        for line in lines:
            if isinstance(line, Done):
                if line.client != LAST_READER:
                    self._add(line)
            elif isinstance(line, Kill):
                self._killed |= dict.fromkeys(line.nodes, line.at_s)
            elif isinstance(line, Start):
                from_s = self._killed.pop(line.node, line.at_s)
                self.downs.append(Down(line.node, from_s, line.answered_s))

    def _add(self, line: Done) -> None:
        latency_s = line.end_s - line.start_s
        place = min(int(line.end_s / self.width_s), len(self.bins) - 1)
        self.bins[place].add(Point(line.end_s, latency_s, line.outcome), self._dice)
        if line.outcome == "ok":
            key = (line.kind, self._was_hurt(line))
            self.by_kind.setdefault(key, Latencies()).add(latency_s)

    def _was_hurt(self, line: Done) -> bool:
        return any(a <= line.end_s and line.start_s <= b for a, b in self._faulty)

    def points(self) -> Iterator[Point]:
        """Those that are drawn."""
        for one in self.bins:
            yield from one.points
            if one.slowest is not None and one.slowest not in one.points:
                yield one.slowest


def merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time without overlaps, in order."""
    whole: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], end))
        else:
            whole.append((start, end))
    return whole
