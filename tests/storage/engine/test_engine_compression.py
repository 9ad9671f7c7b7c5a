"""Compressed blocks: fewer bytes, the same answers, never more than a block."""

import os
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from zlib import crc32

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.storage.engine import Engine, EngineOptions, Worker
from quorate.storage.engine.compression import compress, expand
from quorate.storage.engine.manifest import TableMeta
from quorate.storage.engine.table import Table
from quorate.storage.engine.table_format import (
    BLOCK_HEAD_BYTES,
    CODEC_AT,
    CRC_BYTES,
    TOMBSTONE,
    VALUE,
    compressed_block,
    decode_block,
    encode_block,
    expanded_block,
    find_record,
)
from quorate.storage.engine.table_writer import TableWriter
from quorate.storage.env import RealEnv
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import COMPRESSED, DIRECTORY, SMALL, Twin, receive, same

GOLDEN = Path(__file__).parent / "golden" / "table-2.sst"
GOLDEN_KEYS = [b"key%03d" % number for number in range(100)]
GOLDEN_RECORDS = [
    TOMBSTONE if number % 10 == 3 else VALUE + b"value of %d, " % number * 4
    for number in range(100)
]
RECORDS = st.just(TOMBSTONE) | st.binary(max_size=60).map(lambda v: VALUE + v)


def compressed_blocks(twin: Twin) -> list[int]:
    """Of each table, the newest first, how many blocks are compressed."""
    tables = twin.engine._version.tables()
    return [
        table._properties(table._read_footer().properties).compressed
        for table in tables
    ]


# -- bytes -----------------------------------------------------------------------------


@given(st.binary(max_size=5000))
def test_what_was_compressed_comes_back(data: bytes) -> None:
    assert expand(compress(data), len(data)) == data


