"""A cache in the process, kept right by a watch: what is in it costs nothing to read.

It is behind the cluster by what the watch takes to arrive. Who has to see a write of
its own passes its revision; when the copy is not there yet, the cluster is asked.
"""

import asyncio

from quorate import AsyncClient
from quorate.client import KeyValue


def text(entry: KeyValue | None) -> str:
    return "not there" if entry is None else entry.text


async def main() -> None:
    async with AsyncClient.from_env() as kv:
        await kv.put("cached/a", "1")
        async with kv.near_cache("cached/") as cache:
            print(text(await cache.get("cached/a")))
            revision = await kv.put("cached/a", "2")
            print(text(await cache.get("cached/a", min_revision=revision)))
            print(text(await cache.get("cached/b")))


if __name__ == "__main__":
    asyncio.run(main())
