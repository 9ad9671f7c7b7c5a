"""Elections as callers have them, against a node in this process."""

import asyncio
import inspect

import pytest
from quorate.client import (
    AsyncClient,
    Election,
    Fenced,
    Held,
    InvalidRequest,
    Observation,
)
from quorate.client.synchronous_locks import SyncElection, SyncObservation
from quorate.wire import ErrorCode

from .fake_node import plain, plain_sync
from .locking_node import LockingNode
from .test_synchronous import NodeThread


async def said(observation: Observation) -> str | None:
    leader = await anext(observation)
    return None if leader is None else leader.text


async def test_a_leader_says_its_value_and_resigns_at_the_end(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.election("e", ttl=60) as election:
        assert await election.leader() is None
        await election.campaign("me")
        leader = await election.leader()
        assert leader is not None
        assert (leader.text, leader.lease) == ("me", election.lease.id)
        revision = await election.proclaim("still me")
        leader = await kv.election("e").leader()
        assert leader is not None
        assert (leader.text, leader.mod_revision) == ("still me", revision)
        await kv.put("k", "v", fence=election.token)
        token = election.token
    assert list(node.keys) == [b"k"]
    assert node.leases == {}
    with pytest.raises(Fenced):
        await kv.put("k", "w", fence=token)


async def test_who_came_next_leads_next(node: LockingNode, kv: AsyncClient) -> None:
    first, second = kv.election("e", ttl=60), kv.election("e", ttl=60)
    await first.campaign("one")
    with pytest.raises(Held):
        await second.campaign("two", wait=0)
    assert len(node.keys) == 1
    waiting = asyncio.create_task(second.campaign("two"))
    await node.watch()
    with pytest.raises(InvalidRequest, match="goes on"):
        await second.campaign("two")
    with pytest.raises(InvalidRequest, match="no campaign"):
        await second.proclaim("two")
    await first.resign()
    await waiting
    leader = await first.leader()
    assert leader is not None
    assert leader.text == "two"
    await second.resign()


async def test_who_leads_no_more_says_nothing(
    node: LockingNode, kv: AsyncClient
) -> None:
    election = kv.election("e", ttl=60)
    await election.campaign("me")
    node.end_lease(election.lease.id)
    with pytest.raises(Fenced):
        await election.proclaim("still me")
    assert node.keys == {}
    # Its key was the lease's: there is nothing to give up.
    await election.resign()


async def test_who_observes_is_told_of_every_leader_in_order(
    node: LockingNode, kv: AsyncClient
) -> None:
    first, second = kv.election("e", ttl=60), kv.election("e", ttl=60)
    await first.campaign("one")
    async with first.observe() as observation:
        assert await said(observation) == "one"
        waiting = asyncio.create_task(second.campaign("two"))
        await node.wait_for(lambda: len(node.keys) == 2)
        await first.proclaim("uno")
        await first.proclaim("eins")
        assert await said(observation) == "uno"
        assert await said(observation) == "eins"
        await first.resign()
        await waiting
        # What it said when it came, and could not be told before.
        assert await said(observation) == "two"
        await second.resign()
        assert await said(observation) is None
    with pytest.raises(StopAsyncIteration):
        await anext(observation)


async def test_who_observes_goes_on_with_who_leads_when_it_came_too_late(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.election("e", ttl=60) as election:
        observation = kv.election("e").observe()
        assert await said(observation) is None
        late = asyncio.create_task(said(observation))
        (await node.watch()).end(ErrorCode.COMPACTED, 9)
        await node.watch(1)
        await election.campaign("me")
        assert await late == "me"
        await observation.close()


async def test_observing_ends_with_its_client(node: LockingNode) -> None:
    async with plain(node.endpoint) as kv:
        observation = kv.election("e").observe()
        assert await said(observation) is None
        waiting = asyncio.ensure_future(anext(observation, "the end"))
        await node.watch()
    assert await waiting == "the end"


def test_the_twins_of_an_election_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(SyncElection) == public(Election) | {"name"}
    assert public(SyncObservation) == public(Observation)
    for name in ("campaign", "proclaim", "leader", "observe", "resign"):
        ours, theirs = getattr(SyncElection, name), getattr(Election, name)
        assert (
            inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        )


def test_an_election_is_an_ordinary_context_of_the_synchronous_client() -> None:
    thread = NodeThread(LockingNode())
    thread.start()
    try:
        with plain_sync(thread.node.endpoint) as kv:
            with kv.election("e", ttl=60) as election:
                assert election.name == b"e"
                election.campaign("me", wait=5)
                assert not election.lost
                assert election.token
                with election.observe() as leaders:
                    leader = next(leaders)
                    assert leader is not None
                    assert leader.text == "me"
                    election.proclaim("still me")
                    leader = next(leaders)
                    assert leader is not None
                    assert leader.text == "still me"
                assert list(leaders) == []
            assert kv.election("e").leader() is None
    finally:
        thread.stop()
