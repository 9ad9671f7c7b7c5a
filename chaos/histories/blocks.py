"""Operations that must stand next to each other in any order that explains a history.

Law: says what belongs together by values and times alone, and decides no order.

A value is written once. So who reads it stands behind its write, before the next change
of the key: together they are a block, and nothing that changes the key stands between
them. A cas that succeeded stands right behind the block of the value that it expected:
a chain of such blocks is one block, too. Of a block two times matter. It can be before
another one unless that ended before its `last_start`, the latest start of its
operations; and behind another unless that began after its `first_end`, their earliest
end. "No such key" is no value of that sort, since every delete brings it back: a read
that found nothing stands alone, and so does a delete. A cas whose client did not know
the value that it expected is nothing but a put.

What never happened is left out: whatever was refused, and reads without an answer. An
unknown put or cas whose value nobody saw is left out, too, and nothing is lost by that.
Suppose that an order explains the history with it. Up to the next change of the key
nobody stands behind it who sees anything: he would have seen its value. So the order
without it explains the same. One whose value was seen did happen, before it was seen:
it has no end of its own, but its block has, that of those who saw it. (If the only one
who saw it is itself an unknown cas, ask first whether that one was seen.)
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NoReturn, TypeAlias

import msgspec

from .operations import FOREVER, Operation, Refuted, Unseen, end_of, show

INVARIANT: Final = "linearizability"
_START: Final = attrgetter("start")
# What an item needs before it and leaves behind it: a block takes any state; a block
# that begins with a cas on "no such key" needs that; a read that found nothing needs it
# and leaves it; a delete makes it.
WRITE: Final = 0
CREATE: Final = 1
ABSENT: Final = 2
DELETE: Final = 3

# last_start, first_end, which of the four, and the operation that it is named by.
Item: TypeAlias = tuple[int, int, int, Operation]


class Block(msgspec.Struct, eq=False):
    """One value: its write, the first that saw it, and the cas that took its place.

    `chained` says that its own write is such a cas, in the chain of another block.
    """

    key: bytes
    last_start: int
    first_end: int
    writer: Operation | None
    witness: Operation | None = None
    taker: Operation | None = None
    chained: bool = False


class Gathered:
    """What has to be put in order, by key."""

    def __init__(self) -> None:
        self.items: dict[bytes, list[Item]] = {}
        # The starts of unknown deletes: each happens once or never, at any later time.
        self.deletes: dict[bytes, list[int]] = {}


def gather(operations: Sequence[Operation]) -> Gathered:
    """The blocks, reads of nothing and deletes of a history. Raises Refuted."""
    gathered = Gathered()
    blocks: dict[bytes, Block] = {}
    _link(_read(operations, gathered, blocks), blocks)
    chained = in_chains = 0
    items = gathered.items
    for value, block in blocks.items():
        writer = block.writer
        if writer is None or writer.outcome != "ok":
            if block.witness is None and block.taker is None:
                continue
            writer = _happened(value, block)
        if writer.start > block.first_end:
            _seen_too_early(operations, value, value)
        if block.chained:
            chained += 1
            continue
        last_start, first_end = block.last_start, block.first_end
        if block.taker is not None:
            last_start, first_end, count = _chain(value, blocks, operations)
            in_chains += count
        create = writer.kind == "cas" and writer.expected_value is None
        item = (last_start, first_end, CREATE if create else WRITE, writer)
        if block.key in items:
            items[block.key].append(item)
        else:
            items[block.key] = [item]
    if chained != in_chains:
        _refuse_circle(blocks)
    return gathered


def _read(
    operations: Sequence[Operation], gathered: Gathered, blocks: dict[bytes, Block]
) -> list[Operation]:
    """Fill the books; every cas that may have happened on a value that is known."""
    swaps: list[Operation] = []
    find, items = blocks.get, gathered.items
    for operation in operations:
        kind, value, start = operation.kind, operation.value, operation.start
        done = operation.outcome == "ok"
        end = operation.end if done else FOREVER
        assert end is not None, "an operation that is ok has ended"
        if kind == "put" or kind == "cas":
            assert value is not None
            block = find(value)
            if block is None:
                blocks[value] = Block(operation.key, start, end, operation)
            else:
                _join(block, operation, end)
                assert block.writer is None, "no two writes have the same value"
                block.writer = operation
            if kind == "cas":
                swaps.append(operation)
        elif not done:
            if kind == "delete" and operation.outcome == "unknown":
                gathered.deletes.setdefault(operation.key, []).append(start)
        elif value is None:
            item = (start, end, ABSENT if kind == "get" else DELETE, operation)
            if operation.key in items:
                items[operation.key].append(item)
            else:
                items[operation.key] = [item]
        else:
            block = find(value)
            if block is None:
                blocks[value] = Block(operation.key, start, end, None, operation)
            else:
                _join(block, operation, end)
                block.witness = operation
    return swaps


def _join(block: Block, operation: Operation, end: int) -> None:
    if operation.key != block.key:
        other = block.writer or block.witness
        assert other is not None
        _refute("a value of one key is read from another", other, operation)
    if operation.start > block.last_start:
        block.last_start = operation.start
    if end < block.first_end:
        block.first_end = end


def _link(swaps: list[Operation], blocks: dict[bytes, Block]) -> None:
    """Put every cas that has happened behind the block that it expected."""
    doubtful: dict[bytes, Operation] = {}
    happened: list[Operation] = []
    for swap in swaps:
        assert swap.value is not None
        if swap.outcome == "ok" or blocks[swap.value].witness is not None:
            happened.append(swap)
        else:
            doubtful[swap.value] = swap
    while happened:
        swap = happened.pop()
        before = swap.expected_value
        if not isinstance(before, bytes):
            continue
        _take(swap, before, blocks)
        # Who saw the value of an unknown cas shows that it has happened.
        if before in doubtful:
            happened.append(doubtful.pop(before))


def _take(swap: Operation, before: bytes, blocks: dict[bytes, Block]) -> None:
    block = blocks.get(before)
    if block is None:
        _refute(f"nobody wrote {show(before)}, and a cas replaced it", swap)
    if block.key != swap.key:
        _refute("a value of one key is replaced in another", swap)
    if block.taker is not None:
        _refute(f"{show(before)} was replaced twice", block.taker, swap)
    assert swap.value is not None
    block.taker = swap
    blocks[swap.value].chained = True


def _happened(value: bytes, block: Block) -> Operation:
    """The write of a value that was seen, if that can be."""
    witness = block.witness or block.taker
    assert witness is not None
    if block.writer is None:
        _refute(f"nobody wrote {show(value)}, and it was seen", witness)
    if block.writer.outcome == "refused":
        detail = f"the write of {show(value)} was refused, and its value was seen"
        raise Refuted("I-54", detail, block.writer, witness)
    return block.writer


def _chain(
    value: bytes, blocks: dict[bytes, Block], operations: Sequence[Operation]
) -> tuple[int, int, int]:
    """The times of a chain that begins with `value`; how many blocks follow there."""
    block = blocks[value]
    last_start, first_end, count = block.last_start, block.first_end, 0
    latest = value
    while block.taker is not None:
        value = block.taker.value or b""
        block = blocks[value]
        if last_start > block.first_end:
            _seen_too_early(operations, latest, value)
        if block.last_start > last_start:
            last_start, latest = block.last_start, value
        first_end = min(first_end, block.first_end)
        count += 1
    return last_start, first_end, count


def members(operations: Sequence[Operation], value: bytes) -> list[Operation]:
    """The write of a value and all that read it, as far as they happened."""
    return [
        operation
        for operation in operations
        if operation.value == value
        and (operation.outcome == "ok" or operation.kind != "get")
    ]


def _seen_too_early(
    operations: Sequence[Operation], earlier: bytes, later: bytes
) -> NoReturn:
    """Something of `earlier`, which must come first, began after `later` was over."""
    first = min(members(operations, later), key=end_of)
    if earlier == later:
        writer = next(o for o in members(operations, later) if o.kind != "get")
        _refute("a value was seen before its write began", first, writer)
    last = max(members(operations, earlier), key=_START)
    _refute("a value was replaced, and seen afterwards", first, last)


def _refuse_circle(blocks: dict[bytes, Block]) -> NoReturn:
    """Go back from each value to what it replaced, until one comes again."""
    for start in blocks:
        circle: list[Operation] = []
        value: bytes | Unseen | None = start
        while isinstance(value, bytes) and blocks[value].chained:
            writer = blocks[value].writer
            assert writer is not None
            if writer in circle:
                detail = "each replaces what the other wrote, in a circle"
                _refute(detail, *circle[circle.index(writer) :])
            circle.append(writer)
            value = writer.expected_value
    raise AssertionError("a chain has no beginning, and is no circle")


def _refute(detail: str, *shown: Operation) -> NoReturn:
    raise Refuted(INVARIANT, detail, *shown)
