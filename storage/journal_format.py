"""The bytes of the journal (docs/formats.md section 4).

Law: bytes and values only. Numbers are permanent; formats only grow.
"""

import struct
from collections.abc import Iterable
from typing import Protocol

import msgspec

from .checksum import crc32

BLOCK_BYTES = 4096
FORMAT = 1
FLAG_RESET = 1
FLAG_ABANDONS = 2

_HEAD_MAGIC = 0x31424A51  # "QJB1"
_FOOT_MAGIC = 0x31464A51  # "QJF1"
_HEAD_START = _HEAD_MAGIC.to_bytes(4, "little")
_FOOT_START = _FOOT_MAGIC.to_bytes(4, "little")
# magic, format, flags, salt, segment, batch, durable, previous_crc, body_length,
# body_crc, entry_count, term, vote, commit, base_index, base_term, first_index,
# last_index, last_term, doubt_term, doubt_index; then the crc of all that
_HEAD = struct.Struct("<IHHQQQQIIIIQQQQQQQQQQ")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
# magic, head_crc, salt, segment, batch, term, vote, last_index, last_term; then crc
_FOOT = struct.Struct("<IIQQQQQQQ")
FOOT_BYTES = _FOOT.size + _CRC.size
_ENTRY = struct.Struct("<IB3xQ")
ENTRY_HEAD_BYTES = _ENTRY.size


class Head(msgspec.Struct, frozen=True, gc=False):
    """A batch's head, all fields of it but magic and format."""

    flags: int
    salt: int
    segment: int
    batch: int
    durable: int
    previous_crc: int
    body_length: int
    body_crc: int
    entry_count: int
    term: int
    vote: int
    commit_index: int
    base_index: int
    base_term: int
    first_index: int
    last_index: int
    last_term: int
    doubt_term: int
    doubt_index: int


class Foot(msgspec.Struct, frozen=True, gc=False):
    """A batch's identity at its tail, for when the head is damaged."""

    head_crc: int
    salt: int
    segment: int
    batch: int
    term: int
    vote: int
    last_index: int
    last_term: int


class EntryLike(Protocol):
    """What the journal needs of a log entry."""

    @property
    def term(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry as it came back from the disk."""

    index: int
    term: int
    kind: int
    data: bytes


def encode_entries(entries: Iterable[EntryLike]) -> bytes:
    """entry = length u32 | kind u8 | zero u8[3] | term u64 | data; entry*."""
    pack = _ENTRY.pack
    parts: list[bytes] = []
    for entry in entries:
        data = entry.data
        parts.append(pack(len(data), entry.kind, entry.term))
        parts.append(data)
    return b"".join(parts)


def decode_entries(body: bytes, first_index: int, count: int) -> list[JournalEntry]:
    """Exactly `count` entries; ValueError when the bytes are not that."""
    entries: list[JournalEntry] = []
    offset, size = 0, len(body)
    unpack = _ENTRY.unpack_from
    for index in range(first_index, first_index + count):
        if size - offset < ENTRY_HEAD_BYTES:
            raise ValueError("the entries end early")
        length, kind, term = unpack(body, offset)
        offset += ENTRY_HEAD_BYTES
        if size - offset < length:
            raise ValueError("an entry ends early")
        entries.append(JournalEntry(index, term, kind, body[offset : offset + length]))
        offset += length
    if offset != size:
        raise ValueError("bytes after the last entry")
    return entries


def extent(body_length: int) -> int:
    """The bytes that a batch takes: head, body, foot, padded to whole blocks."""
    used = HEAD_BYTES + body_length + FOOT_BYTES
    return -(-used // BLOCK_BYTES) * BLOCK_BYTES


def encode_batch(head: Head, body: bytes) -> tuple[bytes, int]:
    """The batch's whole extent, and its head's crc (the next one chains to it)."""
    packed = _HEAD.pack(_HEAD_MAGIC, FORMAT, *msgspec.structs.astuple(head))
    head_crc = crc32(packed)
    foot = _FOOT.pack(
        _FOOT_MAGIC,
        head_crc,
        head.salt,
        head.segment,
        head.batch,
        head.term,
        head.vote,
        head.last_index,
        head.last_term,
    )
    padding = extent(len(body)) - HEAD_BYTES - len(body) - FOOT_BYTES
    data = b"".join(
        (
            packed,
            _CRC.pack(head_crc),
            body,
            bytes(padding),
            foot,
            _CRC.pack(crc32(foot)),
        )
    )
    return data, head_crc


def decode_head(data: bytes, offset: int) -> tuple[Head, int] | None:
    """The head at `offset` and its crc, or None when no whole head is there."""
    if not data.startswith(_HEAD_START, offset):
        return None
    packed = data[offset : offset + _HEAD.size]
    tail = data[offset + _HEAD.size : offset + HEAD_BYTES]
    if len(tail) < _CRC.size:
        return None
    fields = _HEAD.unpack(packed)
    head_crc: int = _CRC.unpack(tail)[0]
    if crc32(packed) != head_crc:
        return None
    if fields[1] != FORMAT:
        raise ValueError(f"journal format {fields[1]} is not known to this version")
    return Head(*fields[2:]), head_crc


def salt_at(data: bytes, offset: int) -> int:
    """The salt of the head at `offset`: in the same place in every format."""
    return int.from_bytes(data[offset + 8 : offset + 16], "little")


def decode_foot(data: bytes, end: int) -> Foot | None:
    """The foot that ends at `end`, or None."""
    if not data.startswith(_FOOT_START, max(end - FOOT_BYTES, 0)):
        return None
    packed = data[end - FOOT_BYTES : end - _CRC.size]
    if len(packed) < _FOOT.size:
        return None
    fields = _FOOT.unpack(packed)
    if crc32(packed) != _CRC.unpack(data[end - _CRC.size : end])[0]:
        return None
    return Foot(*fields[1:])


def segment_name(sequence: int) -> str:
    return f"{sequence:016x}.seg"


def segment_sequence(name: str) -> int | None:
    """The sequence of a segment's file name; None for other names."""
    stem, dot, ending = name.partition(".")
    if ending != "seg" or not dot or len(stem) != 16:
        return None
    if any(c not in "0123456789abcdef" for c in stem):
        return None
    return int(stem, 16)
