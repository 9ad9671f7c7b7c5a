"""Time, as a load generator needs it, and event loops that keep it.

Law: everything here that reads a clock gets it handed in, so that a test can hand in
another. One clock for all processes of a machine: moments may be sent between them.
"""

import asyncio
import selectors
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, the processor time used, and sleep."""

    def now(self) -> float:
        """This moment, in seconds."""
        ...

    def cpu(self) -> float:
        """What this process has used of processors, in seconds."""
        ...

    async def sleep_until(self, moment_s: float) -> None:
        """Return at that moment, or soon after it."""
        ...


class RealClock:
    """The machine's."""

    def now(self) -> float:
        return time.monotonic()

    def cpu(self) -> float:
        return time.process_time()

    async def sleep_until(self, moment_s: float) -> None:
        await asyncio.sleep(moment_s - time.monotonic())


def new_loop(*, open_loop: bool) -> asyncio.AbstractEventLoop:
    """The event loop for a load generator.

    The fastest there is for a closed loop. An open one must wake up in time, but timers
    of epoll are up to a millisecond late and those of uvloop as much early or late,
    which is as long as the latencies that are measured. select counts in microseconds,
    and costs little, as a client has few sockets.
    """
    if open_loop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        import uvloop
    except ImportError:  # where it can't be installed, the client still runs
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
