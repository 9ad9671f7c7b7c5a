"""One HTTP/1.1 connection: aiohttp's, with bounds on what it leaves open.

Law: the parser is the compiled one, and what it refuses is answered with a problem
document that echoes nothing of what was sent. A request head has a time and a size.
What is private to aiohttp and used here is named here: `_request_count` (heads parsed)
and `_waiter` (pending while no request is served).
"""

import asyncio
import logging

from aiohttp import hdrs, http_exceptions, web

from ...wire.errors import ErrorCode
from .connections import ClientPort, StallTimer
from .errors import Problem, problem_document

logger = logging.getLogger("quorate.api")

# How long what follows a refused head is read and dropped, so that the refusal is not
# overtaken by a reset.
LINGER_S = 2.0


class HttpConnection(web.RequestHandler):
    """aiohttp's protocol, registered with the port and ended when it stands still."""

    __slots__ = ("_head_bytes", "_head_timer", "_port", "_stall")

    protocol_name: str = "http"

    def __init__(self, port: ClientPort, server: web.Server) -> None:
        options = port.options
        super().__init__(
            server,
            loop=port.loop,
            keepalive_timeout=options.idle_timeout_s,
            logger=logger,
            access_log=None,  # pyright: ignore[reportArgumentType]
            max_line_size=options.line_bytes_max,
            max_field_size=options.header_bytes_max,
            max_headers=options.headers_max,
            lingering_time=LINGER_S,
            # A compressed body would be stored as something else than was sent.
            auto_decompress=False,
        )
        self._port: ClientPort = port
        self._stall: StallTimer | None = None
        self._head_bytes: int = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timers."""
        super().connection_made(transport)
        assert self.transport is not None
        self._stall = StallTimer(self._port, self.transport, self)

    def data_received(self, data: bytes) -> None:
        """Parse; watch how a head grows that does not end."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._head_over()
        elif before == 0 or (self._waiter is not None and not self._waiter.done()):
            # No request is being served, so these bytes belong to the next one's head.
            self._head_grows(len(data))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timers and leave the registry."""
        assert self._stall is not None
        self._stall.stop()
        self._head_over()
        super().connection_lost(exc)
        self._port.remove(self)

    def abort(self) -> None:
        """End at once."""
        if self.transport is not None:
            self.transport.abort()

    def drain(self) -> None:
        """Serve no other request, and end soon."""
        if self._waiter is not None:
            self.force_close()
            return
        # aiohttp's: what is served now goes on.
        self.close()
        self._port.loop.call_later(self._port.options.drain_timeout_s, self.abort)

    def receiving(self) -> int | None:
        """Heads and bodies have timers of their own."""
        return None

    def replies_begun(self) -> int:
        """A request is not taken up while the reply to another can't be written."""
        return self._request_count

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what the parser refused (400), or to a bug of ours (500)."""
        if status >= 500:
            self.log_exception("a request failed", exc_info=exc)
            problem = Problem(ErrorCode.INTERNAL, "an internal error; the log has it")
            if request.writer.output_size > 0:
                raise ConnectionError("the reply was already begun")
        else:
            problem = _parser_problem(exc)
        self._port.http_timings.of("connection", problem.code).observe(0.0)
        response = problem_response(problem)
        response.force_close()
        name_server(response, self._port)
        return response

    def _head_grows(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._port.options.head_bytes_max:
            self.abort()
        elif self._head_timer is None and self.transport is not None:
            self._head_timer = self._port.loop.call_later(
                self._port.options.head_timeout_s, self.abort
            )

    def _head_over(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


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


def name_server(response: web.StreamResponse, port: ClientPort) -> None:
    """Say who we are, not which libraries at which versions."""
    response.headers[hdrs.SERVER] = f"quorate/{port.options.version}"


def _parser_problem(exc: BaseException | None) -> Problem:
    if isinstance(exc, http_exceptions.LineTooLong):
        return Problem("head_too_large", "the request line or a header is too long")
    if isinstance(exc, http_exceptions.InvalidURLError):
        detail = "the request target holds bytes that have to be percent-encoded"
        return Problem("malformed_http", detail)
    return Problem("malformed_http", "this is not well-formed HTTP")
