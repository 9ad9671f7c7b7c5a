"""What is appended and synced comes back, from files of bounded number and size."""

import errno
import re

import pytest
from quorate.storage.journal import Journal, JournalOptions
from quorate.storage.journal_format import BLOCK_BYTES, segment_name, segment_sequence
from quorate.storage.memory_env import Kind, MemoryEnv

from .journal_kit import (
    BLOCK_ROOM,
    DIRECTORY,
    OPTIONS,
    State,
    batch,
    entry,
    files_of,
    new_disk,
    open_journal,
    persist,
)

SEGMENT = re.compile(r"[0-9a-f]{16}\.seg")
SPARE = re.compile(r"(new|[0-9a-f]{16})-spare\.seg")


def reopened(env: MemoryEnv, options: JournalOptions = OPTIONS) -> State:
    """What a journal reads back, whatever a power loss at rest takes.

    (Only names of reclaimed files are not synced then.)
    """
    states = [open_journal(dead, options)[1] for dead in env.copy().crash_states()]
    env.kill()
    _, state = open_journal(env, options)
    assert states == [state] * len(states)
    return state


def test_an_empty_folder_is_a_fresh_journal() -> None:
    journal, state = open_journal(new_disk())
    assert state == State()
    assert journal.size_bytes == 0


def test_entries_and_hard_state_come_back_together() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    entries = [entry(3, b"one"), entry(3, b"", kind=0), entry(4, b"three" * 9, kind=2)]
    wanted = batch(1, entries, term=5, vote=77, commit_index=2)
    persist(journal, wanted)
    assert journal.syncs == 1
    state = reopened(env)
    assert state == State().after(wanted)
    assert [(e.index, e.term, e.kind) for e in state.entries] == [
        (1, 3, 1),
        (2, 3, 0),
        (3, 4, 2),
    ]


def test_the_hard_state_can_change_alone() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]), batch(2, term=9, vote=3))
    state = reopened(env)
    assert (state.term, state.vote, state.last_index) == (9, 3, 1)


def test_a_new_tail_replaces_the_old_one() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    old = [entry(1, b"old %d" % i) for i in range(5)]
    persist(journal, batch(1, old), batch(3, [entry(2, b"new")], term=2))
    assert [e.data for e in reopened(env).entries] == [b"old 0", b"old 1", b"new"]


def test_a_batch_without_entries_can_cut_the_tail() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1), entry(1), entry(1)]), batch(2, term=2))
    assert reopened(env).last_index == 1
    journal, _ = open_journal(env)
    persist(journal, batch(2, [entry(2)], term=2))
    assert [e.term for e in reopened(env).entries] == [1, 2]


def test_a_reset_starts_the_log_anew_behind_a_snapshot() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    reset = batch(101, [entry(7, b"after")], term=7, reset=(100, 6))
    persist(journal, batch(1, [entry(1), entry(1)]), reset)
    state = reopened(env)
    assert state.base == (100, 6)
    assert [(e.index, e.data) for e in state.entries] == [(101, b"after")]


def test_a_base_drops_the_front_of_the_log() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1, b"%d" % i) for i in range(1, 6)]))
    persist(journal, batch(6, base=(3, 1)))
    assert [e.index for e in reopened(env).entries] == [4, 5]
    journal, _ = open_journal(env)
    persist(journal, batch(6, base=(5, 1)))
    state = reopened(env)
    assert (state.entries, state.last) == ((), (1, 5))


def test_a_base_never_moves_back() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)] * 5, base=(4, 1)), batch(6, base=(2, 1)))
    assert reopened(env).base == (4, 1)


def test_the_commit_index_is_the_highest_that_was_written() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)] * 5, commit_index=4), batch(6, commit_index=2))
    assert reopened(env).commit_index == 4


def test_a_doubt_lasts_as_long_as_batches_say_so() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)], doubt=(3, 9)))
    assert reopened(env).doubt == (3, 9)
    journal, _ = open_journal(env)
    persist(journal, batch(2, [entry(1)], doubt=(3, 9)))
    assert reopened(env).doubt == (3, 9)
    journal, _ = open_journal(env)
    persist(journal, batch(3, [entry(1)]))
    assert reopened(env).doubt is None


