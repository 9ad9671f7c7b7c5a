"""Records that gets have found in tables lately, so that hot keys cost no read.

Law: in memory alone, and never more than its limit. What is in here is the newest
record of its key, and no memtable has the key: a write takes it out. Two generations:
what is asked for goes to the recent one; when that has a third of the bytes it becomes
the earlier one, and what was not asked for meanwhile is let go, little by little, which
is the last third. Where all keys are asked for alike, looking costs more than it saves:
then this rests for a while, and is empty.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from .memtable import ENTRY_BYTES
from .merge import Droppable
from .table_format import VALUE_KIND
from .version import Version

# A longer one takes the place of many.
_RECORD_BYTES_MAX: Final = 4096
# Of the records that come from tables one in so many is taken: what is asked for once
# costs little, and what is asked for often is soon here.
_TAKEN: Final = 4
# Of what was let go so many are freed at once: all of it takes milliseconds.
_FREED: Final = 4
# A generation was of use if one get in so many was a hit; else so many times as many
# gets as it took go by until another one is tried.
_USEFUL: Final = 4
_REST: Final = 16


class RecordCache:
    """Of `limit_bytes`; 0: it takes nothing. `scanned`: first bytes of keys not taken.

    `hits` and `misses` count the gets that looked here.
    """

    __slots__ = (
        *("_earlier", "_gone", "_judged", "_recent", "_resting", "_scanned"),
        *("_size", "_third", "hits", "misses"),
    )

    def __init__(self, limit_bytes: int, scanned: bytes) -> None:
        self._third = limit_bytes // 3
        self._scanned = scanned
        self.hits = self.misses = 0
        # The hits and misses up to the last generation.
        self._judged = 0, 0
        # So many gets go by.
        self._resting = 0
        self._gone: dict[bytes, bytes] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything: what it came from is not the store any more."""
        self._recent: dict[bytes, bytes] = {}
        self._earlier: dict[bytes, bytes] = {}
        # Of the recent ones, and those that were written over since.
        self._size = 0

    def find(self, key: bytes, version: Version) -> bytes | None:
        """The newest record of a key that is in no memtable."""
        if self._resting:
            self._resting -= 1
            if self._gone:
                self._free()
            return version.get(key)
        record = self._recent.get(key)
        if record is not None:
            self.hits += 1
            return record
        record = self._earlier.pop(key, None)
        if record is not None:
            self.hits += 1
            self._keep(key, record)
            return record
        record = version.get(key)
        self.misses += 1
        if record is not None and not self.misses % _TAKEN and self._takes(key, record):
            self._keep(key, record)
        return record

    def _takes(self, key: bytes, record: bytes) -> bool:
        """A reference to a large value is not: merges move those."""
        return (
            self._third > 0
            and record[0] == VALUE_KIND
            and len(record) <= _RECORD_BYTES_MAX
            and key[:1] not in self._scanned
        )

    def _keep(self, key: bytes, record: bytes) -> None:
        self._recent[key] = record
        self._size += len(key) + len(record) + ENTRY_BYTES
        if self._size > self._third:
            self._next_generation()
        if self._gone:
            self._free()

    def _next_generation(self) -> None:
        # What is left of the last but one is little, if there is any.
        self._gone, self._earlier = self._earlier, self._recent
        self._recent, self._size = {}, 0
        hits, misses = self.hits - self._judged[0], self.misses - self._judged[1]
        self._judged = self.hits, self.misses
        # The first one, which began empty, is not judged.
        if self._gone and hits * _USEFUL < hits + misses:
            self._resting = _REST * (hits + misses)
            self._gone |= self._earlier
            self._earlier = {}

    def _free(self) -> None:
        for _ in range(min(_FREED, len(self._gone))):
            self._gone.popitem()

    def merged(self, droppable: Sequence[Droppable]) -> None:
        """A merge has left these out of the tables."""
        if any(
            not each.prefix or each.prefix[:1] not in self._scanned
            for each in droppable
        ):
            self.clear()

    def drop(self, records: Mapping[bytes, bytes]) -> None:
        """These keys are written now."""
        for known in (self._recent, self._earlier):
            if known and not known.keys().isdisjoint(records):
                for key in records:
                    known.pop(key, None)
