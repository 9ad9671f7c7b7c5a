"""Changing the voters: dissertation 4.1 to 4.3, I-45, I-46, I-50; joint consensus."""

import pytest
from quorate.raft import (
    CONFIGURATION,
    AppendEntries,
    AppendEntriesReply,
    Configuration,
    Entry,
    Raft,
    Refused,
    RequestVoteReply,
    Role,
    decode_configuration,
    encode_configuration,
)

from .alone import THREE, alone, append, log_of, make_candidate, make_leader, speak
from .network import ELECTION_TICKS, Network


def _change(index: int, term: int, configuration: Configuration) -> Entry:
    return Entry(index, term, CONFIGURATION, encode_configuration(configuration))


def _changed(
    raft: Raft, voters: tuple[int, ...], learners: tuple[int, ...] = ()
) -> int:
    answer = raft.change_configuration(voters, learners)
    assert not isinstance(answer, Refused), answer
    return answer


def test_voters_change_through_a_joint_configuration() -> None:
    """4.3."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    index = _changed(raft, (1, 4, 5))
    assert raft.configuration == Configuration((1, 4, 5), outgoing=(1, 2, 3))
    network.settle()
    assert raft.configuration == Configuration((1, 4, 5))
    seen = [
        (entry.index, decode_configuration(entry.data))
        for entry in network.nodes[4].applied
        if entry.kind == CONFIGURATION
    ]
    assert seen == [
        (index, Configuration((1, 4, 5), outgoing=(1, 2, 3))),
        (index + 1, Configuration((1, 4, 5))),
    ]


def test_a_change_of_learners_needs_no_joint_configuration() -> None:
    network = Network((1, 2, 3), spares=(4,))
    raft = network.elect(1)
    _changed(raft, (1, 2, 3), (4,))
    assert raft.configuration == Configuration((1, 2, 3), learners=(4,))
    network.write(1, b"x")
    assert network.nodes[4].commands == [b"x"]


def test_a_configuration_takes_effect_when_it_is_appended() -> None:
    """4.1: not when it commits."""
    raft = alone(2, 1)
    joint = Configuration((1, 4, 5), outgoing=(1, 2, 3))
    raft.step(append((1, 1), _change(2, 1, joint), term=1))
    assert raft.log.commit_index == 0
    assert raft.configuration == joint


def test_a_configuration_is_rolled_back_with_its_entry() -> None:
    """I-46."""
    raft = alone(2, 1)
    joint = Configuration((1, 4, 5), outgoing=(1, 2, 3))
    raft.step(append((1, 1), _change(2, 1, joint), term=1))
    raft.step(append((1, 1), *log_of(2, first=2), term=2, sender=3))
    assert raft.configuration == THREE


def test_a_rolled_back_joint_configuration_leaves_nothing_behind() -> None:
    """I-46: the deposed leader proposed it, nobody else ever had it."""
    network = Network((1, 2, 3), spares=(4, 5))
    network.elect(1)
    network.isolate(1)
    _changed(network.raft(1), (1, 4, 5))
    network.settle()
    network.elect(2)
    network.heal()
    network.tick(4)
    assert network.raft(1).configuration == THREE
    assert not isinstance(network.raft(2).change_configuration((2, 3), ()), Refused)


def test_a_restarted_replica_finds_the_configuration_in_its_log() -> None:
    network = Network((1, 2, 3), spares=(4,))
    network.elect(1)
    _changed(network.raft(1), (1, 2, 3), (4,))
    network.settle()
    network.crash(2)
    raft = network.restart(2)
    assert raft.configuration == Configuration((1, 2, 3), learners=(4,))


def test_an_uncommitted_change_blocks_the_next() -> None:
    """I-45: at most one; add and add, add and remove, remove and remove alike."""
    for first, second in [
        ((1, 2, 3, 4), (1, 2, 3, 5)),
        ((1, 2, 3, 4), (1, 2)),
        ((1, 2), (1, 3)),
    ]:
        network = Network((1, 2, 3), spares=(4, 5))
        raft = network.elect(1)
        network.isolate(1)
        _changed(raft, first)
        network.settle()
        assert raft.change_configuration(second, ()) is Refused.PENDING_CHANGE


def test_a_joint_configuration_blocks_the_next_until_it_is_left() -> None:
    """I-45."""
    network = Network((1, 2, 3), spares=(4,))
    raft = network.elect(1)
    _changed(raft, (1, 2, 3, 4))
    network.turn(1)
    assert raft.change_configuration((1, 2), ()) is Refused.PENDING_CHANGE
    network.settle()
    assert not raft.configuration.joint
    assert not isinstance(raft.change_configuration((1, 2), ()), Refused)


def test_a_new_leader_changes_nothing_before_it_has_committed_in_its_term() -> None:
    """I-45: Ongaro's correction of 2015."""
    raft = make_leader(alone(1, 1, 1, commit_index=2))
    speak(raft)
    assert raft.change_configuration((1, 2), ()) is Refused.PENDING_CHANGE
    raft.step(AppendEntriesReply(2, 1, 2, True, 3, 0, 0))
    speak(raft)
    assert raft.change_configuration((1, 2), ()) == 4


