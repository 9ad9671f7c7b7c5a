"""One seed, one world: build it, hurt it, heal it, and look at what is left.

Law: a run depends on its seed and its options alone. The phases are those of
docs/testing.md: faults; a quorum healed and the others not; all healed; power lost by
all; then the histories.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from ...node.replica import ForwardReply, PeerMessage
from ...raft import Configuration, InstallSnapshot
from ..histories import check_linearizable, check_replay
from .checkers import Checkers
from .checkers.reads import check_weak_reads
from .checkers.watches import check_watches
from .faults import KINDS, MEMBER_KINDS, MEMBERS, Fault, Faults, Ground, Plan
from .membership import Membership, members_change
from .network import Network
from .node import Node
from .recovery import Halted, Recovery
from .repeaters import Repeater
from .shape import Shape
from .snapshots import Answer
from .tenants import Tenant
from .watchers import Watcher
from .workload import Client
from .world import SECOND, World

HURT_US = 20 * SECOND
OPERATIONS_MIN = 300
_OPERATIONS_WANTED = OPERATIONS_MIN + 20
_SEGMENTS_MAX = 20


class RunOptions(msgspec.Struct, frozen=True):
    """`dense`: the shape and all faults of the speed figure. `only`: these faults.

    `members`: do members come and go? None: the seed draws it.
    """

    dense: bool = False
    only: frozenset[int] | None = None
    members: bool | None = None
    keep_trace: bool = False


DEFAULT_OPTIONS = RunOptions()


class Result(msgspec.Struct):
    """What one run was: the same for the same seed, in any process."""

    seed: int
    nodes: int
    operations: int
    acknowledged: int
    simulated_us: int
    events: int
    kinds: list[str]
    fired: Counter[str]
    overlapped: Counter[str]
    failpoints: Counter[str]
    agreed: str
    trace: str
    snapshots: int
    flushes: int
    compactions: int
    heals: int
    broken: int
    halted: bool
    undecided: int
    told: int
    # Do members come and go? Configurations applied; what operators were answered.
    changing: bool
    configurations: int
    answers: Counter[str]

    @property
    def enough(self) -> bool:
        """Did it do what makes a run count? One that had to halt may have done less."""
        return self.halted or self.acknowledged >= OPERATIONS_MIN


class Cluster:
    """A world with its nodes, links, clients, faults and checkers."""

    def __init__(self, seed: int, options: RunOptions = DEFAULT_OPTIONS) -> None:
        self.world = World(seed, options.keep_trace)
        shape = self.shape = Shape(self.world, options.dense)
        voters = tuple(range(1, shape.voters + 1))
        learners = tuple(range(shape.voters + 1, shape.voters + shape.learners + 1))
        bootstrap = Configuration(voters, (), learners)
        members = bootstrap.members()
        self.network = Network(self.world, members, self._deliver)
        changes = not options.dense and members_change(seed)
        if options.members is not None:
            changes = options.members
        self.checkers = Checkers(self.world, bootstrap, shape, changes)
        self.nodes = [
            Node(self.world, m, bootstrap, shape, self.network, self.checkers, self)
            for m in members
        ]
        self.by_member = {node.member: node for node in self.nodes}
        self.clients = [
            Client(self.world, number, self.nodes, shape)
            for number in range(1, shape.clients + 1)
        ]
        book = self.checkers.book
        self.askers: list[Tenant | Repeater] = [
            Tenant(self.world, number, self.nodes, shape, book)
            for number in range(1, shape.tenants + 1)
        ]
        self.askers += [
            Repeater(self.world, number, self.nodes, shape, book)
            for number in range(1, shape.repeaters + 1)
        ]
        self.watchers = [
            Watcher(self.world, number, self.nodes, shape, self.checkers.book.model)
            for number in range(1, shape.watchers + 1)
        ]
        self.ground = Ground(self.world, self.nodes, self.network, self.checkers)
        self.plan = Plan(seed, KINDS, everything=options.dense, only=options.only)
        self.faults = Faults(self.ground, self._in_flight)
        self.membership: Membership | None = None
        self.plans = [self.plan]
        self.undecided = 0
        self.halted = False
        # (member, peer): the peer has not seen yet that a process of the member ended.
        self.hidden: set[tuple[int, int]] = set()
        self.world.trace("world", "seed", f"{seed}: {shape.describe()}")
        if changes:
            self._let_members_change(seed, options)

    def _let_members_change(self, seed: int, options: RunOptions) -> None:
        self.membership = self.ground.membership = Membership(self, seed)
        self.plans.append(Plan(seed, MEMBER_KINDS, only=options.only, menu=MEMBERS))
        self.world.trace("world", "members", self.membership.describe())

    # -- what nodes ask of the world ---------------------------------------------------

    def _deliver(self, member: int, message: PeerMessage) -> None:
        node = self.by_member[member]
        # An answer comes by a connection that the node has made itself.
        if isinstance(message, ForwardReply) or not self._turned_away(
            node, message.sender
        ):
            node.deliver(message)

    def _turned_away(self, node: Node, sender: int) -> bool:
        """Does the node know better than to listen? Who has left is told so."""
        roster, other = node.roster, self.by_member[sender]
        if roster is None or not node.up or not roster.objects_to(sender):
            return False
        told = roster.gone(sender) and self.network.connected(node.member, sender)
        if told and other.up and other.roster is not None:
            other.later(0, other.roster.was_told)
        return True

    def deliver_snapshot(
        self, message: InstallSnapshot, data: bytes, answer: Answer
    ) -> None:
        self.by_member[message.to].snapshots.receive(message, data, answer)

    def went_down(self, node: Node, polite: bool) -> None:
        """Peers and clients see the connection end, unless the network hides it.

        A goodbye comes behind all answers; what was on its way to the node is lost. It
        speaks for the connections of its own process: who never saw the one before end
        learns of that now, and what it had handed to it is lost.
        """
        network = self.network
        for other in self.nodes:
            pair = (node.member, other.member)
            network.break_connection((other.member, node.member))
            if other is node:
                continue
            hidden = pair in self.hidden
            self.hidden.discard(pair)
            broke = partial(
                other.link_broke,
                node.member,
                polite=polite and not hidden,
                refused=True,
            )
            if polite:
                back = (other.member, node.member)
                network.stream(pair, partial(self._hears_goodbye, back, broke))
                network.dead.add(back)
                network.dead.discard(pair)
                continue
            network.break_connection(pair)
            if other.up and network.connected(*pair):
                broke()
            elif other.up:
                self.hidden.add(pair)
        for each in (*self.clients, *self.askers, *self.watchers):
            each.went_down(node)

    def _hears_goodbye(self, pair: tuple[int, int], broke: Callable[[], None]) -> None:
        self.network.dead.discard(pair)
        broke()

    def may_tear(self) -> bool:
        """Not beside a voter that is gone for good.

        A doubt that only it could settle would halt the world (decision 0004).
        """
        lost = [node.member for node in self.nodes if node.broken is not None]
        if self.membership is not None:
            lost += self.membership.lost_voters()
        return not any(member in self.ground.voters for member in lost)

    def starts(self, node: Node) -> None:
        """What its last process had still under way is nobody's any more."""
        for other in self.nodes:
            self.network.dead.discard((other.member, node.member))
            if other is not node and self.network.break_connection(
                (node.member, other.member)
            ):
                other.link_broke(node.member, polite=False, refused=False)

    def _in_flight(self) -> bool:
        return any(client.current is not None for client in self.clients)

    @property
    def completed(self) -> int:
        return sum(client.completed for client in self.clients)

    # -- the run ---------------------------------------------------------------------

    def run(self) -> Result:
        """Raises Violation; AssertionError out of the cores is a violation, too."""
        self.start()
        self._hurt()
        recovery = self.recovery()
        try:
            recovery.heal_a_quorum(self.faults)
            recovery.heal_all()
            recovery.survive_power_loss()
        except Halted:
            self.halted = True
        self.judge()
        return self._result()

    def start(self) -> None:
        """Boot all nodes and let the clients begin."""
        for node in self.nodes:
            node.start()
        for each in (*self.clients, *self.askers, *self.watchers):
            each.start()

    def recovery(self) -> Recovery:
        """What brings this world to its end."""
        return Recovery(
            *(self.world, self.shape, self.nodes),
            *(self.clients, self.askers, self.watchers),
            *(self.checkers, self.membership),
        )

    def _hurt(self) -> None:
        """Harsh seeds go on, with fewer faults, until each has its operations."""
        world = self.world
        for _ in range(_SEGMENTS_MAX):
            end_us = world.now_us + HURT_US
            for plan in self.plans:
                self.faults.schedule(plan.segment(world.now_us, end_us))
            enough = None if world.now_us == 0 else self._enough
            world.run_until(end_us, enough)
            if self._enough():
                break
            for plan in self.plans:
                plan.mean_us *= 2

    def _enough(self) -> bool:
        return self.completed >= _OPERATIONS_WANTED

    def judge(self) -> None:
        """Look at what all clients were told."""
        world, model = self.world, self.checkers.book.model
        history = [op for client in self.clients for op in client.history]
        objection = check_replay(history, model.changes, model.revision)
        if objection is not None:
            world.fail(objection.invariant, objection.detail)
        verdict = check_linearizable(history)
        if verdict.objection is not None:
            world.fail(verdict.objection.invariant, verdict.objection.detail)
        check_weak_reads(world, self.clients, model, history)
        check_watches(
            world,
            model,
            [(watcher.name, watcher.watches) for watcher in self.watchers],
            to_the_end=not self.halted,
        )
        self.undecided = verdict.undecided

    def _result(self) -> Result:
        world = self.world
        history = sum(len(client.history) for client in self.clients)
        return Result(
            seed=world.seed,
            nodes=len(self.nodes),
            operations=history
            + sum(len(c.weak) + c.others for c in self.clients)
            + sum(asker.requests for asker in self.askers),
            acknowledged=self.completed + sum(asker.completed for asker in self.askers),
            simulated_us=world.now_us,
            events=world.events,
            kinds=[kind for plan in self.plans for kind in plan.kinds],
            fired=self.faults.fired,
            overlapped=self.faults.overlapped,
            failpoints=self.checkers.failpoints,
            agreed=self.checkers.digest(),
            trace=world.digest.hexdigest(),
            snapshots=self.checkers.snapshots,
            flushes=self.checkers.flushes,
            compactions=self.checkers.compactions,
            heals=self.checkers.heals,
            broken=sum(node.broken is not None for node in self.nodes),
            halted=self.halted,
            undecided=self.undecided,
            told=sum(watcher.events for watcher in self.watchers),
            changing=self.membership is not None,
            configurations=len(self.checkers.book.configurations) - 1,
            answers=Counter()
            if self.membership is None
            else self.membership.operators.answers,
        )


def run_seed(seed: int, options: RunOptions = DEFAULT_OPTIONS) -> Result:
    """Run one seed. Raises Violation; AssertionError is a violation, too."""
    return Cluster(seed, options).run()


__all__ = ["Cluster", "Fault", "Result", "RunOptions", "run_seed"]
