"""What reads cost the leader when replicas serve them, beside its own.

    python -m quorate.benchmarks.replicas [--replicas 10] [--pairs 7] [--seconds 3]

Law: three voters and the replicas, all on this machine. The same closed loop of gets
goes to the leader alone or, in equal parts, to the replicas; legs follow each other
(A-B-B-A). What is compared is processor time of the leader's processes for one read,
less what it uses when nobody asks for anything, so that a busy machine matters little.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from quorate.client import AsyncClient, Client, ReadLevel
from quorate.node.launcher import NodeProcess, create_cluster

from . import machine
from .clusters import NODES, BenchmarkFailed, ask, wait_for
from .pairs import PAIRS_MIN, Leg, alternate, ratios, spread

# Each with the staleness that it allows, in seconds.
LEVELS: Final[dict[ReadLevel, float | None]] = {
    "linearizable": None,
    "bounded": 1.0,
    "local": None,
}
KEYS: Final = 1000
VALUE: Final = b"v" * 256
TIMEOUT_S: Final = 30.0
READY_SECONDS_MAX: Final = 60.0


class Cluster:
    """Voters, and replicas that have joined; ended by `stop`."""

    def __init__(self, directory: Path, replicas: int) -> None:
        names = [f"n{number + 1}" for number in range(NODES + replicas)]
        local = create_cluster(
            *(directory, names[:NODES]),
            replicas=names[NODES:],
            client_port=0,
            peer_port=0,
        )
        self.nodes: list[NodeProcess] = [NodeProcess(node) for node in local.nodes]
        try:
            for node in self.nodes[:NODES]:
                node.start()
            for node in self.nodes[:NODES]:
                node.wait_ready(READY_SECONDS_MAX)
            for node in self.nodes[NODES:]:
                self._join(node)
        except BaseException:
            self.stop()
            raise

    def _join(self, node: NodeProcess) -> None:
        first = self.nodes[0].node
        with Client(str(first.client), timeout=TIMEOUT_S) as client:
            node.start(first.peer, client.create_token("replica"))
        node.wait_ready(READY_SECONDS_MAX)

    def leader(self) -> NodeProcess:
        """Who leads, as soon as somebody does."""
        found: list[NodeProcess] = []

        def leads() -> bool:
            for node in self.nodes[:NODES]:
                if ask(node.node.client.port, "/v1/status")["role"] == "leader":
                    found.append(node)
            return bool(found)

        wait_for("somebody leads", leads)
        return found[-1]

    def stop(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop()


class Bench:
    """Legs of reads at one level, of the leader or of the replicas."""

    def __init__(self, cluster: Cluster, seconds: float, in_flight: int) -> None:
        self._leader: NodeProcess = cluster.leader()
        self._replicas: list[NodeProcess] = cluster.nodes[NODES:]
        self._seconds: float = seconds
        self._in_flight: int = in_flight
        with Client(self._at(self._leader), timeout=TIMEOUT_S) as client:
            for number in range(KEYS):
                client.put(_key(number), VALUE)
        before_s = self._cpu_s()
        time.sleep(seconds)
        self.idle_share: float = (self._cpu_s() - before_s) / seconds

    def at_leader(self, level: ReadLevel) -> Leg:
        """All reads from the leader."""
        return self._leg([self._leader] * len(self._replicas), level)

    def elsewhere(self, level: ReadLevel) -> Leg:
        """All reads from the replicas."""
        return self._leg(self._replicas, level)

    def _leg(self, nodes: Sequence[NodeProcess], level: ReadLevel) -> Leg:
        before_s, began_s = self._cpu_s(), time.monotonic()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            count = runner.run(self._read(nodes, level))
        took_s = time.monotonic() - began_s
        used_s = self._cpu_s() - before_s - self.idle_share * took_s
        if not count:
            raise BenchmarkFailed(f"not one {level} read in {took_s:.0f} s")
        used_us = max(used_s, 0.0) / count * 1e6
        return Leg(used_us, count)

    async def _read(self, nodes: Sequence[NodeProcess], level: ReadLevel) -> int:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    AsyncClient(self._at(node), timeout=TIMEOUT_S, learn=False)
                )
                for node in nodes
            ]
            until_s = time.monotonic() + self._seconds
            loops = [
                _read_on(client, level, until_s, first)
                for client in clients
                for first in range(self._in_flight)
            ]
            return sum(await asyncio.gather(*loops))

    def _at(self, node: NodeProcess) -> str:
        return str(node.node.client)

    def _cpu_s(self) -> float:
        assert self._leader.pid is not None
        return machine.cpu_seconds([self._leader.pid])


async def _read_on(
    client: AsyncClient, level: ReadLevel, until_s: float, first: int
) -> int:
    """One reader, until its time is over; how many keys it has found."""
    count = 0
    while time.monotonic() < until_s:
        entry = await client.get(
            _key((first + count) % KEYS), level=level, max_staleness=LEVELS[level]
        )
        if entry is None or entry.value != VALUE:
            raise BenchmarkFailed(f"{level}: a key that was written is not there")
        count += 1
    return count


def _key(number: int) -> str:
    return f"replicas/{number:04}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Reads of replicas, and the leader.")
    parser.add_argument("--replicas", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each leg")
    parser.add_argument("--in-flight", type=int, default=64, help="for each replica")
    parser.add_argument("--directory", help="on a real disk, for the data")
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="replicas-", dir=given.directory)
        )
        cluster = Cluster(Path(folder), given.replicas)
        stack.callback(cluster.stop)
        bench = Bench(cluster, given.seconds, given.in_flight)
        print(
            f"leader, when nobody asks: {bench.idle_share * 100:.1f} % of a processor"
        )
        for level in LEVELS:
            away, own = alternate(
                given.pairs,
                partial(bench.elsewhere, level),
                partial(bench.at_leader, level),
            )
            for name, legs in (("replicas", away), ("leader", own)):
                used = spread(leg.figure for leg in legs)
                rate = spread(leg.operations / given.seconds for leg in legs)
                print(
                    f"{level} at {name}: {used} µs of the leader for each read,"
                    f" {rate.median:,.0f} reads a second"
                )
            print(f"{level}, of a replica / of its own: {ratios(away, own)}")


if __name__ == "__main__":
    main()
