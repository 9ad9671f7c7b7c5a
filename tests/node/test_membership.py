"""What a node answers about members by itself, and how the leadership is moved."""

from types import SimpleNamespace
from typing import cast

import pytest
from quorate.node.api.service import Member as Known
from quorate.node.gossiping import Heard
from quorate.node.membership import tell
from quorate.node.node import Node
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    Action,
    CertificatesStatus,
    Decide,
    ErrorCode,
    ErrorReply,
    MakeToken,
    MemberRole,
    Members,
    Outcome,
    Reassign,
    RequestKind,
    SetCaretaker,
    decode_error,
    decode_members,
    encode_member_command,
    encode_move_leader,
    id_name,
)

from .replica.test_steward import TOKEN, announce, cluster, done, joined
from .replica.together import Together


def place_of(member: int) -> tuple[str, str, str]:
    return f"n{member}", f"n{member}:7500", f"http://n{member}:7400"


def heard_of(member: int) -> Heard:
    del member
    return Heard("suspect", "1.2", 9, 30)


class Loop:
    """Stands for the loop that a node would plan its turns with."""

    def __init__(self) -> None:
        self.stopped = False
        self.turns = 0

    def advance(self) -> None:
        """These replicas' time is the test's."""

    def plan_turn(self) -> None:
        self.turns += 1


def node_of(together: Together, member: int) -> Node:
    """As much of a node as is asked, around one of the replicas."""
    replica = together.replicas[member]

    def members() -> tuple[Known, ...]:
        found: list[Known] = []
        for each in replica.raft.configuration.members():
            name, peer, client = place_of(each)
            learns = not replica.raft.configuration.is_voter(each)
            progress = replica.raft.progress.get(each)
            matched = progress.match_index if progress else 0
            found.append(
                Known(each, name, client, peer, learns, "voter", True, matched)
            )
        return tuple(found)

    node = SimpleNamespace(
        replica=replica,
        cluster_id=0xC1,
        member_id=member,
        authority="ab" * 32,
        credentials=SimpleNamespace(status=CertificatesStatus),
        stopping=False,
        loop=Loop(),
        members=members,
        roster=SimpleNamespace(place_of=place_of),
        gossiping=SimpleNamespace(heard_of=heard_of),
    )
    return cast(Node, node)


def told(together: Together, member: int) -> Members:
    status, body = tell(node_of(together, member), RequestKind.MEMBERS, b"")
    assert status == OK
    return decode_members(body)


def move(together: Together, member: int, to: int) -> ErrorReply | None:
    """The refusal of `member`, or None when it has begun."""
    node = node_of(together, member)
    body = encode_move_leader(to)
    status, reply = tell(node, RequestKind.MOVE_LEADER, body)
    together.settle()
    return None if status == OK else decode_error(reply, DEFAULT_LIMITS)


def refused(together: Together, to: int) -> ErrorCode:
    reply = move(together, together.leader, to)
    assert reply is not None
    assert reply.outcome == Outcome.NOT_APPLIED
    return reply.code


# -- the members -----------------------------------------------------------------------


def test_the_leader_knows_who_is_how_far_and_what_it_waits_for() -> None:
    together = cluster()
    joined(together, 4, MemberRole.VOTER)
    together.cut.add(4)
    together.run(200)
    view = told(together, together.leader)
    assert (view.told_by, view.leader) == (id_name(together.leader),) * 2
    assert view.waits_for == "n4 has yet to catch up"
    assert view.commit_index > 1
    assert {each.match_index for each in view.members if each.votes} == {
        view.commit_index
    }
    assert [each.leads for each in view.members].count(True) == 1
    assert [(each.id, each.votes) for each in view.members][-1] == (id_name(4), False)
    assert view.members[0].peer == "n1:7500"


def test_a_follower_tells_what_it_knows_and_no_reason() -> None:
    together = cluster()
    leader = together.leader
    together.replicas[together.follower].steward.waits_for = "something long ago"
    view = told(together, together.follower)
    assert (view.leader, view.waits_for) == (id_name(leader), "")


def test_a_node_without_a_leader_answers_as_well() -> None:
    together = cluster()
    leader, follower = together.leader, together.follower
    together.cut.add(leader)
    together.cut.add(follower)
    together.run(100)
    assert told(together, follower).leader is None


def test_what_the_caretaker_did_and_waits_for_is_told() -> None:
    together = cluster()
    leader, lost = together.leader, together.follower
    done(together, SetCaretaker(voters=5, silence_ms=7_000, lag_ms=0))
    together.paused.add(lost)
    together.run_ms(2_000)
    view = told(together, leader)
    assert (view.caretaker.voters, view.caretaker.lag_ms) == (5, 0)
    assert view.caretaker.waits_for == "3 of 5 voters, and no healthy spare"
    silent = {int(each.id, 16): each.silent_ms for each in view.members}
    assert silent[leader] == 0
    assert 1_500 <= (silent[lost] or 0) <= 2_000
    for number in range(2):
        made = Decide(Action.MOVE_LEADER, leader, 0, f"why {number}")
        assert together.replicas[leader].propose(encode_member_command(made))
        together.run_ms(1_000)
    # Newest first, on every node; what is waited for the leader knows alone.
    view = told(together, together.follower)
    assert [each.reason for each in view.caretaker.decisions] == ["why 1", "why 0"]
    assert [each.did for each in view.caretaker.decisions] == ["move_leader"] * 2
    assert view.caretaker.decisions[0].member == id_name(leader)
    assert view.caretaker.decisions[1].age_ms >= 1_000
    assert view.caretaker.waits_for == ""
    assert {each.silent_ms for each in view.members} == {None}


