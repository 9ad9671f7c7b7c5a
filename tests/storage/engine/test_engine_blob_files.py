"""Files of values end at a size, so that what dies in one of them goes with it."""

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.engine.manifest import load_manifest
from quorate.storage.memory_env import Crashed, MemoryEnv, Operation

from .engine_kit import DIRECTORY, Names, Twin

OPTIONS = EngineOptions(
    memtable_bytes=8_000, table_bytes=8_000, tier_ratio=4, blob_bytes=200
)
VALUE_BYTES = 1_000
# Each ends with the value that reaches the size.
FILE_BYTES_MAX = 8_000 + VALUE_BYTES + 8


def _sizes(engine: Engine) -> list[int]:
    return [blob.size_bytes for blob in engine.manifest.blobs]


def _with_sparse_files() -> Twin:
    """Three of the eight values in each of ten files are left; a merge moves them."""
    twin = Twin(OPTIONS)
    for run in range(10):
        keys = [b"k%02d%02d" % (run, n) for n in range(8)]
        twin.write({key: key * (VALUE_BYTES // 5) for key in keys})
        twin.engine.flush()
    twin.write({b"k%02d%02d" % (run, n): None for run in range(10) for n in range(5)})
    twin.engine.compact()
    assert len(_sizes(twin.engine)) == 10
    twin.write({b"a": b"small"})
    twin.engine.flush()
    return twin


def test_a_merge_that_moves_values_makes_files_of_a_size() -> None:
    """Else one file had all values of a store, and kept the dead among them."""
    twin = _with_sparse_files()
    engine = twin.engine
    engine.compact()
    sizes = _sizes(engine)
    assert len(sizes) == 4
    assert max(sizes) < FILE_BYTES_MAX
    twin.check()
    assert sum(engine.verify()) > sum(sizes)
    # All that is in the first of them goes, and the other three stay as they are.
    kept = {blob.file_id for blob in engine.manifest.blobs[1:]}
    twin.write({key: None for key in sorted(twin.model) if key < b"k02071"})
    engine.compact()
    assert {blob.file_id for blob in engine.manifest.blobs} == kept
    twin.reopen()
    twin.check()


def test_a_flush_of_many_large_values_makes_files_of_a_size() -> None:
    twin = Twin(OPTIONS)
    twin.write({b"k%02d" % n: b"%d" % n * (VALUE_BYTES // 2) for n in range(40)})
    twin.engine.flush()
    sizes = _sizes(twin.engine)
    assert len(sizes) > 3
    assert max(sizes) < FILE_BYTES_MAX
    twin.check()


def test_one_value_more_than_fits_is_no_file_without_any() -> None:
    """A file that has come to its size is not followed by an empty one."""
    twin = Twin(OPTIONS)
    twin.write({b"k%02d" % n: b"%02d" % n * (VALUE_BYTES // 2) for n in range(8)})
    twin.engine.flush()
    assert _sizes(twin.engine) == [16 + 16 + 8 * (VALUE_BYTES + 8)]
    twin.check()


def test_a_full_disk_leaves_none_of_several_files() -> None:
    twin = _with_sparse_files()
    twin.write({b"l%02d" % n: b"v" * VALUE_BYTES for n in range(30)})
    env = twin.env
    named = {file.name for file in twin.engine.manifest.files()}
    env.capacity_bytes = env._used_bytes + 20_000
    with pytest.raises(OSError, match="space"):
        twin.engine.flush()
    (work,) = env.list(f"{DIRECTORY}/work")
    assert env.list(f"{DIRECTORY}/work/{work}") == []
    found = {name for name in env.list(DIRECTORY) if name.endswith((".sst", ".blob"))}
    assert found == named
    env.capacity_bytes = None
    twin.engine.flush()
    twin.check()


def test_every_crash_while_several_files_are_made_leaves_none_of_them() -> None:
    count = 0

    def counted(_: Operation) -> None:
        nonlocal count
        count += 1

    twin = _with_sparse_files()
    twin.env.on_operation = counted
    twin.engine.compact()
    assert count > 30
    for number in range(1, count + 1):
        _opens_after_a_crash(number)


def _opens_after_a_crash(number: int) -> None:
    twin, left = _with_sparse_files(), number

    def stop(_: Operation) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crashed

    twin.env.on_operation = stop
    with pytest.raises(Crashed):
        twin.engine.compact()
    twin.env.on_operation = None
    # Killed, and where nothing that was not synced has come to the disk.
    for env in (twin.env.copy(), next(iter(twin.env.crash_states(bound=5_000)))):
        env.kill()
        names = Names()
        names.count = 1_000
        engine = Engine(env, DIRECTORY, names, OPTIONS)
        assert dict(engine.scan()) == twin.model
        _nothing_is_left_over(env)
        engine.close()


def _nothing_is_left_over(env: MemoryEnv) -> None:
    manifest = load_manifest(env, DIRECTORY)
    assert manifest is not None
    found = {name for name in env.list(DIRECTORY) if name.endswith((".sst", ".blob"))}
    assert found == manifest.names()
    (work,) = env.list(f"{DIRECTORY}/work")
    assert env.list(f"{DIRECTORY}/work/{work}") == []
