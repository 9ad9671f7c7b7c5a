"""Handing leadership over: dissertation 3.10, I-14."""

import pytest
from quorate.raft import Refused, RequestPreVote, RequestVote, Role, TimeoutNow

from .alone import alone, append, make_leader, speak
from .network import ELECTION_TICKS, Network


def test_an_up_to_date_target_takes_over_at_once() -> None:
    """3.10: no timer, no pre-vote."""
    network = Network()
    raft = network.elect(1)
    network.write(1, b"x")
    asked: list[str] = []
    network.on_message = lambda what, message: asked.append(type(message).__name__)
    assert raft.transfer_leadership(3) is None
    network.settle()
    assert network.leader() == 3
    assert network.leaders == {1: 1, 2: 3}
    assert RequestPreVote.__name__ not in asked


def test_voters_that_hear_the_old_leader_still_vote_for_the_target() -> None:
    """3.10: stickiness is set aside when the leader itself asked."""
    raft = alone(2, 1)
    raft.step(append((1, 1), term=1))
    raft.step(RequestVote(3, 2, 2, 1, 1, True))
    assert (raft.term, raft.vote) == (2, 3)


def test_a_lagging_target_first_gets_everything() -> None:
    """3.10."""
    network = Network()
    raft = network.elect(1)
    network.cut(1, 3)
    network.write(1, b"x")
    raft.transfer_leadership(3)
    network.settle()
    assert not any(isinstance(m, TimeoutNow) for m in network.sent)
    assert network.leader() == 1
    network.heal()
    network.tick(ELECTION_TICKS - 1)
    assert network.leader() == 3
    assert network.nodes[3].commands == [b"x"]


def test_a_target_behind_the_log_takes_over_after_its_snapshot() -> None:
    network = Network()
    raft = network.elect(1)
    network.crash(3)
    network.write(1, b"x")
    network.checkpoint(1)
    network.restart(3)
    raft.transfer_leadership(3)
    network.tick(ELECTION_TICKS - 1)
    assert network.leader() == 3
    assert network.nodes[3].commands == [b"x"]


def test_a_dead_target_costs_an_election_timeout_and_no_more() -> None:
    """I-14: given up, and proposals are taken again."""
    network = Network()
    raft = network.elect(1)
    network.crash(3)
    network.write(1, b"x")
    raft.transfer_leadership(3)
    network.tick(ELECTION_TICKS - 1)
    assert raft.propose([b"y"]) is Refused.TRANSFERRING
    network.tick(1)
    assert raft.is_leader
    network.write(1, b"y")
    assert network.nodes[2].commands == [b"x", b"y"]


def test_a_leader_that_hands_over_takes_no_proposals_and_no_changes() -> None:
    """I-14."""
    network = Network()
    raft = network.elect(1)
    network.isolate(3)
    network.propose(1, b"unfinished")
    raft.transfer_leadership(3)
    assert raft.propose([b"x"]) is Refused.TRANSFERRING
    assert raft.change_configuration((1, 2), ()) is Refused.TRANSFERRING


@pytest.mark.parametrize("target", [1, 4, 9])
def test_nobody_but_another_voter_is_a_target(target: int) -> None:
    """I-14: not itself, not a learner, not a stranger."""
    network = Network((1, 2, 3), learners=(4,))
    raft = network.elect(1)
    assert raft.transfer_leadership(target) is Refused.NOT_A_VOTER
    assert not isinstance(raft.propose([b"x"]), Refused)


def test_only_a_leader_hands_over() -> None:
    network = Network()
    network.elect(1)
    assert network.raft(2).transfer_leadership(3) is Refused.NOT_LEADER


def test_a_second_target_replaces_the_first() -> None:
    network = Network()
    raft = network.elect(1)
    network.crash(3)
    network.write(1, b"x")
    raft.transfer_leadership(3)
    raft.transfer_leadership(2)
    network.settle()
    assert network.leader() == 2


def test_a_lost_request_to_take_over_ends_with_the_timeout() -> None:
    network = Network()
    raft = network.elect(1)
    network.loses = lambda message: isinstance(message, TimeoutNow)
    raft.transfer_leadership(2)
    network.tick(ELECTION_TICKS)
    assert network.leaders == {1: 1}
    assert not isinstance(raft.propose([b"x"]), Refused)


def test_the_old_leader_takes_over_again_when_the_target_dies() -> None:
    """I-14: a crash at the worst moment."""
    network = Network()
    raft = network.elect(1)
    raft.transfer_leadership(3)
    network.turn(1)
    network.crash(3)
    network.settle()
    network.tick(ELECTION_TICKS)
    assert network.leaders == {1: 1}
    network.write(1, b"x")
    assert network.nodes[2].commands == [b"x"]


def test_a_target_that_is_cut_off_after_its_campaign_brings_nobody_down_twice() -> None:
    """I-14: its higher term ends the old one once; then the cluster is calm."""
    network = Network()
    raft = network.elect(1)
    raft.transfer_leadership(3)
    network.turn(1)
    network.deliver(network.take(TimeoutNow))
    network.turn(3)
    network.isolate(3)
    network.drop_all()
    network.tick(3 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    network.heal()
    network.tick(4 * ELECTION_TICKS)
    count = len(network.leaders)
    network.tick(10 * ELECTION_TICKS)
    assert network.leader() != 0
    assert len(network.leaders) == count <= 3


@pytest.mark.parametrize("sender", [3, 9])
def test_only_the_leader_can_ask_to_take_over(sender: int) -> None:
    raft = alone(2, 1)
    raft.step(append((1, 1), term=1))
    raft.step(TimeoutNow(sender, 2, 1))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 1)


def test_a_request_of_an_older_term_is_ignored() -> None:
    raft = alone(2, 1)
    raft.step(append((1, 1), term=2))
    raft.step(TimeoutNow(1, 2, 1))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 2)


def test_a_request_that_comes_twice_starts_one_election() -> None:
    raft = alone(2, 1)
    raft.step(append((1, 1), term=1))
    raft.step(TimeoutNow(1, 2, 1))
    raft.step(TimeoutNow(1, 2, 1))
    assert (raft.role, raft.term) == (Role.CANDIDATE, 2)


def test_reads_that_wait_fail_when_the_target_takes_over() -> None:
    """I-14, I-40."""
    network = Network()
    raft = network.elect(1)
    network.cut(1, 2)
    network.loses = lambda message: type(message).__name__ == "HeartbeatReply"
    read_id = raft.read_index()
    network.settle()
    network.cut_links.clear()
    raft.transfer_leadership(3)
    network.settle()
    assert network.leader() == 3
    assert network.nodes[1].failed_reads == [read_id]


def test_leadership_may_go_around_a_cluster_without_losing_a_write() -> None:
    network = Network()
    network.elect(1)
    written: list[bytes] = []
    for number in range(9):
        leader = network.leader()
        written.append(b"%d" % number)
        network.propose(leader, written[-1])
        network.raft(leader).transfer_leadership(leader % 3 + 1)
        network.settle()
    assert network.leaders == {term: (term - 1) % 3 + 1 for term in range(1, 11)}
    assert [node.commands for node in network.nodes.values()] == [written] * 3


def test_a_new_leader_is_not_bound_by_an_old_transfer() -> None:
    raft = make_leader(alone(1))
    speak(raft)
    raft.transfer_leadership(2)
    raft.step(append((1, 1), term=5, sender=3, to=1))
    speak(raft)
    make_leader(raft)
    assert not isinstance(raft.propose([b"x"]), Refused)
