"""Reading what was: a key or a range at a revision that is still kept.

Law: pure, over one view. A version that was superseded says from when until when it was
the newest, so a revision is in one of these spans or the key was absent (layout).
"""

from collections.abc import Iterator
from typing import Final

from ...storage.engine import View
from . import layout
from .records import mod_revision_of

# Versions of one key that a range walks along; the right one of more is looked up.
_WALKED_MAX: Final = 16


def record_at(view: View, key: bytes, revision: int) -> bytes | None:
    """The record of `key` at `revision`, which is before its newest version."""
    start, end = layout.old_bounds_at(key, revision)
    for at, record in view.scan(start, end, reverse=True):
        _, since = layout.life(at)
        return record if revision < since else None
    return None


def records_at(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[tuple[bytes, bytes]]:
    """(key, record) of all keys with `start` ≤ key < `end` at `revision`, in order."""
    newest = _newest(view, start, end, revision)
    old = _old(view, start, end, revision)
    one, other = next(newest, None), next(old, None)
    # No key is in both: the spans of its versions do not overlap.
    while one is not None and other is not None:
        if one[0] < other[0]:
            yield one
            one = next(newest, None)
        else:
            yield other
            other = next(old, None)
    if one is not None:
        yield one
        yield from newest
    if other is not None:
        yield other
        yield from old


def _newest(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[tuple[bytes, bytes]]:
    for at, record in view.scan(*layout.newest_bounds(start, end)):
        if mod_revision_of(record) <= revision:
            yield at[1:], record


def _old(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[tuple[bytes, bytes]]:
    """A key that was written all the time has a million of them: these are not read."""
    first, last = layout.old_bounds(start, end)
    behind: bytes | None = first
    while behind is not None:
        first, behind = behind, None
        whose, walked, found = b"", 0, False
        for at, record in view.scan(first, last):
            if not at.startswith(whose) or not whose:
                whose, walked, found = layout.old_start(at), 0, False
            walked += 1
            if walked > _WALKED_MAX:
                if not found:
                    key = layout.old_key(at)
                    there = record_at(view, key, revision)
                    if there is not None:
                        yield key, there
                behind = layout.old_end(whose)
                break
            mod_revision, since = layout.life(at)
            if mod_revision <= revision < since:
                found = True
                yield layout.old_key(at), record
