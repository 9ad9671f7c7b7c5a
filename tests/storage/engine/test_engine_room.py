"""What room on the disk a merge waits for, and what it moves where there is little."""

import msgspec
import pytest
from quorate.storage.engine import EngineOptions

from .engine_kit import SMALL, Twin

ZSTD = EngineOptions(memtable_bytes=100_000, tier_ratio=2, compression=("zstd",))
NONE = msgspec.structs.replace(ZSTD, compression=("none",))


def _two_runs(options: EngineOptions) -> Twin:
    """Of records that take a tenth of their size when they are compressed."""
    twin = Twin(options)
    for half in range(2):
        keys = [b"k%05d" % n for n in range(half, 6_000, 2)]
        twin.write({key: b"the record of %s, " % key * 8 for key in keys})
        twin.engine.flush()
    return twin


def _table_bytes(twin: Twin) -> int:
    return sum(table.size_bytes for table in twin.engine.manifest.tables())


def _work(twin: Twin) -> None:
    while twin.engine.work():
        pass


@pytest.mark.parametrize("block_bytes", [64, 2048])
def test_what_compressed_tables_become_is_known(block_bytes: int) -> None:
    options = msgspec.structs.replace(NONE, block_bytes=block_bytes)
    twin = _two_runs(ZSTD)
    compressed = _table_bytes(twin)
    runs = twin.engine._version.runs
    expected = sum(run.expanded_bytes(block_bytes) for run in runs)
    twin.options = options
    twin.reopen()
    twin.engine.compact()
    actual = _table_bytes(twin)
    assert 3 * compressed < actual <= expected < 1.1 * actual
    # What is not compressed is what it is.
    (run,) = twin.engine._version.runs
    assert run.expanded_bytes(1) == actual


def test_a_merge_waits_for_room_for_what_is_not_compressed_any_more() -> None:
    """It filled the disk, failed, and began anew: what it read was compressed."""
    twin = _two_runs(ZSTD)
    env, size = twin.env, _table_bytes(twin)
    flushes = (NONE.memtables_max + 1) * NONE.memtable_bytes
    twin.engine.close()
    env.capacity_bytes = env._used_bytes + size + flushes
    twin.options = NONE
    twin.engine = twin.open()
    assert twin.engine.owed
    written = env.written_bytes
    _work(twin)
    assert (twin.engine.owed, env.written_bytes) == (True, written)
    # Compressed again it is as small as it was.
    twin.options = ZSTD
    twin.reopen()
    _work(twin)
    assert len(twin.engine.levels()) == 1
    twin.check()


def test_what_a_merge_waits_for_is_told() -> None:
    twin = _two_runs(NONE)
    env, engine = twin.env, twin.engine
    assert (engine.owed, engine.awaited_bytes) == (True, 0)
    needed = _table_bytes(twin) + (NONE.memtables_max + 1) * NONE.memtable_bytes
    env.capacity_bytes = env._used_bytes + needed - 1
    _work(twin)
    assert engine.awaited_bytes == needed
    env.capacity_bytes += 1
    assert engine.work(1)
    assert engine.awaited_bytes == 0
    _work(twin)
    assert (len(engine.levels()), engine.awaited_bytes) == (1, 0)
    twin.check()


def test_values_move_as_far_as_there_is_room_for_them() -> None:
    """None did where there was no room for all, and so none of theirs came back."""
    twin = Twin(msgspec.structs.replace(SMALL, table_bytes=40_000))
    env, engine = twin.env, twin.engine
    for run in range(10):
        twin.write({b"k%02d%d" % (run, n): b"%d" % run * 900 for n in range(5)})
        engine.flush()
    twin.write({b"k%02d%d" % (run, n): None for run in range(10) for n in range(3)})
    engine.compact()
    twin.write({b"a": b"small"})
    engine.flush()
    before = {blob.file_id for blob in engine.manifest.blobs}
    assert len(before) == 10
    merged = engine._version.runs
    size = sum(run.size_bytes for run in merged)
    size += (SMALL.memtables_max + 1) * SMALL.memtable_bytes
    # Two values of each file are left.
    env.capacity_bytes = env._used_bytes + size + 3 * 2 * 908 + 500
    moved = engine._with_room(merged)
    assert moved is not None
    assert len(moved) == 3
    assert {*moved} < before
