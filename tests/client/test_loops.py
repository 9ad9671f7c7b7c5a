"""An AsyncClient in another event loop than its own is refused before it sends."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from quorate.client import AsyncClient, InvalidRequest, Txn

from .fake_node import FakeNode, plain, running

Use = Callable[[AsyncClient], Awaitable[object]]


async def watch(kv: AsyncClient) -> object:
    return await kv.watch("k").begin()


async def read_all(kv: AsyncClient) -> object:
    return [entry async for entry in kv.range("k")]


USES: dict[str, Use] = {
    "put": lambda kv: kv.put("k", "v"),
    "get": lambda kv: kv.get("k"),
    "commit": lambda kv: kv.commit(Txn().put("k", "v")),
    "range": read_all,
    "lease": lambda kv: kv.lease(10).grant(),
    "lock": lambda kv: kv.lock("k").acquire(),
    "watch": watch,
    "status": lambda kv: kv.status(),
    "members": lambda kv: kv.members(),
}


@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("name", USES)
async def test_a_client_belongs_to_the_loop_of_its_first_call(
    name: str, sessions: bool
) -> None:
    """Story: an error of asyncio's, which did not say whether the write was sent."""
    node = FakeNode()
    async with (
        running(node) as endpoints,
        AsyncClient(endpoints, sessions=sessions) as kv,
    ):
        await kv.get("k")
        before = len(node.requests)

        async def elsewhere() -> None:
            await USES[name](kv)

        def other() -> None:
            with pytest.raises(InvalidRequest, match="another event loop") as refused:
                asyncio.run(elsewhere())
            assert refused.value.outcome == "not_applied"
            told.append(refused.value)

        told: list[InvalidRequest] = []
        thread = threading.Thread(target=other)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert len(told) == 1
        assert len(node.requests) == before
        await kv.put("k", "v")


def test_a_loop_that_has_ended_is_another_one() -> None:
    """`asyncio.run` twice, with one client: `RuntimeError: Event loop is closed`."""
    node = FakeNode()

    async def first() -> AsyncClient:
        async with running(node) as endpoints:
            kv = plain(endpoints)
            await kv.put("k", "v")
            await kv.close()
            return kv

    async def second(kv: AsyncClient) -> None:
        with pytest.raises(InvalidRequest, match="another event loop"):
            await kv.put("k", "v")

    asyncio.run(second(asyncio.run(first())))
