"""TLS handshakes of one client port: whose turn it is, and how many have failed.

Law: a step of a handshake takes a millisecond or two of the loop. So few are made in
one turn, and peers are heard between two turns. Who fails is counted; one line of the
log in ten seconds says why.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from ..logs import Sparing

STEPS_PER_TURN: Final = 4

logger = logging.getLogger("quorate.api")


class Handshakes:
    """The steps that wait, in the order in which they were planned."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: asyncio.AbstractEventLoop = loop
        self._steps: deque[Callable[[], None]] = deque()
        self._lines: Sparing = Sparing(1)
        self.failures: int = 0

    def plan(self, step: Callable[[], None]) -> None:
        """Have `step` called in one of the next turns."""
        self._steps.append(step)
        if len(self._steps) == 1:
            self._loop.call_soon(self._turn)

    def failed(self, peer: str, reason: str) -> None:
        """A handshake came to nothing."""
        self.failures += 1
        if self._lines.passes(self._loop.time()):
            logger.warning(
                "a client at %s was refused: %s (%d until now)",
                *(peer, reason, self.failures),
            )

    def _turn(self) -> None:
        for _ in range(min(STEPS_PER_TURN, len(self._steps))):
            self._steps.popleft()()
        if self._steps:
            self._loop.call_soon(self._turn)
