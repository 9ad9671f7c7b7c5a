"""A checkpoint: the whole state machine at one index, as bytes (docs/formats.md 5).

Law: pure; bytes in pieces, so that the shell can write, send and read them a slice at a
time. Nothing of a checkpoint is believed before its last byte, the hash of all of it,
was right (I-51). Sources: dissertation section 5.
"""

import struct
from collections.abc import Iterator
from hashlib import blake2b
from zlib import crc32

import msgspec

from . import rules
from .core import Database, Meta
from .records import HEAD_BYTES, decode_record
from .store import MemoryStore, View

MAGIC = b"QCK1"
_PREFIX = struct.Struct("<4sHHI")  # magic, format, zero, header length
_BLOCK = struct.Struct("<II")  # length, crc32; length 0 ends
_RECORD = struct.Struct("<HHI")  # key length, zero, record length; then both
FORMAT = 1
HASH_BYTES = 32
BLOCK_BYTES = 64 << 10
BLOCK_BYTES_MAX = 8 << 20
HEADER_BYTES_MAX = 1 << 20


class DamagedCheckpoint(Exception):
    """The bytes are not a whole checkpoint: the reason."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What the checkpoint is of. `configuration` is as in CONFIGURATION entries."""

    cluster_id: int
    store: int
    index: int
    term: int
    configuration: bytes
    revision: int
    cluster_time_ms: int
    chain: int
    digest_sum: bytes
    count: int


def header_of(cluster_id: int, configuration: bytes, meta: Meta, count: int) -> Header:
    return Header(
        cluster_id,
        1,
        meta.applied_index,
        meta.applied_term,
        configuration,
        meta.revision,
        meta.cluster_time_ms,
        meta.chain,
        meta.digest_sum.to_bytes(16, "little"),
        count,
    )


def write_checkpoint(header: Header, view: View) -> Iterator[bytes]:
    """The checkpoint's bytes in pieces of about 64 KiB, the hash last."""
    state = blake2b(digest_size=HASH_BYTES)
    packed = msgspec.msgpack.encode(header)
    prefix = _PREFIX.pack(MAGIC, FORMAT, 0, len(packed)) + packed
    piece = prefix + crc32(prefix).to_bytes(4, "little")
    state.update(piece)
    yield piece
    parts: list[bytes] = []
    size = 0
    for key, record in view.records():
        parts += (_RECORD.pack(len(key), 0, len(record)), key, record)
        size += _RECORD.size + len(key) + len(record)
        if size >= BLOCK_BYTES:
            piece = _block(parts)
            state.update(piece)
            yield piece
            parts, size = [], 0
    if parts:
        piece = _block(parts)
        state.update(piece)
        yield piece
    piece = _BLOCK.pack(0, 0)
    state.update(piece)
    yield piece + state.digest()


def _block(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return _BLOCK.pack(len(body), crc32(body)) + body


class CheckpointReader:
    """Builds a database from a checkpoint that arrives in pieces of any size."""

    def __init__(self, cluster_id: int) -> None:
        self.cluster_id = cluster_id
        self.header: Header | None = None
        self.buffer = bytearray()
        self.state = blake2b(digest_size=HASH_BYTES)
        self.store = MemoryStore()
        self.records = 0
        self.digest_sum = 0
        self.ended = False
        self.whole = False

    def feed(self, data: bytes) -> None:
        """Take the next piece; raises DamagedCheckpoint."""
        if self.whole and data:
            raise DamagedCheckpoint("bytes after the end")
        self.buffer += data
        while self._step():
            pass

    def finish(self) -> Database:
        """The database, once everything was right."""
        header = self.header
        if not self.whole or header is None:
            raise DamagedCheckpoint("it ends early")
        if self.records != header.count:
            raise DamagedCheckpoint("the number of records is wrong")
        total = int.from_bytes(header.digest_sum, "little")
        if not rules.checkpoint_matches(total, self.digest_sum % (1 << 128)):
            raise DamagedCheckpoint("the records' digests do not add up")
        self.store.applied_index = header.index
        return Database(
            self.store,
            Meta(
                header.index,
                header.term,
                header.revision,
                header.cluster_time_ms,
                header.chain,
                total,
            ),
        )

    def _step(self) -> bool:
        if self.header is None:
            return self._read_header()
        if self.ended:
            return self._read_hash()
        return self._read_block()

    def _take(self, length: int, hashed: bool = True) -> bytes:
        piece = bytes(self.buffer[:length])
        del self.buffer[:length]
        if hashed:
            self.state.update(piece)
        return piece

    def _read_header(self) -> bool:
        if len(self.buffer) < _PREFIX.size:
            return False
        magic, form, zero, length = _PREFIX.unpack_from(self.buffer)
        if magic != MAGIC or form != FORMAT or zero or length > HEADER_BYTES_MAX:
            raise DamagedCheckpoint("it does not begin as a checkpoint")
        total = _PREFIX.size + length
        if len(self.buffer) < total + 4:
            return False
        packed = bytes(self.buffer[:total])
        crc = int.from_bytes(self.buffer[total : total + 4], "little")
        if not rules.checkpoint_matches(crc, crc32(packed)):
            raise DamagedCheckpoint("the header's crc is wrong")
        try:
            header = msgspec.msgpack.decode(packed[_PREFIX.size :], type=Header)
        except msgspec.MsgspecError as error:
            raise DamagedCheckpoint(f"the header is malformed: {error}") from error
        if header.cluster_id != self.cluster_id or header.store != 1:
            raise DamagedCheckpoint("it is of another cluster or store")
        self._take(total + 4)
        self.header = header
        return True

    def _read_block(self) -> bool:
        if len(self.buffer) < _BLOCK.size:
            return False
        length, crc = _BLOCK.unpack_from(self.buffer)
        if length > BLOCK_BYTES_MAX:
            raise DamagedCheckpoint("a block is too long")
        if len(self.buffer) < _BLOCK.size + length:
            return False
        self._take(_BLOCK.size)
        if length == 0:
            self.ended = True
            return True
        body = self._take(length)
        if not rules.checkpoint_matches(crc, crc32(body)):
            raise DamagedCheckpoint("a block's crc is wrong")
        self._read_records(body)
        return True

    def _read_records(self, body: bytes) -> None:
        table: dict[bytes, bytes | None] = {}
        offset, size = 0, len(body)
        while offset < size:
            if size - offset < _RECORD.size:
                raise DamagedCheckpoint("a record ends early")
            key_length, zero, length = _RECORD.unpack_from(body, offset)
            start = offset + _RECORD.size
            middle, offset = start + key_length, start + key_length + length
            if zero or offset > size or length < HEAD_BYTES or not key_length:
                raise DamagedCheckpoint("a record is malformed")
            record = body[middle:offset]
            table[body[start:middle]] = record
            self.digest_sum += decode_record(record).digest
            self.records += 1
        self.store.write(table, 0)

    def _read_hash(self) -> bool:
        if self.whole or len(self.buffer) < HASH_BYTES:
            return False
        expected = self._take(HASH_BYTES, hashed=False)
        if not rules.checkpoint_matches(expected, self.state.digest()):
            raise DamagedCheckpoint("the hash of the whole is wrong")
        if self.buffer:
            raise DamagedCheckpoint("bytes after the end")
        self.whole = True
        return False
