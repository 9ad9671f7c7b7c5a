"""How much is on its way, and when more may be: I-76, I-78, dissertation 10.2.1."""

import msgspec
import pytest
from quorate.raft import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Configuration,
    Heartbeat,
    HeartbeatReply,
    Message,
    Raft,
    ReadIndex,
    ReadIndexReply,
    Refused,
)

from .alone import alone, make_leader, speak
from .network import Network


def _leader(**limits: int) -> Raft:
    """It has committed in its term, and pipelines to member 2."""
    raft = alone(1)
    raft.options = msgspec.structs.replace(raft.options, **limits)
    make_leader(raft)
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 1, 0, 0))
    speak(raft)
    return raft


def _appends(messages: list[Message], to: int = 2) -> list[AppendEntries]:
    return [m for m in messages if isinstance(m, AppendEntries) and m.to == to]


def test_a_leader_does_not_wait_for_one_append_before_it_sends_the_next() -> None:
    """10.2.1: pipelining."""
    raft = _leader()
    for index in (2, 3, 4):
        raft.propose([b"x"])
        (sent,) = _appends(speak(raft))
        assert (sent.previous_index, len(sent.entries)) == (index - 1, 1)


def test_what_was_proposed_in_one_turn_leaves_in_one_message() -> None:
    raft = _leader()
    for _ in range(100):
        raft.propose([b"x"])
    (sent,) = _appends(speak(raft))
    assert len(sent.entries) == 100


def test_messages_on_their_way_are_bounded() -> None:
    """I-76."""
    raft = _leader(append_entries_max=1, inflight_messages_max=4)
    raft.propose([b"x"] * 10)
    assert [m.previous_index for m in _appends(speak(raft))] == [1, 2, 3, 4]
    raft.propose([b"y"])
    assert _appends(speak(raft)) == []


def test_acknowledgements_reopen_the_window() -> None:
    raft = _leader(append_entries_max=1, inflight_messages_max=4)
    raft.propose([b"x"] * 10)
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 3, 0, 0))
    assert [m.previous_index for m in _appends(speak(raft))] == [5, 6]
    raft.step(AppendEntriesReply(2, 1, 1, True, 7, 0, 0))
    assert [m.previous_index for m in _appends(speak(raft))] == [7, 8, 9, 10]


def test_a_window_whose_messages_were_all_lost_is_reopened_by_heartbeats() -> None:
    """Else the peer would never get anything again."""
    network = Network(
        options=msgspec.structs.replace(
            Network().options, append_entries_max=1, inflight_messages_max=2
        )
    )
    network.elect(1)
    network.propose(1, *[b"x"] * 10)
    network.turn(1)
    network.drop_all()
    network.tick(20)
    assert [node.commands for node in network.nodes.values()] == [[b"x"] * 10] * 3


def test_a_slow_peer_opens_its_window_by_one_message_a_heartbeat() -> None:
    """I-78: an unacknowledged peer is fed slowly, not for ever faster."""
    raft = _leader(append_entries_max=1, inflight_messages_max=4)
    raft.propose([b"x"] * 50)
    speak(raft)
    for _ in range(5):
        raft.step(HeartbeatReply(2, 1, 1, 0))
        assert len(_appends(speak(raft))) <= 1


def test_a_message_holds_at_most_its_number_of_entries() -> None:
    raft = _leader(append_entries_max=3)
    raft.propose([b"x"] * 7)
    assert [len(m.entries) for m in _appends(speak(raft))] == [3, 3, 1]


def test_a_message_holds_at_most_its_bytes_but_always_one_entry() -> None:
    """I-76: an entry larger than the limit must still get through."""
    raft = _leader(append_bytes_max=300)
    raft.propose([b"x" * 100] * 4)
    raft.propose([b"x" * 1000, b"y"])
    assert [len(m.entries) for m in _appends(speak(raft))] == [2, 2, 1, 1]


def test_a_peer_that_is_probed_gets_one_message_at_a_time() -> None:
    """Its log is not known yet; more would be waste."""
    raft = _leader()
    for _ in range(5):
        raft.propose([b"x"])
        assert _appends(speak(raft), to=3) == []
    raft.step(HeartbeatReply(3, 1, 1, 0))
    assert len(_appends(speak(raft), to=3)) == 1


def test_a_broken_link_ends_the_optimism() -> None:
    """After it, one probe; the window is forgotten."""
    raft = _leader(append_entries_max=1, inflight_messages_max=4)
    raft.propose([b"x"] * 10)
    speak(raft)
    raft.peer_unreachable(2)
    assert [m.previous_index for m in _appends(speak(raft))] == [1]
    raft.peer_unreachable(9)


def test_proposals_are_refused_when_too_many_entries_are_uncommitted() -> None:
    """I-76: a fast, definite error."""
    raft = _leader(uncommitted_entries_max=4)
    assert not isinstance(raft.propose([b"x"] * 4), Refused)
    assert raft.propose([b"y"]) is Refused.FULL
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 3, 0, 0))
    assert not isinstance(raft.propose([b"y"] * 2), Refused)
    assert raft.propose([b"y"]) is Refused.FULL


def test_proposals_are_refused_when_too_many_bytes_are_uncommitted() -> None:
    """I-76."""
    raft = _leader(uncommitted_bytes_max=1000)
    assert not isinstance(raft.propose([b"x" * 2000]), Refused)
    assert raft.propose([b"y"]) is Refused.FULL
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 2, 0, 0))
    assert raft.uncommitted_bytes == 0
    assert not isinstance(raft.propose([b"y"]), Refused)


