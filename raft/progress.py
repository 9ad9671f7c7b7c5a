"""What the leader knows of one peer's log, and how fast it may send.

Law: a small state machine: probe (one message at a time until the place where the logs
agree is found), replicate (optimistic, bounded inflight), snapshot (waits for a
transfer). From etcd's Progress; the dissertation's section 10.2.1 has the pipelining.
"""

from collections import deque

from . import rules

PROBE = "probe"
REPLICATE = "replicate"
SNAPSHOT = "snapshot"


class Progress:
    """`match_index` only grows within a term and never passes what was sent (I-9)."""

    __slots__ = (
        "acked_round",
        "active",
        "goal",
        "heard",
        "inflight",
        "match_index",
        "next_index",
        "paused",
        "received_index",
        "sent_commit",
        "snapshot_index",
        "state",
        "unsure",
    )

    def __init__(self, next_index: int) -> None:
        self.match_index = 0
        self.next_index = next_index
        self.state = PROBE
        self.paused = False
        self.active = False
        self.heard = False
        self.acked_round = 0
        self.sent_commit = 0
        # What it has acknowledged may be out of date: one append finds out.
        self.unsure = False
        self.snapshot_index = 0
        # Of the last snapshot, and where the log ended when it had been sent.
        self.received_index = self.goal = 0
        self.inflight: deque[int] = deque()

    def become_probe(self) -> None:
        """Send one message at a time, from the last place that is known to match.

        A peer that has not matched anything yet keeps its next index: rejections, not
        a lost link, are what moves it back (and in the end to a snapshot).
        """
        if self.state == SNAPSHOT:
            self.next_index = max(self.match_index, self.snapshot_index) + 1
        elif self.match_index:
            self.next_index = self.match_index + 1
        self.state = PROBE
        self.paused = False
        self.inflight.clear()
        self.snapshot_index = 0

    def lost(self) -> None:
        """The link broke: no more optimism. One probe goes out, not one each turn."""
        self.heard = False
        self.goal = 0
        if self.state == REPLICATE:
            self.become_probe()

    def become_replicate(self) -> None:
        self.state = REPLICATE
        self.paused = False
        self.inflight.clear()
        self.snapshot_index = 0
        self.next_index = self.match_index + 1

    def become_snapshot(self, index: int) -> None:
        self.state = SNAPSHOT
        self.inflight.clear()
        self.snapshot_index = index

    def transferred(self, ok: bool, last_index: int) -> None:
        """The snapshot has got there, or has not; the log ends at `last_index` now."""
        if ok:
            self.received_index, self.goal = self.snapshot_index, last_index
        else:
            self.snapshot_index = 0
        self.become_probe()
        # After a failure the next heartbeat that is answered starts another one.
        self.paused = not ok

    def keeps_from(self) -> int | None:
        """Behind which index the log is to be kept for this peer; None: it need not be.

        While a snapshot is on its way, and then until the peer has what was written
        meanwhile: else it would need another one, and one more after that.
        """
        if self.state == SNAPSHOT:
            return self.snapshot_index
        if self.match_index < self.goal:
            return max(self.match_index, self.received_index)
        return None

    def can_send(self, inflight_max: int) -> bool:
        if self.state == PROBE:
            return not self.paused
        return self.state == REPLICATE and len(self.inflight) < inflight_max

    def has_news(self, last_index: int) -> bool:
        """Should an append go out as soon as one may? `last_index`: the leader's."""
        return self.state == PROBE or self.next_index <= last_index or self.unsure

    def commit_to_send(self, commit_index: int) -> int:
        """What it may learn of the leader's commit index beside any append; or 0."""
        if self.sent_commit >= commit_index or self.state != REPLICATE:
            return 0
        reached = rules.commit_to_tell(commit_index, self.match_index)
        return reached if reached > self.sent_commit else 0

    def sent(self, last_index: int, commit_index: int) -> None:
        """An append up to `last_index`, with the commit index, is handed out."""
        self.unsure = False
        self.sent_commit = min(commit_index, last_index)
        if self.state == PROBE:
            self.paused = True
            return
        if last_index >= self.next_index:
            self.inflight.append(last_index)
            self.next_index = last_index + 1

    def accepted(self, index: int) -> bool:
        """A matching acknowledgement; True when it tells anything new."""
        while self.inflight and self.inflight[0] <= index:
            self.inflight.popleft()
        self.paused = False
        if index <= self.match_index:
            return False
        self.match_index = index
        self.next_index = max(self.next_index, index + 1)
        return True

    def rejected(self, previous_index: int, hint_index: int) -> bool:
        """Move back after a rejection; False when the rejection is stale (I-9)."""
        if self.state == REPLICATE:
            if previous_index <= self.match_index:
                return False
            self.become_probe()
            return True
        if self.state == SNAPSHOT or previous_index != self.next_index - 1:
            return False
        self.next_index = max(
            min(previous_index, hint_index + 1), self.match_index + 1, 1
        )
        self.paused = False
        return True
