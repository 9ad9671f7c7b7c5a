"""A version: the tables of one moment. Immutable; views hold one each.

Law: reads only. Runs are ordered from newest to oldest; the tables of one run ascend
and do not overlap, so each run has one table at most for a key.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final

from ..checksum import crc32
from ..env import Env
from ..errors import CorruptionError
from .blob import Blob, resolve
from .filter import GOLDEN, MASK64, TWO_BITS
from .manifest import BlobMeta, TableMeta
from .merge import Chunk
from .table import Table
from .table_format import BLOB_KIND, TOMBSTONE, VALUE_KIND

_KIND: Final = itemgetter(0)


class Run:
    """Tables that ascend and do not overlap."""

    __slots__ = ("entries", "last_keys", "size_bytes", "tables", "tombstones")

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self.last_keys = [table.meta.last for table in tables]
        self.size_bytes = sum(table.meta.size_bytes for table in tables)
        self.entries = sum(table.meta.entries for table in tables)
        self.tombstones = sum(table.meta.tombstones for table in tables)

    def metas(self) -> tuple[TableMeta, ...]:
        return tuple(table.meta for table in self.tables)

    def expanded_bytes(self, block_bytes: int) -> int:
        """About its size if it were written without compression, in such blocks."""
        return sum(table.expanded_bytes(block_bytes) for table in self.tables)

    def chunks(self, start: bytes, end: bytes | None, reverse: bool) -> Iterator[Chunk]:
        low = bisect_left(self.last_keys, start)
        tables = [
            table
            for table in self.tables[low:]
            if end is None or table.meta.first < end
        ]
        for table in reversed(tables) if reverse else tables:
            yield from table.chunks(start, end, reverse)


class Version:
    """`touched` counts the blocks that gets have read, for measurement."""

    __slots__ = ("_scanned", "blobs", "runs", "touched")

    def __init__(self, runs: Sequence[Run], blobs: Mapping[bytes, Blob]) -> None:
        self.runs = tuple(runs)
        self.blobs = blobs
        self.touched = 0
        # Keys that begin with one of these bytes are not in all filters.
        scanned = {n for table in self.tables() for n in table.properties.scanned}
        self._scanned = bytes(sorted(scanned))

    def get(self, key: bytes) -> bytes | None:
        """The newest record of `key`."""
        hashed = crc32(key) * GOLDEN & MASK64
        bits = TWO_BITS[hashed & 4095] | TWO_BITS[hashed >> 12 & 4095]
        if self._scanned and key[:1] in self._scanned:
            bits = 0  # of which no filter lacks any
        for run in self.runs:
            place = bisect_left(run.last_keys, key)
            if place == len(run.tables):
                continue
            table = run.tables[place]
            # Written out, as a call takes longer: this is what every read pays.
            words = table.words
            if words[(hashed >> 32) * len(words) >> 32] & bits == bits:
                self.touched += 1
                record = table.get(key)
                if record is not None:
                    return record
        return None

    def sources(
        self, start: bytes, end: bytes | None, reverse: bool
    ) -> list[Iterator[Chunk]]:
        return [run.chunks(start, end, reverse) for run in self.runs]

    def value(self, record: bytes) -> bytes | None:
        """What a record stands for; None: a deletion. Raises `CorruptionError`."""
        if record[0] == VALUE_KIND:
            return record[1:]
        return None if record == TOMBSTONE else resolve(self.blobs, record)

    def values(self, records: Sequence[bytes]) -> Iterable[bytes]:
        """What records stand for, each when it is its turn; none is a deletion."""
        blobs = self.blobs
        if not blobs or BLOB_KIND not in map(_KIND, records):
            return [record[1:] for record in records]
        # A few hundred large values at once would fill the memory.
        return (
            record[1:] if record[0] == VALUE_KIND else resolve(blobs, record)
            for record in records
        )

    def tables(self) -> list[Table]:
        return [table for run in self.runs for table in run.tables]

    def files(self) -> list[Table | Blob]:
        return [*self.tables(), *self.blobs.values()]


class DamagedVersion(Version):
    """Of a store that must not be answered from: every read says why."""

    __slots__ = ("damage",)

    def __init__(self, damage: CorruptionError) -> None:
        super().__init__([], {})
        self.damage = damage

    def get(self, key: bytes) -> bytes | None:
        del key
        raise self.damage

    def sources(
        self, start: bytes, end: bytes | None, reverse: bool
    ) -> list[Iterator[Chunk]]:
        del start, end, reverse
        raise self.damage


def open_file(env: Env, directory: str, meta: TableMeta | BlobMeta) -> Table | Blob:
    """Raises `CorruptionError`, `OSError`."""
    if isinstance(meta, BlobMeta):
        return Blob(env, directory, meta)
    return Table(env, directory, meta)


def open_version(
    env: Env,
    directory: str,
    runs: Iterable[tuple[TableMeta, ...]],
    blobs: Iterable[BlobMeta],
    opened: Version | None = None,
) -> Version:
    """The version of these files. What `opened` has is not opened again.

    Raises `CorruptionError`, `OSError`.
    """
    opened = opened or Version([], {})
    known_runs = {run.metas(): run for run in opened.runs}
    known_blobs = opened.blobs
    return Version(
        [
            known_runs.get(metas) or Run([Table(env, directory, m) for m in metas])
            for metas in runs
        ],
        {
            meta.file_id: known_blobs.get(meta.file_id) or Blob(env, directory, meta)
            for meta in blobs
        },
    )
