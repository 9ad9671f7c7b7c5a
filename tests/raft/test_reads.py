"""Read indexes: dissertation 6.4, I-5, I-40, I-41."""

import msgspec
from quorate.raft import (
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Options,
    ReadIndex,
    ReadIndexReply,
)

from .alone import alone, append, make_leader, only, speak
from .network import ELECTION_TICKS, SMALL, Network


def _asked(read_id: int | None) -> int:
    assert read_id is not None
    return read_id


def test_a_leader_answers_with_its_commit_index_after_a_round() -> None:
    """I-40."""
    network = Network()
    raft = network.elect(1)
    index = network.write(1, b"x")
    read_id = _asked(raft.read_index())
    assert network.turn(1).reads == []
    network.settle()
    assert network.nodes[1].reads == {read_id: index}


def test_all_waiting_reads_share_one_round() -> None:
    """6.4: one exchange for any number of reads."""
    network = Network()
    raft = network.elect(1)
    ids = [_asked(raft.read_index()) for _ in range(50)]
    network.turn(1)
    rounds = [m for m in network.sent if isinstance(m, Heartbeat)]
    assert [m.to for m in rounds] == [2]
    network.settle()
    assert list(network.nodes[1].reads) == ids


def _joint() -> Network:
    """1 leads from voters 1, 2, 3 to 1, 4, 5, of whom it does not hear the new ones."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    network.cut(1, 4, 5)
    raft.change_configuration((1, 4, 5), ())
    network.settle()
    assert raft.configuration.joint
    return network


def _asks(network: Network) -> list[int]:
    """Whom the leader 1 asks for one more read."""
    network.raft(1).read_index()
    network.turn(1)
    return [m.to for m in network.sent if isinstance(m, Heartbeat)]


def test_a_round_asks_no_more_voters_than_can_confirm_it() -> None:
    network = Network((1, 2, 3, 4, 5), learners=(6,))
    network.elect(1)
    assert _asks(network) == [2, 3]


def test_a_round_asks_all_voters_while_joint() -> None:
    assert sorted(_asks(_joint())) == [2, 3, 4, 5]


def test_who_is_silent_is_asked_beside_all_others_within_two_ticks() -> None:
    """And not again before the others, once it has missed a round."""
    network = Network()
    raft = network.elect(1)
    network.cut(1, 2)
    read_id = _asked(raft.read_index())
    network.settle()
    assert network.nodes[1].reads == {}
    network.tick(2, only=[1])
    assert read_id in network.nodes[1].reads
    assert _asks(network) == [3]


def test_all_voters_are_asked_once_when_answers_take_long() -> None:
    """Between continents each round is late; asking at each tick would be a flood."""
    options: Options = msgspec.structs.replace(SMALL, heartbeat_ticks=8)
    network = Network(options=options)
    raft = network.elect(1)
    network.settle()
    raft.read_index()
    assert [m.to for m in speak(raft) if isinstance(m, Heartbeat)] == [2]
    asked: list[list[int]] = []
    for _ in range(8):
        raft.tick()
        asked.append([m.to for m in speak(raft) if isinstance(m, Heartbeat)])
    assert asked.count([2, 3]) == 2, "once for being late, once as heartbeats"
    assert asked.count([]) == len(asked) - 2


def test_who_cannot_be_reached_is_not_asked() -> None:
    network = Network()
    raft = network.elect(1)
    network.settle()
    raft.peer_unreachable(2)
    assert _asks(network) == [3]


def test_a_new_leader_answers_no_read_before_it_has_committed_in_its_term() -> None:
    """I-5, I-40: its commit index may be behind what others have answered."""
    raft = make_leader(alone(1, 1, 1, commit_index=1))
    speak(raft)
    raft.read_index()
    for member in (2, 3):
        raft.step(HeartbeatReply(member, 1, 2, 0))
    rounds = [m for m in speak(raft) if isinstance(m, Heartbeat) and m.round > 0]
    assert rounds == []
    raft.step(AppendEntriesReply(2, 1, 2, True, 3, 0, 0))
    rounds = [m for m in speak(raft) if isinstance(m, Heartbeat)]
    assert [(m.to, m.round) for m in rounds] == [(2, 1)]
    raft.step(HeartbeatReply(2, 1, 2, 1))
    assert [index for _, index in raft.ready(can_persist=True).reads] == [3]


def test_the_index_is_taken_after_the_request_and_not_later_than_its_round() -> None:
    """I-40 (2): what commits during the round need not be seen."""
    network = Network()
    raft = network.elect(1)
    index = network.write(1, b"before")
    read_id = _asked(raft.read_index())
    network.turn(1)
    network.propose(1, b"during")
    network.settle()
    assert network.nodes[1].reads[read_id] == index
    assert raft.log.commit_index == index + 1


def test_an_acknowledgement_of_an_earlier_round_confirms_nothing() -> None:
    """I-40 (3): the trap of section 9: it was on its way when the read came."""
    raft = make_leader(alone(1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 1, 0, 0))
    speak(raft)
    first = _asked(raft.read_index())
    speak(raft)
    second = _asked(raft.read_index())
    speak(raft)
    raft.step(HeartbeatReply(2, 1, 1, 1))
    ready = raft.ready(can_persist=True)
    assert [read_id for read_id, _ in ready.reads] == [first]
    raft.step(HeartbeatReply(3, 1, 1, 1))
    assert raft.ready(can_persist=True).reads == []
    raft.step(HeartbeatReply(3, 1, 1, 2))
    ready = raft.ready(can_persist=True)
    assert [read_id for read_id, _ in ready.reads] == [second]


def test_an_acknowledgement_before_the_round_was_sent_confirms_nothing() -> None:
    """I-40: the read came, and an old reply, in one and the same turn."""
    raft = make_leader(alone(1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 1, 0, 0))
    speak(raft)
    raft.read_index()
    raft.step(HeartbeatReply(2, 1, 1, 0))
    raft.step(HeartbeatReply(3, 1, 1, 0))
    assert raft.ready(can_persist=True).reads == []


def test_an_acknowledgement_of_a_round_that_was_never_sent_is_ignored() -> None:
    raft = make_leader(alone(1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 1, True, 1, 0, 0))
    raft.step(HeartbeatReply(2, 1, 1, 99))
    raft.read_index()
    assert raft.ready(can_persist=True).reads == []


def test_an_acknowledgement_of_an_older_term_confirms_nothing() -> None:
    """I-40: rounds are counted anew in each term."""
    raft = make_leader(alone(1, 1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, True, 2, 0, 0))
    speak(raft)
    raft.read_index()
    speak(raft)
    raft.step(HeartbeatReply(2, 1, 1, 1))
    assert raft.ready(can_persist=True).reads == []


def test_a_round_needs_a_quorum() -> None:
    """I-40: one of five is not enough."""
    network = Network((1, 2, 3, 4, 5))
    raft = network.elect(1)
    network.cut(1, 3, 4, 5)
    read_id = _asked(raft.read_index())
    network.settle()
    assert network.nodes[1].reads == {}
    network.cut_links -= {(1, 3), (3, 1)}
    network.tick(3)
    assert read_id in network.nodes[1].reads


def test_learners_do_not_count_in_a_round() -> None:
    """I-47."""
    network = Network((1, 2, 3), learners=(4, 5))
    raft = network.elect(1)
    network.settle()
    network.cut(1, 2, 3)
    raft.read_index()
    network.settle()
    assert network.nodes[1].reads == {}


def test_a_single_node_reads_without_asking_anybody() -> None:
    network = Network((1,))
    raft = network.elect(1)
    index = network.write(1, b"x")
    read_id = _asked(raft.read_index())
    assert network.turn(1).reads == [(read_id, index)]


def test_a_deposed_leader_answers_no_read() -> None:
    """I-40: it believes to lead, others have elected and written."""
    network = Network()
    network.elect(1)
    network.isolate(1)
    network.elect(2)
    network.write(2, b"newer")
    network.raft(1).read_index()
    network.settle()
    assert network.nodes[1].reads == {}
    network.heal()
    network.tick(3)
    assert network.nodes[1].reads == {}
    assert len(network.nodes[1].failed_reads) == 1


def test_reads_fail_when_their_leader_steps_down() -> None:
    """I-13: at the latest after an election timeout without a quorum."""
    network = Network()
    raft = network.elect(1)
    network.isolate(1)
    waiting = [_asked(raft.read_index())]
    network.settle()
    waiting.append(_asked(raft.read_index()))
    network.tick(2 * ELECTION_TICKS, only=[1])
    assert not raft.is_leader
    assert sorted(network.nodes[1].failed_reads) == waiting


def test_a_follower_and_a_learner_ask_the_leader() -> None:
    """I-41."""
    network = Network((1, 2, 3), learners=(4,))
    network.elect(1)
    index = network.write(1, b"x")
    for member in (3, 4):
        read_id = _asked(network.raft(member).read_index())
        assert [type(m) for m in network.turn(member).messages] == [ReadIndex]
        assert network.nodes[member].reads == {}
        network.sent = [ReadIndex(member, 1, 1, read_id)]
        network.settle()
        assert network.nodes[member].reads == {read_id: index}


def test_a_follower_without_a_leader_can_ask_nobody() -> None:
    assert alone(2, 1).read_index() is None


def test_a_partitioned_learner_answers_nothing_from_its_own_state() -> None:
    """I-41."""
    network = Network((1, 2, 3), learners=(4,))
    network.elect(1)
    network.isolate(4)
    network.write(1, b"x")
    read_id = _asked(network.raft(4).read_index())
    network.tick(5 * ELECTION_TICKS)
    assert network.nodes[4].reads == {}
    assert network.nodes[4].failed_reads == [read_id]


def test_a_followers_read_fails_when_the_leader_changes_and_a_new_id_succeeds() -> None:
    """I-40: the old leader's late answer to the old id is not taken."""
    network = Network()
    network.elect(1)
    read_id = _asked(network.raft(3).read_index())
    network.turn(3)
    network.deliver(network.take(ReadIndex))
    network.isolate(1)
    network.elect(2)
    index = network.write(2, b"newer")
    assert network.nodes[3].failed_reads == [read_id]
    network.raft(3).step(ReadIndexReply(1, 3, network.raft(3).term, read_id, 1))
    retry = _asked(network.raft(3).read_index())
    network.settle()
    assert retry != read_id
    assert network.nodes[3].reads == {retry: index}


