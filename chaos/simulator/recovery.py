"""What happens after the faults: a quorum must serve, then all, then after power loss.

Law: bounds are in election timeouts, and the same for every seed (I-73). A node that is
in doubt about its log needs all voters to settle it (decision 0004), so where there are
enough others it is not in the quorum that must do without the rest.
"""

from collections.abc import Callable, Sequence

from .checkers import Checkers
from .checkers.durability import any_quorum_has_everything
from .checkers.model import PAIR
from .faults import Faults
from .faults.ground import Undo
from .membership import Membership
from .node import Node
from .operators import PATIENCE_US
from .repeaters import Repeater
from .shape import Shape
from .tenants import Tenant
from .watchers import Watcher, all_settled
from .workload import Client
from .world import MILLISECOND, SECOND, World

# A few elections, the transfer of a snapshot, and a slow disk's last sync.
_TIMEOUTS = 20
_SLACK_US = 15 * SECOND
_SERVED = 2
_SETTLE_US = 50 * MILLISECOND


class Halted(Exception):
    """The cluster waits, and must: a doubt that only a broken voter could settle."""


class Recovery:
    """The end of a run. Each phase raises Violation, or Halted."""

    def __init__(
        self,
        world: World,
        shape: Shape,
        nodes: list[Node],
        clients: list[Client],
        askers: Sequence[Tenant | Repeater],
        watchers: list[Watcher],
        checkers: Checkers,
        membership: Membership | None,
    ) -> None:
        self.world = world
        self.membership = membership
        self.nodes = nodes
        self.clients = clients
        self.askers = askers
        self.watchers = watchers
        self.checkers = checkers
        self.left_out: list[Undo] = []
        self.bound_us = _TIMEOUTS * shape.election_timeout_us + _SLACK_US

    @property
    def voters(self) -> list[Node]:
        """The nodes of those who vote, as far as anybody has applied it."""
        voters = self.checkers.book.voters
        return [node for node in self.nodes if node.member in voters]

    @property
    def majority(self) -> int:
        return len(self.checkers.book.voters) // 2 + 1

    @property
    def whole(self) -> list[Node]:
        """Members whose process can run."""
        membership = self.membership
        return [
            node
            for node in self.nodes
            if node.broken is None and (membership is None or membership.present(node))
        ]

    # -- phases ----------------------------------------------------------------------

    def heal_a_quorum(self, faults: Faults) -> None:
        """Faults stop for a quorum; the others stay dead, deaf, asleep or far away."""
        faults.end_all()
        self._mend(self.nodes)
        self.world.run_until(self.world.now_us + _SETTLE_US)
        if self.membership is not None:
            self._settle_members(self.membership)
        core = self._choose_core()
        names = " ".join(node.name for node in core)
        self.world.trace("world", "heals", f"a quorum: {names}")
        for node in self.nodes:
            if node not in core:
                self._leave_out(node)
        for client in (*self.clients, *self.askers):
            client.nodes = core
        for watcher in self.watchers:
            watcher.nodes = core
            watcher.mend()
        marks = {client.number: client.completed for client in self.clients}

        def served() -> bool:
            return all(
                client.completed >= marks[client.number] + _SERVED
                for client in self.clients
            )

        self._expect(served, "a quorum serves", core)
        self.stop_clients()
        self._expect(lambda: self._converged(core), "a quorum converges", core)
        self._expect_all_told(core)

    def heal_all(self) -> None:
        self.world.trace("world", "heals", "all")
        for undo in self.left_out:
            undo()
        self._mend(self.nodes)
        whole = self.whole
        self._expect(lambda: self._converged(whole), "all", whole)
        for watcher in self.watchers:
            watcher.nodes = whole
        self._expect_all_told(whole)

    def survive_power_loss(self) -> None:
        """Whatever was acknowledged is read after everybody lost power at once."""
        whole = self.whole
        for node in self.nodes:
            node.stop("power")
        self.world.trace("world", "power", "lost by all")
        for node in whole:
            node.start()
        alive = [node for node in whole if node.up]
        voting = [node for node in alive if node in self.voters]
        any_quorum_has_everything(self.checkers.book, voting, self.majority)
        sure = [node for node in voting if node.raft.doubt is None]
        core = voting
        if len(sure) >= self.majority:
            core = self.world.random.sample(sure, self.majority)
            for node in alive:
                if node not in core:
                    node.wanted = False
                    node.stop("kill")
        self._read_everything(core)
        self._mend(self.nodes)
        whole = [node for node in whole if node.broken is None]
        self._expect(lambda: self._converged(whole), "all after power loss", whole)
        alive = self.checkers.book.model.leases.alive
        self._expect(lambda: not alive, "leases that nobody keeps end", whole)
        self._expect_all_told(whole)

    def _read_everything(self, core: list[Node]) -> None:
        changes = self.checkers.book.model.changes
        # A pair's name is no key.
        keys = sorted({c.key for c in changes if not c.key.startswith(PAIR)})
        for position, client in enumerate(self.clients):
            share = keys[position :: len(self.clients)]
            client.read_all([(key, self.world.random.choice(core)) for key in share])
        self._expect(
            lambda: not any(client.script for client in self.clients),
            "a quorum is read after power loss",
            core,
        )

    # -- steps -----------------------------------------------------------------------

    def _mend(self, nodes: list[Node]) -> None:
        for node in nodes:
            node.wanted = True
            node.slow = 1
            node.arm(None)
            node.env.heal()
            node.env.capacity_bytes = None
            node.clock.run_at(1.0, self.world.now_us)
            node.pause(False)
            if node.stopping_ticks:
                node.stop("kill")
            node.start()

    def _settle_members(self, membership: Membership) -> None:
        """Operators ask for nothing more; what they wished for becomes so.

        Also what nobody answered: a wish that came true later would take away a node
        on which the others are told to count (seeds 2040 and 2072).
        """
        membership.operators.active = False
        world, nodes = self.world, self.nodes
        world.run_until(world.now_us + PATIENCE_US)
        last = max(node.raft.log.last_index for node in nodes if node.up)

        def decided() -> bool:
            return any(n.up and n.raft.log.applied_index >= last for n in nodes)

        # Without a leader there may be nobody who could decide.
        world.run_until(world.now_us + self.bound_us, decided)
        self._expect(membership.as_wished, "members are as wished", self.whole)

    def _choose_core(self) -> list[Node]:
        """A quorum of voters that know their own log; all, when there is none."""
        sure = [n for n in self.voters if n.up and n.raft.doubt is None]
        if len(sure) < self.majority:
            return [n for n in self.whole if n.up]
        core = self.world.random.sample(sure, self.majority)
        if not _can_go_on(core):
            # Seed 975: the log of one with damaged tables began behind where the others
            # ended, and who had its state was left out.
            whole = [n for n in sure if not n.damaged]
            core = max(whole, key=lambda n: n.raft.log.last_index), *core
            core = list(dict.fromkeys(core))[: self.majority]
            core = core if _can_go_on(core) else sure
        return core

    def _leave_out(self, node: Node) -> None:
        network = node.network
        match self.world.below(5):
            case 0:
                node.wanted = False
                node.stop("kill")
            case 1:
                self.left_out.append(network.close(network.between([node.member])))
            case 2:
                pairs = network.between([node.member])
                mute = [pair for pair in pairs if pair[0] == node.member]
                self.left_out.append(network.close(mute))
                self._send_away(node)
            case 3:
                node.pause(True)
            case _:
                self._send_away(node)

    def _send_away(self, node: Node) -> None:
        """No reader could find out that this node may hear nothing new."""
        for watcher in self.watchers:
            if watcher.connection is not None and watcher.connection.node is node:
                watcher.leave()

    def stop_clients(self) -> None:
        """Begin no further operation; those in flight end."""
        for client in (*self.clients, *self.askers):
            client.stopped = True
        self._expect(
            lambda: all(client.current is None for client in self.clients),
            "the last operations end",
            self.nodes,
        )

    # -- conditions ------------------------------------------------------------------

    def _converged(self, nodes: list[Node]) -> bool:
        """One leader, perhaps from outside, whom all of `nodes` follow to the end."""
        if not all(node.up for node in nodes):
            return False
        leader_id = nodes[0].raft.leader_id
        leader = next((n for n in self.nodes if n.member == leader_id), None)
        if leader is None or not leader.up or not leader.raft.is_leader:
            return False
        log, term = leader.raft.log, leader.raft.term
        return log.commit_index == log.last_index and all(
            node.raft.term == term
            and node.raft.leader_id == leader_id
            and node.raft.log.applied_index == log.last_index
            for node in nodes
        )

    def _expect_all_told(self, nodes: list[Node]) -> None:
        told = "everybody who watches is told everything"
        self._expect(lambda: all_settled(self.watchers), told, nodes)

    def _expect(
        self, condition: Callable[[], bool], what: str, nodes: list[Node]
    ) -> None:
        world = self.world
        if world.run_until(world.now_us + self.bound_us, condition):
            return
        states = "; ".join(_state_of(node) for node in nodes)
        if self._waits_for_the_broken():
            world.trace("world", "halts", states)
            raise Halted(states)
        seconds = self.bound_us / SECOND
        world.fail("I-73", f"{what}: not within {seconds:g} s: {states}")

    def _waits_for_the_broken(self) -> bool:
        """Are there too few voters that know their log, and one that is gone for good?

        Broken, or without its disk. An entry in doubt may have been acknowledged by the
        broken voter, too: nobody can tell any more, so nobody may go on without it
        (decision 0004).
        """
        up = [n for n in self.nodes if n.up and n.raft.doubt is None]
        sure = {node.member for node in up}
        gone = {node.member for node in self.nodes if node.broken is not None}
        if self.membership is not None:
            gone |= self.membership.wiped
        told = [self.checkers.book.configuration]
        if up:
            # A change that is under way counts: by its rules whoever leads is elected.
            log = max(up, key=lambda n: (n.raft.log.last_term, n.raft.log.last_index))
            told.append(log.raft.configuration)
        return any(
            gone.intersection(voters)
            and 2 * len(sure.intersection(voters)) <= len(voters)
            for each in told
            for voters in (each.voters, each.outgoing)
        )


def _can_go_on(core: list[Node]) -> bool:
    """Has one with a whole disk what is no longer in the log of one without?"""
    whole = [node.raft.log.last_index for node in core if not node.damaged]
    bases = [node.raft.log.base_index for node in core if node.damaged]
    return bool(whole) and max(whole) >= max(bases, default=0)


def _state_of(node: Node) -> str:
    if not node.up:
        return f"{node.name}: down"
    raft = node.raft
    return (
        f"{node.name}: {raft.role.value} term {raft.term} last {raft.log.last_index}"
        f" commit {raft.log.commit_index} doubt {raft.doubt}"
    )
