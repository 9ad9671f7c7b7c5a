"""From etcd's transaction to a native one, and from its reply to etcd's.

Law: pure. Every operation becomes one or two native ones in the same place, and each
result is read back by the same walk, so that nothing has to be remembered in between.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ....wire.records import Record
from ....wire.transaction_replies import TxnReply as NativeReply
from ....wire.transaction_replies import TxnResult
from ....wire.transactions import (
    OPERATIONS_MAX,
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
)
from .bodies import unsigned
from .documents import DeleteRange, Put, Range
from .ranges import LIMIT_MAX, Found, reply_of
from .replies import (
    DeleteRangeReply,
    Header,
    OperationReply,
    PutReply,
    RangeReply,
    TxnReply,
    at_revision,
    key_value,
    key_values,
    number,
)
from .txn_documents import CompareTarget, Comparison, Operation, Txn

Known: TypeAlias = dict[bytes, Record | None]
History: TypeAlias = dict[Range, Found]


class Compiler:
    """`known` are the keys whose values or leases are to stay.

    A put that needs a key which is not there hangs on the lease `nowhere`.
    """

    def __init__(
        self,
        known: Known,
        nowhere: int,
    ) -> None:
        self.known: Known = known
        self.nowhere: int = nowhere
        self.used_nowhere: bool = False

    def transaction(self, txn: Txn) -> Transaction:
        compares = [
            compiled
            for each in txn.compares
            if (compiled := _compare(each)) is not None
        ]
        return Transaction(
            tuple(compares), self._branch(txn.success), self._branch(txn.failure)
        )

    def _branch(self, branch: Sequence[Operation]) -> tuple[TxnOperation, ...]:
        groups = [self._operation(operation) for operation in branch]
        if _packed(groups):
            groups = [
                (Transaction((), group, ()),) if len(group) > 1 else group
                for group in groups
            ]
        return tuple([native for group in groups for native in group])

    def _operation(self, operation: Operation) -> tuple[TxnOperation, ...]:
        match operation:
            case Txn():
                return (self.transaction(operation),)
            case Put():
                put = self._put(operation)
                return (TxnGet(put.key), put) if operation.prev_kv else (put,)
            case DeleteRange(key, end, prev_kv):
                first, last = key, end
                if last is None:
                    last = key + b"\0"
                removal = TxnDeleteRange(first, last)
                if not prev_kv:
                    return (removal,)
                return TxnGetRange(first, last), removal
            case Range():
                return self._range(operation)

    def _put(self, put: Put) -> TxnPut:
        if not put.ignores:
            return TxnPut(put.key, put.value, put.lease)
        record = self.known[put.key]
        if record is None:
            self.used_nowhere = True
            return TxnPut(put.key, b"", self.nowhere)
        value = record.value if put.ignore_value else put.value
        lease = record.lease if put.ignore_lease else put.lease
        return TxnPut(put.key, value, lease)

    def _range(self, wanted: Range) -> tuple[TxnOperation, ...]:
        if wanted.revision:
            return ()
        if wanted.end is None:
            return (TxnGet(wanted.key),)
        # How many there are is told with every range.
        limit = min(wanted.limit, LIMIT_MAX)
        if wanted.count_only:
            limit = 1
        elif wanted.sorted or wanted.filtered:
            limit = 0
        keys_only = wanted.needs_no_values
        return (TxnGetRange(wanted.key, wanted.end, limit, keys_only),)


def _packed(groups: Sequence[Sequence[TxnOperation]]) -> bool:
    """Pairs count as one where there is no room for two."""
    return sum(map(len, groups)) > OPERATIONS_MAX


def _compare(wanted: Comparison) -> Compare | None:
    """None: it always holds."""
    target = _TARGETS[wanted.target]
    relation = Relation(wanted.result)
    operand = wanted.operand
    if isinstance(operand, int) and operand < 0:
        if wanted.target is CompareTarget.LEASE and relation in (
            Relation.EQUAL,
            Relation.NOT_EQUAL,
        ):
            operand = unsigned(operand)
        elif relation in (Relation.GREATER, Relation.NOT_EQUAL):
            return None
        else:
            # Nothing is below 0, or at a number below it.
            relation, operand = Relation.LESS, 0
    return Compare(wanted.key, target, relation, operand, wanted.end)


_TARGETS = {
    CompareTarget.VERSION: Target.VERSION,
    CompareTarget.CREATE: Target.CREATE_REVISION,
    CompareTarget.MOD: Target.MOD_REVISION,
    CompareTarget.VALUE: Target.VALUE,
    CompareTarget.LEASE: Target.LEASE,
}


# -- the answer ------------------------------------------------------------------------


def rendered(
    txn: Txn, history: History, reply: NativeReply, revision: int
) -> list[OperationReply]:
    """What each operation of the branch that was done answers."""
    branch = txn.success if reply.succeeded else txn.failure
    before = revision - _wrote(branch, reply)
    return _Renderer(history, before, revision).branch(branch, reply)


class _Renderer:
    """Walks through what was done, in order; knows which revision it is at."""

    def __init__(self, history: History, before: int, after: int) -> None:
        self._history: History = history
        self._revision: int = before
        self._after: int = after

    def branch(
        self, branch: Sequence[Operation], reply: NativeReply
    ) -> list[OperationReply]:
        return [
            self._operation(operation, results)
            for operation, results in _paired(branch, reply)
        ]

    def _operation(
        self, operation: Operation, results: Sequence[TxnResult]
    ) -> OperationReply:
        match operation:
            case Txn():
                inside = _inside(results[0])
                taken = operation.success if inside.succeeded else operation.failure
                responses = self.branch(taken, inside)
                # etcd says no revision there.
                inner = TxnReply(Header(), inside.succeeded, responses)
                return OperationReply(response_txn=inner)
            case Put():
                self._revision = self._after
                record = results[0].record if operation.prev_kv else None
                previous = None if record is None else key_value(record)
                header = at_revision(self._revision)
                return OperationReply(response_put=PutReply(header, previous))
            case DeleteRange():
                count = results[-1].count
                if count:
                    self._revision = self._after
                records = (results[0].records or ()) if operation.prev_kv else ()
                answer = DeleteRangeReply(
                    at_revision(self._revision), number(count), key_values(records)
                )
                return OperationReply(response_delete_range=answer)
            case Range():
                return OperationReply(response_range=self._range(operation, results))

    def _range(self, wanted: Range, results: Sequence[TxnResult]) -> RangeReply:
        header = at_revision(self._revision)
        if wanted.revision:
            found = self._history[wanted]
            kvs = key_values(found.shown, wanted.keys_only)
            return RangeReply(header, kvs, found.more, number(found.keys))
        result = results[0]
        if wanted.end is None:
            record = result.record
            return reply_of(wanted, [] if record is None else [record], header)
        answer = reply_of(wanted, list(result.records or ()), header)
        answer.count = number(result.count)
        if not (wanted.filtered or wanted.count_only or wanted.sorted):
            answer.more = result.count > len(answer.kvs)
        return answer


def _paired(
    branch: Sequence[Operation], reply: NativeReply
) -> Iterator[tuple[Operation, Sequence[TxnResult]]]:
    """Each operation with the results of what it was compiled to."""
    sizes = [_size(operation) for operation in branch]
    packed = sum(sizes) > OPERATIONS_MAX
    at = 0
    for operation, size in zip(branch, sizes, strict=True):
        if packed and size > 1:
            yield operation, _inside(reply.results[at]).results
            at += 1
        else:
            yield operation, reply.results[at : at + size]
            at += size


def _size(operation: Operation) -> int:
    """To how many native operations it is compiled."""
    match operation:
        case Put() | DeleteRange():
            return 2 if operation.prev_kv else 1
        case Range():
            return 0 if operation.revision else 1
        case Txn():
            return 1


def _wrote(branch: Sequence[Operation], reply: NativeReply) -> bool:
    """Did it change anything?"""
    for operation, results in _paired(branch, reply):
        match operation:
            case Put():
                return True
            case DeleteRange():
                if results[-1].count:
                    return True
            case Txn():
                inside = _inside(results[0])
                taken = operation.success if inside.succeeded else operation.failure
                if _wrote(taken, inside):
                    return True
            case Range():
                continue
    return False


def _inside(result: TxnResult) -> NativeReply:
    assert result.reply is not None, "a transaction answers with a reply"
    return result.reply
