"""The client of gRPC calls, against a server that knows as much of HTTP/2."""

import asyncio
import itertools
import struct
from collections.abc import Callable, Iterator

import pytest
from quorate.benchmarks.frames import Driven, RunFailed
from quorate.benchmarks.grpc_frames import drive_calls, frame, header_block, hello

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PATH = "/a.B/C"

# What is sent back for a call of that number and message.
Answer = Callable[[int, bytes], bytes]


def good(stream: int, message: bytes) -> bytes:
    del message
    return (
        frame(HEADERS, END_HEADERS, stream, b"h")
        + frame(DATA, 0, stream, b"\0\0\0\0\1x")
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, b"t")
    )


class Server(asyncio.Protocol):
    """Answers each call when it is whole; what it was asked is kept."""

    def __init__(self, answer: Answer, seen: list[tuple[bytes, bytes]]) -> None:
        self.answer = answer
        self.seen = seen
        self.kept: bytes = b""
        self.greeted = False
        self.settled = self.pinged = False
        self.blocks: dict[int, bytes] = {}
        self.messages: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 1000)))
        transport.write(frame(PING, 0, 0, b"12345678"))
        transport.write(frame(WINDOW, 0, 0, b"\0\0\1\0"))

    def data_received(self, data: bytes) -> None:
        data = self.kept + data
        preface = hello()[:24]
        if not self.greeted:
            if len(data) < len(preface):
                self.kept = data
                return
            assert data.startswith(preface)
            self.greeted, data = True, data[len(preface) :]
        while len(data) >= 9:
            size = int.from_bytes(data[:3], "big")
            if len(data) < 9 + size:
                break
            kind, flags = data[3], data[4]
            stream = int.from_bytes(data[5:9], "big")
            self.take(kind, flags, stream, data[9 : 9 + size])
            data = data[9 + size :]
        self.kept = data

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            assert flags == END_HEADERS
            assert stream % 2 == 1
            self.blocks[stream] = payload
        elif kind == DATA:
            self.messages[stream] = self.messages.get(stream, b"") + payload
            if flags & END_STREAM:
                self.call(stream)
        elif kind == PING:
            assert (flags, payload) == (ACK, b"12345678")
            self.pinged = True
        elif kind == SETTINGS and flags == ACK:
            self.settled = True

    def call(self, stream: int) -> None:
        assert self.settled, "a call before the settings were taken"
        message = self.messages.pop(stream)
        self.seen.append((self.blocks.pop(stream), message))
        reply = self.answer(stream, message)
        # Cut anywhere: a reply need not come at once.
        self.transport.write(reply[:11])
        self.transport.write(reply[11:])


def served(
    answer: Answer, work: Callable[[int], Driven]
) -> tuple[Driven, list[tuple[bytes, bytes]]]:
    """What came out of `work`, run in a thread, and what a server was asked."""
    seen: list[tuple[bytes, bytes]] = []

    async def main() -> Driven:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(answer, seen), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await asyncio.to_thread(work, port)
        finally:
            server.close()

    return asyncio.run(main()), seen


def numbered() -> Iterator[bytes]:
    return (b"%06d" % number for number in itertools.count())


def calls(answer: Answer, count: int) -> tuple[Driven, list[tuple[bytes, bytes]]]:
    return served(
        answer,
        lambda port: drive_calls(
            *(port, PATH, numbered(), 10, 3), lambda answered, _: answered >= count
        ),
    )


def test_each_call_has_the_next_message_and_the_same_headers() -> None:
    driven, seen = calls(good, 50)
    assert driven.leg.operations == len(seen) >= 50
    assert {block for block, _ in seen} == {header_block(PATH)}
    assert sorted(message for _, message in seen) == [
        b"%06d" % n for n in range(len(seen))
    ]


def test_headers_are_those_of_a_call() -> None:
    """As RFC 7541 has them: literals without indexing, names by number or as text."""
    block = header_block(PATH)
    assert block == (
        b"\x83\x86\x04\x06/a.B/C\x01\x09benchmark"
        b"\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
    )


def test_a_large_message_goes_in_frames_that_any_receiver_takes() -> None:
    large = bytes(range(256)) * 200
    driven, seen = served(
        good,
        lambda port: drive_calls(
            *(port, PATH, itertools.repeat(large), 2, 1),
            lambda answered, _: answered >= 4,
        ),
    )
    assert driven.leg.operations >= 4
    assert {message for _, message in seen} == {large}


def no_data(stream: int, _: bytes) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, b"status 8")


def reset(stream: int, _: bytes) -> bytes:
    return frame(RESET, 0, stream, b"\0\0\0\7")


def goes_away(_: int, __: bytes) -> bytes:
    return frame(GOAWAY, 0, 0, b"too_many_pings")


@pytest.mark.parametrize("refusal", [no_data, reset, goes_away])
def test_a_refusal_ends_the_run(refusal: Answer) -> None:
    def third(stream: int, message: bytes) -> bytes:
        return refusal(stream, message) if stream >= 7 else good(stream, message)

    with pytest.raises(RunFailed, match="refused"):
        calls(third, 1000)
