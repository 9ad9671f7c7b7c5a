"""The bytes of an sstable (docs/formats.md section 8).

Law: bytes and values only. A table is blocks | index | filter | properties | footer.
Each block says which file and which block it is, ends with its own checksum, and has
another one in its parent, the index; the footer has those of the other sections, and
the manifest has the footer's. So a block that is damaged, stale, or of another place
or file is found out by whoever asked for it.
"""

import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate, islice
from operator import ge
from typing import Final

import msgspec

from ..checksum import crc32
from ..errors import CorruptionError
from .compression import compress, expand

# Twice the 4 KiB of a key whose every byte is escaped, and what stands behind it.
KEY_BYTES_MAX: Final = 8256
RECORD_BYTES_MAX: Final = 16385
ID_BYTES: Final = 16
CRC_BYTES: Final = 4
# Of tables without and with compressed blocks.
FORMAT: Final = 1
FORMAT_COMPRESSED: Final = 2

# The first byte of a record says what the rest is.
VALUE: Final = b"\0"
VALUE_KIND: Final = VALUE[0]
TOMBSTONE: Final = b"\1"
BLOB: Final = b"\2"
BLOB_KIND: Final = BLOB[0]

_BLOCK: Final = struct.Struct("<QIHH")  # file, number, count, codec
BLOCK_HEAD_BYTES: Final = _BLOCK.size
# Where the codec is told: of two bytes the one that is not always 0.
CODEC_AT: Final = BLOCK_HEAD_BYTES - 2
_PLAIN, _ZSTD = 0, 1
# How long what is compressed was.
_EXPANDED: Final = struct.Struct("<H")
# A block is compressed if that saves so much: an eighth.
_WORTH: Final = 8
_CRC: Final = struct.Struct("<I")
# Where an entry's key begins and its record, then where both end.
_TWO_PAIRS: Final = struct.Struct("<HHHH")
# Two offsets; what an entry takes beside its bytes is these and its number.
ENTRY_BYTES: Final = 4
_BESIDE_ENTRY: Final = ENTRY_BYTES + 2
# Its head, the last two offsets, its checksum; in the index length, checksum, and how
# long the first key is, which follows.
_BESIDE_BLOCK: Final = BLOCK_HEAD_BYTES + ENTRY_BYTES + CRC_BYTES + 4 + 4 + 2
# What offsets of 16 bits reach; a block ends with the entry that fills it. Beside the
# bytes of keys and records it has its head, an entry's six bytes, the last two offsets.
BLOCK_BYTES_MAX: Final = (
    65535 - KEY_BYTES_MAX - RECORD_BYTES_MAX - BLOCK_HEAD_BYTES - 2 * ENTRY_BYTES - 2
)
# No key is nearer to the begin of a block: its head, two pairs, a number.
_FIRST_KEY: Final = BLOCK_HEAD_BYTES + 2 * ENTRY_BYTES + 2
_NUMBERS: Final = [n.to_bytes(2, "little") for n in range(BLOCK_BYTES_MAX // 4)]
# One layout for each number of entries a block may have; made when first needed.
_PAIRS: Final[dict[int, struct.Struct]] = {}

_MAGIC: Final = b"QSSTABL1"
# magic, format, zero, file id, then offset, length and crc of three sections
_FOOTER: Final = struct.Struct("<8sII16sQQIQQIQQI")
FOOTER_BYTES: Final = _FOOTER.size + CRC_BYTES
# The largest place that four bytes tell.
_SMALL_MAX: Final = (1 << 32) - 1


class Properties(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a table says of itself; a msgpack map, which may grow.

    `scanned`: keys that begin with one of these bytes are not in its filter.
    `compressed`: so many of its blocks are.
    """

    entries: int
    tombstones: int
    blocks: int
    key_bytes: int
    record_bytes: int
    first: bytes
    last: bytes
    scanned: bytes = b""
    compressed: int = 0


def blocks_bytes(properties: Properties, block_bytes: int) -> int:
    """About what blocks of `block_bytes` and their index take, not compressed."""
    entries = properties.entries
    size = properties.key_bytes + properties.record_bytes + entries * _BESIDE_ENTRY
    key_bytes = properties.key_bytes // max(1, entries)
    # All but the last one have the bytes that they aim at, or more, and an entry.
    blocks = min(size // block_bytes + 1, entries)
    return size + blocks * (_BESIDE_BLOCK + key_bytes)


class Section(msgspec.Struct, frozen=True, gc=False):
    offset: int
    length: int
    crc: int


class Footer(msgspec.Struct, frozen=True, gc=False):
    file_id: bytes
    index: Section
    filter: Section
    properties: Section
    version: int = FORMAT


class Index(msgspec.Struct, frozen=True, gc=False):
    """The parent of the blocks. `offsets` has one more, the end of the last block."""

    first_keys: list[bytes]
    offsets: "array[int]"
    crcs: "array[int]"


def _pairs(count: int) -> struct.Struct:
    layout = _PAIRS.get(count)
    if layout is None:
        layout = _PAIRS[count] = struct.Struct(f"<{2 * count}H")
    return layout


def short_id(file_id: bytes) -> int:
    """What a block carries of its file's id."""
    return int.from_bytes(file_id[:8], "little")


def encode_block(
    file: int, number: int, keys: Sequence[bytes], records: Sequence[bytes]
) -> bytes:
    """A block without its checksum; keys ascend, none is empty."""
    count = len(keys)
    keys_at = BLOCK_HEAD_BYTES + ENTRY_BYTES * (count + 1)
    # Each key stands behind its own number: whoever finds the bytes can tell at once
    # whether they are a whole key, and which.
    column = [b""] * (2 * count)
    column[::2] = _NUMBERS[:count]
    column[1::2] = keys
    pairs = [0] * (2 * count + 2)
    ends = [*accumulate([len(key) + 2 for key in keys], initial=keys_at)]
    pairs[::2] = ends
    pairs[1::2] = accumulate(map(len, records), initial=ends[-1])
    return b"".join(
        (
            _BLOCK.pack(file, number, count, _PLAIN),
            _pairs(count + 1).pack(*pairs),
            *column,
            *records,
        )
    )


def compressed_block(block: bytes) -> bytes:
    """A block with fewer bytes that says the same; the same block if it has none."""
    body = block[BLOCK_HEAD_BYTES:]
    small = compress(body)
    if len(small) > len(body) - len(body) // _WORTH:
        return block
    codec = _ZSTD.to_bytes(BLOCK_HEAD_BYTES - CODEC_AT, "little")
    return b"".join((block[:CODEC_AT], codec, _EXPANDED.pack(len(body)), small))


def expanded_block(block: bytes, path: str, offset: int) -> bytes:
    """What a checked block, whose codec is told to be another than none, was.

    Raises `CorruptionError`.
    """
    *_, codec = _BLOCK.unpack_from(block)
    if codec != _ZSTD:
        raise CorruptionError(path, offset, f"unknown codec {codec}")
    (length,) = _EXPANDED.unpack_from(block, BLOCK_HEAD_BYTES)
    try:
        body = expand(block[BLOCK_HEAD_BYTES + _EXPANDED.size :], length)
    except ValueError as error:
        raise CorruptionError(path, offset, f"a compressed block: {error}") from None
    return block[:BLOCK_HEAD_BYTES] + body


def find_record(block: bytes, key: bytes) -> bytes | None:
    """The record of `key` in a checked block that is not compressed, or None.

    Nothing else is decoded.
    """
    at = block.find(key, _FIRST_KEY)
    while at >= 0:
        number = block[at - 2] | block[at - 1] << 8
        # The bytes of a key may also stand inside another one, across two, or in a
        # record: then they are not where their number's offsets say.
        if number < block[12] | block[13] << 8:
            key_at, low, key_end, high = _TWO_PAIRS.unpack_from(
                block, BLOCK_HEAD_BYTES + ENTRY_BYTES * number
            )
            if key_at + 2 == at and key_end == at + len(key):
                return block[low:high]
        at = block.find(key, at + 1)
    return None


def decode_block(block: bytes) -> tuple[list[bytes], list[bytes]]:
    """Keys and records of a checked block that is not compressed."""
    count = block[12] | block[13] << 8
    ends = _pairs(count + 1).unpack_from(block, BLOCK_HEAD_BYTES)
    low, at = ends[0], ends[1]
    keys: list[bytes] = []
    records: list[bytes] = []
    for end in ends[2::2]:
        keys.append(block[low + 2 : end])
        low = end
    for end in ends[3::2]:
        records.append(block[at:end])
        at = end
    return keys, records


def check_block(block: bytes, file: int, number: int, path: str, offset: int) -> None:
    """Does a block whose checksum is right stand where it belongs, by its own words?"""
    found_file, found_number, count, codec = _BLOCK.unpack_from(block)
    if (found_file, found_number) != (file, number):
        raise CorruptionError(
            path, offset, f"block {number} is block {found_number} of another place"
        )
    if codec not in (_PLAIN, _ZSTD) or not count:
        raise CorruptionError(path, offset, f"unknown codec {codec} or empty block")


def seal(data: bytes) -> bytes:
    """A section's own checksum, to stand behind it."""
    return _CRC.pack(crc32(data))


def own_crc(data: bytes) -> int:
    """The checksum that a sealed section says it has."""
    return _CRC.unpack_from(data, len(data) - CRC_BYTES)[0]


def encode_index(
    first_keys: Sequence[bytes], lengths: Sequence[int], crcs: Sequence[int]
) -> bytes:
    """`lengths` without the four bytes of each block's own checksum."""
    count = len(first_keys)
    return b"".join(
        (
            _CRC.pack(count),
            struct.pack(f"<{count}I", *lengths),
            struct.pack(f"<{count}I", *crcs),
            struct.pack(f"<{count}H", *map(len, first_keys)),
            *first_keys,
        )
    )


def decode_index(data: bytes, path: str, offset: int) -> Index:
    """Raises `CorruptionError` when it does not add up, whatever its checksum says."""
    try:
        (count,) = _CRC.unpack_from(data)
        lengths = struct.unpack_from(f"<{count}I", data, 4)
        crcs = array("I", struct.unpack_from(f"<{count}I", data, 4 + 4 * count))
        sizes = struct.unpack_from(f"<{count}H", data, 4 + 8 * count)
    except struct.error as error:
        raise CorruptionError(path, offset, f"index: {error}") from None
    at = 4 + 10 * count
    keys: list[bytes] = []
    for size in sizes:
        keys.append(data[at : at + size])
        at += size
    if at != len(data) or any(map(ge, keys, islice(keys, 1, None))):
        raise CorruptionError(path, offset, "the index does not add up")
    ends = accumulate((length + CRC_BYTES for length in lengths), initial=0)
    # There are many of them in memory, and hardly ever a table that needs the larger.
    offsets = array("I" if offset <= _SMALL_MAX else "Q", ends)
    return Index(keys, offsets, crcs)


def encode_footer(footer: Footer) -> bytes:
    parts = (footer.index, footer.filter, footer.properties)
    numbers = [n for s in parts for n in (s.offset, s.length, s.crc)]
    data = _FOOTER.pack(_MAGIC, footer.version, 0, footer.file_id, *numbers)
    return data + seal(data)


def decode_footer(data: bytes, path: str, offset: int) -> Footer:
    if len(data) != FOOTER_BYTES or own_crc(data) != crc32(data[:-CRC_BYTES]):
        raise CorruptionError(path, offset, "the footer's checksum is wrong")
    magic, version, zero, file_id, *numbers = _FOOTER.unpack_from(data)
    if (magic, zero) != (_MAGIC, 0) or not FORMAT <= version <= FORMAT_COMPRESSED:
        raise CorruptionError(
            path, offset, f"not a table of format {FORMAT} or {FORMAT_COMPRESSED}"
        )
    sections = [Section(*numbers[n : n + 3]) for n in (0, 3, 6)]
    return Footer(file_id, *sections, version=version)
