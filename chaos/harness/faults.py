"""Faults as data: what strikes whom in which round, and for how long, from a seed.

Law: pure; chance is an argument. A schedule names targets, not processes: "the leader"
is whoever leads when its round comes. Kinds are dealt like cards, a whole deck before
the next, so that a short run meets each of them. Of what is done to processes there is
one kind in a round at most: two would fight for the same process. What takes all nodes
away strikes alone: there would be no traffic for another fault to meet.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

import msgspec

ProcessKind: TypeAlias = Literal[
    "kill-one",
    "kill-leader",
    "kill-all",
    "stop-one",
    "stop-leader",
    "stop-all",
    "pause-one",
    "pause-leader",
    "pause-all",
    "storm",
]
LinkKind: TypeAlias = Literal[
    "isolate-one",
    "isolate-leader",
    "halves",
    "bridge",
    "star",
    "chain",
    "ring",
    "one-way-out",
    "one-way-in",
    "flapping",
    "swizzle",
    "slow",
    "trickle",
    "reset",
    "half-open",
    "flip",
    "client-cut",
    "client-reset",
    "client-slow",
]
DiskKind: TypeAlias = Literal[
    "eio-read",
    "eio-write",
    "eio-sync",
    "full-disk",
    "slow-sync",
    "torn-write",
    "flip-stopped",
    "flip-running",
]
MachineKind: TypeAlias = Literal[
    "stall",
    "wall-jump",
    "drift",
    "failpoint",
    "failpoint-flush",
]
MemberKind: TypeAlias = Literal[
    "join",
    "promote",
    "demote",
    "remove",
    "replace",
    "move-leader",
    "rolling-restart",
    "backup",
    "rotate-ca",
]
Kind: TypeAlias = ProcessKind | LinkKind | DiskKind | MachineKind | MemberKind

PROCESS_KINDS: Final[tuple[ProcessKind, ...]] = get_args(ProcessKind)
LINK_KINDS: Final[tuple[LinkKind, ...]] = get_args(LinkKind)
DISK_KINDS: Final[tuple[DiskKind, ...]] = get_args(DiskKind)
MACHINE_KINDS: Final[tuple[MachineKind, ...]] = get_args(MachineKind)
MEMBER_KINDS: Final[tuple[MemberKind, ...]] = get_args(MemberKind)
ALL_KINDS: Final[tuple[Kind, ...]] = (
    *(*PROCESS_KINDS, *LINK_KINDS),
    *(*DISK_KINDS, *MACHINE_KINDS, *MEMBER_KINDS),
)
# What is done to one process at a time, and may end it.
BUSY_KINDS: Final = frozenset(
    (*PROCESS_KINDS, *DISK_KINDS, *MACHINE_KINDS, *MEMBER_KINDS)
)
# What leaves damage: always at the same voter.
DAMAGE_KINDS: Final = frozenset(DISK_KINDS[6:])
# What needs the door into nodes; flips are done from outside.
DOOR_KINDS: Final = frozenset((*DISK_KINDS[:6], *MACHINE_KINDS))
# With how many nodes a kind first means something, and something else than the others.
NODES_MIN: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        "halves": 5,
        "bridge": 3,
        "star": 4,
        "chain": 4,
        "ring": 5,
        **dict.fromkeys(("isolate-one", "isolate-leader", "one-way-out"), 2),
        **dict.fromkeys(("one-way-in", "flapping", "swizzle", "slow"), 2),
        **dict.fromkeys(("trickle", "reset", "half-open", "flip"), 2),
        # What is damaged at one has to be whole at a majority.
        **dict.fromkeys(("flip-stopped", "flip-running"), 3),
        **dict.fromkeys(MEMBER_KINDS, 3),
    }
)
_GROUPS: Final[dict[str, tuple[Kind, ...]]] = {
    "kill": ("kill-one", "kill-leader", "kill-all"),
    "stop": ("stop-one", "stop-leader", "stop-all"),
    "pause": ("pause-one", "pause-leader", "pause-all"),
    "partition": (
        *("isolate-one", "isolate-leader", "halves", "bridge", "star", "chain"),
        *("ring", "one-way-out", "one-way-in", "flapping", "swizzle"),
    ),
    "links": ("slow", "trickle", "reset", "half-open", "flip"),
    "clients": ("client-cut", "client-reset", "client-slow"),
    "disk": DISK_KINDS,
    "machine": MACHINE_KINDS,
    "members": MEMBER_KINDS,
    "all": ALL_KINDS,
}
# What may be given as --faults, and the kinds that it stands for.
FAULTS: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {**_GROUPS, **{kind: (kind,) for kind in ALL_KINDS}}
)

# Shapes with a middle: with the leader there, no link that anybody uses is cut.
LEADER_LAST: Final = frozenset({"bridge", "star"})
CALM_SECONDS: Final = (0.2, 0.8)
PAUSE_SECONDS_MAX: Final = 1.5
# Most faults hold for a few election timeouts; one in four outlives every timeout that
# nodes and clients have, 5 seconds.
HOLD_SECONDS: Final = (1.0, 3.0)
LONG_HOLD_SECONDS: Final = (5.5, 7.0)
LONG_SHARE: Final = 0.25
STORM_KILLS: Final = 3
# By which share of the true time a clock runs fast or slow at most.
DRIFT_MAX: Final = 0.05


class Fault(msgspec.Struct, frozen=True):
    """One fault: of what kind, from when in its round on, for how long, at whom.

    `order` has the numbers of all nodes, by chance; the first is the target where there
    is one, and shapes are laid along it. With `at_leader` the leader comes first; in
    the middle of a shape it never is.
    `away_s` has a number for every node: how long it is away if it is a victim.
    """

    kind: Kind
    after_s: float
    hold_s: float
    at_leader: bool
    order: tuple[int, ...]
    away_s: tuple[float, ...]
    silent: bool
    strength: float

    def fitted(self, nodes: int) -> "Fault":
        """The same for another number of nodes: who is not there is left out."""
        drawn = len(self.order)
        order = tuple(number for number in self.order if number < nodes)
        away_s = (self.away_s * (nodes // drawn + 1))[: max(nodes, drawn)]
        return msgspec.structs.replace(
            self, order=(*order, *range(drawn, nodes)), away_s=away_s
        )

    def along(self, leader: int) -> tuple[int, ...]:
        """The nodes' numbers in the order that counts when `leader` leads."""
        others = tuple(number for number in self.order if number != leader)
        if self.kind in LEADER_LAST:
            return (*others, leader)
        return (leader, *others) if self.at_leader else self.order

    def victims(self, leader: int) -> tuple[int, ...]:
        """The numbers of the nodes whose processes are meant; none for links."""
        if self.kind not in PROCESS_KINDS:
            return ()
        if self.kind.endswith("-all") or self.kind == "storm":
            return tuple(sorted(self.order))
        return self.along(leader)[:1]


