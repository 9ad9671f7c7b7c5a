"""Who may do what: the one place that decides it.

Law: pure. Every request is a number of operations (operations.py), and each of them is
asked about here; whoever has no name is let do nothing. Today a name is a token, or
that the port asks for none, and both have every right there is: rights of roles come
here, and nowhere else.
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
    """Who asks. `unlimited`: with every right, so that nothing has to be looked at."""

    name: str
    unlimited: bool = False


# Somebody who has shown nothing where something has to be shown.
NOBODY: Final = Principal("")
# Who comes to a port that asks for nothing.
ANYBODY: Final = Principal("anybody", unlimited=True)
HOLDER: Final = Principal("holder of a token", unlimited=True)
# What is the same for everybody is answered in the node's own name.
NODE: Final = Principal("this node", unlimited=True)


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
        reason = "this port wants a token, and was shown none that is good"
        raise Refusal(ErrorCode.UNAUTHENTICATED, reason)
