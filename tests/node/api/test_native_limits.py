"""What one native client can cost: requests, bytes, time of the loop, patience."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from quorate.node.api.connections import ClientPort, StallTimer
from quorate.node.api.native import SLICE_FRAMES, NativeConnection
from quorate.wire.commands import encode_put
from quorate.wire.errors import ErrorCode
from quorate.wire.frames import OK, REFUSED, RequestKind, encode_request
from quorate.wire.hello import ClientHello
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.records import Record
from quorate.wire.requests import GetRequest, Level, decode_error, encode_get

from .support import OPTIONS, FakeService, native, open_port, wait_for

GET_A = encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, b"a"))
MIB = 1024 * 1024


def pings(numbers: Iterable[int]) -> bytes:
    """Frames that ask for nothing."""
    return b"".join(encode_request(RequestKind.PING, each, 0, b"") for each in numbers)


def gets(numbers: Iterable[int]) -> bytes:
    """Frames that ask for the key `a`."""
    return b"".join(encode_request(RequestKind.GET, each, 0, GET_A) for each in numbers)


def record_of(size: int) -> Record:
    """The key `a` with a value of `size` bytes."""
    return Record(b"a", bytes(size), 2, 2, 1, 0)


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_requests_are_started_than_may_be_in_flight() -> None:
    async with open_port(requests_in_flight_max=8) as port, native(port) as client:
        port.service.holding = True
        client.raw.send(pings(range(1, 101)))
        await wait_for(lambda: len(port.service.held) == 8)
        await turns(20)
        assert len(port.service.held) == 8
        for asked in port.service.held[:3]:
            port.service.answer(asked)
        await wait_for(lambda: len(port.service.held) == 11)
        await turns(20)
        assert len(port.service.held) == 11
        del port.service.held[:3]
        port.service.release()
        got = [(await client.reply()).request_id for _ in range(100)]
        assert sorted(got) == list(range(1, 101))


async def test_no_more_bytes_are_taken_than_may_be_in_flight() -> None:
    async with open_port(bytes_in_flight_max=10_000) as port, native(port) as client:
        port.service.holding = True
        for number in range(1, 11):
            client.ask(RequestKind.WRITE, number, encode_put(b"a", bytes(4000)))
        await wait_for(lambda: len(port.service.held) == 3)
        await turns(20)
        assert len(port.service.held) == 3
        port.service.release()
        assert {(await client.reply()).status for _ in range(10)} == {OK}


async def test_a_request_above_the_byte_limit_is_taken_alone() -> None:
    async with open_port(bytes_in_flight_max=1000) as port, native(port) as client:
        for number in (1, 2):
            client.ask(RequestKind.WRITE, number, encode_put(b"a", bytes(MIB)))
            assert (await client.reply()).status == OK


async def test_large_replies_are_expected_once_they_were_seen() -> None:
    async with (
        open_port(bytes_in_flight_max=300_000) as port,
        native(port) as client,
    ):
        port.service.records[b"a"] = record_of(100_000)
        client.raw.send(gets([1]))
        await client.reply()
        port.service.holding = True
        client.raw.send(gets(range(2, 40)))
        await wait_for(lambda: len(port.service.held) == 3)
        await turns(20)
        assert len(port.service.held) == 3
        port.service.release()
        for _ in range(38):
            assert (await client.reply()).status == OK


async def test_one_large_reply_is_forgotten_in_time(service: FakeService) -> None:
    wire = Wire()
    connection = connection_over(wire, service, bytes_in_flight_max=300_000)
    service.records[b"a"] = record_of(100_000)
    connection.data_received(gets([1]))
    service.records[b"a"] = record_of(1)
    for number in range(2, 1000):
        connection.data_received(gets([number]))
        await turns(1)
    service.holding = True
    connection.data_received(gets(range(1, 101)))
    assert len(service.held) == 100
    connection.connection_lost(None)


async def test_a_client_that_never_reads_is_not_read_either() -> None:
    async with (
        open_port(output_bytes_high=64 * 1024) as port,
        native(port) as client,
    ):
        port.service.records[b"a"] = record_of(MIB)
        client.raw.stop_reading()
        client.raw.send(gets(range(1, 61)))
        await wait_for(lambda: bool(port.service.asked))
        await turns(50)
        # The sockets in between hold some; the node stops as soon as they are full.
        assert len(port.service.asked) < 20
        client.raw.go_on_reading()
        for _ in range(60):
            assert (await client.reply()).status == OK


async def test_replies_that_come_all_at_once_are_bounded_too() -> None:
    async with open_port(output_bytes_max=4 * MIB) as port, native(port) as client:
        port.service.records[b"a"] = record_of(MIB)
        port.service.holding = True
        client.raw.send(gets(range(1, 101)))
        client.ask(RequestKind.WRITE, 101, encode_put(b"b", b""))
        await wait_for(lambda: len(port.service.held) == 101)
        port.service.release()
        replies = [await client.reply() for _ in range(101)]
    statuses = Counter(reply.status for reply in replies)
    # Three values and their bookkeeping fit; the write's reply always does.
    assert statuses == {OK: 4, REFUSED: 97}
    refused = decode_error(replies[50].body, DEFAULT_LIMITS)
    assert (refused.code, refused.retryable) == (ErrorCode.TOO_BUSY, True)
    assert (replies[-1].request_id, replies[-1].status) == (101, OK)


async def test_a_reply_above_the_limit_is_sent_alone() -> None:
    async with open_port(output_bytes_max=1000) as port, native(port) as client:
        port.service.records[b"a"] = record_of(MIB)
        client.raw.send(gets([1]))
        assert (await client.reply()).status == OK


async def test_replies_that_nobody_reads_end_the_connection() -> None:
    async with open_port(stall_timeout_s=0.05) as port, native(port) as client:
        port.service.records[b"a"] = record_of(4 * MIB)
        client.raw.stop_reading()
        client.raw.send(gets(range(1, 9)))
        await wait_for(lambda: port.listener.connections == 0)


async def test_a_frame_that_does_not_end_ends_the_connection() -> None:
    async with open_port(stall_timeout_s=0.05) as port, native(port) as client:
        client.raw.send(pings([1]) + encode_request(RequestKind.WRITE, 2, 0, b"x")[:-1])
        await wait_for(lambda: port.listener.connections == 0)
        assert [asked.request_id for asked in port.service.asked] == [1]


async def test_an_idle_connection_is_left_alone() -> None:
    async with open_port(stall_timeout_s=0.01) as port, native(port) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.raw.reader.read(1)
        client.raw.send(pings([1]))
        assert (await client.reply()).status == OK


async def test_half_received_frames_of_all_connections_share_one_budget() -> None:
    frame = encode_request(RequestKind.WRITE, 1, 0, encode_put(b"a", bytes(3000)))
    async with (
        open_port(partial_bytes_max=4000) as port,
        native(port) as one,
        native(port) as two,
    ):
        one.raw.send(frame[:2000])
        async with native(port) as other:
            other.raw.send(pings([1]))
            await other.reply()
        two.raw.send(frame[:2500])
        data = await two.end()
        assert decode_error(data[12:], DEFAULT_LIMITS).code == ErrorCode.TOO_BUSY
        one.raw.send(frame[2000:])
        assert (await one.reply()).status == OK
        async with native(port) as three:
            three.raw.send(frame[:2500])
            three.raw.send(frame[2500:])
            assert (await three.reply()).status == OK


async def test_what_a_lost_connection_held_is_given_back() -> None:
    frame = encode_request(RequestKind.WRITE, 1, 0, encode_put(b"a", bytes(3000)))
    async with open_port(partial_bytes_max=4000) as port:
        async with native(port) as client:
            client.raw.send(pings([7]) + frame[:2500])
            await client.reply()
            client.raw.reset()
        await wait_for(lambda: port.listener.connections == 0)
        async with native(port) as client:
            client.raw.send(pings([7]) + frame[:2500])
            await client.reply()
            client.raw.send(frame[2500:])
            assert (await client.reply()).request_id == 1


class Wire(asyncio.Transport):
    """A transport that remembers what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = False
        self.aborted = False
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        assert high is not None

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def service() -> FakeService:
    return FakeService(DEFAULT_LIMITS)


