"""What each revision changed, read back from the tree for those who watch late.

Law: pure, over one view. The log of changes is in order of revisions, and so is what
comes out of it; a revision comes whole or not at all. What was there before a change is
told as long as it is kept.
"""

import msgspec

from ...storage.engine import View
from . import layout, rules
from .records import mod_revision_of


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key at one revision: its record after it (None: deleted) and before it."""

    revision: int
    key: bytes
    after: bytes | None
    before: bytes | None


def changes(
    view: View, first: int, newest: int, changes_max: int
) -> tuple[list[tuple[int, int, bytes]], int]:
    """(revision, kind, key) of changes from `first` on, and the last revision of them.

    `kind` is 1 for a put and 0 for a deletion. So many of them, and then to the end of
    that revision; or all up to `newest`.
    """
    found: list[tuple[int, int, bytes]] = []
    for at, change in view.scan(*layout.change_bounds(first, newest + 1)):
        revision = layout.changed_at(at)
        full = len(found) >= changes_max
        if full and rules.ends_a_slice(revision, found[-1][0]):
            return found, found[-1][0]
        found.append((revision, change[0], change[1:]))
    return found, newest


class Slice:
    """The records of keys at the revisions `first` to `last`, each looked up once."""

    def __init__(self, view: View, first: int, last: int) -> None:
        self._view = view
        self._first = first
        self._last = last
        self._keys: dict[bytes, tuple[dict[int, bytes], dict[int, bytes]]] = {}

    def change(self, revision: int, put: int, key: bytes) -> Change:
        """The whole of one change; `before` is None also where it was compacted."""
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = self._versions(key)
        put_at, until = known
        after = put_at.get(revision) if put else None
        assert (after is not None) == bool(put), "what the log tells of is kept"
        return Change(revision, key, after, until.get(revision))

    def _versions(self, key: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Its records by the revision that put them, and by the one that ended them."""
        put_at: dict[int, bytes] = {}
        until: dict[int, bytes] = {}
        newest = self._view.get(layout.newest(key))
        if newest is not None:
            put_at[mod_revision_of(newest)] = newest
            if mod_revision_of(newest) < self._first:
                return put_at, until
        start, end = layout.old_bounds_at(key, self._last)
        for at, record in self._view.scan(start, end, reverse=True):
            mod_revision, since = layout.life(at)
            put_at[mod_revision] = record
            until[rules.replaced_at(mod_revision, since)] = record
            if mod_revision < self._first:
                break
        return put_at, until
