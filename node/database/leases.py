"""Leases as the log makes them: which there are, and the keys that hang on them.

Law: no time in here. A lease has a length; when it is over, the leader says so in the
log (node/replica/leases), and then it ends with its keys, on every replica at the same
entry. How many keys it may have is bounded, since all of them go at once.
"""

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from ...storage.engine import TOMBSTONE, VALUE, Engine
from ...wire import KEYS_MAX, ErrorCode
from . import layout, rules

_STORED: Final = struct.Struct("<QIQ")
_DIGESTED: Final = struct.Struct("<QQQ")
# Places on the tree and their records: `VALUE` and what is stored, or `TOMBSTONE`.
Effects = dict[bytes, bytes]


class Lease(msgspec.Struct):
    """`keys` hang on it now; `since` is the index of the entry that granted it.

    `ttl_ms` is 0 once its end has begun, and was too much for one step.
    """

    ttl_ms: int
    keys: int
    since: int

    @property
    def ends_in_parts(self) -> bool:
        """Is it over, and only some of its keys that are left to go?"""
        return not self.ttl_ms


class LeaseTable:
    """All leases of one database, in memory, beside what its store has of them.

    `leases`: those that the store has.
    """

    def __init__(self, store: Engine, leases: dict[int, Lease]) -> None:
        self.store = store
        self.leases = leases if rules.reads_leases_back() else {}
        # Granted since somebody looked: who keeps the time has to know.
        self.granted: list[int] = []
        # Of this step, and so not in the store yet: does the key hang on the lease?
        self._moved: dict[int, dict[bytes, bool]] = {}

    def grant(self, number: int, ttl_ms: int, since: int, effects: Effects) -> int:
        """Its digest, which the state hash gains."""
        assert number not in self.leases
        self.leases[number] = Lease(ttl_ms, 0, since)
        self.granted.append(number)
        self._store(number, effects)
        return digest(number, ttl_ms, since)

    def has_ended(self, number: int, effects: Effects) -> int:
        """Its time is over, and keys of it are left: what the state hash gains.

        Who leads looks at it as at one that was just granted.
        """
        lease = self.leases[number]
        lost = digest(number, lease.ttl_ms, lease.since)
        lease.ttl_ms = 0
        self.granted.append(number)
        self._store(number, effects)
        return digest(number, 0, lease.since) - lost

    def end(self, number: int, effects: Effects) -> int:
        """What the state hash gains. Its keys were taken away before."""
        lease = self.leases.pop(number)
        assert lease.keys == 0, "no key outlives its lease"
        effects[layout.lease(number)] = TOMBSTONE
        return -digest(number, lease.ttl_ms, lease.since)

    def refusal(self, number: int, had: int, gained: int = 0) -> ErrorCode | None:
        """Why no key that hung on `had` can hang on `number`, which `gained` others."""
        lease = self.leases.get(number)
        if lease is None or lease.ends_in_parts:
            return ErrorCode.LEASE_NOT_FOUND
        full = had != number and lease.keys + gained >= KEYS_MAX
        return ErrorCode.TOO_MANY_KEYS if full else None

    def moved(self, key: bytes, before: int, after: int, effects: Effects) -> None:
        """`key` hung on one lease and hangs on another now; 0 is none."""
        if before == after:
            return
        if before:
            self._move(key, before, effects, hangs=False)
        if after:
            self._move(key, after, effects, hangs=True)

    def _move(self, key: bytes, number: int, effects: Effects, *, hangs: bool) -> None:
        effects[layout.leased(number, key)] = VALUE if hangs else TOMBSTONE
        self.leases[number].keys += 1 if hangs else -1
        self._moved.setdefault(number, {})[key] = hangs
        self._store(number, effects)

    def written(self) -> None:
        """The effects of this step are in the store now."""
        if self._moved:
            self._moved = {}

    def keys_of(self, number: int) -> list[bytes]:
        """The keys that hang on it, in order."""
        scan = self.store.scan(*layout.leased_bounds(number))
        found = {layout.leased_key(at): True for at, _ in scan}
        found |= self._moved.get(number, {})
        return sorted([key for key, hangs in found.items() if hangs])

    def above(self, number: int) -> Iterator[int]:
        """The leases above `number`, in order, between two steps."""
        start, end = layout.lease_bounds()
        if number:
            start = layout.lease(number) + b"\0"
        return map(layout.number_of, self.store.view().keys(start, end))

    def _store(self, number: int, effects: Effects) -> None:
        lease = self.leases[number]
        stored = _STORED.pack(lease.ttl_ms, lease.keys, lease.since)
        effects[layout.lease(number)] = VALUE + stored


def decode_lease(data: bytes) -> Lease:
    """What the store has of one."""
    return Lease(*_STORED.unpack(data))


def digest(number: int, ttl_ms: int, since: int) -> int:
    """A 128-bit number of everything that a lease is; its keys say that they hang."""
    data = b"lease" + _DIGESTED.pack(number, ttl_ms, since)
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "little")
