"""Clients of HTTP that go, shut their side, do not read, or send too much ahead."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import uvloop
from quorate.node.api.http_connection import HttpConnection
from quorate.wire.errors import ErrorCode
from quorate.wire.records import Record
from quorate.wire.watches import encode_event

from ...wire.watch_replies import encode_events
from .lines import go, stand, waiting
from .support import Port, Raw, Reply, connect, head, http, open_port, wait_for

LOCK = b'{"ttl":10,"wait":60}'
BIG = 4_000_000
LIVEZ = head("GET", "/livez")
# What waits until its client goes, or something happens.
WAITS = {
    "a lock": head("POST", "/v1/locks/job", Content_Length=str(len(LOCK))) + LOCK,
    "an election": head("POST", "/v1/elections/job", Content_Length=str(len(LOCK)))
    + LOCK,
    "etcd's lock": head("POST", "/v3/lock/lock", Content_Length="15")
    + b'{"name":"am9i"}',
    "a long poll": head("GET", "/v1/watch?key=a&wait=60s"),
    "a watch": head("GET", "/v1/watch?key=a"),
    "who observes": head("GET", "/v1/elections/job?watch=1"),
    "etcd's watch": head("POST", "/v3/watch", Content_Length="21")
    + b'{"create_request":{}}',
}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def connection_of(port: Port) -> HttpConnection:
    """The node's side of the only connection."""
    (found,) = port.listener._port.all()
    assert isinstance(found, HttpConnection)
    return found


def store(port: Port, key: bytes, size: int) -> None:
    port.service.records[key] = Record(key, b"x" * size, 2, 2, 1, 0)


async def last_reply(raw: Raw) -> Reply:
    """The next reply that is no interim one."""
    while True:
        reply = await raw.http_reply()
        if reply.status != 100:
            return reply


# -- what waits, and how much comes behind it ------------------------------------------


@pytest.mark.parametrize("what", WAITS)
async def test_a_connection_ends_when_nobody_would_see_its_client_go(
    port: Port, what: str
) -> None:
    holder = stand(port, b"job", 5)
    async with connect(port) as raw:
        raw.send(WAITS[what] + LIVEZ * 40)
        await wait_for(lambda: bool(port.service.asked))
        await wait_for(lambda: port.listener.connections == 0)
        await wait_for(lambda: port.service.watches == [])
        await wait_for(lambda: list(port.service.records) == [holder.key])


async def test_a_connection_ends_when_a_large_body_comes_behind_what_waits(
    port: Port,
) -> None:
    holder = stand(port, b"job", 5)
    async with connect(port) as raw:
        put = head("PUT", "/v1/kv/a", Content_Length=str(BIG)) + bytes(BIG)
        raw.send(WAITS["a lock"] + put)
        await wait_for(lambda: bool(port.service.asked))
        await wait_for(lambda: port.listener.connections == 0)
        await wait_for(lambda: list(port.service.records) == [holder.key])


async def test_a_connection_ends_when_much_is_there_before_the_wait_begins(
    port: Port,
) -> None:
    holder = stand(port, b"job", 5)
    port.service.holding = True
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/kv/a") + WAITS["a lock"] + LIVEZ * 40)
        await wait_for(lambda: len(port.service.held) == 1)
        port.service.release()
        await wait_for(lambda: port.listener.connections == 0)
    assert list(port.service.records) == [holder.key]


async def test_some_requests_may_be_sent_behind_one_that_waits(port: Port) -> None:
    holder = stand(port, b"job", 5)
    async with connect(port) as raw:
        raw.send(WAITS["a lock"] + LIVEZ * 20)
        await waiting(port)
        go(port, holder.key)
        for _ in range(21):
            assert (await raw.http_reply()).status == 200
    async with connect(port) as raw:
        raw.send(WAITS["a lock"] + LIVEZ * 20)
        await waiting(port)
        raw.reset()
        await wait_for(lambda: port.service.watches == [])


async def test_a_large_body_of_what_waits_is_not_taken_for_what_comes_behind(
    port: Port,
) -> None:
    body = json.dumps({"ttl": 10, "value": "x" * BIG}).encode()
    async with connect(port) as raw:
        raw.send(head("POST", "/v1/elections/e", Content_Length=str(len(body))) + body)
        assert (await raw.http_reply()).status == 200


async def test_the_kernel_finds_out_that_the_other_end_is_gone(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(LIVEZ)
        await raw.http_reply()
        transport = connection_of(port).transport
        assert transport is not None
        sock: socket.socket = transport.get_extra_info("socket")
        tcp = socket.IPPROTO_TCP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(tcp, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(tcp, socket.TCP_KEEPINTVL) == 10


# -- who shuts his side ----------------------------------------------------------------


async def test_whoever_sends_nothing_more_gets_all_answers(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Content_Length="1") + b"v" + LIVEZ * 100)
        raw.writer.write_eof()
        answers = await raw.read_to_end()
        assert answers.count(b"HTTP/1.1 200 OK") == 101
    assert port.service.records[b"a"].value == b"v"


async def test_an_answer_that_comes_late_still_reaches_who_sends_nothing_more(
    port: Port,
) -> None:
    port.service.holding = True
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Content_Length="1") + b"v")
        raw.writer.write_eof()
        await wait_for(lambda: len(port.service.held) == 1)
        await wait_for(lambda: connection_of(port)._half_closed)
        port.service.release()
        assert (await raw.http_reply()).status == 200
        assert await raw.read_to_end() == b""


