"""One connection to one node: hello, corked requests, replies, deadlines.

Law: a request is sent only after the node's hello, and of each that fails it is known
whether its bytes may have left: NotSent means that nobody can have seen it, Broken and
Expired that somebody may have. A transport callback never raises: garbage ends the
connection, not the loop.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from ..wire import (
    DEFAULT_LIMITS,
    FRAME_SLACK_BYTES,
    REFUSED,
    REQUEST_LENGTH_MIN,
    ClientHello,
    Limits,
    ProtocolError,
    ReplyFrame,
    ReplyParser,
    ServerHello,
    VersionMismatch,
    decode_error,
    encode_client_hello,
    encode_request,
    parse_server_hello,
)
from .tls_errors import SPEAKS_TLS, Disagreement, disagreement, is_alert

# One write of at most this much at a time keeps the send buffer short, and with it
# the number of requests whose fate is unknown when the connection breaks.
WRITE_BYTES_MAX: Final = 256 * 1024
BUFFER_BYTES_MAX: Final = 1024 * 1024
# What we are ready to hold of one reply, whatever limit the node claims to have.
REPLY_BYTES_CEILING: Final = 64 * 1024 * 1024
# Deadlines are checked at most this often: they are promises about seconds.
EXPIRY_SECONDS_MIN: Final = 0.01
# A node that says nothing for this long under a request is taken for gone; so is one
# that says nothing for this long after the deadline of one, when another one passes.
SILENCE_MS_MIN: Final = 800


class RequestFailed(Exception):
    """No reply will come for this request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = reason


class NotSent(RequestFailed):
    """None of its bytes left: nobody has seen it."""


class Broken(RequestFailed):
    """The connection ended after its bytes may have left."""


class Expired(RequestFailed):
    """Its deadline passed after its bytes may have left."""


class HelloFailed(Exception):
    """The node was reached, but did not answer as one of ours."""

    def __init__(
        self, reason: str, *, hopeless: bool, tls: Disagreement | None = None
    ) -> None:
        super().__init__(reason)
        self.reason: str = reason
        # Set when it was TLS that could not be agreed on.
        self.tls: Disagreement | None = tls
        # Whether asking again can't help: another protocol, no version in common.
        self.hopeless: bool = hopeless


_EOF_BEFORE_HELLO = (
    "closed the connection before its hello"
    " (a node does so while it stops, and when it refuses our certificate)"
)


# Kind, timeout in ms, deadline, and who waits.
_Waiting: TypeAlias = tuple[int, int, float, "asyncio.Future[ReplyFrame]"]


Taker: TypeAlias = Callable[[ReplyFrame | RequestFailed], None]


