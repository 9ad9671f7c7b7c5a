"""When a disk that was full has room again: not in the moment in which it has some.

Law: pure. What had no room and is tried again, and a disk that is filled as fast as it
is emptied, would else be told of several times a second, and writes be taken each time
that then have to wait. Whoever was believed too early has to be patient for twice as
long the next time.
"""

from typing import Final

_PATIENCE_S: Final = 1.0
_PATIENCE_S_MAX: Final = 8.0
# A disk that is full again within this time was believed too early.
_RELAPSE_S: Final = 60.0


class DiskRoom:
    """`full`, as it is to be told."""

    def __init__(self) -> None:
        self.full: bool = False
        self._patience_s: float = _PATIENCE_S
        # Since when there is room, while it is not believed; and when it was.
        self._room_since_s: float | None = None
        self._believed_s: float | None = None

    def look(self, full: bool, now_s: float) -> bool:
        """What is to be told, when this is how it is now."""
        if full:
            self._room_since_s = None
            if not self.full:
                self.full = True
                self._patience_s = self._next_patience_s(now_s)
        elif self.full:
            if self._room_since_s is None:
                self._room_since_s = now_s
            if now_s - self._room_since_s >= self._patience_s:
                self.full, self._believed_s = False, now_s
        return self.full

    def _next_patience_s(self, now_s: float) -> float:
        if self._believed_s is None or now_s - self._believed_s >= _RELAPSE_S:
            return _PATIENCE_S
        return min(2 * self._patience_s, _PATIENCE_S_MAX)
