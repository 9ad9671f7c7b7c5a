"""`/v1/watch`: what changes, as server-sent events, as lines of JSON, or by long poll.

Law: as for keys, HTTP has no meaning of its own. A watch that can't begin is answered
with its problem; one that ends later says so as its last event. Who does not read is
told nothing more until he does, and costs what one buffer holds.
"""

from enum import Enum
from typing import Final

import msgspec
from aiohttp import web

from ...wire.bounds import prefix_end
from ...wire.errors import ErrorCode
from ...wire.frames import OK, RequestKind
from ...wire.limits import Limits
from ...wire.requests import decode_error
from ...wire.watches import (
    WatchCreated,
    WatchEvent,
    WatchEvents,
    WatchReply,
    WatchRequest,
    decode_watch_reply,
    encode_watch,
)
from . import targets
from .connections import ClientPort
from .errors import Problem, invalid, problem_document, problem_of
from .http_body import refuse_body
from .http_records import ShownRecord, shown
from .http_replies import add_common_headers
from .http_requests import check_length, list_header, one_header, respond
from .targets import Target
from .watch_stream import WatchStream

PATH: Final = "/v1/watch"
METHODS: Final = ("GET",)

_PARAMETERS: Final = frozenset(
    ("key", "key64", "prefix", "prefix64", "revision", "previous", "format", "wait")
)
# A quiet watch says how far it is: to whoever reads, and to whatever is in between.
PROGRESS_S: Final = 10.0
_WAIT_MS_MAX: Final = 600_000


class _Format(Enum):
    SSE = "sse"
    NDJSON = "ndjson"
    POLL = "poll"


class _Shown(msgspec.Struct):
    """`kv` is there for a put; `key` and `key64` say what was deleted."""

    type: str
    kv: ShownRecord
    previous: ShownRecord | msgspec.UnsetType


class _Told(msgspec.Struct):
    """All that one revision changed; without events: nothing more up to there."""

    revision: int
    events: list[_Shown]


_encoder = msgspec.json.Encoder()


