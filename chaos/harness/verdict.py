"""What a run was: its rounds, its figures, and the verdict.

Law: pure, and three-valued. A run that found nothing is valid only if it tried: every
planned kind of fault has hit a cluster that had work to do, and enough writes were
acknowledged. Otherwise it is void, which is not a kind of success.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["valid", "violated", "void"]

ACKNOWLEDGED_MIN: Final = 100
ACKNOWLEDGED_PER_ROUND_MIN: Final = 20


class Violation(msgspec.Struct, frozen=True):
    """A broken promise, as small as it can be told.

    `subject` is the key or the node; times in the texts are seconds since the start.
    """

    kind: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.subject}\n"
            f"  expected: {self.expected}\n"
            f"  found:    {self.found}"
        )


class RoundResult(msgspec.Struct, frozen=True):
    """One round of faults as it happened."""

    number: int
    kind: str
    victims: tuple[str, ...]
    leader_hit: bool
    at_s: float
    # Operations that were in flight at the kill or began before the victims were back.
    overlapped: int
    # From the kill to the first acknowledgement of a write that began after it.
    gap_ms: float
    # From the kill until the processes were gone: one that waits for its disk can't go.
    dying_ms: float
    # From the kill until the last victim answered again.
    down_ms: float


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


class Summary(msgspec.Struct):
    """Everything that is said about a run in the end, on the screen and in a file."""

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
    kills: dict[str, int]
    rounds: list[RoundResult]
    leader_gap_ms: dict[str, float]
    checks: list[str]
    files: str | None = None


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    assert ordered
    assert 0 < share <= 1
    return ordered[math.ceil(share * len(ordered)) - 1]


def leader_gaps(rounds: Sequence[RoundResult]) -> dict[str, float]:
    """How long writes were refused after the leader alone was killed."""
    gaps = [r.gap_ms for r in rounds if r.leader_hit and len(r.victims) == 1]
    if not gaps:
        return {}
    return {
        "count": len(gaps),
        "median": quantile(gaps, 0.5),
        "p90": quantile(gaps, 0.9),
        "max": max(gaps),
    }


def void_reasons(
    planned_kinds: Iterable[str],
    rounds_planned: int | None,
    rounds: Sequence[RoundResult],
    acknowledged: int,
) -> list[str]:
    """Why a run that found nothing has not shown anything; empty when it has.

    `rounds_planned` is None for a run that was to go on for a while and no count.
    """
    reasons: list[str] = []
    if rounds_planned is not None and len(rounds) < rounds_planned:
        reasons.append(f"{len(rounds)} of {rounds_planned} planned rounds took place")
    hit = {result.kind for result in rounds if result.overlapped}
    reasons.extend(
        f"the planned fault {kind} never hit a cluster at work"
        for kind in dict.fromkeys(planned_kinds)
        if kind not in hit
    )
    needed = max(ACKNOWLEDGED_MIN, ACKNOWLEDGED_PER_ROUND_MIN * len(rounds))
    if acknowledged < needed:
        reasons.append(f"{acknowledged} writes were acknowledged, {needed} are needed")
    return reasons


def judge(violations: Sequence[Violation], reasons: Sequence[str]) -> Verdict:
    """A broken promise stays broken, however little was tried."""
    if violations:
        return "violated"
    return "void" if reasons else "valid"
