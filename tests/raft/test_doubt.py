"""A last batch that can't be read: I-22, I-23; docs/decisions/0004.

In these tests `crash(damaged=True)` is a power loss after which the newest batch is
known by name only: it may have been durable and acknowledged, or torn.
"""

import msgspec
import pytest
from quorate.raft import (
    COMMAND,
    CONFIGURATION,
    AppendEntries,
    AppendEntriesReply,
    Configuration,
    EntriesReply,
    Entry,
    HardState,
    Heartbeat,
    Raft,
    RequestEntries,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    Role,
    encode_configuration,
)
from quorate.raft.configuration import digest_of
from quorate.raft.messages import ABSENT, DOUBTED, HELD

from .alone import (
    FIVE,
    START,
    THREE,
    alone,
    answer,
    append,
    command,
    log_of,
    make_leader,
    speak,
    terms,
)
from .network import ELECTION_TICKS, SMALL, Network


def _damaged(*commands: bytes) -> Network:
    """Leader 1 has committed; member 2 can no longer read its last batch."""
    network = Network()
    network.elect(1)
    for data in commands:
        network.write(1, data)
    network.crash(2, damaged=True)
    network.restart(2)
    return network


def _doubter(*terms_: int, doubtful: tuple[int, int]) -> Raft:
    return alone(2, *terms_, term=doubtful[0], doubtful=doubtful)


def _reply(sender: int, state: int, *entries: Entry) -> EntriesReply:
    """About the entry (term 1, index 2), from the doubter's new term on."""
    return EntriesReply(sender, 2, 2, state, 2, 1, 0, 0, entries)


# -- what a node in doubt does -------------------------------------------------------


def test_a_restarted_node_doubts_exactly_the_entry_it_cannot_read() -> None:
    network = _damaged(b"a", b"b")
    assert network.raft(2).doubt == (1, 3)
    assert network.raft(2).last() == (1, 2)


def test_an_entry_that_the_log_has_reached_or_passed_is_not_in_doubt() -> None:
    for doubtful in [(1, 2), (1, 1), (0, 9)]:
        assert alone(2, 1, 1, doubtful=doubtful).doubt is None
    assert alone(2, 1, 1, doubtful=(1, 3)).doubt == (1, 3)


def test_a_node_in_doubt_never_campaigns() -> None:
    """I-23: not by its timer, not when asked, not when told to take over."""
    raft = _doubter(1, doubtful=(1, 2))
    for _ in range(5 * ELECTION_TICKS):
        raft.tick()
    raft.campaign()
    asked = [m for m in speak(raft) if isinstance(m, RequestVote | RequestPreVote)]
    assert asked == []
    assert raft.role is Role.FOLLOWER


@pytest.mark.parametrize(
    ("candidate", "granted"),
    [((1, 1), False), ((2, 1), True), ((3, 1), True), ((1, 2), True)],
)
def test_a_node_in_doubt_votes_as_if_it_held_the_entry(
    candidate: tuple[int, int], granted: bool
) -> None:
    """I-23: unknown, never absent. (index, term) against index 2 of term 1."""
    raft = _doubter(1, doubtful=(1, 2))
    reply = answer(raft, RequestVote(1, 2, 5, *candidate, False), RequestVoteReply)
    assert reply.granted == granted


def test_a_node_in_doubt_asks_all_voters_and_needs_no_leader() -> None:
    """I-23."""
    raft = _doubter(1, doubtful=(1, 2))
    raft.tick()
    asked = [m for m in speak(raft) if isinstance(m, RequestEntries)]
    assert [(m.to, m.last_term, m.last_index) for m in asked] == [(1, 1, 2), (3, 1, 2)]
    for _ in range(ELECTION_TICKS):
        raft.tick()
    assert [m.to for m in speak(raft) if isinstance(m, RequestEntries)]


def test_an_entry_in_doubt_is_repaired_by_any_peer_without_a_leader() -> None:
    """I-23: the leader is gone for good."""
    network = _damaged(b"a", b"b")
    network.crash(1)
    network.tick(1)
    assert network.leader() == 0
    assert network.raft(2).doubt is None
    assert network.nodes[2].log() == network.nodes[3].log()
    network.tick(4 * ELECTION_TICKS)
    network.write(network.leader(), b"c")
    assert network.nodes[2].commands == [b"a", b"b", b"c"]


