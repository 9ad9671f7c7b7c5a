"""One transaction against the state: what it compares, reads and would write.

Law: pure, and nothing is changed here: a transaction takes effect as a whole or not at
all, so its changes are handed back for `Database.apply` to make.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ...wire import (
    READ_BYTES_MAX,
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    TxnResult,
)
from .records import HEAD_BYTES, KeyRecord, as_record, decode_record, put_over

Value = TypeVar("Value", bytes, int)
Lookup = Callable[[bytes], bytes | None]


class Changes(msgspec.Struct):
    """What a transaction does. `writes` are records by key, None for a deletion.

    `before` has what they take the place of, if anything was there. `digest` is what
    the sum of digests gains, `keys` the number of live keys; `read_bytes` those of the
    values that its reads return.
    """

    succeeded: bool
    results: list[TxnResult] = []
    writes: dict[bytes, bytes | None] = {}
    before: dict[bytes, bytes] = {}
    digest: int = 0
    keys: int = 0
    puts: int = 0
    deletes: int = 0
    read_bytes: int = 0

    @property
    def reads_too_much(self) -> bool:
        return self.read_bytes > READ_BYTES_MAX


def evaluate(transaction: Transaction, lookup: Lookup, revision: int) -> Changes:
    """Do `transaction` on what `lookup` finds; its writes would be `revision`."""
    succeeded = all(_holds(compare, lookup) for compare in transaction.compares)
    changes = Changes(succeeded)
    for operation in transaction.then if succeeded else transaction.otherwise:
        key = operation.key
        before = changes.writes[key] if key in changes.writes else lookup(key)
        match operation:
            case TxnPut():
                _put(changes, operation, before, revision)
            case TxnDelete():
                _delete(changes, operation, before)
            case TxnGet():
                _get(changes, operation, before)
        if changes.reads_too_much:
            break
    return changes


def _put(changes: Changes, put: TxnPut, before: bytes | None, revision: int) -> None:
    changes.keys += before is None
    record, gained = put_over(before, put.key, put.value, revision)
    changes.digest += gained
    if before is not None:
        changes.before[put.key] = before
    changes.writes[put.key] = record
    changes.puts += 1
    changes.results.append(TxnResult(before is not None))


def _delete(changes: Changes, delete: TxnDelete, before: bytes | None) -> None:
    if before is not None:
        changes.digest -= decode_record(before).digest
        changes.keys -= 1
        changes.before[delete.key] = before
        changes.writes[delete.key] = None
        changes.deletes += 1
    changes.results.append(TxnResult(before is not None))


def _get(changes: Changes, get: TxnGet, before: bytes | None) -> None:
    if before is None:
        changes.results.append(TxnResult(False))
        return
    changes.read_bytes += len(before) - HEAD_BYTES
    changes.results.append(TxnResult(True, as_record(get.key, before)))


def _holds(compare: Compare, lookup: Lookup) -> bool:
    data = lookup(compare.key)
    record = None if data is None else decode_record(data)
    if compare.target is Target.VALUE:
        assert isinstance(compare.operand, bytes)
        # As in etcd: no comparison with the value of an absent key holds.
        return record is not None and _stands(
            compare.relation, record.value, compare.operand
        )
    assert isinstance(compare.operand, int)
    return _stands(compare.relation, _number(compare.target, record), compare.operand)


def _number(target: Target, record: KeyRecord | None) -> int:
    if record is None:
        return 0
    if target is Target.VERSION:
        return record.version
    if target is Target.CREATE_REVISION:
        return record.create_revision
    return record.mod_revision


def _stands(relation: Relation, one: Value, other: Value) -> bool:
    match relation:
        case Relation.EQUAL:
            return one == other
        case Relation.NOT_EQUAL:
            return one != other
        case Relation.GREATER:
            return one > other
        case Relation.LESS:
            return one < other
