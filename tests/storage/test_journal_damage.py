"""A damaged disk is an error or a doubt, never an answer; and nothing is deleted.

The last batch may be torn or damaged, nobody can tell: it is in doubt, by the name
that its head or its foot still gives. Everything before it was durable: corruption.
"""

import struct
from collections.abc import Callable
from zlib import crc32

import pytest
from quorate.storage.errors import CorruptionError
from quorate.storage.journal import Journal
from quorate.storage.journal_format import (
    BLOCK_BYTES,
    FOOT_BYTES,
    HEAD_BYTES,
    segment_name,
)
from quorate.storage.journal_newest import newest_path
from quorate.storage.memory_env import MemoryEnv

from .journal_kit import (
    BLOCK_ROOM,
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

# Offsets within a batch of one block, one in each field of head, entry and foot.
HEAD_FIELDS = [
    *(0, 4, 6, 8, 16, 24, 32, 40, 44, 48, 52),
    *(56, 64, 72, 80, 88, 96, 104, 112, 120, 128, HEAD_BYTES - 4),
]
BODY_FIELDS = [HEAD_BYTES + at for at in (0, 4, 5, 8, 16, 40)]
FOOT = BLOCK_BYTES - FOOT_BYTES
FOOT_FIELDS = [FOOT + at for at in (0, 4, 8, 16, 24, 32, 40, 48, 56, FOOT_BYTES - 4)]
PREVIOUS_CRC = 40
PADDING = [HEAD_BYTES + 16 + 41, FOOT - 1]

FIRST, LAST = segment_name(1), segment_name(2)


def path(name: str) -> str:
    return f"{DIRECTORY}/{name}"


def five_batches() -> tuple[MemoryEnv, list[State]]:
    """Four blocks in the first segment, one in the second; the states after each."""
    env = new_disk()
    journal, state = open_journal(env)
    states = [state]
    for index in range(1, 6):
        data = b"%d" % index * 41
        one = batch(index, [entry(index, data)], term=index, vote=index)
        persist(journal, one)
        states.append(states[-1].after(one))
    env.kill()
    assert env.list(DIRECTORY) == [FIRST, LAST]
    return env, states


def expect_corruption(env: MemoryEnv, name: str, offset: int | None = None) -> None:
    """It names the place; and all files are as they were, however often it is asked."""
    files = files_of(env)
    for _ in range(2):
        with pytest.raises(CorruptionError) as caught:
            recover(env)
        assert caught.value.path == path(name)
        assert offset is None or caught.value.offset == offset
        assert f"{path(name)} is damaged at offset" in str(caught.value)
    assert files_of(env) == files


@pytest.mark.parametrize("at", HEAD_FIELDS + BODY_FIELDS)
def test_a_flipped_bit_in_the_last_batch_is_doubt_about_that_entry(at: int) -> None:
    for bit in (0, 7):
        env, states = five_batches()
        env.flip_bit(path(LAST), at, bit)
        recovered = recover(env)
        state = state_of(recovered)
        assert recovered.torn
        assert state.entries == states[4].entries
        assert state.doubt == (5, 5)
        assert (state.term, state.vote) == (5, 5), "it may have been acted upon"


@pytest.mark.parametrize("at", FOOT_FIELDS + PADDING)
@pytest.mark.parametrize("name", [FIRST, LAST])
def test_a_flipped_bit_in_foot_or_padding_harms_nothing(at: int, name: str) -> None:
    env, states = five_batches()
    env.flip_bit(path(name), at, 2)
    assert state_of(recover(env)) == states[5]


@pytest.mark.parametrize("at", HEAD_FIELDS + BODY_FIELDS)
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_flipped_bit_in_an_earlier_batch_is_corruption(at: int, number: int) -> None:
    env, _ = five_batches()
    offset = (number - 1) * BLOCK_BYTES
    env.flip_bit(path(FIRST), offset + at, 1)
    expect_corruption(env, FIRST, offset)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_an_earlier_batch_that_was_zeroed_is_corruption(number: int) -> None:
    """The last one, without a trace, is an append that never got anywhere.

    But for a segment's first one: that it was durable is marked.
    """
    env, states = five_batches()
    name = FIRST if number < 5 else LAST
    offset = (number - 1) % 4 * BLOCK_BYTES
    env.zero_range(path(name), offset, BLOCK_BYTES)
    if number < 5:
        expect_corruption(env, FIRST, offset)
    else:
        expect_corruption(env, LAST, 0)
        env.remove(newest_path(DIRECTORY))
        assert state_of(recover(env)) == states[4]


@pytest.mark.parametrize("at", [*HEAD_FIELDS, *BODY_FIELDS])
def test_the_first_batch_of_a_segment_is_no_exception(at: int) -> None:
    env, states = five_batches()
    journal, _ = open_journal(env)
    persist(journal, batch(6, [entry(6)], term=6))
    env.kill()
    env.flip_bit(path(LAST), at, 5)
    expect_corruption(env, LAST, 0)
    assert states[5].last == (5, 5)


def test_two_damaged_heads_are_corruption_not_doubt_about_the_first() -> None:
    """Story: the search for a name stopped at the first foot. The later one proves that
    the earlier batch was durable, and its term and vote had been acted upon.
    """
    env, _ = five_batches()
    for number in (3, 4):
        env.flip_bit(path(FIRST), (number - 1) * BLOCK_BYTES + 70, 1)
    env.remove(path(LAST))
    env.remove(newest_path(DIRECTORY))
    expect_corruption(env, FIRST, 2 * BLOCK_BYTES)


def test_a_foot_alone_proves_that_the_batch_before_it_was_durable() -> None:
    env, _ = five_batches()
    env.remove(path(LAST))
    env.remove(newest_path(DIRECTORY))
    env.zero_range(path(FIRST), 2 * BLOCK_BYTES, BLOCK_BYTES + 200)
    expect_corruption(env, FIRST, 2 * BLOCK_BYTES)


def test_damage_in_the_middle_of_a_large_batch_is_doubt_when_it_is_the_last() -> None:
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    data = bytes(BLOCK_ROOM + BLOCK_BYTES - 100)
    persist(journal, batch(2, [entry(2, data), entry(3)], term=4, vote=9))
    env.kill()
    env.zero_range(path(FIRST), 2 * BLOCK_BYTES, 512)  # zeros were there already
    assert recover(env.copy()).last_index == 3
    env.flip_bit(path(FIRST), 2 * BLOCK_BYTES + 77, 1)
    state = state_of(recover(env))
    assert (state.last_index, state.doubt) == (1, (3, 3))
    assert (state.term, state.vote) == (4, 9)


def test_what_was_appended_after_a_doubt_is_found_again() -> None:
    """The damaged batch stays where it is: the next one lies in a new segment."""
    env, states = five_batches()
    env.flip_bit(path(LAST), 150, 0)
    journal, state = open_journal(env)
    damaged = files_of(env)[LAST]
    state = State(5, 5, 0, (0, 0), states[4].entries)
    for step in range(3):
        index = state.last_index + 1
        one = batch(index, [entry(5, b"again")], term=6 + step, doubt=(5, 9 - step))
        persist(journal, one)
        state = state.after(one)
        assert state_of(recover(env.copy())) == state
    assert files_of(env)[LAST] == damaged
    assert state.doubt is None or state.doubt > state.last


def test_a_doubt_is_told_again_until_something_is_appended() -> None:
    env, _ = five_batches()
    env.flip_bit(path(LAST), 150, 0)
    for _ in range(3):
        assert recover(env).doubt == (5, 5)
        env.kill()


def test_damage_before_an_abandoned_batch_is_still_corruption() -> None:
    env, _ = five_batches()
    env.flip_bit(path(LAST), 150, 0)
    journal, _ = open_journal(env)
    persist(journal, batch(5, [entry(6)], term=6), batch(6, [entry(6)], term=6))
    env.kill()
    assert recover(env.copy()).last_index == 6
    env.flip_bit(path(FIRST), 3 * BLOCK_BYTES + 150, 0)
    expect_corruption(env, FIRST, 3 * BLOCK_BYTES)


def test_the_batch_that_knew_of_the_damage_can_itself_be_damaged() -> None:
    """Story: once a damaged batch was noted, the name of a later one was not looked
    for: its term and vote, which were durable and acted upon, were forgotten.
    """
    for at in (70, 150):  # in the head: the foot has the name; in the body: the head
        env, _ = five_batches()
        env.flip_bit(path(LAST), 150, 0)
        journal, _ = open_journal(env)
        persist(journal, batch(5, [entry(6), entry(6)], term=8, vote=2))
        env.kill()
        env.flip_bit(path(segment_name(3)), at, 0)
        state = state_of(recover(env))
        assert (state.term, state.vote, state.doubt) == (8, 2, (6, 6))
        assert state.last_index == 4
    journal, _ = open_journal(env)
    persist(journal, batch(5, [entry(9)], term=9), batch(6, [entry(9)], term=9))
    assert recover(env).last_index == 6
    env.flip_bit(path(segment_name(4)), 150, 0)
    expect_corruption(env, segment_name(4), 0)


def ten_segments() -> MemoryEnv:
    """Segments 3 to 5 are live, two spares lie beside them."""
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 20):
        base = (min(index, 8), 1)
        persist(journal, batch(index, [entry(1)], base=base, vote=index))
    env.kill()
    live = [segment_name(n) for n in (3, 4, 5)]
    assert [n for n in env.list(DIRECTORY) if n in live] == live
    return env


