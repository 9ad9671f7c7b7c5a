"""The first failed write or sync is final; a full disk is waited out.

After any error at all, what comes back later lies between what was acknowledged and
what was tried.
"""

import errno
import random
from collections import Counter

import pytest
from quorate.storage.errors import JournalFailed, NoSpace
from quorate.storage.journal import Journal
from quorate.storage.journal_format import BLOCK_BYTES, segment_name
from quorate.storage.memory_env import Kind, MemoryEnv

from .journal_kit import (
    DIRECTORY,
    OPTIONS,
    SALT,
    Run,
    State,
    batch,
    entry,
    files_of,
    new_disk,
    open_journal,
    persist,
    recover,
    state_of,
)

CHANGES: list[Kind] = [
    "create",
    "open",
    "write",
    "sync",
    "rename",
    "remove",
    "sync_directory",
    "list",
    "exists",
    "size",
]


def expect_the_end(journal: Journal, failure: JournalFailed) -> None:
    """Whatever is asked of it, a failed journal says how it failed."""
    for _ in range(2):
        with pytest.raises(JournalFailed) as again:
            journal.sync()
        assert again.value is failure
        with pytest.raises(JournalFailed):
            journal.append(batch(1, [entry(99)], term=99))


def go_until_error(run: Run) -> JournalFailed | OSError | None:
    try:
        run.go()
    except (JournalFailed, OSError) as error:
        return error
    return None


@pytest.mark.parametrize("kind", CHANGES)
def test_every_failure_is_final_and_names_the_file(kind: Kind) -> None:
    fired = 0
    while True:
        env = new_disk()
        fault = env.fail(kind, DIRECTORY, after=fired)
        run = Run(env)
        error = go_until_error(run)
        assert (error is not None) == (fault.fired == 1)
        if error is None:
            break
        fired += 1
        if run.journal is None:
            assert isinstance(error, OSError), "opening says what the system says"
        else:
            # The fault struck once; only the journal itself remembers.
            assert isinstance(error, JournalFailed)
            assert error.path.startswith(DIRECTORY)
            assert error.path in str(error)
            expect_the_end(run.journal, error)
        run.expect(recover(env.copy()))
        env.heal()
        env.crash(random.Random(fired))
        run.expect(recover(env))
    assert fired >= (1 if kind in ("exists", "remove") else 2)


def test_a_failed_sync_is_not_made_good_by_a_second_one() -> None:
    """The second sync of those pages would succeed: the system calls them clean."""
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    env.fail("sync", DIRECTORY)
    journal.append(batch(2, [entry(1, b"lost")]))
    with pytest.raises(JournalFailed) as caught:
        journal.sync()
    syncs = env.statistics().syncs
    expect_the_end(journal, caught.value)
    assert env.statistics().syncs == syncs, "the file was left alone"
    assert caught.value.path == f"{DIRECTORY}/{segment_name(1)}"
    assert caught.value.action == "sync"
    env.crash(random.Random(1))
    assert recover(env).last_index == 1


def test_a_failed_write_is_final_although_the_disk_gets_better() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    env.fail("write", DIRECTORY, error=errno.ENOSPC)
    with pytest.raises(JournalFailed) as caught:
        journal.append(batch(2, [entry(1)]))
    expect_the_end(journal, caught.value)


def fill_first_segment(env: MemoryEnv) -> tuple[Journal, State]:
    """The next batch needs a new file."""
    journal, state = open_journal(env)
    one = batch(1, [entry(1, bytes(3 * BLOCK_BYTES))], term=1, vote=4)
    persist(journal, one)
    assert journal.offset == OPTIONS.segment_bytes
    return journal, state.after(one)


def test_no_space_leaves_everything_as_it_was() -> None:
    env = new_disk()
    journal, state = fill_first_segment(env)
    files = files_of(env)
    env.capacity_bytes = OPTIONS.segment_bytes + BLOCK_BYTES
    for _ in range(3):
        with pytest.raises(NoSpace) as caught:
            journal.append(batch(2, [entry(1)]))
        assert caught.value.wanted_bytes == OPTIONS.segment_bytes
        assert files_of(env) == files
    assert (journal.last, journal.batch) == ((1, 1), 1)
    assert state_of(recover(env.copy())) == state


