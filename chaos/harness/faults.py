"""Faults as data: which round kills whom, and for how long, drawn from a seed.

Law: pure; chance is an argument. A schedule names targets, not processes: "the leader"
is whoever leads when its round comes. Kinds are dealt like cards, a whole deck before
the next, so that a short run meets each of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["kill-one", "kill-leader", "kill-all"]

# What may be given as --faults, and the kinds of rounds that it stands for.
FAULTS: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {
        "kill": ("kill-one", "kill-leader", "kill-all"),
        "kill-one": ("kill-one",),
        "kill-leader": ("kill-leader",),
        "kill-all": ("kill-all",),
    }
)

CALM_SECONDS: Final = (0.2, 0.8)
PAUSE_SECONDS_MAX: Final = 1.5


class Round(msgspec.Struct, frozen=True):
    """One round: calm first, then the kill; each victim is away for its own pause.

    `one` is the number of the node that a kill-one means; `pauses_s` has a number for
    every node, of which only the victims' count.
    """

    number: int
    kind: Kind
    calm_s: float
    one: int
    pauses_s: tuple[float, ...]

    def victims(self, leader: int) -> tuple[int, ...]:
        """The numbers of the nodes to kill, all at once, when `leader` leads."""
        match self.kind:
            case "kill-one":
                return (self.one,)
            case "kill-leader":
                return (leader,)
            case "kill-all":
                return tuple(range(len(self.pauses_s)))


def draw_rounds(dice: Random, kinds: Sequence[Kind], nodes: int) -> Iterator[Round]:
    """Rounds without an end; the first n are the same however many are taken."""
    assert kinds
    assert nodes > 0
    number = 0
    while True:
        for kind in dice.sample(kinds, len(kinds)):
            number += 1
            yield Round(
                number=number,
                kind=kind,
                calm_s=round(dice.uniform(*CALM_SECONDS), 3),
                one=dice.randrange(nodes),
                pauses_s=tuple(
                    round(dice.uniform(0.0, PAUSE_SECONDS_MAX), 3) for _ in range(nodes)
                ),
            )
