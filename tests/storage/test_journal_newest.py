"""A newest segment that is gone, or empty again, is damage, and not the log's end.

Story: its name was lost, and the segment before it passed for the last one. Entries
that were acknowledged were forgotten, and the node voted as if it had never had them.
"""

import errno
import random

import msgspec
import pytest
from quorate.storage.env import read_file, write_file_durably
from quorate.storage.errors import CorruptionError, JournalFailed, NoSpace
from quorate.storage.journal import Batch, Journal
from quorate.storage.journal_format import BLOCK_BYTES, segment_name
from quorate.storage.journal_newest import (
    NEWEST_BYTES,
    NO_MARK,
    Mark,
    decode_marks,
    encode_mark,
    newest_path,
)
from quorate.storage.memory_env import Kind, MemoryEnv

from .journal_kit import (
    DIRECTORY,
    OPTIONS,
    SALT,
    State,
    batch,
    disk_of,
    entry,
    files_of,
    new_disk,
    open_journal,
    persist,
    recover,
    state_of,
)

MARK = newest_path(DIRECTORY)


def large(index: int, base: tuple[int, int] | None = None) -> Batch:
    """One that fills most of a segment: each has its own."""
    return batch(index, [entry(1, bytes(2 * BLOCK_BYTES))], base=base)


def so_many_segments(count: int) -> tuple[MemoryEnv, State]:
    env = new_disk()
    journal, state = open_journal(env)
    for index in range(1, count + 1):
        persist(journal, large(index))
        state = state.after(large(index))
    env.kill()
    assert segment_name(count) == env.list(DIRECTORY)[-1]
    return env, state


def marked(env: MemoryEnv) -> int:
    """The segment that is marked."""
    return decode_marks(env.peek("/")["journal.newest"]).sequence


def expect_missing(env: MemoryEnv, path: str, reason: str = "is missing") -> None:
    files, mark = files_of(env), env.peek("/").get("journal.newest")
    for _ in range(2):
        with pytest.raises(CorruptionError, match=reason) as caught:
            recover(env)
        assert caught.value.path == path
    assert (files_of(env), env.peek("/").get("journal.newest")) == (files, mark)


def test_a_mark_has_these_bytes_for_ever() -> None:
    mark = encode_mark(Mark(0x0102, 0x4000))
    assert mark[:24].hex() == "514a4e31a7c0eb9602010000000000000040000000000000"
    assert mark[24:] == bytes(BLOCK_BYTES - 24)
    older = encode_mark(Mark(0x0101, 0x8000))
    assert decode_marks(mark + older) == decode_marks(older + mark)
    assert decode_marks(mark + older) == (0x0102, 0x4000, 0, 0)
    assert decode_marks(bytes(NEWEST_BYTES)) == NO_MARK
    assert decode_marks(mark[:23]) == decode_marks(b"") == NO_MARK


def test_a_mark_says_whose_journal_this_is_in_these_bytes_for_ever() -> None:
    """Older versions read what is before that, and write nothing there."""
    told = Mark(0x0102, 0x4000, 0x5A17, 7)
    mark = encode_mark(told)
    assert mark[:24] == encode_mark(Mark(0x0102, 0x4000))[:24]
    assert mark[24:44].hex() == "831d3614175a0000000000000700000000000000"
    assert mark[44:] == bytes(BLOCK_BYTES - 44)
    older = encode_mark(Mark(0x0103, 0x8000))
    assert decode_marks(mark + older) == (0x0103, 0x8000, 0x5A17, 7)
    assert decode_marks(mark[:43]) == (0x0102, 0x4000, 0, 0)


def owned(owner: int, salt: int) -> MemoryEnv:
    """A disk with a journal of an owner, of two segments."""
    env = new_disk()
    options = msgspec.structs.replace(OPTIONS, owner=owner)
    journal, _ = Journal.open(env, DIRECTORY, options, salt)
    persist(journal, large(1), large(2))
    env.kill()
    return env


def take(env: MemoryEnv, other: MemoryEnv, *, with_mark: bool) -> None:
    """Put another disk's journal in the place of this one's."""
    for name in env.list(DIRECTORY):
        env.remove(f"{DIRECTORY}/{name}")
    for name in other.list(DIRECTORY):
        write_file_durably(
            env, f"{DIRECTORY}/{name}", read_file(other, f"{DIRECTORY}/{name}")
        )
    if with_mark:
        write_file_durably(env, MARK, read_file(other, MARK))


