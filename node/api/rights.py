"""Who may do what: the one place that decides it.

Law: pure. Every request is a number of operations (operations.py), and each of them is
asked about here; whoever has no name is let do nothing. Today a name is a token's, a
certificate's, or that the port asks for neither, and all have every right there is:
rights of roles come here, and nowhere else.
"""

from enum import Enum
from typing import Final

import msgspec

from ...wire.errors import ErrorCode


class Action(Enum):
    """What is to be done; a right will be to some of these, on some keys."""

    # Be here at all, and ask for something.
    ENTER = "enter"
    PING = "ping"
    READ = "read"
    PUT = "put"
    DELETE = "delete"
    WATCH = "watch"
    COMPACT = "compact"
    GRANT = "grant"
    REVOKE = "revoke"
    KEEP_ALIVE = "keep_alive"
    SEE_LEASES = "see_leases"
    SEE_STATUS = "see_status"
    SEE_MEMBERS = "see_members"
    CHANGE_MEMBERS = "change_members"
    MOVE_LEADER = "move_leader"
    BACK_UP = "back_up"


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One thing to be done, on `start` ≤ key < `end` and with a lease, if it has any.

    An empty `end` is no bound; both are empty of what is done to no key.
    """

    action: Action
    start: bytes = b""
    end: bytes = b""
    lease: int = 0


class Principal(msgspec.Struct, frozen=True):
    """Who asks. `unlimited`: with every right, so that nothing has to be looked at.

    `lacks` is what is told to whoever may do nothing.
    """

    name: str
    unlimited: bool = False
    lacks: str = "this port wants a token, and was shown none that is good"


# Somebody who has shown nothing where something has to be shown.
NOBODY: Final = Principal("")
# Who comes to a port that asks for nothing.
ANYBODY: Final = Principal("anybody", unlimited=True)
HOLDER: Final = Principal("holder of a token", unlimited=True)
NO_CERTIFICATE: Final = Principal(
    "", lacks="this port wants a client's certificate, and was shown none"
)
# What is the same for everybody is answered in the node's own name.
NODE: Final = Principal("this node", unlimited=True)


def holder(name: str) -> Principal:
    """Whoever has the key to a certificate of this name."""
    return Principal(f"client/{name}", unlimited=True)


def stranger(reason: str) -> Principal:
    """Whoever has the key to a certificate that names no client."""
    return Principal("", lacks=f"this port wants a client's certificate: {reason}")


class Refusal(Exception):
    """It may not be done."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code: ErrorCode = code
        self.reason: str = reason


def authorize(principal: Principal, operation: Operation) -> None:
    """Raise Refusal when `principal` may not do this."""
    del operation
    if not principal.unlimited:
        raise Refusal(ErrorCode.UNAUTHENTICATED, principal.lacks)
