"""Writes over HTTP that carry a token, with everything that may stand beside it."""

import json
from collections.abc import AsyncIterator

import pytest
from quorate.wire.fences import Fence

from .lines import Stood, go, stand
from .support import Port, http, open_port, wait_for
from .test_http_locks import refused

KEY = "/v1/kv/k"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port, and somebody who holds a lock since revision 2."""
    async with open_port() as opened:
        yield opened


@pytest.fixture
def holder(port: Port) -> Stood:
    """The one who holds it."""
    return stand(port, b"job", 5)


async def test_a_put_with_a_token_is_done_while_the_lock_is_held(
    port: Port, holder: Stood
) -> None:
    reply = await http(port, "PUT", KEY, b"1", Quorate_Fence=holder.token)
    assert (reply.status, reply.json()) == (200, {"revision": 3})
    assert reply.headers["etag"] == '"3"'
    reply = await http(port, "PUT", f"{KEY}?fence={holder.token}", b"2")
    assert (reply.status, reply.json()) == (200, {"revision": 4})
    go(port, holder.key)
    for target, headers in (
        (KEY, {"Quorate_Fence": holder.token}),
        (f"{KEY}?fence={holder.token}", {}),
    ):
        reply = await http(port, "PUT", target, b"3", **headers)
        assert "is lost" in refused(reply, 412, "fenced")
        assert reply.json()["outcome"] == "not_applied"
        assert reply.json()["retryable"] is False
    assert port.service.records[b"k"].value == b"2"


async def test_a_delete_with_a_token_is_done_while_the_lock_is_held(
    port: Port, holder: Stood
) -> None:
    reply = await http(port, "DELETE", KEY, Quorate_Fence=holder.token)
    refused(reply, 404, "not_found")
    await http(port, "PUT", KEY, b"1")
    reply = await http(port, "DELETE", KEY, Quorate_Fence=holder.token)
    assert reply.status == 204
    await http(port, "PUT", KEY, b"1")
    go(port, holder.key)
    reply = await http(port, "DELETE", KEY, Quorate_Fence=holder.token)
    refused(reply, 412, "fenced")
    assert b"k" in port.service.records


async def test_it_is_told_which_condition_failed_the_fence_first(
    port: Port, holder: Stood
) -> None:
    await http(port, "PUT", KEY, b"1")
    fence = {"Quorate_Fence": holder.token}
    for method, headers in (
        ("PUT", {"If_None_Match": "*"}),
        ("PUT", {"If_Match": '"9"'}),
        ("DELETE", {"If_Match": '"9"'}),
    ):
        body = b"2" if method == "PUT" else None
        reply = await http(port, method, KEY, body, **fence, **headers)
        refused(reply, 412, "precondition_failed")
        assert reply.json()["revision"] == 3
        assert reply.headers["etag"] == '"3"'
    reply = await http(port, "PUT", KEY, b"2", **fence, If_Match='"3"')
    assert reply.status == 200
    go(port, holder.key)
    reply = await http(port, "PUT", KEY, b"2", **fence, If_Match='"9"')
    refused(reply, 412, "fenced")


async def test_a_fence_goes_with_leases_and_a_refused_put_leaves_none(
    port: Port, holder: Stood
) -> None:
    target = f"{KEY}?ttl=30s&fence={holder.token}"
    reply = await http(port, "PUT", target, b"1")
    assert reply.status == 200
    lease = int(reply.headers["quorate-lease"], 16)
    assert port.service.records[b"k"].lease == lease
    reply = await http(port, "PUT", f"{KEY}?lease={holder.lease}&fence=2.bQ", b"1")
    refused(reply, 412, "fenced")
    target = f"{KEY}?lease=00000000000000ff&fence={holder.token}"
    refused(await http(port, "PUT", target, b"1"), 404, "lease_not_found")
    before = set(port.service.leases)
    reply = await http(port, "PUT", f"{KEY}?ttl=30s&fence=2.bQ", b"1")
    refused(reply, 412, "fenced")
    await wait_for(lambda: set(port.service.leases) == before)


async def test_a_transaction_is_done_while_all_its_locks_are_held(
    port: Port, holder: Stood
) -> None:
    other = stand(port, b"other", 6)

    async def commit(fence: object) -> tuple[int, dict[str, object]]:
        document = {
            "fence": fence,
            "if": [{"key": "k", "exists": True}],
            "then": [{"put": {"key": "k", "value": "1"}}],
            "else": [{"put": {"key": "k", "value": "0"}}, {"get": {"key": "k"}}],
        }
        data = json.dumps(document).encode()
        reply = await http(port, "POST", "/v1/txn", data)
        return reply.status, reply.json()

    status, told = await commit(holder.token)
    assert (status, told["succeeded"], told["revision"]) == (200, False, 4)
    assert isinstance(told["results"], list)
    status, told = await commit([holder.token, other.token])
    assert (status, told["succeeded"], told["results"]) == (
        200,
        True,
        [{"found": True}],
    )
    go(port, other.key)
    before = port.service.revision
    status, told = await commit([holder.token, other.token])
    assert (status, told["code"], told["outcome"]) == (412, "fenced", "not_applied")
    status, told = await commit([])
    assert (status, told["code"]) == (400, "invalid_request")
    assert port.service.revision == before


@pytest.mark.parametrize(
    "token", ["", "7", "0.am9iLzU", "2.am9iLzU=", "2:am9iLzU", "\xff", '"2.am9iLzU"']
)
async def test_what_is_no_token_writes_nothing(port: Port, token: str) -> None:
    reply = await http(port, "PUT", KEY, b"1", Quorate_Fence=token)
    assert reply.status == 400
    assert port.service.asked == []


async def test_a_token_stands_in_one_place(port: Port, holder: Stood) -> None:
    reply = await http(
        port, "PUT", f"{KEY}?fence={holder.token}", b"1", Quorate_Fence=holder.token
    )
    refused(reply, 400, "invalid_request")
    reply = await http(port, "GET", f"{KEY}?fence={holder.token}")
    refused(reply, 400, "invalid_request")
    long = Fence(b"x" * 4097, 1).token
    reply = await http(port, "PUT", KEY, b"1", Quorate_Fence=long)
    refused(reply, 431, "key_too_long")
    assert port.service.asked == []