def port_of(service: FakeService, **changes: object) -> ClientPort:
    """What a listener shares with its connections, without a listener."""
    options = msgspec.structs.replace(OPTIONS, **changes)
    return ClientPort(service, options, asyncio.get_running_loop())


def connection_over(
    wire: Wire, service: FakeService, **changes: object
) -> NativeConnection:
    """A connection without a socket, hellos done."""
    port = port_of(service, **changes)
    connection = NativeConnection(port, ClientHello())
    port.add(connection)
    connection.connection_made(wire)
    wire.writes.clear()
    return connection


async def test_all_replies_of_a_turn_are_one_write(service: FakeService) -> None:
    wire = Wire()
    connection = connection_over(wire, service)
    connection.data_received(pings(range(1, 11)))
    assert not wire.writes
    await turns(1)
    assert len(wire.writes) == 1
    connection.connection_lost(None)


async def test_a_long_pipeline_leaves_the_loop_to_others(service: FakeService) -> None:
    wire = Wire()
    connection = connection_over(wire, service)
    connection.data_received(pings(range(1, 5001)))
    assert len(service.asked) == SLICE_FRAMES
    assert not wire.reading
    before = len(service.asked)
    while before < 5000:
        await turns(1)
        assert len(service.asked) - before <= SLICE_FRAMES
        before = len(service.asked)
    await turns(1)
    assert wire.reading
    connection.connection_lost(None)


