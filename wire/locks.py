"""Locks and elections: etcd's recipe, byte for byte, so that its clients take part.

Law: pure, and no command of its own. Whoever wants the lock NAME puts the key
`NAME/<lease>`, with that lease, if it is not there; who came first, by create_revision,
holds it; everybody else waits until the one before him has gone. An election is the
same, with a value.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol, Self

import msgspec

from .errors import ProtocolError
from .fences import Fence
from .transaction_replies import TxnReply
from .transactions import (
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnGetRange,
    TxnPut,
)

_LEASE: Final = re.compile(rb"(-?)([1-9a-f][0-9a-f]{0,15})")
_INT64_MAX: Final = 2**63 - 1
_UINT64: Final = 2**64


class Recorded(Protocol):
    """A record of a key, whoever keeps it."""

    @property
    def key(self) -> bytes: ...
    @property
    def create_revision(self) -> int: ...
    @property
    def mod_revision(self) -> int: ...
    @property
    def lease(self) -> int: ...


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key of somebody who holds or waits; values may be large, and are left out."""

    key: bytes
    create_revision: int
    mod_revision: int
    lease: int

    @classmethod
    def of(cls, record: Recorded) -> Self:
        """What a record says."""
        return cls(
            record.key, record.create_revision, record.mod_revision, record.lease
        )

    @property
    def fence(self) -> Fence:
        return Fence(self.key, self.create_revision)


class Entered(msgspec.Struct, frozen=True):
    """What came of `enter`: our fence, and whether the key was made by it.

    `value` is what the key had when it was there already, else None.
    """

    fence: Fence
    made: bool
    value: bytes | None
    revision: int
    queue: "Queue"


class Queue:
    """All who hold or wait, in their order, kept up to date."""

    def __init__(self, records: Iterable[Recorded]) -> None:
        self._entries: dict[bytes, Entry] = {}
        for record in records:
            self.put(record)

    def put(self, record: Recorded) -> None:
        self._entries[record.key] = Entry.of(record)

    def delete(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def holder(self) -> Entry | None:
        """Who came first; None: nobody is there."""
        return min(self._entries.values(), key=_order, default=None)

    def all(self) -> list[Entry]:
        """In their order."""
        return sorted(self._entries.values(), key=_order)

    def find(self, fence: Fence) -> Entry | None:
        """Its entry; None: it is lost."""
        entry = self._entries.get(fence.key)
        lost = entry is None or entry.create_revision != fence.revision
        return None if lost else entry

    def has(self, fence: Fence) -> bool:
        """Is that one still there?"""
        return self.find(fence) is not None

    def before(self, fence: Fence) -> Entry | None:
        """Whoever is just before that one; None: he holds it."""
        mine = (fence.revision, fence.key)
        ahead = [entry for entry in self._entries.values() if _order(entry) < mine]
        return max(ahead, key=_order, default=None)


def _order(entry: Entry) -> tuple[int, bytes]:
    return entry.create_revision, entry.key


# -- keys ------------------------------------------------------------------------------


def queue_prefix(name: bytes) -> bytes:
    """What all keys of a lock or an election begin with."""
    return name + b"/"


def queue_end(name: bytes) -> bytes:
    """The first key behind them."""
    return name + b"0"


def holder_key(name: bytes, lease: int) -> bytes:
    """The key by which the owner of a lease holds or waits: etcd's `%x` of an int64."""
    signed = lease - _UINT64 if lease > _INT64_MAX else lease
    return queue_prefix(name) + f"{signed:x}".encode()


def lease_of_key(name: bytes, key: bytes) -> int | None:
    """The lease that a holder's key names; None: it is no such key of `name`."""
    prefix = queue_prefix(name)
    match = _LEASE.fullmatch(key[len(prefix) :]) if key.startswith(prefix) else None
    if match is None:
        return None
    number = int(match[2], 16)
    lease = _UINT64 - number if match[1] else number
    return lease if holder_key(name, lease) == key else None


# -- what is asked, and what came of it ------------------------------------------------


def enter(name: bytes, lease: int, value: bytes = b"") -> Transaction:
    """Stand in line, unless that lease does already; and see who else does.

    To do it twice is to do it once: it may be asked again when its fate was lost.
    """
    key = holder_key(name, lease)
    absent = Compare(key, Target.CREATE_REVISION, Relation.EQUAL, 0)
    everybody = TxnGetRange(queue_prefix(name), queue_end(name), keys_only=True)
    return Transaction(
        (absent,),
        (TxnPut(key, value, lease), everybody),
        (TxnGet(key), everybody),
    )


def entered(name: bytes, lease: int, reply: TxnReply) -> Entered:
    """What came of `enter`."""
    if len(reply.results) != 2 or reply.results[1].records is None:
        raise ProtocolError("a reply to another transaction")
    key = holder_key(name, lease)
    queue = Queue(reply.results[1].records)
    if reply.succeeded:
        fence = Fence(key, reply.revision)
        return Entered(fence, True, None, reply.revision, queue)
    record = reply.results[0].record
    if record is None or record.key != key:
        raise ProtocolError("a reply to another transaction")
    fence = Fence(key, record.create_revision)
    return Entered(fence, False, record.value, reply.revision, queue)


def leave(fence: Fence) -> Transaction:
    """Give up the lock, or the place in line; nothing when it is lost."""
    return Transaction((fence.compare,), (TxnDelete(fence.key),), ())


def join(entry: Entry, lease: int, value: bytes) -> Transaction:
    """Put a key again that stands in line, unless somebody else has just done so.

    Whoever made it sees by its mod_revision that it is not his alone any more.
    """
    then = (TxnPut(entry.key, value, lease),)
    return Transaction((_unchanged(entry.key, entry.mod_revision),), then, ())


def leave_alone(made: Fence) -> Transaction:
    """Give up a place that nobody has joined; else tell what is there."""
    compares = (_unchanged(made.key, made.revision),)
    return Transaction(compares, (TxnDelete(made.key),), (TxnGet(made.key),))


def _unchanged(key: bytes, mod_revision: int) -> Compare:
    return Compare(key, Target.MOD_REVISION, Relation.EQUAL, mod_revision)


def proclaim(fence: Fence, lease: int, value: bytes) -> Transaction:
    """Say something else, as long as the place is held."""
    return Transaction((fence.compare,), (TxnPut(fence.key, value, lease),), ())
