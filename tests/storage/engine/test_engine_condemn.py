"""A store that is given up while work on it is under way: at once, and whole."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from quorate.storage.engine import Droppable, Engine, EngineOptions, Worker, working
from quorate.storage.engine.edit import make_durable, remove
from quorate.storage.engine.jobs import InlineJobs, Job
from quorate.storage.engine.version import Version
from quorate.storage.env import RealEnv
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, SMALL, Names, new_engine, receive, same

T = TypeVar("T")
DAMAGE = CorruptionError("a table", 7, "it is spoilt")


class Threaded(InlineJobs):
    """What is in `slow` a thread does: once it is waited for, who asked for it or not.

    Merges are as a worker's that meets damage, if that is `spoilt`.
    """

    def __init__(self, env: MemoryEnv, work: str, names: Names) -> None:
        super().__init__(env, work, names, SMALL)
        self.slow: set[object] = set()
        self._begun: list[Callable[[], None]] = []
        self.spoilt = False
        self.waits = 0

    def run(self, function: Callable[[], T]) -> Generator[int, None, T]:
        done: list[T] = []
        if getattr(function, "func", None) not in self.slow:
            return function()
        failed: list[OSError] = []

        def do() -> None:
            try:
                done.append(function())
            except OSError as error:
                failed.append(error)

        self._begun.append(do)
        while not done and not failed:
            yield 0
        if failed:
            raise failed[0]
        return done[0]

    def merge(
        self,
        source: Version,
        sparse: Collection[bytes],
        droppable: Sequence[Droppable],
        *,
        oldest: bool,
    ) -> Job:
        yield 0
        if self.spoilt:
            raise CorruptionError("a run", 0, "the merge met it")
        return (yield from super().merge(source, sparse, droppable, oldest=oldest))

    def wait(self) -> None:
        self.waits += 1
        assert self.waits < 50, "somebody waits for ever"
        while self._begun:
            self._begun.pop(0)()


class Fixture:
    """An engine whose jobs are `Threaded`."""

    def __init__(self) -> None:
        self.env = MemoryEnv()
        self.names = Names()
        self.made: list[Threaded] = []
        self.engine = Engine(self.env, DIRECTORY, self.names, SMALL, self._jobs)
        self.jobs = self.made[0]

    def _jobs(self, work: str, options: EngineOptions) -> Threaded:
        assert options is SMALL
        self.made.append(Threaded(self.env, work, self.names))
        return self.made[-1]

    def begin_an_edit(self) -> None:
        """Of a flush, and it does not come to its end."""
        self.jobs.slow.add(make_durable)
        self.engine.write({b"new": b"x"}, self.engine.last_index + 1, b"new")
        self.engine.freeze()
        while not self.engine._editing:
            self.engine.work(1)

    def check_condemned(self) -> None:
        engine = self.engine
        assert engine.damage is DAMAGE
        for key in (b"new", b"old", b"none"):
            with pytest.raises(CorruptionError) as caught:
                engine.get(key)
            assert caught.value is DAMAGE
        with pytest.raises(CorruptionError):
            list(engine.scan())
        assert not engine.work()
        assert not engine.owed
        assert engine.last_index == engine.applied_index

    def replace(self) -> None:
        """Another state comes; it is read, and is there after an opening."""
        sender = new_engine()
        sender.write({b"theirs": b"1"}, 9)
        sender.flush()
        receive(self.engine, sender.pin().pieces())
        same(self.engine.view(), {b"theirs": b"1"})
        self.engine.close()
        again = Engine(self.env, DIRECTORY, self.names, SMALL)
        same(again.view(), {b"theirs": b"1"})


def test_a_mark_that_cannot_be_written_leaves_nothing_to_be_read() -> None:
    """Story: the mark came first, and on a full disk the replica went on to answer."""
    it = Fixture()
    it.engine.write({b"old": b"x"}, 1)
    it.engine.flush()
    it.engine.write({b"new": b"x"}, 2)
    it.env.fail("write", f"{DIRECTORY}/CONDEMNED", error=errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        it.engine.condemn(DAMAGE, lasting=True)
    it.check_condemned()
    it.replace()


def test_an_edit_that_is_on_its_way_makes_no_condemned_store_whole() -> None:
    it = Fixture()
    it.engine.write({b"old": b"x"}, 1, b"old")
    it.engine.flush()
    it.begin_an_edit()
    it.engine.condemn(DAMAGE)
    it.check_condemned()
    assert (it.engine.applied_index, it.engine.meta) == (2, b"new")
    it.replace()


def test_a_merge_that_meets_damage_holds_up_nobody_who_gives_the_store_up() -> None:
    """Story: stopping the jobs made steps of all of them until the edit was done.

    The merge raised its damage, the edit was forgotten half-way, and who installed
    another state waited for its end for ever.
    """
    it = Fixture()
    for index in (1, 2):
        it.engine.write({b"old": b"%d" % index}, index)
        it.engine.flush()
    it.begin_an_edit()
    assert it.engine._compacting is not None
    it.jobs.spoilt = True
    it.engine.condemn(DAMAGE)
    assert not it.engine._editing
    it.check_condemned()
    it.replace()


def test_a_merge_that_waits_for_its_edit_leaves_nothing_when_it_is_dropped() -> None:
    """Story: its files stayed until the next opening."""
    it = Fixture()
    for index in (1, 2):
        it.engine.write({b"old": b"%d" % index}, index)
        it.engine.flush()
    it.begin_an_edit()
    for _ in range(9):
        it.engine.work(1)
    (work,) = it.env.list(f"{DIRECTORY}/work")
    # And that of the flush whose edit it is.
    assert len(it.env.list(f"{DIRECTORY}/work/{work}")) == 2
    it.engine.condemn(DAMAGE)
    assert it.env.list(f"{DIRECTORY}/work/{work}") == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_edit_that_fails_meanwhile_changes_nothing_of_that(code: int) -> None:
    """Where a sync failed the owner must still hear of it (I-19)."""
    it = Fixture()
    it.begin_an_edit()
    it.env.fail("write", f"{DIRECTORY}/MANIFEST", error=code)
    if code == errno.EIO:
        with pytest.raises(OSError, match="error"):
            it.engine.condemn(DAMAGE, lasting=True)
    else:
        it.engine.condemn(DAMAGE, lasting=True)
    it.check_condemned()
    assert it.env.exists(f"{DIRECTORY}/CONDEMNED")
    it.replace()


def test_a_removal_that_is_late_does_not_meet_what_came_under_the_same_names() -> None:
    """Story: a state had files that a merge here had just done away with.

    They were in the thread's hands when that state was installed, and were removed from
    it: the next opening found a table missing.
    """
    sender, it = new_engine(EngineOptions()), Fixture()
    it.names.count = 1 << 20
    for index in (1, 2):
        sender.write({b"k%d" % index: b"v" * 30}, index)
        sender.flush()
    receive(it.engine, sender.pin().pieces())
    names = it.engine.manifest.names()
    it.jobs.slow.add(remove)
    while it.engine.manifest.names() == names:
        it.engine.work(1)
    assert names < set(it.env.list(DIRECTORY))
    sender.write({b"k3": b"v"}, 3)
    sender.flush()
    assert names < sender.manifest.names()
    receive(it.engine, sender.pin().pieces())
    it.jobs.wait()
    assert it.engine.manifest.names() < set(it.env.list(DIRECTORY))
    it.engine.close()
    same(Engine(it.env, DIRECTORY, it.names, SMALL).view(), dict(sender.scan()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_dies_meanwhile_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = str(tmp_path / "engine")
    engine = Engine(RealEnv(), directory, lambda: os.urandom(16), SMALL, Worker)
    waited: list[None] = []

    def slow(*arguments: object, **more: object) -> Version:
        while not waited:
            time.sleep(0.01)
        return make_durable(*arguments, **more)  # type: ignore[arg-type]

    wait = Worker.wait

    def noted(worker: Worker) -> None:
        waited.append(None)
        wait(worker)

    monkeypatch.setattr(working, "make_durable", slow)
    engine.write({b"a": b"1"}, 1)
    engine.freeze()
    engine.write({b"b": b"v" * 300_000}, 2)
    while not engine._editing:
        engine.work(1)
    # The next memtable is with the worker, too.
    engine.freeze()
    engine.work(1)
    jobs = engine._jobs
    assert isinstance(jobs, Worker)
    assert jobs._process is not None
    os.kill(jobs._process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, jobs._process.pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(Worker, "wait", noted)
    engine.condemn(DAMAGE)
    assert engine.applied_index == 1
    with pytest.raises(CorruptionError):
        engine.get(b"a")
    sender = new_engine()
    sender.write({b"theirs": b"1"}, 9)
    sender.flush()
    receive(engine, sender.pin().pieces())
    same(engine.view(), {b"theirs": b"1"})
    engine.close()
