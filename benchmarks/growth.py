"""What writes feel while members come, change and go: 1 → 3 → 5 voters and back.

    python -m quorate.benchmarks.growth [--rate 200] [--quiet 10]

Between the restarts and the way back, nodes go to the next build, whose values are kept
in another format (next_build), two of them back, and then all; the version is raised.

Law: writes come at a fixed rate through one client that knows the first node and learns
of the others, each to a key of its own, and what was acknowledged is looked for in the
end. Beside each change stands the same load with nothing going on, right before it and
right after it; a change that is over sooner is watched for as long. All is done by
what operators have: tokens, wishes, signals.

A node that starts stands for another machine, whose start would take nothing from the
others: until it serves it takes what processors they leave (`--share` leaves that out).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from quorate.client import AsyncClient, QuorateError
from quorate.node.config import load_config, to_toml
from quorate.node.launcher import COMMAND, LocalNode, NodeProcess, create_cluster

from . import machine
from .clusters import BenchmarkFailed
from .priorities import giving_way, may_take_back

NODES: Final = 10
FIRST: Final = "n1"
PREFIX: Final = "growth/"
VALUE: Final = b"v" * 256
TIMEOUT_S: Final = 10.0
DONE_SECONDS_MAX: Final = 120.0
# By the newest version that each understands.
BUILDS: Final = {1: COMMAND, 2: (*COMMAND[:-1], "quorate.benchmarks.next_build")}
_POLL_SECONDS: Final = 0.02
_PERCENT: Final = 0.99


class Phase(msgspec.Struct):
    """Writes of some time: how long each took, from when it was due; those that failed;
    the longest time from one acknowledgement to the next.
    """

    name: str
    took_s: float = 0.0
    latencies_s: list[float] = []
    failed: int = 0
    longest_gap_s: float = 0.0

    @property
    def p99_ms(self) -> float:
        """Of a hundred writes the slowest, and of all the others none is slower."""
        if not self.latencies_s:
            raise BenchmarkFailed(f"{self.name}: not one write was acknowledged")
        return _p99_ms(self.latencies_s)


def _p99_ms(latencies_s: list[float]) -> float:
    ordered = sorted(latencies_s)
    return ordered[int((len(ordered) - 1) * _PERCENT)] * 1000


class Writer:
    """The load; `phase` is where what it sees is noted."""

    def __init__(self, client: AsyncClient, rate: float) -> None:
        self._client: AsyncClient = client
        self._period_s: float = 1 / rate
        self._phase: Phase = Phase("before")
        self._last_s: float = time.monotonic()
        self._ending: bool = False
        self._sent: int = 0
        self.acknowledged: set[str] = set()

    def begin(self, name: str) -> Phase:
        """What is due from now on belongs to another phase."""
        self._last_s = time.monotonic()
        self._phase = Phase(name)
        return self._phase

    def end(self) -> None:
        """Send no more."""
        self._ending = True

    async def run(self) -> None:
        """Until `end`, and then until all has been answered."""
        async with asyncio.TaskGroup() as group:
            due_s = time.monotonic()
            while not self._ending:
                await asyncio.sleep(due_s - time.monotonic())
                group.create_task(self._put(due_s, self._phase))
                due_s += self._period_s

    async def _put(self, due_s: float, phase: Phase) -> None:
        self._sent += 1
        key = f"{PREFIX}{self._sent:08}"
        try:
            await self._client.put(key, VALUE)
        except QuorateError:
            phase.failed += 1
            return
        now_s = time.monotonic()
        phase.latencies_s.append(now_s - due_s)
        self.acknowledged.add(key)
        if phase is self._phase:
            phase.longest_gap_s = max(phase.longest_gap_s, now_s - self._last_s)
            self._last_s = now_s


class Cluster:
    """One voter at first, and folders for those that come later.

    Nodes that start give way to the others, unless they `share` the processors, or
    this may not be taken back.
    """

    def __init__(self, directory: Path, *, share: bool) -> None:
        self._share: bool = share or not may_take_back()
        names = [f"n{number + 1}" for number in range(NODES)]
        local = create_cluster(
            *(directory, names[:1]), replicas=names[1:], client_port=0, peer_port=0
        )
        for node in local.nodes:
            _let_sign(node)
        self._all: list[NodeProcess] = [NodeProcess(node) for node in local.nodes]
        self.spares: list[NodeProcess] = self._all[1:]
        # Those that vote, in the order in which they came.
        self.voters: list[NodeProcess] = self._all[:1]
        self._all[0].start()
        self._all[0].wait_ready()

    @property
    def first(self) -> str:
        """Where the first node serves clients."""
        return str(self._all[0].node.client)

    async def grow(self, client: AsyncClient) -> None:
        """One more voter."""
        node = self.spares.pop(0)
        token = await client.create_token("voter")
        contact = self.voters[-1].node.peer
        await asyncio.to_thread(node.start, contact, token)
        self.voters.append(node)
        await self._serves(node)
        await self._settled(client)

    async def replace(self, client: AsyncClient, old: NodeProcess) -> None:
        """A new machine in the place of a voter, in one step."""
        new = self.spares.pop(0)
        token = await client.create_token("replica")
        contact = next(each for each in self.voters if each is not old).node.peer
        await asyncio.to_thread(new.start, contact, token)
        await self._serves(new)
        await client.replace_member(old.node.name, new.node.name)
        self.voters[self.voters.index(old)] = new
        await self._settled(client)
        await self._gone(old)

    async def shrink(self, client: AsyncClient) -> None:
        """The voter that came last leaves."""
        old = self.voters.pop()
        await client.remove_member(old.node.name)
        await self._settled(client)
        await self._gone(old)

    async def restart(self, node: NodeProcess) -> None:
        """Stopped cleanly, and started again."""
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        await self._serves(node)

    async def roll(self, client: AsyncClient, node: NodeProcess, build: int) -> None:
        """It is stopped, and started as this build."""
        await asyncio.to_thread(node.stop)
        directory = str(node.node.directory)
        node.command = (*BUILDS[build], "node", "--dir", directory)
        await asyncio.to_thread(node.start)
        await self._serves(node)

        async def said() -> bool:
            try:
                known = await client.members(timeout=1.0)
            except QuorateError:
                return False
            understands = {each.name: each.understands[1] for each in known.members}
            everybody = set(understands.values()) == {build}
            raised = known.cluster_version == build or not everybody
            return understands[node.node.name] == build and raised

        await _until(said)

    async def _serves(self, node: NodeProcess) -> None:
        """It does, and until then it gives way."""
        assert node.pid is not None, "it was started"
        with nullcontext() if self._share else giving_way(node.pid):
            await _until(lambda: asyncio.to_thread(node.node.ready))

    async def _settled(self, client: AsyncClient) -> None:
        """Who shall vote does, and nobody else."""
        wanted = {node.node.name for node in self.voters}

        async def settled() -> bool:
            try:
                known = await client.members(timeout=1.0)
            except QuorateError:
                return False
            return {each.name for each in known.members if each.votes} == wanted

        await _until(settled)

    async def _gone(self, node: NodeProcess) -> None:
        async def ended() -> bool:
            return not node.alive

        await _until(ended)

    def stop(self) -> None:
        for node in self._all:
            node.terminate()
        for node in self._all:
            node.stop()


def _let_sign(node: LocalNode) -> None:
    """Whoever is left can let others in, also when the first one has gone."""
    path = node.directory / "quorate.toml"
    config = load_config(path, {})
    peer = msgspec.structs.replace(config.peer, authority="../ca")
    path.write_text(to_toml(msgspec.structs.replace(config, peer=peer)))


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    deadline_s = time.monotonic() + DONE_SECONDS_MAX
    while not await done():
        if time.monotonic() > deadline_s:
            raise BenchmarkFailed(f"a change took more than {DONE_SECONDS_MAX:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


class Run:
    """All changes, one after the other, each between two quiet times.

    A change of voters leads from one quiet time to another one, and a disk is quiet in
    its own way every ten seconds: what is quiet is what both were together.
    """

    def __init__(self, cluster: Cluster, quiet_s: float) -> None:
        self._cluster: Cluster = cluster
        self._quiet_s: float = quiet_s
        self._before: Phase = Phase("quiet")

    async def all(self, rate: float) -> None:
        cluster = self._cluster
        client = AsyncClient(cluster.first, timeout=TIMEOUT_S)
        writer = Writer(client, rate)
        async with client, asyncio.TaskGroup() as group:
            group.create_task(writer.run())
            self._before = await self._quiet(writer)
            for count in (2, 3, 4, 5):
                await self._beside(
                    writer, f"{count - 1} → {count}", lambda: cluster.grow(client)
                )
            for node in list(cluster.voters):
                name = f"{node.node.name} replaced"
                await self._beside(
                    writer, name, lambda it=node: cluster.replace(client, it)
                )
            for node in list(cluster.voters):
                name = f"{node.node.name} restarted"
                await self._beside(writer, name, lambda it=node: cluster.restart(it))
            voters = list(cluster.voters)
            steps = [(2, voters[:2]), (1, voters[:2]), (2, voters)]
            for build, node in ((b, node) for b, nodes in steps for node in nodes):
                await self._beside(
                    writer,
                    f"{node.node.name} to {build}",
                    lambda it=node, b=build: cluster.roll(client, it, b),
                )
            for count in (4, 3, 2, 1):
                await self._beside(
                    writer, f"{count + 1} → {count}", lambda: cluster.shrink(client)
                )
            writer.end()
        await self._nothing_is_lost(writer)

    async def _beside(
        self, writer: Writer, name: str, change: Callable[[], Awaitable[None]]
    ) -> None:
        during = writer.begin(name)
        began_s = time.monotonic()
        await change()
        during.took_s = time.monotonic() - began_s
        await asyncio.sleep(max(0.0, self._quiet_s - during.took_s))
        # What was due in it is answered by then, or has failed.
        writer.begin("between")
        await asyncio.sleep(1.0)
        before, after = self._before, await self._quiet(writer)
        self._before = after
        quiet_ms = _p99_ms([*before.latencies_s, *after.latencies_s])
        print(
            f"{name:14} in {during.took_s:5.1f} s: p99 {during.p99_ms:6.1f} ms, quiet"
            f" {quiet_ms:6.1f} ms ({before.p99_ms:5.1f} before, {after.p99_ms:5.1f}"
            f" after), {during.p99_ms / quiet_ms:4.1f} times; longest gap"
            f" {during.longest_gap_s * 1000:4.0f} ms; {during.failed} failed",
            flush=True,
        )

    async def _quiet(self, writer: Writer) -> Phase:
        phase = writer.begin("quiet")
        await asyncio.sleep(self._quiet_s)
        writer.begin("between")
        return phase

    async def _nothing_is_lost(self, writer: Writer) -> None:
        last = str(self._cluster.voters[0].node.client)
        found: set[str] = set()
        async with AsyncClient(last, timeout=TIMEOUT_S) as client:
            async for entry in client.range(PREFIX, keys_only=True):
                found.add(entry.key.decode())
        lost = len(writer.acknowledged - found)
        if lost:
            raise BenchmarkFailed(f"{lost} acknowledged writes are not there")
        print(f"{len(writer.acknowledged):,} acknowledged writes, all there in the end")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes while members change.")
    parser.add_argument("--rate", type=float, default=200.0, help="writes a second")
    parser.add_argument("--quiet", type=float, default=10.0, help="seconds of each leg")
    parser.add_argument("--directory", help="on a real disk, for the data")
    parser.add_argument(
        "--share", action="store_true", help="nodes that start give way to nobody"
    )
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with tempfile.TemporaryDirectory(prefix="growth-", dir=given.directory) as folder:
        cluster = Cluster(Path(folder), share=given.share)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(Run(cluster, given.quiet).all(given.rate))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
