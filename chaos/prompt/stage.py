"""What commands do to the nodes and links of a cluster.

Law: acts, and tells in words what it did; judges nothing but how nodes end that were
asked to. Nodes are ordinary ones, which people may also kill, stop and start by hand:
that is noticed, and no violation.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Final

from ..harness.cluster import Cluster, Node
from ..harness.errors import SetupFailed
from ..harness.network import Network, Rule
from ..harness.shapes import HOLD
from .commands import HELP, Command, Misunderstood, shown
from .view import LinksView, NodeView, how_it_ended, leader_of, table

WATCH_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.3
# So long `leader` waits for one: after a kill there is none for a moment.
LEADER_SECONDS_MAX: Final = 3.0
_PARTITION: Final = "partition"


class Stage:
    """A cluster whose links lead through relays, and what was done to it."""

    def __init__(self, cluster: Cluster, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.parts: tuple[tuple[int, ...], ...] = ()
        self.slowed_s: dict[int, float] = {}
        self._note = note
        self._paused: set[str] = set()

    @property
    def links(self) -> LinksView:
        """What is done to links."""
        return LinksView(self.parts, dict(self.slowed_s))

    def state(self, node: Node) -> str:
        """How a node is, as its processes tell."""
        if node.process.alive:
            return "paused" if node.name in self._paused else "runs"
        if node.local.running_pid() is not None:
            return "runs by hand"
        return how_it_ended(node.process.exit_code)

    async def look(self) -> list[NodeView]:
        """All nodes; those that can't answer are not asked."""
        return await asyncio.gather(*map(self._look_at, self.cluster.nodes))

    async def _look_at(self, node: Node) -> NodeView:
        state = self.state(node)
        asked = state.startswith("runs")
        return NodeView(node.name, state, await node.status() if asked else None)

    async def watch(self) -> None:
        """Notice nodes that have ended though no command did it.

        Raises NetworkFailed when the relays have.
        """
        while True:
            self._network.check()
            for node in self.cluster.nodes:
                if node.wanted and not node.process.alive:
                    await self.cluster.lost(node)
                    self._paused.discard(node.name)
                    self._note(f"{node.name} is {self.state(node)}, by no command")
            await asyncio.sleep(WATCH_SECONDS)

    async def do(self, command: Command) -> str:
        """Do it; what to say. Raises Misunderstood, Violated."""
        match command.verb:
            case "kill":
                return await self._kill(await self._running(command))
            case "stop":
                return await self._stop(await self._running(command))
            case "pause":
                return self._pause(await self._running(command))
            case "resume":
                return self._resume(await self._who(command))
            case "start":
                return await self._start(await self._who(command))
            case "partition":
                return await self._partition(command.parts)
            case "slow":
                return await self._slow(await self._who(command), command.seconds)
            case "heal":
                return await self.heal()
            case "leader":
                return await self._leader()
            case "status":
                return table(await self.look())
            case "wait":
                await asyncio.sleep(command.seconds)
                return f"waited {command.seconds:g} s"
            case "help" | "quit":
                return HELP

    # -- whom ------------------------------------------------------------------------

    async def _who(self, command: Command) -> list[Node]:
        if not command.at_leader:
            return [self.cluster.nodes[number - 1] for number in command.who]
        leading = await self._wait_for_leader()
        if leading is None:
            raise Misunderstood("nobody leads that can be asked")
        return [node for node in self.cluster.nodes if node.name == leading[0]]

    async def _running(self, command: Command) -> list[Node]:
        """Of those that are meant the ones that can be hurt."""
        nodes = await self._who(command)
        able = [node for node in nodes if node.process.alive]
        for node in able:
            # Somebody else may be quicker.
            node.may_end = True
        if not able:
            states = ", ".join(f"{node.name} is {self.state(node)}" for node in nodes)
            raise Misunderstood(f"{states}: nothing to {command.verb}")
        return able

    async def _wait_for_leader(self) -> tuple[str, int] | None:
        deadline_s = asyncio.get_running_loop().time() + LEADER_SECONDS_MAX
        while (leading := leader_of(await self.look())) is None:
            if asyncio.get_running_loop().time() > deadline_s:
                return None
            await asyncio.sleep(WATCH_SECONDS)
        return leading

    async def _leader(self) -> str:
        leading = await self._wait_for_leader()
        if leading is None:
            return "nobody leads that can be asked"
        return f"{leading[0]} leads in term {leading[1]}"

    # -- processes -------------------------------------------------------------------

    async def _kill(self, nodes: Sequence[Node]) -> str:
        self.cluster.kill(nodes)
        self._paused -= {node.name for node in nodes}
        await self.cluster.reap(nodes)
        return f"killed {_names(nodes)}"

    async def _stop(self, nodes: Sequence[Node]) -> str:
        self._paused -= {node.name for node in nodes}
        await self.cluster.end(nodes)
        return f"stopped {_names(nodes)}"

    def _pause(self, nodes: Sequence[Node]) -> str:
        self.cluster.freeze(nodes)
        self._paused |= {node.name for node in nodes}
        return f"paused {_names(nodes)}"

    def _resume(self, nodes: Sequence[Node]) -> str:
        paused = [node for node in nodes if node.name in self._paused]
        if not paused:
            raise Misunderstood(f"not paused: {_names(nodes)}")
        self.cluster.thaw(paused)
        self._paused -= {node.name for node in paused}
        return f"resumed {_names(paused)}"

    async def _start(self, nodes: Sequence[Node]) -> str:
        ended = [node for node in nodes if self.state(node).startswith("down")]
        if not ended:
            states = ", ".join(f"{node.name} is {self.state(node)}" for node in nodes)
            raise Misunderstood(f"{states}: nothing to start")
        return "\n".join(await asyncio.gather(*map(self._start_one, ended)))

    async def _start_one(self, node: Node) -> str:
        try:
            answers = await self.cluster.start_unless_refused(node)
        except SetupFailed as error:
            return f"{node.name}: {error}"
        if not answers:
            return f"{node.name} has ended: {node.process.last_words()}"
        return f"{node.name} is back"

    async def gather(self) -> None:
        """Heal, resume and start everything. Raises Violated, SetupFailed."""
        await self.heal()
        self.cluster.thaw([n for n in self.cluster.nodes if n.name in self._paused])
        self._paused.clear()
        await asyncio.gather(*map(self._bring_back, self.cluster.nodes))

    async def _bring_back(self, node: Node) -> None:
        state = self.state(node)
        if state == "runs by hand":
            await self.cluster.found(node)
        elif state != "runs":
            await self.cluster.start(node)
        elif not node.up.is_set():
            await self.cluster.wait_for_answer(node)

    # -- links -----------------------------------------------------------------------

    async def _partition(self, parts: tuple[tuple[int, ...], ...]) -> str:
        part_of = {number: place for place, part in enumerate(parts) for number in part}
        table = {
            (self._name(a), self._name(b)): HOLD
            for a, b in permutations(part_of, 2)
            if part_of[a] != part_of[b]
        }
        await self._network.put(_PARTITION, table)
        self.parts = parts
        return f"cut into {shown(parts)}"

    async def _slow(self, nodes: Sequence[Node], seconds: float) -> str:
        for node in nodes:
            number = self.cluster.nodes.index(node) + 1
            rule = Rule(delay_ms=seconds * 1000)
            others = [other.name for other in self.cluster.nodes if other is not node]
            ways = [way for o in others for way in ((node.name, o), (o, node.name))]
            self.slowed_s.pop(number, None)
            if seconds:
                self.slowed_s[number] = seconds
                await self._network.put(number, dict.fromkeys(ways, rule))
            else:
                await self._network.heal(number)
        return (
            f"what goes to and from {_names(nodes)} takes {seconds * 1000:g} ms longer"
        )

    async def heal(self) -> str:
        """All links as they were."""
        for fault in (_PARTITION, *self.slowed_s):
            await self._network.heal(fault)
        self.parts = ()
        self.slowed_s.clear()
        return "all links are whole"

    @property
    def _network(self) -> Network:
        assert self.cluster.network is not None
        return self.cluster.network

    def _name(self, number: int) -> str:
        return self.cluster.nodes[number - 1].name


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.name for node in nodes)