def test_an_answer_of_an_older_term_is_not_taken() -> None:
    """I-40."""
    raft = alone(3, 1)
    raft.step(append((1, 1), term=1, to=3))
    read_id = _asked(raft.read_index())
    raft.step(append((1, 1), term=2, sender=1, to=3))
    raft.step(ReadIndexReply(1, 3, 1, read_id, 1))
    assert raft.ready(can_persist=True).reads == []


def test_an_answer_that_comes_twice_is_taken_once() -> None:
    raft = alone(2, 1)
    raft.step(append((1, 1), term=1))
    read_id = _asked(raft.read_index())
    speak(raft)
    reply = ReadIndexReply(1, 2, 1, read_id, 1)
    raft.step(reply)
    raft.step(reply)
    assert raft.ready(can_persist=True).reads == [(read_id, 1)]


def test_a_lost_request_fails_after_a_while_and_is_not_sent_again() -> None:
    """I-40: a retry takes a new id, so the shell makes it."""
    network = Network()
    network.elect(1)
    read_id = _asked(network.raft(2).read_index())
    network.turn(2)
    network.drop_all()
    network.tick(ELECTION_TICKS)
    assert network.nodes[2].failed_reads == [read_id]
    assert not any(isinstance(m, ReadIndex) for m in network.sent)


