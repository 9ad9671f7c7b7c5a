"""The end of a client: whatever goes on ends with it, and nothing begins meanwhile."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from quorate.client import AsyncClient, Closed
from quorate.wire import (
    DEFAULT_LIMITS,
    CloseSession,
    Command,
    Grant,
    InSession,
    RequestFrame,
    RequestKind,
    decode_command,
)

from .fake_node import FakeNode, Session, mute, plain, plain_sync, running
from .test_leases import other_tasks
from .watching_node import WatchingNode

Frame = tuple[Session, RequestFrame]


def never_answers(node: FakeNode) -> Callable[[], bool]:
    node.answer = mute
    return lambda: bool(node.requests)


def never_says_hello(node: FakeNode) -> Callable[[], bool]:
    node.hello = b""
    return lambda: any(session.greeted for session in node.sessions)


@pytest.mark.parametrize("hang", [never_answers, never_says_hello])
async def test_what_is_asked_of_one_node_ends_with_its_client(
    hang: Callable[[FakeNode], Callable[[], bool]],
) -> None:
    node, other = FakeNode(), FakeNode()
    hangs = hang(other)
    async with running(node, other):
        kv = plain(node.endpoint, timeout=600)
        await kv.put("k", "v")
        asking = asyncio.create_task(kv.status(other.endpoint))
        await other.wait_for(hangs)
        async with asyncio.timeout(10):
            await kv.close()
        assert asking.done()
        with pytest.raises(Closed, match="closed"):
            await asking
        await other.wait_for(lambda: not any(one.open for one in other.sessions))
        assert not other_tasks()


async def test_who_gives_up_a_question_meanwhile_does_not_end_the_closing() -> None:
    node, other = FakeNode(), FakeNode()
    hangs = never_answers(other)
    async with running(node, other):
        kv = plain(node.endpoint, timeout=600)
        asking = asyncio.create_task(kv.status(other.endpoint))
        await other.wait_for(hangs)
        asking.cancel()
        closing = asyncio.create_task(kv.close())
        await asyncio.sleep(0)
        asking.cancel()
        await closing
        assert asking.cancelled()


class Parting(WatchingNode):
    """Keeps back what it is asked to end, and to grant when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps_grants = False
        self.grants: list[Frame] = []
        self.goodbyes: list[Frame] = []
        self.answer = self.part

    def part(self, session: Session, frame: RequestFrame) -> None:
        if isinstance(said(frame), CloseSession):
            self.goodbyes.append((session, frame))
        elif self.keeps_grants and isinstance(said(frame), Grant):
            self.grants.append((session, frame))
        else:
            self.watched(session, frame)


def said(frame: RequestFrame) -> Command | None:
    if frame.kind != RequestKind.WRITE:
        return None
    command = decode_command(frame.body, DEFAULT_LIMITS)
    return command.command if isinstance(command, InSession) else command


async def test_nothing_begins_that_would_outlive_a_client_that_is_closing() -> None:
    node = Parting()
    async with running(node):
        kv = AsyncClient(node.endpoint, learn=False)
        await kv.put("k", "v")
        closing = asyncio.create_task(kv.close())
        await node.wait_for(lambda: bool(node.goodbyes))
        with pytest.raises(Closed, match="closed"):
            await kv.watch("k").begin()
        with pytest.raises(Closed, match="closed"):
            await anext(kv.watch("k"))
        with pytest.raises(Closed, match="closed"):
            await kv.lease(60).grant()
        with pytest.raises(Closed, match="closed"):
            await kv.lock("job", ttl=60).acquire()
        node.serve(*node.goodbyes[0])
        await closing
        assert (node.watches, node.asked) == ([], [])
        assert not other_tasks()


async def test_a_lease_that_is_granted_while_its_client_closes_is_left_to_itself() -> (
    None
):
    node = Parting()
    async with running(node):
        kv = AsyncClient(node.endpoint, learn=False)
        await kv.put("k", "v")
        node.keeps_grants = True
        granting = asyncio.create_task(kv.lease(60).grant())
        await node.wait_for(lambda: bool(node.grants))
        closing = asyncio.create_task(kv.close())
        await node.wait_for(lambda: bool(node.goodbyes))
        node.serve(*node.grants[0])
        lease = await granting
        node.serve(*node.goodbyes[0])
        await closing
        assert node.leases == {lease.id: 60_000}
        assert not lease.lost.is_set()
        assert not other_tasks()


def test_closing_does_not_wait_until_a_name_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, found = threading.Event(), threading.Event()

    def look_up(*args: object, **kwargs: object) -> object:
        asked.set()
        found.wait(60)
        raise socket.gaierror("there is no such host")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    kv = plain_sync("slow.example:7400", timeout=600)
    with ThreadPoolExecutor(2) as pool:
        getting = pool.submit(kv.get, "k")
        assert asked.wait(10)
        try:
            pool.submit(kv.close).result(10)
        finally:
            found.set()
        with pytest.raises(Closed, match="closed"):
            getting.result(10)
