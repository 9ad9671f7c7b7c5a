"""Process or power end at any operation: what is told afterwards is durable."""

import random
from collections import Counter

import pytest
from quorate.storage.errors import CorruptionError, JournalFailed
from quorate.storage.journal import Journal
from quorate.storage.journal_format import BLOCK_BYTES, segment_name
from quorate.storage.memory_env import Crashed, Kind, MemoryEnv, Operation

from .journal_kit import (
    BLOCK_ROOM,
    DIRECTORY,
    OPTIONS,
    SALT,
    Run,
    State,
    batch,
    entry,
    new_disk,
    open_journal,
    persist,
    recover,
    script,
    state_of,
)


def crash_at(operation: int) -> tuple[Run, Operation | None]:
    """Run the script until the process ends before its n-th operation."""
    env = new_disk()
    left = operation
    last: list[Operation] = []

    def hook(operation: Operation) -> None:
        nonlocal left
        last.append(operation)
        left -= 1
        if left < 0:
            raise Crashed

    env.on_operation = hook
    run = Run(env)
    try:
        run.go()
    except Crashed:
        env.on_operation = None
        return run, last[-1]
    env.on_operation = None
    return run, None


def test_the_script_does_everything() -> None:
    """The tests below are worth what their workload is worth."""
    env = new_disk()
    seen: list[Operation] = []
    env.on_operation = seen.append
    run = Run(env)
    run.go()
    kinds = Counter(operation.kind for operation in seen)
    assert set(kinds) == {
        "create",
        "write",
        "sync",
        "rename",
        "remove",
        "sync_directory",
    }
    renamed = Counter(o.path.endswith("-spare.seg") for o in seen if o.kind == "rename")
    assert min(renamed[True], renamed[False]) >= 2
    assert run.journal is not None
    assert run.journal.segments[0].sequence > 4
    assert len(script()) > 10


@pytest.mark.slow
def test_the_power_fails_at_any_operation() -> None:
    operation, states = 0, 0
    while True:
        run, last = crash_at(operation)
        dice = random.Random(operation)
        for _ in range(6):
            disk = run.env.copy()
            disk.crash(dice)
            run.expect(recover(disk))
            states += 1
        if last is None:
            break
        operation += 1
    assert operation > 50
    assert states > 300


@pytest.mark.slow
def test_the_process_is_killed_at_any_operation_and_then_the_power_fails() -> None:
    """What the reopened journal told is there after the power loss: all of it."""
    operation = 0
    while True:
        run, last = crash_at(operation)
        run.env.kill()
        recovered = recover(run.env)
        run.expect(recovered)
        told = state_of(recovered)
        dice = random.Random(operation)
        for _ in range(4):
            disk = run.env.copy()
            disk.crash(dice)
            assert state_of(recover(disk)) == told
        if last is None:
            break
        operation += 1
    assert operation > 50


def test_recovery_itself_may_be_cut_short_anywhere() -> None:
    """Crash, and crash again at each operation of the recovery, and again."""
    seen: Counter[Kind] = Counter()
    for operation in range(0, 80, 3):
        run, _ = crash_at(operation)
        run.env.kill()
        for step in range(4):
            disk = run.env.copy()
            left = step

            def hook(operation: Operation) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    seen[operation.kind] += 1
                    raise Crashed

            disk.on_operation = hook
            try:
                recovered = recover(disk)
            except Crashed:
                disk.on_operation = None
                disk.crash(random.Random(operation))
                recovered = recover(disk)
            run.expect(recovered)
    assert set(seen) == {"write", "sync", "sync_directory"}


