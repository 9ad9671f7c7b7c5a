"""The bytes of requests that have not arrived whole, on all connections together.

Law: whoever would go over the limit is refused, never made to wait: those who wait
would hold what the others wait for.
"""


class PartialBudget:
    """A count that is never above its limit."""

    def __init__(self, bytes_max: int) -> None:
        assert bytes_max > 0, bytes_max
        self._bytes_max: int = bytes_max
        self._held: int = 0

    @property
    def held_bytes(self) -> int:
        """What is reserved now."""
        return self._held

    def reserve(self, count: int) -> bool:
        """Take `count` bytes; False, and nothing taken, when they don't fit."""
        assert count >= 0, count
        if self._held + count > self._bytes_max:
            return False
        self._held += count
        return True

    def release(self, count: int) -> None:
        """Give back what was reserved."""
        assert 0 <= count <= self._held, (count, self._held)
        self._held -= count
