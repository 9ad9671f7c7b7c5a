"""A client's token: shown in the hello, to each node, and nowhere else."""

import pytest
from quorate.client import (
    AsyncClient,
    Client,
    InvalidRequest,
    Rejected,
    Unauthenticated,
)

from .fake_node import FakeNode, hello_bytes, running

TOKEN = "canary-0123456789abcdef"


async def test_a_token_is_in_the_hello_and_in_no_request() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints, token=TOKEN) as kv:
        await kv.put("k", "v")
        await kv.status(endpoints)
    assert [session.token for session in node.sessions] == [TOKEN.encode()]
    assert not any(TOKEN.encode() in frame.body for frame in node.requests)


async def test_without_a_token_none_is_shown() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await kv.put("k", "v")
    assert node.sessions[0].token == b""


def closed_to_us() -> FakeNode:
    node = FakeNode()
    node.hello = hello_bytes(refused="this port wants a token")
    return node


async def test_a_call_that_no_node_lets_in_did_not_happen_and_says_why() -> None:
    nodes = closed_to_us(), closed_to_us()
    async with running(*nodes) as endpoints, AsyncClient(endpoints) as kv:
        with pytest.raises(Unauthenticated, match="wants a token") as caught:
            await kv.put("k", "v", timeout=60)
        with pytest.raises(Unauthenticated):
            await kv.get("k")
    assert isinstance(caught.value, Rejected)
    assert caught.value.outcome == "not_applied"
    assert not caught.value.retryable
    assert not any(node.requests for node in nodes)


async def test_a_node_that_lets_us_in_is_found_behind_one_that_does_not() -> None:
    first, second = closed_to_us(), FakeNode()
    async with running(first, second) as endpoints, AsyncClient(endpoints) as kv:
        assert await kv.put("k", "v") == 2


async def test_a_watch_that_is_not_let_in_says_so_at_once() -> None:
    async with running(closed_to_us()) as endpoints, AsyncClient(endpoints) as kv:
        with pytest.raises(Unauthenticated, match="wants a token"):
            async with kv.watch("k", timeout=60):
                raise AssertionError("it began")


@pytest.mark.parametrize("token", ["", "canary two", "canary\n", "cänary", "c" * 1025])
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    for make in (AsyncClient, Client):
        with pytest.raises(InvalidRequest) as caught:
            make("a:1", token=token)
        assert "canary" not in str(caught.value)


async def test_a_client_from_the_environment_takes_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = FakeNode()
    async with running(node) as endpoints:
        monkeypatch.setenv("QUORATE_ENDPOINTS", endpoints)
        monkeypatch.setenv("QUORATE_TOKEN", TOKEN)
        async with AsyncClient.from_env() as kv:
            await kv.put("k", "v")
        async with AsyncClient.from_env(token="another") as kv:
            await kv.put("k", "v")
    assert [each.token for each in node.sessions] == [TOKEN.encode(), b"another"]