@given(st.binary(max_size=200), st.integers(0, 65535))
def test_garbage_is_refused(data: bytes, length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        expand(data, length)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_than_was_told_is_refused(change: int) -> None:
    data = b"abc" * 100
    with pytest.raises(ValueError, match=f"300 bytes, not {300 + change}"):
        expand(compress(data), len(data) + change)


def test_no_more_comes_back_than_a_block_has() -> None:
    """Sixty-four mebibytes in a few thousand bytes, and none of them is made."""
    bomb = compress(bytes(64 << 20))
    assert len(bomb) < 8192
    for length in (0, 65535):
        with pytest.raises(ValueError, match=f"67108864 bytes, not {length}"):
            expand(bomb, length)


@pytest.mark.parametrize("more", [b"\0", compress(b"more")])
def test_bytes_behind_the_frame_are_refused(more: bytes) -> None:
    with pytest.raises(ValueError, match="unused data"):
        expand(compress(b"some data") + more, 9)


def test_a_frame_that_lies_about_its_length_is_refused() -> None:
    """Its header says 9 bytes, and there are 4."""
    frame = bytearray(compress(b"four"))
    assert frame[5] == 4, "where one byte tells the length"
    frame[5] = 9
    with pytest.raises(ValueError, match=r"."):
        expand(bytes(frame), 9)


def test_a_frame_of_unknown_length_is_refused() -> None:
    streamed = zstandard.ZstdCompressor().compressobj()
    data = streamed.compress(b"some data") + streamed.flush()
    with pytest.raises(ValueError, match="-1 bytes, not 9"):
        expand(data, 9)


def test_threads_do_not_meet_in_it() -> None:
    blocks = [Random(seed).randbytes(2000) * 2 for seed in range(50)]

    def there_and_back(block: bytes) -> bool:
        return all(expand(compress(block), len(block)) == block for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(there_and_back, blocks))


@given(st.dictionaries(st.binary(min_size=1, max_size=6), RECORDS, min_size=1))
@settings(max_examples=200)
def test_a_block_says_the_same_when_it_is_compressed(
    entries: dict[bytes, bytes],
) -> None:
    keys = sorted(entries)
    records = [entries[key] for key in keys]
    plain = encode_block(7, 3, keys, records)
    small = compressed_block(plain)
    assert len(small) <= len(plain)
    assert small[: CODEC_AT - 2] == plain[: CODEC_AT - 2]
    if small[CODEC_AT]:
        small = expanded_block(small, "p", 0)
    assert decode_block(small) == (keys, records)
    assert all(find_record(small, key) == entries[key] for key in keys)


def test_a_block_that_hardly_becomes_smaller_stays_as_it_is() -> None:
    dice = Random(1)
    keys = [b"%d" % number for number in range(10)]
    plain = encode_block(
        7, 3, keys, [VALUE + dice.randbytes(100)] * 1 + [TOMBSTONE] * 9
    )
    block = encode_block(7, 3, keys, [VALUE + dice.randbytes(100) for _ in keys])
    assert compressed_block(block) is block
    assert compressed_block(plain)[CODEC_AT] in (0, 1)


def changed(codec: int, body: bytes) -> tuple[MemoryEnv, TableMeta]:
    """The golden table with another first block; all checksums are right."""
    env = MemoryEnv()
    meta = written(env, EngineOptions(compression=("zstd",)))
    data = env.peek("/")[meta.name]
    assert data[CODEC_AT] == 1
    length = Table(env, "", meta)._offsets[1] - CRC_BYTES
    head = data[: BLOCK_HEAD_BYTES - 2] + codec.to_bytes(2, "little")
    block = (head + body).ljust(length, b"\0")[:length]
    file = env.open(f"/{meta.name}")
    file.write_at(0, block + crc32(block).to_bytes(4, "little"))
    file.close()
    return env, meta


@pytest.mark.parametrize(
    ("codec", "body", "reason"),
    [
        (2, b"", "unknown codec 2"),
        (257, b"", "unknown codec 257"),
        (1, b"", "a compressed block"),
        (
            1,
            b"\x09\0" + compress(b"some data"),
            "a compressed block: Data corruption|checksum|unused data",
        ),
    ],
)
def test_a_block_that_can_not_be_expanded_is_damage(
    codec: int, body: bytes, reason: str
) -> None:
    """Its writer was at fault, or has another format: it is no answer either way."""
    env, meta = changed(codec, body)
    table = Table(env, "", meta)
    data = env.peek("/")[meta.name]
    table._crcs = array("I", [crc32(data[: table._offsets[1] - CRC_BYTES])])
    with pytest.raises(CorruptionError, match=reason):
        table.get(b"key000")
    with pytest.raises(CorruptionError, match=reason):
        list(table.chunks(b"", None, reverse=False))
    with pytest.raises(CorruptionError, match=reason):
        list(table.verify())


# -- tables ----------------------------------------------------------------------------


def written(env: MemoryEnv, options: EngineOptions) -> TableMeta:
    writer = TableWriter(env, "/table", bytes(range(16)), options, options.codec(0))
    writer.add(GOLDEN_KEYS, GOLDEN_RECORDS)
    meta = writer.finish()
    env.rename("/table", f"/{meta.name}")
    return meta


def entries_of(table: Table) -> tuple[list[bytes], list[bytes]]:
    keys: list[bytes] = []
    records: list[bytes] = []
    for some_keys, some_records in table.chunks(b"", None, reverse=False):
        keys += some_keys
        records += some_records
    return keys, records


def test_a_table_of_today_is_read_for_ever() -> None:
    """Its bytes are of one zstd; another one may write others, and reads these."""
    env = MemoryEnv()
    meta = written(env, EngineOptions(compression=("zstd",)))
    file = env.open(f"/{meta.name}")
    golden = GOLDEN.read_bytes()
    file.truncate(0)
    file.write_at(0, golden)
    file.close()
    footer_crc = int.from_bytes(golden[-CRC_BYTES:], "little")
    table = Table(
        env,
        "",
        msgspec.structs.replace(meta, size_bytes=len(golden), footer_crc=footer_crc),
    )
    assert entries_of(table) == (GOLDEN_KEYS, GOLDEN_RECORDS)
    assert [table.get(key) for key in GOLDEN_KEYS] == GOLDEN_RECORDS
    assert sum(table.verify()) > 0


def test_a_table_without_a_compressed_block_has_the_first_format() -> None:
    """Whoever does not know the second one can read it."""
    versions: list[int] = []
    for options in (EngineOptions(), EngineOptions(compression=("zstd",))):
        env = MemoryEnv()
        table = Table(env, "", written(env, options))
        versions.append(table._read_footer().version)
        assert entries_of(table) == (GOLDEN_KEYS, GOLDEN_RECORDS)
    assert versions == [1, 2]


# -- stores ----------------------------------------------------------------------------


def filled(options: EngineOptions) -> Twin:
    twin = Twin(options)
    for number in range(60):
        twin.write({b"key%03d" % (number * 7 % 40): b"a value of some bytes, " * 4})
        while twin.engine.work():
            pass
    twin.engine.flush()
    return twin


def tiers(*codecs: str) -> EngineOptions:
    compression = msgspec.convert(codecs, EngineOptions.__annotations__["compression"])
    return msgspec.structs.replace(COMPRESSED, compression=compression)


@pytest.mark.parametrize(
    ("codecs", "young", "old"),
    [
        (("none",), False, False),
        (("zstd",), True, True),
        (("none", "zstd"), False, True),
        (("none", "none", "zstd"), False, True),
        (("zstd", "none"), True, False),
    ],
)
def test_each_tier_has_its_codec(codecs: Sequence[str], young: bool, old: bool) -> None:
    twin = filled(tiers(*codecs))
    twin.engine.compact()
    assert {count > 0 for count in compressed_blocks(twin)} == {old}
    twin.write({b"key%03d" % number: b"again " * 15 for number in range(9)})
    twin.engine.flush()
    assert compressed_blocks(twin)[0] > 0 if young else compressed_blocks(twin)[0] == 0
    twin.check()


def test_a_compressed_store_is_smaller() -> None:
    sizes: list[int] = []
    for options in (SMALL, COMPRESSED):
        twin = filled(options)
        twin.engine.compact()
        sizes.append(sum(t.size_bytes for t in twin.engine.manifest.tables()))
    assert 2 * sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("before", "after"), [(COMPRESSED, SMALL), (SMALL, COMPRESSED)]
)
def test_a_table_is_read_whatever_is_written_today(
    before: EngineOptions, after: EngineOptions
) -> None:
    twin = filled(before)
    twin.options = after
    twin.reopen()
    twin.check()
    twin.write({b"key001": None, b"key999": b"new " * 30})
    twin.engine.flush()
    twin.check()
    twin.engine.compact()
    twin.check()
    assert all(
        (count > 0) == (after is COMPRESSED) for count in compressed_blocks(twin)
    )
    assert sum(twin.engine.verify()) > 0


def test_a_compressed_store_arrives_as_it_is() -> None:
    """Also at somebody who does not compress."""
    sender, receiver = filled(COMPRESSED), Twin(SMALL)
    receiver.names.count = 1 << 20
    receive(receiver.engine, sender.engine.pin().pieces())
    same(receiver.engine.view(), sender.model)
    receiver.env.crash(Random(1))
    receiver.journal, receiver.model = list(sender.journal), dict(sender.model)
    receiver.engine = receiver.open()
    receiver.check()


def test_a_worker_compresses(tmp_path: Path) -> None:
    options = msgspec.structs.replace(COMPRESSED, memtable_bytes=20_000)
    engine = Engine(
        *(RealEnv(), str(tmp_path / DIRECTORY.strip("/"))),
        *(lambda: os.urandom(16), options, Worker),
    )
    value = b"a value of some bytes, " * 5
    model = {b"key%04d" % number: value for number in range(500)}
    engine.write(model, 1)
    engine.flush()
    (run,) = engine.levels()
    assert 2 * sum(table.size_bytes for table in run) < len(model) * len(value)
    same(engine.view(), model)
    engine.close()
