"""Where the database keeps its records: the border to an engine, and the first one.

Law: a store maps keys to record bytes and knows the index up to which its effects are
in it, as one step (I-31). The LSM engine takes this place behind the same methods.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Protocol


class View(Protocol):
    """A consistent read that does not change while the store does."""

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, record), in the order of keys."""
        ...


class Store(Protocol):
    """What the database needs of an engine."""

    applied_index: int

    def get(self, key: bytes) -> bytes | None:
        """The record of `key`, or None."""
        ...

    def write(self, effects: Mapping[bytes, bytes | None], applied_index: int) -> None:
        """Put and delete (None), and move the applied index, as one step."""
        ...

    def keys(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """Keys from `start` to before `end` (None: all after), in order."""
        ...

    def count(self) -> int:
        """The number of keys."""
        ...

    def size_bytes(self) -> int:
        """Bytes of keys and records, about."""
        ...

    def view(self) -> View: ...


class MemoryView:
    """A shallow copy: the records are immutable, so copying the table is enough."""

    def __init__(self, table: dict[bytes, bytes]) -> None:
        self.table = table

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        table = self.table
        for key in sorted(table):
            yield key, table[key]


class MemoryStore:
    """The whole key space in a dict; durable by checkpoints and the journal."""

    def __init__(self, applied_index: int = 0) -> None:
        self.applied_index = applied_index
        self.table: dict[bytes, bytes] = {}
        self.bytes = 0
        self.ordered: list[bytes] = []
        # Keys that `ordered` lacks, as a dict: the order of a set is chance.
        self.unordered: dict[bytes, None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.table.get(key)

    def write(self, effects: Mapping[bytes, bytes | None], applied_index: int) -> None:
        assert applied_index >= self.applied_index
        table = self.table
        for key, record in effects.items():
            before = table.get(key)
            if before is not None:
                self.bytes -= len(key) + len(before)
            elif record is not None:
                self.unordered[key] = None
            if record is None:
                table.pop(key, None)
                self.unordered.pop(key, None)
            else:
                table[key] = record
                self.bytes += len(key) + len(record)
        self.applied_index = applied_index

    def keys(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        self._order()
        ordered, table = self.ordered, self.table
        for position in range(bisect_left(ordered, start), len(ordered)):
            key = ordered[position]
            if end is not None and key >= end:
                return
            # A deleted key stays in the list until the next ordering.
            if key in table:
                yield key

    def _order(self) -> None:
        """Sort new keys in: two sorted runs, which the sort merges in one pass."""
        if self.unordered or len(self.ordered) > 2 * len(self.table) + 64:
            table = self.table
            new = self.unordered
            # One that was deleted and put again is in both.
            merged = [key for key in self.ordered if key in table and key not in new]
            merged.extend(sorted(new))
            merged.sort()
            self.ordered = merged
            self.unordered = {}

    def count(self) -> int:
        return len(self.table)

    def size_bytes(self) -> int:
        return self.bytes

    def view(self) -> MemoryView:
        return MemoryView(self.table.copy())
