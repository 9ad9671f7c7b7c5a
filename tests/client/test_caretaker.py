"""The caretaker as callers have it, in both clients."""

from collections.abc import AsyncIterator, Callable, Coroutine

import msgspec
import pytest
from quorate.client import AsyncClient, CaretakerStatus, Client, InvalidRequest
from quorate.wire import (
    Decided,
    JoinToken,
    MakeToken,
    MemberRole,
    Reassign,
    SetCaretaker,
    decode_join_token,
)

from .fake_node import FakeNode, running
from .test_membership import A1, B2, view
from .test_synchronous import NodeThread


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    fake = FakeNode()
    fake.members = view(A1, A1, "")
    async with running(fake):
        yield fake


async def test_it_is_told_in_seconds_and_keeps_what_is_left_out(
    node: FakeNode,
) -> None:
    async with AsyncClient(node.endpoint) as kv:
        await kv.set_caretaker(paused=True)
        await kv.set_caretaker(voters=5, silence=7.5, stable=2, lag=0.25)
        await kv.set_caretaker(paused=False, lag=0)
    assert node.wished == [
        SetCaretaker(paused=True),
        SetCaretaker(None, 5, 7500, 2000, 250),
        SetCaretaker(paused=False, lag_ms=0),
    ]


async def test_what_it_did_and_waits_for_is_told(node: FakeNode) -> None:
    assert node.members is not None
    done = Decided("replace", A1, B2, 1234, "n1 not heard for 61 s, replaced by n2")
    told = CaretakerStatus(voters=5, waits_for="something", decisions=(done,))
    node.members = msgspec.structs.replace(node.members, caretaker=told)
    async with AsyncClient(node.endpoint) as kv:
        assert await kv.caretaker() == told


async def test_members_may_be_spares(node: FakeNode) -> None:
    async with AsyncClient(node.endpoint) as kv:
        await kv.spare_member("n2")
        token: JoinToken = decode_join_token(await kv.create_token("spare"))
    first, second = node.wished
    assert first == Reassign(0xB2, MemberRole.SPARE, 0)
    assert isinstance(second, MakeToken)
    assert (second.token, second.role) == (token.token, MemberRole.SPARE)


def test_the_synchronous_client_says_and_is_told_the_same() -> None:
    fake = FakeNode()
    fake.members = view(A1, A1, "")
    thread = NodeThread(fake)
    thread.start()
    try:
        with Client(fake.endpoint) as kv:
            kv.set_caretaker(
                paused=True, voters=5, silence=7.5, stable=2, lag=0.25, timeout=3
            )
            kv.spare_member("n2")
            assert kv.caretaker() == CaretakerStatus()
    finally:
        thread.stop()
    assert fake.wished == [
        SetCaretaker(True, 5, 7500, 2000, 250),
        Reassign(0xB2, MemberRole.SPARE, 0),
    ]


IMPOSSIBLE: list[Callable[[AsyncClient], Coroutine[object, object, None]]] = [
    lambda kv: kv.set_caretaker(),
    lambda kv: kv.set_caretaker(voters=2),
    lambda kv: kv.set_caretaker(voters=9),
    lambda kv: kv.set_caretaker(silence=1),
    lambda kv: kv.set_caretaker(silence=-1),
    lambda kv: kv.set_caretaker(silence=float("nan")),
    lambda kv: kv.set_caretaker(stable=0),
    lambda kv: kv.set_caretaker(stable=float("inf")),
    lambda kv: kv.set_caretaker(lag=0.001),
    lambda kv: kv.set_caretaker(lag=0.0001),
    lambda kv: kv.set_caretaker(lag=11),
]


@pytest.mark.parametrize("call", IMPOSSIBLE)
async def test_what_can_not_be_meant_is_not_sent(
    node: FakeNode, call: Callable[[AsyncClient], Coroutine[object, object, None]]
) -> None:
    async with AsyncClient(node.endpoint) as kv:
        with pytest.raises(InvalidRequest):
            await call(kv)
    assert node.wished == []
