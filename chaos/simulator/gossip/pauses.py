"""One member at a time stands still now and then: shortly, for long, or in a stutter.

Law: a plan that chance draws as it goes on. Between two pauses there is time for
everybody to hear that the first is over.
"""

from typing import Final

from ....node.gossip.limits import TICKS_PER_SECOND
from .checks import RECOVERY_TICKS
from .world import GossipWorld, Member

_SECOND: Final = TICKS_PER_SECOND
_RANGES_S: Final = ((0, 1), (2, 8), (10, 40))


class Pauses:
    """`step` is called before each tick."""

    def __init__(self, world: GossipWorld) -> None:
        self.world = world
        self.count = 0
        self.ticks = 0
        self.victim: Member | None = None
        self.next_at = self._later()
        self.ends_at = 0
        self.stutters = False

    def step(self) -> None:
        world, victim = self.world, self.victim
        if victim is None:
            if world.now >= self.next_at:
                self._begin()
        elif world.now >= self.ends_at:
            self.victim = None
            self.next_at = self._later()
        elif self.stutters and not victim.paused and world.random.randrange(3) == 0:
            self._pause(victim, world.random.randrange(3, 3 * _SECOND))

    def _begin(self) -> None:
        dice = self.world.random
        self.victim = victim = dice.choice(list(self.world.members.values()))
        kind = dice.randrange(4)
        self.stutters = kind == 3
        shortest, longest = _RANGES_S[kind % 3]
        length = dice.randrange(1 + shortest * _SECOND, longest * _SECOND)
        self.ends_at = self.world.now + 1 + length
        if self.stutters:
            self.ends_at += 20 * _SECOND
        else:
            self._pause(victim, length)

    def _pause(self, victim: Member, ticks: int) -> None:
        self.count += 1
        self.ticks += ticks
        self.world.pause(victim, ticks)

    def _later(self) -> int:
        wait = RECOVERY_TICKS + self.world.random.randrange(RECOVERY_TICKS)
        return self.world.now + wait
