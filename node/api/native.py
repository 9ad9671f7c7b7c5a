"""One connection of the native protocol (docs/formats.md section 1).

Law: no task and no future per request, and one write per turn of the loop. A client
costs at most what the options say: requests are started only while those in flight and
the unsent replies are below their limits; otherwise the socket is not read. After
garbage nothing more is read: what was asked before is still answered, within a bound,
and the error, with request_id 0, is the last frame.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from ...wire.errors import ErrorCode, Outcome, ProtocolError
from ...wire.frames import (
    OK,
    REFUSED,
    RequestFrame,
    RequestKind,
    RequestParser,
    encode_reply,
)
from ...wire.hello import ClientHello, encode_server_hello
from ...wire.requests import encode_error, error_reply
from ..timings import OK as OK_RESULT
from ..timings import Histogram
from .connections import ClientPort, StallTimer, keep_alive
from .door import Submit
from .rights import Principal

# A turn of the loop is shared: at most this much of it goes to one connection's input.
# A piece of this size holds at most about a thousand frames.
SLICE_FRAMES: Final = 1000
PIECE_BYTES: Final = 16 * 1024

# How long the other side has to close after we have shut ours.
LINGER_S: Final = 2.0

# What a frame's head and our bookkeeping cost beside its body.
REQUEST_OVERHEAD_BYTES: Final = 256

_NAMES: Final = {kind: kind.name.lower() for kind in RequestKind}
_READS: Final = frozenset((RequestKind.GET, RequestKind.RANGE))
# For each request: to look a member up in its class takes several times as long.
_WATCH: Final = RequestKind.WATCH


class NativeConnection(asyncio.Protocol):
    """Frames in, `Service.submit`; `reply`, frames out."""

    protocol_name: str = "native"

    def __init__(
        self, port: ClientPort, hello: ClientHello, certified: Principal | None = None
    ) -> None:
        self._port: ClientPort = port
        self._hello: ClientHello = hello
        self._principal: Principal = port.service.principal(hello.token, certified)
        self._submit_as: Submit = port.service.entrance(self._principal)
        self._requests_max: int = port.options.requests_in_flight_max
        self._watches_max: int = max(1, self._requests_max // 2)
        self._charged_max: int = port.options.bytes_in_flight_max
        self._output_high: int = port.options.output_bytes_high
        self._output_max: int = port.options.output_bytes_max
        self._transport: asyncio.Transport | None = None
        self._stall: StallTimer | None = None
        # Input: pieces of `_data` from `_offset` on are parsed into `_frames`.
        self._parser: RequestParser = RequestParser(port.options.limits)
        self._data: bytes = b""
        self._offset: int = 0
        self._frames: list[RequestFrame] = []
        self._next: int = 0
        self._received: int = 0
        self._partial: int = 0
        self._reading_paused: bool = False
        self._pump_planned: bool = False
        # Requests without a reply: when they came and what they are charged.
        self._in_flight: dict[int, tuple[float, int]] = {}
        self._charged: int = 0
        # Which of them are watches, and who we are among all who watch.
        self._watches: dict[int, None] = {}
        self.number: int = port.number()
        self._usual_bytes: list[int] = [0] * (max(RequestKind) + 1)
        # Output: replies of this turn, and what the transport had not sent when asked.
        self._out: list[bytes] = []
        self._out_bytes: int = 0
        self._unsent: int = 0
        self._flushes: int = 0
        self._flush_planned: bool = False
        self._writing_paused: bool = False
        # The end: nothing is started any more; when nothing is in flight the last
        # frame goes out and our side is shut.
        self._half_closed: bool = False
        self._ending: bool = False
        self._reason: ProtocolError | None = None
        self._finished: bool = False
        self._end_timer: asyncio.TimerHandle | None = None
        # Requests that took the same time are counted together.
        self._run_kind: int = 0
        self._run_since: float = 0.0
        self._run_length: int = 0
        self._ok: dict[int, Histogram] = {}

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are, or why we have nothing to say to each other."""
        self._transport = cast(asyncio.Transport, transport)
        options = self._port.options
        self._transport.set_write_buffer_limits(high=options.output_bytes_high)
        self._stall = StallTimer(self._port, self._transport, self)
        keep_alive(self._transport)
        hello = self._port.greeting(self._hello, self._principal)
        self._transport.write(encode_server_hello(hello))
        if hello.version == 0:
            self._end(None)
        elif hello.refused:
            self._end(ProtocolError(hello.refused, ErrorCode.UNAUTHENTICATED))

    def data_received(self, data: bytes) -> None:
        """Take what has arrived and start what may be started."""
        if self._ending:
            return
        self._data = self._data[self._offset :] + data if self._backlog else data
        self._offset = 0
        if not self._pump_planned:
            self._pump()

    def eof_received(self) -> bool:
        """The client sends nothing more, or is gone, which looks the same.

        What it has asked is still answered, within the bound of every end. Nothing
        waits to be started here: while something does, the socket is not read.
        """
        self._half_closed = True
        self._end(None)
        return not self._finished

    def pause_writing(self) -> None:
        """The client does not read: start nothing, read nothing."""
        self._writing_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self._writing_paused = False
        self._unsent = 0
        if self._ending:
            self._resume_reading()
        elif not self._pump_planned:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; replies that still come are dropped."""
        assert self._stall is not None
        self._stall.stop()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._hold_partial(0)
        self._ending = True
        self._transport = None
        if self._watches:
            self._port.service.gone(self)
            self._watches.clear()
        self._in_flight.clear()
        self._out.clear()
        self._frames.clear()
        self._data = b""
        self._port.remove(self)

    # The registry's and the stall timer's calls.

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Start nothing more; close when what was started has been answered."""
        self._end(ProtocolError("this node is shutting down", ErrorCode.STOPPING))

    def receiving(self) -> int | None:
        """How many frames came before the one that is half here."""
        return self._received if self._parser.buffered_bytes else None

    def replies_begun(self) -> int:
        """How often replies were handed to the transport."""
        return self._flushes

    # The service's call.

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Queue one reply for this turn's write."""
        entry = self._in_flight.pop(request_id, None)
        if entry is None:
            return
        if kind == _WATCH:
            # How long somebody watched is no latency.
            self._watches.pop(request_id, None)
            entry = (self._port.loop.time(), entry[1])
        since, charge = entry
        self._charged -= charge
        size = len(body)
        if status == OK:
            if size != self._usual_bytes[kind]:
                self._expect(kind, size)
            held = self._out_bytes + self._unsent
            if held and held + size > self._output_max and kind in _READS:
                status = REFUSED
                body = self._too_busy("too many bytes of replies are unread here")
                size = len(body)
        if status == OK and kind == self._run_kind and since == self._run_since:
            self._run_length += 1
        else:
            self._count(kind, status, since, body)
        self._queue(encode_reply(kind, request_id, status, body))

    def _queue(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame) + REQUEST_OVERHEAD_BYTES
        if not self._flush_planned:
            self._plan_flush()

    def push(self, request_id: int, kind: int, body: bytes) -> None:
        """Queue one of many replies for this turn's write."""
        if request_id in self._in_flight:
            self._queue(encode_reply(kind, request_id, OK, body))

    def room(self) -> int:
        """How much a watch may be told before this client reads some of it."""
        transport = self._transport
        if self._writing_paused or self._ending or transport is None:
            return 0
        # Asked anew: what was unsent at the last flush may have left since, and a watch
        # without room makes no flush.
        unsent = transport.get_write_buffer_size()
        return self._output_high - self._out_bytes - unsent

    # Input.

    @property
    def _backlog(self) -> bool:
        return self._next < len(self._frames) or self._offset < len(self._data)

    def _pump(self) -> None:
        """Start what has arrived, until a limit or the end of the slice."""
        self._pump_planned = False
        left = SLICE_FRAMES
        now = self._port.loop.time()
        while not self._ending:
            left = self._start(now, left)
            if self._next < len(self._frames):
                self._pause_reading()
                if not left:
                    self._plan_pump()
                return
            if self._offset >= len(self._data):
                self._caught_up()
                return
            self._parse()

    def _start(self, now: float, left: int) -> int:
        """Start parsed requests while limits and `left` allow; what remains of it."""
        frames = self._frames
        position = self._next
        end = min(len(frames), position + left)
        first = position
        while position < end and not self._full and not self._ending:
            frame = frames[position]
            position += 1
            # Before it is submitted: whatever comes of that, none is submitted twice.
            self._next = position
            self._submit(frame, now)
        return left - (position - first)

    def _parse(self) -> None:
        piece = self._data[self._offset : self._offset + PIECE_BYTES]
        self._offset += PIECE_BYTES
        error = None
        try:
            self._frames = self._parser.feed(piece)
        except ProtocolError as refusal:
            self._frames = self._parser.complete
            error = refusal
        self._next = 0
        self._received += len(self._frames)
        if error is None and not self._hold_partial(self._parser.buffered_bytes):
            error = ProtocolError(
                "too many bytes of unfinished requests are held", ErrorCode.TOO_BUSY
            )
        if error is not None:
            self._refuse(error)

    def _caught_up(self) -> None:
        self._frames = []
        self._data = b""
        self._next = self._offset = 0
        if not self._writing_paused:
            self._resume_reading()

    @property
    def _full(self) -> bool:
        return (
            self._writing_paused
            or self._out_bytes >= self._output_high
            or len(self._in_flight) >= self._requests_max
            or self._charged >= self._charged_max
        )

    def _submit(self, frame: RequestFrame, now: float) -> None:
        request_id = frame.request_id
        kind = frame.kind
        body = frame.body
        if request_id in self._in_flight:
            self._end(ProtocolError(f"request_id {request_id} is already in flight"))
            return
        charge = len(body) + self._usual_bytes[kind] + REQUEST_OVERHEAD_BYTES
        if kind == _WATCH:
            # They stay, and must leave room for what ends them: for cancels, for pings.
            charge = 0
            self._watches[request_id] = None
        self._in_flight[request_id] = (now, charge)
        self._charged += charge
        if kind == _WATCH and len(self._watches) > (most := self._watches_max):
            text = f"{most} watches are open on this connection"
            self.reply(request_id, kind, REFUSED, self._too_busy(text))
            return
        self._submit_as(self, request_id, kind, body, frame.timeout_ms)

    def _hold_partial(self, count: int) -> bool:
        """Let the shared budget hold `count` bytes for us instead of what it did."""
        budget = self._port.partial
        budget.release(self._partial)
        self._partial = 0
        if not budget.reserve(count):
            return False
        self._partial = count
        return True

    def _pause_reading(self) -> None:
        transport = self._transport
        if self._reading_paused or transport is None or transport.is_closing():
            return
        self._reading_paused = True
        transport.pause_reading()

    def _resume_reading(self) -> None:
        transport = self._transport
        if not self._reading_paused or transport is None or transport.is_closing():
            return
        self._reading_paused = False
        transport.resume_reading()

    def _plan_pump(self) -> None:
        if not self._pump_planned:
            self._pump_planned = True
            self._port.loop.call_soon(self._pump)

    # Output.

    def _expect(self, kind: int, size: int) -> None:
        """Remember how large replies are: quickly when they grow, slowly back."""
        usual = self._usual_bytes[kind]
        if size < usual:
            # At least one byte each time, so that it does get back.
            size = usual - ((usual - size + 63) >> 6)
        self._usual_bytes[kind] = size

    def _too_busy(self, reason: str) -> bytes:
        error = error_reply(ErrorCode.TOO_BUSY, Outcome.NONE, reason)
        return encode_error(error, self._port.options.limits)

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._port.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """One write for all replies of this turn, then go on where we stopped."""
        self._flush_planned = False
        self._count_run()
        transport = self._transport
        if transport is None:
            return
        if self._out:
            self._flushes += 1
            self._write_out(transport)
            self._unsent = transport.get_write_buffer_size()
        if self._ending:
            if not self._in_flight:
                self._finish()
        elif self._backlog and not self._full and not self._pump_planned:
            self._pump()

    def _write_out(self, transport: asyncio.Transport) -> None:
        out = self._out
        self._out = []
        self._out_bytes = 0
        transport.write(out[0] if len(out) == 1 else b"".join(out))

    # The end.

    def _refuse(self, error: ProtocolError) -> None:
        """Serve the frames before the fault, then end with the error."""
        now = self._port.loop.time()
        frames, self._frames = self._frames, []
        for frame in frames:
            if not self._ending:
                self._submit(frame, now)
        self._end(error)

    def _end(self, reason: ProtocolError | None) -> None:
        """Start nothing more. What still comes is read and dropped.

        A socket that is closed over unread bytes is reset, and the reset overtakes the
        replies that are under way.
        """
        if self._ending:
            return
        self._ending = True
        self._reason = reason
        self._end_watches()
        self._hold_partial(0)
        self._parser = RequestParser(self._port.options.limits)
        self._data = b""
        self._frames = []
        self._next = self._offset = 0
        if reason is not None:
            name = reason.code.name.lower()
            self._port.native_timings.of("connection", name).observe(0.0)
        self._end_later(self._port.options.drain_timeout_s, self._finish)
        self._resume_reading()
        self._plan_flush()

    def _end_watches(self) -> None:
        """They go on at another node, or nowhere, but not here."""
        if not self._watches:
            return
        self._port.service.gone(self)
        text = "this connection ends"
        error = error_reply(ErrorCode.STOPPING, Outcome.NONE, text)
        body = encode_error(error, self._port.options.limits)
        for request_id in list(self._watches):
            self.reply(request_id, RequestKind.WATCH, REFUSED, body)

    def _finish(self) -> None:
        """Send the last frame and shut our side; the other closes, or we do."""
        transport = self._transport
        if self._finished or transport is None or transport.is_closing():
            return
        self._finished = True
        if self._out:
            self._write_out(transport)
        if self._reason is not None:
            transport.write(self._last_frame(self._reason))
        # Replies that come later find nobody.
        self._in_flight.clear()
        if self._half_closed or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        self._end_later(LINGER_S, transport.close)

    def _last_frame(self, reason: ProtocolError) -> bytes:
        # With nothing in flight, whatever has no reply was never started.
        outcome = Outcome.UNKNOWN if self._in_flight else Outcome.NOT_APPLIED
        reply = error_reply(reason.code, outcome, reason.reason)
        body = encode_error(reply, self._port.options.limits)
        return encode_reply(RequestKind.CONNECTION, 0, REFUSED, body)

    def _end_later(self, delay_s: float, act: Callable[[], None]) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self._port.loop.call_later(delay_s, act)

    # Counting.

    def _count(self, kind: int, status: int, since: float, body: bytes) -> None:
        if status != OK:
            code = ErrorCode(int.from_bytes(body[:2], "little"))
            elapsed = self._port.loop.time() - since
            name = _NAMES[RequestKind(kind)]
            self._port.native_timings.of(name, code.name.lower()).observe(elapsed)
            return
        self._count_run()
        self._run_kind, self._run_since, self._run_length = kind, since, 1

    def _count_run(self) -> None:
        length = self._run_length
        if not length:
            return
        self._run_length = 0
        histogram = self._ok.get(self._run_kind)
        if histogram is None:
            name = _NAMES[RequestKind(self._run_kind)]
            histogram = self._port.native_timings.of(name, OK_RESULT)
            self._ok[self._run_kind] = histogram
        histogram.observe(self._port.loop.time() - self._run_since, length)
