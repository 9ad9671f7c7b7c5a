"""`txn` as it is asked for: the message from JSON, and what etcd checks before all.

Law: pure. Parts are counted before they are decoded: lists stay raw until then, so that
a document of the largest size costs its own bytes and no more. Keys are compared last,
each with each: so many parts and no more may there be at all depths.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from ....wire.transactions import DEPTH_MAX, OPERATIONS_MAX, PARTS_MAX
from .bodies import Body, Number, Text, choice, int64, is_there, listed, octets
from .documents import (
    DeleteRange,
    Put,
    Range,
    bound,
    checked_key,
    parse_delete_range,
    parse_put,
    parse_range,
)
from .errors import (
    DUPLICATE_KEY,
    KEY_NOT_FOUND,
    TOO_MANY_OPERATIONS,
    invalid_argument,
)


class CompareTarget(IntEnum):
    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class CompareResult(IntEnum):
    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class _Txn(msgspec.Struct):
    compare: msgspec.Raw = msgspec.Raw()
    success: msgspec.Raw = msgspec.Raw()
    failure: msgspec.Raw = msgspec.Raw()


class _Compare(msgspec.Struct):
    key: Text = None
    range_end: Text = None
    target: Number = None
    result: Number = None
    version: Number = None
    create_revision: Number = None
    mod_revision: Number = None
    value: Text = None
    lease: Number = None


class _Operation(msgspec.Struct):
    request_range: msgspec.Raw = msgspec.Raw()
    request_put: msgspec.Raw = msgspec.Raw()
    request_delete_range: msgspec.Raw = msgspec.Raw()
    request_txn: msgspec.Raw = msgspec.Raw()


_txns: Final = Body(_Txn)
_compares: Final = Body(_Compare)
_operations: Final = Body(_Operation)
_parts: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Comparison(msgspec.Struct, frozen=True):
    """`operand` is bytes for a VALUE, else an int64."""

    key: bytes
    end: bytes | None
    target: CompareTarget
    result: CompareResult
    operand: int | bytes


class Txn(msgspec.Struct, frozen=True):
    """If all comparisons hold `success` is done, else `failure`."""

    compares: tuple[Comparison, ...]
    success: "tuple[Operation, ...]"
    failure: "tuple[Operation, ...]"


Operation: TypeAlias = Range | Put | DeleteRange | Txn


def parse_txn(data: bytes) -> Txn:
    """The transaction in `data`; refuses what etcd refuses before it does anything."""
    txn = _Parser().txn(data, OPERATIONS_MAX, DEPTH_MAX)
    for branch in (txn.success, txn.failure):
        _written(branch)
    return txn


def operations(txn: Txn) -> Iterator[Range | Put | DeleteRange]:
    """All of them, at all depths, whichever branch they are in."""
    for operation in (*txn.success, *txn.failure):
        if isinstance(operation, Txn):
            yield from operations(operation)
        else:
            yield operation


def ignoring_puts(txn: Txn) -> Iterator[Put]:
    """Puts that need to know what is there."""
    return (o for o in operations(txn) if isinstance(o, Put) and o.ignores)


def old_ranges(txn: Txn) -> Iterator[Range]:
    """Reads of revisions that are named."""
    return (o for o in operations(txn) if isinstance(o, Range) and o.revision)


class _Parser:
    """Takes one transaction apart, and counts its parts through all depths."""

    def __init__(self) -> None:
        self._parts_left: int = PARTS_MAX

    def txn(self, data: bytes | msgspec.Raw, operations_max: int, depth: int) -> Txn:
        if depth == 0:
            raise invalid_argument(TOO_MANY_OPERATIONS)
        said = _txns.parse(data)
        lists = (said.compare, said.success, said.failure)
        compares, success, failure = [_counted(each, operations_max) for each in lists]
        self._parts_left -= len(compares) + len(success) + len(failure)
        if self._parts_left < 0:
            raise invalid_argument(TOO_MANY_OPERATIONS)
        # As in etcd: what a transaction uses, those inside it don't have.
        left = operations_max - max(len(compares), len(success), len(failure))
        return Txn(
            tuple([_comparison(part) for part in compares]),
            tuple([self._operation(part, left, depth) for part in success]),
            tuple([self._operation(part, left, depth) for part in failure]),
        )

    def _operation(
        self, part: msgspec.Raw, operations_max: int, depth: int
    ) -> Operation:
        said = _operations.parse(part)
        # Of several the last counts.
        if is_there(said.request_txn):
            return self.txn(said.request_txn, operations_max, depth - 1)
        if is_there(said.request_delete_range):
            return parse_delete_range(said.request_delete_range)
        if is_there(said.request_put):
            return parse_put(said.request_put)
        if is_there(said.request_range):
            return parse_range(said.request_range)
        # etcd's word for an operation that is none.
        raise invalid_argument(KEY_NOT_FOUND)


def _counted(raw: msgspec.Raw, most: int) -> list[msgspec.Raw]:
    parts = listed(_parts, raw, most)
    if parts is None:
        raise invalid_argument(TOO_MANY_OPERATIONS)
    return parts


def _comparison(part: msgspec.Raw) -> Comparison:
    said = _compares.parse(part)
    target = choice(CompareTarget, "etcdserverpb.Compare.CompareTarget", said.target)
    result = choice(CompareResult, "etcdserverpb.Compare.CompareResult", said.result)
    key = checked_key(octets(said.key))
    # One of five may be given; of several etcd keeps the last. One that is not of the
    # target counts as none.
    numbers = {
        CompareTarget.VERSION: said.version,
        CompareTarget.CREATE: said.create_revision,
        CompareTarget.MOD: said.mod_revision,
        CompareTarget.VALUE: said.value,
        CompareTarget.LEASE: said.lease,
    }
    given = [kind for kind, each in numbers.items() if each is not None]
    is_right = given[-1:] == [target]
    operand: int | bytes
    if target is CompareTarget.VALUE:
        operand = octets(said.value) if is_right else b""
    else:
        operand = int64(numbers[target]) if is_right else 0
    return Comparison(key, bound(said.range_end), target, result, operand)


# -- no key twice ----------------------------------------------------------------------


class _Written:
    """What one way through a transaction writes."""

    def __init__(self) -> None:
        self.puts: set[bytes] = set()
        self.deletes: list[DeleteRange] = []

    def join(self, other: "_Written") -> None:
        self.puts |= other.puts
        self.deletes += other.deletes

    def meets(self, other: "_Written") -> bool:
        """Is a key put twice, or put and deleted?"""
        return (
            not self.puts.isdisjoint(other.puts)
            or any(_deletes(each, other.puts) for each in self.deletes)
            or any(_deletes(each, self.puts) for each in other.deletes)
        )


def _written(branch: tuple[Operation, ...]) -> _Written:
    every = _Written()
    for operation in branch:
        one = _Written()
        match operation:
            case Put(key):
                one.puts.add(key)
            case DeleteRange():
                one.deletes.append(operation)
            case Txn(_, success, failure):
                # Only one of the two is done.
                one = _written(success)
                one.join(_written(failure))
            case Range():
                continue
        if every.meets(one):
            raise invalid_argument(DUPLICATE_KEY)
        every.join(one)
    return every


def _deletes(wanted: DeleteRange, keys: set[bytes]) -> bool:
    if wanted.end is None:
        return wanted.key in keys
    end = wanted.end
    return any(wanted.key <= key and (not end or key < end) for key in keys)
