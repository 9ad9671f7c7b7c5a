"""The socket of the client port: who gets in, and how it closes."""

import asyncio

import pytest
import uvloop
from quorate.node.api.listener import start_listener
from quorate.wire.commands import encode_put
from quorate.wire.errors import ErrorCode
from quorate.wire.frames import OK, ReplyParser, RequestKind
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.requests import GetRequest, Level, decode_error, encode_get

from .support import (
    OPTIONS,
    FakeService,
    NativeClient,
    Port,
    connect,
    head,
    http,
    native,
    open_port,
    wait_for,
)

GET_A = encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, b"a"))


async def test_the_first_bytes_decide_what_is_spoken() -> None:
    async with open_port() as port:
        async with native(port) as client:
            client.ask(RequestKind.WRITE, 1, encode_put(b"a", b"v"))
            assert (await client.reply()).status == OK
        assert (await http(port, "GET", "/v1/kv/a")).body == b"v"


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_the_first_bytes_may_come_one_by_one(size: int) -> None:
    async with open_port() as port:
        for first in (b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n", b"PRI * HTTP/2.0"):
            async with connect(port) as raw:
                raw.send(first[:size])
                await raw.drain()
                await asyncio.sleep(0)
                raw.send(first[size:])
                expected = 200 if first.startswith(b"PUT") else 505
                assert (await raw.http_reply()).status == expected


async def test_http_2_is_told_to_use_http_1() -> None:
    async with open_port() as port, connect(port) as raw:
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000))
        reply = await raw.http_reply()
        assert reply.status == 505
        assert b"HTTP/1.1" in reply.body
        assert await raw.read_to_end() == b""


@pytest.mark.parametrize("first", [b"", b"\xab", b"\xabQRT\x01\x01\x00", b"PRI", b"P"])
async def test_a_connection_that_says_too_little_is_closed(first: bytes) -> None:
    async with open_port(first_bytes_timeout_s=0.05) as port:
        async with connect(port) as raw:
            raw.send(first)
            assert await raw.read_to_end() == b""
        await wait_for(lambda: port.listener.connections == 0)


async def test_a_connection_that_has_spoken_may_take_its_time() -> None:
    async with (
        open_port(first_bytes_timeout_s=0.05) as port,
        native(port) as client,
        connect(port) as raw,
    ):
        raw.send(head("GET", "/livez"))
        await raw.http_reply()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await raw.reader.read(1)
        raw.send(head("GET", "/livez"))
        assert (await raw.http_reply()).status == 200
        client.ask(RequestKind.PING, 1)
        assert (await client.reply()).status == OK


async def test_connections_over_the_limit_are_closed_unread() -> None:
    async with open_port(connections_max=2) as port:
        async with native(port), native(port):
            async with connect(port) as raw:
                raw.send(head("GET", "/livez"))
                assert await raw.read_to_end() == b""
            assert port.listener.connections == 2
        await wait_for(lambda: port.listener.connections == 0)
        text = (await http(port, "GET", "/metrics")).body
        assert b"quorate_client_connections_refused_total 1.0\n" in text


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with open_port() as port:
        with pytest.raises(OSError):
            await start_listener(
                FakeService(DEFAULT_LIMITS), "127.0.0.1", port.listener.port, OPTIONS
            )


async def test_the_host_and_port_are_known() -> None:
    async with open_port() as port:
        assert port.listener.host == "127.0.0.1"
        assert port.listener.port > 0


async def test_closing_lets_replies_leave() -> None:
    async with open_port() as port:
        port.service.holding = True
        async with native(port) as client, connect(port) as raw, connect(port) as idle:
            client.ask(RequestKind.WRITE, 1, encode_put(b"a", b"v"))
            raw.send(head("GET", "/v1/kv/a"))
            idle.send(head("GET", "/livez"))
            await idle.http_reply()
            await wait_for(lambda: len(port.service.held) == 2)
            closing = asyncio.create_task(port.listener.close())
            await asyncio.sleep(0)
            port.service.release()
            assert (await raw.http_reply()).status == 200
            first, last = ReplyParser(DEFAULT_LIMITS).feed(await client.end())
            assert (first.request_id, first.status) == (1, OK)
            assert decode_error(last.body, DEFAULT_LIMITS).code == ErrorCode.STOPPING
            assert await idle.read_to_end() == b""
        await closing
        assert port.listener.connections == 0
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port.listener.port)


async def test_closing_does_not_wait_for_ever() -> None:
    async with open_port(drain_timeout_s=0.05) as port:
        port.service.holding = True
        async with native(port) as client, connect(port) as raw, connect(port) as mute:
            client.ask(RequestKind.PING, 1)
            raw.send(head("GET", "/v1/kv/a"))
            mute.send(b"P")
            await wait_for(lambda: len(port.service.held) == 2)
            async with asyncio.timeout(2):
                await port.listener.close()
            assert port.listener.connections == 0


def test_everything_works_on_uvloop_too() -> None:
    errors: list[object] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, each: errors.append(each))
        runner.run(_everything())
    assert not errors


async def _everything() -> None:
    async with open_port(stall_timeout_s=0.1, output_bytes_high=65536) as port:
        value = bytes(1_000_000)
        assert (await http(port, "PUT", "/v1/kv/a", value)).status == 200
        assert (await http(port, "GET", "/v1/kv/a")).body == value
        async with native(port) as client:
            await _speak(client, port)
        async with connect(port) as raw:
            raw.send(b"PRI * HTTP/2.0\r\n\r\n")
            assert (await raw.http_reply()).status == 505
        async with native(port) as client:
            client.raw.send(b"\xff" * 1_000_000)
            assert len(await client.end()) > 12
        async with native(port) as client:
            client.raw.stop_reading()
            for number in range(1, 200):
                client.ask(RequestKind.GET, number, GET_A)
            await wait_for(lambda: port.listener.connections == 0)


async def _speak(client: NativeClient, port: Port) -> None:
    for number in range(1, 3001):
        client.ask(RequestKind.PING, number)
    got = [(await client.reply()).request_id for _ in range(3000)]
    assert got == list(range(1, 3001))
    client.raw.writer.write_eof()
    assert await client.end() == b""
    await wait_for(lambda: port.listener.connections == 0)
