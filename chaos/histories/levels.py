"""Reads at each level: none is older than it may be, and none shows what never was.

Law: pure. One key has one writer, which writes 1, 2, 3, … and waits for each; so a
number tells how old a read is. A bounded read may miss what was acknowledged, or read,
within its bound before it began, a linearizable one nothing, a local one anything;
whoever names a revision may miss nothing of it. What is there is of ever higher
revisions.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, Literal, TypeAlias

import msgspec

from .log import FIRST_REVISION
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
    known = {v.number: v.revision for v in done}
    for read in reads:
        problem = _impossible(versions, read, known)
        if problem is not None:
            return problem
    numbers = sorted(known)
    revisions = [known[number] for number in numbers]
    for one, other in pairwise(numbers):
        if known[other] <= known[one]:
            detail = f"number {one} is of revision {known[one]}"
            after = f"{other}, written after it, of {known[other]}"
            return Objection("I-44", f"{detail}, and {after}", None)
    moments, floors = _floors(done, reads)
    for read in reads:
        seen_by = read.start - read.staleness
        proved = 0 if read.level == "local" else bisect_left(moments, seen_by)
        if proved and read.number < floors[proved - 1]:
            detail = (
                f"number {floors[proved - 1]} was acknowledged or read by {seen_by}"
            )
            return Objection(_INVARIANTS[read.level], f"{detail}\n  {read}", None)
        told = bisect_right(revisions, read.min_revision)
        least = numbers[told - 1] if told else 0
        if read.number < least:
            detail = f"number {least} is of revision {known[least]}"
            return Objection("I-43", f"{detail}\n  {read}", None)
    return None


def _floors(
    done: Sequence[Version], reads: Sequence[LevelRead]
) -> tuple[list[int], list[int]]:
    """From which moments on which number was certainly there.

    By its acknowledgement, or because somebody had read it, at whatever level: a node
    shows nothing that may still be undone.
    """
    proofs = [(v.end or 0, v.number) for v in done]
    proofs += [(read.end, read.number) for read in reads]
    proofs.sort()
    moments = [moment for moment, _ in proofs]
    return moments, list(accumulate((number for _, number in proofs), max))


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
    if read.mod_revision <= FIRST_REVISION:
        return Objection("I-44", f"nothing was ever written at that\n  {read}", None)
    revision = known.setdefault(read.number, read.mod_revision)
    if revision != read.mod_revision:
        detail = f"number {read.number} is of revision {revision}"
        return Objection("I-44", f"{detail}\n  {read}", None)
    return None
