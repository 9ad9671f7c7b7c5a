"""The client of prebuilt frames, against a server that answers as it is told."""

import asyncio
import struct
import threading
from collections.abc import Callable

import pytest
from quorate.benchmarks.frames import (
    Driven,
    RunFailed,
    drive,
    drive_until,
    gets,
    key_of,
    puts,
    scattered_puts,
)
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    Put,
    RequestFrame,
    RequestKind,
    RequestParser,
    decode_command,
    encode_reply,
)

Answer = Callable[[RequestFrame], bytes]


class Server(asyncio.Protocol):
    """Answers each request; what it was asked is kept."""

    def __init__(self, answer: Answer, seen: list[RequestFrame]) -> None:
        self.parser = RequestParser(DEFAULT_LIMITS)
        self.answer = answer
        self.seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        frames = self.parser.feed(data)
        self.seen.extend(frames)
        for frame in frames:
            reply = self.answer(frame)
            # Cut anywhere: a reply need not come at once.
            self.transport.write(reply[:7])
            self.transport.write(reply[7:])


def served(answer: Answer, work: Callable[[int], None]) -> list[RequestFrame]:
    """What a server was asked while `work` ran in a thread."""
    seen: list[RequestFrame] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(answer, seen), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await asyncio.to_thread(work, port)
        finally:
            server.close()
            await server.wait_closed()

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() == before
    return seen


def test_each_slot_is_sent_again_when_it_is_answered() -> None:
    def answer(frame: RequestFrame) -> bytes:
        return encode_reply(frame.kind, frame.request_id, OK, struct.pack("<QI", 1, 0))

    answered = 0

    def work(port: int) -> None:
        nonlocal answered
        answered = drive(port, puts(6, 16), 2, 0.05, hello=False).operations

    seen = served(answer, work)
    assert answered == len(seen) > 6
    assert {frame.request_id for frame in seen} == {1, 2, 3}
    assert {frame.kind for frame in seen} == {RequestKind.WRITE}
    assert len({frame.body for frame in seen}) == 6


def test_a_slot_may_put_another_key_each_time() -> None:
    def answer(frame: RequestFrame) -> bytes:
        return encode_reply(frame.kind, frame.request_id, OK, struct.pack("<QI", 1, 0))

    done: list[Driven] = []

    def work(port: int) -> None:
        requests = scattered_puts(4, 16, keys=1000, seed=3)
        done.append(drive_until(port, requests, 2, lambda n, _: n >= 200, hello=False))

    seen = served(answer, work)
    assert done[0].leg.operations == len(seen) >= 200
    assert 0 < done[0].longest_gap_s <= done[0].took_s
    puts = [decode_command(frame.body, DEFAULT_LIMITS) for frame in seen]
    assert {put.value for put in puts if isinstance(put, Put)} == {b"v" * 16}
    keys = {put.key for put in puts if isinstance(put, Put)}
    assert 100 < len(keys) < 1000
    assert keys <= set(map(key_of, range(1000)))


def test_a_refusal_ends_the_run() -> None:
    def answer(frame: RequestFrame) -> bytes:
        return encode_reply(frame.kind, frame.request_id, REFUSED, b"no")

    def work(port: int) -> None:
        with pytest.raises(RunFailed, match="refused"):
            drive(port, gets(2), 1, 5.0, hello=False)

    assert len(served(answer, work)) == 2
