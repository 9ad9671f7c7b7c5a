"""How often others have their turn in the loop, while something is at work there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Turns:
    """`count` of them until now."""

    def __init__(self) -> None:
        self.count = 0

    async def take(self) -> None:
        """One after the other, for as long as there are any."""
        while True:
            self.count += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def counted_turns() -> AsyncGenerator[Turns]:
    """Turns that others take in the meantime."""
    turns = Turns()
    busy = asyncio.create_task(turns.take())
    try:
        yield turns
    finally:
        busy.cancel()