class Watching:
    """The handler of PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits

    async def handle(
        self, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """Serve one of METHODS; raises Problem."""
        parameters = targets.parse_query(target.query, _PARAMETERS)
        await refuse_body(request)
        wanted = self._wanted(request, parameters)
        form, wait_ms = _format(request, parameters)
        stream = WatchStream(self._port)
        service = self._port.service
        service.submit(stream, 1, RequestKind.WATCH, encode_watch(wanted), 0)
        try:
            created = await self._next(stream, self._limits.timeout_ms_default / 1000)
            if not isinstance(created, WatchCreated):
                raise Problem(ErrorCode.INTERNAL, "the watch did not begin")
            begin = wanted.revision - 1 if wanted.revision else created.revision
            if form is _Format.POLL:
                return await self._poll(stream, begin, wait_ms)
            return await self._stream(request, stream, form, begin)
        finally:
            stream.close()
            service.gone(stream)

    async def _next(self, stream: WatchStream, timeout_s: float) -> WatchReply | None:
        """What was told next; None after so long. Raises the Problem that ended it."""
        said = await stream.next(timeout_s)
        if said is None:
            return None
        if said.status is None:
            reply = decode_watch_reply(said.body)
            if isinstance(reply, WatchEvents):
                if reply.more:
                    stream.gather(said)
                else:
                    stream.gathered(said.request_id)
            return reply
        if said.status == OK:
            raise Problem(ErrorCode.STOPPING, "the watch was ended")
        raise problem_of(decode_error(said.body, self._limits))

    def _wanted(
        self, request: web.BaseRequest, parameters: dict[str, bytes]
    ) -> WatchRequest:
        start, end = self._bounds(parameters)
        revision = 0
        if "revision" in parameters:
            revision = targets.revision("revision", parameters["revision"])
        last = one_header(request, "Last-Event-ID")
        if last is not None:
            # A browser that has lost its connection goes on behind what it has seen.
            revision = 1 + targets.number(
                "Last-Event-ID", last.encode("ascii", "replace"), 0, 2**64 - 2
            )
        previous = False
        if "previous" in parameters:
            previous = targets.flag("previous", parameters["previous"])
        return WatchRequest(start, end, revision, previous)

    def _bounds(self, parameters: dict[str, bytes]) -> tuple[bytes, bytes]:
        names = [n for n in ("key", "key64", "prefix", "prefix64") if n in parameters]
        if len(names) > 1:
            raise invalid("give one of key, key64, prefix and prefix64")
        if not names:
            return b"", b""
        name = names[0]
        data = parameters[name]
        if name.endswith("64"):
            data = targets.decode_base64(name, data)
        check_length(name, data, self._limits)
        if name.startswith("prefix"):
            return data, prefix_end(data)
        if not data:
            raise invalid("the key is empty")
        return data, data + b"\0"

    # -- a long poll -----------------------------------------------------------------

    async def _poll(
        self, stream: WatchStream, begin: int, wait_ms: int
    ) -> web.Response:
        """The first revision that comes; or, after the wait, how far it is."""
        loop = self._port.loop
        end = loop.time() + wait_ms / 1000
        told = _Told(begin, [])
        while True:
            reply = await self._next(stream, max(0.0, end - loop.time()))
            if reply is None:
                # A revision of which not all has come is told another time.
                told.events = []
                break
            if isinstance(reply, WatchEvents):
                told.events += map(_shown, reply.events)
                if reply.more:
                    continue
            told.revision = reply.revision
            if told.events:
                break
        return respond(told, told.revision)

    # -- a stream --------------------------------------------------------------------

    async def _stream(
        self, request: web.BaseRequest, stream: WatchStream, form: _Format, begin: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream"
                if form is _Format.SSE
                else "application/x-ndjson",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Accel-Buffering": "no",
                "Quorate-Revision": str(begin),
            }
        )
        add_common_headers(response, self._port)
        await response.prepare(request)
        told = _Told(begin, [])
        await response.write(_line(told, form))
        try:
            while True:
                reply = await self._next(stream, PROGRESS_S)
                if reply is None:
                    quiet = _Told(told.revision, [])
                    sse = form is _Format.SSE
                    await response.write(b":\n\n" if sse else _line(quiet, form))
                    continue
                if isinstance(reply, WatchEvents):
                    told.events += map(_shown, reply.events)
                    if reply.more:
                        continue
                told.revision = reply.revision
                await response.write(_line(told, form))
                told.events = []
        except Problem as problem:
            await response.write(_last_line(problem, form))
        await response.write_eof()
        response.force_close()
        return response


def _format(
    request: web.BaseRequest, parameters: dict[str, bytes]
) -> tuple[_Format, int]:
    """How it is to be told, and how long a poll waits."""
    if "wait" in parameters:
        wait = targets.duration_ms("wait", parameters["wait"], 0, _WAIT_MS_MAX)
        if "format" in parameters:
            raise invalid("wait is a long poll's, which has no format")
        return _Format.POLL, wait
    if "format" in parameters:
        known = {form.value.encode(): form for form in (_Format.SSE, _Format.NDJSON)}
        form = known.get(parameters["format"])
        if form is None:
            raise invalid("format is sse or ndjson")
        return form, 0
    accept = (list_header(request, "Accept") or "").lower()
    return (_Format.SSE if "text/event-stream" in accept else _Format.NDJSON), 0


def _shown(event: WatchEvent) -> _Shown:
    return _Shown(
        "put" if event.put else "delete",
        shown(event.record, keys_only=not event.put),
        msgspec.UNSET if event.previous is None else shown(event.previous),
    )


def _line(told: _Told, form: _Format) -> bytes:
    data = _encoder.encode(told)
    if form is _Format.NDJSON:
        return data + b"\n"
    return b"id: %d\ndata: %b\n\n" % (told.revision, data)


def _last_line(problem: Problem, form: _Format) -> bytes:
    document = problem_document(problem)
    if form is _Format.NDJSON:
        return b'{"error":' + document + b"}\n"
    return b"event: error\ndata: " + document + b"\n\n"
