"""Leader election under every graph of links that few nodes can have (I-15).

Law: a world is a value, and what happens in it depends on that value alone. It has
Rafts that beat every 5 ticks and elect after 40 to 79, which are Raft's defaults, links
that stay as they are, and disks; nothing crashes, and no socket breaks: whoever can't
be reached is silent. Messages travel for one tick and arrive in the order of sending; a
disk takes no tick or one, by the world's seed, which draws the timeouts, too.

An election timeout is here the longest that a node may draw. A leader is stable when it
leads for another STAY_TICKS and nobody begins to lead in a higher term meanwhile. At
the end it must have committed an entry of its term, and whoever has a two-way link to
it must follow it. It counts from the tick at which it began to lead. The promises:

- If somebody is electable, there is a stable leader that has two-way links to a quorum,
  and it begins to lead within DEADLINE_TICKS.
- If the leader from before the cut keeps its quorum, it stays the leader.
- If nobody is electable, nobody leads, but for the leader from before the cut, and that
  one not for longer than two checks of its quorum.

A node is electable when itself and the neighbours whose logs are no better than its own
are a majority (5.4.1). While nobody leads no log changes, so that this is exact.

Symmetry: renaming the nodes of a world changes only in which order messages of one tick
arrive and whose draw is which, and the seed draws those anyway. So where logs differ,
which makes too many worlds, one graph with its placement of logs stands for all that
differ from it in names alone, and the seed draws the names.
"""

from collections.abc import Callable, Generator, Iterable
from functools import cache
from itertools import combinations, count, permutations
from random import Random
from statistics import median_low
from types import MappingProxyType
from typing import Final

import msgspec

from ....raft import (
    NOOP,
    Configuration,
    Entry,
    HardState,
    Message,
    Options,
    Persist,
    Raft,
    SnapshotMark,
    acknowledge,
)
from ....raft.quorum import majority

ELECTION_TICKS: Final = 40
HEARTBEAT_TICKS: Final = 5
TIMEOUT_TICKS: Final = 2 * ELECTION_TICKS - 1
DEADLINE_TICKS: Final = 6 * TIMEOUT_TICKS
STAY_TICKS: Final = 3 * TIMEOUT_TICKS
QUORUM_CHECKS_TICKS: Final = 2 * ELECTION_TICKS

GRAPH_SEEDS: Final = 3
ONE_WAY_SEEDS: Final = 10
PLACEMENT_SEEDS: Final = 3

FIVE: Final = (1, 2, 3, 4, 5)

Links = tuple[tuple[int, int], ...]
Names = tuple[int, ...]


class Disk(msgspec.Struct, frozen=True):
    """What a node starts from: its term, and the term of each entry of its log."""

    term: int = 0
    entries: tuple[int, ...] = ()


# How logs may differ: (the better one, the other one), by Raft's rule.
EQUAL: Final = "equal"
KINDS: Final = MappingProxyType(
    {
        EQUAL: (Disk(), Disk()),
        "longer": (Disk(1, (1, 1)), Disk(1, (1,))),
        "newer and shorter": (Disk(2, (1, 2)), Disk(1, (1, 1, 1))),
        "longer, at nodes of an older term": (Disk(1, (1, 1)), Disk(4, (1,))),
    }
)


class LinkWorld(msgspec.Struct, frozen=True):
    """`links` are (sender, receiver); the leader before the cut is 0 for nobody.

    The nodes in `better` have the better log of `kind`, the others the other one.
    """

    size: int
    links: Links
    seed: int
    leader: int = 0
    kind: str = EQUAL
    better: Names = ()


class Outcome(msgspec.Struct, frozen=True):
    """The stable leader (0: none), when it began to lead, and what is wrong if any."""

    leader: int = 0
    ticks: int = 0
    problem: str = ""


class Summary(msgspec.Struct):
    """Ticks are those of worlds in which a leader had to be found and was."""

    worlds: int
    leaders: int
    ticks_median: int
    ticks_max: int
    violations: list[str]


# -- what a world's graph and logs say ------------------------------------------------


