"""`/v3/watch`: etcd's stream of events, one message a chunk.

Law: the messages of the body are taken first, then all their watches are told on one
stream; one that they take back is told that it began and that it is over. A revision is
one message, and its header says that revision: whoever goes on from behind it misses
nothing; so does whoever goes on from behind a progress that was asked for. A node that
loses its leader ends the stream with code 14, which etcd does not: its clients then ask
another one.
"""

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec
from aiohttp import web

from ....wire.errors import ErrorCode
from ....wire.frames import OK, RequestKind
from ....wire.limits import Limits
from ....wire.requests import ErrorReply, decode_error
from ....wire.watches import (
    WatchCreated,
    WatchEvent,
    WatchEvents,
    WatchRequest,
    decode_watch_reply,
    encode_watch,
)
from ..connections import ClientPort
from ..errors import Problem, problem_of
from ..http_replies import add_common_headers
from ..http_requests import JSON_HEADERS
from ..watch_stream import Said, WatchStream
from .bodies import (
    Body,
    Number,
    Text,
    choice,
    documents,
    int64,
    is_there,
    listed,
    octets,
)
from .documents import bound, checked_length
from .errors import (
    RESOURCE_EXHAUSTED,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    EtcdProblem,
    error_frame,
    invalid_argument,
)
from .replies import (
    Event,
    KeyValue,
    Speaker,
    WatchReply,
    key_value,
    message,
    number,
)

# Watches of one request; messages, as most of them may take a watch back.
WATCHES_MAX: Final = 1000
MESSAGES_MAX: Final = 2000
# There are two of them.
_FILTERS_MAX: Final = 128
# A quiet watch that asked for it is told so often that nothing has happened, when the
# node has said so.
PROGRESS_S: Final = 60.0
_FOREVER_S: Final = 3600.0
_NO_PUT, _NO_DELETE = ("NOPUT", 0), ("NODELETE", 1)
# Why a watch ends as it begins, in etcd's words, and the id that it has then.
_EMPTY_RANGE: Final = "mvcc: watcher range is empty"
_ID_TAKEN: Final = "mvcc: duplicate watch ID provided on the WatchStream"
_NO_ID: Final = -1
# Whom a progress is for that was asked for: all watches of the stream.
_ALL: Final = "-1"
# What a watch that is over asks for: it learns the revision, and is told nothing.
_NOTHING: Final = WatchRequest(b"\0", b"\0", 0, False, True, True)


class _FilterType(IntEnum):
    NOPUT = 0
    NODELETE = 1


class _Create(msgspec.Struct):
    key: Text = None
    range_end: Text = None
    start_revision: Number = None
    progress_notify: bool | None = None
    filters: msgspec.Raw = msgspec.Raw()
    prev_kv: bool | None = None
    watch_id: Number = None
    fragment: bool | None = None


class _Watch(msgspec.Struct):
    create_request: msgspec.Raw = msgspec.Raw()
    cancel_request: msgspec.Raw = msgspec.Raw()
    progress_request: msgspec.Raw = msgspec.Raw()


class _Cancel(msgspec.Struct):
    watch_id: Number = None


class _Progress(msgspec.Struct):
    pass


_watches: Final = Body(_Watch)
_creates: Final = Body(_Create)
_cancels: Final = Body(_Cancel)
_progresses: Final = Body(_Progress)
_filters: Final = msgspec.json.Decoder(list[int | str])


class _Open(msgspec.Struct):
    """One watch: its id for the client, and what of its revision has come so far."""

    watch_id: int
    refusal: str = ""
    # A later message of the same body takes it back.
    taken_back: bool = False
    # From which revision on it wants to be told; 0: the next one.
    start: int = 0
    events: list[Event] = []
    begun: bool = False
    # Whether it wants to be told that nothing happens, and when it was told something.
    notify: bool = False
    told_at: float = 0.0
    # Where the store was as it began, and up to where it has been told everything.
    began_at: int = 0
    told_to: int = 0

    @property
    def is_over(self) -> bool:
        """Is it told of nothing, but that it is over?"""
        return self.taken_back or bool(self.refusal)

    @property
    def caught_up(self) -> bool:
        return self.begun and self.told_to >= self.began_at


# How a watch is told, and what is asked for.
Wanted: TypeAlias = tuple[_Open, WatchRequest]


class Wishes(NamedTuple):
    """What the messages of a body leave: watches, and how often progress is asked."""

    watches: list[Wanted]
    progresses: int


