"""Transactions: compare, then or else, all at one revision; as values and as bytes.

Law: as for all commands, there is one encoding for each transaction, and it is judged
whole before anything of it is proposed. Numbers of targets and relations are etcd's.
On no way through it is a key put twice, or put and deleted, so that one revision tells
of one change.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from .errors import CommandRefused, ErrorCode
from .limits import Limits, over_limit

TRANSACTION: Final = 3
# Compares, operations of a branch: so many of each, and of all parts at all depths.
OPERATIONS_MAX: Final = 128
PARTS_MAX: Final = 1024
# A transaction in a transaction in ...
DEPTH_MAX: Final = 4
# What all reads of a transaction may return, keys and values, so that its reply is no
# larger than a frame; else nothing of it is done.
READ_BYTES_MAX: Final = 4 << 20
# Keys that its ranges may meet; else nothing of it is done.
KEYS_MAX: Final = 10_000
# Keys and values that it meets, those that it deletes and replaces among them: each
# replica reads them, and keeps old versions. Else nothing of it is done.
MET_BYTES_MAX: Final = 128 << 20

_HEAD: Final = struct.Struct("<BBHIHH")
_ITEM: Final = struct.Struct("<BBHI")
_NUMBER: Final = struct.Struct("<Q")
_END: Final = struct.Struct("<H")
_GET_RANGE: Final = struct.Struct("<IB3x")
_PUT, _DELETE, _GET, _PUT_LEASED, _DELETE_RANGE, _READ_RANGE, _NESTED = range(1, 8)
# Beside a relation: the comparison is of all keys of a range.
_OF_A_RANGE: Final = 0x80
_KEYS_ONLY: Final = 1


class Target(IntEnum):
    """What of a key is compared. An absent key has version, revisions and lease 0."""

    VERSION = 0
    CREATE_REVISION = 1
    MOD_REVISION = 2
    VALUE = 3
    LEASE = 4


class Relation(IntEnum):
    """How what the key has must stand to the operand."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


# How people write them.
OPERATORS: Final[Mapping[str, Relation]] = MappingProxyType(
    {
        "==": Relation.EQUAL,
        "!=": Relation.NOT_EQUAL,
        ">": Relation.GREATER,
        "<": Relation.LESS,
    }
)


class Compare(msgspec.Struct, frozen=True, gc=False):
    """The `operand` is bytes for a VALUE, else a number. An absent key has no value.

    With `end` all keys of a range are compared, and there must be one for a VALUE.
    """

    key: bytes
    target: Target
    relation: Relation
    operand: int | bytes
    end: bytes | None = None


class TxnPut(msgspec.Struct, frozen=True, gc=False):
    """Store `value` under `key`; it goes when `lease` ends, unless that is 0."""

    key: bytes
    value: bytes
    lease: int = 0


class TxnDelete(msgspec.Struct, frozen=True, gc=False):
    """Remove `key`."""

    key: bytes


class TxnGet(msgspec.Struct, frozen=True, gc=False):
    """Read `key`, as the operations before this one have left it."""

    key: bytes


class TxnDeleteRange(msgspec.Struct, frozen=True, gc=False):
    """Remove `start` ≤ key < `end`; an empty `end` is no bound."""

    start: bytes
    end: bytes


class TxnGetRange(msgspec.Struct, frozen=True, gc=False):
    """Read and count `start` ≤ key < `end`; the first `limit` of them, unless 0."""

    start: bytes
    end: bytes
    limit: int = 0
    keys_only: bool = False


class Transaction(msgspec.Struct, frozen=True):
    """If all `compares` hold `then` is done, else `otherwise`; in order.

    One inside another compares what was there before the outer one.
    """

    compares: tuple[Compare, ...]
    then: "tuple[TxnOperation, ...]"
    otherwise: "tuple[TxnOperation, ...]"


TxnOperation: TypeAlias = (
    TxnPut | TxnDelete | TxnGet | TxnDeleteRange | TxnGetRange | Transaction
)


# -- to bytes --------------------------------------------------------------------------


def encode_transaction(transaction: Transaction) -> bytes:
    """The bytes of a transaction; refuses only what the format has no room for."""
    items = [_encode_compare(compare) for compare in transaction.compares]
    for branch in (transaction.then, transaction.otherwise):
        items += [_encode_operation(operation) for operation in branch]
    body = b"".join(items)
    try:
        head = _HEAD.pack(
            *(TRANSACTION, 0, len(transaction.compares), len(body)),
            *(len(transaction.then), len(transaction.otherwise)),
        )
    except struct.error:
        raise CommandRefused(
            "the transaction has more parts than the format carries",
            ErrorCode.REQUEST_TOO_LARGE,
        ) from None
    return head + body


