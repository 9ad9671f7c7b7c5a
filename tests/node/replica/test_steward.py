"""Members come, vote, and go, whatever happens to who leads."""

import msgspec
import pytest
from quorate.node.database.member_records import MemberRecord
from quorate.node.replica.steward import AT_RISK, VOTES_ALREADY, Wish, wish
from quorate.raft import Configuration, Heartbeat
from quorate.wire import (
    Admit,
    Announce,
    DropToken,
    ErrorCode,
    MakeToken,
    MemberCommand,
    MemberRole,
    Present,
    Reassign,
    RevokeCertificate,
    Understand,
    encode_member_command,
    encode_put,
)

from .together import Together

VOTER, REPLICA, LEAVING, SPARE = MemberRole
TOKEN, HOUR = 9, 3_600_000


def asks(together: Together, command: MemberCommand) -> int:
    return together.ask(encode_member_command(command))


def done(together: Together, command: MemberCommand) -> None:
    assert together.code(asks(together, command)) is None


def announce(member: int) -> Announce:
    return Announce(member, f"n{member}", f"host{member}:1", f"host{member}:2")


def admit(member: int, token: int = TOKEN) -> Admit:
    place = f"n{member}", f"host{member}:1", f"host{member}:2"
    return Admit(token, member, bytes([member]) * 32, *place)


def cluster(members: int = 3) -> Together:
    """All of its first members have said where they are."""
    together = Together(members)
    for member in range(1, members + 1):
        done(together, announce(member))
    return together


def joined(together: Together, member: int, role: MemberRole) -> None:
    token = 100 + member
    done(together, MakeToken(token, b"d" * 32, HOUR, 1, role))
    done(together, admit(member, token))
    together.joins(member)


def configuration(together: Together) -> Configuration:
    return together.replicas[together.leader].raft.configuration


def goes_to(
    together: Together, voters: tuple[int, ...], learners: tuple[int, ...] = ()
) -> None:
    """The configuration becomes this one, everywhere where it counts."""
    wanted = Configuration(voters, (), learners)
    together.wait_for(
        lambda: bool(together.leaders()) and configuration(together) == wanted
    )
    together.run(30)
    assert configuration(together) == wanted
    hashes = {
        together.replicas[member].database.state_hash()
        for member in wanted.members()
        if member not in together.paused
    }
    assert len(hashes) == 1


def test_a_new_member_learns_and_then_votes() -> None:
    together = cluster()
    joined(together, 4, VOTER)
    together.wait_for(lambda: 4 in configuration(together).learners)
    goes_to(together, (1, 2, 3, 4))
    together.done(encode_put(b"a", b"b"))
    together.run(5)
    assert together.replicas[4].database.get(b"a") is not None


def test_a_replica_learns_for_ever() -> None:
    together = cluster()
    joined(together, 4, REPLICA)
    goes_to(together, (1, 2, 3), (4,))
    together.run(200)
    assert configuration(together) == Configuration((1, 2, 3), (), (4,))


def test_who_is_not_heard_does_not_vote_yet() -> None:
    together = cluster()
    joined(together, 4, VOTER)
    together.cut.add(4)
    together.run(200)
    assert configuration(together) == Configuration((1, 2, 3), (), (4,))
    steward = together.replicas[together.leader].steward
    assert steward.waits_for == "n4 has yet to catch up"
    together.heal()
    goes_to(together, (1, 2, 3, 4))


def test_a_follower_is_removed_and_remembered() -> None:
    together = cluster()
    gone = together.follower
    done(together, Reassign(gone, LEAVING, 0))
    rest = tuple(member for member in (1, 2, 3) if member != gone)
    goes_to(together, rest)
    table = together.replicas[together.leader].database.member_table
    assert gone not in table.members
    assert gone in table.gone
    assert together.code(asks(together, announce(gone))) == ErrorCode.MEMBER_NOT_FOUND


def test_who_never_said_where_it_is_can_be_removed() -> None:
    together = Together()
    gone = together.follower
    for member in (1, 2, 3):
        if member != gone:
            done(together, announce(member))
    together.paused.add(gone)
    done(together, Reassign(gone, LEAVING, 0))
    rest = Configuration(tuple(member for member in (1, 2, 3) if member != gone))
    together.wait_for(lambda: configuration(together) == rest)
    table = together.replicas[together.leader].database.member_table
    assert gone in table.gone


