"""Whether some order of the operations explains what every client saw.

Law: revisions are not looked at, so that a cluster can't talk its way out: values and
times are all the evidence. Every key is judged alone, which is exact, since every
operation has one key.

The items of a key (see blocks) are looked at in the order of their latest starts.
Wherever all so far ended before all others began, the order is known, and one state is
carried over. What can't be told apart that way is searched (see search). Most items
stand alone.
"""

from collections.abc import Sequence
from itertools import accumulate, combinations
from operator import attrgetter, itemgetter
from typing import Final, NoReturn

import msgspec

from .blocks import (
    ABSENT,
    DELETE,
    INVARIANT,
    WRITE,
    Item,
    gather,
    members,
)
from .operations import FOREVER, Objection, Operation, Refuted, end_of, show
from .search import Exceeded, Search, State, Stuck

# How long one key may be searched for: a tenth of a second or two.
STEPS_MAX: Final = 100_000
_LAST_START: Final = itemgetter(0)
_START: Final = attrgetter("start")
_SHOWN_MAX: Final = 12
_NEAR_MAX: Final = 64
# Behind all items of a key.
_END: Final[Item] = (FOREVER, FOREVER, WRITE, Operation(0, "get", b"", 0))


class Verdict(msgspec.Struct, frozen=True):
    """What was found; `undecided` is how many keys took more steps than they may."""

    objection: Objection | None
    undecided: int


def check_linearizable(
    operations: Sequence[Operation], steps_max: int = STEPS_MAX
) -> Verdict:
    """Judge each key, with that many steps of search, up to the first objection."""
    undecided = 0
    try:
        gathered = gather(operations)
        for key, items in gathered.items.items():
            deletes = sorted(gathered.deletes.get(key, ()))
            try:
                _check_key(operations, items, deletes, steps_max)
            except Exceeded:
                undecided += 1
    except Refuted as refuted:
        return Verdict(refuted.objection, undecided)
    return Verdict(None, undecided)


def _check_key(
    operations: Sequence[Operation],
    items: list[Item],
    deletes: Sequence[int],
    steps_max: int,
) -> None:
    """Order the items of one key. Raises Refuted or Exceeded."""
    items.sort(key=_LAST_START)
    limits = _limits(items) if deletes else ()
    absent, used, steps = True, 0, 0
    # In the beginning nothing is there, as behind a delete.
    first, alone = 0, DELETE
    floor = latest = -FOREVER
    for index, (start, end, kind, _) in enumerate((*items, _END)):
        if start > latest:
            # Everything from `first` on ended before this, and what follows, began.
            if index - first > 1:
                limit = limits[index] if deletes else FOREVER
                search = Search(items[first:index], deletes, limit)
                try:
                    absent, used = search.run(State(absent, used), steps_max - steps)
                except Stuck as stuck:
                    _refuse_all(operations, search.items, stuck.item)
                steps += search.steps
            elif alone == WRITE:
                absent = False
            elif alone == DELETE:
                absent = True
            else:
                if not absent:
                    if used == len(deletes) or deletes[used] > limits[first]:
                        _refuse_absence(operations, items, first)
                    used += 1
                absent = alone == ABSENT
            if index:
                floor = items[index - 1][0]
            first, alone, latest = index, kind, end
        elif end > latest:
            latest = end
        if end < floor:
            _refuse_pair(operations, items[first - 1], items[index])


def _limits(items: Sequence[Item]) -> list[int]:
    """Of each item and all behind it the earliest end."""
    ends = accumulate((item[1] for item in reversed(items)), min, initial=FOREVER)
    return list(ends)[::-1]


# -- counter-examples ------------------------------------------------------------------


def _refuse_absence(
    operations: Sequence[Operation], items: Sequence[Item], position: int
) -> NoReturn:
    """A read or cas met no such key, and nothing can have removed what was there."""
    shown = _told_by(operations, items[max(0, position - 1) : position + 1])
    detail = f"{show(shown[0].key)} was gone, and nobody removed it"
    raise Refuted(INVARIANT, detail, *shown)


def _refuse_pair(operations: Sequence[Operation], one: Item, other: Item) -> NoReturn:
    """Each of the two must be before the other."""
    _refuse_order("these", sorted(_told_by(operations, [one, other]), key=_START))


def _refuse_all(
    operations: Sequence[Operation], items: Sequence[Item], item: Item
) -> NoReturn:
    """Two that can't be in any order, or all around the place where all fail."""
    place = max(0, items.index(item) - _NEAR_MAX // 2)
    near = items[place : place + _NEAR_MAX]
    for one, other in combinations(near, 2):
        if one[1] < other[0] and other[1] < one[0]:
            _refuse_pair(operations, one, other)
    shown = sorted(_told_by(operations, near), key=_START)
    place = max(0, shown.index(item[3]) - _SHOWN_MAX // 2)
    part = shown[place : place + _SHOWN_MAX]
    _refuse_order("these" if len(near) == len(items) else "these and others", part)


def _refuse_order(which: str, shown: Sequence[Operation]) -> NoReturn:
    detail = f"no order of {which} on {show(shown[0].key)} explains what was seen"
    raise Refuted(INVARIANT, detail, *shown)


def _told_by(operations: Sequence[Operation], items: Sequence[Item]) -> list[Operation]:
    """The operations that make these items what they are, item by item."""
    key = items[0][3].key
    mine = [operation for operation in operations if operation.key == key]
    takers = {
        o.expected_value: o for o in mine if o.kind == "cas" and o.outcome == "ok"
    }
    told: list[Operation] = []
    for _, _, _, named in items:
        found, last = [named], named
        while last is not None and last.value is not None:
            found += members(mine, last.value)
            last = takers.get(last.value)
        ends = (named, min(found, key=end_of), max(found, key=_START))
        told += sorted(dict.fromkeys(ends), key=_START)
    return told
