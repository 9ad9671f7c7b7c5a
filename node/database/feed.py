"""What each revision changed, read back from the tree for those who watch late.

Law: pure, over one view. The log of changes is in order of revisions, and so is what
comes out of it; a revision comes whole or not at all. What was there before a change is
told as long as it is kept.
"""

from collections.abc import Iterator

import msgspec

from ...storage.engine import View
from . import layout
from .records import mod_revision_of


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key at one revision: its record after it (None: deleted) and before it."""

    revision: int
    key: bytes
    after: bytes | None
    before: bytes | None


def changes(view: View, first: int, newest: int) -> Iterator[tuple[int, int, bytes]]:
    """(revision, kind, key) of all changes with `first` ≤ revision ≤ `newest`.

    `kind` is 1 for a put and 0 for a deletion.
    """
    for at, change in view.scan(*layout.change_bounds(first, newest + 1)):
        yield layout.changed_at(at), change[0], change[1:]


def change_of(
    view: View, revision: int, put: int, key: bytes, *, previous: bool
) -> Change:
    """The whole of one change; `before` only when it is asked for."""
    after = _record_of(view, revision, key) if put else None
    before = _before(view, revision, key) if previous else None
    return Change(revision, key, after, before)


def _record_of(view: View, revision: int, key: bytes) -> bytes:
    """The record that was put at `revision`: the newest, or one superseded since."""
    newest = view.get(layout.newest(key))
    if newest is not None and mod_revision_of(newest) == revision:
        return newest
    start, end = layout.old_bounds_at(key, revision)
    for at, record in view.scan(start, end, reverse=True):
        assert layout.life(at)[0] == revision, "what the log tells of is kept"
        return record
    raise AssertionError("what the log tells of is kept")


def _before(view: View, revision: int, key: bytes) -> bytes | None:
    """What was there until `revision`; None also when it was compacted."""
    start, end = layout.old_bounds_at(key, revision - 1)
    for at, record in view.scan(start, end, reverse=True):
        return record if layout.life(at)[1] == revision else None
    return None
