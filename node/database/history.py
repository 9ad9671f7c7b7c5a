"""Reading what was: a key or a range at a revision that is still kept.

Law: pure, over one view. A version that was superseded says from when until when it was
the newest, so a revision is in one of these spans or the key was absent (layout).
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from ...storage.engine import View
from . import layout
from .records import mod_revision_of

# Versions of one key that a range walks along; the right one of more is looked up.
_WALKED_MAX: Final = 16
# So many that were not there at that revision are passed by at once: some 0.4 ms.
_PASSED_AT_ONCE: Final = 256
Entry: TypeAlias = tuple[bytes, bytes]
_END: Final[Entry] = (b"", b"")


def record_at(view: View, key: bytes, revision: int) -> bytes | None:
    """The record of `key` at `revision`, which is before its newest version."""
    start, end = layout.old_bounds_at(key, revision)
    for at, record in view.scan(start, end, reverse=True):
        _, since = layout.life(at)
        return record if revision < since else None
    return None


def records_at(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[Entry | None]:
    """(key, record) of all keys with `start` ≤ key < `end` at `revision`, in order.

    None: so much was passed by, or looked up, that somebody else may want a turn.
    """
    newest = _newest(view, start, end, revision)
    old = _old(view, start, end, revision)
    one: Entry | None = None
    other: Entry | None = None
    while True:
        while one is None:
            if (one := next(newest, _END)) is None:
                yield None
        while other is None:
            if (other := next(old, _END)) is None:
                yield None
        if one is _END and other is _END:
            return
        # No key is in both: the spans of its versions do not overlap.
        if other is _END or (one is not _END and one[0] < other[0]):
            yield one
            one = None
        else:
            yield other
            other = None


def _newest(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[Entry | None]:
    passed = 0
    for at, record in view.scan(*layout.newest_bounds(start, end)):
        if mod_revision_of(record) <= revision:
            yield at[1:], record
            continue
        passed += 1
        if passed % _PASSED_AT_ONCE == 0:
            yield None


def _old(
    view: View, start: bytes, end: bytes | None, revision: int
) -> Iterator[Entry | None]:
    """A key that was written all the time has a million of them: these are not read."""
    first, last = layout.old_bounds(start, end)
    behind: bytes | None = first
    passed = 0
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
                # To look it up, and to begin anew behind it, takes as long.
                yield None
                break
            mod_revision, since = layout.life(at)
            if mod_revision <= revision < since:
                found = True
                yield layout.old_key(at), record
                continue
            passed += 1
            if passed % _PASSED_AT_ONCE == 0:
                yield None
