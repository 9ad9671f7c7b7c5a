"""Filters over keys: may a table have this key?

Law: pure. A blocked Bloom filter: all bits of a key lie in one 64-bit word, so that a
question costs one look (Putze, Sanders and Singler 2007). One cheap hash gives the
word and the bits: crc32, spread over 64 bits by the golden ratio (Knuth's
multiplicative hashing). With 16 bits a key about one question in 200 is answered by a
wrong "maybe"; there is no wrong "no".
"""

from array import array
from typing import Final

GOLDEN = 0x9E3779B97F4A7C15
MASK64 = (1 << 64) - 1
# Two bits of a word for each twelve bits of a hash. A lookup is written out where it is
# hot (version.Version.get): hash = crc32(key) * GOLDEN & MASK64; the upper half gives
# the word, the lowest 24 bits the four bits in it.
TWO_BITS = [1 << (n & 63) | 1 << (n >> 6) for n in range(4096)]


# So many hashes are made at once: as lanes of 64 bits in one large number, on which one
# operation of Python works on all. A sum or product of a lane never reaches the next.
_LANES: Final = 4096
_LOW: Final = GOLDEN & 0xFFFFFFFF
_HIGH: Final = GOLDEN >> 32


def _each(bits: int) -> int:
    """So many low bits of each lane."""
    return int.from_bytes(((1 << bits) - 1).to_bytes(8, "little") * _LANES, "little")


_EACH_32: Final = _each(32)
_EACH_12: Final = _each(12)


def build_filter(checksums: "array[int]", bits: int) -> bytes:
    """Words for keys, given crc32 of each, as an array of 64 bits; `bits` for a key."""
    words = array("Q", bytes(8 * max(1, (len(checksums) * bits + 63) // 64)))
    length = len(words)
    for start in range(0, len(checksums), _LANES):
        lanes = checksums[start : start + _LANES].tobytes()
        crcs, size = int.from_bytes(lanes, "little"), len(lanes)
        # crc * GOLDEN in two halves of 32 bits, without what is above 64.
        low = crcs * _LOW
        high = (low >> 32 & _EACH_32) + (crcs * _HIGH & _EACH_32) & _EACH_32
        for place, some, others in zip(
            _lanes(high * length >> 32 & _EACH_32, size),
            _lanes(low & _EACH_12, size),
            _lanes(low >> 12 & _EACH_12, size),
            strict=True,
        ):
            words[place] |= TWO_BITS[some] | TWO_BITS[others]
    return words.tobytes()


def _lanes(number: int, size: int) -> "array[int]":
    return array("Q", number.to_bytes(size, "little"))
