"""What was done and how long it took: parts that add up to a whole.

Law: values. Each process tells what happened since it told last, so that the sum is
right whenever a run ends, and whoever dies. Latencies are those of operations that
succeeded; the others are counted by the code of their error.
"""

from collections import Counter
from typing import Final

import msgspec

from ...client import Overloaded, QuorateError, TooBusy
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
    time came but that were not sent before the end; `due_s` is when the last one that
    was sent was due, and `sent_s` when it was sent. Moments are on the monotonic clock.
    """

    tallies: dict[Kind, Tally] = {}
    late: Histogram = msgspec.field(default_factory=Histogram)
    delayed: int = 0
    unsent: int = 0
    due_s: float | None = None
    sent_s: float | None = None
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
        self.end_s = _later(self.end_s, other.end_s)
        self.due_s = _later(self.due_s, other.due_s)
        self.sent_s = _later(self.sent_s, other.sent_s)

    @property
    def seconds(self) -> float:
        """How long was measured."""
        if self.begin_s is None or self.end_s is None:
            return 0.0
        return max(self.end_s - self.begin_s, 0.0)

    def pace(self, rate: float) -> float:
        """The share of the rate at which operations were sent, 1.0 when none was late.

        By when they were due, and not by their number, which chance has a part in; and
        not by the end, which may have waited for one that was slow.
        """
        if self.begin_s is None or self.due_s is None or self.sent_s is None:
            return 1.0
        began_s = self.begin_s - 1 / rate
        return (self.due_s - began_s) / (self.sent_s - began_s)

    def total(self) -> Tally:
        """All kinds together."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)


def code_of(error: QuorateError) -> str:
    """The name under which an error is counted: its class's, as a code.

    Overload is one thing, whether the cluster or the client has too much to do.
    """
    if isinstance(error, Overloaded | TooBusy):
        return OVERLOAD
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
