"""What a watch is told next, as replies: of what was just applied, or from the log.

Law: pure. A piece says after each of its replies where its reader is then: at which
revision, and how many events of that one it was told; so whoever has no room goes on
from there, in the middle of a revision as well. Replies of a revision say whether more
of it follows. A piece is the same for all watches that ask for the same and are at the
same place: it is read and encoded once, as long as there is room to keep it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import msgspec

from ...storage.engine import View
from ...storage.errors import CorruptionError
from ...wire import Record, encode_event, encode_part, parts_of
from ..database.feed import Change, Slice, changes
from ..database.records import as_record
from . import rules
from .watch_index import Group

# A revision, and how many events of it.
Place = tuple[int, int]

# So many make a revision a large one.
_LARGE_CHANGES: Final = 32
# What all pieces together hold that are kept for others.
_KEPT_BYTES: Final = 16 << 20


class Step(msgspec.Struct, frozen=True, gc=False):
    """A reply, and where its reader is then."""

    body: bytes
    then: Place


class Piece(msgspec.Struct, frozen=True):
    """`steps` in order, and where their reader is behind them all.

    `read` says how many changes were looked at; `damage` what was met behind them.
    """

    steps: Sequence[Step]
    end: Place
    read: int = 0
    damage: CorruptionError | None = None

    def size_bytes(self) -> int:
        return sum([len(step.body) for step in self.steps])


def steps_of(revision: int, events: Iterable[bytes], told: int = 0) -> Iterator[Step]:
    """What is left of a revision when so many events of it were told: `events`."""
    for part, more in parts_of(events):
        told += len(part)
        then = (revision, told) if more else (revision + 1, 0)
        yield Step(encode_part(revision, part, more=more), then)


def piece_of(
    view: View,
    kept: int,
    group: Group,
    place: Place,
    newest: int,
    bytes_max: int,
    changes_max: int,
) -> Piece:
    """What a watch of this group is told next from the log of changes.

    Up to `newest`; about so many bytes, and one reply at least; so many changes, and to
    the end of that revision. `kept` is the oldest revision that is.
    """
    first, told = place
    found, last = changes(view, first, newest, changes_max)
    lookup = Slice(view, first, last)
    steps: list[Step] = []
    size = read = 0
    for revision, those in groupby(found, itemgetter(0)):
        changed = list(those)
        # A large one begins a piece, which so is the same wherever they come from.
        if size >= bytes_max or (read and len(changed) >= _LARGE_CHANGES):
            return Piece(steps, (revision, 0), read)
        read += len(changed)
        here = (revision, told if revision == first else 0)
        wanted = [each for each in changed if group.wants(each[2], bool(each[1]))]
        previous = group.previous and rules.tells_before(revision, kept)
        # One by one: each is looked up on the tree.
        events = (
            event_of(lookup.change(*each), previous=previous)
            for each in wanted[here[1] :]
        )
        try:
            for step in steps_of(revision, events, here[1]):
                steps.append(step)
                size += len(step.body)
                here = step.then
                if here[0] == revision and size >= bytes_max:
                    return Piece(steps, here, read)
        except CorruptionError as damage:
            return Piece(steps, here, read, damage)
    return Piece(steps, (last + 1, 0), read)


class Pieces:
    """Those that others may want, by group and place."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Group, Place], Piece] = {}
        self._bytes = 0

    def get(self, group: Group, place: Place) -> Piece | None:
        return self._kept.get((group, place))

    def keep(self, group: Group, place: Place, piece: Piece) -> None:
        """Until there are too many, or it is not true any more."""
        if group.members < 2 or (group, place) in self._kept:
            return
        size = piece.size_bytes()
        if self._bytes + size > _KEPT_BYTES:
            self.clear()
        if size <= _KEPT_BYTES:
            self._kept[group, place] = piece
            self._bytes += size

    def clear(self) -> None:
        if self._kept:
            self._kept = {}
        self._bytes = 0


def event_of(change: Change, *, previous: bool) -> bytes:
    """An event's bytes."""
    key, before = change.key, change.before
    if change.after is None:
        record = Record(key, b"", 0, change.revision, 0, 0)
    else:
        record = as_record(key, change.after)
    old = as_record(key, before) if previous and before is not None else None
    return encode_event(change.after is not None, record, old)
