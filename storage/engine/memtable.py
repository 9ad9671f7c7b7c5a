"""The newest effects, in memory, and what views see of them.

Law: a dict from key to record (table_format's kinds). Views cost nothing until
something is written: then the record that it replaces is kept for the newest of them
that could still see it, and older views find it there (undo, not copies). Keys are
sorted when somebody scans: new ones become sorted runs, which are merged so that few
are left. Where scans come now and then, keys are sorted as they come, some thousand at
a time: all of a memtable at once hold up the scan, and its caller's loop, by 40 ms.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final
from weakref import ref

from .blob import VALUE_BYTES_MAX
from .merge import CHUNK_KEYS, Chunk
from .table_format import KEY_BYTES_MAX, VALUE

_FORGET_KEYS: Final = 1000
# So many keys wait for a scan, where one has come in one of the last so many memtables.
_UNSORTED_KEYS: Final = 4096
_SCANNED_LATELY: Final = 8
# Of a key and its record, beside their bytes: two objects and a place in the dict.
ENTRY_BYTES: Final = 150


class Epoch:
    """A moment of a memtable. `undo` has what later writes replaced; None: nothing."""

    __slots__ = ("__weakref__", "later", "undo")

    def __init__(self) -> None:
        self.undo: dict[bytes, bytes | None] = {}
        self.later: Epoch | None = None


class Memtable:
    """`last_index` and `meta` are those of the newest effects in it.

    `scans_likely`: for so many memtables from this one on its keys are sorted ahead.
    """

    def __init__(
        self, last_index: int = 0, meta: bytes = b"", scans_likely: int = 0
    ) -> None:
        self.data: dict[bytes, bytes] = {}
        self.size_bytes = 0
        self.last_index = last_index
        self.meta = meta
        self.scans_likely = scans_likely
        # So many keys are in runs: the first ones, as a dict remembers their order.
        self._sorted = 0
        self._runs: list[list[bytes]] = []
        self._epoch: ref[Epoch] | None = None

    def write(self, records: Mapping[bytes, bytes], size_bytes: int) -> None:
        """Take effects; views that exist go on seeing what was there before.

        `size_bytes`: of all keys and records together.
        """
        data = self.data
        epoch = self._newest()
        if epoch is not None:
            undo = epoch.undo
            for key in records:
                if key not in undo:
                    undo[key] = data.get(key)
        before = len(data)
        data.update(records)
        self.size_bytes += size_bytes + ENTRY_BYTES * (len(data) - before)
        if self.scans_likely and len(data) - self._sorted >= _UNSORTED_KEYS:
            self._sort()

    def successor(self) -> "Memtable":
        """An empty one that goes on from here."""
        likely = max(0, self.scans_likely - 1)
        return Memtable(self.last_index, self.meta, likely)

    def _newest(self) -> Epoch | None:
        """The moment of the newest view; None while there is no view."""
        return None if self._epoch is None else self._epoch()

    def now(self) -> Epoch:
        """The moment that a new view sees; shared while nothing is written."""
        epoch = self._newest()
        if epoch is None or epoch.undo:
            newer = Epoch()
            if epoch is not None:
                epoch.later = newer
            self._epoch, epoch = ref(newer), newer
        return epoch

    def get(self, key: bytes, epoch: Epoch | None) -> bytes | None:
        """The record of `key` at `epoch`, by default now; None: nothing known here."""
        while epoch is not None:
            if key in epoch.undo:
                return epoch.undo[key]
            epoch = epoch.later
        return self.data.get(key)

    def forget(self) -> bool:
        """Let go of some entries; True when nothing is left to do.

        Only once it was flushed: then nobody but a view that exists can look into it.
        """
        if self._newest() is None:
            data = self.data
            for _ in range(min(len(data), _FORGET_KEYS)):
                data.popitem()
            if data:
                return False
        return True

    def sources(
        self, epoch: Epoch | None, start: bytes, end: bytes | None, reverse: bool
    ) -> list[Iterator[Chunk]]:
        """One for each sorted run; no key is in two of them."""
        self.scans_likely = _SCANNED_LATELY
        if self._sorted < len(self.data):
            self._sort()
        return [self._chunks(run, epoch, start, end, reverse) for run in self._runs]

    def _sort(self) -> None:
        count = len(self.data) - self._sorted
        run = sorted(islice(reversed(self.data), count))
        self._sorted += count
        # New lists, never changed ones: somebody may be reading the old.
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = sorted(self._runs.pop() + run)
        self._runs = [*self._runs, run]

    def _chunks(
        self,
        run: list[bytes],
        epoch: Epoch | None,
        start: bytes,
        end: bytes | None,
        reverse: bool,
    ) -> Iterator[Chunk]:
        low = bisect_left(run, start)
        high = len(run) if end is None else bisect_left(run, end)
        while low < high:
            if reverse:
                keys = run[max(low, high - CHUNK_KEYS) : high]
                high -= len(keys)
            else:
                keys = run[low : min(high, low + CHUNK_KEYS)]
                low += len(keys)
            found = self._records(keys, epoch)
            if found[0]:
                yield found

    def _records(self, keys: list[bytes], epoch: Epoch | None) -> Chunk:
        if epoch is None or (not epoch.undo and epoch.later is None):
            return keys, list(map(self.data.__getitem__, keys))
        known: list[bytes] = []
        records: list[bytes] = []
        for key in keys:
            record = self.get(key, epoch)
            if record is not None:
                known.append(key)
                records.append(record)
        return known, records


def forget_first(memtables: list[Memtable]) -> None:
    """Free the first ones little by little: at once it would hold the loop for long."""
    while memtables and memtables[0].forget():
        del memtables[0]


def size_of(records: Mapping[bytes, bytes]) -> int:
    """Bytes of keys and records. Raises `ValueError` for what no table has room for."""
    keys, values = [*map(len, records)], [*map(len, records.values())]
    if b"" in records or max(keys, default=0) > KEY_BYTES_MAX:
        raise ValueError("a key is empty or too long")
    if max(values, default=0) > len(VALUE) + VALUE_BYTES_MAX:
        raise ValueError("a value is too long")
    return sum(keys) + sum(values)
