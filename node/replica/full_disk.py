"""What is still taken when the disk is full: what gives something up.

Law: pure. Such an entry is small, so that what is kept of the disk lasts for many.
"""

from typing import Final

from ...wire import (
    CloseSession,
    Command,
    Compact,
    Delete,
    OpenSession,
    Revoke,
    Transaction,
    TxnOperation,
    TxnPut,
)
from .requests import Request

_BYTES_MAX: Final = 64 << 10


def needs_room(command: Command, request: Request, spent: bool) -> bool:
    """Is there none for this one? Questions are no entries."""
    if request.question is not None:
        return False
    return spent or not _gives_up(command, len(request.body))


def _gives_up(command: Command, size: int) -> bool:
    """Does the command, whose entry has so many bytes, put nothing?

    Sessions are what a client has to open first to give something up.
    """
    match command:
        case Delete() | Compact() | Revoke() | OpenSession() | CloseSession():
            return True
        case Transaction() if size <= _BYTES_MAX:
            return not _puts(command)
        case _:
            return False


def _puts(operation: TxnOperation) -> bool:
    if isinstance(operation, Transaction):
        return any(map(_puts, operation.then + operation.otherwise))
    return isinstance(operation, TxnPut)
