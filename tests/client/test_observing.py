"""What an observation tells when it is interrupted, and of keys that are no places."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from quorate.client import (
    AsyncClient,
    Election,
    Forbidden,
    Held,
    LeaseNotFound,
    Observation,
    Txn,
)
from quorate.wire import ErrorCode, RequestFrame, RequestKind

from .fake_node import Session, running
from .locking_node import LockingNode


class ReadingNode(LockingNode):
    """Answers no get, or refuses each, while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = False
        self.forbids = False
        self.gets = 0
        self.answer = self.read

    def read(self, session: Session, frame: RequestFrame) -> None:
        self.gets += frame.kind == RequestKind.GET
        if frame.kind != RequestKind.GET or not (self.mute or self.forbids):
            self.watched(session, frame)
        elif self.forbids:
            session.refuse(frame, ErrorCode.FORBIDDEN)


@pytest.fixture
async def node() -> AsyncIterator[ReadingNode]:
    reading = ReadingNode()
    async with running(reading):
        yield reading


async def said(observation: Observation) -> str | None:
    async with asyncio.timeout(10):
        leader = await anext(observation)
    return None if leader is None else leader.text


async def in_line(
    node: ReadingNode, kv: AsyncClient
) -> tuple[Election, asyncio.Task[None]]:
    """One who leads, and one who waits for it, and has said already what he will."""
    first, second = kv.election("e", ttl=60), kv.election("e", ttl=60)
    await first.campaign("one")
    waiting = asyncio.create_task(second.campaign("two"))
    await node.watch()
    return first, waiting


async def interrupted(node: ReadingNode, observation: Observation, how: str) -> None:
    """The next leader has to be read, which comes to nothing."""
    before = node.gets
    if how == "refused":
        node.forbids = True
        async with asyncio.timeout(10):
            with pytest.raises(Forbidden):
                await anext(observation)
        node.forbids = False
        return
    node.mute = True
    waiting = asyncio.ensure_future(anext(observation))
    await node.wait_for(lambda: node.gets > before)
    waiting.cancel()
    await asyncio.wait({waiting})
    node.mute = False


# -- nothing is lost -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_the_first_leader_is_told_to_who_asks_again(
    node: ReadingNode, kv: AsyncClient, how: str
) -> None:
    first, waiting = await in_line(node, kv)
    async with first.observe() as observation:
        await interrupted(node, observation, how)
        assert await said(observation) == "one"
    waiting.cancel()


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_a_later_leader_is_told_to_who_asks_again(
    node: ReadingNode, kv: AsyncClient, how: str
) -> None:
    first, waiting = await in_line(node, kv)
    async with first.observe() as observation:
        assert await said(observation) == "one"
        await first.resign()
        await waiting
        for _ in range(2):
            await interrupted(node, observation, how)
        assert await said(observation) == "two"


async def test_a_leader_is_told_as_of_when_it_came_to_lead_however_late_it_is_read(
    node: ReadingNode, kv: AsyncClient
) -> None:
    first, waiting = await in_line(node, kv)
    async with first.observe() as observation:
        assert await said(observation) == "one"
        await first.resign()
        await waiting
        await interrupted(node, observation, "cancelled")
        (key,), (lease,) = node.keys, node.leases
        await kv.put(key, "zwei", lease=lease)
        assert await said(observation) == "two"
        assert await said(observation) == "zwei"


async def test_what_one_transaction_changes_in_the_line_is_one_change(
    node: ReadingNode, kv: AsyncClient
) -> None:
    """In the middle of it somebody seemed to lead who was gone at its end."""
    first, waiting = await in_line(node, kv)
    async with first.observe() as observation:
        assert await said(observation) == "one"
        everybody = Txn()
        for key in list(node.keys):
            everybody.delete(key)
        await kv.commit(everybody)
        assert await said(observation) is None
    with pytest.raises(LeaseNotFound, match="taken away"):
        await waiting


# -- keys that are no places -----------------------------------------------------------


@pytest.mark.parametrize("key", ["e/data", "e/f/1a", "e/1a", "e/01"])
async def test_a_key_below_the_name_that_is_no_place_does_not_lead(
    node: ReadingNode, kv: AsyncClient, key: str
) -> None:
    lease = await kv.lease(60).grant()
    await kv.put(key, "x", lease=0 if key == "e/1a" else lease.id)
    election = kv.election("e", ttl=60)
    assert await election.leader() is None
    async with election.observe() as observation:
        assert await said(observation) is None
        # It is in the way all the same: as etcd's own clients do, all wait for it.
        with pytest.raises(Held):
            await election.campaign("me", wait=0)
        await kv.put(key, "y")
        await kv.delete(key)
        await election.campaign("me")
        assert await said(observation) == "me"
        leader = await election.leader()
        assert leader is not None
        assert leader.text == "me"
        # Who came later is behind, whatever he is.
        await kv.put(key, "z")
        leader = await election.leader()
        assert leader is not None
        assert leader.text == "me"
        await election.resign()
        assert await said(observation) is None
    await lease.abandon()
