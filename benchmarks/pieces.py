"""Pieces of the hot path, each alone, of this checkout and of another one.

    git worktree add /tmp/before HEAD~3
    python -m quorate.benchmarks.pieces --before /tmp/before

Law: both checkouts are loaded into this one process, under two names, and take turns in
bursts of about a millisecond, so that even on a busy machine a few per cent can be told
apart. Time is the processor's for this thread. Nothing is sent: the other end of each
piece is a stand-in, whose small cost is in the figures of both.

    client-put, client-get   AsyncClient, 64 tasks, on a node that answers at once
    port                     NativeConnection: frames in, replies out
    decode                   a put's command
    apply                    the replicated state: 200 puts over known keys, in memory
    replicas                 100 puts of a session through three replicas: admitted,
                             replicated, journaled (unsynced), applied, answered
    gets                     100 linearizable gets of a leader: one round, answered
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import uvloop

TASKS = 64
EACH = 5
FRAMES = 20
VALUE = b"v" * 256
KEYS = [b"bench-key-%06d" % number for number in range(200)]
OTHER = "quorate_before"
_WORK_BYTES = 1 << 20
# Of each burst through three replicas, over so many keys, far from one another.
_PUTS = 100
_KNOWN = 5_000
_STRIDE = 1_913

Burst = Callable[[], Awaitable[float]]


class Rooms:
    """The modules of one checkout, by the name under which it was loaded."""

    def __init__(self, package: str) -> None:
        self._package: str = package
        self.wire: Any = self.room("wire")

    def room(self, name: str) -> Any:
        return import_module(f"{self._package}.{name}")


class Ends:
    """What a transport is asked for by who writes to it; nothing is sent."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write: Callable[[bytes], object] = write

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None: ...

    def is_closing(self) -> bool:
        return False


def client(rooms: Rooms, what: str) -> Burst:
    """One burst: each task does a few calls, one after the other."""
    loop = asyncio.get_running_loop()
    wire = rooms.wire
    parser = wire.RequestParser(wire.DEFAULT_LIMITS)
    connection = rooms.room("client.connection").Connection(loop)
    body = wire.encode_write_reply(2, 1)

    def answer(data: bytes) -> None:
        replies: list[bytes] = []
        for frame in parser.feed(data):
            of_get = body if what == "put" else _got(wire, frame.body)
            replies.append(wire.encode_reply(frame.kind, frame.request_id, 0, of_get))
        loop.call_soon(connection.data_received, b"".join(replies))

    ends = Ends(lambda _: None)
    connection.connection_made(ends)
    connection.data_received(wire.encode_server_hello(_hello(wire)))
    ends.write = answer
    client = rooms.room("client")
    kv = client.AsyncClient("127.0.0.1:1", learn=False, sessions=False)
    # As if it had been dialled.
    kv._calls._routes.in_use._connection = connection

    async def task(key: bytes) -> None:
        for _ in range(EACH):
            await (kv.put(key, VALUE) if what == "put" else kv.get(key))

    async def burst() -> float:
        begin_ns = time.thread_time_ns()
        await asyncio.gather(*(task(key) for key in KEYS[:TASKS]))
        return (time.thread_time_ns() - begin_ns) / (TASKS * EACH)

    return burst


def _hello(wire: Any) -> Any:
    return wire.ServerHello(
        version=1,
        cluster_id=1,
        member_id=1,
        name="n1",
        server="",
        request_bytes_max=wire.DEFAULT_LIMITS.request_bytes_max,
        endpoints=(),
    )


def _got(wire: Any, body: bytes) -> bytes:
    asked = wire.decode_get(body, wire.DEFAULT_LIMITS)
    record = wire.Record(asked.key, VALUE, 2, 3, 1, 0)
    header = wire.ReadHeader(5, 0, wire.Level.LINEARIZABLE)
    return wire.encode_get_reply(header, record)


def port(rooms: Rooms) -> Burst:
    """One burst: some turns, each with the frames of one read."""
    wire = rooms.wire
    body = wire.encode_write_reply(2, 1)
    waiting: list[tuple[Any, int, int]] = []

    class Service:
        def endpoints(self) -> tuple[str, ...]:
            return ()

        def submit(
            self, sink: Any, request_id: int, kind: int, body: bytes, timeout_ms: int
        ) -> None:
            waiting.append((sink, request_id, kind))

    options = rooms.room("node.api.options").ApiOptions(
        cluster_id=1, member_id=1, name="n1", version=""
    )
    loop = asyncio.get_running_loop()
    shared = rooms.room("node.api.connections").ClientPort(Service(), options, loop)
    native = rooms.room("node.api.native")
    connection = native.NativeConnection(shared, wire.ClientHello(1, 1))
    shared.add(connection)
    connection.connection_made(Ends(lambda _: None))
    data = b"".join(
        wire.encode_request(2, number + 1, 5000, wire.encode_put(key, VALUE))
        for number, key in enumerate(KEYS[:FRAMES])
    )

    async def burst() -> float:
        begin_ns = time.thread_time_ns()
        for _ in range(2 * EACH):
            connection.data_received(data)
            for sink, request_id, kind in waiting:
                sink.reply(request_id, kind, 0, body)
            waiting.clear()
            await asyncio.sleep(0)
        return (time.thread_time_ns() - begin_ns) / (FRAMES * 2 * EACH)

    return burst


