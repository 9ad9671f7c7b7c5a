"""When the leader has old revisions compacted by itself.

Law: pure. So many revisions are kept, and nothing younger than so long on this leader's
own clock: a new leader knows of no age but what it saw itself, and keeps more for a
while. A compaction is proposed once it lets go of a fair part of what is kept.
"""

from collections import deque
from typing import Final

# What is let go at once, as a part of what is kept; and marks of the time, of the age.
_PARTS: Final = 8


class Retention:
    """`revisions` are kept (0: all of them), and what is younger than `age_ms`."""

    def __init__(self, revisions: int, age_ms: int) -> None:
        self.revisions = revisions
        self.age_ms = age_ms
        self._marks: deque[tuple[int, int]] = deque()

    def forget(self) -> None:
        """Another one leads."""
        self._marks.clear()

    def due(self, now_ms: int, revision: int, compacted: int) -> int:
        """The revision to compact to now, 0 for none. Called now and then."""
        if not self.revisions:
            return 0
        wanted = revision - self.revisions
        if self.age_ms:
            wanted = min(wanted, self._older(now_ms, revision))
        step = max(1, self.revisions // _PARTS)
        return wanted if wanted - compacted >= step else 0

    def _older(self, now_ms: int, revision: int) -> int:
        """The newest revision that is known to be older than `age_ms`."""
        marks = self._marks
        if not marks or now_ms - marks[-1][0] >= self.age_ms // _PARTS:
            marks.append((now_ms, revision))
        while len(marks) > 1 and now_ms - marks[1][0] >= self.age_ms:
            marks.popleft()
        at_ms, old = marks[0]
        return old if now_ms - at_ms >= self.age_ms else 0
