"""One HTTP/1.1 connection: aiohttp's, with bounds on what it leaves open.

Law: the parser is the compiled one, and what it refuses is answered with a problem
document that echoes nothing of what was sent. A plain request that nothing follows is
answered without aiohttp (http_plain), which is not woken for it. A request head has a
time and a size. Who has gone is noticed while a request of his waits: the socket is
read meanwhile, or the connection ends. What a client does not read is counted, and what
it sends behind a request that is served.

What is private to aiohttp and used here: `_request_count` (heads parsed), `_waiter`
(pending while no request is served by it), `_messages` (requests that are not taken up,
each with its body), `_parser` (told when one is; http_upgrades is around it),
`_current_request` (whose handler runs), `_request_in_progress` and `_handler_waiter`
(what a shutdown waits for), `_next_keepalive_close_time` and `_process_keepalive` (when
an idle connection ends), `_close` and `_paused` (no more is served; nothing may be
written), `_reading_paused` and `_buffer_paused` (why the socket is not read),
`_lingering_time`, `_drain_helper` (waits until less is unsent), of a request `_cache`.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.http import RawRequestMessage

from ...wire.errors import ErrorCode
from .behind import Behind
from .connections import PROGRESS_BYTES, ClientPort, StallTimer, hung_up, keep_alive
from .errors import WRITES, Problem
from .http_replies import (
    UNCOUNTED_BYTES,
    add_common_headers,
    large_body,
    parser_problem,
    problem_response,
)
from .http_upgrades import UpgradeParser
from .rights import Principal

logger = logging.getLogger("quorate.api")

# How long what follows a refused head is read and dropped, so that the refusal is not
# overtaken by a reset.
LINGER_S = 2.0
# The versions that are spoken, and answered in.
SPOKEN: Final = (HttpVersion10, HttpVersion11)
_SLICE_BYTES: Final = 128 * 1024
# One write more or less is not counted: what was there before it, which is as much as a
# transport takes before it pauses, a slice, and a head.
_FREE_BYTES: Final = _SLICE_BYTES + 2 * UNCOUNTED_BYTES

# A connection that sends no more is looked at so often.
_LOOK_S: Final = 0.1
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class PlainRequest(Protocol):
    """A plain request, which is answered by `HttpConnection.answered`."""

    def begin(self) -> None:
        """Ask for what it asks for."""
        ...


# Of a request with its body, of whoever asks and by what connection.
Plainly = Callable[
    [RawRequestMessage, StreamReader, Principal | None, "HttpConnection"],
    PlainRequest | None,
]


class HttpConnection(web.RequestHandler):
    """aiohttp's protocol, registered with the port and ended when it stands still."""

    __slots__ = (
        "_answered",
        "_behind",
        "_below",
        "_counted",
        "_end_timer",
        "_ends_at",
        "_half_closed",
        "_head_bytes",
        "_head_timer",
        "_plain",
        "_plainly",
        "_port",
        "_probed",
        "_replying",
        "_stall",
        "_waits",
        "_written",
    )

    protocol_name: str = "http"

    def __init__(self, port: ClientPort, server: web.Server, plainly: Plainly) -> None:
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
        self._parser = UpgradeParser(self._parser)
        self._port: ClientPort = port
        # How plain requests are answered, and the one that is now.
        self._plainly: Plainly = plainly
        self._plain: PlainRequest | None = None
        # aiohttp forgets its own when it closes, before the last bytes have left.
        self._below: asyncio.Transport | None = None
        self._stall: StallTimer | None = None
        self._head_bytes: int = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._waits: bool = False  # Until something happens, or the client goes.
        # Replies: how many are over, what they had, the one now, what is held for it.
        self._answered: int = 0
        self._written: int = 0
        self._replying: web.BaseRequest | None = None
        self._counted: int = 0
        self._behind: Behind = Behind(port.partial)
        # The client sends nothing more.
        self._half_closed: bool = False
        self._probed: bool = False
        self._ends_at: float = 0.0
        self._end_timer: asyncio.TimerHandle | None = None

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timers."""
        super().connection_made(transport)
        assert self.transport is not None
        self._below = self.transport
        self._stall = StallTimer(self._port, self.transport, self)
        keep_alive(self.transport)

    def data_received(self, data: bytes) -> None:
        """Parse; watch how a head grows that does not end."""
        before = self._request_count
        waiter = self._waiter
        if waiter is None or waiter.done():
            # aiohttp serves a request, or has yet to begin.
            super().data_received(data)
            if self._request_count != before:
                self._head_over()
            elif before == 0:
                self._head_grows(len(data))
            self._count_behind()
            self._end_if_deaf()
            return
        # It is not woken before it is known who answers.
        self._waiter = None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if self._request_count != before:
            self._head_over()
        elif self._plain is None:
            # No request is being served, so these bytes belong to the next one's head.
            self._head_grows(len(data))
        if self._plain is not None:
            self._count_behind()
        elif self._messages and not self._begin_plain():
            waiter.set_result(None)

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The client sends nothing more, or is gone, which looks the same.

        What it has asked is still answered, within a bound; but for a stream, which has
        no end to wait for.
        """
        if not self._half_closed:
            self._half_closed = True
            self._head_over()
            if self._unanswered:
                self._cut_body()
                # Nothing can follow that would have to be dropped.
                self._lingering_time = 0.0
                drain_s = self._port.options.drain_timeout_s
                self._ends_at = self._port.loop.time() + drain_s
                self._look_later()
        return self._answer_due

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timers and leave the registry."""
        assert self._stall is not None
        self._stall.stop()
        self._head_over()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._below = None
        self._behind.release()
        super().connection_lost(exc)
        self._port.remove(self)

    # Plain requests.

    def _begin_plain(self) -> bool:
        """Have the first request that is here answered plainly; False: it can't be."""
        message, body = self._messages[0]
        paused = self._paused or self._buffer_paused
        if paused or not isinstance(message, RawRequestMessage):
            return False
        assert self._below is not None
        certified = self._below.get_extra_info("principal")
        self._plain = self._plainly(message, body, certified, self)
        if self._plain is None:
            return False
        self._request_in_progress = True
        self.begins(strange=False)
        self._plain.begin()
        return True

    def answered(self, answer: bytes, *, last: bool) -> None:
        """The answer to the plain request."""
        if self._below is None:
            return
        assert self._parser is not None
        self._messages.popleft()
        self._parser.message_consumed()
        self._below.write(answer)
        self._written += len(answer)
        self._answered += 1
        self._plain_over()
        if last or self._close or (self._half_closed and not self._unanswered):
            self.force_close()
        elif self._messages:
            self._wake()

    def give_back(self) -> None:
        """The plain request is answered by aiohttp after all."""
        if self._below is not None:
            self._plain_over()
            self._wake()

    def _plain_over(self) -> None:
        self._plain = None
        self._idle_from_now()
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _process_keepalive(self) -> None:
        if self._plain is not None:
            # Not idle, though aiohttp serves nothing.
            self._idle_from_now()
        super()._process_keepalive()

    def _idle_from_now(self) -> None:
        ends_at = self._port.loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = ends_at

    # The registry's and the stall timer's calls.

    def abort(self) -> None:
        """End at once."""
        if self._below is not None:
            self._below.abort()

    def drain(self) -> None:
        """Serve no other request, and end soon."""
        if self._waiter is not None and self._plain is None:
            self.force_close()
            return
        # What is served now goes on.
        self.close()
        self._port.loop.call_later(self._port.options.drain_timeout_s, self.abort)

    def receiving(self) -> int | None:
        """Heads and bodies have timers of their own."""
        return None

    def replies_begun(self) -> int:
        """How often PROGRESS_BYTES have left.

        It is not enough that replies begin, or that requests come: whoever does not
        read could see to that.
        """
        replying = self._replying or self._current_request
        written = self._written
        if replying is not None:
            written += replying.writer.output_size
        unsent = 0 if self._below is None else self._below.get_write_buffer_size()
        return (written - unsent) // PROGRESS_BYTES

    # The handlers' calls.

    def begins(self, *, strange: bool) -> None:
        """A request is served from now on, of somebody who is known or a stranger."""
        self._behind.begins(strange=strange)
        if not strange:
            self._count_behind()

    def wait_begins(self) -> None:
        """What is served now lasts until something happens: a lock, a watch."""
        self._waits = True
        self._end_if_deaf()

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
            if request.method in WRITES:
                problem.outcome = "unknown"
            if request.writer.output_size > 0:
                raise ConnectionError("the reply was already begun")
        else:
            problem = parser_problem(exc)
        self._port.http_timings.of("connection", problem.code).observe(0.0)
        response = problem_response(problem)
        response.force_close()
        add_common_headers(response, self._port)
        return response

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Write the reply, or what is left of it; count it."""
        self._waits = False
        if request.version not in SPOKEN:
            # A reply says which version is spoken here, not which was asked for.
            request._cache["version"] = HttpVersion11
        self._replying = request
        try:
            if (body := large_body(request, resp)) is not None:
                await self._write_slices(request, resp, body)
            return await super().finish_response(request, resp, start_time)
        except ConnectionError:
            return resp, True
        finally:
            self._replying = None
            self._written += request.writer.output_size
            self._answered += 1
            if self._half_closed and not self._unanswered:
                self.close()

    async def _write_slices(
        self, request: web.BaseRequest, resp: web.StreamResponse, body: bytes
    ) -> None:
        """Write a large body so that no copy of it waits besides; it is counted.

        Whether there is room for it was asked before; it is too late to say no.
        """
        assert isinstance(resp, web.Response)
        if self._port.unsent.reserve(len(body)):
            self._counted = len(body)
        try:
            await resp.prepare(request)
            whole = memoryview(body)
            for start in range(0, len(body), _SLICE_BYTES):
                await resp.write(whole[start : start + _SLICE_BYTES])
            resp.body = None
        finally:
            self._port.unsent.release(self._counted)
            self._counted = 0

    async def _drain_helper(self) -> None:
        """Wait until the client has read; what a stream left unsent is counted."""
        unsent = 0 if self._below is None else self._below.get_write_buffer_size()
        held = max(0, unsent - self._counted - _FREE_BYTES)
        if not self._port.unsent.reserve(held):
            self._end_as_too_busy()
            raise ConnectionAbortedError("too many bytes of replies are unread")
        try:
            await super()._drain_helper()
        finally:
            self._port.unsent.release(held)

    # Heads.

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

    # Whether the client is still there.

    @property
    def _unanswered(self) -> bool:
        return self._request_count > self._answered

    @property
    def _reply_begun(self) -> bool:
        request = self._replying or self._current_request
        return request is not None and request.writer.output_size > 0

    @property
    def _answer_due(self) -> bool:
        """Whether something was asked that has an end."""
        return self._unanswered and not (self._waits and self._reply_begun)

    def _end_if_deaf(self) -> None:
        """End when so much came behind a request that waits that reading has paused.

        Nobody would notice that its client goes: it would wait, and get the lock.
        """
        request = self._current_request
        if not self._waits or request is None or not request.content.is_eof():
            return
        if self._reading_paused or self._buffer_paused:
            self.abort()

    def _count_behind(self) -> None:
        """Count the bodies that came behind what is served; end when it is too much.

        They can't be refused before it is their turn.
        """
        plain = self._plain is not None
        if len(self._messages) <= plain and not self._behind.held:
            return
        served = plain or self._current_request or self._replying
        if not served or self._below is None:
            return
        behind = islice(self._messages, int(plain), None)
        if not self._behind.fits(body for _, body in behind):
            self._end_as_too_busy()

    def _end_as_too_busy(self) -> None:
        code = ErrorCode.TOO_BUSY.name.lower()
        self._port.http_timings.of("connection", code).observe(0.0)
        self.abort()

    def _cut_body(self) -> None:
        """The body that has not come whole never will."""
        request = self._current_request
        if self._messages:
            body = self._messages[-1][1]
        elif request is not None:
            body = request.content
        else:
            return
        if not body.is_eof():
            body.set_exception(web.RequestPayloadError("the client sends no more"))

    def _look_later(self) -> None:
        self._end_timer = self._port.loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """End a half-closed connection whose client is gone, or that takes too long."""
        transport = self._below
        if transport is None or transport.is_closing():
            return
        if hung_up(transport):
            transport.abort()
            return
        late = self._port.loop.time() >= self._ends_at
        if not self._answer_due or (late and not self._reply_begun):
            # What was written before still leaves.
            self.force_close()
            return
        self._probe(transport)
        self._look_later()

    def _probe(self, transport: asyncio.Transport) -> None:
        """Say something to a client that waits: who has gone both ways resets then.

        Else it would be found out only when it has the lock.
        """
        request = self._current_request
        if not self._waits or self._probed or request is None:
            return
        if request.version >= HttpVersion11:
            self._probed = True
            transport.write(_CONTINUE)
