"""What a node answers without its log: its status, the members, who shall lead.

Law: a shell. Nothing here waits and nothing needs a quorum: status and members are this
node's own view, and moving the leadership only begins with its answer. Whether it does
is told at once: not applied.
"""

from typing import TYPE_CHECKING, Final

from ..raft import Refused
from ..wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    Action,
    CaretakerStatus,
    Decided,
    Did,
    ErrorCode,
    JoinRole,
    MemberRole,
    Members,
    Outcome,
    ProtocolError,
    RequestKind,
    Token,
    Wanted,
    decode_move_leader,
    encode_error,
    encode_members,
    error_reply,
)
from ..wire import Member as Told
from ..wire import id_name as shown
from .api.service import Member
from .api.status import status_json

if TYPE_CHECKING:
    from .node import Node

TOLD: Final = frozenset(
    (RequestKind.STATUS, RequestKind.MEMBERS, RequestKind.MOVE_LEADER)
)
_WANTED: Final[dict[str, Wanted]] = {
    "voter": "voter",
    "replica": "replica",
    "leaving": "leaving",
    "spare": "spare",
}
_JOINS: Final[dict[MemberRole, JoinRole]] = {
    MemberRole.VOTER: "voter",
    MemberRole.REPLICA: "replica",
    MemberRole.SPARE: "spare",
}
_DID: Final[dict[Action, Did]] = {
    Action.PROMOTE: "promote",
    Action.REPLACE: "replace",
    Action.KEEP: "keep",
    Action.MOVE_LEADER: "move_leader",
}