class _Stream:
    """What is told on one stream, and what is still to be said."""

    def __init__(self, opened: dict[int, _Open], progresses: int) -> None:
        # By the numbers of their requests.
        self.opened: dict[int, _Open] = opened
        # Progress is told when all have caught up.
        self.progresses: int = progresses
        self._behind: set[int] = set(opened)

    def look(self, request_id: int) -> None:
        """A watch was told something."""
        if self.opened[request_id].caught_up:
            self._behind.discard(request_id)

    def remove(self, request_id: int) -> _Open:
        """A watch has ended."""
        self._behind.discard(request_id)
        return self.opened.pop(request_id)

    def told_to(self, now: int) -> int | None:
        """Up to where all of them were told everything; None while one is behind."""
        if self._behind:
            return None
        watches = self.opened.values()
        return min([each.told_to for each in watches if not each.is_over], default=now)


class Watching:
    """Serves the stream."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker
        self._limits: Limits = port.options.limits

    async def answer(
        self, request: web.BaseRequest, wanted: Wishes
    ) -> web.StreamResponse:
        """Tell all watches that are wanted until the reader or the node has gone."""
        stream = WatchStream(self._port)
        service = self._port.service
        response = web.StreamResponse(headers=JSON_HEADERS)
        add_common_headers(response, self._port)
        try:
            opened = self._begin(stream, wanted.watches)
            told = _Stream(opened, wanted.progresses)
            # Keys may be long, and there may be many of them.
            del wanted
            await response.prepare(request)
            await self._tell(response, stream, told)
        finally:
            stream.close()
            service.gone(stream)
        await response.write_eof()
        response.force_close()
        return response

    def _begin(self, stream: WatchStream, wanted: list[Wanted]) -> dict[int, _Open]:
        """Begin the watches; the numbers of their requests."""
        opened: dict[int, _Open] = {}
        for request_id, (watch, asked) in enumerate(wanted, 1):
            opened[request_id] = watch
            data = encode_watch(asked)
            self._port.service.submit(stream, request_id, RequestKind.WATCH, data, 0)
        return opened

    async def _tell(
        self,
        response: web.StreamResponse,
        source: WatchStream,
        stream: _Stream,
    ) -> None:
        while True:
            if stream.progresses:
                await self._tell_progress(response, stream)
            said = await source.next(_FOREVER_S)
            if said is None:
                continue
            if said.status is None:
                try:
                    opened = stream.opened[said.request_id]
                    await self._told(response, source, opened, said)
                except Problem as problem:
                    await response.write(error_frame(problem))
                    return
                stream.look(said.request_id)
                continue
            watch = stream.remove(said.request_id)
            source.gathered(said.request_id)
            if said.status == OK:
                continue
            error = decode_error(said.body, self._limits)
            if error.code != ErrorCode.COMPACTED:
                await response.write(error_frame(problem_of(error)))
                return
            await self._cancelled(response, watch, error)

    async def _tell_progress(
        self, response: web.StreamResponse, stream: _Stream
    ) -> None:
        """Answer all who asked, once, when nothing is still to come."""
        told_to = stream.told_to(self._port.service.position().revision)
        if told_to is None:
            return
        reply = message(WatchReply(self._speaker.header(told_to), _ALL))
        for _ in range(stream.progresses):
            await response.write(reply)
        stream.progresses = 0

    async def _told(
        self,
        response: web.StreamResponse,
        source: WatchStream,
        watch: _Open,
        said: Said,
    ) -> None:
        """One thing that a watch was told."""
        told, now = decode_watch_reply(said.body), self._port.loop.time()
        reply = WatchReply(self._speaker.header(told.revision), number(watch.watch_id))
        if isinstance(told, WatchCreated):
            watch.begun = reply.created = True
            watch.began_at = told.revision
            if not 0 < watch.start <= told.revision:
                # It is told of what comes.
                watch.told_to = told.revision
            reply.canceled = bool(watch.refusal)
            reply.cancel_reason = watch.refusal
        elif isinstance(told, WatchEvents):
            watch.events += map(_event, told.events)
            if told.more:
                source.gather(said)
                return
            source.gathered(said.request_id)
            watch.told_to = told.revision
            reply.events, watch.events = watch.events, []
        else:
            watch.told_to = told.revision
            if not watch.notify or now - watch.told_at < PROGRESS_S:
                return
        watch.told_at = now
        await response.write(message(reply))
        if reply.created and watch.taken_back:
            end = WatchReply(reply.header, reply.watch_id, canceled=True)
            await response.write(message(end))

    async def _cancelled(
        self, response: web.StreamResponse, watch: _Open, error: ErrorReply
    ) -> None:
        """What it still needs was compacted; the stream stays open, as in etcd."""
        watch_id = number(watch.watch_id)
        if not watch.begun:
            begun = WatchReply(self._speaker.header(), watch_id, created=True)
            await response.write(message(begun))
        header = self._speaker.header(0)
        end = WatchReply(header, watch_id, canceled=True)
        end.compact_revision = number(error.revision)
        await response.write(message(end))


class _Messages:
    """The watches of a body, in their order, each under an id of its own."""

    def __init__(self) -> None:
        # By the number of the message.
        self.watches: dict[int, Wanted] = {}
        # Of those that are not refused: by id, the number of the message.
        self._numbers: dict[int, int] = {}
        self._next_id: int = 0
        self.progresses: int = 0
        self._taken_back: int = 0

    @property
    def too_many(self) -> bool:
        return len(self.watches) - self._taken_back > WATCHES_MAX

    def create(self, message_number: int, create: _Create) -> None:
        """Take a watch; one that can't be is told why."""
        request, watch_id = _request(create), int64(create.watch_id)
        if request.end and request.start >= request.end:
            opened, request = _Open(_NO_ID, _EMPTY_RANGE), _NOTHING
        elif watch_id and watch_id in self._numbers:
            opened, request = _Open(_NO_ID, _ID_TAKEN), _NOTHING
        else:
            notify = bool(create.progress_notify)
            opened = _Open(watch_id or self._free_id(), notify=notify)
            opened.start = request.revision
            self._numbers[opened.watch_id] = message_number
        self.watches[message_number] = opened, request

    def cancel(self, watch_id: int) -> None:
        """Take a watch back; its id is free again, for whoever names it."""
        message_number = self._numbers.pop(watch_id, None)
        if message_number is not None:
            opened, _ = self.watches[message_number]
            opened.taken_back, opened.start = True, 0
            self.watches[message_number] = opened, _NOTHING
            self._taken_back += 1

    def _free_id(self) -> int:
        # As in etcd, none is chosen twice.
        while self._next_id in self._numbers:
            self._next_id += 1
        chosen = self._next_id
        self._next_id += 1
        return chosen


