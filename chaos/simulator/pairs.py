"""Two keys that are only written together: transactions, and ranges of the past.

Law: whoever reads both finds the same value in both, or in neither, at any revision
and level (I-36). What was seen is judged at the end, beside the agreed log
(checkers.reads).
"""

from random import Random
from typing import Final

from ...wire import (
    Level,
    RangeRequest,
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
from ..histories import Kind
from .checkers.model import PAIR

_PAIRS: Final = 3
_LEVELS: Final = (Level.LINEARIZABLE, Level.LOCAL)


class PairOperation:
    """One write or read of a pair: what is asked, and what the answer showed.

    `newest` is the newest revision that is known; up to `back` before it are read.
    """

    def __init__(self, dice: Random, value: bytes, newest: int, back: int) -> None:
        self.key = PAIR + b"%d" % dice.randrange(_PAIRS)
        self.kind: Kind = "get"
        one, other = self.key + b"a", self.key + b"b"
        choice = dice.random()
        if choice < 0.75:
            self.wanted = RequestKind.WRITE
            if choice < 0.4:
                operations = (TxnPut(one, value), TxnPut(other, value))
                self.kind = "put"
            elif choice < 0.5:
                operations = (TxnDelete(one), TxnDelete(other))
                self.kind = "delete"
            else:
                operations = (TxnGet(one), TxnGet(other))
            self.body = encode_transaction(Transaction((), operations, ()))
        else:
            self.wanted = RequestKind.RANGE
            revision = (
                max(0, newest - dice.randrange(back)) if dice.random() < 0.7 else 0
            )
            level = dice.choice(_LEVELS)
            self.revision = revision
            self.body = encode_range(
                RangeRequest(level, 0, 0, one, other + b"\0", revision=revision)
            )

    def answer(self, body: bytes) -> tuple[int, list[bytes] | None]:
        """The revision of the answer, and the values, if it was a read."""
        if self.wanted is RequestKind.RANGE:
            reply = decode_range_reply(body)
            seen = [record.value for record in reply.records]
            return self.revision or reply.header.revision, seen
        done = decode_txn_reply(body)
        if self.kind != "get":
            return done.revision, None
        found = [result.record for result in done.results]
        return done.revision, [record.value for record in found if record is not None]
