"""What was done and how long it took: parts that add up to a whole.

Law: values. Each process tells what happened since it told last, so that the sum is
right whenever a run ends, and whoever dies. Latencies are those of operations that
succeeded; the others are counted by the code of their error.
"""

from collections import Counter
from typing import Final

import msgspec

from ...client import QuorateError, TooBusy, Unavailable
from .histogram import Histogram
from .mixes import Kind

OVERLOAD: Final = "too_busy"


class Tally(msgspec.Struct):
    """What became of the operations of one kind; `absent` found no key to read."""

    latency: Histogram = msgspec.field(default_factory=Histogram)
    errors: dict[str, int] = {}
    absent: int = 0

    def add(self, other: "Tally") -> None:
        """These, too."""
        self.latency.add(other.latency)
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.absent += other.absent


class Report(msgspec.Struct, tag=True):
    """What one process did since its last report, or all of them together.

    In an open loop `late` is how long after their time operations were sent, `delayed`
    counts those that waited because too many were in flight, and `unsent` those whose
    time came but that were not sent before the end. Moments are on the monotonic clock.
    """

    tallies: dict[Kind, Tally] = {}
    late: Histogram = msgspec.field(default_factory=Histogram)
    delayed: int = 0
    unsent: int = 0
    in_flight: int = 0
    warm: bool = False
    begin_s: float | None = None
    end_s: float | None = None
    cpu_s: float = 0.0

    def tally(self, kind: Kind) -> Tally:
        """The tally of this kind, made when there is none."""
        found = self.tallies.get(kind)
        if found is None:
            found = self.tallies[kind] = Tally()
        return found

    def add(self, other: "Report") -> None:
        """This, too; what is in flight is not added up, as it is no event."""
        for kind, tally in other.tallies.items():
            self.tally(kind).add(tally)
        self.late.add(other.late)
        self.delayed += other.delayed
        self.unsent += other.unsent
        self.cpu_s += other.cpu_s
        self.warm = self.warm or other.warm
        begins = [at for at in (self.begin_s, other.begin_s) if at is not None]
        self.begin_s = min(begins, default=None)
        ends = [at for at in (self.end_s, other.end_s) if at is not None]
        self.end_s = max(ends, default=None)

    @property
    def seconds(self) -> float:
        """How long was measured."""
        if self.begin_s is None or self.end_s is None:
            return 0.0
        return max(self.end_s - self.begin_s, 0.0)

    def total(self) -> Tally:
        """All kinds together."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total


def code_of(error: QuorateError) -> str:
    """The name under which an error is counted: its class's, as a code.

    The client takes a busy node's word as Unavailable once there is no more time; what
    the last nodes said is in its reason.
    """
    if isinstance(error, TooBusy):
        return OVERLOAD
    if isinstance(error, Unavailable) and OVERLOAD in error.reason:
        return OVERLOAD
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
