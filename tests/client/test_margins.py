"""Without a leader: the node says so late, and the caller is told it all the same."""

import asyncio

import pytest
from quorate.client import AsyncClient, Unavailable
from quorate.client.margins import margin_of, node_timeout_ms
from quorate.wire import ErrorCode, RequestFrame, RequestKind

from .fake_node import FakeNode, Session, plain, running

# A node looks at deadlines every 10 ms.
LATE_SECONDS = 0.01


def without_a_leader(*nodes: FakeNode) -> None:
    """Each answers when the time is over that it was told, and a little later."""

    def answer(session: Session, frame: RequestFrame) -> None:
        asyncio.get_running_loop().call_later(
            frame.timeout_ms / 1000 + LATE_SECONDS,
            lambda: session.refuse(frame, ErrorCode.NO_LEADER),
        )

    for node in nodes:
        node.answer = answer


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("sessions", [False, True])
async def test_a_write_without_a_leader_is_known_not_to_have_happened(
    count: int, sessions: bool
) -> None:
    nodes = [FakeNode() for _ in range(count)]
    async with (
        running(*nodes) as endpoints,
        AsyncClient(endpoints, sessions=sessions) as kv,
    ):
        await kv.put("session", "open")
        without_a_leader(*nodes)
        # The margin is a tenth of what one node is given: 0.1 s at least.
        asked = kv.put("k", "v", timeout=2.0), kv.delete("k", timeout=2.5)
        for told in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(told, Unavailable)
            assert "no_leader" in str(told)


async def test_a_read_without_a_leader_says_so() -> None:
    nodes = FakeNode(), FakeNode()
    async with running(*nodes) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v")
        without_a_leader(*nodes)
        with pytest.raises(Unavailable, match="no_leader"):
            await kv.get("k", timeout=1.0)


async def test_a_write_is_not_sent_when_its_answer_would_come_too_late() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v")
        node.requests.clear()
        without_a_leader(node)
        with pytest.raises(Unavailable):
            await kv.put("k", "v", timeout=1.2)
        assert [frame.kind for frame in node.requests] == [RequestKind.WRITE]


def test_there_is_time_for_an_answer_whatever_the_deadline_is() -> None:
    for patience in (0.02, 0.1, 0.3, 1.0, 5.0, 600.0):
        margin = margin_of(patience)
        assert min(patience / 2, 0.05) <= margin <= 0.2
        assert node_timeout_ms(patience) == max(1, int((patience - margin) * 1000))
