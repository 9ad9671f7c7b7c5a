"""Calls that nobody waits for any more, and peers that are not there any more."""

import asyncio
from contextlib import suppress

import pytest
from quorate.client import DeadlineExceeded, Unavailable
from quorate.wire import RequestFrame

from .fake_node import FakeNode, Session, plain, running


async def test_a_call_that_is_cancelled_in_its_turn_is_not_sent() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "1")
        calls = [asyncio.create_task(kv.put("k", str(n))) for n in (2, 3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert await calls[1] == 3
        assert [frame.body[-1:] for frame in node.requests] == [b"1", b"3"]


async def test_a_cancelled_call_leaves_nothing_at_a_node_that_does_not_read() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "1")
        connection = kv._calls._routes.in_use.connection
        assert connection is not None
        connection.pause_writing()
        call = asyncio.create_task(kv.put("k", b"x" * 1000))
        await asyncio.sleep(0.01)
        assert connection._unsent
        call.cancel()
        await asyncio.sleep(0.01)
        assert not connection._unsent
        connection.resume_writing()
        assert await kv.put("k", "2") == 3


@pytest.mark.slow
async def test_short_calls_find_out_that_their_peer_has_vanished() -> None:
    """It went without a word, and the address has another one behind it by now."""
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints, timeout=0.1) as kv:

        def answer(session: Session, frame: RequestFrame) -> None:
            if session is not node.sessions[0]:
                node.serve(session, frame)

        node.answer = answer
        async with asyncio.timeout(5):
            while len(node.sessions) < 2:
                with suppress(DeadlineExceeded, Unavailable):
                    await kv.get("k")
        assert await kv.get("k") is None
