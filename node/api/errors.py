"""What can be wrong with a request on the HTTP side.

    ApiError
    ├── Problem         the request is answered with a problem document (RFC 9457)
    └── ParserMissing   only the slow HTTP parser is there, which lets more through

Law: every refusal has a stable `code`. Codes of docs/formats.md section 1 keep their
name, status and retryability here; the few that only HTTP knows are in HTTP_PROBLEMS. A
detail never carries more than a few bytes of what was sent.
"""

from http import HTTPStatus
from typing import Final

import msgspec

from ...wire.errors import ERROR_TRAITS, ErrorCode, Outcome
from ...wire.requests import ErrorReply

RETRY_AFTER_S: Final = 1
# Methods of which each error says what has happened.
WRITES: Final = frozenset(("PUT", "DELETE", "POST"))

# code: (status, retryable)
HTTP_PROBLEMS: Final[dict[str, tuple[int, bool]]] = {
    "malformed_http": (400, False),
    "not_found": (404, False),
    "method_not_allowed": (405, False),
    "request_timeout": (408, True),
    "unsupported_media_type": (415, False),
    "expectation_failed": (417, False),
    "head_too_large": (431, False),
    "held": (409, True),
    "http_version_not_supported": (505, False),
}

# Whose error replies name a revision, 0 included: what the key is at (0: absent), the
# oldest that is kept, the newest that there is.
_AT_REVISION: Final = (
    ErrorCode.PRECONDITION_FAILED,
    ErrorCode.COMPACTED,
    ErrorCode.FUTURE_REVISION,
)

_OUTCOMES: Final = {
    Outcome.NONE: None,
    Outcome.NOT_APPLIED: "not_applied",
    Outcome.UNKNOWN: "unknown",
}


class ApiError(Exception):
    """Root of what this folder raises."""


class ParserMissing(ApiError):
    """The port does not open without the compiled HTTP parser."""


class Problem(ApiError):
    """A request that is not served; the connection may go on unless `close`.

    `revision` is what its code names (docs/formats.md section 1), None when nothing.
    """

    def __init__(
        self,
        code: ErrorCode | str,
        detail: str,
        *,
        outcome: str | None = None,
        retryable: bool | None = None,
        revision: int | None = None,
        headers: dict[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        if isinstance(code, ErrorCode):
            self.status, default = ERROR_TRAITS[code]
            self.code: str = code.name.lower()
        else:
            self.status, default = HTTP_PROBLEMS[code]
            self.code = code
        self.detail: str = detail
        self.retryable: bool = default if retryable is None else retryable
        self.outcome: str | None = outcome
        self.revision: int | None = revision
        self.headers: dict[str, str] = headers or {}
        self.close: bool = close
        if self.status in (429, 503):
            self.headers["Retry-After"] = str(RETRY_AFTER_S)
        if self.status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="quorate"'


class _Document(msgspec.Struct, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    outcome: str | None = None
    revision: int | None = None


_encoder = msgspec.json.Encoder()


def problem_document(problem: Problem) -> bytes:
    """The application/problem+json body of a problem."""
    return _encoder.encode(
        _Document(
            f"urn:quorate:problem:{problem.code}",
            HTTPStatus(problem.status).phrase,
            problem.status,
            problem.detail,
            problem.code,
            problem.retryable,
            problem.outcome,
            problem.revision,
        )
    )


def problem_of(error: ErrorReply) -> Problem:
    """The problem that says what an error reply says."""
    headers: dict[str, str] = {}
    if error.code == ErrorCode.PRECONDITION_FAILED and error.revision:
        headers["ETag"] = f'"{error.revision}"'
    return Problem(
        error.code,
        error.message,
        outcome=_OUTCOMES[error.outcome],
        retryable=error.retryable,
        revision=error.revision if error.code in _AT_REVISION else None,
        headers=headers,
    )


def invalid(detail: str) -> Problem:
    """A request that asks for something that does not exist."""
    return Problem(ErrorCode.INVALID_REQUEST, detail)