def test_an_entry_in_doubt_is_repaired_while_the_leader_goes_on() -> None:
    """The leader that counted the damaged node gives way; then writes go on."""
    network = _damaged(b"a", b"b")
    network.tick(4 * ELECTION_TICKS)
    network.write(network.leader(), b"c")
    network.tick(4)
    network.write(network.leader(), b"d")
    assert network.nodes[2].commands == [b"a", b"b", b"c", b"d"]
    assert network.raft(2).doubt is None


def test_an_acknowledged_write_survives_damage_on_one_and_loss_of_another() -> None:
    """Promise 1: held by two of three; one is damaged, the other comes back late."""
    network = Network()
    network.elect(1)
    network.isolate(3)
    network.write(1, b"kept")
    assert network.nodes[1].commands == [b"kept"]
    network.crash(1)
    network.crash(2, damaged=True)
    network.heal()
    network.restart(2)
    network.tick(6 * ELECTION_TICKS)
    assert network.leader() == 0, "nobody may lead without the entry"
    network.restart(1)
    network.tick(6 * ELECTION_TICKS)
    assert network.nodes[3].commands == [b"kept"]


def test_doubt_survives_a_second_crash() -> None:
    """The journal carries it on, in each batch."""
    network = _damaged(b"a", b"b")
    network.isolate(2)
    network.raft(2).step(RequestVote(9, 2, 7, 9, 9, True))
    network.tick(1)
    network.crash(2)
    raft = network.restart(2)
    assert (raft.term, raft.doubt) == (8, (1, 3))


def test_damage_that_overwrote_a_tail_is_repaired_and_the_tail_goes() -> None:
    """What recovery brought back was replaced by the very batch that is damaged."""
    network = Network()
    network.add(2, START, HardState(1, 0, 0), log_of(1, 1))
    network.elect(1)
    network.write(1, b"new")
    network.crash(2, damaged=True)
    network.restart(2)
    network.crash(1)
    network.tick(4 * ELECTION_TICKS)
    assert network.nodes[2].log() == network.nodes[3].log()
    assert network.nodes[2].commands == [b"new"]


def test_an_overwritten_tail_is_not_committed_by_a_heartbeat() -> None:
    """The leader believes that this node still holds what it has acknowledged."""
    network = Network()
    network.add(2, START, HardState(1, 0, 0), log_of(1, 1))
    network.elect(1)
    assert network.raft(1).progress[2].match_index == 1
    network.crash(2, damaged=True)
    raft = network.restart(2)
    assert (raft.doubt, terms(raft)) == ((2, 1), [1, 1])
    network.tick(4, only=[1])
    assert network.nodes[2].commands == [], "these were never committed"
    network.tick(4)
    assert terms(raft) == [2]


def test_an_entry_under_a_newer_term_ends_the_doubt() -> None:
    """A leader was elected without it: it can't have been committed."""
    raft = _doubter(1, doubtful=(1, 2))
    raft.step(append((1, 1), command(2, 2), term=2, sender=3))
    assert raft.doubt is None
    assert terms(raft) == [1, 2]


def test_the_entry_itself_from_a_leader_ends_the_doubt() -> None:
    raft = _doubter(1, doubtful=(1, 2))
    raft.step(append((1, 1), command(2, 1), term=2))
    assert raft.doubt is None


def test_a_repaired_node_may_lead() -> None:
    raft = _doubter(1, doubtful=(1, 2))
    raft.step(_reply(3, HELD, *log_of(1, 1)))
    assert raft.doubt is None
    make_leader(raft)


# -- how a long gap is repaired ------------------------------------------------------


def test_a_long_gap_is_repaired_in_pieces() -> None:
    """Answers are bounded like appends."""
    network = Network()
    network.elect(1)
    network.write(1, *[b"x" * 100] * 10)
    network.crash(2, damaged=True)
    network.restart(2)
    network.crash(1)
    for node in network.nodes.values():
        _limit_bytes(node.raft, 300)
    network.tick(4 * ELECTION_TICKS)
    assert network.raft(2).doubt is None
    assert network.nodes[2].log()[:11] == network.nodes[3].log()[:11]


