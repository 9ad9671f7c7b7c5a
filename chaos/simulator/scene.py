"""A cluster whose links somebody directs, entry by entry: for worlds of one story.

Law: calm but for what the story does. It decides which entries reach whom, and waits
for what it needs by looking at the cores. A scene that does not come to what the story
is about says so (`Missed`), and the next one is tried.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from ...node.replica import PeerMessage
from ...raft import AppendEntries
from ...wire import Level
from ..histories import Kind
from .faults.disk import damage_batch, entries_at
from .faults.process import hold_down
from .node import Node
from .run import Cluster, RunOptions
from .workload import Client
from .world import SECOND, Violation

_BUSY_US: Final = 2 * SECOND
_SEEDS_TRIED_MAX: Final = 1000
# Shorter than any link takes: nothing arrives between two looks that was sent then.
_LOOK_US: Final = 50
_ENDLESS: Final = 1 << 16
_KEY: Final = b"k0"
_NOTHING_FORGOTTEN: Final = {
    "checkpoint_entries": _ENDLESS,
    "checkpoint_bytes": 16 << 20,
    "log_keep_entries": _ENDLESS,
}

Pair = tuple[int, int]
M = TypeVar("M", bound=PeerMessage)


class Missed(Exception):
    """It came to something else than the story needs; that is no failure."""


class Scene:
    """All agree up to `base`; what is behind it reaches nobody until it is `told`.

    `told` are the links (from, to) that carry new entries. All else gets through.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.network = cluster.network
        self.recovery = cluster.recovery()
        self.recovery.stop_clients()
        # One that reads a message each three seconds is not told all in time.
        for watcher in cluster.watchers:
            watcher.mend()
        self.recovery.heal_all()
        leading = [node for node in cluster.nodes if node.up and node.raft.is_leader]
        if len(leading) != 1:
            raise Missed("nobody leads")
        self.leader = leading[0]
        self.told: set[Pair] = set()
        self.base = self.leader.raft.log.last_index
        self._deliver, self.network.deliver = self.network.deliver, self._directed

    def _directed(self, member: int, message: PeerMessage) -> None:
        if isinstance(message, AppendEntries) and message.entries:
            news = message.entries[-1].index > self.base
            if news and (message.sender, message.to) not in self.told:
                return
        self._deliver(member, message)

    # -- what a story does -------------------------------------------------------------

    def others(self, *nodes: Node) -> list[Node]:
        """All other nodes, in an order that the seed draws."""
        rest = [node for node in self.cluster.nodes if node not in nodes]
        self.world.random.shuffle(rest)
        return rest

    def tell(self, sender: Node, *nodes: Node) -> None:
        """New entries of `sender` reach these from now on."""
        self.told |= {(sender.member, node.member) for node in nodes}

    def tell_all(self) -> None:
        """Everything gets through again."""
        self.base = 1 << 62

    def put(self, node: Node) -> Client:
        """A client that was idle asks `node` for a put."""
        return self._ask("put", node)

    def get(self, node: Node) -> Client:
        """A client that was idle asks `node` for a linearizable read."""
        return self._ask("get", node)

    def _ask(self, kind: Kind, node: Node) -> Client:
        idle = [each for each in self.cluster.clients if each.current is None]
        client = self.world.random.choice(idle)
        client.begin(kind, Level.LINEARIZABLE, _KEY, node)
        return client

    def writes_alone(self, leader: Node, count: int) -> Callable[[], None]:
        """It has so many entries that nobody else gets; how its links are opened again.

        Raises Missed.
        """
        cut_off = self.network.close(self.network.between([leader.member]))
        for _ in range(count):
            self.put(leader)
        index = self.base + count
        self.wait(lambda: leader.raft.log.stable_index >= index)
        return cut_off

    def elected(self, *nodes: Node) -> Node:
        """The one of these that comes to lead. Raises Missed."""
        self.wait(lambda: any(node.raft.is_leader for node in nodes))
        return next(node for node in nodes if node.raft.is_leader)

    def hold(
        self, kind: type[M], wanted: Callable[[M], bool], *, copies: bool = False
    ) -> tuple[list[M], Callable[[], None]]:
        """Messages that do not arrive, as they come, and how that ends.

        With `copies` they do arrive.
        """
        held: list[M] = []
        deliver = self.network.deliver

        def catch(member: int, message: PeerMessage) -> None:
            if isinstance(message, kind) and wanted(message):
                held.append(message)
                if not copies:
                    return
            deliver(member, message)

        def end() -> None:
            self.network.deliver = deliver

        self.network.deliver = catch
        return held, end

    def wait(self, condition: Callable[[], bool], timeouts: int = 20) -> None:
        """For so many election timeouts at most. Raises Missed."""
        world = self.world
        end_us = world.now_us + timeouts * self.cluster.shape.election_timeout_us
        while not condition():
            if world.now_us >= end_us:
                raise Missed("it does not come")
            world.run_until(world.now_us + _LOOK_US)

    def pass_timeouts(self, count: int) -> None:
        """So many election timeouts go by."""
        timeout_us = self.cluster.shape.election_timeout_us
        self.world.run_until(self.world.now_us + count * timeout_us)

    def damage(self, node: Node, *down: Node) -> None:
        """End `node` and `down`; `node` starts again, and its last batch is damaged.

        Raises Missed when that batch has no entries.
        """
        hold_down([node, *down], "kill")
        if not entries_at(node, -1):
            raise Missed(f"the last batch of {node.name} has no entries")
        damage_batch(node, -1, self.world.random)
        node.wanted = True
        node.start()

    def need(self, condition: bool, what: str) -> None:
        if not condition:
            raise Missed(what)

    def end(self) -> None:
        """All is healed, power is lost, and all histories are judged."""
        self.tell_all()
        self.network.heal()
        world, membership = self.world, self.cluster.membership
        for node in self.cluster.nodes:
            node.wanted = True
            node.start()
        bound_us = world.now_us + self.recovery.bound_us
        if membership is not None and not world.run_until(
            bound_us, membership.as_wished
        ):
            world.fail("I-73", "members are as wished: not in time")
        self.recovery.heal_all()
        self.recovery.survive_power_loss()
        self.cluster.judge()


