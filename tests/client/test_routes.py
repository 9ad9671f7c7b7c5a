"""Which node a call goes to: who leads is learnt, reads are spread, who fails rests."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Unpack

import pytest
from quorate.client import AsyncClient, Unavailable, routes, siblings
from quorate.client.options import ClientOptions
from quorate.wire import ErrorCode, Member, Members, RequestFrame, RequestKind

from ..addresses import ELSEWHERE, silent_port
from .fake_node import FakeNode, Session, hello_bytes, mute, plain, refusing, running


class Cluster:
    """Fake nodes that tell of each other, and of one that leads."""

    def __init__(self, count: int) -> None:
        self.nodes: list[FakeNode] = []
        for number in range(1, count + 1):
            node = FakeNode()
            node.hello = hello_bytes(member_id=number)
            self.nodes.append(node)

    def lead(self, leader: int | None, *, at: str | None = None) -> None:
        """`leader`, from 1 on, leads, as all say; `at` is where it says that it is."""
        members = tuple(
            Member(
                f"{number:016x}",
                f"n{number}",
                "voter",
                True,
                number == leader,
                True,
                0,
                "h:1",
                f"http://{at if at and number == leader else node.endpoint}",
            )
            for number, node in enumerate(self.nodes, start=1)
        )
        told = None if leader is None else f"{leader:016x}"
        for node in self.nodes:
            node.members = Members(
                "0" * 16, "0" * 64, "0" * 16, told, 0, "", members, ()
            )

    def asked(self, kind: RequestKind) -> list[int]:
        """How many such requests each has got."""
        return [
            sum(1 for frame in node.requests if frame.kind == kind)
            for node in self.nodes
        ]


@asynccontextmanager
async def led(
    count: int,
    leader: int | None,
    at: str | None = None,
    **options: Unpack[ClientOptions],
) -> AsyncGenerator[tuple[Cluster, AsyncClient]]:
    """So many nodes, of which `leader` leads, and a client of the first one."""
    cluster = Cluster(count)
    async with running(*cluster.nodes):
        cluster.lead(leader, at=at)
        async with plain(cluster.nodes[0].endpoint, **options) as kv:
            yield cluster, kv


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(siblings, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(siblings, "SOON_SECONDS_MIN", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it does not come to that")


def leader_of(kv: AsyncClient) -> str | None:
    """Where the client has an open way to who leads."""
    leader = kv._calls._routes._leader
    return None if leader is None else str(leader.endpoint)


async def comes_to_know(kv: AsyncClient, leader: FakeNode) -> None:
    """The client asks for something, and soon has an open way to who leads."""
    await kv.get("k")
    await until(lambda: leader_of(kv) == leader.endpoint)


async def all_read(kv: AsyncClient, count: int) -> None:
    """The client asks for something, and soon spreads reads over so many."""
    await kv.get("k")
    await until(lambda: len(kv._calls._routes._readers) == count)


async def test_writes_and_strong_reads_go_to_the_leader_once_it_is_known() -> None:
    async with led(3, 3) as (cluster, kv):
        await kv.put("k", "v")
        assert cluster.asked(RequestKind.WRITE) == [1, 0, 0]
        await until(lambda: leader_of(kv) == cluster.nodes[2].endpoint)
        await kv.put("k", "v")
        await kv.get("k")
        assert [each.key async for each in kv.range("k")] == [b"k"]
        # These are content with what a node has, and near is better.
        await kv.get("k", level="local")
        await kv.get("k", level="bounded", max_staleness=1.0)
        assert [each async for each in kv.range("x", level="local")] == []
        assert cluster.asked(RequestKind.WRITE) == [1, 0, 1]
        assert cluster.asked(RequestKind.GET) == [2, 0, 1]
        assert cluster.asked(RequestKind.RANGE) == [1, 0, 1]


async def test_the_way_follows_the_leadership() -> None:
    async with led(3, 3) as (cluster, kv):
        await comes_to_know(kv, cluster.nodes[2])
        cluster.lead(2)
        await until(lambda: leader_of(kv) == cluster.nodes[1].endpoint)
        cluster.lead(None)
        await until(lambda: leader_of(kv) is None)
        await kv.put("k", "v")
        assert cluster.asked(RequestKind.WRITE) == [1, 0, 0]


def asks_no_more(kv: AsyncClient) -> bool:
    """Is there nothing to be asked for long, about who leads?"""
    timer = kv._calls._siblings._timer
    assert timer is not None
    return timer.when() > asyncio.get_running_loop().time() + 100


async def test_who_is_called_often_is_asked_soon_whether_he_still_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """He hands on what he gets, and no connection breaks."""
    async with led(3, 3) as (cluster, kv):
        await comes_to_know(kv, cluster.nodes[2])
        monkeypatch.setattr(siblings, "REFRESH_SECONDS", 1000.0)
        await until(lambda: asks_no_more(kv))
        cluster.lead(2)
        for _ in range(routes.LED_MAX):
            await kv.put("k", "v")
        await until(lambda: leader_of(kv) == cluster.nodes[1].endpoint)
        # It goes on so, and asks no more often.
        await until(lambda: asks_no_more(kv))
        asked = sum(cluster.asked(RequestKind.MEMBERS))
        for _ in range(routes.LED_MAX - 1):
            await kv.put("k", "v")
        await asyncio.sleep(2 * siblings.SOON_SECONDS_MIN)
        assert sum(cluster.asked(RequestKind.MEMBERS)) == asked
        cluster.lead(1)
        await kv.put("k", "v")
        await until(lambda: leader_of(kv) == cluster.nodes[0].endpoint)


async def test_without_its_leader_a_call_goes_on_where_it_began_before() -> None:
    async with led(3, 3) as (cluster, kv):
        _, second, third = cluster.nodes
        await comes_to_know(kv, third)
        await third.stop()
        await kv.put("k", "v")
        assert cluster.asked(RequestKind.WRITE) == [1, 0, 0]
        await until(lambda: leader_of(kv) is None)
        cluster.lead(2)
        await until(lambda: leader_of(kv) == second.endpoint)
        await kv.put("k", "v")
        assert cluster.asked(RequestKind.WRITE) == [1, 1, 0]


async def test_nobody_waits_for_a_leader_that_can_not_be_reached() -> None:
    """It says where it is in a network of its own."""
    with silent_port() as port:
        at = f"{ELSEWHERE}:{port}"
        async with led(2, 2, at) as (cluster, kv):
            await kv.get("k")
            await until(lambda: at in kv.endpoints)
            await until(lambda: bool(kv._calls._routes._dialling))
            async with asyncio.timeout(2):
                for number in range(100):
                    await kv.put("k", str(number))
            assert cluster.asked(RequestKind.WRITE) == [100, 0]


async def test_reads_of_a_balanced_client_are_spread_and_its_writes_are_not() -> None:
    async with led(3, 2, balance=True) as (cluster, kv):
        await all_read(kv, 3)
        assert leader_of(kv) == cluster.nodes[1].endpoint
        for _ in range(30):
            await kv.get("k")
            await kv.get("k", level="local")
            await kv.put("k", "v")
        assert min(cluster.asked(RequestKind.GET)) >= 15
        assert cluster.asked(RequestKind.WRITE) == [0, 30, 0]


async def test_of_two_nodes_that_which_owes_less_gets_the_read() -> None:
    async with led(2, 1, balance=True) as (cluster, kv):
        second = cluster.nodes[1]
        await all_read(kv, 2)
        second.answer = slow_to_answer(second)
        before = cluster.asked(RequestKind.GET)
        waiting = [asyncio.create_task(kv.get("k")) for _ in range(2)]
        await asyncio.sleep(0.02)
        for _ in range(20):
            await kv.get("k")
        after = cluster.asked(RequestKind.GET)
        assert after[0] - before[0] >= 20
        assert after[1] - before[1] <= 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def slow_to_answer(node: FakeNode) -> Callable[[Session, RequestFrame], None]:
    def answer(session: Session, frame: RequestFrame) -> None:
        if frame.kind != RequestKind.GET:
            node.serve(session, frame)

    return answer


async def test_a_node_that_answers_nothing_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "REST_SECONDS_MIN", 1000.0)
    monkeypatch.setattr(routes, "REST_SECONDS_MAX", 1000.0)
    async with led(3, 1, balance=True, timeout=0.4) as (cluster, kv):
        third = cluster.nodes[2]
        await all_read(kv, 3)
        third.answer = mute
        for _ in range(3):
            assert await kv.get("k") is None
        asked = cluster.asked(RequestKind.GET)
        # It answers again, and is not asked.
        third.answer = third.serve
        for _ in range(20):
            await kv.get("k")
        assert cluster.asked(RequestKind.GET)[2] == asked[2] <= 1
        (link,) = [
            link
            for link in kv._calls._routes.links
            if str(link.endpoint) == third.endpoint
        ]
        assert link.failures == 1
        # Its rest is over.
        link.rests_until = 0.0
        await until(lambda: link in kv._calls._routes._readers)
        for _ in range(20):
            await kv.get("k")
        assert cluster.asked(RequestKind.GET)[2] > asked[2]
        assert link.failures == 0


def test_each_failure_in_a_row_makes_the_rest_longer() -> None:
    async def main() -> None:
        kv = plain("127.0.0.1:1", jitter=lambda: 0.5)
        ways = kv._calls._routes
        link = ways.in_use
        rests: list[float] = []
        for _ in range(9):
            ways.failed(link)
            rests.append(link.rests_until - asyncio.get_running_loop().time())
        expected = [0.375, 0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5]
        assert rests == pytest.approx(expected, abs=0.2)
        await kv.close()

    asyncio.run(main())


async def test_a_balanced_watch_is_kept_by_a_node_that_does_not_lead() -> None:
    async with led(2, 1, balance=True) as (cluster, kv):
        first, second = cluster.nodes
        await all_read(kv, 2)
        at = kv._calls.next_link(()).endpoint
        assert str(at) == second.endpoint
        # When that does not have it, the others are asked.
        assert str(kv._calls.next_link({at}).endpoint) == first.endpoint
    async with led(2, 1) as (cluster, kv):
        await comes_to_know(kv, cluster.nodes[0])
        assert str(kv._calls.next_link(()).endpoint) == cluster.nodes[0].endpoint


async def test_who_keeps_to_what_was_given_asks_nobody_who_leads() -> None:
    async with led(2, 2) as (cluster, _):
        at = ",".join(node.endpoint for node in cluster.nodes)
        async with plain(at, learn=False) as kv:
            for _ in range(10):
                await kv.put("k", "v")
                await asyncio.sleep(0.01)
        assert cluster.asked(RequestKind.WRITE) == [10, 0]
        assert cluster.asked(RequestKind.MEMBERS) == [0, 0]


async def test_a_leader_that_refuses_to_lead_is_asked_for_soon() -> None:
    async with led(2, 2) as (cluster, kv):
        second = cluster.nodes[1]
        await comes_to_know(kv, second)
        second.answer = refusing(ErrorCode.STOPPING)
        assert await kv.put("k", "v") == 2
        assert cluster.asked(RequestKind.WRITE)[0] == 1


async def test_a_closed_client_dials_nobody_any_more() -> None:
    with silent_port() as port:
        async with led(2, 2, f"{ELSEWHERE}:{port}") as (_, kv):
            await kv.get("k")
            await until(lambda: bool(kv._calls._routes._dialling))
            async with asyncio.timeout(2):
                await kv.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if "connect" in repr(task)]


async def test_who_is_busy_everywhere_is_not_asked_without_bounds() -> None:
    """Five hundred calls of a second: each alone would ask some dozen times."""
    node = FakeNode()
    node.answer = refusing(ErrorCode.TOO_BUSY)
    async with running(node) as at, plain(at, timeout=1) as kv:
        puts = [kv.put(f"k{number}", "v") for number in range(500)]
        found = await asyncio.gather(*puts, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in found)
        assert 500 <= len(node.requests) <= 500 + 100 + 20
        # Once it is not busy any more, nobody waits longer than the others need.
        node.answer = node.serve
        puts = [kv.put(f"k{number}", "v", timeout=10) for number in range(500)]
        assert len(await asyncio.gather(*puts)) == 500
