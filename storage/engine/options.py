"""What can be chosen when an engine is opened."""

import msgspec

from .compression import Codec
from .policy import tier_of


class EngineOptions(msgspec.Struct, frozen=True):
    """Sizes are in bytes. Blocks are written as asked; reading needs no option.

    `memtable_bytes`: a memtable of this size is frozen and flushed.
    `memtables_max`: so many frozen ones, and writes are refused (`WriteStalled`).
    `block_bytes`: what a block of a table aims at, before its checksum.
    `table_bytes`: what one file of a run aims at.
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

    def codec(self, size_bytes: int) -> Codec:
        """Of a run that is made of so many bytes."""
        tier = tier_of(size_bytes, self.memtable_bytes, self.tier_ratio)
        return self.compression[min(tier, len(self.compression) - 1)]
