"""What a place that was not had costs whoever wanted it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quorate.client import (
    AsyncClient,
    Held,
    InvalidRequest,
    Lease,
    LeaseNotFound,
    NoSpace,
    QuorateError,
    TooLarge,
    places,
)
from quorate.wire import ErrorCode, Grant, RequestFrame, RequestKind, Revoke

from .fake_node import Session, plain, refusing
from .locking_node import LockingNode


@pytest.fixture
async def kv(node: LockingNode) -> AsyncIterator[AsyncClient]:
    """A client with a lot of patience: what has to be over soon is not so by it."""
    async with plain(node.endpoint, timeout=60) as client:
        yield client


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.CLEAN_UP_SECONDS_MAX <= 1
    monkeypatch.setattr(places, "CLEAN_UP_SECONDS_MAX", 0.02)


@pytest.fixture
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a place asks for it in calls that are soon over."""
    wait = places.Place._wait

    async def waits(self: places.Place, *args: Any) -> None:
        self._timeout = 0.05
        await wait(self, *args)

    monkeypatch.setattr(places.Place, "_wait", waits)


# -- the wait for it -------------------------------------------------------------------


@pytest.mark.usefixtures("short_calls")
@pytest.mark.parametrize(
    ("owner", "what"), [(places.Places, "queue"), (places.Place, "_until_gone")]
)
async def test_a_place_is_kept_through_an_election_that_takes_longer_than_a_call(
    node: LockingNode,
    kv: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    what: str,
) -> None:
    """Whoever looked, or began to watch, in the middle of one had to stand in again."""
    failed = asyncio.Queue[QuorateError]()
    ask = getattr(owner, what)

    async def asked(*args: object) -> object:
        try:
            return await ask(*args)
        except QuorateError as error:
            failed.put_nowait(error)
            raise

    monkeypatch.setattr(owner, what, asked)

    def without_leader(session: Session, frame: RequestFrame) -> None:
        if frame.kind in (RequestKind.RANGE, RequestKind.WATCH):
            session.refuse(frame, ErrorCode.NO_LEADER)
        else:
            node.watched(session, frame)

    async with plain(node.endpoint, timeout=60) as other:
        first = await other.lock("job", ttl=60).acquire()
        if what == "_until_gone":
            node.answer = without_leader
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        if what == "queue":
            await node.watch()
            node.answer = without_leader
            await first.release()
        async with asyncio.timeout(10):
            for _ in range(2):
                assert (await failed.get()).retryable
            node.answer = node.watched
            if what == "_until_gone":
                await first.release()
            lock = await waiting
        assert list(node.keys) == [lock.key]
        await lock.release()


@pytest.mark.usefixtures("short_calls")
async def test_a_wait_without_a_leader_ends_with_its_lease(
    node: LockingNode, kv: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Lease] = []
    take = places.Places.lease

    def made(self: places.Places, ttl: float, timeout: float) -> Lease:
        kept.append(take(self, ttl, timeout))
        return kept[-1]

    monkeypatch.setattr(places.Places, "lease", made)
    async with plain(node.endpoint) as other, other.lock("job", ttl=60):
        node.refusal = ErrorCode.NO_LEADER
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch(1)
        kept[-1].lost.set()
        with pytest.raises(LeaseNotFound, match="while it was waited for"):
            await waiting


# -- its clean-up ----------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
async def test_a_wait_that_is_cancelled_ends_soon_when_no_node_answers_any_more(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with plain(node.endpoint) as other, other.lock("job", ttl=60):
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()
        node.deaf = True
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=10)
        assert done
        assert waiting.cancelled()
        node.deaf = False


@pytest.mark.usefixtures("hurried")
async def test_a_wait_that_is_over_ends_soon_when_no_node_answers_any_more(
    node: LockingNode, kv: AsyncClient
) -> None:
    def deaf_in_time(session: Session, frame: RequestFrame) -> None:
        node.watched(session, frame)
        node.deaf = node.deaf or frame.kind == RequestKind.WATCH

    async with plain(node.endpoint) as other, other.lock("job", ttl=60):
        node.answer = deaf_in_time
        async with asyncio.timeout(10):
            with pytest.raises(Held, match="the wait is over"):
                await kv.lock("job", ttl=60, wait=0.05).acquire()
        node.deaf, node.answer = False, node.watched


