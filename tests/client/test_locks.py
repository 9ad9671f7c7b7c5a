"""Locks and fenced writes as callers have them, against a node in this process."""

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest
from quorate.client import (
    AsyncClient,
    Closed,
    Fenced,
    Held,
    InvalidRequest,
    LeaseNotFound,
    Lock,
    PreconditionFailed,
    SyncLock,
    Txn,
)
from quorate.wire import ErrorCode, Grant, Outcome, RequestFrame, RequestKind

from .fake_node import Answer, Session, plain, plain_sync, refusing
from .locking_node import LockingNode
from .test_leases import other_tasks
from .test_synchronous import NodeThread


@pytest.fixture
async def other(node: LockingNode) -> AsyncIterator[AsyncClient]:
    """Another one."""
    async with plain(node.endpoint) as client:
        yield client


# -- holding ---------------------------------------------------------------------------


async def test_a_lock_is_etcds_key_on_a_lease_of_its_own(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        assert lock.key == f"job/{lock.lease.id:x}".encode()
        record = node.keys[lock.key]
        assert (record.value, record.lease) == (b"", lock.lease.id)
        assert record.create_revision == lock.revision
        assert node.leases == {lock.lease.id: 60_000}
        assert not lock.lost.is_set()
    assert node.keys == {}
    assert node.leases == {}


async def test_the_next_one_has_it_when_it_is_released(
    node: LockingNode, kv: AsyncClient, other: AsyncClient
) -> None:
    order: list[str] = []

    async def second() -> str:
        async with other.lock("job", ttl=60) as lock:
            order.append("second")
            return lock.token

    async with kv.lock("job", ttl=60) as lock:
        waiting = asyncio.create_task(second())
        watch = await node.watch()
        assert watch.wanted.start == lock.key
        assert not watch.wanted.puts
        order.append("first")
        old = lock.token
    new = await waiting
    assert order == ["first", "second"]
    assert int(new.partition(".")[0]) > int(old.partition(".")[0])


async def test_each_waits_for_the_one_before_him_alone(
    node: LockingNode, kv: AsyncClient
) -> None:
    first = await kv.lock("job", ttl=60).acquire()
    waiting: list[asyncio.Task[Lock]] = []
    for number in range(3):
        waiting.append(asyncio.create_task(kv.lock("job", ttl=60).acquire()))
        await node.watch(number)
    await first.release()
    second = await waiting[0]
    assert not any(task.done() for task in waiting[1:])
    # Nobody else has looked.
    assert len([f for f in node.requests if f.kind == RequestKind.RANGE]) == 1
    # One who goes out of the middle of the line lets nobody pass.
    waiting[1].cancel()
    await asyncio.wait({waiting[1]})
    await node.wait_for(lambda: len(node.keys) == 2)
    watch = await node.watch(3)
    assert watch.wanted.start == second.key
    await second.release()
    third = await waiting[2]
    assert list(node.keys) == [third.key]
    await third.release()


async def test_the_same_lock_is_not_acquired_twice_but_again(
    node: LockingNode, kv: AsyncClient
) -> None:
    lock = kv.lock("job", ttl=60)
    for name in ("token", "key", "revision", "lease", "lost"):
        with pytest.raises(InvalidRequest, match="not held"):
            getattr(lock, name)
    async with lock:
        first = lock.token
        with pytest.raises(InvalidRequest, match="acquired already"):
            await lock.acquire()
        await lock.release()
    async with lock:
        assert lock.token != first
    with pytest.raises(InvalidRequest, match="not held"):
        await lock.release()


async def test_what_makes_no_sense_is_refused_before_it_is_asked(
    node: LockingNode, kv: AsyncClient
) -> None:
    for bad in (float("nan"), -1.0):
        with pytest.raises(InvalidRequest, match="wait"):
            kv.lock("job", wait=bad)
    with pytest.raises(InvalidRequest, match="empty"):
        kv.lock("")
    with pytest.raises(InvalidRequest, match="ttl"):
        await kv.lock("job", ttl=0.5).acquire()
    assert node.requests == []


# -- no wait leaves anything -----------------------------------------------------------


async def test_a_try_that_fails_leaves_nothing(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        with pytest.raises(Held) as held:
            await kv.lock("job", ttl=60, wait=0).acquire()
        assert held.value.retryable
        assert held.value.outcome == "not_applied"
        assert list(node.keys) == [lock.key]
        assert list(node.leases) == [lock.lease.id]
        assert node.watches == []


async def test_a_wait_that_is_over_leaves_nothing(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        with pytest.raises(Held, match="the wait is over"):
            await kv.lock("job", ttl=60, wait=0.05).acquire()
        assert list(node.keys) == [lock.key]
        assert list(node.leases) == [lock.lease.id]
    await node.wait_for(lambda: sum(one.open for one in node.sessions) == 1)


async def test_a_wait_that_is_cancelled_leaves_nothing(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()
        assert len(node.keys) == 2
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert list(node.keys) == [lock.key]
        assert list(node.leases) == [lock.lease.id]


async def test_a_client_that_is_closed_ends_its_waits(node: LockingNode) -> None:
    async with plain(node.endpoint) as kv:
        lock = await kv.lock("job", ttl=60).acquire()
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()
    with pytest.raises(Closed, match="closed"):
        await waiting
    assert lock.key in node.keys
    assert not other_tasks()


# -- losing ----------------------------------------------------------------------------


async def test_whoever_loses_his_lease_while_he_waits_is_told(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()
        (mine,) = node.leases.keys() - {lock.lease.id}
        node.end_lease(mine)
        assert not waiting.done()
    with pytest.raises(LeaseNotFound, match="taken away"):
        await waiting


async def test_an_entry_whose_fate_was_lost_is_asked_again(
    node: LockingNode, kv: AsyncClient
) -> None:
    def lost_answer(session: Session, frame: RequestFrame) -> None:
        if frame.kind == RequestKind.WRITE and node.leases and not node.keys:
            # It is done, but nobody hears of it.
            node.watched(Silent(session), frame)
            session.transport.abort()
            return
        node.watched(session, frame)

    node.answer = lost_answer
    async with kv.lock("job", ttl=60) as lock:
        assert list(node.keys) == [lock.key]
        assert node.keys[lock.key].create_revision == lock.revision


class Silent(Session):
    """Its answers go nowhere."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.node)

    def reply(self, frame: RequestFrame, body: bytes) -> None:
        del frame, body


async def test_a_release_whose_fate_was_lost_is_asked_again(
    node: LockingNode, kv: AsyncClient
) -> None:
    lock = await kv.lock("job", ttl=60).acquire()

    def once(session: Session, frame: RequestFrame) -> None:
        node.answer = node.watched
        session.refuse(frame, ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)

    node.answer = once
    await lock.release()
    assert node.leases == {}


@pytest.mark.parametrize("code", [ErrorCode.NO_SPACE, ErrorCode.LEASE_EXISTS])
async def test_no_lock_is_had_without_its_lease(
    node: LockingNode, kv: AsyncClient, code: ErrorCode
) -> None:
    answer: Answer = refusing(code)
    node.answer = answer
    with pytest.raises(Exception, match=code.name.lower()):
        await kv.lock("job", ttl=60).acquire()
    assert [type(command) for command in node.asked] in ([], [Grant])


async def test_a_wait_goes_on_when_what_it_needs_was_compacted(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.lock("job", ttl=60):
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        watch = await node.watch()
        watch.end(ErrorCode.COMPACTED, 9)
        await node.watch(1)
        assert not waiting.done()
    await (await waiting).release()


# -- fences ----------------------------------------------------------------------------


async def test_a_write_that_carries_a_token_is_done_while_the_lock_is_held(
    kv: AsyncClient,
) -> None:
    async with kv.lock("job", ttl=60) as lock:
        first = await kv.put("k", "1", fence=lock.token)
        again = await kv.put("k", "2", fence=lock.token, if_revision=first)
        with pytest.raises(PreconditionFailed) as failed:
            await kv.put("k", "3", fence=lock.token, if_absent=True)
        assert failed.value.revision == again
        done = await kv.commit(Txn().fence(lock.token).if_value("k", "2").get("k"))
        assert done.succeeded
        assert await kv.delete("k", fence=lock.token)
        assert not await kv.delete("k", fence=lock.token)


async def test_the_old_holders_token_is_refused_whatever_he_writes(
    node: LockingNode, kv: AsyncClient, other: AsyncClient
) -> None:
    """The lease ends while its holder thinks that it is there."""
    await kv.put("k", "before")
    lock = await kv.lock("job", ttl=60).acquire()
    node.end_lease(lock.lease.id)
    assert not lock.lost.is_set()
    async with other.lock("job", ttl=60) as now:
        await other.put("k", "new", fence=now.token)
        for write in (
            kv.put("k", "old", fence=lock.token),
            kv.put("k", "old", fence=lock.token, if_revision=1),
            kv.delete("k", fence=lock.token),
            kv.commit(Txn().fence(lock.token).put("k", "old").otherwise().get("k")),
            kv.commit(Txn().fence(now.token).fence(lock.token).put("k", "old")),
        ):
            with pytest.raises(Fenced) as refused:
                await write
            assert refused.value.outcome == "not_applied"
            assert not refused.value.retryable
        entry = await kv.get("k")
        assert entry is not None
        assert entry.text == "new"
        assert list(node.keys) == [b"k", now.key]


async def test_what_is_no_token_is_refused_before_it_is_sent(
    node: LockingNode, kv: AsyncClient
) -> None:
    for write in (kv.put("k", "v", fence=""), kv.delete("k", fence="0.YQ")):
        with pytest.raises(InvalidRequest, match="a token is"):
            await write
    with pytest.raises(InvalidRequest, match="a token is"):
        Txn().fence("7")
    assert node.requests == []


# -- the synchronous twin --------------------------------------------------------------


def test_the_twins_of_a_lock_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(SyncLock) == public(Lock) | {"name"}
    for name in ("acquire", "release"):
        ours, theirs = getattr(SyncLock, name), getattr(Lock, name)
        assert (
            inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        )


def test_a_lock_is_an_ordinary_context_of_the_synchronous_client() -> None:
    thread = NodeThread(LockingNode())
    thread.start()
    try:
        with plain_sync(thread.node.endpoint) as kv:
            with kv.lock("job", ttl=60) as lock:
                assert not lock.lost
                assert lock.name == b"job"
                assert lock.key in thread.node.keys
                assert lock.token.startswith(f"{lock.revision}.")
                kv.put("k", "v", fence=lock.token)
                with pytest.raises(Held), kv.lock("job", wait=0):
                    pass
                token = lock.token
            with pytest.raises(Fenced):
                kv.put("k", "w", fence=token)
            assert list(thread.node.keys) == [b"k"]
    finally:
        thread.stop()