def test_a_leader_hands_over_before_it_goes() -> None:
    together = cluster()
    was = together.leader
    done(together, Reassign(was, LEAVING, 0))
    together.other_leader(was)
    goes_to(together, tuple(member for member in (1, 2, 3) if member != was))
    together.done(encode_put(b"a", b"b"))


def test_writes_go_on_while_nobody_takes_over_from_a_leader_that_goes() -> None:
    """Story: the leader was to be replaced while the state of its heir was damaged.

    It offered the leadership again and again, and took no write while it waited for an
    answer: for twelve seconds of an hour under faults, until that state had come.
    """
    together = cluster()
    was = together.leader
    leader = together.replicas[was].raft
    others = [each for each in (1, 2, 3) if each != was]
    for member in others:
        together.replicas[member].raft.barred = True
    done(together, Reassign(was, LEAVING, 0))
    waited = 0
    for _ in range(1000):
        together.tick()
        waited += bool(leader.transferee)
    assert leader.is_leader
    # Each of the two is asked for one election timeout in ten.
    assert 0 < waited <= 250
    together.replicas[others[0]].raft.barred = False
    together.other_leader(was)
    together.replicas[others[1]].raft.barred = False
    goes_to(together, tuple(others))


def test_a_voter_becomes_a_replica_and_a_voter_again() -> None:
    together = cluster()
    member = together.follower
    rest = tuple(each for each in (1, 2, 3) if each != member)
    done(together, Reassign(member, REPLICA, 0))
    goes_to(together, rest, (member,))
    done(together, Reassign(member, VOTER, 0))
    goes_to(together, (1, 2, 3))


def test_one_voter_takes_the_place_of_another_at_once() -> None:
    together = cluster()
    old = together.follower
    rest = tuple(each for each in (1, 2, 3) if each != old)
    joined(together, 4, REPLICA)
    together.cut.add(4)
    done(together, Reassign(old, LEAVING, 4))
    together.run(100)
    # The new one is not there yet, and so the old one goes on.
    assert old in configuration(together).voters
    together.heal()
    goes_to(together, (*rest, 4))


def test_who_votes_already_takes_nobodys_place() -> None:
    together = cluster()
    old, heir = (each for each in (1, 2, 3) if each != together.leader)
    wish = Reassign(old, LEAVING, heir)
    leader = together.replicas[together.leader]
    told = leader.steward.refusal(wish, own=False)
    assert told == (ErrorCode.INVALID_REQUEST, VOTES_ALREADY)
    follower = together.replicas[old]
    assert follower.steward.refusal(wish, own=False) is None, "it may not know yet"
    # Asked again, while the heir votes already and the other one still does.
    voter = leader.database.member_table.members[old]
    asked = msgspec.structs.replace(record(LEAVING), successor=heir)
    leader.database.member_table.members[old] = asked
    assert leader.steward.refusal(wish, own=False) is None
    leader.database.member_table.members[old] = voter
    # One that was to go, and votes still, may stay: if the other can be spared.
    leader.database.member_table.members[heir] = record(LEAVING)
    assert leader.steward.refusal(wish, own=False) is None
    leader.database.member_table.members[heir] = record(VOTER)
    together.cut.add(heir)
    together.run(100)
    leader.database.member_table.members[heir] = record(LEAVING)
    told = leader.steward.refusal(wish, own=False)
    assert told == (ErrorCode.QUORUM_AT_RISK, AT_RISK)


def test_nobody_but_the_caretaker_names_the_successor_of_a_spare() -> None:
    """Story: by the native protocol anybody could. It looked like the caretaker's wish,
    which took it back from a voter that was heard; paused, it kept the heir from a vote
    for ever.
    """
    together = cluster()
    joined(together, 4, SPARE)
    well = together.follower
    for role in (SPARE, VOTER):
        refused = asks(together, Reassign(well, role, 4))
        assert together.code(refused) == ErrorCode.INVALID_REQUEST
    done(together, Reassign(well, REPLICA, 4))
    goes_to(together, tuple(sorted({1, 2, 3, 4} - {well})), (well,))


