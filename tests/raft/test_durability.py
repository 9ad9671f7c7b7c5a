"""What is on the disk before anybody hears of it: I-2, I-3, I-10, I-16 to I-18."""

import pytest
from quorate.raft import (
    AppendEntriesReply,
    InstallSnapshot,
    Message,
    Persisted,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    acknowledge,
)

from .alone import (
    THREE,
    accepted,
    alone,
    append,
    command,
    log_of,
    make_candidate,
    make_leader,
    only,
    speak,
    with_logs,
)
from .network import ELECTION_TICKS, Network


def test_no_vote_leaves_before_it_is_durable() -> None:
    """I-2."""
    raft = alone(2, 1)
    raft.step(RequestVote(1, 2, 2, 1, 1, False))
    ready = raft.ready(can_persist=True)
    assert ready.messages == []
    assert ready.persist is not None
    assert (ready.persist.hard_state.term, ready.persist.hard_state.vote) == (2, 1)
    assert only(ready.messages_after, RequestVoteReply).granted


def test_no_vote_request_leaves_before_the_own_vote_is_durable() -> None:
    """I-2: the candidate is a voter, too."""
    raft = make_candidate(alone(1))
    ready = raft.ready(can_persist=True)
    assert ready.messages == []
    assert ready.persist is not None
    assert ready.persist.hard_state.vote == 1
    assert [type(m) for m in ready.messages_after] == [RequestVote, RequestVote]


def test_a_candidate_counts_its_own_vote_only_when_it_is_durable() -> None:
    """I-2: in a cluster of two, the other's vote alone is no majority."""
    network = Network((1, 2))
    network.hold_disk(1)
    network.raft(1).campaign()
    network.settle()
    assert not network.raft(1).is_leader
    assert network.raft(1).votes == {}
    network.free_disk(1)
    network.settle()
    assert network.raft(1).is_leader


