"""Bodies that came behind a request that is served, and wait for their turn.

Law: they count against the budget of what has not come whole, but for those that are
sent behind the request of a stranger: of these there may only be little.
"""

from collections.abc import Iterable
from typing import Final

from aiohttp import StreamReader

from .budget import SharedBudget

_STRANGE_BYTES_MAX: Final = 64 * 1024


class Behind:
    """Those of one connection."""

    __slots__ = ("_budget", "_strange", "held")

    def __init__(self, budget: SharedBudget) -> None:
        self._budget: SharedBudget = budget
        # In bytes.
        self.held: int = 0
        self._strange: bool = False

    def begins(self, *, strange: bool) -> None:
        """Another request is served from now on; count what is behind that one."""
        self._strange = strange
        self.release()

    def fits(self, bodies: Iterable[StreamReader]) -> bool:
        """Count them instead of what was there before; False: they are too much."""
        count = sum(body.total_bytes for body in bodies)
        if self._strange:
            return count <= _STRANGE_BYTES_MAX
        if count > self.held and not self._budget.reserve(count - self.held):
            return False
        self._budget.release(max(0, self.held - count))
        self.held = count
        return True

    def release(self) -> None:
        """They are nobody's any more."""
        if not self.held:
            return
        self._budget.release(self.held)
        self.held = 0
