"""etcd's lock and election services: what the recording can't say, waits above all."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quorate.wire.errors import ErrorCode

from .lines import go, say, stand, waiting
from .support import Port, Reply, connect, head, http, open_port, wait_for


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port with two leases."""
    async with open_port() as opened:
        opened.service.leases |= {171: 30_000, 172: 30_000}
        yield opened


def b64(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(raw).decode()


async def call(port: Port, path: str, **message: object) -> Reply:
    return await http(port, "POST", f"/v3/{path}", json.dumps(message).encode())


def refused(reply: Reply, text: str, status: int = 500, code: int = 2) -> None:
    told = reply.json()
    assert (reply.status, told["code"], told["error"]) == (status, code, text)
    assert told["message"] == text


@pytest.mark.parametrize("size", [4097, 65_530, 65_535, 65_536])
async def test_a_name_or_a_key_that_is_too_long_is_refused_in_etcds_words(
    port: Port, size: int
) -> None:
    long = b64(bytes(size))
    leader = {"name": b64("e"), "key": long, "rev": "2", "lease": "171"}
    for path, message in (
        ("lock/lock", {"name": long}),
        ("lock/lock", {"name": long, "lease": "171"}),
        ("lock/unlock", {"key": long}),
        ("election/campaign", {"name": long, "value": "YQ=="}),
        ("election/proclaim", {"leader": leader, "value": "YQ=="}),
        ("election/resign", {"leader": leader}),
        ("election/leader", {"name": long}),
    ):
        told = await call(port, path, **message)
        refused(told, "etcdserver: request is too large", 400, 3)
    await wait_for(lambda: set(port.service.leases) == {171, 172})
    assert port.service.records == {}


async def test_a_lock_is_waited_for_and_its_header_is_of_then(port: Port) -> None:
    assert (await call(port, "lock/lock", name=b64("l"), lease="171")).status == 200
    wait = asyncio.create_task(call(port, "lock/lock", name=b64("l"), lease=172))
    await waiting(port)
    go(port, b"l/ab")
    reply = (await wait).json()
    assert reply["key"] == b64("l/ac")
    assert reply["header"]["revision"] == "4"  # pyright: ignore[reportIndexIssue]


async def test_a_lock_without_a_lease_gets_one_of_a_minute(port: Port) -> None:
    reply = (await call(port, "lock/lock", name=b64("l"))).json()
    (made,) = set(port.service.leases) - {171, 172}
    assert port.service.leases[made] == 60_000
    assert reply["key"] == b64(f"l/{made:x}")


async def test_a_lease_that_ends_while_it_waits_is_told_in_etcds_words(
    port: Port,
) -> None:
    stand(port, b"l", 5)
    wait = asyncio.create_task(call(port, "lock/lock", name=b64("l"), lease=172))
    await waiting(port)
    go(port, b"l/ac")
    refused(await wait, "mutex: session is expired")
    # Where etcd would say that it leads.
    wait = asyncio.create_task(
        call(port, "election/campaign", name=b64("l"), lease=172)
    )
    await waiting(port)
    go(port, b"l/ac")
    refused(await wait, "etcdserver: requested lease not found")


async def test_who_goes_away_while_he_waits_leaves_nothing(port: Port) -> None:
    holder = stand(port, b"l", 5)
    for path in ("lock/lock", "election/campaign"):
        for lease in (0, 172):
            body = json.dumps({"name": b64("l"), "lease": lease}).encode()
            async with connect(port) as raw:
                length = str(len(body))
                raw.send(head("POST", f"/v3/{path}", Content_Length=length) + body)
                await waiting(port)
            await wait_for(lambda: list(port.service.records) == [holder.key])
            await wait_for(lambda: set(port.service.leases) == {5, 171, 172})


async def test_a_node_without_a_leader_ends_its_waits(port: Port) -> None:
    holder = stand(port, b"l", 5)
    wait = asyncio.create_task(call(port, "lock/lock", name=b64("l"), lease=172))
    await waiting(port)
    port.service.end(ErrorCode.NO_LEADER)
    refused(await wait, "etcdserver: no leader", 503, 14)
    await wait_for(lambda: list(port.service.records) == [holder.key])


async def test_a_campaign_is_told_with_the_revision_at_which_it_began(
    port: Port,
) -> None:
    stand(port, b"e", 5, b"first")
    wait = asyncio.create_task(
        call(port, "election/campaign", name=b64("e"), lease=172, value=b64("me"))
    )
    await waiting(port)
    go(port, b"e/5")
    told = (await wait).json()
    assert told["leader"] == {
        "name": b64("e"),
        "key": b64("e/ac"),
        "rev": "3",
        "lease": "172",
    }
    assert told["header"]["revision"] == "3"  # pyright: ignore[reportIndexIssue]


async def test_a_proclamation_without_a_lease_gets_one(port: Port) -> None:
    holder = stand(port, b"e", 5, b"one")
    leader = {"key": b64(holder.key), "rev": "2"}
    reply = await call(port, "election/proclaim", leader=leader, value=b64("two"))
    assert reply.status == 200
    lease = port.service.records[holder.key].lease
    assert lease not in (0, 5)
    assert port.service.leases[lease] == 60_000


async def test_observing_tells_each_leader_in_a_message_of_its_own(port: Port) -> None:
    body = json.dumps({"name": b64("e")}).encode()
    async with connect(port) as raw:
        raw.send(
            head("POST", "/v3/election/observe", Content_Length=str(len(body))) + body
        )

        async def message() -> Any:
            async with asyncio.timeout(5):
                while not (line := await raw.reader.readline()).startswith(b"{"):
                    pass
                return json.loads(line)

        await wait_for(lambda: len(port.service.watches) == 1)
        stand(port, b"e", 171, b"one")
        told = (await message())["result"]
        assert told["kv"] == {
            "key": b64("e/ab"),
            "create_revision": "2",
            "mod_revision": "2",
            "version": "1",
            "value": b64("one"),
            "lease": "171",
        }
        assert told["header"]["revision"] == "2"
        say(port, b"e/ab", b"two")
        assert (await message())["result"]["kv"]["value"] == b64("two")
        go(port, b"e/ab")
        stand(port, b"e", 172, b"three")
        # That nobody leads in between is not told.
        assert (await message())["result"]["kv"]["value"] == b64("three")
        port.service.end(ErrorCode.NO_LEADER)
        error = (await message())["error"]
        assert (error["grpc_code"], error["message"]) == (14, "etcdserver: no leader")
        await raw.read_to_end()
