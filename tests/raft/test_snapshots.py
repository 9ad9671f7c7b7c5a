"""Compaction and snapshots: section 7 of the paper, I-51, I-52 as far as Raft goes."""

import pytest
from quorate.raft import (
    AppendEntries,
    AppendEntriesReply,
    Configuration,
    InstallSnapshot,
    Refused,
    SnapshotMark,
)
from quorate.raft.progress import Progress

from .alone import (
    THREE,
    accepted,
    alone,
    answer,
    append,
    command,
    log_of,
    make_leader,
    only,
    speak,
    terms,
)
from .network import ELECTION_TICKS, Network


def _lagging(*commands: bytes) -> Network:
    """Leader 1 has compacted what follower 3 still lacks."""
    network = Network()
    network.elect(1)
    network.crash(3)
    network.write(1, *commands)
    for member in (1, 2):
        network.checkpoint(member)
    network.drop_all()
    network.restart(3)
    return network


def test_a_checkpoint_forgets_the_entries_it_holds() -> None:
    """7."""
    network = Network()
    network.elect(1)
    index = network.write(1, b"a", b"b")
    mark = network.checkpoint(1)
    log = network.raft(1).log
    assert mark == SnapshotMark(index, 1, THREE)
    assert (log.base_index, log.base_term, log.entries) == (index, 1, [])
    network.write(1, b"c")
    assert network.nodes[3].commands == [b"a", b"b", b"c"]


def test_a_checkpoint_may_keep_entries_for_slow_followers() -> None:
    """I-53: else a short absence costs a whole snapshot."""
    network = Network()
    network.elect(1)
    network.crash(3)
    index = network.write(1, *[b"x"] * 10)
    network.checkpoint(1, keep_entries=20)
    assert network.raft(1).log.base_index == 0
    network.checkpoint(1, keep_entries=10)
    assert network.raft(1).log.base_index == index - 10
    kinds: set[str] = set()
    network.on_message = lambda what, message: kinds.add(type(message).__name__)
    network.restart(3)
    network.tick(4)
    assert "InstallSnapshot" not in kinds
    assert network.nodes[3].commands == [b"x"] * 10


def test_an_older_checkpoint_takes_nothing_back() -> None:
    network = Network((1,))
    raft = network.elect(1)
    network.write(1, b"a")
    early = raft.mark(raft.log.applied_index)
    network.write(1, b"b")
    late = network.checkpoint(1)
    raft.checkpointed(early)
    assert raft.snapshot == late
    assert raft.log.base_index == late.index


def test_a_checkpoint_of_what_is_not_applied_is_a_bug() -> None:
    raft = alone(1, 1, 1)
    with pytest.raises(AssertionError):
        raft.checkpointed(SnapshotMark(2, 1, THREE))


def test_a_follower_behind_the_leaders_log_gets_a_snapshot_then_entries() -> None:
    """7."""
    network = _lagging(b"a", b"b")
    network.tick(4)
    assert network.nodes[3].commands == [b"a", b"b"]
    network.write(1, b"c")
    assert network.nodes[3].commands == [b"a", b"b", b"c"]
    assert network.raft(3).log.base_index == network.raft(3).snapshot.index == 3


def test_an_installed_snapshot_is_durable_before_it_is_acknowledged() -> None:
    """I-51: the state machine comes first, then the journal starts anew."""
    raft = alone(2)
    raft.step(InstallSnapshot(1, 2, 3, 10, 2, THREE))
    ready = raft.ready(can_persist=True)
    assert ready.snapshot == SnapshotMark(10, 2, THREE)
    assert ready.persist is not None
    assert ready.persist.reset == (10, 2)
    assert (ready.persist.first_index, ready.persist.entries) == (11, ())
    assert ready.messages == []
    assert accepted(only(ready.messages_after, AppendEntriesReply)) == 10


def test_a_snapshot_replaces_a_log_that_disagrees() -> None:
    """7: the whole log goes; none of it was committed."""
    raft = alone(2, 1, 1, 1, 1)
    reply = answer(raft, InstallSnapshot(1, 2, 3, 3, 2, THREE), AppendEntriesReply)
    assert accepted(reply) == 3
    assert (raft.log.base_index, raft.log.base_term, terms(raft)) == (3, 2, [])
    assert raft.log.applied_index == raft.log.commit_index == 3
    reply = answer(raft, append((3, 2), command(4, 3), term=3), AppendEntriesReply)
    assert accepted(reply) == 4


