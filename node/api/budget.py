"""Bytes that all connections of a port hold together, so many and no more.

There is one of requests that have not arrived whole, one of replies over HTTP that have
not left, and one of ranges that are sorted.

Law: whoever would go over the limit is refused, never made to wait: those who wait
would hold what the others wait for.
"""


class SharedBudget:
    """A count that is never above its limit."""

    def __init__(self, bytes_max: int) -> None:
        assert bytes_max > 0, bytes_max
        self._bytes_max: int = bytes_max
        self._held: int = 0

    @property
    def held_bytes(self) -> int:
        """What is reserved now."""
        return self._held

    def fits(self, count: int) -> bool:
        """Whether so many bytes could be reserved now."""
        return self._held + count <= self._bytes_max

    def reserve(self, count: int) -> bool:
        """Take `count` bytes; False, and nothing taken, when they don't fit."""
        assert count >= 0, count
        if not self.fits(count):
            return False
        self._held += count
        return True

    def release(self, count: int) -> None:
        """Give back what was reserved."""
        assert 0 <= count <= self._held, (count, self._held)
        self._held -= count
