"""Learners: dissertation 4.2.1, I-47, I-48."""

from quorate.raft import (
    Configuration,
    Refused,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    Role,
)

from .alone import alone, answer, make_leader, speak
from .network import ELECTION_TICKS, Network

WITH_LEARNER = Configuration((1, 2, 3), learners=(4,))


def test_a_learner_gets_the_log_and_applies_it() -> None:
    """4.2.1."""
    network = Network((1, 2, 3), learners=(4,))
    network.elect(1)
    network.write(1, b"x")
    assert network.nodes[4].commands == [b"x"]


def test_a_learner_never_campaigns() -> None:
    """I-47: not by its timer, not when asked, not when told that time is up."""
    raft = alone(4, 1, configuration=WITH_LEARNER)
    for _ in range(5 * ELECTION_TICKS):
        raft.tick()
    raft.campaign()
    assert raft.role is Role.FOLLOWER
    assert speak(raft) == []


def test_a_learner_does_not_count_for_a_commit() -> None:
    """I-47."""
    network = Network((1, 2, 3), learners=(4, 5))
    network.elect(1)
    network.cut(1, 2, 3)
    index = network.write(1, b"x")
    assert network.raft(1).progress[4].match_index == index
    assert network.raft(1).log.commit_index < index


def test_a_learner_does_not_count_for_an_election() -> None:
    """I-47."""
    network = Network((1, 2, 3), learners=(4, 5))
    network.crash(2)
    network.crash(3)
    network.tick(5 * ELECTION_TICKS)
    assert network.leader() == 0


def test_a_learner_does_not_count_for_a_leaders_quorum() -> None:
    """I-13, I-47."""
    network = Network((1, 2, 3), learners=(4, 5))
    network.elect(1)
    network.crash(2)
    network.crash(3)
    network.tick(3 * ELECTION_TICKS)
    assert not network.raft(1).is_leader


def test_nobody_asks_a_learner_for_its_vote() -> None:
    network = Network((1, 2, 3), learners=(4,))
    asked: set[int] = set()
    network.on_message = lambda what, message: (
        asked.add(message.to)
        if isinstance(message, RequestVote | RequestPreVote)
        else None
    )
    network.elect(1)
    assert asked == {2, 3}


def test_a_learner_grants_votes_because_it_may_be_a_voter_by_now() -> None:
    """I-47: the configuration that says so may not have reached it."""
    raft = alone(4, 1, configuration=WITH_LEARNER)
    reply = answer(raft, RequestVote(1, 4, 2, 1, 1, False), RequestVoteReply)
    assert reply.granted


def test_a_promoted_learner_that_does_not_know_it_elects_a_leader() -> None:
    """I-47: the leader dies right after the promotion; the learner never saw it."""
    network = Network((1, 2), learners=(3,))
    raft = network.elect(1)
    network.cut(1, 3)
    network.cut(2, 3)
    raft.change_configuration((1, 2, 3), ())
    network.settle()
    assert raft.configuration == Configuration((1, 2, 3))
    network.crash(1)
    network.heal()
    assert network.raft(3).configuration.is_learner(3)
    network.tick(5 * ELECTION_TICKS)
    assert network.leader() == 2
    assert network.raft(3).configuration == Configuration((1, 2, 3))


def test_a_promoted_learner_counts_and_may_lead() -> None:
    network = Network((1,), learners=(2,))
    raft = network.elect(1)
    raft.change_configuration((1, 2), ())
    network.settle()
    assert raft.transfer_leadership(2) is None
    network.settle()
    assert network.leader() == 2


def test_a_learner_is_no_target_of_a_transfer() -> None:
    """I-14."""
    raft = make_leader(alone(1, configuration=WITH_LEARNER))
    assert raft.transfer_leadership(4) is Refused.NOT_A_VOTER


def test_a_learner_joins_behind_a_compacted_log_and_catches_up() -> None:
    """4.2.1: by a snapshot, then by entries."""
    network = Network((1, 2, 3), spares=(4,))
    raft = network.elect(1)
    network.write(1, b"a", b"b")
    for member in (1, 2, 3):
        network.checkpoint(member)
    raft.change_configuration((1, 2, 3), (4,))
    network.write(1, b"c")
    assert network.nodes[4].commands == [b"a", b"b", b"c"]
    assert network.raft(4).configuration.is_learner(4)


def test_a_silent_learner_costs_the_leader_nothing() -> None:
    network = Network((1, 2, 3), learners=(4,))
    network.elect(1)
    network.crash(4)
    network.write(1, b"x")
    network.tick(10 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    assert network.nodes[3].commands == [b"x"]
