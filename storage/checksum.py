"""CRC-32, which every file of this package and every read of a table is checked with.

Law: one function, the CRC-32 of RFC 1952 as zlib has it. Where the processor has a
wheel of ISA-L, that is asked: it takes a quarter of the time for a block of 2 KiB.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zlib import crc32
else:
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32

__all__ = ["crc32"]