def test_a_token_is_told_until_its_time_is_over() -> None:
    together = cluster()
    made = MakeToken(TOKEN, b"d" * 32, 60_000, 2, MemberRole.REPLICA)
    done(together, made)
    (token,) = told(together, together.leader).tokens
    assert (token.id, token.role, token.uses) == (id_name(TOKEN), "replica", 2)
    assert 59_000 <= token.ends_in_ms <= 60_000
    together.run_ms(30_000)
    (token,) = told(together, together.leader).tokens
    assert 29_000 <= token.ends_in_ms <= 30_000
    together.run_ms(30_000)
    assert told(together, together.leader).tokens == ()


def test_a_body_is_refused() -> None:
    together = cluster()
    node = node_of(together, 1)
    for kind, body in ((RequestKind.MEMBERS, b"x"), (RequestKind.MOVE_LEADER, b"x")):
        status, reply = tell(node, kind, body)
        assert status != OK
        code = decode_error(reply, DEFAULT_LIMITS).code
        assert code == ErrorCode.INVALID_REQUEST


# -- who leads -------------------------------------------------------------------------


def test_the_leadership_goes_to_the_member_that_is_named() -> None:
    together = cluster()
    leader, to = together.leader, together.follower
    assert move(together, leader, to) is None
    together.wait_for(lambda: together.leaders() == [to])
    assert move(together, to, to) is None
    together.run(50)
    assert together.leader == to


def test_the_leadership_goes_to_whoever_is_furthest() -> None:
    together = cluster()
    leader = together.leader
    late, other = (member for member in (1, 2, 3) if member != leader)
    together.cut.add(late)
    together.run(5)
    done(together, announce(leader))
    assert move(together, leader, 0) is None
    together.wait_for(lambda: together.leaders() == [other])


def test_who_does_not_lead_says_who_does() -> None:
    together = cluster()
    leader, follower = together.leader, together.follower
    reply = move(together, follower, 0)
    assert reply is not None
    assert (reply.code, reply.outcome) == (ErrorCode.NO_LEADER, Outcome.NOT_APPLIED)
    assert f"member {id_name(leader)} does at http://n{leader}:74" in reply.message
    together.cut |= {leader, follower}
    together.run(100)
    reply = move(together, follower, 0)
    assert reply is not None
    assert reply.message == "no leader is known"


def test_who_can_not_lead_is_not_given_the_leadership() -> None:
    together = cluster()
    joined(together, 4, MemberRole.REPLICA)
    leader = together.leader
    together.wait_for(
        lambda: 4 in together.replicas[leader].raft.configuration.learners
    )
    together.run(5)
    assert refused(together, 4) == ErrorCode.INVALID_REQUEST
    assert refused(together, 9) == ErrorCode.MEMBER_NOT_FOUND
    silent = together.follower
    together.cut.add(silent)
    together.run(60)
    assert refused(together, silent) == ErrorCode.QUORUM_AT_RISK
    assert not together.replicas[leader].raft.transferee


def test_a_leader_alone_has_nobody_to_hand_it_to() -> None:
    assert refused(cluster(1), 0) == ErrorCode.LAST_VOTER


def test_a_leadership_on_its_way_is_not_turned_round() -> None:
    together = cluster()
    leader = together.leader
    first, second = (member for member in (1, 2, 3) if member != leader)
    together.loses = lambda message: True
    assert move(together, leader, first) is None
    assert move(together, leader, first) is None
    assert move(together, leader, 0) is None
    assert refused(together, second) == ErrorCode.TOO_BUSY


@pytest.mark.parametrize("ends", ["stopping", "stopped"])
def test_a_node_that_ends_moves_nothing(ends: str) -> None:
    together = cluster()
    node = node_of(together, together.leader)
    if ends == "stopping":
        node.stopping = True
    else:
        node.loop.stopped = True
    status, reply = tell(node, RequestKind.MOVE_LEADER, encode_move_leader(0))
    assert status != OK
    assert decode_error(reply, DEFAULT_LIMITS).code == ErrorCode.STOPPING


def test_a_removed_member_is_listed_until_it_is_gone() -> None:
    together = cluster()
    gone = together.follower
    together.ask(encode_member_command(Reassign(gone, MemberRole.LEAVING, 0)))
    together.wait_for(lambda: len(told(together, together.leader).members) == 2)
    assert id_name(gone) not in [
        each.id for each in told(together, together.leader).members
    ]


def test_what_gossip_heard_is_shown_and_changes_nothing_else() -> None:
    together = cluster(3)
    for member in told(together, together.leader).members:
        heard = (member.health, member.version, member.applied_index, member.lag_ms)
        assert heard == ("suspect", "1.2", 9, 30)
        assert member.votes
        assert member.wanted == "voter"
