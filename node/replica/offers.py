"""Whom the leadership was offered: the next offer is somebody else's.

Law: pure, and of one replica; steward and caretaker share it. Who was asked and did not
take over may be damaged, and nothing is proposed while an answer is waited for.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .core import Replica

# Election timeouts until somebody who did not take the leadership has rested.
AGAIN_TIMEOUTS: Final = 10


class Offers:
    """Of one replica, also of the times that it led before."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        # At which tick.
        self.made: dict[int, int] = {}

    def rested(self, members: Iterable[int]) -> list[int]:
        """Those that were not asked for a while."""
        raft, now = self.replica.raft, self.replica.ticks
        rest = AGAIN_TIMEOUTS * raft.options.election_timeout_ticks
        return [
            member for member in members if now - self.made.get(member, -rest) >= rest
        ]

    def longest_ago(self, members: Iterable[int]) -> list[int]:
        """Those that were never asked; else the one that was before all others."""
        members = list(members)
        never = [member for member in members if member not in self.made]
        return never or sorted(members, key=lambda member: self.made[member])[:1]

    def make(self, heir: int) -> None:
        """Offer it the leadership."""
        replica = self.replica
        there = replica.raft.configuration.members()
        self.made = {m: at for m, at in self.made.items() if m in there}
        self.made[heir] = replica.ticks
        replica.raft.transfer_leadership(heir)
