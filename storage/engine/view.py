"""A view: the engine at one moment, for as long as somebody holds it.

Law: reads only, and the same answers for ever, whatever is written, flushed or
compacted meanwhile. It costs two small objects; what it keeps alive is what was
replaced since (memtable.Epoch) and the files of its version.
"""

from collections.abc import Iterator, Sequence

from .memtable import Epoch, Memtable
from .merge import Chunk, merge, without_tombstones
from .version import Version


class View:
    """`applied_index`: the last effect that it sees."""

    __slots__ = ("_parts", "_version", "applied_index")

    def __init__(
        self,
        parts: Sequence[tuple[Memtable, Epoch]],
        version: Version,
        applied_index: int,
    ) -> None:
        self._parts = tuple(parts)
        self._version = version
        self.applied_index = applied_index

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None.

        Raises `CorruptionError` where the disk does not hold what was written.
        """
        for memtable, epoch in self._parts:
            record = memtable.get(key, epoch)
            if record is not None:
                break
        else:
            record = self._version.get(key)
        return None if record is None else self._version.value(record)

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) with start ≤ key < end, in order, or from the last one back.

        None: no bound. A large value is read when it is its turn, and not held. Raises
        `CorruptionError`.
        """
        for keys, records in self._chunks(start, end, reverse):
            yield from zip(keys, self._version.values(records), strict=True)

    def keys(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        """As `scan`, the keys alone: no large value is read."""
        for keys, _ in self._chunks(start, end, reverse):
            yield from keys

    def _chunks(
        self, start: bytes, end: bytes | None, reverse: bool
    ) -> Iterator[Chunk]:
        """Keys and records, many at a time, in the order that is asked for."""
        if end is not None and start >= end:
            # No block is read to find that out.
            return
        sources: list[Iterator[Chunk]] = []
        for memtable, epoch in self._parts:
            sources += memtable.sources(epoch, start, end, reverse)
        sources += self._version.sources(start, end, reverse)
        for keys, records in without_tombstones(merge(sources, reverse)):
            # Each chunk ascends in itself.
            yield (keys[::-1], records[::-1]) if reverse else (keys, records)