def test_a_gap_far_behind_the_remembered_commit_is_reached() -> None:
    """The first answers bring only what the node already has; it must go on."""
    network = Network()
    network.elect(1)
    network.write(1, *[b"x" * 100] * 10)
    network.write(1, b"last")
    network.crash(2, damaged=True)
    raft = network.restart(2)
    assert (raft.log.commit_index, raft.doubt) == (1, (1, 12))
    for node in network.nodes.values():
        _limit_bytes(node.raft, 300)
    network.crash(1)
    network.tick(10 * ELECTION_TICKS, only=[2])
    assert raft.doubt is None
    assert network.nodes[2].log() == network.nodes[3].log()


def _limit_bytes(raft: Raft, limit: int) -> None:
    raft.options = msgspec.structs.replace(raft.options, append_bytes_max=limit)


@pytest.mark.parametrize("broken_link", [False, True])
def test_a_node_in_doubt_is_repaired_when_all_others_have_compacted(
    broken_link: bool,
) -> None:
    """Nobody has the entry as an entry any more: the leader sends its checkpoint.

    It believes to know where the node's log ends, and is told otherwise.
    """
    network = Network()
    network.elect(1)
    network.write(1, b"a")
    network.write(1, b"b")
    network.checkpoint(1)
    network.checkpoint(3)
    network.crash(2, damaged=True)
    network.restart(2)
    if broken_link:
        network.raft(1).peer_unreachable(2)
    network.write(1, b"c")
    network.tick(4 * ELECTION_TICKS)
    assert network.nodes[2].commands == [b"a", b"b", b"c"]


# -- what is told to a node in doubt -------------------------------------------------

MEMBERS = digest_of(THREE)
OTHERS = digest_of(FIVE)


def _ask(raft: Raft, last_index: int, last_term: int) -> EntriesReply:
    request = RequestEntries(3, raft.id, 1, 1, last_index, last_term, MEMBERS)
    return answer(raft, request, EntriesReply)


def test_a_peer_that_holds_the_entry_sends_it_and_what_is_before() -> None:
    reply = _ask(alone(1, 1, 1, 2), 3, 2)
    assert (reply.state, reply.entries) == (HELD, log_of(1, 1, 2))


@pytest.mark.parametrize("asked", [(3, 1), (2, 2), (9, 9)])
def test_a_peer_without_the_entry_says_so(asked: tuple[int, int]) -> None:
    """(index, term): the index alone is not the entry."""
    reply = _ask(alone(1, 1, 1), *asked)
    assert (reply.state, reply.entries) == (ABSENT, ())


def test_a_peer_that_doubts_it_itself_says_so() -> None:
    raft = alone(1, 1, doubtful=(1, 3))
    assert _ask(raft, 3, 1).state == DOUBTED
    assert _ask(raft, 2, 1).state == DOUBTED
    assert _ask(raft, 4, 1).state == ABSENT


def test_a_peer_that_compacted_it_does_not_call_it_absent() -> None:
    network = Network((1,))
    network.elect(1)
    network.write(1, b"a", b"b")
    network.checkpoint(1)
    reply = _ask(network.raft(1), 2, 1)
    assert (reply.state, reply.entries) == (HELD, ())


def test_a_peer_that_is_still_writing_it_does_not_call_it_absent() -> None:
    """It is neither held nor absent; an answer would be wrong either way."""
    raft = alone(1, 1)
    raft.step(append((1, 1), command(2, 1), term=1, sender=3, to=1))
    raft.step(RequestEntries(3, 1, 1, 1, 2, 1, MEMBERS))
    replies = [m for m in speak(raft) if isinstance(m, EntriesReply)]
    assert all(reply.state != ABSENT for reply in replies)


def test_who_knows_other_voters_does_not_call_it_absent() -> None:
    """What is damaged may have changed them; whoever holds it says so all the same."""
    raft = alone(1, 1)
    raft.step(RequestEntries(3, 1, 1, 1, 2, 1, OTHERS))
    assert not [m for m in speak(raft) if isinstance(m, EntriesReply)]
    raft.step(RequestEntries(3, 1, 1, 1, 1, 1, OTHERS))
    replies = [m for m in speak(raft) if isinstance(m, EntriesReply)]
    assert [reply.state for reply in replies] == [HELD]


# -- when it is discarded ------------------------------------------------------------


def test_a_single_voter_discards_at_once() -> None:
    """Nobody else can have counted it: it was torn before it was acknowledged."""
    network = Network((1,))
    network.elect(1)
    network.write(1, b"a")
    network.write(1, b"torn")
    network.history.pop()
    network.crash(1, damaged=True)
    raft = network.restart(1)
    network.tick(1)
    assert raft.doubt is None
    network.elect(1)
    network.write(1, b"b")
    assert network.nodes[1].commands == [b"a", b"b"]


