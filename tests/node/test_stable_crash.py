"""A replica's disk when the process or the power ends at any operation."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from quorate.node.stable import Opened, Stable
from quorate.raft import HardState
from quorate.storage.memory_env import Crashed, Kind, MemoryEnv, Operation

from .stable_kit import (
    ENGINE,
    VOTERS,
    flush,
    new_disk,
    persist,
    puts,
    receive,
    start,
)


def cut_short(env: MemoryEnv, operations: int, work: Callable[[], object]) -> bool:
    """Do `work` until the process ends before its n-th operation; did it end?"""
    left = operations

    def hook(operation: Operation) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crashed

    env.on_operation = hook
    try:
        work()
    except Crashed:
        return True
    finally:
        env.on_operation = None
    return False


def every_end(env: MemoryEnv, seeds: int) -> list[MemoryEnv]:
    """The disk after a kill, and after a few power losses."""
    killed = env.copy()
    killed.kill()
    disks = [killed]
    for seed in range(seeds):
        disk = env.copy()
        disk.crash(random.Random(seed))
        disks.append(disk)
    return disks


def test_a_bootstrap_cut_short_anywhere_is_done_again() -> None:
    operations = 0
    while True:
        env = new_disk()
        crashed = cut_short(env, operations, lambda env=env: start(env))
        for disk in every_end(env, 12):
            stable, opened = start(disk)
            assert opened.snapshot.index == 1
            assert opened.snapshot.configuration == VOTERS
            assert opened.hard_state == HardState(1, 0, 1)
            assert (opened.entries, opened.doubt) == ([], None)
            persist(stable, puts(2, 3), vote=2)
            disk.crash(random.Random(1))
            again = start(disk, None)[1]
            assert again.entries == puts(2, 3)
            assert again.hard_state.vote == 2
        if not crashed:
            break
        operations += 1
    assert operations > 15


def test_a_vote_after_a_bootstrap_outlives_everything() -> None:
    """Once `open` has returned, no crash makes a replica that never voted of it."""
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 2, term=4), vote=3)
    for disk in env.crash_states(tear=True, unread=f"{ENGINE}/work"):
        opened = start(disk)[1]
        assert (opened.hard_state.term, opened.hard_state.vote) == (4, 3)


def running() -> tuple[MemoryEnv, Stable, Opened]:
    """Entries 2 to 9 are durable, 6 of them applied."""
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9), commit=6, vote=2)
    opened.database.apply(puts(2, 6))
    return env, stable, opened


def compact(stable: Stable, opened: Opened) -> None:
    """What a node does: flush, then move the journal's base."""
    flush(opened)
    persist(stable, puts(10, 10), base=(6, 1), commit=6, vote=2)


def test_a_flush_cut_short_anywhere_leaves_the_old_or_the_new_state() -> None:
    operations = 0
    seen: Counter[int] = Counter()
    while True:
        env, stable, opened = running()
        state_hash = opened.database.state_hash()

        def work(stable: Stable = stable, opened: Opened = opened) -> None:
            compact(stable, opened)

        crashed = cut_short(env, operations, work)
        for disk in every_end(env, 8):
            _, found = start(disk, None)
            index = found.snapshot.index
            seen[index] += 1
            assert index in (1, 6)
            assert found.entries[: 9 - index] == puts(index + 1, 9)
            assert (found.hard_state.term, found.hard_state.vote) == (1, 2)
            found.database.apply(puts(index + 1, 6))
            assert found.database.state_hash() == state_hash
            if not crashed:
                assert index == 6
                assert found.entries == puts(7, 10)
        if not crashed:
            break
        operations += 1
    assert operations >= 8
    assert set(seen) == {1, 6}


def test_a_state_that_was_read_is_durable() -> None:
    """Story: the process ended inside `commit`. The next one found the new name, built
    on it, and pruned the old checkpoint; then the power took the new name.
    """
    env, _, opened = running()

    def until_the_manifest_is_durable(operation: Operation) -> None:
        if operation.kind == "sync_directory" and env.peek(ENGINE)["MANIFEST"] != old:
            raise Crashed

    old = env.peek(ENGINE)["MANIFEST"]
    env.on_operation = until_the_manifest_is_durable
    with pytest.raises(Crashed):
        flush(opened)
    env.on_operation = None
    env.kill()
    _, opened = start(env)
    assert opened.snapshot.index == 6
    for disk in env.crash_states(tear=True, unread=f"{ENGINE}/work"):
        assert start(disk)[1].snapshot.index == 6


def test_a_received_state_cut_short_anywhere_is_the_old_or_the_new_one() -> None:
    """Engine new, journal old: the reset that `open` writes is done again."""
    operations = 0
    seen: Counter[int] = Counter()
    while True:
        env, _, opened = running()

        def work(env: MemoryEnv = env, opened: Opened = opened) -> None:
            receive(opened, 40, 7)
            env.kill()
            start(env)

        crashed = cut_short(env, operations, work)
        for disk in every_end(env, 6):
            _, found = start(disk, None)
            index = found.snapshot.index
            seen[index] += 1
            if index == 1:
                assert found.entries == puts(2, 9)
            else:
                assert (index, found.snapshot.term) == (40, 7)
                assert found.entries == []
                assert found.database.keys == 39
            assert (found.hard_state.term, found.hard_state.vote) == (1, 2)
        if not crashed:
            break
        operations += 1
    assert operations > 15
    assert set(seen) == {1, 40}


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename"])
def test_a_flush_that_failed_leaves_the_old_state(kind: Kind) -> None:
    env, _, opened = running()
    env.fail(kind, ENGINE)
    with pytest.raises(OSError, match="Input/output"):
        flush(opened)
    for disk in every_end(env, 4):
        assert start(disk)[1].snapshot.index == 1


def test_a_failed_name_may_be_there_or_not_and_both_are_right() -> None:
    env, _, opened = running()
    env.fail("sync_directory", ENGINE, after=1)
    with pytest.raises(OSError, match="Input/output"):
        flush(opened)
    assert {start(d)[1].snapshot.index for d in every_end(env, 12)} == {1, 6}
