"""A replica whose state is damaged leads only to hand its log over (decision 0014)."""

from quorate.raft import Refused, Role, TimeoutNow

from .alone import alone, append
from .network import ELECTION_TICKS, Network


def test_a_leader_that_is_barred_hands_over_and_loses_nothing() -> None:
    network = Network()
    raft = network.elect(1)
    network.write(1, b"x")
    raft.barred = True
    assert raft.propose([b"y"]) is Refused.TRANSFERRING
    network.tick(2)
    assert network.leader() in (2, 3)
    network.write(network.leader(), b"z")
    network.tick(ELECTION_TICKS)
    assert network.nodes[2].commands == network.nodes[3].commands == [b"x", b"z"]


def test_whole_replicas_are_given_time_to_be_elected_first() -> None:
    raft = alone(2, 1)
    raft.barred = True
    raft.step(append((1, 1), term=1))
    raft.reset_election_timer()
    for _ in range(3 * raft.options.election_timeout_ticks):
        raft.tick()
        assert raft.role is Role.FOLLOWER
    for _ in range(2 * raft.options.election_timeout_ticks):
        raft.tick()
    assert raft.role is Role.PRE_CANDIDATE


def test_the_lead_is_not_taken_from_another() -> None:
    """Both are damaged: the one that hands over has to find a third."""
    raft = alone(2, 1)
    raft.barred = True
    raft.step(append((1, 1), term=1))
    raft.step(TimeoutNow(1, 2, 1))
    assert raft.role is Role.FOLLOWER


def test_one_voter_after_the_other_is_asked() -> None:
    network = Network(range(1, 6))
    raft = network.elect(1)
    for damaged in (1, 3, 4, 5):
        network.nodes[damaged].raft.barred = True
    network.tick(5 * ELECTION_TICKS)
    assert network.leader() == 2
    assert raft.role is Role.FOLLOWER
