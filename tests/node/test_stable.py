"""A replica's disk: what it comes back with, and what it refuses to make sense of."""

import pytest
from quorate.node.stable import (
    BOOTSTRAP_INDEX,
    BOOTSTRAP_TERM,
    NotBootstrapped,
    Stable,
)
from quorate.raft import Configuration, HardState, SnapshotMark
from quorate.storage.errors import CorruptionError, NoSpace
from quorate.storage.journal import Batch
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.memory_env import MemoryEnv

from .stable_kit import (
    CHECKPOINTS,
    CLUSTER,
    JOURNAL,
    OPTIONS,
    SALT,
    VOTERS,
    checkpoint,
    files_of,
    name_of,
    new_disk,
    persist,
    puts,
    start,
)

BOOTSTRAP_MARK = SnapshotMark(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, VOTERS)


def expect_contradiction(env: MemoryEnv, path: str, reason: str) -> None:
    """An error that names the path, again and again, and every byte stays."""
    files = files_of(env)
    for bootstrap in (None, VOTERS):
        with pytest.raises(CorruptionError, match=reason) as caught:
            start(env, bootstrap)
        assert caught.value.path == path
    assert files_of(env) == files


def test_a_cluster_begins_with_a_checkpoint_at_index_1() -> None:
    _, opened = start(new_disk())
    assert opened.snapshot == BOOTSTRAP_MARK
    assert opened.hard_state == HardState(1, 0, 1)
    assert opened.entries == []
    assert opened.doubt is None
    assert opened.database.applied_index == 1
    assert opened.database.revision == 1


def test_the_bootstrap_is_used_once() -> None:
    env = new_disk()
    start(env)
    env.kill()
    _, opened = start(env, Configuration((9,)))
    assert opened.snapshot == BOOTSTRAP_MARK
    env.kill()
    assert start(env, None)[1].snapshot == BOOTSTRAP_MARK


def test_without_a_bootstrap_an_empty_directory_is_no_replica() -> None:
    env = new_disk()
    for _ in range(2):
        with pytest.raises(NotBootstrapped):
            start(env, None)
    assert files_of(env) == {}
    assert start(env)[1].snapshot == BOOTSTRAP_MARK


def test_what_was_persisted_comes_back() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 5), vote=2, commit=4)
    stable.close()
    _, opened = start(env)
    assert opened.entries == puts(2, 5)
    assert opened.hard_state == HardState(1, 2, 4)


def test_the_log_goes_on_behind_a_checkpoint() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9), commit=9)
    opened.database.apply(puts(2, 6))
    state_hash = opened.database.state_hash()
    assert checkpoint(stable, opened) == 6
    stable.prune(6)
    env.kill()
    stable, opened = start(env)
    assert env.list(CHECKPOINTS) == [f"{6:016x}.qck"]
    assert opened.snapshot == SnapshotMark(6, 1, VOTERS)
    assert opened.entries == puts(7, 9)
    assert opened.database.state_hash() == state_hash
    # The base may follow, behind or up to the checkpoint.
    for base in (3, 6):
        persist(stable, puts(7, 9), base=(base, 1))
        env.kill()
        stable, opened = start(env)
        assert opened.entries == puts(7, 9)


def test_the_newest_checkpoint_counts() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9))
    for last in (4, 7):
        opened.database.apply(puts(2, last))
        checkpoint(stable, opened)
    env.kill()
    assert start(env)[1].snapshot.index == 7
    assert len(env.list(CHECKPOINTS)) == 3


def received(env: MemoryEnv, last: int, term: int) -> None:
    """A checkpoint of a leader arrives: entries up to `last`, all of `term`."""
    leader = new_disk()
    _, opened = start(leader)
    opened.database.apply(puts(2, last, term))
    stable = Stable(env, "/data", CLUSTER, OPTIONS)
    checkpoint(stable, opened, "received")


def test_a_received_checkpoint_replaces_an_old_journal() -> None:
    """The process ended before the journal's reset: the old log is not its past."""
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 5, term=1), vote=3, commit=2)
    env.kill()
    received(env, 40, term=7)
    for _ in range(2):
        _, opened = start(env)
        assert opened.snapshot == SnapshotMark(40, 7, VOTERS)
        assert opened.entries == []
        assert (opened.hard_state.term, opened.hard_state.vote) == (1, 3)
        assert opened.database.applied_index == 40
        env.kill()
    stable, _ = start(env)
    persist(stable, puts(41, 42, term=8))
    env.kill()
    assert start(env)[1].entries == puts(41, 42, term=8)


def test_a_longer_log_of_another_history_is_not_joined_to_a_checkpoint() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 50, term=2))
    env.kill()
    received(env, 40, term=7)
    assert start(env)[1].entries == []


def test_a_longer_log_of_the_same_history_is_kept() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 50, term=7))
    env.kill()
    received(env, 40, term=7)
    assert start(env)[1].entries == puts(41, 50, term=7)


def damage_last_batch(env: MemoryEnv) -> None:
    """One bit in the body of the batch that was persisted last (of one block)."""
    block = len(files_of(env)[f"{JOURNAL}/{1:016x}.seg"].rstrip(b"\0")) // BLOCK_BYTES
    env.flip_bit(f"{JOURNAL}/{1:016x}.seg", (block - 1) * BLOCK_BYTES + 150, 0)


def test_a_doubt_outlives_the_reset_behind_a_received_checkpoint() -> None:
    """Story: the reset that a restart writes forgot the doubt. One more restart, and an
    entry that this replica may have acknowledged was absent, not unknown (I-23).
    """
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 4, term=2))
    persist(stable, puts(5, 45, term=8), vote=2)
    env.kill()
    damage_last_batch(env)
    received(env, 40, term=7)
    for _ in range(3):
        _, opened = start(env)
        assert opened.doubt == (8, 45)
        assert opened.hard_state.term == 8
        assert opened.hard_state.vote == 2
        assert opened.snapshot.index == 40
        env.kill()