def test_a_doubt_that_the_log_has_reached_is_over() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(3), entry(3)], term=3, doubt=(3, 2)))
    assert reopened(env).doubt is None


def test_appending_over_a_gap_is_a_bug_that_is_never_written() -> None:
    """Recovery would call it corruption: the journal could never be opened again."""
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    for gap in (batch(3, [entry(1)]), batch(3)):
        with pytest.raises(AssertionError):
            journal.append(gap)
    assert reopened(env).last_index == 1


def test_appending_before_the_last_sync_is_a_bug() -> None:
    journal, _ = open_journal(new_disk())
    journal.append(batch(1, [entry(1)]))
    with pytest.raises(AssertionError):
        journal.append(batch(2, [entry(1)]))


def test_a_batch_that_does_not_fit_goes_into_the_next_segment() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    block = entry(1, bytes(BLOCK_ROOM - 100))
    for index in range(1, 10):
        persist(journal, batch(index, [block]))
    names = [segment_name(n) for n in (1, 2, 3)]
    assert env.list(DIRECTORY) == names
    assert reopened(env).last_index == 9


@pytest.mark.parametrize("spare_bytes", [0, 1])
def test_batches_fill_their_blocks_to_the_last_byte(spare_bytes: int) -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    full = entry(1, b"f" * (BLOCK_ROOM - 16 + spare_bytes))
    persist(journal, batch(1, [full]), batch(2, [entry(1, b"next")]))
    assert journal.offset == (2 + spare_bytes) * BLOCK_BYTES
    assert [e.data for e in reopened(env).entries] == [full.data, b"next"]


def test_a_batch_larger_than_a_segment_gets_a_segment_of_its_own_size() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    large = [entry(1, b"%05d" % i * 2000) for i in range(8)]
    persist(journal, batch(1, [entry(1)]), batch(2, large), batch(10, [entry(1)]))
    state = reopened(env)
    assert [e.data for e in state.entries[1:9]] == [e.data for e in large]
    assert state.last_index == 10
    # It is not worth keeping: once compacted it goes, and spares have one size.
    journal, _ = open_journal(env)
    persist(journal, batch(11, [entry(1, bytes(3 * BLOCK_BYTES))]))
    persist(journal, batch(12, base=(11, 1)), batch(12, [entry(1)]))
    sizes = {len(data) for data in files_of(env).values()}
    assert sizes == {OPTIONS.segment_bytes}


def test_compaction_keeps_the_files_few_and_uses_them_again() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 300):
        persist(journal, batch(index, [entry(1, bytes(1000))], base=(index - 1, 1)))
        names = env.list(DIRECTORY)
        assert len(names) <= 2 + OPTIONS.spares_max
        assert all(SEGMENT.fullmatch(n) or SPARE.fullmatch(n) for n in names)
    assert journal.size_bytes <= 2 * OPTIONS.segment_bytes
    last = segment_sequence(env.list(DIRECTORY)[-1])
    assert last is not None
    assert last > 70
    assert reopened(env).last_index == 299


def test_without_spares_old_segments_are_removed() -> None:
    env = new_disk()
    options = JournalOptions(segment_bytes=4 * BLOCK_BYTES, spares_max=0)
    journal, _ = open_journal(env, options)
    for index in range(1, 40):
        persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
        assert len(env.list(DIRECTORY)) <= 2
    assert reopened(env, options).last_index == 39