def test_under_load_a_learner_votes_that_lacks_nothing_older_than_a_moment() -> None:
    """It had to be within 64 entries of what is committed, and never was."""
    together = cluster()
    joined(together, 4, REPLICA)
    together.wait_for(lambda: 4 in configuration(together).learners)
    leader = together.replicas[together.leader]
    patience = leader.raft.options.election_timeout_ticks
    for _ in range(2 * patience):
        together.done(encode_put(b"a", b"b"))
        together.run(1)
    progress, steward = leader.raft.progress[4], leader.steward
    behind = leader.raft.log.commit_index - progress.match_index
    progress.match_index -= patience // 2 - behind
    assert steward.caught_up(4)
    progress.match_index -= patience
    assert not steward.caught_up(4)


def test_a_change_goes_on_with_the_next_leader() -> None:
    together = cluster()
    joined(together, 4, VOTER)
    was = together.leader
    together.paused.add(was)
    together.other_leader(was)
    together.wait_for(lambda: 4 in configuration(together).voters)
    together.heal()
    goes_to(together, (1, 2, 3, 4))


def test_a_majority_that_is_not_heard_keeps_every_vote() -> None:
    together = cluster()
    dead = together.follower
    together.paused.add(dead)
    together.run(100)
    alive = together.follower
    refused = asks(together, Reassign(alive, LEAVING, 0))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK
    # The dead one's vote can be done without.
    done(together, Reassign(dead, LEAVING, 0))
    rest = tuple(member for member in (1, 2, 3) if member != dead)
    together.wait_for(lambda: configuration(together) == Configuration(rest))


def test_a_member_whose_vote_is_needed_is_not_revoked() -> None:
    together = cluster()
    dead = together.follower
    together.paused.add(dead)
    together.run(100)
    alive = together.follower
    refused = asks(together, RevokeCertificate(alive, b""))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK
    done(together, RevokeCertificate(dead, b""))
    # One certificate is not a member: whose it is nobody has to know.
    done(together, RevokeCertificate(0, b"7"))
    trust = together.replicas[together.leader].database.member_table.trust
    assert (trust.members, trust.serials) == ((dead,), (b"7",))


def test_of_two_voters_none_is_revoked_that_still_counts() -> None:
    """Story: one of two was revoked as if it had left. It was a voter that nobody heard
    any more, and its removal could never be written down.
    """
    together = cluster(2)
    other = together.follower
    refused = asks(together, RevokeCertificate(other, b""))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK
    done(together, Reassign(other, LEAVING, 0))
    goes_to(together, (together.leader,))


def test_of_four_voters_three_have_to_be_heard_beside_a_revoked_one() -> None:
    together = cluster(4)
    dead, other, _ = (m for m in (1, 2, 3, 4) if m != together.leader)
    together.paused.add(dead)
    together.run(100)
    refused = asks(together, RevokeCertificate(other, b""))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK
    done(together, RevokeCertificate(dead, b""))
    refused = asks(together, RevokeCertificate(other, b""))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK


def test_two_revocations_at_once_leave_a_majority() -> None:
    """The first one is heard no more, though it spoke a moment ago."""
    together = cluster()
    first, second = (m for m in (1, 2, 3) if m != together.leader)
    done(together, RevokeCertificate(first, b""))
    refused = asks(together, RevokeCertificate(second, b""))
    assert together.code(refused) == ErrorCode.QUORUM_AT_RISK


def test_what_members_say_of_themselves_no_client_says() -> None:
    """Story: a client said that a member was at "nonsense", and every node stopped when
    it came to dial there, and never started again: it was in the log.
    """
    together = cluster()
    leads, follows = together.leader, together.follower
    done(together, MakeToken(TOKEN, b"d" * 32, HOUR, 1, VOTER))
    for said in (
        Announce(follows, "n2", "nonsense", "nonsense"),
        admit(9),
        Understand(follows, 1, 9),
        Present(follows, b"7", b"i" * 32, (b"i" * 32,)),
    ):
        body = encode_member_command(said)
        for at in (leads, follows):
            number = together.ask(body, at, own=False)
            assert together.code(number) == ErrorCode.INVALID_REQUEST
    table = together.replicas[leads].database.member_table
    assert set(table.members) == {1, 2, 3}


def test_the_last_voter_stays() -> None:
    together = cluster(1)
    for role in (LEAVING, REPLICA):
        refused = asks(together, Reassign(1, role, 0))
        assert together.code(refused) == ErrorCode.LAST_VOTER


def test_a_cluster_of_one_grows_and_shrinks() -> None:
    together = cluster(1)
    joined(together, 2, VOTER)
    goes_to(together, (1, 2))
    joined(together, 3, VOTER)
    goes_to(together, (1, 2, 3))
    done(together, Reassign(1, LEAVING, 0))
    goes_to(together, (2, 3))
    done(together, Reassign(2, LEAVING, 0))
    goes_to(together, (3,))


