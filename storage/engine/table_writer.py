"""Writes one sstable, from sorted entries handed in by the window.

Law: nothing is written twice and nothing is read. The file is complete and synced when
`finish` returns; before that it is nobody's, and may be left behind anywhere.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, repeat
from operator import add

import msgspec

from .. import rules
from ..checksum import crc32
from ..env import Env
from .blob import referenced
from .compression import Codec
from .filter import build_filter
from .manifest import TableMeta
from .options import EngineOptions
from .table_format import (
    BLOB_KIND,
    BLOCK_BYTES_MAX,
    CODEC_AT,
    CRC_BYTES,
    ENTRY_BYTES,
    FOOTER_BYTES,
    FORMAT,
    FORMAT_COMPRESSED,
    TOMBSTONE,
    Footer,
    Properties,
    Section,
    compressed_block,
    encode_block,
    encode_footer,
    encode_index,
    own_crc,
    seal,
    short_id,
)

_WRITE_BYTES = 1 << 20
_SYNC_BYTES = 8 << 20
# Two offsets and a number, beside the bytes of an entry.
_ENTRY_BYTES = ENTRY_BYTES + 2


class TableWriter:
    """`size_bytes` is what has been given to it so far, as it will be on the disk."""

    def __init__(
        self,
        env: Env,
        path: str,
        file_id: bytes,
        options: EngineOptions,
        codec: Codec = "none",
    ) -> None:
        self._block_bytes = options.block_bytes
        self._scanned_block_bytes = options.scanned_block_bytes
        self._compresses = codec == "zstd"
        if self._compresses:
            self._block_bytes = options.compressed_block_bytes
            self._scanned_block_bytes = options.compressed_block_bytes
        assert self._block_bytes <= BLOCK_BYTES_MAX
        assert self._scanned_block_bytes <= BLOCK_BYTES_MAX
        self.path = path
        self.size_bytes = 0
        self._options = options
        self._id = file_id
        self._short = short_id(file_id)
        self._file = env.open(path, create=True, exclusive=True)
        self._written = self._synced = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._keys: list[bytes] = []
        self._records: list[bytes] = []
        self._first_keys: list[bytes] = []
        self._lengths = array("I")
        self._crcs = array("I")
        self._key_crcs = array("Q")
        self._entries = self._tombstones = self._key_bytes = self._record_bytes = 0
        self._compressed = 0
        self._last = b""
        self._blobs: Counter[bytes] = Counter()

    def add(self, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
        """Append entries; all keys are above those that came before."""
        self._last = keys[-1]
        self._entries += len(keys)
        scanned = self._options.scanned
        if scanned:
            self._key_crcs.extend([crc32(k) for k in keys if k[0] not in scanned])
        else:
            self._key_crcs.extend(map(crc32, keys))
        self._tombstones += records.count(TOMBSTONE)
        for record in [r for r in records if r[0] == BLOB_KIND]:
            file_id, size = referenced(record)
            self._blobs[file_id] += size
        self._key_bytes += sum(map(len, keys))
        self._record_bytes += sum(map(len, records))
        if self._keys:
            keys, records = [*self._keys, *keys], [*self._records, *records]
        lengths = map(add, map(len, keys), map(len, records))
        sizes = [*accumulate(map(add, lengths, repeat(_ENTRY_BYTES)))]
        start, done, count = 0, 0, len(keys)
        while start < count:
            size = self._block_bytes
            if keys[start][0] in scanned:
                size = self._scanned_block_bytes
            if sizes[-1] - done < size:
                break
            # The entry that reaches the block's size is its last one, and a block has
            # one at least. The offsets of 64 KiB are never reached.
            stop = bisect_left(sizes, done + size, start) + 1
            self._block(keys[start:stop], records[start:stop])
            start, done = stop, sizes[stop - 1]
        self._keys, self._records = list(keys[start:]), list(records[start:])
        if self._pending_bytes >= _WRITE_BYTES:
            self._drain()

    def _block(self, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
        block = encode_block(self._short, len(self._first_keys), keys, records)
        if self._compresses:
            block = compressed_block(block)
            self._compressed += block[CODEC_AT] != 0
        self._first_keys.append(keys[0])
        self._lengths.append(len(block))
        crc = crc32(block)
        self._crcs.append(crc)
        self._put(block)
        self._put(crc.to_bytes(CRC_BYTES, "little"))

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size_bytes += len(data)

    def _drain(self) -> None:
        data = b"".join(self._pending)
        self._file.write_at(self._written, data)
        self._written += len(data)
        self._pending.clear()
        self._pending_bytes = 0
        if self._written - self._synced >= _SYNC_BYTES:
            self._sync()

    def _sync(self) -> None:
        """All of it at once, in the end, would hold up the syncs of others."""
        if rules.syncs_table_contents():
            self._file.sync()
        self._synced = self._written

    def _section(self, data: bytes) -> Section:
        section = Section(self.size_bytes, len(data), crc32(data))
        self._put(data)
        self._put(seal(data))
        return section

    def finish(self) -> TableMeta:
        """Write what is left, sync, close; the parent's description of the table."""
        if self._keys:
            self._block(self._keys, self._records)
        assert self._first_keys, "a table has an entry"
        entries, crcs, options = self._entries, self._key_crcs, self._options
        first = self._first_keys[0]
        index = encode_index(self._first_keys, self._lengths, self._crcs)
        words = build_filter(crcs, options.filter_bits)
        properties = Properties(
            entries=entries,
            tombstones=self._tombstones,
            blocks=len(self._first_keys),
            key_bytes=self._key_bytes,
            record_bytes=self._record_bytes,
            first=first,
            last=self._last,
            scanned=options.scanned,
            compressed=self._compressed,
        )
        footer = encode_footer(
            Footer(
                self._id,
                self._section(index),
                self._section(words),
                self._section(msgspec.msgpack.encode(properties)),
                FORMAT_COMPRESSED if self._compressed else FORMAT,
            )
        )
        assert len(footer) == FOOTER_BYTES
        self._put(footer)
        self._drain()
        if self._synced < self._written:
            self._sync()
        self._file.close()
        return TableMeta(
            file_id=self._id,
            size_bytes=self.size_bytes,
            footer_crc=own_crc(footer),
            entries=entries,
            tombstones=self._tombstones,
            first=first,
            last=self._last,
            blobs=tuple(sorted(self._blobs.items())),
        )

    def abandon(self) -> None:
        """Close the file as it is; whoever made its name removes it."""
        self._file.close()