def test_a_new_leader_waits_for_an_inherited_change_to_be_applied() -> None:
    """I-45: it may be in the log, uncommitted."""
    learner = Configuration((1, 2, 3), learners=(4,))
    network = Network((1, 2, 3), spares=(4,))
    snapshot, state = network.nodes[1].disk.snapshot, network.nodes[1].disk.hard_state
    entry = _change(1, 0, learner)
    network.add(1, snapshot, state, (entry,))
    raft = network.raft(1)
    network.loses = lambda message: (
        type(message).__name__ == "AppendEntriesReply" and raft.is_leader
    )
    network.elect(1)
    assert raft.configuration == learner
    assert raft.change_configuration((1, 2), ()) is Refused.PENDING_CHANGE
    network.heal()
    network.tick(4)
    assert not isinstance(raft.change_configuration((1, 2), ()), Refused)


def test_only_a_leader_changes_the_configuration() -> None:
    network = Network()
    network.elect(1)
    refused = network.raft(2).change_configuration((1, 2), ())
    assert refused is Refused.NOT_LEADER


def test_a_change_to_the_same_configuration_is_none() -> None:
    network = Network()
    raft = network.elect(1)
    before = raft.log.last_index
    assert raft.change_configuration((3, 1, 2), ()) is Refused.NO_CHANGE
    assert raft.log.last_index == before


def test_while_joint_commits_need_both_majorities() -> None:
    """4.3: neither side alone decides."""
    for cut in ((2, 3), (4, 5)):
        network = Network((1, 2, 3), spares=(4, 5))
        raft = network.elect(1)
        network.cut(1, *cut)
        index = _changed(raft, (1, 4, 5))
        network.write(1, b"x")
        assert raft.log.commit_index < index
        assert raft.configuration.joint
        network.heal()
        network.tick(4)
        assert raft.configuration == Configuration((1, 4, 5))


def test_while_joint_votes_need_both_majorities() -> None:
    """4.3."""
    joint = Configuration((1, 4, 5), outgoing=(1, 2, 3))
    for refusing, granting in [((4, 5), (2, 3)), ((2, 3), (4, 5))]:
        raft = make_candidate(alone(1, 1, configuration=joint))
        speak(raft)
        for voter in granting:
            raft.step(RequestVoteReply(voter, 1, 2, True))
        assert raft.role is Role.CANDIDATE
        raft.step(RequestVoteReply(refusing[0], 1, 2, True))
        assert raft.is_leader


