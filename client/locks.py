"""Locks: one holder at a time, as long as its lease lasts.

Law: a lock is no mutual exclusion, since whoever was paused may not know yet that it is
lost (docs/consistency.md). Its token is: a write that carries it is refused as soon as
it is lost, by the cluster and not by anybody's clock.
"""

from typing import Self

from .places import Holding, Places, checked_wait


class Lock(Holding):
    """A lock, held while its context is open, and then released.

    `lost` is set when its lease is over: somebody else may hold the lock.
    """

    _twice = "this lock is acquired already"
    _nothing = "the lock is not held"

    def __init__(
        self,
        places: Places,
        name: bytes,
        ttl: float,
        wait: float | None,
        timeout: float,
    ) -> None:
        super().__init__(places, name, ttl, timeout)
        self._wait: float | None = checked_wait(wait)

    async def acquire(self) -> Self:
        """Wait for the lock; Held when somebody else has it until the wait is over."""
        await self._take(b"", self._wait)
        return self

    async def release(self) -> None:
        """Let others have it; one that is lost already is no error.

        To be tried again if it fails; else it goes with its lease.
        """
        await self._give_up()

    @property
    def key(self) -> bytes:
        """The key by which it is held."""
        return self._held().fence.key

    @property
    def revision(self) -> int:
        """The one at which its key was made; each holder has a higher one."""
        return self._held().fence.revision

    async def __aenter__(self) -> Self:
        return await self.acquire()