@pytest.mark.parametrize("with_mark", [True, False])
def test_the_journal_of_another_member_is_not_opened(with_mark: bool) -> None:
    """Story: it was whole, and the node went on with another one's votes and log."""
    env = owned(7, SALT)
    mine = msgspec.structs.replace(OPTIONS, owner=7)
    assert not open_journal(env.copy(), mine)[1].vote
    take(env, owned(8, SALT + 1), with_mark=with_mark)
    before = files_of(env), env.peek("/")
    wrong = "is that of 0000000000000008" if with_mark else "another journal"
    for _ in range(2):
        with pytest.raises(CorruptionError, match=wrong) as caught:
            open_journal(env, mine)
        assert caught.value.path == (MARK if with_mark else DIRECTORY)
    assert (files_of(env), env.peek("/")) == before


def test_a_journal_of_an_older_version_becomes_its_owners_when_it_is_opened() -> None:
    env, state = so_many_segments(2)
    env.open(MARK).write_at(0, encode_mark(Mark(2, OPTIONS.segment_bytes)))
    mine = msgspec.structs.replace(OPTIONS, owner=7)
    assert open_journal(env, mine)[1] == state
    assert decode_marks(env.peek("/")["journal.newest"])[2:] == (SALT, 7)
    env.kill()
    with pytest.raises(CorruptionError, match="is that of 0000000000000007"):
        open_journal(env, msgspec.structs.replace(OPTIONS, owner=8))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_newest_segment_that_is_gone_is_corruption(count: int) -> None:
    env, state = so_many_segments(count)
    assert state_of(recover(env.copy())) == state
    env.remove(f"{DIRECTORY}/{segment_name(count)}")
    expect_missing(env, f"{DIRECTORY}/{segment_name(count)}")


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_newest_segment_whose_batches_are_gone_is_corruption(count: int) -> None:
    """Story: it passed for one that had only just been begun."""
    env, _ = so_many_segments(count)
    newest = f"{DIRECTORY}/{segment_name(count)}"
    env.zero_range(newest, 0, env.size(newest))
    expect_missing(env, newest, "its batches are missing")
    env.open(newest).truncate(0)
    expect_missing(env, newest, "its batches are missing")


def test_they_are_missed_behind_a_segment_that_was_only_begun_as_well() -> None:
    env, state = so_many_segments(3)
    file = env.open(f"{DIRECTORY}/{segment_name(4)}", create=True)
    file.truncate(OPTIONS.segment_bytes)
    file.sync()
    assert state_of(recover(env)) == state
    newest = f"{DIRECTORY}/{segment_name(3)}"
    env.zero_range(newest, 0, env.size(newest))
    expect_missing(env, newest, "its batches are missing")


def test_a_newest_segment_that_was_cut_is_corruption() -> None:
    """Story: the batches before the cut passed for all of them."""
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, *(batch(index, [entry(1)]) for index in range(1, 4)))
    env.kill()
    newest = f"{DIRECTORY}/{segment_name(1)}"
    env.open(newest).truncate(2 * BLOCK_BYTES)
    expect_missing(env, newest, "it had 16384 bytes")


def test_a_segment_is_marked_only_once_its_first_batch_is_durable() -> None:
    env, state = so_many_segments(1)
    journal, _ = open_journal(env)
    journal.append(large(2))
    assert marked(env) == 1
    disk = env.copy()
    disk.crash(random.Random(3))
    assert state_of(recover(disk)) in (state, state.after(large(2)))
    journal.sync()
    assert marked(env) == 2


def test_a_newest_segment_is_missed_after_segments_before_it_went() -> None:
    env, _ = so_many_segments(3)
    journal, _ = open_journal(env)
    persist(journal, large(4), large(5, base=(3, 1)))
    env.kill()
    newest = [n for n in env.list(DIRECTORY) if "spare" not in n][-1]
    env.rename(f"{DIRECTORY}/{newest}", "/elsewhere")
    expect_missing(env, f"{DIRECTORY}/{newest}")