async def test_reading_stops_while_the_client_does_not_read(
    service: FakeService,
) -> None:
    wire = Wire()
    connection = connection_over(wire, service)
    connection.pause_writing()
    assert not wire.reading
    connection.data_received(pings([1, 2]))
    assert not service.asked
    connection.resume_writing()
    assert len(service.asked) == 2
    assert wire.reading
    connection.connection_lost(None)


async def test_the_last_connection_that_is_lost_leaves_nothing_behind(
    service: FakeService,
) -> None:
    wire = Wire()
    service.holding = True
    connection = connection_over(wire, service)
    connection.data_received(pings(range(1, 11)) + b"\xff")
    connection.connection_lost(ConnectionResetError())
    service.release()
    await turns(2)
    assert not wire.writes


class Flow:
    """What a stall timer asks of a connection."""

    def __init__(self) -> None:
        self.half: int | None = None
        self.begun = 0

    def receiving(self) -> int | None:
        return self.half

    def replies_begun(self) -> int:
        return self.begun


@pytest.mark.parametrize(
    ("before", "after", "begun", "aborted"),
    [
        (0, 5000, 0, False),
        (5000, 0, 0, False),
        (5000, 5000, 0, True),
        (5000, 4999, 0, True),
        (5000, 5000, 1, False),
        (500_000, 500_000, 0, True),
        (500_000, 440_000, 0, True),
        (500_000, 430_000, 0, False),
    ],
)
async def test_replies_have_to_move_in_each_period(
    service: FakeService, before: int, after: int, begun: int, *, aborted: bool
) -> None:
    wire = Wire()
    flow = Flow()
    timer = StallTimer(port_of(service), wire, flow)
    for period, unsent in enumerate((before, after)):
        wire.unsent = unsent
        timer.stop()
        timer._tick()
        assert wire.aborted == (aborted and period == 1)
        flow.begun += begun
    timer.stop()