def test_a_refused_batch_is_refused_whole() -> None:
    raft = _leader(uncommitted_entries_max=4)
    before = raft.log.last_index
    assert raft.propose([b"x"] * 5) is Refused.FULL
    assert raft.log.last_index == before


def test_an_idle_leader_sends_heartbeats_and_nothing_else() -> None:
    network = Network()
    network.elect(1)
    network.write(1, b"x")
    network.tick(3)
    kinds: set[str] = set()
    network.on_message = lambda what, message: kinds.add(type(message).__name__)
    network.tick(10)
    assert kinds == {Heartbeat.__name__, HeartbeatReply.__name__}


def test_news_of_a_commit_alone_is_not_acknowledged() -> None:
    network = Network()
    network.elect(1)
    seen: list[tuple[str, str]] = []
    network.on_message = lambda what, message: seen.append(
        (what, type(message).__name__)
    )
    network.write(1, b"x")
    assert network.nodes[3].commands == [b"x"]
    assert seen.count(("send", Commit.__name__)) == 2
    assert seen.count(("send", AppendEntriesReply.__name__)) == 2


def test_a_peer_is_told_of_no_commit_that_it_has_not_matched() -> None:
    raft = _leader()
    raft.propose([b"x", b"y"])
    speak(raft)
    raft.step(AppendEntriesReply(3, 1, 1, True, 3, 0, 0))
    raft.tell_commits()
    told = {m.to: m.commit_index for m in speak(raft) if isinstance(m, Commit)}
    assert told == {3: 3}
    raft.step(AppendEntriesReply(2, 1, 1, True, 2, 0, 0))
    raft.tell_commits()
    told = {m.to: m.commit_index for m in speak(raft) if isinstance(m, Commit)}
    assert told == {2: 2}


def test_a_heartbeat_repeats_a_commit_that_was_lost() -> None:
    network = Network()
    network.elect(1)
    network.loses = lambda message: isinstance(message, Commit)
    network.write(1, b"x")
    assert network.nodes[2].commands == []
    network.tick(3)
    assert network.nodes[2].commands == [b"x"]


def test_a_lost_acknowledgement_is_found_out_with_the_next_heartbeat() -> None:
    """Nothing is new for the peer then: an append asks all the same."""
    raft = _leader()
    raft.propose([b"x"])
    (sent,) = _appends(speak(raft))
    assert sent.entries
    raft.step(HeartbeatReply(2, 1, 1, raft.round))
    (asked,) = _appends(speak(raft))
    assert (asked.previous_index, asked.entries) == (2, ())
    raft.step(AppendEntriesReply(2, 1, 1, True, 2, 0, 0))
    assert raft.log.commit_index == 2
    assert _appends(speak(raft)) == []


def test_heartbeats_come_at_their_interval() -> None:
    raft = _leader()
    raft.step(AppendEntriesReply(3, 1, 1, True, 1, 0, 0))
    speak(raft)
    counts: list[int] = []
    for _ in range(6):
        raft.tick()
        counts.append(sum(isinstance(m, Heartbeat) for m in speak(raft)))
    assert counts == [0, 2, 0, 2, 0, 2]


@pytest.mark.parametrize("entries", [1, 7, 100])
def test_a_long_backlog_reaches_a_returning_follower(entries: int) -> None:
    options = msgspec.structs.replace(
        Network().options, append_entries_max=entries, inflight_messages_max=2
    )
    network = Network(options=options)
    network.elect(1)
    network.crash(3)
    network.write(1, *[b"x"] * 300)
    network.restart(3)
    network.tick(10)
    assert network.nodes[3].commands == [b"x"] * 300


def test_an_append_that_goes_anyhow_tells_of_a_commit() -> None:
    """A message of its own would wake each follower once more for each write."""
    raft = _leader()
    raft.propose([b"x"])
    speak(raft)
    raft.step(AppendEntriesReply(3, 1, 1, True, 2, 0, 0))
    assert not [m for m in speak(raft) if isinstance(m, Commit)]
    assert raft.commit_owed
    raft.propose([b"y"])
    appends = [m for m in speak(raft) if isinstance(m, AppendEntries)]
    assert {m.to: m.commit_index for m in appends}[3] == 2
    raft.tell_commits()
    assert not [m for m in speak(raft) if isinstance(m, Commit) and m.to == 3]


def test_a_commit_that_no_append_tells_of_is_told_with_the_next_tick() -> None:
    raft = _leader()
    raft.propose([b"x"])
    speak(raft)
    raft.step(AppendEntriesReply(3, 1, 1, True, 2, 0, 0))
    speak(raft)
    raft.tick()
    told = {m.to: m.commit_index for m in speak(raft) if isinstance(m, Commit)}
    assert told == {3: 2}
    assert not raft.commit_owed


def test_a_learner_that_waits_for_a_read_is_told_of_the_commit_that_it_waits_for() -> (
    None
):
    """A round of heartbeats for reads alone does not go to it."""
    raft = alone(1, configuration=Configuration((1, 2, 3), learners=(4,)))
    make_leader(raft)
    speak(raft)
    for member in (2, 4):
        raft.step(AppendEntriesReply(member, 1, 1, True, 1, 0, 0))
    speak(raft)
    raft.propose([b"x"])
    speak(raft)
    for member in (2, 4):
        raft.step(AppendEntriesReply(member, 1, 1, True, 2, 0, 0))
    speak(raft)
    assert raft.commit_owed
    raft.step(ReadIndex(4, 1, 1, 77))
    assert not [m for m in speak(raft) if m.to == 4]
    raft.step(HeartbeatReply(2, 1, 1, raft.round))
    said = [m for m in speak(raft) if m.to == 4]
    assert said == [Commit(1, 4, 1, 2), ReadIndexReply(1, 4, 1, 77, 2)]
