"""A replica's disk: what it comes back with, and what it refuses to make sense of."""

import pytest
from quorate.node.stable import (
    BOOTSTRAP_INDEX,
    BOOTSTRAP_TERM,
    NotBootstrapped,
    Stable,
)
from quorate.raft import Configuration, HardState, SnapshotMark
from quorate.storage.errors import CorruptionError, NoSpace, is_no_space
from quorate.storage.journal import Batch
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.memory_env import MemoryEnv

from .stable_kit import (
    CLUSTER,
    ENGINE,
    JOURNAL,
    MANIFEST,
    OPTIONS,
    SALT,
    VOTERS,
    files_of,
    flush,
    new_disk,
    new_id,
    persist,
    puts,
    receive,
    start,
    tables_of,
)

BOOTSTRAP_MARK = SnapshotMark(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, VOTERS)


def expect_contradiction(env: MemoryEnv, path: str, reason: str) -> None:
    """An error that names the path, again and again, and every byte stays.

    An engine without a manifest gets one that says that nothing is in it.
    """
    files = files_of(env)
    for bootstrap in (None, VOTERS):
        with pytest.raises(CorruptionError, match=reason) as caught:
            start(env, bootstrap)
        assert caught.value.path == path
    assert files_of(env).items() >= files.items()


def test_a_cluster_begins_with_a_state_at_index_1() -> None:
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
    assert start(env)[1].snapshot == BOOTSTRAP_MARK


def test_what_was_persisted_comes_back() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 5), vote=2, commit=4)
    stable.close()
    _, opened = start(env)
    assert opened.entries == puts(2, 5)
    assert opened.hard_state == HardState(1, 2, 4)


def test_the_log_goes_on_behind_what_was_flushed() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9), commit=9)
    opened.database.apply(puts(2, 6))
    state_hash = opened.database.state_hash()
    assert flush(opened) == 6
    env.kill()
    stable, opened = start(env)
    assert opened.snapshot == SnapshotMark(6, 1, VOTERS)
    assert opened.entries == puts(7, 9)
    assert opened.database.state_hash() == state_hash
    assert opened.database.keys == 5
    # The base may follow, behind or up to the flush.
    for base in (3, 6):
        persist(stable, puts(7, 9), base=(base, 1))
        env.kill()
        stable, opened = start(env)
        assert opened.entries == puts(7, 9)


def test_what_was_not_flushed_is_replayed() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9), commit=9)
    opened.database.apply(puts(2, 6))
    stable.close()
    _, again = start(env)
    assert again.snapshot.index == 1
    again.database.apply(puts(2, 6))
    assert again.database.state_hash() == opened.database.state_hash()


def test_a_received_state_replaces_an_old_journal() -> None:
    """The process ended before the journal's reset: the old log is not its past."""
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 5, term=1), vote=3, commit=2)
    receive(opened, 40, term=7)
    env.kill()
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


def test_a_longer_log_of_another_history_is_not_joined_to_a_state() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 50, term=2))
    receive(opened, 40, term=7)
    env.kill()
    assert start(env)[1].entries == []


def test_a_longer_log_of_the_same_history_is_kept() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 50, term=7))
    receive(opened, 40, term=7)
    env.kill()
    assert start(env)[1].entries == puts(41, 50, term=7)


def damage_last_batch(env: MemoryEnv) -> None:
    """One bit in the body of the batch that was persisted last (of one block)."""
    block = len(files_of(env)[f"{JOURNAL}/{1:016x}.seg"].rstrip(b"\0")) // BLOCK_BYTES
    env.flip_bit(f"{JOURNAL}/{1:016x}.seg", (block - 1) * BLOCK_BYTES + 150, 0)


def test_a_doubt_outlives_the_reset_behind_a_received_state() -> None:
    """Story: the reset that a restart writes forgot the doubt. One more restart, and an
    entry that this replica may have acknowledged was absent, not unknown (I-23).
    """
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 4, term=2))
    persist(stable, puts(5, 45, term=8), vote=2)
    receive(opened, 40, term=7)
    env.kill()
    damage_last_batch(env)
    for _ in range(3):
        _, opened = start(env)
        assert opened.doubt == (8, 45)
        assert opened.hard_state.term == 8
        assert opened.hard_state.vote == 2
        assert opened.snapshot.index == 40
        env.kill()


def test_a_doubt_about_what_the_state_holds_is_over() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 4, term=2))
    persist(stable, puts(5, 9, term=2))
    env.kill()
    damage_last_batch(env)
    _, opened = start(env)
    assert opened.doubt == (2, 9)
    receive(opened, 40, term=7)
    env.kill()
    start(env)
    env.kill()
    assert start(env)[1].doubt is None


def test_a_journal_without_a_state_is_refused() -> None:
    env = new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 3))
    env.kill()
    env.remove(MANIFEST)
    expect_contradiction(env, ENGINE, "empty, and the journal is not")


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
    env.remove(MANIFEST)
    expect_contradiction(env, ENGINE, "empty, and the journal is not")