def decode(rooms: Rooms) -> Burst:
    wire = rooms.wire
    one, command = wire.decode_command, wire.encode_put(KEYS[0], VALUE)
    limits = wire.DEFAULT_LIMITS

    async def burst() -> float:
        begin_ns = time.thread_time_ns()
        for _ in range(TASKS * EACH):
            one(command, limits)
        return (time.thread_time_ns() - begin_ns) / (TASKS * EACH)

    return burst


def apply(rooms: Rooms, base: Path) -> Burst:
    wire, room = rooms.wire, rooms.room("node.database")
    entry, command = rooms.room("raft").Entry, rooms.room("raft").COMMAND
    folder = tempfile.mkdtemp(prefix="pieces-", dir=base)
    env = rooms.room("storage.env").RealEnv()
    ids = iter(number.to_bytes(16, "big") for number in range(1, 1 << 20))
    engine = rooms.room("storage.engine").Engine(env, folder, lambda: next(ids))
    database = room.begin(engine, 1, 1, 1, b"")
    head = wire.encode_envelope_head(int(wire.EnvelopeKind.CLIENT_COMMAND), 1, 1)
    payloads = [head + wire.encode_put(key, VALUE) for key in KEYS]

    async def burst() -> float:
        first = database.applied_index + 1
        entries = [
            entry(first + number, 1, command, payload)
            for number, payload in enumerate(payloads)
        ]
        begin_ns = time.thread_time_ns()
        database.apply(entries)
        took_ns = time.thread_time_ns() - begin_ns
        while engine.work(_WORK_BYTES):
            continue
        return took_ns / len(payloads)

    return burst


