"""Leases as the log makes them: which there are, and the keys that hang on them.

Law: no time in here. A lease has a length; when it is over, the leader says so in the
log (node/replica/leases), and then it ends with its keys, on every replica at the same
entry. How many keys it may have is bounded, since all of them go at once.
"""

import struct
from hashlib import blake2b
from typing import Final

import msgspec

from ...storage.engine import Engine
from ...storage.errors import CorruptionError
from ...wire import KEYS_MAX
from . import layout

_STORED: Final = struct.Struct("<QI")
_DIGESTED: Final = struct.Struct("<QQ")
Effects = dict[bytes, bytes | None]


class Lease(msgspec.Struct):
    """`keys` hang on it now."""

    ttl_ms: int
    keys: int


class LeaseTable:
    """All leases of one database, in memory, beside what its store has of them."""

    def __init__(self, store: Engine) -> None:
        self.store = store
        self.leases: dict[int, Lease] = {}
        # Granted since somebody looked: who keeps the time has to know.
        self.granted: list[int] = []
        if store.damage is None:
            self._load()

    def _load(self) -> None:
        try:
            for at, data in self.store.scan(*layout.lease_bounds()):
                ttl_ms, keys = _STORED.unpack(data)
                self.leases[layout.lease_number(at)] = Lease(ttl_ms, keys)
        except CorruptionError as damage:
            # As everywhere: the replica sees it and heals, or ends.
            self.leases.clear()
            self.store.condemn(damage)

    def grant(self, number: int, ttl_ms: int, effects: Effects) -> int:
        """Its digest, which the state hash gains."""
        assert number not in self.leases
        self.leases[number] = Lease(ttl_ms, 0)
        self.granted.append(number)
        self._store(number, effects)
        return digest(number, ttl_ms)

    def end(self, number: int, effects: Effects) -> int:
        """The digest that the state hash loses. Its keys were taken away before."""
        lease = self.leases.pop(number)
        assert lease.keys == 0, "no key outlives its lease"
        effects[layout.lease(number)] = None
        return digest(number, lease.ttl_ms)

    def is_full(self, number: int) -> bool:
        return self.leases[number].keys >= KEYS_MAX

    def moved(self, key: bytes, before: int, after: int, effects: Effects) -> None:
        """`key` hung on one lease and hangs on another now; 0 is none."""
        if before == after:
            return
        if before:
            effects[layout.leased(before, key)] = None
            self.leases[before].keys -= 1
            self._store(before, effects)
        if after:
            effects[layout.leased(after, key)] = b""
            self.leases[after].keys += 1
            self._store(after, effects)

    def keys_of(self, number: int, effects: Effects | None = None) -> list[bytes]:
        """The keys that hang on it, in order; `effects` are not in the store yet."""
        start, end = layout.leased_bounds(number)
        found = {at: b"" for at, _ in self.store.scan(start, end)}
        for at, value in (effects or {}).items():
            if start <= at < end:
                if value is None:
                    found.pop(at, None)
                else:
                    found[at] = b""
        return [layout.leased_key(at) for at in sorted(found)]

    def _store(self, number: int, effects: Effects) -> None:
        lease = self.leases[number]
        effects[layout.lease(number)] = _STORED.pack(lease.ttl_ms, lease.keys)


def digest(number: int, ttl_ms: int) -> int:
    """A 128-bit number of everything that a lease is; its keys say that they hang."""
    data = b"lease" + _DIGESTED.pack(number, ttl_ms)
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "little")