def test_a_missing_middle_segment_is_corruption() -> None:
    env = ten_segments()
    env.remove(path(segment_name(4)))
    expect_corruption(env, segment_name(4), 0)


def test_a_missing_first_segment_is_corruption() -> None:
    env = ten_segments()
    env.remove(path(segment_name(3)))
    expect_corruption(env, segment_name(4), 0)


def test_a_first_segment_that_was_zeroed_is_corruption() -> None:
    env = ten_segments()
    env.zero_range(path(segment_name(3)), 0, OPTIONS.segment_bytes)
    expect_corruption(env, segment_name(3))


@pytest.mark.parametrize("at", [70, 150])
def test_a_wiped_first_segment_is_not_made_good_by_a_torn_second_one(at: int) -> None:
    env, _ = five_batches()
    env.zero_range(path(FIRST), 0, OPTIONS.segment_bytes)
    env.flip_bit(path(LAST), at, 0)
    with pytest.raises(CorruptionError):
        recover(env)


def test_an_only_segment_that_was_zeroed_is_no_new_journal() -> None:
    """Story: without any batch it was taken for a fresh journal, and its replica for
    one that never voted. A segment is the first one only when it held a batch.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    for index in range(1, 7):
        persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
    env.kill()
    only = segment_name(2)
    assert FIRST not in env.list(DIRECTORY)
    env.zero_range(path(only), 0, OPTIONS.segment_bytes)
    expect_corruption(env, only, 0)


def test_a_segment_of_another_journal_is_never_taken_for_ones_own() -> None:
    """Story: as the first one it was believed and all others were ignored; as the last
    one it was taken for an empty one, and what had been in its place was lost.
    """
    other = new_disk()
    journal, _ = Journal.open(other, DIRECTORY, OPTIONS, SALT ^ 1)
    for index in range(1, 8):
        persist(journal, batch(index, [entry(9, b"foreign")], term=9))
    foreign = files_of(other)
    env, _ = five_batches()
    own = files_of(env)
    expect_corruption(disk_of(own | {FIRST: foreign[FIRST]}), LAST, 0)
    expect_corruption(disk_of(own | {LAST: foreign[LAST]}), LAST, 0)
    expect_corruption(disk_of(own | {segment_name(3): foreign[LAST]}), segment_name(3))


def test_swapped_segments_are_corruption() -> None:
    env, _ = five_batches()
    own = files_of(env)
    expect_corruption(disk_of({FIRST: own[LAST], LAST: own[FIRST]}), FIRST, 0)


def test_a_batch_that_does_not_continue_the_one_before_is_corruption() -> None:
    """Story: a whole batch in its place, with its number, whose chain was broken, was
    silently cut off as if it had been torn. No crash leaves one.
    """
    env, _ = five_batches()
    image = files_of(env)[FIRST]
    fourth = reseal(image[3 * BLOCK_BYTES :], PREVIOUS_CRC, b"\1\2\3\4")
    disk = disk_of({FIRST: image[: 3 * BLOCK_BYTES] + fourth})
    expect_corruption(disk, FIRST, 3 * BLOCK_BYTES)


def test_a_batch_in_the_wrong_place_is_corruption() -> None:
    """A misdirected write: whole, the very next one, but not where it belongs."""
    env, _ = five_batches()
    image = bytearray(files_of(env)[FIRST])
    third = image[2 * BLOCK_BYTES : 3 * BLOCK_BYTES]
    image[2 * BLOCK_BYTES :] = bytes(BLOCK_BYTES) + third
    expect_corruption(disk_of({FIRST: bytes(image)}), FIRST, 2 * BLOCK_BYTES)


def reseal(block: bytes, at: int, change: bytes) -> bytes:
    """A batch with other bytes in its head, and a crc that fits."""
    head = bytearray(block[: HEAD_BYTES - 4])
    head[at : at + len(change)] = change
    return bytes(head) + struct.pack("<I", crc32(head)) + block[HEAD_BYTES:]


def test_a_format_of_the_future_is_refused_where_it_counts() -> None:
    env, _ = five_batches()
    files = files_of(env)
    for name in (FIRST, LAST):
        newer = reseal(files[name], 4, b"\2\0")
        disk = disk_of(files | {name: newer})
        expect_corruption(disk, name, 0)


def test_a_client_cannot_stop_recovery_by_a_value_that_looks_like_a_newer_format() -> (
    None
):
    """Story: the format was looked at before the salt. A value with the head of an
    unknown format, anywhere behind the end of the log, kept the replica from starting.
    """
    env, states = five_batches()
    stranger = reseal(files_of(env)[FIRST][:BLOCK_BYTES], 4, b"\x63\0")
    stranger = reseal(stranger, 8, bytes(range(8)))
    stranger = reseal(stranger, 4, b"\x63\0")
    image = bytearray(files_of(env)[LAST])
    image[BLOCK_BYTES : 3 * BLOCK_BYTES] = stranger[:BLOCK_BYTES] * 2
    disk = disk_of(files_of(env) | {LAST: bytes(image)})
    assert state_of(recover(disk)) == states[5]


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "my-spare.seg",
        "0001-spare.seg",
        "00000000000000FF.seg",
        "0000000000000001.seg.bak",
        "0000000000000001.seg~",
        "lost+found",
    ],
)
def test_files_of_others_are_neither_read_nor_used_nor_deleted(name: str) -> None:
    """Story: whatever ended in spare.seg, of the right size, was made a segment."""
    env = new_disk()
    file = env.open(path(name), create=True)
    mine = b"mine" * (OPTIONS.segment_bytes // 4)
    file.write_at(0, mine)
    file.close()
    journal, _ = open_journal(env)
    for index in range(1, 30):
        persist(journal, batch(index, [entry(1)], base=(index - 1, 1)))
    assert files_of(env)[name] == mine
    assert recover(env).last_index == 29


def cut(files: dict[str, bytes]) -> dict[str, bytes]:
    return files | {LAST: files[LAST][: BLOCK_BYTES - 1]}


def emptied(files: dict[str, bytes]) -> dict[str, bytes]:
    return files | {LAST: b""}


def noisy(files: dict[str, bytes]) -> dict[str, bytes]:
    noise = b"".join(crc32(b"%d" % i).to_bytes(4, "big") for i in range(4096))
    return files | {LAST: files[LAST][:BLOCK_BYTES] + noise}


@pytest.mark.parametrize("change", [cut, emptied, noisy])
def test_files_of_odd_sizes_and_with_noise_are_read_without_a_stumble(
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
) -> None:
    env, states = five_batches()
    disk = disk_of(change(files_of(env)))
    journal, state = open_journal(disk)
    assert state == states[4 if change is emptied else 5]
    persist(journal, batch(state.last_index + 1, [entry(9)], term=9))
    assert recover(disk).last_index == state.last_index + 1


def test_a_cut_first_segment_is_corruption() -> None:
    env, _ = five_batches()
    files = files_of(env)
    disk = disk_of(files | {FIRST: files[FIRST][: 3 * BLOCK_BYTES + 100]})
    expect_corruption(disk, FIRST, 3 * BLOCK_BYTES)
