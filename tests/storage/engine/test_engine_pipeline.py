"""Two memtables on their way at once: edits come in order, whoever is ready first."""

from collections.abc import Callable

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.engine.jobs import InlineJobs, Job
from quorate.storage.engine.memtable import Memtable
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, SMALL, Names, same

KEYS = [b"a", b"b", b"c", b"d"]


class Slow(InlineJobs):
    """Has the tables of a memtable once `ready` has its first key; `fails` raises."""

    def __init__(self, env: MemoryEnv, work: str, names: Names) -> None:
        super().__init__(env, work, names, SMALL)
        self.ready: set[bytes] = set()
        self.fails: set[bytes] = set()
        self.begun: list[bytes] = []

    def flush(self, memtable: Memtable) -> Job:
        key = min(memtable.data)
        self.begun.append(key)
        while key not in self.ready:
            if key in self.fails:
                raise OSError(28, "full")
            yield 0
        return (yield from super().flush(memtable))


class Fixture:
    """An engine with four frozen memtables, each of one key and value."""

    def __init__(self) -> None:
        self.env = MemoryEnv()
        self.made: list[Slow] = []
        self.names = Names()
        self.engine = Engine(self.env, DIRECTORY, self.names, SMALL, self._jobs)
        self.jobs = self.made[0]
        for index, key in enumerate(KEYS, start=1):
            self.engine.write({key: key * 5, b"last": key}, index, b"%d" % index)
            self.engine.freeze()

    def _jobs(self, work: str, options: EngineOptions) -> Slow:
        assert options is SMALL
        self.made.append(Slow(self.env, work, self.names))
        return self.made[-1]

    def work(self) -> None:
        for _ in range(50):
            self.engine.work(1)

    def check(self) -> None:
        model = {key: key * 5 for key in KEYS} | {b"last": KEYS[-1]}
        same(self.engine.view(), model)
        assert all(self.engine.get(key) == value for key, value in model.items())


def test_two_are_on_their_way_and_no_more() -> None:
    it = Fixture()
    it.work()
    assert it.jobs.begun == [b"a", b"b"]
    it.jobs.ready.add(b"a")
    it.work()
    assert it.jobs.begun == [b"a", b"b", b"c"]
    assert it.engine.applied_index == 1


def test_one_that_is_ready_first_waits_for_the_one_before() -> None:
    it = Fixture()
    it.jobs.ready.add(b"b")
    it.work()
    assert it.engine.applied_index == 0
    assert it.engine.levels() == []
    it.check()
    it.jobs.ready.add(b"a")
    it.work()
    assert (it.engine.applied_index, it.engine.meta) == (2, b"2")
    it.check()
    it.jobs.ready |= {b"c", b"d"}
    it.work()
    assert (it.engine.applied_index, it.engine.meta) == (4, b"4")
    it.check()


def fails_alone(it: Fixture) -> None:
    it.jobs.fails.add(b"a")


def fails_beside_another(it: Fixture) -> None:
    it.jobs.fails |= {b"a", b"b"}


@pytest.mark.parametrize("fails", [fails_alone, fails_beside_another])
def test_one_that_fails_is_done_again_before_those_behind_it(
    fails: Callable[[Fixture], None],
) -> None:
    it = Fixture()
    it.jobs.ready.add(b"b")
    it.work()
    it.jobs.ready.clear()
    fails(it)
    with pytest.raises(OSError, match="full"):
        it.work()
    assert it.engine.applied_index == 0
    it.jobs.fails.clear()
    it.jobs.ready |= set(KEYS)
    it.work()
    assert it.engine.applied_index == 4
    it.check()
    assert it.jobs.begun.count(b"a") == 2


def test_what_waits_is_given_up_with_the_rest() -> None:
    """A merge of everything, a store that comes from elsewhere, an end."""
    it = Fixture()
    it.jobs.ready.add(b"b")
    it.work()
    it.env.kill()
    again = Engine(it.env, DIRECTORY, it.names, SMALL)
    assert again.applied_index == 0
    assert again.levels() == []
    (work,) = it.env.list(f"{DIRECTORY}/work")
    assert it.env.list(f"{DIRECTORY}/work/{work}") == [], "of this opening, and empty"
    again.close()
    other = Fixture()
    other.jobs.ready |= set(KEYS)
    other.engine.compact()
    other.check()
    assert len(other.engine.levels()) == 1
    other.engine.close()
