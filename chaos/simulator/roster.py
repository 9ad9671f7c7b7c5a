"""Stands in for node/roster and for the hello of connections, of one node.

Law: thin, and it decides nothing: what the log says of members (member_table) is
followed as the real one does. A node says where it is; one that has left ends, and its
folder is refused; who has left may not speak to one that knows it, and is told so. In
worlds with open doors everybody is listened to: then Raft alone keeps order.
"""

from typing import TYPE_CHECKING, Final

from ...node.replica import Request
from ...node.replica.acquaintance import objection
from ...wire import Announce, RequestKind, encode_member_command

if TYPE_CHECKING:
    from .node import Node

_ANNOUNCE_TICKS: Final = 50
_TIMEOUT_MS: Final = 2000
REMOVED: Final = "this member was removed from the cluster"


def place(member: int) -> tuple[str, str, str]:
    """The name and the addresses of a member."""
    return f"n{member}", f"host{member}:7500", f"host{member}:7400"


class Roster:
    """Of one node, over all its boots."""

    def __init__(self, node: "Node", *, open_doors: bool) -> None:
        self.node = node
        self.open_doors = open_doors
        self.ticks = 0
        self.announcing = False

    def gone(self, member: int) -> bool:
        """Does this node's own state say that it has left?"""
        replica = self.node.replica
        assert replica is not None
        return member in replica.database.member_table.gone

    def tick(self) -> None:
        """Now and then: are we still a member, and do the others know where we are?"""
        node = self.node
        if self.gone(node.member):
            node.leave(REMOVED)
            return
        self.ticks += 1
        if self.ticks % _ANNOUNCE_TICKS == 0 and not self.announcing:
            self._announce()

    def _announce(self) -> None:
        node = self.node
        replica, raft = node.replica, node.raft
        assert replica is not None
        known = node.member in replica.database.member_table.members
        if known or not raft.leader_id or node.stopping_ticks:
            return
        if node.member in raft.configuration.members():
            self.announcing = True
            body = encode_member_command(Announce(node.member, *place(node.member)))
            request = Request(self, 1, RequestKind.WRITE, body, _TIMEOUT_MS, own=True)
            node.submit(request)

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """It was written down, or will be said once more."""
        del request_id, kind, status, body
        self.announcing = False

    def started(self) -> None:
        """A new process waits for no answer."""
        self.announcing = False

    # -- others --------------------------------------------------------------------

    def objects_to(self, member: int) -> bool:
        """May this one not speak here?"""
        replica = self.node.replica
        assert replica is not None
        table = replica.database.member_table
        refused = objection(replica.raft, table, member) is not None
        return refused and not self.open_doors

    def was_told(self) -> None:
        """A member says that the cluster has sent this one away."""
        self.node.leave(REMOVED)
