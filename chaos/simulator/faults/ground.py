"""What faults act on, and how their targets are found when they strike.

Law: targets are looked for at the moment of the fault, by its own dice.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from ..checkers import Checkers
from ..network import Network
from ..node import Node
from ..world import Action, World
from .plan import Fault

if TYPE_CHECKING:
    from ..membership import Membership

Undo = Action


class Ground:
    """The world with its nodes and links.

    `victims` are the only ones whose disks are ever damaged: a minority of the voters,
    so that of each entry a majority's copies are left alone, and all learners.
    """

    def __init__(
        self,
        world: World,
        nodes: list[Node],
        network: Network,
        checkers: Checkers,
    ) -> None:
        self.world = world
        self.nodes = nodes
        self.network = network
        self.checkers = checkers
        self.active = True
        # Where members change: who they are, and who counts what was done.
        self.membership: Membership | None = None
        self.acts: Callable[[str], None] = lambda kind: None
        # What a fault of several steps must not leave behind when it is cut short.
        self.at_end: list[Undo] = []
        # Batches that were damaged already: member, path, begin, end.
        self.wounds: list[tuple[int, str, int, int]] = []
        voters = self.voters
        minority = (len(voters) - 1) // 2
        hit = world.random.sample(voters, minority)
        self.victims = [n for n in nodes if n.member in hit or n.member not in voters]

    @property
    def voters(self) -> tuple[int, ...]:
        """Who votes, as far as anybody has applied it."""
        return self.checkers.book.voters

    def leader(self, dice: Random) -> Node:
        """Who leads, or says so; anybody when nobody does."""
        leading = [n for n in self.nodes if n.up and n.raft.is_leader]
        return dice.choice(leading or self.nodes)

    def acting_leader(self, dice: Random) -> Node | None:
        """The same, but None when nobody leads."""
        leader = self.leader(dice)
        return leader if leader.up and leader.raft.is_leader else None

    def choose(self, fault: Fault, dice: Random) -> list[Node]:
        """The nodes that a fault is aimed at."""
        voting = [node for node in self.nodes if node.member in self.voters]
        match fault.target:
            case "leader":
                return [self.leader(dice)]
            case "minority":
                count = max(1, (len(voting) - 1) // 2)
                return dice.sample(voting, count)
            case "majority":
                return dice.sample(voting, len(voting) // 2 + 1)
            case "all":
                return self.nodes
            case _:
                return [dice.choice(self.nodes)]

    def later(self, delay_us: int, action: Action, *arguments: object) -> None:
        """Do a further step of a fault, unless all faults have ended by then."""
        self.world.at(delay_us, self._step, action, arguments)

    def _step(self, action: Action, arguments: tuple[object, ...]) -> None:
        if self.active:
            action(*arguments)
