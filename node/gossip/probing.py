"""Whom to ask next, the probe that is on its way, and the probes made for others.

Law: every second probe goes to one of the next members on a ring, so that whoever dies
is soon missed by each of those before it; the others go once in a round to each live
member, in an order that chance gave. What a probe means is decided in core.
"""

from collections.abc import Callable
from heapq import nsmallest

from .limits import PROBE_TIMEOUT_TICKS, RELAYS_MAX, RING_MEMBERS


class Probe:
    """One member is asked, directly and then over others."""

    __slots__ = ("asked", "detour_at", "ends_at", "nacks", "number", "target")

    def __init__(self, target: int, number: int, detour_at: int, ends_at: int) -> None:
        self.target = target
        self.number = number
        self.detour_at = detour_at
        self.ends_at = ends_at
        # The members that were asked to ask it, and how many said that they had.
        self.asked: tuple[int, ...] | None = None
        self.nacks = 0


class Rounds:
    """The order in which the member `own` asks the others."""

    def __init__(self, own: int, draw: Callable[[int], int]) -> None:
        self.own = own
        self.draw = draw
        self.asked = 0
        self.waiting: list[int] = []

    def next(self, live: list[int]) -> int:
        """Somebody who is live; 0 when nobody is."""
        if not live:
            return 0
        self.asked += 1
        if self.asked % 2 == 0:
            # By id, and from the highest one on to the lowest.
            ring = nsmallest(RING_MEMBERS, live, key=lambda one: (one < self.own, one))
            return ring[self.asked // 2 % len(ring)]
        while True:
            while self.waiting:
                member = self.waiting.pop()
                if member in live:
                    return member
            self.waiting = sample(live, len(live), self.draw)


class _Relay:
    __slots__ = ("nack_at", "number", "origin", "target")

    def __init__(self, origin: int, number: int, target: int, nack_at: int) -> None:
        self.origin = origin
        self.number = number
        self.target = target
        self.nack_at = nack_at


class Relays:
    """Probes made for others, by the number of ours."""

    def __init__(self) -> None:
        self.open: dict[int, _Relay] = {}

    def begin(self, ours: int, origin: int, number: int, target: int, now: int) -> bool:
        """False: there are too many."""
        if len(self.open) >= RELAYS_MAX:
            return False
        self.open[ours] = _Relay(origin, number, target, now + PROBE_TIMEOUT_TICKS)
        return True

    def answered(self, ours: int, by: int) -> tuple[int, int] | None:
        """Who wanted to know, and that one's number."""
        relay = self.open.get(ours)
        if relay is None or relay.target != by:
            return None
        del self.open[ours]
        return relay.origin, relay.number

    def overdue(self, now: int) -> list[tuple[int, int]]:
        """Those whose target has not answered: who wanted to know, and the number."""
        late = [(ours, each) for ours, each in self.open.items() if each.nack_at <= now]
        for ours, _ in late:
            del self.open[ours]
        return [(each.origin, each.number) for _, each in late]


def sample(members: list[int], count: int, draw: Callable[[int], int]) -> list[int]:
    """`count` of the members at most, in an order that chance gives."""
    pool = list(members)
    chosen: list[int] = []
    while pool and len(chosen) < count:
        place = draw(len(pool))
        pool[place], pool[-1] = pool[-1], pool[place]
        chosen.append(pool.pop())
    return chosen
