"""Reads one sstable.

Law: nothing is believed before its checksum was compared with the parent's. In memory
are the index (of each block what tells its first key, its place and checksum) and the
filter; blocks stay where the operating system caches them and are checked each time.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final
from weakref import finalize

import msgspec

from .. import rules
from ..checksum import crc32
from ..env import Env
from ..errors import CorruptionError, lost
from .block_index import GROUP, WORD_BYTES, ZEROS, BlockIndex
from .manifest import TableMeta
from .merge import Chunk
from .stored import Stored
from .table_format import (
    CODEC_AT,
    CRC_BYTES,
    FOOTER_BYTES,
    Footer,
    Properties,
    Section,
    blocks_bytes,
    check_block,
    decode_block,
    decode_footer,
    decode_index,
    expanded_block,
    find_record,
    own_crc,
    seal,
    short_id,
)

# Blocks read at once by a scan: few at first, more when it goes on.
_AHEAD_FIRST: Final = 2
_AHEAD_MAX: Final = 32
_STREAM_BYTES: Final = 256 << 10
_NUMBER: Final = int.from_bytes


class Table(Stored):
    """An open table."""

    __slots__ = (
        "_crcs",
        "_groups",
        "_index",
        "_offsets",
        "_read_at",
        "_skips",
        "_whole",
        "_words",
        "meta",
        "properties",
        "words",
    )

    def __init__(self, env: Env, directory: str, meta: TableMeta) -> None:
        """Raises `CorruptionError` when the file is not what the manifest says."""
        self.meta = meta
        super().__init__(env, f"{directory}/{meta.name}", "a table")
        try:
            footer = self._read_footer()
            index = self._section(footer.index, "the index")
            parts = decode_index(index, self.path, footer.index.offset)
            words = self._section(footer.filter, "the filter")
            if not words or len(words) % 8:
                raise CorruptionError(self.path, footer.filter.offset, "odd filter")
            # Of its filter: filter.TWO_BITS says how it is asked.
            self.words = array("Q", words)
            self.properties = self._properties(footer.properties)
            if (
                parts.offsets[-1] != footer.index.offset
                or parts.first_keys[0] != meta.first
            ):
                raise CorruptionError(
                    self.path, footer.index.offset, "the index is of another table"
                )
        except BaseException:
            self._file.close()
            raise
        places = BlockIndex(parts.first_keys, meta.last)
        self._index = places
        self._groups, self._skips = places.groups, places.skips
        self._words, self._whole = places.words, places.whole
        self._offsets = parts.offsets
        self._crcs = parts.crcs
        self._read_at = self._file.read_at
        # Views and iterators may be the last to hold it.
        finalize(self, self._file.let_go)

    def _read_footer(self) -> Footer:
        meta = self.meta
        self._check_size(meta.size_bytes)
        at = meta.size_bytes - FOOTER_BYTES
        data = self._bytes(at, FOOTER_BYTES)
        footer = decode_footer(data, self.path, at)
        if footer.file_id != meta.file_id or own_crc(data) != meta.footer_crc:
            raise CorruptionError(self.path, at, "the footer is of another table")
        return footer

    def _section(self, section: Section, what: str) -> bytes:
        data = self._bytes(section.offset, section.length)
        if len(data) != section.length or crc32(data) != section.crc:
            raise CorruptionError(
                self.path, section.offset, f"{what} has a wrong checksum"
            )
        return data

    def _properties(self, section: Section) -> Properties:
        data = self._section(section, "the properties")
        try:
            return msgspec.msgpack.decode(data, type=Properties)
        except msgspec.DecodeError as error:
            reason = f"properties: {error}"
            raise CorruptionError(self.path, section.offset, reason) from None

    def expanded_bytes(self, block_bytes: int) -> int:
        """About its size if it were written without compression, in such blocks."""
        if not self.properties.compressed:
            return self.meta.size_bytes
        # The index is in both, of which what is here may be the smaller one.
        beside_blocks = self.meta.size_bytes - self._offsets[-1]
        return blocks_bytes(self.properties, block_bytes) + beside_blocks

    # -- one key -----------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The record of a key that the filter did not rule out.

        The key is not above the table's last one.
        """
        # Written out, as BlockIndex and `_block` have it: this is what every read pays.
        group = bisect_right(self._groups, key) - 1
        if group < 0:
            return None
        if group in self._whole:
            number = group * GROUP + bisect_right(self._whole[group], key) - 1
        else:
            skip, begin = self._skips[group], group * GROUP
            word = _NUMBER((key + ZEROS)[skip : skip + WORD_BYTES], "big")
            number = bisect_right(self._words, word, begin, begin + GROUP) - 1
            if self._words[number] == word:
                return self._get_unsure(key)
        offsets = self._offsets
        offset = offsets[number]
        try:
            data = self._read_at(offset, offsets[number + 1] - offset - CRC_BYTES)
        except OSError as error:
            raise lost(self.path, offset, error) from None
        expected, actual = self._crcs[number], crc32(data)
        if expected != actual and not rules.checks_table_block(expected, actual):
            raise self._damaged(number, data)
        if data[CODEC_AT]:
            data = expanded_block(data, self.path, offset)
        return find_record(data, key)

    def _get_unsure(self, key: bytes) -> bytes | None:
        """Where the index can't tell a block from the one before it."""
        number, sure = self._index.place(key)
        record = find_record(self._plain_block(number), key)
        if record is None and not sure:
            record = find_record(self._plain_block(number - 1), key)
        return record

    def _plain_block(self, number: int) -> bytes:
        return self._plain(self._block(number), number)

    def _plain(self, block: bytes, number: int) -> bytes:
        """A checked block, not compressed any more."""
        if block[CODEC_AT]:
            return expanded_block(block, self.path, self._offsets[number])
        return block

    def _block(self, number: int) -> bytes:
        offset = self._offsets[number]
        data = self._bytes(offset, self._offsets[number + 1] - offset - CRC_BYTES)
        if not rules.checks_table_block(self._crcs[number], crc32(data)):
            raise self._damaged(number, data)
        return data

    def _damaged(self, number: int, data: bytes) -> CorruptionError:
        """Say as much as can be said of a block whose checksum is not its parent's."""
        offset = self._offsets[number]
        length = self._offsets[number + 1] - offset - CRC_BYTES
        whole = self._bytes(offset, length + CRC_BYTES)
        if len(data) == length and own_crc(whole) == crc32(data):
            try:
                check_block(
                    data, short_id(self.meta.file_id), number, self.path, offset
                )
            except CorruptionError as error:
                return error
            return CorruptionError(
                self.path, offset, f"block {number} is older than its parent"
            )
        return CorruptionError(
            self.path, offset, f"block {number} has a wrong checksum"
        )

    # -- many keys ---------------------------------------------------------------------

    def chunks(self, start: bytes, end: bytes | None, reverse: bool) -> Iterator[Chunk]:
        """Entries with start ≤ key < end (None: no bound), as merge wants them."""
        place, sure = self._index.place(start)
        low = max(0, place if sure else place - 1)
        # A block that begins with `end` has nothing of it, and is cut.
        high = len(self._crcs) if end is None else self._index.place(end)[0] + 1
        ahead = _AHEAD_FIRST
        while low < high:
            if reverse:
                numbers = range(max(low, high - ahead), high)
                high = numbers.start
            else:
                numbers = range(low, min(high, low + ahead))
                low = numbers.stop
            keys, records = self._read(numbers)
            ahead = min(2 * ahead, _AHEAD_MAX)
            if keys[0] < start:
                cut = bisect_left(keys, start)
                keys, records = keys[cut:], records[cut:]
            if end is not None and keys and keys[-1] >= end:
                cut = bisect_left(keys, end)
                keys, records = keys[:cut], records[:cut]
            if keys:
                yield keys, records

    def _read(self, numbers: range) -> Chunk:
        offsets = self._offsets
        begin = offsets[numbers.start]
        data = self._bytes(begin, offsets[numbers.stop] - begin)
        keys: list[bytes] = []
        records: list[bytes] = []
        for number in numbers:
            block = data[
                offsets[number] - begin : offsets[number + 1] - begin - CRC_BYTES
            ]
            if not rules.checks_table_block(self._crcs[number], crc32(block)):
                raise self._damaged(number, block)
            more_keys, more_records = decode_block(self._plain(block, number))
            keys += more_keys
            records += more_records
        return keys, records

    # -- all of it ---------------------------------------------------------------------

    def stream(self) -> Iterator[bytes]:
        """All bytes of the file in order, each piece checked against its parent.

        Raises `CorruptionError`.
        """
        offsets, count = self._offsets, len(self._crcs)
        low = 0
        while low < count:
            high = bisect_right(offsets, offsets[low] + _STREAM_BYTES, low + 1) - 1
            high = max(low + 1, min(high, count))
            data = self._bytes(offsets[low], offsets[high] - offsets[low])
            for number in range(low, high):
                at = offsets[number] - offsets[low]
                end = offsets[number + 1] - offsets[low]
                block, own = data[at : end - CRC_BYTES], data[end - CRC_BYTES : end]
                crc = crc32(block)
                if not (
                    rules.checks_table_block(self._crcs[number], crc)
                    and rules.checks_table_block(crc, int.from_bytes(own, "little"))
                ):
                    raise self._damaged(number, block)
            yield data
            low = high
        yield from self._stream_sections()

    def _stream_sections(self) -> Iterator[bytes]:
        footer = self._read_footer()
        for section in (footer.index, footer.filter, footer.properties):
            data = self._section(section, "a section")
            own = self._bytes(section.offset + section.length, CRC_BYTES)
            if own != seal(data):
                raise CorruptionError(self.path, section.offset, "its own checksum")
            yield data + own
        yield self._bytes(self.meta.size_bytes - FOOTER_BYTES, FOOTER_BYTES)

    def verify(self) -> Iterator[int]:
        """Check every byte, block by block; yields the bytes of each step.

        Raises `CorruptionError`. What is in memory is not trusted: all is read again.
        """
        footer = self._read_footer()
        sections = {"index": footer.index, "filter": footer.filter}
        sections["properties"] = footer.properties
        for what, section in sections.items():
            data = self._section(section, f"the {what}")
            at = section.offset + section.length
            if self._bytes(at, CRC_BYTES) != seal(data):
                raise CorruptionError(self.path, at, f"the {what}'s own checksum")
            yield len(data)
        at, properties = footer.properties.offset, self._properties(footer.properties)
        file, previous, entries = short_id(self.meta.file_id), b"", 0
        for number in range(len(self._crcs)):
            block = self._block(number)
            offset = self._offsets[number]
            own = self._bytes(offset + len(block), CRC_BYTES)
            if own != self._crcs[number].to_bytes(CRC_BYTES, "little"):
                raise CorruptionError(
                    self.path, offset + len(block), f"block {number}'s own checksum"
                )
            check_block(block, file, number, self.path, offset)
            keys, _ = decode_block(self._plain(block, number))
            if keys[0] <= previous or keys != sorted(set(keys)):
                raise CorruptionError(self.path, offset, "keys out of order")
            previous, entries = keys[-1], entries + len(keys)
            yield len(block)
        if (entries, previous) != (properties.entries, properties.last):
            raise CorruptionError(self.path, at, "properties of another table")
