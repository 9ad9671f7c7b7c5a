"""The pure parts of the engine: merge, policy, filter, blocks, and golden bytes."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.storage.engine.blob import Blob, BlobWriter, resolve
from quorate.storage.engine.filter import GOLDEN, MASK64, TWO_BITS, build_filter
from quorate.storage.engine.manifest import (
    BlobMeta,
    Manifest,
    TableMeta,
    decode_manifest,
    encode_manifest,
)
from quorate.storage.engine.merge import Chunk, merge, without_tombstones
from quorate.storage.engine.options import EngineOptions
from quorate.storage.engine.policy import pick, tier_of
from quorate.storage.engine.table import Table
from quorate.storage.engine.table_format import (
    TOMBSTONE,
    VALUE,
    decode_block,
    encode_block,
    find_record,
)
from quorate.storage.engine.table_writer import TableWriter
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv

KEYS = st.binary(min_size=1, max_size=4)
RECORDS = st.just(TOMBSTONE) | st.binary(max_size=6).map(lambda value: VALUE + value)
SOURCES = st.lists(st.dictionaries(KEYS, RECORDS), max_size=5)
GOLDEN_FILES = Path(__file__).parent / "golden"


@given(SOURCES, st.integers(1, 4), st.booleans())
@settings(max_examples=300)
def test_a_merge_is_the_newest_of_each_key(
    sources: list[dict[bytes, bytes]], size: int, reverse: bool
) -> None:
    def chunks(source: dict[bytes, bytes]) -> Iterator[Chunk]:
        keys = sorted(source)
        starts = range(0, len(keys), size)
        for start in reversed(starts) if reverse else starts:
            part = keys[start : start + size]
            yield part, [source[key] for key in part]

    wanted: dict[bytes, bytes] = {}
    for source in reversed(sources):
        wanted.update(source)
    found: list[tuple[bytes, bytes]] = []
    for keys, records in merge([chunks(s) for s in sources], reverse):
        pairs = list(zip(keys, records, strict=True))
        assert pairs, "no chunk is empty"
        assert keys == sorted(keys)
        found += pairs[::-1] if reverse else pairs
    assert found == sorted(wanted.items(), reverse=reverse)


def test_tombstones_go_and_empty_chunks_with_them() -> None:
    chunks = iter([([b"a"], [TOMBSTONE]), ([b"b", b"c"], [VALUE, TOMBSTONE])])
    assert list(without_tombstones(chunks)) == [([b"b"], [VALUE])]


@given(st.lists(st.integers(1, 10**9), max_size=30), st.integers(2, 8))
def test_what_is_picked_is_a_run_of_the_newest_and_helps(
    sizes: list[int], ratio: int
) -> None:
    while (picked := pick(sizes, 1 << 20, ratio)) is not None:
        assert picked.start == 0
        assert len(picked) >= ratio
        sizes = [sum(sizes[: picked.stop]), *sizes[picked.stop :]]
    tiers = [tier_of(size, 1 << 20, ratio) for size in sizes]
    assert all(tiers.count(tier) < ratio for tier in tiers)


def test_an_entry_is_rewritten_once_a_tier() -> None:
    """Sixty-four flushes of one size, ratio four: three tiers."""
    sizes: list[int] = []
    rewritten = 0
    for _ in range(64):
        sizes.insert(0, 1 << 20)
        while (picked := pick(sizes, 1 << 20, 4)) is not None:
            merged = sum(sizes[: picked.stop])
            rewritten += merged
            sizes = [merged, *sizes[picked.stop :]]
    assert sizes == [64 << 20]
    assert rewritten == 3 * 64 << 20


CHECKSUMS = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31, 2**32 - 1])
)


@given(st.lists(CHECKSUMS, max_size=50), st.integers(0, 9000), st.integers(4, 20))
@settings(max_examples=50)
def test_a_filter_has_the_bits_of_its_keys_and_no_others(
    checksums: list[int], more: int, bits: int
) -> None:
    checksums += [crc32(b"%d" % number) for number in range(more)]
    words = array("Q", build_filter(array("Q", checksums), bits))
    expected = array("Q", bytes(8 * max(1, (len(checksums) * bits + 63) // 64)))
    for checksum in checksums:
        # As a get asks for them (version.Version.get).
        hashed = checksum * GOLDEN & MASK64
        place = (hashed >> 32) * len(expected) >> 32
        expected[place] |= TWO_BITS[hashed & 4095] | TWO_BITS[hashed >> 12 & 4095]
    assert words == expected


@given(st.dictionaries(st.binary(min_size=1, max_size=6), RECORDS, min_size=1))
@settings(max_examples=300)
def test_a_block_gives_back_what_it_was_made_of(entries: dict[bytes, bytes]) -> None:
    keys = sorted(entries)
    records = [entries[key] for key in keys]
    block = encode_block(7, 3, keys, records)
    assert decode_block(block) == (keys, records)
    for key, record in zip(keys, records, strict=True):
        assert find_record(block, key) == record
        for absent in (key + b"\0", key[:-1], key[::-1]):
            assert find_record(block, absent or b"?") == entries.get(absent or b"?")


def _golden_table() -> tuple[MemoryEnv, TableWriter]:
    env = MemoryEnv()
    options = EngineOptions(block_bytes=64)
    writer = TableWriter(env, "/table", bytes(range(16)), options)
    writer.add([b"a", b"b"], [VALUE + b"one", TOMBSTONE])
    writer.add([b"key%d" % n for n in range(6)], [VALUE + b"v" * 20] * 6)
    values = BlobWriter(env, "", lambda: bytes(range(16, 32)), 1 << 20)
    writer.add([b"large1", b"large2"], [values.put(b"w" * 99), values.put(b"x" * 98)])
    (blob,) = values.finish()
    assert blob.size_bytes == len(env.peek("/")[blob.name])
    return env, writer


def test_a_table_has_the_bytes_that_the_document_promises() -> None:
    """A change of these bytes is a new format version."""
    env, writer = _golden_table()
    meta = writer.finish()
    data = env.peek("/")["table"]
    assert data == (GOLDEN_FILES / "table-1.sst").read_bytes()
    blob = BlobMeta(bytes(range(16, 32)), 32 + 107 + 106)
    assert meta.blobs == ((blob.file_id, 107 + 106),)
    values = env.peek("/")[blob.name]
    assert values == (GOLDEN_FILES / "values-1.blob").read_bytes()
    reference = table_record(env, meta, b"large2")
    assert resolve({blob.file_id: Blob(env, "", blob)}, reference) == b"x" * 98


def table_record(env: MemoryEnv, meta: TableMeta, key: bytes) -> bytes:
    """What a table of these bytes has at `key`."""
    env.rename("/table", f"/{meta.name}")
    table = Table(env, "", meta)
    assert table.get(b"a") == VALUE + b"one"
    assert sum(table.verify()) > 0
    record = table.get(key)
    assert record is not None
    return record


def test_a_manifest_has_the_bytes_that_the_document_promises() -> None:
    _, writer = _golden_table()
    blob = BlobMeta(bytes(range(16, 32)), 300)
    manifest = Manifest(3, 42, b"meta", ((writer.finish(),), ()), (blob,))
    data = encode_manifest(manifest)
    assert data == (GOLDEN_FILES / "manifest-1").read_bytes()
    assert decode_manifest(data, "x") == manifest


@given(st.binary(max_size=200))
def test_garbage_is_no_manifest(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_manifest(data, "x")


TABLE = TableMeta(bytes(16), 100, 7, 2, 1, b"a", b"b", ((bytes(16), 50),))
WHOLE = Manifest(1, 2, b"", ((TABLE,),), (BlobMeta(bytes(16), 300),))


@pytest.mark.parametrize(
    "changed",
    [
        msgspec.structs.replace(WHOLE, applied_index=-1),
        msgspec.structs.replace(WHOLE, blobs=(BlobMeta(bytes(16), -1),)),
        *(
            msgspec.structs.replace(
                WHOLE, runs=((msgspec.structs.replace(TABLE, **{name: -1}),),)
            )
            for name in ("size_bytes", "footer_crc", "entries", "tombstones")
        ),
        msgspec.structs.replace(
            WHOLE,
            runs=((msgspec.structs.replace(TABLE, blobs=((bytes(16), -1),)),),),
        ),
    ],
)
def test_a_manifest_whose_numbers_no_engine_wrote_is_damaged(changed: Manifest) -> None:
    """Who received a file of less than nothing would have waited for ever."""
    assert decode_manifest(encode_manifest(WHOLE), "x") == WHOLE
    with pytest.raises(CorruptionError, match="manifest"):
        decode_manifest(encode_manifest(changed), "x")
