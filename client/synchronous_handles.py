"""What a synchronous client hands out: watches, leases, ranges; locks are next door.

Law: each keeps its client, whose thread ends when nobody refers to it any more. The end
of a context never replaces the error that it is left with. What was taken or made for a
caller who was interrupted, and was not given it, is put back or given up.
"""

from collections.abc import Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeVar

from .errors import Closed, QuorateError
from .leases import Lease, LeaseInfo
from .loop_thread import LoopThread
from .near_cache import NearCache
from .paging import Pager
from .values import KeyValue
from .watching import Event, Watch

T = TypeVar("T")


class Handle:
    """Something that is used on the thread of a client."""

    def __init__(self, client: object, thread: LoopThread) -> None:
        # Kept and never looked at: without it the thread would stop.
        self._client: object = client
        self._thread: LoopThread = thread

    def _leave(
        self, end: Coroutine[object, object, None], error: BaseException | None
    ) -> None:
        """End a context, which is left with this error."""
        try:
            self._thread.run(end)
        except QuorateError:
            # Nobody to tell: it ends by itself, and what came before counts more.
            if error is None:
                raise

    def _hang_up(self, end: Coroutine[object, object, None]) -> None:
        """Close something that the client, closed before it, has closed with it."""
        if self._thread.foreign:
            # What another process has opened is its own to close.
            end.close()
            return
        with suppress(Closed):
            self._thread.run(end)


class _Closing(Protocol):
    """What an asynchronous client hands out to be closed."""

    async def close(self) -> None: ...


class Closer(Handle):
    """It is closed as well by leaving its context; another thread may close it."""

    def __init__(self, client: object, thread: LoopThread, closing: _Closing) -> None:
        super().__init__(client, thread)
        self._closing: _Closing = closing

    def close(self) -> None:
        """As the asynchronous one's `close`."""
        self._hang_up(self._closing.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Source(_Closing, Protocol[T]):
    """One that is iterated over."""

    async def __anext__(self) -> T: ...
    def _put_back(self, item: T) -> None: ...


class Stream(Closer, Iterator[T]):
    """What comes is waited for."""

    def __init__(self, client: object, thread: LoopThread, source: _Source[T]) -> None:
        super().__init__(client, thread, source)
        self._source: _Source[T] = source
        # Was anything told?
        self._told: bool = False

    @property
    def _has_begun(self) -> bool:
        return self._told

    def __next__(self) -> T:
        try:
            found = self._thread.run(_next(self._source), self._put_back)
        except Closed:
            if not (self._has_begun and self._thread.stopped):
                raise
            # The client was closed in between, and this with it.
            found = ()
        if not found:
            raise StopIteration
        self._told = True
        return found[0]

    async def _put_back(self, found: tuple[T, ...]) -> None:
        for item in found:
            self._source._put_back(item)


class SyncWatch(Stream[Event]):
    """A watch, whose events are waited for; another thread may close it."""

    def __init__(self, client: object, thread: LoopThread, watch: Watch) -> None:
        super().__init__(client, thread, watch)
        self._watch: Watch = watch

    @property
    def _has_begun(self) -> bool:
        return self._watch.begun

    @property
    def revision(self) -> int:
        """As Watch.revision."""
        return self._watch.revision

    def begin(self) -> Self:
        """As Watch.begin."""
        self._thread.run(self._watch.begin())
        return self

    def __enter__(self) -> Self:
        self._thread.run(self._watch.__aenter__(), lambda _: self._watch.close())
        return self


class SyncNearCache(Closer):
    """A copy of some keys, which a watch on the client's own thread keeps right."""

    def __init__(self, client: object, thread: LoopThread, cache: NearCache) -> None:
        super().__init__(client, thread, cache)
        self._cache: NearCache = cache

    @property
    def revision(self) -> int:
        """As NearCache.revision."""
        return self._cache.revision

    def __len__(self) -> int:
        """As for NearCache."""
        return len(self._cache)

    def get(
        self,
        key: str | bytes,
        *,
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """As NearCache.get. Of what is in the copy any thread is told at once."""
        # In a forked child nothing keeps it right; there `run` says so.
        if not self._thread.foreign:
            found = self._cache.known(key, min_revision)
            if found is not None:
                return found[0]
        return self._thread.run(
            self._cache.get(key, min_revision=min_revision, timeout=timeout)
        )

    def entries(self) -> list[KeyValue]:
        """As NearCache.entries."""
        return self._thread.run(_entries(self._cache))

    def __enter__(self) -> Self:
        self._thread.run(self._cache.__aenter__(), lambda _: self._cache.close())
        return self


class SyncLease(Handle):
    """A lease, kept alive on the client's own thread while its context is open."""

    def __init__(self, client: object, thread: LoopThread, lease: Lease) -> None:
        super().__init__(client, thread)
        self._lease: Lease = lease

    def __index__(self) -> int:
        """As for Lease."""
        return self._lease.id

    @property
    def id(self) -> int:
        """As Lease.id."""
        return self._lease.id

    @property
    def ttl(self) -> float:
        """As Lease.ttl."""
        return self._lease.ttl

    @property
    def left(self) -> float:
        """As Lease.left."""
        return self._lease.left

    @property
    def lost(self) -> bool:
        """Is its time over?"""
        return self._lease.over

    def grant(self) -> Self:
        """As Lease.grant."""
        self._thread.run(self._lease.grant(), lambda _: self._lease._ungrant())
        return self

    def revoke(self) -> None:
        """As Lease.revoke."""
        self._thread.run(self._lease.revoke())

    def abandon(self) -> None:
        """As Lease.abandon."""
        self._thread.run(self._lease.abandon())

    def info(self, *, keys: bool = False) -> LeaseInfo:
        """As Lease.info."""
        return self._thread.run(self._lease.info(keys=keys))

    def __enter__(self) -> Self:
        return self.grant()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self._lease.__aexit__(kind, error, trace), error)


class SyncPager(Handle, Iterator[KeyValue]):
    """An ordinary iterator over the records of a range, read page by page."""

    def __init__(self, client: object, thread: LoopThread, pager: Pager) -> None:
        super().__init__(client, thread)
        self._pager: Pager = pager
        # The last page from its end, so that taking the next record is a pop.
        self._page: list[KeyValue] = []

    @property
    def revision(self) -> int:
        """As Pager.revision: what all pages show, 0 before the first one."""
        return self._pager.revision

    def __next__(self) -> KeyValue:
        if not self._page:
            # A thread's hand-over costs more than a record: one for each page.
            self._page = self._thread.run(_next_page(self._pager), self._put_back)
        if not self._page:
            raise StopIteration
        # No call of `pop`, behind which a signal handler may run and keep it from us.
        record = self._page[-1]
        del self._page[-1]
        return record

    async def _put_back(self, page: list[KeyValue]) -> None:
        self._page = page


async def _entries(cache: NearCache) -> list[KeyValue]:
    """On its own thread: elsewhere it would change meanwhile."""
    return cache.entries()


async def _next_page(pager: Pager) -> list[KeyValue]:
    """The next page from its end."""
    page = await pager.next_page()
    page.reverse()
    return page


async def _next(source: _Source[T]) -> tuple[T, ...]:
    """The next one; nothing at the end, since a StopIteration can't leave a coroutine.

    None may be one, too: of leaders it says that nobody leads.
    """
    try:
        return (await source.__anext__(),)
    except StopAsyncIteration:
        return ()
