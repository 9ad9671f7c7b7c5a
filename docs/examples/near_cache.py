"""A cache in the process, kept right by a watch: reads cost nothing, and never go back.

It is behind the cluster by what the watch takes to arrive. Who has to see a write of
its own passes its revision, and waits for that much.
"""

import asyncio

from quorate import AsyncClient


class NearCache:
    """A copy of all keys with a prefix; use it as a context."""

    def __init__(self, kv: AsyncClient, prefix: str) -> None:
        self.kv = kv
        self.prefix = prefix
        self.entries: dict[bytes, bytes] = {}
        self.revision = 0
        self.changed = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "NearCache":
        entries = self.kv.range(self.prefix)
        self.entries = {entry.key: entry.value async for entry in entries}
        self.revision = entries.revision
        self.task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def get(self, key: str, *, min_revision: int = 0) -> bytes | None:
        """The value in the copy, which is at least as new as `min_revision`."""
        if self.revision < min_revision:
            async with self.changed:
                await self.changed.wait_for(lambda: self.revision >= min_revision)
        return self.entries.get(key.encode())

    async def _follow(self) -> None:
        start = self.revision + 1
        async with self.kv.watch(self.prefix, revision=start) as changes:
            async for event in changes:
                if event.kv is not None:
                    self.entries[event.key] = event.kv.value
                else:
                    self.entries.pop(event.key, None)
                async with self.changed:
                    self.revision = event.revision
                    self.changed.notify_all()


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
