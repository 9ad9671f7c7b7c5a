"""Broken links as hints: a crashed leader need not be waited for (decision 0006).

Law: pure, and a hint is all it is: who is led well does not campaign, and whoever
campaigns asks for pre-votes first, which those that hear the leader refuse.
"""

from typing import TYPE_CHECKING

from ...raft import Role

if TYPE_CHECKING:
    from .core import Replica


class Hints:
    """When this voter campaigns because its leader's process is gone."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self._campaign_at_ms: int | None = None
        self._lost_leader = 0
        self._again_ms = 0

    def refused(self, member: int) -> None:
        """`member`'s link broke without a goodbye and can't be made again.

        If it led, this voter waits by its rank and then asks for votes: the others,
        whose links broke as well, will grant them.
        """
        replica = self.replica
        raft = replica.raft
        if member != raft.leader_id or raft.is_leader or self._campaign_at_ms:
            return
        raft.leader_unreachable(member)
        voters = [v for v in raft.configuration.all_voters() if v != member]
        if raft.id in voters:
            options = replica.options
            rank = voters.index(raft.id)
            self._lost_leader = member
            self._again_ms = options.hint_retry_ms
            self._campaign_at_ms = (
                replica.now_ms
                + rank * options.hint_rank_ms
                + replica.jitter(options.hint_jitter_ms + 1)
            )

    def led_by(self, leader: int) -> None:
        """There is a leader; another one than the lost, and all is well."""
        if leader != self._lost_leader:
            self._campaign_at_ms = None

    def tick(self) -> None:
        due = self._campaign_at_ms
        if due is not None and self.replica.now_ms >= due:
            self._campaign()

    def _campaign(self) -> None:
        replica = self.replica
        raft = replica.raft
        followed = raft.leader_id not in (0, self._lost_leader) or raft.hears_leader()
        if followed or raft.barred:
            self._campaign_at_ms = None
            return
        if raft.role is not Role.CANDIDATE:
            raft.campaign("the link to the leader broke")
        # The others may not have noticed yet: a lost pre-vote is asked again soon. But
        # votes, and answers from afar, may take longer than that, and are not to be
        # thrown away for ever: a candidate waits for its own time, and each try is
        # given twice the time of the one before.
        again_ms = self._again_ms
        self._campaign_at_ms = replica.now_ms + again_ms + replica.jitter(again_ms)
        most = raft.options.election_timeout_ticks * replica.options.tick_ms
        self._again_ms = min(2 * again_ms, most)
