"""Transactions: compare, then or else, all at one revision; as values and as bytes.

Law: as for all commands, there is one encoding for each transaction, and it is judged
whole before anything of it is proposed. Numbers of targets and relations are etcd's.
No key is written twice in a branch, so that one revision tells of one change.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from .errors import CommandRefused, ErrorCode, ProtocolError
from .limits import Limits, over_limit
from .records import Record, decode_record_at, encode_record

TRANSACTION: Final = 3
# Compares, operations of a branch: so many of each.
OPERATIONS_MAX: Final = 128
# What all reads of a transaction may return; else nothing of it is done.
READ_BYTES_MAX: Final = 4 << 20

_HEAD: Final = struct.Struct("<BBHIHH")
_ITEM: Final = struct.Struct("<BBHI")
_REVISION: Final = struct.Struct("<Q")
_REPLY: Final = struct.Struct("<BBHQ")
_RESULT: Final = struct.Struct("<BBH")
_PUT, _DELETE, _GET = 1, 2, 3


class Target(IntEnum):
    """What of a key is compared. An absent key has version and revisions 0."""

    VERSION = 0
    CREATE_REVISION = 1
    MOD_REVISION = 2
    VALUE = 3


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
    """The `operand` is bytes for a VALUE, else a number. An absent key has no value."""

    key: bytes
    target: Target
    relation: Relation
    operand: int | bytes


class TxnPut(msgspec.Struct, frozen=True, gc=False):
    """Store `value` under `key`."""

    key: bytes
    value: bytes


class TxnDelete(msgspec.Struct, frozen=True, gc=False):
    """Remove `key`."""

    key: bytes


class TxnGet(msgspec.Struct, frozen=True, gc=False):
    """Read `key`, as the operations before this one have left it."""

    key: bytes


TxnOperation: TypeAlias = TxnPut | TxnDelete | TxnGet


class Transaction(msgspec.Struct, frozen=True):
    """If all `compares` hold `then` is done, else `otherwise`; in order."""

    compares: tuple[Compare, ...]
    then: tuple[TxnOperation, ...]
    otherwise: tuple[TxnOperation, ...]


class TxnResult(msgspec.Struct, frozen=True, gc=False):
    """What one operation found: was there something to delete or to read?"""

    found: bool
    record: Record | None = None


class TxnReply(msgspec.Struct, frozen=True):
    """`results` are those of the branch that was done; `revision` the store's then."""

    succeeded: bool
    revision: int
    results: tuple[TxnResult, ...]


# -- the command -----------------------------------------------------------------------


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
        if not 0 <= operand < 1 << 64:
            raise CommandRefused(f"{operand} is not a revision or version")
        operand = _REVISION.pack(operand)
    return _item(compare.target, compare.relation, compare.key, operand)


def _encode_operation(operation: TxnOperation) -> bytes:
    match operation:
        case TxnPut():
            return _item(_PUT, 0, operation.key, operation.value)
        case TxnDelete():
            return _item(_DELETE, 0, operation.key, b"")
        case TxnGet():
            return _item(_GET, 0, operation.key, b"")


def _item(kind: int, relation: int, key: bytes, value: bytes) -> bytes:
    try:
        return _ITEM.pack(kind, relation, len(key), len(value)) + key + value
    except struct.error:
        if len(key) >= 1 << 16:
            reason = f"the key has {len(key)} bytes, over what the format carries"
            raise CommandRefused(reason, ErrorCode.KEY_TOO_LONG) from None
        reason = "the value has more bytes than the format carries"
        raise CommandRefused(reason, ErrorCode.VALUE_TOO_LARGE) from None