def both_ways(links: Links) -> Links:
    return tuple(sorted((*links, *((to, sender) for sender, to in links))))


def _neighbours(world: LinkWorld, node: int) -> list[int]:
    """Those that `node` has links to and from, itself included."""
    return [
        other
        for other in range(1, world.size + 1)
        if other == node
        or ((node, other) in world.links and (other, node) in world.links)
    ]


def hubs(world: LinkWorld) -> Names:
    """The nodes that reach a quorum directly."""
    return tuple(
        node
        for node in range(1, world.size + 1)
        if len(_neighbours(world, node)) >= majority(world.size)
    )


def electable(world: LinkWorld) -> Names:
    """The nodes with a quorum of neighbours whose logs are no better (5.4.1)."""

    def supporters(node: int) -> int:
        near = _neighbours(world, node)
        return sum(node in world.better or n not in world.better for n in near)

    return tuple(
        node for node in hubs(world) if supporters(node) >= majority(world.size)
    )


# -- the nodes of a world --------------------------------------------------------------


class _Flight(msgspec.Struct):
    """A batch that the disk has by the next tick."""

    raft: Raft
    persist: Persist
    messages_after: list[Message]


def has_news(raft: Raft) -> bool:
    """Did the tick by itself change what this node is, or make a heartbeat due?"""
    return bool(raft.events) or raft.heartbeat_due


