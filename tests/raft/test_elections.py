"""Terms and votes: figure 2 of the paper, sections 5.1, 5.2 and 5.4.1."""

import pytest
from quorate.raft import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    Message,
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    Role,
)

from .alone import (
    FIVE,
    alone,
    answer,
    append,
    command,
    make_candidate,
    make_leader,
    speak,
    with_logs,
)
from .network import ELECTION_TICKS, Network


def test_a_replica_starts_as_a_follower() -> None:
    """5.2."""
    raft = alone(1)
    assert raft.role is Role.FOLLOWER
    assert raft.leader_id == 0


def test_a_follower_that_hears_nothing_starts_an_election() -> None:
    """5.2; with a pre-vote first (9.6)."""
    raft = alone(1)
    for _ in range(ELECTION_TICKS):
        raft.tick()
    asked = [m for m in speak(raft) if isinstance(m, RequestPreVote)]
    assert [m.to for m in asked] == [2, 3]
    assert raft.role is Role.PRE_CANDIDATE


def test_heartbeats_keep_a_follower_from_campaigning() -> None:
    """5.2: as long as it receives valid messages it remains a follower."""
    raft = alone(2, 1)
    for number in range(5 * ELECTION_TICKS):
        raft.tick()
        raft.step(Heartbeat(1, 2, 1, 0, number))
    assert raft.role is Role.FOLLOWER
    assert raft.leader_id == 1


def test_a_candidate_raises_its_term_votes_for_itself_and_asks_all_others() -> None:
    """5.2."""
    raft = make_candidate(alone(1, 1, configuration=FIVE))
    asked = [m for m in speak(raft) if isinstance(m, RequestVote)]
    assert [(m.to, m.term, m.last_index, m.last_term) for m in asked] == [
        (voter, 2, 1, 1) for voter in (2, 3, 4, 5)
    ]
    assert (raft.term, raft.vote, raft.votes) == (2, 1, {1: True})


