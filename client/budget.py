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
        # So many were left at that moment, on the loop's clock; time adds to them.
        self._left: float = REPEATS_MAX
        self._counted_at: float = 0.0
        # Whose turn has not come; the oldest first.
        self.waiters: deque[asyncio.Future[None]] = deque()
        # Of the next turn; there is none while nobody waits.
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, seconds: float) -> bool:
        """Wait for a turn, so long at most; was there one?"""
        self._count()
        if self._left >= 1 and not self.waiters:
            self._left -= 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(turn)
        self._plan()
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
                self._plan()

    def give(self) -> None:
        """One more repeat: something has succeeded, or somebody does not need his."""
        if self.waiters:
            self.waiters.popleft().set_result(None)
            self._plan()
        else:
            self._left = min(REPEATS_MAX, self._left + 1)

    def _count(self) -> None:
        """Add what came since it was last counted."""
        now = asyncio.get_running_loop().time()
        came = (now - self._counted_at) * REPEATS_A_SECOND
        self._left, self._counted_at = min(REPEATS_MAX, self._left + came), now

    def _plan(self) -> None:
        """Wake up for the next turn, if somebody waits for it."""
        if self.waiters and self._timer is None:
            seconds = max(0.0, 1 - self._left) / REPEATS_A_SECOND
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._its_turn)
        elif not self.waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _its_turn(self) -> None:
        self._timer = None
        self._count()
        while self._left >= 1 and self.waiters:
            self._left -= 1
            self.waiters.popleft().set_result(None)
        self._plan()

    def close(self) -> None:
        """Nobody waits any longer: the client is closed."""
        while self.waiters:
            self.waiters.popleft().set_result(None)
        self._plan()