@pytest.mark.slow
def test_work_goes_on_after_a_crash_at_any_operation() -> None:
    operation = 0
    while True:
        run, last = crash_at(operation)
        run.env.crash(random.Random(operation))
        journal, state = open_journal(run.env)
        for step in range(5):
            one = batch(
                state.last_index + 1,
                [entry(9, b"%d" % step), entry(9, bytes(2 * BLOCK_BYTES))],
                term=9,
                commit_index=state.last_index,
                base=(state.base if step % 2 else (state.last_index, state.last[0])),
            )
            persist(journal, one)
            state = state.after(one)
            run.env.crash(random.Random(operation * 10 + step))
            journal, found = open_journal(run.env)
            assert found.entries == state.entries
            assert (found.term, found.base) == (state.term, state.base)
        if last is None:
            break
        operation += 1


def killed_between_write_and_sync() -> tuple[MemoryEnv, State]:
    env = new_disk()
    journal, state = open_journal(env)
    first, second = batch(1, [entry(1)]), batch(2, [entry(2)], term=2, vote=3)
    persist(journal, first)
    journal.append(second)
    env.kill()
    return env, state.after(first).after(second)


def test_a_batch_read_from_the_page_cache_is_made_durable_before_it_is_told() -> None:
    """Story: the simulator found it. A process ended between write and sync; the next
    one read the batch back whole, acknowledged it to the leader, and lost it with the
    power.
    """
    env, state = killed_between_write_and_sync()
    assert open_journal(env)[1] == state
    for disk in env.crash_states(tear=True):
        assert open_journal(disk)[1] == state


def test_after_a_failed_sync_the_batch_is_written_again() -> None:
    """Story: the sync failed and the process ended. The cache calls the pages clean, so
    the next process's sync alone would do nothing, and report success.
    """
    env, state = killed_between_write_and_sync()
    file = env.open(f"{DIRECTORY}/{segment_name(1)}")
    env.fail("sync")
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    assert open_journal(env)[1] == state
    env.crash(random.Random(0))
    assert open_journal(env)[1] == state