def test_a_candidate_with_a_majority_leads_and_says_so_at_once() -> None:
    """5.2: heartbeats after the election prevent new ones."""
    network = Network()
    network.elect(1)
    assert [network.raft(m).leader_id for m in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_an_election_needs_a_majority_of_all_voters(size: int) -> None:
    """5.2: not of those that answer."""
    members = tuple(range(1, size + 1))
    needed = size // 2 + 1
    for reachable in members:
        network = Network(members)
        for member in members[reachable:]:
            network.crash(member)
        network.raft(1).campaign()
        network.settle()
        assert network.raft(1).is_leader == (reachable >= needed)


def test_a_candidate_that_hears_a_leader_of_its_term_gives_way() -> None:
    """5.2."""
    raft = make_candidate(alone(2))
    raft.step(append((0, 0), command(1, 1), term=1, sender=3))
    assert raft.role is Role.FOLLOWER
    assert raft.leader_id == 3


def test_a_split_vote_is_resolved_because_timeouts_differ() -> None:
    """5.2."""
    network = Network((1, 2, 3, 4))
    for member in (1, 2):
        network.raft(member).campaign()
    network.settle()
    network.tick(8 * ELECTION_TICKS)
    assert network.leader() != 0


def test_timeouts_are_drawn_between_one_and_two_election_timeouts() -> None:
    """5.2: chance is an argument, and all of its range is used."""
    for member in range(1, 2 * ELECTION_TICKS):
        raft = Network((member,)).raft(member)
        drawn = ELECTION_TICKS + (member - 1) % ELECTION_TICKS
        assert raft.election_timeout == drawn


@pytest.mark.parametrize(
    "message",
    [
        append((0, 0), term=7),
        Heartbeat(1, 2, 7, 0, 0),
        RequestVote(1, 2, 7, 0, 0, True),
        AppendEntriesReply(1, 2, 7, False, 0, 0, 0),
        RequestVoteReply(1, 2, 7, False),
        PreVoteReply(1, 2, 7, 2, False),
    ],
    ids=lambda message: type(message).__name__,
)
@pytest.mark.parametrize("role", Role)
def test_a_higher_term_turns_every_role_into_a_follower(
    role: Role, message: Message
) -> None:
    """5.1. The leader is known only from what a leader sends."""
    raft = alone(2)
    if role is Role.PRE_CANDIDATE:
        raft.campaign()
    elif role is Role.CANDIDATE:
        make_candidate(raft)
    elif role is Role.LEADER:
        make_leader(raft)
    assert raft.role is role
    raft.step(message)
    leads = isinstance(message, AppendEntries | Heartbeat)
    assert (raft.role, raft.term) == (Role.FOLLOWER, 7)
    assert raft.leader_id == (1 if leads else 0)


@pytest.mark.parametrize(
    "message",
    [
        append((0, 0), term=2),
        Heartbeat(1, 2, 2, 0, 0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_leader_of_an_older_term_is_refused_and_told_ours(message: Message) -> None:
    """5.1 and I-11d: so a node that is stuck is freed."""
    raft = alone(2, 1, 5)
    raft.election_elapsed = 3
    reply = answer(raft, message, AppendEntriesReply)
    assert (reply.term, reply.accepted) == (5, False)
    assert raft.election_elapsed == 3
    assert raft.leader_id == 0


@pytest.mark.parametrize(
    "message",
    [
        AppendEntriesReply(2, 1, 1, True, 99, 0, 0),
        RequestVoteReply(2, 1, 1, True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_answers_of_an_older_term_are_dropped(message: Message) -> None:
    """5.1, I-9."""
    raft = alone(1, 1, 5)
    raft.campaign()
    speak(raft)
    raft.step(message)
    assert speak(raft) == []
    assert (raft.role, raft.term) == (Role.PRE_CANDIDATE, 5)


def test_a_voter_votes_once_a_term_for_the_first_that_asks() -> None:
    """I-1."""
    raft = alone(2, 1)
    first = answer(raft, RequestVote(1, 2, 2, 1, 1, False), RequestVoteReply)
    second = answer(raft, RequestVote(3, 2, 2, 1, 1, False), RequestVoteReply)
    again = answer(raft, RequestVote(1, 2, 2, 1, 1, False), RequestVoteReply)
    assert [first.granted, second.granted, again.granted] == [True, False, True]


def test_a_vote_is_remembered_over_a_crash() -> None:
    """I-1: a forgotten vote makes two leaders in a term."""
    network = Network()
    network.deliver(RequestVote(1, 2, 4, 0, 0, False))
    network.turn(2)
    network.crash(2)
    network.restart(2)
    network.sent.clear()
    network.deliver(RequestVote(3, 2, 4, 9, 9, False))
    network.turn(2)
    reply = network.take(RequestVoteReply)
    assert isinstance(reply, RequestVoteReply)
    assert not reply.granted


@pytest.mark.parametrize(
    ("own", "candidate", "granted"),
    [
        ((1, 1), (2, 1), True),
        ((2, 1), (2, 1), True),
        ((3, 1), (2, 1), False),
        ((9, 1), (1, 2), True),
        ((1, 2), (9, 1), False),
        ((0, 0), (0, 0), True),
    ],
)
def test_a_vote_goes_only_to_a_log_at_least_as_up_to_date(
    own: tuple[int, int], candidate: tuple[int, int], granted: bool
) -> None:
    """5.4.1: the later last term, then the longer log. (index, term)."""
    index, term = own
    raft = alone(2, *[term] * index, term=3)
    reply = answer(raft, RequestVote(1, 2, 4, *candidate, False), RequestVoteReply)
    assert reply.granted == granted


def test_a_refused_vote_does_not_spend_the_voters_own() -> None:
    """5.4.1: the better candidate that asks later still gets it."""
    raft = alone(2, 1, 1)
    assert not answer(raft, RequestVote(1, 2, 2, 1, 1, False), RequestVoteReply).granted
    assert answer(raft, RequestVote(3, 2, 2, 2, 1, False), RequestVoteReply).granted


def test_only_the_most_up_to_date_can_be_elected() -> None:
    """5.4.1: leader completeness."""
    network = with_logs((1, 1, 2), (1, 1, 2), (1, 1), term=2)
    network.raft(3).campaign()
    network.settle()
    assert network.leader() == 0
    network.raft(1).campaign()
    network.settle()
    assert network.leader() == 1


def test_a_vote_given_late_does_not_depose_the_leader_of_the_term() -> None:
    """I-1: who knows the term's leader does not vote for another in it."""
    raft = alone(3, 1)
    raft.step(append((1, 1), term=2, sender=1, to=3))
    speak(raft)
    raft.election_elapsed = ELECTION_TICKS
    reply = answer(raft, RequestVote(2, 3, 2, 9, 2, False), RequestVoteReply)
    assert not reply.granted


def test_repeated_votes_of_one_voter_count_once() -> None:
    """Anything may arrive twice."""
    raft = make_candidate(alone(1, configuration=FIVE))
    speak(raft)
    for _ in range(5):
        raft.step(RequestVoteReply(2, 1, 1, True))
    assert not raft.is_leader
    raft.step(RequestVoteReply(3, 1, 1, True))
    assert raft.is_leader


def test_votes_of_strangers_do_not_count() -> None:
    """Only the configuration says who counts."""
    raft = make_candidate(alone(1))
    speak(raft)
    for stranger in (7, 8, 9):
        raft.step(RequestVoteReply(stranger, 1, 1, True))
    assert not raft.is_leader
    raft.step(RequestVoteReply(3, 1, 1, True))
    assert raft.is_leader


def test_a_candidate_refused_by_a_majority_gives_up_at_once() -> None:
    """5.2: it need not wait for its timer."""
    raft = make_candidate(alone(1))
    speak(raft)
    raft.step(RequestVoteReply(2, 1, 1, False))
    assert raft.role is Role.CANDIDATE
    raft.step(RequestVoteReply(3, 1, 1, False))
    assert raft.role is Role.FOLLOWER


def test_a_message_for_somebody_else_is_ignored() -> None:
    """An address may have been given to another member."""
    raft = alone(2, 1)
    raft.step(RequestVote(1, 3, 9, 9, 9, False))
    assert raft.term == 1
    assert speak(raft) == []


def test_all_nodes_restarted_at_once_elect_again_and_keep_their_terms() -> None:
    """I-80."""
    network = Network()
    network.elect(1)
    network.write(1, b"kept")
    for _ in range(5):
        before = max(network.raft(m).term for m in (1, 2, 3))
        for member in (1, 2, 3):
            network.crash(member)
        network.drop_all()
        for member in (1, 2, 3):
            network.restart(member)
        network.tick(4 * ELECTION_TICKS)
        assert network.raft(network.leader()).term > before
        assert all(b"kept" in node.commands for node in network.nodes.values())


def test_the_reply_to_a_vote_request_carries_the_voters_term() -> None:
    raft = alone(2, 1, 6)
    reply = answer(raft, RequestVote(1, 2, 3, 9, 9, False), RequestVoteReply)
    assert reply == RequestVoteReply(2, 1, 6, False)
