"""Large values, in files of their own, so that no compaction writes them again.

Law: a value is written once, at its flush; the record in the table is a reference that
says file, place, length and checksum, so that a value which is damaged, stale or of
another place is found out by whoever reads it. Only a file of which less than half is
still referred to, and several that are small, are written again, by the merges that
come across their references (policy.py).
Sources: WiscKey (Lu and others 2016), RocksDB's integrated BlobDB.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from operator import itemgetter
from typing import Final
from weakref import finalize

from .. import rules
from ..checksum import crc32
from ..env import Env, File
from ..errors import CorruptionError
from .manifest import BlobMeta
from .merge import Chunk
from .stored import Stored
from .table_format import BLOB_KIND, VALUE

FORMAT: Final = 1
_MAGIC: Final = b"QBLOBFL1"
_HEAD: Final = struct.Struct("<8sII16s")  # magic, format, zero, id
_ENTRY: Final = struct.Struct("<II")  # length, crc; then the value
_REFERENCE: Final = struct.Struct("<B16sQII")  # kind, file, offset, length, crc
VALUE_BYTES_MAX: Final = 64 << 20
# So much of them is written in one step of a job, and the value that reaches it.
_STEP_BYTES: Final = 1 << 20
_SYNC_BYTES: Final = 8 << 20


def referenced(record: bytes) -> tuple[bytes, int]:
    """(file, bytes there) of a reference."""
    _, file_id, _, length, _ = _REFERENCE.unpack(record)
    return file_id, _ENTRY.size + length


class BlobWriter:
    """Appends values to files, each made when its first one comes.

    A file ends with the value with which it reaches `file_bytes`. `size_bytes` are
    those of all files together, `paths` their names, also of one that failed.
    """

    def __init__(
        self, env: Env, work: str, ids: Callable[[], bytes], file_bytes: int
    ) -> None:
        self.size_bytes = 0
        self.paths: list[str] = []
        self._env = env
        self._work = work
        self._ids = ids
        self._file_bytes = file_bytes
        self._done: list[BlobMeta] = []
        self._id = b""
        self._file: File | None = None
        # Of this file, and how much of it is synced.
        self._written = self._synced = 0

    def put(self, value: bytes) -> bytes:
        """Append a value; the record that refers to it."""
        file = self._file or self._begin()
        offset, length, crc = self._written, len(value), crc32(value)
        file.write_at(offset, _ENTRY.pack(length, crc) + value)
        self._grow(_ENTRY.size + length)
        if self._written >= self._file_bytes:
            self._end(file)
        elif self._written - self._synced >= _SYNC_BYTES:
            self._sync(file)
        return _REFERENCE.pack(BLOB_KIND, self._id, offset, length, crc)

    def finish(self) -> tuple[BlobMeta, ...]:
        """Sync and close; what was written, if anything was."""
        if self._file is not None:
            self._end(self._file)
        return tuple(self._done)

    def _begin(self) -> File:
        self._id, self._written, self._synced = self._ids(), 0, 0
        path = f"{self._work}/{self._id.hex()}.blob"
        self.paths.append(path)
        self._file = file = self._env.open(path, create=True, exclusive=True)
        file.write_at(0, _HEAD.pack(_MAGIC, FORMAT, 0, self._id))
        self._grow(_HEAD.size)
        return file

    def _grow(self, size: int) -> None:
        self._written += size
        self.size_bytes += size

    def _end(self, file: File) -> None:
        if self._synced < self._written:
            self._sync(file)
        file.close()
        self._file = None
        self._done.append(BlobMeta(self._id, self._written))

    def _sync(self, file: File) -> None:
        """All of it at once, in the end, would hold up the syncs of others."""
        if rules.syncs_table_contents():
            file.sync()
        self._synced = self._written

    def abandon(self) -> None:
        """Close the file as it is; whoever made its name removes it."""
        if self._file is not None:
            self._file.close()


class Blob(Stored):
    """An open file of values."""

    __slots__ = ("meta",)

    def __init__(self, env: Env, directory: str, meta: BlobMeta) -> None:
        """Raises `CorruptionError` when the file is not what the manifest says."""
        self.meta = meta
        super().__init__(env, f"{directory}/{meta.name}", "a file of values")
        # Views may be the last to hold it.
        finalize(self, self._file.let_go)
        self._check_head()

    def _check_head(self) -> None:
        self._check_size(self.meta.size_bytes)
        expected = _HEAD.pack(_MAGIC, FORMAT, 0, self.meta.file_id)
        if self._bytes(0, _HEAD.size) != expected:
            raise CorruptionError(self.path, 0, "the head is of another file")

    def value(self, offset: int, length: int, crc: int) -> bytes:
        """The value of a reference. Raises `CorruptionError`."""
        data = self._bytes(offset, _ENTRY.size + length)
        value = data[_ENTRY.size :]
        whole = len(value) == length and crc32(value) == crc
        if not whole or data[: _ENTRY.size] != _ENTRY.pack(length, crc):
            raise CorruptionError(self.path, offset, "a value has a wrong checksum")
        return value

    def verify(self) -> Iterator[int]:
        """Check every byte, value by value; yields the bytes of each step."""
        yield from map(len, self.stream())

    def stream(self) -> Iterator[bytes]:
        """All bytes of the file in order, checked. Raises `CorruptionError`."""
        self._check_head()
        yield self._bytes(0, _HEAD.size)
        offset, size = _HEAD.size, self.meta.size_bytes
        while offset < size:
            head = self._bytes(offset, _ENTRY.size)
            if len(head) < _ENTRY.size:
                raise CorruptionError(self.path, offset, "a value ends early")
            length, crc = _ENTRY.unpack(head)
            if length > VALUE_BYTES_MAX:
                raise CorruptionError(self.path, offset, "a value is too long")
            value = self.value(offset, length, crc)
            offset += _ENTRY.size + length
            yield head + value


def resolve(blobs: Mapping[bytes, Blob], record: bytes) -> bytes:
    """The value that a record of kind BLOB stands for. Raises `CorruptionError`."""
    _, file_id, offset, length, crc = _REFERENCE.unpack(record)
    return blobs[file_id].value(offset, length, crc)


def separate(
    chunks: Iterator[Chunk], bytes_min: int, writer: BlobWriter
) -> Iterator[Chunk]:
    """For a flush: values of `bytes_min` and more become references."""

    def put(record: bytes) -> bytes:
        large = len(record) > bytes_min and record[:1] == VALUE
        return writer.put(record[1:]) if large else record

    for keys, records in chunks:
        if max(map(len, records)) > bytes_min:
            yield from _step_by_step(keys, records, put, writer)
        else:
            yield keys, records


def rewrite(
    chunks: Iterator[Chunk],
    blobs: Mapping[bytes, Blob],
    sparse: Collection[bytes],
    writer: BlobWriter,
) -> Iterator[Chunk]:
    """For a merge: what lies in the files `sparse` is written again."""

    def put(record: bytes) -> bytes:
        moves = record[0] == BLOB_KIND and referenced(record)[0] in sparse
        return writer.put(resolve(blobs, record)) if moves else record

    for keys, records in chunks:
        if BLOB_KIND in map(itemgetter(0), records):
            yield from _step_by_step(keys, records, put, writer)
        else:
            yield keys, records


def _step_by_step(
    keys: list[bytes],
    records: list[bytes],
    put: Callable[[bytes], bytes],
    writer: BlobWriter,
) -> Iterator[Chunk]:
    """What `put` makes of the records, in chunks of so many bytes written by it."""
    done: list[bytes] = []
    start, before = 0, writer.size_bytes
    for number, record in enumerate(records, start=1):
        done.append(put(record))
        if writer.size_bytes - before >= _STEP_BYTES or number == len(records):
            yield keys[start:number], done
            start, done, before = number, [], writer.size_bytes
