"""The index in few bytes finds what a search over whole keys does."""

from bisect import bisect_right
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.storage.engine import EngineOptions
from quorate.storage.engine.block_index import GROUP, BlockIndex

from .engine_kit import new_engine

KeyOf: TypeAlias = Callable[[int], bytes]

# Long common beginnings, and bytes at the ends of their range behind them.
BYTES = st.lists(st.sampled_from([b"\0", b"\1", b"a", b"\xff"]), max_size=12)
HEADS = st.sampled_from([b"", b"tenant-0001/setting/", b"tenant-0002/", b"\xff" * 9])


def joined(head: bytes, rest: list[bytes]) -> bytes:
    return head + b"".join(rest)


KEYS = st.builds(joined, HEADS, BYTES)


@given(st.lists(KEYS, min_size=2, max_size=200, unique=True), st.lists(KEYS))
def test_a_place_is_that_of_whole_keys_or_says_that_it_may_be_the_next(
    keys: list[bytes], others: list[bytes]
) -> None:
    *first_keys, last = sorted(keys)
    index = BlockIndex(first_keys, last)
    for key in [*keys, *others]:
        expected = bisect_right(first_keys, key) - 1
        place, sure = index.place(key)
        assert place == expected or (not sure and place == expected + 1), key


def test_a_block_that_begins_with_the_key_is_told_from_others_by_eight_bytes() -> None:
    keys = [b"key-%08d" % number for number in range(0, 10_000, 3)]
    index = BlockIndex(keys, b"key-99999999")
    assert not index.whole
    for number, key in enumerate(keys):
        assert index.place(key)[0] == number
        assert index.place(key + b"!")[0] == number
    assert index.place(b"key-00000001") == (0, True)
    assert index.place(b"key")[0] == -1
    assert index.place(b"other") == (len(keys) - 1, True)


def test_only_groups_whose_keys_differ_late_keep_them_whole() -> None:
    near = [b"a/very/long/name/%04d" % number for number in range(3 * GROUP // 2)]
    far = [b"b%04d" % number for number in range(3 * GROUP // 2)]
    index = BlockIndex(near + far, b"c")
    # The second of three groups begins with some of these and ends with the others.
    assert list(index.whole) == [1]
    for number, key in enumerate(near + far):
        assert index.place(key)[0] == number


def differ_late(number: int) -> bytes:
    """Four keys in a row differ behind eight bytes that they have in common."""
    return b"%08d/some/name/%02d" % divmod(number, 4)


def have_long_heads(number: int) -> bytes:
    """Groups at the ends of a namespace have no more in common than a byte."""
    return b"/namespace-%d/with-a-long-name/%06d" % (number // 500, number)


def are_plain(number: int) -> bytes:
    return b"%08d" % number


@pytest.mark.parametrize("key_of", [differ_late, have_long_heads, are_plain])
def test_each_key_of_a_table_is_found_wherever_its_block_begins(key_of: KeyOf) -> None:
    keys = sorted(key_of(2 * number) for number in range(1_200))
    options = EngineOptions(memtable_bytes=1 << 20, block_bytes=128)
    engine = new_engine(options)
    engine.write({key: key[::-1] for key in keys}, 1)
    engine.flush()
    for key in keys:
        assert engine.get(key) == key[::-1], key
    for number in range(1_200):
        absent = key_of(2 * number + 1)
        assert (engine.get(absent) is None) == (absent not in keys)
    for place in range(0, len(keys), 7):
        start, end = keys[place], keys[min(place + 20, len(keys) - 1)]
        found = [key for key, _ in engine.scan(start, end)]
        assert found == [key for key in keys if start <= key < end]
        behind = [key for key, _ in engine.scan(start + b"!", end + b"!")]
        assert behind == [key for key in keys if start + b"!" <= key < end + b"!"]
    engine.close()