class Nodes:
    """All nodes of a world, ticking together."""

    def __init__(self, world: LinkWorld) -> None:
        self.chance = Random(world.seed)
        self.links: frozenset[tuple[int, int]] | None = None
        self.sent: list[Message] = []
        self.flights: list[_Flight] = []
        self.rafts = [self._boot(world, n) for n in range(1, world.size + 1)]

    def _boot(self, world: LinkWorld, node: int) -> Raft:
        better, other = KINDS[world.kind]
        disk = better if node in world.better else other
        entries = [Entry(i, t, NOOP, b"") for i, t in enumerate(disk.entries, 1)]
        return Raft(
            Options(
                id=node,
                jitter=self.chance.randrange,
                election_timeout_ticks=ELECTION_TICKS,
                heartbeat_ticks=HEARTBEAT_TICKS,
            ),
            SnapshotMark(0, 0, Configuration(tuple(range(1, world.size + 1)))),
            HardState(disk.term, 0, 0),
            entries,
        )

    def tick(self) -> None:
        """Disks answer, messages arrive, time passes, and whoever has news speaks.

        Whoever was told nothing and has no news has nothing to say: its turn is left
        out, which halves the time that a world takes and changes nothing in it.
        """
        awake = self._disks_answer() | self._deliver()
        for raft in self.rafts:
            raft.tick()
        for raft in self.rafts:
            if raft.id in awake or has_news(raft):
                self._turn(raft)

    def _disks_answer(self) -> set[int]:
        flights, self.flights = self.flights, []
        for flight in flights:
            self.sent += flight.messages_after
            flight.raft.persisted(acknowledge(flight.persist))
        return {flight.raft.id for flight in flights}

    def _deliver(self) -> set[int]:
        sent, self.sent = self.sent, []
        heard: set[int] = set()
        for message in sent:
            if self.links is None or (message.sender, message.to) in self.links:
                self.rafts[message.to - 1].step(message)
                heard.add(message.to)
        return heard

    def _turn(self, raft: Raft) -> None:
        ready = raft.ready(can_persist=raft.in_flight is None)
        self.sent += ready.messages
        if ready.persist is None:
            return
        if self.chance.randrange(2):
            self.flights.append(_Flight(raft, ready.persist, ready.messages_after))
            return
        self.sent += ready.messages_after
        raft.persisted(acknowledge(ready.persist))

    def lead(self, node: int) -> None:
        """`node` leads, everybody follows, and some time has passed."""
        raft = self.rafts[node - 1]
        raft.campaign()
        for _ in range(ELECTION_TICKS // 2):
            self.tick()
        assert all(other.leader_id == node for other in self.rafts)
        assert raft.log.term(raft.log.commit_index) == raft.term
        for _ in range(self.chance.randrange(ELECTION_TICKS)):
            self.tick()

    def cut(self, links: Links) -> None:
        """What is on its way over other links is lost."""
        self.links = frozenset(links)

    def reign(self) -> tuple[int, int]:
        """(term, node) of the leader with the highest term; zeros when nobody leads."""
        reign = (0, 0)
        for raft in self.rafts:
            if raft.is_leader and raft.term > reign[0]:
                reign = (raft.term, raft.id)
        return reign


# -- judging a world ------------------------------------------------------------------


def judge(world: LinkWorld) -> Outcome:
    """Let the world run until it has kept or broken the promises of this module."""
    nodes = Nodes(world)
    if world.leader:
        nodes.lead(world.leader)
    nodes.cut(world.links)
    if not electable(world):
        return _expect_nobody(nodes, world.leader)
    outcome = _expect_stable(nodes, world)
    if world.leader in hubs(world) and outcome.ticks:
        return Outcome(problem=f"{world.leader} kept its quorum and was deposed")
    return outcome


def _expect_stable(nodes: Nodes, world: LinkWorld) -> Outcome:
    may_lead = hubs(world)
    reign, since = (0, 0), 0
    for tick in range(DEADLINE_TICKS + STAY_TICKS + 1):
        now = nodes.reign()
        if now != reign:
            reign, since = now, tick
        if since > DEADLINE_TICKS:
            break
        if now[1] in may_lead and tick - since == STAY_TICKS:
            return Outcome(now[1], since, _lacks(nodes, world, now[1]))
        nodes.tick()
    return Outcome(problem="no stable leader within the deadline")


def _lacks(nodes: Nodes, world: LinkWorld, leader: int) -> str:
    """What a stable leader should have by now and has not."""
    raft = nodes.rafts[leader - 1]
    if raft.log.term(raft.log.commit_index) != raft.term:
        return f"{leader} leads and commits nothing"
    for node in _neighbours(world, leader):
        if nodes.rafts[node - 1].leader_id != leader:
            return f"{leader} leads and {node} does not follow"
    return ""


def _expect_nobody(nodes: Nodes, before: int) -> Outcome:
    """Only the leader from before the cut, and only until it checks its quorum."""
    for tick in range(DEADLINE_TICKS + 1):
        leader = nodes.reign()[1]
        if leader and (leader != before or tick > QUORUM_CHECKS_TICKS):
            return Outcome(problem=f"{leader} leads and nobody is electable")
        nodes.tick()
    return Outcome()


# -- all worlds -----------------------------------------------------------------------


def graphs() -> list[Links]:
    """All 1024 ways to link five nodes, links being two-way."""
    return [both_ways(chosen) for chosen in _subsets(tuple(combinations(FIVE, 2)))]


def one_way_graphs() -> list[Links]:
    """All 64 ways to link three nodes, each link in none, one or both directions."""
    return _subsets(tuple(permutations((1, 2, 3), 2)))


def _subsets(links: Links) -> list[Links]:
    return [
        chosen for size in range(len(links) + 1) for chosen in combinations(links, size)
    ]


class Placement(msgspec.Struct, frozen=True):
    """A graph, who has the better log, and in how many ways the nodes can be named."""

    links: Links
    better: Names
    count: int


@cache
def placements() -> tuple[Placement, ...]:
    """Every graph with the better log at some nodes but not all, up to renaming."""
    found: list[Placement] = []
    seen: set[tuple[Links, Names]] = set()
    for links in graphs():
        for better in (b for size in range(1, 5) for b in combinations(FIVE, size)):
            if (links, better) not in seen:
                same = {
                    (_renamed(links, names), _places(better, names))
                    for names in permutations(FIVE)
                }
                seen |= same
                found.append(Placement(links, better, len(same)))
    return tuple(found)


def _renamed(links: Links, names: Names) -> Links:
    return tuple(sorted([(names[a - 1], names[b - 1]) for a, b in links]))


def _places(nodes: Names, names: Names) -> Names:
    return tuple(sorted(names[node - 1] for node in nodes))


def _equal_logs() -> Generator[LinkWorld]:
    """Every graph; before the cut nobody leads, or any node does.

    What a leader does that keeps its quorum depends little on chance.
    """
    seeds = count()
    for links in graphs():
        for leader in (0, *FIVE):
            kept = leader in hubs(LinkWorld(5, links, 0))
            for _ in range(1 if kept else GRAPH_SEEDS):
                yield LinkWorld(5, links, next(seeds), leader)


def _one_way() -> Generator[LinkWorld]:
    seeds = count()
    for links in one_way_graphs():
        for leader in (0, 1, 2, 3):
            for _ in range(ONE_WAY_SEEDS):
                yield LinkWorld(3, links, next(seeds), leader)


def _unequal_logs() -> Generator[LinkWorld]:
    seeds = count()
    for placement in placements():
        for kind in KINDS:
            if kind != EQUAL:
                for _ in range(PLACEMENT_SEEDS):
                    yield _named_by_chance(placement, kind, next(seeds))


def _named_by_chance(placement: Placement, kind: str, seed: int) -> LinkWorld:
    names = tuple(Random(seed).sample(FIVE, len(FIVE)))
    links = _renamed(placement.links, names)
    return LinkWorld(5, links, seed, 0, kind, _places(placement.better, names))


def groups() -> list[Iterable[LinkWorld]]:
    """All worlds that `enumerate_links` judges."""
    return [_equal_logs(), _one_way(), _unequal_logs()]


def unelectable() -> list[Placement]:
    """Placements by which nobody is electable, though some node reaches a quorum."""

    def in_vain(place: Placement) -> bool:
        world = LinkWorld(5, place.links, 0, 0, "longer", place.better)
        return bool(hubs(world)) and not electable(world)

    return [place for place in placements() if in_vain(place)]


def unelectable_lines() -> list[str]:
    """The same for readers; links are written as pairs of nodes."""
    return [
        f"links {' '.join(f'{a}-{b}' for a, b in place.links if a < b)}:"
        f" the better log at {' '.join(map(str, place.better))}"
        f" ({place.count} ways to name the nodes)"
        for place in unelectable()
    ]


# -- the report -----------------------------------------------------------------------


def _family(world: LinkWorld) -> str:
    """The line of the report in which a world is counted."""
    if world.kind != EQUAL:
        name = f"the better log is {world.kind}"
    elif not world.leader:
        name = "nobody leads before"
    elif world.leader in hubs(world):
        name = "the leader keeps its quorum"
    else:
        name = "the leader loses its quorum"
    return f"{world.size} nodes, {name}"


def _line(name: str, summary: Summary) -> str:
    return (
        f"{name}: {summary.worlds} worlds, {summary.leaders} with a stable leader,"
        f" found after {summary.ticks_median} ticks in the median,"
        f" {summary.ticks_max} at most"
        f" ({summary.ticks_max / TIMEOUT_TICKS:.1f} election timeouts),"
        f" {len(summary.violations)} violations"
    )


def _summary(outcomes: list[tuple[LinkWorld, Outcome]]) -> Summary:
    led = [(w, o) for w, o in outcomes if o.leader and not o.problem]
    ticks = [o.ticks for w, o in led if o.leader != w.leader]
    return Summary(
        len(outcomes),
        len(led),
        median_low(ticks or [0]),
        max(ticks, default=0),
        [
            f"{outcome.problem}: {world}"
            for world, outcome in outcomes
            if outcome.problem
        ],
    )


def enumerate_links(report: Callable[[str], None]) -> Summary:
    """Judge every world; a line for each family of them, in a fixed order."""
    outcomes: list[tuple[LinkWorld, Outcome]] = []
    for group in groups():
        families: dict[str, list[tuple[LinkWorld, Outcome]]] = {}
        for world in group:
            families.setdefault(_family(world), []).append((world, judge(world)))
        for name, found in families.items():
            report(_line(name, _summary(found)))
            outcomes += found
    return _summary(outcomes)
