"""The native protocol over real sockets: hellos, frames, order, the end."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.wire.commands import encode_delete, encode_put
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import (
    OK,
    REFUSED,
    ReplyFrame,
    ReplyParser,
    RequestKind,
    encode_request,
)
from quorate.wire.hello import ClientHello, encode_client_hello
from quorate.wire.limits import DEFAULT_LIMITS, FRAME_SLACK_BYTES, Limits
from quorate.wire.records import decode_get_reply, decode_range_reply
from quorate.wire.requests import (
    ErrorReply,
    GetRequest,
    Level,
    RangeRequest,
    decode_error,
    decode_write_reply,
    encode_get,
    encode_range,
    error_reply,
)

from .support import (
    SMALL_LIMITS,
    NativeClient,
    Port,
    connect,
    http,
    native,
    open_port,
    wait_for,
)

GET_A = encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, b"a"))
FRAME = struct.Struct("<IBBHII")


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def last_error(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ErrorReply:
    """The error in a connection's last frame; `data` holds nothing else."""
    (frame,) = ReplyParser(limits).feed(data)
    assert (frame.kind, frame.request_id, frame.status) == (0, 0, REFUSED)
    return decode_error(frame.body, limits)


async def test_the_hello_says_who_answers(port: Port) -> None:
    async with connect(port) as raw:
        hello = await NativeClient(raw, DEFAULT_LIMITS).hello()
    assert (hello.version, hello.cluster_id, hello.member_id) == (1, 0xC1, 0xA1)
    assert (hello.name, hello.server) == ("n1", "quorate/0.1.0")
    assert hello.request_bytes_max == DEFAULT_LIMITS.request_bytes_max
    assert hello.endpoints == ("http://127.0.0.1:7400",)


async def test_a_version_that_is_not_known_is_answered_with_none(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(encode_client_hello(ClientHello(7, 9)))
        answer = await raw.read_to_end()
    assert answer[:5] == b"\xabQRT\x00"


@pytest.mark.parametrize(
    "hello", [b"\xabQRT\x01\x01\x01\x04", b"\xabQRT\x02\x01\x00\x00", b"\xabQRT" * 2]
)
async def test_a_malformed_hello_is_not_answered(port: Port, hello: bytes) -> None:
    async with connect(port) as raw:
        raw.send(hello)
        assert await raw.read_to_end() == b""


async def test_every_kind_of_request_is_answered(port: Port) -> None:
    async with native(port) as client:
        client.ask(RequestKind.PING, 1)
        assert await client.reply() == ReplyFrame(RequestKind.PING, OK, 1, b"")
        client.ask(RequestKind.WRITE, 2, encode_put(b"a", b"v"))
        written = decode_write_reply((await client.reply()).body)
        assert (written.revision, written.count) == (2, 1)
        client.ask(RequestKind.GET, 3, GET_A)
        record = decode_get_reply((await client.reply()).body).record
        assert record is not None
        assert record.value == b"v"
        client.ask(
            RequestKind.RANGE,
            4,
            encode_range(RangeRequest(Level.LINEARIZABLE, 0, 0, b"", b"")),
        )
        assert len(decode_range_reply((await client.reply()).body).records) == 1
        client.ask(RequestKind.STATUS, 5)
        assert b'"role":"leader"' in (await client.reply()).body
        client.ask(RequestKind.WRITE, 6, encode_delete(b"a"))
        assert decode_write_reply((await client.reply()).body).count == 1


async def test_the_timeout_is_handed_on(port: Port) -> None:
    async with native(port) as client:
        client.ask(RequestKind.PING, 1, timeout_ms=1234)
        await client.reply()
    assert port.service.asked[0].timeout_ms == 1234


async def test_replies_come_in_the_order_in_which_they_are_ready(port: Port) -> None:
    port.service.holding = True
    async with native(port) as client:
        for number in (7, 8, 9):
            client.ask(RequestKind.PING, number)
        await wait_for(lambda: len(port.service.held) == 3)
        for asked in reversed(port.service.held):
            port.service.answer(asked)
        got = [(await client.reply()).request_id for _ in range(3)]
    assert got == [9, 8, 7]


async def test_an_error_of_one_request_leaves_the_others_alone(port: Port) -> None:
    async with native(port) as client:
        client.ask(RequestKind.GET, 1, b"garbage")
        client.ask(RequestKind.PING, 2)
        refused = await client.reply()
        assert (refused.status, refused.request_id) == (REFUSED, 1)
        assert decode_error(refused.body, DEFAULT_LIMITS).code == 1
        assert (await client.reply()).status == OK


async def test_a_large_pipeline_is_answered_completely(port: Port) -> None:
    async with native(port) as client:
        frames = [
            encode_request(RequestKind.PING, number, 0, b"")
            for number in range(1, 5001)
        ]
        client.raw.send(b"".join(frames))
        got = [(await client.reply()).request_id for _ in range(5000)]
    assert got == list(range(1, 5001))


async def test_frames_in_single_bytes_are_frames(port: Port) -> None:
    async with native(port) as client:
        for byte in encode_request(RequestKind.WRITE, 5, 0, encode_put(b"a", b"v")):
            client.raw.send(bytes((byte,)))
            await client.raw.drain()
            await asyncio.sleep(0)
        assert (await client.reply()).request_id == 5
    assert port.service.records[b"a"].value == b"v"


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (0, ErrorCode.INVALID_REQUEST),
        (11, ErrorCode.INVALID_REQUEST),
        (4096 + FRAME_SLACK_BYTES + 1, ErrorCode.REQUEST_TOO_LARGE),
        (2**31, ErrorCode.REQUEST_TOO_LARGE),
        (2**32 - 1, ErrorCode.REQUEST_TOO_LARGE),
    ],
)
async def test_a_length_outside_the_limits_is_refused_before_its_bytes_come(
    length: int, code: ErrorCode
) -> None:
    async with open_port(limits=SMALL_LIMITS) as port, native(port) as client:
        client.raw.send(FRAME.pack(length, RequestKind.PING, 0, 0, 1, 0))
        error = last_error(await client.end(), SMALL_LIMITS)
        assert (error.code, error.outcome) == (code, Outcome.NOT_APPLIED)
        assert not port.service.asked


