"""Leases as callers have them, against a node; test_lease_time.py is about their time.

Nothing here waits for time to pass: a lease of a minute is kept alive by nobody yet.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence

import pytest
from quorate.client import (
    Closed,
    DeadlineExceeded,
    InvalidRequest,
    Lease,
    LeaseExists,
    LeaseInfo,
    LeaseNotFound,
    Pipeline,
    SyncLease,
    Txn,
    Unavailable,
    Unknown,
)
from quorate.wire import (
    DEFAULT_LIMITS,
    LEASES_PAGE_MAX,
    ErrorCode,
    Grant,
    KeepAlive,
    LeaseAnswer,
    ListLeases,
    Outcome,
    RequestFrame,
    Revoke,
    TimeToLive,
    decode_command,
    encode_lease_answer,
    encode_lease_list,
)

from .fake_node import (
    Answer,
    FakeNode,
    Session,
    hanging_up,
    mute,
    plain,
    plain_sync,
    refusing,
    running,
)
from .test_synchronous import NodeThread, client_threads


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    """A node that runs."""
    fake = FakeNode()
    async with running(fake):
        yield fake


def other_tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}


def only_first(answer: Answer, node: FakeNode) -> Answer:
    """Something else for the first request, then all goes well."""

    def first(session: Session, frame: RequestFrame) -> None:
        node.answer = node.serve
        answer(session, frame)

    return first


async def test_a_context_grants_a_lease_and_revokes_it_with_its_keys(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        async with kv.lease(60) as lease:
            assert node.leases == {lease.id: 60_000}
            assert 0 < lease.id < 2**63
            await kv.put("a", "1", lease=lease.id)
            entry = await kv.get("a")
            assert entry is not None
            assert entry.lease == lease.id
            assert 0 < lease.left <= 60
            assert not lease.lost.is_set()
            assert await lease.info(keys=True) == LeaseInfo(lease.id, 60, 60, (b"a",))
            assert await lease.info() == LeaseInfo(lease.id, 60, 60, ())
        assert node.leases == {}
        assert await kv.get("a") is None
        assert (lease.left, lease.lost.is_set()) == (0.0, True)
    assert node.asked == [
        Grant(lease.id, 60_000),
        TimeToLive(lease.id, True),
        TimeToLive(lease.id, False),
        Revoke(lease.id),
    ]


@pytest.mark.slow
async def test_a_lease_is_kept_alive_while_its_context_is_open(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv, kv.lease(1.5) as lease:
        await node.wait_for(lambda: node.asked.count(KeepAlive(lease.id)) == 2)
        assert not lease.lost.is_set()
        node.end(lease.id)
        async with asyncio.timeout(10):
            await lease.lost.wait()


async def test_each_call_about_a_lease_is_asked_as_it_was_meant(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        for number in (5, 2**64 - 1):
            await kv.lease(30, lease=number).grant()
        assert await kv.leases() == [5, 2**64 - 1]
        assert await kv.keep_alive(5) == LeaseInfo(5, 30, 30, ())
        assert await kv.lease_info(5) == LeaseInfo(5, 30, 30, ())
        await kv.revoke(5)
        assert await kv.leases() == [2**64 - 1]
    assert node.asked[2:] == [
        ListLeases(0, LEASES_PAGE_MAX),
        KeepAlive(5),
        TimeToLive(5),
        Revoke(5),
        ListLeases(0, LEASES_PAGE_MAX),
    ]


async def test_all_leases_are_listed_page_by_page(node: FakeNode) -> None:
    node.leases = dict.fromkeys(range(1, 2 * LEASES_PAGE_MAX + 1), 60_000)
    async with plain(node.endpoint) as kv:
        assert await kv.leases() == list(node.leases)
    assert node.asked == [
        ListLeases(after, LEASES_PAGE_MAX)
        for after in (0, LEASES_PAGE_MAX, 2 * LEASES_PAGE_MAX)
    ]


@pytest.mark.parametrize(
    "leases",
    [(0,), (5, 4), (5, 5), range(1, LEASES_PAGE_MAX + 2)],
    ids=["before", "not in order", "twice", "too many"],
)
async def test_a_list_of_leases_that_was_not_asked_for_is_not_believed(
    leases: Sequence[int],
) -> None:
    node, honest = FakeNode(), FakeNode()
    body = encode_lease_list(1, leases)
    node.answer = lambda session, frame: session.reply(frame, body)
    async with running(node, honest) as endpoints, plain(endpoints) as kv:
        assert await kv.leases() == []
        assert (len(node.requests), len(honest.requests)) == (1, 1)


async def test_a_lease_that_is_not_there_is_not_found(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        for call in (
            kv.keep_alive(5),
            kv.lease_info(5),
            kv.revoke(5),
            kv.put("k", "v", lease=5),
        ):
            with pytest.raises(LeaseNotFound) as caught:
                await call
            assert (caught.value.outcome, caught.value.retryable) == (
                "not_applied",
                False,
            )
        assert node.keys == {}


async def test_an_id_is_given_once(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        first = await kv.lease(30, lease=5).grant()
        with pytest.raises(LeaseExists):
            await kv.lease(30, lease=5).grant()
        with pytest.raises(InvalidRequest, match="once"):
            await first.grant()
        await first.revoke()
        with pytest.raises(InvalidRequest, match="once"):
            await first.grant()


async def test_a_grant_that_failed_may_be_tried_again(node: FakeNode) -> None:
    node.answer = only_first(refusing(ErrorCode.NO_SPACE), node)
    async with plain(node.endpoint) as kv:
        lease = kv.lease(30)
        with pytest.raises(Exception, match="no_space"):
            await lease.grant()
        assert (lease.left, lease.over) == (0.0, False)
        assert keepers() == []
        async with lease:
            assert node.leases == {lease.id: 30_000}


def granted_but_not_heard_of(node: FakeNode) -> Answer:
    """It is done, and nobody is told so."""

    def answer(session: Session, frame: RequestFrame) -> None:
        command = decode_command(frame.body, DEFAULT_LIMITS)
        assert isinstance(command, Grant)
        node.leases[command.lease] = command.ttl_ms
        session.refuse(frame, ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)

    return only_first(answer, node)


async def test_a_grant_whose_fate_was_lost_is_had_when_it_is_tried_again(
    node: FakeNode,
) -> None:
    node.answer = granted_but_not_heard_of(node)
    async with plain(node.endpoint) as kv:
        lease = kv.lease(30)
        with pytest.raises(Unknown):
            await lease.grant()
        assert keepers() == []
        async with lease:
            # When its time began is not known: so it has begun anew.
            assert node.asked == [Grant(lease.id, 30_000), KeepAlive(lease.id)]
            assert 0 < lease.left <= 30
            assert len(keepers()) == 1
        assert node.leases == {}


async def test_an_id_that_was_given_may_be_somebody_elses_however_often_it_is_tried(
    node: FakeNode,
) -> None:
    node.answer = granted_but_not_heard_of(node)
    async with plain(node.endpoint) as kv:
        lease = kv.lease(30, lease=5)
        with pytest.raises(Unknown):
            await lease.grant()
        with pytest.raises(LeaseExists):
            await lease.grant()
        assert keepers() == []


async def test_a_lease_stands_wherever_its_id_is_expected(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        lease = await kv.lease(30).grant()
        await kv.put("a", "1", lease=lease)
        await kv.run(Pipeline().put("b", "2", lease=lease))
        for key in "ab":
            entry = await kv.get(key)
            assert entry is not None
            assert entry.lease == lease.id
        by_lease, by_id = (
            Txn().if_lease("a", named).put("c", "3", lease=named).transaction()
            for named in (lease, lease.id)
        )
        assert by_lease == by_id
        assert (await kv.keep_alive(lease)).id == (await kv.lease_info(lease)).id
        await kv.revoke(lease)
        assert node.leases == {}


@pytest.mark.parametrize("number", [-1, 2**64, 2**70])
async def test_an_id_that_can_not_be_is_refused_before_it_is_sent(
    node: FakeNode, number: int
) -> None:
    async with plain(node.endpoint) as kv:
        with pytest.raises(InvalidRequest, match="lease"):
            kv.lease(30, lease=number)
        with pytest.raises(InvalidRequest, match="lease"):
            Txn().put("k", "v", lease=number)
        with pytest.raises(InvalidRequest, match="lease"):
            Txn().if_lease("k", number)
        for call in (
            kv.put("k", "v", lease=number),
            kv.keep_alive(number),
            kv.lease_info(number),
            kv.revoke(number),
        ):
            with pytest.raises(InvalidRequest, match="lease"):
                await call
    assert node.requests == []


async def test_no_lease_has_the_id_0(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        for call in (kv.keep_alive(0), kv.lease_info(0), kv.revoke(0)):
            with pytest.raises(InvalidRequest, match="lease"):
                await call
        # For a put it means none, for a new one any.
        await kv.put("k", "v", lease=0)
        lease = await kv.lease(30, lease=0).grant()
        assert lease.id
        await lease.revoke()


@pytest.mark.parametrize("ttl", [0, 0.999, -1, float("nan"), float("inf"), 1e10])
async def test_a_time_that_can_not_be_is_refused_before_it_is_sent(
    node: FakeNode, ttl: float
) -> None:
    async with plain(node.endpoint) as kv:
        with pytest.raises(InvalidRequest, match="ttl"):
            kv.lease(ttl)
    assert node.requests == []


class Told(Exception):
    """What a caller does not want to lose."""


@pytest.mark.parametrize(
    "answer", [hanging_up, refusing(ErrorCode.INTERNAL), refusing(ErrorCode.NO_LEADER)]
)
async def test_an_error_inside_is_not_replaced_by_one_of_the_end(
    node: FakeNode, answer: Answer
) -> None:
    async with plain(node.endpoint) as kv:

        async def fail() -> None:
            async with kv.lease(60, timeout=0.2):
                node.answer = answer
                raise Told

        with pytest.raises(Told):
            await fail()
        assert node.leases


async def test_an_end_that_fails_is_told_when_nothing_else_is(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        lease = kv.lease(60)
        with pytest.raises(Unknown):
            async with lease:
                node.answer = hanging_up
        assert lease.lost.is_set()
        assert lease.left == 0.0


async def test_a_lease_that_has_gone_meanwhile_is_no_error_at_the_end(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        async with kv.lease(60) as lease:
            node.end(lease.id)
        assert lease.lost.is_set()


async def test_who_is_cancelled_inside_revokes_and_stays_cancelled(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        inside = asyncio.Event()

        async def hold() -> None:
            async with kv.lease(60):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert node.leases == {}
        assert keepers() == []


async def test_who_is_cancelled_while_it_is_revoked_leaves_nothing_behind(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        lease = await kv.lease(60).grant()
        node.answer = mute
        count = len(node.requests)
        task = asyncio.create_task(lease.revoke())
        await node.wait_for(lambda: len(node.requests) > count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lease.lost.is_set()
        assert keepers() == []


async def test_who_is_cancelled_while_it_is_granted_keeps_nothing_alive(
    node: FakeNode,
) -> None:
    node.answer = mute
    async with plain(node.endpoint) as kv:
        lease = kv.lease(60)
        task = asyncio.create_task(lease.grant())
        await node.wait_for(lambda: bool(node.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (lease.left, keepers()) == (0.0, [])


async def test_an_abandoned_lease_is_there_until_its_time_is_over(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        lease = await kv.lease(60).grant()
        assert len(keepers()) == 1
        await lease.abandon()
        assert keepers() == []
        assert 0 < lease.left <= 60
        assert node.leases == {lease.id: 60_000}


async def test_closing_the_client_leaves_no_task_and_the_leases_to_themselves(
    node: FakeNode,
) -> None:
    before = other_tasks()
    kv = plain(node.endpoint)
    leases = [await kv.lease(60).grant() for _ in range(3)]
    assert len(keepers()) == 3
    await leases[0].revoke()
    await kv.close()
    assert other_tasks() <= before
    assert node.leases.keys() == {lease.id for lease in leases[1:]}
    assert leases[1].left > 0
    with pytest.raises(Closed, match="closed"):
        await leases[1].revoke()
    with pytest.raises(Closed, match="closed"):
        await kv.lease(60).grant()
    assert other_tasks() <= before


def keepers() -> list[asyncio.Task[object]]:
    """The tasks that keep some lease alive."""
    return [
        task for task in asyncio.all_tasks() if "Lease._keep" in repr(task.get_coro())
    ]


# -- what may be asked again -----------------------------------------------------------


@pytest.mark.parametrize("answer", [hanging_up, refusing(ErrorCode.NO_LEADER)])
async def test_a_question_is_asked_of_another_node(answer: Answer) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = answer
    other.leases[5] = 30_000
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        assert await kv.leases() == [5]
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        assert (await kv.lease_info(5)).ttl == 30
    assert len(node.requests) == 2


async def test_a_question_whose_answer_was_lost_is_asked_again(node: FakeNode) -> None:
    node.leases[5] = 30_000
    lost = refusing(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)
    node.answer = only_first(lost, node)
    async with plain(node.endpoint) as kv:
        assert (await kv.lease_info(5)).ttl == 30
        node.answer = lost
        with pytest.raises(DeadlineExceeded):
            await kv.leases(timeout=0.1)


@pytest.mark.parametrize(
    "answer", [hanging_up, refusing(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)]
)
async def test_what_does_something_is_unknown_and_never_sent_twice(
    answer: Answer,
) -> None:
    for name in ("grant", "revoke", "keep_alive"):
        node, other = FakeNode(), FakeNode()
        node.answer = answer
        async with running(node, other) as endpoints, plain(endpoints) as kv:
            with pytest.raises(Unknown):
                await {
                    "grant": lambda kv=kv: kv.lease(30).grant(),
                    "revoke": lambda kv=kv: kv.revoke(5),
                    "keep_alive": lambda kv=kv: kv.keep_alive(5),
                }[name]()
        assert (len(node.requests), other.requests) == (1, [])
        assert keepers() == []


async def test_an_answer_about_another_lease_is_not_believed(node: FakeNode) -> None:
    def other(session: Session, frame: RequestFrame) -> None:
        session.reply(frame, encode_lease_answer(LeaseAnswer(1, 6, 30_000, 30_000)))

    node.answer = other
    async with plain(node.endpoint, timeout=0.2) as kv:
        with pytest.raises(Unknown, match="another lease"):
            await kv.keep_alive(5)
        with pytest.raises(Unavailable, match="another lease"):
            await kv.lease_info(5)


# -- the synchronous twin --------------------------------------------------------------


def test_the_leases_of_the_twins_are_used_alike() -> None:
    def public(lease: type[Lease] | type[SyncLease]) -> set[str]:
        return {name for name in vars(lease) if not name.startswith("_")}

    # What is an attribute here is a property there; `lost` says what `over` does.
    assert public(SyncLease) == (public(Lease) | {"id", "ttl", "lost"}) - {"over"}
    for name in ("grant", "revoke", "abandon", "info"):
        ours = inspect.signature(getattr(SyncLease, name))
        assert ours.parameters == inspect.signature(getattr(Lease, name)).parameters


def test_the_synchronous_client_has_leases_too() -> None:
    thread = NodeThread(FakeNode())
    thread.start()
    node = thread.node
    try:
        with plain_sync(node.endpoint) as kv:
            with kv.lease(60) as lease:
                assert (lease.ttl, lease.lost) == (60.0, False)
                assert 0 < lease.left <= 60
                kv.put("a", "1", lease=lease)
                assert kv.leases() == [lease.id]
                assert kv.lease_info(lease.id, keys=True).keys == (b"a",)
                assert lease.info(keys=True).keys == (b"a",)
                assert kv.keep_alive(lease).ttl == 60
            assert (lease.lost, lease.left) == (True, 0.0)
            assert kv.get("a") is None
            with pytest.raises(LeaseNotFound):
                kv.revoke(lease.id)
            with pytest.raises(Told), kv.lease(60):
                raise Told
            assert node.leases == {}
            abandoned = kv.lease(60, lease=5).grant()
            abandoned.abandon()
            assert not abandoned.lost
            with pytest.raises(InvalidRequest):
                kv.lease(0.5)
            held = kv.lease(60).grant()
        assert client_threads() == []
        # Nobody keeps it alive; and that can be seen without the client's thread.
        assert 0 < held.left <= 60
        assert not held.lost
        with pytest.raises(Closed, match="closed"):
            held.revoke()
    finally:
        thread.stop()
