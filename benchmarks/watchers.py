"""What ten thousand watchers cost the writes: the same load with and without them.

    python -m quorate.benchmarks.watchers [--on leader|follower] [--pairs 7]
        [--seconds 5] [--rate 1000]

Law: writes come at a fixed rate (an open loop, so that a slow answer delays none of the
others), over a thousand keys, at the leader. In every second leg a hundred connections
to one node, that or a follower, watch a hundred keys each: ten watches match each
write. One of the connections never reads. With and without follow each other in one
run (A-B-B-A).

Who watches stands for clients on other machines, and has to share this one: it takes
what processors the nodes and the writer leave, and looks at each of its connections ten
times a second, instead of being woken for each of ten thousand changes.
"""

import argparse
import asyncio
import os
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self, cast

import msgspec
import uvloop
from quorate.chaos.load import LoadOptions
from quorate.chaos.load.histogram import Histogram
from quorate.chaos.load.mixes import key_of
from quorate.wire import (
    OK,
    RequestKind,
    WatchRequest,
    encode_client_hello,
    encode_request,
    encode_watch,
    parse_server_hello,
)

from . import machine, native_load
from .clusters import NODES, BenchmarkFailed, Quorate
from .pairs import PAIRS_MIN, Leg, alternate, ratios, spread
from .priorities import LAST, give_way

KEYS: Final = 1000
CONNECTIONS: Final = 100
WATCHES: Final = 100
LOOK_SECONDS: Final = 0.1
# Of a reply's head: length, kind, status, nothing, request id.
_REPLY: Final = struct.Struct("<IBBHI")
_LENGTH_BYTES: Final = 4
_PERCENT: Final = 99.0
_READY: Final = b"ready\n"


def keys_of(connection: int) -> list[bytes]:
    """A hundred keys, so that each of the thousand is watched by ten connections."""
    first = connection * WATCHES
    numbers = ((first + number) % KEYS for number in range(WATCHES))
    return [key_of(native_load.PREFIX, number) for number in numbers]


class Seen(msgspec.Struct, frozen=True):
    """Of all watches: what they were told, and how many were ended by the node."""

    told: int
    ended: int


class Watcher(asyncio.Protocol):
    """One connection's watches; counts what it is told and looks at nothing of it.

    `deaf`: once all watches are there, it reads no more.
    """

    def __init__(self, number: int, deaf: bool) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told: int = 0
        self.ended: int = 0
        self._number: int = number
        self._deaf: bool = deaf
        self._kept: bytes = b""
        self._greeted: bool = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(encode_client_hello())

    def data_received(self, data: bytes) -> None:
        data = self._kept + data
        offset = 0
        if not self._greeted:
            parsed = parse_server_hello(data)
            if parsed is None:
                self._kept = data
                return
            self._greeted, offset = True, parsed[1]
            self._ask()
        self._kept = data[self._count(data, offset) :]
        if self.told >= WATCHES and not self.ready.done():
            self.ready.set_result(None)
        if self.ready.done() and self.transport is not None:
            # Until it looks again.
            self.transport.pause_reading()

    def look(self) -> None:
        """Read what has come, once."""
        if not self._deaf and self.transport is not None:
            self.transport.resume_reading()

    def _ask(self) -> None:
        assert self.transport is not None
        frames = [
            encode_request(
                RequestKind.WATCH,
                number,
                0,
                encode_watch(WatchRequest(key, key + b"\0")),
            )
            for number, key in enumerate(keys_of(self._number), start=1)
        ]
        self.transport.write(b"".join(frames))

    def _count(self, data: bytes, offset: int) -> int:
        """Count the whole replies; where they end."""
        length: int
        status: int
        while len(data) - offset >= _REPLY.size:
            length, _, status, _, _ = _REPLY.unpack_from(data, offset)
            if offset + _LENGTH_BYTES + length > len(data):
                break
            offset += _LENGTH_BYTES + length
            self.told += 1
            self.ended += status != OK
        return offset

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(BenchmarkFailed(f"no watches: {exc}"))


async def watch(port: int, connections: int) -> None:
    """Be all watchers until standard input ends; then say what they were told.

    With all hundred connections the first of them never reads.
    """
    os.nice(LAST)
    give_way()
    loop = asyncio.get_running_loop()
    watchers: list[Watcher] = []
    for number in range(connections):
        deaf = number == 0 and connections == CONNECTIONS
        watcher = Watcher(number, deaf)
        watchers.append(watcher)
        await loop.create_connection(lambda it=watcher: it, "127.0.0.1", port)
    for each in watchers:
        await each.ready
    begun = sum(each.told for each in watchers)
    looking = asyncio.create_task(_look(watchers))
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    looking.cancel()
    told = sum(each.told for each in watchers) - begun
    ended = sum(each.ended for each in watchers)
    sys.stdout.buffer.write(msgspec.json.encode(Seen(told, ended)))
    for each in watchers:
        if each.transport is not None:
            each.transport.abort()


