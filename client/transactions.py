"""Transactions as callers build them, and what came of them.

Law: a value that knows no client: it is built step by step, can be committed by any
client, and more than once.
"""

from collections.abc import Callable
from typing import Literal, Self, SupportsIndex, TypeAlias

import msgspec

from ..wire import (
    OPERATORS,
    CommandRefused,
    Compare,
    ErrorReply,
    Fence,
    ProtocolError,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnOperation,
    TxnPut,
    TxnReply,
    decode_txn_reply,
    encode_transaction,
    fenced,
    fenced_txn,
)
from .errors import InvalidRequest, TooLarge
from .refusals import error_of
from .values import (
    KeyValue,
    to_bounds,
    to_bytes,
    to_fence,
    to_key,
    to_lease,
    to_revision,
)

Operator: TypeAlias = Literal["==", "!=", ">", "<"]


class Committed(msgspec.Struct, frozen=True):
    """What a transaction did.

    `succeeded`: all conditions held, so the first operations were done, else those
    after `otherwise`. `results` has one for each of them, in order: whether there was
    such a key for a put or delete, how many there were for a range that is deleted, the
    KeyValue or None for a get. `revision` is the store's after it; all that it wrote
    has this mod_revision.
    """

    succeeded: bool
    revision: int
    results: tuple[bool | int | KeyValue | None, ...]

    def __bool__(self) -> bool:
        return self.succeeded


class Txn:
    """Conditions, then what to do when all of them hold, and what otherwise.

        Txn().if_value("a", "1").put("a", "2").otherwise().get("a")

    At most 128 conditions, and operations on each side; a side writes a key once.
    """

    def __init__(self) -> None:
        self._compares: list[Compare] = []
        self._then: list[TxnOperation] = []
        self._otherwise: list[TxnOperation] = []
        self._side = self._then
        self._fences: list[Fence] = []

    @classmethod
    def of(cls, transaction: Transaction) -> Self:
        """One that says what a transaction of the wire says."""
        txn = cls()
        txn._compares += transaction.compares
        txn._then += transaction.then
        txn._otherwise += transaction.otherwise
        txn._side = txn._otherwise
        return txn

    # -- conditions --------------------------------------------------------------------

    def if_value(
        self, key: str | bytes, value: str | bytes, operator: Operator = "=="
    ) -> Self:
        """The key is there, and its value stands so to `value`, compared as bytes."""
        return self._if(key, Target.VALUE, operator, to_bytes(value))

    def if_revision(
        self, key: str | bytes, mod_revision: int, operator: Operator = "=="
    ) -> Self:
        """The key's mod_revision, 0 when it is absent, stands so to `mod_revision`."""
        number = to_revision("mod_revision", mod_revision)
        return self._if(key, Target.MOD_REVISION, operator, number)

    def if_created(
        self, key: str | bytes, create_revision: int, operator: Operator = "=="
    ) -> Self:
        """The same for its create_revision."""
        number = to_revision("create_revision", create_revision)
        return self._if(key, Target.CREATE_REVISION, operator, number)

    def if_version(
        self, key: str | bytes, version: int, operator: Operator = "=="
    ) -> Self:
        """The same for its version: how often it was put since it was created."""
        number = to_revision("version", version)
        return self._if(key, Target.VERSION, operator, number)

    def if_lease(
        self, key: str | bytes, lease: SupportsIndex, operator: Operator = "=="
    ) -> Self:
        """The same for the lease that it hangs on, 0 when on none."""
        return self._if(key, Target.LEASE, operator, to_lease(lease))

    def if_exists(self, key: str | bytes) -> Self:
        """There is such a key."""
        return self.if_version(key, 0, ">")

    def if_absent(self, key: str | bytes) -> Self:
        """There is no such key."""
        return self.if_version(key, 0)

    def _if(
        self,
        key: str | bytes,
        target: Target,
        operator: Operator,
        operand: int | bytes,
    ) -> Self:
        if self._side is not self._then or self._then:
            raise InvalidRequest("conditions come before what depends on them")
        if operator not in OPERATORS:
            known = " ".join(OPERATORS)
            raise InvalidRequest(f"operator is {operator!r}, not one of {known}")
        relation = OPERATORS[operator]
        self._compares.append(Compare(to_key(key), target, relation, operand))
        return self

    def fence(self, token: str) -> Self:
        """Nothing of it is done, and Fenced raised, once this lock is lost."""
        self._fences.append(to_fence(token))
        return self

    # -- operations --------------------------------------------------------------------

    def put(
        self, key: str | bytes, value: str | bytes, *, lease: SupportsIndex = 0
    ) -> Self:
        """Store `value` under `key`; with `lease`, until that one ends."""
        number = to_lease(lease)
        self._side.append(TxnPut(to_key(key), to_bytes(value), number))
        return self

    def delete(self, key: str | bytes) -> Self:
        """Remove `key`."""
        self._side.append(TxnDelete(to_key(key)))
        return self

    def delete_range(
        self,
        prefix: str | bytes | None = None,
        *,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
    ) -> Self:
        """Remove all keys with `prefix`, or `start <= key < end`; at most 10,000.

        All keys there are begin with the prefix "".
        """
        if prefix is None and start is None and end is None:
            raise InvalidRequest("give prefix, or start and end")
        first, last = to_bounds(prefix, start, end)
        self._side.append(TxnDeleteRange(first, last))
        return self

    def get(self, key: str | bytes) -> Self:
        """Read `key`, as the operations before this one leave it."""
        self._side.append(TxnGet(to_key(key)))
        return self

    def otherwise(self) -> Self:
        """What follows is done when some condition does not hold."""
        if self._side is self._otherwise:
            raise InvalidRequest("otherwise is said twice")
        self._side = self._otherwise
        return self

    # -- for the client ----------------------------------------------------------------

    def transaction(self) -> Transaction:
        """What goes over the wire."""
        return Transaction(
            tuple(self._compares), tuple(self._then), tuple(self._otherwise)
        )

    def fences(self) -> tuple[Fence, ...]:
        """What has to hold first."""
        return tuple(self._fences)


