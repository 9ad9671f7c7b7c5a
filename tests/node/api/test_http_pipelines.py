"""Requests that come behind one that is still served: what of them is held."""

from hashlib import sha256

import pytest
from quorate.node.api.budget import SharedBudget
from quorate.wire.frames import RequestKind

from .support import Asked, Port, Raw, connect, head, open_port, wait_for

MIB = 1 << 20
SIZE = 400_000
TOKEN = "t" * 32
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# They last: the first as the service does not answer; it is not plain with a range.
WAITING = [
    head("GET", "/v1/kv/a"),
    head("GET", "/v1/kv/a", Range="bytes=0-1"),
    head("GET", "/v1/watch?prefix="),
]


def put(size: int = SIZE, **headers: str) -> bytes:
    return head("PUT", "/v1/kv/a", Content_Length=str(size), **headers) + bytes(size)


def budget(port: Port) -> SharedBudget:
    return port.listener._port.partial


async def begin(port: Port, raw: Raw, request: bytes) -> None:
    """Have a request served that lasts until the service is released, or longer."""
    port.service.holding = True
    raw.send(request)
    await wait_for(lambda: len(port.service.asked) == 1)


@pytest.mark.parametrize("first", WAITING)
async def test_bodies_behind_a_request_that_waits_are_counted(first: bytes) -> None:
    """Behind a GET that waits, 31 values of half a megabyte were held for nothing."""
    async with open_port(partial_bytes_max=MIB) as port:
        async with connect(port) as raw:
            await begin(port, raw, first)
            raw.send(put())
            await wait_for(lambda: budget(port).held_bytes == SIZE)
            raw.send(put() * 3)
            assert b"200 OK" not in (await raw.read_to_end()).partition(b"\r\n\r\n")[2]
        await wait_for(lambda: budget(port).held_bytes == 0)
        assert len(port.service.asked) == 1


@pytest.mark.parametrize("first", WAITING[:2])
async def test_what_waited_is_not_counted_once_it_is_served(first: bytes) -> None:
    async with open_port(partial_bytes_max=MIB) as port, connect(port) as raw:
        await begin(port, raw, first)
        raw.send(put() * 2)
        await wait_for(lambda: budget(port).held_bytes == 2 * SIZE)
        answer = port.service.answer
        held: list[int] = []

        def counting(asked: Asked) -> None:
            if asked.kind == RequestKind.WRITE:
                held.append(budget(port).held_bytes)
            answer(asked)

        port.service.answer = counting
        port.service.release()
        assert [(await raw.http_reply()).status for _ in range(3)] == [404, 200, 200]
        assert held == [SIZE, 0]
        # Nor is one that came alone.
        raw.send(put())
        assert (await raw.http_reply()).status == 200
        assert held == [SIZE, 0, 0]


async def test_what_is_refused_before_anybody_is_known_is_not_counted_either() -> None:
    digest = sha256(TOKEN.encode()).digest()
    async with (
        open_port(partial_bytes_max=MIB, token_digests=(digest,)) as port,
        connect(port) as raw,
    ):
        await begin(port, raw, head("GET", "/v1/kv/a", **BEARER))
        raw.send(put(Authorization="Bearer nobody's"))
        await wait_for(lambda: budget(port).held_bytes == SIZE)
        port.service.release()
        assert (await raw.http_reply()).status == 404
        assert (await raw.http_reply()).status == 401
        assert budget(port).held_bytes == 0


async def test_behind_a_strangers_request_little_may_wait_and_it_takes_no_room() -> (
    None
):
    """Health is asked by anybody: strangers must not fill what is for all others."""
    digest = sha256(TOKEN.encode()).digest()
    async with (
        open_port(partial_bytes_max=MIB, token_digests=(digest,)) as port,
        connect(port) as little,
        connect(port) as much,
    ):
        await begin(port, little, head("GET", "/health"))
        much.send(head("GET", "/health"))
        await wait_for(lambda: len(port.service.asked) == 2)
        little.send(put(60_000, **BEARER))
        much.send(put(SIZE, **BEARER))
        assert await much.read_to_end() == b""
        assert budget(port).held_bytes == 0
        port.service.release()
        assert (await little.http_reply()).status == 200
        assert (await little.http_reply()).status == 200
