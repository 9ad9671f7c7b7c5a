"""A node's monotonic clock that runs fast or slow, for a harness.

Law: it never jumps: whatever rate it is told, it goes on from where it is. Milliseconds
and ticks, by which elections and leases are counted, go by the same rate.
"""

import time
from collections.abc import Callable
from typing import Final

from .loop import CLOCK, ReplicaLoop

# What one tick is counted in: whole numbers lose nothing.
_TICK: Final = 1_000_000


def _boot_time_ns() -> int:
    return time.clock_gettime_ns(CLOCK)


class DriftingClock:
    """Milliseconds since the boot, as this node sees them."""

    def __init__(self, now_ns: Callable[[], int] = _boot_time_ns) -> None:
        self._now_ns = now_ns
        self._true_ns = self._shown_ns = now_ns()
        self._rate = 1.0
        self._owed = 0

    def now_ms(self) -> int:
        """This moment."""
        return self._shown(self._now_ns()) // 1_000_000

    def run_at(self, rate: float) -> None:
        """From now on it gains so much on a true clock, or loses."""
        true_ns = self._now_ns()
        self._true_ns, self._shown_ns = true_ns, self._shown(true_ns)
        self._rate = rate

    def _shown(self, true_ns: int) -> int:
        return self._shown_ns + round((true_ns - self._true_ns) * self._rate)

    def ticks(self) -> int:
        """How many of a node's own ticks are over when one true tick is."""
        self._owed += round(self._rate * _TICK)
        whole, self._owed = divmod(self._owed, _TICK)
        return whole

    def give_to(self, loop: ReplicaLoop) -> None:
        """Let a loop tell its replica this time."""

        def advance() -> None:
            wall_ms = time.time_ns() // 1_000_000 + loop.wall_offset_ms
            loop.replica.advance(self.now_ms(), wall_ms)

        true_tick = loop.replica.tick

        def tick() -> None:
            for _ in range(self.ticks()):
                true_tick()

        loop.advance = advance
        loop.replica.tick = tick