def asked(txn: Txn) -> tuple[bytes, Callable[[bytes], Committed]]:
    """A transaction's bytes, and what reads the reply to it; TooLarge, or TypeError."""
    # Callers without a type checker would else see an AttributeError from within.
    if not isinstance(txn, Txn):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a Txn is committed, not {type(txn).__name__}")
    transaction, fences = txn.transaction(), txn.fences()
    try:
        whole = fenced(fences, transaction) if fences else transaction
        command = encode_transaction(whole)
    except CommandRefused as error:
        raise TooLarge(str(error)) from None

    def decode(body: bytes) -> Committed:
        reply = decode_txn_reply(body)
        inside = fenced_txn(reply) if fences else reply
        if isinstance(inside, ErrorReply):
            raise error_of(inside)
        found = committed(transaction, inside)
        if found is None:
            raise ProtocolError("a reply to another transaction")
        return found

    return command, decode


def committed(transaction: Transaction, reply: TxnReply) -> Committed | None:
    """The caller's view of a reply; None when it is none to this transaction."""
    done = transaction.then if reply.succeeded else transaction.otherwise
    if len(done) != len(reply.results):
        return None
    results: list[bool | int | KeyValue | None] = []
    for operation, result in zip(done, reply.results, strict=True):
        record = result.record
        if not isinstance(operation, TxnGet):
            if record is not None:
                return None
            is_range = isinstance(operation, TxnDeleteRange)
            results.append(result.count if is_range else result.found)
        elif record is None:
            if result.found:
                return None
            results.append(None)
        elif record.key != operation.key:
            return None
        else:
            results.append(KeyValue.of(record))
    return Committed(reply.succeeded, reply.revision, tuple(results))
