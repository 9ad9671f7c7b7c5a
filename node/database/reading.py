"""Reading keys, at the newest revision or at one that is still kept.

Law: reads only. Nothing is answered that was compacted: it may be there still, or not.
"""

from collections.abc import Iterator

from ...storage.engine import Engine
from ...wire import ErrorCode, Record
from . import layout, rules
from .history import record_at, records_at
from .records import as_record, as_told, mod_revision_of


class Reading:
    """What a database can be asked; it sets these."""

    store: Engine
    revision: int
    compacted: int

    def readable(self, revision: int) -> ErrorCode | None:
        """Why `revision` can't be read here; 0 is the newest."""
        if revision > self.revision:
            return ErrorCode.FUTURE_REVISION
        if revision and not rules.still_kept(revision, self.compacted):
            return ErrorCode.COMPACTED
        return None

    def get(self, key: bytes, revision: int = 0) -> Record | None:
        """`key` at a `readable` revision, by default the newest."""
        record = self.store.get(layout.newest(key))
        if revision and (record is None or mod_revision_of(record) > revision):
            record = record_at(self.store.view(), key, revision)
        return None if record is None else as_record(key, record)

    def told(self, key: bytes) -> bytes | None:
        """The newest record of `key`, as replies carry it; None: there is none."""
        stored = self.store.record(layout.NEWEST + key)
        return None if stored is None else as_told(key, stored)

    def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        records_max: int,
        bytes_max: int,
        keys_only: bool = False,
        revision: int = 0,
    ) -> tuple[list[Record], bool]:
        """Records of `start` ≤ key < `end` in order, up to a limit; do more follow?

        At a `readable` revision, by default the newest.
        """
        found: list[Record] = []
        size = 0
        for key, record in self._records(start, end, revision):
            if len(found) >= records_max or size >= bytes_max:
                return found, True
            found.append(as_record(key, record, keys_only))
            # Also of keys alone: a value is read for what stands before it.
            size += len(key) + len(record)
        return found, False

    def _records(
        self, start: bytes, end: bytes | None, revision: int
    ) -> Iterator[tuple[bytes, bytes]]:
        if revision and revision < self.revision:
            return records_at(self.store.view(), start, end, revision)
        scan = self.store.scan(*layout.newest_bounds(start, end))
        return ((at[1:], record) for at, record in scan)