@pytest.mark.usefixtures("hurried")
async def test_a_clean_up_whose_fate_was_lost_is_done_again_but_not_for_long(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with plain(node.endpoint) as other, other.lock("job", ttl=60):
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()
        node.answer = lambda session, _: session.transport.abort()
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=10)
        assert done
        assert waiting.cancelled()
        node.answer = node.watched


async def test_a_clean_up_that_was_lost_once_leaves_nothing(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with plain(node.endpoint) as other, other.lock("job", ttl=60) as lock:
        waiting = asyncio.create_task(kv.lock("job", ttl=60).acquire())
        await node.watch()

        def once(session: Session, frame: RequestFrame) -> None:
            node.answer = node.watched
            session.transport.abort()

        node.answer = once
        waiting.cancel()
        await asyncio.wait({waiting})
        assert list(node.leases) == [lock.lease.id]


async def test_a_release_takes_no_longer_than_its_timeout(node: LockingNode) -> None:
    """It was asked twice, each time with all of it."""
    async with plain(node.endpoint) as kv:
        lock = await kv.lock("job", ttl=60, timeout=0.1).acquire()
        revokes = 0

        def lost_at_the_end(session: Session, frame: RequestFrame) -> None:
            nonlocal revokes
            revokes += 1

        node.answer = lost_at_the_end
        with pytest.raises(Exception, match="no answer"):
            await lock.release()
        assert revokes == 1


@pytest.mark.parametrize("kind", ["lock", "election"])
async def test_a_release_that_failed_may_be_tried_again(
    node: LockingNode, kv: AsyncClient, kind: str
) -> None:
    """The second try was told that nothing is held, and the next one had to wait."""
    lock, election = kv.lock("job", ttl=60), kv.election("job", ttl=60)
    if kind == "lock":
        await lock.acquire()
    else:
        await election.campaign("me")
    give_up = lock.release if kind == "lock" else election.resign
    node.answer = refusing(ErrorCode.NO_SPACE)
    for _ in range(2):
        with pytest.raises(NoSpace) as failed:
            await give_up()
        assert failed.value.retryable
    node.answer = node.watched
    await give_up()
    assert (node.leases, node.keys) == ({}, {})
    with pytest.raises(InvalidRequest):
        await give_up()


async def test_a_release_that_is_cancelled_may_be_tried_again(
    node: LockingNode, kv: AsyncClient
) -> None:
    lock = await kv.lock("job", ttl=60).acquire()
    node.deaf = True
    asked = len(node.requests)
    releasing = asyncio.create_task(lock.release())
    await node.wait_for(lambda: len(node.requests) > asked)
    releasing.cancel()
    await asyncio.wait({releasing})
    node.deaf = False
    with pytest.raises(InvalidRequest, match="not held"):
        assert lock.token
    await lock.release()
    assert (node.leases, node.keys) == ({}, {})


async def test_a_lock_whose_release_failed_is_acquired_anew(
    node: LockingNode, kv: AsyncClient
) -> None:
    lock = await kv.lock("job", ttl=60).acquire()
    node.answer = refusing(ErrorCode.NO_SPACE)
    with pytest.raises(NoSpace):
        await lock.release()
    node.answer = node.watched
    (left,) = node.leases
    acquiring = asyncio.create_task(lock.acquire())
    await node.watch()
    node.end_lease(left)
    await acquiring
    await lock.release()
    assert (node.leases, node.keys) == ({}, {})


# -- its name --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 65_535, b"n" * 65_535])
async def test_a_name_whose_key_no_command_carries_is_refused(
    node: LockingNode, kv: AsyncClient, name: str | bytes
) -> None:
    for holding in (kv.lock(name, ttl=60).acquire(), kv.election(name).campaign("me")):
        with pytest.raises(TooLarge, match="the key has"):
            await holding
    assert node.keys == {}
    assert node.leases == {}
    assert [type(command) for command in node.asked] == [Grant, Revoke] * 2
