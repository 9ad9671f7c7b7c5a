"""A cluster of real processes, and a client's way to each of its nodes.

Law: nothing is known of a node that its process, its log and its client port do not
tell.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ...client import QuorateError
from ...node.launcher import (
    COMMAND,
    LauncherError,
    LocalCluster,
    LocalNode,
    NodeProcess,
    create_cluster,
)
from .door import FAULTS, Door
from .errors import SetupFailed, Violated
from .network import CLIENTS, Network
from .served import Endpoint, Served
from .verdict import Violation

ANSWER_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 15.0
WATCH_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 0.02
# Names an environment variable of node/process, where its meaning is told.
HOLD_BACK: Final = "QUORATE_HOLD_BACK"


class Node(Endpoint):
    """One node: its process, and clients that talk to it and to no other.

    `wanted` says whether its process is meant to run. While it `may_end`, its disk is
    hurt, and to end by itself is the right answer. `door` is the way to hurt it from
    within.
    """

    def __init__(
        self, local: LocalNode, process: NodeProcess, address: str, connections: int
    ) -> None:
        direct = str(local.client)
        super().__init__(local.name, direct, address, connections, voter=local.voter)
        self.local = local
        self.process = process
        self.wanted = False
        self.may_end = False
        self.door: Door | None = None


class Cluster(Served[Node]):
    """The nodes of a run, from their first start to their end."""

    def __init__(
        self,
        local: LocalCluster,
        *,
        command: Sequence[str] | None,
        power_loss: bool,
        connections: int,
        network: Network | None = None,
        doors: bool = False,
        spares: int = 0,
    ) -> None:
        environment = {HOLD_BACK: "1"} if power_loss else {}
        # Of the CA that signs its members.
        self.authority = local.directory / "ca"
        self.network = network
        nodes = [
            Node(
                node,
                NodeProcess(node, command=command or COMMAND, environment=environment),
                network.address((CLIENTS, node.name)) if network else str(node.client),
                connections,
            )
            for node in local.nodes
        ]
        # Those that have yet to join, and those that were removed.
        first = len(nodes) - spares
        super().__init__(nodes[:first])
        self.spares = nodes[first:]
        for node in self.everybody if doors else ():
            node.door = Door(node.local.directory)
            node.process.environment[FAULTS] = str(node.door.pipe)
        # The one voter whose disk may be damaged; it keeps its vote.
        self.damaged: Node | None = None
        self._threads: set[asyncio.Future[int | None]] = set()

    @classmethod
    def create(
        cls,
        directory: Path,
        names: Sequence[str],
        *,
        command: Sequence[str] | None,
        power_loss: bool,
        connections: int,
        network: Network | None,
        replicas: Sequence[str] = (),
        doors: bool = False,
        spares: int = 0,
    ) -> "Cluster":
        """The files of a new cluster on free ports; nothing is started.

        With a network, which listens already, every link leads through it. `replicas`
        join when they are first started; the last `spares` of them later, or never.
        """
        ways = network.ways if network else []
        detours = {way: network.address(way) for way in ways} if network else {}
        try:
            local = create_cluster(
                *(directory, names),
                replicas=replicas,
                client_port=0,
                peer_port=0,
                detours=detours,
            )
        except LauncherError as error:
            raise SetupFailed(str(error)) from error
        return cls(
            local,
            command=command,
            power_loss=power_loss,
            connections=connections,
            network=network,
            doors=doors,
            spares=spares,
        )

    @property
    def everybody(self) -> list[Node]:
        """All that have a folder, whether they are members or not."""
        return [*self.nodes, *self.spares]

    @property
    def targets(self) -> dict[tuple[str, str], int]:
        """For each way of the network the port to which it leads."""
        assert self.network is not None
        locals_ = {node.name: node.local for node in self.everybody}
        return {
            (a, b): locals_[b].client.port if a == CLIENTS else locals_[b].peer.port
            for a, b in self.network.ways
        }

    # -- starting and stopping -------------------------------------------------------

    async def start(self, node: Node) -> None:
        """Start a node's process, and wait until it answers."""
        await self.spawn(node)
        await self.wait_for_answer(node)

    async def spawn(self, node: Node) -> None:
        """Start a node's process."""
        assert not node.wanted
        if self.network is not None:
            await self.network.back(node.name)
        start = node.process.start
        if node.local.joins:
            start = await self._invited(node)
        try:
            await self._in_thread(start)
        except LauncherError as error:
            raise SetupFailed(str(error)) from error
        node.wanted = True

    async def _invited(self, node: Node) -> Callable[[], None]:
        """How to start a node that has yet to join: at one that is up, by a token."""
        try:
            asked = next(one for one in self.nodes if one.up.is_set())
            token = await asked.control.create_token("replica")
        except (QuorateError, StopIteration) as error:
            raise SetupFailed(f"{node.name} can't join: {error!r}") from error
        return partial(node.process.start, asked.local.peer, token)

    async def wait_for_answer(self, node: Node) -> None:
        """Wait until a node that was started tells its status: then it is up."""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while await node.status() is None:
            self.check_alive([node])
            self._answer_by(node, deadline)
            await asyncio.sleep(_POLL_SECONDS)
        node.up.set()
        self.any_up.set()

    def _answer_by(self, node: Node, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise Violated(
                Violation(
                    "no progress",
                    node.name,
                    f"an answer within {ANSWER_SECONDS_MAX:g} s of its start",
                    node.process.last_words(),
                )
            )

    async def start_unless_refused(self, node: Node) -> bool:
        """Start it; whether it answered, and did not end by itself, as it may."""
        node.may_end = True
        await self.spawn(node)
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while node.process.alive and await node.status() is None:
            self._answer_by(node, deadline)
            await asyncio.sleep(_POLL_SECONDS)
        node.may_end = False
        if not node.process.alive:
            await self.lost(node)
            return False
        node.up.set()
        self.any_up.set()
        return True

    async def bury(self, node: Node, codes: Sequence[int]) -> None:
        """A node has ended by itself, as it may; with one of these exit codes."""
        await self.lost(node)
        if node.process.exit_code not in codes:
            raise Violated(
                Violation(
                    "unclean end",
                    node.name,
                    f"one of the exit codes {', '.join(map(str, codes))}",
                    f"{node.process.exit_code}: {node.process.last_words()}",
                )
            )

    def empty(self, node: Node) -> None:
        """It was buried: its folder is for somebody who joins later."""
        node.local = node.process.node = node.local.emptied()
        node.voter = False
        self.spares.append(node)

    async def lost(self, node: Node) -> None:
        """A node's process has ended, whoever did it."""
        self._expect_down([node])
        node.may_end = False
        await self._refuse_dials([node])

    async def found(self, node: Node) -> None:
        """A node runs that somebody else has started."""
        if self.network is not None:
            await self.network.back(node.name)
        node.up.set()
        self.any_up.set()

    def kill(self, nodes: Sequence[Node]) -> float:
        """End nodes as a power cut would, all at once; the moment just before.

        `reap` them before they are started again.
        """
        self.check_alive(nodes)
        self._expect_down(nodes)
        began_s = time.monotonic()
        for node in nodes:
            assert node.process.pid is not None
            # Not reaped yet, so that the number can't be anybody else's.
            os.kill(node.process.pid, signal.SIGKILL)
        return began_s

    async def reap(self, nodes: Sequence[Node]) -> None:
        """Wait until killed nodes are gone."""
        await self._refuse_dials(nodes)
        await asyncio.gather(*(self._in_thread(node.process.kill) for node in nodes))

    async def end(self, nodes: Sequence[Node]) -> None:
        """Ask nodes to end (SIGTERM), all at once; Violated when one does not."""
        self.check_alive(nodes)
        problems = await self._end(nodes)
        await self._refuse_dials(nodes)
        if problems:
            raise Violated(problems[0])

    def freeze(self, nodes: Sequence[Node]) -> None:
        """Let nodes stand still (SIGSTOP); nobody is told."""
        self.check_alive(nodes)
        for node in nodes:
            node.process.pause()

    def thaw(self, nodes: Sequence[Node]) -> None:
        """Let frozen nodes go on."""
        for node in nodes:
            node.process.resume()

    async def stop(self) -> list[Violation]:
        """End all nodes cleanly; what went wrong with it."""
        return await self._end(self.nodes)

    async def _end(self, nodes: Sequence[Node]) -> list[Violation]:
        self._expect_down(nodes)
        for node in nodes:
            node.process.terminate()
        codes = await asyncio.gather(
            *(
                self._in_thread(partial(node.process.stop, STOP_SECONDS_MAX))
                for node in nodes
            )
        )
        return [
            Violation(
                "unclean stop",
                node.name,
                f"exit code 0 within {STOP_SECONDS_MAX:g} s of SIGTERM",
                f"exit code {code}: {node.process.last_words()}",
            )
            for node, code in zip(nodes, codes, strict=True)
            if code != 0
        ]

    def _expect_down(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.wanted = False
            node.up.clear()
        if not any(node.up.is_set() for node in self.nodes):
            self.any_up.clear()

    async def _refuse_dials(self, nodes: Sequence[Node]) -> None:
        if self.network is not None:
            await self.network.away(node.name for node in nodes)

    async def close(self) -> None:
        """Leave nothing running, whatever happened; safe to repeat."""
        # A start that was cancelled still goes on in its thread: let it end first.
        await asyncio.gather(*self._threads, return_exceptions=True)
        for node in self.everybody:
            node.wanted = False
            node.process.kill()
        for node in self.everybody:
            await node.close()
        if self.network is not None:
            await self.network.close()

    async def _in_thread(self, work: Callable[[], int | None]) -> int | None:
        """Do what blocks without holding the load; it ends before `close` does."""
        future = asyncio.ensure_future(asyncio.to_thread(work))
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return await asyncio.shield(future)

    # -- watching --------------------------------------------------------------------

    async def watch(self) -> None:
        """Raise Violated when a node ends by itself, NetworkFailed when relays do."""
        while True:
            if self.network is not None:
                self.network.check()
            self.check_alive(self.nodes)
            await asyncio.sleep(WATCH_SECONDS)

    def check_alive(self, nodes: Iterable[Node]) -> None:
        """Raise Violated when one of `nodes` ended although nobody killed it."""
        for node in nodes:
            if node.wanted and not node.may_end and not node.process.alive:
                raise Violated(
                    Violation(
                        "node ended by itself",
                        node.name,
                        "a process that runs until it is killed or stopped",
                        f"exit code {node.process.exit_code}:"
                        f" {node.process.last_words()}",
                    )
                )
