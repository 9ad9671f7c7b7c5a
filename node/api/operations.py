"""What a request amounts to, one operation after the other.

Law: pure, and whole: all that a request can read, write or tell is in its operations,
also what only a condition shows, and both sides of every transaction inside. A request
of a kind that is not known here is a bug, and what can't be decoded is nothing that
could be allowed.
"""

from collections.abc import Iterable, Iterator
from typing import assert_never

from ...wire.caretaker import Decide, SetCaretaker
from ...wire.certificates import Present, RevokeCertificate, Rotate
from ...wire.commands import (
    Command,
    Compact,
    Delete,
    InSession,
    Put,
    decode_command,
)
from ...wire.frames import RequestKind
from ...wire.leases import (
    Grant,
    KeepAlive,
    ListLeases,
    Revoke,
    TimeToLive,
)
from ...wire.limits import Limits
from ...wire.members import Admit, Announce, DropToken, MakeToken, Reassign
from ...wire.requests import decode_get, decode_range
from ...wire.sessions import CloseSession, OpenSession
from ...wire.transactions import (
    Compare,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
)
from ...wire.versions import Raise, Understand
from ...wire.watches import decode_watch
from .rights import Action, Operation

_PLAIN = {
    RequestKind.PING: Action.PING,
    # Who may watch may stop to.
    RequestKind.CANCEL: Action.PING,
    RequestKind.STATUS: Action.SEE_STATUS,
    RequestKind.MEMBERS: Action.SEE_MEMBERS,
    RequestKind.MOVE_LEADER: Action.MOVE_LEADER,
}


def operations_of(kind: int, body: bytes, limits: Limits) -> Iterator[Operation]:
    """The operations of one request; raises ProtocolError when it is malformed."""
    match RequestKind(kind):
        case RequestKind.WRITE:
            yield from _of_command(decode_command(body, limits))
        case RequestKind.GET:
            yield _one(Action.READ, decode_get(body, limits).key)
        case RequestKind.RANGE:
            found = decode_range(body, limits)
            yield Operation(Action.READ, found.start, found.end)
        case RequestKind.WATCH:
            watch = decode_watch(body, limits)
            yield Operation(Action.WATCH, watch.start, watch.end)
        case RequestKind.CONNECTION:
            raise AssertionError("this kind is only in replies")
        case plain:
            yield Operation(_PLAIN[plain])


def _of_command(command: Command) -> Iterable[Operation]:
    match command:
        case Put(key, _, expected, lease):
            # Whether a condition holds tells something, too.
            read = () if expected is None else (_one(Action.READ, key),)
            return (*read, _one(Action.PUT, key, lease))
        case Delete(key, expected):
            read = () if expected is None else (_one(Action.READ, key),)
            return (*read, _one(Action.DELETE, key))
        case Compact():
            return (Operation(Action.COMPACT),)
        case Transaction():
            return _of_transaction(command)
        case InSession(_, inside):
            return _of_command(inside)
        case OpenSession() | CloseSession():
            return (Operation(Action.PING),)
        case MakeToken() | DropToken() | Admit() | Announce() | Reassign():
            return (Operation(Action.CHANGE_MEMBERS),)
        case SetCaretaker() | Decide():
            return (Operation(Action.CHANGE_MEMBERS),)
        case Rotate() | Present() | RevokeCertificate() | Understand() | Raise():
            return (Operation(Action.CHANGE_MEMBERS),)
        case Grant(lease, _):
            return (Operation(Action.GRANT, lease=lease),)
        case Revoke(lease):
            return (Operation(Action.REVOKE, lease=lease),)
        case KeepAlive(lease):
            return (Operation(Action.KEEP_ALIVE, lease=lease),)
        case TimeToLive(lease, _):
            return (Operation(Action.SEE_LEASES, lease=lease),)
        case ListLeases():
            return (Operation(Action.SEE_LEASES),)
        case _:
            assert_never(command)


def _of_transaction(transaction: Transaction) -> Iterator[Operation]:
    for compare in transaction.compares:
        yield _of_compare(compare)
    for operation in (*transaction.then, *transaction.otherwise):
        yield from _inside(operation)


def _of_compare(compare: Compare) -> Operation:
    if compare.end is None:
        return _one(Action.READ, compare.key)
    return Operation(Action.READ, compare.key, compare.end)


def _inside(operation: TxnOperation) -> Iterable[Operation]:
    match operation:
        case TxnPut(key, _, lease):
            return (_one(Action.PUT, key, lease),)
        case TxnDelete(key):
            return (_one(Action.DELETE, key),)
        case TxnGet(key):
            return (_one(Action.READ, key),)
        case TxnDeleteRange(start, end):
            return (Operation(Action.DELETE, start, end),)
        case TxnGetRange(start, end, _, _):
            return (Operation(Action.READ, start, end),)
        case Transaction():
            return _of_transaction(operation)
        case _:
            assert_never(operation)


def _one(action: Action, key: bytes, lease: int = 0) -> Operation:
    return Operation(action, key, key + b"\0", lease)
