"""The order of a few blocks that can't be told apart by time alone.

Law: Wing and Gong's search with Lowe's memory of what was tried, over blocks (see
blocks) and not over single operations. A step places something that no other thing left
has to precede. The state behind it is one of two: there is "no such key", or there is a
value that nobody needs any more, because all who saw it stand in its block.

Most steps are no choice. While the key is absent, a read of nothing that may come next
comes next: it changes nothing, and who comes earlier is in nobody's way. While it is
not, the same holds for a block that needs no particular state. Of several deletes that
may come next the one with the earliest end goes first, of several blocks that begin
with a cas on nothing, too: whoever may be placed now may be placed later as far as the
others' starts go, so that in any solution the two can change places. A choice is left
between different kinds: to give up an absent key for blocks, for a cas, or to spend a
delete. So the search stays small however many clients meet at one key.

Unknown deletes happen or not, at any time after their start. One is spent only where a
read or cas needs an absent key; elsewhere the next change hides it. The one that
started first is as good as any other: it may stand wherever another may. So of all
that may have happened the state is how many are spent.

A state with fewer of them spent is as good as any with more: one more may be spent at
any later time. With equally many, an absent key is as good as a value that nobody
needs: whatever may follow that may follow it. So there is one best state behind a
search, and it alone is carried on to what comes later.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from .blocks import CREATE, WRITE, Item
from .operations import FOREVER

_FIRST: Final = itemgetter(0)
_FIRST_END: Final = itemgetter(1)
# What each of the four leaves of an absent key, by whether it was absent before; None:
# it can't stand there.
_LEFT: Final = ((False, False), (None, False), (None, True), (True, True))
# For each of the four kinds the items that may come next, as bits; bit 0 is the item
# with the earliest end of all that are left.
_Window: TypeAlias = tuple[int, int, int, int]
# What is placed, and the state behind it. All items before the first number are placed,
# in the order of their ends, and behind it those whose bit is in the second.
_Place: TypeAlias = tuple[int, int, bool, int]


class State(NamedTuple):
    """Where a key is between two items."""

    absent: bool
    deletes_used: int


class Exceeded(Exception):
    """The search took more steps than it may."""


class Stuck(Exception):
    """No order of the items is possible; `item` is as far as any got."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class Search:
    """One search through items that no time tells apart from each other."""

    def __init__(
        self, items: Sequence[Item], deletes: Sequence[int], limit: int
    ) -> None:
        """`limit` is the earliest end of all that comes later."""
        self.items = sorted(items, key=_FIRST_END)
        self.deletes = deletes
        self.limit = limit
        self.windows: list[_Window] = []
        self.steps = 0
        # A bit behind all items: the least urgent.
        self._last = 1 << len(items)
        self._seen: dict[tuple[int, int, bool], int] = {}

    def run(self, state: State, steps_max: int) -> State:
        """The best state behind all items. Raises Stuck or Exceeded."""
        if len(self.items) == 2:
            left = _order_two(self.items[0], self.items[1], state.absent)
            if left is not None:
                return State(left, state.deletes_used)
        self.windows = _make_windows(self.items)
        best: State | None = None
        stack: list[_Place] = [(0, 0, state.absent, state.deletes_used)]
        furthest = 0
        while stack:
            base, absent, used = self._descend(stack, steps_max)
            if base < len(self.items):
                furthest = max(furthest, base)
            elif best is None or (used, not absent) < (best[1], not best[0]):
                best = State(absent, used)
                if absent and used == state.deletes_used:
                    break
        if best is None:
            raise Stuck(self.items[furthest])
        return best

    def _descend(self, stack: list[_Place], steps_max: int) -> tuple[int, bool, int]:
        """Go on from the last place to the end or until stuck; leave other choices."""
        windows, count = self.windows, len(self.windows)
        base, taken, absent, used = stack.pop()
        while base < count:
            self.steps += 1
            if self.steps > steps_max:
                raise Exceeded
            writes, creates, absents, deletes = windows[base]
            if taken:
                left = ~taken
                writes, absents = writes & left, absents & left
                creates, deletes = creates & left, deletes & left
            start, end, kind, _ = self.items[base]
            if start > end and self._unhindered(base, taken):
                # Its own end is not in its own way.
                writes |= kind == WRITE
                creates |= kind == CREATE
            if absent and absents:
                taken |= absents
            elif not absent and writes:
                taken |= writes
            else:
                place = base, taken, absent, used
                ready = writes, creates, absents, deletes
                if not self._choose(stack, place, ready):
                    break
                base, taken, absent, used = stack.pop()
            if taken & 1:
                passed = _ones(taken)
                base += passed
                taken >>= passed
        return base, absent, used

    def _unhindered(self, base: int, taken: int) -> bool:
        """Whether the first item that is left may come before all others left."""
        second = base + _ones(taken | 1)
        return second >= len(self.items) or self.items[base][0] <= self.items[second][1]

    def _choose(self, stack: list[_Place], place: _Place, ready: _Window) -> bool:
        """Push what may come next, the most urgent last; whether there is anything."""
        base, taken, absent, used = place
        writes, creates, absents, deletes = ready
        options: list[tuple[int, _Place]] = []
        if deletes:
            first = deletes & -deletes
            options.append((first, (base, taken | first, True, used)))
        if absent and creates:
            first = creates & -creates
            options.append((first, (base, taken | first, False, used)))
        if absent and writes:
            # Once the key is given up for one, all that may come next come.
            options.append((writes & -writes, (base, taken | writes, False, used)))
        if not absent and (absents or creates) and self._deletable(base, used):
            options.append((self._last, (base, taken, True, used + 1)))
        if len(options) > 1:
            if used >= self._seen.get((base, taken, absent), FOREVER):
                return False
            self._seen[base, taken, absent] = used
            options.sort(key=_FIRST, reverse=True)
        stack += [option for _, option in options]
        return bool(options)

    def _deletable(self, base: int, used: int) -> bool:
        """Whether one more unknown delete may stand before all that is left."""
        return used < len(self.deletes) and self.deletes[used] <= min(
            self.items[base][1], self.limit
        )


def _make_windows(items: Sequence[Item]) -> list[_Window]:
    """What may come next while the i-th item is the first that is left.

    That is all that began by its end.
    """
    windows: list[_Window] = []
    began, count = 0, len(items)
    starts = [item[0] for item in items]
    ranks = sorted(range(count), key=starts.__getitem__)
    open_ = [0, 0, 0, 0]
    for rank, (_, end, _, _) in enumerate(items):
        while began < count and starts[ranks[began]] <= end:
            if ranks[began] >= rank:
                open_[items[ranks[began]][2]] |= 1 << (ranks[began] - rank)
            began += 1
        writes, creates, absents, deletes = open_
        windows.append((writes, creates, absents, deletes))
        open_ = [writes >> 1, creates >> 1, absents >> 1, deletes >> 1]
    return windows


def _ones(bits: int) -> int:
    """How many of the lowest bits are set without a gap."""
    return (~bits & (bits + 1)).bit_length() - 1


def _order_two(one: Item, other: Item, absent: bool) -> bool | None:
    """What two items leave at best, without unknown deletes; None if they can't stand.

    Most searches would be no longer than this.
    """
    best: bool | None = None
    for first, second in ((one, other), (other, one)):
        if first[0] <= second[1]:
            between = _LEFT[first[2]][absent]
            left = None if between is None else _LEFT[second[2]][between]
            if left is not None:
                best = left or best or False
    return best
