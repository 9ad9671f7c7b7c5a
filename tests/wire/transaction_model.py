"""What a transaction does, on a dict: for tests, and for services that are none."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quorate.wire import (
    Compare,
    Record,
    Relation,
    Target,
    Transaction,
    TxnGet,
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


@dataclass
class Model:
    """What the documentation says, in the plainest words."""

    revision: int = 1
    table: dict[bytes, Record] = field(default_factory=dict[bytes, Record])

    def holds(self, compare: Compare) -> bool:
        record = self.table.get(compare.key)
        holds = OPERATORS[compare.relation]
        if compare.target is Target.VALUE:
            return record is not None and holds(record.value, compare.operand)
        numbers = (0, 0, 0)
        if record is not None:
            numbers = (record.version, record.create_revision, record.mod_revision)
        return holds(numbers[compare.target], compare.operand)

    def do(self, transaction: Transaction) -> TxnReply:
        succeeded = all(self.holds(compare) for compare in transaction.compares)
        results: list[TxnResult] = []
        new, wrote = self.revision + 1, False
        for operation in transaction.then if succeeded else transaction.otherwise:
            key = operation.key
            old = self.table.get(key)
            if isinstance(operation, TxnGet):
                results.append(TxnResult(old is not None, old))
                continue
            results.append(TxnResult(old is not None))
            if isinstance(operation, TxnPut):
                created, version = (
                    (old.create_revision, old.version + 1) if old else (new, 1)
                )
                self.table[key] = Record(key, operation.value, created, new, version, 0)
                wrote = True
            elif old is not None:
                del self.table[key]
                wrote = True
        self.revision += wrote
        return TxnReply(succeeded, self.revision, tuple(results))