def test_a_snapshot_that_the_log_already_holds_moves_only_the_commit() -> None:
    """7: what follows it in the log is kept."""
    raft = alone(2, 1, 1, 1, 1)
    raft.step(InstallSnapshot(1, 2, 1, 3, 1, THREE))
    ready = raft.ready(can_persist=True)
    assert ready.snapshot is None
    assert [entry.index for entry in ready.committed] == [1, 2, 3]
    assert accepted(only(ready.messages, AppendEntriesReply)) == 3
    assert terms(raft) == [1, 1, 1, 1]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_snapshot_that_is_not_newer_than_the_commit_is_ignored(index: int) -> None:
    """I-52: a delayed one, after the follower has caught up by entries."""
    raft = alone(2, 1, 1, 1, 1, commit_index=3)
    raft.step(InstallSnapshot(1, 2, 1, index, 1, THREE))
    ready = raft.ready(can_persist=True)
    assert ready.snapshot is None
    assert accepted(only(ready.messages, AppendEntriesReply)) == 3
    assert terms(raft) == [1, 1, 1, 1]


def test_a_snapshot_of_an_older_term_is_refused() -> None:
    """5.1: its sender is told of the newer term."""
    raft = alone(2, 1, term=5)
    reply = answer(raft, InstallSnapshot(1, 2, 3, 9, 3, THREE), AppendEntriesReply)
    assert (reply.accepted, reply.term) == (False, 5)
    assert raft.log.base_index == 0


def test_a_snapshot_brings_the_configuration() -> None:
    raft = alone(2, 1)
    bigger = Configuration((1, 2, 3, 4, 5))
    raft.step(InstallSnapshot(1, 2, 1, 9, 1, bigger))
    assert raft.configuration == bigger
    assert raft.mark(9) == SnapshotMark(9, 1, bigger)


def test_two_snapshots_in_one_turn_leave_the_newer() -> None:
    """etcd 18055: it stopped at the second."""
    raft = alone(2, 1)
    raft.step(InstallSnapshot(1, 2, 1, 5, 1, THREE))
    raft.step(InstallSnapshot(1, 2, 1, 9, 1, THREE))
    ready = raft.ready(can_persist=True)
    assert ready.snapshot == SnapshotMark(9, 1, THREE)
    assert ready.persist is not None
    assert ready.persist.reset == (9, 1)
    assert raft.log.last_index == 9


def test_a_snapshot_during_a_sync_is_followed_by_a_new_beginning() -> None:
    """I-51: the batch in flight is older, and its acknowledgement says nothing."""
    network = Network()
    raft = network.raft(2)
    network.hold_disk(2)
    raft.step(append((0, 0), *log_of(1, 1, 1), term=1))
    network.turn(2)
    network.history.extend(log_of(2, 2))
    raft.step(InstallSnapshot(3, 2, 2, 2, 2, THREE))
    network.free_disk(2)
    network.turn(2)
    assert (raft.log.stable_index, raft.log.last_index) == (2, 2)
    network.crash(2)
    raft = network.restart(2)
    assert raft.last() == (2, 2)


def test_a_crash_between_snapshot_and_journal_keeps_the_snapshot_alone() -> None:
    """I-51, I-52: entries of the old journal that do not continue it are not taken."""
    network = Network()
    raft = network.raft(2)
    raft.step(append((0, 0), *log_of(1, 1, 1, 1), term=1))
    network.turn(2)
    network.hold_disk(2)
    network.history.extend(log_of(2, 2))
    raft.step(InstallSnapshot(3, 2, 2, 2, 2, THREE))
    network.turn(2)
    network.crash(2)
    network.nodes[2].disk.held = False
    raft = network.restart(2)
    assert (raft.last(), raft.log.commit_index) == ((2, 2), 2)


def test_no_entries_are_sent_while_a_snapshot_is_on_its_way() -> None:
    """I-53: heartbeats go on."""
    raft = make_leader(alone(1, 1, 1, 1, commit_index=3))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, True, 4, 0, 0))
    speak(raft)
    raft.checkpointed(raft.mark(4))
    raft.step(AppendEntriesReply(3, 1, 2, False, 3, 0, 0))
    first = [m for m in speak(raft) if m.to == 3]
    assert [type(m) for m in first] == [InstallSnapshot]
    raft.propose([b"x"])
    raft.tick()
    raft.tick()
    later = [type(m).__name__ for m in speak(raft) if m.to == 3]
    assert later == ["Heartbeat"]


