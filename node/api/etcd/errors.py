"""What etcd calls the things that go wrong.

Law: texts and numbers are etcd's, since its clients compare them. A native error has
one translation, in one table; whether a write may have happened, which etcd does not
tell, stands in a header.
"""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from ....wire.errors import ErrorCode
from ..errors import HTTP_PROBLEMS, Problem

# gRPC's numbers, as far as they are used.
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
OUT_OF_RANGE: Final = 11
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

HTTP_STATUS: Final[dict[int, int]] = {
    UNKNOWN: 500,
    INVALID_ARGUMENT: 400,
    DEADLINE_EXCEEDED: 504,
    NOT_FOUND: 404,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 400,
    OUT_OF_RANGE: 400,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}

KEY_NOT_PROVIDED: Final = "etcdserver: key is not provided"
KEY_NOT_FOUND: Final = "etcdserver: key not found"
VALUE_PROVIDED: Final = "etcdserver: value is provided"
LEASE_PROVIDED: Final = "etcdserver: lease is provided"
TOO_MANY_OPERATIONS: Final = "etcdserver: too many operations in txn request"
DUPLICATE_KEY: Final = "etcdserver: duplicate key given in txn request"
COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
FUTURE_REVISION: Final = "etcdserver: mvcc: required revision is a future revision"
LEASE_NOT_FOUND: Final = "etcdserver: requested lease not found"
LEASE_EXISTS: Final = "etcdserver: lease already exists"
TTL_TOO_LARGE: Final = "etcdserver: too large lease TTL"
TOO_LARGE: Final = "etcdserver: request is too large"
TOO_MANY_REQUESTS: Final = "etcdserver: too many requests"
NO_LEADER: Final = "etcdserver: no leader"
TIMED_OUT: Final = "etcdserver: request timed out"
STOPPED: Final = "etcdserver: server stopped"
NO_SPACE: Final = "etcdserver: mvcc: database space exceeded"
INVALID_TOKEN: Final = "etcdserver: invalid auth token"
AUTHENTICATION_FAILED: Final = (
    "etcdserver: authentication failed, invalid user ID or password"
)
NO_AUTHENTICATION: Final = "etcdserver: authentication is not enabled"
ELECTION_NOT_LEADER: Final = "election: not leader"
NO_ELECTION_LEADER: Final = "election: no leader"
NO_LEADER_KEY: Final = '"leader" field must be provided'
SESSION_EXPIRED: Final = "mutex: session is expired"
MEMBER_NOT_FOUND: Final = "etcdserver: member not found"
MEMBER_EXISTS: Final = "etcdserver: member ID already exist"
NOT_A_LEARNER: Final = "etcdserver: can only promote a learner member"
TOO_FEW_MEMBERS: Final = (
    "etcdserver: re-configuration failed due to not enough started members"
)
NOT_LEADER: Final = "etcdserver: not leader"
BAD_TRANSFEREE: Final = "etcdserver: bad leader transferee"
# etcd has no such limit, and so no such text.
TOO_MANY_KEYS: Final = "etcdserver: too many keys in one request"

