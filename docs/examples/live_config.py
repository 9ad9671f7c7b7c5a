"""Configuration that changes while the program runs, all of a change or nothing of it.

The watch says that something has changed, and at which revision; what is read is that
revision, so that what one transaction wrote is seen together.
"""

import asyncio

from quorate import AsyncClient, Txn


class Settings:
    """All keys below a prefix, as of one revision."""

    def __init__(self, kv: AsyncClient, prefix: str = "config/") -> None:
        self.kv = kv
        self.prefix = prefix
        self.values: dict[str, str] = {}
        self.revision = 0
        self.changed = asyncio.Condition()

    async def follow(self) -> None:
        """Run this as a task: read everything, and again after each change."""
        await self._read(0)
        start = self.revision + 1
        async with self.kv.watch(self.prefix, revision=start) as changes:
            async for event in changes:
                if event.revision > self.revision:
                    await self._read(event.revision)

    async def reached(self, revision: int) -> dict[str, str]:
        """The settings, at that revision or a later one."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.revision >= revision)
            return dict(self.values)

    async def _read(self, revision: int) -> None:
        """All of it as it was at that revision, 0 is the newest."""
        entries = self.kv.range(self.prefix, revision=revision)
        values = {entry.key.decode(): entry.text async for entry in entries}
        async with self.changed:
            self.values = {
                name.removeprefix(self.prefix): text for name, text in values.items()
            }
            self.revision = entries.revision
            self.changed.notify_all()


async def main() -> None:
    async with AsyncClient.from_env() as kv:
        settings = Settings(kv)
        following = asyncio.create_task(settings.follow())
        revision = await kv.put("config/color", "green")
        print(await settings.reached(revision))
        both = Txn().put("config/color", "blue").put("config/size", "12")
        revision = (await kv.commit(both)).revision
        print(await settings.reached(revision))
        following.cancel()


if __name__ == "__main__":
    asyncio.run(main())