def _encode_compare(compare: Compare) -> bytes:
    operand = compare.operand
    if isinstance(operand, bytes) != (compare.target is Target.VALUE):
        raise CommandRefused(f"{operand!r} can't be compared with a {compare.target}")
    if isinstance(operand, int):
        operand = _number(operand)
    relation, end = int(compare.relation), compare.end
    if end is not None:
        relation |= _OF_A_RANGE
        operand = _bound(end) + operand
    return _item(compare.target, relation, compare.key, operand)


def _encode_operation(operation: TxnOperation) -> bytes:
    match operation:
        case TxnPut(key, value, 0):
            return _item(_PUT, 0, key, value)
        case TxnPut(key, value, lease):
            return _item(_PUT_LEASED, 0, key, _number(lease) + value)
        case TxnDelete(key):
            return _item(_DELETE, 0, key, b"")
        case TxnGet(key):
            return _item(_GET, 0, key, b"")
        case TxnDeleteRange(start, end):
            return _item(_DELETE_RANGE, 0, start, end)
        case TxnGetRange(start, end, limit, keys_only):
            try:
                wanted = _GET_RANGE.pack(limit, _KEYS_ONLY if keys_only else 0)
            except struct.error:
                raise CommandRefused(f"{limit} is no limit of a range") from None
            return _item(_READ_RANGE, 0, start, wanted + end)
        case Transaction():
            return _item(_NESTED, 0, b"", encode_transaction(operation))


def _number(number: int) -> bytes:
    if not 0 <= number < 1 << 64:
        raise CommandRefused(f"{number} is not a revision, version or lease")
    return _NUMBER.pack(number)


def _bound(end: bytes) -> bytes:
    if len(end) >= 1 << 16:
        raise _key_too_long(end)
    return _END.pack(len(end)) + end


def _item(kind: int, relation: int, key: bytes, value: bytes) -> bytes:
    try:
        return _ITEM.pack(kind, relation, len(key), len(value)) + key + value
    except struct.error:
        if len(key) >= 1 << 16:
            raise _key_too_long(key) from None
        reason = "the value has more bytes than the format carries"
        raise CommandRefused(reason, ErrorCode.VALUE_TOO_LARGE) from None


def _key_too_long(key: bytes) -> CommandRefused:
    reason = f"the key has {len(key)} bytes, over what the format carries"
    return CommandRefused(reason, ErrorCode.KEY_TOO_LONG)


# -- from bytes ------------------------------------------------------------------------


def decode_transaction(data: bytes, limits: Limits) -> Transaction:
    """The transaction in `data`, or CommandRefused with the code to answer."""
    return _Decoder(limits).transaction(data, DEPTH_MAX)


class _Decoder:
    """Cuts one part after the other, and counts them through all depths."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.parts_left = PARTS_MAX

    def transaction(self, data: bytes, depth: int) -> Transaction:
        if len(data) < _HEAD.size:
            raise CommandRefused(f"a transaction of {len(data)} bytes is cut off")
        op, flags, compares, length, then, otherwise = _HEAD.unpack_from(data)
        if op != TRANSACTION or flags:
            raise CommandRefused(f"unknown flags {flags:#x} in a transaction")
        if len(data) != _HEAD.size + length:
            raise CommandRefused("a transaction whose length is not what its head says")
        self.parts_left -= compares + then + otherwise
        if max(compares, then, otherwise) > OPERATIONS_MAX or self.parts_left < 0:
            raise CommandRefused(
                f"a transaction has at most {OPERATIONS_MAX} compares, and operations"
                f" in each branch, and {PARTS_MAX} parts at all depths",
                ErrorCode.REQUEST_TOO_LARGE,
            )
        items = _Items(data, _HEAD.size, self.limits)
        transaction = Transaction(
            tuple([_compare(items) for _ in range(compares)]),
            tuple([self._operation(items, depth) for _ in range(then)]),
            tuple([self._operation(items, depth) for _ in range(otherwise)]),
        )
        if items.offset != len(data):
            raise CommandRefused("a transaction is longer than its parts")
        if depth == DEPTH_MAX:
            _writes(transaction.then)
            _writes(transaction.otherwise)
        return transaction

    def _operation(self, items: "_Items", depth: int) -> TxnOperation:
        kind, zero, key, value = items.next()
        if zero or (value and kind in (_DELETE, _GET)):
            raise CommandRefused("a reserved field of an operation is not zero")
        if kind == _PUT:
            return TxnPut(items.key(key), items.value(value))
        if kind == _DELETE:
            return TxnDelete(items.key(key))
        if kind == _GET:
            return TxnGet(items.key(key))
        if kind == _PUT_LEASED:
            lease, value = items.number(value)
            if not lease:
                raise CommandRefused("a put with a lease that is none")
            return TxnPut(items.key(key), items.value(value), lease)
        if kind == _DELETE_RANGE:
            return TxnDeleteRange(items.bound(key), items.bound(value))
        if kind == _READ_RANGE:
            return _get_range(items, key, value)
        if kind != _NESTED or key:
            raise CommandRefused(f"unknown operation {kind} in a transaction")
        if depth == 1:
            reason = f"transactions are nested {DEPTH_MAX} deep at most"
            raise CommandRefused(reason, ErrorCode.REQUEST_TOO_LARGE)
        return self.transaction(value, depth - 1)


class _Items:
    """The parts of one transaction's bytes, and what is judged of each."""

    def __init__(self, data: bytes, offset: int, limits: Limits) -> None:
        self.data = data
        self.offset = offset
        self.limits = limits

    def next(self) -> tuple[int, int, bytes, bytes]:
        data, start = self.data, self.offset + _ITEM.size
        if start > len(data):
            raise CommandRefused("a part of a transaction is cut off")
        kind, relation, key_length, value_length = _ITEM.unpack_from(data, self.offset)
        split = start + key_length
        self.offset = split + value_length
        if self.offset > len(data):
            raise CommandRefused("a part of a transaction is cut off")
        return kind, relation, data[start:split], data[split : self.offset]

    def key(self, key: bytes) -> bytes:
        if not 0 < len(key) <= self.limits.key_bytes_max:
            raise over_limit(len(key), 0, self.limits)
        return key

    def bound(self, key: bytes) -> bytes:
        """A bound may be empty, and one byte longer than a key."""
        if len(key) > self.limits.key_bytes_max + 1:
            raise over_limit(len(key), 0, self.limits)
        return key

    def value(self, value: bytes) -> bytes:
        if len(value) > self.limits.value_bytes_max:
            raise over_limit(1, len(value), self.limits)
        return value

    def number(self, data: bytes) -> tuple[int, bytes]:
        if len(data) < _NUMBER.size:
            raise CommandRefused(f"a number has {len(data)} bytes")
        return int.from_bytes(data[: _NUMBER.size], "little"), data[_NUMBER.size :]


