"""Reading keys, at the newest revision or at one that is still kept.

Law: reads only. Nothing is answered that was compacted: it may be there still, or not.
"""

from collections.abc import Iterator

from ...storage.engine import Engine
from ...wire import ErrorCode, Record
from . import layout, rules
from .history import Entry, record_at, records_at
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

    def page(
        self,
        start: bytes,
        end: bytes | None,
        *,
        records_max: int,
        bytes_max: int,
        keys_only: bool = False,
        revision: int = 0,
    ) -> "Page":
        """Records of `start` ≤ key < `end` in order, up to a limit, of now.

        At a `readable` revision, by default the newest.
        """
        records: Iterator[Entry | None]
        if revision and revision < self.revision:
            records = records_at(self.store.view(), start, end, revision)
        else:
            scan = self.store.scan(*layout.newest_bounds(start, end))
            records = ((at[1:], record) for at, record in scan)
        return Page(records, records_max, bytes_max, keys_only)


class Page:
    """A page of a range, read as far as there is time; later writes are not in it.

    `records` is what was found, `more` whether more follow; both once `read` says so.
    `passes` counts what has taken time besides: each as much as 256 entries.
    """

    def __init__(
        self,
        entries: Iterator[Entry | None],
        records_max: int,
        bytes_max: int,
        keys_only: bool,
    ) -> None:
        self.records: list[Record] = []
        self.more = False
        self.passes = 0
        self._entries = entries
        self._records_max = records_max
        self._bytes_left = bytes_max
        self._keys_only = keys_only

    def read(self, passes_max: int) -> bool:
        """Go on; is it whole? Raises `CorruptionError`."""
        last = self.passes + passes_max
        for entry in self._entries:
            if entry is None:
                self.passes += 1
                if self.passes >= last:
                    return False
                continue
            if len(self.records) >= self._records_max or self._bytes_left <= 0:
                self.more = True
                break
            key, record = entry
            self.records.append(as_record(key, record, self._keys_only))
            # Also of keys alone: a value is read for what stands before it.
            self._bytes_left -= len(key) + len(record)
        return True
