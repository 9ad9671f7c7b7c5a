"""Reads at each level: none is older than it may be, and none shows what never was.

Law: pure. One key has one writer, which writes 1, 2, 3, … and waits for each; so a
number tells how old a read is. A bounded read may miss what was acknowledged within its
bound before it began, a linearizable one nothing, a local one anything; whoever names a
revision may miss nothing of it. What was acknowledged is of ever higher revisions.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import msgspec

from .operations import Objection, Outcome

Level: TypeAlias = Literal["linearizable", "bounded", "local"]
_INVARIANTS: Final = {"linearizable": "I-40", "bounded": "staleness", "local": "I-43"}


class Version(msgspec.Struct, eq=False):
    """The write of one number: made when it begins, and then of unknown outcome."""

    number: int
    start: int
    end: int | None = None
    outcome: Outcome = "unknown"
    revision: int = 0


class LevelRead(msgspec.Struct, frozen=True):
    """What was asked for, and found: a `number` (0: no such key) at a revision.

    `staleness` is the bound of a bounded read, `min_revision` 0 where none was named.
    """

    node: str
    level: Level
    start: int
    end: int
    number: int
    mod_revision: int
    staleness: int = 0
    min_revision: int = 0

    def __str__(self) -> str:
        bound = f" of {self.staleness}" * (self.level == "bounded")
        least = f" from revision {self.min_revision} on" if self.min_revision else ""
        return (
            f"{self.start}..{self.end} {self.level}{bound} read{least} via {self.node}:"
            f" number {self.number} of revision {self.mod_revision}"
        )


def check_levels(
    versions: Sequence[Version], reads: Sequence[LevelRead]
) -> Objection | None:
    """The first objection to reads of one key; `versions` are 1, 2, 3, … in order."""
    done = [v for v in versions if v.outcome == "ok" and v.end is not None]
    ends = [v.end or 0 for v in done]
    revisions = [v.revision for v in done]
    for one, other in pairwise(done):
        if other.revision <= one.revision:
            detail = f"number {one.number} is of revision {one.revision}"
            after = f"{other.number}, written after it, of {other.revision}"
            return Objection("I-44", f"{detail}, and {after}", None)
    known = {v.number: v.revision for v in done}
    for read in reads:
        problem = _impossible(versions, read, known)
        if problem is not None:
            return problem
        seen_by = read.start - read.staleness
        acknowledged = 0 if read.level == "local" else bisect_left(ends, seen_by)
        floor = done[acknowledged - 1].number if acknowledged else 0
        if read.number < floor:
            detail = f"number {floor} was acknowledged by {seen_by}"
            return Objection(_INVARIANTS[read.level], f"{detail}\n  {read}", None)
        told = bisect_right(revisions, read.min_revision)
        least = done[told - 1] if told else None
        if least is not None and read.number < least.number:
            detail = f"number {least.number} is of revision {least.revision}"
            return Objection("I-43", f"{detail}\n  {read}", None)
    return None


def _impossible(
    versions: Sequence[Version], read: LevelRead, known: dict[int, int]
) -> Objection | None:
    """Why nobody could have found that; `known` learns what is found."""
    if not read.number:
        return None
    if read.number > len(versions) or versions[read.number - 1].start > read.end:
        return Objection("I-54", f"nobody had written that\n  {read}", None)
    if versions[read.number - 1].outcome == "refused":
        return Objection("I-54", f"that write was refused\n  {read}", None)
    revision = known.setdefault(read.number, read.mod_revision)
    if revision != read.mod_revision:
        detail = f"number {read.number} is of revision {revision}"
        return Objection("I-44", f"{detail}\n  {read}", None)
    return None
