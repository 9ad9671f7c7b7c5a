"""Raises the cluster's version, when every member understands the next one.

Law: pure, and the leader's alone. What members understand they have said themselves,
in the log; who was never heard of, is down or is asleep has to say it, too, or leave.
While the caretaker is paused nothing is raised: until then every node may go back to
the build that it came from, and afterwards none can (docs/decisions/0027).
"""

from typing import TYPE_CHECKING, Final

from ...wire import Raise, encode_member_command
from ..database import rules as database_rules
from . import rules

if TYPE_CHECKING:
    from .core import Replica

# How long it waits before it proposes once more, whatever became of the last.
AGAIN_MS: Final = 1_000


class Upgrades:
    """Of one replica."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self._proposed_ms = 0

    @property
    def waits_for(self) -> list[int]:
        """The members that do not understand the next version, which this one does."""
        replica = self.replica
        database = replica.database
        versions = database.member_table.versions
        if versions.version + 1 not in database.understood:
            return []
        everybody = database.member_table.everybody(replica.raft.configuration)
        return versions.waits_for(everybody)

    def tick(self) -> None:
        """Of a leader, now and then."""
        replica = self.replica
        raft, database = replica.raft, replica.database
        table = database.member_table
        following = table.versions.version + 1
        if following not in database.understood or self.waits_for:
            return
        if not database_rules.caretaker_may_act(table.caretaker.paused):
            return
        if not rules.leads_for_sure(raft.log.term(raft.log.commit_index), raft.term):
            return
        if replica.now_ms - self._proposed_ms >= AGAIN_MS:
            self._proposed_ms = replica.now_ms
            replica.propose(encode_member_command(Raise(following)))