async def _look(watchers: list[Watcher]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for each in watchers:
            each.look()


class Watchers:
    """The process that watches, and how many changes it was told in its life."""

    def __init__(self, port: int, connections: int) -> None:
        program = (sys.executable, "-P", "-m", "quorate.benchmarks.watchers")
        self._child: subprocess.Popen[bytes] = subprocess.Popen(
            [*program, str(port), str(connections)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.told: int = 0

    def __enter__(self) -> Self:
        assert self._child.stdout is not None
        if self._child.stdout.readline() != _READY:
            self._child.kill()
            raise BenchmarkFailed("the watchers did not start")
        return self

    def __exit__(self, *_: object) -> None:
        said = self._child.communicate(timeout=60)[0]
        seen = msgspec.json.decode(said, type=Seen)
        if seen.ended:
            raise BenchmarkFailed(f"{seen.ended} watches were ended")
        self.told = seen.told


class Bench:
    """One cluster, and legs with and without watchers."""

    def __init__(
        self, system: Quorate, rate: float, seconds: float, *, at_leader: bool = True
    ) -> None:
        self._system: Quorate = system
        self._at_leader: bool = at_leader
        self._rate: float = rate
        self._seconds: float = seconds
        self.told: list[int] = []
        self.watched = Histogram()
        self.alone = Histogram()

    def with_watchers(self, connections: int = CONNECTIONS) -> Leg:
        """A leg that counts only when the watchers were told of each write."""
        place = (self._system.leader() + (not self._at_leader)) % NODES
        port = self._system.places()[place].port
        with Watchers(port, connections) as watchers:
            leg = self._leg(self.watched)
        # One of a hundred connections does not read.
        reading = min(connections, CONNECTIONS - 1)
        least = leg.operations * reading * WATCHES // KEYS
        if watchers.told < least * 9 // 10:
            raise BenchmarkFailed(f"told of {watchers.told} changes, not of {least}")
        self.told.append(watchers.told)
        return leg

    def without(self) -> Leg:
        """A leg that nobody watches."""
        return self._leg(self.alone)

    def _leg(self, together: Histogram) -> Leg:
        """The 99th percentile of a write, in ms; all are counted in `together`, too."""
        places = self._system.places()
        pids = [each.pid for each in places]
        before_s = machine.cpu_seconds(pids)
        result = native_load.run(
            self._port(),
            LoadOptions(
                workload="put",
                distribution="uniform",
                seed=1,
                rate=self._rate,
                in_flight=10_000,
                duration_s=self._seconds,
                keys=KEYS,
                prefix=native_load.PREFIX,
            ),
        )
        latency = result.report.total().latency
        together.add(latency)
        used_s = machine.cpu_seconds(pids) - before_s
        return Leg(
            latency.percentile_ns(_PERCENT) / 1e6,
            latency.count,
            cpu_us=used_s / latency.count * 1e6,
            anonymous_mb=max(map(machine.anonymous_bytes, pids)) / 2**20,
        )

    def _port(self) -> int:
        return self._system.places()[self._system.leader()].port


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(watch(*map(int, sys.argv[1:])))
        return
    parser = argparse.ArgumentParser(description="Writes beside 10,000 watchers.")
    parser.add_argument("--pairs", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each leg")
    parser.add_argument("--rate", type=float, default=1000.0, help="writes a second")
    parser.add_argument("--on", choices=("leader", "follower"), default="leader")
    parser.add_argument("--directory", help="on a real disk, for the data")
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="watchers-", dir=given.directory)
        )
        system = Quorate(Path(folder))
        stack.callback(system.stop)
        at_leader = given.on == "leader"
        bench = Bench(system, given.rate, given.seconds, at_leader=at_leader)
        bench.without()
        bench.alone = Histogram()
        watched, alone = alternate(given.pairs, bench.with_watchers, bench.without)
    for name, legs, together in (
        ("with watchers", watched, bench.watched),
        ("without", alone, bench.alone),
    ):
        p99 = spread(leg.figure for leg in legs)
        cpu = spread(leg.cpu_us for leg in legs)
        most = max(leg.anonymous_mb for leg in legs)
        of_all = together.percentile_ns(_PERCENT) / 1e6
        print(
            f"{name:14} p99 {p99} ms, {of_all:.1f} ms of all writes;"
            f" {cpu.median:.0f} µs of the nodes for each write;"
            f" largest node {most:.0f} MiB"
        )
    print(f"told: {sum(bench.told):,} changes in {given.pairs} legs")
    taken = bench.watched.percentile_ns(_PERCENT) / bench.alone.percentile_ns(_PERCENT)
    print(f"p99 with / without: {ratios(watched, alone)}; of all writes: {taken:.2f}")


if __name__ == "__main__":
    main()
