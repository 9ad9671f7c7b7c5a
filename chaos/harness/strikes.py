"""How a fault strikes: what is done to processes and links, and how it is undone.

Law: acts and judges nothing but the nodes' lives. When a strike returns, its links are
healed and the nodes that it took away have answered again.
"""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import Final

from .cluster import Cluster, Node
from .errors import Violated
from .faults import (
    DAMAGE_KINDS,
    LINK_KINDS,
    MEMBER_KINDS,
    PROCESS_KINDS,
    STORM_KILLS,
    Fault,
)
from .history import History, Start
from .ledger import Ledger
from .machines import Machines, Strike
from .members import Members
from .network import touched
from .shapes import plan_steps, ways_of
from .verdict import Violation
from .workload import Clock

# How long a connection may live on which a bit was flipped.
FLIPPED_SECONDS_MAX: Final = 15.0
# Between two kills of a storm: also while a node is still starting.
STORM_SECONDS: Final = (0.05, 0.6)
_POLL_SECONDS: Final = 0.1


class Striker:
    """Does to a cluster what faults say."""

    def __init__(
        self,
        cluster: Cluster,
        history: History,
        clock: Clock,
        ledger: Ledger,
    ) -> None:
        self.cluster = cluster
        self.history = history
        self.clock = clock
        self._machines = Machines(cluster, history, clock)
        self._members = Members(cluster, history, clock, ledger)

    def targets(self, fault: Fault, leader: Node) -> list[Node]:
        """Whom it is aimed at: the nodes that it takes, or the first of its order."""
        nodes = self.cluster.nodes
        if fault.kind in DAMAGE_KINDS:
            return [self.cluster.damaged or nodes[0]]
        fault, number = fault.fitted(len(nodes)), self._number(leader)
        numbers = fault.victims(number) or fault.along(number)[:1]
        return [nodes[number] for number in numbers]

    def _number(self, leader: Node) -> int:
        """Its number; of one that is no member any more, the first."""
        nodes = self.cluster.nodes
        return nodes.index(leader) if leader in nodes else 0

    async def strike(
        self, fault: Fault, leader: Node, number: int, struck: "asyncio.Future[float]"
    ) -> Strike:
        """Do it and undo it; `struck` learns the moment when it began."""
        fault = fault.fitted(len(self.cluster.nodes))
        if fault.kind in LINK_KINDS:
            return await self._strike_links(fault, leader, struck)
        victims = self.targets(fault, leader)
        if fault.kind in MEMBER_KINDS:
            return await self._members.strike(fault, victims[0], struck)
        if fault.kind not in PROCESS_KINDS:
            return await self._machines.strike(fault, victims[0], number, struck)
        match fault.kind.partition("-")[0]:
            case "kill":
                return await self._kill(fault, victims, number, struck)
            case "stop":
                return await self._stop(fault, victims, struck)
            case "pause":
                return await self._pause(fault, victims, struck)
            case _:
                return await self._storm(fault, victims, number, struck)

    # -- links -----------------------------------------------------------------------

    async def _strike_links(
        self, fault: Fault, leader: Node, struck: "asyncio.Future[float]"
    ) -> Strike:
        network = self.cluster.network
        assert network is not None
        names = [node.name for node in self.cluster.nodes]
        steps = plan_steps(fault, names, self._number(leader))
        before = await network.told()
        began_s = time.monotonic()
        for place, (after_s, table) in enumerate(steps):
            await asyncio.sleep(began_s + after_s - time.monotonic())
            await network.put(fault, table)
            if place == 0:
                struck.set_result(self.clock.now())
        await asyncio.sleep(began_s + fault.hold_s - time.monotonic())
        after = await network.heal(fault)
        count = touched(before, after, ways_of(steps))
        if fault.kind == "flip":
            count = after.flipped - before.flipped
        return Strike(struck.result(), count)

    async def check_flipped(self) -> None:
        """Every connection on which a bit was flipped must end: TLS sees to it."""
        network = self.cluster.network
        assert network is not None
        deadline_s = time.monotonic() + FLIPPED_SECONDS_MAX
        while alive := (await network.told()).flipped_alive:
            if time.monotonic() > deadline_s:
                raise Violated(
                    Violation(
                        "flipped bit not noticed",
                        "links between nodes",
                        "the end of every connection on which a bit was flipped,"
                        f" within {FLIPPED_SECONDS_MAX:g} s",
                        f"{alive} such connections go on",
                    )
                )
            await asyncio.sleep(_POLL_SECONDS)

    # -- processes -------------------------------------------------------------------

    def kill(self, nodes: Sequence[Node], number: int, kind: str) -> float:
        """End nodes by force, all at once; the moment. `Cluster.reap` them then."""
        return self._machines.kill(nodes, number, kind)

    async def bring_back(self, node: Node, away_s: float) -> None:
        """Start a node again after a while, and wait until it answers."""
        await asyncio.sleep(away_s)
        await self._machines.start(node)

    async def _all_back(
        self, fault: Fault, nodes: Sequence[Node], at_s: float
    ) -> Strike:
        """They are gone now, since `at_s` they were to go: start all of them again."""
        gone_s = self.clock.now()
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                away_s = fault.away_s[self.cluster.nodes.index(node)]
                group.create_task(self.bring_back(node, away_s))
        return Strike(at_s, len(nodes), gone_s)

    async def _kill(
        self,
        fault: Fault,
        victims: Sequence[Node],
        number: int,
        struck: "asyncio.Future[float]",
    ) -> Strike:
        at_s = self.kill(victims, number, fault.kind)
        # Before anything is waited for: the first answer may come at once.
        struck.set_result(at_s)
        await self.cluster.reap(victims)
        return await self._all_back(fault, victims, at_s)

    async def _stop(
        self, fault: Fault, victims: Sequence[Node], struck: "asyncio.Future[float]"
    ) -> Strike:
        at_s = self.clock.now()
        struck.set_result(at_s)
        await self.cluster.end(victims)
        return await self._all_back(fault, victims, at_s)

    async def _pause(
        self, fault: Fault, victims: Sequence[Node], struck: "asyncio.Future[float]"
    ) -> Strike:
        at_s = self.clock.now()
        struck.set_result(at_s)
        self.cluster.freeze(victims)
        await asyncio.sleep(fault.hold_s)
        self.cluster.thaw(victims)
        return Strike(at_s, len(victims))

    async def _storm(
        self,
        fault: Fault,
        victims: Sequence[Node],
        number: int,
        struck: "asyncio.Future[float]",
    ) -> Strike:
        at_s = self.clock.now()
        struck.set_result(at_s)
        async with asyncio.TaskGroup() as group:
            for place, node in enumerate(victims):
                dice = Random(f"{fault.order}:{fault.strength}:{place}")
                group.create_task(self._storm_on(node, number, dice))
        return Strike(at_s, len(victims) * STORM_KILLS)

    async def _storm_on(self, node: Node, number: int, dice: Random) -> None:
        """Killed again and again, at times before it has begun to serve."""
        for _ in range(STORM_KILLS):
            await asyncio.sleep(dice.uniform(*STORM_SECONDS))
            self.kill([node], number, "storm")
            await self.cluster.reap([node])
            await self.cluster.spawn(node)
        at_s = self.clock.now()
        await self.cluster.wait_for_answer(node)
        self.history.record(Start(at_s, node.name, self.clock.now()))
