"""Leases as the agreed log makes them, and when: a few plain lines of our own.

Law: no import of the database. A time is the world's, at which the first replica
applied what it is of; so nobody can have begun or ended a lease before.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec

from ...histories import Change
from ..world import MILLISECOND

# Clocks run up to 5 % fast, and ticks are rounded.
CLOCK: Final = 1.06
_REVISION: Final = attrgetter("revision")


class Life(msgspec.Struct, eq=False):
    """One lease, from its grant to its end; its id may be given again afterwards.

    `promises`: when somebody was told of it, and until when it lives at least since.
    """

    lease: int
    ttl_ms: int
    since: int
    begun_us: int
    promises: list[tuple[int, int]]
    keys: int = 0
    ended_us: int | None = None
    expired: bool = False

    def lives_until_us(self, told_by_us: int) -> int:
        """The least that was promised to anybody by then."""
        return max(until for told, until in self.promises if told <= told_by_us)

    def was_there(self, from_us: int, to_us: int) -> bool:
        """At any time between the two?"""
        ended = self.ended_us is not None and self.ended_us < from_us
        return self.begun_us <= to_us and not ended

    def was_always_there(self, from_us: int, to_us: int) -> bool:
        ended = self.ended_us is not None and self.ended_us <= to_us
        return self.begun_us < from_us and not ended


class Hung(msgspec.Struct, frozen=True, gc=False):
    """A key at a revision: its value, None where it was deleted, and its lease."""

    revision: int
    value: bytes | None
    lease: int


class LeaseModel:
    """All leases that ever were, and the keys that hang on them or did."""

    def __init__(self) -> None:
        self.now_us = 0
        self.alive: dict[int, Life] = {}
        self.lives: dict[int, list[Life]] = {}
        self.versions: dict[bytes, list[Hung]] = {}

    def grant(self, lease: int, ttl_ms: int, index: int) -> None:
        if lease in self.alive:
            return
        first = self.now_us, self.now_us + at_least_us(ttl_ms)
        life = Life(lease, ttl_ms, index, self.now_us, [first])
        self.alive[lease] = life
        self.lives.setdefault(lease, []).append(life)

    def expired(self, ended: Sequence[tuple[int, int]]) -> list[Life]:
        """Those of a list of expired ones that are still the same."""
        known = [self.alive.get(lease) for lease, _ in ended]
        return [
            life
            for life, (_, since) in zip(known, ended, strict=True)
            if life is not None and life.since == since
        ]

    def end(self, life: Life) -> None:
        """Its keys were taken away before."""
        assert life.keys == 0
        life.ended_us = self.now_us
        del self.alive[life.lease]

    def hang(self, change: Change, lease: int) -> None:
        """A key of those that may hang on leases was changed."""
        versions = self.versions.setdefault(change.key, [])
        if versions and versions[-1].lease:
            self.alive[versions[-1].lease].keys -= 1
        if lease:
            self.alive[lease].keys += 1
        versions.append(Hung(change.revision, change.value, lease))

    def keys_of(self, lease: int) -> list[bytes]:
        """The keys that hang on it now, in order."""
        return sorted(
            k for k, those in self.versions.items() if those[-1].lease == lease
        )

    def at(self, key: bytes, revision: int) -> Hung:
        """The key at a revision."""
        versions = self.versions.get(key, [])
        position = bisect_right(versions, revision, key=_REVISION)
        return versions[position - 1] if position else Hung(0, None, 0)

    def table(self) -> dict[int, tuple[int, int, int]]:
        """What every replica has to know of those that are there."""
        return {
            lease: (life.ttl_ms, life.keys, life.since)
            for lease, life in self.alive.items()
        }


def at_least_us(ms: int) -> int:
    """So long at least, in the world, are `ms` of the fastest clock."""
    return int(ms * MILLISECOND / CLOCK)