def test_an_append_works_again_when_there_is_room_again() -> None:
    env = new_disk()
    journal, state = fill_first_segment(env)
    env.capacity_bytes = OPTIONS.segment_bytes
    more = batch(2, [entry(2)], term=2)
    with pytest.raises(NoSpace):
        journal.append(more)
    env.capacity_bytes = None
    persist(journal, more)
    env.crash(random.Random(1))
    assert state_of(recover(env)) == state.after(more)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename"])
def test_a_full_disk_at_any_step_of_a_new_file_is_waited_out(
    kind: Kind, error: int
) -> None:
    env = new_disk()
    journal, state = fill_first_segment(env)
    files = files_of(env)
    fault = env.fail(kind, DIRECTORY, error=error)
    more = batch(2, [entry(2)], term=2)
    with pytest.raises(NoSpace):
        journal.append(more)
    assert fault.fired
    assert files_of(env) == files
    persist(journal, more)
    env.crash(random.Random(1))
    assert state_of(recover(env)) == state.after(more)


def test_a_full_disk_for_a_batch_that_abandons_is_waited_out_too() -> None:
    """Behind a damaged batch a new segment is needed at once, and numbers are skipped:
    trying again must not skip twice.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]), batch(2, [entry(1)], vote=2))
    env.flip_bit(f"{DIRECTORY}/{segment_name(1)}", BLOCK_BYTES + 150, 1)
    env.kill()
    journal, state = open_journal(env)
    assert (state.doubt, state.vote) == ((1, 2), 2)
    env.capacity_bytes = OPTIONS.segment_bytes
    more = batch(2, [entry(1, b"repaired")])
    for _ in range(3):
        with pytest.raises(NoSpace):
            journal.append(more)
    env.capacity_bytes = None
    persist(journal, more, batch(3, [entry(1)]))
    env.crash(random.Random(1))
    assert recover(env).last_index == 3


def test_a_name_that_may_not_be_durable_is_never_made_good() -> None:
    """Story: a full disk at the folder's sync was answered with "try again later", and
    the next try synced the folder a second time, which proves nothing (I-19).
    """
    env = new_disk()
    journal, _ = fill_first_segment(env)
    env.fail("sync_directory", DIRECTORY, error=errno.ENOSPC)
    with pytest.raises(JournalFailed) as caught:
        journal.append(batch(2, [entry(1)]))
    assert caught.value.path == f"{DIRECTORY}/{segment_name(2)}"
    expect_the_end(journal, caught.value)


@pytest.mark.parametrize("kind", ["rename", "sync_directory", "open", "list", "size"])
def test_a_recycled_file_fails_as_finally_as_a_new_one(kind: Kind) -> None:
    """Story: errors while a spare file was given its name came out as the system's own,
    and the journal went on as if nothing had happened.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 9):
        persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
    assert journal.offset == OPTIONS.segment_bytes
    assert len(env.list(DIRECTORY)) == 2
    env.fail(kind, DIRECTORY)
    with pytest.raises(JournalFailed) as caught:
        journal.append(batch(9, [entry(1)]))
    expect_the_end(journal, caught.value)
    env.crash(random.Random(1))
    assert recover(env).last_index == 8


def test_a_full_disk_refuses_to_name_a_recycled_file_for_now() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 9):
        persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
    files = files_of(env)
    env.fail("rename", DIRECTORY, error=errno.ENOSPC)
    with pytest.raises(NoSpace):
        journal.append(batch(9, [entry(1)]))
    assert files_of(env) == files
    persist(journal, batch(9, [entry(1)]))
    assert recover(env.copy()).last_index == 9


def test_a_failed_settling_keeps_the_journal_shut() -> None:
    """What was read may be in the cache alone: unsynced, nobody may act on it."""
    env = new_disk()
    journal, _ = open_journal(env)
    journal.append(batch(1, [entry(1)]))
    env.kill()
    kinds: list[Kind] = ["write", "sync", "sync_directory"]
    for kind in kinds:
        env.fail(kind, DIRECTORY)
        with pytest.raises(JournalFailed):
            open_journal(env)
    assert open_journal(env)[1].last_index == 1


def test_a_journal_that_cannot_be_read_is_no_empty_journal() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    env.kill()
    seen: Counter[str] = Counter()
    kinds: list[Kind] = ["list", "open", "size", "read"]
    for kind in kinds:
        env.fail(kind, DIRECTORY)
        with pytest.raises(OSError, match="Input/output"):
            Journal.open(env, DIRECTORY, OPTIONS, SALT)
        seen[kind] += 1
    assert len(seen) == 4
    assert open_journal(env)[1].last_index == 1
