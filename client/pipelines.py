"""Many calls at once, as callers write them down, and how they are made.

Law: a value that knows no client, as a transaction is: it is built step by step, and
any client runs it, more than once. Every call stands for itself: unlike a transaction's
operations others may come between any two, and one may fail beside another.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, TypeAlias

from .errors import QuorateError
from .values import KeyValue, ReadLevel, to_bytes, to_key

if TYPE_CHECKING:
    from .asynchronous import AsyncClient

# So many calls of a pipeline are under way at a time: enough to fill every batch on the
# way, and few enough to leave room for the client's other calls.
IN_FLIGHT: Final = 1024

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
        lease: int = 0,
        fence: str | None = None,
    ) -> Self:
        """As AsyncClient.put; its result is the store's new revision."""
        data = to_bytes(value)

        def call(
            client: "AsyncClient", timeout: float | None
        ) -> Coroutine[None, None, Result]:
            return client.put(
                key,
                data,
                if_revision=if_revision,
                if_absent=if_absent,
                lease=lease,
                fence=fence,
                timeout=timeout,
            )

        return self._add(key, call)

    def delete(
        self,
        key: str | bytes,
        *,
        if_revision: int | None = None,
        fence: str | None = None,
    ) -> Self:
        """As AsyncClient.delete; its result is whether the key was there."""

        def call(
            client: "AsyncClient", timeout: float | None
        ) -> Coroutine[None, None, Result]:
            return client.delete(
                key, if_revision=if_revision, fence=fence, timeout=timeout
            )

        return self._add(key, call)

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

        def call(
            client: "AsyncClient", timeout: float | None
        ) -> Coroutine[None, None, Result]:
            return client.get(
                key,
                level=level,
                max_staleness=max_staleness,
                min_revision=min_revision,
                revision=revision,
                timeout=timeout,
            )

        return self._add(key, call)

    def _add(self, key: str | bytes, call: _Call) -> Self:
        self._chains.setdefault(to_key(key), []).append(_Step(self._count, call))
        self._count += 1
        return self

    async def made_by(
        self, client: "AsyncClient", timeout: float | None
    ) -> list[Result | QuorateError]:
        """What each call gave, in the order of the calls; errors as well."""
        results: list[Result | QuorateError] = [None] * self._count
        chains = iter(list(self._chains.values()))
        makers = min(IN_FLIGHT, len(self._chains))
        async with asyncio.TaskGroup() as group:
            for _ in range(makers):
                group.create_task(_make(chains, client, timeout, results))
        return results


async def _make(
    chains: Iterator[list[_Step]],
    client: "AsyncClient",
    timeout: float | None,
    results: list[Result | QuorateError],
) -> None:
    """One chain after the other, of those that nobody has taken yet."""
    for chain in chains:
        for step in chain:
            try:
                results[step.place] = await step.call(client, timeout)
            except QuorateError as error:
                results[step.place] = error