class Round(msgspec.Struct, frozen=True):
    """Calm first, then the faults, and then everything is healed."""

    number: int
    calm_s: float
    faults: tuple[Fault, ...]


def usable(kinds: Sequence[Kind], nodes: int) -> tuple[Kind, ...]:
    """Those that mean something in a cluster of so many nodes, each once."""
    return tuple(dict.fromkeys(k for k in kinds if NODES_MIN.get(k, 1) <= nodes))


def draw_rounds(
    dice: Random, kinds: Sequence[Kind], nodes: int, at_once: int = 1
) -> Iterator[Round]:
    """Rounds without an end; the first n are the same however many are taken."""
    assert kinds
    assert nodes > 0
    assert at_once > 0
    number = 0
    while True:
        for hand in _deal(dice, kinds, at_once):
            number += 1
            calm_s = round(dice.uniform(*CALM_SECONDS), 3)
            faults = [
                _draw(dice, kind, nodes, place) for place, kind in enumerate(hand)
            ]
            yield Round(number, calm_s, tuple(faults))


def _deal(
    dice: Random, kinds: Sequence[Kind], at_once: int
) -> Iterator[tuple[Kind, ...]]:
    """Hands that use up a deck: at most one kind of processes in each."""
    deck = dice.sample(kinds, len(kinds))
    while deck:
        hand: list[Kind] = [deck.pop(0)]
        for kind in list(deck):
            if len(hand) < at_once and _go_together(kind, hand):
                hand.append(kind)
                deck.remove(kind)
        yield tuple(hand)


def _go_together(kind: Kind, hand: Sequence[Kind]) -> bool:
    kinds = [kind, *hand]
    busy = sum(one in BUSY_KINDS for one in kinds)
    return busy <= 1 and not any(one.endswith("-all") for one in kinds)


def _draw(dice: Random, kind: Kind, nodes: int, place: int) -> Fault:
    span = LONG_HOLD_SECONDS if dice.random() < LONG_SHARE else HOLD_SECONDS
    by_chance = dice.random() < 0.5
    named = kind.endswith(("-leader", "-one"))
    return Fault(
        kind=kind,
        # The first of a round strikes at once, the others into what it has done.
        after_s=round(dice.uniform(0.0, HOLD_SECONDS[0]), 3) if place else 0.0,
        hold_s=round(dice.uniform(*span), 3),
        at_leader=kind.endswith("-leader") if named else by_chance,
        order=tuple(dice.sample(range(nodes), nodes)),
        away_s=tuple(
            round(dice.uniform(0.0, PAUSE_SECONDS_MAX), 3) for _ in range(nodes)
        ),
        silent=dice.random() < 0.7,
        strength=round(dice.random(), 3),
    )