def test_a_failed_snapshot_is_sent_again() -> None:
    network = _lagging(b"a")
    lost: list[InstallSnapshot] = []

    def lose_the_first(message: object) -> bool:
        if isinstance(message, InstallSnapshot) and not lost:
            lost.append(message)
            return True
        return False

    network.loses = lose_the_first
    network.tick(4)
    assert lost
    assert network.nodes[3].commands == [b"a"]


def test_a_transfer_that_always_fails_is_retried_at_the_pace_of_heartbeats() -> None:
    """I-53: a peer that answers heartbeats but takes no file is no reason to spin."""
    network = _lagging(b"a")
    network.loses = lambda message: isinstance(message, InstallSnapshot)
    tried: list[InstallSnapshot] = []
    network.on_message = lambda what, message: (
        tried.append(message)
        if what == "send" and isinstance(message, InstallSnapshot)
        else None
    )
    network.tick(10)
    assert 1 <= len(tried) <= 10
    network.heal()
    network.tick(4)
    assert network.nodes[3].commands == [b"a"]


def test_a_snapshot_is_not_sent_to_a_silent_peer() -> None:
    """I-78: it would be made for nobody."""
    network = Network()
    raft = network.elect(1)
    network.crash(3)
    network.write(1, b"a")
    network.tick(2 * ELECTION_TICKS)
    network.checkpoint(1)
    kinds: set[str] = set()
    network.on_message = lambda what, message: kinds.add(type(message).__name__)
    raft.peer_unreachable(3)
    network.write(1, b"b")
    network.tick(2 * ELECTION_TICKS)
    assert "InstallSnapshot" not in kinds
    network.restart(3)
    network.tick(4)
    assert network.nodes[3].commands == [b"a", b"b"]


def test_a_finished_transfer_continues_right_after_the_snapshot() -> None:
    network = _lagging(b"a", b"b")
    network.tick(2)
    sent: list[AppendEntries] = []
    network.on_message = lambda what, message: (
        sent.append(message)
        if what == "send" and isinstance(message, AppendEntries) and message.to == 3
        else None
    )
    network.write(1, b"c")
    assert [(m.previous_index, len(m.entries)) for m in sent if m.entries] == [(3, 1)]


def test_the_log_is_kept_for_who_has_got_a_snapshot_until_it_has_the_rest() -> None:
    """Story: the next checkpoint took what was written meanwhile: another one went."""
    progress = Progress(1)
    assert progress.keeps_from() is None
    progress.become_snapshot(10)
    assert progress.keeps_from() == 10
    progress.transferred(True, 50)
    assert progress.keeps_from() == 10
    progress.accepted(10)
    progress.become_replicate()
    progress.accepted(30)
    assert progress.keeps_from() == 30
    progress.accepted(50)
    assert progress.keeps_from() is None


def test_the_log_is_not_kept_for_who_got_no_snapshot_or_has_gone() -> None:
    """It may never come back, and the log has a bound."""
    failed, gone = Progress(1), Progress(1)
    for progress in (failed, gone):
        progress.become_snapshot(10)
        progress.transferred(progress is gone, 50)
    assert failed.keeps_from() is None
    assert gone.keeps_from() == 10
    gone.lost()
    assert gone.keeps_from() is None
    gone.become_snapshot(40)
    assert gone.keeps_from() == 40


def test_a_leader_that_has_compacted_while_joint_sends_both_majorities() -> None:
    """I-51: who joins by a snapshot must know both."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    network.loses = lambda message: message.sender in (4, 5)
    assert not isinstance(raft.change_configuration((1, 4, 5), ()), Refused)
    network.settle()
    joint = Configuration((1, 4, 5), outgoing=(1, 2, 3))
    assert raft.configuration == joint
    network.raft(4).step(InstallSnapshot(1, 4, 1, 9, 1, joint))
    assert network.raft(4).configuration == joint
    assert network.raft(4).mark(9).configuration == joint


def test_marks_of_the_past_name_the_configuration_of_their_time() -> None:
    network = Network((1, 2, 3), spares=(4,))
    raft = network.elect(1)
    before = raft.log.last_index
    raft.change_configuration((1, 2, 3), (4,))
    network.settle()
    assert raft.mark(before) == SnapshotMark(before, 1, THREE)
    assert raft.mark(before + 1).configuration.learners == (4,)
    network.checkpoint(1)
    assert raft.mark(before + 1).configuration.learners == (4,)