class Replicas:
    """Three replicas and their journals; frames go from one to the other as bytes."""

    def __init__(self, rooms: Rooms, base: Path) -> None:
        self._rooms = rooms
        stable, raft = rooms.room("node.stable"), rooms.room("raft")
        replica = rooms.room("node.replica")
        options = rooms.room("node.replica.options").ReplicaOptions()
        wire = rooms.room("node.peer_wire")
        self._rules = rooms.room("storage.rules")
        self._nodes: dict[int, tuple[Any, Any, Any, Any]] = {}
        for member in (1, 2, 3):
            dice = random.Random(member)
            folder = tempfile.mkdtemp(prefix="pieces-", dir=base)
            env = rooms.room("storage.env").RealEnv()
            store = stable.Stable(env, folder, 1, stable.StableOptions())
            found = store.open(
                raft.Configuration(voters=(1, 2, 3)), member, lambda: os.urandom(16)
            )
            core = raft.Raft(
                raft.Options(id=member, jitter=dice.randrange),
                *(found.snapshot, found.hard_state, found.entries, found.doubt),
            )
            node = replica.Replica(options, core, found.database, dice.randrange, None)
            self._nodes[member] = (node, store, wire.Encoder(), wire.FrameParser())
        self._wires: list[tuple[int, bytes]] = []
        leader = self._nodes[1][0]
        leader.raft.campaign()
        self._settle(1)
        for now_ms in range(10, 1000, 10):
            for member, (node, *_) in self._nodes.items():
                node.advance(now_ms, now_ms)
                node.tick()
                self._settle(member)
        assert leader.raft.is_leader
        self._request = rooms.room("node.replica.requests").Request
        self._answers: list[bytes] = []
        self._session = b"s" * 16
        opening = rooms.wire.encode_session_command(
            rooms.wire.OpenSession(self._session)
        )
        self._submit([opening])
        opened = rooms.wire.decode_session_opened(self._answers[0])
        self._since, self._sequence = opened.since, 0

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del request_id, kind
        assert not status, body
        self._answers.append(body)

    def _submit(self, bodies: list[bytes], kind: int = 2) -> None:
        leader = self._nodes[1][0]
        self._answers.clear()
        for number, body in enumerate(bodies):
            leader.submit(self._request(self, number, kind, body, 1 << 40))
        self._settle(1)
        assert len(self._answers) == len(bodies)

    def _settle(self, member: int) -> None:
        """Turns, until nobody has anything to say."""
        self._turns(member)
        while self._wires:
            to, data = self._wires.pop(0)
            node, _, _, parser = self._nodes[to]
            for message in parser.feed(data):
                node.step(message)
            self._turns(to)

    def _turns(self, member: int) -> None:
        node, store, _, _ = self._nodes[member]
        while node.has_work(True):
            effects = node.turn(True)
            self._send(member, effects.messages)
            if effects.batch is not None:
                store.persist(effects.batch)
                node.persisted(effects.ack)
                self._send(member, effects.messages_after)
            for reply in effects.replies:
                reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)

    def _send(self, member: int, messages: list[Any]) -> None:
        encode = self._nodes[member][2].encode
        frames: dict[int, list[bytes]] = {}
        for message in messages:
            frames.setdefault(message.to, []).append(encode(message))
        self._wires += [(to, b"".join(each)) for to, each in frames.items()]

    def gets(self) -> Burst:
        """Bursts of gets of keys that are there."""
        wire = self._rooms.wire
        numbers = [number * _STRIDE % _KNOWN for number in range(_PUTS)]
        keys = [b"bench-key-%06d" % number for number in numbers]
        self._submit([wire.encode_put(key, VALUE) for key in keys])
        asked = [wire.GetRequest(wire.Level.LINEARIZABLE, 0, 0, key) for key in keys]
        bodies: list[bytes] = list(map(wire.encode_get, asked))
        kind = int(wire.RequestKind.GET)

        async def burst() -> float:
            begin_ns = time.thread_time_ns()
            self._submit(bodies, kind)
            return (time.thread_time_ns() - begin_ns) / len(bodies)

        return burst

    async def burst(self) -> float:
        wire, bodies = self._rooms.wire, list[bytes]()
        for _ in range(_PUTS):
            self._sequence += 1
            lowest = max(1, self._sequence - _PUTS)
            place = wire.Place(self._session, self._since, self._sequence, lowest)
            key = b"bench-key-%06d" % (self._sequence * _STRIDE % _KNOWN)
            bodies.append(wire.encode_in_session(place, wire.encode_put(key, VALUE)))
        rules, name = self._rules, "syncs_before_acknowledging"
        syncs = getattr(rules, name)
        # A sync's time is the disk's, and not asked for here.
        setattr(rules, name, lambda: False)
        try:
            begin_ns = time.thread_time_ns()
            self._submit(bodies)
            took_ns = time.thread_time_ns() - begin_ns
        finally:
            setattr(rules, name, syncs)
        for node, *_ in self._nodes.values():
            while node.database.store.work(_WORK_BYTES):
                continue
        return took_ns / _PUTS


PIECES: dict[str, Callable[[Rooms, Path], Burst]] = {
    "client-put": lambda rooms, _: client(rooms, "put"),
    "client-get": lambda rooms, _: client(rooms, "get"),
    "port": lambda rooms, _: port(rooms),
    "decode": lambda rooms, _: decode(rooms),
    "apply": apply,
    "replicas": lambda rooms, base: Replicas(rooms, base).burst,
    "gets": lambda rooms, base: Replicas(rooms, base).gets(),
}


async def compare(name: str, others: list[Rooms], bursts: int, folder: Path) -> str:
    """Nanoseconds of each, and the ratio burst by burst if there are two."""
    some = [PIECES[name](rooms, folder) for rooms in others]
    took: list[list[float]] = [[] for _ in some]
    for turn in range(bursts):
        order = range(len(some))
        for number in order if turn % 2 == 0 else reversed(order):
            took[number].append(await some[number]())
    text = f"{name:12}" + "".join(
        f"{statistics.median(each):9,.0f} ns" for each in took
    )
    if len(took) < 2:
        return text
    ratios = [after / before for before, after in zip(*took, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return f"{text}  ratio {median:.3f} (quartiles {low:.3f}–{high:.3f})"


async def run(others: list[Rooms], names: list[str], bursts: int, folder: Path) -> None:
    for name in names:
        print(await compare(name, others, bursts, folder), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pieces of the hot path, alone.")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--bursts", type=int, default=300)
    parser.add_argument("--pieces", default=",".join(PIECES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pieces-") as folder:
        others = [Rooms("quorate")]
        if given.before is not None:
            # Imports inside the package are relative: it runs under any name.
            (Path(folder) / OTHER).symlink_to(given.before.resolve())
            sys.path.insert(0, folder)
            others.insert(0, Rooms(OTHER))
        names = given.pieces.split(",")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(others, names, given.bursts, Path(folder)))


if __name__ == "__main__":
    main()
