"""Faults as data: a plan is drawn from the seed before anything happens.

Law: a fault has dice of its own (`salt`), so taking one out of a plan changes nothing
about the others. That is what makes a failing plan small (shrink) and its replay exact.
"""

from random import Random
from typing import Final

import msgspec

from ..world import MILLISECOND, SECOND

ONE: Final = "one"
LEADER: Final = "leader"
MINORITY: Final = "minority"
MAJORITY: Final = "majority"
ALL: Final = "all"
FEW: Final = (ONE, LEADER, MINORITY)
MANY: Final = (ONE, LEADER, MINORITY, MAJORITY, ALL)

# A quarter of all worlds has no faults at all.
_CALM: Final = 0.25
_DURATIONS_US: Final = (100, 400, 1200, 3000, 6000)


class Fault(msgspec.Struct, frozen=True):
    """`strength` is 0, 1 or 2; what it means is the kind's affair."""

    number: int
    at_us: int
    kind: str
    target: str
    strength: int
    duration_us: int
    salt: int

    def describe(self) -> str:
        return (
            f"#{self.number} {self.kind} of {self.target}, strength {self.strength},"
            f" for {self.duration_us / SECOND:.1f} s"
        )


class Menu(msgspec.Struct, frozen=True):
    """Where a plan's faults come from, and how many kinds and how often.

    `name` is that of its dice, `first` the number that its faults are counted from;
    `least` and `most` are shares of the menu.
    """

    name: str
    first: int
    calm: float
    least: float
    most: float
    means_ms: tuple[int, ...]


FAULTS: Final = Menu("faults", 0, _CALM, 0.0, 0.5, (200, 500, 1500))
# They have numbers and dice of their own, so that worlds without them stay as they are.
MEMBERS: Final = Menu("members", 100_000, 0.0, 0.3, 1.0, (400, 1000, 2500))


class Plan:
    """Which kinds a seed has, and what it does with them, segment by segment.

    `kinds` maps each kind to its possible targets. `only` keeps these faults and leaves
    out all others.
    """

    def __init__(
        self,
        seed: int,
        kinds: dict[str, tuple[str, ...]],
        *,
        everything: bool = False,
        only: frozenset[int] | None = None,
        menu: Menu = FAULTS,
    ) -> None:
        self.dice = Random(f"{menu.name} of seed {seed}")
        self.targets = kinds
        self.only = only
        names = list(kinds)
        calm = self.dice.random() < menu.calm
        least, most = int(menu.least * len(names)), int(menu.most * len(names))
        count = 0 if calm else self.dice.randint(max(1, least), most)
        self.kinds = names if everything else sorted(self.dice.sample(names, count))
        self.mean_us = self.dice.choice(menu.means_ms) * MILLISECOND
        if everything:
            self.mean_us = 500 * MILLISECOND
        self.count = menu.first

    def segment(self, start_us: int, end_us: int) -> list[Fault]:
        """The faults between two times; call it for each segment once, in order."""
        faults: list[Fault] = []
        at_us = start_us
        while self.kinds:
            at_us += self.dice.randrange(1, 2 * self.mean_us)
            if at_us >= end_us:
                break
            kind = self.dice.choice(self.kinds)
            self.count += 1
            fault = Fault(
                number=self.count,
                at_us=at_us,
                kind=kind,
                target=self.dice.choice(self.targets[kind]),
                strength=self.dice.randrange(3),
                duration_us=self.dice.choice(_DURATIONS_US) * MILLISECOND,
                salt=self.dice.getrandbits(32),
            )
            if self.only is None or fault.number in self.only:
                faults.append(fault)
        return faults