def _compare(items: _Items) -> Compare:
    kind, how, key, operand = items.next()
    end: bytes | None = None
    if how & _OF_A_RANGE:
        how &= ~_OF_A_RANGE
        length = int.from_bytes(operand[: _END.size], "little")
        split = _END.size + length
        if len(operand) < split:
            raise CommandRefused("the bound of a comparison is cut off")
        end, operand = items.bound(operand[_END.size : split]), operand[split:]
        items.bound(key)
    else:
        items.key(key)
    try:
        target, relation = Target(kind), Relation(how)
    except ValueError:
        raise CommandRefused(f"unknown comparison {kind} or relation {how}") from None
    if target is Target.VALUE:
        return Compare(key, target, relation, items.value(operand), end)
    if len(operand) != _NUMBER.size:
        raise CommandRefused(f"a number to compare with has {len(operand)} bytes")
    return Compare(key, target, relation, int.from_bytes(operand, "little"), end)


def _get_range(items: _Items, start: bytes, wanted: bytes) -> TxnGetRange:
    if len(wanted) < _GET_RANGE.size:
        raise CommandRefused("a range of a transaction is cut off")
    limit, flags = _GET_RANGE.unpack_from(wanted)
    if flags > _KEYS_ONLY or any(wanted[5 : _GET_RANGE.size]):
        raise CommandRefused("unknown flags in a range of a transaction")
    end = items.bound(wanted[_GET_RANGE.size :])
    return TxnGetRange(items.bound(start), end, limit, bool(flags))


# -- no key twice ----------------------------------------------------------------------


class _Writes:
    """What one way through a transaction writes."""

    def __init__(self) -> None:
        self.puts: set[bytes] = set()
        self.deletes: set[bytes] = set()
        self.ranges: list[tuple[bytes, bytes]] = []

    def take(self, other: "_Writes") -> None:
        """Take what comes after or before it on the same way."""
        once = self.puts | self.deletes
        if once & (other.puts | other.deletes):
            raise CommandRefused("a transaction writes a key twice")
        for one, two in ((self, other), (other, self)):
            for start, end in one.ranges:
                if any(start <= key and (not end or key < end) for key in two.puts):
                    raise CommandRefused("a transaction puts and deletes a key")
        self.join(other)

    def join(self, other: "_Writes") -> None:
        self.puts |= other.puts
        self.deletes |= other.deletes
        self.ranges += other.ranges


def _writes(branch: Sequence[TxnOperation]) -> _Writes:
    """Raises CommandRefused where a key is written twice."""
    all_of_it = _Writes()
    for operation in branch:
        one = _Writes()
        match operation:
            case TxnPut(key):
                one.puts.add(key)
            case TxnDelete(key):
                one.deletes.add(key)
            case TxnDeleteRange(start, end):
                one.ranges.append((start, end))
            case Transaction(_, then, otherwise):
                one = _writes(then)
                # Only one of the two is done.
                one.join(_writes(otherwise))
            case TxnGet() | TxnGetRange():
                continue
        all_of_it.take(one)
    return all_of_it
