"""How often a client asks again what was refused everywhere.

Law: repeats are never the larger part of what a cluster that is in trouble gets. What
has gone round all endpoints, or was told that the cluster is busy, waits its turn: a
hundred repeats are free, ten more come each second, and each call that succeeds while
some wait lets one of them go. So nothing is slower once the trouble is over.
"""

import asyncio
from collections import deque
from typing import Final

REPEATS_MAX: Final = 100
REPEATS_A_SECOND: Final = 10


class RetryBudget:
    """Used from one event loop. While there are `waiters`, what succeeds gives."""

    def __init__(self) -> None:
        self._left: int = REPEATS_MAX
        # Whose turn has not come; the oldest first.
        self.waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, seconds: float) -> bool:
        """Wait for a turn, so long at most; was there one?"""
        self._tick()
        if self._left > 0 and not self.waiters:
            self._left -= 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(turn)
        try:
            await asyncio.wait({turn}, timeout=seconds)
            return turn.done()
        except asyncio.CancelledError:
            if turn.done():
                # It was given to somebody who is gone.
                self.give()
            raise
        finally:
            if not turn.done():
                self.waiters.remove(turn)

    def give(self) -> None:
        """One more repeat: something has succeeded, or a tenth of a second passed."""
        if self.waiters:
            self.waiters.popleft().set_result(None)
        elif self._left < REPEATS_MAX:
            self._left += 1

    def _tick(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(1 / REPEATS_A_SECOND, self._ticked)

    def _ticked(self) -> None:
        self._timer = None
        self.give()
        if self.waiters or self._left < REPEATS_MAX:
            self._tick()

    def close(self) -> None:
        """Nobody waits any longer: the client is closed."""
        if self._timer is not None:
            self._timer.cancel()
        while self.waiters:
            self.waiters.popleft().set_result(None)
