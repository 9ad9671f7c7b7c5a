"""A client's own load: what is refused for it, and what is spared."""

import asyncio

import pytest
from quorate.client import AsyncClient, TooBusy, in_flight, sessions
from quorate.wire import (
    DEFAULT_LIMITS,
    InSession,
    KeepAlive,
    Put,
    RequestFrame,
    RequestKind,
    Revoke,
    decode_command,
)

from .fake_node import FakeNode, Session, plain, running


class Reading(FakeNode):
    """Never answers a get, nor, when it is told so, other things."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: tuple[type, ...] = ()
        self.kept = 0
        self.answer = self.read

    def read(self, session: Session, frame: RequestFrame) -> None:
        if frame.kind == RequestKind.WRITE:
            command = decode_command(frame.body, DEFAULT_LIMITS)
            if isinstance(command, InSession):
                command = command.command
            if not isinstance(command, self.silent):
                self.serve(session, frame)
                return
        self.kept += 1


async def given_up(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("numbered", [False, True])
async def test_a_lease_is_kept_and_revoked_whatever_the_load_is(numbered: bool) -> None:
    node = Reading()
    async with (
        running(node),
        AsyncClient(
            node.endpoint, learn=False, in_flight_max=2, sessions=numbered
        ) as kv,
    ):
        lease = await kv.lease(60).grant()
        reads = [asyncio.create_task(kv.get("k")) for _ in range(2)]
        await node.wait_for(lambda: node.kept == 2)
        for refused in (kv.get("k"), kv.put("k", "v"), kv.lease(60).grant()):
            with pytest.raises(TooBusy, match="2 calls"):
                await refused
        assert (await kv.keep_alive(lease.id)).ttl == 60
        await lease.revoke()
        assert node.asked[1:] == [KeepAlive(lease.id), Revoke(lease.id)]
        await given_up(*reads)


async def test_a_lease_is_kept_however_many_bytes_are_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "IN_FLIGHT_BYTES_MAX", 100)
    node = Reading()
    node.silent = (Put,)
    async with running(node), plain(node.endpoint, learn=False) as kv:
        lease = await kv.lease(60).grant()
        write = asyncio.create_task(kv.put("k", "v" * 100))
        await node.wait_for(lambda: node.kept == 1)
        with pytest.raises(TooBusy, match="100 bytes"):
            await kv.get("k")
        await kv.keep_alive(lease.id)
        await lease.revoke()
        await given_up(write)


async def test_what_keeps_a_lease_takes_nobodys_room() -> None:
    node = Reading()
    node.silent = (KeepAlive,)
    async with running(node), plain(node.endpoint, in_flight_max=1) as kv:
        keeping = asyncio.create_task(kv.keep_alive(5))
        await node.wait_for(lambda: node.kept == 1)
        assert await kv.put("k", "v") == 2
        await given_up(keeping)


async def test_a_session_that_a_revocation_needs_is_opened_whatever_the_load_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "SESSION_WINDOW", 1)
    node = Reading()
    async with (
        running(node),
        AsyncClient(node.endpoint, learn=False, in_flight_max=1) as kv,
    ):
        lease = await kv.lease(60).grant()
        node.silent = (Put,)
        write = asyncio.create_task(kv.put("k", "v"))
        await node.wait_for(lambda: node.kept == 1)
        await lease.revoke()
        assert len(node.opened) == 2
        await given_up(write)
