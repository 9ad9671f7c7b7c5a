"""Who may speak to a member, as far as its own log tells.

Law: pure. Asked once a connection, of somebody whom the cluster's CA has signed.
"""

from ...raft import Raft
from ..database.members import MemberTable


def objection(raft: Raft, table: MemberTable, member: int) -> str | None:
    """Why `member` may not speak; None: it may.

    A node that knows no leader may have missed much, and its leader may be one that it
    has never heard of. That one may go on: what it says is where it stands that it is a
    member, and a snapshot comes by a connection of its own.
    """
    if member in table.gone:
        return f"member {member:016x} was removed from the cluster"
    if member in raft.configuration.members() or member in table.members:
        return None
    if raft.leader_id in (0, member):
        return None
    return f"member {member:016x} is not known here"
