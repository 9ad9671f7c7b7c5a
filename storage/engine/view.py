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

    def chunks(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[Chunk]:
        """Keys and values with start ≤ key < end, many at a time; None: no bound.

        Each chunk ascends in itself; with `reverse` the last chunk comes first. Raises
        `CorruptionError`.
        """
        sources: list[Iterator[Chunk]] = []
        for memtable, epoch in self._parts:
            sources += memtable.sources(epoch, start, end, reverse)
        sources += self._version.sources(start, end, reverse)
        for keys, records in without_tombstones(merge(sources, reverse)):
            yield keys, self._version.values(records)

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) with start ≤ key < end, in order, or from the last one back."""
        for keys, values in self.chunks(start, end, reverse=reverse):
            if reverse:
                yield from zip(reversed(keys), reversed(values), strict=True)
            else:
                yield from zip(keys, values, strict=True)
