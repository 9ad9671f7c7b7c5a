"""Who belongs to one world, where members come and go; and whose disk is lost.

Law: drawn from dice of its own, so that a world without changes is the same as ever.
Stands in for node/admission and node/joining, thinly: a newcomer starts with an empty
log and the first voters as its configuration, once the log has let it in.

What is lost is bounded, or no store could keep its promises. In a *careful* world disks
are damaged and lost, but only those of a minority of the first voters, and the others
keep their vote; so those are always most. In all others disks are lost, one voter of a
configuration at a time, after it has been silent for so long that nobody counts on it;
and none is damaged.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from ...node.replica import rules
from ...raft import Configuration
from ...storage.memory_env import MemoryEnv
from ...wire import ErrorCode, MemberRole
from .checkers.member_model import MemberModel
from .node import Node
from .operators import Operators
from .roster import Roster
from .shape import TICK_MS
from .world import MILLISECOND

if TYPE_CHECKING:
    from .run import Cluster

_SHARE: Final = 1 / 3
_CAREFUL: Final = 0.4
_OPEN_DOORS: Final = 0.3
_NEWCOMERS_MAX: Final = 6
VOTERS_MAX: Final = 7
NOT_LET_IN: Final = "it was not let in yet"
_LOSING: Final = "its disk is being lost"
LOST: Final = "its disk is lost"


def members_change(seed: int) -> bool:
    """Do the members of this seed's world change?"""
    return Random(f"do members of seed {seed} change").random() < _SHARE


