"""What replies have in common, whoever writes them.

Law: nothing of what was sent is echoed, and nothing is said of the libraries in here.
"""

from typing import Final

from aiohttp import hdrs, http_exceptions, web

from .connections import ClientPort
from .errors import Problem, problem_document

# A reply that is no larger is written whatever else is unsent here, and in one piece.
UNCOUNTED_BYTES: Final = 64 * 1024
# How aiohttp and its parser say what has no class of its own.
_TOO_MANY_HEADERS: Final = "Too many headers received"
_BAD_BYTES: Final = "Invalid char in"


def large_body(request: web.BaseRequest, response: web.StreamResponse) -> bytes | None:
    """The body of a reply that is counted while it is unsent; None of any other."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= UNCOUNTED_BYTES:
        return None
    return None if request.method == "HEAD" else body


def problem_response(problem: Problem) -> web.Response:
    """A problem as an HTTP reply."""
    response = web.Response(
        status=problem.status,
        body=problem_document(problem),
        headers={
            "Content-Type": "application/problem+json",
            "X-Content-Type-Options": "nosniff",
            **problem.headers,
        },
    )
    if problem.close:
        response.force_close()
    return response


def common_headers(port: ClientPort) -> dict[str, str]:
    """Who we are, and that no cache answers instead (RFC 9111, 4.2.2).

    Without a word about it a cache may keep what it likes: it would serve what was read
    before as linearizable.
    """
    return {
        # Not which libraries at which versions.
        hdrs.SERVER: f"quorate/{port.options.version}",
        hdrs.CACHE_CONTROL: "no-cache",
    }


def add_common_headers(response: web.StreamResponse, port: ClientPort) -> None:
    """Say it in a response."""
    for name, value in common_headers(port).items():
        response.headers.setdefault(name, value)


def parser_problem(exc: BaseException | None) -> Problem:
    """The problem that says why the parser refused something."""
    if isinstance(exc, http_exceptions.LineTooLong):
        return Problem("head_too_large", "the request line or a header is too long")
    if isinstance(exc, http_exceptions.InvalidURLError):
        if exc.message.startswith(_BAD_BYTES):
            detail = "the request target holds bytes that have to be percent-encoded"
        else:
            detail = "the request target is neither a path nor a URL with a good host"
        return Problem("malformed_http", detail)
    if isinstance(exc, http_exceptions.BadHttpMessage) and (
        exc.message == _TOO_MANY_HEADERS
    ):
        return Problem("head_too_large", "there are too many headers")
    return Problem("malformed_http", "this is not well-formed HTTP")
