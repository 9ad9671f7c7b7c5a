"""What a leader had committed an election timeout ago.

Law: pure; the time is told, in ticks. Who has caught up is a matter of time and not of
entries: under load thousands may be on their way to somebody who lacks nothing older
than a moment. The dissertation (section 4.2.1) asks for a round of replication that is
shorter than an election timeout, for the same reason: what a new voter lacks is for how
long it may keep the others from committing.
"""

from collections import deque


class Committed:
    """Of one term: what was true when somebody led before is too old."""

    def __init__(self) -> None:
        self._term = 0
        # Ticks and commit indexes. The first is the newest of those that are old
        # enough, once there is one.
        self._samples: deque[tuple[int, int]] = deque()
        self._old_enough = False

    def took(self, term: int, now: int, commit_index: int, patience: int) -> None:
        """So much is committed now; `patience` ticks are what it asks for."""
        samples = self._samples
        if term != self._term:
            self._term = term
            samples.clear()
        samples.append((now, commit_index))
        while len(samples) > 1 and samples[1][0] <= now - patience:
            samples.popleft()
        self._old_enough = samples[0][0] <= now - patience

    def needed(self, commit_index: int) -> int:
        """What somebody has to have by now; all of `commit_index` at first."""
        return self._samples[0][1] if self._old_enough else commit_index
