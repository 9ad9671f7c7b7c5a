"""Contexts of watches that are given up before they are entered: nothing stays open.

Each left a task, a connection and a watch on its node until the client was closed; so
did every wait for a lock that was over while its watch began.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine

import pytest
from quorate.client import AsyncClient, Held

from .fake_node import hello_bytes, plain, plain_sync
from .locking_node import LockingNode
from .test_interrupts import Interrupted, too_late
from .test_signals import handling
from .test_synchronous import NodeThread


@pytest.fixture
async def kv(node: LockingNode) -> AsyncIterator[AsyncClient]:
    """A connected client that waits long for a hello."""
    async with plain(node.endpoint, learn=False, timeout=60) as client:
        await client.put("k", "v")
        yield client


def still_open(node: LockingNode) -> int:
    return sum(session.open for session in node.sessions)


async def give_up_without_a_hello(
    node: LockingNode, entering: Coroutine[object, object, object]
) -> None:
    """Cancel it while the watch that it begins waits for a hello."""
    before = len(node.sessions)
    node.hello = b""
    task = asyncio.create_task(entering)
    await node.wait_for(
        lambda: len(node.sessions) > before and node.sessions[-1].greeted
    )
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    node.hello = hello_bytes()


async def test_a_context_that_is_given_up_leaves_no_watch(
    node: LockingNode, kv: AsyncClient
) -> None:
    for _ in range(3):
        await give_up_without_a_hello(node, kv.watch("a/").__aenter__())
        assert kv._watches == set()
    await node.wait_for(lambda: still_open(node) == 1)


async def test_a_wait_for_a_lock_that_is_given_up_leaves_no_watch(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as held:
        await give_up_without_a_hello(node, kv.lock("job", ttl=60).acquire())
        assert kv._watches == set()
        await node.wait_for(lambda: still_open(node) == 1)
        assert list(node.leases) == [held.lease.id]


async def test_a_wait_for_a_lock_that_is_soon_over_leaves_no_watch(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60):
        node.hello = b""
        for _ in range(3):
            with pytest.raises(Held):
                await kv.lock("job", ttl=60, wait=0.02).acquire()
        assert kv._watches == set()
        await node.wait_for(lambda: still_open(node) == 1)
        node.hello = hello_bytes()


def test_a_context_that_is_interrupted_leaves_no_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise Interrupted

    thread = NodeThread(LockingNode())
    thread.start()
    try:
        with plain_sync(thread.node.endpoint) as kv:
            watch = kv.watch("a/")
            beginning = too_late(watch._watch.begin)
            monkeypatch.setattr(watch._watch, "begin", beginning)
            with handling(interrupt), pytest.raises(Interrupted):
                watch.__enter__()
            assert kv._client._watches == set()
            assert list(watch) == []
    finally:
        thread.stop()