class _NotMoved(Exception):
    """Why the leadership stays where it is."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def tell(node: "Node", kind: int, body: bytes) -> tuple[int, bytes]:
    """Status and body of the reply to a request of one of the kinds TOLD."""
    if kind == RequestKind.STATUS:
        return OK, status_json(node.statistics())
    node.loop.advance()
    try:
        if kind == RequestKind.MEMBERS:
            return OK, _members(node, body)
        _move_leader(node, decode_move_leader(body))
    except ProtocolError as error:
        return _refused(error.code, error.reason, kind)
    except _NotMoved as not_moved:
        return _refused(not_moved.code, not_moved.reason, kind)
    node.loop.plan_turn()
    return OK, b""


def _refused(code: ErrorCode, reason: str, kind: int) -> tuple[int, bytes]:
    asked = kind == RequestKind.MEMBERS
    outcome = Outcome.NONE if asked else Outcome.NOT_APPLIED
    return REFUSED, encode_error(error_reply(code, outcome, reason), DEFAULT_LIMITS)


# -- the members -----------------------------------------------------------------------


def _members(node: "Node", body: bytes) -> bytes:
    if body:
        raise ProtocolError("a request for the members has no body")
    replica = node.replica
    leader = replica.raft.leader_id
    return encode_members(
        Members(
            cluster_id=shown(node.cluster_id),
            authority=node.authority,
            told_by=shown(node.member_id),
            leader=shown(leader) if leader else None,
            commit_index=replica.raft.log.commit_index,
            waits_for=replica.steward.waits_for if replica.leading else "",
            members=tuple(_member(node, each) for each in node.members()),
            tokens=_tokens(node),
            caretaker=_caretaker(node),
            certificates=node.credentials.status(),
            cluster_version=replica.database.version,
            version_waits_for=tuple(map(shown, replica.steward.upgrades.waits_for)),
        )
    )


def _member(node: "Node", member: Member) -> Told:
    raft = node.replica.raft
    ours = member.member_id == node.member_id
    heard = node.gossiping.heard_of(member.member_id)
    return Told(
        id=shown(member.member_id),
        name=member.name,
        wanted=_WANTED[member.wanted],
        votes=not member.learner,
        leads=member.member_id == raft.leader_id,
        connected=member.connected,
        match_index=raft.log.last_index if ours else member.match_index,
        peer=member.peer_address,
        client=member.client_url,
        silent_ms=_silent_ms(node, member.member_id),
        health=heard.health,
        version=heard.version,
        applied_index=heard.applied_index,
        lag_ms=heard.lag_ms,
        understands=_understands(node, member.member_id),
    )


def _understands(node: "Node", member: int) -> tuple[int, int]:
    versions = node.replica.database.member_table.versions
    understood = versions.understood_by(member)
    return understood.lowest, understood.highest


def _silent_ms(node: "Node", member: int) -> int | None:
    replica = node.replica
    return replica.steward.caretaker.silent_ms(member) if replica.leading else None


def _caretaker(node: "Node") -> CaretakerStatus:
    replica = node.replica
    told = replica.database.member_table.caretaker
    waits_for = replica.steward.caretaker.waits_for if replica.leading else ""
    now_ms = _cluster_time_ms(node)
    return CaretakerStatus(
        *(told.paused, told.voters, told.silence_ms, told.stable_ms, told.lag_ms),
        waits_for,
        tuple(
            Decided(
                _DID[each.action],
                shown(each.member),
                shown(each.successor) if each.successor else "",
                now_ms - each.at_ms,
                each.reason,
            )
            for each in reversed(told.decisions)
        ),
    )


def _cluster_time_ms(node: "Node") -> int:
    """As far as this node knows it."""
    replica = node.replica
    return max(replica.database.cluster_time_ms, replica.cluster_time_ms())


def _tokens(node: "Node") -> tuple[Token, ...]:
    """Those whose time is not over, as far as this node knows the time."""
    replica, now_ms = node.replica, _cluster_time_ms(node)
    return tuple(
        Token(
            shown(number),
            _JOINS[token.role],
            token.uses,
            token.until_ms - now_ms,
        )
        for number, token in sorted(replica.database.member_table.tokens.items())
        if token.until_ms > now_ms
    )


# -- who leads -------------------------------------------------------------------------


def _move_leader(node: "Node", to: int) -> None:
    """Begin to hand the leadership to `to`, or with 0 to whoever is furthest."""
    raft = node.replica.raft
    if node.stopping or node.loop.stopped:
        raise _NotMoved(ErrorCode.STOPPING, "this node is shutting down")
    if not raft.is_leader:
        raise _NotMoved(ErrorCode.NO_LEADER, _who_leads(node))
    if to == raft.id:
        return
    if raft.transferee:
        if to in (0, raft.transferee):
            return
        moving = f"the leadership is on its way to {shown(raft.transferee)}"
        raise _NotMoved(ErrorCode.TOO_BUSY, moving)
    to = to or _furthest(node)
    if to not in raft.configuration.members():
        raise _NotMoved(ErrorCode.MEMBER_NOT_FOUND, "there is no such member")
    if not raft.configuration.is_voter(to):
        raise _NotMoved(ErrorCode.INVALID_REQUEST, f"member {shown(to)} does not vote")
    if not node.replica.steward.heard(to):
        raise _NotMoved(ErrorCode.QUORUM_AT_RISK, f"member {shown(to)} is not heard")
    refused = raft.transfer_leadership(to)
    assert not isinstance(refused, Refused), refused


def _furthest(node: "Node") -> int:
    raft = node.replica.raft
    others = [voter for voter in raft.configuration.voters if voter != raft.id]
    if not others:
        raise _NotMoved(ErrorCode.LAST_VOTER, "there is no other voter")
    heir = node.replica.steward.heir(others)
    if not heir:
        raise _NotMoved(ErrorCode.QUORUM_AT_RISK, "no other voter is heard")
    return heir


def _who_leads(node: "Node") -> str:
    leader = node.replica.raft.leader_id
    if not leader:
        return "no leader is known"
    url = node.roster.place_of(leader)[2]
    where = f" at {url}" if url else ""
    return f"this node does not lead; member {shown(leader)} does{where}"