def test_an_entry_that_reached_nobody_else_is_discarded() -> None:
    """All voters have answered and none holds it: no quorum ever did."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.cut(1, 3)
    network.write(1, b"torn")
    network.crash(1)
    network.crash(2, damaged=True)
    network.nodes[1].disk.held = False
    network.drop_all()
    network.heal()
    network.restart(1)
    network.restart(2)
    assert network.raft(2).doubt == (1, 2)
    network.tick(4 * ELECTION_TICKS)
    assert network.raft(2).doubt is None
    network.write(network.leader(), b"after")
    assert [node.commands for node in network.nodes.values()] == [[b"after"]] * 3


def test_a_discarded_entry_does_not_come_back_by_a_crash() -> None:
    """The journal writes down that the log ends here."""
    raft = _doubter(1, doubtful=(1, 2))
    for voter in (1, 3):
        raft.step(_reply(voter, ABSENT))
    assert raft.doubt is None
    persist = raft.ready(can_persist=True).persist
    assert persist is not None
    assert (persist.first_index, persist.entries) == (2, ())


def test_a_batch_torn_on_every_node_is_discarded_by_all() -> None:
    """Power loss of the whole cluster in the middle of a write."""
    network = Network()
    network.elect(1)
    for member in (1, 2, 3):
        network.hold_disk(member)
    network.propose(1, b"torn")
    network.settle()
    for member in (1, 2, 3):
        node = network.nodes[member]
        assert node.flight is not None
        node.disk.write(node.flight.persist, None)
        network.crash(member, damaged=True)
        node.disk.held = False
    network.drop_all()
    for member in (1, 2, 3):
        network.restart(member)
    assert [network.raft(m).doubt for m in (1, 2, 3)] == [(1, 2)] * 3
    network.tick(4 * ELECTION_TICKS)
    network.write(network.leader(), b"after")
    assert [node.commands for node in network.nodes.values()] == [[b"after"]] * 3


def test_an_entry_is_kept_in_doubt_while_a_voter_is_unheard() -> None:
    """It may have been the other half of a quorum."""
    raft = _doubter(1, doubtful=(1, 2))
    for _ in range(3):
        raft.step(_reply(3, ABSENT))
    assert raft.doubt == (1, 2)
    raft.step(_reply(9, ABSENT))
    assert raft.doubt == (1, 2)
    raft.step(_reply(1, ABSENT))
    assert raft.doubt is None


def test_an_entry_that_somebody_holds_is_never_discarded() -> None:
    """It can be repaired, so it is."""
    raft = alone(2, 1, doubtful=(1, 2), configuration=FIVE)
    raft.step(_reply(1, HELD))
    for voter in (3, 4, 5):
        raft.step(_reply(voter, ABSENT))
    assert raft.doubt == (1, 2)


def test_answers_about_another_entry_do_not_count() -> None:
    raft = _doubter(1, doubtful=(1, 2))
    for voter in (1, 3):
        raft.step(EntriesReply(voter, 2, 1, ABSENT, 3, 1, 0, 0, ()))
        raft.step(EntriesReply(voter, 2, 1, ABSENT, 2, 2, 0, 0, ()))
    assert raft.doubt == (1, 2)


def test_entries_that_do_not_continue_the_log_are_not_taken() -> None:
    raft = _doubter(1, doubtful=(1, 2))
    odd = EntriesReply(3, 2, 1, HELD, 2, 1, 1, 9, (Entry(2, 1, COMMAND, b"?"),))
    raft.step(odd)
    assert terms(raft) == [1]
    assert raft.doubt == (1, 2)


def test_a_leader_does_not_count_an_acknowledgement_that_was_discarded() -> None:
    """I-23: five nodes; the leader has counted the entry of the damaged one.

    Three others lack it, and the leader can't be heard. If the damaged node discarded
    it now, the leader could still complete its quorum with one of the three, commit,
    and die; the rest would elect somebody without the entry.
    """
    network = Network((1, 2, 3, 4, 5))
    network.elect(1)
    network.cut(1, 3, 4, 5)
    network.write(1, b"x")
    network.crash(2, damaged=True)
    network.cut(1, 2)
    network.restart(2)
    network.tick(3, only=[2])
    network.cut_links -= {(1, 3), (3, 1)}
    network.tick(3, only=[1])
    assert network.nodes[1].commands == [b"x"]
    network.crash(1)
    network.crash(3)
    network.heal()
    network.tick(4 * ELECTION_TICKS)
    network.restart(3)
    network.tick(4 * ELECTION_TICKS)
    assert [network.nodes[m].commands for m in (2, 3, 4, 5)] == [[b"x"]] * 4


def test_a_leader_that_is_still_writing_keeps_the_doubt_alive() -> None:
    """I-3, I-23: it has counted the damaged node, and will soon count itself."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.cut(1, 3)
    network.write(1, b"x")
    network.crash(2, damaged=True)
    network.restart(2)
    network.tick(1, only=[2])
    network.free_disk(1)
    network.settle()
    assert network.nodes[1].commands == [b"x"]
    network.crash(1)
    network.heal()
    network.tick(4 * ELECTION_TICKS)
    network.restart(1)
    network.tick(4 * ELECTION_TICKS)
    assert [network.nodes[m].commands for m in (1, 2, 3)] == [[b"x"]] * 3


