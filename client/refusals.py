"""What a node's error codes are for a caller.

Law: tables alone. Every code has one meaning, whoever asks and whatever was asked.
"""

from collections.abc import Callable
from typing import Final

from ..wire import ErrorCode, ErrorReply
from .errors import (
    Compacted,
    DeadlineExceeded,
    Fenced,
    Forbidden,
    FutureRevision,
    InvalidRequest,
    LastVoter,
    LeaseExists,
    LeaseNotFound,
    MemberExists,
    MemberNotFound,
    NoSpace,
    Overloaded,
    PreconditionFailed,
    QuorateError,
    QuorumAtRisk,
    ServerFault,
    SessionNotFound,
    TokenRefused,
    TooLarge,
    TooManyMembers,
    TooStale,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

FINAL: Final[dict[ErrorCode, Callable[[str], QuorateError]]] = {
    ErrorCode.INVALID_REQUEST: InvalidRequest,
    ErrorCode.KEY_TOO_LONG: TooLarge,
    ErrorCode.VALUE_TOO_LARGE: TooLarge,
    ErrorCode.REQUEST_TOO_LARGE: TooLarge,
    ErrorCode.TOO_MANY_KEYS: TooLarge,
    ErrorCode.LEASE_NOT_FOUND: LeaseNotFound,
    ErrorCode.LEASE_EXISTS: LeaseExists,
    ErrorCode.FENCED: Fenced,
    ErrorCode.MEMBER_NOT_FOUND: MemberNotFound,
    ErrorCode.MEMBER_EXISTS: MemberExists,
    ErrorCode.TOO_MANY_MEMBERS: TooManyMembers,
    ErrorCode.LAST_VOTER: LastVoter,
    ErrorCode.QUORUM_AT_RISK: QuorumAtRisk,
    ErrorCode.TOKEN_REFUSED: TokenRefused,
    ErrorCode.SESSION_NOT_FOUND: SessionNotFound,
    ErrorCode.NO_SPACE: NoSpace,
    ErrorCode.UNSUPPORTED: Unsupported,
    ErrorCode.FORBIDDEN: Forbidden,
    ErrorCode.UNAUTHENTICATED: Unauthenticated,
    ErrorCode.NO_LEADER: Unavailable,
    ErrorCode.TOO_BUSY: Overloaded,
    ErrorCode.STOPPING: Unavailable,
    ErrorCode.DAMAGED: Unavailable,
    ErrorCode.TOO_STALE: TooStale,
    ErrorCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}

# Answers that a write has from the log alone: they are its answer, whichever try's.
# REQUEST_TOO_LARGE is none of them: a node says it of what it does not even propose.
LOGGED: Final = frozenset(
    (
        ErrorCode.PRECONDITION_FAILED,
        ErrorCode.COMPACTED,
        ErrorCode.FUTURE_REVISION,
        ErrorCode.LEASE_NOT_FOUND,
        ErrorCode.LEASE_EXISTS,
        ErrorCode.TOO_MANY_KEYS,
        ErrorCode.MEMBER_NOT_FOUND,
        ErrorCode.MEMBER_EXISTS,
        ErrorCode.TOO_MANY_MEMBERS,
        ErrorCode.LAST_VOTER,
        ErrorCode.TOKEN_REFUSED,
    )
)

AT_REVISION: Final[dict[ErrorCode, Callable[[str, int], QuorateError]]] = {
    ErrorCode.PRECONDITION_FAILED: PreconditionFailed,
    ErrorCode.COMPACTED: Compacted,
    ErrorCode.FUTURE_REVISION: FutureRevision,
}


def error_of(refused: ErrorReply) -> QuorateError:
    """What a node's error is for the caller, when nothing else is to be tried."""
    code, reason = refused.code, reason_of(refused)
    if code in AT_REVISION:
        return AT_REVISION[code](reason, refused.revision)
    return FINAL.get(code, ServerFault)(reason)


def reason_of(refused: ErrorReply) -> str:
    name = refused.code.name.lower()
    return f"{name}: {refused.message}" if refused.message else name
