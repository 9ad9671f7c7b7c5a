"""One machine's two clocks, which need not run as the world's does.

Law: the monotonic clock only moves forward, at a rate near 1. The wall clock is the
monotonic one plus any offset, and jumps as it likes: nothing may depend on it.
"""

from typing import Final

from .world import MILLISECOND, SECOND

# Some day in 2023, so that a jump back can end before 1970.
_BIRTHDAY_MS: Final = 1_700_000_000_000
# How long the machine has been up when the world begins: a monotonic clock that began
# at 0 would hide who takes its time for a time since something else.
_UPTIME_US: Final = 7 * 86_400 * SECOND


class Clock:
    """Takes microseconds of the world, gives milliseconds of the machine."""

    def __init__(self) -> None:
        self.rate = 1.0
        self.wall_offset_ms = _BIRTHDAY_MS
        self._shown_us = _UPTIME_US
        self._since_us = 0

    def monotonic_ms(self, world_us: int) -> int:
        elapsed_us = world_us - self._since_us
        if self.rate != 1.0:
            elapsed_us = int(elapsed_us * self.rate)
        return (self._shown_us + elapsed_us) // MILLISECOND

    def run_at(self, rate: float, world_us: int) -> None:
        """Change the rate from now on; what was shown stays."""
        self._shown_us += int((world_us - self._since_us) * self.rate)
        self._since_us = world_us
        self.rate = rate
