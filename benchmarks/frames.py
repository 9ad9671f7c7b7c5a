"""A client of the native protocol that costs as little as one in Python can.

    50 connections, 20 slots each: a slot has one prebuilt request, which is sent again
    as soon as it is answered

Law: the counterpart of h2load with its prebuilt bodies. It parses no more of a reply
than its length, its status and whose it is; what was refused ends the run. It speaks to
anything that frames as quorate does, so that the ladder's rungs get the same frames.
"""

import asyncio
import random
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
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
# How often it is looked whether all is done, and so how well a pause is known.
_LOOK_S: Final = 0.02


# Told how many were answered, in how many seconds.
Done = Callable[[int, float], bool]


class RunFailed(Exception):
    """A reply was a refusal, or the connection was lost."""


class Request(NamedTuple):
    """What a slot asks for: each time the same, or with the next key, or the next body.

    All slots of a connection are of one of these three sorts.
    """

    kind: int
    body: bytes = b""
    keys: Iterator[bytes] | None = None
    bodies: Iterator[bytes] | None = None


def puts(count: int, value_bytes: int) -> list[Request]:
    """Each slot puts its own key."""
    value = b"v" * value_bytes
    return [
        Request(RequestKind.WRITE, encode_put(key_of(slot), value))
        for slot in range(count)
    ]


def scattered_puts(count: int, value_bytes: int, keys: int, seed: int) -> list[Request]:
    """The slots put keys out of so many, in no order."""
    some, body = drawn(keys, seed), encode_put(key_of(0), b"v" * value_bytes)
    return [Request(RequestKind.WRITE, body, some)] * count


def drawn(keys: int, seed: int) -> Iterator[bytes]:
    """The key of one out of so many, again and again."""
    dice = random.Random(seed)
    while True:
        yield key_of(dice.randrange(keys))


def gets(count: int) -> list[Request]:
    """Each slot gets its own key, linearizable."""
    keys = map(key_of, range(count))
    return [
        Request(RequestKind.GET, encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, key)))
        for key in keys
    ]


def key_of(slot: int) -> bytes:
    """Sixteen bytes."""
    return b"bench-k-%08d" % slot


class Connection(asyncio.Protocol, ABC):
    """One connection's slots: it is `ready`, may `begin`, and is `idle` once it stops.

    `answered` grows with each answer; `stopping` ends what follows; `ready` and `idle`
    fail with RunFailed when an answer was a refusal or the connection was lost.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.idle: asyncio.Future[None] = loop.create_future()
        self.answered: int = 0
        self.stopping: bool = False
        self._outstanding: int = 0
        self._kept: bytes = b""
        self._transport: asyncio.Transport | None = None

    @abstractmethod
    def begin(self) -> None:
        """Ask for the first time in each slot."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc}")

    def _fail(self, reason: str) -> None:
        self.close()
        for each in (self.ready, self.idle):
            if not each.done():
                each.set_exception(RunFailed(reason))
                # Looked at, because the run ends with the first of them.
                each.exception()

    def _count(self, answers: int) -> bool:
        """So many more were answered; are their slots to go on?"""
        self.answered += answers
        if not self.stopping:
            return True
        self._outstanding -= answers
        if not self._outstanding and not self.idle.done():
            self.idle.set_result(None)
        return False