@pytest.mark.parametrize("rolled", [False, True])
@pytest.mark.parametrize("sync_failed", [False, True])
@pytest.mark.parametrize("at", [10, 150, BLOCK_BYTES + 100, 2 * BLOCK_BYTES - 5])
def test_a_damaged_batch_that_was_told_stays_as_it_was_told(
    at: int, sync_failed: bool, rolled: bool
) -> None:
    """Story: a batch was half in the page cache when the process ended. Its identity
    was told, and a vote was answered with it; then the power failed, the cache was
    lost, the disk had never seen the batch, and the replica voted a second time.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    filler = bytes(2 * BLOCK_BYTES + BLOCK_ROOM - 100) if rolled else b""
    persist(journal, batch(1, [entry(1, filler)]))
    lost = batch(2, [entry(5, bytes(BLOCK_BYTES))], term=5, vote=4)
    journal.append(lost)
    if sync_failed:
        env.fail("sync")
        with pytest.raises(JournalFailed):
            journal.sync()
    env.kill()
    name = segment_name(2 if rolled else 1)
    env.flip_bit(f"{DIRECTORY}/{name}", at if rolled else BLOCK_BYTES + at, 3)
    _, told = open_journal(env)
    assert (told.term, told.vote) == (5, 4)
    assert told.doubt == ((5, 2) if at < 5000 else None)
    if sync_failed:
        env.crash(random.Random(at))
        assert open_journal(env)[1] == told
    for disk in env.crash_states(tear=True):
        assert open_journal(disk)[1] == told


def test_the_name_of_an_empty_segment_is_durable_before_it_is_used() -> None:
    """Story: the process was killed between giving a new segment its name and syncing
    the folder. The next one found the segment, empty, wrote and synced a batch in it,
    acknowledged, and the power took the file with its name.
    """
    for index in (5, 9):  # a new file, and a recycled one
        env = new_disk()
        journal, state = open_journal(env)
        for at in range(1, index):
            one = batch(at, [entry(1)], base=(at - 1, 1))
            persist(journal, one)
            state = state.after(one)

        def hook(operation: Operation) -> None:
            if operation.kind == "sync_directory":
                raise Crashed

        env.on_operation = hook
        with pytest.raises(Crashed):
            journal.append(batch(index, [entry(1)]))
        env.on_operation = None
        env.kill()
        journal, found = open_journal(env)
        assert found == state
        assert journal.offset == 0
        one = batch(index, [entry(1, b"acknowledged")])
        persist(journal, one)
        assert state_of(recover(env.copy())) == state.after(one)
        for disk in env.crash_states(tear=True):
            assert open_journal(disk)[1] == state.after(one)


def test_a_first_boot_may_fail_at_any_operation_with_any_salt() -> None:
    """Each boot comes with a salt of its own; the one that is on the disk counts."""
    for operation in range(12):
        env = new_disk()
        left = operation

        def hook(operation: Operation) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crashed

        env.on_operation = hook
        journal, _ = open_journal(env)
        first = batch(1, [entry(1, bytes(BLOCK_BYTES))])
        state = State()
        try:
            persist(journal, first)
            state = state.after(first)
        except Crashed:
            env.on_operation = None
        env.on_operation = None
        for seed in range(8):
            disk = env.copy()
            disk.crash(random.Random(seed))
            journal, recovered = Journal.open(disk, DIRECTORY, OPTIONS, SALT + 1)
            persist(journal, batch(recovered.last_index + 1, [entry(2)], term=2))
            disk.crash(random.Random(seed))
            again = Journal.open(disk, DIRECTORY, OPTIONS, SALT + 2)[1]
            assert again.last_index == recovered.last_index + 1
            assert again.last_index >= state.last_index + 1


@pytest.mark.parametrize("second_at", [None, 70, 150])
@pytest.mark.parametrize("first_at", [70, 150])
def test_a_damaged_segment_may_be_the_first_one_left(
    first_at: int, second_at: int | None
) -> None:
    """Story: the state machine found it. A segment held nothing but a torn batch, the
    next one's batch said so; then the front was reclaimed, and the power failed between
    the removals. The torn batch was now the first of all and was taken for a durable
    one. (70: damaged in the head, known by the foot; 150: the other way round.)
    """
    env = new_disk()
    journal, _ = open_journal(env)
    full = [entry(1, bytes(3 * BLOCK_BYTES))]
    persist(journal, batch(1, full), batch(2, [entry(2)], term=2))
    for name, at in ((segment_name(2), first_at), (segment_name(3), second_at)):
        if at is None:
            continue
        env.flip_bit(f"{DIRECTORY}/{name}", at, 0)
        env.kill()
        journal, state = open_journal(env)
        assert state.doubt is not None
        persist(journal, batch(2, [entry(3)], term=3))
    env.sync_directory(DIRECTORY)
    reset = batch(9, [entry(4)], term=4, reset=(8, 4))
    syncs, moments = journal.syncs, list[MemoryEnv]()

    def reclaims(operation: Operation) -> None:
        if journal.syncs > syncs:
            moments.append(env.copy())

    env.on_operation = reclaims
    persist(journal, reset)
    env.on_operation = None
    state = State().after(reset)
    seen: set[str] = set()
    for moment in (*moments, env):
        moment.on_operation = None
        for disk in moment.crash_states(tear=True):
            seen.update(disk.list(DIRECTORY))
            assert open_journal(disk)[1] == state
    assert {segment_name(2), f"{2:016x}-spare.seg"} <= seen


def test_a_damaged_segment_with_nothing_behind_it_is_corruption() -> None:
    """It is the first one, so those before it were reclaimed: its batch was durable."""
    for at in (70, 150):
        env = new_disk()
        journal, _ = open_journal(env)
        for index in range(1, 6):
            persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
        env.kill()
        assert segment_name(1) not in env.list(DIRECTORY)
        env.flip_bit(f"{DIRECTORY}/{segment_name(2)}", at, 0)
        with pytest.raises(CorruptionError) as caught:
            recover(env)
        assert caught.value.path == f"{DIRECTORY}/{segment_name(2)}"