async def test_the_shortest_and_the_longest_frame_are_served() -> None:
    async with open_port(limits=SMALL_LIMITS) as port, native(port) as client:
        client.ask(RequestKind.PING, 1)
        client.ask(RequestKind.PING, 2, b"x" * (4096 + FRAME_SLACK_BYTES - 12))
        assert (await client.reply()).request_id == 1
        assert (await client.reply()).request_id == 2
        assert len(port.service.asked[1].body) == 4096 + FRAME_SLACK_BYTES - 12


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.pack(12, 0, 0, 0, 1, 0),
        FRAME.pack(12, 10, 0, 0, 1, 0),
        FRAME.pack(12, 255, 0, 0, 1, 0),
        FRAME.pack(12, 1, 1, 0, 1, 0),
        FRAME.pack(12, 1, 0, 1, 1, 0),
        FRAME.pack(12, 1, 0, 0, 0, 0),
        FRAME.pack(12, 1, 0, 0, 1, 600_001),
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\xff" * 4096,
    ],
)
async def test_garbage_is_answered_with_an_error_and_the_end(
    port: Port, frame: bytes
) -> None:
    async with native(port) as client:
        client.raw.send(frame)
        error = last_error(await client.end())
    assert error.outcome == Outcome.NOT_APPLIED
    assert not port.service.asked


async def test_the_error_is_not_overtaken_by_a_reset(port: Port) -> None:
    async with native(port) as client:
        client.raw.stop_reading()
        client.raw.send(FRAME.pack(12, 99, 0, 0, 1, 0))
        for _ in range(100):
            client.raw.send(b"\xff" * 100_000)
            await client.raw.drain()
        client.raw.go_on_reading()
        assert last_error(await client.end()).code == ErrorCode.INVALID_REQUEST


