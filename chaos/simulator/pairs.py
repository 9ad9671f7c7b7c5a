"""Two keys that are only written together: transactions, and ranges of the past.

Law: whoever reads both finds the same value in both, or in neither, at any revision
and level (I-36). So a pair is like one key, and what its clients were told is judged
with the other histories, under the pair's name.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from ...wire import (
    Level,
    RangeRequest,
    Record,
    RequestKind,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    decode_range_reply,
    decode_txn_reply,
    encode_range,
    encode_transaction,
)
from ..histories import Kind, Operation
from .checkers.model import FIRST_HALF, PAIR

_PAIRS: Final = 3
_LEVELS: Final = (Level.LINEARIZABLE, Level.LOCAL)


class PairOperation:
    """One write or read of a pair: what is asked, and what the answer showed.

    `newest` is the newest revision that is known; up to `back` before it are read.
    `revision` is the one to be read, 0 the newest. `whole`: no half was without the
    other in the answer.
    """

    def __init__(self, dice: Random, value: bytes, newest: int, back: int) -> None:
        self.key = PAIR + b"%d" % dice.randrange(_PAIRS)
        self.kind: Kind = "get"
        self.value: bytes | None = None
        self.level = Level.LINEARIZABLE
        self.revision = 0
        self.whole = True
        self.halves = one, other = self.key + FIRST_HALF, self.key + b"b"
        choice = dice.random()
        if choice < 0.75:
            self.wanted = RequestKind.WRITE
            if choice < 0.4:
                operations = (TxnPut(one, value), TxnPut(other, value))
                self.kind, self.value = "put", value
            elif choice < 0.5:
                operations = (TxnDelete(one), TxnDelete(other))
                self.kind = "delete"
            else:
                operations = (TxnGet(one), TxnGet(other))
            self.body = encode_transaction(Transaction((), operations, ()))
        else:
            self.wanted = RequestKind.RANGE
            self.revision = (
                max(0, newest - dice.randrange(back)) if dice.random() < 0.7 else 0
            )
            self.level = dice.choice(_LEVELS)
            self.body = encode_range(
                RangeRequest(
                    self.level, 0, 0, one, other + b"\0", revision=self.revision
                )
            )

    @property
    def weak(self) -> bool:
        """It may show something else than the newest."""
        return self.level is not Level.LINEARIZABLE or self.revision > 0

    def answer(self, operation: Operation, body: bytes) -> None:
        """Let `operation` know what came, of the pair as of one key."""
        if self.wanted is RequestKind.RANGE:
            reply = decode_range_reply(body)
            operation.revision = reply.header.revision
            self._found(operation, reply.records)
            return
        done = decode_txn_reply(body)
        operation.revision = done.revision
        if self.kind == "delete":
            one, other = (result.found for result in done.results)
            self.whole = one == other
            operation.count = int(one)
        elif self.kind == "get":
            found = (result.record for result in done.results)
            self._found(operation, [record for record in found if record is not None])

    def _found(self, operation: Operation, records: Sequence[Record]) -> None:
        operation.mod_revision = 0
        if not records:
            return
        keys = tuple(record.key for record in records)
        # They come and go together, so that they agree in everything else.
        rest = {
            (r.value, r.create_revision, r.mod_revision, r.version) for r in records
        }
        self.whole = keys == self.halves and len(rest) == 1
        operation.value = records[0].value
        operation.mod_revision = records[0].mod_revision
