"""Many calls at once, as callers write them down, and how they are made.

Law: a value that knows no client, as a transaction is: it is built step by step, and
any client runs it, more than once. Every call stands for itself: unlike a transaction's
operations others may come between any two, and one may fail beside another.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import (
    TYPE_CHECKING,
    Final,
    NamedTuple,
    Protocol,
    Self,
    SupportsIndex,
    TypeAlias,
)

from .errors import QuorateError, TooBusy
from .values import (
    KeyValue,
    ReadLevel,
    to_bytes,
    to_expected,
    to_fence,
    to_key,
    to_lease,
    to_level,
    to_revision,
)

if TYPE_CHECKING:
    from .asynchronous import AsyncClient

# So many calls of a pipeline are under way at a time: enough to fill every batch on the
# way, and few enough to leave room for the client's other calls.
IN_FLIGHT: Final = 1024
_ASK_AGAIN_S: Final = 0.005

Result: TypeAlias = int | bool | KeyValue | None


class _Call(Protocol):
    def __call__(
        self, client: "AsyncClient", timeout: float | None, /
    ) -> Coroutine[None, None, Result]: ...


class _Step(NamedTuple):
    """Where its result stands, and what is to be called."""

    place: int
    call: _Call


class Pipeline:
    """Calls that are made together; `run` of a client makes them.

        kv.run(Pipeline().put("a", "1").put("b", "2").get("a"))

    The calls of one key are made in the order in which they stand here, one when the
    one before has ended; those of different keys in any. What has to happen all at
    once, or not at all, is a Txn.
    """

    def __init__(self) -> None:
        self._chains: dict[bytes, list[_Step]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: SupportsIndex = 0,
        fence: str | None = None,
    ) -> Self:
        """As AsyncClient.put; its result is the store's new revision."""
        data = to_bytes(value)
        to_lease(lease)
        _check_condition(if_revision, if_absent, fence)
        return self._add(
            key,
            lambda client, timeout: client.put(
                key,
                data,
                if_revision=if_revision,
                if_absent=if_absent,
                lease=lease,
                fence=fence,
                timeout=timeout,
            ),
        )

    def delete(
        self,
        key: str | bytes,
        *,
        if_revision: int | None = None,
        fence: str | None = None,
    ) -> Self:
        """As AsyncClient.delete; its result is whether the key was there."""
        _check_condition(if_revision, False, fence)
        return self._add(
            key,
            lambda client, timeout: client.delete(
                key, if_revision=if_revision, fence=fence, timeout=timeout
            ),
        )

    def get(
        self,
        key: str | bytes,
        *,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
    ) -> Self:
        """As AsyncClient.get; its result is the KeyValue, or None."""
        to_level(level, max_staleness)
        to_revision("min_revision", min_revision)
        to_revision("revision", revision)
        return self._add(
            key,
            lambda client, timeout: client.get(
                key,
                level=level,
                max_staleness=max_staleness,
                min_revision=min_revision,
                revision=revision,
                timeout=timeout,
            ),
        )

    def _add(self, key: str | bytes, call: _Call) -> Self:
        self._chains.setdefault(to_key(key), []).append(_Step(self._count, call))
        self._count += 1
        return self

    async def made_by(
        self, client: "AsyncClient", timeout: float | None, room_s: float
    ) -> list[Result | QuorateError]:
        """What each call gave, in the order of the calls; errors as well.

        A call waits up to `room_s` seconds for room in the client, before its own
        deadline begins.
        """
        run = _Run(client, timeout, room_s, self._count)
        # What is added meanwhile belongs to the next time.
        chains = iter([tuple(chain) for chain in self._chains.values()])
        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(self._chains))):
                group.create_task(run.make(chains))
        return run.results


def _check_condition(
    if_revision: int | None, if_absent: bool, fence: str | None
) -> None:
    """What makes no sense is refused before anything of a pipeline is sent."""
    to_expected(if_revision, if_absent)
    if fence is not None:
        to_fence(fence)


class _Run:
    """Of one pipeline, by tasks that take one chain after the other.

    When the client has no room for a call, its task waits until another call of this
    run has ended, which wakes some. When there is no other, all room is taken by
    others: then one task asks again and again.
    """

    def __init__(
        self, client: "AsyncClient", timeout: float | None, room_s: float, count: int
    ) -> None:
        self.results: list[Result | QuorateError] = [None] * count
        self._client = client
        self._timeout = timeout
        self._room_s = room_s
        self._under_way = 0
        self._asking = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def make(self, chains: Iterator[tuple[_Step, ...]]) -> None:
        """One chain after the other, of those that nobody has taken yet."""
        for chain in chains:
            for step in chain:
                self.results[step.place] = await self._do(step)
                self._wake()

    async def _do(self, step: _Step) -> Result | QuorateError:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._room_s
        while True:
            self._under_way += 1
            try:
                return await step.call(self._client, self._timeout)
            except TooBusy as error:
                busy = error
            except QuorateError as error:
                return error
            finally:
                self._under_way -= 1
            if loop.time() >= until:
                return busy
            await self._room()

    async def _room(self) -> None:
        """Until there may be some."""
        if self._under_way or self._asking:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(ended)
            await ended
            return
        self._asking = True
        try:
            await asyncio.sleep(_ASK_AGAIN_S)
        finally:
            self._asking = False

    def _wake(self) -> None:
        """Two for one: there may be more room than for one call."""
        for _ in range(min(2, len(self._waiting))):
            self._waiting.popleft().set_result(None)
