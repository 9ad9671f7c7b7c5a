"""What a run was: its rounds, its figures, and the verdict.

Law: pure, and three-valued. A run that found nothing is valid only if it tried: every
planned kind of fault has hit a cluster that had work to do, and enough writes were
acknowledged. Otherwise it is void, which is not a kind of success.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["valid", "violated", "void"]

ACKNOWLEDGED_MIN: Final = 100
ACKNOWLEDGED_PER_ROUND_MIN: Final = 20


class Violation(msgspec.Struct, frozen=True):
    """A broken promise, as small as it can be told.

    `subject` is the key or the node; times in the texts are seconds since the start.
    `around_s` is when it was, where that is not the end of the run.
    """

    kind: str
    subject: str
    expected: str
    found: str
    around_s: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.subject}\n"
            f"  expected: {self.expected}\n"
            f"  found:    {self.found}"
        )


class FaultResult(msgspec.Struct, frozen=True):
    """One fault of a round as it happened.

    `touched` is how often it met something: processes of nodes; pieces of traffic, or
    connections whose bits were flipped. `overlapped` counts the operations that were in
    flight when it struck or began before it was over.
    """

    number: int
    kind: str
    targets: tuple[str, ...]
    leader_hit: bool
    at_s: float
    # When it was healed, and all of its nodes answered again.
    until_s: float
    touched: int
    overlapped: int
    # From the strike to the first acknowledgement of a write that began after it.
    gap_ms: float
    # The longest time without an acknowledgement until the round was over.
    longest_gap_ms: float
    # From a kill until the processes were gone: one that waits for its disk can't go.
    dying_ms: float
    # How many faults the round had.
    at_once: int = 1

    @property
    def counts(self) -> bool:
        """Whether it has hit something that was at work."""
        return self.touched > 0 and self.overlapped > 0


class FaultCount(msgspec.Struct):
    """How often a kind of fault struck, and how often a cluster at work."""

    fired: int = 0
    overlapped: int = 0
    longest_gap_ms: float = 0.0


class Counts(msgspec.Struct):
    """How operations ended."""

    acknowledged: int = 0
    rejected: int = 0
    unknown: int = 0
    reads: int = 0
    reads_failed: int = 0

    @property
    def writes(self) -> int:
        """All writes that have ended."""
        return self.acknowledged + self.rejected + self.unknown

    @property
    def operations(self) -> int:
        """All operations that have ended."""
        return self.writes + self.reads + self.reads_failed


class WorkloadCount(msgspec.Struct):
    """How the operations of one workload ended, and how many had to be done.

    `changes` are those that are ok and no reads; who watches is told of changes.
    `unjudged` is why nobody could judge it; empty where it was.
    """

    ok: int = 0
    refused: int = 0
    unknown: int = 0
    needed: int = 0
    unjudged: str = ""
    changes: int = 0
    changes_needed: int = 0


class Summary(msgspec.Struct):
    """Everything that is said about a run in the end, on the screen and in a file.

    `attached` says that the nodes are somebody else's.
    """

    verdict: Verdict
    reasons: list[str]
    violations: list[Violation]
    options: dict[str, object]
    command: str
    version: str
    python: str
    seconds: float
    counts: Counts
    keys: int
    faults: dict[str, FaultCount]
    strikes: list[FaultResult]
    leader_gap_ms: dict[str, float]
    checks: list[str]
    workloads: dict[str, WorkloadCount] = {}
    files: str | None = None
    attached: bool = False


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    assert ordered
    assert 0 < share <= 1
    return ordered[math.ceil(share * len(ordered)) - 1]


def leader_gaps(strikes: Sequence[FaultResult]) -> dict[str, float]:
    """How long writes were refused after the leader, and nothing else, was killed."""
    gaps = [
        strike.gap_ms
        for strike in strikes
        if strike.kind in ("kill-one", "kill-leader")
        and strike.leader_hit
        and strike.at_once == 1
    ]
    if not gaps:
        return {}
    return {
        "count": len(gaps),
        "median": quantile(gaps, 0.5),
        "p90": quantile(gaps, 0.9),
        "max": max(gaps),
    }


def count_faults(
    kinds: Iterable[str], strikes: Sequence[FaultResult]
) -> dict[str, FaultCount]:
    """Of each kind, planned or not, what became of it."""
    counts = {kind: FaultCount() for kind in kinds}
    for strike in strikes:
        count = counts.setdefault(strike.kind, FaultCount())
        count.fired += strike.touched > 0
        count.overlapped += strike.counts
        count.longest_gap_ms = max(count.longest_gap_ms, strike.longest_gap_ms)
    return counts


def void_reasons(
    planned_kinds: Iterable[str],
    rounds_planned: int | None,
    strikes: Sequence[FaultResult],
    acknowledged: int,
    workloads: Mapping[str, WorkloadCount] = MappingProxyType({}),
) -> list[str]:
    """Why a run that found nothing has not shown anything; empty when it has.

    `rounds_planned` is None for a run that was to go on for a while and no count.
    """
    reasons: list[str] = []
    rounds = len({strike.number for strike in strikes})
    if rounds_planned is not None and rounds < rounds_planned:
        reasons.append(f"{rounds} of {rounds_planned} planned rounds took place")
    counts = count_faults((), strikes)
    for kind in dict.fromkeys(planned_kinds):
        if not counts.get(kind, FaultCount()).fired:
            reasons.append(f"the planned fault {kind} never struck anything")
        elif not counts[kind].overlapped:
            reasons.append(f"the planned fault {kind} never hit a cluster at work")
    needed = max(ACKNOWLEDGED_MIN, ACKNOWLEDGED_PER_ROUND_MIN * rounds)
    if acknowledged < needed:
        reasons.append(f"{acknowledged} writes were acknowledged, {needed} are needed")
    reasons += [
        f"{name}: {count.ok} operations were done, {count.needed} are needed"
        for name, count in workloads.items()
        if count.ok < count.needed
    ]
    # Who reads what nobody changes any more sees nothing go wrong.
    reasons += [
        f"{name}: {count.changes} changes were done, {count.changes_needed} are needed"
        for name, count in workloads.items()
        if count.changes < count.changes_needed
    ]
    reasons += [
        f"{name}: not judged: {count.unjudged}"
        for name, count in workloads.items()
        if count.unjudged
    ]
    return reasons


def without_report(summary: Summary, why: str) -> None:
    """Its report can't be written, so that nobody can look at what it has shown."""
    if not summary.violations:
        summary.reasons.append(f"the report can't be written: {why}")
    summary.verdict = judge(summary.violations, summary.reasons)


def judge(violations: Sequence[Violation], reasons: Sequence[str]) -> Verdict:
    """A broken promise stays broken, however little was tried."""
    if violations:
        return "violated"
    return "void" if reasons else "valid"
