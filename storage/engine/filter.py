"""Filters over keys: may a table have this key?

Law: pure. A blocked Bloom filter: all bits of a key lie in one 64-bit word, so that a
question costs one look (Putze, Sanders and Singler 2007). One cheap hash gives the
word and the bits: crc32, spread over 64 bits by the golden ratio (Knuth's
multiplicative hashing). With 16 bits a key about one question in 200 is answered by a
wrong "maybe"; there is no wrong "no".
"""

from array import array
from collections.abc import Iterable

GOLDEN = 0x9E3779B97F4A7C15
MASK64 = (1 << 64) - 1
# Two bits of a word for each twelve bits of a hash. A lookup is written out where it is
# hot (version.Version.get): hash = crc32(key) * GOLDEN & MASK64; the upper half gives
# the word, the lowest 24 bits the four bits in it.
TWO_BITS = [1 << (n & 63) | 1 << (n >> 6) for n in range(4096)]


def build_filter(checksums: Iterable[int], count: int, bits: int) -> bytes:
    """Words for `count` keys, given crc32 of each; `bits` for each key."""
    words = array("Q", bytes(8 * max(1, (count * bits + 63) // 64)))
    length = len(words)
    for checksum in checksums:
        hashed = checksum * GOLDEN & MASK64
        words[(hashed >> 32) * length >> 32] |= (
            TWO_BITS[hashed & 4095] | TWO_BITS[hashed >> 12 & 4095]
        )
    return words.tobytes()
