"""Fences: writes that are only done while a lock is still held.

Law: pure. A *fence* is the key by which somebody holds a lock and the revision that
made this key; a *token* is a fence as text. Whoever loses the lock loses the key, and
one that is made again has a higher revision: so a token holds for one holding, and
never again. A fenced write is a transaction that compares this first. Of an answer it
is told which condition failed: the fence goes before what the write itself asks.
"""

import base64
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from .base64_text import decode_base64
from .commands import Delete, Put
from .errors import CommandRefused, ErrorCode, Outcome, ProtocolError
from .limits import Limits, over_limit
from .requests import ErrorReply, WriteReply, error_reply, key_moved
from .transaction_replies import TxnReply
from .transactions import (
    OPERATIONS_MAX,
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGetRange,
    TxnPut,
)

_TOKEN: Final = re.compile(r"([1-9][0-9]{0,19})\.([A-Za-z0-9_-]+)")
_REVISION_MAX: Final = 2**64 - 1
# Whoever reads this has to know what to do: nothing more in the name of that lock.
_LOST: Final = "the lock of this token is lost: it was released, or its lease has ended"


class Fence(msgspec.Struct, frozen=True, gc=False):
    """The key of one who holds a lock, and its create_revision."""

    key: bytes
    revision: int

    @property
    def token(self) -> str:
        """As text: characters that need no escape in a URL or in a header."""
        key = base64.urlsafe_b64encode(self.key).rstrip(b"=").decode()
        return f"{self.revision}.{key}"

    @property
    def compare(self) -> Compare:
        """It is still held. An absent key has revision 0, which no fence has."""
        target, relation = Target.CREATE_REVISION, Relation.EQUAL
        return Compare(self.key, target, relation, self.revision)


def parse_token(text: str, limits: Limits) -> Fence:
    """The fence that a token says, or CommandRefused."""
    # So many characters has the longest key's; the rest is not looked at.
    longest = 21 + -(-4 * limits.key_bytes_max // 3)
    if len(text) > longest:
        reason = f"a token has {len(text)} characters, over {longest}"
        raise CommandRefused(reason)
    match = _TOKEN.fullmatch(text)
    key = None if match is None else decode_base64(match[2].encode())
    if match is None or key is None or int(match[1]) > _REVISION_MAX:
        raise CommandRefused("a token is a revision, a dot, and a key in base64url")
    if len(key) > limits.key_bytes_max:
        raise over_limit(len(key), 0, limits)
    return Fence(key, int(match[1]))


# -- what is asked ---------------------------------------------------------------------


def fenced(fences: Sequence[Fence], command: Put | Delete | Transaction) -> Transaction:
    """The command, done only while all fences hold."""
    if len(fences) > OPERATIONS_MAX:
        reason = f"{len(fences)} tokens, over {OPERATIONS_MAX}"
        raise CommandRefused(reason, ErrorCode.REQUEST_TOO_LARGE)
    inside = command if isinstance(command, Transaction) else _conditional(command)
    return Transaction(tuple([fence.compare for fence in fences]), (inside,), ())


def _conditional(command: Put | Delete) -> Transaction:
    """What one key is at is read, without its value, when it is not as expected."""
    key = command.key
    compares: tuple[Compare, ...] = ()
    if command.expected is not None:
        target, relation = Target.MOD_REVISION, Relation.EQUAL
        compares = (Compare(key, target, relation, command.expected),)
    write = (
        TxnPut(key, command.value, command.lease)
        if isinstance(command, Put)
        else TxnDelete(key)
    )
    found = TxnGetRange(key, key + b"\0", 1, keys_only=True)
    return Transaction(compares, (write,), (found,))


# -- what came of it -------------------------------------------------------------------


def fence_lost() -> ErrorReply:
    """What is said when a fence does not hold."""
    return error_reply(ErrorCode.FENCED, Outcome.NOT_APPLIED, _LOST)


def fenced_txn(reply: TxnReply) -> TxnReply | ErrorReply:
    """What came of the transaction inside the fences."""
    if not reply.succeeded:
        return fence_lost()
    inside = reply.results[0].reply if len(reply.results) == 1 else None
    if inside is None:
        raise ProtocolError("a reply to another transaction")
    return inside


def fenced_write(reply: TxnReply, *, put: bool) -> WriteReply | ErrorReply:
    """What came of a put or of a delete, as if it had not been a transaction."""
    inside = fenced_txn(reply)
    if isinstance(inside, ErrorReply):
        return inside
    if len(inside.results) != 1:
        raise ProtocolError("a reply to another transaction")
    result = inside.results[0]
    if inside.succeeded:
        return WriteReply(inside.revision, 1 if put else int(result.found))
    revision = result.records[0].mod_revision if result.records else 0
    return error_reply(
        ErrorCode.PRECONDITION_FAILED,
        Outcome.NOT_APPLIED,
        key_moved(revision),
        revision,
    )
