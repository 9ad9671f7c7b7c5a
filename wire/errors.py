"""What can be wrong on the client port.

    WireError
    ├── ProtocolError        bytes that the grammar or a limit refuses; has reason, code
    │   ├── CommandRefused   one command is refused, its connection is sound
    │   └── VersionMismatch  the two sides have no protocol version in common
    └── LimitsInvalid        limits that contradict each other or the format

Law: garbage raises ProtocolError and nothing else. Numbers of ErrorCode and Outcome are
permanent (docs/formats.md section 1); what follows from a code is in one table.
"""

from enum import IntEnum
from typing import Final, NamedTuple


class ErrorCode(IntEnum):
    """Why a request was not answered with what it asked for."""

    INVALID_REQUEST = 1
    KEY_TOO_LONG = 2
    VALUE_TOO_LARGE = 3
    REQUEST_TOO_LARGE = 4
    PRECONDITION_FAILED = 5
    NO_LEADER = 6
    TOO_BUSY = 7
    UNKNOWN_OUTCOME = 8
    STOPPING = 9
    NO_SPACE = 10
    TOO_STALE = 11
    UNSUPPORTED = 12
    INTERNAL = 13
    DEADLINE_EXCEEDED = 14
    FORBIDDEN = 15
    DAMAGED = 16
    COMPACTED = 17
    FUTURE_REVISION = 18
    LEASE_NOT_FOUND = 19
    LEASE_EXISTS = 20
    TOO_MANY_KEYS = 21
    FENCED = 22
    MEMBER_NOT_FOUND = 23
    MEMBER_EXISTS = 24
    TOO_MANY_MEMBERS = 25
    LAST_VOTER = 26
    QUORUM_AT_RISK = 27
    TOKEN_REFUSED = 28
    SESSION_NOT_FOUND = 29
    UNAUTHENTICATED = 30


class Outcome(IntEnum):
    """Did the write happen? NONE is for reads, which change nothing."""

    NONE = 0
    NOT_APPLIED = 1
    UNKNOWN = 2


class Traits(NamedTuple):
    """What follows from an error code alone."""

    http_status: int
    retryable: bool


ERROR_TRAITS: Final[dict[ErrorCode, Traits]] = {
    ErrorCode.INVALID_REQUEST: Traits(400, False),
    ErrorCode.KEY_TOO_LONG: Traits(431, False),
    ErrorCode.VALUE_TOO_LARGE: Traits(413, False),
    ErrorCode.REQUEST_TOO_LARGE: Traits(413, False),
    ErrorCode.PRECONDITION_FAILED: Traits(412, False),
    ErrorCode.NO_LEADER: Traits(503, True),
    ErrorCode.TOO_BUSY: Traits(429, True),
    ErrorCode.UNKNOWN_OUTCOME: Traits(504, False),
    ErrorCode.STOPPING: Traits(503, True),
    ErrorCode.NO_SPACE: Traits(507, True),
    ErrorCode.TOO_STALE: Traits(503, True),
    ErrorCode.UNSUPPORTED: Traits(501, False),
    ErrorCode.INTERNAL: Traits(500, False),
    ErrorCode.DEADLINE_EXCEEDED: Traits(504, True),
    ErrorCode.FORBIDDEN: Traits(403, False),
    ErrorCode.DAMAGED: Traits(503, True),
    ErrorCode.COMPACTED: Traits(410, False),
    ErrorCode.FUTURE_REVISION: Traits(400, False),
    ErrorCode.LEASE_NOT_FOUND: Traits(404, False),
    ErrorCode.LEASE_EXISTS: Traits(409, False),
    ErrorCode.TOO_MANY_KEYS: Traits(413, False),
    ErrorCode.FENCED: Traits(412, False),
    ErrorCode.MEMBER_NOT_FOUND: Traits(404, False),
    ErrorCode.MEMBER_EXISTS: Traits(409, False),
    ErrorCode.TOO_MANY_MEMBERS: Traits(409, False),
    ErrorCode.LAST_VOTER: Traits(409, False),
    ErrorCode.QUORUM_AT_RISK: Traits(409, True),
    ErrorCode.TOKEN_REFUSED: Traits(403, False),
    ErrorCode.SESSION_NOT_FOUND: Traits(404, False),
    ErrorCode.UNAUTHENTICATED: Traits(401, False),
}


class WireError(Exception):
    """Root of everything this package raises."""


class ProtocolError(WireError):
    """Bytes that are refused. `code` is what the other side should be told."""

    def __init__(
        self, reason: str, code: ErrorCode = ErrorCode.INVALID_REQUEST
    ) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.code: ErrorCode = code


class CommandRefused(ProtocolError):
    """A command that is malformed or over a limit."""


class VersionMismatch(ProtocolError):
    """The server speaks no protocol version that the client offered."""


class LimitsInvalid(WireError):
    """Limits that could never be kept together."""
