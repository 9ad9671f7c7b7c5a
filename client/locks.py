"""Locks: one holder at a time, as long as its lease lasts.

Law: a lock is no mutual exclusion, since whoever was paused may not know yet that it is
lost (docs/consistency.md). Its token is: a write that carries it is refused as soon as
it is lost, by the cluster and not by anybody's clock.
"""

import asyncio
from types import TracebackType
from typing import Self

from .errors import InvalidRequest, QuorateError
from .leases import Lease
from .places import Place, Places, checked_wait


class Lock:
    """A lock, held while its context is open, and then released.

    `lost` is set when its lease is over: somebody else may hold the lock.
    """

    def __init__(
        self,
        places: Places,
        name: bytes,
        ttl: float,
        wait: float | None,
        timeout: float,
    ) -> None:
        self._places: Places = places
        self._ttl: float = ttl
        self._wait: float | None = checked_wait(wait)
        self._timeout: float = timeout
        self._acquiring: bool = False
        self._place: Place | None = None
        self.name: bytes = name

    async def acquire(self) -> Self:
        """Wait for the lock; Held when somebody else has it until the wait is over."""
        if self._acquiring or self._place is not None:
            raise InvalidRequest("this lock is acquired already")
        place = Place(self._places, self.name, self._ttl, self._timeout, b"")
        self._acquiring = True
        try:
            await place.take(self._wait)
        finally:
            self._acquiring = False
        self._place = place
        return self

    async def release(self) -> None:
        """Let others have it; one that is lost already is no error."""
        place = self._held()
        self._place = None
        await place.leave()

    @property
    def token(self) -> str:
        """What writes carry as `fence`."""
        return self._held().fence.token

    @property
    def key(self) -> bytes:
        """The key by which it is held."""
        return self._held().fence.key

    @property
    def revision(self) -> int:
        """The one at which its key was made; each holder has a higher one."""
        return self._held().fence.revision

    @property
    def lease(self) -> Lease:
        """What it hangs on, kept alive while it is held."""
        return self._held().lease

    @property
    def lost(self) -> asyncio.Event:
        return self._held().lease.lost

    def _held(self) -> Place:
        if self._place is None:
            raise InvalidRequest("the lock is not held")
        return self._place

    async def __aenter__(self) -> Self:
        return await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._place is None:
            # It was released inside.
            return
        try:
            await self.release()
        except QuorateError:
            # Nobody to tell: it ends by itself, and what came before counts more.
            if error is None:
                raise
