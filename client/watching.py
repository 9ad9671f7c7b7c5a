"""Watches: an iterator over changes that finds its way by itself.

Law: each change once, in order, a revision whole: what was delivered is counted by
revisions, and after anything that breaks, the watch goes on behind the last one, at
whichever node answers. It ends only when it is closed, when what it still needs was
compacted (Compacted), or when no node can be reached for `patience` seconds.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from math import inf
from types import TracebackType
from typing import Final, NamedTuple, Self

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
from .endpoints import Endpoint
from .errors import (
    Closed,
    QuorateError,
    TlsFailed,
    Unauthenticated,
    Unavailable,
)
from .links import ConnectFailed, Link
from .refusals import error_of
from .values import KeyValue, check_watch

# What was received and not taken yet; over it the node is not listened to.
BUFFERED_BYTES_MAX: Final = 4 << 20
# So often the node is asked whether it is still there, and so long it may think.
PING_SECONDS: Final = 5.0
PING_PATIENCE_SECONDS: Final = 3.0
_PAUSE_SECONDS_MIN: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 1.0
# One try is left so much of the time when there are many nodes: all of them but a few
# answer at once, and a smaller share would be over before a slow one has.
_SHARES_MAX: Final = 4
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


class _Missed(NamedTuple):
    """Why a node does not have the watch, or no more."""

    endpoint: Endpoint
    reason: str
    verdict: type[QuorateError] = Unavailable
    # It would not have it on trying again.
    hopeless: bool = False
    # The time was over: that takes the place of no reason that explains something.
    vague: bool = False


class _Search:
    """The way to a node that takes the watch: who was asked, and what he said."""

    def __init__(self, until: float, *, first: bool) -> None:
        self.until: float = until
        # No node has taken it yet: who begins it waits.
        self.first: bool = first
        # Since all were asked.
        self.tried: set[Endpoint] = set()
        self.pause: float = _PAUSE_SECONDS_MIN
        self._hopeless: set[Endpoint] = set()
        self._reasons: dict[Endpoint, str] = {}
        self._verdict: type[QuorateError] = Unavailable

    def missed(self, missed: _Missed) -> None:
        at = missed.endpoint
        self.tried.add(at)
        if missed.hopeless:
            self._hopeless.add(at)
        if not missed.vague:
            self._verdict = missed.verdict
        if not missed.vague or at not in self._reasons:
            self._reasons[at] = missed.reason

    def hopeless(self, endpoints: list[Endpoint]) -> bool:
        """Is there no use in asking any of them again?"""
        return self._hopeless.issuperset(endpoints)

    def error(self) -> QuorateError:
        told = "; ".join(f"{at}: {why}" for at, why in self._reasons.items())
        return self._verdict(f"no node takes the watch: {told}")


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
        check_watch(request)
        self._calls: Calls = calls
        # Of the client, which closes those that are still open when it is closed.
        self._open_watches: set[Watch] = open_watches
        self._request: WatchRequest = request
        self._timeout: float = timeout
        self._patience: float = patience
        # Whether the present node has taken it, and not only an earlier one.
        self._taken: bool = False
        # The first revision that was not received whole; 0: not known yet.
        self._next: int = request.revision
        self._events: deque[Event] = deque()
        self._part: list[Event] = []
        self._buffered: int = 0
        self._link: Link | None = None
        self._connection: Connection | None = None
        # Ways that were left, until nothing of them is open.
        self._leaving: set[asyncio.Task[None]] = set()
        self._paused: bool = False
        self._woken: asyncio.Event = asyncio.Event()
        # A node has taken it, or none will.
        self._begun: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._broken: str | None = None
        self._closed: bool = False

    @property
    def revision(self) -> int:
        """Everything up to this revision was taken, or did not concern it.

        A revision of several keys is taken with the last of them. What is to go on
        later begins at the revision behind this one.
        """
        first = self._events[0].revision if self._events else self._next
        return max(0, first - 1)

    @property
    def begun(self) -> bool:
        """Was any node asked?"""
        return self._task is not None

    # -- for callers -------------------------------------------------------------------

    async def begin(self) -> Self:
        """Wait until some node has taken the watch."""
        if not self._closed:
            await self._begin()
        if self._closed:
            raise Closed("the watch is closed")
        if self._error is not None:
            raise self._error
        return self

    async def __aenter__(self) -> Self:
        try:
            return await self.begin()
        except BaseException:
            # Nobody comes to the end of a context that he has not entered.
            await self.close()
            raise

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
            await self._begin()
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

    def _put_back(self, item: Event) -> None:
        """It was taken for nobody: it comes again, before all others."""
        if self._closed:
            self._next = min(self._next, item.revision)
            return
        self._events.appendleft(item)
        self._buffered += _size(item)
        self._woken.set()

    async def close(self) -> None:
        """End the watch; what was not taken is dropped."""
        self._closed = True
        if self._events:
            # What is dropped was not taken, and stays so for who asks for the revision.
            self._next = self._events[0].revision
            self._events.clear()
        self._woken.set()
        self._begun.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._all_left()

    # -- its task ----------------------------------------------------------------------

    async def _begin(self) -> None:
        """Wait until that has come to something, whatever it is."""
        if self._task is None:
            self._open_watches.add(self)
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._over)
        await self._begun.wait()

    async def _run(self) -> None:
        """Keep a watch open at some node until it is closed or can't go on."""
        try:
            await self._keep_open()
        except QuorateError as error:
            # Told before all connections are closed: somebody has a deadline.
            self._fail(error)
        finally:
            self._hang_up()
            await self._all_left()

    def _over(self, task: asyncio.Task[None]) -> None:
        """However it ended, nobody is left waiting for it."""
        self._open_watches.discard(self)
        if task.cancelled():
            self._fail(Unavailable("the watch was cancelled"))
        elif (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._woken.set()
        self._begun.set()

    # -- the way to a node -------------------------------------------------------------

    async def _keep_open(self) -> None:
        """One node after the other; raises why there is none."""
        loop = asyncio.get_running_loop()
        search = _Search(loop.time() + self._timeout, first=True)
        while True:
            missed = await self._watch_somewhere(search)
            if self._taken:
                search = _Search(loop.time() + self._patience, first=False)
            search.missed(missed)
            endpoints = self._calls.endpoints
            if search.first and search.hopeless(endpoints):
                raise search.error()
            # Who was not asked yet is asked at once.
            again = search.tried.issuperset(endpoints)
            pause = search.pause if again or self._taken else 0.0
            if loop.time() + pause >= search.until:
                raise search.error()
            await asyncio.sleep(pause)
            if again:
                search.tried.clear()
                search.pause = min(2 * search.pause, _PAUSE_SECONDS_MAX)

    async def _watch_somewhere(self, search: _Search) -> _Missed:
        """One node, until the watch breaks there; why it did."""
        self._taken, self._broken = False, None
        link = self._link = self._calls.next_link(search.tried)
        share = self._share(search)
        until = asyncio.get_running_loop().time() + share
        try:
            connection = await link.connect(share)
        except ConnectFailed as failed:
            return _not_connected(link.endpoint, failed)
        else:
            await self._listen(connection, until, search)
        finally:
            self._hang_up()
        if self._error is not None:
            raise self._error
        return _Missed(link.endpoint, self._broken or "it ended")

    def _share(self, search: _Search) -> float:
        """How long one node may take: it may be mute, and others want to be asked."""
        left = max(0.0, search.until - asyncio.get_running_loop().time())
        count = len(self._calls.endpoints)
        if not search.first:
            return min(left, self._timeout / min(count, _SHARES_MAX))
        return left / max(1, min(count - len(search.tried), _SHARES_MAX))

    async def _listen(
        self, connection: Connection, until: float, search: _Search
    ) -> None:
        """Until it breaks, or `until`, by when the node has to have taken it."""
        self._connection = connection
        self._part.clear()
        self._pause_if_full()
        request = msgspec.structs.replace(self._request, revision=self._next)
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def taken(frame: ReplyFrame | RequestFailed) -> None:
            if self._closed or self._connection is not connection:
                # It was left: nothing that it says counts any more.
                return
            if self._broken is None:
                self._take(frame)
            if self._broken is not None or self._error is not None:
                gone.set()

        connection.stream(RequestKind.WATCH, encode_watch(request), taken)
        while not gone.is_set():
            paused = self._paused
            end = inf if self._taken or paused else until
            try:
                async with asyncio.timeout(min(PING_SECONDS, end - loop.time())):
                    await gone.wait()
            except TimeoutError:
                end = inf if self._taken or paused else until
                if loop.time() >= end:
                    self._broken = "it has not taken the watch in time"
                    return
                await self._ping(connection, end)
            if paused:
                # What a node may have said is not read: that time is not its own.
                until = loop.time() + self._timeout
                search.until = max(search.until, loop.time() + self._patience)

    async def _ping(self, connection: Connection, end: float) -> None:
        """A node that has died without a word breaks the connection here."""
        if self._paused:
            return
        now = asyncio.get_running_loop().time()
        patience = min(PING_PATIENCE_SECONDS, end - now)
        try:
            await connection.request(
                RequestKind.PING, b"", int(patience * 1000), now + patience
            )
        except RequestFailed as failed:
            if not self._paused:
                connection.close(failed.reason)

    def _hang_up(self) -> None:
        """Leave the present node. A mute one does not keep the next one waiting."""
        self._connection = None
        self._paused = False
        link, self._link = self._link, None
        if link is not None:
            leaving = asyncio.create_task(link.close("the watch has ended"))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _all_left(self) -> None:
        if self._leaving:
            await asyncio.wait(self._leaving)

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
            self._fail(error_of(error))

    def _told(self, told: WatchEvents) -> None:
        """A revision is handed out when all of it is here."""
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


def _not_connected(endpoint: Endpoint, failed: ConnectFailed) -> _Missed:
    unavailable = TlsFailed if failed.tls else Unavailable
    verdict = Unauthenticated if failed.refused else unavailable
    return _Missed(endpoint, failed.reason, verdict, failed.hopeless, failed.too_slow)