def decode_transaction(data: bytes, limits: Limits) -> Transaction:
    """The transaction in `data`, or CommandRefused with the code to answer."""
    if len(data) < _HEAD.size:
        raise CommandRefused(f"a transaction of {len(data)} bytes is cut off")
    _, flags, compares, length, then, otherwise = _HEAD.unpack_from(data)
    if flags:
        raise CommandRefused(f"unknown flags {flags:#x} in a transaction")
    if len(data) != _HEAD.size + length:
        raise CommandRefused("a transaction whose length is not what its head says")
    if max(compares, then, otherwise) > OPERATIONS_MAX:
        raise CommandRefused(
            f"a transaction has at most {OPERATIONS_MAX} compares, and operations in"
            " each branch",
            ErrorCode.REQUEST_TOO_LARGE,
        )
    items = _Items(data, _HEAD.size, limits)
    transaction = Transaction(
        tuple([_compare(items) for _ in range(compares)]),
        _branch(items, then),
        _branch(items, otherwise),
    )
    if items.offset != len(data):
        raise CommandRefused("a transaction is longer than its parts")
    return transaction


class _Items:
    """Cuts one part after the other from the bytes."""

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
        if not 0 < key_length <= self.limits.key_bytes_max or (
            value_length > self.limits.value_bytes_max
        ):
            raise over_limit(key_length, value_length, self.limits)
        return kind, relation, data[start:split], data[split : self.offset]


def _compare(items: _Items) -> Compare:
    kind, how, key, operand = items.next()
    try:
        target, relation = Target(kind), Relation(how)
    except ValueError:
        raise CommandRefused(f"unknown comparison {kind} or relation {how}") from None
    if target is Target.VALUE:
        return Compare(key, target, relation, operand)
    if len(operand) != _REVISION.size:
        raise CommandRefused(f"a number to compare with has {len(operand)} bytes")
    return Compare(key, target, relation, int.from_bytes(operand, "little"))


def _branch(items: _Items, count: int) -> tuple[TxnOperation, ...]:
    operations: list[TxnOperation] = []
    written: set[bytes] = set()
    for _ in range(count):
        kind, zero, key, value = items.next()
        if zero or (value and kind != _PUT):
            raise CommandRefused("a reserved field of an operation is not zero")
        if kind == _GET:
            operations.append(TxnGet(key))
            continue
        if kind == _PUT:
            operations.append(TxnPut(key, value))
        elif kind == _DELETE:
            operations.append(TxnDelete(key))
        else:
            raise CommandRefused(f"unknown operation {kind} in a transaction")
        if key in written:
            raise CommandRefused("a transaction writes a key twice")
        written.add(key)
    return tuple(operations)


# -- the reply -------------------------------------------------------------------------


def encode_txn_reply(
    succeeded: bool, revision: int, results: Sequence[TxnResult]
) -> bytes:
    """The body of a transaction's reply."""
    parts = [_REPLY.pack(succeeded, 0, len(results), revision)]
    for result in results:
        record = result.record
        parts.append(_RESULT.pack(result.found, record is not None, 0))
        if record is not None:
            parts.append(encode_record(record))
    return b"".join(parts)


def decode_txn_reply(data: bytes) -> TxnReply:
    """The transaction's reply in `data`."""
    if len(data) < _REPLY.size:
        raise ProtocolError(f"a transaction's reply of {len(data)} bytes is cut off")
    succeeded, zero, count, revision = _REPLY.unpack_from(data)
    if zero or succeeded > 1:
        raise ProtocolError(
            "a flag or reserved field of a transaction's reply is wrong"
        )
    results: list[TxnResult] = []
    offset = _REPLY.size
    for _ in range(count):
        if offset + _RESULT.size > len(data):
            raise ProtocolError("a transaction's reply is cut off")
        found, has_record, zero = _RESULT.unpack_from(data, offset)
        offset += _RESULT.size
        if zero or has_record > found or found > 1:
            raise ProtocolError("a flag or reserved field of a result is wrong")
        record = None
        if has_record:
            record, offset = decode_record_at(data, offset)
        results.append(TxnResult(bool(found), record))
    if offset != len(data):
        raise ProtocolError("a transaction's reply is longer than its results")
    return TxnReply(bool(succeeded), revision, tuple(results))
