"""Virtual time, one seeded source of chance, one queue of events.

Law: everything that happens in a world happens in an event; equal seeds give equal
worlds, to the byte of the trace. Time is in microseconds.
"""

import heapq
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Final

MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000

Action = Callable[..., None]


class Violation(Exception):
    """An invariant does not hold: which, when, and what was seen."""

    def __init__(self, invariant: str, time_us: int, detail: str) -> None:
        super().__init__(f"{invariant} at {time_us / SECOND:.6f} s: {detail}")
        self.invariant = invariant
        self.time_us = time_us
        self.detail = detail


class World:
    """The clock, the dice, the queue and the trace."""

    def __init__(self, seed: int, keep_trace: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now_us = 0
        self.sequence = 0
        self.queue: list[tuple[int, int, Action, tuple[object, ...]]] = []
        self.events = 0
        self.digest = blake2b(digest_size=16)
        self.lines: list[str] | None = [] if keep_trace else None

    def at(self, delay_us: int, action: Action, *arguments: object) -> None:
        """Run `action` after `delay_us`; equal times run in the order of asking."""
        self.sequence += 1
        heapq.heappush(
            self.queue, (self.now_us + delay_us, self.sequence, action, arguments)
        )

    def run_until(self, time_us: int, stop: Callable[[], bool] | None = None) -> bool:
        """Run events up to `time_us`; True when `stop` ended it before."""
        queue, pop = self.queue, heapq.heappop
        while queue and queue[0][0] <= time_us:
            self.now_us, _, action, arguments = pop(queue)
            self.events += 1
            action(*arguments)
            if stop is not None and self.events % 64 == 0 and stop():
                return True
        self.now_us = max(self.now_us, time_us)
        return stop is not None and stop()

    def trace(self, who: str, event: str, detail: str = "") -> None:
        """Note something that happened; it is part of the trace's hash.

        Columns: seconds, who, what, and the rest; who is at most 8 characters.
        """
        line = f"{self.now_us / SECOND:12.6f}  {who:<8}  {event:<12}  {detail}"
        self.digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line.rstrip())

    def fail(self, invariant: str, detail: str) -> None:
        self.trace("world", "VIOLATED", f"{invariant}: {detail}")
        raise Violation(invariant, self.now_us, detail)

    # -- chance ----------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def below(self, end: int) -> int:
        """From 0 to `end` - 1; the library's own way costs three times as much."""
        return int(self.random.random() * end)
