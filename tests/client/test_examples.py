"""The worked examples where something breaks: people copy them, and what they miss."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from quorate.client import AsyncClient
from quorate.docs.examples import (
    live_config,
    service_discovery,
    work_queue,
)

from .fake_node import plain, plain_sync
from .locking_node import LockingNode
from .test_synchronous import NodeThread
from .watching_node import break_watch


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for example in (live_config, service_discovery):
        monkeypatch.setattr(example, "PAUSE_SECONDS", 0.0)


@pytest.fixture
async def kv(
    node: LockingNode, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """A client whose watches have little patience."""
    async with plain(node.endpoint, learn=False) as client:
        monkeypatch.setattr(client, "watch", partial(client.watch, patience=0.05))
        yield client


async def until(kv: AsyncClient, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await kv.get("k")


# -- what follows a watch --------------------------------------------------------------


async def test_settings_of_a_revision_that_changed_something_else_are_there(
    kv: AsyncClient,
) -> None:
    settings = live_config.Settings(kv)
    await kv.put("config/a", "1")
    revision = await kv.put("elsewhere", "2")
    async with asyncio.timeout(10):
        assert await settings.reached(revision) == {"a": "1"}


@pytest.mark.parametrize("how", ["compacted", "no node"])
async def test_settings_are_followed_beyond_the_end_of_a_watch(
    node: LockingNode, kv: AsyncClient, how: str
) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        settings = live_config.Settings(kv)
        following = tasks.create_task(settings.follow())
        await node.watch()
        await break_watch(node, how)
        node.refusal = None
        await kv.put("config/a", "1")
        await until(kv, lambda: settings.values == {"a": "1"})
        following.cancel()


@pytest.mark.parametrize("how", ["compacted", "no node"])
async def test_a_directory_is_followed_beyond_the_end_of_a_watch(
    node: LockingNode, kv: AsyncClient, how: str
) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        directory = service_discovery.Directory(kv, "web")
        following = tasks.create_task(directory.follow())
        await node.watch()
        await break_watch(node, how)
        node.refusal = None
        async with service_discovery.registered(kv, "web", "10.0.0.1:80"):
            assert await directory.wait_for(1) == ["10.0.0.1:80"]
        following.cancel()


async def test_a_service_whose_lease_was_lost_is_listed_again(
    node: LockingNode, kv: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found by nobody any more, however long it was there."""
    monkeypatch.setattr(service_discovery, "TTL_SECONDS", 1.0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        directory = service_discovery.Directory(kv, "web")
        following = tasks.create_task(directory.follow())
        async with service_discovery.registered(kv, "web", "10.0.0.1:80"):
            for _ in range(2):
                assert await directory.wait_for(1) == ["10.0.0.1:80"]
                (lease,) = node.leases
                node.end_lease(lease)
                await directory.wait_for(0)
            assert await directory.wait_for(1) == ["10.0.0.1:80"]
        await directory.wait_for(0)
        assert node.leases == {}
        following.cancel()


# -- the queue -------------------------------------------------------------------------


def test_a_worker_without_its_lease_finishes_nothing_for_the_next_one() -> None:
    """It deleted the claim of whoever had the job by then, and told its own result."""
    thread = NodeThread(LockingNode())
    thread.start()
    try:
        with plain_sync(thread.node.endpoint) as kv:
            work_queue.add(kv, "wash")
            paused, other = kv.lease(60).grant(), kv.lease(60).grant()
            job = work_queue.take(kv, paused.id)
            assert job is not None
            kv.revoke(paused.id)
            assert work_queue.take(kv, other.id) == job
            assert not work_queue.finish(kv, paused.id, job[0], "late")
            assert kv.get(f"queue/results/{job[0]}") is None
            assert kv.get(f"queue/claims/{job[0]}") is not None
            assert work_queue.finish(kv, other.id, job[0], "WASH")
            result = kv.get(f"queue/results/{job[0]}")
            assert result is not None
            assert result.text == "WASH"
            assert kv.get(f"queue/claims/{job[0]}") is None
            assert work_queue.take(kv, other.id) is None
    finally:
        thread.stop()
