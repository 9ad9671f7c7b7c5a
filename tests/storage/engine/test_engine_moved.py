"""When values that lie in files of their own are written again, and when not."""

import errno
from pathlib import Path

import msgspec
import pytest
from quorate.storage.engine import Engine, care
from quorate.storage.engine.blob import BlobWriter
from quorate.storage.engine.manifest import Manifest
from quorate.storage.engine.policy import to_be_moved
from quorate.storage.engine.worker import Worker
from quorate.storage.env import RealEnv, os_error
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv, MemoryFile

from .engine_kit import DIRECTORY, SMALL, Names, new_engine
from .test_engine_condemn import Fixture

LIVE = {b"a": 10, b"b": 90, b"c": 100, b"d": 100, b"e": 4000}
FILES = [(b"a", 100), (b"b", 100), (b"c", 100), (b"d", 100), (b"e", 4000)]


def test_sparse_files_move_as_far_as_a_merge_refers_to_them() -> None:
    everywhere = dict.fromkeys(LIVE, 1)
    assert to_be_moved(FILES, LIVE, everywhere, 0, 2) == [b"a"]
    assert to_be_moved(FILES, LIVE, {b"b": 1}, 0, 2) == []


def test_small_files_move_when_there_are_enough_of_them() -> None:
    everywhere = dict.fromkeys(LIVE, 1)
    assert to_be_moved(FILES, LIVE, everywhere, 500, 4) == [b"a"]
    assert to_be_moved(FILES, LIVE, everywhere, 500, 3) == [b"a", b"b", b"c", b"d"]
    assert to_be_moved(FILES, LIVE, {b"b": 1, b"c": 1}, 500, 3) == []


def _work(engine: Engine) -> None:
    while engine.work():
        engine.wait()


def _one_large_value_in_each_flush(engine: Engine, flushes: int) -> dict[bytes, bytes]:
    model: dict[bytes, bytes] = {}
    for index in range(1, flushes + 1):
        written = {b"k%03d" % index: bytes([index]) * 250, b"s%03d" % index: b"small"}
        engine.write(written, index)
        model |= written
        engine.flush()
        _work(engine)
    return model


def test_one_large_value_a_flush_does_not_leave_a_file_for_each() -> None:
    """Each held a descriptor, and after a day there were none left for clients."""
    engine = new_engine(msgspec.structs.replace(SMALL, memtable_bytes=12_000))
    model = _one_large_value_in_each_flush(engine, 60)
    assert len(engine._manifest.blobs) <= 6
    assert dict(engine.scan()) == model


def _blobs_of(manifest: Manifest) -> set[bytes]:
    return {blob.file_id for blob in manifest.blobs}


def test_without_room_for_values_the_runs_are_merged_all_the_same() -> None:
    """It waited for room that only merges give back."""
    env = MemoryEnv()
    options = msgspec.structs.replace(SMALL, tier_ratio=4)
    engine = Engine(env, DIRECTORY, Names(), options)
    model: dict[bytes, bytes] = {}
    for index in range(1, 5):
        keys = [b"k%d-%d" % (index, n) for n in range(3)]
        model |= dict.fromkeys(keys, b"v" * 500)
        engine.write(dict.fromkeys(keys, b"v" * 500), index)
        engine.flush()
    before = _blobs_of(engine._manifest)
    merged = sum(run.size_bytes for run in engine._version.runs)
    flushes = (options.memtables_max + 1) * options.memtable_bytes
    used = env._used_bytes
    env.capacity_bytes = used + merged + flushes
    while engine.work():
        pass
    assert len(engine._version.runs) == 1
    assert _blobs_of(engine._manifest) == before
    assert dict(engine.scan()) == model


def test_a_merge_that_meets_damage_is_not_begun_anew_at_once() -> None:
    """A node alone ended by it, and by the same again after each start."""
    fixture = Fixture()
    engine = fixture.engine
    fixture.jobs.spoilt = True
    for index in (1, 2):
        engine.write({b"%d" % index: b"x" * 500}, index)
        engine.freeze()
    with pytest.raises(CorruptionError):
        _work(engine)
    assert not engine.owed
    assert engine.get(b"1") == b"x" * 500


def test_a_checkpoint_that_failed_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = MemoryEnv()
    engine = Engine(env, DIRECTORY, Names(), SMALL)
    for index in (1, 2, 3):
        engine.write({b"%d" % index: b"x" * 500}, index)
        engine.flush()
    link, linked = env.link, 0

    def fails(path: str, to: str) -> None:
        nonlocal linked
        linked += 1
        if linked == 2:
            raise os_error(errno.ENOSPC, to)
        link(path, to)

    monkeypatch.setattr(env, "link", fails)
    with pytest.raises(OSError, match="space"):
        engine.checkpoint("/copy")
    assert not env.exists("/copy")
    engine.checkpoint("/copy")
    assert [bad for _, _, bad in care.verify(env, "/copy") if bad] == []


def test_verify_tells_of_a_store_that_is_not_to_be_believed() -> None:
    env = MemoryEnv()
    engine = Engine(env, DIRECTORY, Names(), SMALL)
    engine.write({b"a": b"1"}, 1)
    engine.flush()
    damage = CorruptionError(DIRECTORY, 0, "the majority has another state")
    engine.condemn(damage, lasting=True)
    while engine.work():
        pass
    engine.close()
    bad = [reason for _, _, reason in care.verify(env, DIRECTORY) if reason]
    assert bad == ["the majority has another state"]


def test_a_file_of_values_is_synced_as_it_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = MemoryEnv()
    env.make_directory("/work")
    writer = BlobWriter(env, "/work", Names(), 64 << 20)
    syncs: list[int] = []

    def synced(_: MemoryFile) -> None:
        syncs.append(writer.size_bytes)

    monkeypatch.setattr(MemoryFile, "sync", synced)
    for _ in range(20):
        writer.put(b"v" * (1 << 20))
    writer.finish()
    assert len(syncs) == 3
    assert syncs[0] < (9 << 20)


@pytest.mark.slow
def test_a_worker_takes_no_module_of_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("queue", "msgspec", "logging"):
        (elsewhere / f"{name}.py").write_text("raise ImportError('not mine')\n")
    monkeypatch.chdir(elsewhere)
    engine = Engine(RealEnv(), str(tmp_path / "e"), Names(), SMALL, Worker)
    engine.write({b"a": b"1"}, 1)
    engine.freeze()
    while engine.work():
        engine.wait()
    assert engine.get(b"a") == b"1"
    engine.close()


@pytest.mark.slow
def test_no_room_for_a_workers_folder_is_no_dead_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(RealEnv(), str(tmp_path / "e"), Names(), SMALL, Worker)
    engine.write({b"a": b"1"}, 1)
    engine.freeze()

    def full(_: RealEnv, path: str) -> None:
        raise os_error(errno.ENOSPC, path)

    with monkeypatch.context() as patch:
        patch.setattr(RealEnv, "make_directory", full)
        with pytest.raises(OSError, match="space"):
            _work(engine)
    _work(engine)
    engine.close()