async def test_what_stood_before_the_garbage_is_still_answered(port: Port) -> None:
    port.service.holding = True
    async with native(port) as client:
        client.ask(RequestKind.WRITE, 1, encode_put(b"a", b"v"))
        client.raw.send(FRAME.pack(12, 99, 0, 0, 2, 0))
        client.ask(RequestKind.PING, 3)
        await wait_for(lambda: bool(port.service.held))
        port.service.release()
        first, last = ReplyParser(DEFAULT_LIMITS).feed(await client.end())
    assert (first.request_id, first.status) == (1, OK)
    assert (last.request_id, last.status) == (0, REFUSED)
    assert [asked.request_id for asked in port.service.asked] == [1]


async def test_an_end_with_unanswered_requests_says_so() -> None:
    async with open_port(drain_timeout_s=0.05) as port:
        port.service.holding = True
        async with native(port) as client:
            client.ask(RequestKind.WRITE, 1, encode_put(b"a", b"v"))
            client.raw.send(FRAME.pack(12, 99, 0, 0, 2, 0))
            assert last_error(await client.end()).outcome == Outcome.UNKNOWN
            # Too late, and dropped.
            port.service.release()
            await asyncio.sleep(0)


async def test_a_request_id_in_flight_is_not_used_twice(port: Port) -> None:
    port.service.holding = True
    async with native(port) as client:
        client.ask(RequestKind.PING, 5)
        client.ask(RequestKind.PING, 5)
        await wait_for(lambda: len(port.service.held) == 1)
        port.service.release()
        first, last = ReplyParser(DEFAULT_LIMITS).feed(await client.end())
    assert (first.request_id, last.request_id) == (5, 0)


async def test_a_request_id_may_be_used_again_after_its_reply(port: Port) -> None:
    async with native(port) as client:
        for _ in range(3):
            client.ask(RequestKind.PING, 5)
            assert (await client.reply()).request_id == 5


async def test_a_client_that_shuts_its_side_gets_what_it_asked_for(port: Port) -> None:
    port.service.holding = True
    async with native(port) as client:
        client.ask(RequestKind.PING, 1)
        client.raw.writer.write_eof()
        await wait_for(lambda: bool(port.service.held))
        port.service.release()
        (reply,) = ReplyParser(DEFAULT_LIMITS).feed(await client.end())
    assert (reply.request_id, reply.status) == (1, OK)


async def test_a_reply_to_a_client_that_has_gone_is_dropped() -> None:
    async with open_port(drain_timeout_s=0.05) as port:
        port.service.holding = True
        async with native(port) as client:
            client.ask(RequestKind.PING, 1)
            await wait_for(lambda: bool(port.service.held))
        await wait_for(lambda: port.listener.connections == 0)
        port.service.release()
        async with native(port) as client:
            client.ask(RequestKind.PING, 2)
            assert (await client.reply()).request_id == 2


async def test_requests_are_counted_by_kind_and_result(port: Port) -> None:
    async with native(port) as client:
        for number in (1, 2, 3):
            client.ask(RequestKind.GET, number, GET_A)
        for _ in range(3):
            await client.reply()
        port.service.error = error_reply(ErrorCode.TOO_STALE, Outcome.NONE, "")
        client.ask(RequestKind.GET, 4, GET_A)
        await client.reply()
    text = (await http(port, "GET", "/metrics")).body.decode()
    name = "quorate_native_request_duration_seconds_count"
    assert f'{name}{{operation="get",result="ok"}} 3.0' in text
    assert f'{name}{{operation="get",result="too_stale"}} 1.0' in text


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                encode_request,
                st.integers(0, 7),
                st.integers(0, 3),
                st.integers(0, 700_000),
                st.binary(max_size=20),
            ),
        ),
        max_size=10,
    )
)
def test_no_bytes_whatever_disturb_the_port(parts: list[bytes]) -> None:
    async def scenario() -> None:
        async with open_port(stall_timeout_s=0.05) as port:
            async with connect(port) as raw:
                raw.send(encode_client_hello() + b"".join(parts))
                raw.writer.write_eof()
                await raw.read_to_end()
            await _still_serves(port)
            assert not errors

    errors: list[object] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, each: errors.append(each))
        runner.run(scenario())


async def _still_serves(port: Port) -> None:
    async with native(port) as client:
        client.ask(RequestKind.PING, 1)
        assert (await client.reply()).status == OK
