"""A client of the native protocol that costs as little as one in Python can.

    50 connections, 20 slots each: a slot has one prebuilt request, which is sent again
    as soon as it is answered

Law: the counterpart of h2load with its prebuilt bodies. It parses no more of a reply
than its length, its status and whose it is; what was refused ends the run. It speaks to
anything that frames as quorate does, so that the ladder's rungs get the same frames.
"""

import asyncio
import struct
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import uvloop
from quorate.wire import (
    OK,
    GetRequest,
    Level,
    RequestKind,
    encode_client_hello,
    encode_get,
    encode_put,
    encode_request,
    parse_server_hello,
)

from .pairs import Leg

# Of a reply's head: length, kind, status, nothing, request id.
_REPLY: Final = struct.Struct("<IBBHI")
_LENGTH_BYTES: Final = 4
_TIMEOUT_MS: Final = 30_000


class RunFailed(Exception):
    """A reply was a refusal, or the connection was lost."""


class Request(NamedTuple):
    """What a slot asks for."""

    kind: int
    body: bytes


def puts(count: int, value_bytes: int) -> list[Request]:
    """Each slot puts its own key."""
    value = b"v" * value_bytes
    return [
        Request(RequestKind.WRITE, encode_put(key_of(slot), value))
        for slot in range(count)
    ]


def gets(count: int) -> list[Request]:
    """Each slot gets its own key, linearizable."""
    keys = map(key_of, range(count))
    return [
        Request(RequestKind.GET, encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, key)))
        for key in keys
    ]


def key_of(slot: int) -> bytes:
    """Sixteen bytes."""
    return b"bench-key-%06d" % slot


class _Slots(asyncio.Protocol):
    """One connection's: `begin` sends all of them, `stopping` ends what follows."""

    def __init__(self, requests: Sequence[Request], hello: bool) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.idle: asyncio.Future[None] = loop.create_future()
        self.answered: int = 0
        self.stopping: bool = False
        self._frames: list[bytes] = [
            encode_request(each.kind, slot + 1, _TIMEOUT_MS, each.body)
            for slot, each in enumerate(requests)
        ]
        self._outstanding: int = 0
        self._hello: bool = hello
        self._kept: bytes = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._hello:
            self._transport.write(encode_client_hello())
        else:
            self.ready.set_result(None)

    def begin(self) -> None:
        assert self._transport is not None
        self._outstanding = len(self._frames)
        self._transport.write(b"".join(self._frames))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for each in (self.ready, self.idle):
            if not each.done():
                each.set_exception(RunFailed(f"the connection was lost: {exc}"))
                each.exception()

    def data_received(self, data: bytes) -> None:
        if self._kept:
            data = self._kept + data
        offset = 0
        if not self.ready.done():
            parsed = parse_server_hello(data)
            if parsed is None:
                self._kept = data
                return
            offset = parsed[1]
            self.ready.set_result(None)
        self._take(data, offset)

    def _take(self, data: bytes, offset: int) -> None:
        """Answer every whole reply with its slot's request, in one write."""
        again: list[bytes] = []
        frames = self._frames
        size = len(data)
        unpack = _REPLY.unpack_from
        length: int
        status: int
        request_id: int
        while size - offset >= _REPLY.size:
            length, _, status, _, request_id = unpack(data, offset)
            end = offset + _LENGTH_BYTES + length
            if end > size:
                break
            if status != OK:
                self._refused(data[offset:end])
                return
            again.append(frames[request_id - 1])
            offset = end
        self._kept = data[offset:]
        self.answered += len(again)
        if self.stopping:
            self._outstanding -= len(again)
            if not self._outstanding and not self.idle.done():
                self.idle.set_result(None)
        elif again and self._transport is not None:
            self._transport.write(b"".join(again))

    def _refused(self, frame: bytes) -> None:
        self.close()
        if not self.idle.done():
            self.idle.set_exception(RunFailed(f"refused: {frame[-100:]!r}"))
            # Looked at, because the run ends with the first of them.
            self.idle.exception()


def drive(
    port: int,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    *,
    hello: bool = True,
) -> Leg:
    """All slots over some connections, for some seconds; raises RunFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, requests, connections, seconds, hello))


async def _drive(
    port: int,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    hello: bool,
) -> Leg:
    loop = asyncio.get_running_loop()

    slots: list[_Slots] = []
    for number in range(connections):
        each = _Slots(requests[number::connections], hello)
        slots.append(each)
        await loop.create_connection(lambda slots=each: slots, "127.0.0.1", port)
    try:
        for each in slots:
            await each.ready
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        for each in slots:
            each.begin()
        await _until(begin_s + seconds, slots)
        answered = sum(each.answered for each in slots)
        took_s = time.perf_counter() - begin_s
        for each in slots:
            each.stopping = True
        for each in slots:
            await each.idle
        operations = sum(each.answered for each in slots)
        cpu_s = time.process_time() - cpu_s
    finally:
        for each in slots:
            each.close()
    return Leg(
        answered / took_s, operations, client_cpu_us=cpu_s / max(operations, 1) * 1e6
    )


async def _until(moment_s: float, slots: Sequence[_Slots]) -> None:
    """That moment, or the first failure."""
    failures = [each.idle for each in slots]
    left_s = moment_s - time.perf_counter()
    await asyncio.wait(
        failures, timeout=max(left_s, 0), return_when=asyncio.FIRST_EXCEPTION
    )