def test_a_new_leader_ends_the_joint_configuration_of_the_old() -> None:
    """4.3: any leader does, as soon as it has applied it."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    network.loses = lambda message: (
        type(message).__name__ == "AppendEntriesReply" and message.to == 1
    )
    _changed(raft, (1, 4, 5))
    network.settle()
    network.crash(1)
    network.heal()
    assert network.raft(2).configuration.joint
    network.tick(6 * ELECTION_TICKS)
    leader = network.leader()
    assert network.raft(leader).configuration == Configuration((1, 4, 5))
    network.restart(1)
    network.tick(4)
    assert network.raft(1).configuration == Configuration((1, 4, 5))


def test_a_leader_that_is_removed_commits_the_change_then_steps_down() -> None:
    """I-50, 4.2.2."""
    network = Network()
    raft = network.elect(1)
    _changed(raft, (2, 3))
    network.settle()
    assert raft.role is Role.FOLLOWER
    assert raft.configuration == Configuration((2, 3))
    assert raft.log.applied_index == raft.log.last_index
    network.tick(4 * ELECTION_TICKS)
    assert network.leader() in (2, 3)
    assert raft.term == 1


def test_a_removed_leader_does_not_count_itself() -> None:
    """I-50: in the last step the majority is of the others alone."""
    network = Network()
    raft = network.elect(1)
    network.hold_disk(3)
    _changed(raft, (2, 3))
    network.settle()
    # {1, 2} is a majority of the old voters; {2} is none of the new.
    assert raft.is_leader
    assert raft.configuration.joint
    network.free_disk(3)
    network.settle()
    assert not raft.is_leader


def test_the_others_learn_that_the_last_step_has_committed() -> None:
    """I-50: the leader tells them before it goes."""
    network = Network()
    raft = network.elect(1)
    _changed(raft, (2, 3))
    network.settle()
    for member in (2, 3):
        log = network.raft(member).log
        assert log.commit_index == log.last_index == raft.log.commit_index


def test_a_removed_voter_campaigns_while_its_removal_has_not_committed() -> None:
    """4.2.2: it alone has the last step, so nobody else can get its vote.

    It needs the majority of the new voters, and does not count itself.
    """
    network = Network((1, 2))
    raft = network.elect(1)
    joint = _changed(raft, (2,))
    network.loses = lambda message: (
        isinstance(message, AppendEntries)
        and any(entry.index > joint for entry in message.entries)
    )
    network.settle()
    assert raft.configuration == Configuration((2,))
    assert network.raft(2).configuration == Configuration((2,), outgoing=(1, 2))
    network.crash(1)
    network.heal()
    network.restart(1)
    network.tick(10 * ELECTION_TICKS)
    assert network.leader() == 2
    assert network.raft(2).configuration == Configuration((2,))
    network.write(2, b"x")
    assert network.nodes[2].commands == [b"x"]


def test_a_leader_made_a_learner_steps_down_and_still_gets_the_log() -> None:
    network = Network()
    raft = network.elect(1)
    _changed(raft, (2, 3), (1,))
    assert raft.configuration == Configuration((2, 3), (1, 2, 3), (), (1,))
    network.settle()
    assert raft.configuration == Configuration((2, 3), learners=(1,))
    assert not raft.is_leader
    network.elect(2)
    network.write(2, b"x")
    assert network.nodes[1].commands == [b"x"]


def test_a_removed_node_is_sent_nothing_more() -> None:
    network = Network()
    raft = network.elect(1)
    _changed(raft, (1, 2))
    network.settle()
    assert set(raft.progress) == {2}
    length = network.raft(3).log.last_index
    network.write(1, b"x")
    network.tick(4)
    assert network.raft(3).log.last_index == length


def test_proposals_go_on_during_a_change() -> None:
    """4.3: the cluster never stops serving."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    _changed(raft, (1, 4, 5))
    network.propose(1, b"a")
    network.turn(1)
    network.propose(1, b"b")
    network.settle()
    assert network.nodes[5].commands == [b"a", b"b"]
    assert raft.is_leader


def test_a_whole_cluster_moves_to_new_nodes() -> None:
    """4.3: any set to any other; nothing that was written is lost."""
    network = Network((1, 2, 3), spares=(4, 5, 6))
    network.elect(1)
    network.write(1, b"kept")
    _changed(network.raft(1), (4, 5, 6))
    network.settle()
    network.tick(4 * ELECTION_TICKS)
    for member in (1, 2, 3):
        network.crash(member)
    network.tick(4 * ELECTION_TICKS)
    network.write(network.leader(), b"more")
    assert network.nodes[6].commands == [b"kept", b"more"]


def test_a_single_node_becomes_three_and_one_again() -> None:
    network = Network((1,), spares=(2, 3))
    raft = network.elect(1)
    _changed(raft, (1, 2, 3))
    network.settle()
    network.write(1, b"x")
    _changed(raft, (1,))
    network.settle()
    for member in (2, 3):
        network.crash(member)
    network.write(1, b"y")
    assert network.nodes[1].commands == [b"x", b"y"]


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration((1,)),
        Configuration((1, 2, 3), (2, 3, 4), (5,), (1, 5)),
        Configuration((7, 1 << 63, (1 << 64) - 1)),
    ],
)
def test_a_configuration_survives_its_bytes(configuration: Configuration) -> None:
    assert decode_configuration(encode_configuration(configuration)) == configuration


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"garbage",
        encode_configuration(THREE)[:-1],
        encode_configuration(THREE) + b"\x00",
        encode_configuration(THREE).replace(b"\x01", b"\x02", 1),
        b"\x95\x01\x90\x90\x90\x90",
        b"\x95\x01\x92\x02\x01\x90\x90\x90",
        b"\x95\x01\x92\x01\x01\x90\x90\x90",
        b"\x95\x01\x91\x00\x90\x90\x90",
        b"\x95\x01\x91\x01\x90\x91\x01\x90",
        b"\x95\x01\x91\x01\x90\x90\x91\x02",
    ],
)
def test_bytes_that_are_no_configuration_are_refused(data: bytes) -> None:
    """LAW: what is not understood is an error, never skipped."""
    with pytest.raises(ValueError, match="configuration"):
        decode_configuration(data)
