"""Leases: what is asked about them, and the answers; as values and as bytes.

Law: as for all commands, one encoding each. Grants and revocations are written to the
log; keeping alive and asking are answered by the leader and never are: who leads keeps
the time (docs/consistency.md).
"""

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from .errors import CommandRefused, ProtocolError

GRANT, REVOKE, KEEP_ALIVE, TIME_TO_LIVE, LIST_LEASES = range(5, 10)
LEASE_OPS: Final = range(GRANT, LIST_LEASES + 1)
# etcd's: 9,000,000,000 seconds.
TTL_MS_MAX: Final = 9_000_000_000_000
TTL_MS_MIN: Final = 1000
# Leases of one page of a list; of a list without pages. To list more takes too long.
LEASES_PAGE_MAX: Final = 1000
LEASES_LISTED_MAX: Final = 10_000

_HEAD: Final = struct.Struct("<BBHI")
_GRANT: Final = struct.Struct("<BBHIQQ")
_ONE: Final = struct.Struct("<BBHIQ")
_PAGE: Final = _ONE
_ANSWER: Final = struct.Struct("<QQQQI")
_LIST: Final = struct.Struct("<QI")
_ID: Final = struct.Struct("<Q")
_ENDED: Final = struct.Struct("<QQ")
_KEY: Final = struct.Struct("<H")
_WITH_KEYS: Final = 1
_A_PAGE: Final = 1


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Make a lease; the id is the client's choice, and not 0."""

    lease: int
    ttl_ms: int


class Revoke(msgspec.Struct, frozen=True, gc=False):
    """End a lease, and with it all keys that hang on it."""

    lease: int


class KeepAlive(msgspec.Struct, frozen=True, gc=False):
    """Begin its time anew."""

    lease: int


class TimeToLive(msgspec.Struct, frozen=True, gc=False):
    """How long has it left, and which keys hang on it?"""

    lease: int
    keys: bool = False


class ListLeases(msgspec.Struct, frozen=True, gc=False):
    """Which leases are there above `after`? The first `limit` of them.

    Fewer than `limit` are the last ones. Without a limit: all, from the first one on,
    and refused when they are more than LEASES_LISTED_MAX.
    """

    after: int = 0
    limit: int = 0


LeaseQuestion: TypeAlias = KeepAlive | TimeToLive | ListLeases
LeaseCommand: TypeAlias = Grant | Revoke | LeaseQuestion


class LeaseAnswer(msgspec.Struct, frozen=True):
    """`ttl_ms` is what was granted, `left_ms` what is left of it."""

    revision: int
    lease: int
    ttl_ms: int
    left_ms: int
    keys: tuple[bytes, ...] = ()


class LeaseList(msgspec.Struct, frozen=True):
    """Leases, by their ids."""

    revision: int
    leases: tuple[int, ...]


def encode_lease_command(command: LeaseCommand) -> bytes:
    """The bytes of a command; refuses what can't be meant."""
    match command:
        case Grant(lease, ttl_ms):
            if not TTL_MS_MIN <= ttl_ms <= TTL_MS_MAX:
                raise CommandRefused(_ttl_reason(ttl_ms))
            return _GRANT.pack(GRANT, 0, 0, 0, _checked(lease), ttl_ms)
        case Revoke(lease):
            return _ONE.pack(REVOKE, 0, 0, 0, _checked(lease))
        case KeepAlive(lease):
            return _ONE.pack(KEEP_ALIVE, 0, 0, 0, _checked(lease))
        case TimeToLive(lease, keys):
            flags = _WITH_KEYS if keys else 0
            return _ONE.pack(TIME_TO_LIVE, flags, 0, 0, _checked(lease))
        case ListLeases(0, 0):
            return _HEAD.pack(LIST_LEASES, 0, 0, 0)
        case ListLeases(after, limit):
            if not 0 < limit <= LEASES_PAGE_MAX or not 0 <= after < 1 << 64:
                raise CommandRefused(_page_reason(limit))
            return _PAGE.pack(LIST_LEASES, _A_PAGE, 0, limit, after)


