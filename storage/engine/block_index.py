"""Which block of a table a key is looked for in, told from few bytes.

Law: pure. The first keys of the blocks are enough, and each has most of its bytes in
common with its neighbours. Kept are the first key of each group of 32 blocks, and of
each block's first key the eight bytes behind those that all keys of its group begin
with. A group in which two blocks have the same eight bytes keeps its first keys whole.

A first key as bytes in a list takes 64 bytes and more, this 11.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from operator import ge
from typing import Final

GROUP: Final = 32
WORD_BYTES: Final = 8
# Behind a key, so that eight bytes are always there.
ZEROS: Final = bytes(WORD_BYTES)
# Behind the last block's, so that the last group is whole: no eight bytes are above.
_TOP: Final = (1 << 8 * WORD_BYTES) - 1


class BlockIndex:
    """Of one table. A lookup is written out where it is hot (table.Table.get).

    `groups`: first keys of the groups; `skips`: how many bytes all keys of a group
    begin with; `words`: the eight bytes behind them of each block's first key, as a
    number; `whole`: first keys, by the number of the group that needs them.
    """

    __slots__ = ("count", "groups", "last", "skips", "whole", "words")

    def __init__(self, first_keys: Sequence[bytes], last: bytes) -> None:
        """`first_keys` ascend; `last` is the last key of the table."""
        self.count = len(first_keys)
        self.last = last
        self.groups = [*first_keys[::GROUP]]
        # Whatever is looked for in a group lies between its first key and the next
        # one's, and so begins as both do.
        self.skips = array(
            "H", map(_common_bytes, self.groups, [*self.groups[1:], last])
        )
        self.whole: dict[int, list[bytes]] = {}
        parts: list[bytes] = []
        for number, skip in enumerate(self.skips):
            keys = first_keys[number * GROUP : (number + 1) * GROUP]
            end = skip + WORD_BYTES
            words = [(key + ZEROS)[skip:end] for key in keys]
            if any(map(ge, words, islice(words, 1, None))):
                self.whole[number] = [*keys]
            parts += words
        self.words = array("Q", b"".join(parts))
        if sys.byteorder == "little":
            self.words.byteswap()
        self.words.extend([_TOP] * (-self.count % GROUP))

    def place(self, key: bytes) -> tuple[int, bool]:
        """The last block whose first key is not above `key`, and whether that is sure.

        -1: there is none. Where it is not sure it may also be the block before.
        """
        group = bisect_right(self.groups, key) - 1
        if group < 0:
            return -1, True
        if key > self.last:
            return self.count - 1, True
        begin = group * GROUP
        keys = self.whole.get(group)
        if keys is not None:
            return begin + bisect_right(keys, key) - 1, True
        word = word_of(key, self.skips[group])
        end = min(begin + GROUP, self.count)
        number = bisect_right(self.words, word, begin, end) - 1
        return number, number == begin or self.words[number] != word


def word_of(key: bytes, skip: int) -> int:
    """Eight bytes of a key, as a number that sorts as they do."""
    return int.from_bytes((key + ZEROS)[skip : skip + WORD_BYTES], "big")


def _common_bytes(low: bytes, high: bytes) -> int:
    """How many bytes both begin with."""
    size = min(len(low), len(high))
    differ = int.from_bytes(low[:size], "big") ^ int.from_bytes(high[:size], "big")
    return size - (differ.bit_length() + 7) // 8
