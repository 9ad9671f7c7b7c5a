"""What a transaction does, on a dict: for tests, and for services that are none."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from quorate.wire import (
    Compare,
    ErrorCode,
    Record,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
    TxnReply,
    TxnResult,
)

OPERATORS: dict[Relation, Callable[[Any, Any], bool]] = {
    Relation.EQUAL: operator.eq,
    Relation.NOT_EQUAL: operator.ne,
    Relation.GREATER: operator.gt,
    Relation.LESS: operator.lt,
}


class ModelRefused(Exception):
    """It does nothing."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Model:
    """What the documentation says, in the plainest words."""

    revision: int = 1
    table: dict[bytes, Record] = field(default_factory=dict[bytes, Record])
    leases: set[int] = field(default_factory=set[int])
    # So many keys may hang on a lease.
    lease_keys_max: int = 10_000

    def within(self, start: bytes, end: bytes) -> list[Record]:
        """What is there with `start` ≤ key < `end`; an empty `end` is no bound."""
        keys = [k for k in sorted(self.table) if k >= start and (not end or k < end)]
        return [self.table[key] for key in keys]

    def keys_of(self, lease: int) -> list[bytes]:
        return [key for key in sorted(self.table) if self.table[key].lease == lease]

    # -- which way ---------------------------------------------------------------------

    def holds(self, compare: Compare) -> bool:
        if compare.end is None:
            records = [self.table[compare.key]] if compare.key in self.table else []
        else:
            records = self.within(compare.key, compare.end)
        holds = OPERATORS[compare.relation]
        if compare.target is Target.VALUE:
            found = [holds(record.value, compare.operand) for record in records]
            return bool(found) and all(found)
        name = compare.target.name.lower()
        numbers = [getattr(record, name) for record in records] or [0]
        return all(holds(number, compare.operand) for number in numbers)

    def way(self, transaction: Transaction) -> tuple[bool, list[Any]]:
        """Which side, and its operations; those inside as a way of their own."""
        succeeded = all(self.holds(compare) for compare in transaction.compares)
        return succeeded, [
            self.way(operation) if isinstance(operation, Transaction) else operation
            for operation in (transaction.then if succeeded else transaction.otherwise)
        ]

    # -- what is done ------------------------------------------------------------------

    def do(self, transaction: Transaction) -> TxnReply:
        """Raises ModelRefused; then nothing is done."""
        way = self.way(transaction)
        after = self._at(self.revision + 1)
        reply = after.run(*way)
        if after.table == self.table:
            # Nothing was written, and so there is no such revision.
            return self._at(self.revision).run(*way)
        self.revision = after.revision
        # In its place: others hold on to it.
        self.table.clear()
        self.table.update(after.table)
        return reply

    def _at(self, revision: int) -> "Model":
        return Model(revision, dict(self.table), self.leases, self.lease_keys_max)

    def run(self, succeeded: bool, operations: list[Any]) -> TxnReply:
        results = tuple([self._one(operation) for operation in operations])
        return TxnReply(succeeded, self.revision, results)

    def _one(self, operation: TxnOperation | tuple[bool, list[Any]]) -> TxnResult:
        match operation:
            case TxnPut(key):
                old = self.table.get(key)
                self._put(operation, old)
                return TxnResult(old is not None)
            case TxnDelete(key):
                return TxnResult(self.table.pop(key, None) is not None)
            case TxnGet(key):
                return TxnResult(key in self.table, self.table.get(key))
            case TxnDeleteRange(start, end):
                gone = self.within(start, end)
                for record in gone:
                    del self.table[record.key]
                return TxnResult(bool(gone), None, (), len(gone))
            case TxnGetRange(start, end, limit, keys_only):
                found = self.within(start, end)
                shown = found[: limit or None]
                if keys_only:
                    shown = [msgspec.structs.replace(r, value=b"") for r in shown]
                return TxnResult(bool(found), None, tuple(shown), len(found))
            case (succeeded, operations):
                return TxnResult(succeeded, reply=self.run(succeeded, operations))
            case _:
                raise AssertionError("its way was chosen before")

    def _put(self, put: TxnPut, old: Record | None) -> None:
        key, lease = put.key, put.lease
        if lease and lease not in self.leases:
            raise ModelRefused(ErrorCode.LEASE_NOT_FOUND)
        created, version = (self.revision, 1)
        if old is not None:
            created, version = (old.create_revision, old.version + 1)
        self.table[key] = Record(key, put.value, created, self.revision, version, lease)
        if lease and len(self.keys_of(lease)) > self.lease_keys_max:
            raise ModelRefused(ErrorCode.TOO_MANY_KEYS)