def test_a_doubt_about_what_the_checkpoint_holds_is_over() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 4, term=2))
    persist(stable, puts(5, 9, term=2))
    env.kill()
    damage_last_batch(env)
    assert start(env)[1].doubt == (2, 9)
    env.kill()
    received(env, 40, term=7)
    start(env)
    env.kill()
    assert start(env)[1].doubt is None


def test_a_journal_without_a_checkpoint_is_refused() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 3))
    env.kill()
    env.remove(name_of(1))
    expect_contradiction(env, CHECKPOINTS, "a journal but no checkpoint")


@pytest.mark.parametrize("batch", ["vote", "term", "base"])
def test_a_used_journal_is_never_bootstrapped_again(batch: str) -> None:
    env = new_disk()
    stable, _ = start(env)
    base = (2, 1) if batch == "base" else None
    if base:
        persist(stable, puts(2, 2))
    stable.persist(
        Batch(
            term=2 if batch == "term" else 1,
            vote=2 if batch == "vote" else 0,
            commit_index=1,
            first_index=3 if base else 2,
            base=base,
        )
    )
    env.kill()
    env.remove(name_of(1))
    expect_contradiction(env, CHECKPOINTS, "a journal but no checkpoint")


@pytest.mark.parametrize("applied", [1, 5])
def test_a_checkpoint_without_a_journal_is_refused(applied: int) -> None:
    """Story: at index 1 it was taken for a bootstrap that was cut short. A replica that
    lost its journal before its first own checkpoint forgot its votes and log and went
    on as a voter (I-25). Now the journal comes first.
    """
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 5), vote=3, commit=5)
    if applied > 1:
        opened.database.apply(puts(2, applied))
        checkpoint(stable, opened)
        stable.prune(applied)
    env.kill()
    for name in env.list(JOURNAL):
        env.remove(f"{JOURNAL}/{name}")
    expect_contradiction(env, JOURNAL, "a checkpoint but no journal")


def test_a_journal_that_begins_after_the_checkpoint_is_refused() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9))
    opened.database.apply(puts(2, 6))
    checkpoint(stable, opened)
    persist(stable, puts(10, 10), base=(6, 1))
    env.kill()
    env.remove(name_of(6))
    expect_contradiction(env, CHECKPOINTS, "begins after index 6")


@pytest.mark.parametrize("at", [0, 14, 40, -33, -1])
def test_a_damaged_newest_checkpoint_is_refused(at: int) -> None:
    """An older one is there and whole; falling back to it would go back in time."""
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9))
    opened.database.apply(puts(2, 6))
    checkpoint(stable, opened)
    env.kill()
    env.flip_bit(name_of(6), at % env.size(name_of(6)), 4)
    expect_contradiction(env, name_of(6), "is damaged at offset")


def test_a_cut_checkpoint_is_refused() -> None:
    env = new_disk()
    start(env)
    env.kill()
    env.truncate_durable(name_of(1), 60)
    expect_contradiction(env, name_of(1), "it ends early")


def test_a_checkpoint_of_another_cluster_is_refused() -> None:
    env = new_disk()
    start(env)
    env.kill()
    stranger = Stable(env, "/data", CLUSTER + 1, OPTIONS)
    with pytest.raises(CorruptionError, match="another cluster"):
        stranger.open(VOTERS, SALT)


def test_a_checkpoint_by_another_name_is_refused() -> None:
    env = new_disk()
    start(env)
    env.kill()
    env.rename(name_of(1), name_of(7))
    expect_contradiction(env, name_of(7), "its name and its index differ")


def test_what_was_being_written_is_cleared_and_nothing_else() -> None:
    env = new_disk()
    stable, _ = start(env)
    stable.begin_checkpoint(8, "write").write(b"half")
    stable.begin_checkpoint(9, "received").write(b"half")
    others = ["notes.tmp", "0001.write.tmp", "backup.qck", "0000000000000001.qck.old"]
    for name in others:
        env.open(f"{CHECKPOINTS}/{name}", create=True).close()
    env.kill()
    assert start(env)[1].snapshot.index == 1
    assert env.list(CHECKPOINTS) == sorted([*others, f"{1:016x}.qck"])


def test_a_written_and_a_received_checkpoint_do_not_meet() -> None:
    env = new_disk()
    stable, opened = start(env)
    mine = stable.begin_checkpoint(1, "write")
    theirs = stable.begin_checkpoint(1, "received")
    mine.write(b"mine")
    theirs.abandon()
    theirs.abandon()
    mine.abandon()
    assert env.list(CHECKPOINTS) == [f"{1:016x}.qck"]
    assert checkpoint(stable, opened) == 1


def test_an_open_checkpoint_stays_readable_when_it_is_pruned() -> None:
    env = new_disk()
    stable, opened = start(env)
    old = stable.open_checkpoint(1)
    before = old.read_at(0, old.size())
    opened.database.apply(puts(2, 3))
    checkpoint(stable, opened)
    stable.prune(3)
    assert not env.exists(name_of(1))
    assert old.read_at(0, old.size()) == before


def test_no_space_for_the_bootstrap_is_waited_out() -> None:
    env = new_disk()
    env.capacity_bytes = 1000
    for _ in range(2):
        with pytest.raises(NoSpace):
            start(env)
        env.kill()
    env.capacity_bytes = None
    assert start(env)[1].snapshot == BOOTSTRAP_MARK
