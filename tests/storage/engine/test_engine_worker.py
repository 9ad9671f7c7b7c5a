"""The worker process: the same tables, no orphan, nothing lost when anybody dies."""

import errno
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from quorate.storage.engine import VALUE, Engine, EngineOptions, Worker, worker
from quorate.storage.engine.manifest import load_manifest
from quorate.storage.engine.memtable import Memtable
from quorate.storage.env import RealEnv, os_error
from quorate.storage.errors import CorruptionError, Unreadable, WorkerFailed

from .engine_kit import SMALL, apply, new_engine, receive, same
from .owner import OPTIONS, effects

# The line asks for fifty: QUORATE_KILL_ROUNDS=50.
ROUNDS = int(os.environ.get("QUORATE_KILL_ROUNDS", "6"))
OWNER = Path(__file__).with_name("owner.py")


def _open(directory: str, options: EngineOptions = SMALL) -> Engine:
    return Engine(RealEnv(), directory, lambda: os.urandom(16), options, Worker)


def _processes(directory: str) -> list[int]:
    """Processes that have the directory in their command line, but this one."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if directory.encode() in line and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def _unowned(tmp_path: Path) -> list[Path]:
    """Files in all folders of work."""
    return list((tmp_path / "engine" / "work").glob("*/*"))


def _merging(tmp_path: Path) -> tuple[Engine, int]:
    """Two runs, of which a worker makes one; its process."""
    directory = str(tmp_path / "engine")
    options = EngineOptions(memtable_bytes=4_000_000, tier_ratio=2)
    engine = _open(directory, options)
    for index in (1, 2):
        engine.write({b"%06d" % n: b"v" * 300 for n in range(20_000)}, index)
        engine.flush()
    while not engine._compacting or not _unowned(tmp_path):
        assert engine.work(1)
    jobs = engine._jobs
    assert isinstance(jobs, Worker)
    assert jobs._process is not None
    return engine, jobs._process.pid


def _work(engine: Engine) -> None:
    while engine.work():
        engine.wait()


def _wait_until_gone(directory: str) -> None:
    while _processes(directory):
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_makes_the_same_store_as_the_caller(tmp_path: Path) -> None:
    directory = str(tmp_path / "engine")
    engine = _open(directory, OPTIONS)
    model: dict[bytes, bytes] = {}
    for index in range(1, 120):
        apply(model, effects(index))
        engine.write(effects(index), index)
        if index % 10 == 0:
            engine.flush()
        engine.work()
    while engine.work():
        engine.wait()
    assert not engine.owed
    view, held = engine.view(), dict(model)
    engine.compact()
    same(engine.view(), model)
    assert len(engine.levels()) == 1
    assert sum(engine.verify()) > 0
    engine.write({next(iter(model)): None}, 1000)
    same(view, held)
    engine.close()
    _wait_until_gone(directory)
    assert _unowned(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_dies_is_told_and_replaced(tmp_path: Path) -> None:
    directory = str(tmp_path / "engine")
    engine = _open(directory)
    engine.write({b"k%04d" % n: b"v" * 50 for n in range(2000)}, 1)
    engine.write({b"more": b"v"}, 2)
    assert engine.work(1)
    # Between its fork and its exec it has another command line.
    while not (found := _processes(directory)):
        time.sleep(0.01)
    (worker,) = found
    os.kill(worker, signal.SIGKILL)
    failures = 0
    while engine.applied_index < 2:
        try:
            engine.flush()
        except WorkerFailed:
            failures += 1
    # Once for each memtable that it had.
    assert 1 <= failures <= 2
    assert sum(1 for _ in engine.scan()) == 2001
    engine.close()
    _wait_until_gone(directory)


@pytest.mark.slow
def test_a_worker_is_waited_for_where_much_else_is_open(tmp_path: Path) -> None:
    """Story: with a thousand clients its pipes had numbers that `select` refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1024 + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    taken = [os.open("/dev/null", os.O_RDONLY)]
    try:
        while taken[-1] < 1024:
            taken.append(os.dup(taken[0]))
        engine = _open(f"{tmp_path}/store")
        engine.write({b"k": b"v"}, 1)
        engine.flush()
        assert engine.get(b"k") == b"v"
        engine.close()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_damage_that_the_worker_meets_is_told_here(tmp_path: Path) -> None:
    directory = str(tmp_path / "engine")
    engine = _open(directory)
    for index in (1, 2):
        engine.write({b"k": b"%d" % index}, index)
        engine.flush()
    table = tmp_path / "engine" / engine.levels()[0][0].name
    data = bytearray(table.read_bytes())
    data[5] ^= 1
    table.write_bytes(data)
    with pytest.raises(CorruptionError, match=str(table)):
        engine.compact()
    assert len(engine.levels()) == 2
    engine.close()


