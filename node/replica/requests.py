"""Requests that wait inside a replica, and the replies they end with.

Law: pure. Each request is answered exactly once, and a write's answer says whether it
happened (I-54): done, not applied, or unknown.
"""

import msgspec

from ...wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    ErrorCode,
    LeaseQuestion,
    Outcome,
    RequestKind,
    encode_error,
    error_reply,
)
from .effects import Reply, Sink


class Request(msgspec.Struct, eq=False, gc=False):
    """One request of a client or of a follower, until its deadline.

    `question`: of a write that is none, what the leader has to answer. `own`: a member
    asks, for itself or after it has looked at what its client may ask.
    """

    sink: Sink
    request_id: int
    kind: int
    body: bytes
    deadline_ms: int
    question: LeaseQuestion | None = None
    own: bool = False


def answer(request: Request, body: bytes) -> Reply:
    return Reply(request.sink, request.request_id, request.kind, OK, body)


def refuse(request: Request, code: ErrorCode, message: str, revision: int = 0) -> Reply:
    """An error reply; a write that is refused was not applied, unless unknown."""
    outcome = Outcome.NONE
    if code is ErrorCode.UNKNOWN_OUTCOME:
        outcome = Outcome.UNKNOWN
    elif request.kind == RequestKind.WRITE:
        outcome = Outcome.NOT_APPLIED
    body = encode_error(error_reply(code, outcome, message, revision), DEFAULT_LIMITS)
    return Reply(request.sink, request.request_id, request.kind, REFUSED, body)
