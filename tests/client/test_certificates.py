"""Rotating and revoking as callers have them, in both clients."""

from collections.abc import AsyncIterator, Callable, Coroutine
from hashlib import sha256

import msgspec
import pytest
from quorate.client import AsyncClient, Client, InvalidRequest, Step
from quorate.wire import RevokeCertificate, Rotate

from .fake_node import FakeNode, running
from .test_membership import A1, view
from .test_synchronous import NodeThread


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    fake = FakeNode()
    fake.members = view(A1, A1, "")
    async with running(fake):
        yield fake


async def test_a_step_names_both_roots(node: FakeNode) -> None:
    async with AsyncClient(node.endpoint) as kv:
        with pytest.raises(InvalidRequest, match="another one"):
            await kv.rotate_authority(Step.TRUST, b"old", b"new")
        assert node.members is not None
        signs = sha256(b"old").hexdigest()
        node.members = msgspec.structs.replace(node.members, authority=signs)
        await kv.rotate_authority(Step.TRUST, b"old", b"new")
        await kv.rotate_authority(Step.ISSUE, b"old", b"new")
    assert node.wished == [
        Rotate(Step.TRUST, b"old", b"new"),
        Rotate(Step.ISSUE, b"old", b"new"),
    ]


async def test_a_member_or_a_certificate_is_revoked(node: FakeNode) -> None:
    async with AsyncClient(node.endpoint) as kv:
        await kv.revoke_certificate(member="n2")
        await kv.revoke_certificate(serial="00:0A:1b")
    assert node.wished == [
        RevokeCertificate(0xB2, b""),
        RevokeCertificate(0, b"\x0a\x1b"),
    ]


IMPOSSIBLE: list[Callable[[AsyncClient], Coroutine[object, object, None]]] = [
    lambda kv: kv.revoke_certificate(),
    lambda kv: kv.revoke_certificate(member="n2", serial="1"),
    lambda kv: kv.revoke_certificate(serial="no number"),
    lambda kv: kv.revoke_certificate(serial="0"),
    lambda kv: kv.revoke_certificate(serial="1" * 41),
    lambda kv: kv.rotate_authority(Step.ISSUE, b"same", b"same"),
]


@pytest.mark.parametrize("call", IMPOSSIBLE)
async def test_what_can_not_be_meant_is_refused(
    node: FakeNode, call: Callable[[AsyncClient], Coroutine[object, object, None]]
) -> None:
    async with AsyncClient(node.endpoint) as kv:
        with pytest.raises(InvalidRequest):
            await call(kv)
    assert node.wished == []


def test_the_synchronous_client_does_the_same() -> None:
    fake = FakeNode()
    fake.members = view(A1, A1, "")
    thread = NodeThread(fake)
    thread.start()
    try:
        with Client(fake.endpoint) as kv:
            kv.rotate_authority(Step.DROP, b"old", b"new")
            kv.revoke_certificate(serial="7")
    finally:
        thread.stop()
    assert fake.wished == [
        Rotate(Step.DROP, b"old", b"new"),
        RevokeCertificate(0, b"\x07"),
    ]
