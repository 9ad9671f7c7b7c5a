"""Pre-vote, stickiness and the hint: dissertation 4.2.3 and 9.6, I-11, I-12.

They are one feature: the three deadlocks that others shipped when one part was missing
are schedules here.
"""

import pytest
from quorate.raft import (
    HardState,
    Heartbeat,
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    Role,
    SnapshotMark,
)

from .alone import (
    FIVE,
    START,
    alone,
    answer,
    append,
    log_of,
    make_candidate,
    speak,
    with_logs,
)
from .network import ELECTION_TICKS, Network


def test_a_pre_vote_changes_no_term_and_no_vote_anywhere() -> None:
    """I-11a."""
    network = Network()
    network.isolate(1)
    network.tick(5 * ELECTION_TICKS, only=[1])
    asker, voter = network.raft(1), alone(2, 1)
    assert (asker.role, asker.term, asker.vote) == (Role.PRE_CANDIDATE, 0, 0)
    assert answer(voter, RequestPreVote(1, 2, 9, 9, 9), PreVoteReply).granted
    assert (voter.role, voter.term, voter.vote) == (Role.FOLLOWER, 1, 0)


def test_a_voter_grants_pre_votes_to_several_askers() -> None:
    """9.6: it binds nobody."""
    raft = alone(2, 1)
    for asker in (1, 3):
        request = RequestPreVote(asker, 2, 2, 1, 1)
        assert answer(raft, request, PreVoteReply).granted


def test_a_pre_vote_for_a_shorter_log_is_refused() -> None:
    """5.4.1 holds for pre-votes, too."""
    raft = alone(2, 1, 2)
    assert not answer(raft, RequestPreVote(1, 2, 9, 5, 1), PreVoteReply).granted
    assert not answer(raft, RequestPreVote(1, 2, 9, 1, 2), PreVoteReply).granted
    assert answer(raft, RequestPreVote(1, 2, 9, 2, 2), PreVoteReply).granted


def test_a_pre_vote_for_an_older_term_is_refused_with_our_term() -> None:
    """I-11e: so that the asker learns it."""
    raft = alone(2, 1, term=6)
    reply = answer(raft, RequestPreVote(1, 2, 3, 9, 9), PreVoteReply)
    assert reply == PreVoteReply(2, 1, 6, 3, False)


def test_a_pre_candidate_takes_over_a_higher_term_that_it_learns() -> None:
    """I-11e."""
    raft = alone(1, 1)
    raft.campaign()
    raft.step(PreVoteReply(2, 1, 6, 2, False))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 6)


def test_a_voter_behind_in_terms_can_still_grant() -> None:
    """Its own term is lower than the asker's, and it counts."""
    raft = alone(1, 1, term=5)
    raft.campaign()
    raft.step(PreVoteReply(2, 1, 3, 6, True))
    assert (raft.role, raft.term) == (Role.CANDIDATE, 6)


def test_an_answer_about_another_term_does_not_count() -> None:
    """A late answer to an earlier campaign."""
    raft = alone(1, 1, term=5)
    raft.campaign()
    raft.step(PreVoteReply(2, 1, 3, 4, True))
    assert raft.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize("elapsed", [0, ELECTION_TICKS - 1])
def test_who_hears_a_leader_refuses_pre_votes_and_ignores_votes(elapsed: int) -> None:
    """I-11b, I-12: whatever term and log the candidate claims."""
    raft = alone(2, 1)
    raft.step(Heartbeat(1, 2, 1, 0, 0))
    for _ in range(elapsed):
        raft.tick()
    speak(raft)
    assert not answer(raft, RequestPreVote(3, 2, 9, 9, 9), PreVoteReply).granted
    raft.step(RequestVote(3, 2, 9, 9, 9, False))
    assert speak(raft) == []
    assert (raft.term, raft.leader_id) == (1, 1)


def test_who_heard_no_leader_for_an_election_timeout_helps_to_elect() -> None:
    """I-11b: the other side of the border."""
    raft = alone(3, 1)
    raft.step(Heartbeat(1, 3, 1, 0, 0))
    for _ in range(ELECTION_TICKS):
        raft.tick()
    speak(raft)
    assert answer(raft, RequestPreVote(2, 3, 2, 1, 1), PreVoteReply).granted
    reply = answer(raft, RequestVote(2, 3, 2, 1, 1, False), RequestVoteReply)
    assert reply.granted


def test_a_leader_refuses_pre_votes_and_ignores_votes() -> None:
    """I-12: it hears itself; only a lost quorum ends its term."""
    network = Network()
    network.elect(1)
    for _ in range(ELECTION_TICKS - 1):
        network.raft(1).tick()
    reply = answer(network.raft(1), RequestPreVote(3, 1, 9, 9, 9), PreVoteReply)
    assert not reply.granted
    network.raft(1).step(RequestVote(3, 1, 9, 9, 9, False))
    assert network.raft(1).is_leader


def test_a_pre_candidate_no_longer_claims_to_hear_a_leader() -> None:
    """I-11c: it grants pre-votes from then on."""
    raft = alone(2, 1)
    raft.step(Heartbeat(1, 2, 1, 0, 0))
    raft.campaign()
    speak(raft)
    assert raft.leader_id == 0
    assert answer(raft, RequestPreVote(3, 2, 2, 1, 1), PreVoteReply).granted


