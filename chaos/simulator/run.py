"""One seed, one world: build it, hurt it, heal it, and look at what is left.

Law: a run depends on its seed alone. A failing seed prints the one command that shows
it again.
"""

from collections import Counter
from functools import partial

import msgspec

from ...node.replica import PeerMessage
from ...raft import Configuration, InstallSnapshot
from .checkers import Checkers
from .faults import Faults
from .network import Network
from .node import Node, Shape
from .workload import Client, check_histories
from .world import MILLISECOND, SECOND, World

HURT_US = 20 * SECOND
HEAL_US = 60 * SECOND
OPERATIONS_MIN = 300
MORE_TIMES = 12


class Result(msgspec.Struct):
    """What one run was: the same for the same seed, in any process."""

    seed: int
    nodes: int
    operations: int
    acknowledged: int
    simulated_us: int
    events: int
    fired: Counter[str]
    agreed: str
    trace: str
    snapshots: int
    lines: list[str] | None


class Cluster:
    """A world with its nodes, links, clients, faults and checkers."""

    def __init__(self, seed: int, keep_trace: bool = False) -> None:
        self.world = World(seed, keep_trace)
        dice = self.world.random
        size = dice.choice([1, 3, 3, 3, 5, 5])
        self.voters = tuple(range(1, size + 1))
        learners = (size + 1,) if dice.random() < 0.2 else ()
        bootstrap = Configuration(self.voters, (), learners)
        shape = Shape(self.world)
        self.network = Network(self.world, self._deliver)
        self.checkers = Checkers(self.world, self.voters)
        self.checkers.deliver_snapshot = self._deliver_snapshot
        self.nodes = [
            Node(
                self.world,
                member,
                bootstrap,
                shape,
                self.network,
                self.checkers,
                self._went_down,
            )
            for member in bootstrap.members()
        ]
        self.by_member = {node.member: node for node in self.nodes}
        keys = dice.choice([2, 8, 40])
        pause = dice.choice([100, 200, 400]) * MILLISECOND
        count = dice.randint(4, 10)
        self.clients = [
            Client(self.world, number, self.nodes, keys, pause)
            for number in range(1, count + 1)
        ]
        self.faults = Faults(self.world, self.nodes, self.network)

    def _deliver(self, member: int, message: PeerMessage) -> None:
        self.by_member[member].deliver(message)

    def _deliver_snapshot(self, message: InstallSnapshot, data: bytes) -> None:
        self.by_member[message.to].receive_snapshot(message, data)

    def _went_down(self, node: Node) -> None:
        """Its peers see their links break, unless the network hides it."""
        for other in self.nodes:
            pair = (node.member, other.member)
            if other is node or pair in self.network.cut:
                continue
            delay = self.world.random.randint(200, 5 * MILLISECOND)
            self.world.at(delay, partial(self._tell_down, node, other))

    def _tell_down(self, node: Node, other: Node) -> None:
        if not node.up:
            other.peer_down(node.member)

    def run(self) -> Result:
        """Raises Violation when an invariant does not hold."""
        world = self.world
        for node in self.nodes:
            node.start()
        for client in self.clients:
            client.start()
        self.faults.start()
        world.run_until(HURT_US)
        for _ in range(MORE_TIMES):
            if world.run_until(world.now_us + HURT_US, self._enough):
                break
            # So harsh that nothing gets done: the same faults, less often.
            self.faults.pause_us *= 2
        self._heal()
        self._survive_power_loss()
        check_histories(world, self.clients, self.checkers.model)
        return self._result()

    def _enough(self) -> bool:
        """Harsh seeds go on a little longer, so that each has its operations."""
        return sum(client.completed for client in self.clients) >= OPERATIONS_MIN + 20

    def _heal(self) -> None:
        """I-73: when the faults stop, everybody converges, within a bound."""
        world = self.world
        world.trace("world", "faults stop")
        self.faults.stop()
        for client in self.clients:
            client.stopped = True
        self._converge("after the faults")

    def _survive_power_loss(self) -> None:
        """Durability: whatever was acknowledged is there after everybody lost power."""
        for node in self.nodes:
            node.stop("power")
        for node in self.nodes:
            node.start()
        self._converge("after total power loss")

    def _converge(self, when: str) -> None:
        world = self.world
        if not world.run_until(world.now_us + HEAL_US, self._converged):
            states = [
                f"{n.name}: {n.replica.raft.role.value} term {n.replica.raft.term}"
                f" last {n.replica.raft.log.last_index}"
                f" commit {n.replica.raft.log.commit_index}"
                f" doubt {n.replica.raft.doubt}"
                if n.replica
                else f"{n.name}: down"
                for n in self.nodes
            ]
            world.fail("I-73", f"no convergence {when}: {'; '.join(states)}")

    def _converged(self) -> bool:
        replicas = [node.replica for node in self.nodes]
        if any(client.current is not None for client in self.clients):
            return False
        alive = [replica for replica in replicas if replica is not None]
        if len(alive) < len(replicas):
            return False
        leaders = [replica for replica in alive if replica.raft.is_leader]
        if len(leaders) != 1:
            return False
        log = leaders[0].raft.log
        return log.commit_index == log.last_index and all(
            replica.raft.term == leaders[0].raft.term
            and replica.database.applied_index == log.last_index
            for replica in alive
        )

    def _result(self) -> Result:
        world = self.world
        history = [op for client in self.clients for op in client.history]
        return Result(
            seed=world.seed,
            nodes=len(self.nodes),
            operations=len(history),
            acknowledged=sum(1 for op in history if op.applied),
            simulated_us=world.now_us,
            events=world.events,
            fired=self.faults.fired,
            agreed=self.checkers.digest(),
            trace=world.digest.hexdigest(),
            snapshots=self.checkers.snapshots,
            lines=world.lines,
        )


def run_seed(seed: int, keep_trace: bool = False) -> Result:
    """Run one seed. Raises Violation; AssertionError is a violation, too."""
    return Cluster(seed, keep_trace).run()