def test_a_discard_is_reported() -> None:
    raft = _doubter(1, doubtful=(1, 2))
    for voter in (1, 3):
        raft.step(_reply(voter, ABSENT))
    events = raft.ready(can_persist=True).events
    assert [event.reason for event in events] == [
        "discarded an entry in doubt: no quorum can hold it"
    ]


JOINT = Configuration((2, 3, 4), outgoing=(1, 2, 3))
CHANGE = Entry(1, 1, CONFIGURATION, encode_configuration(JOINT))


def _joint(change: Entry) -> Raft:
    """Member 2 or 3 knows the change, and its damaged batch is behind it."""
    options = msgspec.structs.replace(SMALL, id=3)
    return Raft(options, START, HardState(1, 0, 0), (change,), (1, 2))


def test_while_joint_one_set_of_voters_is_enough_to_keep_a_doubt() -> None:
    """Story: the rule counted all voters of both sets as one. Two of these four are a
    majority of both, held an acknowledged entry, and the damaged one of them threw it
    away once the other two had said that they lack it.
    """
    raft = _joint(CHANGE)
    for voter in (1, 4):
        raft.step(EntriesReply(voter, 3, 2, ABSENT, 2, 1, 1, 1, ()))
    assert raft.doubt == (1, 2)
    # Two of three of each set lack it, and the damaged copy alone is no majority.
    raft.step(EntriesReply(2, 3, 2, ABSENT, 2, 1, 1, 1, ()))
    assert raft.doubt is None


def test_a_damaged_batch_may_have_ended_the_joint_configuration() -> None:
    """Then its last entry was committed by the new voters alone."""
    apart = Configuration((3, 4, 5), outgoing=(1, 2, 3))
    raft = _joint(Entry(1, 1, CONFIGURATION, encode_configuration(apart)))
    for voter in (1, 2, 5):
        raft.step(EntriesReply(voter, 3, 2, ABSENT, 2, 1, 1, 1, ()))
    assert raft.doubt == (1, 2)


def test_a_late_answer_takes_nothing_that_a_leader_has_given_since() -> None:
    """Story: another leader's entries were acknowledged to it, and might be committed.
    An answer about the entry in doubt, asked for before, took their place, and with the
    next heartbeat they were applied.
    """
    raft = alone(1, 1, 2, term=5, commit_index=2, configuration=FIVE, doubtful=(5, 12))
    told = log_of(3, 3, 3, first=3)
    reply = answer(raft, AppendEntries(3, 1, 7, 2, 2, 2, told), AppendEntriesReply)
    assert (reply.accepted, reply.index) == (True, 5)
    held = log_of(*[4] * 7, *[5] * 3, first=3)
    raft.step(EntriesReply(2, 1, 6, HELD, 12, 5, 2, 2, held))
    assert terms(raft) == [1, 2, 3, 3, 3]
    assert raft.doubt == (5, 12)
    raft.step(Heartbeat(3, 1, 7, 5, 1))
    assert raft.log.commit_index == 5
    assert terms(raft) == [1, 2, 3, 3, 3]
    # The leader's own entry is behind the one in doubt, and ends it.
    raft.step(AppendEntries(3, 1, 7, 5, 3, 5, log_of(3, 7, first=6)))
    assert raft.doubt is None
