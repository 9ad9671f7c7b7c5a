"""The env that fails when it is told to, over one in memory."""

import errno
from collections.abc import Callable
from random import Random

import pytest
from quorate.storage.env import read_file
from quorate.storage.faulty_env import ALWAYS, Faults, FaultyEnv, Rules
from quorate.storage.memory_env import MemoryEnv


class Died(Exception):
    """In the place of a process's end."""


def die() -> None:
    raise Died


class Disk:
    """A faulty env with one file, and what it was made of."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.inner = MemoryEnv()
        self.faults = Faults(self.waits.append, die)
        self.env = FaultyEnv(self.inner, self.faults)
        self.file = self.env.open("f", create=True)
        self.file.write_at(0, b"before")
        self.file.sync()
        self.env.sync_directory(".")

    def errors(self, act: Callable[[], object], times: int) -> list[int]:
        """The errors of so many tries, 0 where there was none."""
        found: list[int] = []
        for _ in range(times):
            try:
                act()
                found.append(0)
            except OSError as error:
                found.append(error.errno or 0)
        return found


@pytest.fixture
def disk() -> Disk:
    return Disk()


def rules_of(name: str, times: int) -> Rules:
    rules = Rules()
    setattr(rules, name, times)
    return rules


def operations(disk: Disk) -> dict[str, Callable[[], object]]:
    return {
        "reads": lambda: disk.file.read_at(0, 1),
        "writes": lambda: disk.file.write_at(0, b"x"),
        "syncs": disk.file.sync,
    }


def test_without_rules_it_is_the_inner_env(disk: Disk) -> None:
    assert disk.file.read_at(0, 6) == b"before"
    assert disk.file.size() == 6
    disk.env.make_directory("d")
    disk.env.rename("f", "d/g")
    disk.env.link("d/g", "h")
    disk.env.sync_directory("d")
    assert disk.env.list("d") == disk.inner.list("d") == ["g"]
    assert disk.env.free_bytes("d") == disk.inner.free_bytes("d") > 0
    disk.env.remove("d/g")
    disk.env.remove_directory("d")
    assert not disk.env.exists("d")
    assert disk.env.size("h") == 6
    disk.env.lock("l").release()
    disk.file.close()
    assert (disk.faults.hits, disk.waits) == (0, [])


@pytest.mark.parametrize("name", ["reads", "writes", "syncs"])
def test_so_many_operations_fail_and_then_no_more(disk: Disk, name: str) -> None:
    act = operations(disk)[name]
    disk.faults.rules = rules_of(name, 2)
    assert disk.errors(act, 4) == [errno.EIO, errno.EIO, 0, 0]
    assert disk.faults.hits == 2
    disk.faults.rules = rules_of(name, ALWAYS)
    assert disk.errors(act, 3) == [errno.EIO] * 3
    others = [other for key, other in operations(disk).items() if key != name]
    assert [disk.errors(other, 1) for other in others] == [[0], [0]]


def test_a_write_that_failed_wrote_nothing(disk: Disk) -> None:
    disk.faults.rules = Rules(writes=1)
    assert disk.errors(lambda: disk.file.write_at(0, b"after"), 1) == [errno.EIO]
    assert read_file(disk.inner, "f") == b"before"


def test_nothing_grows_on_a_full_disk_and_what_is_there_may_change(disk: Disk) -> None:
    disk.faults.rules = Rules(full=True)
    grow = {
        "append": lambda: disk.file.write_at(6, b"x"),
        "extend": lambda: disk.file.truncate(7),
        "create": lambda: disk.env.open("g", create=True),
        "link": lambda: disk.env.link("f", "g"),
        "directory": lambda: disk.env.make_directory("d"),
    }
    for name, act in grow.items():
        assert disk.errors(act, 1) == [errno.ENOSPC], name
    assert disk.env.free_bytes(".") == 0
    assert disk.faults.hits == len(grow) + 1
    disk.file.write_at(0, b"BEFORE")
    disk.file.truncate(3)
    disk.file.sync()
    assert read_file(disk.env, "f") == b"BEF"
    disk.faults.rules = Rules()
    disk.file.write_at(3, b"after")
    assert read_file(disk.env, "f") == b"BEFafter"


def test_a_slow_disk_waits_in_each_sync(disk: Disk) -> None:
    disk.faults.rules = Rules(sync_delay_s=0.25)
    disk.file.sync()
    disk.env.sync_directory(".")
    assert disk.waits == [0.25, 0.25]
    assert disk.faults.hits == 2


def test_a_torn_write_is_on_the_disk_in_part_and_nothing_comes_after_it(
    disk: Disk,
) -> None:
    disk.faults.rules = Rules(tear=0.5)
    with pytest.raises(Died):
        disk.file.write_at(0, b"AFTER!")
    assert disk.faults.hits == 1
    disk.inner.crash(Random(1))
    assert read_file(disk.inner, "f") == b"AFTore"


DIES: dict[str, Callable[[Disk], object]] = {
    "engine.write": lambda disk: disk.file.write_at(0, b"x"),
    "engine.sync": lambda disk: disk.file.sync(),
    "engine.create": lambda disk: disk.env.open("g", create=True),
    "engine.rename": lambda disk: disk.env.rename("f", "h"),
    "engine.remove": lambda disk: disk.env.remove("f"),
    "engine.sync_directory": lambda disk: disk.env.sync_directory("."),
}


@pytest.mark.parametrize("place", DIES)
def test_a_process_dies_before_the_operation_that_is_named_and_before_no_other(
    disk: Disk, place: str
) -> None:
    disk.faults.rules = Rules(die_before=place)
    for name, act in DIES.items():
        # What takes the file away is tried as the last, by itself.
        if name not in (place, "engine.rename", "engine.remove"):
            act(disk)
    with pytest.raises(Died):
        DIES[place](disk)
    assert disk.faults.hits == 1
    # It did not take place.
    content = b"before" if place == "engine.write" else b"xefore"
    assert read_file(disk.inner, "f") == content
    assert disk.env.exists("g") == (place != "engine.create")


def test_a_place_in_the_journal_is_none_of_the_engine(disk: Disk) -> None:
    disk.env.make_directory("journal")
    file = disk.env.open("journal/s", create=True)
    disk.faults.rules = Rules(die_before="journal.write")
    disk.file.write_at(0, b"x")
    with pytest.raises(Died):
        file.write_at(0, b"x")