def test_a_token_lets_in_as_many_as_it_says_and_no_others() -> None:
    together = cluster()
    done(together, MakeToken(TOKEN, b"d" * 32, HOUR, 1, REPLICA))
    done(together, admit(4))
    # Asked again it is the same member; with another key it is not.
    done(together, admit(4))
    other = Admit(TOKEN, 4, b"x" * 32, "n4", "a:1", "b:1")
    assert together.code(asks(together, other)) == ErrorCode.MEMBER_EXISTS
    assert together.code(asks(together, admit(5))) == ErrorCode.TOKEN_REFUSED


def test_a_token_ends() -> None:
    together = cluster()
    done(together, MakeToken(TOKEN, b"d" * 32, 1000, 5, REPLICA))
    done(together, MakeToken(TOKEN + 1, b"d" * 32, HOUR, 5, REPLICA))
    done(together, admit(4))
    together.run_ms(1100)
    assert together.code(asks(together, admit(5))) == ErrorCode.TOKEN_REFUSED
    done(together, DropToken(TOKEN + 1))
    refused = asks(together, admit(5, TOKEN + 1))
    assert together.code(refused) == ErrorCode.TOKEN_REFUSED


def test_two_members_do_not_have_one_name() -> None:
    together = cluster()
    done(together, MakeToken(TOKEN, b"d" * 32, HOUR, 5, REPLICA))
    taken = Admit(TOKEN, 4, b"x" * 32, "n1", "a:1", "b:1")
    assert together.code(asks(together, taken)) == ErrorCode.MEMBER_EXISTS
    renamed = Announce(2, "n1", "a:1", "b:1")
    assert together.code(asks(together, renamed)) == ErrorCode.MEMBER_EXISTS


def test_who_was_let_in_and_never_came_can_be_sent_away() -> None:
    together = cluster()
    done(together, MakeToken(TOKEN, b"d" * 32, HOUR, 5, VOTER))
    done(together, admit(4))
    together.wait_for(lambda: 4 in configuration(together).learners)
    done(together, Reassign(4, LEAVING, 0))
    goes_to(together, (1, 2, 3))


def test_who_asks_again_has_not_answered_yet() -> None:
    """Story: only the node that signs was asked whether it had met the member. One that
    never had let it in without its data, as who had promised what it did not know.
    """
    together = cluster()
    done(together, MakeToken(TOKEN, b"d" * 32, HOUR, 5, REPLICA))
    done(together, admit(4))
    together.wait_for(lambda: 4 in configuration(together).learners)
    # It did not get the answer.
    done(together, admit(4))
    together.joins(4)
    leader = together.replicas[together.leader]
    together.wait_for(lambda: leader.raft.progress[4].match_index > 0)
    assert together.code(asks(together, admit(4))) == ErrorCode.MEMBER_EXISTS


def record(role: MemberRole, successor: int = 0) -> MemberRecord:
    return MemberRecord(role, "n", "a:1", "b:1", b"", successor, 1)


@pytest.mark.parametrize(
    ("current", "members", "gone", "ready", "wanted"),
    [
        # Nobody has said anything: all stays as it is.
        (Configuration((1, 2), (), (3,)), {}, [], [3], Wish((1, 2), (3,))),
        # One that is gone has no vote, wherever it stands.
        (Configuration((1, 2), (), (3,)), {}, [2, 3], [], Wish((1,), ())),
        # An heir that votes already is not waited for.
        (
            Configuration((1, 2)),
            {1: record(LEAVING, 2), 2: record(VOTER)},
            [],
            [],
            Wish((2,), ()),
        ),
        # An heir that is no member any more is not waited for either.
        (Configuration((1, 2)), {1: record(LEAVING, 9)}, [], [], Wish((2,), ())),
    ],
)
def test_what_is_wished_for(
    current: Configuration,
    members: dict[int, MemberRecord],
    gone: list[int],
    ready: list[int],
    wanted: Wish,
) -> None:
    assert wish(current, members, gone, ready) == wanted


def test_a_lost_heartbeat_takes_no_vote_away() -> None:
    together = cluster()
    together.loses = lambda message: isinstance(message, Heartbeat)
    together.run(3)
    together.heal()
    done(together, Reassign(together.follower, LEAVING, 0))
