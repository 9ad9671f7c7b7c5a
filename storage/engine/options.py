"""What can be chosen when an engine is opened."""

from collections.abc import Iterator
from typing import Final, get_args

import msgspec

from .compression import Codec
from .policy import tier_of
from .table_format import BLOCK_BYTES_MAX, RECORD_BYTES_MAX

_AT_LEAST: Final = {
    "memtable_bytes": 1,
    "memtables_max": 1,
    "block_bytes": 1,
    "scanned_block_bytes": 1,
    "compressed_block_bytes": 1,
    "table_bytes": 1,
    "tier_ratio": 2,
    "filter_bits": 1,
    "blob_bytes": 1,
    "cache_bytes": 0,
}
_AT_MOST: Final = {
    # What is shorter stays in the table, behind a byte that says so.
    "blob_bytes": RECORD_BYTES_MAX - 1,
    "block_bytes": BLOCK_BYTES_MAX,
    "scanned_block_bytes": BLOCK_BYTES_MAX,
    "compressed_block_bytes": BLOCK_BYTES_MAX,
}


class EngineOptions(msgspec.Struct, frozen=True):
    """Sizes are in bytes. Blocks are written as asked; reading needs no option.

    Raises `ValueError` for what no engine can do.

    `memtable_bytes`: a memtable of this size is frozen and flushed.
    `memtables_max`: so many frozen ones, and writes are refused (`WriteStalled`).
    `block_bytes`: what a block of a table aims at, before its checksum.
    `table_bytes`: what one file of a run aims at. One of values aims at the same, or at
    a memtable's bytes where these are more.
    `tier_ratio`: so many runs of one tier are merged into one.
    `filter_bits`: of the filter, for each key.
    `blob_bytes`: values of this size and more go into files of values; 16 KiB at most.
    `scanned`: keys that begin with one of these bytes are in no filter: they are hardly
    ever asked for by `get`, which then looks into a table of each run. Their blocks
    aim at `scanned_block_bytes`.
    `cache_bytes`: of the records that gets have found in tables and that are kept in
    memory, their overhead included; 0: none are.
    `compression`: how blocks of runs are written, by tier, the youngest first; the last
    one holds for all older ones. Compressed blocks aim at `compressed_block_bytes`
    before they are. Values in files of values are not compressed.
    """

    memtable_bytes: int = 16 << 20
    memtables_max: int = 3
    block_bytes: int = 2048
    scanned_block_bytes: int = 8192
    table_bytes: int = 64 << 20
    tier_ratio: int = 4
    filter_bits: int = 16
    blob_bytes: int = 16 << 10
    scanned: bytes = b""
    cache_bytes: int = 32 << 20
    compression: tuple[Codec, ...] = ("none",)
    compressed_block_bytes: int = 4096

    def __post_init__(self) -> None:
        wrong = next(self._wrong(), None)
        if wrong is not None:
            raise ValueError(wrong)

    def _wrong(self) -> Iterator[str]:
        for name, least in _AT_LEAST.items():
            value, most = getattr(self, name), _AT_MOST.get(name)
            if value < least:
                yield f"{name} is {value}, and must be {least} at least"
            if most is not None and value > most:
                yield f"{name} is {value}, and must be {most} at most"
        if not self.compression or not {*self.compression} <= {*get_args(Codec)}:
            yield f"compression is {self.compression}: one of {get_args(Codec)} each"

    @property
    def blob_file_bytes(self) -> int:
        """What a file of values aims at, a memtable's bytes at least.

        Of less than half a memtable they would be small ones, which merges write anew.
        """
        return max(self.table_bytes, self.memtable_bytes)

    def codec(self, size_bytes: int) -> Codec:
        """Of a run that is made of so many bytes."""
        tier = tier_of(size_bytes, self.memtable_bytes, self.tier_ratio)
        return self.compression[min(tier, len(self.compression) - 1)]