def parse_watches(body: bytes) -> Wishes:
    """What the messages of a body leave."""
    wanted = _Messages()
    for message_number, document in enumerate(documents(body)):
        said = _watches.parse_first(document)
        if said is None:
            break
        if is_there(said.create_request):
            wanted.create(message_number, _creates.parse(said.create_request))
        elif is_there(said.cancel_request):
            wanted.cancel(int64(_cancels.parse(said.cancel_request).watch_id))
        elif is_there(said.progress_request):
            _progresses.parse(said.progress_request)
            wanted.progresses += 1
        if message_number >= MESSAGES_MAX or wanted.too_many:
            raise EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)
    return Wishes(list(wanted.watches.values()), wanted.progresses)


def _request(create: _Create) -> WatchRequest:
    # No key is one zero byte, in etcd as here.
    start = checked_length(octets(create.key)) or b"\0"
    end = bound(create.range_end)
    filters = listed(_filters, create.filters, _FILTERS_MAX)
    if filters is None:
        raise invalid_argument(TOO_LARGE)
    for each in filters:
        if each not in _NO_PUT and each not in _NO_DELETE:
            # Refused, as is all that an enum does not have.
            choice(_FilterType, "etcdserverpb.WatchCreateRequest.FilterType", each)
    revision = int64(create.start_revision)
    return WatchRequest(
        start,
        start + b"\0" if end is None else end,
        # A number below 0 is no revision, and older than all: not the next one.
        revision if revision >= 0 else 1,
        bool(create.prev_kv),
        not any(each in _NO_PUT for each in filters),
        not any(each in _NO_DELETE for each in filters),
    )


def _event(event: WatchEvent) -> Event:
    record = event.record
    if event.put:
        shown = Event("", key_value(record))
    else:
        shown = Event("DELETE", KeyValue(record.key, "", number(record.mod_revision)))
    if event.previous is not None:
        shown.prev_kv = key_value(event.previous)
    return shown