def test_tables_without_a_manifest_are_refused() -> None:
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 5), commit=5)
    opened.database.apply(puts(2, 5))
    flush(opened)
    env.kill()
    env.remove(MANIFEST)
    expect_contradiction(env, MANIFEST, "missing, and tables are there")


@pytest.mark.parametrize("applied", [1, 5])
def test_a_state_without_a_journal_is_refused(applied: int) -> None:
    """Story: at index 1 it was taken for a bootstrap that was cut short. A replica that
    lost its journal before its first own flush forgot its votes and log and went on as
    a voter (I-25). Now the journal comes first.
    """
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 5), vote=3, commit=5)
    if applied > 1:
        opened.database.apply(puts(2, applied))
        flush(opened)
    env.kill()
    for name in env.list(JOURNAL):
        env.remove(f"{JOURNAL}/{name}")
    expect_contradiction(env, f"{JOURNAL}/{1:016x}.seg", "the segment is missing")
    env.remove(f"{JOURNAL}.newest")
    expect_contradiction(env, JOURNAL, "there is no journal")


def test_a_journal_that_begins_after_the_state_is_refused() -> None:
    env = new_disk()
    stable, opened = start(env)
    old = env.peek(ENGINE)["MANIFEST"]
    persist(stable, puts(2, 9))
    opened.database.apply(puts(2, 6))
    flush(opened)
    persist(stable, puts(10, 10), base=(6, 1))
    env.kill()
    file = env.open(MANIFEST)
    file.truncate(0)
    file.write_at(0, old)
    file.close()
    with pytest.raises(CorruptionError, match="begins after index 6") as caught:
        start(env)
    assert caught.value.path == ENGINE


@pytest.mark.parametrize("at", [0, 14, 40, -33, -1])
@pytest.mark.parametrize("what", ["manifest", "table"])
def test_a_damaged_engine_is_refused(what: str, at: int) -> None:
    """At the opening, or by whoever reads what is damaged; never answered from."""
    env = new_disk()
    stable, opened = start(env)
    persist(stable, puts(2, 9))
    opened.database.apply(puts(2, 6))
    flush(opened)
    env.kill()
    (table,) = tables_of(env)
    path = MANIFEST if what == "manifest" else table
    env.flip_bit(path, at % env.size(path), 4)
    with pytest.raises(CorruptionError) as caught:
        list(start(env)[1].database.store.scan())
    assert caught.value.path == path


def test_a_state_of_another_cluster_is_refused() -> None:
    env = new_disk()
    start(env)
    env.kill()
    stranger = Stable(env, "/data", CLUSTER + 1, OPTIONS)
    with pytest.raises(CorruptionError, match="another cluster"):
        stranger.open(VOTERS, SALT, new_id)


@pytest.mark.parametrize("commit", [5, 6])
def test_a_state_that_contradicts_what_is_committed_drops_no_log(commit: int) -> None:
    """Story: another node's engine was put in place, and the log was let go for it.

    For a leader's that was installed it is right: that index was not committed here.
    """
    env, other = new_disk(), new_disk()
    stable, _ = start(env)
    persist(stable, puts(2, 9), commit=commit)
    _, of = start(other)
    of.database.apply(puts(2, 6, term=2))
    flush(of)
    for disk in (env, other):
        disk.kill()
    for path in files_of(env):
        if path.startswith(ENGINE) and not path.endswith("LOCK"):
            env.remove(path)
    for path, data in files_of(other).items():
        if path.startswith(ENGINE):
            file = env.open(path, create=True)
            file.write_at(0, data)
            file.sync()
    if commit == 6:
        expect_contradiction(env, ENGINE, "index 6 of term 2, where the journal has")
    else:
        assert start(env)[1].entries == []


def test_what_failed_to_open_is_not_left_open() -> None:
    """Else the same process could not try again: the engine's lock would be held."""
    env = new_disk()
    for _ in range(2):
        with pytest.raises(NotBootstrapped):
            start(env, None)
    assert start(env)[1].snapshot == BOOTSTRAP_MARK


def test_a_state_that_was_not_needed_leaves_nothing() -> None:
    env = new_disk()
    _, opened = start(env)
    _, leader = start(new_disk())
    leader.database.apply(puts(2, 9))
    flush(leader)
    before = files_of(env)
    store = opened.database.store
    for _ in range(2):
        incoming = store.receive("the leader")
        for piece in leader.database.store.pin().pieces():
            incoming.feed(piece)
        incoming.close()
    assert files_of(env) == before
    (nonce,) = env.list(f"{ENGINE}/work")
    assert env.list(f"{ENGINE}/work/{nonce}") == []


def test_no_space_for_the_bootstrap_is_waited_out() -> None:
    env = new_disk()
    env.capacity_bytes = 1000
    for _ in range(2):
        with pytest.raises((NoSpace, OSError)) as caught:
            start(env)
        assert is_no_space(caught.value)
        env.kill()
    env.capacity_bytes = None
    assert start(env)[1].snapshot == BOOTSTRAP_MARK
