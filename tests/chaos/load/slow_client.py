"""A client whose cluster takes as long as it is told, on a clock of the test's."""

from collections.abc import AsyncIterator, Callable
from typing import cast

from quorate.chaos.load import Clock
from quorate.client import AsyncClient, KeyValue


class SlowClient:
    """Stands for AsyncClient: `takes` says how long a call that begins now will."""

    def __init__(
        self, clock: Clock, takes: Callable[[float], float] = lambda _: 0.001
    ) -> None:
        self.clock = clock
        self.takes = takes
        self.records: dict[bytes, bytes] = {}
        self.calls: list[tuple[float, str, bytes]] = []
        self.in_flight = 0
        self.in_flight_seen = 0
        # Raised by the next calls, first come, first served.
        self.errors: list[Exception] = []
        self.options: list[dict[str, object]] = []

    @property
    def client(self) -> AsyncClient:
        return cast(AsyncClient, self)

    async def _call(self, name: str, key: bytes) -> None:
        began_s = self.clock.now()
        self.calls.append((began_s, name, key))
        self.in_flight += 1
        self.in_flight_seen = max(self.in_flight_seen, self.in_flight)
        await self.clock.sleep_until(began_s + self.takes(began_s))
        self.in_flight -= 1
        if self.errors:
            raise self.errors.pop(0)

    async def put(self, key: bytes, value: bytes) -> int:
        await self._call("put", key)
        self.records[key] = value
        return len(self.calls)

    async def get(self, key: bytes, **options: object) -> KeyValue | None:
        self.options.append(options)
        await self._call("get", key)
        value = self.records.get(key)
        return None if value is None else KeyValue(key, value, 2, 2, 1, 0)

    async def delete(self, key: bytes) -> bool:
        await self._call("delete", key)
        return self.records.pop(key, None) is not None

    async def range(
        self, *, start: bytes, end: bytes, limit: int, **options: object
    ) -> AsyncIterator[KeyValue]:
        self.options.append(options)
        await self._call("range", start)
        found = [key for key in sorted(self.records) if start <= key < end]
        for key in found[:limit]:
            yield KeyValue(key, self.records[key], 2, 2, 1, 0)