# What each code of ours is to a client of etcd; None: the detail is the text.
TRANSLATIONS: Final[dict[str, tuple[int, str | None]]] = {
    "invalid_request": (INVALID_ARGUMENT, None),
    "key_too_long": (INVALID_ARGUMENT, TOO_LARGE),
    "value_too_large": (INVALID_ARGUMENT, TOO_LARGE),
    "request_too_large": (INVALID_ARGUMENT, TOO_LARGE),
    "precondition_failed": (FAILED_PRECONDITION, None),
    "no_leader": (UNAVAILABLE, NO_LEADER),
    "too_busy": (RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS),
    "unknown_outcome": (UNAVAILABLE, TIMED_OUT),
    "stopping": (UNAVAILABLE, STOPPED),
    "no_space": (RESOURCE_EXHAUSTED, NO_SPACE),
    "too_stale": (UNAVAILABLE, TIMED_OUT),
    "unsupported": (UNIMPLEMENTED, None),
    "internal": (INTERNAL, None),
    "deadline_exceeded": (UNAVAILABLE, TIMED_OUT),
    "forbidden": (PERMISSION_DENIED, None),
    "damaged": (UNAVAILABLE, None),
    "compacted": (OUT_OF_RANGE, COMPACTED),
    "future_revision": (OUT_OF_RANGE, FUTURE_REVISION),
    "lease_not_found": (NOT_FOUND, LEASE_NOT_FOUND),
    "lease_exists": (FAILED_PRECONDITION, LEASE_EXISTS),
    "too_many_keys": (RESOURCE_EXHAUSTED, TOO_MANY_KEYS),
    "fenced": (FAILED_PRECONDITION, None),
    "member_not_found": (NOT_FOUND, MEMBER_NOT_FOUND),
    "member_exists": (FAILED_PRECONDITION, MEMBER_EXISTS),
    "too_many_members": (RESOURCE_EXHAUSTED, None),
    "last_voter": (FAILED_PRECONDITION, TOO_FEW_MEMBERS),
    "quorum_at_risk": (FAILED_PRECONDITION, TOO_FEW_MEMBERS),
    "token_refused": (PERMISSION_DENIED, None),
    "unauthenticated": (UNAUTHENTICATED, INVALID_TOKEN),
    # Of the native protocol alone: nobody asks for a session here.
    "session_not_found": (NOT_FOUND, None),
    # Only HTTP has these; they keep their status.
    "malformed_http": (INVALID_ARGUMENT, None),
    "not_found": (NOT_FOUND, None),
    "method_not_allowed": (UNIMPLEMENTED, None),
    "request_timeout": (DEADLINE_EXCEEDED, None),
    "unsupported_media_type": (INVALID_ARGUMENT, None),
    "expectation_failed": (INVALID_ARGUMENT, None),
    "head_too_large": (INVALID_ARGUMENT, None),
    "held": (UNAVAILABLE, None),
    "http_version_not_supported": (UNIMPLEMENTED, None),
}
# Where grpc-gateway has no document but a line of text.
_PLAIN: Final = ("not_found", "method_not_allowed")

# The label in the metrics of what only this gateway refuses.
_LABELS: Final[dict[int, ErrorCode]] = {
    UNKNOWN: ErrorCode.FENCED,
    INVALID_ARGUMENT: ErrorCode.INVALID_REQUEST,
    NOT_FOUND: ErrorCode.LEASE_NOT_FOUND,
    RESOURCE_EXHAUSTED: ErrorCode.TOO_MANY_KEYS,
    FAILED_PRECONDITION: ErrorCode.PRECONDITION_FAILED,
    OUT_OF_RANGE: ErrorCode.FUTURE_REVISION,
    UNIMPLEMENTED: ErrorCode.UNSUPPORTED,
}


class EtcdProblem(Problem):
    """A refusal in etcd's own words."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(_LABELS[number], message)
        self.number: int = number


class _Document(msgspec.Struct):
    # etcd 3.5 has `error`, `code` and `message`, etcd 3.6 the last three.
    error: str
    code: int
    message: str
    details: list[str] = []


class _Frame(msgspec.Struct):
    # Up to etcd 3.5 `grpc_code`, from 3.6 on `code`.
    grpc_code: int
    http_code: int
    message: str
    http_status: str
    code: int
    details: list[str] = []


class _Framed(msgspec.Struct):
    error: _Frame


_encoder = msgspec.json.Encoder()


def invalid_argument(message: str) -> EtcdProblem:
    """The usual refusal."""
    return EtcdProblem(INVALID_ARGUMENT, message)


def translated(problem: Problem) -> tuple[int, str]:
    """Number and text that a client of etcd knows for a problem."""
    if isinstance(problem, EtcdProblem):
        return problem.number, problem.detail
    number, text = TRANSLATIONS[problem.code]
    return number, problem.detail if text is None else text


def http_status(problem: Problem) -> int:
    if problem.code in HTTP_PROBLEMS:
        return problem.status
    return HTTP_STATUS[translated(problem)[0]]


def error_frame(problem: Problem) -> bytes:
    """How a stream tells of an error: as its last message."""
    number, message = translated(problem)
    status = http_status(problem)
    frame = _Frame(number, status, message, HTTPStatus(status).phrase, number)
    return _encoder.encode(_Framed(frame)) + b"\n"


def error_response(problem: Problem) -> web.Response:
    """A problem as etcd's gateway puts it."""
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        **problem.headers,
    }
    if problem.outcome is not None:
        headers["Quorate-Outcome"] = problem.outcome
    if problem.code in _PLAIN and not isinstance(problem, EtcdProblem):
        text = f"{HTTPStatus(problem.status).phrase}\n"
        headers["Content-Type"] = "text/plain; charset=utf-8"
        body = text.encode()
    else:
        number, message = translated(problem)
        body = _encoder.encode(_Document(message, number, message))
    response = web.Response(status=http_status(problem), body=body, headers=headers)
    if problem.close:
        response.force_close()
    return response
