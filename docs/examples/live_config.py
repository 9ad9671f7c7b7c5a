"""Configuration that changes while the program runs, all of a change or nothing of it.

The watch says that something has changed. What is read then is all of one revision, so
that what one transaction wrote is seen together.
"""

import asyncio

from quorate import AsyncClient, Txn
from quorate.client import Compacted, DeadlineExceeded, Unavailable

PAUSE_SECONDS = 1.0


class Settings:
    """All keys below a prefix, as of one revision."""

    def __init__(self, kv: AsyncClient, prefix: str = "config/") -> None:
        self.kv = kv
        self.prefix = prefix
        self.values: dict[str, str] = {}
        self.revision = 0

    async def follow(self) -> None:
        """Run this as a task: read everything, and again after each change."""
        while True:
            try:
                await self._read()
                start = self.revision + 1
                async with self.kv.watch(self.prefix, revision=start) as changes:
                    async for event in changes:
                        if event.revision > self.revision:
                            await self._read()
            except (Compacted, DeadlineExceeded, Unavailable):
                # Too much has happened meanwhile, or no node was there. Until one is,
                # what was set last is what there is.
                await asyncio.sleep(PAUSE_SECONDS)

    async def reached(self, revision: int) -> dict[str, str]:
        """The settings, at that revision or a later one."""
        if self.revision < revision:
            await self._read()
        return dict(self.values)

    async def _read(self) -> None:
        entries = self.kv.range(self.prefix)
        values = {entry.key.decode(): entry.text async for entry in entries}
        if entries.revision > self.revision:
            self.revision = entries.revision
            self.values = {
                name.removeprefix(self.prefix): text for name, text in values.items()
            }


async def main() -> None:
    # In a group, so that an error of the task that follows is not left unnoticed.
    async with AsyncClient.from_env() as kv, asyncio.TaskGroup() as tasks:
        settings = Settings(kv)
        following = tasks.create_task(settings.follow())
        revision = await kv.put("config/color", "green")
        print(await settings.reached(revision))
        both = Txn().put("config/color", "blue").put("config/size", "12")
        revision = (await kv.commit(both)).revision
        print(await settings.reached(revision))
        following.cancel()


if __name__ == "__main__":
    asyncio.run(main())
