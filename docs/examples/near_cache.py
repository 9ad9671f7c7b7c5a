"""A cache in the process, kept right by a watch: what is in it costs nothing to read.

It is behind the cluster by what the watch takes to arrive. Who has to see a write of
its own passes its revision; when the copy is not there yet, the cluster is asked. While
no node can be reached the copy stays as it was, for some 13 seconds at most: 8 until a
node that says nothing is given up, then PATIENCE_SECONDS. After that the cluster is
asked for everything until the copy is right again.
"""

import asyncio

from quorate import AsyncClient
from quorate.client import Compacted, DeadlineExceeded, Unavailable

PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 1.0


class NearCache:
    """A copy of all keys with a prefix; use it as a context."""

    def __init__(self, kv: AsyncClient, prefix: str) -> None:
        self.kv = kv
        self.prefix = prefix
        self.entries: dict[bytes, bytes] = {}
        # The copy is as of this revision; 0 while it is not kept right.
        self.revision = 0

    async def __aenter__(self) -> "NearCache":
        await self._copy()
        self.following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)

    async def get(self, key: str, *, min_revision: int = 0) -> bytes | None:
        """The value, which is at least as new as `min_revision`."""
        if not key.startswith(self.prefix):
            # It would be told as absent, whatever the cluster has.
            raise ValueError(f"{key!r} does not begin with {self.prefix!r}")
        if self.following.done():
            # It ends by an error alone, after which nothing here is kept right.
            self.following.result()
        if self.revision < max(min_revision, 1):
            entry = await self.kv.get(key, min_revision=min_revision)
            return None if entry is None else entry.value
        return self.entries.get(key.encode())

    async def _copy(self) -> None:
        entries = self.kv.range(self.prefix)
        self.entries = {entry.key: entry.value async for entry in entries}
        self.revision = entries.revision

    async def _follow(self) -> None:
        """Take each change; copy it all again when the watch has come to its end."""
        while True:
            try:
                if not self.revision:
                    await self._copy()
                start = self.revision + 1
                watch = self.kv.watch(
                    self.prefix, revision=start, patience=PATIENCE_SECONDS
                )
                async with watch as changes:
                    async for event in changes:
                        if event.kv is not None:
                            self.entries[event.key] = event.kv.value
                        else:
                            self.entries.pop(event.key, None)
                        self.revision = changes.revision
            except (Compacted, DeadlineExceeded, Unavailable):
                # Too much has happened meanwhile, or no node was there.
                self.revision = 0
                await asyncio.sleep(PAUSE_SECONDS)


async def main() -> None:
    async with AsyncClient.from_env() as kv:
        await kv.put("cached/a", "1")
        async with NearCache(kv, "cached/") as cache:
            print(await cache.get("cached/a"))
            revision = await kv.put("cached/a", "2")
            print(await cache.get("cached/a", min_revision=revision))
            print(await cache.get("cached/b"))


if __name__ == "__main__":
    asyncio.run(main())
