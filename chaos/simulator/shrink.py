"""A failing seed made small: faults are taken out of its plan while it still fails.

Law: the seed stays and so do its options; only the plan gets shorter (delta debugging,
Zeller 2002). "Still fails" means: the same invariant is violated.
"""

from collections.abc import Callable

import msgspec

from .campaign import Outcome, try_seed
from .run import Cluster, RunOptions
from .world import Violation


class Shrunk(msgspec.Struct, frozen=True):
    """The faults that are left of `before`, and how the smallest plan fails."""

    before: int
    faults: tuple[int, ...]
    outcome: Outcome
    runs: int


def shrink(
    seed: int, options: RunOptions, report: Callable[[str], None]
) -> Shrunk | None:
    """The smallest failing plan that was found; None when the seed does not fail."""
    cluster = Cluster(seed, options)
    try:
        cluster.run()
    except (Violation, AssertionError):
        pass
    else:
        return None
    struck = tuple(fault.number for fault in cluster.faults.struck)
    search = _Search(seed, options, report)
    whole = search.fails(struck)
    assert whole is not None, "a seed fails the same way twice"
    return search.reduce(struck, whole)


class _Search:
    def __init__(
        self, seed: int, options: RunOptions, report: Callable[[str], None]
    ) -> None:
        self.seed = seed
        self.options = options
        self.report = report
        self.invariant: str | None = None
        self.runs = 0

    def fails(self, faults: tuple[int, ...]) -> Outcome | None:
        """How this plan fails; None when it does not, or fails in another way."""
        self.runs += 1
        only = msgspec.structs.replace(self.options, only=frozenset(faults))
        outcome = try_seed(self.seed, only)
        if outcome.result is not None:
            return None
        if self.invariant is None:
            self.invariant = outcome.invariant
        return outcome if outcome.invariant == self.invariant else None

    def reduce(self, faults: tuple[int, ...], outcome: Outcome) -> Shrunk:
        """Leave out halves, then quarters, … then single faults."""
        before, pieces = len(faults), 2
        while faults:
            size = max(1, -(-len(faults) // pieces))
            for start in range(0, len(faults), size):
                rest = faults[:start] + faults[start + size :]
                smaller = self.fails(rest)
                if smaller is not None:
                    faults, outcome = rest, smaller
                    pieces = max(2, pieces - 1)
                    self.report(f"{len(faults)} faults are left")
                    break
            else:
                if size == 1:
                    break
                pieces = min(len(faults), pieces * 2)
        return Shrunk(before, faults, outcome, self.runs)
