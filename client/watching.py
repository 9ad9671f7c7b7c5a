"""Watches: an iterator over changes that finds its way by itself.

Law: each change once, in order, a revision whole: what was delivered is counted by
revisions, and after anything that breaks, the watch goes on behind the last one, at
whichever node answers. It ends only when it is closed, when what it still needs was
compacted (Compacted), or when no node can be reached for `patience` seconds.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import msgspec

from ..wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    ErrorReply,
    ProtocolError,
    ReplyFrame,
    RequestKind,
    WatchCreated,
    WatchEvent,
    WatchEvents,
    WatchRequest,
    decode_error,
    decode_watch_reply,
    encode_watch,
)
from .calls import Calls
from .connection import Connection, RequestFailed
from .errors import QuorateError, Unauthenticated, Unavailable
from .links import ConnectFailed, Link
from .refusals import error_of
from .values import KeyValue

# What was received and not taken yet; over it the node is not listened to.
BUFFERED_BYTES_MAX: Final = 4 << 20
# So often the node is asked whether it is still there, and so long it may think.
PING_SECONDS: Final = 5.0
PING_PATIENCE_SECONDS: Final = 3.0
_PAUSE_SECONDS_MIN: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 1.0
_GO_ON: Final = frozenset(
    (
        ErrorCode.NO_LEADER,
        ErrorCode.STOPPING,
        ErrorCode.TOO_BUSY,
        ErrorCode.DAMAGED,
    )
)


class Event(msgspec.Struct, frozen=True):
    """One key changed at `revision`. `kv` is None when it was deleted.

    `previous` is what was there before, where it was asked for and is still kept.
    """

    revision: int
    key: bytes
    kv: KeyValue | None
    previous: KeyValue | None = None

    @property
    def deleted(self) -> bool:
        return self.kv is None

    @property
    def created(self) -> bool:
        """Was there no such key before?"""
        return self.kv is not None and self.kv.version == 1

    @classmethod
    def of(cls, revision: int, event: WatchEvent) -> Self:
        """The caller's view of what came over the wire."""
        kv = KeyValue.of(event.record) if event.put else None
        before = None if event.previous is None else KeyValue.of(event.previous)
        return cls(revision, event.record.key, kv, before)


