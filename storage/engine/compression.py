"""How a block's bytes become fewer, and come back.

Law: pure. What is compressed has its checksums over the compressed bytes, which are
compared before anything here sees them. Whatever the bytes are, not more comes back
than a block can have.
"""

import threading
from typing import Final, Literal, TypeAlias

import zstandard

# What a run's blocks are written with.
Codec: TypeAlias = Literal["none", "zstd"]
# Of blocks of some KiB, higher ones take longer and make hardly less of them.
_LEVEL: Final = 1


class _Own(threading.local):
    """To make these takes longer than a block; they let other threads run meanwhile."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_OWN: Final = _Own()


def compress(data: bytes) -> bytes:
    """One frame of zstd (RFC 8878) that says how long its content is."""
    return _OWN.compressor.compress(data)


def expand(data: bytes, length: int) -> bytes:
    """What `data` was before, of `length` bytes; raises `ValueError` if it was not."""
    try:
        told = zstandard.frame_content_size(data)
        if told != length:
            raise ValueError(f"{told} bytes, not {length}")
        return _OWN.decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
