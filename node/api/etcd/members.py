"""Members, as etcd lets them be listed, promoted and removed; and who leads.

Law: what etcd does before it answers is a wish here, and its answer says that it is
written down (docs/membership.md). Members join by a token, which etcd's API knows
nothing of.
"""

from typing import Final

from ....wire.frames import RequestKind
from ....wire.members import MemberRole, Reassign, encode_member_command
from ....wire.membership import encode_move_leader
from ..connections import ClientPort
from ..errors import Problem
from ..http_requests import ask
from ..service import Member
from .errors import (
    BAD_TRANSFEREE,
    FAILED_PRECONDITION,
    MEMBER_NOT_FOUND,
    NOT_A_LEARNER,
    NOT_FOUND,
    NOT_LEADER,
    EtcdProblem,
)
from .replies import Header, HeaderOnly, MembersReply, MemberStatus, Speaker

# What keeps the leadership where it is, as etcd says it.
_NOT_MOVED: Final = {
    "no_leader": NOT_LEADER,
    "member_not_found": BAD_TRANSFEREE,
    "invalid_request": BAD_TRANSFEREE,
    "quorum_at_risk": BAD_TRANSFEREE,
}


class Members:
    """The handlers of /v3/cluster/… and of the leadership's transfer."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker

    def all(self, without: int = 0) -> MembersReply:
        members = [
            _shown(each)
            for each in self._port.service.members()
            if each.member_id != without
        ]
        return MembersReply(self._header(), members)

    async def remove(self, member: int) -> MembersReply:
        await self._reassign(member, MemberRole.LEAVING)
        return self.all(without=member)

    async def promote(self, member: int) -> MembersReply:
        """It votes once it has caught up; etcd would refuse before."""
        for each in self._port.service.members():
            if each.member_id == member and not each.learner:
                raise EtcdProblem(FAILED_PRECONDITION, NOT_A_LEARNER)
        await self._reassign(member, MemberRole.VOTER)
        return self.all()

    async def move_leader(self, member: int) -> HeaderOnly:
        if not member:
            raise EtcdProblem(FAILED_PRECONDITION, BAD_TRANSFEREE)
        body = encode_move_leader(member)
        try:
            await ask(self._port, RequestKind.MOVE_LEADER, body, 0)
        except Problem as problem:
            if problem.code in _NOT_MOVED:
                text = _NOT_MOVED[problem.code]
                raise EtcdProblem(FAILED_PRECONDITION, text) from None
            raise
        return HeaderOnly(self._speaker.header())

    async def _reassign(self, member: int, role: MemberRole) -> None:
        if not member:
            raise EtcdProblem(NOT_FOUND, MEMBER_NOT_FOUND)
        body = encode_member_command(Reassign(member, role, 0))
        await ask(self._port, RequestKind.WRITE, body, 0)

    def _header(self) -> Header:
        header = self._speaker.header()
        # As in etcd: membership has no revision of the store.
        header.revision = ""
        return header


def _shown(member: Member) -> MemberStatus:
    peer = [f"https://{member.peer_address}"] if member.peer_address else []
    client = [member.client_url] if member.client_url else []
    return MemberStatus(
        str(member.member_id), member.name, peer, client, member.learner
    )