class _Slots(Connection):
    """One connection's: `begin` sends all of them, `stopping` ends what follows."""

    def __init__(self, requests: Sequence[Request], hello: bool) -> None:
        super().__init__()
        self._frames: list[bytes] = [
            encode_request(each.kind, slot + 1, _TIMEOUT_MS, each.body)
            for slot, each in enumerate(requests)
        ]
        self._next: Callable[[int], bytes] = self._frames.__getitem__
        self._keys: list[Iterator[bytes]] = [
            each.keys for each in requests if each.keys is not None
        ]
        if self._keys:
            self._next = self._with_next_key
            self._cuts: list[tuple[bytes, bytes]] = list(map(_cut_at_key, self._frames))
        self._kinds: list[int] = [each.kind for each in requests]
        self._bodies: list[Iterator[bytes]] = [
            each.bodies for each in requests if each.bodies is not None
        ]
        if self._bodies:
            self._next = self._with_next_body
        self._hello: bool = hello

    def _with_next_key(self, slot: int) -> bytes:
        before, after = self._cuts[slot]
        return before + next(self._keys[slot]) + after

    def _with_next_body(self, slot: int) -> bytes:
        body = next(self._bodies[slot])
        return encode_request(self._kinds[slot], slot + 1, _TIMEOUT_MS, body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._hello:
            self._transport.write(encode_client_hello())
        else:
            self.ready.set_result(None)

    def begin(self) -> None:
        assert self._transport is not None
        self._outstanding = len(self._frames)
        slots = range(len(self._frames))
        self._transport.write(b"".join(map(self._next, slots)))

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
        following = self._next
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
                self._fail(f"refused: {data[offset:end][-100:]!r}")
                return
            again.append(following(request_id - 1))
            offset = end
        self._kept = data[offset:]
        if self._count(len(again)) and again and self._transport is not None:
            self._transport.write(b"".join(again))


def _cut_at_key(frame: bytes) -> tuple[bytes, bytes]:
    """What comes before and after the key of a put, which has the length of any."""
    before, key, after = frame.partition(key_of(0))
    assert key, frame
    return before, after


def drive(
    port: int,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    *,
    hello: bool = True,
) -> Leg:
    """All slots over some connections, for some seconds; raises RunFailed."""
    return drive_until(
        port, requests, connections, lambda _, took_s: took_s >= seconds, hello=hello
    ).leg


class Driven(NamedTuple):
    """A leg, how long it took, and the longest time in it without an answer."""

    leg: Leg
    took_s: float
    longest_gap_s: float


def drive_until(
    port: int,
    requests: Sequence[Request],
    connections: int,
    done: Done,
    *,
    hello: bool = True,
) -> Driven:
    """As drive, until `done`, which is asked every 20 ms."""

    def connection(number: int) -> Connection:
        return _Slots(requests[number::connections], hello)

    return drive_slots(port, connection, connections, done)


def drive_slots(
    port: int,
    connection: Callable[[int], Connection],
    connections: int,
    done: Done,
) -> Driven:
    """So many connections, each made in the loop of the run; raises RunFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, connection, connections, done))


async def _drive(
    port: int,
    connection: Callable[[int], Connection],
    connections: int,
    done: Done,
) -> Driven:
    loop = asyncio.get_running_loop()
    slots: list[Connection] = []
    for number in range(connections):
        each = connection(number)
        slots.append(each)
        await loop.create_connection(lambda slots=each: slots, "127.0.0.1", port)
    try:
        for each in slots:
            await each.ready
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        for each in slots:
            each.begin()
        longest_gap_s = await _until(done, begin_s, slots)
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
    client_cpu_us = cpu_s / max(operations, 1) * 1e6
    leg = Leg(answered / took_s, operations, client_cpu_us=client_cpu_us)
    return Driven(leg, took_s, longest_gap_s)


async def _until(done: Done, begin_s: float, slots: Sequence[Connection]) -> float:
    """Until it is done, or the first failure; the longest time without an answer."""
    failures = [each.idle for each in slots]
    answered, progress_s, longest_gap_s = 0, begin_s, 0.0
    while not done(answered, time.perf_counter() - begin_s):
        ended, _ = await asyncio.wait(
            failures, timeout=_LOOK_S, return_when=asyncio.FIRST_EXCEPTION
        )
        if ended:
            break
        now_s, before = time.perf_counter(), answered
        answered = sum(each.answered for each in slots)
        longest_gap_s = max(longest_gap_s, now_s - progress_s)
        if answered > before:
            progress_s = now_s
    return longest_gap_s
