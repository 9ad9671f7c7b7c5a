"""Service discovery: who is there is a key on a lease; who looks keeps a watch.

A service that dies, or is cut off, is gone from the list when its lease ends; one that
comes back lists itself anew.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from quorate import AsyncClient
from quorate.client import Compacted, DeadlineExceeded, QuorateError, Unavailable

TTL_SECONDS = 10.0
PAUSE_SECONDS = 1.0


@asynccontextmanager
async def registered(
    kv: AsyncClient, service: str, address: str
) -> AsyncGenerator[str]:
    """Be found under `service` at `address` while this context is open.

    The key is not there while no node can be reached for longer than a lease lasts.
    """
    key = f"services/{service}/{secrets.token_hex(8)}"
    async with kv.lease(TTL_SECONDS) as lease:
        await kv.put(key, address, lease=lease)
        listing = asyncio.create_task(stay_listed(kv, key, address, lease.lost))
        try:
            yield key
        finally:
            listing.cancel()
            await asyncio.gather(listing, return_exceptions=True)


async def stay_listed(
    kv: AsyncClient, key: str, address: str, lost: asyncio.Event
) -> None:
    """List it again, on another lease, whenever the one that it hangs on is lost."""
    await lost.wait()
    while True:
        try:
            async with kv.lease(TTL_SECONDS) as lease:
                await kv.put(key, address, lease=lease)
                await lease.lost.wait()
        except QuorateError:
            # There may be a node again in a moment.
            await asyncio.sleep(PAUSE_SECONDS)


class Directory:
    """The addresses of one service, kept up to date by a watch."""

    def __init__(self, kv: AsyncClient, service: str) -> None:
        self.kv = kv
        self.prefix = f"services/{service}/"
        self.addresses: dict[bytes, str] = {}
        self.changed = asyncio.Event()

    async def follow(self) -> None:
        """Run this as a task."""
        while True:
            try:
                await self._follow()
            except (Compacted, DeadlineExceeded, Unavailable):
                # Too much has happened meanwhile, or no node was there. Until all is
                # read again, who was there last is the best guess.
                await asyncio.sleep(PAUSE_SECONDS)

    async def wait_for(self, count: int) -> list[str]:
        """The addresses, as soon as there are so many."""
        while len(self.addresses) != count:
            self.changed.clear()
            await self.changed.wait()
        return sorted(self.addresses.values())

    async def _follow(self) -> None:
        entries = self.kv.range(self.prefix)
        self.addresses = {entry.key: entry.text async for entry in entries}
        self.changed.set()
        # From the revision behind the one that was read: nothing is missed.
        start = entries.revision + 1
        async with self.kv.watch(self.prefix, revision=start) as changes:
            async for event in changes:
                if event.kv is not None:
                    self.addresses[event.key] = event.kv.text
                else:
                    self.addresses.pop(event.key, None)
                self.changed.set()


async def main() -> None:
    # In a group, so that an error of the task that follows is not left unnoticed.
    async with AsyncClient.from_env() as kv, asyncio.TaskGroup() as tasks:
        directory = Directory(kv, "web")
        following = tasks.create_task(directory.follow())
        async with registered(kv, "web", "10.0.0.1:80"):
            async with registered(kv, "web", "10.0.0.2:80"):
                print("two:", *await directory.wait_for(2))
            print("one:", *await directory.wait_for(1))
        print("none:", *await directory.wait_for(0))
        following.cancel()


if __name__ == "__main__":
    asyncio.run(main())
