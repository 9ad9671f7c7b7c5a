"""Watches over the native protocol: many replies to one request, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from quorate.node.api.service import WatchSink
from quorate.wire.errors import ErrorCode
from quorate.wire.frames import OK, REFUSED, ReplyFrame, RequestKind
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.records import Record
from quorate.wire.requests import decode_error
from quorate.wire.watches import (
    WatchCreated,
    WatchEvents,
    WatchProgress,
    WatchRequest,
    decode_watch_reply,
    encode_cancel,
    encode_event,
    encode_progress,
    encode_watch,
)

from ...wire.watch_replies import encode_events
from .support import NativeClient, Port, native, open_port, wait_for

KIB = 1024
WATCH = encode_watch(WatchRequest(b"", b"", 1))


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def change(revision: int, size: int = 1) -> bytes:
    record = Record(b"k", bytes(size), 2, revision, 1, 0)
    (body,) = encode_events(revision, [encode_event(True, record)])
    return body


async def begin(port: Port, client: NativeClient, request_id: int = 1) -> WatchSink:
    client.ask(RequestKind.WATCH, request_id, WATCH)
    frame = await client.reply()
    assert (frame.kind, frame.request_id) == (RequestKind.WATCH, request_id)
    assert decode_watch_reply(frame.body) == WatchCreated(1)
    return cast(WatchSink, port.service.watches[-1].sink)


def revision_of(frame: ReplyFrame) -> int:
    assert frame.status == OK
    return decode_watch_reply(frame.body).revision


def error_of(frame: ReplyFrame) -> ErrorCode:
    assert frame.status == REFUSED
    return ErrorCode(decode_error(frame.body, DEFAULT_LIMITS).code)


async def test_one_request_is_answered_many_times_in_order(port: Port) -> None:
    async with native(port) as client:
        await begin(port, client, 7)
        for revision in range(2, 500):
            port.service.tell(change(revision))
        port.service.tell(encode_progress(600))
        for revision in range(2, 500):
            frame = await client.reply()
            assert (frame.kind, frame.request_id) == (RequestKind.WATCH, 7)
            assert isinstance(decode_watch_reply(frame.body), WatchEvents)
            assert revision_of(frame) == revision
        frame = await client.reply()
        assert decode_watch_reply(frame.body) == WatchProgress(600)


async def test_other_requests_go_on_beside_a_watch(port: Port) -> None:
    async with native(port) as client:
        await begin(port, client)
        for number in range(2, 50):
            client.ask(RequestKind.PING, number)
            assert (await client.reply()).request_id == number
            port.service.tell(change(number))
            assert revision_of(await client.reply()) == number


async def test_a_cancel_ends_the_watch_and_its_number_is_free_again(
    port: Port,
) -> None:
    async with native(port) as client:
        for _ in range(3):
            await begin(port, client, 1)
            client.ask(RequestKind.CANCEL, 2, encode_cancel(1))
            frames = [await client.reply() for _ in range(2)]
            assert [(f.kind, f.request_id, f.status) for f in frames] == [
                (RequestKind.WATCH, 1, OK),
                (RequestKind.CANCEL, 2, OK),
            ]
            assert port.service.watches == []


async def test_a_malformed_cancel_or_watch_is_refused_and_harms_nobody(
    port: Port,
) -> None:
    async with native(port) as client:
        await begin(port, client)
        client.ask(RequestKind.CANCEL, 2, b"?")
        frame = await client.reply()
        assert (frame.kind, frame.request_id) == (RequestKind.CANCEL, 2)
        assert error_of(frame) is ErrorCode.INVALID_REQUEST
        client.ask(RequestKind.WATCH, 3, b"?")
        frame = await client.reply()
        assert (frame.kind, frame.request_id) == (RequestKind.WATCH, 3)
        assert error_of(frame) is ErrorCode.INVALID_REQUEST
        port.service.tell(change(5))
        assert revision_of(await client.reply()) == 5


async def test_the_number_of_an_open_watch_can_not_be_used_again(port: Port) -> None:
    async with native(port) as client:
        await begin(port, client)
        client.ask(RequestKind.PING, 1)
        assert error_of(await client.reply()) is ErrorCode.STOPPING
        frame = await client.reply()
        assert frame.request_id == 0
        assert error_of(frame) is ErrorCode.INVALID_REQUEST


async def test_an_error_is_the_last_reply(port: Port) -> None:
    async with native(port) as client:
        sink = await begin(port, client)
        port.service.end(ErrorCode.COMPACTED)
        assert error_of(await client.reply()) is ErrorCode.COMPACTED
        # Of what comes too late nobody hears.
        sink.push(1, RequestKind.WATCH, change(9))
        sink.reply(1, RequestKind.WATCH, OK, b"")
        client.ask(RequestKind.PING, 1)
        assert (await client.reply()).kind == RequestKind.PING


async def test_room_ends_while_the_client_does_not_read_and_comes_back() -> None:
    high = 64 * KIB
    async with open_port(output_bytes_high=high) as port, native(port) as client:
        sink = await begin(port, client)
        await wait_for(lambda: sink.room() == high)
        client.raw.stop_reading()
        pushed = 0
        while sink.room() > 0:
            pushed += 1
            port.service.tell(change(pushed + 1, 8 * KIB))
            await asyncio.sleep(0)
            assert pushed < 10_000, "somewhere it has to end"
        client.raw.go_on_reading()
        for revision in range(2, pushed + 2):
            assert revision_of(await client.reply()) == revision
        await wait_for(lambda: sink.room() == high)


async def test_room_comes_back_without_another_write() -> None:
    """What was unsent at the last flush may have left since: nobody tells."""
    async with open_port(output_bytes_high=1 << 24) as port, native(port) as client:
        sink = await begin(port, client)
        await wait_for(lambda: sink.room() == 1 << 24)
        client.raw.stop_reading()
        for revision in range(2, 10):
            port.service.tell(change(revision, 1 << 20))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sink.room() < 1 << 24
        client.raw.go_on_reading()
        await wait_for(lambda: sink.room() == 1 << 24)


async def test_a_turn_of_pushes_takes_room_before_it_is_written(port: Port) -> None:
    async with native(port) as client:
        sink = await begin(port, client)
        await wait_for(lambda: sink.room() == port.options.output_bytes_high)
        port.service.tell(change(2, 1000))
        left = port.options.output_bytes_high - sink.room()
        assert 1000 < left < 2000


async def test_a_lost_connection_ends_its_watches(port: Port) -> None:
    async with native(port) as client, native(port) as other:
        sink = await begin(port, client)
        await begin(port, client, 2)
        kept = await begin(port, other)
        client.raw.reset()
        await wait_for(lambda: port.service.left == [sink])
        assert [asked.sink for asked in port.service.watches] == [kept]
        sink.push(1, RequestKind.WATCH, change(2))
        sink.reply(1, RequestKind.WATCH, OK, b"")
        assert sink.room() == 0
        assert sink.number != kept.number
        port.service.tell(change(2))
        assert revision_of(await other.reply()) == 2


async def test_a_connection_without_watches_is_not_reported(port: Port) -> None:
    async with native(port) as client:
        await begin(port, client)
        client.ask(RequestKind.CANCEL, 2, encode_cancel(1))
        await client.reply()
        await client.reply()
    await wait_for(lambda: port.listener.connections == 0)
    assert port.service.left == []


async def test_who_sends_no_more_is_told_no_more(port: Port) -> None:
    async with native(port) as client:
        await begin(port, client)
        client.raw.writer.write_eof()
        assert error_of(await client.reply()) is ErrorCode.STOPPING
        assert await client.end() == b""
        assert port.service.watches == []


async def test_a_port_that_closes_ends_all_watches_first() -> None:
    async with open_port() as port, native(port) as client:
        await begin(port, client, 1)
        await begin(port, client, 2)
        closing = asyncio.create_task(port.listener.close())
        for _ in range(2):
            assert error_of(await client.reply()) is ErrorCode.STOPPING
        frame = await client.reply()
        assert (frame.request_id, error_of(frame)) == (0, ErrorCode.STOPPING)
        assert await client.end() == b""
        await client.raw.close()
        await closing


async def test_watches_leave_room_for_what_ends_them() -> None:
    """Else a connection full of them could not even cancel one."""
    async with open_port(requests_in_flight_max=8) as port, native(port) as client:
        for number in range(1, 5):
            await begin(port, client, number)
        client.ask(RequestKind.WATCH, 5, WATCH)
        frame = await client.reply()
        assert (frame.kind, frame.request_id) == (RequestKind.WATCH, 5)
        assert error_of(frame) is ErrorCode.TOO_BUSY
        client.ask(RequestKind.CANCEL, 6, encode_cancel(2))
        assert [(await client.reply()).request_id for _ in range(2)] == [2, 6]
        await begin(port, client, 5)


async def test_the_bodies_of_watches_do_not_keep_requests_out() -> None:
    async with open_port(bytes_in_flight_max=4000) as port, native(port) as client:
        wanted = encode_watch(WatchRequest(b"k" * 1000, b"", 1))
        for number in range(1, 11):
            client.ask(RequestKind.WATCH, number, wanted)
            assert (await client.reply()).request_id == number
        client.ask(RequestKind.PING, 11)
        assert (await client.reply()).request_id == 11


async def test_a_reader_that_stands_still_is_ended() -> None:
    options = {"stall_timeout_s": 0.05, "output_bytes_high": 64 * KIB}
    async with open_port(**options) as port, native(port) as client:
        sink = await begin(port, client)
        client.raw.stop_reading()
        while sink.room() > 0:
            port.service.tell(change(2, 256 * KIB))
            await asyncio.sleep(0)
        await wait_for(lambda: port.service.left == [sink])
        assert port.listener.connections == 0
