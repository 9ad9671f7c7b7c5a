"""A newest segment that is gone is damage, and not the log's end.

Story: its name was lost, and the segment before it passed for the last one. Entries
that were acknowledged were forgotten, and the node voted as if it had never had them.
"""

import errno
import random

import pytest
from quorate.storage.errors import CorruptionError, JournalFailed, NoSpace
from quorate.storage.journal import Batch
from quorate.storage.journal_format import BLOCK_BYTES, segment_name
from quorate.storage.journal_newest import (
    NEWEST_BYTES,
    decode_marks,
    encode_mark,
    newest_path,
)
from quorate.storage.memory_env import Kind, MemoryEnv

from .journal_kit import (
    DIRECTORY,
    OPTIONS,
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


def expect_missing(env: MemoryEnv, path: str) -> None:
    files, mark = files_of(env), env.peek("/").get("journal.newest")
    for _ in range(2):
        with pytest.raises(CorruptionError, match="there w") as caught:
            recover(env)
        assert caught.value.path == path
    assert (files_of(env), env.peek("/").get("journal.newest")) == (files, mark)


def test_a_mark_has_these_bytes_for_ever() -> None:
    mark = encode_mark(0x0102)
    assert mark[:16].hex() == "514a4e31a0d370810201000000000000"
    assert mark[16:] == bytes(BLOCK_BYTES - 16)
    assert decode_marks(mark + encode_mark(0x0101)) == 0x0102
    assert decode_marks(bytes(NEWEST_BYTES)) == 0
    assert decode_marks(mark[:15]) == decode_marks(b"") == 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_newest_segment_that_is_gone_is_corruption(count: int) -> None:
    env, state = so_many_segments(count)
    assert state_of(recover(env.copy())) == state
    env.remove(f"{DIRECTORY}/{segment_name(count)}")
    expect_missing(
        env, f"{DIRECTORY}/{segment_name(count)}" if count > 1 else DIRECTORY
    )


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
    file.write_at(0, encode_mark(2) + bytes(BLOCK_BYTES))
    file.sync()
    env.kill()
    assert state_of(recover(env)) == state
    env.remove(f"{DIRECTORY}/{segment_name(3)}")
    expect_missing(env, f"{DIRECTORY}/{segment_name(3)}")


@pytest.mark.parametrize("bit", range(0, 128, 5))
def test_a_damaged_mark_says_nothing_and_is_written_anew(bit: int) -> None:
    env, state = so_many_segments(3)
    env.flip_bit(MARK, BLOCK_BYTES + bit // 8, bit % 8)
    assert decode_marks(env.peek("/")["journal.newest"]) == 2
    assert state_of(recover(env)) == state
    assert decode_marks(env.peek("/")["journal.newest"]) == 3


@pytest.mark.parametrize("size", [0, 7, BLOCK_BYTES, 5 * BLOCK_BYTES])
def test_a_mark_of_an_odd_size_is_read_without_a_stumble(size: int) -> None:
    env, state = so_many_segments(2)
    env.open(MARK).truncate(size)
    assert state_of(recover(env)) == state
    journal, state = open_journal(env)
    persist(journal, large(3))
    assert decode_marks(env.peek("/")["journal.newest"]) == 3


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
    assert decode_marks(env.peek("/")["journal.newest"]) == 3


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_mark_that_can_not_be_written_is_final(kind: Kind) -> None:
    """I-19: nobody knows what is in it, and what is acknowledged next needs it."""
    env, state = so_many_segments(2)
    journal, _ = open_journal(env)
    env.fail(kind, MARK, error=errno.EIO)
    for _ in range(2):
        with pytest.raises(JournalFailed, match=r"cannot mark /journal\.newest"):
            journal.append(large(3))
    env.kill()
    assert state_of(recover(env)) == state


def test_a_mark_that_can_not_be_read_keeps_the_journal_shut() -> None:
    env, state = so_many_segments(2)
    env.fail("read", MARK, error=errno.EIO)
    with pytest.raises(OSError, match="error"):
        recover(env)
    assert state_of(recover(env)) == state