async def test_whoever_sends_nothing_more_is_not_waited_for_for_ever() -> None:
    async with open_port(drain_timeout_s=0.05) as port, connect(port) as raw:
        port.service.holding = True
        raw.send(head("GET", "/v1/kv/a"))
        raw.writer.write_eof()
        assert await raw.read_to_end() == b""
        await wait_for(lambda: port.listener.connections == 0)


async def test_a_large_answer_takes_its_time_also_to_who_sends_nothing_more() -> None:
    async with open_port(drain_timeout_s=0.05) as port, connect(port) as raw:
        store(port, b"a", 4 * BIG)
        raw.stop_reading()
        raw.send(head("GET", "/v1/kv/a"))
        raw.writer.write_eof()
        await wait_for(lambda: port.listener._port.unsent.held_bytes > 0)
        connection = connection_of(port)
        await wait_for(lambda: connection._half_closed)
        ends_at = connection._ends_at
        looked = connection._end_timer
        await wait_for(lambda: asyncio.get_running_loop().time() > ends_at)
        await wait_for(lambda: connection._end_timer is not looked)
        raw.go_on_reading()
        assert len((await raw.http_reply()).body) == 4 * BIG


async def test_a_body_that_ends_too_soon_is_refused_at_once(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(LIVEZ + head("PUT", "/v1/kv/a", Content_Length="9") + b"half")
        raw.writer.write_eof()
        assert (await raw.http_reply()).status == 200
        reply = await raw.http_reply()
        assert (reply.status, reply.json()["code"]) == (400, "malformed_http")
        assert await raw.read_to_end() == b""
    assert port.service.asked == []


@pytest.mark.parametrize("target", ["/nowhere", "/livez", "/v1/kv/a?x=1"])
async def test_a_body_that_ends_too_soon_and_that_nobody_reads_is_no_bug(
    port: Port, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    port.service.holding = True
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/kv/a"))
        raw.send(head("PUT", target, Content_Length="9") + b"half")
        raw.writer.write_eof()
        await wait_for(lambda: len(port.service.held) == 1)
        await wait_for(lambda: connection_of(port)._half_closed)
        port.service.release()
        assert (await raw.http_reply()).status == 404
        assert (await raw.http_reply()).status in (400, 404, 405)
        assert await raw.read_to_end() == b""
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize("more", [b"", b"GET /livez HT", LIVEZ[:-2]])
async def test_half_a_head_is_not_waited_for(port: Port, more: bytes) -> None:
    async with connect(port) as raw:
        raw.send(LIVEZ + more)
        raw.writer.write_eof()
        assert (await raw.http_reply()).status == 200
        assert await raw.read_to_end() == b""


async def test_a_lock_is_given_to_somebody_who_only_sends_nothing_more(
    port: Port,
) -> None:
    holder = stand(port, b"job", 5)
    async with connect(port) as raw:
        raw.send(WAITS["a lock"])
        raw.writer.write_eof()
        await waiting(port)
        # He is asked whether he is there, and is.
        await wait_for(lambda: connection_of(port)._probed)
        go(port, holder.key)
        assert (await last_reply(raw)).json()["name"] == "job"


@pytest.mark.parametrize("reset", [False, True])
async def test_somebody_who_sent_nothing_more_and_is_gone_gets_no_lock(
    port: Port, reset: bool
) -> None:
    holder = stand(port, b"job", 5)
    async with connect(port) as raw:
        raw.send(WAITS["a lock"])
        raw.writer.write_eof()
        await waiting(port)
        await wait_for(lambda: connection_of(port)._half_closed)
        if reset:
            raw.reset()
    await wait_for(lambda: list(port.service.records) == [holder.key])
    assert port.service.watches == []


async def test_a_watch_has_no_end_to_wait_for(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(WAITS["a watch"])
        await raw.reader.readuntil(b"\n\r\n")
        raw.writer.write_eof()
        await raw.read_to_end()
        await wait_for(lambda: port.service.watches == [])


# -- who does not read -----------------------------------------------------------------


async def test_requests_that_come_meanwhile_are_no_reading(port: Port) -> None:
    store(port, b"a", 4 * BIG)
    async with connect(port) as raw:
        raw.stop_reading()
        raw.send(head("GET", "/v1/kv/a"))
        await wait_for(lambda: port.listener._port.unsent.held_bytes > 0)
        connection = connection_of(port)
        before = connection.replies_begun()
        raw.send(LIVEZ * 5)
        await wait_for(lambda: connection._request_count == 6)
        assert connection.replies_begun() == before
        raw.go_on_reading()
        await raw.http_reply()
        assert connection.replies_begun() > before


async def test_replies_that_nobody_reads_have_a_budget_of_all_connections() -> None:
    async with open_port(unsent_bytes_max=BIG) as port:
        budget = port.listener._port.unsent
        store(port, b"a", BIG)
        store(port, b"b", 60_000)
        async with connect(port) as raw:
            raw.stop_reading()
            raw.send(head("GET", "/v1/kv/a") * 16)
            await wait_for(lambda: budget.held_bytes > 0)
            for _ in range(2):
                reply = await http(port, "GET", "/v1/kv/a")
                assert (reply.status, reply.json()["code"]) == (429, "too_busy")
                assert reply.headers["retry-after"] == "1"
            body = b'{"key":"YQ=="}'
            reply = await http(port, "POST", "/v3/kv/range", body)
            assert (reply.status, reply.json()["code"]) == (429, 8)
            # It was done, whatever it was: nobody is told that it was not.
            reply = await http(
                port, "POST", "/v1/txn", b'{"then":[{"get":{"key":"a"}}]}'
            )
            assert (reply.status, reply.json()["outcome"]) == (504, "unknown")
            assert (await http(port, "HEAD", "/v1/kv/a")).status == 200
            assert len((await http(port, "GET", "/v1/kv/b")).body) == 60_000
            assert len((await http(port, "GET", "/v1/openapi.json")).body) > 65_536
            assert (await http(port, "PUT", "/v1/kv/b", b"x" * BIG)).status == 200
            raw.go_on_reading()
            for _ in range(16):
                assert len((await raw.http_reply()).body) == BIG
        await wait_for(lambda: budget.held_bytes == 0)
        assert len((await http(port, "GET", "/v1/kv/a")).body) == BIG


async def test_what_nobody_reads_is_given_back_when_he_goes() -> None:
    async with open_port() as port:
        store(port, b"a", 4 * BIG)
        async with connect(port) as raw:
            raw.stop_reading()
            raw.send(head("GET", "/v1/kv/a"))
            await wait_for(lambda: port.listener._port.unsent.held_bytes > 0)
            raw.reset()
        await wait_for(lambda: port.listener._port.unsent.held_bytes == 0)


async def test_a_stream_over_the_budget_is_ended() -> None:
    async with open_port(unsent_bytes_max=1) as port, connect(port) as raw:
        raw.send(WAITS["a watch"])
        await wait_for(lambda: bool(port.service.watches))
        raw.stop_reading()
        for revision in range(2, 12):
            event = encode_event(True, Record(b"a", b"x" * BIG, 2, revision, 1, 0))
            (body,) = encode_events(revision, [event])
            if port.service.watches:
                port.service.tell(body)
                await asyncio.sleep(0)
        await wait_for(lambda: port.listener.connections == 0)
        code = ErrorCode.TOO_BUSY.name.lower()
        line = f'_count{{operation="connection",result="{code}"}} 1.0'.encode()
        assert line in (await http(port, "GET", "/metrics")).body


# -- on the loop that a node has -------------------------------------------------------

ON_UVLOOP: list[Callable[[Port], Awaitable[None]]] = [
    test_a_connection_ends_when_a_large_body_comes_behind_what_waits,
    test_a_connection_ends_when_much_is_there_before_the_wait_begins,
    test_some_requests_may_be_sent_behind_one_that_waits,
    test_a_large_body_of_what_waits_is_not_taken_for_what_comes_behind,
    test_the_kernel_finds_out_that_the_other_end_is_gone,
    test_whoever_sends_nothing_more_gets_all_answers,
    test_an_answer_that_comes_late_still_reaches_who_sends_nothing_more,
    test_a_body_that_ends_too_soon_is_refused_at_once,
    test_a_lock_is_given_to_somebody_who_only_sends_nothing_more,
    partial(test_somebody_who_sent_nothing_more_and_is_gone_gets_no_lock, reset=False),
    partial(test_somebody_who_sent_nothing_more_and_is_gone_gets_no_lock, reset=True),
    test_a_watch_has_no_end_to_wait_for,
    test_requests_that_come_meanwhile_are_no_reading,
    lambda _: test_a_large_answer_takes_its_time_also_to_who_sends_nothing_more(),
    lambda _: test_replies_that_nobody_reads_have_a_budget_of_all_connections(),
    lambda _: test_what_nobody_reads_is_given_back_when_he_goes(),
    lambda _: test_a_stream_over_the_budget_is_ended(),
]


@pytest.mark.parametrize("scenario", ON_UVLOOP)
def test_it_is_the_same_on_uvloop(scenario: Callable[[Port], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_port() as port:
            await scenario(port)

    errors: list[object] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, each: errors.append(each))
        runner.run(run())
    assert not errors