def test_a_worker_merges_what_took_the_place_of_damaged_files(tmp_path: Path) -> None:
    """Story: it opens files by their names, and found the damage that was replaced."""
    sender, receiver = new_engine(), _open(str(tmp_path / "engine"))
    for index in (1, 2):
        sender.write({b"k%d" % index: b"v" * 300, b"small": b"%d" % index}, index)
        sender.flush()
    receive(receiver, sender.pin().pieces())
    for name in receiver.manifest.names():
        path = tmp_path / "engine" / name
        data = bytearray(path.read_bytes())
        data[60] ^= 1
        path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        list(receiver.scan())
    receiver.condemn(caught.value)
    receive(receiver, sender.pin().pieces())
    receiver.compact()
    same(receiver.view(), dict(sender.scan()))
    assert sum(receiver.verify()) > 0
    receiver.close()


def test_what_the_worker_cannot_read_is_told_here_as_that(tmp_path: Path) -> None:
    told: list[Any] = []
    process = worker._Process(str(tmp_path), OPTIONS, told.append)
    process.fail(7, Unreadable("a table", 4096, os_error(errno.EIO, "")))
    frame = msgspec.msgpack.decode(msgspec.msgpack.encode(told[0]))
    with pytest.raises(Unreadable, match="a table is damaged at offset 4096") as caught:
        worker._raise(*frame[2:])
    assert caught.value.error.errno == errno.EIO


@pytest.mark.slow
def test_what_a_killed_worker_leaves_goes_with_its_folder(tmp_path: Path) -> None:
    """Story: each time a merge was killed its tables stayed until the next opening."""
    engine, process = _merging(tmp_path)
    folders = set((tmp_path / "engine" / "work").iterdir())
    os.kill(process, signal.SIGKILL)
    with pytest.raises(WorkerFailed):
        _work(engine)
    while set((tmp_path / "engine" / "work").iterdir()) == folders:
        time.sleep(0.01)
    assert _unowned(tmp_path) == []
    _work(engine)
    assert len(engine.levels()) == 1
    engine.close()
    assert _unowned(tmp_path) == []


@pytest.mark.slow
def test_what_a_merge_made_that_nobody_wants_any_more_goes(tmp_path: Path) -> None:
    """Story: it had just answered, and whoever dropped it did not know of its files."""
    engine, _ = _merging(tmp_path)
    jobs = engine._jobs
    assert isinstance(jobs, Worker)
    # Its answer is in the pipe, and is not read.
    assert jobs._process is not None
    assert jobs._process.stdout is not None
    select.select([jobs._process.stdout], [], [])
    assert _unowned(tmp_path)
    engine._stop_jobs()
    while _unowned(tmp_path):
        time.sleep(0.01)
    engine.compact()
    assert len(engine.levels()) == 1
    assert _unowned(tmp_path) == []
    engine.close()


def test_a_flush_that_began_with_another_process_is_not_ended_with_this_one(
    tmp_path: Path,
) -> None:
    """Story: the next process got the rest of a memtable, and made a table of it."""
    (tmp_path / "work").mkdir()
    worker = Worker(f"{tmp_path}/work/0", SMALL)
    memtable, other = Memtable(), Memtable()
    memtable.write({b"%06d" % n: VALUE + bytes(3000) for n in range(2000)}, 6_000_000)
    other.write({b"k": VALUE}, 2)
    flush = worker.flush(memtable)
    while next(flush) == 0:
        pass
    first = worker._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerFailed):
        next(worker.flush(other))
    again = worker.flush(other)
    while next(again) == 0:
        pass
    with pytest.raises(WorkerFailed, match="of this job"):
        next(flush)
    for _ in again:
        worker.wait()
    worker.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_owner_killed_at_any_time_leaves_nothing_behind(tmp_path: Path) -> None:
    """No process, no file, no lock; and exactly the effects up to applied_index."""
    directory = str(tmp_path / "engine")
    dice = Random(1)
    applied = 0
    for _ in range(ROUNDS):
        owner = subprocess.Popen(
            [sys.executable, str(OWNER), directory], stdout=subprocess.PIPE
        )
        assert owner.stdout is not None
        for _ in range(dice.randrange(1, 200)):
            assert owner.stdout.readline()
        owner.kill()
        owner.stdout.close()
        owner.wait()
        # At once, with the worker perhaps still there.
        engine = _open(directory, OPTIONS)
        assert engine.applied_index >= applied
        applied = engine.applied_index
        model: dict[bytes, bytes] = {}
        for index in range(1, applied + 1):
            apply(model, effects(index))
        same(engine.view(), model)
        engine.close()
        _wait_until_gone(directory)
        manifest = load_manifest(RealEnv(), directory)
        assert manifest is not None
        names = {file.name for file in manifest.files()}
        found = {path.name for path in (tmp_path / "engine").iterdir()}
        assert found == names | {"MANIFEST", "LOCK", "work"}
    assert applied > 0