class Membership:
    """The members of a world, and those who change them."""

    def __init__(self, cluster: "Cluster", seed: int) -> None:
        dice = Random(f"the members' lot of seed {seed}")
        self.cluster = cluster
        self.world = cluster.world
        self.book = cluster.checkers.book
        self.first: Configuration = self.book.configuration
        self.careful = dice.random() < _CAREFUL
        self.open_doors = dice.random() < _OPEN_DOORS
        self.operators = Operators(self.world, cluster.nodes, dice)
        self.newcomers = 0
        self.wiped: set[int] = set()
        # Who keeps its vote, since the disks of others may be damaged.
        self.kept: set[int] = set()
        self._bound_damage()
        for node in cluster.nodes:
            node.roster = Roster(node, open_doors=self.open_doors)

    def _bound_damage(self) -> None:
        ground, first = self.cluster.ground, self.first.voters
        victims = [node for node in ground.victims if node.member in first]
        ground.victims = victims if self.careful else []
        if self.careful:
            self.kept = set(first) - {node.member for node in victims}

    @property
    def model(self) -> MemberModel:
        """What the agreed log says."""
        return self.book.model.members

    def describe(self) -> str:
        """One line for the timeline."""
        doors = "open" if self.open_doors else "shut"
        return f"members change: careful={self.careful} doors={doors}"

    # -- newcomers -----------------------------------------------------------------

    def newcomer(self) -> Node | None:
        """A machine that is not a member yet; None: there are enough of them."""
        if self.newcomers == _NEWCOMERS_MAX:
            return None
        self.newcomers += 1
        cluster = self.cluster
        member = max(cluster.by_member) + 1
        node = Node(
            *(self.world, member, self.first, cluster.shape, cluster.network),
            *(cluster.checkers, cluster),
        )
        node.kept_out = NOT_LET_IN
        node.roster = Roster(node, open_doors=self.open_doors)
        cluster.checkers.joined(member)
        cluster.nodes.append(node)
        cluster.by_member[member] = node
        cluster.network.members += (member,)
        return node

    def join(
        self, role: MemberRole, then: Callable[[Node], None] | None = None
    ) -> bool:
        """A newcomer is let in and starts. False: there is none."""
        node = self.newcomer()
        if node is None:
            return False

        def let_in(code: ErrorCode | None) -> None:
            if code is None:
                self.starts(node)
                if then is not None:
                    then(node)

        self.operators.let_in(node.member, role, let_in)
        return True

    def starts(self, node: Node) -> None:
        """Nothing keeps this process out any more."""
        node.kept_out = ""
        node.start()

    # -- disks that are lost -----------------------------------------------------------

    def may_be_lost(self, node: Node) -> bool:
        """Would the others still be enough, whichever configuration comes of it?"""
        if node.member in self.kept or node.broken is not None or not node.boots:
            return False
        if node.member in self.wiped or node.member in self.model.gone:
            return False
        if any(n.up and n.raft.doubt is not None for n in self.cluster.nodes):
            return False
        return all(self._spares(node.member, each) for each in self._possible())

    def _possible(self) -> list[Configuration]:
        """The one applied last, and what is behind it in some log, or was."""
        since = self.book.configurations[-1][0]
        later = [c for (index, _), c in self.book.seen.items() if index > since]
        return [self.book.configuration, *later]

    def _spares(self, member: int, configuration: Configuration) -> bool:
        groups = [g for g in (configuration.voters, configuration.outgoing) if g]
        lost = {*self.wiped, member}
        if self.careful:
            # The first voters that stay are no majority of all that come.
            return all(2 * len(lost.intersection(g)) < len(g) for g in groups)
        return all(
            member not in voters
            or (len(voters) >= 3 and len(lost.intersection(voters)) == 1)
            for voters in groups
        )

    def lose(self, node: Node, then: Callable[[], None]) -> None:
        """Its disk is lost, after some silence; then `then`, unless it was not."""
        node.kept_out = _LOSING
        node.stop("kill")

        def lost() -> None:
            if node.kept_out != _LOSING:
                return
            if not self.may_be_lost(node):
                self._not_lost(node)
                node.start()
                return
            self.world.trace(node.name, "disk lost", "")
            node.kept_out = LOST
            node.env = MemoryEnv()
            node.env.make_directory("/data")
            node.env.sync_directory("/")
            self.wiped.add(node.member)
            then()

        election = self.cluster.shape.raft["election_timeout_ticks"]
        silence_us = 5 * election * TICK_MS * MILLISECOND
        ground = self.cluster.ground
        ground.at_end.append(lambda: self._not_lost(node))
        ground.later(silence_us, lost)

    def _not_lost(self, node: Node) -> None:
        if node.kept_out == _LOSING:
            node.kept_out = ""

    def ask_again(self, node: Node) -> None:
        """A machine without its data asks to be let in under the id that it had.

        node/admission refuses who was linked up before; the log itself can't tell.
        """
        if rules.has_lost_its_data(node.boots > 0):
            self.operators.answers["admit: lost its data"] += 1
            return

        def let_in(code: ErrorCode | None) -> None:
            if code is None:
                self.starts(node)

        self.operators.let_in(node.member, MemberRole.REPLICA, let_in)

    # -- the end -------------------------------------------------------------------

    def lost_voters(self) -> list[int]:
        """Voters of now that never come back."""
        return [member for member in self.book.voters if member in self.wiped]

    def present(self, node: Node) -> bool:
        """Is it a member, with a process that can run?"""
        return not node.kept_out and node.member in self.book.configuration.members()

    def as_wished(self) -> bool:
        """Is Raft's configuration what the log wishes for, as far as that can be?

        Those who don't come back can't be promoted; nor is there a way to voters of
        whom most don't.
        """
        current, model = self.book.configuration, self.model
        if self.operators.busy or current.joint:
            return False
        votes = {voter for voter in current.voters if voter not in model.members}
        for member, standing in model.members.items():
            heir = standing.successor
            if standing.role is MemberRole.VOTER:
                if current.is_voter(member) or self._alive(member):
                    votes.add(member)
            elif heir and current.is_voter(member):
                # It stays until its heir votes, which that one may never do.
                waits = not (current.is_voter(heir) or self._alive(heir))
                votes |= {member} if waits else set()
        learns = {
            member
            for member, standing in model.members.items()
            if standing.role is not MemberRole.LEAVING
        }
        learns |= {m for m in current.learners if m not in model.members}
        alive = [voter for voter in votes if self._alive(voter)]
        if 2 * len(alive) <= len(votes):
            return True
        found = set(current.voters), set(current.learners)
        return found == (votes, learns - votes - model.gone.keys())

    def _alive(self, member: int) -> bool:
        node = self.cluster.by_member[member]
        return node.up and not node.kept_out