def test_read_ids_are_never_used_again_over_boots() -> None:
    """I-40: an answer to a request of an earlier boot finds nobody."""
    seen: set[int] = set()
    for boot in (1, 2, 3):
        options: Options = msgspec.structs.replace(SMALL, boot=boot)
        network = Network((1,), options=options)
        raft = network.elect(1)
        ids = {_asked(raft.read_index()) for _ in range(100)}
        assert len(ids) == 100
        assert not ids & seen
        seen |= ids


def test_a_leader_takes_no_more_reads_of_others_than_its_limit() -> None:
    """I-76: the rest is dropped, fails there after a while, and is asked again."""
    raft = make_leader(alone(1))
    limit = raft.options.reads_pending_max
    for number in range(limit + 10):
        raft.step(ReadIndex(2, 1, 1, number))
    assert len(raft.new_reads) == limit


def test_a_request_to_one_that_does_not_lead_is_dropped() -> None:
    raft = alone(2, 1)
    raft.step(ReadIndex(3, 2, 1, 7))
    assert speak(raft) == []


def test_a_read_while_joint_needs_both_majorities() -> None:
    """4.3, I-40."""
    network = _joint()
    read_id = _asked(network.raft(1).read_index())
    network.settle()
    assert network.nodes[1].reads == {}
    network.heal()
    network.tick(3)
    assert read_id in network.nodes[1].reads


def test_a_leader_sends_one_answer_for_each_request() -> None:
    network = Network()
    network.elect(1)
    read_id = _asked(network.raft(2).read_index())
    network.turn(2)
    network.deliver(network.take(ReadIndex))
    network.turn(1)
    network.deliver(network.take(Heartbeat, to=2))
    network.turn(2)
    network.deliver(network.take(HeartbeatReply))
    ready = network.turn(1)
    assert only(ready.messages, ReadIndexReply) == ReadIndexReply(1, 2, 1, read_id, 1)


def test_a_read_that_takes_longer_than_was_thought_is_waited_for_in_the_end() -> None:
    """Story: each answer came a little after its question had been given up and asked
    again under another number; no read of a distant follower was ever answered.
    """
    raft = alone(2, 1)
    raft.step(Heartbeat(1, 2, 1, 0, 1))
    speak(raft)
    late_ticks = 6 * raft.options.heartbeat_ticks
    for _ in range(3):
        read_id = _asked(raft.read_index())
        for _ in range(late_ticks):
            # The leader is there.
            raft.step(Heartbeat(1, 2, 1, 0, 1))
            raft.tick()
        speak(raft)
        raft.step(ReadIndexReply(1, 2, 1, read_id, 0))
        if raft.ready(can_persist=True).reads:
            return
    raise AssertionError("no read was answered")
