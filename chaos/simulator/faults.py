"""Faults as data, aimed at named sets, on a schedule that the seed draws.

Law: a fault is a name, a target set and a strength; the world keeps count of how often
each fired. Disks lose only what they may lose: what was not synced.
"""

from collections import Counter
from collections.abc import Callable

from .network import Network
from .node import Node
from .world import MILLISECOND, World

_ENDLESS_BYTES = 1 << 50

KINDS = (
    "partition",
    "one_way",
    "isolate_leader",
    "bridge",
    "kill",
    "kill_leader",
    "power_one",
    "power_all",
    "pause",
    "slow_disk",
    "failed_sync",
    "full_disk",
    "lossy",
    "repeating",
    "slow_network",
    "drift",
)


class Faults:
    """Draws a subset of kinds for this seed and makes them happen."""

    def __init__(self, world: World, nodes: list[Node], network: Network) -> None:
        self.world = world
        self.nodes = nodes
        self.network = network
        self.fired: Counter[str] = Counter()
        dice = world.random
        calm = dice.random() < 0.25
        count = 0 if calm else dice.randint(1, len(KINDS))
        self.kinds = sorted(dice.sample(KINDS, count))
        self.pause_us = dice.choice([200, 500, 1500]) * MILLISECOND
        self.active = True

    def start(self) -> None:
        if self.kinds:
            self.world.at(self._wait(), self._next)

    def stop(self) -> None:
        """All faults end; who is down comes back."""
        self.active = False
        self.network.heal()
        self.network.loss = self.network.repeat = self.network.tail = 0.0
        for node in self.nodes:
            node.slow = 1
            node.env.heal()
            node.env.capacity_bytes = None
            node.pause(False)
            node.start()

    def _wait(self) -> int:
        return self.world.random.randrange(1, 2 * self.pause_us)

    def _next(self) -> None:
        if not self.active:
            return
        kind = self.world.random.choice(self.kinds)
        self.fired[kind] += 1
        self.world.trace("fault", kind)
        action: Callable[[], None] = getattr(self, f"_{kind}")
        action()
        self.world.at(self._wait(), self._next)

    def _later(self, action: Callable[[], None]) -> None:
        """Undo after a while; sometimes longer than every timeout."""
        duration = self.world.random.choice([100, 700, 2500]) * MILLISECOND

        def run() -> None:
            if self.active:
                action()

        self.world.at(duration, run)

    def _leader(self) -> Node:
        leading = [n for n in self.nodes if n.replica and n.replica.raft.is_leader]
        return self.world.random.choice(leading or self.nodes)

    def _any(self) -> Node:
        return self.world.random.choice(self.nodes)

    def _members(self) -> set[int]:
        return {node.member for node in self.nodes}

    # -- network -----------------------------------------------------------------------

    def _partition(self) -> None:
        size = self.world.random.randint(1, max(1, len(self.nodes) - 1))
        inside = set(self.world.random.sample(sorted(self._members()), size))
        self.network.isolate(inside, self._members())
        self._later(self.network.heal)

    def _one_way(self) -> None:
        pairs = sorted((a, b) for a in self._members() for b in self._members())
        for pair in self.world.random.sample(pairs, max(1, len(pairs) // 4)):
            if pair[0] != pair[1]:
                self.network.cut.add(pair)
        self._later(self.network.heal)

    def _isolate_leader(self) -> None:
        self.network.isolate({self._leader().member}, self._members())
        self._later(self.network.heal)

    def _bridge(self) -> None:
        """Two halves that only one node sees both of."""
        members = sorted(self._members())
        self.world.random.shuffle(members)
        middle = members.pop()
        half = set(members[: len(members) // 2])
        self.network.isolate(half, self._members() - {middle})
        self._later(self.network.heal)

    def _lossy(self) -> None:
        self.network.loss = self.world.random.choice([0.01, 0.1, 0.3])
        self._later(self._calm_network)

    def _repeating(self) -> None:
        self.network.repeat = self.world.random.choice([0.05, 0.5])
        self._later(self._calm_network)

    def _slow_network(self) -> None:
        self.network.tail = self.world.random.choice([0.01, 0.2])
        self._later(self._calm_network)

    def _calm_network(self) -> None:
        self.network.loss = self.network.repeat = self.network.tail = 0.0

    # -- processes ---------------------------------------------------------------------

    def _down(self, nodes: list[Node], how: str) -> None:
        for node in nodes:
            node.stop(how)

        def up() -> None:
            for node in nodes:
                node.start()

        self._later(up)

    def _kill(self) -> None:
        self._down([self._any()], "kill")

    def _kill_leader(self) -> None:
        self._down([self._leader()], "kill")

    def _power_one(self) -> None:
        self._down([self._any()], "power")

    def _power_all(self) -> None:
        self._down(self.nodes, "power")

    def _pause(self) -> None:
        node = self._leader() if self.world.chance(0.5) else self._any()
        node.pause(True)

        def resume() -> None:
            node.pause(False)

        self._later(resume)

    def _drift(self) -> None:
        """Clocks run a little fast or slow from the next boot on: rates never jump."""
        node = self._any()
        node.stop("kill")
        node.rate = self.world.random.choice([0.95, 0.99, 1.0, 1.01, 1.05])
        self._later(node.start)

    # -- disks -------------------------------------------------------------------------

    def _slow_disk(self) -> None:
        node = self._any()
        node.slow = self.world.random.choice([5, 50, 500])

        def normal() -> None:
            node.slow = 1

        self._later(normal)

    def _failed_sync(self) -> None:
        """The next sync fails: the process must end; then the disk works again."""
        node = self._any()
        node.env.fail("sync", times=1)

        def restart() -> None:
            node.env.heal()
            node.start()

        self._later(restart)

    def _full_disk(self) -> None:
        node = self._any()
        node.env.capacity_bytes = _ENDLESS_BYTES
        used = _ENDLESS_BYTES - node.env.free_bytes("/")
        node.env.capacity_bytes = used + self.world.random.choice([0, 20_000])

        def room() -> None:
            node.env.capacity_bytes = None
            node.start()

        self._later(room)