class Connection(asyncio.Protocol):
    """Requests in, futures out; usable with the node's hello, until `closed`.

    It retires by itself when the node has fallen silent under a request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, token: bytes = b"") -> None:
        self._loop: asyncio.AbstractEventLoop = loop
        self._token: bytes = token
        self._transport: asyncio.Transport | None = None
        self.hello: asyncio.Future[ServerHello] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.usable: bool = False
        # The longest body that fits a frame which the node accepts.
        self.body_bytes_max: int = 0
        self._greeting: bytes = b""
        self._parser: ReplyParser = ReplyParser(DEFAULT_LIMITS)
        self._reason: str = "the connection was lost"
        self._tls: Disagreement | None = None
        self._last_id: int = 0
        self._pending: dict[int, _Waiting] = {}
        # Requests with many replies: who takes them.
        self._streams: dict[int, Taker] = {}
        # By request id, in order: what has not been given to the transport.
        self._unsent: dict[int, bytes] = {}
        self._flushing: bool = False
        self._paused: bool = False
        # The newest request when the node was last heard.
        self._heard_id: int = 0
        # When it first owed an answer since then: requests may be too short-lived, each
        # alone, to tell a peer that is gone from one that is far away.
        self._owed_since: float = float("inf")
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_at: float = float("inf")

    # Requests.

    def request(
        self, kind: int, body: bytes, timeout_ms: int, deadline: float
    ) -> asyncio.Future[ReplyFrame]:
        """Send one request with this loop turn's others; its reply, or RequestFailed.

        Raises NotSent when the connection has ended already. `deadline` is on the
        loop's clock and is when we stop to wait; `timeout_ms` is what the node is told.
        """
        if not self.usable:
            raise NotSent(self._reason)
        request_id = self._next_id()
        future: asyncio.Future[ReplyFrame] = self._loop.create_future()
        self._pending[request_id] = (kind, timeout_ms, deadline, future)
        self._unsent[request_id] = encode_request(kind, request_id, timeout_ms, body)
        self._plan_flush()
        if deadline < self._expiry_at:
            self._expire_at(deadline)
        return future

    def stream(self, kind: int, body: bytes, take: "Taker") -> int:
        """Send a request that is answered many times; its id.

        `take` gets each reply, and RequestFailed when no more can come.
        """
        request_id = self._next_id()
        if not self.usable:
            take(NotSent(self._reason))
            return request_id
        self._streams[request_id] = take
        self._unsent[request_id] = encode_request(kind, request_id, 0, body)
        self._plan_flush()
        return request_id

    @property
    def waiting(self) -> int:
        """How many requests have not been answered."""
        return len(self._pending)

    def given_up(self) -> None:
        """Let go, soon, of what was cancelled before it was sent."""
        if self._unsent:
            self._plan_flush()

    def pause_reading(self) -> None:
        """Let the node wait with what it has to say, on all of this connection."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _next_id(self) -> int:
        request_id = self._last_id + 1
        pending, streams = self._pending, self._streams
        while request_id >= 2**32 or request_id in pending or request_id in streams:
            request_id = request_id + 1 if request_id < 2**32 else 1
        self._last_id = request_id
        return request_id

    def _plan_flush(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._drop_cancelled()
        transport = self._transport
        if transport is None:
            return
        while self._unsent and not self._paused and not transport.is_closing():
            transport.write(self._next_chunk())

    def _drop_cancelled(self) -> None:
        """Nobody waits for these any more, and nobody has seen them."""
        pending = self._pending
        cancelled = [
            request_id
            for request_id in self._unsent
            if request_id in pending and pending[request_id][3].cancelled()
        ]
        for request_id in cancelled:
            del self._unsent[request_id], pending[request_id]
        if cancelled:
            self._close_if_retired()

    def _next_chunk(self) -> bytes:
        """The oldest unsent requests, at least one; they count as sent from now on."""
        if sum(map(len, self._unsent.values())) <= WRITE_BYTES_MAX:
            whole = b"".join(self._unsent.values())
            self._unsent = {}
            return whole
        size = 0
        frames: list[bytes] = []
        ids: list[int] = []
        for request_id, frame in self._unsent.items():
            size += len(frame)
            if frames and size > WRITE_BYTES_MAX:
                break
            frames.append(frame)
            ids.append(request_id)
        for request_id in ids:
            del self._unsent[request_id]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    # Deadlines: one timer, set to the earliest deadline known when it was set.

    def _expire_at(self, deadline: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry_at = deadline
        self._expiry = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._expiry_at = float("inf")
        now = self._loop.time()
        late = [key for key, waiting in self._pending.items() if waiting[2] <= now]
        silent = False
        for request_id in late:
            _, timeout_ms, _, future = self._pending.pop(request_id)
            failure: RequestFailed = Expired("no answer before the deadline")
            if self._unsent.pop(request_id, None) is not None:
                failure = NotSent("could not be sent before the deadline")
            if not future.done():
                future.set_exception(failure)
            if request_id > self._heard_id:
                self._owed_since = min(self._owed_since, now)
                owed_ms = (now - self._owed_since) * 1000
                silent = silent or max(timeout_ms, owed_ms) >= SILENCE_MS_MIN
        if self._pending:
            earliest = min(waiting[2] for waiting in self._pending.values())
            self._expire_at(max(earliest, now + EXPIRY_SECONDS_MIN))
        if silent:
            self.usable = False
        self._close_if_retired()

    # Ending.

    def retire(self) -> None:
        """Take no more requests; close when those in flight have ended."""
        self.usable = False
        self._close_if_retired()

    def close(self, reason: str) -> None:
        """End now. Requests in flight fail; `closed` is done when the socket is."""
        self.usable = False
        self._reason = reason
        if self._transport is None:
            self._fail()
        elif self._transport.is_closing():
            # It is under way; asyncio's TLS transport breaks when it is closed twice.
            return
        elif self._transport.get_write_buffer_size():
            # A peer that does not read would keep an orderly close waiting for ever.
            self._transport.abort()
        else:
            self._transport.close()

    def _close_if_retired(self) -> None:
        if not self.usable and self.hello.done() and not self._pending:
            self.close(self._reason)

    def abort(self, reason: str) -> None:
        """End now, in the middle of whatever was being sent."""
        self.usable = False
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _fail(self) -> None:
        """Tell everybody who waits that nothing will come."""
        self.usable = False
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        pending, self._pending = self._pending, {}
        unsent, self._unsent = self._unsent, {}
        for request_id, (_, _, _, future) in pending.items():
            if not future.done():
                failure = NotSent if request_id in unsent else Broken
                future.set_exception(failure(self._reason))
        streams, self._streams = self._streams, {}
        for take in streams.values():
            take(Broken(self._reason))
        if not self.hello.done():
            tls = self._tls
            failed = HelloFailed(self._reason, hopeless=tls is not None, tls=tls)
            self.hello.set_exception(failed)
            # Whoever connected may have given up meanwhile.
            self.hello.exception()
        if not self.closed.done():
            self.closed.set_result(None)

    # What the transport tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because not every event loop derives its transports from this class.
        self._transport = cast(asyncio.Transport, transport)
        self._reason = _EOF_BEFORE_HELLO
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._transport.write(encode_client_hello(ClientHello(token=self._token)))

    def connection_lost(self, exc: Exception | None) -> None:
        # Under TLS 1.3 the node judges our certificate when we believe to be connected.
        self._tls = self._tls or disagreement(exc)
        if exc is not None:
            self._reason = f"{self._reason}: {exc}"
        self._transport = None
        self._fail()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_id = self._last_id
        self._owed_since = float("inf")
        if not self.hello.done():
            data = self._greet(data)
        if not data:
            return
        try:
            frames = self._parser.feed(data)
        except ProtocolError as error:
            self._deliver(self._parser.complete)
            self.abort(f"a malformed reply: {error.reason}")
            return
        self._deliver(frames)

    def _greet(self, data: bytes) -> bytes:
        """Take the node's hello; what comes behind it is returned."""
        self._greeting += data
        if is_alert(self._greeting):
            self._tls = Disagreement(SPEAKS_TLS)
            self.abort(SPEAKS_TLS)
            return b""
        try:
            parsed = parse_server_hello(self._greeting)
        except ProtocolError as error:
            self.hello.set_exception(HelloFailed(_why(error), hopeless=True))
            self.hello.exception()
            self.abort(_why(error))
            return b""
        if parsed is None:
            return b""
        hello, end = parsed
        rest, self._greeting = self._greeting[end:], b""
        self._reason = "the connection was lost"
        self.body_bytes_max = (
            hello.request_bytes_max + FRAME_SLACK_BYTES - REQUEST_LENGTH_MIN
        )
        self._parser = ReplyParser(_reply_limits(hello))
        self.usable = True
        self.hello.set_result(hello)
        return rest

    def _deliver(self, frames: list[ReplyFrame]) -> None:
        pending = self._pending
        for frame in frames:
            waiting = pending.pop(frame.request_id, None)
            if waiting is None:
                take = self._streams.get(frame.request_id)
                if take is None:
                    self._deliver_to_nobody(frame)
                else:
                    take(frame)
                continue
            kind, _, _, future = waiting
            if kind != frame.kind or frame.request_id in self._unsent:
                pending[frame.request_id] = waiting
                self.abort("a malformed reply: not to what was asked")
                return
            if not future.done():
                future.set_result(frame)
        if not self.usable:
            self._close_if_retired()

    def _deliver_to_nobody(self, frame: ReplyFrame) -> None:
        """Request id 0 ends the connection; others are late, their callers are gone."""
        if frame.request_id or frame.status != REFUSED:
            return
        try:
            message = decode_error(frame.body, DEFAULT_LIMITS).message
        except ProtocolError as error:
            message = error.reason
        self.abort(f"the node ended the connection: {message}")


def _reply_limits(hello: ServerHello) -> Limits:
    """Limits for replies: the node's own, of which only the frame's size matters."""
    size = min(hello.request_bytes_max, REPLY_BYTES_CEILING)
    if size <= DEFAULT_LIMITS.request_bytes_max:
        return DEFAULT_LIMITS
    return Limits(request_bytes_max=size)


def _why(error: ProtocolError) -> str:
    if isinstance(error, VersionMismatch):
        return error.reason
    return f"no quorate node answers there: {error.reason}"