def test_a_node_that_returns_from_a_partition_disturbs_nobody() -> None:
    """9.6: its term has not grown."""
    network = Network()
    network.elect(1)
    network.isolate(3)
    network.tick(10 * ELECTION_TICKS)
    network.heal()
    network.tick(2 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    assert network.raft(3).leader_id == 1


def test_a_node_cut_off_from_the_leader_alone_disturbs_nobody() -> None:
    """I-12: it reaches another voter, which sticks."""
    network = Network()
    network.elect(1)
    network.cut(1, 3)
    network.tick(20 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    assert network.raft(1).is_leader


def test_a_removed_node_that_was_not_told_cannot_disrupt() -> None:
    """4.2.3: it never hears heartbeats again, and campaigns for ever."""
    network = Network((1, 2, 3, 4))
    network.elect(1)
    network.cut(1, 4)
    network.raft(1).change_configuration((1, 2, 3), ())
    network.settle()
    network.heal()
    network.tick(20 * ELECTION_TICKS)
    assert network.raft(4).configuration.voters == (1, 2, 3, 4)
    assert network.leaders == {1: 1}


def test_a_removed_node_with_a_higher_term_cannot_depose_the_leader() -> None:
    """4.2.3, I-12: pre-vote alone is not enough; its real votes are ignored."""
    network = Network((1, 2, 3, 4))
    network.elect(1)
    network.raft(1).change_configuration((1, 2, 3), ())
    network.settle()
    for voter in (1, 2, 3):
        network.deliver(RequestVote(4, voter, 50, 99, 49, False))
    network.tick(2 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    assert network.raft(1).is_leader


# -- the deadlocks that others shipped ---------------------------------------------


def test_a_partitioned_candidate_with_a_higher_term_rejoins() -> None:
    """etcd 8334: with a check for quorum it was ignored by all, and ignored all.

    It got its term before the partition; the leader's heartbeats are answered with
    the higher term, which frees it by one election.
    """
    network = Network()
    network.elect(1)
    network.isolate(3)
    raft = make_candidate(network.raft(3))
    assert raft.term == 2
    network.settle()
    network.heal()
    network.tick(4 * ELECTION_TICKS)
    leader = network.leader()
    assert network.raft(leader).term >= 2
    assert {network.raft(m).leader_id for m in (1, 2, 3)} == {leader}
    network.write(leader, b"again")
    assert network.nodes[3].commands == [b"again"]


def test_two_voters_with_different_terms_and_logs_elect_somebody() -> None:
    """etcd 8501: the pre-vote of the lower term was dropped without an answer."""
    network = with_logs((1, 1, 1), (1, 1), (1,))
    network.add(2, START, HardState(7, 0, 0), log_of(1, 1))
    network.crash(3)
    network.tick(6 * ELECTION_TICKS)
    assert network.leader() == 1
    assert network.raft(1).term == 8


def test_a_restarted_majority_is_not_held_back_by_a_stale_leader_id() -> None:
    """etcd 9586: pre-candidates that still claim a leader refuse each other."""
    network = Network()
    network.elect(1)
    network.crash(1)
    for member in (2, 3):
        network.raft(member).campaign()
    network.settle()
    network.tick(3 * ELECTION_TICKS)
    assert network.leader() in (2, 3)


@pytest.mark.parametrize("dead", [3, 4, 5])
def test_the_longest_log_on_an_old_term_meets_a_higher_term_on_a_shorter_log(
    dead: int,
) -> None:
    """openraft 1796: neither could be elected, for ever."""
    network = with_logs((1, 2, 2), (1,), (1,), (1,), (1,))
    network.add(2, SnapshotMark(0, 0, FIVE), HardState(9, 0, 0), log_of(1))
    for member in (dead, 3 if dead != 3 else 4):
        network.crash(member)
    network.tick(8 * ELECTION_TICKS)
    assert network.leader() == 1
    assert network.raft(1).term > 9


# -- the hint that the leader's link broke -----------------------------------------


def test_a_broken_link_to_the_leader_lets_voters_elect_at_once() -> None:
    """Design, section 6: no timer is waited for."""
    network = Network()
    network.elect(1)
    network.crash(1)
    for member in (2, 3):
        network.raft(member).leader_unreachable(1)
    network.raft(2).campaign("the link to the leader broke")
    network.settle()
    assert network.leader() == 2


def test_one_broken_link_deposes_nobody() -> None:
    """The others still hear the leader, and refuse."""
    network = Network()
    network.elect(1)
    network.cut(1, 3)
    network.raft(3).leader_unreachable(1)
    network.raft(3).campaign("the link to the leader broke")
    network.settle()
    assert network.leaders == {1: 1}
    assert network.raft(1).is_leader


def test_a_wrong_hint_is_forgotten_with_the_next_heartbeat() -> None:
    raft = alone(2, 1)
    raft.step(Heartbeat(1, 2, 1, 0, 0))
    raft.leader_unreachable(1)
    assert not raft.hears_leader()
    raft.step(Heartbeat(1, 2, 1, 0, 0))
    assert raft.hears_leader()


def test_a_hint_about_somebody_else_changes_nothing() -> None:
    raft = alone(2, 1)
    raft.step(Heartbeat(1, 2, 1, 0, 0))
    raft.leader_unreachable(3)
    assert raft.hears_leader()


def test_a_hint_never_makes_a_node_wait_longer() -> None:
    """It comes when the own timer has almost run out."""
    raft = Network(tuple(range(1, 10))).raft(9)
    raft.step(append((0, 0), term=1, to=9))
    for _ in range(raft.election_timeout - 1):
        raft.tick()
    raft.leader_unreachable(1)
    raft.tick()
    assert raft.role is Role.PRE_CANDIDATE
