"""What tests of the load generator share: a clock that they set."""

import asyncio
import heapq
from collections.abc import Awaitable
from typing import TypeVar

import pytest

T = TypeVar("T")
# More turns of the loop than anything here takes to come to rest.
TURNS = 25


class FakeClock:
    """A clock that jumps to the next sleeper's moment when nobody has work to do."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.cpu_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self.moment

    def cpu(self) -> float:
        return self.cpu_s

    async def sleep_until(self, moment_s: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (moment_s, self._count, future))
        await future

    async def drive(self, work: Awaitable[T]) -> T:
        """Let time pass until the work is done; its result."""
        task = asyncio.ensure_future(work)
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if task.done():
                return task.result()
            assert self._sleepers, "it waits for something that never comes"
            moment_s, _, future = heapq.heappop(self._sleepers)
            self.moment = max(self.moment, moment_s)
            if not future.done():
                future.set_result(None)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