@pytest.mark.parametrize(
    "message",
    [
        append((0, 0), term=5),
        InstallSnapshot(1, 2, 5, 3, 4, THREE),
        RequestVote(1, 2, 5, 9, 9, True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_nothing_leaves_in_a_term_that_is_not_durable(message: Message) -> None:
    """I-2: it holds while the disk is busy with something older, too."""
    raft = alone(2)
    raft.step(append((0, 0), command(1, 1), term=1))
    first = raft.ready(can_persist=True)
    assert first.persist is not None
    raft.step(message)
    for _ in range(3):
        busy = raft.ready(can_persist=False)
        assert (busy.messages, busy.messages_after, busy.persist) == ([], [], None)
    raft.persisted(acknowledge(first.persist))
    ready = raft.ready(can_persist=True)
    assert ready.messages == []
    assert ready.persist is not None
    assert ready.persist.hard_state.term == 5
    assert ready.messages_after


def test_messages_wait_while_the_hard_state_is_in_flight() -> None:
    """I-2: written is not synced."""
    raft = alone(2, 1)
    raft.step(append((1, 1), term=2))
    first = raft.ready(can_persist=True)
    assert first.persist is not None
    raft.step(append((1, 1), term=2))
    assert raft.ready(can_persist=False).messages == []
    raft.persisted(acknowledge(first.persist))
    assert only(raft.ready(can_persist=True).messages, AppendEntriesReply).accepted


def test_an_append_is_acknowledged_only_when_it_is_durable() -> None:
    """I-16: the reply belongs to the batch that holds the entries."""
    raft = alone(2, 1)
    raft.step(append((1, 1), command(2, 1), term=1))
    ready = raft.ready(can_persist=True)
    assert ready.messages == []
    assert accepted(only(ready.messages_after, AppendEntriesReply)) == 2


def test_an_append_that_came_during_a_sync_is_acknowledged_after_the_next() -> None:
    """I-16: one sync at a time; the first says nothing about the second."""
    raft = alone(2, 1)
    raft.step(append((1, 1), command(2, 1), term=1))
    first = raft.ready(can_persist=True)
    raft.step(append((2, 1), command(3, 1), term=1))
    assert raft.ready(can_persist=False).messages_after == []
    assert first.persist is not None
    raft.persisted(acknowledge(first.persist))
    second = raft.ready(can_persist=True)
    assert second.messages == []
    assert accepted(only(second.messages_after, AppendEntriesReply)) == 3


def test_a_leader_sends_entries_in_parallel_with_its_own_sync() -> None:
    """I-3, dissertation 10.2.1."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    index = network.propose(1, b"x")
    network.settle()
    assert network.raft(1).log.stable_index < index
    assert network.nodes[2].raft.log.stable_index == index


def test_a_leader_counts_itself_only_after_its_own_sync() -> None:
    """I-3."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.crash(3)
    index = network.write(1, b"x")
    assert network.raft(1).log.commit_index < index
    network.free_disk(1)
    network.settle()
    assert network.raft(1).log.commit_index == index


def test_a_majority_of_others_commits_without_the_leaders_disk() -> None:
    """I-3; and the leader itself applies only what it holds durably (I-18)."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    index = network.write(1, b"x")
    assert network.raft(1).log.commit_index == index
    assert network.nodes[1].commands == []
    assert network.nodes[2].commands == [b"x"]
    network.free_disk(1)
    network.settle()
    assert network.nodes[1].commands == [b"x"]


def test_a_leader_that_lost_its_unsynced_entry_reuses_no_index_in_its_term() -> None:
    """I-3: the follower kept X; nothing else may get X's place in that term."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.cut(1, 3)
    network.write(1, b"X")
    network.crash(1)
    network.heal()
    network.nodes[1].disk.held = False
    network.restart(1)
    network.elect(2)
    network.write(2, b"Y")
    assert network.nodes[1].log()[1:] == [(2, 1), (3, 2), (4, 2)]
    assert network.nodes[1].commands == [b"X", b"Y"]


def test_a_single_node_waits_for_its_own_disk() -> None:
    """I-17: a quorum of one is not special."""
    network = Network((1,))
    network.elect(1)
    network.hold_disk(1)
    index = network.write(1, b"x")
    assert network.raft(1).log.commit_index < index
    assert network.nodes[1].commands == []
    network.crash(1)
    network.nodes[1].disk.held = False
    network.restart(1)
    network.elect(1)
    assert network.nodes[1].commands == []


def test_a_single_node_applies_once_its_disk_has_answered() -> None:
    """I-17: the other side."""
    network = Network((1,))
    network.elect(1)
    network.write(1, b"x")
    assert network.nodes[1].commands == [b"x"]
    network.crash(1)
    network.restart(1)
    network.elect(1)
    assert network.nodes[1].commands == [b"x"]


def test_a_follower_applies_only_what_it_holds_durably() -> None:
    """I-18: it knows of the commit, and its disk is slower."""
    network = Network()
    network.elect(1)
    network.hold_disk(3)
    index = network.write(1, b"x", b"y")
    network.tick(1)
    assert network.raft(3).log.commit_index <= index
    assert network.nodes[3].commands == []
    network.free_disk(3)
    network.settle()
    assert network.nodes[3].commands == [b"x", b"y"]


def test_a_late_acknowledgement_of_replaced_entries_makes_nothing_stable() -> None:
    """I-10: the index is there again, and another entry stands at it."""
    raft = alone(3)
    raft.step(append((0, 0), *log_of(1, 1), term=1, to=3))
    first = raft.ready(can_persist=True)
    raft.step(append((0, 0), *log_of(2, 2), term=2, sender=2, to=3))
    assert first.persist is not None
    raft.persisted(acknowledge(first.persist))
    assert raft.log.stable_index == 0
    assert raft.ready(can_persist=False).messages == []
    second = raft.ready(can_persist=True).persist
    assert second is not None
    assert (second.first_index, second.entries) == (1, log_of(2, 2))


def test_a_late_acknowledgement_of_a_longer_log_makes_nothing_stable() -> None:
    """I-10: the log was cut below what had been written."""
    raft = alone(3)
    raft.step(append((0, 0), *log_of(1, 1, 1), term=1, to=3))
    first = raft.ready(can_persist=True)
    raft.step(append((1, 1), command(2, 2), term=2, sender=2, to=3))
    assert first.persist is not None
    raft.persisted(acknowledge(first.persist))
    assert raft.log.stable_index == 0
    second = raft.ready(can_persist=True).persist
    assert second is not None
    assert second.entries == log_of(1, 2)


def test_entries_that_came_back_unchanged_are_stable_with_their_first_sync() -> None:
    """I-10, A-B-A: the very same entry counts, whoever sent it last."""
    raft = alone(3)
    raft.step(append((0, 0), *log_of(1, 1), term=1, to=3))
    first = raft.ready(can_persist=True)
    raft.step(append((0, 0), command(1, 2), term=2, sender=2, to=3))
    raft.step(append((0, 0), *log_of(1, 1), term=3, to=3))
    assert first.persist is not None
    raft.persisted(acknowledge(first.persist))
    second = raft.ready(can_persist=True).persist
    assert second is not None
    assert second.first_index == 3
    assert second.hard_state.term == 3


def test_a_late_acknowledgement_does_not_survive_a_snapshot() -> None:
    """I-10: the journal starts anew, so what was written before it is not kept.

    Entries 1 to 3 are being written when another leader cuts them, and a third, who
    has the same entries, sends a snapshot up to 2 and entry 3 again. The journal's next
    batch starts the log anew after 2: entry 3 must be in it.
    """
    raft = alone(3)
    raft.step(append((0, 0), *log_of(1, 1, 1), term=1, to=3))
    first = raft.ready(can_persist=True)
    raft.step(append((0, 0), command(1, 2), term=2, sender=2, to=3))
    raft.step(InstallSnapshot(1, 3, 3, 2, 1, THREE))
    raft.step(append((2, 1), command(3, 1), term=3, to=3))
    assert first.persist is not None
    raft.persisted(acknowledge(first.persist))
    second = raft.ready(can_persist=True)
    assert second.persist is not None
    assert second.persist.reset == (2, 1)
    assert second.persist.entries == (command(3, 1),)


def test_an_acknowledgement_that_belongs_to_no_batch_is_ignored() -> None:
    raft = alone(2)
    raft.step(append((0, 0), command(1, 1), term=1))
    first = raft.ready(can_persist=True).persist
    assert first is not None
    raft.persisted(Persisted(first.sequence + 1, 1, 1, 1))
    assert raft.log.stable_index == 0
    raft.persisted(acknowledge(first))
    raft.persisted(acknowledge(first))
    assert raft.log.stable_index == 1


def test_a_truncation_alone_is_written_down() -> None:
    """I-8: entries that were dropped do not come back by a crash."""
    network = with_logs((1, 1), (1, 1, 1, 1), (1, 1, 1), term=1)
    raft = network.raft(2)
    raft.step(append((2, 1), command(3, 2), term=2, sender=3))
    network.turn(2)
    network.crash(2)
    network.restart(2)
    assert network.nodes[2].log() == [(1, 1), (2, 1), (3, 2)]


def test_a_heartbeat_is_answered_while_the_disk_writes_entries() -> None:
    """I-74: a normal sync must not look like a silent follower."""
    network = Network()
    network.elect(1)
    network.hold_disk(2)
    network.write(1, b"x")
    network.tick(3 * ELECTION_TICKS, only=[1, 3])
    assert network.raft(1).progress[2].active
    assert network.leaders == {1: 1}


def test_a_leader_whose_disk_hangs_resigns() -> None:
    """I-74: it sends heartbeats, commits nothing, and must not look healthy."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.propose(1, b"x")
    network.tick(6 * ELECTION_TICKS)
    assert not network.raft(1).is_leader
    assert network.leader() in (2, 3)
    network.write(network.leader(), b"y")
    assert b"y" in network.nodes[2].commands


def test_a_node_whose_disk_hangs_does_not_campaign() -> None:
    """I-74: it could not make its vote durable."""
    network = Network()
    network.elect(1)
    network.hold_disk(2)
    network.write(1, b"x")
    network.crash(1)
    network.crash(3)
    network.tick(5 * ELECTION_TICKS)
    assert network.raft(2).term == 1
    asked = [m for m in network.sent if isinstance(m, RequestVote)]
    assert asked == []


def test_a_short_spike_of_the_disk_costs_no_leadership() -> None:
    """I-74: the opposite error is an election for every slow sync."""
    network = Network()
    network.elect(1)
    network.hold_disk(1)
    network.propose(1, b"x")
    network.tick(ELECTION_TICKS)
    assert network.raft(1).is_leader
    network.free_disk(1)
    network.tick(2 * ELECTION_TICKS)
    assert network.leaders == {1: 1}


def test_no_second_batch_is_handed_out_before_the_first_is_durable() -> None:
    raft = make_leader(alone(1))
    raft.propose([b"x"])
    first = raft.ready(can_persist=True)
    raft.propose([b"y"])
    assert first.persist is not None
    with pytest.raises(AssertionError, match="one persist at a time"):
        raft.ready(can_persist=True)


def test_a_turn_without_news_asks_nothing_of_the_disk() -> None:
    raft = alone(2, 1)
    ready = raft.ready(can_persist=True)
    assert ready.persist is None
    assert speak(raft) == []


def test_every_message_of_a_busy_run_speaks_of_a_durable_term() -> None:
    """I-2, over elections and slow disks: checked at each message that leaves."""
    network = Network()
    checked: set[str] = set()

    def check(what: str, message: Message) -> None:
        # A pre-vote names the term that would come next.
        if what == "send" and not isinstance(message, RequestPreVote):
            disk = network.nodes[message.sender].disk
            assert message.term <= disk.hard_state.term
            checked.add(type(message).__name__)

    network.on_message = check
    for leader in (1, 2, 3):
        network.elect(leader)
        network.hold_disk(leader)
        network.propose(leader, b"x")
        network.tick(3)
        network.free_disk(leader)
        network.settle()
    assert checked >= {"AppendEntries", "HeartbeatReply", "RequestVote"}
