"""What a transaction finds: the store, and what came before it in the same step.

Law: reads only. Several entries are applied as one step, whose effects are not in the
store before its end; so what is read here is looked for in both.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final

from ...storage.engine import TOMBSTONE, Engine
from ...wire import ErrorCode
from . import layout
from .leases import Effects, LeaseTable
from .transactions import overlaid

# What one step may read of the state, and then keep as old versions; the last of its
# entries may go beyond it, by what a transaction may meet.
STEP_READ_BYTES: Final = 16 << 20
# What a look-up, and each effect, counts beside the bytes: it takes its time as well.
LOOK_BYTES: Final = 1 << 10


class Written:
    """The newest versions among the effects of one step, in order of their keys.

    Effects are only added to, so that each is put in its place once.
    """

    def __init__(self, effects: Effects) -> None:
        self.effects = effects
        self._seen = 0
        self._order: list[bytes] = []

    def between(self, first: bytes, last: bytes) -> list[tuple[bytes, bytes | None]]:
        """Places on the tree, first ≤ place < last, and what is there now."""
        effects, order = self.effects, self._order
        if len(effects) > self._seen:
            added = islice(effects, self._seen, None)
            order += [at for at in added if at.startswith(layout.NEWEST)]
            order.sort()
            self._seen = len(effects)
        places = order[bisect_left(order, first) : bisect_left(order, last)]
        return [(at, _value(effects[at])) for at in places]


class Before:
    """See the module: one step's `effects` over its `store`."""

    def __init__(self, store: Engine, leases: LeaseTable, effects: Effects) -> None:
        self.store = store
        self.leases = leases
        self.effects = effects
        # What was looked up: in the end a step of little effect may have passed a lot.
        self.read_bytes = 0
        self._written = Written(effects)

    def get(self, key: bytes) -> bytes | None:
        record = self.record(key)
        return None if record is None else record[1:]

    def record(self, key: bytes) -> bytes | None:
        """As `get`, as the store has it: behind a `VALUE`."""
        record = record_of(layout.NEWEST + key, self.effects, self.store)
        self.read_bytes += LOOK_BYTES if record is None else LOOK_BYTES + len(record)
        return record

    def spent(self) -> int:
        """What this step has cost by now, as bytes."""
        return self.read_bytes + LOOK_BYTES * len(self.effects)

    def scan(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and records, start ≤ key < end, in order; None: no bound."""
        first, last = layout.newest_bounds(start, end)
        there = self.store.scan(first, last)
        for at, record in overlaid(there, self._written.between(first, last)):
            self.read_bytes += LOOK_BYTES + len(record)
            yield at[len(layout.NEWEST) :], record

    def refusal(self, lease: int, had: int, gained: int) -> ErrorCode | None:
        """Why no key that hung on `had` can hang on `lease`, which `gained` others."""
        return self.leases.refusal(lease, had, gained)


def record_of(at: bytes, effects: Effects, store: Engine) -> bytes | None:
    """What is at a place after these effects, as the store has it; None: nothing."""
    if at not in effects:
        return store.record(at)
    record = effects[at]
    return None if record == TOMBSTONE else record


def _value(record: bytes) -> bytes | None:
    return None if record == TOMBSTONE else record[1:]