def tell_story(
    seed: int,
    story: Callable[[Scene], str],
    voters: int,
    learners: int,
    raft: Mapping[str, int],
    *,
    members: bool,
    replica: Mapping[str, int] = _NOTHING_FORGOTTEN,
) -> str:
    """Of the first of a thousand clusters, others for each `seed`, that comes to it.

    `raft` and `replica` are options that the story needs. No log forgets anything, but
    for what `replica` says.
    """
    for cluster in _clusters(seed, voters, learners, raft, replica, members=members):
        try:
            return story(Scene(cluster))
        except Missed:
            continue
    raise Violation("world", 0, f"no cluster of seed {seed} comes to it")


def _clusters(
    seed: int,
    voters: int,
    learners: int,
    raft: Mapping[str, int],
    replica: Mapping[str, int],
    *,
    members: bool,
) -> Iterator[Cluster]:
    first = seed * _SEEDS_TRIED_MAX
    options = RunOptions(only=frozenset(), members=members)
    for tried in range(first, first + _SEEDS_TRIED_MAX):
        cluster = Cluster(tried, options)
        shape = cluster.shape
        if (shape.voters, shape.learners) != (voters, learners):
            continue
        shape.raft |= raft
        shape.replica = msgspec.structs.replace(shape.replica, **replica)
        engine = msgspec.structs.replace(shape.stable.engine, memtable_bytes=16 << 20)
        shape.stable = msgspec.structs.replace(shape.stable, engine=engine)
        cluster.start()
        cluster.world.run_until(_BUSY_US)
        yield cluster