def decode_lease_command(data: bytes) -> LeaseCommand:
    """The command in `data`, whose first byte is one of LEASE_OPS."""
    op, flags = data[0], data[1]
    if op == LIST_LEASES and flags == _A_PAGE:
        return _decode_page(data)
    if flags > (_WITH_KEYS if op == TIME_TO_LIVE else 0) or any(data[2 : _HEAD.size]):
        raise CommandRefused("a flag or reserved field of a lease's command is wrong")
    size = {GRANT: _GRANT.size, LIST_LEASES: _HEAD.size}.get(op, _ONE.size)
    if len(data) != size:
        raise CommandRefused(f"a lease's command has {len(data)} bytes")
    if op == LIST_LEASES:
        return ListLeases()
    (lease,) = _ID.unpack_from(data, _HEAD.size)
    _checked(lease)
    if op == GRANT:
        (ttl_ms,) = _ID.unpack_from(data, _ONE.size)
        if not TTL_MS_MIN <= ttl_ms <= TTL_MS_MAX:
            raise CommandRefused(_ttl_reason(ttl_ms))
        return Grant(lease, ttl_ms)
    if op == REVOKE:
        return Revoke(lease)
    if op == KEEP_ALIVE:
        return KeepAlive(lease)
    return TimeToLive(lease, bool(flags))


def _decode_page(data: bytes) -> ListLeases:
    if len(data) != _PAGE.size:
        raise CommandRefused(f"a lease's command has {len(data)} bytes")
    _, _, zero, limit, after = _PAGE.unpack(data)
    if zero:
        raise CommandRefused("a reserved field of a lease's command is wrong")
    if not 0 < limit <= LEASES_PAGE_MAX:
        raise CommandRefused(_page_reason(limit))
    return ListLeases(after, limit)


def encode_lease_answer(answer: LeaseAnswer) -> bytes:
    """The reply to KeepAlive and TimeToLive."""
    head = _ANSWER.pack(
        answer.revision, answer.lease, answer.ttl_ms, answer.left_ms, len(answer.keys)
    )
    return head + b"".join([_KEY.pack(len(key)) + key for key in answer.keys])


def decode_lease_answer(data: bytes) -> LeaseAnswer:
    if len(data) < _ANSWER.size:
        raise ProtocolError("a lease's answer is cut off")
    revision, lease, ttl_ms, left_ms, count = _ANSWER.unpack_from(data)
    keys: list[bytes] = []
    offset = _ANSWER.size
    for _ in range(count):
        start = offset + _KEY.size
        if start > len(data):
            raise ProtocolError("a lease's answer is cut off")
        offset = start + int.from_bytes(data[offset:start], "little")
        keys.append(data[start:offset])
    if offset != len(data):
        raise ProtocolError("a lease's answer is not as long as its keys")
    return LeaseAnswer(revision, lease, ttl_ms, left_ms, tuple(keys))


def encode_lease_list(revision: int, leases: Sequence[int]) -> bytes:
    """The reply to ListLeases."""
    return _LIST.pack(revision, len(leases)) + b"".join(map(_ID.pack, leases))


def decode_lease_list(data: bytes) -> LeaseList:
    if len(data) < _LIST.size:
        raise ProtocolError("a list of leases is cut off")
    revision, count = _LIST.unpack_from(data)
    if len(data) != _LIST.size + count * _ID.size:
        raise ProtocolError("a list of leases is not as long as it says")
    leases = [lease for (lease,) in _ID.iter_unpack(data[_LIST.size :])]
    return LeaseList(revision, tuple(leases))


# -- the end of leases, in the log -----------------------------------------------------


def encode_expiry(leases: Sequence[tuple[int, int]]) -> bytes:
    """The payload of an envelope of kind EXPIRY: leases whose time is over.

    Each with the index at which it was granted: the same id may have been given again
    before this is applied, and then it is another lease (I-63).
    """
    return b"".join([_ENDED.pack(*lease) for lease in leases])


def decode_expiry(data: bytes) -> list[tuple[int, int]]:
    if not data or len(data) % _ENDED.size:
        raise ProtocolError(f"an expiry has {len(data)} bytes")
    return [(lease, since) for lease, since in _ENDED.iter_unpack(data)]


def _checked(lease: int) -> int:
    if not 0 < lease < 1 << 64:
        raise CommandRefused(f"{lease} is not a lease")
    return lease


def _ttl_reason(ttl_ms: int) -> str:
    return f"a lease's time is {ttl_ms} ms, not from {TTL_MS_MIN} to {TTL_MS_MAX}"


def _page_reason(limit: int) -> str:
    return f"a page of {limit} leases: from 1 to {LEASES_PAGE_MAX}"