def test_a_spare_that_was_filled_ahead_becomes_the_next_segment() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    assert not journal.wants_spare()
    persist(journal, batch(1, [entry(1)]))
    assert not journal.wants_spare()
    persist(journal, batch(2, [entry(1)]))
    assert journal.wants_spare()
    journal.append(batch(3, [entry(1)]))
    journal.prepare_spare()
    journal.sync()
    assert not journal.wants_spare()
    assert env.list(DIRECTORY) == [segment_name(1), "ahead-spare.seg"]
    written = env.statistics().written_bytes
    persist(journal, batch(4, [entry(1)]), batch(5, [entry(1)]))
    assert env.list(DIRECTORY) == [segment_name(1), segment_name(2)]
    # Two batches, and the mark that there is a newer segment.
    assert env.statistics().written_bytes - written == 3 * BLOCK_BYTES
    assert reopened(env).last_index == 5


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename"])
def test_a_spare_that_cannot_be_filled_harms_nothing(kind: Kind, error: int) -> None:
    """Nothing depends on it; the append that needs a segment finds out by itself.

    But what the disk says is told: it was asked again twice a second, without a word.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]), batch(2, [entry(1)]))
    fault = env.fail(kind, f"{DIRECTORY}/ahead", error=error)
    if error == errno.ENOSPC:
        journal.prepare_spare()
    else:
        with pytest.raises(OSError, match="error"):
            journal.prepare_spare()
    assert fault.fired
    left = [n for n in env.list(DIRECTORY) if n != segment_name(1)]
    assert left == ([] if error == errno.ENOSPC or kind == "create" else ["ahead.tmp"])
    for index in range(3, 12):
        persist(journal, batch(index, [entry(1)]))
    assert reopened(env).last_index == 11
    journal, _ = open_journal(env)
    journal.prepare_spare()
    assert "ahead.tmp" not in env.list(DIRECTORY)


def test_of_two_segments_that_go_the_older_one_goes_durably_first() -> None:
    """Story: both names went unsynced. With the younger one alone gone, every start
    found a gap, on a disk that had done what it may: changes of a directory become
    durable in any order.
    """
    env = new_disk()
    options = JournalOptions(segment_bytes=4 * BLOCK_BYTES, spares_max=0)
    journal, _ = open_journal(env, options)
    for index in range(1, 20):
        persist(journal, batch(index, [entry(1)]))
    assert len(journal.segments) > 3
    done: list[str] = []
    env.on_operation = lambda operation: done.append(operation.kind)
    persist(journal, batch(20, base=(19, 1)))
    env.on_operation = None
    names = [kind for kind in done if kind in ("remove", "sync_directory")]
    assert names.count("remove") >= 3
    assert "remove, remove" not in ", ".join(names)
    assert reopened(env, options).last_index == 19


def test_a_segment_stays_until_the_base_behind_it_is_durable() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 9):
        persist(journal, batch(index, [entry(1)]))
    assert len(journal.segments) == 2
    journal.append(batch(9, base=(8, 1)))
    assert segment_name(1) in env.list(DIRECTORY)
    journal.sync()
    assert segment_name(1) not in env.list(DIRECTORY)


def test_what_a_recycled_file_held_before_is_never_believed() -> None:
    """Its old batches are whole, of this very journal, and lie where new ones will."""
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 14):
        persist(journal, batch(index, [entry(1, b"%d" % index)], base=(index - 1, 1)))
    state = reopened(env)
    assert [e.data for e in state.entries] == [b"13"]
    recycled = files_of(env)[segment_name(4)]
    assert recycled[BLOCK_BYTES:].strip(b"\0"), "old bytes lie behind the new batch"


def test_values_that_look_like_batches_are_only_values() -> None:
    """A client may put a copy of another journal's bytes: the salt tells."""
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1, b"original")]))
    copied = files_of(env)[segment_name(1)][:BLOCK_BYTES]
    foreign = copied.replace(journal.salt.to_bytes(8, "little"), bytes(8))
    pad = bytes(BLOCK_BYTES - len(foreign) % BLOCK_BYTES)
    persist(journal, batch(2, [entry(1, pad + foreign * 2)]))
    assert [e.data for e in reopened(env).entries] == [b"original", pad + foreign * 2]


def test_other_salts_are_ignored_once_a_journal_has_its_own() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    salt = journal.salt
    env.kill()
    journal, recovered = Journal.open(env, DIRECTORY, OPTIONS, salt ^ 0xFFFF)
    assert (journal.salt, recovered.last_index) == (salt, 1)


def test_segment_names_are_sixteen_small_hex_digits() -> None:
    assert segment_name(255) == "00000000000000ff.seg"
    assert segment_sequence("00000000000000ff.seg") == 255
    for name in (
        "00000000000000FF.seg",
        "0000000000000ff.seg",
        "00000000000000fff.seg",
        "00000000000000ff.seg.bak",
        "00000000000000ff",
        "0000000000000001-spare.seg",
        "new-spare.seg",
        "+0000000000000ff.seg",
    ):
        assert segment_sequence(name) is None, name