class Watch(AsyncIterator[Event]):
    """An asynchronous iterator over events; close it, or use it as a context.

    Entering the context, or taking the first event, begins the watch.
    """

    def __init__(
        self,
        calls: Calls,
        request: WatchRequest,
        timeout: float,
        patience: float,
        open_watches: "set[Watch]",
    ) -> None:
        self._calls: Calls = calls
        # Of the client, which closes those that are still open when it is closed.
        self._open_watches: set[Watch] = open_watches
        self._request: WatchRequest = request
        self._timeout: float = timeout
        self._patience: float = patience
        # Whether the present node has taken it, and not only an earlier one.
        self._taken: bool = False
        # The first revision that was not delivered whole; 0: not known yet.
        self._next: int = request.revision
        self._events: deque[Event] = deque()
        self._part: list[Event] = []
        self._buffered: int = 0
        self._link: Link | None = None
        self._connection: Connection | None = None
        self._paused: bool = False
        self._woken: asyncio.Event = asyncio.Event()
        self._begun: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: QuorateError | None = None
        self._broken: str | None = None
        self._closed: bool = False

    @property
    def revision(self) -> int:
        """Everything up to this revision was delivered, or did not concern it."""
        return max(0, self._next - 1)

    @property
    def begun(self) -> bool:
        """Was any node asked?"""
        return self._task is not None

    # -- for callers -------------------------------------------------------------------

    async def begin(self) -> Self:
        """Wait until some node has taken the watch."""
        if self._closed:
            raise Unavailable("the watch is closed")
        if self._task is None:
            self._open_watches.add(self)
            self._task = asyncio.create_task(self._run())
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({begun, self._task}, return_when="FIRST_COMPLETED")
        finally:
            begun.cancel()
        if self._error is not None:
            raise self._error
        return self

    async def __aenter__(self) -> Self:
        return await self.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._task is None and not self._closed:
            await self.begin()
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._woken.clear()
            await self._woken.wait()
        event = self._events.popleft()
        self._buffered -= _size(event)
        if self._paused and self._buffered < BUFFERED_BYTES_MAX // 2:
            self._paused = False
            if self._connection is not None:
                self._connection.resume_reading()
        return event

    async def close(self) -> None:
        """End the watch; what was not taken is dropped."""
        self._closed = True
        self._open_watches.discard(self)
        self._events.clear()
        self._woken.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._hang_up()

    # -- the way to a node -------------------------------------------------------------

    async def _run(self) -> None:
        """Keep a watch open at some node until it is closed or can't go on."""
        loop = asyncio.get_running_loop()
        pause, since = _PAUSE_SECONDS_MIN, loop.time()
        try:
            while True:
                self._taken = False
                reason = await self._watch_somewhere()
                if self._taken:
                    pause, since = _PAUSE_SECONDS_MIN, loop.time()
                allowed = self._patience if self._begun.is_set() else self._timeout
                if loop.time() - since + pause > allowed:
                    raise Unavailable(f"no node takes the watch: {reason}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        except QuorateError as error:
            self._error = error
            self._open_watches.discard(self)
            self._woken.set()

    async def _watch_somewhere(self) -> str:
        """One node, until the watch breaks there; why it did."""
        self._broken = None
        link = self._link = self._calls.next_link()
        try:
            connection = await link.connect(self._timeout)
        except ConnectFailed as failed:
            await self._hang_up()
            reason = f"{link.endpoint}: {failed.reason}"
            if failed.refused and not self._begun.is_set():
                raise Unauthenticated(reason) from None
            return reason
        self._connection = connection
        self._part.clear()
        self._pause_if_full()
        request = msgspec.structs.replace(self._request, revision=self._next)
        gone = asyncio.Event()

        def taken(frame: ReplyFrame | RequestFailed) -> None:
            if self._broken is None:
                self._take(frame)
            if self._broken is not None or self._error is not None:
                gone.set()

        connection.stream(RequestKind.WATCH, encode_watch(request), taken)
        while not gone.is_set():
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await gone.wait()
            except TimeoutError:
                await self._ping(connection)
        reason = self._broken or "it ended"
        await self._hang_up()
        if self._error is not None:
            raise self._error
        return f"{link.endpoint}: {reason}"

    async def _ping(self, connection: Connection) -> None:
        """A node that has died without a word breaks the connection here."""
        if self._paused:
            return
        patience = PING_PATIENCE_SECONDS
        deadline = asyncio.get_running_loop().time() + patience
        try:
            await connection.request(
                RequestKind.PING, b"", int(patience * 1000), deadline
            )
        except RequestFailed as failed:
            if not self._paused:
                connection.close(failed.reason)

    async def _hang_up(self) -> None:
        self._connection = None
        self._paused = False
        if self._link is not None:
            # Kept until it is closed: who cancels this in the middle comes again.
            await self._link.close("the watch has ended")
            self._link = None

    # -- what comes --------------------------------------------------------------------

    def _take(self, frame: ReplyFrame | RequestFailed) -> None:
        if isinstance(frame, RequestFailed):
            self._broken = frame.reason
            return
        try:
            if frame.status != OK:
                self._ended(decode_error(frame.body, DEFAULT_LIMITS))
                return
            told = decode_watch_reply(frame.body)
        except ProtocolError as error:
            self._broken = f"a malformed reply: {error.reason}"
            return
        if isinstance(told, WatchEvents):
            self._told(told)
        elif isinstance(told, WatchCreated):
            self._next = self._next or told.revision + 1
            self._taken = True
            self._begun.set()
        elif self._part:
            self._broken = "a revision was cut"
        else:
            self._next = max(self._next, told.revision + 1)

    def _ended(self, error: ErrorReply) -> None:
        if error.code in _GO_ON:
            self._broken = error.message
        else:
            self._error = error_of(error)
            self._woken.set()

    def _told(self, told: WatchEvents) -> None:
        """A revision is delivered when all of it is here."""
        if told.revision < self._next:
            self._broken = f"revision {told.revision} came again"
            return
        if self._part and self._part[0].revision != told.revision:
            self._broken = "a revision was cut"
            return
        self._part += [Event.of(told.revision, event) for event in told.events]
        if told.more:
            return
        events, self._part = self._part, []
        self._next = told.revision + 1
        self._events += events
        self._buffered += sum(map(_size, events))
        self._woken.set()
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if self._buffered >= BUFFERED_BYTES_MAX and self._connection is not None:
            self._paused = True
            self._connection.pause_reading()


def _size(event: Event) -> int:
    size = len(event.key) + 100
    for kv in (event.kv, event.previous):
        size += 0 if kv is None else len(kv.value)
    return size
