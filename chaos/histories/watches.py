"""One watch: what it asked for, what it was told in order; and what the log has for it.

Law: values, no judgement. A watch is what one node told one reader. Who goes on at
another node asks there for a watch of its own, from behind the last revision that he
was told whole; so when each is complete from its start on, all of them together are.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from .operations import Change


class Before(msgspec.Struct, frozen=True, gc=False):
    """What a key had before an event."""

    value: bytes
    create_revision: int
    mod_revision: int
    version: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """One key changed; `value` None: it was deleted, and the two numbers are 0.

    `previous` None: nothing was there, or it was not told.
    """

    key: bytes
    value: bytes | None
    create_revision: int = 0
    version: int = 0
    previous: Before | None = None


class Created(msgspec.Struct, frozen=True, gc=False):
    """The node has it; its store is at `revision`."""

    revision: int


class Events(msgspec.Struct, frozen=True, gc=False):
    """Of one revision; `more` of it follows.

    `compacted` is how far the store was compacted when this was told; None: nobody
    knows, and it may have been as far as in the end.
    """

    revision: int
    events: tuple[Event, ...]
    more: bool = False
    compacted: int | None = None


class Progress(msgspec.Struct, frozen=True, gc=False):
    """All up to `revision` was told."""

    revision: int


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The node ended it. `compacted`: the oldest revision kept, where that was why."""

    reason: str
    compacted: int = 0


Told: TypeAlias = Created | Events | Progress | Ended


class Watch(msgspec.Struct, gc=False, eq=False):
    """Of `start` ≤ key < `end`, an empty `end` being no bound; from `first` on.

    `first` 0: from the revision behind the one at which it was created. What was not
    told to the end, because a connection broke, has no end of its own.
    """

    start: bytes
    end: bytes
    first: int = 0
    previous: bool = False
    puts: bool = True
    deletes: bool = True
    told: list[Told] = []

    def wants(self, key: bytes, value: bytes | None) -> bool:
        if not (self.deletes if value is None else self.puts):
            return False
        return self.start <= key and (not self.end or key < self.end)

    def begins(self) -> int | None:
        """The first revision that it is about; None: no node has said yet."""
        if self.first:
            return self.first
        for told in self.told:
            if isinstance(told, Created):
                return told.revision + 1
        return None

    def reached(self) -> int:
        """Everything up to this revision was told; 0: not even where it begins."""
        reached = (self.begins() or 1) - 1
        for told in self.told:
            if isinstance(told, Progress) or (
                isinstance(told, Events) and not told.more
            ):
                reached = max(reached, told.revision)
        return reached


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One change of the log, as a watch has to tell it."""

    revision: int
    event: Event


class Facts:
    """The agreed log for those who watch: all changes, in order.

    Changes of one revision stand next to each other, in the order of the log. Up to
    `compacted` what was there before a change may be gone. `newest` is the last
    revision, when that one changed other keys alone.
    """

    def __init__(
        self, changes: Sequence[Change], compacted: int = 0, newest: int = 0
    ) -> None:
        self.compacted = compacted
        self.newest = max(newest, changes[-1].revision if changes else 0)
        self.facts: list[Fact] = []
        self._revisions: list[int] = []
        latest: dict[bytes, Before] = {}
        for change in changes:
            before = latest.pop(change.key, None)
            event = _event(change, before)
            if change.value is not None:
                latest[change.key] = Before(
                    change.value, event.create_revision, change.revision, event.version
                )
            self.facts.append(Fact(change.revision, event))
            self._revisions.append(change.revision)

    def wanted(self, watch: Watch, first: int, last: int) -> list[Fact]:
        """What `watch` has to be told of these revisions, both included."""
        begin = bisect_left(self._revisions, first)
        end = bisect_right(self._revisions, last)
        return [
            fact
            for fact in self.facts[begin:end]
            if watch.wants(fact.event.key, fact.event.value)
        ]


def _event(change: Change, before: Before | None) -> Event:
    if change.value is None:
        return Event(change.key, None, previous=before)
    if before is None:
        return Event(change.key, change.value, change.revision, 1)
    return Event(
        change.key, change.value, before.create_revision, before.version + 1, before
    )