def test_an_older_journal_in_its_place_is_corruption() -> None:
    """As when a copy of the folder is put back: what came later was acknowledged."""
    env, _ = so_many_segments(2)
    files = files_of(env)
    journal, _ = open_journal(env)
    persist(journal, large(3))
    env.kill()
    old = disk_of(files)
    file = old.open(MARK, create=True)
    file.write_at(0, env.peek("/")["journal.newest"])
    file.close()
    expect_missing(old, f"{DIRECTORY}/{segment_name(3)}")


def test_a_journal_without_a_mark_opens_and_has_one_then() -> None:
    """Those of older versions have none; of a disk that was full none either."""
    env, state = so_many_segments(3)
    env.remove(MARK)
    assert state_of(recover(env)) == state
    env.crash(random.Random(1))
    env.remove(f"{DIRECTORY}/{segment_name(3)}")
    expect_missing(env, f"{DIRECTORY}/{segment_name(3)}")


def test_an_older_mark_is_followed_by_a_new_one() -> None:
    """The power failed before the mark was written, or an older version was at work."""
    env, state = so_many_segments(3)
    file = env.open(MARK)
    file.write_at(0, encode_mark(Mark(2, OPTIONS.segment_bytes)) + bytes(BLOCK_BYTES))
    file.sync()
    env.kill()
    assert state_of(recover(env)) == state
    env.remove(f"{DIRECTORY}/{segment_name(3)}")
    expect_missing(env, f"{DIRECTORY}/{segment_name(3)}")


@pytest.mark.parametrize("bit", range(0, 128, 5))
def test_a_damaged_mark_says_nothing_and_is_written_anew(bit: int) -> None:
    env, state = so_many_segments(3)
    env.flip_bit(MARK, BLOCK_BYTES + bit // 8, bit % 8)
    assert marked(env) == 2
    assert state_of(recover(env)) == state
    assert marked(env) == 3


@pytest.mark.parametrize("size", [0, 7, BLOCK_BYTES, 5 * BLOCK_BYTES])
def test_a_mark_of_an_odd_size_is_read_without_a_stumble(size: int) -> None:
    env, state = so_many_segments(2)
    env.open(MARK).truncate(size)
    assert state_of(recover(env)) == state
    journal, state = open_journal(env)
    persist(journal, large(3))
    assert marked(env) == 3


def test_a_batch_that_abandons_marks_its_segment_too() -> None:
    env, _ = so_many_segments(1)
    journal, _ = open_journal(env)
    persist(journal, batch(2, vote=2))
    env.flip_bit(f"{DIRECTORY}/{segment_name(1)}", 3 * BLOCK_BYTES + 150, 1)
    env.kill()
    journal, _ = open_journal(env)
    persist(journal, batch(2, [entry(1)], vote=2))
    env.kill()
    env.remove(f"{DIRECTORY}/{segment_name(2)}")
    expect_missing(env, f"{DIRECTORY}/{segment_name(2)}")


def test_a_disk_without_room_for_a_mark_opens_and_appends_all_the_same() -> None:
    env, state = so_many_segments(2)
    env.remove(MARK)
    env.capacity_bytes = 2 * OPTIONS.segment_bytes
    journal, found = open_journal(env)
    assert found == state
    one = batch(3, vote=1)
    persist(journal, one)
    assert not env.exists(MARK)
    assert not env.exists(MARK + ".tmp")
    with pytest.raises(NoSpace):
        journal.append(large(3))
    env.capacity_bytes = None
    persist(journal, large(3))
    assert marked(env) == 3


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_mark_that_can_not_be_written_is_final(kind: Kind) -> None:
    """I-19: nobody knows what is in it, and what is acknowledged next needs it."""
    env, state = so_many_segments(2)
    journal, _ = open_journal(env)
    env.fail(kind, MARK, error=errno.EIO)
    for _ in range(2):
        with pytest.raises(JournalFailed, match=r"cannot mark /journal\.newest"):
            persist(journal, large(3))
    env.kill()
    assert state_of(recover(env)) in (state, state.after(large(3)))


def test_a_mark_that_can_not_be_read_keeps_the_journal_shut() -> None:
    env, state = so_many_segments(2)
    env.fail("read", MARK, error=errno.EIO)
    with pytest.raises(OSError, match="error"):
        recover(env)
    assert state_of(recover(env)) == state
